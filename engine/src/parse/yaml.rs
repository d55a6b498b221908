//! YAML text → a tree with places.
//!
//! YAML 1.2 with its core schema: `yes`, `on` and `012` are not what they were in 1.1. Aliases are
//! replaced by what they stand for, within bounds.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::Value;

use super::document::{self, Entry, Kind, MAX_DEPTH, MAX_NODES, Node, Place};
use crate::Problem;

/// Reads a YAML document.
pub(super) fn read(text: &str) -> Result<Node, Vec<Problem>> {
    let mut reader = Reader::new(text);
    match reader.document() {
        Err(Stop) => Err(reader.problems),
        Ok(_) if !reader.problems.is_empty() => Err(reader.problems),
        Ok(node) => Ok(node),
    }
}

/// Reading cannot go on; the last problem says why.
struct Stop;

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// What each anchor stands for; `None` while it is being read.
    anchors: HashMap<usize, Option<Node>>,
    nodes: usize,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Reader<'t> {
        Reader {
            text,
            events: Parser::new_from_str(text),
            anchors: HashMap::new(),
            nodes: 0,
            problems: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd, _) => return Ok(empty(Place::START)),
                (event, span) => {
                    let node = self.node(event, span, 0)?;
                    self.end()?;
                    return Ok(node);
                }
            }
        }
    }

    /// Nothing may follow the first document.
    fn end(&mut self) -> Result<(), Stop> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentStart(_), span) => {
                    let message = "a file holds one workflow; a second document begins here";
                    return Err(self.stop(place(&span), message.to_owned(), None));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                self.problems.push(syntax(&error, self.text));
                Err(Stop)
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stop(&mut self, place: Place, message: String, suggestion: Option<String>) -> Stop {
        self.problems.push(document::syntax(place, message, suggestion));
        Stop
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        let place = place(&span);
        self.count(1, depth, place)?;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (Kind::Scalar(self.scalar(&text, style, tag.as_deref(), place)), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", place);
                self.open(anchor);
                (Kind::List(self.list(depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", place);
                self.open(anchor);
                (Kind::Object(self.object(depth)?), anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, depth, place),
            // The parser does not give these inside a value.
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Ok(empty(place)),
        };
        let node = Node { kind, place };
        if anchor != 0 {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        Ok(node)
    }

    fn open(&mut self, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(entries),
                Event::Scalar(key, style, _, _) => self.key(&key, style, &span),
                _ => return Err(self.complex_key(&span)),
            };
            let (event, value) = self.next()?;
            let node = self.node(event, value, depth + 1)?;
            entries.push(Entry { key, place: place(&span), node });
        }
    }

    fn key(&mut self, key: &str, style: ScalarStyle, span: &Span) -> String {
        if key == "<<" && style == ScalarStyle::Plain {
            let message = "merge keys (`<<`) are not part of YAML 1.2; write the keys out, or give \
                           a whole value a name with `&name` and repeat it with `*name`";
            self.problems.push(document::syntax(place(span), message.to_owned(), None));
        }
        key.to_owned()
    }

    fn complex_key(&mut self, span: &Span) -> Stop {
        let place = place(span);
        let message = "a key must be a plain text; a value that begins with `{` or `[` must be \
                       quoted unless it is meant as an object or a list";
        let suggestion = quoted_value(self.text, place.line);
        self.stop(place, message.to_owned(), suggestion)
    }

    fn alias(&mut self, anchor: usize, depth: usize, place: Place) -> Result<Node, Stop> {
        let Some(Some(node)) = self.anchors.get(&anchor).cloned() else {
            return Err(self.stop(
                place,
                "this alias stands inside its own value".to_owned(),
                None,
            ));
        };
        self.count(node.count(), depth + node.depth(), place)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, depth: usize, place: Place) -> Result<(), Stop> {
        self.nodes += nodes;
        if MAX_DEPTH < depth {
            self.problems.push(document::too_deep(place));
        } else if MAX_NODES < self.nodes {
            let message = format!(
                "the document has more than {MAX_NODES} values, counting what aliases repeat"
            );
            self.problems.push(document::too_large(place, message));
        } else {
            return Ok(());
        }
        Err(Stop)
    }

    fn check_tag(&mut self, tag: Option<&Tag>, allowed: &str, place: Place) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == allowed)
        {
            self.unknown_tag(tag, place);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, place: Place) {
        let message =
            format!("the tag `{}{}` has no meaning here; remove it", tag.handle, tag.suffix);
        self.problems.push(document::syntax(place, message, None));
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Value {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                return Value::from(text);
            }
            Some(tag) if tag.is_yaml_core_schema() => {}
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => return Value::from(text),
            Some(tag) => self.unknown_tag(tag, place),
            None if style != ScalarStyle::Plain => return Value::from(text),
            None => {}
        }
        resolve(text).unwrap_or_else(|message| {
            let suggestion = Some(format!("\"{text}\""));
            self.problems.push(Problem {
                code: "number_out_of_range",
                ..document::syntax(place, message, suggestion)
            });
            Value::Null
        })
    }
}

