//! An execution that failed goes on: what completed stays as it is, what did not begins anew.
//!
//! Whatever begins anew has a generation that nothing had before, so that no tool takes its call for an earlier one.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use serde_json::Value;

use super::{LockStanding, Role, State, Status, StepState, StepStatus, Undo, WaitFor};
use crate::{OnError, Workflow, event::Event};

/// What is known while an execution is opened again.
struct Reopening<'r> {
    workflow: &'r Workflow,
    /// The steps that completed and were undone.
    undone: BTreeSet<Arc<str>>,
    /// The step that ended the execution.
    stop: Option<String>,
    /// The executions below that failed.
    children: &'r [String],
    at: i64,
}

impl Reopening<'_> {
    /// Whether anything that a step holds was undone.
    fn was_undone_in(&self, path: &str) -> bool {
        let from = self.undone.range::<str, _>((Bound::Included(path), Bound::Unbounded));
        let mut under = from.take_while(|undone| undone.starts_with(path));
        under.any(|undone| undone[path.len()..].starts_with(['/', '[']))
    }

    /// The instances of a list that were undone, or in which something was.
    fn undone_instances(&self, path: &str) -> BTreeSet<usize> {
        let prefix = format!("{path}[");
        let number = |undone: &Arc<str>| {
            let (number, _) = undone.strip_prefix(&prefix)?.split_once(']')?;
            number.parse().ok()
        };
        self.undone.iter().filter_map(number).collect()
    }
}

impl State {
    /// Takes an execution up again that failed.
    pub(super) fn reopen(&mut self, workflow: &Workflow, event: &Event, at: i64) {
        let Event::ExecutionRetried { input, children, .. } = event else { return };
        self.undo_due.clear();
        self.release_due.clear();
        self.forget();
        let undone = self.close_phases();
        let stop = self.stop.take().map(|(step, _, _)| step);
        self.newest_generation += 1;
        self.floor = self.newest_generation;
        self.begin_at(at);
        if let Some(input) = input {
            self.input = input.clone();
        }
        self.reopen_list(&Reopening { workflow, undone, stop, children, at }, 0);
    }

    /// Nothing of how it ended is left.
    fn begin_at(&mut self, at: i64) {
        self.status = Status::Running;
        self.failure = None;
        self.cancel = None;
        self.deadline_passed = false;
        self.fatal = None;
        self.phase = None;
        self.phases_done.clear();
        self.aftermath.clear();
        self.error = None;
        self.lock = LockStanding::None;
        self.lock_refused = None;
        self.root = 0;
        self.person_since = None;
        // Its time begins anew.
        self.bounded_from = at - self.person_ms;
        for steps in [
            &mut self.ready,
            &mut self.ready_inside,
            &mut self.running,
            &mut self.unsettled,
            &mut self.looking,
            &mut self.uncertain,
            &mut self.asked,
            &mut self.locking,
            &mut self.waiting_children,
            &mut self.due,
            &mut self.stopping,
        ] {
            steps.clear();
        }
        for times in [&mut self.retries, &mut self.timers, &mut self.deadlines, &mut self.listening]
        {
            times.clear();
        }
        self.locks_to_take.clear();
        self.later.clear();
    }

    /// Forgets what was run because of how the steps ended; the paths of what was undone by it.
    fn close_phases(&mut self) -> BTreeSet<Arc<str>> {
        let mut undone = BTreeSet::new();
        let is_phase = |id: &usize| self.frame(*id).is_some_and(|frame| frame.owner.is_none());
        let phases: Vec<usize> = (1..self.frames.len()).filter(is_phase).collect();
        for phase in phases {
            let records = self.frame(phase).map(|frame| frame.records.clone()).unwrap_or_default();
            for id in records.into_iter().rev() {
                let step = self.record(id);
                let Some(path) =
                    step.path.strip_suffix(".undo").filter(|_| step.role == Role::Undo)
                else {
                    continue;
                };
                let path: Arc<str> = path.into();
                if step.status == StepStatus::Completed {
                    undone.insert(path);
                } else if let Some(params) = step.params.clone() {
                    let (definition, secrets) = (step.definition, step.secrets.clone());
                    self.undos.push(Undo { path, definition, params, secrets });
                }
            }
            self.forget_frame(phase);
        }
        undone
    }

    fn reopen_list(&mut self, again: &Reopening<'_>, id: usize) {
        let Some(Some(list)) = self.frames.get_mut(id) else { return };
        list.stopping = None;
        list.is_hard = false;
        let (records, races) = (list.records.clone(), list.wait_for != WaitFor::All);
        self.due.insert(id);
        for record in &records {
            self.reopen_step(again, *record, races);
        }
        self.ask_again(again, &records);
        self.count_needs(again.workflow, id, &records);
    }

