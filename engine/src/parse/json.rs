//! JSON text → a tree with places.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::Value;

use super::document::{self, Entry, Kind, MAX_DEPTH, Node, Place};
use crate::Problem;

/// JSON as RFC 8259 has it, nothing more.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a JSON document.
pub(super) fn read(text: &str) -> Result<Node, Vec<Problem>> {
    let lines = Lines::new(text);
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT);
    let value = parsed.map_err(|error| vec![syntax(&error, &lines)])?.value;
    let mut reader = Reader { lines, problems: Vec::new() };
    let node = match &value {
        Some(value) => reader.node(value, 0),
        None => Node { kind: Kind::Scalar(Value::Null), place: Place::START },
    };
    match reader.problems.is_empty() {
        true => Ok(node),
        false => Err(reader.problems),
    }
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Lines<'t> {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    fn place(&self, at: usize) -> Place {
        let at = self.text.floor_char_boundary(at);
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        Place { line, column: self.text[start..at].chars().count() + 1 }
    }
}

struct Reader<'t> {
    lines: Lines<'t>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn node(&mut self, value: &ast::Value<'_>, depth: usize) -> Node {
        let place = self.lines.place(value.start());
        if MAX_DEPTH < depth {
            self.too_deep(place);
            return Node { kind: Kind::Scalar(Value::Null), place };
        }
        let kind = match value {
            ast::Value::StringLit(text) => Kind::Scalar(Value::from(text.value.as_ref())),
            ast::Value::NumberLit(number) => Kind::Scalar(self.number(number.value, place)),
            ast::Value::BooleanLit(boolean) => Kind::Scalar(Value::Bool(boolean.value)),
            ast::Value::NullKeyword(_) => Kind::Scalar(Value::Null),
            ast::Value::Array(list) => {
                Kind::List(list.elements.iter().map(|item| self.node(item, depth + 1)).collect())
            }
            ast::Value::Object(object) => {
                let entries = object.properties.iter();
                Kind::Object(entries.map(|property| self.entry(property, depth)).collect())
            }
        };
        Node { kind, place }
    }

    fn entry(&mut self, property: &ast::ObjectProp<'_>, depth: usize) -> Entry {
        Entry {
            key: property.name.as_str().to_owned(),
            place: self.lines.place(property.name.start()),
            node: self.node(&property.value, depth + 1),
        }
    }

    fn number(&mut self, text: &str, place: Place) -> Value {
        document::number(text).unwrap_or_else(|message| {
            let suggestion = Some(format!("\"{text}\""));
            self.problems.push(Problem {
                code: "number_out_of_range",
                ..document::syntax(place, message, suggestion)
            });
            Value::Null
        })
    }

    fn too_deep(&mut self, place: Place) {
        if self.problems.iter().all(|problem| problem.code != "too_large") {
            self.problems.push(document::too_deep(place));
        }
    }
}

fn syntax(error: &ParseError, lines: &Lines<'_>) -> Problem {
    let place = lines.place(error.range().start);
    if let ParseErrorKind::NestingDepthExceeded = error.kind() {
        return document::too_deep(place);
    }
    let found = error.kind().to_string();
    let mut message = String::from("this is not JSON: ");
    message.extend(found.chars().next().map(|first| first.to_ascii_lowercase()));
    message.extend(found.chars().skip(1));
    document::syntax(place, message, fix(error.kind()).map(str::to_owned))
}

/// The likely repair.
fn fix(kind: &ParseErrorKind) -> Option<&'static str> {
    match kind {
        ParseErrorKind::TrailingCommasNotAllowed => Some("remove the comma before the bracket"),
        ParseErrorKind::CommentsNotAllowed => {
            Some("remove the comment, put it into `description`, or write the document as YAML")
        }
        ParseErrorKind::SingleQuotedStringsNotAllowed => Some("use double quotes"),
        ParseErrorKind::ExpectedComma => Some("put a comma between the two values"),
        ParseErrorKind::ExpectedStringObjectProperty | ParseErrorKind::UnexpectedWord => {
            Some("put double quotes around it")
        }
        ParseErrorKind::ExpectedColonAfterObjectKey => Some("put a colon after the key"),
        ParseErrorKind::UnterminatedObject => Some("close it with `}`"),
        ParseErrorKind::UnterminatedArray => Some("close it with `]`"),
        _ => None,
    }
}
