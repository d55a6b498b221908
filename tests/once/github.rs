//! The tools of the github server that change something, and others' tools that do it through GitHub.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::{
    GithubEmulator,
    github::{
        Comment, Deployment, Faults, Issue, LineComment, NewIssue, PlannedJob, Pull, Reaction,
        Repository, Started, Workflow,
    },
};

use super::{Case, Change, World, changes_of, check, with};
use crate::durability::Scene;

const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
/// Those that are also tried on the other database.
const FEW: [&str; 4] = [
    "github.createIssue",
    "github.createBranch",
    "github.mergePullRequest",
    "github.triggerWorkflow",
];
const DEPLOYMENT: u64 = 7001;
const COMMENT: u64 = 7003;

#[test]
fn tools_of_github_do_their_work_once_wherever_they_are_killed() {
    try_all(&Scene::on_sqlite(), &own_cases());
}

#[test]
fn a_few_tools_of_github_do_their_work_once_on_postgres_too() {
    let few: Vec<_> = own_cases().into_iter().filter(|(tool, _)| FEW.contains(tool)).collect();
    try_all(&Scene::on_postgres(), &few);
}

#[test]
fn tools_that_work_through_github_do_their_work_once_wherever_they_are_killed() {
    try_all(&Scene::on_sqlite(), &others_cases());
}

fn try_all(scene: &Scene, cases: &[Case]) {
    let runtime = Runtime::new().unwrap();
    let emulator = runtime.block_on(GithubEmulator::start()).unwrap();
    check(scene, &runtime, &emulator, cases);
}

pub(super) fn cases() -> Vec<Case> {
    [own_cases(), others_cases()].concat()
}

fn own_cases() -> Vec<Case> {
    [issues(), contents(), pulls(), actions()].concat()
}

fn here(more: Value) -> Value {
    with(json!({ "owner": "octo", "repo": "${input.place}" }), more)
}

fn issues() -> Vec<Case> {
    let change =
        json!({ "number": 7, "title": "Greet by name", "state": "closed", "add_labels": ["bug"] });
    let sticky = json!({ "number": 7, "body": "By name, please.", "upsert_key": "status" });
    vec![
        ("github.createIssue", here(json!({ "title": "Greet", "body": "by name" }))),
        (
            "github.createIssue",
            here(
                json!({ "title": "Greet", "labels": ["bug"], "assignees": ["octo"], "milestone": "v1" }),
            ),
        ),
        ("github.addIssueComment", here(json!({ "number": 7, "body": "By name, please." }))),
        ("github.addIssueComment", here(sticky)),
        ("github.updateIssue", here(change)),
        ("github.addLabels", here(json!({ "number": 7, "labels": ["bug", "new"] }))),
        ("github.removeLabels", here(json!({ "number": 7, "labels": ["enhancement"] }))),
        ("github.addReaction", here(json!({ "number": 7, "content": "rocket" }))),
        ("github.addReaction", here(json!({ "comment_id": COMMENT, "content": "eyes" }))),
    ]
}

fn contents() -> Vec<Case> {
    let files = json!([{ "path": "a.txt", "content": "a\n" }]);
    let status = json!({ "deployment_id": DEPLOYMENT, "state": "success", "description": "up" });
    vec![
        ("github.createBranch", here(json!({ "branch": "new" }))),
        ("github.createBranch", here(json!({ "branch": "topic", "if_exists": "reset" }))),
        ("github.deleteBranch", here(json!({ "branch": "bare" }))),
        (
            "github.commitFileChanges",
            here(json!({ "branch": "topic", "message": "Greet", "files": files })),
        ),
        ("github.createRelease", here(json!({ "tag_name": "v1.0", "name": "One" }))),
        ("github.createDeployment", here(json!({ "ref": "main", "environment": "staging" }))),
        ("github.createDeploymentStatus", here(status)),
    ]
}

fn pulls() -> Vec<Case> {
    let line = json!([{ "path": "first.txt", "line": 1, "body": "Why?" }]);
    let pull = |more: Value| here(with(json!({ "number": "${input.pull}" }), more));
    vec![
        (
            "github.createPullRequest",
            here(json!({ "head": "topic", "title": "Greet", "labels": ["bug"] })),
        ),
        (
            "github.createPullRequest",
            here(json!({ "head": "bare", "title": "Greet", "if_no_commits": "empty_commit" })),
        ),
        ("github.updatePullRequest", pull(json!({ "title": "Better" }))),
        ("github.requestReviewers", pull(json!({ "reviewers": ["octo"] }))),
        ("github.createReview", pull(json!({ "body": "Good", "comments": line }))),
        ("github.mergePullRequest", pull(json!({ "delete_branch": true }))),
        ("github.mergePullRequest", pull(json!({ "merge_method": "squash" }))),
    ]
}

