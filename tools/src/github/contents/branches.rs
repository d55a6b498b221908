//! getBranch and listBranches: which branches there are, and where they are.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::names::path;
use crate::github::pages::{self, Paging};
use crate::github::refs::{Sha, check_name};
use crate::github::requests::with_query;
use crate::github::schemas::object;
use crate::github::target::Target;
use crate::github::{Github, arguments, text};

#[derive(Deserialize)]
struct Named {
    #[serde(flatten)]
    target: Target,
    branch: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(flatten)]
    target: Target,
    protected: Option<bool>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
    commit: Sha,
    #[serde(default)]
    protected: bool,
}

pub(super) fn get_tool() -> Tool<Github> {
    let spec = ToolSpec {
        name: "getBranch",
        title: "Get branch",
        description: "Reads where a branch of a GitHub repository is and whether it is protected.",
        input: arguments(json!({ "branch": text("The branch") }), &["branch"]),
        output: output(),
        retry_class: RetryClass::Read,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { get_branch(&github, &call).await }) }
}

pub(super) fn list_tool() -> Tool<Github> {
    let protected =
        json!({ "type": "boolean", "description": "Only protected branches, or only others" });
    let spec = ToolSpec {
        name: "listBranches",
        title: "List branches",
        description: "Lists the branches of a GitHub repository.",
        input: arguments(pages::properties(json!({ "protected": protected })), &[]),
        output: pages::output(output()),
        retry_class: RetryClass::Read,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { list_branches(&github, &call).await }) }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    object(json!({ "name": text, "sha": text, "protected": { "type": "boolean" } }))
}

async fn get_branch(github: &Github, call: &Call) -> Answer {
    let arguments: Named = call.parse()?;
    let branch = arguments.branch.strip_prefix("refs/heads/").unwrap_or(&arguments.branch);
    check_name(branch)?;
    let repository = github.open(call, &arguments.target).await?;
    let branch: Branch = repository.get(&format!("/branches/{}", path(branch))).await?;
    Ok(branch.shape())
}

async fn list_branches(github: &Github, call: &Call) -> Answer {
    let arguments: Listed = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let protected = arguments.protected.map(|protected| protected.to_string());
    let route = with_query("/branches", &[("protected", protected)]);
    let found = repository.pages::<Branch>(&route, None, arguments.paging).await?;
    Ok(found.answer(|one| one.shape()))
}

impl Branch {
    fn shape(&self) -> Value {
        json!({ "name": self.name, "sha": self.commit.sha, "protected": self.protected })
    }
}
