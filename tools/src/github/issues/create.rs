//! createIssue: opens an issue, once.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Issue, MilestoneName, passed_over};
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::bodies::{carries, finished, since};
use crate::github::client::Repository;
use crate::github::names::marker;
use crate::github::requests::with_query;
use crate::github::schemas::{choice, given, texts};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    title: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    assignees: Vec<String>,
    milestone: Option<MilestoneName>,
    r#type: Option<String>,
    #[serde(default)]
    dedupe: Dedupe,
    #[serde(default)]
    dry_run: bool,
}

/// By what an issue that is there already is known.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Dedupe {
    /// By the mark of an earlier attempt of the same step.
    #[default]
    Key,
    /// By that, or by its title while it is open.
    Title,
    /// By nothing: the body stays as it was given.
    None,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { create_issue(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let properties = json!({
        "title": text("The title"),
        "body": { "type": "string", "description": "The text, in Markdown" },
        "labels": texts("Its labels; those that do not exist come into being"),
        "assignees": texts("Logins to assign"),
        "milestone": MilestoneName::schema(),
        "type": text("The type, such as Bug, where the organization has types"),
        "dedupe": {
            "type": "string", "enum": ["key", "title", "none"], "default": "key",
            "description": "key: a step opens one issue however often it is tried; title: an open issue of the same title is taken too; \
                            none: no hidden mark in the body, and a call whose outcome is unknown is not tried again",
        },
    });
    let text = json!({ "type": "string" });
    let output = json!({
        "number": { "type": "integer" }, "title": text, "html_url": text, "node_id": text,
        "state": choice(&["open", "closed"], "What it is in now"),
    });
    ToolSpec {
        name: "createIssue",
        title: "Create issue",
        description: "Opens an issue in a GitHub repository.",
        input: changing_arguments(properties, &["title"]),
        output: changing_result(output, &["number", "title", "html_url", "node_id", "state"]),
        retry_class: RetryClass::Keyed,
        ..ToolSpec::default()
    }
}

async fn create_issue(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let mut repository = github.open(call, &arguments.target).await?;
    repository.retry_safe &= arguments.dedupe != Dedupe::None;
    let earlier = find_earlier(github, &repository, &arguments, call).await?;
    if arguments.dry_run {
        return Ok(plan(earlier.as_ref(), &arguments));
    }
    match earlier {
        Some(issue) => Ok(shape(&issue, false, Vec::new())),
        None => open(&repository, &arguments, call).await,
    }
}

/// The issue that an earlier attempt opened, or one that is as good.
async fn find_earlier(
    github: &Github,
    repository: &Repository,
    arguments: &Arguments,
    call: &Call,
) -> Result<Option<Issue>, ToolError> {
    if let Some(key) = call.key_to_look_up() {
        if arguments.dedupe == Dedupe::None {
            return Err(nothing_to_look_up());
        }
        let pairs = [("since", since(call))];
        let route = with_query("/issues?state=all&sort=created&direction=desc", &pairs);
        let mark = marker(key);
        let recent = repository.collect::<Issue>(&route).await?.items;
        for issue in recent {
            let (user, association) = (issue.user.as_ref(), issue.author_association.as_deref());
            if carries(issue.body.as_deref(), &mark)
                && github.access.wrote(&repository.session, user, association).await?
            {
                return Ok(Some(issue));
            }
        }
    }
    if arguments.dedupe != Dedupe::Title {
        return Ok(None);
    }
    let open = repository.collect::<Issue>("/issues?state=open").await?.items;
    let same = |issue: &Issue| !issue.is_pull_request() && issue.title == arguments.title.trim();
    Ok(open.into_iter().find(same))
}

fn nothing_to_look_up() -> ToolError {
    let message =
        "an earlier attempt may have opened the issue, and with dedupe=none it cannot be looked up";
    ToolError::new(Code::OutcomeUnknown, message)
        .hint("look whether the issue is there; use dedupe=key for steps that may be tried again")
}

async fn open(repository: &Repository, arguments: &Arguments, call: &Call) -> Answer {
    let mut warnings = Vec::new();
    let key = call.idempotency_key.as_deref().filter(|_| arguments.dedupe != Dedupe::None);
    let marks: Vec<_> = key.map(marker).into_iter().collect();
    let text = finished(&arguments.body, &marks, &mut warnings);
    let milestone = match &arguments.milestone {
        Some(named) => Some(repository.milestone(named).await?),
        None => None,
    };
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let body = given(vec![
        ("title", Some(arguments.title.trim().into())),
        ("body", (!text.is_empty()).then(|| text.into())),
        ("labels", list(&arguments.labels)),
        ("assignees", list(&arguments.assignees)),
        ("milestone", milestone.map(Value::from)),
        ("type", arguments.r#type.clone().map(Value::from)),
    ]);
    let issue: Issue = repository.post("/issues", &body).await?;
    warnings.extend(passed_over("labels", &arguments.labels, &issue.labels()));
    warnings.extend(passed_over("assignees", &arguments.assignees, &issue.assignees()));
    Ok(shape(&issue, true, warnings))
}

fn plan(earlier: Option<&Issue>, arguments: &Arguments) -> Value {
    match earlier {
        Some(issue) => {
            let known = json!({ "number": issue.number, "html_url": issue.html_url });
            planned(vec![format!("return issue #{}", issue.number)], known)
        }
        None => planned(vec![format!("open an issue: {}", arguments.title)], json!({})),
    }
}

fn shape(issue: &Issue, created: bool, warnings: Vec<String>) -> Value {
    json!({
        "number": issue.number, "title": issue.title, "html_url": issue.html_url, "node_id": issue.node_id,
        "state": issue.state, "created": created, "warnings": warnings,
    })
}
