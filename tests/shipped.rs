//! The workflows that ship, run through the built binary against doubles: a GitHub, a mock deployer, a log, recorded models.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::{
    AwsEmulator, GithubEmulator,
    aws::REGION,
    github::{NewIssue, PlannedJob, Repository, Started, Workflow},
};

use crate::harness::{Client, Project, SOON, begin, eventually, settled};

/// What the recorded model answers, a profile each; a test lays its own answers over them.
const ANSWERS: &str = r#"
- profile: classifyIssue
  answer: { type: bug, priority: high, category: cart, suggested_labels: [bug, urgent], milestone: "", notes: It panics., confidence: 0.9 }
- { profile: decide, answer: { choice: roll_back, reason: It worked before., confidence: 0.8 } }
- profile: applyFix
  answer: { files: [{ path: src/cart.rs, content: "fn total() -> u64 { 0 }\n" }], commit_message: Guard the total, summary: A guard. }
- profile: updateDependencies
  answer: { files: [{ path: Cargo.toml, content: "serde = \"2\"\n" }], commit_message: Update serde, summary: One update., breaking_changes: [] }
"#;

/// A project, its GitHub with one repository, its AWS, and a deployer that only remembers.
pub(crate) struct Stage {
    pub(crate) project: Project,
    pub(crate) github: GithubEmulator,
    pub(crate) aws: AwsEmulator,
    /// Where a host answers.
    host: SocketAddr,
    _runtime: Runtime,
}

