//! Where constructs meet: what each of them promises holds inside, beside and after the others.

use serde_json::{Value, json};

use super::{
    Play, cancel,
    constructs::{output, play, step},
    lost, passing, succeeded,
};
use crate::{Answer, Event, Resolution, Status, StepError, StepStatus};

fn answers(play: &mut Play, answer: Answer) {
    let (step, request) = play.state.requests().next().expect("somebody is asked");
    let (step, request) = (step.to_owned(), request.id.clone());
    play.hears([Event::RequestAnswered {
        step,
        request,
        by: "bob".into(),
        verified: false,
        answer,
    }]);
}

fn approves(play: &mut Play) {
    answers(play, Answer::Approved { comment: None });
}

fn granted(step: &str) -> Event {
    Event::LockGranted { step: Some(step.into()), key: "k".into() }
}

/// What the next process knows: the history, and nothing else.
fn dies(play: &mut Play) {
    play.state = play.folded();
}

/// What a worker that is told to stop writes: what came home, and nothing that follows from it.
fn notes(play: &mut Play, event: Event) {
    play.state.apply(&play.workflow, &event, play.now).expect("it can follow");
    play.history.push((play.now, event));
    dies(play);
    play.hears([]);
}

#[test]
fn an_instance_that_comes_home_while_the_worker_stops_is_undone_like_any_other() {
    let mut play = play(
        "
config: { undoOnFailure: true }
steps:
  - { name: fan, forEach: [1], tool: x.y, undo: { tool: x.undo, params: { n: '${item}' } } }
  - { name: fails, tool: x.y }
",
        json!({}),
    );
    notes(&mut play, succeeded("fan[0]", json!(1)));
    assert_eq!(play.called(), ["fails"]);
    play.fails("fails", StepError::permanent("broken", "no"));
    assert_eq!(play.called(), ["fan[0].undo"]);
    assert_eq!(*play.call().params, json!({ "n": 1 }));
}

#[test]
fn a_verify_that_is_tried_again_goes_on_after_a_crash() {
    let mut play = play(
        "
steps:
  - { name: a, tool: x.y, onUncertain: verify, verify: { tool: x.look, expect: result.found } }
",
        json!({}),
    );
    for _ in 0..2 {
        play.is_lost("a", false);
        play.fails("a.verify", passing("busy"));
        play.wakes();
        play.hears([succeeded("a.verify", json!({ "found": false }))]);
        while play.last.calls.is_empty() {
            play.wakes();
        }
    }
    play.is_lost("a", false);
    play.fails("a.verify", passing("busy"));
    dies(&mut play);
    play.hears([]);
    play.wakes();
    assert_eq!(play.called(), ["a.verify"]);
    play.hears([succeeded("a.verify", json!({ "found": true }))]);
    assert_eq!(output(&play), json!({ "found": true }));
}

#[test]
fn the_time_of_a_call_begins_with_the_call_and_not_with_the_question_whether_it_may_be_made() {
    let mut play = play(
        "
steps:
  - { name: a, tool: x.y, approval: {}, timeoutMs: 1000, retry: { maxAttempts: 3, initialDelayMs: 10, jitter: false } }
",
        json!({}),
    );
    play.passes(86_400_000);
    approves(&mut play);
    let first = play.call().first_started_at;
    assert_eq!(play.call().deadline, Some(play.now + 1_000));
    play.fails("a", passing("busy"));
    assert_eq!(play.kinds(), ["attempt_failed", "call_scheduled"]);
    play.wakes();
    assert_eq!((play.call().first_started_at, play.call().deadline), (first, Some(first + 1_000)));
    play.succeeds("a");
    output(&play);
}

#[test]
fn nobody_is_asked_about_a_list_of_nothing() {
    for gate in ["approval: {}", "lock: k", "approval: {}, lock: k"] {
        let play = play(
            &format!("steps: [{{ name: fan, forEach: '${{input.list}}', tool: x.y, {gate} }}]"),
            json!({ "list": [] }),
        );
        assert_eq!(output(&play), json!([]), "{gate}");
    }
}

