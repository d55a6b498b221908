//! The official SDKs' clients, old and new, run a workflow over both transports and see the same.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::harness::{Project, SOON, run};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

const HELLO: &str = r#"
name: hello
description: Greets somebody.
input:
  type: object
  required: [name]
  properties:
    name: { type: string }
steps:
  - name: greet
    tool: demo.echo
    params: { text: "Hello, ${input.name}!" }
output: { greeting: "${steps.greet.text}" }
"#;

#[test]
fn typescript_sdk_2_runs_a_workflow_over_stdio() {
    over_stdio(typescript("client-v2.ts"), MODERN);
}

#[test]
fn typescript_sdk_2_runs_a_workflow_over_http() {
    over_http(typescript("client-v2.ts"), MODERN);
}

#[test]
fn typescript_sdk_1_runs_a_workflow_over_stdio() {
    over_stdio(typescript("client-v1.ts"), LEGACY);
}

#[test]
fn typescript_sdk_1_runs_a_workflow_over_http() {
    over_http(typescript("client-v1.ts"), LEGACY);
}

#[test]
fn python_sdk_2_runs_a_workflow_over_stdio() {
    over_stdio(python("python-v2", "client_v2.py"), MODERN);
}

#[test]
fn python_sdk_2_runs_a_workflow_over_http() {
    over_http(python("python-v2", "client_v2.py"), MODERN);
}

#[test]
fn python_sdk_1_runs_a_workflow_over_stdio() {
    over_stdio(python("python-v1", "client_v1.py"), LEGACY);
}

#[test]
fn python_sdk_1_runs_a_workflow_over_http() {
    over_http(python("python-v1", "client_v1.py"), LEGACY);
}

fn over_stdio(mut client: Command, protocol_version: &str) {
    let project = Project::new().with_workflow("hello", HELLO);
    client.args([env!("CARGO_BIN_EXE_windlass"), "serve"]);
    check(&said_by(&project, &mut client), protocol_version);
}

fn over_http(mut client: Command, protocol_version: &str) {
    let project = Project::new().with_workflow("hello", HELLO);
    let server = project.serve_http();
    client.arg(format!("{}/mcp", server.address));
    check(&said_by(&project, &mut client), protocol_version);
}

fn said_by(project: &Project, client: &mut Command) -> Value {
    project.isolate(client);
    let ended = run(client, 3 * SOON);
    assert!(ended.status.success(), "{client:?} failed: {ended:#?}");
    ended.json()
}

fn check(said: &Value, protocol_version: &str) {
    assert_eq!(said["protocol_version"], protocol_version);
    assert_eq!(said["server"]["name"], "windlass");
    for tool in ["workflow.run", "workflow.status"] {
        assert!(
            said["tools"].as_array().unwrap().contains(&json!(tool)),
            "{tool} is not in {said}"
        );
    }
    assert_eq!(said["run"]["execution_id"], said["status"]["execution_id"]);
    assert_eq!(said["status"]["status"], "completed", "{said}");
    assert_eq!(said["status"]["output"], json!({ "greeting": "Hello, Ada!" }));
}

fn typescript(client: &str) -> Command {
    let folder = root().join("tests/clients/typescript");
    let mut node = Command::new(installed(folder.join("node_modules/.bin/node")));
    node.arg(folder.join(client));
    node
}

fn python(environment: &str, client: &str) -> Command {
    let python = installed(root().join(".cache").join(environment).join("bin/python"));
    let mut python = Command::new(python);
    python.arg(root().join("tests/clients/python").join(client));
    python
}

fn installed(program: PathBuf) -> PathBuf {
    assert!(program.exists(), "{} is missing: run ./test, which installs it", program.display());
    program
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
