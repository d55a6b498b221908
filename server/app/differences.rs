//! What is different between two documents of a workflow: in a few lines, and line by line.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use similar::TextDiff;

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// `step put`, `input key`, or a key of the document.
    pub what: String,
    /// Which keys of it, where that can be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.change, self.what)?;
        match self.keys.as_slice() {
            [] => Ok(()),
            keys => write!(f, ": {}", keys.join(", ")),
        }
    }
}

/// Where a document or a step keeps steps.
const LISTS: [&str; 5] = ["steps", "else", "onFailure", "onCancel", "onError"];

/// The documents as indented JSON, keys in the order of the author, in the form of `diff -u`.
pub(super) fn lines(from: (&str, &Value), to: (&str, &Value)) -> String {
    let (old, new) = (pretty(from.1), pretty(to.1));
    TextDiff::from_lines(&old, &new).unified_diff().header(from.0, to.0).to_string()
}

/// The same in a few words: which steps, which inputs, which other keys.
pub(super) fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let mut changes = compare("step ", &steps(from), &steps(to));
    changes.extend(compare("input ", &inputs(from), &inputs(to)));
    let apart: BTreeSet<&str> = LISTS.into_iter().chain(["input"]).collect();
    changes.extend(compare("", &others(from, &apart), &others(to, &apart)));
    if changes.is_empty() && from != to {
        let what = "the order of steps".to_owned();
        changes.push(Change { change: "changed", what, keys: Vec::new() });
    }
    changes
}

fn pretty(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

fn compare(
    kind: &str,
    from: &BTreeMap<String, Value>,
    to: &BTreeMap<String, Value>,
) -> Vec<Change> {
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let change = |name: &&String| {
        let (change, keys) = match (from.get(*name), to.get(*name)) {
            (None, _) => ("added", Vec::new()),
            (_, None) => ("removed", Vec::new()),
            (Some(was), Some(is)) if was == is => return None,
            (Some(was), Some(is)) => ("changed", changed_keys(was, is)),
        };
        Some(Change { change, what: format!("{kind}{name}"), keys })
    };
    names.iter().filter_map(change).collect()
}

fn changed_keys(was: &Value, is: &Value) -> Vec<String> {
    let (Some(was), Some(is)) = (was.as_object(), is.as_object()) else { return Vec::new() };
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    keys.into_iter().filter(|key| was.get(*key) != is.get(*key)).cloned().collect()
}

/// Every step at every depth by its name, without the steps it holds; with where it stands.
fn steps(document: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(document, "", &mut found);
    found
}

fn collect(holder: &Value, inside: &str, found: &mut BTreeMap<String, Value>) {
    for list in LISTS {
        let steps = holder.get(list).and_then(Value::as_array).into_iter().flatten();
        for step in steps {
            let Some(name) = step.get("name").and_then(Value::as_str) else { continue };
            let mut own = without(step, &LISTS.into_iter().collect());
            own.insert("inside".to_owned(), Value::from(format!("{inside}/{list}")));
            found.insert(name.to_owned(), Value::Object(own));
            collect(step, name, found);
        }
    }
}

fn inputs(document: &Value) -> BTreeMap<String, Value> {
    let schema = document.get("input");
    let required = |name: &str| {
        let names = schema?.get("required")?.as_array()?;
        Some(names.iter().any(|required| required == name))
    };
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let with_need = |(name, property): (&String, &Value)| {
        let mut property = property.as_object().cloned().unwrap_or_default();
        property.insert("required".to_owned(), Value::from(required(name) == Some(true)));
        (name.clone(), Value::Object(property))
    };
    properties.into_iter().flatten().map(with_need).collect()
}

fn others(document: &Value, apart: &BTreeSet<&str>) -> BTreeMap<String, Value> {
    let mut others: BTreeMap<String, Value> = without(document, apart).into_iter().collect();
    if let Some(input) = document.get("input") {
        let told = BTreeSet::from(["properties", "required"]);
        others.insert("input".to_owned(), Value::Object(without(input, &told)));
    }
    others
}

fn without(value: &Value, apart: &BTreeSet<&str>) -> Map<String, Value> {
    let entries = value.as_object().into_iter().flatten();
    let kept = entries.filter(|(key, value)| !(apart.contains(key.as_str()) && holds(value)));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// `onError: fail` is a word of the step, and no list of steps.
fn holds(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "name": "w",
            "input": { "type": "object", "properties": { "a": { "type": "string" } } },
            "steps": [
                { "name": "one", "tool": "x.one", "params": { "a": 1 } },
                { "name": "both", "steps": [{ "name": "inner", "tool": "x.two" }] },
            ],
        })
    }

    #[track_caller]
    fn check(pointer: &str, value: Value, expected: &[&str]) {
        let mut changed = document();
        *changed.pointer_mut(pointer).unwrap() = value;
        let told: Vec<String> =
            changes(&document(), &changed).iter().map(ToString::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn changes_name_steps_at_every_depth_inputs_and_keys() {
        check("/name", json!("w"), &[]);
        check("/name", json!("v"), &["changed name"]);
        check("/steps/0/params", json!({ "a": 2 }), &["changed step one: params"]);
        check("/steps/1/steps/0/tool", json!("x.three"), &["changed step inner: tool"]);
        check("/steps/1/steps", json!([]), &["removed step inner"]);
        check(
            "/steps/1",
            json!({ "name": "inner", "tool": "x.two" }),
            &["removed step both", "changed step inner: inside"],
        );
        check("/input/properties", json!({}), &["removed input a"]);
        check("/input/type", json!(["object"]), &["changed input: type"]);
        check(
            "/input",
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] }),
            &["changed input a: required"],
        );
    }

    #[test]
    fn lines_are_those_of_a_unified_diff() {
        let (from, to) =
            (json!({ "name": "w", "title": "A" }), json!({ "name": "w", "title": "B" }));
        let expected = "--- 1\n+++ 2\n@@ -1,4 +1,4 @@\n {\n   \"name\": \"w\",\n-  \"title\": \"A\"\n+  \"title\": \"B\"\n }\n";
        assert_eq!(lines(("1", &from), ("2", &to)), expected);
    }
}
