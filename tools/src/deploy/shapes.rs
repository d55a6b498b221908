//! What answers have in common, as schemas.

use serde_json::{Map, Value, json};

/// The statuses of a deployment.
pub(super) const STATUSES: [&str; 7] =
    ["pending", "in_progress", "awaiting_action", "succeeded", "failed", "rolled_back", "stopped"];

/// The members of a deployment as every tool shows it.
pub(super) fn deployment() -> Value {
    let text = json!({ "type": ["string", "null"] });
    json!({
        "deployment_id": { "type": ["string", "null"], "description": "What waitForDeployment, continueDeployment and others take" },
        "kind": { "type": "string" }, "app": text, "environment": text,
        "status": { "type": "string", "enum": STATUSES },
        "action": { "type": "string", "description": "deploy, rollback, restart or update" },
        "version": text, "image": text,
        "from": { "type": ["string", "null"], "description": "What ran before: a version, or a task definition" },
        "to": { "type": ["string", "null"], "description": "What is to run" },
        "started_at": text, "finished_at": text, "url": text,
        "by": text, "requested_because": text,
        "reason": { "type": ["string", "null"], "description": "Why it failed" },
        "progress": progress(),
    })
}

/// What a deployment always has.
pub(super) const DEPLOYMENT: [&str; 4] = ["deployment_id", "kind", "status", "started_at"];

fn progress() -> Value {
    json!({
        "type": ["object", "null"],
        "properties": {
            "stage": { "type": ["string", "null"] }, "percent": { "type": ["number", "null"] },
            "desired": { "type": "integer" }, "running": { "type": "integer" }, "failed": { "type": "integer" },
            "traffic": { "type": ["number", "null"], "description": "How much of the traffic the new version gets, in percent" },
        },
    })
}

/// What a deployment that waits for a person's word says.
pub(super) fn awaiting_action() -> Value {
    json!({
        "type": ["object", "null"],
        "properties": {
            "hook_id": { "type": "string" }, "stage": { "type": ["string", "null"] },
            "expires_at": { "type": ["string", "null"] },
            "timeout_action": { "type": ["string", "null"], "description": "What happens when nobody answers" },
        },
    })
}

/// Why a deployment failed, as far as it shows.
pub(super) fn diagnosis() -> Value {
    let text = json!({ "type": ["string", "null"] });
    json!({
        "type": ["object", "null"],
        "properties": {
            "summary": { "type": "string" },
            "events": { "type": "array", "items": { "type": "object", "properties": { "at": text, "message": { "type": "string" } } } },
            "stopped_tasks": { "type": "array", "items": { "type": "object", "properties": {
                "count": { "type": "integer" }, "kind": { "type": "string", "description": "image_pull, crash, out_of_memory, unhealthy, resources or other" },
                "stop_code": text, "stopped_reason": text, "exit_code": { "type": ["integer", "null"] },
                "reason": text, "container": text, "example_task": text,
            } } },
            "log_group": { "type": ["string", "null"], "description": "Where its tasks write logs: search it with the observability server" },
            "log_stream_prefix": text,
            "alarms": { "type": "array", "items": { "type": "string" } },
        },
    })
}

/// Adds members to an object of schemas.
pub(super) fn with(mut properties: Value, more: Value) -> Value {
    merge(&mut properties, more);
    properties
}

/// Adds members to an object, over those of the same name.
pub(super) fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// The schema of a result that tells of a deployment.
pub(super) fn told(more: Value, required: &[&str]) -> Value {
    let required: Vec<_> = DEPLOYMENT.iter().chain(required).collect();
    json!({ "type": "object", "properties": with(deployment(), more), "required": required })
}

/// A list as every tool answers it.
pub(super) fn list(item: Value) -> Value {
    json!({
        "type": "object",
        "properties": { "items": { "type": "array", "items": item }, "truncated": { "type": "boolean" } },
        "required": ["items", "truncated"],
    })
}

/// Arguments by name.
pub(super) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
