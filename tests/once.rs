//! Every tool that may be called again does its work once: wherever the process dies that calls it, the next one
//! finishes, and what is there then is what one undisturbed call leaves.

mod agent;
mod aws;
mod demo;
mod deploy;
mod documents;
mod double;
mod github;
mod messages;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::{Action, Faults};

use crate::{
    durability::{Run, Scene, execution_of, was_killed},
    harness::{Ended, Project, Running, SOON},
};

/// A tool and its params, in which `${input.place}` is the call's own repository, service or whatever it works on.
type Case = (&'static str, Value);

/// The tool has answered, and nobody noted it.
const ANSWERED: &str = "after_call";
/// The tool server has had something remembered.
const REMEMBERED: &str = "host_changed";
/// They change nothing that could be seen.
const TRACELESS: [&str; 1] = ["demo.noop"];

/// What tools change, in which each call has a place of its own.
trait World {
    /// Makes a place with everything that a case needs, and returns the input that leads there.
    fn prepare(&self, scene: &Scene, case: &Case, place: &str) -> Value;
    /// What is in a place, without times, ids and other chance.
    fn picture(&self, scene: &Scene, place: &str) -> Value;
    /// The requests for a place that changed something.
    fn changes(&self, _place: &str) -> Vec<Change> {
        Vec::new()
    }
    /// Where requests can be held, if the world is outside.
    fn faults(&self) -> Option<&Faults> {
        None
    }
    /// The points at which the process dies by itself.
    fn points(&self) -> &'static [&'static str] {
        &[REMEMBERED]
    }
}

/// A request that changed something: what a fault needs to strike it and no other.
struct Change {
    method: String,
    path: String,
    skip: u32,
}

/// The changes among requests, each with its method, a path that strikes it, and whether it changed anything.
fn changes_of(requests: impl Iterator<Item = (String, String, bool)>) -> Vec<Change> {
    let mut passed = BTreeMap::<_, u32>::new();
    let changes = requests.filter_map(|(method, path, changed)| {
        let before = passed.entry((method.clone(), path.clone())).or_default();
        let skip = std::mem::replace(before, *before + 1);
        changed.then_some(Change { method, path, skip })
    });
    changes.collect()
}

/// Calls each tool undisturbed, and then dies at each of the requests that changed something and at each point.
fn check(scene: &Scene, runtime: &Runtime, world: &dyn World, cases: &[Case]) {
    for (index, case) in cases.iter().enumerate() {
        let (tool, params) = case;
        let workflow = format!("call_{index}");
        let step = json!({ "name": "call", "tool": tool, "params": params });
        let document = json!({ "name": workflow, "input": { "type": "object" }, "steps": [step] });
        scene.project.write(&format!("workflows/{workflow}.json"), &document.to_string());
        let calm = format!("calm-{index}");
        let input = world.prepare(scene, case, &calm);
        let before = world.picture(scene, &calm);
        let ended = scene.run(&Run { workflow: &workflow, key: &calm, input }, None);
        assert_completed(tool, &ended);
        let wanted = world.picture(scene, &calm);
        assert!(wanted != before || TRACELESS.contains(tool), "{tool} did nothing: {ended:#?}");
        let trial = Trial { scene, runtime, world, case, workflow: &workflow, calm: &calm, wanted };
        let changes = world.changes(&calm);
        for (number, change) in changes.iter().enumerate() {
            trial.dies_at_request(&format!("cut-{index}-{number}"), change);
        }
        let deaths = world.points().iter().map(|point| trial.dies_at_point(index, point));
        let deaths = deaths.sum::<u32>() as usize + changes.len();
        assert!(0 < deaths, "nothing of what {tool} does was cut off");
    }
}

/// One case, and what it leaves.
struct Trial<'a> {
    scene: &'a Scene,
    runtime: &'a Runtime,
    world: &'a dyn World,
    case: &'a Case,
    workflow: &'a str,
    calm: &'a str,
    wanted: Value,
}

