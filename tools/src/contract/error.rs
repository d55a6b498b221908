//! The one form in which tools say that they failed.

use rmcp::model::{CallToolResult, ContentBlock};
use serde::Serialize;
use serde_json::json;

/// Why a tool failed, in a word that programs may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The arguments are wrong; the same call will fail again.
    InvalidArgument,
    /// There are no credentials, or they are not accepted.
    Unauthenticated,
    /// The credentials do not allow this.
    PermissionDenied,
    /// What was named does not exist, or may not be seen.
    NotFound,
    /// Something else is in the way.
    Conflict,
    /// The world is not in the state that this needs.
    FailedPrecondition,
    /// Too many calls: wait as long as `retry_after_ms` says.
    RateLimited,
    /// The service cannot be reached or fails; nothing was done, or doing it again is safe.
    Unavailable,
    /// The service took too long over something that changes nothing.
    DeadlineExceeded,
    /// It may have happened or not.
    OutcomeUnknown,
    /// A rule of this server's configuration forbids it.
    Guardrail,
    /// The caller does not want it any more.
    Cancelled,
    /// A defect of the tool.
    Internal,
}

/// How a tool failed.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// The kind of failure.
    pub code: Code,
    /// What was wrong, of which.
    pub message: String,
    /// Whether calling again may help and does no harm.
    pub retryable: bool,
    /// How long to wait before that.
    pub retry_after_ms: Option<u64>,
    /// What to do next.
    pub hint: Option<String>,
    /// What the outside service said.
    pub provider: Option<Box<Provider>>,
}

/// What an outside service said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// Its name.
    pub name: &'static str,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The request's id, for its support.
    pub request_id: Option<String>,
    /// Where it explains the refusal.
    pub documentation_url: Option<String>,
    /// A word for the particular case, such as `no_changes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Code {
    /// Whether calling again may help, unless the tool knows better.
    fn retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable | Self::DeadlineExceeded => true,
            Self::InvalidArgument
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::NotFound
            | Self::Conflict
            | Self::FailedPrecondition
            | Self::OutcomeUnknown
            | Self::Guardrail
            | Self::Cancelled
            | Self::Internal => false,
        }
    }
}

impl ToolError {
    /// A failure of a kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
            hint: None,
            provider: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The HTTP status the outside service answered with.
    pub fn status(&self) -> Option<u16> {
        self.provider.as_ref().and_then(|provider| provider.status)
    }

    /// The failure as a tool result: a sentence for readers, an object for programs.
    pub(super) fn into_result(self) -> CallToolResult {
        let sentence = match &self.hint {
            Some(hint) => format!("{}. {hint}", self.message.trim_end_matches('.')),
            None => self.message.clone(),
        };
        let mut result = CallToolResult::error(vec![ContentBlock::text(sentence)]);
        result.structured_content = Some(json!({ "error": self }));
        result
    }
}
