//! Whatever breaks, what was accepted ends, once: processes killed at every point and at random, databases that restart,
//! fail over, fill up or stop answering, clocks that jump, servers that stop in mid-call, and tools that misbehave.
//!
//! Everything is the built binary, on both databases. The tools write down each effect with its idempotency key, the
//! database keeps an audit of every claim and commit, and `history` holds both against the executions' events.
//!
//! `WINDLASS_FAULT_SEED` repeats a course of events; `WINDLASS_FAULT_EXECUTIONS` and `WINDLASS_FAULT_KILLS` make the random
//! part longer.

#![allow(clippy::print_stdout, reason = "the suite says what it did")]

mod agent;
mod chance;
mod clocks;
mod disk;
mod fleet;
mod history;
mod kills;
mod ledger;
mod load;
mod observer;
mod one_file;
mod outages;
mod points;
mod shapes;
mod tool_servers;
mod uncertain;
mod zombies;

use crate::durability::Scene;

/// Whether a scene is on SQLite, for the name of a run.
fn on(scene: &Scene) -> &'static str {
    if scene.database().starts_with("sqlite:") { "SQLite" } else { "Postgres" }
}

/// A number that somebody may have set.
fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
