//! What an agent starts over stdio outlives the agent's window, and the worker's process too.

use std::fs;

use serde_json::json;

use super::{LEASE, Scene, counted, step_is};
use crate::harness::{SOON, begin, eventually, settled};

on_both!(
    an_execution_outlives_the_window_it_was_started_from,
    a_killed_worker_is_replaced_and_what_it_called_is_called_again,
    two_doors_share_one_worker_which_goes_when_idle_and_comes_back,
    the_same_key_from_two_doors_at_once_is_one_execution,
    a_run_from_the_terminal_drives_nothing_but_its_own,
    a_changed_tool_server_stops_only_what_was_started_with_the_other,
    an_execution_that_ends_in_its_first_turn_says_why,
    nobody_works_with_the_token_of_somebody_else,
);

/// Counts, sleeps for as long as it is told, and counts again.
pub(crate) const SLOW: &str = r#"
name: slow
input:
  type: object
  required: [file, ms]
  properties: { file: { type: string }, ms: { type: integer } }
steps:
  - { name: before, tool: demo.count_keyed, params: { file: "${input.file}" } }
  - { name: nap, tool: demo.sleep, params: { ms: "${input.ms}" } }
  - { name: after, tool: demo.count_keyed, params: { file: "${input.file}" } }
output: { counted: "${steps.after.count}" }
"#;

fn an_execution_outlives_the_window_it_was_started_from(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 1500 }));
    step_is(&mut door, &id, "nap", "running");
    door.kill();
    scene.ends_as("completed", SOON);
    let ended = settled(&mut scene.door(), &id);
    assert_eq!(ended["output"], json!({ "counted": 2 }));
}

fn a_killed_worker_is_replaced_and_what_it_called_is_called_again(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 1000 }));
    step_is(&mut door, &id, "nap", "running");
    let killed = workers(scene);
    assert_eq!(scene.project.kill_workers(), 1);
    let ended = settled(&mut door, &id);
    assert_eq!(ended["output"], json!({ "counted": 2 }), "{ended:#}");
    assert_eq!(counted(&scene.ledger("slow")).len(), 2);
    assert!(workers(scene).iter().all(|worker| !killed.contains(worker)));
}

fn two_doors_share_one_worker_which_goes_when_idle_and_comes_back(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut doors = [scene.door(), scene.door()];
    let mut ids = Vec::new();
    for (number, door) in doors.iter_mut().enumerate() {
        let file = scene.ledger(&number.to_string());
        ids.push(begin(door, "slow", json!({ "file": file, "ms": 700 })));
    }
    for (door, id) in doors.iter_mut().zip(&ids) {
        step_is(door, id, "nap", "running");
    }
    // A second one may have been started, and have found the place taken.
    let one =
        eventually(SOON, "one worker to be left", || <[u32; 1]>::try_from(workers(scene)).ok());
    // Each door sees what the other has started.
    for (door, id) in doors.iter_mut().rev().zip(&ids) {
        assert_eq!(settled(door, id)["status"], "completed");
    }
    eventually(LEASE, "the idle worker to go", || workers(scene).is_empty().then_some(()));
    let id = begin(&mut doors[0], "slow", json!({ "file": scene.ledger("third"), "ms": 1 }));
    assert_eq!(settled(&mut doors[0], &id)["status"], "completed");
    assert_ne!(workers(scene), one);
}

fn the_same_key_from_two_doors_at_once_is_one_execution(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    // Neither has seen the database yet, so they also race to make it.
    let mut doors = [scene.project.client(&["serve"]), scene.project.client(&["serve"])];
    doors.iter_mut().for_each(|door| _ = door.initialize());
    let input = json!({ "file": scene.ledger("slow"), "ms": 1 });
    let arguments = json!({ "workflow": "slow", "input": input, "idempotency_key": "once" });
    let call = json!({ "name": "workflow.run", "arguments": arguments });
    let calls = doors.each_mut().map(|door| door.begin("tools/call", call.clone()));
    let answers: Vec<_> =
        doors.iter_mut().zip(calls).map(|(door, id)| door.answer(id).unwrap()).collect();
    let executions: Vec<_> = answers.iter().map(|answer| &answer["structuredContent"]).collect();
    assert_eq!(executions[0]["execution_id"], executions[1]["execution_id"]);
    assert_eq!(executions[0]["output"], json!({ "counted": 2 }), "{answers:#?}");
    assert_eq!(scene.statuses(), ["completed"]);
}

