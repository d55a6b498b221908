//! The `deploy` tool server: brings versions of applications to environments, waits for them, and takes them back.

use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};

use crate::contract::{Server, Surroundings};

/// Where applications are deployed, and how.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {}

/// What the tools share.
#[derive(Debug)]
struct Deploy {}

impl DeployConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The `deploy` tool server.
pub fn deploy(_config: DeployConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    Server::new("deploy", "Deploys applications to configured targets.", Deploy {}, Vec::new())
        .hosted(around.host.clone())
}
