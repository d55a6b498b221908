//! The one MCP server that all tool servers are: it lists, checks, calls and answers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, Implementation,
    JsonObject, ListToolsResult, MetaObject, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;

use super::input::{Input, nearest};
use super::text::redact_value;
use super::{
    ATTEMPT, Answer, Call, Code, FIRST_STARTED_AT, IDEMPOTENCY_KEY, Progress, RETRY_CLASS,
    RetryClass, Running, Tool, ToolError, ToolSpec,
};

const LIST_TTL_MS: u64 = 60_000;

/// A tool server: a name, some state and tools over it.
pub struct Server<S>(Arc<Inner<S>>);

struct Inner<S> {
    name: &'static str,
    instructions: &'static str,
    state: Arc<S>,
    tools: BTreeMap<&'static str, Prepared<S>>,
    /// Tools that exist but that the configuration switches off.
    withheld: Vec<&'static str>,
    secrets: Secrets,
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
    retry_class: RetryClass,
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
        let tools = tools.into_iter().map(|tool| (tool.spec.name, prepare(tool))).collect();
        let (withheld, secrets) = (Vec::new(), Secrets::Kept);
        Self(Arc::new(Inner {
            name,
            instructions,
            state: Arc::new(state),
            tools,
            withheld,
            secrets,
        }))
    }

    /// Lists and calls only tools that change nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.rebuild(|inner| {
            let writes = |tool: &Prepared<S>| tool.retry_class != RetryClass::Read;
            let names = inner.tools.iter().filter(|(_, tool)| writes(tool)).map(|(name, _)| *name);
            inner.withheld = names.collect();
            inner.tools.retain(|_, tool| !writes(tool));
        })
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

    async fn answer(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Answer {
        let name = request.name.as_ref();
        let Some(tool) = self.0.tools.get(name) else { return Err(self.switched_off(name)) };
        let arguments = tool.input.accept(name, request.arguments.unwrap_or_default())?;
        let call = call(tool.retry_class, arguments, &cx);
        tracing::debug!(tool = name, attempt = call.attempt, "a tool is called");
        tokio::select! {
            biased;
            answer = caught((tool.run)(Arc::clone(&self.0.state), call)) => answer,
            () = cx.ct.cancelled() => Err(ToolError::new(Code::Cancelled, format!("{name} was cancelled"))),
        }
    }

    fn switched_off(&self, name: &str) -> ToolError {
        let message = format!("{name} is switched off: the {} server is read-only", self.0.name);
        ToolError::new(Code::Guardrail, message)
            .hint("set read_only = false for this server to allow it")
    }

    fn unknown(&self, name: &str) -> ErrorData {
        let guess = nearest(name, self.0.tools.keys().copied())
            .map(|own| format!(", did you mean {own:?}?"));
        let message =
            format!("the {} server has no tool {name:?}{}", self.0.name, guess.unwrap_or_default());
        ErrorData::invalid_params(message, None)
    }

    fn finish(&self, answer: Answer) -> CallToolResult {
        let Secrets::BlackedOut(secrets, learned) = &self.0.secrets else { return result(answer) };
        let learned = learned.all();
        let secrets: Vec<_> = secrets.iter().chain(&learned).map(String::as_str).collect();
        result(match answer {
            Ok(mut value) => {
                redact_value(&mut value, &secrets);
                Ok(value)
            }
            Err(error) => Err(without_secrets(error, &secrets)),
        })
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
            .with_instructions(self.0.instructions)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.0.tools.values().map(|tool| tool.definition.clone()).collect();
        let list = ListToolsResult { tools, ..Default::default() };
        Ok(list.with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        self.0.tools.get(name).map(|tool| tool.definition.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if !self.0.tools.contains_key(name) && !self.0.withheld.contains(&name) {
            return Err(self.unknown(name));
        }
        Ok(self.finish(self.answer(request, cx).await).into())
    }
}

fn prepare<S>(tool: Tool<S>) -> Prepared<S> {
    let Tool { spec, run } = tool;
    let validator =
        jsonschema::validator_for(&spec.input).expect("the input schemas that ship are valid");
    let definition = define(&spec);
    let input = Input { schema: spec.input, aliases: spec.aliases, validator };
    Prepared { definition, input, retry_class: spec.retry_class, run }
}

/// The tool as it is listed.
fn define(spec: &ToolSpec) -> rmcp::model::Tool {
    let mut meta = MetaObject::new();
    meta.insert(RETRY_CLASS.to_owned(), spec.retry_class.word().into());
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
    let key = cx.meta.get(IDEMPOTENCY_KEY).and_then(Value::as_str).filter(|key| !key.is_empty());
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

fn result(answer: Answer) -> CallToolResult {
    match answer {
        Ok(value) => CallToolResult::structured(value),
        Err(error) => error.into_result(),
    }
}

fn without_secrets(error: ToolError, secrets: &[&str]) -> ToolError {
    let clean = |text: String| super::text::redact(&text, secrets);
    ToolError { message: clean(error.message), hint: error.hint.map(clean), ..error }
}
