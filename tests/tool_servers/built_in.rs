//! Tool servers inside the process, and what only newer protocols can say.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock,
        CreateTaskResult, DetailedTask, GetTaskParams, GetTaskResult, InputRequest,
        InputRequiredResult, JsonObject, ListToolsResult, PaginatedRequestParams,
        ProgressNotificationParam, ServerCapabilities, ServerConfig as RmcpServerConfig,
        SubscriptionFilter, Task, TaskPayload, TaskStatus, Tool, ToolAnnotations,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use windlass::tool_servers::{BuiltIn, ServerConfig, Settings, ToolServers};
use windlass_tools::contract::{Forgetful, Host};

use super::harness::{Fake, call, failure, settings, silent, succeeded, tool, uncertain, until};

/// A server with tools that answer otherwise than by a result.
#[derive(Clone, Default)]
pub(super) struct Double(Arc<State>);

#[derive(Default)]
struct State {
    looks: AtomicUsize,
    notes: Mutex<Vec<String>>,
    grown: AtomicBool,
    changed: Notify,
}

impl Double {
    fn note(&self, text: String) {
        self.0.notes.lock().unwrap().push(text);
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.0.notes.lock().unwrap().clone()
    }

    fn grow(&self) {
        self.0.grown.store(true, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl ServerHandler for Double {
    fn get_info(&self) -> RmcpServerConfig {
        RmcpServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tool_list_changed()
                .enable_tasks()
                .build(),
        )
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut names =
            vec!["echo", "task", "long_task", "task_asks", "silent_task", "asks", "slow", "draw"];
        if self.0.grown.load(Ordering::SeqCst) {
            names.push("grown");
        }
        let tools = names.into_iter().map(described).collect();
        Ok(ListToolsResult { tools, ..ListToolsResult::default() }.with_ttl_ms(3_600_000))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match request.name.as_ref() {
            "task" | "long_task" | "task_asks" | "silent_task" => {
                Ok(CreateTaskResult::new(working(request.name.as_ref())).into())
            }
            "draw" => {
                let blocks = vec![
                    ContentBlock::text("a picture"),
                    ContentBlock::image(PICTURE.repeat(100_000), "image/png"),
                ];
                Ok(CallToolResult::success(blocks).into())
            }
            "asks" => Ok(InputRequiredResult::from_input_requests(questions()).into()),
            "slow" => {
                if let Some(token) = context.meta.get_progress_token() {
                    let progress = ProgressNotificationParam::new(token, 1.0);
                    context.peer.notify_progress(progress).await.unwrap();
                }
                context.ct.cancelled().await;
                self.note("slow was cancelled".to_owned());
                Ok(CallToolResult::success(Vec::new()).into())
            }
            _ => Ok(CallToolResult::structured(json!({
                "arguments": request.arguments, "key": context.meta.get("dev.windlass/idempotency_key"),
            }))
            .into()),
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let looks = self.0.looks.fetch_add(1, Ordering::SeqCst);
        if request.task_id == "silent_task" {
            context.ct.cancelled().await;
        }
        let payload = match request.task_id.as_str() {
            "task" if 2 <= looks => TaskPayload::Completed { result: task_result() },
            "task_asks" => TaskPayload::InputRequired { input_requests: questions() },
            _ => TaskPayload::Working,
        };
        Ok(GetTaskResult::new(DetailedTask::new(working(&request.task_id), payload)))
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.note(format!("{} was cancelled", request.task_id));
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = self.0.changed.notified() => {
                    context.sink().notify_tool_list_changed().await.unwrap();
                }
            }
        }
    }
}

fn described(name: &'static str) -> Tool {
    let schema = object(json!({ "type": "object" }));
    let tool = Tool::new(name, "A tool.", schema);
    match name {
        "long_task" => tool.with_annotations(ToolAnnotations::new().idempotent(true)),
        _ => tool,
    }
}

fn working(name: &str) -> Task {
    Task::new(name, TaskStatus::Working, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z")
        .with_poll_interval_ms(50)
}

fn task_result() -> JsonObject {
    let result = CallToolResult::success(vec![ContentBlock::text("{\"by\": \"task\"}")]);
    object(serde_json::to_value(result).unwrap())
}

fn questions() -> std::collections::BTreeMap<String, InputRequest> {
    let question = json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": "Deploy to production?",
        "requestedSchema": { "type": "object", "properties": {} },
    }});
    [("sure".to_owned(), serde_json::from_value(question).unwrap())].into()
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("no object: {other}"),
    }
}

