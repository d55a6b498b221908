//! `windlass pause`, `resume`, `retry`, `skip`, `fork` and `checkpoints`: executions in hand.

use serde_json::{Map, Value};

use super::{
    arguments::{Checkpoints, Fork, Pause, Resume, Retry, Skip},
    caller,
    failure::{Exit, Failure},
    input,
    session::Session,
    status,
    terminal::{self, dim, duration},
};
use crate::{
    app::{App, CheckpointList, Error, Execution, ForkRequest},
    host::{Drive, Host},
};

pub(super) async fn pause(session: &Session, arguments: Pause) -> Result<Exit, Failure> {
    let Pause { id, reason } = arguments;
    let host = host(session).await?;
    let paused = host.app.pause(&caller(), &id, reason).await;
    shown(session, host, paused).await
}

pub(super) async fn resume(session: &Session, arguments: &Resume) -> Result<Exit, Failure> {
    let host = host(session).await?;
    let resumed = host.app.resume(&caller(), &arguments.id).await;
    shown(session, host, resumed).await
}

pub(super) async fn retry(session: &Session, arguments: Retry) -> Result<Exit, Failure> {
    let Retry { id, pairs, input } = arguments;
    let host = host(session).await?;
    let given = changed(&host.app, &id, input.as_deref(), &pairs).await;
    let retried = match given {
        Ok(input) => host.app.retry(&caller(), &id, input).await,
        Err(failure) => {
            host.stop().await;
            return Err(failure);
        }
    };
    shown(session, host, retried).await
}

pub(super) async fn skip(session: &Session, arguments: Skip) -> Result<Exit, Failure> {
    let Skip { id, step, reason } = arguments;
    let host = host(session).await?;
    let skipped = host.app.skip(&caller(), &id, &step, reason).await;
    shown(session, host, skipped).await
}

pub(super) async fn fork(session: &Session, arguments: Fork) -> Result<Exit, Failure> {
    let Fork { id, from, pairs, input, latest, idempotency_key } = arguments;
    let host = host(session).await?;
    let given = changed(&host.app, &id, input.as_deref(), &pairs).await;
    let forked = match given {
        Ok(input) => {
            let request = ForkRequest { from, input, latest, idempotency_key };
            host.app.fork(&caller(), &id, request).await
        }
        Err(failure) => {
            host.stop().await;
            return Err(failure);
        }
    };
    shown(session, host, forked).await
}

pub(super) async fn checkpoints(
    session: &Session,
    arguments: &Checkpoints,
) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let list = host.app.checkpoints(&arguments.id, arguments.limit).await;
    host.stop().await;
    let list = list?;
    if session.json() {
        terminal::say_json(&list);
    } else {
        lines(&list).iter().for_each(|line| terminal::say(line));
    }
    Ok(Exit::Done)
}

/// Somebody must carry it out, so a worker is started where none lives.
async fn host(session: &Session) -> Result<Host, Failure> {
    session.host(Drive::Detached).await
}

async fn shown(
    session: &Session,
    host: Host,
    done: Result<Execution, Error>,
) -> Result<Exit, Failure> {
    host.stop().await;
    status::show(session, &done?);
    Ok(Exit::Done)
}

/// The values that change, each as the workflow's schema wants it.
async fn changed(
    app: &App,
    id: &str,
    given: Option<&str>,
    pairs: &[String],
) -> Result<Map<String, Value>, Failure> {
    let schema = match pairs {
        [] => Value::Null,
        _ => app.input_schema_of(id).await?,
    };
    input::read("--input", &schema, given, pairs)
}

fn lines(list: &CheckpointList) -> Vec<String> {
    let rows: Vec<Vec<String>> = list
        .checkpoints
        .iter()
        .map(|checkpoint| {
            vec![
                checkpoint.number.to_string(),
                format!("{} ago", duration(checkpoint.age_ms)),
                format!("{} bytes", checkpoint.bytes),
                dim(checkpoint.worker.as_deref().unwrap_or("-")),
                checkpoint.steps.join(", "),
            ]
        })
        .collect();
    let mut lines = terminal::columns(&rows);
    let more = list.total - i64::try_from(list.checkpoints.len()).unwrap_or(i64::MAX);
    if 0 < more {
        lines.push(dim(&format!("{more} older ones; --limit shows more")));
    }
    lines
}
