//! Text → workflow, or everything that is wrong with it.

use crate::{Problem, Workflow};

/// Reads a YAML or JSON document, checks it, and compiles it.
///
/// JSON is recognised by its first character, `{`.
///
/// # Errors
/// Every problem at once, in the order of the text.
pub fn parse(_text: &str) -> Result<Workflow, Vec<Problem>> {
    Err(Vec::new())
}
