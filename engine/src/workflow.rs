//! A workflow as its author wrote it, read and compiled.

use serde_json::Value;

use crate::expr::{Condition, Template};
use crate::input::InputSchema;

/// How many calls are out at once when `config.maxParallel` does not say.
pub const DEFAULT_MAX_PARALLEL: u32 = 10;

/// How long a person has to answer a request that does not say, in milliseconds: 7 days.
pub const DEFAULT_ANSWER_MS: u64 = 7 * 24 * 3_600_000;

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
    /// One holder at a time, for the whole execution.
    pub lock: Option<Lock>,
    /// Names with a value that steps can change, in the order they were written; evaluated at the start.
    pub vars: Vec<(String, Template)>,
    /// Every step at every depth, in the order of the document; a group comes before what it holds.
    pub steps: Vec<Step>,
    /// The steps of the document's own list, as indices into [`Workflow::steps`]; at least one.
    pub main: Vec<usize>,
    /// What runs when the execution has failed.
    pub on_failure: Vec<usize>,
    /// What runs when the execution was cancelled.
    pub on_cancel: Vec<usize>,
    /// What an execution results in; without it, the result of the last step of the document's own list.
    pub output: Option<Template>,
    /// The document itself, as JSON in the order it was written.
    pub document: Value,
    /// SHA-256 of the document's canonical JSON (RFC 8785), in lower-case hex.
    pub hash: String,
}

/// Bounds and defaults that hold for the whole execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Bound on the whole execution, in milliseconds; the time that persons and locks take does not count.
    pub timeout_ms: Option<u64>,
    /// How many calls may be out at once; at least 1.
    pub max_parallel: u32,
    /// Whether a failed step leaves the rest running, unless the step says otherwise.
    pub continue_on_error: bool,
    /// Attempts after the first, for steps without a `retry` of their own.
    pub max_retries: u32,
    /// Whether a failure has the `undo` of what had completed run, the last one first.
    pub undo_on_failure: bool,
    /// Who goes first where not all can go at once; a run may say otherwise.
    pub priority: Priority,
}

/// Who goes first where not all can go at once.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    serde::Deserialize,
    Eq,
    Ord,
    PartialEq,
    PartialOrd,
    serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After everything else.
    Low,
    /// Where nothing is said.
    #[default]
    Normal,
    /// Before everything else.
    High,
}

impl Priority {
    /// Every one of them, by its word.
    pub const WORDS: [(&'static str, Priority); 3] =
        [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)];

    /// The one of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Priority> {
        Priority::WORDS.iter().find(|(name, _)| *name == word).map(|(_, priority)| *priority)
    }

    /// As rows have it: the greater goes first.
    #[must_use]
    pub fn rank(self) -> i64 {
        match self {
            Priority::Low => -1,
            Priority::Normal => 0,
            Priority::High => 1,
        }
    }
}

/// One node of a workflow.
#[derive(Debug)]
pub struct Step {
    /// `[a-z][a-z0-9_]*`, unique in the workflow, whatever the depth.
    pub name: String,
    /// Where it stands in the document: a JSON Pointer (RFC 6901), such as `/steps/0/steps/1`.
    pub pointer: String,
    /// What it does.
    pub kind: Kind,
    /// The group that holds it, as an index into [`Workflow::steps`]; `None` in the document's own lists.
    pub parent: Option<usize>,
    /// The steps of the same list that must have ended first, as indices into [`Workflow::steps`].
    pub needs: Vec<usize>,
    /// The step is skipped when this is false; a group with `else` takes that instead.
    pub condition: Option<Condition>,
    /// One instance for each element of a list.
    pub for_each: Option<ForEach>,
    /// A name at the top level under which the result is published too.
    pub assign: Option<String>,
    /// When a failed attempt is followed by another; steps that call something have it.
    pub retry: Retry,
    /// Bound on all attempts together, waits between them included, in milliseconds. What persons and locks take
    /// does not count. For a group it bounds all that it holds.
    pub timeout_ms: Option<u64>,
    /// What a failure of this step means for the list it is in.
    pub on_error: OnError,
    /// Asked strictly before the call; only steps with a tool have it.
    pub approval: Option<Approval>,
    /// What must hold of `result`; otherwise the attempt failed.
    pub expect: Option<Condition>,
    /// What to do about a call that may or may not have happened; only steps with a tool have it.
    pub on_uncertain: OnUncertain,
    /// How to find out whether the call happened; there when `on_uncertain` is [`OnUncertain::Verify`].
    pub verify: Option<Verify>,
    /// What undoes it.
    pub undo: Option<Compensation>,
    /// Held while the step runs.
    pub lock: Option<Lock>,
}

