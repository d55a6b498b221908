//! Models behind HTTP, through genai: many providers, one request each, nothing sent twice.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use genai::adapter::AdapterKind;
use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ChatResponse, ChatResponseFormat, JsonSpec, StopReason,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, ModelIden, ServiceTarget};
use serde_json::{Map, Value};

use super::config::{AgentConfig, Provider, Structured};
use super::models::{Asking, Chosen, Finish, Message, Models, Question, Said};
use crate::contract::{Code, Provider as Refusal, Surroundings, ToolError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const SHOWN_CHARS: usize = 400;
/// What providers check differently or not at all. Whether an answer keeps to it is checked here.
const LOCAL_KEYWORDS: [&str; 13] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "default",
];

/// The providers of a configuration, with their keys.
#[derive(Clone)]
pub(super) struct Online(Arc<Inner>);

struct Inner {
    config: AgentConfig,
    /// The key of each provider that has one.
    keys: BTreeMap<String, String>,
    clients: OnceLock<Result<Clients, String>>,
}

#[derive(Clone)]
struct Clients {
    genai: Client,
    http: reqwest::Client,
}

impl Online {
    pub(super) fn new(config: &AgentConfig, around: &Surroundings) -> Self {
        let key = |(name, provider): (&String, &Provider)| {
            Some((name.clone(), around.first_of(&provider.key_env)?.1.to_owned()))
        };
        let keys = config.providers.iter().filter_map(key).collect();
        Self(Arc::new(Inner { config: config.clone(), keys, clients: OnceLock::new() }))
    }

    /// What may never be seen in an answer.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.0.keys.values().cloned().collect()
    }

    /// A provider with its key, if it has one or needs none.
    pub(super) fn provider(&self, name: &str) -> Result<(&Provider, Option<&str>), ToolError> {
        let Inner { config, keys, .. } = &*self.0;
        let provider = config.providers.get(name).ok_or_else(|| self.unknown(name))?;
        match (keys.get(name), provider.key_env.is_empty()) {
            (Some(key), _) => Ok((provider, Some(key))),
            (None, true) => Ok((provider, None)),
            (None, false) => Err(no_key(name, provider)),
        }
    }

    /// A client for requests that genai does not make.
    pub(super) fn http(&self) -> Result<&reqwest::Client, ToolError> {
        Ok(&self.clients()?.http)
    }

    /// `PROVIDER/MODEL` in two.
    pub(super) fn named<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        name.split_once('/').filter(|(provider, _)| self.0.config.providers.contains_key(*provider))
    }

    fn clients(&self) -> Result<&Clients, ToolError> {
        let timeout = Duration::from_millis(self.0.config.timeout_ms);
        let clients = self.0.clients.get_or_init(|| clients(timeout));
        clients.as_ref().map_err(|problem| {
            ToolError::new(Code::Internal, format!("no client for models can be made: {problem}"))
        })
    }

    fn unknown(&self, name: &str) -> ToolError {
        let names: Vec<_> = self.0.config.providers.keys().map(String::as_str).collect();
        ToolError::new(Code::FailedPrecondition, format!("no provider {name:?} is configured"))
            .hint(format!(
                "there are: {}; set [agent.providers.{name}] kind and key_env to add it",
                names.join(", ")
            ))
    }

    /// The first provider that could answer without more being said.
    fn first_ready(&self) -> Option<(&str, &Provider)> {
        let ready = |(name, provider): &(&String, &Provider)| {
            !provider.model.is_empty()
                && (self.0.keys.contains_key(*name) || provider.key_env.is_empty())
        };
        let found = self.0.config.providers.iter().find(ready);
        found.map(|(name, provider)| (name.as_str(), provider))
    }

    fn nothing_ready(&self) -> ToolError {
        let variables = self.0.config.variables().join(", ");
        ToolError::new(Code::FailedPrecondition, "no model can be asked: no key of a provider is set")
            .hint(format!("set one of {variables}, or agent.model to PROVIDER/MODEL with a provider that needs no key, \
                           or agent.recorded to a file of recorded answers"))
    }

    async fn turn(&self, question: &Question) -> Result<Said, ToolError> {
        let (provider, key) = self.provider(&question.chosen.provider)?;
        let client = &self.clients()?.genai;
        let target = target(client, &question.chosen, provider, key).await?;
        let (request, options) = request(question, provider.structured);
        let response = client.exec_chat(target, request, Some(&options)).await;
        response.map(said).map_err(|error| failure(&error, &question.chosen))
    }
}

