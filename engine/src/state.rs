//! Where an execution stands: its history, folded.

mod apply;
mod control;
mod frame;
mod lists;
mod look;
mod names;
mod permits;
mod reopen;
mod status;
mod step;
mod suppose;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value, json};

pub(crate) use self::{
    apply::is_gated,
    frame::{Cause, Frame},
    names::Scope,
    step::{LockStanding, Outcome, Role},
};
pub use self::{
    look::Look,
    status::{Status, StepStatus},
    step::StepState,
};
use crate::{
    Group, Kind, Workflow,
    event::{Event, Phase, Request, SecretSlot, StepError},
    workflow::{self, WaitFor},
};

#[cfg(test)]
mod tests;

/// How many events are kept that nobody waits for yet; of more the oldest are forgotten.
const MAILBOX: usize = 1_000;

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where it stands.
    pub status: Status,
    /// What it was given.
    pub input: Value,
    /// What it resulted in.
    pub output: Option<Value>,
    /// The step that failed, if it was one, and why.
    pub failure: Option<(Option<String>, StepError)>,
    /// When it began, in milliseconds since 1970.
    pub started_at: i64,
    /// Who asked for its end, and why.
    pub(crate) cancel: Option<(String, Option<String>)>,
    pub(crate) deadline_passed: bool,
    /// The step that ended it, as what, and why.
    pub(crate) stop: Option<(String, workflow::Outcome, String)>,
    /// The first step of the document's own list that failed and takes the execution with it.
    pub(crate) fatal: Option<(String, StepError)>,
    /// What is run because of how the steps ended, and that.
    pub(crate) phase: Option<(Phase, StepError)>,
    /// The phases that are over.
    pub(crate) phases_done: Vec<Phase>,
    /// What went wrong in them.
    pub(crate) aftermath: Vec<String>,
    /// The values of the vars; `None` until they are computed.
    pub(crate) vars: Option<Value>,
    pub(crate) lock: LockStanding,
    /// Who holds the lock that it does not wait for.
    pub(crate) lock_refused: Option<StepError>,
    /// What undoes the steps that completed, in the order of their completion.
    pub(crate) undos: Vec<Undo>,
    /// Steps that completed and whose `undo` is to be registered.
    pub(crate) undo_due: VecDeque<usize>,
    /// Steps that ended and give a lock back.
    pub(crate) release_due: VecDeque<usize>,
    records: Vec<Option<Box<StepState>>>,
    frames: Vec<Option<Frame>>,
    /// The number of the record of each path.
    paths: HashMap<Arc<str>, usize>,
    /// The frame of the list that is run now: the document's own, or a phase's.
    pub(crate) root: usize,
    /// Pending steps that may begin and whose beginning is a call.
    pub(crate) ready: BTreeSet<usize>,
    /// Pending steps that may begin and need no place among the calls.
    pub(crate) ready_inside: BTreeSet<usize>,
    /// Steps whose call, or execution of another workflow, is out.
    pub(crate) running: BTreeSet<usize>,
    /// Steps whose last attempt is over, or whose result is there, and that ask for a decision.
    pub(crate) unsettled: BTreeSet<usize>,
    /// When steps are called again, or looked at again.
    pub(crate) retries: BTreeSet<(i64, usize)>,
    /// Steps that are looked at just now, after their tool was not done before. No event says so, and a history that is
    /// read knows of none.
    pub(crate) looking: BTreeSet<usize>,
    /// When waits are over and requests expire.
    pub(crate) timers: BTreeSet<(i64, usize)>,
    /// When groups and executions of other workflows are out of time, if persons and locks take none of it.
    pub(crate) deadlines: BTreeSet<(i64, usize)>,
    /// Steps that a person has to settle.
    pub(crate) uncertain: BTreeSet<usize>,
    /// Steps with an open request.
    pub(crate) asked: BTreeSet<usize>,
    /// Steps that wait for a lock.
    pub(crate) locking: BTreeSet<usize>,
    /// Steps whose execution of another workflow waits for a person or a lock.
    pub(crate) waiting_children: BTreeSet<usize>,
    /// Steps that wait for an event, the longest waiting first.
    pub(crate) listening: BTreeSet<(i64, usize)>,
    /// Events that nobody waited for yet.
    mailbox: VecDeque<(String, Arc<Value>)>,
    /// Frames that have not come to their end.
    pub(crate) due: BTreeSet<usize>,
    /// Frames that go no further and have not ended.
    pub(crate) stopping: BTreeSet<usize>,
    /// The steps that wait for one that is done again although what they need directly has completed.
    later: BTreeMap<usize, Vec<usize>>,
    /// The locks of steps that are under way again, and that were given back.
    pub(crate) locks_to_take: BTreeMap<usize, String>,
    paused: Option<control::Pause>,
    /// How long pauses that are over took, in milliseconds.
    paused_ms: i64,
    /// From when its time is counted, if persons, locks and pauses take none of it.
    pub(crate) bounded_from: i64,
    /// What everything that begins has at least as its generation.
    floor: u32,
    /// The highest generation that anything had.
    newest_generation: u32,
    /// What steps that were done elsewhere made of the vars, until these are computed.
    reused_vars: Map<String, Value>,
    /// Whether a step, or one that it holds, registers what undoes it.
    is_undoable: Arc<Vec<bool>>,
    /// Since when a person, a lock or the end of a pause has been waited for.
    pub(crate) person_since: Option<i64>,
    /// How long that took before; in milliseconds.
    pub(crate) person_ms: i64,
    /// What nothing refers to any more.
    forgotten: Vec<Gone>,
    /// The steps of the same list that need each step.
    dependants: Arc<Vec<Vec<usize>>>,
    /// The step that assigns each name.
    assigned: Arc<HashMap<String, usize>>,
    /// `execution` as expressions see it.
    execution: Value,
    /// `error` as handlers see it.
    error: Option<Value>,
    supposed: suppose::Supposed,
    permits: permits::Permits,
}

