//! What only the history knows of a step: until when it waits and for what, who settled it, what it runs.

use std::collections::HashMap;

use windlass_engine::{Again, Event, Kind, Look, Step, Workflow, expr::moment_text};

use super::{App, Error, StepView};
use crate::{
    app::CancelView,
    store::{ExecutionRow, StepRow},
};

/// What the history says of steps, by their paths, and of the execution.
#[derive(Default)]
pub(super) struct Notes {
    steps: HashMap<String, Note>,
    /// The first wish to end it early.
    pub(super) cancel: Option<CancelView>,
}

#[derive(Default)]
struct Note {
    due_at: Option<i64>,
    event: Option<String>,
    reused_from: Option<String>,
    skipped_by: Option<String>,
    /// Why it is called again, where that is no failure.
    again: Option<Pause>,
    settled_by: Option<String>,
    execution_id: Option<String>,
}

/// Why the tool of a step is called again later, where that is no failure.
enum Pause {
    Polled(Look),
    RateLimited,
}

impl App {
    /// Reads as much of the history as is worth saying: nothing, of an execution that simply goes on.
    pub(super) async fn notes(
        &self,
        row: &ExecutionRow,
        workflow: &Workflow,
        rows: &[StepRow],
    ) -> Result<Notes, Error> {
        let store = &self.inner.store;
        let mut notes = Notes::default();
        for event in store.events_of(&row.id, &worth_reading(row, workflow, rows)).await? {
            notes.learn(event);
        }
        if notes.steps.values().any(|note| matches!(note.again, Some(Pause::Polled(_)))) {
            for (step, look) in store.looks(&row.id).await? {
                notes.looked(&step, look);
            }
        }
        if workflow.children().next().is_some() {
            for (step, id) in store.children(&row.id).await? {
                notes.of(step).execution_id = Some(id);
            }
        }
        Ok(notes)
    }
}

/// The kinds of events that can say more of these steps than their rows do.
fn worth_reading(row: &ExecutionRow, workflow: &Workflow, rows: &[StepRow]) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    if rows.iter().any(|step| step.status == "waiting") {
        kinds.extend(["call_scheduled", "wait_started", "polling_started"]);
    }
    if rows.iter().any(|step| step.status == "skipped") {
        kinds.push("step_skipped");
    }
    // What was done elsewhere has not begun here; nor has what only computes.
    if rows.iter().any(|step| step.status == "completed" && step.started_at.is_none()) {
        kinds.push("step_reused");
    }
    if rows
        .iter()
        .any(|step| step.error.is_none() && step.status == "completed" && step.attempts == 0)
    {
        kinds.push("step_resolved");
    }
    // A step that was settled by hand has had an error before; one that was refused has one since.
    if rows.iter().any(|step| step.error.is_some()) {
        kinds.push("step_resolved");
    }
    if workflow.steps.iter().any(asks) {
        kinds.push("request_answered");
    }
    if may_be_cancelled(row, workflow) {
        kinds.push("cancel_requested");
    }
    kinds
}

/// Whether the history may know of somebody who wished to end it early: what runs then may end it in any way.
pub(super) fn may_be_cancelled(row: &ExecutionRow, workflow: &Workflow) -> bool {
    row.status == "cancelled" || !workflow.on_cancel.is_empty()
}

fn asks(step: &Step) -> bool {
    step.approval.is_some() || matches!(step.kind, Kind::Approval(_) | Kind::Ask(_))
}

impl Notes {
    fn of(&mut self, step: String) -> &mut Note {
        self.steps.entry(step).or_default()
    }

    fn learn(&mut self, event: Event) {
        match event {
            Event::CallScheduled { step, again, at } => {
                let note = self.of(step);
                note.due_at = Some(at);
                note.again = (again == Again::RateLimited).then_some(Pause::RateLimited);
            }
            Event::PollingStarted { step, at } => {
                let look = Look { at, count: 1, said: None };
                let note = self.of(step);
                (note.due_at, note.again) = (Some(at), Some(Pause::Polled(look)));
            }
            Event::WaitStarted { step, until, event } => {
                let note = self.of(step);
                (note.due_at, note.event) = (Some(until), event);
            }
            Event::StepResolved { step, by, .. } => {
                let note = self.of(step);
                (note.due_at, note.settled_by) = (None, Some(by));
            }
            Event::StepSkipped { step, by: Some(by), .. } => self.of(step).skipped_by = Some(by),
            Event::StepReused { step, from_execution, .. } => {
                self.of(step).reused_from = Some(from_execution);
            }
            Event::RequestAnswered { step, by, .. } => self.of(step).settled_by = Some(by),
            Event::CancelRequested { by, reason } if self.cancel.is_none() => {
                self.cancel = Some(CancelView { by, reason });
            }
            _ => {}
        }
    }

    /// What was seen last of a step whose tool is not done.
    fn looked(&mut self, step: &str, look: Look) {
        let Some(note) = self.steps.get_mut(step) else { return };
        if let Some(Pause::Polled(_)) = note.again {
            (note.due_at, note.again) = (Some(look.at), Some(Pause::Polled(look)));
        }
    }

    /// The step with what is known of it.
    pub(super) fn add(&mut self, step: StepView) -> StepView {
        let Some(note) = self.steps.remove(&step.name) else { return step };
        let waits = step.status == "waiting";
        StepView {
            waits: note.again.as_ref().filter(|_| waits).map(|pause| said(pause, note.due_at)),
            due_at: note.due_at.filter(|_| waits),
            event: note.event.filter(|_| waits),
            settled_by: note.settled_by.or(note.skipped_by.filter(|_| step.status == "skipped")),
            reused_from: note.reused_from.filter(|_| step.attempts == 0),
            execution_id: note.execution_id,
            ..step
        }
    }
}

fn said(pause: &Pause, due_at: Option<i64>) -> String {
    let due = due_at.map(moment_text).unwrap_or_default();
    match pause {
        Pause::RateLimited => format!("rate limited until {due}"),
        Pause::Polled(Look { count, said, .. }) => {
            let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
            let said = said.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
            format!("looked {times}, not done yet{said}; looks again at {due}")
        }
    }
}
