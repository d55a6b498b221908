//! What a workflow must be given: its input schema, checked and with defaults applied.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::Problem;
use crate::expr::escape_pointer;
use crate::problem::nearest;

/// The only dialect of JSON Schema that is understood.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// How deep defaults are applied; a schema that refers to itself has no end.
const MAX_DEPTH: usize = 32;

/// How many references a schema may have. A validator follows one inside the other, and its stack is not endless.
const MAX_REFERENCES: usize = 1_000;

/// How much of a given value a message shows, in characters.
const MAX_SHOWN: usize = 60;

/// The compiled input schema of a workflow (JSON Schema 2020-12, type object).
#[derive(Debug)]
pub struct InputSchema {
    schema: Value,
    /// `None` for the schema that accepts every object.
    validator: Option<Box<Validator>>,
}

impl InputSchema {
    /// The schema of a workflow that declares none: any object.
    #[must_use]
    pub fn any() -> InputSchema {
        InputSchema { schema: json!({ "type": "object" }), validator: None }
    }

    /// Compiles a schema; the error says what is wrong with it.
    pub fn compile(schema: &Value) -> Result<InputSchema, String> {
        InputSchema::compile_located(schema).map_err(|problems| {
            let messages = problems.into_iter().map(|problem| problem.message);
            messages.collect::<Vec<_>>().join("; ")
        })
    }