/// Something that nothing refers to any more.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    Record(usize),
    Frame(usize),
}

/// What undoes a step that completed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Undo {
    pub(crate) path: Arc<str>,
    pub(crate) definition: usize,
    pub(crate) params: Arc<Value>,
    pub(crate) secrets: Vec<SecretSlot>,
}

/// The history says something that cannot follow from what it said before.
#[derive(Debug, thiserror::Error)]
#[error("event {kind} cannot follow: {reason}")]
pub struct UnexpectedEvent {
    kind: &'static str,
    reason: String,
}

impl State {
    /// An execution of a workflow to which nothing has happened yet.
    #[must_use]
    pub fn new(workflow: &Workflow, execution_id: &str, requested_by: &str) -> State {
        let mut dependants = vec![Vec::new(); workflow.steps.len()];
        for (index, step) in workflow.steps.iter().enumerate() {
            for need in &step.needs {
                dependants[*need].push(index);
            }
        }
        let mut is_undoable = vec![false; workflow.steps.len()];
        for (index, step) in workflow.steps.iter().enumerate() {
            if step.undo.is_some() && workflow.config.undo_on_failure {
                let around = |index: &usize| workflow.steps[*index].parent;
                for index in std::iter::successors(Some(index), around) {
                    is_undoable[index] = true;
                }
            }
        }
        let names = workflow.steps.iter().enumerate();
        let assigned = names.filter_map(|(index, step)| Some((step.assign.clone()?, index)));
        let mut state = State {
            status: Status::Pending,
            input: Value::Null,
            output: None,
            failure: None,
            started_at: 0,
            cancel: None,
            deadline_passed: false,
            stop: None,
            fatal: None,
            phase: None,
            phases_done: Vec::new(),
            aftermath: Vec::new(),
            vars: None,
            lock: LockStanding::None,
            lock_refused: None,
            undos: Vec::new(),
            undo_due: VecDeque::new(),
            release_due: VecDeque::new(),
            records: Vec::new(),
            frames: Vec::new(),
            paths: HashMap::new(),
            root: 0,
            ready: BTreeSet::new(),
            ready_inside: BTreeSet::new(),
            running: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            retries: BTreeSet::new(),
            looking: BTreeSet::new(),
            timers: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            uncertain: BTreeSet::new(),
            asked: BTreeSet::new(),
            locking: BTreeSet::new(),
            waiting_children: BTreeSet::new(),
            listening: BTreeSet::new(),
            mailbox: VecDeque::new(),
            due: BTreeSet::new(),
            stopping: BTreeSet::new(),
            later: BTreeMap::new(),
            locks_to_take: BTreeMap::new(),
            paused: None,
            paused_ms: 0,
            bounded_from: 0,
            floor: 0,
            newest_generation: 0,
            reused_vars: Map::new(),
            is_undoable: Arc::new(is_undoable),
            person_since: None,
            person_ms: 0,
            forgotten: Vec::new(),
            dependants: Arc::new(dependants),
            assigned: Arc::new(assigned.collect()),
            execution: json!({
                "id": execution_id, "workflow": workflow.name, "requested_by": requested_by,
            }),
            error: None,
            supposed: suppose::Supposed::default(),
            permits: permits::Permits::default(),
        };
        state.open_list(workflow, None, "", None, &workflow.main);
        state
    }