    fn reopen_step(&mut self, again: &Reopening<'_>, id: usize, races: bool) {
        let step = self.record(id);
        let tolerated = again.workflow.steps[step.definition].on_error == OnError::Continue;
        match step.status {
            StepStatus::Completed => {
                let ended_it = again.stop.as_deref() == Some(&*step.path);
                if ended_it || again.undone.contains(&step.path) {
                    self.begin_anew(again, id);
                } else if again.was_undone_in(&step.path) {
                    self.go_on_with(again, id);
                }
            }
            StepStatus::Skipped => {}
            // The others went on without it.
            StepStatus::Failed if tolerated && !races => {}
            StepStatus::Uncertain => self.doubt_again(id, again.at),
            StepStatus::Failed
            | StepStatus::Cancelled
            | StepStatus::Pending
            | StepStatus::Running
            | StepStatus::Waiting => self.go_on_with(again, id),
        }
    }

    /// What was skipped because of something that is done again is asked about again; not what a person skipped.
    fn ask_again(&mut self, again: &Reopening<'_>, records: &[usize]) {
        let steps = &again.workflow.steps;
        let of = self.by_definition(records);
        loop {
            let is_again = |id: &&usize| {
                let step = self.record(**id);
                let mut needs = steps[step.definition].needs.iter().filter_map(|need| of.get(need));
                step.status == StepStatus::Skipped
                    && step.skipped_by.is_none()
                    && needs.any(|need| !self.record(*need).status.is_final())
            };
            let Some(id) = records.iter().find(is_again).copied() else { return };
            self.begin_anew(again, id);
        }
    }

    /// What of a list is open now, and what of it may begin.
    fn count_needs(&mut self, workflow: &Workflow, frame: usize, records: &[usize]) {
        let of = self.by_definition(records);
        let is_open = |state: &State, id: usize| !state.record(id).status.is_final();
        let open: BTreeSet<usize> =
            records.iter().copied().filter(|id| is_open(self, *id)).collect();
        let completed =
            records.iter().filter(|id| self.record(**id).status == StepStatus::Completed).count();
        for id in &open {
            let needs = workflow.steps[self.record(*id).definition].needs.iter();
            let direct = needs.filter_map(|need| of.get(need));
            let direct = direct.filter(|need| is_open(self, **need)).count();
            // What was undone is done again before anything that came after it, also after what stays done.
            let indirect = self.open_behind(workflow, &of, *id);
            let missing = direct + indirect.len();
            for need in indirect {
                self.later.entry(need).or_default().push(*id);
            }
            let step = self.record_mut(*id);
            step.missing = missing;
            match (missing, step.status) {
                (0, StepStatus::Pending) => self.make_ready(workflow, *id),
                (0, _) => {}
                _ => self.time_from(workflow, *id, None),
            }
        }
        if let Some(Some(list)) = self.frames.get_mut(frame) {
            list.open = open;
            list.completed = completed;
        }
    }

    /// Whether its call happened is still to be said.
    fn doubt_again(&mut self, id: usize, at: i64) {
        let step = self.record_mut(id);
        // The execution's end gave it back.
        step.lock_lost = step.lock_key.is_some();
        step.lock = LockStanding::None;
        step.uncertain_since = Some(at);
        self.uncertain.insert(id);
    }

    /// A step that did not complete: what it holds and has completed stays so.
    fn go_on_with(&mut self, again: &Reopening<'_>, id: usize) {
        let step = self.record(id);
        let Some(inner) = step.inner else { return self.begin_anew(again, id) };
        let Some(list) = self.frame(inner) else { return self.begin_anew(again, id) };
        let loops = list.iteration.is_some() && again.was_undone_in(&step.path);
        let unbegun = list.each.as_ref().is_some_and(|each| {
            let lost = each.items.is_empty() && each.begun != 0;
            each.is_held || each.begun == 0 || lost
        });
        if loops || unbegun {
            return self.begin_anew(again, id);
        }
        let is_list = list.each.is_some();
        let listed = self.hold_again(again, id);
        match is_list {
            true => self.reopen_instances(again, id, inner, listed),
            false => self.reopen_list(again, inner),
        }
    }

