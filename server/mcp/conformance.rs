//! What the official conformance suite asks of every server: tools, resources and prompts with fixed names, offered only
//! with `--conformance-fixtures`, so that the suite tests the program that ships.
#![expect(
    deprecated,
    reason = "the suite still tests logging, which the protocol is about to drop"
)]

mod content;
mod elicitation;
mod input_required;
mod lists;
mod tasks;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
        Tool,
    },
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
    task_manager::TaskManager,
};
use serde_json::{Value, json};

pub(crate) use self::lists::{prompt, prompts, read_resource, resource_templates, resources};
use super::tools::object;

/// What the fixtures keep between requests.
#[derive(Clone)]
pub(crate) struct Fixtures {
    tasks: TaskManager,
    subscriptions: Arc<Subscriptions>,
}

#[derive(Default)]
struct Subscriptions {
    sinks: Mutex<HashMap<u64, SubscriptionSink>>,
    next: AtomicU64,
}

/// What the fixtures can do, besides what the product can.
pub(crate) fn capabilities() -> ServerCapabilities {
    ServerCapabilities::builder()
        .enable_tools()
        .enable_tool_list_changed()
        .enable_resources()
        .enable_resources_subscribe()
        .enable_resources_list_changed()
        .enable_prompts()
        .enable_prompts_list_changed()
        .enable_completions()
        .enable_logging()
        .enable_tasks()
        .build()
}

/// Every fixture tool.
pub(crate) fn tools() -> Vec<Tool> {
    [content::tools(), elicitation::tools(), input_required::tools(), tasks::tools(), own_tools()]
        .concat()
}

fn own_tools() -> Vec<Tool> {
    vec![
        bare("test_trigger_tool_change", "Tells subscribers that the list of tools changed"),
        bare("test_trigger_prompt_change", "Tells subscribers that the list of prompts changed"),
        bare("test_panic", "Panics: even then there is an answer"),
    ]
}

/// A tool without arguments.
fn bare(name: &'static str, description: &'static str) -> Tool {
    Tool::new(name, description, object(json!({ "type": "object", "properties": {} })))
}

fn said(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text.into())])
}

fn unknown_tool(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Unknown tool: {name}"), None)
}

fn text_at<'a>(value: &'a Value, pointer: &str, otherwise: &'a str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or(otherwise)
}

impl Fixtures {
    pub(crate) fn new() -> Fixtures {
        Fixtures { tasks: TaskManager::new(), subscriptions: Arc::default() }
    }

    /// Calls a fixture tool.
    pub(crate) async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.clone();
        match name.as_ref() {
            "test_panic" => panic!("the conformance fixture test_panic was called"),
            "test_trigger_tool_change" => Ok(self.tell_tools_changed().await.into()),
            "test_trigger_prompt_change" => Ok(self.tell_prompts_changed().await.into()),
            name if tasks::has(name) => tasks::call(self, request, &context),
            name if input_required::has(name) => input_required::call(&request, &context),
            name if elicitation::has(name) => elicitation::call(&request, &context).await,
            _ => content::call(&request, &context).await.map(Into::into),
        }
    }

    /// Keeps a subscription until its client hangs up.
    pub(crate) async fn listen(&self, context: SubscriptionContext) {
        let key = self.subscriptions.next.fetch_add(1, Ordering::Relaxed);
        self.sinks().insert(key, context.sink().clone());
        context.cancelled().await;
        self.sinks().remove(&key);
    }

    /// The tasks that fixture tools started.
    pub(crate) fn tasks(&self) -> &TaskManager {
        &self.tasks
    }

    async fn tell_tools_changed(&self) -> CallToolResult {
        for sink in self.subscribers() {
            _ = sink.notify_tool_list_changed().await;
        }
        said("Tool list change triggered")
    }

    async fn tell_prompts_changed(&self) -> CallToolResult {
        for sink in self.subscribers() {
            _ = sink.notify_prompt_list_changed().await;
        }
        said("Prompt list change triggered")
    }

    fn subscribers(&self) -> Vec<SubscriptionSink> {
        self.sinks().values().cloned().collect()
    }

    fn sinks(&self) -> std::sync::MutexGuard<'_, HashMap<u64, SubscriptionSink>> {
        // Nothing in here can be left half done.
        self.subscriptions.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
