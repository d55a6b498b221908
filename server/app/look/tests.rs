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
    let (lines, _) = outline(workflow, rows, status);
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
    let instance = |number: usize| match number {
        7 => row("fan[7]", "failed"),
        number => row(&format!("fan[{number}]"), "completed"),
    };
    let rows = [row("fan", "running")].into_iter().chain((0..MOST_INSTANCES + 50).map(instance));
    let (lines, more) = outline(&workflow, rows.collect(), "running");
    assert_eq!(more, 50);
    let views: Vec<_> = lines.into_iter().map(|line| line.view(&workflow, None)).collect();
    assert_eq!(json!(views[0].instances), json!({ "completed": MOST_INSTANCES + 49, "failed": 1 }));
    assert!(views.iter().any(|view| view.name == "fan[7]"), "what failed is shown");
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

#[test]
fn of_thousands_of_instances_those_are_shown_that_need_somebody() {
    let workflow = workflow(json!([{ "name": "fan", "forEach": "${[1]}", "tool": "x.y" }]));
    let status = |number: usize| if number == 4_321 { "uncertain" } else { "completed" };
    let rows = (0..5_000).map(|number| row(&format!("fan[{number}]"), status(number))).collect();
    let (lines, more) = outline(&workflow, rows, "waiting");
    assert_eq!((lines.len(), more), (MOST_INSTANCES + 1, 5_000 - MOST_INSTANCES));
    assert!(lines.iter().any(|line| line.path == "fan[4321]"));
    assert_eq!(lines[0].path, "fan");
}
