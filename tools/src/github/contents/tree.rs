//! getRepositoryTree: lists the files of a repository.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::globs::fits;
use crate::github::pages;
use crate::github::schemas::flag;
use crate::github::target::Target;
use crate::github::{Github, arguments, text};

/// More would not fit into an answer.
const MOST_ENTRIES: usize = 2000;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    r#ref: Option<String>,
    recursive: Option<bool>,
    path_filter: Option<String>,
}

#[derive(Deserialize)]
struct Tree {
    tree: Vec<Entry>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    size: Option<u64>,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "ref": text("The branch, tag or commit; the default branch when left out"),
        "recursive": flag(true, "List what is in directories too"),
        "path_filter": text("Only paths that fit, such as src/** or *.rs"),
    });
    let text = json!({ "type": "string" });
    let item = json!({
        "type": "object", "required": ["path", "type"],
        "properties": {
            "path": text, "type": { "type": "string", "description": "blob (a file), tree (a directory) or commit (a submodule)" },
            "size": { "type": ["integer", "null"] },
        },
    });
    let spec = ToolSpec {
        name: "getRepositoryTree",
        title: "Get repository tree",
        description: "Lists the files and directories of a GitHub repository.",
        input: arguments(properties, &[]),
        output: pages::output(item),
        retry_class: RetryClass::Read,
        max_bytes: 256 * 1024,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { get_tree(&github, &call).await }) }
}

async fn get_tree(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let name = match arguments.r#ref {
        Some(name) => name,
        None => repository.default_branch().await?,
    };
    let sha = repository.resolve(&name).await?;
    // Any value of `recursive` means yes to GitHub.
    let recursive = if arguments.recursive == Some(false) { "" } else { "?recursive=1" };
    let tree: Tree = repository.get(&format!("/git/trees/{sha}{recursive}")).await?;
    let wanted = |entry: &&Entry| {
        arguments.path_filter.as_ref().is_none_or(|filter| fits(filter, &entry.path))
    };
    let entries: Vec<_> = tree.tree.iter().filter(wanted).collect();
    let truncated = tree.truncated || MOST_ENTRIES < entries.len();
    let items: Vec<Value> = entries.iter().take(MOST_ENTRIES).map(|entry| entry.shape()).collect();
    Ok(json!({
        "items": items, "next_page": null, "truncated": truncated, "total": entries.len(),
    }))
}

impl Entry {
    fn shape(&self) -> Value {
        json!({ "path": self.path, "type": self.kind, "size": self.size })
    }
}
