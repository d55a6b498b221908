//! Tool servers that crash, hang, lie, answer twice or speak nonsense: what becomes of the step, for each class of tool.

use serde_json::json;

use super::{ledger, shapes};
use crate::durability::{Run, Scene, execution_of};

/// How the first call goes wrong, of which class, and what becomes of it: the execution's status, the step's, what the last
/// thing is that went wrong with it, and how often the effect was had.
const CASES: [(&str, &str, &str, &str, &str, usize); 18] = [
    ("crash_before", "read", "completed", "completed", "connection_lost", 1),
    ("crash_before", "keyed", "completed", "completed", "connection_lost", 1),
    ("crash_before", "unsafe", "waiting", "uncertain", "connection_lost", 0),
    ("crash_after", "read", "completed", "completed", "connection_lost", 2),
    ("crash_after", "idempotent", "completed", "completed", "connection_lost", 2),
    ("crash_after", "keyed", "completed", "completed", "connection_lost", 2),
    ("crash_after", "unsafe", "waiting", "uncertain", "connection_lost", 1),
    ("hang", "read", "failed", "failed", "timeout", 1),
    ("hang", "keyed", "failed", "failed", "timeout", 1),
    ("hang", "unsafe", "waiting", "uncertain", "timeout", 1),
    ("twice", "read", "completed", "completed", "", 1),
    ("twice", "unsafe", "completed", "completed", "", 1),
    ("garbage", "read", "completed", "completed", "", 1),
    ("garbage", "unsafe", "completed", "completed", "", 1),
    ("lie", "read", "failed", "failed", "invalid_result", 1),
    ("lie", "unsafe", "waiting", "uncertain", "invalid_result", 1),
    ("refuse", "read", "failed", "failed", "tool_error", 1),
    ("refuse", "unsafe", "failed", "failed", "tool_error", 1),
];

#[test]
fn a_tool_server_that_breaks_leads_to_what_is_written_about_its_class() {
    let scene = Scene::on_sqlite();
    shapes::configure(&scene.project);
    let mut wrong = Vec::new();
    for (breaks, class, status, of_step, code, effects) in CASES {
        let name = format!("{breaks}_{class}");
        let params = json!({ "n": 7, "breaks": breaks, "times": 1 });
        let tool = format!("ledger.{class}");
        let step = json!({ "name": "it", "tool": tool, "params": params, "timeoutMs": 1500 });
        let document = json!({ "name": name, "steps": [step], "output": { "n": "${steps.it.n}" } });
        shapes::put(&scene.project, &name, &document);
        let run = Run { workflow: &name, key: &name, input: json!({}) };
        let execution = execution_of(&scene.run(&run, None));
        let id = execution["execution_id"].as_str().unwrap();
        let step = &execution["steps"][0];
        let seen = ledger::effects(&scene.project.path().join("ledger"));
        let seen: Vec<_> = seen.iter().filter(|effect| effect.execution == id).collect();
        let is_as_written = execution["status"] == status
            && step["status"] == of_step
            && step["error"]["code"].as_str().unwrap_or_default() == code
            && (status != "completed" || execution["output"]["n"] == 7)
            && seen.iter().all(|effect| effect.key == seen[0].key)
            && seen.len() == effects;
        if !is_as_written {
            wrong.push(format!("{name}: {} effects, {execution:#}", seen.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
