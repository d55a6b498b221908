//! A real MCP client at the other end of a tool server, in one process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonschema::validator_for;
use rmcp::model::{CallToolRequestParams, CallToolResult, RequestMetaObject, Tool};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use windlass_tools::contract::{ATTEMPT, FIRST_STARTED_AT, IDEMPOTENCY_KEY};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A connected tool server.
pub(crate) struct Client {
    pub(crate) client: RunningService<RoleClient, ()>,
    pub(crate) tools: Vec<Tool>,
}

/// A tool call to come.
pub(crate) struct Request {
    tool: &'static str,
    arguments: Value,
    meta: RequestMetaObject,
}

pub(crate) fn request(tool: &'static str, arguments: Value) -> Request {
    Request { tool, arguments, meta: RequestMetaObject::new() }
}

impl Request {
    /// With one argument more, or another value of it.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.arguments[name] = value;
        self
    }

    /// As the worker sends it: with a key and the number of the attempt.
    pub(crate) fn attempt(mut self, key: &str, attempt: u64) -> Self {
        self.meta.insert(IDEMPOTENCY_KEY.to_owned(), key.into());
        self.meta.insert(ATTEMPT.to_owned(), attempt.into());
        self.meta.insert(FIRST_STARTED_AT.to_owned(), now_ms().into());
        self
    }
}

impl Client {
    pub(crate) async fn connect(server: impl ServerHandler) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            if let Ok(running) = server.serve(theirs).await {
                _ = running.waiting().await;
            }
        });
        let client = ().serve(ours).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        Self { client, tools }
    }

    /// Calls a tool and returns its result, checked against its output schema.
    pub(crate) async fn call(&self, request: Request) -> Result<Value, Value> {
        let tool = request.tool;
        let result = self.raw(request).await.unwrap();
        let value = result.structured_content.clone().unwrap();
        let text = result.content[0].as_text().unwrap().text.clone();
        if result.is_error == Some(true) {
            let error = value["error"].clone();
            assert!(
                text.starts_with(error["message"].as_str().unwrap().trim_end_matches('.')),
                "{text}"
            );
            return Err(error);
        }
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        self.check(tool, &value);
        Ok(value)
    }

    pub(crate) async fn ok(&self, request: Request) -> Value {
        self.call(request).await.unwrap()
    }

    /// Calls a tool that fails, and returns the error.
    pub(crate) async fn error(&self, request: Request) -> Value {
        self.call(request).await.unwrap_err()
    }

    pub(crate) async fn raw(&self, request: Request) -> Result<CallToolResult, rmcp::ServiceError> {
        let arguments = request.arguments.as_object().cloned().unwrap();
        let mut params = CallToolRequestParams::new(request.tool).with_arguments(arguments);
        params.meta = Some(request.meta);
        tokio::time::timeout(DEADLINE, self.client.call_tool(params))
            .await
            .expect("an answer in time")
    }

    pub(crate) fn tool(&self, name: &str) -> &Tool {
        self.tools.iter().find(|tool| tool.name == name).unwrap()
    }

    fn check(&self, tool: &str, value: &Value) {
        let schema = Value::Object((**self.tool(tool).output_schema.as_ref().unwrap()).clone());
        let problems: Vec<_> = validator_for(&schema)
            .unwrap()
            .iter_errors(value)
            .map(|error| error.to_string())
            .collect();
        assert!(problems.is_empty(), "{tool} answered {value}: {problems:?}");
    }
}

/// Milliseconds since 1970: tools look for what an earlier attempt did from then on.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An answer without what tells a first from a repeated call.
pub(crate) fn but_created(mut answer: Value) -> Value {
    answer["created"] = json!(null);
    answer
}

/// Checks that an answer has the shape of the golden one that is committed.
pub(crate) fn golden(server: &str, tool: &str, answer: &Value) {
    let golden = golden_answer(server, tool, answer);
    assert_eq!(shape(answer), shape(&golden), "{server}/{tool}");
}

/// The golden answer of a tool, as it is committed. With `WINDLASS_GOLDEN=write` this answer becomes it.
pub(crate) fn golden_answer(server: &str, tool: &str, answer: &Value) -> Value {
    let file = format!("{}/tests/golden/{server}/{tool}.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("WINDLASS_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(answer).unwrap();
        std::fs::write(&file, text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&file).expect("a golden answer, see WINDLASS_GOLDEN");
    serde_json::from_str(&text).unwrap()
}

/// The names and types in a value.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
    }
}
