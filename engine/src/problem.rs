//! What is wrong with something a person or a model wrote.

use serde::Serialize;
use serde_json::Value;

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
    /// What belongs in that place: a type, or what is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The known names that are close to a wrong one, the closest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// A JSON Patch (RFC 6902) of the document that mends it, where one repair is obvious.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<PatchOperation>,
}

/// One operation of a JSON Patch (RFC 6902).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum PatchOperation {
    /// Puts a value where there is none, or into a list.
    Add {
        /// JSON Pointer.
        path: String,
        /// The value.
        value: Value,
    },
    /// Takes a value away.
    Remove {
        /// JSON Pointer.
        path: String,
    },
    /// Puts a value in the place of another.
    Replace {
        /// JSON Pointer.
        path: String,
        /// The value.
        value: Value,
    },
    /// Gives a value another place, a key another name say.
    Move {
        /// JSON Pointer of where it is.
        from: String,
        /// JSON Pointer of where it belongs.
        path: String,
    },
}

impl Problem {
    /// A problem of which only this is known yet: no place in a text, no repair.
    #[must_use]
    pub fn new(
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            code,
            pointer: pointer.into(),
            line: 0,
            column: 0,
            message: message.into(),
            suggestion: None,
            expected: None,
            found: None,
            nearest: Vec::new(),
            patch: Vec::new(),
        }
    }
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

/// The names that are close to a wrong one, the closest first.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wrong_lower = wrong.to_lowercase();
    let mut close: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| (likeness(&wrong_lower, &name.to_lowercase()), name))
        .filter(|(likeness, _)| 0.75 <= *likeness)
        .collect();
    close.sort_by(|left, right| right.0.total_cmp(&left.0));
    close.into_iter().map(|(_, name)| name).take(3).collect()
}

/// From 0 to 1.
fn likeness(left: &str, right: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(left, right);
    edits.max(strsim::jaro_winkler(left, right) - 0.1)
}
