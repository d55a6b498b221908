//! Loki and Prometheus, as servers of this test answer for them, and CloudWatch Logs, emulated.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use windlass_tools::contract::Surroundings;
use windlass_tools::{ObservabilityConfig, observability};

use crate::harness::{Client, request};

type Asked = Arc<Mutex<Vec<HashMap<String, String>>>>;

fn refusal(headers: &HeaderMap) -> Option<Response> {
    let known = headers.get("authorization").is_some_and(|value| value == "Bearer s3cr3t-t0ken");
    (!known).then(|| (StatusCode::UNAUTHORIZED, "no org id").into_response())
}

/// As Loki: it knows two lines of one pod, which a line filter for `zebra` leaves out.
async fn loki(
    State(asked): State<Asked>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    asked.lock().unwrap().push(query.clone());
    if let Some(refusal) = refusal(&headers) {
        return refusal;
    }
    let lines = json!([
        ["1795255505250000000", "ERROR card s3cr3t-t0ken declined"],
        ["1795255504000000000", "INFO paid"]
    ]);
    let stream = json!({ "stream": { "app": "shop", "pod": "shop-7f" }, "values": lines });
    let result = if query["query"].contains("zebra") { json!([]) } else { json!([stream]) };
    let stats = json!({ "summary": { "totalLinesProcessed": 812 } });
    Json(json!({ "status": "success", "data": { "resultType": "streams", "result": result, "stats": stats } })).into_response()
}

async fn prometheus(
    State(asked): State<Asked>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    asked.lock().unwrap().push(query.clone());
    if query["query"].contains('(') && !query["query"].contains(')') {
        let error = json!({ "status": "error", "errorType": "bad_data", "error": "parse error: unclosed left parenthesis" });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let values = json!([
        [1_795_255_200, "1"],
        [1_795_255_260, "3"],
        [1_795_255_320, "NaN"],
        [1_795_255_380, "5"]
    ]);
    let series = json!({ "metric": { "__name__": "up", "job": "shop" }, "values": values });
    Json(json!({ "status": "success", "data": { "resultType": "matrix", "result": [series] } }))
        .into_response()
}

async fn start() -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let labels = json!({ "status": "success", "data": ["app", "pod"] });
    let values = json!({ "status": "success", "data": ["shop", "till"] });
    let app = Router::new()
        .route("/loki/api/v1/query_range", get(loki))
        .route("/loki/api/v1/labels", get(move || async move { Json(labels) }))
        .route("/loki/api/v1/label/app/values", get(move || async move { Json(values) }))
        .route("/api/v1/query_range", get(prometheus))
        .with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, asked)
}

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings { environment: variables.collect(), ..Surroundings::default() }
}

async fn client(address: SocketAddr, variables: &[(&str, &str)]) -> Client {
    let url = format!("http://{address}");
    let config: ObservabilityConfig = serde_json::from_value(json!({
        "sources": {
            "grafana": { "kind": "loki", "url": url, "token_env": "LOKI_TOKEN" },
            "prom": { "kind": "prometheus", "url": url },
        },
        "apps": { "shop": { "environments": { "production": { "source": "grafana", "selector": "{app=\"shop\"}", "metrics": "prom" } } } },
    }))
    .unwrap();
    assert!(config.variables().contains(&"LOKI_TOKEN".to_owned()));
    Client::connect(observability(config, &around(variables))).await
}

const TOKEN: [(&str, &str); 1] = [("LOKI_TOKEN", "s3cr3t-t0ken")];
const WINDOW: (&str, &str) = ("2026-11-21T10:00:00Z", "2026-11-21T10:30:00Z");

