//! What follows from what happened, as tables; and what never follows, whatever happens.

mod chance;
mod constructs;
mod control;
mod corners;
mod crashes;
mod looks;
mod people;
mod permits;
mod scale;
mod worlds;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Command, Turn, advance, decide};
use crate::{
    Event, INTERRUPTED, Look, MAX_REPEATS, Resolution, State, Status, StepError, StepStatus,
    Workflow, parse,
};

const ID: &str = "exec_1";

/// One execution whose calls are answered by the test, and whose clock the test moves.
struct Play {
    workflow: Workflow,
    state: State,
    history: Vec<(i64, Event)>,
    /// What is kept beside the history.
    looks: BTreeMap<String, Look>,
    now: i64,
    last: Turn,
}

impl Play {
    fn new(document: &Value) -> Play {
        let workflow = parse(&document.to_string()).expect("the test's workflow is sound");
        let state = State::new(&workflow, ID, "ada");
        let (history, looks, last) = (Vec::new(), BTreeMap::new(), Turn::default());
        Play { workflow, state, history, looks, now: 1_000, last }
    }

    fn start(document: &Value) -> Play {
        Play::start_with(document, json!({}))
    }

    fn start_with(document: &Value, input: Value) -> Play {
        let mut play = Play::new(document);
        play.hears([Event::ExecutionStarted { input }]);
        play
    }

    fn hears(&mut self, events: impl IntoIterator<Item = Event>) -> &Turn {
        let happened = events.into_iter().collect();
        self.last = advance(&self.workflow, &mut self.state, ID, happened, self.now)
            .expect("the event can follow");
        self.history.extend(self.last.events.iter().map(|event| (self.now, event.clone())));
        &self.last
    }

    fn succeeds(&mut self, step: &str) -> &Turn {
        self.hears([succeeded(step, json!({ "by": step }))])
    }

    fn fails(&mut self, step: &str, error: StepError) -> &Turn {
        self.hears([Event::AttemptFailed { step: step.into(), error }])
    }

    /// The tool is not done, and wants to be looked at again after so long.
    fn is_not_done(&mut self, step: &str, wait: i64) -> &Turn {
        let count = self.state.looks(step) + 1;
        let look = Look { at: self.now + wait, count, said: Some(format!("look {count}")) };
        let begins = (count == 1).then(|| Event::PollingStarted { step: step.into(), at: look.at });
        self.state.looked(&self.workflow, step, look.clone());
        self.hears(begins);
        let kept = self.state.keep_look(&self.workflow, step, look).cloned();
        self.looks.extend(kept.map(|kept| (step.to_owned(), kept)));
        &self.last
    }

    fn is_lost(&mut self, step: &str, repeatable: bool) -> &Turn {
        self.hears([lost(step, repeatable)])
    }

    fn passes(&mut self, ms: i64) -> &Turn {
        self.now += ms;
        self.hears([])
    }

    /// Lets the time pass until there is something to do again.
    fn wakes(&mut self) -> &Turn {
        self.now = self.last.wake_at.expect("a time to wake at");
        self.hears([])
    }

    fn resolves(&mut self, step: &str, resolution: Resolution) -> &Turn {
        self.hears([Event::StepResolved { step: step.into(), resolution, by: "ada".into() }])
    }

    fn called(&self) -> Vec<&str> {
        self.last.calls.iter().map(|call| call.step.as_str()).collect()
    }

    fn call(&self) -> &Call {
        assert_eq!(self.last.calls.len(), 1, "one call: {:?}", self.last.calls);
        &self.last.calls[0]
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.last.events.iter().map(Event::kind).collect()
    }

    fn status(&self, step: &str) -> StepStatus {
        self.state.step(step).expect("a step of the workflow").status
    }

    fn statuses(&self) -> Vec<StepStatus> {
        self.workflow
            .steps
            .iter()
            .filter_map(|step| Some(self.state.step(&step.name)?.status))
            .collect()
    }

