//! `windlass status`: how an execution stands.

use std::time::{Duration, Instant};

use super::{
    arguments::Status,
    artifacts,
    failure::{Exit, Failure},
    list, requests,
    session::Session,
    steps,
    terminal::{self, red, yellow},
    tree, usage,
};
use crate::{
    app::{App, Detail, Error, Execution, UsageView},
    clock,
    host::Drive,
};

/// How many executions are shown when none is named.
const NEWEST: u32 = 20;

pub(super) async fn run(session: &Session, arguments: &Status) -> Result<Exit, Failure> {
    // Whoever waits wants it to move; whoever only looks changes nothing.
    let drive = if arguments.wait.is_some() { Drive::Detached } else { Drive::Nobody };
    let host = session.host(drive).await?;
    let shown = match &arguments.id {
        Some(id) => one(session, &host.app, id, arguments).await,
        None => list::executions(session, &host.app, NEWEST).await,
    };
    host.stop().await;
    shown
}

async fn one(session: &Session, app: &App, id: &str, arguments: &Status) -> Result<Exit, Failure> {
    let detail = if arguments.results { Detail::Results } else { Detail::Steps };
    let patience = Duration::from_secs(arguments.wait.unwrap_or_default());
    let execution = settled(app, id, patience, detail).await?;
    show(session, &execution);
    if !session.json() && !steps::has_ended(&execution) && !steps::needs_a_person(&execution) {
        app.warning()
            .await?
            .iter()
            .for_each(|it| terminal::tell(&format!("{} {it}", yellow("warning:"))));
    }
    Ok(exit(&execution))
}

/// The execution once it has ended or needs a person, or as it is when the patience is over.
async fn settled(
    app: &App,
    id: &str,
    patience: Duration,
    detail: Detail,
) -> Result<Execution, Error> {
    let deadline = Instant::now() + patience;
    let mut execution = app.status(id, detail).await?;
    while !steps::has_ended(&execution) && !steps::needs_a_person(&execution) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        execution = app.changed(id, execution.version, left, detail).await?;
    }
    Ok(execution)
}

/// Prints an execution in the form that was asked for.
pub(super) fn show(session: &Session, execution: &Execution) {
    if session.json() {
        return terminal::say_json(execution);
    }
    terminal::say(&steps::summary(execution));
    tree::lines(execution).iter().for_each(|line| terminal::say(&format!("  {line}")));
    steps::results(execution).iter().for_each(|result| terminal::say(result));
    if let Some(output) = &execution.output {
        terminal::say(&format!("{}\n{}", terminal::bold("output"), terminal::pretty(output)));
    }
    execution.usage.iter().for_each(|spent| terminal::say(&usage(spent)));
    let (artifacts, now) = (&execution.artifacts, clock::now());
    let rows: Vec<_> = artifacts.iter().map(|artifact| artifacts::row(artifact, now)).collect();
    terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    explain(execution);
}

fn usage(spent: &UsageView) -> String {
    format!(
        "{} {} calls of language models, {} tokens sent and {} answered: {}",
        terminal::bold("usage"),
        spent.calls,
        spent.prompt_tokens,
        spent.completion_tokens,
        usage::cost(spent)
    )
}

/// Says why it failed or what it waits for, and what to do about it.
pub(super) fn explain(execution: &Execution) {
    if let Some(error) = &execution.error {
        let step = error.step.as_ref().map(|step| format!("step {step}: ")).unwrap_or_default();
        terminal::tell(&format!("{} {step}{} ({})", red("error:"), error.message, error.code));
    }
    if execution.status == "failed" {
        let id = &execution.execution_id;
        let step = execution.error.as_ref().and_then(|error| error.step.as_deref());
        let without = step.map(|step| format!(", `windlass skip {id} {step}` without that step"));
        let help = format!(
            "`windlass retry {id}` goes on from where it failed{}, `windlass fork {id} --from STEP` starts a new one there",
            without.unwrap_or_default()
        );
        terminal::tell(&format!("{} {help}", terminal::bold("help:")));
    }
    // The requests say it better.
    let waiting_for = execution.waiting_for.iter().filter(|_| execution.requests.is_empty());
    waiting_for.for_each(|it| terminal::tell(&format!("{} {it}", yellow("waiting:"))));
    if let Some((step, event)) =
        execution.steps.iter().find_map(|step| Some((step, step.event.as_ref()?)))
    {
        let id = &execution.execution_id;
        let help =
            format!("`windlass signal {id} {event} --data JSON` tells step {} of it", step.name);
        terminal::tell(&format!("{} {help}", terminal::bold("help:")));
    }
    let now = clock::now();
    for request in &execution.requests {
        requests::lines(request, now).iter().for_each(|line| terminal::tell(line));
    }
}

/// What an execution's status means for a script. One that still runs is no failure.
pub(super) fn exit(execution: &Execution) -> Exit {
    match execution.status.as_str() {
        "failed" | "cancelled" => Exit::Failed,
        _ if steps::needs_a_person(execution) => Exit::Waiting,
        _ => Exit::Done,
    }
}
