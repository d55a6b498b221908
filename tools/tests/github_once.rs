//! Whatever goes wrong on the way, the github tools do their work once.

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::Action;

use crate::harness::{Client, Request, but_created, request};

const KEY: &str = "exec_1/step#0~0";

use super::github::{branch, commit, head, pull, start};

/// Makes the same request anew.
type Make = fn() -> Request;

/// Whatever request of a call loses its answer after its work was done, a second
/// attempt with the same key ends in the state that one undisturbed call ends in,
/// with the same answer.
#[tokio::test]
async fn whichever_answer_is_lost_the_work_is_done_once() {
    let calls: [(&str, Make); 4] = [
        ("createBranch", || branch("y")),
        ("commitFileChanges", || commit("x", "a\n")),
        ("createPullRequest", || pull("x", json!({ "labels": ["bug"], "assignees": ["octo"] }))),
        ("createPullRequest", || {
            pull("bare", json!({ "if_no_commits": "empty_commit", "labels": ["bug"] }))
        }),
    ];
    for (name, call) in calls {
        let (undisturbed, answer) = undisturbed(call).await;
        for method in ["POST", "PATCH"] {
            for fault in
                [Action::DropAfterWork, Action::DropBeforeWork, Action::BadGatewayAfterWork]
            {
                for skip in 0..undisturbed.requests_like(method, "/repos") {
                    let skip = u32::try_from(skip).unwrap();
                    let what = format!("{name}: {fault:?} on {method} number {skip}");
                    let (emulator, client) = prepared().await;
                    let already = counts(&emulator.state());
                    emulator.faults().add(fault.on(method, "/repos").skip(skip));
                    let error = client.error(call().attempt(KEY, 1)).await;
                    assert_eq!(error["retryable"], true, "{what}: {error}");
                    let second = client.ok(call().attempt(KEY, 2)).await;
                    assert_eq!(counts(&emulator.state()), undisturbed.effects(already), "{what}");
                    assert_eq!(comparable(second), comparable(answer.clone()), "{what}");
                }
            }
        }
    }
}

async fn prepared() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    let main = head(&emulator, "main");
    emulator.change("octo/hello", |repository| {
        repository.refs.insert("refs/heads/x".to_owned(), main.clone());
        repository.refs.insert("refs/heads/bare".to_owned(), main);
    });
    emulator.push("octo/hello", "x", "first.txt", "first\n").unwrap();
    (emulator, client)
}

/// What one call does when nothing goes wrong.
struct Undisturbed {
    requests: Vec<(String, String)>,
    counts: [usize; 4],
}

impl Undisturbed {
    fn requests_like(&self, method: &str, path: &str) -> usize {
        self.requests.iter().filter(|(own, full)| own == method && full.contains(path)).count()
    }

    fn effects(&self, already: [usize; 4]) -> [usize; 4] {
        assert_eq!(already[2], 0, "the tests start without pull requests");
        self.counts
    }
}

async fn undisturbed(call: Make) -> (Undisturbed, Value) {
    let (emulator, client) = prepared().await;
    let answer = client.ok(call().attempt(KEY, 1)).await;
    let state = emulator.state();
    let requests =
        state.requests.iter().map(|request| (request.method.clone(), request.path.clone()));
    (Undisturbed { requests: requests.collect(), counts: counts(&state) }, answer)
}

/// Branches, commits on branches, pull requests, labels on them: what people see.
fn counts(state: &windlass_emulators::github::State) -> [usize; 4] {
    let repository = &state.repositories["octo/hello"];
    let branches = repository.branches();
    let commits = branches.iter().map(|branch| repository.history(branch).len()).sum();
    let pulls = repository.pulls();
    [branches.len(), commits, pulls.len(), pulls.iter().map(|pull| pull.labels.len()).sum()]
}

/// An answer without times and what hangs on them, and without `created`.
fn comparable(answer: Value) -> Value {
    let mut answer = but_created(answer);
    for path in [
        "/sha",
        "/base_sha",
        "/commit_sha",
        "/commit_url",
        "/head/sha",
        "/base/sha",
        "/created_at",
        "/html_url",
        "/url",
    ] {
        if let Some(value) = answer.pointer_mut(path) {
            *value = json!(value.is_string());
        }
    }
    answer
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let before = emulator.state().ledger.len();
    let dry = json!({ "branch": "y", "dry_run": true });
    let answer = client.ok(request("createBranch", dry)).await;
    assert!(
        answer["plan"][0].as_str().unwrap().starts_with("create branch y at main@"),
        "{answer}"
    );
    let files = json!([{ "path": "a", "content": "a" }, { "path": "README.md", "delete": true }]);
    let dry = json!({ "branch": "x", "message": "m", "files": files, "dryRun": "true" });
    let answer = client.ok(request("commitFileChanges", dry)).await;
    assert_eq!(
        (&answer["plan"][0], &answer["plan"][1]),
        (&json!("add a"), &json!("delete README.md"))
    );
    let answer = client
        .ok(pull("x", json!({ "dry_run": true, "if_no_commits": "empty_commit", "labels": "a" })))
        .await;
    assert_eq!(
        answer["plan"],
        json!(["put an empty commit on x", "open a pull request from x to main", "set its labels"])
    );
    assert_eq!(
        client.error(pull("x", json!({ "dry_run": true }))).await["code"],
        "failed_precondition"
    );
    assert_eq!(emulator.state().ledger.len(), before);
    assert!(
        emulator
            .state()
            .requests
            .iter()
            .skip(before)
            .all(|request| request.method == "GET" || request.path.ends_with("/git/refs"))
    );
}
