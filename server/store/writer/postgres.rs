//! A group on Postgres: one statement, which is one transaction and one round trip.

mod single;

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

/// What a statement writes beside events and steps.
#[derive(Clone, Copy)]
struct Parts {
    turns: bool,
    starts: bool,
}

static TURNS: LazyLock<String> = LazyLock::new(|| text(Parts { turns: true, starts: false }));
static STARTS: LazyLock<String> = LazyLock::new(|| text(Parts { turns: false, starts: true }));
static BOTH: LazyLock<String> = LazyLock::new(|| text(Parts { turns: true, starts: true }));

/// The rows of executions are written in the order of their ids, in which everybody locks them: the turns come in that
/// order, and the plan takes one after the other. Nothing is written of a turn whose execution's row did not match.
fn text(parts: Parts) -> String {
    let (mut with, mut passed, mut first) = (Vec::new(), Vec::new(), 1);
    let mut source = |columns: &Columns| {
        let source = rows::arrays(columns, first);
        first += columns.len();
        source
    };
    if parts.turns {
        let update = update_from(&source(TURN_COLUMNS));
        with.push(format!("updated AS ({update} {RETURNING})"));
        passed.push("SELECT id, signals_in FROM updated");
    }
    if parts.starts {
        let [_, insert] = insert_from(&source(NEW_COLUMNS));
        with.push(format!("started AS ({insert} RETURNING id, signals_in)"));
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

/// Writes a group; the rows of executions come in the order of their ids.
pub(super) async fn write(connections: &Connections, group: Group) -> Result<Passed> {
    let Group { turns, starts, lines, .. } = group;
    let (events, steps) = record::rows_of(lines.iter());
    let size =
        Size { turns: turns.len(), starts: starts.len(), events: events.len(), steps: steps.len() };
    let passed = match single::statement(size) {
        Some(sql) => {
            let rows = [turns, starts, events, steps].into_iter().flatten();
            let args: Vec<Arg<'_>> = rows.flatten().collect();
            connections.all(sql, &args).await?
        }
        None => {
            let args = arrays([turns, starts], [events, steps]);
            connections.all(size.statement(), &args).await?
        }
    };
    COMMITS.fetch_add(1, Ordering::Relaxed);
    Ok(passed)
}

/// How many rows a group has.
#[derive(Clone, Copy)]
struct Size {
    turns: usize,
    starts: usize,
    events: usize,
    steps: usize,
}

impl Size {
    /// The statement for as many rows as there are.
    fn statement(self) -> &'static str {
        match (self.turns, self.starts) {
            (_, 0) => &TURNS,
            (0, _) => &STARTS,
            (_, _) => &BOTH,
        }
    }
}

fn arrays<'r>(executions: [Vec<Row<'r>>; 2], about: [Vec<Row<'r>>; 2]) -> Vec<Arg<'r>> {
    let mut args = Vec::new();
    for (columns, rows) in [TURN_COLUMNS, NEW_COLUMNS].into_iter().zip(executions) {
        if !rows.is_empty() {
            args.extend(rows::array_args(columns, rows));
        }
    }
    for (columns, rows) in [EVENT_COLUMNS, STEP_COLUMNS].into_iter().zip(about) {
        args.extend(rows::array_args(columns, rows));
    }
    args
}
