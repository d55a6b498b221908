//! What went wrong, as an exit code, a sentence and a next step.

use std::process::ExitCode;

use serde_json::json;

use super::terminal;
use crate::{app, config, tool_servers};

/// How the process ends; documented in `--help`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exit {
    /// Done; the execution completed.
    Done = 0,
    /// The execution failed or was cancelled, or a document has problems.
    Failed = 1,
    /// The command line, the configuration or the input is wrong.
    Usage = 2,
    /// There is no such workflow, execution, step or tool server.
    NotFound = 3,
    /// The execution waits for a person.
    Waiting = 4,
    /// Something else failed: the database, a tool server.
    Ours = 5,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// Something else failed: the database, a tool server, a file.
    pub(super) fn ours(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Ours, code: "failed", message: message.into(), help: None }
    }

    /// The command line is wrong.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, code: "usage", message: message.into(), help: None }
    }

    /// Something that was named does not exist.
    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { exit: Exit::NotFound, code, message: message.into(), help: None }
    }

    /// The execution or a document is to blame; `code` is for machines.
    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, code, message: message.into(), help: None }
    }

    /// The same, with what to do next.
    pub(super) fn help(self, help: impl Into<String>) -> Failure {
        Failure { help: Some(help.into()), ..self }
    }

    /// Tells whoever asked, and gives the exit code.
    pub(super) fn show(&self, json: bool) -> ExitCode {
        if json {
            terminal::say_json(&self.to_json());
        } else {
            terminal::tell(&format!("{} {}", terminal::red("error:"), self.message));
            if let Some(help) = &self.help {
                terminal::tell(&format!("{} {help}", terminal::bold("help:")));
            }
        }
        self.exit.into()
    }

    fn to_json(&self) -> serde_json::Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(help) = &self.help {
            error["help"] = json!(help);
        }
        json!({ "error": error })
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure { exit: Exit::Usage, code: "configuration", message: error.to_string(), help: None }
    }
}

/// What a process that is put together or torn down has to say.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast::<config::Error>() {
            Ok(error) => error.into(),
            Err(error) if error.is::<tool_servers::ConfigError>() => Failure {
                exit: Exit::Usage,
                code: "configuration",
                message: format!("{error:#}"),
                help: Some("`windlass config` shows every setting with its meaning".to_owned()),
            },
            Err(error) => Failure::ours(format!("{error:#}")),
        }
    }
}

impl From<app::Error> for Failure {
    fn from(error: app::Error) -> Failure {
        let message = error.to_string();
        let (exit, code, help) = match &error {
            app::Error::UnknownWorkflow { .. } => (
                Exit::NotFound,
                "unknown_workflow",
                "`windlass list` shows every workflow; a file is run by its path",
            ),
            app::Error::BrokenWorkflow { .. } => (
                Exit::Failed,
                "broken_workflow",
                "`windlass validate FILE` shows each problem in its place",
            ),
            app::Error::Disabled { name } => {
                return Failure { exit: Exit::Usage, code: "disabled", message, help: None }
                    .help(format!("`windlass enable {name}` switches it on again"));
            }
            app::Error::NotSaved(_) => (
                Exit::Usage,
                "not_saved",
                "`windlass revisions NAME` shows a workflow's revisions and who made them",
            ),
            app::Error::InvalidInput { .. } => (
                Exit::Usage,
                "invalid_input",
                "give inputs as key=value or --input JSON; `windlass run --help` shows how",
            ),
            app::Error::KeyReused { .. } => (
                Exit::Usage,
                "idempotency_key_reused",
                "leave --idempotency-key off to start another execution",
            ),
            app::Error::UnknownExecution(_) => (
                Exit::NotFound,
                "unknown_execution",
                "`windlass list --executions` shows this workspace's; --workspace chooses another",
            ),
            app::Error::UnknownRequest(_) => {
                (Exit::NotFound, "unknown_request", "`windlass requests` shows those that are open")
            }
            app::Error::InvalidAnswer { .. } => {
                (Exit::Usage, "invalid_answer", "`windlass requests` shows what is asked for")
            }
            app::Error::UnknownStep { .. } => {
                (Exit::NotFound, "unknown_step", "`windlass status ID` shows the execution's steps")
            }
            app::Error::Plan { code, .. } => {
                (Exit::Usage, *code, "`windlass plan NAME` makes a new plan, which changes nothing")
            }
            app::Error::Refused(_) => {
                (Exit::Usage, "refused", "`windlass status ID` shows how the execution stands")
            }
            app::Error::ToolServers(error) => return error.into(),
            app::Error::UncertainStart(_) => {
                (Exit::Ours, "uncertain_start", "`windlass status ID` shows whether it is there")
            }
            app::Error::Store(_) | app::Error::Revision(_) => {
                (Exit::Ours, "database", "`--database` or WINDLASS_DATABASE names the database")
            }
        };
        Failure { exit, code, message, help: Some(help.to_owned()) }
    }
}

impl From<&tool_servers::Error> for Failure {
    fn from(error: &tool_servers::Error) -> Failure {
        let (exit, code) = match error {
            tool_servers::Error::UnknownServer { .. } => (Exit::NotFound, "unknown_tool_server"),
            tool_servers::Error::UnknownTool { .. } => (Exit::NotFound, "unknown_tool"),
            tool_servers::Error::Unreachable { .. } => (Exit::Ours, "unreachable"),
        };
        let help = Some("`windlass tools` shows every tool server and what it offers".to_owned());
        Failure { exit, code, message: error.to_string(), help }
    }
}
