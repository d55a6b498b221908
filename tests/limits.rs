//! Limits on calls, and priorities, hold over every process on a database, and over their ends.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    durability::{LEASE, Scene, counted, step_is},
    harness::{Client, HttpServer, Project, SOON, begin, eventually},
};

on_both!(
    no_more_calls_are_out_over_two_processes_than_a_limit_allows,
    no_more_calls_begin_over_two_processes_than_a_rate_allows,
    a_killed_process_keeps_no_permit_and_who_waits_says_for_what,
    who_ends_while_a_step_waits_leaves_the_queue,
    the_higher_priority_goes_first_after_a_restart,
    a_workflow_has_a_priority_a_run_may_have_another_and_children_have_that,
);

const FAN: &str = r#"
name: fan
input: { type: object, required: [ms, items] }
steps:
  - { name: out, tool: fake.slow, forEach: "${input.items}", params: { ms: "${input.ms}" } }
"#;

const NAP: &str = r#"
name: nap
input: { type: object, required: [ms] }
steps:
  - { name: nap, tool: demo.sleep, params: { ms: "${input.ms}" } }
"#;

const MARK: &str = r#"
name: mark
input: { type: object, required: [file] }
steps:
  - { name: mark, tool: demo.count_keyed, params: { file: "${input.file}" } }
"#;

fn client(server: &HttpServer) -> Client {
    let mut client = server.client().with_deadline(2 * LEASE);
    client.initialize();
    client
}

/// Configures the fake tool server with a limit.
fn limit_fake(scene: &Scene, limit: &str) {
    let program =
        Path::new(env!("CARGO_BIN_EXE_windlass")).with_file_name("examples/fake_tool_server");
    let ledger = scene.ledger("fake");
    let text = format!(
        "[mcpServers.fake]\ncommand = {program:?}\nargs = [\"--ledger\", {ledger:?}]\n[limits.fake]\n{limit}\n"
    );
    scene.project.write("windlass.toml", &text);
    scene.project.write("workflows/fan.yaml", FAN);
}

/// When calls of the fake tool server began and ended, in order.
fn times(scene: &Scene) -> Vec<(u64, bool)> {
    let mut path = scene.ledger("fake").into_os_string();
    path.push(".times");
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (at, what) = line.split_once(' ').unwrap();
        (at.parse().unwrap(), what == "begins")
    };
    let mut times: Vec<(u64, bool)> = text.lines().map(line).collect();
    times.sort_unstable();
    times
}

fn begun(scene: &Scene) -> usize {
    times(scene).iter().filter(|(_, begins)| *begins).count()
}

fn status(door: &mut Client, id: &str) -> Value {
    door.call_ok("workflow.status", json!({ "execution_id": id }))
}

/// Waits until an execution has completed, whatever it waits for meanwhile.
fn completes(door: &mut Client, id: &str) -> Value {
    eventually(2 * LEASE, "the execution to complete", || {
        let known = status(door, id);
        assert_ne!(known["status"], "failed", "{known:#}");
        (known["status"] == "completed").then_some(known)
    })
}

fn waits_for(door: &mut Client, id: &str, what: &str) {
    eventually(SOON, what, || {
        let known = status(door, id);
        (known["waiting_for"] == what).then_some(())
    });
}

fn no_more_calls_are_out_over_two_processes_than_a_limit_allows(scene: &Scene) {
    limit_fake(scene, "concurrency = 2");
    let servers = [scene.project.serve_http(), scene.project.serve_http()];
    let mut doors = servers.each_ref().map(client);
    let mut ids = Vec::new();
    for _ in 0..2 {
        for door in &mut doors {
            ids.push(begin(door, "fan", json!({ "ms": 60, "items": [1, 2, 3, 4] })));
        }
    }
    for id in &ids {
        completes(&mut doors[0], id);
    }
    let (mut out, mut most) = (0, 0);
    for (_, begins) in times(scene) {
        out = if begins { out + 1 } else { out - 1 };
        most = most.max(out);
    }
    assert_eq!((out, begun(scene)), (0, 16));
    assert_eq!(most, 2, "both places are used, and no third");
    assert_eq!(scene.number("SELECT COUNT(*) FROM limit_places"), 0, "nothing is left behind");
    assert_eq!(scene.number("SELECT COUNT(*) FROM steps WHERE status <> 'completed'"), 0);
}

