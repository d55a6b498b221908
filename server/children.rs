//! Makes executions of the workflows that steps run: of the revisions that were linked when the topmost one started.

use std::collections::BTreeMap;

use windlass_engine::{Child, Event, State, StepError};

use crate::{
    revisions::{self, Revisions},
    store::{Beginning, NewChild, Store},
};

/// How many executions may be above one another; what goes deeper has most likely no end.
pub const MAX_DEPTH: i64 = 16;

/// What an execution hands down to those that its steps are.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The execution at the top.
    pub root_id: String,
    /// Who started the topmost one.
    pub requested_by: String,
    /// The revision of each workflow that may be run, by its name.
    pub links: BTreeMap<String, String>,
    /// How many executions are above this one.
    pub depth: i64,
    /// The trace that all of them belong to, as their rows have it: W3C's `traceparent`, with a `tracestate` in it where
    /// there is one.
    pub traceparent: Option<String>,
}

/// Makes ready what a turn wants to begin. What cannot begin has the reason, for the step to fail with.
///
/// # Errors
/// When a revision cannot be read here; another worker may know more.
pub async fn prepare(
    store: &Store,
    revisions: &Revisions,
    family: &Family,
    children: &[Child],
    at: i64,
) -> Result<Vec<NewChild>, revisions::Error> {
    let mut prepared = Vec::with_capacity(children.len());
    for child in children {
        prepared.push(NewChild {
            step: child.step.clone(),
            execution_id: child.execution_id.clone(),
            goes_on: child.goes_on,
            beginning: begin(store, revisions, family, child, at).await?,
        });
    }
    Ok(prepared)
}

async fn begin(
    store: &Store,
    revisions: &Revisions,
    family: &Family,
    child: &Child,
    at: i64,
) -> Result<Result<Beginning, StepError>, revisions::Error> {
    let name = &child.workflow;
    if MAX_DEPTH <= family.depth {
        return Ok(Err(too_deep(name)));
    }
    let Some(hash) = family.links.get(name) else {
        let message = format!("no workflow was called {name:?} when the execution started");
        return Ok(Err(StepError::permanent("unknown_workflow", message)));
    };
    let workflow = revisions.get(store, hash).await?;
    let input = match workflow.input.accept(serde_json::Value::clone(&child.input)) {
        Ok(input) => input,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let message = format!("the input of {name:?} does not fit: {}", problems.join("; "));
            return Ok(Err(StepError::permanent("invalid_input", message)));
        }
    };
    let mut state = State::new(&workflow, &child.execution_id, &family.requested_by);
    let event = Event::ExecutionStarted { input };
    if let Err(err) = state.apply(&workflow, &event, at) {
        return Ok(Err(StepError::permanent("internal", err.to_string())));
    }
    Ok(Ok(Beginning { workflow, state, events: vec![event] }))
}

fn too_deep(name: &str) -> StepError {
    let message = format!(
        "workflow {name:?} was not run: {MAX_DEPTH} executions are above it already. A workflow that runs itself \
         needs an `if` that ends it"
    );
    StepError::permanent("recursion_limit", message)
}