    /// Takes note of one more event, which happened at `at` (milliseconds since 1970).
    ///
    /// This is the only place where a status changes.
    ///
    /// # Errors
    /// When the event cannot follow the ones before it; the state is then of no use.
    pub fn apply(
        &mut self,
        workflow: &Workflow,
        event: &Event,
        at: i64,
    ) -> Result<(), UnexpectedEvent> {
        let retries = matches!(event, Event::ExecutionRetried { .. });
        if self.status.is_final() && !(retries && self.status == Status::Failed) {
            return Err(unexpected(event, "the execution has ended"));
        }
        if retries && !self.status.is_final() {
            return Err(unexpected(event, "the execution has not failed"));
        }
        if let Event::ExecutionStarted { input } = event {
            return self.start(event, input, at);
        }
        if self.status == Status::Pending {
            return Err(unexpected(event, "the execution has not started"));
        }
        match event.step() {
            Some(path) => self.apply_at(workflow, path, event, at)?,
            None => self.apply_to_execution(workflow, event, at)?,
        }
        self.count_waiting(at);
        if !self.status.is_final() {
            self.status = self.standing();
        } else if self.lock.is_wanted() {
            self.lock = LockStanding::None;
        }
        Ok(())
    }

    /// Takes note of an event that was written long ago, and forgets what nothing refers to any more, so that a long
    /// history needs no more memory than what is in flight.
    ///
    /// # Errors
    /// As for [`State::apply`].
    pub fn replay(
        &mut self,
        workflow: &Workflow,
        event: &Event,
        at: i64,
    ) -> Result<(), UnexpectedEvent> {
        self.apply(workflow, event, at)?;
        self.forget();
        Ok(())
    }

    fn start(&mut self, event: &Event, input: &Value, at: i64) -> Result<(), UnexpectedEvent> {
        if self.status != Status::Pending {
            return Err(unexpected(event, "the execution has started before"));
        }
        self.status = Status::Running;
        self.input = input.clone();
        self.started_at = at;
        self.bounded_from = at;
        self.execution["started_at"] = json!(at);
        Ok(())
    }

