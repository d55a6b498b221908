//! What happened to an execution, in the order it happened.
//!
//! Every `step` is a path: the step's name after those of the groups that hold it, with the number of the instance
//! or iteration where there are several (`fan[3]`, `poll[0]/look`); `deploy.verify` and `deploy.undo` are the calls
//! that find out about a step and that undo it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    expr::weight,
    workflow::{OnBusy, OnExpire, Outcome, ToolName},
};

#[cfg(test)]
mod tests;

/// The engine that knows every event but those that came later.
const FIRST_ENGINE: i64 = 3;

/// The engine that knows what executions under control are told: pause, resume, retry, skip, fork.
const CONTROL_ENGINE: i64 = 4;

/// One entry of an execution's history. Never changed once written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Always the first; the input has its defaults applied.
    ExecutionStarted {
        /// What the workflow was given.
        input: Value,
    },
    /// What the vars begin with.
    VarsSet {
        /// By name.
        values: Map<String, Value>,
    },
    /// Written before the call goes out, so that a crash leaves a trace of it.
    AttemptStarted {
        /// The step.
        step: String,
        /// Counts the attempts that `retry` allows, from 1.
        attempt: u32,
        /// Counts the times the call went out, from 1; a repetition after a lost answer is the same attempt.
        call: u32,
        /// What the tool is given; evaluated once, so only the first call of a generation carries it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<Value>,
        /// Where a secret belongs in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<SecretSlot>,
        /// The execution that the attempt is, where the step runs a workflow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
    /// The tool did it.
    AttemptSucceeded {
        /// The step.
        step: String,
        /// Its result.
        output: Value,
    },
    /// The tool did not do it, or says that it failed.
    AttemptFailed {
        /// The step.
        step: String,
        /// Why.
        error: StepError,
    },
    /// The call may or may not have happened.
    AttemptUncertain {
        /// The step.
        step: String,
        /// What was seen of it.
        error: StepError,
        /// Whether calling again with the same key is harmless.
        repeatable: bool,
    },
    /// The tool looked and is not done. It is called again to look once more, and again; of that no event tells.
    PollingStarted {
        /// The step.
        step: String,
        /// When it looks again first, in milliseconds since 1970.
        at: i64,
    },
    /// The step is called again at this time.
    CallScheduled {
        /// The step.
        step: String,
        /// Whether a failed attempt is followed by another one, or the same one goes out again.
        again: Again,
        /// Milliseconds since 1970.
        at: i64,
    },
    /// A group, a branch or a loop has begun.
    GroupStarted {
        /// The step.
        step: String,
        /// Whether its condition was false, so that `else` runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        otherwise: bool,
    },
    /// A loop goes round.
    IterationStarted {
        /// The step.
        step: String,
        /// Counts from 0.
        iteration: u32,
    },
    /// Enough steps of a group have completed: the others are not needed.
    GroupDecided {
        /// The step.
        step: String,
    },
    /// The list of a `forEach` is known: each element has its instance.
    InstancesListed {
        /// The step.
        step: String,
        /// The elements.
        items: Vec<Value>,
    },
    /// The step waits for a time or a word.
    WaitStarted {
        /// The step.
        step: String,
        /// Until when, in milliseconds since 1970.
        until: i64,
        /// The event it waits for, until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<String>,
    },
    /// Somebody sent an event; the step that has waited for it longest takes it, or the next one that will.
    EventReceived {
        /// Its name.
        name: String,
        /// What it says.
        data: Value,
        /// Who sent it.
        by: String,
    },
    /// A person is asked.
    RequestOpened {
        /// The step.
        step: String,
        /// What is asked.
        request: Request,
    },
    /// A person answered.
    RequestAnswered {
        /// The step.
        step: String,
        /// The request's id.
        request: String,
        /// Who answered.
        by: String,
        /// Whether it is known for sure that it was them.
        verified: bool,
        /// What they said.
        answer: Answer,
    },
    /// Nobody answered in time.
    RequestExpired {
        /// The step.
        step: String,
        /// The request's id.
        request: String,
    },
    /// A lock is wanted; a place in its queue is taken.
    LockRequested {
        /// The step; the whole execution without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// What is locked.
        key: String,
        /// What happens while somebody else holds it.
        on_busy: OnBusy,
        /// Whether it is taken as soon as it is free; a place that waits for a person is only kept.
        ready: bool,
    },
    /// The lock is held.
    LockGranted {
        /// The step; the whole execution without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// What is locked.
        key: String,
    },
    /// Somebody else holds the lock, and it is not waited for.
    LockRefused {
        /// The step; the whole execution without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// What is locked.
        key: String,
        /// The execution that holds it.
        holder: String,
    },
    /// The lock, or the place in its queue, is given back.
    LockReleased {
        /// The step; the whole execution without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// What was locked.
        key: String,
    },
    /// A step has its result: one that calls nothing, a group or a `forEach` of what it holds, or one whose
    /// `expect` holds of what its call resulted in.
    StepCompleted {
        /// The step.
        step: String,
        /// Its result; left out where it is that of its last attempt, or the list of those of its instances.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// It is known now whether an uncertain call happened.
    StepVerified {
        /// The step.
        step: String,
        /// Its result when it happened; otherwise it is called again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// Whether it happened.
        happened: bool,
    },
    /// The step completed, and this is what undoes it.
    UndoRegistered {
        /// The step.
        step: String,
        /// The tool.
        tool: ToolName,
        /// What it is given.
        params: Value,
        /// Where a secret belongs in them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<SecretSlot>,
    },
    /// A step ends the execution.
    StopReached {
        /// The step.
        step: String,
        /// As what.
        outcome: Outcome,
        /// Why.
        message: String,
    },
    /// The time of a group is over.
    StepDeadlinePassed {
        /// The step.
        step: String,
    },
    /// The steps have ended, and something is run because of how.
    PhaseStarted {
        /// What.
        phase: Phase,
        /// Why, as `error` shows it to the handlers.
        error: StepError,
    },
    /// The step's condition was false, or a person said that it is not to be done.
    StepSkipped {
        /// The step.
        step: String,
        /// Who said so, if it was a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The step is not done here: it has the result that it had in another execution.
    StepReused {
        /// The step, of the document's own list.
        step: String,
        /// Its result.
        output: Value,
        /// What it, and what it holds, made of the vars.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        vars: Map<String, Value>,
        /// The execution that did it.
        from_execution: String,
    },
    /// No attempt is left, or none was possible.
    StepFailed {
        /// The step.
        step: String,
        /// Why.
        error: StepError,
    },
    /// The call may have happened and must not be repeated: a person has to say.
    StepUncertain {
        /// The step.
        step: String,
        /// What was seen of it.
        error: StepError,
    },
    /// The execution ended before the step did.
    StepCancelled {
        /// The step.
        step: String,
    },
    /// A person said what became of an uncertain step.
    StepResolved {
        /// The step.
        step: String,
        /// What became of it.
        resolution: Resolution,
        /// Who said so.
        by: String,
    },
    /// The execution that the step is waits for a person or a lock: that time counts against no bound here either.
    ChildWaits {
        /// The step.
        step: String,
    },
    /// The execution that the step is waits for neither any more.
    ChildGoesOn {
        /// The step.
        step: String,
    },
    /// Somebody asked for the execution to end.
    CancelRequested {
        /// Who asked.
        by: String,
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Somebody wants nothing new to start. What is out comes home.
    ExecutionPaused {
        /// Who.
        by: String,
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It goes on after a pause.
    ExecutionResumed {
        /// Who said so.
        by: String,
    },
    /// An execution that failed goes on: what did not complete is done again, as a new generation.
    ExecutionRetried {
        /// Who said so.
        by: String,
        /// What it is given from now on, where that has changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        /// The executions below it that failed: where a step is one of them, that one goes on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        children: Vec<String>,
    },
    /// `config.timeoutMs` is over.
    DeadlinePassed,
    /// The last event of an execution that did what it should.
    ExecutionCompleted {
        /// What it resulted in.
        output: Value,
    },
    /// The last event of an execution that did not.
    ExecutionFailed {
        /// The step that failed, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// Why.
        error: StepError,
    },
    /// The last event of an execution that was told to stop.
    ExecutionCancelled {
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What is run after the steps have ended, because of how they ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What undoes the steps that completed, the last one first.
    Undo,
    /// `onFailure`
    OnFailure,
    /// `onCancel`
    OnCancel,
}

/// Where a secret belongs in some params. The params themselves have `${secrets.NAME}` in that place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SecretSlot {
    /// JSON Pointer (RFC 6901) of the text that it is part of, or all of.
    pub pointer: String,
    /// Where its `${secrets.NAME}` begins in that text, in bytes.
    pub offset: usize,
    /// Its name.
    pub name: String,
}

/// A question to a person.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Request {
    /// `req_…`
    pub id: String,
    /// What kind of answer is wanted.
    pub kind: RequestKind,
    /// What the person reads.
    pub message: String,
    /// JSON Schema of the answer to a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The tool that is called once it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<ToolName>,
    /// What exactly the tool is given then; a list of such objects for a `forEach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Where a secret belongs in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretSlot>,
    /// SHA-256 over revision, step, generation, tool and params: what is approved, and nothing else.
    pub binding: String,
    /// The principals who may answer; empty means everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many have to agree.
    pub quorum: u32,
    /// Whether whoever started the execution may answer.
    pub allow_self: bool,
    /// Whether the answer must come from a person whose identity was verified.
    pub verified: bool,
    /// What happens when nobody answers in time.
    pub on_expire: OnExpire,
    /// Whether nobody answered it the first time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// When it is too late to answer, in milliseconds since 1970.
    pub expires_at: i64,
}

/// What kind of answer a request wants.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Yes or no.
    Approval,
    /// Values.
    Form,
}

/// What a person answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Go on.
    Approved {
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// Do not; a form can be refused, too.
    Rejected {
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// These are the values.
    Given {
        /// An object that fits the request's schema.
        values: Value,
    },
}

/// Why a step is called again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// The attempt failed and `retry` allows another.
    NextAttempt,
    /// The answer was lost and the call is harmless to repeat.
    SameAttempt,
    /// The tool did nothing because there were too many calls: the same attempt is made later.
    RateLimited,
}

/// What became of an uncertain step, as a person says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Resolution {
    /// It happened.
    Completed {
        /// Its result.
        output: Value,
    },
    /// It did not happen: call it again, as a new generation.
    Retry,
    /// It failed for good.
    Failed {
        /// Why.
        message: String,
    },
}

/// Why a step failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StepError {
    /// Stable, for machines: `tool_error`, `timeout`, `expression` …
    pub code: String,
    /// What happened, for people and models.
    pub message: String,
    /// Whether the same call may succeed later; absent when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// How long to wait first, in milliseconds, when the tool says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl StepError {
    /// An error that trying again does not mend.
    #[must_use]
    pub fn permanent(code: &str, message: impl Into<String>) -> StepError {
        StepError {
            code: code.to_owned(),
            message: message.into(),
            retryable: Some(false),
            retry_after_ms: None,
        }
    }
}

