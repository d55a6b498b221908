//! The harness keeps its promises: what the other tests lean on is tried here first.

use std::{
    panic::catch_unwind,
    process::{Command, Stdio},
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};

use crate::harness::{Client, Cluster, Project, block_on, database, eventually};

const MOMENT: Duration = Duration::from_millis(200);

async fn query(database: &str, sql: &'static str) -> Option<i32> {
    let mut connection = PgConnection::connect(database).await.unwrap();
    let row = sqlx::query(sql).fetch_optional(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    row.and_then(|row| row.try_get(0).ok())
}

#[test]
fn each_test_has_a_database_of_its_own() {
    let (one, other) = (database(), database());
    assert_ne!(one, other);
    let exists = "SELECT 1 FROM pg_tables WHERE tablename = 'mine'";
    block_on(query(&one, "CREATE TABLE mine (id INT)"));
    assert_eq!(block_on(query(&one, exists)), Some(1));
    assert_eq!(block_on(query(&other, exists)), None);
}

#[tokio::test]
async fn a_database_is_to_be_had_inside_an_async_test() {
    assert_eq!(query(&database(), "SELECT 1").await, Some(1));
}

#[test]
fn a_killed_cluster_keeps_what_was_committed() {
    let cluster = Cluster::start();
    let database = cluster.database();
    block_on(query(&database, "CREATE TABLE kept AS SELECT 7 AS seven"));
    cluster.kill();
    assert!(block_on(PgConnection::connect(&database)).is_err());
    cluster.start_again();
    assert_eq!(block_on(query(&database, "SELECT seven FROM kept")), Some(7));
    cluster.stop();
    assert!(block_on(PgConnection::connect(&database)).is_err());
}

#[test]
fn a_cluster_leaves_nothing_behind() {
    let cluster = Cluster::start();
    let folder = cluster.folder().to_owned();
    assert!(folder.join("data").exists());
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn waiting_in_vain_says_for_what() {
    let waited = catch_unwind(|| eventually(MOMENT, "a miracle", || None::<()>));
    let said = *waited.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(said, "waited 200ms in vain for a miracle");
}

#[test]
fn a_command_sees_its_project_and_not_the_developers_environment() {
    let project = Project::new().with_env("WINDLASS_WORKSPACE", "mine");
    let mut command = Command::new("env");
    command.env("GITHUB_TOKEN", "secret");
    project.isolate(&mut command);
    let seen = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(seen.contains("WINDLASS_WORKSPACE=mine\n"), "{seen}");
    assert!(seen.contains(&format!("WINDLASS_DATA_DIR={}\n", project.data_dir().display())));
    assert!(seen.contains(&format!("HOME={}", project.path().parent().unwrap().display())));
    assert!(seen.contains("PATH="));
    assert!(!seen.contains("GITHUB_TOKEN"), "{seen}");
}

#[test]
fn a_workers_process_ends_with_its_project() {
    let project = Project::new();
    std::fs::create_dir_all(project.data_dir()).unwrap();
    // Its command line says "windlass", as a worker's does.
    let mut worker = Command::new("sh");
    worker.args(["-c", "read _ # windlass"]).stdin(Stdio::piped());
    let mut worker = worker.spawn().unwrap();
    let pid = worker.id().to_string();
    std::fs::write(project.data_dir().join("worker-a1.pid"), &pid).unwrap();
    assert_eq!(project.workers(), [worker.id()]);
    drop(project);
    let ended = eventually(MOMENT * 25, "the worker's end", || worker.try_wait().unwrap());
    assert!(!ended.success());
}

/// Answers what it is asked, and first says that its tools changed.
const SHELL_SERVER: &str = r#"
while read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    [ -n "$id" ] || continue
    case $line in
        *silence*) ;;
        *noise*) echo 'hello, world' ;;
        *twice*)
            echo '{"jsonrpc":"2.0","id":'$id',"result":{}}'
            echo '{"jsonrpc":"2.0","id":'$id',"result":{}}' ;;
        *torn*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[{"type":"text","text":"1"}],"structuredContent":2}}' ;;
        *unknown*) echo '{"jsonrpc":"2.0","id":'$id',"error":{"code":-32601,"message":"no"}}' ;;
        *)
            echo '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"n":1}}'
            echo '{"jsonrpc":"2.0","id":'$id',"result":{"content":[{"type":"text","text":"{\"id\":'$id'}"}],"structuredContent":{"id":'$id'}}}' ;;
    esac
done
echo bye >&2
"#;

fn shell_client() -> Client {
    Client::stdio(Command::new("sh").args(["-c", SHELL_SERVER])).with_deadline(MOMENT * 25)
}

