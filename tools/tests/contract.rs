//! What every tool server owes its callers, whatever its tools do.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, ProgressNotificationParam,
    ProgressToken, RequestMetaObject,
};
use rmcp::service::{NotificationContext, PeerRequestOptions};
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use windlass_tools::contract::{
    ALIASES, Call, Forgetful, Host, POLLABLE, RetryClass, Running, Server, Service, Tool, ToolSpec,
};
use windlass_tools::demo;

use crate::harness::{Client, DEADLINE, request};

/// Tells when it is dropped.
struct Bell(watch::Sender<bool>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

type Rung = Arc<watch::Sender<bool>>;

fn server(name: &'static str, run: fn(Arc<Rung>, Call) -> Running, rung: Rung) -> Server<Rung> {
    let any = json!({ "type": "object" });
    let spec = ToolSpec {
        name,
        title: "Test",
        description: "A tool for this test.",
        input: any.clone(),
        output: any,
        destructive: false,
        open_world: false,
        retry_class: RetryClass::Unsafe,
        aliases: &[],
        ..ToolSpec::default()
    };
    Server::new("test", "", rung, vec![Tool { spec, run }])
}

#[tokio::test]
async fn a_tool_that_panics_answers_and_the_server_goes_on() {
    fn run(_: Arc<Rung>, call: Call) -> Running {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(call.arguments.contains_key("calm"), "a defect");
            Ok(json!({ "calm": true }))
        })
    }
    let client = Client::connect(server("nervous", run, Arc::default())).await;
    let error = client.error(request("nervous", json!({}))).await;
    assert_eq!((&error["code"], &error["retryable"]), (&json!("internal"), &json!(false)));
    assert_eq!(client.ok(request("nervous", json!({ "calm": 1 }))).await, json!({ "calm": true }));
}

#[tokio::test]
async fn what_the_worker_says_about_an_attempt_reaches_the_tool() {
    fn run(_: Arc<Rung>, call: Call) -> Running {
        Box::pin(async move {
            Ok(json!([call.idempotency_key, call.attempt, call.first_started_at, call.retry_safe]))
        })
    }
    let client = Client::connect(server("tell", run, Arc::default())).await;
    let before = crate::harness::now_ms();
    let answer =
        client.raw(request("tell", json!({})).attempt("k", 3)).await.unwrap().structured_content;
    let answer = answer.unwrap();
    let since = answer[2].as_u64().unwrap();
    assert!((before..=crate::harness::now_ms()).contains(&since), "{answer}");
    assert_eq!(answer, json!(["k", 3, since, false]));
    let answer = client.raw(request("tell", json!({}))).await.unwrap().structured_content;
    assert_eq!(answer, Some(json!([null, 1, null, false])));
}

#[tokio::test]
async fn a_call_that_is_cancelled_stops() {
    fn run(rung: Arc<Rung>, _: Call) -> Running {
        let bell = Bell((**rung).clone());
        Box::pin(async move {
            let _bell = bell;
            std::future::pending().await
        })
    }
    let rung: Rung = Arc::default();
    let mut stopped = rung.subscribe();
    let client = Client::connect(server("wait", run, Arc::clone(&rung))).await;
    let call = CallToolRequest::new(CallToolRequestParams::new("wait"));
    let options = PeerRequestOptions::with_timeout(Duration::from_millis(50));
    let handle = client
        .client
        .send_cancellable_request(ClientRequest::CallToolRequest(call), options)
        .await
        .unwrap();
    assert!(handle.await_response().await.is_err());
    let stopped = tokio::time::timeout(DEADLINE, stopped.wait_for(|rung| *rung)).await;
    assert!(*stopped.expect("the tool to be dropped in time").unwrap());
}

/// A client that keeps the progress it is told.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<ProgressNotificationParam>>>);

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        param: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.0.lock().unwrap().push(param);
    }
}

#[tokio::test]
async fn progress_goes_to_who_asked_for_it() {
    let listener = Listener::default();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let running = demo().serve(theirs).await.unwrap();
        _ = running.waiting().await;
    });
    let client = listener.clone().serve(ours).await.unwrap();
    let arguments = json!({ "ms": 700 }).as_object().cloned().unwrap();
    let mut params = CallToolRequestParams::new("sleep").with_arguments(arguments);
    params.meta = Some(RequestMetaObject::with_progress_token(ProgressToken(
        rmcp::model::NumberOrString::Number(7),
    )));
    let result = client.call_tool(params).await.unwrap();
    assert_eq!(result.structured_content, Some(json!({ "slept_ms": 700 })) as Option<Value>);
    let told = listener.0.lock().unwrap();
    assert!(2 <= told.len(), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].progress < pair[1].progress));
    assert!(told.iter().all(|param| param.total == Some(700.0)));
}

