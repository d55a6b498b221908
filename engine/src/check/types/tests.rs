//! What fits, what can never fit, and what nobody can say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Findings, Lookup, ToolSchemas, Tools, check_tools};
use crate::{PatchOperation, ToolName, parse};

/// Tools that a test makes up.
#[derive(Default)]
struct Known {
    tools: BTreeMap<String, ToolSchemas>,
    workflows: BTreeMap<String, Value>,
}

impl Known {
    fn with(mut self, name: &str, input: Value, output: Value) -> Known {
        let output = Some(output).filter(|schema| !schema.is_null());
        let aliases = BTreeMap::new();
        let schemas = ToolSchemas { input, output, done: None, read_only: false, aliases };
        self.tools.insert(name.to_owned(), schemas);
        self
    }

    fn calling(mut self, name: &str, other: &str, own: &str) -> Known {
        let aliases = &mut self.tools.get_mut(name).unwrap().aliases;
        aliases.insert(other.to_owned(), own.to_owned());
        self
    }
}

impl Tools for Known {
    fn find(&self, name: &ToolName) -> Lookup<'_> {
        match self.tools.get(&name.to_string()) {
            Some(schemas) => Lookup::Known(schemas),
            None if name.server == "down" => Lookup::Unreachable("it is down".to_owned()),
            None => Lookup::UnknownTool { nearest: Vec::new() },
        }
    }

    fn workflow(&self, name: &str) -> Option<&Value> {
        self.workflows.get(name)
    }

    fn workflows(&self) -> Vec<&str> {
        self.workflows.keys().map(String::as_str).collect()
    }
}

fn check(steps: &str, tools: &Known) -> Findings {
    let text = format!("name: test\nsteps:\n{steps}");
    let workflow = parse(&text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
    check_tools(&workflow, tools)
}

fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// What comes of handing the result `v` of one tool to the param `v` of another.
fn handed(given: Value, wanted: Value) -> Findings {
    let tools = Known::default()
        .with("t.give", json!({ "type": "object" }), object(json!({ "v": given })))
        .with("t.take", object(json!({ "v": wanted })), Value::Null);
    let steps = "  - { name: a, tool: t.give }\n  - { name: b, tool: t.take, params: { v: '${steps.a.v}' } }\n";
    check(steps, &tools)
}

/// What comes of a literal for a param.
fn given(literal: &str, wanted: Value) -> Findings {
    let tools = Known::default().with("t.take", object(json!({ "v": wanted })), Value::Null);
    check(&format!("  - {{ name: b, tool: t.take, params: {{ v: {literal} }} }}\n"), &tools)
}

/// What comes of reading a path of a result.
fn read(path: &str, output: Value) -> Findings {
    let any = json!({ "type": "object", "additionalProperties": true });
    let tools =
        Known::default().with("t.give", any.clone(), output).with("t.any", any, Value::Null);
    let steps = format!(
        "  - {{ name: a, tool: t.give }}\n  - {{ name: b, tool: t.any, params: {{ v: \"${{{path}}}\" }} }}\n"
    );
    check(&steps, &tools)
}

fn codes(findings: &Findings) -> Vec<&'static str> {
    findings.problems.iter().map(|problem| problem.code).collect()
}

fn replacement(findings: &Findings) -> Value {
    match findings.problems.first().and_then(|problem| problem.patch.last()) {
        Some(PatchOperation::Replace { value, .. } | PatchOperation::Add { value, .. }) => {
            value.clone()
        }
        other => panic!("{other:?} in {findings:#?}"),
    }
}

