//! The tools for GitHub Actions, checks and permissions, against a stateful double.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{
    Action, Actions, PlannedJob, Progress, Started, State, Status, Workflow,
};
use windlass_tools::{GithubConfig, github};

use super::github::{branch, config, head, pull, signed_in, start, start_with_branch};
use crate::harness::{Client, Request, golden_answer, request};

const KEY: &str = "exec_1/deploy#0~0";
const LOG: &str = "2026-11-21T10:05:06.1234567Z ##[group]Run cargo test
2026-11-21T10:05:06.1234567Z \u{1b}[36;1mcargo test\u{1b}[0m
2026-11-21T10:05:06.1234567Z ##[endgroup]
2026-11-21T10:05:08.1234567Z test greeting ... FAILED, token was ghp_0123456789abcdefghij
2026-11-21T10:05:09.1234567Z ##[error]Process completed with exit code 101.
";

fn actions<T>(emulator: &GithubEmulator, change: impl FnOnce(&mut Actions) -> T) -> T {
    emulator.change("octo/hello", |repository| change(&mut repository.actions)).unwrap()
}

/// A double with a workflow that tests and fails, and one that deploys and shows one of its inputs.
async fn prepared() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    prepare(&emulator);
    (emulator, client)
}

fn prepare(emulator: &GithubEmulator) {
    let test = PlannedJob::new("test", &["Set up job", "Run cargo test"]);
    let lint = PlannedJob::new("lint", &["Set up job", "Run cargo clippy"]);
    let ci = Workflow {
        name: "CI".into(),
        jobs: vec![lint, test.failing("Run cargo test", LOG)],
        ..Workflow::default()
    };
    let deploy = Workflow {
        name: "Deploy".into(),
        dispatchable: true,
        inputs: BTreeMap::from([("environment".to_owned(), true), ("mark".to_owned(), false)]),
        run_name_input: Some("mark".into()),
        jobs: vec![PlannedJob::new("deploy", &["Set up job", "Run ./deploy"])],
        ..Workflow::default()
    };
    actions(emulator, |actions| {
        actions.add_workflow("ci.yml", ci);
        actions.add_workflow("deploy.yml", deploy);
    });
}

/// Starts a run as a push would.
fn run(emulator: &GithubEmulator, file: &str) -> u64 {
    let sha = head(emulator, "main");
    let started = Started { branch: "main", sha: &sha, ..Started::default() };
    actions(emulator, |actions| actions.start(file, &started))
}

/// A run that has ended as it was planned.
fn ended(emulator: &GithubEmulator, file: &str) -> u64 {
    let id = run(emulator, file);
    actions(emulator, |actions| (actions.advance(id), actions.advance(id)));
    id
}

fn trigger(more: Value) -> Request {
    let mut arguments = json!({ "workflow": "deploy.yml", "inputs": { "environment": "staging" } });
    arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    request("triggerWorkflow", arguments)
}

fn runs(state: &State) -> usize {
    state.repositories["octo/hello"].actions.runs.len()
}

// -- starting runs ------------------------------------------------------------

#[tokio::test]
async fn a_workflow_is_started_and_its_run_is_named() {
    let (emulator, client) = prepared().await;
    let inputs = json!({ "environment": "staging", "mark": 7 });
    let answer = client.ok(trigger(json!({ "inputs": inputs })).attempt(KEY, 1)).await;
    let state = emulator.state();
    let run = state.repositories["octo/hello"].actions.runs.values().next().unwrap().clone();
    assert_eq!(answer["run_id"], run.id);
    assert_eq!(answer["correlated_by"], "response");
    assert!(answer["html_url"].as_str().unwrap().ends_with(&format!("/actions/runs/{}", run.id)));
    assert_eq!((run.event.as_str(), run.head_branch.as_str()), ("workflow_dispatch", "main"));
    assert_eq!(json!(run.inputs), json!({ "environment": "staging", "mark": "7" }));
    assert_eq!(state.requests_like("GET", "/runs"), 0);
}

#[tokio::test]
async fn where_github_names_no_run_it_is_found_by_our_word_or_by_its_time() {
    for (more, by) in [(json!({ "correlation_input": "mark" }), "input"), (json!({}), "time")] {
        let (emulator, client) = prepared().await;
        actions(&emulator, |actions| {
            (actions.names_runs, actions.lag) = (false, 2);
        });
        let answer = client.ok(trigger(more).attempt(KEY, 1)).await;
        assert_eq!((&answer["correlated_by"], &answer["created"]), (&json!(by), &json!(true)));
        assert_eq!(answer["warnings"].as_array().unwrap().len(), usize::from(by == "time"));
        assert_eq!(runs(&emulator.state()), 1);
    }
}

#[tokio::test]
async fn our_word_tells_our_run_from_those_of_others() {
    let (emulator, client) = prepared().await;
    actions(&emulator, |actions| actions.names_runs = false);
    let ours = client.ok(trigger(json!({ "correlation_input": "mark" })).attempt(KEY, 1)).await;
    client
        .ok(trigger(json!({ "correlation_input": "mark" })).attempt("exec_2/deploy#0~0", 1))
        .await;
    let again = client.ok(trigger(json!({ "correlation_input": "mark" })).attempt(KEY, 2)).await;
    assert_eq!((&again["run_id"], &again["created"]), (&ours["run_id"], &json!(false)));
    assert_eq!(runs(&emulator.state()), 2);
}

#[tokio::test]
async fn a_run_of_somebody_else_is_not_taken_for_ours_and_two_are_not_guessed_at() {
    let (emulator, client) = prepared().await;
    let sha = head(&emulator, "main");
    let by = |actor| Started {
        event: "workflow_dispatch",
        branch: "main",
        sha: &sha,
        actor,
        inputs: Map::new(),
    };
    actions(&emulator, |actions| {
        actions.names_runs = false;
        actions.start("deploy.yml", &by("ada"));
    });
    let first = client.ok(trigger(json!({})).attempt(KEY, 1)).await;
    assert_eq!(
        first["run_id"],
        *emulator.state().repositories["octo/hello"].actions.runs.keys().last().unwrap()
    );
    actions(&emulator, |actions| actions.start("deploy.yml", &by("")));
    let error = client.error(trigger(json!({})).attempt(KEY, 2)).await;
    assert_eq!(error["code"], "conflict");
    assert!(error["hint"].as_str().unwrap().contains("correlation_input"), "{error}");
    assert_eq!(emulator.state().count("workflow_dispatched"), 1);
}

#[tokio::test]
async fn a_run_that_does_not_show_is_not_started_again() {
    let (emulator, client) = prepared().await;
    actions(&emulator, |actions| (actions.names_runs, actions.lag) = (false, 1_000));
    let error = client.error(trigger(json!({})).attempt(KEY, 1)).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("failed_precondition"), &json!(false))
    );
    assert_eq!(emulator.state().count("workflow_dispatched"), 1);
}