    fn failure(&self) -> (Option<&str>, &str) {
        let (step, error) = self.state.failure.as_ref().expect("it failed");
        (step.as_deref(), &error.code)
    }

    /// The history, folded by a process that knows nothing else but when to look again.
    fn folded(&self) -> State {
        let mut state = State::new(&self.workflow, ID, "ada");
        for (at, event) in &self.history {
            state.apply(&self.workflow, event, *at).expect("what was written can be read");
        }
        for (step, look) in &self.looks {
            state.keep_look(&self.workflow, step, look.clone());
        }
        state
    }
}

/// The code of an error by which a call was one too many.
fn limited(wait: u64) -> StepError {
    StepError { retry_after_ms: Some(wait), ..passing(crate::RATE_LIMITED) }
}

/// Two states that are the same lead on to the same.
fn lead_on_alike(workflow: &Workflow, mut read: State, mut known: State, later: i64) {
    assert_eq!(
        decide(workflow, &read, ID, later),
        decide(workflow, &known, ID, later),
        "and leads on to the same"
    );
    let turns = [&mut read, &mut known].map(|state| {
        advance(workflow, state, ID, Vec::new(), later).expect("what is decided can follow")
    });
    assert_eq!(turns[0].events, turns[1].events);
}

fn workflow(steps: Value) -> Value {
    json!({ "name": "w", "steps": steps })
}

/// A step that needs nothing.
fn free(name: &str) -> Value {
    json!({ "name": name, "tool": "x.y", "needs": [] })
}

fn with(mut object: Value, more: Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    object.as_object_mut().expect("an object").extend(more);
    object
}

fn succeeded(step: &str, output: Value) -> Event {
    Event::AttemptSucceeded { step: step.into(), output }
}

fn lost(step: &str, repeatable: bool) -> Event {
    let error = StepError {
        code: INTERRUPTED.into(),
        message: "gone".into(),
        retryable: None,
        retry_after_ms: None,
    };
    Event::AttemptUncertain { step: step.into(), error, repeatable }
}

fn passing(code: &str) -> StepError {
    StepError {
        code: code.into(),
        message: "later".into(),
        retryable: Some(true),
        retry_after_ms: None,
    }
}

fn cancel() -> Event {
    Event::CancelRequested { by: "ada".into(), reason: Some("changed my mind".into()) }
}

fn chain(count: usize) -> Value {
    let steps = (0..count).map(|i| json!({ "name": format!("s{i}"), "tool": "x.y" }));
    workflow(steps.collect())
}

#[test]
fn a_chain_takes_one_commit_for_each_transition() {
    let mut play = Play::start(&chain(3));
    assert_eq!(play.kinds(), ["execution_started", "attempt_started"]);
    assert_eq!(play.called(), ["s0"]);
    play.succeeds("s0");
    assert_eq!(play.kinds(), ["attempt_succeeded", "attempt_started"]);
    assert_eq!(play.called(), ["s1"]);
    play.succeeds("s1");
    play.succeeds("s2");
    assert_eq!(play.kinds(), ["attempt_succeeded", "execution_completed"]);
    assert_eq!(play.state.status, Status::Completed);
    assert_eq!(play.last.wake_at, None);
    assert_eq!(play.state.output, Some(json!({ "by": "s2" })));
    assert!(decide(&play.workflow, &play.state, ID, play.now).is_empty());
}

#[test]
fn a_call_carries_what_its_tool_needs_to_know() {
    let step = with(
        free("a"),
        json!({ "params": { "n": "${input.n}" }, "timeoutMs": 500, "retry": { "maxAttempts": 2 } }),
    );
    let document = with(workflow(json!([step])), json!({ "config": { "timeoutMs": 9_000 } }));
    let mut play = Play::start_with(&document, json!({ "n": 7 }));
    let first = play.call().clone();
    assert_eq!((first.attempt, first.call), (1, 1));
    assert_eq!(*first.params, json!({ "n": 7 }));
    assert_eq!(first.idempotency_key, "exec_1/a#0~0");
    assert_eq!((first.first_started_at, first.deadline), (1_000, Some(1_500)));
    play.now = 1_100;
    play.fails("a", StepError { retry_after_ms: Some(50), ..passing("busy") });
    play.wakes();
    let second = play.call();
    assert_eq!((second.attempt, second.call), (2, 2));
    assert_eq!(second.idempotency_key, first.idempotency_key);
    assert_eq!((second.first_started_at, second.deadline), (1_000, Some(1_500)));
}

