//! One open connection to a tool server: its tools, and the calls that are out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rmcp::{
    Peer, RoleClient,
    model::{
        ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerNotification, ServerResult,
        SubscriptionFilter, Tool,
    },
    service::{PeerRequestOptions, RunningService, ServiceError},
};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    afu9::Afu9,
    alias_map::AliasMap,
    catalogue::Catalogue,
    client::{Client, ProgressRoutes},
    connect::http_error,
    http,
    process::Process,
};

/// A list that says it is stale at once is still used for so long: asking before every call would double its cost.
const SHORTEST_TTL: Duration = Duration::from_secs(30);
/// How long a list is believed where no change of it would be heard of.
pub(super) const UNTOLD_TTL: Duration = Duration::from_secs(60);
/// How long a list must be known before a missing name is reason to ask again.
const YOUNG: Duration = Duration::from_secs(1);
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that goes on paging for longer is not believed.
const MOST_PAGES: usize = 1_000;
/// How long an orderly goodbye may take.
const CLOSE: Duration = Duration::from_millis(3_500);

/// One open connection.
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// Under which other names its tools are called too.
    pub(super) alias_map: Option<&'static AliasMap>,
    /// How long a list is believed that came without a time, where no change of it would be heard of.
    pub(super) untold_ttl: Duration,
    listed: tokio::sync::Mutex<Option<Listed>>,
}

/// What is spoken on it.
pub(super) enum Wire {
    Mcp(Box<Mcp>),
    Afu9(Afu9),
}

/// A connection that speaks MCP.
pub(super) struct Mcp {
    pub(super) peer: Peer<RoleClient>,
    pub(super) progress: Arc<ProgressRoutes>,
    pub(super) process: Option<Arc<Process>>,
    /// Whether there is a session that the server may forget: over HTTP, in the legacy era.
    pub(super) has_session: bool,
    /// Cancelled when the other side has gone.
    pub(super) lost: CancellationToken,
    /// Cancelled when it takes no new calls; those that are out may still be answered.
    pub(super) retired: CancellationToken,
    changes: Arc<AtomicU64>,
    hears: Arc<AtomicBool>,
    service: Mutex<Option<RunningService<RoleClient, Client>>>,
    server: Option<InProcess>,
    listener: Option<JoinHandle<()>>,
}

struct InProcess {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

struct Listed {
    catalogue: Arc<Catalogue>,
    at: Instant,
    changes: u64,
    /// As the server told it.
    ttl: Option<Duration>,
}

/// A list of tools, all pages of it.
#[derive(Default)]
struct Pages {
    tools: Vec<Tool>,
    ttl: Option<Duration>,
}

impl Connection {
    pub(super) fn mcp(mcp: Mcp) -> Connection {
        Connection::over(Wire::Mcp(Box::new(mcp)))
    }

    pub(super) fn afu9(server: Afu9) -> Connection {
        Connection::over(Wire::Afu9(server))
    }

    fn over(wire: Wire) -> Connection {
        Connection {
            wire,
            alias_map: None,
            untold_ttl: UNTOLD_TTL,
            listed: tokio::sync::Mutex::default(),
        }
    }

    /// Whether nothing new can be sent any more.
    pub(super) fn is_over(&self) -> bool {
        match &self.wire {
            Wire::Mcp(mcp) => {
                self.is_retired() || mcp.lost.is_cancelled() || mcp.peer.is_transport_closed()
            }
            Wire::Afu9(_) => false,
        }
    }

    /// The server's tools; asked for once, and again when the list has changed or grown old.
    ///
    /// # Errors
    /// When the server does not list them.
    pub(super) async fn catalogue(&self, server: &str) -> Result<Arc<Catalogue>, Failure> {
        self.listed(server, |listed, changes| self.is_fresh(listed, changes)).await
    }

    /// The server's tools, if they were asked for before; without waiting for anything.
    pub(super) fn known(&self) -> Option<Arc<Catalogue>> {
        Some(self.listed.try_lock().ok()?.as_ref()?.catalogue.clone())
    }

    /// The server's tools, asked for again unless that was done just now: for a name that was not among them.
    ///
    /// # Errors
    /// When the server does not list them.
    pub(super) async fn newer_catalogue(&self, server: &str) -> Result<Arc<Catalogue>, Failure> {
        self.listed(server, |listed, changes| {
            self.is_fresh(listed, changes) && listed.at.elapsed() < YOUNG
        })
        .await
    }

