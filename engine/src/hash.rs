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

/// The letters that survive every URL, shell and eye, in the order of their codes.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// An id that is the same whenever it is made from the same text: a prefix and 130 bits of SHA-256.
#[must_use]
pub fn id(prefix: &str, text: &str) -> String {
    let digest = Sha256::digest(text);
    let letters = digest.iter().take(26).map(|byte| char::from(LETTERS[usize::from(byte & 31)]));
    std::iter::once(prefix.to_owned()).chain(letters.map(String::from)).collect()
}

/// An id that sorts by the time when it was made, so that what is written at one time lies side by side in every index: a
/// prefix, 48 bits of milliseconds since 1970, and the lower 80 of the random bits, as in a
/// [ULID](https://github.com/ulid/spec).
#[must_use]
pub fn id_at(prefix: &str, at: i64, random: u128) -> String {
    let at = u128::from(at.cast_unsigned()) << 80;
    let bits = at | random & ((1 << 80) - 1);
    let letters = (0..26).rev().map(|place| LETTERS[(bits >> (5 * place)) as usize & 31]);
    prefix.chars().chain(letters.map(char::from)).collect()
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

    #[test]
    fn ids_of_a_later_millisecond_sort_later_and_those_of_one_differ() {
        let at = 1_795_318_154_577;
        let (first, second) = (id_at("exec_", at, 1), id_at("exec_", at, 2));
        assert_eq!(first, "exec_01m80mt1ah0000000000000001");
        assert!(first < second, "{first} {second}");
        let later = id_at("exec_", at + 1, 0);
        assert!(id_at("exec_", at, u128::MAX) < later, "{later}");
    }
}
