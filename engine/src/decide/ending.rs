//! Times that are over, and how an execution ends.

use serde_json::{Value, json};

use super::{ANSWER_MS, Command, Decider, expression_error, failed};
use crate::{
    event::{Event, Phase, StepError},
    state::{Role, Scope},
    workflow::Outcome,
};

/// How many calls that are due and wait for permits are passed over in search of one that is not.
const MOST_RETRIES: usize = 1_000;

/// How the steps of the document's own list ended.
enum Verdict {
    Completed(Value),
    Failed(Option<String>, StepError),
    Cancelled(Option<String>),
}

impl Decider<'_> {
    /// Waits, requests, doubts and bounds whose time has come.
    pub(super) fn times_that_are_over(&self) -> Vec<Command> {
        let timers = self.state.timers.iter().take_while(|(at, _)| *at <= self.now);
        let timers = timers.filter(|(_, id)| !self.is_stopping(*id));
        let mut commands: Vec<Command> = timers.map(|(_, id)| self.timer_over(*id)).collect();
        commands.extend(self.polled_too_long());
        let since = |id: &usize| self.state.record(*id).uncertain_since;
        let mut doubts = self.state.uncertain.iter();
        let expired = doubts.find(|id| since(id).is_some_and(|at| at + ANSWER_MS <= self.now));
        commands.extend(expired.map(|id| {
            let message = "nobody said within 7 days whether the call happened";
            failed(&self.state.record(*id).path, StepError::permanent("expired", message))
        }));
        if self.state.person_since.is_none() {
            let over = self.state.deadlines.iter();
            let over = over.take_while(|(base, _)| *base + self.state.person_ms <= self.now);
            commands.extend(over.map(|(_, id)| {
                let step = self.state.record(*id).path.to_string();
                Command::Record(Event::StepDeadlinePassed { step })
            }));
        }
        commands
    }

    fn timer_over(&self, id: usize) -> Command {
        let step = self.state.record(id);
        let path = step.path.to_string();
        if self.state.asked.contains(&id) {
            let request = step.request.as_ref().map(|request| request.id.clone());
            let request = request.unwrap_or_default();
            return Command::Record(Event::RequestExpired { step: path, request });
        }
        if let Some((event, _)) = &step.listens {
            let message = format!("nobody sent the event {event} in time");
            return failed(&path, StepError::permanent("timeout", message));
        }
        let waited = self.now - step.started_at.unwrap_or(self.now);
        self.completed(id, json!({ "waited_ms": waited.max(0) }))
    }

    /// When the time of all attempts together is over.
    pub(super) fn step_deadline(&self, id: usize) -> Option<i64> {
        let step = self.state.record(id);
        if !matches!(step.role, Role::Step | Role::Instance(_)) {
            return None;
        }
        let bound = self.step(id).timeout_ms?;
        match step.base_deadline {
            // An execution of another workflow: what persons take of it does not count.
            Some(base) => Some(base.saturating_add(self.state.waited_ms(self.now))),
            None => self.state.own_deadline(id, bound, self.now),
        }
    }

    /// When the execution's time is over; never while a person or a lock is waited for, and not for handlers.
    pub(super) fn deadline(&self) -> Option<i64> {
        let state = self.state;
        if state.person_since.is_some() || state.deadline_passed || state.phase.is_some() {
            return None;
        }
        let bound = self.workflow.config.timeout_ms?;
        Some(state.bounded_from.saturating_add(state.person_ms).saturating_add_unsigned(bound))
    }

    /// When there is something to do again without anybody saying so.
    pub(super) fn wake_at(&self) -> Option<i64> {
        let state = self.state;
        if state.status.is_final() || state.is_paused() {
            return None;
        }
        // A retry that finds no place waits for a call to come home, not for a time.
        let retry = self.next_retry().filter(|_| 0 < self.places());
        let timer = state.timers.first().map(|(at, _)| *at);
        let doubts = state.uncertain.iter().filter_map(|id| state.record(*id).uncertain_since);
        let expiry = doubts.min().map(|since| since + ANSWER_MS);
        let bound = state.deadlines.first().filter(|_| state.person_since.is_none());
        let bound = bound.map(|(base, _)| base + state.person_ms);
        let times = [retry, timer, expiry, bound, self.deadline()];
        times.into_iter().flatten().min()
    }

    /// When the next call is made again. One that is due and waits for a permit only has its bound.
    fn next_retry(&self) -> Option<i64> {
        let retries = self.state.retries.iter();
        let retries = retries.filter(|(_, id)| !self.state.is_kept_waiting(*id));
        let times = retries.map(|(at, id)| {
            let step = self.state.record(*id);
            let waits = *at <= self.now && self.state.needs_permit(&step.path, self.tool(*id));
            match waits {
                false => (Some(*at), true),
                true => {
                    let polled = step.look.as_ref();
                    let polled =
                        polled.and_then(|_| self.state.polling_deadline(self.workflow, *id));
                    (self.step_deadline(*id).into_iter().chain(polled).min(), false)
                }
            }
        });
        let mut next = None;
        for (at, is_last) in times.take(MOST_RETRIES) {
            next = [next, at].into_iter().flatten().min();
            if is_last {
                break;
            }
        }
        next
    }

    /// What follows when the list that is run now has come to its end.
    pub(super) fn end_of_list(&self) -> Option<Command> {
        let root = self.root()?;
        let over = match root.stopping {
            Some(_) => self.is_quiet(root),
            None => root.open.is_empty(),
        };
        if !over {
            return None;
        }
        let verdict = self.verdict_of_all();
        let event = match self.next_phase(&verdict) {
            Some(event) => event,
            None => self.last_event(verdict),
        };
        Some(Command::Record(event))
    }

    fn verdict_of_all(&self) -> Verdict {
        let state = self.state;
        if let Some((phase, error)) = &state.phase {
            // Once something is run because of how the steps ended, that does not become anything else.
            return match phase {
                Phase::OnCancel => Verdict::Cancelled(self.reason()),
                Phase::Undo | Phase::OnFailure => Verdict::Failed(self.culprit(), error.clone()),
            };
        }
        if state.cancel.is_some() {
            return Verdict::Cancelled(self.reason());
        }
        if let Some((step, outcome, message)) = &state.stop {
            return stopped(step, *outcome, message);
        }
        if let Some(error) = &state.lock_refused {
            return Verdict::Failed(None, error.clone());
        }
        if let Some((step, error)) = &state.fatal {
            return Verdict::Failed(Some(step.clone()), error.clone());
        }
        if state.deadline_passed {
            let bound = self.workflow.config.timeout_ms.unwrap_or_default();
            let message =
                format!("the execution took longer than config.timeoutMs allows ({bound} ms)");
            return Verdict::Failed(None, StepError::permanent("timeout", message));
        }
        self.output()
    }

    /// Why the execution was cancelled, if anybody said.
    fn reason(&self) -> Option<String> {
        match (&self.state.cancel, &self.state.stop) {
            (Some((_, reason)), _) => reason.clone(),
            (None, Some((_, _, message))) if !message.is_empty() => Some(message.clone()),
            (None, _) => None,
        }
    }

    /// The step by which the execution failed, if it was one.
    fn culprit(&self) -> Option<String> {
        let stop = self.state.stop.as_ref().map(|(step, _, _)| step);
        stop.or(self.state.fatal.as_ref().map(|(step, _)| step)).cloned()
    }

    fn output(&self) -> Verdict {
        let Some(template) = &self.workflow.output else {
            return Verdict::Completed(self.last_result().clone());
        };
        let scope = Scope { result: Some(self.last_result()), ..self.state.scope_in(0, self.now) };
        match template.evaluate(&self.state.names(self.workflow, scope)) {
            Ok(output) => Verdict::Completed(output),
            Err(err) => {
                Verdict::Failed(None, expression_error("the output cannot be computed", &err))
            }
        }
    }

    /// Without an `output` an execution results in what its last step resulted in.
    fn last_result(&self) -> &Value {
        let last = self.state.frame(0).and_then(|frame| frame.records.last());
        let last = last.and_then(|id| self.state.record(*id).output.as_deref());
        last.unwrap_or(&Value::Null)
    }

    /// What is to be run because of how the steps ended, if it was not run yet.
    fn next_phase(&self, verdict: &Verdict) -> Option<Event> {
        let (error, phases) = match verdict {
            Verdict::Completed(_) => return None,
            Verdict::Failed(_, error) => {
                let undo = self.workflow.config.undo_on_failure && !self.state.undos.is_empty();
                let handles = !self.workflow.on_failure.is_empty();
                (error.clone(), [(Phase::Undo, undo), (Phase::OnFailure, handles)])
            }
            Verdict::Cancelled(reason) => {
                let why = reason.clone().unwrap_or_else(|| "it was told to stop".to_owned());
                let handles = !self.workflow.on_cancel.is_empty();
                let error = StepError::permanent("cancelled", why);
                (error, [(Phase::OnCancel, handles), (Phase::OnFailure, false)])
            }
        };
        let now = self.state.phase.as_ref().map(|(phase, _)| *phase);
        let mut left = phases.into_iter().filter(|(phase, wanted)| {
            *wanted && Some(*phase) != now && !self.state.phases_done.contains(phase)
        });
        left.next().map(|(phase, _)| Event::PhaseStarted { phase, error })
    }

    fn last_event(&self, verdict: Verdict) -> Event {
        match verdict {
            Verdict::Completed(output) => Event::ExecutionCompleted { output },
            Verdict::Cancelled(reason) if self.state.aftermath.is_empty() => {
                Event::ExecutionCancelled { reason }
            }
            Verdict::Cancelled(reason) => {
                let reason = reason.unwrap_or_else(|| "it was cancelled".to_owned());
                Event::ExecutionCancelled { reason: Some(self.with_aftermath(reason)) }
            }
            Verdict::Failed(step, error) => {
                let message = self.with_aftermath(error.message.clone());
                Event::ExecutionFailed { step, error: StepError { message, ..error } }
            }
        }
    }

    /// What went wrong while it was handled is part of the story.
    fn with_aftermath(&self, message: String) -> String {
        let aftermath = &self.state.aftermath;
        match aftermath.is_empty() {
            true => message,
            false => format!("{message}; and then: {}", aftermath.join("; ")),
        }
    }
}

fn stopped(step: &str, outcome: Outcome, message: &str) -> Verdict {
    match outcome {
        Outcome::Completed => Verdict::Completed(json!({ "stopped_at": step, "message": message })),
        Outcome::Failed => {
            let message = match message {
                "" => format!("step {step} ends the execution as failed"),
                message => message.to_owned(),
            };
            Verdict::Failed(Some(step.to_owned()), StepError::permanent("stopped", message))
        }
        Outcome::Cancelled => {
            Verdict::Cancelled(Some(message).filter(|text| !text.is_empty()).map(str::to_owned))
        }
    }
}