fn empty(place: Place) -> Node {
    Node { kind: Kind::Scalar(Value::Null), place }
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

/// A plain scalar by the core schema of YAML 1.2.
fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(number) = other_base(text) {
        return Ok(number);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => {
            Err(format!("{text} is not a number that JSON has; quote it if it is a text"))
        }
        _ if is_number(unsigned) => document::number(text),
        _ => Ok(Value::from(text)),
    }
}

fn other_base(text: &str) -> Option<Value> {
    let (digits, base) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text.strip_prefix("0o")?, 8),
    };
    let digits = (!digits.starts_with(['+', '-'])).then_some(digits)?;
    u64::from_str_radix(digits, base).ok().map(Value::from)
}

/// `[0-9]+` or `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent = exponent.map(|text| text.strip_prefix(['-', '+']).unwrap_or(text));
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(digits)
}

fn syntax(error: &ScanError, text: &str) -> Problem {
    let marker = error.marker();
    let place = Place { line: marker.line().max(1), column: marker.col() + 1 };
    if error.info() == "recursion limit exceeded" {
        return document::too_deep(place);
    }
    match likely_cause(text, place.line) {
        Some(cause) => {
            let place = match cause.line == place.line {
                true => place,
                false => Place { line: cause.line, column: cause.column },
            };
            document::syntax(place, format!("this is not YAML: {}", cause.message), cause.repair)
        }
        None => {
            let message = match error.info() {
                "while parsing a block mapping, did not find expected key"
                | "while parsing a block collection, did not find expected '-' indicator" => {
                    "this line is not indented like the lines that it belongs to"
                }
                info => info,
            };
            document::syntax(place, format!("this is not YAML: {message}"), None)
        }
    }
}

/// What was probably meant.
struct Cause {
    line: usize,
    /// Where the value begins.
    column: usize,
    message: &'static str,
    repair: Option<String>,
}

/// What was probably meant in the line of an error or the line before it.
fn likely_cause(text: &str, line: usize) -> Option<Cause> {
    [line, line.saturating_sub(1)].into_iter().filter(|line| 0 < *line).find_map(|line| {
        let source = text.lines().nth(line - 1)?;
        let message = cause(source)?;
        let value = value_of(source);
        let column = value.map_or(0, |value| source.len() - source.trim_end().len() + value.len());
        let column = source.chars().count().saturating_sub(column) + 1;
        let repair = if message == TABS { None } else { quoted_value(text, line) };
        Some(Cause { line, column, message, repair })
    })
}

const TABS: &str = "a line may be indented with spaces only, not with tabs";

fn cause(line: &str) -> Option<&'static str> {
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') {
        return Some(TABS);
    }
    let value = value_of(line)?;
    if let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) {
        let unclosed = value.matches(quote).count() % 2 == 1;
        return unclosed.then_some("the quote that this value begins with is not closed");
    }
    if value.starts_with(['|', '>', '#']) {
        return None;
    }
    if value.starts_with("{{") {
        Some("a value that begins with `{{` must be quoted")
    } else if value.starts_with(['{', '[']) && unquoted_expression(value) {
        Some("inside `{ … }` and `[ … ]` a text with `${ … }` must be quoted")
    } else if value.starts_with(['{', '[']) {
        None
    } else if value.contains(": ") || value.ends_with(':') {
        Some("a text that contains `: ` must be quoted")
    } else if value.starts_with(['@', '`', '%']) {
        Some("a text that begins with this character must be quoted")
    } else {
        None
    }
}

/// What stands after the first `key: ` of a line.
fn value_of(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("- ").trim_start();
    let (key, value) = line.split_once(": ")?;
    let plain = !key.contains(['"', '\'', '{', '[']);
    plain.then(|| value.trim())
}

/// Whether a `${` stands outside of quotes.
fn unquoted_expression(text: &str) -> bool {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '$') if text[at..].starts_with("${") => return true,
            _ => {}
        }
    }
    false
}

/// The line with its value in quotes, when that is a plain text.
fn quoted_value(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let value = value_of(line)?;
    let flow = value.starts_with(['{', '[']) && !value.starts_with("{{") || value.is_empty();
    if flow || value.starts_with(['"', '\'', '|', '>']) {
        return None;
    }
    let key = line.trim().trim_start_matches("- ").split_once(": ")?.0.trim();
    Some(format!("{key}: '{}'", value.replace('\'', "''")))
}