    async fn listed(
        &self,
        server: &str,
        will_do: impl Fn(&Listed, u64) -> bool,
    ) -> Result<Arc<Catalogue>, Failure> {
        // Held while the list is on its way, so that many calls ask once.
        let mut listed = self.listed.lock().await;
        // Read before asking: a change that comes meanwhile makes the answer stale.
        let changes = self.changes();
        if let Some(listed) = listed.as_ref().filter(|listed| will_do(listed, changes)) {
            return Ok(listed.catalogue.clone());
        }
        // Rare, and large: in a box it makes no call carry it.
        let pages = match (Box::pin(self.pages()).await, listed.as_ref()) {
            (Ok(pages), _) => pages,
            // What was known is better than nothing, as long as the server can be called.
            (Err(failure), Some(listed)) if !self.is_over() => {
                tracing::warn!("tool server {server} keeps its old list: {}", failure.message);
                return Ok(listed.catalogue.clone());
            }
            (Err(failure), _) => return Err(failure),
        };
        let catalogue = Arc::new(Catalogue::new(server, pages.tools, self.alias_map));
        let at = Instant::now();
        *listed = Some(Listed { catalogue: catalogue.clone(), at, changes, ttl: pages.ttl });
        Ok(catalogue)
    }

    fn is_fresh(&self, listed: &Listed, changes: u64) -> bool {
        let ttl = listed.ttl.or_else(|| self.untold_ttl());
        listed.changes == changes && ttl.is_none_or(|ttl| listed.at.elapsed() < ttl)
    }

    /// How long a list is believed that came without a time: as long as nothing else is told, where that is heard.
    fn untold_ttl(&self) -> Option<Duration> {
        let Wire::Mcp(mcp) = &self.wire else { return Some(self.untold_ttl) };
        (mcp.server.is_none() && !mcp.hears_changes()).then_some(self.untold_ttl)
    }

    /// Whether the session is over; with a new one all may be well.
    pub(super) fn is_retired(&self) -> bool {
        match &self.wire {
            Wire::Mcp(mcp) => mcp.retired.is_cancelled(),
            Wire::Afu9(_) => false,
        }
    }

    fn changes(&self) -> u64 {
        match &self.wire {
            Wire::Mcp(mcp) => mcp.changes.load(Ordering::Acquire),
            Wire::Afu9(_) => 0,
        }
    }

    async fn pages(&self) -> Result<Pages, Failure> {
        let pages = async {
            match &self.wire {
                Wire::Mcp(mcp) => mcp.pages().await,
                // It has no way to tell of changes.
                Wire::Afu9(server) => match server.tools().await {
                    Ok(tools) => Ok(Pages { tools, ttl: Some(SHORTEST_TTL) }),
                    Err(refusal) => Err(refusal.into_failure()),
                },
            }
        };
        let silent = || Failure::unavailable("it did not list its tools in time");
        timeout(LIST_TIMEOUT, pages).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Says goodbye, and ends what was started for the connection; bounded.
    pub(super) async fn close(&self) {
        match &self.wire {
            Wire::Mcp(mcp) => mcp.close().await,
            Wire::Afu9(_) => {}
        }
    }

    /// Ends what was started for the connection, without a goodbye.
    pub(super) fn kill(&self) {
        match &self.wire {
            Wire::Mcp(mcp) => mcp.process.iter().for_each(|process| process.kill()),
            Wire::Afu9(_) => {}
        }
    }
}

impl Mcp {
    pub(super) fn new(
        running: RunningService<RoleClient, Client>,
        client: Client,
        lost: CancellationToken,
    ) -> Mcp {
        let peer = running.peer().clone();
        Mcp {
            listener: listener(&peer, &client.changes),
            peer,
            progress: client.progress,
            process: None,
            has_session: false,
            lost,
            retired: CancellationToken::new(),
            changes: client.changes,
            hears: client.hears,
            service: Mutex::new(Some(running)),
            server: None,
        }
    }

    pub(super) fn with_process(mut self, process: Arc<Process>) -> Mcp {
        self.process = Some(process);
        self
    }

    pub(super) fn in_process(mut self, task: JoinHandle<()>, stop: CancellationToken) -> Mcp {
        self.server = Some(InProcess { task, stop });
        self
    }

    pub(super) fn over_http(mut self) -> Mcp {
        let info = self.peer.peer_info();
        self.has_session = info.is_none_or(|info| info.protocol_version.has_initialize());
        self
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.server.is_some()
    }

    /// Whether we would hear of it if its tools changed. Many servers promise to tell that have no way to.
    fn hears_changes(&self) -> bool {
        tells_changes(&self.peer)
            && match &self.listener {
                Some(listener) => !listener.is_finished(),
                None => !self.has_session || self.hears.load(Ordering::Acquire),
            }
    }

