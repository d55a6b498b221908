//! The tool servers, seen through the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod contract;
mod demo;
#[cfg(feature = "github")]
mod github;
#[cfg(feature = "github")]
mod github_actions;
#[cfg(feature = "github")]
mod github_auth;
#[cfg(feature = "github")]
mod github_contents;
#[cfg(feature = "github")]
mod github_deployments;
#[cfg(feature = "github")]
mod github_goldens;
#[cfg(feature = "github")]
mod github_issues;
#[cfg(feature = "github")]
mod github_once;
#[cfg(feature = "github")]
mod github_pulls;
mod golden;
mod harness;
