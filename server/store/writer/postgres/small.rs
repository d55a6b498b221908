//! A few turns and starts in one statement, with values where a larger group has arrays.
//!
//! PostgreSQL takes a third less for a small group of them: it goes through one list of rows instead of a function and a
//! store of rows for each column. But each number of rows is a statement of its own, which a connection keeps with its
//! plan, so there are few of them: rows of nothing fill the room that they have.

use std::sync::OnceLock;

use super::{Size, text};
use crate::store::{
    create::NEW_COLUMNS,
    record::{EVENT_COLUMNS, STEP_COLUMNS},
    rows::{self, Row},
    turn::TURN_COLUMNS,
};

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

/// The statement for a group of that size, and its rows filled up to the room that it has: its parameters are all their
/// values. `None` when there are too many.
pub(super) fn statement<'r>(
    size: Size,
    [turns, starts, events, steps]: [&mut Vec<Row<'r>>; 4],
) -> Option<&'static str> {
    let place_of = |count: usize| ROOMS.iter().position(|room| count <= *room);
    let (by_turns, by_starts) = (place_of(size.turns)?, place_of(size.starts)?);
    let (for_turns, for_starts) = (ROOMS[by_turns], ROOMS[by_starts]);
    let most = for_turns + for_starts;
    let by_events = EVENTS.iter().position(|each| size.events <= most * each)?;
    let (for_events, for_steps) = (most * EVENTS[by_events], most * STEPS);
    if MOST < most || for_steps < size.steps {
        return None;
    }
    let parts = [
        (TURN_COLUMNS, turns, for_turns),
        (NEW_COLUMNS, starts, for_starts),
        (EVENT_COLUMNS, events, for_events),
        (STEP_COLUMNS, steps, for_steps),
    ];
    let mut first = 1;
    let sources = parts.map(|(columns, rows, room)| {
        rows.resize_with(room, || rows::empty(columns));
        let source = (columns, room, first);
        first += columns.len() * room;
        source
    });
    Some(STATEMENTS[by_turns][by_starts][by_events].get_or_init(|| {
        text(
            sources.map(|(columns, room, first)| {
                (0 < room).then(|| rows::values(columns, room, first))
            }),
        )
    }))
}
