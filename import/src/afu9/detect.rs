//! Telling AFU-9's documents from our own.

use serde_json::{Map, Value};

use super::{CONFIG_KEYS, RETRY, STEP_KEYS, TOP_KEYS};

/// What only our own expressions have.
const OURS: [&str; 8] =
    ["steps.", "steps[", "status('", "error('", "default(", "has(", "execution.", "now()"];

/// What only AFU-9's expressions have.
const THEIRS: [&str; 12] = [
    "input.",
    "repo.",
    "issue.",
    "variables.",
    "===",
    "!==",
    "new Date",
    "Date.now",
    ".length",
    ".includes(",
    ".toUpperCase(",
    ".toLowerCase(",
];

/// Whether a text is a document of AFU-9: it has only AFU-9's keys, nothing that only we have, and
/// some sign of AFU-9.
pub(crate) fn is(text: &str) -> bool {
    if !text.trim_start().starts_with('{') {
        return false;
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(document)) => is_document(&document),
        _ => false,
    }
}

fn is_document(document: &Map<String, Value>) -> bool {
    let request = ["workflow", "context", "config"];
    if let Some(Value::Object(workflow)) = document.get("workflow") {
        return only(document, &request) && workflow.get("steps").is_some_and(Value::is_array);
    }
    let Some(steps) = document.get("steps").and_then(Value::as_array) else { return false };
    let fits = only(document, &TOP_KEYS)
        && only_in(document.get("config"), &CONFIG_KEYS)
        && steps.iter().all(is_step);
    let sign = !document.contains_key("name")
        || document.contains_key("errorHandling")
        || steps.iter().any(|step| step.get("condition").is_some());
    let mut expressions = Vec::new();
    steps.iter().for_each(|step| collect(step, &mut expressions));
    let ours = expressions.iter().any(|text| {
        let text = text.replace("Date.now()", "");
        OURS.iter().any(|sign| text.contains(sign))
    });
    let theirs = expressions.iter().any(|text| THEIRS.iter().any(|sign| text.contains(sign)));
    fits && !ours && (sign || theirs)
}

fn is_step(step: &Value) -> bool {
    let retry: Vec<&str> = RETRY.iter().map(|(key, _)| *key).chain(["backoff"]).collect();
    only_in(Some(step), &STEP_KEYS) && only_in(step.get("retry"), &retry)
}

fn only(object: &Map<String, Value>, keys: &[&str]) -> bool {
    object.keys().all(|key| keys.contains(&key.as_str()))
}

fn only_in(value: Option<&Value>, keys: &[&str]) -> bool {
    value.and_then(Value::as_object).is_none_or(|object| only(object, keys))
}

/// The texts that hold expressions.
fn collect<'v>(value: &'v Value, texts: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if text.contains("${") => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(entries) => entries.values().for_each(|item| collect(item, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
