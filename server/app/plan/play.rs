//! Plays a workflow through: the engine decides, and what it asks for is looked up, supposed, or taken for granted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_engine::{
    Answer, Call, Child, Event, Kind, Outcome as End, RequestKind, Resolution, State, StepError,
    Turn, Workflow, advance,
};

use super::{
    App, Error, LiveTools, Workflows, example,
    found::{
        Asked, Basis, Blocked, Found, Handler, Locked, MayRun, Read, Stopped, Stub, Truncated,
        Waited, Why, Write,
    },
    level::{Level, Sources},
};
use crate::{
    app::drifts::Live,
    drift::ToolSnapshot,
    store,
    tool_servers::{self, Outcome, RetryClass},
};

/// How many calls a plan has at most.
const MOST_CALLS: usize = 500;

/// How many events a plan has at most.
const MOST_EVENTS: usize = 10_000;

/// How many workflows may be above one another.
const MOST_DEPTH: usize = 8;

/// How long making a plan may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one tool may take that is really called.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// Who agrees to everything while a plan is made.
const NOBODY: &str = "plan";

/// A plan that is being made.
pub(super) struct Play<'p> {
    app: &'p App,
    plan_id: &'p str,
    caller: &'p str,
    workflows: &'p Workflows,
    tools: &'p LiveTools,
    deadline: Instant,
    /// Milliseconds since 1970; jumps where something is waited for.
    now: i64,
    calls: usize,
    events: usize,
    /// What could not be read, by its key: it is not tried again.
    failures: HashMap<String, StepError>,
    found: Found,
}

/// Why a plan is not made to its end.
enum Halt {
    /// It became too large or took too long.
    Truncated,
    /// The database failed.
    Store(store::Error),
}

/// How a workflow ends that was played through.
struct Ended {
    result: Result<Value, StepError>,
    /// The step that it failed at.
    step: Option<String>,
}

/// What is done about a call.
enum Verdict<'p> {
    Read,
    Stub(Why, Option<&'p ToolSnapshot>),
    Fails(StepError),
}

impl From<store::Error> for Halt {
    fn from(err: store::Error) -> Halt {
        Halt::Store(err)
    }
}

