//! New executions that begin in the middle of another one: what was done before is not done again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};
use windlass_engine::{Event, Kind, State, StepStatus, Workflow};

use super::{
    App, Caller, Error, Execution, RunRequest,
    catalogue::Entry,
    catalogue::Origin,
    control::merged,
    names,
    start::{Premise, changed},
};
use crate::{keyring::SEALED, store::ExecutionRow};

/// Where a new execution begins.
#[derive(Clone, Debug, Default)]
pub struct ForkRequest {
    /// The first step that is done again: one of the document's own list.
    pub from: String,
    /// Values that take the place of those that the other execution was given.
    pub input: Map<String, Value>,
    /// Whether it runs the current revision of the workflow, and not that of the other execution.
    pub latest: bool,
    /// The same key twice is one execution.
    pub idempotency_key: Option<String>,
}

/// What an execution takes over from another one; nothing, for most.
#[derive(Default)]
pub(super) struct Fork {
    /// What is said of each step that is not done again.
    pub(super) reused: Vec<Event>,
    /// What it was made from, in words that tell it from others.
    pub(super) origin: Option<String>,
}

/// What is known of an execution that another one begins in.
struct Source {
    state: State,
    /// What the steps of the document's own list, and what they hold, made of the vars.
    vars: BTreeMap<String, Map<String, Value>>,
    /// Those of which something was undone.
    undone: BTreeSet<String>,
}

impl App {
    /// Starts an execution from a step of another one, whose results of the steps before are kept.
    ///
    /// # Errors
    /// When there is no such execution or step, what came before has sealed results or is another one by now, or the
    /// input does not fit.
    pub async fn fork(
        &self,
        caller: &Caller,
        execution_id: &str,
        request: ForkRequest,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        let old = self.inner.revisions.get(&self.inner.store, &row.revision).await?;
        let current = self.find(&old.name).await;
        if let Ok(current) = &current {
            current.check_enabled()?;
        }
        let entry = match request.latest {
            true => current?,
            false => entry_of(&row, &old),
        };
        let new = super::start::runnable(&entry)?;
        let before = steps_before(&row, &old, &request.from)?;
        let source = self.source(&row, &old).await?;
        let reused = reused(&row, &old, &before, &source)?;
        if request.latest {
            check_same(&old, &new, &reused, &request.from)?;
        }
        let origin = format!("{} from {}", row.id, request.from);
        let fork = Fork { reused, origin: Some(origin) };
        let Value::Object(input) = merged(&row, request.input) else {
            return Err(Error::Refused("the input of the execution is no object".to_owned()));
        };
        let run = RunRequest {
            workflow: old.name.clone(),
            input,
            idempotency_key: request.idempotency_key,
            plan: None,
            priority: None,
        };
        let premise = Premise { fork, ..Premise::default() };
        self.start_from(caller, &entry, run, premise).await?.ok_or_else(changed)
    }

    async fn source(&self, row: &ExecutionRow, workflow: &Workflow) -> Result<Source, Error> {
        let mut source = Source {
            state: State::new(workflow, &row.id, &row.requested_by),
            vars: BTreeMap::new(),
            undone: BTreeSet::new(),
        };
        let take = |at, event: Event| {
            let taken = source.state.replay(workflow, &event, at);
            taken.map_err(|err| Error::Refused(err.to_string()))?;
            source.learn(workflow, event);
            Ok(())
        };
        self.inner.store.replay::<Error>(&row.id, take).await?;
        Ok(source)
    }
}

impl Source {
    fn learn(&mut self, workflow: &Workflow, event: Event) {
        match event {
            Event::StepCompleted { step, output: Some(Value::Object(values)) } => {
                let of = workflow.step_at(&step);
                if of.is_some_and(|of| matches!(of.kind, Kind::Set(_)) && of.for_each.is_none())
                    || is_instance_of_set(workflow, &step)
                {
                    self.vars.entry(head(&step).to_owned()).or_default().extend(values);
                }
            }
            Event::StepReused { step, vars, .. } => {
                self.vars.entry(step).or_default().extend(vars);
            }
            Event::AttemptSucceeded { step, .. } if step.ends_with(".undo") => {
                self.undone.insert(head(&step).to_owned());
            }
            // What was undone is done again, or was not.
            Event::ExecutionRetried { .. } => self.undone.clear(),
            _ => {}
        }
    }
}

fn is_instance_of_set(workflow: &Workflow, path: &str) -> bool {
    let of = workflow.step_at(path);
    path.ends_with(']') && of.is_some_and(|of| matches!(of.kind, Kind::Set(_)))
}