#[test]
fn steps_that_need_nothing_of_each_other_run_at_the_same_time() {
    let join = json!({ "name": "d", "tool": "x.y", "needs": ["b", "c"] });
    let after = |name| json!({ "name": name, "tool": "x.y", "needs": ["a"] });
    let mut play =
        Play::start(&workflow(json!([free("a"), after("b"), after("c"), join, free("e")])));
    assert_eq!(play.called(), ["a", "e"]);
    play.succeeds("a");
    assert_eq!(play.called(), ["b", "c"]);
    play.succeeds("c");
    assert!(play.called().is_empty());
    play.succeeds("b");
    assert_eq!(play.called(), ["d"]);
}

#[test]
fn no_more_steps_run_at_once_than_max_parallel_allows() {
    let document = with(
        workflow(json!([free("a"), free("b"), free("c"), free("d")])),
        json!({ "config": { "maxParallel": 2 } }),
    );
    let mut play = Play::start(&document);
    assert_eq!(play.called(), ["a", "b"]);
    play.succeeds("b");
    assert_eq!(play.called(), ["c"]);
    play.hears([succeeded("a", json!(1)), succeeded("c", json!(2))]);
    assert_eq!(play.called(), ["d"]);
}

#[test]
fn a_timer_that_finds_no_place_waits_for_one_instead_of_asking_all_the_time() {
    let retried = with(free("a"), json!({ "retry": { "maxAttempts": 2 } }));
    let document =
        with(workflow(json!([retried, free("b")])), json!({ "config": { "maxParallel": 1 } }));
    let mut play = Play::start(&document);
    play.fails("a", passing("busy"));
    assert_eq!(play.called(), ["b"]);
    play.passes(600_000);
    assert!(play.called().is_empty());
    assert_eq!(play.last.wake_at, None, "only the end of b can make room");
    play.succeeds("b");
    assert_eq!(play.called(), ["a"]);
}

#[test]
fn a_step_whose_condition_is_false_is_skipped_and_its_dependants_run() {
    let first = json!({ "name": "a", "tool": "x.y", "if": "input.on" });
    let second =
        json!({ "name": "b", "tool": "x.y", "params": { "n": "${default(steps.a.n, 5)}" } });
    let document = workflow(json!([first, second]));
    let mut play = Play::start_with(&document, json!({ "on": false }));
    assert_eq!(play.kinds(), ["execution_started", "step_skipped", "attempt_started"]);
    assert_eq!(play.status("a"), StepStatus::Skipped);
    assert_eq!(*play.call().params, json!({ "n": 5 }));
    play.succeeds("b");
    assert_eq!(play.state.status, Status::Completed);

    let play = Play::start_with(&document, json!({ "on": true }));
    assert_eq!(play.called(), ["a"]);
}

#[test]
fn a_step_that_needs_the_result_of_a_skipped_one_is_skipped_too() {
    let skipped =
        json!({ "name": "a", "tool": "x.y", "if": "input.on", "assign": "found", "needs": [] });
    let by_step = json!({ "name": "b", "tool": "x.y", "params": { "n": "${steps.a.n}" } });
    let by_name = json!({ "name": "c", "tool": "x.y", "needs": ["a"], "if": "found.n == 1" });
    // What is not evaluated is not needed.
    let other = json!({
        "name": "d", "tool": "x.y", "needs": ["a", "b"],
        "params": { "n": "${status('a') == 'completed' ? steps.a.n : 0}" },
    });
    let document = workflow(json!([skipped, by_step, by_name, other]));
    let play = Play::start_with(&document, json!({ "on": false }));
    assert_eq!(["a", "b", "c"].map(|step| play.status(step)), [StepStatus::Skipped; 3]);
    assert_eq!(play.called(), ["d"]);
    assert_eq!(*play.call().params, json!({ "n": 0 }));
}

