//! Tool servers over HTTP: MCP of both eras, AFU-9, and all that can go wrong in between.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService,
    streamable_http_server::session::local::LocalSessionManager,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
};
use windlass::tool_servers::{Era, Settings, ToolServers};

use super::{
    built_in::Double,
    harness::{Eras, call, failure, one_server, settings, silent, succeeded, uncertain, until},
};

type Service = StreamableHttpService<Double, LocalSessionManager>;

/// A web server that ends with the test.
struct Web {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Web {
    async fn serve(router: Router) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Web::serve_on(listener, router)
    }

    fn serve_on(listener: TcpListener, router: Router) -> Web {
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Web { address, task }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    fn servers(&self, extra: Value) -> ToolServers {
        servers(&self.url(), extra, settings())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn servers(url: &str, extra: Value, settings: Settings) -> ToolServers {
    let mut entry = json!({ "type": "http", "url": url });
    for (key, value) in extra.as_object().unwrap() {
        entry[key] = value.clone();
    }
    one_server(entry, settings)
}

/// MCP by rmcp's own server, which can be made to forget its sessions.
struct Forgetful {
    double: Double,
    service: Arc<Mutex<Service>>,
}

impl Forgetful {
    fn new() -> Forgetful {
        let double = Double::default();
        Forgetful { service: Arc::new(Mutex::new(service(&double))), double }
    }

    fn router(&self) -> Router {
        let shared = self.service.clone();
        Router::new().fallback(move |request: Request| {
            let service = shared.lock().unwrap().clone();
            async move { service.handle(request).await.map(Body::new) }
        })
    }

    fn forget(&self) {
        *self.service.lock().unwrap() = service(&self.double);
    }
}

fn service(double: &Double) -> Service {
    let double = double.clone();
    let config = StreamableHttpServerConfig::default();
    StreamableHttpService::new(move || Ok(double.clone()), Arc::default(), config)
}

#[tokio::test]
async fn both_eras_are_spoken_over_http() {
    for (protocol, era) in [("auto", Era::Modern), ("modern", Era::Modern), ("legacy", Era::Legacy)]
    {
        let web = Web::serve(Forgetful::new().router()).await;
        let eras = Arc::new(Eras::default());
        let settings = Settings { eras: Some(eras.clone()), ..settings() };
        let servers = servers(&web.url(), json!({ "protocol": protocol }), settings);
        let result = succeeded(servers.call(call("fake.echo", json!({ "a": 1 })), silent()).await);
        assert_eq!(result["key"], "exec_1/step", "{protocol}");
        assert_eq!(eras.all()[0].1, era, "{protocol}");
        servers.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_over_http_is_cancelled_at_the_tool_when_its_time_is_over() {
    for protocol in ["modern", "legacy"] {
        let forgetful = Forgetful::new();
        let web = Web::serve(forgetful.router()).await;
        let servers = web.servers(json!({ "protocol": protocol }));
        let mut slow = call("fake.slow", json!({}));
        slow.timeout = Duration::from_millis(500);
        let (failure, repeatable) = uncertain(servers.call(slow, silent()).await);
        assert_eq!((failure.code.as_str(), repeatable), ("timeout", false), "{protocol}");
        let heard = || async { forgetful.double.notes() == ["slow was cancelled"] };
        until(protocol, heard).await;
        servers.shutdown().await;
    }
}

#[tokio::test]
async fn a_session_that_was_forgotten_is_begun_again() {
    let forgetful = Forgetful::new();
    let web = Web::serve(forgetful.router()).await;
    let servers = web.servers(json!({ "protocol": "legacy" }));
    succeeded(servers.call(call("fake.echo", json!({})), silent()).await);
    forgetful.forget();
    succeeded(servers.call(call("fake.echo", json!({})), silent()).await);
    servers.shutdown().await;
}

/// MCP 2025-11-25 by hand: counts its sessions, and can be made to speak of them.
#[derive(Clone, Default)]
struct Talkative(Arc<Talk>);

#[derive(Default)]
struct Talk {
    sessions: AtomicUsize,
    waiting: AtomicUsize,
    go_on: Notify,
}

impl Talkative {
    fn router(&self) -> Router {
        Router::new().route("/mcp", post(talk)).with_state(self.clone())
    }
}

async fn talk(State(Talkative(talk)): State<Talkative>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let json = |body: Value| {
        ([("content-type", "application/json"), ("mcp-session-id", "one")], body.to_string())
    };
    let answer = |key: &str, value: Value| {
        json(json!({ "jsonrpc": "2.0", "id": request["id"], key: value })).into_response()
    };
    match request["method"].as_str().unwrap() {
        "initialize" => {
            talk.sessions.fetch_add(1, Ordering::SeqCst);
            answer(
                "result",
                json!({
                    "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "talkative", "version": "1" },
                }),
            )
        }
        "tools/list" => {
            let tools = ["wait", "say", "gone"]
                .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
            answer("result", json!({ "tools": tools }))
        }
        "tools/call" => match request["params"]["name"].as_str().unwrap() {
            "wait" => {
                talk.waiting.fetch_add(1, Ordering::SeqCst);
                talk.go_on.notified().await;
                answer("result", json!({ "content": [{ "type": "text", "text": "done" }] }))
            }
            "gone" if talk.sessions.load(Ordering::SeqCst) < 2 => {
                axum::http::StatusCode::NOT_FOUND.into_response()
            }
            "gone" => answer("result", json!({ "content": [{ "type": "text", "text": "here" }] })),
            _ => {
                let text = request["params"]["arguments"]["text"].clone();
                answer("error", json!({ "code": -32_000, "message": text }))
            }
        },
        _ => axum::http::StatusCode::ACCEPTED.into_response(),
    }
}

#[tokio::test]
async fn a_forgotten_session_is_begun_again_without_harm_to_the_calls_that_are_out() {
    let talkative = Talkative::default();
    let web = Web::serve(talkative.router()).await;
    let servers = web.servers(json!({ "protocol": "legacy" }));
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(call("fake.wait", json!({})), silent()).await }
    });
    let waiting = || async { talkative.0.waiting.load(Ordering::SeqCst) == 1 };
    until("a call is out", waiting).await;
    let say =
        async |text: &str| servers.call(call("fake.say", json!({ "text": text })), silent()).await;
    // A tool may speak of sessions of its own.
    let own = uncertain(say("the payment session broke off").await).0;
    assert_eq!(own.code, "tool_error");
    assert_eq!(talkative.0.sessions.load(Ordering::SeqCst), 1);
    let forgotten = failure(say("Bad Request: No valid session ID provided").await);
    assert_eq!((forgotten.code.as_str(), forgotten.retryable), ("unavailable", Some(true)));
    uncertain(say("no").await);
    assert_eq!(talkative.0.sessions.load(Ordering::SeqCst), 2);
    talkative.0.go_on.notify_one();
    assert_eq!(succeeded(out.await.unwrap()), json!("done"));
    servers.shutdown().await;
}

#[tokio::test]
async fn a_call_to_a_forgotten_session_is_sent_again_only_if_it_still_may() {
    let talkative = Talkative::default();
    let web = Web::serve(talkative.router()).await;
    let servers = web.servers(json!({ "protocol": "legacy" }));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut gone = call("fake.gone", json!({}));
    gone.may_send = Some(Arc::new({
        let asked = asked.clone();
        move || Box::pin(std::future::ready(asked.fetch_add(1, Ordering::SeqCst) == 0))
    }));
    assert_eq!(failure(servers.call(gone, silent()).await).code, "lease_lost");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let here = succeeded(servers.call(call("fake.gone", json!({})), silent()).await);
    assert_eq!(here, json!("here"));
    assert_eq!(talkative.0.sessions.load(Ordering::SeqCst), 2);
    servers.shutdown().await;
}

/// MCP 2025-11-25 by hand: says that it tells of changed tools, whether it can or not.
#[derive(Clone)]
struct Promising {
    has_sessions: bool,
    has_stream: bool,
    lists: Arc<AtomicUsize>,
}

impl Promising {
    fn router(&self) -> Router {
        let router = Router::new().route("/mcp", post(promise));
        let stream = || async {
            let silence = futures::stream::pending::<io::Result<String>>();
            ([("content-type", "text/event-stream")], Body::from_stream(silence))
        };
        let router = if self.has_stream { router.route("/mcp", get(stream)) } else { router };
        router.with_state(self.clone())
    }
}

async fn promise(State(promising): State<Promising>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let result = match request["method"].as_str().unwrap() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": { "listChanged": true } },
            "serverInfo": { "name": "promising", "version": "1" },
        }),
        "tools/list" => {
            promising.lists.fetch_add(1, Ordering::SeqCst);
            json!({ "tools": [] })
        }
        _ => return axum::http::StatusCode::ACCEPTED.into_response(),
    };
    let body = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
    let mut response = ([("content-type", "application/json")], body).into_response();
    if promising.has_sessions {
        response.headers_mut().insert("mcp-session-id", "one".parse().unwrap());
    }
    response
}

