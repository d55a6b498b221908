//! The github tools for pull requests and reviews.

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::Action;

use super::github::{
    add_pull, branch, change_issue, change_pull, head, line_comment, pull, start, start_with_branch,
};
use crate::harness::{Client, DEADLINE, Request, but_created, request};

const KEY: &str = "exec_1/step#0~0";

#[tokio::test]
async fn a_pull_request_is_opened_with_all_that_belongs_to_it() {
    let (emulator, client) = start_with_branch().await;
    emulator.change("octo/hello", |repository| repository.milestones.insert(1, "v1".into()));
    let more = json!({
        "labels": "bug, urgent", "assignees": ["octo"], "reviewers": ["octo"], "draft": true, "milestone": "1",
    });
    let answer = client.ok(pull("x", more).attempt(KEY, 1)).await;
    assert_eq!((&answer["number"], &answer["created"]), (&json!(8), &json!(true)));
    assert_eq!((&answer["state"], &answer["draft"]), (&json!("open"), &json!(true)));
    assert_eq!(answer["head"], json!({ "ref": "x", "sha": head(&emulator, "x") }));
    assert_eq!((&answer["base"]["ref"], &answer["warnings"]), (&json!("main"), &json!([])));
    let state = emulator.state();
    let issue = &state.repositories["octo/hello"].issues[&8];
    assert_eq!(
        (issue.labels.as_slice(), issue.milestone),
        (["bug".to_owned(), "urgent".to_owned()].as_slice(), Some(1))
    );
    assert_eq!(issue.pull.as_ref().unwrap().requested_reviewers, ["octo"]);
    let body = issue.body.as_deref().unwrap();
    assert!(
        body.starts_with("Closes #7\n\n<!-- windlass:key=") && body.ends_with(" -->"),
        "{body}"
    );
}

#[tokio::test]
async fn an_open_pull_request_for_the_same_branches_is_returned() {
    let (emulator, client) = start_with_branch().await;
    let first = client.ok(pull("x", json!({}))).await;
    let second = client.ok(pull("octo:x", json!({ "title": "Other" }))).await;
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!(but_created(first), but_created(second));
    let updated = client.ok(pull("x", json!({ "title": "Other", "update_existing": true }))).await;
    assert_eq!((&updated["title"], &updated["created"]), (&json!("Other"), &json!(false)));
    assert_eq!(emulator.state().count("pull_created"), 1);
}

#[tokio::test]
async fn without_commits_a_pull_request_is_refused_and_says_why() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let error = client.error(pull("x", json!({}))).await;
    assert_eq!(
        (&error["code"], &error["provider"]["reason"]),
        (&json!("failed_precondition"), &json!("no_changes"))
    );
    assert!(error["hint"].as_str().unwrap().contains("if_no_commits=empty_commit"));
    assert_eq!(emulator.state().count("commit_created"), 0);
}

#[tokio::test]
async fn without_commits_an_empty_one_can_be_put_on_head() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let before = head(&emulator, "x");
    let answer =
        client.ok(pull("x", json!({ "if_no_commits": "empty_commit" })).attempt(KEY, 1)).await;
    assert_eq!(answer["created"], true);
    let state = emulator.state();
    let repository = &state.repositories["octo/hello"];
    let history = repository.history("x");
    assert_eq!((history.len(), &history[0].parents), (2, &vec![before]));
    assert_eq!(history[0].tree, history[1].tree);
    assert!(history[0].message.ends_with(&format!("Windlass-Execution: {KEY}")));
    assert_eq!(repository.history("main").len(), 1);
}

#[tokio::test]
async fn an_empty_commit_is_put_on_no_branch_that_others_rely_on() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    for (head, base) in [("main", "x"), ("x", "x")] {
        let more = json!({ "base": base, "if_no_commits": "empty_commit" });
        assert_eq!(client.error(pull(head, more)).await["code"], "failed_precondition");
    }
    // A branch with commits of its own gets none.
    emulator.push("octo/hello", "x", "a.txt", "a\n").unwrap();
    client.ok(pull("x", json!({ "if_no_commits": "empty_commit" }))).await;
    assert_eq!(emulator.state().count("commit_created"), 0);
}

