//! Deploys by starting a workflow of GitHub Actions, and finds the run that it started.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::GithubWorkflow;
use super::driver::{Begun, Look, Order, plain_health};
use super::http::{Sent, client, send};
use super::place::Place;
use super::record::{Record, Status, current};
use super::{Deploy, now, template};
use crate::contract::{Asked, Code, ToolError};

const NAME: &str = "github";
const LIMIT: Duration = Duration::from_secs(20);
const API_VERSION: &str = "2022-11-28";
/// How long GitHub may take to list a run that was started.
const LISTED_WITHIN_MS: i64 = 30_000;
const LOOK_AGAIN_MS: u64 = 10_000;

pub(super) struct Driver<'a> {
    pub(super) deploy: &'a Deploy,
    pub(super) settings: GithubWorkflow,
}

/// A run, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Run {
    id: u64,
    status: Option<String>,
    conclusion: Option<String>,
    html_url: Option<String>,
    display_title: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Runs {
    workflow_runs: Vec<Run>,
}

/// What was found of an earlier attempt.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Run(u64),
    Nothing,
    Several,
}

impl super::driver::Driver for Driver<'_> {
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun> {
        Box::pin(self.start(order))
    }

    fn look<'a>(&'a self, _: &'a Place, record: &'a Record) -> Asked<'a, Look> {
        Box::pin(self.look(record))
    }

    fn health<'a>(&'a self, _: &'a Place, records: &'a [Record]) -> Asked<'a, Value> {
        Box::pin(async move {
            let version = current(records).and_then(|record| record.version.clone());
            let Some(last) = records.last() else {
                let problems = vec!["nothing was ever deployed here".to_owned()];
                return Ok(plain_health("unknown", problems, json!({ "version": version })));
            };
            let health = match last.status {
                Status::Succeeded => "healthy",
                Status::Pending | Status::InProgress | Status::AwaitingAction => "deploying",
                Status::Failed | Status::RolledBack | Status::Stopped => "degraded",
            };
            let problems = last.problem.clone().into_iter().collect();
            Ok(plain_health(health, problems, json!({ "version": version })))
        })
    }
}

impl Driver<'_> {
    async fn start(&self, order: &mut Order<'_>) -> Result<Begun, ToolError> {
        if order.again
            && let Some(run) = self.find(order).await?
        {
            note(&mut order.record, &run);
            return Ok(Begun { changed: true, ..Begun::default() });
        }
        let branch = self.branch().await?;
        let words = order.record.words(order.place);
        let mut inputs = serde_json::Map::new();
        for (name, text) in &self.settings.inputs {
            inputs.insert(name.clone(), template::fill(text, &words)?.into());
        }
        if let Some(name) = &self.settings.key_input {
            inputs.insert(name.clone(), own_key(order).into());
        }
        // What is newer than this run is ours, should the answer be lost.
        let newest = self.runs().await?.iter().map(|run| run.id).max().unwrap_or_default();
        order.record.state = json!({ "newest_before": newest });
        order.journal.save(&order.record).await?;
        let body = json!({ "ref": branch, "inputs": inputs, "return_run_details": true });
        let path = format!("actions/workflows/{}/dispatches", self.settings.workflow);
        let request = self.request(Method::POST, &path)?.json(&body);
        let answered = send(NAME, request, Sent::Keyed).await?;
        let run = match answered.body["workflow_run_id"].as_u64() {
            Some(id) => Run {
                id,
                html_url: answered.body["html_url"].as_str().map(str::to_owned),
                ..Run::default()
            },
            // Older GitHub Enterprise answers nothing.
            None => self.find(order).await?.ok_or_else(|| {
                let message = "GitHub took the request and does not list the run yet";
                ToolError {
                    retry_after_ms: Some(LOOK_AGAIN_MS),
                    retryable: true,
                    ..ToolError::new(Code::Unavailable, message)
                }
            })?,
        };
        note(&mut order.record, &run);
        Ok(Begun { changed: true, ..Begun::default() })
    }

    /// The run that an earlier attempt started.
    async fn find(&self, order: &Order<'_>) -> Result<Option<Run>, ToolError> {
        let Some(newest) = order.record.state["newest_before"].as_u64() else { return Ok(None) };
        let runs = self.runs().await?;
        let key = self.settings.key_input.as_ref().map(|_| own_key(order));
        match pick(&runs, newest, key) {
            Found::Run(id) => Ok(runs.into_iter().find(|run| run.id == id)),
            Found::Nothing if now() - order.record.started_at < LISTED_WITHIN_MS => {
                let message =
                    "an earlier attempt may have started a run that GitHub does not list yet";
                let mut error = ToolError::new(Code::Unavailable, message);
                error.retry_after_ms = Some(LOOK_AGAIN_MS);
                Err(error)
            }
            Found::Nothing => Ok(None),
            Found::Several => {
                let message = format!(
                    "an earlier attempt may have started a run of {}, and several have started since",
                    self.settings.workflow
                );
                Err(ToolError::new(Code::OutcomeUnknown, message).hint(
                    "look at the runs; with `key_input` set to an input that the workflow's run-name shows, Windlass \
                     finds its own",
                ))
            }
        }
    }

    async fn look(&self, record: &Record) -> Result<Look, ToolError> {
        let Some(id) = record.state["run_id"].as_u64() else {
            return Ok(Look::at(record.status));
        };
        let request = self.request(Method::GET, &format!("actions/runs/{id}"))?;
        let answered = send(NAME, request, Sent::Look).await?;
        let run: Run = serde_json::from_value(answered.body).unwrap_or_default();
        Ok(read(&run))
    }

    async fn branch(&self) -> Result<String, ToolError> {
        if let Some(branch) = &self.settings.r#ref {
            return Ok(branch.clone());
        }
        let answered = send(NAME, self.request(Method::GET, "")?, Sent::Look).await?;
        Ok(answered.body["default_branch"].as_str().unwrap_or("main").to_owned())
    }

    async fn runs(&self) -> Result<Vec<Run>, ToolError> {
        let path = format!(
            "actions/workflows/{}/runs?event=workflow_dispatch&per_page=30",
            self.settings.workflow
        );
        let answered = send(NAME, self.request(Method::GET, &path)?, Sent::Look).await?;
        let runs: Runs = serde_json::from_value(answered.body).map_err(|error| {
            ToolError::new(Code::Unavailable, format!("GitHub's answer could not be read: {error}"))
        })?;
        Ok(runs.workflow_runs)
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ToolError> {
        let names = &self.settings.token_env;
        let Some((_, token)) = self.deploy.around.first_of(names) else {
            return Err(ToolError::new(Code::Unauthenticated, "there is no token for GitHub")
                .hint(format!("set {}", names.join(" or "))));
        };
        let api = self.settings.api_url.trim_end_matches('/');
        let url = format!("{api}/repos/{}/{path}", self.settings.repo);
        let request = client(LIMIT)?.request(method, url.trim_end_matches('/')).bearer_auth(token);
        Ok(request
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION))
    }
}