/// What a step does.
#[derive(Debug)]
pub enum Kind {
    /// Calls a tool.
    Tool {
        /// The tool.
        tool: ToolName,
        /// What it is given; evaluates to an object.
        params: Template,
    },
    /// Runs another workflow as an execution of its own.
    Workflow {
        /// Its name.
        workflow: String,
        /// Its input; evaluates to an object.
        params: Template,
    },
    /// Asks a person whether to go on.
    Approval(Approval),
    /// Asks a person for values.
    Ask(Ask),
    /// Waits.
    Wait(Wait),
    /// Computes values; those that are named like a var change it. Evaluates to an object.
    Set(Template),
    /// Holds other steps.
    Group(Group),
    /// Ends the execution.
    Stop(Stop),
}

/// Steps that begin and end together: a group, a branch, or a loop.
#[derive(Debug)]
pub struct Group {
    /// What it holds, as indices into [`Workflow::steps`].
    pub steps: Vec<usize>,
    /// What runs instead when the condition is false.
    pub otherwise: Vec<usize>,
    /// Whether the steps wait for one another only where they say so.
    pub parallel: bool,
    /// When it is over.
    pub wait_for: WaitFor,
    /// Runs it again and again.
    pub repeat: Option<Repeat>,
}

/// When a group is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WaitFor {
    /// All its steps have ended.
    All,
    /// So many of its steps have completed; the others are cancelled. At least 1.
    Count(u32),
}

/// A loop. It sees the results of the iteration before, so `default(…)` is needed for the first one.
#[derive(Debug)]
pub struct Repeat {
    /// Asked before each iteration; false ends the loop.
    pub while_holds: Option<Condition>,
    /// Asked after each iteration; true ends the loop.
    pub until: Option<Condition>,
    /// The loop fails when it would begin one more; at least 1.
    pub max_iterations: u32,
}

/// One instance for each element of a list.
#[derive(Debug)]
pub struct ForEach {
    /// Evaluates to a list.
    pub list: Template,
    /// What an element is called in expressions: `item`, or what `as` says.
    pub variable: String,
    /// How many instances run at once; otherwise `config.maxParallel`. At least 1.
    pub max_parallel: Option<u32>,
}

/// A question to a person: may this go on?
#[derive(Debug)]
pub struct Approval {
    /// Asked only when this holds.
    pub condition: Option<Condition>,
    /// What the person reads; evaluates to a text.
    pub message: Option<Template>,
    /// How it is asked and who may answer.
    pub terms: Terms,
}

/// A question to a person: what are these values?
#[derive(Debug)]
pub struct Ask {
    /// What the person reads; evaluates to a text.
    pub message: Option<Template>,
    /// JSON Schema of the answer: an object of texts, numbers, truths and enumerations.
    pub schema: InputSchema,
    /// How it is asked and who may answer.
    pub terms: Terms,
}

/// How a request is asked and who may answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The principals who may answer; empty means everybody.
    pub approvers: Vec<String>,
    /// How many have to agree; at least 1.
    pub quorum: u32,
    /// How long it stays open, in milliseconds.
    pub expires_ms: u64,
    /// What happens when nobody answers in time.
    pub on_expire: OnExpire,
    /// Whether whoever started the execution may answer.
    pub allow_self: bool,
    /// Whether the answer must come from a person whose identity was verified.
    pub verified: bool,
}

/// What happens to a request that nobody answers in time.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpire {
    /// It counts as refused.
    Reject,
    /// It is asked once more, marked as escalated, for the same time; then it counts as refused.
    Escalate,
}

/// Waits for a time or a word.
#[derive(Debug)]
pub enum Wait {
    /// So many milliseconds; evaluates to a whole number.
    For(Template),
    /// Until a moment; evaluates to an RFC 3339 text or to milliseconds since 1970.
    Until(Template),
    /// Until somebody sends the event; its data is the result.
    Event {
        /// Its name; evaluates to a text.
        event: Template,
        /// How long; otherwise 7 days. In milliseconds.
        timeout_ms: Option<u64>,
    },
}

/// Ends the execution.
#[derive(Debug)]
pub struct Stop {
    /// As what.
    pub outcome: Outcome,
    /// Why; evaluates to a text.
    pub message: Option<Template>,
}

/// As what an execution ends.
#[derive(Clone, Copy, Debug, serde::Deserialize, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Completed,
    /// It did not.
    Failed,
    /// It was told to stop.
    Cancelled,
}