#[tokio::test]
async fn a_list_is_believed_only_as_long_as_a_change_of_it_could_be_heard_of() {
    let ttl = Duration::from_millis(50);
    for (has_sessions, has_stream) in [(true, true), (true, false), (false, true)] {
        let promising = Promising { has_sessions, has_stream, lists: Arc::default() };
        let web = Web::serve(promising.router()).await;
        let settings = Settings { untold_ttl: ttl, ..settings() };
        let servers = servers(&web.url(), json!({ "protocol": "legacy" }), settings);
        let is_asked_again = async || {
            servers.tools("fake").await.unwrap();
            let lists = promising.lists.load(Ordering::SeqCst);
            tokio::time::sleep(ttl * 2).await;
            servers.tools("fake").await.unwrap();
            lists < promising.lists.load(Ordering::SeqCst)
        };
        let hears = has_sessions && has_stream;
        // The stream may come up after the first list.
        until(&format!("{has_sessions} {has_stream}"), async || is_asked_again().await != hears)
            .await;
        assert_eq!(is_asked_again().await, !hears, "{has_sessions} {has_stream}");
        servers.shutdown().await;
    }
}

#[tokio::test]
async fn a_redirect_is_followed_only_on_the_same_server() {
    let talkative = Talkative::default();
    let web = Web::serve(talkative.router()).await;
    let away = web.url();
    let from = |to: String| async move { Redirect::temporary(&to) };
    let here = Router::new().route("/mcp", post(talk)).with_state(talkative.clone());
    let other = Router::new()
        .route("/here", post(move || from("/mcp".to_owned())))
        .route("/away", post(move || from(away)))
        .merge(here);
    let other = Web::serve(other).await;
    let protocol = || json!({ "protocol": "legacy" });
    let servers =
        |path: &str| servers(&format!("http://{}/{path}", other.address), protocol(), settings());
    assert_eq!(servers("here").tools("fake").await.unwrap().len(), 3);
    assert_eq!(talkative.0.sessions.load(Ordering::SeqCst), 1);
    servers("away").tools("fake").await.unwrap_err();
    assert_eq!(talkative.0.sessions.load(Ordering::SeqCst), 1);
}