fn own_key(order: &Order<'_>) -> String {
    order.record.id.clone()
}

fn note(record: &mut Record, run: &Run) {
    record.state["run_id"] = run.id.into();
    record.url.clone_from(&run.html_url);
    record.status = Status::InProgress;
}

/// Which of the runs an earlier attempt started.
fn pick(runs: &[Run], newest_before: u64, key: Option<String>) -> Found {
    let newer = runs.iter().filter(|run| newest_before < run.id);
    let own: Vec<_> = match key {
        Some(key) => newer.filter(|run| shows(run, &key)).collect(),
        None => newer.collect(),
    };
    match own.as_slice() {
        [] => Found::Nothing,
        [run] => Found::Run(run.id),
        _ => Found::Several,
    }
}

fn shows(run: &Run, key: &str) -> bool {
    [&run.display_title, &run.name].into_iter().flatten().any(|text| text.contains(key))
}

fn read(run: &Run) -> Look {
    let status = run.status.as_deref().unwrap_or("queued");
    let mut look = Look::at(match (status, run.conclusion.as_deref()) {
        ("completed", Some("success")) => Status::Succeeded,
        ("completed", Some("cancelled")) => Status::Stopped,
        ("completed", _) => Status::Failed,
        ("queued" | "requested" | "pending", _) => Status::Pending,
        _ => Status::InProgress,
    });
    look.progress = json!({ "stage": status });
    if look.status.is_done() {
        look.finished_at = Some(now());
    }
    if matches!(look.status, Status::Failed | Status::Stopped) {
        let conclusion = run.conclusion.as_deref().unwrap_or("nothing");
        let shown = run.html_url.as_deref().unwrap_or_default();
        look.problem =
            Some(format!("run {} of the workflow concluded with {conclusion} {shown}", run.id));
        look.diagnosis = json!({ "summary": format!("conclusion {conclusion}"), "run_id": run.id });
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: u64, title: &str) -> Run {
        Run { id, display_title: Some(title.to_owned()), ..Run::default() }
    }

    #[test]
    fn a_run_is_ours_when_it_is_the_only_newer_one_or_shows_the_key() {
        let runs = [run(3, "deploy k1"), run(2, "deploy k2"), run(1, "deploy k1")];
        let cases = [
            (3, None, Found::Nothing),
            (2, None, Found::Run(3)),
            (1, None, Found::Several),
            (1, Some("k2"), Found::Run(2)),
            (1, Some("k3"), Found::Nothing),
        ];
        for (newest, key, expected) in cases {
            assert_eq!(pick(&runs, newest, key.map(str::to_owned)), expected);
        }
    }
}
