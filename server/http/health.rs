//! Whether this process lives, and whether it can do its work.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::app::App;

/// Answers as long as anything answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
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
