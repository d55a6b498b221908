//! Thousands of random workflows with every construct, in a world that answers, fails, forgets, crashes and changes
//! its mind: what never happens, whatever happens.

mod control;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{
    ID, Play, Turn, cancel, chance::Chance, decide, lead_on_alike, limited, lost, only_stops,
    passing, succeeded,
};
use crate::{
    Answer, Event, Kind, OnUncertain, RequestKind, Resolution, State, Status, StepError, StepStatus,
};

const WORLDS: u64 = 3_000;

/// More turns than any execution of these sizes can take: what is not over by then goes round in circles.
const MANY_TURNS: usize = 6_000;

/// Writes a random document; every step has a name of its own.
pub(super) struct Author<'c> {
    pub(super) chance: &'c mut Chance,
    pub(super) named: usize,
    /// Whether nothing of it is a matter of time.
    pub(super) is_calm: bool,
}

impl Author<'_> {
    pub(super) fn document(&mut self) -> Value {
        let steps = self.list(0, 6);
        let mut document = json!({ "name": "w", "vars": { "n": 0 }, "steps": steps });
        let mut config = json!({
            "maxParallel": 1 + self.chance.below(4),
            "continueOnError": self.is_calm || self.chance.one_in(4),
            "undoOnFailure": self.chance.one_in(2),
        });
        if self.chance.one_in(3) && !self.is_calm {
            config["timeoutMs"] = json!(500 + self.chance.below(20_000));
        }
        document["config"] = config;
        if self.chance.one_in(3) {
            document["onFailure"] = self.list(1, 2);
        }
        if self.chance.one_in(3) {
            document["onCancel"] = self.list(1, 2);
        }
        if self.chance.one_in(5) && !document.to_string().contains("of a step") {
            document["lock"] = json!("whole");
        }
        document
    }

    fn list(&mut self, depth: usize, most: usize) -> Value {
        let count = 1 + self.chance.below(most);
        let mut names: Vec<String> = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..count {
            let step = self.step(depth, &names);
            names.push(step["name"].as_str().expect("a name").to_owned());
            steps.push(step);
        }
        Value::Array(steps)
    }

    fn step(&mut self, depth: usize, before: &[String]) -> Value {
        self.named += 1;
        let mut step = json!({ "name": format!("s{}", self.named) });
        self.kind(&mut step, depth);
        if self.chance.one_in(2) {
            let needs: Vec<&String> = before.iter().filter(|_| self.chance.one_in(3)).collect();
            step["needs"] = json!(needs);
        }
        if step.get("if").is_none() && self.chance.one_in(6) {
            step["if"] = json!(["input.n < 5", "input.n == 5"][self.chance.below(2)]);
        }
        if self.chance.one_in(3) && step.get("stop").is_none() {
            let choice = self.chance.below(2).max(usize::from(self.is_calm));
            step["onError"] = json!(["fail", "continue"][choice]);
        }
        let lasts = ["tool", "workflow", "steps"].iter().any(|kind| step.get(*kind).is_some());
        if !self.is_calm && depth == 0 && lasts && self.chance.one_in(8) {
            step["lock"] = json!("of a step");
        }
        if self.chance.one_in(4) && lasts && !self.is_calm {
            step["timeoutMs"] = json!(100 + self.chance.below(3_000));
        }
        let loops = step.get("repeat").is_some() || step.get("else").is_some();
        if self.chance.one_in(6) && !loops && step.get("stop").is_none() {
            let items: Vec<usize> = (0..self.chance.below(5)).collect();
            step["forEach"] = json!(items);
            step["maxParallel"] = json!(1 + self.chance.below(3));
        }
        step
    }

    fn kind(&mut self, step: &mut Value, depth: usize) {
        match self.chance.below(if depth < 3 { 16 } else { 9 }) {
            0..=3 => self.tool(step),
            4 => step["wait"] = json!({ "ms": 1 + self.chance.below(900) }),
            5 => step["wait"] = json!({ "event": "go", "timeoutMs": 1 + self.chance.below(900) }),
            6 => step["set"] = json!({ "n": "${vars.n + 1}", "other": "${input.n}" }),
            7 => match self.chance.below(4) {
                0 => {
                    let outcome = ["completed", "failed", "cancelled"][self.chance.below(3)];
                    step["stop"] = json!({ "status": outcome });
                    // Otherwise what comes after it could never be reached.
                    step["if"] = json!("input.n == 1");
                }
                1 => {
                    step["ask"] = json!({ "message": "?", "schema": { "type": "object", "properties": { "x": { "type": "string" } } } })
                }
                _ => step["approval"] = json!({ "expiresMs": 1_000 + self.chance.below(9_000) }),
            },
            8 => step["workflow"] = json!("other"),
            9..=11 => {
                step["steps"] = self.list(depth + 1, 4);
                step["parallel"] = json!(true);
                // Who wins is a matter of time.
                if self.chance.one_in(2) && !self.is_calm {
                    step["waitFor"] = json!(["any", "all"][self.chance.below(2)]);
                }
            }
            12 => {
                step["if"] = json!(["input.n < 4", "input.n == 1"][self.chance.below(2)]);
                step["steps"] = self.list(depth + 1, 3);
                step["else"] = self.list(depth + 1, 3);
            }
            13 | 14 => {
                step["steps"] = self.list(depth + 1, 3);
                let bound = 1 + self.chance.below(4);
                step["repeat"] = match self.chance.below(2) {
                    0 => json!({ "while": "vars.n < 3", "maxIterations": bound }),
                    _ => json!({ "until": "vars.n > 2", "maxIterations": bound }),
                };
            }
            _ => step["steps"] = self.list(depth + 1, 3),
        }
    }

    fn tool(&mut self, step: &mut Value) {
        step["tool"] = json!(["x.safe", "x.unsafe"][self.chance.below(2)]);
        if self.chance.one_in(2) {
            step["retry"] = json!({
                "maxAttempts": 1 + self.chance.below(4), "initialDelayMs": self.chance.below(900),
            });
        }
        if self.chance.one_in(6) {
            step["approval"] = json!({
                "expiresMs": 1_000 + self.chance.below(9_000),
                "onExpire": (["reject", "escalate"][self.chance.below(2)]),
                "quorum": 1 + self.chance.below(2),
            });
        }
        if self.chance.one_in(8) {
            step["expect"] = json!("result.n == 1");
        }
        if self.chance.one_in(4) {
            step["undo"] = json!({ "tool": "x.safe", "params": { "of": "${result.n}" } });
        }
        match self.chance.below(8) {
            0 => {
                step["onUncertain"] = json!("verify");
                step["verify"] = json!({ "tool": "x.safe", "expect": "result.n == 1" });
            }
            1 => step["onUncertain"] = json!("retry"),
            2 if !self.is_calm => step["onUncertain"] = json!("fail"),
            _ => {}
        }
    }
}

