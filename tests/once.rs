//! Every tool that may be called again does its work once: whichever of its requests the process dies at, the next
//! worker finishes, and what is there then is what one undisturbed call leaves.

mod aws;
mod github;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::{Action, Faults};

use crate::{
    durability::{Run, Scene, execution_of},
    harness::{Ended, Running, SOON},
};

/// A tool and its params, in which `${input.place}` is the call's own repository or service.
type Case = (&'static str, Value);

/// A service outside that keeps state, in which each call has a place of its own.
trait World {
    /// Makes a place with everything that calls of a tool need, and returns the input that leads there.
    fn prepare(&self, tool: &str, place: &str) -> Value;
    /// The requests for a place that changed something: the faults' method and path that strike each.
    fn changes(&self, place: &str) -> Vec<(String, String)>;
    /// What is in a place, without times, ids and other chance.
    fn picture(&self, place: &str) -> Value;
    fn faults(&self) -> &Faults;
}

/// Calls each tool undisturbed, and then dies at each of the requests that changed something.
fn check(scene: &Scene, runtime: &Runtime, world: &dyn World, cases: &[Case]) {
    for (index, (tool, params)) in cases.iter().enumerate() {
        let workflow = format!("call_{index}");
        let step = json!({ "name": "call", "tool": tool, "params": params });
        let input = json!({ "type": "object" });
        let document = json!({ "name": workflow, "input": input, "steps": [step] });
        scene.project.write(&format!("workflows/{workflow}.json"), &document.to_string());
        let calm = format!("calm-{index}");
        let input = world.prepare(tool, &calm);
        let before = world.picture(&calm);
        let ended = scene.run(&Run { workflow: &workflow, key: &calm, input }, None);
        assert_completed(tool, &ended);
        let wanted = world.picture(&calm);
        assert_ne!(wanted, before, "{tool} did nothing: {ended:#?}");
        let changes = world.changes(&calm);
        assert!(!changes.is_empty(), "{tool} asked for nothing");
        for number in 0..changes.len() {
            let place = format!("death-{index}-{number}");
            let input = world.prepare(tool, &place);
            let run = Run { workflow: &workflow, key: &place, input };
            dies_and_is_finished(scene, runtime, world, &run, &changes, (&calm, number));
            assert_eq!(world.picture(&place), wanted, "{tool} died at {:?}", changes[number]);
        }
    }
}

/// The service does the work of one request, whoever asked for it is killed before the answer comes, and another one
/// finishes.
fn dies_and_is_finished(
    scene: &Scene,
    runtime: &Runtime,
    world: &dyn World,
    run: &Run<'_>,
    changes: &[(String, String)],
    (calm, number): (&str, usize),
) {
    let (method, path) = &changes[number];
    let earlier = changes[..number].iter().filter(|other| *other == &changes[number]).count();
    let what = format!("{} dies at change {number}, {method} {path}", run.workflow);
    let fault = Action::PauseAfterWork.on(method, &path.replace(calm, run.key));
    world.faults().add(fault.skip(u32::try_from(earlier).unwrap()));
    let mut first = Running::start(&mut scene.command(run));
    let held = runtime.block_on(world.faults().wait_until_held(1, SOON));
    assert!(held, "{what}: {}", first.stderr());
    first.kill();
    world.faults().release();
    assert!(runtime.block_on(world.faults().wait_until_none_held(SOON)), "{what}");
    scene.let_leases_run_out();
    assert_completed(&what, &scene.run(run, None));
}

fn assert_completed(what: &str, ended: &Ended) {
    assert_eq!(execution_of(ended)["status"], "completed", "{what}: {ended:#?}");
}
