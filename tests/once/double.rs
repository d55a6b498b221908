//! A double of the services that take a message, a deployment or a question over HTTP.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::Faults;

use super::{Change, changes_of};

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// A request that it took.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) path: String,
    pub(super) key: String,
    pub(super) body: Value,
}

impl Taken {
    fn is_for(&self, place: &str) -> bool {
        self.path.contains(place) || self.body.to_string().contains(place)
    }
}

/// It remembers what it took, and can be told to hold an answer.
#[derive(Clone, Default)]
pub(super) struct Double {
    pub(super) url: String,
    pub(super) faults: Faults,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Double {
    pub(super) fn start(runtime: &Runtime) -> Double {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let double = Double { url, ..Double::default() };
            let router = Router::new().fallback(serve).with_state(double.clone());
            tokio::spawn(async move { axum::serve(listener, router).await });
            double
        })
    }

    /// The requests for a place, in order.
    pub(super) fn taken(&self, place: &str) -> Vec<Taken> {
        self.taken.lock().unwrap().iter().filter(|own| own.is_for(place)).cloned().collect()
    }

    /// What a service that knows keys has done for a place: each key once.
    pub(super) fn done(&self, place: &str) -> usize {
        let mut keys: Vec<_> = self.taken(place).into_iter().map(|own| own.key).collect();
        keys.sort();
        keys.dedup();
        assert!(keys.iter().all(|key| !key.is_empty()), "a request came without a key");
        keys.len()
    }

    /// What a fault needs to strike each of the requests for a place.
    pub(super) fn changes(&self, place: &str) -> Vec<Change> {
        changes_of(self.taken(place).into_iter().map(|own| ("POST".to_owned(), own.path, true)))
    }
}

async fn serve(
    State(double): State<Double>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let held = double.faults.strike(method.as_str(), uri.path()).is_some();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let (path, key) = (uri.path().to_owned(), key.unwrap_or_default());
    double.taken.lock().unwrap().push(Taken { path: path.clone(), key, body: body.clone() });
    if held {
        double.faults.hold().await;
    }
    match path.as_str() {
        "/v1/chat/completions" => Json(said(&body)).into_response(),
        "/v1/images/generations" => Json(drawn(&body)).into_response(),
        "/slack" => "ok".into_response(),
        _ => Json(json!({ "id": "1", "message_id": "m1" })).into_response(),
    }
}

/// What a model answers: a text, or something of the shape it was asked for.
fn said(body: &Value) -> Value {
    let schema = &body["response_format"]["json_schema"]["schema"];
    let text = if schema.is_null() { "A text.".to_owned() } else { example(schema).to_string() };
    json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "test-model",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 },
    })
}

fn drawn(body: &Value) -> Value {
    let count = body["n"].as_u64().unwrap();
    let images: Vec<_> = (0..count).map(|_| json!({ "b64_json": PIXEL })).collect();
    let usage = json!({ "input_tokens": 12, "output_tokens": 1056, "total_tokens": 1068 });
    json!({ "created": 1, "data": images, "usage": usage })
}

/// Something that fits a schema.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            properties.iter().map(|(name, own)| (name.clone(), example(own))).collect()
        }
        Some("array") => json!([example(&schema["items"])]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("words"),
    }
}
