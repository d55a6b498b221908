//! Source text → an expression that can be evaluated, and what it refers to.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{self, EntryExpr, IdedExpr, LiteralValue, operators};
use cel::parser::{ParseErrors, PrattParser};
use serde_json::Value;

use super::evaluate::{self, Scope};
use super::functions::{self, Function};
use super::{Error, Names, path, scan, value};

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 4 * 1024;

/// How many operators, dots and brackets an expression may have: each may be one level of the
/// tree, and the tree is walked by recursion.
const MAX_OPERATORS: usize = 256;

/// How deep parentheses, brackets and braces may be nested.
const MAX_NESTING: usize = 32;

/// How deep `map`, `filter`, `all` and `exists` may be nested.
const MAX_MACROS: usize = 2;

/// Words that CEL keeps for itself; they cannot be the first name of a path.
pub const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Why `secrets` cannot be a part of an expression.
const SECRETS: &str = "a secret stands alone in its `${ }`: `${secrets.NAME}`, also inside a longer text such as \
                       `Bearer ${secrets.TOKEN}`, and only in the params of a tool. Expressions never see its value, \
                       so it cannot be compared, changed or given a fallback";

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression {
    /// The expression as it was written, without the `${ }`.
    pub(crate) source: String,
    pub(super) root: Expr,
}

/// What an expression refers to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    /// Where the path begins.
    pub(crate) root: Root,
    /// The keys and indices after it, as far as they are written out.
    pub(crate) path: Vec<Segment>,
    /// Whether `default` or `has` stands around it, so that it need not exist.
    pub(crate) guarded: bool,
}

/// The beginning of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Root {
    /// `input`, `execution`, `repo`, an assigned name …
    Name(String),
    /// `steps.<name>`
    Step(String),
    /// `status('<name>')`
    Status(String),
    /// `error('<name>')`
    Error(String),
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Segment {
    Key(String),
    Index(u64),
}

/// An expression, checked and with every name resolved.
#[derive(Debug)]
pub(super) enum Expr {
    Constant(Value),
    /// A name that `map`, `filter`, `all` or `exists` introduced.
    Local(String),
    Global(Root),
    Field {
        of: Box<Expr>,
        key: String,
    },
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
    },
    /// `a.?b` or `a[?b]`: may be nothing.
    Optional {
        of: Box<Expr>,
        key: Box<Expr>,
    },
    Has(Box<Expr>),
    /// With whether the element is left out when it is nothing (`[?a]`).
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    Binary {
        operator: Operator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Call {
        function: Function,
        arguments: Vec<Expr>,
    },
    Default {
        of: Box<Expr>,
        fallback: Box<Expr>,
    },
    Comprehension(Box<Comprehension>),
}

/// `range.map(variable, …)` and its like, as the parser spells them out.
#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) range: Expr,
    pub(super) variable: String,
    pub(super) result_variable: String,
    pub(super) initial: Expr,
    /// Once this is false the elements that are left do not matter.
    pub(super) go_on: Expr,
    /// Whether an element that decides makes up for one that failed (`all` and `exists`).
    pub(super) forgiving: bool,
    pub(super) step: Step,
    pub(super) result: Expr,
}

