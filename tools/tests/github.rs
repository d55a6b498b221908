//! The github tools against a stateful double: what they do, and that they do it once.

use std::net::TcpListener;

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{Action, Comment, Deployment, Issue, LineComment, NewIssue, Pull};
use windlass_tools::contract::Surroundings;
use windlass_tools::{GithubConfig, github};

use crate::harness::{Client, DEADLINE, Request, request};

/// Issues, contents and pull requests: each tool, its retry class, and whether it may undo or delete.
pub(crate) const TOOLS: [(&str, &str, bool); 36] = [
    ("addIssueComment", "keyed", false),
    ("addLabels", "idempotent", false),
    ("addReaction", "idempotent", false),
    ("commitFileChanges", "keyed", false),
    ("compareCommits", "read", false),
    // It can reset a branch.
    ("createBranch", "idempotent", true),
    ("createDeployment", "keyed", false),
    ("createDeploymentStatus", "idempotent", false),
    ("createIssue", "keyed", false),
    ("createPullRequest", "idempotent", false),
    ("createRelease", "idempotent", false),
    ("createReview", "keyed", false),
    ("deleteBranch", "idempotent", true),
    ("getBranch", "read", false),
    ("getCommit", "read", false),
    ("getFileContents", "read", false),
    ("getIssue", "read", false),
    ("getLatestRelease", "read", false),
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
    Surroundings { environment: variables.collect(), host: None, ..Surroundings::default() }
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

/// Opens a pull request from a branch into main as somebody else would, and returns its number.
pub(crate) fn add_pull(emulator: &GithubEmulator, branch: &str, user: &str) -> u64 {
    let issue = NewIssue {
        title: "Fix it".into(),
        body: "Fixes it.".into(),
        user: user.into(),
        ..NewIssue::default()
    };
    let number = emulator.add_issue("octo/hello", issue);
    let (head_sha, base_sha) = (head(emulator, branch), head(emulator, "main"));
    let pull = Pull {
        head: branch.to_owned(),
        base: "main".to_owned(),
        draft: false,
        merged: false,
        maintainer_can_modify: false,
        requested_reviewers: Vec::new(),
        requested_teams: Vec::new(),
        head_sha,
        base_sha,
        merged_ms: None,
        merge_commit: None,
        reviews: Vec::new(),
        line_comments: Vec::new(),
        unknown_looks: 0,
        blocked: None,
        huge: false,
    };
    change_issue(emulator, number, |issue| issue.pull = Some(pull));
    number
}

/// Changes an issue or pull request by hand.
pub(crate) fn change_issue(
    emulator: &GithubEmulator,
    number: u64,
    change: impl FnOnce(&mut Issue),
) {
    let found = emulator.change("octo/hello", |repository| {
        change(repository.issues.get_mut(&number).unwrap());
    });
    found.unwrap();
}

/// Changes a pull request by hand.
pub(crate) fn change_pull(emulator: &GithubEmulator, number: u64, change: impl FnOnce(&mut Pull)) {
    change_issue(emulator, number, |issue| change(issue.pull.as_mut().unwrap()));
}

pub(crate) fn comment(id: u64, body: &str) -> Comment {
    let (body, user) = (body.to_owned(), "eve".to_owned());
    Comment { id, body, user, created_ms: 1000, updated_ms: 1000, reactions: Vec::new() }
}

pub(crate) fn line_comment(id: u64, path: &str, line: u64) -> LineComment {
    LineComment {
        id,
        review: None,
        in_reply_to: None,
        path: path.to_owned(),
        line,
        start_line: None,
        side: "RIGHT".to_owned(),
        body: "Why?".to_owned(),
        user: "eve".to_owned(),
        created_ms: 1000,
    }
}

pub(crate) fn deployment(id: u64, sha: &str) -> Deployment {
    Deployment {
        id,
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
