//! How deep a value may be nested.

use serde_json::Value;

/// How many levels of lists and objects a value may have. What is read back from a history may have twice as many, so
/// that results of results still can be.
pub const MAX_VALUE_DEPTH: usize = 64;

/// Whether a value has more levels than [`MAX_VALUE_DEPTH`].
#[must_use]
pub fn is_too_deep(value: &Value) -> bool {
    !fits(value, MAX_VALUE_DEPTH)
}

fn fits(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => 0 < left && items.iter().all(|item| fits(item, left - 1)),
        Value::Object(entries) => 0 < left && entries.values().all(|entry| fits(entry, left - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_counted_and_nothing_else() {
        let nested = |levels| (0..levels).fold(json!(1), |value, _| json!([value]));
        assert!(!is_too_deep(&nested(MAX_VALUE_DEPTH)));
        assert!(is_too_deep(&nested(MAX_VALUE_DEPTH + 1)));
        assert!(is_too_deep(&json!({ "a": nested(MAX_VALUE_DEPTH) })));
        assert!(!is_too_deep(&json!([1, 2, { "a": "x".repeat(100_000) }])));
    }
}