/// One execution, what is out, and what must never be seen of it.
struct World {
    play: Play,
    /// Calls that are out, with their keys.
    out: HashMap<String, String>,
    children: HashSet<String>,
    /// Keys of unsafe calls that may have happened.
    doubtful: HashSet<String>,
    completed: HashSet<String>,
    called: HashMap<String, Value>,
    /// Keys of before the execution was retried.
    old_keys: HashSet<String>,
    /// The executions below that were begun, and those of them that failed and may go on.
    child_ids: HashSet<String>,
    failed_children: HashSet<String>,
    /// No step of the document's own list may begin any more.
    is_doomed: bool,
    crashes: usize,
}

impl World {
    fn new(chance: &mut Chance) -> World {
        let document = Author { chance: &mut *chance, named: 0, is_calm: false }.document();
        let input = json!({ "n": chance.below(8) });
        let mut world = World {
            play: Play::start_with(&document, input),
            out: HashMap::new(),
            children: HashSet::new(),
            doubtful: HashSet::new(),
            completed: HashSet::new(),
            called: HashMap::new(),
            old_keys: HashSet::new(),
            child_ids: HashSet::new(),
            failed_children: HashSet::new(),
            is_doomed: false,
            crashes: 0,
        };
        world.look();
        world
    }

    fn hears(&mut self, events: Vec<Event>) {
        self.play.hears(events);
        self.look();
    }

