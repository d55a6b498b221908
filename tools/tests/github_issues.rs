//! The github tools for issues, comments, labels and reactions.

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{Action, NewIssue};

use super::github::{add_pull, branch, change_issue, comment, start};
use crate::harness::{Client, Request, request};

const KEY: &str = "exec_1/step#0~0";

fn issue(more: Value) -> Request {
    let mut given = json!({ "title": "Broken", "body": "It is." });
    given.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    request("createIssue", given)
}

fn update(more: Value) -> Request {
    let mut given = json!({ "number": 7 });
    given.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    request("updateIssue", given)
}

/// Five issues from number 8 on, the last but one a pull request.
async fn start_with_issues() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    for title in ["a", "b", "c"] {
        let labels = vec![title.to_owned(), "all".to_owned()];
        let new =
            NewIssue { title: title.into(), labels, user: "eve".into(), ..NewIssue::default() };
        emulator.add_issue("octo/hello", new);
    }
    client.ok(branch("x")).await;
    emulator.push("octo/hello", "x", "a.txt", "a\n").unwrap();
    add_pull(&emulator, "x", "eve");
    emulator.add_issue("octo/hello", NewIssue { title: "d".into(), ..NewIssue::default() });
    (emulator, client)
}

fn titles(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|own| own["title"].as_str().unwrap()).collect()
}

// -- lists --------------------------------------------------------------------

#[tokio::test]
async fn issues_are_listed_without_pull_requests() {
    let (emulator, client) = start_with_issues().await;
    let answer = client.ok(request("listIssues", json!({}))).await;
    assert_eq!(titles(&answer), ["d", "c", "b", "a", "Greet people by their name"]);
    assert_eq!((&answer["next_page"], &answer["truncated"]), (&json!(null), &json!(false)));
    assert!(answer["items"].as_array().unwrap().iter().all(|own| own["untrusted"] == true));
    let given = json!({ "include_pull_requests": true, "sort": "created", "direction": "asc" });
    let all = client.ok(request("listIssues", given)).await;
    assert_eq!(titles(&all)[4], "Fix it");
    change_issue(&emulator, 8, |issue| issue.state = "closed".into());
    let closed = client.ok(request("listIssues", json!({ "state": "closed" }))).await;
    assert_eq!(titles(&closed), ["a"]);
    let labelled = client.ok(request("listIssues", json!({ "labels": "all,b" }))).await;
    assert_eq!(titles(&labelled), ["b"]);
    let by_eve = client.ok(request("listIssues", json!({ "creator": "eve" }))).await;
    assert_eq!(titles(&by_eve), ["c", "b"]);
    emulator.change("octo/hello", |repository| repository.milestones.insert(1, "v1".into()));
    change_issue(&emulator, 9, |issue| issue.milestone = Some(1));
    let planned = client.ok(request("listIssues", json!({ "milestone": "v1" }))).await;
    assert_eq!(titles(&planned), ["b"]);
}

#[tokio::test]
async fn a_list_goes_on_with_its_next_page_or_collects_pages() {
    let (emulator, client) = start_with_issues().await;
    // Addresses of another host get no credentials, and are not needed.
    emulator.set_link_host(Some("https://elsewhere.example".to_owned()));
    let page = |page: u64| request("listIssues", json!({ "per_page": 2, "page": page }));
    let first = client.ok(page(1)).await;
    // The pull request was on this page.
    assert_eq!((titles(&first), &first["next_page"]), (vec!["d"], &json!(2)));
    assert_eq!(titles(&client.ok(page(2)).await), ["c", "b"]);
    let last = client.ok(page(3)).await;
    assert_eq!((titles(&last).len(), &last["next_page"]), (2, &json!(null)));

    let before = emulator.state().requests.len();
    let given = json!({ "per_page": 2, "max_items": 4 });
    let many = client.ok(request("listIssues", given)).await;
    assert_eq!((titles(&many), &many["truncated"]), (vec!["d", "c", "b", "a"], &json!(true)));
    assert_eq!(emulator.state().requests.len() - before, 3);
    let all = client.ok(request("listIssues", json!({ "max_items": 1000, "per_page": 1 }))).await;
    assert_eq!((titles(&all).len(), &all["truncated"]), (5, &json!(false)));
    assert!(emulator.state().requests.iter().all(|request| request.authorized));
}

