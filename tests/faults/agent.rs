//! A client that takes broken connections as they come: it says what it was answered, or that it was not.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{http_client, signed, text_of};

/// How long it waits for an answer. What takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was told no.
    Refused(String),
    /// Nobody answered; it may have been done.
    Lost(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused(why) => write!(out, "it was refused: {why}"),
            Trouble::Lost(how) => write!(out, "nobody answered: {how}"),
        }
    }
}

/// Asks servers, over plain MCP of 2026-07-28: nothing is remembered between two requests.
pub(super) struct Agent {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Agent {
    pub(super) fn new() -> Agent {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Agent { runtime, client: http_client() }
    }

    /// Calls a tool of the server at this address.
    pub(super) fn call(
        &self,
        address: &str,
        tool: &str,
        arguments: &Value,
    ) -> Result<Value, Trouble> {
        let params = signed(json!({ "name": tool, "arguments": arguments }));
        let message =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = self
            .client
            .post(format!("{address}/mcp"))
            .timeout(PATIENCE)
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", "tools/call")
            .header("Mcp-Name", tool)
            .body(message.to_string());
        let body = self.runtime.block_on(async {
            let response = request.send().await?;
            response.text().await
        });
        let body = body.map_err(|error| Trouble::Lost(error.to_string()))?;
        let mut result = answer_in(&body).ok_or_else(|| Trouble::Lost(body.clone()))?;
        // One that was accepted may have failed by the time that the call is repeated.
        let is_execution = result["structuredContent"]["execution_id"].is_string();
        if result["isError"] == true && !is_execution {
            return Err(Trouble::Refused(text_of(&result)));
        }
        match result["structuredContent"].take() {
            Value::Null => Err(Trouble::Refused(body)),
            content => Ok(content),
        }
    }
}

/// The result in a body that is one message, or a stream of them.
fn answer_in(body: &str) -> Option<Value> {
    let messages = body.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
    let messages = messages.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let mut answers = messages.filter(|message| message["id"] == 1);
    answers.find_map(|mut message| Some(message.get_mut("result")?.take()))
}
