//! Logs in files: found, grouped and compared through the protocol.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use windlass_tools::contract::{Forgetful, Host, NewArtifact, Surroundings};
use windlass_tools::{ObservabilityConfig, observability};

use crate::harness::{Client, request};

/// A folder with the log of a shop that was deployed at 10:00 and then failed in a new way.
fn shop() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let mut text = String::new();
    for minute in 50..60 {
        text += &format!("2026-11-21T09:{minute}:00Z INFO order {minute}17 paid in {minute} ms\n");
        if minute % 2 == 0 {
            text += &format!(
                "2026-11-21T09:{minute}:05Z ERROR card of order {minute}17 was declined\n"
            );
            text +=
                &format!("2026-11-21T09:{minute}:09Z ERROR cache miss storm on shard {minute}\n");
        }
    }
    for minute in 10..20 {
        let at = minute - 10;
        text += &format!("2026-11-21T10:0{at}:00Z INFO order {minute}17 paid in {minute} ms\n");
        text += &format!(
            "2026-11-21T10:0{at}:01Z ERROR Checkout of cart {minute}99 failed\n\tat shop.Pay.run(Pay.java:{minute})\n\tat shop.Main.main(Main.java:3)\nCaused by: java.net.ConnectException: refused\n"
        );
        for second in 10..12 {
            text += &format!(
                "2026-11-21T10:0{at}:{second}Z ERROR card of order {minute}{second} was declined\n"
            );
        }
    }
    fs::write(folder.path().join("logs/shop.log"), text).unwrap();
    fs::write(folder.path().join("secret.log"), "2026-11-21T10:00:00Z ERROR outside\n").unwrap();
    folder
}

fn config(folder: &TempDir) -> ObservabilityConfig {
    let root = folder.path().to_str().unwrap();
    serde_json::from_value(json!({
        "sources": { "local": { "kind": "files", "paths": [format!("{root}/logs/*.log")] } },
        "apps": { "shop": { "environments": { "production": {
            "source": "local", "paths": [format!("{root}/logs/shop*.log"), format!("{root}/*.log")],
        } } } },
    }))
    .unwrap()
}

async fn client(folder: &TempDir) -> Client {
    Client::connect(observability(config(folder), &Surroundings::default())).await
}

fn texts<'a>(items: &'a Value, key: &str) -> Vec<&'a str> {
    items.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap()).collect()
}

const DAY: (&str, &str) = ("2026-11-21T00:00:00Z", "2026-11-21T12:00:00Z");

