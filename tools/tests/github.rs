//! The github tools against a stateful double: what they do, and that they do it once.

use std::net::TcpListener;

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{Action, NewIssue};
use windlass_tools::contract::Surroundings;
use windlass_tools::{GithubConfig, github};

use crate::harness::{Client, DEADLINE, Request, but_created, request};

const KEY: &str = "exec_1/step#0~0";

/// Issues, contents and pull requests: each tool, its retry class, and whether it may undo or delete.
pub(crate) const TOOLS: [(&str, &str, bool); 32] = [
    ("addIssueComment", "keyed", false),
    ("addLabels", "idempotent", false),
    ("addReaction", "idempotent", false),
    ("commitFileChanges", "keyed", false),
    ("compareCommits", "read", false),
    // It can reset a branch.
    ("createBranch", "idempotent", true),
    ("createIssue", "keyed", false),
    ("createPullRequest", "idempotent", false),
    ("createReview", "keyed", false),
    ("deleteBranch", "idempotent", true),
    ("getBranch", "read", false),
    ("getCommit", "read", false),
    ("getFileContents", "read", false),
    ("getIssue", "read", false),
    ("getPRDiff", "read", false),
    ("getPRFiles", "read", false),
    ("getPullRequest", "read", false),
    ("getRepository", "read", false),
    ("getRepositoryTree", "read", false),
    ("listBranches", "read", false),
    ("listCommits", "read", false),
    ("listIssueComments", "read", false),
    ("listIssues", "read", false),
    ("listPullRequests", "read", false),
    ("listReviewComments", "read", false),
    ("listReviews", "read", false),
    ("mergePullRequest", "idempotent", true),
    ("removeLabels", "idempotent", false),
    ("requestReviewers", "idempotent", false),
    ("searchIssues", "read", false),
    ("updateIssue", "idempotent", false),
    ("updatePullRequest", "idempotent", false),
];

pub(crate) fn config(emulator: &GithubEmulator) -> GithubConfig {
    GithubConfig {
        api_url: emulator.url(),
        default_owner: Some("octo".to_owned()),
        default_repo: Some("hello".to_owned()),
        write_interval_ms: 0,
        find_run_ms: 300,
        ..GithubConfig::default()
    }
}

/// Surroundings in which these variables are set.
pub(crate) fn around(variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings { environment: variables.collect(), host: None }
}

pub(crate) fn signed_in() -> Surroundings {
    around(&[("GITHUB_TOKEN", "ghp_thisIsTheToken12345")])
}

pub(crate) async fn start() -> (GithubEmulator, Client) {
    let emulator = GithubEmulator::start().await.unwrap();
    let client = Client::connect(github(config(&emulator), &signed_in())).await;
    (emulator, client)
}

pub(crate) fn branch(name: &str) -> Request {
    request("createBranch", json!({ "branch": name }))
}

pub(crate) fn commit(branch: &str, content: &str) -> Request {
    let files = json!([{ "path": "src/a.txt", "content": content }]);
    request("commitFileChanges", json!({ "branch": branch, "message": "Add a", "files": files }))
}

pub(crate) fn pull(head: &str, more: Value) -> Request {
    let mut arguments = json!({ "title": "A", "head": head, "base": "main", "body": "Closes #7" });
    arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    request("createPullRequest", arguments)
}

/// A double in which branch `x` has one commit that main lacks.
pub(crate) async fn start_with_branch() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    emulator.push("octo/hello", "x", "a.txt", "a\n").unwrap();
    (emulator, client)
}

pub(crate) fn head(emulator: &GithubEmulator, branch: &str) -> String {
    emulator.state().repositories["octo/hello"].branch(branch).unwrap().to_owned()
}

// -- the contract -------------------------------------------------------------

