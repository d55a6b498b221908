//! What Windlass promises, one file a promise. One binary, so that it links once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[macro_use]
mod durability;

mod afu9;
mod bench;
mod bounds;
mod checks;
mod cli;
mod control;
mod costs;
mod faults;
mod guide;
mod harness;
mod harness_itself;
mod language;
mod limits;
mod mcp;
mod million;
mod observing;
mod once;
mod plan;
mod saved;
mod scale;
mod schema;
mod sdk;
mod secrets;
mod services;
mod shipped;
mod store;
mod tidy;
mod tool_servers;
mod verbs;
mod views;
mod writing;