#[tokio::test]
async fn a_workflow_that_cannot_be_started_says_why() {
    let (emulator, client) = prepared().await;
    let cases = [
        (json!({ "workflow": "nothing.yml" }), "not_found", "no workflow \"nothing.yml\""),
        (json!({ "workflow": "ci.yml", "inputs": {} }), "failed_precondition", "workflow_dispatch"),
        (json!({ "inputs": {} }), "invalid_argument", "Required input 'environment'"),
        (json!({ "inputs": { "moon": "full" } }), "invalid_argument", "Unexpected inputs"),
        (json!({ "ref": "nowhere" }), "invalid_argument", "No ref found"),
    ];
    for (more, code, text) in cases {
        let error = client.error(trigger(more.clone())).await;
        assert_eq!(error["code"], code, "{more}: {error}");
        assert!(error["message"].as_str().unwrap().contains(text), "{more}: {error}");
    }
    let many: Map<_, _> = (0..26).map(|number| (format!("i{number}"), json!("x"))).collect();
    assert_eq!(client.error(trigger(json!({ "inputs": many }))).await["code"], "invalid_argument");
    let plan = client.ok(trigger(json!({ "dry_run": true }))).await;
    assert_eq!(
        plan["plan"],
        json!(["start .github/workflows/deploy.yml on main with environment"])
    );
    assert_eq!(runs(&emulator.state()), 0);
}

