//! An expression and what is known → a value.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::Names;
use super::compile::{Comprehension, Expr, Operator, Root, Step};
use super::functions;
use super::value::{self, shown, with_article};
use crate::problem::nearest;

/// How many elements all lists that are walked inside one another may have, multiplied.
const MAX_ELEMENTS: u64 = 1_000_000;

/// How much an expression may build, in bytes, roughly.
pub(super) const MAX_BUILT: u64 = 64 * 1024 * 1024;

/// How much an expression may look at to compare and to search, in bytes, roughly: about a second's work.
const MAX_READ: u64 = 1024 * 1024 * 1024;

/// How large a compiled pattern may be, in bytes.
const MAX_PATTERN: usize = 1024 * 1024;

/// How many keys an error names.
const MAX_KEYS_SHOWN: usize = 10;

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Failure {
    /// A name or a key does not exist; `default` and `has` catch this.
    Missing(String),
    /// A step has no result; `default` and `has` catch this too.
    NoResult(Root, String),
    /// Anything else.
    Other(String),
}

/// What one evaluation has used up.
#[derive(Default)]
pub(super) struct Spent {
    elements: Cell<u64>,
    built: Cell<u64>,
    read: Cell<u64>,
    /// The pattern that was used last: one in a macro is compiled once.
    pattern: RefCell<Option<(String, Regex)>>,
}

/// The names that can be seen at one place of an expression.
pub(super) struct Scope<'s> {
    pub(super) names: &'s dyn Names,
    spent: &'s Spent,
    locals: [Option<(&'s str, &'s Value)>; 2],
    outer: Option<&'s Scope<'s>>,
    /// The product of the sizes of the lists that are being walked.
    elements: u64,
}

type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn other(message: impl Into<String>) -> Failure {
        Failure::Other(message.into())
    }

    pub(super) fn into_message(self) -> String {
        match self {
            Failure::Missing(message) | Failure::NoResult(_, message) | Failure::Other(message) => {
                message
            }
        }
    }

    /// Whose result it was that did not exist.
    pub(super) fn needed(&self) -> Option<&Root> {
        match self {
            Failure::NoResult(root, _) => Some(root),
            Failure::Missing(_) | Failure::Other(_) => None,
        }
    }
}

impl<'s> Scope<'s> {
    pub(super) fn new(names: &'s dyn Names, spent: &'s Spent) -> Scope<'s> {
        Scope { names, spent, locals: [None, None], outer: None, elements: 1 }
    }

    fn local(&self, name: &str) -> Option<&'s Value> {
        let own = self.locals.iter().flatten().find(|(local, _)| *local == name);
        match own {
            Some((_, value)) => Some(value),
            None => self.outer.and_then(|outer| outer.local(name)),
        }
    }

    /// The factor and the bound for walking a list of this size.
    fn enter(&self, size: usize) -> Outcome<u64> {
        let elements = self.elements.saturating_mul((size as u64).max(1));
        let total = self.spent.elements.get().saturating_add(size as u64);
        self.spent.elements.set(total);
        if MAX_ELEMENTS < elements || MAX_ELEMENTS < total {
            return Err(Failure::other(format!(
                "the lists that this expression walks have more than {MAX_ELEMENTS} elements, \
                 multiplied where they are nested; filter them in the tool that gives them"
            )));
        }
        Ok(elements)
    }

    /// Counts what is built.
    pub(super) fn charge(&self, bytes: usize) -> Outcome<()> {
        let built = self.spent.built.get().saturating_add(bytes as u64);
        self.spent.built.set(built);
        if MAX_BUILT < built {
            return Err(Failure::other(format!(
                "this expression builds more than {} MiB",
                MAX_BUILT / (1024 * 1024)
            )));
        }
        Ok(())
    }

    /// Counts what is looked at.
    pub(super) fn look_at(&self, bytes: usize) -> Outcome<()> {
        let read = self.spent.read.get().saturating_add(bytes as u64);
        self.spent.read.set(read);
        if MAX_READ < read {
            return Err(Failure::other(format!(
                "this expression compares and searches more than {} MiB; have the tool do that which gives them",
                MAX_READ / (1024 * 1024)
            )));
        }
        Ok(())
    }

    fn equal(&self, left: &Value, right: &Value) -> Outcome<bool> {
        let mut read = 0;
        let equal = value::equal(left, right, &mut read);
        self.look_at(read).map(|()| equal)
    }

    /// Whether a list has an element, or an object a key.
    pub(super) fn contains(&self, of: &Value, element: &Value) -> Outcome<bool> {
        let mut read = 0;
        let contains = value::contains(of, element, &mut read)?;
        self.look_at(read).map(|()| contains)
    }

    /// Whether a pattern is found in a text. A pattern that was not the last one counts as much as it may become large.
    pub(super) fn matches(&self, pattern: &str, text: &str) -> Outcome<bool> {
        let mut last = self.spent.pattern.borrow_mut();
        let known = last.take().filter(|(known, _)| known == pattern);
        let (_, regex) = match known {
            Some(known) => last.insert(known),
            None => {
                self.look_at(MAX_PATTERN)?;
                let regex = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
                let regex = regex.map_err(|_| {
                    Failure::other(format!("`{}` is not a pattern (RE2 syntax)", shown(pattern)))
                })?;
                last.insert((pattern.to_owned(), regex))
            }
        };
        Ok(regex.is_match(text))
    }

    /// A value of its own, counted.
    fn own(&self, value: Cow<'_, Value>) -> Outcome<Value> {
        self.charge(value::weight(&value))?;
        Ok(value.into_owned())
    }
}

