//! What has begun, what is to come, and in which order they are listed.

use serde_json::json;
use windlass_engine::parse;

use super::*;

fn workflow(steps: Value) -> Workflow {
    parse(&json!({ "name": "w", "steps": steps }).to_string()).unwrap()
}

fn row(step: &str, status: &str) -> StepRow {
    StepRow {
        step: step.to_owned(),
        tool: "x.y".to_owned(),
        status: status.to_owned(),
        attempts: 1,
        started_at: None,
        ended_at: None,
        error: None,
        output_seq: None,
        params_seq: None,
    }
}

fn listed(workflow: &Workflow, rows: &[(&str, &str)], status: &str) -> Vec<String> {
    let rows = rows.iter().map(|(step, status)| row(step, status)).collect();
    let lines = outline(workflow, rows, status);
    let views = lines.into_iter().map(|line| line.view(workflow, None));
    views.map(|view| format!("{} {}", view.name, view.status)).collect()
}

#[test]
fn what_has_not_begun_may_still_or_was_left_out() {
    let workflow =
        workflow(json!([{ "name": "a", "tool": "x.y" }, { "name": "b", "tool": "x.y" }]));
    for (status, b) in [
        ("running", "pending"),
        ("completed", "skipped"),
        ("failed", "cancelled"),
        ("cancelled", "cancelled"),
    ] {
        let expected = ["a failed".to_owned(), format!("b {b}")];
        assert_eq!(listed(&workflow, &[("a", "failed")], status), expected);
    }
}
