//! `windlass diff`: what is different between two revisions of a workflow.

use super::{
    arguments::Diff,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, green, red},
};
use crate::host::Drive;

pub(super) async fn run(session: &Session, arguments: &Diff) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let Diff { workflow, from, to } = arguments;
    let diff = host.app.diff(workflow, from.as_deref(), to.as_deref()).await;
    host.stop().await;
    let diff = diff?;
    if session.json() {
        terminal::say_json(&diff);
        return Ok(Exit::Done);
    }
    if diff.changes.is_empty() && diff.lines.is_empty() {
        terminal::tell("they are the same");
    }
    diff.changes.iter().for_each(|change| terminal::say(&change.to_string()));
    diff.lines.lines().for_each(|line| terminal::say(&painted(line)));
    Ok(Exit::Done)
}

fn painted(line: &str) -> String {
    match line.chars().next() {
        Some('+') => green(line),
        Some('-') => red(line),
        _ => line.to_owned(),
    }
}