impl<'p> Play<'p> {
    pub(super) fn new(
        app: &'p App,
        plan_id: &'p str,
        caller: &'p str,
        workflows: &'p Workflows,
        tools: &'p LiveTools,
    ) -> Play<'p> {
        Play {
            app,
            plan_id,
            caller,
            workflows,
            tools,
            deadline: Instant::now() + PATIENCE,
            now: app.inner.store.now(),
            calls: 0,
            events: 0,
            failures: HashMap::new(),
            found: Found::default(),
        }
    }

    /// Plays a workflow through to whatever end it has.
    pub(super) async fn whole(
        mut self,
        workflow: &Arc<Workflow>,
        input: Value,
    ) -> Result<Found, Error> {
        for (name, live) in self.tools {
            if let Live::Unknown(reason) = live {
                let sentence = format!("{name} cannot be asked what it is: {reason}");
                self.found.unknown.insert(sentence);
            }
        }
        let mut level = self.level_of(workflow, String::new(), self.plan_id.to_owned(), 0);
        match self.play(&mut level, input).await {
            Ok(Ended { result: Err(error), step }) if self.found.stops.is_none() => {
                let StepError { code, message, .. } = error;
                self.found.blocked = Some(Blocked { step, code, error: message });
            }
            Ok(_) | Err(Halt::Truncated) => {}
            Err(Halt::Store(err)) => return Err(err.into()),
        }
        self.look_back(&level);
        Ok(self.found)
    }

    fn level_of(
        &self,
        workflow: &Arc<Workflow>,
        prefix: String,
        id: String,
        depth: usize,
    ) -> Level {
        Level {
            workflow: Arc::clone(workflow),
            state: State::new(workflow, &id, self.caller),
            id,
            prefix,
            depth,
            supposed: BTreeMap::new(),
            given: Sources::default(),
            above: BTreeSet::new(),
            reached: BTreeSet::new(),
        }
    }

    /// One workflow, from its first event to its last; boxed, because it may run itself.
    fn play<'a>(
        &'a mut self,
        level: &'a mut Level,
        input: Value,
    ) -> BoxFuture<'a, Result<Ended, Halt>> {
        Box::pin(async move {
            let mut happened = vec![Event::ExecutionStarted { input }];
            loop {
                level.suppose();
                let workflow = Arc::clone(&level.workflow);
                let known = mem::take(&mut happened);
                let turn = advance(&workflow, &mut level.state, &level.id, known, self.now);
                let turn = match turn {
                    Ok(turn) => turn,
                    Err(err) => {
                        let error = StepError::permanent("internal", err.to_string());
                        return Ok(Ended { result: Err(error), step: None });
                    }
                };
                self.note(level, &turn.events);
                if let Some(ended) = ended(level, &turn) {
                    return Ok(ended);
                }
                self.check_bounds(level, &turn)?;
                happened = self.calls(level, &turn.calls).await?;
                for child in &turn.children {
                    let ended = self.child(level, child).await?;
                    happened.push(ended);
                }
                if happened.is_empty() && !turn.is_unfinished {
                    happened = self.granted(level);
                }
                if happened.is_empty() && !turn.is_unfinished {
                    match turn.wake_at {
                        Some(at) => self.now = self.now.max(at),
                        None => {
                            let message = "nothing would move it on";
                            let error = StepError::permanent("stuck", message);
                            return Ok(Ended { result: Err(error), step: None });
                        }
                    }
                }
            }
        })
    }

    /// Writes down what callers want to know of what happened.
    fn note(&mut self, level: &mut Level, events: &[Event]) {
        self.events += events.len();
        for event in events {
            level.reach(event);
            match event {
                Event::RequestOpened { step, request } => {
                    let kind = match request.kind {
                        RequestKind::Approval => "approval",
                        RequestKind::Form => "form",
                    };
                    self.found.asks.push(Asked {
                        step: level.path(step),
                        kind: kind.to_owned(),
                        message: request.message.clone(),
                        approvers: request.approvers.clone(),
                        quorum: request.quorum,
                    });
                }
                Event::LockRequested { step, key, .. } => {
                    let step = step.as_ref().map(|step| level.path(step));
                    let lock = Locked { step, key: key.clone() };
                    if !self.found.locks.contains(&lock) {
                        self.found.locks.push(lock);
                    }
                }
                Event::WaitStarted { step, until, event } => self.found.waits.push(Waited {
                    step: level.path(step),
                    ms: (until - self.now).max(0),
                    event: event.clone(),
                }),
                Event::StopReached { step, outcome, message } if level.depth == 0 => {
                    let (outcome, message) = (*outcome, message.clone());
                    self.found.stops = Some(Stopped { step: level.path(step), outcome, message });
                }
                _ => {}
            }
        }
    }

    fn check_bounds(&mut self, level: &Level, turn: &Turn) -> Result<(), Halt> {
        let calls = turn.calls.len() + turn.children.len();
        self.calls += calls;
        let reason = if MOST_CALLS < self.calls {
            format!("a plan has at most {MOST_CALLS} calls")
        } else if MOST_EVENTS < self.events {
            format!("a plan has at most {MOST_EVENTS} events")
        } else if self.deadline <= Instant::now() {
            format!("making a plan may take {} s", PATIENCE.as_secs())
        } else {
            return Ok(());
        };
        let next = turn.calls.iter().map(|call| &call.step);
        let next = next.chain(turn.children.iter().map(|child| &child.step)).next();
        self.found.truncated = Some(Truncated { step: next.map(|step| level.path(step)), reason });
        Err(Halt::Truncated)
    }

    async fn calls(&mut self, level: &mut Level, calls: &[Call]) -> Result<Vec<Event>, Halt> {
        let (mut happened, mut reads) = (Vec::new(), Vec::new());
        for call in calls {
            let Some(definition) = level.definition(&call.step) else { continue };
            match self.judge(level, definition, call) {
                Verdict::Read => reads.push((definition, call)),
                Verdict::Fails(error) => {
                    happened.push(Event::AttemptFailed { step: call.step.clone(), error });
                }
                Verdict::Stub(why, tool) => {
                    if why == Why::Writes || why == Why::Unreachable {
                        self.write(level, definition, call, tool);
                    }
                    let output = self.stub(level, definition, call, why, tool).await?;
                    happened.push(Event::AttemptSucceeded { step: call.step.clone(), output });
                }
            }
        }
        let asked = reads.iter().map(|(_, call)| self.read(call));
        let answers = join_all(asked).await;
        for ((definition, call), (outcome, hidden)) in reads.into_iter().zip(answers) {
            happened.push(self.was_read(level, definition, call, outcome, hidden));
        }
        Ok(happened)
    }

    fn judge(&self, level: &Level, definition: usize, call: &Call) -> Verdict<'p> {
        let tools = self.tools;
        let tool = match tools.get(&call.tool.to_string()) {
            Some(Live::Is(tool)) => tool,
            Some(Live::Unknown(_)) | None => return Verdict::Stub(Why::Unreachable, None),
            Some(Live::Gone) => {
                let message = format!("tool server {:?} has no such tool", call.tool.server);
                return Verdict::Fails(StepError::permanent("unknown_tool", message));
            }
        };
        if tool.retry_class != RetryClass::Read {
            return Verdict::Stub(Why::Writes, Some(&**tool));
        }
        if let Some(error) = self.failures.get(&call.idempotency_key) {
            return Verdict::Fails(error.clone());
        }
        if !call.secrets.is_empty() {
            return Verdict::Stub(Why::Secret, Some(&**tool));
        }
        if !level.params(definition).1.stubs.is_empty() {
            return Verdict::Stub(Why::Estimated, Some(&**tool));
        }
        Verdict::Read
    }

    fn write(
        &mut self,
        level: &Level,
        definition: usize,
        call: &Call,
        tool: Option<&ToolSnapshot>,
    ) {
        let (estimated_params, mut sources) = level.params(definition);
        sources.stubs.extend(level.control(definition));
        self.found.writes.push(Write {
            order: self.found.writes.len() + 1,
            step: level.path(&call.step),
            tool: call.tool.to_string(),
            params: Value::clone(&call.params),
            retry_class: tool.map(|tool| tool.retry_class),
            estimated: !sources.is_known(),
            estimated_params,
            depends_on_stubs: sources.stubs.into_iter().collect(),
        });
    }

    /// Stands in for a call that is not made.
    async fn stub(
        &mut self,
        level: &mut Level,
        definition: usize,
        call: &Call,
        why: Why,
        tool: Option<&ToolSnapshot>,
    ) -> Result<Value, Halt> {
        let schema = tool.and_then(|tool| tool.output_schema.as_ref());
        let last = self.last_result(level, call).await?;
        let last = last.filter(|last| schema.is_none_or(|schema| fits(schema, last)));
        let origins = level.origins();
        let (from, result) = match (last, schema) {
            (Some(last), _) => (Basis::LastResult, last),
            (None, Some(schema)) => {
                (Basis::Schema, origins.example(definition, Some(example::of(schema))))
            }
            (None, None) => (Basis::Unknown, origins.example(definition, None)),
        };
        let step = level.path(&call.step);
        self.found.stubs.push(Stub { step, tool: call.tool.to_string(), from, why });
        self.suppose(level, definition);
        Ok(result)
    }

    /// From here on whatever derives from the step is only supposed.
    fn suppose(&mut self, level: &mut Level, definition: usize) {
        let name = level.path_of(definition);
        level.supposed.entry(definition).or_default().insert(name);
        if let Some(sentence) = expects(level, definition) {
            self.found.unknown.insert(sentence);
        }
    }

    /// What the same step resulted in when it ran last; of instances and iterations the first stands for all.
    async fn last_result(&self, level: &Level, call: &Call) -> Result<Option<Value>, Halt> {
        let (name, tool) = (level.workflow.name.as_str(), call.tool.to_string());
        let store = &self.app.inner.store;
        let mut found = store.last_result(name, &call.step, &tool).await?;
        let first = first_of(&call.step);
        if found.is_none() && first != call.step {
            found = store.last_result(name, &first, &tool).await?;
        }
        let event = found.and_then(|data| serde_json::from_str::<Event>(&data).ok());
        Ok(event.and_then(result_in))
    }

    async fn read(&self, call: &Call) -> (Outcome, bool) {
        let cancel = CancellationToken::new();
        // Whoever asked may go: then the tool is told to stop, which a task has to see to that stays.
        let _gone = cancel.clone().drop_guard();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let call = tool_servers::Call {
            tool: call.tool.clone(),
            params: Value::clone(&call.params),
            idempotency_key: call.idempotency_key.clone(),
            attempt: 1,
            first_started_at: call.first_started_at,
            timeout: left.min(READ_PATIENCE),
            cancel,
            may_send: None,
            inspect: None,
            traceparent: None,
            tracestate: None,
        };
        let servers = self.app.inner.tool_servers.clone();
        match tokio::spawn(async move { servers.look(call).await }).await {
            Ok(looked) => looked,
            Err(_) => (Outcome::Failed(broke_down()), false),
        }
    }

    fn was_read(
        &mut self,
        level: &mut Level,
        definition: usize,
        call: &Call,
        outcome: Outcome,
        hidden: bool,
    ) -> Event {
        let (step, tool) = (level.path(&call.step), call.tool.to_string());
        let is_done = !matches!(outcome, Outcome::NotDone(_));
        let (result, error) = match outcome {
            Outcome::Succeeded(result) => (Some(result), None),
            Outcome::NotDone(said) => (Some(as_if_done(said)), None),
            Outcome::Failed(failure) | Outcome::Uncertain { failure, .. } => (None, Some(failure)),
        };
        self.found.reads.push(Read {
            step: step.clone(),
            tool: tool.clone(),
            params: Value::clone(&call.params),
            ok: error.is_none(),
            error: error.as_ref().map(|failure| failure.message.clone()),
        });
        let supposed = match (is_done, hidden) {
            (false, _) => Some((Basis::LastLook, Why::NotDone)),
            (true, true) => Some((Basis::Hidden, Why::Secret)),
            (true, false) => None,
        };
        if let Some((from, why)) = supposed {
            self.found.stubs.push(Stub { step, tool, from, why });
            self.suppose(level, definition);
        }
        let step = call.step.clone();
        match error {
            None => Event::AttemptSucceeded { step, output: result.unwrap_or_default() },
            Some(failure) => {
                let error = StepError::permanent(&failure.code, failure.message);
                self.failures.insert(call.idempotency_key.clone(), error.clone());
                Event::AttemptFailed { step, error }
            }
        }
    }

    /// Plays the workflow through that a step runs.
    async fn child(&mut self, level: &mut Level, child: &Child) -> Result<Event, Halt> {
        let step = child.step.clone();
        let fails = |code: &str, message: String| {
            let error = StepError::permanent(code, message);
            Ok(Event::AttemptFailed { step: step.clone(), error })
        };
        if MOST_DEPTH <= level.depth {
            let reason = format!("a plan looks into {MOST_DEPTH} workflows that run one another");
            self.found.truncated = Some(Truncated { step: Some(level.path(&step)), reason });
            return Err(Halt::Truncated);
        }
        let name = &child.workflow;
        let Some(workflow) = self.workflows.get(name) else {
            return fails("unknown_workflow", format!("no workflow is called {name:?}"));
        };
        let input = match workflow.input.accept(Value::clone(&child.input)) {
            Ok(input) => input,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let message =
                    format!("the input of {name:?} does not fit: {}", problems.join("; "));
                return fails("invalid_input", message);
            }
        };
        let Some(definition) = level.definition(&step) else {
            return fails("internal", format!("there is no step {step}"));
        };
        let prefix = format!("{}/", level.path(&step));
        let id = child.execution_id.clone();
        let mut inner = self.level_of(workflow, prefix, id, level.depth + 1);
        inner.given = level.params(definition).1;
        inner.above = level.control(definition);
        let ended = self.play(&mut inner, input).await;
        self.look_back(&inner);
        let output = inner.supposed(&inner.origins().output()).stubs;
        if !output.is_empty() {
            level.supposed.entry(definition).or_default().extend(output);
        }
        match ended? {
            Ended { result: Ok(output), .. } => Ok(Event::AttemptSucceeded { step, output }),
            Ended { result: Err(error), step: at } => {
                let at = at.map(|at| format!("{at}: ")).unwrap_or_default();
                let message = format!("workflow {name} would fail: {at}{}", error.message);
                Ok(Event::AttemptFailed { step, error: StepError { message, ..error } })
            }
        }
    }

    /// Persons agree, locks are free, and what is waited for comes.
    fn granted(&mut self, level: &mut Level) -> Vec<Event> {
        let mut happened = Vec::new();
        let requests: Vec<_> =
            level.state.requests().map(|(at, of)| (at.to_owned(), of.clone())).collect();
        for (step, request) in requests {
            let Some(definition) = level.definition(&step) else { continue };
            let answer = match request.kind {
                RequestKind::Approval => Answer::Approved { comment: None },
                RequestKind::Form => {
                    let schema = request.schema.as_ref().map(example::of);
                    let values = schema.filter(Value::is_object).unwrap_or_else(|| json!({}));
                    Answer::Given { values }
                }
            };
            let kind = &level.workflow.steps[definition].kind;
            if matches!(kind, Kind::Approval(_) | Kind::Ask(_)) {
                let (step, tool) = (level.path(&step), kind.as_str().to_owned());
                self.found.stubs.push(Stub { step, tool, from: Basis::Schema, why: Why::Outside });
                self.suppose(level, definition);
            }
            for number in 1..=request.quorum {
                happened.push(Event::RequestAnswered {
                    step: step.clone(),
                    request: request.id.clone(),
                    by: if number == 1 { NOBODY.to_owned() } else { format!("{NOBODY} {number}") },
                    verified: true,
                    answer: answer.clone(),
                });
            }
        }
        let locks = level.state.awaited_locks();
        happened.extend(locks.map(|(step, key)| Event::LockGranted {
            step: step.map(str::to_owned),
            key: key.to_owned(),
        }));
        if happened.is_empty() {
            happened.extend(self.event(level));
        }
        happened
    }

    /// The event that somebody waits for.
    fn event(&mut self, level: &mut Level) -> Option<Event> {
        let (step, name) = level.state.awaited_events().next()?;
        let (step, name) = (step.to_owned(), name.to_owned());
        let definition = level.definition(&step)?;
        let data = level.origins().example(definition, None);
        let path = level.path(&step);
        let sentence = format!("what event {name:?} says, which {path} waits for");
        self.found.unknown.insert(sentence);
        let (from, why) = (Basis::Unknown, Why::Outside);
        self.found.stubs.push(Stub { step: path, tool: "wait".to_owned(), from, why });
        self.suppose(level, definition);
        Some(Event::EventReceived { name, data, by: NOBODY.to_owned() })
    }

    /// What of a workflow was not played, and may happen all the same.
    fn look_back(&mut self, level: &Level) {
        let workflow = &level.workflow;
        for (index, step) in workflow.steps.iter().enumerate() {
            if !level.is_main(index) {
                let when = if is_in(workflow, index, &workflow.on_cancel) {
                    "on_cancel"
                } else {
                    "on_failure"
                };
                self.found.if_it_ends_badly.extend(handler(level, index, when));
                continue;
            }
            if let Some(undo) = step.undo.as_ref().filter(|_| workflow.config.undo_on_failure) {
                let tool = undo.tool.to_string();
                let handler = Handler { when: "undo", step: level.path_of(index), tool };
                self.found.if_it_ends_badly.push(handler);
            }
            if !level.reached.contains(&index) {
                self.look_at_left_out(level, index);
            }
            let single = matches!(&step.kind, Kind::Group(group) if group.repeat.is_some());
            let stubs = level.supposed(&level.origins().repetition(index)).stubs;
            if single && !stubs.is_empty() {
                let stubs: Vec<String> = stubs.into_iter().collect();
                let sentence = format!(
                    "how often {} goes round, which depends on {}; one round was planned",
                    level.path_of(index),
                    stubs.join(", ")
                );
                self.found.unknown.insert(sentence);
            }
        }
    }

    fn look_at_left_out(&mut self, level: &Level, index: usize) {
        let step = &level.workflow.steps[index];
        if matches!(step.kind, Kind::Set(_) | Kind::Group(_) | Kind::Wait(_)) {
            return;
        }
        let mut stubs = level.control(index);
        stubs.extend(level.params(index).1.stubs);
        if stubs.is_empty() && !self.found.is_cut_short() {
            return;
        }
        let params = level.state.params_if_run(&level.workflow, index, self.now);
        let may_run = MayRun {
            step: level.path_of(index),
            tool: step.label(),
            only_reads: step.kind.tool().is_some_and(|tool| self.only_reads(&tool.to_string())),
            params: params.map(|(params, _)| params),
            depends_on_stubs: stubs.iter().cloned().collect(),
        };
        self.found.may_also_run.push(may_run);
        if let Kind::Workflow { workflow, .. } = &step.kind {
            self.look_into(&level.path_of(index), workflow, &stubs, level.depth + 1);
        }
    }

    /// The steps of a workflow that may run though nobody played it through.
    fn look_into(&mut self, path: &str, name: &str, stubs: &BTreeSet<String>, depth: usize) {
        let Some(workflow) = self.workflows.get(name).filter(|_| depth <= MOST_DEPTH) else {
            return;
        };
        for step in &workflow.steps {
            let path = format!("{path}/{}", step.name);
            match &step.kind {
                Kind::Tool { tool, .. } => self.found.may_also_run.push(MayRun {
                    step: path,
                    tool: tool.to_string(),
                    only_reads: self.only_reads(&tool.to_string()),
                    params: None,
                    depends_on_stubs: stubs.iter().cloned().collect(),
                }),
                Kind::Workflow { workflow, .. } => {
                    self.look_into(&path, workflow, stubs, depth + 1);
                }
                _ => {}
            }
        }
    }

    fn only_reads(&self, tool: &str) -> bool {
        matches!(self.tools.get(tool), Some(Live::Is(tool)) if tool.retry_class == RetryClass::Read)
    }
}

