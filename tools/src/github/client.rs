//! Requests to GitHub, and what their failures mean.
//!
//! octocrab carries and signs; the shapes are our own, because its own are
//! stricter than GitHub's answers. Nothing is sent twice from here: octocrab is
//! built without its retries, which would repeat a POST. It names the API version
//! itself; a test watches that it does so once. No `Accept` is set for all requests:
//! GitHub's own choice is JSON, and a second one beside that of a request for a diff would be ambiguous.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use octocrab::{GitHubError, Octocrab};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Github;
use super::names;
use crate::contract::{Code, Provider, ToolError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What GitHub asks to wait when it does not say for how long.
const DEFAULT_RETRY_AFTER_MS: u64 = 60_000;
const NAME: &str = "github";

/// A repository that requests go to.
#[derive(Debug, Clone)]
pub(super) struct Repository<'a> {
    pub(super) github: &'a Github,
    pub(super) octocrab: &'a Octocrab,
    pub(super) owner: String,
    pub(super) name: String,
    /// Whether the call may be repeated when its outcome is unknown.
    pub(super) retry_safe: bool,
}

/// What a request does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing.
    Read,
    /// Something, which may be done again without harm.
    SafeWrite,
    /// Something.
    Write,
}

impl Github {
    /// The connection, made when it is first needed: it wants a runtime, which listing tools does not.
    pub(super) async fn octocrab(&self) -> Result<&Octocrab, ToolError> {
        self.octocrab.get_or_try_init(|| async { self.connect() }).await
    }

    fn connect(&self) -> Result<Octocrab, ToolError> {
        let token = self.token.as_deref();
        let token = token.ok_or_else(no_token)?;
        Octocrab::builder()
            .base_uri(self.config.api_url.trim_end_matches('/'))
            .and_then(|builder| {
                builder
                    .personal_token(token)
                    .set_connect_timeout(Some(CONNECT_TIMEOUT))
                    .set_read_timeout(Some(ANSWER_TIMEOUT))
                    .set_write_timeout(Some(ANSWER_TIMEOUT))
                    .build()
            })
            .map_err(|error| {
                let message = format!("no connection to GitHub can be made: {}", chain(&error));
                ToolError::new(Code::FailedPrecondition, message)
                    .hint("check `api_url` of the github server")
            })
    }
}

impl Repository<'_> {
    /// `owner/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(super) fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", names::path(&self.owner), names::path(&self.name))
    }

    /// Reads something of the repository.
    pub(super) async fn get<T: DeserializeOwned>(&self, rest: &str) -> Result<T, ToolError> {
        let _permit = self.permit().await?;
        let answer = self.octocrab.get(self.route(rest), None::<&()>).await;
        answer.map_err(|error| failure(error, Sent::Read))
    }

    /// Reads something that may not be there.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        rest: &str,
    ) -> Result<Option<T>, ToolError> {
        match self.get(rest).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates something in the repository.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<T, ToolError> {
        let _permit = self.permit().await?;
        let answer = self.octocrab.post(self.route(rest), Some(body)).await;
        answer.map_err(|error| failure(error, self.write()))
    }

    /// Changes something of the repository.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<T, ToolError> {
        let _permit = self.permit().await?;
        let answer = self.octocrab.patch(self.route(rest), Some(body)).await;
        answer.map_err(|error| failure(error, self.write()))
    }

    pub(super) fn write(&self) -> Sent {
        if self.retry_safe { Sent::SafeWrite } else { Sent::Write }
    }

    pub(super) async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ToolError> {
        let permit = self.github.permits.acquire().await;
        permit.map_err(|_| ToolError::new(Code::Unavailable, "the github server is being stopped"))
    }
}

fn no_token() -> ToolError {
    ToolError::new(Code::Unauthenticated, "the github server has no token")
        .hint("set the environment variable GITHUB_TOKEN or GH_TOKEN and start Windlass again")
}

/// What went wrong with a request, in our words.
pub(super) fn failure(error: octocrab::Error, sent: Sent) -> ToolError {
    match error {
        octocrab::Error::GitHub { source, .. } => refusal(&source, sent),
        octocrab::Error::Serde { .. } | octocrab::Error::Json { .. } => unreadable(&error, sent),
        error => transport(&error, sent),
    }
}

/// GitHub answered, and the answer was no.
fn refusal(error: &GitHubError, sent: Sent) -> ToolError {
    let status = error.status_code.as_u16();
    let code = code(error, sent);
    let mut refused =
        ToolError::new(code, format!("GitHub answered {status}: {}", sentence(error)));
    refused.retry_after_ms = (code == Code::RateLimited).then(|| retry_after_ms(error));
    refused.hint = hint(code, status).map(str::to_owned);
    refused.provider = Some(Box::new(Provider {
        name: NAME,
        status: Some(status),
        request_id: header(error, "x-github-request-id").map(str::to_owned),
        documentation_url: error.documentation_url.clone(),
        reason: None,
    }));
    refused
}