#[tokio::test]
async fn the_newest_lines_of_an_app_are_found() {
    let folder = shop();
    let client = client(&folder).await;
    let arguments = json!({
        "app": "shop", "environment": "production", "since": DAY.0, "until": DAY.1,
        "pattern": "ERROR -declined", "mode": "events", "limit": 2,
    });
    let found = client.ok(request("logs.search", arguments)).await;
    let event = &found["events"][0];
    assert_eq!(event["timestamp"], 1_795_255_741_000_i64);
    assert_eq!(event["time"], "2026-11-21T10:09:01Z");
    assert_eq!(event["logStreamName"], "shop.log");
    assert_eq!(event["level"], "error");
    assert!(event["message"].as_str().unwrap().ends_with("ConnectException: refused"), "{event}");
    assert_eq!(found["events"].as_array().unwrap().len(), 2);
    assert_eq!(found["window"], json!({ "start": DAY.0, "end": DAY.1 }));
    assert_eq!(found["truncated"], true);
    assert_eq!(found["untrusted"], true);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    // Many lines of one moment: a page may end between them.
    let lines: String = (0..25)
        .map(|line| format!("2026-11-21T10:00:0{}Z INFO line number-{line:02} x\n", line / 9))
        .collect();
    fs::write(folder.path().join("logs/shop.log"), lines).unwrap();
    let client = client(&folder).await;
    for order in ["newest", "oldest"] {
        let mut seen: Vec<String> = Vec::new();
        let mut arguments = json!({
            "source": "local", "since": DAY.0, "until": DAY.1, "mode": "events", "limit": 4, "order": order,
        });
        loop {
            let found = client.ok(request("logs.search", arguments.clone())).await;
            seen.extend(texts(&found["events"], "message").into_iter().map(str::to_owned));
            let Some(token) = found["next_token"].as_str() else { break };
            arguments["next_token"] = token.into();
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((seen.len(), sorted.len()), (25, 25), "{order}: {seen:?}");
    }
}

#[tokio::test]
async fn patterns_take_the_place_of_lines_that_do_not_fit() {
    let folder = shop();
    let client = client(&folder).await;
    let arguments = json!({ "app": "shop", "since": DAY.0, "until": DAY.1, "max_bytes": 4000 });
    let found = client.ok(request("logs.search", arguments)).await;
    assert_eq!(found["mode"], "both");
    assert!(found.to_string().len() <= 4000, "{}", found.to_string().len());
    assert_eq!(
        found["counts"],
        json!({ "error": 40, "warn": 0, "info": 20, "debug": 0, "other": 0 })
    );
    let templates = texts(&found["patterns"], "template");
    assert!(templates.contains(&"card of order <num> was declined"), "{templates:?}");
    let few = client
        .ok(request(
            "logs.search",
            json!({ "source": "local", "since": DAY.0, "until": DAY.1, "pattern": "storm" }),
        ))
        .await;
    assert_eq!((&few["mode"], few["matched"].as_u64()), (&json!("events"), Some(5)));
}

#[tokio::test]
async fn a_new_error_after_a_deployment_is_a_regression() {
    let folder = shop();
    let client = client(&folder).await;
    let arguments = json!({ "app": "shop", "since_deployment": "2026-11-21T10:00:00Z" });
    let compared = client.ok(request("logs.compare", arguments)).await;
    assert_eq!(compared["verdict"], "regressed");
    assert_eq!(compared["reasons"], json!(["1 new pattern", "1 grown pattern"]));
    let new = &compared["new_patterns"];
    assert_eq!(
        texts(new, "template"),
        ["Checkout of cart <num> failed caused by java.net.ConnectException: refused"]
    );
    assert_eq!((&new[0]["count"], &new[0]["level"]), (&json!(10), &json!("error")));
    assert_eq!(new[0]["first_seen"], "2026-11-21T10:00:01Z");
    let grown = &compared["grown"][0];
    assert_eq!(
        (&grown["before"], &grown["after"], &grown["ratio"]),
        (&json!(5), &json!(20), &json!(4.0))
    );
    assert_eq!(texts(&compared["gone"], "template"), ["cache miss storm on shard <num>"]);
    assert_eq!(compared["complete"], true);
}

#[tokio::test]
async fn without_new_errors_it_is_ok_and_without_lines_nobody_knows() {
    let folder = shop();
    let client = client(&folder).await;
    let compare =
        |at: &str| request("logs.compare", json!({ "app": "shop", "at": at, "window": "3m" }));
    let calm = client.ok(compare("2026-11-21T09:56:00Z")).await;
    assert_eq!((&calm["verdict"], &calm["new_patterns"]), (&json!("ok"), &json!([])));
    let silent = client.ok(compare("2026-11-21T11:00:00Z")).await;
    assert_eq!(silent["verdict"], "unknown");
    let error = client.error(compare("2999-01-01")).await;
    assert!(error["message"].as_str().unwrap().contains("future"), "{error}");
}

#[tokio::test]
async fn nothing_found_says_why() {
    let folder = shop();
    let client = client(&folder).await;
    let arguments = json!({ "source": "local", "since": "2026-11-21T11:00:00Z", "until": "2026-11-21T11:30:00Z" });
    let found = client.ok(request("logs.search", arguments)).await;
    assert_eq!((&found["events"], &found["next_token"]), (&json!([]), &Value::Null));
    assert_eq!(found["hints"], json!(["the newest event is of 2026-11-21T10:09:11Z"]));
    let arguments =
        json!({ "source": "local", "since": DAY.0, "until": DAY.1, "pattern": "zebra" });
    let found = client.ok(request("logs.search", arguments)).await;
    assert!(
        found["hints"][0].as_str().unwrap().contains("none in this window that fit"),
        "{found}"
    );
}

#[tokio::test]
async fn files_outside_of_the_named_folders_are_not_read() {
    let folder = shop();
    let outside = folder.path().join("secret.log");
    std::os::unix::fs::symlink(&outside, folder.path().join("logs/shop-link.log")).unwrap();
    let client = client(&folder).await;
    let arguments = json!({ "app": "shop", "since": DAY.0, "until": DAY.1, "pattern": "outside" });
    let found = client.ok(request("logs.search", arguments)).await;
    assert_eq!(found["matched"], 0);
    let groups = client.ok(request("logs.groups", json!({ "source": "local" }))).await;
    assert_eq!(texts(&groups["items"], "name"), ["shop.log"]);
}

#[tokio::test]
async fn secrets_in_logs_are_blacked_out_before_they_are_masked() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let line = "2026-11-21T10:00:00Z ERROR key AKIAIOSFODNN7EXAMPLE of ghp_0123456789abcdefABCD\u{200B}!\n";
    fs::write(folder.path().join("logs/shop.log"), line.repeat(40)).unwrap();
    let client = client(&folder).await;
    let arguments = json!({ "source": "local", "since": DAY.0, "until": DAY.1, "mode": "both", "max_bytes": 2000 });
    let found = client.ok(request("logs.search", arguments)).await;
    assert_eq!(texts(&found["patterns"], "template"), ["key [redacted] of [redacted]!"]);
    let text = found.to_string();
    assert!(
        !text.contains("ghp_") && !text.contains("AKIA") && !text.contains('\u{200B}'),
        "{text}"
    );
}

#[tokio::test]
async fn a_text_or_a_kept_file_becomes_patterns() {
    let folder = shop();
    let text: String =
        (0..200).map(|line| format!("WARN slow query {line} took {line} ms\n")).collect();
    let alone = client(&folder).await;
    let summary = alone.ok(request("logs.summarize", json!({ "text": text }))).await;
    assert_eq!(summary["patterns"][0]["template"], "slow query <num> took <num> ms");
    assert_eq!((&summary["lines"], &summary["counts"]["warn"]), (&json!(200), &json!(200)));
    assert!(summary["patterns"][0]["first_seen"].is_null());
    let error = alone.error(request("logs.summarize", json!({ "artifact": "art_1" }))).await;
    assert_eq!(error["code"], "failed_precondition");

    let host = Arc::new(Forgetful::default());
    let file = NewArtifact {
        key: "k".to_owned(),
        execution_id: None,
        step: None,
        name: "a.log".to_owned(),
        mime: "text/plain".to_owned(),
        bytes: text.into_bytes(),
    };
    let kept = host.keep(file).await.unwrap();
    let around = Surroundings { host: Some(host), ..Surroundings::default() };
    let hosted = Client::connect(observability(config(&folder), &around)).await;
    let arguments = json!({ "artifact": kept.resource_uri });
    assert_eq!(hosted.ok(request("logs.summarize", arguments)).await, summary);
    let error = hosted.error(request("logs.summarize", json!({ "artifact": "art_1" }))).await;
    assert_eq!(error["code"], "not_found");
}
