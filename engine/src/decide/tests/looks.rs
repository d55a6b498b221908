//! Tools that are looked at until they are done, and calls that were one too many.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Play, cancel, decide, free, limited, lost, passing, succeeded, with, workflow};
use crate::{Command, Event, Status, StepError, StepStatus};

fn polled(more: serde_json::Value) -> Play {
    Play::start(&workflow(json!([with(free("a"), more)])))
}

#[test]
fn a_tool_that_is_not_done_is_looked_at_again_with_one_event_for_all_looks() {
    let mut play = polled(json!({ "retry": { "maxAttempts": 2 }, "expect": "result.done" }));
    let first = play.call().clone();
    play.is_not_done("a", 700);
    assert_eq!(play.kinds(), ["polling_started"]);
    assert_eq!((play.status("a"), play.state.status), (StepStatus::Waiting, Status::Waiting));
    assert_eq!(play.last.wake_at, Some(play.now + 700));
    for number in 2..5 {
        play.passes(699);
        assert!(play.called().is_empty(), "not before its time");
        play.passes(1);
        let look = play.call().clone();
        assert_eq!((look.attempt, look.call), (1, number), "a look is no attempt");
        assert_eq!(look.idempotency_key, first.idempotency_key);
        assert_eq!((look.params, look.first_started_at), (first.params.clone(), 1_000));
        assert!(play.last.events.is_empty(), "nothing is written of it");
        assert_eq!(play.state.status, Status::Waiting);
        play.is_not_done("a", 700);
        assert!(play.last.events.is_empty());
    }
    play.wakes();
    play.hears([succeeded("a", json!({ "done": true }))]);
    assert_eq!(play.kinds(), ["attempt_succeeded", "step_completed", "execution_completed"]);
    assert_eq!(play.state.output, Some(json!({ "done": true })));
    assert_eq!(play.folded(), play.state);
}

#[test]
fn a_process_that_dies_between_looks_or_during_one_looks_again_when_it_is_due() {
    let mut play = polled(json!({}));
    play.is_not_done("a", 700);
    play.wakes();
    assert_eq!(play.called(), ["a"]);
    // The look is lost with the process; the row still has the time at which it went out.
    play.state = play.folded();
    assert!(play.state.running_steps().is_empty(), "nothing is uncertain");
    play.passes(1);
    assert_eq!((play.called(), play.call().call), (vec!["a"], 2));
    play.is_not_done("a", 5_000);
    play.state = play.folded();
    play.passes(4_999);
    assert!(play.called().is_empty(), "what another process decided holds");
    play.passes(1);
    assert_eq!(play.called(), ["a"]);
    // Without the row, it is looked at no later than the event said.
    play.looks.clear();
    play.state = play.folded();
    assert!(matches!(
        decide(&play.workflow, &play.state, super::ID, play.now).as_slice(),
        [Command::Look(_)]
    ));
}

#[test]
fn what_is_not_done_in_time_fails_with_timeout() {
    let a_day = 24 * 3_600_000;
    for (more, config, bound) in [
        (json!({ "timeoutMs": 2_000 }), json!({}), 2_000),
        (json!({}), json!({}), a_day),
        (json!({ "timeoutMs": 2_000 }), json!({ "timeoutMs": 90_000_000 }), 2_000),
    ] {
        let document = with(workflow(json!([with(free("a"), more)])), json!({ "config": config }));
        let mut play = Play::start(&document);
        let end = play.now + bound;
        while play.state.status == Status::Waiting || !play.called().is_empty() {
            assert!(play.now < end, "{bound}: it is looked at after its time");
            play.is_not_done("a", 900);
            play.wakes();
        }
        assert_eq!((play.failure(), play.now), ((Some("a"), "timeout"), end));
        let error = play.state.step("a").unwrap().error.clone().unwrap();
        assert!(error.message.contains("it said last: look "), "{}", error.message);
    }
    let document = json!({ "config": { "timeoutMs": 2_000 } });
    let mut play = Play::start(&with(workflow(json!([free("a")])), document));
    play.is_not_done("a", 3_600_000);
    assert_eq!(play.last.wake_at, Some(3_000), "the time of the whole execution");
    play.wakes();
    assert_eq!(play.failure(), (None, "timeout"));
    assert_eq!(play.status("a"), StepStatus::Cancelled);
}

#[test]
fn looks_of_several_steps_are_due_each_at_its_own_time_and_take_places_only_while_they_are_out() {
    let steps = json!([free("a"), free("b"), free("c")]);
    let document = with(workflow(steps), json!({ "config": { "maxParallel": 2 } }));
    let mut play = Play::start(&document);
    assert_eq!(play.called(), ["a", "b"]);
    play.is_not_done("a", 500);
    assert_eq!(play.called(), ["c"], "who waits takes no place");
    play.is_not_done("b", 300);
    play.is_not_done("c", 100);
    play.passes(300);
    assert_eq!(play.called(), ["c", "b"], "the longest due first");
    play.passes(200);
    assert!(play.called().is_empty(), "a finds no place");
    play.succeeds("c");
    assert_eq!(play.called(), ["a"]);
    play.hears([succeeded("a", json!(1)), succeeded("b", json!(2))]);
    assert_eq!(play.state.status, Status::Completed);
}

#[test]
fn a_look_that_is_due_by_the_time_it_is_taken_note_of_goes_out_once() {
    let mut play = polled(json!({}));
    for count in 1..4 {
        // The clock was put forward, or the machine slept.
        play.is_not_done("a", 0);
        assert_eq!((play.called(), play.state.running_steps()), (vec!["a"], vec!["a"]));
        assert_eq!((play.looks["a"].count, play.state.looks("a")), (count, count));
        play.passes(100);
        assert!(play.called().is_empty(), "it is out");
    }
    play.succeeds("a");
    assert_eq!(play.state.status, Status::Completed);
}

