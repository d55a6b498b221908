//! Tools that are looked at until they are done, and calls that were one too many.

use super::{Call, Command, Decider, begin::Hindrance, failed, last_error};
use crate::{
    event::StepError,
    retry,
    state::{Look, StepState},
};

impl Decider<'_> {
    /// The call once more, as the same attempt.
    pub(super) fn look(&self, id: usize) -> Vec<Command> {
        let standing = self.state.record(id);
        let looks = standing.look.as_ref().map_or(0, |look| look.count);
        let command = match self.call_of(id) {
            Ok(call) => {
                let (attempt, number) = (standing.attempts, standing.calls + looks);
                Command::Look(Call { attempt, call: number, ..call })
            }
            Err(Hindrance::Failure(error)) => failed(&standing.path, error),
            // What was called once has all that it needs.
            Err(Hindrance::Skip) => failed(&standing.path, last_error(standing)),
        };
        vec![command]
    }

    /// Steps whose tool is still not done, and whose time is over.
    pub(super) fn polled_too_long(&self) -> Vec<Command> {
        let due = self.state.retries.iter().take_while(|(at, _)| *at <= self.now);
        let due = due.map(|(_, id)| *id).filter(|id| !self.is_stopping(*id));
        let over = due.filter_map(|id| {
            let step = self.state.record(id);
            let look = step.look.as_ref()?;
            let deadline = self.state.polling_deadline(self.workflow, id)?;
            (deadline <= self.now).then(|| failed(&step.path, self.never_done(id, look)))
        });
        over.collect()
    }

    fn never_done(&self, id: usize, look: &Look) -> StepError {
        let bound = self.state.polling_bound_ms(self.workflow, id).unwrap_or_default();
        let said = look.said.as_ref().map(|said| format!("; it said last: {said}"));
        let message = format!(
            "the tool was looked at {} times and was not done within {bound} ms{}",
            look.count,
            said.unwrap_or_default()
        );
        StepError { code: "timeout".to_owned(), message, retryable: None, retry_after_ms: None }
    }

    /// How long to wait before a call that was one too many goes out again; nothing where it is a failure like others.
    pub(super) fn rate_limit_ms(&self, standing: &StepState, error: &StepError) -> Option<u64> {
        let is_limit = error.code == retry::RATE_LIMITED && error.retryable != Some(false);
        // An execution of another workflow may have done a lot before it came to that.
        if !is_limit || standing.child.is_some() {
            return None;
        }
        let wait = retry::rate_limit_ms(error);
        let (times, waited_ms) = standing.limited;
        let in_bounds = times < retry::MOST_RATE_LIMITS
            && waited_ms.saturating_add(wait) <= retry::LONGEST_RATE_LIMIT_MS;
        in_bounds.then_some(wait)
    }
}
