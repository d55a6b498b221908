//! The tool servers, seen through the protocol.

mod demo;
mod github;
mod harness;
