//! Models answer once per call, in the shape that was asked for, and what they cost is counted.

mod providers;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_tools::agent::{Budget, Price};
use windlass_tools::contract::{Forgetful, Host, SpentOn, Surroundings};
use windlass_tools::{AgentConfig, agent};

use crate::harness::{Client, golden, request};

const KEY: &str = "exe_1/analyze#0";

/// A server that answers from recordings, in a project with this profile.
struct Recorded {
    client: Client,
    host: Arc<Forgetful>,
    folder: tempfile::TempDir,
}

async fn recorded(answers: Value, change: impl FnOnce(&mut AgentConfig)) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answers.yaml"), answers.to_string()).unwrap();
    let mut config = AgentConfig { recorded: "answers.yaml".into(), ..AgentConfig::default() };
    change(&mut config);
    let host = Arc::new(Forgetful::default());
    let around = Surroundings { host: Some(host.clone()), ..Surroundings::default() };
    let client = Client::connect(agent(config.rooted(folder.path()), &around)).await;
    Recorded { client, host, folder }
}

fn analysis() -> Value {
    json!({
        "description": "The checkout fails for carts without items.",
        "root_cause": "total() divides by the number of items, which is 0.",
        "category": "bug", "has_fix": true,
        "fix_description": "Return 0 for an empty cart.",
        "fix_instructions": "In src/cart.rs, let total() return 0 before it divides.",
        "affected_files": ["src/cart.rs"], "confidence": 0.9,
        "evidence": ["attempt to divide by zero at src/cart.rs:17"],
    })
}

fn took() -> Value {
    json!({ "prompt": 812, "completion": 141, "cached": 512 })
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder.join("agents")).unwrap();
    std::fs::write(folder.join("agents").join(name), text).unwrap();
}