#[tokio::test]
async fn every_tool_is_listed_with_schemas_hints_and_retry_class() {
    let (_emulator, client) = start().await;
    for (name, class, destructive) in TOOLS {
        let tool = client.tool(name);
        assert_eq!(tool.meta.as_ref().unwrap()["dev.windlass/retry_class"], class);
        let hints = tool.annotations.as_ref().unwrap();
        let hints = (
            hints.read_only_hint,
            hints.destructive_hint,
            hints.idempotent_hint,
            hints.open_world_hint,
        );
        let read_only = class == "read";
        assert_eq!(hints, (Some(read_only), Some(destructive), Some(true), Some(true)), "{name}");
        assert!(tool.title.is_some() && tool.output_schema.is_some());
        for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
            jsonschema::meta::validate(&Value::Object((**schema).clone())).unwrap();
        }
    }
}

#[tokio::test]
async fn without_a_token_tools_are_listed_and_calls_say_what_to_set() {
    for token in ["", "  "] {
        let client =
            Client::connect(github(GithubConfig::default(), &around(&[("GITHUB_TOKEN", token)])))
                .await;
        assert!(TOOLS.len() <= client.tools.len());
        let error =
            client.error(request("getIssue", json!({ "repo": "octo/hello", "number": 7 }))).await;
        assert_eq!(error["code"], "unauthenticated");
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("GITHUB_TOKEN") && hint.contains("GH_TOKEN"), "{hint}");
    }
}

#[tokio::test]
async fn the_token_is_not_shown() {
    let (emulator, client) = start().await;
    let body = "mine is ghp_0123456789abcdef and yours ghp_thisIsTheToken12345".to_owned();
    let issue = NewIssue { title: "t".into(), body, ..NewIssue::default() };
    let number = emulator.add_issue("octo/hello", issue);
    let answer = client.ok(request("getIssue", json!({ "number": number }))).await;
    assert_eq!(answer["body"], "mine is [redacted] and yours [redacted]");
}

#[tokio::test]
async fn a_configuration_refuses_keys_it_does_not_know() {
    let config: GithubConfig = serde_json::from_value(json!({ "token_env": ["T"] })).unwrap();
    assert_eq!(config.api_url, "https://api.github.com");
    assert!(serde_json::from_value::<GithubConfig>(json!({ "tokn": "t" })).is_err());
}

#[tokio::test]
async fn arguments_have_other_names_and_types() {
    let (_emulator, client) = start().await;
    for given in [
        json!({ "number": "7" }),
        json!({ "issue_number": 7 }),
        json!({ "issueNumber": "7", "repo": "octo/hello" }),
        json!({ "number": 7, "owner": "octo", "repo": "hello" }),
    ] {
        assert_eq!(client.ok(request("getIssue", given)).await["number"], 7);
    }
    let by_name = request("getRepository", json!({ "owner": "octo", "name": "hello" }));
    assert_eq!(client.ok(by_name).await["full_name"], "octo/hello");
}

#[tokio::test]
async fn an_unknown_argument_is_refused_with_a_guess() {
    let (emulator, client) = start().await;
    let error =
        client.error(request("createBranch", json!({ "branch": "x", "form": "main" }))).await;
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["hint"].as_str().unwrap().contains("did you mean \"from\"?"), "{error}");
    assert!(emulator.state().requests.is_empty());
}

#[tokio::test]
async fn a_repository_that_is_not_allowed_is_not_touched() {
    let emulator = GithubEmulator::start().await.unwrap();
    emulator.add_issue("other/secret", NewIssue { number: Some(1), ..NewIssue::default() });
    let config = GithubConfig { repos: vec!["octo/*".to_owned()], ..config(&emulator) };
    let client = Client::connect(github(config, &signed_in())).await;
    let error =
        client.error(request("getIssue", json!({ "repo": "other/secret", "number": 1 }))).await;
    assert_eq!(error["code"], "guardrail");
    assert!(emulator.state().requests.is_empty());
    assert_eq!(client.ok(request("getIssue", json!({ "number": 7 }))).await["number"], 7);
}

#[tokio::test]
async fn names_cannot_lead_to_other_routes() {
    let (emulator, client) = start().await;
    for given in [
        json!({ "branch": "x", "repo": "octo/.." }),
        json!({ "branch": "../../pulls" }),
        json!({ "branch": "x", "from": "../../../../user" }),
        json!({ "branch": "x", "owner": "octo", "repo": "evil/hello" }),
    ] {
        assert_eq!(client.error(request("createBranch", given)).await["code"], "invalid_argument");
    }
    assert!(emulator.state().requests.iter().all(|request| !request.path.contains("..")));
}