fn a_run_from_the_terminal_drives_nothing_but_its_own(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 1000 }));
    step_is(&mut door, &id, "nap", "running");
    door.kill();
    scene.project.kill_workers();
    scene.let_leases_run_out();
    scene.project.run_ok(&["run", "hello"]);
    assert_eq!(scene.statuses(), ["running", "completed"]);
    assert_eq!(settled(&mut scene.door(), &id)["output"], json!({ "counted": 2 }));
}

fn nobody_works_with_the_token_of_somebody_else(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 3000 }));
    step_is(&mut door, &id, "nap", "running");
    let first = workers(scene);
    let mut other = scene.project.command(&["run", "hello", "--detach"]);
    other.env("GITHUB_TOKEN", "the-token-of-somebody-else");
    crate::harness::run(&mut other, SOON).expect(0);
    eventually(SOON, "a worker of its own", || {
        workers(scene).iter().any(|worker| !first.contains(worker)).then_some(())
    });
    assert_eq!(settled(&mut door, &id)["status"], "completed");
}

fn an_execution_that_ends_in_its_first_turn_says_why(scene: &Scene) {
    let text = "name: short\ninput: { type: object }\nsteps:\n  \
                - { name: a, tool: demo.echo, params: { x: \"${input.missing.key}\" } }\n";
    scene.project.write("workflows/short.yaml", text);
    let failed = scene.project.run(&["run", "short", "--json"]).stdout;
    let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
    assert_eq!((&failed["status"], &failed["error"]["step"]), (&json!("failed"), &json!("a")));
    assert!(failed["ended_at"].is_i64(), "{failed:#}");
    let id = failed["execution_id"].as_str().unwrap();
    let refused = scene
        .door()
        .call_err("workflow.control", json!({ "execution_id": id, "action": "cancel" }));
    assert!(refused.contains("has ended as failed"), "{refused}");
}

/// The server is never called: what counts is how it is configured.
fn a_changed_tool_server_stops_only_what_was_started_with_the_other(scene: &Scene) {
    let configure = |argument: &str| {
        let text = format!("[mcpServers.other]\ncommand = \"cat\"\nargs = [\"{argument}\"]\n");
        scene.project.write("windlass.toml", &text);
    };
    let text = SLOW.replace(
        "output:",
        "  - { name: never, tool: other.tool, params: {}, if: \"${input.ms < 0}\" }\noutput:",
    );
    scene.project.write("workflows/slow.yaml", &text);
    let hears = "name: hears\nsteps:\n  - { name: word, wait: { event: go } }\n  \
                 - { name: never, tool: other.tool, params: {}, if: \"${1 < 0}\" }\n";
    scene.project.write("workflows/hears.yaml", hears);
    configure("first");
    let mut door = scene.door();
    let hears = begin(&mut door, "hears", json!({}));
    step_is(&mut door, &hears, "word", "waiting");
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 1000 }));
    step_is(&mut door, &id, "nap", "running");
    door.kill();
    scene.project.kill_workers();
    scene.let_leases_run_out();

    configure("second");
    let mut door = scene.door();
    let other = begin(&mut door, "hello", json!({}));
    assert_eq!(settled(&mut door, &other)["status"], "completed");
    scene.project.run_ok(&["signal", &hears, "go"]);
    for id in [&id, &hears] {
        eventually(SOON, "somebody to say why it does not move", || {
            let status = door.call_ok("workflow.status", json!({ "execution_id": id }));
            let told = status["waiting_for"].as_str().unwrap_or_default();
            told.contains("here other changed since").then_some(())
        });
    }

    configure("first");
    assert_eq!(settled(&mut scene.door(), &id)["output"], json!({ "counted": 2 }));
    assert_eq!(settled(&mut scene.door(), &hears)["status"], "completed");
}

/// The processes that work for a project, found without the files they leave.
fn workers(scene: &Scene) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_worker = |id: &u32| {
        let folder = format!("/proc/{id}");
        let works_here = fs::read_link(format!("{folder}/cwd"))
            .is_ok_and(|directory| directory == scene.project.path().canonicalize().unwrap());
        let line = fs::read_to_string(format!("{folder}/cmdline")).unwrap_or_default();
        works_here && line.contains("windlass\0worker")
    };
    ids.filter(is_worker).collect()
}
