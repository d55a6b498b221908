//! The one decision the engine makes: what to do next.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    State, Step, ToolName, Workflow,
    event::{Again, Event, SecretSlot, StepError},
    retry,
    state::{StepState, StepStatus, UnexpectedEvent},
};

#[cfg(test)]
mod tests;

/// How long a person has to settle an uncertain step, in milliseconds: 7 days.
const ANSWER_MS: i64 = 7 * 24 * 3_600_000;

/// Something to do. Its outcome, if it has one, comes back as an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write this down; nothing else happens.
    Record(Event),
    /// Write down that the attempt starts, then call the tool.
    CallTool(Call),
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
}

/// What one turn decided: everything that is written in one commit, and what is done after it.
#[derive(Debug, Default)]
pub struct Turn {
    /// In order; the last ones may end the execution.
    pub events: Vec<Event>,
    /// Calls to make once the events are safe.
    pub calls: Vec<Call>,
    /// Executions of other workflows to begin, in the same commit as the events.
    pub children: Vec<Child>,
    /// Steps whose running call, or execution of another workflow, is to stop.
    pub cancels: Vec<String>,
    /// When there is something to do again without anybody saying so, in milliseconds since 1970.
    pub wake_at: Option<i64>,
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
    let mut turn = Turn::default();
    for event in happened {
        state.apply(workflow, &event, now)?;
        turn.events.push(event);
    }
    loop {
        turn.cancels.clear();
        let mut moved = false;
        for command in decide(workflow, state, execution_id, now) {
            match command {
                Command::Record(event) => {
                    state.apply(workflow, &event, now)?;
                    turn.events.push(event);
                    moved = true;
                }
                Command::CallTool(call) => {
                    let event = started(state, &call);
                    state.apply(workflow, &event, now)?;
                    turn.events.push(event);
                    turn.calls.push(call);
                    moved = true;
                }
                Command::CancelCall { step } => turn.cancels.push(step),
                Command::StartChild(child) => turn.children.push(child),
            }
        }
        if !moved {
            break;
        }
    }
    turn.wake_at = wake_at(workflow, state);
    Ok(turn)
}

