//! Environments that are deployed to by commands.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{connect, hosted, step, wait};
use crate::harness::{Client, DEADLINE, request};

const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case "$1" in
deploy)
  echo "$2" >> deployed
  env | sort > environment
  [ "$2" = broken ] && { echo "no such image" >&2; exit 3; }
  echo '{"not": "last"}'
  echo "{\"version\": \"$2\", \"url\": \"http://laptop/$2\"}"
  echo done
  ;;
status) echo "{\"version\": \"$(tail -n 1 deployed)\"}"; [ ! -e sick ] ;;
rollback) echo "back to $2" >> deployed ;;
hang) sleep 600 & echo $! > child; echo $$ > leader; wait ;;
esac
"#;

struct Laptop {
    directory: TempDir,
    client: Client,
}

/// An environment whose commands are this script's; `more` changes its configuration.
async fn laptop(more: Value) -> Laptop {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, SCRIPT).unwrap();
    let script = script.to_str().unwrap().to_owned();
    let mut own = json!({
        "kind": "command", "deploy": ["sh", script, "deploy", "{{version}}"], "status": ["sh", script, "status"],
        "rollback": ["sh", script, "rollback", "{{previous.version}}"], "env": ["MY_TOKEN"],
    });
    own.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let text = own.to_string().replace("SCRIPT", &script);
    let own: Value = serde_json::from_str(&text).unwrap();
    let path = std::env::var("PATH").unwrap();
    let variables = [("PATH", path.as_str()), ("MY_TOKEN", "s3cr3t-token"), ("OTHER_SECRET", "no")];
    let config = json!({ "targets": { "app": { "environments": { "laptop": own } } } });
    let client = connect(config, &hosted(&variables)).await;
    Laptop { directory, client }
}

impl Laptop {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

fn deploy(version: &str) -> Value {
    json!({ "app": "app", "version": version })
}

#[tokio::test]
async fn a_command_deploys_and_its_last_json_line_is_the_output() {
    let laptop = laptop(json!({})).await;
    let begun = laptop.client.ok(step("deploy", deploy("1.0"), 1, 1)).await;
    assert_eq!(
        (&begun["status"], &begun["url"]),
        (&json!("succeeded"), &json!("http://laptop/1.0"))
    );
    assert_eq!(begun["output"]["version"], "1.0");
    let ended = wait(&laptop.client, json!({ "deployment_id": begun["deployment_id"] })).await;
    assert_eq!(ended["success"], true);
    let variables = laptop.read("environment");
    for expected in [
        "MY_TOKEN=s3cr3t-token",
        "WINDLASS_APP=app",
        "WINDLASS_EXECUTION_ID=exec_1",
        "WINDLASS_IDEMPOTENCY_KEY=exec_1/step1#0~0",
        "WINDLASS_VERSION=1.0",
    ] {
        assert!(variables.contains(expected), "{variables}");
    }
    assert!(!variables.contains("OTHER_SECRET") && !variables.contains("CARGO"), "{variables}");
    let status = laptop.client.ok(request("getServiceStatus", json!({ "app": "app" }))).await;
    assert_eq!((&status["health"], &status["version"]), (&json!("healthy"), &json!("1.0")));
    std::fs::write(laptop.directory.path().join("sick"), "").unwrap();
    let status = laptop.client.ok(request("getServiceStatus", json!({ "app": "app" }))).await;
    assert_eq!(status["health"], "degraded");
    let ended = wait(&laptop.client, json!({ "deployment_id": begun["deployment_id"] })).await;
    assert_eq!(ended["success"], false, "what its status command calls ill did not succeed");
}

#[tokio::test]
async fn a_command_that_fails_says_why_and_can_be_run_again() {
    let laptop = laptop(json!({})).await;
    let error = laptop.client.error(step("deploy", deploy("broken"), 1, 1)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["reason"]),
        (&json!("failed_precondition"), &json!("command_failed"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exit code 3") && message.contains("no such image"), "{message}");
    let list = laptop.client.ok(request("listDeployments", json!({ "app": "app" }))).await;
    assert_eq!(list["items"][0]["status"], "failed");
    laptop.client.error(step("deploy", deploy("broken"), 1, 2)).await;
    assert_eq!(
        laptop.read("deployed"),
        "broken\nbroken\n",
        "a failure that is known is tried again"
    );
}

#[tokio::test]
async fn a_rollback_runs_its_own_command_with_the_version_before() {
    let laptop = laptop(json!({})).await;
    for (number, version) in [(1, "1.0"), (2, "2.0")] {
        laptop.client.ok(step("deploy", deploy(version), number, 1)).await;
    }
    let back = laptop.client.ok(step("rollbackService", json!({ "app": "app" }), 3, 1)).await;
    assert_eq!((&back["to"], &back["from"]), (&json!("1.0"), &json!("2.0")));
    assert_eq!(laptop.read("deployed"), "1.0\n2.0\nback to 1.0\n");
    let again = laptop.client.ok(step("rollbackService", json!({ "app": "app" }), 3, 2)).await;
    assert_eq!(again["created"], false);
    assert_eq!(laptop.read("deployed"), "1.0\n2.0\nback to 1.0\n");
}

/// Waits until a file has a number in it.
async fn number_in(path: &Path) -> i32 {
    tokio::time::timeout(DEADLINE, async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if let Ok(number) = text.trim().parse() {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the command to start in time")
}

async fn is_gone(process: i32) {
    tokio::time::timeout(DEADLINE, async {
        loop {
            let status =
                std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // A zombie is dead; who started it has not been told yet.
            if status.is_empty() || status.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the process to end in time");
}

#[tokio::test]
async fn a_command_is_ended_with_all_its_children_when_nobody_waits_any_more() {
    let laptop = laptop(json!({ "deploy": ["sh", "SCRIPT", "hang"], "status": [] })).await;
    let path = |name: &str| laptop.directory.path().join(name);
    let (leader, child) = {
        let call = laptop.client.raw(step("deploy", deploy("1.0"), 1, 1));
        let started = async { (number_in(&path("leader")).await, number_in(&path("child")).await) };
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            started = started => started,
        }
    };
    // The connection ends, and the call with it.
    laptop.client.client.cancel().await.unwrap();
    is_gone(leader).await;
    is_gone(child).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_and_its_outcome_is_unknown() {
    let more = json!({ "deploy": ["sh", "SCRIPT", "hang"], "status": [], "timeout_seconds": 1 });
    let laptop = laptop(more).await;
    let error = laptop.client.error(step("deploy", deploy("1.0"), 1, 1)).await;
    assert_eq!(error["code"], "outcome_unknown");
    is_gone(number_in(&laptop.directory.path().join("child")).await).await;
    let again = laptop.client.error(step("deploy", deploy("1.0"), 1, 2)).await;
    assert_eq!((&again["code"], &again["retryable"]), (&json!("outcome_unknown"), &json!(false)));
    assert!(again["hint"].as_str().unwrap().contains("idempotent = true"), "{again}");
}

#[tokio::test]
async fn what_a_command_said_is_shown_without_its_secrets() {
    let more = json!({ "deploy": ["sh", "-c", "echo token $MY_TOKEN >&2; exit 1"] });
    let laptop = laptop(more).await;
    let error = laptop.client.error(step("deploy", deploy("1.0"), 1, 1)).await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("[redacted]") && !message.contains("s3cr3t"), "{message}");
}
