//! getAlarmStatus and alarms.history: how alarms stand, and how they changed.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    AlarmType, CompositeAlarm, HistoryItemType, MetricAlarm, StateValue,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Observability;
use super::aws::failure;
use super::logs_search::{until_now, window};
use super::metrics::cloudwatch::client;
use super::settings::{Kind, Source};
use super::time::{Window, rfc3339};
use crate::contract::now;
use crate::contract::schema::text;
use crate::contract::{Answer, Call, Tool, ToolError, ToolSpec};

const MOST_PAGES: usize = 10;
const MOST_ALARMS: usize = 100;

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Arguments {
    source: Option<String>,
    app: Option<String>,
    environment: Option<String>,
    alarm_names: Option<Vec<String>>,
    prefix: Option<String>,
    state_value: Option<String>,
    #[serde(default = "a_day")]
    since: String,
    #[serde(default = "until_now")]
    until: String,
    #[serde(default = "fifty")]
    limit: usize,
}

fn a_day() -> String {
    "24h".to_owned()
}

fn fifty() -> usize {
    50
}

pub(super) fn tool() -> Tool<Observability> {
    Tool { spec: spec(), run: |state, call| Box::pin(async move { status(&state, &call).await }) }
}

pub(super) fn history_tool() -> Tool<Observability> {
    Tool {
        spec: history_spec(),
        run: |state, call| Box::pin(async move { history(&state, &call).await }),
    }
}

fn common() -> Value {
    json!({
        "source": text("The name of a configured source of the kind cloudwatch"),
        "app": text("A configured app, for its alarm_prefix"),
        "environment": text("The app's environment; may be left out when it has only one"),
        "alarm_names": { "type": "array", "items": { "type": "string" }, "maxItems": 100 },
        "prefix": text("What the names begin with"),
    })
}

fn spec() -> ToolSpec {
    let mut properties = common();
    properties["state_value"] = json!({ "enum": ["OK", "ALARM", "INSUFFICIENT_DATA"] });
    let optional = json!({ "type": ["string", "null"] });
    let alarm = json!({
        "type": "object", "required": ["alarmName", "stateValue", "stateReason", "stateUpdatedTimestamp"],
        "properties": {
            "alarmName": { "type": "string" }, "stateValue": { "type": "string" }, "stateReason": optional,
            "stateUpdatedTimestamp": optional, "alarmDescription": optional, "metricName": optional,
            "namespace": optional, "threshold": { "type": ["number", "null"] }, "comparisonOperator": optional,
            "dimensions": { "type": "object" }, "alarmRule": optional,
        },
    });
    ToolSpec {
        name: "getAlarmStatus",
        title: "Get alarm status",
        description: "Reads the states of CloudWatch alarms, those that are in alarm first.",
        input: json!({ "type": "object", "additionalProperties": false, "properties": properties }),
        output: json!({
            "type": "object", "required": ["alarms", "in_alarm", "truncated", "hints"],
            "properties": {
                "alarms": { "type": "array", "items": alarm }, "in_alarm": { "type": "integer" },
                "truncated": { "type": "boolean" }, "hints": { "type": "array", "items": { "type": "string" } },
            },
        }),
        names: &["get_alarm_status", "alarms.status"],
        aliases: &[("prefix", &["alarmNamePrefix", "alarm_name_prefix"])],
        ..ToolSpec::default()
    }
}

fn history_spec() -> ToolSpec {
    let mut properties = common();
    properties["since"] = json!({ "type": "string", "default": "24h", "description": "15m, 2h, 7d, now-90m, a time, or seconds or milliseconds since 1970" });
    properties["until"] = json!({ "type": "string", "default": "now", "description": "As since" });
    properties["limit"] = json!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 50 });
    let item = json!({
        "type": "object", "required": ["alarmName", "timestamp", "summary"],
        "properties": {
            "alarmName": { "type": "string" }, "timestamp": { "type": ["string", "null"] },
            "summary": { "type": "string" },
        },
    });
    ToolSpec {
        name: "alarms.history",
        title: "Get alarm history",
        description: "Lists when CloudWatch alarms changed their states, the newest change first.",
        input: json!({ "type": "object", "additionalProperties": false, "properties": properties }),
        output: json!({
            "type": "object", "required": ["window", "items", "truncated"],
            "properties": {
                "window": window(), "items": { "type": "array", "items": item }, "truncated": { "type": "boolean" },
            },
        }),
        names: &["alarms_history"],
        aliases: &[("limit", &["per_page", "perPage"]), ("prefix", &["alarmNamePrefix"])],
        ..ToolSpec::default()
    }
}

async fn status(state: &Observability, call: &Call) -> Answer {
    let (arguments, source) = read(state, call)?;
    look(&client(state, &source).await, &arguments).await
}

async fn history(state: &Observability, call: &Call) -> Answer {
    let (arguments, source) = read(state, call)?;
    let window = Window::parse(&arguments.since, &arguments.until, now())?;
    changes(&client(state, &source).await, &arguments, window).await
}

fn read(state: &Observability, call: &Call) -> Result<(Arguments, Source), ToolError> {
    let mut arguments: Arguments = call.parse()?;
    let mut named = arguments.source.clone();
    if let Some(app) = &arguments.app {
        let (_, own) = state.config.environment(app, arguments.environment.as_deref())?;
        named = named.or_else(|| own.metrics.clone());
        arguments.prefix = arguments.prefix.or_else(|| own.alarm_prefix.clone());
    }
    let (_, source) = state.config.source(named.as_deref(), &[Kind::Cloudwatch])?;
    Ok((arguments, source))
}

