//! Workflows run workflows: each an execution of its own, once, whatever happens to the processes.

use std::fs;

use serde_json::json;

use super::*;
use crate::{
    durability::{Run, SLOW, Scene, was_killed},
    harness::{begin, eventually, settled},
};

on_both_databases!(
    a_step_results_in_what_its_workflow_results_in,
    a_step_fails_with_what_its_workflow_fails_with,
    a_workflow_that_runs_itself_for_ever_is_stopped,
    who_is_cancelled_takes_those_below_along,
    what_is_asked_below_is_shown_above,
    what_a_person_takes_below_counts_against_no_bound_above,
    an_execution_keeps_the_revisions_it_was_started_with,
    instances_may_be_executions,
);

const DOUBLE: &str = r#"
input: { type: object, required: [n], properties: { n: { type: integer }, by: { type: integer, default: 2 } } }
steps:
  - { name: once, tool: demo.echo, params: { n: "${input.n * input.by}" } }
"#;

async fn a_step_results_in_what_its_workflow_results_in(house: House) {
    house.workflow("double", DOUBLE);
    let above = r#"
steps:
  - { name: first, workflow: double, params: { n: 21 } }
  - { name: second, workflow: double, params: { n: "${steps.first.n}", by: 10 } }
"#;
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let execution = ended(&host.app, &id).await;
    assert_eq!(execution.output, Some(json!({ "n": 420 })), "{execution:#?}");
    let first = step(&execution, "first");
    assert_eq!((first.kind.as_str(), first.tool.as_str()), ("workflow", "workflow double"));
    let all = host.app.executions(&agent("local"), 10).await.unwrap().executions;
    let mut names: Vec<_> = all.iter().map(|execution| execution.workflow.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["above", "double", "double"]);
    assert!(all.iter().all(|execution| execution.status == "completed"));
    host.stop().await;
}

async fn a_step_fails_with_what_its_workflow_fails_with(house: House) {
    house.workflow("double", DOUBLE);
    house.workflow(
        "broken",
        "steps:\n  - { name: a, tool: demo.fail, params: { message: no, code: conflict } }\n",
    );
    let above = r#"
steps:
  - { name: bad_input, workflow: double, params: { n: "${'x'}" }, onError: continue }
  - { name: fails, workflow: broken, onError: continue }
output: { input: "${error('bad_input')}", fails: "${error('fails')}" }
"#;
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let output = ended(&host.app, &id).await.output.unwrap();
    assert_eq!(
        (&output["input"]["code"], &output["fails"]["code"]),
        (&json!("invalid_input"), &json!("conflict"))
    );
    let message = output["fails"]["message"].as_str().unwrap();
    assert!(message.starts_with("execution exec_") && message.contains("failed: "), "{message}");
    let message = output["input"]["message"].as_str().unwrap();
    assert!(message.contains("double") && message.contains("/n"), "{message}");
    host.stop().await;
}

async fn a_workflow_that_runs_itself_for_ever_is_stopped(house: House) {
    house.workflow(
        "deeper",
        "steps:\n  - { name: down, workflow: deeper, if: \"execution.id != ''\" }\n",
    );
    let host = house.open().await;
    let id = run(&host.app, "deeper", json!({})).await.execution_id;
    let error = ended(&host.app, &id).await.error.unwrap();
    assert_eq!(error.code, "recursion_limit");
    let all = host.app.executions(&agent("local"), 100).await.unwrap().executions;
    assert_eq!(all.len(), 17, "16 below the first");
    host.stop().await;
}

