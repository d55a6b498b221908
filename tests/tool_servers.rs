//! What workflows may rely on when they call tool servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alias_map;
mod built_in;
mod config;
mod harness;
mod http;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass::tool_servers::{Breaker, Era, Error, Outcome, RetryClass, Settings, ToolServers};

use harness::{
    Eras, Fake, call, failure, fake_tool_server, one_server, settings, silent, succeeded, tool,
    uncertain, until,
};

#[tokio::test]
async fn a_tool_is_called_with_what_identifies_the_call() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let result =
        succeeded(servers.call(call("fake.echo", json!({ "text": "hi" })), silent()).await);
    assert_eq!(result["text"], "hi");
    assert_eq!(result["meta"]["dev.windlass/idempotency_key"], "exec_1/step");
    assert_eq!(result["meta"]["dev.windlass/attempt"], 2);
    assert_eq!(result["meta"]["dev.windlass/first_started_at"], 1_700_000_000_000_i64);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_program_is_started_in_the_root_and_a_relative_folder_begins_there() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("inner")).unwrap();
    let state = root.path().join("state");
    for folder in [".", "inner"] {
        std::os::unix::fs::symlink(fake_tool_server(), root.path().join(folder).join("server"))
            .unwrap();
        let args = json!(["normal", "--ledger", root.path().join("ledger"), "--state", state]);
        let entry = json!({ "command": "./server", "args": args, "cwd": folder });
        let settings = Settings { root: root.path().to_owned(), ..settings() };
        let servers = one_server(entry, settings);
        servers.tools("fake").await.unwrap();
        servers.shutdown().await;
    }
    let entry = json!({ "command": "./server", "cwd": "gone" });
    let settings = Settings { root: root.path().to_owned(), ..settings() };
    let said = one_server(entry, settings).tools("fake").await.unwrap_err().to_string();
    assert!(said.contains("gone") && said.contains("correct `cwd`"), "{said}");
}