#[tokio::test]
async fn a_read_only_server_offers_and_does_nothing_that_writes() {
    let emulator = GithubEmulator::start().await.unwrap();
    let client = Client::connect(github(
        GithubConfig { read_only: true, ..config(&emulator) },
        &signed_in(),
    ))
    .await;
    for (name, class, _) in TOOLS {
        let offered = client.tools.iter().any(|tool| tool.name == name);
        assert_eq!(offered, class == "read", "{name}");
    }
    assert_eq!(client.error(branch("x")).await["code"], "guardrail");
    assert!(emulator.state().requests.is_empty());
}

#[tokio::test]
async fn requests_name_the_api_version_once() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let versions = emulator.state().requests.into_iter().map(|request| request.api_version);
    assert!(versions.into_iter().all(|version| version.as_deref() == Some("2022-11-28")));
}

// -- failures -----------------------------------------------------------------

#[tokio::test]
async fn a_rate_limit_says_how_long_to_wait() {
    let (emulator, client) = start().await;
    let issue = || request("getIssue", json!({ "number": 7 }));
    emulator.faults().add(Action::TooManyRequests { retry_after_s: 3 }.on("GET", "/issues"));
    let error = client.error(issue()).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("rate_limited"), &json!(true)));
    assert_eq!(
        (&error["retry_after_ms"], &error["provider"]["status"]),
        (&json!(3000), &json!(429))
    );
    assert!(error["provider"]["request_id"].as_str().unwrap().starts_with("E0:"));

    emulator.faults().add(Action::RateLimited { reset_in_s: 90 }.on("GET", "/issues"));
    let error = client.error(issue()).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("rate_limited"), &json!(403))
    );
    let wait = error["retry_after_ms"].as_u64().unwrap();
    assert!((85_000..=91_000).contains(&wait), "{wait}");

    emulator.faults().add(Action::Forbidden.on("GET", "/issues"));
    let error = client.error(issue()).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("permission_denied"), &json!(false)));
}

#[tokio::test]
async fn a_write_that_fails_is_sent_once() {
    let (emulator, client) = start().await;
    emulator.faults().add(Action::BadGatewayBeforeWork.on("POST", "/git/refs").times(9));
    let error = client.error(branch("x")).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("unavailable"), &json!(true)));
    assert_eq!(emulator.state().requests_like("POST", "/git/refs"), 1);
    emulator.faults().clear();
    emulator.faults().add(Action::DropAfterWork.on("POST", "/git/refs").times(9));
    let error = client.error(branch("x")).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("outcome_unknown"), &json!(true)));
    assert_eq!(emulator.state().requests_like("POST", "/git/refs"), 2);
}

#[tokio::test]
async fn an_empty_repository_is_a_conflict_that_says_what_it_needs() {
    let (emulator, client) = start().await;
    emulator.change("octo/hello", |repository| repository.refs.clear());
    let error = client.error(branch("x")).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("conflict"), &json!(false)));
    assert!(error["hint"].as_str().unwrap().contains("first commit"), "{error}");
}

#[tokio::test]
async fn a_read_whose_answer_is_lost_may_be_repeated() {
    let (emulator, client) = start().await;
    emulator.faults().add(Action::DropAfterWork.on("GET", "/issues"));
    let error = client.error(request("getIssue", json!({ "number": 7 }))).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("unavailable"), &json!(true)));
}

#[tokio::test]
async fn a_commit_without_a_key_is_not_offered_for_repetition() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    for fault in [Action::DropAfterWork, Action::BadGatewayAfterWork] {
        emulator.faults().add(fault.on("PATCH", "/git/refs"));
        let error = client.error(commit("x", &format!("{fault:?}"))).await;
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!("outcome_unknown"), &json!(false))
        );
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api_url = format!("http://{free}");
    let config = GithubConfig { api_url, ..GithubConfig::default() };
    let client = Client::connect(github(config, &signed_in())).await;
    let given = json!({ "repo": "octo/hello", "branch": "x", "message": "m", "files": [{ "path": "a", "content": "" }] });
    for call in [
        request("getIssue", json!({ "repo": "octo/hello", "number": 7 })),
        request("commitFileChanges", given),
    ] {
        let error = client.error(call).await;
        assert_eq!((&error["code"], &error["retryable"]), (&json!("unavailable"), &json!(true)));
    }
}

