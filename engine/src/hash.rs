//! What tells one JSON value from another, in few characters.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Whole numbers beyond this are not exact in canonical JSON, which knows only 64-bit fractions.
const MAX_EXACT: u64 = 1 << 53;

/// SHA-256 of the canonical JSON (RFC 8785) of a value, in lower-case hex: the same for all texts that mean the same,
/// and for no others.
#[must_use]
pub fn content_hash(value: &Value) -> String {
    let canonical = serde_json_canonicalizer::to_vec(&exact(value))
        .expect("a JSON value has only finite numbers and text keys");
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An id that is the same whenever it is made from the same text: a prefix and 130 bits of SHA-256, in the letters
/// that survive every URL, shell and eye.
#[must_use]
pub fn id(prefix: &str, text: &str) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest = Sha256::digest(text);
    let letters = digest.iter().take(26).map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    std::iter::once(prefix.to_owned()).chain(letters.map(String::from)).collect()
}

/// The value with the numbers as texts that canonical JSON would round, as RFC 8785 advises:
/// two values that differ only in such a number must not have the same hash.
fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match whole {
                Some(whole) if MAX_EXACT < whole => Value::String(number.to_string()),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), exact(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_differ_in_a_number_that_would_be_rounded_have_other_hashes() {
        let large = json!({ "n": 9_007_199_254_740_993_u64 });
        let rounded = json!({ "n": 9_007_199_254_740_992_u64 });
        assert_ne!(content_hash(&large), content_hash(&rounded));
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        assert_eq!(
            content_hash(&json!({ "a": 1, "b": 2 })),
            content_hash(&json!({ "b": 2, "a": 1 }))
        );
    }
}