/// The params are written with the first call only: later ones send exactly the same.
fn started(state: &State, call: &Call) -> Event {
    let known = state.step(&call.step).is_some_and(|step| step.params.is_some());
    let params = (!known).then(|| Value::clone(&call.params));
    Event::AttemptStarted {
        step: call.step.clone(),
        attempt: call.attempt,
        call: call.call,
        params,
        secrets: call.secrets.clone(),
        child: None,
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
    if !state.deadline_passed && deadline(workflow, state).is_some_and(|deadline| deadline <= now) {
        return vec![Command::Record(Event::DeadlinePassed)];
    }
    if state.cancel.is_some() || state.deadline_passed || state.fatal.is_some() {
        return wind_up(workflow, state);
    }
    if let Some(expired) = expired(workflow, state, now) {
        return vec![Command::Record(expired)];
    }
    if state.open == 0 {
        return vec![Command::Record(finish(workflow, state, now))];
    }
    if !state.unsettled.is_empty() {
        // What has ended comes first: it may be the end of the execution, and then nothing new starts.
        return settle(workflow, state, execution_id, now);
    }
    start(workflow, state, execution_id, now)
}

/// Ends an execution that goes no further: nothing new starts, what is out comes home.
fn wind_up(workflow: &Workflow, state: &State) -> Vec<Command> {
    let open = |(index, step): &(usize, &StepState)| {
        let settled = step.ended_at.is_some() || step.status == StepStatus::Uncertain;
        !state.running.contains(index) && !settled
    };
    let steps = state.steps.iter().enumerate().filter(open);
    let mut commands: Vec<Command> =
        steps.map(|(index, step)| Command::Record(left(&workflow.steps[index], step))).collect();
    if state.running.is_empty() {
        commands.push(Command::Record(ending(workflow, state)));
    } else if state.cancel.is_some() || state.deadline_passed {
        let running = state.running_steps(workflow).into_iter();
        commands.extend(running.map(|step| Command::CancelCall { step: step.to_owned() }));
    }
    commands
}

/// What becomes of a step that the execution ends without. A call that may have happened stays one.
fn left(step: &Step, standing: &StepState) -> Event {
    let name = step.name.clone();
    match standing.lost {
        Some(false) => Event::StepUncertain { step: name, error: last_error(standing) },
        Some(true) | None => Event::StepCancelled { step: name },
    }
}

fn ending(workflow: &Workflow, state: &State) -> Event {
    if let Some((_, reason)) = &state.cancel {
        return Event::ExecutionCancelled { reason: reason.clone() };
    }
    if let Some(index) = state.fatal {
        let error = state.steps[index].error.clone();
        return Event::ExecutionFailed {
            step: Some(workflow.steps[index].name.clone()),
            error: error.unwrap_or_else(|| StepError::permanent("failed", "the step failed")),
        };
    }
    let bound = workflow.config.timeout_ms.unwrap_or_default();
    let message = format!("the execution took longer than config.timeoutMs allows ({bound} ms)");
    Event::ExecutionFailed { step: None, error: StepError::permanent("timeout", message) }
}

fn finish(workflow: &Workflow, state: &State, now: i64) -> Event {
    let output = match &workflow.output {
        Some(template) => template.evaluate(&state.names(now)),
        None => Ok(last_result(state)),
    };
    match output {
        Ok(output) => Event::ExecutionCompleted { output },
        Err(err) => {
            let message = format!("the output cannot be computed: {err}");
            Event::ExecutionFailed {
                step: None,
                error: StepError::permanent("expression", message),
            }
        }
    }
}

/// Without an `output` an execution results in what its last step resulted in.
fn last_result(state: &State) -> Value {
    let last = state.steps.last().and_then(|step| step.output.as_deref());
    last.cloned().unwrap_or(Value::Null)
}

/// Decides about attempts that are over: once more, or failed, or a person's turn.
fn settle(workflow: &Workflow, state: &State, execution_id: &str, now: i64) -> Vec<Command> {
    let unsettled =
        state.unsettled.iter().map(|index| (&workflow.steps[*index], &state.steps[*index]));
    unsettled
        .map(|(step, standing)| {
            let key = idempotency_key(execution_id, step, standing);
            Command::Record(verdict(step, standing, &key, now))
        })
        .collect()
}

fn verdict(step: &Step, standing: &StepState, key: &str, now: i64) -> Event {
    let name = step.name.clone();
    let error = last_error(standing);
    let (again, delay) = match standing.lost {
        Some(false) => return Event::StepUncertain { step: name, error },
        Some(true) if standing.repeats < retry::MAX_REPEATS => {
            (Again::SameAttempt, retry::repeat_delay_ms(standing.repeats, &error))
        }
        Some(true) => {
            return Event::StepFailed { step: name, error: never_answered(standing, error) };
        }
        None if retry::allows(&step.retry, standing.attempts, &error) => {
            (Again::NextAttempt, retry::delay_ms(&step.retry, standing.attempts, &error, key))
        }
        None => return Event::StepFailed { step: name, error },
    };
    let at = now.saturating_add_unsigned(delay);
    if step_deadline(step, standing).is_some_and(|deadline| deadline <= at) {
        return Event::StepFailed { step: name, error };
    }
    Event::CallScheduled { step: name, again, at }
}

/// Nobody should take the last error for the whole story.
fn never_answered(standing: &StepState, error: StepError) -> StepError {
    let times = standing.calls;
    let message = format!(
        "{} (the call went out {times} times and was never answered; it may have happened)",
        error.message
    );
    StepError { message, ..error }
}

fn last_error(standing: &StepState) -> StepError {
    let error = standing.error.clone();
    error.unwrap_or_else(|| StepError::permanent("failed", "the attempt failed"))
}

/// Starts what may start: timers that are due first, then steps that are ready.
fn start(workflow: &Workflow, state: &State, execution_id: &str, now: i64) -> Vec<Command> {
    let due = state.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, index)| *index);
    let next = due.chain(state.ready.iter().copied()).take(places(workflow, state));
    let mut commands = Vec::new();
    for index in next {
        let command = begin(workflow, state, execution_id, index, now);
        let failed = matches!(command, Command::Record(Event::StepFailed { .. }));
        commands.push(command);
        if failed {
            // What it means for the others is asked before any of them starts.
            break;
        }
    }
    commands
}

/// How many more calls may be out.
fn places(workflow: &Workflow, state: &State) -> usize {
    (workflow.config.max_parallel as usize).saturating_sub(state.running.len())
}

