//! What the words that an execution is left mean for it.

use windlass_engine::{Event, Resolution, State, StepError, StepStatus, Workflow, is_too_deep};

use crate::store::{ChildOutcome, Signal};

/// Where an execution has ended, it goes on by what stands among its signals, or not at all. An event that came before its end
/// and was not heard is heard then: whoever sent it was told that it was taken.
pub(super) fn put_in_order(state: &State, signals: &mut [(i64, Signal)]) {
    if state.status.is_final() {
        signals.sort_by_key(|(_, signal)| matches!(signal, Signal::Event { .. }));
    }
}

/// What happened according to a signal; `None` when it comes too late to mean anything. `happened` is what is known
/// and not yet part of the state.
pub(super) fn event(
    workflow: &Workflow,
    state: &State,
    happened: &[Event],
    signal: Signal,
    now: i64,
) -> Option<Event> {
    let goes_on = happened.iter().any(|event| matches!(event, Event::ExecutionRetried { .. }));
    if state.status.is_final() && !goes_on && !matches!(signal, Signal::Retry { .. }) {
        // It was said before the execution ended, and comes too late.
        return None;
    }
    // What follows from it is not asked of a state that does not know all that has happened.
    let if_allowed = |event: Event| state.allows(workflow, happened, &event, now).then_some(event);
    // Two words of one batch may contradict each other: what only asks the state has to fit what a person settled since.
    let is_settled = happened.iter().any(|event| event.settled_by_hand().is_some());
    let if_still_allowed = |event: Event| if is_settled { if_allowed(event) } else { Some(event) };
    match signal {
        Signal::Pause { by, reason } => {
            let paused = is_paused(state, happened);
            (!paused).then_some(Event::ExecutionPaused { by, reason }).and_then(if_allowed)
        }
        Signal::Resume { by } => {
            let paused = is_paused(state, happened);
            paused.then_some(Event::ExecutionResumed { by }).and_then(if_allowed)
        }
        Signal::Retry { by, input, children } => {
            if_allowed(Event::ExecutionRetried { by, input, children })
        }
        Signal::Skip { step, by, reason } => {
            if_allowed(Event::StepSkipped { step, by: Some(by), reason })
        }
        // A step that failed, and that the execution goes on from.
        Signal::Resolve { step, started_at: _, resolution, by }
            if goes_on && matches!(resolution, Resolution::Completed { .. }) =>
        {
            if_allowed(Event::StepResolved { step, resolution, by })
        }
        Signal::Cancel { by, reason } => Some(Event::CancelRequested { by, reason }),
        // Otherwise somebody else settled it first.
        Signal::Resolve { step, started_at, resolution, by } => {
            let wanted = may_resolve(state, happened, &step, started_at);
            wanted
                .then_some(Event::StepResolved { step, resolution, by })
                .and_then(if_still_allowed)
        }
        Signal::Answer { request, step, by, verified, answer } => {
            let wanted = may_answer(state, happened, &request, &by);
            wanted
                .then_some(Event::RequestAnswered { step, request, by, verified, answer })
                .and_then(if_still_allowed)
        }
        Signal::Event { name, data, by } => Some(Event::EventReceived { name, data, by }),
        Signal::LockGranted { step, key } => {
            let wanted = state.awaits_lock(step.as_deref(), &key);
            wanted.then_some(Event::LockGranted { step, key }).and_then(if_still_allowed)
        }
        Signal::LockRefused { step, key, holder } => {
            let wanted = state.awaits_lock(step.as_deref(), &key);
            wanted.then_some(Event::LockRefused { step, key, holder }).and_then(if_still_allowed)
        }
        Signal::ChildHeldUp { step, execution_id, waits } => {
            is_out(state, happened, &step, &execution_id).then_some(match waits {
                true => Event::ChildWaits { step },
                false => Event::ChildGoesOn { step },
            })
        }
        Signal::ChildEnded { step, execution_id, outcome } => {
            is_out(state, happened, &step, &execution_id)
                .then(|| ended(step, &execution_id, outcome))
        }
    }
}

fn is_paused(state: &State, happened: &[Event]) -> bool {
    let last = happened.iter().rev().find_map(|event| match event {
        Event::ExecutionPaused { .. } => Some(true),
        Event::ExecutionResumed { .. } | Event::CancelRequested { .. } => Some(false),
        _ => None,
    });
    last.unwrap_or(state.is_paused())
}

fn may_resolve(state: &State, happened: &[Event], step: &str, started_at: Option<i64>) -> bool {
    let same = state.step(step).is_some_and(|step| step.started_at == started_at);
    let uncertain = same && state.may_be_resolved(step);
    let resolved = |event: &Event| matches!(event, Event::StepResolved { step: settled, .. } if settled == step);
    uncertain && !happened.iter().any(resolved)
}

/// One answer a person; that no more come than are asked for is the store's care.
fn may_answer(state: &State, happened: &[Event], id: &str, person: &str) -> bool {
    let Some((_, open)) = state.requests().find(|(_, request)| request.id == id) else {
        return false;
    };
    let said = happened.iter().filter_map(|event| match event {
        Event::RequestAnswered { request, by, .. } if request == id => Some(by),
        _ => None,
    });
    let mut said = said.peekable();
    let is_first = said.peek().is_none();
    is_first || (1 < open.quorum && said.all(|by| by != person))
}

