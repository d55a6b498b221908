//! Executions in hand, by command line and by agents, on both databases, across killed workers: paused and resumed,
//! retried, settled, skipped, forked; and what was done stays done.

use std::fs;

use serde_json::{Value, json};

use crate::{
    durability::{SLOW, Scene, counted, step_is},
    harness::{Client, SOON, begin, eventually, settled},
};

on_both!(
    a_pause_lets_the_call_come_home_and_outlives_the_worker,
    a_pause_holds_for_the_executions_below_and_can_be_cancelled,
    a_retry_does_what_failed_and_nothing_that_completed,
    a_retry_goes_on_with_the_execution_below_that_failed,
    a_retry_may_change_the_input_and_outlives_the_worker,
    a_failed_step_is_skipped_or_its_result_is_given_by_hand,
    a_group_that_is_skipped_asks_nobody_any_more,
    a_fork_keeps_what_came_before_the_step,
    a_fork_of_what_still_runs_leaves_it_alone,
    every_committed_turn_is_a_checkpoint,
    a_place_in_the_queue_of_a_lock_outlives_the_worker,
);

/// Counts, counts in a folder that is not there, and counts again.
const BREAKS: &str = r#"
name: breaks
input:
  type: object
  required: [file, missing]
  properties: { file: { type: string }, missing: { type: string } }
steps:
  - { name: before, tool: demo.count, params: { file: "${input.file}" } }
  - { name: broken, tool: demo.count, params: { file: "${input.missing}" }, retry: { maxAttempts: 1 } }
  - { name: after, tool: demo.count, params: { file: "${input.file}" } }
output: { counted: "${steps.after.count}" }
"#;

const ABOVE: &str = r#"
name: above
input: { type: object, properties: { file: { type: string }, missing: { type: string } } }
steps:
  - { name: below, workflow: breaks, params: { file: "${input.file}", missing: "${input.missing}" } }
output: { below: "${steps.below.counted}" }
"#;

const SLOW_ABOVE: &str = r#"
name: slow_above
input: { type: object, properties: { file: { type: string }, ms: { type: integer } } }
steps:
  - { name: below, workflow: slow, params: { file: "${input.file}", ms: "${input.ms}" } }
"#;

/// `windlass VERB ID …` with `--json`.
fn told(scene: &Scene, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    scene.project.run(&arguments).expect(0).json()
}

fn refused(scene: &Scene, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let refused = scene.project.run(&arguments).expect(2).json();
    refused["error"]["message"].as_str().unwrap().to_owned()
}

fn control(door: &mut Client, id: &str, action: Value) -> Value {
    let mut arguments = action;
    arguments["execution_id"] = json!(id);
    door.call_ok("workflow.control", arguments)
}

fn ended(door: &mut Client, id: &str, status: &str) -> Value {
    eventually(3 * SOON, &format!("the execution to be {status}"), || {
        let known = door.call_ok("workflow.status", json!({ "execution_id": id }));
        (known["status"] == status).then_some(known)
    })
}

fn broken(scene: &Scene, door: &mut Client, workflow: &str) -> String {
    scene.project.write("workflows/breaks.yaml", BREAKS);
    scene.project.write("workflows/above.yaml", ABOVE);
    let missing = scene.project.path().join("missing/ledger");
    let input = json!({ "file": scene.ledger("kept"), "missing": missing });
    let id = begin(door, workflow, input);
    assert_eq!(settled(door, &id)["status"], "failed");
    id
}

fn mend(scene: &Scene) {
    fs::create_dir(scene.project.path().join("missing")).unwrap();
}

fn a_pause_lets_the_call_come_home_and_outlives_the_worker(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let id = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 8000 }));
    step_is(&mut door, &id, "nap", "running");
    let paused = told(scene, &["pause", &id, "--reason", "a look at it"]);
    assert_eq!(paused["status"], "paused", "{paused:#}");
    assert!(paused["waiting_for"].as_str().unwrap().contains("local paused it (a look at it)"));
    step_is(&mut door, &id, "nap", "completed");
    // Once more is no mistake.
    assert_eq!(control(&mut door, &id, json!({ "action": "pause" }))["status"], "paused");
    door.kill();
    scene.project.kill_workers();
    scene.let_leases_run_out();
    let mut door = scene.door();
    let known = door.call_ok("workflow.status", json!({ "execution_id": id, "wait_seconds": 2 }));
    assert_eq!(known["status"], "paused", "{known:#}");
    assert_eq!(counted(&scene.ledger("slow")).len(), 1);
    assert!(known["next"].as_str().unwrap().contains("resume"), "{known:#}");
    control(&mut door, &id, json!({ "action": "resume" }));
    assert_eq!(ended(&mut door, &id, "completed")["output"], json!({ "counted": 2 }));
    let refusal = refused(scene, &["pause", &id]);
    assert!(refusal.contains("windlass fork"), "{refusal}");
}