/// Says that something is over once it is dropped, by a panic too.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A host that is well, except at `/nowhere`.
fn host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            let status = if line.contains("/nowhere") { "503 Gone" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

impl Stage {
    pub(crate) fn new(answers: &str) -> Stage {
        let runtime = Runtime::new().unwrap();
        let github = runtime.block_on(GithubEmulator::start()).unwrap();
        github.add_repository("octo/hello");
        let aws = runtime.block_on(AwsEmulator::start()).unwrap();
        let host = host();
        let settings = format!(
            r#"
[github]
api_url = {:?}
write_interval_ms = 0
[deploy.targets.shop.environments.staging]
kind = "mock"
steps = 2
step_ms = 50
fail_versions = ["v3"]
[deploy.ecs]
region = {REGION:?}
endpoint_url = {aws:?}
[observability.sources.aws]
kind = "cloudwatch"
region = {REGION:?}
endpoint_url = {aws:?}
[observability]
hosts = ["{}"]
[observability.sources.files]
kind = "files"
paths = ["logs/*.log"]
[observability.apps.shop.environments.staging]
source = "files"
paths = ["logs/*.log"]
[agent]
recorded = "answers.yaml"
"#,
            github.url(),
            host,
            aws = aws.url(),
        );
        let project = Project::new()
            .with_env("GITHUB_TOKEN", "a-token-of-the-tests")
            .with_env("AWS_ACCESS_KEY_ID", "key")
            .with_env("AWS_SECRET_ACCESS_KEY", "secret")
            .with_file("windlass.toml", &settings)
            .with_file("answers.yaml", &format!("{answers}{ANSWERS}"))
            .with_file("logs/app.log", "2026-11-21T10:00:00Z ERROR divided by zero\n");
        Stage { project, github, aws, host, _runtime: runtime }
    }

    /// Runs a workflow to its end.
    pub(crate) fn run(&self, workflow: &str, input: &Value) -> Value {
        let input = input.to_string();
        self.project.run(&["run", workflow, "--json", "--input", &input]).json()
    }

    pub(crate) fn completes(&self, workflow: &str, input: &Value) -> Value {
        let ended = self.run(workflow, input);
        assert_eq!(ended["status"], "completed", "{workflow}: {ended:#}");
        ended
    }

    pub(crate) fn repository(&self) -> Repository {
        self.github.state().repository("octo/hello").unwrap().clone()
    }

    pub(crate) fn issue(&self) -> u64 {
        let (title, user) = ("The cart panics".to_owned(), "ada".to_owned());
        let body = "When it is empty.".to_owned();
        self.github.add_issue("octo/hello", NewIssue { title, body, user, ..NewIssue::default() })
    }

    /// A pull request of one file.
    pub(crate) fn pull_request(&self) -> u64 {
        self.project.write(
            "workflows/change.yaml",
            r#"
name: change
steps:
  - name: commit
    tool: github.commitFileChanges
    params: { owner: octo, repo: hello, branch: topic, create_branch_from: main, message: Add a cart, files: [{ path: src/cart.rs, content: "fn total() {}\n" }] }
  - { name: open, tool: github.createPullRequest, params: { owner: octo, repo: hello, title: Add a cart, head: topic, base: main, body: Please. } }
output: "${steps.open.number}"
"#,
        );
        self.completes("change", &json!({}))["output"].as_u64().unwrap()
    }

    /// A run of the workflow `test.yml` that has ended; its only job may have failed.
    pub(crate) fn run_of_tests(&self, fails: bool) -> u64 {
        let job = PlannedJob::new("unit", &["checkout", "cargo test"]);
        let log = "error[E0308]: mismatched types in src/cart.rs";
        let job = if fails { job.failing("cargo test", log) } else { job };
        let tests = Workflow {
            name: "Tests".into(),
            dispatchable: true,
            jobs: vec![job],
            ..Workflow::default()
        };
        let run = |repository: &mut Repository| {
            let sha = repository.refs["refs/heads/main"].clone();
            let actions = &mut repository.actions;
            actions.add_workflow("test.yml", tests);
            let started = Started { branch: "main", sha: &sha, ..Started::default() };
            let id = actions.start("test.yml", &started);
            [(); 2].iter().for_each(|()| actions.advance(id));
            id
        };
        self.github.change("octo/hello", run).unwrap()
    }

    /// Runs a workflow to its end while every run of GitHub Actions ends like this soon after it began.
    fn run_while_tests_end(&self, conclusion: &str, workflow: &str, input: &Value) -> Value {
        let over = Over::default();
        let flag = Arc::clone(&over.0);
        let end = |repository: &mut Repository| {
            let runs = repository.actions.runs.values();
            let going = runs.filter(|run| run.status != "completed").map(|run| run.id);
            let going: Vec<_> = going.collect();
            going.into_iter().for_each(|id| repository.actions.finish(id, conclusion));
        };
        std::thread::scope(|scope| {
            let over = over;
            scope.spawn(move || {
                while !flag.load(Ordering::Relaxed) {
                    self.github.change("octo/hello", end);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let ended = self.completes(workflow, input);
            drop(over);
            ended
        })
    }

    pub(crate) fn door(&self) -> Client {
        let mut door = self.project.client(&["serve"]);
        door.initialize();
        door
    }

    /// Runs a workflow that asks once; what it asked, and how it ended.
    pub(crate) fn approves(&self, workflow: &str, input: Value) -> (String, Value) {
        let mut door = self.door();
        let id = begin(&mut door, workflow, input);
        let request = eventually(SOON, "a question", || {
            let open = self.project.run(&["requests", "--json"]).json();
            open["requests"][0].is_object().then(|| open["requests"][0].clone())
        });
        let request_id = request["request_id"].as_str().unwrap();
        self.project.run_ok(&["approve", request_id]);
        (request["message"].as_str().unwrap().to_owned(), settled(&mut door, &id))
    }
}

pub(crate) fn status<'e>(execution: &'e Value, step: &str) -> &'e str {
    let steps = execution["steps"].as_array().unwrap();
    let found = steps.iter().find(|shown| shown["name"] == step);
    found.unwrap_or_else(|| panic!("no step {step}: {execution:#}"))["status"].as_str().unwrap()
}

fn deploys(stage: &Stage, version: &str) -> Value {
    let input = json!({ "app": "shop", "environment": "staging", "version": version, "require_approval": false });
    stage.run("deploy_application", &input)
}

#[test]
fn every_workflow_that_ships_fits_the_tools_that_are_there() {
    let stage = Stage::new("");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let checked = stage.project.run(&["validate", file.to_str().unwrap()]);
        assert!(checked.status.success(), "{}: {checked:#?}", file.display());
    }
}

#[test]
fn every_workflow_that_ships_has_a_row_in_the_readme() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for file in std::fs::read_dir(root.join("workflows")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let row = format!("| [{}](workflows/{name}) |", name.trim_end_matches(".yaml"));
        assert!(readme.contains(&row), "{name}");
    }
}

#[test]
fn an_issue_is_triaged_by_what_is_allowed() {
    let stage = Stage::new("");
    let number = stage.issue();
    let input = json!({ "owner": "octo", "repo": "hello", "issue_number": number });
    let ended = stage.completes("issue_triage", &input);
    assert_eq!(ended["output"]["labels"], json!(["bug"]), "urgent is not allowed: {ended:#}");
    let issue = stage.repository().issues[&number].clone();
    assert_eq!(issue.labels, ["bug"]);
    assert_eq!(issue.comments.len(), 1);
    assert!(issue.comments[0].body.contains("| bug | high | cart |"), "{:?}", issue.comments);
}

