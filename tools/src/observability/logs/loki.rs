//! Logs in Loki, by its `query_range`.

use serde_json::{Value, json};

use super::{Event, Found, Order, Question};
use crate::contract::ToolError;
use crate::observability::Observability;
use crate::observability::filter::quoted;
use crate::observability::http::ask;
use crate::observability::settings::Target;

/// Loki refuses more by default.
const MOST_LINES: usize = 5_000;
const NANOSECONDS: i64 = 1_000_000;

pub(super) async fn find(
    state: &Observability,
    target: &Target,
    question: &Question,
) -> Result<Found, ToolError> {
    let selector = target.selector.clone().unwrap_or_default();
    let filter = question.filter.as_ref().map(|filter| filter.logql()).transpose()?;
    let streams = of_streams(&question.streams);
    let query = format!("{selector}{streams}{}", filter.unwrap_or_default());
    let limit = question.limit.min(MOST_LINES);
    let answer = range(state, target, &query, question, limit).await?;
    let events = events(&answer);
    let scanned = answer.pointer("/data/stats/summary/totalLinesProcessed").and_then(Value::as_u64);
    let mut found = Found { more: limit <= events.len(), events, scanned, ..Found::default() };
    if found.events.is_empty() {
        found.hints = hints(state, target, &selector, question).await;
    }
    Ok(found)
}

async fn range(
    state: &Observability,
    target: &Target,
    query: &str,
    question: &Question,
    limit: usize,
) -> Result<Value, ToolError> {
    let direction = match question.order {
        Order::Newest => "backward",
        Order::Oldest => "forward",
    };
    let query = [
        ("query", query.to_owned()),
        ("start", question.window.start.saturating_mul(NANOSECONDS).to_string()),
        // Loki leaves out the end itself.
        ("end", (question.window.end + 1).saturating_mul(NANOSECONDS).to_string()),
        ("limit", limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    ask(state, (&target.name, &target.source), "/loki/api/v1/query_range", &query).await
}

/// Streams are told apart by a label that is called after where they come from.
fn of_streams(streams: &[String]) -> String {
    if streams.is_empty() {
        return String::new();
    }
    let any = |label: &str| {
        let each = streams.iter().map(|stream| format!("{label}={}", quoted(stream)));
        each.collect::<Vec<_>>().join(" or ")
    };
    format!(" | {} or {} or {}", any("pod"), any("instance"), any("filename"))
}

fn events(answer: &Value) -> Vec<Event> {
    let streams = answer.pointer("/data/result").and_then(Value::as_array);
    let each = |stream: &Value| {
        let name = stream_name(&stream["stream"]);
        let values = stream["values"].as_array().cloned().unwrap_or_default();
        values.into_iter().filter_map(move |value| {
            let at: i64 = value[0].as_str()?.parse().ok()?;
            let message = value[1].as_str()?.to_owned();
            Some(Event { at: at / NANOSECONDS, message, stream: name.clone() })
        })
    };
    streams.into_iter().flatten().flat_map(each).collect()
}

/// What a stream is called: the label that says most.
fn stream_name(labels: &Value) -> String {
    let named = ["pod", "instance", "filename", "host", "container", "app", "service_name", "job"];
    let found = named.iter().find_map(|label| labels[label].as_str());
    found.map_or_else(|| labels.to_string(), str::to_owned)
}

/// Why nothing was found: whether the selector has anything in the window without the pattern.
async fn hints(
    state: &Observability,
    target: &Target,
    selector: &str,
    question: &Question,
) -> Vec<String> {
    let any = range(state, target, selector, question, 1).await;
    match any.map(|answer| !events(&answer).is_empty()) {
        Ok(true) if question.filter.is_some() || !question.streams.is_empty() => {
            vec![format!("{selector} has lines in this window, none of them fits the pattern")]
        }
        Ok(_) => vec![format!(
            "{selector} has no lines in this window: check the labels with logs.groups, or look further back"
        )],
        Err(_) => Vec::new(),
    }
}

/// The values of the labels that tell apps apart.
pub(super) async fn groups(
    state: &Observability,
    target: &Target,
    prefix: &str,
    limit: usize,
) -> Result<(Vec<Value>, bool), ToolError> {
    let source = (target.name.as_str(), &target.source);
    let labels = ask(state, source, "/loki/api/v1/labels", &[]).await?;
    let labels = texts(&labels["data"]);
    let wanted = ["app", "service_name", "job", "namespace"];
    let mut items = Vec::new();
    for label in labels.iter().filter(|label| wanted.contains(&label.as_str())) {
        let path = format!("/loki/api/v1/label/{label}/values");
        let values = ask(state, source, &path, &[]).await?;
        let fit = texts(&values["data"]).into_iter().filter(|value| value.contains(prefix));
        items.extend(fit.map(|value| {
            json!({ "name": format!("{{{label}={}}}", quoted(&value)), "stored_bytes": null,
                    "retention_days": null, "last_event_at": null })
        }));
    }
    let more = limit < items.len();
    items.truncate(limit);
    Ok((items, more))
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