    /// A step that holds others is under way again; what it had resulted in.
    fn hold_again(&mut self, again: &Reopening<'_>, id: usize) -> Option<Arc<Value>> {
        let timeout = self.timeout_of_holder(again.workflow, id);
        let base = self.base_deadline(again.at, timeout);
        let inner = self.record(id).inner.and_then(|inner| self.frame(inner));
        let number = inner.and_then(|list| Some(list.iteration.as_ref()?.0));
        let step = self.record_mut(id);
        let was_too_often =
            step.error.as_ref().is_some_and(|error| error.code == "too_many_iterations");
        if let Some(number) = number.filter(|_| was_too_often) {
            // What went round is not done again: it may go round as often once more.
            step.rounds_before = number + 1;
        }
        step.failed_before = step.status == StepStatus::Failed;
        step.status = StepStatus::Running;
        step.ended_at = None;
        step.error = None;
        step.error_value = None;
        step.outcome = None;
        step.overdue = false;
        step.base_deadline = base;
        let output = step.output.take();
        // It was given back with the end, or with the step's.
        step.lock = LockStanding::None;
        let key = step.lock_key.clone();
        if let Some(base) = base {
            self.deadlines.insert((base, id));
        }
        if let Some(key) = key {
            self.locks_to_take.insert(id, key);
        }
        output
    }

    fn reopen_instances(
        &mut self,
        again: &Reopening<'_>,
        owner: usize,
        frame: usize,
        listed: Option<Arc<Value>>,
    ) {
        let step = self.record(owner);
        let (path, definition) = (Arc::clone(&step.path), step.definition);
        let tolerated = again.workflow.steps[definition].on_error == OnError::Continue;
        let undone = again.undone_instances(&path);
        let Some(Some(list)) = self.frames.get_mut(frame) else { return };
        let Some(each) = &mut list.each else { return };
        if let Some(Value::Array(results)) = listed.as_deref() {
            each.results = results.iter().map(|result| Some(Arc::new(result.clone()))).collect();
        }
        for number in &undone {
            if let Some(result) = each.results.get_mut(*number) {
                *result = None;
            }
        }
        if !tolerated {
            each.failed.clear();
        }
        let is_over = |number: &usize| {
            each.results.get(*number).is_some_and(Option::is_some)
                || (each.failed.contains(number) && !undone.contains(number))
        };
        let left: Vec<usize> = (0..each.begun).filter(|number| !is_over(number)).collect();
        list.completed = each.results.iter().flatten().count();
        list.stopping = None;
        list.is_hard = false;
        list.open.clear();
        self.due.insert(frame);
        for number in left {
            self.reopen_instance(again, frame, number, &format!("{path}[{number}]"));
        }
        self.begin_instances(again.workflow, frame);
    }

    fn reopen_instance(&mut self, again: &Reopening<'_>, frame: usize, number: usize, path: &str) {
        let known = self.record_at(path);
        let mut is_under_way = false;
        if let Some(id) = known {
            match self.record(id).status {
                StepStatus::Skipped => return,
                StepStatus::Uncertain => {
                    self.doubt_again(id, again.at);
                    is_under_way = true;
                }
                _ => {
                    self.go_on_with(again, id);
                    is_under_way = self.record(id).inner.is_some();
                }
            }
        }
        let Some(Some(list)) = self.frames.get_mut(frame) else { return };
        match (known, &mut list.each) {
            (Some(id), _) if is_under_way => _ = list.open.insert(id),
            (_, Some(each)) => _ = each.again.insert(number),
            (_, None) => {}
        }
    }

    /// Everything about a step is asked again, as a new generation; only an execution that it was goes on.
    fn begin_anew(&mut self, again: &Reopening<'_>, id: usize) {
        let old = self.record(id);
        let path = Arc::clone(&old.path);
        let frames: Vec<usize> = old.inner.into_iter().chain(old.previous).collect();
        let finds = old.verifying.or_else(|| self.record_at(&format!("{path}.verify")));
        let goes_on = old.status == StepStatus::Failed
            && old.child.as_ref().is_some_and(|child| again.children.contains(child));
        let asked = self.was_asked_with_others(id);
        // That undoing it failed was said; what it does now is undone by what is registered then.
        self.undos.retain(|undo| {
            let rest = undo.path.strip_prefix(&*path);
            rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(['/', '[']))
        });
        finds.into_iter().for_each(|id| self.forget_record(id));
        frames.into_iter().for_each(|frame| self.forget_frame(frame));
        let floor = self.floor;
        let old = self.record_mut(id);
        *old = StepState {
            path,
            generation: floor.max(old.generation + 1),
            definition: old.definition,
            frame: old.frame,
            role: old.role,
            number: old.number.take(),
            params: old.params.take().filter(|_| goes_on),
            child: old.child.take().filter(|_| goes_on),
            child_goes_on: goes_on,
            failed_before: old.status == StepStatus::Failed,
            passed: matches!(old.role, Role::Instance(_)) && !asked && old.request.is_none(),
            ..StepState::default()
        };
    }
}
