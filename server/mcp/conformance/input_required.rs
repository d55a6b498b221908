//! Fixture tools that need more input before they can answer, as servers ask since 2026-07-28.
#![expect(
    deprecated,
    reason = "the suite still tests sampling and roots, which the protocol is about to drop"
)]

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CreateMessageRequest, CreateMessageRequestParams,
        ElicitRequest, ElicitRequestParams, GetPromptRequestParams, GetPromptResponse,
        GetPromptResult, InputRequest, InputRequests, InputRequiredResult, InputResponses,
        ListRootsRequest, PromptMessage, RequestStateCodec, Role, SamplingMessage, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{bare, said, text_at, unknown_tool};

const PREFIX: &str = "test_input_required_result_";
/// Seals nothing but the fixtures' own state; the suite has no secrets.
const KEY: &[u8] = b"windlass conformance fixtures, no secret";

pub(super) fn has(name: &str) -> bool {
    name.starts_with(PREFIX) || name == "test_streaming_elicitation"
}

pub(super) fn tools() -> Vec<Tool> {
    vec![
        bare("test_input_required_result_elicitation", "Asks the user"),
        bare("test_input_required_result_sampling", "Asks the client's model"),
        bare("test_input_required_result_list_roots", "Asks for the client's roots"),
        bare("test_input_required_result_request_state", "Asks, and expects its state back"),
        bare("test_input_required_result_multiple_inputs", "Asks three things at once"),
        bare("test_input_required_result_multi_round", "Asks twice"),
        bare("test_input_required_result_tampered_state", "Refuses a state that is not its own"),
        bare("test_input_required_result_capabilities", "Asks only what the client can answer"),
        bare("test_streaming_elicitation", "Always asks"),
    ]
}

pub(super) fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.as_ref();
    match name.strip_prefix(PREFIX).unwrap_or(name) {
        "elicitation" => Ok(elicitation(request)),
        "sampling" => Ok(sampling(request)),
        "list_roots" => Ok(list_roots(request)),
        "request_state" | "tampered_state" => request_state(request),
        "multiple_inputs" => multiple_inputs(request),
        "multi_round" => multi_round(request),
        "capabilities" => Ok(capabilities(request, context)),
        "test_streaming_elicitation" => {
            Ok(ask([("streaming_elicitation", form("Provide a value", "value", "string"))]))
        }
        _ => Err(unknown_tool(name)),
    }
}

/// The one prompt that asks before it answers.
pub(super) fn prompt(request: &GetPromptRequestParams) -> GetPromptResponse {
    match answer(request.input_responses.as_ref(), "user_context") {
        None => {
            let form = form("What context should the prompt use?", "context", "string");
            InputRequiredResult::from_input_requests(requests([("user_context", form)])).into()
        }
        Some(answer) => {
            let context = text_at(answer, "/content/context", "(no context)");
            let text = format!("Prompt with elicited context: {context}");
            GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into()
        }
    }
}

/// A form with one field.
pub(super) fn form(message: &str, field: &str, kind: &str) -> InputRequest {
    let schema = json!({
        "type": "object",
        "properties": { field: { "type": kind } },
        "required": [field],
    });
    InputRequest::Elicitation(ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: serde_json::from_value(schema).expect("written as an elicitation schema"),
    }))
}

/// An answer that has the shape of one; anything else counts as missing and is asked for again.
pub(super) fn answer<'a>(responses: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    responses?.get(key).filter(|response| response.is_object())
}

pub(super) fn ask<const N: usize>(asked: [(&str, InputRequest); N]) -> CallToolResponse {
    InputRequiredResult::from_input_requests(requests(asked)).into()
}

fn ask_with_state<const N: usize>(
    asked: [(&str, InputRequest); N],
    state: &Value,
) -> Result<CallToolResponse, ErrorData> {
    let sealed = codec().seal_json(state);
    let sealed = sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(InputRequiredResult::new(Some(requests(asked)), Some(sealed)).into())
}

fn requests<const N: usize>(asked: [(&str, InputRequest); N]) -> InputRequests {
    let mut requests = InputRequests::new();
    for (key, request) in asked {
        requests.insert(key.into(), request);
    }
    requests
}

