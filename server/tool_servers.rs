//! The tool servers that workflows call: connections out, over MCP.

mod afu9;
mod alias_map;
mod alone;
mod answer;
mod built_in;
mod catalogue;
mod client;
mod config;
mod configured;
mod connect;
mod connection;
mod environment;
mod failure;
mod files;
mod host;
mod http;
mod http_client;
mod in_process;
mod lines;
mod look;
mod mcp_call;
mod pipe;
mod process;
mod redact;
mod server;
mod write_only;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_engine::ToolName;
use windlass_tools::contract::{self, Aliases, Host};

use connection::UNTOLD_TTL;
use server::Server;

use crate::{limits::Limits, metrics};

pub use alone::{CALLS_MODELS, OverStdio, SHIPPED, Visit, visit};
pub use built_in::BuiltIn;
pub use config::{ConfigError, Protocol, ServerConfig, Transport, read_mcp_config};
pub use configured::{configured, credentials};
pub use host::Hosted;

/// What of the libraries' logs is left out unless somebody asks for it, as a filter of `tracing`.
///
/// rmcp logs every message whole: arguments and results, secrets among them. Of a tool server that cannot be reached over
/// HTTP it tells the whole address, which may have a key in it; a call that fails says so without. What octocrab calls an
/// error is an answer to us.
pub const QUIET: &str = "rmcp=warn,rmcp::transport::worker=off,rmcp::transport::streamable_http_client=off,octocrab=off";

/// No shutdown takes longer.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Every tool server this process may call; cheap to clone.
#[derive(Clone)]
pub struct ToolServers {
    inner: Arc<Inner>,
    limits: Arc<Limits>,
}

struct Inner {
    servers: BTreeMap<String, Arc<Server>>,
    shutdown: CancellationToken,
}

/// What holds for all tool servers.
#[derive(Clone)]
pub struct Settings {
    /// Where `${VAR}` is looked up, and what children inherit a few variables of.
    pub environment: BTreeMap<String, String>,
    /// The folder that servers are started in, and where a relative `cwd` starts; empty: the current directory.
    pub root: PathBuf,
    /// Keeps the files that tools answer with; without it they are named and gone.
    pub files: Option<Arc<dyn Host>>,
    /// Remembers over restarts which protocol each server speaks, where that is wanted.
    pub eras: Option<Arc<dyn EraMemory>>,
    /// Bound on starting a server and agreeing on a protocol with it; `npx` may have to download one first.
    pub connect_timeout: Duration,
    /// The time to the next attempt after a failed connect; doubles with every further failure.
    pub first_backoff: Duration,
    /// It grows no longer than this.
    pub longest_backoff: Duration,
    /// How long a list of tools is believed that came without a time, where no change of it would be heard of.
    pub untold_ttl: Duration,
}

/// Which kind of protocol a server speaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// MCP up to 2025-11-25.
    Legacy,
    /// MCP from 2026-07-28.
    Modern,
    /// Plain JSON-RPC, as the AFU-9 servers speak it.
    Afu9,
}

/// Remembers which protocol each server speaks: some servers take ten seconds to be found out.
/// Both methods are called while connecting and must not wait for anything.
pub trait EraMemory: Send + Sync {
    /// What is remembered of the server with that identity.
    fn get(&self, identity: &str) -> Option<Era>;
    /// Remembers it.
    fn set(&self, identity: &str, era: Era);
}

