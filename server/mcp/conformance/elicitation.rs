//! Fixture tools that ask the client while they run, as servers could before 2026-07-28.
#![expect(
    deprecated,
    reason = "the suite still tests sampling, which the protocol is about to drop"
)]

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        CreateMessageRequestParams, ElicitRequestParams, ElicitationAction, SamplingMessage, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{bare, said, unknown_tool};
use crate::mcp::tools::object;

/// The SDK would wait for ever for a client that never answers.
const PATIENCE: Duration = Duration::from_secs(60);

const NAMES: [&str; 4] = [
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
];

pub(super) fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_sampling", "Asks the client's model", object(one_text("prompt"))),
        Tool::new("test_elicitation", "Asks the client's user", object(one_text("message"))),
        bare("test_elicitation_sep1034_defaults", "Asks with a default for every answer"),
        bare("test_elicitation_sep1330_enums", "Asks with every kind of choice"),
    ]
}

fn one_text(name: &str) -> Value {
    json!({ "type": "object", "properties": { name: { "type": "string" } }, "required": [name] })
}

pub(super) async fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let argument = |name: &str, otherwise: &'static str| {
        let given = request.arguments.as_ref().and_then(|arguments| arguments.get(name)?.as_str());
        given.unwrap_or(otherwise).to_owned()
    };
    let result = match request.name.as_ref() {
        "test_sampling" => sample(context, &argument("prompt", "Hello")).await,
        "test_elicitation" => {
            let message = argument("message", "Please provide your information");
            elicit(context, "User response", message, user()).await
        }
        "test_elicitation_sep1034_defaults" => {
            let message = "Please provide values (all have defaults)".to_owned();
            elicit(context, "Elicitation completed", message, defaults()).await
        }
        "test_elicitation_sep1330_enums" => {
            elicit(context, "Elicitation completed", "Please choose".to_owned(), choices()).await
        }
        other => return Err(unknown_tool(other)),
    };
    Ok(result.into())
}

async fn sample(context: &RequestContext<RoleServer>, prompt: &str) -> CallToolResult {
    let request = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    match context.peer.create_message(request).await {
        Ok(answer) => {
            let text = answer.message.content.first().and_then(|content| content.as_text());
            said(format!("LLM response: {}", text.map_or("", |text| text.text.as_str())))
        }
        Err(error) => {
            CallToolResult::error(vec![ContentBlock::text(format!("Sampling error: {error}"))])
        }
    }
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    answer: &str,
    message: String,
    schema: Value,
) -> CallToolResult {
    let capabilities = context.client_capabilities().unwrap_or_default();
    if capabilities.elicitation.is_none() {
        return CallToolResult::error(vec![ContentBlock::text("this client cannot ask its user")]);
    }
    let requested_schema =
        serde_json::from_value(schema).expect("written as an elicitation schema");
    let request =
        ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
    match context.peer.create_elicitation_with_timeout(request, Some(PATIENCE)).await {
        Ok(result) => said(format!(
            "{answer}: action={}, content={}",
            action(&result.action),
            result.content.map_or(Value::Null, |content| json!(content))
        )),
        Err(error) => {
            CallToolResult::error(vec![ContentBlock::text(format!("Elicitation error: {error}"))])
        }
    }
}

fn action(action: &ElicitationAction) -> &'static str {
    match action {
        ElicitationAction::Accept => "accept",
        ElicitationAction::Decline => "decline",
        ElicitationAction::Cancel => "cancel",
        _ => "unknown",
    }
}

fn user() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "User's name", "default": "John Doe" },
            "age": { "type": "integer", "description": "User's age", "default": 30 },
            "score": { "type": "number", "description": "User's score", "default": 95.5 },
            "status": {
                "type": "string",
                "description": "User's status",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": { "type": "boolean", "description": "Whether user is verified", "default": true },
        },
    })
}

fn choices() -> Value {
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": {
                "type": "string",
                "oneOf": [
                    { "const": "value1", "title": "First Option" },
                    { "const": "value2", "title": "Second Option" },
                    { "const": "value3", "title": "Third Option" },
                ],
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "items": { "type": "string", "enum": ["option1", "option2", "option3"] },
            },
            "titledMulti": {
                "type": "array",
                "items": {
                    "anyOf": [
                        { "const": "value1", "title": "First Choice" },
                        { "const": "value2", "title": "Second Choice" },
                        { "const": "value3", "title": "Third Choice" },
                    ],
                },
            },
        },
    })
}
