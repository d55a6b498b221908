//! One world twice, the second time with a process that dies again and again: nothing comes out differently.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Play, chance::Chance, limited, lost, passing, succeeded, worlds::Author};
use crate::{Answer, Event, RequestKind, Resolution, StepStatus};

const WORLDS: u64 = 2_000;

/// An execution in a world that always gives the same answer to the same question.
struct World {
    play: Play,
    /// What is out, with the number of the attempt.
    out: BTreeMap<String, u32>,
    /// What was out when the process died, and that nobody calls again.
    lost: BTreeSet<String>,
    children: BTreeSet<String>,
}

/// What came of an execution.
#[derive(Debug, PartialEq)]
struct End {
    status: &'static str,
    output: Option<Value>,
    failure: Option<(Option<String>, String)>,
    steps: BTreeMap<String, StepStatus>,
}

impl World {
    fn new(document: &Value, input: Value) -> World {
        let play = Play::start_with(document, input);
        let mut world =
            World { play, out: BTreeMap::new(), lost: BTreeSet::new(), children: BTreeSet::new() };
        world.look();
        world
    }

    fn hears(&mut self, event: Option<Event>) {
        self.play.hears(event);
        self.look();
    }

    fn look(&mut self) {
        let calls = self.play.last.calls.iter();
        self.out.extend(calls.map(|call| (call.step.clone(), call.attempt)));
        let children = self.play.last.children.iter();
        self.children.extend(children.map(|child| child.step.clone()));
    }

    fn is_unsafe(&self, path: &str) -> bool {
        let step = self.play.workflow.step_at(path);
        !path.contains('.') && step.is_some_and(|step| step.label() == "x.unsafe")
    }

    /// The process dies, and what was out is lost; what is harmless goes out again at once.
    fn crash(&mut self) {
        // Of looks that are out nothing was written.
        let Play { state, .. } = &self.play;
        self.out.retain(|step, _| !state.is_polled(step));
        self.play.state = self.play.folded();
        let (settled_by_hand, out): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.out)
                .into_iter()
                .partition(|(step, _)| self.lost.contains(step));
        self.out = settled_by_hand;
        for (step, attempt) in out {
            let is_unsafe = self.is_unsafe(&step);
            self.hears(Some(lost(&step, !is_unsafe)));
            if self.play.state.may_be_resolved(&step) {
                self.lost.insert(step.clone());
                self.out.insert(step, attempt);
            }
        }
        self.hears(None);
        while self.play.last.wake_at.is_some_and(|at| at <= self.play.now) {
            self.hears(None);
        }
    }

    fn goes_on(&mut self) {
        if self.play.last.is_unfinished {
            return self.hears(None);
        }
        let lock = self.play.state.awaited_locks().next();
        let lock = lock.map(|(step, key)| (step.map(str::to_owned), key.to_owned()));
        if let Some((step, key)) = lock {
            return self.hears(Some(Event::LockGranted { step, key }));
        }
        let asked = self.play.state.requests().next();
        if let Some((step, request)) = asked {
            let answer = match request.kind {
                RequestKind::Approval => Answer::Approved { comment: None },
                RequestKind::Form => Answer::Given { values: json!({ "x": "y" }) },
            };
            let agreed = self.play.state.step(step).map_or(0, |step| step.agreed.len());
            let by = format!("person {agreed}");
            let (step, request) = (step.to_owned(), request.id.clone());
            let verified = false;
            return self.hears(Some(Event::RequestAnswered {
                step,
                request,
                by,
                verified,
                answer,
            }));
        }
        if let Some((step, attempt)) = self.out.pop_first() {
            if !self.lost.remove(&step) {
                if self.state_of(&step).is_some_and(|(looks, _)| looks < digit(&step, attempt) % 4)
                {
                    self.play.is_not_done(&step, 100);
                    return self.look();
                }
                return self.hears(Some(self.comes_home(&step, attempt)));
            }
            if !self.play.state.may_be_resolved(&step) {
                return;
            }
            // A person who knows says what became of it.
            let resolution = Resolution::Completed { output: answer(&step, attempt) };
            return self.hears(Some(Event::StepResolved { step, resolution, by: "ada".into() }));
        }
        if let Some(step) = self.children.pop_first() {
            return self.hears(Some(succeeded(&step, json!({ "n": 1 }))));
        }
        // What could not be verified, because that was lost too.
        let doubt = self.play.state.uncertain_steps().first().map(|step| (*step).to_owned());
        if let Some(step) = doubt {
            let attempt = self.play.state.step(&step).map_or(1, |step| step.attempts);
            let resolution = Resolution::Completed { output: answer(&step, attempt) };
            return self.hears(Some(Event::StepResolved { step, resolution, by: "ada".into() }));
        }
        self.play.now = self.play.last.wake_at.expect("there is something to wait for");
        self.hears(None);
    }

    /// How often a tool that only reads was looked at, and how often it was one call too many.
    fn state_of(&self, step: &str) -> Option<(u8, u8)> {
        let few = |count: u32| u8::try_from(count).expect("a few");
        let limits = self.play.state.step(step).map_or(0, |step| step.limited.0);
        (!self.is_unsafe(step)).then(|| (few(self.play.state.looks(step)), few(limits)))
    }

    fn comes_home(&self, step: &str, attempt: u32) -> Event {
        if self.state_of(step).is_some_and(|(_, limits)| limits < digit(step, 0) % 3) {
            return Event::AttemptFailed { step: step.to_owned(), error: limited(70) };
        }
        // What is lost and settled by a person has no second attempt: those always succeed. The others do in the
        // end, since what else is under way when a step fails is a matter of time.
        let step_of = self.play.workflow.step_at(step);
        let tries = step_of.is_some_and(|of| attempt < of.retry.max_attempts);
        let fails =
            tries && !self.is_unsafe(step) && !step.contains('.') && digit(step, attempt) < 90;
        match fails {
            true => Event::AttemptFailed { step: step.to_owned(), error: passing("busy") },
            false => succeeded(step, answer(step, attempt)),
        }
    }

    fn end(&self) -> End {
        let state = &self.play.state;
        let names = self.play.workflow.steps.iter().map(|step| step.name.clone());
        let steps = names.filter_map(|name| Some((name.clone(), state.step(&name)?.status)));
        End {
            status: state.status.as_str(),
            output: state.output.clone(),
            failure: state.failure.clone().map(|(step, error)| (step, error.code)),
            steps: steps.collect(),
        }
    }
}

