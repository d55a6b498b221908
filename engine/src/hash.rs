//! JSON in the one form that can be hashed.

use serde_json::Value;

/// Canonical JSON (RFC 8785): the same for all texts that mean the same.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    // Only numbers that JSON itself cannot hold would fail, and a `Value` holds none.
    serde_json_canonicalizer::to_vec(value).unwrap_or_else(|_| value.to_string().into_bytes())
}
