//! The functions of expressions.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::compile::Expr;
use super::evaluate::{Failure, Scope, boolean, evaluate, optional};
use super::value::{self, shown, with_article};
use crate::problem::nearest;

/// A function, and how it is written.
#[derive(Debug)]
pub(super) struct Signature {
    name: &'static str,
    /// How many arguments it takes, the value before the dot included.
    arguments: std::ops::RangeInclusive<usize>,
    form: Form,
    /// How it is written.
    usage: &'static str,
    body: Body,
}

impl Signature {
    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

/// A function that was found.
pub(super) type Function = &'static Signature;

/// Whether a function stands before its argument or after a dot.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Global,
    Member,
    Either,
}

/// What a function does.
#[derive(Debug)]
enum Body {
    /// From values to a value.
    Plain(fn(&[Cow<'_, Value>], &Scope<'_>) -> Outcome<Value>),
    /// From something that may be nothing.
    OrValue,
    HasValue,
    Unwrap,
}

type Outcome<T> = Result<T, Failure>;

type Arguments<'a> = &'a [Cow<'a, Value>];

static FUNCTIONS: [Signature; 29] = [
    plain("size", 1..=1, Form::Either, "size(value)", size),
    plain("contains", 2..=2, Form::Member, "text.contains(part)", contains),
    plain("startsWith", 2..=2, Form::Member, "text.startsWith(part)", starts_with),
    plain("endsWith", 2..=2, Form::Member, "text.endsWith(part)", ends_with),
    plain("matches", 2..=2, Form::Either, "text.matches(pattern)", matches),
    plain("lowerAscii", 1..=1, Form::Member, "text.lowerAscii()", lower),
    plain("upperAscii", 1..=1, Form::Member, "text.upperAscii()", upper),
    plain("trim", 1..=1, Form::Member, "text.trim()", trim),
    plain("split", 2..=3, Form::Member, "text.split(separator)", split),
    plain("join", 1..=2, Form::Member, "list.join(separator)", join),
    plain("replace", 3..=4, Form::Member, "text.replace(part, with)", replace),
    plain("substring", 2..=3, Form::Member, "text.substring(start, end)", substring),
    plain("indexOf", 2..=3, Form::Member, "text.indexOf(part, start)", index_of),
    plain("lastIndexOf", 2..=3, Form::Member, "text.lastIndexOf(part, start)", last_index_of),
    plain("charAt", 2..=2, Form::Member, "text.charAt(place)", char_at),
    plain("reverse", 1..=1, Form::Member, "text.reverse()", reverse),
    plain("string", 1..=1, Form::Global, "string(value)", string),
    plain("int", 1..=1, Form::Global, "int(value)", int),
    plain("uint", 1..=1, Form::Global, "uint(value)", uint),
    plain("double", 1..=1, Form::Global, "double(value)", double),
    plain("bool", 1..=1, Form::Global, "bool(value)", bool_of),
    plain("type", 1..=1, Form::Global, "type(value)", type_of),
    plain("json", 1..=1, Form::Global, "json(value)", json),
    plain("parseJson", 1..=1, Form::Global, "parseJson(text)", parse_json),
    plain("now", 0..=0, Form::Global, "now()", now),
    plain("slug", 1..=1, Form::Either, "slug(text)", slug),
    special("orValue", 2, "a.?b.orValue(fallback)", Body::OrValue),
    special("hasValue", 1, "a.?b.hasValue()", Body::HasValue),
    special("value", 1, "a.?b.value()", Body::Unwrap),
];

/// What a name is called here that other languages call otherwise.
const ELSEWHERE: [(&str, &str); 12] = [
    ("toUpperCase", "text.upperAscii()"),
    ("toLowerCase", "text.lowerAscii()"),
    ("upper", "text.upperAscii()"),
    ("lower", "text.lowerAscii()"),
    ("includes", "text.contains(part), or element in list"),
    ("length", "size(value)"),
    ("len", "size(value)"),
    ("slugify", "slug(text)"),
    ("timestamp", "now()"),
    ("JSON", "json(value)"),
    ("toString", "string(value)"),
    ("coalesce", "default(value, fallback)"),
];

static STATUSES: LazyLock<[Value; 8]> = LazyLock::new(|| {
    ["pending", "running", "waiting", "completed", "failed", "skipped", "cancelled", "uncertain"]
        .map(Value::from)
});

/// Every status that a step can have, as values.
pub(super) fn statuses() -> &'static [Value] {
    STATUSES.as_slice()
}

const fn plain(
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    form: Form,
    usage: &'static str,
    body: fn(&[Cow<'_, Value>], &Scope<'_>) -> Outcome<Value>,
) -> Signature {
    Signature { name, arguments, form, usage, body: Body::Plain(body) }
}

const fn special(name: &'static str, count: usize, usage: &'static str, body: Body) -> Signature {
    Signature { name, arguments: count..=count, form: Form::Member, usage, body }
}

/// Finds a function; the error says how it is written.
pub(super) fn find(name: &str, member: bool, count: usize) -> Result<Function, String> {
    let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
        return Err(unknown(name));
    };
    let form = match function.form {
        Form::Either => true,
        Form::Global => !member,
        Form::Member => member,
    };
    match form && function.arguments.contains(&count) {
        true => Ok(function),
        false => Err(format!("`{name}` is written `{}`", function.usage)),
    }
}

fn unknown(name: &str) -> String {
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return format!("there is no function `{name}`; write `{ours}`");
    }
    if ["has", "all", "exists", "exists_one", "map", "filter"].contains(&name) {
        return format!(
            "`{name}` is not written like that; write `has(a.b)` or `list.{name}(item, …)`"
        );
    }
    let others = ["default", "status", "error", "has", "all", "exists", "map", "filter"];
    let names = FUNCTIONS.iter().map(|function| function.name).chain(others);
    match nearest(name, names).first() {
        Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            format!("there is no function `{name}`; there are {}", names.join(", "))
        }
    }
}

