//! The one MCP server that all tool servers are: it lists, checks, calls and answers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
    Implementation, JsonObject, ListToolsResult, MetaObject, PaginatedRequestParams, Resource,
    ServerCapabilities, ServerConfig, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;

use jsonschema::Validator;

use super::cap::Cap;
use super::fit::Aliases;
use super::input::{Input, nearest};
use super::text::redact_value;
use super::{
    ALIASES, ATTEMPT, Answer, Artifact, Call, Code, FIRST_STARTED_AT, Host, IDEMPOTENCY_KEY,
    POLLABLE, Progress, RETRY_CLASS, RetryClass, Running, Service, Tool, ToolError, ToolSpec,
};

const LIST_TTL_MS: u64 = 60_000;

/// A tool server: a name, some state and tools over it.
pub struct Server<S>(Arc<Inner<S>>);

struct Inner<S> {
    name: &'static str,
    instructions: &'static str,
    state: Arc<S>,
    tools: BTreeMap<&'static str, Prepared<S>>,
    /// The other names of tools, each with the own one.
    others: BTreeMap<String, &'static str>,
    read_only: bool,
    host: Option<Arc<dyn Host>>,
    secrets: Secrets,
}

/// Why a tool that exists is not offered.
enum Withheld {
    /// The configuration switches it off.
    ReadOnly,
    /// It cannot do without this service, and there is no host.
    NoHost(Service),
}

/// What is done about credentials in results.
#[derive(Debug, Clone)]
enum Secrets {
    Kept,
    BlackedOut(Vec<String>, Learned),
}

/// Secrets that a server came to know at work, such as a token that it was given for an hour.
#[derive(Clone, Default)]
pub struct Learned(Arc<RwLock<VecDeque<String>>>);

/// Older ones have ended by then.
const MOST_LEARNED: usize = 64;

impl Learned {
    /// Notes a secret, so that no later answer shows it.
    pub fn add(&self, secret: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|other| other == secret) {
            known.push_back(secret.to_owned());
        }
        while MOST_LEARNED < known.len() {
            known.pop_front();
        }
    }

    fn all(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned").finish_non_exhaustive()
    }
}

struct Prepared<S> {
    definition: rmcp::model::Tool,
    input: Input,
    output: Option<Validator>,
    output_schema: Value,
    retry_class: RetryClass,
    needs: &'static [Service],
    max_bytes: usize,
    pollable: bool,
    run: fn(Arc<S>, Call) -> Running,
}

impl<S> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> Server<S> {
    /// A server of these tools over this state.
    pub fn new(
        name: &'static str,
        instructions: &'static str,
        state: S,
        tools: Vec<Tool<S>>,
    ) -> Self {
        let tools: BTreeMap<_, _> =
            tools.into_iter().map(|tool| (tool.spec.name, prepare(tool))).collect();
        let mut others = BTreeMap::new();
        for (name, (_, aliases)) in &tools {
            others.extend(aliases.names.iter().map(|other| (other.clone(), *name)));
        }
        others.retain(|other, _| !tools.contains_key(other.as_str()));
        let tools = tools.into_iter().map(|(name, (tool, _))| (name, tool)).collect();
        Self(Arc::new(Inner {
            name,
            instructions,
            state: Arc::new(state),
            tools,
            others,
            read_only: false,
            host: None,
            secrets: Secrets::Kept,
        }))
    }