    /// Takes note of the last turn, and checks what must hold after every one.
    fn look(&mut self) {
        for event in &self.play.last.events.clone() {
            self.check(event);
        }
        for call in &self.play.last.calls.clone() {
            assert!(
                !self.doubtful.contains(&call.idempotency_key),
                "{} was called again although it may have happened",
                call.step
            );
            assert!(
                !self.old_keys.contains(&call.idempotency_key),
                "{} has its old key",
                call.step
            );
            assert!(call.deadline.is_none_or(|deadline| self.play.now < deadline));
            let sent = self.called.entry(call.idempotency_key.clone());
            let sent = sent.or_insert_with(|| Value::clone(&call.params));
            assert_eq!(*sent, *call.params, "one key, one set of params");
            let before = self.out.insert(call.step.clone(), call.idempotency_key.clone());
            assert!(before.is_none(), "{} is out twice", call.step);
        }
        for child in &self.play.last.children {
            assert!(self.children.insert(child.step.clone()), "{} runs twice", child.step);
            let is_new = self.child_ids.insert(child.execution_id.clone());
            let failed = self.failed_children.contains(&child.execution_id);
            assert_eq!(is_new, !child.goes_on, "{} is another execution", child.step);
            assert!(!child.goes_on || failed, "only what failed goes on");
        }
        let state = &self.play.state;
        if state.is_paused() {
            let Turn { calls, children, .. } = &self.play.last;
            assert!(calls.is_empty() && children.is_empty(), "nothing begins in a pause");
            assert_eq!((state.status, self.play.last.wake_at), (Status::Paused, None));
        }
        let running: HashSet<&str> = state.running_steps().into_iter().collect();
        let out: HashSet<&str> =
            self.out.keys().chain(&self.children).map(String::as_str).collect();
        assert_eq!(running, out, "what runs is what is out");
        if !self.play.last.is_unfinished {
            let next = decide(&self.play.workflow, state, ID, self.play.now);
            assert!(only_stops(&next), "{next:?}");
            let wake_at = self.play.last.wake_at;
            assert!(wake_at.is_none_or(|at| self.play.now < at), "a time that has come is no wait");
        }
    }

    fn check(&mut self, event: &Event) {
        match event {
            Event::AttemptStarted { step, .. } => {
                assert!(!self.completed.contains(step), "{step} ran again after it was done");
                let finds = step.ends_with(".verify");
                assert!(!self.is_doomed || finds, "{step} began although nothing may");
            }
            Event::StepCompleted { step, .. } => _ = self.completed.insert(step.clone()),
            Event::AttemptSucceeded { step, .. }
                if !self.is_expected(step) && !step.contains('.') =>
            {
                self.completed.insert(step.clone());
            }
            Event::CancelRequested { .. } if !self.is_in_phase() => {
                self.is_doomed = true;
            }
            Event::DeadlinePassed | Event::StopReached { .. } => self.is_doomed = true,
            Event::PhaseStarted { .. } => self.is_doomed = false,
            _ => {}
        }
    }

    /// Whether a result has still to be looked at.
    fn is_expected(&self, path: &str) -> bool {
        self.play.workflow.step_at(path).is_some_and(|step| step.expect.is_some())
    }

    fn is_unsafe(&self, path: &str) -> bool {
        let step = self.play.workflow.step_at(path);
        !path.contains('.') && step.is_some_and(|step| step.label() == "x.unsafe")
    }

    /// The answer to one call that was out, or its loss.
    fn answer(&mut self, chance: &mut Chance, step: &str) -> Event {
        if self.children.remove(step) {
            return match chance.below(3) {
                0 => Event::AttemptFailed { step: step.into(), error: passing("failed") },
                _ => succeeded(step, json!({ "n": 1 })),
            };
        }
        match chance.below(8) {
            7 => {
                let error = limited(chance.below(2_000) as u64);
                Event::AttemptFailed { step: step.into(), error }
            }
            0..=2 => succeeded(step, json!({ "n": chance.below(3) })),
            3 => Event::AttemptFailed { step: step.into(), error: passing("busy") },
            4 | 5 => {
                let error = StepError::permanent("broken", "no");
                Event::AttemptFailed { step: step.into(), error }
            }
            _ => return self.lose(step),
        }
        .also(|| self.out.remove(step))
    }

    fn lose(&mut self, step: &str) -> Event {
        let key = self.out.remove(step).expect("it is out");
        let harmless = self.play.workflow.step_at(step).map(|step| step.on_uncertain);
        let verified = harmless == Some(OnUncertain::Verify);
        if self.is_unsafe(step) && harmless != Some(OnUncertain::Retry) && !verified {
            self.doubtful.insert(key);
        }
        lost(step, !self.is_unsafe(step))
    }

