//! The parts of schemas and answers that all tools which change something have in common.

use serde_json::{Value, json};

/// Adds `dry_run` to the schema of a tool's arguments.
#[must_use]
pub fn changing_arguments(mut schema: Value) -> Value {
    schema["properties"]["dry_run"] = json!({ "type": "boolean", "default": false, "description": "Only say what would be done" });
    schema
}

/// The schema of the result of a tool that changes something: either done, or planned.
#[must_use]
pub fn changing_result(properties: Value, required: &[&str]) -> Value {
    let mut all = properties;
    all["created"] =
        json!({ "type": "boolean", "description": "False when the work was found done" });
    all["warnings"] = json!({ "type": "array", "items": { "type": "string" } });
    all["dry_run"] = json!({ "type": "boolean", "description": "True when nothing was done" });
    all["plan"] = json!({ "type": "array", "items": { "type": "string" }, "description": "What would be done, on a dry run" });
    json!({
        "type": "object", "properties": all, "required": ["created", "warnings"],
        "anyOf": [{ "required": required }, { "required": ["dry_run", "plan"] }],
    })
}

/// What a dry run answers.
#[must_use]
pub fn planned(plan: Vec<String>, known: Value) -> Value {
    let mut answer = json!({ "dry_run": true, "created": false, "plan": plan, "warnings": [] });
    if let (Value::Object(answer), Value::Object(known)) = (&mut answer, known) {
        answer.extend(known);
    }
    answer
}

/// The schema of a text argument that may not be empty.
#[must_use]
pub fn text(description: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "description": description })
}