fn a_pause_holds_for_the_executions_below_and_can_be_cancelled(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    scene.project.write("workflows/slow_above.yaml", SLOW_ABOVE);
    let mut door = scene.door();
    let input = json!({ "file": scene.ledger("slow"), "ms": 8000 });
    let id = begin(&mut door, "slow_above", input);
    eventually(SOON, "the first count", || {
        (counted(&scene.ledger("slow")).len() == 1).then_some(())
    });
    control(&mut door, &id, json!({ "action": "pause" }));
    eventually(SOON, "both to be paused", || {
        (scene.statuses() == ["paused", "paused"]).then_some(())
    });
    eventually(SOON, "the nap to be over", || {
        let sql = "SELECT COUNT(*) FROM steps WHERE step = 'nap' AND status = 'completed'";
        (scene.number(sql) == 1).then_some(())
    });
    assert_eq!(counted(&scene.ledger("slow")).len(), 1, "nothing begins");
    control(&mut door, &id, json!({ "action": "cancel" }));
    ended(&mut door, &id, "cancelled");
    assert_eq!(scene.statuses(), ["cancelled", "cancelled"]);
    let refusal = refused(scene, &["retry", &id]);
    assert!(refusal.contains("final") && refusal.contains("windlass fork"), "{refusal}");
}

fn a_retry_does_what_failed_and_nothing_that_completed(scene: &Scene) {
    let mut door = scene.door();
    let id = broken(scene, &mut door, "breaks");
    // It fails again, as a step of its own generation.
    told(scene, &["retry", &id]);
    let failed = ended(&mut door, &id, "failed");
    assert_eq!(failed["error"]["step"], "broken");
    mend(scene);
    control(&mut door, &id, json!({ "action": "retry" }));
    assert_eq!(ended(&mut door, &id, "completed")["output"], json!({ "counted": 2 }));
    assert_eq!(counted(&scene.ledger("kept")).len(), 2, "`before` ran once");
    let refusal =
        door.call_err("workflow.control", json!({ "execution_id": id, "action": "retry" }));
    assert!(refusal.contains("is completed"), "{refusal}");
    let engine = scene.number("SELECT min_engine FROM executions");
    assert_eq!(engine, 4, "an older release leaves it alone");
}

fn a_retry_goes_on_with_the_execution_below_that_failed(scene: &Scene) {
    let mut door = scene.door();
    let id = broken(scene, &mut door, "above");
    mend(scene);
    let children = door.call_ok("workflow.status", json!({ "execution_id": id }));
    let child = children["steps"][0]["execution_id"].as_str().unwrap().to_owned();
    let refusal = refused(scene, &["retry", &child]);
    assert!(refusal.contains(&id), "{refusal}");
    control(&mut door, &id, json!({ "action": "retry" }));
    assert_eq!(ended(&mut door, &id, "completed")["output"], json!({ "below": 2 }));
    assert_eq!(counted(&scene.ledger("kept")).len(), 2, "`before` ran once");
    assert_eq!(scene.statuses(), ["completed", "completed"], "no third one began");
}

fn a_retry_may_change_the_input_and_outlives_the_worker(scene: &Scene) {
    let mut door = scene.door();
    let id = broken(scene, &mut door, "breaks");
    door.kill();
    scene.project.kill_workers();
    let refusal = refused(scene, &["retry", &id, "missing=[]", "--input", "{\"file\": 7}"]);
    assert!(refusal.contains("does not fit"), "{refusal}");
    let elsewhere = scene.ledger("elsewhere");
    let changed = format!("missing={}", elsewhere.display());
    // Whoever hears of it dies before it has written anything.
    let mut retry = scene.project.command(&["retry", &id, &changed, "--json"]);
    crate::harness::run(retry.env("WINDLASS_FAULT", "before_commit:1"), SOON).expect(0);
    scene.project.kill_workers();
    scene.let_leases_run_out();
    let mut door = scene.door();
    let done = settled(&mut door, &id);
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(counted(&scene.ledger("kept")).len(), 2);
    assert_eq!(counted(&elsewhere).len(), 1);
}

