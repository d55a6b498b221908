//! The deploy tools: what they do on each kind of environment, and that they do it once.

#[path = "deploy/command.rs"]
mod command;
#[cfg(feature = "ecs")]
#[path = "deploy/ecs.rs"]
mod ecs;
#[path = "deploy/github_workflow.rs"]
mod github_workflow;
#[path = "deploy/mock.rs"]
mod mock;
#[path = "deploy/webhook.rs"]
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use windlass_tools::contract::{Forgetful, Host, Surroundings};
use windlass_tools::deploy::DeployConfig;

use crate::harness::{Client, Request, golden_answer, request};

/// A key as Windlass makes them, of one execution.
pub(crate) fn key(number: u32) -> String {
    format!("exec_1/step{number}#0~0")
}

pub(crate) fn config(value: Value) -> DeployConfig {
    serde_json::from_value(value).unwrap()
}

/// Surroundings with a host of their own and these variables.
pub(crate) fn hosted(variables: &[(&str, &str)]) -> Surroundings {
    with_host(Arc::new(Forgetful::default()), variables)
}

pub(crate) fn with_host(host: Arc<dyn Host>, variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: BTreeMap<String, String> = variables.collect();
    Surroundings { environment, host: Some(host), ..Surroundings::default() }
}

pub(crate) async fn connect(value: Value, around: &Surroundings) -> Client {
    Client::connect(windlass_tools::deploy(config(value), around)).await
}

/// A call with the key of a step.
pub(crate) fn step(tool: &'static str, arguments: Value, number: u32, attempt: u64) -> Request {
    request(tool, arguments).attempt(&key(number), attempt)
}

/// Waits as Windlass does, without the pauses.
pub(crate) async fn wait(client: &Client, arguments: Value) -> Value {
    for _ in 0..20 {
        let answer = client.ok(request("waitForDeployment", arguments.clone())).await;
        if answer["done"] == true {
            assert!(answer["retry_after_ms"].is_null());
            return answer;
        }
        assert!(answer["success"].is_null() && answer["retry_after_ms"].is_u64(), "{answer}");
    }
    panic!("the deployment never ended");
}

/// Checks that an answer has the members of the golden one.
pub(crate) fn golden(tool: &str, answer: &Value) {
    let golden = golden_answer("deploy", tool, answer);
    let names = |value: &Value| {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&golden), names(answer), "the golden answer of {tool} has other members");
}

pub(crate) fn shop() -> Value {
    json!({ "targets": { "shop": {
        "default_environment": "staging",
        "environments": {
            "staging": { "kind": "mock", "steps": 2, "step_ms": 10, "image": "registry.example/shop:{{version}}",
                         "fail_versions": ["bad"], "pause_versions": ["canary"] },
            "production": { "kind": "mock", "steps": 1, "production": true, "require_approval": true,
                            "app_url": "https://shop.example", "health": [{ "url": "https://shop.example/health" }] },
        },
    } } })
}