fn closed(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A tool that answers with what it was given.
fn repeat(spec: ToolSpec) -> Tool<()> {
    fn run(_: Arc<()>, call: Call) -> Running {
        Box::pin(async move { Ok(Value::Object(call.arguments)) })
    }
    let spec = ToolSpec { output: json!({ "type": "object" }), ..spec };
    Tool { spec, run }
}

#[tokio::test]
async fn a_tool_says_its_other_names_and_answers_to_them() {
    let comment = ToolSpec {
        name: "addIssueComment",
        input: closed(json!({ "number": { "type": "integer" }, "upsert_key": {}, "body": {} })),
        aliases: &[("body", &["text"])],
        names: &["comment"],
        ..ToolSpec::default()
    };
    let wait = ToolSpec {
        name: "wait",
        input: json!({ "type": "object" }),
        pollable: true,
        ..ToolSpec::default()
    };
    let server = Server::new("test", "", (), vec![repeat(comment), repeat(wait)]);
    let client = Client::connect(server).await;
    assert_eq!(client.tools.len(), 2);
    let meta = client.tool("addIssueComment").meta.as_ref().unwrap();
    let expected = json!({
        "names": ["comment", "createIssueComment"],
        "arguments": {
            "body": ["text"],
            "number": ["issue_number", "issueNumber", "pull_number", "pullNumber", "pr_number"],
            "upsert_key": ["upsertKey"],
        },
    });
    assert_eq!((&meta[ALIASES], meta.get(POLLABLE)), (&expected, None));
    let meta = client.tool("wait").meta.as_ref().unwrap();
    assert_eq!(meta[ALIASES], json!({ "names": [], "arguments": {} }));
    assert_eq!(meta[POLLABLE], true);
    for name in ["addIssueComment", "createIssueComment", "comment"] {
        let arguments = json!({ "issue_number": "7", "upsertKey": "k", "text": "t" });
        let answer = client.raw(request(name, arguments)).await.unwrap().structured_content;
        assert_eq!(answer, Some(json!({ "number": 7, "upsert_key": "k", "body": "t" })));
    }
    let unknown = client.raw(request("createComment", json!({}))).await.unwrap_err();
    assert!(unknown.to_string().contains("has no tool"), "{unknown}");
}

#[tokio::test]
async fn what_needs_a_host_is_offered_by_nobody_who_has_none() {
    let tools = || {
        let object = json!({ "type": "object" });
        let free = ToolSpec { name: "look", input: object.clone(), ..ToolSpec::default() };
        let bound = ToolSpec {
            name: "lock",
            input: object,
            needs: &[Service::Lock],
            ..ToolSpec::default()
        };
        vec![repeat(free), repeat(bound)]
    };
    let alone = Client::connect(Server::new("test", "Tests.", (), tools()).hosted(None)).await;
    let names = |client: &Client| -> Vec<String> {
        client.tools.iter().map(|tool| tool.name.to_string()).collect()
    };
    assert_eq!(names(&alone), ["look"]);
    let info = alone.client.peer_info().unwrap();
    let text = info.instructions.as_deref().unwrap();
    assert!(text.starts_with("Tests. ") && text.contains("lock"), "{text}");
    let error = alone.error(request("lock", json!({}))).await;
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("failed_precondition"), &json!(false))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("locks that outlive a process"), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("test.lock"), "{error}");

    let host: Arc<dyn Host> = Arc::new(Forgetful::default());
    let hosted =
        Client::connect(Server::new("test", "Tests.", (), tools()).hosted(Some(host))).await;
    assert_eq!(names(&hosted), ["lock", "look"]);
    assert_eq!(hosted.client.peer_info().unwrap().instructions.as_deref(), Some("Tests."));
}

#[tokio::test]
async fn a_long_text_is_cut_and_a_host_keeps_all_of_it_but_the_secrets() {
    let say = || {
        let input = json!({ "type": "object" });
        vec![repeat(ToolSpec { name: "say", input, max_bytes: 2000, ..ToolSpec::default() })]
    };
    let host = Arc::new(Forgetful::default());
    let text = format!("{}ghp_0123456789abcdefABCD", "a".repeat(5000));
    let server = || Server::new("test", "", (), say()).redacting(Vec::new());
    let hosted = Client::connect(server().hosted(Some(host.clone()))).await;
    let call = || request("say", json!({ "text": text })).attempt("exec_1/step#0~0", 1);
    let result = hosted.raw(call()).await.unwrap();
    let short = result.structured_content.unwrap();
    assert!(short.to_string().len() <= 2000, "{short}");
    let link = serde_json::to_value(&result.content[1]).unwrap();
    assert_eq!(link["type"], "resource_link");
    let uri = link["uri"].as_str().unwrap();
    assert!(short["text"].as_str().unwrap().contains(uri), "{short}");
    let id = uri.rsplit_once('/').unwrap().1;
    let (_, bytes) = host.artifact(id).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}[redacted]", "a".repeat(5000)));

    let alone = Client::connect(server()).await;
    let result = alone.raw(call()).await.unwrap();
    assert_eq!(result.content.len(), 1);
    assert!(result.structured_content.unwrap().to_string().len() <= 2000);
}
