//! Windlass: agents run workflows over MCP, workflows call tools over MCP, and nothing is lost.

pub mod app;
pub mod bell;
pub mod bench;
pub mod children;
pub mod cli;
pub mod clock;
pub mod config;
pub mod drift;
pub mod driver;
mod fault;
pub mod host;
pub mod http;
pub mod keyring;
pub mod limits;
mod link;
pub mod mcp;
mod metrics;
pub mod pins;
pub mod revisions;
pub mod secrets;
pub mod store;
pub mod tool_servers;
mod trace;
pub mod worker;
