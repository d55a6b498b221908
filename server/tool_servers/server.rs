//! One tool server: its connection, opened when needed and again after it broke; its limits; its calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use serde_json::{Map, Value};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use windlass_tools::contract::{ATTEMPT, FIRST_STARTED_AT, IDEMPOTENCY_KEY};

use super::{
    Breaker, Call, Era, Error, Failure, Keep, Outcome, Settings, ToolInfo, ToolProgress,
    alias_map::{self, AliasMap},
    built_in::BuiltIn,
    catalogue::{Catalogue, Entry},
    config::{Protocol, ServerConfig},
    connect::{self, Target},
    connection::{Connection, Wire},
    environment::{self, Resolved},
    files::Files,
    mcp_call::{self, Ask, Sent},
    redact::Redactor,
    write_only,
};
use crate::metrics;

/// Where a call stands in a trace, as OpenTelemetry has it in `_meta`.
const TRACEPARENT: &str = "traceparent";
/// What those before it say of that trace.
const TRACESTATE: &str = "tracestate";

/// Longer bounds are as good as none, and would not fit a clock.
const FOREVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How many calls a built-in server has in flight at most.
const BUILT_IN_MAX_IN_FLIGHT: u32 = 256;
/// What a tool gets that asks for a key, in a call that only looks.
const NO_KEY: &str = "look";
/// How long a shutdown waits for calls to hear of it, before their connections close.
const HEAR: Duration = Duration::from_millis(1_200);

/// One tool server.
pub(super) struct Server {
    name: String,
    pub(super) identity: String,
    source: Source,
    protocol: Protocol,
    alias_map: Option<&'static AliasMap>,
    bound: Option<Duration>,
    max_in_flight: u32,
    in_flight: Semaphore,
    redactor: Redactor,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
    link: Mutex<Link>,
    era: Mutex<Option<Era>>,
}

enum Source {
    BuiltIn(BuiltIn),
    Configured(Resolved),
    /// It cannot be used until the configuration changes.
    Unusable(String),
}

type Connecting = Shared<BoxFuture<'static, Result<Arc<Connection>, Failure>>>;

/// How the connection stands.
enum Link {
    Closed { failures: u32 },
    Connecting { attempt: Connecting, failures: u32 },
    Open(Arc<Connection>),
    Broken { failure: Failure, until: Instant, failures: u32 },
}

/// All that a call needs to go out.
struct Prepared {
    connection: Arc<Connection>,
    entry: Arc<Entry>,
    arguments: Map<String, Value>,
}

impl Server {
    pub(super) fn built_in(
        server: BuiltIn,
        settings: &Arc<Settings>,
        shutdown: &CancellationToken,
    ) -> Server {
        Server {
            name: server.name.clone(),
            identity: server.identity.clone(),
            source: Source::BuiltIn(server),
            protocol: Protocol::Modern,
            alias_map: None,
            bound: None,
            max_in_flight: BUILT_IN_MAX_IN_FLIGHT,
            in_flight: Semaphore::new(BUILT_IN_MAX_IN_FLIGHT as usize),
            redactor: Redactor::default(),
            settings: settings.clone(),
            shutdown: shutdown.clone(),
            link: Mutex::new(Link::Closed { failures: 0 }),
            era: Mutex::new(None),
        }
    }

    pub(super) fn configured(
        name: &str,
        config: &ServerConfig,
        settings: &Arc<Settings>,
        shutdown: &CancellationToken,
    ) -> Server {
        let source = source(config, &settings.environment);
        let redactor = match &source {
            Source::Configured(resolved) => resolved.redactor.clone(),
            Source::BuiltIn(_) | Source::Unusable(_) => Redactor::default(),
        };
        Server {
            name: name.to_owned(),
            identity: config.identity(),
            source,
            protocol: config.protocol,
            alias_map: config.alias_map.as_deref().and_then(alias_map::named),
            bound: config.timeout,
            max_in_flight: config.max_in_flight,
            in_flight: Semaphore::new(config.max_in_flight as usize),
            redactor,
            settings: settings.clone(),
            shutdown: shutdown.clone(),
            link: Mutex::new(Link::Closed { failures: 0 }),
            era: Mutex::new(None),
        }
    }

