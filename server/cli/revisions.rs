//! `windlass revisions`: the revisions of a workflow, or the document of one.

use super::{
    arguments::Revisions,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, dim, duration, green},
};
use crate::{app::RevisionView, clock, host::Drive};

pub(super) async fn run(session: &Session, arguments: &Revisions) -> Result<Exit, Failure> {
    let Revisions { workflow, revision } = arguments;
    let host = session.host(Drive::Nobody).await?;
    if let Some(revision) = revision {
        let shown = host.app.revision(workflow, Some(revision)).await;
        host.stop().await;
        match (shown?, session.json()) {
            (shown, true) => terminal::say_json(&shown),
            (shown, false) => terminal::say_json(&shown.document),
        }
        return Ok(Exit::Done);
    }
    let listed = host.app.revisions(workflow).await;
    host.stop().await;
    let listed = listed?;
    if session.json() {
        terminal::say_json(&listed);
        return Ok(Exit::Done);
    }
    if listed.revisions.is_empty() {
        terminal::tell("it has no revision yet: nobody saved or ran it");
    }
    let now = clock::now();
    let rows: Vec<_> = listed.revisions.iter().map(|revision| row(revision, now)).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    Ok(Exit::Done)
}

fn row(revision: &RevisionView, now: i64) -> Vec<String> {
    let behalf = revision.on_behalf_of.as_ref().map(|behalf| format!(" for {behalf}"));
    let current = if revision.current { green("current") } else { String::new() };
    vec![
        revision.number.to_string(),
        revision.hash[..revision.hash.len().min(12)].to_owned(),
        format!("{}{}", revision.author, behalf.unwrap_or_default()),
        format!("{} ago", duration(now - revision.created_at)),
        dim(&revision.source),
        current,
        revision.comment.clone().unwrap_or_default(),
    ]
}