/// What a comprehension does with one element.
#[derive(Debug)]
pub(super) enum Step {
    /// `map` and `filter`: appends a value, where the condition holds.
    Append { condition: Option<Expr>, value: Expr },
    /// The others: replaces the result.
    Replace(Expr),
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Expression {
    /// Compiles what stands between `${` and `}`.
    pub(super) fn compile(source: &str) -> Result<Expression, Error> {
        let source = source.trim();
        check_size(source).map_err(|message| Error::new(source, message))?;
        let root = compile_root(source).map_err(|message| Error::new(source, message))?;
        Ok(Expression { source: source.to_owned(), root })
    }

    /// The value that the expression stands for.
    pub(super) fn evaluate(&self, names: &dyn Names) -> Result<Value, Error> {
        self.within(names, |value| value.into_owned())
    }

    /// Shows the value without copying it.
    pub(super) fn inspect(
        &self,
        names: &dyn Names,
        then: impl FnOnce(&Value),
    ) -> Result<(), Error> {
        self.within(names, |value| then(&value))
    }

    fn within<T>(
        &self,
        names: &dyn Names,
        then: impl FnOnce(Cow<'_, Value>) -> T,
    ) -> Result<T, Error> {
        let spent = evaluate::Spent::default();
        match evaluate::evaluate(&self.root, &Scope::new(names, &spent)) {
            Ok(value) => Ok(then(value)),
            Err(failure) => {
                let needed = failure.needed().cloned();
                Err(Error { needed, ..Error::new(&self.source, failure.into_message()) })
            }
        }
    }

    /// Shows every reference.
    pub(crate) fn visit(&self, found: &mut dyn FnMut(&Reference)) {
        visit(&self.root, false, found);
    }

    /// Whether it is one path and nothing else.
    pub(crate) fn is_path(&self) -> bool {
        let mut part = &self.root;
        loop {
            part = match part {
                Expr::Global(_) => return true,
                Expr::Field { of, .. } => of,
                Expr::Index { of, index } if matches!(**index, Expr::Constant(_)) => of,
                _ => return false,
            };
        }
    }
}

impl Root {
    /// The step that the reference is about.
    pub(crate) fn step(&self) -> Option<&str> {
        match self {
            Root::Name(_) => None,
            Root::Step(step) | Root::Status(step) | Root::Error(step) => Some(step),
        }
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Root::Name(name) => f.write_str(name),
            Root::Step(step) => write!(f, "steps.{step}"),
            Root::Status(step) => write!(f, "status('{step}')"),
            Root::Error(step) => write!(f, "error('{step}')"),
        }
    }
}

fn check_size(source: &str) -> Result<(), String> {
    if source.is_empty() {
        return Err("the expression is empty; for a literal `${` write `$${`".to_owned());
    }
    if MAX_SOURCE < source.len() {
        return Err(format!(
            "the expression is {} bytes long; {MAX_SOURCE} are allowed. Compute the parts in a \
             step of their own",
            source.len()
        ));
    }
    let (operators, nesting) = measure(source);
    if MAX_OPERATORS < operators {
        return Err(format!(
            "the expression has {operators} operators and dots; {MAX_OPERATORS} are allowed"
        ));
    }
    if MAX_NESTING < nesting {
        return Err(format!(
            "the expression is nested {nesting} brackets deep; {MAX_NESTING} are allowed"
        ));
    }
    Ok(())
}

/// How many operators an expression has and how deep its brackets go, outside its texts.
fn measure(source: &str) -> (usize, usize) {
    let (mut operators, mut depth, mut deepest, mut at) = (0, 0_usize, 0, 0);
    while at < source.len() {
        match source.as_bytes()[at] {
            b'\'' | b'"' => {
                at = scan::end_of_text(source, at).unwrap_or(source.len());
                continue;
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
                operators += 1;
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'?' | b'.' | b'<' | b'>' | b'=' | b'&'
            | b'|' => operators += 1,
            _ => {}
        }
        at += 1;
    }
    (operators, deepest)
}

/// The name in `secrets.NAME`.
pub(super) fn secret_name(source: &str) -> Option<String> {
    match path::read(source)? {
        ("secrets", segments) => match segments.as_slice() {
            [Segment::Key(name)] if is_plain(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn is_plain(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn compile_root(source: &str) -> Result<Expr, String> {
    if let Some((name, segments)) = path::read(source)
        && name != "secrets"
        && let Some((root, rest)) = path_root(name, segments)
    {
        return Ok(path::expression(root, rest));
    }
    let tree = parse(source)?;
    Compiler { locals: Vec::new() }.expression(&tree)
}

/// The root of a plain path, and the segments that are left.
fn path_root(name: &str, mut segments: Vec<Segment>) -> Option<(Root, Vec<Segment>)> {
    if name != "steps" {
        return Some((Root::Name(name.to_owned()), segments));
    }
    match segments.first() {
        Some(Segment::Key(_)) => {}
        Some(Segment::Index(_)) | None => return None,
    }
    let rest = segments.split_off(1);
    match segments.pop() {
        Some(Segment::Key(step)) => Some((Root::Step(step), rest)),
        Some(Segment::Index(_)) | None => None,
    }
}

fn parse(source: &str) -> Result<IdedExpr, String> {
    let parser = PrattParser::new().enable_optional_syntax(true);
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(source)));
    match parsed {
        Ok(Ok(tree)) => Ok(tree),
        Ok(Err(errors)) => Err(syntax_message(source, &errors)),
        Err(_) => Err(format!("`{source}` is not an expression that can be read")),
    }
}

/// What the parser found, and what was probably meant.
fn syntax_message(source: &str, errors: &ParseErrors) -> String {
    let first = errors.errors.iter().find(|error| 0 < error.pos.0).or(errors.errors.first());
    let found = first.map_or("it cannot be read", |error| error.msg.trim());
    let found = found.strip_prefix("Syntax error: ").unwrap_or(found);
    let found =
        found.replace("mismatched input '<EOF>' expecting", "it ends too early; expected is");
    let found = found.replace("<EOF>", "the end");
    let place = match first {
        Some(error) if error.pos == (1, 1) || error.pos.0 < 1 => String::new(),
        Some(error) if error.pos.0 == 1 => format!(" at character {}", error.pos.1),
        Some(error) => format!(" at line {}, character {}", error.pos.0, error.pos.1),
        None => String::new(),
    };
    match hint(source) {
        Some(hint) => format!("`{source}` is not a CEL expression{place}: {hint}"),
        None => format!("`{source}` is not a CEL expression{place}: {found}"),
    }
}

/// What people write who think of another language.
fn hint(source: &str) -> Option<&'static str> {
    let hints: [(&str, &str); 9] = [
        ("===", "write `==` instead of `===`"),
        ("!==", "write `!=` instead of `!==`"),
        ("=>", "there are no arrow functions; write `list.map(item, …)`"),
        ("new Date", "for the time of day write `now()`"),
        ("??", "for a fallback write `default(value, fallback)`"),
        ("?.", "for a path that may not exist write `default(path, fallback)`"),
        (" and ", "write `&&` instead of `and`"),
        (" or ", "write `||` instead of `or`"),
        ("${", "inside `${ … }` names stand without another `${ }`"),
    ];
    hints.iter().find(|(text, _)| source.contains(text)).map(|(_, hint)| *hint)
}

/// Turns the parser's tree into ours.
struct Compiler {
    /// The names that the comprehensions around introduce.
    locals: Vec<String>,
}

impl Compiler {
    fn expression(&mut self, tree: &IdedExpr) -> Result<Expr, String> {
        match &tree.expr {
            ast::Expr::Literal(literal) => constant(literal).map(Expr::Constant),
            ast::Expr::Ident(name) => self.name(name),
            ast::Expr::Select(select) => self.select(select),
            ast::Expr::Call(call) => self.call(call),
            ast::Expr::List(list) => self.list(list),
            ast::Expr::Map(map) => self.map(map),
            ast::Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            ast::Expr::Struct(structure) => Err(format!(
                "there is no type `{}`; an object is written {{'key': value}}",
                structure.type_name
            )),
            ast::Expr::Unspecified => Err("the expression is incomplete".to_owned()),
        }
    }

    fn boxed(&mut self, tree: &IdedExpr) -> Result<Box<Expr>, String> {
        self.expression(tree).map(Box::new)
    }

    fn all(&mut self, trees: &[IdedExpr]) -> Result<Vec<Expr>, String> {
        trees.iter().map(|tree| self.expression(tree)).collect()
    }

    fn name(&self, name: &str) -> Result<Expr, String> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if self.locals.iter().any(|local| local == name) {
            return Ok(Expr::Local(name.to_owned()));
        }
        if name == "secrets" {
            return Err(SECRETS.to_owned());
        }
        if name == "steps" {
            return Err("`steps` must be followed by the name of a step that is written out: \
                        `steps.build` or `steps['build']`"
                .to_owned());
        }
        Ok(Expr::Global(Root::Name(name.to_owned())))
    }

    /// Whether a tree is the name `steps`.
    fn is_steps(&self, tree: &IdedExpr) -> bool {
        let steps = matches!(&tree.expr, ast::Expr::Ident(name) if name == "steps");
        steps && !self.locals.iter().any(|local| local == "steps")
    }

    fn select(&mut self, select: &ast::SelectExpr) -> Result<Expr, String> {
        let expression = if self.is_steps(&select.operand) {
            Expr::Global(Root::Step(select.field.clone()))
        } else {
            Expr::Field { of: self.boxed(&select.operand)?, key: select.field.clone() }
        };
        Ok(if select.test { Expr::Has(Box::new(expression)) } else { expression })
    }

    fn list(&mut self, list: &ast::ListExpr) -> Result<Expr, String> {
        let elements = list.elements.iter().enumerate().map(|(index, element)| {
            Ok((self.expression(element)?, list.optional_indices.contains(&index)))
        });
        elements.collect::<Result<_, String>>().map(Expr::List)
    }

    fn map(&mut self, map: &ast::MapExpr) -> Result<Expr, String> {
        let entries = map.entries.iter().map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                let key = self.expression(&entry.key)?;
                Ok((key, self.expression(&entry.value)?, entry.optional))
            }
            EntryExpr::StructField(field) => Err(format!("`{}` is not a key", field.field)),
        });
        entries.collect::<Result<_, String>>().map(Expr::Map)
    }

