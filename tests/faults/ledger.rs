//! What the tools say that they did: the ledger, read from its file.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

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
    entries(&mut locked(file), "effect")
}

/// How many calls came when it was settled that they had not happened, and had no effect therefore.
pub(super) fn late(file: &Path) -> usize {
    entries(&mut locked(file), "late").len()
}

/// Finds out whether a step has had an effect, under whatever key. Where it has not, none of its calls that went out before
/// may have one any more: a call may lie in the pipe of a tool server whose server is dead, or stopped.
pub(super) fn settle(file: &Path, step_key: &str, generation: usize) -> bool {
    let mut ledger = locked(file);
    let effects = entries(&mut ledger, "effect");
    let happened = effects.iter().any(|effect| effect.key.starts_with(step_key));
    if !happened {
        let settled = file.with_added_extension("settled");
        let mut settled = OpenOptions::new().append(true).create(true).open(settled).unwrap();
        let keys = (0..=generation).map(|generation| format!("{step_key}{generation}\n"));
        settled.write_all(keys.collect::<String>().as_bytes()).unwrap();
    }
    happened
}

/// What the keys of a step's calls begin with; a step of a `forEach` is one of several under one path.
pub(super) fn key_of(execution: &str, step: &str) -> String {
    match step.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((path, instance)) => format!("{execution}/{path}#{instance}~"),
        None => format!("{execution}/{step}#0~"),
    }
}

/// The ledger, into which nobody writes an effect for as long as this file is open.
fn locked(file: &Path) -> File {
    let ledger = OpenOptions::new().read(true).append(true).create(true).open(file).unwrap();
    ledger.lock().unwrap();
    ledger
}

/// Half a line is what a tool server left that was killed while it wrote: it did nothing.
fn entries(ledger: &mut File, what: &str) -> Vec<Entry> {
    let mut text = String::new();
    ledger.read_to_string(&mut text).unwrap();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    entries.filter(|entry| entry.what == what).collect()
}