#[test]
fn a_stdio_client_gets_answers_errors_and_notifications() {
    let mut client = shell_client();
    client.initialize();
    assert_eq!(client.call_ok("workflow.run", json!({})), json!({ "id": 2 }));
    assert_eq!(client.notification("notifications/tools/list_changed"), json!({ "n": 1 }));
    assert_eq!(client.request("unknown", json!({})).unwrap_err()["code"], -32601);
    let (first, second) = (client.begin("a", json!({})), client.begin("b", json!({})));
    assert_eq!(client.answer(second).unwrap()["structuredContent"]["id"], second);
    assert_eq!(client.answer(first).unwrap()["structuredContent"]["id"], first);
    assert!(client.close().success());
}

#[test]
fn a_stdio_client_does_not_wait_for_ever() {
    let mut client = shell_client().with_deadline(MOMENT);
    let said = panic_of(move || client.ask("silence", json!({})));
    assert!(said.starts_with("waited 200ms in vain for the answer to request 1"), "{said}");
}

#[test]
fn a_stdio_client_notices_noise_on_standard_output() {
    let mut client = shell_client();
    let said = panic_of(move || client.ask("noise", json!({})));
    assert!(said.contains(r#"standard output is for messages, not "hello, world""#), "{said}");
}

#[test]
fn a_client_notices_an_answer_that_nobody_waits_for() {
    let mut client = shell_client();
    client.ask("twice", json!({}));
    let said = panic_of(move || client.ask("tools/list", json!({})));
    assert!(said.starts_with("nobody waits for an answer to 1"), "{said}");
}

#[test]
fn a_client_notices_a_result_whose_text_says_something_else() {
    let mut client = shell_client();
    let said = panic_of(move || client.call_ok("torn", json!({})));
    assert!(said.contains("clients see the one or the other"), "{said}");
}

#[test]
fn a_client_is_silent_when_nothing_is_left_over() {
    let mut client = shell_client();
    client.begin("silence", json!({}));
    assert!(client.is_silent(MOMENT));
    let (first, second) = (client.begin("unknown", json!({})), client.begin("unknown", json!({})));
    client.answer(second).unwrap_err();
    assert!(!client.is_silent(MOMENT));
    client.answer(first).unwrap_err();
    assert!(client.close().success());
    assert!(client.is_silent(MOMENT * 25));
}

#[test]
fn a_stdio_client_notices_a_killed_server() {
    let mut client = shell_client();
    client.kill();
    let said = panic_of(move || client.ask("tools/list", json!({})));
    assert!(said.starts_with("the server closed the connection"), "{said}");
}

fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let run = std::panic::AssertUnwindSafe(run);
    *catch_unwind(run).err().expect("it should have panicked").downcast::<String>().unwrap()
}

/// Answers as MCP servers do: `initialize` with a session and JSON, calls with events, the rest with 401.
async fn http_server(
    headers: axum::http::HeaderMap,
    Json(asked): Json<Value>,
) -> axum::response::Response {
    let answer = |result| json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
    match asked["method"].as_str().unwrap() {
        "initialize" => ([("Mcp-Session-Id", "s1")], Json(answer(json!({})))).into_response(),
        "notifications/initialized" => StatusCode::ACCEPTED.into_response(),
        "tools/call" => {
            let seen: Vec<_> = ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"]
                .iter()
                .map(|name| headers.get(*name).map(|value| value.to_str().unwrap()))
                .collect();
            let progress =
                json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {} });
            let seen = json!({ "headers": seen, "params": asked["params"] });
            let text = json!([{ "type": "text", "text": seen.to_string() }]);
            let result = answer(json!({ "content": text, "structuredContent": seen }));
            let body = format!(": hello\r\n\r\ndata: {progress}\n\nid: 7\ndata: {result}\n\n");
            ([("Content-Type", "text/event-stream")], body).into_response()
        }
        _ => (StatusCode::UNAUTHORIZED, [("WWW-Authenticate", "Bearer")], "who are you?")
            .into_response(),
    }
}

async fn serve_http() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/mcp", post(http_server));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/mcp")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_keeps_its_session_and_reads_events() {
    let mut client = Client::http(&serve_http().await);
    client.initialize();
    let seen = client.call_ok("workflow.run", json!({ "workflow": "hello" }));
    assert_eq!(seen["headers"], json!(["s1", "2025-11-25", null, null]));
    assert_eq!(seen["params"]["arguments"], json!({ "workflow": "hello" }));
    assert_eq!(client.notifications().len(), 1);
    let refused = client.request("tools/list", json!({})).unwrap_err();
    assert_eq!((&refused["http_status"], &refused["body"]), (&json!(401), &json!("who are you?")));
    assert_eq!(refused["headers"]["www-authenticate"], "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_says_with_each_request_who_it_is() {
    let mut client = Client::http(&serve_http().await).modern();
    let seen = client.call_ok("workflow.run", json!({}));
    assert_eq!(seen["headers"], json!([null, "2026-07-28", "tools/call", "workflow.run"]));
    let meta = &seen["params"]["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "windlass-tests");
}
