//! Text → tokens.

/// The smallest parts of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    /// A number, as it is written.
    Number(String),
    Text(String),
    Symbol(&'static str),
}

/// The longer ones first.
const SYMBOLS: [&str; 27] = [
    "===", "!==", "&&", "||", "??", "?.", "==", "!=", "<=", ">=", "=>", "<", ">", "!", "(", ")",
    "[", "]", ",", ".", "+", "-", "*", "/", "%", "?", ":",
];

/// Splits an expression.
///
/// With `inside` the text is what stands between `${` and `}`. Without, it is a condition that has
/// `${…}` in it: those become groups, and words outside of them are texts that lack their quotes.
pub(super) fn tokens(source: &str, inside: bool) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = if !inside && rest.starts_with("${") {
            group(&rest[2..], &mut tokens)?
        } else if first == '\'' || first == '"' || first == '`' {
            text(rest, first, inside, &mut tokens)?
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            tokens.push(Token::Number(rest[..end].to_owned()));
            &rest[end..]
        } else if first.is_alphabetic() || first == '_' || first == '$' {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
            tokens.push(word_token(&rest[..end], inside));
            &rest[end..]
        } else {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            let symbol = symbol.ok_or_else(|| format!("`{first}` has no meaning in it"))?;
            tokens.push(Token::Symbol(symbol));
            &rest[symbol.len()..]
        }
        .trim_start();
    }
    Ok(tokens)
}

fn word_token(word: &str, inside: bool) -> Token {
    let constant = ["true", "false", "null", "undefined"].contains(&word);
    match inside || constant {
        true => Token::Name(word.to_owned()),
        false => Token::Text(word.to_owned()),
    }
}

/// The expression of a `${`, up to its `}`.
fn group<'t>(rest: &'t str, tokens: &mut Vec<Token>) -> Result<&'t str, String> {
    let (source, rest) = rest.split_once('}').ok_or("a `${` is not closed")?;
    tokens.push(Token::Symbol("("));
    tokens.extend(self::tokens(source, true)?);
    tokens.push(Token::Symbol(")"));
    Ok(rest)
}

fn text<'t>(
    rest: &'t str,
    quote: char,
    inside: bool,
    tokens: &mut Vec<Token>,
) -> Result<&'t str, String> {
    let mut value = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, character)| unescape(character))),
            _ if character == quote => {
                let rest = &rest[at + 1..];
                match value.strip_prefix("${").and_then(|value| value.strip_suffix('}')) {
                    // The quotes were for the text that came out of the reference.
                    Some(source) if !inside && !source.contains('}') => {
                        group(&format!("{source}}}"), tokens)?;
                    }
                    _ => tokens.push(Token::Text(value)),
                }
                return Ok(rest);
            }
            _ => value.push(character),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn unescape(character: char) -> char {
    match character {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}
