//! checkHttp against a server of this test: health, failures, and where no probe may go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use serde_json::{Value, json};
use windlass_tools::contract::{Forgetful, Surroundings};
use windlass_tools::{ObservabilityConfig, observability};

use crate::harness::{Client, request};

/// Healthy from the third look on.
async fn warming_up(State(looks): State<Arc<AtomicUsize>>) -> impl IntoResponse {
    let look = looks.fetch_add(1, Ordering::SeqCst) + 1;
    if look < 3 {
        (StatusCode::SERVICE_UNAVAILABLE, "warming up")
    } else {
        (StatusCode::OK, "ready")
    }
}

async fn start() -> SocketAddr {
    let app = Router::new()
        .route("/ok", get(|| async { r#"{"status":"up","build":7}"# }))
        .route("/warming-up", get(warming_up))
        .route("/slow", get(|| async { std::future::pending::<()>().await }))
        .route("/near", get(|| async { Redirect::temporary("/ok") }))
        .route(
            "/far",
            get(|| async { Redirect::temporary("http://169.254.169.254/latest/meta-data/") }),
        )
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route(
            "/who",
            get(|headers: HeaderMap| async move {
                headers
                    .get("x-token")
                    .map(|value| value.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            }),
        )
        .with_state(Arc::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A server that leads to another one on the same host.
async fn leading_to(other: SocketAddr) -> SocketAddr {
    let to = format!("http://{other}/who");
    let app = Router::new().route("/", get(move || async move { Redirect::temporary(&to) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn client(hosts: &[&str], around: &Surroundings) -> Client {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    let config = ObservabilityConfig { hosts, ..ObservabilityConfig::default() };
    Client::connect(observability(config, around)).await
}

async fn local() -> (SocketAddr, Client) {
    let address = start().await;
    (address, client(&["127.0.0.1:*"], &Surroundings::default()).await)
}

#[tokio::test]
async fn a_healthy_address_is_told_with_its_latency() {
    let (address, client) = local().await;
    let url = format!("http://{address}/ok");
    let body = json!({ "contains": "up", "json_pointer": "/build", "equals": 7 });
    let checked = client.ok(request("checkHttp", json!({ "url": url, "expect_body": body }))).await;
    assert_eq!(
        (&checked["done"], &checked["success"], &checked["ok"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(
        (&checked["status"], &checked["tried"], &checked["failure"]),
        (&json!(200), &json!(1), &Value::Null)
    );
    assert_eq!(checked["attempts"][0]["ok"], true);
    let url = format!("http://{address}/near");
    let checked =
        client.ok(request("checkHttp", json!({ "url": url, "expect_status": "200" }))).await;
    assert_eq!(checked["success"], true);
    let arguments = json!({ "url": format!("http://{address}/who"), "headers": { "X-Token": "seven" }, "expect_body": { "contains": "seven" } });
    assert_eq!(client.ok(request("checkHttp", arguments)).await["success"], true);
}

#[tokio::test]
async fn every_failure_is_told_by_its_kind() {
    let (address, client) = local().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let cases = [
        (json!({ "url": format!("http://{address}/gone") }), "status", "404"),
        (
            json!({ "url": format!("http://{address}/ok"), "expect_body": { "contains": "down" } }),
            "body",
            "does not contain",
        ),
        (
            json!({ "url": format!("http://{address}/ok"), "expect_body": { "json_pointer": "/build", "equals": 8 } }),
            "body",
            "/build is 7, not 8",
        ),
        (
            json!({ "url": format!("http://{address}/who"), "expect_body": { "json_pointer": "/a" } }),
            "body",
            "not JSON",
        ),
        (
            json!({ "url": format!("http://{address}/slow"), "timeout_ms": 100 }),
            "timeout",
            "100 ms",
        ),
        (json!({ "url": format!("http://{closed}/") }), "connect", "refused"),
        (json!({ "url": format!("https://{address}/ok") }), "tls", ""),
        (json!({ "url": format!("http://{address}/loop") }), "status", "redirects"),
    ];
    for (arguments, failure, message) in cases {
        let checked = client.ok(request("checkHttp", arguments)).await;
        assert_eq!(
            (&checked["failure"], &checked["success"]),
            (&json!(failure), &json!(false)),
            "{checked}"
        );
        assert!(checked["message"].as_str().unwrap().contains(message), "{checked}");
    }
    let nowhere = self::client(&["nowhere.invalid"], &Surroundings::default()).await;
    let checked =
        nowhere.ok(request("checkHttp", json!({ "url": "http://nowhere.invalid/" }))).await;
    assert_eq!(checked["failure"], "dns");
}

#[tokio::test]
async fn no_probe_goes_where_it_may_not() {
    let address = start().await;
    let hosts = ["169.254.169.254", "127.0.0.1:*"];
    let client = client(&hosts, &Surroundings::default()).await;
    let cases = [
        ("http://example.com/", "not among the hosts"),
        ("http://169.254.169.254/latest/meta-data/", "never probed"),
        ("http://127.0.0.1.evil.test/", "not among the hosts"),
    ];
    for (url, message) in cases {
        let error = client.error(request("checkHttp", json!({ "url": url }))).await;
        assert_eq!((&error["code"], &error["retryable"]), (&json!("guardrail"), &json!(false)));
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
    let far =
        client.ok(request("checkHttp", json!({ "url": format!("http://{address}/far") }))).await;
    assert_eq!((&far["status"], &far["success"]), (&json!(307), &json!(true)));
    assert_eq!(far["redirect_not_followed"], "http://169.254.169.254/latest/meta-data/");
    let arguments = json!({ "url": format!("http://{address}/far"), "expect_status": "200" });
    assert_eq!(client.ok(request("checkHttp", arguments)).await["failure"], "status");
    let arguments =
        json!({ "url": format!("http://{address}/ok"), "headers": { "host": "other" } });
    let error = client.error(request("checkHttp", arguments)).await;
    assert_eq!(error["code"], "invalid_argument");
}

#[tokio::test]
async fn it_looks_until_it_is_healthy_over_several_calls() {
    let address = start().await;
    let host = Arc::new(Forgetful::default());
    let around = Surroundings { host: Some(host.clone()), ..Surroundings::default() };
    let client = client(&["127.0.0.1:*"], &around).await;
    // Longer than one call may look: each call is one look, and the count is kept between them.
    let arguments = json!({ "url": format!("http://{address}/warming-up"), "until": "healthy", "interval": "10s", "consecutive": 2 });
    let look = || request("checkHttp", arguments.clone()).attempt("exec_1/wait#0", 1);
    for tried in 1..=3 {
        let waiting = client.ok(look()).await;
        assert_eq!((&waiting["done"], &waiting["success"]), (&json!(false), &Value::Null));
        assert_eq!(
            (&waiting["retry_after_ms"], &waiting["tried"]),
            (&json!(10_000), &json!(tried))
        );
    }
    let done = client.ok(look()).await;
    assert_eq!(
        (&done["done"], &done["success"], &done["tried"]),
        (&json!(true), &json!(true), &json!(4))
    );
    // Nothing is left behind: the next wait counts from one.
    assert_eq!(client.ok(look()).await["tried"], 1);
}

#[tokio::test]
async fn it_gives_up_after_as_many_looks_as_were_allowed() {
    let (address, client) = local().await;
    let arguments =
        json!({ "url": format!("http://{address}/warming-up"), "attempts": 2, "interval": "10ms" });
    let checked = client.ok(request("checkHttp", arguments.clone())).await;
    assert_eq!(
        (&checked["done"], &checked["success"], &checked["tried"]),
        (&json!(true), &json!(false), &json!(2))
    );
    assert_eq!(
        (&checked["failure"], &checked["body_excerpt"]),
        (&json!("status"), &json!("warming up"))
    );
    let checked = client.ok(request("checkHttp", arguments)).await;
    assert_eq!((&checked["success"], &checked["tried"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn the_health_of_all_apps_is_one_picture() {
    let address = start().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("shop.log");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let lines = (0..8).map(|line| {
        format!(
            "{{\"time\":{},\"level\":\"error\",\"msg\":\"till {line} is on fire\"}}\n",
            now - 60_000
        )
    });
    std::fs::write(&log, lines.collect::<String>()).unwrap();
    let config: ObservabilityConfig = serde_json::from_value(json!({
        "sources": { "local": { "kind": "files", "paths": [log] } },
        "apps": {
            "docs": { "environments": { "production": { "url": format!("http://{address}/ok") } } },
            "empty": { "environments": { "production": {} } },
            "mail": { "environments": { "production": { "url": format!("http://{address}/gone") } } },
            "shop": { "environments": { "production": { "source": "local" } } },
        },
    }))
    .unwrap();
    let client = Client::connect(observability(config, &Surroundings::default())).await;
    let report = client.ok(request("health.report", json!({}))).await;
    let told: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["target"].as_str().unwrap(), item["verdict"].as_str().unwrap()))
        .collect();
    let expected = [
        ("docs/production", "ok"),
        ("empty/production", "unknown"),
        ("mail/production", "critical"),
        ("shop/production", "warn"),
    ];
    assert_eq!((told.as_slice(), &report["verdict"]), (expected.as_slice(), &json!("critical")));
    assert!(
        report["markdown"]
            .as_str()
            .unwrap()
            .contains("| shop/production | warn | logs: 8 errors, 0 in as much time before |"),
        "{report}"
    );
    let one = client.ok(request("health.report", json!({ "app": "docs" }))).await;
    assert_eq!((&one["verdict"], one["items"].as_array().unwrap().len()), (&json!("ok"), 1));
    let error = client.error(request("health.report", json!({ "app": "gone" }))).await;
    assert_eq!(error["code"], "not_found");
}

#[tokio::test]
async fn headers_stay_with_the_service_that_they_were_given_for() {
    let (address, client) = local().await;
    let look = async |url: String| {
        let arguments = json!({ "url": url, "headers": { "x-token": "open sesame" }, "expect_body": { "contains": "sesame" } });
        client.ok(request("checkHttp", arguments)).await
    };
    assert_eq!(look(format!("http://{address}/who")).await["ok"], true);
    let other = look(format!("http://{}/", leading_to(address).await)).await;
    assert_eq!((&other["status"], &other["failure"]), (&json!(200), &json!("body")), "{other}");
}
