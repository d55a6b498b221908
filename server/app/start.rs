//! Starts executions: checks everything first, then writes once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use windlass_engine::{Event, State, Turn, Workflow, advance};

use super::{
    App, Caller, Detail, Error, Execution, Inner, RunRequest, catalogue::Entry, fork::Fork,
};
use crate::{
    bell::Ring,
    children::{self, Family},
    clock::Moment,
    driver::{HandOver, Place},
    fault, metrics,
    store::{Created, NewChild, NewExecution},
    trace::{self, Context, Kind, Span},
};

/// Keys are for machines to make; this is more than any needs. In bytes.
const KEY_LIMIT: usize = 255;

/// What a start rests on, beside the request for it.
#[derive(Default)]
pub(super) struct Premise {
    /// What it takes over from another execution.
    pub(super) fork: Fork,
    /// How its workflow stood when it was looked up, if not a moment ago.
    pub(super) standing: Option<String>,
}

/// An execution that nothing speaks against any more.
struct Prepared {
    id: String,
    workflow: Arc<Workflow>,
    linked: Vec<(Arc<Workflow>, String)>,
    tool_servers: String,
    family: Family,
    state: State,
    turn: Turn,
    children: Vec<NewChild>,
    place: Option<Place>,
    claimed_at: Moment,
    at: i64,
    request_hash: Option<String>,
}

