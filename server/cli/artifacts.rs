//! `windlass artifacts` and `windlass artifact`: the files that executions left behind.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde_json::json;

use super::{
    arguments::{Artifact, Artifacts},
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, dim, duration},
};
use crate::{app::ArtifactView, clock, host::Drive};

pub(super) async fn list(session: &Session, arguments: &Artifacts) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let listed = host.app.artifacts(&arguments.id).await;
    host.stop().await;
    let listed = listed?;
    if session.json() {
        terminal::say_json(&json!({ "artifacts": listed }));
        return Ok(Exit::Done);
    }
    if listed.is_empty() {
        terminal::tell("it has left no file behind");
    }
    let now = clock::now();
    let rows: Vec<_> = listed.iter().map(|artifact| row(artifact, now)).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    Ok(Exit::Done)
}

pub(super) fn row(artifact: &ArtifactView, now: i64) -> Vec<String> {
    vec![
        artifact.artifact_id.clone(),
        artifact.name.clone(),
        artifact.mime.clone(),
        format!("{} bytes", artifact.bytes),
        artifact.step.clone().unwrap_or_default(),
        dim(&format!("{} ago", duration(now - artifact.created_at))),
    ]
}

pub(super) async fn write(session: &Session, arguments: &Artifact) -> Result<Exit, Failure> {
    let Artifact { id, output } = arguments;
    let host = session.host(Drive::Nobody).await?;
    let found = host.app.artifact(id).await;
    host.stop().await;
    let Some((artifact, content)) = found? else {
        let message = format!("there is no artifact {id:?} in this workspace");
        return Err(Failure::not_found("unknown_artifact", message)
            .help("`windlass artifacts EXECUTION` lists those of an execution"));
    };
    if output == Path::new("-") {
        return match io::stdout().write_all(&content) {
            Ok(()) => Ok(Exit::Done),
            Err(error) => Err(Failure::ours(format!("standard output is gone: {error}"))),
        };
    }
    fs::write(output, &content).map_err(|error| {
        Failure::ours(format!("cannot write {}: {error}", output.display()))
            .help("name a file in a folder that exists and is yours")
    })?;
    if session.json() {
        terminal::say_json(&artifact);
    } else {
        terminal::tell(&format!("{} bytes written to {}", content.len(), output.display()));
    }
    Ok(Exit::Done)
}