/// The alarms whose names begin so.
pub(super) async fn with_prefix(
    state: &Observability,
    source: Option<&str>,
    prefix: &str,
) -> Answer {
    let (_, source) = state.config.source(source, &[Kind::Cloudwatch])?;
    let arguments = Arguments { prefix: Some(prefix.to_owned()), ..Arguments::default() };
    look(&client(state, &source).await, &arguments).await
}

async fn look(client: &Client, arguments: &Arguments) -> Answer {
    let (mut alarms, mut page): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let ask = client
            .describe_alarms()
            .set_alarm_names(arguments.alarm_names.clone())
            .set_alarm_name_prefix(arguments.prefix.clone())
            .set_state_value(arguments.state_value.as_deref().map(StateValue::from))
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .set_next_token(page);
        let answer = ask.send().await.map_err(|error| failure("reading alarms", &error))?;
        alarms.extend(answer.metric_alarms().iter().map(metric_alarm));
        alarms.extend(answer.composite_alarms().iter().map(composite_alarm));
        page = answer.next_token;
        if page.is_none() {
            break;
        }
    }
    Ok(told(alarms, arguments, page.is_some()))
}

fn told(mut alarms: Vec<Value>, arguments: &Arguments, more: bool) -> Value {
    let rings = |alarm: &Value| alarm["stateValue"] == "ALARM";
    let in_alarm = alarms.iter().filter(|alarm| rings(alarm)).count();
    let known = |name: &String| alarms.iter().any(|alarm| alarm["alarmName"] == name.as_str());
    let names = arguments.alarm_names.iter().flatten();
    // With a state asked for, an alarm that is in another one is not missing.
    let missing = names.filter(|name| arguments.state_value.is_none() && !known(name));
    let mut hints: Vec<_> = missing.map(|name| format!("no alarm is called {name:?}")).collect();
    if alarms.is_empty() && hints.is_empty() {
        hints.push("no alarm fits".to_owned());
    }
    alarms.sort_by_key(|alarm| !rings(alarm));
    let truncated = more || MOST_ALARMS < alarms.len();
    alarms.truncate(MOST_ALARMS);
    json!({ "alarms": alarms, "in_alarm": in_alarm, "truncated": truncated, "hints": hints })
}

fn time(at: Option<&DateTime>) -> Option<String> {
    Some(rfc3339(at?.to_millis().ok()?))
}

fn metric_alarm(alarm: &MetricAlarm) -> Value {
    let dimensions: serde_json::Map<String, Value> = alarm
        .dimensions()
        .iter()
        .filter_map(|own| Some((own.name()?.to_owned(), own.value()?.into())))
        .collect();
    json!({
        "alarmName": alarm.alarm_name().unwrap_or_default(),
        "stateValue": alarm.state_value().map_or("INSUFFICIENT_DATA", StateValue::as_str),
        "stateReason": alarm.state_reason(),
        "stateUpdatedTimestamp": time(alarm.state_updated_timestamp()),
        "alarmDescription": alarm.alarm_description(),
        "metricName": alarm.metric_name(), "namespace": alarm.namespace(),
        "threshold": alarm.threshold(),
        "comparisonOperator": alarm.comparison_operator().map(|operator| operator.as_str()),
        "dimensions": dimensions,
    })
}

fn composite_alarm(alarm: &CompositeAlarm) -> Value {
    json!({
        "alarmName": alarm.alarm_name().unwrap_or_default(),
        "stateValue": alarm.state_value().map_or("INSUFFICIENT_DATA", StateValue::as_str),
        "stateReason": alarm.state_reason(),
        "stateUpdatedTimestamp": time(alarm.state_updated_timestamp()),
        "alarmDescription": alarm.alarm_description(),
        "alarmRule": alarm.alarm_rule(),
    })
}

async fn changes(client: &Client, arguments: &Arguments, window: Window) -> Answer {
    // CloudWatch asks for one name or for all: a prefix and several names are picked from all.
    let only = arguments
        .alarm_names
        .as_ref()
        .filter(|names| names.len() == 1)
        .map(|names| names[0].clone());
    let (mut items, mut page): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let ask = client
            .describe_alarm_history()
            .set_alarm_name(only.clone())
            .history_item_type(HistoryItemType::StateUpdate)
            .start_date(DateTime::from_millis(window.start))
            .end_date(DateTime::from_millis(window.end))
            .set_next_token(page);
        let answer =
            ask.send().await.map_err(|error| failure("reading the history of alarms", &error))?;
        let fits = |name: &str| {
            let names = arguments.alarm_names.as_deref().unwrap_or_default();
            (names.is_empty() || names.iter().any(|own| own == name))
                && arguments.prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
        };
        let own = answer.alarm_history_items().iter();
        let own = own.filter(|item| fits(item.alarm_name().unwrap_or_default()));
        items.extend(own.map(|item| {
            json!({ "alarmName": item.alarm_name().unwrap_or_default(), "timestamp": time(item.timestamp()),
                    "summary": item.history_summary().unwrap_or_default() })
        }));
        page = answer.next_token;
        if page.is_none() || arguments.limit <= items.len() {
            break;
        }
    }
    let truncated = page.is_some() || arguments.limit < items.len();
    items.truncate(arguments.limit);
    Ok(json!({ "window": window.shown(), "items": items, "truncated": truncated }))
}

#[cfg(test)]
mod tests;
