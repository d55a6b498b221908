//! What an event changes about a step, and about the lists that it is in.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Cause, Frame, LockStanding, Look, Outcome, Role, State, StepState, StepStatus, Undo,
    UnexpectedEvent, unexpected,
};
use crate::{
    Kind, OnExpire, Resolution, Step, Workflow,
    event::{Answer, Event, StepError},
    workflow,
};

impl State {
    pub(super) fn apply_at(
        &mut self,
        workflow: &Workflow,
        path: &str,
        event: &Event,
        at: i64,
    ) -> Result<(), UnexpectedEvent> {
        let ended = |id: &usize| {
            let step = self.record(*id);
            matches!(step.role, Role::Verify(_)) && step.status.is_final()
        };
        let asks_anew = matches!(event, Event::AttemptStarted { .. });
        let id = match self.record_at(path).filter(|id| !(asks_anew && ended(id))) {
            Some(id) => id,
            None => self
                .begin_finding_out(path, event)
                .ok_or_else(|| unexpected(event, &format!("there is no step {path}")))?,
        };
        if let Some(reason) = self.objection(id, event) {
            return Err(unexpected(event, reason));
        }
        self.apply_to_step(workflow, id, event, at);
        Ok(())
    }

    fn apply_to_step(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        match event {
            Event::UndoRegistered { tool: _, params, secrets, .. } => {
                self.undo_due.retain(|due| *due != id);
                let step = self.record(id);
                let (path, definition) = (Arc::clone(&step.path), step.definition);
                let params = Arc::new(params.clone());
                self.undos.push(Undo { path, definition, params, secrets: secrets.clone() });
            }
            Event::LockReleased { .. } => {
                self.release_due.retain(|due| *due != id);
                self.record_mut(id).lock = LockStanding::None;
            }
            Event::StepDeadlinePassed { .. } => self.run_out(id),
            Event::ChildWaits { .. } => _ = self.waiting_children.insert(id),
            Event::ChildGoesOn { .. } => _ = self.waiting_children.remove(&id),
            Event::GroupDecided { .. } => {
                if let Some(frame) = self.record(id).inner {
                    self.stop_frame(frame, Cause::Decided, true);
                }
            }
            Event::LockRequested { .. } | Event::LockGranted { .. } | Event::LockRefused { .. } => {
                self.apply_to_lock(workflow, id, event, at);
            }
            Event::RequestOpened { .. }
            | Event::RequestAnswered { .. }
            | Event::RequestExpired { .. } => {
                self.apply_to_request(workflow, id, event, at);
            }
            _ => {
                self.leave(id);
                self.move_on(workflow, id, event, at);
            }
        }
    }

