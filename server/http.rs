//! The door for programs over HTTP: MCP, health.

mod alone;
mod guard;
mod health;
mod sessions;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    Router, middleware,
    routing::get,
    serve::{Listener, ListenerExt},
};
use rmcp::{
    ServerHandler,
    transport::{StreamableHttpServerConfig, StreamableHttpService},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use self::alone::Alone;
use self::{
    guard::{Hosts, Token},
    health::Health,
    sessions::Sessions,
};
use crate::{
    app::App,
    mcp::{self, Mcp},
};

/// No request may be larger.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// How long answers under way may take once a shutdown has begun.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// After this, whoever is still connected is cut off.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// What can be set about the door.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub addr: SocketAddr,
    /// The bearer token that callers must show; needed when `addr` is not loopback.
    pub token: Option<String>,
    /// Host names, besides loopback and the address itself, that requests may name.
    pub allowed_hosts: Vec<String>,
    /// Origins, besides the own ones, that browsers may come from.
    pub allowed_origins: Vec<String>,
    /// How long requests are still taken once a shutdown has begun, so that a load balancer can see it.
    pub linger: Duration,
    /// Whether `/metrics` is served.
    pub metrics: bool,
    /// What can be set about the MCP server behind it.
    pub mcp: mcp::Options,
}

/// Serves until `shutdown` is cancelled; then lets answers under way out, for ten seconds at most.
/// `on_bound` hears the address once requests are taken.
///
/// # Errors
/// When the address would be open to anyone, or cannot be listened on.
pub async fn serve(
    app: App,
    options: Options,
    shutdown: CancellationToken,
    on_bound: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    check(&options)?;
    let listener = TcpListener::bind(options.addr)
        .await
        .with_context(|| format!("cannot listen on {}", options.addr))?;
    let address = listener.local_addr()?;
    let sessions = CancellationToken::new();
    let kept = Sessions::new(Some(app.clone()));
    let tidying = tokio::spawn(Arc::clone(&kept).keep_tidy(sessions.clone()));
    // Seen by `readyz` at once; everything else goes on for as long as a load balancer may need to look.
    let closing = CancellationToken::new();
    let router = router(app, &options, address, [&shutdown, &closing, &sessions], &kept);
    on_bound(address);
    let server = axum::serve(without_delay(listener), router)
        .with_graceful_shutdown(closing.clone().cancelled_owned());
    let linger = async {
        shutdown.cancelled().await;
        sleep(options.linger).await;
        closing.cancel();
        cut_off(&closing, &sessions).await;
    };
    let served = tokio::select! {
        served = server.into_future() => Ok(served?),
        () = linger => Ok(()),
    };
    tidying.abort();
    served
}

/// Refuses what would let anyone run workflows.
fn check(options: &Options) -> anyhow::Result<()> {
    check_address(options.addr, options.token.as_deref())
}

fn check_address(addr: SocketAddr, token: Option<&str>) -> anyhow::Result<()> {
    match token {
        Some(token) if token.trim().is_empty() => bail!(
            "the HTTP token is empty: put a long random text into WINDLASS_HTTP_TOKEN (or the variable that `http.token_env` names)"
        ),
        None if !addr.ip().is_loopback() => bail!(
            "will not listen on {addr} without a token: whoever reaches it could run workflows. Put a long random text into \
             WINDLASS_HTTP_TOKEN (or the variable that `http.token_env` names), or listen on 127.0.0.1"
        ),
        Some(_) | None => Ok(()),
    }
}

fn router(
    app: App,
    options: &Options,
    address: SocketAddr,
    [shutdown, closing, sessions]: [&CancellationToken; 3],
    kept: &Arc<Sessions>,
) -> Router {
    let hosts = hosts(&options.allowed_hosts, address.ip());
    let handler = Mcp::new(app.clone(), options.mcp.clone(), closing.clone());
    let service = service(handler, &hosts, &options.allowed_origins, address, sessions, kept);
    let token = options.token.as_deref();
    let mut named = guarded(service, kept, token);
    if options.metrics {
        named = named.merge(metrics((app.clone(), Arc::clone(kept)), token));
    }
    let ready = Router::new()
        .route("/readyz", get(health::ready))
        .with_state(Health { app, draining: shutdown.clone() });
    let named = named
        .merge(ready)
        .route_layer(middleware::from_fn_with_state(Hosts::new(hosts), guard::hosts));
    Router::new().route("/healthz", get(health::alive)).merge(named)
}

