//! The wire that the doubles of AWS share: one port, one ledger of requests, one list of faults, one clock.
//!
//! [`AwsEmulator`] serves ECS (see [`crate::ecs`]) and CloudWatch Logs (see [`crate::logs`]) on one port, as
//! `endpoint_url` of an AWS SDK expects it: awsJson 1.1, `POST /`, the operation in `x-amz-target`. Credentials
//! must be there and may be anything. Every request and every answer is held against the models that AWS
//! publishes: a field that the model does not know is an error 500 that names it, so no test can go by it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use windlass_emulators::aws::{Action, AwsEmulator, Time};
//!
//! let aws = AwsEmulator::start().await?;                        // rollouts move by `advance` alone
//! let fast = AwsEmulator::start_in(Time::Running { speed: 60.0 }).await?; // a minute of rollout in a second
//! aws.faults().add(Action::DropAfterWork.on("POST", "UpdateService"));    // any `Action` on any operation
//! assert_eq!(aws.count("ecs:UpdateService"), 0);                // the ledger of requests
//! aws.stop().await;
//! # Ok(())
//! # }
//! ```

mod model;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::model::Model;
use crate::clock;
use crate::ecs::Ecs;
use crate::logs::Logs;
use crate::wire::{Knife, WireListener};

pub use crate::faults::{Action, Fault, Faults};

/// The account that everything belongs to.
pub const ACCOUNT: &str = "123456789012";
/// The region that everything lies in.
pub const REGION: &str = "eu-central-1";

const MAX_BODY: usize = 16 * 1024 * 1024;
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How rollouts and tasks get on. Times of events are always those of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Time {
    /// Only [`AwsEmulator::advance`] moves them.
    ByHand,
    /// They move by themselves, so many times as fast as the wall clock.
    Running {
        /// Seconds of rollout in one second.
        speed: f64,
    },
}

/// A running double of AWS; it stops when it is dropped.
#[derive(Debug)]
pub struct AwsEmulator {
    address: SocketAddr,
    shared: Arc<Inner>,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

/// One request that came in.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Its number, which is its request id.
    pub id: String,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was asked for, such as `ecs:UpdateService` or `logs:FilterLogEvents`.
    pub operation: String,
    /// What it said.
    pub input: Value,
    /// The status of the answer; none while it is being held or when its connection was cut.
    pub status: Option<u16>,
}

/// A refusal as AWS words it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

pub(crate) type Answer = Result<Value, Refusal>;

/// Everything that both services know.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ecs: Ecs,
    pub(crate) logs: Logs,
    time: Time,
    moved_at: Instant,
    requests: Vec<RequestRecord>,
}

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    faults: Faults,
    stop: watch::Receiver<bool>,
}

struct Request {
    id: String,
    service: &'static str,
    operation: String,
    input: Value,
}

impl AwsEmulator {
    /// Starts on a free port of this machine; rollouts move by [`AwsEmulator::advance`] alone.
    pub async fn start() -> io::Result<Self> {
        Self::start_in(Time::ByHand).await
    }

    /// Starts on a free port of this machine.
    pub async fn start_in(time: Time) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let world = Mutex::new(World::new(time));
        let shared = Arc::new(Inner { world, faults: Faults::default(), stop: stopped });
        let server = tokio::spawn(serve(WireListener(listener), Arc::clone(&shared)));
        Ok(Self { address, shared, stop, server: Some(server) })
    }

    /// What an SDK takes as `endpoint_url`: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What shall go wrong. The path of a request is its operation: `ecs:UpdateService`.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.world().requests.clone()
    }

    /// How many requests there were whose operation contains this: `UpdateService`, `logs:`.
    pub fn count(&self, operation: &str) -> usize {
        self.world().requests.iter().filter(|record| record.operation.contains(operation)).count()
    }

    /// Asks by hand what an SDK would ask, and leaves no trace in the ledger: `ask("ecs:UpdateService", …)`.
    ///
    /// # Errors
    ///
    /// What AWS refuses it with, as `code: message`.
    pub fn ask(&self, operation: &str, input: &Value) -> Result<Value, String> {
        let (service, operation) = operation.split_once(':').unwrap_or(("ecs", operation));
        let service = if service == "logs" { "logs" } else { "ecs" };
        let (id, operation) = (String::new(), operation.to_owned());
        let request = Request { id, service, operation, input: input.clone() };
        let answer = self.world().answer(&request);
        answer.map_err(|refusal| format!("{}: {}", refusal.code, refusal.message))
    }

    /// Lets rollouts and tasks get on by so much.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.world().advance(by, clock::now_ms());
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

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world()
    }
}

