//! What an expression results in, as far as schemas tell, and what in it cannot be.

use std::rc::Rc;

use serde_json::Value;

use super::compile::{Comprehension, Expr, Expression, Operator, Root, Step};
use super::{Condition, Node, Part, Template};
use crate::shape::{Field, Reach, Shape, Types, describe, shown};

/// Says what is known of what expressions refer to.
pub(crate) trait Shapes<'s> {
    /// What stands behind a name, a step, a status or an error.
    fn shape_of(&self, root: &Root) -> Shape<'s>;
}

/// Something in an expression that cannot be, or of which nobody can say.
#[derive(Clone, Debug)]
pub(crate) enum Finding {
    /// A path that leads to nothing.
    Absent {
        /// The path as it is written, up to where it is known.
        path: String,
        key: String,
        /// What there is instead.
        names: Vec<String>,
        of: Types,
        root: Root,
        /// Whether the path before the key is the root itself.
        at_root: bool,
    },
    /// A path that may lead to nothing, without a `default` around it.
    Optional { path: String },
    /// A path that nothing is known of.
    Unknown { path: String, why: Rc<str> },
    /// A comparison that has the same answer whatever comes.
    Decided {
        left: String,
        right: String,
        allowed: String,
        wrong: Option<String>,
        names: Vec<String>,
    },
    /// An operator on what it does not work on.
    Operand { source: String, expected: &'static str, found: String, types: Types, side: Side },
}

/// Where a value stands that must be true or false.
#[derive(Clone, Debug)]
pub(crate) enum Side {
    /// Behind `!`.
    Not,
    /// Before `||`, with what is written out behind it.
    Or(String),
    Other,
}

/// A part of a template.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'t>(&'t Node);

/// What a part of a template is.
pub(crate) enum View<'t> {
    Literal(&'t Value),
    Expression(&'t Expression),
    /// A text that holds expressions or secrets, or is one secret.
    Text,
    List(Vec<Branch<'t>>),
    Object(Vec<(&'t str, Branch<'t>)>),
}

impl Template {
    /// The template as parts that can be looked at.
    pub(crate) fn branch(&self) -> Branch<'_> {
        Branch(&self.node)
    }
}

impl Condition {
    /// The expression that must be true or false.
    pub(crate) fn expression(&self) -> &Expression {
        &self.expression
    }
}

impl<'t> Branch<'t> {
    pub(crate) fn view(self) -> View<'t> {
        match self.0 {
            Node::Literal(value) => View::Literal(value),
            Node::Expression(expression) => View::Expression(expression),
            Node::Text(_) | Node::Secret(_) => View::Text,
            Node::List(items) => View::List(items.iter().map(Branch).collect()),
            Node::Object(entries) => View::Object(
                entries.iter().map(|(key, node)| (key.as_str(), Branch(node))).collect(),
            ),
        }
    }

    /// Shows every expression with the JSON Pointer of the text it stands in.
    pub(crate) fn expressions(self, pointer: &str, found: &mut dyn FnMut(&str, &'t Expression)) {
        match self.0 {
            Node::Literal(_) | Node::Secret(_) => {}
            Node::Expression(expression) => found(pointer, expression),
            Node::Text(parts) => {
                for part in parts {
                    if let Part::Expression(expression) = part {
                        found(pointer, expression);
                    }
                }
            }
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    Branch(item).expressions(&format!("{pointer}/{index}"), found);
                }
            }
            Node::Object(entries) => {
                for (key, item) in entries {
                    let token = super::escape_pointer(key);
                    Branch(item).expressions(&format!("{pointer}/{token}"), found);
                }
            }
        }
    }

    /// What the part results in.
    pub(crate) fn shape<'s>(self, shapes: &dyn Shapes<'s>) -> Shape<'s> {
        match self.view() {
            View::Literal(value) => Shape::literal(value),
            View::Expression(expression) => infer(expression, shapes, &mut |_| {}),
            View::Text => Shape::Types(Types::TEXT),
            View::List(items) => {
                Shape::Tuple(Rc::new(items.into_iter().map(|item| item.shape(shapes)).collect()))
            }
            View::Object(entries) => Shape::Object(Rc::new(
                entries
                    .into_iter()
                    .map(|(key, item)| Field::new(key, item.shape(shapes), false))
                    .collect(),
            )),
        }
    }
}

/// What an expression results in; what cannot be in it is shown on the way.
pub(crate) fn infer<'s>(
    expression: &Expression,
    shapes: &dyn Shapes<'s>,
    found: &mut dyn FnMut(Finding),
) -> Shape<'s> {
    Inference { shapes, found, locals: Vec::new(), guarded: 0 }.shape(&expression.root)
}

