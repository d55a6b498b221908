//! Keeps sealed texts out of what is shown: they say nothing to whoever looks. History and rows keep them.

use serde_json::Value;

use super::{Execution, RequestView, StepView};
use crate::keyring::{SEALED, SHOWN, token_at};

/// An execution with `[sealed]` in the place of what is sealed.
pub(super) fn execution(execution: Execution) -> Execution {
    let mut shown = execution;
    shown.steps.iter_mut().for_each(step);
    shown.output.iter_mut().for_each(value);
    shown.error.iter_mut().for_each(|error| text(&mut error.message));
    shown.waiting_for.iter_mut().for_each(text);
    value(&mut shown.input);
    shown
}

fn step(step: &mut StepView) {
    [&mut step.error, &mut step.params, &mut step.result].into_iter().flatten().for_each(value);
}

/// A request with `[sealed]` in the place of what is sealed.
pub(super) fn request(request: RequestView) -> RequestView {
    let mut shown = request;
    text(&mut shown.message);
    [&mut shown.schema, &mut shown.params].into_iter().flatten().for_each(value);
    shown
}

fn value(shown: &mut Value) {
    match shown {
        Value::String(sealed) => text(sealed),
        Value::Array(items) => items.iter_mut().for_each(value),
        Value::Object(entries) => {
            if entries.keys().any(|key| key.contains(SEALED)) {
                let named = std::mem::take(entries).into_iter();
                let named = named.map(|(mut key, entry)| {
                    text(&mut key);
                    (key, entry)
                });
                *entries = named.collect();
            }
            entries.values_mut().for_each(value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text with `[sealed]` in the place of what is sealed.
pub(super) fn text(shown: &mut String) {
    if !shown.contains(SEALED) {
        return;
    }
    let (mut kept, mut rest) = (String::new(), shown.as_str());
    while let Some(start) = rest.find(SEALED) {
        let (before, from) = rest.split_at(start);
        kept.push_str(before);
        // Somebody may have written these words without anything behind them.
        let length = token_at(from);
        kept.push_str(if length.is_some() { SHOWN } else { SEALED });
        rest = &from[length.unwrap_or(SEALED.len())..];
    }
    kept.push_str(rest);
    *shown = kept;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(given: Value, expected: Value) {
        let mut shown = given;
        value(&mut shown);
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_sealed_text_is_shown_as_one_word_wherever_it_stands() {
        let token = "sealed:v1:0a1b:Zm9v-_.";
        check(json!(token), json!("[sealed]"));
        check(
            json!({ "a": [format!("Bearer {token} and {token}x"), 1], token: null }),
            json!({ "a": ["Bearer [sealed] and [sealed]x", 1], "[sealed]": null }),
        );
        check(
            json!("it begins with sealed:v1: and ends"),
            json!("it begins with sealed:v1: and ends"),
        );
    }
}