#[test]
fn a_value_that_can_never_fit_is_a_problem() {
    let text = || json!({ "type": "string" });
    let cases = [
        (json!({ "type": "integer" }), text()),
        (json!({ "type": ["integer", "null"] }), text()),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["c"] })),
        (json!({ "const": "a" }), json!({ "type": "string", "enum": ["A"] })),
        (json!({ "type": "object" }), text()),
        (object(json!({ "x": text() })), object(json!({ "x": { "type": "integer" } }))),
        (object(json!({ "x": text() })), object(json!({ "y": text() }))),
        (
            json!({ "type": "array", "items": text() }),
            json!({ "type": "array", "items": { "type": "integer" } }),
        ),
        (json!({ "anyOf": [{ "type": "integer" }, { "type": "boolean" }] }), text()),
        (text(), json!({ "oneOf": [{ "type": "integer" }, { "type": "null" }] })),
        (json!({ "allOf": [{ "type": ["string", "integer"] }, { "type": "integer" }] }), text()),
    ];
    for (from, to) in cases {
        let findings = handed(from.clone(), to.clone());
        assert_eq!(codes(&findings), ["wrong_type"], "{from} for {to}: {findings:#?}");
    }
}

#[test]
fn a_value_that_may_fit_is_no_problem_but_listed() {
    let text = || json!({ "type": "string" });
    let cases = [
        (json!({ "type": ["string", "null"] }), text()),
        (json!({ "type": "string", "nullable": true }), text()),
        (json!({ "type": "number" }), json!({ "type": "integer" })),
        (text(), json!({ "enum": ["a", "b"] })),
        (json!({ "enum": ["a", "z"] }), json!({ "enum": ["a", "b"] })),
        (json!({}), text()),
        (
            json!({ "type": "object", "properties": { "x": text() } }),
            object(json!({ "x": text() })),
        ),
        (json!({ "anyOf": [text(), { "type": "integer" }] }), text()),
    ];
    for (from, to) in cases {
        let findings = handed(from.clone(), to.clone());
        assert!(findings.problems.is_empty(), "{from} for {to}: {findings:#?}");
        assert!(!findings.unchecked.is_empty(), "{from} for {to}");
    }
}

#[test]
fn a_value_that_fits_is_neither() {
    let text = || json!({ "type": "string" });
    let cases = [
        (text(), text()),
        (json!({ "type": "integer" }), json!({ "type": "number" })),
        (json!({ "type": "integer" }), json!({})),
        (json!({ "enum": ["a"] }), json!({ "enum": ["a", "b"] })),
        (json!({ "enum": ["a"] }), text()),
        (text(), json!({ "type": ["string", "null"] })),
        (text(), json!({ "anyOf": [text(), { "type": "integer" }] })),
        (object(json!({ "x": text(), "y": text() })), object(json!({ "x": text() }))),
        (json!({ "type": "array", "items": text() }), json!({ "type": "array" })),
        (text(), json!({ "type": "string", "minLength": 1 })),
    ];
    for (from, to) in cases {
        let findings = handed(from.clone(), to.clone());
        assert_eq!(findings, Findings::default(), "{from} for {to}");
    }
}

#[test]
fn a_literal_is_checked_wholly_and_mended_where_its_meaning_is_plain() {
    let list = json!({ "type": "array", "items": { "type": "string" } });
    let mended = [
        ("'5'", json!({ "type": "integer" }), json!(5)),
        ("5", json!({ "type": "string" }), json!("5")),
        ("'true'", json!({ "type": "boolean" }), json!(true)),
        ("yes", json!({ "type": "boolean" }), json!(true)),
        ("a", list.clone(), json!(["a"])),
        ("'a, b'", list.clone(), json!(["a", "b"])),
        ("[a]", json!({ "type": "string" }), json!("a")),
        ("STAGING", json!({ "enum": ["staging", "production"] }), json!("staging")),
        ("prod", json!({ "enum": ["staging", "production"] }), json!("production")),
    ];
    for (literal, wanted, right) in mended {
        let findings = given(literal, wanted.clone());
        assert_eq!(replacement(&findings), right, "{literal} for {wanted}");
    }
    let refused = [
        ("11", json!({ "type": "integer", "maximum": 10 }), "not_allowed"),
        ("abc", json!({ "type": "string", "pattern": "^x" }), "not_allowed"),
        ("''", json!({ "type": "string", "minLength": 1 }), "not_allowed"),
        ("[]", json!({ "type": "array", "minItems": 1 }), "not_allowed"),
        ("null", json!({ "type": "string" }), "wrong_type"),
        ("canary", json!({ "enum": ["rolling", "blue_green"] }), "unknown_value"),
    ];
    for (literal, wanted, code) in refused {
        let findings = given(literal, wanted.clone());
        assert_eq!(codes(&findings), [code], "{literal} for {wanted}: {findings:#?}");
        assert!(findings.problems[0].patch.is_empty(), "{literal} for {wanted}");
    }
}