    fn comprehension(&mut self, tree: &ast::ComprehensionExpr) -> Result<Expr, String> {
        if tree.iter_var2.is_some() {
            return Err("a macro with two variables is not supported".to_owned());
        }
        // Each comprehension brings two names.
        if MAX_MACROS * 2 <= self.locals.len() {
            return Err(format!(
                "`map`, `filter`, `all` and `exists` may be nested {MAX_MACROS} deep"
            ));
        }
        let range = self.expression(&tree.iter_range)?;
        let initial = self.expression(&tree.accu_init)?;
        self.locals.push(tree.iter_var.clone());
        self.locals.push(tree.accu_var.clone());
        let inner = self.comprehension_body(tree);
        self.locals.truncate(self.locals.len() - 2);
        let (go_on, step, result) = inner?;
        let forgiving = not_strictly_false(&tree.loop_cond).is_some();
        Ok(Expr::Comprehension(Box::new(Comprehension {
            range,
            variable: tree.iter_var.clone(),
            result_variable: tree.accu_var.clone(),
            initial,
            go_on,
            forgiving,
            step,
            result,
        })))
    }

    fn comprehension_body(
        &mut self,
        tree: &ast::ComprehensionExpr,
    ) -> Result<(Expr, Step, Expr), String> {
        let go_on = not_strictly_false(&tree.loop_cond).unwrap_or(&tree.loop_cond);
        let go_on = self.expression(go_on)?;
        let step = self.step(&tree.loop_step, &tree.accu_var)?;
        Ok((go_on, step, self.expression(&tree.result)?))
    }

