//! deleteBranch: deletes a branch whose commits are elsewhere too.

use serde::Deserialize;
use serde_json::json;

use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::names::path;
use crate::github::refs::{at, check_name};
use crate::github::schemas::{changed_result, flag, planned_change};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    branch: String,
    if_merged_only: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Protection {
    #[serde(default)]
    protected: bool,
}

#[derive(Deserialize)]
struct Merged {
    merged_at: Option<String>,
    head: Head,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "branch": text("The branch to delete"),
        "if_merged_only": flag(true, "Refuse when it has commits that neither the default branch nor a merged pull request has"),
    });
    let output = json!({
        "branch": { "type": "string" },
        "deleted": { "type": "boolean", "description": "True when the branch is not there any more" },
    });
    let spec = ToolSpec {
        name: "deleteBranch",
        title: "Delete branch",
        description: "Deletes a branch of a GitHub repository, never the default branch or a protected one. A branch that is \
                      not there counts as deleted.",
        input: changing_arguments(properties, &["branch"]),
        output: changed_result(output, &["branch", "deleted"]),
        destructive: true,
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { delete_branch(&github, &call).await }) }
}

async fn delete_branch(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let branch = arguments.branch.strip_prefix("refs/heads/").unwrap_or(&arguments.branch);
    check_name(branch)?;
    let repository = github.open(call, &arguments.target).await?;
    let default = repository.default_branch().await?;
    if branch == default {
        let message = format!("{branch} is the default branch and is not deleted");
        return Err(ToolError::new(Code::Guardrail, message).hint("give another branch"));
    }
    let Some(found) = repository.find_branch(branch).await? else {
        return Ok(if arguments.dry_run {
            planned_change(
                vec![format!("nothing: there is no branch {branch}")],
                json!({ "branch": branch }),
            )
        } else {
            json!({ "branch": branch, "deleted": true, "changed": false, "warnings": [] })
        });
    };
    let protection = repository.find::<Protection>(&format!("/branches/{}", path(branch))).await?;
    if protection.is_some_and(|branch| branch.protected) {
        let message = format!("{branch} is protected and is not deleted");
        return Err(ToolError::new(Code::Guardrail, message)
            .hint("lift the protection on GitHub first, if it may go"));
    }
    let sha = &found.object.sha;
    if arguments.if_merged_only != Some(false)
        && !is_merged(&repository, &default, branch, sha).await?
    {
        let message = format!("branch {} has commits that are nowhere else", at(branch, sha));
        return Err(ToolError::new(Code::FailedPrecondition, message)
            .hint("merge it first, or give if_merged_only=false to lose them"));
    }
    if arguments.dry_run {
        let plan = vec![format!("delete branch {}", at(branch, sha))];
        return Ok(planned_change(plan, json!({ "branch": branch })));
    }
    repository.delete_branch(branch).await?;
    Ok(json!({ "branch": branch, "deleted": true, "changed": true, "warnings": [] }))
}

/// Whether the default branch holds the branch, or a pull request was merged from just this commit.
async fn is_merged(
    repository: &Repository,
    default: &str,
    branch: &str,
    sha: &str,
) -> Result<bool, ToolError> {
    if repository.compare(default, sha).await?.ahead_by == 0 {
        return Ok(true);
    }
    let head = crate::github::names::query(&format!("{}:{branch}", repository.owner));
    let pulls: Vec<Merged> =
        repository.get(&format!("/pulls?state=closed&head={head}&per_page=100")).await?;
    Ok(pulls.iter().any(|pull| pull.merged_at.is_some() && pull.head.sha == sha))
}
