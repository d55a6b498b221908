//! Shows executions as their callers see them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use windlass_engine::{Event, Kind, Resolution as Settled, Status, Step, StepStatus, Workflow};

use super::{App, Detail, Error, Execution, ExecutionError, StepView, answers, left, sealed};
use crate::store::{ExecutionRow, NewExecution, StepRow, is_for_lock};

mod notes;
#[cfg(test)]
mod tests;

/// How long an execution may be due before somebody is told that nobody drives it, in milliseconds.
const OVERDUE_MS: i64 = 5_000;

/// How many instances and iterations are shown; of more, those that something is the matter with come first.
const MOST_INSTANCES: usize = 200;

impl App {
    /// An execution as its callers see it.
    pub(super) async fn view(&self, row: ExecutionRow, detail: Detail) -> Result<Execution, Error> {
        let store = &self.inner.store;
        let workflow = self.inner.revisions.get(store, &row.revision).await?;
        if detail == Detail::Outcome && says_all(&row, &workflow) {
            let calls_models = left::calls_models(&workflow);
            let usage = if calls_models { self.spent(&row.id).await? } else { None };
            let output = output(&row)?;
            return Ok(sealed::execution(Execution { output, usage, ..of_row(row) }));
        }
        let (rows, more_steps) = store.shown_steps(&row.id, MOST_INSTANCES).await?;
        let mut notes = self.notes(&row, &workflow, &rows).await?;
        let mut lines = outline(&workflow, rows, &row.status);
        if workflow.steps.iter().any(|step| step.for_each.is_some()) {
            count_instances(&mut lines, store.instance_counts(&row.id).await?);
        }
        let mut contents = self.contents(&row, &lines, detail).await?;
        let mut steps = Vec::new();
        for line in lines {
            let list = match detail {
                Detail::Results if line.is_complete_list(&workflow) => {
                    Some(results(store.results_of_instances(&row.id, &line.path).await?))
                }
                Detail::Results | Detail::Steps | Detail::Outcome => None,
            };
            let content = line.content().and_then(|seq| contents.remove(&seq));
            let view = line.view(&workflow, content);
            let result = view.result.or(list);
            let params = view.params.filter(|_| result.is_none());
            steps.push(notes.add(StepView { params, result, ..view }));
        }
        let usage = self.spent(&row.id).await?;
        if usage.is_some() {
            for (path, spent) in self.spent_by_steps(&row.id).await? {
                let step = steps.iter_mut().find(|step: &&mut StepView| step.name == path);
                step.into_iter().for_each(|step| step.usage = Some(spent.clone()));
            }
        }
        let artifacts = self.shown_artifacts(&row.id).await?;
        let cancel = notes.cancel.take();
        let output = output(&row)?;
        // Before the requests: who is told that a person is waited for, finds what that person is asked.
        let waiting_for = self.waiting_for(&row, &workflow).await?;
        let mut requests = Vec::new();
        if row.ended_at.is_none() {
            for request in store.open_requests_of(&row.id).await? {
                requests.push(answers::view(&request)?);
            }
        }
        Ok(sealed::execution(Execution {
            output,
            waiting_for,
            requests,
            steps,
            more_steps,
            usage,
            artifacts,
            cancel,
            ..of_row(row)
        }))
    }

    /// An execution that was just written, from what was written; `None` when more is to be said of it than that its
    /// first steps run.
    pub(super) fn begun(&self, new: &NewExecution<'_>) -> Option<Execution> {
        let rows = new.step_rows();
        let runs = |row: &StepRow| ["running", "completed"].contains(&row.status.as_str());
        let is_simple = new.children.is_empty() && new.state.status == Status::Running;
        if !is_simple || !rows.iter().all(runs) {
            return None;
        }
        let lines = outline(new.workflow, rows, Status::Running.as_str());
        Some(sealed::execution(Execution {
            execution_id: new.id.to_owned(),
            workflow: new.workflow.name.clone(),
            status: Status::Running.as_str().to_owned(),
            version: i64::try_from(new.events.len()).unwrap_or(i64::MAX),
            steps: lines.into_iter().map(|line| line.view(new.workflow, None)).collect(),
            input: new.state.input.clone(),
            requested_by: new.requested_by.to_owned(),
            plan: new.plan.map(str::to_owned),
            created_at: new.at,
            ..Execution::default()
        }))
    }

