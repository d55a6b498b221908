//! Environments that another deployer is asked for over HTTP.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{connect, hosted, step, wait};
use crate::harness::{Client, request};

/// A deployer that keeps what it was asked.
#[derive(Default)]
struct Deployer {
    asked: Vec<(HeaderMap, String)>,
    status: Option<(StatusCode, Value)>,
}

type Shared = Arc<Mutex<Deployer>>;

async fn ask(State(deployer): State<Shared>, headers: HeaderMap, body: String) -> Json<Value> {
    deployer.lock().unwrap().asked.push((headers, body));
    Json(json!({ "id": 7, "url": "https://deployer/7" }))
}

async fn status(
    State(deployer): State<Shared>,
    Path(id): Path<String>,
) -> (StatusCode, Json<Value>) {
    assert_eq!(id, "7");
    let (code, body) = deployer.lock().unwrap().status.clone().unwrap();
    (code, Json(body))
}

async fn start(more: Value) -> (Shared, Client) {
    let deployer = Shared::default();
    let router = Router::new()
        .route("/hooks/app", post(ask))
        .route("/status/{id}", get(status))
        .with_state(Arc::clone(&deployer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut own = json!({
        "kind": "webhook", "url": format!("http://{address}/hooks/app"), "secret_env": "HOOK_SECRET",
        "status_url": format!("http://{address}/status/{{id}}"), "status_pointer": "/state/word",
    });
    own.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let config = json!({ "targets": { "app": { "environments": { "legacy": own } } } });
    (deployer, connect(config, &hosted(&[("HOOK_SECRET", "a secret of a deployer")])).await)
}

fn deploy() -> Value {
    json!({ "app": "app", "version": "1.0", "reason": "why not" })
}

#[tokio::test]
async fn a_deployer_is_asked_once_with_key_and_signature_and_then_followed() {
    let (deployer, client) = start(json!({})).await;
    let begun = client.ok(step("deploy", deploy(), 1, 1)).await;
    assert_eq!(
        (&begun["status"], &begun["url"]),
        (&json!("pending"), &json!("https://deployer/7"))
    );
    {
        let deployer = deployer.lock().unwrap();
        let [(headers, body)] = deployer.asked.as_slice() else { panic!("{:?}", deployer.asked) };
        assert_eq!(headers["idempotency-key"], "exec_1/step1#0~0");
        let (seconds, signature) =
            (&headers["x-windlass-timestamp"], &headers["x-windlass-signature"]);
        let key =
            aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"a secret of a deployer");
        let signed = format!("{}.{body}", seconds.to_str().unwrap());
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature.to_str().unwrap(), format!("v1={hex}"));
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["version"], &body["reason"]), (&json!("1.0"), &json!("why not")));
    }
    let cases = [
        (json!({ "state": { "word": "Working" } }), Value::Null, "in_progress"),
        (json!({ "state": { "word": "FAILED" }, "reason": "out of disk" }), json!(false), "failed"),
    ];
    for (body, success, status) in cases {
        deployer.lock().unwrap().status = Some((StatusCode::OK, body));
        let look = client
            .ok(request("waitForDeployment", json!({ "deployment_id": begun["deployment_id"] })))
            .await;
        assert_eq!((&look["success"], &look["status"]), (&success, &json!(status)));
    }
    let found = client
        .ok(request("getDeployment", json!({ "deployment_id": begun["deployment_id"] })))
        .await;
    assert_eq!(found["reason"], "out of disk");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let (deployer, client) = start(json!({})).await;
    deployer.lock().unwrap().status =
        Some((StatusCode::OK, json!({ "state": { "word": "succeeded" } })));
    for attempt in [1, 2] {
        client.ok(step("deploy", deploy(), 1, attempt)).await;
    }
    assert_eq!(deployer.lock().unwrap().asked.len(), 1, "what was answered is not asked again");
    let ended = wait(&client, json!({ "app": "app" })).await;
    assert_eq!(ended["success"], true);
    deployer.lock().unwrap().status = Some((StatusCode::BAD_GATEWAY, json!("down")));
    client.ok(step("deploy", json!({ "app": "app", "version": "2.0" }), 2, 1)).await;
    let error = client.error(request("waitForDeployment", json!({ "app": "app" }))).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("unavailable"), &json!(true)));
}

#[tokio::test]
async fn without_its_secret_nothing_is_sent() {
    let (deployer, client) = start(json!({ "secret_env": "UNSET_SECRET" })).await;
    let error = client.error(step("deploy", deploy(), 1, 1)).await;
    assert_eq!(error["code"], "unauthenticated");
    assert!(error["hint"].as_str().unwrap().contains("UNSET_SECRET"));
    assert!(deployer.lock().unwrap().asked.is_empty());
}