/// Evaluates; what only points into existing values is not copied.
pub(super) fn evaluate<'s>(expr: &'s Expr, scope: &'s Scope<'s>) -> Outcome<Cow<'s, Value>> {
    match expr {
        Expr::Constant(value) => Ok(Cow::Borrowed(value)),
        Expr::Local(name) => match scope.local(name) {
            Some(value) => Ok(Cow::Borrowed(value)),
            None => Err(Failure::Missing(format!("`{name}` is not known here"))),
        },
        Expr::Global(root) => global(root, scope).map(Cow::Borrowed),
        Expr::Field { of, key } => field(of, key, scope),
        Expr::Index { of, index } => indexed(of, index, scope),
        Expr::Optional { .. } => Err(unwrapped()),
        Expr::Has(of) => has(of, scope).map(boolean),
        Expr::List(elements) => list(elements, scope).map(Cow::Owned),
        Expr::Map(entries) => map(entries, scope).map(Cow::Owned),
        Expr::And(left, right) => both(left, right, false, scope).map(boolean),
        Expr::Or(left, right) => both(left, right, true, scope).map(boolean),
        Expr::Not(of) => truth(of, scope).map(|truth| boolean(!truth)),
        Expr::Negate(of) => value::negate(&*evaluate(of, scope)?).map(Cow::Owned),
        Expr::If { condition, then, otherwise } => match truth(condition, scope)? {
            true => evaluate(then, scope),
            false => evaluate(otherwise, scope),
        },
        Expr::Binary { operator, left, right } => binary(*operator, left, right, scope),
        Expr::Call { function, arguments } => functions::call(function, arguments, scope),
        Expr::Default { of, fallback } => match evaluate(of, scope) {
            Err(Failure::Missing(_) | Failure::NoResult(..)) => evaluate(fallback, scope),
            outcome => outcome,
        },
        Expr::Comprehension(comprehension) => walk(comprehension, scope).map(Cow::Owned),
    }
}

pub(super) fn boolean<'s>(truth: bool) -> Cow<'s, Value> {
    Cow::Owned(Value::Bool(truth))
}

fn unwrapped() -> Failure {
    Failure::other(
        "a path with `?` may be nothing: say what to take then, for instance `a.?b.orValue('')`",
    )
}

fn global<'s>(root: &'s Root, scope: &Scope<'s>) -> Outcome<&'s Value> {
    match root {
        Root::Name(name) => scope.names.name(name).ok_or_else(|| {
            let message = format!(
                "`{name}` does not exist yet: a name comes from a step with `assign: {name}` that \
                 has completed; for a fallback write `default({name}, …)`"
            );
            Failure::NoResult(root.clone(), message)
        }),
        Root::Step(step) => scope.names.step(step).ok_or_else(|| no_result(step, scope)),
        Root::Status(step) => status(step, scope),
        Root::Error(step) => match (scope.names.error(step), scope.names.status(step)) {
            (Some(error), _) => Ok(error),
            (None, Some(_)) => Ok(&Value::Null),
            (None, None) => Err(no_step(step)),
        },
    }
}

fn no_step(step: &str) -> Failure {
    Failure::Missing(format!("there is no step `{step}`"))
}

