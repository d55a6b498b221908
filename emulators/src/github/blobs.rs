//! The other host: it keeps logs under addresses that hold their own credentials, and takes no others.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;

use super::Inner;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Inner>) {
    let mut stop = shared.stop.clone();
    let app = Router::new().fallback(respond).with_state(shared);
    let stopped = async move { _ = stop.wait_for(|stopped| *stopped).await };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
        tracing::warn!(%error, "the double of GitHub's store for logs ended");
    }
}

async fn respond(Shared(shared): Shared<Arc<Inner>>, request: axum::extract::Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |both| both.as_str());
    super::record(&shared, &parts.method, path, &parts.headers);
    // Azure's store refuses a request that is authorised in two ways.
    if parts.headers.contains_key(header::AUTHORIZATION) {
        return text(
            StatusCode::BAD_REQUEST,
            "the Authorization header is not allowed here".into(),
        );
    }
    match log(&shared, parts.uri.path()) {
        Some(log) if parts.uri.query() == Some("sig=a-signature") => text(StatusCode::OK, log),
        Some(_) => text(StatusCode::FORBIDDEN, "the signature is missing".into()),
        None => text(StatusCode::NOT_FOUND, "there is no such blob".into()),
    }
}

/// `/_blobs/OWNER/NAME/logs/JOB`
fn log(shared: &Inner, path: &str) -> Option<String> {
    let rest = path.strip_prefix("/_blobs/")?;
    let (full_name, job) = rest.split_once("/logs/")?;
    let state = shared.state();
    let (_, job) = state.repository(full_name)?.actions.job(job.parse().ok()?)?;
    Some(job.plan.log.clone())
}

fn text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
