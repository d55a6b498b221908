//! The tools of the agent server: a repeat asks the model at most once more, keeps one thing, and counts once.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::Faults;

use super::{
    Case, Change, World, check,
    documents::{Growth, documents},
    double::Double,
    result_of,
};
use crate::{durability::Scene, harness::Project};

#[test]
fn tools_that_ask_models_do_their_work_once_wherever_they_are_killed() {
    let runtime = Runtime::new().unwrap();
    let project = Project::new().with_env("MODEL_KEY", "sk-test-0123456789");
    let database = format!("sqlite:{}", project.data_dir().join("windlass.db").display());
    let model = Model { double: Double::start(&runtime), growth: Growth::default() };
    let scene = Scene::at(project, database);
    // There is no database before somebody ran something.
    result_of(&scene, "demo.noop", &json!({}));
    check(&scene, &runtime, &model, &cases());
}

pub(super) fn cases() -> Vec<Case> {
    let place = "${input.place}";
    let files = json!([{ "path": "a.rs", "content": "a" }]);
    let updates =
        json!([{ "name": "serde", "current": "1.0.0", "latest": "1.0.1", "kind": "patch" }]);
    vec![
        ("agent.run", json!({ "prompt": place })),
        ("agent.analyze", json!({ "prompt": place })),
        ("agent.reviewCode", json!({ "diff": place })),
        ("agent.classifyIssue", json!({ "title": place, "body": "It panics.", "labels": [] })),
        ("agent.applyFix", json!({ "branch": "x", "fix": place, "files": files })),
        (
            "agent.checkDependencies",
            json!({ "branch": place, "package_manager": "cargo", "files": files }),
        ),
        (
            "agent.updateDependencies",
            json!({ "branch": place, "updates": updates, "strategy": "safe", "files": files }),
        ),
        ("agent.generateCopy", json!({ "prompt": "Shoes", "title": place })),
        ("agent.generateImage", json!({ "prompt": place })),
        ("agent.generateImage", json!({ "prompt": place, "n": 2 })),
        ("agent.review", json!({ "content": place, "criteria": ["clear"] })),
        ("agent.summarize", json!({ "content": place })),
        (
            "agent.extract",
            json!({ "content": place, "schema": { "type": "object", "properties": { "order": { "type": "integer" } } } }),
        ),
        ("agent.decide", json!({ "prompt": place, "options": ["wait", "roll_back"] })),
    ]
}

/// A model behind HTTP; each place is what it is asked.
struct Model {
    double: Double,
    growth: Growth,
}

impl World for Model {
    fn prepare(&self, scene: &Scene, _case: &Case, place: &str) -> Value {
        let settings = format!(
            r#"[agent]
model = "mine/test-model"
[agent.providers.mine]
kind = "openai-compatible"
base_url = "{}/v1"
key_env = ["MODEL_KEY"]
model = "test-model"
structured = "json_schema"
[agent.images]
model = "mine/pixels"
"#,
            self.double.url
        );
        scene.project.write("windlass.toml", &settings);
        self.growth.begin(scene, place);
        json!({ "place": place })
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        let asked = self.double.taken(place).len();
        let calm = place.starts_with("calm");
        assert!(asked <= if calm { 1 } else { 2 }, "{place}: asked {asked} times");
        json!({ "rows": self.growth.since(scene, place), "documents": documents(scene, place) })
    }

    fn changes(&self, place: &str) -> Vec<Change> {
        self.double.changes(place)
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.double.faults)
    }
}
