//! Reading the values of one object, and saying what is wrong with them.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::document::{Entry, Kind, Node, Place};
use crate::Problem;
use crate::expr::escape_pointer;
use crate::problem::nearest;

/// The longest name, in characters.
const MAX_NAME: usize = 64;

/// A value, where it is, and where problems with it go.
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) pointer: String,
}

/// The keys and values of one object.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    pub(super) place: Place,
    pub(super) pointer: String,
    /// What the object is, for messages: `a step`, `config`.
    what: &'static str,
}

impl<'n> At<'n> {
    /// A problem with this value.
    pub(super) fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        let Place { line, column } = self.node.place;
        Problem { line, column, ..Problem::new(code, self.pointer.as_str(), message) }
    }

    /// A problem whose pointer begins at this value.
    pub(super) fn inside(&self, problem: Problem) -> Problem {
        let place = self.node.place_of(&problem.pointer);
        let pointer = format!("{}{}", self.pointer, problem.pointer);
        Problem { pointer, line: place.line, column: place.column, ..problem }
    }

    /// The last key of the pointer, for messages; with its list when it is a place in one.
    pub(super) fn key(&self) -> Cow<'_, str> {
        let (parent, key) = self.pointer.rsplit_once('/').unwrap_or(("", &self.pointer));
        match key.parse::<usize>() {
            Ok(index) => {
                Cow::Owned(format!("{}[{index}]", parent.rsplit('/').next().unwrap_or("")))
            }
            Err(_) => Cow::Borrowed(key),
        }
    }

    fn wrong_type(&self, expected: &str) -> Problem {
        let given = self.node.with_article();
        let place = match self.pointer.is_empty() {
            true => "the document".to_owned(),
            false => format!("`{}`", self.key()),
        };
        self.problem("wrong_type", format!("{place} must be {expected}, and is {given}"))
    }

    pub(super) fn item(&self, index: usize, node: &'n Node) -> At<'n> {
        At { node, pointer: format!("{}/{index}", self.pointer) }
    }

    /// The value as a text.
    pub(super) fn text(&self, problems: &mut Vec<Problem>) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            Kind::Scalar(value) if !value.is_null() => {
                let mut problem = self.wrong_type("a text");
                problem.suggestion = Some(format!("\"{value}\""));
                problems.push(problem);
                None
            }
            _ => {
                problems.push(self.wrong_type("a text"));
                None
            }
        }
    }

    pub(super) fn boolean(&self, problems: &mut Vec<Problem>) -> Option<bool> {
        if let Kind::Scalar(Value::Bool(truth)) = self.node.kind {
            return Some(truth);
        }
        let mut problem = self.wrong_type("true or false");
        if let Kind::Scalar(Value::String(text)) = &self.node.kind {
            problem.suggestion = match text.to_lowercase().as_str() {
                "yes" | "on" | "true" => Some("true".to_owned()),
                "no" | "off" | "false" => Some("false".to_owned()),
                _ => None,
            };
        }
        problems.push(problem);
        None
    }

    pub(super) fn whole(
        &self,
        allowed: RangeInclusive<u64>,
        problems: &mut Vec<Problem>,
    ) -> Option<u64> {
        let (least, most) = (*allowed.start(), *allowed.end());
        let expected = format!("a whole number from {least} to {most}");
        let number = match &self.node.kind {
            Kind::Scalar(Value::Number(number)) => number,
            kind => {
                let mut problem = self.wrong_type(&expected);
                problem.suggestion = milliseconds(kind, &self.key());
                problems.push(problem);
                return None;
            }
        };
        let whole = number.as_u64().or_else(|| {
            let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
            (0.0..9e15).contains(&number).then_some(number as u64)
        });
        let found = whole.filter(|number| allowed.contains(number));
        if found.is_none() {
            let message = format!("`{}` must be {expected}, and is {number}", self.key());
            let mut problem = self.problem("out_of_range", message);
            problem.suggestion = whole.map(|number| number.clamp(least, most).to_string());
            problems.push(problem);
        }
        found
    }

    pub(super) fn fraction(
        &self,
        allowed: RangeInclusive<f64>,
        problems: &mut Vec<Problem>,
    ) -> Option<f64> {
        let expected = format!("a number from {} to {}", allowed.start(), allowed.end());
        let number = match &self.node.kind {
            Kind::Scalar(Value::Number(number)) => number.as_f64(),
            _ => None,
        };
        let Some(number) = number else {
            problems.push(self.wrong_type(&expected));
            return None;
        };
        if allowed.contains(&number) {
            return Some(number);
        }
        let message = format!("`{}` must be {expected}, and is {number}", self.key());
        problems.push(self.problem("out_of_range", message));
        None
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(
        &self,
        words: &[(&'static str, T)],
        problems: &mut Vec<Problem>,
    ) -> Option<T> {
        let given = self.text(problems)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
            return Some(*meaning);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("`{}` must be {}, and is `{given}`", self.key(), any_of(&names));
        let mut problem = self.problem("unknown_value", message);
        problem.suggestion = nearest(given, names).first().map(|name| did_you_mean(name));
        problems.push(problem);
        None
    }

    pub(super) fn list(&self, problems: &mut Vec<Problem>) -> Option<Vec<At<'n>>> {
        match &self.node.kind {
            Kind::List(items) => {
                let items = items.iter().enumerate();
                Some(items.map(|(index, item)| self.item(index, item)).collect())
            }
            Kind::Scalar(Value::String(text)) => {
                let mut problem = self.wrong_type("a list");
                problem.suggestion = Some(format!("[{text}]"));
                problems.push(problem);
                None
            }
            Kind::Scalar(_) | Kind::Object(_) => {
                problems.push(self.wrong_type("a list"));
                None
            }
        }
    }

    pub(super) fn texts(&self, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
        let items = self.list(problems)?;
        let texts = items.iter().filter_map(|item| item.text(problems));
        Some(texts.map(str::to_owned).collect())
    }

    pub(super) fn object(
        &self,
        what: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Fields<'n>> {
        match &self.node.kind {
            Kind::Object(entries) => Some(Fields {
                entries,
                place: self.node.place,
                pointer: self.pointer.clone(),
                what,
            }),
            Kind::Scalar(_) | Kind::List(_) => {
                problems.push(self.wrong_type("an object (`key: value`)"));
                None
            }
        }
    }

    /// A name: `[a-z][a-z0-9_]*`, or also with upper case where `upper` allows it.
    pub(super) fn name(&self, upper: bool, problems: &mut Vec<Problem>) -> Option<String> {
        let name = self.text(problems)?;
        let letter = |c: char| c.is_ascii_lowercase() || upper && c.is_ascii_uppercase();
        let rest = |c: char| letter(c) || c.is_ascii_digit() || c == '_';
        let fits = name.starts_with(letter) && name.chars().all(rest) && name.len() <= MAX_NAME;
        if fits {
            return Some(name.to_owned());
        }
        let pattern = if upper { "[a-zA-Z][a-zA-Z0-9_]*" } else { "[a-z][a-z0-9_]*" };
        let message = format!(
            "`{name}` is not a name: names are {pattern} and have at most {MAX_NAME} characters"
        );
        let mut problem = self.problem("invalid_name", message);
        problem.suggestion = Some(snake_case(name)).filter(|name| !name.is_empty());
        problems.push(problem);
        None
    }
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<At<'n>> {
        let entry = self.entries.iter().rev().find(|entry| entry.key == key)?;
        let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
        Some(At { node: &entry.node, pointer })
    }

    pub(super) fn required(&self, key: &str, problems: &mut Vec<Problem>) -> Option<At<'n>> {
        let found = self.get(key);
        if found.is_none() && !self.probably(key) {
            let Place { line, column } = self.place;
            let message = format!("{} needs the key `{key}`", self.what);
            let problem = Problem::new("missing_key", self.pointer.as_str(), message);
            problems.push(Problem { line, column, ..problem });
        }
        found
    }

    /// Whether some key is this one with a typing error: then that is the problem.
    fn probably(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| !nearest(&entry.key, [key]).is_empty())
    }

    /// Refuses every key that is neither known nor planned.
    pub(super) fn only(&self, known: &[&str], later: &[&str], problems: &mut Vec<Problem>) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if known.contains(&key) {
                continue;
            }
            let (code, message, suggestion) = if later.contains(&key) {
                let message = format!(
                    "`{key}` is part of the language but this version of Windlass does not run it \
                     yet"
                );
                ("not_yet", message, None)
            } else {
                let near = nearest(key, known.iter().copied().chain(later.iter().copied()));
                let message =
                    format!("{} has no key `{key}`; its keys are {}", self.what, known.join(", "));
                ("unknown_key", message, near.first().map(|name| did_you_mean(name)))
            };
            let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
            let Place { line, column } = entry.place;
            let problem = Problem::new(code, pointer, message);
            problems.push(Problem { line, column, suggestion, ..problem });
        }
    }
}

pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn any_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}

/// `30s` as milliseconds, where milliseconds are wanted; a quoted number without its quotes.
fn milliseconds(kind: &Kind, key: &str) -> Option<String> {
    let Kind::Scalar(Value::String(text)) = kind else { return None };
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let factor = match (text[end..].trim(), key.ends_with("Ms")) {
        ("", _) => 1,
        ("ms", true) => 1,
        ("s" | "sec" | "seconds", true) => 1_000,
        ("m" | "min" | "minutes", true) => 60_000,
        ("h" | "hours", true) => 3_600_000,
        ("d" | "days", true) => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).map(|number| number.to_string())
}

/// A name made from any text.
fn snake_case(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        let character = if character.is_ascii_alphanumeric() { character } else { '_' };
        let hump = character.is_ascii_uppercase()
            && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if hump {
            name.push('_');
        }
        if character != '_' || !name.ends_with('_') {
            name.push(character.to_ascii_lowercase());
        }
    }
    let name = name.trim_matches('_').trim_start_matches(|c: char| c.is_ascii_digit());
    let name: String = name.trim_start_matches('_').chars().take(MAX_NAME).collect();
    name
}
