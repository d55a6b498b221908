//! What people write who think of another language, and what they meant.

use super::scan::{self, Piece};
use super::{Condition, compile_text};

/// Functions that are called otherwise elsewhere and work alike.
const FUNCTIONS: [(&str, &str); 6] = [
    ("toUpperCase", "upperAscii"),
    ("toLowerCase", "lowerAscii"),
    ("includes", "contains"),
    ("slugify", "slug"),
    ("coalesce", "default"),
    ("indexof", "indexOf"),
];

/// What an expression of Jinja, Handlebars, GitHub Actions or n8n begins with, when it is one for sure.
const BEGINNINGS: [&str; 18] = [
    "input",
    "inputs",
    "steps",
    "vars",
    "secrets",
    "item",
    "error",
    "result",
    "execution",
    "env",
    "github",
    "needs",
    "params",
    "outputs",
    "workflow",
    "$json",
    "$node",
    "$input",
];

/// A `{{ … }}` that was meant as an expression.
#[derive(Debug, PartialEq)]
pub(crate) struct Foreign {
    /// As it was written.
    pub(crate) written: String,
    /// The whole text in our language, when that is certain.
    pub(crate) meant: Option<String>,
}

/// Finds a `{{ … }}` in a text that is all of it, or that is an expression for sure.
pub(crate) fn foreign(text: &str) -> Option<Foreign> {
    if !text.contains("{{") {
        return None;
    }
    let pieces = scan::scan(text).ok()?;
    let whole = pieces.len() == 1 && is_whole(text);
    let literal = pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_str()),
        Piece::Expression(_) => None,
    });
    let written = literal
        .flat_map(bracketed)
        .find(|(_, inside)| whole || begins_like_an_expression(inside))
        .map(|(written, _)| written.to_owned())?;
    let text = text.trim();
    let text = if whole { text.strip_prefix('=').unwrap_or(text) } else { text };
    let mut meant = text.to_owned();
    for (written, inside) in bracketed(text) {
        match expression(inside) {
            Some(inside) => meant = meant.replacen(written, &format!("${{{inside}}}"), 1),
            None => return Some(Foreign { written: written.to_owned(), meant: None }),
        }
    }
    let meant = Some(meant).filter(|meant| compile_text(meant).is_ok());
    Some(Foreign { written, meant })
}

fn is_whole(text: &str) -> bool {
    let text = text.trim();
    let text = text.strip_prefix('=').unwrap_or(text);
    text.starts_with("{{") && text.ends_with("}}") && text.matches("{{").count() == 1
}

fn begins_like_an_expression(inside: &str) -> bool {
    let end = inside.find(['.', '[']).unwrap_or(0);
    BEGINNINGS.contains(&&inside[..end])
}

/// Every `{{ … }}`, with what stands inside.
fn bracketed(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest[start..].find("}}").map(|end| start + end + 2) else { break };
        found.push((&rest[start..end], rest[start + 2..end - 2].trim()));
        rest = &rest[end..];
    }
    found
}

/// A text whose expressions do not compile, with what was probably meant instead.
pub(crate) fn text(text: &str) -> Option<String> {
    let mut mended = String::new();
    for piece in scan::scan(text).ok()? {
        match piece {
            Piece::Text(text) => mended.push_str(&text.replace("${", "$${")),
            Piece::Expression(source) => {
                mended.push_str("${");
                mended.push_str(&expression(source)?);
                mended.push('}');
            }
        }
    }
    (mended != text && compile_text(&mended).is_ok()).then_some(mended)
}

/// A condition that does not compile, as it was probably meant.
pub(crate) fn condition(text: &str) -> Option<String> {
    let text = text.trim();
    let source = match scan::scan(text).ok()?.as_slice() {
        [Piece::Expression(source)] => expression(source)?,
        [Piece::Text(text)] => match bracketed(text).as_slice() {
            [(written, inside)] if *written == text => expression(inside)?,
            _ => expression(text)?,
        },
        pieces => expression(&joined(pieces)?)?,
    };
    (source != text && Condition::compile(&source).is_ok()).then_some(source)
}

/// One expression made of several and of what stands between them.
fn joined(pieces: &[Piece<'_>]) -> Option<String> {
    let mut whole = String::new();
    let mut open_quote = None;
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                // `'${input.a}' == 'b'`: the quotes made a text of it.
                let text = match open_quote.take() {
                    Some(quote) => text.strip_prefix(quote)?,
                    None => text,
                };
                let odd =
                    ['\'', '"'].into_iter().find(|quote| text.matches(*quote).count() % 2 == 1);
                match odd {
                    Some(quote) => {
                        whole.push_str(text.strip_suffix(quote)?);
                        open_quote = Some(quote);
                    }
                    None => whole.push_str(text),
                }
            }
            Piece::Expression(source) => {
                let plain =
                    source.chars().all(|c| c.is_ascii_alphanumeric() || "._[]'".contains(c));
                whole.push_str(&if plain { (*source).to_owned() } else { format!("({source})") });
            }
        }
    }
    open_quote.is_none().then_some(whole)
}