fn code(error: &GitHubError, sent: Sent) -> Code {
    match error.status_code.as_u16() {
        401 => Code::Unauthenticated,
        403 if is_rate_limit(error) => Code::RateLimited,
        403 | 451 => Code::PermissionDenied,
        404 | 410 | 301 => Code::NotFound,
        405 => Code::FailedPrecondition,
        408 => Code::DeadlineExceeded,
        409 => Code::Conflict,
        429 => Code::RateLimited,
        // A gateway's failure says nothing about what happened behind it.
        500.. if sent == Sent::Write => Code::OutcomeUnknown,
        500.. => Code::Unavailable,
        _ => Code::InvalidArgument,
    }
}

fn is_rate_limit(error: &GitHubError) -> bool {
    header(error, "retry-after").is_some()
        || header(error, "x-ratelimit-remaining") == Some("0")
        || error.message.to_ascii_lowercase().contains("rate limit")
}

fn hint(code: Code, status: u16) -> Option<&'static str> {
    match (code, status) {
        (Code::Unauthenticated, _) => {
            Some("the token is wrong or has expired: set GITHUB_TOKEN or GH_TOKEN anew")
        }
        (Code::PermissionDenied, _) => Some("give the token the permission that this needs"),
        (Code::NotFound, 404) => {
            Some("check the names; GitHub says the same when the token may not see the repository")
        }
        (Code::NotFound, 410) => {
            Some("it was deleted, or issues are switched off in this repository")
        }
        (Code::NotFound, _) => Some("the repository was moved: use its new name"),
        (Code::Conflict, _) => Some(
            "call again when others have stopped changing it; an empty repository needs a first commit",
        ),
        (Code::OutcomeUnknown, _) => Some("look whether it happened before calling again"),
        _ => None,
    }
}

/// The message with the particulars that GitHub adds as a list.
fn sentence(error: &GitHubError) -> String {
    let particulars: Vec<_> = error.errors.iter().flatten().map(particular).collect();
    if particulars.is_empty() {
        return error.message.clone();
    }
    format!("{}: {}", error.message, particulars.join("; "))
}

fn particular(error: &Value) -> String {
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    match (error.as_str().or_else(|| text("message")), text("field"), text("code")) {
        (Some(message), _, _) => message.to_owned(),
        (None, Some(field), Some(code)) => format!("{field} ({code})"),
        (None, _, _) => error.to_string(),
    }
}

fn retry_after_ms(error: &GitHubError) -> u64 {
    let seconds = header(error, "retry-after").and_then(|value| value.trim().parse::<u64>().ok());
    let until_reset = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(error.rate_limit_reset?).saturating_sub(now);
        let exhausted = header(error, "x-ratelimit-remaining") == Some("0");
        exhausted.then(|| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1000))
    };
    seconds
        .map(|seconds| seconds.saturating_mul(1000))
        .or_else(until_reset)
        .unwrap_or(DEFAULT_RETRY_AFTER_MS)
}

fn header<'a>(error: &'a GitHubError, name: &str) -> Option<&'a str> {
    error.headers.as_ref()?.get(name)?.to_str().ok()
}

/// GitHub said yes, in words we do not know.
fn unreadable(error: &octocrab::Error, sent: Sent) -> ToolError {
    let message = format!("GitHub's answer could not be read: {}", chain(error));
    lost(message, if sent == Sent::Read { Code::Unavailable } else { Code::OutcomeUnknown }, sent)
}

/// No answer came.
fn transport(error: &octocrab::Error, sent: Sent) -> ToolError {
    let code = match sent {
        _ if never_sent(error) => Code::Unavailable,
        Sent::Read if timed_out(error) => Code::DeadlineExceeded,
        Sent::Read => Code::Unavailable,
        Sent::SafeWrite | Sent::Write => Code::OutcomeUnknown,
    };
    let message = match code {
        Code::OutcomeUnknown => {
            format!("the connection broke before GitHub's answer came: {}", chain(error))
        }
        Code::DeadlineExceeded => format!("GitHub did not answer in time: {}", chain(error)),
        _ => format!("GitHub cannot be reached: {}", chain(error)),
    };
    lost(message, code, sent)
}

fn lost(message: String, code: Code, sent: Sent) -> ToolError {
    let mut error = ToolError::new(code, message);
    let unknown = code == Code::OutcomeUnknown;
    error.retryable |= unknown && sent == Sent::SafeWrite;
    error.hint = (unknown && sent == Sent::Write)
        .then(|| "look whether it happened before calling again".to_owned());
    error.provider = Some(Box::new(Provider {
        name: NAME,
        status: None,
        request_id: None,
        documentation_url: None,
        reason: None,
    }));
    error
}

/// Whether there was never a connection that the request could have gone over.
fn never_sent(error: &octocrab::Error) -> bool {
    let connect = |cause: &(dyn StdError + 'static)| {
        cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(|error| error.is_connect())
    };
    causes(error).any(connect)
}

fn timed_out(error: &octocrab::Error) -> bool {
    let timeout = |cause: &(dyn StdError + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    causes(error).any(timeout)
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The deepest cause, which says most; octocrab's own texts carry stack traces.
fn chain(error: &octocrab::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

impl ToolError {
    /// Whether GitHub answered with this status and, somewhere, this text.
    pub(super) fn says(&self, status: u16, text: &str) -> bool {
        self.status() == Some(status)
            && self.message.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
    }
}
