//! Services of Amazon ECS, as a double of it runs them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use windlass_emulators::AwsEmulator;
use windlass_emulators::aws::Action;
use windlass_emulators::ecs::NewService;
use windlass_tools::contract::Forgetful;

use super::{connect, golden, hosted, step, with_host};
use crate::harness::{Client, request};

const FIRST: &str = "registry.example/web:v1";

struct Shop {
    aws: AwsEmulator,
    client: Client,
}

fn config(aws: &AwsEmulator) -> Value {
    json!({
        "ecs": { "region": "eu-central-1", "endpoint_url": aws.url() },
        "targets": { "web": { "environments": { "production": {
            "kind": "ecs", "cluster": "shop", "service": "web", "image": "registry.example/web:{{version}}",
            "production": true, "alarms": ["web-5xx"],
        } } } },
    })
}

async fn shop() -> Shop {
    let aws = AwsEmulator::start().await.unwrap();
    aws.add_service(NewService::new("shop", "web", FIRST));
    aws.change_service("shop", "web", |service| service.circuit_breaker(true));
    let client = connect(config(&aws), &hosted(&[])).await;
    Shop { aws, client }
}

fn web(version: &str) -> Value {
    json!({ "app": "web", "version": version })
}

fn service() -> Value {
    json!({ "cluster": "shop", "service": "web" })
}

fn service_and(more: Value) -> Value {
    let mut all = service();
    all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    all
}

impl Shop {
    /// Looks until a deployment is done, letting it roll on in between.
    async fn ended(&self, id: &Value) -> Value {
        self.aws.settle();
        let answer =
            self.client.ok(request("waitForDeployment", json!({ "deployment_id": id }))).await;
        assert_eq!(answer["done"], true, "{answer}");
        answer
    }

    async fn bring(&self, version: &str, number: u32) -> Value {
        let begun = self.client.ok(step("deploy", web(version), number, 1)).await;
        self.ended(&begun["deployment_id"]).await
    }

    fn revisions(&self) -> usize {
        self.aws.ecs().task_definitions.len()
    }

    fn deployments(&self) -> usize {
        self.aws.ecs().deployments.len()
    }

    fn runs(&self) -> String {
        let ecs = self.aws.ecs();
        ecs.services[&("shop".to_owned(), "web".to_owned())].task_definition.clone()
    }
}

#[tokio::test]
async fn a_version_becomes_a_revision_a_deployment_and_at_last_a_success() {
    let shop = shop().await;
    let plan = shop.client.ok(request("plan", web("v2"))).await;
    assert_eq!(
        plan["diff"],
        json!([{ "path": "containers/web/image", "from": FIRST, "to": "registry.example/web:v2" }])
    );
    let begun = shop.client.ok(step("deploy", web("v2"), 1, 1)).await;
    assert_eq!(
        (&begun["from"], &begun["to"], &begun["changed"]),
        (&json!("web:1"), &json!("web:2"), &json!(true))
    );
    let id = begun["deployment_id"].as_str().unwrap();
    assert!(id.contains(":service-deployment/shop/web/"), "{id}");
    let open = shop.client.ok(request("waitForDeployment", json!({ "deployment_id": id }))).await;
    assert_eq!(
        (&open["done"], &open["success"], &open["retry_after_ms"]),
        (&json!(false), &Value::Null, &json!(5000))
    );
    let ended = shop.ended(&begun["deployment_id"]).await;
    assert_eq!(
        (&ended["success"], &ended["status"], &ended["version"]),
        (&json!(true), &json!("succeeded"), &json!("v2"))
    );
    let again = shop.client.ok(step("deploy", web("v2"), 2, 1)).await;
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &json!("v2")));
    assert_eq!((shop.revisions(), shop.deployments()), (2, 2));

    let status = shop.client.ok(request("getServiceStatus", service())).await;
    assert_eq!((&status["health"], &status["version"]), (&json!("healthy"), &json!("v2")));
    assert_eq!(
        (&status["runningCount"], &status["previous_revision"]),
        (&json!(2), &json!("web:1"))
    );
    golden("getServiceStatus", &status);
    let list = shop.client.ok(request("listDeployments", service())).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&list["items"][0]["by"], &list["items"][1]["by"]),
        (&json!("exec_1"), &Value::Null)
    );
}

