//! Steps whose tool is looked at again and again until it is done. One event says that this begins; when the next look is
//! due is not a matter of the history, and is told by whoever keeps it.

use super::{Role, State};
use crate::{Workflow, retry};

/// What is known of a step whose tool was looked at and is not done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// When it is looked at again, in milliseconds since 1970.
    pub at: i64,
    /// How often it was looked at in this attempt.
    pub count: u32,
    /// What it said last, in a few words.
    pub said: Option<String>,
}

impl State {
    /// Whether the step's tool is looked at again and again.
    #[must_use]
    pub fn is_polled(&self, path: &str) -> bool {
        self.step(path).is_some_and(|step| step.look.is_some())
    }

    /// How often the step was looked at in this attempt.
    #[must_use]
    pub fn looks(&self, path: &str) -> u32 {
        self.step(path).and_then(|step| step.look.as_ref()).map_or(0, |look| look.count)
    }

    /// Takes note of a look that came home; and gives back what of it is to be kept. Nothing, where the step is not
    /// looked at any more.
    pub fn looked(&mut self, workflow: &Workflow, path: &str, look: Look) -> Option<&Look> {
        let id = self.record_at(path)?;
        self.record(id).look.as_ref()?;
        self.looking.remove(&id);
        self.keep_look(workflow, path, look)
    }

    /// Takes note of what was seen, without a look coming home: another process wrote it down, or the turn that it led
    /// to is decided. Gives back what [`State::looked`] does.
    pub fn keep_look(&mut self, workflow: &Workflow, path: &str, look: Look) -> Option<&Look> {
        let id = self.record_at(path)?;
        let at = self.record(id).look.as_ref()?.at;
        if self.looking.contains(&id) {
            // The next one is out already, and is not to go out twice.
            self.record_mut(id).look = Some(Look { at, ..look });
        } else {
            self.look_again(workflow, id, look);
        }
        self.record(id).look.as_ref()
    }

    /// The next look is due then; or when the step's time is over, which is noticed then.
    pub(super) fn look_again(&mut self, workflow: &Workflow, id: usize, look: Look) {
        let deadline = self.polling_deadline(workflow, id);
        let at = deadline.map_or(look.at, |deadline| look.at.min(deadline));
        let step = self.record_mut(id);
        let before = step.timer.replace(at);
        step.look = Some(Look { at, ..look });
        if let Some(before) = before {
            self.retries.remove(&(before, id));
        }
        self.retries.insert((at, id));
    }

    /// A look goes out.
    pub(crate) fn look_goes_out(&mut self, path: &str) {
        let Some(id) = self.record_at(path) else { return };
        if let Some(at) = self.record(id).timer {
            self.retries.remove(&(at, id));
        }
        self.looking.insert(id);
    }

    /// When a step that is looked at is out of time: by its own bound over all attempts, by that of the execution, or
    /// else after a day.
    pub(crate) fn polling_deadline(&self, workflow: &Workflow, id: usize) -> Option<i64> {
        let bound = self.polling_bound_ms(workflow, id)?;
        // Nothing is looked at while it is paused.
        let paused = self.paused_ms - self.record(id).paused_before;
        Some(self.record(id).called_at?.saturating_add(paused).saturating_add_unsigned(bound))
    }

    pub(crate) fn polling_bound_ms(&self, workflow: &Workflow, id: usize) -> Option<u64> {
        let step = self.record(id);
        let own = workflow.steps[step.definition].timeout_ms;
        match own.filter(|_| matches!(step.role, Role::Step | Role::Instance(_))) {
            Some(own) => Some(own),
            // What is cleaned up is not bounded by it.
            None if workflow.config.timeout_ms.is_some() && self.phase.is_none() => None,
            None => Some(retry::LONGEST_POLLING_MS),
        }
    }

    /// Looks that were out are due again, as they are for whoever reads the history.
    #[cfg(test)]
    pub(crate) fn lose_looks(&mut self) {
        for id in std::mem::take(&mut self.looking) {
            let at = self.record(id).timer.unwrap_or_default();
            self.retries.insert((at, id));
        }
    }
}