impl Models for Online {
    fn choose(&self, wished: &str) -> Result<Chosen, ToolError> {
        let config = &self.0.config;
        let name = if wished.is_empty() { config.model.as_str() } else { wished };
        let name = config.models.get(name).map_or(name, String::as_str);
        let (provider, model) = match (self.named(name), self.named(&config.model)) {
            (Some((provider, model)), _) => (provider, model),
            (None, Some((provider, _))) if !name.is_empty() => (provider, name),
            (None, _) => {
                let (provider, own) = self.first_ready().ok_or_else(|| self.nothing_ready())?;
                (provider, if name.is_empty() { own.model.as_str() } else { name })
            }
        };
        let kind = self.provider(provider)?.0.kind.clone();
        Ok(Chosen { provider: provider.to_owned(), kind, model: model.to_owned() })
    }

    fn ask<'a>(&'a self, question: &'a Question) -> Asking<'a> {
        Box::pin(self.turn(question))
    }
}

fn clients(timeout: Duration) -> Result<Clients, String> {
    let http = crate::http::builder()
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT)
        .retry(reqwest::retry::never())
        .build()
        .map_err(|error| error.to_string())?;
    let genai = Client::builder().with_reqwest(http.clone()).build();
    Ok(Clients { genai: genai.map_err(|error| error.to_string())?, http })
}

fn no_key(name: &str, provider: &Provider) -> ToolError {
    let variables = provider.key_env.join(" or ");
    ToolError::new(Code::FailedPrecondition, format!("there is no key for the provider {name}"))
        .hint(format!("set {variables} in the environment of Windlass, or agent.recorded to a file of recorded answers"))
}

/// Where and as whom to ask. Keys come from what the server was given, never from genai's own look at the environment.
async fn target(
    client: &Client,
    chosen: &Chosen,
    provider: &Provider,
    key: Option<&str>,
) -> Result<ServiceTarget, ToolError> {
    let kind = match provider.kind.as_str() {
        "openai-compatible" => Some(AdapterKind::OpenAI),
        kind => AdapterKind::from_lower_str(kind),
    };
    let kind = kind.ok_or_else(|| {
        let message = format!("the provider {} is of the unknown kind {:?}", chosen.provider, provider.kind);
        ToolError::new(Code::FailedPrecondition, message).hint("openai-compatible fits most; others are openai, openai_resp, anthropic, gemini, ollama, mistral, deepseek, xai, groq, open_router")
    })?;
    let iden = ModelIden::new(kind, chosen.model.clone());
    let mut target =
        client.resolve_service_target(iden).await.map_err(|error| failure(&error, chosen))?;
    if !provider.base_url.is_empty() {
        target.endpoint =
            Endpoint::from_owned(format!("{}/", provider.base_url.trim_end_matches('/')));
    }
    // A provider without keys ignores the header that this leads to.
    target.auth = AuthData::from_single(key.unwrap_or("none"));
    Ok(target)
}

