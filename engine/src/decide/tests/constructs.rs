//! Every construct of the language: what it does, how it ends, and what others see of it.

use serde_json::{Value, json};

use super::{ID, Play, cancel, lost, passing, succeeded};
use crate::{
    Event, Resolution, State, Status, StepError, StepStatus, decide, parse, state::StepState,
};

/// An execution of a workflow with these steps, and more at the top level where the text begins without a dash.
pub(super) fn play(text: &str, input: Value) -> Play {
    let document = format!("name: w\n{}", text.trim_start_matches('\n'));
    let workflow = parse(&document).unwrap_or_else(|problems| {
        panic!(
            "{document}\n{}",
            problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n")
        )
    });
    let state = State::new(&workflow, ID, "ada");
    let mut play = Play {
        workflow,
        state,
        history: Vec::new(),
        looks: Default::default(),
        now: 1_000,
        last: super::Turn::default(),
    };
    play.hears([Event::ExecutionStarted { input }]);
    play
}

pub(super) fn output(play: &Play) -> Value {
    assert_eq!(play.state.status, Status::Completed, "{:?}", play.state.failure);
    let mut state = play.folded();
    state.forget();
    let mut known = play.state.clone();
    known.forget();
    assert_eq!(state, known, "a history says all there is");
    play.state.output.clone().expect("an output")
}

pub(super) fn step<'p>(play: &'p Play, path: &str) -> &'p StepState {
    play.state.step(path).unwrap_or_else(|| panic!("no step {path}"))
}

fn broken() -> StepError {
    StepError::permanent("broken", "no")
}

#[test]
fn a_group_results_in_what_its_steps_result_in_and_each_is_seen_by_its_name() {
    let mut play = play(
        "
steps:
  - name: both
    parallel: true
    steps:
      - { name: one, tool: x.y }
      - { name: two, tool: x.y, if: 'input.on' }
      - { name: three, tool: x.y }
  - { name: after, tool: x.y, params: { a: '${steps.both.one.by}', b: '${steps.three.by}', c: '${status(\"two\")}' } }
",
        json!({ "on": false }),
    );
    assert_eq!(play.called(), ["both/one", "both/three"]);
    assert_eq!(play.last.calls[0].idempotency_key, "exec_1/both/one#0~0");
    play.succeeds("both/three");
    play.succeeds("both/one");
    assert_eq!(play.kinds(), ["attempt_succeeded", "step_completed", "attempt_started"]);
    assert_eq!(*play.call().params, json!({ "a": "both/one", "b": "both/three", "c": "skipped" }));
    play.succeeds("after");
    output(&play);
}

#[test]
fn a_group_in_order_runs_one_step_after_the_other() {
    let mut play = play(
        "
steps:
  - { name: g, steps: [{ name: a, tool: x.y }, { name: b, tool: x.y, params: { n: '${steps.a.by}' } }] }
",
        json!({}),
    );
    assert_eq!(play.called(), ["g/a"]);
    play.succeeds("g/a");
    assert_eq!(*play.call().params, json!({ "n": "g/a" }));
    play.succeeds("g/b");
    assert_eq!(output(&play), json!({ "a": { "by": "g/a" }, "b": { "by": "g/b" } }));
}