#[tokio::test]
async fn every_page_of_tools_is_listed_with_its_retry_class() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let tools = servers.tools("fake").await.unwrap();
    let class = |name: &str| tools.iter().find(|tool| tool.name == name).unwrap().retry_class;
    assert_eq!(tools.len(), 26);
    assert_eq!(class("fake.echo"), RetryClass::Read);
    assert_eq!(class("fake.put"), RetryClass::Idempotent);
    assert_eq!(class("fake.keyed"), RetryClass::Keyed);
    assert_eq!(class("fake.append"), RetryClass::Unsafe);
    assert!(Arc::ptr_eq(&tools, &servers.tools("fake").await.unwrap()), "it was asked twice");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_name_that_differs_in_case_and_dots_is_the_same_tool() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    assert_eq!(servers.tool(&tool("fake.Crash-Once")).await.unwrap().name, "fake.crash_once");
    let result = servers.call(call("fake.E_cho", json!({ "text": "x" })), silent()).await;
    assert_eq!(succeeded(result)["text"], "x");
    servers.shutdown().await;
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_nearest() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let error = servers.tool(&tool("fake.ecko")).await.unwrap_err();
    assert!(
        matches!(&error, Error::UnknownTool { nearest, .. } if nearest[0] == "echo"),
        "{error}"
    );
    let error = servers.tools("fakes").await.unwrap_err();
    assert_eq!(error.to_string(), "no tool server is called \"fakes\"; did you mean fake?");
    let failure = failure(servers.call(call("fake.ecko", json!({})), silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("unknown_tool", Some(false)));
    servers.shutdown().await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_not_sent() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let failure = failure(servers.call(call("fake.append", json!({ "text": 5 })), silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("invalid_argument", Some(false)));
    assert!(
        failure.message.contains("at /text: 5 is not of type \"string\""),
        "{}",
        failure.message
    );
    assert_eq!(fake.ledger(), "");
    let outcome = servers.call(call("fake.echo", json!({ "text": "a", "txt": 1 })), silent()).await;
    let message = harness::failure(outcome).message;
    assert!(message.contains("txt") && message.contains("allowed are text"), "{message}");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_tool_that_takes_a_key_gets_it() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    succeeded(servers.call(call("fake.keyed", json!({})), silent()).await);
    assert_eq!(fake.ledger(), "keyed exec_1/step 2 {\"idempotency_key\":\"exec_1/step\"}\n");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_text_is_json_only_where_it_is_a_structure() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let plain = async |text: &str| {
        succeeded(servers.call(call("fake.plain", json!({ "text": text })), silent()).await)
    };
    assert_eq!(plain("{\"a\": [1]}").await, json!({ "a": [1] }));
    assert_eq!(plain("007").await, json!("007"));
    assert_eq!(plain("[not json").await, json!("[not json"));
    let blocks = succeeded(servers.call(call("fake.blocks", json!({})), silent()).await);
    assert_eq!(blocks["content"][1], json!({ "type": "hologram", "text": "two" }));
    servers.shutdown().await;
}

#[tokio::test]
async fn many_calls_share_one_child_and_run_at_once() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let begun = Instant::now();
    let calls = (0..50).map(|number| {
        let servers = servers.clone();
        async move {
            let slow = call("fake.slow", json!({ "ms": 300 }));
            succeeded(servers.call(slow, silent()).await);
            let echo = call("fake.echo", json!({ "text": number.to_string() }));
            succeeded(servers.call(echo, silent()).await)["text"].clone()
        }
    });
    let texts = futures::future::join_all(calls).await;
    assert_eq!(texts[49], "49");
    assert!(begun.elapsed() < Duration::from_secs(5), "one after the other: {:?}", begun.elapsed());
    assert_eq!(fake.children(), 1);
    servers.shutdown().await;
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    let fake = Fake::new("normal").with(json!({ "max_in_flight": 1 }));
    let servers = fake.servers();
    let stop = CancellationToken::new();
    let mut first = call("fake.never", json!({}));
    first.cancel = stop.clone();
    let first = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(first, silent()).await }
    });
    until("the first call is out", || async { fake.arrived().contains("never") }).await;
    let mut second = call("fake.echo", json!({ "text": "x" }));
    second.timeout = Duration::from_millis(600);
    let failure = failure(servers.call(second, silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", Some(true)));
    assert!(failure.message.contains("max_in_flight"), "{}", failure.message);
    stop.cancel();
    assert_eq!(uncertain(first.await.unwrap()).0.code, "cancelled");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_cancelled_and_uncertain() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    servers.tools("fake").await.unwrap();
    for (name, repeatable) in [("slow", false), ("never", true)] {
        let mut call = call(&format!("fake.{name}"), json!({ "ms": 60_000 }));
        call.timeout = Duration::from_millis(300);
        let begun = Instant::now();
        let (failure, may_repeat) = uncertain(servers.call(call, silent()).await);
        assert_eq!((failure.code.as_str(), may_repeat), ("timeout", repeatable), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let note = format!("cancelled {name}");
        until("the tool hears of it", || async { fake.ledger().contains(&note) }).await;
    }
    servers.shutdown().await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_tool() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let cancelling = call("fake.slow", json!({ "ms": 60_000 }));
    let cancel = cancelling.cancel.clone();
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(cancelling, silent()).await }
    });
    until("the call is out", || async { fake.children() == 1 }).await;
    // Waits for the server's answer to another call, by which the first must have arrived.
    succeeded(servers.call(call("fake.slow", json!({ "ms": 200 })), silent()).await);
    cancel.cancel();
    assert_eq!(uncertain(out.await.unwrap()).0.code, "cancelled");
    until("the tool hears of it", || async { fake.ledger() == "cancelled slow\n" }).await;
    servers.shutdown().await;
}

