//! requestReviewers: asks people and teams to review a pull request.

use serde::Deserialize;
use serde_json::json;

use super::Pull;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::schemas::{changed_result, number, planned_change, texts};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    #[serde(default)]
    reviewers: Vec<String>,
    #[serde(default)]
    team_reviewers: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "number": number("The pull request's number"),
        "reviewers": texts("Logins to ask"),
        "team_reviewers": texts("Teams to ask, by their slugs"),
    });
    let output = json!({
        "requested": texts("All logins that are asked now"), "requested_teams": texts("All teams that are asked now"),
    });
    let spec = ToolSpec {
        name: "requestReviewers",
        title: "Request reviewers",
        description: "Asks people and teams to review a pull request of a GitHub repository.",
        input: changing_arguments(properties, &["number"]),
        output: changed_result(output, &["requested", "requested_teams"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { request(&github, &call).await }) }
}

async fn request(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    if arguments.reviewers.is_empty() && arguments.team_reviewers.is_empty() {
        let message = "reviewers and team_reviewers are both empty";
        return Err(ToolError::new(Code::InvalidArgument, message).hint("name somebody to ask"));
    }
    let repository = github.open(call, &arguments.target).await?;
    let pull: Pull = repository.get(&format!("/pulls/{}", arguments.number)).await?;
    let reviewers = lacking(&arguments.reviewers, &pull.reviewers());
    let teams = lacking(&arguments.team_reviewers, &pull.teams());
    let changed = !reviewers.is_empty() || !teams.is_empty();
    if arguments.dry_run {
        let ask = |who: &String| format!("ask {who} to review #{}", arguments.number);
        let plan = reviewers.iter().chain(&teams).map(ask).collect();
        return Ok(planned_change(plan, json!({ "changed": changed })));
    }
    let pull = if changed {
        let route = format!("/pulls/{}/requested_reviewers", arguments.number);
        let body = json!({ "reviewers": reviewers, "team_reviewers": teams });
        repository.post(&route, &body).await?
    } else {
        pull
    };
    Ok(json!({
        "requested": pull.reviewers(), "requested_teams": pull.teams(), "changed": changed, "warnings": [],
    }))
}

fn lacking(wanted: &[String], now: &[String]) -> Vec<String> {
    let there = |name: &&String| now.iter().any(|own| own.eq_ignore_ascii_case(name));
    wanted.iter().filter(|name| !there(name)).cloned().collect()
}

impl Pull {
    fn reviewers(&self) -> Vec<String> {
        self.requested_reviewers.iter().map(|user| user.login.clone()).collect()
    }

    fn teams(&self) -> Vec<String> {
        self.requested_teams.iter().map(|team| team.slug.clone()).collect()
    }
}