fn no_result(step: &str, scope: &Scope<'_>) -> Failure {
    let why = match scope.names.status(step) {
        None => return no_step(step),
        Some("skipped") => "it was skipped".to_owned(),
        Some("failed") => "it failed".to_owned(),
        Some(status) => format!("its status is {status}"),
    };
    let message = format!(
        "step `{step}` has no result, because {why}; for a fallback write \
         `default(steps.{step}, …)`"
    );
    Failure::NoResult(Root::Step(step.to_owned()), message)
}

/// The status of a step. The value must outlive the call, and there are only so many.
fn status<'s>(step: &str, scope: &Scope<'s>) -> Outcome<&'s Value> {
    let text = scope.names.status(step).ok_or_else(|| no_step(step))?;
    let found = functions::statuses().iter().find(|status| status.as_str() == Some(text));
    found.ok_or_else(|| Failure::other(format!("step `{step}` has the unknown status `{text}`")))
}

/// `of.key`
fn field<'s>(of: &'s Expr, key: &'s str, scope: &'s Scope<'s>) -> Outcome<Cow<'s, Value>> {
    if let Expr::Optional { .. } = of {
        return Err(unwrapped());
    }
    get(evaluate(of, scope)?, &Key::Text(key), of)
}

/// `of[index]`
fn indexed<'s>(of: &'s Expr, index: &'s Expr, scope: &'s Scope<'s>) -> Outcome<Cow<'s, Value>> {
    let value = evaluate(of, scope)?;
    let index = evaluate(index, scope)?;
    get(value, &key_of(&index)?, of)
}

/// A key of an object or a place in a list.
enum Key<'k> {
    Text(&'k str),
    Place(i64),
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Text(key) => f.write_str(key),
            Key::Place(place) => write!(f, "{place}"),
        }
    }
}

fn key_of(index: &Value) -> Outcome<Key<'_>> {
    match index {
        Value::String(key) => Ok(Key::Text(key)),
        Value::Number(number) => value::as_place(number).map(Key::Place).ok_or_else(|| {
            Failure::other(format!("{number} is not a place in a list: places are whole numbers"))
        }),
        other => Err(Failure::other(format!(
            "{} cannot be a key; keys are texts and whole numbers",
            with_article(other)
        ))),
    }
}

fn get<'s>(of: Cow<'s, Value>, key: &Key<'_>, written: &Expr) -> Outcome<Cow<'s, Value>> {
    let found = match of {
        Cow::Borrowed(value) => find(value, key).map(Cow::Borrowed),
        Cow::Owned(ref value) => find(value, key).cloned().map(Cow::Owned),
    };
    found.ok_or_else(|| Failure::Missing(missing(&of, key, written)))
}

fn find<'v>(value: &'v Value, key: &Key<'_>) -> Option<&'v Value> {
    match (value, key) {
        (Value::Object(entries), Key::Text(key)) => entries.get(*key),
        (Value::Object(entries), Key::Place(place)) => match entries.get(&place.to_string()) {
            Some(value) => Some(value),
            // Lists of tools come as `{items, next_page, …}`.
            None => find(entries.get("items").filter(|items| items.is_array())?, key),
        },
        (Value::Array(items), Key::Place(place)) => items.get(usize::try_from(*place).ok()?),
        _ => None,
    }
}

/// Which part of a path does not exist, and what exists there.
fn missing(of: &Value, key: &Key<'_>, written: &Expr) -> String {
    let place = describe(written);
    if let (Key::Place(_), Some(items)) = (key, of.get("items").filter(|items| items.is_array())) {
        return missing(items, key, written);
    }
    match (of, key) {
        (Value::Object(entries), _) => {
            let keys = keys_shown(entries, &key.to_string());
            format!("{place} has no key `{key}`; {keys}")
        }
        (Value::Array(items), Key::Place(place_in_list)) => format!(
            "{place} has no element [{place_in_list}]; it has {} elements, counted from 0",
            items.len()
        ),
        (Value::Array(items), Key::Text(_)) => format!(
            "{place} is a list of {} elements and has no key `{key}`; write {place}[0] for its \
             first element, or size(…) for their number",
            items.len()
        )
        .replace("`[0]", "[0]`"),
        (other, _) => format!(
            "{place} is {}, so it has no `{key}`{}",
            with_article(other),
            if let Key::Text("length") = key { "; for a length write size(…)" } else { "" }
        ),
    }
}

