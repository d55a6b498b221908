//! What people do to an execution that is under way, or that failed.

use serde_json::{Map, Value, json};

use super::{Play, free, passing, succeeded, with, workflow};
use crate::{Event, Resolution, Status, StepError, StepStatus};

fn pause() -> Event {
    Event::ExecutionPaused { by: "ada".into(), reason: Some("a look".into()) }
}

fn resume() -> Event {
    Event::ExecutionResumed { by: "bob".into() }
}

fn retry() -> Event {
    Event::ExecutionRetried { by: "ada".into(), input: None, children: vec![] }
}

fn skip(step: &str) -> Event {
    Event::StepSkipped { step: step.into(), by: Some("ada".into()), reason: None }
}

fn broken() -> StepError {
    StepError::permanent("broken", "no")
}

fn granted(step: &str, key: &str) -> Event {
    Event::LockGranted { step: Some(step.into()), key: key.into() }
}

fn named(name: &str) -> Value {
    json!({ "name": name, "tool": "x.y" })
}

#[test]
fn nothing_begins_in_a_pause_and_its_time_counts_nowhere() {
    let step = with(
        free("a"),
        json!({ "timeoutMs": 500, "retry": { "maxAttempts": 3, "initialDelayMs": 100 } }),
    );
    let document =
        with(workflow(json!([step, named("b")])), json!({ "config": { "timeoutMs": 1_000 } }));
    let mut play = Play::start(&document);
    play.hears([pause()]);
    assert_eq!((play.state.status, play.last.wake_at), (Status::Paused, None));
    assert_eq!(play.state.paused_by(), Some(("ada", Some("a look"))));
    play.fails("a", passing("busy"));
    play.passes(60_000);
    assert!(play.called().is_empty());
    play.hears([resume()]);
    assert_eq!(play.called(), ["a"], "its time has come");
    let call = play.call();
    assert_eq!(call.deadline, Some(1_000 + 500 + 60_000), "{call:?}");
    play.succeeds("a");
    assert_eq!(play.called(), ["b"]);
    assert_eq!(play.last.wake_at, Some(1_000 + 1_000 + 60_000));
    play.succeeds("b");
    assert_eq!(play.state.status, Status::Completed);
}

#[test]
fn what_is_paused_can_be_cancelled() {
    let mut play = Play::start(&workflow(json!([named("a"), named("b")])));
    play.hears([pause()]);
    play.hears([super::cancel()]);
    assert_eq!(play.last.cancels, ["a"]);
    play.fails("a", broken());
    assert_eq!(play.state.status, Status::Cancelled);
}

#[test]
fn a_retry_begins_anew_where_it_failed_with_another_key() {
    let last = json!({ "name": "c", "tool": "x.y", "params": { "n": "${input.n}" } });
    let document = workflow(json!([named("a"), named("b"), last]));
    let mut play = Play::start_with(&document, json!({ "n": 1 }));
    play.succeeds("a");
    play.fails("b", broken());
    assert_eq!(play.state.status, Status::Failed);
    play.hears([Event::ExecutionRetried {
        by: "ada".into(),
        input: Some(json!({ "n": 2 })),
        children: vec![],
    }]);
    assert_eq!(play.call().idempotency_key, "exec_1/b#0~1");
    assert_eq!(play.call().attempt, 1);
    play.succeeds("b");
    assert_eq!(*play.call().params, json!({ "n": 2 }));
    play.succeeds("c");
    assert_eq!(play.state.status, Status::Completed);
    assert!(!play.state.allows(&play.workflow, &[], &retry(), play.now), "it has not failed");
}

#[test]
fn only_the_instances_that_did_not_complete_begin_anew() {
    let fan = json!({ "name": "fan", "tool": "x.y", "forEach": "${[10, 20, 30]}", "maxParallel": 1, "params": { "n": "${item}" } });
    let mut play = Play::start(&workflow(json!([fan])));
    play.succeeds("fan[0]");
    play.fails("fan[1]", broken());
    assert_eq!(play.state.status, Status::Failed);
    play.hears([retry()]);
    assert_eq!(play.called(), ["fan[1]"]);
    assert_eq!(*play.call().params, json!({ "n": 20 }));
    assert_eq!(play.call().idempotency_key, "exec_1/fan#1~1");
    play.succeeds("fan[1]");
    play.succeeds("fan[2]");
    let by = |number: usize| json!({ "by": format!("fan[{number}]") });
    assert_eq!(play.state.output, Some(json!([by(0), by(1), by(2)])));
}

