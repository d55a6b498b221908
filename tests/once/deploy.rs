//! The tools of the deploy server where nothing runs on ECS: rollouts in memory, commands, deployers behind HTTP, locks.

use std::fs;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::Faults;

use super::{Case, Change, World, check, double::Double, results_of, with};
use crate::durability::Scene;

#[test]
fn tools_that_deploy_do_their_work_once_wherever_they_are_killed() {
    let runtime = Runtime::new().unwrap();
    check(&Scene::on_sqlite(), &runtime, &Deployer(Double::start(&runtime)), &cases());
}

#[test]
fn locks_are_taken_and_freed_once_on_postgres_too() {
    let runtime = Runtime::new().unwrap();
    let locks = |(tool, _): &Case| tool.ends_with("lock");
    let few: Vec<_> = cases().into_iter().filter(locks).collect();
    check(&Scene::on_postgres(), &runtime, &Deployer(Double::start(&runtime)), &few);
}

pub(super) fn cases() -> Vec<Case> {
    let app = |more: Value| with(json!({ "app": "${input.place}" }), more);
    let to = |environment: &str| app(json!({ "environment": environment, "version": "3.0" }));
    let deployment = "${input.deployment_id}";
    vec![
        ("deploy.deploy", to("staging")),
        ("deploy.deploy", to("hook")),
        ("deploy.deploy", to("laptop")),
        ("deploy.restartService", app(json!({}))),
        ("deploy.rollbackService", app(json!({}))),
        ("deploy.rollbackService", app(json!({ "reason": RUNS }))),
        (
            "deploy.continueDeployment",
            json!({ "deployment_id": deployment, "hook_id": "${input.hook_id}", "action": "continue" }),
        ),
        ("deploy.stopDeployment", json!({ "deployment_id": deployment })),
        ("deploy.lock", app(json!({ "reason": "the fair is on" }))),
        ("deploy.unlock", app(json!({ "owner": "ada" }))),
    ]
}

/// A case with this reason is about a deployment that is under way.
const RUNS: &str = "it is under way";

/// Each place is an application, with an environment of each kind.
struct Deployer(Double);

impl Deployer {
    fn settings(&self, place: &str) -> String {
        format!(
            r#"[deploy.targets.{place}]
default_environment = "staging"
[deploy.targets.{place}.environments.staging]
kind = "mock"
steps = 2
step_ms = 1
pause_versions = ["canary"]
[deploy.targets.{place}.environments.hook]
kind = "webhook"
url = "{}/deploy/{{{{app}}}}"
[deploy.targets.{place}.environments.laptop]
kind = "command"
deploy = ["sh", "deploy.sh", "{{{{app}}}}", "{{{{version}}}}"]
idempotent = true
"#,
            self.0.url
        )
    }
}

/// Brings these versions one after the other, and waits for the end of each.
fn ended(place: &str, versions: &[&str]) -> Vec<(&'static str, Value)> {
    let steps = versions.iter().enumerate().flat_map(|(number, version)| {
        let deployment = format!("${{steps.s{}.deployment_id}}", 2 * number);
        let until = json!({ "deployment_id": deployment, "until": "awaiting_action" });
        [begun(place, version), ("deploy.waitForDeployment", until)]
    });
    steps.collect()
}

fn begun(place: &str, version: &str) -> (&'static str, Value) {
    ("deploy.deploy", json!({ "app": place, "version": version }))
}

impl World for Deployer {
    fn prepare(&self, scene: &Scene, (tool, params): &Case, place: &str) -> Value {
        scene.project.write("windlass.toml", &self.settings(place));
        scene.project.write("deploy.sh", "echo \"$2\" > \"$1.deployed\"\necho '{}'\n");
        let mut steps = match *tool {
            "deploy.restartService" | "deploy.rollbackService" => ended(place, &["1.0", "2.0"]),
            "deploy.continueDeployment" => ended(place, &["canary"]),
            "deploy.stopDeployment" => vec![begun(place, "3.0")],
            "deploy.unlock" => vec![("deploy.lock", json!({ "app": place, "owner": "ada" }))],
            _ => Vec::new(),
        };
        if params["reason"] == RUNS {
            steps.push(begun(place, "3.0"));
        }
        let made = if steps.is_empty() { Vec::new() } else { results_of(scene, &steps) };
        let deployment = made.first().map(|made| made["deployment_id"].clone());
        let hook = made.get(1).map(|made| made["awaiting_action"]["hook_id"].clone());
        json!({ "place": place, "deployment_id": deployment, "hook_id": hook })
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        let list = |environment: &str| {
            ("deploy.listDeployments", json!({ "app": place, "environment": environment }))
        };
        let lock = ("deploy.getLock", json!({ "app": place }));
        let steps = [list("staging"), list("hook"), list("laptop"), lock];
        let told = results_of(scene, &steps);
        let known: Vec<Vec<_>> = told[..3]
            .iter()
            .map(|listed| {
                let items = listed["items"].as_array().unwrap().iter();
                items.map(|own| json!([own["version"], own["status"], own["action"]])).collect()
            })
            .collect();
        let lock = &told[3];
        let file = scene.project.path().join(format!("{place}.deployed"));
        json!({
            "known": known, "locked": [lock["locked"], lock["lock"]["reason"]],
            "asked": self.0.done(place), "ran": fs::read_to_string(file).ok(),
        })
    }

    fn changes(&self, place: &str) -> Vec<Change> {
        self.0.changes(place)
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.0.faults)
    }
}
