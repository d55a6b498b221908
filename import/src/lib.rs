//! Other systems' workflow documents, read as documents of Windlass's language.
//!
//! One file for each dialect. What comes out is an ordinary document: it can be shown, edited and
//! saved like any other, and nothing at run time knows where it came from.

mod afu9;

use serde_json::Value;
use windlass_engine::Problem;

/// Whose language a document is written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// Our own.
    Windlass,
    /// AFU-9's JSON form: a list of steps, `${…}` with JavaScript in it, no input schema.
    Afu9,
}

/// A document that came in from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The same workflow in our language.
    pub document: Value,
    /// What was changed, dropped or guessed, each with the JSON Pointer of the original's place.
    pub diagnostics: Vec<Problem>,
}

/// Tells whose language a document is written in; our own when there is no sign of another.
#[must_use]
pub fn detect(text: &str) -> Dialect {
    match afu9::is(text) {
        true => Dialect::Afu9,
        false => Dialect::Windlass,
    }
}

/// Reads a document of some dialect as one of our language.
///
/// `fallback_name` names a workflow that has no name of its own, for instance after its file.
///
/// # Errors
/// Every problem that keeps the document from being read.
pub fn import(text: &str, dialect: Dialect, fallback_name: &str) -> Result<Imported, Vec<Problem>> {
    match dialect {
        Dialect::Windlass => {
            let workflow = windlass_engine::parse(text)?;
            Ok(Imported { document: workflow.document, diagnostics: Vec::new() })
        }
        Dialect::Afu9 => afu9::import(text, fallback_name),
    }
}
