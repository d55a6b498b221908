//! Any server answers any call, and a cancel finds the one that holds what it is about.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{LEASE, Scene, counted, step_is, worker::SLOW};
use crate::harness::{Client, HttpServer, SOON, begin, eventually, settled};

on_both!(
    any_of_three_servers_answers_any_call,
    a_cancel_reaches_the_tool_that_another_server_called,
    a_call_that_is_out_keeps_its_lease,
);

const ROLL_OUT: &str = r#"
name: roll_out
steps:
  - { name: approve, approval: { message: 'Deploy?' } }
  - { name: nap, tool: demo.sleep, params: { ms: 60000 } }
output: { done: true }
"#;

const CALLS_OUT: &str = r#"
name: calls_out
steps:
  - { name: nap, tool: fake.slow, params: { ms: 600000 } }
"#;

fn modern(server: &HttpServer) -> Client {
    server.client().modern().with_deadline(2 * LEASE)
}

fn any_of_three_servers_answers_any_call(scene: &Scene) {
    scene.project.write("workflows/roll_out.yaml", ROLL_OUT);
    scene.project.write("windlass.toml", "[approvals]\nagents_may_answer = true\n");
    let [first, second, third] = [(); 3].map(|()| scene.project.serve_http());
    let [mut a, mut b, mut c] = [&first, &second, &third].map(modern);
    let id = begin(&mut a, "roll_out", json!({}));
    // Each waits at another server than the one that has something to tell.
    let waiting = settled(&mut b, &id);
    assert_eq!(waiting["status"], "waiting", "{waiting:#}");
    let request = &waiting["requests"][0]["request_id"];
    c.call_ok("workflow.answer", json!({ "request_id": request, "decision": "approve" }));
    step_is(&mut b, &id, "nap", "running");
    let listed = a.call_ok("workflow.status", json!({}));
    assert_eq!(listed["executions"][0]["execution_id"], id.as_str(), "{listed:#}");
    b.call_ok("workflow.control", json!({ "execution_id": id, "action": "cancel" }));
    for client in [&mut c, &mut a] {
        assert_eq!(settled(client, &id)["status"], "cancelled");
    }
}

/// On Postgres the cancel is rung there; on SQLite the renewal of the lease brings it.
fn a_cancel_reaches_the_tool_that_another_server_called(scene: &Scene) {
    let fake =
        Path::new(env!("CARGO_BIN_EXE_windlass")).with_file_name("examples/fake_tool_server");
    let arguments = json!(["normal", "--ledger", scene.ledger("calls")]);
    let servers = json!({ "mcpServers": { "fake": { "command": fake, "args": arguments } } });
    scene.project.write(".mcp.json", &servers.to_string());
    scene.project.write("windlass.toml", "mcp_config = ['.mcp.json']\n");
    scene.project.write("workflows/calls_out.yaml", CALLS_OUT);
    let (first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut a = modern(&first);
    let id = begin(&mut a, "calls_out", json!({}));
    step_is(&mut a, &id, "nap", "running");
    let arrived = scene.ledger("calls").with_extension("ledger.arrived");
    eventually(SOON, "the call to be at the tool server", || arrived.exists().then_some(()));
    let cancel = json!({ "execution_id": id, "action": "cancel" });
    let mut b = modern(&second);
    b.call_ok("workflow.control", cancel);
    eventually(SOON, "the tool server to hear of the cancel", || {
        counted(&scene.ledger("calls")).contains(&"cancelled slow".to_owned()).then_some(())
    });
    assert_eq!(settled(&mut b, &id)["status"], "cancelled");
    assert_eq!(scene.number("SELECT lease_epoch FROM executions"), 1, "nobody had to take over");
}

fn a_call_that_is_out_keeps_its_lease(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let (first, _second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut client = modern(&first);
    let input = json!({ "file": scene.ledger("slow"), "ms": 600_000 });
    let id = begin(&mut client, "slow", input);
    step_is(&mut client, &id, "nap", "running");
    let until = || scene.number("SELECT lease_until FROM executions");
    let before = until();
    eventually(SOON, "the lease to be renewed", || (before < until()).then_some(()));
    assert_eq!(scene.number("SELECT lease_epoch FROM executions"), 1);
    assert_eq!(step(&mut client, &id, "nap"), "running");
}

fn step(client: &mut Client, id: &str, name: &str) -> Value {
    let known = client.call_ok("workflow.status", json!({ "execution_id": id }));
    let steps = known["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap()["status"].clone()
}
