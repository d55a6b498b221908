//! `${ … }`: templates and conditions, compiled once, evaluated against what is known so far.
//!
//! The grammar is CEL's and so is its parser (crate `cel`). The evaluation is ours, because a
//! workflow needs three things that CEL's own interpreter does not give: the same answer every
//! time (its maps have no order), a value that passes through unchanged (`1.0` stays `1.0`, keys
//! keep their order, nothing is copied on the way), and errors that say which part of a path is
//! missing.
//!
//! What differs from plain CEL: whole numbers and fractions may be mixed, `1` and `1u` are the
//! same number, an integer index on an object that has an `items` list reaches into that list,
//! and `default(x, fallback)` stands for `fallback` where a name or key of `x` does not exist.

mod compile;
mod evaluate;
mod functions;
mod infer;
pub(crate) mod mend;
mod path;
mod scan;
mod value;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use self::compile::RESERVED;
use self::compile::secret_name;
pub(crate) use self::compile::{Expression, Reference, Root, Segment};
pub(crate) use self::infer::{Branch, Finding, Shapes, Side, View, infer, joined};
use self::scan::Piece;
use crate::event::SecretSlot;

/// What an expression may refer to.
pub trait Names {
    /// A top-level name: `input`, `execution`, `repo`, `vars`, `item`, `index`, `error`, `result` or an assigned name.
    fn name(&self, name: &str) -> Option<&Value>;
    /// The result of a step that completed.
    fn step(&self, name: &str) -> Option<&Value>;
    /// The status of a step, as its text; `None` when there is no such step.
    fn status(&self, step: &str) -> Option<&str>;
    /// `{code, message, …}` of a step that failed.
    fn error(&self, step: &str) -> Option<&Value>;
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
}

/// A JSON value in which texts may hold `${ … }`.
#[derive(Debug)]
pub struct Template {
    node: Node,
}

/// An expression that must be true or false.
#[derive(Debug)]
pub struct Condition {
    expression: Expression,
}

/// An expression that could not be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The expression, as it was written.
    pub expression: String,
    /// What is wrong with it, naming what does not exist and what does.
    pub message: String,
    /// Whose result it needed that has none.
    pub(crate) needed: Option<Root>,
}

pub(crate) use self::value::weight;

/// A compiled JSON value: what holds no expression is kept as it is.
#[derive(Debug)]
enum Node {
    Literal(Value),
    Expression(Box<Expression>),
    /// `${secrets.NAME}` alone.
    Secret(String),
    Text(Vec<Part>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A part of a text that holds expressions.
#[derive(Debug)]
enum Part {
    Text(String),
    Expression(Box<Expression>),
    /// `${secrets.NAME}` inside a text.
    Secret(String),
}

impl Template {
    /// Compiles every `${ … }` in a value.
    pub fn compile(value: &Value) -> Result<Template, Error> {
        let mut errors = Vec::new();
        let template = Template::compile_all(value, &mut errors);
        match errors.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(template),
        }
    }

    /// Compiles what can be compiled and reports the rest, each with its JSON Pointer.
    pub(crate) fn compile_all(value: &Value, errors: &mut Vec<(String, Error)>) -> Template {
        Template { node: compile_node(value, &mut String::new(), errors) }
    }

    /// Whether the value is an object that has this member.
    pub(crate) fn has(&self, member: &str) -> bool {
        match &self.node {
            Node::Literal(value) => value.get(member).is_some(),
            Node::Object(members) => members.iter().any(|(name, _)| name == member),
            Node::Expression(_) | Node::Secret(_) | Node::Text(_) | Node::List(_) => false,
        }
    }

    /// The value with every `${ … }` replaced by what it stands for.
    ///
    /// A text that is one `${ … }` keeps the JSON type; inside longer text objects become compact
    /// JSON and `null` becomes `null`. What stands for a secret stays as it is written, `${secrets.NAME}`.
    pub fn evaluate(&self, names: &dyn Names) -> Result<Value, Error> {
        Ok(self.evaluate_params(names)?.0)
    }

    /// The same for the params of a call, in which `${secrets.NAME}` may stand: it stays in the text, and the
    /// answer says where. A text that only looks like one, because a tool or a person said it, has no slot.
    pub fn evaluate_params(&self, names: &dyn Names) -> Result<(Value, Vec<SecretSlot>), Error> {
        let mut evaluation =
            Evaluation { names, pointer: String::new(), slots: Vec::new(), built: 0 };
        let value = evaluation.node(&self.node)?;
        if crate::is_too_deep(&value) {
            let message =
                format!("the value is nested more than {} levels deep", crate::MAX_VALUE_DEPTH);
            return Err(Error::new("", message));
        }
        Ok((value, evaluation.slots))
    }

    /// The secrets it names, each with the JSON Pointer of the text it stands in.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &str)> {
        let mut found = Vec::new();
        secrets_of(&self.node, &mut String::new(), &mut found);
        found.into_iter()
    }