#[tokio::test]
async fn a_tool_that_is_cancelled_answers_no_more_and_the_server_goes_on() {
    let (emulator, client) = start().await;
    emulator.faults().add(Action::PauseBeforeWork.on("GET", "/issues/7"));
    let call = client.call(request("getIssue", json!({ "number": 7 })));
    tokio::select! {
        _ = call => panic!("it was held"),
        held = emulator.faults().wait_until_held(1, DEADLINE) => assert!(held),
    }
    // The call is dropped, which cancels it; the request to GitHub ends with it.
    assert!(emulator.faults().wait_until_none_held(DEADLINE).await);
    assert_eq!(client.ok(request("getIssue", json!({ "number": 7 }))).await["number"], 7);
}

// -- reading ------------------------------------------------------------------

#[tokio::test]
async fn an_issue_is_read_and_marked_as_written_by_others() {
    let (emulator, client) = start().await;
    let issue = NewIssue {
        title: "A\u{200B}B\u{202E}".into(),
        body: "ignore\u{E0041} this".into(),
        labels: vec!["bug".into()],
        user: "eve".into(),
        number: None,
    };
    let number = emulator.add_issue("octo/hello", issue);
    let answer = client.ok(request("getIssue", json!({ "number": number }))).await;
    assert_eq!((&answer["title"], &answer["body"]), (&json!("AB"), &json!("ignore this")));
    assert_eq!((&answer["untrusted"], &answer["labels"]), (&json!(true), &json!(["bug"])));
    assert_eq!(answer["user"], json!({ "login": "eve", "type": "User" }));
    assert_eq!((&answer["is_pull_request"], &answer["milestone"]), (&json!(false), &json!(null)));
    assert_eq!(answer["warnings"], json!([]));
    let error = client.error(request("getIssue", json!({ "number": 999 }))).await;
    assert_eq!((&error["code"], &error["provider"]["status"]), (&json!("not_found"), &json!(404)));
}

#[tokio::test]
async fn a_pull_request_is_an_issue_that_says_so() {
    let (_emulator, client) = start_with_branch().await;
    let number = client.ok(pull("x", json!({}))).await["number"].clone();
    let answer = client.ok(request("getIssue", json!({ "number": number }))).await;
    assert_eq!(answer["is_pull_request"], true);
}

#[tokio::test]
async fn a_repository_is_read() {
    let (emulator, client) = start().await;
    emulator.change("octo/hello", |repository| repository.topics = vec!["greeting".into()]);
    let answer = client.ok(request("getRepository", json!({}))).await;
    assert_eq!(
        (&answer["full_name"], &answer["default_branch"]),
        (&json!("octo/hello"), &json!("main"))
    );
    assert_eq!(
        (&answer["topics"], &answer["permissions"]["push"]),
        (&json!(["greeting"]), &json!(true))
    );
}

#[tokio::test]
async fn a_repository_that_moved_is_followed_with_a_warning() {
    let (emulator, client) = start().await;
    emulator.rename_repository("octo/hello", "octo/greeter");
    let answer = client.ok(request("getIssue", json!({ "number": 7 }))).await;
    assert_eq!(answer["warnings"], json!(["moved: the repository is now called octo/greeter"]));
    let answer = client.ok(request("getRepository", json!({}))).await;
    assert_eq!(answer["full_name"], "octo/greeter");
    assert!(emulator.state().requests.iter().all(|request| request.authorized));
}

// -- branches -----------------------------------------------------------------

