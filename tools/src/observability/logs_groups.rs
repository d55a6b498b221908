//! logs.groups: what there is to search.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Observability;
use super::logs::groups;
use super::settings::{Kind, Target};
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Tool, ToolSpec};

#[derive(Debug, Deserialize)]
struct Arguments {
    source: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default = "fifty")]
    limit: usize,
}

fn fifty() -> usize {
    50
}

pub(super) fn tool() -> Tool<Observability> {
    Tool { spec: spec(), run: |state, call| Box::pin(async move { list(&state, &call).await }) }
}

fn spec() -> ToolSpec {
    let input = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "source": text("The name of a configured source; may be left out when there is only one"),
            "prefix": text("What the names contain"),
            "limit": { "type": "integer", "minimum": 1, "maximum": 200, "default": 50 },
        },
    });
    ToolSpec {
        name: "logs.groups",
        title: "List what can be searched",
        description: "Lists log groups of CloudWatch, selectors of Loki, or files: what logs.search can look into.",
        input,
        output: output(),
        names: &["logs_groups"],
        aliases: &[("limit", &["per_page", "perPage"]), ("prefix", &["pattern"])],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let item = json!({
        "type": "object", "required": ["name", "stored_bytes", "retention_days", "last_event_at"],
        "properties": {
            "name": { "type": "string" }, "stored_bytes": { "type": ["integer", "null"] },
            "retention_days": { "type": ["integer", "null"] }, "last_event_at": { "type": ["string", "null"] },
        },
    });
    json!({
        "type": "object", "required": ["source", "kind", "items", "truncated"],
        "properties": {
            "source": text("Its name"), "kind": text("Its kind"),
            "items": { "type": "array", "items": item }, "truncated": { "type": "boolean" },
        },
    })
}

async fn list(state: &Observability, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let kinds = [Kind::Files, Kind::Loki, Kind::Cloudwatch];
    let (name, source) = state.config.source(arguments.source.as_deref(), &kinds)?;
    let kind = source.kind.word();
    let target = Target { name, source, log_group: None, selector: None, paths: Vec::new() };
    let (items, truncated) = groups(state, &target, &arguments.prefix, arguments.limit).await?;
    Ok(json!({ "source": target.name, "kind": kind, "items": items, "truncated": truncated }))
}
