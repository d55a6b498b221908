//! Thousands of random executions, with crashes at random points: what never happens, whatever happens.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    ID, Play, Resolution, Status, StepError, StepStatus, cancel, decide, lead_on_alike, limited,
    lost, only_stops, passing, succeeded,
};
use crate::{Event, OnError, State};

const EXECUTIONS: u64 = 4_000;

/// More turns than any execution of these sizes can take: what is not over by then goes round in circles.
const MANY_TURNS: usize = 3_000;

/// SplitMix64: small, good enough, and the same everywhere.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

fn document(chance: &mut Chance) -> Value {
    let count = 1 + chance.below(9);
    let steps: Vec<Value> = (0..count).map(|index| step(chance, index)).collect();
    let mut config = Map::new();
    config.insert("maxParallel".into(), json!(1 + chance.below(4)));
    config.insert("continueOnError".into(), json!(chance.one_in(3)));
    if chance.one_in(3) {
        config.insert("timeoutMs".into(), json!(500 + chance.below(20_000)));
    }
    json!({ "name": "w", "config": config, "steps": steps })
}

fn step(chance: &mut Chance, index: usize) -> Value {
    let tool = if chance.one_in(2) { "x.safe" } else { "x.unsafe" };
    let needs: Vec<String> =
        (0..index).filter(|_| chance.one_in(3)).map(|need| format!("s{need}")).collect();
    let mut step = json!({ "name": format!("s{index}"), "tool": tool, "needs": needs });
    let object = step.as_object_mut().expect("an object");
    if chance.one_in(4) {
        object.insert("if".into(), json!(format!("input.n {} 5", ["<", "=="][chance.below(2)])));
    }
    if chance.one_in(8) {
        object.insert("params".into(), json!({ "n": "${input.n.m}" }));
    }
    if chance.one_in(2) {
        let retry =
            json!({ "maxAttempts": 1 + chance.below(4), "initialDelayMs": chance.below(900) });
        object.insert("retry".into(), retry);
    }
    if chance.one_in(4) {
        object.insert("timeoutMs".into(), json!(100 + chance.below(3_000)));
    }
    if chance.one_in(3) {
        object.insert("onError".into(), json!(["fail", "continue"][chance.below(2)]));
    }
    step
}

/// One execution, the calls that are out, and what must never be seen of it.
struct Game {
    play: Play,
    out: Vec<String>,
    /// Keys of unsafe calls that may have happened.
    doubtful: HashSet<String>,
    keys: HashMap<String, String>,
    completed: HashSet<String>,
    doomed: bool,
}

impl Game {
    fn new(chance: &mut Chance) -> Game {
        let input = json!({ "n": chance.below(8) });
        let play = Play::start_with(&document(chance), input);
        let mut game = Game {
            play,
            out: Vec::new(),
            doubtful: HashSet::new(),
            keys: HashMap::new(),
            completed: HashSet::new(),
            doomed: false,
        };
        game.look();
        game
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
        for call in &self.play.last.calls {
            assert!(
                !self.doubtful.contains(&call.idempotency_key),
                "{} was called again although it may have happened",
                call.step
            );
            assert!(call.deadline.is_none_or(|deadline| self.play.now < deadline));
            self.keys.insert(call.step.clone(), call.idempotency_key.clone());
            self.out.push(call.step.clone());
        }
        let (workflow, state) = (&self.play.workflow, &self.play.state);
        let mut running = self.out.clone();
        running.sort();
        let mut known = state.running_steps();
        known.sort_unstable();
        assert_eq!(known, running, "what runs is what is out");
        assert!(running.len() <= workflow.config.max_parallel as usize);
        assert!(only_stops(&decide(workflow, state, ID, self.play.now)));
        let wake_at = self.play.last.wake_at;
        assert!(wake_at.is_none_or(|at| self.play.now < at), "a time that has come is no wait");
    }

    fn check(&mut self, event: &Event) {
        match event {
            Event::AttemptStarted { step, .. } => {
                assert!(!self.completed.contains(step), "{step} ran again after it was done");
                assert!(!self.doomed, "{step} began although the execution goes no further");
                let described = self.play.workflow.step(step).expect("a step of the workflow");
                for need in &described.needs {
                    let need = &self.play.workflow.steps[*need].name;
                    let need = self.play.state.step(need).expect("a step of the workflow");
                    assert!(need.ended_at.is_some(), "{step} came too early");
                }
            }
            Event::AttemptSucceeded { step, .. }
            | Event::StepResolved { step, resolution: Resolution::Completed { .. }, .. } => {
                self.completed.insert(step.clone());
            }
            Event::StepFailed { step, .. } => {
                let described = self.play.workflow.step(step).expect("a step of the workflow");
                self.doomed |= described.on_error == OnError::Fail;
            }
            Event::StepResolved { step, resolution: Resolution::Failed { .. }, .. } => {
                let described = self.play.workflow.step(step).expect("a step of the workflow");
                self.doomed |= described.on_error == OnError::Fail;
            }
            Event::CancelRequested { .. } | Event::DeadlinePassed => self.doomed = true,
            _ => {}
        }
    }

