//! What CloudWatch Logs answers to each operation.

use serde_json::{Value, json};

use super::pattern::Pattern;
use super::{LogEvent, LogGroup, LogStream, Logs};
use crate::aws::{ACCOUNT, Answer, REGION, Refusal};

/// 2024-01-01T00:00:00Z: newest first is possible only from here on.
const NEWEST_FIRST_SINCE_MS: u64 = 1_704_067_200_000;
const MOST_EVENTS: u64 = 10_000;

impl Logs {
    /// Answers one request.
    pub(crate) fn answer(&mut self, name: &str, input: &Value, now: u64) -> Answer {
        match name {
            "CreateLogGroup" => self.create_group(input, now),
            "CreateLogStream" => self.create_stream(input, now),
            "DescribeLogGroups" => self.describe_groups(input),
            "DescribeLogStreams" => self.describe_streams(input),
            "FilterLogEvents" => self.filter_events(input),
            "GetLogEvents" => self.get_events(input),
            "GetQueryResults" => self.query_results(input),
            "PutLogEvents" => self.put_events(input, now),
            "StartQuery" => self.start_query(input),
            "StopQuery" => self.stop_query(input),
            other => Err(Refusal::invalid(format!("{other} is not emulated"))),
        }
    }

    fn create_group(&mut self, input: &Value, now: u64) -> Answer {
        let name = text(input, "logGroupName").unwrap_or_default();
        if self.groups.contains_key(name) {
            return Err(exists("The specified log group already exists"));
        }
        let group = LogGroup { created_ms: now, ..LogGroup::default() };
        self.groups.insert(name.to_owned(), group);
        Ok(json!({}))
    }

    fn create_stream(&mut self, input: &Value, now: u64) -> Answer {
        let name = text(input, "logStreamName").unwrap_or_default();
        let group = self.group_mut(input)?;
        if group.streams.contains_key(name) {
            return Err(exists("The specified log stream already exists"));
        }
        let stream = LogStream { created_ms: now, events: Vec::new() };
        group.streams.insert(name.to_owned(), stream);
        Ok(json!({}))
    }

    fn put_events(&mut self, input: &Value, now: u64) -> Answer {
        let first_id = self.last_id + 1;
        let events = input["logEvents"].as_array().cloned().unwrap_or_default();
        self.last_id += events.len() as u64;
        let name = text(input, "logStreamName").unwrap_or_default();
        let group = self.group_mut(input)?;
        let Some(stream) = group.streams.get_mut(name) else { return Err(no_stream()) };
        for (id, event) in (first_id..).zip(&events) {
            stream.events.push(LogEvent {
                id,
                timestamp: event["timestamp"].as_u64().unwrap_or_default(),
                ingested: now,
                message: text(event, "message").unwrap_or_default().to_owned(),
            });
        }
        Ok(json!({ "nextSequenceToken": self.last_id.to_string() }))
    }

    fn describe_groups(&self, input: &Value) -> Answer {
        let prefix = text(input, "logGroupNamePrefix").unwrap_or_default();
        let part = text(input, "logGroupNamePattern").unwrap_or_default().to_lowercase();
        if !prefix.is_empty() && !part.is_empty() {
            let message =
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.";
            return Err(Refusal::invalid(message));
        }
        let fits =
            |name: &str| name.starts_with(prefix) && name.to_lowercase().contains(part.as_str());
        let own = self.groups.iter().filter(|(name, _)| fits(name));
        Ok(page("logGroups", own.map(|(name, group)| group_shape(name, group)), input))
    }

    fn describe_streams(&self, input: &Value) -> Answer {
        let (name, group) = self.group(input)?;
        let prefix = text(input, "logStreamNamePrefix").unwrap_or_default();
        let by_time = text(input, "orderBy") == Some("LastEventTime");
        if by_time && !prefix.is_empty() {
            let message = "Cannot order by LastEventTime with a logStreamNamePrefix.";
            return Err(Refusal::invalid(message));
        }
        let mut own: Vec<_> =
            group.streams.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        if by_time {
            own.sort_by_key(|(_, stream)| stream.last_event());
        }
        if input["descending"] == true {
            own.reverse();
        }
        let shapes = own.into_iter().map(|(stream, one)| stream_shape(name, stream, one));
        Ok(page("logStreams", shapes, input))
    }

