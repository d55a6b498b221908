//! mergePullRequest: merges a pull request, or finds it merged.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Pull;
use super::get::settled;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::refs::at;
use crate::github::schemas::{changed_result, choice, flag, number, optional, planned_change};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    merge_method: Option<String>,
    commit_title: Option<String>,
    commit_message: Option<String>,
    expected_head_sha: Option<String>,
    #[serde(default)]
    delete_branch: bool,
    #[serde(default)]
    dry_run: bool,
}

/// What GitHub says after it merged.
#[derive(Deserialize)]
struct Merge {
    sha: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Checks {
    check_runs: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    status: String,
    conclusion: Option<String>,
}

#[derive(Deserialize)]
struct Review {
    state: String,
    user: Option<Reviewer>,
}

#[derive(Deserialize)]
struct Reviewer {
    login: String,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { merge_pull(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let properties = json!({
        "number": number("The pull request's number"),
        "merge_method": choice(&["merge", "squash", "rebase"], "How; merge when left out"),
        "commit_title": text("The first line of the commit; GitHub's own when left out"),
        "commit_message": { "type": "string", "description": "The rest of its message" },
        "expected_head_sha": text("Refuse when the head is not at this commit"),
        "delete_branch": flag(false, "Delete the head branch afterwards, if it is in this repository"),
    });
    let output = json!({
        "number": { "type": "integer" }, "merged": { "type": "boolean" },
        "sha": { "type": ["string", "null"], "description": "The commit that the merge made" },
        "message": { "type": "string" },
        "already_merged": { "type": "boolean", "description": "True when it was merged before this call" },
        "branch_deleted": { "type": "boolean", "description": "True when the head branch is not there any more because of delete_branch" },
        "mergeable_state": optional(),
    });
    ToolSpec {
        name: "mergePullRequest",
        title: "Merge pull request",
        description: "Merges a pull request of a GitHub repository at the commit its head is at. One that is merged already \
                      is returned.",
        input: changing_arguments(properties, &["number"]),
        output: changed_result(
            output,
            &["number", "merged", "sha", "message", "already_merged", "branch_deleted"],
        ),
        destructive: true,
        retry_class: RetryClass::Idempotent,
        aliases: &[("merge_method", &["method"])],
        ..ToolSpec::default()
    }
}

async fn merge_pull(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let merger = Merger { repository: &repository, arguments: &arguments };
    let pull = merger.read().await?;
    if arguments.dry_run {
        return merger.plan(&pull).await;
    }
    let (sha, message, already) = if pull.is_merged() {
        (pull.merge_commit_sha.clone(), "it was merged already".to_owned(), true)
    } else {
        let merge = merger.merge(&pull).await?;
        (Some(merge.sha), merge.message, false)
    };
    let mut warnings = Vec::new();
    let deleted = merger.delete_branch(&pull, &mut warnings).await?;
    Ok(json!({
        "number": pull.number, "merged": true, "sha": sha, "message": message, "already_merged": already,
        "branch_deleted": deleted, "changed": !already, "warnings": warnings,
    }))
}

/// One call at work.
struct Merger<'a> {
    repository: &'a Repository,
    arguments: &'a Arguments,
}

impl Merger<'_> {
    /// The pull request, if it may be merged as far as the call can say.
    async fn read(&self) -> Result<Pull, ToolError> {
        let pull: Pull = self.repository.get(&format!("/pulls/{}", self.arguments.number)).await?;
        let expected = self.arguments.expected_head_sha.as_ref();
        // Also of one that somebody else merged: what it was told to refuse went in.
        if let Some(expected) = expected.filter(|sha| !pull.head.sha.eq_ignore_ascii_case(sha)) {
            return Err(moved(&pull, expected));
        }
        if pull.is_merged() {
            return Ok(pull);
        }
        if pull.state != "open" {
            let message = format!("pull request #{} is closed and was not merged", pull.number);
            return Err(ToolError::new(Code::FailedPrecondition, message)
                .hint("open it again first, if it shall be merged"));
        }
        Ok(pull)
    }

    async fn merge(&self, pull: &Pull) -> Result<Merge, ToolError> {
        let arguments = self.arguments;
        let method = arguments.merge_method.as_deref().unwrap_or("merge");
        let mut body = json!({ "merge_method": method, "sha": pull.head.sha });
        for (key, value) in [
            ("commit_title", &arguments.commit_title),
            ("commit_message", &arguments.commit_message),
        ] {
            if let Some(value) = value {
                body[key] = value.as_str().into();
            }
        }
        let route = format!("/pulls/{}/merge", pull.number);
        match self.repository.put(&route, &body).await {
            Err(error) if error.status() == Some(405) => Err(self.refused(error).await?),
            Err(error) if error.status() == Some(409) => Err(self.overtaken(pull, error)),
            done => done,
        }
    }

