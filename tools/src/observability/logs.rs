//! What all sources of logs have in common: a question, and the events that answer it.

#[cfg(feature = "cloudwatch-logs")]
mod cloudwatch;
mod files;
mod loki;

use serde::Deserialize;
use serde_json::Value;

pub(super) use self::files::events_in;
use super::Observability;
use super::filter::Filter;
use super::settings::{Kind, Target};
use super::time::Window;
use crate::contract::ToolError;
use crate::contract::text::redact;

/// Which end of the window comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Newest,
    Oldest,
}

/// Which events are asked for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) window: Window,
    pub(super) filter: Option<Filter>,
    pub(super) order: Order,
    pub(super) limit: usize,
    /// Files, streams: all when empty.
    pub(super) streams: Vec<String>,
    /// Where an earlier look broke off, in the words of the source.
    #[cfg_attr(
        not(feature = "cloudwatch-logs"),
        allow(dead_code, reason = "only CloudWatch asks for it")
    )]
    pub(super) page: Option<String>,
}

/// What happened, as a source tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: i64,
    pub(super) message: String,
    pub(super) stream: String,
}

/// The events found, in the order asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) events: Vec<Event>,
    /// How many lines were looked at, where the source says so.
    pub(super) scanned: Option<u64>,
    /// Whether there is more in the window than was read.
    pub(super) more: bool,
    /// Where to go on, when the look broke off before the limit.
    pub(super) page: Option<String>,
    /// What else the caller should know.
    pub(super) hints: Vec<String>,
}

/// Looks for events.
pub(super) async fn find(
    state: &Observability,
    target: &Target,
    question: &Question,
) -> Result<Found, ToolError> {
    let mut found = match target.source.kind {
        Kind::Files => files::find(target, question).await?,
        Kind::Loki => loki::find(state, target, question).await?,
        Kind::Cloudwatch => cloudwatch(state, target, question).await?,
        Kind::Prometheus => Found::default(),
    };
    let secrets = state.secrets();
    let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
    for event in &mut found.events {
        // Before anything is masked or cut: half a secret would not be known for one.
        event.message = redact(&event.message, &secrets);
    }
    // Sources that hold several streams answer one after the other.
    found.events.sort_by_key(|event| event.at);
    if question.order == Order::Newest {
        found.events.reverse();
    }
    Ok(found)
}

#[cfg(feature = "cloudwatch-logs")]
async fn cloudwatch(
    state: &Observability,
    target: &Target,
    question: &Question,
) -> Result<Found, ToolError> {
    cloudwatch::find(state, target, question).await
}

#[cfg(not(feature = "cloudwatch-logs"))]
async fn cloudwatch(_: &Observability, _: &Target, _: &Question) -> Result<Found, ToolError> {
    Err(no_cloudwatch())
}

#[cfg(not(feature = "cloudwatch-logs"))]
fn no_cloudwatch() -> ToolError {
    let message = "this build of Windlass has no CloudWatch Logs";
    ToolError::new(crate::contract::Code::FailedPrecondition, message)
        .hint("build it with the feature cloudwatch-logs")
}

/// What there is to search: log groups, labels or files.
pub(super) async fn groups(
    state: &Observability,
    target: &Target,
    prefix: &str,
    limit: usize,
) -> Result<(Vec<Value>, bool), ToolError> {
    match target.source.kind {
        Kind::Files => files::groups(target, prefix, limit).await,
        Kind::Loki => loki::groups(state, target, prefix, limit).await,
        #[cfg(feature = "cloudwatch-logs")]
        Kind::Cloudwatch => cloudwatch::groups(state, target, prefix, limit).await,
        #[cfg(not(feature = "cloudwatch-logs"))]
        Kind::Cloudwatch => Err(no_cloudwatch()),
        Kind::Prometheus => Ok((Vec::new(), false)),
    }
}
