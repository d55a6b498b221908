//! `windlass list`: workflows, or executions.

use super::{
    arguments::List,
    caller,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, dim, duration, red, yellow},
};
use crate::{
    app::{App, ExecutionList, ExecutionSummary, WorkflowView},
    clock,
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: &List) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let listed = match arguments.executions {
        true => executions(session, &host.app, arguments.limit).await,
        false => workflows(session, &host.app).await,
    };
    host.stop().await;
    listed
}

async fn workflows(session: &Session, app: &App) -> Result<Exit, Failure> {
    let workflows = app.workflows().await;
    if session.json() {
        terminal::say_json(&serde_json::json!({ "workflows": workflows }));
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = workflows.iter().map(workflow_row).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    Ok(Exit::Done)
}

fn workflow_row(workflow: &WorkflowView) -> Vec<String> {
    let said = workflow.description.as_deref().or(workflow.title.as_deref()).unwrap_or_default();
    let said = match workflow.problems.len() {
        0 => said.lines().next().unwrap_or_default().to_owned(),
        1 => red("cannot run: 1 problem, see `windlass validate`"),
        count => red(&format!("cannot run: {count} problems, see `windlass validate`")),
    };
    vec![workflow.name.clone(), dim(&workflow.source), said]
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
