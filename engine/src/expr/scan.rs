//! Finds the `${ … }` in a text.

use super::Error;

/// A part of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    /// Literal text, with `$${` already turned into `${`.
    Text(String),
    /// What stands between `${` and `}`.
    Expression(&'t str),
}

/// Splits a text into literal text and expressions.
pub(super) fn scan(text: &str) -> Result<Vec<Piece<'_>>, Error> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        let inside = &rest[at + 2..];
        let end = end_of_expression(inside).ok_or_else(|| unclosed(&rest[at..]))?;
        pieces.push(Piece::Expression(inside[..end].trim()));
        rest = &inside[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

fn unclosed(text: &str) -> Error {
    let message = "this `${` has no closing `}` (a quote that is opened inside must be closed \
                   too); for a literal `${` write `$${`";
    Error::new(text, message)
}

/// Where the `}` is that closes the expression: braces and quotes inside it do not count.
fn end_of_expression(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            b'{' => depth += 1,
            b'\'' | b'"' => {
                at = end_of_text(text, at)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the CEL string literal ends whose opening quote is at `start`.
pub(super) fn end_of_text(text: &str, start: usize) -> Option<usize> {
    let raw = is_raw(&text.as_bytes()[..start]);
    let quote = &text[start..=start];
    let triple = quote.repeat(3);
    let quote = if text[start..].starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = start + quote.len();
    while at < text.len() {
        if text.as_bytes()[at] == b'\\' && !raw {
            at += 2;
        } else if text.as_bytes()[at..].starts_with(quote.as_bytes()) {
            return Some(at + quote.len());
        } else {
            at += 1;
        }
    }
    None
}

/// Whether an `r` that is no part of a longer name stands before the quote.
fn is_raw(before: &[u8]) -> bool {
    let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let prefix = before[before.len() - letters..].to_ascii_lowercase();
    matches!(prefix.as_slice(), b"r" | b"br" | b"rb")
}
