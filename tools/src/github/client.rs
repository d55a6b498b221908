//! Requests to GitHub, and what their failures mean.
//!
//! octocrab carries; the shapes are our own, because its own are stricter than
//! GitHub's answers. Nothing is sent twice from here, but for one case: a token
//! that an App was given and that has ended is asked for anew, since a request
//! that was refused for its credentials did nothing. octocrab names the API
//! version itself; a test watches that it does so once.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use octocrab::{
    DefaultOctocrabBuilderConfig, GitHubError, NoAuth, NoSvc, NotLayerReady, Octocrab,
    OctocrabBuilder,
};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::auth::Token;
use super::names;
use crate::contract::{Code, Provider, ToolError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What GitHub asks to wait when it does not say for how long.
const DEFAULT_RETRY_AFTER_MS: u64 = 60_000;
/// Waiting less would only be refused again; a limit is reset within the hour.
const SHORTEST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 2 * 3_600_000;
/// GitHub asks for no more than 100 at once per token; other programs use it too.
const CONCURRENT_REQUESTS: usize = 10;
/// No answer that is read as JSON is longer.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
const JSON: &str = "application/vnd.github+json";
const NAME: &str = "github";

/// What a connection is built from.
pub(super) type Builder =
    OctocrabBuilder<NoSvc, DefaultOctocrabBuilderConfig, NoAuth, NotLayerReady>;

/// A repository that requests go to.
#[derive(Clone)]
pub(super) struct Repository {
    pub(super) session: Arc<Session>,
    pub(super) owner: String,
    pub(super) name: String,
    /// Whether the call may be repeated when its outcome is unknown.
    pub(super) retry_safe: bool,
}

/// A connection with credentials, and their pace.
pub(super) struct Session {
    octocrab: Octocrab,
    token: Token,
    /// The path of the API's address, which addresses in answers begin with.
    base_path: String,
    permits: Semaphore,
    write_interval: Duration,
    last_write: Mutex<Option<Instant>>,
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

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) verb: Verb,
    /// Path and query, without the API's address.
    pub(super) route: &'a str,
    pub(super) body: Option<Value>,
    /// The media type that is wanted.
    pub(super) accept: &'a str,
    pub(super) sent: Sent,
    /// What is longer is cut.
    pub(super) longest: usize,
}

/// An answer that says yes.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether there was more than was wanted.
    pub(super) cut: bool,
}

