//! Verdicts, as a table: what changed about a tool, how it is used, and what that means.

use serde_json::{Value, json};
use windlass_engine::{ToolName, Workflow, parse};

use super::{Difference, Drift, Severity, TOOL_CHANGED, ToolSnapshot, Usage, classify, stop};
use crate::tool_servers::RetryClass;

/// A tool as it was pinned.
fn pinned() -> ToolSnapshot {
    ToolSnapshot {
        name: "x.put".into(),
        description: "Puts a thing.".into(),
        input_schema: json!({
            "type": "object",
            "required": ["key"],
            "properties": {
                "key": { "type": "string" },
                "mode": { "type": "string", "enum": ["soft", "hard"] },
                "count": { "type": "integer", "maximum": 10, "default": 1 },
                "where": { "type": "object", "properties": { "city": { "type": "string" } } },
                "labels": { "type": "array", "items": { "type": "string" } },
            },
        }),
        output_schema: Some(json!({
            "type": "object",
            "required": ["url", "size"],
            "properties": {
                "url": { "type": "string" },
                "size": { "type": "integer" },
                "by": { "type": "object", "properties": { "name": { "type": "string" } } },
            },
        })),
        annotations: json!({ "readOnlyHint": false, "destructiveHint": false, "openWorldHint": false }),
        retry_class: RetryClass::Keyed,
    }
}

/// The pinned tool with one place of it set to something else, or taken away.
fn with(pointer: &str, value: Option<Value>) -> ToolSnapshot {
    let mut tool = json!(pinned());
    let (above, key) = pointer.rsplit_once('/').unwrap();
    let above = tool.pointer_mut(above).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => above.insert(key.to_owned(), value),
        None => above.remove(key),
    };
    serde_json::from_value(tool).unwrap()
}

fn workflow() -> Workflow {
    let document = json!({
        "name": "use_it",
        "steps": [
            {
                "name": "put", "tool": "x.put",
                "params": { "key": "${input.key}", "mode": "soft", "where": { "city": "${input.city}" } },
            },
            { "name": "after", "tool": "y.other", "params": { "to": "see ${steps.put.url}" } },
        ],
    });
    parse(&document.to_string()).unwrap()
}

fn usage() -> Usage {
    Usage::of(&workflow(), &ToolName::parse("x.put").unwrap())
}

fn verdict(live: &ToolSnapshot) -> Option<Severity> {
    classify(&pinned(), Some(live), &usage()).severity()
}

#[track_caller]
fn check(pointer: &str, value: impl Into<Option<Value>>, expected: Severity) {
    let live = with(pointer, value.into());
    let drift = classify(&pinned(), Some(&live), &usage());
    assert_eq!(drift.severity(), Some(expected), "{pointer}: {drift:?}");
}

const IN: &str = "/input_schema/properties";
const OUT: &str = "/output_schema/properties";

#[test]
fn a_tool_that_is_the_same_has_not_drifted() {
    assert_eq!(classify(&pinned(), Some(&pinned()), &usage()), Drift::Same);
    assert_eq!(pinned().digest(), pinned().digest());
}

#[test]
fn a_tool_that_is_gone_is_broken() {
    assert_eq!(classify(&pinned(), None, &usage()).severity(), Some(Severity::Broken));
}

#[test]
fn what_is_sent_must_still_be_taken() {
    use Severity::{Broken, Compatible, NeedsReview};
    check("/input_schema/required", json!(["key", "owner"]), Broken);
    check("/input_schema/required", json!(["key", "mode"]), Compatible);
    check("/input_schema/required", json!(["key", "idempotency_key"]), Compatible);
    check("/input_schema/required", json!([]), Compatible);
    check(&format!("{IN}/key"), None, Broken);
    check(&format!("{IN}/key"), json!({ "type": "integer" }), Broken);
    check(&format!("{IN}/key"), json!({ "type": ["string", "null"] }), Compatible);
    check(&format!("{IN}/key"), json!({ "type": "string", "enum": ["a"] }), Broken);
    check(&format!("{IN}/key"), json!({ "type": "string", "pattern": "^a" }), NeedsReview);
    check(&format!("{IN}/key"), json!({ "type": "string", "description": "which" }), Compatible);
    check(&format!("{IN}/where/properties"), json!({}), Broken);
    check(&format!("{IN}/where/required"), json!(["country"]), Broken);
    check(&format!("{IN}/where/required"), json!(["city"]), Compatible);
    check("/input_schema/additionalProperties", json!(false), Compatible);
    check("/input_schema/anyOf", json!([{ "required": ["mode"] }]), NeedsReview);
}

