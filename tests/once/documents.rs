//! The tools of the documents server, whose documents are in the database and nowhere else.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{ANSWERED, Case, REMEMBERED, World, check, result_of, results_of};
use crate::durability::Scene;

on_both! { tools_of_documents_do_their_work_once_wherever_they_are_killed }

fn tools_of_documents_do_their_work_once_wherever_they_are_killed(scene: &Scene) {
    check(scene, &Runtime::new().unwrap(), &Shelf::default(), &cases());
}

pub(super) fn cases() -> Vec<Case> {
    let pair = |file: &str| json!({ "document_id": "${input.document_id}", "artifact_id": file });
    let (there, other) = ("${input.attached}", "${input.artifact_id}");
    let mut first = pair(other);
    first["primary"] = json!(true);
    vec![
        ("documents.create", json!({ "title": "${input.place}", "text": "Shoes" })),
        ("documents.create", json!({ "title": "${input.place}", "base64": "AJ+Slg==" })),
        ("documents.create", json!({ "title": "${input.place}", "artifact_id": other })),
        ("documents.attach", first),
        ("documents.detach", pair(there)),
        ("documents.setPrimary", pair(there)),
    ]
}

/// How many rows of each kind the database has.
pub(super) fn rows(scene: &Scene) -> [i64; 3] {
    [
        scene.number("SELECT COUNT(*) FROM tool_memos"),
        scene.number("SELECT COUNT(*) FROM artifacts"),
        scene.number("SELECT COUNT(*) FROM model_usages"),
    ]
}

/// How many rows came since a place was made.
#[derive(Default)]
pub(super) struct Growth(RefCell<BTreeMap<String, [i64; 3]>>);

impl Growth {
    pub(super) fn begin(&self, scene: &Scene, place: &str) {
        self.0.borrow_mut().insert(place.to_owned(), rows(scene));
    }

    pub(super) fn since(&self, scene: &Scene, place: &str) -> Value {
        let (before, now) = (self.0.borrow()[place], rows(scene));
        json!({ "memos": now[0] - before[0], "artifacts": now[1] - before[1], "usages": now[2] - before[2] })
    }
}

/// The documents of a place, without what differs from one to the next.
pub(super) fn documents(scene: &Scene, place: &str) -> Value {
    let listed = result_of(scene, "documents.list", &json!({ "title": place }));
    let items = listed["items"].as_array().unwrap().iter().map(|item| {
        let attachments: Vec<_> = item["attachments"].as_array().unwrap().iter().collect();
        let attachments: Vec<_> =
            attachments.iter().map(|own| json!([own["name"], own["primary"]])).collect();
        json!([item["content"]["name"], item["content"]["bytes"], attachments])
    });
    items.collect()
}

/// Each place is a title.
#[derive(Default)]
struct Shelf(Growth);

impl World for Shelf {
    /// A document with an attachment, and an artifact that is attached to nothing yet; to be created, none of them.
    fn prepare(&self, scene: &Scene, (tool, _): &Case, place: &str) -> Value {
        let make = |title: &str, name: &str| {
            ("documents.create", json!({ "title": title, "text": name, "name": name }))
        };
        let file = "${steps.s1.document.content.artifact_id}";
        let pair = json!({ "document_id": "${steps.s2.document_id}", "artifact_id": file });
        let all = [
            make("elsewhere", "other.txt"),
            make("elsewhere", "attached.txt"),
            make(place, "document.txt"),
            ("documents.attach", pair),
        ];
        let few = if *tool == "documents.create" { &all[..1] } else { &all };
        let made = results_of(scene, few);
        let artifact = |number: usize| {
            made.get(number).map(|made| made["document"]["content"]["artifact_id"].clone())
        };
        let document = made.get(2).map(|made| made["document_id"].clone());
        let input = json!({
            "place": place, "artifact_id": artifact(0), "attached": artifact(1), "document_id": document,
        });
        self.0.begin(scene, place);
        input
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        let documents = documents(scene, place);
        json!({ "documents": documents, "rows": self.0.since(scene, place) })
    }

    fn points(&self) -> &'static [&'static str] {
        &[REMEMBERED, ANSWERED]
    }
}
