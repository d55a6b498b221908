//! What is asked of persons, and locks: what comes strictly before a call.

use serde_json::json;

use super::{
    Play,
    constructs::{output, play},
};
use crate::{Answer, Event, Status};

fn request(play: &Play) -> (String, String) {
    let (path, request) = play.state.requests().next().expect("somebody is asked");
    (path.to_owned(), request.id.clone())
}

fn answers(play: &mut Play, by: &str, answer: Answer) {
    let (step, request) = request(play);
    play.hears([Event::RequestAnswered { step, request, by: by.into(), verified: false, answer }]);
}

fn approves(play: &mut Play, by: &str) {
    answers(play, by, Answer::Approved { comment: None });
}

#[test]
fn an_approval_is_asked_before_the_call_and_what_was_approved_is_what_is_sent() {
    let text = "
config: { timeoutMs: 5000 }
steps:
  - { name: t, set: { now: '${now()}' } }
  - { name: a, tool: x.y, params: { at: '${now()}' }, approval: { message: 'Deploy ${input.app}?', quorum: 2 } }
";
    let mut play = play(text, json!({ "app": "web" }));
    assert!(play.called().is_empty(), "asked strictly before the call");
    let (path, request) = play.state.requests().next().expect("somebody is asked");
    assert_eq!((path, request.message.as_str()), ("a", "Deploy web?"));
    let (binding, params) = (request.binding.clone(), request.params.clone().expect("params"));
    play.passes(86_400_000);
    approves(&mut play, "eve");
    approves(&mut play, "eve");
    assert!(play.called().is_empty(), "one person is one voice");
    approves(&mut play, "bob");
    assert_eq!(*play.call().params, params, "not computed anew");
    assert_eq!(play.call().approval.as_deref(), Some(binding.as_str()));
    assert!(play.last.wake_at.is_some_and(|at| play.now < at), "a person's time does not count");
    play.succeeds("a");
    output(&play);
}

#[test]
fn an_approval_that_is_refused_or_expires_fails_its_step_without_a_call() {
    let text = "steps: [{ name: a, tool: x.y, approval: { expiresMs: 1000, onExpire: escalate } }]";
    let mut refused = play(text, json!({}));
    answers(&mut refused, "bob", Answer::Rejected { comment: Some("too risky".into()) });
    assert_eq!(refused.failure(), (Some("a"), "rejected"));
    let (_, error) = refused.state.failure.clone().expect("it failed");
    assert_eq!(error.message, "bob refused it: too risky");

    let mut expired = play(text, json!({}));
    let (_, first) = request(&expired);
    expired.wakes();
    assert_eq!(expired.kinds(), ["request_expired", "request_opened"]);
    let (_, second) = request(&expired);
    assert_ne!(first, second, "it is another question");
    expired.wakes();
    assert_eq!(expired.failure(), (Some("a"), "expired"));
}

#[test]
fn an_approval_of_a_list_is_asked_once_for_all_its_calls() {
    let mut play = play(
        "steps: [{ name: fan, forEach: '${input.list}', tool: x.y, params: { n: '${item}', i: '${index}' }, approval: {} }]",
        json!({ "list": ["a", "b"] }),
    );
    let (path, request) = play.state.requests().next().expect("somebody is asked");
    assert_eq!(path, "fan");
    assert_eq!(request.params, Some(json!([{ "n": "a", "i": 0 }, { "n": "b", "i": 1 }])));
    approves(&mut play, "bob");
    assert_eq!(play.called(), ["fan[0]", "fan[1]"]);
    assert_eq!(*play.last.calls[1].params, json!({ "n": "b", "i": 1 }));
    play.succeeds("fan[0]");
    play.succeeds("fan[1]");
    output(&play);
}

