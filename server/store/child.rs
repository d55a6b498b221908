//! Executions that steps of other executions are.

use std::{collections::BTreeSet, sync::Arc};

use windlass_engine::{Event, State, StepError, Workflow};

use super::{
    ChildOutcome, Result, Signal, Store,
    db::{Sql, Tx, args},
    execution::parse,
    min_engine,
    record::{self, Record},
};

/// An execution of another workflow that a step begins.
#[derive(Debug)]
pub struct NewChild {
    /// The path of the step.
    pub step: String,
    /// `exec_…`; the same however often it is begun.
    pub execution_id: String,
    /// Whether it failed before, and goes on.
    pub goes_on: bool,
    /// How it begins, or why it does not.
    pub beginning: std::result::Result<Beginning, StepError>,
}

/// How an execution begins.
#[derive(Debug)]
pub struct Beginning {
    /// What it executes.
    pub workflow: Arc<Workflow>,
    /// The state after the events.
    pub state: State,
    /// What has happened so far.
    pub events: Vec<Event>,
}

/// An execution below another one that has not ended.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChildRow {
    /// `exec_…`
    pub id: String,
    /// The execution that it is a step of.
    pub parent_id: String,
    /// The path of that step.
    pub parent_step: String,
    /// What only a person can move.
    pub waiting_for: Option<String>,
}

/// Everything but what it runs it has from its parent.
const INSERT: &str = "INSERT INTO executions
        (id, workspace, workflow, revision, status, input, requested_by, on_behalf_of, client_name, client_version,
         tool_servers, min_engine, wake_at, last_seq, created_at, updated_at, parent_id, parent_step, root_id, depth, links,
         priority, traceparent)
    SELECT CAST($1 AS TEXT), p.workspace, CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT),
        p.requested_by, p.on_behalf_of, p.client_name, p.client_version, p.tool_servers, CAST($6 AS BIGINT),
        CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($7 AS BIGINT), CAST($7 AS BIGINT), p.id, CAST($9 AS TEXT),
        COALESCE(p.root_id, p.id), p.depth + 1, p.links, p.priority, p.traceparent
    FROM executions p WHERE p.id = $10
    ON CONFLICT (id) DO NOTHING";

impl Store {
    /// The executions below one that have not ended, at every depth.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn below(&self, execution_id: &str) -> Result<Vec<ChildRow>> {
        let sql = "WITH RECURSIVE tree (id, parent_id, parent_step, waiting_for, depth) AS (
                SELECT id, parent_id, parent_step, waiting_for, depth FROM executions
                WHERE parent_id = $1 AND workspace = $2 AND ended_at IS NULL
                UNION ALL
                SELECT e.id, e.parent_id, e.parent_step, e.waiting_for, e.depth
                FROM executions e JOIN tree t ON e.parent_id = t.id WHERE e.ended_at IS NULL)
            SELECT id, parent_id, parent_step, waiting_for FROM tree ORDER BY depth, id";
        Ok(self.db.all(sql, args![execution_id, &*self.workspace]).await?)
    }

    /// The executions that the steps of one are or were, by the step's path.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn children(&self, execution_id: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT parent_step, id FROM executions
                   WHERE parent_id = $1 AND workspace = $2 ORDER BY created_at, id";
        Ok(self.db.all(sql, args![execution_id, &*self.workspace]).await?)
    }
}

