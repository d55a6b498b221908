//! Every event as it is written and read.

use serde_json::json;

use super::*;

fn request() -> Request {
    Request {
        id: "req_1".into(),
        kind: RequestKind::Form,
        message: "which?".into(),
        schema: Some(json!({ "type": "object" })),
        tool: Some(ToolName { server: "x".into(), tool: "y".into() }),
        params: Some(json!([{}])),
        secrets: vec![],
        binding: "00".into(),
        approvers: vec!["bob".into()],
        quorum: 2,
        allow_self: false,
        verified: true,
        on_expire: OnExpire::Escalate,
        escalated: true,
        expires_at: 7,
    }
}

fn answered(answer: Answer) -> Event {
    let (step, request, by) = ("a".into(), "req_1".into(), "bob".into());
    Event::RequestAnswered { step, request, by, verified: true, answer }
}

fn every_event() -> Vec<Event> {
    let error = StepError::permanent("broken", "no");
    let step = || "a".to_owned();
    vec![
        Event::ExecutionStarted { input: json!({ "b": 1, "a": "\u{0}" }) },
        Event::AttemptStarted {
            step: step(),
            attempt: 1,
            call: 2,
            params: Some(json!({})),
            secrets: vec![],
            child: None,
        },
        Event::AttemptStarted {
            step: step(),
            attempt: 1,
            call: 2,
            params: None,
            secrets: vec![],
            child: None,
        },
        Event::AttemptStarted {
            step: step(),
            attempt: 2,
            call: 2,
            params: Some(json!({ "key": "${secrets.KEY}" })),
            secrets: vec![SecretSlot { pointer: "/key".into(), offset: 0, name: "KEY".into() }],
            child: Some("exec_2".into()),
        },
        Event::VarsSet { values: serde_json::Map::new() },
        Event::GroupStarted { step: step(), otherwise: true },
        Event::GroupStarted { step: step(), otherwise: false },
        Event::IterationStarted { step: step(), iteration: 3 },
        Event::GroupDecided { step: step() },
        Event::InstancesListed { step: step(), items: vec![json!(null), json!({})] },
        Event::WaitStarted { step: step(), until: -1, event: None },
        Event::WaitStarted { step: step(), until: 1, event: Some("go".into()) },
        Event::EventReceived { name: "go".into(), data: json!(null), by: "ada".into() },
        Event::RequestOpened { step: step(), request: request() },
        answered(Answer::Approved { comment: None }),
        answered(Answer::Rejected { comment: Some("no".into()) }),
        answered(Answer::Given { values: json!({ "a": 1 }) }),
        Event::RequestExpired { step: step(), request: "req_1".into() },
        Event::LockRequested {
            step: Some(step()),
            key: "k".into(),
            on_busy: OnBusy::Replace,
            ready: false,
        },
        Event::LockRequested { step: None, key: "k".into(), on_busy: OnBusy::Queue, ready: true },
        Event::LockGranted { step: None, key: "k".into() },
        Event::LockRefused { step: Some(step()), key: "k".into(), holder: "exec_2".into() },
        Event::LockReleased { step: Some(step()), key: "k".into() },
        Event::StepCompleted { step: step(), output: Some(json!(1)) },
        Event::StepCompleted { step: step(), output: None },
        Event::StepVerified { step: step(), output: None, happened: false },
        Event::UndoRegistered {
            step: step(),
            tool: ToolName { server: "x".into(), tool: "y.z".into() },
            params: json!(null),
            secrets: vec![],
        },
        Event::StopReached { step: step(), outcome: Outcome::Cancelled, message: String::new() },
        Event::StepDeadlinePassed { step: step() },
        Event::PhaseStarted { phase: Phase::OnFailure, error: error.clone() },
        Event::ChildWaits { step: step() },
        Event::ChildGoesOn { step: step() },
        Event::AttemptSucceeded { step: step(), output: json!(null) },
        Event::AttemptFailed { step: step(), error: error.clone() },
        Event::AttemptUncertain { step: step(), error: error.clone(), repeatable: true },
        Event::PollingStarted { step: step(), at: 7 },
        Event::CallScheduled { step: step(), again: Again::SameAttempt, at: 7 },
        Event::CallScheduled { step: step(), again: Again::RateLimited, at: 7 },
        Event::StepSkipped { step: step(), by: None, reason: None },
        Event::StepSkipped {
            step: step(),
            by: Some("ada".into()),
            reason: Some("done by hand".into()),
        },
        Event::StepReused {
            step: step(),
            output: json!({}),
            vars: serde_json::Map::new(),
            from_execution: "exec_2".into(),
        },
        Event::ExecutionPaused { by: "ada".into(), reason: None },
        Event::ExecutionResumed { by: "ada".into() },
        Event::ExecutionRetried {
            by: "ada".into(),
            input: Some(json!({ "n": 1 })),
            children: vec!["exec_2".into()],
        },
        Event::ExecutionRetried { by: "ada".into(), input: None, children: vec![] },
        Event::StepFailed { step: step(), error: error.clone() },
        Event::StepUncertain { step: step(), error: error.clone() },
        Event::StepCancelled { step: step() },
        Event::StepResolved { step: step(), resolution: Resolution::Retry, by: "ada".into() },
        Event::CancelRequested { by: "ada".into(), reason: None },
        Event::DeadlinePassed,
        Event::ExecutionCompleted { output: json!([1.5]) },
        Event::ExecutionFailed { step: None, error },
        Event::ExecutionCancelled { reason: Some("enough".into()) },
    ]
}

#[test]
fn an_event_reads_as_it_was_written() {
    for event in every_event() {
        let text = serde_json::to_string(&event).expect("events can be written");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("and read"), event, "{text}");
    }
}

#[test]
fn the_kind_in_the_row_is_the_kind_in_the_text() {
    for event in every_event() {
        let value = serde_json::to_value(&event).expect("events can be written");
        assert_eq!(value["kind"], event.kind());
        assert_eq!(value.get("step").and_then(Value::as_str), event.step());
    }
}

#[test]
fn an_older_release_is_told_of_what_it_cannot_read_and_of_nothing_else() {
    for event in every_event() {
        let text = serde_json::to_string(&event).expect("events can be written");
        let is_new = ["execution_paused", "execution_resumed", "execution_retried", "step_reused"]
            .contains(&event.kind())
            || (event.kind() == "step_skipped" && text.contains("ada"));
        assert_eq!(event.min_engine(), if is_new { 4 } else { 3 }, "{text}");
    }
}