fn is_out(state: &State, happened: &[Event], step: &str, execution_id: &str) -> bool {
    let is_out = state.step(step).is_some_and(|step| {
        step.status == StepStatus::Running && step.child.as_deref() == Some(execution_id)
    });
    let is_home = |event: &Event| {
        let ended = matches!(event, Event::AttemptSucceeded { .. } | Event::AttemptFailed { .. });
        ended && event.step() == Some(step)
    };
    is_out && !happened.iter().any(is_home)
}

fn ended(step: String, execution_id: &str, outcome: ChildOutcome) -> Event {
    match outcome {
        ChildOutcome::Completed { output } if is_too_deep(&output) => {
            Event::AttemptFailed { step, error: super::too_deep() }
        }
        ChildOutcome::Completed { output } => Event::AttemptSucceeded { step, output },
        ChildOutcome::Failed { error } => {
            let message = format!("execution {execution_id} failed: {}", error.message);
            Event::AttemptFailed { step, error: StepError { message, ..error } }
        }
        ChildOutcome::Cancelled { reason } => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("execution {execution_id} was cancelled{reason}");
            Event::AttemptFailed { step, error: StepError::permanent("cancelled", message) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_engine::{advance, parse};

    use super::*;

    #[test]
    fn an_event_that_came_before_the_end_is_heard_when_the_execution_goes_on() {
        let document = json!({ "name": "w", "steps": [{ "name": "a", "tool": "x.one" }] });
        let workflow = parse(&document.to_string()).unwrap();
        let mut state = State::new(&workflow, "exec_1", "ada");
        let error = StepError::permanent("broken", "no");
        let started = Event::ExecutionStarted { input: json!({}) };
        let failed = Event::AttemptFailed { step: "a".into(), error };
        for (at, happened) in [(1, started), (2, failed)] {
            advance(&workflow, &mut state, "exec_1", vec![happened], at).unwrap();
        }
        assert!(state.status.is_final());

        let said = Signal::Event { name: "paid".into(), data: json!(1), by: "bob".into() };
        let retry = Signal::Retry { by: "ada".into(), input: None, children: Vec::new() };
        let mut signals = [(1, said), (2, retry)];
        put_in_order(&state, &mut signals);
        let mut happened = Vec::new();
        for (_, signal) in signals {
            happened.extend(event(&workflow, &state, &happened, signal, 3));
        }
        let kinds: Vec<_> = happened.iter().map(Event::kind).collect();
        assert_eq!(kinds, ["execution_retried", "event_received"]);
    }

    /// An execution that waits for what is done about its only step.
    struct Waiting {
        workflow: Workflow,
        state: State,
    }

    impl Waiting {
        fn of(step: serde_json::Value, happened: Vec<Event>) -> Waiting {
            let document = json!({ "name": "w", "steps": [step] });
            let workflow = parse(&document.to_string()).unwrap();
            let mut state = State::new(&workflow, "exec_1", "ada");
            let started = Event::ExecutionStarted { input: json!({}) };
            for (at, event) in (1..).zip([started].into_iter().chain(happened)) {
                advance(&workflow, &mut state, "exec_1", vec![event], at).unwrap();
            }
            assert!(!state.status.is_final());
            Waiting { workflow, state }
        }

        /// The kinds of what follows from all of it, read at once; the execution goes on with that.
        fn hears(mut self, signals: Vec<Signal>) -> Vec<&'static str> {
            let mut happened = Vec::new();
            for signal in signals {
                happened.extend(event(&self.workflow, &self.state, &happened, signal, 9));
            }
            let kinds = happened.iter().map(Event::kind).collect();
            advance(&self.workflow, &mut self.state, "exec_1", happened, 9).unwrap();
            assert!(self.state.status.is_final());
            kinds
        }
    }

    fn skip(step: &str) -> Signal {
        Signal::Skip { step: step.into(), by: "ada".into(), reason: None }
    }

    #[test]
    fn what_is_said_of_a_step_that_was_skipped_in_the_same_breath_comes_too_late() {
        let error = StepError::permanent("lost", "no answer");
        let lost = Event::AttemptUncertain { step: "a".into(), error, repeatable: false };
        let uncertain = Waiting::of(json!({ "name": "a", "tool": "x.one" }), vec![lost]);
        let resolve = Signal::Resolve {
            step: "a".into(),
            started_at: uncertain.state.step("a").unwrap().started_at,
            resolution: Resolution::Completed { output: json!(1) },
            by: "bob".into(),
        };
        assert_eq!(uncertain.hears(vec![skip("a"), resolve]), ["step_skipped"]);

        let answer = |waiting: &Waiting| {
            let (step, request) = waiting.state.requests().next().unwrap();
            Signal::Answer {
                request: request.id.clone(),
                step: step.to_owned(),
                by: "bob".into(),
                verified: false,
                answer: windlass_engine::Answer::Approved { comment: None },
            }
        };
        let asking = json!({ "name": "a", "approval": { "message": "Go?" } });
        let asked = Waiting::of(asking.clone(), vec![]);
        let said = answer(&asked);
        assert_eq!(asked.hears(vec![skip("a"), said]), ["step_skipped"]);
        let inside = Waiting::of(json!({ "name": "g", "steps": [asking] }), vec![]);
        let said = answer(&inside);
        assert_eq!(inside.hears(vec![skip("g"), said]), ["step_skipped"]);

        let locked = json!({ "name": "a", "tool": "x.one", "lock": "k" });
        let granted = Signal::LockGranted { step: Some("a".into()), key: "k".into() };
        let waits = Waiting::of(locked, vec![]);
        assert_eq!(waits.hears(vec![skip("a"), granted]), ["step_skipped"]);
    }
}
