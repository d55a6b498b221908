//! What an execution would do: plays a workflow through in memory, really calls what only reads, supposes the rest, and
//! keeps the writes in their order. Later a run can hold on to that.

mod example;
mod found;
mod held;
mod level;
mod play;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use windlass_engine::{Workflow, content_hash};

use super::{
    App, Caller, Error,
    catalogue::{self, Entry},
    drifts::{Live, LiveTools},
    start::runnable,
    stem,
};
use crate::store::PlanRow;

pub use self::found::{
    Asked, Basis, Blocked, Handler, Locked, MayRun, Plan, Read, Stopped, Stub, Truncated, Waited,
    Why, Write,
};
use self::{found::Found, play::Play};

/// How long a plan can be run by when nobody says, in milliseconds: an hour.
const PLAN_LIFETIME_MS: u64 = 3_600_000;

/// The longest that a plan can be run by, in milliseconds: 7 days.
pub const MAX_PLAN_LIFETIME_MS: u64 = 7 * 24 * 3_600_000;

/// What to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    /// A workflow's name.
    pub workflow: String,
    /// What it would be given.
    pub input: Map<String, Value>,
    /// How long an execution can be started by the plan, in milliseconds; an hour when it is left out.
    pub expires_ms: Option<u64>,
}

impl App {
    /// Says what an execution would do now. Calls tools that only read, and no others; writes the plan and nothing else.
    ///
    /// # Errors
    /// Unknown, broken or disabled workflow, input that does not fit, a lifetime that is too long.
    pub async fn plan(&self, caller: &Caller, request: PlanRequest) -> Result<Plan, Error> {
        let entry = self.find_to_run(&request.workflow).await?;
        entry.check_enabled()?;
        self.plan_entry(caller, &entry, request).await
    }

    /// The same for a document that is in no folder; `source` says where it came from.
    ///
    /// # Errors
    /// A broken document, input that does not fit, a lifetime that is too long.
    pub async fn plan_document(
        &self,
        caller: &Caller,
        text: &str,
        source: &str,
        request: PlanRequest,
    ) -> Result<Plan, Error> {
        let entry = catalogue::read(text, source, &stem(source));
        self.plan_entry(caller, &entry, request).await
    }

    /// JSON Schema of what a workflow must be given. Unlike to describe it, this writes nothing.
    ///
    /// # Errors
    /// Unknown or broken workflow.
    pub async fn input_schema(&self, workflow: &str) -> Result<Value, Error> {
        let entry = self.find(workflow).await?;
        Ok(runnable(&entry)?.input.schema().clone())
    }

    async fn plan_entry(
        &self,
        caller: &Caller,
        entry: &Entry,
        request: PlanRequest,
    ) -> Result<Plan, Error> {
        let workflow = runnable(entry)?;
        let lifetime = lifetime(request.expires_ms)?;
        let given = Value::Object(request.input);
        let input = workflow.input.accept(given).map_err(|problems| Error::InvalidInput {
            workflow: workflow.name.clone(),
            problems,
        })?;
        let linked = self.link(&workflow).await?;
        let mut workflows: Workflows =
            linked.into_iter().map(|(workflow, _)| named(workflow)).collect();
        workflows.extend([named(Arc::clone(&workflow))]);
        self.used_tool_servers(workflows.values())?;
        let tools = self.tools_of(&workflows).await;
        let created_at = self.inner.store.now();
        let plan_id = windlass_engine::id_at("plan_", created_at, rand::random());
        let play = Play::new(self, &plan_id, &caller.name, &workflows, &tools);
        let found = play.whole(&workflow, input.clone()).await?;
        let number = self.inner.store.revision_number(&workflow.hash).await?;
        let digests = digests(&workflow, &workflows, &tools);
        let hash = content_hash(&json!({
            "workflow": workflow.name,
            "revision": workflow.hash,
            "input": input,
            "digests": digests,
            "writes": found.writes,
        }));
        let plan = Plan {
            plan_id,
            workflow: workflow.name.clone(),
            revision: workflow.hash.clone(),
            revision_number: number,
            input,
            hash,
            created_at,
            expires_at: created_at.saturating_add_unsigned(lifetime),
            ..Plan::from(found)
        };
        self.inner.store.keep_plan(&row(&plan, caller, &digests)).await?;
        Ok(plan)
    }

    /// Every tool that may be called, as its server describes it now.
    async fn tools_of(&self, workflows: &Workflows) -> LiveTools {
        let asked = workflows.values().map(|workflow| self.live_tools(workflow));
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}

/// The workflow that is planned and those that it may run, by name.
type Workflows = BTreeMap<String, Arc<Workflow>>;

fn named(workflow: Arc<Workflow>) -> (String, Arc<Workflow>) {
    (workflow.name.clone(), workflow)
}

fn lifetime(wanted: Option<u64>) -> Result<u64, Error> {
    match wanted {
        None => Ok(PLAN_LIFETIME_MS),
        Some(wanted) if (1_000..=MAX_PLAN_LIFETIME_MS).contains(&wanted) => Ok(wanted),
        Some(_) => Err(Error::Plan {
            code: "plan_lifetime",
            message: "a plan holds for 1 second to 7 days; nothing was planned".to_owned(),
        }),
    }
}

/// What a plan holds for besides the revision: each tool and each other workflow, with its digest. A tool that nobody
/// could ask about has none.
fn digests(workflow: &Workflow, workflows: &Workflows, tools: &LiveTools) -> Value {
    let digest = |live: &Live| match live {
        Live::Is(tool) => json!(tool.digest()),
        Live::Gone | Live::Unknown(_) => Value::Null,
    };
    let tools: Map<String, Value> =
        tools.iter().map(|(name, live)| (name.clone(), digest(live))).collect();
    let others = workflows.values().filter(|other| other.name != workflow.name);
    let others: Map<String, Value> =
        others.map(|other| (other.name.clone(), json!(other.hash))).collect();
    json!({ "tools": tools, "workflows": others })
}

fn row(plan: &Plan, caller: &Caller, digests: &Value) -> PlanRow {
    PlanRow {
        id: plan.plan_id.clone(),
        caller: caller.name.clone(),
        workflow: plan.workflow.clone(),
        revision: plan.revision.clone(),
        input_hash: content_hash(&plan.input),
        digests: digests.to_string(),
        hash: plan.hash.clone(),
        plan: json!(plan).to_string(),
        created_at: plan.created_at,
        expires_at: plan.expires_at,
    }
}

impl From<Found> for Plan {
    fn from(found: Found) -> Plan {
        let Found {
            writes,
            reads,
            asks,
            locks,
            waits,
            may_also_run,
            stubs,
            if_it_ends_badly,
            stops,
            blocked,
            truncated,
            unknown,
        } = found;
        Plan {
            writes,
            reads,
            asks,
            locks,
            waits,
            may_also_run,
            stubs,
            if_it_ends_badly,
            stops,
            blocked,
            truncated: truncated.is_some(),
            truncated_at: truncated,
            unknown: unknown.into_iter().collect(),
            ..Plan::default()
        }
    }
}