/// Calls a function.
pub(super) fn call<'s>(
    function: Function,
    arguments: &'s [Expr],
    scope: &'s Scope<'s>,
) -> Outcome<Cow<'s, Value>> {
    match (&function.body, arguments) {
        (Body::OrValue, [of, fallback]) => match optional(of, scope)? {
            Some(value) => Ok(value),
            None => evaluate(fallback, scope),
        },
        (Body::HasValue, [of]) => Ok(boolean(optional(of, scope)?.is_some())),
        (Body::Unwrap, [of]) => optional(of, scope)?.ok_or_else(|| {
            Failure::Missing("`value()` was called on a path that does not exist".to_owned())
        }),
        (Body::Plain(body), arguments) => {
            let values: Vec<Cow<'s, Value>> = arguments
                .iter()
                .map(|argument| evaluate(argument, scope))
                .collect::<Result<_, _>>()?;
            let texts = values.iter().filter_map(|value| value.as_str());
            scope.look_at(texts.map(str::len).sum())?;
            let result = body(&values, scope).map_err(|failure| named(function, failure))?;
            scope.charge(value::weight(&result))?;
            Ok(Cow::Owned(result))
        }
        (Body::OrValue | Body::HasValue | Body::Unwrap, _) => {
            Err(Failure::other(format!("write `{}`", function.usage)))
        }
    }
}

fn named(function: Function, failure: Failure) -> Failure {
    match failure {
        Failure::Missing(_) | Failure::NoResult(..) => failure,
        Failure::Other(message) => Failure::Other(format!("{}: {message}", function.usage)),
    }
}

fn text<'a>(arguments: Arguments<'a>, index: usize) -> Outcome<&'a str> {
    match arguments[index].as_ref() {
        Value::String(text) => Ok(text),
        other => Err(Failure::other(format!(
            "needs a text here, and was given {}; string(…) makes a text of it",
            with_article(other)
        ))),
    }
}

fn whole(arguments: Arguments<'_>, index: usize) -> Outcome<i64> {
    let number = match arguments[index].as_ref() {
        Value::Number(number) => value::as_place(number),
        _ => None,
    };
    number.ok_or_else(|| {
        let given = with_article(arguments[index].as_ref());
        Failure::other(format!("needs a whole number here, and was given {given}"))
    })
}

fn place(arguments: Arguments<'_>, index: usize, length: usize) -> Outcome<usize> {
    let number = whole(arguments, index)?;
    usize::try_from(number).ok().filter(|place| *place <= length).ok_or_else(|| {
        Failure::other(format!("{number} is outside of the text, which has {length} characters"))
    })
}

fn size(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let size = match arguments[0].as_ref() {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        other => {
            let given = with_article(other);
            return Err(Failure::other(format!(
                "texts, lists and objects have a size, not {given}"
            )));
        }
    };
    Ok(Value::from(size))
}

fn contains(arguments: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    match arguments[0].as_ref() {
        Value::Array(_) => scope.contains(&arguments[0], &arguments[1]).map(Value::Bool),
        _ => Ok(Value::Bool(text(arguments, 0)?.contains(text(arguments, 1)?))),
    }
}

fn starts_with(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::Bool(text(arguments, 0)?.starts_with(text(arguments, 1)?)))
}

fn ends_with(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::Bool(text(arguments, 0)?.ends_with(text(arguments, 1)?)))
}

fn matches(arguments: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    let pattern = text(arguments, 1)?;
    scope.matches(pattern, text(arguments, 0)?).map(Value::Bool)
}

fn lower(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(text(arguments, 0)?.to_ascii_lowercase()))
}

fn upper(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(text(arguments, 0)?.to_ascii_uppercase()))
}

fn trim(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(text(arguments, 0)?.trim().to_owned()))
}

