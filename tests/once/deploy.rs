//! The tools of the deploy server where nothing runs on ECS: rollouts in memory, commands, deployers behind HTTP, locks.

use std::fs;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::Faults;

use super::{Case, World, check, double::Double, result_of, with};
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
steps = 1
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

fn bring(scene: &Scene, place: &str, version: &str) -> Value {
    let begun = result_of(scene, "deploy.deploy", &json!({ "app": place, "version": version }));
    begun["deployment_id"].clone()
}

fn wait(scene: &Scene, deployment: &Value) -> Value {
    let until = json!({ "deployment_id": deployment, "until": "awaiting_action" });
    result_of(scene, "deploy.waitForDeployment", &until)
}

impl World for Deployer {
    fn prepare(&self, scene: &Scene, (tool, params): &Case, place: &str) -> Value {
        scene.project.write("windlass.toml", &self.settings(place));
        scene.project.write("deploy.sh", "echo \"$2\" > \"$1.deployed\"\necho '{}'\n");
        let mut input = json!({ "place": place });
        if ["deploy.restartService", "deploy.rollbackService"].contains(tool) {
            for version in ["1.0", "2.0"] {
                wait(scene, &bring(scene, place, version));
            }
        }
        if *tool == "deploy.stopDeployment" || params["reason"] == RUNS {
            input["deployment_id"] = bring(scene, place, "3.0");
        }
        if *tool == "deploy.continueDeployment" {
            let deployment = bring(scene, place, "canary");
            let paused = wait(scene, &deployment);
            input["deployment_id"] = deployment;
            input["hook_id"] = paused["awaiting_action"]["hook_id"].clone();
        }
        if *tool == "deploy.unlock" {
            result_of(scene, "deploy.lock", &json!({ "app": place, "owner": "ada" }));
        }
        input
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        let app = json!({ "app": place });
        let known = ["staging", "hook", "laptop"].map(|environment| {
            let given = with(app.clone(), json!({ "environment": environment }));
            let listed = result_of(scene, "deploy.listDeployments", &given);
            let items = listed["items"].as_array().unwrap().iter();
            let items = items.map(|own| json!([own["version"], own["status"], own["action"]]));
            items.collect::<Vec<_>>()
        });
        let lock = result_of(scene, "deploy.getLock", &app);
        let file = scene.project.path().join(format!("{place}.deployed"));
        json!({
            "known": known, "locked": [lock["locked"], lock["lock"]["reason"]],
            "asked": self.0.done(place), "ran": fs::read_to_string(file).ok(),
        })
    }

    fn changes(&self, place: &str) -> Vec<(String, String)> {
        self.0.changes(place)
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.0.faults)
    }
}
