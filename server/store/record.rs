//! Writes what happened: the events of a turn, and the rows of the steps and requests they are about.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_engine::{Event, Resolution, State, StepError, StepState, Workflow};

use super::{
    INLINE_LIMIT, Result,
    db::{Sql, Tx, args},
    event_data, request,
};

/// How many bytes of rows go into one statement; one of them may be larger.
const BATCH: usize = 4 * 1024 * 1024;

/// What one turn adds to an execution.
pub(super) struct Record<'r> {
    pub(super) workspace: &'r str,
    pub(super) execution_id: &'r str,
    pub(super) workflow: &'r Workflow,
    /// The state after the events.
    pub(super) state: &'r State,
    pub(super) events: &'r [Event],
    pub(super) at: i64,
}

// The rows of one statement are one JSON text: JSON in JSON keeps what neither database would take bare.
const EVENTS: Sql = Sql::Each {
    sqlite: "INSERT INTO events (execution_id, seq, at, kind, data)
        SELECT $1, value ->> 0, $2, value ->> 1, value ->> 2 FROM json_each($3)",
    postgres: "INSERT INTO events (execution_id, seq, at, kind, data)
        SELECT $1, CAST(value ->> 0 AS BIGINT), $2, value ->> 1, value ->> 2
        FROM json_array_elements($3::json) AS rows (value)",
};

const STEPS: Sql = Sql::Each {
    sqlite: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq,
            params_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
            value ->> 8
        FROM json_each($2) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
            ended_at = excluded.ended_at, error = excluded.error,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq),
            params_seq = COALESCE(excluded.params_seq, steps.params_seq)",
    postgres: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq,
            params_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS BIGINT), CAST(value ->> 4 AS BIGINT),
            CAST(value ->> 5 AS BIGINT), value ->> 6, CAST(value ->> 7 AS BIGINT), CAST(value ->> 8 AS BIGINT)
        FROM json_array_elements($2::json) AS rows (value) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
            ended_at = excluded.ended_at, error = excluded.error,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq),
            params_seq = COALESCE(excluded.params_seq, steps.params_seq)",
};

/// Writes the events after `last_seq`, and what they are about.
pub(super) async fn write(tx: &mut Tx, last_seq: i64, record: &Record<'_>) -> Result<()> {
    write_events(tx, last_seq, record).await?;
    write_steps(tx, last_seq, record).await?;
    let Record { workspace, execution_id, state, events, at, .. } = record;
    request::write(tx, workspace, execution_id, events, *at, state.status.is_final()).await
}

async fn write_events(tx: &mut Tx, last_seq: i64, record: &Record<'_>) -> Result<()> {
    let mut large = Vec::new();
    let mut rows = Batch::default();
    let id = record.execution_id;
    for (seq, event) in (last_seq + 1..).zip(record.events) {
        let data = event_data(event)?;
        let is_large = INLINE_LIMIT < data.len();
        let row = json!([seq, event.kind(), (!is_large).then_some(&data)]);
        if let Some(full) = rows.add(&row) {
            tx.execute(EVENTS, args![id, record.at, full]).await?;
        }
        if is_large {
            large.push((seq, data));
        }
    }
    if let Some(rest) = rows.rest() {
        tx.execute(EVENTS, args![id, record.at, rest]).await?;
    }
    for (seq, data) in large {
        let sql = "INSERT INTO payloads (execution_id, seq, data) VALUES ($1, $2, $3)";
        tx.execute(sql, args![id, seq, data]).await?;
    }
    Ok(())
}

async fn write_steps(tx: &mut Tx, last_seq: i64, record: &Record<'_>) -> Result<()> {
    let mut touched: BTreeMap<&str, Found> = BTreeMap::new();
    for (seq, event) in (last_seq + 1..).zip(record.events) {
        let Some(step) = event.step() else { continue };
        let found = touched.entry(step).or_default();
        found.output = has_output(event).then_some(seq).or(found.output);
        found.params = has_params(event).then_some(seq).or(found.params);
    }
    let mut rows = Batch::default();
    for (path, found) in touched {
        let (Some(label), Some(state)) = (label(record.workflow, path), record.state.step(path))
        else {
            continue;
        };
        if let Some(full) = rows.add(&row(path, &label, state, found)) {
            tx.execute(STEPS, args![record.execution_id, full]).await?;
        }
    }
    if let Some(rest) = rows.rest() {
        tx.execute(STEPS, args![record.execution_id, rest]).await?;
    }
    Ok(())
}

/// The events of a turn that hold what a step was given, and what it resulted in.
#[derive(Clone, Copy, Default)]
struct Found {
    output: Option<i64>,
    params: Option<i64>,
}

/// Rows on their way into one statement, as a JSON list.
#[derive(Default)]
struct Batch {
    text: String,
}

impl Batch {
    /// The list, when it is full.
    fn add(&mut self, row: &Value) -> Option<String> {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.text.push_str(&row.to_string());
        if self.text.len() < BATCH { None } else { std::mem::take(self).rest() }
    }

    fn rest(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(self.text)
    }
}

fn row(path: &str, label: &str, state: &StepState, found: Found) -> Value {
    json!([
        path,
        label,
        state.status.as_str(),
        state.attempts,
        state.started_at,
        state.ended_at,
        state.error.as_ref().map(error_text),
        found.output,
        found.params,
    ])
}

fn error_text(error: &StepError) -> String {
    json!({ "code": error.code, "message": error.message }).to_string()
}

/// What a step does, in a word or two; the calls that find out about it and undo it have tools of their own.
fn label(workflow: &Workflow, path: &str) -> Option<String> {
    match workflow.tool_at(path) {
        Some(tool) => Some(tool.to_string()),
        None => workflow.step_at(path).map(windlass_engine::Step::label),
    }
}

fn has_params(event: &Event) -> bool {
    match event {
        Event::AttemptStarted { params, .. } => params.is_some(),
        Event::RequestOpened { request, .. } => request.params.is_some(),
        _ => false,
    }
}

fn has_output(event: &Event) -> bool {
    match event {
        Event::AttemptSucceeded { .. } => true,
        Event::StepCompleted { output, .. } | Event::StepVerified { output, .. } => {
            output.is_some()
        }
        Event::StepResolved { resolution, .. } => {
            matches!(resolution, Resolution::Completed { .. })
        }
        _ => false,
    }
}
