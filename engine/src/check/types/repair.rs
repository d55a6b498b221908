//! What to write instead, where there is one thing that was obviously meant.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::Checker;
use super::near::{near, obvious};
use crate::expr::{Expression, Finding, Root, Side, joined};
use crate::shape::{Fit, Place, Reach, Shape, Types, fit};
use crate::{PatchOperation, Problem};

/// What other systems put between a step and what it results in.
const WRAPPERS: [&str; 9] = [
    "output",
    "outputs",
    "result",
    "results",
    "data",
    "structuredContent",
    "response",
    "json",
    "body",
];

/// What other languages call `size(…)`.
const LENGTHS: [&str; 4] = ["length", "size", "count", "len"];

/// How an expression becomes what is wanted.
pub(super) enum Conversion {
    /// Nothing is lost and nothing can fail.
    Lossless(Value),
    /// It may fail when it runs: for the author to choose.
    Risky(String),
}

/// An expression of the wrong type, made into the right one.
pub(super) fn converted(
    source: &str,
    shape: &Shape<'_>,
    place: Place<'_>,
    key: &str,
) -> Option<Conversion> {
    let (given, wanted) = (shape.types(), place.types());
    // The whole result, where something in it has the very name.
    if let Reach::Found { shape: inner, .. } = shape.get(key)
        && given.meets(Types::OBJECT)
        && matches!(fit(&inner, place), Fit::Always)
    {
        return Some(Conversion::Lossless(Value::from(format!("${{{source}.{key}}}"))));
    }
    if wanted.meets(Types::LIST)
        && let Some(element) = place.element_within(None, 0)
        && matches!(fit(shape, element), Fit::Always)
    {
        return Some(Conversion::Lossless(json!([format!("${{{source}}}")])));
    }
    let free = place.values().is_none();
    if wanted.meets(Types::TEXT) && free {
        if given.within(Types::NUMBER.or(Types::BOOLEAN)) {
            return Some(Conversion::Lossless(Value::from(format!("${{string({source})}}"))));
        }
        if given.within(Types::LIST.or(Types::OBJECT)) {
            return Some(Conversion::Lossless(Value::from(format!("${{json({source})}}"))));
        }
    }
    if given == Types::TEXT && wanted == Types::WHOLE {
        return Some(Conversion::Risky(format!("${{int({source})}}")));
    }
    if given == Types::TEXT && wanted.within(Types::NUMBER) {
        return Some(Conversion::Risky(format!("${{double({source})}}")));
    }
    None
}

/// A literal of the wrong type, as the value that was obviously meant.
pub(super) fn literal(value: &Value, validator: &Validator) -> Option<Value> {
    candidates(value).into_iter().find(|candidate| validator.is_valid(candidate))
}

fn candidates(value: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    match value {
        Value::String(text) => {
            let text = text.trim();
            // The text as what it reads like: 5, 1.5, true, null, a list, an object.
            found.extend(serde_json::from_str(text).ok().filter(|read: &Value| !read.is_string()));
            match text.to_lowercase().as_str() {
                "true" | "yes" | "on" => found.push(json!(true)),
                "false" | "no" | "off" => found.push(json!(false)),
                _ => {}
            }
            found.push(json!(text.to_lowercase()));
            found.push(json!(text.to_uppercase()));
            if text.contains(',') {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                found.push(items.map(Value::from).collect());
            }
        }
        Value::Number(number) => {
            found.push(json!(number.to_string()));
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0) {
                found.push(json!(whole as i64));
            }
        }
        Value::Bool(truth) => found.push(json!(truth.to_string())),
        Value::Array(items) if items.len() == 1 => found.extend(items.iter().cloned()),
        Value::Array(_) | Value::Object(_) | Value::Null => {}
    }
    found.push(json!([value]));
    found
}

