//! What people make of an execution that is under way: pauses, steps that are not to be done, results from elsewhere.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Outcome, Role, State, StepStatus};
use crate::{Workflow, event::Event, event::Resolution};

/// A pause that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pause {
    by: String,
    reason: Option<String>,
    /// In milliseconds since 1970.
    since: i64,
}

impl State {
    /// Whether nothing new is started.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Who paused it, and why, if they said.
    #[must_use]
    pub fn paused_by(&self) -> Option<(&str, Option<&str>)> {
        self.paused.as_ref().map(|pause| (pause.by.as_str(), pause.reason.as_deref()))
    }

    pub(super) fn pause(&mut self, by: &str, reason: Option<&str>, at: i64) {
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        self.paused.get_or_insert(Pause { by, reason, since: at });
    }

    pub(super) fn resume(&mut self, at: i64) {
        self.paused_ms = self.paused_until(at);
        self.paused = None;
    }

    /// How long pauses have taken until now, in milliseconds.
    pub(crate) fn paused_until(&self, now: i64) -> i64 {
        self.paused_ms + self.paused.as_ref().map_or(0, |pause| (now - pause.since).max(0))
    }

    /// When so much of a step's time is over, counted from its first call; pauses take none of it.
    pub(crate) fn own_deadline(&self, id: usize, bound: u64, now: i64) -> Option<i64> {
        let step = self.record(id);
        let paused = self.paused_until(now) - step.paused_before;
        Some(step.called_at?.saturating_add(paused).saturating_add_unsigned(bound))
    }

    /// Whether a person may say that the step is not to be done: it has not ended, and nothing of it is out.
    pub(super) fn is_at_rest(&self, id: usize) -> bool {
        let step = self.record(id);
        let delivered = matches!(step.outcome, Some(Outcome::Delivered(..)));
        let own = !step.status.is_final()
            && self.due.contains(&step.frame)
            && !self.is_out(id)
            && step.verifying.is_none()
            && !delivered
            && matches!(step.role, Role::Step | Role::Instance(_));
        let inner = step.inner.and_then(|inner| self.frame(inner));
        own && inner.is_none_or(|inner| inner.open.iter().all(|id| self.is_at_rest(*id)))
    }

    /// Whether the result of a step may be supplied by hand.
    pub(super) fn takes_result(&self, id: usize, resolution: &Resolution) -> bool {
        let failed = matches!(resolution, Resolution::Completed { .. })
            && self.record(id).failed_before
            && self.is_at_rest(id);
        self.uncertain.contains(&id) || failed
    }

    /// Takes note that a person does not want the step to be done.
    pub(super) fn skip_by_hand(&mut self, id: usize, by: &str, at: i64) {
        self.record_mut(id).skipped_by = Some(by.to_owned());
        self.abandon_inside(id, at);
    }

    /// What a step holds goes no further, because what becomes of the step is known from elsewhere.
    pub(super) fn abandon_inside(&mut self, id: usize, at: i64) {
        let Some(frame) = self.record(id).inner else { return };
        let Some(Some(list)) = self.frames.get_mut(frame) else { return };
        for id in std::mem::take(&mut list.open) {
            self.leave(id);
            self.abandon_inside(id, at);
            let step = self.record_mut(id);
            step.status = StepStatus::Cancelled;
            step.ended_at = Some(at);
            if step.lock.key().is_some() {
                self.release_due.push_back(id);
            }
        }
        self.due.remove(&frame);
        self.stopping.remove(&frame);
    }

    /// Takes over what another execution did.
    pub(super) fn reuse(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        let Event::StepReused { output, vars, from_execution, .. } = event else { return };
        let step = self.record_mut(id);
        step.output = Some(Arc::new(output.clone()));
        step.reused_from = Some(from_execution.clone());
        self.reused_vars.extend(vars.clone());
        self.take_reused_vars();
        // What undoes it is the other execution's matter.
        self.end(workflow, id, StepStatus::Completed, at);
    }

    /// Vars are computed after the results from elsewhere are there.
    pub(super) fn take_reused_vars(&mut self) {
        if self.vars.is_some() {
            let values = Value::Object(std::mem::take(&mut self.reused_vars));
            self.set_vars(&values);
        }
    }

    /// Whether an event can follow, so that whoever writes events on somebody's behalf can ask before.
    #[must_use]
    pub fn allows(&self, workflow: &Workflow, happened: &[Event], event: &Event, at: i64) -> bool {
        let mut after = self.clone();
        let mut all = happened.iter().chain([event]);
        all.all(|event| after.apply(workflow, event, at).is_ok())
    }

    /// What the steps of a forEach, a group or anything else made of the vars is read from events by whoever forks.
    #[must_use]
    pub fn vars(&self) -> Option<&Map<String, Value>> {
        self.vars.as_ref()?.as_object()
    }
}
