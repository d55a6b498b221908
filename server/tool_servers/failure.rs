//! What went wrong, in the words that a step's history keeps.

use rmcp::model::{ErrorCode, ErrorData};

use super::{
    Failure, Outcome,
    catalogue::Entry,
    pipe::{TOO_LARGE, UNREADABLE},
};

/// Longer messages are cut.
const LONGEST_MESSAGE: usize = 8_000;

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>, retryable: Option<bool>) -> Failure {
        Failure { code: code.to_owned(), message: message.into(), retryable, retry_after_ms: None }
    }

    /// Nothing happened, and later it may work.
    pub(super) fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new("unavailable", message, Some(true))
    }

    pub(super) fn connection_lost(message: impl Into<String>) -> Failure {
        Failure::new("connection_lost", message, None)
    }

    pub(super) fn after(mut self, retry_after_ms: Option<u64>) -> Failure {
        self.retry_after_ms = retry_after_ms;
        self
    }

    /// The same, with its message passed through `change` and cut to a size that can be stored.
    pub(super) fn told(mut self, change: impl Fn(&str) -> String) -> Failure {
        self.message = change(&self.message);
        if LONGEST_MESSAGE < self.message.len() {
            let cut = self.message.floor_char_boundary(LONGEST_MESSAGE);
            self.message.truncate(cut);
            self.message.push_str(" …");
        }
        self
    }
}

impl Outcome {
    /// The call may or may not have happened.
    pub(super) fn uncertain(failure: Failure, entry: &Entry) -> Outcome {
        Outcome::Uncertain { failure, repeatable: entry.repeatable() }
    }

    /// The call happened, but what came back cannot be used: to call again is right only where it does no harm.
    pub(super) fn unusable(failure: Failure, entry: &Entry) -> Outcome {
        if entry.repeatable() {
            Outcome::Failed(failure)
        } else {
            Outcome::Uncertain { failure, repeatable: false }
        }
    }

    /// The same, with the message of its failure passed through `change`.
    pub(super) fn told(self, change: impl Fn(&str) -> String) -> Outcome {
        match self {
            Outcome::Succeeded(value) => Outcome::Succeeded(value),
            Outcome::Failed(failure) => Outcome::Failed(failure.told(change)),
            Outcome::Uncertain { failure, repeatable } => {
                Outcome::Uncertain { failure: failure.told(change), repeatable }
            }
        }
    }
}

/// What a JSON-RPC error in answer to a call means.
pub(super) fn of_rpc_error(error: &ErrorData, entry: &Entry) -> Outcome {
    let name = &entry.info.name;
    let message = &error.message;
    let failed =
        |code, retryable, text: String| Outcome::Failed(Failure::new(code, text, retryable));
    match error.code {
        TOO_LARGE => failed(
            "result_too_large",
            Some(false),
            format!("{name} was called, but {message}; ask it for less, or for pages"),
        ),
        UNREADABLE => Outcome::unusable(
            Failure::new(
                "invalid_result",
                format!("{name} was called, but {message}"),
                Some(false),
            ),
            entry,
        ),
        ErrorCode::INVALID_PARAMS => failed(
            "invalid_argument",
            Some(false),
            format!("{name} refused its arguments: {message}"),
        ),
        ErrorCode::METHOD_NOT_FOUND => failed(
            "unknown_tool",
            Some(false),
            format!("the tool server does not know {name}: {message}"),
        ),
        ErrorCode(number) => failed(
            "tool_error",
            None,
            format!("{name} failed: {message} (JSON-RPC error {number})"),
        ),
    }
}