#[test]
fn a_value_that_is_known_word_for_word_is_tried() {
    use Severity::{Broken, Compatible};
    check(&format!("{IN}/mode/enum"), json!(["soft"]), Compatible);
    check(&format!("{IN}/mode/enum"), json!(["soft", "hard", "wet"]), Compatible);
    check(&format!("{IN}/mode/enum"), json!(["hard"]), Broken);
}

#[test]
fn what_is_not_sent_may_change_but_for_its_default() {
    use Severity::{Compatible, NeedsReview};
    check(&format!("{IN}/labels"), None, Compatible);
    check(&format!("{IN}/labels/items"), json!({ "type": "integer" }), Compatible);
    check(&format!("{IN}/count/maximum"), json!(3), Compatible);
    check(&format!("{IN}/count/default"), json!(2), NeedsReview);
    check(&format!("{IN}/fresh"), json!({ "type": "string" }), Compatible);
}

#[test]
fn what_is_read_must_still_be_there() {
    use Severity::{Broken, Compatible, NeedsReview};
    check(&format!("{OUT}/url"), None, Broken);
    check(&format!("{OUT}/url"), json!({ "type": "integer" }), Broken);
    check(&format!("{OUT}/url"), json!({ "type": ["string", "null"] }), Broken);
    check("/output_schema/required", json!(["size"]), NeedsReview);
    check(&format!("{OUT}/size"), None, Compatible);
    check(&format!("{OUT}/size"), json!({ "type": "string" }), Compatible);
    check(&format!("{OUT}/by/properties"), json!({}), Compatible);
    check(&format!("{OUT}/fresh"), json!({ "type": "string" }), Compatible);
    check("/output_schema", Value::Null, NeedsReview);
}

#[test]
fn a_riskier_tool_needs_a_review_and_a_safer_one_does_not() {
    use Severity::{Compatible, NeedsReview};
    check("/annotations/destructiveHint", json!(true), NeedsReview);
    check("/annotations/destructiveHint", None, NeedsReview);
    check("/annotations/openWorldHint", None, NeedsReview);
    check("/annotations/readOnlyHint", json!(true), Compatible);
    check("/annotations/title", json!("Put"), Compatible);
    check("/retry_class", json!("unsafe"), NeedsReview);
    check("/retry_class", json!("idempotent"), Compatible);

    let mut reader = pinned();
    reader.retry_class = RetryClass::Read;
    let drift = classify(&reader, Some(&pinned()), &usage());
    assert_eq!(drift.severity(), Some(NeedsReview));
}

#[test]
fn other_words_are_shown_and_stop_nothing() {
    let live = with("/description", Some(json!("Puts a thing, and takes another.")));
    let drift = classify(&pinned(), Some(&live), &usage());
    let message = "was \"Puts a thing.\", is \"Puts a thing, and takes another.\"".to_owned();
    let part = "description".to_owned();
    let severity = Severity::Compatible;
    assert_eq!(drift, Drift::Compatible(vec![Difference { severity, part, message }]));
    assert_eq!(stop("use_it", &pinned(), Some(&live), &usage()), None);
}

#[test]
fn where_nobody_knows_how_it_is_used_everything_counts() {
    for (pointer, value) in [
        (format!("{OUT}/size"), None),
        (format!("{IN}/labels"), None),
        ("/input_schema/required".to_owned(), Some(json!(["key", "mode"]))),
    ] {
        let live = with(&pointer, value);
        let drift = classify(&pinned(), Some(&live), &Usage::unknown());
        assert_eq!(drift.severity(), Some(Severity::Broken), "{pointer}");
    }
}

