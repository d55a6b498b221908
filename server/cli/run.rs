//! `windlass run`: starts an execution, shows its steps as they happen, and prints what it resulted in.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    answer,
    arguments::Run,
    ask, caller,
    failure::{Exit, Failure},
    input,
    session::Session,
    signals, status,
    steps::{self, StepLines},
    terminal::{self, yellow},
    validate,
};
use crate::{
    app::{App, Detail, Error, Execution, Priority, RequestView, RunRequest},
    host::{Drive, Host},
};

/// How long one look for changes lasts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nobody looks after a look, for each step that there is.
const REST: Duration = Duration::from_micros(10);

/// What is meant: a workflow that has a name, or the text of a file.
pub(super) enum Subject {
    Workflow(String),
    Document { path: String, text: String },
}

pub(super) async fn run(session: &Session, arguments: Run) -> Result<Exit, Failure> {
    let subject = subject(&arguments.workflow)?;
    let drive = if arguments.detach { Drive::Detached } else { Drive::Own };
    let host = session.host(drive).await?;
    let ran = begin_and_watch(session, &host.app, subject, &arguments).await;
    stop(host).await;
    if let Ok(Exit::Interrupted) = ran {
        leave_to_a_worker(session).await?;
    }
    ran
}

async fn begin_and_watch(
    session: &Session,
    app: &App,
    subject: Subject,
    arguments: &Run,
) -> Result<Exit, Failure> {
    // Caught before anything is shown: whoever reacts to that is heard.
    let interruption = signals::interrupted();
    let execution = begin(session, app, subject, arguments).await?;
    if arguments.detach {
        return Ok(detached(session, &execution));
    }
    let id = execution.execution_id.clone();
    tokio::select! {
        ended = watch(session, app, execution, arguments) => Ok(finish(session, &ended?)),
        () = interruption => Ok(interrupted(session, &id)),
    }
}

fn interrupted(session: &Session, id: &str) -> Exit {
    let message = format!("{id} is not lost; a worker goes on with it");
    if session.json() {
        let error = json!({ "code": "interrupted", "message": message });
        terminal::say_json(&json!({ "execution_id": id, "error": error }));
    } else {
        terminal::tell(&format!("\n{} {message}", yellow("interrupted:")));
        terminal::tell(&format!(
            "`windlass status {id}` shows how it stands, `windlass cancel {id}` ends it"
        ));
        terminal::tell(
            "calls that are out have 8 seconds to come home; Ctrl-C again leaves at once",
        );
    }
    Exit::Interrupted
}

/// A path if it looks like one and is there; a name otherwise.
pub(super) fn subject(workflow: &str) -> Result<Subject, Failure> {
    let path = Path::new(workflow);
    let extension = path.extension().and_then(|extension| extension.to_str());
    let looks_like_a_path =
        workflow.contains('/') || matches!(extension, Some("yaml" | "yml" | "json"));
    if !looks_like_a_path {
        return Ok(Subject::Workflow(workflow.to_owned()));
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Subject::Document { path: workflow.to_owned(), text }),
        Err(error) => {
            let failure = Failure::not_found(
                "unknown_workflow",
                format!("{workflow} cannot be read: {error}"),
            );
            Err(failure
                .help("give the path of a workflow file, or a name that `windlass list` shows"))
        }
    }
}

async fn begin(
    session: &Session,
    app: &App,
    subject: Subject,
    arguments: &Run,
) -> Result<Execution, Failure> {
    match subject {
        Subject::Workflow(name) => {
            let request = request(&app.describe(&name).await?.input_schema, name, arguments)?;
            Ok(app.run(&caller(), request).await?)
        }
        Subject::Document { path, text } => {
            let described = app.describe_document(&text, &path).await;
            let described =
                described.map_err(|error| shown_in_place(session, error, &path, &text))?;
            let request = request(&described.input_schema, described.name, arguments)?;
            Ok(app.run_document(&caller(), &text, &path, request).await?)
        }
    }
}

fn request(schema: &Value, workflow: String, arguments: &Run) -> Result<RunRequest, Failure> {
    Ok(RunRequest {
        workflow,
        input: input::read("--input", schema, arguments.input.as_deref(), &arguments.pairs)?,
        idempotency_key: arguments.idempotency_key.clone(),
        plan: arguments.plan.clone(),
        priority: arguments.priority.as_deref().and_then(Priority::named),
    })
}