async fn who_is_cancelled_takes_those_below_along(house: House) {
    house.workflow("naps", "steps:\n  - { name: nap, tool: demo.sleep, params: { ms: 600000 } }\n");
    house.workflow("middle", "steps:\n  - { name: m, workflow: naps }\n");
    house.workflow("above", "steps:\n  - { name: a, workflow: middle }\n");
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let all = async || host.app.executions(&agent("local"), 10).await.unwrap().executions;
    let deadline = Instant::now() + SOON;
    while all().await.len() < 3 {
        assert!(Instant::now() < deadline, "all three begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    host.app.cancel(&agent("local"), &id, Some("enough".into())).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.status, "cancelled");
    assert!(
        all().await.iter().all(|execution| execution.status == "cancelled"),
        "{:#?}",
        all().await
    );
    host.stop().await;
}

async fn what_is_asked_below_is_shown_above(house: House) {
    house.workflow("asks", "steps:\n  - { name: ok, approval: { message: Deploy? } }\n");
    house.workflow("middle", "steps:\n  - { name: m, workflow: asks }\n");
    house.workflow("above", "steps:\n  - { name: a, workflow: middle }\n");
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await;
    assert_ne!(request.execution_id, id);
    let waits = |execution: &Execution| execution.waiting_for.is_some();
    let waiting = until(&host.app, &id, "the answer", waits).await.waiting_for.unwrap();
    let below = &request.execution_id;
    assert!(
        waiting
            .starts_with(&format!("step a: execution {below} waits: approval of step ok: Deploy?")),
        "{waiting}"
    );
    host.app.answer(&terminal(), &request.request_id, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.status, "completed");
    host.stop().await;
}

async fn what_a_person_takes_below_counts_against_no_bound_above(house: House) {
    house.workflow("asks", "steps:\n  - { name: ok, approval: { message: Deploy? } }\n");
    house.workflow("middle", "steps:\n  - { name: m, workflow: asks }\n");
    let above =
        "config: { timeoutMs: 5000 }\nsteps:\n  - { name: a, workflow: middle, timeoutMs: 4000 }\n";
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await;
    tokio::time::sleep(Duration::from_millis(6_000)).await;
    host.app.answer(&terminal(), &request.request_id, approved(), false).await.unwrap();
    let execution = ended(&host.app, &id).await;
    assert_eq!(execution.status, "completed", "{execution:#?}");
    host.stop().await;
}

async fn an_execution_keeps_the_revisions_it_was_started_with(house: House) {
    house.workflow("double", DOUBLE);
    let above = r#"
steps:
  - { name: ok, approval: { message: Now? } }
  - { name: first, workflow: double, params: { n: 1 } }
"#;
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let request = asked(&host.app, &id).await.request_id;
    house.workflow(
        "double",
        "steps:\n  - { name: once, tool: demo.fail, params: { message: changed } }\n",
    );
    host.app.answer(&terminal(), &request, approved(), false).await.unwrap();
    assert_eq!(ended(&host.app, &id).await.output, Some(json!({ "n": 2 })));

    house.workflow("lost", "steps:\n  - { name: a, workflow: duoble }\n");
    let error = try_run(&host.app, "lost", json!({})).await.unwrap_err().to_string();
    assert!(error.contains("duoble") && error.contains("double"), "{error}");
    host.stop().await;
}

async fn instances_may_be_executions(house: House) {
    house.workflow("double", DOUBLE);
    let above = r#"
steps:
  - { name: fan, forEach: "${[1, 2, 3]}", workflow: double, params: { n: "${item}" } }
output: { all: "${steps.fan}" }
"#;
    house.workflow("above", above);
    let host = house.open().await;
    let id = run(&host.app, "above", json!({})).await.execution_id;
    let execution = ended(&host.app, &id).await;
    let all = json!({ "all": [{ "n": 2 }, { "n": 4 }, { "n": 6 }] });
    assert_eq!(execution.output, Some(all), "{execution:#?}");
    let names: Vec<_> = execution.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["fan", "fan[0]", "fan[1]", "fan[2]"]);
    host.stop().await;
}

const ABOVE_SLOW: &str = r#"
name: above
input: { type: object, required: [file, ms], properties: { file: { type: string }, ms: { type: integer } } }
steps:
  - { name: below, workflow: slow, params: { file: "${input.file}", ms: "${input.ms}" } }
"#;

fn those_below_outlive_the_worker(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    scene.project.write("workflows/above.yaml", ABOVE_SLOW);
    let mut door = scene.door();
    let file = scene.ledger("slow");
    let id = begin(&mut door, "above", json!({ "file": file, "ms": 1500 }));
    eventually(SOON, "the first count", || fs::read_to_string(&file).ok());
    assert_eq!(scene.project.kill_workers(), 1);
    let end = settled(&mut door, &id);
    assert_eq!(end["output"], json!({ "counted": 2 }), "{end:#}");
    assert_eq!(
        scene.statuses(),
        ["completed", "completed"],
        "the one above and the one below, once each"
    );
}

#[test]
fn those_below_outlive_the_worker_on_sqlite() {
    those_below_outlive_the_worker(&Scene::on_sqlite());
}

#[test]
fn those_below_outlive_the_worker_on_postgres() {
    those_below_outlive_the_worker(&Scene::on_postgres());
}

#[test]
fn a_run_from_the_terminal_drives_those_below_too() {
    let scene = Scene::on_sqlite();
    scene.project.write("workflows/slow.yaml", SLOW);
    scene.project.write("workflows/above.yaml", ABOVE_SLOW);
    let file = format!("file={}", scene.ledger("slow").display());
    scene.project.run_ok(&["run", "above", &file, "ms=1"]);
    assert_eq!(scene.statuses(), ["completed", "completed"]);
}

#[test]
fn a_run_that_comes_after_one_that_died_drives_those_below_too() {
    let scene = Scene::on_sqlite();
    let above = "name: above\nsteps: [{ name: part, workflow: said }]\n";
    scene.project.write("workflows/above.yaml", above);
    let said = "name: said\nsteps: [{ name: a, tool: demo.echo }]\n";
    scene.project.write("workflows/said.yaml", said);
    let run = Run { workflow: "above", key: "once", input: json!({}) };
    let died = scene.run(&run, Some(("after_call", 1)));
    assert!(was_killed(&died), "{died:#?}");
    scene.let_leases_run_out();
    scene.run(&run, None).expect(0);
    assert_eq!(scene.statuses(), ["completed", "completed"]);
}