impl App {
    /// Starts an execution of a document that was read, in the trace of its caller.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        entry: &Entry,
        request: RunRequest,
    ) -> Result<Execution, Error> {
        let started = self.start_from(caller, entry, request, Premise::default()).await?;
        started.ok_or_else(changed)
    }

    /// The same on a premise. `None` when the workflow stands otherwise by now than it was known to, or is not to be
    /// started as it was known: nothing was written then.
    pub(super) async fn start_from(
        &self,
        caller: &Caller,
        entry: &Entry,
        request: RunRequest,
        premise: Premise,
    ) -> Result<Option<Execution>, Error> {
        let above = caller.traceparent.as_deref().and_then(Context::read);
        let span = trace::begin("workflow.run", Kind::Server, above);
        let place = span.as_ref().map(Span::context).or(above);
        let tracestate = above.and(caller.tracestate.as_deref());
        let in_trace = place.map(|place| trace::kept(place, tracestate));
        let handed_on = in_trace.as_deref().and_then(trace::tracestate);
        let span = span.map(|span| span.in_state(handed_on));
        let started = self.start_at(caller, entry, request, (premise, in_trace)).await;
        if let Some(span) = span {
            let span = span.with("windlass.workflow.name", entry.name.as_str());
            match &started {
                Ok(Some(execution)) => {
                    let id = execution.execution_id.as_str();
                    span.with("windlass.execution.id", id).end(None);
                }
                // It is about to be tried again.
                Ok(None) => {}
                Err(_) => span.end(Some("refused")),
            }
        }
        started
    }

    async fn start_at(
        &self,
        caller: &Caller,
        entry: &Entry,
        mut request: RunRequest,
        (premise, traceparent): (Premise, Option<String>),
    ) -> Result<Option<Execution>, Error> {
        let Premise { fork, standing } = premise;
        let prepared = self.prepare(caller, entry, &mut request, (fork, traceparent)).await;
        let prepared = match prepared {
            // What speaks against it may be none of it any more.
            Err(_) if standing.is_some() => return Ok(None),
            prepared => prepared?,
        };
        self.write(caller, entry, request, (prepared, standing)).await
    }

    /// Checks everything, and writes nothing.
    async fn prepare(
        &self,
        caller: &Caller,
        entry: &Entry,
        request: &mut RunRequest,
        (fork, traceparent): (Fork, Option<String>),
    ) -> Result<Prepared, Error> {
        let workflow = runnable(entry)?;
        check_key(request.idempotency_key.as_deref())?;
        let held = self.held(request).await?;
        let given = std::mem::take(&mut request.input);
        let given = match &held {
            Some(held) => held.input(given),
            None => Value::Object(given),
        };
        // Nobody asks for it without a key.
        let keyed = request.idempotency_key.as_ref();
        let request_hash = keyed.map(|_| request_hash(&workflow.name, &given, &fork));
        let input = workflow.input.accept(given).map_err(|problems| Error::InvalidInput {
            workflow: workflow.name.clone(),
            problems,
        })?;
        let linked = self.link(&workflow).await?;
        if let Some(held) = &held {
            let key = request.idempotency_key.as_deref();
            self.hold(caller, held, &workflow, &input, &linked, key).await?;
        }
        let all = linked.iter().map(|(workflow, _)| workflow).chain([&workflow]);
        let tool_servers = json!(self.used_tool_servers(all.clone())?).to_string();
        let links: BTreeMap<String, String> =
            all.map(|workflow| (workflow.name.clone(), workflow.hash.clone())).collect();
        let id = windlass_engine::id_at("exec_", self.inner.store.now(), rand::random());
        let requested_by = caller.name.clone();
        let family = Family { root_id: id.clone(), requested_by, links, depth: 0, traceparent };
        // Whoever drives it must live before the row does, or its first moments are nobody's.
        self.inner.driver.ensure().await;

        let claimed_at = Moment::now();
        let at = self.inner.store.now();
        let mut state = State::new(&workflow, &id, &caller.name);
        state.limit(self.inner.tool_servers.limits().of(&workflow));
        let mut happened = vec![Event::ExecutionStarted { input }];
        happened.extend(fork.reused);
        let place = self.inner.driver.place();
        let turn = first_turn(&workflow, &mut state, &id, happened, at, place.is_some())?;
        let linked_too = linked.iter().map(|(workflow, _)| workflow);
        for workflow in linked_too.chain([&workflow]) {
            self.inner.revisions.keep(Arc::clone(workflow));
        }
        let Inner { store, revisions, .. } = &*self.inner;
        let children = children::prepare(store, revisions, &family, &turn.children, at).await?;
        Ok(Prepared {
            id,
            workflow,
            linked,
            tool_servers,
            family,
            state,
            turn,
            children,
            place,
            claimed_at,
            at,
            request_hash,
        })
    }

    /// Writes it, and has it driven. `None` when the workflow does not stand as it was known to.
    async fn write(
        &self,
        caller: &Caller,
        entry: &Entry,
        request: RunRequest,
        (prepared, standing): (Prepared, Option<String>),
    ) -> Result<Option<Execution>, Error> {
        let Prepared { id, workflow, linked, family, state, turn, children, place, at, .. } =
            prepared;
        let links = json!(family.links).to_string();
        let new = NewExecution {
            id: &id,
            workflow: &workflow,
            source: &entry.source,
            requested_by: &caller.name,
            on_behalf_of: caller.on_behalf_of.as_deref(),
            client_name: caller.client_name.as_deref(),
            client_version: caller.client_version.as_deref(),
            tool_servers: &prepared.tool_servers,
            links: &links,
            linked: &linked,
            idempotency_key: request.idempotency_key.as_deref(),
            plan: request.plan.as_deref(),
            request_hash: prepared.request_hash.as_deref().unwrap_or_default(),
            state: &state,
            events: &turn.events,
            children: &children,
            at,
            worker: place.as_ref().map(Place::worker),
            priority: request.priority.unwrap_or(workflow.config.priority).rank(),
            traceparent: family.traceparent.as_deref(),
            standing: standing.as_deref(),
        };
        fault::point("before_create");
        let span = trace::commit(&family, &id);
        let created = self.inner.store.create(&new).await?;
        fault::point("after_create");
        let claim = match created {
            Created::New(claim) => {
                trace::committed(span, Ok(&turn.events));
                metrics::executions_started(1 + children.len());
                if state.status.is_final() {
                    trace::execution_ended(&family, &id, &workflow, &state);
                }
                claim
            }
            Created::Outdated => return Ok(None),
            Created::Known(id) => {
                self.adopt(&id).await?;
                return self.started(&id).await.map(Some);
            }
            Created::KeyReused(execution_id) => {
                let key = request.idempotency_key.unwrap_or_default();
                return Err(Error::KeyReused { key, execution_id });
            }
        };
        let (begun, row) = (self.begun(&new), new.row());
        for due in claim.iter().flat_map(|claim| &claim.due).filter(|due| **due != id) {
            self.inner.bell.ring(Ring::Due(due.as_str().into()));
        }
        for child in &children {
            self.inner.driver.adopt(&child.execution_id);
        }
        match place.zip(claim) {
            Some((place, claim)) => place.hand_over(HandOver {
                claim,
                row,
                claimed_at: prepared.claimed_at,
                workflow,
                state,
                family,
                calls: turn.calls,
                wake_at: turn.wake_at,
            }),
            None => {
                self.inner.bell.ring(Ring::Due(id.as_str().into()));
                // It may have gone to sleep just before the row was there.
                self.inner.driver.ensure().await;
            }
        }
        match begun {
            Some(begun) => Ok(Some(begun)),
            None => self.started(&id).await.map(Some),
        }
    }

    /// How an execution stands that is there. When the database goes away in this moment, its id is told all the same.
    async fn started(&self, id: &str) -> Result<Execution, Error> {
        let deadline = Instant::now() + super::SIGNAL_PATIENCE;
        let looked = super::patiently(deadline, || self.status(id, Detail::Steps)).await;
        looked.map_err(|error| match error {
            error if error.is_passing() => Error::UncertainStart(id.to_owned()),
            error => error,
        })
    }

    /// Has a worker that drives only some executions drive one that is there already, and those below it: they may be what
    /// it waits for.
    pub(super) async fn adopt(&self, id: &str) -> Result<(), Error> {
        let Inner { driver, store, .. } = &*self.inner;
        if driver.is_told_which() {
            driver.adopt(id);
            for child in store.below(id).await? {
                driver.adopt(&child.id);
            }
        }
        Ok(())
    }

    /// Every other workflow that an execution may run, at whatever depth, as it is now; by name.
    pub(super) async fn link(
        &self,
        workflow: &Workflow,
    ) -> Result<Vec<(Arc<Workflow>, String)>, Error> {
        let mut linked: BTreeMap<String, (Arc<Workflow>, String)> = BTreeMap::new();
        let mut wanted: Vec<String> = workflow.children().map(str::to_owned).collect();
        while let Some(name) = wanted.pop() {
            if name == workflow.name || linked.contains_key(&name) {
                continue;
            }
            let entry = self.find_to_run(&name).await?;
            entry.check_enabled()?;
            let child = runnable(&entry)?;
            wanted.extend(child.children().map(str::to_owned));
            linked.insert(name, (child, entry.source.clone()));
        }
        Ok(linked.into_values().collect())
    }

    /// The tool servers that workflows name, each with the identity of its configuration.
    pub(super) fn used_tool_servers<'w>(
        &self,
        workflows: impl Iterator<Item = &'w Arc<Workflow>>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let names: BTreeSet<&str> = workflows
            .flat_map(|workflow| workflow.tools())
            .map(|tool| tool.server.as_str())
            .collect();
        let known = &self.inner.tool_servers;
        let used =
            names.into_iter().map(|name| Ok((name.to_owned(), known.identity(name)?.to_owned())));
        used.collect()
    }
}