#[test]
fn a_failing_step_fails_its_group_after_what_is_out_has_come_home() {
    let text = "
steps:
  - name: g
    parallel: true
    onError: continue
    steps:
      - { name: a, tool: x.y }
      - { name: b, tool: x.y }
      - { name: c, wait: { ms: 5000 } }
  - { name: after, set: { why: \"${error('g').message}\", code: \"${error('g').code}\" } }
";
    let mut play = play(text, json!({}));
    play.fails("g/a", broken());
    assert!(play.last.cancels.is_empty(), "what is out comes home");
    assert_eq!(play.status("g"), StepStatus::Running);
    assert_eq!(play.status("g/c"), StepStatus::Cancelled);
    play.succeeds("g/b");
    assert_eq!(play.status("g"), StepStatus::Failed);
    assert_eq!(output(&play), json!({ "why": "step g/a failed: no", "code": "broken" }));
}

#[test]
fn enough_completed_steps_end_a_group_and_the_others_are_told_to_stop() {
    let text = |wait_for: &str| {
        format!(
            "
steps:
  - name: race
    parallel: true
    waitFor: {wait_for}
    steps:
      - {{ name: a, tool: x.y }}
      - {{ name: b, tool: x.y }}
      - {{ name: c, tool: x.y }}
"
        )
    };
    let mut any = play(&text("any"), json!({}));
    any.fails("race/a", broken());
    assert_eq!(any.status("race"), StepStatus::Running, "a failure alone decides nothing");
    any.succeeds("race/c");
    assert_eq!(any.last.cancels, ["race/b"]);
    assert_eq!(any.kinds(), ["attempt_succeeded", "group_decided"]);
    any.fails("race/b", StepError::permanent("cancelled", "told to stop"));
    assert_eq!(any.status("race/b"), StepStatus::Cancelled);
    assert_eq!(output(&any), json!({ "c": { "by": "race/c" } }));

    let mut two = play(&text("2"), json!({}));
    two.fails("race/a", broken());
    two.fails("race/b", broken());
    two.succeeds("race/c");
    let (step, code) = two.failure();
    assert_eq!((step, code), (Some("race"), "too_few_completed"));
}

#[test]
fn a_loser_that_waits_is_cancelled_without_a_call() {
    let mut play = play(
        "
steps:
  - name: race
    parallel: true
    waitFor: any
    steps:
      - { name: a, tool: x.y }
      - { name: b, wait: { event: go } }
      - { name: inner, steps: [{ name: c, approval: { message: 'ok?' } }, { name: d, tool: x.y }] }
",
        json!({}),
    );
    play.succeeds("race/a");
    assert_eq!(output(&play), json!({ "a": { "by": "race/a" } }));
    for path in ["race/b", "race/inner", "race/inner/c", "race/inner/d"] {
        assert_eq!(step(&play, path).status, StepStatus::Cancelled, "{path}");
    }
    assert_eq!(play.state.requests().count(), 0);
}

#[test]
fn a_branch_takes_one_way_and_the_other_is_skipped() {
    let text = "
steps:
  - name: way
    if: input.on
    steps: [{ name: yes_way, tool: x.y }]
    else: [{ name: no_way, tool: x.y }]
  - { name: after, set: { yes: \"${default(steps.yes_way.by, 'none')}\", no: \"${default(steps.no_way.by, 'none')}\", status: \"${status('yes_way')}\" } }
";
    for (on, path, expected) in [
        (true, "way/yes_way", json!({ "yes": "way/yes_way", "no": "none", "status": "completed" })),
        (false, "way/no_way", json!({ "yes": "none", "no": "way/no_way", "status": "skipped" })),
    ] {
        let mut play = play(text, json!({ "on": on }));
        assert_eq!(play.called(), [path]);
        play.succeeds(path);
        assert_eq!(output(&play), expected);
    }
}

#[test]
fn a_dependant_of_the_way_not_taken_is_skipped_unless_it_gives_a_default() {
    let play = play(
        "
steps:
  - name: way
    if: input.on
    steps: [{ name: a, tool: x.y }]
  - { name: needs_it, tool: x.y, params: { n: '${steps.a.by}' } }
  - { name: does_not, set: { n: 1 } }
",
        json!({ "on": false }),
    );
    assert_eq!(output(&play), json!({ "n": 1 }));
    assert_eq!(play.status("needs_it"), StepStatus::Skipped);
}

#[test]
fn a_loop_goes_round_until_its_condition_says_so_and_sees_the_iteration_before() {
    let mut play = play(
        "
steps:
  - name: pages
    repeat: { until: 'steps.page.next == null', maxIterations: 5 }
    steps:
      - { name: page, tool: x.y, params: { cursor: \"${default(steps.page.next, 'first')}\", number: '${index}' } }
  - { name: after, set: { last: '${steps.page.next}', seen: '${steps.pages.page.n}' } }
",
        json!({}),
    );
    assert_eq!(*play.call().params, json!({ "cursor": "first", "number": 0 }));
    assert_eq!(play.call().idempotency_key, "exec_1/pages[0]/page#0~0");
    play.hears([succeeded("pages[0]/page", json!({ "next": "second", "n": 1 }))]);
    assert_eq!(*play.call().params, json!({ "cursor": "second", "number": 1 }));
    play.hears([succeeded("pages[1]/page", json!({ "next": null, "n": 2 }))]);
    assert_eq!(output(&play), json!({ "last": null, "seen": 2 }));
}

#[test]
fn a_loop_whose_condition_is_false_at_once_does_nothing() {
    let play = play(
        "
steps:
  - name: l
    repeat: { while: 'input.n > 0', maxIterations: 3 }
    steps: [{ name: a, tool: x.y }]
",
        json!({ "n": 0 }),
    );
    assert_eq!(output(&play), json!({}));
}

#[test]
fn a_loop_that_goes_round_too_often_fails() {
    let mut play = play(
        "
vars: { n: 0 }
steps:
  - name: l
    repeat: { while: 'vars.n < 9', maxIterations: 3 }
    steps: [{ name: more, set: { n: '${vars.n + 1}' } }]
",
        json!({}),
    );
    assert_eq!(play.failure(), (Some("l"), "too_many_iterations"));
    assert_eq!(play.hears([]).events.len(), 0);
}

#[test]
fn a_var_is_changed_by_a_set_and_seen_by_what_begins_after() {
    let play = play(
        "
vars: { total: 0, base: '${input.n * 2}' }
steps:
  - name: l
    repeat: { while: 'vars.total < 10', maxIterations: 100 }
    steps: [{ name: more, set: { total: '${vars.total + vars.base}', other: 1 } }]
output: '${vars}'
",
        json!({ "n": 2 }),
    );
    assert_eq!(output(&play), json!({ "total": 12, "base": 4 }));
}

#[test]
fn each_element_has_its_instance_and_the_results_keep_their_order() {
    let mut play = play(
        "
steps:
  - { name: fan, forEach: '${input.list}', as: fruit, maxParallel: 2, tool: x.y, params: { f: '${fruit}', i: '${index}' } }
  - { name: after, set: { all: '${steps.fan}', last: '${steps.fan[2].by}' } }
",
        json!({ "list": ["apple", "pear", "plum"] }),
    );
    assert_eq!(play.called(), ["fan[0]", "fan[1]"]);
    assert_eq!(*play.last.calls[1].params, json!({ "f": "pear", "i": 1 }));
    assert_eq!(play.last.calls[1].idempotency_key, "exec_1/fan#1~0");
    play.succeeds("fan[1]");
    assert_eq!(play.called(), ["fan[2]"]);
    play.succeeds("fan[2]");
    play.succeeds("fan[0]");
    let all = json!([{ "by": "fan[0]" }, { "by": "fan[1]" }, { "by": "fan[2]" }]);
    assert_eq!(output(&play), json!({ "all": all, "last": "fan[2]" }));
}

#[test]
fn an_instance_that_fails_fails_the_list_or_leaves_a_gap() {
    let text = |on_error: &str| {
        format!(
            "
steps:
  - {{ name: fan, forEach: '${{input.list}}', tool: x.y, onError: {on_error} }}
  - {{ name: after, set: {{ all: '${{steps.fan}}', failed: \"${{error('fan').failed}}\" }} }}
"
        )
    };
    let list = json!({ "list": [1, 2, 3] });
    let mut gap = play(&text("continue"), list.clone());
    gap.succeeds("fan[0]");
    gap.fails("fan[1]", broken());
    gap.succeeds("fan[2]");
    assert_eq!(
        output(&gap),
        json!({ "all": [{ "by": "fan[0]" }, null, { "by": "fan[2]" }], "failed": [1] })
    );

    let mut fails = play(&text("fail"), list);
    fails.fails("fan[1]", broken());
    assert_eq!(fails.state.status, Status::Running, "the others come home");
    fails.succeeds("fan[0]");
    fails.succeeds("fan[2]");
    assert_eq!(fails.failure(), (Some("fan"), "broken"));
}

#[test]
fn a_list_of_nothing_is_done_at_once() {
    let play =
        play("steps: [{ name: fan, forEach: '${input.list}', tool: x.y }]", json!({ "list": [] }));
    assert_eq!(output(&play), json!([]));
}

#[test]
fn a_for_each_over_a_group_runs_the_group_for_each_element() {
    let mut play = play(
        "
steps:
  - name: fan
    forEach: '${input.list}'
    steps:
      - { name: a, tool: x.y, params: { n: '${item}' } }
      - { name: b, set: { twice: '${steps.a.n * 2}', i: '${index}' } }
",
        json!({ "list": [10, 20] }),
    );
    assert_eq!(play.called(), ["fan[0]/a", "fan[1]/a"]);
    assert_eq!(*play.last.calls[1].params, json!({ "n": 20 }));
    play.hears([succeeded("fan[1]/a", json!({ "n": 2 }))]);
    play.hears([succeeded("fan[0]/a", json!({ "n": 1 }))]);
    assert_eq!(
        output(&play),
        json!([
            { "a": { "n": 1 }, "b": { "twice": 2, "i": 0 } },
            { "a": { "n": 2 }, "b": { "twice": 4, "i": 1 } },
        ])
    );
}

#[test]
fn a_wait_holds_nothing_but_a_time() {
    let mut play = play(
        "
steps:
  - { name: a, wait: { ms: 500 } }
  - { name: b, wait: { until: '1970-01-01T00:00:10Z' } }
",
        json!({}),
    );
    assert_eq!((play.state.status, play.last.wake_at), (Status::Waiting, Some(1_500)));
    play.wakes();
    assert_eq!(play.last.wake_at, Some(10_000));
    play.wakes();
    assert_eq!(output(&play), json!({ "waited_ms": 8_500 }));
}

#[test]
fn an_event_goes_to_who_waits_for_it_also_when_it_comes_early() {
    let sent = |name: &str, data: Value| Event::EventReceived {
        name: name.into(),
        data,
        by: "ada".into(),
    };
    let text = "
steps:
  - { name: a, tool: x.y }
  - { name: b, wait: { event: 'go_${input.n}', timeoutMs: 1000 }, expect: result.ok }
";
    let mut early = play(text, json!({ "n": 7 }));
    early.hears([sent("go_7", json!({ "ok": true })), sent("other", json!(1))]);
    early.succeeds("a");
    assert_eq!(output(&early), json!({ "ok": true }));

    let mut late = play(text, json!({ "n": 7 }));
    late.succeeds("a");
    assert_eq!(late.state.awaited_events().collect::<Vec<_>>(), [("b", "go_7")]);
    late.hears([sent("go_7", json!({ "ok": false }))]);
    assert_eq!(late.failure(), (Some("b"), "expectation_failed"));

    let mut never = play(text, json!({ "n": 7 }));
    never.succeeds("a");
    never.wakes();
    assert_eq!(never.failure(), (Some("b"), "timeout"));
}

#[test]
fn another_workflow_is_an_execution_of_its_own() {
    let mut play = play(
        "
steps:
  - { name: sub, workflow: other, params: { n: '${input.n}' }, retry: { maxAttempts: 2, initialDelayMs: 10, jitter: false } }
",
        json!({ "n": 1 }),
    );
    let child = play.last.children[0].clone();
    assert_eq!((child.workflow.as_str(), &*child.input), ("other", &json!({ "n": 1 })));
    assert_eq!(step(&play, "sub").child.as_deref(), Some(child.execution_id.as_str()));
    assert_eq!(play.state.status, Status::Running);
    play.fails("sub", passing("failed"));
    play.wakes();
    assert_ne!(play.last.children[0].execution_id, child.execution_id, "another attempt");
    play.hears([cancel()]);
    assert_eq!(play.last.cancels, ["sub"]);
    play.fails("sub", StepError::permanent("cancelled", "it was cancelled"));
    assert_eq!(play.state.status, Status::Cancelled);
}

#[test]
fn an_execution_of_another_workflow_that_takes_too_long_is_told_to_stop() {
    let mut play = play("steps: [{ name: sub, workflow: other, timeoutMs: 100 }]", json!({}));
    assert_eq!(play.last.wake_at, Some(1_100));
    play.wakes();
    assert_eq!(play.last.cancels, ["sub"]);
    play.fails("sub", StepError::permanent("cancelled", "it was cancelled"));
    assert_eq!(play.failure(), (Some("sub"), "timeout"));
}

#[test]
fn a_step_that_stops_ends_the_execution_as_it_says() {
    let text = |outcome: &str| {
        format!(
            "
steps:
  - {{ name: a, tool: x.y, needs: [] }}
  - {{ name: b, tool: x.y, needs: [] }}
  - {{ name: enough, needs: [b], stop: {{ status: {outcome}, message: 'because ${{input.n}}' }} }}
"
        )
    };
    let mut done = play(&text("completed"), json!({ "n": 1 }));
    done.succeeds("b");
    assert_eq!(done.last.cancels, ["a"]);
    done.fails("a", StepError::permanent("cancelled", "told to stop"));
    assert_eq!(output(&done), json!({ "stopped_at": "enough", "message": "because 1" }));

    let mut failed = play(&text("failed"), json!({ "n": 1 }));
    failed.succeeds("b");
    failed.succeeds("a");
    assert_eq!(failed.failure(), (Some("enough"), "stopped"));

    let mut cancelled = play(&text("cancelled"), json!({ "n": 1 }));
    cancelled.succeeds("b");
    cancelled.succeeds("a");
    assert_eq!(cancelled.state.status, Status::Cancelled);
}

#[test]
fn what_is_expected_of_a_result_makes_the_attempt_fail_when_it_does_not_hold() {
    let mut play = play(
        "
steps:
  - { name: a, tool: x.y, expect: result.ok == true, retry: { maxAttempts: 2, initialDelayMs: 10, on: [expectation_failed] } }
",
        json!({}),
    );
    play.hears([succeeded("a", json!({ "ok": false }))]);
    assert_eq!(play.kinds(), ["attempt_succeeded", "attempt_failed", "call_scheduled"]);
    play.wakes();
    play.hears([succeeded("a", json!({ "ok": true }))]);
    assert_eq!(output(&play), json!({ "ok": true }));
}

#[test]
fn a_failure_undoes_what_completed_in_reverse_and_then_tells() {
    let mut play = play(
        "
config: { undoOnFailure: true }
steps:
  - { name: a, tool: x.y, undo: { tool: x.undo, params: { of: '${result.by}' } } }
  - { name: fan, forEach: [1, 2], tool: x.y, undo: { tool: x.undo, params: { n: '${item}' } } }
  - { name: c, tool: x.y, undo: { tool: x.undo } }
onFailure:
  - { name: tell, tool: x.tell, params: { code: '${error.code}', step: '${error.step}', had: '${steps.a.by}' } }
",
        json!({}),
    );
    play.succeeds("a");
    assert_eq!(play.kinds()[..2], ["attempt_succeeded", "undo_registered"]);
    play.succeeds("fan[1]");
    play.succeeds("fan[0]");
    play.fails("c", broken());
    let mut undone = Vec::new();
    while let Some(call) = play.last.calls.first().filter(|call| call.tool.tool == "undo").cloned()
    {
        undone.push((call.step.clone(), Value::clone(&call.params)));
        assert_eq!(play.last.calls.len(), 1, "one after the other");
        let step = call.step;
        if step == "fan[1].undo" {
            play.fails(&step, broken());
        } else {
            play.succeeds(&step);
        }
    }
    assert_eq!(
        undone,
        [
            ("fan[0].undo".to_owned(), json!({ "n": 1 })),
            ("fan[1].undo".to_owned(), json!({ "n": 2 })),
            ("a.undo".to_owned(), json!({ "of": "a" })),
        ]
    );
    assert_eq!(*play.call().params, json!({ "code": "broken", "step": "c", "had": "a" }));
    play.succeeds("tell");
    let (step, error) = play.state.failure.clone().expect("it failed");
    assert_eq!((step.as_deref(), error.code.as_str()), (Some("c"), "broken"));
    assert!(error.message.contains("fan[1].undo failed: no"), "{}", error.message);
}

#[test]
fn a_cancelled_execution_runs_its_handlers_and_cannot_be_cancelled_out_of_them() {
    let mut play = play(
        "
steps: [{ name: a, tool: x.y }]
onCancel: [{ name: clean, tool: x.y, params: { why: '${error.message}' } }]
onFailure: [{ name: tell, tool: x.y }]
",
        json!({}),
    );
    play.hears([cancel()]);
    assert_eq!(play.last.cancels, ["a"]);
    play.is_lost("a", false);
    assert_eq!(play.called(), ["clean"]);
    assert_eq!(*play.call().params, json!({ "why": "changed my mind" }));
    play.hears([cancel()]);
    assert!(play.last.cancels.is_empty());
    play.succeeds("clean");
    assert_eq!(play.state.status, Status::Cancelled);
}

#[test]
fn an_uncertain_call_is_verified_before_anybody_is_asked() {
    let text = "
steps:
  - name: a
    tool: x.y
    params: { n: 1 }
    onUncertain: verify
    verify: { tool: x.look, params: { n: 1 }, expect: result.found }
";
    let mut happened = play(text, json!({}));
    happened.is_lost("a", false);
    assert_eq!(happened.call().tool.to_string(), "x.look");
    assert_eq!(happened.called(), ["a.verify"]);
    happened.hears([succeeded("a.verify", json!({ "found": true }))]);
    assert_eq!(happened.status("a.verify"), StepStatus::Completed);
    assert_eq!(output(&happened), json!({ "found": true }));

    let mut not_yet = play(text, json!({}));
    let key = not_yet.call().idempotency_key.clone();
    not_yet.is_lost("a", false);
    not_yet.hears([succeeded("a.verify", json!({ "found": false }))]);
    if not_yet.last.calls.is_empty() {
        not_yet.wakes();
    }
    assert_eq!(not_yet.call().idempotency_key, key, "the same call once more");
    not_yet.is_lost("a", false);
    assert_eq!(not_yet.called(), ["a.verify"], "and the same doubt");
    not_yet.fails("a.verify", broken());
    assert_eq!(not_yet.status("a"), StepStatus::Uncertain);
    not_yet.resolves("a", Resolution::Completed { output: json!(7) });
    assert_eq!(output(&not_yet), json!(7));
}

#[test]
fn the_author_may_say_what_an_uncertain_call_means() {
    let text = |what: &str| format!("steps: [{{ name: a, tool: x.y, onUncertain: {what} }}]");
    let mut fails = play(&text("fail"), json!({}));
    fails.is_lost("a", false);
    assert_eq!(fails.failure(), (Some("a"), "uncertain"));
    let mut repeats = play(&text("retry"), json!({}));
    assert!(repeats.call().is_repeatable);
    repeats.is_lost("a", false);
    if repeats.last.calls.is_empty() {
        repeats.wakes();
    }
    assert_eq!(repeats.called(), ["a"]);
}

#[test]
fn the_time_of_a_group_is_the_time_of_all_that_it_holds() {
    let mut play = play(
        "
steps:
  - name: g
    timeoutMs: 100
    onError: continue
    steps: [{ name: a, tool: x.y }, { name: b, wait: { ms: 9000 } }]
  - { name: after, set: { code: \"${error('g').code}\" } }
",
        json!({}),
    );
    play.wakes();
    assert_eq!((play.now, play.last.cancels.as_slice()), (1_100, ["g/a".to_owned()].as_slice()));
    play.fails("g/a", StepError::permanent("cancelled", "told to stop"));
    assert_eq!(output(&play), json!({ "code": "timeout" }));
}

#[test]
fn nothing_is_left_waiting_when_an_execution_is_cancelled() {
    let mut play = play(
        "
steps:
  - { name: a, needs: [], wait: { event: x } }
  - { name: b, needs: [], approval: {} }
  - { name: c, needs: [], tool: x.y, lock: k }
  - { name: d, needs: [], wait: { ms: 100 } }
  - { name: e, needs: [], forEach: [1, 2], workflow: other }
",
        json!({}),
    );
    play.hears([cancel()]);
    for child in ["e[0]", "e[1]"] {
        play.fails(child, StepError::permanent("cancelled", "it was cancelled"));
    }
    assert_eq!(play.state.status, Status::Cancelled);
    assert_eq!(play.state.requests().count() + play.state.awaited_events().count(), 0);
    assert_eq!(play.state.awaited_locks().count(), 0);
}

#[test]
fn a_list_of_ten_thousand_keeps_only_what_is_in_flight() {
    let list: Vec<usize> = (0..10_000).collect();
    let mut play = play(
        "steps: [{ name: fan, forEach: '${input.list}', maxParallel: 8, tool: x.y, params: { n: '${item}' } }]",
        json!({ "list": list }),
    );
    let mut out: std::collections::VecDeque<String> =
        play.called().into_iter().map(str::to_owned).collect();
    let mut most = 0;
    while let Some(step) = out.pop_front() {
        play.history.clear();
        play.hears([succeeded(&step, json!(1))]);
        out.extend(play.called().into_iter().map(str::to_owned));
        most = most.max(play.state.known());
    }
    assert_eq!(play.state.status, Status::Completed);
    assert!(most < 40, "{most} records at once");
}

#[test]
fn a_loop_without_calls_is_written_in_parts() {
    let mut play = play(
        "
vars: { n: 0 }
steps:
  - name: l
    repeat: { while: 'vars.n < 2000', maxIterations: 3000 }
    steps: [{ name: more, set: { n: '${vars.n + 1}' } }]
output: '${vars.n}'
",
        json!({}),
    );
    let mut turns = 1;
    while play.last.is_unfinished {
        assert_eq!(play.last.wake_at, Some(play.now));
        play.hears([]);
        turns += 1;
    }
    assert!((2..20).contains(&turns), "{turns}");
    assert_eq!(play.state.output, Some(json!(2000)));
}

#[test]
fn a_lost_call_in_a_list_that_was_decided_is_waited_for_by_nobody() {
    let mut play = play(
        "
steps:
  - name: race
    parallel: true
    waitFor: any
    steps: [{ name: a, tool: x.y }, { name: b, tool: x.y }]
  - { name: after, tool: x.y }
",
        json!({}),
    );
    play.hears([lost("race/a", false)]);
    assert_eq!(play.status("race/a"), StepStatus::Uncertain);
    play.succeeds("race/b");
    assert_eq!(play.called(), ["after"]);
    assert!(!play.state.may_be_resolved("race/a"));
    play.succeeds("after");
    output(&play);
    assert!(decide(&play.workflow, &play.state, ID, play.now).is_empty());
}