    fn apply_to_execution(
        &mut self,
        workflow: &Workflow,
        event: &Event,
        at: i64,
    ) -> Result<(), UnexpectedEvent> {
        match event {
            Event::VarsSet { values } => {
                self.vars = Some(Value::Object(values.clone()));
                self.take_reused_vars();
            }
            Event::ExecutionPaused { by, reason } => self.pause(by, reason.as_deref(), at),
            Event::ExecutionResumed { .. } => self.resume(at),
            Event::ExecutionRetried { .. } => self.reopen(workflow, event, at),
            Event::EventReceived { name, data, .. } => self.receive(name, data),
            Event::LockRequested { key, .. } => self.lock = LockStanding::Wanted(key.clone()),
            Event::LockGranted { key, .. } => {
                if self.lock != LockStanding::Wanted(key.clone()) {
                    return Err(unexpected(event, "the execution does not wait for that lock"));
                }
                self.lock = LockStanding::Held(key.clone());
            }
            Event::LockRefused { key, holder, .. } => {
                self.lock = LockStanding::None;
                self.lock_refused = Some(apply::lock_busy(key, holder));
                self.stop_frame(self.root, Cause::Ended, true);
            }
            Event::LockReleased { .. } => self.lock = LockStanding::None,
            Event::CancelRequested { by, reason } => {
                // Whoever is told to end does not wait to be told to go on.
                self.resume(at);
                self.cancelled(by, reason.as_deref());
            }
            Event::DeadlinePassed => {
                self.deadline_passed = true;
                self.stop_frame(self.root, Cause::TimedOut, true);
            }
            Event::PhaseStarted { phase, error } => self.start_phase(workflow, *phase, error),
            Event::ExecutionCompleted { output } => {
                self.output = Some(output.clone());
                self.status = Status::Completed;
            }
            Event::ExecutionFailed { step, error } => {
                self.failure = Some((step.clone(), error.clone()));
                self.status = Status::Failed;
            }
            Event::ExecutionCancelled { .. } => self.status = Status::Cancelled,
            _ => return Err(unexpected(event, "it is not about an execution")),
        }
        Ok(())
    }

    fn cancelled(&mut self, by: &str, reason: Option<&str>) {
        let is_first = self.cancel.is_none();
        match &self.phase {
            None => self.stop_frame(self.root, Cause::Ended, true),
            // What is cleaned up is cleaned up to the end. That somebody wanted it to stop is said there.
            Some((Phase::Undo | Phase::OnFailure, _)) if is_first => {
                let why = reason.map(|why| format!(": {why}")).unwrap_or_default();
                self.aftermath.push(format!("{by} asked for it to be cancelled{why}"));
            }
            Some((Phase::Undo | Phase::OnFailure, _)) => {}
            Some((Phase::OnCancel, _)) => return,
        }
        self.cancel.get_or_insert((by.to_owned(), reason.map(str::to_owned)));
    }

    /// The steps that waited for the event longest take it, or it is kept.
    fn receive(&mut self, name: &str, data: &Value) {
        let listens = |id: usize| self.record(id).listens.as_ref();
        let mut waiting = self.listening.iter().map(|(_, id)| *id);
        let taker = waiting.find(|id| listens(*id).is_some_and(|(event, _)| event == name));
        let data = Arc::new(data.clone());
        match taker {
            Some(id) => self.deliver(id, data, false),
            None => {
                if MAILBOX <= self.mailbox.len() {
                    self.mailbox.pop_front();
                }
                self.mailbox.push_back((name.to_owned(), data));
            }
        }
    }

    fn start_phase(&mut self, workflow: &Workflow, phase: Phase, error: &StepError) {
        if let Some((before, _)) = self.phase.take() {
            self.phases_done.push(before);
        }
        self.close_frame(self.root);
        let mut shown = step::error_value(error);
        let stopped = self.stop.as_ref().map(|(step, _, _)| step);
        let failed = self.fatal.as_ref().map(|(step, _)| step);
        if let Some(step) = stopped.or(failed.filter(|_| phase != Phase::OnCancel)) {
            shown["step"] = json!(step);
        }
        self.error = Some(shown);
        self.phase = Some((phase, error.clone()));
        self.root = match phase {
            Phase::Undo => self.open_undos(workflow),
            Phase::OnFailure => self.open_list(workflow, None, "", None, &workflow.on_failure),
            Phase::OnCancel => self.open_list(workflow, None, "", None, &workflow.on_cancel),
        };
    }