#[test]
fn what_was_undone_is_done_again() {
    let first = with(named("a"), json!({ "undo": { "tool": "x.undo" } }));
    let document = with(
        workflow(json!([first, named("b"), named("c")])),
        json!({ "config": { "undoOnFailure": true }, "onFailure": [named("tell")] }),
    );
    let mut play = Play::start(&document);
    play.succeeds("a");
    play.succeeds("b");
    play.fails("c", broken());
    assert_eq!(play.called(), ["a.undo"]);
    play.succeeds("a.undo");
    play.succeeds("tell");
    assert_eq!(play.state.status, Status::Failed);
    play.hears([retry()]);
    assert_eq!(play.called(), ["a"], "b has completed and was not undone");
    assert_eq!(play.call().idempotency_key, "exec_1/a#0~1");
    play.succeeds("a");
    assert_eq!(play.called(), ["c"]);
    play.fails("c", broken());
    play.succeeds("a.undo");
    assert_eq!(play.call().idempotency_key, "exec_1/tell#0~1", "it is told again");
}

#[test]
fn a_step_that_is_one_of_the_executions_that_failed_goes_on_with_it() {
    let document = workflow(json!([{ "name": "below", "workflow": "other", "needs": [] }]));
    for goes_on in [true, false] {
        let mut play = Play::start(&document);
        let first = play.last.children[0].execution_id.clone();
        play.fails("below", broken());
        let children = if goes_on { vec![first.clone()] } else { vec![] };
        play.hears([Event::ExecutionRetried { by: "ada".into(), input: None, children }]);
        let next = &play.last.children[0];
        assert_eq!((next.execution_id == first, next.goes_on), (goes_on, goes_on));
    }
}

#[test]
fn a_failed_step_is_skipped_or_given_a_result_together_with_the_retry() {
    let last = json!({ "name": "c", "tool": "x.y", "params": { "n": "${default(steps.b.n, 5)}" } });
    let document = workflow(json!([named("a"), named("b"), last]));
    for (word, n) in [
        (skip("b"), 5),
        (
            Event::StepResolved {
                step: "b".into(),
                resolution: Resolution::Completed { output: json!({ "n": 7 }) },
                by: "ada".into(),
            },
            7,
        ),
    ] {
        let mut play = Play::start(&document);
        play.succeeds("a");
        play.fails("b", broken());
        let given = Event::StepResolved {
            step: "a".into(),
            resolution: Resolution::Completed { output: json!({}) },
            by: "ada".into(),
        };
        assert!(!play.state.allows(&play.workflow, &[retry()], &given, play.now), "a is done");
        play.hears([retry(), word]);
        assert_eq!(play.called(), ["c"]);
        assert_eq!(*play.call().params, json!({ "n": n }));
    }
}

#[test]
fn a_loop_that_went_round_too_often_may_go_on() {
    let poll = json!({
        "name": "poll", "repeat": { "until": "steps.look.by == 'never'", "maxIterations": 2 },
        "steps": [{ "name": "look", "tool": "x.y" }],
    });
    let mut play = Play::start(&workflow(json!([poll])));
    play.succeeds("poll[0]/look");
    play.succeeds("poll[1]/look");
    assert_eq!(play.failure(), (Some("poll"), "too_many_iterations"));
    play.hears([retry()]);
    assert_eq!(play.called(), ["poll[2]/look"]);
    play.hears([succeeded("poll[2]/look", json!({ "by": "never" }))]);
    assert_eq!(play.state.status, Status::Completed);
}

#[test]
fn what_was_done_elsewhere_is_seen_and_not_done_again() {
    let group = json!({ "name": "group", "steps": [named("inner")], "needs": [] });
    let count = json!({ "name": "count", "set": { "n": "${vars.n + 1}" } });
    let last = json!({ "name": "last", "tool": "x.y", "params": { "of": "${steps.inner.of}", "n": "${vars.n}" } });
    let document = with(workflow(json!([group, count, last])), json!({ "vars": { "n": 0 } }));
    let mut play = Play::new(&document);
    let reused = |step: &str, output: Value, vars: Map<String, Value>| Event::StepReused {
        step: step.into(),
        output,
        vars,
        from_execution: "exec_0".into(),
    };
    let vars = json!({ "n": 4 }).as_object().expect("an object").clone();
    play.hears([
        Event::ExecutionStarted { input: json!({}) },
        reused("group", json!({ "inner": { "of": "before" } }), Map::new()),
        reused("count", json!({ "n": 4 }), vars),
    ]);
    assert_eq!(play.called(), ["last"]);
    assert_eq!(*play.call().params, json!({ "of": "before", "n": 4 }));
    assert_eq!(play.status("group"), StepStatus::Completed);
}

