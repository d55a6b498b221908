//! `windlass accept`: takes the tools that a workflow calls as they are now.

use super::{
    arguments::Accept,
    caller,
    failure::{Exit, Failure},
    list,
    run::{self, Subject},
    session::Session,
    terminal::{self, yellow},
};
use crate::{
    app::{Accepted, Unpinned},
    host::Drive,
};

pub(super) async fn run(session: &Session, arguments: &Accept) -> Result<Exit, Failure> {
    let subject = run::subject(&arguments.workflow)?;
    let host = session.host(Drive::Nobody).await?;
    let accepted = match subject {
        Subject::Workflow(name) => host.app.accept(&caller(), &name, arguments.dry_run).await,
        Subject::Document { path, text } => {
            host.app.accept_document(&caller(), &text, &path, arguments.dry_run).await
        }
    };
    host.stop().await;
    let accepted = accepted?;
    if session.json() {
        terminal::say_json(&accepted);
    } else {
        show(&accepted);
    }
    Ok(Exit::Done)
}

fn show(accepted: &Accepted) {
    let Accepted { workflow, drift, pinned, unpinned, .. } = accepted;
    match drift {
        Some(drift) => {
            list::drift_lines(workflow, drift).iter().for_each(|line| terminal::say(line));
        }
        None => terminal::say("no tool that it is pinned to has changed"),
    }
    for Unpinned { tool, reason } in unpinned {
        terminal::tell(&format!("{} {tool} is not pinned: {reason}", yellow("warning:")));
    }
    let done = if accepted.accepted { "is pinned" } else { "would be pinned" };
    if !pinned.is_empty() {
        terminal::say(&format!("{workflow} {done} to {} as now", pinned.join(", ")));
    }
}
