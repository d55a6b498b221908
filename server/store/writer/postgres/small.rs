//! A few turns and starts in one statement, with values where a larger group has arrays.
//!
//! PostgreSQL takes a third less for a small group of them: it goes through one list of rows instead of a function and a
//! store of rows for each column. But each number of rows is a statement of its own, which a connection keeps with its
//! plan, so there are few of them: rows of nothing fill the room that they have.

use std::sync::OnceLock;

use super::{COLUMNS, Rows, sizes, text};
use crate::store::rows;

/// More turns and starts than this, the room that stays empty included, are written as arrays.
const MOST: usize = 8;

/// The room that there is for turns, and for starts.
const ROOMS: [usize; 4] = [0, 2, 4, MOST];

/// How many events there is room for, for each turn and start: most have two.
const EVENTS: [usize; 2] = [2, 4];

/// The same for steps.
const STEPS: usize = 2;

/// By the room for turns and that for starts, by their places in [`ROOMS`], and that for events, in [`EVENTS`].
type Statements = [[[OnceLock<String>; EVENTS.len()]; ROOMS.len()]; ROOMS.len()];

static STATEMENTS: Statements =
    [const { [const { [const { OnceLock::new() }; EVENTS.len()] }; ROOMS.len()] }; ROOMS.len()];

/// The statement for a group of these rows, which are filled up to the room that it has: its parameters are all their
/// values. `None` when there are too many.
pub(super) fn statement(rows: &mut Rows<'_>) -> Option<&'static str> {
    let [turns, starts, events, steps] = sizes(rows);
    let place_of = |count: usize| ROOMS.iter().position(|room| count <= *room);
    let (by_turns, by_starts) = (place_of(turns)?, place_of(starts)?);
    let most = ROOMS[by_turns] + ROOMS[by_starts];
    let by_events = EVENTS.iter().position(|each| events <= most * each)?;
    if MOST < most || most * STEPS < steps {
        return None;
    }
    let rooms = [ROOMS[by_turns], ROOMS[by_starts], most * EVENTS[by_events], most * STEPS];
    for ((columns, rows), room) in COLUMNS.into_iter().zip(rows).zip(rooms) {
        rows.resize_with(room, || rows::empty(columns));
    }
    let sql = STATEMENTS[by_turns][by_starts][by_events].get_or_init(|| {
        let mut first = 1;
        text(rooms, |columns, room| {
            let source = rows::values(columns, room, first);
            first += columns.len() * room;
            source
        })
    });
    Some(sql)
}
