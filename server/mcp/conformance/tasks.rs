//! Fixture tools of the tasks extension.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        CreateTaskResult, Tool,
    },
    service::RequestContext,
    task_manager::{TaskContext, TaskExit, TaskOptions},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Fixtures, bare,
    input_required::{answer, ask, form},
    said, text_at, unknown_tool,
};
use crate::mcp::tools::object;

/// Those that cannot be answered without a task.
const TASK_ONLY: [&str; 4] =
    ["failing_job", "test_tool_with_task", "confirm_delete", "multi_input"];

pub(super) fn has(name: &str) -> bool {
    TASK_ONLY.contains(&name) || ["greet", "slow_compute", "protocol_error_job"].contains(&name)
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new(
            "greet",
            "Never a task",
            object(json!({
                "type": "object",
                "properties": { "name": { "type": "string" } },
                "required": ["name"],
            })),
        ),
        Tool::new(
            "slow_compute",
            "Sleeps; a task for clients that know tasks",
            object(json!({
                "type": "object",
                "properties": { "seconds": { "type": "number" }, "label": { "type": "string" } },
            })),
        ),
        bare("failing_job", "A task that ends with a tool's error"),
        bare("protocol_error_job", "A task that ends with a protocol's error"),
        Tool::new(
            "confirm_delete",
            "A task that asks the user",
            object(json!({
                "type": "object",
                "properties": { "filename": { "type": "string" } },
            })),
        ),
        bare("multi_input", "A task that asks two things at once"),
        bare("test_tool_with_task", "Asks first, then is a task"),
    ]
}

pub(super) fn call(
    fixtures: &Fixtures,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.clone();
    // What a client said when it connected does not count: it must say so with the request.
    let knows_tasks =
        context.meta.client_capabilities().is_some_and(|client| client.supports_tasks());
    if TASK_ONLY.contains(&name.as_ref()) && !knows_tasks {
        let tasks = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(tasks));
    }
    let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
    match name.as_ref() {
        "greet" => Ok(said(format!("Hello, {}!", text_at(&arguments, "/name", "friend"))).into()),
        "slow_compute" if knows_tasks => {
            Ok(spawn(fixtures, move |task| slow_compute(task, arguments)))
        }
        "slow_compute" => Ok(said(computed(&arguments).1).into()),
        "failing_job" => Ok(spawn(fixtures, |_| failing_job())),
        "protocol_error_job" if knows_tasks => Ok(spawn(fixtures, |_| protocol_error_job())),
        "protocol_error_job" => Err(protocol_error()),
        "confirm_delete" => Ok(spawn(fixtures, move |task| confirm_delete(task, arguments))),
        "multi_input" => Ok(spawn(fixtures, multi_input)),
        "test_tool_with_task" => Ok(asked_then_task(fixtures, &request)),
        other => Err(unknown_tool(other)),
    }
}

fn spawn<F>(
    fixtures: &Fixtures,
    work: impl FnOnce(TaskContext) -> F + Send + 'static,
) -> CallToolResponse
where
    F: Future<Output = Result<CallToolResult, TaskExit>> + Send + 'static,
{
    let task = fixtures.tasks.spawn(TaskOptions::default(), move |task| Box::pin(work(task)));
    CreateTaskResult::new(task).into()
}

async fn slow_compute(task: TaskContext, arguments: Value) -> Result<CallToolResult, TaskExit> {
    let (time, text) = computed(&arguments);
    tokio::select! {
        () = task.cancelled() => Err(TaskExit::Cancelled),
        () = sleep(time) => Ok(said(text)),
    }
}

fn computed(arguments: &Value) -> (Duration, String) {
    let seconds = arguments.get("seconds").and_then(Value::as_f64).unwrap_or(1.0);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    (
        time,
        format!("slow_compute({}) done after {seconds}s", text_at(arguments, "/label", "compute")),
    )
}

async fn failing_job() -> Result<CallToolResult, TaskExit> {
    sleep(Duration::from_secs(1)).await;
    let text = ContentBlock::text("failing_job: intentional tool execution error");
    Ok(CallToolResult::error(vec![text]))
}

async fn protocol_error_job() -> Result<CallToolResult, TaskExit> {
    sleep(Duration::from_millis(200)).await;
    Err(TaskExit::Error(protocol_error()))
}

fn protocol_error() -> ErrorData {
    ErrorData::internal_error("protocol_error_job: intentional protocol-level failure", None)
}

async fn confirm_delete(task: TaskContext, arguments: Value) -> Result<CallToolResult, TaskExit> {
    let file = text_at(&arguments, "/filename", "file.txt");
    let form = form(&format!("Delete {file}?"), "confirm", "boolean");
    let answer = task.request_input("confirm", form).await?;
    let confirmed = answer.pointer("/content/confirm").and_then(Value::as_bool).unwrap_or(false);
    Ok(said(format!("confirm_delete({file}): confirmed = {confirmed}")))
}

async fn multi_input(task: TaskContext) -> Result<CallToolResult, TaskExit> {
    let (a, b) = tokio::try_join!(
        task.request_input("input-a", form("Provide value A", "value", "string")),
        task.request_input("input-b", form("Provide value B", "value", "string")),
    )?;
    let value = |answer| text_at(answer, "/content/value", "(none)").to_owned();
    Ok(said(format!("multi_input: a = {}, b = {}", value(&a), value(&b))))
}

fn asked_then_task(fixtures: &Fixtures, request: &CallToolRequestParams) -> CallToolResponse {
    let Some(answer) = answer(request.input_responses.as_ref(), "user_name") else {
        return ask([("user_name", form("What is your name?", "name", "string"))]);
    };
    let name = text_at(answer, "/content/name", "friend").to_owned();
    spawn(fixtures, move |_| async move {
        sleep(Duration::from_millis(200)).await;
        Ok(said(format!("Hello, {name}! (async)")))
    })
}
