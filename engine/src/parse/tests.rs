//! What reading and checking a document promises: tables of broken documents, and of good ones.

mod constructs;
mod patches;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{Backoff, OnError, Problem, parse};

/// A workflow with these steps, for problems below `steps`.
fn with_steps(steps: &str) -> String {
    format!("name: a\nsteps:\n{steps}")
}

#[track_caller]
fn problems(text: &str) -> Vec<Problem> {
    match parse(text) {
        Err(problems) => problems,
        Ok(workflow) => panic!("this should be refused: {}", workflow.document),
    }
}

/// The only problem of a document: code, JSON Pointer, line, column, suggestion.
type Expected = (&'static str, &'static str, usize, usize, Option<&'static str>);

#[track_caller]
fn check(text: &str, expected: Expected) {
    let found = problems(text);
    let found: Vec<Expected> = found
        .iter()
        .map(|problem| {
            let pointer: &'static str = problem.pointer.clone().leak();
            let suggestion = problem.suggestion.clone().map(|text| &*text.leak());
            (problem.code, pointer, problem.line, problem.column, suggestion)
        })
        .collect();
    assert_eq!(found, [expected], "{text}");
}

#[test]
fn a_text_that_cannot_be_read_says_where_and_what_to_do() {
    let table: [(&str, usize, usize, Option<&str>); 16] = [
        ("name: a\nsteps:\n  - params: { a: ${input.a} }\n", 3, 19, None),
        ("name: a\ndescription: {{ input.a }}\n", 2, 15, Some("description: '{{ input.a }}'")),
        ("name: a\ndescription: Failed: no\n", 2, 20, Some("description: 'Failed: no'")),
        ("name: a\ndescription: @x\n", 2, 14, Some("description: '@x'")),
        ("name: a\nsteps:\n\t- name: b\n", 3, 2, None),
        ("name: a\nsteps:\n  - name: b\n   tool: c.d\n", 4, 4, None),
        ("name: \"a\nsteps: []\n", 1, 7, None),
        ("name: a\n---\nname: b\n", 2, 1, None),
        ("name: a\nsteps: &s\n  - a: *s\n", 3, 8, None),
        ("name: a\nsteps:\n  - &s { name: b }\n  - { <<: *s }\n", 4, 7, None),
        ("name: !secret a\n", 1, 7, None),
        ("{\"name\": \"a\",}", 1, 13, Some("remove the comma before the bracket")),
        ("{\n  \"name\": 'a'\n}", 2, 11, Some("use double quotes")),
        (
            "{\n  \"name\": \"ä\" \"steps\": []\n}",
            2,
            14,
            Some("put a comma between the two values"),
        ),
        ("{\n  name: \"a\"\n}", 2, 3, Some("put double quotes around it")),
        ("{\"name\": \"a\"", 1, 1, Some("close it with `}`")),
    ];
    for (text, line, column, suggestion) in table {
        check(text, ("syntax", "", line, column, suggestion));
    }
}

#[test]
fn every_wrong_key_and_value_is_located() {
    let table: [(&str, Expected); 36] = [
        (
            "  - { name: b, tol: c.d }\n",
            ("unknown_key", "/steps/0/tol", 3, 16, Some("did you mean `tool`?")),
        ),
        (
            "  - { name: b, tool: c.d, need: [] }\n",
            ("unknown_key", "/steps/0/need", 3, 27, Some("did you mean `needs`?")),
        ),
        (
            "  - { name: b, tool: c.d, wibble: 1 }\n",
            ("unknown_key", "/steps/0/wibble", 3, 27, None),
        ),
        (
            "  - { name: b, tool: c.d, forEach: \"${item.x}\" }\n",
            ("unknown_name", "/steps/0/forEach", 3, 36, None),
        ),
        ("  - { name: b, ask: {} }\n", ("missing_key", "/steps/0/ask", 3, 21, None)),
        ("  - { name: b, tool: c.d, name: e }\n", ("duplicate_key", "/steps/0/name", 3, 27, None)),
        ("  - { tool: c.d }\n", ("missing_key", "/steps/0", 3, 5, None)),
        ("  - { name: b }\n", ("missing_key", "/steps/0", 3, 5, None)),
        ("  - b\n", ("wrong_type", "/steps/0", 3, 5, None)),
        (
            "  - { name: Build-It, tool: c.d }\n",
            ("invalid_name", "/steps/0/name", 3, 13, Some("build_it")),
        ),
        ("  - { name: 7, tool: c.d }\n", ("wrong_type", "/steps/0/name", 3, 13, Some("\"7\""))),
        ("  - { name: b, tool: c }\n", ("invalid_tool", "/steps/0/tool", 3, 22, None)),
        (
            "  - { name: b, tool: \"${input.t}.d\" }\n",
            ("invalid_tool", "/steps/0/tool", 3, 22, None),
        ),
        (
            "  - { name: b, tool: c.d, params: [] }\n",
            ("wrong_type", "/steps/0/params", 3, 35, None),
        ),
        (
            "  - { name: b, tool: c.d, needs: x }\n",
            ("wrong_type", "/steps/0/needs", 3, 34, Some("[x]")),
        ),
        (
            "  - { name: b, tool: c.d, if: 3 }\n",
            ("wrong_type", "/steps/0/if", 3, 31, Some("\"3\"")),
        ),
        (
            "  - { name: b, tool: c.d, timeoutMs: 30s }\n",
            ("wrong_type", "/steps/0/timeoutMs", 3, 38, Some("30000")),
        ),
        (
            "  - { name: b, tool: c.d, timeoutMs: '5' }\n",
            ("wrong_type", "/steps/0/timeoutMs", 3, 38, Some("5")),
        ),
        (
            "  - { name: b, tool: c.d, timeoutMs: 0 }\n",
            ("out_of_range", "/steps/0/timeoutMs", 3, 38, Some("1")),
        ),
        (
            "  - { name: b, tool: c.d, onError: contine }\n",
            ("unknown_value", "/steps/0/onError", 3, 36, Some("did you mean `continue`?")),
        ),
        (
            "  - { name: b, tool: c.d, retry: 3 }\n",
            ("wrong_type", "/steps/0/retry", 3, 34, Some("{ maxAttempts: 3 }")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { maxAttempts: 101 } }\n",
            ("out_of_range", "/steps/0/retry/maxAttempts", 3, 49, Some("100")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { backoff: lineal } }\n",
            ("unknown_value", "/steps/0/retry/backoff", 3, 45, Some("did you mean `linear`?")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { jitter: on } }\n",
            ("wrong_type", "/steps/0/retry/jitter", 3, 44, Some("true")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { initialDelayMs: 86400001 } }\n",
            ("out_of_range", "/steps/0/retry/initialDelayMs", 3, 52, Some("86400000")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { maxDelayMs: 5 } }\n",
            ("out_of_range", "/steps/0/retry/maxDelayMs", 3, 48, None),
        ),
        (
            "  - { name: b, tool: c.d, retry: { backoffMultiplier: 0.5 } }\n",
            ("out_of_range", "/steps/0/retry/backoffMultiplier", 3, 55, None),
        ),
        (
            "  - { name: b, tool: c.d, retry: { on: [1] } }\n",
            ("wrong_type", "/steps/0/retry/on/0", 3, 41, Some("\"1\"")),
        ),
        (
            "  - { name: b, tool: c.d, retry: { atempts: 1 } }\n",
            ("unknown_key", "/steps/0/retry/atempts", 3, 36, None),
        ),
        (
            "  - { name: b, tool: c.d, params: { a: [ \"${input.\" ] } }\n",
            ("invalid_expression", "/steps/0/params/a/0", 3, 42, None),
        ),
        (
            "  - { name: b, tool: c.d, if: \"${input.x} == 1\" }\n",
            ("invalid_expression", "/steps/0/if", 3, 31, Some("input.x == 1")),
        ),
        (
            "  - { name: b, tool: c.d, assign: \"1x\" }\n",
            ("invalid_name", "/steps/0/assign", 3, 35, Some("x")),
        ),
        (
            "  - { name: b, tool: c.d, assign: input }\n",
            ("reserved_name", "/steps/0/assign", 3, 35, Some("input_result")),
        ),
        (
            "  - { name: b, tool: c.d, params: { n: 99999999999999999999 } }\n",
            ("number_out_of_range", "", 3, 40, Some("\"99999999999999999999\"")),
        ),
        ("  []\n", ("no_steps", "/steps", 3, 3, None)),
        ("  { name: b, tool: c.d }\n", ("wrong_type", "/steps", 3, 3, None)),
    ];
    for (steps, expected) in table {
        check(&with_steps(steps), expected);
    }
}

#[test]
fn the_head_of_a_document_is_checked() {
    let rest = "\nsteps: [{ name: b, tool: c.d }]\n";
    let table: [(&str, Expected); 13] = [
        ("title: x", ("missing_key", "", 1, 1, None)),
        ("nme: a", ("unknown_key", "/nme", 1, 1, Some("did you mean `name`?"))),
        ("name: a\nlock: ''", ("out_of_range", "/lock", 2, 7, None)),
        ("name: a\ntags: x", ("wrong_type", "/tags", 2, 7, Some("[x]"))),
        (
            "name: a\nconfig: { maxParallel: 0 }",
            ("out_of_range", "/config/maxParallel", 2, 24, Some("1")),
        ),
        (
            "name: a\nconfig: { maxRetries: -1 }",
            ("out_of_range", "/config/maxRetries", 2, 23, None),
        ),
        (
            "name: a\nconfig: { continueOnError: yes }",
            ("wrong_type", "/config/continueOnError", 2, 28, Some("true")),
        ),
        (
            "name: a\nconfig: { undoOnFailure: yes }",
            ("wrong_type", "/config/undoOnFailure", 2, 26, Some("true")),
        ),
        (
            "name: a\nconfig: { timeout: 1 }",
            ("unknown_key", "/config/timeout", 2, 11, Some("did you mean `timeoutMs`?")),
        ),
        ("name: a\ninput: { app: string }", ("invalid_schema", "/input", 2, 8, None)),
        (
            "name: a\ninput: { type: object, properties: { a: { type: strin } } }",
            ("invalid_schema", "/input/properties/a/type", 2, 49, Some("did you mean `string`?")),
        ),
        (
            "name: a\ninput: { type: object, properties: { a: { $ref: \"http://x/y\" } } }",
            ("invalid_schema", "/input", 2, 8, None),
        ),
        ("name: a\noutput: \"${steps.c.x}\"", ("unknown_step", "/output", 2, 9, None)),
    ];
    for (head, expected) in table {
        check(&format!("{head}{rest}"), expected);
    }
}

#[test]
fn names_and_references_are_checked() {
    let table: [(&str, Expected); 17] = [
        (
            "  - { name: b, tool: c.d }\n  - { name: b, tool: c.d }\n",
            ("duplicate_name", "/steps/1/name", 4, 13, None),
        ),
        (
            "  - { name: b, tool: c.d, assign: x }\n  - { name: c, tool: c.d, assign: x }\n",
            ("duplicate_name", "/steps/1/assign", 4, 35, Some("x_result")),
        ),
        (
            "  - { name: b, tool: c.d }\n  - { name: c, tool: c.d, assign: b }\n",
            ("duplicate_name", "/steps/1/assign", 4, 35, Some("b_result")),
        ),
        (
            "  - { name: build, tool: c.d }\n  - { name: c, tool: c.d, needs: [biuld] }\n",
            ("unknown_step", "/steps/1/needs/0", 4, 35, Some("did you mean `build`?")),
        ),
        (
            "  - { name: b, tool: c.d, needs: [b] }\n",
            ("needs_itself", "/steps/0/needs/0", 3, 35, None),
        ),
        (
            "  - { name: b, tool: c.d, needs: [e] }\n  - { name: e, tool: c.d, needs: [b] }\n",
            ("cycle", "/steps/0/needs", 3, 34, None),
        ),
        (
            "  - { name: b, tool: c.d }\n  - { name: c, tool: c.d, needs: [b, b] }\n",
            ("duplicate_name", "/steps/1/needs/1", 4, 38, None),
        ),
        (
            "  - { name: b, tool: c.d }\n  - { name: c, tool: c.d, needs: [], params: { x: \"${steps.b.y}\" } }\n",
            ("not_needed", "/steps/1/params/x", 4, 51, Some("needs: [b]")),
        ),
        (
            "  - { name: b, tool: c.d, assign: q }\n  - { name: c, tool: c.d, needs: [], if: \"has(q.y)\" }\n",
            ("not_needed", "/steps/1/if", 4, 42, Some("needs: [b]")),
        ),
        (
            "  - { name: b, tool: c.d, params: { x: \"${status('c')}\" } }\n  - { name: c, tool: c.d }\n",
            ("not_needed", "/steps/0/params/x", 3, 40, None),
        ),
        (
            "  - { name: b, tool: c.d, params: { x: \"${steps.b.y}\" } }\n",
            ("uses_itself", "/steps/0/params/x", 3, 40, None),
        ),
        (
            "  - { name: build, tool: c.d }\n  - { name: c, tool: c.d, params: { x: \"${steps.built.y}\" } }\n",
            ("unknown_step", "/steps/1/params/x", 4, 40, Some("did you mean `build`?")),
        ),
        (
            "  - { name: b, tool: c.d }\n  - { name: c, tool: c.d, if: \"b.ok\" }\n",
            ("unknown_name", "/steps/1/if", 4, 31, Some("steps.b")),
        ),
        (
            "  - { name: b, tool: c.d, assign: issue }\n  - { name: c, tool: c.d, params: { x: \"${isue.n}\" } }\n",
            ("unknown_name", "/steps/1/params/x", 4, 40, Some("did you mean `issue`?")),
        ),
        (
            "  - { name: b, tool: c.d, params: { x: \"${execution.idd}\" } }\n",
            ("unknown_name", "/steps/0/params/x", 3, 40, Some("did you mean `id`?")),
        ),
        (
            "  - { name: b, tool: c.d, params: { x: \"${error.message}\" } }\n",
            ("unknown_name", "/steps/0/params/x", 3, 40, None),
        ),
        (
            "  - { name: b, tool: c.d, if: \"${inputs.x == 1}\" }\n",
            ("unknown_name", "/steps/0/if", 3, 31, Some("did you mean `input`?")),
        ),
    ];
    for (steps, expected) in table {
        check(&with_steps(steps), expected);
    }
}

#[test]
fn a_cycle_is_named_with_its_steps() {
    let steps = "  - { name: x, tool: c.d, needs: [z] }\n  - { name: y, tool: c.d }\n  \
                 - { name: z, tool: c.d }\n  - { name: after, tool: c.d }\n";
    let problems = problems(&with_steps(steps));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("x → z → y → x"), "{}", problems[0]);
}

