//! The input schema of a document, and what becomes of one that is written as names and types.

use serde_json::{Map, Value, json};

use super::fields::At;
use crate::Problem;
use crate::input::InputSchema;

/// What says that an author has a schema in mind.
const WORDS: [&str; 10] = [
    "$schema",
    "$ref",
    "$defs",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
];

pub(super) fn input(at: &At<'_>, problems: &mut Vec<Problem>) -> InputSchema {
    let schema = at.node.to_value();
    InputSchema::compile_located(&schema).unwrap_or_else(|found| {
        let meant = meant(&schema).filter(|meant| InputSchema::compile(meant).is_ok());
        let meant = meant.map(|meant| at.replaced(meant)).unwrap_or_default();
        problems.extend(found.into_iter().map(|problem| match problem.pointer.is_empty() {
            true => Problem { patch: meant.clone(), ..at.inside(problem) },
            false => at.inside(problem),
        }));
        InputSchema::any()
    })
}

/// The schema that was meant by a map of names with types or defaults, or by one that only says no `type`.
fn meant(given: &Value) -> Option<Value> {
    let entries = given.as_object().filter(|entries| !entries.is_empty())?;
    if entries.get("properties").is_some_and(Value::is_object) && !entries.contains_key("type") {
        let mut schema = entries.clone();
        schema.insert("type".to_owned(), json!("object"));
        return Some(Value::Object(schema));
    }
    if entries.keys().any(|name| WORDS.contains(&name.as_str())) {
        return None;
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, said) in entries {
        let (property, must) = property(said)?;
        properties.insert(name.clone(), property);
        if must {
            required.push(name.as_str());
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    Some(schema)
}

/// The schema of one name, and whether it must be given: by its type, by its default, or by both.
fn property(said: &Value) -> Option<(Value, bool)> {
    match said {
        Value::String(text) => match type_of_word(text) {
            Some(word) => Some((json!({ "type": word }), true)),
            None => Some((json!({ "type": "string", "default": text }), false)),
        },
        Value::Bool(_) => Some((json!({ "type": "boolean", "default": said }), false)),
        Value::Number(number) => {
            let word = if number.is_f64() { "number" } else { "integer" };
            Some((json!({ "type": word, "default": said }), false))
        }
        Value::Array(_) => Some((json!({ "type": "array", "default": said }), false)),
        Value::Object(entries) => {
            let word = type_of_word(entries.get("type")?.as_str()?)?;
            let mut schema = entries.clone();
            schema.insert("type".to_owned(), json!(word));
            // Elsewhere each name says by itself whether it must be given.
            let must = match schema.get("required") {
                Some(Value::Bool(must)) => *must,
                _ => return Some((Value::Object(schema), false)),
            };
            schema.shift_remove("required");
            Some((Value::Object(schema), must))
        }
        Value::Null => None,
    }
}

/// The type of JSON Schema for what people call it.
fn type_of_word(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().as_str() {
        "string" | "str" | "text" => "string",
        "integer" | "int" => "integer",
        "number" | "float" | "double" => "number",
        "boolean" | "bool" => "boolean",
        "array" | "list" => "array",
        "object" | "map" | "dict" => "object",
        _ => return None,
    })
}
