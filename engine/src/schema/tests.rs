//! The schema and the reader say the same.
//!
//! Every document that a test of this crate reads is also held against the schema: see [`must_accept`].

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::language_schema;
use crate::parse::{draft, kinds, requests, steps};
use crate::{parse, to_json};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(language_schema()).expect("the schema is a JSON Schema")
});

/// What the reader takes, the schema takes.
#[track_caller]
pub(crate) fn must_accept(document: &Value) {
    let errors: Vec<String> = VALIDATOR
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "the reader takes it and the schema does not: {errors:#?}\n{document:#}"
    );
}

/// Every kind of object, where the schema has it, and the keys that the reader knows.
const OBJECTS: [(&str, &[&str]); 13] = [
    ("", &draft::KEYS),
    ("/$defs/Config", &draft::CONFIG_KEYS),
    ("/$defs/Step", &steps::KEYS),
    ("/$defs/ApprovalTerms", &requests::APPROVAL_KEYS),
    ("/$defs/Ask", &requests::ASK_KEYS),
    ("/$defs/Form", &requests::SCHEMA_KEYS),
    ("/$defs/LockTerms", &requests::LOCK_KEYS),
    ("/$defs/Retry", &kinds::RETRY_KEYS),
    ("/$defs/Repeat", &kinds::REPEAT_KEYS),
    ("/$defs/Wait", &kinds::WAIT_KEYS),
    ("/$defs/StopTerms", &kinds::STOP_KEYS),
    ("/$defs/Verify", &kinds::VERIFY_KEYS),
    ("/$defs/Undo", &kinds::UNDO_KEYS),
];

#[test]
fn every_object_has_the_keys_that_the_reader_knows_and_no_others() {
    for (pointer, known) in OBJECTS {
        let object = language_schema().pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let properties = object["properties"].as_object().expect("properties");
        let written: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(written, known.iter().copied().collect(), "{pointer}");
        assert_eq!(object["additionalProperties"], false, "{pointer}");
        for (key, property) in properties {
            assert!(
                property["description"].is_string(),
                "{pointer} {key} says nothing in an editor"
            );
        }
    }
    let closed = language_schema()["$defs"].as_object().expect("definitions").values();
    let closed = closed.filter(|object| object["additionalProperties"] == false).count();
    assert_eq!(closed, OBJECTS.len() - 1, "an object that is not compared with the reader");
}

/// A document of one step with these keys.
fn with_step(step: Value) -> Value {
    let mut whole = json!({ "name": "a" });
    whole.as_object_mut().expect("an object").extend(step.as_object().expect("an object").clone());
    json!({ "name": "w", "steps": [whole] })
}

fn with_config(config: Value) -> Value {
    json!({ "name": "w", "config": config, "steps": [{ "name": "a", "tool": "x.y" }] })
}

/// What the reader says of a document.
fn codes(document: &Value) -> Vec<(&'static str, Option<String>)> {
    let problems = parse(&document.to_string()).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.code, problem.expected)).collect()
}

