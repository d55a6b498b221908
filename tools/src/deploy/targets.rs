//! listTargets: where one can deploy, and what runs there.

use serde::Deserialize;
use serde_json::{Value, json};

use super::config::Kind;
use super::place::{Place, not_found};
use super::record::{current, time};
use super::shapes::list;
use super::{Deploy, locks};
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Tool, ToolError, ToolSpec};

#[derive(Deserialize)]
struct Arguments {
    app: Option<String>,
}

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    vec![Tool {
        spec: spec(),
        run: |deploy, call| Box::pin(async move { list_targets(&deploy, &call).await }),
    }]
}

fn spec() -> ToolSpec {
    let text_or_null = json!({ "type": ["string", "null"] });
    let item = json!({
        "type": "object",
        "properties": {
            "app": { "type": "string" }, "environment": { "type": "string" }, "kind": { "type": "string" },
            "default": { "type": "boolean", "description": "Whether it is meant when no environment is named" },
            "production": { "type": "boolean" },
            "require_approval": { "type": "boolean", "description": "Whether a person has to agree before deploy is called" },
            "version": text_or_null, "deployment_id": text_or_null, "status": text_or_null,
            "deployed_at": text_or_null, "deployed_by": text_or_null, "url": text_or_null,
            "health_urls": { "type": "array", "items": { "type": "string" } },
            "alarms": { "type": "array", "items": { "type": "string" } },
            "lock": locks::schema(),
        },
        "required": ["app", "environment", "kind", "default", "production", "require_approval", "version", "lock"],
    });
    ToolSpec {
        name: "listTargets",
        title: "List deploy targets",
        description: "Says where one can deploy: every application and environment, what was deployed there last and by \
                      whom, and who holds a lock.",
        input: json!({
            "type": "object", "additionalProperties": false,
            "properties": { "app": text("Only this application") },
        }),
        output: list(item),
        open_world: false,
        ..ToolSpec::default()
    }
}

async fn list_targets(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let wanted = arguments.app.as_deref();
    if let Some(app) = wanted
        && !deploy.config.targets.contains_key(app)
    {
        let known: Vec<_> = deploy.config.targets.keys().cloned().collect();
        return Err(not_found(format!("no application is called {app:?}"))
            .hint(format!("the applications are: {}", known.join(", "))));
    }
    let mut items = Vec::new();
    for place in deploy.places() {
        if wanted.is_none_or(|app| place.app.as_deref() == Some(app)) {
            items.push(target(deploy, &place).await?);
        }
    }
    Ok(json!({ "items": items, "truncated": false }))
}

async fn target(deploy: &Deploy, place: &Place) -> Result<Value, ToolError> {
    let records = deploy.journal(place).records().await?;
    let (current, last) = (current(&records), records.last());
    let lock = locks::before(deploy, place).await?;
    let shared = &place.environment.shared;
    let own = place.app.as_ref().and_then(|app| deploy.config.targets.get(app));
    let default = own.and_then(|own| own.default_environment.clone()) == place.environment_name;
    let alarms = match &place.environment.kind {
        Kind::Ecs(ecs) => ecs.alarms.clone(),
        _ => Vec::new(),
    };
    Ok(json!({
        "app": place.app, "environment": place.environment_name, "kind": place.environment.kind.word(),
        "default": default, "production": shared.production, "require_approval": shared.require_approval,
        "version": current.and_then(|record| record.version.clone()),
        "deployment_id": last.map(|record| &record.deployment_id), "status": last.map(|record| record.status),
        "deployed_at": current.map(|record| time(record.finished_at.unwrap_or(record.started_at))),
        "deployed_by": current.and_then(|record| record.by.clone()),
        "url": shared.app_url, "health_urls": shared.health.iter().map(|own| &own.url).collect::<Vec<_>>(),
        "alarms": alarms, "lock": lock.as_ref().map(locks::shown),
    }))
}
