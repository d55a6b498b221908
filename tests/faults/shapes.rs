//! Workflows of random shape, over tools of every class.

use serde_json::{Value, json};

use super::chance::Chance;
use crate::harness::Project;

/// How many random workflows there are.
pub(super) const SHAPES: usize = 16;

const CLASSES: [&str; 4] = ["read", "idempotent", "keyed", "unsafe"];
const LOCKS: [&str; 3] = ["red", "green", "blue"];

/// The workflow of [`long`].
pub(super) const HELD: &str = "held";

/// Gives a project the ledger's tools and the workflows of a seed: `w0`, `w1` and so on, and `below`, which they run; and
/// the one that is [`HELD`].
pub(super) fn write(project: &Project, seed: u64) {
    configure(project);
    let mut chance = Chance::of(seed);
    let steps: Vec<_> = (0..2).map(|number| tool(&mut chance, &format!("b{number}"))).collect();
    put(project, "below", &json!({ "name": "below", "steps": steps }));
    for number in 0..SHAPES {
        let name = format!("w{number}");
        put(project, &name, &document(&mut chance, &name));
    }
    put(project, HELD, &long(HELD, 9_000));
}

/// One call that takes so many milliseconds.
pub(super) fn long(name: &str, ms: u64) -> Value {
    let params = json!({ "n": 1, "ms": ms });
    json!({ "name": name, "steps": [{ "name": "it", "tool": "ledger.keyed", "params": params }] })
}

/// Gives a project the tools that keep a ledger.
pub(super) fn configure(project: &Project) {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_windlass"))
        .with_file_name("examples/ledger_tool_server");
    let ledger = project.path().join("ledger");
    let text = format!(
        "[mcpServers.ledger]\ncommand = {:?}\nargs = [{:?}]\nprotocol = \"legacy\"\n",
        program.display().to_string(),
        ledger.display().to_string()
    );
    project.write("windlass.toml", &text);
}

pub(super) fn put(project: &Project, name: &str, document: &Value) {
    project.write(&format!("workflows/{name}.json"), &document.to_string());
}

fn document(chance: &mut Chance, name: &str) -> Value {
    let count = 2 + chance.below(3);
    let steps: Vec<_> = (0..count).map(|number| item(chance, &format!("s{number}"))).collect();
    json!({ "name": name, "steps": steps })
}

/// One entry of a list of steps.
fn item(chance: &mut Chance, name: &str) -> Value {
    match chance.below(10) {
        0 => side_by_side(chance, name),
        1 => {
            let mut each = tool(chance, name);
            each["forEach"] = json!([1, 2, 3]);
            each["maxParallel"] = json!(2);
            each
        }
        2 => {
            let inner: Vec<_> =
                (0..2).map(|number| leaf(chance, &format!("{name}_{number}"))).collect();
            json!({ "name": name, "steps": inner })
        }
        _ => leaf(chance, name),
    }
}

fn side_by_side(chance: &mut Chance, name: &str) -> Value {
    let count = 2 + chance.below(2);
    let inner: Vec<_> =
        (0..count).map(|number| tool(chance, &format!("{name}_{number}"))).collect();
    json!({ "name": name, "parallel": true, "steps": inner })
}

fn leaf(chance: &mut Chance, name: &str) -> Value {
    match chance.below(100) {
        0..8 => json!({ "name": name, "set": { "n": chance.below(9) } }),
        8..20 => json!({ "name": name, "wait": { "ms": 20 + chance.below(300) } }),
        20..28 => json!({ "name": name, "approval": { "message": "Go on?", "allowSelf": true } }),
        28..36 => json!({ "name": name, "workflow": "below" }),
        36..46 => {
            let mut locked = tool(chance, name);
            locked["lock"] = json!(chance.among(&LOCKS));
            locked
        }
        _ => tool(chance, name),
    }
}

fn tool(chance: &mut Chance, name: &str) -> Value {
    let class = *chance.among(&CLASSES);
    let mut params = json!({
        "n": chance.below(100), "ms": chance.below(120), "late": chance.percent(30),
    });
    if chance.percent(4) {
        params["breaks"] =
            json!(chance.among(&["crash_before", "crash_after", "twice", "garbage"]));
        params["times"] = json!(1);
    }
    let mut step = json!({ "name": name, "tool": format!("ledger.{class}"), "params": params });
    if chance.percent(15) {
        step["onError"] = json!("continue");
    }
    step
}