/// Says whether a call may still go out; within a few seconds, and at once where it is known.
pub type MaySend = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Looks at a tool, as its server describes it at the last moment before a call goes out (`None`: there is none of
/// that name). What it says then is why the call is not made.
pub type Inspect =
    Arc<dyn Fn(Option<&ToolInfo>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// Makes of a result what may be kept: it seals what stands at these places (JSON Pointers), which the tool's output
/// schema marks `writeOnly`. Called before anybody else sees the result.
pub type Keep<'a> = &'a (dyn Fn(Value, &[String]) -> Value + Send + Sync);

/// One call to one tool.
#[derive(Clone)]
pub struct Call {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments; an object.
    pub params: Value,
    /// The same over all attempts of a step; travels in `_meta`. Empty for a call that nothing is kept of.
    pub idempotency_key: String,
    /// How often this call has gone out for the step, this time included; at least 1.
    pub attempt: u32,
    /// When the step's first call went out, in milliseconds since 1970.
    pub first_started_at: i64,
    /// Bound on the whole call, connecting included.
    pub timeout: Duration,
    /// Cancelling it cancels the tool.
    pub cancel: CancellationToken,
    /// Asked last of all before the call goes out, after every wait for a place or a connection; where it says no,
    /// the call is not made and fails as `lease_lost`.
    pub may_send: Option<MaySend>,
    /// Asked when the tool is known and before it is called.
    pub inspect: Option<Inspect>,
    /// The place of this call in a trace, as W3C's `traceparent`; travels in `_meta`.
    pub traceparent: Option<String>,
    /// What those before it say of that trace, as W3C's `tracestate`; travels in `_meta` too.
    pub tracestate: Option<String>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool did it; its structured result, or its text (as JSON where it is JSON).
    Succeeded(Value),
    /// The tool looked, and is not done: it wants to be called again. What it said.
    NotDone(Value),
    /// The tool was not called, or says that it failed.
    Failed(Failure),
    /// The call may or may not have happened.
    Uncertain {
        /// What was seen.
        failure: Failure,
        /// Whether calling again with the same key is harmless (read-only, idempotent or keyed).
        repeatable: bool,
    },
}

/// Whether a tool server is called. One that could not be reached is left alone for a while, longer after each further
/// failure; calls fail at once meanwhile, and say when it is tried again. The first call after that is the probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    /// It is called.
    Closed,
    /// It could not be reached, and the next call finds out whether it can be, or is just doing so.
    HalfOpen,
    /// It could not be reached and is left alone.
    Open {
        /// For so long, in milliseconds.
        retry_after_ms: u64,
    },
}

/// Why a call failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Stable, for machines: `invalid_argument`, `unavailable`, `timeout`, `tool_error` …
    pub code: String,
    /// What happened, what is allowed and what to do next.
    pub message: String,
    /// Whether the same call may succeed later; `None` when nobody knows.
    pub retryable: Option<bool>,
    /// How long to wait first, in milliseconds, when the tool says so.
    pub retry_after_ms: Option<u64>,
}

/// How safe it is to call a tool again with the same key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// Changes nothing.
    Read,
    /// The same arguments lead to the same end state.
    Idempotent,
    /// Looks the key up before it acts.
    Keyed,
    /// Nothing is known that would make a second call harmless.
    Unsafe,
}

/// One tool of one server, as the server describes it.
#[derive(Clone, Debug, Serialize)]
pub struct ToolInfo {
    /// Its name: the server's, a dot, the tool's own.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its structured result, if it names one.
    pub output_schema: Option<Value>,
    /// What the server says of the risk of calling it; an object, or null.
    pub annotations: Value,
    /// Whether it may be called again.
    pub retry_class: RetryClass,
    /// Whether one call is one look, after which it may want to be called again.
    pub pollable: bool,
    /// Other names of it and of its arguments, where it publishes them: then arguments are made to fit it.
    #[serde(skip)]
    pub aliases: Option<Aliases>,
}

/// What a running tool says of its progress.
#[derive(Clone, Debug)]
pub struct ToolProgress {
    /// How far it has come, in its own unit.
    pub progress: f64,
    /// How far it has to go, if it knows.
    pub total: Option<f64>,
    /// For people.
    pub message: Option<String>,
}

