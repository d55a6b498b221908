//! What the double knows of GitHub Actions and of what speaks about commits: workflows, runs, jobs with
//! their logs, checks, statuses, and which of them a branch asks for.
//!
//! Runs move when they are told to: by [`Actions::advance`] and [`Actions::finish`], or, with
//! [`Progress::EachLook`], a step further whenever somebody reads the run.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::CALLER;
use crate::clock;

/// Actions of one repository.
#[derive(Debug, Clone, Serialize)]
pub struct Actions {
    /// Workflows by their file, such as `ci.yml`.
    pub workflows: BTreeMap<String, Workflow>,
    /// Runs by their id.
    pub runs: BTreeMap<u64, Run>,
    /// Checks on commits, oldest first.
    pub checks: Vec<Check>,
    /// Statuses of commits, oldest first.
    pub statuses: Vec<Status>,
    /// The checks that a branch asks for, by branch.
    pub required: BTreeMap<String, Vec<String>>,
    /// The role of people on the repository, by login: `admin`, `maintain`, `write`, `triage`, `read`.
    pub roles: BTreeMap<String, String>,
    /// Events sent by `repository_dispatch`, oldest first.
    pub events: Vec<Value>,
    /// Whether a dispatch answers which run it started; GitHub Enterprise up to 3.19 does not.
    pub names_runs: bool,
    /// How many lists of runs a new run is missing from.
    pub lag: u32,
    /// What makes runs move.
    pub progress: Progress,
    next_id: u64,
}

/// What makes runs move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Progress {
    /// Nothing but the test.
    #[default]
    ByHand,
    /// Whoever reads a run finds it a step further the next time.
    EachLook,
}

/// A workflow file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Workflow {
    pub(in crate::github) id: u64,
    /// Its name.
    pub name: String,
    /// Whether it can be started by hand.
    pub dispatchable: bool,
    /// Its inputs, and whether each must be given.
    pub inputs: BTreeMap<String, bool>,
    /// The input that its `run-name` shows, if it has one.
    pub run_name_input: Option<String>,
    /// The jobs that a run of it has.
    pub jobs: Vec<PlannedJob>,
}

/// A job as it will go.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PlannedJob {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<String>,
    /// The step at which it fails; it succeeds when there is none.
    pub fails_at: Option<String>,
    /// What it writes, in the form in which GitHub keeps it.
    pub log: String,
}

/// A run of a workflow.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Its id.
    pub id: u64,
    /// The file of its workflow.
    pub workflow: String,
    /// Its number among the runs of the repository.
    pub number: u64,
    /// The branch or tag it runs on.
    pub head_branch: String,
    /// The commit it runs on.
    pub head_sha: String,
    /// What started it, such as `workflow_dispatch`.
    pub event: String,
    /// How often it was started.
    pub attempt: u64,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// Who started it.
    pub actor: String,
    /// What lists show.
    pub display_title: String,
    /// What it was given.
    pub inputs: Map<String, Value>,
    /// When it was first started, in milliseconds since 1970.
    pub created_ms: u64,
    /// When its present attempt was started.
    pub started_ms: u64,
    /// When it last changed.
    pub updated_ms: u64,
    /// The jobs of all its attempts, oldest first.
    pub jobs: Vec<Job>,
    #[serde(skip)]
    pub(in crate::github) hidden: u32,
}

/// A job of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its id.
    pub id: u64,
    /// The attempt of the run that it belongs to.
    pub attempt: u64,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// How it goes.
    pub plan: PlannedJob,
    /// Whether its log is kept no longer.
    pub log_expired: bool,
}

/// A check on a commit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Check {
    pub(in crate::github) id: u64,
    /// Its name.
    pub name: String,
    /// The commit.
    pub sha: String,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
}

/// A status of a commit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Its id.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// What the status is about.
    pub context: String,
    /// `error`, `failure`, `pending` or `success`.
    pub state: String,
    /// In words.
    pub description: Option<String>,
    /// Where to read more.
    pub target_url: Option<String>,
    pub(in crate::github) at_ms: u64,
}

/// What starts a run.
#[derive(Debug, Clone, Default)]
pub struct Started<'a> {
    /// The event; `push` when it is empty.
    pub event: &'a str,
    /// The branch or tag.
    pub branch: &'a str,
    /// The commit.
    pub sha: &'a str,
    /// Who; the owner of the token when it is empty.
    pub actor: &'a str,
    /// What it is given.
    pub inputs: Map<String, Value>,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            workflows: BTreeMap::new(),
            runs: BTreeMap::new(),
            checks: Vec::new(),
            statuses: Vec::new(),
            required: BTreeMap::new(),
            roles: BTreeMap::new(),
            events: Vec::new(),
            names_runs: true,
            lag: 0,
            progress: Progress::ByHand,
            next_id: 7_000,
        }
    }
}

impl Actions {
    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Adds a workflow.
    pub fn add_workflow(&mut self, file: &str, workflow: Workflow) {
        let id = self.take_id();
        self.workflows.insert(file.to_owned(), Workflow { id, ..workflow });
    }

    /// A workflow by its file, its path or its id.
    pub(in crate::github) fn workflow(&self, named: &str) -> Option<(&String, &Workflow)> {
        let named = named.strip_prefix(".github/workflows/").unwrap_or(named);
        let id = named.parse::<u64>().ok();
        self.workflows.iter().find(|(file, own)| *file == named || Some(own.id) == id)
    }