#[tokio::test]
async fn a_deployment_that_ecs_rolled_back_is_a_failure_with_its_reasons() {
    for (version, kind) in
        [("crash-1", "crash"), ("nopull-1", "image_pull"), ("unhealthy-1", "unhealthy")]
    {
        let shop = shop().await;
        let ended = shop.bring(version, 1).await;
        assert_eq!(
            (&ended["success"], &ended["status"]),
            (&json!(false), &json!("rolled_back")),
            "{ended}"
        );
        assert_eq!(ended["rolled_back_to"], "web:1");
        assert!(ended["reason"].as_str().unwrap().contains("circuit breaker"), "{ended}");
        let diagnosis = &ended["diagnosis"];
        assert_eq!(diagnosis["stopped_tasks"][0]["kind"], kind, "{diagnosis}");
        assert_eq!(diagnosis["log_group"], "/ecs/web");
        assert!(!diagnosis["events"].as_array().unwrap().is_empty());
        if kind == "crash" {
            golden("waitForDeployment", &ended);
        }
    }
}

#[tokio::test]
async fn a_canary_waits_for_a_person_and_goes_on_or_back() {
    for (action, success, status) in
        [("continue", true, "succeeded"), ("rollback", false, "rolled_back")]
    {
        let shop = shop().await;
        let strategy = json!({ "canary": { "percent": 10, "bake_minutes": 5 }, "pause_at": ["POST_TEST_TRAFFIC_SHIFT"], "pause_minutes": 60 });
        let mut deploy = web("v2");
        deploy["strategy"] = strategy;
        let begun = shop.client.ok(step("deploy", deploy, 1, 1)).await;
        shop.aws.settle();
        let id = &begun["deployment_id"];
        let wait = json!({ "deployment_id": id, "until": "awaiting_action" });
        let paused = shop.client.ok(request("waitForDeployment", wait)).await;
        assert_eq!(
            (&paused["done"], &paused["status"]),
            (&json!(true), &json!("awaiting_action")),
            "{paused}"
        );
        let open =
            shop.client.ok(request("waitForDeployment", json!({ "deployment_id": id }))).await;
        assert_eq!((&open["done"], &open["success"]), (&json!(false), &Value::Null));
        let answer = json!({ "deployment_id": id, "hook_id": paused["awaiting_action"]["hook_id"], "action": action });
        let answered = shop.client.ok(request("continueDeployment", answer.clone())).await;
        assert_eq!(answered["already"], false);
        let again = shop.client.ok(request("continueDeployment", answer.clone())).await;
        assert_eq!(again["already"], true, "{again}");
        let mut other = answer;
        other["action"] = json!(if success { "rollback" } else { "continue" });
        let error = shop.client.error(request("continueDeployment", other)).await;
        assert_eq!(error["provider"]["reason"], "answered_otherwise");
        let ended = shop.ended(id).await;
        assert_eq!(
            (&ended["success"], &ended["status"]),
            (&json!(success), &json!(status)),
            "{ended}"
        );
    }
}

#[tokio::test]
async fn a_rollback_goes_to_the_task_definition_before_or_takes_back_what_runs() {
    let shop = shop().await;
    shop.bring("v2", 1).await;
    let before = shop.revisions();
    let back = shop.client.ok(step("rollbackService", json!({ "app": "web" }), 2, 1)).await;
    assert_eq!(
        (&back["from"], &back["to"], &back["images"][0]["image"]),
        (&json!("web:2"), &json!("web:1"), &json!(FIRST))
    );
    golden("rollbackService", &back);
    assert_eq!(shop.revisions(), before, "an active revision is used as it is");
    assert_eq!(shop.ended(&back["deployment_id"]).await["success"], true);
    let given = service_and(json!({ "target_revision": 2 }));
    let forward = shop.client.ok(step("rollbackService", given, 3, 1)).await;
    assert_eq!(forward["to"], "web:2");
    shop.ended(&forward["deployment_id"]).await;

    let running = shop.client.ok(step("deploy", web("v3"), 4, 1)).await;
    let other = shop.client.error(step("deploy", web("v4"), 5, 1)).await;
    assert_eq!(other["provider"]["reason"], "deployment_in_progress");
    let back = shop.client.ok(step("rollbackService", json!({ "app": "web" }), 6, 1)).await;
    assert_ne!(back["deployment_id"], running["deployment_id"]);
    let ended = shop.ended(&back["deployment_id"]).await;
    assert_eq!(
        (&ended["success"], &ended["action"]),
        (&json!(true), &json!("rollback")),
        "{ended}"
    );
    let first = shop.ended(&running["deployment_id"]).await;
    assert_eq!((&first["success"], &first["status"]), (&json!(false), &json!("rolled_back")));
}