#[test]
fn the_worst_difference_comes_first_and_is_what_stops() {
    let mut live = with(&format!("{OUT}/url"), None);
    live.description = "Other words.".into();
    live.annotations = Value::Null;
    let failure = stop("use_it", &pinned(), Some(&live), &usage()).unwrap();
    assert_eq!(failure.code, TOOL_CHANGED);
    assert_eq!(failure.retryable, Some(false));
    assert_eq!(
        failure.message,
        "x.put is not the tool that this revision was pinned to, and was not called: output.url: is gone, and the \
         workflow reads it; annotations: was not destructive, and is not: it may destroy something now; annotations: \
         was closed-world, and is not: it may reach the outside now. Change the workflow to fit, or look at the \
         difference and take the tool as it is now: windlass accept use_it"
    );
    assert_eq!(verdict(&live), Some(Severity::Broken));
}

/// Which of the tool's results a document reads, told by taking one after the other away.
fn reads(document: &Value, part: &str) -> bool {
    let workflow = parse(&document.to_string()).unwrap();
    let usage = Usage::of(&workflow, &ToolName::parse("x.put").unwrap());
    usage.reads(&[part.to_owned()])
}

#[test]
fn results_are_read_by_path_alias_condition_and_as_the_output() {
    let put = |more: Value| {
        let mut step = json!({ "name": "put", "tool": "x.put", "params": {} });
        step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        step
    };
    let group = |more: Value| {
        let other = json!({ "name": "other", "tool": "y.other", "params": {} });
        let mut group = json!({ "name": "g", "steps": [put(json!({})), other] });
        group.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        group
    };
    let document = |steps: Value| json!({ "name": "w", "steps": steps, "output": { "ok": true } });
    let say = |text: &str| json!({ "name": "say", "tool": "y.say", "params": { "t": text } });
    for (steps, url, size) in [
        (json!([put(json!({}))]), false, false),
        (json!([put(json!({})), say("${steps.put.url}")]), true, false),
        (json!([put(json!({})), say("put the steps: ${input.url}")]), false, false),
        (json!([put(json!({})), say("${json(steps.put)}")]), true, true),
        (json!([put(json!({ "assign": "made" })), say("${made.size}")]), false, true),
        (json!([put(json!({ "expect": "result.size > 1" }))]), false, true),
        (json!([put(json!({ "forEach": "${[1]}" }))]), false, false),
        (json!([put(json!({ "forEach": "${[1]}" })), say("${steps.put[0].url}")]), true, true),
        (json!([put(json!({ "forEach": "${[1]}", "expect": "result.size > 1" }))]), false, true),
        (json!([group(json!({}))]), false, false),
        (json!([group(json!({})), say("${steps.g.put.url} ${steps.g.other.size}")]), true, false),
        (json!([group(json!({})), say("${steps.put.url}")]), true, false),
        (json!([group(json!({})), say("${json(steps.g)}")]), true, true),
        (json!([group(json!({ "assign": "all" })), say("${all.put.size}")]), false, true),
        (json!([group(json!({ "forEach": "${[1]}" })), say("${steps.g[0].put.url}")]), true, true),
        (
            json!([group(
                json!({ "repeat": { "until": "steps.put.size > 1", "maxIterations": 3 } })
            )]),
            false,
            true,
        ),
        (
            json!([put(json!({ "undo": { "tool": "x.un", "params": { "u": "${result.url}" } } }))]),
            true,
            false,
        ),
        (
            json!([put(json!({})), { "name": "s", "if": "steps.put.url != ''", "tool": "y.s" }]),
            true,
            false,
        ),
    ] {
        let document = document(steps);
        assert_eq!((reads(&document, "url"), reads(&document, "size")), (url, size), "{document}");
    }
    let last = json!({ "name": "w", "steps": [put(json!({}))] });
    assert!(reads(&last, "url"), "without `output`, the last result is the execution's");
    let last = json!({ "name": "w", "steps": [group(json!({}))] });
    assert!(reads(&last, "url"), "and the last group's holds its steps'");
}

#[test]
fn schemas_that_refer_only_to_themselves_come_to_an_end() {
    let endless = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/a" } } });
    for pointer in ["/input_schema", "/output_schema"] {
        let live = with(pointer, Some(endless.clone()));
        _ = classify(&pinned(), Some(&live), &usage());
        assert_eq!(classify(&live, Some(&live), &usage()), Drift::Same);
    }
}
