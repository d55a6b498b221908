//! The one decision the engine makes: what to do next.

mod begin;
mod ending;
mod frames;
mod looks;
mod requests;
mod settle;

use std::sync::Arc;

use serde_json::Value;

use crate::{
    State, Step, ToolName, Workflow,
    event::{Event, SecretSlot, StepError},
    expr,
    state::{Role, Scope, StepState, UnexpectedEvent},
};

#[cfg(test)]
mod tests;

/// How long a person has to settle an uncertain step, in milliseconds: 7 days.
const ANSWER_MS: i64 = 7 * 24 * 3_600_000;

/// How many events one turn may lead to before they are written; what is left is the next turn's.
const MANY_EVENTS: usize = 1_000;

/// How many bytes the values of its events may have before they are written, about.
const MANY_BYTES: usize = 8 * 1024 * 1024;

/// Something to do. Its outcome, if it has one, comes back as an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write this down; nothing else happens.
    Record(Event),
    /// Write down that the attempt starts, then call the tool.
    CallTool(Call),
    /// Call the tool of an attempt that has started, to look once more. Nothing is written down: a look that is lost is
    /// simply made again.
    Look(Call),
    /// Write down that the attempt starts, together with the execution that it is.
    StartChild(Child),
    /// Have the tool, or the execution, of a running step stop.
    CancelCall {
        /// The step.
        step: String,
    },
}

/// One call to one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The step.
    pub step: String,
    /// Counts the attempts that `retry` allows, from 1.
    pub attempt: u32,
    /// Counts the times the call went out, from 1.
    pub call: u32,
    /// The tool.
    pub tool: ToolName,
    /// What it is given; an object.
    pub params: Arc<Value>,
    /// Where a secret belongs in them.
    pub secrets: Vec<SecretSlot>,
    /// The binding of the request by which the call was approved, if it had to be.
    pub approval: Option<String>,
    /// Whether the author says that repeating the call is harmless, whatever its tool says.
    pub is_repeatable: bool,
    /// The same over all attempts of a generation: `<execution>/<step>#<instance>~<generation>`.
    pub idempotency_key: String,
    /// When the first call of this generation went out, in milliseconds since 1970.
    pub first_started_at: i64,
    /// When the step's or the execution's time is over, in milliseconds since 1970.
    pub deadline: Option<i64>,
}

/// One execution of another workflow, begun by a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// The step.
    pub step: String,
    /// `exec_…`; the same however often the attempt is begun.
    pub execution_id: String,
    /// The workflow's name.
    pub workflow: String,
    /// What it is given; an object.
    pub input: Arc<Value>,
    /// Whether it failed before, and goes on.
    pub goes_on: bool,
}

/// What one turn decided: everything that is written in one commit, and what is done after it.
#[derive(Debug, Default)]
pub struct Turn {
    /// In order; the last ones may end the execution.
    pub events: Vec<Event>,
    /// Calls to make once the events are safe; looks among them.
    pub calls: Vec<Call>,
    /// Executions of other workflows to begin, in the same commit as the events.
    pub children: Vec<Child>,
    /// Steps whose running call, or execution of another workflow, is to stop.
    pub cancels: Vec<String>,
    /// Steps whose next call waits for a permit, and the tool that it calls.
    pub held_back: Vec<(String, ToolName)>,
    /// When there is something to do again without anybody saying so, in milliseconds since 1970.
    pub wake_at: Option<i64>,
    /// Whether there is more to decide at once, as soon as this is written.
    pub is_unfinished: bool,
}

/// Takes note of what happened, and of everything that follows from it without waiting.
///
/// # Errors
/// When an event cannot follow the history.
pub fn advance(
    workflow: &Workflow,
    state: &mut State,
    execution_id: &str,
    happened: Vec<Event>,
    now: i64,
) -> Result<Turn, UnexpectedEvent> {
    state.forget();
    let mut turn = Turn::default();
    for event in happened {
        state.apply(workflow, &event, now)?;
        turn.events.push(event);
    }
    turn.go_on(workflow, state, execution_id, now)?;
    Ok(turn)
}

/// What more follows in a turn that is not written yet: permits came meanwhile. Nothing that it was about is forgotten.
///
/// # Errors
/// As [`advance`].
pub fn advance_further(
    workflow: &Workflow,
    state: &mut State,
    execution_id: &str,
    now: i64,
) -> Result<Turn, UnexpectedEvent> {
    let mut turn = Turn::default();
    turn.go_on(workflow, state, execution_id, now)?;
    Ok(turn)
}