fn actions() -> Vec<Case> {
    let inputs = json!({ "environment": "staging" });
    let trigger = json!({ "workflow": "deploy.yml", "inputs": inputs });
    vec![
        ("github.triggerWorkflow", here(trigger.clone())),
        ("github.triggerWorkflow", here(with(trigger, json!({ "correlation_input": "mark" })))),
        ("github.rerunWorkflow", here(json!({ "run_id": "${input.ended}" }))),
        ("github.cancelWorkflow", here(json!({ "run_id": "${input.running}" }))),
        (
            "github.createCommitStatus",
            here(json!({ "ref": "main", "state": "success", "context": "windlass" })),
        ),
    ]
}

fn others_cases() -> Vec<Case> {
    let send = json!({ "channel": "issue:octo/${input.place}#7", "text": "Deployed" });
    vec![
        ("notify.send", send.clone()),
        ("notify.send", with(send, json!({ "upsert_key": "${input.place}" }))),
        ("deploy.deploy", json!({ "app": "${input.place}", "version": "1.0" })),
    ]
}

fn settings(url: &str, place: &str) -> String {
    format!(
        r#"[github]
api_url = {url:?}
write_interval_ms = 0
find_run_ms = 300
[notify.channels.issue]
kind = "github"
api_url = {url:?}
token_env = ["GITHUB_TOKEN"]
targets = ["octo/*"]
[deploy.targets.{place}.environments.preview]
kind = "github_workflow"
api_url = {url:?}
repo = "octo/{place}"
workflow = "deploy.yml"
inputs = {{ environment = "preview" }}
key_input = "mark"
"#
    )
}

/// A workflow that can be started by hand, and another with a run that goes on and one that failed.
fn add_actions(repository: &mut Repository, names_runs: bool) -> (u64, u64) {
    let sha = repository.branch("main").unwrap().to_owned();
    let deploy = Workflow {
        name: "Deploy".into(),
        dispatchable: true,
        inputs: BTreeMap::from([("environment".to_owned(), true), ("mark".to_owned(), false)]),
        run_name_input: Some("mark".into()),
        jobs: vec![PlannedJob::new("deploy", &["Run ./deploy"])],
        ..Workflow::default()
    };
    let test = PlannedJob::new("test", &["Run cargo test"]);
    let jobs = vec![test.failing("Run cargo test", "no")];
    let ci = Workflow { name: "CI".into(), jobs, ..Workflow::default() };
    let actions = &mut repository.actions;
    actions.names_runs = names_runs;
    actions.add_workflow("deploy.yml", deploy);
    actions.add_workflow("ci.yml", ci);
    let started = Started { branch: "main", sha: &sha, ..Started::default() };
    let (ended, running) = (actions.start("ci.yml", &started), actions.start("ci.yml", &started));
    actions.finish(ended, "failure");
    (ended, running)
}

/// A pull request of somebody else.
fn pull(repository: &Repository) -> Pull {
    Pull {
        head: "fix".to_owned(),
        base: "main".to_owned(),
        draft: false,
        merged: false,
        maintainer_can_modify: false,
        requested_reviewers: Vec::new(),
        requested_teams: Vec::new(),
        head_sha: repository.branch("fix").unwrap().to_owned(),
        base_sha: repository.branch("main").unwrap().to_owned(),
        merged_ms: None,
        merge_commit: None,
        reviews: Vec::new(),
        line_comments: Vec::<LineComment>::new(),
        unknown_looks: 0,
        blocked: None,
        huge: false,
    }
}

fn deployment(sha: &str) -> Deployment {
    Deployment {
        id: DEPLOYMENT,
        sha: sha.to_owned(),
        git_ref: "main".to_owned(),
        task: "deploy".to_owned(),
        environment: "production".to_owned(),
        description: None,
        payload: json!({}),
        production: true,
        transient: false,
        created_ms: 1000,
        statuses: Vec::new(),
    }
}

fn comment() -> Comment {
    Comment {
        id: COMMENT,
        body: "First".to_owned(),
        user: "eve".to_owned(),
        created_ms: 1000,
        updated_ms: 1000,
        reactions: Vec::new(),
    }
}

/// A text without the mark by which its call finds it again.
fn unmarked(text: &str) -> &str {
    text.split("<!--").next().unwrap_or_default().trim_end()
}

fn reactions(all: &[Reaction]) -> Vec<&str> {
    all.iter().map(|own| own.content.as_str()).collect()
}

