//! Executions as a door's client has them: begun, and followed to their end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Client;

/// What no execution of the tests takes, even after a lease had to run out.
const ENOUGH: Duration = Duration::from_secs(30);

/// Starts a workflow without waiting for it, and returns the execution's id.
pub fn begin(door: &mut Client, workflow: &str, input: Value) -> String {
    let arguments = json!({ "workflow": workflow, "input": input, "wait_seconds": 0 });
    let begun = door.call_ok("workflow.run", arguments);
    begun["execution_id"].as_str().unwrap().to_owned()
}

/// Waits through a door until an execution has ended or needs somebody.
pub fn settled(door: &mut Client, execution_id: &str) -> Value {
    let until = Instant::now() + ENOUGH;
    let mut since = 0;
    loop {
        let arguments = json!({ "execution_id": execution_id, "since": since, "wait_seconds": 20 });
        let known = door.call_ok("workflow.status", arguments);
        let status = known["status"].as_str().unwrap();
        if ["completed", "failed", "cancelled"].contains(&status)
            || known["waiting_for"].is_string()
        {
            return known;
        }
        assert!(Instant::now() < until, "it does not end: {known:#}");
        since = known["version"].as_i64().unwrap();
    }
}
