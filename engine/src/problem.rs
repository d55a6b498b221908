//! What is wrong with something a person or a model wrote.

use serde::Serialize;

/// One thing that is wrong, where it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// Stable, for machines: `unknown_key`, `unknown_step`, `syntax` …
    pub code: &'static str,
    /// JSON Pointer (RFC 6901) of the place in the document or input.
    pub pointer: String,
    /// Counted from 1; 0 where there is no text to point at.
    pub line: usize,
    /// Counted from 1, in characters; 0 where there is no text to point at.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// What to write instead, where one thing is the obvious choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        } else if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}