#[test]
fn an_instance_that_a_person_has_called_again_is_asked_about_again() {
    let mut play = play(
        "steps: [{ name: fan, forEach: [1, 2], tool: x.y, params: { n: '${item}' }, approval: {}, lock: k }]",
        json!({}),
    );
    approves(&mut play);
    play.hears([granted("fan")]);
    let approved = play.last.calls[1].approval.clone();
    play.succeeds("fan[0]");
    play.is_lost("fan[1]", false);
    play.resolves("fan[1]", Resolution::Retry);
    assert!(play.called().is_empty(), "it is another generation");
    let (path, request) = play.state.requests().next().expect("somebody is asked");
    assert_eq!((path, &request.params), ("fan[1]", &Some(json!({ "n": 2 }))));
    approves(&mut play);
    assert_eq!(play.called(), ["fan[1]"]);
    assert_ne!(play.call().approval, approved);
    assert_eq!(play.call().idempotency_key, "exec_1/fan#1~1");
    play.succeeds("fan[1]");
    output(&play);
}

#[test]
fn a_step_that_a_person_has_called_again_is_asked_about_again_under_its_lock() {
    let mut play = play("steps: [{ name: a, tool: x.y, approval: {}, lock: k }]", json!({}));
    approves(&mut play);
    play.hears([granted("a")]);
    play.is_lost("a", false);
    play.resolves("a", Resolution::Retry);
    assert_eq!(play.kinds(), ["step_resolved", "request_opened"]);
    approves(&mut play);
    assert_eq!(play.called(), ["a"], "the lock is still held");
    play.succeeds("a");
    assert_eq!(play.kinds()[..2], ["attempt_succeeded", "lock_released"]);
}

#[test]
fn a_lock_is_given_back_by_a_step_that_its_group_ends_without() {
    let mut play = play(
        "
steps:
  - name: race
    parallel: true
    waitFor: any
    steps: [{ name: a, tool: x.y, lock: k }, { name: b, tool: x.y }]
  - { name: after, tool: x.y }
",
        json!({}),
    );
    play.hears([granted("race/a")]);
    play.hears([lost("race/a", false)]);
    play.succeeds("race/b");
    assert!(play.kinds().contains(&"lock_released"), "{:?}", play.kinds());
    assert_eq!(play.called(), ["after"]);
    play.succeeds("after");
    output(&play);
}

#[test]
fn a_place_in_a_queue_is_given_up_when_the_answer_is_no() {
    let mut play = play("steps: [{ name: a, tool: x.y, approval: {}, lock: k }]", json!({}));
    answers(&mut play, Answer::Rejected { comment: None });
    assert_eq!(
        play.kinds(),
        ["request_answered", "step_failed", "lock_released", "execution_failed"]
    );
}

