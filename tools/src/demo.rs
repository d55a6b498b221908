//! A tool server for trying workflows out: tools that do next to nothing, in ways that can be seen.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::ServerHandler;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::contract::{Answer, Call, Code, RetryClass, Running, Server, Tool, ToolError, ToolSpec};

const LONGEST_SLEEP_MS: u64 = 24 * 60 * 60 * 1000;
const LARGEST_TEXT: u64 = 16 * 1024 * 1024;
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
const NO_KEY: &str = "-";

/// The lines of a file are counted by one call at a time.
#[derive(Debug, Default)]
struct Demo {
    counting: Mutex<()>,
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

#[derive(Deserialize)]
struct Fail {
    message: String,
    code: Option<Code>,
    retryable: Option<bool>,
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Text {
    bytes: usize,
}

#[derive(Deserialize)]
struct Count {
    file: String,
}

/// The `demo` tool server: echo, noop, sleep, fail, text, count and count_keyed.
pub fn demo() -> impl ServerHandler + Clone {
    let instructions =
        "Tools for trying workflows out. They touch nothing but the file that `count` is given.";
    Server::new("demo", instructions, Demo::default(), tools())
}

fn tools() -> Vec<Tool<Demo>> {
    vec![
        tool(
            "echo",
            "Echo",
            "Returns its arguments as they were given.",
            RetryClass::Read,
            echo_schemas(),
            |_, call| Box::pin(async move { Ok(Value::Object(call.arguments)) }),
        ),
        tool(
            "noop",
            "Do nothing",
            "Does nothing and succeeds.",
            RetryClass::Idempotent,
            noop_schemas(),
            |_, _| Box::pin(async { Ok(json!({ "ok": true })) }),
        ),
        tool(
            "sleep",
            "Sleep",
            "Waits so many milliseconds, tells how far it is, and stops at once when cancelled.",
            RetryClass::Read,
            sleep_schemas(),
            |_, call| Box::pin(sleep(call)),
        ),
        tool(
            "fail",
            "Fail",
            "Fails with the given message and code.",
            RetryClass::Read,
            fail_schemas(),
            |_, call| Box::pin(async move { fail(&call) }),
        ),
        tool(
            "text",
            "Text",
            "Returns a text of so many bytes.",
            RetryClass::Read,
            text_schemas(),
            |_, call| Box::pin(async move { text(&call) }),
        ),
        tool(
            "count",
            "Count calls",
            "Appends a line with the idempotency key to a file and returns how many lines it has. \
             Nothing tells a repeated call from a new one, so an unknown outcome needs a decision.",
            RetryClass::Unsafe,
            count_schemas(),
            |demo, call| Box::pin(async move { count(&demo, &call, Lookup::Never) }),
        ),
        tool(
            "count_keyed",
            "Count calls once each",
            "Appends a line with the idempotency key to a file unless it is there, and returns how many lines \
             the file has. Calling it again with the same key counts once.",
            RetryClass::Keyed,
            count_schemas(),
            |demo, call| Box::pin(async move { count(&demo, &call, Lookup::First) }),
        ),
    ]
}

fn tool(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    retry_class: RetryClass,
    (input, output): (Value, Value),
    run: fn(Arc<Demo>, Call) -> Running,
) -> Tool<Demo> {
    let (destructive, open_world, aliases) = (false, false, &[]);
    let spec = ToolSpec {
        name,
        title,
        description,
        input,
        output,
        destructive,
        open_world,
        retry_class,
        aliases,
        // Whoever asks for a long text to see what becomes of it gets all of it.
        max_bytes: usize::MAX,
        ..ToolSpec::default()
    };
    Tool { spec, run }
}

fn echo_schemas() -> (Value, Value) {
    let any = json!({ "type": "object", "additionalProperties": true });
    (any.clone(), any)
}

fn noop_schemas() -> (Value, Value) {
    let output =
        json!({ "type": "object", "required": ["ok"], "properties": { "ok": { "const": true } } });
    (json!({ "type": "object", "additionalProperties": true }), output)
}

fn sleep_schemas() -> (Value, Value) {
    let ms = json!({ "type": "integer", "minimum": 0, "maximum": LONGEST_SLEEP_MS, "description": "How long" });
    let output = json!({
        "type": "object", "required": ["slept_ms"], "properties": { "slept_ms": { "type": "integer" } },
    });
    (arguments(json!({ "ms": ms }), &["ms"]), output)
}

fn fail_schemas() -> (Value, Value) {
    let codes = [
        "invalid_argument",
        "unauthenticated",
        "permission_denied",
        "not_found",
        "conflict",
        "failed_precondition",
        "rate_limited",
        "unavailable",
        "deadline_exceeded",
        "outcome_unknown",
        "guardrail",
        "cancelled",
        "internal",
    ];
    let properties = json!({
        "message": { "type": "string", "description": "What the failure says" },
        "code": { "type": "string", "enum": codes, "default": "failed_precondition" },
        "retryable": { "type": "boolean", "description": "Whether it says that calling again may help; by default what the code says" },
        "retry_after_ms": { "type": "integer", "minimum": 0, "description": "How long it asks to wait" },
    });
    (
        arguments(properties, &["message"]),
        json!({ "type": "object", "description": "Never returned: it always fails" }),
    )
}

fn text_schemas() -> (Value, Value) {
    let bytes = json!({ "type": "integer", "minimum": 0, "maximum": LARGEST_TEXT, "description": "How long the text is" });
    let output = json!({
        "type": "object", "required": ["bytes", "text"],
        "properties": { "bytes": { "type": "integer" }, "text": { "type": "string" } },
    });
    (arguments(json!({ "bytes": bytes }), &["bytes"]), output)
}

fn count_schemas() -> (Value, Value) {
    let file = json!({ "type": "string", "minLength": 1, "description": "The file to append to; it is made if need be" });
    let output = json!({
        "type": "object", "required": ["count", "created"],
        "properties": {
            "count": { "type": "integer", "description": "How many lines the file has" },
            "created": { "type": "boolean", "description": "Whether this call added one" },
        },
    });
    (arguments(json!({ "file": file }), &["file"]), output)
}

fn arguments(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[expect(clippy::cast_precision_loss, reason = "progress needs no more than 53 bits")]
async fn sleep(call: Call) -> Answer {
    let Sleep { ms } = call.parse()?;
    let (start, total) = (Instant::now(), Duration::from_millis(ms));
    loop {
        let passed = start.elapsed();
        let Some(left) = total.checked_sub(passed).filter(|left| !left.is_zero()) else { break };
        let done = passed.as_millis() as f64;
        call.progress.report(done, ms as f64, &format!("{} ms left", left.as_millis())).await;
        tokio::time::sleep(left.min(PROGRESS_EVERY)).await;
    }
    Ok(json!({ "slept_ms": ms }))
}

fn fail(call: &Call) -> Answer {
    let fail: Fail = call.parse()?;
    let mut error = ToolError::new(fail.code.unwrap_or(Code::FailedPrecondition), fail.message);
    error.retryable = fail.retryable.unwrap_or(error.retryable);
    error.retry_after_ms = fail.retry_after_ms;
    Err(error)
}

fn text(call: &Call) -> Answer {
    let Text { bytes } = call.parse()?;
    Ok(
        json!({ "bytes": bytes, "text": "0123456789".chars().cycle().take(bytes).collect::<String>() }),
    )
}

/// Whether a line with the same key is looked for first.
#[derive(Clone, Copy)]
enum Lookup {
    Never,
    First,
}

fn count(demo: &Demo, call: &Call, lookup: Lookup) -> Answer {
    let Count { file } = call.parse()?;
    let _one_at_a_time = demo.counting.lock().unwrap_or_else(PoisonError::into_inner);
    let key = call.idempotency_key.as_deref();
    let counted = count_in(Path::new(&file), key, lookup);
    let (count, created) = counted.map_err(|error| unusable(&file, &error))?;
    Ok(json!({ "count": count, "created": created }))
}

fn count_in(file: &Path, key: Option<&str>, lookup: Lookup) -> io::Result<(usize, bool)> {
    let lines = lines(file)?;
    let known = match lookup {
        Lookup::Never => false,
        Lookup::First => key.is_some_and(|key| lines.iter().any(|line| line == key)),
    };
    if known {
        return Ok((lines.len(), false));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that processes that share the file do not mix their lines.
    file.write_all(format!("{}\n", key.unwrap_or(NO_KEY)).as_bytes())?;
    Ok((lines.len() + 1, true))
}

fn lines(file: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn unusable(file: &str, error: &io::Error) -> ToolError {
    ToolError::new(Code::InvalidArgument, format!("{file:?} cannot be counted in: {error}"))
        .hint("give a file in a directory that exists and can be written to")
}