impl Checker<'_> {
    /// A path that leads to nothing.
    pub(super) fn absent(
        &self,
        finding: &Finding,
        pointer: &str,
        expression: &Expression,
    ) -> Option<Problem> {
        let Finding::Absent { path, key, names, of, root, at_root } = finding else { return None };
        let whole = joined(path, key);
        let code = match root {
            Root::Name(name) if name == "input" || name == "repo" => "unknown_input",
            _ => "unknown_output",
        };
        if *at_root
            && WRAPPERS.contains(&key.as_str())
            && let Some(problem) = self.unwrapped(path, &whole, names, pointer, expression)
        {
            return Some(problem);
        }
        let mut nearest = near(key, names.iter().map(String::as_str));
        let owner = self.owner_of(root);
        let counts = LENGTHS.contains(&key.as_str()) && of.within(Types::LIST.or(Types::TEXT));
        let message = if counts {
            format!("`{path}` is {of}, and how long it is says `size({path})`")
        } else if *of == Types::LIST {
            format!(
                "`{path}` is a list; an element of it is `{path}[0]`, all of them are `{path}.map(each, …)`"
            )
        } else if !of.meets(Types::OBJECT) {
            format!("`{path}` is {of}, and has no `{key}`")
        } else {
            let known = match names.as_slice() {
                [] => "nothing".to_owned(),
                names => names.join(", "),
            };
            let inside = if *at_root { String::new() } else { format!(" in `{path}`") };
            format!("{owner} has no `{key}`{inside}; it has {known}")
        };
        let mut patch = Vec::new();
        if let Some(name) = obvious(key, &nearest) {
            let right = format!("{path}.{name}");
            patch = self.rewritten(pointer, |text| replaced(text, &whole, &right));
        } else if counts {
            nearest.push(format!("size({path})"));
        } else if of.within(Types::TEXT.or(Types::NUMBER).or(Types::BOOLEAN)) {
            // One step too far: the path before it is the value itself.
            nearest.push(path.clone());
        }
        if patch.is_empty()
            && names.is_empty()
            && let Some(right) = nearest.first()
        {
            patch = self.rewritten(pointer, |text| replaced(text, &whole, right));
        }
        Some(Problem {
            suggestion: nearest.first().map(|name| crate::parse::did_you_mean(name)),
            expected: Some(match names.as_slice() {
                [] => of.to_string(),
                names => format!("one of {}", names.join(", ")),
            }),
            found: Some(key.clone()),
            nearest,
            patch,
            ..Problem::new(code, pointer, message)
        })
    }

    /// `steps.a.outputs.url` where `url` is in the result of `a` itself.
    fn unwrapped(
        &self,
        path: &str,
        whole: &str,
        names: &[String],
        pointer: &str,
        expression: &Expression,
    ) -> Option<Problem> {
        let after = expression.source.split(whole).nth(1)?;
        let next: Option<String> = after.strip_prefix('.').map(|rest| {
            rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
        });
        if let Some(next) = &next
            && !names.contains(next)
            && near(next, names.iter().map(String::as_str)).is_empty()
        {
            return None;
        }
        let right = next.map_or_else(|| path.to_owned(), |next| format!("{path}.{next}"));
        let message = format!(
            "`{path}` is the result itself: what the tool gave stands in it without `{}` between",
            whole.rsplit('.').next().unwrap_or(whole)
        );
        let patch = self.rewritten(pointer, |text| replaced(text, whole, path));
        Some(Problem {
            suggestion: Some(format!("write `{right}`")),
            expected: Some(format!("one of {}", names.join(", "))),
            found: Some(whole.to_owned()),
            nearest: vec![right],
            patch,
            ..Problem::new("unknown_output", pointer, message)
        })
    }

    /// A comparison that has the same answer whatever comes.
    pub(super) fn decided(&self, finding: &Finding, pointer: &str) -> Option<Problem> {
        let Finding::Decided { left, right, allowed, wrong, names } = finding else { return None };
        let message = format!(
            "`{left}` is {allowed}, and never {right}; the comparison has the same answer whatever comes"
        );
        let nearest = match wrong {
            Some(wrong) => near(wrong, names.iter().map(String::as_str)),
            None => Vec::new(),
        };
        let text = self.workflow.document.pointer(pointer).and_then(Value::as_str);
        let value = wrong.as_deref().and_then(|wrong| {
            let name = obvious(wrong, &nearest)?;
            let quoted = [format!("'{wrong}'"), format!("\"{wrong}\"")];
            let quoted =
                quoted.iter().find(|quoted| text.is_some_and(|text| text.contains(*quoted)))?;
            Some(text?.replacen(quoted, &format!("'{name}'"), 1))
        });
        // A number or a truth that was quoted.
        let value = value.or_else(|| {
            let wrong = wrong.as_deref()?;
            let number = allowed.contains("number") && wrong.parse::<f64>().is_ok();
            let truth = allowed.contains("true or false") && ["true", "false"].contains(&wrong);
            let text = text.filter(|_| number || truth)?;
            let quoted = [format!("'{wrong}'"), format!("\"{wrong}\"")];
            let quoted = quoted.iter().find(|quoted| text.contains(*quoted))?;
            Some(text.replacen(quoted, wrong, 1))
        });
        let path = pointer.to_owned();
        let patch = value.map(|value| PatchOperation::Replace { path, value: Value::from(value) });
        Some(Problem {
            suggestion: nearest.first().map(|name| crate::parse::did_you_mean(name)),
            expected: Some(allowed.clone()),
            found: Some(right.clone()),
            nearest,
            patch: patch.into_iter().collect(),
            ..Problem::new("never_equal", pointer, message)
        })
    }

    /// An operator on what it does not work on.
    pub(super) fn operand(&self, finding: &Finding, pointer: &str) -> Option<Problem> {
        let Finding::Operand { source, expected, found, types, side } = finding else {
            return None;
        };
        let mut message = format!("`{source}` must be {expected} here, and is {found}");
        let (wrong, right) = match side {
            Side::Or(fallback) => {
                message.push_str(
                    "; `||` stands between questions, and a fallback is written `default(value, fallback)`",
                );
                let quoted = fallback.replace('\'', "\"");
                let wrong = [
                    format!("{source} || {fallback}"),
                    format!("{source} || {quoted}"),
                    format!("{source}||{fallback}"),
                ];
                (wrong.to_vec(), Some(format!("default({source}, {fallback})")))
            }
            Side::Not => {
                let right = question(source, *types).replace("!=", "==").replace("> 0", "== 0");
                (vec![format!("!{source}")], Some(right))
            }
            Side::Other => {
                let asks = *types != Types::NONE;
                (vec![source.clone()], asks.then(|| question(source, *types)))
            }
        };
        let patch = right.as_ref().map(|right| {
            self.rewritten(pointer, |text| {
                wrong.iter().find_map(|wrong| replaced(text, wrong, right))
            })
        });
        Some(Problem {
            expected: Some((*expected).to_owned()),
            found: Some(found.clone()),
            suggestion: right,
            patch: patch.unwrap_or_default(),
            ..Problem::new("wrong_type", pointer, message)
        })
    }
}

/// The question that was probably meant where a value stands for one.
pub(super) fn question(source: &str, types: Types) -> String {
    match types {
        types if types.within(Types::NUMBER) => format!("{source} != 0"),
        Types::TEXT => format!("{source} != ''"),
        types if types.within(Types::LIST.or(Types::OBJECT)) => format!("size({source}) > 0"),
        _ => format!("{source} != null"),
    }
}

/// A text in which a path is written otherwise; nothing when the path does not stand in it as it is.
fn replaced(text: &str, path: &str, right: &str) -> Option<String> {
    let word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(path) {
        let (before, after) = (&rest[..at], &rest[at + path.len()..]);
        let begins = !changed
            .chars()
            .chain(before.chars())
            .next_back()
            .is_some_and(|letter| word(letter) || letter == '.');
        let ends = !after.starts_with(word);
        changed.push_str(before);
        changed.push_str(if begins && ends { right } else { path });
        found |= begins && ends;
        rest = after;
    }
    changed.push_str(rest);
    found.then_some(changed)
}