    fn is_unsafe(&self, step: &str) -> bool {
        self.play.workflow.step(step).is_some_and(|step| step.label() == "x.unsafe")
    }

    /// The answer to one call that was out, or its loss.
    fn answer(&mut self, chance: &mut Chance, step: &str) -> Event {
        match chance.below(7) {
            6 => {
                let error = limited(chance.below(2_000) as u64);
                Event::AttemptFailed { step: step.into(), error }
            }
            0 | 1 => succeeded(step, json!({ "n": 1 })),
            2 => Event::AttemptFailed { step: step.into(), error: passing("busy") },
            3 => {
                let error = StepError {
                    retry_after_ms: Some(chance.below(2_000) as u64),
                    ..passing("busy")
                };
                Event::AttemptFailed { step: step.into(), error }
            }
            4 => {
                let error = StepError::permanent("broken", "no");
                Event::AttemptFailed { step: step.into(), error }
            }
            _ => self.lose(step),
        }
    }

    fn lose(&mut self, step: &str) -> Event {
        if self.is_unsafe(step) {
            self.doubtful.insert(self.keys[step].clone());
        }
        lost(step, !self.is_unsafe(step))
    }

    fn comes_home(&mut self, chance: &mut Chance) {
        if chance.one_in(4) {
            let step = self.out.swap_remove(chance.below(self.out.len()));
            if !self.is_unsafe(&step) {
                self.play.is_not_done(&step, 50 + chance.below(2_000) as i64);
                return self.look();
            }
            self.out.push(step);
        }
        let mut events = Vec::new();
        for _ in 0..=chance.below(2).min(self.out.len() - 1) {
            let step = self.out.swap_remove(chance.below(self.out.len()));
            events.push(self.answer(chance, &step));
        }
        self.hears(events);
    }

    /// The process dies; the next one knows the history and nothing else.
    fn crash(&mut self, chance: &mut Chance) {
        // Nothing was written of looks that are out: whoever goes on makes them again.
        let Play { state, .. } = &self.play;
        self.out.retain(|step| !state.is_polled(step));
        self.play.state = self.replayed();
        self.play.now += chance.below(4_000) as i64;
        let out = std::mem::take(&mut self.out);
        let events = out.iter().map(|step| self.lose(step)).collect();
        self.hears(events);
    }

    /// Reading the history leads to where its writer stood, and on to the same.
    fn replayed(&self) -> State {
        let (workflow, play) = (&self.play.workflow, &self.play);
        let (state, mut known) = (play.folded(), play.state.clone());
        known.lose_looks();
        assert_eq!(state, known, "a history says all there is");
        lead_on_alike(workflow, state, known, play.now + 60_000);
        play.folded()
    }

    /// A person settles one uncertain step.
    fn settle(&mut self, chance: &mut Chance) {
        let uncertain = self.play.state.uncertain_steps();
        let step = uncertain[chance.below(uncertain.len())].to_owned();
        let resolution = match chance.below(3) {
            0 => Resolution::Completed { output: json!({}) },
            1 => Resolution::Retry,
            _ => Resolution::Failed { message: "no".into() },
        };
        self.hears(vec![Event::StepResolved { step, resolution, by: "ada".into() }]);
    }

    fn goes_on(&mut self, chance: &mut Chance) {
        let uncertain = !self.play.state.uncertain_steps().is_empty();
        if chance.one_in(12) {
            self.crash(chance);
        } else if chance.one_in(60) {
            self.hears(vec![cancel()]);
        } else if chance.one_in(6) {
            self.play.now += chance.below(1_500) as i64;
            self.hears(Vec::new());
        } else if !self.out.is_empty() {
            self.comes_home(chance);
        } else if uncertain {
            self.settle(chance);
        } else {
            let reason = "nothing is out and nobody is asked, so there is a time to wait for";
            self.play.now = self.play.last.wake_at.expect(reason);
            assert_eq!(self.play.state.status, Status::Waiting);
            self.hears(Vec::new());
        }
    }
}

#[test]
fn whatever_happens_an_execution_ends_and_does_nothing_twice() {
    let mut ends: HashMap<&str, u32> = HashMap::new();
    for seed in 0..EXECUTIONS {
        let chance = &mut Chance(seed);
        let mut game = Game::new(chance);
        let mut turns = 0;
        while !game.play.state.status.is_final() {
            game.goes_on(chance);
            turns += 1;
            assert!(turns < MANY_TURNS, "execution {seed} never ends: {:?}", game.play.state);
        }
        assert!(game.out.is_empty(), "execution {seed} ended while something was out");
        assert_eq!(game.play.last.wake_at, None);
        assert_eq!(game.play.folded(), game.play.state);
        let open = [StepStatus::Pending, StepStatus::Running, StepStatus::Waiting];
        assert!(game.play.statuses().iter().all(|status| !open.contains(status)));
        // A call that may have happened stays one, where nobody has to settle it any more.
        let completed = game.play.state.status == Status::Completed;
        assert!(!completed || !game.play.statuses().contains(&StepStatus::Uncertain));
        *ends.entry(game.play.state.status.as_str()).or_default() += 1;
    }
    assert_eq!(ends.len(), 3, "every kind of end was seen: {ends:?}");
}
