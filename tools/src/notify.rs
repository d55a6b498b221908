//! The `notify` tool server: tells people, in the places where they look.

use rmcp::ServerHandler;
use serde::{Deserialize, Serialize};

use crate::contract::{Server, Surroundings};

/// Which channels messages go to.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {}

/// What the tools share.
#[derive(Debug)]
struct Notify {}

impl NotifyConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The `notify` tool server.
pub fn notify(_config: NotifyConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    Server::new("notify", "Sends messages to configured channels.", Notify {}, Vec::new())
        .hosted(around.host.clone())
}
