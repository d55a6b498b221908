//! Writes what happened: the events of a turn, and the rows of the steps and requests they are about.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_engine::{Event, Resolution, State, StepError, StepState, StepStatus, Workflow};

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
    sqlite: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
        FROM json_each($2) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
            ended_at = excluded.ended_at, error = excluded.error,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq)",
    postgres: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS BIGINT), CAST(value ->> 4 AS BIGINT),
            CAST(value ->> 5 AS BIGINT), value ->> 6, CAST(value ->> 7 AS BIGINT)
        FROM json_array_elements($2::json) AS rows (value) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
            ended_at = excluded.ended_at, error = excluded.error,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq)",
};

/// The state knows nothing of these any more: what only it knew stays as it was.
const LEFT: Sql = Sql::Each {
    sqlite: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
        FROM json_each($2) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, ended_at = excluded.ended_at, error = COALESCE(excluded.error, steps.error),
            attempts = CASE WHEN excluded.attempts = 0 THEN steps.attempts ELSE excluded.attempts END,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq)",
    postgres: "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, CAST(value ->> 3 AS BIGINT), CAST(value ->> 4 AS BIGINT),
            CAST(value ->> 5 AS BIGINT), value ->> 6, CAST(value ->> 7 AS BIGINT)
        FROM json_array_elements($2::json) AS rows (value) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            status = excluded.status, ended_at = excluded.ended_at, error = COALESCE(excluded.error, steps.error),
            attempts = CASE WHEN excluded.attempts = 0 THEN steps.attempts ELSE excluded.attempts END,
            output_seq = COALESCE(excluded.output_seq, steps.output_seq)",
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
    let mut touched: BTreeMap<&str, Trace<'_>> = BTreeMap::new();
    for (seq, event) in (last_seq + 1..).zip(record.events) {
        let Some(step) = event.step() else { continue };
        touched.entry(step).or_default().follow(event, seq);
    }
    let (mut steps, mut left) = (Batch::default(), Batch::default());
    for (path, trace) in touched {
        let Some(label) = label(record.workflow, path) else { continue };
        let (batch, sql, row) = match record.state.step(path) {
            Some(state) => (&mut steps, STEPS, row(path, &label, state, trace.output_seq)),
            None => match trace.row(path, &label, record.at) {
                Some(row) => (&mut left, LEFT, row),
                None => continue,
            },
        };
        if let Some(full) = batch.add(&row) {
            tx.execute(sql, args![record.execution_id, full]).await?;
        }
    }
    for (batch, sql) in [(steps, STEPS), (left, LEFT)] {
        if let Some(rest) = batch.rest() {
            tx.execute(sql, args![record.execution_id, rest]).await?;
        }
    }
    Ok(())
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

fn row(path: &str, label: &str, state: &StepState, output_seq: Option<i64>) -> Value {
    json!([
        path,
        label,
        state.status.as_str(),
        state.attempts,
        state.started_at,
        state.ended_at,
        state.error.as_ref().map(error_text),
        output_seq,
    ])
}

fn error_text(error: &StepError) -> String {
    json!({ "code": error.code, "message": error.message }).to_string()
}

/// What the events of one turn say about one step.
#[derive(Default)]
struct Trace<'e> {
    output_seq: Option<i64>,
    attempts: u32,
    end: Option<StepStatus>,
    error: Option<&'e StepError>,
}

impl<'e> Trace<'e> {
    fn follow(&mut self, event: &'e Event, seq: i64) {
        if has_output(event) {
            self.output_seq = Some(seq);
        }
        match event {
            Event::AttemptStarted { attempt, .. } => {
                self.attempts = *attempt;
                self.end = None;
            }
            Event::AttemptSucceeded { .. }
            | Event::StepCompleted { .. }
            | Event::StepResolved { resolution: Resolution::Completed { .. }, .. } => {
                self.end = Some(StepStatus::Completed);
            }
            Event::AttemptFailed { error, .. } => self.error = Some(error),
            Event::StepFailed { error, .. } => {
                self.error = Some(error);
                self.end = Some(StepStatus::Failed);
            }
            Event::StepSkipped { .. } => self.end = Some(StepStatus::Skipped),
            Event::StepCancelled { .. } => self.end = Some(StepStatus::Cancelled),
            _ => {}
        }
    }

    /// The row of a step that has ended and of which the state keeps nothing.
    fn row(&self, path: &str, label: &str, at: i64) -> Option<Value> {
        let (status, error) = (self.end?.as_str(), self.error.map(error_text));
        Some(json!([path, label, status, self.attempts, at, at, error, self.output_seq]))
    }
}

/// What a step does, in a word or two; the calls that find out about it and undo it have tools of their own.
fn label(workflow: &Workflow, path: &str) -> Option<String> {
    match workflow.tool_at(path) {
        Some(tool) => Some(tool.to_string()),
        None => workflow.step_at(path).map(windlass_engine::Step::label),
    }
}

fn has_output(event: &Event) -> bool {
    match event {
        Event::AttemptSucceeded { .. } | Event::StepCompleted { .. } => true,
        Event::StepVerified { output, .. } => output.is_some(),
        Event::StepResolved { resolution, .. } => {
            matches!(resolution, Resolution::Completed { .. })
        }
        _ => false,
    }
}
