//! A double of CloudWatch Logs: groups, streams and events that can be filtered as there.
//!
//! It is a part of [`AwsEmulator`], on the same port as ECS; these are its handles there:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use windlass_emulators::aws::AwsEmulator;
//! # let now_ms = 1_795_255_505_999;
//!
//! let aws = AwsEmulator::start().await?;
//! aws.put_log("/ecs/web", "ecs/web/1", now_ms, "ERROR no currency"); // the group and stream come into being
//! aws.change_logs(|logs| logs.empty_pages = 2); // two pages with a token and nothing in them come first
//! aws.change_logs(|logs| logs.most_per_page = 50); // pages are cut there, whatever `limit` allows
//! aws.change_logs(|logs| logs.query_looks = 2); // queries are `Running` for so many looks
//! # Ok(())
//! # }
//! ```
//!
//! `FilterLogEvents` knows `startTime`, `endTime` (both inclusive), `startFromHead`, streams by name and by
//! prefix, and the patterns of `filterPattern` that are terms, quoted terms, `?a ?b` and `-x`, and
//! `{ $.level = "ERROR" && $.status >= 500 }` with `=`, `!=`, `<`, `<=`, `>`, `>=`, `*` in texts, `&&` and `||`.
//! `StartQuery` knows the commands `fields`, `filter … like /…/ or "…"`, `sort`, `limit` and `stats count(*)`, and refuses others.
//! Emulated ECS tasks whose task definition has `awslogs` options write here.

mod operations;
mod pattern;
mod query;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::aws::AwsEmulator;

/// What the double of CloudWatch Logs knows.
#[derive(Debug, Clone)]
pub struct Logs {
    /// The groups by name.
    pub groups: BTreeMap<String, LogGroup>,
    /// How many pages with a token and without events come before the first event.
    pub empty_pages: usize,
    /// How many events a page has at most.
    pub most_per_page: usize,
    /// For how many looks a query is `Running`.
    pub query_looks: usize,
    queries: BTreeMap<String, Query>,
    last_id: u64,
}

/// A log group.
#[derive(Debug, Clone, Default)]
pub struct LogGroup {
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// How long events are kept.
    pub retention_days: Option<u64>,
    /// Its streams by name.
    pub streams: BTreeMap<String, LogStream>,
}

/// A log stream.
#[derive(Debug, Clone, Default)]
pub struct LogStream {
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its events, in the order they came.
    pub events: Vec<LogEvent>,
}

/// An event.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// A number that no other event has.
    pub id: u64,
    /// When it happened, in milliseconds since 1970.
    pub timestamp: u64,
    /// When it came in.
    pub ingested: u64,
    /// Its text.
    pub message: String,
}

#[derive(Debug, Clone)]
struct Query {
    looks: usize,
    cancelled: bool,
    answer: Value,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            empty_pages: 0,
            most_per_page: 10_000,
            query_looks: 0,
            queries: BTreeMap::new(),
            last_id: 0,
        }
    }
}

impl AwsEmulator {
    /// A copy of everything that CloudWatch Logs knows now.
    pub fn logs(&self) -> Logs {
        self.world().logs.clone()
    }

    /// Changes by hand what CloudWatch Logs knows.
    pub fn change_logs<T>(&self, change: impl FnOnce(&mut Logs) -> T) -> T {
        change(&mut self.world().logs)
    }

    /// Writes one event; its group and stream come into being if need be.
    pub fn put_log(&self, group: &str, stream: &str, timestamp_ms: u64, message: &str) {
        self.world().logs.put(group, stream, timestamp_ms, message);
    }
}

impl Logs {
    /// Writes one event; its group and stream come into being if need be.
    pub fn put(&mut self, group: &str, stream: &str, timestamp: u64, message: &str) {
        self.create(group, stream, timestamp);
        self.last_id += 1;
        let (id, message) = (self.last_id, message.to_owned());
        let event = LogEvent { id, timestamp, ingested: timestamp, message };
        let streams = self.groups.get_mut(group).map(|group| &mut group.streams);
        if let Some(stream) = streams.and_then(|streams| streams.get_mut(stream)) {
            stream.events.push(event);
        }
    }

    /// Creates a group and a stream if they are not there.
    pub fn create(&mut self, group: &str, stream: &str, now: u64) {
        let new = || LogGroup { created_ms: now, ..LogGroup::default() };
        let group = self.groups.entry(group.to_owned()).or_insert_with(new);
        let new = || LogStream { created_ms: now, events: Vec::new() };
        group.streams.entry(stream.to_owned()).or_insert_with(new);
    }
}
