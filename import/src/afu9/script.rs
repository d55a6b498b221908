//! The JavaScript inside `${…}` as CEL.
//!
//! A closed set of forms, the ones that occur: paths, literals, comparisons, `&&`, `||`, `!`,
//! `? :`, `+`, a handful of methods, the time of day.

mod emit;
mod parse;
mod token;

use serde_json::Value;
use windlass_engine::expr::{Condition, Template};

use self::emit::Emitter;
use super::names::{Assigned, Inputs};

/// An expression of the original.
#[derive(Clone, Debug, PartialEq)]
enum Js {
    /// A number, text, boolean or null, already as CEL.
    Literal(String),
    Name(String),
    Member(Box<Js>, String),
    Index(Box<Js>, Box<Js>),
    /// A method or function with its arguments.
    Call(Box<Js>, Vec<Js>),
    /// `new Name(…)`
    New(String),
    Not(Box<Js>),
    Negate(Box<Js>),
    Binary(&'static str, Box<Js>, Box<Js>),
    If(Box<Js>, Box<Js>, Box<Js>),
    List(Vec<Js>),
}

/// Translates the texts of one place in a document.
pub(super) struct Script<'a> {
    emitter: Emitter<'a>,
}

impl<'a> Script<'a> {
    pub(super) fn new(assigned: &'a Assigned, inputs: &'a mut Inputs) -> Script<'a> {
        Script { emitter: Emitter::new(assigned, inputs) }
    }

    /// What there is to say about the references that were found.
    pub(super) fn into_notes(self) -> Vec<String> {
        self.emitter.notes
    }

    /// A text with `${…}` in it.
    pub(super) fn template(&mut self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            // A dollar before the reference would make ours a literal.
            let dollar = rest[..at].ends_with('$');
            result.push_str(&rest[..at - usize::from(dollar)]);
            let Some(end) = rest[at..].find('}').map(|end| at + end) else {
                result.push_str(if dollar { "$$${" } else { "$${" });
                rest = &rest[at + 2..];
                continue;
            };
            result.push_str(if dollar { "${'$'}" } else { "" });
            result.push_str(&self.expression(&rest[at + 2..end]));
            rest = &rest[end + 1..];
        }
        result.push_str(rest);
        result
    }

    /// One `${…}`; what cannot be translated stays as it is, as a literal text, as AFU-9 had it.
    fn expression(&mut self, source: &str) -> String {
        let inputs = self.emitter.inputs.clone();
        match self.translated(source) {
            Ok(cel) => format!("${{{cel}}}"),
            Err(reason) => {
                let note = format!("`${{{source}}}` stays a literal text: {reason}");
                self.emitter.notes.push(note);
                // What was read before it failed is referred to by nothing.
                *self.emitter.inputs = inputs;
                format!("$${{{}}}", source.replace("${", "$${"))
            }
        }
    }

    fn translated(&mut self, source: &str) -> Result<String, String> {
        let js = parse::parse(token::tokens(source, true)?)?;
        let cel = self.emitter.value(&js)?;
        let template = Value::String(format!("${{{cel}}}"));
        Template::compile(&template).map_err(|error| error.message)?;
        Ok(cel)
    }

    /// A condition, with its operators inside or outside of the braces.
    pub(super) fn condition(&mut self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let tokens = token::tokens(text, !text.contains("${"))?;
        let js = parse::parse(tokens)?;
        let condition = format!("${{{}}}", self.emitter.condition(&js)?);
        Condition::compile(&condition).map_err(|error| error.message)?;
        Ok(condition)
    }
}