/// An expression, mended where it has to be.
fn expression(source: &str) -> Option<String> {
    let compiles = |source: &str| compile_text(&format!("${{{source}}}")).is_ok();
    if compiles(source) {
        return Some(source.to_owned());
    }
    // `${{ … }}`
    let inside = source.strip_prefix('{').and_then(|source| source.strip_suffix('}'));
    let mended = outside_texts(inside.unwrap_or(source).trim(), |code| {
        let mut code = code.replace("!==", "!=").replace("===", "==");
        code = code.replace(" and ", " && ").replace(" or ", " || ");
        for (theirs, ours) in FUNCTIONS {
            code = code.replace(&format!("{theirs}("), &format!("{ours}("));
        }
        code
    });
    compiles(&mended).then_some(mended)
}

/// Changes what stands outside of the texts in an expression.
fn outside_texts(source: &str, change: impl Fn(&str) -> String) -> String {
    let (mut changed, mut begin, mut at) = (String::new(), 0, 0);
    while let Some(quote) = source[at..].find(['\'', '"']).map(|quote| at + quote) {
        let end = scan::end_of_text(source, quote).unwrap_or(source.len());
        let end = source.floor_char_boundary(end);
        changed.push_str(&change(&source[begin..quote]));
        changed.push_str(&source[quote..end]);
        (begin, at) = (end, end);
    }
    changed.push_str(&change(&source[begin..]));
    changed
}

/// A text in which one path is replaced by another wherever it stands as a whole.
///
/// Both are given as they are written: `steps.biuld`, `status('biuld')`, `isue`.
pub(crate) fn replaced(text: &str, wrong: &str, right: &str) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut result, mut rest, mut found) = (String::new(), text, false);
    while let Some(at) = rest.find(wrong) {
        let end = at + wrong.len();
        let before = result.chars().chain(rest[..at].chars()).next_back();
        let begins = !before.is_some_and(|c| word(c) || c == '.');
        let ends = !wrong.ends_with(word) || !rest[end..].starts_with(word);
        result.push_str(&rest[..at]);
        let whole = begins && ends;
        result.push_str(if whole { right } else { wrong });
        found |= whole;
        rest = &rest[end..];
    }
    result.push_str(rest);
    found.then_some(result)
}

#[cfg(test)]
mod tests {
    use super::{Foreign, condition, foreign, replaced, text};

    #[test]
    fn what_was_meant_is_written_in_our_language() {
        let table = [
            ("${a === 'x === y'}", Some("${a == 'x === y'}")),
            ("it's ${a !== b} and ${c}", Some("it's ${a != b} and ${c}")),
            ("${{ input.a }}", Some("${input.a}")),
            ("${a and b or c}", Some("${a && b || c}")),
            ("${input.a.toUpperCase()}", Some("${input.a.upperAscii()}")),
            ("$${x} ${a === b}", Some("$${x} ${a == b}")),
            ("${a ?? b}", None),
            ("${a +}", None),
        ];
        for (written, meant) in table {
            assert_eq!(text(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn a_condition_becomes_one_expression() {
        let table = [
            ("${input.x} == 1", Some("input.x == 1")),
            ("'${input.env}' == 'production'", Some("input.env == 'production'")),
            ("${a + 1} > ${b}", Some("(a + 1) > b")),
            ("{{ input.x }}", Some("input.x")),
            ("a === b", Some("a == b")),
            ("input.list.includes('x')", Some("input.list.contains('x')")),
            ("${a", None),
        ];
        for (written, meant) in table {
            assert_eq!(condition(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn braces_of_other_systems_are_found_where_they_are_meant() {
        let table = [
            ("{{ input.a }}", Some(Some("${input.a}"))),
            ("={{ input.a }}", Some(Some("${input.a}"))),
            (
                "{{ steps.a.outputs.b }} x {{ input.c }}",
                Some(Some("${steps.a.outputs.b} x ${input.c}")),
            ),
            ("{{ $json.a }}", Some(None)),
            ("{{ name }}", Some(Some("${name}"))),
            ("Hello {{ name }}", None),
            ("Hello {{ $json.name }}", Some(None)),
            ("{{ input.a | upper }}", Some(None)),
            ("${'{{ input.a }}'}", None),
            ("{ x }", None),
        ];
        for (written, meant) in table {
            let found = foreign(written).map(|Foreign { meant, .. }| meant);
            assert_eq!(found, meant.map(|meant| meant.map(str::to_owned)), "{written}");
        }
    }

    #[test]
    fn a_path_is_replaced_where_it_stands_as_a_whole() {
        let table = [
            (
                "${isue.n} ${isue2} ${a.isue}",
                "isue",
                "issue",
                Some("${issue.n} ${isue2} ${a.isue}"),
            ),
            ("${steps.b.x}", "steps.b", "steps.build", Some("${steps.build.x}")),
            ("${mysteps.b.x}", "steps.b", "steps.build", None),
            ("${repo.ownr == 1}", "repo.ownr", "repo.owner", Some("${repo.owner == 1}")),
        ];
        for (text, wrong, right, expected) in table {
            assert_eq!(replaced(text, wrong, right).as_deref(), expected, "{text}");
        }
    }
}
