//! Logs in CloudWatch, by `FilterLogEvents`.

use std::time::{Duration, Instant};

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::{FilteredLogEvent, LogGroup, OrderBy};
use serde_json::{Value, json};

use super::{Event, Found, Order, Question};
use crate::contract::now;
use crate::contract::{Code, ToolError};
use crate::observability::Observability;
use crate::observability::aws::{account, failure};
use crate::observability::settings::Target;
use crate::observability::time::{Window, rfc3339};

const MOST_PAGES: usize = 10;
const LONGEST: Duration = Duration::from_secs(5);
const LARGEST_PAGE: usize = 10_000;
/// Only from here on CloudWatch answers the newest first: 2024-01-01.
const NEWEST_FIRST_FROM: i64 = 1_704_067_200_000;
/// How far back the nearest event is looked for.
const NEAREST_WITHIN: i64 = 14 * 86_400_000;
const MOST_ALIKE: i32 = 5;
/// Asking when a group was last written to is one call for each.
const MOST_DATED: usize = 10;

async fn client(state: &Observability, target: &Target) -> Client {
    Client::new(&account(state, &target.source).await)
}

pub(super) async fn find(
    state: &Observability,
    target: &Target,
    question: &Question,
) -> Result<Found, ToolError> {
    let client = client(state, target).await;
    let group = target.log_group.clone().unwrap_or_default();
    let (started, mut found) = (Instant::now(), Found::default());
    let mut page = question.page.clone();
    for _ in 0..MOST_PAGES {
        let left = question.limit - found.events.len();
        let answer = match ask(&client, &group, question, left, page.as_ref()).await {
            Err(error) if error.code == Code::NotFound => {
                return Err(with_names_alike(&client, &group, error).await);
            }
            answer => answer?,
        };
        found.events.extend(answer.events().iter().map(event));
        page = answer.next_token;
        // A page may be empty and others follow: a token says so.
        if page.is_none() || question.limit <= found.events.len() || LONGEST < started.elapsed() {
            break;
        }
    }
    found.more = page.is_some();
    found.page = page.filter(|_| found.events.len() < question.limit);
    if found.events.is_empty() && !found.more {
        found.hints = hints(&client, &group, question).await;
    }
    Ok(found)
}

async fn ask(
    client: &Client,
    group: &str,
    question: &Question,
    limit: usize,
    page: Option<&String>,
) -> Result<FilterLogEventsOutput, ToolError> {
    let Window { start, end } = question.window;
    let from_head = question.order == Order::Oldest;
    let start = if from_head { start } else { start.max(NEWEST_FIRST_FROM) };
    let streams = Some(question.streams.clone()).filter(|streams| !streams.is_empty());
    let pattern = question.filter.as_ref().map(|filter| filter.cloudwatch());
    let answer = client
        .filter_log_events()
        .log_group_name(group)
        .start_time(start)
        .end_time(end)
        .set_log_stream_names(streams)
        .set_filter_pattern(pattern.filter(|pattern| !pattern.is_empty()))
        .limit(i32::try_from(limit.clamp(1, LARGEST_PAGE)).unwrap_or(i32::MAX))
        .start_from_head(from_head)
        .set_next_token(page.cloned())
        .send();
    answer.await.map_err(|error| failure(&format!("reading {group}"), &error))
}

fn event(event: &FilteredLogEvent) -> Event {
    Event {
        at: event.timestamp().unwrap_or_default(),
        message: event.message().unwrap_or_default().to_owned(),
        stream: event.log_stream_name().unwrap_or_default().to_owned(),
    }
}

/// Says which groups are called alike.
async fn with_names_alike(client: &Client, group: &str, error: ToolError) -> ToolError {
    let word = group.rsplit('/').next().unwrap_or(group);
    let alike = client.describe_log_groups().log_group_name_pattern(word).limit(MOST_ALIKE);
    let alike = alike.send().await.map(|answer| answer.log_groups.unwrap_or_default());
    let names: Vec<_> = alike.unwrap_or_default().iter().filter_map(name).collect();
    if names.is_empty() {
        return error.hint("list the log groups with logs.groups");
    }
    error.hint(format!("there are: {}", names.join(", ")))
}

fn name(group: &LogGroup) -> Option<String> {
    group.log_group_name().map(str::to_owned)
}

/// Why nothing was found: the pattern, the window, or nothing is ever written.
async fn hints(client: &Client, group: &str, question: &Question) -> Vec<String> {
    let any = |window: Window| Question {
        window,
        filter: None,
        order: Order::Newest,
        limit: 1,
        streams: Vec::new(),
        page: None,
    };
    let first = |answer: FilterLogEventsOutput| answer.events().first().map(event);
    let here = ask(client, group, &any(question.window), 1, None).await.ok().and_then(first);
    if here.is_some() {
        return vec![format!(
            "{group} has events in this window, none of them fits the pattern and streams"
        )];
    }
    let recent = Window { start: now() - NEAREST_WITHIN, end: now() };
    let nearest = ask(client, group, &any(recent), 1, None).await.ok().and_then(first);
    vec![match nearest {
        Some(event) => format!(
            "{group} exists and has no events in this window; its newest is of {}",
            rfc3339(event.at)
        ),
        None => {
            format!("{group} exists and has no events in this window, and none that are recent")
        }
    }]
}

/// The log groups whose names contain something.
pub(super) async fn groups(
    state: &Observability,
    target: &Target,
    prefix: &str,
    limit: usize,
) -> Result<(Vec<Value>, bool), ToolError> {
    let client = client(state, target).await;
    let pattern = Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty());
    let (mut found, mut page): (Vec<LogGroup>, Option<String>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let ask = client.describe_log_groups().limit(50).set_next_token(page.clone());
        let answer = ask.set_log_group_name_pattern(pattern.clone()).send().await;
        let answer = answer.map_err(|error| failure("listing log groups", &error))?;
        found.extend(answer.log_groups.unwrap_or_default());
        page = answer.next_token;
        if page.is_none() || limit <= found.len() {
            break;
        }
    }
    let more = page.is_some() || limit < found.len();
    found.truncate(limit);
    let mut items = Vec::new();
    for (place, group) in found.iter().enumerate() {
        let last = if place < MOST_DATED { last_event(&client, group).await } else { None };
        items.push(json!({
            "name": group.log_group_name(), "stored_bytes": group.stored_bytes(),
            "retention_days": group.retention_in_days(), "last_event_at": last.map(rfc3339),
        }));
    }
    Ok((items, more))
}

/// When a group was last written to, if that can be asked.
async fn last_event(client: &Client, group: &LogGroup) -> Option<i64> {
    let ask = client.describe_log_streams().log_group_name(group.log_group_name()?);
    let answer = ask.order_by(OrderBy::LastEventTime).descending(true).limit(1).send().await;
    answer.ok()?.log_streams().first()?.last_event_timestamp()
}
