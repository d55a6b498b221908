//! Issues: what GitHub answers about them and how the tools pass it on.

mod add_comment;
mod create;
mod get;
mod label;
mod list;
mod list_comments;
mod milestones;
mod react;
mod search;
mod update;

use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::milestones::Milestone as MilestoneName;
use super::Github;
use super::schemas::{optional, untrusted, user};
use crate::contract::Tool;
use crate::contract::text::without_invisible;

/// The tools that work on issues.
pub(super) fn tools() -> Vec<Tool<Github>> {
    vec![
        get::tool(),
        list::tool(),
        search::tool(),
        create::tool(),
        update::tool(),
        add_comment::tool(),
        list_comments::tool(),
        label::add_tool(),
        label::remove_tool(),
        react::tool(),
    ]
}

/// An issue as GitHub answers it, as far as we read it.
#[derive(Debug, Deserialize)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) state: String,
    state_reason: Option<String>,
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    assignees: Vec<User>,
    milestone: Option<Milestone>,
    #[serde(rename = "type")]
    kind: Option<IssueType>,
    user: Option<User>,
    author_association: Option<String>,
    #[serde(default)]
    comments: u64,
    created_at: String,
    updated_at: String,
    closed_at: Option<String>,
    pub(super) html_url: String,
    #[serde(default)]
    pub(super) node_id: String,
    pull_request: Option<Value>,
    #[serde(default)]
    repository_url: String,
}

/// GitHub writes labels as objects, and in old answers as plain texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Plain(String),
    Full { name: Option<String> },
}

/// Somebody with an account.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) login: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Milestone {
    number: u64,
    title: String,
}

#[derive(Debug, Deserialize)]
struct IssueType {
    name: String,
}

/// A comment as GitHub answers it, as far as we read it.
#[derive(Debug, Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) body: Option<String>,
    pub(super) user: Option<User>,
    pub(super) author_association: Option<String>,
    pub(super) created_at: String,
    pub(super) html_url: String,
}

impl User {
    /// Whether it is an App and not a person.
    pub(super) fn is_bot(&self) -> bool {
        self.kind == "Bot"
    }

    pub(super) fn shape(&self) -> Value {
        json!({ "login": self.login, "type": self.kind })
    }
}

impl Issue {
    /// The repository the issue is in, which is another one when it was moved.
    fn full_name(&self) -> Option<String> {
        self.repository_url.split_once("/repos/").map(|(_, name)| name.to_owned())
    }

    fn is_pull_request(&self) -> bool {
        self.pull_request.is_some()
    }

    fn labels(&self) -> Vec<String> {
        let name = |label: &Label| match label {
            Label::Plain(name) => Some(name.clone()),
            Label::Full { name } => name.clone(),
        };
        self.labels.iter().filter_map(name).collect()
    }

    fn assignees(&self) -> Vec<String> {
        self.assignees.iter().map(|user| user.login.clone()).collect()
    }

    /// The issue as tools answer it.
    fn shape(&self) -> Value {
        let labels: Vec<_> = self.labels().iter().map(|name| without_invisible(name)).collect();
        json!({
            "number": self.number,
            "title": without_invisible(&self.title),
            "body": without_invisible(self.body.as_deref().unwrap_or_default()),
            "state": self.state,
            "state_reason": self.state_reason,
            "labels": labels,
            "assignees": self.assignees(),
            "milestone": self.milestone.as_ref().map(|own| {
                json!({ "number": own.number, "title": without_invisible(&own.title) })
            }),
            "type": self.kind.as_ref().map(|own| &own.name),
            "user": self.user.as_ref().map(User::shape),
            "author_association": self.author_association,
            "comments": self.comments,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "closed_at": self.closed_at,
            "html_url": self.html_url,
            "is_pull_request": self.is_pull_request(),
            "untrusted": true,
        })
    }
}

/// The schemas of an issue's members.
fn members() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "number": { "type": "integer" }, "title": text, "body": text, "state": text,
        "state_reason": optional(), "labels": texts, "assignees": texts,
        "milestone": {
            "type": ["object", "null"],
            "properties": { "number": { "type": "integer" }, "title": text },
        },
        "type": optional(), "user": user(),
        "author_association": optional(), "comments": { "type": "integer" },
        "created_at": text, "updated_at": text, "closed_at": optional(), "html_url": text,
        "is_pull_request": { "type": "boolean" }, "untrusted": untrusted(),
    })
}

/// What a list may leave out when it is asked for some fields only.
const FIELDS: [&str; 17] = [
    "number",
    "title",
    "body",
    "state",
    "state_reason",
    "labels",
    "assignees",
    "milestone",
    "type",
    "user",
    "author_association",
    "comments",
    "created_at",
    "updated_at",
    "closed_at",
    "html_url",
    "is_pull_request",
];

/// Those members of an item that are wanted; all when none is named.
pub(super) fn only(mut item: Value, fields: &[String]) -> Value {
    if let (Value::Object(object), false) = (&mut item, fields.is_empty()) {
        object.retain(|key, _| key == "untrusted" || fields.contains(key));
    }
    item
}

/// Says which of those who were to be set GitHub passed over.
fn passed_over(what: &str, wanted: &[String], got: &[String]) -> Option<String> {
    let missing = |name: &&String| !got.iter().any(|own| own.eq_ignore_ascii_case(name));
    let missing: Vec<_> = wanted.iter().filter(missing).map(String::as_str).collect();
    (!missing.is_empty())
        .then(|| format!("{what} not set: GitHub passed over {}", missing.join(", ")))
}
