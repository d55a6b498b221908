//! A workflow as its author wrote it, read and compiled.

use serde_json::Value;

use crate::expr::{Condition, Template};
use crate::input::InputSchema;

/// How many steps run at once when `config.maxParallel` does not say.
pub const DEFAULT_MAX_PARALLEL: u32 = 10;

/// A workflow that passed every check and may run.
#[derive(Debug)]
pub struct Workflow {
    /// `[a-z][a-z0-9_]*`, unique in its workspace.
    pub name: String,
    /// A name for people.
    pub title: Option<String>,
    /// What it does, for whoever chooses between workflows.
    pub description: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What it must be given.
    pub input: InputSchema,
    /// Bounds and defaults that hold for the whole execution.
    pub config: Config,
    /// The steps, in the order they were written; at least one.
    pub steps: Vec<Step>,
    /// What an execution results in; without it, the result of the last step.
    pub output: Option<Template>,
    /// The document itself, as JSON in the order it was written.
    pub document: Value,
    /// SHA-256 of the document's canonical JSON (RFC 8785), in lower-case hex.
    pub hash: String,
}

/// Bounds and defaults that hold for the whole execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bound on the whole execution, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How many steps may be running at once; at least 1.
    pub max_parallel: u32,
    /// Whether a failed step leaves the rest running, unless the step says otherwise.
    pub continue_on_error: bool,
    /// Attempts after the first, for steps without a `retry` of their own.
    pub max_retries: u32,
}

/// One call to one tool.
#[derive(Debug)]
pub struct Step {
    /// `[a-z][a-z0-9_]*`, unique in the workflow.
    pub name: String,
    /// The tool to call.
    pub tool: ToolName,
    /// What the tool is given; evaluates to an object.
    pub params: Template,
    /// The steps that must have ended first, as indices into [`Workflow::steps`].
    pub needs: Vec<usize>,
    /// The step is skipped when this is false.
    pub condition: Option<Condition>,
    /// A name at the top level under which the result is published too.
    pub assign: Option<String>,
    /// When a failed attempt is followed by another.
    pub retry: Retry,
    /// Bound on all attempts together, waits between them included, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// What a failure of this step means for the execution.
    pub on_error: OnError,
}

/// `server.tool`: the text before the first dot names the tool server, the rest the tool.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ToolName {
    /// The tool server.
    pub server: String,
    /// The tool's own name, which may contain dots.
    pub tool: String,
}

/// What a failure of a step means for the execution.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// The execution fails.
    Fail,
    /// The execution goes on; `error('<name>')` tells what happened.
    Continue,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Counts the first attempt too; 1 means no retry.
    pub max_attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The first delay, in milliseconds.
    pub initial_delay_ms: u64,
    /// The factor between two delays of an exponential backoff; at least 1.
    pub multiplier: f64,
    /// No delay is longer, in milliseconds.
    pub max_delay_ms: u64,
    /// Whether delays are spread, so that many executions do not come back at once.
    pub jitter: bool,
    /// Only errors with these codes are retried; empty means every error that allows it.
    pub on: Vec<String>,
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backoff {
    /// `initial · multiplier^(attempt − 1)`
    Exponential,
    /// `initial · attempt`
    Linear,
    /// `initial`
    Fixed,
}

impl Retry {
    /// The retry of a step that names none: `max_retries` more attempts, one second apart, doubling.
    #[must_use]
    pub fn plain(max_retries: u32) -> Retry {
        Retry {
            max_attempts: max_retries.saturating_add(1),
            backoff: Backoff::Exponential,
            initial_delay_ms: 1_000,
            multiplier: 2.0,
            max_delay_ms: 60_000,
            jitter: true,
            on: Vec::new(),
        }
    }
}

impl std::fmt::Display for ToolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.server, self.tool)
    }
}

impl ToolName {
    /// Splits `server.tool` at the first dot; `None` when either part is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<ToolName> {
        let (server, tool) = text.split_once('.')?;
        if server.is_empty() || tool.is_empty() {
            return None;
        }
        Some(ToolName { server: server.to_owned(), tool: tool.to_owned() })
    }
}

impl Workflow {
    /// Finds a step by its name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}
