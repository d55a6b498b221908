//! A tool server that ships, alone over HTTP: behind the same token and host names as Windlass itself.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use futures::future::BoxFuture;
use rmcp::ServerHandler;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    check_address, cut_off, guarded, health, hosts, service, sessions::Sessions, without_delay,
};
use crate::tool_servers::Visit;

/// What can be set about the door of a tool server.
#[derive(Clone, Debug)]
pub struct Alone {
    /// Where to listen; port 0 is any free one.
    pub addr: SocketAddr,
    /// The bearer token that callers must show; needed when `addr` is not loopback.
    pub token: Option<String>,
    /// Host names, besides loopback and the address itself, that requests may name.
    pub allowed_hosts: Vec<String>,
    /// Origins, besides the own ones, that browsers may come from.
    pub allowed_origins: Vec<String>,
    /// Ends it.
    pub shutdown: CancellationToken,
    /// Hears the address once requests are taken.
    pub on_bound: fn(SocketAddr),
}

impl Visit for Alone {
    type Seen = BoxFuture<'static, anyhow::Result<()>>;

    /// Serves until it is told to end.
    fn see(self, handler: impl ServerHandler + Clone) -> Self::Seen {
        Box::pin(serve(self, handler))
    }
}

async fn serve(door: Alone, handler: impl ServerHandler + Clone) -> anyhow::Result<()> {
    check_address(door.addr, door.token.as_deref())?;
    let listener = TcpListener::bind(door.addr).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", door.addr))?;
    let address = listener.local_addr()?;
    let sessions = CancellationToken::new();
    let names = hosts(&door.allowed_hosts, address.ip());
    let kept = Sessions::new(None);
    let service = service(handler, &names, &door.allowed_origins, address, &sessions, &kept);
    let mcp = guarded(service, &kept, door.token.as_deref());
    let router = Router::new().route("/healthz", axum::routing::get(health::alive)).merge(mcp);
    (door.on_bound)(address);
    let server = axum::serve(without_delay(listener), router)
        .with_graceful_shutdown(door.shutdown.clone().cancelled_owned());
    tokio::select! {
        served = server.into_future() => Ok(served?),
        () = cut_off(&door.shutdown, &sessions) => Ok(()),
    }
}