impl Trial<'_> {
    /// The service does the work of one request, whoever asked for it is killed before the answer comes, and another
    /// one finishes.
    fn dies_at_request(&self, place: &str, change: &Change) {
        let input = self.world.prepare(self.scene, self.case, place);
        let run = Run { workflow: self.workflow, key: place, input };
        let Change { method, path, skip } = change;
        let what = format!("{} dies at {method} {path} after {skip}", self.case.0);
        let fault = Action::PauseAfterWork.on(method, &path.replace(self.calm, place));
        let faults = self.world.faults().unwrap();
        faults.add(fault.skip(*skip));
        let mut first = Running::start(&mut self.scene.command(&run));
        let held = self.runtime.block_on(faults.wait_until_held(1, SOON));
        assert!(held, "{what}: {}", first.stderr());
        first.kill();
        faults.release();
        assert!(self.runtime.block_on(faults.wait_until_none_held(SOON)), "{what}");
        self.is_finished(&what, &run);
    }

    /// The process dies when it passes a point the first time, the second time and so on; another one finishes. Answers
    /// how often it could die.
    fn dies_at_point(&self, index: usize, point: &str) -> u32 {
        let mut deaths = 0;
        loop {
            let place = format!("{}-{index}-{deaths}", point.replace('_', "-"));
            let input = self.world.prepare(self.scene, self.case, &place);
            let run = Run { workflow: self.workflow, key: &place, input };
            let what = format!("{} dies at {point} number {}", self.case.0, deaths + 1);
            let ended = self.scene.run(&run, Some((point, deaths + 1)));
            if !was_killed(&ended) {
                assert_completed(&what, &ended);
                return deaths;
            }
            deaths += 1;
            self.is_finished(&what, &run);
            if point == ANSWERED {
                return deaths;
            }
        }
    }

    fn is_finished(&self, what: &str, run: &Run<'_>) {
        self.scene.let_leases_run_out();
        assert_completed(what, &self.scene.run(run, None));
        assert_eq!(self.world.picture(self.scene, run.key), self.wanted, "{what}");
    }
}

fn assert_completed(what: &str, ended: &Ended) {
    assert_eq!(execution_of(ended)["status"], "completed", "{what}: {ended:#?}");
}

/// What the steps `s0`, `s1` and so on of a run that is nobody's trial resulted in.
fn results_of(scene: &Scene, calls: &[(&str, Value)]) -> Vec<Value> {
    let names: Vec<_> = (0..calls.len()).map(|number| format!("s{number}")).collect();
    let steps: Vec<_> = names
        .iter()
        .zip(calls)
        .map(|(name, (tool, params))| json!({ "name": name, "tool": tool, "params": params }))
        .collect();
    let output: Value =
        names.iter().map(|name| (name.clone(), json!(format!("${{steps.{name}}}")))).collect();
    let document = json!({ "name": "aside", "steps": steps, "output": output });
    scene.project.write("workflows/aside.json", &document.to_string());
    let mut command = scene.project.command(&["run", "aside", "--json"]);
    let ended = crate::harness::run(&mut command, 2 * SOON);
    assert_completed("aside", &ended);
    let execution = execution_of(&ended);
    names.iter().map(|name| execution["output"][name].clone()).collect()
}

fn result_of(scene: &Scene, tool: &str, params: &Value) -> Value {
    results_of(scene, &[(tool, params.clone())]).remove(0)
}

/// Members of two objects together.
fn with(mut all: Value, more: Value) -> Value {
    let more = more.as_object().cloned().unwrap();
    all.as_object_mut().unwrap().extend(more);
    all
}

#[test]
fn every_tool_that_may_be_repeated_is_killed_by_one_of_these_tests() {
    let tried: BTreeSet<String> = [
        agent::cases(),
        aws::cases(),
        demo::cases(),
        deploy::cases(),
        documents::cases(),
        github::cases(),
        messages::cases(),
    ]
    .concat()
    .into_iter()
    .map(|(tool, _)| tool.to_owned())
    .collect();
    let project = Project::new();
    let listed: Value = serde_json::from_str(&project.run_ok(&["tools", "--json"])).unwrap();
    let servers = listed["servers"].as_array().unwrap();
    let tools = servers.iter().flat_map(|server| server["tools"].as_array().unwrap());
    let repeatable =
        |tool: &&Value| ["idempotent", "keyed"].contains(&tool["retry_class"].as_str().unwrap());
    let wanted: BTreeSet<String> =
        tools.filter(repeatable).map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<_> = wanted.difference(&tried).collect();
    assert!(missing.is_empty(), "no case of tests/once calls {missing:?}");
    let strange: Vec<_> = tried.difference(&wanted).collect();
    assert!(strange.is_empty(), "they may not be repeated, or are not there: {strange:?}");
}
