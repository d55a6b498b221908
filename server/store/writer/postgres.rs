//! A group on Postgres: one statement, which is one transaction and one round trip.

use std::sync::{LazyLock, Mutex};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::{Passed, Write, lock};
use crate::store::{
    Result,
    db::all_on,
    execution::NEW_COLUMNS,
    open,
    record::{self, EVENT_COLUMNS, Lines, ON_KNOWN_STEP, STEP_COLUMNS, insert_into},
    rows::{self, Columns},
    turn::{RETURNING, TURN_COLUMNS, update_from},
};

/// What a statement writes beside events and steps.
#[derive(Clone, Copy)]
struct Parts {
    turns: bool,
    starts: bool,
}

static TURNS: LazyLock<String> = LazyLock::new(|| text(Parts { turns: true, starts: false }));
static STARTS: LazyLock<String> = LazyLock::new(|| text(Parts { turns: false, starts: true }));
static BOTH: LazyLock<String> = LazyLock::new(|| text(Parts { turns: true, starts: true }));

/// The rows of executions are locked before they are written, in the order of their ids, in which everybody locks them.
/// Nothing is written of a turn whose execution's row did not match.
fn text(parts: Parts) -> String {
    let (mut with, mut passed, mut first) = (Vec::new(), Vec::new(), 1);
    let mut source = |columns: &Columns| {
        let source = rows::arrays(columns, first);
        first += columns.len();
        source
    };
    if parts.turns {
        // That they are all held is asked once, before the first of them is written.
        let update = update_from("turns AS r", "(SELECT COUNT(*) FROM held) IS NOT NULL");
        let turns = source(TURN_COLUMNS);
        with.push(format!("turns AS (SELECT * FROM {turns})"));
        with.push(
            "held AS MATERIALIZED (SELECT e.id FROM executions AS e WHERE e.id IN (SELECT id FROM turns)
             ORDER BY e.id FOR NO KEY UPDATE)"
                .to_owned(),
        );
        with.push(format!("updated AS ({update} {RETURNING})"));
        passed.push("SELECT id, signals_in FROM updated");
    }
    if parts.starts {
        let insert = insert_into("executions", NEW_COLUMNS);
        let starts = source(NEW_COLUMNS);
        with.push(format!("started AS ({insert} {starts} RETURNING id, signals_in)"));
        passed.push("SELECT id, signals_in FROM started");
    }
    with.push(format!("passed AS MATERIALIZED ({})", passed.join(" UNION ALL ")));
    let is_passed = "WHERE r.execution_id IN (SELECT id FROM passed)";
    let (events, insert) = (source(EVENT_COLUMNS), insert_into("events", EVENT_COLUMNS));
    with.push(format!("new_events AS ({insert} {events} {is_passed})"));
    let (steps, insert) = (source(STEP_COLUMNS), insert_into("steps", STEP_COLUMNS));
    with.push(format!("new_steps AS ({insert} {steps} {is_passed} {ON_KNOWN_STEP})"));
    format!("WITH {} SELECT id, signals_in FROM passed", with.join(", "))
}

/// The connections that groups are written over: never more than there are groups under way. They belong to nobody else,
/// so that nobody asks between two groups whether they live.
pub(super) struct Connections {
    options: PgConnectOptions,
    idle: Mutex<Vec<PgConnection>>,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions) -> Connections {
        Connections { options, idle: Mutex::default() }
    }

    /// Writes a group. A connection that fails is not used again.
    pub(super) async fn write(&self, writes: &[Write]) -> Result<Passed> {
        let idle = lock(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open::connect_writer(&self.options).await?,
        };
        let passed = write(&mut connection, writes).await?;
        lock(&self.idle).push(connection);
        Ok(passed)
    }

    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *lock(&self.idle));
        for connection in idle {
            // What cannot be closed is gone.
            _ = connection.close().await;
        }
    }
}

async fn write(connection: &mut PgConnection, writes: &[Write]) -> Result<Passed> {
    let (mut turns, mut starts) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Turn(turn) => turns.push(turn.row.clone()),
            Write::Start(start) => starts.push(start.row.clone()),
        }
    }
    let lines: Vec<&Lines> = writes.iter().map(Write::lines).collect();
    let (events, steps) = record::rows_of(&lines);
    let sql: &'static str = match (turns.is_empty(), starts.is_empty()) {
        (_, true) => &TURNS,
        (true, false) => &STARTS,
        (false, false) => &BOTH,
    };
    let mut args = Vec::new();
    if !turns.is_empty() || starts.is_empty() {
        args.extend(rows::array_args(TURN_COLUMNS, turns));
    }
    if !starts.is_empty() {
        args.extend(rows::array_args(NEW_COLUMNS, starts));
    }
    args.extend(rows::array_args(EVENT_COLUMNS, events));
    args.extend(rows::array_args(STEP_COLUMNS, steps));
    Ok(all_on(connection, sql, &args).await?)
}
