//! Whatever goes wrong on the way, the github tools do their work once.

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{Action, Issue, NewIssue, Pull, Repository, State};

use super::github::{branch, commit, head, pull, start};
use crate::harness::{Client, Request, request};

const KEY: &str = "exec_1/step#0~0";
/// The pull request that is there from the start.
const PULL: u64 = 9;
/// The deployment that is there from the start.
const DEPLOYMENT: u64 = 7001;

/// Makes the same request anew.
type Make = fn() -> Request;

/// Every tool that may be repeated when its outcome is unknown, in the ways it does its work.
const CALLS: [(&str, Make); 29] = [
    ("createBranch", || branch("y")),
    ("commitFileChanges", || commit("x", "a\n")),
    ("createPullRequest", || {
        pull("x", json!({ "labels": ["bug"], "assignees": ["octo"], "milestone": "v1" }))
    }),
    ("createPullRequest", || {
        pull("bare", json!({ "if_no_commits": "empty_commit", "labels": ["bug"] }))
    }),
    ("createIssue", || {
        let more = json!({ "labels": ["bug"], "assignees": ["octo"], "milestone": "v1" });
        request("createIssue", with(json!({ "title": "Broken", "body": "It is." }), &more))
    }),
    ("createIssue", || request("createIssue", json!({ "title": "Broken", "dedupe": "title" }))),
    ("updateIssue", || {
        let more = json!({ "add_labels": ["urgent"], "remove_labels": ["enhancement"] });
        let given = json!({ "number": 7, "state": "closed", "state_reason": "not_planned" });
        request("updateIssue", with(given, &more))
    }),
    ("updateIssue", || {
        request("updateIssue", json!({ "number": 7, "milestone": "v1", "assignees": ["octo"] }))
    }),
    ("addIssueComment", || request("addIssueComment", json!({ "number": 7, "body": "Hi" }))),
    ("addIssueComment", || {
        request("addIssueComment", json!({ "number": 7, "body": "Hi", "upsert_key": "status" }))
    }),
    ("addIssueComment", || {
        request("addIssueComment", json!({ "number": 8, "body": "New", "upsert_key": "status" }))
    }),
    ("addIssueComment", || {
        let given = json!({ "number": PULL, "body": "Done", "in_reply_to": 7002 });
        request("addIssueComment", given)
    }),
    ("addLabels", || {
        request("addLabels", json!({ "number": 7, "labels": ["new", "bug"], "color": "d73a4a" }))
    }),
    ("removeLabels", || request("removeLabels", json!({ "number": 7, "labels": ["enhancement"] }))),
    ("addReaction", || request("addReaction", json!({ "number": 7, "content": "rocket" }))),
    ("addReaction", || request("addReaction", json!({ "comment_id": 7003, "content": "eyes" }))),
    ("deleteBranch", || request("deleteBranch", json!({ "branch": "bare" }))),
    ("createReview", || {
        let comments = json!([{ "path": "first.txt", "line": 1, "body": "Why?" }]);
        request("createReview", json!({ "number": PULL, "body": "Good", "comments": comments }))
    }),
    ("createReview", || {
        let comments = json!([{ "path": "first.txt", "line": 99, "body": "Where?" }]);
        let given = json!({ "number": PULL, "event": "REQUEST_CHANGES", "comments": comments });
        request("createReview", given)
    }),
    ("requestReviewers", || {
        request("requestReviewers", json!({ "number": PULL, "reviewers": ["octo"] }))
    }),
    ("updatePullRequest", || {
        request("updatePullRequest", json!({ "number": PULL, "title": "Better", "body": "b" }))
    }),
    ("mergePullRequest", || {
        request("mergePullRequest", json!({ "number": PULL, "delete_branch": true }))
    }),
    ("mergePullRequest", || {
        request("mergePullRequest", json!({ "number": PULL, "merge_method": "squash" }))
    }),
    ("createRelease", || request("createRelease", json!({ "tag_name": "v1.0", "name": "One" }))),
    ("createRelease", || request("createRelease", json!({ "tag_name": "v1.0", "draft": true }))),
    ("createDeployment", || {
        request("createDeployment", json!({ "ref": "main", "payload": { "image": "a:1" } }))
    }),
    ("createDeployment", || {
        request("createDeployment", json!({ "ref": "main", "environment": "staging" }))
    }),
    ("createDeploymentStatus", || {
        let given = json!({ "deployment_id": DEPLOYMENT, "state": "success", "description": "up" });
        request("createDeploymentStatus", given)
    }),
    ("createDeploymentStatus", || {
        request("createDeploymentStatus", json!({ "deployment_id": DEPLOYMENT, "state": "queued" }))
    }),
];

