//! createReview: submits a review of a pull request, once, with comments on lines.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files::File;
use super::patch::Lines;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::bodies::{carries, finished};
use crate::github::client::Repository;
use crate::github::issues::User;
use crate::github::names::marker;
use crate::github::schemas::{choice, number, optional};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    #[serde(default)]
    body: String,
    #[serde(default)]
    event: Event,
    #[serde(default)]
    comments: Vec<LineComment>,
    commit_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// What the review says about the whole.
#[derive(Deserialize, Serialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Event {
    #[default]
    Comment,
    Approve,
    RequestChanges,
}

#[derive(Deserialize, Clone)]
struct LineComment {
    path: String,
    line: u64,
    start_line: Option<u64>,
    #[serde(default)]
    side: Side,
    body: String,
}

/// Which version of a file a line is counted in.
#[derive(Deserialize, Serialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Side {
    Left,
    #[default]
    Right,
}

#[derive(Deserialize)]
struct Review {
    id: u64,
    state: String,
    body: Option<String>,
    user: Option<User>,
    author_association: Option<String>,
    html_url: String,
    submitted_at: Option<String>,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { create_review(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let comment = json!({
        "type": "object", "required": ["path", "line", "body"], "additionalProperties": false,
        "properties": {
            "path": text("The file"),
            "line": number("The line, the last one of several"),
            "start_line": number("The first line of several"),
            "side": choice(&["LEFT", "RIGHT"], "Whether lines are counted as the file was (LEFT) or as it is (RIGHT, unless said)"),
            "body": text("The comment, in Markdown"),
        },
    });
    let properties = json!({
        "number": number("The pull request's number"),
        "body": { "type": "string", "description": "What is said about the whole, in Markdown" },
        "event": choice(&["COMMENT", "APPROVE", "REQUEST_CHANGES"], "What the review decides; COMMENT when left out"),
        "comments": { "type": "array", "items": comment, "description": "Comments on lines. One on a line that the diff does not show moves into the body" },
        "commit_id": text("The commit that was reviewed; the newest one when left out"),
    });
    let text = json!({ "type": "string" });
    let output = json!({ "id": { "type": "integer" }, "state": text, "html_url": text, "submitted_at": optional() });
    ToolSpec {
        name: "createReview",
        title: "Create review",
        description: "Submits a review of a pull request of a GitHub repository: a comment, an approval or a request for \
                      changes, with comments on lines.",
        input: changing_arguments(properties, &["number"]),
        output: changing_result(output, &["id", "state", "html_url", "submitted_at"]),
        retry_class: RetryClass::Keyed,
        names: &["createReviewComment"],
        ..ToolSpec::default()
    }
}

async fn create_review(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    if arguments.event != Event::Approve
        && arguments.body.trim().is_empty()
        && arguments.comments.is_empty()
    {
        let message = "the review says nothing";
        return Err(ToolError::new(Code::InvalidArgument, message)
            .hint("give a body or comments; only an approval may do without"));
    }
    let repository = github.open(call, &arguments.target).await?;
    let reviewer = Reviewer { github, repository: &repository, arguments: &arguments, call };
    let earlier = reviewer.find_earlier().await?;
    match earlier {
        Some(review) if !arguments.dry_run => Ok(review.shape(false, Vec::new())),
        None if !arguments.dry_run => reviewer.submit().await,
        earlier => Ok(reviewer.plan(earlier.as_ref())),
    }
}

/// One call at work.
struct Reviewer<'a> {
    github: &'a Github,
    repository: &'a Repository,
    arguments: &'a Arguments,
    call: &'a Call,
}

impl Reviewer<'_> {
    fn route(&self) -> String {
        format!("/pulls/{}/reviews", self.arguments.number)
    }

    /// The review that an earlier attempt of this call submitted.
    async fn find_earlier(&self) -> Result<Option<Review>, ToolError> {
        let Some(key) = self.call.key_to_look_up() else { return Ok(None) };
        let mark = marker(key);
        let reviews = self.repository.collect::<Review>(&self.route()).await?.items;
        for review in reviews {
            let Review { body, user, author_association, .. } = &review;
            let (session, access) = (&self.repository.session, &self.github.access);
            if carries(body.as_deref(), &mark)
                && access.wrote(session, user.as_ref(), author_association.as_deref()).await?
            {
                return Ok(Some(review));
            }
        }
        Ok(None)
    }

