//! Whether this process lives, and whether it can do its work.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde_json::{Value, json};

use crate::app::App;

/// Answers as long as anything answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// What this process did and does, for Prometheus.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics().await)
}

/// Says why not, when the database or a worker is missing.
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    match app.ready().await {
        Ok(()) => (StatusCode::OK, Json(json!({ "ready": true }))),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
        }
    }
}
