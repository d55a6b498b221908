//! Workflows for Windlass's own github server on GitHub's: what is sent, what comes back, and what is refused.

use serde_json::{Value, json};
use windlass::tool_servers::{RetryClass, ServerConfig, ToolServers};

use super::harness::{
    call, failure, fake_tool_server, one_server, settings, silent, succeeded, tool,
};

fn entry(ledger: &std::path::Path) -> Value {
    let program = fake_tool_server().with_file_name("fake_official_github");
    json!({ "command": program, "args": [ledger], "alias_map": "github-official" })
}

fn servers(ledger: &std::path::Path) -> ToolServers {
    one_server(entry(ledger), settings())
}

#[tokio::test]
async fn tools_are_called_by_our_names_on_githubs_own_server() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let servers = servers(&ledger);
    let cases = [
        (
            "getIssue",
            json!({ "repo": "octo/hello", "issueNumber": "7" }),
            "/title",
            json!("Greet people"),
        ),
        ("createIssue", json!({ "repo": "octo/hello", "title": "t" }), "/number", json!(42)),
        (
            "createBranch",
            json!({ "repo": "octo/hello", "branch": "fix/7", "base_branch": "main" }),
            "/name",
            json!("fix/7"),
        ),
        (
            "getPRDiff",
            json!({ "owner": "octo", "repo": "hello", "number": 3 }),
            "/diff",
            json!("diff --git a/a b/a"),
        ),
        (
            "star_repository",
            json!({ "owner": "octo", "repo": "hello" }),
            "",
            json!("Workflow run has been queued"),
        ),
    ];
    for (name, params, place, expected) in cases {
        let answer = succeeded(servers.call(call(&format!("fake.{name}"), params), silent()).await);
        assert_eq!(answer.pointer(place), Some(&expected), "{name}: {answer}");
    }
    let sent = std::fs::read_to_string(&ledger).unwrap();
    let sent: Vec<(&str, Value)> = sent
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, arguments)| (name, serde_json::from_str(arguments).unwrap()))
        .collect();
    let on = |own: Value| {
        let mut all = json!({ "owner": "octo", "repo": "hello" });
        all.as_object_mut().unwrap().extend(own.as_object().cloned().unwrap());
        all
    };
    assert_eq!(
        sent,
        [
            ("issue_read", on(json!({ "method": "get", "issue_number": 7 }))),
            ("issue_write", on(json!({ "method": "create", "title": "t" }))),
            ("create_branch", on(json!({ "branch": "fix/7", "from_branch": "main" }))),
            ("pull_request_read", on(json!({ "method": "get_diff", "pullNumber": 3 }))),
            ("star_repository", on(json!({}))),
        ]
    );
    servers.shutdown().await;
}

#[tokio::test]
async fn what_githubs_own_server_cannot_do_is_refused_or_told() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let servers = servers(&ledger);
    let trigger = json!({ "repo": "octo/hello", "workflow": "ci.yml", "ref": "main" });
    let mut correlated = trigger.clone();
    correlated["correlation_input"] = json!("mark");
    let reuse = json!({ "repo": "octo/hello", "branch": "b", "if_exists": "reuse" });
    for (name, params, reason) in [
        ("triggerWorkflow", correlated, "does not say which run it started"),
        ("createBranch", reuse, "fails where the branch exists"),
        ("getIssue", json!({ "repo": "hello", "number": 7 }), "/owner"),
    ] {
        let refused = failure(servers.call(call(&format!("fake.{name}"), params), silent()).await);
        assert_eq!(refused.code, "invalid_argument");
        assert!(refused.message.contains(reason), "{}", refused.message);
    }
    assert!(!ledger.exists(), "something was sent");
    let answer = succeeded(servers.call(call("fake.triggerWorkflow", trigger), silent()).await);
    assert!(answer["warnings"][0].as_str().unwrap().contains("no run_id"), "{answer}");
    // What is not served has no name of ours either; and nothing there looks for earlier work.
    assert!(servers.tool(&tool("fake.mergePullRequest")).await.is_err());
    assert_eq!(
        servers.tool(&tool("fake.createIssue")).await.unwrap().retry_class,
        RetryClass::Unsafe
    );
    assert_eq!(servers.tool(&tool("fake.getIssue")).await.unwrap().retry_class, RetryClass::Read);
    servers.shutdown().await;
}

#[test]
fn a_map_that_does_not_exist_is_refused() {
    let entry = json!({ "command": "a", "alias_map": "gitlab" });
    let refused = ServerConfig::parse("s", &entry).unwrap_err().to_string();
    assert!(
        refused.contains("mcpServers.s.alias_map") && refused.contains("github-official"),
        "{refused}"
    );
}