    fn filter_events(&self, input: &Value) -> Answer {
        let (_, group) = self.group(input)?;
        let pattern = Pattern::read(text(input, "filterPattern").unwrap_or_default())
            .map_err(|why| Refusal::invalid(format!("Invalid filter pattern: {why}")))?;
        let from_head = from_head(input)?;
        let names = input["logStreamNames"].as_array();
        let prefix = text(input, "logStreamNamePrefix");
        if names.is_some() && prefix.is_some() {
            let message =
                "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.";
            return Err(Refusal::invalid(message));
        }
        let asked = |name: &str| {
            names.is_none_or(|names| names.iter().any(|one| one == name))
                && prefix.is_none_or(|prefix| name.starts_with(prefix))
        };
        let mut found: Vec<_> = group
            .streams
            .iter()
            .filter(|(name, _)| asked(name))
            .flat_map(|(name, stream)| stream.events.iter().map(move |event| (name, event)))
            .filter(|(_, event)| in_window(event, input, true) && pattern.matches(&event.message))
            .collect();
        found.sort_by_key(|(_, event)| (event.timestamp, event.ingested, event.id));
        if !from_head {
            found.reverse();
        }
        let (start, empty) = self.place(input)?;
        if 0 < empty {
            let token = token(from_head, start, empty - 1);
            return Ok(json!({ "events": [], "searchedLogStreams": [], "nextToken": token }));
        }
        let most = limit(input).min(self.most_per_page);
        let end = found.len().min(start + most);
        let events = found.get(start..end).unwrap_or_default().iter();
        let shapes = events.map(|(stream, event)| {
            json!({
                "logStreamName": stream, "timestamp": event.timestamp, "message": event.message,
                "ingestionTime": event.ingested, "eventId": format!("{:056}", event.id),
            })
        });
        let next = (end < found.len()).then(|| token(from_head, end, 0));
        let events: Vec<_> = shapes.collect();
        Ok(json!({ "events": events, "searchedLogStreams": [], "nextToken": next }))
    }

    /// Where a page begins, and how many empty ones come before it.
    fn place(&self, input: &Value) -> Result<(usize, usize), Refusal> {
        let Some(token) = text(input, "nextToken") else { return Ok((0, self.empty_pages)) };
        let mut parts = token.split('/').skip(1).map(|part| part.parse::<usize>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(start), Some(empty)) => Ok((start, empty)),
            _ => Err(Refusal::invalid("The specified nextToken is invalid.")),
        }
    }

    fn get_events(&self, input: &Value) -> Answer {
        let (_, group) = self.group(input)?;
        let stream = group.streams.get(text(input, "logStreamName").unwrap_or_default());
        let Some(stream) = stream else { return Err(no_stream()) };
        let mut found: Vec<_> =
            stream.events.iter().filter(|event| in_window(event, input, false)).collect();
        found.sort_by_key(|event| (event.timestamp, event.id));
        let most = limit(input).min(self.most_per_page);
        // Tokens are `f/PLACE` and `b/PLACE`: what comes from there on, and what comes before there.
        let (start, end) = match text(input, "nextToken").map(|token| token.split_once('/')) {
            Some(Some(("f", place))) => {
                let start = read_place(place)?.min(found.len());
                (start, found.len().min(start + most))
            }
            Some(Some(("b", place))) => {
                let end = read_place(place)?.min(found.len());
                (end.saturating_sub(most), end)
            }
            Some(_) => return Err(Refusal::invalid("The specified nextToken is invalid.")),
            None if input["startFromHead"] == true => (0, found.len().min(most)),
            None => (found.len().saturating_sub(most), found.len()),
        };
        let events = found[start..end].iter().map(|event| {
            json!({
                "timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingested,
            })
        });
        Ok(json!({
            "events": events.collect::<Vec<_>>(),
            "nextForwardToken": format!("f/{end}"), "nextBackwardToken": format!("b/{start}"),
        }))
    }

    /// The group that a request names, by its name or its ARN.
    pub(super) fn group(&self, input: &Value) -> Result<(&str, &LogGroup), Refusal> {
        let name = group_name(input)?;
        let found = self.groups.get_key_value(name);
        found.map(|(name, group)| (name.as_str(), group)).ok_or_else(no_group)
    }

    fn group_mut(&mut self, input: &Value) -> Result<&mut LogGroup, Refusal> {
        self.groups.get_mut(group_name(input)?).ok_or_else(no_group)
    }
}