#[test]
fn an_execution_whose_steps_are_all_skipped_completes_with_nothing() {
    let step = json!({ "name": "a", "tool": "x.y", "if": "input.on" });
    let play = Play::start_with(&workflow(json!([step])), json!({ "on": false }));
    assert_eq!(play.kinds(), ["execution_started", "step_skipped", "execution_completed"]);
    assert_eq!(play.state.output, Some(Value::Null));
}

#[test]
fn an_expression_that_cannot_be_evaluated_fails_its_step_before_any_call() {
    let condition = json!({ "name": "a", "tool": "x.y", "if": "input.a.b.c == 1" });
    let params = json!({ "name": "a", "tool": "x.y", "params": { "n": "${input.a.b.c}" } });
    let no_object = json!({ "name": "a", "tool": "x.y", "params": "${input}" });
    for (step, input, place) in [
        (condition, json!({ "a": 1 }), "if: "),
        (params, json!({ "a": 1 }), "params: "),
        (no_object, json!([1]), "params must be an object"),
    ] {
        let play = Play::start_with(&workflow(json!([step.clone()])), input);
        assert_eq!(
            play.kinds(),
            ["execution_started", "step_failed", "execution_failed"],
            "{step}"
        );
        let (failed, error) = play.state.failure.as_ref().expect("it failed");
        assert_eq!((failed.as_deref(), error.code.as_str()), (Some("a"), "expression"));
        assert!(error.message.starts_with(place), "{}", error.message);
    }
}

#[test]
fn a_failed_expression_is_not_tried_again() {
    let step = json!({
        "name": "a", "tool": "x.y", "params": { "n": "${input.a.b}" }, "retry": { "maxAttempts": 9 },
    });
    let play = Play::start_with(&workflow(json!([step])), json!({ "a": 1 }));
    assert_eq!(play.state.status, Status::Failed);
}

#[test]
fn a_failed_attempt_is_followed_by_another_until_none_is_left() {
    let retry =
        json!({ "maxAttempts": 3, "backoff": "fixed", "initialDelayMs": 100, "jitter": false });
    let mut play = Play::start(&workflow(json!([with(free("a"), json!({ "retry": retry }))])));
    for attempt in [2, 3] {
        play.fails("a", passing("busy"));
        assert_eq!(play.kinds(), ["attempt_failed", "call_scheduled"]);
        assert_eq!(play.state.status, Status::Waiting);
        assert_eq!(play.status("a"), StepStatus::Waiting);
        assert_eq!(play.last.wake_at, Some(play.now + 100));
        play.passes(99);
        assert!(play.called().is_empty(), "not before its time");
        play.passes(1);
        assert_eq!(play.call().attempt, attempt);
    }
    play.fails("a", passing("busy"));
    assert_eq!(play.kinds(), ["attempt_failed", "step_failed", "execution_failed"]);
    assert_eq!(play.failure(), (Some("a"), "busy"));
}

#[test]
fn an_error_that_says_it_is_permanent_is_not_tried_again() {
    let step = with(free("a"), json!({ "retry": { "maxAttempts": 3 } }));
    let mut play = Play::start(&workflow(json!([step])));
    play.fails("a", StepError::permanent("not_found", "no such thing"));
    assert_eq!(play.failure(), (Some("a"), "not_found"));
}

#[test]
fn what_the_tool_asks_to_wait_wins_over_the_backoff() {
    let step = with(free("a"), json!({ "retry": { "maxAttempts": 2, "initialDelayMs": 60_000 } }));
    let mut play = Play::start(&workflow(json!([step])));
    play.fails("a", StepError { retry_after_ms: Some(7), ..passing("busy") });
    assert_eq!(play.last.wake_at, Some(play.now + 7));
}

