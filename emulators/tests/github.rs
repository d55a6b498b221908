//! What the double of GitHub promises, seen over a plain connection.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use windlass_emulators::GithubEmulator;
use windlass_emulators::github::{Action, NewIssue};

const TOKEN: &str = "authorization: Bearer t\r\n";
const DEADLINE: Duration = Duration::from_secs(10);

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends a request and reads the answer, if one comes.
async fn send(
    emulator: &GithubEmulator,
    method: &str,
    path: &str,
    headers: &str,
    body: Value,
) -> Option<Answer> {
    let mut stream = TcpStream::connect(emulator.address()).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

async fn get(emulator: &GithubEmulator, path: &str) -> Answer {
    send(emulator, "GET", path, TOKEN, Value::Null).await.unwrap()
}

async fn post(emulator: &GithubEmulator, path: &str, body: Value) -> Answer {
    send(emulator, "POST", path, TOKEN, body).await.unwrap()
}

#[tokio::test]
async fn a_request_without_credentials_is_refused() {
    let emulator = GithubEmulator::start().await.unwrap();
    for headers in ["", "authorization: \r\n", "authorization: Bearer \r\n"] {
        let answer =
            send(&emulator, "GET", "/repos/octo/hello", headers, Value::Null).await.unwrap();
        assert_eq!((answer.status, &answer.body["status"]), (401, &json!("401")));
    }
    assert_eq!(get(&emulator, "/repos/octo/hello").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_a_404_with_a_request_id() {
    let emulator = GithubEmulator::start().await.unwrap();
    for path in [
        "/repos/octo/nothing",
        "/repos/octo/hello/issues/99",
        "/repos/octo/hello/git/ref/heads/x",
        "/x",
    ] {
        let answer = get(&emulator, path).await;
        assert_eq!((answer.status, &answer.body["message"]), (404, &json!("Not Found")), "{path}");
        assert!(answer.header("x-github-request-id").is_some());
    }
}

#[tokio::test]
async fn the_seeded_issue_can_be_read() {
    let emulator = GithubEmulator::start().await.unwrap();
    let issue = get(&emulator, "/repos/octo/hello/issues/7").await.body;
    assert_eq!((&issue["number"], &issue["state"]), (&json!(7), &json!("open")));
    assert_eq!(issue["labels"][0]["name"], "enhancement");
}

#[tokio::test]
async fn lists_are_cut_into_pages_that_may_point_to_another_host() {
    let emulator = GithubEmulator::start().await.unwrap();
    for title in ["a", "b", "c", "d"] {
        emulator.add_issue("octo/hello", NewIssue { title: title.into(), ..NewIssue::default() });
    }
    emulator.set_link_host(Some("https://ghe.example.com/api/v3".to_owned()));
    let first = get(&emulator, "/repos/octo/hello/issues?per_page=2&state=all").await;
    assert_eq!(first.body.as_array().map(Vec::len), Some(2));
    assert_eq!(
        first.header("link").unwrap(),
        "<https://ghe.example.com/api/v3/repos/octo/hello/issues?per_page=2&state=all&page=2>; rel=\"next\", \
         <https://ghe.example.com/api/v3/repos/octo/hello/issues?per_page=2&state=all&page=3>; rel=\"last\""
    );
    let last = get(&emulator, "/repos/octo/hello/issues?per_page=2&state=all&page=3").await;
    assert_eq!(last.body.as_array().map(Vec::len), Some(1));
    assert!(last.header("link").unwrap().contains("page=2>; rel=\"prev\""));
    assert!(!last.header("link").unwrap().contains("next"));
}

#[tokio::test]
async fn refs_commits_and_pull_requests_obey_githubs_rules() {
    let emulator = GithubEmulator::start().await.unwrap();
    let main = emulator.state().repositories["octo/hello"].branch("main").unwrap().to_owned();
    let branch = json!({ "ref": "refs/heads/x", "sha": main });
    assert_eq!(post(&emulator, "/repos/octo/hello/git/refs", branch.clone()).await.status, 201);
    let again = post(&emulator, "/repos/octo/hello/git/refs", branch).await;
    assert_eq!((again.status, &again.body["message"]), (422, &json!("Reference already exists")));

    let pull = json!({ "title": "t", "head": "x", "base": "main" });
    let empty = post(&emulator, "/repos/octo/hello/pulls", pull.clone()).await;
    assert_eq!(empty.body["errors"][0]["message"], "No commits between main and x");
    emulator.push("octo/hello", "x", "a.txt", "a\n").unwrap();
    let opened = post(&emulator, "/repos/octo/hello/pulls", pull.clone()).await;
    assert_eq!(
        (opened.status, &opened.body["number"], &opened.body["additions"]),
        (201, &json!(8), &json!(1))
    );
    let twice = post(&emulator, "/repos/octo/hello/pulls", pull).await;
    assert_eq!(twice.body["errors"][0]["message"], "A pull request already exists for octo:x.");
    let nowhere = json!({ "title": "t", "head": "x", "base": "nowhere" });
    let invalid = post(&emulator, "/repos/octo/hello/pulls", nowhere).await;
    let expected = json!({ "resource": "PullRequest", "field": "base", "code": "invalid" });
    assert_eq!(invalid.body["errors"][0], expected);
    assert_eq!(emulator.state().count("pull_created"), 1);
    assert_eq!(emulator.state().count("ref_created"), 1);

    let compared = get(&emulator, "/repos/octo/hello/compare/main...x").await.body;
    assert_eq!((&compared["status"], &compared["ahead_by"]), (&json!("ahead"), &json!(1)));
    let back = json!({ "sha": main });
    let refused =
        send(&emulator, "PATCH", "/repos/octo/hello/git/refs/heads/x", TOKEN, back).await.unwrap();
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (422, &json!("Update is not a fast forward"))
    );
}

#[tokio::test]
async fn a_dropped_answer_may_have_been_work() {
    let emulator = GithubEmulator::start().await.unwrap();
    let comment = json!({ "body": "hi" });
    let path = "/repos/octo/hello/issues/7/comments";
    emulator.faults().add(Action::DropBeforeWork.on("POST", "/comments"));
    emulator.faults().add(Action::DropAfterWork.on("POST", "/comments"));
    assert!(send(&emulator, "POST", path, TOKEN, comment.clone()).await.is_none());
    assert_eq!(emulator.state().count("comment_created"), 0);
    assert!(send(&emulator, "POST", path, TOKEN, comment.clone()).await.is_none());
    assert_eq!(emulator.state().count("comment_created"), 1);
    assert_eq!(post(&emulator, path, comment).await.status, 201);
    assert_eq!(emulator.state().requests_like("POST", "/comments"), 3);
}

#[tokio::test]
async fn another_process_can_set_faults_and_read_the_ledger() {
    let emulator = GithubEmulator::start().await.unwrap();
    let faults = json!([
        { "method": "GET", "path": "/issues/7", "skip": 1, "action": { "kind": "rate_limited", "reset_in_s": 30 } },
        { "path": "/comments", "action": { "kind": "bad_gateway_after_work" } },
    ]);
    let added = send(&emulator, "POST", "/_emulator/faults", "", faults).await.unwrap();
    assert_eq!(added.body, json!({ "added": 2 }));
    assert_eq!(get(&emulator, "/repos/octo/hello/issues/7").await.status, 200);
    let limited = get(&emulator, "/repos/octo/hello/issues/7").await;
    assert_eq!((limited.status, limited.header("x-ratelimit-remaining")), (403, Some("0")));
    assert_eq!(get(&emulator, "/repos/octo/hello/issues/7").await.status, 200);
    let comment = json!({ "body": "hi" });
    assert_eq!(post(&emulator, "/repos/octo/hello/issues/7/comments", comment).await.status, 502);
    let ledger = send(&emulator, "GET", "/_emulator/ledger", "", Value::Null).await.unwrap().body;
    assert_eq!(
        (&ledger[0]["effect"], ledger.as_array().map(Vec::len)),
        (&json!("comment_created"), Some(1))
    );
    let state = send(&emulator, "GET", "/_emulator/state", "", Value::Null).await.unwrap().body;
    assert_eq!(state["repositories"]["octo/hello"]["issues"]["7"]["comments"][0]["body"], "hi");
    let wrong = send(&emulator, "POST", "/_emulator/faults", "", json!({ "action": "explode" }))
        .await
        .unwrap();
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn a_held_request_goes_on_when_it_is_released() {
    let emulator = GithubEmulator::start().await.unwrap();
    emulator.faults().add(Action::PauseAfterWork.on("POST", "/comments"));
    let comment = json!({ "body": "hi" });
    let (answer, ()) =
        tokio::join!(post(&emulator, "/repos/octo/hello/issues/7/comments", comment), async {
            assert!(emulator.faults().wait_until_held(1, DEADLINE).await);
            assert_eq!(emulator.state().count("comment_created"), 1);
            emulator.faults().release();
        });
    assert_eq!(answer.status, 201);
    assert_eq!(emulator.faults().held(), 0);
}

#[tokio::test]
async fn a_renamed_repository_redirects() {
    let emulator = GithubEmulator::start().await.unwrap();
    emulator.rename_repository("octo/hello", "octo/greeter");
    let answer = get(&emulator, "/repos/octo/hello/issues/7?x=1").await;
    let location = format!("{}/repos/octo/greeter/issues/7?x=1", emulator.url());
    assert_eq!((answer.status, answer.header("location")), (301, Some(location.as_str())));
    let answer =
        send(&emulator, "POST", "/repos/octo/hello/pulls", TOKEN, json!({})).await.unwrap();
    assert_eq!(answer.status, 307);
}

#[tokio::test]
async fn when_it_has_stopped_nobody_listens() {
    let emulator = GithubEmulator::start().await.unwrap();
    let address = emulator.address();
    emulator.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn objects_are_named_by_their_content() {
    let emulator = GithubEmulator::start().await.unwrap();
    let blob = json!({ "content": "aGk=", "encoding": "base64" });
    let first =
        post(&emulator, "/repos/octo/hello/git/blobs", blob.clone()).await.body["sha"].clone();
    let second = post(&emulator, "/repos/octo/hello/git/blobs", blob).await.body["sha"].clone();
    assert_eq!(first, second);
    assert_eq!(first.as_str().map(str::len), Some(40));
    let read =
        get(&emulator, &format!("/repos/octo/hello/git/blobs/{}", first.as_str().unwrap())).await;
    assert_eq!(read.body["content"], "aGk=");
    let tree = json!({ "base_tree": "main", "tree": [{ "path": "a/b.txt", "mode": "100644", "type": "blob", "sha": first }] });
    let tree = post(&emulator, "/repos/octo/hello/git/trees", tree).await;
    let paths: Vec<_> =
        tree.body["tree"].as_array().unwrap().iter().map(|entry| entry["path"].clone()).collect();
    assert_eq!((tree.status, paths), (201, vec![json!("README.md"), json!("a")]));
    let missing = json!({ "base_tree": "main", "tree": [{ "path": "gone", "mode": "100644", "type": "blob", "sha": null }] });
    assert_eq!(post(&emulator, "/repos/octo/hello/git/trees", missing).await.status, 422);
}
