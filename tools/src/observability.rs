//! The `observability` tool server: logs, metrics, alarms and health checks, made small enough to read.

use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};

use crate::contract::{Server, Surroundings};

/// Where logs, metrics and alarms are, and which hosts may be probed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObservabilityConfig {}

/// What the tools share.
#[derive(Debug)]
struct Observability {}

impl ObservabilityConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The `observability` tool server.
pub fn observability(
    _config: ObservabilityConfig,
    around: &Surroundings,
) -> impl ServerHandler + Clone + use<> {
    Server::new(
        "observability",
        "Reads logs, metrics, alarms and health checks.",
        Observability {},
        Vec::new(),
    )
    .hosted(around.host.clone())
}
