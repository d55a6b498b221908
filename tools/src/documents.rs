//! The `documents` tool server: files and images that executions leave behind.

use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};

use crate::contract::{Server, Surroundings};

/// Nothing is to be set yet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsConfig {}

/// What the tools share.
#[derive(Debug)]
struct Documents {}

impl DocumentsConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The `documents` tool server.
pub fn documents(
    _config: DocumentsConfig,
    around: &Surroundings,
) -> impl ServerHandler + Clone + use<> {
    Server::new(
        "documents",
        "Keeps files and attaches them to documents.",
        Documents {},
        Vec::new(),
    )
    .hosted(around.host.clone())
}
