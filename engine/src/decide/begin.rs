//! What begins: calls, waits, groups; and what has to be true before.

use std::{cell::Cell, sync::Arc};

use serde_json::{Map, Value, json};

use super::{Call, Child, Command, Decider, expression_error, failed, last_error};
use crate::{
    Group, Kind, Stop, Wait,
    event::{Again, Event, SecretSlot, StepError},
    expr, hash,
    state::{LockStanding, Role, Scope, is_gated},
};

/// How long an event is waited for that names no time, in milliseconds: 7 days.
const EVENT_MS: u64 = crate::DEFAULT_ANSWER_MS;

/// The longest wait, in milliseconds: a year.
const LONGEST_WAIT_MS: i64 = 366 * 24 * 3_600_000;

/// How many steps that wait for a permit are passed over in search of one that may begin.
const MOST_HELD_BACK: usize = 1_000;

/// The longest list that has instances.
const MOST_INSTANCES: usize = 100_000;

/// Why a step does not begin.
pub(super) enum Hindrance {
    /// Its condition is false, or it needs the result of a step that was skipped and gives no default.
    Skip,
    /// It cannot.
    Failure(StepError),
}

type Prepared<T> = Result<T, Hindrance>;

impl Decider<'_> {
    /// What comes before the first step: the vars, and the lock.
    pub(super) fn prepare_execution(&self) -> Option<Command> {
        let fails = |place: &str, err: &expr::Error| {
            let error = expression_error(place, err);
            Command::Record(Event::ExecutionFailed { step: None, error })
        };
        if !self.workflow.vars.is_empty() && self.state.vars.is_none() {
            let names = self.state.names(self.workflow, self.state.scope_in(0, self.now));
            let mut values = Map::new();
            for (name, template) in &self.workflow.vars {
                match template.evaluate(&names) {
                    Ok(value) => _ = values.insert(name.clone(), value),
                    Err(err) => return Some(fails(&format!("vars.{name}"), &err)),
                }
            }
            return Some(Command::Record(Event::VarsSet { values }));
        }
        let lock = self.workflow.lock.as_ref()?;
        if self.state.lock != LockStanding::None || self.state.lock_refused.is_some() {
            return None;
        }
        let names = self.state.names(self.workflow, self.state.scope_in(0, self.now));
        let key = match lock.key.evaluate(&names) {
            Ok(key) => lock_key(&key),
            Err(err) => return Some(fails("lock", &err)),
        };
        Some(Command::Record(match key {
            Ok(key) => Event::LockRequested { step: None, key, on_busy: lock.on_busy, ready: true },
            Err(error) => Event::ExecutionFailed { step: None, error },
        }))
    }

    /// Starts what may start: what needs no place among the calls, then retries that are due, then calls.
    pub(super) fn start(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        let next = self.state.ready_inside.iter().copied();
        for id in next.chain(self.calls_to_make()) {
            if self.is_stopping(id) || self.state.is_kept_waiting(id) {
                continue;
            }
            let begun = self.begin(id);
            let ends = begun.iter().any(|command| {
                matches!(
                    command,
                    Command::Record(Event::StepFailed { .. } | Event::StopReached { .. })
                )
            });
            commands.extend(begun);
            if ends {
                // What it means for the others is asked before any of them starts.
                break;
            }
        }
        commands
    }

    /// The locks of what is under way again.
    pub(super) fn locks_to_take(&self) -> Vec<Command> {
        let wanted = self.state.locks_to_take.iter().filter(|(id, _)| !self.is_stopping(**id));
        let wanted = wanted.filter(|(id, _)| self.state.may_take_lock(**id));
        let requests = wanted.filter_map(|(id, key)| {
            let lock = self.step(*id).lock.as_ref()?;
            Some(Command::Record(Event::LockRequested {
                step: Some(self.state.record(*id).path.to_string()),
                key: key.clone(),
                on_busy: lock.on_busy,
                ready: true,
            }))
        });
        requests.collect()
    }

    /// The calls that find a place: what is due, then what is ready.
    fn calls_to_make(&self) -> Vec<usize> {
        let held_back = Cell::new(0);
        let goes_on = |id: &usize| {
            let waits = self.is_held_back(*id);
            held_back.set(held_back.get() + usize::from(waits));
            !waits && !self.is_stopping(*id) && !self.state.is_kept_waiting(*id)
        };
        // Who waits behind so many that wait for a permit is looked at when these have theirs.
        let in_bounds = |_: &usize| held_back.get() < MOST_HELD_BACK;
        let mut ready =
            self.state.ready.iter().copied().take_while(in_bounds).filter(goes_on).peekable();
        // Looks that are always due would leave no place to what has not begun.
        let half = self.workflow.config.max_parallel as usize / 2;
        let for_looks = half.saturating_sub(self.state.looking.len());
        let mut for_looks = if ready.peek().is_some() { for_looks } else { usize::MAX };
        let due = self.state.retries.iter().take_while(|(at, _)| *at <= self.now);
        let due = due.map(|(_, id)| *id).take_while(in_bounds).filter(goes_on).filter(|id| {
            let is_look = self.state.record(*id).look.is_some();
            let finds_place = !is_look || 0 < for_looks;
            for_looks -= usize::from(is_look && finds_place);
            finds_place
        });
        due.chain(ready).take(self.places()).collect()
    }

    /// Whether nothing can be done about a step before there is a permit for its call. One whose time is over needs none.
    pub(super) fn is_held_back(&self, id: usize) -> bool {
        self.state.is_held_back(self.workflow, id, self.tool(id))
            && self.step_deadline(id).is_none_or(|deadline| self.now < deadline)
    }

    /// How many more calls may be out.
    pub(super) fn places(&self) -> usize {
        let most = self.workflow.config.max_parallel as usize;
        most.saturating_sub(self.state.running.len() + self.state.looking.len())
    }

    fn begin(&self, id: usize) -> Vec<Command> {
        let standing = self.state.record(id);
        let path = standing.path.to_string();
        if standing.look.is_some() {
            return self.look(id);
        }
        if standing.escalates {
            return vec![self.ask_once_more(id)];
        }
        if let LockStanding::Kept(key) = &standing.lock {
            let Some(lock) = &self.step(id).lock else { return Vec::new() };
            return vec![Command::Record(Event::LockRequested {
                step: Some(path),
                key: key.clone(),
                on_busy: lock.on_busy,
                ready: true,
            })];
        }
        let begun = match standing.role {
            Role::Step if !standing.passed => self.enter(id),
            Role::Instance(_) if !standing.passed => self.ask_about_one(id),
            _ => self.perform(id).map(|command| vec![command]),
        };
        begun.unwrap_or_else(|hindrance| match hindrance {
            Hindrance::Skip => {
                vec![Command::Record(Event::StepSkipped { step: path, by: None, reason: None })]
            }
            Hindrance::Failure(error) => vec![failed(&path, error)],
        })
    }

    /// Condition, list, approval, lock: each of them may be the end of it, or make it wait.
    fn enter(&self, id: usize) -> Prepared<Vec<Command>> {
        let (standing, definition) = (self.state.record(id), self.step(id));
        let path = standing.path.to_string();
        if standing.inner.is_none() {
            if !self.condition_holds(id)? && !has_otherwise(&definition.kind) {
                return Err(Hindrance::Skip);
            }
            if definition.for_each.is_some() {
                let items = self.instances(id)?;
                return Ok(vec![Command::Record(Event::InstancesListed { step: path, items })]);
            }
        }
        if is_gated(definition) {
            let gates = self.gates(id)?;
            if !gates.is_empty() {
                return Ok(gates);
            }
        }
        if standing.inner.is_some() {
            // Nothing keeps the instances.
            let event = Event::GroupStarted { step: path, otherwise: false };
            return Ok(vec![Command::Record(event)]);
        }
        self.perform(id).map(|command| vec![command])
    }

    /// An instance that a person has called again: what was approved with its list was another call.
    fn ask_about_one(&self, id: usize) -> Prepared<Vec<Command>> {
        if let Some(approval) = &self.step(id).approval
            && self.is_asked(id, approval)?
        {
            let (step, request) =
                (self.state.record(id).path.to_string(), self.approval(id, approval)?);
            return Ok(vec![Command::Record(Event::RequestOpened { step, request })]);
        }
        self.perform(id).map(|command| vec![command])
    }

    fn condition_holds(&self, id: usize) -> Prepared<bool> {
        let Some(condition) = &self.step(id).condition else { return Ok(true) };
        let names = self.state.names(self.workflow, self.scope(id));
        condition.evaluate(&names).map_err(|err| self.hindrance(id, "if", &err))
    }

    fn instances(&self, id: usize) -> Prepared<Vec<Value>> {
        let Some(each) = &self.step(id).for_each else { return Ok(Vec::new()) };
        let names = self.state.names(self.workflow, self.scope(id));
        let list = each.list.evaluate(&names);
        let fails = |message: String| {
            Hindrance::Failure(StepError::permanent("expression", format!("forEach: {message}")))
        };
        match list.map_err(|err| self.hindrance(id, "forEach", &err))? {
            Value::Array(items) if MOST_INSTANCES < items.len() => Err(fails(format!(
                "the list has {} elements; {MOST_INSTANCES} are allowed",
                items.len()
            ))),
            Value::Array(items) => Ok(items),
            other => Err(fails(format!("a list is needed, and this is {}", expr::kind(&other)))),
        }
    }

    /// What has to be asked or waited for before the step begins.
    fn gates(&self, id: usize) -> Prepared<Vec<Command>> {
        let definition = self.step(id);
        let path = self.state.record(id).path.to_string();
        let request = match &definition.approval {
            Some(approval) if self.is_asked(id, approval)? => Some(self.approval(id, approval)?),
            Some(_) | None => None,
        };
        let names = self.state.names(self.workflow, self.scope(id));
        let mut commands = Vec::new();
        if let Some(lock) = &definition.lock
            && self.state.record(id).lock == LockStanding::None
        {
            let key = lock.key.evaluate(&names);
            let key = key.map_err(|err| self.hindrance(id, "lock", &err))?;
            commands.push(Command::Record(Event::LockRequested {
                step: Some(path.clone()),
                key: lock_key(&key).map_err(Hindrance::Failure)?,
                on_busy: lock.on_busy,
                ready: request.is_none(),
            }));
        }
        commands.extend(
            request.map(|request| Command::Record(Event::RequestOpened { step: path, request })),
        );
        Ok(commands)
    }

    fn is_asked(&self, id: usize, approval: &crate::Approval) -> Prepared<bool> {
        let Some(condition) = &approval.condition else { return Ok(true) };
        let names = self.state.names(self.workflow, self.scope(id));
        condition.evaluate(&names).map_err(|err| self.hindrance(id, "approval.if", &err))
    }

    /// Does what the step is there for.
    fn perform(&self, id: usize) -> Prepared<Command> {
        let standing = self.state.record(id);
        if let Some(deadline) = self.step_deadline(id)
            && deadline <= self.now
        {
            // The timer came too late, because nobody was there: a call without time would only be lost.
            return Err(Hindrance::Failure(last_error(standing)));
        }
        let definition = self.step(id);
        let path = || standing.path.to_string();
        if matches!(standing.role, Role::Verify(_) | Role::Undo) {
            return self.call(id);
        }
        match &definition.kind {
            Kind::Tool { .. } => self.call(id),
            Kind::Workflow { workflow, params } => self.child(id, workflow, params),
            Kind::Approval(approval) => {
                if self.is_asked(id, approval)? {
                    let request = self.approval(id, approval)?;
                    return Ok(Command::Record(Event::RequestOpened { step: path(), request }));
                }
                Ok(self.completed(id, json!({ "approved": true, "asked": false })))
            }
            Kind::Ask(ask) => {
                let request = self.form(id, ask)?;
                Ok(Command::Record(Event::RequestOpened { step: path(), request }))
            }
            Kind::Wait(wait) => self.wait(id, wait),
            Kind::Set(template) => {
                let names = self.state.names(self.workflow, self.scope(id));
                let values = template.evaluate(&names);
                let values = values.map_err(|err| self.hindrance(id, "set", &err))?;
                Ok(self.completed(id, values))
            }
            Kind::Group(group) => self.group(id, group),
            Kind::Stop(stop) => self.stop(id, stop),
        }
    }

    fn call(&self, id: usize) -> Prepared<Command> {
        self.call_of(id).map(Command::CallTool)
    }

    /// The call as it goes out next.
    pub(super) fn call_of(&self, id: usize) -> Prepared<Call> {
        let standing = self.state.record(id);
        let Some(tool) = self.tool(id) else {
            let message = "the step calls no tool";
            return Err(Hindrance::Failure(StepError::permanent("failed", message)));
        };
        let (params, secrets) = self.params(id)?;
        let request = self.request_of(id);
        let first_started_at = standing.called_at.unwrap_or(self.now);
        let bound = self.step(id).timeout_ms;
        let own = bound.map(|bound| match standing.called_at {
            Some(_) => self.state.own_deadline(id, bound, self.now).unwrap_or(i64::MAX),
            None => first_started_at.saturating_add_unsigned(bound),
        });
        let own = own.filter(|_| matches!(standing.role, Role::Step | Role::Instance(_)));
        let is_new = !matches!(standing.again, Some(Again::SameAttempt | Again::RateLimited));
        Ok(Call {
            step: standing.path.to_string(),
            attempt: standing.attempts + u32::from(is_new),
            call: standing.calls + 1,
            tool: tool.clone(),
            params,
            secrets,
            approval: request.map(|request| request.binding.clone()),
            is_repeatable: self.is_harmless(id),
            idempotency_key: self.idempotency_key(id),
            first_started_at,
            // The execution's own time can be longer than it seems now: what persons take of it does not count. When it
            // is over, the call is told to stop.
            deadline: own,
        })
    }

    /// What a tool is given: what it was given before, what was approved, or what the params stand for now.
    fn params(&self, id: usize) -> Prepared<(Arc<Value>, Vec<SecretSlot>)> {
        let standing = self.state.record(id);
        if let Some(params) = &standing.params {
            if params.is_null() {
                let message = "the params could not be computed when the step completed";
                return Err(Hindrance::Failure(StepError::permanent("expression", message)));
            }
            return Ok((Arc::clone(params), standing.secrets.clone()));
        }
        if let Role::Instance(number) = standing.role
            && let Some(request) = self.request_of(id)
        {
            return Ok(element(request, number));
        }
        let Kind::Tool { params, .. } = &self.step(id).kind else {
            return Ok((Arc::new(json!({})), Vec::new()));
        };
        self.evaluated(id, params, self.scope(id))
    }

    /// Params as they stand in the document, evaluated.
    pub(super) fn evaluated(
        &self,
        id: usize,
        params: &expr::Template,
        scope: Scope<'_>,
    ) -> Prepared<(Arc<Value>, Vec<SecretSlot>)> {
        let evaluated = params.evaluate_params(&self.state.names(self.workflow, scope));
        match evaluated.map_err(|err| self.hindrance(id, "params", &err))? {
            (Value::Null, _) => Ok((Arc::new(json!({})), Vec::new())),
            (params @ Value::Object(_), secrets) => Ok((Arc::new(params), secrets)),
            _ => {
                let error = StepError::permanent("expression", "params must be an object");
                Err(Hindrance::Failure(error))
            }
        }
    }

    fn child(&self, id: usize, workflow: &str, params: &expr::Template) -> Prepared<Command> {
        let standing = self.state.record(id);
        let input = match &standing.params {
            Some(params) => Arc::clone(params),
            None => self.evaluated(id, params, self.scope(id))?.0,
        };
        let attempt = standing.attempts + 1;
        let fresh = || hash::id("exec_", &format!("{}/{attempt}", self.idempotency_key(id)));
        let before = standing.child.clone().filter(|_| standing.child_goes_on);
        Ok(Command::StartChild(Child {
            step: standing.path.to_string(),
            goes_on: before.is_some(),
            execution_id: before.unwrap_or_else(fresh),
            workflow: workflow.to_owned(),
            input,
        }))
    }

    fn wait(&self, id: usize, wait: &Wait) -> Prepared<Command> {
        let names = self.state.names(self.workflow, self.scope(id));
        let evaluate = |template: &expr::Template, place: &str| {
            template.evaluate(&names).map_err(|err| self.hindrance(id, place, &err))
        };
        let fails = |message: String| {
            Hindrance::Failure(StepError::permanent("expression", format!("wait: {message}")))
        };
        let (until, event) = match wait {
            Wait::For(template) => {
                let ms = evaluate(template, "wait.ms")?;
                let ms = whole(&ms).filter(|ms| (0..=LONGEST_WAIT_MS).contains(ms));
                let allowed = "`ms` must be a whole number from 0 to a year of milliseconds";
                (self.now.saturating_add(ms.ok_or_else(|| fails(allowed.to_owned()))?), None)
            }
            Wait::Until(template) => {
                let moment = evaluate(template, "wait.until")?;
                let at = whole(&moment).or_else(|| expr::moment(moment.as_str()?));
                let allowed = "`until` must be an RFC 3339 time such as 2026-01-31T12:00:00Z, or \
                               milliseconds since 1970";
                (at.ok_or_else(|| fails(format!("{allowed}; it is {moment}")))?, None)
            }
            Wait::Event { event, timeout_ms } => {
                let event = text_of(&evaluate(event, "wait.event")?);
                let patience = timeout_ms.unwrap_or(EVENT_MS);
                (self.now.saturating_add_unsigned(patience), Some(event))
            }
        };
        let step = self.state.record(id).path.to_string();
        Ok(Command::Record(Event::WaitStarted { step, until, event }))
    }

    fn group(&self, id: usize, group: &Group) -> Prepared<Command> {
        let step = self.state.record(id).path.to_string();
        if let Some(repeat) = &group.repeat {
            if let Some(condition) = &repeat.while_holds {
                let first = Value::from(0);
                let scope = Scope { iteration: Some(&first), ..self.scope(id) };
                let names = self.state.names(self.workflow, scope);
                let holds = condition.evaluate(&names);
                if !holds.map_err(|err| self.hindrance(id, "repeat.while", &err))? {
                    return Ok(self.completed(id, json!({})));
                }
            }
            return Ok(Command::Record(Event::IterationStarted { step, iteration: 0 }));
        }
        // An instance belongs to a list whose condition was asked once.
        let is_instance = matches!(self.state.record(id).role, Role::Instance(_));
        let otherwise = !is_instance && !self.condition_holds(id)?;
        if otherwise && group.otherwise.is_empty() {
            return Err(Hindrance::Skip);
        }
        Ok(Command::Record(Event::GroupStarted { step, otherwise }))
    }

    fn stop(&self, id: usize, stop: &Stop) -> Prepared<Command> {
        let names = self.state.names(self.workflow, self.scope(id));
        let message = match &stop.message {
            None => String::new(),
            Some(message) => {
                let message = message.evaluate(&names);
                text_of(&message.map_err(|err| self.hindrance(id, "stop.message", &err))?)
            }
        };
        let step = self.state.record(id).path.to_string();
        Ok(Command::Record(Event::StopReached { step, outcome: stop.outcome, message }))
    }

    /// What an expression that cannot be evaluated means for the step.
    pub(super) fn hindrance(&self, id: usize, place: &str, err: &expr::Error) -> Hindrance {
        let names = self.state.names(self.workflow, self.scope(id));
        match err.needed.as_ref().is_some_and(|root| names.was_skipped(root)) {
            true => Hindrance::Skip,
            false => Hindrance::Failure(expression_error(place, err)),
        }
    }
}

