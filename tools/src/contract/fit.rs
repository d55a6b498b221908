//! Other names and other types of arguments: what a caller wrote becomes what the tool takes.
//!
//! Both sides use it: a tool server on what it is sent, and Windlass before it checks and records what it sends.

use std::collections::BTreeMap;

use rmcp::model::JsonObject;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use super::{Code, ToolError};

/// Other names that every tool understands for an argument it has.
const ARGUMENTS: [(&str, &[&str]); 16] = [
    ("number", &["issue_number", "issueNumber", "pull_number", "pullNumber", "pr_number"]),
    ("run_id", &["runId"]),
    ("job_id", &["jobId"]),
    ("workflow", &["workflow_id", "workflowId"]),
    ("log_group", &["logGroup", "logGroupName"]),
    ("pattern", &["filterPattern"]),
    ("since", &["startTime", "startTimeMs", "start_time"]),
    ("until", &["endTime", "endTimeMs", "end_time"]),
    ("next_token", &["nextToken"]),
    ("alarm_names", &["alarmNames"]),
    ("per_page", &["perPage", "limit"]),
    ("from", &["from_branch", "base_branch"]),
    ("task_definition", &["taskDefinition"]),
    ("image", &["imageUri"]),
    ("container", &["containerName"]),
    ("expected_head_sha", &["expectedHeadSha"]),
];

/// Names of tools that mean the same: a server that has one of them answers to all of them.
const TOOLS: [&[&str]; 6] = [
    &["addIssueComment", "createIssueComment"],
    &["getPRDiff", "getPullRequestDiff"],
    &["getPRFiles", "listPullRequestFiles"],
    &["createReview", "createReviewComment"],
    &["logs.search", "logs_search", "getServiceLogs", "searchLogs"],
    &["metrics.getServiceHealth", "metrics_getServiceHealth", "getServiceHealth"],
];

/// How a number may be written as a text.
const WHOLE: &str = r"^\s*[+-]?[0-9]+\s*$";
const ANY_NUMBER: &str = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$";
const TRUTH: &str = r"^\s*(true|false)\s*$";

/// Other names: of a tool, and of its arguments. What [`ALIASES`](super::ALIASES) carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Aliases {
    /// Of the tool.
    pub names: Vec<String>,
    /// Of its arguments: the own name, and the others.
    pub arguments: BTreeMap<String, Vec<String>>,
}

impl Aliases {
    /// Those that a tool has by its name and its arguments' schema, and those that it names itself.
    pub(super) fn of(
        name: &str,
        names: &[&str],
        schema: &Value,
        own: &[(&str, &[&str])],
    ) -> Aliases {
        let known = TOOLS.iter().filter(|group| group.contains(&name)).copied().flatten();
        let mut others = Vec::new();
        for other in names.iter().chain(known).filter(|other| **other != name) {
            if !others.iter().any(|known| known == other) {
                others.push((*other).to_owned());
            }
        }
        Aliases { names: others, arguments: of_arguments(schema, own) }
    }

    /// The argument that a name stands for; `None` for one that is not known as another name.
    #[must_use]
    pub fn own_name(&self, name: &str) -> Option<&str> {
        let mut known = self.arguments.iter();
        known.find(|(_, others)| others.iter().any(|other| other == name)).map(|(own, _)| &**own)
    }
}

fn of_arguments(schema: &Value, own: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    // Where any name may be given, one of everybody's may be data.
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let shared: &[(&str, &[&str])] = if closed { &ARGUMENTS } else { &[] };
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let names: Vec<&str> = names(schema).collect();
    let mut add = |argument: &str, other: &str| {
        let taken = names.contains(&other) || found.values().flatten().any(|known| known == other);
        if !taken && names.contains(&argument) {
            found.entry(argument.to_owned()).or_default().push(other.to_owned());
        }
    };
    for (argument, others) in own.iter().chain(shared) {
        others.iter().for_each(|other| add(argument, other));
    }
    if closed {
        names.iter().for_each(|name| add(name, &camel_case(name)));
    }
    found
}

/// The names of a schema's own arguments.
pub(super) fn names(schema: &Value) -> impl Iterator<Item = &str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, _)| name.as_str())
}