    /// Why GitHub does not merge, in as many words as can be had.
    async fn refused(&self, error: ToolError) -> Result<ToolError, ToolError> {
        let pull = settled(self.repository, self.arguments.number).await?;
        let mut reasons = vec![error.message.clone()];
        reasons.extend(pull.mergeable_state.as_deref().and_then(explained).map(str::to_owned));
        reasons.extend(self.checks(&pull).await?);
        reasons.extend(self.objections(&pull).await?);
        let state = pull.mergeable_state.as_deref().unwrap_or("unknown");
        let message = format!(
            "pull request #{} cannot be merged (mergeable_state: {state}): {}",
            pull.number,
            reasons.join("; ")
        );
        let hint = "clear these reasons first, then call again";
        Ok(ToolError {
            code: Code::FailedPrecondition,
            message,
            hint: Some(hint.to_owned()),
            ..error
        })
    }

    /// Checks that failed or are not finished.
    async fn checks(&self, pull: &Pull) -> Result<Vec<String>, ToolError> {
        let route = format!("/commits/{}/check-runs?per_page=100", pull.head.sha);
        let Some(checks) = self.repository.find::<Checks>(&route).await? else {
            return Ok(Vec::new());
        };
        let open = checks.check_runs.into_iter().filter_map(|check| match check.conclusion {
            Some(conclusion)
                if ["success", "neutral", "skipped"].contains(&conclusion.as_str()) =>
            {
                None
            }
            Some(conclusion) => Some(format!("check {}: {conclusion}", check.name)),
            None => Some(format!("check {}: {}", check.name, check.status)),
        });
        Ok(open.collect())
    }

    /// Reviewers whose last word was a request for changes.
    async fn objections(&self, pull: &Pull) -> Result<Vec<String>, ToolError> {
        let route = format!("/pulls/{}/reviews", pull.number);
        let reviews = self.repository.collect::<Review>(&route).await?.items;
        let mut last: Vec<(String, String)> = Vec::new();
        for review in reviews.into_iter().filter(|review| review.state != "COMMENTED") {
            let Some(Reviewer { login }) = review.user else { continue };
            last.retain(|(other, _)| *other != login);
            last.push((login, review.state));
        }
        let objects = last.into_iter().filter(|(_, state)| state == "CHANGES_REQUESTED");
        Ok(objects.map(|(login, _)| format!("{login} requested changes")).collect())
    }

    fn overtaken(&self, pull: &Pull, error: ToolError) -> ToolError {
        let message = format!(
            "the head of pull request #{} moved on from {}: {}",
            pull.number,
            at(&pull.head.branch, &pull.head.sha),
            error.message
        );
        let hint = "look at what was pushed, then call again";
        ToolError { message, hint: Some(hint.to_owned()), ..error }
    }

    /// Deletes the head branch if it is ours to delete and holds nothing but what was merged.
    async fn delete_branch(
        &self,
        pull: &Pull,
        warnings: &mut Vec<String>,
    ) -> Result<bool, ToolError> {
        if !self.arguments.delete_branch {
            return Ok(false);
        }
        let branch = &pull.head.branch;
        let here =
            pull.head.repo.as_ref().is_some_and(|repo| {
                repo.full_name.eq_ignore_ascii_case(&self.repository.full_name())
            });
        if !here || *branch == self.repository.default_branch().await? {
            warnings.push(format!(
                "branch {branch} was kept: it is in another repository, or the default one"
            ));
            return Ok(false);
        }
        let Some(now) = self.repository.find_branch(branch).await? else { return Ok(true) };
        if now.object.sha != pull.head.sha {
            warnings.push(format!("branch {branch} was kept: it has moved on since the merge"));
            return Ok(false);
        }
        match self.repository.delete_branch(branch).await {
            Err(error) if error.retryable || error.code == Code::OutcomeUnknown => Err(error),
            Err(error) => {
                warnings.push(format!("branch {branch} was kept: {error}"));
                Ok(false)
            }
            Ok(_) => Ok(true),
        }
    }

    async fn plan(&self, pull: &Pull) -> Answer {
        let number = pull.number;
        let mut plan = match pull.is_merged() {
            true => vec![format!("nothing: pull request #{number} is merged already")],
            false => vec![format!(
                "merge pull request #{number} ({}) into {}",
                at(&pull.head.branch, &pull.head.sha),
                pull.base.branch
            )],
        };
        if self.arguments.delete_branch {
            plan.push(format!("delete branch {}", pull.head.branch));
        }
        let known: Value = json!({ "number": number, "mergeable_state": pull.mergeable_state });
        Ok(planned_change(plan, known))
    }
}

fn moved(pull: &Pull, expected: &str) -> ToolError {
    let message = format!(
        "the head of pull request #{} is at {}, not at the expected {expected}",
        pull.number, pull.head.sha
    );
    ToolError::new(Code::Conflict, message)
        .hint("look at what was pushed, then call again with the new expected_head_sha")
}

/// What GitHub means by a `mergeable_state`.
fn explained(state: &str) -> Option<&'static str> {
    match state {
        "dirty" => Some("it conflicts with its base"),
        "blocked" => Some("a required review or check is missing"),
        "behind" => Some("its head is behind its base"),
        "draft" => Some("it is a draft"),
        "unstable" => Some("a check has failed or is not finished"),
        _ => None,
    }
}
