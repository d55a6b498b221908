//! Why a user's wish was not granted.

use windlass_engine::Problem;

use crate::{revisions, store, tool_servers};

/// Why a user's wish was not granted. All but [`Error::UncertainStart`], [`Error::Store`] and [`Error::Revision`] are the
/// caller's mistake: an answer, not a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Names the nearest and the known ones.
    #[error("no workflow is called {name:?}{hint}")]
    UnknownWorkflow {
        /// What was asked for.
        name: String,
        /// `; did you mean …? Known: …`
        hint: String,
    },
    /// The workflow's file has problems, so it cannot run.
    #[error("workflow {name:?} cannot run: {}", list(.problems))]
    BrokenWorkflow {
        /// Its name.
        name: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Somebody switched it off.
    #[error("workflow {name:?} is disabled; nothing new is started")]
    Disabled {
        /// Its name.
        name: String,
    },
    /// What was asked of a workflow or its revisions does not fit; says what would.
    #[error("{0}")]
    NotSaved(String),
    /// Each problem names a path and what is allowed.
    #[error("the input of {workflow:?} does not fit: {}", list(.problems))]
    InvalidInput {
        /// The workflow's name.
        workflow: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// The key was used before with another workflow or input.
    #[error(
        "idempotency key {key:?} was used for execution {execution_id} with other input; use a new key to run again, or the same input to find that execution"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// The execution it belongs to.
        execution_id: String,
    },
    /// Also when the execution belongs to another workspace.
    #[error(
        "no execution has the id {0:?} in this workspace; without an id, the status lists the newest ones"
    )]
    UnknownExecution(String),
    /// Also when the request belongs to another workspace.
    #[error(
        "no request has the id {0:?} in this workspace; the status of an execution lists those that are open"
    )]
    UnknownRequest(String),
    /// Each problem names a path and what is allowed.
    #[error("the answer to {request} does not fit: {}", list(.problems))]
    InvalidAnswer {
        /// The request.
        request: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// Names the steps there are.
    #[error("execution {execution_id} has no step {step:?}; its steps: {known}")]
    UnknownStep {
        /// The execution.
        execution_id: String,
        /// What was asked for.
        step: String,
        /// The names there are.
        known: String,
    },
    /// A plan that cannot be made, or that a run cannot hold on to; says why and what to do.
    #[error("{message}")]
    Plan {
        /// Stable, for machines.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The request does not fit the state; says what would.
    #[error("{0}")]
    Refused(String),
    /// A tool server question that has no answer.
    #[error(transparent)]
    ToolServers(#[from] tool_servers::Error),
    /// Ours, not the caller's: the database was asked to start this execution, and cannot be asked what became of it.
    #[error(
        "nobody can tell whether execution {0} was started; look at its status in half a minute, and run again when there is none"
    )]
    UncertainStart(String),
    /// Ours, not the caller's.
    #[error(transparent)]
    Store(store::Error),
    /// Ours, not the caller's.
    #[error(transparent)]
    Revision(#[from] revisions::Error),
}

impl Error {
    /// Whether the database is away or busy, so that the same may succeed in a moment.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Store(error) | Error::Revision(revisions::Error::Store(error)) => {
                error.is_passing()
            }
            _ => false,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Uncertain(execution_id) => Error::UncertainStart(execution_id),
            error => Error::Store(error),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