/// How a workflow ended, if it did. What follows a failure is not played.
fn ended(level: &Level, turn: &Turn) -> Option<Ended> {
    let failed = || {
        turn.events.iter().find_map(|event| match event {
            Event::StepFailed { step, error } => Some((level.path(step), error)),
            _ => None,
        })
    };
    let fails = |error: &StepError| match failed() {
        Some((step, why)) => Ended { result: Err(why.clone()), step: Some(step) },
        None => Ended { result: Err(error.clone()), step: None },
    };
    turn.events.iter().find_map(|event| match event {
        Event::ExecutionCompleted { output } => {
            Some(Ended { result: Ok(output.clone()), step: None })
        }
        Event::PhaseStarted { error, .. } | Event::ExecutionFailed { error, .. } => {
            Some(fails(error))
        }
        Event::ExecutionCancelled { reason } => {
            let reason = reason.clone().unwrap_or_else(|| "it would be cancelled".to_owned());
            Some(fails(&StepError::permanent("cancelled", reason)))
        }
        Event::StopReached { outcome: End::Failed | End::Cancelled, message, step } => {
            let error = StepError::permanent("stopped", message.clone());
            Some(Ended { result: Err(error), step: Some(level.path(step)) })
        }
        _ => None,
    })
}

/// What nobody knows of a step that was supposed to do as it is expected to.
fn expects(level: &Level, definition: usize) -> Option<String> {
    level.workflow.steps[definition].expect.as_ref()?;
    Some(format!("whether {} does what is expected of it", level.path_of(definition)))
}

