//! Lists of steps: how they begin, how their steps end, and what that means for those that wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Cause, Frame, Gone, Role, State, StepState, StepStatus, WaitFor, apply::is_gated, frame::Each,
    group_of, list_of,
};
use crate::{Kind, OnError, Workflow, event::StepError};

impl State {
    pub(super) fn open_group(&mut self, workflow: &Workflow, id: usize, otherwise: bool, at: i64) {
        self.begin_holding(workflow, id, at);
        let step = self.record(id);
        let (prefix, definition) = (format!("{}/", step.path), step.definition);
        let Some(group) = group_of(workflow, definition) else { return };
        let frame = self.open_list(workflow, Some(id), &prefix, None, list_of(group, otherwise));
        // What runs instead is no race.
        if !otherwise {
            self.set_wait_for(frame, group.wait_for);
        }
        self.record_mut(id).inner = Some(frame);
    }

    pub(super) fn open_iteration(
        &mut self,
        workflow: &Workflow,
        id: usize,
        iteration: u32,
        at: i64,
    ) {
        self.begin_holding(workflow, id, at);
        let step = self.record(id);
        let prefix = format!("{}[{iteration}]/", step.path);
        let (definition, before, forgotten) = (step.definition, step.inner, step.previous);
        let Some(group) = group_of(workflow, definition) else { return };
        let frame = self.open_list(workflow, Some(id), &prefix, Some(iteration), &group.steps);
        self.set_wait_for(frame, group.wait_for);
        self.forgotten.extend(forgotten.map(Gone::Frame));
        if let Some(before) = before {
            self.close_frame(before);
        }
        let step = self.record_mut(id);
        step.previous = before;
        step.inner = Some(frame);
    }

    fn set_wait_for(&mut self, frame: usize, wait_for: WaitFor) {
        if let Some(Some(frame)) = self.frames.get_mut(frame) {
            frame.wait_for = wait_for;
        }
    }

    fn begin_holding(&mut self, workflow: &Workflow, id: usize, at: i64) {
        let timeout = workflow.steps[self.record(id).definition].timeout_ms;
        let base = self.base_deadline(at, timeout);
        let step = self.record_mut(id);
        step.status = StepStatus::Running;
        step.started_at.get_or_insert(at);
        step.passed = true;
        if let Some(base) = base {
            let base = *step.base_deadline.get_or_insert(base);
            self.deadlines.insert((base, id));
        }
    }

    /// Begins a list of steps: each has its record, and those that need nothing may begin.
    pub(super) fn open_list(
        &mut self,
        workflow: &Workflow,
        owner: Option<usize>,
        prefix: &str,
        iteration: Option<u32>,
        list: &[usize],
    ) -> usize {
        let id = self.frames.len();
        let mut frame = Frame::new(owner, prefix);
        frame.iteration = iteration.map(|number| (number, Value::from(number)));
        for definition in list {
            let step = &workflow.steps[*definition];
            let record = StepState {
                definition: *definition,
                frame: id,
                missing: step.needs.len(),
                ..StepState::default()
            };
            let record = self.add(&format!("{prefix}{}", step.name), record);
            frame.records.push(record);
            frame.open.insert(record);
            if step.needs.is_empty() {
                self.make_ready(workflow, record);
            }
        }
        self.frames.push(Some(frame));
        self.due.insert(id);
        self.stop_with_holder(owner, id);
        id
    }

    /// What begins in the very turn in which the list around it was told to go no further goes no further either.
    fn stop_with_holder(&mut self, owner: Option<usize>, frame: usize) {
        let around = owner.and_then(|owner| self.frame(self.record(owner).frame));
        if let Some(is_hard) =
            around.filter(|list| list.stopping.is_some()).map(|list| list.is_hard)
        {
            self.stop_frame(frame, Cause::Ended, is_hard);
        }
    }

    pub(super) fn make_ready(&mut self, workflow: &Workflow, id: usize) {
        let step = self.record(id);
        let definition = &workflow.steps[step.definition];
        let gated = matches!(step.role, Role::Step)
            && !step.passed
            && (definition.approval.is_some()
                || definition.lock.is_some()
                || definition.for_each.is_some());
        let calls = matches!(definition.kind, Kind::Tool { .. } | Kind::Workflow { .. });
        if calls && !gated {
            self.ready.insert(id);
        } else {
            self.ready_inside.insert(id);
        }
    }