/// The params of one instance, of those that were approved together.
fn element(request: &crate::Request, number: usize) -> (Arc<Value>, Vec<SecretSlot>) {
    let params = request.params.as_ref().and_then(|params| params.get(number));
    let params = params.cloned().unwrap_or_default();
    let prefix = format!("/{number}");
    let own = request.secrets.iter().filter_map(|slot| {
        let pointer = slot.pointer.strip_prefix(&prefix)?;
        let own = pointer.is_empty() || pointer.starts_with('/');
        own.then(|| SecretSlot { pointer: pointer.to_owned(), ..slot.clone() })
    });
    (Arc::new(params), own.collect())
}

fn has_otherwise(kind: &Kind) -> bool {
    matches!(kind, Kind::Group(group) if !group.otherwise.is_empty())
}

/// A value as the text that it is, or stands for.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The longest key of a lock, in bytes.
const LONGEST_KEY: usize = 500;

/// What is locked, where it is something that can be told apart and stored.
fn lock_key(value: &Value) -> Result<String, StepError> {
    let key = text_of(value);
    let is_plain = value.is_string() || value.is_number();
    if is_plain && !key.is_empty() && key.len() <= LONGEST_KEY && !key.contains(char::is_control) {
        return Ok(key);
    }
    let message = format!(
        "lock: a key is a text of 1 to {LONGEST_KEY} bytes without control characters, or a number; this one is {} of {} bytes",
        expr::kind(value),
        key.len()
    );
    Err(StepError::permanent("expression", message))
}

/// A whole number, also one that is written with a point.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}
