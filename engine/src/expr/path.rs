//! The commonest expression, a plain path, read without a parser.

use serde_json::Value;

use super::compile::{Expr, RESERVED, Root, Segment};

/// `a.b['c'][0]` as its root and segments; `None` when the text is anything else.
pub(super) fn read(text: &str) -> Option<(&str, Vec<Segment>)> {
    let (root, mut rest) = identifier(text)?;
    if RESERVED.contains(&root) {
        return None;
    }
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (segment, after) = match rest.strip_prefix('.') {
            Some(after) => {
                identifier(after).map(|(key, rest)| (Segment::Key(key.to_owned()), rest))
            }
            None => bracket(rest),
        }?;
        segments.push(segment);
        rest = after;
    }
    Some((root, segments))
}

/// The expression that a path stands for.
pub(super) fn expression(root: Root, segments: Vec<Segment>) -> Expr {
    segments.into_iter().fold(Expr::Global(root), |of, segment| match segment {
        Segment::Key(key) => Expr::Field { of: Box::new(of), key },
        Segment::Index(index) => {
            Expr::Index { of: Box::new(of), index: Box::new(Expr::Constant(Value::from(index))) }
        }
    })
}

fn identifier(text: &str) -> Option<(&str, &str)> {
    let first = text.chars().next()?;
    if !first.is_ascii_alphabetic() && first != '_' {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    Some(text.split_at(end))
}

fn bracket(text: &str) -> Option<(Segment, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let quoted = |quote: char| inside.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(key) = quoted('\'').or_else(|| quoted('"')) {
        let plain = !key.is_empty() && !key.contains(['\'', '"', '\\', '[', '\n', '\r']);
        return plain.then(|| (Segment::Key(key.to_owned()), rest));
    }
    let digits = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
    let index = digits.then(|| inside.parse().ok())??;
    Some((Segment::Index(index), rest))
}