#[test]
fn a_wait_that_never_ends_does_not_overflow() {
    let step = with(free("a"), json!({ "retry": { "maxAttempts": 2 } }));
    let mut play = Play::start(&workflow(json!([step])));
    play.fails("a", StepError { retry_after_ms: Some(u64::MAX), ..passing("busy") });
    let a_day = 24 * 3_600_000;
    assert_eq!(play.last.wake_at, Some(play.now + a_day));
}

#[test]
fn a_step_that_has_no_time_left_is_not_tried_again() {
    let step = with(
        free("a"),
        json!({ "timeoutMs": 1_000, "retry": { "maxAttempts": 9, "initialDelayMs": 600, "backoff": "fixed", "jitter": false } }),
    );
    let mut play = Play::start(&workflow(json!([step])));
    play.fails("a", passing("busy"));
    play.wakes();
    assert_eq!(play.call().attempt, 2);
    play.fails("a", passing("busy"));
    assert_eq!(play.failure(), (Some("a"), "busy"), "1,200 ms is past its bound");
}

#[test]
fn a_timer_that_comes_after_the_steps_time_calls_nothing() {
    let step = with(
        free("a"),
        json!({ "timeoutMs": 1_000, "retry": { "maxAttempts": 9, "initialDelayMs": 100 } }),
    );
    let mut play = Play::start(&workflow(json!([step])));
    play.fails("a", passing("busy"));
    play.passes(3_600_000);
    assert!(play.called().is_empty(), "a call without time would only be lost");
    assert_eq!(play.failure(), (Some("a"), "busy"));
}

#[test]
fn an_execution_that_takes_too_long_cancels_what_runs_and_fails() {
    let document = with(
        workflow(json!([free("a"), json!({ "name": "b", "tool": "x.y" })])),
        json!({ "config": { "timeoutMs": 5_000 } }),
    );
    let mut play = Play::start(&document);
    assert_eq!(play.last.wake_at, Some(6_000));
    play.wakes();
    assert_eq!(play.kinds(), ["deadline_passed", "step_cancelled"]);
    assert_eq!(play.last.cancels, ["a"]);
    assert_eq!(play.last.wake_at, None);
    assert_eq!(play.state.status, Status::Running, "the call comes home first");
    play.fails("a", StepError::permanent("cancelled", "stopped"));
    assert_eq!(play.failure(), (None, "timeout"));
    assert_eq!(play.statuses(), [StepStatus::Cancelled, StepStatus::Cancelled]);
}

#[test]
fn a_result_that_comes_home_after_the_deadline_is_kept() {
    let document = with(workflow(json!([free("a")])), json!({ "config": { "timeoutMs": 5_000 } }));
    let mut play = Play::start(&document);
    play.wakes();
    play.succeeds("a");
    assert_eq!(play.status("a"), StepStatus::Completed);
    assert_eq!(play.failure(), (None, "timeout"));
}

#[test]
fn a_step_that_may_fail_leaves_its_error_and_the_execution_goes_on() {
    let tell = json!({ "name": "b", "tool": "x.y", "params": {
        "code": "${error('a').code}", "status": "${status('a')}",
    } });
    let lenient = with(free("a"), json!({ "onError": "continue" }));
    let per_step = workflow(json!([lenient, tell]));
    let overall =
        with(workflow(json!([free("a"), tell])), json!({ "config": { "continueOnError": true } }));
    for document in [per_step, overall] {
        let mut play = Play::start(&document);
        play.fails("a", StepError::permanent("broken", "no"));
        assert_eq!(*play.call().params, json!({ "code": "broken", "status": "failed" }));
        play.succeeds("b");
        assert_eq!(play.state.status, Status::Completed);
    }
}

#[test]
fn a_step_may_insist_although_the_workflow_does_not() {
    let strict = with(free("a"), json!({ "onError": "fail" }));
    let document =
        with(workflow(json!([strict])), json!({ "config": { "continueOnError": true } }));
    let mut play = Play::start(&document);
    play.fails("a", StepError::permanent("broken", "no"));
    assert_eq!(play.state.status, Status::Failed);
}

