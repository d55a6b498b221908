//! updateIssue: brings an issue or pull request into the state that is asked for.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Issue, MilestoneName, members, passed_over};
use crate::contract::{Answer, Call, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::bodies::finished;
use crate::github::client::Repository;
use crate::github::schemas::{changed_result, choice, number, planned_change, texts};
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
    state_reason: Option<String>,
    labels: Option<Vec<String>>,
    #[serde(default)]
    add_labels: Vec<String>,
    #[serde(default)]
    remove_labels: Vec<String>,
    assignees: Option<Vec<String>>,
    milestone: Option<MilestoneName>,
    r#type: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { update_issue(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let milestone = json!({
        "type": ["integer", "string", "null"], "description": "The number or the title of a milestone; null for none, an empty text for the one it has",
    });
    let properties = json!({
        "number": number("The number of the issue or pull request"),
        "title": text("The new title"),
        "body": { "type": "string", "description": "The new text, in Markdown" },
        "state": choice(&["open", "closed"], "Whether it is open"),
        "state_reason": choice(&["completed", "not_planned", "duplicate", "reopened"], "Why it is closed or open"),
        "labels": texts("All labels it shall have"),
        "add_labels": texts("Labels it shall have too"),
        "remove_labels": texts("Labels it shall not have"),
        "assignees": texts("All logins that shall be assigned"),
        "milestone": milestone,
        "type": text("The type, such as Bug, where the organization has types"),
    });
    let mut output = members();
    output["changed"] = json!({ "type": "array", "items": { "type": "string" }, "description": "What had to be changed" });
    ToolSpec {
        name: "updateIssue",
        title: "Update issue",
        description: "Changes an issue or pull request of a GitHub repository: title, text, state, labels, assignees, \
                      milestone. What is as it shall be is left alone.",
        input: changing_arguments(properties, &["number"]),
        output: changed_result(
            output,
            &["number", "title", "state", "labels", "assignees", "html_url", "untrusted"],
        ),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    }
}

async fn update_issue(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let route = format!("/issues/{}", arguments.number);
    let issue: Issue = repository.get(&route).await?;
    let mut warnings = Vec::new();
    let changes = changes(&repository, &arguments, call, &issue, &mut warnings).await?;
    let changed: Vec<_> = changes.keys().cloned().collect();
    if arguments.dry_run {
        let plan = changed.iter().map(|what| format!("set {what} of #{}", issue.number)).collect();
        return Ok(planned_change(plan, json!({ "number": issue.number, "changed": changed })));
    }
    let issue = if changes.is_empty() { issue } else { repository.patch(&route, &changes).await? };
    let none = Vec::new();
    let wanted = arguments.assignees.as_ref().unwrap_or(&none);
    warnings.extend(passed_over("assignees", wanted, &issue.assignees()));
    let mut answer = issue.shape();
    answer["changed"] = changed.into();
    answer["warnings"] = warnings.into();
    Ok(answer)
}

/// What must be sent so that the issue becomes what is asked for.
async fn changes(
    repository: &Repository,
    arguments: &Arguments,
    call: &Call,
    issue: &Issue,
    warnings: &mut Vec<String>,
) -> Result<Map<String, Value>, ToolError> {
    let mut changes = Map::new();
    let mut set = |key: &str, wanted: Option<Value>, now: Value| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != now) {
            changes.insert(key.to_owned(), wanted);
        }
    };
    set("title", arguments.title.clone().map(Value::from), issue.title.clone().into());
    let body = arguments.body.as_deref().map(|body| finished(body, &[], warnings).into());
    set("body", body, issue.body.clone().unwrap_or_default().into());
    set("state", arguments.state.clone().map(Value::from), issue.state.clone().into());
    set("state_reason", reason(arguments, issue), json!(issue.state_reason));
    set(
        "type",
        arguments.r#type.clone().map(Value::from),
        json!(issue.kind.as_ref().map(|own| &own.name)),
    );
    if let Some(labels) = labels(arguments, &issue.labels()) {
        changes.insert("labels".to_owned(), labels.into());
    }
    if let Some(wanted) = &arguments.assignees
        && !same(wanted, &issue.assignees())
    {
        changes.insert("assignees".to_owned(), json!(wanted));
    }
    // A model that knows of no milestone says so with an empty text.
    let silent = |named: &Value| named.as_str().is_some_and(|title| title.trim().is_empty());
    if call.arguments.get("milestone").is_some_and(|named| !silent(named)) {
        let wanted = match &arguments.milestone {
            Some(named) => json!(repository.milestone(named).await?),
            None => Value::Null,
        };
        if wanted != json!(issue.milestone.as_ref().map(|own| own.number)) {
            changes.insert("milestone".to_owned(), wanted);
        }
    }
    // GitHub takes a reason only together with the state that it explains.
    if changes.contains_key("state_reason") {
        let state = arguments.state.clone().unwrap_or_else(|| issue.state.clone());
        changes.entry("state").or_insert(state.into());
    }
    Ok(changes)
}

/// The reason as far as it fits the state: an open issue has none to change but `reopened`.
fn reason(arguments: &Arguments, issue: &Issue) -> Option<Value> {
    let state = arguments.state.as_ref().unwrap_or(&issue.state);
    let reason = arguments.state_reason.as_ref()?;
    let fits = (state == "open") == (reason == "reopened");
    fits.then(|| reason.clone().into())
}

/// All labels that the issue shall have, unless it has just those.
fn labels(arguments: &Arguments, now: &[String]) -> Option<Vec<String>> {
    let is = |name: &str, list: &[String]| list.iter().any(|own| own.eq_ignore_ascii_case(name));
    let mut wanted = arguments.labels.clone().unwrap_or_else(|| now.to_vec());
    for label in &arguments.add_labels {
        if !is(label, &wanted) {
            wanted.push(label.clone());
        }
    }
    wanted.retain(|label| !is(label, &arguments.remove_labels));
    (!same(&wanted, now)).then_some(wanted)
}

/// Whether two lists name the same, in whatever order and case.
fn same(left: &[String], right: &[String]) -> bool {
    let sorted = |list: &[String]| {
        let mut list: Vec<_> = list.iter().map(|name| name.to_lowercase()).collect();
        list.sort();
        list.dedup();
        list
    };
    sorted(left) == sorted(right)
}