fn handler(level: &Level, index: usize, when: &'static str) -> Option<Handler> {
    let step = &level.workflow.steps[index];
    let calls = matches!(step.kind, Kind::Tool { .. } | Kind::Workflow { .. });
    calls.then(|| Handler { when, step: level.path_of(index), tool: step.label() })
}

fn is_in(workflow: &Workflow, index: usize, list: &[usize]) -> bool {
    let parents = std::iter::successors(Some(index), |step| workflow.steps[*step].parent);
    parents.last().is_some_and(|top| list.contains(&top))
}

fn fits(schema: &Value, value: &Value) -> bool {
    jsonschema::draft202012::new(schema).is_ok_and(|schema| schema.is_valid(value))
}

fn result_in(event: Event) -> Option<Value> {
    match event {
        Event::AttemptSucceeded { output, .. } => Some(output),
        Event::StepCompleted { output, .. } | Event::StepVerified { output, .. } => output,
        Event::StepResolved { resolution: Resolution::Completed { output }, .. } => Some(output),
        _ => None,
    }
}

/// The path with every number in it made 0: `fan[3]/x` is `fan[0]/x`.
fn first_of(path: &str) -> String {
    let mut parts = path.split('[');
    let mut first = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once(']').map_or("", |(_, rest)| rest);
        first.push_str("[0]");
        first.push_str(rest);
    }
    first
}

/// A plan does not wait: what is not done yet is supposed to be done well.
fn as_if_done(mut said: Value) -> Value {
    if let Some(said) = said.as_object_mut() {
        said.insert("done".to_owned(), true.into());
        said.remove("retry_after_ms");
        if said.get("success").is_some_and(Value::is_null) {
            said.insert("success".to_owned(), true.into());
        }
    }
    said
}

fn broke_down() -> tool_servers::Failure {
    tool_servers::Failure {
        code: "internal".to_owned(),
        message: "Windlass failed while it made the call; its log says more".to_owned(),
        retryable: Some(false),
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_instance_stands_for_all() {
        for (path, first) in
            [("a", "a"), ("fan[3]", "fan[0]"), ("fan[12]/poll[3]/x", "fan[0]/poll[0]/x")]
        {
            assert_eq!(first_of(path), first);
        }
    }
}
