//! What people say about pull requests, and how they react.

use serde::Serialize;

/// A review of a pull request.
#[derive(Debug, Clone, Serialize)]
pub struct Review {
    /// Its id.
    pub id: u64,
    /// The login of who reviewed.
    pub user: String,
    /// What is said about the whole.
    pub body: String,
    /// `COMMENTED`, `APPROVED`, `CHANGES_REQUESTED` or `DISMISSED`.
    pub state: String,
    /// The commit that was reviewed.
    pub commit: String,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: u64,
}

/// A comment on a line of a pull request.
#[derive(Debug, Clone, Serialize)]
pub struct LineComment {
    /// Its id.
    pub id: u64,
    /// The review it came with.
    pub review: Option<u64>,
    /// The comment that it answers.
    pub in_reply_to: Option<u64>,
    /// The file.
    pub path: String,
    /// The line, the last one of several.
    pub line: u64,
    /// The first line of several.
    pub start_line: Option<u64>,
    /// `LEFT` or `RIGHT`.
    pub side: String,
    /// The text.
    pub body: String,
    /// The login of its author.
    pub user: String,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// Its id.
    pub id: u64,
    /// The login of who reacted.
    pub user: String,
    /// `+1`, `rocket` and the like.
    pub content: String,
    /// When, in milliseconds since 1970.
    pub created_ms: u64,
}