#[test]
fn after_a_failure_nothing_starts_and_what_runs_comes_home_first() {
    let document = with(
        workflow(json!([free("a"), free("b"), free("c")])),
        json!({ "config": { "maxParallel": 2 } }),
    );
    let mut play = Play::start(&document);
    play.fails("a", StepError::permanent("broken", "no"));
    assert!(play.called().is_empty(), "c has not begun, and does not");
    assert_eq!(play.kinds(), ["attempt_failed", "step_failed", "step_cancelled"]);
    assert!(play.last.cancels.is_empty(), "nobody asked b to stop");
    assert_eq!(play.state.status, Status::Running);
    play.succeeds("b");
    assert_eq!(play.failure(), (Some("a"), "broken"));
    let expected = [StepStatus::Failed, StepStatus::Completed, StepStatus::Cancelled];
    assert_eq!(play.statuses(), expected);
}

#[test]
fn a_failure_in_the_only_place_does_not_let_the_next_step_begin() {
    let document =
        with(workflow(json!([free("a"), free("b")])), json!({ "config": { "maxParallel": 1 } }));
    let mut play = Play::start(&document);
    play.fails("a", StepError::permanent("broken", "no"));
    assert!(play.called().is_empty());
    assert_eq!(play.statuses(), [StepStatus::Failed, StepStatus::Cancelled]);
}

#[test]
fn params_that_cannot_be_computed_keep_later_steps_from_beginning() {
    let broken = with(free("a"), json!({ "params": { "n": "${input.a.b}" } }));
    let play = Play::start_with(&workflow(json!([broken, free("b")])), json!({ "a": 1 }));
    assert!(play.called().is_empty());
    assert_eq!(play.statuses(), [StepStatus::Failed, StepStatus::Cancelled]);
}

#[test]
fn the_first_failure_is_the_one_that_is_told() {
    let mut play = Play::start(&workflow(json!([free("a"), free("b")])));
    play.fails("b", StepError::permanent("first", "no"));
    play.fails("a", StepError::permanent("second", "no"));
    assert_eq!(play.failure(), (Some("b"), "first"));
}

#[test]
fn a_cancelled_execution_stops_its_calls_and_waits_for_them() {
    let mut play = Play::start(&workflow(json!([
        free("a"),
        free("b"),
        json!({ "name": "c", "tool": "x.y" })
    ])));
    play.hears([cancel()]);
    assert_eq!(play.kinds(), ["cancel_requested", "step_cancelled"]);
    assert_eq!(play.last.cancels, ["a", "b"]);
    play.succeeds("a");
    assert_eq!(play.last.cancels, ["b"]);
    play.fails("b", StepError::permanent("cancelled", "stopped"));
    assert_eq!(play.state.status, Status::Cancelled);
    let expected = [StepStatus::Completed, StepStatus::Cancelled, StepStatus::Cancelled];
    assert_eq!(play.statuses(), expected);
    let reason = Some("changed my mind".to_owned());
    assert_eq!(play.last.events.last(), Some(&Event::ExecutionCancelled { reason }));
}

#[test]
fn a_cancelled_execution_that_waits_ends_at_once() {
    let retried = with(free("a"), json!({ "retry": { "maxAttempts": 2 } }));
    let mut timer = Play::start(&workflow(json!([retried])));
    timer.fails("a", passing("busy"));
    let mut person = Play::start(&workflow(json!([free("a")])));
    person.is_lost("a", false);
    for (mut play, status) in [(timer, StepStatus::Cancelled), (person, StepStatus::Uncertain)] {
        assert_eq!(play.state.status, Status::Waiting);
        play.hears([cancel()]);
        assert_eq!(play.kinds().last().copied(), Some("execution_cancelled"));
        assert_eq!(play.status("a"), status, "what may have happened is not called off");
        assert_eq!(play.last.wake_at, None);
    }
}

