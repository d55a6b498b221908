//! Documents are made once, and so is what is attached to them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use windlass_tools::contract::{Forgetful, Host, NewArtifact, Surroundings};
use windlass_tools::{DocumentsConfig, documents};

use crate::harness::{Client, but_created, golden, request};

async fn connected() -> (Client, Arc<Forgetful>) {
    let host = Arc::new(Forgetful::default());
    let around = Surroundings { host: Some(host.clone()), ..Surroundings::default() };
    (Client::connect(documents(DocumentsConfig::default(), &around)).await, host)
}

async fn image(host: &Forgetful, name: &str) -> String {
    let file = NewArtifact {
        key: name.to_owned(),
        execution_id: Some("exe_1".to_owned()),
        step: Some("draw".to_owned()),
        name: format!("{name}.png"),
        mime: "image/png".to_owned(),
        bytes: name.into(),
    };
    host.keep(file).await.unwrap().artifact_id
}

#[tokio::test]
async fn a_document_goes_from_creation_to_its_attachments() {
    let (client, host) = connected().await;
    let (hero, side) = (image(&host, "hero").await, image(&host, "side").await);
    let given = json!({ "title": "Trail shoes", "text": "Shoes that stay on the trail." });
    let created = client.ok(request("create", given).attempt("exe_1/write#0", 1)).await;
    golden("documents", "create", &created);
    let id = created["document_id"].as_str().unwrap();
    assert_eq!(created["document"]["created_by_execution"], "exe_1");
    assert_eq!(created["document"]["created_by_step"], "write");

    let attach = json!({ "document_ref": id, "image_ref": hero, "is_primary": true });
    let attached = client.ok(request("attach", attach).attempt("exe_1/attach#0", 1)).await;
    golden("documents", "attach", &attached);
    let attachment = &attached["attachment"];
    assert_eq!(
        (&attachment["primary"], &attachment["created_by_step"]),
        (&json!(true), &json!("attach"))
    );
    let pair = |file: &str| json!({ "document_id": id, "artifact_id": file });
    client.ok(request("attach", pair(&side))).await;

    let primary = client.ok(request("setPrimary", pair(&side))).await;
    golden("documents", "setPrimary", &primary);
    let shown = |answer: &Value| -> Vec<bool> {
        let attachments = answer["document"]["attachments"].as_array().unwrap();
        attachments.iter().map(|own| own["primary"].as_bool().unwrap()).collect()
    };
    assert_eq!(shown(&primary), [false, true]);
    assert_eq!(client.ok(request("setPrimary", pair(&side))).await["changed"], false);

    let got = client.ok(request("get", json!({ "document_id": id }))).await;
    golden("documents", "get", &got);
    assert_eq!(got["text"], "Shoes that stay on the trail.");
    let detached = client.ok(request("detach", pair(&hero))).await;
    golden("documents", "detach", &detached);
    assert_eq!((shown(&detached), &detached["changed"]), (vec![true], &json!(true)));
    assert_eq!(client.ok(request("detach", pair(&hero))).await["changed"], false);
    assert!(host.artifact(&hero).await.unwrap().is_some(), "the artifact itself stays");

    let listed =
        client.ok(request("list", json!({ "execution_id": "exe_1", "title": "shoes" }))).await;
    golden("documents", "list", &listed);
    assert_eq!((&listed["total"], &listed["next_page"]), (&json!(1), &Value::Null));
    let none = client.ok(request("list", json!({ "execution_id": "exe_2" }))).await;
    assert_eq!(none["total"], 0);
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_finds_what_it_did() {
    let (client, host) = connected().await;
    let hero = image(&host, "hero").await;
    let given =
        json!({ "title": "A", "base64": STANDARD.encode([0, 159, 146, 150]), "mime": "image/x" });
    let create = |attempt| request("create", given.clone()).attempt("exe_1/a#0", attempt);
    let (first, again) = (client.ok(create(1)).await, client.ok(create(2)).await);
    assert_eq!((&first["created"], &again["created"]), (&json!(true), &json!(false)));
    let unmarked = |mut answer: Value| {
        answer["changed"] = json!(null);
        but_created(answer)
    };
    assert_eq!(unmarked(again), unmarked(first.clone()));
    let attach = json!({ "document_id": first["document_id"], "artifact_id": hero });
    let attach = |attempt| request("attach", attach.clone()).attempt("exe_1/b#0", attempt);
    let (one, two) = (client.ok(attach(1)).await, client.ok(attach(2)).await);
    assert_eq!((&two["changed"], &two["attachment"]), (&json!(false), &one["attachment"]));
    let listed = client.ok(request("list", json!({}))).await;
    assert_eq!(
        (&listed["total"], listed["items"][0]["attachments"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let got = client.ok(request("get", json!({ "document_id": first["document_id"] }))).await;
    assert_eq!(got["text"], Value::Null, "an image is no text");
}

#[tokio::test]
async fn two_who_attach_at_once_lose_nothing() {
    let (client, host) = connected().await;
    let document = client.ok(request("create", json!({ "title": "A", "text": "a" }))).await;
    let id = document["document_id"].as_str().unwrap();
    let mut files = Vec::new();
    for number in 0..6 {
        files.push(image(&host, &format!("image-{number}")).await);
    }
    let attach = |file: &String| {
        client.ok(request("attach", json!({ "document_id": id, "artifact_id": file })))
    };
    let (a, b, c) = (attach(&files[0]), attach(&files[1]), attach(&files[2]));
    let (d, e, f) = (attach(&files[3]), attach(&files[4]), attach(&files[5]));
    tokio::join!(a, b, c, d, e, f);
    let got = client.ok(request("get", json!({ "document_id": id }))).await;
    assert_eq!(got["attachments"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_changes() {
    let (client, host) = connected().await;
    let hero = image(&host, "hero").await;
    let document = client.ok(request("create", json!({ "title": "A", "artifact_id": hero }))).await;
    let id = &document["document_id"];
    let too_long = "x".repeat(4 * 1024 * 1024 + 1);
    let cases = [
        ("create", json!({ "title": "x" }), "invalid_argument"),
        ("create", json!({ "title": "x", "text": "a", "base64": "YQ==" }), "invalid_argument"),
        ("create", json!({ "title": "x", "base64": "!" }), "invalid_argument"),
        ("create", json!({ "title": "x", "text": too_long }), "invalid_argument"),
        ("create", json!({ "title": "x", "artifact_id": "art_0" }), "not_found"),
        ("get", json!({ "document_id": "doc_0" }), "not_found"),
        ("attach", json!({ "document_id": "doc_0", "artifact_id": hero }), "not_found"),
        ("attach", json!({ "document_id": id, "artifact_id": "art_0" }), "not_found"),
        ("setPrimary", json!({ "document_id": id, "artifact_id": hero }), "not_found"),
    ];
    for (tool, arguments, code) in cases {
        let error = client.error(request(tool, arguments)).await;
        assert_eq!(error["code"], code, "{tool}: {error}");
        assert!(error["hint"].is_string(), "{error}");
    }
    for (tool, mut arguments) in [
        ("create", json!({ "title": "x", "text": "a" })),
        ("attach", json!({ "document_id": id, "artifact_id": hero })),
        ("detach", json!({ "document_id": id, "artifact_id": hero })),
    ] {
        arguments["dry_run"] = json!(true);
        assert_eq!(client.ok(request(tool, arguments)).await["dry_run"], true);
    }
    let listed = client.ok(request("list", json!({}))).await;
    assert_eq!((&listed["total"], &listed["items"][0]["attachments"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn alone_there_is_nothing_to_offer() {
    let client =
        Client::connect(documents(DocumentsConfig::default(), &Surroundings::default())).await;
    assert!(client.tools.is_empty());
}
