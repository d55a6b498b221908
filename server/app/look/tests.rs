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

#[test]
fn instances_are_counted_even_where_they_are_left_out() {
    let workflow = workflow(json!([
        { "name": "fan", "forEach": "${[1]}", "steps": [{ "name": "a", "tool": "x.y" }] }
    ]));
    let rows = vec![row("fan", "running"), row("fan[7]", "failed")];
    let mut lines = outline(&workflow, rows, "running");
    let counts = [("fan", "completed", 9_999), ("fan", "failed", 1)];
    let counts = counts.map(|(step, status, count)| (step.to_owned(), status.to_owned(), count));
    count_instances(&mut lines, counts.to_vec());
    let views: Vec<_> = lines.into_iter().map(|line| line.view(&workflow, None)).collect();
    assert_eq!(json!(views[0].instances), json!({ "completed": 9_999, "failed": 1 }));
}

#[test]
fn instances_follow_their_step_in_the_order_of_their_numbers() {
    let inner = json!([{ "name": "child", "tool": "x.y" }]);
    let workflow = workflow(json!([
        { "name": "fan", "forEach": "${[1]}", "steps": inner },
        { "name": "group", "steps": [{ "name": "z", "tool": "x.y" }, { "name": "a", "tool": "x.y" }] },
        { "name": "last", "tool": "x.y" },
    ]));
    let rows = [
        ("fan[10]", "running"),
        ("fan[2]/child", "completed"),
        ("fan[2]", "completed"),
        ("fan", "running"),
        ("fan[10]/child", "running"),
        ("last.undo", "running"),
    ];
    let expected = [
        "fan running",
        "fan[2] completed",
        "fan[2]/child completed",
        "fan[10] running",
        "fan[10]/child running",
        "group pending",
        "group/z pending",
        "group/a pending",
        "last pending",
        "last.undo running",
    ];
    assert_eq!(listed(&workflow, &rows, "running"), expected);
}