#[test]
fn schemas_are_followed_through_references_and_alternatives() {
    let defs = json!({ "name": { "type": "string" } });
    let mut wanted = object(json!({ "who": { "$ref": "#/$defs/name" } }));
    wanted["$defs"] = defs;
    let tools = Known::default().with("t.take", wanted, Value::Null);
    let findings = check("  - { name: b, tool: t.take, params: { who: 5 } }\n", &tools);
    assert_eq!(replacement(&findings), json!("5"));

    let forms = json!({ "oneOf": [
        object(json!({ "kind": { "const": "a" }, "left": { "type": "string" } })),
        object(json!({ "kind": { "const": "b" }, "right": { "type": "string" } })),
    ] });
    assert_eq!(given("{ kind: b, right: x }", forms.clone()), Findings::default());
    let findings = given("{ kind: b, rigth: x }", forms);
    assert_eq!(codes(&findings), ["unknown_key"]);
    assert_eq!(findings.problems[0].nearest, ["right"]);
}

#[test]
fn other_keys_are_refused_unless_the_schema_says_that_it_takes_them() {
    let x = json!({ "x": { "type": "string" } });
    let takes = [
        json!({ "type": "object" }),
        json!({ "type": "object", "properties": x, "additionalProperties": true }),
        json!({ "type": "object", "properties": x, "additionalProperties": { "type": "string" } }),
        json!({ "type": "object", "properties": x, "patternProperties": { "^y": {} } }),
    ];
    for schema in takes {
        assert_eq!(given("{ yes: no }", schema.clone()), Findings::default(), "{schema}");
    }
    for schema in [
        json!({ "type": "object", "properties": x }),
        json!({ "type": "object", "properties": x, "additionalProperties": false }),
        json!({ "allOf": [{ "properties": x }, { "properties": { "z": {} } }] }),
    ] {
        assert_eq!(codes(&given("{ other: no }", schema.clone())), ["unknown_key"], "{schema}");
    }
    let numbers = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    assert_eq!(codes(&given("{ one: two }", numbers)), ["wrong_type"]);
}

#[test]
fn what_only_a_dry_run_leaves_out_is_there_without_one() {
    let result = |required: Value| json!({ "type": "object", "properties": { "id": { "type": "integer" } }, "required": required });
    let mut tools = Known::default().with("x.make", json!({ "type": "object" }), result(json!([])));
    tools.tools.get_mut("x.make").unwrap().done = Some(result(json!(["id"])));
    for (params, unchecked) in [("{}", 0), ("{ dry_run: true }", 1)] {
        let text = format!(
            "name: w\nsteps:\n  - {{ name: a, tool: x.make, params: {params} }}\noutput: \"${{steps.a.id}}\"\n"
        );
        let workflow = parse(&text).unwrap();
        assert_eq!(check_tools(&workflow, &tools).unchecked.len(), unchecked, "{params}");
    }
}

