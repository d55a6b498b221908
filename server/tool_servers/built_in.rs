//! Tool servers that are part of this program: MCP without a process in between.

use std::fmt;

use futures::future::BoxFuture;
use rmcp::{RoleServer, ServerHandler, service::serve_server_with_ct};
use tokio_util::sync::CancellationToken;

use super::{config, in_process::InProcess};

/// Serves one connection until it ends or the token is cancelled.
pub(super) type Start =
    Box<dyn Fn(InProcess<RoleServer>, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// A tool server that runs inside this process.
pub struct BuiltIn {
    /// What steps call it.
    pub name: String,
    pub(super) identity: String,
    pub(super) start: Start,
}

impl BuiltIn {
    /// Its name, which steps call it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A server of that name; a clone of the handler serves each connection. The settings identify it and hold
    /// no secrets: an execution that began with others is not continued with it.
    #[must_use]
    pub fn new(name: &str, settings: &str, handler: impl ServerHandler + Clone) -> BuiltIn {
        let start: Start =
            Box::new(move |client, stop| Box::pin(serve(handler.clone(), client, stop)));
        BuiltIn { name: name.to_owned(), identity: config::identity("built-in", settings), start }
    }
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltIn").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn serve(
    handler: impl ServerHandler,
    client: InProcess<RoleServer>,
    stop: CancellationToken,
) {
    match serve_server_with_ct(handler, client, stop).await {
        Ok(running) => {
            if let Err(error) = running.waiting().await {
                tracing::error!("a built-in tool server broke down: {error}");
            }
        }
        Err(error) => tracing::debug!("a built-in tool server had no client: {error}"),
    }
}