#[test]
fn every_choice_has_the_words_that_the_reader_knows() {
    type Document = fn(Value) -> Value;
    let table: [(&str, Document); 8] = [
        ("/$defs/OnError", |word| with_step(json!({ "tool": "x.y", "onError": word }))),
        ("/$defs/OnUncertain", |word| {
            let verify = json!({ "tool": "x.z", "expect": "result.ok" });
            match word == "verify" {
                true => with_step(json!({ "tool": "x.y", "onUncertain": word, "verify": verify })),
                false => with_step(json!({ "tool": "x.y", "onUncertain": word })),
            }
        }),
        ("/$defs/Backoff", |word| {
            with_step(json!({ "tool": "x.y", "retry": { "backoff": word } }))
        }),
        ("/$defs/OnExpire", |word| with_step(json!({ "approval": { "onExpire": word } }))),
        ("/$defs/OnBusy", |word| {
            with_step(json!({ "tool": "x.y", "lock": { "key": "k", "onBusy": word } }))
        }),
        ("/$defs/Outcome", |word| with_step(json!({ "stop": word }))),
        ("/$defs/WaitFor/anyOf/0", |word| {
            let inner = json!([{ "name": "b", "tool": "x.y" }]);
            with_step(json!({ "steps": inner, "parallel": true, "waitFor": word }))
        }),
        ("/$defs/Field/properties/type", |word| {
            let schema = json!({ "type": "object", "properties": { "a": { "type": word } } });
            with_step(json!({ "ask": { "schema": schema } }))
        }),
    ];
    for (pointer, document) in table {
        let choice = language_schema().pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let words = choice["enum"].as_array().unwrap_or_else(|| panic!("{pointer} has no words"));
        for word in words {
            assert_eq!(codes(&document(word.clone())), [], "{pointer} {word}");
        }
        let unknown = codes(&document(json!("zzzzzz")));
        let expected = unknown[0].1.as_deref().expect("the reader says what it knows");
        let known: BTreeSet<&str> =
            expected.split([' ', ',', '`']).filter(|word| !["", "or"].contains(word)).collect();
        let words: BTreeSet<&str> = words.iter().filter_map(Value::as_str).collect();
        assert_eq!(words, known, "{pointer}");
    }
}

#[test]
fn every_number_has_the_bounds_that_the_reader_has() {
    type Document = fn(Value) -> Value;
    let table: [(&str, Document); 15] = [
        ("/$defs/Config/properties/timeoutMs", |n| with_config(json!({ "timeoutMs": n }))),
        ("/$defs/Config/properties/maxParallel", |n| with_config(json!({ "maxParallel": n }))),
        ("/$defs/Config/properties/maxRetries", |n| with_config(json!({ "maxRetries": n }))),
        ("/$defs/Step/properties/timeoutMs", |n| {
            with_step(json!({ "tool": "x.y", "timeoutMs": n }))
        }),
        ("/$defs/Step/properties/maxParallel", |n| {
            with_step(json!({ "tool": "x.y", "forEach": [1], "maxParallel": n }))
        }),
        ("/$defs/Retry/properties/maxAttempts", |n| {
            with_step(json!({ "tool": "x.y", "retry": { "maxAttempts": n } }))
        }),
        ("/$defs/Retry/properties/initialDelayMs", |n| {
            with_step(json!({ "tool": "x.y", "retry": { "initialDelayMs": n } }))
        }),
        ("/$defs/Retry/properties/maxDelayMs", |n| {
            with_step(json!({ "tool": "x.y", "retry": { "maxDelayMs": n, "initialDelayMs": 0 } }))
        }),
        ("/$defs/Retry/properties/backoffMultiplier", |n| {
            with_step(json!({ "tool": "x.y", "retry": { "backoffMultiplier": n } }))
        }),
        ("/$defs/Repeat/properties/maxIterations", |n| {
            let inner = json!([{ "name": "b", "tool": "x.y" }]);
            with_step(json!({ "steps": inner, "repeat": { "until": true, "maxIterations": n } }))
        }),
        ("/$defs/Wait/properties/timeoutMs", |n| {
            with_step(json!({ "wait": { "event": "e", "timeoutMs": n } }))
        }),
        ("/$defs/Milliseconds/anyOf/0", |n| with_step(json!({ "wait": { "ms": n } }))),
        ("/$defs/ApprovalTerms/properties/quorum", |n| {
            with_step(json!({ "approval": { "quorum": n } }))
        }),
        ("/$defs/ApprovalTerms/properties/expiresMs", |n| {
            with_step(json!({ "approval": { "expiresMs": n } }))
        }),
        ("/$defs/Ask/properties/expiresMs", |n| {
            let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
            with_step(json!({ "ask": { "schema": schema, "expiresMs": n } }))
        }),
    ];
    for (pointer, document) in table {
        let number = language_schema().pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let bound =
            |key: &str| number[key].as_f64().unwrap_or_else(|| panic!("{pointer}: no {key}"));
        let (least, most) = (bound("minimum") as i64, bound("maximum") as i64);
        for allowed in [least, most] {
            assert_eq!(codes(&document(json!(allowed))), [], "{pointer} {allowed}");
        }
        for refused in [least - 1, most + 1] {
            let document = document(json!(refused));
            assert!(!codes(&document).is_empty(), "{pointer}: the reader takes {refused}");
            assert!(!VALIDATOR.is_valid(&document), "{pointer}: the schema takes {refused}");
        }
    }
}

