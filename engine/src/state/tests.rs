//! What a history may say, and what it may not.

use serde_json::json;

use super::{State, Status, StepStatus};
use crate::{Again, Event, Resolution, StepError, Workflow, parse};

fn two_steps() -> Workflow {
    let steps = json!([{ "name": "a", "tool": "x.y" }, { "name": "b", "tool": "x.y" }]);
    parse(&json!({ "name": "w", "steps": steps }).to_string()).expect("a sound workflow")
}

fn started() -> Event {
    Event::ExecutionStarted { input: json!({ "repo": "r" }) }
}

fn attempt(step: &str) -> Event {
    Event::AttemptStarted {
        step: step.into(),
        attempt: 1,
        call: 1,
        params: Some(json!({})),
        secrets: vec![],
        child: None,
    }
}

fn succeeded(step: &str) -> Event {
    Event::AttemptSucceeded { step: step.into(), output: json!({}) }
}

fn failed(step: &str) -> Event {
    Event::AttemptFailed { step: step.into(), error: error() }
}

fn uncertain(step: &str) -> Event {
    Event::AttemptUncertain { step: step.into(), error: error(), repeatable: false }
}

fn scheduled(step: &str) -> Event {
    Event::CallScheduled { step: step.into(), again: Again::NextAttempt, at: 10 }
}

fn step_failed(step: &str) -> Event {
    Event::StepFailed { step: step.into(), error: error() }
}

fn step_uncertain(step: &str) -> Event {
    Event::StepUncertain { step: step.into(), error: error() }
}

fn skipped(step: &str) -> Event {
    Event::StepSkipped { step: step.into(), by: None, reason: None }
}

fn step_cancelled(step: &str) -> Event {
    Event::StepCancelled { step: step.into() }
}

fn resolved(step: &str, resolution: Resolution) -> Event {
    Event::StepResolved { step: step.into(), resolution, by: "ada".into() }
}

fn error() -> StepError {
    StepError::permanent("broken", "no")
}

fn fold(workflow: &Workflow, events: &[Event]) -> Result<State, String> {
    let mut state = State::new(workflow, "exec_1", "ada");
    for (at, event) in (1..).zip(events) {
        state.apply(workflow, event, at).map_err(|err| err.to_string())?;
    }
    Ok(state)
}

#[test]
fn every_event_leaves_its_step_where_it_says() {
    let workflow = two_steps();
    let begun = [started(), attempt("a")];
    let cases = [
        (vec![], StepStatus::Running),
        (vec![succeeded("a")], StepStatus::Completed),
        (vec![failed("a"), scheduled("a")], StepStatus::Waiting),
        (vec![failed("a"), scheduled("a"), attempt("a")], StepStatus::Running),
        (vec![failed("a"), step_failed("a")], StepStatus::Failed),
        (vec![failed("a"), scheduled("a"), step_cancelled("a")], StepStatus::Cancelled),
        (vec![uncertain("a"), step_uncertain("a")], StepStatus::Uncertain),
        (
            vec![uncertain("a"), step_uncertain("a"), resolved("a", Resolution::Retry)],
            StepStatus::Pending,
        ),
    ];
    for (events, expected) in cases {
        let state = fold(&workflow, &[&begun[..], &events].concat()).expect("a sound history");
        assert_eq!(state.step("a").expect("a step").status, expected, "{events:?}");
    }
    let state = fold(&workflow, &[started(), skipped("a")]).expect("a sound history");
    assert_eq!(state.step("a").expect("a step").status, StepStatus::Skipped);
}

#[test]
fn a_step_counts_its_attempts_and_knows_its_times() {
    let workflow = two_steps();
    let again = Event::AttemptStarted {
        step: "a".into(),
        attempt: 2,
        call: 3,
        params: None,
        secrets: vec![],
        child: None,
    };
    let history = [started(), attempt("a"), failed("a"), scheduled("a"), again, succeeded("a")];
    let state = fold(&workflow, &history).expect("a sound history");
    let step = state.step("a").expect("a step");
    assert_eq!((step.attempts, step.calls, step.generation), (2, 3, 0));
    assert_eq!((step.started_at, step.ended_at), (Some(2), Some(6)));
    assert_eq!(step.params.as_deref(), Some(&json!({})), "the first call's params hold");
}

#[test]
fn what_cannot_follow_is_refused() {
    let workflow = two_steps();
    let begun = || vec![started(), attempt("a")];
    let ended = Event::ExecutionCompleted { output: json!(1) };
    let cases: Vec<(Vec<Event>, Event, &str)> = vec![
        (vec![], attempt("a"), "the execution has not started"),
        (vec![started()], started(), "the execution has started before"),
        (vec![started(), ended], started(), "the execution has ended"),
        (vec![started()], attempt("c"), "there is no step c"),
        (vec![started()], attempt("b"), "the step may not be called now"),
        (begun(), attempt("a"), "the step may not be called now"),
        (vec![started()], succeeded("a"), "no call of the step is out"),
        (vec![started()], failed("a"), "no call of the step is out"),
        ([begun(), vec![failed("a")]].concat(), uncertain("a"), "no call of the step is out"),
        ([begun(), vec![succeeded("a")]].concat(), succeeded("a"), "the step has ended"),
        (begun(), scheduled("a"), "no attempt of the step has just ended"),
        (begun(), step_uncertain("a"), "no attempt of the step has just ended"),
        (vec![started()], skipped("b"), "the step's turn has not come"),
        (begun(), skipped("a"), "the step's turn has not come"),
        (begun(), step_failed("a"), "a call of the step is out"),
        (begun(), step_cancelled("a"), "a call of the step is out"),
        (
            begun(),
            resolved("a", Resolution::Retry),
            "the step is neither uncertain nor one that failed before",
        ),
        (
            vec![started()],
            resolved("b", Resolution::Retry),
            "the step is neither uncertain nor one that failed before",
        ),
    ];
    for (history, event, reason) in cases {
        let mut state = fold(&workflow, &history).expect("a sound history");
        let refused = state.apply(&workflow, &event, 9).map_err(|err| err.to_string());
        let expected = format!("event {} cannot follow: {reason}", event.kind());
        assert_eq!(refused, Err(expected), "{history:?}");
    }
}

#[test]
fn a_state_is_pending_then_running_then_what_its_end_says() {
    let workflow = two_steps();
    let ends = [
        (Event::ExecutionCompleted { output: json!(1) }, Status::Completed),
        (Event::ExecutionFailed { step: None, error: error() }, Status::Failed),
        (Event::ExecutionCancelled { reason: None }, Status::Cancelled),
    ];
    assert_eq!(fold(&workflow, &[]).expect("nothing").status, Status::Pending);
    assert_eq!(fold(&workflow, &[started()]).expect("a start").status, Status::Running);
    for (event, expected) in ends {
        let state = fold(&workflow, &[started(), event]).expect("an end");
        assert_eq!(state.status, expected);
        assert!(state.status.is_final());
    }
}