#[tokio::test]
async fn a_branch_is_created_from_a_branch_a_tag_or_a_commit() {
    let (emulator, client) = start().await;
    let first = head(&emulator, "main");
    emulator.change("octo/hello", |repository| {
        let sha = repository.branch("main").unwrap().to_owned();
        repository.refs.insert("refs/tags/v1".to_owned(), sha);
    });
    emulator.push("octo/hello", "main", "b.txt", "b\n").unwrap();
    for (name, from, expected) in [
        ("a", "main", head(&emulator, "main")),
        ("b", "v1", first.clone()),
        ("c", &first[..10], first.clone()),
        ("d", "refs/heads/main", head(&emulator, "main")),
    ] {
        let answer =
            client.ok(request("createBranch", json!({ "branch": name, "from": from }))).await;
        assert_eq!(
            (&answer["sha"], &answer["created"]),
            (&json!(expected), &json!(true)),
            "{from}"
        );
        assert_eq!(answer["base_sha"], answer["sha"]);
        assert_eq!(answer["ref"], format!("refs/heads/{name}"));
        assert!(answer["url"].as_str().unwrap().ends_with(&format!("/git/refs/heads/{name}")));
        assert_eq!(head(&emulator, name), expected);
    }
    let error =
        client.error(request("createBranch", json!({ "branch": "e", "from": "nowhere" }))).await;
    assert_eq!(error["code"], "not_found");
    let error =
        client.error(request("createBranch", json!({ "branch": "e", "from": "0123456789" }))).await;
    assert_eq!(error["code"], "not_found");
}

#[tokio::test]
async fn a_branch_that_exists_is_reused() {
    let (emulator, client) = start().await;
    let first = client.ok(branch("fix/issue-7")).await;
    let second = client.ok(branch("fix/issue-7")).await;
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!(but_created(first.clone()), but_created(second));
    // A branch that holds the base and more is reused too.
    let ahead = emulator.push("octo/hello", "fix/issue-7", "a.txt", "a\n").unwrap();
    let third = client.ok(branch("fix/issue-7")).await;
    assert_eq!((&third["sha"], &third["base_sha"]), (&json!(ahead), &first["base_sha"]));
    assert_eq!(emulator.state().count("ref_created"), 1);
}

#[tokio::test]
async fn a_branch_based_on_something_else_is_a_conflict_until_it_is_reset() {
    let (emulator, client) = start_with_branch().await;
    emulator.push("octo/hello", "main", "b.txt", "b\n").unwrap();
    let error = client.error(branch("x")).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("conflict"), &json!(false)));
    assert!(error["hint"].as_str().unwrap().contains("if_exists=reset"));
    let reset = || request("createBranch", json!({ "branch": "x", "if_exists": "reset" }));
    let answer = client.ok(reset()).await;
    assert_eq!(
        (&answer["sha"], &answer["created"]),
        (&json!(head(&emulator, "main")), &json!(false))
    );
    assert_eq!(head(&emulator, "x"), head(&emulator, "main"));
    assert_eq!(client.ok(reset()).await, answer);
    let main =
        request("createBranch", json!({ "branch": "main", "from": "x~", "if_exists": "reset" }));
    assert_eq!(client.error(main).await["code"], "invalid_argument");
}

#[tokio::test]
async fn a_later_attempt_to_reset_a_branch_keeps_what_was_pushed_since() {
    let (emulator, client) = start_with_branch().await;
    let moved = emulator.push("octo/hello", "main", "b.txt", "b\n").unwrap();
    let given = json!({ "branch": "x", "if_exists": "reset" });
    let reset = |attempt| request("createBranch", given.clone()).attempt(KEY, attempt);
    emulator.faults().add(Action::DropAfterWork.on("PATCH", "/git/refs"));
    client.call(reset(1)).await.ok();
    assert_eq!(head(&emulator, "x"), moved);
    let found = client.ok(reset(2)).await;
    assert_eq!((&found["sha"], &found["created"]), (&json!(moved), &json!(false)));
    let pushed = emulator.push("octo/hello", "x", "c.txt", "c\n").unwrap();
    let error = client.error(reset(3)).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("conflict"), &json!(false)));
    assert!(error["hint"].as_str().unwrap().contains("by hand"), "{error}");
    assert_eq!(head(&emulator, "x"), pushed);
}

