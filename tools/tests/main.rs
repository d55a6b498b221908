//! The tool servers, seen through the protocol.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[cfg(feature = "agent")]
mod agent;
mod contract;
mod demo;
#[cfg(feature = "deploy")]
mod deploy;
#[cfg(feature = "documents")]
mod documents;
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
#[cfg(feature = "notify")]
mod notify;
#[cfg(feature = "observability")]
mod observability;
#[cfg(feature = "observability")]
mod observability_http;
#[cfg(feature = "observability")]
mod observability_patterns;
#[cfg(feature = "observability")]
mod observability_remote;
#[cfg(all(
    feature = "agent",
    feature = "deploy",
    feature = "github",
    feature = "notify",
    feature = "observability"
))]
mod odd_input;