fn no_more_calls_begin_over_two_processes_than_a_rate_allows(scene: &Scene) {
    limit_fake(scene, "rate = \"3/hour\"");
    let servers = [scene.project.serve_http(), scene.project.serve_http()];
    let mut doors = servers.each_ref().map(client);
    let ids =
        doors.each_mut().map(|door| begin(door, "fan", json!({ "ms": 1, "items": [1, 2, 3, 4] })));
    eventually(SOON, "as many calls as may begin", || (begun(scene) == 3).then_some(()));
    let waits = |door: &mut Client, id: &String| {
        eventually(SOON, "the execution to wait", || {
            let known = status(door, id);
            let said = known["waiting_for"].as_str()?;
            said.ends_with(" waits for the limit of fake (3/hour)").then_some(())
        });
    };
    doors.iter_mut().zip(&ids).for_each(|(door, id)| waits(door, id));
    // A restart forgets nothing of it.
    drop((doors, servers));
    let server = scene.project.serve_http();
    let mut door = client(&server);
    ids.iter().for_each(|id| waits(&mut door, id));
    let id = begin(&mut door, "fan", json!({ "ms": 1, "items": [1] }));
    waits(&mut door, &id);
    assert_eq!(begun(scene), 3);
}

fn a_killed_process_keeps_no_permit_and_who_waits_says_for_what(scene: &Scene) {
    scene.project.write("windlass.toml", "[limits.\"demo.sleep\"]\nconcurrency = 1\n");
    scene.project.write("workflows/nap.yaml", NAP);
    let (mut first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let (mut door_of_first, mut door) = (client(&first), client(&second));
    let holder = begin(&mut door_of_first, "nap", json!({ "ms": 1_500 }));
    step_is(&mut door_of_first, &holder, "nap", "running");
    let waiting = begin(&mut door, "nap", json!({ "ms": 1 }));
    waits_for(&mut door, &waiting, "step nap waits for the limit of demo.sleep (1 at once)");
    first.process.kill();
    completes(&mut door, &waiting);
    completes(&mut door, &holder);
    assert_eq!(scene.number("SELECT COUNT(*) FROM limit_places"), 0);
}

fn who_ends_while_a_step_waits_leaves_the_queue(scene: &Scene) {
    scene.project.write("windlass.toml", "[limits.\"demo.sleep\"]\nconcurrency = 1\n");
    scene.project.write("workflows/nap.yaml", NAP);
    let text = "name: fails\nsteps:\n  - { name: queues, tool: demo.Sleep, params: { ms: 1 }, needs: [] }\n\
                \x20 - { name: word, wait: { event: fail }, needs: [] }\n\
                \x20 - { name: fails, tool: demo.fail, params: { message: no }, needs: [word] }\n";
    scene.project.write("workflows/fails.yaml", text);
    let server = scene.project.serve_http();
    let mut door = client(&server);
    let holder = begin(&mut door, "nap", json!({ "ms": 60_000 }));
    step_is(&mut door, &holder, "nap", "running");
    let waiting = begin(&mut door, "fails", json!({}));
    let places = || scene.number("SELECT COUNT(*) FROM limit_places");
    eventually(SOON, "a place in the queue, however the tool is spelled", || {
        (places() == 2).then_some(())
    });
    scene.project.run_ok(&["signal", &waiting, "fail"]);
    eventually(SOON, "the execution to fail", || {
        (status(&mut door, &waiting)["status"] == "failed").then_some(())
    });
    assert_eq!(places(), 1, "the one who holds it");
}

fn the_higher_priority_goes_first_after_a_restart(scene: &Scene) {
    scene.project.write("windlass.toml", "[worker]\nmax_executions = 1\n");
    scene.project.write("workflows/nap.yaml", NAP);
    scene.project.write("workflows/mark.yaml", MARK);
    let mut server = scene.project.serve_http();
    let mut door = client(&server);
    // While this one is driven, there is no place for any other.
    let long = begin(&mut door, "nap", json!({ "ms": 600_000 }));
    step_is(&mut door, &long, "nap", "running");
    let ledger = scene.ledger("marks");
    let mut ids = Vec::new();
    for priority in ["low", "normal", "high"] {
        let arguments = json!({
            "workflow": "mark", "input": { "file": ledger }, "wait_seconds": 0, "priority": priority,
        });
        let begun = door.call_ok("workflow.run", arguments);
        ids.push(begun["execution_id"].as_str().unwrap().to_owned());
    }
    server.process.kill();
    assert_eq!(counted(&ledger), Vec::<String>::new());

    let server = scene.project.serve_http();
    let mut door = client(&server);
    for id in &ids {
        completes(&mut door, id);
    }
    let order: Vec<usize> = counted(&ledger)
        .iter()
        .map(|line| ids.iter().position(|id| line.contains(id)).unwrap())
        .collect();
    assert_eq!(order, [2, 1, 0]);
}

fn a_workflow_has_a_priority_a_run_may_have_another_and_children_have_that(scene: &Scene) {
    let child = "name: child\nsteps: [{ name: a, set: { x: 1 } }]\n";
    let parent = "name: parent\nconfig: { priority: low }\nsteps: [{ name: a, workflow: child }]\n";
    scene.project.write("workflows/child.yaml", child);
    scene.project.write("workflows/parent.yaml", parent);
    scene.project.run_ok(&["run", "parent"]);
    let low = "SELECT COUNT(*) FROM executions WHERE priority = -1";
    assert_eq!(scene.number(low), 2);
    scene.project.run_ok(&["run", "parent", "--priority", "high"]);
    let high = "SELECT COUNT(*) FROM executions WHERE priority = 1";
    assert_eq!((scene.number(low), scene.number(high)), (2, 2));
    let refused =
        scene.door().call_err("workflow.run", json!({ "workflow": "child", "priority": "urgent" }));
    assert!(refused.contains("low, normal, high"), "{refused}");
}

#[test]
fn a_limit_of_what_is_not_there_and_one_that_says_nothing_are_refused() {
    let project = Project::new();
    for (limit, said) in [
        (
            "[limits.gihtub]\nconcurrency = 1",
            "no tool server is called \"gihtub\"; did you mean github?",
        ),
        (
            "[limits.\"demo.slep\"]\nconcurrency = 1",
            "tool server \"demo\" has no tool \"slep\"; did you mean",
        ),
        ("[limits.demo]\nconcurrency = 0", "windlass.toml:2: concurrency must be from 1 to 10000"),
        (
            "[limits.demo]\nrate = \"100/day\"",
            "windlass.toml:2: rate must be N/second, N/minute or N/hour",
        ),
        ("[limits.demo]\nconcurency = 1", "did you mean `concurrency`?"),
    ] {
        project.write("windlass.toml", &format!("{limit}\n"));
        let refused = project.run(&["list"]);
        assert_eq!(refused.status.code(), Some(2), "{limit}: {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{limit}: {}", refused.stderr);
    }
    project.write("windlass.toml", "[limits.demo]\nconcurrency = 1\nrate = \"5/minute\"\n");
    project.run_ok(&["list"]);

    let config = project.run_ok(&["config"]);
    let (_, sample) = config.split_once("#   [limits.github]\n").unwrap();
    let lines = sample.lines().take_while(|line| line.starts_with('#'));
    let lines = lines.filter_map(|line| line.strip_prefix("#   "));
    let sample: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(sample.contains("[limits.\"github."), "{sample}");
    project.write("windlass.toml", &format!("[limits.github]\n{sample}"));
    project.run_ok(&["list"]);
}
