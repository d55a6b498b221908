//! What users ask with, and what they are shown.

use serde::Serialize;
use serde_json::{Map, Value};
use windlass_engine::Problem;

use super::drifts::WorkflowDrift;

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
}

/// An execution as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// One entry a step, in the order of the document.
    pub steps: Vec<StepView>,
    /// What it was given.
    pub input: Value,
    /// Who started it.
    pub requested_by: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
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

/// A step as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// `server.tool`
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

/// Whether results of steps are wanted with a status.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Detail {
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
