//! `windlass save`: checks a workflow file and keeps it in the database.

use serde_json::json;
use windlass_engine::Unchecked;

use super::{
    arguments::Save,
    caller,
    failure::{Exit, Failure},
    list,
    session::Session,
    terminal::{self, dim, green, yellow},
    validate,
};
use crate::{
    app::{Error, SaveRequest, Saved, Unpinned},
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: Save) -> Result<Exit, Failure> {
    let (source, text) = validate::read(&arguments.file)?;
    let request = SaveRequest {
        text: text.clone(),
        source: source.clone(),
        comment: arguments.comment,
        expected_revision: arguments.expect.map(i64::from),
        dry_run: arguments.dry_run,
    };
    let host = session.host(Drive::Nobody).await?;
    let saved = host.app.save(&caller(), request).await;
    host.stop().await;
    match saved {
        Ok(saved) if session.json() => terminal::say_json(&saved),
        Ok(saved) => show(&saved),
        Err(Error::BrokenWorkflow { problems, .. }) if session.json() => {
            let message = "the document has problems; nothing was saved";
            let error = json!({ "code": "broken_workflow", "message": message });
            terminal::say_json(&json!({ "saved": false, "error": error, "problems": problems }));
            return Ok(Exit::Failed);
        }
        Err(error) => return Err(shown_in_place(error, &source, &text)),
    }
    Ok(Exit::Done)
}

/// Every problem with the line it is in.
fn shown_in_place(error: Error, source: &str, text: &str) -> Failure {
    let Error::BrokenWorkflow { problems, .. } = &error else { return error.into() };
    let framed = problems.iter().map(|problem| validate::framed(source, text, problem));
    framed.for_each(|problem| terminal::tell(&problem));
    Failure::failed("broken_workflow", format!("{source} has problems; nothing was saved"))
}

fn show(saved: &Saved) {
    let Saved { workflow, revision, hash, .. } = saved;
    let number = revision.map_or_else(|| "a new revision".to_owned(), |n| format!("revision {n}"));
    let known = if saved.is_new { "" } else { " (this content was known)" };
    let done = if saved.saved { "saved" } else { "would be saved" };
    let short = dim(&hash[..hash.len().min(12)]);
    terminal::say(&format!("{} {workflow} {done} as {number} {short}{known}", green("✓")));
    saved.changes.iter().for_each(|change| terminal::say(&format!("    {change}")));
    for Unpinned { tool, reason } in &saved.unpinned {
        terminal::tell(&format!("{} {tool} is not pinned yet: {reason}", yellow("warning:")));
    }
    let is_said = |place: &Unchecked| {
        saved.unpinned.iter().any(|unpinned| place.why.contains(&unpinned.reason))
    };
    for entry in saved.unchecked.iter().filter(|entry| !is_said(entry)) {
        terminal::tell(&validate::not_checked(entry));
    }
    let drift = saved.drift.iter().flat_map(|drift| list::drift_lines(workflow, drift));
    drift.for_each(|line| terminal::tell(&line));
}
