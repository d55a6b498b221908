//! What the doubles promise, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod aws;
mod github;
