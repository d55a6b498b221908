//! `windlass serve`: opens the door for agents, on standard input and output or over HTTP.

use std::{net::SocketAddr, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Caller,
    arguments::Serve,
    caller,
    failure::{Exit, Failure},
    session::Session,
    signals,
};
use crate::{
    config::Config,
    host::{Drive, Host},
    http, mcp,
};

pub(super) async fn run(session: &Session, arguments: Serve) -> Result<Exit, Failure> {
    let config = session.config_with(arguments.tool_names)?;
    let options = mcp::Options {
        tool_names: config.tool_names,
        caller: caller_of(&arguments),
        authoring: arguments.http.is_none() || config.http.authoring,
        conformance_fixtures: arguments.conformance_fixtures,
    };
    match arguments.http {
        None => over_stdio(&config, options).await,
        Some(address) => over_http(&config, address, options).await,
    }
}

/// The client names itself when it connects; until then nobody is behind the principal.
fn caller_of(arguments: &Serve) -> crate::app::Caller {
    let name = if arguments.http.is_some() { Caller::HTTP } else { Caller::LOCAL };
    crate::app::Caller {
        name: name.to_owned(),
        client_name: None,
        client_version: None,
        at_terminal: false,
        traceparent: None,
        tracestate: None,
        ..caller()
    }
}

/// Whoever started this process may end it at any time, so it drives nothing itself.
async fn over_stdio(config: &Config, options: mcp::Options) -> Result<Exit, Failure> {
    let host = Host::start(config, Drive::Detached).await?;
    let served = tokio::select! {
        served = mcp::serve_stdio(host.app.clone(), options) => served,
        () = signals::interrupted() => Ok(()),
    };
    host.stop().await;
    served?;
    Ok(Exit::Done)
}

async fn over_http(
    config: &Config,
    address: SocketAddr,
    mcp: mcp::Options,
) -> Result<Exit, Failure> {
    let options = http::Options {
        addr: address,
        token: token(config, address)?,
        allowed_hosts: config.http.allowed_hosts.clone(),
        allowed_origins: config.http.allowed_origins.clone(),
        linger: Duration::from_millis(config.http.linger_ms),
        metrics: config.http.metrics,
        mcp,
    };
    let host = Host::start(config, Drive::InProcess).await?;
    // The worker stops taking on when the door stops: what is driven here moves to other replicas meanwhile.
    let stop = host.stopping();
    let serving = async {
        let served = http::serve(host.app.clone(), options, stop.clone(), announce).await;
        host.stop().await;
        served
    };
    tokio::select! {
        served = serving => served?,
        // Asked twice: what is under way is left to the replicas that remain.
        () = cancelled_when_interrupted(&stop) => {}
    }
    Ok(Exit::Done)
}

/// Whoever may reach the address may run workflows, so beyond this machine they must show a token.
pub(super) fn token(config: &Config, address: SocketAddr) -> Result<Option<String>, Failure> {
    let variable = &config.http.token_env;
    let token = std::env::var(variable).ok().filter(|token| !token.is_empty());
    if token.is_none() && !address.ip().is_loopback() {
        let message = format!("{address} can be reached from other machines, and no token is set");
        return Err(Failure::usage(message)
            .help(format!("set {variable} to a long random text, or serve at 127.0.0.1")));
    }
    Ok(token)
}

/// Asks the server to end in order when a signal comes, and gives up on order at the second signal.
pub(super) async fn cancelled_when_interrupted(stop: &CancellationToken) {
    signals::interrupted().await;
    stop.cancel();
    signals::interrupted().await;
}

pub(super) fn announce(address: SocketAddr) {
    tracing::info!(http.address = %address, "serving MCP at http://{address}/mcp");
}
