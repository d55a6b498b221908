//! triggerWorkflow: starts a run of a workflow, and says which.
//!
//! GitHub names the run where it is asked to. GitHub Enterprise up to 3.19 does not, and an answer may be lost:
//! then the run is looked for, by a word of ours among its inputs if the workflow shows one, else by time and
//! by who started it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::runs::{Run, User, workflow_name};
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::{Answered, Repository, Verb};
use crate::github::names::{mark, query};
use crate::github::pages::Paging;
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

const MOST_INPUTS: usize = 25;
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// Clocks differ, and GitHub counts in seconds.
const BEFORE_FIRST_ATTEMPT_S: i64 = 60;
const BEFORE_ANSWER_S: i64 = 10;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    workflow: String,
    #[serde(rename = "ref")]
    name: Option<String>,
    #[serde(default)]
    inputs: Map<String, Value>,
    correlation_input: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// What GitHub says about the run that it started.
#[derive(Deserialize)]
struct Details {
    workflow_run_id: u64,
    #[serde(default)]
    run_url: String,
    #[serde(default)]
    html_url: String,
}

/// A workflow to start.
struct Dispatch<'a> {
    repository: &'a Repository,
    workflow: &'a str,
    /// The branch or tag, without `refs/…`.
    name: &'a str,
    /// The word to find the run by, if the workflow shows it.
    mark: Option<String>,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "workflow": text("The workflow's file, such as deploy.yml, or its id"),
        "ref": text("The branch or tag to run on; the default branch when left out"),
        "inputs": {
            "type": "object", "maxProperties": MOST_INPUTS, "default": {},
            "description": "The workflow's inputs. Numbers and truth values are sent as text, anything deeper as JSON",
        },
        "correlation_input": text(
            "The name of an input that the workflow shows in its run-name. Windlass puts a word of its own into it and \
             finds the run by that for certain, also where an answer was lost",
        ),
    });
    Tool {
        spec: ToolSpec {
            name: "triggerWorkflow",
            title: "Trigger workflow",
            description: "Starts a run of a GitHub Actions workflow that has a workflow_dispatch trigger, and answers the \
                          run's id. Wait for its end with waitForWorkflowRun.",
            input: changing_arguments(properties, &["workflow"]),
            output: output(),
            retry_class: RetryClass::Keyed,
            aliases: &[("ref", &["branch"])],
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { trigger(&github, &call).await }),
    }
}

fn output() -> Value {
    let properties = json!({
        "run_id": { "type": "integer" }, "run_url": { "type": "string" }, "html_url": { "type": "string" },
        "correlated_by": {
            "type": "string", "enum": ["response", "input", "time"],
            "description": "How the run is known: GitHub named it; it shows our word; or it is the only one that fits",
        },
    });
    changing_result(properties, &["run_id", "run_url", "html_url", "correlated_by"])
}

async fn trigger(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => repository.default_branch().await?,
    };
    let short = ["refs/heads/", "refs/tags/"].iter().find_map(|start| name.strip_prefix(start));
    let key = call.idempotency_key.as_deref();
    let dispatch = Dispatch {
        repository: &repository,
        workflow: workflow_name(&arguments.workflow),
        name: short.unwrap_or(&name),
        mark: arguments.correlation_input.as_ref().and(key).map(mark),
    };
    let inputs = dispatch.inputs(&arguments)?;
    if arguments.dry_run {
        return dispatch.plan(&inputs).await;
    }
    if call.key_to_look_up().is_some() {
        let started = call.first_started_at.and_then(DateTime::from_timestamp_millis);
        let since = started.map(|at| at - TimeDelta::seconds(BEFORE_FIRST_ATTEMPT_S));
        let patience = dispatch.patience(github, started);
        if let Some((run, by)) = dispatch.find(github, since, patience).await? {
            return Ok(answer(run.id, &run.url, &run.html_url, by, false));
        }
    }
    let answered = dispatch.send(&name, &inputs).await?;
    if !answered.body.is_empty() {
        let details: Details = answered.json(repository.sent())?;
        let Details { workflow_run_id, run_url, html_url } = details;
        return Ok(answer(workflow_run_id, &run_url, &html_url, "response", true));
    }
    let since = answered_at(&answered) - TimeDelta::seconds(BEFORE_ANSWER_S);
    let patience = Duration::from_millis(github.config.find_run_ms);
    match dispatch.find(github, Some(since), patience).await? {
        Some((run, by)) => Ok(answer(run.id, &run.url, &run.html_url, by, true)),
        None => Err(dispatch.not_shown()),
    }
}

fn answer(id: u64, url: &str, html_url: &str, by: &str, created: bool) -> Value {
    let warnings: Vec<_> = (by == "time")
        .then_some(
            "the run is known by its time only: give correlation_input to know it for certain",
        )
        .into_iter()
        .collect();
    json!({
        "run_id": id, "run_url": url, "html_url": html_url, "correlated_by": by, "created": created,
        "warnings": warnings,
    })
}

/// When GitHub answered, by its own clock.
fn answered_at(answered: &Answered) -> DateTime<Utc> {
    let told = answered.header("date").and_then(|text| DateTime::parse_from_rfc2822(text).ok());
    told.map_or_else(Utc::now, |told| told.to_utc())
}

