//! The tool servers, seen through the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[cfg(feature = "agent")]
mod agent;
mod contract;
mod demo;
#[cfg(feature = "deploy")]
mod deploy;
#[cfg(feature = "github")]
mod github;
#[cfg(feature = "github")]
mod github_once;
mod golden;
mod harness;
#[cfg(feature = "observability")]
mod observability;
#[cfg(feature = "observability")]
mod observability_http;
#[cfg(feature = "observability")]
mod observability_remote;
