//! A group on Postgres: one statement, which is one transaction and one round trip.

mod single;
mod small;

use std::sync::{LazyLock, atomic::Ordering};

use super::{Group, Passed};
use crate::store::{
    Result,
    connections::Connections,
    create::{NEW_COLUMNS, insert_from},
    db::{Arg, COMMITS},
    record::{self, EVENT_COLUMNS, ON_KNOWN_STEP, STEP_COLUMNS, insert_into},
    rows::{self, Columns, Row},
    turn::{RETURNING, TURN_COLUMNS, update_from},
};

static TURNS: LazyLock<String> = LazyLock::new(|| with_arrays(true, false));
static STARTS: LazyLock<String> = LazyLock::new(|| with_arrays(false, true));
static BOTH: LazyLock<String> = LazyLock::new(|| with_arrays(true, true));

/// How many rows a group has.
#[derive(Clone, Copy)]
struct Size {
    turns: usize,
    starts: usize,
    events: usize,
    steps: usize,
}

fn with_arrays(turns: bool, starts: bool) -> String {
    let mut first = 1;
    let mut source = |columns: &Columns| {
        let source = rows::arrays(columns, first);
        first += columns.len();
        source
    };
    text([
        turns.then(|| source(TURN_COLUMNS)),
        starts.then(|| source(NEW_COLUMNS)),
        Some(source(EVENT_COLUMNS)),
        Some(source(STEP_COLUMNS)),
    ])
}

/// The statement over these sources of rows.
///
/// The rows of executions are written in the order of their ids, in which everybody locks them: the turns come in that
/// order, and the plan takes one after the other. Nothing is written of a turn whose execution's row did not match.
fn text([turns, starts, events, steps]: [Option<String>; 4]) -> String {
    let (mut with, mut passed) = (Vec::new(), Vec::new());
    if let Some(turns) = turns {
        let update = update_from(&turns);
        with.push(format!("updated AS ({update} {RETURNING})"));
        passed.push("SELECT id, signals_in FROM updated");
    }
    if let Some(starts) = starts {
        let [_, insert] = insert_from(&starts);
        with.push(format!("started AS ({insert} RETURNING id, signals_in)"));
        passed.push("SELECT id, signals_in FROM started");
    }
    with.push(format!("passed AS MATERIALIZED ({})", passed.join(" UNION ALL ")));
    let is_passed = "WHERE r.execution_id IN (SELECT id FROM passed)";
    if let Some(events) = events {
        let insert = insert_into("events", EVENT_COLUMNS);
        with.push(format!("new_events AS ({insert} {events} {is_passed})"));
    }
    if let Some(steps) = steps {
        let insert = insert_into("steps", STEP_COLUMNS);
        with.push(format!("new_steps AS ({insert} {steps} {is_passed} {ON_KNOWN_STEP})"));
    }
    format!("WITH {} SELECT id, signals_in FROM passed", with.join(", "))
}

/// Writes a group; the rows of executions come in the order of their ids.
pub(super) async fn write(connections: &Connections, group: Group) -> Result<Passed> {
    let Group { mut turns, mut starts, lines, .. } = group;
    let (mut events, mut steps) = record::rows_of(lines.iter());
    let size =
        Size { turns: turns.len(), starts: starts.len(), events: events.len(), steps: steps.len() };
    let with_values = single::statement(size)
        .or_else(|| small::statement(size, [&mut turns, &mut starts, &mut events, &mut steps]));
    let passed = match with_values {
        Some(sql) => {
            let rows = [turns, starts, events, steps].into_iter().flatten();
            let args: Vec<Arg<'_>> = rows.flatten().collect();
            connections.all(sql, &args).await?
        }
        None => {
            let args = arrays([turns, starts], [events, steps]);
            connections.all(size.statement_with_arrays(), &args).await?
        }
    };
    COMMITS.fetch_add(1, Ordering::Relaxed);
    Ok(passed)
}

impl Size {
    fn statement_with_arrays(self) -> &'static str {
        match (self.turns, self.starts) {
            (_, 0) => &TURNS,
            (0, _) => &STARTS,
            (_, _) => &BOTH,
        }
    }
}

fn arrays<'r>(executions: [Vec<Row<'r>>; 2], lines: [Vec<Row<'r>>; 2]) -> Vec<Arg<'r>> {
    let mut args = Vec::new();
    for (columns, rows) in [TURN_COLUMNS, NEW_COLUMNS].into_iter().zip(executions) {
        if !rows.is_empty() {
            args.extend(rows::array_args(columns, rows));
        }
    }
    for (columns, rows) in [EVENT_COLUMNS, STEP_COLUMNS].into_iter().zip(lines) {
        args.extend(rows::array_args(columns, rows));
    }
    args
}
