//! What is taken out of text before it leaves a tool: secrets, and characters nobody can see.

use serde_json::Value;
use sha2::{Digest, Sha256};

const REDACTED: &str = "[redacted]";
const TOKEN_PREFIXES: [&str; 11] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "xoxb-",
    "xoxa-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
];
const SHORTEST_TOKEN: usize = 10;
/// Shorter ones would black out words.
const SHORTEST_SECRET: usize = 8;
const AWS_PREFIXES: [&str; 2] = ["AKIA", "ASIA"];
const AWS_KEY_REST: usize = 16;

/// Whether a name fits a glob in which `*` stands for anything.
#[must_use]
pub fn fits(glob: &str, name: &str) -> bool {
    let Some((start, rest)) = glob.split_once('*') else { return glob == name };
    let Some(after) = name.strip_prefix(start) else { return false };
    let mut ends = after.char_indices().map(|(index, _)| index).chain([after.len()]);
    ends.any(|index| fits(rest, &after[index..]))
}

/// Bytes in hex, in lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of some bytes, in hex: 64 digits, of which any first ones make a name.
#[must_use]
pub fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Removes characters that hide text from people but not from models.
pub fn without_invisible(text: &str) -> String {
    text.chars().filter(|char| !invisible(*char)).collect()
}

fn invisible(char: char) -> bool {
    matches!(char,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}'
        | '\u{FEFF}' | '\u{00AD}' | '\u{180E}' | '\u{E0001}' | '\u{E0020}'..='\u{E007F}')
}

/// Blacks out what looks like a credential, and the given secrets wherever they stand.
pub fn redact(text: &str, secrets: &[&str]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(char) = rest.chars().next() {
        match secret_at(rest, before, secrets) {
            Some((kept, length)) => {
                clean.push_str(&rest[..kept]);
                clean.push_str(REDACTED);
                rest = &rest[kept + length..];
                before = ' ';
            }
            None => {
                clean.push(char);
                rest = &rest[char.len_utf8()..];
                before = char;
            }
        }
    }
    clean
}

/// Redacts every text in a value.
pub fn redact_value(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => *text = redact(text, secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_value(item, secrets)),
        Value::Object(object) => object.values_mut().for_each(|item| redact_value(item, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A secret at the start of a text: how much of the start is kept, and how long the secret is.
fn secret_at(text: &str, before: char, secrets: &[&str]) -> Option<(usize, usize)> {
    own_secret(text, secrets)
        .or_else(|| token(text))
        .or_else(|| aws_key(text, before))
        .or_else(|| pem_block(text))
        .or_else(|| address_credentials(text))
        .or_else(|| password(text))
}

fn own_secret(text: &str, secrets: &[&str]) -> Option<(usize, usize)> {
    let fits = |secret: &&&str| SHORTEST_SECRET <= secret.len() && text.starts_with(**secret);
    let found = secrets.iter().find(fits)?;
    Some((0, found.len()))
}

fn token(text: &str) -> Option<(usize, usize)> {
    let prefix = TOKEN_PREFIXES.iter().find(|prefix| text.starts_with(**prefix))?;
    let rest =
        run(&text[prefix.len()..], |char| char.is_ascii_alphanumeric() || "_-".contains(char));
    (SHORTEST_TOKEN <= rest).then_some((0, prefix.len() + rest))
}

fn aws_key(text: &str, before: char) -> Option<(usize, usize)> {
    let prefix = AWS_PREFIXES.iter().find(|prefix| text.starts_with(**prefix))?;
    let rest =
        run(&text[prefix.len()..], |char| char.is_ascii_uppercase() || char.is_ascii_digit());
    (!before.is_alphanumeric() && rest == AWS_KEY_REST).then_some((0, prefix.len() + rest))
}

fn pem_block(text: &str) -> Option<(usize, usize)> {
    text.strip_prefix("-----BEGIN ")?;
    let end = text.find("-----END ").and_then(|start| {
        let label = start + "-----END ".len();
        text[label..].find("-----").map(|dashes| label + dashes + "-----".len())
    });
    Some((0, end.unwrap_or(text.len())))
}

fn address_credentials(text: &str) -> Option<(usize, usize)> {
    let rest = text.strip_prefix("://")?;
    let authority = run(rest, |char| !char.is_whitespace() && !"/?#\"'<>".contains(char));
    let at = rest[..authority].rfind('@').filter(|at| 0 < *at)?;
    Some(("://".len(), at))
}

fn password(text: &str) -> Option<(usize, usize)> {
    const KEY: &str = "password=";
    text.get(..KEY.len()).filter(|start| start.eq_ignore_ascii_case(KEY))?;
    let value = run(&text[KEY.len()..], |char| !char.is_whitespace() && !"&;\"'".contains(char));
    (0 < value).then_some((KEY.len(), value))
}

/// The length in bytes of the characters at the start that fit.
fn run(text: &str, fits: impl Fn(char) -> bool) -> usize {
    text.find(|char| !fits(char)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::{redact, without_invisible};

    #[test]
    fn what_looks_like_a_credential_is_blacked_out() {
        let cases = [
            ("token ghp_0123456789abcdefABCD!", "token [redacted]!"),
            ("github_pat_11ABCDEFG0_abcdefghij", "[redacted]"),
            ("xoxb-1234567890-abc", "[redacted]"),
            ("key AKIAIOSFODNN7EXAMPLE.", "key [redacted]."),
            ("https://user:hunter2@host/path", "https://[redacted]@host/path"),
            ("db?Password=hunter2&x=1", "db?Password=[redacted]&x=1"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("my own s3cr3t-word", "my own [redacted]"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text, &["s3cr3t-word"]), expected);
        }
    }

    #[test]
    fn shas_account_ids_and_plain_words_stay() {
        let plain = [
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "123456789012",
            "ghp_ is a prefix",
            "https://example.com/a@b",
            "mail ada@example.com",
            "XAKIAIOSFODNN7EXAMPLE",
            "Grüße, 世界",
        ];
        for text in plain {
            assert_eq!(redact(text, &["", "a"]), text);
        }
    }

    #[test]
    fn characters_nobody_can_see_are_removed() {
        assert_eq!(without_invisible("a\u{200B}b\u{202E}c\u{E0041}d\u{FEFF}"), "abcd");
        assert_eq!(without_invisible("Grüße\n👋"), "Grüße\n👋");
    }
}