impl Drop for AwsEmulator {
    fn drop(&mut self) {
        _ = self.stop.send(true);
    }
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    pub(crate) fn client(message: impl Into<String>) -> Self {
        Self::new("ClientException", message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalFailure", message).with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn body(&self) -> Value {
        json!({ "__type": self.code, "message": self.message })
    }
}

impl World {
    fn new(time: Time) -> Self {
        let (ecs, logs) = (Ecs::default(), Logs::default());
        Self { ecs, logs, time, moved_at: Instant::now(), requests: Vec::new() }
    }

    /// Seconds of rollout in a second of the wall clock, for times that lie ahead.
    pub(crate) fn speed(&self) -> f64 {
        match self.time {
            Time::ByHand => 1.0,
            Time::Running { speed } => speed.max(f64::MIN_POSITIVE),
        }
    }

    /// Moves to now, if time runs by itself.
    fn catch_up(&mut self) {
        let Time::Running { speed } = self.time else { return };
        let passed = self.moved_at.elapsed().mul_f64(speed.max(0.0));
        let by = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if 0 < by {
            self.moved_at = Instant::now();
            self.advance(by, clock::now_ms());
        }
    }

    fn advance(&mut self, by: u64, now: u64) {
        let speed = match self.time {
            Time::ByHand => None,
            Time::Running { .. } => Some(self.speed()),
        };
        self.ecs.advance(by, now, speed, &mut self.logs);
    }

    fn record(&mut self, operation: String, input: Value) -> String {
        let id = format!("aws-{:06}", self.requests.len() + 1);
        let (at_ms, status) = (clock::now_ms(), None);
        self.requests.push(RequestRecord { id: id.clone(), at_ms, operation, input, status });
        id
    }