    /// Recognises `result + [value]`, with or without a condition, so that a list of n elements
    /// is built in n steps and not copied n times.
    fn step(&mut self, tree: &IdedExpr, result: &str) -> Result<Step, String> {
        if let Some(value) = appended(tree, result) {
            return Ok(Step::Append { condition: None, value: self.expression(value)? });
        }
        if let ast::Expr::Call(call) = &tree.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, then, otherwise] = call.args.as_slice()
            && is_name(otherwise, result)
            && let Some(value) = appended(then, result)
        {
            let condition = Some(self.expression(condition)?);
            return Ok(Step::Append { condition, value: self.expression(value)? });
        }
        self.expression(tree).map(Step::Replace)
    }

    fn call(&mut self, call: &ast::CallExpr) -> Result<Expr, String> {
        let arguments = call.args.as_slice();
        match (&call.target, call.func_name.as_str(), arguments) {
            (None, operators::LOGICAL_AND, [left, right]) => {
                Ok(Expr::And(self.boxed(left)?, self.boxed(right)?))
            }
            (None, operators::LOGICAL_OR, [left, right]) => {
                Ok(Expr::Or(self.boxed(left)?, self.boxed(right)?))
            }
            (None, operators::LOGICAL_NOT, [of]) => Ok(Expr::Not(self.boxed(of)?)),
            (None, operators::NEGATE, [of]) => Ok(Expr::Negate(self.boxed(of)?)),
            (None, operators::CONDITIONAL, [condition, then, otherwise]) => Ok(Expr::If {
                condition: self.boxed(condition)?,
                then: self.boxed(then)?,
                otherwise: self.boxed(otherwise)?,
            }),
            (None, operators::INDEX, [of, index]) => self.index(of, index),
            (None, operators::OPT_SELECT | operators::OPT_INDEX, [of, key]) => {
                if self.is_steps(of) {
                    return Err(
                        "`steps` is followed by a plain name; for a step that may have no \
                                result write `default(steps.name, fallback)`"
                            .to_owned(),
                    );
                }
                Ok(Expr::Optional { of: self.boxed(of)?, key: self.boxed(key)? })
            }
            (None, "default", [of, fallback]) => {
                Ok(Expr::Default { of: self.boxed(of)?, fallback: self.boxed(fallback)? })
            }
            (None, "default", _) => Err(wrong_count("default(value, fallback)", arguments.len())),
            (None, "status" | "error", _) => about_step(&call.func_name, arguments),
            (None, name, [left, right]) if operator(name).is_some() => {
                self.binary(operator(name), left, right)
            }
            (target, name, arguments) => self.function(target.as_deref(), name, arguments),
        }
    }

    fn binary(
        &mut self,
        operator: Option<Operator>,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Expr, String> {
        let operator = operator.ok_or("an unknown operator")?;
        Ok(Expr::Binary { operator, left: self.boxed(left)?, right: self.boxed(right)? })
    }

    fn index(&mut self, of: &IdedExpr, index: &IdedExpr) -> Result<Expr, String> {
        if !self.is_steps(of) {
            return Ok(Expr::Index { of: self.boxed(of)?, index: self.boxed(index)? });
        }
        match text_literal(index) {
            Some(step) => Ok(Expr::Global(Root::Step(step))),
            None => Err("`steps[…]` needs the name of a step as a text that is written out: \
                         `steps['build']`"
                .to_owned()),
        }
    }

    fn function(
        &mut self,
        target: Option<&IdedExpr>,
        name: &str,
        arguments: &[IdedExpr],
    ) -> Result<Expr, String> {
        let count = arguments.len() + usize::from(target.is_some());
        let function = functions::find(name, target.is_some(), count)?;
        let target = target.map(|target| self.expression(target)).transpose()?;
        let arguments = self.all(arguments)?;
        Ok(Expr::Call { function, arguments: target.into_iter().chain(arguments).collect() })
    }
}

