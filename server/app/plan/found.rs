//! A plan and its parts, as callers see them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::tool_servers::RetryClass;

/// What an execution would do, as far as anybody can know before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// `plan_…`; a run that names it is refused when it would be another one.
    pub plan_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The revision's hash.
    pub revision: String,
    /// The revision's number, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_number: Option<i64>,
    /// What the workflow is given, with its defaults.
    pub input: Value,
    /// The calls that may change something, in their order.
    pub writes: Vec<Write>,
    /// The calls that only read. They were really made.
    pub reads: Vec<Read>,
    /// What persons would be asked; it is supposed that they agree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Asked>,
    /// The locks that would be held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Locked>,
    /// What would be waited for; time was only supposed to pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
    /// Steps that were not planned and may run all the same, because that depends on what was supposed.
    pub may_also_run: Vec<MayRun>,
    /// Results that were supposed.
    pub stubs: Vec<Stub>,
    /// What runs when the execution fails or is cancelled; none of it is among the writes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub if_it_ends_badly: Vec<Handler>,
    /// The `stop` that it would end at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops: Option<Stopped>,
    /// Where the plan ends because the execution would fail there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Whether the plan ends early because it became too large or took too long.
    pub truncated: bool,
    /// Where, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_at: Option<Truncated>,
    /// What nobody can know before it runs, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// SHA-256 over workflow, revision, input, the digests of tools and other workflows, and the writes.
    pub hash: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Until when it can be run by, in milliseconds since 1970.
    pub expires_at: i64,
}

/// A call that may change something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Write {
    /// Counts from 1.
    pub order: usize,
    /// The path of the step; after those of the steps that run the workflow that it is in.
    pub step: String,
    /// `server.tool`
    pub tool: String,
    /// All that the tool is given; secrets as `${secrets.NAME}`.
    pub params: Value,
    /// Whether it may be called again; left out where nobody could ask about the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_class: Option<RetryClass>,
    /// Whether it may be another call, or none, because something that it derives from was supposed.
    pub estimated: bool,
    /// Where in the params (JSON Pointers) that is; none where only whether it runs was supposed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub estimated_params: Vec<String>,
    /// The steps whose supposed results those are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on_stubs: Vec<String>,
}

/// A call that only reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Read {
    /// The path of the step.
    pub step: String,
    /// `server.tool`
    pub tool: String,
    /// All that the tool was given.
    pub params: Value,
    /// Whether the tool did it.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// The path of the step.
    pub step: String,
    /// `approval` or `form`.
    pub kind: String,
    /// What the person would read.
    pub message: String,
    /// Who may answer; everybody when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many have to agree.
    pub quorum: u32,
}

/// A lock that would be held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Locked {
    /// The path of the step; none for the whole execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What is locked.
    pub key: String,
}

/// A wait for a time or an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waited {
    /// The path of the step.
    pub step: String,
    /// How long at most, in milliseconds.
    pub ms: i64,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// A step that was not planned and may run all the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MayRun {
    /// The path of the step, without the numbers of instances and iterations.
    pub step: String,
    /// `server.tool`, or what it does in a word or two.
    pub tool: String,
    /// Whether the tool only reads.
    pub only_reads: bool,
    /// What it would be given, where that can be computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// The steps whose supposed results decide; none where the plan ended before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on_stubs: Vec<String>,
}

/// A result that was supposed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stub {
    /// The path of the step.
    pub step: String,
    /// `server.tool`, or what it does in a word or two.
    pub tool: String,
    /// Where the result comes from.
    pub from: Basis,
    /// Why it was supposed.
    pub why: Why,
}

/// Where a supposed result comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What the step resulted in the last time.
    LastResult,
    /// An example of what its schema describes.
    Schema,
    /// Texts that stand for what expressions name.
    Unknown,
    /// It was really read, but a part of it is secret and was hidden.
    Hidden,
    /// It was really read and not done yet; that it will be is supposed.
    LastLook,
}

/// Why a result was supposed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The tool may change something.
    Writes,
    /// What the tool would be given derives from what was supposed.
    Estimated,
    /// It needs a secret, which only the worker can put in; or its result is one.
    Secret,
    /// Nobody could ask what kind of tool it is.
    Unreachable,
    /// A person, or somebody who sends an event, has the word.
    Outside,
    /// It would be waited for until it is done.
    NotDone,
}

/// What runs when an execution ends badly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Handler {
    /// `on_failure`, `on_cancel` or `undo`.
    pub when: &'static str,
    /// The path of the step.
    pub step: String,
    /// `server.tool`, or what it does in a word or two.
    pub tool: String,
}

/// The `stop` that an execution would end at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stopped {
    /// The path of the step.
    pub step: String,
    /// completed, failed or cancelled.
    pub outcome: windlass_engine::Outcome,
    /// Why.
    pub message: String,
}

/// Where a plan ends because the execution would fail there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blocked {
    /// The path of the step, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Stable, for machines.
    pub code: String,
    /// What happened.
    pub error: String,
}

/// Where a plan ends because it became too large or took too long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truncated {
    /// The path of the step that was next, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why.
    pub reason: String,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Found {
    pub(super) writes: Vec<Write>,
    pub(super) reads: Vec<Read>,
    pub(super) asks: Vec<Asked>,
    pub(super) locks: Vec<Locked>,
    pub(super) waits: Vec<Waited>,
    pub(super) may_also_run: Vec<MayRun>,
    pub(super) stubs: Vec<Stub>,
    pub(super) if_it_ends_badly: Vec<Handler>,
    pub(super) stops: Option<Stopped>,
    pub(super) blocked: Option<Blocked>,
    pub(super) truncated: Option<Truncated>,
    pub(super) unknown: BTreeSet<String>,
}

impl Found {
    /// Whether the plan ended before the execution would.
    pub(super) fn is_cut_short(&self) -> bool {
        self.blocked.is_some() || self.truncated.is_some()
    }
}