/// What Prometheus asks for.
fn metrics(state: (App, Arc<Sessions>), token: Option<&str>) -> Router {
    behind(Router::new().route("/metrics", get(health::metrics)).with_state(state), token)
}

/// The MCP server behind what every request to it has to pass.
fn guarded<H: ServerHandler + Clone>(
    service: StreamableHttpService<H, Sessions>,
    kept: &Arc<Sessions>,
    token: Option<&str>,
) -> Router {
    let mcp = Router::new().nest_service("/mcp", service);
    let mcp = mcp.route_layer(middleware::from_fn_with_state(Arc::clone(kept), sessions::within));
    behind(mcp, token)
}

/// For nobody who does not show the token, where there is one.
fn behind(routes: Router, token: Option<&str>) -> Router {
    match token {
        Some(token) => {
            routes.route_layer(middleware::from_fn_with_state(Token::new(token), guard::token))
        }
        None => routes,
    }
}

fn service<H: ServerHandler + Clone>(
    handler: H,
    hosts: &[String],
    allowed_origins: &[String],
    address: SocketAddr,
    sessions: &CancellationToken,
    kept: &Arc<Sessions>,
) -> StreamableHttpService<H, Sessions> {
    let mut config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins(allowed_origins, address))
        .enforce_origin_validation()
        .with_max_request_body_bytes(MAX_BODY_BYTES)
        .with_cancellation_token(sessions.clone());
    config.session_store = kept.store();
    StreamableHttpService::new(move || Ok(handler.clone()), Arc::clone(kept), config)
}

/// Without this, the last bytes of an answer wait for the client to acknowledge the ones before: 40 ms on every call.
fn without_delay(listener: TcpListener) -> impl Listener<Io = TcpStream, Addr = SocketAddr> {
    listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
    })
}

/// Ends the sessions that a client keeps open, then, a while later, everything.
async fn cut_off(shutdown: &CancellationToken, sessions: &CancellationToken) {
    shutdown.cancelled().await;
    sleep(ANSWER_GRACE).await;
    sessions.cancel();
    sleep(SHUTDOWN_GRACE - ANSWER_GRACE).await;
    tracing::warn!("some clients did not hang up in time");
}

/// The names that requests may call this server by; anything else is a page that was lured here by its DNS.
fn hosts(allowed: &[String], address: IpAddr) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !address.is_unspecified() {
        hosts.push(address.to_string());
    }
    hosts.extend(allowed.iter().cloned());
    hosts
}

/// The pages that may call this server: those it would serve itself, and those that are configured.
fn origins(allowed: &[String], address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let own = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("http://{host}:{port}"));
    own.into_iter().chain(allowed.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::Caller, config::ToolNames};

    fn options(addr: &str, token: Option<&str>) -> Options {
        let caller = Caller { name: "local".into(), ..Caller::default() };
        Options {
            addr: addr.parse().unwrap(),
            token: token.map(str::to_owned),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            linger: Duration::ZERO,
            metrics: true,
            mcp: mcp::Options {
                tool_names: ToolNames::Dotted,
                caller,
                authoring: false,
                conformance_fixtures: false,
            },
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            check(&options(addr, None)).unwrap();
        }
        for addr in ["0.0.0.0:0", "[::]:0", "192.168.1.1:80"] {
            let text = check(&options(addr, None)).unwrap_err().to_string();
            assert!(text.contains("http.token_env") && text.contains("127.0.0.1"), "{text}");
            check(&options(addr, Some("secret"))).unwrap();
            check(&options(addr, Some(" "))).unwrap_err();
        }
    }

    #[test]
    fn a_server_answers_to_its_own_address() {
        let hosts_of =
            |address: &str| hosts(&["windlass.example".into()], address.parse().unwrap());
        assert!(hosts_of("192.168.1.1").contains(&"192.168.1.1".to_owned()));
        assert!(!hosts_of("0.0.0.0").contains(&"0.0.0.0".to_owned()));
        assert!(hosts_of("0.0.0.0").contains(&"windlass.example".to_owned()));
    }

    #[tokio::test]
    async fn the_last_bytes_of_an_answer_are_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = listener.tap_io(|_| ());
        let (connected, (plain, _)) =
            tokio::join!(TcpStream::connect(address), Listener::accept(&mut listener));
        connected.unwrap();
        assert!(!plain.nodelay().unwrap(), "the platform's default makes this test pointless");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = without_delay(listener);
        let (connected, (stream, _)) = tokio::join!(TcpStream::connect(address), listener.accept());
        connected.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