#[tokio::test]
async fn a_refusal_for_another_reason_brings_no_empty_commit() {
    let (emulator, client) = start_with_branch().await;
    emulator.faults().add(Action::Refuse { status: 422 }.on("POST", "/pulls"));
    let error = client.error(pull("x", json!({ "if_no_commits": "empty_commit" }))).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("invalid_argument"), &json!(422))
    );
    assert_eq!(emulator.state().count("commit_created"), 0);
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_githubs_refusal() {
    let (_emulator, client) = start().await;
    let error = client.error(pull("nowhere", json!({ "if_no_commits": "empty_commit" }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("head (invalid)"), "{error}");
}

#[tokio::test]
async fn a_reviewer_that_cannot_be_asked_is_a_warning() {
    let (emulator, client) = start_with_branch().await;
    let answer =
        client.ok(pull("x", json!({ "reviewers": ["stranger"], "labels": ["bug"] }))).await;
    assert_eq!(answer["created"], true);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("reviewers not set:"), "{warning}");
    assert_eq!(emulator.state().count("label_added"), 1);
}

#[tokio::test]
async fn labels_that_failed_for_now_are_added_by_the_next_attempt() {
    let (emulator, client) = start_with_branch().await;
    emulator.faults().add(Action::BadGatewayBeforeWork.on("POST", "/labels"));
    let call = || pull("x", json!({ "labels": ["bug"] }));
    assert_eq!(client.error(call().attempt(KEY, 1)).await["code"], "unavailable");
    assert_eq!(client.ok(call().attempt(KEY, 2)).await["created"], false);
    assert_eq!(
        (emulator.state().count("pull_created"), emulator.state().count("label_added")),
        (1, 1)
    );
}

#[tokio::test]
async fn a_pull_request_that_was_closed_meanwhile_is_not_opened_again() {
    let (emulator, client) = start_with_branch().await;
    emulator.faults().add(Action::DropAfterWork.on("POST", "/pulls"));
    assert_eq!(client.error(pull("x", json!({})).attempt(KEY, 1)).await["code"], "outcome_unknown");
    emulator.change("octo/hello", |repository| {
        repository.issues.get_mut(&8).unwrap().state = "closed".into()
    });
    let answer = client.ok(pull("x", json!({})).attempt(KEY, 2)).await;
    assert_eq!(
        (&answer["number"], &answer["state"], &answer["created"]),
        (&json!(8), &json!("closed"), &json!(false))
    );
    assert_eq!(emulator.state().count("pull_created"), 1);
    // Another execution opens its own.
    let other = client.ok(pull("x", json!({})).attempt("exec_2/step#0~0", 2)).await;
    assert_eq!((&other["number"], &other["created"]), (&json!(9), &json!(true)));
}

/// A pull request of somebody else that changes a line of `a.txt` and adds `yarn.lock`.
async fn start_with_pull() -> (GithubEmulator, Client, u64) {
    let (emulator, client) = start().await;
    emulator.push("octo/hello", "main", "a.txt", "1\n2\n3\n4\n5\n").unwrap();
    client.ok(branch("x")).await;
    emulator.push("octo/hello", "x", "a.txt", "1\nzwei\n3\n4\n5\n").unwrap();
    emulator.push("octo/hello", "x", "yarn.lock", "left-pad\n").unwrap();
    let number = add_pull(&emulator, "x", "eve");
    (emulator, client, number)
}

fn by_number(tool: &'static str, number: u64) -> Request {
    request(tool, json!({ "number": number }))
}

#[tokio::test]
async fn a_pull_request_is_read_once_github_knows_whether_it_can_be_merged() {
    let (emulator, client, number) = start_with_pull().await;
    change_pull(&emulator, number, |pull| pull.unknown_looks = 1);
    let answer = client.ok(by_number("getPullRequest", number)).await;
    assert_eq!((&answer["mergeable"], &answer["mergeable_state"]), (&json!(true), &json!("clean")));
    assert_eq!((&answer["additions"], &answer["deletions"]), (&json!(2), &json!(1)));
    assert_eq!((&answer["changed_files"], &answer["commits"]), (&json!(2), &json!(2)));
    let head = json!({ "ref": "x", "sha": head(&emulator, "x"), "repo": "octo/hello" });
    assert_eq!((&answer["head"], &answer["untrusted"]), (&head, &json!(true)));
    assert_eq!(emulator.state().requests_like("GET", &format!("/pulls/{number}")), 2);

    change_pull(&emulator, number, |pull| pull.unknown_looks = 9);
    let answer = client.ok(by_number("getPullRequest", number)).await;
    assert_eq!(answer["mergeable"], json!(null));
    assert_eq!(emulator.state().requests_like("GET", &format!("/pulls/{number}")), 5);
}

#[tokio::test]
async fn the_files_of_a_pull_request_come_with_their_patches() {
    let (_emulator, client, number) = start_with_pull().await;
    let answer = client.ok(by_number("getPRFiles", number)).await;
    let file = &answer["items"][0];
    assert_eq!((&file["filename"], &file["status"]), (&json!("a.txt"), &json!("modified")));
    assert_eq!(file["patch"], "@@ -1,5 +1,5 @@\n 1\n-2\n+zwei\n 3\n 4\n 5");
    let cut = json!({ "number": number, "max_patch_bytes": 5 });
    let cut = client.ok(request("getPRFiles", cut)).await["items"][0].clone();
    assert_eq!((&cut["patch"], &cut["patch_truncated"]), (&json!("@@ -1"), &json!(true)));
    let bare = json!({ "number": number, "include_patch": false, "per_page": 1 });
    let bare = client.ok(request("getPRFiles", bare)).await;
    assert!(bare["items"][0].get("patch").is_none());
    assert_eq!((&bare["next_page"], &bare["truncated"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn the_diff_of_a_pull_request_leaves_out_what_nobody_reviews_and_what_has_no_room() {
    let (emulator, client, number) = start_with_pull().await;
    let answer = client.ok(by_number("getPRDiff", number)).await;
    let diff = answer["diff"].as_str().unwrap();
    assert!(diff.starts_with("diff --git a/a.txt b/a.txt\n") && diff.ends_with("\n 5\n"), "{diff}");
    assert_eq!(answer["files_omitted"], json!(["yarn.lock"]));
    assert_eq!((&answer["truncated"], &answer["untrusted"]), (&json!(false), &json!(true)));
    let all = client.ok(request("getPRDiff", json!({ "number": number, "exclude": [] }))).await;
    assert!(all["diff"].as_str().unwrap().contains("+left-pad"));
    assert_eq!(all["bytes"], all["diff"].as_str().unwrap().len());
    let little = json!({ "number": number, "exclude": [], "max_bytes": diff.len() });
    let little = client.ok(request("getPRDiff", little)).await;
    assert_eq!((&little["diff"], &little["truncated"]), (&json!(diff), &json!(true)));
    assert_eq!(little["files_omitted"], json!(["yarn.lock"]));
    assert_eq!(emulator.state().requests_like("GET", "/files"), 0);

    // Of a diff that is too large GitHub still tells the patches.
    change_pull(&emulator, number, |pull| pull.huge = true);
    let pieces = client.ok(by_number("getPRDiff", number)).await;
    let diff = pieces["diff"].as_str().unwrap();
    assert!(diff.contains("--- a/a.txt\n+++ b/a.txt\n@@ -1,5 +1,5 @@\n 1\n-2\n+zwei\n"), "{diff}");
    assert_eq!(pieces["warnings"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pull_requests_are_listed_by_branch_and_state() {
    let (emulator, client, number) = start_with_pull().await;
    client.ok(request("createBranch", json!({ "branch": "y", "from": "x" }))).await;
    let other = client.ok(pull("y", json!({}))).await["number"].clone();
    let given = json!({ "head": "x", "fields": "number,title" });
    let found = client.ok(request("listPullRequests", given)).await;
    assert_eq!(found["items"], json!([{ "number": number, "title": "Fix it", "untrusted": true }]));
    change_issue(&emulator, number, |issue| issue.state = "closed".into());
    let open = client.ok(request("listPullRequests", json!({}))).await;
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
    assert_eq!(open["items"][0]["number"], other);
    let all = json!({ "state": "all", "base": "main" });
    let all = client.ok(request("listPullRequests", all)).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_pull_request_is_updated_only_where_it_differs() {
    let (emulator, client, number) = start_with_pull().await;
    let given = json!({ "number": number, "title": "Better", "state": "open", "base": "main" });
    let answer = client.ok(request("updatePullRequest", given.clone())).await;
    assert_eq!((&answer["changed"], &answer["title"]), (&json!(["title"]), &json!("Better")));
    let again = client.ok(request("updatePullRequest", given)).await;
    assert_eq!(again["changed"], json!([]));
    assert_eq!(emulator.state().count("pull_updated"), 1);
    let nowhere = request("updatePullRequest", json!({ "number": number, "base": "nowhere" }));
    assert_eq!(client.error(nowhere).await["code"], "invalid_argument");
}

#[tokio::test]
async fn only_reviewers_that_are_not_asked_yet_are_asked() {
    let (emulator, client, number) = start_with_pull().await;
    let given = json!({ "number": number, "reviewers": "octo", "team_reviewers": ["core"] });
    let first = client.ok(request("requestReviewers", given.clone())).await;
    assert_eq!(
        (&first["requested"], &first["requested_teams"]),
        (&json!(["octo"]), &json!(["core"]))
    );
    let again = client.ok(request("requestReviewers", given)).await;
    assert_eq!((&first["changed"], &again["changed"]), (&json!(true), &json!(false)));
    assert_eq!(emulator.state().count("reviewers_requested"), 1);
    let stranger = json!({ "number": number, "reviewers": ["stranger"] });
    let error = client.error(request("requestReviewers", stranger)).await;
    assert!(error["message"].as_str().unwrap().contains("collaborators"), "{error}");
    let nobody = by_number("requestReviewers", number);
    assert_eq!(client.error(nobody).await["code"], "invalid_argument");
}

// -- reviews ------------------------------------------------------------------

#[tokio::test]
async fn a_review_has_comments_on_lines() {
    let (emulator, client, number) = start_with_pull().await;
    let comments = json!([
        { "path": "a.txt", "line": "2", "body": "Why German?" },
        { "path": "a.txt", "line": 2, "side": "LEFT", "body": "This was right." },
        { "path": "a.txt", "start_line": 1, "line": 3, "body": "All of it." },
    ]);
    let given =
        json!({ "number": number, "body": "Hm", "event": "REQUEST_CHANGES", "comments": comments });
    let answer = client.ok(request("createReview", given).attempt(KEY, 1)).await;
    assert_eq!((&answer["state"], &answer["created"]), (&json!("CHANGES_REQUESTED"), &json!(true)));
    assert_eq!(answer["warnings"], json!([]));
    let listed = client.ok(by_number("listReviews", number)).await["items"].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["untrusted"]), (&answer["id"], &json!(true)));
    let body = listed[0]["body"].as_str().unwrap();
    assert!(body.starts_with("Hm\n\n<!-- windlass:key="), "{body}");
    let listed = client.ok(by_number("listReviewComments", number)).await["items"].clone();
    let line = |own: &Value| (own["line"].clone(), own["side"].clone());
    let lines: Vec<_> = listed.as_array().unwrap().iter().map(line).collect();
    let right = json!("RIGHT");
    assert_eq!(lines, [(json!(2), right.clone()), (json!(2), json!("LEFT")), (json!(3), right)]);
    assert_eq!(emulator.state().count("review_created"), 1);
}

#[tokio::test]
async fn a_comment_on_a_line_that_the_diff_does_not_show_moves_into_the_body() {
    let (emulator, client, number) = start_with_pull().await;
    let comments = json!([
        { "path": "a.txt", "line": 2, "body": "Good" },
        { "path": "a.txt", "line": 40, "body": "Where?" },
        { "path": "none.txt", "line": 1, "body": "What?" },
    ]);
    let given = json!({ "number": number, "comments": comments });
    let answer = client.ok(request("createReview", given)).await;
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].as_str().unwrap().contains("line 40 of a.txt"), "{answer}");
    let state = emulator.state();
    let pull = state.repositories["octo/hello"].issues[&number].pull.as_ref().unwrap();
    assert_eq!((pull.reviews.len(), pull.line_comments.len()), (1, 1));
    let expected = "**`a.txt` line 40**: Where?\n\n**`none.txt` line 1**: What?";
    assert_eq!(pull.reviews[0].body, expected);
}

#[tokio::test]
async fn a_review_that_github_refuses_for_another_reason_is_githubs_refusal() {
    let (emulator, client, number) = start_with_pull().await;
    let given = json!({ "number": number, "body": "b", "commit_id": "0".repeat(40) });
    let error = client.error(request("createReview", given)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("invalid_argument"), &json!(422))
    );
    for event in ["COMMENT", "REQUEST_CHANGES"] {
        let empty = request("createReview", json!({ "number": number, "event": event }));
        assert_eq!(client.error(empty).await["code"], "invalid_argument");
    }
    let approval = json!({ "number": number, "event": "APPROVE" });
    let approved = client.ok(request("createReview", approval.clone())).await;
    assert_eq!(approved["state"], "APPROVED");
    // Nobody approves their own.
    change_issue(&emulator, number, |issue| issue.user = "windlass-bot".into());
    let error = client.error(request("createReview", approval)).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("failed_precondition"), &json!(false))
    );
    assert!(error["hint"].as_str().unwrap().contains("event=COMMENT"), "{error}");
}

#[tokio::test]
async fn a_comment_on_a_line_can_be_answered() {
    let (emulator, client, number) = start_with_pull().await;
    change_pull(&emulator, number, |pull| pull.line_comments.push(line_comment(7002, "a.txt", 2)));
    let given = json!({ "number": number, "body": "Because", "in_reply_to": 7002 });
    let answer = client.ok(request("addIssueComment", given.clone()).attempt(KEY, 1)).await;
    assert_eq!(answer["created"], true);
    let again = client.ok(request("addIssueComment", given).attempt(KEY, 2)).await;
    assert_eq!((&again["created"], &again["id"]), (&json!(false), &answer["id"]));
    let listed = client.ok(by_number("listReviewComments", number)).await["items"].clone();
    assert_eq!((&listed[1]["in_reply_to_id"], listed.as_array().unwrap().len()), (&json!(7002), 2));
    let gone = json!({ "number": number, "body": "Because", "in_reply_to": 7003 });
    assert_eq!(client.error(request("addIssueComment", gone)).await["code"], "not_found");
}

// -- merging ------------------------------------------------------------------

#[tokio::test]
async fn a_pull_request_is_merged_and_its_branch_goes() {
    let (emulator, client, number) = start_with_pull().await;
    let more = json!({ "commit_title": "All of it", "delete_branch": true });
    let mut given = json!({ "number": number, "merge_method": "squash" });
    given.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let answer = client.ok(request("mergePullRequest", given.clone())).await;
    assert_eq!((&answer["merged"], &answer["already_merged"]), (&json!(true), &json!(false)));
    let merge = json!(head(&emulator, "main"));
    assert_eq!((&answer["branch_deleted"], &answer["sha"]), (&json!(true), &merge));
    let state = emulator.state();
    let repository = &state.repositories["octo/hello"];
    let newest = repository.history("main")[0].message.as_str();
    assert_eq!((repository.branch("x"), newest), (None, "All of it"));
    assert_eq!(repository.file("main", "a.txt").as_deref(), Some("1\nzwei\n3\n4\n5\n"));
    let again = client.ok(request("mergePullRequest", given)).await;
    assert_eq!((&again["already_merged"], &again["changed"]), (&json!(true), &json!(false)));
    assert_eq!((&again["sha"], &again["branch_deleted"]), (&merge, &json!(true)));
    assert_eq!(emulator.state().count("pull_merged"), 1);
    let other = json!({ "number": number, "expected_head_sha": merge });
    let error = client.error(request("mergePullRequest", other)).await;
    assert_eq!(error["code"], "conflict", "what it was told to refuse has gone in");
}

#[tokio::test]
async fn a_pull_request_whose_head_moved_on_is_a_conflict() {
    let (emulator, client, number) = start_with_pull().await;
    let given = json!({ "number": number, "expected_head_sha": head(&emulator, "main") });
    let error = client.error(request("mergePullRequest", given)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("conflict"), &json!(false)));
    assert!(error["hint"].as_str().unwrap().contains("expected_head_sha"), "{error}");
    assert_eq!(emulator.state().requests_like("PUT", "/merge"), 0);
    // It moves after it was read.
    emulator.faults().add(Action::PauseBeforeWork.on("PUT", "/merge"));
    let (answer, ()) = tokio::join!(client.call(by_number("mergePullRequest", number)), async {
        assert!(emulator.faults().wait_until_held(1, DEADLINE).await);
        change_pull(&emulator, number, |pull| pull.head_sha = "1".repeat(40));
        emulator.faults().release();
    });
    let error = answer.unwrap_err();
    assert_eq!((&error["code"], &error["retryable"]), (&json!("conflict"), &json!(false)));
    assert!(error["message"].as_str().unwrap().contains("moved on"), "{error}");
    assert_eq!(emulator.state().count("pull_merged"), 0);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_merge_is_said() {
    let (emulator, client, number) = start_with_pull().await;
    let given = json!({ "number": number, "body": "No", "event": "REQUEST_CHANGES" });
    client.ok(request("createReview", given)).await;
    change_pull(&emulator, number, |pull| pull.blocked = Some("Changes must be made.".into()));
    let error = client.error(by_number("mergePullRequest", number)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("failed_precondition"), &json!(405))
    );
    let message = error["message"].as_str().unwrap();
    for part in
        ["mergeable_state: blocked", "Changes must be made.", "windlass-bot requested changes"]
    {
        assert!(message.contains(part), "{message}");
    }
    change_pull(&emulator, number, |pull| pull.blocked = None);
    emulator.push("octo/hello", "main", "a.txt", "1\ntwo\n3\n4\n5\n").unwrap();
    let error = client.error(by_number("mergePullRequest", number)).await;
    assert!(error["message"].as_str().unwrap().contains("it conflicts with its base"), "{error}");
    change_issue(&emulator, number, |issue| issue.state = "closed".into());
    let error = client.error(by_number("mergePullRequest", number)).await;
    assert_eq!(error["code"], "failed_precondition");
    assert_eq!(emulator.state().count("pull_merged"), 0);
}

#[tokio::test]
async fn a_branch_that_was_pushed_to_after_the_merge_is_kept() {
    let (emulator, client, number) = start_with_pull().await;
    client.ok(by_number("mergePullRequest", number)).await;
    let pushed = emulator.push("octo/hello", "x", "late.txt", "late\n").unwrap();
    let given = json!({ "number": number, "delete_branch": true });
    let answer = client.ok(request("mergePullRequest", given)).await;
    assert_eq!((&answer["branch_deleted"], head(&emulator, "x")), (&json!(false), pushed));
    assert!(answer["warnings"][0].as_str().unwrap().contains("moved on"), "{answer}");
}

#[tokio::test]
async fn a_milestone_that_nobody_knows_is_refused_before_a_pull_request_is_opened() {
    let (emulator, client) = start_with_branch().await;
    emulator.change("octo/hello", |repository| repository.milestones.insert(1, "v1".into()));
    let error = client.error(pull("x", json!({ "milestone": "v2" }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["hint"].as_str().unwrap().contains("v1"), "{error}");
    assert_eq!(emulator.state().count("pull_created"), 0);
    let opened = client.ok(pull("x", json!({ "milestone": "V1" }))).await;
    let number = opened["number"].as_u64().unwrap();
    assert_eq!(emulator.state().repositories["octo/hello"].issues[&number].milestone, Some(1));
}