fn keys_shown(entries: &Map<String, Value>, wanted: &str) -> String {
    if entries.is_empty() {
        return "it is empty".to_owned();
    }
    let mut keys: Vec<&str> = entries.keys().map(String::as_str).collect();
    let close = nearest(wanted, keys.iter().copied());
    keys.sort_by_key(|key| !close.contains(key));
    let more = keys.len().saturating_sub(MAX_KEYS_SHOWN);
    keys.truncate(MAX_KEYS_SHOWN);
    let keys: Vec<String> = keys.iter().map(|key| format!("`{}`", shown(key))).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let meant = match close.first() {
        Some(key) => format!("; did you mean `{key}`?"),
        None => String::new(),
    };
    format!("it has {}{more}{meant}", keys.join(", "))
}

/// A path as it was written, for an error.
fn describe(expr: &Expr) -> String {
    path_text(expr).map_or_else(|| "this value".to_owned(), |path| format!("`{path}`"))
}

fn path_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Global(root) => Some(root.to_string()),
        Expr::Local(name) => Some(name.clone()),
        Expr::Field { of, key } => Some(format!("{}.{key}", path_text(of)?)),
        Expr::Index { of, index } => match index.as_ref() {
            Expr::Constant(Value::String(key)) => Some(format!("{}['{key}']", path_text(of)?)),
            Expr::Constant(index) => Some(format!("{}[{index}]", path_text(of)?)),
            _ => Some(format!("{}[…]", path_text(of)?)),
        },
        _ => None,
    }
}

/// Whether every part of a path exists.
fn has<'s>(of: &'s Expr, scope: &'s Scope<'s>) -> Outcome<bool> {
    match evaluate(of, scope) {
        Ok(_) => Ok(true),
        Err(Failure::Missing(_) | Failure::NoResult(..)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The value of an expression that may be nothing.
pub(super) fn optional<'s>(
    expr: &'s Expr,
    scope: &'s Scope<'s>,
) -> Outcome<Option<Cow<'s, Value>>> {
    match expr {
        Expr::Optional { of, key } => {
            let Some(of) = optional(of, scope)? else { return Ok(None) };
            let key = evaluate(key, scope)?;
            Ok(get(of, &key_of(&key)?, expr).ok())
        }
        Expr::Field { of, key } if is_optional(of) => {
            let of_value = optional(of, scope)?;
            of_value.map(|value| get(value, &Key::Text(key), of)).transpose()
        }
        Expr::Index { of, index } if is_optional(of) => {
            let Some(value) = optional(of, scope)? else { return Ok(None) };
            let index = evaluate(index, scope)?;
            get(value, &key_of(&index)?, of).map(Some)
        }
        _ => evaluate(expr, scope).map(Some),
    }
}

/// Whether there is a `?` on the path.
fn is_optional(expr: &Expr) -> bool {
    match expr {
        Expr::Optional { .. } => true,
        Expr::Field { of, .. } | Expr::Index { of, .. } => is_optional(of),
        _ => false,
    }
}

fn list<'s>(elements: &'s [(Expr, bool)], scope: &'s Scope<'s>) -> Outcome<Value> {
    let mut list = Vec::with_capacity(elements.len());
    for (element, may_be_nothing) in elements {
        let value = match may_be_nothing {
            true => optional(element, scope)?,
            false => Some(evaluate(element, scope)?),
        };
        list.extend(value.map(|value| scope.own(value)).transpose()?);
    }
    Ok(Value::Array(list))
}

fn map<'s>(entries: &'s [(Expr, Expr, bool)], scope: &'s Scope<'s>) -> Outcome<Value> {
    let mut map = Map::new();
    for (key, value, may_be_nothing) in entries {
        let key = text_of_key(&*evaluate(key, scope)?)?;
        let value = match may_be_nothing {
            true => optional(value, scope)?,
            false => Some(evaluate(value, scope)?),
        };
        let Some(value) = value else { continue };
        if map.contains_key(&key) {
            return Err(Failure::other(format!("the key `{}` is given twice", shown(&key))));
        }
        map.insert(key, scope.own(value)?);
    }
    Ok(Value::Object(map))
}

fn text_of_key(key: &Value) -> Outcome<String> {
    match key {
        Value::String(key) => Ok(key.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(key.to_string()),
        other => Err(Failure::other(format!("{} cannot be a key", with_article(other)))),
    }
}

fn truth<'s>(expr: &'s Expr, scope: &'s Scope<'s>) -> Outcome<bool> {
    let value = evaluate(expr, scope)?;
    value.as_bool().ok_or_else(|| {
        Failure::other(format!(
            "{} is {}, where true or false is needed; compare it with something",
            describe(expr),
            with_article(&value)
        ))
    })
}