#[test]
fn what_was_undone_is_done_again_before_anything_inside_what_came_after_it() {
    let first = with(named("a"), json!({ "undo": { "tool": "x.undo" } }));
    let group = json!({ "name": "g", "lock": "k", "steps": [named("x"), named("y")] });
    let fan = json!({ "name": "fan", "forEach": "${[1, 2]}", "maxParallel": 1, "tool": "x.y" });
    for (after, done, open) in [(group, "g/x", "g/y"), (fan, "fan[0]", "fan[1]")] {
        let document = with(
            workflow(json!([first.clone(), after])),
            json!({ "config": { "undoOnFailure": true } }),
        );
        let mut play = Play::start(&document);
        play.succeeds("a");
        let grant = |play: &mut Play| {
            if open == "g/y" {
                assert_eq!(play.called(), [""; 0]);
                play.hears([granted("g", "k")]);
            }
        };
        grant(&mut play);
        play.succeeds(done);
        play.fails(open, broken());
        play.succeeds("a.undo");
        assert_eq!(play.state.status, Status::Failed);
        play.hears([retry()]);
        assert_eq!((play.called(), play.state.awaited_locks().count()), (vec!["a"], 0));
        play.succeeds("a");
        grant(&mut play);
        assert_eq!(play.called(), [open]);
    }
}

#[test]
fn what_follows_a_step_that_was_skipped_before_its_turn_waits_for_what_came_before_it() {
    let document = workflow(json!([named("a"), named("b"), named("c"), named("d")]));
    for skipped in [["b", "c"], ["c", "b"]] {
        let mut play = Play::start(&document);
        for step in skipped {
            play.hears([skip(step)]);
            assert_eq!(play.called(), [""; 0], "a is not done");
        }
        play.succeeds("a");
        assert_eq!(play.called(), ["d"]);
        play.succeeds("d");
        assert_eq!(play.state.status, Status::Completed);
    }
    let mut play = Play::start(&document);
    play.hears([skip("b")]);
    let call =
        json!({ "kind": "attempt_started", "step": "c", "attempt": 1, "call": 1, "params": {} });
    let call = serde_json::from_value(call).expect("an event");
    let allowed = play.state.allows(&play.workflow, &[], &call, play.now);
    assert!(allowed, "there are histories in which it did not wait");
    play.fails("a", broken());
    play.hears([retry()]);
    assert_eq!(play.called(), ["a"], "and after a retry");
    play.succeeds("a");
    assert_eq!(play.called(), ["c"]);
}

#[test]
fn an_instance_that_a_person_skipped_stays_so_in_a_retry() {
    let fan = json!({ "name": "fan", "tool": "x.y", "forEach": "${[10, 20]}" });
    let mut play = Play::start(&workflow(json!([fan])));
    play.is_lost("fan[0]", false);
    play.hears([skip("fan[0]")]);
    play.fails("fan[1]", broken());
    assert_eq!(play.state.status, Status::Failed);
    play.hears([retry()]);
    assert_eq!(play.called(), ["fan[1]"]);
    play.succeeds("fan[1]");
    assert_eq!(play.state.output, Some(json!([null, { "by": "fan[1]" }])));
}

#[test]
fn the_time_of_an_instance_is_bounded_in_a_retry_too() {
    let inner = json!([named("x"), named("y")]);
    let fan = json!({ "name": "fan", "forEach": "${[1]}", "timeoutMs": 1_000, "steps": inner });
    let mut play = Play::start(&workflow(json!([fan])));
    play.succeeds("fan[0]/x");
    play.fails("fan[0]/y", broken());
    play.hears([retry()]);
    assert_eq!(play.called(), ["fan[0]/y"]);
    play.passes(1_000);
    assert_eq!(play.last.cancels, ["fan[0]/y"]);
}

