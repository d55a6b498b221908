//! When lists of steps end, and how those that go no further are wound up.

use serde_json::{Map, Value, json};

use super::{Command, Decider, expression_error, failed, last_error};
use crate::{
    Repeat, WaitFor,
    event::{Event, StepError},
    state::{Cause, Frame, Outcome, Scope, StepState, StepStatus, group_of},
};

impl Decider<'_> {
    /// What the lists that are under way ask for: ends, and calls that are to stop.
    pub(super) fn look_at_frames(&self) -> (Vec<Command>, Vec<Command>) {
        let (mut ends, mut cancels) = (Vec::new(), Vec::new());
        // The innermost were begun last.
        for id in self.state.due.iter().rev() {
            let Some(frame) = self.state.frame(*id) else { continue };
            if frame.stopping.is_some() {
                self.wind_up(frame, &mut ends, &mut cancels);
            }
            if let Some(owner) = frame.owner {
                ends.extend(self.look_at(*id, frame, owner));
            }
        }
        let overdue = self.state.running.iter().map(|id| self.state.record(*id));
        let overdue = overdue.filter(|step| step.overdue);
        cancels.extend(overdue.map(|step| Command::CancelCall { step: step.path.to_string() }));
        (ends, cancels)
    }

    /// Nothing new starts; what is out comes home, and is told to if nobody wants to know what becomes of it.
    fn wind_up(&self, frame: &Frame, ends: &mut Vec<Command>, cancels: &mut Vec<Command>) {
        for id in &frame.open {
            let step = self.state.record(*id);
            let is_out = step.verifying.unwrap_or(*id);
            if self.state.is_out(is_out) {
                if frame.is_hard {
                    let step = self.state.record(is_out).path.to_string();
                    cancels.push(Command::CancelCall { step });
                }
                continue;
            }
            if let Some(finds) = step.verifying {
                let step = self.state.record(finds).path.to_string();
                ends.push(Command::Record(Event::StepCancelled { step }));
                continue;
            }
            let holds = step.inner.is_some_and(|inner| self.state.due.contains(&inner));
            let has_result = matches!(step.outcome, Some(Outcome::Delivered(..)));
            if !holds && !has_result && step.status != StepStatus::Uncertain {
                ends.push(Command::Record(left(step)));
            }
        }
    }

    /// Whether a list has come to its end, and how that is for the step that holds it.
    fn look_at(&self, id: usize, frame: &Frame, owner: usize) -> Option<Command> {
        match frame.stopping {
            Some(cause) => self.is_quiet(frame).then(|| self.stopped(owner, frame, cause)),
            None if frame.each.is_some() => self.instances_ended(frame, owner),
            None => self.list_ended(id, frame, owner),
        }
    }

    /// Whether nothing of a list is under way; what a person would have to settle is not waited for.
    pub(super) fn is_quiet(&self, frame: &Frame) -> bool {
        frame.open.iter().all(|id| self.state.uncertain.contains(id))
    }

    fn stopped(&self, owner: usize, frame: &Frame, cause: Cause) -> Command {
        let step = self.state.record(owner);
        match cause {
            Cause::Failed(id) => {
                let failure = self.state.record(id);
                let error = last_error(failure);
                let message = format!("step {} failed: {}", failure.path, error.message);
                failed(&step.path, StepError { message, ..error })
            }
            Cause::TimedOut => failed(&step.path, self.out_of_time(owner)),
            Cause::Decided => self.completed(owner, self.results(frame)),
            Cause::Ended => Command::Record(Event::StepCancelled { step: step.path.to_string() }),
        }
    }

    fn instances_ended(&self, frame: &Frame, owner: usize) -> Option<Command> {
        let each = frame.each.as_ref()?;
        if !frame.open.is_empty() || frame.is_unfinished() || each.is_held {
            return None;
        }
        // What they resulted in is written with each of them.
        let step = self.state.record(owner).path.to_string();
        Some(Command::Record(Event::StepCompleted { step, output: None }))
    }

    fn list_ended(&self, id: usize, frame: &Frame, owner: usize) -> Option<Command> {
        let step = self.state.record(owner);
        let group = group_of(self.workflow, step.definition)?;
        if let WaitFor::Count(wanted) = frame.wait_for {
            let wanted = (wanted as usize).min(frame.records.len());
            if wanted <= frame.completed && !frame.open.is_empty() {
                return Some(Command::Record(Event::GroupDecided { step: step.path.to_string() }));
            }
            if frame.completed < wanted && frame.open.is_empty() {
                return Some(failed(&step.path, self.too_few(frame, wanted)));
            }
        }
        if !frame.open.is_empty() {
            return None;
        }
        match (&group.repeat, &frame.iteration) {
            (Some(repeat), Some((number, _))) => {
                Some(self.goes_round(id, frame, owner, repeat, *number))
            }
            _ => Some(self.completed(owner, self.results(frame))),
        }
    }

    fn too_few(&self, frame: &Frame, wanted: usize) -> StepError {
        let failures = frame.records.iter().map(|id| self.state.record(*id));
        let failures = failures
            .filter_map(|step| Some(format!("{}: {}", step.path, step.error.as_ref()?.message)));
        let failures: Vec<String> = failures.take(5).collect();
        let message = format!(
            "{wanted} steps had to complete, and {} did ({})",
            frame.completed,
            failures.join("; ")
        );
        StepError::permanent("too_few_completed", message)
    }

    /// Decides whether a loop goes round once more.
    fn goes_round(
        &self,
        id: usize,
        frame: &Frame,
        owner: usize,
        repeat: &Repeat,
        number: u32,
    ) -> Command {
        let step = self.state.record(owner);
        if self.state.is_single(step.definition) {
            return self.completed(owner, self.results(frame));
        }
        let iteration = number + 1;
        let names = self.state.names(self.workflow, self.state.scope_in(id, self.now));
        let until = repeat.until.as_ref().map_or(Ok(false), |until| until.evaluate(&names));
        let goes_on = match until {
            Ok(true) => Ok(false),
            Ok(false) => {
                // It is asked about the iteration that would begin.
                let next = Value::from(iteration);
                let scope = Scope { iteration: Some(&next), ..self.state.scope_in(id, self.now) };
                let names = self.state.names(self.workflow, scope);
                repeat.while_holds.as_ref().map_or(Ok(true), |holds| holds.evaluate(&names))
            }
            Err(err) => Err(err),
        };
        match goes_on {
            Err(err) => failed(&step.path, expression_error("repeat", &err)),
            Ok(false) => self.completed(owner, self.results(frame)),
            Ok(true) if repeat.max_iterations <= iteration - step.rounds_before => {
                let message = format!(
                    "it went round {iteration} times, which is what maxIterations allows, and its \
                     condition asks for more"
                );
                failed(&step.path, StepError::permanent("too_many_iterations", message))
            }
            Ok(true) => {
                Command::Record(Event::IterationStarted { step: step.path.to_string(), iteration })
            }
        }
    }

    /// What a list results in: the results of its steps, by name.
    fn results(&self, frame: &Frame) -> Value {
        if let Some(each) = &frame.each {
            let results = each.results.iter();
            return results.map(|result| result.as_deref().cloned().unwrap_or_default()).collect();
        }
        let records = frame.records.iter().map(|id| self.state.record(*id));
        let results: Map<String, Value> = records
            .filter_map(|step| {
                let name = &self.workflow.steps[step.definition].name;
                Some((name.clone(), step.output.as_deref()?.clone()))
            })
            .collect();
        json!(results)
    }

    /// Why a step that ran out of time failed.
    pub(super) fn out_of_time(&self, id: usize) -> StepError {
        let bound = self.step(id).timeout_ms.unwrap_or_default();
        let message = format!("the step took longer than timeoutMs allows ({bound} ms)");
        StepError::permanent("timeout", message)
    }
}

/// What becomes of a step that its list ends without. A call that may have happened stays one.
fn left(step: &StepState) -> Event {
    let path = step.path.to_string();
    match step.lost {
        Some(false) => Event::StepUncertain { step: path, error: last_error(step) },
        Some(true) | None => Event::StepCancelled { step: path },
    }
}
