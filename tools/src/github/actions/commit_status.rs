//! createCommitStatus: says something about a commit.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, RetryClass, Tool, ToolSpec};
use crate::github::names::path;
use crate::github::pages::Paging;
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

/// GitHub refuses longer ones.
const LONGEST_DESCRIPTION: usize = 140;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    sha: String,
    state: String,
    context: String,
    description: Option<String>,
    target_url: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// A status as GitHub answers it, as far as we read it.
#[derive(Deserialize)]
struct Status {
    id: u64,
    context: String,
    state: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    target_url: Option<String>,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "sha": text("The commit; a branch or a tag stands for its commit"),
        "state": { "type": "string", "enum": ["error", "failure", "pending", "success"] },
        "context": text("What the status is about, such as windlass/deploy; the newest of a context counts"),
        "description": text("In words; cut after 140 characters"),
        "target_url": text("Where to read more"),
    });
    Tool {
        spec: ToolSpec {
            name: "createCommitStatus",
            title: "Create commit status",
            description: "Publishes a status on a commit, such as the result of a deployment. A later one of the same \
                          context takes its place.",
            input: changing_arguments(properties, &["sha", "state", "context"]),
            output: output(),
            retry_class: RetryClass::Idempotent,
            aliases: &[("sha", &["ref"])],
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { create(&github, &call).await }),
    }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    let properties =
        json!({ "id": { "type": "integer" }, "sha": text, "state": text, "context": text });
    changing_result(properties, &["id", "sha", "state", "context"])
}

async fn create(github: &Github, call: &Call) -> Answer {
    let mut arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let sha = repository.resolve(&arguments.sha).await?;
    let mut warnings = Vec::new();
    if let Some(description) = &mut arguments.description
        && let Some((end, _)) = description.char_indices().nth(LONGEST_DESCRIPTION)
    {
        description.truncate(end);
        warnings.push(format!("the description is cut after {LONGEST_DESCRIPTION} characters"));
    }
    if arguments.dry_run {
        let step = format!("set {} to {} on {sha}", arguments.context, arguments.state);
        return Ok(planned(vec![step], json!({})));
    }
    if 1 < call.attempt {
        let route = format!("/commits/{}/status", path(&sha));
        let all = repository.pages::<Status>(&route, Some("statuses"), Paging::all()).await?;
        if let Some(found) = all.items.into_iter().find(|status| status.says(&arguments)) {
            return Ok(found.shape(&sha, false, warnings));
        }
    }
    let mut body = json!({ "state": arguments.state, "context": arguments.context });
    let optional = [("description", &arguments.description), ("target_url", &arguments.target_url)];
    for (key, value) in optional {
        if let Some(value) = value {
            body[key] = value.as_str().into();
        }
    }
    let created: Status = repository.post(&format!("/statuses/{}", path(&sha)), &body).await?;
    Ok(created.shape(&sha, true, warnings))
}

impl Status {
    /// Whether it is what was asked for. GitHub does not tell cases of a context apart.
    fn says(&self, wanted: &Arguments) -> bool {
        self.context.eq_ignore_ascii_case(&wanted.context)
            && self.state == wanted.state
            && self.description == wanted.description
            && self.target_url == wanted.target_url
    }

    fn shape(&self, sha: &str, created: bool, warnings: Vec<String>) -> Value {
        json!({
            "id": self.id, "sha": sha, "state": self.state, "context": self.context,
            "created": created, "warnings": warnings,
        })
    }
}