// -- runs and jobs ------------------------------------------------------------

#[tokio::test]
async fn waiting_for_a_run_looks_once_and_names_what_failed() {
    let (emulator, client) = prepared().await;
    actions(&emulator, |actions| actions.progress = Progress::EachLook);
    let id = run(&emulator, "ci.yml");
    let wait = || request("waitForWorkflowRun", json!({ "run_id": id }));
    for status in ["queued", "in_progress"] {
        let answer = client.ok(wait()).await;
        assert_eq!((&answer["status"], &answer["done"]), (&json!(status), &json!(false)));
        assert_eq!(answer["success"], Value::Null);
        assert!(1_000 <= answer["retry_after_ms"].as_u64().unwrap());
    }
    let answer = client.ok(wait()).await;
    assert_eq!((&answer["done"], &answer["success"]), (&json!(true), &json!(false)));
    assert_eq!(answer["failed_jobs"][0]["name"], "test");
    assert_eq!(
        answer["failed_jobs"][0]["failed_steps"],
        json!([{ "number": 2, "name": "Run cargo test" }])
    );
    assert_eq!(answer["failed_jobs"].as_array().unwrap().len(), 1);
    let passed = ended(&emulator, "deploy.yml");
    let answer = client.ok(request("waitForWorkflowRun", json!({ "runId": passed }))).await;
    assert_eq!((&answer["success"], &answer["failed_jobs"]), (&json!(true), &json!([])));
}

