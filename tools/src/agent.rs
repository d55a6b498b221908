//! The `agent` tool server: one turn of a language model per call, with an answer that fits a schema.

use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};

use crate::contract::{Server, Surroundings};

/// Which models are asked, through whom, and what they may cost.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {}

/// What the tools share.
#[derive(Debug)]
struct Agent {}

impl AgentConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The `agent` tool server.
pub fn agent(_config: AgentConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    Server::new(
        "agent",
        "Asks language models. One call is one turn; the answer is data.",
        Agent {},
        Vec::new(),
    )
    .hosted(around.host.clone())
}
