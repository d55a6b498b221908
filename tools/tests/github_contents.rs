//! The github tools for branches, files and commits.

use serde_json::{Value, json};
use windlass_emulators::github::Action;

use super::github::{add_pull, branch, commit, head, start, start_with_branch};
use crate::harness::{DEADLINE, but_created, request};

const KEY: &str = "exec_1/step#0~0";

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

// -- reading ------------------------------------------------------------------

#[tokio::test]
async fn branches_are_read_and_listed() {
    let (emulator, client) = start_with_branch().await;
    emulator.change("octo/hello", |repository| repository.protected.insert("main".into()));
    let main = json!({ "name": "main", "sha": head(&emulator, "main"), "protected": true });
    assert_eq!(client.ok(request("getBranch", json!({ "branch": "main" }))).await, main);
    let protected = client.ok(request("listBranches", json!({ "protected": true }))).await;
    assert_eq!(protected["items"], json!([main]));
    let page = client.ok(request("listBranches", json!({ "per_page": 1, "page": 2 }))).await;
    assert_eq!((&page["items"][0]["name"], &page["next_page"]), (&json!("x"), &json!(null)));
    let error = client.error(request("getBranch", json!({ "branch": "nowhere" }))).await;
    assert_eq!(error["code"], "not_found");
}

#[tokio::test]
async fn a_branch_is_deleted_only_when_its_commits_are_elsewhere() {
    let (emulator, client) = start_with_branch().await;
    let delete = |branch: &str| request("deleteBranch", json!({ "branch": branch }));
    let error = client.error(delete("x")).await;
    assert_eq!(error["code"], "failed_precondition");
    assert!(error["hint"].as_str().unwrap().contains("if_merged_only=false"), "{error}");
    assert_eq!(client.error(delete("main")).await["code"], "guardrail");
    emulator.change("octo/hello", |repository| {
        let main = repository.branch("main").unwrap().to_owned();
        for name in ["bare", "kept"] {
            repository.refs.insert(format!("refs/heads/{name}"), main.clone());
        }
        repository.protected.insert("kept".into());
    });
    assert_eq!(client.error(delete("kept")).await["code"], "guardrail");
    let gone = client.ok(delete("bare")).await;
    assert_eq!((&gone["deleted"], &gone["changed"]), (&json!(true), &json!(true)));
    let again = client.ok(delete("bare")).await;
    assert_eq!((&again["deleted"], &again["changed"]), (&json!(true), &json!(false)));
    // A squashed branch is no ancestor of main, but its pull request was merged.
    let number = add_pull(&emulator, "x", "eve");
    let squash = json!({ "number": number, "merge_method": "squash" });
    client.ok(request("mergePullRequest", squash)).await;
    assert_eq!(client.ok(delete("x")).await["changed"], true);
}

#[tokio::test]
async fn a_file_is_read_as_text_or_bytes_and_a_directory_is_listed() {
    let (emulator, client) = start().await;
    let files = json!([
        { "path": "src/a.txt", "content": "hä\nho\n" },
        { "path": "src/deep/b.txt", "content": "b" },
        { "path": "logo.bin", "content_base64": "AAH/" },
        { "path": "link", "content": "src/a.txt", "mode": "120000" },
        { "path": "big.txt", "content": "x".repeat(1_100_000) },
    ]);
    let given =
        json!({ "branch": "x", "message": "m", "files": files, "create_branch_from": "main" });
    client.ok(request("commitFileChanges", given)).await;
    let read = |path: &str, more: Value| {
        let mut given = json!({ "path": path, "ref": "x" });
        given.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        client.ok(request("getFileContents", given))
    };
    let text = read("src/a.txt", json!({})).await;
    assert_eq!((&text["content"], &text["encoding"]), (&json!("hä\nho\n"), &json!("utf-8")));
    assert_eq!((&text["size"], &text["truncated"]), (&json!(7), &json!(false)));
    let cut = read("/src/a.txt", json!({ "max_bytes": 2 })).await;
    assert_eq!((&cut["content"], &cut["truncated"]), (&json!("h"), &json!(true)));
    let bytes = read("logo.bin", json!({})).await;
    assert_eq!((&bytes["content"], &bytes["encoding"]), (&json!("AAH/"), &json!("base64")));
    let link = read("link", json!({})).await;
    assert_eq!((&link["type"], &link["target"]), (&json!("symlink"), &json!("src/a.txt")));
    // GitHub leaves the content of a large file out; its blob has it.
    let big = read("big.txt", json!({ "max_bytes": 10 })).await;
    assert_eq!((&big["content"], &big["size"]), (&json!("xxxxxxxxxx"), &json!(1_100_000)));
    let directory = read("src", json!({})).await;
    let items: Vec<_> = directory["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| (own["type"].clone(), own["path"].clone()))
        .collect();
    assert_eq!(items, [(json!("file"), json!("src/a.txt")), (json!("dir"), json!("src/deep"))]);
    assert_eq!(read("", json!({})).await["type"], "dir");
    let error = client.error(request("getFileContents", json!({ "path": "src/a.txt" }))).await;
    assert_eq!(error["code"], "not_found");
    let outside = request("getFileContents", json!({ "path": "../secret" }));
    assert_eq!(client.error(outside).await["code"], "invalid_argument");
    assert_eq!(emulator.state().requests_like("GET", "/git/blobs/"), 1);

    let tree = json!({ "ref": "x", "path_filter": "src/**" });
    let tree = client.ok(request("getRepositoryTree", tree)).await;
    let paths: Vec<_> =
        tree["items"].as_array().unwrap().iter().map(|own| own["path"].clone()).collect();
    assert_eq!(paths, ["src/a.txt", "src/deep", "src/deep/b.txt"]);
    let flat = json!({ "ref": "x", "recursive": false });
    let flat = client.ok(request("getRepositoryTree", flat)).await;
    assert_eq!((&flat["total"], &flat["truncated"]), (&json!(5), &json!(false)));
}

#[tokio::test]
async fn commits_are_listed_read_and_compared() {
    let (emulator, client) = start_with_branch().await;
    client.ok(commit("x", "a\u{200B}\n")).await;
    emulator.push("octo/hello", "main", "m.txt", "m\n").unwrap();
    let given = json!({ "base": "main", "head": "x" });
    let compared = client.ok(request("compareCommits", given)).await;
    assert_eq!(
        (&compared["status"], &compared["ahead_by"], &compared["behind_by"]),
        (&json!("diverged"), &json!(2), &json!(1))
    );
    assert_eq!(compared["commits"][1]["message"], "Add a");
    assert_eq!(compared["files"][0]["filename"], "a.txt");
    assert_eq!(
        (compared["files"].as_array().unwrap().len(), &compared["truncated"]),
        (2, &json!(false))
    );
    let listed = client.ok(request("listCommits", json!({ "branch": "x", "path": "a.txt" }))).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["message"], "Change a.txt");
    let one = client.ok(request("getCommit", json!({ "sha": "x" }))).await;
    assert_eq!((&one["sha"], &one["additions"]), (&json!(head(&emulator, "x")), &json!(1)));
    assert_eq!((&one["files"][0]["status"], &one["untrusted"]), (&json!("added"), &json!(true)));
    let nowhere = request("compareCommits", json!({ "base": "main", "head": "nowhere" }));
    assert_eq!(client.error(nowhere).await["code"], "not_found");
    let out = request("compareCommits", json!({ "base": "main", "head": "../../x" }));
    assert_eq!(client.error(out).await["code"], "invalid_argument");
}