#[tokio::test]
async fn each_tool_answers_in_its_shape() {
    let usage = took();
    let file = json!({ "path": "src/cart.rs", "content": "fn total() -> u64 { 0 }\n" });
    let manifest = json!({ "path": "Cargo.toml", "content": "serde = \"1.0.229\"\n" });
    let update = json!({
        "name": "serde", "current": "1.0.0", "latest": "1.0.229", "kind": "patch", "security": false, "certain": true,
        "reason": "the material names 1.0.229",
    });
    let finding = json!({ "path": "src/cart.rs", "line": 17, "severity": "blocker", "body": "Divides by zero." });
    let cases = [
        (
            "run",
            json!({ "prompt": "Say hello", "context": { "name": "Ada" } }),
            json!("Hello, Ada."),
        ),
        (
            "analyze",
            json!({ "prompt": "Why does it fail?", "context": { "log": "divide by zero" } }),
            analysis(),
        ),
        (
            "reviewCode",
            json!({ "diff": "+ total / count", "files": ["src/cart.rs"], "context": { "title": "Totals" } }),
            json!({ "summary": "One defect.", "has_feedback": true, "verdict": "request_changes", "comments": [finding], "score": 40 }),
        ),
        (
            "classifyIssue",
            json!({ "title": "Crash at checkout", "body": "It panics.", "labels": [] }),
            json!({
                "type": "bug", "priority": "high", "category": "checkout", "suggested_labels": ["bug"], "milestone": "",
                "notes": "A panic.", "confidence": 0.8,
            }),
        ),
        (
            "applyFix",
            json!({ "branch": "fix/7", "fix": "Return 0 for an empty cart", "files": [{ "path": "src/cart.rs", "content": "…" }] }),
            json!({ "files": [file], "commit_message": "Return 0 for an empty cart", "summary": "total() has a guard." }),
        ),
        (
            "checkDependencies",
            json!({ "branch": "main", "packageManager": "cargo", "files": { "Cargo.toml": "serde = \"1.0.0\"" } }),
            json!({ "available": true, "updates": [update], "summary": "serde can be updated." }),
        ),
        (
            "updateDependencies",
            json!({ "branch": "deps", "updates": [update], "strategy": "safe", "context": { "files": [{ "path": "Cargo.toml", "content": "…" }] } }),
            json!({ "files": [manifest], "commit_message": "Update serde", "summary": "Cargo.lock is still to be made.", "breaking_changes": [] }),
        ),
        (
            "generateCopy",
            json!({ "prompt": "A headline for trail shoes", "tone": "plain" }),
            json!("Shoes that stay on the trail."),
        ),
        (
            "review",
            json!({ "content": "Shoes that stay on the trail.", "criteria": ["clear"] }),
            json!({ "score": 82, "passed": true, "feedback": "Clear.", "suggestions": [] }),
        ),
        (
            "summarize",
            json!({ "content": "A long text.", "max_words": 20 }),
            json!({ "summary": "It is long.", "key_points": ["long"] }),
        ),
        (
            "extract",
            json!({ "content": "Order 7 for Ada", "schema": { "type": "object", "required": ["order"], "properties": { "order": { "type": "integer" } } } }),
            json!({ "order": 7 }),
        ),
        (
            "decide",
            json!({ "prompt": "Roll back?", "options": ["wait", "roll_back"], "context": "5 % errors" }),
            json!({ "choice": "roll_back", "reason": "Errors rise.", "confidence": 0.7 }),
        ),
    ];
    for (tool, arguments, answer) in cases {
        let profile = if tool == "run" { "plain" } else { tool };
        let entry = json!([{ "profile": profile, "answer": answer, "usage": usage }]);
        let price = Price { input: 2.0, output: 8.0, cached: Some(0.5), ..Price::default() };
        let server =
            recorded(entry, |config| _ = config.prices.insert("recorded".into(), price)).await;
        let got = server.client.ok(request(tool, arguments).attempt("exe_1/step#0", 1)).await;
        assert_eq!(
            got["usage"],
            json!({ "prompt": 812, "completion": 141, "cached": 512, "total": 953 })
        );
        // 300 tokens sent, 512 cached, 141 answered.
        assert_eq!(got["cost_usd"], 0.001_984, "{tool}");
        for (name, value) in answer.as_object().into_iter().flatten() {
            let got = if tool == "extract" { &got["json"] } else { &got };
            assert_eq!(got[name], *value, "{tool} {name}");
        }
        match tool {
            "applyFix" => assert_eq!(got["changed_files"], json!(["src/cart.rs"])),
            "updateDependencies" => assert_eq!(got["changed_files"], json!(["Cargo.toml"])),
            "run" | "generateCopy" => assert_eq!(got["text"], answer),
            _ => {}
        }
        golden("agent", tool, &got);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_repaired_once() {
    let server = recorded(
        json!([{ "profile": "analyze", "answers": [{ "has_fix": "perhaps" }, analysis()], "usage": took() }]),
        |_| {},
    )
    .await;
    let ask = || request("analyze", json!({ "prompt": "Why?" })).attempt(KEY, 1);
    let answer = server.client.ok(ask()).await;
    assert_eq!((&answer["repaired"], &answer["has_fix"]), (&json!(true), &json!(true)));
    assert_eq!(answer["usage"]["prompt"], 2 * 812);
    assert_eq!(answer["cost_usd"], Value::Null, "nobody knows the price of a recording");
    let spent = server.host.spent(SpentOn::Execution("exe_1")).await.unwrap();
    assert_eq!((spent.calls, spent.calls_without_price), (2, 2));
    // The same call again is counted once.
    server.client.ok(ask()).await;
    assert_eq!(server.host.spent(SpentOn::Today).await.unwrap().calls, 2);
}

#[tokio::test]
async fn an_answer_that_never_fits_says_what_is_wrong_with_it() {
    let server =
        recorded(json!([{ "answer": { "choice": "perhaps", "reason": 1 } }]), |_| {}).await;
    let arguments = json!({ "prompt": "Go?", "options": ["yes", "no"] });
    let error = server.client.error(request("decide", arguments)).await;
    assert_eq!(error["code"], "failed_precondition");
    assert_eq!(error["provider"]["reason"], "schema_mismatch");
    assert_eq!(error["retryable"], true);
    let message = error["message"].as_str().unwrap();
    for part in ["/choice", "/reason", "confidence"] {
        assert!(message.contains(part), "{message}");
    }
    let server =
        recorded(json!([{ "answer": "{\"a\":", "finish_reason": "length" }]), |_| {}).await;
    let arguments = json!({ "content": "x", "schema": { "type": "object" } });
    let error = server.client.error(request("extract", arguments)).await;
    assert_eq!(error["provider"]["reason"], "cut_off");
}

#[tokio::test]
async fn recordings_answer_by_profile_step_model_and_prompt() {
    let answers = json!([
        { "step": "first", "answer": "by step" },
        { "model": "big", "answer": "by model" },
        { "prompt": ["apples", "<data source=\"context\">"], "answer": "by prompt" },
        { "profile": "poet", "prompt": "Be a poet.", "answer": "by profile" },
    ]);
    let server = recorded(answers, |_| {}).await;
    write(
        server.folder.path(),
        "poet.yaml",
        "system: Be a poet.\ninput: 'Write of {{context.thing}}.'\n",
    );
    let cases = [
        (json!({ "prompt": "x" }), "exe_1/first#0", "by step"),
        (json!({ "prompt": "x", "model": "big" }), KEY, "by model"),
        (json!({ "prompt": "Compare apples", "context": { "a": 1 } }), KEY, "by prompt"),
        (json!({ "persona": "poet", "payload": { "thing": "rain" } }), KEY, "by profile"),
    ];
    for (arguments, key, expected) in cases {
        let answer = server.client.ok(request("run", arguments).attempt(key, 1)).await;
        assert_eq!(answer["text"], expected);
    }
    let error = server.client.error(request("run", json!({ "prompt": "pears" }))).await;
    assert!(error["message"].as_str().unwrap().contains("pears"), "{error}");
    let error = server.client.error(request("run", json!({}))).await;
    assert_eq!(error["code"], "invalid_argument");
    let error = server.client.error(request("run", json!({ "profile": "poem" }))).await;
    assert!(error["hint"].as_str().unwrap().contains("poet"), "{error}");
}

#[tokio::test]
async fn budgets_are_looked_at_before_a_model_is_asked() {
    let priced = |config: &mut AgentConfig| {
        let price = Price { input: 1.0, output: 10.0, ..Price::default() };
        config.prices.insert("recorded".into(), price);
    };
    let budgets = [
        ("call_tokens", Budget { call_tokens: 100, ..Budget::default() }, 0),
        ("call_usd", Budget { call_usd: 0.000_1, ..Budget::default() }, 0),
        ("execution_tokens", Budget { execution_tokens: 900, ..Budget::default() }, 1),
        ("execution_usd", Budget { execution_usd: 0.002, ..Budget::default() }, 1),
        ("day_tokens", Budget { day_tokens: 900, ..Budget::default() }, 1),
        ("day_usd", Budget { day_usd: 0.002, ..Budget::default() }, 1),
    ];
    for (name, budget, answered) in budgets {
        let server = recorded(json!([{ "answer": "yes", "usage": took() }]), |config| {
            priced(config);
            config.budget = budget;
        })
        .await;
        for number in 0..answered {
            let key = format!("exe_1/a#{number}");
            server.client.ok(request("run", json!({ "prompt": "x" })).attempt(&key, 1)).await;
        }
        let error = server
            .client
            .error(request("run", json!({ "prompt": "x" })).attempt("exe_1/b#0", 1))
            .await;
        assert_eq!(error["code"], "guardrail", "{name}");
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
        assert_eq!(server.host.spent(SpentOn::Today).await.unwrap().calls, answered, "{name}");
        if name.starts_with("execution") {
            server
                .client
                .ok(request("run", json!({ "prompt": "x" })).attempt("exe_2/b#0", 1))
                .await;
        }
    }
    let server = recorded(json!([{ "answer": "yes" }]), |_| {}).await;
    let arguments = json!({ "prompt": "x", "max_cost_usd": 1 });
    let error = server.client.error(request("run", arguments)).await;
    assert!(
        error["message"].as_str().unwrap().contains("price of recorded/recorded is not known"),
        "{error}"
    );
}

#[tokio::test]
async fn a_text_that_was_written_is_found_again_and_is_a_document() {
    let server = recorded(json!([{ "answer": "Once." }]), |_| {}).await;
    let call = |attempt| request("generateCopy", json!({ "prompt": "Tell" })).attempt(KEY, attempt);
    let first = server.client.ok(call(1)).await;
    assert!(first["document_id"].as_str().unwrap().starts_with("doc_"));
    std::fs::write(server.folder.path().join("answers.yaml"), "[{ answer: Twice. }]").unwrap();
    let again = server.client.ok(call(2)).await;
    assert_eq!((&again["text"], &again["document_id"]), (&json!("Once."), &first["document_id"]));
    assert_eq!((&again["created"], &again["usage"]), (&json!(false), &Value::Null));
    let unkept = json!({ "prompt": "Tell", "keep": false });
    assert_eq!(server.client.ok(request("generateCopy", unkept)).await["document_id"], Value::Null);
}

#[tokio::test]
async fn files_are_asked_for_on_the_grounds_of_files_only() {
    let outside = json!({ "files": [{ "path": "../x", "content": "" }], "commit_message": "x", "summary": "x" });
    let server = recorded(json!([{ "answer": outside }]), |_| {}).await;
    for (tool, arguments) in [
        ("applyFix", json!({ "branch": "b", "fix": "it", "context": "a log" })),
        ("checkDependencies", json!({ "branch": "b", "packageManager": "npm" })),
        ("updateDependencies", json!({ "branch": "b", "updates": [], "files": [] })),
    ] {
        let error = server.client.error(request(tool, arguments)).await;
        assert_eq!(error["code"], "failed_precondition", "{tool}");
        assert!(error["hint"].as_str().unwrap().contains("files"), "{error}");
    }
    let arguments = json!({ "fix": "it", "files": { "a": "b" } });
    let error = server.client.error(request("applyFix", arguments)).await;
    assert!(error["message"].as_str().unwrap().contains("outside"), "{error}");
}

#[tokio::test]
async fn a_fix_changes_what_runs_on_a_push_only_where_it_was_given() {
    let path = ".github/workflows/ci.yml";
    let answer = json!({ "files": [{ "path": path, "content": "on: push" }], "commit_message": "x", "summary": "x" });
    let server = recorded(json!([{ "answer": answer }]), |_| {}).await;
    let fix = |files: Value| request("applyFix", json!({ "fix": "it", "files": files }));
    let error = server.client.error(fix(json!({ "src/a.rs": "b" }))).await;
    assert_eq!(error["code"], "guardrail");
    assert!(error["message"].as_str().unwrap().contains(path), "{error}");
    let given = [json!({ path: "b" }), json!([{ "path": path, "content": "b" }])];
    for files in given {
        assert_eq!(server.client.ok(fix(files)).await["changed_files"], json!([path]));
    }
}