    /// A tool that only reads is not done.
    fn is_not_done(&mut self, chance: &mut Chance) -> bool {
        let mut safe: Vec<String> =
            self.out.keys().filter(|step| !self.is_unsafe(step)).cloned().collect();
        safe.sort();
        let Some(step) = safe.pop() else { return false };
        self.out.remove(&step);
        self.play.is_not_done(&step, 50 + chance.below(3_000) as i64);
        self.look();
        true
    }

    /// Nothing was written of looks that are out: whoever goes on makes them again.
    fn forget_looks(&mut self) {
        let Play { state, .. } = &self.play;
        self.out.retain(|step, _| !state.is_polled(step));
    }

    /// The process dies; the next one knows the history and nothing else.
    fn crash(&mut self, chance: &mut Chance) {
        self.crashes += 1;
        self.forget_looks();
        self.play.state = self.replayed();
        self.play.now += chance.below(4_000) as i64;
        let mut out: Vec<String> = self.out.keys().cloned().collect();
        out.sort();
        let events = out.iter().map(|step| self.lose(step)).collect();
        self.hears(events);
    }

    /// The worker is told to stop: what came home is written, and nothing that follows from it.
    fn stop(&mut self, chance: &mut Chance) {
        self.forget_looks();
        let mut out: Vec<String> = self.out.keys().cloned().collect();
        out.sort();
        if !out.is_empty() {
            let step = out.swap_remove(chance.below(out.len()));
            let event = self.answer(chance, &step);
            let Play { workflow, state, history, now, .. } = &mut self.play;
            state.apply(workflow, &event, *now).expect("what came home can follow");
            history.push((*now, event));
        }
        self.play.state = self.play.folded();
        self.hears(Vec::new());
    }

    /// Reading the history leads to where its writer stood, and on to the same.
    fn replayed(&self) -> State {
        let (workflow, play) = (&self.play.workflow, &self.play);
        let (mut read, mut known) = (play.folded(), play.state.clone());
        read.forget();
        known.forget();
        known.lose_looks();
        assert_eq!(read, known, "a history says all there is");
        lead_on_alike(workflow, read, known, play.now + 60_000);
        play.folded()
    }

    /// What the world may say next, to whatever is waited for.
    fn goes_on(&mut self, chance: &mut Chance) {
        if self.play.last.is_unfinished {
            return self.hears(Vec::new());
        }
        if chance.one_in(15) {
            return self.crash(chance);
        }
        if chance.one_in(20) {
            return self.stop(chance);
        }
        if chance.one_in(70) {
            return self.hears(vec![cancel()]);
        }
        if chance.one_in(14)
            && let Some(event) = self.by_hand(chance)
        {
            return self.hears(vec![event]);
        }
        if let Some(step) = self.children.iter().min().cloned()
            && chance.one_in(8)
        {
            return self.hears(vec![match chance.below(2) {
                0 => Event::ChildWaits { step },
                _ => Event::ChildGoesOn { step },
            }]);
        }
        if chance.one_in(40) {
            let (name, by) = ("go".to_owned(), "ada".to_owned());
            return self.hears(vec![Event::EventReceived { name, data: json!({}), by }]);
        }
        if chance.one_in(6) {
            self.play.now += chance.below(1_500) as i64;
            return self.hears(Vec::new());
        }
        if chance.one_in(4) && self.is_not_done(chance) {
            return;
        }
        let events = self.word(chance);
        if events.is_empty() {
            let reason = "nothing is out and nobody is asked, so there is a time to wait for";
            self.play.now = self.play.last.wake_at.expect(reason);
            assert_eq!(self.play.state.status, Status::Waiting);
        }
        self.hears(events);
    }