/// What to do about a call that may or may not have happened, when its tool cannot be called again without harm.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnUncertain {
    /// A person has to say.
    #[default]
    Ask,
    /// Another tool can tell.
    Verify,
    /// The author says that calling again is harmless.
    Retry,
    /// The step has failed.
    Fail,
}

/// How to find out whether a call happened.
#[derive(Debug)]
pub struct Verify {
    /// A tool that only reads.
    pub tool: ToolName,
    /// What it is given; evaluates to an object.
    pub params: Template,
    /// Whether its `result` says that the call happened.
    pub expect: Condition,
}

/// What undoes a step that completed.
#[derive(Debug)]
pub struct Compensation {
    /// The tool.
    pub tool: ToolName,
    /// What it is given; evaluated when the step completes, with its `result`. Evaluates to an object.
    pub params: Template,
}

/// One holder at a time.
#[derive(Debug)]
pub struct Lock {
    /// What is locked; evaluates to a text.
    pub key: Template,
    /// What happens while somebody else holds it.
    pub on_busy: OnBusy,
}

/// What happens while somebody else holds a lock.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// Waits for its turn.
    #[default]
    Queue,
    /// Fails.
    Reject,
    /// Cancels the execution that holds it, and waits for that.
    Replace,
}

/// `server.tool`: the text before the first dot names the tool server, the rest the tool.
#[derive(
    Clone, Debug, serde::Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct ToolName {
    /// The tool server.
    pub server: String,
    /// The tool's own name, which may contain dots.
    pub tool: String,
}

/// What a failure of a step means for the list it is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// The list fails, and with it the group or the execution it belongs to.
    Fail,
    /// The list goes on; `error('<name>')` tells what happened.
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

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            approvers: Vec::new(),
            quorum: 1,
            expires_ms: DEFAULT_ANSWER_MS,
            on_expire: OnExpire::Reject,
            allow_self: false,
            verified: false,
        }
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for ToolName {
    type Error = String;

    fn try_from(text: String) -> Result<ToolName, String> {
        ToolName::parse(&text).ok_or_else(|| format!("`{text}` is not `server.tool`"))
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

    /// Finds the step that a path in a history is about (see [`crate::Event`]).
    #[must_use]
    pub fn step_at(&self, path: &str) -> Option<&Step> {
        let last = path.rsplit('/').next().unwrap_or(path);
        let end = last.find(['[', '.']).unwrap_or(last.len());
        self.step(&last[..end])
    }

    /// The tool that is called at a path in a history: the step's own, or that of its `verify` or `undo`.
    #[must_use]
    pub fn tool_at(&self, path: &str) -> Option<&ToolName> {
        let step = self.step_at(path)?;
        match path.rsplit('/').next()?.rsplit_once('.') {
            Some((_, "verify")) => step.verify.as_ref().map(|verify| &verify.tool),
            Some((_, "undo")) => step.undo.as_ref().map(|undo| &undo.tool),
            Some(_) | None => step.kind.tool(),
        }
    }

    /// Every tool it may call: those of its steps, of their `verify` and of their `undo`.
    pub fn tools(&self) -> impl Iterator<Item = &ToolName> {
        self.steps.iter().flat_map(|step| {
            let verify = step.verify.as_ref().map(|verify| &verify.tool);
            let undo = step.undo.as_ref().map(|undo| &undo.tool);
            step.kind.tool().into_iter().chain(verify).chain(undo)
        })
    }

    /// The names of the workflows that its steps run, each as often as it is named.
    pub fn children(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.kind {
            Kind::Workflow { workflow, .. } => Some(workflow.as_str()),
            _ => None,
        })
    }
}

impl Step {
    /// What it does, in a word or two: the tool it calls, the workflow it runs, or its kind.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.kind {
            Kind::Tool { tool, .. } => tool.to_string(),
            Kind::Workflow { workflow, .. } => format!("workflow {workflow}"),
            kind => kind.as_str().to_owned(),
        }
    }
}

impl Kind {
    /// The tool it calls, if it calls one.
    #[must_use]
    pub fn tool(&self) -> Option<&ToolName> {
        match self {
            Kind::Tool { tool, .. } => Some(tool),
            _ => None,
        }
    }

    /// The word for it: `tool`, `workflow`, `approval`, `ask`, `wait`, `set`, `group` or `stop`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Tool { .. } => "tool",
            Kind::Workflow { .. } => "workflow",
            Kind::Approval(_) => "approval",
            Kind::Ask(_) => "ask",
            Kind::Wait(_) => "wait",
            Kind::Set(_) => "set",
            Kind::Group(_) => "group",
            Kind::Stop(_) => "stop",
        }
    }
}
