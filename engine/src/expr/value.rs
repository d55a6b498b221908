//! JSON values as the values of expressions: equality, order, arithmetic, text.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::compile::Operator;
use super::evaluate::Failure;

/// How much of a text an error shows, in characters.
const MAX_SHOWN: usize = 80;

/// A number, whole or not; whole numbers never pass through a fraction.
#[derive(Clone, Copy)]
enum Amount {
    Whole(i128),
    Fraction(f64),
}

/// A value inside a text: scalars plainly, lists and objects as compact JSON.
pub(super) fn to_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// What kind of value it is, in a sentence.
pub(super) fn with_article(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A text short enough for an error.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Roughly how many bytes a value takes.
pub(crate) fn weight(value: &Value) -> usize {
    const NODE: usize = 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => NODE + items.iter().map(weight).sum::<usize>(),
        Value::Object(entries) => {
            NODE + entries.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>()
        }
    }
}

/// A fraction as JSON; `None` when it is not finite.
pub(super) fn from_double(number: f64) -> Option<Value> {
    Number::from_f64(number).map(Value::Number)
}

/// A number as a place in a list.
pub(super) fn as_place(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        let whole = number.fract() == 0.0 && number.abs() < 9e15;
        whole.then_some(number as i64)
    })
}

/// Equality as CEL has it: numbers by their value, values of two kinds are never equal. `read` counts what is looked at,
/// roughly in bytes.
pub(super) fn equal(left: &Value, right: &Value, read: &mut usize) -> bool {
    const NODE: usize = 8;
    *read = read.saturating_add(NODE);
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            *read = read.saturating_add(if left.len() == right.len() { left.len() } else { 0 });
            left == right
        }
        (Value::Number(left), Value::Number(right)) => {
            order(amount(left), amount(right)) == Some(Ordering::Equal)
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| equal(left, right, read))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right, read)))
        }
        (left, right) => left == right,
    }
}

/// Order of numbers, texts and booleans.
pub(super) fn compare(left: &Value, right: &Value) -> Result<Option<Ordering>, Failure> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(order(amount(left), amount(right))),
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (left, right) => Err(Failure::other(format!(
            "{} and {} have no order; convert one with int(…), double(…) or string(…)",
            with_article(left),
            with_article(right)
        ))),
    }
}

/// `element in list` and `key in object`; `read` counts as for [`equal`].
pub(super) fn contains(of: &Value, element: &Value, read: &mut usize) -> Result<bool, Failure> {
    match (of, element) {
        (Value::Array(items), element) => Ok(items.iter().any(|item| equal(item, element, read))),
        (Value::Object(entries), Value::String(key)) => Ok(entries.contains_key(key)),
        (Value::Object(entries), key) => Ok(entries.contains_key(&key.to_string())),
        (Value::String(_), _) => {
            Err(Failure::other("`in` does not look into a text; write text.contains(part)"))
        }
        (other, _) => Err(Failure::other(format!(
            "`in` needs a list or an object on its right, and there is {}",
            with_article(other)
        ))),
    }
}

/// `left + right` of numbers, texts and lists.
pub(super) fn add(left: Cow<'_, Value>, right: Cow<'_, Value>) -> Result<Value, Failure> {
    match (left.into_owned(), right.into_owned()) {
        (Value::String(left), Value::String(right)) => Ok(Value::String(left + &right)),
        (Value::Array(mut left), Value::Array(right)) => {
            left.extend(right);
            Ok(Value::Array(left))
        }
        (left, right) => calculate(Operator::Add, &left, &right),
    }
}

/// Arithmetic; whole numbers stay whole.
pub(super) fn calculate(operator: Operator, left: &Value, right: &Value) -> Result<Value, Failure> {
    let (Value::Number(left_number), Value::Number(right_number)) = (left, right) else {
        let text = left.is_string() || right.is_string();
        let hint = if text { "; make a text of the other one with string(…)" } else { "" };
        return Err(Failure::other(format!(
            "`{}` does not work on {} and {}{hint}",
            symbol(operator),
            with_article(left),
            with_article(right)
        )));
    };
    match (amount(left_number), amount(right_number)) {
        (Amount::Whole(left), Amount::Whole(right)) => whole(operator, left, right),
        (left, right) => fraction(operator, left.double(), right.double()),
    }
}

/// `-number`
pub(super) fn negate(value: &Value) -> Result<Value, Failure> {
    calculate(Operator::Subtract, &Value::from(0), value)
}

fn whole(operator: Operator, left: i128, right: i128) -> Result<Value, Failure> {
    // Factors of at most 64 bits cannot overflow 128.
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide | Operator::Remainder if right == 0 => {
            return Err(Failure::other("division by zero"));
        }
        Operator::Divide => left / right,
        _ => left % right,
    };
    from_whole(result).ok_or_else(|| {
        Failure::other(format!("the result of `{}` is too large for 64 bits", symbol(operator)))
    })
}

fn fraction(operator: Operator, left: f64, right: f64) -> Result<Value, Failure> {
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left % right,
    };
    from_double(result).ok_or_else(|| {
        Failure::other(format!("the result of `{}` is not a finite number", symbol(operator)))
    })
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Remainder => "%",
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessOrEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterOrEqual => ">=",
        Operator::In => "in",
    }
}

/// A whole number as JSON; `None` beyond 64 bits.
pub(super) fn from_whole(number: i128) -> Option<Value> {
    match i64::try_from(number) {
        Ok(number) => Some(Value::from(number)),
        Err(_) => u64::try_from(number).ok().map(Value::from),
    }
}

fn amount(number: &Number) -> Amount {
    match (number.as_i64(), number.as_u64()) {
        (Some(number), _) => Amount::Whole(number.into()),
        (None, Some(number)) => Amount::Whole(number.into()),
        // Without arbitrary precision a number is one of the three.
        (None, None) => Amount::Fraction(number.as_f64().unwrap_or(f64::NAN)),
    }
}

impl Amount {
    fn double(self) -> f64 {
        match self {
            Amount::Whole(number) => number as f64,
            Amount::Fraction(number) => number,
        }
    }
}

/// Exact, also between whole numbers beyond 2^53 and fractions.
fn order(left: Amount, right: Amount) -> Option<Ordering> {
    match (left, right) {
        (Amount::Whole(left), Amount::Whole(right)) => Some(left.cmp(&right)),
        (Amount::Fraction(left), Amount::Fraction(right)) => left.partial_cmp(&right),
        (Amount::Whole(left), Amount::Fraction(right)) => order_mixed(left, right),
        (Amount::Fraction(left), Amount::Whole(right)) => {
            order_mixed(right, left).map(Ordering::reverse)
        }
    }
}

fn order_mixed(left: i128, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    // `as` saturates, and 128 bits hold every number that 64 bits can be compared with.
    match left.cmp(&(right.trunc() as i128)) {
        Ordering::Equal => 0.0_f64.partial_cmp(&right.fract()),
        order => Some(order),
    }
}
