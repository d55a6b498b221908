//! getWorkflowJobs: the jobs of a run, and the steps at which they failed.

use serde::Deserialize;
use serde_json::{Value, json};

use super::runs::run_id;
use crate::contract::text::without_invisible;
use crate::contract::{Answer, Call, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::pages::{self, Pages, Paging};
use crate::github::target::Target;
use crate::github::{Github, arguments};

/// The conclusions by which a job has failed. One that was cancelled has not.
const FAILED: [&str; 4] = ["failure", "timed_out", "startup_failure", "action_required"];

/// A job as GitHub answers it, as far as we read it.
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    conclusion: Option<String>,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    completed_at: Option<String>,
    #[serde(default)]
    html_url: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    #[serde(default)]
    number: u64,
    #[serde(default)]
    conclusion: Option<String>,
}

impl Job {
    pub(super) fn failed(&self) -> bool {
        has_failed(self.conclusion.as_deref())
    }

    pub(super) fn shape(&self) -> Value {
        let failed = self.steps.iter().filter(|step| has_failed(step.conclusion.as_deref()));
        let failed = failed
            .map(|step| json!({ "number": step.number, "name": without_invisible(&step.name) }));
        json!({
            "id": self.id, "name": without_invisible(&self.name), "status": self.status,
            "conclusion": self.conclusion, "started_at": self.started_at,
            "completed_at": self.completed_at, "html_url": self.html_url,
            "failed_steps": failed.collect::<Vec<_>>(),
        })
    }
}

fn has_failed(conclusion: Option<&str>) -> bool {
    conclusion.is_some_and(|conclusion| FAILED.contains(&conclusion))
}

impl Repository {
    /// The jobs of a run: of its `latest` attempt, or of `all`.
    pub(super) async fn jobs(&self, run: u64, filter: &str) -> Result<Pages<Job>, ToolError> {
        let route = format!("/actions/runs/{run}/jobs?filter={filter}");
        self.pages(&route, Some("jobs"), Paging::all()).await
    }
}

/// The schema of a job.
pub(super) fn schema() -> Value {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let optional = json!({ "type": ["string", "null"] });
    json!({
        "type": "object", "required": ["id", "name", "status", "conclusion", "failed_steps"],
        "properties": {
            "id": number, "name": text, "status": text, "conclusion": optional, "started_at": optional,
            "completed_at": optional, "html_url": optional,
            "failed_steps": { "type": "array", "items": {
                "type": "object", "required": ["number", "name"], "properties": { "number": number, "name": text },
            } },
        },
    })
}

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    run_id: u64,
    #[serde(default)]
    filter: Filter,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Filter {
    #[default]
    Latest,
    All,
    Failed,
}

pub(super) fn tool() -> Tool<Github> {
    let filter = json!({
        "type": "string", "enum": ["latest", "all", "failed"], "default": "latest",
        "description": "latest: of the last attempt; all: of every attempt; failed: those of the last attempt that failed",
    });
    Tool {
        spec: ToolSpec {
            name: "getWorkflowJobs",
            title: "Get workflow jobs",
            description: "Lists the jobs of a run of a GitHub Actions workflow, each with the steps that failed.",
            input: arguments(json!({ "run_id": run_id(), "filter": filter }), &["run_id"]),
            output: pages::output(schema()),
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { list(&github, &call).await }),
    }
}

async fn list(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let filter = if arguments.filter == Filter::All { "all" } else { "latest" };
    let mut jobs = repository.jobs(arguments.run_id, filter).await?;
    if arguments.filter == Filter::Failed {
        jobs.items.retain(Job::failed);
        jobs.total = None;
    }
    Ok(jobs.answer(|job| job.shape()))
}
