//! Reading the values of one object, and saying what is wrong with them.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::aliases::{self, Alias};
use super::document::{Entry, Kind, Node, Place};
use crate::expr::escape_pointer;
use crate::problem::nearest;
use crate::{PatchOperation, Problem};

/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 64;

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

    pub(super) fn wrong_type(&self, expected: &str) -> Problem {
        let given = self.node.with_article();
        let place = match self.pointer.is_empty() {
            true => "the document".to_owned(),
            false => format!("`{}`", self.key()),
        };
        let message = format!("{place} must be {expected}, and is {given}");
        Problem {
            expected: Some(expected.to_owned()),
            found: Some(given.to_owned()),
            ..self.problem("wrong_type", message)
        }
    }

    /// The patch that puts another value here.
    pub(super) fn replaced(&self, value: impl Into<Value>) -> Vec<PatchOperation> {
        vec![PatchOperation::Replace { path: self.pointer.clone(), value: value.into() }]
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
                problem.patch = self.replaced(value.to_string());
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
            let meant = match text.to_lowercase().as_str() {
                "yes" | "on" | "true" => Some(true),
                "no" | "off" | "false" => Some(false),
                _ => None,
            };
            problem.suggestion = meant.map(|truth| truth.to_string());
            problem.patch = meant.map(|truth| self.replaced(truth)).unwrap_or_default();
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
                let meant = milliseconds(kind, &self.key());
                problem.suggestion = meant.map(|number| number.to_string());
                let meant = meant.filter(|number| allowed.contains(number));
                problem.patch = meant.map(|number| self.replaced(number)).unwrap_or_default();
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
            problem.expected = Some(expected);
            problem.found = Some(number.to_string());
            problems.push(problem);
        }
        found
    }

    /// A small whole number.
    pub(super) fn small(
        &self,
        allowed: RangeInclusive<u32>,
        problems: &mut Vec<Problem>,
    ) -> Option<u32> {
        let allowed = (*allowed.start()).into()..=(*allowed.end()).into();
        u32::try_from(self.whole(allowed, problems)?).ok()
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
            let mut problem = self.wrong_type(&expected);
            if let Kind::Scalar(Value::String(text)) = &self.node.kind
                && let Ok(number) = text.trim().parse::<f64>()
            {
                problem.suggestion = Some(number.to_string());
                problem.patch = self.replaced(number);
            }
            problems.push(problem);
            return None;
        };
        if allowed.contains(&number) {
            return Some(number);
        }
        let message = format!("`{}` must be {expected}, and is {number}", self.key());
        problems.push(Problem {
            expected: Some(expected),
            found: Some(number.to_string()),
            ..self.problem("out_of_range", message)
        });
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
        problems.push(self.unknown_value(given, &names));
        None
    }

    /// A word that is none of those that are allowed.
    pub(super) fn unknown_value(&self, given: &str, words: &[&str]) -> Problem {
        let expected = any_of(words);
        let message = format!("`{}` must be {expected}, and is `{given}`", self.key());
        let near = match aliases::word(given).filter(|word| words.contains(word)) {
            Some(word) => vec![word],
            None => nearest(given, words.iter().copied()),
        };
        Problem {
            suggestion: near.first().map(|name| did_you_mean(name)),
            patch: near.first().map(|name| self.replaced(*name)).unwrap_or_default(),
            nearest: near.into_iter().map(str::to_owned).collect(),
            expected: Some(expected),
            found: Some(given.to_owned()),
            ..self.problem("unknown_value", message)
        }
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
                let items: Vec<Value> = text.split(',').map(|item| item.trim().into()).collect();
                problem.patch = self.replaced(items);
                problems.push(problem);
                None
            }
            Kind::Scalar(value) if !value.is_null() => {
                let mut problem = self.wrong_type("a list");
                problem.suggestion = Some(format!("[{value}]"));
                problem.patch = self.replaced(vec![value.clone()]);
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
        if is_name(name, upper) {
            return Some(name.to_owned());
        }
        let pattern = if upper { "[a-zA-Z][a-zA-Z0-9_]*" } else { "[a-z][a-z0-9_]*" };
        let message = format!(
            "`{name}` is not a name: names are {pattern} and have at most {MAX_NAME} characters"
        );
        let mut problem = self.problem("invalid_name", message);
        let meant = Some(snake_case(name)).filter(|name| !name.is_empty());
        problem.patch = meant.as_deref().map(|name| self.replaced(name)).unwrap_or_default();
        problem.suggestion = meant;
        problem.expected = Some(pattern.to_owned());
        problem.found = Some(name.to_owned());
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

    /// The keys, as they were written.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'n str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// The entries, each value with its place.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'n Entry, At<'n>)> {
        self.entries.iter().map(|entry| {
            let pointer = self.below(&entry.key);
            (entry, At { node: &entry.node, pointer })
        })
    }

    /// The JSON Pointer of a key.
    pub(super) fn below(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, escape_pointer(key))
    }

    /// Refuses a key that is not a name in expressions.
    pub(super) fn name_key(&self, entry: &Entry, problems: &mut Vec<Problem>) {
        let name = entry.key.as_str();
        if is_name(name, true) {
            return;
        }
        let message = format!(
            "`{name}` is not a name: names are [a-zA-Z][a-zA-Z0-9_]* and have at most {MAX_NAME} characters"
        );
        let meant = Some(snake_case(name)).filter(|name| !name.is_empty());
        let path = meant.as_deref().filter(|name| self.get(name).is_none());
        let path = path.map(|name| self.below(name));
        problems.push(Problem {
            patch: path
                .map(|path| vec![PatchOperation::Move { from: self.below(name), path }])
                .unwrap_or_default(),
            suggestion: meant,
            found: Some(name.to_owned()),
            ..self.key_problem(name, "invalid_name", message)
        });
    }

    /// A problem with the object as a whole.
    pub(super) fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        let Place { line, column } = self.place;
        Problem { line, column, ..Problem::new(code, self.pointer.as_str(), message) }
    }

    /// A problem with a key rather than with its value.
    pub(super) fn key_problem(
        &self,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Problem {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let Place { line, column } = entry.map_or(self.place, |entry| entry.place);
        Problem { line, column, ..Problem::new(code, self.below(key), message) }
    }

    pub(super) fn required(
        &self,
        key: &str,
        others: &[Alias],
        problems: &mut Vec<Problem>,
    ) -> Option<At<'n>> {
        let found = self.get(key);
        if found.is_none() && !self.probably(key, others) {
            let message = format!("{} needs the key `{key}`", self.what);
            problems.push(Problem {
                expected: Some(format!("the key `{key}`")),
                ..self.problem("missing_key", message)
            });
        }
        found
    }

    /// Whether some key is this one with a typing error, or its name elsewhere: then that is the problem.
    pub(super) fn probably(&self, key: &str, others: &[Alias]) -> bool {
        self.keys()
            .any(|given| !nearest(given, [key]).is_empty() || aliases::means(given, key, others))
    }

    /// Refuses every key that is not known; `others` are the names that other systems have for them.
    pub(super) fn only(
        &self,
        known: &[&'static str],
        others: &[Alias],
        problems: &mut Vec<Problem>,
    ) {
        for entry in self.entries {
            if !known.contains(&entry.key.as_str()) {
                problems.push(self.unknown_key(entry, known, others));
            }
        }
    }

    fn unknown_key(&self, entry: &Entry, known: &[&'static str], others: &[Alias]) -> Problem {
        let key = entry.key.as_str();
        let alias = aliases::find(key, known, others);
        let near = match &alias {
            Some(alias) if alias.ours.is_empty() => Vec::new(),
            Some(alias) => vec![alias.ours],
            None => nearest(key, known.iter().copied()),
        };
        let what = self.what;
        let message = match alias.as_ref().and_then(|alias| alias.advice) {
            Some(advice) => format!("{what} has no key `{key}`: {advice}"),
            None if near.is_empty() => {
                format!("{what} has no key `{key}`; its keys are {}", known.join(", "))
            }
            None => format!("{what} has no key `{key}`"),
        };
        let alias = alias.or_else(|| near.first().map(|ours| Alias::same(ours)));
        let patch = match alias.filter(|alias| self.get(alias.ours).is_none()) {
            Some(alias) => alias.patch(&self.below(key), &self.below(alias.ours), &entry.node),
            None => Vec::new(),
        };
        Problem {
            suggestion: near.first().map(|name| did_you_mean(name)),
            nearest: near.into_iter().map(str::to_owned).collect(),
            expected: Some(any_of(known)),
            found: Some(key.to_owned()),
            patch,
            ..self.key_problem(key, "unknown_key", message)
        }
    }
}

pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

pub(super) fn any_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.join(""),
    }
}

/// `30s` as milliseconds, where milliseconds are wanted; a quoted number without its quotes.
fn milliseconds(kind: &Kind, key: &str) -> Option<u64> {
    let Kind::Scalar(Value::String(text)) = kind else { return None };
    duration(text, key.ends_with("Ms") || key == "ms")
}

/// `30s` as milliseconds, if `units` are understood; a plain number as it is.
pub(super) fn duration(text: &str, units: bool) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let factor = match (text[end..].trim(), units) {
        ("", _) => 1,
        ("ms", true) => 1,
        ("s" | "sec" | "second" | "seconds", true) => 1_000,
        ("m" | "min" | "minute" | "minutes", true) => 60_000,
        ("h" | "hour" | "hours", true) => 3_600_000,
        ("d" | "day" | "days", true) => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Whether a text is `[a-z][a-z0-9_]*`, or also with upper case.
fn is_name(text: &str, upper: bool) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || upper && c.is_ascii_uppercase();
    let rest = |c: char| letter(c) || c.is_ascii_digit() || c == '_';
    text.starts_with(letter) && text.chars().all(rest) && text.len() <= MAX_NAME
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