impl Event {
    /// The oldest engine that can read it. An execution needs the newest of what its events need, and no newer one:
    /// releases that share a database leave each other what both can drive.
    #[must_use]
    pub fn min_engine(&self) -> i64 {
        match self {
            Event::ExecutionPaused { .. }
            | Event::ExecutionResumed { .. }
            | Event::ExecutionRetried { .. }
            | Event::StepReused { .. }
            | Event::StepSkipped { by: Some(_), .. } => CONTROL_ENGINE,
            _ => FIRST_ENGINE,
        }
    }

    /// Its `kind`, as it is written in the history.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::ExecutionStarted { .. } => "execution_started",
            Event::AttemptStarted { .. } => "attempt_started",
            Event::AttemptSucceeded { .. } => "attempt_succeeded",
            Event::AttemptFailed { .. } => "attempt_failed",
            Event::AttemptUncertain { .. } => "attempt_uncertain",
            Event::PollingStarted { .. } => "polling_started",
            Event::CallScheduled { .. } => "call_scheduled",
            Event::VarsSet { .. } => "vars_set",
            Event::GroupStarted { .. } => "group_started",
            Event::IterationStarted { .. } => "iteration_started",
            Event::GroupDecided { .. } => "group_decided",
            Event::InstancesListed { .. } => "instances_listed",
            Event::WaitStarted { .. } => "wait_started",
            Event::EventReceived { .. } => "event_received",
            Event::RequestOpened { .. } => "request_opened",
            Event::RequestAnswered { .. } => "request_answered",
            Event::RequestExpired { .. } => "request_expired",
            Event::LockRequested { .. } => "lock_requested",
            Event::LockGranted { .. } => "lock_granted",
            Event::LockRefused { .. } => "lock_refused",
            Event::LockReleased { .. } => "lock_released",
            Event::StepCompleted { .. } => "step_completed",
            Event::StepVerified { .. } => "step_verified",
            Event::UndoRegistered { .. } => "undo_registered",
            Event::StopReached { .. } => "stop_reached",
            Event::StepDeadlinePassed { .. } => "step_deadline_passed",
            Event::PhaseStarted { .. } => "phase_started",
            Event::StepSkipped { .. } => "step_skipped",
            Event::StepReused { .. } => "step_reused",
            Event::StepFailed { .. } => "step_failed",
            Event::StepUncertain { .. } => "step_uncertain",
            Event::StepCancelled { .. } => "step_cancelled",
            Event::StepResolved { .. } => "step_resolved",
            Event::ChildWaits { .. } => "child_waits",
            Event::ChildGoesOn { .. } => "child_goes_on",
            Event::CancelRequested { .. } => "cancel_requested",
            Event::ExecutionPaused { .. } => "execution_paused",
            Event::ExecutionResumed { .. } => "execution_resumed",
            Event::ExecutionRetried { .. } => "execution_retried",
            Event::DeadlinePassed => "deadline_passed",
            Event::ExecutionCompleted { .. } => "execution_completed",
            Event::ExecutionFailed { .. } => "execution_failed",
            Event::ExecutionCancelled { .. } => "execution_cancelled",
        }
    }

    /// The step that a person settled, if that is what it says: what the step holds ends with it, without events of its own.
    #[must_use]
    pub fn settled_by_hand(&self) -> Option<&str> {
        match self {
            Event::StepSkipped { step, by: Some(_), .. } | Event::StepResolved { step, .. } => {
                Some(step)
            }
            _ => None,
        }
    }

    /// About how many bytes its values have.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Event::AttemptSucceeded { output, .. }
            | Event::StepReused { output, .. }
            | Event::ExecutionCompleted { output } => weight(output),
            Event::StepCompleted { output, .. } => output.as_ref().map_or(0, weight),
            Event::AttemptStarted { params, .. } => params.as_ref().map_or(0, weight),
            Event::UndoRegistered { params, .. } => weight(params),
            Event::InstancesListed { items, .. } => items.iter().map(weight).sum(),
            Event::VarsSet { values } => values.values().map(weight).sum(),
            _ => 0,
        }
    }

    /// The step it is about, if it is about one.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match self {
            Event::AttemptStarted { step, .. }
            | Event::AttemptSucceeded { step, .. }
            | Event::AttemptFailed { step, .. }
            | Event::AttemptUncertain { step, .. }
            | Event::PollingStarted { step, .. }
            | Event::CallScheduled { step, .. }
            | Event::GroupStarted { step, .. }
            | Event::IterationStarted { step, .. }
            | Event::GroupDecided { step }
            | Event::InstancesListed { step, .. }
            | Event::WaitStarted { step, .. }
            | Event::RequestOpened { step, .. }
            | Event::RequestAnswered { step, .. }
            | Event::RequestExpired { step, .. }
            | Event::StepCompleted { step, .. }
            | Event::StepVerified { step, .. }
            | Event::UndoRegistered { step, .. }
            | Event::StopReached { step, .. }
            | Event::StepDeadlinePassed { step }
            | Event::StepSkipped { step, .. }
            | Event::StepReused { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepUncertain { step, .. }
            | Event::StepCancelled { step }
            | Event::ChildWaits { step }
            | Event::ChildGoesOn { step }
            | Event::StepResolved { step, .. } => Some(step),
            Event::LockRequested { step, .. }
            | Event::LockGranted { step, .. }
            | Event::LockRefused { step, .. }
            | Event::LockReleased { step, .. } => step.as_deref(),
            Event::ExecutionStarted { .. }
            | Event::VarsSet { .. }
            | Event::EventReceived { .. }
            | Event::PhaseStarted { .. }
            | Event::CancelRequested { .. }
            | Event::ExecutionPaused { .. }
            | Event::ExecutionResumed { .. }
            | Event::ExecutionRetried { .. }
            | Event::DeadlinePassed
            | Event::ExecutionCompleted { .. }
            | Event::ExecutionFailed { .. }
            | Event::ExecutionCancelled { .. } => None,
        }
    }
}