/// Puts an address, timeouts and everything else that all connections have to a builder.
pub(super) fn build(builder: Builder, api_url: &str) -> Result<Octocrab, ToolError> {
    builder
        .base_uri(api_url)
        .and_then(|builder| {
            builder
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

impl<'a> Ask<'a> {
    /// A request that changes nothing that anybody sees.
    pub(super) fn reading(verb: Verb, route: &'a str) -> Self {
        Self { verb, route, body: None, accept: JSON, sent: Sent::Read, longest: LONGEST_ANSWER }
    }
}

impl Answered {
    /// The answer as what it should be. No answer at all is null.
    pub(super) fn json<T: DeserializeOwned>(&self, sent: Sent) -> Result<T, ToolError> {
        let body = if self.body.is_empty() { b"null" } else { self.body.as_slice() };
        serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string(), sent))
    }

    /// The answer as text.
    pub(super) fn text(self) -> String {
        String::from_utf8(self.body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// A header that is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Session {
    pub(super) fn new(
        octocrab: Octocrab,
        token: Token,
        api_url: &str,
        write_interval: Duration,
    ) -> Self {
        let rest = api_url.split_once("://").map_or(api_url, |(_, rest)| rest);
        let base_path = rest.find('/').map(|start| rest[start..].trim_end_matches('/').to_owned());
        Self {
            octocrab,
            token,
            base_path: base_path.unwrap_or_default(),
            permits: Semaphore::new(CONCURRENT_REQUESTS),
            write_interval,
            last_write: Mutex::new(None),
        }
    }

    /// Reads something, wherever it is.
    pub(super) async fn read<T: DeserializeOwned>(&self, route: &str) -> Result<T, ToolError> {
        self.exchange(&Ask::reading(Verb::Get, route)).await?.json(Sent::Read)
    }

    /// Sends a request when it is its turn, and reads the answer.
    pub(super) async fn exchange(&self, ask: &Ask<'_>) -> Result<Answered, ToolError> {
        check_route(ask.route)?;
        self.keep_pace(ask).await;
        let permit = self.permits.acquire().await;
        let _permit: SemaphorePermit<'_> = permit
            .map_err(|_| ToolError::new(Code::Unavailable, "the github server is being stopped"))?;
        let Token::Minted(mint) = &self.token else {
            let token = match &self.token {
                Token::Fixed(token) => Some(token.as_str()),
                Token::Signed | Token::Minted(_) => None,
            };
            return self.send(ask, token).await;
        };
        let token = mint.token().await?;
        match self.send(ask, Some(&token)).await {
            Err(refused) if refused.status() == Some(401) => {
                mint.forget(&token).await;
                self.send(ask, Some(&mint.token().await?)).await
            }
            answer => answer,
        }
    }

    /// Lets some time pass between changes that others hear of, as GitHub asks.
    async fn keep_pace(&self, ask: &Ask<'_>) {
        // Nobody hears of a bare git object, and a commit may need many of them.
        let silent = ["/git/blobs", "/git/trees", "/git/commits"];
        if ask.sent == Sent::Read
            || self.write_interval.is_zero()
            || silent.iter().any(|end| ask.route.ends_with(end))
        {
            return;
        }
        let mut last = self.last_write.lock().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + self.write_interval).await;
        }
        *last = Some(Instant::now());
    }

    async fn send(&self, ask: &Ask<'_>, token: Option<&str>) -> Result<Answered, ToolError> {
        let failed = |error| failure(error, ask.sent);
        let octocrab = match token {
            // Given to requests for this API only, wherever a redirect leads.
            Some(token) => self.octocrab.user_access_token(token.to_owned()).map_err(failed)?,
            None => self.octocrab.clone(),
        };
        let (route, body) = (ask.route, ask.body.as_ref());
        let response = match ask.verb {
            Verb::Get => {
                let accept = HeaderValue::from_str(ask.accept);
                let accept = accept.unwrap_or(HeaderValue::from_static(JSON));
                let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
                octocrab._get_with_headers(route, Some(headers)).await
            }
            Verb::Post => octocrab._post(route, body).await,
            Verb::Patch => octocrab._patch(route, body).await,
            Verb::Put => octocrab._put(route, body).await,
            Verb::Delete => octocrab._delete(route, body).await,
        };
        let response = response.map_err(failed)?;
        let response = octocrab::map_github_error(response).await.map_err(failed)?;
        let response = reqwest::Response::from(response.map(reqwest::Body::wrap));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let (body, cut) =
            bytes(response, ask.longest).await.map_err(|error| broken(&error, ask.sent))?;
        Ok(Answered { status, headers, body, cut })
    }

    /// An address in an answer as a route of this API. Whatever host it names, the credentials stay
    /// with ours: behind a proxy GitHub Enterprise names hosts that are not reached from here.
    pub(super) fn route_of(&self, address: &str) -> Option<String> {
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let route = &rest[rest.find('/')?..];
        let route = route.strip_prefix(self.base_path.as_str()).unwrap_or(route);
        route.starts_with('/').then(|| route.to_owned())
    }
}

/// Refuses a route that could end elsewhere than where it was checked to go: servers on the way take `..` as the part
/// above, also where it is written in percents.
fn check_route(route: &str) -> Result<(), ToolError> {
    let path = route.split('?').next().unwrap_or_default().to_ascii_lowercase();
    let plain = path.replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    if plain.split(['/', '\\']).all(|part| !matches!(part, "." | "..")) {
        return Ok(());
    }
    let message = format!("{path:?} cannot be a route of GitHub's API: it has the part . or ..");
    Err(ToolError::new(Code::InvalidArgument, message)
        .hint("give names, paths and refs without . and .. between slashes"))
}

/// The body up to a length, and whether there was more.
async fn bytes(
    mut response: reqwest::Response,
    longest: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = longest - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room < chunk.len() {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

impl Repository {
    /// `owner/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// A route of the repository.
    pub(super) fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", names::path(&self.owner), names::path(&self.name))
    }

    /// Reads something of the repository.
    pub(super) async fn get<T: DeserializeOwned>(&self, rest: &str) -> Result<T, ToolError> {
        self.session.read(&self.route(rest)).await
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
        self.write(Verb::Post, rest, Some(body)).await?.json(self.sent())
    }

    /// Changes something of the repository.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        rest: &str,
        body: &impl Serialize,
    ) -> Result<T, ToolError> {
        self.write(Verb::Patch, rest, Some(body)).await?.json(self.sent())
    }

    /// Sends a change, and leaves what is answered to the caller.
    pub(super) async fn write(
        &self,
        verb: Verb,
        rest: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answered, ToolError> {
        let route = self.route(rest);
        let body = body.map(serde_json::to_value).transpose().map_err(|error| {
            ToolError::new(
                Code::Internal,
                format!("a request to GitHub cannot be written: {error}"),
            )
        })?;
        let ask = Ask { body, sent: self.sent(), ..Ask::reading(verb, &route) };
        self.session.exchange(&ask).await
    }

    /// What a change does when it is sent.
    pub(super) fn sent(&self) -> Sent {
        if self.retry_safe { Sent::SafeWrite } else { Sent::Write }
    }
}

/// What went wrong with a request, in our words.
fn failure(error: octocrab::Error, sent: Sent) -> ToolError {
    match error {
        octocrab::Error::GitHub { source, .. } => refusal(&source, sent),
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
    let message = error.message.to_ascii_lowercase();
    let explained = error.documentation_url.as_deref().unwrap_or_default();
    header(error, "retry-after").is_some()
        || header(error, "x-ratelimit-remaining") == Some("0")
        || message.contains("rate limit")
        // The older words for the secondary limit.
        || message.contains("abuse detection")
        || explained.contains("rate-limits")
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let retry_after = header(error, "retry-after").and_then(|value| value.trim().parse().ok());
    let exhausted = header(error, "x-ratelimit-remaining") == Some("0");
    wait_ms(retry_after, error.rate_limit_reset.filter(|_| exhausted), now)
}

/// How long to wait: as GitHub says, else until the limit is reset, else as long as it advises.
fn wait_ms(retry_after_s: Option<u64>, reset_s: Option<u64>, now: Duration) -> u64 {
    let until = |reset| {
        let left = Duration::from_secs(reset).saturating_sub(now);
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    };
    let told = retry_after_s.map(|seconds| seconds.saturating_mul(1000)).or(reset_s.map(until));
    // Clocks differ: what should be over may not be over there.
    told.map_or(DEFAULT_RETRY_AFTER_MS, |ms| ms.clamp(SHORTEST_WAIT_MS, LONGEST_WAIT_MS))
}

fn header<'a>(error: &'a GitHubError, name: &str) -> Option<&'a str> {
    error.headers.as_ref()?.get(name)?.to_str().ok()
}

/// GitHub said yes, in words we do not know.
fn unreadable(problem: &str, sent: Sent) -> ToolError {
    let message = format!("GitHub's answer could not be read: {problem}");
    lost(message, if sent == Sent::Read { Code::Unavailable } else { Code::OutcomeUnknown }, sent)
}

/// No answer came.
fn transport(error: &octocrab::Error, sent: Sent) -> ToolError {
    broken(error, sent)
}

/// No answer came, or not all of it.
fn broken(error: &(dyn StdError + 'static), sent: Sent) -> ToolError {
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
fn never_sent(error: &(dyn StdError + 'static)) -> bool {
    let connect = |cause: &(dyn StdError + 'static)| {
        cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(|error| error.is_connect())
    };
    causes(error).any(connect)
}

fn timed_out(error: &(dyn StdError + 'static)) -> bool {
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
fn chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

impl ToolError {
    /// Whether GitHub answered with this status and, somewhere, this text.
    pub(super) fn says(&self, status: u16, text: &str) -> bool {
        self.status() == Some(status)
            && self.message.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_stays_where_it_was_checked_to_go() {
        for good in ["/repos/o/r/compare/main...fix", "/repos/o/r/contents/.github/a.yml?ref=.."] {
            assert!(check_route(good).is_ok(), "{good}");
        }
        for bad in [
            "/repos/o/r/../s",
            "/repos/o/r/commits/%2e%2E/x",
            "/repos/o/r/contents/a%2F..%2fb",
            "/repos/o/r/contents/a\\..\\b",
            "/repos/o/r/git/ref/./x",
        ] {
            assert_eq!(check_route(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn the_wait_is_what_github_says_else_until_the_reset_else_a_minute() {
        let now = Duration::from_millis(1_000_500);
        let cases = [
            (Some(7), Some(2_000), 7_000),
            (None, Some(1_030), 29_500),
            (None, None, 60_000),
            // Zero, a reset that is over, and one that lies years ahead.
            (Some(0), None, 1_000),
            (None, Some(900), 1_000),
            (None, Some(u64::MAX), 7_200_000),
            (Some(u64::MAX), None, 7_200_000),
        ];
        for (retry_after, reset, expected) in cases {
            assert_eq!(wait_ms(retry_after, reset, now), expected, "{retry_after:?} {reset:?}");
        }
    }
}
