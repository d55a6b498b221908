//! The JSON Schema of the language, from types that say what a document looks like.
//!
//! The reader (`parse`) is what decides; the schema tells editors and other programs, without running anything, what
//! it will say. The tests hold the two together: they have the same keys and the same bounds, and what the reader
//! takes, the schema takes.

mod document;
mod requests;
mod step;
mod values;

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use self::document::Document;

/// What a schema is called that lies beside a document; shipped files name it by a relative path.
const ID: &str = "workflow.schema.json";

/// The JSON Schema (2020-12) of a workflow document.
///
/// What it accepts may still be refused: names, references, expressions and tools are not looked at. What it refuses
/// is always refused.
#[must_use]
pub fn language_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generated);
    &SCHEMA
}

fn generated() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(plain))
        .with_transform(RecursiveTransform(without_null));
    let mut schema = settings.into_generator().into_root_schema_for::<Document>();
    step::complete(&mut schema);
    let mut whole = serde_json::Map::new();
    for key in ["$schema", "$id"] {
        let value = schema.remove(key).unwrap_or_else(|| Value::from(ID));
        whole.insert(key.to_owned(), value);
    }
    if let Value::Object(rest) = schema.to_value() {
        whole.extend(rest);
    }
    Value::Object(whole)
}

/// The description first and on one line, and no formats that only programs in Rust know.
fn plain(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.remove("description")
        && let Some(object) = schema.as_object_mut()
    {
        let rest = std::mem::take(object);
        object.insert("description".to_owned(), text.replace('\n', " ").into());
        object.extend(rest);
    }
    let foreign = schema.get("format").and_then(Value::as_str).is_some_and(|format| {
        format.starts_with("uint") || format.starts_with("int") || format == "double"
    });
    if foreign {
        schema.remove("format");
    }
}

/// A key that may be left out is not the same as one that is null.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = types.as_slice() {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    let Some(Value::Array(ways)) = schema.get_mut("anyOf") else { return };
    let is_null = |way: &Value| way == &serde_json::json!({ "type": "null" });
    if let [way, null] = ways.as_slice()
        && is_null(null)
        && let Value::Object(way) = way.clone()
    {
        schema.remove("anyOf");
        way.into_iter().for_each(|(key, value)| drop(schema.insert(key, value)));
    }
}

#[cfg(test)]
pub(crate) mod tests;