const REVIEW: &str = "
- profile: reviewCode
  answer: { summary: One defect., has_feedback: FEEDBACK, verdict: comment, comments: [{ path: src/cart.rs, line: 1, severity: note, body: Why? }], score: 70 }
";

#[test]
fn a_pull_request_is_reviewed_when_there_is_something_to_say() {
    for (feedback, posted) in [("true", 1), ("false", 0)] {
        let stage = Stage::new(&REVIEW.replace("FEEDBACK", feedback));
        let number = stage.pull_request();
        let input = json!({ "owner": "octo", "repo": "hello", "pr_number": number });
        let ended = stage.completes("pr_review_workflow", &input);
        assert_eq!(ended["output"]["posted"], posted == 1, "{ended:#}");
        assert_eq!(stage.github.state().requests_like("POST", "/reviews"), posted, "{ended:#}");
    }
}

const ANALYSIS: &str = "
- profile: analyze
  answer: { description: It divides., root_cause: no guard, category: bug, has_fix: FIX, fix_description: A guard., fix_instructions: Guard it., affected_files: [FILES], confidence: 0.9, evidence: [] }
";

#[test]
fn a_failed_deployment_is_fixed_by_a_pull_request_or_told_to_people() {
    for (fix, file) in [("true", "src/cart.rs"), ("false", "")] {
        let stage = Stage::new(&ANALYSIS.replace("FIX", fix).replace("FILES", file));
        stage
            .github
            .push("octo/hello", "main", "src/cart.rs", "fn total() -> u64 { 1 / 0 }\n")
            .unwrap();
        for version in ["v1", "v2"] {
            assert_eq!(deploys(&stage, version)["status"], "completed");
        }
        let input = json!({ "app": "shop", "environment": "staging", "owner": "octo", "repo": "hello", "since": "3650d", "rollback": "always" });
        let ended = stage.completes("fix_deploy_failure", &input);
        assert_eq!(ended["output"]["rolled_back_to"], "v1", "{ended:#}");
        let repository = stage.repository();
        assert_eq!(repository.pulls().len(), usize::from(fix == "true"), "{ended:#}");
        assert_eq!(ended["output"]["issue"].is_string(), fix == "false", "{ended:#}");
        if fix == "true" {
            let head = repository.pulls()[0].pull.clone().unwrap().head;
            assert_eq!(repository.file(&head, "src/cart.rs").unwrap(), "fn total() -> u64 { 0 }\n");
        }
    }
}

#[test]
fn a_run_of_ci_that_failed_is_fixed_by_a_pull_request_or_told_to_people() {
    for (fails, fix) in [(true, "true"), (true, "false"), (false, "true")] {
        let file = if fix == "true" { "src/cart.rs" } else { "" };
        let stage = Stage::new(&ANALYSIS.replace("FIX", fix).replace("FILES", file));
        let broken = "fn total() -> u64 { 1 / 0 }\n";
        stage.github.push("octo/hello", "main", "src/cart.rs", broken).unwrap();
        let run = stage.run_of_tests(fails);
        let input = json!({ "owner": "octo", "repo": "hello", "run_id": run });
        let ended = stage.completes("ci_failure_handler", &input);
        let proposed = fails && fix == "true";
        let repository = stage.repository();
        assert_eq!(repository.pulls().len(), usize::from(proposed), "{ended:#}");
        let issues = repository.issues.values().filter(|issue| issue.title == "CI failed on main");
        assert_eq!(issues.count(), usize::from(fails && !proposed), "{ended:#}");
        if proposed {
            let head = repository.pulls()[0].pull.clone().unwrap().head;
            assert_eq!(repository.file(&head, "src/cart.rs").unwrap(), "fn total() -> u64 { 0 }\n");
        }
    }
}

