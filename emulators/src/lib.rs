//! Stateful doubles of outside services: for Windlass's own tests and for `windlass demo`.
//!
//! A double keeps real state behind the real protocol, so that "called twice,
//! happened once" can be shown rather than assumed.

pub mod aws;
mod clock;
pub mod ecs;
mod faults;
pub mod github;
pub mod logs;
mod openapi;
mod wire;

pub use aws::AwsEmulator;
pub use github::GithubEmulator;
