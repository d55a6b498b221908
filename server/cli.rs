//! The door for terminals: reads the command line, calls the application, renders the answer.

mod accept;
mod answer;
mod arguments;
mod artifacts;
mod ask;
mod bench;
mod cancel;
mod control;
mod demo;
mod diff;
mod enable;
mod event;
mod failure;
mod input;
mod list;
mod logs;
mod plan;
mod requests;
mod resolve;
mod revisions;
mod run;
mod save;
mod schema;
mod serve;
mod session;
mod signals;
mod status;
mod steps;
mod terminal;
mod tool_server;
mod tools;
mod tree;
mod usage;
mod validate;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{
    app::Caller,
    config::{Config, DEFAULTS, ToolNames},
};
use arguments::{Arguments, Command};
use failure::{Exit, Failure};
use session::Session;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    logs::start(&arguments);
    // A provider that is already there is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let json = arguments.shared.json;
    match start(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.show(json),
    }
}

/// Who asks when somebody types.
pub(crate) fn caller() -> Caller {
    Caller {
        name: Caller::LOCAL.to_owned(),
        on_behalf_of: None,
        client_name: Some("windlass".to_owned()),
        client_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        at_terminal: true,
        // As programs hand their trace to those that they start.
        traceparent: std::env::var("TRACEPARENT").ok(),
        tracestate: std::env::var("TRACESTATE").ok(),
    }
}

fn start(arguments: Arguments) -> Result<Exit, Failure> {
    if let Command::Worker = arguments.command {
        return worker::run();
    }
    let runtime = runtime(&arguments.command).map_err(anyhow::Error::from)?;
    let exit = runtime.block_on(dispatch(arguments));
    // A read from standard input cannot be interrupted; the process does not wait for it.
    runtime.shutdown_background();
    exit
}

/// One thread starts faster and is enough for one caller; many callers get all of the machine.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    match command {
        Command::Serve(serve) if serve.http.is_some() => {
            Builder::new_multi_thread().enable_all().build()
        }
        Command::ToolServer(alone) if alone.http.is_some() => {
            Builder::new_multi_thread().enable_all().build()
        }
        Command::Bench(_) => Builder::new_multi_thread().enable_all().build(),
        _ => Builder::new_current_thread().enable_all().build(),
    }
}

async fn dispatch(arguments: Arguments) -> Result<Exit, Failure> {
    let session = Session::new(arguments.shared);
    match arguments.command {
        Command::Run(arguments) => run::run(&session, arguments).await,
        Command::Plan(arguments) => plan::run(&session, arguments).await,
        Command::List(arguments) => list::run(&session, &arguments).await,
        Command::Status(arguments) => status::run(&session, &arguments).await,
        Command::Cancel(arguments) => cancel::run(&session, arguments).await,
        Command::Pause(arguments) => control::pause(&session, arguments).await,
        Command::Resume(arguments) => control::resume(&session, &arguments).await,
        Command::Retry(arguments) => control::retry(&session, arguments).await,
        Command::Resolve(arguments) => resolve::run(&session, arguments).await,
        Command::Skip(arguments) => control::skip(&session, arguments).await,
        Command::Fork(arguments) => control::fork(&session, arguments).await,
        Command::Checkpoints(arguments) => control::checkpoints(&session, &arguments).await,
        Command::Requests => requests::run(&session).await,
        Command::Answer(arguments) => answer::run(&session, arguments).await,
        Command::Approve(arguments) => answer::decide(&session, arguments, true).await,
        Command::Reject(arguments) => answer::decide(&session, arguments, false).await,
        Command::Signal(arguments) => event::run(&session, arguments).await,
        Command::Validate(arguments) => validate::run(&session, &arguments).await,
        Command::Save(arguments) => save::run(&session, arguments).await,
        Command::Revisions(arguments) => revisions::run(&session, &arguments).await,
        Command::Diff(arguments) => diff::run(&session, &arguments).await,
        Command::Enable(arguments) => enable::run(&session, &arguments, true).await,
        Command::Disable(arguments) => enable::run(&session, &arguments, false).await,
        Command::Accept(arguments) => accept::run(&session, &arguments).await,
        Command::Tools(arguments) => tools::run(&session, &arguments).await,
        Command::Serve(arguments) => serve::run(&session, arguments).await,
        Command::ToolServer(arguments) => tool_server::run(&session, arguments).await,
        Command::Usage(arguments) => usage::run(&session, &arguments).await,
        Command::Artifacts(arguments) => artifacts::list(&session, &arguments).await,
        Command::Artifact(arguments) => artifacts::write(&session, &arguments).await,
        Command::Demo(arguments) => demo::run(&session, arguments).await,
        Command::Bench(arguments) => bench::run(&session, arguments).await,
        Command::Schema => Ok(schema::run()),
        Command::Config => Ok(settings(&session)),
        Command::Worker => worker::run(),
        Command::Version => Ok(version(&session)),
    }
}

fn settings(session: &Session) -> Exit {
    if session.json() {
        terminal::say_json(&set(serde_json::to_value(Config::default()).unwrap_or_default()));
    } else {
        terminal::say(DEFAULTS.trim_end());
    }
    Exit::Done
}

/// Without the settings that nothing is set for, which TOML has no word for either.
fn set(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let set_ones = members.into_iter().filter(|(_, value)| !value.is_null());
            set_ones.map(|(name, value)| (name, set(value))).collect()
        }
        other => other,
    }
}

fn version(session: &Session) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if session.json() {
        terminal::say_json(&serde_json::json!({ "name": "windlass", "version": version }));
    } else {
        terminal::say(&format!("windlass {version}"));
    }
    Exit::Done
}

/// What clap has to say, in the form that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let asked_for_json = std::env::args().any(|argument| argument == "--json");
    if !error.use_stderr() || !asked_for_json {
        error.exit();
    }
    let message = error.render().to_string();
    Failure::usage(message.trim().trim_start_matches("error: ")).show(true)
}
