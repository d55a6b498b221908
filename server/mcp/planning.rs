//! The tool that plans: what a run would do.

use rmcp::model::CallToolResult;

use super::{
    answer,
    arguments::{Arguments, Refusal},
    call::Call,
    names::ToolId,
};
use crate::app::{MAX_PLAN_LIFETIME_MS, Plan, PlanRequest};

impl Call<'_> {
    pub(super) async fn plan(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let expires = arguments.whole("expires_seconds", MAX_PLAN_LIFETIME_MS / 1_000)?;
        let request = PlanRequest {
            workflow: arguments.required_text("workflow")?,
            input: arguments.object("input")?,
            expires_ms: expires.map(|seconds| seconds * 1_000),
        };
        let planned = self.mcp.app().plan(&self.caller, request);
        let plan = tokio::select! {
            plan = planned => self.granted(plan)?,
            // Whoever asked is gone; the tools that are read are told so.
            () = self.context.ct.cancelled() => {
                return Err(arguments.refuse("the call was cancelled".into()));
            }
        };
        Ok(answer::plain(&plan, self.next_of_plan(&plan)))
    }

    fn next_of_plan(&self, plan: &Plan) -> String {
        let run = ToolId::Run.listed(self.mcp.names());
        let (name, id) = (&plan.workflow, &plan.plan_id);
        if let Some(blocked) = &plan.blocked {
            let at = blocked.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
            return format!(
                "It would fail{at}: put that right and plan again. A plan that ends early cannot be run by."
            );
        }
        if plan.truncated {
            return format!(
                "It was too large to be planned to its end, so that it cannot be run by; {run} runs it without a plan."
            );
        }
        format!(
            "Show the writes to the user. Then call {run} with workflow={name:?} and plan={id:?}: it is refused if anything \
             is another by then."
        )
    }
}
