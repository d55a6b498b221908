//! `windlass enable` and `windlass disable`: whether a workflow may be started.

use super::{
    arguments::Enable,
    caller,
    failure::{Exit, Failure},
    session::Session,
    terminal,
};
use crate::host::Drive;

pub(super) async fn run(
    session: &Session,
    arguments: &Enable,
    enabled: bool,
) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let workflow = host.app.set_enabled(&caller(), &arguments.workflow, enabled).await;
    host.stop().await;
    let workflow = workflow?;
    if session.json() {
        terminal::say_json(&workflow);
    } else if enabled {
        terminal::say(&format!("{} may be started", workflow.name));
    } else {
        let name = &workflow.name;
        terminal::say(&format!("{name} is not started any more; executions that run go on"));
    }
    Ok(Exit::Done)
}