/// Three bytes in base64.
const PICTURE: &str = "AAEC";

#[tokio::test]
async fn bytes_that_a_tool_answers_become_a_file_and_stand_in_no_result() {
    let host = Arc::new(Forgetful::default());
    let settings = Settings { files: Some(host.clone()), ..settings() };
    let built_in = vec![BuiltIn::new("own", "", Double::default())];
    let servers = ToolServers::new([].into(), built_in, settings);
    let result = succeeded(servers.call(call("own.draw", json!({})), silent()).await);
    assert!(result.to_string().len() < 1_000, "the bytes are in the result");
    assert_eq!(result["content"][0]["text"], "a picture");
    let picture = &result["content"][1];
    assert_eq!((&picture["mime"], &picture["bytes"]), (&json!("image/png"), &json!(300_000)));
    let id = picture["artifact_id"].as_str().unwrap();
    let (artifact, bytes) = host.artifact(id).await.unwrap().unwrap();
    assert_eq!(bytes, [0, 1, 2].repeat(100_000));
    assert_eq!(artifact.execution_id.as_deref(), Some("exec_1"));
    // The next attempt leads to the same file.
    let again = succeeded(servers.call(call("own.draw", json!({})), silent()).await);
    assert_eq!(again, result);
    servers.shutdown().await;
}

fn servers(double: &Double) -> ToolServers {
    let built_in = vec![BuiltIn::new("own", "settings", double.clone())];
    ToolServers::new([].into(), built_in, settings())
}

#[tokio::test]
async fn a_built_in_server_is_called_without_a_process() {
    let servers = servers(&Double::default());
    assert_eq!(servers.names(), ["own"]);
    // The beginning of the SHA-256 of `settings`.
    assert_eq!(servers.identities()["own"], "built-in:cde0fb0dec1400c5");
    let result = succeeded(servers.call(call("own.echo", json!({ "a": 1 })), silent()).await);
    assert_eq!(result, json!({ "arguments": { "a": 1 }, "key": "exec_1/step" }));
    servers.shutdown().await;
}

