//! The smallest value that a JSON Schema describes, more or less: what stands in for a result that nobody has yet.

use serde_json::{Map, Value, json};

/// How deep references and objects are followed.
const DEEPEST: usize = 12;

/// An example of what a schema describes; null where it does not say.
pub(super) fn of(schema: &Value) -> Value {
    example(schema, schema, 0)
}

fn example(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(entries) = schema.as_object().filter(|_| depth < DEEPEST) else { return Value::Null };
    if let Some(given) = given(entries) {
        return given;
    }
    if let Some(target) = referred(entries, root) {
        return example(target, root, depth + 1);
    }
    for key in ["oneOf", "anyOf"] {
        let forms = entries.get(key).and_then(Value::as_array).into_iter().flatten();
        let mut examples = forms.map(|form| example(form, root, depth + 1));
        if let Some(example) = examples.find(|example| !example.is_null()) {
            return example;
        }
    }
    let parts = entries.get("allOf").and_then(Value::as_array).into_iter().flatten();
    let parts: Vec<Value> = parts.map(|part| example(part, root, depth + 1)).collect();
    match kind(entries) {
        Some("object") => object(entries, parts, root, depth),
        Some("array") => array(entries, root, depth),
        Some("string") => json!(text(entries)),
        Some("integer") => json!(number(entries).ceil() as i64),
        Some("number") => json!(number(entries)),
        Some("boolean") => json!(false),
        _ => parts.into_iter().find(|part| !part.is_null()).unwrap_or_default(),
    }
}

/// What the schema itself names.
fn given(entries: &Map<String, Value>) -> Option<Value> {
    let first = |key: &str| entries.get(key)?.as_array()?.first().cloned();
    let named = entries.get("const").cloned().or_else(|| first("enum"));
    named.or_else(|| entries.get("default").cloned()).or_else(|| first("examples"))
}

fn referred<'s>(entries: &Map<String, Value>, root: &'s Value) -> Option<&'s Value> {
    let target = entries.get("$ref")?.as_str()?.strip_prefix('#')?;
    root.pointer(target)
}

fn kind(entries: &Map<String, Value>) -> Option<&str> {
    let named = match entries.get("type") {
        Some(Value::String(kind)) => Some(kind.as_str()),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null")
        }
        _ => None,
    };
    named.or_else(|| match (entries.contains_key("properties"), entries.contains_key("items")) {
        (true, _) => Some("object"),
        (_, true) => Some("array"),
        _ => None,
    })
}

/// All that is named: what may be missing is more use when it is there.
fn object(entries: &Map<String, Value>, parts: Vec<Value>, root: &Value, depth: usize) -> Value {
    let mut object = Map::new();
    for part in parts {
        if let Value::Object(part) = part {
            object.extend(part);
        }
    }
    let properties = entries.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        object.insert(name.clone(), example(schema, root, depth + 1));
    }
    Value::Object(object)
}

/// One element at least, so that whoever goes through the list is seen.
fn array(entries: &Map<String, Value>, root: &Value, depth: usize) -> Value {
    let bound = |key: &str| entries.get(key).and_then(Value::as_u64);
    let most = bound("maxItems").unwrap_or(u64::MAX);
    let count = bound("minItems").unwrap_or(0).clamp(1, 100).min(most);
    let element = entries.get("items").map(|items| example(items, root, depth + 1));
    let element = element.unwrap_or_default();
    (0..count).map(|_| element.clone()).collect()
}

fn text(entries: &Map<String, Value>) -> String {
    let format = entries.get("format").and_then(Value::as_str).unwrap_or_default();
    let text = match format {
        "date-time" => "1970-01-01T00:00:00Z",
        "date" => "1970-01-01",
        "time" => "00:00:00Z",
        "duration" => "PT0S",
        "email" | "idn-email" => "nobody@example.invalid",
        "uri" | "uri-reference" | "iri" | "url" => "https://example.invalid/",
        "hostname" | "idn-hostname" => "example.invalid",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uuid" => "00000000-0000-0000-0000-000000000000",
        _ => "text",
    };
    let length = |key: &str| {
        let length = entries.get(key).and_then(Value::as_u64);
        length.and_then(|length| usize::try_from(length).ok())
    };
    let least = length("minLength").unwrap_or(0).min(1_000);
    let mut text = text.to_owned();
    while text.chars().count() < least {
        text.push('x');
    }
    text.chars().take(length("maxLength").unwrap_or(usize::MAX)).collect()
}

fn number(entries: &Map<String, Value>) -> f64 {
    let bound = |key: &str| entries.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 1.0));
    let unbounded = 0.0_f64.min(most.unwrap_or(0.0));
    least.map_or(unbounded, |least| least.max(0.0).min(most.unwrap_or(f64::MAX)).max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value, expected: Value) {
        let found = of(&schema);
        assert_eq!(found, expected, "{schema}");
        if !expected.is_null() {
            assert!(jsonschema::is_valid(&schema, &found), "{schema}: {found}");
        }
    }

    #[test]
    fn an_example_fits_its_schema() {
        check(json!({}), Value::Null);
        check(json!({ "const": 7 }), json!(7));
        check(json!({ "type": "string", "enum": ["b", "a"] }), json!("b"));
        check(json!({ "type": "string", "minLength": 6 }), json!("textxx"));
        check(json!({ "type": "string", "maxLength": 2 }), json!("te"));
        check(
            json!({ "type": "string", "format": "uuid" }),
            json!("00000000-0000-0000-0000-000000000000"),
        );
        check(json!({ "type": "integer", "minimum": 3 }), json!(3));
        check(json!({ "type": "integer", "exclusiveMinimum": 3, "maximum": 9 }), json!(4));
        check(json!({ "type": "number", "maximum": -1 }), json!(-1.0));
        check(json!({ "type": ["null", "boolean"] }), json!(false));
        check(json!({ "type": "array", "items": { "type": "integer" } }), json!([0]));
        check(
            json!({ "type": "array", "items": { "type": "integer" }, "minItems": 2 }),
            json!([0, 0]),
        );
        check(json!({ "type": "array", "maxItems": 0 }), json!([]));
        check(json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }), json!("text"));
        check(
            json!({
                "type": "object", "required": ["id"],
                "properties": { "id": { "$ref": "#/$defs/id" }, "url": { "type": "string", "format": "uri" } },
                "$defs": { "id": { "type": "integer", "minimum": 1 } },
            }),
            json!({ "id": 1, "url": "https://example.invalid/" }),
        );
        check(
            json!({
                "type": "object",
                "allOf": [{ "type": "object", "properties": { "a": { "type": "integer" } } }],
                "properties": { "b": { "default": "c" } },
            }),
            json!({ "a": 0, "b": "c" }),
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let schema = json!({
            "type": "object", "properties": { "next": { "$ref": "#" } },
        });
        assert!(of(&schema)["next"]["next"].is_object());
    }
}
