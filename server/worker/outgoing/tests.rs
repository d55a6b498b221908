//! What goes into params, and what stays as it is.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::config::{Config, Overrides};

fn outgoing(project: &Path) -> Outgoing {
    let file = "[secrets.A]\nfile = 'a'\n[secrets.B]\nfile = 'b'\n";
    std::fs::write(project.join("windlass.toml"), file).unwrap();
    std::fs::write(project.join("a"), "alpha-\u{e9}-secret").unwrap();
    std::fs::write(project.join("b"), "${secrets.A} beta").unwrap();
    let overrides = Overrides { data_dir: Some(project.join("data")), ..Overrides::default() };
    let config = Config::load_from(project, None, &|_| None, &overrides).unwrap();
    let settings = crate::tool_servers::Settings::default();
    let tool_servers = ToolServers::new(BTreeMap::new(), Vec::new(), settings);
    Outgoing::new(tool_servers, Secrets::new(&config), Keyring::new(&config))
}

fn slot(pointer: &str, offset: usize, name: &str) -> SecretSlot {
    SecretSlot { pointer: pointer.into(), offset, name: name.into() }
}

async fn filled(outgoing: &Outgoing, params: Value, slots: &[SecretSlot]) -> Option<Value> {
    let secrets = outgoing.find(slots).await.unwrap();
    let open = |token: &str| outgoing.open("exec_a", token, &Minted::default());
    params::filled(params, slots, &secrets, &open)
}

#[tokio::test]
async fn only_slots_are_filled() {
    let project = TempDir::new().unwrap();
    let outgoing = outgoing(project.path());
    let text = "é ${secrets.A}:${secrets.B}:${secrets.A}";
    let params = json!({ "a/b~c": [text], "data": "${secrets.A}", "n": 1 });
    let slots = [slot("/a~1b~0c/0", 16, "B"), slot("/a~1b~0c/0", 3, "A")];
    let expected = "é alpha-é-secret:${secrets.A} beta:${secrets.A}";
    let expected = json!({ "a/b~c": [expected], "data": "${secrets.A}", "n": 1 });
    assert_eq!(filled(&outgoing, params, &slots).await, Some(expected));
}

#[tokio::test]
async fn a_slot_that_is_not_where_it_says_fills_nothing() {
    let project = TempDir::new().unwrap();
    let outgoing = outgoing(project.path());
    let params = json!({ "x": "é${secrets.A}", "n": 1 });
    for wrong in [
        slot("/x", 0, "A"),
        slot("/x", 1, "A"),
        slot("/x", 2, "B"),
        slot("/y", 2, "A"),
        slot("/n", 0, "A"),
        slot("/x", 99, "A"),
    ] {
        assert_eq!(filled(&outgoing, params.clone(), &[wrong]).await, None);
    }
    assert!(filled(&outgoing, params, &[slot("/x", 2, "A")]).await.is_some());
}

#[tokio::test]
async fn what_was_sealed_in_this_execution_is_opened_and_nothing_else() {
    let project = TempDir::new().unwrap();
    let outgoing = outgoing(project.path());
    let seal = |execution: &str, value: Value| {
        let minted = Minted::default();
        outgoing.seal(execution, json!([value]), &["/0".into()], &minted)[0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (text, object) = (seal("exec_a", json!("mint\"ed")), seal("exec_a", json!({ "k": [1] })));
    let strange = seal("exec_b", json!("of another"));
    let params = json!({
        "whole": text, "value": object, "inside": format!("Bearer {text}{text}. x"),
        "not a text": format!("Bearer {object}"), "strange": strange, "no": "sealed:v1:", "key": { &*text: 1 },
        "both": format!("${{secrets.A}} {text}"),
    });
    let opened = filled(&outgoing, params, &[slot("/both", 0, "A")]).await.unwrap();
    let expected = json!({
        "whole": "mint\"ed", "value": { "k": [1] }, "inside": "Bearer mint\"edmint\"ed. x",
        "not a text": format!("Bearer {object}"), "strange": strange, "no": "sealed:v1:", "key": { &*text: 1 },
        "both": "alpha-é-secret mint\"ed",
    });
    assert_eq!(opened, expected);
}

#[test]
fn what_cannot_be_sealed_is_not_kept_at_all() {
    let project = TempDir::new().unwrap();
    let outgoing = outgoing(project.path());
    std::fs::write(project.path().join("data"), "no folder").unwrap();
    let result = json!({ "token": "a-minted-token", "id": 1 });
    let kept = outgoing.seal("exec_a", result, &["/token".into()], &Minted::default());
    assert_eq!(kept, json!({ "token": LOST, "id": 1 }));
}
