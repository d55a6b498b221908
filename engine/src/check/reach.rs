//! What can never run, never end, or never be held.

use super::Checker;
use crate::Problem;
use crate::parse::steps::ListOf;
use crate::workflow::{Kind, WaitFor};

impl Checker<'_> {
    /// Steps that come after the certain end of the execution.
    pub(super) fn unreachable(&mut self, needs: &[Vec<usize>]) {
        let stops = self.stops();
        for (index, needed) in needs.iter().enumerate() {
            let Some(stop) = needed.iter().find(|needed| stops[**needed]) else { continue };
            let (step, stop) = (self.step_name(index), self.step_name(*stop));
            let message = format!(
                "step `{step}` can never run: `{stop}` before it always ends the execution; give `{stop}` an `if`, or \
                 remove `{step}`"
            );
            let pointer = self.draft.steps[index].pointer.as_str();
            self.report(Problem::new("unreachable", pointer, message));
        }
    }

    /// For each step, whether it always ends the execution.
    fn stops(&self) -> Vec<bool> {
        let mut stops = vec![false; self.draft.steps.len()];
        for (index, step) in self.draft.steps.iter().enumerate().rev() {
            if step.for_each.is_some() {
                continue;
            }
            let any = |list: &[usize]| list.iter().any(|step| stops[*step]);
            let always = step.condition.is_none();
            stops[index] = match &step.kind {
                Some(Kind::Stop(_)) => always,
                Some(Kind::Group(group)) => {
                    let runs =
                        group.repeat.as_ref().is_none_or(|repeat| repeat.while_holds.is_none());
                    let content = runs && group.wait_for == WaitFor::All && any(&group.steps);
                    content && (always || any(&group.otherwise))
                }
                _ => false,
            };
        }
        stops
    }

    /// One lock at a time: two that wait for one another would wait for ever.
    pub(super) fn nested_locks(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            if step.lock.is_none() {
                continue;
            }
            let locked = |above: &usize| self.draft.steps[*above].lock.is_some();
            let holder = match self.chain(index).skip(1).find(locked) {
                Some(group) => format!("`{}`, which holds this step, has", self.step_name(group)),
                None if self.draft.lock.is_some() => "the whole workflow has".to_owned(),
                None => continue,
            };
            let message = format!(
                "{holder} a lock already, and an execution holds one at a time; remove one of the two"
            );
            self.report(Problem::new("nested_lock", self.below(index, "lock"), message));
        }
    }

    /// A step that always runs the workflow it is in never comes to an end.
    pub(super) fn endless_recursion(&mut self) {
        let Some(own) = self.draft.name.as_deref() else { return };
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(Kind::Workflow { workflow, .. }) = &step.kind else { continue };
            if workflow != own || self.is_conditional(index) {
                continue;
            }
            let message = format!(
                "step `{}` always runs `{own}` again, which never ends; give it an `if`",
                self.step_name(index)
            );
            self.report(Problem {
                found: Some(own.to_owned()),
                ..Problem::new("endless_recursion", self.below(index, "workflow"), message)
            });
        }
    }

    /// Whether anything may keep a step from running.
    fn is_conditional(&self, index: usize) -> bool {
        let optional = |step: usize| {
            let step = &self.draft.steps[step];
            let repeats = match &step.kind {
                Some(Kind::Group(group)) => {
                    group.repeat.as_ref().is_some_and(|repeat| repeat.while_holds.is_some())
                        || group.wait_for != WaitFor::All
                }
                _ => false,
            };
            step.condition.is_some()
                || step.for_each.is_some()
                || step.approval.is_some()
                || repeats
        };
        // A person, or a stop that has a condition, may end the execution before.
        let before = |step: usize| {
            let ends = matches!(
                self.draft.steps[step].kind,
                Some(Kind::Stop(_) | Kind::Approval(_) | Kind::Ask(_) | Kind::Wait(_))
            );
            step != index && ends
        };
        self.phase(index) != ListOf::Main
            || self.chain(index).any(optional)
            || (0..self.draft.steps.len()).any(before)
    }
}
