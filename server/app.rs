//! Everything a user can ask for. One method for each, whichever door it came by.

mod answers;
mod catalogue;
mod checks;
mod control;
mod differences;
mod drifts;
mod error;
mod fixes;
mod fork;
mod left;
mod look;
mod plan;
mod saved;
mod sealed;
mod secret_names;
mod sessions;
mod shipped;
mod standings;
mod start;
mod views;

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;
use windlass_engine::{
    Resolution as Settled, StepStatus, ToolName, Workflow, has_too_many_references,
};

use self::{catalogue::Catalogue, standings::Standings};
pub use self::{
    checks::{Validation, validate},
    control::{CheckpointList, CheckpointView, MAX_CHECKPOINTS},
    differences::Change,
    drifts::{Look, ToolDrift, WorkflowDrift},
    error::Error,
    fixes::fix,
    fork::ForkRequest,
    left::{ArtifactView, SpentView, SumsBy, UsageView},
    plan::{
        Asked, Basis, Blocked, Handler, Locked, MAX_PLAN_LIFETIME_MS, MayRun, Plan, PlanRequest,
        Read, Stopped, Stub, Truncated, Waited, Why, Write,
    },
    saved::{
        Accepted, RevisionDiff, RevisionDocument, RevisionList, RevisionView, SaveRequest, Saved,
        Unpinned,
    },
    sessions::Session,
    views::{
        Caller, CancelView, Detail, Execution, ExecutionError, ExecutionList, ExecutionSummary,
        Priority, RequestView, Resolution, RunRequest, StepView, WorkflowView,
    },
};
use crate::{
    bell::{Bell, Ear, Ring},
    config::Config,
    driver::Driver,
    fault, metrics,
    pins::Pins,
    revisions::Revisions,
    store::{ExecutionRow, Signal, Store},
    tool_servers::{self, ToolInfo, ToolServers},
};

/// How often an execution that keeps moving is read before it is shown as it was read.
const MOST_READS: usize = 3;

/// How long a caller who waits goes without looking, in case a ring was lost.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a signal's sender waits to see what came of it.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);

/// The application behind every door; cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    tool_servers: ToolServers,
    revisions: Revisions,
    pins: Pins,
    bell: Bell,
    driver: Driver,
    catalogue: Catalogue,
    standings: Standings,
    /// Whether an agent may answer what its own executions ask.
    agents_may_answer: bool,
    /// What workflows may write behind `secrets.`; the values are none of its business.
    secret_names: Vec<String>,
}

impl App {
    /// An application over what a host has put together.
    #[must_use]
    pub fn new(
        config: &Config,
        store: Store,
        tool_servers: ToolServers,
        revisions: Revisions,
        bell: Bell,
        driver: Driver,
    ) -> App {
        let catalogue = Catalogue::new(&config.project, &config.workflows);
        let agents_may_answer = config.approvals.agents_may_answer;
        let secret_names = config.secret_names().map(str::to_owned).collect();
        let pins = Pins::new(store.clone());
        let inner = Inner {
            store,
            tool_servers,
            revisions,
            pins,
            bell,
            driver,
            catalogue,
            standings: Standings::default(),
            agents_may_answer,
            secret_names,
        };
        App { inner: Arc::new(inner) }
    }

    /// Starts an execution, or finds the one that the idempotency key already started. Stores nothing when the input
    /// does not fit.
    ///
    /// # Errors
    /// Unknown or broken workflow, input that does not fit, a key used with other input.
    pub async fn run(&self, caller: &Caller, request: RunRequest) -> Result<Execution, Error> {
        if let Some(started) = self.run_as_known(caller, &request).await? {
            return Ok(started);
        }
        let entry = self.find_to_run(&request.workflow).await?;
        entry.check_enabled()?;
        self.start(caller, &entry, request).await
    }

    /// Starts an execution of a document that is in no folder; `source` says where it came from.
    ///
    /// # Errors
    /// A broken document, input that does not fit, a key used with other input.
    pub async fn run_document(
        &self,
        caller: &Caller,
        text: &str,
        source: &str,
        request: RunRequest,
    ) -> Result<Execution, Error> {
        let entry = catalogue::read(text, source, &stem(source));
        self.start(caller, &entry, request).await
    }