#[test]
fn looks_that_are_always_due_leave_a_place_to_steps_that_have_not_begun() {
    for most in [1, 2] {
        let steps = json!([free("a"), free("b"), free("c"), free("d")]);
        let config = json!({ "config": { "maxParallel": most } });
        let mut play = Play::start(&with(workflow(steps), config));
        let mut begun = BTreeSet::new();
        for _ in 0..8 {
            let out: Vec<String> =
                play.state.running_steps().into_iter().map(str::to_owned).collect();
            assert_eq!(out.len(), most, "no place is left empty");
            begun.extend(out.iter().cloned());
            for step in out {
                play.is_not_done(&step, 0);
            }
        }
        assert_eq!(begun.len(), 4, "{most}: {begun:?}");
    }
}

#[test]
fn a_look_is_cancelled_whether_it_is_out_or_waits() {
    let mut play = polled(json!({}));
    play.is_not_done("a", 500);
    play.hears([cancel()]);
    assert_eq!((play.status("a"), play.state.status), (StepStatus::Cancelled, Status::Cancelled));

    let mut play = polled(json!({}));
    play.is_not_done("a", 500);
    play.wakes();
    play.hears([cancel()]);
    assert_eq!(play.last.cancels, ["a"], "the tool is told");
    assert!(!play.state.status.is_final(), "it comes home first");
    play.is_not_done("a", 500);
    assert_eq!((play.status("a"), play.state.status), (StepStatus::Cancelled, Status::Cancelled));
}

#[test]
fn a_look_that_fails_or_is_lost_is_followed_up_like_any_call() {
    let retry = json!({ "maxAttempts": 2, "initialDelayMs": 10, "jitter": false });
    let mut play = polled(json!({ "retry": retry }));
    play.is_not_done("a", 500);
    play.wakes();
    play.hears([lost("a", true)]);
    assert_eq!(play.kinds(), ["attempt_uncertain", "call_scheduled", "attempt_started"]);
    assert_eq!(play.call().attempt, 1);
    play.is_not_done("a", 500);
    assert_eq!(play.state.step("a").unwrap().repeats, 0, "it was heard of again");
    play.wakes();
    play.fails("a", passing("busy"));
    play.wakes();
    assert_eq!(play.call().attempt, 2);
    play.is_not_done("a", 500);
    play.wakes();
    play.fails("a", passing("busy"));
    assert_eq!(play.failure(), (Some("a"), "busy"));
}

#[test]
fn a_call_that_was_one_too_many_is_made_later_as_the_same_attempt() {
    let mut play = polled(json!({}));
    let key = play.call().idempotency_key.clone();
    for (wait, at) in [(Some(7_000), 7_000), (None, 60_000), (Some(1), 50)] {
        play.fails("a", StepError { retry_after_ms: wait, ..limited(0) });
        assert_eq!(play.kinds(), ["attempt_failed", "call_scheduled"]);
        assert_eq!(play.last.wake_at, Some(play.now + at));
        assert_eq!(play.state.status, Status::Waiting);
        play.wakes();
        assert_eq!((play.call().attempt, &play.call().idempotency_key), (1, &key));
    }
    play.succeeds("a");
    assert_eq!(play.state.status, Status::Completed);
    assert_eq!(play.state.step("a").unwrap().attempts, 1);
}

#[test]
fn rate_limits_are_waited_for_a_hundred_times_or_a_day_and_never_past_the_steps_time() {
    let times = |more: serde_json::Value, wait: u64| {
        let mut play = polled(more);
        let mut times = 0;
        while play.state.status != Status::Failed {
            play.fails("a", limited(wait));
            if play.state.status != Status::Failed {
                play.wakes();
                times += 1;
            }
        }
        assert_eq!(play.failure(), (Some("a"), "rate_limited"));
        times
    };
    let hour = 3_600_000;
    assert_eq!(times(json!({}), 100), 100);
    assert_eq!(times(json!({}), hour), 24);
    assert_eq!(times(json!({ "timeoutMs": 10 * hour }), hour), 9);
    let retry = json!({ "maxAttempts": 3, "initialDelayMs": 1, "jitter": false });
    assert_eq!(times(json!({ "retry": retry }), 100), 102, "then `retry` decides");
}

#[test]
fn an_error_that_is_permanent_or_of_another_workflow_is_no_limit_to_wait_for() {
    let mut play = polled(json!({}));
    play.fails("a", StepError::permanent("rate_limited", "for ever"));
    assert_eq!(play.failure(), (Some("a"), "rate_limited"));
    let mut play = Play::start(&workflow(json!([{ "name": "a", "workflow": "other" }])));
    play.fails("a", limited(10));
    assert_eq!(play.failure(), (Some("a"), "rate_limited"));
}

#[test]
fn a_look_that_comes_home_too_late_is_not_taken_note_of() {
    let mut play = polled(json!({}));
    let look = crate::Look { at: 5_000, count: 3, said: None };
    let state = &mut play.state;
    assert_eq!(state.looked(&play.workflow, "a", look.clone()), None, "its first call is out");
    assert_eq!(state.looked(&play.workflow, "nobody", look), None);
    assert!(!state.is_polled("a"));
    let event = Event::PollingStarted { step: "a".into(), at: 5_000 };
    play.hears([event.clone()]);
    assert!(play.state.apply(&play.workflow, &event, play.now).is_err(), "it has begun");
}
