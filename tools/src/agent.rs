//! The `agent` tool server: one turn of a language model per call, with an answer that fits a schema.
//!
//! Its text tools are of the class `idempotent`: a model changes nothing outside, so asking again after a lost answer
//! is harmless, and what a repeated call takes is noted under the same key as before, so that it is counted once.
//! They are not `read`, because what only reads is really called when a workflow is planned, and a model costs money.

mod budget;
mod config;
mod images;
mod models;
mod online;
mod prices;
mod profiles;
mod recorded;
mod tools;
mod turn;
mod yaml;

use std::fmt;
use std::sync::Arc;

use rmcp::ServerHandler;

use self::models::Models;
use self::online::Online;
use self::recorded::Recorded;
use crate::contract::{Host, Server, Surroundings};

pub use self::config::{AgentConfig, Budget, Images, Price, Provider, Structured};

/// What the tools share.
struct Agent {
    config: AgentConfig,
    models: Box<dyn Models>,
    online: Online,
    host: Option<Arc<dyn Host>>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The `agent` tool server: run, and a tool for each profile that ships; generateImage.
pub fn agent(config: AgentConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    let instructions = "Asks language models. One call is one turn: no conversation, no tools. The answer is data, \
                        checked against a schema where there is one, with what it took and what it cost. It was \
                        written by a model: check it before something depends on it.";
    let online = Online::new(&config, around);
    let secrets = online.secrets();
    let host = around.host.clone();
    let models: Box<dyn Models> = if config.recorded.as_os_str().is_empty() {
        Box::new(online.clone())
    } else {
        Box::new(Recorded::new(config.recorded.clone()))
    };
    let listed = tools::all(host.is_some());
    let state = Agent { config, models, online, host };
    Server::new("agent", instructions, state, listed).redacting(secrets).hosted(around.host.clone())
}
