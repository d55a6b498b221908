//! Whatever a caller sends, a tool answers: with a result that fits, or with an error that says what was wrong. No panic,
//! no endless wait, no defect that is passed on.

use std::sync::Arc;

use rmcp::model::{CallToolRequestParams, Tool};
use serde_json::{Map, Value, json};
use windlass_emulators::GithubEmulator;
use windlass_tools::contract::{Forgetful, IDEMPOTENCY_KEY, Surroundings};
use windlass_tools::{AgentConfig, agent, demo, deploy, documents, github, notify, observability};

use crate::harness::{Client, DEADLINE};

/// Calls of each tool.
const ROUNDS: u64 = 25;
/// These end only after a while, as they should.
const SLOW: [&str; 1] = ["sleep"];

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn one_of(&mut self, values: &[Value]) -> Value {
        values[self.roll(values.len())].clone()
    }
}

fn odd() -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let mut values = vec![
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        deep,
        json!([null, 1, "a"]),
        json!({ "path": "../x", "a": { "b": [] } }),
    ];
    values.extend(odd_numbers());
    values.extend(odd_texts());
    values
}

fn odd_numbers() -> Vec<Value> {
    let whole = [i64::MIN, -1, 0, 1, 2, 7, 100, 1_000, 86_400_000, i64::MAX];
    let mut values: Vec<Value> = whole.into_iter().map(Value::from).collect();
    values.extend([json!(u64::MAX), json!(0.5), json!(-0.0), json!(1e300), json!(7.0)]);
    values
}

fn odd_texts() -> Vec<Value> {
    let texts = [
        "",
        " ",
        "a",
        "7",
        " 7 ",
        "1e3",
        "TRUE",
        "-1",
        "99999999999999999999",
        "..",
        "../../etc/passwd",
        "a/../../b",
        "%2e%2e/%2f",
        "-rf",
        "--help",
        "{{version}}",
        "{{",
        "}}{{",
        "${x}",
        "a\nb",
        "a\0b",
        "\u{202E}\u{200B}",
        "ü💥é",
        "octo/hello",
        "OCTO/Hello",
        "octo/hello/x",
        "main",
        "shop",
        "shop/mock/1",
        "ecs/a/b/c/d",
        "arn:aws:ecs:a:b:c/d/e",
        "now-9223372036854775807ms",
        "9223372036854775807w",
        "2026-13-45",
        "0001-01-01",
        "+262142-12-31T23:59:59Z",
        "1h",
        "http://[::1",
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
        "/(a+)+$/",
        "/(/",
        "{ $.a = 1 }",
        "\"",
        "?-",
        "log",
        "#log",
        "log:x",
        "stdout",
        "doc_x",
        "art_x",
        "GET",
        "healthy",
        "0-99999",
        "1ms",
        "0s",
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.push("é".repeat(70_000).into());
    values
}

/// A value that may fit a schema, or anything.
fn value(dice: &mut Dice, schema: &Value) -> Value {
    if dice.roll(4) == 0 {
        return dice.one_of(&odd());
    }
    if let Some(choices) = schema["enum"].as_array() {
        return dice.one_of(choices);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("integer" | "number") => dice.one_of(&odd_numbers()),
        Some("boolean") => json!(dice.roll(2) == 0),
        Some("string") => dice.one_of(&odd_texts()),
        Some("array") => (0..dice.roll(3)).map(|_| value(dice, &schema["items"])).collect(),
        Some("object") => Value::Object(members(dice, schema)),
        _ => dice.one_of(&odd()),
    }
}

fn members(dice: &mut Dice, schema: &Value) -> Map<String, Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut all = Map::new();
    for (name, own) in schema["properties"].as_object().into_iter().flatten() {
        // Most required ones are there: otherwise every call ends at the door.
        let wanted =
            if required.contains(&json!(name)) { dice.roll(12) != 0 } else { dice.roll(4) == 0 };
        if wanted {
            all.insert(name.clone(), value(dice, own));
        }
    }
    if dice.roll(20) == 0 {
        all.insert("no such thing".to_owned(), dice.one_of(&odd()));
    }
    all
}

