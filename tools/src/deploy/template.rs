//! Puts versions into what the configuration says, and refuses versions that could be anything else.

use serde_json::Value;

use crate::contract::{Code, ToolError};

/// What may stand between braces.
const NAMES: [&str; 5] = ["version", "previous.version", "image", "app", "environment"];
const LONGEST_VERSION: usize = 200;

/// The values of placeholders.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    pub(super) version: Option<String>,
    pub(super) previous_version: Option<String>,
    pub(super) image: Option<String>,
    pub(super) app: Option<String>,
    pub(super) environment: Option<String>,
}

impl Words {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "version" => self.version.as_deref(),
            "previous.version" => self.previous_version.as_deref(),
            "image" => self.image.as_deref(),
            "app" => self.app.as_deref(),
            "environment" => self.environment.as_deref(),
            _ => None,
        }
    }
}

/// Replaces the placeholders of a text.
pub(super) fn fill(text: &str, words: &Words) -> Result<String, ToolError> {
    let mut filled = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Placeholder(name) => match words.get(name) {
                Some(value) => filled.push_str(value),
                None => return Err(unknown(name)),
            },
        }
    }
    Ok(filled)
}

/// Refuses placeholders that nothing will ever fill.
pub(super) fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            for part in parts(text) {
                if let Part::Placeholder(name) = part
                    && !NAMES.contains(&name)
                {
                    let known: Vec<_> =
                        NAMES.iter().map(|name| format!("{{{{{name}}}}}")).collect();
                    return Err(format!(
                        "nothing fills {{{{{name}}}}} in {text:?}; known are {}",
                        known.join(", ")
                    ));
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(members) => members.values().try_for_each(check),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Refuses a version that could be read as something else: an option of a program, a path, another request.
pub(super) fn check_version(what: &str, version: &str) -> Result<(), ToolError> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "._+:/@-".contains(char);
    let fits = version.len() <= LONGEST_VERSION
        && version.starts_with(|char: char| char.is_ascii_alphanumeric())
        && version.chars().all(plain)
        && !version.contains("..");
    if fits {
        return Ok(());
    }
    let message = format!("{what} {version:?} cannot be deployed");
    Err(ToolError::new(Code::InvalidArgument, message).hint(
        "it begins with a letter or digit and goes on with letters, digits and . _ + : / @ -, \
         such as \"1.4.2\", \"v7\" or a commit's sha",
    ))
}

enum Part<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let start = rest.find("{{");
        if start == Some(0)
            && let Some(end) = rest.find("}}")
        {
            let name = rest[2..end].trim();
            rest = &rest[end + 2..];
            return Some(Part::Placeholder(name));
        }
        let closes = |start: &usize| rest[*start..].contains("}}");
        let end = start.filter(closes).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Part::Text(text))
    })
}

fn unknown(name: &str) -> ToolError {
    let message = format!("nothing is known that could stand for {{{{{name}}}}}");
    let hint = match name {
        "version" => "give version",
        "previous.version" => "nothing was deployed before: give the version to go back to",
        "image" => "give image, or configure `image` for this environment",
        _ => "address it by app and environment",
    };
    ToolError::new(Code::FailedPrecondition, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_and_nothing_else_is_touched() {
        let words = Words {
            version: Some("1.2".to_owned()),
            previous_version: Some("1.1".to_owned()),
            ..Words::default()
        };
        let cases = [
            ("r/app:{{version}}", "r/app:1.2"),
            ("{{ version }}-{{previous.version}}", "1.2-1.1"),
            ("plain", "plain"),
            ("", ""),
            ("{{unclosed", "{{unclosed"),
            ("a{b}c", "a{b}c"),
        ];
        for (text, expected) in cases {
            assert_eq!(fill(text, &words).unwrap(), expected);
        }
        assert_eq!(fill("{{image}}", &words).unwrap_err().code, Code::FailedPrecondition);
    }

    #[test]
    fn placeholders_nothing_fills_are_found() {
        assert!(check(&json!({ "a": ["{{version}}", { "b": "{{app}}" }], "c": 1 })).is_ok());
        assert!(check(&json!([["{{vresion}}"]])).unwrap_err().contains("vresion"));
    }

    #[test]
    fn versions_cannot_be_options_paths_or_commands() {
        for good in ["1.4.2", "v7", "sha-0a1b", "r.example:5000/a/b@sha256:0", "a+b_c"] {
            check_version("version", good).unwrap();
        }
        for bad in ["", "-rf", "--help", "a b", "a;b", "$(x)", "../x", "/etc", "a\nb", "é"] {
            assert!(check_version("version", bad).is_err(), "{bad:?}");
        }
    }
}
