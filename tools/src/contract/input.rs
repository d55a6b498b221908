//! Makes arguments fit: other names, other types, then the schema, and an answer that helps when they do not.

use jsonschema::Validator;
use rmcp::model::JsonObject;
use serde_json::{Number, Value};

use super::text::redact;
use super::{Code, ToolError};

/// Other names that every tool understands for an argument it has.
const ALIASES: [(&str, &[&str]); 16] = [
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
const CLOSE_ENOUGH: f64 = 0.7;
const SHOWN_CHARS: usize = 80;

/// How a tool's arguments are named and shaped.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) schema: Value,
    pub(super) aliases: &'static [(&'static str, &'static [&'static str])],
    pub(super) validator: Validator,
}

impl Input {
    /// Turns what a caller sent into what the tool takes.
    pub(super) fn accept(&self, tool: &str, given: JsonObject) -> Result<JsonObject, ToolError> {
        let renamed = self.rename(tool, given)?;
        let mut value = Value::Object(renamed);
        coerce(&mut value, &self.schema);
        self.check(tool, &value)?;
        match value {
            Value::Object(arguments) => Ok(arguments),
            _ => Ok(JsonObject::new()),
        }
    }

    fn rename(&self, tool: &str, given: JsonObject) -> Result<JsonObject, ToolError> {
        let mut renamed = JsonObject::new();
        for (name, value) in given {
            let own = self.own_name(&name).ok_or_else(|| self.unknown(tool, &name))?;
            if renamed.get(own).is_some_and(|other| *other != value) {
                let message = format!("{tool}: {own:?} is given twice, with different values");
                return Err(invalid(message)
                    .hint(format!("give {own:?} once; {name:?} is another name of it")));
            }
            renamed.insert(own.to_owned(), value);
        }
        Ok(renamed)
    }

    /// The name that the tool itself uses for an argument.
    fn own_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let open = self.schema.get("additionalProperties") != Some(&Value::Bool(false));
        if open || self.has(name) {
            return Some(name);
        }
        let tables = self.aliases.iter().chain(&ALIASES);
        let mut known = tables.filter(|(own, others)| self.has(own) && others.contains(&name));
        let snake = || self.names().find(|own| camel_case(own) == name);
        known.next().map(|(own, _)| *own).or_else(snake)
    }

    fn has(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    fn unknown(&self, tool: &str, name: &str) -> ToolError {
        let known = self.names().collect::<Vec<_>>().join(", ");
        let guess = nearest(name, self.names()).map(|own| format!("did you mean {own:?}? "));
        invalid(format!("{tool} has no argument {name:?}"))
            .hint(format!("{}It takes: {known}", guess.unwrap_or_default()))
    }

    fn check(&self, tool: &str, value: &Value) -> Result<(), ToolError> {
        let problem = |error: jsonschema::ValidationError<'_>| {
            let path = error.instance_path().to_string();
            let shown = if path.is_empty() { String::new() } else { format!("{path} ") };
            let got = if path.is_empty() {
                String::new()
            } else {
                format!(", got {}", excerpt(error.instance()))
            };
            format!("{shown}{}{got}", error.masked_with("the value"))
        };
        let problems: Vec<_> = self.validator.iter_errors(value).map(problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let known = self.names().collect::<Vec<_>>().join(", ");
        Err(invalid(format!("{tool}: {}", problems.join("; "))).hint(format!("It takes: {known}")))
    }
}

/// The name that is most like another, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let close = |own: &'a str| (strsim::jaro_winkler(&name, &own.to_ascii_lowercase()), own);
    let likely = known.map(close).filter(|(closeness, _)| CLOSE_ENOUGH <= *closeness);
    likely.max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, own)| own)
}

fn invalid(message: String) -> ToolError {
    ToolError::new(Code::InvalidArgument, message)
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (start, rest) = word.split_at(usize::from(!word.is_empty()));
        camel + &start.to_ascii_uppercase() + rest
    })
}

fn excerpt(value: &Value) -> String {
    let text = redact(&value.to_string(), &[]);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Changes the type of a value where the schema leaves no doubt about what was meant.
fn coerce(value: &mut Value, schema: &Value) {
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if let Some(changed) = changed(value, kind, schema) {
        *value = changed;
    }
    match value {
        Value::Object(object) => {
            for (name, member) in object {
                schema
                    .pointer(&format!("/properties/{name}"))
                    .into_iter()
                    .for_each(|own| coerce(member, own));
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
    schema.pointer("/items/type").and_then(Value::as_str) == Some("string")
}

fn split(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input() -> Input {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["number"],
            "properties": {
                "number": { "type": "integer", "minimum": 1 },
                "draft": { "type": "boolean" },
                "labels": { "type": "array", "items": { "type": "string" } },
                "title": { "type": "string" },
                "dry_run": { "type": "boolean" },
                "files": { "type": "array", "items": { "type": "object", "properties": { "delete": { "type": "boolean" } } } },
            },
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        Input { schema, aliases: &[("title", &["subject"])], validator }
    }

    fn accept(given: Value) -> Result<Value, ToolError> {
        let given = given.as_object().cloned().unwrap();
        input().accept("tool", given).map(Value::Object)
    }

    #[test]
    fn arguments_are_known_by_their_other_names() {
        for other in
            ["number", "issue_number", "issueNumber", "pull_number", "pullNumber", "pr_number"]
        {
            assert_eq!(accept(json!({ other: 7 })).unwrap(), json!({ "number": 7 }));
        }
        let given = json!({ "number": 7, "subject": "a", "dryRun": true });
        assert_eq!(accept(given).unwrap(), json!({ "number": 7, "title": "a", "dry_run": true }));
    }

    #[test]
    fn types_change_where_there_is_no_doubt() {
        let cases = [
            (json!({ "number": "7" }), json!({ "number": 7 })),
            (json!({ "number": 7.0 }), json!({ "number": 7 })),
            (json!({ "number": 7, "draft": "true" }), json!({ "number": 7, "draft": true })),
            (
                json!({ "number": 7, "labels": "a, b" }),
                json!({ "number": 7, "labels": ["a", "b"] }),
            ),
            (json!({ "number": 7, "labels": "a" }), json!({ "number": 7, "labels": ["a"] })),
            (json!({ "number": 7, "labels": [1] }), json!({ "number": 7, "labels": ["1"] })),
            (json!({ "number": 7, "title": 1.5 }), json!({ "number": 7, "title": "1.5" })),
            (
                json!({ "number": 7, "files": [{ "delete": "true" }] }),
                json!({ "number": 7, "files": [{ "delete": true }] }),
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(accept(given).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let error = accept(json!({ "number": "seven" })).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.contains("/number") && error.message.contains("seven"), "{error}");
        let error = accept(json!({})).unwrap_err();
        assert!(error.message.contains("\"number\""), "{error}");
        let error = accept(json!({ "number": 1.5 })).unwrap_err();
        assert!(error.message.contains("1.5"), "{error}");
    }

    #[test]
    fn an_unknown_argument_is_refused_with_a_guess() {
        let error = accept(json!({ "number": 7, "lables": [] })).unwrap_err();
        assert!(error.hint.unwrap().contains("did you mean \"labels\"?"));
        let error = accept(json!({ "zzz": 7 })).unwrap_err();
        assert!(!error.hint.unwrap().contains("did you mean"));
    }

    #[test]
    fn one_argument_under_two_names_must_agree() {
        assert!(accept(json!({ "number": 7, "issue_number": 7 })).is_ok());
        let error = accept(json!({ "number": 7, "issue_number": 8 })).unwrap_err();
        assert!(error.message.contains("twice"), "{error}");
    }
}