    fn move_on(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        match event {
            Event::AttemptStarted { .. } => self.call(workflow, id, event, at),
            Event::AttemptSucceeded { output, .. } => {
                let output = Arc::new(output.clone());
                let step = self.record(id);
                let expects = workflow.steps[step.definition].expect.is_some();
                match step.role {
                    Role::Step | Role::Instance(_) if expects => self.deliver(id, output, true),
                    _ => self.complete(workflow, id, output, at),
                }
            }
            Event::AttemptFailed { error, .. } => {
                let step = self.record_mut(id);
                step.set_error(error);
                step.lost = None;
                step.outcome = None;
                self.unsettled.insert(id);
            }
            Event::AttemptUncertain { error, repeatable, .. } => {
                let step = self.record_mut(id);
                step.set_error(error);
                step.lost = Some(*repeatable);
                step.finding = None;
                self.unsettled.insert(id);
            }
            Event::PollingStarted { at: due, .. } => {
                let step = self.record_mut(id);
                step.status = StepStatus::Waiting;
                // It was heard of: what was lost before counts no more.
                step.repeats = 0;
                self.look_again(workflow, id, Look { at: *due, count: 1, said: None });
            }
            Event::CallScheduled { again, at: due, .. } => {
                self.record_mut(id).call_again(*again, *due, at);
                self.retries.insert((*due, id));
            }
            // The instances have waited to be asked about, and nothing has to be asked.
            Event::GroupStarted { .. } if self.record(id).inner.is_some() => {
                self.pass(workflow, id);
            }
            Event::GroupStarted { otherwise, .. } => self.open_group(workflow, id, *otherwise, at),
            Event::IterationStarted { iteration, .. } => {
                self.open_iteration(workflow, id, *iteration, at);
            }
            Event::InstancesListed { items, .. } => self.open_instances(workflow, id, items, at),
            Event::WaitStarted { until, event, .. } => {
                self.wait(id, *until, event.as_deref(), at);
            }
            Event::StepCompleted { output, .. } => {
                let output = match (output, self.record_mut(id).outcome.take()) {
                    (Some(output), _) => Arc::new(output.clone()),
                    (None, Some(Outcome::Delivered(output, _))) => output,
                    (None, _) => Arc::new(self.take_results(id)),
                };
                self.complete(workflow, id, output, at);
            }
            Event::StepVerified { output, happened, .. } => self.verified(id, *happened, output),
            Event::StepSkipped { by, .. } => {
                if let Some(by) = by {
                    self.skip_by_hand(id, by, at);
                }
                self.end(workflow, id, StepStatus::Skipped, at);
            }
            Event::StepReused { .. } => self.reuse(workflow, id, event, at),
            Event::StepFailed { error, .. } => {
                self.record_mut(id).set_error(error);
                self.end(workflow, id, StepStatus::Failed, at);
            }
            Event::StepUncertain { error, .. } => {
                let step = self.record_mut(id);
                step.set_error(error);
                step.status = StepStatus::Uncertain;
                step.uncertain_since = Some(at);
                self.uncertain.insert(id);
                self.due.insert(self.record(id).frame);
            }
            Event::StepCancelled { .. } => self.end(workflow, id, StepStatus::Cancelled, at),
            Event::StepResolved { resolution, .. } => self.resolve(workflow, id, resolution, at),
            Event::StopReached { outcome, message, .. } => {
                let path = self.record(id).path.to_string();
                self.complete(workflow, id, Arc::new(Value::Null), at);
                match (&self.phase, outcome) {
                    (None, _) => _ = self.stop.get_or_insert((path, *outcome, message.clone())),
                    // It ends the handlers; as what the execution ends was decided before.
                    (Some(_), workflow::Outcome::Failed) => {
                        self.aftermath.push(format!("{path} stopped it: {message}"));
                    }
                    (Some(_), _) => {}
                }
                self.stop_frame(self.root, Cause::Ended, true);
            }
            _ => {}
        }
    }