    pub(super) async fn tools(self: &Arc<Self>) -> Result<Arc<Vec<ToolInfo>>, Error> {
        let (_, catalogue) = self.listed().await.map_err(|failure| self.unreachable(failure))?;
        Ok(catalogue.tools.clone())
    }

    pub(super) async fn tool(self: &Arc<Self>, tool: &str) -> Result<ToolInfo, Error> {
        let (_, found) = self.find(tool).await.map_err(|failure| self.unreachable(failure))?;
        match found {
            Ok(entry) => Ok(entry.info.clone()),
            Err(nearest) => Err(self.unknown_tool(tool, nearest)),
        }
    }

    /// What the open connection, if there is one, knows of a tool.
    pub(super) fn known(&self, tool: &str) -> Option<Option<ToolInfo>> {
        let Link::Open(connection) = &*self.link() else { return None };
        Some(connection.known()?.find(tool).map(|entry| entry.info.clone()))
    }

    /// Whether it is called.
    pub(super) fn breaker(&self) -> Breaker {
        match &*self.link() {
            Link::Open(_) => Breaker::Closed,
            Link::Broken { until, .. } if Instant::now() < *until => {
                Breaker::Open { retry_after_ms: left_ms(*until) }
            }
            Link::Broken { .. } => Breaker::HalfOpen,
            Link::Closed { failures } | Link::Connecting { failures, .. } => match failures {
                0 => Breaker::Closed,
                _ => Breaker::HalfOpen,
            },
        }
    }

    /// Calls a tool. Until it is sent, nothing has happened; from then on it may have.
    pub(super) async fn call(
        self: &Arc<Self>,
        call: &Call,
        progress: &(dyn Fn(ToolProgress) + Send + Sync),
        keep: Keep<'_>,
    ) -> Outcome {
        let bound = self.bound.map_or(call.timeout, |bound| bound.min(call.timeout)).min(FOREVER);
        let began = std::time::Instant::now();
        let _out = metrics::call_out();
        let deadline = Instant::now() + bound;
        let outcome = tokio::select! {
            biased;
            () = call.cancel.cancelled() => Outcome::Failed(self.cancelled_early(call)),
            () = self.shutdown.cancelled() => Outcome::Failed(self.shutting_down()),
            () = sleep_until(deadline) => Outcome::Failed(self.too_slow(call, bound)),
            permit = self.in_flight.acquire() => {
                // The semaphore is never closed.
                let _permit = permit;
                self.prepare_and_send(call, bound, deadline, progress, keep).await
            }
        };
        // A document may name any tool, in any spelling; only one that is there is worth a line of its own.
        let tool = self.own_name(&call.tool.tool);
        metrics::called(Some(&self.name), tool.as_deref(), outcome.word(), began.elapsed());
        outcome.told(|text| self.redactor.redact(text))
    }

    /// What the tool of that name is called by the server itself, if the open connection knows one.
    fn own_name(&self, tool: &str) -> Option<String> {
        let Link::Open(connection) = &*self.link() else { return None };
        Some(connection.known()?.find(tool)?.name.clone())
    }

