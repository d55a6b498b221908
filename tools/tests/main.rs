//! The tool servers, seen through the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod contract;
mod demo;
#[cfg(feature = "github")]
mod github;
#[cfg(feature = "github")]
mod github_once;
mod harness;
#[cfg(feature = "observability")]
mod observability;
#[cfg(feature = "observability")]
mod observability_http;
#[cfg(feature = "observability")]
mod observability_patterns;
#[cfg(feature = "observability")]
mod observability_remote;