    /// How an execution stands.
    ///
    /// # Errors
    /// When there is no such execution in this workspace.
    pub async fn status(&self, execution_id: &str, detail: Detail) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        self.shown(row, detail).await
    }

    /// How an execution stands at one moment. What is read after its row may be newer than it: then all of it is read again,
    /// a few times, as long as it keeps moving.
    async fn shown(&self, mut row: ExecutionRow, detail: Detail) -> Result<Execution, Error> {
        for _ in 0..MOST_READS {
            let (id, ended) = (row.id.clone(), row.ended_at.is_some());
            let execution = self.view(row, detail).await?;
            if ended || self.inner.store.version(&id).await? == Some(execution.version) {
                return Ok(execution);
            }
            row = self.row(&id).await?;
        }
        self.view(row, detail).await
    }

    /// Waits until the execution's version is higher than `since`, or the patience is over.
    ///
    /// # Errors
    /// When there is no such execution in this workspace.
    pub async fn changed(
        &self,
        execution_id: &str,
        since: i64,
        patience: Duration,
        detail: Detail,
    ) -> Result<Execution, Error> {
        let deadline = Instant::now() + patience;
        let look = || async move {
            // Register for the bell, then look, then wait: what moves in between is heard.
            let moved = self.inner.bell.listen_for(Ring::Moved(execution_id.into()));
            loop {
                let row = self.row(execution_id).await?;
                if since < row.last_seq || row.ended_at.is_some() || deadline <= Instant::now() {
                    return self.shown(row, detail).await;
                }
                self.until_rung(&moved, deadline).await;
            }
        };
        patiently(deadline, look).await
    }

    /// Waits until the execution has a higher version than `since` and has ended or rests, or the patience is over. What
    /// merely goes on costs nothing: nothing is read for it.
    ///
    /// # Errors
    /// When there is no such execution in this workspace.
    pub async fn settled(
        &self,
        execution_id: &str,
        since: i64,
        patience: Duration,
        detail: Detail,
    ) -> Result<Execution, Error> {
        let deadline = Instant::now() + patience;
        let look = || async move {
            // Register for the bell, then look, then wait: what settles in between is heard.
            let settled = self.inner.bell.listen_for(Ring::Settled(execution_id.into()));
            if let Some(ending) = self.inner.driver.in_hand(execution_id) {
                self.until_rung(&settled, deadline).await;
                if let Some(row) = ending.row() {
                    return self.shown(row.clone(), detail).await;
                }
            }
            loop {
                let row = self.row(execution_id).await?;
                let is_over = deadline <= Instant::now();
                let (is_news, ended) = (since < row.last_seq, row.ended_at.is_some());
                // While a worker holds it, it does something, or is about to.
                if is_over || ended || (is_news && row.lease_until == 0) {
                    let execution = self.shown(row, detail).await?;
                    if is_over || ended || execution.rests() {
                        return Ok(execution);
                    }
                }
                self.until_rung(&settled, deadline).await;
            }
        };
        patiently(deadline, look).await
    }

    /// Waits for a ring that may have been lost, and no longer than until the deadline.
    async fn until_rung(&self, ear: &Ear, deadline: Instant) {
        // A worker that died is replaced for as long as somebody cares.
        self.inner.driver.ensure().await;
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        _ = tokio::time::timeout_at(look_again, ear.rung()).await;
    }

    /// The caller's newest executions, and all that wait for something.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions(&self, caller: &Caller, limit: u32) -> Result<ExecutionList, Error> {
        let rows = self.inner.store.executions(&caller.name, limit).await?;
        let open = rows.iter().any(|row| row.ended_at.is_none());
        let executions = rows.into_iter().map(|row| ExecutionSummary {
            execution_id: row.id,
            workflow: row.workflow,
            status: row.status,
            waiting_for: row.waiting_for.map(|mut waits| {
                sealed::text(&mut waits);
                waits
            }),
            created_at: row.created_at,
            ended_at: row.ended_at,
        });
        let executions = executions.collect();
        let warning = if open { self.warning().await? } else { None };
        Ok(ExecutionList { executions, warning })
    }

    /// What a document would be as a workflow. Nothing is stored.
    ///
    /// # Errors
    /// The document's own problems.
    pub async fn describe_document(&self, text: &str, source: &str) -> Result<WorkflowView, Error> {
        let entry = catalogue::read(text, source, &stem(source));
        start::runnable(&entry)?;
        Ok(entry.view())
    }

    /// Asks for an execution to be cancelled; its tools hear of it.
    ///
    /// # Errors
    /// When there is no such execution, or it has ended otherwise.
    pub async fn cancel(
        &self,
        caller: &Caller,
        execution_id: &str,
        reason: Option<String>,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        let signal = Signal::Cancel { by: caller.name.clone(), reason };
        let execution = self.signal(&row, &signal).await?;
        match execution.status.as_str() {
            "completed" | "failed" => Err(has_ended(&execution.execution_id, &execution.status)),
            _ => Ok(execution),
        }
    }

    /// Settles an uncertain step by hand, or supplies the result of one that failed: the execution goes on then.
    ///
    /// # Errors
    /// When the step is not waiting for that, or the result does not fit the tool's output schema.
    pub async fn resolve(
        &self,
        caller: &Caller,
        execution_id: &str,
        step: &str,
        resolution: Resolution,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        if row.status == "failed" {
            return self.resolve_failed(caller, &row, step, resolution).await;
        }
        let workflow = self.inner.revisions.get(&self.inner.store, &row.revision).await?;
        if workflow.step_at(step).is_none() {
            return Err(Error::UnknownStep {
                execution_id: row.id,
                step: step.to_owned(),
                known: names(&workflow),
            });
        }
        let started_at = self.check_uncertain(&row, step).await?;
        let resolution = match resolution {
            Resolution::Completed(output) => {
                check_depth(&output)?;
                if let Some(tool) = workflow.tool_at(step) {
                    self.check_result(tool, &output).await?;
                }
                Settled::Completed { output }
            }
            Resolution::Retry => Settled::Retry,
            Resolution::Failed(message) => Settled::Failed { message },
        };
        let (step, by) = (step.to_owned(), caller.name.clone());
        let signal = Signal::Resolve { step, started_at, resolution, by };
        self.signal(&row, &signal).await
    }

    /// Sees to it that somebody drives what has not ended; what the caller should know about that, if anything.
    pub async fn ensure_worker(&self) -> Option<String> {
        self.inner.driver.ensure().await
    }

    /// Every tool of every server; for a server that cannot be reached, why.
    pub async fn tools(&self) -> Vec<(String, Result<Arc<Vec<ToolInfo>>, tool_servers::Error>)> {
        let ask = |name: String| async move {
            let tools = self.inner.tool_servers.tools(&name).await;
            (name, tools)
        };
        futures::future::join_all(self.inner.tool_servers.names().into_iter().map(ask)).await
    }

    /// Whether the database answers and a worker lives; what is wrong otherwise.
    ///
    /// # Errors
    /// A sentence that says what is not ready.
    pub async fn ready(&self) -> Result<(), String> {
        self.inner.store.ping().await.map_err(|err| err.to_string())?;
        match self.warning().await {
            Ok(None) => Ok(()),
            Ok(Some(warning)) => Err(warning),
            Err(err) => Err(err.to_string()),
        }
    }

    /// What this process did and how its workspace stands, in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let standing = self.inner.store.standing().await;
        let (due, oldest_due_ms, parked) = standing.as_ref().copied().unwrap_or_default();
        metrics::text(&metrics::Standing {
            due,
            oldest_due_ms,
            parked,
            database_up: standing.is_ok(),
            breakers: self.inner.tool_servers.breakers(),
        })
    }

    /// What to tell callers when nobody drives executions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn warning(&self) -> Result<Option<String>, Error> {
        if let Some(warning) = self.inner.driver.ensure().await {
            return Ok(Some(warning));
        }
        if matches!(self.inner.driver, Driver::Detached { .. })
            || self.inner.store.worker_lives().await?
        {
            return Ok(None);
        }
        Ok(Some(
            "no worker lives: nothing moves until one runs; `windlass status ID --wait 60`, `windlass serve` or an agent \
             that connects starts one"
                .into(),
        ))
    }

    async fn row(&self, execution_id: &str) -> Result<ExecutionRow, Error> {
        let row = self.inner.store.execution(execution_id).await?;
        row.ok_or_else(|| Error::UnknownExecution(execution_id.to_owned()))
    }

    /// Leaves a word for an execution, and waits a moment to see what comes of it.
    async fn signal(&self, row: &ExecutionRow, signal: &Signal) -> Result<Execution, Error> {
        fault::point("before_signal");
        let left = self.inner.store.signal(&row.id, signal).await?;
        fault::point("after_signal");
        if !left {
            let row = self.row(&row.id).await?;
            return match signal {
                // Cancelling what is cancelled is no mistake.
                Signal::Cancel { .. } if row.status == "cancelled" => {
                    self.shown(row, Detail::Steps).await
                }
                _ => Err(has_ended(&row.id, &row.status)),
            };
        }
        self.inner.driver.ensure().await;
        self.inner.bell.ring(Ring::Due(row.id.as_str().into()));
        self.changed(&row.id, row.last_seq, SIGNAL_PATIENCE, Detail::Steps).await
    }

    /// When the call of an uncertain step first went out.
    async fn check_uncertain(&self, row: &ExecutionRow, step: &str) -> Result<Option<i64>, Error> {
        if row.ended_at.is_some() {
            return Err(has_ended(&row.id, &row.status));
        }
        let rows = self.inner.store.steps(&row.id).await?;
        let uncertain = StepStatus::Uncertain.as_str();
        let begun = rows.iter().find(|known| known.step == step);
        let status = begun.map_or(StepStatus::Pending.as_str(), |row| &row.status);
        if status == uncertain {
            return Ok(begun.and_then(|row| row.started_at));
        }
        let open: Vec<&str> = rows
            .iter()
            .filter(|row| row.status == uncertain)
            .map(|row| row.step.as_str())
            .collect();
        let others = match open.as_slice() {
            [] => "no step of this execution is uncertain".to_owned(),
            steps => format!("uncertain: {}", steps.join(", ")),
        };
        Err(Error::Refused(format!(
            "step {step} is {status}; only an uncertain step can be resolved ({others})"
        )))
    }

    /// The result of a call, or those of the instances of a list.
    async fn check_results(
        &self,
        workflow: &Workflow,
        step: &str,
        tool: &ToolName,
        output: &Value,
    ) -> Result<(), Error> {
        let is_list = workflow.step_at(step).is_some_and(|step| step.for_each.is_some());
        match output {
            Value::Array(results) if is_list && !step.ends_with(']') => {
                for result in results {
                    self.check_result(tool, result).await?;
                }
                Ok(())
            }
            output => self.check_result(tool, output).await,
        }
    }

    async fn check_result(&self, tool: &ToolName, output: &Value) -> Result<(), Error> {
        let info = self.inner.tool_servers.tool(tool).await?;
        let schema = info.output_schema.filter(|schema| !has_too_many_references(schema));
        let Some(schema) = schema else { return Ok(()) };
        let Ok(validator) = jsonschema::draft202012::new(&schema) else { return Ok(()) };
        let problems: Vec<String> = validator
            .iter_errors(output)
            .map(|err| format!("{}: {err}", place(&err.instance_path().to_string())))
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        let problems = problems.join("; ");
        Err(Error::Refused(format!(
            "the result does not fit the output schema of {tool}: {problems}"
        )))
    }
}