    /// Starts a run of a workflow that is known, and returns its id.
    pub fn start(&mut self, file: &str, started: &Started<'_>) -> u64 {
        let id = self.take_id();
        let now = clock::now_ms();
        let own = |text: &str, otherwise: &str| {
            if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
        };
        let workflow = self.workflows.get(file).cloned().unwrap_or_default();
        let shown =
            workflow.run_name_input.as_ref().and_then(|name| started.inputs.get(name)?.as_str());
        let display_title = match shown {
            Some(shown) => format!("{} {shown}", workflow.name),
            None => workflow.name.clone(),
        };
        let mut run = Run {
            id,
            workflow: file.to_owned(),
            number: self.runs.len() as u64 + 1,
            head_branch: started.branch.to_owned(),
            head_sha: started.sha.to_owned(),
            event: own(started.event, "push"),
            attempt: 1,
            status: "queued".to_owned(),
            conclusion: None,
            actor: own(started.actor, CALLER),
            display_title,
            inputs: started.inputs.clone(),
            created_ms: now,
            started_ms: now,
            updated_ms: now,
            jobs: Vec::new(),
            hidden: self.lag,
        };
        run.jobs = self.jobs(&workflow.jobs, 1);
        self.runs.insert(id, run);
        id
    }

    fn jobs(&mut self, planned: &[PlannedJob], attempt: u64) -> Vec<Job> {
        let new = |plan: &PlannedJob| Job {
            id: self.take_id(),
            attempt,
            status: "queued".to_owned(),
            conclusion: None,
            plan: plan.clone(),
            log_expired: false,
        };
        planned.iter().map(new).collect()
    }

    /// Starts a run again: all of it, or only what failed.
    pub(in crate::github) fn restart(&mut self, id: u64, failed_only: bool) {
        let Some(run) = self.runs.get(&id) else { return };
        let of_last = run.jobs.iter().filter(|job| job.attempt == run.attempt);
        let again =
            of_last.filter(|job| !failed_only || job.conclusion.as_deref() == Some("failure"));
        let planned: Vec<_> = again.map(|job| job.plan.clone()).collect();
        let attempt = run.attempt + 1;
        let jobs = self.jobs(&planned, attempt);
        let run = self.runs.get_mut(&id).expect("looked up before");
        (run.attempt, run.status, run.conclusion) = (attempt, "queued".to_owned(), None);
        run.started_ms = clock::now_ms();
        run.updated_ms = run.started_ms;
        run.jobs.extend(jobs);
    }

    /// Moves a run one state further; it ends as its jobs were planned.
    pub fn advance(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match run.status.as_str() {
            "queued" => run.mark("in_progress", None),
            "in_progress" => {
                let fails = |job: &Job| job.attempt == run.attempt && job.plan.fails_at.is_some();
                let conclusion = if run.jobs.iter().any(fails) { "failure" } else { "success" };
                run.mark("completed", Some(conclusion));
            }
            _ => {}
        }
    }

    /// Ends a run in this way, whatever its jobs were planned to do.
    pub fn finish(&mut self, id: u64, conclusion: &str) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.mark("completed", Some(conclusion));
        }
    }

    /// The job of that id, with its run.
    pub(in crate::github) fn job(&self, id: u64) -> Option<(&Run, &Job)> {
        self.runs.values().find_map(|run| Some((run, run.jobs.iter().find(|job| job.id == id)?)))
    }

    /// Puts a check on a commit, in the place of one of the same name.
    pub fn check(&mut self, sha: &str, name: &str, status: &str, conclusion: Option<&str>) {
        let id = self.take_id();
        self.checks.retain(|check| check.sha != sha || check.name != name);
        self.checks.push(Check {
            id,
            name: name.to_owned(),
            sha: sha.to_owned(),
            status: status.to_owned(),
            conclusion: conclusion.map(str::to_owned),
        });
    }

    /// Puts a status on a commit.
    pub fn status(&mut self, status: Status) -> &Status {
        let id = self.take_id();
        self.statuses.push(Status { id, at_ms: clock::now_ms(), ..status });
        self.statuses.last().expect("just added")
    }

    /// The newest status of each context of a commit.
    pub(in crate::github) fn newest(&self, sha: &str) -> Vec<&Status> {
        let mut newest = BTreeMap::new();
        for status in self.statuses.iter().filter(|status| status.sha == sha) {
            newest.insert(status.context.to_ascii_lowercase(), status);
        }
        newest.into_values().collect()
    }
}

impl Run {
    fn mark(&mut self, status: &str, conclusion: Option<&str>) {
        (self.status, self.conclusion) = (status.to_owned(), conclusion.map(str::to_owned));
        self.updated_ms = clock::now_ms();
        for job in self.jobs.iter_mut().filter(|job| job.attempt == self.attempt) {
            status.clone_into(&mut job.status);
            job.conclusion = conclusion.map(|all| match (all, &job.plan.fails_at) {
                ("success" | "failure", Some(_)) => "failure".to_owned(),
                ("success" | "failure", None) => "success".to_owned(),
                (other, _) => other.to_owned(),
            });
        }
    }
}

impl PlannedJob {
    /// A job of these steps that succeeds.
    pub fn new(name: &str, steps: &[&str]) -> Self {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        Self { name: name.to_owned(), steps, ..Self::default() }
    }

    /// The same, failing at a step, with this in its log.
    pub fn failing(self, step: &str, log: &str) -> Self {
        Self { fails_at: Some(step.to_owned()), log: log.to_owned(), ..self }
    }
}
