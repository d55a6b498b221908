//! Images, by the request that OpenAI's service and those like it have for them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::models::{Chosen, Finish, Message, Question, Said};
use super::online::{refused, unreachable};
use super::prices::{cost, dollars, price};
use super::tools::{answer, arguments};
use super::{Agent, budget, turn};
use crate::contract::schema::{self, planned, text};
use crate::contract::{
    Answer, Artifact, Call, Code, Host, NewArtifact, RetryClass, Service, Tool, ToolError,
    ToolSpec, Usage, no_host,
};

const MAX_IMAGES: u64 = 4;
/// About what an image takes when nobody has said: it stands in for `max_tokens` where budgets look ahead.
const TOKENS_OF_AN_IMAGE: u64 = 8_192;
const SIZES: [(&str, &str); 6] = [
    ("1:1", "1024x1024"),
    ("3:2", "1536x1024"),
    ("16:9", "1536x1024"),
    ("4:3", "1536x1024"),
    ("2:3", "1024x1536"),
    ("9:16", "1024x1536"),
];

/// The tool that makes images.
pub(super) fn tool() -> Tool<Agent> {
    let own = json!({
        "prompt": text("What the image shows"),
        "size": { "type": "string", "pattern": "^([0-9]+x[0-9]+|auto)$", "description": "Such as 1024x1024" },
        "aspect_ratio": { "type": "string", "enum": SIZES.map(|(ratio, _)| ratio), "description": "Instead of a size" },
        "quality": { "type": "string", "description": "As the provider names it" },
        "n": { "type": "integer", "minimum": 1, "maximum": MAX_IMAGES, "default": 1 },
    });
    let mut input = arguments(own, &["prompt"]);
    for meaningless in ["max_tokens", "temperature"] {
        input["properties"].as_object_mut().map(|all| all.remove(meaningless));
    }
    Tool {
        spec: ToolSpec {
            name: "generateImage",
            title: "Generate image",
            description: "Makes images and keeps them as artifacts. Called again after a lost answer, it finds those it \
                          has kept.",
            input: schema::changing_arguments(input),
            output: output(),
            retry_class: RetryClass::Keyed,
            names: &["generate_image"],
            needs: &[Service::Artifact],
            ..ToolSpec::default()
        },
        run: |agent, call| Box::pin(generate(agent, call)),
    }
}

fn output() -> Value {
    let number = || json!({ "type": ["integer", "null"] });
    let image = json!({
        "type": "object",
        "required": ["artifact_id", "mime", "bytes", "resource_uri"],
        "properties": {
            "artifact_id": { "type": "string" }, "mime": { "type": "string" },
            "width": number(), "height": number(), "bytes": { "type": "integer" },
            "resource_uri": { "type": "string" },
        },
    });
    let properties = json!({ "images": { "type": "array", "items": image } });
    let taken = answer(&json!({ "properties": properties }), json!({}));
    schema::changing_result(taken["properties"].clone(), &["images", "usage", "cost_usd", "model"])
}

async fn generate(agent: Arc<Agent>, call: Call) -> Answer {
    let host = agent.host.clone().ok_or_else(|| no_host("generateImage"))?;
    let key = turn::key(&call);
    let count = call.arguments.get("n").and_then(Value::as_u64).unwrap_or(1);
    if call.key_to_look_up().is_some() {
        let found = kept(host.as_ref(), &key, count).await?;
        // An attempt that died between two of them is made again; what it kept stays as it is.
        if found.len() as u64 == count {
            return Ok(found_again(&found));
        }
    }
    let question = question(&agent, &call, count)?;
    let body = body(&call, &question, count);
    if call.arguments.get("dry_run") == Some(&Value::Bool(true)) {
        let plan = format!(
            "ask {}/{} for {count} image(s)",
            question.chosen.provider, question.chosen.model
        );
        return Ok(planned(vec![plan], json!({})));
    }
    let bound = call.arguments.get("max_cost_usd").and_then(Value::as_f64);
    budget::check(&agent, &call, &question, bound).await?;
    let (said, images) = asked(&agent, &question, &body).await?;
    // Who answers without usage is paid by the image, at a price that is not in the table of tokens.
    let counted = said.prompt_tokens + said.completion_tokens != 0;
    let cost = cost(price(&agent.config, &question.chosen), &said).filter(|_| counted);
    let usage = usage(&call, &key, &question, &said, cost);
    host.spend(usage).await?;
    let mut answers = Vec::new();
    for (number, bytes) in images.into_iter().enumerate() {
        let image = host.keep(artifact(&call, &key, number as u64, bytes)).await?;
        answers.push(image);
    }
    let mut answer = described(host.as_ref(), &answers).await?;
    answer["usage"] = json!({
        "prompt": said.prompt_tokens, "completion": said.completion_tokens, "cached": said.cached_tokens,
        "total": said.prompt_tokens + said.completion_tokens,
    });
    answer["cost_usd"] = json!(cost.map(dollars));
    answer["model"] = said.model.into();
    answer["finish_reason"] = said.finish_reason.into();
    answer["repaired"] = false.into();
    answer["created"] = true.into();
    Ok(answer)
}

