//! The way to Loki and Prometheus: one client, bounded answers, failures in the tools' words.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::Observability;
use super::patterns::cut;
use super::settings::Source;
use crate::contract::text::without_invisible;
use crate::contract::{Code, Provider, ToolError};
use crate::http::builder;

const TIMEOUT: Duration = Duration::from_secs(10);
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
const SHOWN: usize = 300;

/// Asks a source, and returns the JSON that it answers.
pub(super) async fn ask(
    state: &Observability,
    (name, source): (&str, &Source),
    path: &str,
    query: &[(&str, String)],
) -> Result<Value, ToolError> {
    let Some(url) = &source.url else {
        let message = format!("the source {name} has no url");
        return Err(ToolError::new(Code::FailedPrecondition, message));
    };
    let client = builder().timeout(TIMEOUT).build().map_err(|error| {
        ToolError::new(Code::Internal, format!("no HTTP client could be made: {error}"))
    })?;
    let mut request = client.get(format!("{}{path}", url.trim_end_matches('/'))).query(query);
    if let Some(token) = state.token(source)? {
        request = request.bearer_auth(token);
    }
    if let Some(tenant) = &source.tenant {
        request = request.header("X-Scope-OrgID", tenant);
    }
    let kind = source.kind.word();
    let response = request.send().await.map_err(|error| unreachable(kind, &error))?;
    let status = response.status();
    let body = body(response, LARGEST_ANSWER).await.map_err(|error| unreachable(kind, &error))?;
    if !status.is_success() {
        return Err(refused(kind, status, &body));
    }
    serde_json::from_slice(&body).map_err(|_| {
        let message = format!("{kind} answered something that is not JSON, or too much of it");
        ToolError::new(Code::Unavailable, message).hint("check the url; ask for a shorter window")
    })
}

/// What a response holds, at most so much of it.
pub(super) async fn body(mut response: Response, most: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    Ok(body)
}

fn unreachable(kind: &'static str, error: &reqwest::Error) -> ToolError {
    if error.is_timeout() {
        let message = format!("{kind} did not answer within {} s", TIMEOUT.as_secs());
        return ToolError::new(Code::DeadlineExceeded, message).hint("ask for a shorter window");
    }
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    ToolError::new(Code::Unavailable, format!("{kind} cannot be reached: {cause}"))
}

/// A refusal, with what was said about it.
fn refused(kind: &'static str, status: StatusCode, body: &[u8]) -> ToolError {
    let code = match status.as_u16() {
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 => Code::RateLimited,
        _ => Code::Unavailable,
    };
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let said = said.and_then(|said| said["error"].as_str().map(str::to_owned));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    let said = cut(&without_invisible(&said), SHOWN);
    let provider = Provider {
        name: kind,
        status: Some(status.as_u16()),
        request_id: None,
        documentation_url: None,
        reason: None,
    };
    ToolError {
        provider: Some(Box::new(provider)),
        ..ToolError::new(code, format!("{kind} answered {status}: {said}"))
    }
}
