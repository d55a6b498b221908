//! What a tool server may ask of us and tell us while a connection is open.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ErrorCode,
        Implementation, ProgressNotificationParam, ProgressToken,
    },
    service::{NotificationContext, RequestContext},
};
use tokio::sync::mpsc;

use super::ToolProgress;

/// How many early or late progress notifications are kept for a call that has not asked for them yet.
const KEPT: usize = 64;

/// Our side of a connection.
#[derive(Clone, Default)]
pub(super) struct Client {
    /// Grows with every `list_changed`.
    pub(super) changes: Arc<AtomicU64>,
    /// Whether the stream stands on which a server over HTTP tells of it, in the legacy era.
    pub(super) hears: Arc<AtomicBool>,
    /// Who hears of which progress.
    pub(super) progress: Arc<ProgressRoutes>,
}

/// Brings progress to the call that it belongs to.
#[derive(Default)]
pub(super) struct ProgressRoutes {
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    calls: HashMap<ProgressToken, mpsc::UnboundedSender<ToolProgress>>,
    /// rmcp names a call's token only once the request is out, so progress may come before its route.
    unclaimed: VecDeque<(ProgressToken, ToolProgress)>,
}

/// The progress of one call, until dropped.
pub(super) struct ProgressOf {
    routes: Arc<ProgressRoutes>,
    token: ProgressToken,
    heard: mpsc::UnboundedReceiver<ToolProgress>,
    last: f64,
}

impl ProgressRoutes {
    pub(super) fn follow(self: &Arc<Self>, token: ProgressToken) -> ProgressOf {
        let (sender, heard) = mpsc::unbounded_channel();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.unclaimed.retain(|(of, progress)| {
            let ours = *of == token;
            if ours {
                // The receiver stands right here.
                let _ = sender.send(progress.clone());
            }
            !ours
        });
        routes.calls.insert(token.clone(), sender);
        ProgressOf { routes: self.clone(), token, heard, last: f64::NEG_INFINITY }
    }

    fn deliver(&self, token: ProgressToken, progress: ToolProgress) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = routes.calls.get(&token) {
            // A call that has ended in this moment needs no progress.
            let _ = call.send(progress);
            return;
        }
        if routes.unclaimed.len() == KEPT {
            routes.unclaimed.pop_front();
        }
        routes.unclaimed.push_back((token, progress));
    }
}

impl ProgressOf {
    /// The next progress, waiting for it. rmcp may hand notifications over out of order; what falls behind is left out.
    pub(super) async fn next(&mut self) -> ToolProgress {
        loop {
            match self.heard.recv().await {
                Some(progress) if self.is_further(&progress) => return progress,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The next progress, if one is there.
    pub(super) fn pending(&mut self) -> Option<ToolProgress> {
        while let Ok(progress) = self.heard.try_recv() {
            if self.is_further(&progress) {
                return Some(progress);
            }
        }
        None
    }

    fn is_further(&mut self, progress: &ToolProgress) -> bool {
        let further = self.last < progress.progress;
        if further {
            self.last = progress.progress;
        }
        further
    }
}

impl Drop for ProgressOf {
    fn drop(&mut self) {
        let mut routes = self.routes.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.calls.remove(&self.token);
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::builder().enable_tasks().build(),
            Implementation::new("windlass", env!("CARGO_PKG_VERSION")),
        )
    }

    /// Nobody sits behind a running step, and an answer must never be made up.
    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            "elicitation is not offered by this client: no person is there to ask",
            None,
        ))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let ProgressNotificationParam { progress_token, progress, total, message, .. } = params;
        self.progress.deliver(progress_token, ToolProgress { progress, total, message });
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}