/// Calls one tool, and says what is wrong with its answer.
async fn complaint(client: &Client, tool: &Tool, dice: &mut Dice) -> Option<String> {
    let schema = Value::Object((*tool.input_schema).clone());
    let arguments = members(dice, &schema);
    let mut params =
        CallToolRequestParams::new(tool.name.clone()).with_arguments(arguments.clone());
    if dice.roll(2) == 0 {
        let meta = params.meta.get_or_insert_default();
        meta.insert(IDEMPOTENCY_KEY.to_owned(), format!("exec_1/s#{}", dice.roll(5)).into());
        meta.insert(windlass_tools::contract::ATTEMPT.to_owned(), dice.one_of(&odd_numbers()));
        meta.insert(
            windlass_tools::contract::FIRST_STARTED_AT.to_owned(),
            dice.one_of(&odd_numbers()),
        );
    }
    let shown: String = json!(arguments).to_string().chars().take(2_000).collect();
    let said = |what: String| Some(format!("{} {shown}: {what}", tool.name));
    let answer = tokio::time::timeout(DEADLINE, client.client.call_tool(params)).await;
    let Ok(answer) = answer else { return said("no answer".to_owned()) };
    let result = match answer {
        Ok(result) => result,
        Err(error) => return said(format!("no result: {error}")),
    };
    let content = result.structured_content.unwrap_or_default();
    if result.is_error == Some(true) {
        let error = &content["error"];
        let silent = error["message"].as_str().is_none_or(str::is_empty);
        return if error["code"] == "internal" || silent { said(error.to_string()) } else { None };
    }
    let output = Value::Object((**tool.output_schema.as_ref().unwrap()).clone());
    let validator = jsonschema::validator_for(&output).unwrap();
    let problems: Vec<_> = validator.iter_errors(&content).map(|error| error.to_string()).collect();
    if problems.is_empty() { None } else { said(format!("{problems:?} in {content}")) }
}

async fn complaints(client: Client, seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    let mut found = Vec::new();
    for tool in client.tools.iter().filter(|tool| !SLOW.contains(&&*tool.name)) {
        for _ in 0..ROUNDS {
            found.extend(complaint(&client, tool, &mut dice).await);
        }
    }
    found
}

fn hosted() -> Surroundings {
    let environment = [("GITHUB_TOKEN".to_owned(), "ghp_thisIsTheToken12345".to_owned())];
    Surroundings {
        environment: environment.into(),
        host: Some(Arc::new(Forgetful::default())),
        ..Surroundings::default()
    }
}

const NONE: [String; 0] = [];

#[tokio::test]
async fn the_github_server_answers_whatever_it_is_sent() {
    let emulator = GithubEmulator::start().await.unwrap();
    let mut config = crate::github::config(&emulator);
    config.allow_raw_write = true;
    let mut client = Client::connect(github(config, &hosted())).await;
    // The double holds its own answers to GitHub's description, in which no issue that is found has no body.
    client.tools.retain(|tool| tool.name != "searchIssues");
    assert_eq!(complaints(client, 0x9E37_79B9).await, NONE);
}

#[tokio::test]
async fn the_deploy_server_answers_whatever_it_is_sent() {
    let config = json!({
        "ecs": { "endpoint_url": "http://127.0.0.1:1", "region": "eu-central-1" },
        "targets": { "shop": { "default_environment": "mock", "environments": {
            "mock": { "kind": "mock", "steps": 1, "step_ms": 1 },
            "command": { "kind": "command", "deploy": ["/bin/echo", "{{version}}"] },
            "webhook": { "kind": "webhook", "url": "http://127.0.0.1:1/{{version}}" },
        } } },
    });
    let mut around = hosted();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        around.environment.insert(name.to_owned(), "AKIAIOSFODNN7EXAMPLE".to_owned());
    }
    let client = Client::connect(deploy(serde_json::from_value(config).unwrap(), &around)).await;
    assert_eq!(complaints(client, 0x7F4A_7C15).await, NONE);
}

#[tokio::test]
async fn the_observability_server_answers_whatever_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.log"), "2026-11-21T09:00:00Z ERROR no\n".repeat(50))
        .unwrap();
    let paths = [folder.path().join("*.log")];
    let config = json!({
        "hosts": ["127.0.0.1:1"],
        "sources": {
            "files": { "kind": "files", "paths": paths },
            "prometheus": { "kind": "prometheus", "url": "http://127.0.0.1:1" },
            "loki": { "kind": "loki", "url": "http://127.0.0.1:1" },
        },
        "apps": { "shop": { "environments": { "main": { "source": "files", "url": "http://127.0.0.1:1/" } } } },
    });
    let client =
        Client::connect(observability(serde_json::from_value(config).unwrap(), &hosted())).await;
    assert_eq!(complaints(client, 0x85EB_CA6B).await, NONE);
}

#[tokio::test]
async fn the_agent_server_answers_whatever_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answers.yaml"), json!([{ "answer": "{}" }]).to_string())
        .unwrap();
    let config = AgentConfig { recorded: "answers.yaml".into(), ..AgentConfig::default() };
    let client = Client::connect(agent(config.rooted(folder.path()), &hosted())).await;
    assert_eq!(complaints(client, 0xC2B2_AE35).await, NONE);
}

#[tokio::test]
async fn the_other_servers_answer_whatever_they_are_sent() {
    let client = Client::connect(notify(Default::default(), &hosted())).await;
    assert_eq!(complaints(client, 0x27D4_EB2F).await, NONE);
    let client = Client::connect(documents(Default::default(), &hosted())).await;
    assert_eq!(complaints(client, 0x1656_67B1).await, NONE);
    let mut client = Client::connect(demo()).await;
    // One only ever fails, and others write to whichever file they are told.
    client.tools.retain(|tool| tool.name != "fail" && !tool.name.starts_with("count"));
    assert_eq!(complaints(client, 0xD3A2_646C).await, NONE);
}