    /// Lets the next call connect anew, without a word to those that are out.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// How the other side went, as the end of a sentence.
    pub(super) async fn last_words(&self) -> String {
        match &self.process {
            Some(process) => process.last_words().await,
            None => "the connection is closed".to_owned(),
        }
    }

    async fn pages(&self) -> Result<Pages, Failure> {
        let mut pages = Pages::default();
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let result = match self.page(cursor.take()).await {
                Ok(result) => result,
                Err(error) => return Err(self.no_list(error).await),
            };
            let (tools, next, ttl) = read_page(result)?;
            pages.tools.extend(tools);
            pages.ttl = ttl.map(|ttl| ttl.max(SHORTEST_TTL));
            match next {
                None => return Ok(pages),
                next => cursor = next,
            }
        }
        Err(Failure::unavailable(format!("its list of tools has no end after {MOST_PAGES} pages")))
    }

    async fn page(&self, cursor: Option<String>) -> Result<ServerResult, ServiceError> {
        // Not by rmcp's method, whose cache would answer when we want to know anew.
        let params =
            cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let request = ListToolsRequest { params, ..ListToolsRequest::default() };
        let options = PeerRequestOptions::with_timeout(LIST_TIMEOUT);
        let request = ClientRequest::ListToolsRequest(request);
        self.peer.send_cancellable_request(request, options).await?.await_response().await
    }

    async fn no_list(&self, error: ServiceError) -> Failure {
        match &error {
            ServiceError::TransportClosed => {
                let words = self.last_words().await;
                Failure::unavailable(format!("it went while it was asked for its tools: {words}"))
            }
            ServiceError::TransportSend(error) => match http_error(error) {
                Some(error) => {
                    let trouble = http::trouble(error, crate::clock::now());
                    if trouble.session_over {
                        self.retire();
                    }
                    trouble.before_a_call()
                }
                None => {
                    self.lost.cancel();
                    Failure::unavailable("it took no request for its tools")
                }
            },
            _ => Failure::unavailable(format!("it did not list its tools: {error}")),
        }
    }

    async fn close(&self) {
        let running = self.service.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running
            && let Err(error) = running.close_with_timeout(CLOSE).await
        {
            tracing::error!("a connection to a tool server broke down: {error}");
        }
        if let Some(server) = &self.server {
            server.stop.cancel();
        }
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
        if let Some(server) = &self.server {
            server.stop.cancel();
            server.task.abort();
        }
    }
}

/// Whether the server says that it tells when its tools change.
fn tells_changes(peer: &Peer<RoleClient>) -> bool {
    let tools = peer.peer_info().and_then(|info| info.capabilities.tools.clone());
    tools.is_some_and(|tools| tools.list_changed == Some(true))
}

/// Hears of changed tools where the protocol wants that to be asked for.
fn listener(peer: &Peer<RoleClient>, changes: &Arc<AtomicU64>) -> Option<JoinHandle<()>> {
    let info = peer.peer_info()?;
    (tells_changes(peer) && !info.protocol_version.has_initialize())
        .then(|| tokio::spawn(listen(peer.clone(), changes.clone())))
}

async fn listen(peer: Peer<RoleClient>, changes: Arc<AtomicU64>) {
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let Ok(mut subscription) = peer.listen(filter).await else { return };
    // What changed before the subscription stood was not told.
    changes.fetch_add(1, Ordering::AcqRel);
    while let Ok(Some(notification)) = subscription.next().await {
        if matches!(notification, ServerNotification::ToolListChangedNotification(_)) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
    }
    changes.fetch_add(1, Ordering::AcqRel);
}

type Page = (Vec<Tool>, Option<String>, Option<Duration>);

/// A page of tools; where one tool is malformed the others are still used.
fn read_page(result: ServerResult) -> Result<Page, Failure> {
    match result {
        ServerResult::ListToolsResult(page) => {
            Ok((page.tools, page.next_cursor, page.ttl_ms.map(Duration::from_millis)))
        }
        ServerResult::CustomResult(result) => read_loose_page(&result.0)
            .ok_or_else(|| Failure::unavailable("its list of tools cannot be read")),
        _ => Err(Failure::unavailable("it answered the request for its tools with something else")),
    }
}

fn read_loose_page(page: &Value) -> Option<Page> {
    let described = page.get("tools")?.as_array()?;
    let tools: Vec<Tool> =
        described.iter().filter_map(|tool| serde_json::from_value(tool.clone()).ok()).collect();
    let left_out = described.len() - tools.len();
    tracing::warn!(
        "{left_out} tools of a tool server are left out: their descriptions are malformed"
    );
    let next = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
    Some((tools, next, None))
}
