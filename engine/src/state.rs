//! Where an execution stands: its history, folded.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    Workflow,
    event::{Again, Event, Resolution, StepError},
    expr::Root,
};

#[cfg(test)]
mod tests;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Status {
    /// Accepted, not yet begun.
    #[default]
    Pending,
    /// Something is being done.
    Running,
    /// Nothing is being done until a time comes or somebody says something.
    Waiting,
    /// Told not to start anything new.
    Paused,
    /// Did what it should.
    Completed,
    /// Did not.
    Failed,
    /// Told to stop.
    Cancelled,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StepStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Its call is out.
    Running,
    /// It is called again later.
    Waiting,
    /// It has its result.
    Completed,
    /// No attempt is left.
    Failed,
    /// Its condition was false.
    Skipped,
    /// The execution ended first.
    Cancelled,
    /// Its call may have happened; a person has to say.
    Uncertain,
}

impl Status {
    /// As it is written in rows and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Paused => "paused",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can happen to the execution any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

impl StepStatus {
    /// As it is written in rows and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Running => "running",
            StepStatus::Waiting => "waiting",
            StepStatus::Completed => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
            StepStatus::Cancelled => "cancelled",
            StepStatus::Uncertain => "uncertain",
        }
    }

    fn is_final(self) -> bool {
        match self {
            StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => true,
            StepStatus::Pending
            | StepStatus::Running
            | StepStatus::Waiting
            | StepStatus::Uncertain => false,
        }
    }
}

/// One step of one execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts begun in this generation.
    pub attempts: u32,
    /// Calls that went out in this generation; repetitions of a lost one count too.
    pub calls: u32,
    /// Rises when a person has the step called again; part of the idempotency key.
    pub generation: u32,
    /// What the tool is given, once it is known.
    pub params: Option<Arc<Value>>,
    /// The execution that its last attempt is, where it runs a workflow.
    pub child: Option<String>,
    /// The result.
    pub output: Option<Arc<Value>>,
    /// The last error.
    pub error: Option<StepError>,
    /// When the first call of this generation went out, in milliseconds since 1970.
    pub started_at: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// Why the next call goes out.
    pub(crate) again: Option<Again>,
    /// Set when the last call was lost; whether it is harmless to repeat.
    pub(crate) lost: Option<bool>,
    /// How often a lost call was repeated in this generation.
    pub(crate) repeats: u32,
    /// When it is called again.
    timer: Option<i64>,
    /// Since when a person has had to settle it.
    pub(crate) uncertain_since: Option<i64>,
    /// `error` as expressions see it.
    pub(crate) error_value: Option<Value>,
}