    async fn submit(&self) -> Answer {
        let comments = &self.arguments.comments;
        let refused = match self.send(comments, &[]).await {
            Err(error) if error.status() == Some(422) => error,
            answer => return answer,
        };
        if refused.says(422, "your own pull request") {
            return Err(own(refused));
        }
        // GitHub does not say which line it cannot find, and submits nothing at all.
        let (shown, homeless) = self.sort().await?;
        if homeless.is_empty() { Err(refused) } else { self.send(&shown, &homeless).await }
    }

    async fn send(&self, comments: &[LineComment], homeless: &[LineComment]) -> Answer {
        let mut warnings: Vec<_> = homeless.iter().map(LineComment::warning).collect();
        let marks: Vec<_> = self.call.idempotency_key.as_deref().map(marker).into_iter().collect();
        let mut texts = vec![self.arguments.body.clone()];
        texts.extend(homeless.iter().map(LineComment::as_text));
        texts.retain(|text| !text.is_empty());
        let mut body = json!({
            "body": finished(&texts.join("\n\n"), &marks, &mut warnings),
            "event": self.arguments.event,
            "comments": comments.iter().map(LineComment::shape).collect::<Vec<_>>(),
        });
        if let Some(commit) = &self.arguments.commit_id {
            body["commit_id"] = commit.as_str().into();
        }
        let review: Review = self.repository.post(&self.route(), &body).await?;
        Ok(review.shape(true, warnings))
    }

    /// The comments on lines that the diff shows, and the others.
    async fn sort(&self) -> Result<(Vec<LineComment>, Vec<LineComment>), ToolError> {
        let route = format!("/pulls/{}/files", self.arguments.number);
        let files = self.repository.collect::<File>(&route).await?.items;
        let lines: HashMap<_, _> = files
            .iter()
            .map(|file| {
                (file.filename.as_str(), Lines::of(file.patch.as_deref().unwrap_or_default()))
            })
            .collect();
        let shown = |comment: &LineComment| {
            lines.get(comment.path.as_str()).is_some_and(|lines| comment.is_shown(lines))
        };
        Ok(self.arguments.comments.iter().cloned().partition(shown))
    }

    fn plan(&self, earlier: Option<&Review>) -> Value {
        let number = self.arguments.number;
        let step = match (earlier, self.arguments.event) {
            (Some(review), _) => format!("return review {}", review.id),
            (None, Event::Comment) => format!("comment on pull request #{number}"),
            (None, Event::Approve) => format!("approve pull request #{number}"),
            (None, Event::RequestChanges) => format!("request changes to pull request #{number}"),
        };
        let comment = |own: &LineComment| format!("comment on line {} of {}", own.line, own.path);
        let comments = self.arguments.comments.iter().map(comment);
        planned(std::iter::once(step).chain(comments).collect(), json!({}))
    }
}

fn own(refused: ToolError) -> ToolError {
    let message = "GitHub lets nobody approve their own pull request, or request changes to it";
    let mut error = ToolError::new(Code::FailedPrecondition, message)
        .hint("use event=COMMENT, or let another account review");
    error.provider = refused.provider;
    error
}

impl LineComment {
    fn is_shown(&self, lines: &Lines) -> bool {
        let lines = match self.side {
            Side::Left => &lines.left,
            Side::Right => &lines.right,
        };
        lines.contains(&self.line) && self.start_line.is_none_or(|start| lines.contains(&start))
    }

    fn shape(&self) -> Value {
        let mut shape =
            json!({ "path": self.path, "line": self.line, "side": self.side, "body": self.body });
        if let Some(start) = self.start_line.filter(|start| *start < self.line) {
            shape["start_line"] = start.into();
            shape["start_side"] = json!(self.side);
        }
        shape
    }

    fn as_text(&self) -> String {
        format!("**`{}` line {}**: {}", self.path, self.line, self.body)
    }

    fn warning(&self) -> String {
        format!(
            "the diff does not show line {} of {}: the comment on it is in the body",
            self.line, self.path
        )
    }
}

impl Review {
    fn shape(&self, created: bool, warnings: Vec<String>) -> Value {
        json!({
            "id": self.id, "state": self.state, "html_url": self.html_url, "submitted_at": self.submitted_at,
            "created": created, "warnings": warnings,
        })
    }
}
