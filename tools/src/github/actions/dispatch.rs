//! repositoryDispatch: sends an event to a repository's workflows.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::client::Verb;
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned};

const MOST_KEYS: usize = 10;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    event_type: String,
    #[serde(default)]
    client_payload: Map<String, Value>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "event_type": {
            "type": "string", "minLength": 1, "maxLength": 100,
            "description": "The name of the event, which workflows list under on.repository_dispatch.types",
        },
        "client_payload": {
            "type": "object", "maxProperties": MOST_KEYS, "default": {},
            "description": "What the workflows find under github.event.client_payload",
        },
    });
    Tool {
        spec: ToolSpec {
            name: "repositoryDispatch",
            title: "Repository dispatch",
            description: "Sends a repository_dispatch event to the workflows of a GitHub repository. GitHub does not say \
                          which runs it starts: where that matters, use triggerWorkflow.",
            input: changing_arguments(properties, &["event_type"]),
            output: changing_result(json!({ "sent": { "type": "boolean" } }), &["sent"]),
            // Nothing on GitHub's side tells a second event from the first.
            retry_class: RetryClass::Unsafe,
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { send(&github, &call).await }),
    }
}

async fn send(github: &Github, call: &Call) -> Answer {
    let Arguments { target, event_type, client_payload, dry_run } = call.parse()?;
    let repository = github.open(call, &target).await?;
    if dry_run {
        let step = format!("send the event {event_type} to {}", repository.full_name());
        return Ok(planned(vec![step], json!({})));
    }
    let body = json!({ "event_type": event_type, "client_payload": client_payload });
    repository.write(Verb::Post, "/dispatches", Some(&body)).await?;
    Ok(json!({ "sent": true, "created": true, "warnings": [] }))
}
