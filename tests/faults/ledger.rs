//! What the tools say that they did: the ledger, read from its file.

use std::{fs, path::Path};

use serde::Deserialize;

/// One effect of one call.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) what: String,
    /// Which class it is.
    pub(super) tool: String,
    pub(super) key: String,
    pub(super) execution: String,
    /// Counts the times the call went out, from 1.
    pub(super) call: u64,
}

/// Every effect so far, in order.
pub(super) fn effects(file: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let entries = text.lines().map(|line| serde_json::from_str::<Entry>(line).expect(line));
    entries.filter(|entry| entry.what == "effect").collect()
}

/// What the keys of a step's calls begin with; a step of a `forEach` is one of several under one path.
pub(super) fn key_of(execution: &str, step: &str) -> String {
    match step.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((path, instance)) => format!("{execution}/{path}#{instance}~"),
        None => format!("{execution}/{step}#0~"),
    }
}
