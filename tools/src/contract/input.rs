//! Makes arguments fit: other names, other types, then the schema, and an answer that helps when they do not.

use jsonschema::Validator;
use rmcp::model::JsonObject;
use serde_json::Value;

use super::fit::{Aliases, fit, names};
use super::text::redact;
use super::{Code, ToolError};

const CLOSE_ENOUGH: f64 = 0.7;
const SHOWN_CHARS: usize = 80;

/// How a tool's arguments are named and shaped.
#[derive(Debug)]
pub(super) struct Input {
    schema: Value,
    aliases: Aliases,
    validator: Validator,
}

impl Input {
    pub(super) fn new(schema: Value, aliases: Aliases) -> Self {
        let validator =
            jsonschema::validator_for(&schema).expect("the input schemas that ship are valid");
        Self { schema, aliases, validator }
    }

    /// Turns what a caller sent into what the tool takes.
    pub(super) fn accept(&self, tool: &str, given: JsonObject) -> Result<JsonObject, ToolError> {
        let fitted = fit(tool, &self.schema, &self.aliases, given)?;
        let closed = self.schema.get("additionalProperties") == Some(&Value::Bool(false));
        if let Some(name) = fitted.keys().find(|name| closed && !self.has(name)) {
            return Err(self.unknown(tool, name));
        }
        let value = Value::Object(fitted);
        self.check(tool, &value)?;
        match value {
            Value::Object(arguments) => Ok(arguments),
            _ => Ok(JsonObject::new()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.schema)
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

fn excerpt(value: &Value) -> String {
    let text = redact(&value.to_string(), &[]);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
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
        let aliases = Aliases::of("tool", &[], &schema, &[("title", &["subject"])]);
        Input::new(schema, aliases)
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