    /// What it waits for, or one of the executions that its steps are; in words, with what to do about it.
    async fn waiting_for(
        &self,
        row: &ExecutionRow,
        workflow: &Workflow,
    ) -> Result<Option<String>, Error> {
        if row.ended_at.is_some() {
            return Ok(None);
        }
        // What it has waited for may have come, and nobody here can go on with it.
        if let Some(unserved) = self.unserved(row) {
            return Ok(Some(unserved));
        }
        if let Some(waits) = self.waits(&row.id, row.waiting_for.as_deref()).await? {
            return Ok(Some(waits));
        }
        if let Some(waits) = self.waits_for_limit(&row.id, workflow).await? {
            return Ok(Some(waits));
        }
        if workflow.children().next().is_none() {
            return Ok(None);
        }
        let below = self.inner.store.below(&row.id).await?;
        let Some(waiting) = below.iter().find(|child| child.waiting_for.is_some()) else {
            return Ok(None);
        };
        let mut top = waiting;
        while let Some(above) = below.iter().find(|child| child.id == top.parent_id) {
            top = above;
        }
        let waits = self.waits(&waiting.id, waiting.waiting_for.as_deref()).await?;
        let waits = waits.unwrap_or_default();
        Ok(Some(format!("step {}: execution {} waits: {waits}", top.parent_step, waiting.id)))
    }

    /// The limit that a call waits for; nobody is asked where the workflow calls nothing that has one.
    async fn waits_for_limit(
        &self,
        id: &str,
        workflow: &Workflow,
    ) -> Result<Option<String>, Error> {
        let limits = self.inner.tool_servers.limits();
        if limits.of(workflow).is_empty() {
            return Ok(None);
        }
        let waits = self.inner.store.permit_waits(id).await?;
        let first = waits.first();
        Ok(first.map(|wait| limits.waiting(&wait.step, &wait.server, &wait.tool)))
    }

    /// What the row says, with who holds the lock now.
    async fn waits(&self, id: &str, said: Option<&str>) -> Result<Option<String>, Error> {
        let Some(said) = said else { return Ok(None) };
        if !is_for_lock(said) {
            return Ok(Some(said.to_owned()));
        }
        let locks = self.inner.store.lock_waits(id).await?;
        let holder = locks.into_iter().find_map(|lock| lock.holder);
        let holder = holder.map(|holder| format!(", which {holder} holds")).unwrap_or_default();
        Ok(Some(format!("{said}{holder}")))
    }

    /// What to tell of an execution that has been due for a while and that nobody here can drive.
    fn unserved(&self, row: &ExecutionRow) -> Option<String> {
        let now = self.inner.store.now();
        let overdue = row.wake_at.is_some_and(|at| at.saturating_add(OVERDUE_MS) < now)
            && row.lease_until < now;
        if !overdue || row.ended_at.is_some() {
            return None;
        }
        let changed = self.inner.tool_servers.changed_since(&row.tool_servers)?;
        (!changed.is_empty()).then(|| {
            format!(
                "a worker whose tool servers are configured as when it started; here {} changed since: \
                 put the configuration back, or cancel the execution and run it again",
                changed.join(", ")
            )
        })
    }

    /// The events that hold what the steps that are shown resulted in, or else were given.
    async fn contents(
        &self,
        row: &ExecutionRow,
        lines: &[Line],
        detail: Detail,
    ) -> Result<HashMap<i64, Event>, Error> {
        if detail != Detail::Results {
            return Ok(HashMap::new());
        }
        let numbers: Vec<i64> = lines.iter().filter_map(Line::content).collect();
        Ok(self.inner.store.some_events(&row.id, &numbers).await?)
    }
}