fn issue(issue: &Issue) -> Value {
    let comments: Vec<_> = issue.comments.iter().collect();
    let comments: Vec<_> = comments
        .iter()
        .map(|own| json!([unmarked(&own.body), reactions(&own.reactions)]))
        .collect();
    let pull = issue.pull.as_ref().map(|pull| {
        let reviews: Vec<_> =
            pull.reviews.iter().map(|own| json!([own.state, unmarked(&own.body)])).collect();
        let lines: Vec<_> =
            pull.line_comments.iter().map(|own| json!([own.path, own.line])).collect();
        json!([pull.head, pull.base, pull.merged, pull.requested_reviewers, reviews, lines])
    });
    json!({
        "number": issue.number, "title": issue.title, "state": issue.state, "labels": issue.labels,
        "body": issue.body.as_deref().map(unmarked), "assignees": issue.assignees,
        "milestone": issue.milestone, "comments": comments, "reactions": reactions(&issue.reactions),
        "pull": pull,
    })
}

impl World for GithubEmulator {
    fn prepare(&self, scene: &Scene, (_, params): &Case, place: &str) -> Value {
        scene.project.write("windlass.toml", &settings(&self.url(), place));
        let full_name = format!("octo/{place}");
        let labels = vec!["enhancement".to_owned()];
        let first = NewIssue {
            title: "Greet people".to_owned(),
            labels,
            number: Some(7),
            ..NewIssue::default()
        };
        self.add_issue(&full_name, first);
        self.change(&full_name, |repository| {
            let main = repository.refs["refs/heads/main"].clone();
            for name in ["topic", "bare", "fix"] {
                repository.refs.insert(format!("refs/heads/{name}"), main.clone());
            }
            repository.milestones.insert(1, "v1".to_owned());
            repository.deployments.push(deployment(&main));
            repository.issues.get_mut(&7).unwrap().comments.push(comment());
        });
        self.push(&full_name, "topic", "first.txt", "first\n").unwrap();
        self.push(&full_name, "fix", "first.txt", "first\n").unwrap();
        let (title, user) = ("Fix it".to_owned(), "eve".to_owned());
        let number = self.add_issue(&full_name, NewIssue { title, user, ..NewIssue::default() });
        let named = params.get("correlation_input").is_none();
        let runs = self.change(&full_name, |repository| {
            let pull = pull(repository);
            repository.issues.get_mut(&number).unwrap().pull = Some(pull);
            add_actions(repository, named)
        });
        let (ended, running) = runs.unwrap();
        json!({ "place": place, "pull": number, "ended": ended, "running": running })
    }

    fn changes(&self, place: &str) -> Vec<Change> {
        let path = format!("/octo/{place}/");
        let state = self.state();
        let own = state.requests.iter().filter(|request| request.path.contains(&path));
        let changing = own.filter(|request| METHODS.contains(&request.method.as_str()));
        // GitHub may refuse one, such as a branch that is there already.
        let taken = |status: Option<u16>| status.is_some_and(|status| status < 400);
        changes_of(changing.map(|own| (own.method.clone(), path.clone(), taken(own.status))))
    }

    fn picture(&self, _scene: &Scene, place: &str) -> Value {
        let state = self.state();
        let repository = state.repository(&format!("octo/{place}")).unwrap();
        let branches = repository.branches().into_iter().map(|name| {
            let history = repository.history(name);
            let files = ["a.txt", "first.txt"].map(|path| repository.file(name, path));
            json!([name, history.len(), files])
        });
        let releases = repository.releases.iter().map(|own| json!([own.tag, own.name]));
        let deployments = repository.deployments.iter().map(|own| {
            let statuses: Vec<_> = own.statuses.iter().map(|status| &status.state).collect();
            json!([own.environment, statuses])
        });
        let runs = repository.actions.runs.values();
        let runs = runs.map(|run| json!([run.workflow, run.attempt, run.status, run.conclusion]));
        let statuses = repository.actions.statuses.iter();
        let statuses = statuses.map(|status| json!([status.context, status.state]));
        json!({
            "branches": branches.collect::<Vec<_>>(),
            "labels": repository.labels.keys().collect::<Vec<_>>(),
            "issues": repository.issues.values().map(issue).collect::<Vec<_>>(),
            "releases": releases.collect::<Vec<_>>(),
            "deployments": deployments.collect::<Vec<_>>(),
            "runs": runs.collect::<Vec<_>>(),
            "statuses": statuses.collect::<Vec<_>>(),
        })
    }

    fn faults(&self) -> Option<&Faults> {
        Some(self.faults())
    }

    fn points(&self) -> &'static [&'static str] {
        &[]
    }
}
