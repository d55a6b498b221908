//! The github tools for releases and deployments.

use serde_json::json;

use super::github::{head, start};
use crate::harness::request;

const KEY: &str = "exec_1/step#0~0";

#[tokio::test]
async fn a_tag_has_one_release() {
    let (emulator, client) = start().await;
    let latest = || request("getLatestRelease", json!({}));
    assert_eq!(client.error(latest()).await["code"], "not_found");
    let given = json!({ "tag": "v1.0", "name": "One", "body": "First\u{200B}", "generate_release_notes": true });
    let first = client.ok(request("createRelease", given.clone())).await;
    let second = client.ok(request("createRelease", given)).await;
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!((&first["id"], &first["tag_name"]), (&second["id"], &json!("v1.0")));
    let state = emulator.state();
    assert_eq!(state.repositories["octo/hello"].refs["refs/tags/v1.0"], head(&emulator, "main"));
    let draft = || request("createRelease", json!({ "tag_name": "v2.0", "draft": true }));
    assert_eq!(client.ok(draft()).await["created"], true);
    assert_eq!(client.ok(draft()).await["created"], false);
    assert_eq!(emulator.state().count("release_created"), 2);
    let found = client.ok(latest()).await;
    assert_eq!((&found["tag_name"], &found["untrusted"]), (&json!("v1.0"), &json!(true)));
    assert!(found["body"].as_str().unwrap().starts_with("First**"), "{found}");
}

#[tokio::test]
async fn a_deployment_is_recorded_and_never_merges_by_itself() {
    let (emulator, client) = start().await;
    let given = json!({ "ref": "main", "environment": "staging", "payload": { "image": "a:1" } });
    let answer = client.ok(request("createDeployment", given.clone()).attempt(KEY, 1)).await;
    assert_eq!(
        (&answer["created"], &answer["sha"]),
        (&json!(true), &json!(head(&emulator, "main")))
    );
    let again = client.ok(request("createDeployment", given.clone()).attempt(KEY, 2)).await;
    assert_eq!((&again["created"], &again["id"]), (&json!(false), &answer["id"]));
    let other = request("createDeployment", given).attempt("exec_2/step#0~0", 2);
    assert_eq!(client.ok(other).await["created"], true);
    let state = emulator.state();
    let deployments = &state.repositories["octo/hello"].deployments;
    assert_eq!((deployments.len(), &deployments[0].payload["image"]), (2, &json!("a:1")));
    assert_eq!(deployments[0].payload["windlass_key"].as_str().map(str::len), Some(16));

    let checked = json!({ "ref": "main", "required_contexts": ["ci/build"] });
    let error = client.error(request("createDeployment", checked)).await;
    assert_eq!(
        (&error["code"], &error["provider"]["status"]),
        (&json!("failed_precondition"), &json!(409))
    );
    assert!(error["message"].as_str().unwrap().contains("ci/build"), "{error}");
    let merging = json!({ "ref": "main", "auto_merge": true });
    let error = client.error(request("createDeployment", merging)).await;
    assert_eq!(error["code"], "failed_precondition");
    assert!(error["hint"].as_str().unwrap().contains("auto_merge=false"), "{error}");
}

#[tokio::test]
async fn a_status_that_is_the_newest_already_is_not_set_again() {
    let (emulator, client) = start().await;
    let deployment = client.ok(request("createDeployment", json!({ "ref": "main" }))).await;
    let set = |state: &str| {
        let given =
            json!({ "deployment_id": deployment["id"], "state": state, "description": "d" });
        request("createDeploymentStatus", given)
    };
    let created: Vec<_> = [
        client.ok(set("in_progress")).await,
        client.ok(set("in_progress")).await,
        client.ok(set("success")).await,
        client.ok(set("in_progress")).await,
    ]
    .iter()
    .map(|answer| answer["created"].clone())
    .collect();
    assert_eq!(created, [true, false, true, true]);
    assert_eq!(emulator.state().count("deployment_status_created"), 3);
    let given = json!({ "deployment_id": 1, "state": "success" });
    assert_eq!(client.error(request("createDeploymentStatus", given)).await["code"], "not_found");
}