fn split(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let (of, separator) = (text(arguments, 0)?, text(arguments, 1)?);
    let limit = match arguments.len() {
        3 => whole(arguments, 2)?,
        _ => -1,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if separator.is_empty() {
        let characters = of.chars().take(limit).map(String::from);
        return Ok(characters.map(Value::String).collect());
    }
    Ok(of.splitn(limit, separator).map(Value::from).collect())
}

fn join(arguments: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    let Value::Array(items) = arguments[0].as_ref() else {
        let given = with_article(arguments[0].as_ref());
        return Err(Failure::other(format!("joins the elements of a list, not {given}")));
    };
    let separator = if arguments.len() == 2 { text(arguments, 1)? } else { "" };
    let texts: Vec<Cow<'_, str>> = items.iter().map(value::to_text).collect();
    scope.charge(separator.len().saturating_mul(items.len()))?;
    Ok(Value::String(texts.join(separator)))
}

fn replace(arguments: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    let (of, part, with) = (text(arguments, 0)?, text(arguments, 1)?, text(arguments, 2)?);
    let places = if part.is_empty() { of.len() + 1 } else { of.len() / part.len() + 1 };
    scope.charge(places.saturating_mul(with.len()))?;
    let limit = match arguments.len() {
        4 => usize::try_from(whole(arguments, 3)?).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    Ok(Value::String(of.replacen(part, with, limit)))
}

fn substring(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let of = text(arguments, 0)?;
    let length = of.chars().count();
    let start = place(arguments, 1, length)?;
    let end = if arguments.len() == 3 { place(arguments, 2, length)? } else { length };
    if end < start {
        return Err(Failure::other(format!("the end {end} is before the start {start}")));
    }
    Ok(Value::String(of.chars().skip(start).take(end - start).collect()))
}

/// A place in bytes as a place in characters; -1 for none, as CEL has it.
fn in_characters(of: &str, found: Option<usize>) -> Value {
    match found {
        Some(at) => Value::from(of[..at].chars().count()),
        None => Value::from(-1),
    }
}

fn index_of(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let of = text(arguments, 0)?;
    let part = text(arguments, 1)?;
    let start = match arguments.len() {
        3 => in_bytes(of, place(arguments, 2, of.chars().count())?),
        _ => 0,
    };
    Ok(in_characters(of, of[start..].find(part).map(|at| start + at)))
}

/// A place in characters as a place in bytes.
fn in_bytes(of: &str, place: usize) -> usize {
    of.char_indices().nth(place).map_or(of.len(), |(at, _)| at)
}

fn last_index_of(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let of = text(arguments, 0)?;
    let part = text(arguments, 1)?;
    // The last one that begins at `start` or before.
    let end = match arguments.len() {
        3 => in_bytes(of, place(arguments, 2, of.chars().count())?).saturating_add(part.len()),
        _ => of.len(),
    };
    let end = of.floor_char_boundary(end.min(of.len()));
    Ok(in_characters(of, of[..end].rfind(part)))
}

fn char_at(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let of = text(arguments, 0)?;
    let place = place(arguments, 1, of.chars().count())?;
    Ok(Value::String(of.chars().skip(place).take(1).collect()))
}

fn reverse(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(text(arguments, 0)?.chars().rev().collect()))
}

fn string(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(value::to_text(&arguments[0]).into_owned()))
}

fn int(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let number = match arguments[0].as_ref() {
        Value::Number(number) if number.is_f64() => number.as_f64().and_then(cut),
        Value::Number(number) => Some(Value::Number(number.clone())),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().and_then(value::from_whole)
        }
        _ => None,
    };
    number.ok_or_else(|| not_a("whole number", &arguments[0]))
}

/// A fraction without what stands after the point.
fn cut(number: f64) -> Option<Value> {
    let number = number.trunc();
    (number.abs() < 1.8e19).then(|| value::from_whole(number as i128)).flatten()
}

fn uint(arguments: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    let number = int(arguments, scope)?;
    match number.is_u64() {
        true => Ok(number),
        false => Err(not_a("whole number from 0 up", &arguments[0])),
    }
}

fn double(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let number = match arguments[0].as_ref() {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.and_then(value::from_double).ok_or_else(|| not_a("number", &arguments[0]))
}

fn bool_of(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    match arguments[0].as_ref() {
        Value::Bool(truth) => Ok(Value::Bool(*truth)),
        Value::String(text) if text == "true" => Ok(Value::Bool(true)),
        Value::String(text) if text == "false" => Ok(Value::Bool(false)),
        other => Err(not_a("boolean (true or false)", other)),
    }
}

fn not_a(kind: &str, value: &Value) -> Failure {
    let text = value.to_string();
    Failure::other(format!("{} cannot be read as a {kind}", shown(&text)))
}

fn type_of(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::from(match arguments[0].as_ref() {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "double",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }))
}

fn json(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(arguments[0].to_string()))
}

fn parse_json(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let source = text(arguments, 0)?;
    serde_json::from_str(source)
        .map_err(|error| Failure::other(format!("`{}` is not JSON: {error}", shown(source))))
}

fn now(_: Arguments<'_>, scope: &Scope<'_>) -> Outcome<Value> {
    Ok(Value::String(rfc3339(scope.names.now())))
}

fn slug(arguments: Arguments<'_>, _: &Scope<'_>) -> Outcome<Value> {
    let lower = text(arguments, 0)?.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    Ok(Value::String(words.collect::<Vec<_>>().join("-")))
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let (days, rest) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    let fraction = rest % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Days since 1970 as a date (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last one.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
}