/// Looks again while the database is away, until the deadline: what is waited for goes on without whoever waits.
async fn patiently<T, F>(deadline: Instant, look: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match look().await {
            Err(err) if err.is_passing() && Instant::now() < deadline => {
                tracing::warn!("the database is away, and is asked again: {err}");
                tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
            }
            looked => return looked,
        }
    }
}

/// What is nested deeper than any history is read would be lost.
fn check_depth(value: &Value) -> Result<(), Error> {
    match windlass_engine::is_too_deep(value) {
        false => Ok(()),
        true => Err(Error::Refused(format!(
            "the value is nested more than {} levels deep; nothing was done",
            windlass_engine::MAX_VALUE_DEPTH
        ))),
    }
}

fn has_ended(execution_id: &str, status: &str) -> Error {
    Error::Refused(format!(
        "execution {execution_id} has ended as {status}; run the workflow again for a new one"
    ))
}

fn names(workflow: &Workflow) -> String {
    workflow.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the result itself" } else { pointer }
}

fn stem(source: &str) -> String {
    let stem = Path::new(source).file_stem();
    stem.map_or_else(|| "workflow".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The nearest names, and the known ones where they are few enough to read.
fn hint<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 20;
    let known: Vec<&str> = known.collect();
    let mut near: Vec<(f64, &str)> =
        known.iter().map(|other| (strsim::jaro_winkler(name, other), *other)).collect();
    near.retain(|(likeness, _)| 0.8 < *likeness);
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    let near: Vec<&str> = near.into_iter().take(3).map(|(_, name)| name).collect();
    let more = if SHOWN < known.len() { ", …" } else { "" };
    let shown: Vec<&str> = known.into_iter().take(SHOWN).collect();
    let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
    match near.as_slice() {
        [] => format!("; known: {shown}{more}"),
        near => format!("; did you mean {}? Known: {shown}{more}", near.join(" or ")),
    }
}