#[test]
fn dependencies_are_tried_out_before_they_are_proposed() {
    for (conclusion, passed) in [("success", true), ("failure", false)] {
        let stage = Stage::new(&CHECK.replace("AVAILABLE", "true"));
        stage.github.push("octo/hello", "main", "Cargo.toml", "serde = \"1\"\n").unwrap();
        stage.run_of_tests(false);
        let input = json!({ "owner": "octo", "repo": "hello", "manifest": "Cargo.toml", "ci_workflow": "test.yml" });
        let ended = stage.run_while_tests_end(conclusion, "dependency_update", &input);
        assert_eq!(ended["output"]["tests_passed"], passed, "{ended:#}");
        let repository = stage.repository();
        assert_eq!(repository.actions.runs.len(), 2, "{ended:#}");
        let pull = repository.pulls()[0];
        assert_eq!(pull.pull.as_ref().unwrap().draft, !passed, "{ended:#}");
        assert!(pull.body.as_deref().unwrap().contains(&format!("Tests: {conclusion} http")));
    }
}

const CHECK: &str = "
- profile: checkDependencies
  answer: { available: AVAILABLE, updates: [{ name: serde, current: '1', latest: '2', kind: major, security: false, certain: true, reason: newer }], summary: serde is old. }
";

#[test]
fn dependencies_are_updated_by_a_pull_request_when_there_are_updates() {
    for (available, pulls) in [("true", 1), ("false", 0)] {
        let stage = Stage::new(&CHECK.replace("AVAILABLE", available));
        stage.github.push("octo/hello", "main", "Cargo.toml", "serde = \"1\"\n").unwrap();
        let input = json!({ "owner": "octo", "repo": "hello", "manifest": "Cargo.toml" });
        let ended = stage.completes("dependency_update", &input);
        assert_eq!(stage.repository().pulls().len(), pulls, "{ended:#}");
    }
}

#[test]
fn a_version_is_deployed_once_a_person_agrees_and_taken_back_when_it_fails() {
    let stage = Stage::new("");
    let input = json!({ "app": "shop", "environment": "staging", "version": "v1" });
    let (asked, ended) = stage.approves("deploy_application", input);
    assert!(asked.starts_with("Deploy v1 of shop to staging?"), "{asked}");
    assert_eq!(ended["output"]["version"], "v1", "{ended:#}");
    assert_eq!(status(&deploys(&stage, "v1"), "unchanged"), "completed");
    let failed = deploys(&stage, "v3");
    assert_eq!(failed["error"]["step"], "failed", "{failed:#}");
    assert_eq!(deploys(&stage, "v2")["output"]["from"], "v1", "v3 was taken back");
}

#[test]
fn a_failure_is_looked_into_and_what_helps_is_done_once_a_person_agrees() {
    let stage = Stage::new(&ANALYSIS.replace("FIX", "false").replace("FILES", ""));
    for version in ["v1", "v2"] {
        assert_eq!(deploys(&stage, version)["status"], "completed");
    }
    let input = json!({ "app": "shop", "environment": "staging" });
    let (asked, ended) = stage.approves("troubleshoot_failure", input);
    assert!(asked.contains("no guard"), "{asked}");
    assert_eq!(
        (&ended["output"]["done"], &ended["output"]["health"]),
        (&json!("roll_back"), &json!("healthy"))
    );
    assert_eq!((status(&ended, "restart"), status(&ended, "settled")), ("skipped", "completed"));
}

#[test]
fn the_health_of_everything_is_told_although_something_failed_lately() {
    let stage = Stage::new("");
    deploys(&stage, "v1");
    deploys(&stage, "v3");
    let ended = stage.completes("health_check", &json!({}));
    assert_eq!(ended["output"]["healthy"], true, "{ended:#}");
    let failed = ended["output"]["failed_deployments"][0].as_array().unwrap();
    assert_eq!(failed.len(), 1, "{ended:#}");
    assert!(ended["output"]["report"].as_str().unwrap().starts_with("doc_"), "{ended:#}");
}

#[test]
fn a_host_is_registered_once_and_only_if_it_answers() {
    let stage = Stage::new("");
    let port = stage.host.port();
    let input = |path: &str| json!({ "hostname": "127.0.0.1", "environment": "staging", "scheme": "http", "port": port, "path": path });
    let gone = stage.run("register_agent", &input("/nowhere"));
    assert_eq!(gone["error"]["step"], "check_connectivity", "{gone:#}");
    let (asked, ended) = stage.approves("register_agent", input("/health"));
    assert!(asked.starts_with("Register 127.0.0.1 for staging?"), "{asked}");
    assert!(ended["output"]["document"].as_str().unwrap().starts_with("doc_"), "{ended:#}");
    let again = stage.completes("register_agent", &input("/health"));
    assert_eq!(status(&again, "registered"), "completed", "{again:#}");
}