#[test]
fn a_path_is_a_problem_only_where_nothing_can_be_there() {
    let x = || json!({ "x": { "type": "string" } });
    let absent = [
        ("steps.a.y", object(x())),
        ("steps.a.x.y", object(x())),
        ("steps.a[0].x", json!({ "type": "string" })),
        ("steps.a.y", json!({ "oneOf": [object(x()), object(json!({ "z": {} }))] })),
        (
            "default(steps.a.y, 1)",
            json!({ "type": "object", "properties": x(), "additionalProperties": false }),
        ),
        ("steps.a.list.x", object(json!({ "list": { "type": "array", "items": object(x()) } }))),
    ];
    for (path, output) in absent {
        assert_eq!(codes(&read(path, output.clone())), ["unknown_output"], "{path} of {output}");
    }
    let there = [
        ("steps.a.x", object(x())),
        ("steps.a['x']", object(x())),
        ("default(steps.a.y, 1)", object(x())),
        ("steps.a.list[0].x", object(json!({ "list": { "type": "array", "items": object(x()) } }))),
        ("steps.a[0].x", object(json!({ "items": { "type": "array", "items": object(x()) } }))),
        (
            "steps.a.list.map(each, each.x)",
            object(json!({ "list": { "type": "array", "items": object(x()) } })),
        ),
        (
            "steps.a.pair[1]",
            object(json!({ "pair": { "prefixItems": [{ "type": "string" }, object(x())] } })),
        ),
        ("steps.a.x", json!({ "allOf": [object(x())] })),
    ];
    for (path, output) in there {
        assert_eq!(read(path, output.clone()), Findings::default(), "{path} of {output}");
    }
    let unknown = [
        ("steps.a.y", json!({ "type": "object" })),
        ("steps.a.y", json!({ "type": "object", "properties": x(), "additionalProperties": true })),
        ("steps.a.x", json!({ "type": "object", "properties": x() })),
        ("steps.a.z", json!({ "anyOf": [object(x()), object(json!({ "z": {} }))] })),
        ("steps.a.y", Value::Null),
        ("steps.a.y", json!({ "if": {}, "properties": x() })),
    ];
    for (path, output) in unknown {
        let findings = read(path, output.clone());
        assert!(findings.problems.is_empty(), "{path} of {output}: {findings:#?}");
        assert_eq!(findings.unchecked.len(), 1, "{path} of {output}: {findings:#?}");
    }
}

#[test]
fn elements_groups_and_set_values_are_followed() {
    let item = object(json!({ "url": { "type": "string" }, "healthy": { "type": "boolean" } }));
    let all = object(json!({ "services": { "type": "array", "items": item } }));
    let tools = Known::default()
        .with("t.all", json!({ "type": "object" }), all)
        .with(
            "t.ask",
            object(json!({ "url": { "type": "string" } })),
            object(json!({ "ok": { "type": "boolean" } })),
        )
        .with("t.say", object(json!({ "text": { "type": "string" } })), Value::Null);
    let all = "  - { name: all, tool: t.all }\n";
    let each = "  - { name: each, forEach: '${steps.all.services}', tool: t.ask, params: { url: '${item.url}' } }\n";
    let group = "  - { name: both, parallel: true, steps: [ { name: one, tool: t.ask, params: { url: x } } ] }\n";
    let set = "  - { name: sums, set: { total: '${size(steps.all.services)}' } }\n";
    let say =
        |text: &str| format!("  - {{ name: say, tool: t.say, params: {{ text: \"{text}\" }} }}\n");
    let fine = [
        format!("{all}{each}{}", say("${string(steps.each[0].ok)}")),
        format!("{group}{}", say("${string(steps.both.one.ok)} ${string(steps.one.ok)}")),
        format!("{all}{set}{}", say("${string(steps.sums.total)}")),
    ];
    for steps in fine {
        assert_eq!(check(&steps, &tools).problems, [], "{steps}");
    }
    let wrong = [
        (format!("{all}{}", each.replace("item.url", "item.healthy")), "wrong_type"),
        (format!("{all}{}", each.replace(".services", "")), "wrong_type"),
        (format!("{all}{each}{}", say("${string(steps.each.ok)}")), "unknown_output"),
        (format!("{group}{}", say("${string(steps.both.two.ok)}")), "unknown_output"),
        (format!("{all}{set}{}", say("${steps.sums.total}")), "wrong_type"),
        (format!("{all}{set}{}", say("${string(steps.sums.sum)}")), "unknown_output"),
    ];
    for (steps, code) in wrong {
        assert_eq!(codes(&check(&steps, &tools)), [code], "{steps}");
    }
}

#[test]
fn a_server_that_is_down_is_listed_and_never_a_problem() {
    let findings = check(
        "  - { name: a, tool: down.read, params: { any: thing } }\n  - { name: b, tool: down.write, params: { x: '${steps.a.y.z}' } }\n",
        &Known::default(),
    );
    assert_eq!(findings.problems, []);
    let pointers: Vec<&str> =
        findings.unchecked.iter().map(|entry| entry.pointer.as_str()).collect();
    assert_eq!(pointers, ["/steps/0/tool", "/steps/1/params/x", "/steps/1/tool"]);
}

