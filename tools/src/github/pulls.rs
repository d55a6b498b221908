//! Pull requests and reviews: what GitHub answers about them and how the tools pass it on.

mod create;
mod diff;
pub(super) mod files;
mod get;
mod list;
mod merge;
mod patch;
mod request_reviewers;
mod review;
mod reviews;
mod update;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Github;
use super::issues::User;
use super::schemas::{optional, untrusted, user};
use crate::contract::Tool;
use crate::contract::text::without_invisible;

/// The tools that work on pull requests.
pub(super) fn tools() -> Vec<Tool<Github>> {
    vec![
        create::tool(),
        get::tool(),
        list::tool(),
        update::tool(),
        diff::tool(),
        files::tool(),
        review::tool(),
        reviews::reviews_tool(),
        reviews::comments_tool(),
        request_reviewers::tool(),
        merge::tool(),
    ]
}

/// A pull request as GitHub answers it, as far as we read it.
#[derive(Debug, Deserialize)]
struct Pull {
    number: u64,
    title: String,
    body: Option<String>,
    state: String,
    #[serde(default)]
    draft: bool,
    user: Option<User>,
    html_url: String,
    created_at: String,
    updated_at: Option<String>,
    merged_at: Option<String>,
    merge_commit_sha: Option<String>,
    head: Side,
    base: Side,
    #[serde(default)]
    labels: Vec<Named>,
    #[serde(default)]
    requested_reviewers: Vec<User>,
    #[serde(default)]
    requested_teams: Vec<Team>,
    // What lists leave out.
    mergeable: Option<bool>,
    mergeable_state: Option<String>,
    merged: Option<bool>,
    additions: Option<u64>,
    deletions: Option<u64>,
    changed_files: Option<u64>,
    commits: Option<u64>,
}

/// One end of a pull request.
#[derive(Debug, Deserialize, Serialize)]
struct Side {
    #[serde(rename = "ref")]
    branch: String,
    sha: String,
    repo: Option<Place>,
}

/// The repository that an end is in; none when a fork was deleted.
#[derive(Debug, Deserialize, Serialize)]
struct Place {
    full_name: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Team {
    slug: String,
}

impl Side {
    fn shape(&self) -> Value {
        let repo = self.repo.as_ref().map(|repo| &repo.full_name);
        json!({ "ref": self.branch, "sha": self.sha, "repo": repo })
    }
}

impl Pull {
    fn is_merged(&self) -> bool {
        self.merged.unwrap_or(self.merged_at.is_some())
    }

    /// The pull request as tools answer it.
    fn shape(&self) -> Value {
        let labels: Vec<_> =
            self.labels.iter().map(|label| without_invisible(&label.name)).collect();
        let reviewers: Vec<_> = self.requested_reviewers.iter().map(|user| &user.login).collect();
        json!({
            "number": self.number,
            "title": without_invisible(&self.title),
            "body": without_invisible(self.body.as_deref().unwrap_or_default()),
            "state": self.state,
            "draft": self.draft,
            "user": self.user.as_ref().map(User::shape),
            "labels": labels,
            "requested_reviewers": reviewers,
            "html_url": self.html_url,
            "head": self.head.shape(),
            "base": self.base.shape(),
            "merged": self.is_merged(),
            "merged_at": self.merged_at,
            "merge_commit_sha": self.merge_commit_sha,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "untrusted": true,
        })
    }

    /// With what only the pull request's own route tells.
    fn full_shape(&self) -> Value {
        let mut shape = self.shape();
        shape["mergeable"] = json!(self.mergeable);
        shape["mergeable_state"] = json!(self.mergeable_state);
        shape["additions"] = json!(self.additions.unwrap_or_default());
        shape["deletions"] = json!(self.deletions.unwrap_or_default());
        shape["changed_files"] = json!(self.changed_files.unwrap_or_default());
        shape["commits"] = json!(self.commits.unwrap_or_default());
        shape
    }
}

/// The schemas of a pull request's members, as lists have them.
fn members() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let side = json!({
        "type": "object", "required": ["ref", "sha"],
        "properties": { "ref": text, "sha": text, "repo": optional() },
    });
    json!({
        "number": { "type": "integer" }, "title": text, "body": text, "state": text,
        "draft": { "type": "boolean" }, "user": user(), "labels": texts, "requested_reviewers": texts,
        "html_url": text, "head": side, "base": side,
        "merged": { "type": "boolean" }, "merged_at": optional(), "merge_commit_sha": optional(),
        "created_at": text, "updated_at": optional(), "untrusted": untrusted(),
    })
}

/// The schemas of the members that only the pull request's own route tells.
fn full_members() -> Value {
    let count = json!({ "type": "integer" });
    let mut members = members();
    members["mergeable"] = json!({ "type": ["boolean", "null"], "description": "null while GitHub has not worked it out" });
    members["mergeable_state"] = optional();
    for key in ["additions", "deletions", "changed_files", "commits"] {
        members[key] = count.clone();
    }
    members
}

/// What a list may leave out when it is asked for some fields only.
const FIELDS: [&str; 16] = [
    "number",
    "title",
    "body",
    "state",
    "draft",
    "user",
    "labels",
    "requested_reviewers",
    "html_url",
    "head",
    "base",
    "merged",
    "merged_at",
    "merge_commit_sha",
    "created_at",
    "updated_at",
];
