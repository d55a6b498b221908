//! A double of GitHub's own MCP server: some of its tools, with its names and arguments and the shape of its answers.
//!
//! `fake_official_github LEDGER` writes a line for each call to the ledger: `TOOL ARGUMENTS`. Speaks JSON-RPC by hand.

use std::{
    fs::OpenOptions,
    io::{BufRead, Write},
};

use serde_json::{Value, json};

fn main() {
    let ledger = std::env::args().nth(1).expect("the ledger is named");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = message.get("id") else { continue };
        let answer = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({ "result": {
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                "serverInfo": { "name": "github-mcp-server", "version": "1" },
            } }),
            "tools/list" => json!({ "result": { "tools": tools() } }),
            "tools/call" => json!({ "result": call(&ledger, &message["params"]) }),
            other => {
                json!({ "error": { "code": -32601, "message": format!("Method not found: {other}") } })
            }
        };
        let mut answer = answer;
        answer["jsonrpc"] = "2.0".into();
        answer["id"] = id.clone();
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}").and_then(|()| output.flush()).expect("somebody listens");
    }
}

/// It has no output schemas, and asks for owner and repo apart.
fn tools() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "number" });
    let tool = |name: &str, own: Value, required: &[&str]| {
        let mut properties = json!({ "owner": text, "repo": text });
        properties
            .as_object_mut()
            .expect("an object")
            .extend(own.as_object().cloned().unwrap_or_default());
        let required: Vec<_> = ["owner", "repo"].iter().chain(required).collect();
        json!({ "name": name, "description": name, "inputSchema": {
            "type": "object", "properties": properties, "required": required,
        } })
    };
    json!([
        tool(
            "issue_read",
            json!({ "method": text, "issue_number": number }),
            &["method", "issue_number"]
        ),
        tool("issue_write", json!({ "method": text, "title": text }), &["method"]),
        tool("create_branch", json!({ "branch": text, "from_branch": text }), &["branch"]),
        tool(
            "pull_request_read",
            json!({ "method": text, "pullNumber": number }),
            &["method", "pullNumber"]
        ),
        tool(
            "actions_run_trigger",
            json!({ "method": text, "workflow_id": text, "ref": text }),
            &["method"]
        ),
        tool("star_repository", json!({}), &[]),
    ])
}

fn call(ledger: &str, params: &Value) -> Value {
    let name = params["name"].as_str().unwrap_or_default();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(ledger)
        .expect("the ledger can be written");
    writeln!(file, "{name} {}", params["arguments"]).expect("the ledger can be written");
    let text = match name {
        "issue_read" => {
            json!({ "number": params["arguments"]["issue_number"], "title": "Greet people" })
                .to_string()
        }
        "issue_write" => {
            json!({ "id": "1", "url": "https://github.com/octo/hello/issues/42" }).to_string()
        }
        "create_branch" => {
            json!({ "ref": "refs/heads/fix/7", "object": { "sha": "abc" } }).to_string()
        }
        "pull_request_read" => "diff --git a/a b/a".to_owned(),
        _ => "Workflow run has been queued".to_owned(),
    };
    json!({ "content": [{ "type": "text", "text": text }] })
}
