//! Steps as agents see them: one row each, and of many instances those that something is the matter with.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    answer::{Projection, cut, refusal},
    arguments::Refusal,
    names::ToolId,
};
use crate::{
    app::{self, Execution, StepView},
    clock,
    config::ToolNames,
};

/// One step's result, among others, is given whole up to this size.
pub(crate) const RESULT_BYTES: usize = 16 * 1024;
/// All steps' results of one answer together.
pub(crate) const RESULTS_BYTES: usize = 64 * 1024;
/// How much of something too large is shown.
pub(crate) const PREVIEW_BYTES: usize = 2 * 1024;
/// How many instances and iterations, with what is in them, are shown.
const INSTANCES: usize = 20;

/// Puts the rows of the steps that are wanted, and how many are left out because there are so many.
///
/// # Errors
/// When the projection names a step that the execution does not have.
pub(crate) fn put(
    answer: &mut Map<String, Value>,
    names: ToolNames,
    execution: &Execution,
    projection: &Projection,
) -> Result<(), Refusal> {
    let chosen = chosen(names, execution, projection)?;
    let shown = shown(&chosen);
    let limit = if projection.step.is_some() { RESULTS_BYTES } else { RESULT_BYTES };
    let (mut left, now) = (RESULTS_BYTES, clock::now());
    let left_out = chosen.len() - shown.len();
    let rows = shown.into_iter().map(|step| {
        let mut row = row(step, now);
        if let Some(result) = step.result.as_ref().filter(|_| projection.wants_results()) {
            let result = shorten_step(names, execution, step, result, limit.min(left));
            left = left.saturating_sub(result.to_string().len());
            row.insert("result".into(), result);
        }
        if let Some(params) = step.params.as_ref().filter(|_| projection.wants_results()) {
            row.insert("params".into(), preview(params, PREVIEW_BYTES));
        }
        Value::Object(row)
    });
    let rows = rows.collect();
    answer.insert("steps".into(), rows);
    let more = left_out + if projection.step.is_none() { execution.more_steps } else { 0 };
    if 0 < more {
        answer.insert("more_steps".into(), more.into());
    }
    Ok(())
}

/// All of them, or what is named: by its path, or by its name alone.
fn chosen<'e>(
    names: ToolNames,
    execution: &'e Execution,
    projection: &Projection,
) -> Result<Vec<&'e StepView>, Refusal> {
    let all = execution.steps.iter();
    let Some(name) = &projection.step else { return Ok(all.collect()) };
    let exact: Vec<_> = all.clone().filter(|step| step.name == *name).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let named: Vec<_> = all.filter(|step| last_name(&step.name) == name).collect();
    if named.is_empty() { Err(unknown_step(names, execution, name)) } else { Ok(named) }
}

/// Leaves instances out where there are many; those that something is the matter with stay.
fn shown<'e>(chosen: &[&'e StepView]) -> Vec<&'e StepView> {
    let mut instances: Vec<&StepView> =
        chosen.iter().copied().filter(|step| is_instance(step)).collect();
    if instances.len() <= INSTANCES {
        return chosen.to_vec();
    }
    instances.sort_by_key(|step| match step.status.as_str() {
        "uncertain" | "failed" => 0,
        "waiting" | "running" => 1,
        _ => 2,
    });
    let kept: HashSet<&str> =
        instances.iter().take(INSTANCES).map(|step| step.name.as_str()).collect();
    let is_shown = |step: &&StepView| !is_instance(step) || kept.contains(step.name.as_str());
    chosen.iter().copied().filter(is_shown).collect()
}

/// Whether it is an instance or an iteration, or in one.
pub(crate) fn is_instance(step: &StepView) -> bool {
    step.name.contains('[')
}

/// `look` of `poll[0]/look`.
fn last_name(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split('[').next().unwrap_or(last)
}

/// A step and how it stands, with its place among those of the document.
pub(crate) fn line(execution: &Execution, step: &StepView) -> String {
    let own = step.name.split('[').next().unwrap_or_default();
    let mut of_document = execution.steps.iter().filter(|step| !is_instance(step));
    let total = of_document.clone().count();
    let place = of_document.position(|other| other.name == own).unwrap_or_default();
    format!("step {}/{total} {} {}", place + 1, step.name, step.status)
}