/// Whether the row of an execution says all that there is to say of the whole: it has ended, and nobody has told it to.
fn says_all(row: &ExecutionRow, workflow: &Workflow) -> bool {
    ["completed", "failed"].contains(&row.status.as_str())
        && !notes::may_be_cancelled(row, workflow)
}

/// The last event of a completed execution holds what it resulted in.
fn output(row: &ExecutionRow) -> Result<Option<Value>, Error> {
    match row.completion()? {
        Some(Event::ExecutionCompleted { output }) => Ok(Some(output)),
        Some(_) | None => Ok(None),
    }
}

/// What an execution's own row says of it.
fn of_row(row: ExecutionRow) -> Execution {
    Execution {
        version: row.last_seq,
        error: row.error.as_deref().and_then(read_error),
        input: serde_json::from_str(&row.input).unwrap_or_default(),
        execution_id: row.id,
        workflow: row.workflow,
        status: row.status,
        requested_by: row.requested_by,
        plan: row.plan,
        created_at: row.created_at,
        ended_at: row.ended_at,
        ..Execution::default()
    }
}

/// One line of the list of steps.
struct Line {
    path: String,
    definition: usize,
    /// What is known of it, once it has begun.
    row: Option<StepRow>,
    /// What stands there otherwise.
    otherwise: StepStatus,
    /// How many of its instances stand how.
    instances: BTreeMap<String, usize>,
}

impl Line {
    fn new(path: String, definition: usize, otherwise: StepStatus) -> Line {
        Line { path, definition, row: None, otherwise, instances: BTreeMap::new() }
    }

    /// The event that holds its result; until it has one, that which says what it was given.
    fn content(&self) -> Option<i64> {
        let row = self.row.as_ref()?;
        row.output_seq.filter(|_| row.status == "completed").or(row.params_seq)
    }

    /// Whether it is a `forEach` whose result is that of its instances, and written with these.
    fn is_complete_list(&self, workflow: &Workflow) -> bool {
        let completed = |row: &StepRow| row.status == "completed" && row.output_seq.is_none();
        workflow.steps[self.definition].for_each.is_some()
            && !self.path.ends_with(']')
            && self.row.as_ref().is_some_and(completed)
    }

    fn view(self, workflow: &Workflow, content: Option<Event>) -> StepView {
        let step = &workflow.steps[self.definition];
        let kind = match workflow.tool_at(&self.path) {
            Some(_) => "tool",
            None => step.kind.as_str(),
        };
        let view = StepView { name: self.path, kind: kind.to_owned(), ..StepView::default() };
        let Some(row) = self.row else {
            let status = self.otherwise.as_str().to_owned();
            return StepView { tool: step.label(), status, ..view };
        };
        let (result, params) = content.map(told).unwrap_or_default();
        StepView {
            tool: row.tool,
            status: row.status,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            started_at: row.started_at,
            ended_at: row.ended_at,
            error: row.error.as_deref().and_then(|error| serde_json::from_str(error).ok()),
            instances: self.instances,
            params,
            result,
            ..view
        }
    }
}

/// Where a path stands in the list: for each of its parts the step, the instance or iteration (0: the step itself),
/// and whether it finds out or undoes.
type Place = Vec<(usize, u64, u8)>;

/// What has begun and what is still to come, in the order of the document.
fn outline(workflow: &Workflow, rows: Vec<StepRow>, status: &str) -> Vec<Line> {
    let index: HashMap<&str, usize> =
        workflow.steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
    let mut lines: BTreeMap<Place, Line> = BTreeMap::new();
    for row in rows {
        let Some(place) = place(&index, &row.step) else { continue };
        let Some(&(definition, ..)) = place.last() else { continue };
        let path = row.step.clone();
        let line = Line { row: Some(row), ..Line::new(path, definition, StepStatus::Pending) };
        lines.insert(place, line);
    }
    for definition in 0..workflow.steps.len() {
        let Some(path) = expected_path(workflow, definition) else { continue };
        let Some(place) = place(&index, &path) else { continue };
        if !lines.contains_key(&place) {
            let otherwise = not_begun(&lines, &place, status);
            lines.insert(place, Line::new(path, definition, otherwise));
        }
    }
    lines.into_values().collect()
}