    pub(super) fn open_instances(
        &mut self,
        workflow: &Workflow,
        id: usize,
        items: &[Value],
        at: i64,
    ) {
        let definition = &workflow.steps[self.record(id).definition];
        let limit = definition.for_each.as_ref().and_then(|each| each.max_parallel);
        let limit = limit.unwrap_or(workflow.config.max_parallel) as usize;
        // About a list of nothing nothing has to be asked.
        let is_held = is_gated(definition) && !items.is_empty();
        let frame = self.frames.len();
        let step = self.record_mut(id);
        step.status = StepStatus::Running;
        step.started_at.get_or_insert(at);
        step.inner = Some(frame);
        let prefix = format!("{}[", step.path);
        let mut opened = Frame::new(Some(id), &prefix);
        opened.each = Some(Each {
            items: Arc::new(items.to_vec()),
            begun: 0,
            again: BTreeSet::new(),
            limit: limit.max(1),
            results: vec![None; items.len()],
            failed: BTreeSet::new(),
            is_held,
        });
        self.frames.push(Some(opened));
        self.due.insert(frame);
        self.stop_with_holder(Some(id), frame);
        if is_held {
            // Whether anything keeps them is asked next.
            self.ready_inside.insert(id);
        } else {
            self.record_mut(id).passed = true;
            self.begin_instances(workflow, frame);
        }
    }

    /// Begins as many instances as there may be at once.
    pub(super) fn begin_instances(&mut self, workflow: &Workflow, frame: usize) {
        loop {
            let Some(Some(each)) = self.frames.get_mut(frame) else { return };
            if !each.has_more() {
                return;
            }
            let (Some(owner), Some(Each { begun, again, items, .. })) =
                (each.owner, &mut each.each)
            else {
                return;
            };
            let once_more = again.pop_first();
            let number = once_more.unwrap_or(*begun);
            *begun += usize::from(once_more.is_none());
            debug_assert!(number < items.len());
            let prefix = Arc::clone(&each.prefix);
            let known = once_more.and_then(|_| self.record_at(&format!("{prefix}{number}]")));
            let of = self.record(owner);
            let step = StepState {
                definition: of.definition,
                frame,
                role: Role::Instance(number),
                passed: true,
                number: Some(Value::from(number)),
                ..StepState::default()
            };
            let id = known.unwrap_or_else(|| self.add(&format!("{prefix}{number}]"), step));
            if let Some(Some(frame)) = self.frames.get_mut(frame) {
                frame.open.insert(id);
            }
            self.make_ready(workflow, id);
        }
    }

    /// Begins the calls that undo what completed, one after the other, the last one first.
    pub(super) fn open_undos(&mut self, workflow: &Workflow) -> usize {
        let id = self.frames.len();
        let mut frame = Frame::new(None, "");
        let undos = std::mem::take(&mut self.undos);
        for (place, undo) in undos.iter().rev().enumerate() {
            let step = StepState {
                definition: undo.definition,
                frame: id,
                role: Role::Undo,
                missing: usize::from(0 < place),
                params: Some(Arc::clone(&undo.params)),
                secrets: undo.secrets.clone(),
                passed: true,
                ..StepState::default()
            };
            let record = self.add(&format!("{}.undo", undo.path), step);
            frame.records.push(record);
            frame.open.insert(record);
            if place == 0 {
                self.ready.insert(record);
            }
        }
        debug_assert!(undos.iter().all(|undo| workflow.steps[undo.definition].undo.is_some()));
        self.frames.push(Some(frame));
        self.due.insert(id);
        id
    }

    /// Has a frame, and every frame below it, go no further.
    pub(super) fn stop_frame(&mut self, frame: usize, cause: Cause, is_hard: bool) {
        let mut frames = vec![(frame, cause)];
        while let Some((id, cause)) = frames.pop() {
            let Some(Some(frame)) = self.frames.get_mut(id) else { continue };
            frame.stopping.get_or_insert(cause);
            frame.is_hard |= is_hard;
            self.stopping.insert(id);
            self.due.insert(id);
            let open: Vec<usize> = frame.open.iter().copied().collect();
            frames
                .extend(open.iter().filter_map(|id| Some((self.record(*id).inner?, Cause::Ended))));
        }
    }

    pub(super) fn end(&mut self, workflow: &Workflow, id: usize, status: StepStatus, at: i64) {
        let step = self.record_mut(id);
        step.status = status;
        step.ended_at = Some(at);
        step.outcome = None;
        let (locks, inner) = (step.lock.key().is_some(), step.inner);
        if locks {
            self.release_due.push_back(id);
        }
        if let Some(frame) = inner {
            self.close_frame(frame);
            // Its elements were of use to its instances alone; unless those that failed, or were undone, begin anew.
            let is_over = match status {
                StepStatus::Completed => !self.is_undoable[self.record(id).definition],
                _ => status == StepStatus::Skipped,
            };
            if let Some(Some(Frame { each: Some(each), .. })) =
                self.frames.get_mut(frame).filter(|_| is_over)
            {
                each.items = Arc::default();
                each.results = Vec::new();
            }
        }
        let step = self.record(id);
        match step.role {
            Role::Verify(of) => self.found_out(id, of, status),
            Role::Undo => self.undone(id, status),
            Role::Instance(number) => self.instance_ended(workflow, id, number, status),
            Role::Step => self.step_ended(workflow, id, status, at),
        }
    }

