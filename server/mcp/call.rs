//! One function for each tool: read the arguments, ask the application, render the answer.

use std::time::Duration;

use futures::FutureExt;
use rmcp::{
    RoleServer,
    model::{CallToolResult, JsonObject, Tool},
    service::RequestContext,
};

use super::{
    Mcp,
    answer::{self, Projection},
    arguments::{Arguments, Refusal},
    names::ToolId,
    progress::Progress,
    tools,
    wait::{self, Wait},
};
use crate::app::{Caller, Detail, Execution, Look, Priority, RunRequest};

/// How many executions a list has.
const LISTED_EXECUTIONS: u32 = 20;

/// A call on its way.
pub(crate) struct Call<'a> {
    pub(crate) mcp: &'a Mcp,
    pub(crate) tool: &'a Tool,
    pub(crate) id: ToolId,
    pub(crate) caller: Caller,
    pub(crate) context: &'a RequestContext<RoleServer>,
}

impl Call<'_> {
    /// Carries it out.
    ///
    /// # Errors
    /// What the caller has to put right.
    pub(crate) async fn carry_out(&self, values: JsonObject) -> Result<CallToolResult, Refusal> {
        let arguments = Arguments::read(self.tool, values)?;
        // Each in a box: a request would carry the room for all of them otherwise, more than ten kilobytes.
        match self.id {
            ToolId::List => {
                let workflows = self.mcp.app().workflows(Look::Remembered).boxed().await;
                let workflows = self.granted(workflows)?;
                Ok(answer::workflows(self.mcp.names(), &workflows))
            }
            ToolId::Describe => self.describe(arguments).boxed().await,
            ToolId::Run => self.run(arguments).boxed().await,
            ToolId::Status => self.status(arguments).boxed().await,
            ToolId::Control => self.control(arguments).boxed().await,
            ToolId::Answer => self.answer(arguments).boxed().await,
            ToolId::Validate => self.validate(arguments).boxed().await,
            ToolId::Save => self.save(arguments).boxed().await,
            ToolId::Manage => self.manage(arguments).boxed().await,
            ToolId::Plan => self.plan(arguments).boxed().await,
        }
    }

    async fn describe(&self, mut arguments: Arguments<'_>) -> Result<CallToolResult, Refusal> {
        let name = arguments.required_text("workflow")?;
        let workflow = self.granted(self.mcp.app().describe(&name).await)?;
        Ok(answer::workflow(self.mcp.names(), &workflow))
    }

    async fn run(&self, mut arguments: Arguments<'_>) -> Result<CallToolResult, Refusal> {
        let request = RunRequest {
            workflow: arguments.required_text("workflow")?,
            input: arguments.object("input")?,
            idempotency_key: arguments.text("idempotency_key")?,
            plan: arguments.text("plan")?,
            priority: arguments
                .one_of("priority", &["low", "normal", "high"])?
                .and_then(Priority::named),
        };
        let seconds = arguments.whole("wait_seconds", wait::MAX_SECONDS)?;
        let patience = Duration::from_secs(seconds.unwrap_or(tools::RUN_WAIT_SECONDS));
        let execution = self.granted(self.mcp.app().run(&self.caller, request).await)?;
        let mut progress = Progress::of(self.context);
        let detail = if progress.is_wanted() { Detail::Steps } else { Detail::Outcome };
        let wait = Wait { since: execution.version - 1, patience, detail };
        progress.tell_news(&execution).await;
        let execution = self.wait(progress, execution, wait).await?;
        Ok(answer::run(self.mcp.names(), &execution))
    }

    async fn status(&self, mut arguments: Arguments<'_>) -> Result<CallToolResult, Refusal> {
        let Some(execution_id) = arguments.text("execution_id")? else {
            return self.executions(&arguments).await;
        };
        let request = StatusRequest::read(&mut arguments)?;
        let detail = request.detail();
        let execution = self.granted(self.mcp.app().status(&execution_id, detail).await)?;
        if let Some(since) = request.since.filter(|since| execution.version < *since) {
            return Err(arguments.refuse(from_the_future(&execution, since)));
        }
        let wait = Wait { since: request.since(&execution), patience: request.patience, detail };
        let mut progress = Progress::of(self.context);
        progress.assume(&execution);
        let execution = self.wait(progress, execution, wait).await?;
        if request.since == Some(execution.version) {
            return Ok(answer::unchanged(&execution));
        }
        answer::status(self.mcp.names(), &execution, &request.projection)
    }

    async fn executions(&self, arguments: &Arguments<'_>) -> Result<CallToolResult, Refusal> {
        if let Some(name) = ["since", "fields", "step"].into_iter().find(|name| arguments.has(name))
        {
            return Err(arguments.refuse(format!("{name:?} needs an execution_id")));
        }
        let app = self.mcp.app();
        let list = self.granted(app.executions(&self.caller, LISTED_EXECUTIONS).await)?;
        let requests = self.granted(app.requests(&self.caller).await)?;
        Ok(answer::executions(self.mcp.names(), &list, &requests))
    }

    async fn wait(
        &self,
        mut progress: Progress,
        execution: Execution,
        wait: Wait,
    ) -> Result<Execution, Refusal> {
        let waited = wait::until_settled(self.mcp, &mut progress, execution, wait).await;
        self.granted(waited)
    }

    pub(super) fn granted<T>(&self, result: Result<T, crate::app::Error>) -> Result<T, Refusal> {
        result.map_err(|error| answer::refusal(self.mcp.names(), self.id, &error))
    }
}

/// What is asked of one execution.
#[derive(Debug, PartialEq)]
struct StatusRequest {
    since: Option<i64>,
    patience: Duration,
    projection: Projection,
}

impl StatusRequest {
    fn read(arguments: &mut Arguments<'_>) -> Result<StatusRequest, Refusal> {
        let step = arguments.text("step")?;
        let fields = arguments.some_of("fields", &tools::FIELDS)?;
        let fields = fields.unwrap_or_else(|| match step {
            Some(_) => vec!["results"],
            None => vec!["output", "error", "steps"],
        });
        let seconds = arguments.whole("wait_seconds", wait::MAX_SECONDS)?.unwrap_or(0);
        // The bound makes it fit.
        let since = arguments.whole("since", i64::MAX as u64)?.map(u64::cast_signed);
        let projection = Projection { fields, step };
        Ok(StatusRequest { since, patience: Duration::from_secs(seconds), projection })
    }

    fn detail(&self) -> Detail {
        if self.projection.wants_results() { Detail::Results } else { Detail::Steps }
    }

    /// Without a version, whoever finds it settled is answered at once.
    fn since(&self, execution: &Execution) -> i64 {
        self.since.unwrap_or(execution.version - 1)
    }
}

fn from_the_future(execution: &Execution, since: i64) -> String {
    format!(
        "since={since} is higher than the execution's version {}; since is the version of the last answer",
        execution.version
    )
}
