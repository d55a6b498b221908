//! updatePullRequest: brings a pull request into the state that is asked for.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Pull, full_members};
use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::bodies::finished;
use crate::github::schemas::{changed_result, choice, number, planned_change};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    title: Option<String>,
    body: Option<String>,
    state: Option<String>,
    base: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "number": number("The pull request's number"),
        "title": text("The new title"),
        "body": { "type": "string", "description": "The new text, in Markdown" },
        "state": choice(&["open", "closed"], "Whether it is open"),
        "base": text("The branch to merge into"),
    });
    let mut output = full_members();
    output["changed"] = json!({ "type": "array", "items": { "type": "string" }, "description": "What had to be changed" });
    let spec = ToolSpec {
        name: "updatePullRequest",
        title: "Update pull request",
        description: "Changes a pull request of a GitHub repository: title, text, state, base. What is as it shall be is \
                      left alone.",
        input: changing_arguments(properties, &["number"]),
        output: changed_result(output, &["number", "title", "state", "html_url", "head", "base"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { update_pull(&github, &call).await }) }
}

async fn update_pull(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let route = format!("/pulls/{}", arguments.number);
    let pull: Pull = repository.get(&route).await?;
    let mut warnings = Vec::new();
    let changes = changes(&arguments, &pull, &mut warnings);
    let changed: Vec<_> = changes.keys().cloned().collect();
    if arguments.dry_run {
        let plan = changed.iter().map(|what| format!("set {what} of #{}", pull.number)).collect();
        return Ok(planned_change(plan, json!({ "number": pull.number, "changed": changed })));
    }
    let pull = if changes.is_empty() { pull } else { repository.patch(&route, &changes).await? };
    let mut answer = pull.full_shape();
    answer["changed"] = changed.into();
    answer["warnings"] = warnings.into();
    Ok(answer)
}

fn changes(arguments: &Arguments, pull: &Pull, warnings: &mut Vec<String>) -> Map<String, Value> {
    let body = arguments.body.as_deref().map(|body| finished(body, &[], warnings));
    let now = pull.body.clone().unwrap_or_default();
    let pairs = [
        ("title", &arguments.title, &pull.title),
        ("body", &body, &now),
        ("state", &arguments.state, &pull.state),
        ("base", &arguments.base, &pull.base.branch),
    ];
    let wanted = pairs.into_iter().filter_map(|(key, wanted, now)| {
        let wanted = wanted.as_ref().filter(|wanted| *wanted != now)?;
        Some((key.to_owned(), wanted.clone().into()))
    });
    wanted.collect()
}
