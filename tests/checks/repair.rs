//! Mends a document by what the answer says of it: patch, nearest name, expected type. It knows nothing else.

use serde_json::{Value, json};

/// The document after one round; JSON, which is read as well as YAML.
pub fn mended(text: &str, answer: &Value) -> String {
    let Ok(mut document) = windlass_engine::to_json(text) else { return text.to_owned() };
    for problem in answer["problems"].as_array().unwrap() {
        match problem["patch"].as_array() {
            Some(patch) => patch.iter().for_each(|operation| apply(&mut document, operation)),
            None => _ = by_name(&mut document, problem).or_else(|| by_type(&mut document, problem)),
        }
    }
    document.to_string()
}

/// The nearest name in the place of the one that was found.
fn by_name(document: &mut Value, problem: &Value) -> Option<()> {
    let (at, found) = (problem["pointer"].as_str()?, problem["found"].as_str()?);
    let name = problem["nearest"][0].as_str()?;
    if at.ends_with(&format!("/{found}")) {
        let to = format!("{}/{name}", at.rsplit_once('/')?.0);
        apply(document, &json!({ "op": "move", "from": at, "path": to }));
    } else {
        let text = document.pointer(at)?.as_str()?.replace(found, name);
        *document.pointer_mut(at)? = json!(text);
    }
    Some(())
}

/// The expression made into the expected type.
fn by_type(document: &mut Value, problem: &Value) -> Option<()> {
    let value = document.pointer_mut(problem["pointer"].as_str()?)?;
    let source = value.as_str()?.strip_prefix("${")?.strip_suffix('}')?;
    let function = match problem["expected"].as_str()? {
        "a text" => "string",
        "a whole number" => "int",
        "a number" => "double",
        _ => return None,
    };
    *value = json!(format!("${{{function}({source})}}"));
    Some(())
}

/// One operation of a JSON Patch; one that does not apply changes nothing.
fn apply(document: &mut Value, operation: &Value) {
    let (kind, path) = (operation["op"].as_str().unwrap(), operation["path"].as_str().unwrap());
    match kind {
        "remove" => _ = taken(document, path),
        "move" => {
            let value = taken(document, operation["from"].as_str().unwrap());
            put(document, path, value.unwrap_or_default());
        }
        _ => put(document, path, operation["value"].clone()),
    }
}

fn put(document: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    match document.pointer_mut(parent) {
        Some(Value::Object(entries)) => _ = entries.insert(plain(key), value),
        Some(Value::Array(items)) => match key.parse::<usize>() {
            Ok(place) if place < items.len() => items[place] = value,
            _ => items.push(value),
        },
        _ => {}
    }
}

fn taken(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = path.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Object(entries) => entries.shift_remove(&plain(key)),
        Value::Array(items) => Some(items.remove(key.parse().ok()?)),
        _ => None,
    }
}

fn plain(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}
