//! The tool servers that workflows call: connections out, over MCP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_engine::ToolName;

/// Every tool server this process may call; cheap to clone.
#[derive(Clone)]
pub struct ToolServers {
    inner: Arc<Inner>,
}

struct Inner;

/// One call to one tool.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments; an object.
    pub params: Value,
    /// The same over all attempts of a step; travels in `_meta`.
    pub idempotency_key: String,
    /// How often this call has gone out for the step, this time included; at least 1.
    pub attempt: u32,
    /// When the step's first call went out, in milliseconds since 1970.
    pub first_started_at: i64,
    /// Bound on the whole call, connecting included.
    pub timeout: Duration,
    /// Cancelling it cancels the tool.
    pub cancel: CancellationToken,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool did it; its structured result, or its text (as JSON where it is JSON).
    Succeeded(Value),
    /// The tool was not called, or says that it failed.
    Failed(Failure),
    /// The call may or may not have happened.
    Uncertain {
        /// What was seen.
        failure: Failure,
        /// Whether calling again with the same key is harmless (read-only, idempotent or keyed).
        repeatable: bool,
    },
}

/// Why a call failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Stable, for machines: `invalid_argument`, `unavailable`, `timeout`, `tool_error` …
    pub code: String,
    /// What happened, what is allowed and what to do next.
    pub message: String,
    /// Whether the same call may succeed later; `None` when nobody knows.
    pub retryable: Option<bool>,
    /// How long to wait first, in milliseconds, when the tool says so.
    pub retry_after_ms: Option<u64>,
}

/// How safe it is to call a tool again with the same key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// Changes nothing.
    Read,
    /// The same arguments lead to the same end state.
    Idempotent,
    /// Looks the key up before it acts.
    Keyed,
    /// Nothing is known that would make a second call harmless.
    Unsafe,
}

/// One tool of one server, as the server describes it.
#[derive(Clone, Debug, Serialize)]
pub struct ToolInfo {
    /// Its name: the server's, a dot, the tool's own.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its structured result, if it names one.
    pub output_schema: Option<Value>,
    /// Whether it may be called again.
    pub retry_class: RetryClass,
}

/// What a running tool says of its progress.
#[derive(Clone, Debug)]
pub struct ToolProgress {
    /// How far it has come, in its own unit.
    pub progress: f64,
    /// How far it has to go, if it knows.
    pub total: Option<f64>,
    /// For people.
    pub message: Option<String>,
}

/// A question about tool servers that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such server is configured; names what is.
    #[error("no tool server is called {name:?}{}", did_you_mean(.nearest))]
    UnknownServer {
        /// What was asked for.
        name: String,
        /// The closest names there are.
        nearest: Vec<String>,
    },
    /// The server has no such tool; names what it has.
    #[error("tool server {server:?} has no tool {tool:?}{}", did_you_mean(.nearest))]
    UnknownTool {
        /// The server.
        server: String,
        /// What was asked for.
        tool: String,
        /// The closest names there are.
        nearest: Vec<String>,
    },
    /// The server could not be reached or started.
    #[error("tool server {server:?} cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", nearest.join(", "))
    }
}

impl ToolServers {
    /// The names of all configured servers, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        _ = &self.inner;
        todo!()
    }

    /// What identifies each server's configuration, without secrets; recorded with every execution.
    #[must_use]
    pub fn identities(&self) -> BTreeMap<String, String> {
        todo!()
    }

    /// Every tool of one server; connects if need be.
    ///
    /// # Errors
    /// When there is no such server or it cannot be reached.
    pub async fn tools(&self, _server: &str) -> Result<Arc<Vec<ToolInfo>>, Error> {
        todo!()
    }

    /// One tool, by exact name or alias.
    ///
    /// # Errors
    /// When the server or the tool does not exist, or the server cannot be reached.
    pub async fn tool(&self, _name: &ToolName) -> Result<ToolInfo, Error> {
        todo!()
    }

    /// Calls a tool; never fails otherwise than by its outcome.
    pub async fn call(
        &self,
        _call: Call,
        _progress: &(dyn Fn(ToolProgress) + Send + Sync),
    ) -> Outcome {
        todo!()
    }

    /// Closes every connection and ends every child process, within a bound.
    pub async fn shutdown(&self) {
        todo!()
    }
}
