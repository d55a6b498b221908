//! Mends a document by what the answer says of it: the patch, or else the nearest name. It knows nothing else.

use serde_json::{Value, json};

/// The document after one round; JSON, which is read as well as YAML.
pub fn mended(text: &str, answer: &Value) -> String {
    let Ok(mut document) = windlass_engine::to_json(text) else { return text.to_owned() };
    for problem in answer["problems"].as_array().unwrap() {
        let told = Some(problem["patch"].clone()).filter(Value::is_array);
        let Some(patch) = told.or_else(|| renamed(&document, problem)) else { continue };
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        // One that does not apply after those before it changes nothing.
        _ = json_patch::patch(&mut document, &patch);
    }
    document.to_string()
}

/// The nearest name in the place of the one that was found: of a key, or in a text.
fn renamed(document: &Value, problem: &Value) -> Option<Value> {
    let (at, found) = (problem["pointer"].as_str()?, problem["found"].as_str()?);
    let name = problem["nearest"][0].as_str()?;
    Some(match at.strip_suffix(&format!("/{found}")) {
        Some(parent) => json!([{ "op": "move", "from": at, "path": format!("{parent}/{name}") }]),
        None => {
            let text = document.pointer(at)?.as_str()?.replace(found, name);
            json!([{ "op": "replace", "path": at, "value": text }])
        }
    })
}
