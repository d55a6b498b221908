//! The tools of the demo server.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{ANSWERED, Case, World, check};
use crate::durability::{Scene, counted};

#[test]
fn tools_of_the_demo_do_their_work_once_wherever_they_are_killed() {
    check(&Scene::on_sqlite(), &Runtime::new().unwrap(), &Ledgers, &cases());
}

pub(super) fn cases() -> Vec<Case> {
    vec![("demo.count_keyed", json!({ "file": "${input.file}" })), ("demo.noop", json!({}))]
}

/// The files in which calls are counted, one a place.
struct Ledgers;

impl World for Ledgers {
    fn prepare(&self, scene: &Scene, _case: &Case, place: &str) -> Value {
        json!({ "file": scene.ledger(place) })
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        json!(counted(&scene.ledger(place)).len())
    }

    fn points(&self) -> &'static [&'static str] {
        &[ANSWERED]
    }
}