#[test]
fn the_first_word_to_cancel_counts() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    play.hears([cancel()]);
    play.hears([Event::CancelRequested { by: "bob".into(), reason: None }]);
    assert_eq!(play.state.cancel.as_ref().map(|(by, _)| by.as_str()), Some("ada"));
}

#[test]
fn a_lost_call_that_is_not_harmless_waits_for_a_person() {
    let step = with(free("a"), json!({ "retry": { "maxAttempts": 9 }, "onError": "continue" }));
    let mut play = Play::start(&workflow(json!([step])));
    play.is_lost("a", false);
    assert_eq!(play.kinds(), ["attempt_uncertain", "step_uncertain"]);
    assert_eq!(play.status("a"), StepStatus::Uncertain);
    assert_eq!(play.state.status, Status::Waiting);
    assert_eq!(play.state.uncertain_steps(), ["a"]);
    play.passes(600_000_000);
    assert!(play.called().is_empty(), "neither time nor retry repeats it");
}

#[test]
fn an_execution_that_nobody_answers_ends_after_a_week() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    play.is_lost("a", false);
    assert_eq!(play.last.wake_at, Some(play.now + 7 * 24 * 3_600_000));
    play.wakes();
    assert_eq!(play.kinds(), ["step_failed", "execution_failed"]);
    assert_eq!(play.failure(), (Some("a"), "expired"));
}

#[test]
fn an_uncertain_step_is_resolved_as_completed() {
    let last = json!({ "name": "b", "tool": "x.y", "params": { "n": "${steps.a.n}" } });
    let mut play = Play::start(&workflow(json!([free("a"), last])));
    play.is_lost("a", false);
    play.resolves("a", Resolution::Completed { output: json!({ "n": 4 }) });
    assert_eq!(*play.call().params, json!({ "n": 4 }));
    assert_eq!(play.status("a"), StepStatus::Completed);
}

#[test]
fn an_uncertain_step_is_resolved_as_failed() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    play.is_lost("a", false);
    play.resolves("a", Resolution::Failed { message: "it is not there".into() });
    assert_eq!(play.failure(), (Some("a"), "resolved_as_failed"));
}

#[test]
fn an_uncertain_step_that_is_called_again_has_a_new_key() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    assert_eq!(play.call().idempotency_key, "exec_1/a#0~0");
    play.is_lost("a", false);
    play.now = 5_000;
    play.resolves("a", Resolution::Retry);
    let call = play.call();
    assert_eq!(call.idempotency_key, "exec_1/a#0~1");
    assert_eq!((call.attempt, call.call, call.first_started_at), (1, 1, 5_000));
    play.is_lost("a", false);
    play.resolves("a", Resolution::Retry);
    assert_eq!(play.call().idempotency_key, "exec_1/a#0~2");
}

#[test]
fn a_lost_call_that_is_harmless_is_repeated_as_the_same_attempt() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    for repeat in 1..=MAX_REPEATS {
        play.is_lost("a", true);
        assert_eq!(play.call().call, repeat + 1, "an interrupted call is repeated at once");
        assert_eq!(play.call().attempt, 1);
        assert_eq!(play.call().idempotency_key, "exec_1/a#0~0");
    }
    play.is_lost("a", true);
    assert_eq!(play.failure(), (Some("a"), INTERRUPTED));
}

#[test]
fn a_connection_that_breaks_is_given_longer_and_longer_to_mend() {
    let mut play = Play::start(&workflow(json!([free("a")])));
    let mut delays = Vec::new();
    for _ in 0..4 {
        let error = StepError { retryable: None, ..passing("connection_lost") };
        play.hears([Event::AttemptUncertain { step: "a".into(), error, repeatable: true }]);
        delays.push(play.last.wake_at.expect("it is repeated") - play.now);
        play.wakes();
    }
    assert_eq!(delays, [250, 500, 1_000, 2_000]);
}

