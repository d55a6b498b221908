//! The door for programs over HTTP: MCP, health.