#[tokio::test]
async fn a_call_whose_task_is_ended_is_cancelled_at_the_tool() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(call("fake.slow", json!({ "ms": 60_000 })), silent()).await }
    });
    until("the call is out", || async { fake.arrived().contains("slow") }).await;
    // As when its lease is lost: another worker may be about to call it again.
    out.abort();
    until("the tool hears of it", || async { fake.ledger() == "cancelled slow\n" }).await;
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!(fake.ledger(), "cancelled slow\n");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_call_cancelled_before_it_went_out_has_not_happened() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let call = call("fake.append", json!({}));
    call.cancel.cancel();
    assert_eq!(failure(servers.call(call, silent()).await).code, "cancelled");
    assert_eq!(fake.ledger(), "");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_child_that_reads_no_more_is_replaced() {
    let fake = Fake::new("deaf");
    let servers = fake.servers();
    let echo = || call("fake.echo", json!({ "text": "x" }));
    succeeded(servers.call(echo(), silent()).await);
    // More than a pipe holds, so that it is never written to its end.
    let mut long = call("fake.plain", json!({ "text": "x".repeat(1024 * 1024) }));
    long.timeout = Duration::from_millis(500);
    assert_eq!(uncertain(servers.call(long, silent()).await).0.code, "timeout");
    let mut next = echo();
    next.timeout = Duration::from_secs(10);
    succeeded(servers.call(next, silent()).await);
    assert_eq!(fake.starts(), 2);
    until("the deaf one is gone", || async { fake.children() == 1 }).await;
    servers.shutdown().await;
}

#[tokio::test]
async fn a_crash_while_a_call_is_out_is_uncertain_and_told_with_the_last_words() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let (failure, repeatable) =
        uncertain(servers.call(call("fake.crash", json!({})), silent()).await);
    assert_eq!((failure.code.as_str(), repeatable), ("connection_lost", false));
    assert!(failure.message.contains("exited with code 3"), "{}", failure.message);
    assert!(failure.message.contains("out of cheese"), "{}", failure.message);
    assert_eq!(fake.ledger(), "crash exec_1/step 2 {}\n");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_crashed_server_is_started_again_by_the_next_call() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let crash = servers.call(call("fake.crash_once", json!({})), silent()).await;
    assert!(uncertain(crash).1, "an idempotent tool may be called again");
    let again = servers.call(call("fake.crash_once", json!({})), silent()).await;
    assert_eq!(succeeded(again), json!("survived"));
    assert_eq!(fake.ledger().lines().count(), 2);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_result_against_the_promised_schema_is_refused() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let failure = failure(servers.call(call("fake.wrong", json!({})), silent()).await);
    assert_eq!(failure.code, "invalid_result");
    assert!(
        failure.message.contains("at /count: \"three\" is not of type \"integer\""),
        "{failure:?}"
    );
    let (failure, repeatable) =
        uncertain(servers.call(call("fake.wrong_unsafe", json!({})), silent()).await);
    assert_eq!((failure.code.as_str(), repeatable), ("invalid_result", false));
    servers.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_not_one_does_not_hang_the_call() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let (failure, _) = uncertain(servers.call(call("fake.malformed", json!({})), silent()).await);
    assert_eq!(failure.code, "invalid_result");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_tool_says_in_fields_or_in_words_how_it_failed() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let fields = json!({
        "code": "rate_limited", "message": "slow down", "retryable": true, "retry_after_ms": 1500,
        "hint": "ask for less",
    });
    let told = failure(servers.call(call("fake.fail", fields), silent()).await);
    assert_eq!(
        (told.code.as_str(), told.message.as_str()),
        ("rate_limited", "slow down; ask for less")
    );
    assert_eq!((told.retryable, told.retry_after_ms), (Some(true), Some(1500)));
    for ours in ["lease_lost", "interrupted"] {
        let told = json!({ "code": ours, "message": "I had one", "retryable": false });
        let told = failure(servers.call(call("fake.fail", told), silent()).await);
        assert_eq!((told.code.as_str(), told.retryable), ("tool_error", Some(false)), "{ours}");
    }
    let words = failure(servers.call(call("fake.fail_in_words", json!({})), silent()).await);
    assert_eq!((words.code.as_str(), words.message.as_str()), ("tool_error", "the disk is full"));
    assert_eq!(words.retryable, None);
    let unknown = json!({ "code": "outcome_unknown", "message": "the answer got lost" });
    let (told, repeatable) = uncertain(servers.call(call("fake.fail", unknown), silent()).await);
    assert_eq!((told.code.as_str(), repeatable), ("outcome_unknown", false));
    servers.shutdown().await;
}

