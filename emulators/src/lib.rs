//! Stateful doubles of outside services: for Windlass's own tests and for `windlass demo`.
//!
//! A double keeps real state behind the real protocol, so that "called twice,
//! happened once" can be shown rather than assumed.

mod clock;
pub mod github;
mod openapi;

pub use github::GithubEmulator;