struct Inference<'a, 's> {
    shapes: &'a dyn Shapes<'s>,
    found: &'a mut dyn FnMut(Finding),
    /// The names that `map` and its like introduce.
    locals: Vec<(String, Shape<'s>)>,
    /// How many `default`s and `has`es stand around.
    guarded: usize,
}

impl<'s> Inference<'_, 's> {
    fn shape(&mut self, expr: &Expr) -> Shape<'s> {
        match expr {
            Expr::Constant(value) => Shape::literal(value),
            Expr::Local(name) => self.local(name),
            Expr::Global(root) => self.shapes.shape_of(root),
            Expr::Field { of, key } => self.field(of, key),
            Expr::Index { of, index } => self.index(of, index),
            Expr::Optional { of, key } => self.optional(of, key),
            Expr::Has(of) => {
                self.guard(of);
                Shape::Types(Types::BOOLEAN)
            }
            Expr::List(elements) => {
                let shapes: Vec<Shape<'s>> =
                    elements.iter().map(|(element, _)| self.shape(element)).collect();
                match elements.iter().any(|(_, left_out)| *left_out) {
                    true => Shape::List(Rc::new(Shape::one_of(shapes))),
                    false => Shape::Tuple(Rc::new(shapes)),
                }
            }
            Expr::Map(entries) => self.object(entries),
            Expr::And(left, right) => {
                self.truth(left, Side::Other);
                self.truth(right, Side::Other);
                Shape::Types(Types::BOOLEAN)
            }
            Expr::Or(left, right) => {
                // Elsewhere `||` gives a fallback; then its right side is no question either.
                let fallback = matches!(right.as_ref(), Expr::Constant(_) | Expr::Field { .. });
                let side = if fallback { Side::Or(source_of(right)) } else { Side::Other };
                if self.truth(left, side) {
                    self.truth(right, Side::Other);
                }
                Shape::Types(Types::BOOLEAN)
            }
            Expr::Not(of) => {
                self.truth(of, Side::Not);
                Shape::Types(Types::BOOLEAN)
            }
            Expr::Negate(of) => Shape::Types(self.shape(of).types().and(Types::NUMBER)),
            Expr::If { condition, then, otherwise } => {
                self.truth(condition, Side::Other);
                let then = self.shape(then);
                Shape::one_of(vec![then, self.shape(otherwise)])
            }
            Expr::Binary { operator, left, right } => self.binary(*operator, left, right),
            Expr::Call { function, arguments } => {
                let shapes: Vec<Shape<'s>> = arguments.iter().map(|of| self.shape(of)).collect();
                result_of(function.name(), shapes)
            }
            Expr::Default { of, fallback } => {
                let value = self.guard(of);
                let fallback = self.shape(fallback);
                match value {
                    Some(value) => Shape::one_of(vec![value, fallback]),
                    None => fallback,
                }
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn local(&self, name: &str) -> Shape<'s> {
        let known = self.locals.iter().rev().find(|(local, _)| local == name);
        known.map_or_else(
            || Shape::unknown(format!("`{name}` is computed")),
            |(_, shape)| shape.clone(),
        )
    }

    /// The value of something that need not exist; nothing when it certainly does not.
    fn guard(&mut self, of: &Expr) -> Option<Shape<'s>> {
        self.guarded += 1;
        let shape = self.shape(of);
        self.guarded -= 1;
        Some(shape)
    }

