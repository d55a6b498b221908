//! The one HTTP client of drivers that speak to deployers, and what its failures mean. It never sends anything twice.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::contract::text::without_invisible;
use crate::contract::{Code, Provider, ToolError};
use crate::http::builder;
use crate::refusal::{is_rate_limit, retry_after_ms};

const LONGEST_BODY: usize = 1024 * 1024;
const SHOWN_CHARS: usize = 300;

/// Whether a request changes anything, and whether it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It only looks.
    Look,
    /// It changes something, and carries a key by which the receiver knows it again.
    Keyed,
}

/// An answer that was a yes.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A client without redirects, which would lose a POST's body, and without retries.
pub(super) fn client(limit: Duration) -> Result<Client, ToolError> {
    builder()
        .timeout(limit)
        .retry(reqwest::retry::never())
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ToolError::new(Code::Internal, format!("no HTTP client: {error}")))
}

/// Sends a request and reads its answer.
pub(super) async fn send(
    name: &'static str,
    request: RequestBuilder,
    sent: Sent,
) -> Result<Answered, ToolError> {
    let response = request.send().await.map_err(|error| lost(name, &error, sent))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = body(response).await.map_err(|error| lost(name, &error, sent))?;
    if !(200..300).contains(&status) {
        return Err(refusal(name, status, &headers, &text));
    }
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answered { status, body })
}

async fn body(mut response: Response) -> Result<String, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if LONGEST_BODY < bytes.len() {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn refusal(name: &'static str, status: u16, headers: &HeaderMap, text: &str) -> ToolError {
    let code = match status {
        _ if is_rate_limit(status, headers) => Code::RateLimited,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        408 => Code::DeadlineExceeded,
        409 => Code::Conflict,
        500.. => Code::Unavailable,
        300..=399 => Code::FailedPrecondition,
        _ => Code::InvalidArgument,
    };
    let shown: String = without_invisible(text).chars().take(SHOWN_CHARS).collect();
    let mut error = ToolError::new(code, format!("{name} answered {status}: {shown}"));
    error.retry_after_ms = retry_after_ms(headers).filter(|_| code == Code::RateLimited);
    error.provider = Some(Box::new(Provider {
        name,
        status: Some(status),
        request_id: None,
        documentation_url: None,
        reason: None,
    }));
    error
}

fn lost(name: &'static str, error: &reqwest::Error, sent: Sent) -> ToolError {
    // Its own text may hold an address with credentials.
    let cause = std::iter::successors(std::error::Error::source(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_else(|| "no answer".to_owned());
    if error.is_connect() {
        return ToolError::new(Code::Unavailable, format!("{name} cannot be reached: {cause}"));
    }
    let code = match sent {
        Sent::Look if error.is_timeout() => Code::DeadlineExceeded,
        Sent::Look => Code::Unavailable,
        Sent::Keyed => Code::OutcomeUnknown,
    };
    let mut lost = ToolError::new(code, format!("no answer came from {name}: {cause}"));
    lost.retryable = true;
    lost
}
