//! Opens connections: starts what must be started, and finds out which protocol is spoken there.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rmcp::{
    RoleClient,
    model::{ErrorCode, ProtocolVersion},
    service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, RunningService},
    transport::{
        DynamicTransportError, IntoTransport, streamable_http_client::StreamableHttpError,
    },
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Era, Failure,
    afu9::Afu9,
    built_in::BuiltIn,
    client::Client,
    config::{Protocol, Transport},
    connection::{Connection, Mcp},
    environment::Resolved,
    http::{self, Happened},
    http_client::Patience,
    in_process,
    pipe::Pipe,
    process::{Launch, Process},
};

/// How long a child that failed the handshake may take to be gone, so that its exit can be told.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long a server over HTTP may be silent at the probe before it is taken for an old one; rmcp waits longer.
const LONGEST_PROBE: Duration = Duration::from_secs(8);
/// Who waits for a handshake says that it took too long, and says it better than the request that ends after it.
const AFTER_ALL: Duration = Duration::from_millis(100);

/// What a connection is opened to.
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) protocol: Protocol,
    pub(super) max_in_flight: u32,
    /// What was found out last time.
    pub(super) known: Option<Era>,
    /// Where it is started.
    pub(super) root: &'a Path,
    pub(super) deadline: Instant,
}

/// How a handshake is begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Handshake {
    Probe,
    Initialize,
    Discover,
}

type Running = RunningService<RoleClient, Client>;

/// Why a handshake failed.
enum Broken {
    Refused(Box<ClientInitializeError>),
    Silent,
    /// Nothing was tried that another handshake could mend.
    Hopeless(String),
}

/// Connects to a server in this process.
///
/// # Errors
/// When it does not answer.
pub(super) async fn built_in(target: &Target<'_>, server: &BuiltIn) -> Result<Connection, Failure> {
    let (ours, theirs) = in_process::connection();
    let stop = CancellationToken::new();
    let task = tokio::spawn((server.start)(theirs, stop.clone()));
    let lost = ours.lost();
    let client = Client::default();
    match shake_hands(client.clone(), ours, Handshake::Discover, target.deadline).await {
        Ok(running) => {
            let mcp = Mcp::new(running, client, lost).in_process(task, stop);
            Ok(Connection::mcp(mcp))
        }
        Err(broken) => {
            task.abort();
            Err(Failure::unavailable(reason(&broken)))
        }
    }
}

/// Connects to a server that a configuration names, and tells which protocol it speaks, where that is worth remembering.
///
/// # Errors
/// When it cannot be started or reached, or does not speak any of them.
pub(super) async fn configured(
    target: &Target<'_>,
    resolved: &Resolved,
) -> Result<(Connection, Option<Era>), Failure> {
    match &resolved.transport {
        Transport::Stdio { command, args, cwd, .. } => {
            let launch = Launch {
                name: target.name,
                command,
                args,
                cwd: target.root.join(cwd.as_deref().unwrap_or_default()),
                environment: &resolved.environment,
                redactor: &resolved.redactor,
            };
            stdio(target, &launch).await
        }
        Transport::Http { url, headers } => over_http(target, url, headers).await,
    }
}

async fn stdio(
    target: &Target<'_>,
    launch: &Launch<'_>,
) -> Result<(Connection, Option<Era>), Failure> {
    let mut handshake = first(target);
    let mut tried = vec![handshake];
    loop {
        let (broken, words) = match start(target, launch, handshake).await {
            Ok(connected) => return Ok(connected),
            Err(broken) => broken,
        };
        match next(target, handshake, &broken).filter(|next| !tried.contains(next)) {
            Some(next) => {
                handshake = next;
                tried.push(next);
            }
            None if words.is_empty() => return Err(Failure::unavailable(reason(&broken))),
            None => return Err(Failure::unavailable(format!("{}; {words}", reason(&broken)))),
        }
    }
}

/// One child, one handshake; a child that fails it is ended, and how it ended is told.
async fn start(
    target: &Target<'_>,
    launch: &Launch<'_>,
    handshake: Handshake,
) -> Result<(Connection, Option<Era>), (Broken, String)> {
    let (process, stdin, stdout) =
        Process::start(launch).map_err(|reason| (Broken::Hopeless(reason), String::new()))?;
    let pipe = Pipe::new(stdout, stdin, process.clone());
    let lost = pipe.lost();
    let client = Client::default();
    match shake_hands(client.clone(), pipe, handshake, target.deadline).await {
        Ok(running) => {
            let era = era(&running);
            Ok((Connection::mcp(Mcp::new(running, client, lost).with_process(process)), Some(era)))
        }
        Err(broken) => {
            process.end(FAREWELL).await;
            Err((broken, process.last_words().await))
        }
    }
}