/// Says of each `forEach` how many of its instances stand how, those that are left out too.
fn count_instances(lines: &mut [Line], counts: Vec<(String, String, i64)>) {
    let index: HashMap<String, usize> =
        lines.iter().enumerate().map(|(at, line)| (line.path.clone(), at)).collect();
    for (path, status, count) in counts {
        if let Some(at) = index.get(&path) {
            lines[*at].instances.insert(status, usize::try_from(count).unwrap_or_default());
        }
    }
}

fn place(index: &HashMap<&str, usize>, path: &str) -> Option<Place> {
    path.split('/').map(|part| place_of(index, part)).collect()
}

fn place_of(index: &HashMap<&str, usize>, part: &str) -> Option<(usize, u64, u8)> {
    let (part, suffix) = match part.rsplit_once('.') {
        Some((part, "verify")) => (part, 1),
        Some((part, _)) => (part, 2),
        None => (part, 0),
    };
    let (name, number) = match part.split_once('[') {
        Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<u64>().ok()? + 1),
        None => (part, 0),
    };
    Some((*index.get(name)?, number, suffix))
}

/// Where a step will be found once it has begun. What is in a `forEach` or a loop shows only then, and so does what
/// runs only because of how the steps ended.
fn expected_path(workflow: &Workflow, definition: usize) -> Option<String> {
    let step = &workflow.steps[definition];
    let Some(parent) = step.parent else {
        let after =
            workflow.on_failure.contains(&definition) || workflow.on_cancel.contains(&definition);
        return (!after).then(|| step.name.clone());
    };
    let group = &workflow.steps[parent];
    let once = group.for_each.is_none() && !is_loop(group);
    let above = expected_path(workflow, parent).filter(|_| once)?;
    Some(format!("{above}/{}", step.name))
}

fn is_loop(step: &Step) -> bool {
    matches!(&step.kind, Kind::Group(group) if group.repeat.is_some())
}

/// What has not begun may still begin, unless what holds it has ended.
fn not_begun(lines: &BTreeMap<Place, Line>, place: &Place, execution: &str) -> StepStatus {
    let above = (1..place.len()).rev().filter_map(|end| lines.get(&place[..end]));
    let above = above.filter_map(|line| line.row.as_ref()).map(|row| row.status.as_str());
    for status in above.chain([execution]) {
        match status {
            "completed" | "skipped" => return StepStatus::Skipped,
            "failed" | "cancelled" => return StepStatus::Cancelled,
            _ => {}
        }
    }
    StepStatus::Pending
}

/// The list that the results of instances are.
fn results(instances: Vec<(String, Option<Event>)>) -> Value {
    let result = |event: Event| told(event).0;
    instances.into_iter().map(|(_, event)| event.and_then(result).unwrap_or_default()).collect()
}

/// The result that an event holds, or the params.
fn told(event: Event) -> (Option<Value>, Option<Value>) {
    match event {
        Event::AttemptSucceeded { output, .. }
        | Event::StepResolved { resolution: Settled::Completed { output }, .. } => {
            (Some(output), None)
        }
        Event::StepReused { output, .. } => (Some(output), None),
        Event::StepCompleted { output, .. } | Event::StepVerified { output, .. } => (output, None),
        Event::AttemptStarted { params, .. } => (None, params),
        Event::RequestOpened { request, .. } => (None, request.params),
        _ => (None, None),
    }
}

fn read_error(text: &str) -> Option<ExecutionError> {
    let value: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(ExecutionError { step: text("step"), code: text("code")?, message: text("message")? })
}
