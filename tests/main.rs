//! What the built binary promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail wherever it is surprised")]

mod mcp;
