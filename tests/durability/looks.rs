//! A tool that is not done is looked at again, and a limit on calls is waited for, whatever dies meanwhile.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{Run, Scene, counted, crashes::POINTS, execution_of, was_killed};
use crate::harness::{Client, SOON, begin, eventually, settled};

on_both!(
    a_tool_is_looked_at_until_it_is_done_although_the_worker_is_killed_between_looks,
    looks_go_on_wherever_the_process_dies,
    what_is_not_done_in_time_fails_and_what_is_cancelled_is_not_looked_at_any_more,
    a_call_that_was_one_too_many_is_made_later_and_is_no_attempt,
);

/// Two tools that are looked at side by side, and a step after them.
const TWO: &str = r#"
name: two
input:
  type: object
  required: [looks, ms]
  properties: { looks: { type: integer }, ms: { type: integer } }
steps:
  - { name: one, tool: fake.look, needs: [], params: { looks: "${input.looks}", ms: "${input.ms}" } }
  - { name: other, tool: fake.look, needs: [], params: { looks: 2, ms: 60 }, expect: result.success }
  - { name: after, tool: demo.echo, needs: [one, other], params: { seen: "${steps.one.seen + steps.other.seen}" } }
output: "${steps.after.seen}"
"#;

const SLOW: &str = r#"
name: slow_look
steps:
  - { name: wait, tool: fake.look, params: { looks: 1000, ms: 100 }, timeoutMs: 3000 }
"#;

const ENDLESS: &str = r#"
name: endless
steps:
  - { name: wait, tool: fake.look, params: { looks: 2, ms: 3600000 } }
"#;

const LIMITED: &str = r#"
name: limited
input: { type: object, required: [times, ms], properties: { times: { type: integer }, ms: { type: integer } } }
steps:
  - { name: call, tool: fake.limited, params: { times: "${input.times}", ms: "${input.ms}" } }
"#;

/// The scene with the tool server that misbehaves on request.
fn prepare(scene: &Scene, workflows: &[(&str, &str)]) {
    let fake =
        Path::new(env!("CARGO_BIN_EXE_windlass")).with_file_name("examples/fake_tool_server");
    let arguments = json!(["normal", "--ledger", scene.ledger("looks")]);
    let servers = json!({ "mcpServers": { "fake": { "command": fake, "args": arguments } } });
    scene.project.write(".mcp.json", &servers.to_string());
    scene.project.write("windlass.toml", "mcp_config = ['.mcp.json']\n");
    for (name, text) in workflows {
        scene.project.write(&format!("workflows/{name}.yaml"), text);
    }
}

fn step<'e>(execution: &'e Value, name: &str) -> &'e Value {
    let steps = execution["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()
}

fn status(door: &mut Client, id: &str) -> Value {
    door.call_ok("workflow.status", json!({ "execution_id": id }))
}

/// The looks of one step, each as how often it was called by then.
fn looks(scene: &Scene, step: &str) -> Vec<u32> {
    let lines = counted(&scene.ledger("looks"));
    let of_step = lines.iter().filter(|line| line.contains(&format!("/{step}#")));
    of_step.map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect()
}

fn a_tool_is_looked_at_until_it_is_done_although_the_worker_is_killed_between_looks(scene: &Scene) {
    prepare(scene, &[("two", TWO)]);
    let mut door = scene.door();
    let id = begin(&mut door, "two", json!({ "looks": 6, "ms": 300 }));
    let waiting = eventually(SOON, "a look that says how it is", || {
        let status = status(&mut door, &id);
        let waits = step(&status, "one")["waits"].as_str()?;
        waits.contains("not done yet: 2 of 6; looks again at 20").then_some(status)
    });
    assert_eq!(waiting["status"], "waiting", "{waiting:#}");
    assert!(waiting["waiting_for"].is_null(), "nobody has to do anything: {waiting:#}");
    assert!(step(&waiting, "one").get("attempts").is_none(), "a look is no attempt");
    // Between two looks the worker holds nothing; the next one finds the row.
    assert_eq!(scene.project.kill_workers(), 1);
    let before = looks(scene, "one").len();
    let ended = settled(&mut door, &id);
    assert_eq!(ended["output"], 8, "{ended:#}");
    assert!(before < 6 && looks(scene, "one").len() == 6, "{:?}", looks(scene, "one"));
    assert_eq!(looks(scene, "other").len(), 2);
    let keys: BTreeSet<String> = counted(&scene.ledger("looks"))
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 2, "each step looks with one key");
    // However often it was looked: one event says so for each of the two steps, and one row.
    let events = "SELECT COUNT(*) FROM events WHERE kind = 'polling_started'";
    assert_eq!(scene.number(events), 2);
    assert_eq!(scene.number("SELECT COUNT(*) FROM events"), 11);
    assert_eq!(scene.number("SELECT COUNT(*) FROM looks"), 2);
}

