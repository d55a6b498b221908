//! The tools of the deploy server that change something on ECS.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::{
    AwsEmulator,
    aws::{Faults, REGION},
    ecs::NewService,
};

use super::{Case, Change, World, changes_of, check, with};
use crate::{durability::Scene, harness::Project};

const CLUSTER: &str = "shop";
const CHANGES: [&str; 6] = [
    "ContinueServiceDeployment",
    "RegisterTaskDefinition",
    "RunTask",
    "StopServiceDeployment",
    "StopTask",
    "UpdateService",
];

#[test]
fn tools_of_ecs_do_their_work_once_wherever_they_are_killed() {
    let runtime = Runtime::new().unwrap();
    let emulator = runtime.block_on(AwsEmulator::start()).unwrap();
    let project = Project::new()
        .with_env("AWS_ACCESS_KEY_ID", "key")
        .with_env("AWS_SECRET_ACCESS_KEY", "secret");
    let file = project.data_dir().join("windlass.db");
    let scene = Scene::at(project, format!("sqlite:{}", file.display()));
    check(&scene, &runtime, &emulator, &cases());
}

pub(super) fn cases() -> Vec<Case> {
    let service =
        |more: Value| with(json!({ "cluster": CLUSTER, "service": "${input.place}" }), more);
    let app = |more: Value| with(json!({ "app": "${input.place}" }), more);
    let deployment = "${input.deployment_id}";
    let canary = json!({ "canary": { "percent": 10, "bake_minutes": 5 }, "pause_at": ["POST_TEST_TRAFFIC_SHIFT"] });
    vec![
        ("deploy.deploy", app(json!({ "version": "v3" }))),
        ("deploy.deploy", app(json!({ "version": "v3", "strategy": canary }))),
        ("deploy.updateService", service(json!({ "imageUri": "registry.example/web:v3" }))),
        ("deploy.updateService", service(json!({ "desiredCount": 3 }))),
        ("deploy.updateService", service(json!({ "taskDefinition": "${input.place}:1" }))),
        ("deploy.restartService", service(json!({}))),
        ("deploy.rollbackService", service(json!({}))),
        // A deployment of it is under way.
        ("deploy.rollbackService", app(json!({}))),
        (
            "deploy.continueDeployment",
            json!({ "deployment_id": deployment, "hook_id": "${input.hook_id}", "action": "continue" }),
        ),
        ("deploy.stopDeployment", json!({ "deployment_id": deployment })),
        ("deploy.runTask", service(json!({ "command": ["migrate"] }))),
        ("deploy.stopTask", json!({ "task_arn": "${input.task_arn}" })),
    ]
}

fn settings(url: &str, place: &str) -> String {
    format!(
        r#"[deploy.ecs]
region = {REGION:?}
endpoint_url = {url:?}
[deploy.targets.{place}.environments.production]
kind = "ecs"
cluster = {CLUSTER:?}
service = {place:?}
image = "registry.example/web:{{{{version}}}}"
"#
    )
}

/// A canary that has come to its first pause.
fn begin_canary(aws: &AwsEmulator, place: &str) -> Value {
    let pause =
        json!({ "targetType": "PAUSE", "lifecycleStages": ["PRE_PRODUCTION_TRAFFIC_SHIFT"] });
    let update = json!({
        "cluster": CLUSTER, "service": place, "forceNewDeployment": true,
        "deploymentConfiguration": {
            "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 10.0 },
            "lifecycleHooks": [pause],
        },
    });
    let updated = aws.ask("ecs:UpdateService", &update).unwrap();
    aws.settle();
    updated["service"]["currentServiceDeployment"].clone()
}

/// A one-off task that runs.
fn begin_task(aws: &AwsEmulator, place: &str) -> Value {
    let run = json!({ "cluster": CLUSTER, "taskDefinition": place, "startedBy": place });
    aws.ask("ecs:RunTask", &run).unwrap()["tasks"][0]["taskArn"].clone()
}

impl World for AwsEmulator {
    fn prepare(&self, scene: &Scene, (tool, params): &Case, place: &str) -> Value {
        scene.project.write("windlass.toml", &settings(&self.url(), place));
        self.add_service(NewService::new(CLUSTER, place, "registry.example/web:v1"));
        let container =
            json!([{ "name": place, "image": "registry.example/web:v2", "essential": true }]);
        let second = json!({ "family": place, "containerDefinitions": container });
        let second = self.register_task_definition(&second);
        let update = json!({ "cluster": CLUSTER, "service": place, "taskDefinition": second });
        self.ask("ecs:UpdateService", &update).unwrap();
        self.settle();
        let paused = ["deploy.continueDeployment", "deploy.stopDeployment"].contains(tool);
        let deployment = if paused { begin_canary(self, place) } else { Value::Null };
        let task = if *tool == "deploy.stopTask" { begin_task(self, place) } else { Value::Null };
        if *tool == "deploy.rollbackService" && params.get("app").is_some() {
            let update =
                json!({ "cluster": CLUSTER, "service": place, "forceNewDeployment": true });
            self.ask("ecs:UpdateService", &update).unwrap();
        }
        let ecs = self.ecs();
        let hook = ecs.deployments.last().and_then(|one| one.awaits());
        json!({ "place": place, "deployment_id": deployment, "hook_id": hook, "task_arn": task })
    }

    fn changes(&self, place: &str) -> Vec<Change> {
        // A call names its service or something of it; the only one without does so by the ARN of a task.
        let ecs = self.ecs();
        let family = format!("/{place}:");
        let tasks = ecs.tasks.iter().filter(|task| task.task_definition.contains(&family));
        let tasks: Vec<_> = tasks.map(|task| task.arn.clone()).collect();
        let requests = self.requests();
        let own = requests.iter().filter(|request| {
            let input = request.input.to_string();
            input.contains(place) || tasks.iter().any(|arn| input.contains(arn))
        });
        let operations = own.map(|request| request.operation.clone());
        let changing = operations.filter(|one| CHANGES.iter().any(|change| one.ends_with(change)));
        changes_of(changing.map(|operation| ("POST".to_owned(), operation, true)))
    }

    fn picture(&self, _scene: &Scene, place: &str) -> Value {
        let ecs = self.ecs();
        let key = (CLUSTER.to_owned(), place.to_owned());
        let own = ecs.deployments.iter().filter(|one| one.service == key);
        let deployments: Vec<_> =
            own.map(|one| json!([one.status.name(), one.awaits().is_some()])).collect();
        let definitions = ecs.task_definitions.iter().filter(|one| one.family == place);
        let own = ecs.tasks.iter().filter(|one| {
            !one.is_of_service() && one.task_definition.contains(&format!("/{place}:"))
        });
        let tasks: Vec<_> = own.map(|one| json!([one.last_status, one.stop_code])).collect();
        let service = &ecs.services[&key];
        json!({
            "deployments": deployments,
            "definitions": definitions.count(),
            "tasks": tasks,
            "current": service.task_definition.rsplit(':').next(),
            "desired": service.desired_count,
        })
    }

    fn faults(&self) -> Option<&Faults> {
        Some(self.faults())
    }
}