fn constant(literal: &LiteralValue) -> Result<Value, String> {
    match literal {
        LiteralValue::Boolean(boolean) => Ok(Value::Bool(*boolean.inner())),
        LiteralValue::Double(number) => {
            value::from_double(*number.inner()).ok_or("this number is not finite".to_owned())
        }
        LiteralValue::Int(number) => Ok(Value::from(*number.inner())),
        LiteralValue::UInt(number) => Ok(Value::from(*number.inner())),
        LiteralValue::Null => Ok(Value::Null),
        LiteralValue::String(text) => Ok(Value::String(text.inner().to_owned())),
        LiteralValue::Bytes(_) => {
            Err("bytes (`b'…'`) are not supported: values are JSON. Leave the `b` off".to_owned())
        }
    }
}

/// `status('name')` and `error('name')`.
fn about_step(function: &str, arguments: &[IdedExpr]) -> Result<Expr, String> {
    let step = match arguments {
        [argument] => text_literal(argument),
        _ => None,
    };
    let step = step.ok_or_else(|| {
        format!("`{function}` needs the name of a step that is written out: `{function}('build')`")
    })?;
    Ok(Expr::Global(match function {
        "status" => Root::Status(step),
        _ => Root::Error(step),
    }))
}

fn text_literal(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        ast::Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

/// The `value` of `result + [value]`.
fn appended<'t>(tree: &'t IdedExpr, result: &str) -> Option<&'t IdedExpr> {
    let ast::Expr::Call(call) = &tree.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    let ast::Expr::List(list) = &right.expr else { return None };
    let [value] = list.elements.as_slice() else { return None };
    let appends = call.func_name == operators::ADD && is_name(left, result);
    (appends && list.optional_indices.is_empty()).then_some(value)
}

/// What stands inside the function by which the parser marks `all` and `exists`.
fn not_strictly_false(tree: &IdedExpr) -> Option<&IdedExpr> {
    let ast::Expr::Call(call) = &tree.expr else { return None };
    let marked = call.func_name == operators::NOT_STRICTLY_FALSE;
    call.args.first().filter(|_| marked)
}