    /// The time of persons, and of those who hold a lock, counts against no bound.
    fn count_waiting(&mut self, at: i64) {
        let nobody = self.uncertain.is_empty()
            && self.asked.is_empty()
            && self.locking.is_empty()
            && self.waiting_children.is_empty()
            && self.paused.is_none()
            && !self.lock.is_wanted();
        match (nobody, self.person_since) {
            (false, None) => self.person_since = Some(at),
            (true, Some(since)) => {
                // Clocks are set back now and then; nobody gains or loses time by that.
                self.person_ms += (at - since).max(0);
                self.person_since = None;
            }
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// Whether a person, a lock or the end of a pause is waited for, here or in an execution that a step is: its time
    /// counts against no bound.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.person_since.is_some()
    }

    /// How long persons and locks have taken until now, in milliseconds.
    pub(crate) fn waited_ms(&self, now: i64) -> i64 {
        self.person_ms + self.person_since.map_or(0, |since| (now - since).max(0))
    }

    /// Whether a step that holds this one is under way again, and waits for what is done again before it, or has not its
    /// lock again.
    pub(crate) fn is_kept_waiting(&self, id: usize) -> bool {
        let holder = |id: &usize| self.frame(self.record(*id).frame)?.owner;
        std::iter::successors(holder(&id), holder).any(|id| {
            0 < self.record(id).missing
                || self.locks_to_take.contains_key(&id)
                || self.locking.contains(&id)
        })
    }

    /// Whether a step that is under way again asks for its lock again.
    pub(crate) fn may_take_lock(&self, id: usize) -> bool {
        self.record(id).missing == 0 && !self.is_kept_waiting(id)
    }

    fn standing(&self) -> Status {
        if self.is_paused() {
            return Status::Paused;
        }
        let waits_for_lock = self.lock.is_wanted();
        let mut ready = self.ready.iter().chain(&self.ready_inside);
        let idle = self.running.is_empty()
            && self.unsettled.is_empty()
            && (waits_for_lock || ready.all(|id| self.is_kept_waiting(*id)));
        let parked = waits_for_lock
            || !self.retries.is_empty()
            || !self.looking.is_empty()
            || !self.timers.is_empty()
            || !self.uncertain.is_empty()
            || !self.asked.is_empty()
            || !self.locking.is_empty()
            || !self.listening.is_empty();
        if idle && parked { Status::Waiting } else { Status::Running }
    }

    /// A step by its path. What is of no more use to the execution is forgotten: the instances of a `forEach` that
    /// have ended, and the iterations before the last.
    #[must_use]
    pub fn step(&self, path: &str) -> Option<&StepState> {
        self.paths.get(path).map(|id| self.record(*id))
    }

    /// The paths of the steps that a person has to settle, in the order in which they were reached.
    #[must_use]
    pub fn uncertain_steps(&self) -> Vec<&str> {
        self.uncertain.iter().map(|id| &*self.record(*id).path).collect()
    }

    /// The paths of the steps whose call, or execution of another workflow, is out.
    #[must_use]
    pub fn running_steps(&self) -> Vec<&str> {
        let out = self.running.iter().chain(&self.looking);
        out.map(|id| &*self.record(*id).path).collect()
    }

    /// Whether the call of a record, or its execution of another workflow, is out.
    pub(crate) fn is_out(&self, id: usize) -> bool {
        self.running.contains(&id) || self.looking.contains(&id)
    }

    /// Whether a person may settle the step now: it is uncertain, and something depends on it.
    #[must_use]
    pub fn may_be_resolved(&self, path: &str) -> bool {
        self.paths.get(path).is_some_and(|id| self.uncertain.contains(id))
    }

    /// What persons are asked, with the path of the step that asks.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &Request)> {
        let asked = self.asked.iter().map(|id| self.record(*id));
        asked.filter_map(|step| Some((&*step.path, step.request.as_ref()?)))
    }