impl LogStream {
    fn last_event(&self) -> Option<u64> {
        self.events.iter().map(|event| event.timestamp).max()
    }

    fn bytes(&self) -> usize {
        // AWS adds so much to each event.
        self.events.iter().map(|event| event.message.len() + 26).sum()
    }
}

fn from_head(input: &Value) -> Result<bool, Refusal> {
    if let Some(token) = text(input, "nextToken") {
        return Ok(token.starts_with("head/"));
    }
    let from_head = input["startFromHead"] != false;
    let since = input["startTime"].as_u64().unwrap_or_default();
    if !from_head && since < NEWEST_FIRST_SINCE_MS {
        let message = "startFromHead=false needs a startTime on or after Jan 1, 2024 00:00:00 UTC.";
        return Err(Refusal::invalid(message));
    }
    Ok(from_head)
}

fn token(from_head: bool, start: usize, empty: usize) -> String {
    format!("{}/{start}/{empty}", if from_head { "head" } else { "tail" })
}

fn read_place(text: &str) -> Result<usize, Refusal> {
    text.parse().map_err(|_| Refusal::invalid("The specified nextToken is invalid."))
}

/// `GetLogEvents` leaves out what happened at `endTime`, `FilterLogEvents` does not.
fn in_window(event: &LogEvent, input: &Value, with_end: bool) -> bool {
    let start = input["startTime"].as_u64().unwrap_or_default();
    let end = input["endTime"].as_u64().unwrap_or(u64::MAX);
    start <= event.timestamp && (event.timestamp < end || with_end && event.timestamp == end)
}

fn limit(input: &Value) -> usize {
    usize::try_from(input["limit"].as_u64().unwrap_or(MOST_EVENTS)).unwrap_or(usize::MAX)
}

/// The name in `logGroupName` or in `logGroupIdentifier`, of which there must be one.
fn group_name(input: &Value) -> Result<&str, Refusal> {
    match (text(input, "logGroupName"), text(input, "logGroupIdentifier")) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => {
            Ok(identifier.rsplit_once("log-group:").map_or(identifier, |(_, name)| name))
        }
        _ => Err(Refusal::invalid(
            "Exactly one of logGroupName and logGroupIdentifier must be specified.",
        )),
    }
}

fn group_arn(name: &str) -> String {
    format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}")
}

fn group_shape(name: &str, group: &LogGroup) -> Value {
    let bytes: usize = group.streams.values().map(LogStream::bytes).sum();
    json!({
        "logGroupName": name, "creationTime": group.created_ms, "retentionInDays": group.retention_days,
        "metricFilterCount": 0, "arn": format!("{}:*", group_arn(name)), "storedBytes": bytes,
        "logGroupClass": "STANDARD", "logGroupArn": group_arn(name),
    })
}

fn stream_shape(group: &str, name: &str, stream: &LogStream) -> Value {
    let first = stream.events.iter().map(|event| event.timestamp).min();
    json!({
        "logStreamName": name, "creationTime": stream.created_ms, "firstEventTimestamp": first,
        "lastEventTimestamp": stream.last_event(),
        "lastIngestionTime": stream.events.iter().map(|event| event.ingested).max(),
        "arn": format!("{}:log-stream:{name}", group_arn(group)), "storedBytes": 0,
    })
}

fn page(name: &str, items: impl Iterator<Item = Value>, input: &Value) -> Value {
    let start = text(input, "nextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let most = usize::try_from(input["limit"].as_u64().unwrap_or(50)).unwrap_or(50);
    let mut rest = items.skip(start);
    let items: Vec<_> = rest.by_ref().take(most).collect();
    let next = rest.next().map(|_| (start + items.len()).to_string());
    let mut answer = json!({ "nextToken": next });
    answer[name] = Value::Array(items);
    answer
}

pub(super) fn text<'a>(input: &'a Value, name: &str) -> Option<&'a str> {
    input[name].as_str().filter(|text| !text.is_empty())
}

pub(super) fn no_group() -> Refusal {
    Refusal::new("ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> Refusal {
    Refusal::new("ResourceNotFoundException", "The specified log stream does not exist.")
}

fn exists(message: &str) -> Refusal {
    Refusal::new("ResourceAlreadyExistsException", message)
}