/// A question about tool servers that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such server is configured; names what is.
    #[error("no tool server is called {name:?}{}", did_you_mean(.nearest))]
    UnknownServer {
        /// What was asked for.
        name: String,
        /// The closest names there are.
        nearest: Vec<String>,
    },
    /// The server has no such tool; names what it has.
    #[error("tool server {server:?} has no tool {tool:?}{}", did_you_mean(.nearest))]
    UnknownTool {
        /// The server.
        server: String,
        /// What was asked for.
        tool: String,
        /// The closest names there are.
        nearest: Vec<String>,
    },
    /// The server could not be reached or started.
    #[error("tool server {server:?} cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", nearest.join(", "))
    }
}

impl Breaker {
    /// Every state that there is.
    pub const STATES: [&str; 3] = ["closed", "half_open", "open"];

    /// Its state as a word, one of [`Breaker::STATES`].
    #[must_use]
    pub fn word(self) -> &'static str {
        let [closed, half_open, open] = Breaker::STATES;
        match self {
            Breaker::Closed => closed,
            Breaker::HalfOpen => half_open,
            Breaker::Open { .. } => open,
        }
    }
}

impl ToolInfo {
    /// Other names of its arguments, each with its own one.
    #[must_use]
    pub fn other_names(&self) -> BTreeMap<String, String> {
        let arguments = self.aliases.iter().flat_map(|aliases| &aliases.arguments);
        let pairs = arguments
            .flat_map(|(own, others)| others.iter().map(|other| (other.clone(), own.clone())));
        pairs.collect()
    }

    /// The schema of what may be written for it; of its arguments' types as they are made to fit, where they are.
    #[must_use]
    pub fn accepted_schema(&self) -> Value {
        match self.aliases {
            Some(_) => contract::widened(&self.input_schema),
            None => self.input_schema.clone(),
        }
    }
}

impl Default for Settings {
    /// The process's own environment, and no memory beyond its life.
    fn default() -> Settings {
        let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Settings {
            environment: std::env::vars_os().filter_map(readable).collect(),
            root: PathBuf::new(),
            files: None,
            eras: None,
            connect_timeout: Duration::from_secs(60),
            first_backoff: Duration::from_millis(250),
            longest_backoff: Duration::from_secs(30),
            untold_ttl: UNTOLD_TTL,
        }
    }
}

impl Settings {
    fn backoff(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures);
        self.first_backoff.saturating_mul(factor).min(self.longest_backoff)
    }
}

/// Leaves out the params, which may have secrets in them.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("tool", &self.tool)
            .field("idempotency_key", &self.idempotency_key)
            .field("attempt", &self.attempt)
            .field("first_started_at", &self.first_started_at)
            .field("timeout", &self.timeout)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    /// Leaves out the environment, which holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("connect_timeout", &self.connect_timeout)
            .field("first_backoff", &self.first_backoff)
            .field("longest_backoff", &self.longest_backoff)
            .field("untold_ttl", &self.untold_ttl)
            .finish_non_exhaustive()
    }
}

impl ToolServers {
    /// Knows the servers of a configuration and those of this program; a configured one replaces a built-in one
    /// of its name. Connects to none yet.
    #[must_use]
    pub fn new(
        servers: BTreeMap<String, ServerConfig>,
        built_in: Vec<BuiltIn>,
        settings: Settings,
    ) -> ToolServers {
        let settings = Arc::new(settings);
        let shutdown = CancellationToken::new();
        let built_in = built_in
            .into_iter()
            .map(|server| (server.name.clone(), Server::built_in(server, &settings, &shutdown)));
        let configured = servers.iter().map(|(name, config)| {
            (name.clone(), Server::configured(name, config, &settings, &shutdown))
        });
        let servers =
            built_in.chain(configured).map(|(name, server)| (name, Arc::new(server))).collect();
        let limits = Arc::default();
        ToolServers { inner: Arc::new(Inner { servers, shutdown }), limits }
    }

    /// The same, with limits on calls. They are kept by whoever decides that a call begins.
    #[must_use]
    pub fn limited(self, limits: Limits) -> ToolServers {
        ToolServers { limits: Arc::new(limits), ..self }
    }

