//! The little of Logs Insights that tests need: `fields`, `filter … like`, `sort`, `limit`, `stats count(*)`.

use serde_json::{Value, json};

use super::operations::{no_group, text};
use super::{LogEvent, Logs, Query};
use crate::aws::{Answer, Refusal};

/// What a query says.
#[derive(Debug, Default)]
struct Plan {
    fields: Vec<String>,
    /// What messages must contain, or must not.
    filters: Vec<(String, bool)>,
    oldest_first: bool,
    limit: Option<usize>,
    counts: bool,
}

impl Logs {
    pub(super) fn start_query(&mut self, input: &Value) -> Answer {
        let plan = read(text(input, "queryString").unwrap_or_default())
            .map_err(|why| Refusal::new("MalformedQueryException", why))?;
        let named = ["logGroupNames", "logGroupIdentifiers"].into_iter();
        let mut names: Vec<_> = named
            .flat_map(|key| input[key].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .map(|name| name.rsplit_once("log-group:").map_or(name, |(_, name)| name))
            .collect();
        names.extend(text(input, "logGroupName"));
        if names.is_empty() {
            return Err(Refusal::invalid("Log group name missing."));
        }
        let (mut events, mut scanned, mut bytes) = (Vec::new(), 0, 0);
        // Times of queries are seconds.
        let start = input["startTime"].as_u64().unwrap_or_default() * 1000;
        let end = input["endTime"].as_u64().unwrap_or_default() * 1000 + 999;
        for name in names {
            let group = self.groups.get(name).ok_or_else(no_group)?;
            for (stream, one) in &group.streams {
                let inside = |event: &&LogEvent| (start..=end).contains(&event.timestamp);
                for event in one.events.iter().filter(inside) {
                    scanned += 1;
                    bytes += event.message.len();
                    if plan.matches(&event.message) {
                        events.push((stream.clone(), event.clone()));
                    }
                }
            }
        }
        let limit = input["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let answer = plan.answer(events, limit.unwrap_or(10_000), scanned, bytes);
        self.last_id += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.last_id);
        let query = Query { looks: self.query_looks, cancelled: false, answer };
        self.queries.insert(id.clone(), query);
        Ok(json!({ "queryId": id }))
    }

    pub(super) fn query_results(&mut self, input: &Value) -> Answer {
        let query = self.query(input)?;
        if query.cancelled {
            return Ok(json!({ "queryLanguage": "CWLI", "results": [], "status": "Cancelled" }));
        }
        if 0 < query.looks {
            query.looks -= 1;
            return Ok(json!({ "queryLanguage": "CWLI", "results": [], "status": "Running" }));
        }
        Ok(query.answer.clone())
    }

    pub(super) fn stop_query(&mut self, input: &Value) -> Answer {
        let query = self.query(input)?;
        if query.cancelled || query.looks == 0 {
            return Err(Refusal::invalid("The query is not running."));
        }
        query.cancelled = true;
        Ok(json!({ "success": true }))
    }

    fn query(&mut self, input: &Value) -> Result<&mut Query, Refusal> {
        let query = self.queries.get_mut(text(input, "queryId").unwrap_or_default());
        query.ok_or_else(|| {
            Refusal::new("ResourceNotFoundException", "The specified query does not exist.")
        })
    }
}

impl Plan {
    fn matches(&self, message: &str) -> bool {
        self.filters.iter().all(|(part, wanted)| message.contains(part) == *wanted)
    }

    fn answer(
        &self,
        mut events: Vec<(String, LogEvent)>,
        limit: usize,
        scanned: usize,
        bytes: usize,
    ) -> Value {
        let matched = events.len();
        events.sort_by_key(|(_, event)| (event.timestamp, event.id));
        if !self.oldest_first {
            events.reverse();
        }
        let limit = self.limit.unwrap_or(limit);
        let results: Vec<Value> = if self.counts {
            vec![json!([{ "field": "count(*)", "value": matched.to_string() }])]
        } else {
            events.iter().take(limit).map(|(stream, event)| self.row(stream, event)).collect()
        };
        json!({
            "queryLanguage": "CWLI", "results": results, "status": "Complete",
            "statistics": {
                "recordsMatched": matched as f64, "recordsScanned": scanned as f64,
                "bytesScanned": bytes as f64,
            },
        })
    }

    fn row(&self, stream: &str, event: &LogEvent) -> Value {
        let timestamp = crate::clock::timestamp(event.timestamp).replace('T', " ");
        let timestamp = timestamp.replace('Z', &format!(".{:03}", event.timestamp % 1000));
        let fields = self.fields.iter().filter_map(|field| {
            let value = match field.as_str() {
                "@timestamp" => timestamp.clone(),
                "@message" => event.message.clone(),
                "@logStream" => stream.to_owned(),
                _ => return None,
            };
            Some(json!({ "field": field, "value": value }))
        });
        let pointer = json!({ "field": "@ptr", "value": format!("ptr-{}", event.id) });
        Value::Array(fields.chain([pointer]).collect())
    }
}

fn read(text: &str) -> Result<Plan, String> {
    let mut plan = Plan { fields: vec!["@timestamp".into(), "@message".into()], ..Plan::default() };
    for command in text.split('|').map(str::trim).filter(|command| !command.is_empty()) {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name.to_lowercase().as_str() {
            "fields" | "display" => {
                plan.fields = rest.split(',').map(|field| field.trim().to_owned()).collect();
            }
            "filter" => plan.filters.push(read_filter(rest)?),
            "sort" => plan.oldest_first = !rest.to_lowercase().ends_with("desc"),
            "limit" | "head" => {
                plan.limit = Some(rest.parse().map_err(|_| format!("{rest:?} is no number"))?);
            }
            "stats" if rest.replace(' ', "").starts_with("count(*)") && !rest.contains(" by ") => {
                plan.counts = true;
            }
            _ => return Err(format!("the emulated Logs Insights does not know {command:?}")),
        }
    }
    Ok(plan)
}

fn read_filter(text: &str) -> Result<(String, bool), String> {
    let unknown = || format!("the emulated Logs Insights does not know filter {text:?}");
    let (field, rest) = text.split_once(" like ").ok_or_else(unknown)?;
    let (field, wanted) =
        field.trim().strip_suffix(" not").map_or((field.trim(), true), |field| (field, false));
    let rest = rest.trim();
    let quoted = ['/', '"', '\''].into_iter().find(|quote| rest.starts_with(*quote));
    let part = quoted.and_then(|quote| rest[1..].strip_suffix(quote)).ok_or_else(unknown)?;
    // Only plain text: a regular expression would need more than the tests do.
    let is_plain = !part.contains(|c: char| "\\.*+?()[]{}^$|".contains(c));
    if field.trim() != "@message" || !is_plain {
        return Err(unknown());
    }
    Ok((part.to_owned(), wanted))
}