fn a_group_that_is_skipped_asks_nobody_any_more(scene: &Scene) {
    let text = "name: grouped\nsteps:\n  - name: g\n    steps: [{ name: sure, approval: { message: Go? } }]\n\
                \x20 - { name: hold, wait: { event: go_on } }\n";
    scene.project.write("workflows/grouped.yaml", text);
    let mut door = scene.door();
    let id = begin(&mut door, "grouped", json!({}));
    let open = || told(scene, &["requests"])["requests"].as_array().unwrap().len();
    eventually(SOON, "somebody to be asked", || (open() == 1).then_some(()));
    told(scene, &["skip", &id, "g"]);
    eventually(SOON, "nobody to be asked any more", || (open() == 0).then_some(()));
    step_is(&mut door, &id, "hold", "waiting");
    let inside =
        scene.number("SELECT COUNT(*) FROM steps WHERE step = 'g/sure' AND status = 'cancelled'");
    assert_eq!(inside, 1, "what it holds has ended with it");
    told(scene, &["signal", &id, "go_on"]);
    ended(&mut door, &id, "completed");

    let text =
        "name: alone\nsteps:\n  - name: g\n    steps: [{ name: rests, wait: { event: never } }]\n";
    scene.project.write("workflows/alone.yaml", text);
    let id = begin(&mut door, "alone", json!({}));
    step_is(&mut door, &id, "g/rests", "waiting");
    told(scene, &["skip", &id, "g"]);
    ended(&mut door, &id, "completed");
    assert_eq!(scene.number("SELECT COUNT(*) FROM steps WHERE status = 'waiting'"), 0);
}

fn a_failed_step_is_skipped_or_its_result_is_given_by_hand(scene: &Scene) {
    let mut door = scene.door();
    let skipped = broken(scene, &mut door, "breaks");
    let refusal = refused(scene, &["skip", &skipped, "before"]);
    assert!(refusal.contains("what is done stays done"), "{refusal}");
    told(scene, &["skip", &skipped, "broken", "--reason", "not today"]);
    let done = ended(&mut door, &skipped, "completed");
    assert_eq!(done["steps"][1]["status"], "skipped", "{done:#}");
    assert_eq!(done["output"], json!({ "counted": 2 }));

    fs::remove_file(scene.ledger("kept")).unwrap();
    let settled_by_hand = broken(scene, &mut door, "breaks");
    let resolve = |result: Value| {
        json!({
            "execution_id": settled_by_hand, "action": "resolve", "step": "broken",
            "outcome": "completed", "result": result,
        })
    };
    let refusal = door.call_err("workflow.control", resolve(json!({ "count": "many" })));
    assert!(refusal.contains("does not fit the output schema"), "{refusal}");
    door.call_ok("workflow.control", resolve(json!({ "count": 1, "created": true })));
    let done = ended(&mut door, &settled_by_hand, "completed");
    assert_eq!(done["steps"][1]["status"], "completed", "{done:#}");
    assert_eq!(counted(&scene.ledger("kept")).len(), 2, "`before` ran once");
}