/// The problems of a file are best read in their place.
pub(super) fn shown_in_place(session: &Session, error: Error, path: &str, text: &str) -> Failure {
    match error {
        Error::BrokenWorkflow { problems, .. } if !session.json() => {
            for problem in &problems {
                terminal::tell(&validate::framed(path, text, problem));
            }
            Failure::failed("broken_workflow", format!("{path} cannot run as it is"))
        }
        error => error.into(),
    }
}

/// Follows an execution until it has ended or only a person can move it on.
async fn watch(
    session: &Session,
    app: &App,
    execution: Execution,
    arguments: &Run,
) -> Result<Execution, Failure> {
    let mut lines = StepLines::default();
    let mut execution = execution;
    let mut told = String::new();
    let mut asked = BTreeSet::new();
    loop {
        if !session.json() && !arguments.no_watch {
            lines.changes(&execution).iter().for_each(|line| terminal::tell(line));
        }
        if steps::has_ended(&execution) {
            return Ok(execution);
        }
        if let Some(newer) = ask_here(session, app, &execution, &mut asked).await? {
            execution = newer;
            continue;
        }
        if steps::needs_a_person(&execution) && !arguments.watch {
            return Ok(execution);
        }
        let waits_for = execution.waiting_for.clone().unwrap_or_default();
        if told != waits_for && !session.json() {
            status::explain(&execution);
        }
        told = waits_for;
        // A look costs more the more steps have begun: most of the time is left to whoever moves the execution.
        let known = execution.steps.len() + execution.more_steps;
        tokio::time::sleep(REST * u32::try_from(known).unwrap_or(u32::MAX)).await;
        let Execution { execution_id, version, .. } = &execution;
        execution = app.changed(execution_id, *version, PATIENCE, Detail::Steps).await?;
    }
}

/// Asks whoever watches what has not been asked before; how the execution stands after an answer.
async fn ask_here(
    session: &Session,
    app: &App,
    execution: &Execution,
    asked: &mut BTreeSet<String>,
) -> Result<Option<Execution>, Failure> {
    if !ask::can_ask(session) {
        return Ok(None);
    }
    let is_new = |request: &&RequestView| asked.insert(request.request_id.clone());
    let Some(request) = execution.requests.iter().find(is_new) else { return Ok(None) };
    let Some(said) = ask::answer(request).await? else { return Ok(None) };
    match app.answer(&caller(), &request.request_id, said, answer::VERIFIED).await {
        // It may be that of an execution below the one that is watched.
        Ok(_) => Ok(Some(app.status(&execution.execution_id, Detail::Steps).await?)),
        Err(Error::Store(error)) => Err(Error::Store(error).into()),
        // Somebody else was faster, or has to answer: the execution can still be watched.
        Err(error) => {
            terminal::tell(&format!("{} {error}", yellow("not answered:")));
            Ok(None)
        }
    }
}

fn finish(session: &Session, execution: &Execution) -> Exit {
    if session.json() {
        terminal::say_json(execution);
        return status::exit(execution);
    }
    terminal::tell(&steps::summary(execution));
    status::explain(execution);
    if let Some(output) = &execution.output {
        terminal::say(&terminal::pretty(output));
    } else {
        let id = &execution.execution_id;
        terminal::tell(&format!(
            "{} `windlass status {id} --results` shows what was done",
            terminal::bold("help:")
        ));
    }
    status::exit(execution)
}

fn detached(session: &Session, execution: &Execution) -> Exit {
    if session.json() {
        terminal::say_json(execution);
    } else {
        let id = &execution.execution_id;
        terminal::say(id);
        terminal::tell(&format!("`windlass status {id} --wait 60` waits for it"));
    }
    Exit::Done
}

/// Whoever interrupts a second time does not want to wait for an orderly end.
async fn stop(host: Host) {
    tokio::select! {
        () = host.stop() => {}
        () = signals::interrupted() => {}
    }
}

/// A process that only asks starts a worker for what it finds undone.
async fn leave_to_a_worker(session: &Session) -> Result<(), Failure> {
    let host = session.host(Drive::Detached).await?;
    host.app.ensure_worker().await;
    host.stop().await;
    Ok(())
}