#[tokio::test]
async fn the_default_branch_is_never_reset() {
    let (emulator, client) = start_with_branch().await;
    let before = head(&emulator, "main");
    let given = json!({ "branch": "main", "from": "x", "if_exists": "reset" });
    assert_eq!(client.error(request("createBranch", given)).await["code"], "guardrail");
    assert_eq!(head(&emulator, "main"), before);
}

#[tokio::test]
async fn a_branch_that_must_be_new_is_a_conflict_unless_an_earlier_attempt_made_it() {
    let (emulator, client) = start().await;
    let strict = || request("createBranch", json!({ "branch": "x", "if_exists": "fail" }));
    emulator.faults().add(Action::DropAfterWork.on("POST", "/git/refs"));
    assert_eq!(client.error(strict().attempt(KEY, 1)).await["code"], "outcome_unknown");
    assert_eq!(client.ok(strict().attempt(KEY, 2)).await["created"], false);
    assert_eq!(client.error(strict().attempt("exec_2/step#0~0", 1)).await["code"], "conflict");
    assert_eq!(emulator.state().count("ref_created"), 1);
}

#[tokio::test]
async fn a_branch_whose_answer_was_lost_is_found_also_after_its_base_moved() {
    let (emulator, client) = start().await;
    let base = head(&emulator, "main");
    emulator.faults().add(Action::DropAfterWork.on("POST", "/git/refs"));
    assert_eq!(client.error(branch("x").attempt(KEY, 1)).await["code"], "outcome_unknown");
    emulator.push("octo/hello", "main", "b.txt", "b\n").unwrap();
    let answer = client.ok(branch("x").attempt(KEY, 2)).await;
    assert_eq!((&answer["sha"], &answer["base_sha"]), (&json!(base), &json!(base)));
    assert_eq!(emulator.state().count("ref_created"), 1);
}

// -- commits ------------------------------------------------------------------

#[tokio::test]
async fn several_files_change_in_one_commit() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    emulator.push("octo/hello", "x", "old.txt", "old\n").unwrap();
    let files = json!([
        { "path": "src/a.txt", "content": "hä\n" },
        { "path": "logo.bin", "content_base64": "AAH/" },
        { "path": "run.sh", "content": "#!/bin/sh\n", "mode": "100755" },
        { "path": "old.txt", "delete": "true" },
    ]);
    let given = json!({ "branch": "x", "message": "Change much", "files": files });
    let answer = client.ok(request("commitFileChanges", given).attempt(KEY, 1)).await;
    assert_eq!((&answer["files_changed"], &answer["created"]), (&json!(4), &json!(true)));
    let state = emulator.state();
    let repository = &state.repositories["octo/hello"];
    let history = repository.history("x");
    assert_eq!(answer["commit_sha"], history[0].sha);
    assert_eq!(answer["tree_sha"], history[0].tree);
    assert_eq!(history[0].message, format!("Change much\n\nWindlass-Execution: {KEY}"));
    assert_eq!(history.len(), 3);
    assert_eq!(repository.file("x", "src/a.txt").as_deref(), Some("hä\n"));
    assert_eq!(repository.file("x", "old.txt"), None);
    let tree = &repository.trees[&history[0].tree];
    assert_eq!(repository.blobs[&tree["logo.bin"].sha], [0, 1, 255]);
    assert_eq!(tree["run.sh"].mode, "100755");

    // A file that is changed keeps its mode.
    let files = json!([{ "path": "run.sh", "content": "#!/bin/sh\ntrue\n" }]);
    client
        .ok(request("commitFileChanges", json!({ "branch": "x", "message": "m", "files": files })))
        .await;
    let state = emulator.state();
    let repository = &state.repositories["octo/hello"];
    assert_eq!(repository.trees[&repository.history("x")[0].tree]["run.sh"].mode, "100755");
}

