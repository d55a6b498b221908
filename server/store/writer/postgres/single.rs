//! One turn or one start that shares its statement with no other: a part of the statement for each of its rows.
//!
//! PostgreSQL takes two thirds of the time for them, and a lone execution waits for each of its turns.

use std::sync::LazyLock;

use crate::store::{
    create::{INSERT, NEW_COLUMNS},
    record::{EVENT_COLUMNS, ON_KNOWN_STEP, STEP_COLUMNS, insert_into},
    rows::{self, Columns},
    turn::{TURN_COLUMNS, UPDATE},
};

/// With more events than this it is written as a group is: every number of them is a statement of its own.
const MOST_EVENTS: usize = 4;

/// The same for steps.
const MOST_STEPS: usize = 3;

/// By the number of events, then by that of steps.
type Statements = [[String; MOST_STEPS + 1]; MOST_EVENTS + 1];

static TURN: LazyLock<Statements> = LazyLock::new(|| statements(TURN_COLUMNS, &UPDATE[1]));
static START: LazyLock<Statements> = LazyLock::new(|| statements(NEW_COLUMNS, &INSERT[1]));

fn statements(columns: &Columns, execution: &str) -> Statements {
    let of = |events, steps| text(columns, execution, events, steps);
    std::array::from_fn(|events| std::array::from_fn(|steps| of(events, steps)))
}

/// Nothing is written of a turn whose execution's row did not match.
fn text(columns: &Columns, execution: &str, events: usize, steps: usize) -> String {
    let mut with = vec![format!("passed AS ({execution})")];
    let mut first = columns.len() + 1;
    let mut insert = |table, columns: &Columns, then| {
        let (insert, row) = (insert_into(table, columns), rows::one(columns, first));
        with.push(format!("{table}_{first} AS ({insert} {row}, passed {then})"));
        first += columns.len();
    };
    for _ in 0..events {
        insert("events", EVENT_COLUMNS, "");
    }
    for _ in 0..steps {
        insert("steps", STEP_COLUMNS, ON_KNOWN_STEP);
    }
    format!("WITH {} SELECT id, signals_in FROM passed", with.join(", "))
}

/// The statement for so many turns, starts, events and steps, whose parameters are all values of all rows. `None` when it
/// is no single one, or has too many rows.
pub(super) fn statement(rows: [usize; 4]) -> Option<&'static str> {
    let (statements, events, steps) = match rows {
        [1, 0, events, steps] => (&TURN, events, steps),
        [0, 1, events, steps] => (&START, events, steps),
        _ => return None,
    };
    Some(statements.get(events)?.get(steps)?)
}
