//! The `notify` tool server: tells people, in the places where they look.

mod config;
mod drivers;
mod log;
mod message;
mod post;
mod send;

use std::fmt;
use std::sync::OnceLock;

use rmcp::ServerHandler;

use crate::contract::{Host, Server, Surroundings};

pub use self::config::{Channel, Kind, NotifyConfig};

/// What the tools share.
struct Notify {
    config: NotifyConfig,
    around: Surroundings,
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Notify {
    fn host(&self) -> Option<&dyn Host> {
        self.around.host.as_deref()
    }
}

/// The `notify` tool server: send and list.
pub fn notify(config: NotifyConfig, around: &Surroundings) -> impl ServerHandler + Clone + use<> {
    let instructions = "Sends messages to channels that the configuration names. A message that was sent is not sent \
                        again when the call is repeated.";
    let variables = config.variables();
    let secrets = variables.iter().filter_map(|name| around.variable(name)).map(str::to_owned);
    let secrets = secrets.collect();
    let mut tools = vec![send::tool()];
    tools.extend(around.host.is_some().then(log::tool));
    let state = Notify { config, around: around.clone(), client: OnceLock::new() };
    Server::new("notify", instructions, state, tools).redacting(secrets).hosted(around.host.clone())
}
