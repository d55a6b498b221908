//! Sessions of the older protocols: kept where every replica finds them, and bound to whoever began them.
//!
//! What moves with a session is what its client said of itself. A question that the server put to the client does not:
//! its number belongs to this process, and an answer with another process's number is refused. Who asked is told what
//! is open by `workflow.status`, and answers with `workflow.answer`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt};
use rmcp::{
    model::{
        ClientJsonRpcMessage, InitializeRequestParams, JsonRpcMessage, RequestId,
        ServerJsonRpcMessage, ServerNotification,
    },
    transport::streamable_http_server::session::{
        RestoreOutcome, ServerSseMessage, SessionId, SessionManager, SessionState, SessionStore,
        SessionStoreError,
        local::{LocalSessionManager, LocalSessionManagerError},
    },
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::guard::Authorisation;
use crate::app::{App, Session};

/// A session is forgotten when it has been silent for so long.
const SILENCE: Duration = Duration::from_secs(1_800);
/// How often the database hears which sessions are in use, and forgets the others.
const TIDY: Duration = Duration::from_secs(60);
/// A client's name and version are cut here, in characters.
const NAME_CHARS: usize = 200;
/// How many of a client's extensions are kept.
const EXTENSIONS: usize = 32;

type Transport = <LocalSessionManager as SessionManager>::Transport;

/// The sessions of one process.
pub(super) struct Sessions {
    local: LocalSessionManager,
    numbers: Numbers,
    /// Where they are kept; without it they live and die with this process.
    app: Option<App>,
    /// Those that were heard of since the database was told: the digest of each, and its id.
    seen: Mutex<BTreeMap<String, SessionId>>,
}

/// What is known of the HTTP request that is answered just now.
struct Asked {
    authorisation: Authorisation,
    /// It answers a question that is not open here.
    is_stray: AtomicBool,
}

tokio::task_local! {
    static ASKED: Asked;
}

impl Sessions {
    pub(super) fn new(app: Option<App>) -> Arc<Sessions> {
        let mut local = LocalSessionManager::default();
        local.session_config.keep_alive = Some(SILENCE);
        let (numbers, seen) = (Numbers::new(), Mutex::default());
        Arc::new(Sessions { local, numbers, app, seen })
    }

    /// Where the SDK looks for sessions that it does not know.
    pub(super) fn store(self: &Arc<Self>) -> Option<Arc<dyn SessionStore>> {
        self.app.is_some().then(|| Arc::clone(self) as Arc<dyn SessionStore>)
    }

    /// Tells the database which sessions are in use, and ends here what was ended elsewhere, until `end`.
    pub(super) async fn keep_tidy(self: Arc<Self>, end: CancellationToken) {
        let Some(app) = self.app.clone() else { return };
        while end.run_until_cancelled(tokio::time::sleep(TIDY)).await.is_some() {
            self.tidy(&app).await;
        }
    }

    async fn tidy(&self, app: &App) {
        let seen = std::mem::take(&mut *self.lock());
        let digests: Vec<String> = seen.keys().cloned().collect();
        match app.sessions_seen(&digests, silence_ms()).await {
            Ok(kept) => {
                for (_, id) in seen.iter().filter(|(digest, _)| !kept.contains(digest)) {
                    _ = self.local.close_session(id).await;
                }
            }
            Err(err) => {
                tracing::debug!("the database does not hear which sessions are in use: {err}");
                self.lock().extend(seen);
            }
        }
    }

    /// How many are open here. One that went on elsewhere counts here until it has been silent for long.
    pub(super) async fn count(&self) -> usize {
        self.local.sessions.read().await.len()
    }

    fn note(&self, id: &str) {
        if self.app.is_some() {
            self.lock().insert(digest_of_id(id), id.into());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, SessionId>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes around every request: who asks is known below, and a stray answer is refused.
pub(super) async fn within(
    State(sessions): State<Arc<Sessions>>,
    request: Request,
    next: Next,
) -> Response {
    let authorisation = request.extensions().get::<Authorisation>().copied().unwrap_or_default();
    let id = request.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
    let id = id.map(str::to_owned);
    let asked = Asked { authorisation, is_stray: AtomicBool::new(false) };
    let work = async {
        let response = next.run(request).await;
        let is_stray = ASKED.with(|asked| asked.is_stray.load(Ordering::Relaxed));
        (response, is_stray)
    };
    let (response, is_stray) = ASKED.scope(asked, work).await;
    if is_stray {
        return stray();
    }
    if let Some(id) = id
        && response.status().is_success()
    {
        sessions.note(&id);
    }
    response
}

fn stray() -> Response {
    let error = "nobody waits for this answer any more: the server that asked is another one, or it has ended. \
                 workflow.status says what is open, and workflow.answer answers it";
    (StatusCode::CONFLICT, Json(json!({ "error": error }))).into_response()
}

#[async_trait]
impl SessionStore for Sessions {
    async fn load(&self, id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let Some(app) = &self.app else { return Ok(None) };
        let Some(session) = app.session(&digest_of_id(id), &principal(id)).await? else {
            return Ok(None);
        };
        Ok(Some(SessionState::new(serde_json::from_str(&session.client)?)))
    }

    async fn store(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let Some(app) = &self.app else { return Ok(()) };
        let client = client(&state.initialize_params).to_string();
        let session = Session { id: digest_of_id(id), principal: principal(id), client };
        Ok(app.keep_session(session, silence_ms()).await?)
    }

    async fn delete(&self, id: &str) -> Result<(), SessionStoreError> {
        self.lock().remove(&digest_of_id(id));
        match &self.app {
            Some(app) => Ok(app.end_session(&digest_of_id(id)).await?),
            None => Ok(()),
        }
    }
}

/// What of a client's introduction is of use to another replica. Whatever else it says may be a secret.
fn client(said: &InitializeRequestParams) -> Value {
    let info = &said.client_info;
    let cut = |text: &str| text.chars().take(NAME_CHARS).collect::<String>();
    let mut capabilities = serde_json::to_value(&said.capabilities).unwrap_or_default();
    if let Some(capabilities) = capabilities.as_object_mut() {
        capabilities.remove("experimental");
        if let Some(extensions) = capabilities.get_mut("extensions").and_then(Value::as_object_mut)
        {
            let names = extensions.keys().take(EXTENSIONS).map(|name| cut(name));
            *extensions = names.map(|name| (name, json!({}))).collect::<Map<_, _>>();
        }
    }
    json!({
        "protocolVersion": said.protocol_version,
        "capabilities": capabilities,
        "clientInfo": { "name": cut(&info.name), "version": cut(&info.version) },
    })
}

/// A session's id opens it, so that only its digest is written down.
fn digest_of_id(id: &str) -> String {
    hex(Sha256::new().chain_update("windlass session\0").chain_update(id))
}

/// Whoever asks just now, as a digest that is another one for each session.
fn principal(id: &str) -> String {
    let Authorisation(shown) = ASKED.try_with(|asked| asked.authorisation).unwrap_or_default();
    hex(Sha256::new().chain_update("windlass principal\0").chain_update(id).chain_update(shown))
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn silence_ms() -> i64 {
    // What was heard of since the database was told counts too.
    i64::try_from((SILENCE + TIDY).as_millis()).unwrap_or(i64::MAX)
}

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = Transport;

    async fn create_session(&self) -> Result<(SessionId, Transport), Self::Error> {
        self.local.create_session().await
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.local.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.local.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.local.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let numbers = self.numbers;
        let stream = self.local.create_stream(id, message).await?;
        Ok(stream.map(move |message| numbers.outgoing(message)))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        mut message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        if !self.numbers.incoming(&mut message) {
            _ = ASKED.try_with(|asked| asked.is_stray.store(true, Ordering::Relaxed));
            return Ok(());
        }
        self.local.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let numbers = self.numbers;
        let stream = self.local.create_standalone_stream(id).await?;
        Ok(stream.map(move |message| numbers.outgoing(message)))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let numbers = self.numbers;
        let stream = self.local.resume(id, last_event_id).await?;
        Ok(stream.map(move |message| numbers.outgoing(message)))
    }

    async fn restore_session(
        &self,
        id: SessionId,
    ) -> Result<RestoreOutcome<Transport>, Self::Error> {
        self.local.restore_session(id).await
    }
}

/// The numbers of the questions that this process puts to clients: no other process has the same ones. The SDK counts
/// from zero in every session, so that an answer meant for one replica would fit a question of another.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    first: i64,
}

/// How many there are; the SDK counts in 32 bits. With the 21 bits before them they fit into a JSON number.
const NUMBERS: i64 = 1 << 32;

impl Numbers {
    fn new() -> Numbers {
        Numbers { first: rand::random_range(1..1 << 21) * NUMBERS }
    }

    fn outgoing(self, mut message: ServerSseMessage) -> ServerSseMessage {
        if let Some(JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_)) =
            message.message.as_deref()
        {
            message.message = message.message.map(|message| {
                let mut message = Arc::unwrap_or_clone(message);
                self.number(&mut message);
                Arc::new(message)
            });
        }
        message
    }

    fn number(self, message: &mut ServerJsonRpcMessage) {
        let id = match message {
            JsonRpcMessage::Request(request) => Some(&mut request.id),
            JsonRpcMessage::Notification(notification) => match &mut notification.notification {
                ServerNotification::CancelledNotification(cancelled) => {
                    cancelled.params.request_id.as_mut()
                }
                _ => None,
            },
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => None,
        };
        if let Some(RequestId::Number(number)) = id {
            *number += self.first;
        }
    }

    /// Whether the message, if it is an answer, can be one to a question of this process.
    fn incoming(self, message: &mut ClientJsonRpcMessage) -> bool {
        let id = match message {
            JsonRpcMessage::Response(response) => &mut response.id,
            JsonRpcMessage::Error(error) => match &mut error.id {
                Some(id) => id,
                None => return true,
            },
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => return true,
        };
        let RequestId::Number(number) = id else { return false };
        *number -= self.first;
        (0..NUMBERS).contains(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: Value) -> ClientJsonRpcMessage {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn an_answer_to_another_process_is_not_taken_for_one_to_this() {
        let (here, there) = (Numbers { first: NUMBERS }, Numbers { first: 2 * NUMBERS });
        let question = json!({ "jsonrpc": "2.0", "id": 0, "method": "ping" });
        let question: ServerJsonRpcMessage = serde_json::from_value(question).unwrap();
        let sent = here.outgoing(ServerSseMessage::from_message(question)).message.unwrap();
        let number = serde_json::to_value(&*sent).unwrap()["id"].as_i64().unwrap();

        let answer = || message(json!({ "jsonrpc": "2.0", "id": number, "result": {} }));
        let refusal =
            json!({ "jsonrpc": "2.0", "id": number, "error": { "code": 1, "message": "no" } });
        let mut ours = answer();
        assert!(here.incoming(&mut ours));
        assert_eq!(serde_json::to_value(ours).unwrap()["id"], 0, "the SDK knows it as it counted");
        assert!(here.incoming(&mut message(refusal.clone())));
        assert!(!there.incoming(&mut answer()));
        assert!(!there.incoming(&mut message(refusal)));
        let plain = json!({ "jsonrpc": "2.0", "id": 0, "result": {} });
        assert!(!here.incoming(&mut message(plain)), "numbers without a process are nobody's");
    }

    #[test]
    fn a_withdrawn_question_is_named_as_it_was_asked() {
        let numbers = Numbers { first: 7 * NUMBERS };
        let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } });
        let cancelled: ServerJsonRpcMessage = serde_json::from_value(cancelled).unwrap();
        let sent = numbers.outgoing(ServerSseMessage::from_message(cancelled)).message.unwrap();
        assert_eq!(serde_json::to_value(&*sent).unwrap()["params"]["requestId"], 7 * NUMBERS + 3);
    }

    #[test]
    fn only_what_a_replica_needs_is_kept_of_a_client() {
        let said = json!({
            "_meta": { "token": "hush" },
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "elicitation": {},
                "experimental": { "x": { "key": "hush" } },
                "extensions": { "io.modelcontextprotocol/ui": { "key": "hush" } },
            },
            "clientInfo": { "name": "c".repeat(1_000), "version": "1", "websiteUrl": "https://u:hush@h" },
        });
        let kept = client(&serde_json::from_value(said).unwrap());
        assert!(!kept.to_string().contains("hush"), "{kept}");
        assert_eq!(kept["clientInfo"]["name"], "c".repeat(NAME_CHARS));
        let read: InitializeRequestParams = serde_json::from_value(kept).unwrap();
        assert!(read.capabilities.elicitation.is_some());
        assert_eq!(read.protocol_version.as_str(), "2025-11-25");
        assert!(read.capabilities.extensions.unwrap().contains_key("io.modelcontextprotocol/ui"));
    }
}
