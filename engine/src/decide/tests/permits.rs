//! Calls of tools that are limited begin with a permit, and keep nothing else from beginning.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::Play;
use crate::{Event, StepError, ToolName};

fn tool(name: &str) -> ToolName {
    let (server, tool) = name.split_once('.').expect("server.tool");
    ToolName { server: server.to_owned(), tool: tool.to_owned() }
}

fn unavailable() -> StepError {
    let (code, message) = ("unavailable".to_owned(), "away".to_owned());
    StepError { code, message, retryable: None, retry_after_ms: None }
}

fn permitted(play: &mut Play, steps: &[&str], exhausted: &[&str]) {
    let steps: BTreeSet<String> = steps.iter().map(|step| (*step).to_owned()).collect();
    play.state.permit(steps, exhausted.iter().map(|name| tool(name)).collect());
    play.hears([]);
}

fn held_back(play: &Play) -> Vec<&str> {
    play.last.held_back.iter().map(|(step, _)| step.as_str()).collect()
}

fn limited(document: &serde_json::Value) -> Play {
    let mut play = Play::new(document);
    play.state.limit(Arc::new([tool("slow.call")].into()));
    play.hears([Event::ExecutionStarted { input: json!({}) }]);
    play
}

#[test]
fn a_call_without_a_permit_is_not_written_down_and_one_with_it_is() {
    let mut play =
        limited(&json!({ "name": "one", "steps": [{ "name": "a", "tool": "slow.call" }] }));
    assert_eq!((held_back(&play), play.called()), (vec!["a"], vec![]));
    assert_eq!(play.kinds(), ["execution_started"]);
    assert_eq!(play.last.wake_at, None, "who waits for a permit is told when there is one");

    permitted(&mut play, &["a"], &[]);
    assert_eq!((held_back(&play), play.called()), (vec![], vec!["a"]));
    assert_eq!(play.kinds(), ["attempt_started"]);

    play.succeeds("a");
    assert_eq!(play.kinds(), ["attempt_succeeded", "execution_completed"]);
}

#[test]
fn those_without_a_permit_take_no_place_from_others() {
    let slow = |name: &str| json!({ "name": name, "tool": "slow.call", "needs": [] });
    let mut steps: Vec<_> = ["a", "b", "c"].map(slow).into();
    steps.push(json!({ "name": "d", "tool": "quick.call", "needs": [] }));
    let document = json!({ "name": "many", "config": { "maxParallel": 2 }, "steps": steps });
    let mut play = limited(&document);
    assert_eq!((held_back(&play), play.called()), (vec!["a", "b"], vec![]));

    permitted(&mut play, &["a"], &["slow.call"]);
    assert_eq!(play.called(), ["a", "d"]);
}

#[test]
fn every_call_needs_a_permit_of_its_own_a_repeated_one_too() {
    let step = json!({ "name": "a", "tool": "slow.call", "timeoutMs": 60_000,
        "retry": { "maxAttempts": 3, "initialDelayMs": 1_000, "jitter": false } });
    let mut play = limited(&json!({ "name": "again", "steps": [step] }));
    permitted(&mut play, &["a"], &[]);
    assert_eq!(play.called(), ["a"]);

    play.fails("a", unavailable());
    assert_eq!(play.kinds(), ["attempt_failed", "call_scheduled"]);
    play.wakes();
    assert_eq!((held_back(&play), play.called()), (vec!["a"], vec![]));
    // Nothing but the end of its time is waited for, which began with the first call.
    permitted(&mut play, &[], &["slow.call"]);
    assert_eq!(play.last.wake_at, Some(61_000));
    permitted(&mut play, &["a"], &[]);
    assert_eq!(play.called(), ["a"]);
}

#[test]
fn the_time_of_a_step_that_waits_for_a_permit_passes_as_any() {
    let step = json!({ "name": "a", "tool": "slow.call", "timeoutMs": 60_000,
        "retry": { "maxAttempts": 3, "initialDelayMs": 1_000, "jitter": false } });
    let mut play = limited(&json!({ "name": "late", "steps": [step] }));
    permitted(&mut play, &["a"], &[]);
    play.fails("a", unavailable());
    play.wakes();
    permitted(&mut play, &[], &["slow.call"]);
    play.wakes();
    assert_eq!(play.kinds(), ["step_failed", "execution_failed"]);
}

#[test]
fn a_condition_that_is_false_needs_no_permit_and_a_person_is_asked_before_there_is_one() {
    let steps = json!([
        { "name": "a", "tool": "slow.call", "if": "${false}" },
        { "name": "b", "tool": "slow.call", "approval": { "message": "May it?" }, "needs": [] },
    ]);
    let mut play = limited(&json!({ "name": "gates", "steps": steps }));
    assert_eq!(held_back(&play), Vec::<&str>::new());
    assert_eq!(play.kinds(), ["execution_started", "request_opened", "step_skipped"]);
    permitted(&mut play, &[], &["slow.call"]);
    assert_eq!(held_back(&play), Vec::<&str>::new());
}

#[test]
fn a_list_asks_for_no_more_permits_than_it_has_places() {
    let step = json!({ "name": "a", "tool": "slow.call", "forEach": "${[1, 2, 3, 4, 5]}" });
    let document = json!({ "name": "list", "config": { "maxParallel": 3 }, "steps": [step] });
    let mut play = limited(&document);
    assert_eq!(held_back(&play), ["a[0]", "a[1]", "a[2]"]);
    permitted(&mut play, &["a[0]"], &["slow.call"]);
    assert_eq!((held_back(&play), play.called()), (vec![], vec!["a[0]"]));
}
