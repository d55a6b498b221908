//! What must hold in every world, and what must be reached in some.
//!
//! That something comes about in the end is said of the worlds in which nothing can happen any more: every schedule is
//! finite, because faults are counted, and so each leads to one of them.

use stateright::Property;

use crate::{
    Model, allowed,
    workflow::{Event, State, Status},
    world::{Row, Signal, Wake, World},
};

/// Every execution ends.
pub const ENDS: &str = "every execution ends";
/// No two epochs commit one number.
pub const ONE_EPOCH: &str = "no two epochs commit one number";
/// No number is written twice.
pub const ONCE: &str = "a commit whose answer was lost is not applied twice";
/// The history is a line.
pub const LINE: &str = "a history is a single line that says how its execution stands";
/// Who was replaced writes nothing.
pub const REPLACED: &str = "a worker that was replaced commits nothing";
/// What is unread is due.
pub const NOT_LOST: &str = "a signal that was taken keeps its execution due until it is read";
/// What is read is written.
pub const HEARD: &str = "a signal that is done with is in the history";
/// The effect of a call.
pub const EFFECT: &str = "a call that must not be repeated has its effect at most once";
/// A pause is one.
pub const PAUSED: &str = "nothing begins in a pause";
/// The intent comes first.
pub const INTENT: &str = "a call goes out only after its intent was committed";

/// What is worth seeing: a model that never gets there shows nothing.
pub const REACHED: [&str; 4] = [TAKEN_OVER, REPLACED_UNKNOWN, SENT_AGAIN, UNCERTAIN];
const TAKEN_OVER: &str = "an execution that one worker began is ended by another";
const REPLACED_UNKNOWN: &str = "a worker that was replaced does not know it yet";
const SENT_AGAIN: &str = "a turn that was written is sent again";
const UNCERTAIN: &str = "a person has to say what became of a call";

pub(crate) fn all() -> Vec<Property<Model>> {
    vec![
        Property::always(ENDS, |_: &Model, world: &World| is_safe_to_stop(world)),
        Property::always(ONE_EPOCH, |_: &Model, world: &World| {
            world.rows.iter().all(has_one_epoch_a_number)
        }),
        Property::always(ONCE, |_: &Model, world: &World| {
            world.rows.iter().all(has_each_number_once)
        }),
        Property::always(LINE, |_: &Model, world: &World| {
            !world.is_nonsense && world.rows.iter().all(is_line)
        }),
        Property::always(REPLACED, |_: &Model, world: &World| {
            world.rows.iter().all(|row| row.written.iter().all(|written| !written.is_stale))
        }),
        Property::always(NOT_LOST, |_: &Model, world: &World| {
            world.rows.iter().all(loses_no_signal)
        }),
        Property::always(HEARD, |_: &Model, world: &World| {
            world.rows.iter().all(writes_what_it_read)
        }),
        Property::always(EFFECT, |_: &Model, world: &World| {
            world.rows.iter().all(|row| row.effects <= 1)
        }),
        Property::always(PAUSED, |_: &Model, world: &World| world.rows.iter().all(rests_in_pause)),
        Property::always(INTENT, |_: &Model, world: &World| world.rows.iter().all(has_intent)),
        Property::sometimes(TAKEN_OVER, |_: &Model, world: &World| {
            world.rows.iter().any(|row| row.status.is_final() && was_taken_over(row))
        }),
        Property::sometimes(REPLACED_UNKNOWN, |_: &Model, world: &World| {
            let is_old = |drive: &crate::world::Drive| {
                drive.pending.is_some() && drive.key.epoch < world.row(drive.key.execution).epoch
            };
            world.drives.iter().any(is_old)
        }),
        Property::sometimes(SENT_AGAIN, |_: &Model, world: &World| {
            world.drives.iter().any(|drive| {
                let row = world.row(drive.key.execution);
                let was_sent = drive.pending.as_ref().is_some_and(|pending| pending.was_sent);
                was_sent && drive.last_seq < row.last_seq && drive.key.epoch == row.epoch
            })
        }),
        Property::sometimes(UNCERTAIN, |_: &Model, world: &World| {
            world.rows.iter().any(|row| row.history().any(|event| event == Event::StepUncertain))
        }),
    ]
}

fn is_safe_to_stop(world: &World) -> bool {
    if world.rows.iter().all(|row| row.status.is_final()) {
        return true;
    }
    let mut actions = Vec::new();
    allowed::actions(world, &mut actions);
    !actions.is_empty()
}

fn has_one_epoch_a_number(row: &Row) -> bool {
    let mut written = row.written.iter().enumerate();
    written.all(|(at, one)| {
        let mut before = row.written[..at].iter();
        before.all(|other| other.seq != one.seq || other.epoch == one.epoch)
    })
}

fn has_each_number_once(row: &Row) -> bool {
    let mut written = row.written.iter().enumerate();
    written.all(|(at, one)| {
        let mut before = row.written[..at].iter();
        before.all(|other| other.seq != one.seq || other.epoch != one.epoch)
    })
}

fn is_line(row: &Row) -> bool {
    let in_order = (1..).zip(&row.written).all(|(seq, written)| written.seq == seq);
    let is_all = row.written.len() == usize::from(row.last_seq);
    let state = State::of(row.history());
    in_order
        && is_all
        && state.is_ok_and(|state| state.status == row.status || is_opened(row, state))
}

/// It has failed and is opened again, which whoever drives it has not written yet.
fn is_opened(row: &Row, state: State) -> bool {
    let unread = &row.signals[usize::from(row.signals_done)..];
    (state.status, row.status) == (Status::Failed, Status::Running)
        && unread.contains(&Signal::Retry)
}

fn rests_in_pause(row: &Row) -> bool {
    let mut paused = false;
    row.history().all(|event| {
        paused = (paused || event == Event::ExecutionPaused) && event != Event::ExecutionResumed;
        !(paused && event.begins())
    })
}

fn loses_no_signal(row: &Row) -> bool {
    row.status.is_final() || row.signals_in() <= row.signals_done || row.wake != Wake::Far
}

fn writes_what_it_read(row: &Row) -> bool {
    let done = &row.signals[..usize::from(row.signals_done)];
    let events = done.iter().filter(|signal| matches!(signal, Signal::Event(_))).count();
    events == row.history().filter(|event| matches!(event, Event::EventReceived(_))).count()
}

fn has_intent(row: &Row) -> bool {
    let intents = row.history().filter(|event| *event == Event::AttemptStarted).count();
    usize::from(row.effects) <= intents
}

fn was_taken_over(row: &Row) -> bool {
    let first = row.written.iter().find(|written| written.event == Event::AttemptStarted);
    let last = row.written.last();
    first.zip(last).is_some_and(|(first, last)| first.epoch != last.epoch)
}
