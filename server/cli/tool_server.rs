//! `windlass tool-server`: one of the tool servers that ship, alone, as an MCP server like any other.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use windlass_tools::contract::Surroundings;

use super::{
    arguments::ToolServer,
    failure::{Exit, Failure},
    serve,
    session::Session,
    signals,
};
use crate::{
    http::Alone,
    tool_servers::{self, OverStdio, SHIPPED},
};

pub(super) async fn run(session: &Session, arguments: ToolServer) -> Result<Exit, Failure> {
    let ToolServer { name, http } = arguments;
    let config = session.config()?;
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(readable).collect();
    let around = Surroundings { environment, root: config.project.clone(), host: None };
    let stop = CancellationToken::new();
    let serving = match http {
        None => tool_servers::visit(&name, &config, &around, OverStdio),
        Some(addr) => {
            let door = Alone {
                addr,
                token: serve::token(&config, addr)?,
                allowed_hosts: config.http.allowed_hosts.clone(),
                allowed_origins: config.http.allowed_origins.clone(),
                shutdown: stop.clone(),
                on_bound: serve::announce,
            };
            tool_servers::visit(&name, &config, &around, door)
        }
    };
    let Some(serving) = serving else {
        let names = SHIPPED.join(", ");
        let message = format!("no tool server that ships is called {name:?}; there are {names}");
        return Err(Failure::not_found("unknown_tool_server", message)
            .help("`windlass tools` lists those that are configured, too"));
    };
    if http.is_some() {
        tokio::select! {
            served = serving => served?,
            () = serve::cancelled_when_interrupted(&stop) => {}
        }
    } else {
        tokio::select! {
            served = serving => served?,
            () = signals::interrupted() => {}
        }
    }
    Ok(Exit::Done)
}
