//! The rules hold within every bound that is tried, and each mistake that is put in is found.

#![allow(
    clippy::print_stdout,
    reason = "how much was explored is a figure that people want to see"
)]

use std::collections::BTreeSet;

use crate::{
    Mistakes, Model,
    properties::{EFFECT, ENDS, HEARD, LINE, NOT_LOST, ONCE, PAUSED, REACHED, REPLACED},
    schedules::{Explored, explore, find_failure},
    world::Budget,
};

/// Explores everything; whatever must always hold does. What was reached.
fn holds(what: &str, model: Model) -> BTreeSet<&'static str> {
    let Explored { states, unique, depth, found } = explore(model);
    println!("{what}: {states} steps, {unique} different worlds, at most {depth} in a row");
    for (name, schedule) in &found {
        assert!(REACHED.contains(name), "it does not hold that {name}: {schedule:#?}");
    }
    found.into_keys().collect()
}

fn one(workers: u8, budget: Budget) -> Model {
    Model { workers, executions: 1, budget, mistakes: Mistakes::default() }
}

fn two(workers: u8, budget: Budget) -> Model {
    Model { executions: 2, ..one(workers, budget) }
}

#[test]
fn nothing_is_lost_or_done_twice_when_workers_crash_and_answers_are_lost() {
    let reached = holds(
        "crashes and lost answers",
        one(2, Budget { ticks: 2, crashes: 1, losses: 1, ..Budget::NONE }),
    );
    assert_eq!(reached, REACHED.into(), "whatever is worth seeing is seen");
    holds("three workers, crashes", one(3, Budget { ticks: 2, crashes: 1, ..Budget::NONE }));
    holds("crashes alone", one(2, Budget { crashes: 2, ..Budget::NONE }));
}

#[test]
fn nothing_is_lost_or_done_twice_when_words_come_in_at_any_time() {
    let words = Budget { noise: 1, ..Budget::NONE };
    holds("words, slow workers, lost answers", one(2, Budget { ticks: 2, losses: 1, ..words }));
    holds("words, crashes, lost answers", one(2, Budget { crashes: 1, losses: 1, ..words }));
    holds("two opinions", one(2, Budget { crashes: 1, opinions: 1, ..words }));
    holds("two opinions of two calls", one(2, Budget { crashes: 2, opinions: 2, ..Budget::NONE }));
}

#[test]
fn nothing_is_lost_or_done_twice_when_workers_are_stopped_and_go_on() {
    let frozen = Budget { freezes: 1, ..Budget::NONE };
    holds("stopped", one(2, Budget { ticks: 1, ..frozen }));
    holds("stopped, renewals", one(2, Budget { renewals: 1, held_back: 1, ..frozen }));
    holds("stopped, lost answers", one(2, Budget { losses: 1, ..frozen }));
    holds("slow, renewals", one(2, Budget { ticks: 3, renewals: 1, ..Budget::NONE }));
    let ways_out =
        Budget { set_asides: 1, hand_backs: 1, held_back: 1, failures: 1, ..Budget::NONE };
    holds("slow, every way out", one(2, Budget { ticks: 2, ..ways_out }));
}

#[test]
fn nothing_is_lost_or_done_twice_when_a_living_worker_is_taken_for_dead() {
    let absent = Budget { absences: 1, ..Budget::NONE };
    holds("locks that vanish", one(2, Budget { ticks: 1, ..absent }));
    holds("locks that vanish, renewals", one(2, Budget { renewals: 1, ..absent }));
    holds("locks that vanish, crashes", one(2, Budget { crashes: 1, ..absent }));
    holds("locks that vanish, lost answers", one(2, Budget { losses: 1, ..absent }));
}

#[test]
fn turns_of_several_executions_are_written_together_and_fenced_one_by_one() {
    holds("a group", two(1, Budget { crashes: 1, ..Budget::NONE }));
    holds("a group, lost answers", two(1, Budget { losses: 1, ..Budget::NONE }));
    holds("two groups", two(2, Budget::NONE));
    holds("two groups, lost answers", two(2, Budget { losses: 1, ..Budget::NONE }));
    let slow = two(2, Budget { ticks: 1, ..Budget::NONE });
    holds("two groups, slow", slow);
}