#[tokio::test]
async fn loki_is_asked_for_an_app_with_its_token() {
    let (address, asked) = start().await;
    let client = client(address, &TOKEN).await;
    let arguments = json!({ "app": "shop", "since": WINDOW.0, "until": WINDOW.1, "pattern": "card -health", "limit": 20 });
    let found = client.ok(request("logs.search", arguments)).await;
    assert_eq!((&found["source"], &found["scanned"]), (&json!("grafana"), &json!(812)));
    let event = &found["events"][0];
    assert_eq!(
        (&event["timestamp"], &event["stream"]),
        (&json!(1_795_255_505_250_i64), &json!("shop-7f"))
    );
    // The token is blacked out even where others wrote it.
    assert_eq!(event["message"], "ERROR card [redacted] declined");
    let query = asked.lock().unwrap()[0].clone();
    assert_eq!(query["query"], "{app=\"shop\"} |= \"card\" != \"health\"");
    assert_eq!(
        (query["start"].as_str(), query["direction"].as_str()),
        ("1795255200000000000", "backward")
    );
}

#[tokio::test]
async fn loki_s_silence_and_refusals_are_explained() {
    let (address, _) = start().await;
    let with_token = client(address, &TOKEN).await;
    let arguments =
        json!({ "app": "shop", "since": WINDOW.0, "until": WINDOW.1, "pattern": "zebra" });
    let found = with_token.ok(request("logs.search", arguments.clone())).await;
    assert!(found["hints"][0].as_str().unwrap().contains("none of them fits"), "{found}");
    let groups =
        with_token.ok(request("logs.groups", json!({ "source": "grafana", "prefix": "sh" }))).await;
    assert_eq!(groups["items"][0]["name"], "{app=\"shop\"}");

    let without = client(address, &[]).await;
    let error = without.error(request("logs.search", arguments.clone())).await;
    assert_eq!(
        (&error["code"], error["message"].as_str().unwrap().contains("LOKI_TOKEN")),
        (&json!("unauthenticated"), true)
    );
    let wrong = client(address, &[("LOKI_TOKEN", "another-t0ken")]).await;
    let error = wrong.error(request("logs.search", arguments.clone())).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("unauthenticated"), &json!(401))
    );

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = client(closed, &TOKEN).await;
    let error = gone.error(request("logs.search", arguments)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("unavailable"), &json!(true)));
}

