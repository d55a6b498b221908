//! The door for agents: workflows as MCP tools.