    fn word(&mut self, chance: &mut Chance) -> Vec<Event> {
        let locks: Vec<(Option<String>, String)> = self
            .play
            .state
            .awaited_locks()
            .map(|(step, key)| (step.map(str::to_owned), key.to_owned()))
            .collect();
        if let Some((step, key)) = locks.into_iter().next() {
            return vec![match chance.one_in(5) {
                true => Event::LockRefused { step, key, holder: "exec_2".into() },
                false => Event::LockGranted { step, key },
            }];
        }
        let mut out: Vec<String> = self.out.keys().chain(&self.children).cloned().collect();
        out.sort();
        if !out.is_empty() && !chance.one_in(5) {
            let step = out.swap_remove(chance.below(out.len()));
            return vec![self.answer(chance, &step)];
        }
        if let Some(event) = self.reply(chance) {
            return vec![event];
        }
        let uncertain = self.play.state.uncertain_steps();
        if !uncertain.is_empty() {
            let step = uncertain[chance.below(uncertain.len())].to_owned();
            let resolution = match chance.below(3) {
                0 => Resolution::Completed { output: json!({ "n": 1 }) },
                1 => Resolution::Retry,
                _ => Resolution::Failed { message: "no".into() },
            };
            return vec![Event::StepResolved { step, resolution, by: "ada".into() }];
        }
        match out.pop() {
            Some(step) => vec![self.answer(chance, &step)],
            None if self.play.state.is_paused() => {
                vec![Event::ExecutionResumed { by: "bob".into() }]
            }
            None => Vec::new(),
        }
    }

    fn reply(&self, chance: &mut Chance) -> Option<Event> {
        let (step, request) = self.play.state.requests().next()?;
        if chance.one_in(3) {
            return None;
        }
        let answer = match (chance.below(4), request.kind) {
            (0, _) => Answer::Rejected { comment: None },
            (_, RequestKind::Approval) => Answer::Approved { comment: None },
            (_, RequestKind::Form) => Answer::Given { values: json!({ "x": "y" }) },
        };
        Some(Event::RequestAnswered {
            step: step.to_owned(),
            request: request.id.clone(),
            by: ["ada", "bob", "eve"][chance.below(3)].to_owned(),
            verified: false,
            answer,
        })
    }
}

trait Also: Sized {
    fn also<T>(self, then: impl FnOnce() -> T) -> Self {
        then();
        self
    }
}

impl Also for Event {}

fn is_phase(entry: &(i64, Event)) -> bool {
    matches!(entry.1, Event::PhaseStarted { .. })
}

#[test]
fn whatever_is_written_and_whatever_happens_an_execution_ends() {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for seed in 0..WORLDS {
        let chance = &mut Chance(seed ^ 0x5eed);
        let mut world = World::new(chance);
        for kind in world.play.workflow.steps.iter().map(|step| step.kind.as_str()) {
            *seen.entry(kind).or_default() += 1;
        }
        let mut turns = 0;
        while !world.play.state.status.is_final() || world.is_retried(chance) {
            if !world.play.state.status.is_final() {
                world.goes_on(chance);
            }
            turns += 1;
            assert!(
                turns < MANY_TURNS,
                "world {seed} never ends: {}",
                world.play.workflow.document
            );
        }
        check_end(&world, seed);
        for (_, event) in &world.play.history {
            *seen.entry(event.kind()).or_default() += 1;
        }
    }
    for kind in [
        "tool",
        "workflow",
        "approval",
        "ask",
        "wait",
        "set",
        "group",
        "stop",
        "group_decided",
        "iteration_started",
        "instances_listed",
        "request_expired",
        "lock_released",
        "lock_refused",
        "undo_registered",
        "step_verified",
        "polling_started",
        "phase_started",
        "step_deadline_passed",
        "step_uncertain",
        "deadline_passed",
        "event_received",
        "execution_paused",
        "execution_resumed",
        "execution_retried",
        "step_skipped",
        "step_resolved",
        "execution_completed",
        "execution_failed",
        "execution_cancelled",
    ] {
        assert!(seen.contains_key(kind), "{kind} was never seen: {seen:?}");
    }
}

fn check_end(world: &World, seed: u64) {
    let state = &world.play.state;
    assert!(world.out.is_empty() && world.children.is_empty(), "world {seed}: something is out");
    assert_eq!(world.play.last.wake_at, None);
    let waits = state.requests().count()
        + state.awaited_events().count()
        + state.awaited_locks().count()
        + state.running_steps().len();
    assert_eq!(waits, 0, "world {seed}: something is still waited for");
    let open = [StepStatus::Pending, StepStatus::Running, StepStatus::Waiting];
    for definition in
        world.play.workflow.main.iter().map(|index| &world.play.workflow.steps[*index])
    {
        let step = state.step(&definition.name).expect("a step of the document's own list");
        let unreached =
            matches!(definition.kind, Kind::Stop(_)) && step.status == StepStatus::Pending;
        assert!(
            !open.contains(&step.status) || unreached,
            "world {seed}: {} is {:?}",
            definition.name,
            step.status
        );
    }
}