    /// The value, when no expression stands in it.
    pub(crate) fn literal(&self) -> Option<&Value> {
        match &self.node {
            Node::Literal(value) => Some(value),
            Node::Expression(_)
            | Node::Secret(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Object(_) => None,
        }
    }

    /// Whether all of it is one `${ … }`.
    pub(crate) fn is_expression(&self) -> bool {
        matches!(self.node, Node::Expression(_))
    }

    /// Shows every reference, with the JSON Pointer of the text it stands in.
    pub(crate) fn visit(&self, found: &mut dyn FnMut(&str, &Expression, &Reference)) {
        visit_node(&self.node, &mut String::new(), found);
    }
}

impl Condition {
    /// Compiles a condition; the `${ }` around it may be left off.
    pub fn compile(text: &str) -> Result<Condition, Error> {
        let source = bare(text.trim())?;
        Ok(Condition { expression: Expression::compile(source)? })
    }

    /// Whether the condition holds; anything but a boolean is an error.
    pub fn evaluate(&self, names: &dyn Names) -> Result<bool, Error> {
        let value = self.expression.evaluate(names)?;
        value.as_bool().ok_or_else(|| {
            let source = &self.expression.source;
            let message = format!(
                "a condition must be true or false, and `{source}` is {}; compare it with something, \
                 for instance `{source} != null`",
                value::with_article(&value),
            );
            Error::new(source, message)
        })
    }

    /// Shows every reference.
    pub(crate) fn visit(&self, found: &mut dyn FnMut(&Expression, &Reference)) {
        self.expression.visit(&mut |reference| found(&self.expression, reference));
    }
}

impl Error {
    fn new(expression: &str, message: impl Into<String>) -> Error {
        Error { expression: expression.to_owned(), message: message.into(), needed: None }
    }
}

/// What kind of value it is, in a sentence.
pub(crate) fn kind(value: &Value) -> &'static str {
    value::with_article(value)
}

/// An RFC 3339 time as milliseconds since 1970.
pub(crate) fn moment(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text.trim()).ok().map(|at| at.timestamp_millis())
}

/// Milliseconds since 1970 as an RFC 3339 time in UTC.
#[must_use]
pub fn moment_text(milliseconds: i64) -> String {
    functions::rfc3339(milliseconds)
}

/// A condition without the `${ }` around it, if it has one.
fn bare(text: &str) -> Result<&str, Error> {
    if !text.contains("${") {
        return Ok(text);
    }
    match scan::scan(text)?.as_slice() {
        [Piece::Expression(source)] => Ok(source),
        _ => Err(Error::new(
            text,
            "a condition is one expression: put all of it into one `${ … }`, or leave the `${ }` off",
        )),
    }
}

fn compile_node(value: &Value, pointer: &mut String, errors: &mut Vec<(String, Error)>) -> Node {
    let node = match value {
        Value::String(text) => compile_text(text).unwrap_or_else(|error| {
            errors.push((pointer.clone(), error));
            Node::Literal(value.clone())
        }),
        Value::Array(items) => Node::List(compile_items(items, pointer, errors)),
        Value::Object(entries) => Node::Object(compile_entries(entries, pointer, errors)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Literal(value.clone()),
    };
    node.folded()
}

fn compile_items(
    items: &[Value],
    pointer: &mut String,
    errors: &mut Vec<(String, Error)>,
) -> Vec<Node> {
    let each = |(index, item): (usize, &Value)| {
        within(pointer, &index.to_string(), |pointer| compile_node(item, pointer, errors))
    };
    items.iter().enumerate().map(each).collect()
}

fn compile_entries(
    entries: &Map<String, Value>,
    pointer: &mut String,
    errors: &mut Vec<(String, Error)>,
) -> Vec<(String, Node)> {
    let each = |(key, item): (&String, &Value)| {
        let node = within(pointer, key, |pointer| compile_node(item, pointer, errors));
        (key.clone(), node)
    };
    entries.iter().map(each).collect()
}

/// Does something with the pointer one level deeper.
fn within<T>(pointer: &mut String, token: &str, then: impl FnOnce(&mut String) -> T) -> T {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&escape_pointer(token));
    let result = then(pointer);
    pointer.truncate(length);
    result
}

/// A key as a token of a JSON Pointer (RFC 6901).
pub(crate) fn escape_pointer(token: &str) -> Cow<'_, str> {
    match token.contains(['~', '/']) {
        true => Cow::Owned(token.replace('~', "~0").replace('/', "~1")),
        false => Cow::Borrowed(token),
    }
}

fn compile_text(text: &str) -> Result<Node, Error> {
    if !text.contains("${") {
        return Ok(Node::Literal(Value::String(text.to_owned())));
    }
    let pieces = scan::scan(text)?;
    if let [Piece::Expression(source)] = pieces.as_slice() {
        return Ok(match secret_name(source) {
            Some(name) => Node::Secret(name),
            None => Node::Expression(Box::new(Expression::compile(source)?)),
        });
    }
    let parts: Vec<Part> = pieces.into_iter().map(compile_piece).collect::<Result<_, _>>()?;
    match parts.as_slice() {
        [Part::Text(text)] => Ok(Node::Literal(Value::String(text.clone()))),
        _ => Ok(Node::Text(parts)),
    }
}