#[tokio::test]
async fn json_rpc_errors_have_codes_of_ours() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    for (number, code) in
        [(-32_602, "invalid_argument"), (-32_601, "unknown_tool"), (17, "tool_error")]
    {
        let refuse = call("fake.refuse", json!({ "code": number }));
        let failure = failure(servers.call(refuse, silent()).await);
        assert_eq!(failure.code, code, "{number}");
        assert!(failure.message.contains("the server said no"), "{}", failure.message);
    }
    for number in [-32_000, -32_001, -32_603] {
        let refuse = call("fake.refuse", json!({ "code": number }));
        let (failure, repeatable) = uncertain(servers.call(refuse, silent()).await);
        assert_eq!((failure.code.as_str(), repeatable), ("tool_error", false), "{number}");
        assert!(failure.message.contains("the server said no"), "{}", failure.message);
    }
    servers.shutdown().await;
}

#[tokio::test]
async fn whether_a_call_may_go_out_is_asked_after_it_waited_for_a_place() {
    let fake = Fake::new("normal").with(json!({ "max_in_flight": 1 }));
    let servers = fake.servers();
    let first = call("fake.never", json!({}));
    let cancel = first.cancel.clone();
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(first, silent()).await }
    });
    until("the first is out", || async { fake.arrived().contains("never") }).await;
    let ours = Arc::new(AtomicBool::new(true));
    let mut second = call("fake.append", json!({ "text": "x" }));
    second.may_send = Some(Arc::new({
        let ours = ours.clone();
        move || Box::pin(std::future::ready(ours.load(Ordering::SeqCst)))
    }));
    let second = servers.call(second, silent());
    tokio::pin!(second);
    assert!(futures::poll!(&mut second).is_pending());
    ours.store(false, Ordering::SeqCst);
    cancel.cancel();
    let lost = failure(second.await);
    assert_eq!((lost.code.as_str(), lost.retryable), ("lease_lost", Some(true)));
    assert!(!fake.ledger().contains("append"), "{}", fake.ledger());
    assert_eq!(uncertain(out.await.unwrap()).0.code, "cancelled");
    servers.shutdown().await;
}

#[tokio::test]
async fn five_mebibytes_come_through() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let bytes = 5 * 1024 * 1024;
    let result =
        succeeded(servers.call(call("fake.big", json!({ "bytes": bytes })), silent()).await);
    assert_eq!(result.as_str().unwrap().len(), bytes);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_result_without_measure_is_refused_and_the_connection_lives_on() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let big = call("fake.big", json!({ "bytes": 33 * 1024 * 1024 }));
    assert_eq!(failure(servers.call(big, silent()).await).code, "result_too_large");
    succeeded(servers.call(call("fake.echo", json!({ "text": "still here" })), silent()).await);
    assert_eq!(fake.children(), 1);
    servers.shutdown().await;
}

#[tokio::test]
async fn progress_is_heard() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let heard = Mutex::new(Vec::new());
    let result = servers
        .call(call("fake.progress", json!({})), &|progress| {
            heard.lock().unwrap().push((progress.progress, progress.total, progress.message));
        })
        .await;
    assert_eq!(succeeded(result), json!("done"));
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard[0], (1.0, Some(3.0), Some("step 1".to_owned())));
    servers.shutdown().await;
}

#[tokio::test]
async fn a_changed_list_of_tools_is_asked_for_again() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    assert!(servers.tool(&tool("fake.grown")).await.is_err());
    succeeded(servers.call(call("fake.grow", json!({})), silent()).await);
    until("the new tool is known", || async { servers.tool(&tool("fake.grown")).await.is_ok() })
        .await;
    servers.shutdown().await;
}