    /// The events that steps wait for, with the path of the step.
    pub fn awaited_events(&self) -> impl Iterator<Item = (&str, &str)> {
        let listening = self.listening.iter().map(|(_, id)| self.record(*id));
        listening.filter_map(|step| Some((&*step.path, step.listens.as_ref()?.0.as_str())))
    }

    /// The keys of the locks that are waited for, with the path of the step; without one for the whole execution.
    pub fn awaited_locks(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let whole = Some(&self.lock).filter(|lock| lock.is_wanted());
        let whole = whole.and_then(|lock| Some((None, lock.key()?)));
        let steps = self.locking.iter().map(|id| self.record(*id));
        let steps = steps.filter_map(|step| Some((Some(&*step.path), step.lock.key()?)));
        whole.into_iter().chain(steps)
    }

    /// Whether the lock is waited for, by that step or by the whole execution.
    #[must_use]
    pub fn awaits_lock(&self, step: Option<&str>, key: &str) -> bool {
        let standing = match step {
            None => Some(&self.lock),
            Some(path) => self.step(path).map(|step| &step.lock),
        };
        standing.is_some_and(|lock| lock.is_wanted() && lock.key() == Some(key))
    }

    /// A record by its number.
    pub(crate) fn record(&self, id: usize) -> &StepState {
        self.records[id].as_deref().unwrap_or(&NOTHING)
    }

    fn record_mut(&mut self, id: usize) -> &mut StepState {
        self.records[id].get_or_insert_with(Box::default)
    }

    /// How many records and lists there are.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.records.iter().flatten().count() + self.frames.iter().flatten().count()
    }

    pub(crate) fn frame(&self, id: usize) -> Option<&Frame> {
        self.frames.get(id)?.as_ref()
    }

    pub(crate) fn record_at(&self, path: &str) -> Option<usize> {
        self.paths.get(path).copied()
    }

    /// Forgets what nothing refers to any more. What was just written is kept until the next turn, so that whoever
    /// writes it down can look.
    pub(crate) fn forget(&mut self) {
        if !self.undo_due.is_empty() || !self.release_due.is_empty() {
            // What is owed is read from the records: whoever wrote the history so far may have stopped before it.
            return;
        }
        for gone in std::mem::take(&mut self.forgotten) {
            match gone {
                Gone::Record(id) => self.forget_record(id),
                Gone::Frame(id) => self.forget_frame(id),
            }
        }
    }

    fn forget_frame(&mut self, frame: usize) {
        let Some(gone) = self.frames[frame].take() else { return };
        self.due.remove(&frame);
        self.stopping.remove(&frame);
        for id in gone.records {
            self.forget_record(id);
        }
    }

    fn forget_record(&mut self, id: usize) {
        let Some(gone) = self.records[id].take() else { return };
        // A step that is asked about twice leaves its path to the later call.
        if self.paths.get(&gone.path) == Some(&id) {
            self.paths.remove(&gone.path);
        }
        if let Some(id) =
            gone.verifying.or_else(|| self.record_at(&format!("{}.verify", gone.path)))
        {
            self.forget_record(id);
        }
        for frame in gone.inner.into_iter().chain(gone.previous) {
            self.forget_frame(frame);
        }
    }
}

/// Stands in where a record was forgotten; nothing is ever decided about it.
static NOTHING: std::sync::LazyLock<StepState> = std::sync::LazyLock::new(|| StepState {
    status: StepStatus::Cancelled,
    ..StepState::default()
});

/// The steps that a group begins with.
pub(crate) fn list_of(group: &Group, otherwise: bool) -> &[usize] {
    if otherwise { &group.otherwise } else { &group.steps }
}

/// The group that a step is, if it is one.
pub(crate) fn group_of(workflow: &Workflow, definition: usize) -> Option<&Group> {
    match &workflow.steps[definition].kind {
        Kind::Group(group) => Some(group),
        _ => None,
    }
}

fn unexpected(event: &Event, reason: &str) -> UnexpectedEvent {
    UnexpectedEvent { kind: event.kind(), reason: reason.to_owned() }
}
