//! Writes what happened: the events of a turn, and the rows of the steps and requests they are about.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use serde_json::json;
use windlass_engine::{Event, Resolution, State, StepError, StepStatus, Workflow};

use super::{
    INLINE_LIMIT, Result, StepRow,
    db::{Arg, Sql, Tx, args, row},
    event_data, request,
    rows::{self, Columns, Row, Type},
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
    /// The worker that commits it; empty where none does.
    pub(super) worker: &'r str,
}

/// The rows of a turn, ready to be written.
pub(super) struct Lines {
    execution_id: Arc<str>,
    at: i64,
    worker: Arc<str>,
    events: Vec<EventLine>,
    steps: Vec<StepLine>,
}

struct EventLine {
    seq: i64,
    kind: &'static str,
    data: String,
    /// Whether it begins a commit.
    is_first: bool,
}

struct StepLine {
    step: String,
    tool: String,
    status: &'static str,
    attempts: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    error: Option<String>,
    found: Found,
}

pub(super) const EVENT_COLUMNS: &Columns = &[
    ("execution_id", Type::Text),
    ("seq", Type::Int),
    ("at", Type::Int),
    ("kind", Type::Text),
    ("data", Type::Text),
    ("committed_by", Type::Text),
];

pub(super) const STEP_COLUMNS: &Columns = &[
    ("execution_id", Type::Text),
    ("step", Type::Text),
    ("tool", Type::Text),
    ("status", Type::Text),
    ("attempts", Type::Int),
    ("started_at", Type::Int),
    ("ended_at", Type::Int),
    ("error", Type::Text),
    ("output_seq", Type::Int),
    ("params_seq", Type::Int),
];

/// A step has one row: what is known of it is brought up to date.
pub(super) const ON_KNOWN_STEP: &str = "ON CONFLICT (execution_id, step) DO UPDATE SET
    status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
    ended_at = excluded.ended_at, error = excluded.error,
    output_seq = COALESCE(excluded.output_seq, steps.output_seq),
    params_seq = COALESCE(excluded.params_seq, steps.params_seq)";

/// The beginning of a statement that writes rows.
pub(super) fn insert_into(table: &str, columns: &Columns) -> String {
    let names = rows::names(columns);
    format!("INSERT INTO {table} ({names}) SELECT {names} FROM")
}

static EVENTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let insert = insert_into("events", EVENT_COLUMNS);
    let (sqlite, postgres) = (rows::json_rows(EVENT_COLUMNS), rows::arrays(EVENT_COLUMNS, 1));
    [format!("{insert} {sqlite}"), format!("{insert} {postgres}")]
});

static STEPS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let insert = insert_into("steps", STEP_COLUMNS);
    let (sqlite, postgres) = (rows::json_rows(STEP_COLUMNS), rows::arrays(STEP_COLUMNS, 1));
    let text = |source: String| format!("{insert} {source} WHERE TRUE {ON_KNOWN_STEP}");
    [text(sqlite), text(postgres)]
});

pub(super) fn either(texts: &'static LazyLock<[String; 2]>) -> Sql {
    let [sqlite, postgres] = &**texts;
    Sql::Each { sqlite, postgres }
}

/// Writes the events after `last_seq`, and what they are about.
pub(super) async fn write(tx: &mut Tx, last_seq: i64, record: &Record<'_>) -> Result<()> {
    let mut lines = Lines::of(last_seq, record)?;
    if record.events.iter().any(|event| matches!(event, Event::ExecutionRetried { .. })) {
        lines.begin_anew(tx, record).await?;
    }
    lines.end_inside(tx, record).await?;
    let large = lines.take_large();
    let (events, steps) = rows_of(std::iter::once(&lines));
    write_rows(tx, either(&EVENTS), EVENT_COLUMNS, events).await?;
    write_rows(tx, either(&STEPS), STEP_COLUMNS, steps).await?;
    for (seq, data) in large {
        let sql = "INSERT INTO payloads (execution_id, seq, data) VALUES ($1, $2, $3)";
        tx.execute(sql, args![record.execution_id, seq, data]).await?;
    }
    let Record { workspace, execution_id, state, events, at, .. } = record;
    request::write(tx, workspace, execution_id, events, *at, state.status.is_final()).await
}

/// The rows of the events and of the steps of turns.
pub(super) fn rows_of<'l>(all: impl Iterator<Item = &'l Lines>) -> (Vec<Row<'l>>, Vec<Row<'l>>) {
    let (mut events, mut steps) = (Vec::new(), Vec::new());
    for lines in all {
        events.extend(lines.event_rows());
        steps.extend(lines.step_rows());
    }
    (events, steps)
}

async fn write_rows(tx: &mut Tx, sql: Sql, columns: &Columns, mut all: Vec<Row<'_>>) -> Result<()> {
    while !all.is_empty() {
        let mut bytes = 0;
        let fits = all.iter().take_while(|row| {
            let before = bytes;
            bytes += row.iter().map(Arg::bytes).sum::<usize>();
            before < BATCH
        });
        let rest = all.split_off(fits.count());
        let args = rows::args(tx, columns, std::mem::replace(&mut all, rest));
        tx.execute(sql, &args).await?;
    }
    Ok(())
}

impl Lines {
    /// The rows of what happened after `last_seq`.
    pub(super) fn of(last_seq: i64, record: &Record<'_>) -> Result<Lines> {
        let mut events = Vec::with_capacity(record.events.len());
        for (seq, event) in (last_seq + 1..).zip(record.events) {
            let (kind, data) = (event.kind(), event_data(event)?);
            events.push(EventLine { seq, kind, data, is_first: events.is_empty() });
        }
        Ok(Lines {
            execution_id: record.execution_id.into(),
            at: record.at,
            worker: record.worker.into(),
            events,
            steps: steps(last_seq, record),
        })
    }