    /// Why an event cannot be about this step as it stands.
    fn objection(&self, id: usize, event: &Event) -> Option<&'static str> {
        let step = self.record(id);
        let late = matches!(event, Event::UndoRegistered { .. } | Event::LockReleased { .. });
        if step.status.is_final() && !late {
            return Some("the step has ended");
        }
        // What follows a step that was settled before its turn did not always wait for what came before that one.
        let is_early = || self.later.values().any(|waiting| waiting.contains(&id));
        let is_ready = self.ready.contains(&id) || self.ready_inside.contains(&id) || is_early();
        let is_asked = |request: &String| {
            let open = step.request.as_ref().filter(|_| self.asked.contains(&id));
            open.is_some_and(|open| open.id == *request)
        };
        let is_out = self.is_out(id);
        let is_called = is_out || step.look.is_some();
        let is_unsettled = self.unsettled.contains(&id);
        let (fits, otherwise) = match event {
            Event::AttemptStarted { .. } => (
                is_ready || self.waits_for_retry(id) || matches!(step.role, Role::Verify(_)),
                "the step may not be called now",
            ),
            Event::AttemptSucceeded { .. } | Event::AttemptUncertain { .. } => {
                (is_called, "no call of the step is out")
            }
            Event::PollingStarted { .. } | Event::ChildWaits { .. } | Event::ChildGoesOn { .. } => {
                (self.running.contains(&id), "no call of the step is out")
            }
            Event::AttemptFailed { .. } => {
                (is_called || step.outcome.is_some(), "no call of the step is out")
            }
            Event::CallScheduled { .. } | Event::StepVerified { .. } => {
                (is_unsettled, "no attempt of the step has just ended")
            }
            Event::StepUncertain { .. } => {
                (is_unsettled || step.lost.is_some(), "no attempt of the step has just ended")
            }
            Event::StepSkipped { by: None, .. } => (is_ready, "the step's turn has not come"),
            Event::StepSkipped { by: Some(_), .. } => {
                (self.is_at_rest(id), "something of the step is under way")
            }
            Event::StepReused { .. } => {
                let fresh = step.status == StepStatus::Pending && step.inner.is_none();
                (fresh && step.frame == 0, "the step has begun, or is inside another one")
            }
            Event::GroupStarted { .. }
            | Event::InstancesListed { .. }
            | Event::WaitStarted { .. }
            | Event::StopReached { .. } => (is_ready, "the step's turn has not come"),
            Event::IterationStarted { .. } => {
                (is_ready || step.inner.is_some(), "the step's turn has not come")
            }
            Event::GroupDecided { .. } | Event::StepDeadlinePassed { .. } => {
                (step.inner.is_some() || is_out, "nothing of the step is under way")
            }
            Event::StepFailed { .. }
            | Event::StepCancelled { .. }
            | Event::StepCompleted { .. } => (!is_out, "a call of the step is out"),
            Event::StepResolved { resolution, .. } => (
                self.takes_result(id, resolution),
                "the step is neither uncertain nor one that failed before",
            ),
            Event::RequestAnswered { request, .. } | Event::RequestExpired { request, .. } => {
                (is_asked(request), "the request is not open")
            }
            Event::LockGranted { .. } | Event::LockRefused { .. } => {
                (step.lock.is_wanted(), "the step does not wait for the lock")
            }
            Event::RequestOpened { .. }
            | Event::LockRequested { .. }
            | Event::LockReleased { .. }
            | Event::UndoRegistered { .. } => (true, ""),
            _ => (false, "it is not about a step"),
        };
        (!fits).then_some(otherwise)
    }

    fn waits_for_retry(&self, id: usize) -> bool {
        self.record(id).timer.is_some_and(|at| self.retries.contains(&(at, id)))
    }

    /// Takes a step out of every set; whatever it enters next, the event says.
    pub(super) fn leave(&mut self, id: usize) {
        self.locks_to_take.remove(&id);
        self.ready.remove(&id);
        self.ready_inside.remove(&id);
        self.running.remove(&id);
        self.looking.remove(&id);
        self.unsettled.remove(&id);
        self.asked.remove(&id);
        self.locking.remove(&id);
        self.waiting_children.remove(&id);
        self.uncertain.remove(&id);
        let step = self.record_mut(id);
        step.look = None;
        let (timer, listens) = (step.timer.take(), step.listens.take());
        let deadline = step.base_deadline;
        if let Some(at) = timer {
            self.retries.remove(&(at, id));
            self.timers.remove(&(at, id));
        }
        if let Some((_, since)) = listens {
            self.listening.remove(&(since, id));
        }
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
    }

    /// The record of the call by which an uncertain step finds out, made when that call begins.
    fn begin_finding_out(&mut self, path: &str, event: &Event) -> Option<usize> {
        let Event::AttemptStarted { .. } = event else { return None };
        let of = self.record_at(path.strip_suffix(".verify")?)?;
        let step = StepState {
            definition: self.record(of).definition,
            frame: self.record(of).frame,
            role: Role::Verify(of),
            ..StepState::default()
        };
        Some(self.add(path, step))
    }

    /// Writes down a record.
    pub(super) fn add(&mut self, path: &str, step: StepState) -> usize {
        let path: Arc<str> = path.into();
        let id = self.records.len();
        let generation = step.generation.max(self.floor);
        self.paths.insert(Arc::clone(&path), id);
        self.records.push(Some(Box::new(StepState { path, generation, ..step })));
        id
    }

    fn call(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        let Event::AttemptStarted { attempt, call, params, secrets, child, .. } = event else {
            return;
        };
        let timeout = workflow.steps[self.record(id).definition].timeout_ms;
        let base = self.base_deadline(at, timeout.filter(|_| child.is_some()));
        let paused = self.paused_until(at);
        let step = self.record_mut(id);
        step.status = StepStatus::Running;
        step.attempts = *attempt;
        step.calls = *call;
        step.again = None;
        step.lost = None;
        step.finding = None;
        step.overdue = false;
        step.passed = true;
        step.started_at.get_or_insert(at);
        if step.called_at.is_none() {
            step.called_at = Some(at);
            step.paused_before = paused;
        }
        step.child.clone_from(child);
        step.child_goes_on = false;
        if let Some(params) = params {
            step.params = Some(Arc::new(params.clone()));
            step.secrets.clone_from(secrets);
        }
        let role = step.role;
        if child.is_some() {
            // The time of all attempts together is what is bounded.
            let base = *step.base_deadline.get_or_insert(base.unwrap_or(i64::MAX));
            if base < i64::MAX {
                self.deadlines.insert((base, id));
            }
        }
        self.running.insert(id);
        if let Role::Verify(of) = role {
            self.unsettled.remove(&of);
            let step = self.record_mut(of);
            step.verifying = Some(id);
            step.status = StepStatus::Waiting;
        }
    }

    /// When the time of something that begins now is over, if persons and locks took none of it.
    pub(super) fn base_deadline(&self, at: i64, timeout_ms: Option<u64>) -> Option<i64> {
        Some(at.saturating_sub(self.waited_ms(at)).saturating_add_unsigned(timeout_ms?))
    }

    /// A result that waits for `expect`, or to be written down.
    pub(super) fn deliver(&mut self, id: usize, output: Arc<Value>, by_call: bool) {
        self.leave(id);
        self.record_mut(id).outcome = Some(Outcome::Delivered(output, by_call));
        self.unsettled.insert(id);
    }

    fn refuse(&mut self, id: usize, error: StepError) {
        self.leave(id);
        self.record_mut(id).outcome = Some(Outcome::Refused(error));
        self.unsettled.insert(id);
    }

    fn verified(&mut self, id: usize, happened: bool, output: &Option<Value>) {
        let step = self.record_mut(id);
        step.finding = None;
        if happened {
            let output = Arc::new(output.clone().unwrap_or_default());
            step.lost = None;
            return self.deliver(id, output, true);
        }
        // It did not happen, so calling is no repetition.
        step.lost = Some(true);
        self.unsettled.insert(id);
    }

    fn wait(&mut self, id: usize, until: i64, event: Option<&str>, at: i64) {
        let step = self.record_mut(id);
        step.status = StepStatus::Waiting;
        step.started_at.get_or_insert(at);
        let kept = event.and_then(|event| self.mailbox.iter().position(|(name, _)| name == event));
        if let Some((_, data)) = kept.and_then(|place| self.mailbox.remove(place)) {
            return self.deliver(id, data, false);
        }
        let step = self.record_mut(id);
        step.timer = Some(until);
        step.listens = event.map(|event| (event.to_owned(), at));
        self.timers.insert((until, id));
        if event.is_some() {
            self.listening.insert((at, id));
        }
    }

    fn apply_to_lock(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        match event {
            Event::LockRequested { key, ready, .. } => {
                self.ready.remove(&id);
                self.ready_inside.remove(&id);
                self.locks_to_take.remove(&id);
                let step = self.record_mut(id);
                step.status = StepStatus::Waiting;
                if *ready {
                    step.lock = LockStanding::Wanted(key.clone());
                    self.locking.insert(id);
                } else {
                    step.lock = LockStanding::Kept(key.clone());
                }
            }
            Event::LockGranted { key, .. } => {
                self.locking.remove(&id);
                let step = self.record_mut(id);
                step.lock = LockStanding::Held(key.clone());
                step.lock_key = Some(key.clone());
                self.pass(workflow, id);
            }
            Event::LockRefused { key, holder, .. } => {
                self.record_mut(id).lock = LockStanding::None;
                self.abandon_inside(id, at);
                self.refuse(id, lock_busy(key, holder));
            }
            _ => {}
        }
    }

    fn apply_to_request(&mut self, workflow: &Workflow, id: usize, event: &Event, at: i64) {
        match event {
            Event::RequestOpened { request, .. } => {
                self.leave(id);
                let step = self.record_mut(id);
                step.status = StepStatus::Waiting;
                step.agreed.clear();
                step.escalates = false;
                step.timer = Some(request.expires_at);
                let whole_list = step.inner.is_some();
                if let Some(params) = &request.params
                    && !whole_list
                {
                    step.params = Some(Arc::new(params.clone()));
                    step.secrets.clone_from(&request.secrets);
                }
                step.request = Some(request.clone());
                self.timers.insert((request.expires_at, id));
                self.asked.insert(id);
            }
            Event::RequestAnswered { by, answer, .. } => {
                self.answered(workflow, id, by, answer);
            }
            Event::RequestExpired { .. } => {
                let request = self.record(id).request.clone();
                let again = request.is_some_and(|request| {
                    request.on_expire == OnExpire::Escalate && !request.escalated
                });
                if again {
                    self.leave(id);
                    self.record_mut(id).escalates = true;
                    self.ready_inside.insert(id);
                } else {
                    let message = "nobody answered the request in time";
                    self.refuse(id, StepError::permanent("expired", message));
                }
            }
            _ => {}
        }
        self.record_mut(id).started_at.get_or_insert(at);
    }

    fn answered(&mut self, workflow: &Workflow, id: usize, by: &str, answer: &Answer) {
        match answer {
            Answer::Approved { comment } => {
                let step = self.record_mut(id);
                if !step.agreed.iter().any(|name| name == by) {
                    step.agreed.push(by.to_owned());
                }
                if comment.is_some() {
                    step.comment.clone_from(comment);
                }
                let quorum = step.request.as_ref().map_or(1, |request| request.quorum);
                if (step.agreed.len() as u64) < u64::from(quorum) {
                    return;
                }
                if matches!(workflow.steps[step.definition].kind, Kind::Approval(_)) {
                    let mut output = json!({ "approved": true, "by": step.agreed });
                    if let Some(comment) = &step.comment {
                        output["comment"] = json!(comment);
                    }
                    return self.deliver(id, Arc::new(output), false);
                }
                self.leave(id);
                self.pass(workflow, id);
            }
            Answer::Rejected { comment } => {
                let why = comment.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                let message = format!("{by} refused it{why}");
                self.refuse(id, StepError::permanent("rejected", message));
            }
            Answer::Given { values } => self.deliver(id, Arc::new(values.clone()), false),
        }
    }

    /// A gate is behind the step. Behind the last one its instances begin, or its call.
    fn pass(&mut self, workflow: &Workflow, id: usize) {
        let step = self.record_mut(id);
        if let LockStanding::Kept(_) = step.lock {
            // Its place was kept while a person thought; now it is asked for.
            self.ready_inside.insert(id);
            return;
        }
        step.passed = true;
        match step.inner {
            Some(frame) => {
                step.status = StepStatus::Running;
                if let Some(Some(Frame { each: Some(each), .. })) = self.frames.get_mut(frame) {
                    each.is_held = false;
                }
                self.due.insert(frame);
                self.begin_instances(workflow, frame);
            }
            None => {
                step.status = StepStatus::Pending;
                self.make_ready(workflow, id);
            }
        }
    }

    fn run_out(&mut self, id: usize) {
        let step = self.record_mut(id);
        step.overdue = true;
        let (deadline, inner) = (step.base_deadline, step.inner);
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
        if let Some(frame) = inner {
            self.stop_frame(frame, Cause::TimedOut, true);
        }
    }

    fn complete(&mut self, workflow: &Workflow, id: usize, output: Arc<Value>, at: i64) {
        let step = self.record_mut(id);
        let (definition, role) = (&workflow.steps[step.definition], step.role);
        let (inner, is_list) = (step.inner, definition.for_each.is_some() && role == Role::Step);
        step.output = Some(Arc::clone(&output));
        if matches!(definition.kind, Kind::Set(_)) && !is_list {
            self.set_vars(&output);
        }
        // The instances of a `forEach` are undone, not the list of them.
        let undoable = match role {
            Role::Step => definition.for_each.is_none(),
            Role::Instance(_) => true,
            Role::Verify(_) | Role::Undo => false,
        };
        // What is done because of how the steps ended is not taken back: it comes after what was.
        if definition.undo.is_some() && undoable && self.phase.is_none() {
            self.undo_due.push_back(id);
        }
        if let Some(frame) = inner {
            self.note_failed_instances(id, frame);
        }
        self.end(workflow, id, StepStatus::Completed, at);
    }

    /// A list that went on although some of its instances failed leaves their numbers.
    fn note_failed_instances(&mut self, id: usize, frame: usize) {
        let each = self.frame(frame).and_then(|frame| frame.each.as_ref());
        let Some(each) = each.filter(|each| !each.failed.is_empty()) else { return };
        let failed = json!(each.failed);
        let message = format!("{} of {} instances failed", each.failed.len(), each.items.len());
        let step = self.record_mut(id);
        step.set_error(&StepError::permanent("instances_failed", message));
        if let Some(shown) = &mut step.error_value {
            shown["failed"] = failed;
        }
    }

    pub(super) fn set_vars(&mut self, values: &Value) {
        let Some(Value::Object(vars)) = &mut self.vars else { return };
        for (name, value) in values.as_object().into_iter().flatten() {
            if let Some(var) = vars.get_mut(name) {
                value.clone_into(var);
            }
        }
    }

    fn resolve(&mut self, workflow: &Workflow, id: usize, resolution: &Resolution, at: i64) {
        match resolution {
            Resolution::Completed { output } => {
                self.abandon_inside(id, at);
                self.complete(workflow, id, Arc::new(output.clone()), at);
            }
            Resolution::Retry => self.begin_again(id),
            Resolution::Failed { message } => {
                let error = StepError::permanent("resolved_as_failed", message);
                self.record_mut(id).set_error(&error);
                self.end(workflow, id, StepStatus::Failed, at);
            }
        }
    }

    /// A new generation of the step: everything about it is asked again, an approval too.
    fn begin_again(&mut self, id: usize) {
        let asked = self.was_asked_with_others(id);
        self.newest_generation = self.newest_generation.max(self.record(id).generation + 1);
        let old = self.record_mut(id);
        let is_undo = old.role == Role::Undo;
        *old = StepState {
            path: Arc::clone(&old.path),
            generation: old.generation + 1,
            definition: old.definition,
            frame: old.frame,
            role: old.role,
            // What undoes comes in its own order.
            missing: if is_undo { 0 } else { old.missing },
            number: old.number.take(),
            lock: std::mem::take(&mut old.lock),
            lock_key: old.lock_key.take(),
            passed: !asked && old.request.is_none() && !old.lock_lost,
            params: old.params.take().filter(|_| is_undo),
            secrets: std::mem::take(&mut old.secrets),
            ..StepState::default()
        };
        match (old.missing, old.passed) {
            // What comes before it is done again, too.
            (1.., _) => {}
            (0, true) => _ = self.ready.insert(id),
            (0, false) => _ = self.ready_inside.insert(id),
        }
    }
}

impl State {
    /// Whether an instance was asked about together with the others of its list.
    pub(super) fn was_asked_with_others(&self, id: usize) -> bool {
        let list = match self.record(id).role {
            Role::Instance(_) => self.frame(self.record(id).frame).and_then(|list| list.owner),
            Role::Step | Role::Verify(_) | Role::Undo => None,
        };
        list.is_some_and(|list| self.record(list).request.is_some())
    }
}

/// Whether something is asked or locked before the step begins.
pub(crate) fn is_gated(step: &Step) -> bool {
    step.approval.is_some() || step.lock.is_some()
}

pub(super) fn lock_busy(key: &str, holder: &str) -> StepError {
    let message = format!(
        "the lock {key} was refused: {holder} holds it and `onBusy` is not `queue`, or that is an execution above this \
         one which holds another lock (one at a time)"
    );
    StepError::permanent("lock_busy", message)
}
