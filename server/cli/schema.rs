//! `windlass schema`: the JSON Schema of workflow files.

use super::{failure::Exit, terminal};

/// Prints the schema; with or without `--json` it is the same document.
pub(super) fn run() -> Exit {
    terminal::say(&format!("{:#}", windlass_engine::language_schema()));
    Exit::Done
}