#[test]
fn a_step_that_is_called_again_on_a_persons_word_asks_for_its_lock_after_the_next_retry() {
    let locked = json!({ "name": "a", "tool": "x.y", "lock": "k", "needs": [] });
    let mut play =
        Play::start(&workflow(json!([locked, { "name": "b", "tool": "x.y", "needs": [] }])));
    play.hears([granted("a", "k")]);
    play.is_lost("a", false);
    play.resolves("a", Resolution::Retry);
    assert_eq!(play.called(), ["a"]);
    play.is_lost("a", false);
    play.fails("b", broken());
    assert_eq!(play.state.status, Status::Failed);
    play.hears([retry()]);
    play.resolves("a", Resolution::Retry);
    assert_eq!(play.called(), [""; 0], "its lock went with the execution's end");
    play.hears([granted("a", "k")]);
    assert_eq!(play.called(), ["a"]);
}

#[test]
fn a_call_that_is_found_to_have_happened_while_the_execution_fails_is_undone() {
    let sure = json!({
        "name": "sure", "tool": "x.y", "needs": [], "undo": { "tool": "x.undo" },
        "onUncertain": "verify", "verify": { "tool": "x.look", "expect": "result.found" },
    });
    for found in [true, false] {
        let document = with(
            workflow(json!([sure, { "name": "b", "tool": "x.y", "needs": [] }])),
            json!({ "config": { "undoOnFailure": true } }),
        );
        let mut play = Play::start(&document);
        play.is_lost("sure", false);
        assert_eq!(play.called(), ["sure.verify"]);
        play.fails("b", broken());
        play.hears([succeeded("sure.verify", json!({ "found": found }))]);
        assert_eq!(play.called(), if found { vec!["sure.undo"] } else { vec![] });
        let status = if found { StepStatus::Completed } else { StepStatus::Cancelled };
        assert_eq!(play.status("sure"), status);
    }
}

#[test]
fn what_is_done_about_a_failure_is_not_undone() {
    let undone = |name: &str| with(named(name), json!({ "undo": { "tool": "x.undo" } }));
    let document = with(
        workflow(json!([named("a")])),
        json!({ "config": { "undoOnFailure": true }, "onFailure": [undone("tell")] }),
    );
    let mut play = Play::start(&document);
    play.fails("a", broken());
    play.succeeds("tell");
    assert_eq!((play.called(), play.state.status), (vec![], Status::Failed));
}

#[test]
fn the_time_of_a_group_does_not_run_while_what_comes_before_it_is_done_again() {
    let first = with(named("a"), json!({ "undo": { "tool": "x.undo" } }));
    let bounded =
        |name: &str, steps: Value| json!({ "name": name, "timeoutMs": 1_000, "steps": steps });
    let group = bounded("g", json!([bounded("h", json!([named("x"), named("y")]))]));
    let config = json!({ "config": { "undoOnFailure": true } });
    let mut play = Play::start(&with(workflow(json!([first, group])), config));
    play.succeeds("a");
    play.succeeds("g/h/x");
    play.fails("g/h/y", broken());
    play.succeeds("a.undo");
    play.hears([retry()]);
    play.passes(10_000);
    assert_eq!((play.called(), play.kinds()), (vec![], vec![]), "a takes its time");
    play.succeeds("a");
    assert_eq!(play.called(), ["g/h/y"]);
    play.passes(999);
    assert!(play.last.cancels.is_empty());
    play.passes(1);
    assert_eq!(play.last.cancels, ["g/h/y"]);
}

#[test]
fn an_uncertain_step_that_is_called_again_waits_for_what_is_done_again_before_it() {
    let first = with(named("a"), json!({ "undo": { "tool": "x.undo" } }));
    let other = json!({ "name": "c", "tool": "x.y", "needs": [] });
    let config = json!({ "config": { "undoOnFailure": true } });
    let mut play = Play::start(&with(workflow(json!([first, named("b"), other])), config));
    play.succeeds("a");
    play.is_lost("b", false);
    play.fails("c", broken());
    play.succeeds("a.undo");
    play.hears([retry()]);
    assert_eq!(play.called(), ["a", "c"]);
    play.resolves("b", Resolution::Retry);
    assert_eq!(play.called(), [""; 0], "a is not done");
    play.succeeds("a");
    assert_eq!(play.called(), ["b"]);
}
