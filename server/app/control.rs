//! Executions in hand: paused, resumed, retried, their steps skipped, and where they stood after each turn.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use windlass_engine::{Event, Resolution as Settled, State, StepStatus, Workflow};

use super::{
    App, Caller, Detail, Error, Execution, Resolution, SIGNAL_PATIENCE, check_depth, names,
};
use crate::{
    bell::Ring,
    store::{Checkpoint, ExecutionRow, Reopening, Signal},
};

/// The most checkpoints that are shown at once.
pub const MAX_CHECKPOINTS: u32 = 1_000;

/// Where an execution stood: what one committed turn added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointView {
    /// Counts the turns, from 1.
    pub number: i64,
    /// When it was committed, in milliseconds since 1970.
    pub at: i64,
    /// How long ago that is, in milliseconds.
    pub age_ms: i64,
    /// The size of what it added, in bytes.
    pub bytes: i64,
    /// How many events it has.
    pub events: i64,
    /// The worker that committed it; nobody knows for those of older releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The steps that it was about.
    pub steps: Vec<String>,
}

/// The newest checkpoints of an execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointList {
    /// `exec_…`
    pub execution_id: String,
    /// How many there are.
    pub total: i64,
    /// The newest first.
    pub checkpoints: Vec<CheckpointView>,
}

impl App {
    /// Has an execution start nothing new; what is out comes home, and is kept. Executions below it pause with it.
    ///
    /// # Errors
    /// When there is no such execution, or it has ended.
    pub async fn pause(
        &self,
        caller: &Caller,
        execution_id: &str,
        reason: Option<String>,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        let signal = Signal::Pause { by: caller.name.clone(), reason };
        self.tell(&row, &signal, |execution| execution.status == "paused").await
    }

