//! Queues as tables: who asked in which order, and what everybody hears.

use super::*;

fn desk(execution_id: &str, places: &[(i64, &str, bool, bool)]) -> Desk {
    let place = |(number, execution_id, is_ready, is_granted): &(i64, &str, bool, bool)| {
        let execution_id = (*execution_id).to_owned();
        let place =
            Place { execution_id, step: None, is_ready: *is_ready, is_granted: *is_granted };
        (("k".to_owned(), *number), place)
    };
    let places: BTreeMap<_, _> = places.iter().map(place).collect();
    Desk {
        execution_id: execution_id.to_owned(),
        before: places.clone(),
        places,
        ..Desk::default()
    }
}

fn wanted(step: Option<&str>, on_busy: OnBusy, ready: bool) -> Event {
    Event::LockRequested { step: step.map(str::to_owned), key: "k".into(), on_busy, ready }
}

fn released() -> Event {
    Event::LockReleased { step: None, key: "k".into() }
}

/// Who hears what, in a word each.
fn said(desk: &Desk) -> Vec<(&str, &str)> {
    let word = |signal: &Signal| match signal {
        Signal::LockGranted { .. } => "granted",
        Signal::LockRefused { .. } => "refused",
        Signal::Cancel { .. } => "cancel",
        _ => "something else",
    };
    desk.signals.iter().map(|(id, signal)| (id.as_str(), word(signal))).collect()
}

fn numbers(desk: &Desk) -> Vec<i64> {
    desk.places.keys().map(|(_, number)| *number).collect()
}

#[test]
fn a_free_lock_is_granted_at_once() {
    let mut desk = desk("a", &[]);
    desk.take(&wanted(None, OnBusy::Reject, true));
    assert_eq!((said(&desk), numbers(&desk)), (vec![("a", "granted")], vec![1]));
}

#[test]
fn a_busy_lock_is_waited_for_refused_or_taken_over() {
    let busy = [(4, "b", true, true)];
    for (on_busy, hears, places) in [
        (OnBusy::Queue, vec![], vec![4, 5]),
        (OnBusy::Reject, vec![("a", "refused")], vec![4]),
        (OnBusy::Replace, vec![("b", "cancel")], vec![4, 5]),
    ] {
        let mut desk = desk("a", &busy);
        desk.take(&wanted(None, on_busy, true));
        assert_eq!((said(&desk), numbers(&desk)), (hears, places), "{on_busy:?}");
    }
}

#[test]
fn what_is_given_back_goes_to_the_next_who_is_ready() {
    let mut desk =
        desk("a", &[(1, "a", true, true), (2, "thinks", false, false), (3, "c", true, false)]);
    desk.take(&released());
    assert_eq!((said(&desk), numbers(&desk)), (vec![("c", "granted")], vec![2, 3]));
}

#[test]
fn a_kept_place_counts_from_when_it_was_taken() {
    let mut desk = desk("a", &[(1, "b", true, true)]);
    desk.take(&wanted(None, OnBusy::Reject, false));
    assert_eq!(
        (said(&desk), numbers(&desk)),
        (vec![], vec![1, 2]),
        "nobody is refused for thinking"
    );
    desk.take(&wanted(None, OnBusy::Queue, true));
    assert_eq!(numbers(&desk), [1, 2], "the same place");
    assert!(desk.places[&("k".to_owned(), 2)].is_ready);
}

#[test]
fn a_free_lock_is_not_kept_for_one_who_thinks() {
    let mut desk = desk("a", &[(1, "thinks", false, false)]);
    desk.take(&wanted(None, OnBusy::Queue, true));
    assert_eq!(said(&desk), [("a", "granted")]);
}

#[test]
fn two_steps_of_one_execution_wait_for_each_other_and_stop_nobody() {
    let mut desk = desk("a", &[]);
    desk.take(&wanted(Some("x"), OnBusy::Replace, true));
    desk.take(&wanted(Some("y"), OnBusy::Replace, true));
    assert_eq!(said(&desk), [("a", "granted")]);
    desk.take(&Event::LockReleased { step: Some("x".into()), key: "k".into() });
    assert_eq!(said(&desk), [("a", "granted"), ("a", "granted")]);
}

#[test]
fn the_end_of_an_execution_frees_all_it_had() {
    let mut desk = desk("a", &[(1, "a", true, true), (2, "a", true, false), (3, "b", true, false)]);
    desk.leave();
    assert_eq!((said(&desk), numbers(&desk)), (vec![("b", "granted")], vec![3]));
}

#[test]
fn what_an_execution_above_holds_is_there_already_and_no_other_is_to_be_had() {
    let mut desk = desk("a", &[(1, "root", true, true)]);
    let key = |key: &str| Some(key.to_owned());
    desk.look_above(vec![("root".into(), key("k"), key(""), key("group/child"))]);
    desk.take(&wanted(None, OnBusy::Queue, false));
    assert!(said(&desk).is_empty());
    desk.take(&wanted(None, OnBusy::Queue, true));
    desk.take(&released());
    let (step, on_busy) = (None, OnBusy::Queue);
    desk.take(&Event::LockRequested { step, key: "other".into(), on_busy, ready: true });
    assert_eq!((said(&desk), numbers(&desk)), (vec![("a", "granted"), ("a", "refused")], vec![1]));
}

#[test]
fn a_lock_of_a_step_is_around_what_the_step_holds() {
    for (step, within, around) in [
        ("", "x", true),
        ("x", "x", true),
        ("x", "x/y", true),
        ("x", "x[3]", true),
        ("x[3]", "x[3]/y", true),
        ("x", "xy", false),
        ("x[3]", "x[4]", false),
        ("x/y", "x", false),
    ] {
        assert_eq!(is_around(step, within), around, "{step:?} around {within:?}");
    }
}

#[test]
fn nobody_stops_the_execution_it_is_a_part_of() {
    let mut desk = desk("a", &[(1, "root", true, true)]);
    let text = |text: &str| Some(text.to_owned());
    desk.look_above(vec![("root".into(), text("k"), text("another"), text("child"))]);
    desk.take(&wanted(None, OnBusy::Replace, true));
    assert_eq!((said(&desk), numbers(&desk)), (vec![], vec![1, 2]));
}