fn request(question: &Question, structured: Structured) -> (ChatRequest, ChatOptions) {
    let mut options = ChatOptions::default().with_max_tokens(question.max_tokens);
    options.temperature = question.temperature;
    let mut system = question.system.clone();
    if let Some(schema) = &question.schema {
        let native = structured == Structured::JsonSchema && closed(schema) && is_object(schema);
        if native {
            options.response_format =
                Some(ChatResponseFormat::JsonSpec(JsonSpec::new("answer", loosened(schema))));
        } else {
            system.push_str(&format!("\n\nAnswer with one JSON value and nothing else. It must fit this JSON Schema:\n{schema}"));
        }
        if !native && structured != Structured::Prompt && is_object(schema) {
            options.response_format = Some(ChatResponseFormat::JsonMode);
        }
    }
    let messages = question.messages.iter().map(|message| match message {
        Message::User(text) => ChatMessage::user(text.as_str()),
        Message::Model(text) => ChatMessage::assistant(text.as_str()),
    });
    let request = ChatRequest::new(messages.collect());
    let system = system.trim();
    let request = if system.is_empty() { request } else { request.with_system(system) };
    (request, options)
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

/// Whether every object in a schema names all its members: providers allow no others.
fn closed(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let open = members.get("type").and_then(Value::as_str) == Some("object")
                && (!members.contains_key("properties")
                    || members.get("additionalProperties").is_some_and(|more| more != false));
            !open && members.values().all(closed)
        }
        Value::Array(items) => items.iter().all(closed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A schema without what providers refuse or ignore.
fn loosened(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut kept = Map::new();
    for (keyword, value) in members {
        let value = match (keyword.as_str(), value) {
            (keyword, _) if LOCAL_KEYWORDS.contains(&keyword) => continue,
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                named.iter().map(|(name, own)| (name.clone(), loosened(own))).collect()
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(items)) => {
                items.iter().map(loosened).collect()
            }
            ("items" | "additionalProperties", value) => loosened(value),
            (_, value) => value.clone(),
        };
        kept.insert(keyword.clone(), value);
    }
    kept.into()
}

fn said(response: ChatResponse) -> Said {
    let count = |tokens: Option<i32>| u64::try_from(tokens.unwrap_or_default()).unwrap_or_default();
    let details = response.usage.prompt_tokens_details.as_ref();
    let finish = match &response.stop_reason {
        Some(StopReason::MaxTokens(_)) => Finish::Cut,
        Some(StopReason::ContentFilter(_)) => Finish::Refused,
        _ => Finish::Complete,
    };
    Said {
        model: response.provider_model_iden.model_name.to_string(),
        prompt_tokens: count(response.usage.prompt_tokens),
        completion_tokens: count(response.usage.completion_tokens),
        cached_tokens: count(details.and_then(|details| details.cached_tokens)),
        written_tokens: count(details.and_then(|details| details.cache_creation_tokens)),
        finish,
        finish_reason: response.stop_reason.as_ref().map_or("unknown", StopReason::raw).to_owned(),
        text: response.into_texts().concat(),
    }
}

fn failure(error: &genai::Error, chosen: &Chosen) -> ToolError {
    use genai::webc::Error as Web;
    match error {
        genai::Error::WebModelCall { webc_error, .. }
        | genai::Error::WebAdapterCall { webc_error, .. } => match webc_error {
            Web::ResponseFailedStatus { status, body, headers } => {
                refused(chosen, status.as_u16(), body, headers)
            }
            Web::Reqwest(error) => unreachable(chosen, error),
            Web::ResponseFailedNotJson { .. }
            | Web::ResponseFailedInvalidJson { .. }
            | Web::JsonValueExt(_) => garbled(chosen, "its answer is not JSON"),
        },
        genai::Error::HttpError { status, body, headers, .. } => {
            refused(chosen, status.as_u16(), body, headers)
        }
        // Its text has the whole request in it.
        genai::Error::ChatResponseGeneration { cause, .. } => garbled(chosen, cause),
        other => garbled(chosen, &other.to_string()),
    }
}

/// What a refusal with a status means; it holds for images too.
pub(super) fn refused(
    chosen: &Chosen,
    status: u16,
    body: &str,
    headers: &reqwest::header::HeaderMap,
) -> ToolError {
    let code = match status {
        400 | 413 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        402 => Code::FailedPrecondition,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        429 => Code::RateLimited,
        500.. => Code::Unavailable,
        // A redirect is not followed: the key would go with it.
        _ => Code::FailedPrecondition,
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let milliseconds = header("retry-after-ms").and_then(|text| text.parse().ok());
    let seconds =
        || header("retry-after")?.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000));
    let provider = Refusal {
        name: "model",
        status: Some(status),
        request_id: header("x-request-id").or(header("request-id")).map(str::to_owned),
        documentation_url: None,
        reason: None,
    };
    let message =
        format!("{}/{} answered {status}: {}", chosen.provider, chosen.model, sentence(body));
    ToolError {
        retry_after_ms: milliseconds.or_else(seconds),
        provider: Some(Box::new(provider)),
        ..ToolError::new(code, message)
    }
}

/// What the provider said, without what it quotes at length.
fn sentence(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let said = ["/error/message", "/message", "/error"]
        .into_iter()
        .find_map(|path| parsed.pointer(path)?.as_str());
    said.unwrap_or(body).trim().chars().take(SHOWN_CHARS).collect()
}

/// Nothing was changed by asking, so a question without an answer may be asked again.
pub(super) fn unreachable(chosen: &Chosen, error: &reqwest::Error) -> ToolError {
    let provider = &chosen.provider;
    if error.is_timeout() {
        let message = format!("the provider {provider} took too long");
        return ToolError::new(Code::DeadlineExceeded, message)
            .hint("raise agent.timeout_ms, or ask for less");
    }
    let mut message = format!("the provider {provider} cannot be reached");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    ToolError::new(Code::Unavailable, message)
}

fn garbled(chosen: &Chosen, problem: &str) -> ToolError {
    let problem: String = problem.chars().take(SHOWN_CHARS).collect();
    let message = format!("{}/{} cannot be understood: {problem}", chosen.provider, chosen.model);
    ToolError::new(Code::Unavailable, message)
        .hint("look at the provider's kind and base_url in the configuration")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_sent_without_what_providers_refuse() {
        let schema = json!({
            "type": "object", "required": ["format"],
            "properties": {
                "format": { "type": "string", "pattern": "x", "enum": ["a"] },
                "list": { "type": "array", "maxItems": 3, "items": { "type": "integer", "minimum": 1 } },
            },
        });
        let expected = json!({
            "type": "object", "required": ["format"],
            "properties": {
                "format": { "type": "string", "enum": ["a"] },
                "list": { "type": "array", "items": { "type": "integer" } },
            },
        });
        assert_eq!(loosened(&schema), expected);
        assert!(closed(&schema));
        assert!(!closed(&json!({ "type": "object", "properties": { "a": { "type": "object" } } })));
    }
}
