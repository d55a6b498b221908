//! A double of GitHub's REST API: real state, GitHub's rules, and faults on request.
//!
//! It serves the routes that the `github` tool server uses, keeps a ledger of
//! every effect so that a test can say "once", and can be told over
//! `/_emulator/…` what shall go wrong, also by another process.

mod blobs;
mod patches;
mod routes;
mod shapes;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::routes::{Addresses, Reply, Request};
use crate::clock;
use crate::openapi::{self, Exchange};
use crate::wire::{Knife, WireListener};

pub use self::state::{
    Actions, App, AppToken, Check, Comment, Commit, Deployment, DeploymentStatus, Effect, Issue,
    Job, Label, LineComment, PlannedJob, Progress, Pull, Reaction, Release, Repository,
    RequestRecord, Review, Run, Started, State, Status, Tree, TreeEntry, Workflow,
};
pub use crate::faults::{Action, Fault, Faults};

const MAX_BODY: usize = 64 * 1024 * 1024;
const STOP_PATIENCE: Duration = Duration::from_secs(2);
const ADMIN: &str = "_emulator";

/// A running double of GitHub; it stops when it is dropped.
#[derive(Debug)]
pub struct GithubEmulator {
    address: SocketAddr,
    shared: Arc<Inner>,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

/// What a new issue is made of.
#[derive(Debug, Clone, Default)]
pub struct NewIssue {
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// The login of its author.
    pub user: String,
    /// Its number; the next free one when left out.
    pub number: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    link_base: Mutex<Option<String>>,
    faults: Faults,
    base: String,
    blobs: String,
    stop: watch::Receiver<bool>,
}

impl GithubEmulator {
    /// Starts on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on an address.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let blobs = TcpListener::bind((address.ip(), 0)).await?;
        let shared = Arc::new(Inner::new(address, blobs.local_addr()?, stopped));
        tokio::spawn(blobs::serve(blobs, Arc::clone(&shared)));
        let server = tokio::spawn(serve(WireListener(listener), Arc::clone(&shared)));
        Ok(Self { address, shared, stop, server: Some(server) })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.shared.base.clone()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A copy of everything it knows now.
    pub fn state(&self) -> State {
        self.shared.state().clone()
    }

    /// What shall go wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Adds a repository with one commit on `main`, or does nothing if it is there.
    pub fn add_repository(&self, full_name: &str) {
        add_repository(&mut self.shared.state(), full_name);
    }

    /// Gives a repository another name; the old one answers with a redirect.
    pub fn rename_repository(&self, old: &str, new: &str) {
        let mut state = self.shared.state();
        let Some(mut repository) = state.repositories.remove(old) else { return };
        let (owner, name) = new.split_once('/').unwrap_or(("octo", new));
        (repository.owner, repository.name) = (owner.to_owned(), name.to_owned());
        state.repositories.insert(repository.full_name(), repository);
        state.renamed.insert(old.to_owned(), new.to_owned());
    }

    /// Opens an issue and returns its number; the repository comes into being if need be.
    pub fn add_issue(&self, full_name: &str, issue: NewIssue) -> u64 {
        add_issue(&mut self.shared.state(), full_name, issue)
    }

    /// Commits a file to a branch as another developer would, and returns the commit's sha.
    pub fn push(&self, full_name: &str, branch: &str, path: &str, content: &str) -> Option<String> {
        self.change(full_name, |repository| repository.push(branch, path, content)).flatten()
    }

    /// Changes a repository by hand: topics, collaborators, refs, milestones.
    pub fn change<T>(
        &self,
        full_name: &str,
        change: impl FnOnce(&mut Repository) -> T,
    ) -> Option<T> {
        self.shared.state().repository_mut(full_name).map(change)
    }

    /// Makes a GitHub App known, with an installation for each of these owners.
    pub fn install_app(&self, id: u64, slug: &str, installations: &[(&str, u64)]) {
        let installations = installations.iter().map(|(owner, id)| ((*owner).to_owned(), *id));
        let installations = installations.collect();
        self.shared.state().app =
            App { id, slug: slug.to_owned(), installations, tokens: Vec::new() };
    }

    /// Takes back every token that the App was given.
    pub fn revoke_app_tokens(&self) {
        self.shared.state().app.tokens.iter_mut().for_each(|token| token.revoked = true);
    }

    /// Makes `Link` headers point to another host, as GitHub Enterprise behind a proxy does.
    pub fn set_link_host(&self, base: Option<String>) {
        *self.shared.link_base.lock().unwrap_or_else(PoisonError::into_inner) = base;
    }