    fn field(&mut self, of: &Expr, key: &str) -> Shape<'s> {
        let before = self.shape(of);
        let reach = before.get(key);
        self.reached(of, key, reach)
    }

    fn index(&mut self, of: &Expr, index: &Expr) -> Shape<'s> {
        let before = self.shape(of);
        match index {
            Expr::Constant(Value::String(key)) => {
                let reach = before.get(key);
                self.reached(of, key, reach)
            }
            Expr::Constant(place) => {
                let reach = before.at(place.as_u64());
                self.reached(of, &format!("[{place}]"), reach)
            }
            index => {
                let kind = self.shape(index).types();
                // A text looks up a key; which one is not known.
                match kind.meets(Types::TEXT) {
                    true => Shape::unknown("the key is computed"),
                    false => {
                        let reach = before.at(None);
                        self.reached(of, "[…]", reach)
                    }
                }
            }
        }
    }

    fn optional(&mut self, of: &Expr, key: &Expr) -> Shape<'s> {
        self.guarded += 1;
        let before = self.shape(of);
        let shape = match key {
            Expr::Constant(Value::String(key)) => {
                let reach = before.get(key);
                self.reached(of, key, reach)
            }
            _ => Shape::unknown("the key is computed"),
        };
        self.guarded -= 1;
        shape
    }

    /// The value at the end of a path; tells what is wrong with the path.
    fn reached(&mut self, of: &Expr, key: &str, reach: Reach<'s>) -> Shape<'s> {
        let path = || written(of).map_or_else(|| "…".to_owned(), |path| joined(&path, key));
        match reach {
            Reach::Found { shape, optional } => {
                if optional && self.guarded == 0 {
                    (self.found)(Finding::Optional { path: path() });
                }
                if let Shape::Unknown(why) = &shape {
                    (self.found)(Finding::Unknown { path: path(), why: why.clone() });
                }
                shape
            }
            Reach::Absent { names, of: types, closed } => {
                let why = "it does not exist";
                // The author is prepared for its absence, and nothing forbids that it is there.
                let prepared = 0 < self.guarded && !closed;
                if let Some((root, at_root)) = root_of(of).filter(|_| !prepared) {
                    let path = written(of).unwrap_or_else(|| root.to_string());
                    let (root, key) = (root.clone(), key.to_owned());
                    (self.found)(Finding::Absent { path, key, names, of: types, root, at_root });
                }
                Shape::unknown(why)
            }
            Reach::Unknown(why) => {
                // What is below something unknown is told once, for the longest path.
                (self.found)(Finding::Unknown { path: path(), why: why.clone() });
                Shape::Unknown(why)
            }
        }
    }

    fn object(&mut self, entries: &[(Expr, Expr, bool)]) -> Shape<'s> {
        let mut fields = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let shape = self.shape(value);
            let Expr::Constant(Value::String(key)) = key else {
                return Shape::Types(Types::OBJECT);
            };
            fields.push(Field::new(key.as_str(), shape, *optional));
        }
        Shape::Object(Rc::new(fields))
    }

    /// Something that must be true or false; says whether it can be.
    fn truth(&mut self, of: &Expr, side: Side) -> bool {
        let shape = self.shape(of);
        let types = shape.types();
        if types.meets(Types::BOOLEAN) {
            return true;
        }
        let (source, found) = (source_of(of), shape.describe());
        let expected = "true or false";
        (self.found)(Finding::Operand { source, expected, found, types, side });
        false
    }

    fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Shape<'s> {
        let (one, other) = (self.shape(left), self.shape(right));
        match operator {
            Operator::Equal | Operator::NotEqual => self.compared(left, &one, right, &other),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => self.ordered(left, &one, right, &other),
            Operator::In => {}
            Operator::Add => return sum(&one, &other),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                let whole = one.types() == Types::WHOLE && other.types() == Types::WHOLE;
                return Shape::Types(if whole { Types::WHOLE } else { Types::NUMBER });
            }
        }
        Shape::Types(Types::BOOLEAN)
    }

    /// Two values that can never be the same were not meant to be compared.
    fn compared(&mut self, left: &Expr, one: &Shape<'s>, right: &Expr, other: &Shape<'s>) {
        let comparable = |types: Types| match types.meets(Types::NUMBER) {
            true => types.or(Types::NUMBER),
            false => types,
        };
        // Comparing with null asks whether something is there, and is always allowed.
        let asks = |shape: &Shape<'_>| shape.types() == Types::NULL;
        if asks(one) || asks(other) || (is_constant(left) && is_constant(right)) {
            return;
        }
        let types = comparable(one.types()).meets(comparable(other.types()));
        let (given, wanted) = (one.values(), other.values());
        let same = match (&given, &wanted) {
            (Some(given), Some(wanted)) => {
                given.iter().any(|value| wanted.iter().any(|other| same(value, other)))
            }
            (None, _) | (_, None) => true,
        };
        if types && same {
            return;
        }
        // The side that is written out is the wrong one.
        let (path, values, kinds, wrong) = match (left, right) {
            (path, Expr::Constant(wrong)) => (path, given, one.types(), Some(wrong)),
            (Expr::Constant(wrong), path) => (path, wanted, other.types(), Some(wrong)),
            (path, _) => (path, given, one.types(), None),
        };
        let names = values.iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let other_side = if std::ptr::eq(path, left) { right } else { left };
        (self.found)(Finding::Decided {
            left: source_of(path),
            right: source_of(other_side),
            allowed: describe(values.as_deref(), kinds),
            wrong: wrong.and_then(Value::as_str).map(str::to_owned),
            names,
        });
    }

    fn ordered(&mut self, left: &Expr, one: &Shape<'s>, right: &Expr, other: &Shape<'s>) {
        let ordered = |types: Types| {
            let number = if types.meets(Types::NUMBER) { Types::NUMBER } else { Types::NONE };
            number.or(types.and(Types::TEXT.or(Types::BOOLEAN)))
        };
        if !ordered(one.types()).meets(ordered(other.types())) {
            let (expected, found) = match ordered(other.types()) {
                Types::NUMBER => ("a number", one),
                Types::TEXT => ("a text", one),
                _ => ("something of the same type", one),
            };
            let (source, found) = (source_of(left), found.describe());
            let source = format!("{source}` beside `{}", source_of(right));
            let types = Types::NONE;
            let side = Side::Other;
            (self.found)(Finding::Operand { source, expected, found, types, side });
        }
    }

    fn comprehension(&mut self, comprehension: &Comprehension) -> Shape<'s> {
        let range = self.shape(&comprehension.range);
        let element = match range.at(None) {
            Reach::Found { shape, .. } => shape,
            Reach::Absent { .. } => Shape::unknown("it is an element of what is no list"),
            Reach::Unknown(why) => Shape::Unknown(why),
        };
        // An object is walked through by its keys.
        let element = match range.types().meets(Types::OBJECT) {
            true => Shape::unknown("it may be a key"),
            false => element,
        };
        self.locals.push((comprehension.variable.clone(), element));
        let result = match &comprehension.step {
            Step::Append { condition, value } => {
                if let Some(condition) = condition {
                    self.truth(condition, Side::Other);
                }
                Shape::List(Rc::new(self.shape(value)))
            }
            Step::Replace(value) => {
                self.shape(value);
                // `exists_one` counts on the way; its result is true or false as that of the others.
                Shape::Types(Types::BOOLEAN)
            }
        };
        self.locals.pop();
        result
    }
}

fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Constant(_))
}

fn sum<'s>(one: &Shape<'s>, other: &Shape<'s>) -> Shape<'s> {
    let (left, right) = (one.types(), other.types());
    if left == Types::WHOLE && right == Types::WHOLE {
        return Shape::Types(Types::WHOLE);
    }
    if left.within(Types::NUMBER) && right.within(Types::NUMBER) {
        return Shape::Types(Types::NUMBER);
    }
    if left == Types::TEXT || right == Types::TEXT {
        return Shape::Types(Types::TEXT);
    }
    if left == Types::LIST && right == Types::LIST {
        return Shape::Types(Types::LIST);
    }
    Shape::Types(Types::NUMBER.or(Types::TEXT).or(Types::LIST))
}

/// What a function results in.
fn result_of<'s>(function: &str, mut arguments: Vec<Shape<'s>>) -> Shape<'s> {
    match function {
        "size" | "indexOf" | "lastIndexOf" | "int" | "uint" => Shape::Types(Types::WHOLE),
        "contains" | "startsWith" | "endsWith" | "matches" | "bool" | "hasValue" => {
            Shape::Types(Types::BOOLEAN)
        }
        "lowerAscii" | "upperAscii" | "trim" | "join" | "replace" | "substring" | "charAt"
        | "string" | "type" | "json" | "slug" | "now" => Shape::Types(Types::TEXT),
        "double" => Shape::Types(Types::NUMBER),
        "split" => Shape::List(Rc::new(Shape::Types(Types::TEXT))),
        "reverse" => Shape::Types(Types::TEXT.or(Types::LIST)),
        "orValue" => Shape::one_of(arguments),
        "value" if !arguments.is_empty() => arguments.remove(0),
        name => Shape::unknown(format!("`{name}` gives what it reads")),
    }
}

/// The root of a path, and whether the path is the root itself.
fn root_of(expr: &Expr) -> Option<(&Root, bool)> {
    match expr {
        Expr::Global(root) => Some((root, true)),
        Expr::Field { of, .. } | Expr::Index { of, .. } | Expr::Optional { of, .. } => {
            root_of(of).map(|(root, _)| (root, false))
        }
        _ => None,
    }
}

/// A path as an author writes it.
fn written(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Global(root) => Some(root.to_string()),
        Expr::Local(name) => Some(name.clone()),
        Expr::Field { of, key } => Some(joined(&written(of)?, key)),
        Expr::Index { of, index } => match index.as_ref() {
            Expr::Constant(Value::String(key)) => Some(format!("{}['{key}']", written(of)?)),
            Expr::Constant(place) => Some(format!("{}[{place}]", written(of)?)),
            _ => None,
        },
        _ => None,
    }
}

/// A path and one key or place more.
pub(crate) fn joined(path: &str, key: &str) -> String {
    match key.starts_with('[') {
        true => format!("{path}{key}"),
        false => format!("{path}.{key}"),
    }
}

fn source_of(expr: &Expr) -> String {
    match expr {
        Expr::Constant(Value::String(text)) => format!("'{text}'"),
        Expr::Constant(value) => shown(value),
        expr => written(expr).unwrap_or_else(|| "this part".to_owned()),
    }
}
