//! What happened to an execution, in the order it happened.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of an execution's history. Never changed once written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Always the first; the input has its defaults applied.
    ExecutionStarted {
        /// What the workflow was given.
        input: Value,
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
    /// The step is called again at this time.
    CallScheduled {
        /// The step.
        step: String,
        /// Whether a failed attempt is followed by another one, or a lost one is repeated.
        again: Again,
        /// Milliseconds since 1970.
        at: i64,
    },
    /// The step's condition was false.
    StepSkipped {
        /// The step.
        step: String,
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
    /// Somebody asked for the execution to end.
    CancelRequested {
        /// Who asked.
        by: String,
        /// Why, if they said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
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

/// Why a step is called again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Again {
    /// The attempt failed and `retry` allows another.
    NextAttempt,
    /// The answer was lost and the call is harmless to repeat.
    SameAttempt,
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
    /// Its `kind`, as it is written in the history.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Event::ExecutionStarted { .. } => "execution_started",
            Event::AttemptStarted { .. } => "attempt_started",
            Event::AttemptSucceeded { .. } => "attempt_succeeded",
            Event::AttemptFailed { .. } => "attempt_failed",
            Event::AttemptUncertain { .. } => "attempt_uncertain",
            Event::CallScheduled { .. } => "call_scheduled",
            Event::StepSkipped { .. } => "step_skipped",
            Event::StepFailed { .. } => "step_failed",
            Event::StepUncertain { .. } => "step_uncertain",
            Event::StepCancelled { .. } => "step_cancelled",
            Event::StepResolved { .. } => "step_resolved",
            Event::CancelRequested { .. } => "cancel_requested",
            Event::DeadlinePassed => "deadline_passed",
            Event::ExecutionCompleted { .. } => "execution_completed",
            Event::ExecutionFailed { .. } => "execution_failed",
            Event::ExecutionCancelled { .. } => "execution_cancelled",
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
            | Event::CallScheduled { step, .. }
            | Event::StepSkipped { step }
            | Event::StepFailed { step, .. }
            | Event::StepUncertain { step, .. }
            | Event::StepCancelled { step }
            | Event::StepResolved { step, .. } => Some(step),
            Event::ExecutionStarted { .. }
            | Event::CancelRequested { .. }
            | Event::DeadlinePassed
            | Event::ExecutionCompleted { .. }
            | Event::ExecutionFailed { .. }
            | Event::ExecutionCancelled { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn every_event() -> Vec<Event> {
        let error = StepError::permanent("broken", "no");
        let step = || "a".to_owned();
        vec![
            Event::ExecutionStarted { input: json!({ "b": 1, "a": "\u{0}" }) },
            Event::AttemptStarted { step: step(), attempt: 1, call: 2, params: Some(json!({})) },
            Event::AttemptStarted { step: step(), attempt: 1, call: 2, params: None },
            Event::AttemptSucceeded { step: step(), output: json!(null) },
            Event::AttemptFailed { step: step(), error: error.clone() },
            Event::AttemptUncertain { step: step(), error: error.clone(), repeatable: true },
            Event::CallScheduled { step: step(), again: Again::SameAttempt, at: 7 },
            Event::StepSkipped { step: step() },
            Event::StepFailed { step: step(), error: error.clone() },
            Event::StepUncertain { step: step(), error: error.clone() },
            Event::StepCancelled { step: step() },
            Event::StepResolved { step: step(), resolution: Resolution::Retry, by: "ada".into() },
            Event::CancelRequested { by: "ada".into(), reason: None },
            Event::DeadlinePassed,
            Event::ExecutionCompleted { output: json!([1.5]) },
            Event::ExecutionFailed { step: None, error },
            Event::ExecutionCancelled { reason: Some("enough".into()) },
        ]
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        for event in every_event() {
            let text = serde_json::to_string(&event).expect("events can be written");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("and read"), event, "{text}");
        }
    }

    #[test]
    fn the_kind_in_the_row_is_the_kind_in_the_text() {
        for event in every_event() {
            let value = serde_json::to_value(&event).expect("events can be written");
            assert_eq!(value["kind"], event.kind());
            assert_eq!(value.get("step").and_then(Value::as_str), event.step());
        }
    }
}