fn is_name(tree: &IdedExpr, name: &str) -> bool {
    matches!(&tree.expr, ast::Expr::Ident(found) if found == name)
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessOrEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterOrEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}

fn wrong_count(signature: &str, given: usize) -> String {
    format!("write `{signature}`; {given} arguments were given")
}

fn visit(expression: &Expr, guarded: bool, found: &mut dyn FnMut(&Reference)) {
    if let Some((root, path)) = written_path(expression) {
        found(&Reference { root: root.clone(), path, guarded });
    }
    match expression {
        Expr::Constant(_) | Expr::Local(_) | Expr::Global(_) => {}
        Expr::Field { of, .. } => visit_below(of, guarded, found),
        Expr::Index { of, index } => {
            visit_below(of, guarded, found);
            visit(index, guarded, found);
        }
        Expr::Optional { of, key } => {
            visit(of, guarded, found);
            visit(key, guarded, found);
        }
        Expr::Has(of) => visit(of, true, found),
        Expr::Not(of) | Expr::Negate(of) => visit(of, guarded, found),
        Expr::List(elements) => {
            elements.iter().for_each(|(element, _)| visit(element, guarded, found));
        }
        Expr::Map(entries) => entries.iter().for_each(|(key, value, _)| {
            visit(key, guarded, found);
            visit(value, guarded, found);
        }),
        Expr::And(left, right) | Expr::Or(left, right) | Expr::Binary { left, right, .. } => {
            visit(left, guarded, found);
            visit(right, guarded, found);
        }
        Expr::If { condition, then, otherwise } => {
            [condition, then, otherwise].into_iter().for_each(|part| visit(part, guarded, found));
        }
        Expr::Call { arguments, .. } => {
            arguments.iter().for_each(|argument| visit(argument, guarded, found));
        }
        Expr::Default { of, fallback } => {
            visit(of, true, found);
            visit(fallback, guarded, found);
        }
        Expr::Comprehension(comprehension) => visit_comprehension(comprehension, guarded, found),
    }
}

/// Goes on below a path whose whole was already shown.
fn visit_below(of: &Expr, guarded: bool, found: &mut dyn FnMut(&Reference)) {
    match of {
        Expr::Field { of, .. } => visit_below(of, guarded, found),
        Expr::Index { of, index } => {
            visit_below(of, guarded, found);
            visit(index, guarded, found);
        }
        Expr::Global(_) => {}
        _ => visit(of, guarded, found),
    }
}

fn visit_comprehension(
    comprehension: &Comprehension,
    guarded: bool,
    found: &mut dyn FnMut(&Reference),
) {
    let parts = [&comprehension.range, &comprehension.initial, &comprehension.go_on];
    parts.into_iter().for_each(|part| visit(part, guarded, found));
    match &comprehension.step {
        Step::Append { condition, value } => {
            condition.iter().chain([value]).for_each(|part| visit(part, guarded, found));
        }
        Step::Replace(value) => visit(value, guarded, found),
    }
    visit(&comprehension.result, guarded, found);
}

/// The root and the path, as far as it is written out, of a path expression.
fn written_path(expression: &Expr) -> Option<(&Root, Vec<Segment>)> {
    match expression {
        Expr::Global(root) => Some((root, Vec::new())),
        Expr::Field { of, key } => longer(of, Some(Segment::Key(key.clone()))),
        Expr::Index { of, index } => longer(of, segment(index)),
        _ => None,
    }
}

/// The path of `of` with one segment more; a segment that is computed ends the path.
fn longer(of: &Expr, segment: Option<Segment>) -> Option<(&Root, Vec<Segment>)> {
    let (root, mut path) = written_path(of)?;
    if path.len() == depth(of) {
        path.extend(segment);
    }
    Some((root, path))
}

fn depth(expression: &Expr) -> usize {
    match expression {
        Expr::Field { of, .. } | Expr::Index { of, .. } => depth(of) + 1,
        _ => 0,
    }
}

fn segment(index: &Expr) -> Option<Segment> {
    let Expr::Constant(index) = index else { return None };
    match index {
        Value::String(key) => Some(Segment::Key(key.clone())),
        index => index.as_u64().map(Segment::Index),
    }
}
