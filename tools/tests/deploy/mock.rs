//! The common tools, on environments that only exist in memory.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_tools::contract::{Forgetful, Surroundings};

use super::{connect, golden, hosted, shop, step, wait, with_host};
use crate::harness::{Client, request};

async fn start() -> Client {
    connect(shop(), &hosted(&[])).await
}

async fn bring(client: &Client, version: &str, number: u32) -> Value {
    let begun =
        client.ok(step("deploy", json!({ "app": "shop", "version": version }), number, 1)).await;
    wait(client, json!({ "deployment_id": begun["deployment_id"] })).await
}

#[tokio::test]
async fn every_tool_is_listed_with_its_schemas_and_class() {
    let client = start().await;
    let expected = [
        ("continueDeployment", "idempotent"),
        ("deploy", "keyed"),
        ("getDeployment", "read"),
        ("getLock", "read"),
        ("getServiceStatus", "read"),
        ("listDeployments", "read"),
        ("listTargets", "read"),
        ("lock", "idempotent"),
        ("plan", "read"),
        ("restartService", "keyed"),
        ("rollbackService", "keyed"),
        ("stopDeployment", "idempotent"),
        ("unlock", "idempotent"),
        ("updateService", "keyed"),
        ("waitForDeployment", "read"),
    ];
    for (name, class) in expected {
        let tool = client.tool(name);
        assert_eq!(tool.meta.as_ref().unwrap()["dev.windlass/retry_class"], class, "{name}");
        for schema in [&tool.input_schema, tool.output_schema.as_ref().unwrap()] {
            jsonschema::meta::validate(&Value::Object((**schema).clone())).unwrap();
        }
    }
    let destructive = |client: &Client| {
        client.tool("deploy").annotations.as_ref().unwrap().destructive_hint.unwrap()
    };
    assert!(destructive(&client), "production can be deployed to");
    let harmless = json!({ "targets": { "a": { "environments": { "b": { "kind": "mock" } } } } });
    assert!(!destructive(&connect(harmless, &hosted(&[])).await));
}

