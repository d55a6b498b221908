//! JSON-RPC over streamable HTTP: a POST each, answered by JSON or by a stream of events.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
};

use reqwest::{RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::AbortHandle};

use super::{Incoming, LEGACY, MODERN};

pub(super) struct Wire {
    client: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
    /// The `Mcp-Session-Id` that the server gave us, if it did.
    session: Arc<OnceLock<String>>,
    sender: Sender<Incoming>,
    exchanges: HashMap<u64, AbortHandle>,
    // Taken when dropped.
    runtime: Option<Runtime>,
}

impl Wire {
    pub(super) fn new(url: &str) -> (Wire, Receiver<Incoming>) {
        let (sender, incoming) = channel();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let wire = Wire {
            client: super::super::http::client(),
            url: url.to_owned(),
            headers: Vec::new(),
            session: Arc::default(),
            sender,
            exchanges: HashMap::new(),
            runtime: Some(runtime.worker_threads(1).enable_all().build().unwrap()),
        };
        (wire, incoming)
    }

    pub(super) fn add_header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn go_on(&mut self, session: &str) {
        _ = self.session.set(session.to_owned());
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.session.get().map(String::as_str)
    }

    pub(super) fn send(&mut self, message: Value, modern: bool) {
        let id = message["id"].as_u64().filter(|_| message.get("method").is_some());
        let mut request = self.with_headers(self.client.post(&self.url), &message, modern);
        request = request.body(message.to_string());
        self.exchange(id, request);
    }

    /// Closes the stream on which the answer would come.
    pub(super) fn hang_up(&mut self, id: u64) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            exchange.abort();
        }
    }

    fn with_headers(
        &self,
        mut request: RequestBuilder,
        message: &Value,
        modern: bool,
    ) -> RequestBuilder {
        request = request
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json");
        for (name, value) in self.protocol_headers(message, modern) {
            request = request.header(name, value);
        }
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    fn protocol_headers(&self, message: &Value, modern: bool) -> Vec<(&'static str, String)> {
        let method = message["method"].as_str().unwrap_or_default();
        if !modern && method == "initialize" {
            return Vec::new();
        }
        let version = if modern { MODERN } else { LEGACY };
        let mut headers = vec![("MCP-Protocol-Version", version.to_owned())];
        headers.extend(self.session.get().map(|session| ("Mcp-Session-Id", session.clone())));
        if modern {
            headers.push(("Mcp-Method", method.to_owned()));
            let params = &message["params"];
            let name = params["name"].as_str().or(params["uri"].as_str());
            headers.extend(name.map(|name| ("Mcp-Name", name.to_owned())));
        }
        headers
    }

    fn exchange(&mut self, id: Option<u64>, request: RequestBuilder) {
        let (sender, session) = (self.sender.clone(), self.session.clone());
        let runtime = self.runtime.as_ref().expect("taken only when dropped");
        let task = runtime.spawn(async move {
            match request.send().await {
                Ok(response) => receive(id, response, &session, &sender).await,
                Err(error) => _ = sender.send(Incoming::Broken(with_causes(&error))),
            }
        });
        if let Some(id) = id {
            self.exchanges.insert(id, task.abort_handle());
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The blocking way is forbidden inside an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn receive(
    id: Option<u64>,
    mut response: Response,
    session: &OnceLock<String>,
    sender: &Sender<Incoming>,
) {
    if let Some(given) = response.headers().get("mcp-session-id") {
        _ = session.set(given.to_str().unwrap().to_owned());
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if response.status().is_success()
        && kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
    {
        receive_events(&mut response, sender).await;
    } else {
        receive_whole(id, response, sender).await;
    }
}

async fn receive_events(response: &mut Response, sender: &Sender<Incoming>) {
    let mut events = Events::default();
    // A stream that breaks is noticed by whoever waits for an answer.
    while let Ok(Some(chunk)) = response.chunk().await {
        for data in events.feed(&chunk) {
            let incoming = match serde_json::from_str(&data) {
                Ok(message) => Incoming::Message(message),
                Err(_) => Incoming::Broken(format!("an event is no message: {data:?}")),
            };
            _ = sender.send(incoming);
        }
    }
}

async fn receive_whole(id: Option<u64>, response: Response, sender: &Sender<Incoming>) {
    let (status, headers) = (response.status(), header_map(&response));
    let body = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<Value>(&body).ok();
    let message = message.filter(|message| message["jsonrpc"] == "2.0" && message["id"].is_u64());
    match message {
        Some(message) => _ = sender.send(Incoming::Message(message)),
        None if status == StatusCode::ACCEPTED && id.is_none() => {
            _ = sender.send(Incoming::Accepted);
        }
        None => {
            let refusal =
                json!({ "http_status": status.as_u16(), "headers": headers, "body": body });
            _ = sender.send(Incoming::Refused(id, refusal));
        }
    }
}

fn header_map(response: &Response) -> HashMap<String, String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = response.headers().iter();
    headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

/// Cuts a stream of bytes into the data of its events.
#[derive(Default)]
pub(in super::super) struct Events {
    pending: Vec<u8>,
    data: Vec<String>,
}

impl Events {
    /// The data of the events that are complete now. Those without data (keep-alives, retry hints) say nothing.
    pub(in super::super) fn feed(&mut self, chunk: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(chunk);
        let mut complete = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            complete.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        complete
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if let Some(data) = line.strip_prefix("data:") {
            self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
            return None;
        }
        if !line.is_empty() || self.data.is_empty() {
            return None;
        }
        let data = std::mem::take(&mut self.data).join("\n");
        (!data.is_empty()).then_some(data)
    }
}