/// What the parent hears at once: of children that do not begin, and of those that ended before it asked again.
pub(super) async fn known(
    tx: &mut Tx,
    children: &[NewChild],
    reopened: &BTreeSet<String>,
) -> Result<Vec<Signal>> {
    const KNOWN: Sql = Sql::Each {
        sqlite: "SELECT e.id, COALESCE(v.data, p.data) FROM executions e
            JOIN events v ON v.execution_id = e.id AND v.seq = e.last_seq
            LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
            WHERE e.ended_at IS NOT NULL AND e.id IN (SELECT value FROM json_each($1))",
        postgres: "SELECT e.id, COALESCE(v.data, p.data) FROM executions e
            JOIN events v ON v.execution_id = e.id AND v.seq = e.last_seq
            LEFT JOIN payloads p ON p.execution_id = v.execution_id AND p.seq = v.seq
            WHERE e.ended_at IS NOT NULL AND e.id IN (SELECT json_array_elements_text($1::json))",
    };
    let children = children.iter().filter(|child| !reopened.contains(&child.execution_id));
    let children: Vec<&NewChild> = children.collect();
    if children.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = children.iter().map(|child| child.execution_id.as_str()).collect();
    let ids = serde_json::json!(ids).to_string();
    let ended: Vec<(String, String)> = tx.all(KNOWN, args![ids]).await?;
    let mut signals = Vec::new();
    for child in children {
        let last = ended.iter().find(|(id, _)| *id == child.execution_id);
        let outcome = match (&child.beginning, last) {
            (_, Some((id, event))) => outcome(&parse(id, "an event", event)?),
            (Err(error), None) => Some(ChildOutcome::Failed { error: error.clone() }),
            (Ok(_), None) => None,
        };
        let (step, execution_id) = (child.step.clone(), child.execution_id.clone());
        signals.extend(outcome.map(|outcome| Signal::ChildEnded { step, execution_id, outcome }));
    }
    Ok(signals)
}

/// Those that failed before and go on.
pub(super) async fn to_reopen(tx: &mut Tx, children: &[NewChild]) -> Result<BTreeSet<String>> {
    let mut failed = BTreeSet::new();
    for child in children.iter().filter(|child| child.goes_on) {
        let sql = "SELECT id FROM executions WHERE id = $1 AND status = 'failed'";
        let row: Option<(String,)> = tx.optional(sql, args![&child.execution_id]).await?;
        failed.extend(row.map(|(id,)| id));
    }
    Ok(failed)
}

/// What the executions below hear: that they pause, and go on, with this one.
pub(super) async fn told(
    tx: &mut Tx,
    execution_id: &str,
    events: &[Event],
) -> Result<Vec<(String, Signal)>> {
    let by = || format!("execution {execution_id}");
    let signals = events.iter().filter_map(|event| match event {
        Event::ExecutionPaused { reason, .. } => {
            Some(Signal::Pause { by: by(), reason: reason.clone() })
        }
        Event::ExecutionResumed { .. } => Some(Signal::Resume { by: by() }),
        _ => None,
    });
    let signals: Vec<Signal> = signals.collect();
    if signals.is_empty() {
        return Ok(Vec::new());
    }
    let below = "SELECT id FROM executions WHERE parent_id = $1 AND ended_at IS NULL ORDER BY id";
    let below: Vec<(String,)> = tx.all(below, args![execution_id]).await?;
    let told = below.into_iter().flat_map(|(id,)| {
        signals.iter().map(move |signal| (id.clone(), signal.clone())).collect::<Vec<_>>()
    });
    Ok(told.collect())
}

/// Begins those that are not there yet; their ids.
pub(super) async fn begin(
    tx: &mut Tx,
    workspace: &str,
    parent: &str,
    children: &[NewChild],
    at: i64,
    worker: &str,
) -> Result<Vec<String>> {
    let mut begun = Vec::new();
    for child in children {
        let Ok(beginning) = &child.beginning else { continue };
        let Beginning { workflow, state, events } = beginning;
        let ended = state.status.is_final();
        let args = args![
            &child.execution_id,
            &workflow.name,
            &workflow.hash,
            state.status.as_str(),
            state.input.to_string(),
            min_engine(events),
            (!ended).then_some(at),
            i64::try_from(events.len()).unwrap_or(i64::MAX),
            &child.step,
            parent,
        ];
        if tx.execute(INSERT, args).await? == 0 {
            continue;
        }
        let execution_id = &child.execution_id;
        let record = Record { workspace, execution_id, workflow, state, events, at, worker };
        record::write(tx, 0, &record).await?;
        begun.push(execution_id.clone());
    }
    Ok(begun)
}

/// What the execution above hears of an end.
pub(super) fn outcome(last: &Event) -> Option<ChildOutcome> {
    match last {
        Event::ExecutionCompleted { output } => {
            Some(ChildOutcome::Completed { output: output.clone() })
        }
        Event::ExecutionFailed { error, .. } => Some(ChildOutcome::Failed { error: error.clone() }),
        Event::ExecutionCancelled { reason } => {
            Some(ChildOutcome::Cancelled { reason: reason.clone() })
        }
        _ => None,
    }
}