#[test]
fn an_approval_that_is_not_needed_is_not_asked() {
    let mut play = play(
        "
steps:
  - { name: a, tool: x.y, approval: { if: \"input.env == 'production'\" } }
  - { name: fan, forEach: [1], tool: x.y, approval: { if: 'false' } }
  - { name: alone, approval: { if: 'false' } }
",
        json!({ "env": "staging" }),
    );
    play.succeeds("a");
    assert_eq!(play.called(), ["fan[0]"]);
    play.succeeds("fan[0]");
    assert_eq!(output(&play), json!({ "approved": true, "asked": false }));
}

#[test]
fn an_answer_to_a_form_is_the_result_of_its_step() {
    let mut play = play(
        "
steps:
  - name: which
    ask: { message: 'Which?', schema: { type: object, properties: { region: { type: string } }, required: [region] } }
  - { name: alone, approval: { message: 'Sure about ${steps.which.region}?' } }
",
        json!({}),
    );
    answers(&mut play, "bob", Answer::Given { values: json!({ "region": "eu" }) });
    let (_, request) = play.state.requests().next().expect("somebody is asked");
    assert_eq!(request.message, "Sure about eu?");
    answers(&mut play, "bob", Answer::Approved { comment: Some("yes".into()) });
    assert_eq!(output(&play), json!({ "approved": true, "by": ["bob"], "comment": "yes" }));
}

#[test]
fn a_lock_is_waited_for_and_given_back() {
    let key = || "deploy:web".to_owned();
    let text = "
lock: 'whole:${input.app}'
steps:
  - { name: a, tool: x.y }
";
    let mut whole = play(text, json!({ "app": "web" }));
    assert_eq!(whole.state.status, Status::Waiting);
    assert_eq!(whole.state.awaited_locks().collect::<Vec<_>>(), [(None, "whole:web")]);
    whole.hears([Event::LockGranted { step: None, key: "whole:web".into() }]);
    assert_eq!(whole.called(), ["a"]);
    whole.succeeds("a");
    output(&whole);

    let text = "
steps:
  - { name: a, tool: x.y, lock: 'deploy:${input.app}', approval: {} }
  - { name: b, tool: x.y }
";
    let mut own = play(text, json!({ "app": "web" }));
    assert!(
        matches!(&own.last.events[1], Event::LockRequested { ready: false, .. }),
        "its place is kept"
    );
    approves(&mut own, "bob");
    assert!(matches!(&own.last.events[1], Event::LockRequested { ready: true, .. }));
    own.hears([Event::LockGranted { step: Some("a".into()), key: key() }]);
    assert_eq!(own.called(), ["a"]);
    own.succeeds("a");
    assert_eq!(own.kinds(), ["attempt_succeeded", "lock_released", "attempt_started"]);
    own.succeeds("b");
    output(&own);
}

#[test]
fn a_lock_that_somebody_holds_fails_the_step_that_does_not_wait() {
    let busy = |step: Option<&str>| Event::LockRefused {
        step: step.map(str::to_owned),
        key: "k".into(),
        holder: "exec_2".into(),
    };
    let mut own =
        play("steps: [{ name: a, tool: x.y, lock: { key: k, onBusy: reject } }]", json!({}));
    own.hears([busy(Some("a"))]);
    assert_eq!(own.failure(), (Some("a"), "lock_busy"));
    let mut whole =
        play("lock: { key: k, onBusy: reject }\nsteps: [{ name: a, tool: x.y }]", json!({}));
    whole.hears([busy(None)]);
    assert_eq!(whole.failure(), (None, "lock_busy"));
}

#[test]
fn a_key_that_cannot_be_told_apart_locks_nothing() {
    for key in [json!(""), json!("a\u{0}b"), json!("x".repeat(501))] {
        let own =
            play("steps: [{ name: a, tool: x.y, lock: '${input.key}' }]", json!({ "key": key }));
        assert_eq!(own.failure(), (Some("a"), "expression"));
        let whole =
            play("lock: '${input.key}'\nsteps: [{ name: a, tool: x.y }]", json!({ "key": key }));
        assert_eq!(whole.failure(), (None, "expression"));
    }
}