#[tokio::test]
async fn a_question_of_the_server_is_refused() {
    let fake = Fake::new("normal");
    let servers = fake.servers();
    let answer = succeeded(servers.call(call("fake.ask", json!({})), silent()).await);
    assert_eq!(answer["error"]["code"], -32_601, "{answer}");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_child_sees_a_few_variables_and_those_of_its_entry() {
    let fake = Fake::new("normal").with(json!({ "env": { "OWN": "${PICKED}", "PLAIN": 5 } }));
    let mut settings = settings();
    let variables = [("PICKED", "chosen"), ("GITHUB_TOKEN", "ghp_secret"), ("LC_ALL", "C.UTF-8")];
    settings.environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let servers = fake.servers_with(settings);
    let seen = succeeded(servers.call(call("fake.environment", json!({})), silent()).await);
    assert_eq!((&seen["OWN"], &seen["PLAIN"]), (&json!("chosen"), &json!("5")));
    assert_eq!(seen["LC_ALL"], "C.UTF-8");
    assert_eq!(seen["GITHUB_TOKEN"], Value::Null);
    assert_eq!(seen["PICKED"], Value::Null);
    // What the process itself has counts as little.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    assert_eq!(seen["CARGO_MANIFEST_DIR"], Value::Null);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_missing_variable_makes_only_its_server_unusable() {
    let fake = Fake::new("normal");
    let mut entries = fake.entries();
    entries
        .insert("other".to_owned(), json!({ "command": "x", "env": { "TOKEN": "${NOT_THERE}" } }));
    let servers = harness::servers(&entries, settings());
    let error = servers.tools("other").await.unwrap_err().to_string();
    assert!(error.contains("environment variable NOT_THERE is not set"), "{error}");
    let failure = failure(servers.call(call("other.x", json!({})), silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", Some(false)));
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    servers.shutdown().await;
}

#[tokio::test]
async fn secrets_are_hidden_in_what_a_child_complains_about() {
    let fake = Fake::new("normal").with(json!({ "env": { "TOKEN": "s3cr3t-value" } }));
    let servers = fake.servers();
    let complain = call("fake.complain", json!({ "text": "refused token s3cr3t-value" }));
    succeeded(servers.call(complain, silent()).await);
    let (failure, _) = uncertain(servers.call(call("fake.crash", json!({})), silent()).await);
    assert!(failure.message.contains("refused token ***"), "{}", failure.message);
    assert!(!failure.message.contains("s3cr3t"), "{}", failure.message);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_child_that_exits_at_once_is_told_with_its_status_and_words() {
    let fake = Fake::new("exits-at-once");
    let servers = fake.servers();
    let failure = failure(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", Some(true)));
    assert!(failure.message.contains("exited with code 7"), "{}", failure.message);
    assert!(failure.message.contains("the configuration file is missing"), "{}", failure.message);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let servers = one_server(json!({ "command": "no-such-command-anywhere" }), settings());
    let error = servers.tools("fake").await.unwrap_err().to_string();
    assert!(error.contains("\"no-such-command-anywhere\" was not found"), "{error}");
    assert!(!error.contains("reached: tool server"), "said twice: {error}");
}

#[tokio::test]
async fn a_failed_connect_is_remembered_and_tried_again_later() {
    let fake = Fake::new("normal");
    let late = fake.folder().join("late");
    let mut settings = settings();
    settings.first_backoff = Duration::from_millis(700);
    let entry = json!({ "command": late.to_str().unwrap(), "args": ["normal"] });
    let servers = one_server(entry, settings);
    let echo = || call("fake.echo", json!({ "text": "x" }));
    assert_eq!(servers.breakers()["fake"], Breaker::Closed);
    failure(servers.call(echo(), silent()).await);
    assert!(matches!(servers.breakers()["fake"], Breaker::Open { retry_after_ms: 1..=701 }));
    std::os::unix::fs::symlink(harness::fake_tool_server(), &late).unwrap();
    let begun = Instant::now();
    let refused = failure(servers.call(echo(), silent()).await);
    assert_eq!((refused.code.as_str(), refused.retryable), ("unavailable", Some(true)));
    let wait = refused.retry_after_ms.unwrap();
    assert!((1..=701).contains(&wait), "{wait}");
    assert!(refused.message.contains("tried again in"), "{}", refused.message);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert_eq!(servers.breakers()["fake"], Breaker::HalfOpen);
    succeeded(servers.call(echo(), silent()).await);
    assert_eq!(servers.breakers()["fake"], Breaker::Closed);
    assert!(Duration::from_millis(wait) <= begun.elapsed());
    servers.shutdown().await;
}

#[tokio::test]
async fn a_modern_server_is_spoken_to_without_a_handshake() {
    let fake = Fake::new("modern");
    let eras = Arc::new(Eras::default());
    let servers = fake.servers_with(Settings { eras: Some(eras.clone()), ..settings() });
    let result = succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!(result["meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(eras.all(), [(servers.identities()["fake"].clone(), Era::Modern)]);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_server_that_leaves_at_the_probe_is_started_again_and_remembered() {
    let fake = Fake::new("exits-on-unknown-first-message");
    let eras = Arc::new(Eras::default());
    let with = || Settings { eras: Some(eras.clone()), ..settings() };
    let servers = fake.servers_with(with());
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!(fake.starts(), 2);
    servers.shutdown().await;
    assert_eq!(eras.all()[0].1, Era::Legacy);
    let servers = fake.servers_with(with());
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!(fake.starts(), 3, "it was probed although it was known");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_server_that_is_silent_at_the_probe_is_found_out_and_remembered() {
    let fake = Fake::new("silent-until-initialize");
    let eras = Arc::new(Eras::default());
    let with = || Settings { eras: Some(eras.clone()), ..settings() };
    let servers = fake.servers_with(with());
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    servers.shutdown().await;
    let begun = Instant::now();
    let servers = fake.servers_with(with());
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    servers.shutdown().await;
}

#[tokio::test]
async fn a_server_that_answers_the_probe_too_late_is_understood_all_the_same() {
    let reached = async |mode: &str, era: Era| {
        let fake = Fake::new(mode);
        let args = json!([mode, "--slow-once", "--state", fake.folder().join("state")]);
        let command = harness::fake_tool_server();
        let eras = Arc::new(Eras::default());
        let settings = Settings { eras: Some(eras.clone()), ..settings() };
        let servers = one_server(json!({ "command": command, "args": args }), settings);
        let echo = call("fake.echo", json!({ "text": "x" }));
        succeeded(servers.call(echo, silent()).await);
        assert_eq!(eras.all()[0].1, era);
        servers.shutdown().await;
    };
    tokio::join!(reached("modern", Era::Modern), reached("normal", Era::Legacy));
}

#[tokio::test]
async fn a_setting_spares_the_probe() {
    let fake = Fake::new("exits-on-unknown-first-message").with(json!({ "protocol": "legacy" }));
    let servers = fake.servers();
    succeeded(servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await);
    assert_eq!(fake.starts(), 1);
    servers.shutdown().await;
}

#[tokio::test]
async fn what_a_child_started_ends_with_it() {
    let fake = Fake::new("grandchild");
    let servers = fake.servers();
    servers.tools("fake").await.unwrap();
    let grandchild = fake.state();
    assert!(harness::lives(&grandchild), "grandchild {grandchild} was never there");
    servers.shutdown().await;
    until("the grandchild is gone", || async { !harness::lives(&grandchild) }).await;
}

#[tokio::test]
async fn a_shutdown_is_bounded_and_cancels_what_is_out() {
    let fake = Fake::new("stubborn");
    let servers = fake.servers();
    let out = tokio::spawn({
        let servers: ToolServers = servers.clone();
        async move { servers.call(call("fake.never", json!({})), silent()).await }
    });
    until("the child is there", || async { fake.children() == 1 }).await;
    succeeded(servers.call(call("fake.slow", json!({ "ms": 100 })), silent()).await);
    let begun = Instant::now();
    servers.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(5_200), "{:?}", begun.elapsed());
    let (failure, repeatable) = uncertain(out.await.unwrap());
    assert_eq!((failure.code.as_str(), repeatable), ("cancelled", true));
    assert_eq!(fake.ledger(), "cancelled never\n");
    until("the child is gone", || async { fake.children() == 0 }).await;
    let late = servers.call(call("fake.echo", json!({ "text": "x" })), silent()).await;
    assert!(matches!(late, Outcome::Failed(failure) if failure.message.contains("shutting down")));
}
