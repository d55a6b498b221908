//! Where a result holds what its tool's output schema marks `writeOnly`: a token that was just made, say. Decides.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::catalogue::Entry;

/// The JSON Pointers of what must not be kept as it is; none of them lies inside another.
///
/// A result of which the schema does not hold may have it anywhere, so that it is one such place as a whole.
pub(super) fn places(result: &Value, entry: &Entry) -> Vec<String> {
    let Some(schema) = entry.info.output_schema.as_ref().filter(|schema| mentions(schema)) else {
        return Vec::new();
    };
    if !entry.output_problems(result).is_empty() {
        return vec![String::new()];
    }
    places_by(schema, result)
}

/// Whether a schema marks anything.
pub(super) fn mentions(schema: &Value) -> bool {
    match schema {
        Value::Object(entries) => {
            entries.get("writeOnly") == Some(&Value::Bool(true)) || entries.values().any(mentions)
        }
        Value::Array(items) => items.iter().any(mentions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn places_by(schema: &Value, result: &Value) -> Vec<String> {
    let mut walk = Walk { root: schema, seen: HashSet::new(), found: Vec::new() };
    walk.value(schema, result, "");
    let mut found = walk.found;
    found.sort();
    found.dedup();
    let all = found.clone();
    let is_inside = |place: &str, other: &str| {
        place.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
    };
    found.retain(|place| !all.iter().any(|other| is_inside(place, other)));
    found
}

struct Walk<'a> {
    root: &'a Value,
    /// Schemas may refer to each other in circles.
    seen: HashSet<(*const Value, String)>,
    found: Vec<String>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, place: &str) {
        if !self.seen.insert((std::ptr::from_ref(schema), place.to_owned())) {
            return;
        }
        if schema["writeOnly"] == true && !value.is_null() {
            self.found.push(place.to_owned());
            return;
        }
        for same in self.of_the_same(schema) {
            self.value(same, value, place);
        }
        match value {
            Value::Object(entries) => {
                for (key, entry) in entries {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    for part in of_property(schema, key) {
                        self.value(part, entry, &format!("{place}/{escaped}"));
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    for part in of_item(schema, index) {
                        self.value(part, item, &format!("{place}/{index}"));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// The schemas that speak of the same value. Of alternatives all count: what one of them hides is hidden.
    fn of_the_same(&self, schema: &'a Value) -> Vec<&'a Value> {
        let lists = ["allOf", "anyOf", "oneOf"].map(|name| schema[name].as_array());
        let mut same: Vec<&Value> = lists.into_iter().flatten().flatten().collect();
        same.extend(["if", "then", "else"].iter().filter_map(|name| schema.get(name)));
        same.extend(
            schema["dependentSchemas"].as_object().into_iter().flat_map(|all| all.values()),
        );
        let references = ["$ref", "$dynamicRef"].map(|name| schema[name].as_str());
        let targets = references.into_iter().flatten();
        same.extend(targets.filter_map(|target| self.target(target)));
        same
    }

    /// What a reference inside the schema stands for.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        anchored(self.root, fragment)
    }
}

/// The schema with that `$anchor`.
fn anchored<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let is_it = schema["$anchor"] == name || schema["$dynamicAnchor"] == name;
    match schema {
        Value::Object(_) if is_it => Some(schema),
        Value::Object(entries) => entries.values().find_map(|entry| anchored(entry, name)),
        Value::Array(items) => items.iter().find_map(|item| anchored(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn of_property<'a>(schema: &'a Value, key: &str) -> Vec<&'a Value> {
    let mut parts: Vec<&Value> = schema["properties"].get(key).into_iter().collect();
    let patterns = schema["patternProperties"].as_object().into_iter().flatten();
    let fits = |pattern: &str| jsonschema::is_valid(&json!({ "pattern": pattern }), &json!(key));
    parts.extend(patterns.filter(|(pattern, _)| fits(pattern)).map(|(_, part)| part));
    if parts.is_empty() {
        let others = ["additionalProperties", "unevaluatedProperties"];
        parts.extend(others.iter().filter_map(|name| schema.get(name)));
    }
    parts
}

fn of_item(schema: &Value, index: usize) -> Vec<&Value> {
    let items = &schema["items"];
    // Before 2020 `items` was a list, and `additionalItems` spoke of the rest.
    let listed = schema["prefixItems"].as_array().or_else(|| items.as_array());
    match listed.and_then(|listed| listed.get(index)) {
        Some(part) => vec![part],
        None => ["items", "additionalItems", "unevaluatedItems"]
            .iter()
            .filter_map(|name| schema.get(name))
            .filter(|part| !part.is_array())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: Value, result: Value, expected: &[&str]) {
        assert_eq!(places_by(&schema, &result), expected, "{schema}");
    }

    #[test]
    fn what_is_write_only_is_found_wherever_a_schema_may_say_so() {
        let secret = json!({ "type": "string", "writeOnly": true });
        let token = json!({ "properties": { "token": secret } });
        check(token.clone(), json!({ "token": "x", "id": 1 }), &["/token"]);
        check(token.clone(), json!({ "token": null }), &[]);
        check(secret.clone(), json!("x"), &[""]);
        check(
            json!({ "items": token }),
            json!([{ "token": "x" }, {}, { "token": "y" }]),
            &["/0/token", "/2/token"],
        );
        check(
            json!({ "prefixItems": [{}, secret], "items": token }),
            json!(["a", "b", { "token": "c" }]),
            &["/1", "/2/token"],
        );
        check(json!({ "items": [{}, secret] }), json!(["a", "b", "c"]), &["/1"]);
        check(
            json!({ "additionalProperties": secret, "properties": { "id": {} } }),
            json!({ "id": 1, "a/b~c": "x" }),
            &["/a~1b~0c"],
        );
        check(
            json!({ "patternProperties": { "^t_": secret } }),
            json!({ "t_a": "x", "at_": "y" }),
            &["/t_a"],
        );
        for word in ["allOf", "anyOf", "oneOf"] {
            check(json!({ word: [{}, token] }), json!({ "token": "x" }), &["/token"]);
        }
        check(
            json!({ "$ref": "#/$defs/a", "$defs": { "a": token } }),
            json!({ "token": "x" }),
            &["/token"],
        );
        check(
            json!({ "$ref": "#a", "$defs": { "b": { "$anchor": "a", "properties": { "token": secret } } } }),
            json!({ "token": "x" }),
            &["/token"],
        );
        check(json!({ "if": {}, "then": token }), json!({ "token": "x" }), &["/token"]);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "properties": { "token": { "writeOnly": true }, "next": { "$ref": "#" } }, "allOf": [{ "$ref": "#" }] });
        let result = json!({ "token": 1, "next": { "token": 2, "next": { "token": 3 } } });
        check(schema, result, &["/next/next/token", "/next/token", "/token"]);
    }

    #[test]
    fn a_place_inside_another_is_sealed_with_it() {
        let schema = json!({ "allOf": [
            { "properties": { "a": { "properties": { "b": { "writeOnly": true } } } } },
            { "properties": { "a": { "writeOnly": true } } },
        ] });
        check(schema, json!({ "a": { "b": 1 } }), &["/a"]);
    }
}
