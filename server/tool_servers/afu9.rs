//! AFU-9 tool servers: plain JSON-RPC over `POST`, without a session.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rmcp::model::{ErrorCode, ErrorData, Tool};
use serde_json::{Value, json};

use super::{
    Failure, Outcome,
    answer::{self, Answer},
    failure::{self, Teller},
    http::{self, Trouble},
    mcp_call::Ask,
    pipe::{LONGEST_MESSAGE, TOO_LARGE, UNREADABLE},
};

/// A server that answers one `POST` at a time; the connections are pooled below.
pub(super) struct Afu9 {
    client: reqwest::Client,
    url: String,
    next_id: AtomicU64,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server says no.
    Rpc(ErrorData),
    /// The request did not go through.
    Trouble(Trouble),
}

impl Afu9 {
    /// Prepares requests to a server; sends none.
    ///
    /// # Errors
    /// A sentence that says which setting cannot be used.
    pub(super) fn new(url: &str, headers: &BTreeMap<String, String>) -> Result<Afu9, String> {
        http::use_our_tls();
        let headers = http::sendable(headers)?.into_iter().collect();
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(10))
            // Headers with secrets must not follow to another place.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("HTTP cannot be spoken: {error}"))?;
        Ok(Afu9 { client, url: url.to_owned(), next_id: AtomicU64::new(1) })
    }

    /// Every tool; also shows whether the server is one of these at all.
    ///
    /// # Errors
    /// When it refuses or cannot be reached.
    pub(super) async fn tools(&self) -> Result<Vec<Tool>, Refusal> {
        let mut result = self.ask("tools/list", json!({})).await?;
        match result.get_mut("tools").map(Value::take) {
            Some(Value::Array(tools)) => Ok(tools.into_iter().filter_map(tool).collect()),
            _ => Err(unreadable("there is no list of tools in its answer")),
        }
    }

    /// Calls a tool. Dropped, it closes the request, which is all the cancelling this protocol knows.
    pub(super) async fn call(&self, ask: &Ask<'_>) -> Outcome {
        let entry = ask.entry;
        let params =
            json!({ "tool": entry.wire_name, "arguments": ask.arguments, "_meta": ask.meta });
        match self.ask("tools/call", params).await {
            Ok(result) => match Answer::of_json(result) {
                Some(answer) => answer::outcome(ask.files.keep(answer).await, entry),
                None => failure::of_rpc_error(
                    &malformed("its result is no object"),
                    entry,
                    Teller::Tool,
                ),
            },
            Err(Refusal::Rpc(error)) => failure::of_rpc_error(&error, entry, Teller::Tool),
            Err(Refusal::Trouble(trouble)) => trouble.outcome(entry),
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value, Refusal> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let response =
            self.client.post(&self.url).json(&request).send().await.map_err(broke_off)?;
        let status = response.status();
        let retry_after = response.headers().get("retry-after").cloned();
        let body = body(response).await?;
        let answer = serde_json::from_slice::<Value>(&body).ok().filter(|answer| {
            answer.get("result").is_some() || answer.get("error").is_some_and(Value::is_object)
        });
        match answer {
            // A JSON-RPC answer says more than the status it came with.
            Some(answer) => result(answer),
            None if status.is_success() => Err(unreadable("its answer is not JSON-RPC")),
            None => {
                let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
                let now = crate::clock::now();
                Err(Refusal::Trouble(http::of_status(status.as_u16(), retry_after, now)))
            }
        }
    }
}

fn result(mut answer: Value) -> Result<Value, Refusal> {
    match answer.get("error") {
        Some(error) if error.is_object() => {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(-32_000);
            let code = ErrorCode(i32::try_from(code).unwrap_or(-32_000));
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason told");
            Err(Refusal::Rpc(ErrorData::new(code, message.to_owned(), None)))
        }
        _ => Ok(answer["result"].take()),
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broke_off)? {
        if LONGEST_MESSAGE < body.len() + chunk.len() {
            let text = format!("its answer is longer than {} MiB", LONGEST_MESSAGE / 1024 / 1024);
            return Err(Refusal::Rpc(ErrorData::new(TOO_LARGE, text, None)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broke_off(error: reqwest::Error) -> Refusal {
    Refusal::Trouble(http::of_client(&error))
}

fn unreadable(text: &'static str) -> Refusal {
    Refusal::Rpc(malformed(text))
}

fn malformed(text: &'static str) -> ErrorData {
    ErrorData::new(UNREADABLE, text, None)
}

/// These servers may leave out the schema, which MCP asks for.
fn tool(mut described: Value) -> Option<Tool> {
    let fields = described.as_object_mut()?;
    if !fields.get("inputSchema").is_some_and(Value::is_object) {
        fields.insert("inputSchema".to_owned(), json!({ "type": "object" }));
    }
    serde_json::from_value(described).ok()
}

impl Refusal {
    /// The refusal as a failure to connect.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Refusal::Rpc(error) => {
                Failure::unavailable(format!("it does not list its tools: {}", error.message))
            }
            Refusal::Trouble(trouble) => trouble.before_a_call(),
        }
    }
}
