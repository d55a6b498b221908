//! addIssueComment: comments on an issue or pull request, once, or keeps one comment up to date.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Comment;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::bodies::{carries, finished, since, sticky};
use crate::github::client::Repository;
use crate::github::names::marker;
use crate::github::requests::with_query;
use crate::github::schemas::number;
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    body: String,
    upsert_key: Option<String>,
    in_reply_to: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

/// What a call would do.
enum Deed {
    /// It was done by an earlier attempt.
    Found(Comment),
    Edit(Comment),
    Write,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { add_comment(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let properties = json!({
        "number": number("The number of the issue or pull request"),
        "body": text("The text, in Markdown"),
        "upsert_key": text("A name for a comment that is written once and edited from then on, such as deploy-status"),
        "in_reply_to": number("The id of a review comment of this pull request that is answered; not together with upsert_key"),
    });
    let output = json!({
        "id": { "type": "integer" }, "html_url": { "type": "string" }, "created_at": { "type": "string" },
        "updated": { "type": "boolean", "description": "True when a comment that was there got this text" },
    });
    ToolSpec {
        name: "addIssueComment",
        title: "Add issue comment",
        description: "Comments on an issue or pull request of a GitHub repository. With upsert_key there is one comment \
                      under this name, which is edited.",
        input: changing_arguments(properties, &["number", "body"]),
        output: changing_result(output, &["id", "html_url", "created_at", "updated"]),
        retry_class: RetryClass::Keyed,
        aliases: &[("body", &["comment"])],
        names: &["createIssueComment"],
        ..ToolSpec::default()
    }
}

async fn add_comment(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    if arguments.upsert_key.is_some() && arguments.in_reply_to.is_some() {
        let message = "upsert_key and in_reply_to cannot be given together";
        return Err(ToolError::new(Code::InvalidArgument, message).hint("leave one of them out"));
    }
    let repository = github.open(call, &arguments.target).await?;
    let mut warnings = Vec::new();
    let body = finished(&arguments.body, &marks(&arguments, call), &mut warnings);
    let deed = deed(github, &repository, &arguments, call).await?;
    if arguments.dry_run {
        return Ok(plan(&deed, &arguments));
    }
    match deed {
        Deed::Found(comment) => Ok(shape(&comment, false, false, warnings)),
        Deed::Edit(comment) if comment.body.as_deref() == Some(body.as_str()) => {
            Ok(shape(&comment, false, false, warnings))
        }
        Deed::Edit(comment) => {
            let route = format!("/issues/comments/{}", comment.id);
            let comment = repository.patch(&route, &json!({ "body": body })).await?;
            Ok(shape(&comment, false, true, warnings))
        }
        Deed::Write => {
            let route = match arguments.in_reply_to {
                Some(id) => format!("/pulls/{}/comments/{id}/replies", arguments.number),
                None => format!("/issues/{}/comments", arguments.number),
            };
            let comment = repository.post(&route, &json!({ "body": body })).await?;
            Ok(shape(&comment, true, false, warnings))
        }
    }
}

/// A comment that is kept up to date is known by its name over all executions, another one by its step.
fn marks(arguments: &Arguments, call: &Call) -> Vec<String> {
    match (&arguments.upsert_key, &call.idempotency_key) {
        (Some(name), _) => vec![sticky(name)],
        (None, Some(key)) => vec![marker(key)],
        (None, None) => Vec::new(),
    }
}

async fn deed(
    github: &Github,
    repository: &Repository,
    arguments: &Arguments,
    call: &Call,
) -> Result<Deed, ToolError> {
    let number = arguments.number;
    if let Some(name) = &arguments.upsert_key {
        let route = format!("/issues/{number}/comments");
        let found = find(github, repository, &route, &sticky(name)).await?;
        return Ok(found.map_or(Deed::Write, Deed::Edit));
    }
    let Some(key) = call.key_to_look_up() else { return Ok(Deed::Write) };
    let family = if arguments.in_reply_to.is_some() { "pulls" } else { "issues" };
    let route = with_query(&format!("/{family}/{number}/comments"), &[("since", since(call))]);
    let found = find(github, repository, &route, &marker(key)).await?;
    Ok(found.map_or(Deed::Write, Deed::Found))
}

/// The comment of ours that carries a mark.
async fn find(
    github: &Github,
    repository: &Repository,
    route: &str,
    mark: &str,
) -> Result<Option<Comment>, ToolError> {
    let comments = repository.collect::<Comment>(route).await?.items;
    for comment in comments {
        let Comment { body, user, author_association, .. } = &comment;
        if carries(body.as_deref(), mark)
            && github
                .access
                .wrote(&repository.session, user.as_ref(), author_association.as_deref())
                .await?
        {
            return Ok(Some(comment));
        }
    }
    Ok(None)
}

fn plan(deed: &Deed, arguments: &Arguments) -> Value {
    let number = arguments.number;
    let (step, known) = match deed {
        Deed::Found(comment) => {
            (format!("return comment {}", comment.id), json!({ "id": comment.id }))
        }
        Deed::Edit(comment) => {
            (format!("edit comment {} on #{number}", comment.id), json!({ "id": comment.id }))
        }
        Deed::Write => match arguments.in_reply_to {
            Some(id) => (format!("answer review comment {id} on #{number}"), json!({})),
            None => (format!("comment on #{number}"), json!({})),
        },
    };
    planned(vec![step], known)
}

fn shape(comment: &Comment, created: bool, updated: bool, warnings: Vec<String>) -> Value {
    json!({
        "id": comment.id, "html_url": comment.html_url, "created_at": comment.created_at,
        "created": created, "updated": updated, "warnings": warnings,
    })
}