/// Takes whoever comes, and says nothing after this beginning; counts those who are there.
async fn silence(beginning: &'static str, there: Arc<AtomicUsize>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let there = there.clone();
            there.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(beginning.as_bytes()).await;
                // Until the other side has gone.
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
                there.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn nothing_is_left_of_the_handshakes_with_a_silent_server() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    for (protocol, beginning) in
        [("auto", ""), ("modern", ""), ("legacy", ""), ("auto", stream), ("legacy", stream)]
    {
        let there = Arc::new(AtomicUsize::new(0));
        let (address, task) = silence(beginning, there.clone()).await;
        let settings = Settings { connect_timeout: Duration::from_millis(400), ..settings() };
        let extra = json!({ "protocol": protocol });
        let servers = servers(&format!("http://{address}/mcp"), extra, settings);
        let failure = failure(servers.call(call("fake.echo", json!({})), silent()).await);
        assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", Some(true)));
        assert!(failure.message.contains("handshake in time"), "{}", failure.message);
        until(protocol, || async { there.load(Ordering::SeqCst) == 0 }).await;
        servers.shutdown().await;
        task.abort();
    }
}

#[tokio::test]
async fn a_server_that_is_silent_at_the_probe_is_found_out_over_http() {
    let router = Router::new().route(
        "/mcp",
        post(|state, body: String| async move {
            if body.contains("server/discover") {
                std::future::pending::<()>().await;
            }
            talk(state, body).await
        }),
    );
    let web = Web::serve(router.with_state(Talkative::default())).await;
    let eras = Arc::new(Eras::default());
    let connect_timeout = Duration::from_secs(4);
    let settings = Settings { eras: Some(eras.clone()), connect_timeout, ..settings() };
    let servers = servers(&web.url(), json!({}), settings);
    servers.tools("fake").await.unwrap();
    assert!(eras.all().is_empty(), "it may have been slow only this time");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_server_that_answers_the_probe_too_late_over_http_is_understood_all_the_same() {
    let slow = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route(
        "/mcp",
        post(move |headers, body: String| async move {
            if body.contains("server/discover") && slow.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
            let request: Value = serde_json::from_str(&body).unwrap();
            if request["method"] != "initialize" {
                return misbehave(headers, body).await;
            }
            let error = json!({ "code": -32_601, "message": "initialize is gone" });
            axum::Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
                .into_response()
        }),
    );
    let web = Web::serve(router).await;
    let eras = Arc::new(Eras::default());
    let connect_timeout = Duration::from_secs(4);
    let settings = Settings { eras: Some(eras.clone()), connect_timeout, ..settings() };
    let servers = servers(&web.url(), json!({}), settings);
    servers.tools("fake").await.unwrap();
    assert!(eras.all().is_empty());
    servers.shutdown().await;
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_until_somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let servers = servers(&format!("http://{address}/mcp"), json!({}), settings());
    let refused = failure(servers.call(call("fake.echo", json!({})), silent()).await);
    assert_eq!((refused.code.as_str(), refused.retryable), ("unavailable", Some(true)));
    assert!(refused.message.contains("nobody answers at its address"), "{}", refused.message);
    let listener = TcpListener::bind(address).await.unwrap();
    let web = Web::serve_on(listener, Forgetful::new().router());
    until("it is reached", || async { servers.tools("fake").await.is_ok() }).await;
    drop(web);
    until("it is gone again", || async {
        match servers.call(call("fake.echo", json!({})), silent()).await {
            windlass::tool_servers::Outcome::Failed(failure) => failure.code == "unavailable",
            _ => false,
        }
    })
    .await;
}

/// MCP 2026-07-28 by hand: one tool for each way to fail.
fn misbehaving() -> Router {
    Router::new().route("/mcp", post(misbehave))
}

async fn misbehave(headers: HeaderMap, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let json = |body: String| ([("content-type", "application/json")], body).into_response();
    let reply = |mut result: Value| {
        result["resultType"] = json!("complete");
        json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string())
    };
    match request["method"].as_str().unwrap() {
        "server/discover" => reply(json!({
            "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
            "ttlMs": 0, "cacheScope": "private",
        })),
        "tools/list" => {
            let names = [
                "401", "403", "408", "429", "499", "503", "busy", "502", "torn", "big", "bigger",
                "token",
            ];
            let mut tools = names
                .map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }))
                .to_vec();
            let mut read = tools[names.len() - 2].clone();
            read["name"] = json!("bigger_read");
            read["annotations"] = json!({ "readOnlyHint": true });
            tools.push(read);
            reply(json!({ "tools": tools, "ttlMs": 0, "cacheScope": "private" }))
        }
        _ => match request["params"]["name"].as_str().unwrap() {
            "torn" => {
                let torn = futures::stream::iter([Ok("{\"json"), Err(io::Error::other("torn"))]);
                ([("content-type", "application/json")], Body::from_stream(torn)).into_response()
            }
            name @ ("big" | "bigger" | "bigger_read") => {
                let size = if name == "big" { 5 } else { 33 };
                let text = "x".repeat(size * 1024 * 1024);
                reply(json!({ "content": [{ "type": "text", "text": text }] }))
            }
            "token" => {
                let token = headers.get("authorization").map(|value| value.to_str().unwrap());
                reply(json!({ "content": [], "structuredContent": { "token": token } }))
            }
            "busy" => axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
            status => {
                let status = axum::http::StatusCode::from_bytes(status.as_bytes()).unwrap();
                let mut response = status.into_response();
                if [429, 503].contains(&status.as_u16()) {
                    response.headers_mut().insert("retry-after", "7".parse().unwrap());
                }
                response
            }
        },
    }
}

