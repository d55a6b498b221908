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

    /// Somebody else makes the call.
    pub(super) fn lease_lost() -> Failure {
        let text = "the execution is driven by another worker now; the call was not made";
        Failure::new("lease_lost", text, Some(true))
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
    /// What it is, in a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Outcome::Succeeded(_) => "succeeded",
            Outcome::NotDone(_) => "not_done",
            Outcome::Failed(_) => "failed",
            Outcome::Uncertain { .. } => "uncertain",
        }
    }

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
            Outcome::Succeeded(_) | Outcome::NotDone(_) => self,
            Outcome::Failed(failure) => Outcome::Failed(failure.told(change)),
            Outcome::Uncertain { failure, repeatable } => {
                Outcome::Uncertain { failure: failure.told(change), repeatable }
            }
        }
    }
}

/// Who may have written a JSON-RPC error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Teller {
    /// The tool server itself, which knows that the tool failed.
    Tool,
    /// Perhaps somebody in between, who only knows that no answer came.
    Anybody,
}

impl Teller {
    /// Proxies and SDKs report time-outs and closed connections under these numbers.
    fn may_not_know(self, code: ErrorCode) -> bool {
        self == Teller::Anybody && matches!(code.0, -32_000 | -32_001 | -32_603)
    }
}

/// What a JSON-RPC error in answer to a call means.
pub(super) fn of_rpc_error(error: &ErrorData, entry: &Entry, teller: Teller) -> Outcome {
    let name = &entry.info.name;
    let message = &error.message;
    let failed =
        |code, retryable, text: String| Outcome::Failed(Failure::new(code, text, retryable));
    match error.code {
        TOO_LARGE => Outcome::unusable(
            Failure::new(
                "result_too_large",
                format!("{name} was called, but {message}; ask it for less, or for pages"),
                Some(false),
            ),
            entry,
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
        code => {
            let text = format!("{name} failed: {message} (JSON-RPC error {})", code.0);
            let failure = Failure::new("tool_error", text, None);
            if teller.may_not_know(code) {
                Outcome::unusable(failure, entry)
            } else {
                Outcome::Failed(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool_servers::{catalogue::Catalogue, pipe};

    fn entry(retry_class: &str) -> std::sync::Arc<Entry> {
        let tool = serde_json::json!({
            "name": "tool", "inputSchema": { "type": "object" },
            "_meta": { "dev.windlass/retry_class": retry_class },
        });
        let catalogue = Catalogue::new("server", vec![serde_json::from_value(tool).unwrap()], None);
        catalogue.find("tool").unwrap().clone()
    }

    /// The code, and whether nobody knows what happened.
    fn told(number: i32, retry_class: &str, teller: Teller) -> (String, bool) {
        let error = ErrorData::new(ErrorCode(number), "no", None);
        match of_rpc_error(&error, &entry(retry_class), teller) {
            Outcome::Failed(failure) => (failure.code, false),
            Outcome::Uncertain { failure, repeatable } => {
                assert!(!repeatable && failure.message.contains("no"), "{failure:?}");
                (failure.code, true)
            }
            Outcome::Succeeded(value) | Outcome::NotDone(value) => panic!("no failure: {value}"),
        }
    }

    #[test]
    fn an_error_that_a_proxy_may_have_written_leaves_a_call_uncertain_that_may_not_be_repeated() {
        for number in [-32_000, -32_001, -32_603] {
            let check = |retry_class, teller, uncertain| {
                let expected = ("tool_error".to_owned(), uncertain);
                assert_eq!(told(number, retry_class, teller), expected, "{number} {retry_class}");
            };
            check("unsafe", Teller::Anybody, true);
            check("unsafe", Teller::Tool, false);
            for repeatable in ["read", "idempotent", "keyed"] {
                check(repeatable, Teller::Anybody, false);
            }
        }
        for (number, code) in
            [(-32_602, "invalid_argument"), (-32_601, "unknown_tool"), (17, "tool_error")]
        {
            let expected = (code.to_owned(), false);
            assert_eq!(told(number, "unsafe", Teller::Anybody), expected, "{number}");
        }
    }

    #[test]
    fn a_result_that_cannot_be_used_means_that_the_call_happened() {
        for (number, code) in
            [(pipe::TOO_LARGE.0, "result_too_large"), (pipe::UNREADABLE.0, "invalid_result")]
        {
            for teller in [Teller::Tool, Teller::Anybody] {
                assert_eq!(told(number, "unsafe", teller), (code.to_owned(), true));
                assert_eq!(told(number, "keyed", teller), (code.to_owned(), false));
            }
        }
    }
}