    /// Lists and calls only tools that change nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.rebuild(|inner| inner.read_only = true)
    }

    /// Puts the server into a host. Without one, tools that need one are not offered, and what is cut from results is
    /// kept nowhere. Every constructor calls it with [`Surroundings::host`](super::Surroundings::host).
    #[must_use]
    pub fn hosted(self, host: Option<Arc<dyn Host>>) -> Self {
        self.rebuild(|inner| inner.host = host)
    }

    /// Blacks out in every answer what looks like a credential, and these secrets.
    #[must_use]
    pub fn redacting(self, secrets: Vec<String>) -> Self {
        self.redacting_also(secrets, Learned::default())
    }

    /// The same, and what the server comes to know as a secret at work.
    #[must_use]
    pub fn redacting_also(self, secrets: Vec<String>, learned: Learned) -> Self {
        self.rebuild(|inner| inner.secrets = Secrets::BlackedOut(secrets, learned))
    }

    fn rebuild(self, change: impl FnOnce(&mut Inner<S>)) -> Self {
        let mut inner = self.0;
        if let Some(inner) = Arc::get_mut(&mut inner) {
            change(inner);
        }
        Self(inner)
    }

    /// A tool by its own name, or by another one that only it has.
    fn tool(&self, name: &str) -> Option<(&'static str, &Prepared<S>)> {
        let own = self.0.others.get(name).copied();
        self.0.tools.get_key_value(own.unwrap_or(name)).map(|(name, tool)| (*name, tool))
    }

    fn offered(&self) -> impl Iterator<Item = (&'static str, &Prepared<S>)> {
        let all = self.0.tools.iter().map(|(name, tool)| (*name, tool));
        all.filter(|(_, tool)| self.withheld(tool).is_none())
    }

    fn withheld(&self, tool: &Prepared<S>) -> Option<Withheld> {
        if self.0.read_only && tool.retry_class != RetryClass::Read {
            return Some(Withheld::ReadOnly);
        }
        let missing = tool.needs.first().filter(|_| self.0.host.is_none())?;
        Some(Withheld::NoHost(*missing))
    }

    async fn answer(
        &self,
        name: &'static str,
        tool: &Prepared<S>,
        arguments: JsonObject,
        cx: &RequestContext<RoleServer>,
    ) -> Answer {
        if let Some(why) = self.withheld(tool) {
            return Err(self.refusal(name, &why));
        }
        let arguments = tool.input.accept(name, arguments)?;
        let call = call(tool.retry_class, arguments, cx);
        tracing::debug!(tool = name, attempt = call.attempt, "a tool is called");
        tokio::select! {
            biased;
            answer = caught((tool.run)(Arc::clone(&self.0.state), call)) => answer,
            () = cx.ct.cancelled() => Err(ToolError::new(Code::Cancelled, format!("{name} was cancelled"))),
        }
    }

    fn refusal(&self, name: &str, why: &Withheld) -> ToolError {
        let server = self.0.name;
        match why {
            Withheld::ReadOnly => ToolError::new(
                Code::Guardrail,
                format!("{name} is switched off: the {server} server is read-only"),
            )
            .hint("set read_only = false for this server to allow it"),
            Withheld::NoHost(service) => ToolError::new(
                Code::FailedPrecondition,
                format!(
                    "{name} is not offered: it needs {}, which Windlass has and the {server} server alone has not",
                    service.what()
                ),
            )
            .hint(format!("call {server}.{name} from a workflow that Windlass runs")),
        }
    }

    /// What clients are told, with what cannot be done here.
    fn instructions(&self) -> String {
        let mut text = self.0.instructions.to_owned();
        let alone = |tool: &Prepared<S>| matches!(self.withheld(tool), Some(Withheld::NoHost(_)));
        let names = self.0.tools.iter().filter(|(_, tool)| alone(tool)).map(|(name, _)| *name);
        let names = names.collect::<Vec<_>>().join(", ");
        if !names.is_empty() {
            let why = format!(
                " Not offered by this server alone: {names}. They need Windlass around it; call them from a workflow."
            );
            text.push_str(&why);
        }
        text
    }

    fn unknown(&self, name: &str) -> ErrorData {
        let guess = nearest(name, self.0.tools.keys().copied())
            .map(|own| format!(", did you mean {own:?}?"));
        let message =
            format!("the {} server has no tool {name:?}{}", self.0.name, guess.unwrap_or_default());
        ErrorData::invalid_params(message, None)
    }

    /// The answer without secrets, and no longer than it may be.
    async fn finish(
        &self,
        name: &str,
        tool: &Prepared<S>,
        answer: Answer,
        key: Option<&str>,
    ) -> CallToolResult {
        let value = match (answer, &self.0.secrets) {
            (Err(error), Secrets::Kept) => return error.into_result(),
            (Err(error), Secrets::BlackedOut(secrets, learned)) => {
                let learned = learned.all();
                return without_secrets(error, &texts(secrets, &learned)).into_result();
            }
            (Ok(value), Secrets::Kept) => value,
            (Ok(mut value), Secrets::BlackedOut(secrets, learned)) => {
                let learned = learned.all();
                redact_value(&mut value, &texts(secrets, &learned));
                value
            }
        };
        let cap = Cap {
            tool: name,
            most: tool.max_bytes,
            schema: &tool.output_schema,
            validator: tool.output.as_ref(),
            host: self.0.host.as_deref().zip(key),
            pollable: tool.pollable,
        };
        let (value, kept) = cap.apply(value).await;
        let mut result = CallToolResult::structured(value);
        result.content.extend(kept.into_iter().map(link));
        result
    }
}