#[test]
fn a_loop_sees_the_iteration_before_also_in_the_groups_that_it_holds() {
    let mut play = play(
        "
steps:
  - name: l
    repeat: { until: 'index == 1', maxIterations: 5 }
    steps:
      - { name: a, set: { later: \"${default(steps.q.n, 'none')}\" } }
      - name: g
        steps:
          - { name: p, set: { own: \"${default(steps.p.own, 'x')}${index}\", next: \"${default(steps.q.n, 'none')}\" } }
          - { name: q, tool: x.y }
",
        json!({}),
    );
    play.hears([succeeded("l[0]/g/q", json!({ "n": "first" }))]);
    play.hears([succeeded("l[1]/g/q", json!({ "n": "second" }))]);
    assert_eq!(
        output(&play),
        json!({
            "a": { "later": "first" },
            "g": { "p": { "own": "x01", "next": "first" }, "q": { "n": "second" } },
        })
    );
}

#[test]
fn a_loop_inside_another_begins_anew_each_time() {
    let mut play = play(
        "
steps:
  - name: outer
    repeat: { until: 'index == 1', maxIterations: 5 }
    steps:
      - name: inner
        repeat: { while: \"default(steps.page.more, true)\", maxIterations: 5 }
        steps: [{ name: page, tool: x.y, params: { i: '${index}', before: \"${default(steps.page.id, 'none')}\" } }]
      - { name: end, set: { last: '${steps.page.id}' } }
",
        json!({}),
    );
    let mut params = Vec::new();
    for (path, more) in [
        ("outer[0]/inner[0]/page", true),
        ("outer[0]/inner[1]/page", false),
        ("outer[1]/inner[0]/page", false),
    ] {
        assert_eq!(play.called(), [path]);
        params.push(Value::clone(&play.call().params));
        play.hears([succeeded(path, json!({ "id": path, "more": more }))]);
    }
    assert_eq!(
        params,
        [
            json!({ "i": 0, "before": "none" }),
            json!({ "i": 1, "before": "outer[0]/inner[0]/page" }),
            json!({ "i": 0, "before": "none" }),
        ]
    );
    assert_eq!(output(&play)["end"], json!({ "last": "outer[1]/inner[0]/page" }));
}

#[test]
fn a_condition_that_is_asked_before_an_iteration_knows_its_number() {
    let play = play(
        "
vars: { n: 0 }
steps:
  - name: l
    repeat: { while: 'index < 3', maxIterations: 10 }
    steps: [{ name: more, set: { n: '${vars.n + 1}' } }]
output: '${vars.n}'
",
        json!({}),
    );
    assert_eq!(output(&play), json!(3));
}

#[test]
fn an_undo_without_params_is_called_with_none() {
    let mut play = play(
        "
config: { undoOnFailure: true }
steps: [{ name: a, tool: x.y, undo: { tool: x.undo } }, { name: b, tool: x.y }]
",
        json!({}),
    );
    play.succeeds("a");
    play.fails("b", StepError::permanent("broken", "no"));
    assert_eq!(*play.call().params, json!({}));
}

#[test]
fn an_undo_whose_params_are_no_object_says_so_and_calls_nothing() {
    let mut play = play(
        "
config: { undoOnFailure: true }
steps: [{ name: a, tool: x.y, undo: { tool: x.undo, params: '${result.ids}' } }, { name: b, tool: x.y }]
",
        json!({}),
    );
    play.hears([succeeded("a", json!({ "ids": [1] }))]);
    play.fails("b", StepError::permanent("broken", "no"));
    assert!(play.called().is_empty(), "{:?}", play.last.calls);
    let (_, error) = play.state.failure.clone().expect("it failed");
    assert!(error.message.contains("a.undo failed"), "{}", error.message);
}

#[test]
fn a_stop_in_a_handler_ends_the_handlers_and_changes_nothing_about_the_failure() {
    let mut play = play(
        "
steps: [{ name: a, tool: x.y }]
onFailure:
  - { name: enough, if: input.on, stop: { status: completed, message: 'all is well' } }
  - { name: never, tool: x.y }
",
        json!({ "on": true }),
    );
    play.fails("a", StepError::permanent("broken", "no"));
    assert!(play.called().is_empty());
    assert_eq!(play.failure(), (Some("a"), "broken"));
}

#[test]
fn a_handler_knows_the_step_that_stopped_the_execution() {
    let play = play(
        "
steps: [{ name: enough, stop: { status: failed, message: 'no more' } }]
onFailure: [{ name: tell, tool: x.y, params: { step: '${error.step}', why: '${error.message}' } }]
",
        json!({}),
    );
    assert_eq!(*play.call().params, json!({ "step": "enough", "why": "no more" }));
}

#[test]
fn a_cancel_that_comes_while_a_failure_is_handled_is_told_and_lets_the_handlers_end() {
    let mut play = play(
        "
steps: [{ name: a, tool: x.y }]
onFailure: [{ name: tell, tool: x.y }]
onCancel: [{ name: never, tool: x.y }]
",
        json!({}),
    );
    play.fails("a", StepError::permanent("broken", "no"));
    play.hears([cancel()]);
    assert!(play.last.cancels.is_empty());
    play.succeeds("tell");
    assert_eq!(play.failure(), (Some("a"), "broken"));
    let (_, error) = play.state.failure.clone().expect("it failed");
    assert!(error.message.contains("cancel"), "{}", error.message);
    assert!(error.message.contains("ada"), "{}", error.message);
}

#[test]
fn a_handler_that_fails_after_a_cancel_is_told() {
    let mut play = play(
        "
steps: [{ name: a, tool: x.y }]
onCancel: [{ name: clean, tool: x.y }]
",
        json!({}),
    );
    play.hears([cancel()]);
    play.fails("a", StepError::permanent("cancelled", "told to stop"));
    play.fails("clean", StepError::permanent("broken", "still there"));
    assert_eq!(play.state.status, Status::Cancelled);
    let Some(Event::ExecutionCancelled { reason: Some(reason) }) = play.last.events.last() else {
        panic!("{:?}", play.last.events)
    };
    assert_eq!(reason, "changed my mind; and then: clean failed: still there");
}

#[test]
fn a_call_that_is_not_wanted_in_the_turn_it_begins_in_is_told_to_stop() {
    let mut play = play(
        "
steps:
  - name: race
    parallel: true
    waitFor: any
    steps: [{ name: a, tool: x.y }, { name: b, set: { n: 1 } }]
",
        json!({}),
    );
    assert_eq!(
        (play.called(), play.last.cancels.as_slice()),
        (vec!["race/a"], &["race/a".to_owned()][..])
    );
    play.fails("race/a", StepError::permanent("cancelled", "told to stop"));
    assert_eq!(output(&play), json!({ "b": { "n": 1 } }));
}

#[test]
fn the_way_not_taken_of_a_race_runs_in_order_and_to_its_end() {
    let mut play = play(
        "
steps:
  - name: way
    if: 'false'
    parallel: true
    waitFor: any
    steps: [{ name: a, tool: x.y }, { name: b, tool: x.y }]
    else: [{ name: c, tool: x.y }, { name: d, tool: x.y }]
",
        json!({}),
    );
    assert_eq!(play.called(), ["way/c"]);
    play.succeeds("way/c");
    assert_eq!(play.called(), ["way/d"]);
    play.succeeds("way/d");
    assert_eq!(output(&play), json!({ "c": { "by": "way/c" }, "d": { "by": "way/d" } }));
}

#[test]
fn a_stop_deep_inside_ends_everything_around_it() {
    let mut play = play(
        "
steps:
  - name: both
    parallel: true
    steps:
      - { name: other, workflow: sub }
      - name: fan
        forEach: [1, 2]
        steps:
          - name: g
            steps: [{ name: look, tool: x.y }, { name: enough, stop: { status: completed, message: '${item}' } }]
",
        json!({}),
    );
    play.succeeds("both/fan[1]/g/look");
    let mut cancels = play.last.cancels.clone();
    cancels.sort();
    assert_eq!(cancels, ["both/fan[0]/g/look", "both/other"]);
    for path in cancels {
        play.fails(&path, StepError::permanent("cancelled", "told to stop"));
    }
    assert_eq!(output(&play), json!({ "stopped_at": "both/fan[1]/g/enough", "message": "2" }));
    assert_eq!(step(&play, "both").status, StepStatus::Cancelled);
}

#[test]
fn elements_of_outer_lists_are_seen_inside_and_inner_ones_come_first() {
    let mut play = play(
        "
steps:
  - name: outer
    forEach: [a, b]
    as: app
    steps:
      - name: middle
        forEach: [1, 2]
        steps:
          - { name: inner, forEach: [x], tool: x.y, params: { app: '${app}', item: '${item}', index: '${index}' } }
          - { name: after, set: { app: '${app}', item: '${item}', index: '${index}' } }
",
        json!({}),
    );
    let last = play.last.calls.last().expect("calls").clone();
    assert_eq!(last.step, "outer[1]/middle[1]/inner[0]");
    assert_eq!(*last.params, json!({ "app": "b", "item": "x", "index": 0 }));
    for call in play.called().into_iter().map(str::to_owned).collect::<Vec<_>>() {
        play.succeeds(&call);
    }
    let output = output(&play);
    assert_eq!(output[0]["middle"][1]["after"], json!({ "app": "a", "item": 2, "index": 1 }));
}

#[test]
fn a_group_inside_a_race_that_runs_out_of_time_loses() {
    let mut play = play(
        "
steps:
  - name: race
    parallel: true
    waitFor: any
    steps:
      - { name: slow, timeoutMs: 100, steps: [{ name: a, wait: { ms: 500 } }] }
      - { name: quick, wait: { ms: 200 } }
",
        json!({}),
    );
    play.wakes();
    assert_eq!(step(&play, "race/slow").status, StepStatus::Failed);
    play.wakes();
    assert_eq!(output(&play), json!({ "quick": { "waited_ms": 200 } }));
}

#[test]
fn the_time_that_a_person_takes_in_another_workflow_counts_against_no_bound_here() {
    let mut play = play(
        "
config: { timeoutMs: 5000 }
steps: [{ name: sub, workflow: other, timeoutMs: 1000, retry: { maxAttempts: 2, initialDelayMs: 10, jitter: false } }]
",
        json!({}),
    );
    assert_eq!(play.last.wake_at, Some(2_000));
    play.passes(500);
    play.hears([Event::ChildWaits { step: "sub".into() }]);
    assert_eq!(play.last.wake_at, None);
    play.passes(86_400_000);
    dies(&mut play);
    play.hears([Event::ChildGoesOn { step: "sub".into() }]);
    assert_eq!(play.last.wake_at, Some(play.now + 500));
    play.passes(100);
    play.hears([Event::ChildWaits { step: "sub".into() }]);
    play.passes(10_000);
    play.fails("sub", passing("failed"));
    assert_eq!(play.kinds(), ["attempt_failed", "call_scheduled"], "its own time is not over");
    play.wakes();
    assert_eq!(play.last.children.len(), 1);
    play.wakes();
    assert_eq!(play.last.cancels, ["sub"]);
    play.fails("sub", StepError::permanent("cancelled", "it was cancelled"));
    assert_eq!(play.failure(), (Some("sub"), "timeout"));
}