    /// What begins anew has no row until it has begun; what is under way again has no result.
    async fn begin_anew(&mut self, tx: &mut Tx, record: &Record<'_>) -> Result<()> {
        let sql = "SELECT step, status FROM steps WHERE execution_id = $1";
        let known: Vec<(String, String)> = tx.all(sql, args![record.execution_id]).await?;
        for (path, status) in known {
            let Some(state) =
                record.state.step(&path).filter(|step| step.status.as_str() != status)
            else {
                continue;
            };
            let sql = "DELETE FROM steps WHERE execution_id = $1 AND step = $2";
            tx.execute(sql, args![record.execution_id, &path]).await?;
            let is_written = self.steps.iter().any(|line| line.step == path);
            if state.status != StepStatus::Pending && !is_written {
                self.steps.extend(step_line(record, &path, Found::default()));
            }
        }
        Ok(())
    }

    /// What a step holds ends with it where a person settles it: no event says so of each.
    async fn end_inside(&mut self, tx: &mut Tx, record: &Record<'_>) -> Result<()> {
        let settled: Vec<&str> = record.events.iter().filter_map(Event::settled_by_hand).collect();
        if settled.is_empty() {
            return Ok(());
        }
        let sql = "SELECT step, status FROM steps WHERE execution_id = $1";
        let known: Vec<(String, String)> = tx.all(sql, args![record.execution_id]).await?;
        for (path, status) in known {
            let has_changed =
                record.state.step(&path).is_some_and(|step| step.status.as_str() != status);
            let is_written = self.steps.iter().any(|line| line.step == path);
            if has_changed && !is_written && settled.iter().any(|step| is_inside(&path, step)) {
                self.steps.extend(step_line(record, &path, Found::default()));
            }
        }
        Ok(())
    }

    /// The execution that they are about.
    pub(super) fn execution_id(&self) -> &str {
        &self.execution_id
    }

    /// Whether an event is too large for a row among others.
    pub(super) fn has_large(&self) -> bool {
        self.events.iter().any(|event| INLINE_LIMIT < event.data.len())
    }

    /// About how many bytes it is.
    pub(super) fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| event.data.len() + 100).sum::<usize>();
        events + 200 * self.steps.len()
    }

    /// The events that have rows of their own; what is left has none of their data.
    fn take_large(&mut self) -> Vec<(i64, String)> {
        let large = self.events.iter_mut().filter(|event| INLINE_LIMIT < event.data.len());
        large.map(|event| (event.seq, std::mem::take(&mut event.data))).collect()
    }

    fn event_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.events.iter().map(|event| {
            let data = (!event.data.is_empty()).then_some(event.data.as_str());
            let worker = event.is_first.then_some(&*self.worker);
            let (seq, at) = (event.seq, self.at);
            row![&*self.execution_id, seq, at, event.kind, data, worker]
        })
    }

    fn step_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.steps.iter().map(|line| {
            row![
                &*self.execution_id,
                &line.step,
                &line.tool,
                line.status,
                line.attempts,
                line.started_at,
                line.ended_at,
                line.error.as_deref(),
                line.found.output,
                line.found.params,
            ]
        })
    }
}

/// The rows of the steps that a turn is about, as they are read.
pub(super) fn step_rows(last_seq: i64, record: &Record<'_>) -> Vec<StepRow> {
    let row = |line: StepLine| StepRow {
        step: line.step,
        tool: line.tool,
        status: line.status.to_owned(),
        attempts: line.attempts,
        started_at: line.started_at,
        ended_at: line.ended_at,
        error: line.error,
        output_seq: line.found.output,
        params_seq: line.found.params,
    };
    steps(last_seq, record).into_iter().map(row).collect()
}

fn steps(last_seq: i64, record: &Record<'_>) -> Vec<StepLine> {
    let mut touched: BTreeMap<&str, Found> = BTreeMap::new();
    for (seq, event) in (last_seq + 1..).zip(record.events) {
        let Some(step) = event.step() else { continue };
        let found = touched.entry(step).or_default();
        found.output = has_output(event).then_some(seq).or(found.output);
        found.params = has_params(event).then_some(seq).or(found.params);
    }
    touched.into_iter().filter_map(|(path, found)| step_line(record, path, found)).collect()
}

fn step_line(record: &Record<'_>, path: &str, found: Found) -> Option<StepLine> {
    let (tool, state) = (label(record.workflow, path)?, record.state.step(path)?);
    Some(StepLine {
        step: path.to_owned(),
        tool,
        status: state.status.as_str(),
        attempts: i64::from(state.attempts),
        started_at: state.started_at,
        ended_at: state.ended_at,
        error: state.error.as_ref().map(error_text),
        found,
    })
}

/// Whether a step belongs to another one: to a group, an iteration or an instance of it.
fn is_inside(path: &str, step: &str) -> bool {
    path.strip_prefix(step).is_some_and(|rest| rest.starts_with(['/', '[']))
}

/// The events of a turn that hold what a step was given, and what it resulted in.
#[derive(Clone, Copy, Default)]
struct Found {
    output: Option<i64>,
    params: Option<i64>,
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
        Event::AttemptSucceeded { .. } | Event::StepReused { .. } => true,
        Event::StepCompleted { output, .. } | Event::StepVerified { output, .. } => {
            output.is_some()
        }
        Event::StepResolved { resolution, .. } => {
            matches!(resolution, Resolution::Completed { .. })
        }
        _ => false,
    }
}