    async fn prepare_and_send(
        self: &Arc<Self>,
        call: &Call,
        bound: Duration,
        deadline: Instant,
        progress: &(dyn Fn(ToolProgress) + Send + Sync),
        keep: Keep<'_>,
    ) -> Outcome {
        let mut again = true;
        loop {
            let prepared = tokio::select! {
                biased;
                () = call.cancel.cancelled() => Err(self.cancelled_early(call)),
                () = self.shutdown.cancelled() => Err(self.shutting_down()),
                prepared = self.prepare(call) => prepared,
                () = sleep_until(deadline) => Err(self.too_slow(call, bound)),
            };
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(failure) => return Outcome::Failed(failure),
            };
            let ask = Ask {
                entry: &prepared.entry,
                arguments: prepared.arguments,
                meta: meta(call),
                deadline,
                bound,
                cancel: &call.cancel,
                shutdown: &self.shutdown,
                may_send: call.may_send.as_ref(),
                files: Files {
                    host: self.settings.files.as_ref().filter(|_| !call.idempotency_key.is_empty()),
                    key: &call.idempotency_key,
                    tool: &prepared.entry.info.name,
                    pollable: prepared.entry.info.pollable,
                },
                progress,
            };
            match send(&prepared.connection, &ask).await {
                Sent::Yes(outcome) => {
                    let outcome = prepared.entry.incoming(outcome);
                    return kept(outcome, &prepared.entry, keep);
                }
                // The child had gone without our having heard of it; a new one is as good.
                Sent::Not(_) if again => again = false,
                Sent::Not(failure) => return Outcome::Failed(failure),
            }
        }
    }

    async fn prepare(self: &Arc<Self>, call: &Call) -> Result<Prepared, Failure> {
        let (connection, found) = self.find(&call.tool.tool).await?;
        if let Some(inspect) = &call.inspect {
            inspect(found.as_ref().ok().map(|entry| &entry.info)).await?;
        }
        let entry = found.map_err(|nearest| {
            let error = self.unknown_tool(&call.tool.tool, nearest);
            Failure::new("unknown_tool", error.to_string(), Some(false))
        })?;
        let Value::Object(arguments) = call.params.clone() else {
            return Err(invalid(call, &["at /: params must be an object".to_owned()]));
        };
        let mut arguments = entry.fit(arguments)?;
        let key = if call.idempotency_key.is_empty() { NO_KEY } else { &call.idempotency_key };
        entry.fill_key(&mut arguments, key);
        let arguments = Value::Object(arguments);
        match entry.input_problems(&arguments).as_slice() {
            [] => {}
            problems => return Err(invalid(call, problems)),
        }
        let Value::Object(arguments) = arguments else {
            unreachable!("it was made an object above")
        };
        let arguments = entry.outgoing(arguments).map_err(|problems| invalid(call, &problems))?;
        Ok(Prepared { connection, entry, arguments })
    }

    /// A tool by name; the nearest names where there is none.
    async fn find(
        self: &Arc<Self>,
        tool: &str,
    ) -> Result<(Arc<Connection>, Result<Arc<Entry>, Vec<String>>), Failure> {
        let (connection, catalogue) = self.listed().await?;
        if let Some(entry) = catalogue.find(tool) {
            return Ok((connection, Ok(entry.clone())));
        }
        let newer = connection.newer_catalogue(&self.name).await.unwrap_or(catalogue);
        let found = newer.find(tool).cloned().ok_or_else(|| newer.nearest(tool));
        Ok((connection, found))
    }

    async fn listed(self: &Arc<Self>) -> Result<(Arc<Connection>, Arc<Catalogue>), Failure> {
        let mut connection = self.connection().await?;
        let mut catalogue = connection.catalogue(&self.name).await;
        if catalogue.is_err() && connection.is_retired() {
            connection = self.connection().await?;
            catalogue = connection.catalogue(&self.name).await;
        }
        match catalogue {
            Ok(catalogue) => Ok((connection, catalogue)),
            Err(failure) => Err(failure.told(|text| self.redactor.redact(&self.sentence(text)))),
        }
    }

    /// The connection; opened if need be, by whoever comes first, for all who wait.
    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, Failure> {
        if self.shutdown.is_cancelled() {
            return Err(self.shutting_down());
        }
        if let Source::Unusable(reason) = &self.source {
            return Err(Failure::new("unavailable", self.sentence(reason), Some(false)));
        }
        let attempt = {
            let mut link = self.link();
            match &*link {
                Link::Open(connection) if !connection.is_over() => return Ok(connection.clone()),
                Link::Broken { failure, until, .. } if Instant::now() < *until => {
                    return Err(still_broken(failure, *until));
                }
                Link::Connecting { attempt, .. } => attempt.clone(),
                Link::Open(_) | Link::Closed { .. } | Link::Broken { .. } => {
                    let attempt = self.begin();
                    let failures = link.failures();
                    *link = Link::Connecting { attempt: attempt.clone(), failures };
                    attempt
                }
            }
        };
        attempt.await
    }

    /// Connects in a task of its own: a caller that gives up must not take the others' connection with it.
    fn begin(self: &Arc<Self>) -> Connecting {
        let server = self.clone();
        let task = tokio::spawn(async move { server.connect().await });
        let broke_down = || Failure::unavailable("connecting to the tool server broke down");
        task.map(move |result| result.unwrap_or_else(|_| Err(broke_down()))).boxed().shared()
    }

    async fn connect(self: &Arc<Self>) -> Result<Arc<Connection>, Failure> {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.shutdown.cancelled() => Err(self.shutting_down()),
        };
        let opened = opened
            .map(Arc::new)
            .map_err(|failure| failure.told(|text| self.redactor.redact(&self.sentence(text))));
        let mut link = self.link();
        let failures = link.failures();
        *link = match &opened {
            Ok(connection) => Link::Open(connection.clone()),
            Err(failure) => Link::Broken {
                failure: failure.clone(),
                until: Instant::now() + self.settings.backoff(failures),
                failures: failures.saturating_add(1),
            },
        };
        opened
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let target = Target {
            name: &self.name,
            protocol: self.protocol,
            max_in_flight: self.max_in_flight,
            known: self.known_era(),
            root: &self.settings.root,
            deadline: Instant::now() + self.settings.connect_timeout,
        };
        match &self.source {
            Source::Unusable(reason) => Err(Failure::new("unavailable", reason, Some(false))),
            Source::BuiltIn(server) => connect::built_in(&target, server).await,
            Source::Configured(resolved) => {
                let (mut connection, era) = connect::configured(&target, resolved).await?;
                era.into_iter().for_each(|era| self.remember(era));
                connection.alias_map = self.alias_map;
                connection.untold_ttl = self.settings.untold_ttl;
                Ok(connection)
            }
        }
    }

    fn known_era(&self) -> Option<Era> {
        let known = *self.era.lock().unwrap_or_else(PoisonError::into_inner);
        known.or_else(|| self.settings.eras.as_ref()?.get(&self.identity))
    }

    fn remember(&self, era: Era) {
        if self.known_era() != Some(era)
            && let Some(eras) = &self.settings.eras
        {
            eras.set(&self.identity, era);
        }
        *self.era.lock().unwrap_or_else(PoisonError::into_inner) = Some(era);
    }

    /// Lets calls hear of the shutdown, then ends the connection.
    pub(super) async fn close(&self) {
        let all = self.in_flight.acquire_many(self.max_in_flight);
        // Whoever is still out then, loses the connection.
        let _ = timeout(HEAR, all).await;
        let link = std::mem::replace(&mut *self.link(), Link::Closed { failures: 0 });
        let connection = match link {
            Link::Open(connection) => Some(connection),
            Link::Connecting { attempt, .. } => attempt.await.ok(),
            Link::Closed { .. } | Link::Broken { .. } => None,
        };
        if let Some(connection) = connection {
            connection.close().await;
            connection.kill();
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sentence(&self, text: &str) -> String {
        format!("tool server {:?} cannot be reached: {text}", self.name)
    }

    fn unreachable(&self, failure: Failure) -> Error {
        let prefix = self.sentence("");
        let reason = failure.message.strip_prefix(&prefix).unwrap_or(&failure.message).to_owned();
        Error::Unreachable { server: self.name.clone(), reason }
    }

    fn unknown_tool(&self, tool: &str, nearest: Vec<String>) -> Error {
        Error::UnknownTool { server: self.name.clone(), tool: tool.to_owned(), nearest }
    }

    fn shutting_down(&self) -> Failure {
        Failure::unavailable(self.sentence("this process is shutting down"))
    }

    fn cancelled_early(&self, call: &Call) -> Failure {
        let text = format!("{} was cancelled before it was called", call.tool);
        Failure::new("cancelled", text, Some(false))
    }

    fn too_slow(&self, call: &Call, bound: Duration) -> Failure {
        let bound = bound.as_millis();
        let text = if self.in_flight.available_permits() == 0 {
            format!(
                "{} was not called: within {bound} ms none of the {} calls that tool server {:?} may have in flight ended; raise `max_in_flight` or the timeout",
                call.tool, self.max_in_flight, self.name
            )
        } else {
            format!(
                "{} was not called: tool server {:?} was not ready within {bound} ms",
                call.tool, self.name
            )
        };
        Failure::unavailable(text)
    }
}

impl Link {
    fn failures(&self) -> u32 {
        match self {
            Link::Open(_) => 0,
            Link::Closed { failures }
            | Link::Connecting { failures, .. }
            | Link::Broken { failures, .. } => *failures,
        }
    }
}

fn source(config: &ServerConfig, variables: &BTreeMap<String, String>) -> Source {
    if config.disabled {
        return Source::Unusable(
            "it is disabled in the configuration; take `disabled` out".to_owned(),
        );
    }
    match environment::resolve(&config.transport, variables) {
        Ok(resolved) => Source::Configured(resolved),
        Err(reason) => Source::Unusable(reason),
    }
}

async fn send(connection: &Connection, ask: &Ask<'_>) -> Sent {
    // Asked when there is nothing left to wait for.
    if !ask.may_send().await {
        return Sent::Yes(Outcome::Failed(Failure::lease_lost()));
    }
    match &connection.wire {
        Wire::Mcp(mcp) => mcp.call(ask).await,
        Wire::Afu9(server) => {
            let call = Box::pin(server.call(ask));
            Sent::Yes(tokio::select! {
                biased;
                outcome = call => outcome,
                () = ask.stopped() => mcp_call::cancelled(ask),
                () = sleep_until(ask.deadline) => mcp_call::timed_out(ask),
            })
        }
    }
}

/// The outcome without what the tool says is not to be read again.
fn kept(outcome: Outcome, entry: &Entry, keep: Keep<'_>) -> Outcome {
    let hidden = |result: Value| {
        let places = write_only::places(&result, entry);
        if places.is_empty() { result } else { keep(result, &places) }
    };
    match outcome {
        Outcome::Succeeded(result) => Outcome::Succeeded(hidden(result)),
        Outcome::NotDone(said) => Outcome::NotDone(hidden(said)),
        Outcome::Failed(_) | Outcome::Uncertain { .. } => outcome,
    }
}

fn meta(call: &Call) -> Map<String, Value> {
    let mut meta = Map::new();
    if !call.idempotency_key.is_empty() {
        meta.insert(IDEMPOTENCY_KEY.to_owned(), call.idempotency_key.as_str().into());
    }
    meta.insert(ATTEMPT.to_owned(), call.attempt.into());
    meta.insert(FIRST_STARTED_AT.to_owned(), call.first_started_at.into());
    if let Some(traceparent) = &call.traceparent {
        meta.insert(TRACEPARENT.to_owned(), traceparent.as_str().into());
    }
    if let Some(tracestate) = &call.tracestate {
        meta.insert(TRACESTATE.to_owned(), tracestate.as_str().into());
    }
    meta
}

fn invalid(call: &Call, problems: &[String]) -> Failure {
    let text = format!(
        "{} was not called, because its arguments do not fit: {}",
        call.tool,
        problems.join("; ")
    );
    Failure::new("invalid_argument", text, Some(false))
}

/// Rounded up: who waits so long must not come too early.
fn left_ms(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn still_broken(failure: &Failure, until: Instant) -> Failure {
    let wait_ms = left_ms(until);
    let message = format!("{}; it is tried again in {wait_ms} ms", failure.message);
    match failure.retryable {
        Some(false) => Failure { message, ..failure.clone() },
        Some(true) | None => Failure { message, ..failure.clone() }.after(Some(wait_ms)),
    }
}
