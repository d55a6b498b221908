//! The door for agents: workflows as MCP tools.

mod answer;
mod answering;
mod arguments;
mod authoring;
mod call;
mod conformance;
mod controlling;
mod handler;
mod malformed;
mod names;
mod planning;
mod progress;
mod requests;
mod resources;
mod steps;
mod tools;
mod validating;
mod wait;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use rmcp::{
    ErrorData, RoleServer, ServiceExt,
    model::{CallToolRequestParams, CallToolResponse, Tool},
    service::{RequestContext, ServerInitializeError},
    transport::io::stdio_pipes,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::{call::Call, conformance::Fixtures, names::ToolId};
use crate::{
    app::{App, Caller},
    config::ToolNames,
};

/// How many calls are carried out at once; more wait for their turn.
const MAX_CALLS: usize = 1_024;
/// How many of them may be waiting for executions, so that there is always room for those that do not.
const MAX_WAITS: usize = 768;

/// What can be set about the door.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which spelling `tools/list` shows; both are always callable.
    pub tool_names: ToolNames,
    /// Who calls, where the transport does not say.
    pub caller: Caller,
    /// Offer the tools for authors: save workflows, switch them on and off.
    pub authoring: bool,
    /// Offer the tools, resources and prompts that the official conformance suite asks for.
    pub conformance_fixtures: bool,
}

/// Whom a transport has found a request to come from; the HTTP door puts it into a request's extensions.
#[derive(Clone, Debug)]
pub struct Principal(pub String);

/// The MCP server; cheap to clone.
#[derive(Clone)]
pub struct Mcp {
    inner: Arc<Inner>,
}

struct Inner {
    app: App,
    options: Options,
    tools: Vec<Tool>,
    calls: Semaphore,
    waits: Semaphore,
    closing: CancellationToken,
    fixtures: Option<Fixtures>,
}

/// Serves one client on standard input and output, until it closes its end.
///
/// # Errors
/// When the client does not speak MCP, or the streams fail.
pub async fn serve_stdio(app: App, options: Options) -> anyhow::Result<()> {
    let mcp = Mcp::new(app, options, CancellationToken::new());
    match mcp.serve(stdio_pipes()).await {
        Ok(service) => {
            service.waiting().await?;
            Ok(())
        }
        // A client that only looked whether the program starts.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Mcp {
    /// A server over the application. When `closing` is cancelled, calls that wait are answered at once.
    #[must_use]
    pub fn new(app: App, options: Options, closing: CancellationToken) -> Mcp {
        let fixtures = options.conformance_fixtures.then(Fixtures::new);
        let mut tools = tools::list(options.tool_names);
        if options.authoring {
            tools.extend(tools::authoring(options.tool_names));
        }
        tools.extend(fixtures.iter().flat_map(|_| conformance::tools()));
        let calls = Semaphore::new(MAX_CALLS);
        let waits = Semaphore::new(MAX_WAITS);
        Mcp { inner: Arc::new(Inner { app, options, tools, calls, waits, closing, fixtures }) }
    }

    fn app(&self) -> &App {
        &self.inner.app
    }

    fn names(&self) -> ToolNames {
        self.inner.options.tool_names
    }

    fn waits(&self) -> &Semaphore {
        &self.inner.waits
    }

    fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    fn tools(&self) -> &[Tool] {
        &self.inner.tools
    }

    fn fixtures(&self) -> Option<&Fixtures> {
        self.inner.fixtures.as_ref()
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, ErrorData> {
        let turn = self.inner.calls.acquire().await;
        turn.map_err(|_| ErrorData::internal_error("the server is closing", None))
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        let client = context.client_info();
        let mut caller = self.inner.options.caller.clone();
        if let Some(Principal(name)) = principal(context) {
            caller.name.clone_from(name);
        }
        if let Some(client) = client {
            caller.client_name = Some(client.name);
            caller.client_version = Some(client.version);
        }
        (caller.traceparent, caller.tracestate) = trace(context);
        caller
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(id) = ToolId::named(&request.name) else {
            return match self.fixtures() {
                Some(fixtures) => fixtures.call(request, context).await,
                None => Err(self.unknown_tool(&request.name)),
            };
        };
        let tool = self.tool(&request.name).ok_or_else(|| self.unknown_tool(&request.name))?;
        let caller = self.caller(&context);
        let call = Call { mcp: self, tool, id, caller, context: &context };
        let arguments = request.arguments.unwrap_or_default();
        Ok(call.carry_out(arguments).await.unwrap_or_else(answer::refused).into())
    }

    fn tool(&self, name: &str) -> Option<&Tool> {
        let listed = ToolId::named(name).map_or(name, |tool| tool.listed(self.names()));
        self.inner.tools.iter().find(|tool| tool.name == listed)
    }

    fn unknown_tool(&self, name: &str) -> ErrorData {
        let listed = self.tools().iter().filter(|tool| ToolId::named(&tool.name).is_some());
        let known: Vec<&str> = listed.map(|tool| &*tool.name).collect();
        let meant = names::nearest(name, known.iter().copied());
        let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
        let known = known.join(", ");
        ErrorData::invalid_params(format!("Unknown tool {name:?}{meant}; there are {known}"), None)
    }
}

/// The trace of the caller, and what those before it say of it: in the request itself, or else in the headers. Both are
/// of the same place, for the second says nothing of any other trace.
fn trace(context: &RequestContext<RoleServer>) -> (Option<String>, Option<String>) {
    let said = |name| Some(context.meta.get(name)?.as_str()?.to_owned());
    if let Some(traceparent) = said("traceparent") {
        return (Some(traceparent), said("tracestate"));
    }
    let Some(parts) = context.extensions.get::<http::request::Parts>() else { return (None, None) };
    let headers = |name| parts.headers.get_all(name).iter().map(|value| value.to_str().ok());
    let traceparent = headers("traceparent").next().flatten().map(str::to_owned);
    // It may be spread over several headers, all of which count.
    let tracestate: Option<Vec<&str>> = headers("tracestate").collect();
    (traceparent, tracestate.map(|said| said.join(",")))
}

fn principal(context: &RequestContext<RoleServer>) -> Option<&Principal> {
    context.extensions.get::<http::request::Parts>()?.extensions.get::<Principal>()
}

/// A panic must not leave a client without an answer; the SDK would.
async fn answered<T>(work: impl Future<Output = Result<T, ErrorData>>) -> Result<T, ErrorData> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let text = "an error inside Windlass, which its log describes; running executions go on";
        Err(ErrorData::internal_error(text, None))
    })
}
