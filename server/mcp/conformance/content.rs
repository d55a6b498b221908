//! Fixture tools that answer at once, with every kind of content there is.
#![expect(
    deprecated,
    reason = "the suite still tests logging, which the protocol is about to drop"
)]

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        AudioContent, CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock,
        LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ResourceContents,
        Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{bare, said, unknown_tool};
use crate::mcp::tools::object;

/// One red pixel.
pub(super) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// No sound at all.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Long enough for a client to see notifications one by one.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn tools() -> Vec<Tool> {
    let mut tools = vec![
        bare("test_simple_text", "Answers with text"),
        bare("test_image_content", "Answers with an image"),
        bare("test_audio_content", "Answers with audio"),
        bare("test_embedded_resource", "Answers with an embedded resource"),
        bare("test_multiple_content_types", "Answers with text, an image and a resource"),
        bare("test_tool_with_logging", "Sends log messages before it answers"),
        bare("test_tool_with_progress", "Reports progress before it answers"),
        bare("test_error_handling", "Always answers with an error"),
        bare("test_reconnection", "Answers after a moment"),
        bare("test_missing_capability", "Needs a client that can sample"),
        bare("test_logging_tool", "Logs if the request asks for a log level"),
    ];
    tools.push(Tool::new(
        "test_custom_header",
        "Takes an argument that also travels as a header",
        object(json!({
            "type": "object",
            "properties": { "value": { "type": "string", "x-mcp-header": "Value" } },
            "required": ["value"],
        })),
    ));
    tools.push(Tool::new(
        "json_schema_2020_12_tool",
        "Has a schema with all there is in JSON Schema 2020-12",
        object(rich_schema()),
    ));
    tools
}

fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "address",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": { "name": { "type": "string" }, "address": { "$ref": "#/$defs/address" } },
        "allOf": [{ "anyOf": [{ "required": ["name"] }, { "required": ["address"] }] }],
        "if": { "required": ["address"] },
        "then": { "properties": { "address": { "required": ["street"] } } },
        "else": { "required": ["name"] },
        "additionalProperties": false,
    })
}

pub(super) async fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult, ErrorData> {
    match request.name.as_ref() {
        "test_simple_text" => Ok(said("This is a simple text response for testing.")),
        "test_image_content" => Ok(CallToolResult::success(vec![image()])),
        "test_audio_content" => Ok(CallToolResult::success(vec![audio()])),
        "test_embedded_resource" => Ok(CallToolResult::success(vec![resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content.",
        )])),
        "test_multiple_content_types" => Ok(CallToolResult::success(vec![
            ContentBlock::text("Multiple content types test:"),
            image(),
            resource(
                "test://mixed-content-resource",
                "application/json",
                r#"{"test":"data","value":123}"#,
            ),
        ])),
        "test_error_handling" => Ok(CallToolResult::error(vec![ContentBlock::text(
            "This tool intentionally returns an error for testing",
        )])),
        "test_tool_with_logging" => Ok(with_logging(context).await),
        "test_tool_with_progress" => Ok(with_progress(context).await),
        "test_logging_tool" => Ok(logging_on_request(context).await),
        "test_missing_capability" => missing_capability(context),
        "test_reconnection" => {
            sleep(2 * PAUSE).await;
            Ok(said("Reconnection test completed"))
        }
        "test_custom_header" => match argument(request, "value") {
            Some(value) => Ok(said(value)),
            None => Err(ErrorData::invalid_params("value must be a string", None)),
        },
        "json_schema_2020_12_tool" => {
            Ok(said(format!("Hello, {}!", argument(request, "name").unwrap_or("world"))))
        }
        other => Err(unknown_tool(other)),
    }
}

fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> Option<&'a str> {
    request.arguments.as_ref()?.get(name)?.as_str()
}

fn image() -> ContentBlock {
    ContentBlock::image(PNG, "image/png")
}

fn audio() -> ContentBlock {
    ContentBlock::Audio(AudioContent::new(WAV, "audio/wav"))
}

fn resource(uri: &str, mime_type: &str, text: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(mime_type))
}

async fn with_logging(context: &RequestContext<RoleServer>) -> CallToolResult {
    for message in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        log(context, LoggingLevel::Info, message).await;
        sleep(PAUSE).await;
    }
    said("Logging test completed")
}

async fn logging_on_request(context: &RequestContext<RoleServer>) -> CallToolResult {
    if let Some(level) = context.meta.log_level() {
        log(context, level, "logLevel was requested").await;
    }
    said("Logging tool completed")
}

async fn log(context: &RequestContext<RoleServer>, level: LoggingLevel, message: &str) {
    let message =
        LoggingMessageNotificationParam::new(level, json!(message)).with_logger("windlass");
    _ = context.peer.notify_logging_message(message).await;
}

async fn with_progress(context: &RequestContext<RoleServer>) -> CallToolResult {
    for (progress, message) in [(0.0, "Starting"), (50.0, "Halfway"), (100.0, "Complete")] {
        if let Some(token) = context.meta.get_progress_token() {
            let message = ProgressNotificationParam::new(token, progress)
                .with_total(100.0)
                .with_message(message);
            _ = context.peer.notify_progress(message).await;
        }
        sleep(PAUSE).await;
    }
    said("Progress test completed")
}

fn missing_capability(context: &RequestContext<RoleServer>) -> Result<CallToolResult, ErrorData> {
    let capabilities = context.meta.client_capabilities().unwrap_or_default();
    match capabilities.sampling {
        Some(_) => Ok(said("Required capability declared")),
        None => Err(ErrorData::missing_required_client_capability(
            ClientCapabilities::builder().enable_sampling().build(),
        )),
    }
}