#[tokio::test]
async fn update_service_restarts_scales_and_points_to_images_and_task_definitions() {
    let shop = shop().await;
    let restart = shop.client.ok(step("updateService", service(), 1, 1)).await;
    assert_eq!(
        (&restart["action"], &restart["newTaskDefinition"]),
        (&json!("restart"), &restart["previousTaskDefinition"])
    );
    shop.ended(&restart["deployment_id"]).await;
    let image =
        service_and(json!({ "imageUri": "registry.example/web:v2", "containerName": "web" }));
    let updated = shop.client.ok(step("updateService", image, 2, 1)).await;
    assert!(updated["newTaskDefinition"].as_str().unwrap().ends_with("web:2"), "{updated}");
    golden("updateService", &updated);
    shop.ended(&updated["deployment_id"]).await;
    let old = service_and(json!({ "taskDefinition": "web:1", "desiredCount": 3 }));
    let back = shop.client.ok(step("updateService", old, 3, 1)).await;
    assert_eq!((&back["desiredCount"], &back["to"]), (&json!(3), &json!("web:1")));
    assert_eq!(shop.ended(&back["deployment_id"]).await["success"], true);
    let cases = [
        (json!({ "image": "a:1", "container": "nope" }), "invalid_argument", "web"),
        (json!({ "task_definition": "none:1" }), "not_found", "family:revision"),
        (json!({ "image": "a:1", "task_definition": "web:1" }), "invalid_argument", "one of them"),
    ];
    for (more, code, hint) in cases {
        let error = shop.client.error(step("updateService", service_and(more), 9, 1)).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
    }
    let error = shop
        .client
        .error(step("updateService", json!({ "cluster": "shop", "service": "nope" }), 10, 1))
        .await;
    assert_eq!(error["code"], "not_found");
}

#[tokio::test]
async fn services_of_the_old_style_are_judged_by_their_own_generation() {
    for (version, success) in [("v2", true), ("crash-1", false)] {
        let shop = shop().await;
        shop.aws.change_service("shop", "web", |service| service.old_style = true);
        let begun = shop.client.ok(step("deploy", web(version), 1, 1)).await;
        assert!(begun["deployment_id"].as_str().unwrap().starts_with("web/production/"));
        let ended = shop.ended(&begun["deployment_id"]).await;
        assert_eq!(ended["success"], success, "{ended}");
    }
}

#[tokio::test]
async fn a_deployment_that_shows_late_is_found_all_the_same() {
    let shop = shop().await;
    shop.aws.change_service("shop", "web", |service| service.hide_deployments = 4);
    let begun = shop.client.ok(step("deploy", web("v2"), 1, 1)).await;
    let ended = shop.ended(&begun["deployment_id"]).await;
    assert_eq!((&ended["success"], &ended["status"]), (&json!(true), &json!("succeeded")));
}

#[tokio::test]
async fn a_task_runs_like_the_service_and_says_how_it_ended() {
    let shop = shop().await;
    let migrate = service_and(json!({ "command": ["./migrate"], "env": { "STEP": "1" } }));
    let run = shop.client.ok(step("runTask", migrate, 1, 1)).await;
    golden("runTask", &run);
    let arn = json!({ "task_arn": run["task_arn"] });
    let open = shop.client.ok(request("waitForTask", arn.clone())).await;
    assert_eq!((&open["done"], &open["success"]), (&json!(false), &Value::Null));
    shop.aws.settle();
    let ended = shop.client.ok(request("waitForTask", arn.clone())).await;
    assert_eq!((&ended["done"], &ended["success"]), (&json!(true), &json!(true)), "{ended}");
    assert_eq!(ended["log"]["group"], "/ecs/web");
    golden("waitForTask", &ended);
    golden("getTask", &shop.client.ok(request("getTask", arn.clone())).await);
    let ecs = shop.aws.ecs();
    let overridden = &ecs.tasks.last().unwrap().overrides["containerOverrides"][0];
    assert_eq!(
        (&overridden["command"], &overridden["environment"][0]["name"]),
        (&json!(["./migrate"]), &json!("STEP"))
    );
    let unchanged = shop.client.ok(request("stopTask", arn)).await;
    assert_eq!(unchanged["changed"], false);
    let second = shop.client.ok(step("runTask", service(), 2, 1)).await;
    let stopped =
        shop.client.ok(request("stopTask", json!({ "task_arn": second["task_arn"] }))).await;
    assert_eq!((&stopped["changed"], &stopped["status"]), (&json!(true), &json!("STOPPED")));
    golden("stopTask", &stopped);
}