/// Steps that the reader refuses and that a schema can see to be wrong.
const BROKEN_STEPS: [&str; 38] = [
    "{ tool: x.y, tol: 1 }",
    "{}",
    "{ params: {} }",
    "{ tool: x.y, set: { a: 1 } }",
    "{ approval: { message: m }, set: { a: 1 } }",
    "{ tool: xy }",
    "{ tool: 'x y.z' }",
    "{ tool: 7 }",
    "{ tool: x.y, params: [1] }",
    "{ tool: x.y, params: words }",
    "{ workflow: Other }",
    "{ tool: x.y, needs: b }",
    "{ tool: x.y, needs: [b, b] }",
    "{ tool: x.y, if: 7 }",
    "{ tool: x.y, as: thing }",
    "{ tool: x.y, maxParallel: 2 }",
    "{ tool: x.y, forEach: 7 }",
    "{ tool: x.y, retry: 3 }",
    "{ tool: x.y, retry: { attempts: 3 } }",
    "{ tool: x.y, timeoutMs: 30s }",
    "{ tool: x.y, onError: ignore }",
    "{ tool: x.y, undo: { params: {} } }",
    "{ tool: x.y, onUncertain: verify }",
    "{ tool: x.y, verify: { tool: x.z, expect: result.ok } }",
    "{ tool: x.y, lock: { onBusy: queue } }",
    "{ tool: x.y, approval: ask_bob }",
    "{ tool: x.y, approval: { approvers: [] } }",
    "{ wait: { ms: 5, until: '2027-01-01T00:00:00Z' } }",
    "{ wait: { ms: 5, timeoutMs: 5 } }",
    "{ wait: { event: e }, timeoutMs: 5 }",
    "{ set: {} }",
    "{ set: { 'a-b': 1 } }",
    "{ stop: { message: m } }",
    "{ stop: failed, retry: { maxAttempts: 2 } }",
    "{ ask: { message: m } }",
    "{ ask: { schema: { type: object, properties: { a: { type: array } } } } }",
    "{ steps: [{ name: b, tool: x.y }], waitFor: any }",
    "{ steps: [{ name: b, tool: x.y }], forEach: [1], repeat: { until: true } }",
];

/// Whole documents of that kind.
const BROKEN_DOCUMENTS: [&str; 10] = [
    "{ steps: [{ name: a, tool: x.y }] }",
    "{ name: w }",
    "{ name: w, steps: [] }",
    "{ name: W, steps: [{ name: a, tool: x.y }] }",
    "{ name: w, stepz: [], steps: [{ name: a, tool: x.y }] }",
    "{ name: w, title: 7, steps: [{ name: a, tool: x.y }] }",
    "{ name: w, tags: one, steps: [{ name: a, tool: x.y }] }",
    "{ name: w, input: { properties: {} }, steps: [{ name: a, tool: x.y }] }",
    "{ name: w, config: { timeout: 5 }, steps: [{ name: a, tool: x.y }] }",
    "{ name: w, onFailure: [], steps: [{ name: a, tool: x.y }] }",
];

fn read(text: &str) -> Value {
    // What begins with a brace is taken for JSON; these are not.
    to_json(&format!("--- {text}")).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

#[test]
fn what_a_schema_can_see_to_be_wrong_it_refuses_as_the_reader_does() {
    let steps = BROKEN_STEPS.map(|step| {
        let mut step = read(step);
        step.as_object_mut().expect("an object").insert("name".to_owned(), "a".into());
        json!({ "name": "w", "steps": [{ "name": "b", "tool": "x.y" }, step] })
    });
    for document in steps.into_iter().chain(BROKEN_DOCUMENTS.map(read)) {
        assert!(!codes(&document).is_empty(), "the reader takes {document}");
        assert!(!VALIDATOR.is_valid(&document), "the schema takes {document}");
    }
}