#[tokio::test]
async fn a_commit_that_changes_nothing_is_not_made() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let first = client.ok(commit("x", "a\n")).await;
    let second = client.ok(commit("x", "a\n")).await;
    assert_eq!((&second["created"], &second["commit_sha"]), (&json!(false), &first["commit_sha"]));
    let gone =
        json!({ "branch": "x", "message": "m", "files": [{ "path": "gone", "delete": true }] });
    let third = client.ok(request("commitFileChanges", gone)).await;
    assert_eq!(
        (&third["created"], third["warnings"].as_array().map(Vec::len)),
        (&json!(false), Some(2))
    );
    assert_eq!(emulator.state().count("commit_created"), 1);
}

#[tokio::test]
async fn a_commit_can_bring_its_branch_with_it() {
    let (emulator, client) = start().await;
    let error = client.error(commit("new", "a\n")).await;
    assert_eq!(error["code"], "not_found");
    let files = json!([{ "path": "a", "content": "a" }]);
    let given =
        json!({ "branch": "new", "message": "m", "files": files, "create_branch_from": "main" });
    emulator.faults().add(Action::DropAfterWork.on("POST", "/git/refs"));
    let call = || request("commitFileChanges", given.clone());
    assert_eq!(client.error(call().attempt(KEY, 1)).await["code"], "outcome_unknown");
    let answer = client.ok(call().attempt(KEY, 2)).await;
    assert_eq!(
        (&answer["created"], &answer["commit_sha"]),
        (&json!(false), &json!(head(&emulator, "new")))
    );
    assert_eq!(emulator.state().repositories["octo/hello"].history("new").len(), 2);
}

#[tokio::test]
async fn a_branch_that_is_elsewhere_than_expected_is_a_conflict() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    let expected = head(&emulator, "x");
    let files = json!([{ "path": "a", "content": "a" }]);
    let given =
        json!({ "branch": "x", "message": "m", "files": files, "expectedHeadSha": expected });
    assert_eq!(
        client.ok(request("commitFileChanges", given.clone()).attempt(KEY, 1)).await["created"],
        true
    );
    // The second attempt finds its own commit, although the branch moved by it.
    assert_eq!(
        client.ok(request("commitFileChanges", given.clone()).attempt(KEY, 2)).await["created"],
        false
    );
    let error = client.error(request("commitFileChanges", given)).await;
    assert_eq!(error["code"], "conflict");
}

#[tokio::test]
async fn a_commit_is_rebuilt_when_somebody_pushed_meanwhile() {
    let (emulator, client) = start().await;
    client.ok(branch("x")).await;
    emulator.faults().add(Action::PauseBeforeWork.on("PATCH", "/git/refs"));
    let (answer, ()) = tokio::join!(client.call(commit("x", "a\n").attempt(KEY, 1)), async {
        assert!(emulator.faults().wait_until_held(1, DEADLINE).await);
        emulator.push("octo/hello", "x", "theirs.txt", "theirs\n").unwrap();
        emulator.faults().release();
    });
    assert_eq!(answer.unwrap()["created"], true);
    let state = emulator.state();
    let repository = &state.repositories["octo/hello"];
    assert_eq!(repository.file("x", "theirs.txt").as_deref(), Some("theirs\n"));
    assert_eq!(repository.file("x", "src/a.txt").as_deref(), Some("a\n"));
    assert_eq!(repository.history("x").len(), 3);
}

#[tokio::test]
async fn files_that_cannot_be_committed_are_refused_before_anything_is_sent() {
    let (emulator, client) = start().await;
    for files in [
        json!([]),
        json!([{ "path": "a" }]),
        json!([{ "path": "a", "content": "a", "delete": true }]),
        json!([{ "path": "../a", "content": "a" }]),
        json!([{ "path": "/a", "content": "a" }]),
        json!([{ "path": ".git/config", "content": "a" }]),
        json!([{ "path": "a", "content": "a" }, { "path": "a", "content": "b" }]),
        json!([{ "path": "a", "content_base64": "%%%" }]),
        json!([{ "path": "a", "contents": "a" }]),
    ] {
        let given = json!({ "branch": "x", "message": "m", "files": files });
        let error = client.error(request("commitFileChanges", given)).await;
        assert_eq!(error["code"], "invalid_argument", "{files}");
    }
    assert!(emulator.state().requests.is_empty());
}

// -- pull requests ------------------------------------------------------------

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