#[test]
fn a_persons_time_does_not_count() {
    let document = with(
        workflow(json!([free("a"), json!({ "name": "b", "tool": "x.y" })])),
        json!({ "config": { "timeoutMs": 5_000 } }),
    );
    let mut play = Play::start(&document);
    play.passes(2_000);
    play.is_lost("a", false);
    let a_week = 7 * 24 * 3_600_000;
    assert_eq!(play.last.wake_at, Some(play.now + a_week), "not after config.timeoutMs");
    play.passes(1_000_000);
    assert_eq!(play.state.status, Status::Waiting);
    play.resolves("a", Resolution::Completed { output: json!(1) });
    assert_eq!(play.call().deadline, None, "it is told to stop when the time is over");
    assert_eq!(play.last.wake_at, Some(1_000 + 5_000 + 1_000_000));
    play.wakes();
    assert_eq!(play.kinds(), ["deadline_passed"]);
}

#[test]
fn a_clock_that_is_set_back_costs_an_execution_no_time() {
    let document = with(workflow(json!([free("a")])), json!({ "config": { "timeoutMs": 5_000 } }));
    let mut play = Play::start(&document);
    play.is_lost("a", false);
    play.passes(-900);
    play.resolves("a", Resolution::Retry);
    assert_eq!(play.last.wake_at, Some(6_000));
}

#[test]
fn other_steps_go_on_while_a_person_thinks() {
    let mut play = Play::start(&workflow(json!([
        free("a"),
        free("b"),
        json!({ "name": "c", "tool": "x.y" })
    ])));
    play.is_lost("a", false);
    assert_eq!(play.state.status, Status::Running);
    play.succeeds("b");
    assert_eq!(play.called(), ["c"]);
    play.succeeds("c");
    assert_eq!(play.state.status, Status::Waiting);
}

#[test]
fn an_output_is_computed_from_what_the_steps_resulted_in() {
    let document = with(
        workflow(json!([free("a"), free("b")])),
        json!({ "output": { "first": "${steps.a.by}", "who": "${execution.requested_by}" } }),
    );
    let mut play = Play::start(&document);
    play.hears([succeeded("b", json!({})), succeeded("a", json!({ "by": "me" }))]);
    assert_eq!(play.state.output, Some(json!({ "first": "me", "who": "ada" })));
}

#[test]
fn an_output_that_cannot_be_computed_fails_the_execution() {
    let document = with(workflow(json!([free("a")])), json!({ "output": "${steps.a.x.y}" }));
    let mut play = Play::start(&document);
    play.hears([succeeded("a", json!({ "x": 1 }))]);
    assert_eq!(play.kinds(), ["attempt_succeeded", "execution_failed"]);
    assert_eq!(play.failure(), (None, "expression"));
    assert_eq!(play.status("a"), StepStatus::Completed);
}

#[test]
fn nothing_is_decided_before_the_start() {
    let play = Play::new(&chain(1));
    assert!(decide(&play.workflow, &play.state, ID, 0).is_empty());
}

#[test]
fn a_long_chain_and_a_wide_fan_end() {
    let mut chain = Play::start(&chain(500));
    for i in 0..500 {
        chain.succeeds(&format!("s{i}"));
    }
    assert_eq!(chain.state.status, Status::Completed);
    assert_eq!(chain.history.len(), 2 + 2 * 500);

    let steps = (0..500).map(|i| free(&format!("s{i}"))).collect();
    let mut fan = Play::start(&with(workflow(steps), json!({ "config": { "maxParallel": 50 } })));
    let mut out: Vec<String> = Vec::new();
    while !fan.state.status.is_final() {
        out.extend(fan.called().into_iter().map(str::to_owned));
        let next = out.pop().expect("something runs");
        fan.succeeds(&next);
    }
    assert_eq!(fan.state.status, Status::Completed);
    assert_eq!(fan.folded(), fan.state);
}

/// `decide` asks for nothing that was not carried out, but to stop what runs.
fn only_stops(commands: &[Command]) -> bool {
    commands.iter().all(|command| matches!(command, Command::CancelCall { .. }))
}
