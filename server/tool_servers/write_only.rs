//! Where a result holds what its tool's output schema marks `writeOnly`: a token that was just made, say. Decides.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::catalogue::Entry;

/// The JSON Pointers of what must not be kept as it is; none of them lies inside another.
///
/// A result of which the schema does not hold, or cannot be said to hold, may have it anywhere, so that it is one such
/// place as a whole.
pub(super) fn places(result: &Value, entry: &Entry) -> Vec<String> {
    let Some(schema) = entry.info.output_schema.as_ref().filter(|schema| mentions(schema)) else {
        return Vec::new();
    };
    if !entry.checks_output() || !entry.output_problems(result).is_empty() {
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
    let mut walk = Walk { resources: resources(schema), ahead: Vec::new(), found: Vec::new() };
    walk.all(schema, result);
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
    /// The schema, and those in it that have an `$id`.
    resources: Vec<&'a Value>,
    /// Schemas, the values that they speak of, and where these stand. In a list, and not in functions that call themselves:
    /// a chain of references may be longer than a stack.
    ahead: Vec<(&'a Value, &'a Value, String)>,
    found: Vec<String>,
}

impl<'a> Walk<'a> {
    fn all(&mut self, schema: &'a Value, result: &'a Value) {
        // Schemas may refer to each other in circles.
        let mut seen = HashSet::new();
        self.ahead.push((schema, result, String::new()));
        while let Some((schema, value, place)) = self.ahead.pop() {
            if seen.insert((std::ptr::from_ref(schema), place.clone())) {
                self.one(schema, value, place);
            }
        }
    }

    fn one(&mut self, schema: &'a Value, value: &'a Value, place: String) {
        if schema["writeOnly"] == true && !value.is_null() {
            self.found.push(place);
            return;
        }
        let Some(same) = self.of_the_same(schema) else {
            // What cannot be read may say it of anything.
            self.found.push(String::new());
            return;
        };
        match value {
            Value::Object(entries) => {
                for (key, entry) in entries {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    let part = |part| (part, entry, format!("{place}/{escaped}"));
                    self.ahead.extend(of_property(schema, key).into_iter().map(part));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let part = |part| (part, item, format!("{place}/{index}"));
                    self.ahead.extend(of_item(schema, index).into_iter().map(part));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        self.ahead.extend(same.into_iter().map(|same| (same, value, place.clone())));
    }

    /// The schemas that speak of the same value; none where a reference leads who knows where. Of alternatives all count:
    /// what one of them hides is hidden.
    fn of_the_same(&self, schema: &'a Value) -> Option<Vec<&'a Value>> {
        let lists = ["allOf", "anyOf", "oneOf"].map(|name| schema[name].as_array());
        let mut same: Vec<&Value> = lists.into_iter().flatten().flatten().collect();
        same.extend(["if", "then", "else"].iter().filter_map(|name| schema.get(name)));
        let maps = ["dependentSchemas", "dependencies"].map(|name| schema[name].as_object());
        same.extend(maps.into_iter().flatten().flat_map(|all| all.values()));
        let references = ["$ref", "$dynamicRef", "$recursiveRef"].map(|name| schema[name].as_str());
        for reference in references.into_iter().flatten() {
            match self.targets(reference) {
                targets if targets.is_empty() => return None,
                targets => same.extend(targets),
            }
        }
        Some(same)
    }

    /// What a reference inside the schema may stand for.
    fn targets(&self, reference: &str) -> Vec<&'a Value> {
        let (id, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        // Which resource a bare fragment is meant in, only whoever follows `$id` downwards would know.
        let is_meant =
            |resource: &Value| id.is_empty() || (id.contains(':') && own_id(resource) == Some(id));
        let meant = self.resources.iter().filter(|resource| is_meant(resource));
        if fragment.contains('%') {
            Vec::new()
        } else if fragment.is_empty() || fragment.starts_with('/') {
            meant.filter_map(|resource| resource.pointer(fragment)).collect()
        } else {
            let is_it = |schema: &Value| has_anchor(schema, fragment);
            meant.flat_map(|resource| schemas(resource, &is_it)).collect()
        }
    }
}

fn resources(schema: &Value) -> Vec<&Value> {
    let mut resources = vec![schema];
    resources.extend(schemas(schema, &|schema| own_id(schema).is_some()));
    resources
}

fn own_id(schema: &Value) -> Option<&str> {
    let id = schema.get("$id").or_else(|| schema.get("id"))?.as_str()?;
    Some(id.strip_suffix('#').unwrap_or(id))
}

/// Before 2019 an anchor was an `$id`.
fn has_anchor(schema: &Value, name: &str) -> bool {
    schema["$anchor"] == name
        || schema["$dynamicAnchor"] == name
        || own_id(schema).and_then(|id| id.strip_prefix('#')) == Some(name)
}

/// Whatever in a schema is like that.
fn schemas<'a>(schema: &'a Value, is_it: &dyn Fn(&Value) -> bool) -> Vec<&'a Value> {
    let below: Vec<&Value> = match schema {
        Value::Object(entries) => {
            entries.values().flat_map(|below| schemas(below, is_it)).collect()
        }
        Value::Array(items) => items.iter().flat_map(|below| schemas(below, is_it)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let itself = (schema.is_object() && is_it(schema)).then_some(schema);
    itself.into_iter().chain(below).collect()
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
    let mut parts: Vec<&Value> = schema.get("contains").into_iter().collect();
    match listed.and_then(|listed| listed.get(index)) {
        Some(part) => parts.push(part),
        None => parts.extend(
            ["items", "additionalItems", "unevaluatedItems"]
                .iter()
                .filter_map(|name| schema.get(name))
                .filter(|part| !part.is_array()),
        ),
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool_servers::catalogue::Catalogue;

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
        check(
            json!({ "dependencies": { "id": token } }),
            json!({ "token": "x", "id": 1 }),
            &["/token"],
        );
        check(json!({ "contains": token }), json!([{ "token": "x" }]), &["/0/token"]);
    }

    #[test]
    fn what_a_reference_may_stand_for_is_followed_by_any_name() {
        let secret = json!({ "writeOnly": true });
        let result = || json!({ "token": "x", "id": 1 });
        let named = |name: &str, id: &str, reference: &str| {
            json!({
                "properties": { "token": { "$ref": reference } }, "$defs": { "a": { name: id, "writeOnly": true } },
            })
        };
        check(named("$id", "urn:token", "urn:token"), result(), &["/token"]);
        check(named("$id", "https://x.org/a", "https://x.org/a#"), result(), &["/token"]);
        check(named("$id", "#token", "#token"), result(), &["/token"]);
        let below =
            json!({ "$id": "https://x.org/b", "$ref": "#/$defs/c", "$defs": { "c": secret } });
        check(json!({ "properties": { "token": below } }), result(), &["/token"]);
        // Whichever is meant, what one of them hides is hidden.
        check(
            json!({
                "$ref": "#t", "$defs": {
                    "a": { "$id": "https://x.org/a", "$defs": { "t": { "$anchor": "t" } } },
                    "b": { "$id": "https://x.org/b", "$defs": {
                        "t": { "$anchor": "t", "properties": { "token": secret } },
                    } },
                },
            }),
            result(),
            &["/token"],
        );
        for word in ["$recursiveRef", "$dynamicRef"] {
            let schema = json!({ "properties": { "token": secret, "next": { word: "#" } } });
            check(schema, json!({ "next": { "token": "x" } }), &["/next/token"]);
        }
    }

    #[test]
    fn where_a_reference_is_not_followed_everything_is_hidden() {
        let result = json!({ "token": "x", "id": 1 });
        for reference in [
            "https://elsewhere.org/token",
            "token",
            "/token",
            "#/$defs/nothing",
            "#nothing",
            "#/$defs/to%6ben",
        ] {
            let schema = json!({
                "properties": { "token": { "$ref": reference } },
                "$defs": { "token": { "$id": "token", "writeOnly": true } },
            });
            check(schema, result.clone(), &[""]);
        }
    }

    #[test]
    fn a_chain_of_references_is_followed_however_long() {
        let last = 20_000;
        let mut links: serde_json::Map<String, Value> = (0..last)
            .map(|link| (link.to_string(), json!({ "$ref": format!("#/$defs/{}", link + 1) })))
            .collect();
        links.insert(last.to_string(), json!({ "properties": { "token": { "writeOnly": true } } }));
        let schema = json!({ "$ref": "#/$defs/0", "$defs": links });
        check(schema, json!({ "token": "x" }), &["/token"]);
    }

    #[test]
    fn a_result_that_no_schema_can_be_held_against_is_hidden_as_a_whole() {
        let places_of = |schema: Value, result: Value| {
            let tool = json!({ "name": "mint", "inputSchema": {}, "outputSchema": schema });
            let tools = vec![serde_json::from_value(tool).unwrap()];
            let catalogue = Catalogue::new("s", tools, None);
            places(&result, catalogue.find("mint").unwrap())
        };
        let token = json!({ "type": "object", "properties": { "token": { "writeOnly": true } } });
        let with = |name: &str, value: Value| {
            let mut schema = token.clone();
            schema[name] = value;
            schema
        };
        assert_eq!(places_of(token.clone(), json!({ "token": "x" })), ["/token"]);
        assert_eq!(places_of(token.clone(), json!("the token is x")), [""]);
        let text = || json!("the token is x");
        assert_eq!(places_of(with("pattern", json!("(")), text()), [""]);
        assert_eq!(places_of(with("$ref", json!("https://elsewhere.org/a")), text()), [""]);
        let many: Vec<Value> = (0..1_001).map(|_| json!({ "$ref": "#/$defs/a" })).collect();
        assert_eq!(places_of(with("allOf", many.into()), text()), [""]);
        let open = json!({ "type": "object" });
        assert!(places_of(open, text()).is_empty(), "there is nothing to hide");
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