#[tokio::test]
async fn a_version_is_deployed_waited_for_and_remembered() {
    let client = start().await;
    let begun = client
        .ok(step("deploy", json!({ "app": "shop", "version": "1.0", "reason": "first" }), 1, 1))
        .await;
    assert_eq!(
        (&begun["status"], &begun["changed"], &begun["created"], &begun["image"]),
        (&json!("pending"), &json!(true), &json!(true), &json!("registry.example/shop:1.0"))
    );
    golden("deploy", &begun);
    let id = begun["deployment_id"].clone();
    let first = client.ok(request("waitForDeployment", json!({ "deployment_id": id }))).await;
    assert_eq!((&first["done"], &first["progress"]["percent"]), (&json!(false), &json!(50)));
    let ended = wait(&client, json!({ "deployment_id": id })).await;
    assert_eq!((&ended["success"], &ended["status"]), (&json!(true), &json!("succeeded")));
    let found = client.ok(request("getDeployment", json!({ "deployment_id": id }))).await;
    assert_eq!((&found["version"], &found["by"]), (&json!("1.0"), &json!("exec_1")));
    golden("getDeployment", &found);

    let targets = client.ok(request("listTargets", json!({ "app": "shop" }))).await;
    golden("listTargets", &targets);
    let staging = targets["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["environment"] == "staging")
        .unwrap();
    assert_eq!((&staging["version"], &staging["default"]), (&json!("1.0"), &json!(true)));
    assert_eq!(staging["deployed_by"], "exec_1");
    let production = targets["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["environment"] == "production")
        .unwrap();
    assert_eq!(
        (&production["require_approval"], &production["version"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(production["health_urls"], json!(["https://shop.example/health"]));

    let status = client.ok(request("getServiceStatus", json!({ "app": "shop" }))).await;
    assert_eq!((&status["health"], &status["version"]), (&json!("healthy"), &json!("1.0")));
    let list = client
        .ok(request("listDeployments", json!({ "app": "shop", "status": "succeeded" })))
        .await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    golden("listDeployments", &list);
    let none = json!({ "app": "shop", "since": "2999-01-01T00:00:00Z" });
    assert_eq!(client.ok(request("listDeployments", none)).await["items"], json!([]));
}

#[tokio::test]
async fn what_runs_already_is_not_deployed_again() {
    let client = start().await;
    bring(&client, "1.0", 1).await;
    let again = client.ok(step("deploy", json!({ "app": "shop", "version": "1.0" }), 2, 1)).await;
    assert_eq!((&again["changed"], &again["status"]), (&json!(false), &json!("succeeded")));
    let list = client.ok(request("listDeployments", json!({ "app": "shop" }))).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let forced = json!({ "app": "shop", "version": "1.0", "force": true });
    assert_eq!(client.ok(step("deploy", forced, 3, 1)).await["changed"], true);
}

#[tokio::test]
async fn a_version_that_fails_is_rolled_back_and_no_success() {
    let client = start().await;
    bring(&client, "1.0", 1).await;
    let ended = bring(&client, "bad", 2).await;
    assert_eq!((&ended["success"], &ended["status"]), (&json!(false), &json!("rolled_back")));
    assert_eq!((&ended["rolled_back_to"], &ended["from"]), (&json!("1.0"), &json!("1.0")));
    assert_eq!(ended["diagnosis"]["stopped_tasks"][0]["exit_code"], 1);
    let targets = client.ok(request("listTargets", json!({}))).await;
    let staging = targets["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["environment"] == "staging")
        .unwrap();
    assert_eq!((&staging["version"], &staging["status"]), (&json!("1.0"), &json!("rolled_back")));
}

#[tokio::test]
async fn a_deployment_waits_for_a_word_and_goes_on_or_back() {
    let client = start().await;
    bring(&client, "1.0", 1).await;
    for (number, action, status, success) in
        [(2, "rollback", "rolled_back", false), (3, "continue", "succeeded", true)]
    {
        let begun = client
            .ok(step("deploy", json!({ "app": "shop", "version": "canary" }), number, 1))
            .await;
        let id = begun["deployment_id"].clone();
        let paused =
            wait(&client, json!({ "deployment_id": id, "until": "awaiting_action" })).await;
        assert_eq!(
            (&paused["status"], &paused["success"]),
            (&json!("awaiting_action"), &Value::Null)
        );
        let hook = paused["awaiting_action"]["hook_id"].clone();
        let open = client.ok(request("waitForDeployment", json!({ "deployment_id": id }))).await;
        assert_eq!(open["done"], false, "who waits for the end waits on");
        let answer = json!({ "deployment_id": id, "hook_id": hook, "action": action });
        let answered = client.ok(request("continueDeployment", answer.clone())).await;
        assert_eq!(answered["already"], false);
        assert_eq!(client.ok(request("continueDeployment", answer)).await["already"], true);
        let ended = wait(&client, json!({ "deployment_id": id })).await;
        assert_eq!((&ended["status"], &ended["success"]), (&json!(status), &json!(success)));
        if success {
            golden("continueDeployment", &answered);
        }
    }
}

#[tokio::test]
async fn a_rollback_returns_to_what_ran_before_or_takes_back_what_is_under_way() {
    let client = start().await;
    let error = client.error(step("rollbackService", json!({ "app": "shop" }), 9, 1)).await;
    assert_eq!(error["code"], "failed_precondition");
    bring(&client, "1.0", 1).await;
    bring(&client, "2.0", 2).await;
    let back = client
        .ok(step("rollbackService", json!({ "app": "shop", "reason": "it hurts" }), 3, 1))
        .await;
    assert_eq!(
        (&back["from"], &back["to"], &back["action"]),
        (&json!("2.0"), &json!("1.0"), &json!("rollback"))
    );
    let again = client
        .ok(step("rollbackService", json!({ "app": "shop", "reason": "it hurts" }), 3, 2))
        .await;
    assert_eq!(
        (&again["deployment_id"], &again["created"]),
        (&back["deployment_id"], &json!(false))
    );
    wait(&client, json!({ "deployment_id": back["deployment_id"] })).await;

    let running = client.ok(step("deploy", json!({ "app": "shop", "version": "3.0" }), 4, 1)).await;
    let back = client.ok(step("rollbackService", json!({ "app": "shop" }), 5, 1)).await;
    assert_ne!(back["deployment_id"], running["deployment_id"]);
    let again = client.ok(step("rollbackService", json!({ "app": "shop" }), 5, 2)).await;
    assert_eq!(
        (&again["deployment_id"], &again["created"]),
        (&back["deployment_id"], &json!(false))
    );
    let ended = wait(&client, json!({ "deployment_id": back["deployment_id"] })).await;
    assert_eq!((&ended["success"], &ended["version"]), (&json!(true), &json!("1.0")));
    let first = wait(&client, json!({ "deployment_id": running["deployment_id"] })).await;
    assert_eq!((&first["success"], &first["status"]), (&json!(false), &json!("rolled_back")));
    let given = json!({ "app": "shop", "target_revision": "2.0" });
    let back = client.ok(step("rollbackService", given, 6, 1)).await;
    assert_eq!(back["to"], "2.0");
    let stop = json!({ "deployment_id": back["deployment_id"], "stop_type": "abort" });
    let stopped = client.ok(request("stopDeployment", stop.clone())).await;
    assert_eq!((&stopped["status"], &stopped["changed"]), (&json!("stopped"), &json!(true)));
    golden("stopDeployment", &stopped);
    assert_eq!(client.ok(request("stopDeployment", stop)).await["changed"], false);
}

#[tokio::test]
async fn a_rollback_of_what_has_just_ended_goes_back_by_one_version() {
    let client = start().await;
    let production = |more: Value| {
        let mut arguments = json!({ "app": "shop", "environment": "production" });
        arguments.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        arguments
    };
    for (number, version) in [(1, "1.0"), (2, "2.0"), (3, "3.0")] {
        // Nobody waits for any of them: one look at its only step finds that it has ended.
        client.ok(step("deploy", production(json!({ "version": version })), number, 1)).await;
    }
    let back = client.ok(step("rollbackService", production(json!({})), 4, 1)).await;
    assert_eq!((&back["from"], &back["to"]), (&json!("3.0"), &json!("2.0")));
}

#[tokio::test]
async fn a_second_deployment_does_not_overtake_the_first_unless_told_to() {
    let client = start().await;
    bring(&client, "0.9", 1).await;
    let first = client.ok(step("deploy", json!({ "app": "shop", "version": "1.0" }), 2, 1)).await;
    let paused = json!({ "app": "shop", "version": "canary" });
    let error = client.error(step("deploy", paused.clone(), 3, 1)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["reason"]),
        (&json!("conflict"), &json!("deployment_in_progress"))
    );
    let id = first["deployment_id"].as_str().unwrap();
    assert!(error["message"].as_str().unwrap().contains(id), "{error}");
    let mut over = paused;
    over["supersede"] = json!(true);
    assert_eq!(client.ok(step("deploy", over, 3, 1)).await["changed"], true);
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_what_stands_in_the_way() {
    let client = start().await;
    bring(&client, "1.0", 1).await;
    let arguments = json!({ "app": "shop", "environment": "production", "version": "2.0" });
    let lock =
        json!({ "app": "shop", "environment": "production", "owner": "ada", "reason": "fair" });
    client.ok(request("lock", lock)).await;
    let plan = client.ok(request("plan", arguments.clone())).await;
    assert_eq!((&plan["require_approval"], &plan["production"]), (&json!(true), &json!(true)));
    assert_eq!(plan["diff"], json!([{ "path": "version", "from": null, "to": "2.0" }]));
    assert_eq!(plan["locks"][0]["owner"], "ada");
    golden("plan", &plan);
    let same = client.ok(request("plan", json!({ "app": "shop", "version": "1.0" }))).await;
    assert_eq!((&same["changed"], &same["diff"]), (&json!(false), &json!([])));
    let mut dry = arguments;
    dry["dry_run"] = json!(true);
    let dry = client.ok(request("deploy", dry)).await;
    assert_eq!(
        (&dry["dry_run"], &dry["plan"]),
        (&json!(true), &json!(["version: null -> \"2.0\""]))
    );
    let list = json!({ "app": "shop", "environment": "production" });
    assert_eq!(client.ok(request("listDeployments", list)).await["items"], json!([]));
}

#[tokio::test]
async fn a_lock_keeps_others_out_and_names_who_holds_it() {
    let client = start().await;
    let wanted =
        json!({ "app": "shop", "owner": "ada", "reason": "the fair is on", "ttl_minutes": 60 });
    let lock = client.ok(request("lock", wanted.clone())).await;
    assert_eq!(
        (&lock["changed"], &lock["lock"]["name"]),
        (&json!(true), &json!("deploy/shop/staging"))
    );
    golden("lock", &lock);
    assert_eq!(client.ok(request("lock", wanted)).await["changed"], false);
    let error = client.error(request("lock", json!({ "app": "shop", "owner": "bo" }))).await;
    assert_eq!(error["provider"]["reason"], "locked");
    for tool in ["deploy", "rollbackService"] {
        let mut arguments = json!({ "app": "shop" });
        if tool == "deploy" {
            arguments["version"] = json!("1.0");
        } else {
            arguments["target_revision"] = json!("1.0");
        }
        let error = client.error(step(tool, arguments, 1, 1)).await;
        assert_eq!(
            (&error["code"], &error["provider"]["reason"]),
            (&json!("guardrail"), &json!("locked"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("ada") && message.contains("the fair is on"), "{message}");
    }
    let by = json!({ "app": "shop", "version": "1.0", "by": "ada" });
    assert_eq!(client.ok(step("deploy", by, 2, 1)).await["changed"], true);
    let found = client.ok(request("getLock", json!({ "app": "shop" }))).await;
    assert_eq!((&found["locked"], &found["lock"]["owner"]), (&json!(true), &json!("ada")));
    golden("getLock", &found);
    assert!(client.call(request("unlock", json!({ "app": "shop", "owner": "bo" }))).await.is_err());
    let freed =
        client.ok(request("unlock", json!({ "app": "shop", "owner": "bo", "force": true }))).await;
    assert_eq!((&freed["changed"], &freed["lock"]["owner"]), (&json!(true), &json!("ada")));
    golden("unlock", &freed);
    assert_eq!(
        client.ok(request("unlock", json!({ "app": "shop", "owner": "bo" }))).await["changed"],
        false
    );
}

#[tokio::test]
async fn the_lock_on_everything_binds_all_but_the_execution_that_holds_it() {
    let client = start().await;
    client.ok(step("lock", json!({ "global": true, "reason": "freeze" }), 1, 1)).await;
    let deploy = json!({ "app": "shop", "version": "1.0" });
    let other = request("deploy", deploy.clone()).attempt("exec_2/a#0~0", 1);
    let error = client.error(other).await;
    assert!(
        error["message"].as_str().unwrap().contains("every environment is locked by exec_1"),
        "{error}"
    );
    assert_eq!(client.ok(step("deploy", deploy, 2, 1)).await["changed"], true);
    let error =
        client.error(request("lock", json!({ "app": "shop", "global": true, "owner": "a" }))).await;
    assert_eq!(error["code"], "invalid_argument");
}

#[tokio::test]
async fn the_same_key_is_one_deployment_also_in_another_process() {
    let host = Arc::new(Forgetful::default());
    let first = connect(shop(), &with_host(host.clone(), &[])).await;
    let second = connect(shop(), &with_host(host, &[])).await;
    let deploy = json!({ "app": "shop", "version": "1.0" });
    let begun = first.ok(step("deploy", deploy.clone(), 1, 1)).await;
    let again = second.ok(step("deploy", deploy, 1, 2)).await;
    assert_eq!(
        (&again["deployment_id"], &again["created"]),
        (&begun["deployment_id"], &json!(false))
    );
    let ended = wait(&second, json!({ "app": "shop" })).await;
    assert_eq!(ended["deployment_id"], begun["deployment_id"]);
    let list = first.ok(request("listDeployments", json!({ "app": "shop" }))).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let restart = step("restartService", json!({ "app": "shop" }), 2, 1);
    let restarted = first.ok(restart).await;
    assert_eq!((&restarted["action"], &restarted["version"]), (&json!("restart"), &json!("1.0")));
    golden("restartService", &restarted);
}

#[tokio::test]
async fn what_cannot_be_meant_is_answered_with_what_can() {
    let client = start().await;
    let cases = [
        ("deploy", json!({ "app": "shpo", "version": "1" }), "not_found", "shop"),
        (
            "deploy",
            json!({ "app": "shop", "environment": "prod", "version": "1" }),
            "not_found",
            "production, staging",
        ),
        ("deploy", json!({ "app": "shop" }), "invalid_argument", "version or image"),
        (
            "deploy",
            json!({ "app": "shop", "version": "1", "image": "a:1" }),
            "invalid_argument",
            "one of them",
        ),
        (
            "deploy",
            json!({ "app": "shop", "version": "--force" }),
            "invalid_argument",
            "letter or digit",
        ),
        ("waitForDeployment", json!({}), "invalid_argument", "deployment_id"),
        ("waitForDeployment", json!({ "app": "shop" }), "not_found", ""),
        (
            "getDeployment",
            json!({ "deployment_id": "shop/staging/nope" }),
            "not_found",
            "listDeployments",
        ),
        ("getDeployment", json!({ "deployment_id": "nope" }), "invalid_argument", "deployment_id"),
        ("updateService", json!({ "app": "shop", "image": "a:1" }), "failed_precondition", "ecs"),
        ("restartService", json!({ "app": "shop" }), "failed_precondition", "deploy a version"),
        ("lock", json!({ "app": "shop" }), "invalid_argument", "owner"),
        ("listTargets", json!({ "app": "x" }), "not_found", "shop"),
        ("getServiceStatus", json!({ "cluster": "a" }), "invalid_argument", "cluster and service"),
    ];
    for (tool, arguments, code, hint) in cases {
        let error = client.error(request(tool, arguments.clone())).await;
        assert_eq!(error["code"], code, "{tool} {arguments}: {error}");
        let told = error["hint"].as_str().unwrap_or_default();
        assert!(told.contains(hint), "{tool} {arguments}: {error}");
    }
}

#[tokio::test]
async fn alone_it_deploys_but_keeps_no_locks() {
    let client = connect(shop(), &Surroundings::default()).await;
    bring(&client, "1.0", 1).await;
    if client.tools.iter().any(|tool| tool.name == "lock") {
        let error = client.error(request("lock", json!({ "app": "shop", "owner": "a" }))).await;
        assert_eq!(error["code"], "failed_precondition");
    }
}