    /// Compiles a schema; every problem with its place in the schema.
    pub(crate) fn compile_located(schema: &Value) -> Result<InputSchema, Vec<Problem>> {
        let whole = |message| vec![problem("invalid_schema", String::new(), message, None)];
        check_shape(schema).map_err(whole)?;
        let meta = jsonschema::draft202012::meta::validator();
        let problems: Vec<Problem> =
            meta.iter_errors(schema).map(|error| not_a_schema(&error)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        only_local_references(schema).map_err(whole)?;
        if has_too_many_references(schema) {
            let message = format!("the schema has more than {MAX_REFERENCES} references");
            return Err(whole(message));
        }
        let options = jsonschema::options().with_draft(Draft::Draft202012).offline();
        let validator = options.should_validate_formats(true).build(schema);
        let validator =
            validator.map_err(|error| whole(format!("this is not a JSON Schema: {error}")))?;
        Ok(InputSchema { schema: schema.clone(), validator: Some(Box::new(validator)) })
    }

    /// The schema as it was written.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Applies defaults (nested ones too) and checks; every problem at once, each naming the path and what is allowed.
    pub fn accept(&self, mut input: Value) -> Result<Value, Vec<Problem>> {
        if !input.is_object() {
            let message = format!("the input must be an object, and is {}", shown(&input));
            return Err(vec![problem("wrong_type", String::new(), message, None)]);
        }
        if crate::is_too_deep(&input) {
            let message = format!("it is nested more than {} levels deep", crate::MAX_VALUE_DEPTH);
            return Err(vec![problem("too_large", String::new(), message, None)]);
        }
        apply_defaults(&[&self.schema], &mut input, &self.schema, 0);
        let Some(validator) = &self.validator else { return Ok(input) };
        let errors = validator.iter_errors(&input);
        let problems: Vec<Problem> =
            errors.flat_map(|error| explain(&error, &self.schema)).collect();
        match problems.is_empty() {
            true => Ok(input),
            false => Err(problems),
        }
    }
}

fn check_shape(schema: &Value) -> Result<(), String> {
    let Some(entries) = schema.as_object() else {
        return Err(
            "`input` must be a JSON Schema: an object with `type: object` and `properties`"
                .to_owned(),
        );
    };
    if let Some(dialect) = entries.get("$schema").and_then(Value::as_str)
        && dialect.trim_end_matches('#') != DIALECT
    {
        return Err(format!("`$schema` is {dialect}; only {DIALECT} is understood"));
    }
    match entries.get("type") {
        Some(Value::String(kind)) if kind == "object" => Ok(()),
        Some(kind) => {
            Err(format!("the input is an object: write `type: object` instead of `type: {kind}`"))
        }
        None => {
            Err("the input schema needs `type: object`, and the names under `properties`, for \
                     instance `input: { type: object, properties: { app: { type: string } } }`"
                .to_owned())
        }
    }
}

/// Whether a schema refers to so many others that no validator should be made of it.
#[must_use]
pub fn has_too_many_references(schema: &Value) -> bool {
    MAX_REFERENCES < references(schema)
}

fn references(schema: &Value) -> usize {
    match schema {
        Value::Object(entries) => {
            let own = ["$ref", "$dynamicRef", "$recursiveRef"].iter();
            own.filter(|key| entries.contains_key(**key)).count()
                + entries.values().map(references).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(references).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Nothing is fetched from elsewhere.
fn only_local_references(schema: &Value) -> Result<(), String> {
    const PLAIN: [&str; 4] = ["const", "default", "enum", "examples"];
    match schema {
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| match value {
            Value::String(target) if key == "$ref" || key == "$dynamicRef" => {
                match target.starts_with('#') {
                    true => Ok(()),
                    false => Err(format!(
                        "the reference `{target}` leads out of the schema; copy what it refers to \
                         into `$defs` and write `#/$defs/…`"
                    )),
                }
            }
            _ if PLAIN.contains(&key.as_str()) => Ok(()),
            value => only_local_references(value),
        }),
        Value::Array(items) => items.iter().try_for_each(only_local_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Applies the defaults of schemas that all speak of one value.
///
/// Each schema is looked at once for each value, however many ways lead to it: of schemas that refer to themselves
/// there may be more ways than anybody can walk.
fn apply_defaults(schemas: &[&Value], value: &mut Value, root: &Value, depth: usize) {
    if MAX_DEPTH <= depth {
        return;
    }
    let all = with_parts(schemas, root);
    match value {
        Value::Object(object) => {
            let mut inner: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
            for properties in all.iter().filter_map(|schema| schema.get("properties")?.as_object())
            {
                for (key, schema) in properties {
                    default_property(key, schema, object, root);
                    inner.entry(key).or_default().push(schema);
                }
            }
            for (key, schemas) in inner {
                if let Some(value) = object.get_mut(key) {
                    apply_defaults(&schemas, value, root, depth + 1);
                }
            }
        }
        Value::Array(items) => {
            let inner: Vec<&Value> = all.iter().filter_map(|schema| schema.get("items")).collect();
            items.iter_mut().for_each(|item| apply_defaults(&inner, item, root, depth + 1));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Schemas, what they refer to, and their `allOf`; each once.
fn with_parts<'s>(schemas: &[&'s Value], root: &'s Value) -> Vec<&'s Value> {
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    let mut open: Vec<&Value> = schemas.iter().rev().copied().collect();
    while let Some(schema) = open.pop() {
        let Some(entries) = schema.as_object() else { continue };
        if !seen.insert(std::ptr::from_ref(schema)) {
            continue;
        }
        all.push(schema);
        let parts = entries.get("allOf").and_then(Value::as_array);
        open.extend(parts.into_iter().flatten().rev());
        open.extend(referred(entries, root));
    }
    all
}

fn default_property(key: &str, schema: &Value, object: &mut Map<String, Value>, root: &Value) {
    if !object.contains_key(key)
        && let Some(default) = default_of(schema, root, 0)
    {
        object.insert(key.to_owned(), default.clone());
    }
}

fn default_of<'s>(schema: &'s Value, root: &'s Value, depth: usize) -> Option<&'s Value> {
    let entries = schema.as_object().filter(|_| depth < MAX_DEPTH)?;
    match entries.get("default") {
        Some(default) => Some(default),
        None => default_of(referred(entries, root)?, root, depth + 1),
    }
}

/// What a local `$ref` refers to.
fn referred<'s>(entries: &Map<String, Value>, root: &'s Value) -> Option<&'s Value> {
    root.pointer(entries.get("$ref")?.as_str()?.strip_prefix('#')?)
}

fn problem(
    code: &'static str,
    pointer: String,
    message: String,
    suggestion: Option<String>,
) -> Problem {
    Problem { suggestion, ..Problem::new(code, pointer, message) }
}

/// A validator's error in plain words; several when it stands for several.
pub(crate) fn explain(error: &ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    let pointer = error.instance_path().as_str().to_owned();
    let name = place(&pointer);
    let given = shown(error.instance());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let pointer = format!("{pointer}/{}", escape_pointer(property));
            let message = format!("{} is missing", place(&pointer));
            vec![problem("missing_key", pointer, message, None)]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = known_properties(error, schema);
            unexpected.iter().map(|key| unknown_property(&pointer, key, &known)).collect()
        }
        ValidationErrorKind::Type { kind } => {
            let message = format!("{name} must be {}, and is {given}", types(kind));
            vec![problem("wrong_type", pointer, message, None)]
        }
        ValidationErrorKind::Enum { options } => vec![not_an_option(error, options)],
        kind => {
            let allowed = allowed(kind).unwrap_or_else(|| {
                let masked = error.masked_with("it").to_string();
                format!("is not as the schema wants it: {masked}")
            });
            let message = format!("{name} {allowed}; it is {given}");
            vec![problem("not_allowed", pointer, message, None)]
        }
    }
}

/// What the meta schema says about a schema.
fn not_a_schema(error: &ValidationError<'_>) -> Problem {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let pointer = error.instance_path().as_str().to_owned();
    if pointer.ends_with("/type") {
        let given = error.instance();
        let near = nearest(given.as_str().unwrap_or_default(), TYPES);
        let suggestion = near.first().map(|name| format!("did you mean `{name}`?"));
        let message = format!("{} is not a type; types are {}", shown(given), TYPES.join(", "));
        return problem("invalid_schema", pointer, message, suggestion);
    }
    let explained = explain(error, &Value::Null).into_iter().next();
    let message = explained.map_or_else(|| error.to_string(), |problem| problem.message);
    problem("invalid_schema", pointer, format!("this is not a JSON Schema: {message}"), None)
}

/// What a bound allows, as the rest of a sentence.
fn allowed(kind: &ValidationErrorKind) -> Option<String> {
    Some(match kind {
        ValidationErrorKind::Constant { expected_value } => format!("must be {expected_value}"),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}")
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("must have at least {limit} characters")
        }
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {limit} elements"),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {limit} elements"),
        ValidationErrorKind::MinProperties { limit } => format!("must have at least {limit} keys"),
        ValidationErrorKind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        ValidationErrorKind::UniqueItems => "must not have the same element twice".to_owned(),
        ValidationErrorKind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        ValidationErrorKind::Format { format } => format!("must have the format `{format}`"),
        _ => return None,
    })
}

fn types(kind: &TypeKind) -> String {
    let named = |name: &str| match name {
        "array" => "a list".to_owned(),
        "integer" => "a whole number".to_owned(),
        "null" => "null".to_owned(),
        "object" => "an object".to_owned(),
        "string" => "a text".to_owned(),
        "boolean" => "true or false".to_owned(),
        name => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(kind) => named(kind.as_str()),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| named(kind.as_str())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn not_an_option(error: &ValidationError<'_>, options: &Value) -> Problem {
    let pointer = error.instance_path().as_str().to_owned();
    let options: &[Value] = options.as_array().map_or(&[], Vec::as_slice);
    let words: Vec<String> = options.iter().map(Value::to_string).collect();
    let message = format!(
        "{} must be one of {}, and is {}",
        place(&pointer),
        words.join(", "),
        shown(error.instance())
    );
    let given = error.instance().as_str().unwrap_or_default();
    let near = nearest(given, options.iter().filter_map(Value::as_str));
    let suggestion = near.first().map(|word| format!("did you mean `{word}`?"));
    problem("unknown_value", pointer, message, suggestion)
}

/// The properties that the object may have whose property was refused.
fn known_properties<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    let path = error.schema_path().as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties = schema.pointer(parent).and_then(|schema| schema.get("properties"));
    properties
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect()
}

fn unknown_property(pointer: &str, key: &str, known: &[&str]) -> Problem {
    let near = nearest(key, known.iter().copied());
    let suggestion = near.first().map(|name| format!("did you mean `{name}`?"));
    let pointer = format!("{pointer}/{}", escape_pointer(key));
    let known = match known {
        [] => "nothing".to_owned(),
        known => known.join(", "),
    };
    let message = format!("{} is not expected; allowed are {known}", place(&pointer));
    problem("unknown_key", pointer, message, suggestion)
}

/// A JSON Pointer as a person writes a path.
fn place(pointer: &str) -> String {
    match pointer.strip_prefix('/') {
        None => "the input".to_owned(),
        Some(path) => {
            let path = path.replace('/', ".").replace("~1", "/").replace("~0", "~");
            format!("`{path}`")
        }
    }
}

/// A value as compact JSON, shortened.
fn shown(value: &Value) -> Cow<'static, str> {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Owned(text),
    }
}

#[cfg(test)]
mod tests;