fn looks_go_on_wherever_the_process_dies(scene: &Scene) {
    prepare(scene, &[("two", TWO)]);
    for point in POINTS {
        for count in [2, 3, 4, 5] {
            let key = format!("{point}-{count}");
            let input = json!({ "looks": 4, "ms": 50 });
            let run = Run { workflow: "two", key: &key, input };
            let first = scene.run(&run, Some((point, count)));
            assert!(was_killed(&first), "{key}: {first:#?}");
            scene.let_leases_run_out();
            let execution = execution_of(&scene.run(&run, None));
            assert_eq!(execution["status"], "completed", "{key}: {execution:#}");
            let seen = execution["output"].as_u64().unwrap();
            // What was seen by a process that died before it wrote it down was looked at once more.
            assert!((6..=8).contains(&seen), "{key}: {execution:#}");
            for name in ["one", "other"] {
                assert_eq!(step(&execution, name)["attempts"], 1, "{key}: {execution:#}");
            }
        }
    }
}

fn what_is_not_done_in_time_fails_and_what_is_cancelled_is_not_looked_at_any_more(scene: &Scene) {
    prepare(scene, &[("slow_look", SLOW), ("endless", ENDLESS)]);
    let mut door = scene.door();
    // The tool server starts before anything of this test is bounded by time.
    let endless = begin(&mut door, "endless", json!({}));
    eventually(SOON, "the first look", || {
        step(&status(&mut door, &endless), "wait")["waits"].as_str().map(str::to_owned)
    });
    let slow = begin(&mut door, "slow_look", json!({}));
    let failed = settled(&mut door, &slow);
    assert_eq!(
        (&failed["error"]["step"], &failed["error"]["code"]),
        (&json!("wait"), &json!("timeout"))
    );
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("was not done within 3000 ms; it said last: "), "{why}");
    door.call_ok("workflow.control", json!({ "execution_id": endless, "action": "cancel" }));
    assert_eq!(settled(&mut door, &endless)["status"], "cancelled");
    let lines = fs::read_to_string(scene.ledger("looks")).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains(&endless)).count(), 1, "{lines}");
}

fn a_call_that_was_one_too_many_is_made_later_and_is_no_attempt(scene: &Scene) {
    prepare(scene, &[("limited", LIMITED)]);
    let mut door = scene.door();
    let id = begin(&mut door, "limited", json!({ "times": 2, "ms": 1500 }));
    let waiting = eventually(SOON, "the limit to be told", || {
        let status = status(&mut door, &id);
        let waits = step(&status, "call")["waits"].as_str()?;
        waits.starts_with("rate limited until 20").then_some(status)
    });
    assert_eq!(waiting["status"], "waiting", "{waiting:#}");
    assert_eq!(scene.project.kill_workers(), 1);
    let shown = scene.project.run_ok(&["status", &id]);
    assert!(shown.contains("rate limited until 20"), "{shown}");
    let ended = settled(&mut door, &id);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    assert!(step(&ended, "call").get("attempts").is_none(), "{ended:#}");
    assert_eq!(ended["output"]["meta"]["dev.windlass/attempt"], 3, "each call is counted");
    let lines = counted(&scene.ledger("looks"));
    assert_eq!(lines.len(), 3, "{lines:?}");
}
