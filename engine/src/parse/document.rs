//! A document as a tree in which every key and value knows its place in the text.

use serde_json::Value;

use crate::Problem;
use crate::expr::escape_pointer;

/// How deep a document may be nested.
pub(super) const MAX_DEPTH: usize = 64;

/// How many values a document may have, what aliases repeat included.
pub(super) const MAX_NODES: usize = 200_000;

/// A line and a column, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Neither a list nor an object.
    Scalar(Value),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Place {
    pub(crate) const START: Place = Place { line: 1, column: 1 };
}

impl Node {
    /// The value without its places; of keys that are given twice the last counts.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Object(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value())).collect(),
            ),
        }
    }

    /// The place of what a JSON Pointer points at, or of what comes nearest to it.
    pub(crate) fn place_of(&self, pointer: &str) -> Place {
        self.along(pointer).0.place
    }

    /// The place of the key that a JSON Pointer ends with, or of what comes nearest to it.
    pub(crate) fn place_of_key(&self, pointer: &str) -> Place {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let (node, _) = self.along(parent);
        let key = match &node.kind {
            Kind::Object(entries) => entries.iter().find(|entry| escape_pointer(&entry.key) == key),
            Kind::Scalar(_) | Kind::List(_) => None,
        };
        key.map_or(node.place, |entry| entry.place)
    }

    /// What a JSON Pointer points at.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Node> {
        let (node, whole) = self.along(pointer);
        whole.then_some(node)
    }

    /// What comes nearest to what a JSON Pointer points at, and whether it is just that.
    fn along(&self, pointer: &str) -> (&Node, bool) {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let child = match &node.kind {
                Kind::Scalar(_) => None,
                Kind::List(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
                Kind::Object(entries) => entries
                    .iter()
                    .find(|entry| escape_pointer(&entry.key) == token)
                    .map(|entry| &entry.node),
            };
            match child {
                Some(child) => node = child,
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// How many values there are, this one included.
    pub(super) fn count(&self) -> usize {
        match &self.kind {
            Kind::Scalar(_) => 1,
            Kind::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Kind::Object(entries) => {
                1 + entries.iter().map(|entry| entry.node.count()).sum::<usize>()
            }
        }
    }

    /// How many levels there are below this one.
    pub(super) fn depth(&self) -> usize {
        match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(|item| item.depth() + 1).max().unwrap_or(1),
            Kind::Object(entries) => {
                entries.iter().map(|entry| entry.node.depth() + 1).max().unwrap_or(1)
            }
        }
    }

    /// What kind of value it is, in a sentence.
    pub(crate) fn with_article(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(Value::Null) => "nothing (null)",
            Kind::Scalar(Value::Bool(_)) => "true or false",
            Kind::Scalar(Value::Number(_)) => "a number",
            Kind::Scalar(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }
}

/// Keys that stand twice in one object.
pub(super) fn duplicate_keys(node: &Node, pointer: &str, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                duplicate_keys(item, &format!("{pointer}/{index}"), problems);
            }
        }
        Kind::Object(entries) => {
            let mut seen = std::collections::HashMap::new();
            for entry in entries {
                let inside = format!("{pointer}/{}", escape_pointer(&entry.key));
                if let Some(first) = seen.insert(entry.key.as_str(), entry.place) {
                    problems.push(duplicate_key(entry, first, &inside));
                }
                duplicate_keys(&entry.node, &inside, problems);
            }
        }
    }
}

fn duplicate_key(entry: &Entry, first: Place, pointer: &str) -> Problem {
    let message = format!(
        "the key `{}` is already given in line {}; each key may stand once",
        entry.key, first.line
    );
    let Place { line, column } = entry.place;
    Problem { line, column, ..Problem::new("duplicate_key", pointer, message) }
}

/// A problem with the text itself.
pub(super) fn syntax(place: Place, message: String, suggestion: Option<String>) -> Problem {
    let Place { line, column } = place;
    Problem { line, column, suggestion, ..Problem::new("syntax", "", message) }
}

/// A problem with how large the document is.
pub(super) fn too_large(place: Place, message: String) -> Problem {
    Problem { code: "too_large", ..syntax(place, message, None) }
}

/// A problem with how deep the document is nested.
pub(super) fn too_deep(place: Place) -> Problem {
    too_large(place, format!("the document is nested more than {MAX_DEPTH} levels deep"))
}

/// A whole number or a fraction as it is written in JSON or YAML.
///
/// The error says what is wrong with it.
pub(super) fn number(text: &str) -> Result<Value, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.contains(['.', 'e', 'E']) {
        let whole = digits.parse::<i64>().map(Value::from);
        let whole = whole.or_else(|_| digits.parse::<u64>().map(Value::from));
        return whole.map_err(|_| {
            format!("the number {text} has more than 64 bits and would not stay exact; quote it")
        });
    }
    let number = digits.parse().ok().and_then(serde_json::Number::from_f64);
    number.map(Value::Number).ok_or_else(|| format!("the number {text} is too large"))
}
