//! The channel that needs nothing set up: the log of Windlass, and a list of the newest messages.
//!
//! It is not standard output, because that belongs to MCP; the log goes to standard error.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Notify;
use super::drivers::{Posted, Sending, digest};
use crate::contract::now;
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Host, Service, Tool, ToolError, ToolSpec, no_host};

const SCOPE: &str = "notify";
const PREFIX: &str = "log/";
/// Older messages are forgotten.
const KEPT: usize = 200;
const MAX_LIST_BYTES: usize = 512 * 1024;

/// The tool that lists what was written.
pub(super) fn tool() -> Tool<Notify> {
    let nullable = || json!({ "type": ["string", "null"] });
    let item = json!({
        "type": "object",
        "required": ["message_id", "channel", "text", "level", "at"],
        "properties": {
            "message_id": { "type": "string" }, "channel": { "type": "string" }, "text": { "type": "string" },
            "level": { "type": "string" }, "fields": { "type": "object" }, "buttons": { "type": "array" },
            "thread_key": nullable(), "upsert_key": nullable(), "execution_id": nullable(),
            "at": { "type": "integer", "description": "Milliseconds since 1970" },
        },
    });
    Tool {
        spec: ToolSpec {
            name: "list",
            title: "List messages",
            description: "The newest messages that were sent to channels of the kind log.",
            input: json!({
                "type": "object", "additionalProperties": false,
                "properties": {
                    "channel": text("Only this channel"),
                    "execution_id": text("Only messages of this execution"),
                    "per_page": { "type": "integer", "minimum": 1, "maximum": KEPT, "default": 30 },
                },
            }),
            output: json!({
                "type": "object", "required": ["items", "total", "truncated"],
                "properties": {
                    "items": { "type": "array", "items": item },
                    "total": { "type": "integer" },
                    "truncated": { "type": "boolean" },
                },
            }),
            open_world: false,
            max_bytes: MAX_LIST_BYTES,
            needs: &[Service::Memo],
            ..ToolSpec::default()
        },
        run: |notify, call| Box::pin(listed(notify, call)),
    }
}

/// Writes a message to the log, and keeps it where there is a host. The same key again is the same message.
pub(super) async fn write(sending: &Sending<'_>) -> Result<Posted, ToolError> {
    let Sending { notify, call, place, message } = sending;
    let level = message.level.word();
    tracing::info!(channel = %place.name, level, "notification: {}", message.text);
    let Some(host) = notify.host() else { return Ok(Posted::default()) };
    let upsert = message.upsert_key.as_deref().map(|key| format!("{}/{key}", place.name));
    let own =
        || call.idempotency_key.clone().unwrap_or_else(|| format!("{}/{}", now(), message.text));
    let id = digest(&upsert.unwrap_or_else(own));
    let mut entry = message.plain();
    entry["message_id"] = id.as_str().into();
    entry["channel"] = place.name.as_str().into();
    entry["execution_id"] = call.execution_id().into();
    entry["at"] = now().into();
    let name = format!("{PREFIX}{id}");
    let before = host.recall(SCOPE, &name).await?;
    if before.is_none() || message.upsert_key.is_some() {
        host.swap(SCOPE, &name, before.as_ref(), Some(&entry)).await?;
    }
    forget_old(host).await?;
    Ok(Posted { message_id: Some(id), ..Posted::default() })
}

async fn forget_old(host: &dyn Host) -> Result<(), ToolError> {
    let mut kept = host.memos(SCOPE, PREFIX).await?;
    kept.sort_by_key(|(_, entry)| -entry["at"].as_i64().unwrap_or_default());
    for (name, entry) in kept.iter().skip(KEPT) {
        host.swap(SCOPE, name, Some(entry), None).await?;
    }
    Ok(())
}

async fn listed(notify: Arc<Notify>, call: Call) -> Answer {
    let host = notify.host().ok_or_else(|| no_host("notify.list"))?;
    let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
    let fits = |entry: &Value| {
        ["channel", "execution_id"]
            .iter()
            .all(|name| argument(name).is_none_or(|wanted| entry[*name].as_str() == Some(wanted)))
    };
    let memos = host.memos(SCOPE, PREFIX).await?;
    let mut items: Vec<Value> = memos.into_iter().map(|(_, entry)| entry).filter(fits).collect();
    items.sort_by_key(|entry| -entry["at"].as_i64().unwrap_or_default());
    let total = items.len();
    let size = call.arguments.get("per_page").and_then(Value::as_u64).unwrap_or(30);
    items.truncate(usize::try_from(size).unwrap_or(KEPT));
    Ok(json!({ "truncated": items.len() < total, "items": items, "total": total }))
}