impl Turn {
    /// Decides until nothing follows any more without waiting.
    fn go_on(
        &mut self,
        workflow: &Workflow,
        state: &mut State,
        execution_id: &str,
        now: i64,
    ) -> Result<(), UnexpectedEvent> {
        let (mut counted, mut bytes) = (0, 0);
        loop {
            self.cancels.clear();
            self.held_back.clear();
            let mut moved = false;
            for command in decide(workflow, state, execution_id, now) {
                moved |= self.take(workflow, state, command, now)?;
            }
            if !moved {
                break;
            }
            bytes += self.events[counted..].iter().map(Event::bytes).sum::<usize>();
            counted = self.events.len();
            if MANY_EVENTS <= self.events.len() || MANY_BYTES <= bytes {
                self.is_unfinished = !state.status.is_final();
                break;
            }
        }
        self.wake_at = match self.is_unfinished {
            true => Some(now),
            false => Decider { workflow, state, execution_id, now }.wake_at(),
        };
        Ok(())
    }

    /// Takes note of a command; whether it changed anything.
    fn take(
        &mut self,
        workflow: &Workflow,
        state: &mut State,
        command: Command,
        now: i64,
    ) -> Result<bool, UnexpectedEvent> {
        let event = match command {
            Command::Record(event) => event,
            Command::CallTool(call) | Command::Look(call)
                if !state.may_begin(&call.step, &call.tool) =>
            {
                self.held_back.push((call.step, call.tool));
                return Ok(false);
            }
            Command::CallTool(call) => {
                let event = started(state, &call);
                self.calls.push(call);
                event
            }
            Command::StartChild(child) => {
                let event = begun(state, &child);
                self.children.push(child);
                event
            }
            Command::Look(call) => {
                state.look_goes_out(&call.step);
                self.calls.push(call);
                return Ok(true);
            }
            Command::CancelCall { step } => {
                self.cancels.push(step);
                return Ok(false);
            }
        };
        state.apply(workflow, &event, now)?;
        self.events.push(event);
        Ok(true)
    }
}

/// The params are written with the first call only: later ones send exactly the same.
fn started(state: &State, call: &Call) -> Event {
    let standing = state.step(&call.step).filter(|step| !step.status.is_final());
    let known = standing.is_some_and(|step| step.params.is_some());
    let params = (!known).then(|| Value::clone(&call.params));
    let secrets = if known { Vec::new() } else { call.secrets.clone() };
    Event::AttemptStarted {
        step: call.step.clone(),
        attempt: call.attempt,
        call: call.call,
        params,
        secrets,
        child: None,
    }
}

fn begun(state: &State, child: &Child) -> Event {
    let standing = state.step(&child.step);
    let known = standing.is_some_and(|step| step.params.is_some());
    let attempt = standing.map_or(0, |step| step.attempts) + 1;
    Event::AttemptStarted {
        step: child.step.clone(),
        attempt,
        call: standing.map_or(0, |step| step.calls) + 1,
        params: (!known).then(|| Value::clone(&child.input)),
        secrets: Vec::new(),
        child: Some(child.execution_id.clone()),
    }
}

/// Says what to do next, given everything that has happened so far.
///
/// Commands may depend on each other: carry them out in order, and ask again.
#[must_use]
pub fn decide(workflow: &Workflow, state: &State, execution_id: &str, now: i64) -> Vec<Command> {
    if state.status.is_final() || state.status == crate::Status::Pending {
        return Vec::new();
    }
    Decider { workflow, state, execution_id, now }.decide()
}

/// What a decision is made from.
struct Decider<'d> {
    workflow: &'d Workflow,
    state: &'d State,
    execution_id: &'d str,
    now: i64,
}