#[tokio::test]
async fn whatever_answer_is_lost_the_work_is_done_once() {
    let operations = [
        (
            "deploy",
            web("v2"),
            vec!["RegisterTaskDefinition", "UpdateService", "ListServiceDeployments"],
            (2, 2, 0),
        ),
        (
            "updateService",
            service_and(json!({ "image": "registry.example/web:v2" })),
            vec!["RegisterTaskDefinition", "UpdateService"],
            (2, 2, 0),
        ),
        ("updateService", service(), vec!["UpdateService"], (1, 2, 0)),
        ("restartService", service(), vec!["UpdateService"], (1, 2, 0)),
        ("runTask", service(), vec!["RunTask"], (1, 1, 1)),
    ];
    for (tool, arguments, lost, (revisions, deployments, tasks)) in operations {
        for operation in lost {
            for action in
                [Action::DropAfterWork, Action::BadGatewayAfterWork, Action::DropBeforeWork]
            {
                let aws = AwsEmulator::start().await.unwrap();
                aws.add_service(NewService::new("shop", "web", FIRST));
                let host = Arc::new(Forgetful::default());
                let first = connect(config(&aws), &with_host(host.clone(), &[])).await;
                aws.faults().add(action.on("POST", operation));
                let error = first.error(step(tool, arguments.clone(), 1, 1)).await;
                assert_eq!(error["retryable"], true, "{tool} {operation}: {error}");
                let sent = aws.count(&format!("ecs:{operation}"));
                // One that only reads may be asked again by the client of AWS itself.
                let reads = operation.starts_with("List");
                assert!(sent == 1 || reads, "{operation} was sent {sent} times");
                // Another process takes over.
                let second = connect(config(&aws), &with_host(host, &[])).await;
                second.ok(step(tool, arguments.clone(), 1, 2)).await;
                let ecs = aws.ecs();
                let one_off = ecs.tasks.iter().filter(|task| !task.is_of_service()).count();
                assert_eq!(
                    (ecs.task_definitions.len(), ecs.deployments.len(), one_off),
                    (revisions, deployments, tasks),
                    "{tool}, {operation}, {action:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_rollback_whose_answer_is_lost_goes_back_once() {
    for operation in ["UpdateService", "StopServiceDeployment"] {
        let shop = shop().await;
        shop.bring("v2", 1).await;
        shop.bring("v3", 2).await;
        if operation == "StopServiceDeployment" {
            shop.client.ok(step("deploy", web("v4"), 3, 1)).await;
        }
        let before = shop.deployments();
        shop.aws.faults().add(Action::DropAfterWork.on("POST", operation));
        let error = shop.client.error(step("rollbackService", json!({ "app": "web" }), 4, 1)).await;
        assert_eq!(error["retryable"], true);
        let back = shop.client.ok(step("rollbackService", json!({ "app": "web" }), 4, 2)).await;
        assert_eq!(shop.ended(&back["deployment_id"]).await["success"], true);
        let expected = if operation == "UpdateService" { "web:2" } else { "web:3" };
        assert!(shop.runs().ends_with(expected), "{operation}: {}", shop.runs());
        assert_eq!(shop.deployments() - before, usize::from(operation == "UpdateService"));
    }
}

#[tokio::test]
async fn what_ecs_refuses_is_said_in_words_that_help() {
    let shop = shop().await;
    let cases = [
        (Action::Forbidden, "permission_denied", false),
        (Action::TooManyRequests { retry_after_s: 1 }, "rate_limited", true),
        (Action::BadGatewayBeforeWork, "unavailable", true),
    ];
    for (action, code, retryable) in cases {
        shop.aws.faults().add(action.on("POST", "DescribeServices"));
        let error = shop.client.error(request("getServiceStatus", service())).await;
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!(code), &json!(retryable)),
            "{error}"
        );
    }
    shop.aws.change_service("shop", "web", |service| {
        service.fields.insert("deploymentController".to_owned(), json!({ "type": "CODE_DEPLOY" }));
    });
    let error = shop.client.error(step("deploy", web("v2"), 1, 1)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["reason"]),
        (&json!("failed_precondition"), &json!("unsupported"))
    );
    shop.aws.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn a_service_of_another_region_is_not_the_configured_one() {
    let aws = AwsEmulator::start().await.unwrap();
    aws.add_service(NewService::new("shop", "web", FIRST));
    let mut config = config(&aws);
    config["ecs"].as_object_mut().unwrap().remove("region");
    let client = connect(config, &hosted(&[("AWS_REGION", "eu-central-1")])).await;
    for (region, app) in [("eu-central-1", json!("web")), ("us-east-1", Value::Null)] {
        let asked = service_and(json!({ "region": region }));
        let status = client.ok(request("getServiceStatus", asked)).await;
        assert_eq!(status["app"], app, "{region}");
    }
}
