//! `windlass list`: workflows, or executions.

use super::{
    arguments::List,
    caller,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, duration, red, yellow},
};
use crate::{
    app::{App, ExecutionList, ExecutionSummary, Look, ToolDrift, WorkflowDrift, WorkflowView},
    clock,
    drift::Severity,
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: &List) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let listed = match arguments.executions {
        true => executions(session, &host.app, arguments.limit).await,
        false => workflows(session, &host.app, arguments.live).await,
    };
    host.stop().await;
    listed
}

async fn workflows(session: &Session, app: &App, live: bool) -> Result<Exit, Failure> {
    let look = if live { Look::Live } else { Look::Remembered };
    let workflows = app.workflows(look).await?;
    if session.json() {
        terminal::say_json(&serde_json::json!({ "workflows": workflows }));
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = workflows.iter().map(workflow_row).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    for (name, drift) in
        workflows.iter().filter_map(|workflow| Some((&workflow.name, workflow.drift.as_ref()?)))
    {
        drift_lines(name, drift).iter().for_each(|line| terminal::say(line));
    }
    Ok(Exit::Done)
}

/// What became of a workflow's tools, and what to do about it.
pub(super) fn drift_lines(name: &str, drift: &WorkflowDrift) -> Vec<String> {
    let mut lines = Vec::new();
    for ToolDrift { tool, verdict, differences } in &drift.tools {
        lines.push(format!("{} {name}: {tool} changed since it was pinned", painted(*verdict)));
        lines.extend(differences.iter().map(|difference| format!("    {difference}")));
    }
    lines.extend(drift.advice.as_ref().map(|advice| format!("    {} {advice}", bold("help:"))));
    lines
}

fn painted(verdict: Severity) -> String {
    let word = verdict.as_str().replace('_', " ");
    match verdict {
        Severity::Compatible => dim(&word),
        Severity::NeedsReview => yellow(&word),
        Severity::Broken => red(&word),
    }
}

fn workflow_row(workflow: &WorkflowView) -> Vec<String> {
    let said = workflow.description.as_deref().or(workflow.title.as_deref()).unwrap_or_default();
    let said = match workflow.problems.len() {
        0 => marked(workflow, said.lines().next().unwrap_or_default()),
        1 => red("cannot run: 1 problem, see `windlass validate`"),
        count => red(&format!("cannot run: {count} problems, see `windlass validate`")),
    };
    vec![workflow.name.clone(), dim(&workflow.source), said]
}

/// What it is for, after what stands in its way.
fn marked(workflow: &WorkflowView, said: &str) -> String {
    let disabled = (!workflow.enabled).then(|| yellow("disabled"));
    let drift = workflow.drift.as_ref().map(|drift| match drift.verdict {
        Severity::Compatible => dim("its tools changed"),
        Severity::NeedsReview | Severity::Broken => painted(drift.verdict),
    });
    let said = (!said.is_empty()).then(|| said.to_owned());
    [disabled, drift, said].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Shows the newest executions.
pub(super) async fn executions(session: &Session, app: &App, limit: u32) -> Result<Exit, Failure> {
    let listed = app.executions(&caller(), limit).await?;
    if session.json() {
        terminal::say_json(&listed);
        return Ok(Exit::Done);
    }
    show(&listed);
    Ok(Exit::Done)
}

fn show(listed: &ExecutionList) {
    let now = clock::now();
    let rows: Vec<_> =
        listed.executions.iter().map(|summary| execution_row(summary, now)).collect();
    if rows.is_empty() {
        terminal::tell("no executions yet in this workspace; `windlass run hello` starts one");
    }
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    if let Some(warning) = &listed.warning {
        terminal::tell(&format!("{} {warning}", yellow("warning:")));
    }
}

fn execution_row(summary: &ExecutionSummary, now: i64) -> Vec<String> {
    let age = format!("{} ago", duration(now - summary.created_at));
    let took =
        summary.ended_at.map(|ended| format!("took {}", duration(ended - summary.created_at)));
    let said = summary.waiting_for.clone().or(took).unwrap_or_default();
    vec![summary.execution_id.clone(), summary.workflow.clone(), summary.status.clone(), age, said]
}