/// Where an execution stands: its history, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where the whole stands.
    pub status: Status,
    /// What it was given.
    pub input: Value,
    /// What it resulted in.
    pub output: Option<Value>,
    /// Why it failed: the step, if it was one, and the error.
    pub failure: Option<(Option<String>, StepError)>,
    /// When it started, in milliseconds since 1970.
    pub started_at: i64,
    /// Who asked for it to end, and why.
    pub cancel: Option<(String, Option<String>)>,
    /// `config.timeoutMs` is over.
    pub(crate) deadline_passed: bool,
    /// In the order of [`Workflow::steps`].
    pub(crate) steps: Vec<StepState>,
    index: HashMap<String, usize>,
    assigned: HashMap<String, usize>,
    /// How many of a step's needs have not ended.
    missing: Vec<usize>,
    dependants: Vec<Vec<usize>>,
    /// Pending steps whose needs have ended.
    pub(crate) ready: BTreeSet<usize>,
    /// Steps whose call is out.
    pub(crate) running: BTreeSet<usize>,
    /// Steps whose last attempt is over and asks for a decision.
    pub(crate) unsettled: BTreeSet<usize>,
    /// When steps are called again.
    pub(crate) timers: BTreeSet<(i64, usize)>,
    /// Steps that a person has to settle.
    pub(crate) uncertain: BTreeSet<usize>,
    /// Since when a person has had to settle something.
    pub(crate) person_since: Option<i64>,
    /// How long persons took, before that; in milliseconds.
    pub(crate) person_ms: i64,
    /// Steps that have not ended.
    pub(crate) open: usize,
    /// The first step that failed and takes the execution with it.
    pub(crate) fatal: Option<usize>,
    /// `execution` as expressions see it.
    execution: Value,
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
        let count = workflow.steps.len();
        let mut dependants = vec![Vec::new(); count];
        for (index, step) in workflow.steps.iter().enumerate() {
            for need in &step.needs {
                dependants[*need].push(index);
            }
        }
        let names = workflow.steps.iter().enumerate();
        let assigned =
            names.clone().filter_map(|(index, step)| Some((step.assign.clone()?, index)));
        State {
            status: Status::Pending,
            input: Value::Null,
            output: None,
            failure: None,
            started_at: 0,
            cancel: None,
            deadline_passed: false,
            steps: vec![StepState::default(); count],
            assigned: assigned.collect(),
            index: names.map(|(index, step)| (step.name.clone(), index)).collect(),
            missing: workflow.steps.iter().map(|step| step.needs.len()).collect(),
            dependants,
            ready: BTreeSet::new(),
            running: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            timers: BTreeSet::new(),
            uncertain: BTreeSet::new(),
            person_since: None,
            person_ms: 0,
            open: count,
            fatal: None,
            execution: json!({
                "id": execution_id, "workflow": workflow.name, "requested_by": requested_by,
            }),
        }
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
        if self.status.is_final() {
            return Err(unexpected(event, "the execution has ended"));
        }
        if let Event::ExecutionStarted { input } = event {
            return self.start(event, input, at);
        }
        if self.status == Status::Pending {
            return Err(unexpected(event, "the execution has not started"));
        }
        match event.step() {
            Some(step) => {
                let Some(&index) = self.index.get(step) else {
                    return Err(unexpected(event, &format!("there is no step {step}")));
                };
                self.apply_to_step(workflow, index, event, at)?;
                self.count_waiting(at);
            }
            None => self.apply_to_execution(event),
        }
        if !self.status.is_final() {
            self.status = self.standing();
        }
        Ok(())
    }

    fn start(&mut self, event: &Event, input: &Value, at: i64) -> Result<(), UnexpectedEvent> {
        if self.status != Status::Pending {
            return Err(unexpected(event, "the execution has started before"));
        }
        self.status = Status::Running;
        self.input = input.clone();
        self.started_at = at;
        self.execution["started_at"] = json!(at);
        self.ready = (0..self.steps.len()).filter(|index| self.missing[*index] == 0).collect();
        Ok(())
    }

    fn apply_to_execution(&mut self, event: &Event) {
        match event {
            Event::CancelRequested { by, reason } => {
                self.cancel.get_or_insert((by.clone(), reason.clone()));
            }
            Event::DeadlinePassed => self.deadline_passed = true,
            Event::ExecutionCompleted { output } => {
                self.output = Some(output.clone());
                self.status = Status::Completed;
            }
            Event::ExecutionFailed { step, error } => {
                self.failure = Some((step.clone(), error.clone()));
                self.status = Status::Failed;
            }
            Event::ExecutionCancelled { .. } => self.status = Status::Cancelled,
            _ => {}
        }
    }

    fn apply_to_step(
        &mut self,
        workflow: &Workflow,
        index: usize,
        event: &Event,
        at: i64,
    ) -> Result<(), UnexpectedEvent> {
        if let Some(reason) = self.objection(index, event) {
            return Err(unexpected(event, reason));
        }
        self.leave(index);
        let step = &mut self.steps[index];
        match event {
            Event::AttemptStarted { attempt, call, params, child, .. } => {
                step.child.clone_from(child);
                step.status = StepStatus::Running;
                step.attempts = *attempt;
                step.calls = *call;
                step.again = None;
                step.lost = None;
                step.started_at.get_or_insert(at);
                if let Some(params) = params {
                    step.params = Some(Arc::new(params.clone()));
                }
                self.running.insert(index);
            }
            Event::AttemptSucceeded { output, .. } => {
                self.complete(index, output, at);
            }
            Event::AttemptFailed { error, .. } => {
                step.set_error(error);
                step.lost = None;
                self.unsettled.insert(index);
            }
            Event::AttemptUncertain { error, repeatable, .. } => {
                step.set_error(error);
                step.lost = Some(*repeatable);
                self.unsettled.insert(index);
            }
            Event::CallScheduled { again, at, .. } => {
                step.status = StepStatus::Waiting;
                step.again = Some(*again);
                step.repeats += u32::from(*again == Again::SameAttempt);
                step.timer = Some(*at);
                self.timers.insert((*at, index));
            }
            Event::StepSkipped { .. } => self.end(index, StepStatus::Skipped, at),
            Event::StepFailed { error, .. } => {
                step.set_error(error);
                self.fail(workflow, index, at);
            }
            Event::StepUncertain { error, .. } => {
                step.set_error(error);
                step.status = StepStatus::Uncertain;
                step.uncertain_since = Some(at);
                self.uncertain.insert(index);
            }
            Event::StepCancelled { .. } => self.end(index, StepStatus::Cancelled, at),
            Event::StepResolved { resolution, .. } => self.resolve(workflow, index, resolution, at),
            _ => {}
        }
        Ok(())
    }

    /// Why an event cannot be about this step as it stands.
    fn objection(&self, index: usize, event: &Event) -> Option<&'static str> {
        let status = self.steps[index].status;
        if status.is_final() {
            return Some("the step has ended");
        }
        let is_ready = self.ready.contains(&index);
        let (fits, otherwise) = match event {
            Event::AttemptStarted { .. } => {
                (is_ready || status == StepStatus::Waiting, "the step may not be called now")
            }
            Event::AttemptSucceeded { .. }
            | Event::AttemptFailed { .. }
            | Event::AttemptUncertain { .. } => {
                (self.running.contains(&index), "no call of the step is out")
            }
            Event::CallScheduled { .. } | Event::StepUncertain { .. } => {
                (self.unsettled.contains(&index), "no attempt of the step has just ended")
            }
            Event::StepSkipped { .. } => (is_ready, "the step's turn has not come"),
            Event::StepFailed { .. } | Event::StepCancelled { .. } => {
                (!self.running.contains(&index), "a call of the step is out")
            }
            Event::StepResolved { .. } => {
                (status == StepStatus::Uncertain, "the step is not uncertain")
            }
            _ => (false, "it is not about a step"),
        };
        (!fits).then_some(otherwise)
    }

    /// Takes a step out of every set; whatever it enters next, the event says.
    fn leave(&mut self, index: usize) {
        self.ready.remove(&index);
        self.running.remove(&index);
        self.unsettled.remove(&index);
        if let Some(at) = self.steps[index].timer.take() {
            self.timers.remove(&(at, index));
        }
        self.uncertain.remove(&index);
    }

    /// A person's time counts against no bound.
    fn count_waiting(&mut self, at: i64) {
        match (self.uncertain.is_empty(), self.person_since) {
            (false, None) => self.person_since = Some(at),
            (true, Some(since)) => {
                // Clocks are set back now and then; nobody gains or loses time by that.
                self.person_ms += (at - since).max(0);
                self.person_since = None;
            }
            (true, None) | (false, Some(_)) => {}
        }
    }

    fn complete(&mut self, index: usize, output: &Value, at: i64) {
        self.steps[index].output = Some(Arc::new(output.clone()));
        self.end(index, StepStatus::Completed, at);
    }

    fn fail(&mut self, workflow: &Workflow, index: usize, at: i64) {
        if workflow.steps[index].on_error == crate::OnError::Fail {
            self.fatal.get_or_insert(index);
        }
        self.end(index, StepStatus::Failed, at);
    }

    fn resolve(&mut self, workflow: &Workflow, index: usize, resolution: &Resolution, at: i64) {
        match resolution {
            Resolution::Completed { output } => self.complete(index, output, at),
            Resolution::Retry => {
                let generation = self.steps[index].generation + 1;
                self.steps[index] = StepState { generation, ..StepState::default() };
                self.ready.insert(index);
            }
            Resolution::Failed { message } => {
                self.steps[index].set_error(&StepError::permanent("resolved_as_failed", message));
                self.fail(workflow, index, at);
            }
        }
    }

    fn end(&mut self, index: usize, status: StepStatus, at: i64) {
        self.steps[index].status = status;
        self.steps[index].ended_at = Some(at);
        self.open -= 1;
        for dependant in &self.dependants[index] {
            self.missing[*dependant] -= 1;
            if self.missing[*dependant] == 0 && self.steps[*dependant].status == StepStatus::Pending
            {
                self.ready.insert(*dependant);
            }
        }
    }

    fn standing(&self) -> Status {
        let idle = self.running.is_empty() && self.unsettled.is_empty() && self.ready.is_empty();
        let parked = !self.timers.is_empty() || !self.uncertain.is_empty();
        if idle && parked { Status::Waiting } else { Status::Running }
    }

    /// A step by its name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepState> {
        self.index.get(name).map(|index| &self.steps[*index])
    }

    /// Whether a reference begins at the result of a step that was skipped.
    pub(crate) fn was_skipped(&self, root: &Root) -> bool {
        let index = match root {
            Root::Step(name) => self.index.get(name),
            Root::Name(name) => self.assigned.get(name),
            Root::Status(_) | Root::Error(_) => None,
        };
        index.is_some_and(|index| self.steps[*index].status == StepStatus::Skipped)
    }

    /// The names of the steps that a person has to settle, in the order of the document.
    #[must_use]
    pub fn uncertain_steps<'w>(&self, workflow: &'w Workflow) -> Vec<&'w str> {
        self.uncertain.iter().map(|index| workflow.steps[*index].name.as_str()).collect()
    }

    /// The names of the steps whose call is out, in the order of the document.
    #[must_use]
    pub fn running_steps<'w>(&self, workflow: &'w Workflow) -> Vec<&'w str> {
        self.running.iter().map(|index| workflow.steps[*index].name.as_str()).collect()
    }

    /// The requests that are open, each with the path of the step that asks.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &crate::Request)> {
        std::iter::empty()
    }

    /// The events that are waited for, each with the path of the step that waits.
    pub fn waiting_events(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }

    /// Whether a lock was asked for and is neither held nor refused.
    #[must_use]
    pub fn awaits_lock(&self, _step: Option<&str>, _key: &str) -> bool {
        true
    }

    /// What expressions see at `now`.
    pub(crate) fn names(&self, now: i64) -> StateNames<'_> {
        StateNames { state: self, now }
    }
}

impl StepState {
    fn set_error(&mut self, error: &StepError) {
        self.error_value = Some(json!({ "code": error.code, "message": error.message }));
        self.error = Some(error.clone());
    }
}

/// What expressions see of a state.
pub(crate) struct StateNames<'s> {
    state: &'s State,
    now: i64,
}

impl crate::expr::Names for StateNames<'_> {
    fn name(&self, name: &str) -> Option<&Value> {
        match name {
            "input" => Some(&self.state.input),
            "execution" => Some(&self.state.execution),
            "repo" => self.state.input.get("repo"),
            assigned => self.state.steps[*self.state.assigned.get(assigned)?].output.as_deref(),
        }
    }

    fn step(&self, name: &str) -> Option<&Value> {
        self.state.step(name)?.output.as_deref()
    }

    fn status(&self, step: &str) -> Option<&str> {
        self.state.step(step).map(|step| step.status.as_str())
    }

    fn error(&self, step: &str) -> Option<&Value> {
        self.state.step(step)?.error_value.as_ref()
    }

    fn now(&self) -> i64 {
        self.now
    }
}

fn unexpected(event: &Event, reason: &str) -> UnexpectedEvent {
    UnexpectedEvent { kind: event.kind(), reason: reason.to_owned() }
}
