//! getRepository: reads what a repository is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::target::{Target, check_allowed};
use crate::github::{Github, arguments};

/// A repository as GitHub answers it, as far as we read it.
#[derive(Deserialize)]
struct Shape {
    full_name: String,
    default_branch: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    permissions: BTreeMap<String, bool>,
    html_url: String,
    #[serde(default)]
    topics: Vec<String>,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { get_repository(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    ToolSpec {
        name: "getRepository",
        title: "Get repository",
        description: "Reads what a GitHub repository is: default branch, visibility, permissions of the token, topics.",
        input: arguments(json!({}), &[]),
        output: output(),
        destructive: false,
        open_world: true,
        retry_class: RetryClass::Read,
        aliases: &[("repo", &["name"])],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let (text, flag) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    json!({
        "type": "object",
        "required": ["full_name", "default_branch", "private", "archived", "permissions", "html_url", "topics"],
        "properties": {
            "full_name": text, "default_branch": text, "private": flag, "archived": flag,
            "permissions": { "type": "object", "additionalProperties": { "type": "boolean" } },
            "html_url": text, "topics": { "type": "array", "items": { "type": "string" } },
            "warnings": { "type": "array", "items": { "type": "string" } },
        },
    })
}

async fn get_repository(github: &Github, call: &Call) -> Answer {
    let repository = github.open(call, &call.parse::<Target>()?).await?;
    let found: Shape = repository.get("").await?;
    check_allowed(&found.full_name, &github.config)?;
    let moved = !found.full_name.eq_ignore_ascii_case(&repository.full_name());
    let warning = moved.then(|| format!("moved: the repository is now called {}", found.full_name));
    Ok(json!({
        "full_name": found.full_name,
        "default_branch": found.default_branch,
        "private": found.private,
        "archived": found.archived,
        "permissions": found.permissions,
        "html_url": found.html_url,
        "topics": found.topics,
        "warnings": warning.into_iter().collect::<Vec<_>>(),
    }))
}