async fn over_http(
    target: &Target<'_>,
    url: &str,
    headers: &BTreeMap<String, String>,
) -> Result<(Connection, Option<Era>), Failure> {
    let unusable = |reason: String| Failure::new("unavailable", reason, Some(false));
    if target.protocol == Protocol::Afu9 {
        return afu9(target, Afu9::new(url, headers).map_err(unusable)?).await;
    }
    if target.protocol == Protocol::Auto && target.known == Some(Era::Afu9) {
        let remembered = afu9(target, Afu9::new(url, headers).map_err(unusable)?).await;
        // It may have become another one since.
        if remembered.is_ok() {
            return remembered;
        }
    }
    let mut handshake = first(target);
    let mut tried = vec![handshake];
    let mut is_guessed = false;
    loop {
        let (client, patience) = (Client::default(), patience(target, handshake));
        let transport = http::transport(url, headers, target.max_in_flight, &client, patience)
            .map_err(unusable)?;
        let broken = match shake_hands(client.clone(), transport, handshake, target.deadline).await
        {
            Ok(running) => {
                let era = era(&running);
                let mcp = Mcp::new(running, client, CancellationToken::new()).over_http();
                return Ok((Connection::mcp(mcp), (!is_guessed).then_some(era)));
            }
            Err(broken) => broken,
        };
        // It may have been slow only this time.
        is_guessed |= handshake == Handshake::Probe && patience.probe <= Instant::now();
        if let Some(next) = next(target, handshake, &broken).filter(|next| !tried.contains(next)) {
            handshake = next;
            tried.push(next);
            continue;
        }
        if target.protocol == Protocol::Auto && speaks_other_rpc(&broken) {
            let afu9_server = Afu9::new(url, headers).map_err(unusable)?;
            if let Ok(connected) = afu9(target, afu9_server).await {
                return Ok(connected);
            }
        }
        return Err(http_failure(&broken));
    }
}

fn patience(target: &Target<'_>, handshake: Handshake) -> Patience {
    let handshake_ends = target.deadline + AFTER_ALL;
    let probe_ends = match handshake {
        Handshake::Probe => {
            let left = target.deadline.saturating_duration_since(Instant::now());
            Instant::now() + LONGEST_PROBE.min(left / 2)
        }
        Handshake::Initialize | Handshake::Discover => handshake_ends,
    };
    Patience { probe: probe_ends, handshake: handshake_ends }
}

async fn afu9(target: &Target<'_>, server: Afu9) -> Result<(Connection, Option<Era>), Failure> {
    match timeout_at(target.deadline, server.tools()).await {
        Ok(Ok(_)) => Ok((Connection::afu9(server), Some(Era::Afu9))),
        Ok(Err(refusal)) => Err(refusal.into_failure()),
        Err(_) => Err(Failure::unavailable(reason(&Broken::Silent))),
    }
}

async fn shake_hands<T, E, A>(
    client: Client,
    transport: T,
    handshake: Handshake,
    deadline: Instant,
) -> Result<Running, Broken>
where
    T: IntoTransport<RoleClient, E, A>,
    E: std::error::Error + Send + Sync + 'static,
{
    let served = client.serve_with_lifecycle(transport, lifecycle(handshake));
    match timeout_at(deadline, served).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(error)) => Err(Broken::Refused(Box::new(error))),
        Err(_) => Err(Broken::Silent),
    }
}

fn lifecycle(handshake: Handshake) -> ClientLifecycleMode {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match handshake {
        Handshake::Probe => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
        Handshake::Initialize => ClientLifecycleMode::Initialize,
        Handshake::Discover => ClientLifecycleMode::Discover { preferred_versions },
    }
}

fn era(running: &Running) -> Era {
    let legacy = running.peer_info().is_none_or(|info| info.protocol_version.has_initialize());
    if legacy { Era::Legacy } else { Era::Modern }
}

fn first(target: &Target<'_>) -> Handshake {
    match (target.protocol, target.known) {
        (Protocol::Legacy, _) | (Protocol::Auto, Some(Era::Legacy)) => Handshake::Initialize,
        (Protocol::Modern, _) => Handshake::Discover,
        (Protocol::Auto | Protocol::Afu9, _) => Handshake::Probe,
    }
}

