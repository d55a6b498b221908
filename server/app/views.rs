//! What users ask with, and what they are shown.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use windlass_engine::Problem;

pub use windlass_engine::Priority;

use super::{
    drifts::WorkflowDrift,
    left::{ArtifactView, UsageView},
};
use crate::{
    limits::is_for_limit,
    store::{is_for_event, is_for_lock},
};

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The principal: `local` on stdio and the command line, the token's name over HTTP.
    pub name: String,
    /// The person or system the principal acts for, when it says so.
    pub on_behalf_of: Option<String>,
    /// The MCP client's name.
    pub client_name: Option<String>,
    /// The MCP client's version.
    pub client_version: Option<String>,
    /// Whether the caller types at the terminal of the machine. Only the command line says so: what a client calls
    /// itself is no proof of anything.
    pub at_terminal: bool,
    /// The trace that the request belongs to, as W3C's `traceparent`, if it says so.
    pub traceparent: Option<String>,
    /// What those before it say of that trace, as W3C's `tracestate`; nothing without a trace.
    pub tracestate: Option<String>,
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// A workflow's name.
    pub workflow: String,
    /// What it is given.
    pub input: Map<String, Value>,
    /// The same key twice is one execution (per workspace and caller, for 30 days).
    pub idempotency_key: Option<String>,
    /// The plan that it is held to: refused when it would be another execution than was planned. The input may be left
    /// out then.
    pub plan: Option<String>,
    /// Who goes first where not all can go at once; as the workflow says, if left out.
    pub priority: Option<Priority>,
}

/// An execution as its callers see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Execution {
    /// `exec_…`
    pub execution_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// pending, running, waiting, paused, completed, failed or cancelled.
    pub status: String,
    /// Grows with every change; hand it back as `since`.
    pub version: i64,
    /// What it resulted in, once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ExecutionError>,
    /// What it waits for, in words; with what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The questions to persons that are open, those of executions that its steps are included; the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestView>,
    /// One entry a step, in the order of the document; each instance and iteration follows its step.
    pub steps: Vec<StepView>,
    /// How many instances and iterations are left out of `steps`, because there are so many.
    #[serde(skip_serializing_if = "is_none")]
    pub more_steps: usize,
    /// What its calls of language models took, and those of executions that its steps are; `None` without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// The first files that it left behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactView>,
    /// What it was given.
    pub input: Value,
    /// Who started it.
    pub requested_by: String,
    /// Who wants it to end early, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelView>,
    /// The plan that it was started by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
}

impl Caller {
    /// The principal over stdio and at the terminal.
    pub const LOCAL: &str = "local";
    /// The principal over HTTP; only a token makes it somebody.
    pub const HTTP: &str = "http";
}

impl Execution {
    /// Whether it waits for a lock, or for the limit of a tool: whoever holds that gives it back by itself.
    fn queues(&self) -> bool {
        let queues = |said: &str| is_for_lock(said) || is_for_limit(said);
        self.requests.is_empty() && self.waiting_for.as_deref().is_some_and(queues)
    }

    /// Whether what it waits for has words and is for a person: events come from programs, and locks are given back.
    #[must_use]
    pub fn waits_for_somebody(&self) -> bool {
        self.waiting_for
            .as_deref()
            .is_some_and(|said| !is_for_event(said) && !is_for_lock(said) && !is_for_limit(said))
    }

    /// Whether nothing moves before somebody outside does something: a person, or whoever sends an event.
    #[must_use]
    pub fn rests(&self) -> bool {
        let works = |step: &StepView| step.status == "running" && step.kind == "tool";
        match self.status.as_str() {
            "paused" => true,
            "waiting" => self.waiting_for.is_some() && !self.queues(),
            // The executions that its steps are may wait all the same.
            "running" => {
                let queues = self.waiting_for.as_deref().is_some_and(is_for_limit);
                self.waiting_for.is_some() && !queues && !self.steps.iter().any(works)
            }
            _ => false,
        }
    }
}

/// A wish to end an execution early.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CancelView {
    /// Who.
    pub by: String,
    /// Why, if they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why an execution failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExecutionError {
    /// The step that failed, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Stable, for machines.
    pub code: String,
    /// What happened and what to do next.
    pub message: String,
}

/// A question to a person, as those see it who may answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestView {
    /// `req_…`
    pub request_id: String,
    /// The execution that asks.
    pub execution_id: String,
    /// Its workflow's name.
    pub workflow: String,
    /// The path of the step that asks.
    pub step: String,
    /// open, answered, expired or withdrawn.
    pub status: String,
    /// `approval` (yes or no) or `form` (values).
    pub kind: String,
    /// What the person reads.
    pub message: String,
    /// JSON Schema of the values, for a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The tool that is called once it is approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What exactly the tool is given then; a list of such objects for a `forEach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Who started the execution.
    pub requested_by: String,
    /// Who may answer; everybody when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many have to agree.
    pub quorum: u32,
    /// Those who have agreed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agreed: Vec<String>,
    /// Whether only a person whose identity was verified may answer.
    pub verified: bool,
    /// Whether nobody answered it the first time.
    pub escalated: bool,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// When it is too late to answer, in milliseconds since 1970.
    pub expires_at: i64,
}

/// A step as its callers see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepView {
    /// Its path: its name, after those of the groups that hold it, with the number of the instance or iteration.
    pub name: String,
    /// `tool`, `workflow`, `approval`, `ask`, `wait`, `set`, `group` or `stop`.
    pub kind: String,
    /// `server.tool`, or what it does in a word or two.
    pub tool: String,
    /// pending, running, waiting, completed, failed, skipped, cancelled or uncertain.
    pub status: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// When it goes on by itself at the latest, while it waits; in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
    /// The event it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What it waits for beside that, in words: a tool that is not done, or a limit on calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Who settled it by hand, or answered what it asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    /// The execution that did it, where that is another one: its result was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<String>,
    /// The execution that it is, where it runs a workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// How many of its instances that have begun stand how; those that `steps` leaves out are counted, too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, usize>,
    /// What its calls of language models took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// What its tool was given; only where the caller asked for results and there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Its result; only where the caller asked for results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// A workflow as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkflowView {
    /// Its name.
    pub name: String,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Where it comes from: a file's path, or `built-in`.
    pub source: String,
    /// The revision that a run would use now.
    pub hash: String,
    /// JSON Schema of what it must be given.
    pub input_schema: Value,
    /// Its steps: name, tool, needs.
    pub steps: Vec<Value>,
    /// What is wrong with the file, if it cannot run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Whether it may be started.
    pub enabled: bool,
    /// The number of the revision that a run would use now; only where one workflow was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// What became of the tools that the revision is pinned to, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<WorkflowDrift>,
}

/// How much of an execution is wanted with its status.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Detail {
    /// What became of the whole, and what it spent; of one that has not ended, or was told to, the steps, too.
    Outcome,
    /// Steps without their results.
    #[default]
    Steps,
    /// Steps with their results.
    Results,
}

/// A list of executions, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExecutionList {
    /// The newest ones of the caller, and all that wait for something; steps left out.
    pub executions: Vec<ExecutionSummary>,
    /// Whether a worker lives that drives executions; a warning to show when not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExecutionSummary {
    /// `exec_…`
    pub execution_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// As in [`Execution::status`].
    pub status: String,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
}

/// How a person settles a failed or uncertain step.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It happened, and this is its result (checked against the tool's output schema).
    Completed(Value),
    /// It did not happen: call it again, with a new key.
    Retry,
    /// It failed for good.
    Failed(String),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}
