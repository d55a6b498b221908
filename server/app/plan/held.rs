//! Holds a run to a plan: what it would be now must be what it was then.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use windlass_engine::{Workflow, content_hash};

use super::{App, Caller, Error, digests, named};
use crate::{app::RunRequest, store::PlanRow};

/// A plan that a run names.
pub(in crate::app) struct Held {
    row: PlanRow,
    input: Value,
}

impl Held {
    /// What the execution is given: where the caller left that out, what the plan has.
    pub(in crate::app) fn input(&self, given: Map<String, Value>) -> Value {
        if given.is_empty() { self.input.clone() } else { Value::Object(given) }
    }
}

impl App {
    /// The plan that a run names. Whoever repeats a call that was accepted finds its execution, whatever became of the
    /// plan since: then there is only the input to take from it.
    pub(in crate::app) async fn held(&self, request: &RunRequest) -> Result<Option<Held>, Error> {
        let Some(id) = &request.plan else { return Ok(None) };
        let row = self.inner.store.plan(id).await?;
        let row = row.ok_or_else(|| refused("unknown_plan", format!(
            "no plan has the id {id:?} in this workspace; a plan is kept until a day after it has expired. Make a new one"
        )))?;
        let plan: Value = serde_json::from_str(&row.plan).unwrap_or_default();
        let input = plan["input"].clone();
        let cut_short = ["blocked", "truncated_at"].into_iter().find(|key| plan.get(key).is_some());
        if let Some(cut_short) = cut_short {
            let (step, why) = (&plan[cut_short]["step"], &plan[cut_short]);
            let why = why.get("error").or_else(|| why.get("reason")).and_then(Value::as_str);
            let at = step.as_str().map(|step| format!(" at step {step}")).unwrap_or_default();
            return Err(refused(
                "plan_incomplete",
                format!(
                    "plan {id} ends early{at} ({}), so that nobody knows all that would be written. Put that right and \
                     make a new plan, or run without one",
                    why.unwrap_or("it was cut short")
                ),
            ));
        }
        Ok(Some(Held { row, input }))
    }

    /// Refuses a run that would be another one than was planned; names everything that differs.
    pub(in crate::app) async fn hold(
        &self,
        caller: &Caller,
        held: &Held,
        workflow: &Arc<Workflow>,
        input: &Value,
        linked: &[(Arc<Workflow>, String)],
        key: Option<&str>,
    ) -> Result<(), Error> {
        let (store, row) = (&self.inner.store, &held.row);
        if let Some(key) = key
            && store.is_key_used(&caller.name, key).await?
        {
            return Ok(());
        }
        let id = &row.id;
        if row.expires_at <= store.now() {
            return Err(refused(
                "plan_expired",
                format!(
                    "plan {id} has expired {} s ago. Make a new one, which may be another",
                    (store.now() - row.expires_at) / 1_000
                ),
            ));
        }
        let mut differences = Vec::new();
        if row.workflow != workflow.name {
            let (planned, named) = (&row.workflow, &workflow.name);
            differences.push(format!("it is for workflow {planned:?}, not for {named:?}"));
        } else if row.revision != workflow.hash {
            differences.push(self.other_revision(workflow, &row.revision).await?);
        }
        if row.input_hash != content_hash(input) {
            differences.push(other_input(&held.input, input));
        }
        if differences.is_empty() {
            differences = self.other_digests(row, workflow, linked).await;
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(refused(
            "plan_differs",
            format!(
                "this is not what plan {id} was made for: {}. Make a new plan and look at it again",
                differences.join("; ")
            ),
        ))
    }

    async fn other_revision(&self, workflow: &Workflow, planned: &str) -> Result<String, Error> {
        let rows = self.inner.store.revisions(&workflow.name).await?;
        let name = |hash: &str| {
            let short = &hash[..hash.len().min(12)];
            match rows.iter().find(|row| row.hash == hash) {
                Some(row) => format!("{} ({short})", row.number),
                None => short.to_owned(),
            }
        };
        Ok(format!(
            "it is for revision {}, and a run would use {} now",
            name(planned),
            name(&workflow.hash)
        ))
    }

    /// The tools and workflows that became others.
    async fn other_digests(
        &self,
        row: &PlanRow,
        workflow: &Arc<Workflow>,
        linked: &[(Arc<Workflow>, String)],
    ) -> Vec<String> {
        let workflows = linked.iter().map(|(workflow, _)| named(Arc::clone(workflow)));
        let workflows: BTreeMap<_, _> = workflows.chain([named(Arc::clone(workflow))]).collect();
        let tools = self.tools_of(&workflows).await;
        let now = digests(workflow, &workflows, &tools);
        let then: Value = serde_json::from_str(&row.digests).unwrap_or_default();
        let mut differences = Vec::new();
        for (kind, what) in [("tools", "tool"), ("workflows", "workflow")] {
            for name in changed(&then[kind], &now[kind]) {
                differences.push(match (&then[kind][&name], &now[kind][&name]) {
                    (_, Value::Null) => format!("{what} {name} cannot be found now"),
                    (Value::Null, _) => format!("{what} {name} could not be looked at then"),
                    _ => format!("{what} {name} is another one now"),
                });
            }
        }
        differences
    }
}

fn other_input(planned: &Value, given: &Value) -> String {
    let keys: Vec<String> =
        changed(planned, given).into_iter().map(|key| format!("{key:?}")).collect();
    format!("its input is another one ({})", keys.join(", "))
}

/// The keys of two objects whose values differ.
fn changed(one: &Value, other: &Value) -> Vec<String> {
    let entries = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (one, other) = (entries(one), entries(other));
    let mut keys: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    // Compared as hashes are: 1.0 is 1.
    let same = |key: &String| match (one.get(key), other.get(key)) {
        (Some(one), Some(other)) => content_hash(one) == content_hash(other),
        _ => false,
    };
    keys.retain(|key| !same(key));
    keys
}

fn refused(code: &'static str, message: String) -> Error {
    Error::Plan { code, message }
}