/// The step of the document's own list that a path begins with.
fn head(path: &str) -> &str {
    &path[..path.find(['/', '[', '.']).unwrap_or(path.len())]
}

fn entry_of(row: &ExecutionRow, workflow: &Arc<Workflow>) -> Entry {
    Entry {
        name: workflow.name.clone(),
        source: format!("execution {}", row.id),
        origin: Origin::Saved,
        enabled: true,
        read: Ok(Arc::clone(workflow)),
    }
}

/// The steps that come before one: those that it needs, at whatever distance, and those above it in the list that do not
/// need it.
fn steps_before(
    row: &ExecutionRow,
    workflow: &Workflow,
    from: &str,
) -> Result<BTreeSet<usize>, Error> {
    let place = workflow.main.iter().position(|index| workflow.steps[*index].name == from);
    let Some(place) = place else {
        let top: Vec<&str> =
            workflow.main.iter().map(|index| workflow.steps[*index].name.as_str()).collect();
        return Err(Error::UnknownStep {
            execution_id: row.id.clone(),
            step: from.to_owned(),
            known: match workflow.step_at(from) {
                Some(_) => format!("(of the document's own list) {}", top.join(", ")),
                None => names(workflow),
            },
        });
    };
    let chosen = workflow.main[place];
    let mut after = BTreeSet::from([chosen]);
    let mut grown = true;
    while grown {
        let depends =
            |index: &usize| workflow.steps[*index].needs.iter().any(|need| after.contains(need));
        let more: Vec<usize> = workflow.main.iter().copied().filter(depends).collect();
        let known = after.len();
        after.extend(more);
        grown = known < after.len();
    }
    let mut before: BTreeSet<usize> =
        workflow.main[..place].iter().copied().filter(|index| !after.contains(index)).collect();
    let mut wanted = workflow.steps[chosen].needs.clone();
    while let Some(need) = wanted.pop() {
        if before.insert(need) {
            wanted.extend(&workflow.steps[need].needs);
        }
    }
    Ok(before)
}

/// What is said of each step that is not done again, in the order in which they were done.
fn reused(
    row: &ExecutionRow,
    workflow: &Workflow,
    before: &BTreeSet<usize>,
    source: &Source,
) -> Result<Vec<Event>, Error> {
    let mut done = Vec::new();
    for index in before {
        let definition = &workflow.steps[*index];
        let Some(step) = source.state.step(&definition.name) else { continue };
        let is_stop = matches!(definition.kind, Kind::Stop(_));
        let was_undone = source.undone.contains(&definition.name);
        let Some(output) = step.output.as_ref().filter(|_| step.status == StepStatus::Completed)
        else {
            continue;
        };
        if is_stop || was_undone {
            continue;
        }
        if output.to_string().contains(SEALED) {
            return Err(Error::Refused(format!(
                "step {name} has a result that is sealed, and only the execution {id} and those below it may open it; fork \
                 from {name} or from a step before it, or run the workflow again",
                name = definition.name,
                id = row.id,
            )));
        }
        let event = Event::StepReused {
            step: definition.name.clone(),
            output: Value::clone(output),
            vars: source.vars.get(&definition.name).cloned().unwrap_or_default(),
            from_execution: row.id.clone(),
        };
        done.push((step.ended_at, *index, event));
    }
    done.sort_by_key(|(ended_at, index, _)| (*ended_at, *index));
    Ok(done.into_iter().map(|(_, _, event)| event).collect())
}

/// The steps whose results are taken over have to be the same in the current revision.
fn check_same(old: &Workflow, new: &Workflow, reused: &[Event], from: &str) -> Result<(), Error> {
    let has = new.main.iter().any(|index| new.steps[*index].name == from);
    if !has {
        return Err(Error::Refused(format!(
            "the current revision of {} has no step {from} in its own list; leave --latest off, or choose another step",
            new.name
        )));
    }
    for step in reused.iter().filter_map(Event::step) {
        if definition(old, step) != definition(new, step) {
            return Err(Error::Refused(format!(
                "step {step} is another one in the current revision of {}, so its result cannot be taken over; fork from \
                 {step}, or leave --latest off to run the revision that the execution ran",
                new.name
            )));
        }
    }
    Ok(())
}

fn definition<'w>(workflow: &'w Workflow, name: &str) -> Option<&'w Value> {
    let steps = workflow.document.get("steps")?.as_array()?;
    steps.iter().find(|step| step.get("name").and_then(Value::as_str) == Some(name))
}
