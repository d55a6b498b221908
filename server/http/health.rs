//! Whether this process lives, and whether it can do its work.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::sessions::Sessions;
use crate::{app::App, metrics};

/// Answers as long as anything answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// What readiness depends on.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) app: App,
    /// Cancelled when this process was told to end.
    pub(super) draining: CancellationToken,
}

/// What this process did and does, for Prometheus.
pub(super) async fn metrics(
    State((app, sessions)): State<(App, Arc<Sessions>)>,
) -> impl IntoResponse {
    metrics::sessions(sessions.count().await);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics().await)
}

/// Says why not, when the database or a worker is missing, or this process is about to end.
pub(super) async fn ready(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let answer = match health.draining.is_cancelled() {
        true => Err("draining: this process was told to end; ask another replica".to_owned()),
        false => health.app.ready().await,
    };
    match answer {
        Ok(()) => (StatusCode::OK, Json(json!({ "ready": true }))),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
        }
    }
}
