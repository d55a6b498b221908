//! Where one step stands.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Look, StepStatus};
use crate::event::{Again, Request, SecretSlot, StepError};

/// What a record stands for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Role {
    /// The step itself.
    #[default]
    Step,
    /// One instance of a `forEach`, with its number.
    Instance(usize),
    /// The call that finds out whether an uncertain one happened; of the record with this number.
    Verify(usize),
    /// The call that undoes it.
    Undo,
}

/// How a lock stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum LockStanding {
    /// None was asked for.
    #[default]
    None,
    /// A place in the queue is kept while a person thinks.
    Kept(String),
    /// It is waited for.
    Wanted(String),
    /// It is held.
    Held(String),
}

impl LockStanding {
    /// The key, where one was asked for.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            LockStanding::None => None,
            LockStanding::Kept(key) | LockStanding::Wanted(key) | LockStanding::Held(key) => {
                Some(key)
            }
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        matches!(self, LockStanding::Wanted(_))
    }
}

/// What is there of a step that has ended its work but not been settled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Its result; whether it came from a call.
    Delivered(Arc<Value>, bool),
    /// It must not go on: refused, expired, its lock busy.
    Refused(StepError),
}

/// One step of one execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Its path; see [`crate::Event`].
    pub path: Arc<str>,
    /// Attempts begun in this generation.
    pub attempts: u32,
    /// Calls that went out in this generation; repetitions of a lost one count too.
    pub calls: u32,
    /// Rises when a person has the step called again; part of the idempotency key.
    pub generation: u32,
    /// What the tool is given, once it is known.
    pub params: Option<Arc<Value>>,
    /// Where a secret belongs in the params.
    pub secrets: Vec<SecretSlot>,
    /// The execution that its last attempt is, where it runs a workflow.
    pub child: Option<String>,
    /// What a person is or was asked.
    pub request: Option<Request>,
    /// The result.
    pub output: Option<Arc<Value>>,
    /// The last error.
    pub error: Option<StepError>,
    /// When it began: whatever it does first in this generation, a question too. In milliseconds since 1970.
    pub started_at: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// The definition, as an index into [`crate::Workflow::steps`].
    pub(crate) definition: usize,
    /// The frame it is in.
    pub(crate) frame: usize,
    pub(crate) role: Role,
    /// How many of its needs have not ended.
    pub(super) missing: usize,
    /// The frame that it holds open: its steps, or its instances.
    pub(crate) inner: Option<usize>,
    /// The frame of the iteration before.
    pub(crate) previous: Option<usize>,
    /// When the first call of this generation went out.
    pub(crate) called_at: Option<i64>,
    /// Why the next call goes out.
    pub(crate) again: Option<Again>,
    /// Set when the last call was lost; whether it is harmless to repeat.
    pub(crate) lost: Option<bool>,
    /// How long pauses had taken when that call went out, in milliseconds.
    pub(super) paused_before: i64,
    /// Whether the execution that its last attempt was goes on with the next one.
    pub(crate) child_goes_on: bool,
    /// Whether it failed before it began anew.
    pub(super) failed_before: bool,
    /// How many iterations do not count, because it went round as often as it may before it began anew.
    pub(crate) rounds_before: u32,
    /// The key of the lock that it has or had.
    pub(super) lock_key: Option<String>,
    /// Whether that was given back although a person has still to settle the step.
    pub(super) lock_lost: bool,
    /// Who said that it is not to be done.
    pub(super) skipped_by: Option<String>,
    /// The execution that did it, if it was another one.
    pub(crate) reused_from: Option<String>,
    /// How often a lost call was repeated in this generation, or since it was last looked at.
    pub(crate) repeats: u32,
    /// How often it waited for a limit to pass in this generation, and how long in all, in milliseconds.
    pub(crate) limited: (u32, u64),
    /// Set while its tool is looked at again and again.
    pub(crate) look: Option<Look>,
    /// When it is looked at again.
    pub(super) timer: Option<i64>,
    /// When its time is over if persons and locks take none of it; for what holds others, and for executions.
    pub(crate) base_deadline: Option<i64>,
    /// Whether that time is over.
    pub(crate) overdue: bool,
    /// Since when a person has had to settle it.
    pub(crate) uncertain_since: Option<i64>,
    /// `error` as expressions see it.
    pub(crate) error_value: Option<Value>,
    /// What waits to be settled.
    pub(crate) outcome: Option<Outcome>,
    /// What was found out about an uncertain call: the result of asking, or why it could not be asked.
    pub(crate) finding: Option<Result<Arc<Value>, StepError>>,
    /// The record of the call that finds out, while it is under way.
    pub(crate) verifying: Option<usize>,
    pub(crate) lock: LockStanding,
    /// Those who agreed to the request.
    pub(crate) agreed: Vec<String>,
    /// What the last of them said.
    pub(crate) comment: Option<String>,
    /// Whether condition, list, approval and lock are behind it.
    pub(crate) passed: bool,
    /// Whether its request is to be asked once more.
    pub(crate) escalates: bool,
    /// The event it waits for, and since when.
    pub(crate) listens: Option<(String, i64)>,
    /// The number of the instance, as expressions see it.
    pub(crate) number: Option<Value>,
}

impl StepState {
    pub(super) fn set_error(&mut self, error: &StepError) {
        self.error_value = Some(error_value(error));
        self.error = Some(error.clone());
    }

    /// It is called again at `due`, which was decided at `at`.
    pub(super) fn call_again(&mut self, again: Again, due: i64, at: i64) {
        self.status = StepStatus::Waiting;
        self.again = Some(again);
        self.timer = Some(due);
        match again {
            Again::NextAttempt => {}
            Again::SameAttempt => self.repeats += 1,
            Again::RateLimited => {
                let (times, ms) = self.limited;
                let wait = u64::try_from(due - at).unwrap_or_default();
                self.limited = (times + 1, ms.saturating_add(wait));
            }
        }
    }

    /// Its path without the number of an instance, and that number.
    pub(crate) fn key_path(&self) -> (&str, usize) {
        match self.role {
            Role::Instance(number) => {
                let end = self.path.rfind('[').unwrap_or(self.path.len());
                (&self.path[..end], number)
            }
            Role::Step | Role::Verify(_) | Role::Undo => (&self.path, 0),
        }
    }
}

/// `error` as expressions see it.
pub(super) fn error_value(error: &StepError) -> Value {
    json!({ "code": error.code, "message": error.message })
}