#[test]
fn a_missing_param_is_taken_from_the_input_of_that_name_or_its_only_value() {
    let wanted = object(
        json!({ "owner": { "type": "string" }, "kind": { "const": "pr" }, "title": { "type": "string" } }),
    );
    let tools = Known::default().with("t.take", wanted, Value::Null);
    let text = "name: test\ninput: { type: object, required: [owner], properties: { owner: { type: string }, title: { type: integer } } }\nsteps:\n  - { name: b, tool: t.take }\n";
    let findings = check_tools(&parse(text).unwrap(), &tools);
    let patches: Vec<Vec<PatchOperation>> =
        findings.problems.iter().map(|problem| problem.patch.clone()).collect();
    let add = |path: &str, value: Value| PatchOperation::Add { path: path.to_owned(), value };
    assert_eq!(
        patches,
        [
            vec![
                add("/steps/0/params", json!({})),
                add("/steps/0/params/owner", json!("${input.owner}"))
            ],
            vec![add("/steps/0/params/kind", json!("pr"))],
            vec![],
        ]
    );
}

#[test]
fn schemas_that_refer_to_themselves_come_to_an_end() {
    let branches = vec![json!({ "$ref": "#/$defs/n" }); 20];
    let node = json!({
        "anyOf": branches, "allOf": branches,
        "properties": { "left": { "$ref": "#/$defs/n" }, "right": { "$ref": "#/$defs/n" } },
        "required": ["left", "right"],
    });
    let mut endless = object(json!({ "v": { "$ref": "#/$defs/n" } }));
    endless["$defs"] = json!({ "n": node });
    let tools = Known::default().with("t.give", json!({ "type": "object" }), endless.clone()).with(
        "t.take",
        endless,
        Value::Null,
    );
    let steps = "  - { name: a, tool: t.give }\n  - { name: b, tool: t.take, params: { v: '${steps.a.v}' } }\n  - { name: c, tool: t.take, params: { v: { left: { left: '${steps.a.v.left.x}' } } } }\n";
    let findings = check(steps, &tools);
    assert_eq!((findings.problems.len(), findings.unchecked.len()), (0, 1), "{findings:#?}");
}

#[test]
fn a_literal_is_checked_by_a_schema_that_refers_only_to_itself() {
    let mut endless = object(json!({ "v": { "$ref": "#/$defs/a" }, "w": { "type": "string" } }));
    endless["$defs"] = json!({ "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } });
    let give = Known::default().with("t.give", json!({ "type": "object" }), endless.clone());
    let tools = give.with("t.take", endless, Value::Null);
    let steps = "  - { name: a, tool: t.give }\n  - { name: b, tool: t.take, params: { v: { x: [1] }, w: 5 } }\n  - { name: c, tool: t.take, params: { v: '${steps.a.v.x}', w: '${steps.a.w}' } }\n";
    let findings = check(steps, &tools);
    let codes: Vec<_> = findings.problems.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(codes, ["/steps/1/params/w"], "{findings:#?}");
}

#[test]
fn a_param_may_have_another_name_that_its_tool_knows() {
    let mut input = object(json!({ "number": { "type": "integer" } }));
    input["additionalProperties"] = false.into();
    let tools = Known::default().with("t.take", input, Value::Null).calling(
        "t.take",
        "issue_number",
        "number",
    );
    let found = |params: &str| {
        let findings =
            check(&format!("  - {{ name: a, tool: t.take, params: {params} }}\n"), &tools);
        let codes = findings.problems.into_iter().map(|problem| (problem.code, problem.pointer));
        codes.collect::<Vec<_>>()
    };
    assert_eq!(found("{ issue_number: 7 }"), []);
    assert_eq!(found("{ number: 7 }"), []);
    let place = "/steps/0/params/issue_number".to_owned();
    assert_eq!(found("{ issue_number: true }"), [("wrong_type", place)]);
    let codes: Vec<_> =
        found("{ isue_number: 7, issue_number: 7 }").into_iter().map(|it| it.0).collect();
    assert_eq!(codes, ["unknown_key"]);
}