#[tokio::test]
async fn a_status_tells_whether_a_call_happened() {
    let web = Web::serve(misbehaving()).await;
    let servers = web.servers(json!({}));
    let failed = async |name: &str| {
        failure(servers.call(call(&format!("fake.{name}"), json!({})), silent()).await)
    };
    for status in ["401", "403"] {
        let failure = failed(status).await;
        assert_eq!((failure.code.as_str(), failure.retryable), ("unauthenticated", Some(false)));
        assert!(failure.message.contains("headers.Authorization"), "{}", failure.message);
    }
    for status in ["429", "503"] {
        let failure = failed(status).await;
        assert_eq!((failure.code.as_str(), failure.retryable), ("rate_limited", Some(true)));
        assert_eq!(failure.retry_after_ms, Some(7_000));
    }
    for name in ["408", "499", "502", "busy", "torn"] {
        let outcome = servers.call(call(&format!("fake.{name}"), json!({})), silent()).await;
        let (failure, repeatable) = uncertain(outcome);
        assert_eq!((failure.code.as_str(), repeatable), ("connection_lost", false), "{name}");
    }
    servers.shutdown().await;
}

#[tokio::test]
async fn large_results_come_through_over_http_and_larger_ones_do_not() {
    let web = Web::serve(misbehaving()).await;
    let servers = web.servers(json!({}));
    let big = succeeded(servers.call(call("fake.big", json!({})), silent()).await);
    assert_eq!(big.as_str().unwrap().len(), 5 * 1024 * 1024);
    let (bigger, repeatable) =
        uncertain(servers.call(call("fake.bigger", json!({})), silent()).await);
    assert_eq!((bigger.code.as_str(), repeatable), ("result_too_large", false));
    let read = failure(servers.call(call("fake.bigger_read", json!({})), silent()).await);
    assert_eq!((read.code.as_str(), read.retryable), ("result_too_large", Some(false)));
    servers.shutdown().await;
}