    /// A list has come to its end. What a person was to settle in it is not waited for any more.
    pub(super) fn close_frame(&mut self, frame: usize) {
        self.due.remove(&frame);
        self.stopping.remove(&frame);
        let open = self.frame(frame).map(|frame| frame.open.clone()).unwrap_or_default();
        for id in open {
            self.uncertain.remove(&id);
            if self.record(id).lock.key().is_some() {
                self.release_due.push_back(id);
            }
        }
    }

    /// What the instances of a `forEach` resulted in. It is in the history already, and not kept twice.
    pub(super) fn take_results(&mut self, id: usize) -> Value {
        let inner = self.record(id).inner;
        let frame = inner.and_then(|frame| self.frames.get_mut(frame));
        let Some(Some(Frame { each: Some(each), .. })) = frame else { return Value::Null };
        let results = std::mem::take(&mut each.results).into_iter();
        results.map(|result| result.map(Arc::unwrap_or_clone).unwrap_or_default()).collect()
    }

    fn found_out(&mut self, id: usize, of: usize, status: StepStatus) {
        let found = self.record(id);
        let finding = match (&found.output, &found.error) {
            (Some(output), _) => Ok(Arc::clone(output)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(StepError::permanent("cancelled", "it was not asked to the end")),
        };
        let finding = if status == StepStatus::Completed {
            finding
        } else {
            finding
                .and_then(|_| Err(StepError::permanent("cancelled", "it was not asked to the end")))
        };
        // The next time it is asked anew, by a record of its own.
        self.forgotten.push(Gone::Record(id));
        let step = self.record_mut(of);
        step.verifying = None;
        step.finding = Some(finding);
        self.unsettled.insert(of);
    }

    fn undone(&mut self, id: usize, status: StepStatus) {
        let step = self.record(id);
        let frame = step.frame;
        if status != StepStatus::Completed {
            let why = step.error.as_ref().map_or("it did not run", |error| &error.message);
            self.aftermath.push(format!("{} failed: {why}", step.path));
        }
        let Some(Some(list)) = self.frames.get_mut(frame) else { return };
        list.open.remove(&id);
        if let Some(next) = list.open.first().copied().filter(|_| list.stopping.is_none()) {
            self.ready.insert(next);
        }
        self.due.insert(frame);
    }

    fn instance_ended(
        &mut self,
        workflow: &Workflow,
        id: usize,
        number: usize,
        status: StepStatus,
    ) {
        let step = self.record(id);
        let (frame, output) = (step.frame, step.output.clone());
        let fails = workflow.steps[step.definition].on_error == OnError::Fail;
        if let Some(Some(Frame { open, each: Some(each), completed, .. })) =
            self.frames.get_mut(frame)
        {
            open.remove(&id);
            *completed += usize::from(status == StepStatus::Completed);
            if let Some(result) = each.results.get_mut(number) {
                *result = output;
            }
            if status == StepStatus::Failed {
                each.failed.insert(number);
            }
        }
        self.due.insert(frame);
        if status == StepStatus::Failed && fails {
            self.stop_frame(frame, Cause::Failed(id), false);
        } else if self.is_of_no_more_use(id, status) {
            self.forgotten.push(Gone::Record(id));
        }
        self.begin_instances(workflow, frame);
    }

    /// An instance that may begin anew when a person has the execution retried is kept, for what it has done.
    fn is_of_no_more_use(&self, id: usize, status: StepStatus) -> bool {
        let step = self.record(id);
        match status {
            StepStatus::Completed => step.inner.is_none() || !self.is_undoable[step.definition],
            StepStatus::Cancelled => step.inner.is_none(),
            // What a person does not want to be done is not done later either.
            StepStatus::Skipped => step.skipped_by.is_none(),
            _ => true,
        }
    }

    fn step_ended(&mut self, workflow: &Workflow, id: usize, status: StepStatus, at: i64) {
        let step = self.record(id);
        let (frame, definition) = (step.frame, step.definition);
        let prefix = match self.frames.get_mut(frame) {
            Some(Some(list)) => {
                list.open.remove(&id);
                list.completed += usize::from(status == StepStatus::Completed);
                Arc::clone(&list.prefix)
            }
            _ => return,
        };
        self.due.insert(frame);
        let path = |of: &usize| format!("{prefix}{}", workflow.steps[*of].name);
        let dependants = self.dependants[definition].iter();
        let mut waiting: Vec<usize> =
            dependants.filter_map(|of| self.record_at(&path(of))).collect();
        waiting.extend(self.later.remove(&id).unwrap_or_default());
        if 0 < self.record(id).missing {
            self.hand_on(workflow, frame, &waiting);
        }
        for id in waiting {
            let step = self.record_mut(id);
            step.missing = step.missing.saturating_sub(1);
            match (step.missing, step.status) {
                (0, StepStatus::Pending) => self.make_ready(workflow, id),
                (0, StepStatus::Running) => self.time_from(workflow, id, Some(at)),
                _ => {}
            }
        }
        if status == StepStatus::Failed
            && workflow.steps[definition].on_error == OnError::Fail
            && self.frame(frame).is_some_and(|list| list.wait_for == WaitFor::All)
        {
            if frame == self.root {
                let step = self.record(id);
                let error = step.error.clone();
                let error = error.unwrap_or_else(|| StepError::permanent("failed", "it failed"));
                self.fail_root(id, error);
            }
            self.stop_frame(frame, Cause::Failed(id), false);
        }
    }

    /// The time of a step that holds others is counted from now, and that of those which it holds; with `None` from when
    /// what it waits for is done again.
    pub(super) fn time_from(&mut self, workflow: &Workflow, id: usize, at: Option<i64>) {
        let step = self.record(id);
        let Some(inner) = step.inner.filter(|_| at.is_none() || step.missing == 0) else { return };
        let timeout = self.timeout_of_holder(workflow, id);
        let base = at.and_then(|at| self.base_deadline(at, timeout));
        let before = std::mem::replace(&mut self.record_mut(id).base_deadline, base);
        if let Some(before) = before {
            self.deadlines.remove(&(before, id));
        }
        if let Some(base) = base {
            self.deadlines.insert((base, id));
        }
        let open = self.frame(inner).map(|list| list.open.clone()).unwrap_or_default();
        for id in open {
            self.time_from(workflow, id, at);
        }
    }

    /// How long a step that holds others has, in milliseconds; with a `forEach` each of its instances has that.
    pub(super) fn timeout_of_holder(&self, workflow: &Workflow, id: usize) -> Option<u64> {
        let step = self.record(id);
        let definition = &workflow.steps[step.definition];
        let is_list = definition.for_each.is_some() && step.role == Role::Step;
        definition.timeout_ms.filter(|_| !is_list)
    }

    /// A person has settled a step before its turn: those that wait for it wait for what comes before it.
    fn hand_on(&mut self, workflow: &Workflow, frame: usize, waiting: &[usize]) {
        let records = self.frame(frame).map(|list| list.records.clone()).unwrap_or_default();
        let of = self.by_definition(&records);
        for id in waiting {
            if self.record(*id).status.is_final() {
                continue;
            }
            for need in self.open_behind(workflow, &of, *id) {
                let later = self.later.entry(need).or_default();
                if !later.contains(id) {
                    later.push(*id);
                    self.record_mut(*id).missing += 1;
                }
            }
        }
    }

    /// The records of a list by the steps of the document that they are.
    pub(super) fn by_definition(&self, records: &[usize]) -> BTreeMap<usize, usize> {
        records.iter().map(|id| (self.record(*id).definition, *id)).collect()
    }

    /// What is open and comes before a step, although what stands between the two has ended.
    pub(super) fn open_behind(
        &self,
        workflow: &Workflow,
        of: &BTreeMap<usize, usize>,
        id: usize,
    ) -> BTreeSet<usize> {
        let needs = |id: usize| {
            let needs = workflow.steps[self.record(id).definition].needs.iter();
            needs.filter_map(|need| of.get(need).copied())
        };
        let has_ended = |id: &usize| self.record(*id).status.is_final();
        let mut known: BTreeSet<usize> = needs(id).collect();
        let mut ended: Vec<usize> = known.iter().copied().filter(has_ended).collect();
        let mut open = BTreeSet::new();
        while let Some(id) = ended.pop() {
            for need in needs(id).filter(|need| known.insert(*need)) {
                match has_ended(&need) {
                    true => ended.push(need),
                    false => _ = open.insert(need),
                }
            }
        }
        open
    }

    fn fail_root(&mut self, id: usize, error: StepError) {
        let path = self.record(id).path.to_string();
        match &self.phase {
            None => _ = self.fatal.get_or_insert((path, error)),
            Some(_) => self.aftermath.push(format!("{path} failed: {}", error.message)),
        }
    }
}