    /// How many calls may be out and may begin.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The names of all tool servers, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner.servers.keys().cloned().collect()
    }

    /// What identifies each server's configuration, without secrets; recorded with every execution.
    #[must_use]
    pub fn identities(&self) -> BTreeMap<String, String> {
        let servers = self.inner.servers.iter();
        servers.map(|(name, server)| (name.clone(), server.identity.clone())).collect()
    }

    /// What identifies one server's configuration, without secrets.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn identity(&self, server: &str) -> Result<&str, Error> {
        Ok(&self.server(server)?.identity)
    }

    /// The servers of a record that are not here, or configured otherwise; `None` when it is no record of any.
    ///
    /// A record is what [`ToolServers::identities`] says, as JSON, of the servers that an execution uses.
    #[must_use]
    pub fn changed_since(&self, record: &str) -> Option<Vec<String>> {
        let recorded: BTreeMap<String, String> = serde_json::from_str(record).ok()?;
        let changed = recorded
            .into_iter()
            .filter(|(name, identity)| self.identity(name).ok() != Some(identity.as_str()));
        Some(changed.map(|(name, _)| name).collect())
    }

    /// Whether each tool server is called, by its name. Asks nobody.
    #[must_use]
    pub fn breakers(&self) -> BTreeMap<String, Breaker> {
        let servers = self.inner.servers.iter();
        servers.map(|(name, server)| (name.clone(), server.breaker())).collect()
    }

    /// Every tool of one server; connects if need be.
    ///
    /// # Errors
    /// When there is no such server or it cannot be reached.
    pub async fn tools(&self, server: &str) -> Result<Arc<Vec<ToolInfo>>, Error> {
        self.server(server)?.tools().await
    }

    /// One tool, by exact name or alias.
    ///
    /// # Errors
    /// When the server or the tool does not exist, or the server cannot be reached.
    pub async fn tool(&self, name: &ToolName) -> Result<ToolInfo, Error> {
        self.server(&name.server)?.tool(&name.tool).await
    }

    /// A tool as it was listed last, without asking anybody: `None` when nothing is known of it now, `Some(None)` when
    /// its server has no such tool.
    #[must_use]
    pub fn known(&self, name: &ToolName) -> Option<Option<ToolInfo>> {
        self.server(&name.server).ok()?.known(&name.tool)
    }

    /// Calls a tool; never fails otherwise than by its outcome, which is whole.
    pub async fn call(
        &self,
        call: Call,
        progress: &(dyn Fn(ToolProgress) + Send + Sync),
    ) -> Outcome {
        self.call_and_keep(call, progress, &|result, _| result).await
    }

    /// The same, with an outcome that may be kept.
    pub async fn call_and_keep(
        &self,
        call: Call,
        progress: &(dyn Fn(ToolProgress) + Send + Sync),
        keep: Keep<'_>,
    ) -> Outcome {
        match self.server(&call.tool.server) {
            Ok(server) => server.call(&call, progress, keep).await,
            Err(error) => {
                metrics::called(None, None, "failed", Duration::ZERO);
                Outcome::Failed(Failure::new("unknown_tool", error.to_string(), Some(false)))
            }
        }
    }

    /// Closes every connection and ends every child process, within a bound.
    pub async fn shutdown(&self) {
        self.inner.shutdown.cancel();
        let closing = join_all(self.inner.servers.values().map(|server| server.close()));
        if tokio::time::timeout(SHUTDOWN, closing).await.is_err() {
            tracing::warn!("some tool servers did not end in time and were killed");
        }
    }

    fn server(&self, name: &str) -> Result<&Arc<Server>, Error> {
        self.inner.servers.get(name).ok_or_else(|| Error::UnknownServer {
            name: name.to_owned(),
            nearest: catalogue::nearest(name, self.inner.servers.keys().map(String::as_str)),
        })
    }
}
