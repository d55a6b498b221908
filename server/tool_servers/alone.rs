//! The tool servers that ship, by name: for this process, or each alone as an MCP server like any other.

use futures::future::BoxFuture;
use rmcp::{ServerHandler, ServiceExt, service::ServerInitializeError, transport::stdio};
use serde::Serialize;
use windlass_tools::contract::Surroundings;

use crate::config::Config;

/// The names of the tool servers that ship, in order.
pub const SHIPPED: [&str; 7] =
    ["agent", "demo", "deploy", "documents", "github", "notify", "observability"];

/// The one of them that calls language models, and has noted what that takes.
pub const CALLS_MODELS: &str = "agent";

/// Something to do with a tool server, of whatever type it is.
pub trait Visit {
    /// What comes of it.
    type Seen;

    /// Does it.
    fn see(self, handler: impl ServerHandler + Clone) -> Self::Seen;
}

/// Does something with the tool server of that name; `None` when none that ships is called so.
pub fn visit<V: Visit>(
    name: &str,
    config: &Config,
    around: &Surroundings,
    visitor: V,
) -> Option<V::Seen> {
    let Config { github, deploy, observability, agent, notify, documents, .. } = config;
    Some(match name {
        "agent" => visitor.see(windlass_tools::agent(agent.clone(), around)),
        "demo" => visitor.see(windlass_tools::demo()),
        "deploy" => visitor.see(windlass_tools::deploy(deploy.clone(), around)),
        "documents" => visitor.see(windlass_tools::documents(documents.clone(), around)),
        "github" => visitor.see(windlass_tools::github(github.clone(), around)),
        "notify" => visitor.see(windlass_tools::notify(notify.clone(), around)),
        "observability" => {
            visitor.see(windlass_tools::observability(observability.clone(), around))
        }
        _ => return None,
    })
}

/// What is configured of a tool server that ships.
pub(super) fn settings(name: &str, config: &Config) -> String {
    fn text(config: &impl Serialize) -> String {
        serde_json::to_string(config).unwrap_or_default()
    }
    let Config { github, deploy, observability, agent, notify, documents, .. } = config;
    match name {
        "agent" => text(agent),
        "deploy" => text(deploy),
        "documents" => text(documents),
        "github" => text(github),
        "notify" => text(notify),
        "observability" => text(observability),
        _ => String::new(),
    }
}

/// Serves a tool server on standard input and output until the client hangs up.
#[derive(Clone, Copy, Debug)]
pub struct OverStdio;

impl Visit for OverStdio {
    type Seen = BoxFuture<'static, anyhow::Result<()>>;

    fn see(self, handler: impl ServerHandler + Clone) -> Self::Seen {
        Box::pin(serve_stdio(handler))
    }
}

async fn serve_stdio(handler: impl ServerHandler) -> anyhow::Result<()> {
    match handler.serve(stdio()).await {
        Ok(running) => {
            running.waiting().await?;
            Ok(())
        }
        // A client that only looked whether the program starts.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
