//! Sessions of the older protocols go on at another server; what the first one asked its client does not.

use serde_json::{Value, json};

use super::{
    super::{LEASE, Scene, worker::SLOW},
    client,
};
use crate::harness::{Client, HttpServer, SOON, begin, block_on, post, settled};

on_both!(
    a_session_goes_on_at_another_server,
    a_session_belongs_to_whoever_began_it,
    an_answer_to_a_server_that_is_gone_is_refused_and_the_request_stays_open_to_others,
);

const ASKS: &str = r#"
name: asks
steps:
  - { name: approve, approval: { message: 'Deploy?' } }
"#;

fn taken_up(server: &HttpServer, session: &str) -> Client {
    server.client().in_session(session)
}

fn a_session_goes_on_at_another_server(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let (mut first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut at_first = client(&first);
    let session = at_first.session().unwrap().to_owned();
    let mut at_second = taken_up(&second, &session);
    let tools = at_second.ask("tools/list", json!({}));
    assert_eq!(tools, at_first.ask("tools/list", json!({})));
    let id = begin(&mut at_second, "slow", json!({ "file": scene.ledger("slow"), "ms": 1 }));
    assert_eq!(settled(&mut at_first, &id)["status"], "completed");
    first.process.kill();
    let told = settled(&mut at_second, &id);
    assert_eq!(told["output"], json!({ "counted": 2 }), "{told:#}");
    // What the client said of itself has moved along.
    let known = "SELECT COUNT(*) FROM executions WHERE client_name = 'windlass-tests'";
    assert_eq!(scene.number(known), 1);
    // And back again, at a server that never heard of it.
    let third = scene.project.serve_http();
    taken_up(&third, &session).ask("tools/list", json!({}));
    assert_eq!(scene.number("SELECT COUNT(*) FROM sessions"), 1);
}

fn a_session_belongs_to_whoever_began_it(scene: &Scene) {
    let serve = |token: &str| {
        let mut command = scene.project.command(&["serve", "--http", "127.0.0.1:0"]);
        HttpServer::start(command.env("WINDLASS_HTTP_TOKEN", token))
    };
    let (first, same, other) = (serve("open-sesame"), serve("open-sesame"), serve("another-word"));
    let shows = |client: Client, token: &str| {
        client.with_header("Authorization", &format!("Bearer {token}"))
    };
    let mut began = shows(first.client(), "open-sesame");
    began.initialize();
    let session = began.session().unwrap().to_owned();
    shows(taken_up(&same, &session), "open-sesame").ask("tools/list", json!({}));
    let refused =
        shows(taken_up(&other, &session), "another-word").request("tools/list", json!({}));
    assert_eq!(refused.unwrap_err()["http_status"], 404, "as if there were no such session");
    let secret = format!(
        "SELECT COUNT(*) FROM sessions WHERE id || principal || client LIKE '%{session}%' OR principal LIKE '%sesame%'"
    );
    assert_eq!(scene.number(Box::leak(secret.into_boxed_str())), 0, "nothing of use to a reader");
    // Its client ends it: nobody takes it up any more.
    let url = format!("{}/mcp", same.address);
    let status = block_on(async {
        let request = reqwest::Client::builder().no_proxy().build().unwrap().delete(&url);
        let request = request.header("Authorization", "Bearer open-sesame");
        request.header("Mcp-Session-Id", &session).send().await.unwrap().status().as_u16()
    });
    assert_eq!(status, 202);
    let third = serve("open-sesame");
    let gone = shows(taken_up(&third, &session), "open-sesame").request("tools/list", json!({}));
    assert_eq!(gone.unwrap_err()["http_status"], 404);
}

fn an_answer_to_a_server_that_is_gone_is_refused_and_the_request_stays_open_to_others(
    scene: &Scene,
) {
    scene.project.write("workflows/asks.yaml", ASKS);
    scene.project.write("windlass.toml", "[approvals]\nagents_may_answer = true\n");
    let arguments = ["serve", "--http", "127.0.0.1:0", "--conformance-fixtures"];
    let serve = || HttpServer::start(&mut scene.project.command(&arguments));
    let (mut first, second) = (serve(), serve());
    let (session, question) = asked(&first);
    let id = begin(&mut taken_up(&first, &session), "asks", json!({}));
    first.process.kill();
    let answer = json!({
        "jsonrpc": "2.0", "id": question, "result": { "action": "accept", "content": { "response": "yes" } },
    });
    let url = format!("{}/mcp", second.address);
    let headers = [
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("Mcp-Session-Id", session.as_str()),
    ];
    let refused = post(&url, &headers, &answer.to_string());
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("workflow.answer"), "{refused:?}");
    // What an execution waits for is a row: the handle leads to it from anywhere.
    let mut client = taken_up(&second, &session);
    let waiting = settled(&mut client, &id);
    let request = &waiting["requests"][0]["request_id"];
    client.call_ok("workflow.answer", json!({ "request_id": request, "decision": "approve" }));
    // Where the first one held the execution still, its lease has to run out.
    scene.ends_as("completed", LEASE);
}

/// Has a server ask its client something; the session, and the number of the question.
fn asked(server: &HttpServer) -> (String, Value) {
    let url = format!("{}/mcp", server.address);
    block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let send = |body: Value, session: Option<&str>| {
            let request = http.post(&url).header("Accept", "application/json, text/event-stream");
            let mut request = request.header("Content-Type", "application/json");
            if let Some(session) = session {
                request = request.header("Mcp-Session-Id", session);
                request = request.header("MCP-Protocol-Version", "2025-11-25");
            }
            request.timeout(SOON).body(body.to_string()).send()
        };
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "asked", "version": "1" },
        } });
        let answer = send(hello, None).await.unwrap();
        let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        send(ready, Some(&session)).await.unwrap();
        let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "test_elicitation", "arguments": { "message": "Really?" },
        } });
        let mut stream = send(call, Some(&session)).await.unwrap();
        let mut heard = String::new();
        while let Some(chunk) = stream.chunk().await.unwrap() {
            heard.push_str(&String::from_utf8_lossy(&chunk));
            let lines = heard.lines().filter_map(|line| line.strip_prefix("data:"));
            let mut messages = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(question) =
                messages.find(|message| message["method"] == "elicitation/create")
            {
                return (session, question["id"].clone());
            }
        }
        panic!("the server asked nothing: {heard}")
    })
}
