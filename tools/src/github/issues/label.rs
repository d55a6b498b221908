//! addLabels and removeLabels: which labels an issue or pull request has.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::names::query;
use crate::github::schemas::{changed_result, flag, number, planned_change, texts};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: u64,
    labels: Vec<String>,
    create_missing: Option<bool>,
    color: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

pub(super) fn add_tool() -> Tool<Github> {
    let properties = json!({
        "number": number("The number of the issue or pull request"),
        "labels": labels_argument("The labels to add"),
        "create_missing": flag(true, "Create labels that the repository does not have; otherwise they are an error"),
        "color": { "type": "string", "pattern": "^#?[0-9a-fA-F]{6}$", "description": "The colour of labels that are created, such as d73a4a" },
    });
    let output = json!({
        "labels": texts("All labels it has now"), "created_labels": texts("Labels that the repository did not have"),
    });
    let spec = ToolSpec {
        name: "addLabels",
        title: "Add labels",
        description: "Adds labels to an issue or pull request of a GitHub repository.",
        input: changing_arguments(properties, &["number", "labels"]),
        output: changed_result(output, &["labels", "created_labels"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { add_labels(&github, &call).await }) }
}

pub(super) fn remove_tool() -> Tool<Github> {
    let properties = json!({
        "number": number("The number of the issue or pull request"),
        "labels": labels_argument("The labels to remove"),
    });
    let spec = ToolSpec {
        name: "removeLabels",
        title: "Remove labels",
        description: "Removes labels from an issue or pull request of a GitHub repository. Labels that it does not have are \
                      passed over.",
        input: changing_arguments(properties, &["number", "labels"]),
        output: changed_result(json!({ "labels": texts("All labels it has now") }), &["labels"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { remove_labels(&github, &call).await }) }
}

fn labels_argument(description: &str) -> Value {
    let mut schema = texts(description);
    schema["minItems"] = 1.into();
    schema["items"]["minLength"] = 1.into();
    schema
}

async fn add_labels(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let now = labels_of(&repository, arguments.number).await?;
    let lacking = without(&arguments.labels, &now);
    let unknown = unknown(&repository, &lacking).await?;
    if !unknown.is_empty() && arguments.create_missing == Some(false) {
        return Err(no_such_labels(&repository, &unknown).await?);
    }
    if arguments.dry_run {
        let mut plan: Vec<_> = unknown.iter().map(|name| format!("create label {name}")).collect();
        plan.extend(
            lacking.iter().map(|name| format!("add label {name} to #{}", arguments.number)),
        );
        return Ok(planned_change(plan, json!({ "changed": !lacking.is_empty() })));
    }
    for name in &unknown {
        create(&repository, name, arguments.color.as_deref()).await?;
    }
    let labels = if lacking.is_empty() {
        now
    } else {
        let route = format!("/issues/{}/labels", arguments.number);
        names(repository.post::<Vec<Label>>(&route, &json!({ "labels": lacking })).await?)
    };
    Ok(json!({
        "labels": labels, "created_labels": unknown, "changed": !lacking.is_empty(), "warnings": [],
    }))
}

async fn remove_labels(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let now = labels_of(&repository, arguments.number).await?;
    let rest = without(&now, &arguments.labels);
    let gone = without(&now, &rest);
    if arguments.dry_run {
        let remove = |name: &String| format!("remove label {name} from #{}", arguments.number);
        let plan = gone.iter().map(remove).collect();
        return Ok(planned_change(plan, json!({ "changed": !gone.is_empty() })));
    }
    for name in &gone {
        // Somebody else may have removed it meanwhile: then it is done.
        repository.delete(&format!("/issues/{}/labels/{}", arguments.number, query(name))).await?;
    }
    Ok(json!({ "labels": rest, "changed": !gone.is_empty(), "warnings": [] }))
}

async fn labels_of(repository: &Repository, number: u64) -> Result<Vec<String>, ToolError> {
    let labels = repository.collect(&format!("/issues/{number}/labels")).await?;
    Ok(names(labels.items))
}

fn names(labels: Vec<Label>) -> Vec<String> {
    labels.into_iter().map(|label| label.name).collect()
}

/// The names of one list that another one lacks, each once. GitHub's labels have no case.
fn without(list: &[String], other: &[String]) -> Vec<String> {
    let is = |name: &String, list: &[String]| list.iter().any(|own| own.eq_ignore_ascii_case(name));
    let mut rest: Vec<String> = Vec::new();
    for name in list {
        if !is(name, other) && !is(name, &rest) {
            rest.push(name.clone());
        }
    }
    rest
}

/// Those labels that the repository does not have.
async fn unknown(repository: &Repository, labels: &[String]) -> Result<Vec<String>, ToolError> {
    let mut unknown = Vec::new();
    for name in labels {
        if repository.find::<Label>(&format!("/labels/{}", query(name))).await?.is_none() {
            unknown.push(name.clone());
        }
    }
    Ok(unknown)
}

async fn create(repository: &Repository, name: &str, color: Option<&str>) -> Result<(), ToolError> {
    let mut body = json!({ "name": name });
    if let Some(color) = color {
        body["color"] = color.trim_start_matches('#').into();
    }
    match repository.post::<Label>("/labels", &body).await {
        // Somebody else was faster.
        Err(error) if error.says(422, "already_exists") => Ok(()),
        done => done.map(drop),
    }
}

async fn no_such_labels(
    repository: &Repository,
    unknown: &[String],
) -> Result<ToolError, ToolError> {
    let known = names(repository.collect("/labels").await?.items);
    let message = format!("the repository has no label {}", unknown.join(", "));
    Ok(ToolError::new(Code::InvalidArgument, message)
        .hint(format!("its labels are: {}; create_missing=true creates others", known.join(", "))))
}