#[tokio::test]
async fn a_list_answers_only_the_fields_that_are_asked_for() {
    let (_emulator, client) = start_with_issues().await;
    let given = json!({ "fields": "number,title", "per_page": 1 });
    let answer = client.ok(request("listIssues", given)).await;
    assert_eq!(answer["items"], json!([{ "number": 12, "title": "d", "untrusted": true }]));
    let error = client.error(request("listIssues", json!({ "fields": ["titel"] }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("titel"), "{error}");
}

#[tokio::test]
async fn a_search_stays_in_its_repository() {
    let (emulator, client) = start_with_issues().await;
    let search = |query: &str| request("searchIssues", json!({ "query": query, "kind": "issue" }));
    let answer = client.ok(search("greet is:open")).await;
    assert_eq!(
        (titles(&answer), &answer["total"]),
        (vec!["Greet people by their name"], &json!(1))
    );
    let pulls = request("searchIssues", json!({ "q": "fix", "kind": "pr" }));
    assert_eq!(titles(&client.ok(pulls).await), ["Fix it"]);
    let before = emulator.state().requests.len();
    for query in ["x repo:other/secret", "org:other", "-user:octo", "a (Repo:other/secret)"] {
        assert_eq!(client.error(search(query)).await["code"], "invalid_argument", "{query}");
    }
    assert_eq!(emulator.state().requests.len(), before);
}

// -- createIssue --------------------------------------------------------------

#[tokio::test]
async fn an_issue_is_opened_with_all_that_belongs_to_it() {
    let (emulator, client) = start().await;
    emulator.change("octo/hello", |repository| repository.milestones.insert(3, "v1".into()));
    let more = json!({ "labels": "bug,new", "assignees": ["octo", "stranger"], "milestone": "v1" });
    let answer = client.ok(issue(more).attempt(KEY, 1)).await;
    assert_eq!((&answer["number"], &answer["created"]), (&json!(8), &json!(true)));
    assert_eq!(answer["warnings"], json!(["assignees not set: GitHub passed over stranger"]));
    assert!(!answer["node_id"].as_str().unwrap().is_empty());
    let state = emulator.state();
    let own = &state.repositories["octo/hello"].issues[&8];
    assert_eq!(
        (own.labels.len(), own.milestone, own.assignees.as_slice()),
        (2, Some(3), ["octo".to_owned()].as_slice())
    );
    let body = own.body.as_deref().unwrap();
    assert!(body.starts_with("It is.\n\n<!-- windlass:key=") && body.ends_with(" -->"), "{body}");
    let error = client.error(issue(json!({ "milestone": "v9" }))).await;
    assert!(error["hint"].as_str().unwrap().contains("v1"), "{error}");
    assert_eq!(emulator.state().count("issue_created"), 1);
}

#[tokio::test]
async fn an_issue_of_the_same_title_is_taken_when_that_is_asked_for() {
    let (emulator, client) = start().await;
    let first = client.ok(issue(json!({})).attempt(KEY, 1)).await;
    let by_title = || issue(json!({ "dedupe": "title" })).attempt("exec_2/step#0~0", 1);
    let taken = client.ok(by_title()).await;
    assert_eq!((&taken["number"], &taken["created"]), (&first["number"], &json!(false)));
    // By its key alone another execution opens its own.
    let other = client.ok(issue(json!({})).attempt("exec_3/step#0~0", 2)).await;
    assert_eq!(other["created"], true);
    for number in [8, 9] {
        change_issue(&emulator, number, |issue| issue.state = "closed".into());
    }
    assert_eq!(client.ok(by_title()).await["number"], 10);
}

#[tokio::test]
async fn an_issue_that_cannot_be_looked_up_is_not_opened_again() {
    let (emulator, client) = start().await;
    let unmarked = || issue(json!({ "dedupe": "none" }));
    emulator.faults().add(Action::DropAfterWork.on("POST", "/issues"));
    let error = client.error(unmarked().attempt(KEY, 1)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("outcome_unknown"), &json!(false)));
    let error = client.error(unmarked().attempt(KEY, 2)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("outcome_unknown"), &json!(false)));
    let state = emulator.state();
    assert_eq!(state.count("issue_created"), 1);
    assert_eq!(state.repositories["octo/hello"].issues[&8].body.as_deref(), Some("It is."));
}

#[tokio::test]
async fn where_issues_are_switched_off_that_is_said() {
    let (emulator, client) = start().await;
    emulator.change("octo/hello", |repository| repository.without_issues = true);
    for call in [issue(json!({})), request("listIssues", json!({}))] {
        let error = client.error(call).await;
        assert_eq!(
            (&error["code"], &error["provider"]["status"]),
            (&json!("not_found"), &json!(410))
        );
        assert!(error["hint"].as_str().unwrap().contains("switched off"), "{error}");
    }
}