    /// Has a paused execution go on, and those below it.
    ///
    /// # Errors
    /// When there is no such execution, or it has ended.
    pub async fn resume(&self, caller: &Caller, execution_id: &str) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        let signal = Signal::Resume { by: caller.name.clone() };
        self.tell(&row, &signal, |execution| execution.status != "paused").await
    }

    /// Has a failed execution go on from where it failed: what completed is kept, the rest is done again. The values of
    /// `input` take the place of those that it was given.
    ///
    /// # Errors
    /// When it has not failed, belongs to another execution, or the input does not fit.
    pub async fn retry(
        &self,
        caller: &Caller,
        execution_id: &str,
        input: Map<String, Value>,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        self.check_failed(&row, "retried").await?;
        let input = self.changed_input(&row, input).await?;
        let retry = Reopening { by: &caller.name, input: input.as_ref(), more: None };
        self.reopen(&row, &retry).await
    }

    /// Has a step not be done: one that failed, that is uncertain, or that has not begun. An execution that failed goes on.
    ///
    /// # Errors
    /// When the step has completed, or is under way; or the execution has ended otherwise.
    pub async fn skip(
        &self,
        caller: &Caller,
        execution_id: &str,
        step: &str,
        reason: Option<String>,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        let workflow = self.workflow_with(&row, step).await?;
        if row.ended_at.is_some() {
            self.check_failed(&row, "gone on with").await?;
        }
        let by = caller.name.clone();
        let event = Event::StepSkipped {
            step: step.to_owned(),
            by: Some(by.clone()),
            reason: reason.clone(),
        };
        self.check_possible(&row, &workflow, &event, "skipped").await?;
        let signal = Signal::Skip { step: step.to_owned(), by, reason };
        if row.ended_at.is_some() {
            let retry = Reopening { by: &caller.name, input: None, more: Some(signal) };
            return self.reopen(&row, &retry).await;
        }
        let is_skipped = |execution: &Execution| {
            let mut steps = execution.steps.iter();
            steps.any(|known| known.name == step && known.status == "skipped")
        };
        self.tell(&row, &signal, is_skipped).await
    }

    /// Supplies the result of a step of a failed execution by hand, which then goes on.
    pub(super) async fn resolve_failed(
        &self,
        caller: &Caller,
        row: &ExecutionRow,
        step: &str,
        resolution: Resolution,
    ) -> Result<Execution, Error> {
        let id = &row.id;
        let workflow = self.workflow_with(row, step).await?;
        self.check_failed(row, "gone on with").await?;
        let output = match resolution {
            Resolution::Completed(output) => output,
            Resolution::Retry => {
                return Err(Error::Refused(format!(
                    "execution {id} has failed, and retrying it does its failed steps again: windlass retry {id}, or \
                     workflow.control with action=retry"
                )));
            }
            Resolution::Failed(_) => {
                return Err(Error::Refused(format!(
                    "execution {id} has failed already; give the result that step {step} should have had, or skip it"
                )));
            }
        };
        check_depth(&output)?;
        if let Some(tool) = workflow.tool_at(step) {
            self.check_results(&workflow, step, tool, &output).await?;
        }
        let (by, resolution) = (caller.name.clone(), Settled::Completed { output });
        let event = Event::StepResolved {
            step: step.to_owned(),
            resolution: resolution.clone(),
            by: by.clone(),
        };
        self.check_possible(row, &workflow, &event, "resolved").await?;
        let step = step.to_owned();
        let signal = Signal::Resolve { step, started_at: None, resolution, by };
        self.reopen(row, &Reopening { by: &caller.name, input: None, more: Some(signal) }).await
    }

    /// Where an execution stood after its newest turns.
    ///
    /// # Errors
    /// When there is no such execution.
    pub async fn checkpoints(
        &self,
        execution_id: &str,
        limit: u32,
    ) -> Result<CheckpointList, Error> {
        let row = self.row(execution_id).await?;
        let limit = limit.clamp(1, MAX_CHECKPOINTS);
        let (total, rows) = self.inner.store.checkpoints(&row.id, limit).await?;
        let now = self.inner.store.now();
        let view = |row: Checkpoint| CheckpointView {
            number: row.number,
            at: row.at,
            age_ms: (now - row.at).max(0),
            bytes: row.bytes,
            events: row.events,
            worker: row.worker,
            steps: row.steps,
        };
        let checkpoints = rows.into_iter().map(view).collect();
        Ok(CheckpointList { execution_id: row.id, total, checkpoints })
    }

    /// What the input of an execution has to be like.
    ///
    /// # Errors
    /// When there is no such execution.
    pub async fn input_schema_of(&self, execution_id: &str) -> Result<Value, Error> {
        let row = self.row(execution_id).await?;
        let workflow = self.inner.revisions.get(&self.inner.store, &row.revision).await?;
        Ok(workflow.input.schema().clone())
    }

    /// What an execution is given when some of its input changes.
    pub(super) async fn changed_input(
        &self,
        row: &ExecutionRow,
        changed: Map<String, Value>,
    ) -> Result<Option<Value>, Error> {
        if changed.is_empty() {
            return Ok(None);
        }
        let workflow = self.inner.revisions.get(&self.inner.store, &row.revision).await?;
        let given = merged(row, changed);
        let accepted = workflow.input.accept(given).map_err(|problems| Error::InvalidInput {
            workflow: workflow.name.clone(),
            problems,
        })?;
        Ok(Some(accepted))
    }

    /// Leaves a word for an execution that has not ended, and waits a moment until it is seen in it.
    async fn tell(
        &self,
        row: &ExecutionRow,
        signal: &Signal,
        is_seen: impl Fn(&Execution) -> bool,
    ) -> Result<Execution, Error> {
        if !self.inner.store.signal(&row.id, signal).await? {
            let row = self.row(&row.id).await?;
            return Err(no_more(&row));
        }
        self.seen(row, is_seen).await
    }

    async fn reopen(
        &self,
        row: &ExecutionRow,
        reopening: &Reopening<'_>,
    ) -> Result<Execution, Error> {
        if !self.inner.store.reopen(&row.id, reopening).await? {
            let row = self.row(&row.id).await?;
            self.check_failed(&row, "retried").await?;
            return Err(Error::Refused(format!("execution {} is being written just now", row.id)));
        }
        self.adopt(&row.id).await?;
        self.seen(row, |execution| row.last_seq < execution.version).await
    }

    async fn seen(
        &self,
        row: &ExecutionRow,
        is_seen: impl Fn(&Execution) -> bool,
    ) -> Result<Execution, Error> {
        self.inner.driver.ensure().await;
        self.inner.bell.ring(Ring::Due(row.id.as_str().into()));
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        let mut execution = self.status(&row.id, Detail::Steps).await?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if is_seen(&execution) || execution.ended_at.is_some() || left == Duration::ZERO {
                return Ok(execution);
            }
            execution = self.changed(&row.id, execution.version, left, Detail::Steps).await?;
        }
    }

    /// Only what failed goes on, and only from above.
    async fn check_failed(&self, row: &ExecutionRow, what: &str) -> Result<(), Error> {
        let id = &row.id;
        if let Some((parent, status)) = self.inner.store.parent(id).await? {
            let ended = matches!(status.as_str(), "completed" | "failed" | "cancelled");
            return Err(Error::Refused(match (ended, status.as_str()) {
                (true, "failed") => format!(
                    "execution {id} is a step of {parent}, which has failed, too; retry {parent}, which goes on with this \
                     one: windlass retry {parent}, or workflow.control with action=retry"
                ),
                (true, _) => format!(
                    "execution {id} is a step of {parent}, which has ended as {status}; it cannot be {what}. Fork {parent} \
                     from that step instead"
                ),
                (false, _) => format!(
                    "execution {id} is a step of {parent}, which is {status} and knows how this one ended; it cannot be \
                     {what} alone. Should {parent} fail, retrying that goes on with this one"
                ),
            }));
        }
        match row.status.as_str() {
            "failed" => Ok(()),
            "cancelled" | "completed" => Err(no_more(row)),
            status => Err(Error::Refused(format!(
                "execution {id} is {status}: only one that has failed can be {what}, and somebody may have done so already"
            ))),
        }
    }

    async fn workflow_with(
        &self,
        row: &ExecutionRow,
        step: &str,
    ) -> Result<std::sync::Arc<Workflow>, Error> {
        let workflow = self.inner.revisions.get(&self.inner.store, &row.revision).await?;
        if workflow.step_at(step).is_none() {
            return Err(Error::UnknownStep {
                execution_id: row.id.clone(),
                step: step.to_owned(),
                known: names(&workflow),
            });
        }
        Ok(workflow)
    }

    /// Whether what is to be said of a step can follow what has happened.
    async fn check_possible(
        &self,
        row: &ExecutionRow,
        workflow: &Workflow,
        event: &Event,
        what: &str,
    ) -> Result<(), Error> {
        let state = self.fold(row, workflow).await?;
        let retried = Event::ExecutionRetried { by: String::new(), input: None, children: vec![] };
        let before = if row.ended_at.is_some() { vec![retried] } else { vec![] };
        if state.allows(workflow, &before, event, self.inner.store.now()) {
            return Ok(());
        }
        let path = event.step().unwrap_or_default();
        let why = match state.step(path).map(|step| step.status) {
            None => {
                "has not begun, and neither has what holds it; take the step that holds it instead"
            }
            Some(StepStatus::Completed) => "has completed, and what is done stays done",
            Some(StepStatus::Running) => {
                "is under way; pause the execution and wait until its call has come home, or cancel it"
            }
            Some(StepStatus::Failed) => {
                "failed, and the execution went on without it (onError: continue)"
            }
            Some(StepStatus::Skipped) => "was skipped already",
            Some(
                StepStatus::Pending
                | StepStatus::Waiting
                | StepStatus::Cancelled
                | StepStatus::Uncertain,
            ) => {
                "does not stand in a way that allows it; only a failed or uncertain step can be resolved"
            }
        };
        Err(Error::Refused(format!("step {path} cannot be {what}: it {why}")))
    }

    /// Where an execution stands, read from its history.
    pub(super) async fn fold(
        &self,
        row: &ExecutionRow,
        workflow: &Workflow,
    ) -> Result<State, Error> {
        let mut state = State::new(workflow, &row.id, &row.requested_by);
        let take = |at, event: Event| {
            let taken = state.replay(workflow, &event, at);
            taken.map_err(|err| Error::Refused(err.to_string()))
        };
        self.inner.store.replay(&row.id, take).await?;
        Ok(state)
    }
}

/// What it was given, with other values for some of the names.
pub(super) fn merged(row: &ExecutionRow, changed: Map<String, Value>) -> Value {
    let mut given = serde_json::from_str(&row.input).unwrap_or_else(|_| Value::Object(Map::new()));
    if let Value::Object(given) = &mut given {
        given.extend(changed);
    }
    given
}

/// What can still be done with an execution that has ended.
fn no_more(row: &ExecutionRow) -> Error {
    let ExecutionRow { id, status, .. } = row;
    Error::Refused(match status.as_str() {
        "failed" => format!(
            "execution {id} has failed; windlass retry {id} (workflow.control with action=retry) goes on from where it \
             failed"
        ),
        _ => format!(
            "execution {id} is {status}, and that is final; windlass fork {id} --from STEP (workflow.control with \
             action=fork) starts a new one with the results of the steps before"
        ),
    })
}
