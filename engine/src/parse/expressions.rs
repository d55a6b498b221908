//! The values of a document in which expressions stand.

use serde_json::{Map, Value};

use super::document::{Kind, Node};
use super::fields::{At, Fields, duration};
use crate::expr::{Condition, Template, escape_pointer, mend};
use crate::{PatchOperation, Problem};

/// Any value.
pub(super) fn template(at: &At<'_>, problems: &mut Vec<Problem>) -> Template {
    foreign(at.node, &at.pointer, problems);
    let mut errors = Vec::new();
    let value = at.node.to_value();
    let template = Template::compile_all(&value, &mut errors);
    for (inside, error) in errors {
        let written = value.pointer(&inside).and_then(Value::as_str).unwrap_or_default();
        let path = format!("{}{inside}", at.pointer);
        let meant = mend::text(written);
        let problem = Problem {
            suggestion: meant.clone(),
            found: Some(error.expression),
            patch: replaced(path, meant),
            ..at.problem("invalid_expression", error.message)
        };
        problems.push(at.inside(Problem { pointer: inside, ..problem }));
    }
    template
}

fn replaced(path: String, meant: Option<String>) -> Vec<PatchOperation> {
    let value = meant.map(Value::from);
    value.map(|value| vec![PatchOperation::Replace { path, value }]).unwrap_or_default()
}

/// Reports the `{{ … }}` of other systems.
fn foreign(node: &Node, pointer: &str, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::Scalar(Value::String(text)) => {
            let Some(found) = mend::foreign(text) else { return };
            let at = At { node, pointer: pointer.to_owned() };
            let message = format!(
                "`{}` is no expression here: write `${{…}}` with one pair of braces; for the literal text write \
                 `${{'{{{{ … }}}}'}}`",
                found.written
            );
            problems.push(Problem {
                suggestion: found.meant.clone(),
                found: Some(found.written),
                expected: Some("an expression `${…}`".to_owned()),
                patch: replaced(pointer.to_owned(), found.meant),
                ..at.problem("foreign_expression", message)
            });
        }
        Kind::Scalar(_) => {}
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                foreign(item, &format!("{pointer}/{index}"), problems);
            }
        }
        Kind::Object(entries) => {
            for entry in entries {
                let pointer = format!("{pointer}/{}", escape_pointer(&entry.key));
                foreign(&entry.node, &pointer, problems);
            }
        }
    }
}

/// A text.
pub(super) fn text_template(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    at.text(problems)?;
    Some(template(at, problems))
}

/// A text under a key that may be left out.
pub(super) fn message(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    fields.get("message").and_then(|at| text_template(&at, problems))
}

/// An object, or an expression that stands for one; `{}` when the key is left out.
pub(super) fn params(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    let Some(at) = fields.get("params") else {
        return Template::compile(&Value::Object(Map::new())).ok();
    };
    object_template(&at, "`params`", problems)
}

/// An object, or an expression that stands for one.
pub(super) fn object_template(
    at: &At<'_>,
    what: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<Template> {
    match &at.node.kind {
        Kind::Object(_) => Some(template(at, problems)),
        Kind::Scalar(Value::String(text)) if is_expression(text) => Some(template(at, problems)),
        Kind::Scalar(_) | Kind::List(_) => {
            at.object(what, problems);
            None
        }
    }
}

/// Whether a text was meant as one expression, right or wrong.
fn is_expression(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("${") || text.starts_with("{{") || text.starts_with("={{")
}

/// A list, or an expression that stands for one.
pub(super) fn list_template(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    let text = match &at.node.kind {
        Kind::List(_) => return Some(template(at, problems)),
        Kind::Scalar(Value::String(text)) if is_expression(text) => {
            let before = problems.len();
            let template = template(at, problems);
            if template.is_expression() || before < problems.len() {
                return Some(template);
            }
            text
        }
        Kind::Scalar(Value::String(text)) => text,
        Kind::Scalar(_) | Kind::Object(_) => {
            problems.push(at.wrong_type("a list, or one expression `${…}` that gives a list"));
            return None;
        }
    };
    let mut problem = at.wrong_type("a list, or one expression `${…}` that gives a list");
    if !text.contains("${") && Condition::compile(text).is_ok() {
        problem.suggestion = Some(format!("\"${{{text}}}\""));
        problem.patch = at.replaced(format!("${{{text}}}"));
    }
    problems.push(problem);
    None
}

/// Milliseconds, or an expression that gives them.
pub(super) fn milliseconds_template(
    at: &At<'_>,
    most: u64,
    problems: &mut Vec<Problem>,
) -> Option<Template> {
    match &at.node.kind {
        Kind::Scalar(Value::String(text)) if is_expression(text) => Some(template(at, problems)),
        _ => {
            at.whole(1..=most, problems)?;
            Some(template(at, problems))
        }
    }
}

/// A moment, or an expression that gives one.
pub(super) fn moment_template(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    const EXPECTED: &str =
        "a moment such as \"2027-01-31T12:00:00Z\", or an expression `${…}` that gives one";
    match &at.node.kind {
        Kind::Scalar(Value::String(text)) if text.contains("{") || is_moment(text) => {
            Some(template(at, problems))
        }
        Kind::Scalar(Value::Number(number)) if number.is_u64() => Some(template(at, problems)),
        Kind::Scalar(Value::String(text)) => {
            let mut problem = at.wrong_type(EXPECTED);
            problem.message = format!("`{}` must be {EXPECTED}, and is `{text}`", at.key());
            problem.found = Some(text.clone());
            if let Some(ms) = duration(text, true) {
                problem.suggestion = Some(format!("wait: {{ ms: {ms} }}"));
            }
            problems.push(problem);
            None
        }
        _ => {
            problems.push(at.wrong_type(EXPECTED));
            None
        }
    }
}

/// Whether a text has the shape of an RFC 3339 moment: `2027-01-31T12:00:00Z`, with a fraction or an offset.
fn is_moment(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let at = |place: usize, allowed: &str| {
        text.as_bytes().get(place).is_some_and(|byte| allowed.contains(char::from(*byte)))
    };
    let day = digits(0..4) && at(4, "-") && digits(5..7) && at(7, "-") && digits(8..10);
    let time = at(10, "Tt ")
        && digits(11..13)
        && at(13, ":")
        && digits(14..16)
        && at(16, ":")
        && digits(17..19);
    let Some(rest) = text.get(19..).filter(|_| day && time) else { return false };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = rest.strip_prefix(['+', '-']).is_some_and(|offset| {
        let digits = offset.bytes().enumerate();
        offset.len() == 5
            && digits
                .into_iter()
                .all(|(at, byte)| if at == 2 { byte == b':' } else { byte.is_ascii_digit() })
    });
    matches!(rest, "Z" | "z") || offset
}

/// Something that must be true or false.
pub(super) fn condition(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Condition> {
    let text = match &at.node.kind {
        Kind::Scalar(Value::Bool(truth)) => truth.to_string(),
        _ => at.text(problems)?.to_owned(),
    };
    match Condition::compile(&text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            let meant = mend::condition(&text);
            problems.push(Problem {
                suggestion: meant.clone(),
                found: Some(error.expression),
                patch: replaced(at.pointer.clone(), meant),
                ..at.problem("invalid_expression", error.message)
            });
            None
        }
    }
}