fn a_fork_keeps_what_came_before_the_step(scene: &Scene) {
    let mut door = scene.door();
    let id = broken(scene, &mut door, "breaks");
    mend(scene);
    let fork = ["fork", id.as_str(), "--from", "broken", "--latest", "--idempotency-key", "once"];
    let forked = told(scene, &fork);
    let new = forked["execution_id"].as_str().unwrap().to_owned();
    assert_ne!(new, id);
    assert_eq!(told(scene, &fork)["execution_id"], json!(new), "the same key is the same fork");
    let done = ended(&mut door, &new, "completed");
    assert_eq!(done["steps"][0]["reused_from"], json!(id), "{done:#}");
    assert_eq!(counted(&scene.ledger("kept")).len(), 2, "`before` was not run again");
    assert_eq!(scene.statuses(), ["failed", "completed"], "the other one stays as it is");
    let refusal = door.call_err(
        "workflow.control",
        json!({ "execution_id": id, "action": "fork", "step": "nothing" }),
    );
    assert!(refusal.contains("before, broken, after"), "{refusal}");
    let other = BREAKS.replace(
        "{ name: before, tool: demo.count,",
        "{ name: before, title: x, tool: demo.count,",
    );
    let other = other.replace(", title: x", ", timeoutMs: 9000");
    scene.project.write("workflows/breaks.yaml", &other);
    let refusal = door.call_err(
        "workflow.control",
        json!({ "execution_id": id, "action": "fork", "step": "broken", "latest": true }),
    );
    assert!(refusal.contains("is another one in the current revision"), "{refusal}");
}

fn a_fork_of_what_still_runs_leaves_it_alone(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let ledger = scene.ledger("slow");
    let id = begin(&mut door, "slow", json!({ "file": ledger, "ms": 4000 }));
    step_is(&mut door, &id, "nap", "running");
    // What has no result yet is done anew.
    let forks = ["nap", "after"].map(|from| {
        let forked = told(scene, &["fork", &id, "--from", from]);
        forked["execution_id"].as_str().unwrap().to_owned()
    });
    for id in forks.iter().chain([&id]) {
        ended(&mut door, id, "completed");
    }
    assert_eq!(counted(&ledger).len(), 4, "`before` ran once, `after` in each of them");
}

fn every_committed_turn_is_a_checkpoint(scene: &Scene) {
    let mut door = scene.door();
    let id = broken(scene, &mut door, "breaks");
    let all = told(scene, &["checkpoints", &id]);
    let total = all["total"].as_i64().unwrap();
    let shown = all["checkpoints"].as_array().unwrap();
    assert_eq!(shown.len(), usize::try_from(total).unwrap(), "{all:#}");
    assert_eq!(shown[0]["number"], total);
    assert_eq!(shown.last().unwrap()["number"], 1);
    let events: i64 = shown.iter().map(|one| one["events"].as_i64().unwrap()).sum();
    assert_eq!(events, scene.number("SELECT COUNT(*) FROM events"), "each event is in one of them");
    assert!(shown.iter().all(|one| 0 < one["bytes"].as_i64().unwrap()));
    assert!(shown[0]["worker"].is_string(), "{all:#}");
    assert!(shown[0]["steps"].as_array().unwrap().contains(&json!("broken")));
    let few = control(&mut door, &id, json!({ "action": "checkpoints", "limit": 1 }));
    assert_eq!(few["checkpoints"].as_array().unwrap().len(), 1);
    assert_eq!(few["checkpoints"][0]["number"], total);
}

fn a_place_in_the_queue_of_a_lock_outlives_the_worker(scene: &Scene) {
    for (name, on_busy) in
        [("holds", "queue"), ("queues", "queue"), ("rejects", "reject"), ("replaces", "replace")]
    {
        let head = format!("name: {name}\nlock: {{ key: the_only_one, onBusy: {on_busy} }}\n");
        scene
            .project
            .write(&format!("workflows/{name}.yaml"), &SLOW.replacen("\nname: slow\n", &head, 1));
    }
    let mut door = scene.door();
    let input = |ms: i64| json!({ "file": scene.ledger("slow"), "ms": ms });
    let holds = begin(&mut door, "holds", input(60_000));
    step_is(&mut door, &holds, "nap", "running");
    let queues = begin(&mut door, "queues", input(1));
    ended(&mut door, &queues, "waiting");
    door.kill();
    scene.project.kill_workers();
    scene.let_leases_run_out();
    let mut door = scene.door();
    let rejects = begin(&mut door, "rejects", input(1));
    assert_eq!(ended(&mut door, &rejects, "failed")["error"]["code"], "lock_busy");
    ended(&mut door, &queues, "waiting");
    // It takes the lock from who holds it, and comes after who has queued longer.
    let replaces = begin(&mut door, "replaces", input(1));
    ended(&mut door, &holds, "cancelled");
    ended(&mut door, &queues, "completed");
    ended(&mut door, &replaces, "completed");
}