    /// Does what a request asks for, if request and answer are what AWS's models allow.
    fn answer(&mut self, request: &Request) -> Answer {
        self.catch_up();
        let model = Model::of(request.service);
        let Some(operation) = model.operation(&request.operation) else {
            let message = format!("{} is not emulated", request.operation);
            return Err(Refusal::new("UnknownOperationException", message));
        };
        let complaints = model.check_input(operation, &request.input);
        if !complaints.is_empty() {
            let message = format!("the request is not what AWS knows: {}", complaints.join("; "));
            return Err(Refusal::internal(message));
        }
        let now = clock::now_ms();
        let (name, input) = (request.operation.as_str(), &request.input);
        let answer = match request.service {
            "ecs" => self.ecs.answer(name, input, now, &mut self.logs),
            _ => self.logs.answer(name, input, now),
        };
        let answer = answer.map(without_nulls);
        let complaints = match &answer {
            Ok(body) => model.check_output(operation, body),
            Err(refusal) => model.check_error(operation, refusal.code),
        };
        if complaints.is_empty() {
            return answer;
        }
        Err(Refusal::internal(format!("not an answer of AWS: {}", complaints.join("; "))))
    }
}

impl Inner {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
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

/// AWS leaves out what it does not know.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

async fn serve(listener: WireListener, shared: Arc<Inner>) {
    let stop = shared.stop.clone();
    let app = Router::new().fallback(respond).with_state(shared);
    listener.serve(app, stop, "AWS").await;
}

async fn respond(
    Shared(shared): Shared<Arc<Inner>>,
    ConnectInfo(knife): ConnectInfo<Knife>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let target = header_text(&parts.headers, "x-amz-target");
    let (service, operation) = target_of(&target);
    let input = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let id = shared.world().record(format!("{service}:{operation}"), input.clone());
    if header_text(&parts.headers, header::AUTHORIZATION.as_str()).is_empty() {
        let refusal = Refusal::new("MissingAuthenticationTokenException", "no credentials");
        return write(&shared, &id, Some(Err(refusal.with_status(StatusCode::FORBIDDEN))));
    }
    let request = Request { id, service, operation, input };
    let answer = with_faults(&shared, &knife, &request).await;
    write(&shared, &request.id, answer)
}

/// The service and operation that a target names.
fn target_of(target: &str) -> (&'static str, String) {
    let (prefix, operation) = target.split_once('.').unwrap_or((target, ""));
    let service = ["ecs", "logs"].into_iter().find(|name| Model::of(name).target == prefix);
    (service.unwrap_or("unknown"), operation.to_owned())
}

/// Answers a request, or nothing when its connection was cut.
async fn with_faults(shared: &Inner, knife: &Knife, request: &Request) -> Option<Answer> {
    let work = || shared.world().answer(request);
    let path = format!("{}:{}", request.service, request.operation);
    let Some(action) = shared.faults.strike("POST", &path) else { return Some(work()) };
    match action {
        Action::DropBeforeWork => {
            knife.cut();
            None
        }
        Action::DropAfterWork => {
            _ = work();
            knife.cut();
            None
        }
        Action::BadGatewayBeforeWork => {
            Some(Err(server_error(request.service, StatusCode::BAD_GATEWAY)))
        }
        Action::BadGatewayAfterWork => {
            _ = work();
            Some(Err(server_error(request.service, StatusCode::BAD_GATEWAY)))
        }
        Action::TooManyRequests { .. } | Action::RateLimited { .. } => {
            Some(Err(Refusal::new("ThrottlingException", "Rate exceeded")))
        }
        Action::Forbidden => Some(Err(forbidden(&path))),
        Action::Refuse { status } => Some(Err(refused(request.service, status))),
        Action::Slow { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Some(work())
        }
        Action::PauseBeforeWork => {
            shared.hold().await;
            Some(work())
        }
        Action::PauseAfterWork => {
            let answer = work();
            shared.hold().await;
            Some(answer)
        }
    }
}

fn server_error(service: &str, status: StatusCode) -> Refusal {
    let code = if service == "ecs" { "ServerException" } else { "ServiceUnavailableException" };
    Refusal::new(code, "Service Unavailable. Please try again later.").with_status(status)
}

fn forbidden(action: &str) -> Refusal {
    let message = format!(
        "User: arn:aws:iam::{ACCOUNT}:user/someone is not authorized to perform: {action} because no identity-based policy allows the {action} action"
    );
    Refusal::new("AccessDeniedException", message)
}

fn refused(service: &str, status: u16) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    if status.is_server_error() {
        return server_error(service, status);
    }
    let code = if service == "ecs" { "ClientException" } else { "InvalidParameterException" };
    Refusal::new(code, "Refused on request").with_status(status)
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim().to_owned()
}

fn write(shared: &Inner, id: &str, answer: Option<Answer>) -> Response {
    let status = answer.as_ref().map(|answer| match answer {
        Ok(_) => StatusCode::OK,
        Err(refusal) => refusal.status,
    });
    if let Some(record) = shared.world().requests.iter_mut().rev().find(|record| record.id == id) {
        record.status = status.map(|status| status.as_u16());
    }
    let body = match answer {
        Some(Ok(body)) => body,
        Some(Err(refusal)) => refusal.body(),
        None => Value::Null,
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status.unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in [("content-type", "application/x-amz-json-1.1"), ("x-amzn-requestid", id)]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