impl Dispatch<'_> {
    fn inputs(&self, arguments: &Arguments) -> Result<Map<String, Value>, ToolError> {
        let as_text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let given = arguments.inputs.iter().filter(|(_, value)| !value.is_null());
        let mut inputs: Map<_, _> =
            given.map(|(name, value)| (name.clone(), as_text(value).into())).collect();
        if let (Some(name), Some(mark)) = (&arguments.correlation_input, &self.mark) {
            if inputs.contains_key(name) {
                let message =
                    format!("correlation_input is {name:?}, and inputs has a value for it");
                return Err(ToolError::new(Code::InvalidArgument, message)
                    .hint("leave that input out: Windlass fills it"));
            }
            inputs.insert(name.clone(), mark.as_str().into());
        }
        if MOST_INPUTS < inputs.len() {
            let message =
                format!("{} inputs are given, and GitHub takes {MOST_INPUTS}", inputs.len());
            return Err(ToolError::new(Code::InvalidArgument, message));
        }
        Ok(inputs)
    }

    async fn plan(&self, inputs: &Map<String, Value>) -> Answer {
        #[derive(Deserialize)]
        struct Workflow {
            path: String,
        }
        let route = format!("/actions/workflows/{}", query(self.workflow));
        let found = self.repository.get::<Workflow>(&route).await;
        let found = found.map_err(|error| self.explain(error))?;
        let names = inputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let with = if names.is_empty() { String::new() } else { format!(" with {names}") };
        let step = format!("start {} on {}{with}", found.path, self.name);
        Ok(planned(vec![step], json!({})))
    }

    async fn send(&self, name: &str, inputs: &Map<String, Value>) -> Result<Answered, ToolError> {
        let route = format!("/actions/workflows/{}/dispatches", query(self.workflow));
        let body = json!({ "ref": name, "inputs": inputs, "return_run_details": true });
        let sent = self.repository.write(Verb::Post, &route, Some(&body)).await;
        sent.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: ToolError) -> ToolError {
        if error.status() == Some(404) {
            let message =
                format!("{} has no workflow {:?}", self.repository.full_name(), self.workflow);
            return ToolError { message, ..error }.hint(
                "give the name of a file in .github/workflows on the default branch, such as deploy.yml; \
                 the token needs the permission to write Actions",
            );
        }
        if error.says(422, "workflow_dispatch") {
            let error = ToolError { code: Code::FailedPrecondition, ..error };
            return error.hint("add `on: workflow_dispatch` to the workflow on the default branch");
        }
        error
    }

    /// How long a run may take to be listed. What was sent long ago is listed by now.
    fn patience(&self, github: &Github, started: Option<DateTime<Utc>>) -> Duration {
        let most = Duration::from_millis(github.config.find_run_ms);
        let past = started.and_then(|started| (Utc::now() - started).to_std().ok());
        past.map_or(Duration::ZERO, |past| most.saturating_sub(past))
    }

    /// Looks for the run until it shows or the time is up.
    async fn find(
        &self,
        github: &Github,
        since: Option<DateTime<Utc>>,
        patience: Duration,
    ) -> Result<Option<(Run, &'static str)>, ToolError> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.look(github, since).await?;
            if found.is_some() || deadline <= Instant::now() {
                return Ok(found);
            }
            tokio::time::sleep(BETWEEN_LOOKS.min(patience / 4)).await;
        }
    }

    async fn look(
        &self,
        github: &Github,
        since: Option<DateTime<Utc>>,
    ) -> Result<Option<(Run, &'static str)>, ToolError> {
        let workflow = query(self.workflow);
        let mut route = format!(
            "/actions/workflows/{workflow}/runs?event=workflow_dispatch&branch={}",
            query(self.name)
        );
        if let Some(since) = since {
            let since = since.format(">=%Y-%m-%dT%H:%M:%SZ").to_string();
            route = format!("{route}&created={}", query(&since));
        }
        let paging = Paging { per_page: Some(100), max_items: Some(300), ..Paging::default() };
        let found = self.repository.pages::<Run>(&route, Some("workflow_runs"), paging).await;
        let mut runs = found.map_err(|error| self.explain(error))?.items;
        if let Some(mark) = &self.mark {
            let ours = runs.into_iter().rfind(|run| run.display_title.contains(mark));
            return Ok(ours.map(|run| (run, "input")));
        }
        if 1 < runs.len() {
            let login = github.access.login(&self.repository.session).await.ok();
            let by = |user: &Option<User>| user.as_ref().map(|user| user.login.clone());
            let ours = |run: &Run| login.is_none() || by(&run.triggering_actor) == login;
            runs.retain(ours);
        }
        match runs.len() {
            0 | 1 => Ok(runs.pop().map(|run| (run, "time"))),
            _ => Err(self.ambiguous(&runs)),
        }
    }

    fn ambiguous(&self, runs: &[Run]) -> ToolError {
        let ids: Vec<_> = runs.iter().take(5).map(|run| run.id.to_string()).collect();
        let message = format!(
            "{} runs of {} on {} were started at that time, and nothing says which is ours: {}",
            runs.len(),
            self.workflow,
            self.name,
            ids.join(", ")
        );
        ToolError::new(Code::Conflict, message).hint(
            "look which run it is, and give correlation_input the next time: an input that the workflow's run-name shows",
        )
    }

    fn not_shown(&self) -> ToolError {
        let message = format!(
            "GitHub took the dispatch of {} on {}, but lists no run of it yet",
            self.workflow, self.name
        );
        ToolError::new(Code::FailedPrecondition, message)
            .hint("look for the run with listWorkflowRuns; do not start it again before that")
    }
}