#[tokio::test]
async fn headers_are_sent_with_their_variables_filled_in() {
    let web = Web::serve(misbehaving()).await;
    let mut settings = settings();
    settings.environment.insert("TOKEN".to_owned(), "t0ken".to_owned());
    let headers = json!({ "headers": { "Authorization": "Bearer ${TOKEN}" } });
    let servers = servers(&web.url(), headers, settings);
    let result = succeeded(servers.call(call("fake.token", json!({})), silent()).await);
    assert_eq!(result["token"], "Bearer t0ken");
    servers.shutdown().await;
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_says_what_to_set() {
    let router = Router::new().fallback(|| async { axum::http::StatusCode::UNAUTHORIZED });
    let web = Web::serve(router).await;
    let servers = web.servers(json!({}));
    let failure = failure(servers.call(call("fake.echo", json!({})), silent()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("unauthenticated", Some(false)));
    assert!(failure.message.contains("headers.Authorization"), "{}", failure.message);
    servers.shutdown().await;
}

/// An AFU-9 server; keeps what it was asked.
#[derive(Clone, Default)]
struct Afu9(Arc<Mutex<Vec<Value>>>);

impl Afu9 {
    fn router(&self) -> Router {
        Router::new().route("/", post(afu9)).with_state(self.clone())
    }

    fn calls(&self) -> Vec<Value> {
        let asked = self.0.lock().unwrap();
        asked.iter().filter(|request| request["method"] == "tools/call").cloned().collect()
    }
}

async fn afu9(
    State(afu9): State<Afu9>,
    axum::Json(request): axum::Json<Value>,
) -> axum::Json<Value> {
    afu9.0.lock().unwrap().push(request.clone());
    let id = &request["id"];
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
    let error = |code: i64, message: &str| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    axum::Json(match request["method"].as_str().unwrap() {
        "tools/list" => result(json!({ "tools": [
            { "name": "logs.search", "description": "Searches logs.", "inputSchema": {
                "type": "object", "properties": { "limit": { "type": "integer" } } } },
            { "name": "slow", "description": "Slow." },
        ]})),
        "tools/call" => match request["params"]["tool"].as_str() {
            Some("logs.search") if request["params"]["arguments"]["limit"] == 0 => {
                error(-32_000, "ResourceNotFoundException: no such log group")
            }
            Some("logs.search") => result(json!({ "content": [
                { "type": "text", "text": "{\"events\":[],\"searchedLogStreams\":1}" },
            ]})),
            Some("slow") => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                result(json!({}))
            }
            _ => error(-32_601, "Unknown tool"),
        },
        method => error(-32_601, &format!("Unknown method: {method}")),
    })
}

#[tokio::test]
async fn an_afu9_server_is_called_in_its_own_way() {
    for protocol in ["afu9", "auto"] {
        let double = Afu9::default();
        let web = Web::serve(double.router()).await;
        let eras = Arc::new(Eras::default());
        let settings = Settings { eras: Some(eras.clone()), ..settings() };
        let url = format!("http://{}/", web.address);
        let servers = servers(&url, json!({ "protocol": protocol }), settings);
        let search = call("fake.logs.search", json!({ "limit": 5 }));
        let result = succeeded(servers.call(search, silent()).await);
        assert_eq!(result, json!({ "events": [], "searchedLogStreams": 1 }), "{protocol}");
        let calls = double.calls();
        assert_eq!(calls[0]["params"]["tool"], "logs.search");
        assert_eq!(calls[0]["params"]["arguments"], json!({ "limit": 5 }));
        assert_eq!(eras.all()[0].1, Era::Afu9, "{protocol}");

        let wrong = servers.call(call("fake.logs.search", json!({ "limit": "5" })), silent()).await;
        assert_eq!(failure(wrong).code, "invalid_argument");
        assert_eq!(double.calls().len(), 1);

        let refused = servers.call(call("fake.logs.search", json!({ "limit": 0 })), silent()).await;
        let refused = failure(refused);
        assert_eq!(refused.code, "tool_error");
        assert!(refused.message.contains("no such log group"), "{}", refused.message);

        let made = double.calls().len();
        let mut late = call("fake.logs.search", json!({ "limit": 5 }));
        late.may_send = Some(Arc::new(|| Box::pin(std::future::ready(false))));
        assert_eq!(failure(servers.call(late, silent()).await).code, "lease_lost");
        assert_eq!(double.calls().len(), made);

        let mut slow = call("fake.slow", json!({}));
        slow.timeout = Duration::from_millis(200);
        assert_eq!(uncertain(servers.call(slow, silent()).await).0.code, "timeout");
        servers.shutdown().await;
    }
}

#[tokio::test]
async fn an_address_that_is_no_tool_server_is_refused() {
    let router = Router::new().fallback(|| async { "<html>hello</html>" });
    let web = Web::serve(router).await;
    let servers = web.servers(json!({}));
    let error = servers.tools("fake").await.unwrap_err().to_string();
    assert!(error.starts_with("tool server \"fake\" cannot be reached: "), "{error}");
}