// -- updateIssue --------------------------------------------------------------

#[tokio::test]
async fn an_issue_is_updated_only_where_it_differs() {
    let (emulator, client) = start().await;
    emulator.change("octo/hello", |repository| repository.milestones.insert(3, "v1".into()));
    let more = json!({ "add_labels": ["bug", "Enhancement"], "milestone": "v1", "assignees": "octo", "type": "Bug" });
    let answer = client.ok(update(more.clone())).await;
    assert_eq!(answer["changed"], json!(["type", "labels", "assignees", "milestone"]));
    assert_eq!(answer["labels"], json!(["enhancement", "bug"]));
    assert_eq!(answer["milestone"], json!({ "number": 3, "title": "v1" }));
    assert_eq!(client.ok(update(more)).await["changed"], json!([]));
    assert_eq!(emulator.state().count("issue_updated"), 1);

    let closed = json!({ "state": "closed", "state_reason": "not_planned", "remove_labels": ["BUG"], "milestone": null });
    let answer = client.ok(update(closed)).await;
    assert_eq!(answer["changed"], json!(["state", "state_reason", "labels", "milestone"]));
    assert_eq!(
        (&answer["state_reason"], &answer["labels"]),
        (&json!("not_planned"), &json!(["enhancement"]))
    );
    assert_eq!((&answer["milestone"], answer["closed_at"].is_string()), (&json!(null), true));
    let reason = client.ok(update(json!({ "state_reason": "completed" }))).await;
    assert_eq!(
        (&reason["state"], &reason["state_reason"]),
        (&json!("closed"), &json!("completed"))
    );
    let labels = client.ok(update(json!({ "labels": [], "state": "open" }))).await;
    assert_eq!((&labels["labels"], &labels["state"]), (&json!([]), &json!("open")));

    let error = client.error(update(json!({ "milestone": "v9" }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["hint"].as_str().unwrap().contains("v1"), "{error}");
}

// -- comments -----------------------------------------------------------------

#[tokio::test]
async fn a_comment_under_a_name_is_written_once_and_edited_from_then_on() {
    let (emulator, client) = start().await;
    change_issue(&emulator, 7, |issue| {
        issue.comments.extend((0..150).map(|id| comment(8000 + id, "noise")));
    });
    let write = |body: &str| {
        request("addIssueComment", json!({ "number": 7, "body": body, "upsert_key": "status" }))
    };
    let first = client.ok(write("1 of 2").attempt(KEY, 1)).await;
    assert_eq!((&first["created"], &first["updated"]), (&json!(true), &json!(false)));
    let second = client.ok(write("2 of 2").attempt("exec_2/step#0~0", 1)).await;
    assert_eq!((&second["created"], &second["updated"]), (&json!(false), &json!(true)));
    let third = client.ok(write("2 of 2")).await;
    assert_eq!((&third["id"], &third["updated"]), (&first["id"], &json!(false)));
    let state = emulator.state();
    assert_eq!((state.count("comment_created"), state.count("comment_updated")), (1, 1));
    let newest = &state.repositories["octo/hello"].issues[&7].comments[150];
    assert!(newest.body.starts_with("2 of 2\n\n<!-- windlass:upsert="), "{}", newest.body);
    let both = json!({ "number": 7, "body": "b", "upsert_key": "k", "in_reply_to": 1 });
    assert_eq!(client.error(request("addIssueComment", both)).await["code"], "invalid_argument");
}

/// Makes what was written last somebody else's.
fn change_author(emulator: &GithubEmulator, number: u64) {
    change_issue(emulator, number, |issue| {
        issue.comments.last_mut().unwrap().user = "mallory".to_owned();
    });
}

#[tokio::test]
async fn a_mark_in_the_comment_of_somebody_else_is_not_ours() {
    let (emulator, client) = start().await;
    let sticky = json!({ "number": 7, "body": "All is well", "upsert_key": "status" });
    let planted = client.ok(request("addIssueComment", sticky.clone())).await;
    change_author(&emulator, 7);
    let own = client.ok(request("addIssueComment", sticky.clone())).await;
    assert_eq!((&own["created"], own["id"] == planted["id"]), (&json!(true), false));
    let more = json!({ "number": 7, "body": "It is not", "upsert_key": "status" });
    assert_eq!(client.ok(request("addIssueComment", more)).await["id"], own["id"]);
    let comments = emulator.state().repositories["octo/hello"].issues[&7].comments.clone();
    assert!(comments[0].body.starts_with("All is well"), "{}", comments[0].body);
    // The same holds for what a repeated call looks for.
    let plain = || request("addIssueComment", json!({ "number": 7, "body": "Hi" }));
    client.ok(plain().attempt(KEY, 1)).await;
    change_author(&emulator, 7);
    assert_eq!(client.ok(plain().attempt(KEY, 2)).await["created"], true);
    assert_eq!(client.ok(plain().attempt(KEY, 2)).await["created"], false);
}

#[tokio::test]
async fn an_issue_of_somebody_else_with_our_mark_is_not_ours() {
    let (emulator, client) = start().await;
    let open = || request("createIssue", json!({ "title": "Broken", "body": "It is." }));
    let planted = client.ok(open().attempt(KEY, 1)).await["number"].as_u64().unwrap();
    change_issue(&emulator, planted, |issue| issue.user = "mallory".to_owned());
    assert_eq!(client.ok(open().attempt(KEY, 2)).await["created"], true);
    assert_eq!(client.ok(open().attempt(KEY, 3)).await["created"], false);
}

#[tokio::test]
async fn a_comment_that_is_too_long_is_cut_and_found_again() {
    let (emulator, client) = start().await;
    let long = || request("addIssueComment", json!({ "number": 7, "body": "ü".repeat(70_000) }));
    emulator.faults().add(Action::DropAfterWork.on("POST", "/comments"));
    assert_eq!(client.error(long().attempt(KEY, 1)).await["code"], "outcome_unknown");
    let answer = client.ok(long().attempt(KEY, 2)).await;
    assert_eq!(answer["created"], false);
    assert!(answer["warnings"][0].as_str().unwrap().contains("70000 characters"), "{answer}");
    let listed = client.ok(request("listIssueComments", json!({ "number": 7 }))).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["untrusted"], true);
}

// -- labels and reactions -----------------------------------------------------

#[tokio::test]
async fn labels_are_added_and_made_when_they_are_missing() {
    let (emulator, client) = start().await;
    let given = json!({ "number": 7, "labels": ["area/ui", "Enhancement"], "color": "#d73a4a" });
    let answer = client.ok(request("addLabels", given.clone())).await;
    assert_eq!(answer["labels"], json!(["enhancement", "area/ui"]));
    assert_eq!(
        (&answer["created_labels"], &answer["changed"]),
        (&json!(["area/ui"]), &json!(true))
    );
    let again = client.ok(request("addLabels", given)).await;
    assert_eq!((&again["created_labels"], &again["changed"]), (&json!([]), &json!(false)));
    let state = emulator.state();
    assert_eq!(state.repositories["octo/hello"].labels["area/ui"].color, "d73a4a");
    assert_eq!((state.count("label_created"), state.count("label_added")), (1, 1));

    let strict = json!({ "number": 7, "labels": ["typo"], "create_missing": false });
    let error = client.error(request("addLabels", strict)).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["hint"].as_str().unwrap().contains("area/ui"), "{error}");

    let gone = json!({ "number": 7, "labels": ["AREA/UI", "never"] });
    let answer = client.ok(request("removeLabels", gone.clone())).await;
    assert_eq!((&answer["labels"], &answer["changed"]), (&json!(["enhancement"]), &json!(true)));
    assert_eq!(client.ok(request("removeLabels", gone)).await["changed"], false);
    assert_eq!(emulator.state().count("label_removed"), 1);
}

#[tokio::test]
async fn the_same_reaction_is_there_once() {
    let (emulator, client) = start().await;
    change_issue(&emulator, 7, |issue| issue.comments.push(comment(7003, "First")));
    for target in
        [json!({ "number": 7, "content": "+1" }), json!({ "comment_id": 7003, "content": "+1" })]
    {
        let first = client.ok(request("addReaction", target.clone())).await;
        let second = client.ok(request("addReaction", target)).await;
        assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
        assert_eq!(first["id"], second["id"]);
    }
    for wrong in [
        json!({ "content": "+1" }),
        json!({ "number": 7, "comment_id": 7003, "content": "+1" }),
        json!({ "number": 7, "content": "meh" }),
    ] {
        assert_eq!(client.error(request("addReaction", wrong)).await["code"], "invalid_argument");
    }
    assert_eq!(emulator.state().count("reaction_created"), 2);
}