fn question(agent: &Agent, call: &Call, count: u64) -> Result<Question, ToolError> {
    let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
    let wished = argument("model").unwrap_or(&agent.config.images.model);
    let recorded = !agent.config.recorded.as_os_str().is_empty();
    if wished.is_empty() && !recorded {
        return Err(not_configured());
    }
    let chosen = agent.models.choose(wished)?;
    let tokens = u32::try_from(count * TOKENS_OF_AN_IMAGE).unwrap_or(u32::MAX);
    Ok(Question {
        chosen,
        profile: "generateImage".to_owned(),
        step: call.step().map(str::to_owned),
        turn: 1,
        system: String::new(),
        messages: vec![Message::User(argument("prompt").unwrap_or_default().to_owned())],
        schema: None,
        max_tokens: tokens,
        temperature: None,
    })
}

fn not_configured() -> ToolError {
    ToolError::new(Code::FailedPrecondition, "no model for images is configured").hint(
        "set [agent.images] model = \"PROVIDER/MODEL\" to a provider that has POST images/generations, such as \
         openai/gpt-image-2 with OPENAI_API_KEY; or configure a tool server that makes images under [mcpServers] and call \
         its tool instead",
    )
}

fn body(call: &Call, question: &Question, count: u64) -> Value {
    let argument = |name: &str| call.arguments.get(name).and_then(Value::as_str);
    let ratio = argument("aspect_ratio");
    let size = SIZES.iter().find(|(own, _)| Some(*own) == ratio).map(|(_, size)| *size);
    let model = question.chosen.model.as_str();
    let mut body = json!({ "model": model, "prompt": argument("prompt"), "n": count });
    if let Some(size) = argument("size").or(size) {
        body["size"] = size.into();
    }
    if let Some(quality) = argument("quality") {
        body["quality"] = quality.into();
    }
    // Older models answer with an address unless told otherwise; newer ones refuse to be told.
    if model.starts_with("dall-e") {
        body["response_format"] = "b64_json".into();
    }
    body
}

