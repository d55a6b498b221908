//! A group on Postgres: one statement, which is one transaction and one round trip.

mod single;
mod small;

use std::sync::{OnceLock, atomic::Ordering};

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

/// Where the rows of a group go: those of turns, of starts, of events and of steps.
const COLUMNS: [&Columns; 4] = [TURN_COLUMNS, NEW_COLUMNS, EVENT_COLUMNS, STEP_COLUMNS];

/// The rows of a group, each kind as [`COLUMNS`] has it.
type Rows<'r> = [Vec<Row<'r>>; 4];

fn sizes(rows: &Rows<'_>) -> [usize; 4] {
    rows.each_ref().map(Vec::len)
}

/// The statement over sources of so many rows of each kind; there is none of no rows.
///
/// The rows of executions are written in the order of their ids, in which everybody locks them: the turns come in that
/// order, and the plan takes one after the other. Nothing is written of a turn whose execution's row did not match.
fn text(sizes: [usize; 4], mut source: impl FnMut(&Columns, usize) -> String) -> String {
    let [turns, starts, events, steps] =
        std::array::from_fn(|kind| (0 < sizes[kind]).then(|| source(COLUMNS[kind], sizes[kind])));
    let (mut with, mut passed) = (Vec::new(), Vec::new());
    if let Some(turns) = turns {
        let update = update_from(&turns);
        with.push(format!("updated AS ({update} {RETURNING})"));
        passed.push("SELECT id, signals_in FROM updated");
    }
    if let Some(starts) = starts {
        let [_, insert] = insert_from(&starts);
        with.push(format!("started AS ({insert})"));
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

/// By which kinds of rows there are: one bit each.
static WITH_ARRAYS: [OnceLock<String>; 1 << COLUMNS.len()] =
    [const { OnceLock::new() }; 1 << COLUMNS.len()];

/// The statement for a group of any size, whose parameters are arrays.
fn statement_with_arrays(sizes: [usize; 4]) -> &'static str {
    let kinds = sizes.iter().rev().fold(0, |kinds, size| kinds << 1 | usize::from(0 < *size));
    WITH_ARRAYS[kinds].get_or_init(|| {
        let mut first = 1;
        text(sizes, |columns, _| {
            let source = rows::arrays(columns, first);
            first += columns.len();
            source
        })
    })
}

fn arrays(rows: Rows<'_>) -> Vec<Arg<'_>> {
    let kinds = COLUMNS.into_iter().zip(rows).filter(|(_, rows)| !rows.is_empty());
    kinds.flat_map(|(columns, rows)| rows::array_args(columns, rows)).collect()
}

/// Writes a group; the rows of executions come in the order of their ids.
pub(super) async fn write(connections: &Connections, group: Group) -> Result<Passed> {
    let Group { turns, starts, lines } = group;
    let (events, steps) = record::rows_of(lines.iter());
    let mut rows = [turns, starts, events, steps];
    let sizes = sizes(&rows);
    let with_values = single::statement(sizes).or_else(|| small::statement(&mut rows));
    let (sql, args) = match with_values {
        Some(sql) => (sql, rows.into_iter().flatten().flatten().collect()),
        None => (statement_with_arrays(sizes), arrays(rows)),
    };
    let passed = connections.all(sql, &args).await?;
    COMMITS.fetch_add(1, Ordering::Relaxed);
    Ok(passed)
}
