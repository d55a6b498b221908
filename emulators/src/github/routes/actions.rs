//! GitHub Actions: workflows, their runs, jobs and logs.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Handler, Outcome, Reply, created, not_found, ok, refusal, unprocessable};
use crate::clock::timestamp;
use crate::github::shapes::{Shapes, node_id};
use crate::github::state::{Job, Progress, Run, Started, Workflow};

const MOST_INPUTS: usize = 25;

impl Handler<'_> {
    /// The routes of Actions.
    pub(super) fn action_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["actions", "workflows"]) => self.list_workflows(),
            ("GET", ["actions", "workflows", named]) => self.get_workflow(named),
            ("GET", ["actions", "workflows", named, "runs"]) => self.list_runs(Some(named)),
            ("POST", ["actions", "workflows", named, "dispatches"]) => self.dispatch(named),
            ("GET", ["actions", "runs"]) => self.list_runs(None),
            ("GET", ["actions", "runs", id]) => self.get_run(id),
            ("GET", ["actions", "runs", id, "jobs"]) => self.list_jobs(id),
            ("POST", ["actions", "runs", id, "rerun"]) => self.rerun(id, false),
            ("POST", ["actions", "runs", id, "rerun-failed-jobs"]) => self.rerun(id, true),
            ("POST", ["actions", "runs", id, "cancel"]) => self.cancel(id),
            ("GET", ["actions", "jobs", id]) => self.get_job(id),
            ("GET", ["actions", "jobs", id, "logs"]) => self.get_log(id),
            ("POST", ["dispatches"]) => self.repository_dispatch(),
            _ => return None,
        })
    }

    fn workflow(&self, named: &str) -> Result<(&String, &Workflow), Reply> {
        self.repository().actions.workflow(named).ok_or_else(not_found)
    }

    fn run(&self, id: &str) -> Result<&Run, Reply> {
        let id = id.parse::<u64>().ok();
        id.and_then(|id| self.repository().actions.runs.get(&id)).ok_or_else(not_found)
    }

    fn list_workflows(&self) -> Outcome {
        let shapes = self.shapes();
        let all = &self.repository().actions.workflows;
        let items = all.iter().map(|(file, workflow)| shapes.workflow(file, workflow)).collect();
        self.wrapped("workflows", items)
    }

    fn get_workflow(&self, named: &str) -> Outcome {
        let (file, workflow) = self.workflow(named)?;
        Ok(ok(self.shapes().workflow(file, workflow)))
    }

    /// A page of a list under a key, with the length of the whole.
    pub(super) fn wrapped(&self, key: &str, items: Vec<Value>) -> Outcome {
        let total = items.len();
        let (page, link) = self.cut(items);
        let body = Map::from_iter([
            ("total_count".to_owned(), total.into()),
            (key.to_owned(), page.into()),
        ]);
        Ok(Reply { headers: link.into_iter().collect(), ..ok(body.into()) })
    }

    fn list_runs(&mut self, workflow: Option<&str>) -> Outcome {
        let file =
            workflow.map(|named| self.workflow(named).map(|(file, _)| file.clone())).transpose()?;
        let since = self.query("created").map(|text| text.trim_start_matches(">=").to_owned());
        let fits = |key: &str, own: &str| self.query(key).is_none_or(|wanted| wanted == own);
        let status = |run: &Run| {
            self.query("status").is_none_or(|wanted| {
                run.status == wanted || run.conclusion.as_deref() == Some(wanted)
            })
        };
        let wanted = |run: &&Run| {
            file.as_ref().is_none_or(|file| run.workflow == *file)
                && fits("event", &run.event)
                && fits("branch", &run.head_branch)
                && fits("head_sha", &run.head_sha)
                && fits("actor", &run.actor)
                && status(run)
                && since.as_ref().is_none_or(|since| *since <= timestamp(run.created_ms))
        };
        let found = self.repository().actions.runs.values().rev().filter(wanted);
        let (hidden, shown): (Vec<&Run>, Vec<&Run>) = found.partition(|run| 0 < run.hidden);
        let hidden: Vec<u64> = hidden.iter().map(|run| run.id).collect();
        let shapes = self.shapes();
        let reply =
            self.wrapped("workflow_runs", shown.iter().map(|run| shapes.run(run)).collect());
        self.change(|repository| {
            for id in hidden {
                repository.actions.runs.entry(id).and_modify(|run| run.hidden -= 1);
            }
        });
        reply
    }

    fn get_run(&mut self, id: &str) -> Outcome {
        let run = self.run(id)?;
        let (id, reply) = (run.id, ok(self.shapes().run(run)));
        if self.repository().actions.progress == Progress::EachLook {
            self.change(|repository| repository.actions.advance(id));
        }
        Ok(reply)
    }

    fn dispatch(&mut self, named: &str) -> Outcome {
        let file = self.workflow(named)?.0.clone();
        let name = self.required("WorkflowDispatch", "ref")?;
        let inputs = self.request.body["inputs"].as_object().cloned().unwrap_or_default();
        self.check_inputs(&file, &inputs)?;
        let sha = self.repository().resolve(&name).map(str::to_owned);
        let sha = sha.ok_or_else(|| unprocessable(&format!("No ref found for: {name}")))?;
        let branch = name.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
        let started = Started { event: "workflow_dispatch", branch, sha: &sha, actor: "", inputs };
        let id = self.change(|repository| repository.actions.start(&file, &started));
        self.record("workflow_dispatched", id);
        let wants = self.request.body["return_run_details"] == true;
        if !wants || !self.repository().actions.names_runs {
            return Ok(nothing());
        }
        let shapes = self.shapes();
        Ok(ok(json!({
            "workflow_run_id": id, "run_url": shapes.api(&format!("/actions/runs/{id}")),
            "html_url": shapes.html(&format!("/actions/runs/{id}")),
        })))
    }

    fn check_inputs(&self, file: &str, inputs: &Map<String, Value>) -> Result<(), Reply> {
        let workflow = &self.repository().actions.workflows[file];
        if !workflow.dispatchable {
            return Err(unprocessable("Workflow does not have 'workflow_dispatch' trigger"));
        }
        let unknown: Vec<_> =
            inputs.keys().filter(|name| !workflow.inputs.contains_key(*name)).collect();
        if !unknown.is_empty() {
            return Err(unprocessable(&format!("Unexpected inputs provided: {unknown:?}")));
        }
        if MOST_INPUTS < inputs.len() {
            return Err(unprocessable(
                "You may only define up to 25 inputs for a workflow_dispatch event",
            ));
        }
        let missing = |(name, must): &(&String, &bool)| **must && !inputs.contains_key(*name);
        match workflow.inputs.iter().find(missing) {
            Some((name, _)) => Err(unprocessable(&format!("Required input '{name}' not provided"))),
            None => Ok(()),
        }
    }

    fn list_jobs(&self, id: &str) -> Outcome {
        let run = self.run(id)?;
        let all = self.query("filter") == Some("all");
        let shapes = self.shapes();
        let jobs = run.jobs.iter().filter(|job| all || job.attempt == run.attempt);
        self.wrapped("jobs", jobs.map(|job| shapes.job(run, job)).collect())
    }

    fn job(&self, id: &str) -> Result<(&Run, &Job), Reply> {
        let id = id.parse::<u64>().ok();
        id.and_then(|id| self.repository().actions.job(id)).ok_or_else(not_found)
    }

    fn get_job(&self, id: &str) -> Outcome {
        let (run, job) = self.job(id)?;
        Ok(ok(self.shapes().job(run, job)))
    }

    /// A log is kept somewhere else: the address holds its own credentials.
    fn get_log(&self, id: &str) -> Outcome {
        let (_, job) = self.job(id)?;
        if job.status != "completed" {
            return Err(not_found());
        }
        if job.log_expired {
            return Err(refusal(StatusCode::GONE, "Server Error"));
        }
        let location = format!(
            "{}/_blobs/{}/logs/{}?sig=a-signature",
            self.addresses.blobs, self.full_name, job.id
        );
        let headers = vec![("location", location)];
        Ok(Reply { status: StatusCode::FOUND, body: Value::Null, headers })
    }

    fn rerun(&mut self, id: &str, failed_only: bool) -> Outcome {
        let run = self.run(id)?;
        if run.status != "completed" {
            return Err(refusal(StatusCode::FORBIDDEN, "This workflow is already running"));
        }
        if failed_only && run.conclusion.as_deref() == Some("success") {
            return Err(refusal(StatusCode::FORBIDDEN, "This workflow run cannot be retried"));
        }
        let id = run.id;
        self.change(|repository| repository.actions.restart(id, failed_only));
        self.record("run_restarted", id);
        Ok(created(json!({})))
    }

    fn cancel(&mut self, id: &str) -> Outcome {
        let run = self.run(id)?;
        let id = run.id;
        if run.status == "completed" {
            let message = "Cannot cancel a workflow run that is completed.";
            return Err(refusal(StatusCode::CONFLICT, message));
        }
        self.change(|repository| repository.actions.finish(id, "cancelled"));
        self.record("run_cancelled", id);
        Ok(Reply { status: StatusCode::ACCEPTED, ..ok(json!({})) })
    }

    fn repository_dispatch(&mut self) -> Outcome {
        self.required("RepositoryDispatch", "event_type")?;
        let event = self.request.body.clone();
        self.change(|repository| repository.actions.events.push(event));
        self.record(
            "repository_dispatched",
            self.text("event_type").unwrap_or_default().to_owned(),
        );
        Ok(nothing())
    }
}