fn compile_piece(piece: Piece<'_>) -> Result<Part, Error> {
    match piece {
        Piece::Text(text) => Ok(Part::Text(text)),
        Piece::Expression(source) => Ok(match secret_name(source) {
            Some(name) => Part::Secret(name),
            None => Part::Expression(Box::new(Expression::compile(source)?)),
        }),
    }
}

impl Node {
    /// One literal instead of a list or object of literals.
    fn folded(self) -> Node {
        match self {
            Node::List(items) if items.iter().all(Node::is_literal) => {
                Node::Literal(items.into_iter().filter_map(Node::into_literal).collect())
            }
            Node::Object(entries) if entries.iter().all(|(_, node)| node.is_literal()) => {
                let entries = entries.into_iter();
                let literal = entries.filter_map(|(key, node)| Some((key, node.into_literal()?)));
                Node::Literal(Value::Object(literal.collect()))
            }
            Node::Literal(_)
            | Node::Expression(_)
            | Node::Secret(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Object(_) => self,
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self, Node::Literal(_))
    }

    fn into_literal(self) -> Option<Value> {
        match self {
            Node::Literal(value) => Some(value),
            Node::Expression(_)
            | Node::Secret(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Object(_) => None,
        }
    }
}

/// One evaluation of a template.
struct Evaluation<'n> {
    names: &'n dyn Names,
    /// Of the value that is being built.
    pointer: String,
    /// The secrets that were met.
    slots: Vec<SecretSlot>,
    /// How many bytes its expressions have built together, about.
    built: u64,
}

impl Evaluation<'_> {
    fn node(&mut self, node: &Node) -> Result<Value, Error> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Expression(expression) => {
                let value = expression.evaluate(self.names)?;
                self.built(weight(&value))?;
                Ok(value)
            }
            Node::Secret(name) => {
                let mut text = String::new();
                self.secret(name, &mut text);
                Ok(Value::String(text))
            }
            Node::Text(parts) => self.text(parts).map(Value::String),
            Node::List(items) => {
                let each = items.iter().enumerate();
                each.map(|(index, item)| self.below(&index.to_string(), item)).collect()
            }
            Node::Object(entries) => {
                let each = entries.iter();
                let entries = each.map(|(key, node)| Ok((key.clone(), self.below(key, node)?)));
                entries.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }

    fn below(&mut self, token: &str, node: &Node) -> Result<Value, Error> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape_pointer(token));
        let value = self.node(node);
        self.pointer.truncate(length);
        value
    }

    fn text(&mut self, parts: &[Part]) -> Result<String, Error> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Expression(expression) => {
                    let before = text.len();
                    expression
                        .inspect(self.names, |value| text.push_str(&value::to_text(value)))?;
                    self.built(text.len() - before)?;
                }
                Part::Secret(name) => self.secret(name, &mut text),
            }
        }
        Ok(text)
    }

    /// Counts what expressions build, each of which is bounded only by itself.
    fn built(&mut self, bytes: usize) -> Result<(), Error> {
        self.built = self.built.saturating_add(bytes as u64);
        if evaluate::MAX_BUILT < self.built {
            let message = format!(
                "its expressions build more than {} MiB together",
                evaluate::MAX_BUILT / 1024 / 1024
            );
            return Err(Error::new("", message));
        }
        Ok(())
    }

    fn secret(&mut self, name: &str, text: &mut String) {
        let pointer = self.pointer.clone();
        self.slots.push(SecretSlot { pointer, offset: text.len(), name: name.to_owned() });
        text.push_str("${secrets.");
        text.push_str(name);
        text.push('}');
    }
}

fn secrets_of<'n>(node: &'n Node, pointer: &mut String, found: &mut Vec<(String, &'n str)>) {
    match node {
        Node::Literal(_) | Node::Expression(_) => {}
        Node::Secret(name) => found.push((pointer.clone(), name)),
        Node::Text(parts) => {
            found.extend(parts.iter().filter_map(|part| match part {
                Part::Secret(name) => Some((pointer.clone(), name.as_str())),
                Part::Text(_) | Part::Expression(_) => None,
            }));
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                within(pointer, &index.to_string(), |pointer| secrets_of(item, pointer, found));
            }
        }
        Node::Object(entries) => {
            for (key, item) in entries {
                within(pointer, key, |pointer| secrets_of(item, pointer, found));
            }
        }
    }
}

fn visit_node(
    node: &Node,
    pointer: &mut String,
    found: &mut dyn FnMut(&str, &Expression, &Reference),
) {
    match node {
        Node::Literal(_) | Node::Secret(_) => {}
        Node::Expression(expression) => {
            expression.visit(&mut |reference| found(pointer, expression, reference));
        }
        Node::Text(parts) => {
            for part in parts {
                if let Part::Expression(expression) = part {
                    expression.visit(&mut |reference| found(pointer, expression, reference));
                }
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                within(pointer, &index.to_string(), |pointer| visit_node(item, pointer, found));
            }
        }
        Node::Object(entries) => {
            for (key, item) in entries {
                within(pointer, key, |pointer| visit_node(item, pointer, found));
            }
        }
    }
}

#[cfg(test)]
mod tests;