#[tokio::test]
async fn runs_are_listed_over_pages_and_by_what_they_are() {
    let (emulator, client) = prepared().await;
    let ids: Vec<_> = (0..7).map(|_| run(&emulator, "ci.yml")).collect();
    ended(&emulator, "deploy.yml");
    let list = |more: Value| request("listWorkflowRuns", more);
    let answer = client.ok(list(json!({ "workflow": "ci.yml", "per_page": 3 }))).await;
    assert_eq!(answer["items"][0]["id"], ids[6]);
    assert_eq!((&answer["next_page"], &answer["total"]), (&json!(2), &json!(7)));
    let answer =
        client.ok(list(json!({ "workflow": "ci.yml", "per_page": 3, "max_items": 7 }))).await;
    assert_eq!(answer["items"].as_array().unwrap().len(), 7);
    assert_eq!((&answer["next_page"], &answer["truncated"]), (&Value::Null, &json!(false)));
    let answer = client.ok(list(json!({ "per_page": 3, "max_items": 4 }))).await;
    assert_eq!(answer["items"].as_array().unwrap().len(), 4);
    assert_eq!((&answer["next_page"], &answer["truncated"]), (&json!(2), &json!(true)));
    let answer = client.ok(list(json!({ "status": "success" }))).await;
    assert_eq!(answer["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn jobs_are_those_of_the_last_attempt_of_all_or_those_that_failed() {
    let (emulator, client) = prepared().await;
    let id = ended(&emulator, "ci.yml");
    client.ok(request("rerunWorkflow", json!({ "run_id": id, "run_attempt": 1 }))).await;
    actions(&emulator, |actions| (actions.advance(id), actions.advance(id)));
    for (filter, expected) in [("latest", 1), ("all", 3), ("failed", 1)] {
        let answer =
            client.ok(request("getWorkflowJobs", json!({ "run_id": id, "filter": filter }))).await;
        assert_eq!(answer["items"].as_array().unwrap().len(), expected, "{filter}: {answer}");
    }
}

#[tokio::test]
async fn a_run_is_started_again_only_if_it_has_ended_and_nobody_did_it_before() {
    let (emulator, client) = prepared().await;
    let id = run(&emulator, "ci.yml");
    let rerun = |more: Value| {
        let mut arguments = json!({ "run_id": id });
        arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        request("rerunWorkflow", arguments)
    };
    assert_eq!(client.error(rerun(json!({}))).await["code"], "failed_precondition");
    actions(&emulator, |actions| actions.finish(id, "failure"));
    let answer = client.ok(rerun(json!({ "run_attempt": 1 }))).await;
    assert_eq!((&answer["run_attempt"], &answer["created"]), (&json!(2), &json!(true)));
    actions(&emulator, |actions| actions.finish(id, "failure"));
    let answer = client.ok(rerun(json!({ "run_attempt": 1 }))).await;
    assert_eq!((&answer["run_attempt"], &answer["created"]), (&json!(2), &json!(false)));
    assert_eq!(emulator.state().count("run_restarted"), 1);
}

#[tokio::test]
async fn a_run_that_has_ended_need_not_be_cancelled() {
    let (emulator, client) = prepared().await;
    let id = run(&emulator, "ci.yml");
    let cancel = || request("cancelWorkflow", json!({ "run_id": id }));
    let plan = client.ok(request("cancelWorkflow", json!({ "run_id": id, "dry_run": true }))).await;
    assert_eq!(plan["plan"], json!([format!("cancel run {id}")]));
    assert_eq!(client.ok(cancel()).await["created"], true);
    assert_eq!(client.ok(cancel()).await["created"], false);
    assert_eq!(emulator.state().count("run_cancelled"), 1);
}

// -- logs ---------------------------------------------------------------------

#[tokio::test]
async fn a_log_is_read_from_its_store_without_our_credentials_and_made_small() {
    let (emulator, client) = prepared().await;
    let id = ended(&emulator, "ci.yml");
    let answer = client.ok(request("getJobLogs", json!({ "run_id": id }))).await;
    assert_eq!(answer["name"], "test");
    assert_eq!(answer["error_excerpts"][0]["step"], "Run cargo test");
    let logs = answer["logs"].as_str().unwrap();
    assert!(logs.contains("Process completed with exit code 101."), "{logs}");
    assert!(
        !logs.contains("2026-11-21") && !logs.contains('\u{1b}') && !logs.contains("ghp_"),
        "{logs}"
    );
    let state = emulator.state();
    let fetched =
        state.requests.iter().find(|request| request.path.starts_with("/_blobs")).unwrap();
    assert!(!fetched.authorized);
    let job = answer["job_id"].clone();
    for (mode, expected) in
        [("tail", "Process completed"), ("full", "Run cargo test"), ("patterns", "1x ")]
    {
        let arguments = json!({ "job_id": job, "mode": mode, "tail_lines": 1 });
        let answer = client.ok(request("getJobLogs", arguments)).await;
        assert!(answer["logs"].as_str().unwrap().starts_with(expected), "{mode}: {answer}");
    }
}

#[tokio::test]
async fn a_log_that_is_gone_or_not_there_yet_says_so() {
    let (emulator, client) = prepared().await;
    let id = run(&emulator, "ci.yml");
    let job = actions(&emulator, |actions| actions.runs[&id].jobs[1].id);
    let logs = || request("getJobLogs", json!({ "job_id": job }));
    let error = client.error(logs()).await;
    assert_eq!(error["code"], "failed_precondition", "{error}");
    actions(&emulator, |actions| {
        actions.advance(id);
        actions.advance(id);
        actions.runs.get_mut(&id).unwrap().jobs[1].log_expired = true;
    });
    let error = client.error(logs()).await;
    assert_eq!(error["code"], "not_found");
    assert!(error["message"].as_str().unwrap().contains("no longer"), "{error}");
    let answer = client.ok(request("getJobLogs", json!({ "run_id": id }))).await;
    assert_eq!((&answer["logs"], &answer["jobs"][0]["read"]), (&json!(""), &json!(false)));
    assert_eq!(client.error(request("getJobLogs", json!({}))).await["code"], "invalid_argument");
}

// -- checks and statuses ------------------------------------------------------

#[tokio::test]
async fn checks_are_waited_for_until_those_that_the_branch_asks_for_are_decided() {
    let (emulator, client) = start_with_branch().await;
    let number = client.ok(pull("x", json!({}))).await["number"].clone();
    let sha = head(&emulator, "x");
    actions(&emulator, |actions| {
        actions.required.insert("main".to_owned(), vec!["ci".to_owned(), "legacy".to_owned()]);
        actions.check(&sha, "ci", "in_progress", None);
        actions.check(&sha, "optional", "completed", Some("failure"));
    });
    let wait = || request("waitForChecks", json!({ "number": number }));
    let answer = client.ok(wait()).await;
    assert_eq!((&answer["done"], &answer["success"]), (&json!(false), &Value::Null));
    assert_eq!(
        (&answer["pending"], &answer["missing_required"]),
        (&json!(["ci"]), &json!(["legacy"]))
    );
    assert!(answer["retry_after_ms"].is_u64());
    actions(&emulator, |actions| {
        actions.check(&sha, "ci", "completed", Some("success"));
        let (sha, context, state) = (sha.clone(), "legacy".into(), "success".into());
        actions.status(Status { sha, context, state, ..Status::default() });
    });
    let answer = client.ok(wait()).await;
    assert_eq!((&answer["done"], &answer["success"]), (&json!(true), &json!(true)), "{answer}");
    let all = request("waitForChecks", json!({ "number": number, "required_only": false }));
    let answer = client.ok(all).await;
    assert_eq!((&answer["success"], &answer["failing"]), (&json!(false), &json!(["optional"])));
    let answer =
        client.ok(request("waitForChecks", json!({ "ref": "main", "min_checks": 1 }))).await;
    assert_eq!(answer["done"], false);
}

#[tokio::test]
async fn all_checks_count_however_many_pages_they_fill() {
    let (emulator, client) = start().await;
    let sha = head(&emulator, "main");
    emulator.set_link_host(Some("https://ghe.example.com".to_owned()));
    actions(&emulator, |actions| {
        for number in 0..150 {
            actions.check(&sha, &format!("check {number}"), "completed", Some("success"));
        }
        actions.check(&sha, "the last", "completed", Some("failure"));
    });
    let answer = client.ok(request("waitForChecks", json!({ "ref": sha }))).await;
    assert_eq!(answer["failing"], json!(["the last"]));
    let all_authorized = emulator.state().requests.iter().all(|request| request.authorized);
    assert!(all_authorized, "credentials are lost on the way to the second page");
}

#[tokio::test]
async fn a_status_is_set_and_a_second_attempt_finds_it() {
    let (emulator, client) = start().await;
    let set = || {
        let long = "x".repeat(200);
        let arguments = json!({ "ref": "main", "state": "success", "context": "windlass/deploy", "description": long });
        request("createCommitStatus", arguments)
    };
    let first = client.ok(set().attempt(KEY, 1)).await;
    assert_eq!(first["warnings"].as_array().unwrap().len(), 1);
    let again = client.ok(set().attempt(KEY, 2)).await;
    assert_eq!((&again["id"], &again["created"]), (&first["id"], &json!(false)));
    assert_eq!(emulator.state().count("status_created"), 1);
}

// -- people, events, everything else ------------------------------------------

#[tokio::test]
async fn a_permission_is_at_most_what_github_says() {
    let (emulator, client) = start().await;
    actions(&emulator, |actions| {
        actions.roles.insert("ada".to_owned(), "maintain".to_owned());
    });
    for (login, permission, role) in [
        ("octo", "admin", "admin"),
        ("@ada", "write", "maintain"),
        ("somebody", "read", "read"),
        ("nobody-at-all", "none", ""),
    ] {
        let answer = client.ok(request("getUserPermission", json!({ "username": login }))).await;
        assert_eq!(
            (&answer["permission"], &answer["role_name"]),
            (&json!(permission), &json!(role)),
            "{login}"
        );
    }
    for login in ["../admin", "a/b", "", "a b"] {
        let error = client.error(request("getUserPermission", json!({ "username": login }))).await;
        assert_eq!(error["code"], "invalid_argument", "{login}");
    }
    let error = client
        .error(request("getUserPermission", json!({ "username": "a", "repo": "octo/secret" })))
        .await;
    assert_eq!(error["code"], "not_found");
}

#[tokio::test]
async fn an_event_is_sent_once_and_nothing_is_promised_about_a_second_time() {
    let (emulator, client) = start().await;
    let send = || {
        request(
            "repositoryDispatch",
            json!({ "event_type": "deploy", "client_payload": { "a": [1] } }),
        )
    };
    assert_eq!(client.ok(send()).await["sent"], true);
    let events = actions(&emulator, |actions| actions.events.clone());
    assert_eq!(events, [json!({ "event_type": "deploy", "client_payload": { "a": [1] } })]);
    emulator.faults().add(Action::DropAfterWork.on("POST", "/dispatches"));
    let error = client.error(send().attempt(KEY, 1)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("outcome_unknown"), &json!(false)));
}

#[tokio::test]
async fn a_raw_request_reads_and_stays_where_it_may() {
    let (emulator, client) = start().await;
    let get = |path: &str| request("request", json!({ "path": path, "query": { "per_page": 1 } }));
    let answer = client.ok(get("/repos/{owner}/{repo}/branches")).await;
    assert_eq!((&answer["status"], &answer["body"][0]["name"]), (&json!(200), &json!("main")));
    for path in [
        "repos/octo/hello",
        "/repos/octo/../hello",
        "/repos/octo/%2e%2e/x",
        "//evil.example/x",
        "/a?b",
        "/a b",
    ] {
        assert_eq!(client.error(get(path)).await["code"], "invalid_argument", "{path}");
    }
    let post = json!({ "path": "/repos/octo/hello/issues", "method": "POST" });
    assert_eq!(client.error(request("request", post.clone())).await["code"], "invalid_argument");
    let few = GithubConfig {
        repos: vec!["octo/hello".into()],
        allow_raw_write: true,
        ..config(&emulator)
    };
    let client = Client::connect(github(few, &signed_in())).await;
    for path in ["/repos/octo/other", "/user", "/search/issues"] {
        assert_eq!(client.error(get(path)).await["code"], "guardrail", "{path}");
    }
    let mut post = post;
    post["body"] = json!({ "title": "A" });
    assert_eq!(client.ok(request("request", post)).await["status"], 201);
    assert_eq!(client.tool("request").meta.as_ref().unwrap()["dev.windlass/retry_class"], "unsafe");
}

#[tokio::test]
async fn a_server_that_only_reads_offers_no_tool_that_starts_anything() {
    let (emulator, _client) = start().await;
    let config = GithubConfig { read_only: true, allow_raw_write: true, ..config(&emulator) };
    let client = Client::connect(github(config, &signed_in())).await;
    for name in [
        "triggerWorkflow",
        "rerunWorkflow",
        "cancelWorkflow",
        "createCommitStatus",
        "repositoryDispatch",
    ] {
        assert!(client.tools.iter().all(|tool| tool.name != name), "{name}");
    }
    let post = json!({ "path": "/repos/octo/hello/issues", "method": "POST" });
    assert_eq!(client.error(request("request", post)).await["code"], "invalid_argument");
}

// -- once ---------------------------------------------------------------------

/// Whatever request of a call loses its answer, a second attempt with the same key leaves the same effects.
#[tokio::test]
async fn whichever_answer_is_lost_the_work_is_done_once() {
    type Make = fn(u64) -> Request;
    let calls: [(&str, Make, bool); 6] = [
        ("triggerWorkflow", |_| trigger(json!({})), true),
        ("triggerWorkflow", |_| trigger(json!({ "correlation_input": "mark" })), true),
        ("triggerWorkflow", |_| trigger(json!({ "correlation_input": "mark" })), false),
        ("rerunWorkflow", |id| request("rerunWorkflow", json!({ "run_id": id })), true),
        (
            "createCommitStatus",
            |_| {
                request(
                    "createCommitStatus",
                    json!({ "sha": "main", "state": "failure", "context": "c" }),
                )
            },
            true,
        ),
        ("createBranch", |_| branch("y"), true),
    ];
    for (name, call, names_runs) in calls {
        for fault in [Action::DropAfterWork, Action::DropBeforeWork, Action::BadGatewayAfterWork] {
            let (emulator, client) = prepared().await;
            actions(&emulator, |actions| actions.names_runs = names_runs);
            let id = ended(&emulator, "ci.yml");
            let before = emulator.state().ledger.len();
            emulator.faults().add(fault.on("POST", "/repos"));
            let error = client.error(call(id).attempt(KEY, 1)).await;
            assert_eq!(error["retryable"], true, "{name}: {fault:?}: {error}");
            assert_eq!(emulator.state().requests_like("POST", "/repos"), 1, "{name}: {fault:?}");
            client.ok(call(id).attempt(KEY, 2)).await;
            assert_eq!(emulator.state().ledger.len(), before + 1, "{name}: {fault:?}");
            client.ok(call(id).attempt(KEY, 3)).await;
            assert_eq!(
                emulator.state().ledger.len(),
                before + 1,
                "{name}: {fault:?}, a third time"
            );
        }
    }
}

#[tokio::test]
async fn a_cancel_whose_answer_is_lost_is_done_once() {
    for fault in [Action::DropAfterWork, Action::DropBeforeWork] {
        let (emulator, client) = prepared().await;
        let id = run(&emulator, "ci.yml");
        let cancel = || request("cancelWorkflow", json!({ "run_id": id }));
        emulator.faults().add(fault.on("POST", "/cancel"));
        assert_eq!(client.error(cancel().attempt(KEY, 1)).await["retryable"], true);
        client.ok(cancel().attempt(KEY, 2)).await;
        assert_eq!(emulator.state().count("run_cancelled"), 1);
    }
}

// -- golden answers -----------------------------------------------------------

/// Each tool's golden answer is one that it really gave, but for what changes from run to run.
#[tokio::test]
async fn each_tool_answers_in_the_shape_of_its_golden_answer() {
    let (emulator, client) = prepared().await;
    let failed = ended(&emulator, "ci.yml");
    let sha = head(&emulator, "main");
    actions(&emulator, |actions| {
        actions.required.insert("main".to_owned(), vec!["ci".to_owned(), "deployed".to_owned()]);
        actions.check(&sha, "ci", "completed", Some("success"));
    });
    let status = json!({ "sha": sha, "state": "success", "context": "windlass/deploy", "description": "On staging" });
    let calls = [
        (
            "triggerWorkflow",
            json!({ "workflow": "deploy.yml", "inputs": { "environment": "staging" } }),
        ),
        ("getWorkflowRun", json!({ "run_id": failed })),
        ("listWorkflowRuns", json!({ "per_page": 1 })),
        ("waitForWorkflowRun", json!({ "run_id": failed })),
        ("getWorkflowJobs", json!({ "run_id": failed, "filter": "failed" })),
        ("getJobLogs", json!({ "run_id": failed })),
        ("rerunWorkflow", json!({ "run_id": failed })),
        ("cancelWorkflow", json!({ "run_id": failed })),
        ("waitForChecks", json!({ "ref": "main" })),
        ("createCommitStatus", status),
        ("getUserPermission", json!({ "username": "octo" })),
        ("repositoryDispatch", json!({ "event_type": "deploy" })),
        ("request", json!({ "path": "/repos/octo/hello/collaborators/octo/permission" })),
    ];
    for (tool, arguments) in calls {
        let answer = client.ok(request(tool, arguments)).await;
        let golden = golden_answer("github", tool, &answer);
        assert_eq!(shape(&answer), shape(&golden), "{tool} answers {answer}");
    }
}

/// The keys of a value and the kinds of what is under them.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Null => Value::Null,
        Value::Bool(_) => "flag".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
    }
}
