//! An execution's steps as lines of text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::terminal::{self, dim, duration, green, red, yellow};
use crate::{
    app::{CancelView, Execution, StepView},
    clock,
};

/// Remembers what was shown of each step, so that every change is one line.
#[derive(Default)]
pub(super) struct StepLines {
    shown: BTreeMap<String, (String, u32)>,
}

impl StepLines {
    /// A line for each step that changed since the last call. Steps that have not begun say nothing.
    pub(super) fn changes(&mut self, execution: &Execution) -> Vec<String> {
        let (width, now) = (width(execution), clock::now());
        let mut lines = Vec::new();
        for step in &execution.steps {
            let stands = (step.status.clone(), step.attempts);
            let before = self.shown.insert(step.name.clone(), stands.clone());
            let unchanged = before.as_ref() == Some(&stands);
            if !unchanged && (step.status != "pending" || before.is_some()) {
                lines.push(line(step, width, now));
            }
        }
        lines
    }
}

/// How it went, in one line.
pub(super) fn summary(execution: &Execution) -> String {
    let id = dim(&execution.execution_id);
    let took = execution.ended_at.map(|ended| duration(ended - execution.created_at));
    let took = took.map(|took| format!(" in {took}")).unwrap_or_default();
    let status = &execution.status;
    let why = execution.cancel.as_ref().map(cancelled).unwrap_or_default();
    format!("{} {} {status}{why}{took}  {id}", sign(status), execution.workflow)
}

fn cancelled(cancel: &CancelView) -> String {
    match &cancel.reason {
        Some(reason) => format!(" by {}: {reason},", cancel.by),
        None => format!(" by {}", cancel.by),
    }
}

/// Whether only a person can move it on: a timer or a worker will not.
pub(super) fn needs_a_person(execution: &Execution) -> bool {
    let uncertain = execution.steps.iter().any(|step| step.status == "uncertain");
    match execution.status.as_str() {
        "paused" => true,
        "waiting" => uncertain || !execution.requests.is_empty() || execution.waits_for_somebody(),
        // The executions that its steps are may wait.
        "running" => execution.rests() && execution.waits_for_somebody(),
        _ => false,
    }
}

/// Whether nothing more will happen to it.
pub(super) fn has_ended(execution: &Execution) -> bool {
    matches!(execution.status.as_str(), "completed" | "failed" | "cancelled")
}

fn width(execution: &Execution) -> usize {
    execution.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or_default()
}

fn line(step: &StepView, width: usize, now: i64) -> String {
    let said = said(step, now);
    format!("{} {:<width$}  {said}", sign(&step.status), step.name).trim_end().to_owned()
}

/// What there is to say of a step beside its name.
pub(super) fn said(step: &StepView, now: i64) -> String {
    let StepView { status, tool, .. } = step;
    let mut said = match status.as_str() {
        "completed" => dim(&took(step)),
        "pending" | "running" if step.attempts < 2 => dim(tool),
        "pending" | "running" => format!("{} attempt {}", dim(tool), step.attempts),
        "waiting" => waits(step, now),
        _ => explained(step),
    };
    if let Some(id) = &step.execution_id {
        said += &format!("  {}", dim(id));
    }
    if let Some(other) = &step.reused_from {
        said += &format!("  {}", dim(&format!("reused from {other}")));
    }
    if let Some(by) = &step.settled_by.as_ref().filter(|_| step.status == "skipped") {
        return format!("{said}  {}", dim(&format!("skipped by {by}")));
    }
    if let Some(by) = &step.settled_by {
        // Whoever is asked answers; whoever says what became of a call settles it.
        let how = if is_question(step) { "answered" } else { "settled" };
        said += &format!("  {}", dim(&format!("{how} by {by}")));
    }
    said
}

fn is_question(step: &StepView) -> bool {
    matches!(step.kind.as_str(), "approval" | "ask") || step.error.is_none()
}

/// What a step waits for, and how long at most.
fn waits(step: &StepView, now: i64) -> String {
    let left = step.due_at.map(|due_at| due_at - now);
    let in_time = left.map(|left| match left {
        ..=0 => "now".to_owned(),
        left => format!("in {}", duration(left)),
    });
    if let (Some(waits), Some(time)) = (&step.waits, &in_time) {
        return format!("{waits} ({time})");
    }
    match (&step.event, &step.error, in_time) {
        (Some(event), _, Some(time)) => format!("for the event {event}; gives up {time}"),
        (Some(event), _, None) => format!("for the event {event}"),
        (None, Some(error), Some(time)) => format!("again {time}: {}", error_text(error)),
        (None, None, Some(time)) if step.kind == "wait" => format!("goes on {time}"),
        (None, None, Some(time)) => format!("again {time}"),
        (None, Some(error), None) => format!("waiting: {}", error_text(error)),
        (None, None, None) => "waiting".to_owned(),
    }
}

fn took(step: &StepView) -> String {
    let (Some(started), Some(ended)) = (step.started_at, step.ended_at) else {
        return String::new();
    };
    match step.attempts {
        0 | 1 => duration(ended - started),
        attempts => format!("{}, {attempts} attempts", duration(ended - started)),
    }
}

