//! Tokens → an expression.

use super::Js;
use super::token::Token;

/// How deep an expression may be nested.
const MAX_DEPTH: usize = 32;

/// The operators between two values, those that bind least first.
const LEVELS: [&[(&str, &str)]; 6] = [
    &[("||", "||"), ("??", "||")],
    &[("&&", "&&")],
    &[("===", "=="), ("!==", "!="), ("==", "=="), ("!=", "!=")],
    &[("<=", "<="), (">=", ">="), ("<", "<"), (">", ">")],
    &[("+", "+"), ("-", "-")],
    &[("*", "*"), ("/", "/"), ("%", "%")],
];

/// Reads a whole expression.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Js, String> {
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), depth: 0 };
    let js = parser.ternary()?;
    match parser.tokens.next() {
        None => Ok(js),
        Some(token) => Err(format!("{} stands where it should end", named(&token))),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

fn named(token: &Token) -> String {
    match token {
        Token::Name(text) | Token::Number(text) | Token::Text(text) => format!("`{text}`"),
        Token::Symbol(symbol) => format!("`{symbol}`"),
    }
}

impl Parser {
    fn accept(&mut self, symbol: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token, Token::Symbol(found) if *found == symbol))
            .is_some()
    }

    fn expect(&mut self, symbol: &str) -> Result<(), String> {
        match self.accept(symbol) {
            true => Ok(()),
            false => Err(format!("a `{symbol}` is missing")),
        }
    }

    fn ternary(&mut self) -> Result<Js, String> {
        self.depth += 1;
        if MAX_DEPTH < self.depth {
            return Err("it is nested too deep".to_owned());
        }
        let condition = self.binary(0)?;
        let js = if self.accept("?") {
            let then = self.ternary()?;
            self.expect(":")?;
            Js::If(Box::new(condition), Box::new(then), Box::new(self.ternary()?))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(js)
    }

    fn binary(&mut self, level: usize) -> Result<Js, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some((_, operator)) = operators.iter().find(|(symbol, _)| self.accept(symbol)) {
            let right = self.binary(level + 1)?;
            left = Js::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Js, String> {
        let mut signs = Vec::new();
        while let Some(sign) = ["!", "-"].into_iter().find(|sign| self.accept(sign)) {
            signs.push(sign);
        }
        if MAX_DEPTH < signs.len() {
            return Err("it is nested too deep".to_owned());
        }
        let mut js = self.postfix()?;
        for sign in signs.into_iter().rev() {
            js = if sign == "!" { Js::Not(Box::new(js)) } else { Js::Negate(Box::new(js)) };
        }
        Ok(js)
    }

    fn postfix(&mut self) -> Result<Js, String> {
        let mut js = self.primary()?;
        loop {
            if self.accept(".") {
                js = Js::Member(Box::new(js), self.word()?);
            } else if self.accept("?.") {
                // A path that may not exist: the same path, which somebody guards.
                let path = Js::Member(Box::new(js), self.word()?);
                js = Js::Binary("||", Box::new(path), Box::new(Js::Literal("null".to_owned())));
            } else if self.accept("[") {
                let index = self.ternary()?;
                self.expect("]")?;
                js = Js::Index(Box::new(js), Box::new(index));
            } else if self.accept("(") {
                js = Js::Call(Box::new(js), self.list(")")?);
            } else {
                return Ok(js);
            }
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            // Outside of braces words are texts.
            Some(Token::Name(name) | Token::Text(name)) => Ok(name),
            Some(token) => Err(format!("{} stands where a name should", named(&token))),
            None => Err("a name is missing at its end".to_owned()),
        }
    }

    fn list(&mut self, end: &str) -> Result<Vec<Js>, String> {
        let mut items = Vec::new();
        while !self.accept(end) {
            items.push(self.ternary()?);
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Js, String> {
        if self.accept("(") {
            let js = self.ternary()?;
            self.expect(")")?;
            return Ok(js);
        }
        if self.accept("[") {
            return self.list("]").map(Js::List);
        }
        match self.tokens.next() {
            Some(Token::Number(number)) => Ok(Js::Literal(number)),
            Some(Token::Text(text)) => Ok(Js::Literal(super::emit::quoted(&text))),
            Some(Token::Name(name)) => self.named(name),
            Some(token) => Err(format!("{} stands where a value should", named(&token))),
            None => Err("a value is missing".to_owned()),
        }
    }

    fn named(&mut self, name: String) -> Result<Js, String> {
        match name.as_str() {
            "true" | "false" | "null" => Ok(Js::Literal(name)),
            "undefined" => Ok(Js::Literal("null".to_owned())),
            "new" => {
                let class = self.word()?;
                if self.accept("(") {
                    let arguments = self.list(")")?;
                    if !arguments.is_empty() {
                        return Err(format!("`new {class}(…)` is known without arguments only"));
                    }
                }
                Ok(Js::New(class))
            }
            _ => Ok(Js::Name(name)),
        }
    }
}