/// `&&` (decided by false) and `||` (decided by true): the side that decides wins over an error
/// of the other side, as CEL has it.
fn both<'s>(
    left: &'s Expr,
    right: &'s Expr,
    decisive: bool,
    scope: &'s Scope<'s>,
) -> Outcome<bool> {
    match truth(left, scope) {
        Ok(truth) if truth == decisive => Ok(decisive),
        Ok(_) => truth(right, scope),
        Err(failure) => match truth(right, scope) {
            Ok(truth) if truth == decisive => Ok(decisive),
            _ => Err(failure),
        },
    }
}

fn binary<'s>(
    operator: Operator,
    left: &'s Expr,
    right: &'s Expr,
    scope: &'s Scope<'s>,
) -> Outcome<Cow<'s, Value>> {
    let left = evaluate(left, scope)?;
    let right = evaluate(right, scope)?;
    match operator {
        Operator::Add => {
            scope.charge(value::weight(&left).saturating_add(value::weight(&right)))?;
            value::add(left, right).map(Cow::Owned)
        }
        Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            value::calculate(operator, &left, &right).map(Cow::Owned)
        }
        _ => compared(operator, &left, &right, scope).map(boolean),
    }
}

fn compared(operator: Operator, left: &Value, right: &Value, scope: &Scope<'_>) -> Outcome<bool> {
    match operator {
        Operator::Equal => scope.equal(left, right),
        Operator::NotEqual => scope.equal(left, right).map(|equal| !equal),
        Operator::In => scope.contains(right, left),
        _ => {
            let length = |value: &Value| value.as_str().map_or(0, str::len);
            scope.look_at(length(left).min(length(right)))?;
            let order = value::compare(left, right)?;
            Ok(order.is_some_and(|order| fits(operator, order)))
        }
    }
}

fn fits(operator: Operator, order: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// Walks a list, or the keys of an object.
fn walk<'s>(comprehension: &'s Comprehension, scope: &'s Scope<'s>) -> Outcome<Value> {
    let range = evaluate(&comprehension.range, scope)?;
    let elements: Cow<'_, [Value]> = match &*range {
        Value::Array(items) => Cow::Borrowed(items),
        Value::Object(entries) => entries.keys().cloned().map(Value::String).collect(),
        other => {
            return Err(Failure::other(format!(
                "{} is {}; only lists and objects can be walked",
                describe(&comprehension.range),
                with_article(other)
            )));
        }
    };
    let size = scope.enter(elements.len())?;
    let mut result = evaluate(&comprehension.initial, scope)?.into_owned();
    let mut failed = None;
    for element in elements.iter() {
        match step(comprehension, scope, size, element, &mut result) {
            Ok(true) => {}
            Ok(false) => {
                failed = None;
                break;
            }
            Err(failure) if comprehension.forgiving => failed = failed.or(Some(failure)),
            Err(failure) => return Err(failure),
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    let inner = inner_scope(comprehension, scope, size, None, &result);
    evaluate(&comprehension.result, &inner).map(Cow::into_owned)
}

/// One element; false when the rest does not matter any more.
fn step(
    comprehension: &Comprehension,
    scope: &Scope<'_>,
    size: u64,
    element: &Value,
    result: &mut Value,
) -> Outcome<bool> {
    let next = match &comprehension.step {
        Step::Append { condition, value } => {
            let inner = inner_scope(comprehension, scope, size, Some(element), &Value::Null);
            if let Some(condition) = condition
                && !truth(condition, &inner)?
            {
                return Ok(true);
            }
            let appended = inner.own(evaluate(value, &inner)?)?;
            if let Value::Array(items) = result {
                items.push(appended);
            }
            return Ok(true);
        }
        Step::Replace(value) => {
            let inner = inner_scope(comprehension, scope, size, Some(element), result);
            evaluate(value, &inner)?.into_owned()
        }
    };
    *result = next;
    let inner = inner_scope(comprehension, scope, size, Some(element), result);
    truth(&comprehension.go_on, &inner)
}

fn inner_scope<'i>(
    comprehension: &'i Comprehension,
    scope: &'i Scope<'i>,
    elements: u64,
    element: Option<&'i Value>,
    result: &'i Value,
) -> Scope<'i> {
    let result = (comprehension.result_variable.as_str(), result);
    let element = element.map(|element| (comprehension.variable.as_str(), element));
    Scope {
        names: scope.names,
        spent: scope.spent,
        locals: [element, Some(result)],
        outer: Some(scope),
        elements,
    }
}