/// Tools that change something and are shown to do it once elsewhere, or say of themselves that they may not.
const ELSEWHERE: [&str; 6] = [
    "cancelWorkflow",
    "createCommitStatus",
    "repositoryDispatch",
    "request",
    "rerunWorkflow",
    "triggerWorkflow",
];

fn with(mut given: Value, more: &Value) -> Value {
    given.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    given
}

#[tokio::test]
async fn every_tool_that_changes_something_is_shown_to_do_it_once() {
    let (_emulator, client) = start().await;
    for tool in &client.tools {
        let class = &tool.meta.as_ref().unwrap()["dev.windlass/retry_class"];
        let name = tool.name.as_ref();
        let shown = CALLS.iter().any(|(own, _)| *own == name) || ELSEWHERE.contains(&name);
        assert!(class == "read" || shown, "{name} is in neither CALLS nor ELSEWHERE");
    }
}

/// Whatever request of a call loses its answer after its work was done, a second
/// attempt with the same key ends in the state that one undisturbed call ends in,
/// with the same answer.
#[tokio::test]
async fn whichever_answer_is_lost_the_work_is_done_once() {
    for (name, call) in CALLS {
        let undisturbed = undisturbed(call).await;
        for method in ["POST", "PATCH", "PUT", "DELETE"] {
            for fault in
                [Action::DropAfterWork, Action::DropBeforeWork, Action::BadGatewayAfterWork]
            {
                for skip in 0..undisturbed.requests_like(method) {
                    let skip = u32::try_from(skip).unwrap();
                    let what = format!("{name}: {fault:?} on {method} number {skip}");
                    let (emulator, client) = prepared().await;
                    emulator.faults().add(fault.on(method, "/repos").skip(skip));
                    let error = client.error(call().attempt(KEY, 1)).await;
                    assert_eq!(error["retryable"], true, "{what}: {error}");
                    let sent = emulator.state().requests_like(method, "/repos");
                    assert_eq!(sent, skip as usize + 1, "{what}: it was sent again by itself");
                    let second = client.ok(call().attempt(KEY, 2)).await;
                    assert_eq!(seen(&emulator.state()), undisturbed.seen, "{what}");
                    assert_eq!(comparable(second), undisturbed.answer, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_dry_run_of_any_tool_changes_nothing() {
    for (name, call) in CALLS {
        let (emulator, client) = prepared().await;
        let before = emulator.state();
        let answer = client.ok(call().with("dry_run", json!(true)).attempt(KEY, 1)).await;
        assert_eq!(answer["dry_run"], true, "{name}");
        assert!(!answer["plan"].as_array().unwrap().is_empty(), "{name}: {answer}");
        let after = emulator.state();
        assert_eq!(seen(&after), seen(&before), "{name}");
        assert_eq!(after.ledger.len(), before.ledger.len(), "{name}");
        assert!(after.requests.iter().all(|request| request.method == "GET"), "{name}");
    }
}

/// Issue 7 with a comment, issue 8 with a comment that is kept up to date, a pull request of somebody else with a
/// comment on a line, branches with and without commits of their own, a milestone, a label, and a deployment.
async fn prepared() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    emulator.add_issue("octo/hello", NewIssue { title: "Other".into(), ..NewIssue::default() });
    let main = head(&emulator, "main");
    emulator.change("octo/hello", |repository| {
        for name in ["x", "bare", "fix"] {
            repository.refs.insert(format!("refs/heads/{name}"), main.clone());
        }
        repository.milestones.insert(1, "v1".into());
    });
    emulator.push("octo/hello", "x", "first.txt", "first\n").unwrap();
    emulator.push("octo/hello", "fix", "first.txt", "first\n").unwrap();
    super::github::add_pull(&emulator, "fix", "eve");
    emulator.change("octo/hello", |repository| {
        let deployment = super::github::deployment(DEPLOYMENT, &main);
        repository.deployments.push(deployment);
        let issue = repository.issues.get_mut(&7).unwrap();
        issue.comments.push(super::github::comment(7003, "First"));
        let other = repository.issues.get_mut(&8).unwrap();
        other.comments.push(super::github::comment(7004, STICKY));
        let pull = repository.issues.get_mut(&PULL).unwrap().pull.as_mut().unwrap();
        pull.line_comments.push(super::github::line_comment(7002, "first.txt", 1));
    });
    (emulator, client)
}

/// As `addIssueComment` leaves it for `upsert_key: "status"`.
const STICKY: &str = "Old\n\n<!-- windlass:upsert=073c1634c496cdb6 -->";

/// What one call does when nothing goes wrong.
struct Undisturbed {
    requests: Vec<String>,
    seen: Value,
    answer: Value,
}

impl Undisturbed {
    fn requests_like(&self, method: &str) -> usize {
        self.requests.iter().filter(|own| *own == method).count()
    }
}

async fn undisturbed(call: Make) -> Undisturbed {
    let (emulator, client) = prepared().await;
    let answer = comparable(client.ok(call().attempt(KEY, 1)).await);
    let state = emulator.state();
    let requests = state.requests.iter().map(|request| request.method.clone()).collect();
    Undisturbed { requests, seen: seen(&state), answer }
}

/// What people see of a repository: everything but ids, times and shas.
fn seen(state: &State) -> Value {
    let repository = &state.repositories["octo/hello"];
    let branches = repository.branches().into_iter().map(|name| {
        let history = repository.history(name);
        let messages: Vec<_> = history.iter().map(|commit| &commit.message).collect();
        json!({ "name": name, "messages": messages, "tree": history[0].tree })
    });
    let issues = repository.issues.values().map(|issue| seen_issue(repository, issue));
    let releases = repository.releases.iter().map(|own| json!([own.tag, own.name, own.draft]));
    let deployments = repository.deployments.iter().map(|own| {
        let statuses: Vec<_> =
            own.statuses.iter().map(|status| json!([status.state, status.description])).collect();
        json!({ "to": own.environment, "payload": own.payload, "statuses": statuses })
    });
    json!({
        "branches": branches.collect::<Vec<_>>(),
        "tags": repository.refs.keys().filter(|name| name.starts_with("refs/tags/")).collect::<Vec<_>>(),
        "issues": issues.collect::<Vec<_>>(),
        "labels": repository.labels.iter().map(|(name, own)| json!([name, own.color])).collect::<Vec<_>>(),
        "releases": releases.collect::<Vec<_>>(),
        "deployments": deployments.collect::<Vec<_>>(),
    })
}

fn seen_issue(repository: &Repository, issue: &Issue) -> Value {
    let comments: Vec<_> = issue.comments.iter().map(|own| &own.body).collect();
    let reactions = |own: &[windlass_emulators::github::Reaction]| {
        own.iter().map(|own| own.content.clone()).collect::<Vec<_>>()
    };
    let on_comments: Vec<_> = issue.comments.iter().map(|own| reactions(&own.reactions)).collect();
    json!({
        "number": issue.number, "title": issue.title, "body": issue.body, "state": issue.state,
        "reason": issue.state_reason, "labels": issue.labels, "assignees": issue.assignees,
        "milestone": issue.milestone, "comments": comments, "reactions": reactions(&issue.reactions),
        "on_comments": on_comments,
        "pull": issue.pull.as_ref().map(|pull| seen_pull(repository, pull)),
    })
}

fn seen_pull(repository: &Repository, pull: &Pull) -> Value {
    let reviews: Vec<_> = pull.reviews.iter().map(|own| json!([own.state, own.body])).collect();
    let comments: Vec<_> =
        pull.line_comments.iter().map(|own| json!([own.path, own.line, own.body])).collect();
    let head = repository.commits.get(&pull.head_sha).map(|commit| &commit.message);
    json!({
        "head": [pull.head, head], "base": pull.base, "draft": pull.draft, "merged": pull.merged,
        "reviewers": pull.requested_reviewers, "teams": pull.requested_teams, "reviews": reviews,
        "comments": comments,
    })
}

/// An answer without times, ids and shas, and what hangs on them, and without what tells a first from a repeated call.
fn comparable(answer: Value) -> Value {
    const REPEATED: [&str; 8] = [
        "created",
        "changed",
        "updated",
        "created_labels",
        "already_merged",
        "message",
        "warnings",
        "base_sha",
    ];
    const PASSING: [&str; 16] = [
        "sha",
        "commit_sha",
        "commit_url",
        "created_at",
        "updated_at",
        "closed_at",
        "merged_at",
        "submitted_at",
        "merge_commit_sha",
        "html_url",
        "upload_url",
        "statuses_url",
        "url",
        "id",
        "node_id",
        "mergeable_state",
    ];
    match answer {
        Value::Object(object) => {
            let members = object.into_iter().filter(|(key, _)| !REPEATED.contains(&key.as_str()));
            let member = |(key, value): (String, Value)| {
                let passing = PASSING.contains(&key.as_str());
                (key, if passing { json!(!value.is_null()) } else { comparable(value) })
            };
            Value::Object(members.map(member).collect())
        }
        Value::Array(items) => items.into_iter().map(comparable).collect(),
        value => value,
    }
}