fn row(step: &StepView, now: i64) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("name".into(), step.name.clone().into());
    row.insert("tool".into(), step.tool.clone().into());
    row.insert("status".into(), step.status.clone().into());
    if 1 < step.attempts {
        row.insert("attempts".into(), step.attempts.into());
    }
    if let (Some(started_at), Some(ended_at)) = (step.started_at, step.ended_at) {
        row.insert("duration_ms".into(), (ended_at - started_at).into());
    }
    if let Some(due_at) = step.due_at {
        row.insert("due_in_seconds".into(), ((due_at - now).max(0) / 1_000).into());
    }
    if let Some(waits) = &step.waits {
        row.insert("waits".into(), waits.clone().into());
    }
    if let Some(event) = &step.event {
        row.insert("event".into(), event.clone().into());
    }
    if let Some(execution_id) = &step.execution_id {
        row.insert("execution_id".into(), execution_id.clone().into());
    }
    if !step.instances.is_empty() {
        row.insert("instances".into(), json!(step.instances));
    }
    if let Some(by) = &step.settled_by {
        row.insert("settled_by".into(), by.clone().into());
    }
    if let Some(other) = &step.reused_from {
        row.insert("reused_from".into(), other.clone().into());
    }
    if let Some(usage) = &step.usage {
        row.insert("usage".into(), json!(usage));
    }
    if let Some(error) = &step.error {
        row.insert("error".into(), preview(error, PREVIEW_BYTES));
    }
    row
}

fn unknown_step(names: ToolNames, execution: &Execution, name: &str) -> Refusal {
    let known: Vec<_> = execution
        .steps
        .iter()
        .filter(|step| !is_instance(step))
        .map(|step| step.name.as_str())
        .collect();
    let error = app::Error::UnknownStep {
        execution_id: execution.execution_id.clone(),
        step: name.to_owned(),
        known: known.join(", "),
    };
    refusal(names, ToolId::Status, &error)
}

/// The value, or where all of it can be read.
pub(crate) fn shorten(
    names: ToolNames,
    execution: &Execution,
    value: &Value,
    limit: usize,
) -> Value {
    let whole = format!(
        "read the resource workflow://executions/{}, or call {} with fields=[\"results\"] and step to get one step's part",
        execution.execution_id,
        ToolId::Status.listed(names)
    );
    shortened(value, limit, &whole)
}

fn shorten_step(
    names: ToolNames,
    execution: &Execution,
    step: &StepView,
    value: &Value,
    limit: usize,
) -> Value {
    let id = &execution.execution_id;
    let whole = if limit == RESULTS_BYTES {
        format!("read the resource workflow://executions/{id}")
    } else {
        format!(
            "call {} with execution_id={id:?}, fields=[\"results\"] and step={:?}",
            ToolId::Status.listed(names),
            step.name
        )
    };
    shortened(value, limit, &whole)
}

/// The value, or its beginning and how to get all of it.
fn shortened(value: &Value, limit: usize, whole: &str) -> Value {
    let text = value.to_string();
    if text.len() <= limit {
        return value.clone();
    }
    json!({
        "truncated": true,
        "bytes": text.len(),
        "preview": cut(&text, PREVIEW_BYTES.min(limit)),
        "whole": whole,
    })
}

/// The value, or the beginning of its text.
pub(crate) fn preview(value: &Value, limit: usize) -> Value {
    let text = value.to_string();
    if text.len() <= limit { value.clone() } else { cut(&text, limit).into() }
}

#[cfg(test)]
mod tests {
    use super::{super::answer::tests::execution, *};

    fn step(name: &str, status: &str) -> StepView {
        StepView { name: name.into(), status: status.into(), ..StepView::default() }
    }

    fn rows(execution: &Execution, step: Option<&str>) -> (Vec<String>, Value) {
        let mut answer = Map::new();
        let projection = Projection { fields: vec!["steps"], step: step.map(str::to_owned) };
        put(&mut answer, ToolNames::Dotted, execution, &projection).unwrap();
        let rows = answer["steps"].as_array().unwrap();
        let names = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned());
        (names.collect(), answer.get("more_steps").cloned().unwrap_or_default())
    }

    #[test]
    fn of_many_instances_those_are_shown_that_something_is_the_matter_with() {
        let mut execution = execution("running");
        let instances = (0..200).map(|number| match number {
            150 => step("fan[150]", "failed"),
            199 => step("fan[199]", "running"),
            _ => step(&format!("fan[{number}]"), "completed"),
        });
        execution.steps = [step("fan", "running")].into_iter().chain(instances).collect();
        execution.more_steps = 300;
        let (names, more) = rows(&execution, None);
        assert_eq!((names.len(), more), (1 + INSTANCES, json!(180 + 300)));
        assert_eq!(names[0], "fan");
        assert!(names.contains(&"fan[150]".into()) && names.contains(&"fan[199]".into()));
    }

    #[test]
    fn a_step_is_found_by_its_path_and_by_its_name_alone() {
        let mut execution = execution("running");
        let paths = ["check", "check/errors", "poll", "poll[0]/look", "poll[1]/look"];
        execution.steps = paths.map(|path| step(path, "completed")).to_vec();
        assert_eq!(rows(&execution, Some("check/errors")).0, ["check/errors"]);
        assert_eq!(rows(&execution, Some("errors")).0, ["check/errors"]);
        assert_eq!(rows(&execution, Some("look")).0, ["poll[0]/look", "poll[1]/look"]);
        assert_eq!(line(&execution, &execution.steps[4]), "step 3/3 poll[1]/look completed");
    }
}