/// Where the worker is in this process, the first intents are written together with the row.
fn first_turn(
    workflow: &Workflow,
    state: &mut State,
    id: &str,
    happened: Vec<Event>,
    at: i64,
    in_place: bool,
) -> Result<Turn, Error> {
    let unexpected = |err: windlass_engine::UnexpectedEvent| Error::Refused(err.to_string());
    if in_place {
        return advance(workflow, state, id, happened, at).map_err(unexpected);
    }
    for event in &happened {
        state.apply(workflow, event, at).map_err(unexpected)?;
    }
    Ok(Turn { events: happened, ..Turn::default() })
}

/// What is said of a workflow that changes all the time.
pub(super) fn changed() -> Error {
    Error::Refused("the workflow was changed in this moment; run it again".to_owned())
}

pub(super) fn runnable(entry: &Entry) -> Result<Arc<Workflow>, Error> {
    entry.read.clone().map_err(|problems| Error::BrokenWorkflow {
        name: entry.name.clone(),
        problems: problems.to_vec(),
    })
}

fn check_key(key: Option<&str>) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    if key.is_empty() || KEY_LIMIT < key.len() || key.chars().any(char::is_control) {
        let allowed = "an idempotency_key has 1 to 255 bytes and no control characters";
        return Err(Error::Refused(format!("{allowed}; leave it out to run without one")));
    }
    Ok(())
}

/// What an idempotency key stands for. The input counts as it was given: defaults may change with a revision.
fn request_hash(workflow: &str, input: &Value, fork: &Fork) -> String {
    let hash = windlass_engine::content_hash(&json!({ "workflow": workflow, "input": input }));
    match &fork.origin {
        Some(origin) => windlass_engine::content_hash(&json!([hash, origin])),
        None => hash,
    }
}