fn begin(
    workflow: &Workflow,
    state: &State,
    execution_id: &str,
    index: usize,
    now: i64,
) -> Command {
    let (step, standing) = (&workflow.steps[index], &state.steps[index]);
    if step_deadline(step, standing).is_some_and(|deadline| deadline <= now) {
        // The timer came too late, because nobody was there: a call without time would only be lost.
        return Command::Record(Event::StepFailed {
            step: step.name.clone(),
            error: last_error(standing),
        });
    }
    let params = match &standing.params {
        Some(params) => Arc::clone(params),
        None => match prepare(step, state, now) {
            Ok(Some(params)) => Arc::new(params),
            Ok(None) => return Command::Record(Event::StepSkipped { step: step.name.clone() }),
            Err(error) => {
                return Command::Record(Event::StepFailed { step: step.name.clone(), error });
            }
        },
    };
    let first_started_at = standing.started_at.unwrap_or(now);
    let own = step.timeout_ms.map(|bound| first_started_at.saturating_add_unsigned(bound));
    Command::CallTool(Call {
        step: step.name.clone(),
        attempt: standing.attempts + u32::from(standing.again != Some(Again::SameAttempt)),
        call: standing.calls + 1,
        tool: step
            .kind
            .tool()
            .cloned()
            .unwrap_or(ToolName { server: String::new(), tool: String::new() }),
        params,
        secrets: Vec::new(),
        approval: None,
        is_repeatable: false,
        idempotency_key: idempotency_key(execution_id, step, standing),
        first_started_at,
        deadline: own.into_iter().chain(deadline(workflow, state)).min(),
    })
}

/// What the tool is given; `None` when the step is skipped: its condition is false, or it needs the result of a
/// step that was skipped and gives no default.
fn prepare(step: &Step, state: &State, now: i64) -> Result<Option<Value>, StepError> {
    let names = state.names(now);
    let holds = step.condition.as_ref().map(|condition| condition.evaluate(&names));
    match holds.transpose() {
        Ok(Some(false)) => return Ok(None),
        Ok(Some(true) | None) => {}
        Err(err) => return unless_skipped(state, "if", &err),
    }
    let crate::Kind::Tool { params, .. } = &step.kind else { return Ok(None) };
    match params.evaluate(&names) {
        Ok(Value::Null) => Ok(Some(json!({}))),
        Ok(params @ Value::Object(_)) => Ok(Some(params)),
        Ok(_) => Err(StepError::permanent("expression", "params must be an object")),
        Err(err) => unless_skipped(state, "params", &err),
    }
}

fn unless_skipped(
    state: &State,
    place: &str,
    err: &crate::expr::Error,
) -> Result<Option<Value>, StepError> {
    if err.needed.as_ref().is_some_and(|root| state.was_skipped(root)) {
        return Ok(None);
    }
    Err(expression_error(place, err))
}

fn expression_error(place: &str, err: &crate::expr::Error) -> StepError {
    StepError::permanent("expression", format!("{place}: {err}"))
}

fn idempotency_key(execution_id: &str, step: &Step, standing: &StepState) -> String {
    format!("{execution_id}/{}#0~{}", step.name, standing.generation)
}

/// An execution that nobody answers ends: it does not wait for ever.
fn expired(workflow: &Workflow, state: &State, now: i64) -> Option<Event> {
    let since = |index: &usize| state.steps[*index].uncertain_since;
    let mut waiting = state.uncertain.iter();
    let index = waiting.find(|index| since(index).is_some_and(|at| at + ANSWER_MS <= now))?;
    let message = "nobody said within 7 days whether the call happened";
    let error = StepError::permanent("expired", message);
    Some(Event::StepFailed { step: workflow.steps[*index].name.clone(), error })
}

fn step_deadline(step: &Step, standing: &StepState) -> Option<i64> {
    Some(standing.started_at?.saturating_add_unsigned(step.timeout_ms?))
}

/// When the execution's time is over; never while a person has to say something.
fn deadline(workflow: &Workflow, state: &State) -> Option<i64> {
    if state.person_since.is_some() {
        return None;
    }
    let bound = workflow.config.timeout_ms?;
    Some(state.started_at.saturating_add(state.person_ms).saturating_add_unsigned(bound))
}

fn wake_at(workflow: &Workflow, state: &State) -> Option<i64> {
    if state.status.is_final() {
        return None;
    }
    // A timer that finds no place waits for a call to come home, not for a time.
    let timer = state.timers.first().filter(|_| 0 < places(workflow, state)).map(|(at, _)| *at);
    let deadline = deadline(workflow, state).filter(|_| !state.deadline_passed);
    let uncertain = state.uncertain.iter().filter_map(|index| state.steps[*index].uncertain_since);
    let expiry = uncertain.min().map(|since| since + ANSWER_MS);
    timer.into_iter().chain(deadline).chain(expiry).min()
}