impl<S: Send + Sync + 'static> ServerHandler for Server<S> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new(
                format!("windlass-{}", self.0.name),
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions(self.instructions())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.offered().map(|(_, tool)| tool.definition.clone()).collect();
        let list = ListToolsResult { tools, ..Default::default() };
        Ok(list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        let (_, tool) = self.tool(name)?;
        self.withheld(tool).is_none().then(|| tool.definition.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let found = self.tool(request.name.as_ref());
        let Some((name, tool)) = found else { return Err(self.unknown(&request.name)) };
        let arguments = request.arguments.unwrap_or_default();
        let answer = self.answer(name, tool, arguments, &cx).await;
        Ok(self.finish(name, tool, answer, key(&cx)).await.into())
    }
}

fn prepare<S>(tool: Tool<S>) -> (Prepared<S>, Aliases) {
    let Tool { spec, run } = tool;
    let aliases = Aliases::of(spec.name, spec.names, &spec.input, spec.aliases);
    let definition = define(&spec, &aliases);
    let prepared = Prepared {
        definition,
        output: jsonschema::validator_for(&spec.output).ok(),
        output_schema: spec.output,
        input: Input::new(spec.input, aliases.clone()),
        retry_class: spec.retry_class,
        needs: spec.needs,
        max_bytes: spec.max_bytes,
        pollable: spec.pollable,
        run,
    };
    (prepared, aliases)
}

/// The tool as it is listed.
fn define(spec: &ToolSpec, aliases: &Aliases) -> rmcp::model::Tool {
    let mut meta = MetaObject::new();
    meta.insert(RETRY_CLASS.to_owned(), spec.retry_class.word().into());
    // Without any it still says that the tool converts types by itself.
    meta.insert(ALIASES.to_owned(), serde_json::to_value(aliases).unwrap_or_default());
    if spec.pollable {
        meta.insert(POLLABLE.to_owned(), true.into());
    }
    rmcp::model::Tool::new(spec.name, spec.description, object(&spec.input))
        .with_title(spec.title)
        .with_raw_output_schema(Arc::new(object(&spec.output)))
        .with_annotations(annotations(spec))
        .with_meta(meta)
}

fn annotations(spec: &ToolSpec) -> ToolAnnotations {
    ToolAnnotations::with_title(spec.title)
        .read_only(spec.retry_class == RetryClass::Read)
        .destructive(spec.destructive)
        .idempotent(spec.retry_class != RetryClass::Unsafe)
        .open_world(spec.open_world)
}

fn object(schema: &Value) -> JsonObject {
    schema.as_object().cloned().unwrap_or_default()
}

fn call(retry_class: RetryClass, arguments: JsonObject, cx: &RequestContext<RoleServer>) -> Call {
    let key = key(cx);
    let retry_safe = match retry_class {
        RetryClass::Read | RetryClass::Idempotent => true,
        RetryClass::Keyed => key.is_some(),
        RetryClass::Unsafe => false,
    };
    Call {
        arguments,
        idempotency_key: key.map(str::to_owned),
        attempt: cx.meta.get(ATTEMPT).and_then(Value::as_u64).unwrap_or(1).max(1),
        first_started_at: cx.meta.get(FIRST_STARTED_AT).and_then(Value::as_i64),
        retry_safe,
        cancelled: cx.ct.clone(),
        progress: Progress::to(cx.peer.clone(), cx.meta.get_progress_token()),
    }
}

/// Lets a tool's panic be an answer: without this the caller would wait for ever.
async fn caught(mut running: Running) -> Answer {
    let outcome =
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => Poll::Ready(Some(answer)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        });
    outcome.await.unwrap_or_else(|| {
        let message = "the tool broke off: this is a defect of Windlass";
        Err(ToolError::new(Code::Internal, message)
            .hint("the process's log says where; please report it"))
    })
}

fn key(cx: &RequestContext<RoleServer>) -> Option<&str> {
    cx.meta.get(IDEMPOTENCY_KEY).and_then(Value::as_str).filter(|key| !key.is_empty())
}

fn texts<'a>(secrets: &'a [String], learned: &'a [String]) -> Vec<&'a str> {
    secrets.iter().chain(learned).map(String::as_str).collect()
}

/// Where a file that was kept is read.
fn link(artifact: Artifact) -> ContentBlock {
    let mut link =
        Resource::new(artifact.resource_uri, artifact.name).with_mime_type(artifact.mime);
    link.size = Some(artifact.bytes);
    ContentBlock::resource_link(link)
}

fn without_secrets(error: ToolError, secrets: &[&str]) -> ToolError {
    let clean = |text: String| super::text::redact(&text, secrets);
    ToolError { message: clean(error.message), hint: error.hint.map(clean), ..error }
}