/// Arguments under their own names and, where the schema leaves no doubt about what was meant, of their own types.
/// What is unknown or does not fit stays as it is: a check comes after this.
///
/// # Errors
/// When one argument is given under two names, with different values.
pub fn fit(
    tool: &str,
    schema: &Value,
    aliases: &Aliases,
    given: JsonObject,
) -> Result<JsonObject, ToolError> {
    let mut fitted = JsonObject::new();
    for (name, value) in given {
        let own = aliases.own_name(&name).unwrap_or(&name);
        if fitted.get(own).is_some_and(|other| *other != value) {
            let message = format!("{tool}: {own:?} is given twice, with different values");
            let hint =
                format!("give {own:?} once; {:?} is another name of it", others(aliases, own));
            return Err(ToolError::new(Code::InvalidArgument, message).hint(hint));
        }
        fitted.insert(own.to_owned(), value);
    }
    for (name, value) in &mut fitted {
        if let Some(own) = schema.get("properties").and_then(|all| all.get(name)) {
            coerce(value, own);
        }
    }
    Ok(fitted)
}

fn others(aliases: &Aliases, own: &str) -> String {
    aliases.arguments.get(own).map(|others| others.join(", ")).unwrap_or_default()
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (start, rest) = word.split_at(usize::from(!word.is_empty()));
        camel + &start.to_ascii_uppercase() + rest
    })
}

/// The one type that a schema allows, beside null.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            let only = kinds.next()?;
            kinds.next().is_none().then_some(only)
        }
        _ => None,
    }
}

