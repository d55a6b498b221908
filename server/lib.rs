//! Windlass: agents run workflows over MCP, workflows call tools over MCP, and nothing is lost.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod host;
pub mod http;
pub mod mcp;
pub mod store;
pub mod tool_servers;
pub mod worker;
