//! Environments that a workflow of GitHub Actions deploys to.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{connect, hosted, step, wait};
use crate::harness::{Client, request};

/// The runs of one workflow, and whether the answer to the next dispatch gets lost.
#[derive(Default)]
struct Actions {
    runs: Vec<Value>,
    loses_answer: bool,
}

type Shared = Arc<Mutex<Actions>>;

async fn dispatch(
    State(actions): State<Shared>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    assert_eq!((&body["ref"], &body["return_run_details"]), (&json!("main"), &json!(true)));
    let mut actions = actions.lock().unwrap();
    let id = 100 + actions.runs.len();
    let url = format!("https://github.example/runs/{id}");
    let title = format!("Deploy {} {}", body["inputs"]["version"], body["inputs"]["key"]);
    actions.runs.push(json!({
        "id": id, "status": "in_progress", "conclusion": null, "html_url": url, "display_title": title,
    }));
    if std::mem::take(&mut actions.loses_answer) {
        return (StatusCode::BAD_GATEWAY, Json(json!("lost")));
    }
    (StatusCode::OK, Json(json!({ "workflow_run_id": id, "html_url": url })))
}

async fn runs(State(actions): State<Shared>) -> Json<Value> {
    Json(json!({ "workflow_runs": actions.lock().unwrap().runs }))
}

async fn run(State(actions): State<Shared>, Path(id): Path<u64>) -> Json<Value> {
    let actions = actions.lock().unwrap();
    Json(actions.runs.iter().find(|run| run["id"] == id).unwrap().clone())
}

async fn start(more: Value) -> (Shared, Client) {
    let actions = Shared::default();
    let router = Router::new()
        .route("/repos/octo/app", get(|| async { Json(json!({ "default_branch": "main" })) }))
        .route("/repos/octo/app/actions/workflows/deploy.yml/dispatches", post(dispatch))
        .route("/repos/octo/app/actions/workflows/deploy.yml/runs", get(runs))
        .route("/repos/octo/app/actions/runs/{id}", get(run))
        .with_state(Arc::clone(&actions));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut own = json!({
        "kind": "github_workflow", "repo": "octo/app", "workflow": "deploy.yml",
        "inputs": { "version": "{{version}}" }, "api_url": format!("http://{address}"),
    });
    own.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let config = json!({ "targets": { "app": { "environments": { "preview": own } } } });
    (actions, connect(config, &hosted(&[("GITHUB_TOKEN", "ghp_0123456789abcdef")])).await)
}

fn deploy() -> Value {
    json!({ "app": "app", "version": "1.0" })
}

#[tokio::test]
async fn a_run_is_started_followed_and_its_conclusion_decides() {
    for (conclusion, success, status) in [
        ("success", true, "succeeded"),
        ("failure", false, "failed"),
        ("cancelled", false, "stopped"),
    ] {
        let (actions, client) = start(json!({})).await;
        let begun = client.ok(step("deploy", deploy(), 1, 1)).await;
        assert_eq!(begun["url"], "https://github.example/runs/100");
        let id = json!({ "deployment_id": begun["deployment_id"] });
        let open = client.ok(request("waitForDeployment", id.clone())).await;
        assert_eq!((&open["done"], &open["status"]), (&json!(false), &json!("in_progress")));
        {
            let run = &mut actions.lock().unwrap().runs[0];
            (run["status"], run["conclusion"]) = (json!("completed"), json!(conclusion));
        }
        let ended = wait(&client, id).await;
        assert_eq!((&ended["success"], &ended["status"]), (&json!(success), &json!(status)));
    }
}

#[tokio::test]
async fn a_run_whose_answer_was_lost_is_found_and_not_started_again() {
    for more in [json!({}), json!({ "key_input": "key" })] {
        let (actions, client) = start(more).await;
        actions.lock().unwrap().loses_answer = true;
        let error = client.error(step("deploy", deploy(), 1, 1)).await;
        assert_eq!(error["retryable"], true, "{error}");
        let again = client.ok(step("deploy", deploy(), 1, 2)).await;
        assert_eq!(again["url"], "https://github.example/runs/100");
        assert_eq!(actions.lock().unwrap().runs.len(), 1);
    }
}