#[tokio::test]
async fn a_metric_becomes_a_few_numbers() {
    let (address, asked) = start().await;
    let client = client(address, &TOKEN).await;
    let arguments = json!({ "app": "shop", "expr": "up", "since": WINDOW.0, "until": WINDOW.1, "step": "1m", "include_points": true });
    let found = client.ok(request("metrics.query", arguments)).await;
    let series = &found["series"][0];
    assert_eq!(series["labels"]["job"], "shop");
    let expected = json!({ "count": 3, "min": 1.0, "max": 5.0, "avg": 3.0, "last": 5.0, "p95": 5.0, "slope": 77.143 });
    assert_eq!(series["stats"], expected);
    assert_eq!(series["points"][0], json!(["2026-11-21T10:00:00Z", 1.0]));
    assert_eq!(asked.lock().unwrap()[0]["step"], "60");
    let error = client.error(request("metrics.query", json!({ "expr": "rate(up" }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("unclosed"), "{error}");
    let error = client.error(request("metrics.query", json!({}))).await;
    assert!(error["message"].as_str().unwrap().contains("give expr"), "{error}");
}

#[cfg(feature = "cloudwatch-logs")]
mod cloudwatch {
    use windlass_emulators::aws::AwsEmulator;

    use super::*;

    const KEYS: [(&str, &str); 2] =
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")];
    const AT: u64 = 1_795_255_505_000;

    async fn start() -> (AwsEmulator, Client) {
        let aws = AwsEmulator::start().await.unwrap();
        for line in 0..40_u64 {
            let level = if line % 4 == 0 { "ERROR" } else { "INFO" };
            aws.put_log(
                "/ecs/shop",
                &format!("shop/{}", line % 2),
                AT + line * 1000,
                &format!("{level} order {line} seen"),
            );
        }
        let config: ObservabilityConfig = serde_json::from_value(json!({
            "sources": { "aws": { "kind": "cloudwatch", "region": "eu-central-1", "endpoint_url": aws.url() } },
            "apps": { "shop": { "environments": { "production": { "log_group": "/ecs/shop" } } } },
        }))
        .unwrap();
        let client = Client::connect(observability(config, &around(&KEYS))).await;
        (aws, client)
    }

    #[tokio::test]
    async fn the_newest_events_are_found_behind_empty_pages() {
        let (aws, client) = start().await;
        aws.change_logs(|logs| {
            logs.empty_pages = 2;
            logs.most_per_page = 3;
        });
        let arguments = json!({ "app": "shop", "since": WINDOW.0, "until": WINDOW.1, "pattern": "ERROR", "limit": 5, "mode": "events" });
        let found = client.ok(request("logs.search", arguments.clone())).await;
        let messages: Vec<_> = found["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["message"].as_str().unwrap())
            .collect();
        assert_eq!(
            messages,
            [
                "ERROR order 36 seen",
                "ERROR order 32 seen",
                "ERROR order 28 seen",
                "ERROR order 24 seen",
                "ERROR order 20 seen"
            ]
        );
        assert_eq!(found["events"][0]["logStreamName"], "shop/0");
        // The names that AFU-9 gives the arguments mean the same.
        let other = json!({ "logGroupName": "/ecs/shop", "startTime": 1_795_255_200_000_i64, "endTime": 1_795_257_000_000_i64, "filterPattern": "ERROR", "limit": 5, "mode": "events" });
        assert_eq!(client.ok(request("logs.search", other)).await["events"], found["events"]);
    }

    #[tokio::test]
    async fn pages_end_after_so_many_and_go_on_from_there() {
        let (aws, client) = start().await;
        aws.change_logs(|logs| logs.empty_pages = 12);
        let mut arguments = json!({ "app": "shop", "since": WINDOW.0, "until": WINDOW.1, "mode": "events", "order": "oldest", "limit": 3 });
        let nothing_yet = client.ok(request("logs.search", arguments.clone())).await;
        assert_eq!((&nothing_yet["events"], &nothing_yet["truncated"]), (&json!([]), &json!(true)));
        assert_eq!(aws.count("FilterLogEvents"), 10);
        arguments["next_token"] = nothing_yet["next_token"].clone();
        let found = client.ok(request("logs.search", arguments)).await;
        assert_eq!(found["events"][0]["message"], "ERROR order 0 seen");
    }

    #[tokio::test]
    async fn nothing_found_says_whether_the_group_the_window_or_the_pattern_is_to_blame() {
        let (_aws, client) = start().await;
        let search = |group: &str, pattern: &str, until: &str| {
            request(
                "logs.search",
                json!({ "log_group": group, "pattern": pattern, "since": "2026-11-21T09:00:00Z", "until": until }),
            )
        };
        let found = client.ok(search("/ecs/shop", "zebra", WINDOW.1)).await;
        assert!(found["hints"][0].as_str().unwrap().contains("none of them fits"), "{found}");
        let found = client.ok(search("/ecs/shop", "ERROR", "2026-11-21T09:30:00Z")).await;
        assert!(
            found["hints"][0].as_str().unwrap().contains("no events in this window"),
            "{found}"
        );
        let error = client.error(search("/ecs/shopp/shop", "ERROR", WINDOW.1)).await;
        assert_eq!(error["code"], "not_found");
        assert!(error["hint"].as_str().unwrap().contains("/ecs/shop"), "{error}");
    }

    #[tokio::test]
    async fn groups_and_comparisons_work_on_cloudwatch_too() {
        let (aws, client) = start().await;
        let groups = client.ok(request("logs.groups", json!({ "prefix": "shop" }))).await;
        assert_eq!(
            (&groups["kind"], &groups["items"][0]["name"]),
            (&json!("cloudwatch"), &json!("/ecs/shop"))
        );
        for line in 0..5 {
            aws.put_log("/ecs/shop", "shop/0", AT + 60_000 + line, "ERROR Till on fire");
        }
        let arguments = json!({ "app": "shop", "at": AT + 60_000, "window": "1m" });
        let compared = client.ok(request("logs.compare", arguments)).await;
        assert_eq!(
            (&compared["verdict"], &compared["new_patterns"][0]["template"]),
            (&json!("regressed"), &json!("Till on fire"))
        );
    }
}
