//! What each github tool answered, kept as a file: who changes an answer sees it in the diff.
//!
//! `WINDLASS_GOLDEN=write cargo test -p windlass-tools --test tools goldens` writes the files anew.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_emulators::GithubEmulator;

use super::github::{TOOLS, add_pull, change_issue, comment, start};
use crate::harness::{Client, golden_answer, request};

const TIME: &str = "2026-11-21T10:15:00Z";

#[tokio::test]
async fn every_tool_answers_as_its_golden_file_says() {
    let (emulator, client) = prepared().await;
    let mut tidy = Tidy::new(&emulator);
    let mut different = Vec::new();
    let mut deployment = Value::Null;
    for (tool, mut given) in story() {
        if tool == "createDeploymentStatus" {
            given["deployment_id"] = deployment.clone();
        }
        let answer = client.ok(request(tool, given).attempt("exec_1/step#0~0", 1)).await;
        if tool == "createDeployment" {
            deployment = answer["id"].clone();
        }
        let answer = tidy.value(answer);
        let golden = golden_answer("github", tool, &answer);
        if golden != answer {
            different.push(format!("{tool} answered {answer}, its file says {golden}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_story_tells_of_every_tool() {
    for (tool, _, _) in TOOLS {
        assert!(story().iter().any(|(own, _)| *own == tool), "{tool} has no golden file");
    }
}

/// A repository in which something is going on.
async fn prepared() -> (GithubEmulator, Client) {
    let (emulator, client) = start().await;
    emulator.push("octo/hello", "main", "src/hello.txt", "Hello, world!\n").unwrap();
    emulator.change("octo/hello", |repository| {
        repository.topics = vec!["greeting".into()];
        repository.milestones.insert(1, "v1".into());
        let main = repository.branch("main").unwrap().to_owned();
        repository.refs.insert("refs/heads/typo".to_owned(), main.clone());
        repository.refs.insert("refs/heads/old".to_owned(), main);
    });
    emulator.push("octo/hello", "typo", "src/hello.txt", "Hello, World!\n").unwrap();
    add_pull(&emulator, "typo", "eve");
    change_issue(&emulator, 7, |issue| issue.comments.push(comment(7003, "I want this too.")));
    (emulator, client)
}

/// One call of each tool, in an order in which one leads to the next.
fn story() -> Vec<(&'static str, Value)> {
    let files = json!([{ "path": "src/hello.txt", "content": "Hello, {name}!\n" }]);
    let lines = json!([{ "path": "src/hello.txt", "line": 1, "body": "Who is World?" }]);
    let issue = json!({ "title": "Say goodbye", "body": "As politely.", "labels": ["enhancement"], "milestone": "v1" });
    let review = json!({ "number": 8, "body": "One question.", "comments": lines });
    let deployment = json!({ "ref": "main", "environment": "staging", "description": "Version 1" });
    vec![
        ("getRepository", json!({})),
        ("getIssue", json!({ "number": 7 })),
        ("listIssues", json!({ "per_page": 1 })),
        ("searchIssues", json!({ "query": "greet is:open" })),
        ("listIssueComments", json!({ "number": 7 })),
        ("createIssue", issue),
        (
            "updateIssue",
            json!({ "number": 7, "add_labels": ["good first issue"], "assignees": ["octo"] }),
        ),
        ("addIssueComment", json!({ "number": 7, "body": "I am on it.", "upsert_key": "status" })),
        ("addLabels", json!({ "number": 7, "labels": ["in progress"], "color": "fbca04" })),
        ("removeLabels", json!({ "number": 7, "labels": ["good first issue"] })),
        ("addReaction", json!({ "comment_id": 7003, "content": "eyes" })),
        ("getBranch", json!({ "branch": "main" })),
        ("listBranches", json!({})),
        ("createBranch", json!({ "branch": "fix/issue-7" })),
        (
            "commitFileChanges",
            json!({ "branch": "fix/issue-7", "message": "Greet by name", "files": files }),
        ),
        ("deleteBranch", json!({ "branch": "old" })),
        ("getFileContents", json!({ "path": "src/hello.txt", "ref": "fix/issue-7" })),
        ("getRepositoryTree", json!({})),
        ("compareCommits", json!({ "base": "main", "head": "fix/issue-7" })),
        ("listCommits", json!({ "sha": "typo", "per_page": 1 })),
        ("getCommit", json!({ "sha": "typo" })),
        (
            "createPullRequest",
            json!({ "title": "Greet by name", "head": "fix/issue-7", "body": "Closes #7" }),
        ),
        ("getPullRequest", json!({ "number": 8 })),
        ("listPullRequests", json!({ "per_page": 1 })),
        ("getPRDiff", json!({ "number": 8 })),
        ("getPRFiles", json!({ "number": 8 })),
        ("createReview", review),
        ("listReviews", json!({ "number": 8 })),
        ("listReviewComments", json!({ "number": 8 })),
        ("requestReviewers", json!({ "number": 8, "reviewers": ["octo"] })),
        ("updatePullRequest", json!({ "number": 8, "title": "Write World large" })),
        (
            "mergePullRequest",
            json!({ "number": 8, "merge_method": "squash", "delete_branch": true }),
        ),
        ("createRelease", json!({ "tag_name": "v1.0", "name": "Version 1", "body": "It greets." })),
        ("getLatestRelease", json!({})),
        ("createDeployment", deployment),
        ("createDeploymentStatus", json!({ "state": "in_progress" })),
    ]
}

/// Makes two runs of the story the same: addresses, times and shas.
struct Tidy {
    base: String,
    shas: BTreeMap<String, String>,
}

impl Tidy {
    fn new(emulator: &GithubEmulator) -> Self {
        Self { base: emulator.url(), shas: BTreeMap::new() }
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let members = members.into_iter();
                Value::Object(members.map(|(key, member)| (key, self.value(member))).collect())
            }
            value => value,
        }
    }

    fn text(&mut self, text: &str) -> String {
        let bytes = text.as_bytes();
        if bytes.len() == TIME.len() && bytes[10] == b'T' && bytes[19] == b'Z' {
            return TIME.to_owned();
        }
        let api = format!("{}/repos", self.base);
        let text = text.replace(&api, "https://api.github.com/repos");
        self.without_shas(&text.replace(&self.base, "https://github.com"))
    }

    /// The first sha that is met becomes 1111…, the second 2222…, and so on.
    fn without_shas(&mut self, text: &str) -> String {
        let hex = |char: char| char.is_ascii_hexdigit() && !char.is_ascii_uppercase();
        let words = text.split_inclusive(|char| !hex(char));
        let tidied = words.map(|word| {
            let sha = word.trim_end_matches(|char| !hex(char));
            if sha.len() != 40 {
                return word.to_owned();
            }
            let next = format!("{:02x}", 17 * (self.shas.len() + 1)).repeat(20);
            let own = self.shas.entry(sha.to_owned()).or_insert_with(|| next[..40].to_owned());
            word.replace(sha, own)
        });
        tidied.collect()
    }
}
