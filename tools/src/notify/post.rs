//! One HTTP request to a channel: sent once, and its failure told apart from not knowing.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use serde_json::Value;

use super::Notify;
use crate::contract::text::without_invisible;
use crate::contract::{Code, Provider, ToolError};
use crate::http::builder;
use crate::refusal::{is_rate_limit, retry_after_ms};

const TIMEOUT: Duration = Duration::from_secs(30);
const SHOWN_CHARS: usize = 300;
/// Of an answer no more is read; a page of comments on GitHub is the longest that matters.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A request to come.
pub(super) struct Post {
    /// Who is asked, for messages.
    pub(super) to: &'static str,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Whether sending it again does no harm.
    pub(super) repeatable: bool,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) text: String,
}

impl Notify {
    fn client(&self) -> Result<&Client, ToolError> {
        let client = self.client.get_or_init(|| {
            builder()
                .timeout(TIMEOUT)
                .retry(reqwest::retry::never())
                .build()
                .map_err(|error| error.to_string())
        });
        client.as_ref().map_err(|problem| {
            ToolError::new(Code::Internal, format!("no client can be made: {problem}"))
        })
    }

    /// Sends a request and returns the reply, if it is a good one.
    pub(super) async fn post(&self, post: Post) -> Result<Reply, ToolError> {
        let mut request = self.client()?.request(post.method.clone(), &post.url);
        request = request.headers(headers(&post.headers)?);
        if let Some(body) = &post.body {
            let bytes = serde_json::to_vec(body).unwrap_or_default();
            request = request.header("content-type", "application/json").body(bytes);
        }
        let response = request.send().await.map_err(|error| broken(&post, &error))?;
        let reply = reply(response).await.map_err(|error| broken(&post, &error))?;
        if (200..300).contains(&reply.status) { Ok(reply) } else { Err(refused(&post, &reply)) }
    }
}

fn headers(pairs: &[(&'static str, String)]) -> Result<HeaderMap, ToolError> {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static("windlass"));
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value).map_err(|_| {
            ToolError::new(Code::FailedPrecondition, format!("the header {name} cannot be sent"))
                .hint("look for line breaks and other odd characters in the variable it comes from")
        })?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

async fn reply(mut response: Response) -> Result<Reply, reqwest::Error> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = LONGEST_ANSWER - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room <= chunk.len() {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Reply { status, headers, body, text })
}

/// No answer came. Addresses of channels are secrets, so none is named.
fn broken(post: &Post, error: &reqwest::Error) -> ToolError {
    if error.is_connect() || error.is_builder() {
        return ToolError::new(Code::Unavailable, format!("{} cannot be reached", post.to));
    }
    unknown(post, &format!("{} did not answer", post.to))
}

fn unknown(post: &Post, message: &str) -> ToolError {
    if post.repeatable {
        return ToolError::new(Code::Unavailable, message);
    }
    outcome_unknown(format!("{message}: the message may have been posted or not"))
}

/// What is said when a message may or may not stand in a channel that cannot be asked.
pub(super) fn outcome_unknown(message: String) -> ToolError {
    ToolError::new(Code::OutcomeUnknown, message)
        .hint("look into the channel; call again with allow_duplicate: true where a second message does no harm")
}

fn refused(post: &Post, reply: &Reply) -> ToolError {
    let said = reply.body["message"].as_str().unwrap_or(reply.text.trim());
    let said: String = without_invisible(said).chars().take(SHOWN_CHARS).collect();
    let message = format!("{} answered {}: {said}", post.to, reply.status);
    let code = match reply.status {
        status if is_rate_limit(status, &reply.headers) => Code::RateLimited,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        409 => Code::Conflict,
        500.. => return unknown(post, &message),
        _ => Code::InvalidArgument,
    };
    let mut error = ToolError::new(code, message);
    error.retry_after_ms = retry_after_ms(&reply.headers);
    error.provider = Some(Box::new(Provider {
        name: post.to,
        status: Some(reply.status),
        request_id: None,
        documentation_url: None,
        reason: None,
    }));
    error
}