    /// Stops listening and ends held requests; what it knows is lost.
    pub async fn stop(mut self) {
        _ = self.stop.send(true);
        if let Some(server) = self.server.take() {
            let abort = server.abort_handle();
            if tokio::time::timeout(STOP_PATIENCE, server).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for GithubEmulator {
    fn drop(&mut self) {
        _ = self.stop.send(true);
        // In a test this is the last chance to say that the double is not like GitHub.
        let violations = self.shared.state().violations.join("\n");
        if cfg!(debug_assertions) && !std::thread::panicking() {
            assert!(violations.is_empty(), "{violations}");
        }
    }
}

impl Inner {
    fn new(address: SocketAddr, blobs: SocketAddr, stop: watch::Receiver<bool>) -> Self {
        Self {
            blobs: format!("http://{blobs}"),
            state: Mutex::new(seeded()),
            link_base: Mutex::default(),
            faults: Faults::default(),
            base: format!("http://{address}"),
            stop,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self) -> Addresses {
        let link_base = self.link_base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Addresses { base: self.base.clone(), link_base, blobs: self.blobs.clone() }
    }

    /// Holds a request until it is released or the double stops.
    async fn hold(&self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.faults.hold() => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
    }
}

fn seeded() -> State {
    let mut state = State::default();
    let issue = NewIssue {
        title: "Greet people by their name".to_owned(),
        body: "`hello` says \"Hello, world\". It should greet whoever is named.".to_owned(),
        labels: vec!["enhancement".to_owned()],
        user: "ada".to_owned(),
        number: Some(7),
    };
    add_issue(&mut state, "octo/hello", issue);
    state
}

fn add_repository(state: &mut State, full_name: &str) {
    if state.repository(full_name).is_some() {
        return;
    }
    let id = state.take_id();
    let (owner, name) = full_name.split_once('/').unwrap_or(("octo", full_name));
    let repository = Repository::new(id, owner, name);
    state.repositories.insert(repository.full_name(), repository);
}

fn add_issue(state: &mut State, full_name: &str, issue: NewIssue) -> u64 {
    add_repository(state, full_name);
    let (id, label_id) = (state.take_id(), state.take_id());
    let repository = state.repository_mut(full_name).expect("added above");
    let number = issue.number.unwrap_or_else(|| repository.next_number());
    for label in &issue.labels {
        let new = Label { id: label_id, color: "a2eeef".to_owned() };
        repository.labels.entry(label.clone()).or_insert(new);
    }
    let user = if issue.user.is_empty() { "ada" } else { &issue.user };
    let new = Issue::new(id, number, issue.title, Some(issue.body), user);
    repository.issues.insert(number, Issue { labels: issue.labels, ..new });
    number
}

async fn serve(listener: WireListener, shared: Arc<Inner>) {
    let stop = shared.stop.clone();
    let app = Router::new().fallback(respond).with_state(shared);
    listener.serve(app, stop, "GitHub").await;
}

async fn respond(
    Shared(shared): Shared<Arc<Inner>>,
    ConnectInfo(knife): ConnectInfo<Knife>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", |both| both.as_str()).to_owned();
    if path.trim_start_matches('/').starts_with(ADMIN) {
        return admin(&shared, &parts.method, &path, &bytes);
    }
    let id = record(&shared, &parts.method, &path, &parts.headers);
    let request = Request::new(id, parts.method, path, token(&parts.headers), &bytes);
    let request = Request { accept: text(&parts.headers, "accept").unwrap_or_default(), ..request };
    let reply = with_faults(&shared, &knife, &request).await;
    let status = reply.as_ref().map(|reply| reply.status.as_u16());
    note_status(&shared, &request.id, status);
    write(&request.id, reply.unwrap_or_else(|| routes::refusal(StatusCode::BAD_GATEWAY, "cut")))
}

/// Answers a request, or nothing when its connection was cut.
async fn with_faults(shared: &Inner, knife: &Knife, request: &Request) -> Option<Reply> {
    let work = || {
        let mut state = shared.state();
        let reply = routes::answer(&mut state, &shared.addresses(), request);
        described(&mut state, request, reply)
    };
    let Some(action) = shared.faults.strike(request.method.as_str(), &request.path) else {
        return Some(work());
    };
    match action {
        Action::DropBeforeWork => {
            knife.cut();
            None
        }
        Action::DropAfterWork => {
            work();
            knife.cut();
            None
        }
        Action::BadGatewayBeforeWork => Some(bad_gateway()),
        Action::BadGatewayAfterWork => {
            work();
            Some(bad_gateway())
        }
        Action::TooManyRequests { retry_after_s } => Some(too_many(retry_after_s)),
        Action::RateLimited { reset_in_s } => Some(rate_limited(reset_in_s)),
        Action::Forbidden => Some(routes::refusal(
            StatusCode::FORBIDDEN,
            "Resource not accessible by personal access token",
        )),
        Action::Refuse { status } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            Some(routes::refusal(status, "Refused on request"))
        }
        Action::Slow { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Some(work())
        }
        Action::PauseBeforeWork => {
            shared.hold().await;
            Some(work())
        }
        Action::PauseAfterWork => {
            let reply = work();
            shared.hold().await;
            Some(reply)
        }
    }
}

/// The answer, if GitHub's own description allows it. If not, the request fails, and so does the test.
fn described(state: &mut State, request: &Request, reply: Reply) -> Reply {
    // A diff or a file as it is: nothing is described of those.
    let is_json =
        |(name, value): &(&str, String)| *name != "content-type" || value.contains("json");
    if !reply.headers.iter().all(is_json) {
        return reply;
    }
    let violation = openapi::violation(&Exchange {
        method: request.method.as_str(),
        segments: &request.segments,
        sent: &request.body,
        status: reply.status.as_u16(),
        answered: &reply.body,
    });
    let Some(violation) = violation else { return reply };
    tracing::error!("{violation}");
    state.violations.push(violation.clone());
    routes::refusal(StatusCode::INTERNAL_SERVER_ERROR, &violation)
}

fn bad_gateway() -> Reply {
    routes::refusal(StatusCode::BAD_GATEWAY, "Server Error")
}

fn too_many(retry_after_s: u64) -> Reply {
    let message =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let reply = routes::refusal(StatusCode::TOO_MANY_REQUESTS, message);
    Reply { headers: vec![("retry-after", retry_after_s.to_string())], ..reply }
}

fn rate_limited(reset_in_s: u64) -> Reply {
    let reply = routes::refusal(StatusCode::FORBIDDEN, "API rate limit exceeded for user ID 1.");
    let reset = clock::now_ms().div_ceil(1000) + reset_in_s;
    let headers = vec![
        ("x-ratelimit-limit", "5000".to_owned()),
        ("x-ratelimit-remaining", "0".to_owned()),
        ("x-ratelimit-reset", reset.to_string()),
    ];
    Reply { headers, ..reply }
}

impl Request {
    fn new(id: String, method: Method, path: String, token: Option<String>, body: &Bytes) -> Self {
        let (route, query) = path.split_once('?').unwrap_or((&path, ""));
        let segments = route.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(&value.replace('+', " ")))
        };
        let query = query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        Self { id, method, segments, query, token, body, path, accept: String::new() }
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = text.get(index + 1..index + 3).filter(|_| bytes[index] == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The credentials of a request: a scheme alone is none.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, token) = value.trim().split_once(' ')?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// A header's values as text.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn record(shared: &Inner, method: &Method, path: &str, headers: &HeaderMap) -> String {
    let authorized = token(headers).is_some();
    let mut state = shared.state();
    let id = format!("E0:{:06X}", state.requests.len() + 1);
    state.requests.push(RequestRecord {
        id: id.clone(),
        at_ms: clock::now_ms(),
        method: method.to_string(),
        path: path.to_owned(),
        authorized,
        api_version: text(headers, "x-github-api-version"),
        status: None,
    });
    id
}

fn note_status(shared: &Inner, id: &str, status: Option<u16>) {
    let mut state = shared.state();
    if let Some(record) = state.requests.iter_mut().rev().find(|record| record.id == id) {
        record.status = status;
    }
}

fn write(id: &str, reply: Reply) -> Response {
    let body = match reply.body {
        Value::Null => String::new(),
        // A text is no JSON: a diff, say.
        Value::String(text) => text,
        body => body.to_string(),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = reply.status;
    let reset = (clock::now_ms() / 1000 + 3600).to_string();
    let always = [
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("x-github-request-id", id.to_owned()),
        ("x-github-api-version-selected", "2022-11-28".to_owned()),
        ("x-ratelimit-limit", "5000".to_owned()),
        ("x-ratelimit-remaining", "4999".to_owned()),
        ("x-ratelimit-reset", reset),
    ];
    for (name, value) in always.into_iter().chain(reply.headers) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// The double's own routes, which need no credentials and never fail on request.
fn admin(shared: &Inner, method: &Method, path: &str, body: &Bytes) -> Response {
    let route = path.trim_start_matches('/').trim_start_matches(ADMIN).split('?').next();
    let reply = match (method.as_str(), route.unwrap_or_default()) {
        ("GET", "/state") => admin_value(&*shared.state()),
        ("GET", "/ledger") => admin_value(&shared.state().ledger),
        ("GET", "/requests") => admin_value(&shared.state().requests),
        ("GET", "/faults") => {
            admin_reply(json!({ "waiting": shared.faults.waiting(), "held": shared.faults.held() }))
        }
        ("POST", "/faults") => add_faults(&shared.faults, body),
        ("DELETE", "/faults") => {
            shared.faults.clear();
            admin_reply(json!({}))
        }
        ("POST", "/release") => {
            let held = shared.faults.held();
            shared.faults.release();
            admin_reply(json!({ "released": held }))
        }
        _ => routes::not_found(),
    };
    write("admin", reply)
}

/// Takes one fault or a list of them.
fn add_faults(faults: &Faults, body: &Bytes) -> Reply {
    let many = serde_json::from_slice::<Vec<Fault>>(body);
    let given = many.or_else(|_| serde_json::from_slice::<Fault>(body).map(|fault| vec![fault]));
    match given {
        Ok(given) => {
            let count = given.len();
            given.into_iter().for_each(|fault| faults.add(fault));
            admin_reply(json!({ "added": count }))
        }
        Err(error) => routes::refusal(StatusCode::BAD_REQUEST, &format!("not a fault: {error}")),
    }
}

fn admin_value(value: &impl serde::Serialize) -> Reply {
    admin_reply(serde_json::to_value(value).unwrap_or(Value::Null))
}

fn admin_reply(body: Value) -> Reply {
    Reply { status: StatusCode::OK, body, headers: Vec::new() }
}
