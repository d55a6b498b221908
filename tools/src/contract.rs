//! What all shipped tool servers share: how a tool is described, called and answers.

mod cap;
mod error;
mod fit;
mod host;
mod input;
pub mod lock;
pub mod schema;
mod server;
pub mod text;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::model::{JsonObject, ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::error::{Code, Provider, ToolError};
pub use self::fit::{Aliases, fit, widened};
pub use self::host::{
    Artifact, Asked, Forgetful, Host, MAX_ARTIFACT_BYTES, NewArtifact, Service, Spent, SpentOn,
    Surroundings, Usage, no_host,
};
pub use self::server::{Learned, Server};

/// The request `_meta` key that carries the idempotency key.
pub const IDEMPOTENCY_KEY: &str = "dev.windlass/idempotency_key";
/// The request `_meta` key that counts how often this call went out.
pub const ATTEMPT: &str = "dev.windlass/attempt";
/// The request `_meta` key that says when it first went out, in milliseconds since 1970.
pub const FIRST_STARTED_AT: &str = "dev.windlass/first_started_at";
/// The tool `_meta` key that carries the retry class.
pub const RETRY_CLASS: &str = "dev.windlass/retry_class";
/// The tool `_meta` key of a tool that looks once and may answer `done: false` with `retry_after_ms`:
/// Windlass then looks again at that time, and holds nothing meanwhile.
pub const POLLABLE: &str = "dev.windlass/pollable";
/// The tool `_meta` key that carries other names, of the tool and of its arguments:
/// `{"names": ["…"], "arguments": {"number": ["issue_number"]}}`. A tool that has it also converts types by itself.
pub const ALIASES: &str = "dev.windlass/aliases";

/// What may be done when nobody knows whether a call happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// It changes nothing: call again freely.
    Read,
    /// The same arguments lead to the same end: call again freely.
    Idempotent,
    /// It finds its own earlier work by the idempotency key: call again with the same key.
    Keyed,
    /// Nothing can be looked up: ask before calling again.
    Unsafe,
}

/// What a tool is, for those who list, check and call it.
#[derive(Debug, Clone)]
pub struct ToolSpec {
    /// The name it is called by.
    pub name: &'static str,
    /// A name for people.
    pub title: &'static str,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    /// The JSON Schema of its arguments.
    pub input: Value,
    /// The JSON Schema of its result.
    pub output: Value,
    /// Whether it may undo or delete what exists.
    pub destructive: bool,
    /// Whether it reaches outside of this machine.
    pub open_world: bool,
    /// What may be done when its outcome is unknown.
    pub retry_class: RetryClass,
    /// Other names of its arguments, beside those that all tools know: `(argument, others)`.
    pub aliases: &'static [(&'static str, &'static [&'static str])],
    /// Other names of the tool, which are called but not listed.
    pub names: &'static [&'static str],
    /// Whether one call is one look: it answers `done`, and while that is false `retry_after_ms`.
    pub pollable: bool,
    /// The services of a host without which it is not offered.
    pub needs: &'static [Service],
    /// The longest result in bytes of its JSON; a longer one is cut, and kept whole as an artifact where there is a host.
    pub max_bytes: usize,
}

/// The longest result of a tool that names no bound of its own.
pub const MAX_RESULT_BYTES: usize = 64 * 1024;

impl Default for ToolSpec {
    /// A tool that only reads, of the outside, and has no name yet.
    fn default() -> Self {
        Self {
            name: "",
            title: "",
            description: "",
            input: Value::Null,
            output: Value::Null,
            destructive: false,
            open_world: true,
            retry_class: RetryClass::Read,
            aliases: &[],
            names: &[],
            pollable: false,
            needs: &[],
            max_bytes: MAX_RESULT_BYTES,
        }
    }
}

/// A tool of a server with the state `S`: its description and the function that does it.
#[derive(Debug)]
pub struct Tool<S> {
    /// What it is.
    pub spec: ToolSpec,
    /// What does it.
    pub run: fn(Arc<S>, Call) -> Running,
}

/// A tool at work.
pub type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a tool answers.
pub type Answer = Result<Value, ToolError>;

/// One call of a tool, its arguments checked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The arguments, under their own names and of their own types.
    pub arguments: JsonObject,
    /// The same over all attempts of one step; absent when the caller is not Windlass.
    pub idempotency_key: Option<String>,
    /// How often this call went out, counted from 1.
    pub attempt: u64,
    /// When it first went out, in milliseconds since 1970.
    pub first_started_at: Option<i64>,
    /// Whether it may be repeated when its outcome is unknown.
    pub retry_safe: bool,
    /// Rung when nobody waits for the answer any more.
    pub cancelled: CancellationToken,
    /// Where to say how far it is.
    pub progress: Progress,
}

/// Tells the caller how far a call is, if the caller asked to be told.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<(Peer<RoleServer>, ProgressToken)>);

impl RetryClass {
    /// The word that is published.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Keyed => "keyed",
            Self::Unsafe => "unsafe",
        }
    }
}

impl Call {
    /// The arguments as the type that the tool works with.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        let arguments = Value::Object(self.arguments.clone());
        serde_json::from_value(arguments).map_err(|error| {
            ToolError::new(Code::InvalidArgument, format!("the arguments do not fit: {error}"))
        })
    }

    /// The execution that this call is for, when the caller is Windlass.
    pub fn execution_id(&self) -> Option<&str> {
        execution_of(self.idempotency_key.as_deref()?)
    }

    /// The path of the step that this call is for, when the caller is Windlass.
    pub fn step(&self) -> Option<&str> {
        step_of(self.idempotency_key.as_deref()?)
    }

    /// The key, when an earlier attempt may have left something to find by it.
    pub fn key_to_look_up(&self) -> Option<&str> {
        self.idempotency_key.as_deref().filter(|_| 1 < self.attempt)
    }
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The execution that an idempotency key of Windlass begins with.
#[must_use]
pub fn execution_of(key: &str) -> Option<&str> {
    key.split_once('/').map(|(id, _)| id)
}

/// The path of the step in an idempotency key of Windlass.
#[must_use]
pub fn step_of(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('/')?;
    Some(rest.rsplit_once('#').map_or(rest, |(path, _)| path))
}

impl Progress {
    fn to(peer: Peer<RoleServer>, token: Option<ProgressToken>) -> Self {
        Self(token.map(|token| (peer, token)))
    }

    /// Reports that so much of so much is done.
    pub async fn report(&self, done: f64, total: f64, message: &str) {
        let Some((peer, token)) = &self.0 else { return };
        let param = ProgressNotificationParam::new(token.clone(), done);
        // Progress is a courtesy: a caller that has gone learns nothing from it.
        _ = peer.notify_progress(param.with_total(total).with_message(message)).await;
    }
}