/// Changes the type of a value where the schema leaves no doubt about what was meant.
fn coerce(value: &mut Value, schema: &Value) {
    if let Some(changed) = kind(schema).and_then(|kind| changed(value, kind, schema)) {
        *value = changed;
    }
    match value {
        Value::Object(object) => {
            for (name, member) in object {
                if let Some(own) = schema.get("properties").and_then(|all| all.get(name)) {
                    coerce(member, own);
                }
            }
        }
        Value::Array(items) => {
            let own = schema.get("items").unwrap_or(&Value::Null);
            items.iter_mut().for_each(|item| coerce(item, own));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn changed(value: &Value, kind: &str, schema: &Value) -> Option<Value> {
    match (kind, value) {
        ("integer", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("integer", Value::Number(number)) => whole(number),
        ("number", Value::String(text)) => {
            let number = text.trim().parse::<f64>().ok().and_then(Number::from_f64);
            number.map(Value::Number)
        }
        ("boolean", Value::String(text)) => text.trim().parse::<bool>().ok().map(Value::from),
        ("string", Value::Number(number)) => Some(number.to_string().into()),
        ("array", Value::String(text)) if items_are_texts(schema) => Some(split(text)),
        _ => None,
    }
}

/// A number without a fraction that was written with one: `7.0`.
fn whole(number: &Number) -> Option<Value> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let exact = float.fract() == 0.0 && float.abs() < 9e15;
    exact.then(|| format!("{float:.0}").parse::<i64>().ok().map(Value::from))?
}

fn items_are_texts(schema: &Value) -> bool {
    schema.get("items").and_then(kind) == Some("string")
}

fn split(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(Value::from).collect()
}

/// The schema of what [`fit`] makes fit, as far as types go: for whoever checks what has not been made to fit yet.
/// Names are as they were; [`Aliases::own_name`] says what others stand for.
#[must_use]
pub fn widened(schema: &Value) -> Value {
    let mut wide = schema.clone();
    widen_members(&mut wide);
    wide
}

fn widen_members(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(widen);
    }
    if let Some(items) = schema.get_mut("items").filter(|items| items.is_object()) {
        widen(items);
    }
}

fn widen(schema: &mut Value) {
    let (also, pattern) = match kind(schema) {
        Some("integer") => ("string", Some(WHOLE)),
        Some("number") => ("string", Some(ANY_NUMBER)),
        Some("boolean") => ("string", Some(TRUTH)),
        Some("string") => ("number", None),
        Some("array") if items_are_texts(schema) => ("string", None),
        _ => return widen_members(schema),
    };
    widen_members(schema);
    let Some(schema) = schema.as_object_mut() else { return };
    // These speak of every type: what is added would never fit them, so that there is nothing to add.
    if ["enum", "const", "anyOf", "oneOf", "allOf", "not", "$ref"]
        .iter()
        .any(|word| schema.contains_key(*word))
    {
        return;
    }
    let mut kinds = match schema.remove("type") {
        Some(Value::Array(kinds)) => kinds,
        Some(kind) => vec![kind],
        None => Vec::new(),
    };
    kinds.push(json!(also));
    schema.insert("type".to_owned(), kinds.into());
    if let Some(pattern) = pattern {
        schema.insert("pattern".to_owned(), pattern.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_answers_to_every_name_that_means_the_same() {
        let any = json!({});
        let of = |name, names: &[&str]| Aliases::of(name, names, &any, &[]).names;
        assert_eq!(of("addIssueComment", &[]), ["createIssueComment"]);
        assert_eq!(of("createReviewComment", &["review"]), ["review", "createReview"]);
        assert_eq!(of("logs.search", &["searchLogs"]).len(), 3);
        assert!(of("getIssue", &[]).is_empty());
    }

    #[test]
    fn other_names_never_hide_an_argument_of_the_tool_itself() {
        let schema = json!({
            "additionalProperties": false,
            "properties": { "number": {}, "pr_number": {}, "dry_run": {}, "workflow": {} },
        });
        let aliases = Aliases::of("t", &[], &schema, &[("workflow", &["issue_number", "file"])]);
        assert_eq!(aliases.own_name("issue_number"), Some("workflow"));
        assert_eq!(aliases.own_name("issueNumber"), Some("number"));
        assert_eq!(aliases.own_name("pr_number"), None);
        assert_eq!(aliases.own_name("prNumber"), Some("pr_number"));
        assert_eq!(aliases.own_name("dryRun"), Some("dry_run"));
        assert_eq!(aliases.own_name("run_id"), None);
        let open = json!({ "properties": { "number": {}, "dry_run": {} } });
        let aliases = Aliases::of("t", &[], &open, &[("number", &["no"])]);
        assert_eq!((aliases.own_name("no"), aliases.own_name("dryRun")), (Some("number"), None));
    }

    #[test]
    fn a_widened_schema_takes_what_can_be_made_to_fit_and_nothing_else() {
        let schema = json!({ "type": "object", "properties": {
            "number": { "type": "integer", "minimum": 5 },
            "share": { "type": ["number", "null"] },
            "draft": { "type": "boolean" },
            "title": { "type": "string", "minLength": 2 },
            "labels": { "type": "array", "items": { "type": "string" } },
            "state": { "type": "string", "enum": ["open"] },
            "files": { "type": "array", "items": { "type": "object", "properties": { "mode": { "type": "integer" } } } },
        } });
        let validator = jsonschema::validator_for(&widened(&schema)).unwrap();
        let cases = [
            (json!({ "number": "7" }), true),
            (json!({ "number": "seven" }), false),
            (json!({ "number": 4 }), false),
            (json!({ "share": "1.5e3" }), true),
            (json!({ "share": "much" }), false),
            (json!({ "draft": "true" }), true),
            (json!({ "draft": "yes" }), false),
            (json!({ "title": 12 }), true),
            (json!({ "title": "x" }), false),
            (json!({ "labels": "a, b" }), true),
            (json!({ "labels": [1] }), true),
            (json!({ "labels": { "a": 1 } }), false),
            (json!({ "state": "closed" }), false),
            (json!({ "files": [{ "mode": "1" }] }), true),
            (json!({ "files": [{ "mode": "x" }] }), false),
        ];
        for (value, fits) in cases {
            assert_eq!(validator.is_valid(&value), fits, "{value}");
        }
    }

    #[test]
    fn null_stays_null_and_the_other_type_is_meant() {
        let schema = json!({ "properties": { "milestone": { "type": ["integer", "null"] } } });
        let fit = |given: Value| {
            let given = given.as_object().cloned().unwrap();
            Value::Object(super::fit("t", &schema, &Aliases::default(), given).unwrap())
        };
        assert_eq!(fit(json!({ "milestone": null })), json!({ "milestone": null }));
        assert_eq!(fit(json!({ "milestone": "3" })), json!({ "milestone": 3 }));
    }
}
