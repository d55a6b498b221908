//! The demo tools do what workflow authors are told they do.

use std::time::Duration;

use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest};
use rmcp::service::PeerRequestOptions;
use serde_json::{Value, json};
use windlass_tools::demo;

use crate::harness::{Client, request};

#[tokio::test]
async fn each_demo_tool_says_what_may_be_done_when_its_outcome_is_unknown() {
    let client = Client::connect(demo()).await;
    let class =
        |name: &str| client.tool(name).meta.as_ref().unwrap()["dev.windlass/retry_class"].clone();
    let expected = [
        ("echo", "read"),
        ("noop", "idempotent"),
        ("sleep", "read"),
        ("fail", "read"),
        ("text", "read"),
        ("count", "unsafe"),
        ("count_keyed", "keyed"),
    ];
    for (name, word) in expected {
        assert_eq!(class(name), word, "{name}");
    }
    let hints = client.tool("count").annotations.clone().unwrap();
    assert_eq!((hints.read_only_hint, hints.idempotent_hint), (Some(false), Some(false)));
    assert_eq!((hints.destructive_hint, hints.open_world_hint), (Some(false), Some(false)));
}

#[tokio::test]
async fn echo_returns_what_it_was_given() {
    let client = Client::connect(demo()).await;
    let given =
        json!({ "b": [1, null, "ghp_0123456789abcdef"], "a": { "deep": true }, "runId": "x" });
    assert_eq!(client.ok(request("echo", given.clone())).await, given);
    assert_eq!(client.ok(request("noop", json!({}))).await, json!({ "ok": true }));
}

#[tokio::test]
async fn fail_fails_as_it_is_told() {
    let client = Client::connect(demo()).await;
    let error = client.error(request("fail", json!({ "message": "no" }))).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("failed_precondition"), &json!(false))
    );
    let given = json!({ "message": "later", "code": "rate_limited", "retry_after_ms": 50 });
    let error = client.error(request("fail", given)).await;
    assert_eq!((&error["retryable"], &error["retry_after_ms"]), (&json!(true), &json!(50)));
    let given = json!({ "message": "x", "code": "unavailable", "retryable": "false" });
    assert_eq!(client.error(request("fail", given)).await["retryable"], false);
    let error = client.error(request("fail", json!({ "message": "x", "code": "boom" }))).await;
    assert_eq!(error["code"], "invalid_argument");
}

#[tokio::test]
async fn text_is_as_long_as_asked_for() {
    let client = Client::connect(demo()).await;
    for bytes in [0, 7, 100_000] {
        let answer = client.ok(request("text", json!({ "bytes": bytes }))).await;
        assert_eq!(answer["text"].as_str().map(str::len), Some(bytes));
    }
}

#[tokio::test]
async fn a_plain_count_counts_every_call_and_a_keyed_one_each_key_once() {
    let client = Client::connect(demo()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("calls");
    let count = |tool| request(tool, json!({ "file": file }));
    assert_eq!(
        client.ok(count("count").attempt("k1", 1)).await,
        json!({ "count": 1, "created": true })
    );
    assert_eq!(
        client.ok(count("count").attempt("k1", 2)).await,
        json!({ "count": 2, "created": true })
    );
    assert_eq!(
        client.ok(count("count_keyed").attempt("k2", 1)).await,
        json!({ "count": 3, "created": true })
    );
    assert_eq!(
        client.ok(count("count_keyed").attempt("k2", 2)).await,
        json!({ "count": 3, "created": false })
    );
    assert_eq!(client.ok(count("count_keyed")).await, json!({ "count": 4, "created": true }));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "k1\nk1\nk2\n-\n");
    let error = client.error(request("count", json!({ "file": "/no/such/directory/x" }))).await;
    assert_eq!(error["code"], "invalid_argument");
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_refused_with_a_guess() {
    let client = Client::connect(demo()).await;
    let error = client.raw(request("ecko", json!({}))).await.unwrap_err().to_string();
    assert!(error.contains("did you mean \"echo\"?"), "{error}");
}

#[tokio::test]
async fn sleep_tells_how_far_it_is_and_ends_in_time() {
    let client = Client::connect(demo()).await;
    let answer = client.ok(request("sleep", json!({ "ms": "20" }))).await;
    assert_eq!(answer, json!({ "slept_ms": 20 }));
    let error = client.error(request("sleep", json!({ "ms": -1 }))).await;
    assert!(error["message"].as_str().unwrap().contains("/ms"), "{error}");
}

#[tokio::test]
async fn a_sleep_that_is_cancelled_leaves_the_server_free() {
    let client = Client::connect(demo()).await;
    let arguments = json!({ "ms": 3_600_000 }).as_object().cloned().unwrap();
    let call = CallToolRequest::new(CallToolRequestParams::new("sleep").with_arguments(arguments));
    let options = PeerRequestOptions::with_timeout(Duration::from_millis(50));
    let handle = client
        .client
        .send_cancellable_request(ClientRequest::CallToolRequest(call), options)
        .await
        .unwrap();
    assert!(handle.await_response().await.is_err());
    assert_eq!(client.ok(request("echo", json!({ "a": 1 }))).await, json!({ "a": 1 }) as Value);
}
