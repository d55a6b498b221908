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
use windlass_tools::contract::{Call, RetryClass, Running, Server, Tool, ToolSpec};
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
    let answer =
        client.raw(request("tell", json!({})).attempt("k", 3)).await.unwrap().structured_content;
    assert_eq!(answer, Some(json!(["k", 3, 1_795_255_505_000_i64, false])));
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