#[test]
fn references_to_input_follow_its_schema() {
    let document = |properties: &str, more: &str, reference: &str| {
        format!(
            "name: a\ninput: {{ type: object, properties: {{ {properties} }}{more} }}\n\
             steps: [{{ name: b, tool: c.d, params: {{ x: \"${{{reference}}}\" }} }}]\n"
        )
    };
    let nested = "app: {}, repo: { type: object, properties: { owner: {} } }";
    let closed = ", additionalProperties: false";
    let open = ", additionalProperties: true";
    let refused = [
        (nested, "", "input.ap", Some("did you mean `app`?")),
        (nested, "", "input.repo.ownr", Some("did you mean `owner`?")),
        (nested, "", "repo.ownr", Some("did you mean `owner`?")),
        (
            nested,
            closed,
            "default(input.zzz, 1)",
            Some("add `zzz` to the properties of the input schema"),
        ),
        ("", closed, "input.x", Some("add `x` to the properties of the input schema")),
    ];
    for (properties, more, reference, suggestion) in refused {
        let found = problems(&document(properties, more, reference));
        assert_eq!(found[0].code, "unknown_input", "{reference}");
        assert_eq!(found[0].suggestion.as_deref(), suggestion, "{reference}");
    }
    let accepted = [
        (nested, "", "input.app.anything"),
        (nested, "", "default(input.other, 1)"),
        (nested, "", "repo.owner"),
        (nested, open, "input.other"),
        ("", "", "input.x"),
        (nested, ", patternProperties: { '^x': {} }", "input.xy"),
    ];
    for (properties, more, reference) in accepted {
        let text = document(properties, more, reference);
        assert!(parse(&text).is_ok(), "{reference}: {:?}", parse(&text));
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_text() {
    let text = "name: A b\nwat: 1\nconfig: { maxParallel: 0 }\nsteps:\n  - name: one\n    tool: x\n    \
                needs: [two]\n    params: { a: \"${b c}\", d: \"${nope}\" }\n    retry: { maxAttempts: 0, \
                backoff: x }\noutput: \"${steps.none}\"\n";
    let codes: Vec<&str> = problems(text).iter().map(|problem| problem.code).collect();
    let expected = [
        "invalid_name",
        "unknown_key",
        "out_of_range",
        "invalid_tool",
        "unknown_step",
        "invalid_expression",
        "unknown_name",
        "out_of_range",
        "unknown_value",
        "unknown_step",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_whole_workflow_is_read_from_yaml_and_from_json() {
    let yaml = r##"
$schema: https://example.org/workflow.json
name: deploy_it
title: Deploy
description: |
  Two
  lines
tags: [deploy, "1"]
input:
  type: object
  required: [app]
  properties: { app: { type: string }, "n": { type: integer, default: 1 } }
config: { timeoutMs: 5000, maxParallel: 3, continueOnError: true, maxRetries: 2 }
steps:
  - name: first
    tool: deploy.logs.search
    params: { app: "${input.app}", octal: 0o17, hex: 0x1F, float: 1.0, no: no, empty: , big: 18446744073709551615 }
    assign: logsFound
  - name: second
    tool: deploy.go
    needs: []
    if: ${input.n > 1}
    retry: { maxAttempts: 5, backoff: fixed, initialDelayMs: 90000, jitter: false, on: [timeout] }
    timeoutMs: 1000
    onError: fail
  - { name: third, tool: deploy.end, needs: [first, second], params: "${input}" }
output: { logs: "${logsFound}" }
"##;
    let workflow = parse(yaml).unwrap();
    assert_eq!(workflow.name, "deploy_it");
    assert_eq!(workflow.description.as_deref(), Some("Two\nlines\n"));
    assert_eq!(workflow.tags, ["deploy", "1"]);
    assert_eq!(workflow.config.timeout_ms, Some(5_000));
    assert_eq!((workflow.config.max_parallel, workflow.config.max_retries), (3, 2));
    let [first, second, third] = workflow.steps.as_slice() else { panic!("three steps") };
    assert_eq!(first.label(), "deploy.logs.search");
    assert_eq!((first.retry.max_attempts, first.on_error), (3, OnError::Continue));
    assert_eq!(first.assign.as_deref(), Some("logsFound"));
    assert_eq!((second.retry.backoff, second.retry.max_delay_ms), (Backoff::Fixed, 90_000));
    assert_eq!((second.retry.jitter, second.timeout_ms), (false, Some(1_000)));
    assert_eq!((second.on_error, second.needs.len()), (OnError::Fail, 0));
    assert_eq!(third.needs, [0, 1]);
    let params = &workflow.document["steps"][0]["params"];
    let expected = r#"{"app":"${input.app}","octal":15,"hex":31,"float":1.0,"no":"no","empty":null,"big":18446744073709551615}"#;
    assert_eq!(params.to_string(), expected);

    let again = parse(&workflow.document.to_string()).unwrap();
    assert_eq!(again.document.to_string(), workflow.document.to_string());
    assert_eq!(again.hash, workflow.hash);
    let json = r#"{"name": "\uD83D\uDE00"}"#;
    let unnamed = problems(json);
    assert!(unnamed.iter().any(|problem| problem.message.contains("`😀` is not a name")));
}

#[test]
fn steps_follow_one_another_when_they_do_not_say_otherwise() {
    let steps = "  - { name: b, tool: c.d }\n  - { name: e, tool: c.d }\n  - { name: f, tool: c.d, needs: [b] }\n";
    let workflow = parse(&with_steps(steps)).unwrap();
    let needs: Vec<&[usize]> = workflow.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(needs, [&[][..], &[0], &[0]]);
    assert_eq!(workflow.steps[0].retry.max_attempts, 1);
}

#[test]
fn the_hash_is_of_the_content_and_not_of_its_layout() {
    let hash = |text: &str| parse(text).unwrap().hash;
    let yaml = "steps: [{ tool: c.d, name: b, params: { n: 1 } }]\nname: a\n";
    let json = r#"{"name":"a","steps":[{"name":"b","tool":"c.d","params":{"n":1}}]}"#;
    assert_eq!(hash(yaml), hash(json));
    // `printf '{"name":"a","steps":[{"name":"b","params":{"n":1},"tool":"c.d"}]}' | sha256sum`
    assert_eq!(hash(json), HASH);
    assert_ne!(hash(json), hash(&json.replace(":1}", ":2}")));
    // As 64-bit fractions these two are the same number.
    let (one, other) = (":9007199254740992}", ":9007199254740993}");
    assert_ne!(hash(&json.replace(":1}", one)), hash(&json.replace(":1}", other)));
}

const HASH: &str = "e797c9e9d6ddec0fb6c2c83a01c92b3ecc3651ab7943787cdf2745d6dba0b426";

#[test]
fn values_in_yaml_follow_the_core_schema() {
    let table = [
        ("yes", json!("yes")),
        ("True", json!(true)),
        ("~", json!(null)),
        ("012", json!(12)),
        ("+5", json!(5)),
        ("-0x1", json!("-0x1")),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.", json!(1.0)),
        ("1_000", json!("1_000")),
        ("2026-11-21", json!("2026-11-21")),
        ("1.2.3", json!("1.2.3")),
        ("!!str 5", json!("5")),
        ("'5'", json!("5")),
        ("\"a\\u00e4\\n\"", json!("aä\n")),
        ("-", json!("-")),
        ("0.1", json!(0.1)),
        ("-9223372036854775808", json!(i64::MIN)),
    ];
    for (source, expected) in table {
        let text = format!("name: a\nsteps: [{{ name: b, tool: c.d }}]\noutput:\n  v: {source}\n");
        // A lone dash begins a list; in a flow it is a text.
        let text = if source == "-" { text.replace("v: -", "v: '-'") } else { text };
        let workflow = parse(&text).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        assert_eq!(workflow.document["output"]["v"].to_string(), expected.to_string(), "{source}");
    }
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "name: a\nsteps:\n  - { name: b, tool: c.d, retry: &often { maxAttempts: 7 } }\n  \
                - { name: c, tool: c.d, retry: *often }\n";
    assert_eq!(parse(text).unwrap().steps[1].retry.max_attempts, 7);
}

#[test]
fn what_is_too_large_is_refused_quickly() {
    let mut laughs = String::from("name: a\nx0: &x0 [1,2,3,4,5,6,7,8,9,0]\n");
    for level in 1..12 {
        let inner = vec![format!("*x{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("x{level}: &x{level} [{inner}]\n"));
    }
    let many: String = (0..10_001).map(|i| format!("  - {{ name: s{i}, tool: c.d }}\n")).collect();
    let documents = [
        laughs,
        format!("name: a\ndescription: {}\n", "x".repeat(1024 * 1024)),
        format!("name: a\nsteps: {}\n", "[".repeat(50_000)),
        format!("name: a\nsteps: {}{}\n", "[".repeat(70), "]".repeat(70)),
        format!("{{\"name\": {}{}}}", "[".repeat(70), "]".repeat(70)),
        format!("{{\"name\": {}", "[".repeat(50_000)),
        with_steps(&many),
    ];
    for text in documents {
        let start = Instant::now();
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.code == "too_large"), "{:?}", found.first());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn five_hundred_steps_are_read_and_checked_at_once() {
    let mut steps = String::new();
    for index in 0..500 {
        let before = index.max(1) - 1;
        steps.push_str(&format!(
            "  - name: step_{index}\n    tool: github.getIssue\n    assign: name_{index}\n    params:\n      \
             owner: ${{repo.owner}}\n      number: ${{input.number}}\n      list: [\"${{input.tags[0].name}}\", 2]\n"
        ));
        if 0 < index {
            steps.push_str(&format!(
                "      text: \"a ${{steps.step_{before}.title}} b ${{name_{before}.url}}\"\n    \
                 if: ${{size(steps.step_0.labels) > 0 && status('step_{before}') == 'completed'}}\n"
            ));
        }
    }
    let text = with_steps(&steps);
    let fastest = (0..3)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(parse(&text).unwrap().steps.len(), 500);
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("500 steps in {fastest:?}");
    // Without optimisation and on a busy machine; what grows with the square shows all the same.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    let parts = [
        "name: a\n",
        "steps:\n",
        "  - ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        ", ",
        "\"",
        "'",
        "${",
        "input.x",
        "tool: c.d\n",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        "> ",
        "#",
        "\n",
        "\t",
        "  ",
        "---\n",
        "? ",
        "<<",
        "ä",
        "😀",
        "\u{0}",
        "\u{feff}",
        "1e999",
        "\\u",
        "null",
        "needs",
        "if: ",
        "retry: ",
        "\r",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut text: String = (0..next(14)).map(|_| parts[next(parts.len())]).collect();
        let _ = parse(&text);
        text.insert(0, '{');
        let _ = parse(&text);
    }
}
