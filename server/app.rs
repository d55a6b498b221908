//! Everything a user can ask for. One method for each, whichever door it came by.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use windlass_engine::Problem;

use crate::tool_servers::{self, ToolInfo};

/// The application behind every door; cheap to clone.
#[derive(Clone)]
pub struct App {
    #[allow(dead_code)]
    inner: Arc<Inner>,
}

struct Inner;

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
    /// It did not happen: call it again with the same key.
    Retry,
    /// It failed for good.
    Failed(String),
}

/// Why a user's wish was not granted. All but [`Error::Store`] are the caller's mistake: an answer, not a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Names the nearest and the known ones.
    #[error("no workflow is called {name:?}{hint}")]
    UnknownWorkflow {
        /// What was asked for.
        name: String,
        /// `; did you mean …? Known: …`
        hint: String,
    },
    /// The workflow's file has problems, so it cannot run.
    #[error("workflow {name:?} cannot run: {}", list(.problems))]
    BrokenWorkflow {
        /// Its name.
        name: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Each problem names a path and what is allowed.
    #[error("the input of {workflow:?} does not fit: {}", list(.problems))]
    InvalidInput {
        /// The workflow's name.
        workflow: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// The key was used before with another workflow or input.
    #[error(
        "idempotency key {key:?} was used for execution {execution_id} with other input; use a new key to run again, or the same input to find that execution"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The execution it belongs to.
        execution_id: String,
    },
    /// Also when the execution belongs to another workspace.
    #[error(
        "no execution has the id {0:?} in this workspace; without an id, the status lists the newest ones"
    )]
    UnknownExecution(String),
    /// Names the steps there are.
    #[error("execution {execution_id} has no step {step:?}; its steps: {known}")]
    UnknownStep {
        /// The execution.
        execution_id: String,
        /// What was asked for.
        step: String,
        /// The names there are.
        known: String,
    },
    /// The request does not fit the state; says what would.
    #[error("{0}")]
    Refused(String),
    /// A tool server question that has no answer.
    #[error(transparent)]
    ToolServers(#[from] tool_servers::Error),
    /// Ours, not the caller's.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl App {
    /// Starts an execution, or finds the one that the idempotency key already started. Stores nothing when the input does not fit.
    ///
    /// # Errors
    /// Unknown or broken workflow, input that does not fit, a key used with other input.
    pub async fn run(&self, _caller: &Caller, _request: RunRequest) -> Result<Execution, Error> {
        todo!()
    }

    /// How an execution stands.
    ///
    /// # Errors
    /// When there is no such execution in this workspace.
    pub async fn status(&self, _execution_id: &str, _detail: Detail) -> Result<Execution, Error> {
        todo!()
    }

    /// Waits until the execution's version is higher than `since`, or the patience is over.
    ///
    /// # Errors
    /// When there is no such execution in this workspace.
    pub async fn changed(
        &self,
        _execution_id: &str,
        _since: i64,
        _patience: Duration,
        _detail: Detail,
    ) -> Result<Execution, Error> {
        todo!()
    }

    /// The caller's newest executions, and all that wait for something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions(&self, _caller: &Caller, _limit: u32) -> Result<ExecutionList, Error> {
        todo!()
    }

    /// Every workflow, broken ones with their problems; by name.
    pub async fn workflows(&self) -> Vec<WorkflowView> {
        todo!()
    }

    /// One workflow.
    ///
    /// # Errors
    /// When no workflow has that name.
    pub async fn describe(&self, _workflow: &str) -> Result<WorkflowView, Error> {
        todo!()
    }

    /// Asks for an execution to be cancelled; its tools hear of it.
    ///
    /// # Errors
    /// When there is no such execution, or it has ended otherwise.
    pub async fn cancel(
        &self,
        _caller: &Caller,
        _execution_id: &str,
        _reason: Option<String>,
    ) -> Result<Execution, Error> {
        todo!()
    }

    /// Settles a failed or uncertain step by hand.
    ///
    /// # Errors
    /// When the step is not waiting for that, or the result does not fit the tool's output schema.
    pub async fn resolve(
        &self,
        _caller: &Caller,
        _execution_id: &str,
        _step: &str,
        _resolution: Resolution,
    ) -> Result<Execution, Error> {
        todo!()
    }

    /// Checks a document without storing anything. The problems are empty when it may run.
    pub async fn validate(&self, _text: &str) -> Vec<Problem> {
        todo!()
    }

    /// Every tool of every server; for a server that cannot be reached, why.
    pub async fn tools(&self) -> Vec<(String, Result<Arc<Vec<ToolInfo>>, tool_servers::Error>)> {
        todo!()
    }

    /// Whether the database answers and a worker lives; what is wrong otherwise.
    ///
    /// # Errors
    /// A sentence that says what is not ready.
    pub async fn ready(&self) -> Result<(), String> {
        todo!()
    }
}