fn explained(step: &StepView) -> String {
    match step.error.as_ref().map(error_text) {
        Some(error) => format!("{}: {error}", step.status),
        None => step.status.clone(),
    }
}

fn error_text(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str);
    message.map_or_else(|| error.to_string(), str::to_owned)
}

pub(super) fn sign(status: &str) -> String {
    match status {
        "completed" => green("✓"),
        "failed" => red("✗"),
        "cancelled" => red("⊘"),
        "uncertain" => yellow("?"),
        "waiting" | "paused" => yellow("◷"),
        "skipped" => dim("–"),
        "pending" => dim("·"),
        _ => dim("…"),
    }
}

/// The results of steps that have one.
pub(super) fn results(execution: &Execution) -> Vec<String> {
    let shown = execution.steps.iter().filter_map(|step| {
        let (what, value) = match (&step.result, &step.params) {
            (Some(result), _) => ("", result),
            (None, Some(params)) => (" was called with", params),
            (None, None) => return None,
        };
        Some(format!("{}{what}\n{}", terminal::bold(&step.name), terminal::pretty(value)))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(status: &str, steps: &[(&str, &str, u32)]) -> Execution {
        let steps = steps.iter().map(|(name, status, attempts)| StepView {
            name: (*name).into(),
            tool: "demo.echo".into(),
            status: (*status).into(),
            attempts: *attempts,
            started_at: Some(1_000),
            ended_at: (*status == "completed").then_some(1_012),
            error: (*status == "failed")
                .then(|| serde_json::json!({ "message": "no such branch" })),
            ..StepView::default()
        });
        Execution {
            execution_id: "exec_1".into(),
            workflow: "hello".into(),
            status: status.into(),
            version: 1,
            output: None,
            error: None,
            waiting_for: None,
            steps: steps.collect(),
            input: Value::Null,
            requested_by: "local".into(),
            created_at: 1_000,
            ..Execution::default()
        }
    }

    #[test]
    fn each_change_of_a_step_is_one_line() {
        let mut lines = StepLines::default();
        let mut check = |steps: &[(&str, &str, u32)], expected: &[&str]| {
            assert_eq!(lines.changes(&execution("running", steps)), expected);
        };
        check(&[("a", "pending", 0), ("long", "pending", 0)], &[]);
        check(&[("a", "running", 1), ("long", "pending", 0)], &["… a     demo.echo"]);
        check(&[("a", "running", 1), ("long", "pending", 0)], &[]);
        check(&[("a", "running", 2), ("long", "pending", 0)], &["… a     demo.echo attempt 2"]);
        check(
            &[("a", "completed", 2), ("long", "failed", 1)],
            &["✓ a     12 ms, 2 attempts", "✗ long  failed: no such branch"],
        );
    }

    #[test]
    fn only_an_uncertain_step_or_a_pause_needs_a_person() {
        let check = |status, step, expected| {
            assert_eq!(needs_a_person(&execution(status, &[("a", step, 1)])), expected);
        };
        check("waiting", "uncertain", true);
        check("paused", "pending", true);
        check("waiting", "waiting", false);
        check("running", "running", false);
        let waits = |said: &str| {
            let waiting_for = Some(said.to_owned());
            needs_a_person(&Execution { waiting_for, ..execution("waiting", &[]) })
        };
        assert!(waits("step a: execution exec_2 waits: step b is uncertain: …"));
        assert!(!waits("step a waits for the event \"paid\""));
    }

    #[test]
    fn a_step_that_waits_says_for_what_and_how_long() {
        let step = StepView {
            status: "waiting".into(),
            due_at: Some(12_000),
            error: Some(serde_json::json!({ "message": "busy" })),
            ..StepView::default()
        };
        assert_eq!(said(&step, 0), "again in 12.0 s: busy");
        assert_eq!(said(&step, 12_000), "again now: busy");
        let waits = Some("rate limited until noon".to_owned());
        let limited = StepView { waits, ..step.clone() };
        assert_eq!(said(&limited, 0), "rate limited until noon (in 12.0 s)");
        let wait = StepView { error: None, kind: "wait".into(), ..step.clone() };
        assert_eq!(said(&wait, 0), "goes on in 12.0 s");
        let event = StepView { event: Some("paid".into()), ..wait };
        assert_eq!(said(&event, 0), "for the event paid; gives up in 12.0 s");
    }

    #[test]
    fn a_step_says_who_settled_it_and_an_execution_who_cancelled_it() {
        let settled_by = Some("ada".to_owned());
        let step =
            StepView { settled_by, ..execution("failed", &[("a", "failed", 1)]).steps.remove(0) };
        assert_eq!(said(&step, 0), "failed: no such branch  settled by ada");
        let cancel = Some(CancelView { by: "ada".into(), reason: Some("not needed".into()) });
        let ended_at = Some(2_000);
        let execution = Execution { cancel, ended_at, ..execution("cancelled", &[]) };
        let told = "⊘ hello cancelled by ada: not needed, in 1.0 s  exec_1";
        assert_eq!(summary(&execution), told);
    }
}