#[test]
fn nothing_is_lost_or_done_twice_when_somebody_pauses_an_execution() {
    let pauses = Budget { pauses: 1, ..Budget::NONE };
    holds("pauses, crashes", one(2, Budget { crashes: 1, ..pauses }));
    holds("pauses, lost answers", one(2, Budget { losses: 1, ..pauses }));
    holds("pauses, slow workers", one(2, Budget { ticks: 2, ..pauses }));
    let ways_out = Budget { hand_backs: 1, held_back: 1, failures: 1, ..pauses };
    holds("pauses, every way out", one(1, ways_out));
}

#[test]
fn nothing_is_lost_or_done_twice_when_somebody_has_a_failed_execution_go_on() {
    let again = Budget { failures: 1, reopenings: 2, ..Budget::NONE };
    holds("going on, crashes", one(2, Budget { crashes: 1, ..again }));
    holds("going on, lost answers", one(2, Budget { losses: 1, ..again }));
    holds("going on, slow workers", one(2, Budget { ticks: 1, ..again }));
    holds("going on, words", one(1, Budget { noise: 1, pauses: 1, ..again }));
    holds("going on twice", one(1, Budget { failures: 2, noise: 1, ..again }));
}

/// What a mistake leads to, within bounds in which all is well without it.
fn found(mistakes: Mistakes, model: Model) -> BTreeSet<&'static str> {
    holds("without the mistake", model);
    let broken = Model { mistakes, ..model };
    let (name, schedule) = find_failure(broken).expect("the mistake is found");
    println!("{mistakes:?}: it does not hold that {name}, after {} steps", schedule.len());
    let all = explore(broken).found.into_keys();
    all.filter(|name| !REACHED.contains(name)).collect()
}

#[test]
fn a_commit_that_compares_no_epoch_is_found() {
    let mistakes = Mistakes { no_fence: true, ..Mistakes::default() };
    let found = found(mistakes, one(2, Budget { ticks: 2, ..Budget::NONE }));
    // Calls are safe even so: who was replaced has not renewed its lease for too long to start one.
    assert_eq!(found, [REPLACED].into());
}

#[test]
fn a_signal_that_is_lost_on_commit_is_found() {
    let mistakes = Mistakes { signals_forgotten: true, ..Mistakes::default() };
    let found = found(mistakes, one(1, Budget::NONE));
    assert_eq!(found, [ENDS, NOT_LOST].into());
}

#[test]
fn a_turn_that_is_written_twice_is_found() {
    let mistakes = Mistakes { numbers_not_compared: true, ..Mistakes::default() };
    let found = found(mistakes, one(1, Budget { losses: 1, ..Budget::NONE }));
    assert!(found.contains(ONCE) && found.contains(LINE), "{found:?}");
}

#[test]
fn a_lease_that_is_counted_from_the_answer_of_its_renewal_is_found() {
    let mistakes = Mistakes { renewed_from_answer: true, ..Mistakes::default() };
    let found = found(mistakes, one(2, Budget { ticks: 3, renewals: 1, ..Budget::NONE }));
    assert_eq!(found, [EFFECT].into());
}

#[test]
fn a_worker_that_trusts_its_leases_although_its_lock_was_gone_is_found() {
    let mistakes = Mistakes { present_without_renewal: true, ..Mistakes::default() };
    let found = found(mistakes, one(2, Budget { absences: 1, ..Budget::NONE }));
    assert_eq!(found, [EFFECT].into());
}

#[test]
fn a_pause_in_which_something_begins_is_found() {
    let mistakes = Mistakes { goes_on_in_pause: true, ..Mistakes::default() };
    let found = found(mistakes, one(1, Budget { pauses: 1, ..Budget::NONE }));
    assert_eq!(found, [PAUSED].into());
}

#[test]
fn an_execution_that_is_opened_again_although_it_went_on_is_found() {
    let mistakes = Mistakes { reopened_unseen: true, ..Mistakes::default() };
    let found = found(mistakes, one(1, Budget { failures: 1, reopenings: 2, ..Budget::NONE }));
    assert!(found.contains(LINE), "{found:?}");
}

#[test]
fn an_event_that_nobody_heard_before_the_execution_failed_is_found() {
    let mistakes = Mistakes { too_late_for_ever: true, ..Mistakes::default() };
    let found = found(mistakes, one(1, Budget { failures: 1, reopenings: 1, ..Budget::NONE }));
    assert_eq!(found, [ENDS, HEARD].into());
}
