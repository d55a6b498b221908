//! An execution's steps as lines of text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::terminal::{self, dim, duration, green, red, yellow};
use crate::app::{Execution, StepView};

/// Remembers what was shown of each step, so that every change is one line.
#[derive(Default)]
pub(super) struct StepLines {
    shown: BTreeMap<String, (String, u32)>,
}

impl StepLines {
    /// A line for each step that changed since the last call. Steps that have not begun say nothing.
    pub(super) fn changes(&mut self, execution: &Execution) -> Vec<String> {
        let width = width(execution);
        let mut lines = Vec::new();
        for step in &execution.steps {
            let now = (step.status.clone(), step.attempts);
            let before = self.shown.insert(step.name.clone(), now.clone());
            let unchanged = before.as_ref() == Some(&now);
            if !unchanged && (step.status != "pending" || before.is_some()) {
                lines.push(line(step, width));
            }
        }
        lines
    }
}

/// Every step, one line each.
pub(super) fn lines(execution: &Execution) -> Vec<String> {
    let width = width(execution);
    execution.steps.iter().map(|step| line(step, width)).collect()
}

/// How it went, in one line.
pub(super) fn summary(execution: &Execution) -> String {
    let id = dim(&execution.execution_id);
    let took = execution.ended_at.map(|ended| duration(ended - execution.created_at));
    let took = took.map(|took| format!(" in {took}")).unwrap_or_default();
    let status = &execution.status;
    format!("{} {} {status}{took}  {id}", sign(status), execution.workflow)
}

/// Whether only a person can move it on: a timer or a worker will not.
pub(super) fn needs_a_person(execution: &Execution) -> bool {
    let uncertain = execution.steps.iter().any(|step| step.status == "uncertain");
    match execution.status.as_str() {
        "paused" => true,
        "waiting" => uncertain,
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

fn line(step: &StepView, width: usize) -> String {
    let StepView { name, status, tool, .. } = step;
    let said = match status.as_str() {
        "completed" => dim(&took(step)),
        "pending" | "running" if step.attempts < 2 => dim(tool),
        "pending" | "running" => format!("{} attempt {}", dim(tool), step.attempts),
        _ => explained(step),
    };
    format!("{} {name:<width$}  {said}", sign(status)).trim_end().to_owned()
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

fn sign(status: &str) -> String {
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
    }
}