impl End {
    /// What was lost when nobody waited for it any more is not called again, and nobody is asked about it; that is all.
    fn but_for_uncertain(mut self, other: &End) -> End {
        for (name, status) in &mut self.steps {
            let lost =
                (*status, other.steps[name]) == (StepStatus::Cancelled, StepStatus::Completed);
            if *status == StepStatus::Uncertain || lost {
                *status = other.steps[name];
            }
        }
        self
    }
}

fn digit(step: &str, attempt: u32) -> u8 {
    Sha256::digest(format!("{step}/{attempt}"))[0]
}

/// `expect` and `verify` of the random documents hold of it.
fn answer(step: &str, attempt: u32) -> Value {
    let of = step.strip_suffix(".verify").unwrap_or(step);
    json!({ "n": 1, "said": format!("{of} {attempt}") })
}

fn run(document: &Value, input: &Value, crashes: Option<&mut Chance>) -> (End, usize) {
    let mut world = World::new(document, input.clone());
    let (mut chance, mut turns, mut crashed) = (crashes, 0, 0);
    while !world.play.state.status.is_final() {
        if let Some(chance) = chance.as_deref_mut()
            // A call that is lost more often than that is not repeated any more.
            && crashed < crate::MAX_REPEATS as usize
            && chance.one_in(4)
        {
            crashed += 1;
            world.crash();
            if world.play.state.status.is_final() {
                break;
            }
        }
        world.goes_on();
        turns += 1;
        assert!(turns < 5_000, "it never ends: {document}");
    }
    (world.end(), crashed)
}

#[test]
fn a_process_that_dies_changes_nothing_that_comes_out() {
    let mut crashes = 0;
    for seed in 0..WORLDS {
        let chance = &mut Chance(seed ^ 0xc0ffee);
        let document = Author { chance: &mut *chance, named: 0, is_calm: true }.document();
        let input = json!({ "n": chance.below(8) });
        let (calm, _) = run(&document, &input, None);
        let (crashed, count) = run(&document, &input, Some(chance));
        let crashed = crashed.but_for_uncertain(&calm);
        crashes += count;
        if document.to_string().contains("\"stop\"") {
            // How far the others come before it is a matter of time.
            assert_eq!(calm.status, crashed.status, "world {seed}: {document}");
            continue;
        }
        assert_eq!(calm, crashed, "world {seed}: {document}");
    }
    assert!(WORLDS < crashes as u64, "there were crashes: {crashes}");
}
