//! getServiceStatus: how a service is.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Deploy;
use super::place::{self, Address, arguments};
use super::record::rollback_target;
use super::shapes::merge;
use crate::contract::{Answer, Call, Tool, ToolSpec};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    address: Address,
    #[serde(default = "yes")]
    include_task_details: bool,
    events: Option<usize>,
}

fn yes() -> bool {
    true
}

pub(super) fn tools(_production: bool) -> Vec<Tool<Deploy>> {
    vec![Tool {
        spec: status_spec(),
        run: |deploy, call| Box::pin(async move { status(&deploy, &call).await }),
    }]
}

fn status_spec() -> ToolSpec {
    let own = json!({
        "include_task_details": { "type": "boolean", "default": true, "description": "Whether to list tasks (ECS)" },
        "events": { "type": "integer", "minimum": 0, "maximum": 100, "default": 10, "description": "How many of the newest events (ECS)" },
    });
    ToolSpec {
        name: "getServiceStatus",
        title: "Get service status",
        description: "Says how an application in an environment, or an ECS service, is: what runs, how many, what is under \
                      way and what is wrong.",
        input: arguments(place::properties(), own, &[]),
        output: status_output(),
        ..ToolSpec::default()
    }
}

fn status_output() -> Value {
    let text = json!({ "type": ["string", "null"] });
    let count = json!({ "type": "integer" });
    let objects = json!({ "type": "array", "items": { "type": "object" } });
    json!({
        "type": "object",
        "properties": {
            "kind": { "type": "string" }, "app": text, "environment": text, "version": text,
            "serviceArn": text, "serviceName": text, "clusterArn": text, "status": text,
            "desiredCount": count, "runningCount": count, "pendingCount": count,
            "taskDefinition": text, "createdAt": text, "launchType": text, "platformVersion": text,
            "deployments": objects, "events": objects, "tasks": objects, "stopped_tasks": objects,
            "previous_revision": { "type": ["string", "null"], "description": "What rollbackService would return to" },
            "images": { "type": "array", "items": { "type": "object", "properties": {
                "container": { "type": "string" }, "image": text, "digest": text } } },
            "current_deployment": { "type": ["string", "null"] },
            "health": { "type": "string", "enum": ["healthy", "deploying", "degraded", "down", "unknown"] },
            "problems": { "type": "array", "items": { "type": "string" } },
            "output": { "type": "object", "description": "What a status command printed" },
        },
        "required": ["kind", "health", "problems", "deployments", "events", "tasks", "images"],
    })
}

async fn status(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let records = deploy.journal(&place).records().await?;
    let before = rollback_target(&records).and_then(|record| record.version.clone());
    let running = records.last().filter(|last| !last.status.is_done());
    let mut answer = json!({
        "kind": place.environment.kind.word(), "app": place.app, "environment": place.environment_name,
        "previous_revision": before, "current_deployment": running.map(|record| &record.deployment_id),
    });
    merge(&mut answer, deploy.driver(&place)?.health(&place, &records).await?);
    if !arguments.include_task_details {
        answer["tasks"] = json!([]);
    }
    if let Value::Array(events) = &mut answer["events"] {
        events.truncate(arguments.events.unwrap_or(10));
    }
    Ok(answer)
}