/// The handshake to try on a fresh connection after one that failed; none where it would fail as well.
fn next(target: &Target<'_>, tried: Handshake, broken: &Broken) -> Option<Handshake> {
    use ClientInitializeError::{
        ConflictInitResponseId, ConnectionClosed, JsonRpcError, LegacyFallbackFailed,
        TransportError, UncorrelatedErrorResponse,
    };

    let Broken::Refused(error) = broken else { return None };
    match (target.protocol, tried) {
        (Protocol::Legacy | Protocol::Modern | Protocol::Afu9, _) => return None,
        // It was remembered to be an old server, and may be a new one by now.
        (Protocol::Auto, Handshake::Initialize) if target.known == Some(Era::Legacy) => {
            return (!hopeless(error)).then_some(Handshake::Probe);
        }
        // It was only too slow for the probe.
        (Protocol::Auto, Handshake::Initialize) => {
            return matches!(**error, JsonRpcError(_)).then_some(Handshake::Discover);
        }
        (Protocol::Auto, Handshake::Discover) => return None,
        (Protocol::Auto, Handshake::Probe) => {}
    }
    match error.as_ref() {
        // Some old servers leave when the first message is not `initialize`.
        ConnectionClosed(_) | TransportError { .. } if !hopeless(error) => {
            Some(Handshake::Initialize)
        }
        LegacyFallbackFailed { fallback, .. } if matches!(**fallback, ConnectionClosed(_)) => {
            Some(Handshake::Initialize)
        }
        // It took longer than the probe waits to answer the probe, and the answer tells its era.
        ConflictInitResponseId(..) => Some(Handshake::Discover),
        UncorrelatedErrorResponse { .. } => Some(Handshake::Initialize),
        _ => None,
    }
}

/// Whether the transport says that no handshake will do.
fn hopeless(error: &ClientInitializeError) -> bool {
    transport_error(error)
        .and_then(http_error)
        .is_some_and(|error| http::trouble(error, 0).happened != Happened::Perhaps)
}

fn transport_error(error: &ClientInitializeError) -> Option<&DynamicTransportError> {
    match error {
        ClientInitializeError::TransportError { error, .. } => Some(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => transport_error(fallback),
        _ => None,
    }
}

/// The error below rmcp, where it is one of HTTP.
pub(super) fn http_error(
    error: &DynamicTransportError,
) -> Option<&StreamableHttpError<reqwest::Error>> {
    error.error.downcast_ref()
}

/// Whether the server speaks JSON-RPC, but knows neither handshake.
fn speaks_other_rpc(broken: &Broken) -> bool {
    let Broken::Refused(error) = broken else { return false };
    let unknown = |error: &ClientInitializeError| {
        matches!(error, ClientInitializeError::JsonRpcError(data) if matches!(
            data.code,
            ErrorCode::INVALID_REQUEST | ErrorCode::METHOD_NOT_FOUND | ErrorCode::INVALID_PARAMS
        ))
    };
    match error.as_ref() {
        ClientInitializeError::LegacyFallbackFailed { discover, fallback } => {
            unknown(discover) && unknown(fallback)
        }
        error => unknown(error),
    }
}

fn http_failure(broken: &Broken) -> Failure {
    let trouble = match broken {
        Broken::Refused(error) => transport_error(error)
            .and_then(http_error)
            .map(|error| http::trouble(error, crate::clock::now())),
        Broken::Silent | Broken::Hopeless(_) => None,
    };
    match trouble {
        None => Failure::unavailable(reason(broken)),
        Some(trouble) => trouble.before_a_call(),
    }
}

fn reason(broken: &Broken) -> String {
    match broken {
        Broken::Hopeless(reason) => reason.clone(),
        Broken::Silent => "it did not complete the handshake in time".to_owned(),
        Broken::Refused(error) => match error.as_ref() {
            ClientInitializeError::ConnectionClosed(_) => {
                "it closed the connection during the handshake".to_owned()
            }
            ClientInitializeError::TransportError { .. } => {
                "it did not take what was sent for the handshake".to_owned()
            }
            ClientInitializeError::LegacyFallbackFailed { discover, fallback } => {
                format!("it refused both handshakes: {discover}; {fallback}")
            }
            error => format!("it refused the handshake: {error}"),
        },
    }
}