/// Yes, and nothing to say.
pub(super) fn nothing() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, ..ok(Value::Null) }
}

impl Shapes<'_> {
    fn workflow(self, file: &str, workflow: &Workflow) -> Value {
        let created = timestamp(self.repository.created_ms);
        json!({
            "id": workflow.id, "node_id": node_id("Workflow", &workflow.id.to_string()),
            "name": workflow.name, "path": format!(".github/workflows/{file}"), "state": "active",
            "created_at": created, "updated_at": created,
            "url": self.api(&format!("/actions/workflows/{}", workflow.id)),
            "html_url": self.html(&format!("/blob/main/.github/workflows/{file}")),
            "badge_url": self.html(&format!("/workflows/{}/badge.svg", workflow.name)),
        })
    }

    fn run(self, run: &Run) -> Value {
        let address = self.api(&format!("/actions/runs/{}", run.id));
        let workflow = self.repository.actions.workflows.get(&run.workflow);
        let (workflow_id, name) =
            workflow.map_or((0, ""), |workflow| (workflow.id, workflow.name.as_str()));
        let actor = self.user(&run.actor);
        let repository = self.repository();
        let previous = (1 < run.attempt).then(|| format!("{address}/attempts/{}", run.attempt - 1));
        json!({
            "id": run.id, "name": name, "node_id": node_id("WorkflowRun", &run.id.to_string()),
            "check_suite_id": run.id + 1, "check_suite_node_id": node_id("CheckSuite", &run.id.to_string()),
            "head_branch": run.head_branch, "head_sha": run.head_sha,
            "path": format!(".github/workflows/{}", run.workflow), "display_title": run.display_title,
            "run_number": run.number, "run_attempt": run.attempt, "event": run.event,
            "status": run.status, "conclusion": run.conclusion, "workflow_id": workflow_id,
            "url": address, "html_url": self.html(&format!("/actions/runs/{}", run.id)),
            "pull_requests": [], "referenced_workflows": [],
            "created_at": timestamp(run.created_ms), "updated_at": timestamp(run.updated_ms),
            "run_started_at": timestamp(run.started_ms),
            "actor": actor, "triggering_actor": actor,
            "jobs_url": format!("{address}/jobs"), "logs_url": format!("{address}/logs"),
            "check_suite_url": self.api(&format!("/check-suites/{}", run.id + 1)),
            "artifacts_url": format!("{address}/artifacts"), "cancel_url": format!("{address}/cancel"),
            "rerun_url": format!("{address}/rerun"), "previous_attempt_url": previous,
            "workflow_url": self.api(&format!("/actions/workflows/{workflow_id}")),
            "head_commit": self.simple_commit(&run.head_sha),
            "repository": repository, "head_repository": repository,
        })
    }

    /// A commit as runs carry it.
    fn simple_commit(self, sha: &str) -> Value {
        let Some(commit) = self.repository.commits.get(sha) else { return Value::Null };
        let person = json!({ "name": "windlass-bot", "email": "windlass-bot@localhost" });
        json!({
            "id": commit.sha, "tree_id": commit.tree, "message": commit.message,
            "timestamp": timestamp(commit.at_ms), "author": person, "committer": person,
        })
    }

    fn job(self, run: &Run, job: &Job) -> Value {
        let address = self.api(&format!("/actions/jobs/{}", job.id));
        let (started, ended) = (timestamp(run.started_ms), timestamp(run.updated_ms));
        let done = job.status == "completed";
        let steps: Vec<_> = (1..)
            .zip(&job.plan.steps)
            .map(|(number, name)| {
                let failed = done && job.plan.fails_at.as_ref() == Some(name);
                let conclusion = done.then_some(if failed { "failure" } else { "success" });
                json!({
                    "name": name, "number": number, "status": job.status, "conclusion": conclusion,
                    "started_at": done.then_some(&started), "completed_at": done.then_some(&ended),
                })
            })
            .collect();
        let workflow = self.repository.actions.workflows.get(&run.workflow);
        json!({
            "id": job.id, "run_id": run.id, "run_url": self.api(&format!("/actions/runs/{}", run.id)),
            "run_attempt": job.attempt, "node_id": node_id("Job", &job.id.to_string()),
            "head_sha": run.head_sha, "head_branch": run.head_branch,
            "workflow_name": workflow.map(|workflow| &workflow.name),
            "url": address, "html_url": self.html(&format!("/actions/runs/{}/job/{}", run.id, job.id)),
            "status": job.status, "conclusion": job.conclusion, "created_at": started,
            "started_at": started, "completed_at": done.then_some(&ended), "name": job.plan.name,
            "steps": steps, "check_run_url": self.api(&format!("/check-runs/{}", job.id)),
            "labels": ["ubuntu-latest"], "runner_id": 1, "runner_name": "runner 1",
            "runner_group_id": 1, "runner_group_name": "default",
        })
    }
}
