//! The tool servers that ship with Windlass.
//!
//! Each is an ordinary MCP server that also runs alone. Windlass calls them the
//! way it calls any other: through the protocol.

pub mod contract;
pub mod demo;
#[cfg(feature = "github")]
pub mod github;

pub use demo::demo;
#[cfg(feature = "github")]
pub use github::{GithubConfig, github};