async fn asked(
    agent: &Agent,
    question: &Question,
    body: &Value,
) -> Result<(Said, Vec<Vec<u8>>), ToolError> {
    let chosen = &question.chosen;
    if chosen.kind == "recorded" {
        let said = agent.models.ask(question).await?;
        let image = decoded(chosen, &said.text)?;
        return Ok((said, vec![image]));
    }
    let (provider, key) = agent.online.provider(&chosen.provider)?;
    let base = match (provider.base_url.as_str(), provider.kind.as_str()) {
        ("", "openai") => "https://api.openai.com/v1",
        ("", kind) => return Err(no_images(chosen, kind)),
        (base, _) => base.trim_end_matches('/'),
    };
    let mut request = agent.online.http()?.post(format!("{base}/images/generations")).json(body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.map_err(|error| unreachable(chosen, &error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.map_err(|error| unreachable(chosen, &error))?;
    if !status.is_success() {
        return Err(refused(chosen, status.as_u16(), &text, &headers));
    }
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let items = answer["data"].as_array().into_iter().flatten();
    let images: Result<Vec<_>, _> =
        items.map(|item| decoded(chosen, item["b64_json"].as_str().unwrap_or_default())).collect();
    let images = images?;
    if images.is_empty() {
        return Err(no_image(chosen));
    }
    Ok((said(chosen, &answer["usage"]), images))
}

fn no_images(chosen: &Chosen, kind: &str) -> ToolError {
    let message = format!(
        "Windlass knows no way to ask the provider {} ({kind}) for images",
        chosen.provider
    );
    ToolError::new(Code::FailedPrecondition, message)
        .hint("choose one of kind openai, or one of kind openai-compatible with a base_url")
}

fn no_image(chosen: &Chosen) -> ToolError {
    let message = format!("{}/{} answered without an image", chosen.provider, chosen.model);
    ToolError::new(Code::FailedPrecondition, message)
        .hint("the model must answer with b64_json: an address alone is not fetched")
}

fn decoded(chosen: &Chosen, base64: &str) -> Result<Vec<u8>, ToolError> {
    let bytes = STANDARD.decode(base64.trim()).unwrap_or_default();
    if bytes.is_empty() { Err(no_image(chosen)) } else { Ok(bytes) }
}

fn said(chosen: &Chosen, usage: &Value) -> Said {
    let count = |name: &str| usage[name].as_u64().unwrap_or_default();
    Said {
        model: chosen.model.clone(),
        prompt_tokens: count("input_tokens"),
        completion_tokens: count("output_tokens"),
        finish: Finish::Complete,
        finish_reason: "stop".to_owned(),
        ..Said::default()
    }
}

fn usage(call: &Call, key: &str, question: &Question, said: &Said, cost: Option<u64>) -> Usage {
    Usage {
        key: format!("{key}/image"),
        execution_id: call.execution_id().map(str::to_owned),
        step: question.step.clone(),
        model: format!("{}/{}", question.chosen.provider, question.chosen.model),
        prompt_tokens: said.prompt_tokens,
        completion_tokens: said.completion_tokens,
        cached_tokens: said.cached_tokens,
        cost_micro_usd: cost,
    }
}

fn artifact(call: &Call, key: &str, number: u64, bytes: Vec<u8>) -> NewArtifact {
    let (mime, ending) = kind(&bytes);
    NewArtifact {
        key: format!("{key}/image-{number}"),
        execution_id: call.execution_id().map(str::to_owned),
        step: call.step().map(str::to_owned),
        name: format!("image-{}.{ending}", number + 1),
        mime: mime.to_owned(),
        bytes,
    }
}

/// The images that an earlier attempt has kept.
async fn kept(
    host: &dyn Host,
    key: &str,
    count: u64,
) -> Result<Vec<(Artifact, Vec<u8>)>, ToolError> {
    let mut found = Vec::new();
    for number in 0..count {
        let id = NewArtifact {
            key: format!("{key}/image-{number}"),
            execution_id: None,
            step: None,
            name: String::new(),
            mime: String::new(),
            bytes: Vec::new(),
        }
        .id();
        found.extend(host.artifact(&id).await?);
    }
    Ok(found)
}

fn found_again(found: &[(Artifact, Vec<u8>)]) -> Value {
    let images: Vec<_> = found.iter().map(|(artifact, bytes)| image(artifact, bytes)).collect();
    json!({
        "images": images, "usage": null, "cost_usd": null, "model": "", "finish_reason": "found", "repaired": false,
        "created": false, "warnings": ["an earlier attempt made these images; what they took was noted then"],
    })
}

async fn described(host: &dyn Host, artifacts: &[Artifact]) -> Result<Value, ToolError> {
    let mut images = Vec::new();
    for artifact in artifacts {
        let found = host.artifact(&artifact.artifact_id).await?;
        images.extend(found.map(|(artifact, bytes)| image(&artifact, &bytes)));
    }
    Ok(json!({ "images": images, "warnings": [] }))
}

fn image(artifact: &Artifact, bytes: &[u8]) -> Value {
    let size = size(bytes);
    json!({
        "artifact_id": artifact.artifact_id, "mime": artifact.mime, "bytes": artifact.bytes,
        "width": size.map(|(width, _)| width), "height": size.map(|(_, height)| height),
        "resource_uri": artifact.resource_uri,
    })
}

fn kind(bytes: &[u8]) -> (&'static str, &'static str) {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => ("image/png", "png"),
        [0xFF, 0xD8, 0xFF, ..] => ("image/jpeg", "jpg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("image/webp", "webp"),
        _ => ("application/octet-stream", "bin"),
    }
}

/// Width and height of a PNG; what others are is not looked at.
fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if kind(bytes).1 != "png" {
        return None;
    }
    Some((number(16)?, number(20)?))
}