#[tokio::test]
async fn a_configured_server_replaces_a_built_in_one_of_its_name() {
    let fake = Fake::new("normal");
    let entry = fake.entries().remove("fake").unwrap();
    let config = ServerConfig::parse("own", &entry).unwrap();
    let built_in = vec![BuiltIn::new("own", "", Double::default())];
    let servers = ToolServers::new([("own".to_owned(), config)].into(), built_in, settings());
    assert_eq!(servers.names(), ["own"]);
    assert!(servers.tool(&tool("own.crash_once")).await.is_ok());
    assert!(servers.tool(&tool("own.task")).await.is_err());
    servers.shutdown().await;
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let double = Double::default();
    let servers = servers(&double);
    let result = succeeded(servers.call(call("own.task", json!({})), silent()).await);
    assert_eq!(result, json!({ "by": "task" }));
    assert_eq!(double.0.looks.load(Ordering::SeqCst), 3);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_task_is_cancelled_when_the_time_is_over_or_nobody_wants_it() {
    let double = Double::default();
    let servers = servers(&double);
    let mut late = call("own.long_task", json!({}));
    late.timeout = Duration::from_millis(300);
    let (failure, repeatable) = uncertain(servers.call(late, silent()).await);
    assert_eq!((failure.code.as_str(), repeatable), ("timeout", true));
    assert_eq!(double.notes(), ["long_task was cancelled"]);

    let unwanted = call("own.long_task", json!({}));
    let cancel = unwanted.cancel.clone();
    let seen = double.0.looks.load(Ordering::SeqCst);
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(unwanted, silent()).await }
    });
    until("the task is followed", || async { seen < double.0.looks.load(Ordering::SeqCst) }).await;
    cancel.cancel();
    assert_eq!(uncertain(out.await.unwrap()).0.code, "cancelled");
    assert_eq!(double.notes().len(), 2);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_task_is_cancelled_although_the_server_is_silent_about_it() {
    let double = Double::default();
    let servers = servers(&double);
    let mut unwanted = call("own.silent_task", json!({}));
    unwanted.timeout = Duration::from_secs(5);
    let cancel = unwanted.cancel.clone();
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(unwanted, silent()).await }
    });
    until("it is asked for", || async { double.0.looks.load(Ordering::SeqCst) == 1 }).await;
    cancel.cancel();
    assert_eq!(uncertain(out.await.unwrap()).0.code, "cancelled");
    assert_eq!(double.notes(), ["silent_task was cancelled"]);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_task_that_nobody_follows_any_more_is_cancelled() {
    let double = Double::default();
    let servers = servers(&double);
    let out = tokio::spawn({
        let servers = servers.clone();
        async move { servers.call(call("own.long_task", json!({})), silent()).await }
    });
    until("it is followed", || async { 0 < double.0.looks.load(Ordering::SeqCst) }).await;
    out.abort();
    until("it is cancelled", || async { double.notes() == ["long_task was cancelled"] }).await;
    succeeded(servers.call(call("own.task", json!({})), silent()).await);
    assert_eq!(double.notes().len(), 1);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_question_instead_of_a_result_is_told_and_never_answered() {
    let double = Double::default();
    let servers = servers(&double);
    for name in ["own.asks", "own.task_asks"] {
        let failure = failure(servers.call(call(name, json!({})), silent()).await);
        assert_eq!(
            (failure.code.as_str(), failure.retryable),
            ("needs_input", Some(false)),
            "{name}"
        );
        assert!(failure.message.contains("Deploy to production?"), "{}", failure.message);
    }
    assert_eq!(double.notes(), ["task_asks was cancelled"]);
    servers.shutdown().await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_in_the_process() {
    let double = Double::default();
    let servers = servers(&double);
    let slow = call("own.slow", json!({}));
    let cancel = slow.cancel.clone();
    // Its progress shows that it runs.
    let outcome = servers.call(slow, &|_| cancel.cancel()).await;
    assert_eq!(uncertain(outcome).0.code, "cancelled");
    until("the tool hears of it", || async { double.notes() == ["slow was cancelled"] }).await;
    servers.shutdown().await;
}

#[tokio::test]
async fn a_changed_list_is_heard_of_although_it_was_good_for_an_hour() {
    let double = Double::default();
    let servers = servers(&double);
    let before = servers.tools("own").await.unwrap().len();
    double.grow();
    until("the list has grown", || async {
        // A lost wake-up would make the test depend on who was first.
        double.0.changed.notify_waiters();
        servers.tools("own").await.unwrap().len() == before + 1
    })
    .await;
    servers.shutdown().await;
}

#[tokio::test]
async fn a_call_that_may_no_longer_go_out_does_not() {
    let double = Double::default();
    let servers = servers(&double);
    let mut call = call("own.task", json!({}));
    call.may_send = Some(Arc::new(|| Box::pin(std::future::ready(false))));
    let lost = failure(servers.call(call.clone(), silent()).await);
    assert_eq!((lost.code.as_str(), lost.retryable), ("lease_lost", Some(true)));
    assert_eq!(double.0.looks.load(Ordering::SeqCst), 0);
    call.may_send = Some(Arc::new(|| Box::pin(std::future::ready(true))));
    succeeded(servers.call(call, silent()).await);
    servers.shutdown().await;
}