fn codec() -> RequestStateCodec {
    RequestStateCodec::try_new(KEY).expect("the key is long enough")
}

fn opened(sealed: &str) -> Result<Value, ErrorData> {
    codec()
        .open_json(sealed)
        .map_err(|_| ErrorData::invalid_params("requestState failed integrity verification", None))
}

fn sample(prompt: &str) -> InputRequest {
    let messages = vec![SamplingMessage::user_text(prompt)];
    InputRequest::CreateMessage(CreateMessageRequest::new(CreateMessageRequestParams::new(
        messages, 100,
    )))
}

fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

fn name_form() -> InputRequest {
    form("What is your name?", "name", "string")
}

fn elicitation(request: &CallToolRequestParams) -> CallToolResponse {
    match answer(request.input_responses.as_ref(), "user_name") {
        None => ask([("user_name", name_form())]),
        Some(answer) => {
            said(format!("Hello, {}!", text_at(answer, "/content/name", "friend"))).into()
        }
    }
}

fn sampling(request: &CallToolRequestParams) -> CallToolResponse {
    match answer(request.input_responses.as_ref(), "capital_question") {
        None => ask([("capital_question", sample("What is the capital of France?"))]),
        Some(answer) => {
            said(format!("Sampling response: {}", text_at(answer, "/content/text", ""))).into()
        }
    }
}

fn list_roots(request: &CallToolRequestParams) -> CallToolResponse {
    let Some(answer) = answer(request.input_responses.as_ref(), "client_roots") else {
        return ask([("client_roots", roots())]);
    };
    let roots = answer.get("roots").and_then(Value::as_array).into_iter().flatten();
    let uris: Vec<_> = roots.filter_map(|root| root.get("uri")?.as_str()).collect();
    said(format!("Client roots: [{}]", uris.join(", "))).into()
}

fn request_state(request: &CallToolRequestParams) -> Result<CallToolResponse, ErrorData> {
    match &request.request_state {
        None => ask_with_state(
            [("confirm", form("Please confirm", "ok", "boolean"))],
            &json!({ "stage": "confirm" }),
        ),
        Some(sealed) => opened(sealed).map(|_| said("Confirmed: state-ok").into()),
    }
}

fn multiple_inputs(request: &CallToolRequestParams) -> Result<CallToolResponse, ErrorData> {
    request.request_state.as_deref().map(opened).transpose()?;
    let responses = request.input_responses.as_ref();
    let keys = ["user_name", "greeting", "client_roots"];
    let is_complete = keys.iter().all(|key| answer(responses, key).is_some());
    if is_complete && request.request_state.is_some() {
        return Ok(said("All inputs received").into());
    }
    ask_with_state(
        [
            ("user_name", name_form()),
            ("greeting", sample("Generate a greeting")),
            ("client_roots", roots()),
        ],
        &json!({ "stage": "gather" }),
    )
}

fn multi_round(request: &CallToolRequestParams) -> Result<CallToolResponse, ErrorData> {
    let state = request.request_state.as_deref().map(opened).transpose()?;
    match state.as_ref().and_then(|state| state.get("round")?.as_u64()) {
        None => ask_with_state(
            [("step1", form("Step 1: What is your name?", "name", "string"))],
            &json!({ "round": 1 }),
        ),
        Some(1) => ask_with_state(
            [("step2", form("Step 2: What is your favorite color?", "color", "string"))],
            &json!({ "round": 2 }),
        ),
        Some(_) => Ok(said("Multi-round flow complete").into()),
    }
}

fn capabilities(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> CallToolResponse {
    if request.input_responses.is_some() {
        return said("Capability-aware flow complete").into();
    }
    let capabilities = context.meta.client_capabilities().unwrap_or_default();
    let mut requests = InputRequests::new();
    if capabilities.elicitation.is_some() {
        requests.insert("user_name".into(), name_form());
    }
    if capabilities.sampling.is_some() {
        requests.insert("greeting".into(), sample("Generate a greeting"));
    }
    if capabilities.roots.is_some() {
        requests.insert("client_roots".into(), roots());
    }
    if requests.is_empty() {
        said("Client declared no MRTR-capable capabilities").into()
    } else {
        InputRequiredResult::from_input_requests(requests).into()
    }
}