impl Decider<'_> {
    fn decide(&self) -> Vec<Command> {
        let owed = self.owed();
        if !owed.is_empty() {
            return owed;
        }
        if self.state.is_paused() {
            return self.settle_in_pause();
        }
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            return vec![Command::Record(Event::DeadlinePassed)];
        }
        // What has ended comes first: it may be the end of the execution, and then nothing new starts.
        let settled = self.settle();
        if !settled.is_empty() {
            return settled;
        }
        let (ended, cancels) = self.look_at_frames();
        let mut commands = if ended.is_empty() { self.go_on() } else { ended };
        commands.extend(cancels);
        commands
    }

    /// What is known is written down; nothing is called, and nothing is begun.
    fn settle_in_pause(&self) -> Vec<Command> {
        let mut settled = self.settle();
        settled.retain(|command| matches!(command, Command::Record(_)));
        settled
    }

    fn go_on(&self) -> Vec<Command> {
        if let Some(end) = self.end_of_list() {
            return vec![end];
        }
        let over = self.times_that_are_over();
        if !over.is_empty() {
            return over;
        }
        let is_stopping = self.root().is_some_and(|frame| frame.stopping.is_some());
        if is_stopping {
            return Vec::new();
        }
        if let Some(first) = self.prepare_execution().filter(|_| self.state.phase.is_none()) {
            return vec![first];
        }
        if self.state.lock.is_wanted() {
            return Vec::new();
        }
        let locks = self.locks_to_take();
        if !locks.is_empty() {
            return locks;
        }
        self.start()
    }

    /// What follows from an end that was written down, and nothing else: compensation, and locks that are free.
    fn owed(&self) -> Vec<Command> {
        let undos = self.state.undo_due.iter().map(|id| self.register_undo(*id));
        let released = self.state.release_due.iter().filter_map(|id| {
            let step = self.state.record(*id);
            let key = step.lock.key()?.to_owned();
            Some(Event::LockReleased { step: Some(step.path.to_string()), key })
        });
        // Who goes no further does not stand in a queue.
        let stops = self.root().is_some_and(|frame| frame.stopping.is_some());
        let whole = self.state.lock.key().filter(|_| stops && self.state.lock.is_wanted());
        let whole = whole.map(|key| Event::LockReleased { step: None, key: key.to_owned() });
        undos.chain(released).chain(whole).map(Command::Record).collect()
    }

    fn register_undo(&self, id: usize) -> Event {
        let step = self.state.record(id);
        let definition = &self.workflow.steps[step.definition];
        let scope = Scope { result: step.output.as_deref(), ..self.scope(id) };
        let undo = definition.undo.as_ref();
        let evaluated = undo.map(|undo| self.evaluated(id, &undo.params, scope));
        // What cannot be computed is said when it is needed.
        let (params, secrets) = evaluated.and_then(Result::ok).unwrap_or_default();
        let nobody = ToolName { server: String::new(), tool: String::new() };
        Event::UndoRegistered {
            step: step.path.to_string(),
            tool: undo.map_or(nobody, |undo| undo.tool.clone()),
            params: Arc::unwrap_or_clone(params),
            secrets,
        }
    }

    fn step(&self, id: usize) -> &Step {
        &self.workflow.steps[self.state.record(id).definition]
    }

    fn scope(&self, id: usize) -> Scope<'static> {
        self.state.scope_of(id, self.now)
    }

    fn root(&self) -> Option<&crate::state::Frame> {
        self.state.frame(self.state.root)
    }

    /// Whether the list that a step is in goes no further.
    fn is_stopping(&self, id: usize) -> bool {
        let frame = self.state.frame(self.state.record(id).frame);
        frame.is_some_and(|frame| frame.stopping.is_some())
    }

    fn idempotency_key(&self, id: usize) -> String {
        let step = self.state.record(id);
        let (path, instance) = step.key_path();
        format!("{}/{path}#{instance}~{}", self.execution_id, step.generation)
    }

    /// The tool that a record calls.
    fn tool(&self, id: usize) -> Option<&ToolName> {
        let definition = self.step(id);
        match self.state.record(id).role {
            Role::Step | Role::Instance(_) => definition.kind.tool(),
            Role::Verify(_) => definition.verify.as_ref().map(|verify| &verify.tool),
            Role::Undo => definition.undo.as_ref().map(|undo| &undo.tool),
        }
    }
}

fn expression_error(place: &str, err: &expr::Error) -> StepError {
    StepError::permanent("expression", format!("{place}: {err}"))
}

fn last_error(standing: &StepState) -> StepError {
    let error = standing.error.clone();
    error.unwrap_or_else(|| StepError::permanent("failed", "the attempt failed"))
}

fn failed(path: &str, error: StepError) -> Command {
    Command::Record(Event::StepFailed { step: path.to_owned(), error })
}
