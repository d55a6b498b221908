//! What was released, and what was deployed where.

use serde::Serialize;
use serde_json::Value;

/// A release.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    /// Its id.
    pub id: u64,
    /// The tag it is for.
    pub tag: String,
    /// Where the tag is made when there is none.
    pub target: String,
    /// Its name.
    pub name: Option<String>,
    /// Its text.
    pub body: Option<String>,
    /// Whether it is not published.
    pub draft: bool,
    /// Whether it is not for everybody.
    pub prerelease: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Deployment {
    /// Its id.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// What was named.
    pub git_ref: String,
    /// `deploy` and the like.
    pub task: String,
    /// Where to.
    pub environment: String,
    /// For people.
    pub description: Option<String>,
    /// For programs.
    pub payload: Value,
    /// Whether it is where users are.
    pub production: bool,
    /// Whether it will go away.
    pub transient: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// How it went, oldest first.
    pub statuses: Vec<DeploymentStatus>,
}

/// How a deployment is going.
#[derive(Debug, Clone, Serialize)]
pub struct DeploymentStatus {
    /// Its id.
    pub id: u64,
    /// `in_progress`, `success` and the like.
    pub state: String,
    /// For people.
    pub description: String,
    /// Where the log is.
    pub log_url: String,
    /// Where to look at what was deployed.
    pub environment_url: String,
    /// When it was set, in milliseconds since 1970.
    pub created_ms: u64,
}
