//! Which models are asked, through whom, and what they may cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which models are asked, through whom, and what they may cost.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The model of calls and profiles that name none: `PROVIDER/MODEL`. Empty: the model of the first provider, in
    /// the order of their names, whose key is set.
    pub model: String,
    /// Other names of models, such as `fast = "anthropic/…"`.
    pub models: BTreeMap<String, String>,
    /// Folders with profiles, `NAME.yaml` each.
    pub profiles: Vec<PathBuf>,
    /// A file with recorded answers. When it is set, no provider is ever asked.
    pub recorded: PathBuf,
    /// The longest answer in tokens when neither call nor profile names a bound.
    pub max_tokens: u32,
    /// How long a provider may take, in milliseconds.
    pub timeout_ms: u64,
    /// What may be spent.
    pub budget: Budget,
    /// Who may be asked, under the name that stands before the `/` of a model.
    pub providers: BTreeMap<String, Provider>,
    /// Prices in US dollars per million tokens, for `PROVIDER/MODEL`; they win over those that ship.
    pub prices: BTreeMap<String, Price>,
    /// How images are made.
    pub images: Images,
}

/// What may be spent; 0 is no bound. Looked at before a model is asked, so calls that run side by side may together
/// go over it by what they take.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Tokens of one call, sent and answered, at most.
    pub call_tokens: u64,
    /// US dollars of one call at most.
    pub call_usd: f64,
    /// Tokens of one execution.
    pub execution_tokens: u64,
    /// US dollars of one execution.
    pub execution_usd: f64,
    /// Tokens of this workspace since midnight UTC.
    pub day_tokens: u64,
    /// US dollars of this workspace since midnight UTC.
    pub day_usd: f64,
}

/// Somebody who answers for models.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// What it speaks: `openai-compatible`, or the name of a provider that has a way of its own, such as `openai`,
    /// `openai_resp`, `anthropic`, `gemini`, `ollama`, `mistral`, `deepseek`, `xai`, `groq`, `open_router`.
    pub kind: String,
    /// Where it is, up to and with the version, such as `https://HOST/v1/`. Empty: where its kind usually is.
    pub base_url: String,
    /// The environment variables looked at for its key, in this order. None: it needs no key.
    pub key_env: Vec<String>,
    /// Its model when none is named.
    pub model: String,
    /// How it is told the shape of an answer.
    pub structured: Structured,
}

/// How a provider is told the shape of an answer. It is checked here in any case.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Structured {
    /// It takes a JSON Schema.
    #[default]
    JsonSchema,
    /// It can be held to JSON; the schema stands in the prompt.
    JsonObject,
    /// In the prompt only.
    Prompt,
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Of tokens sent.
    pub input: f64,
    /// Of tokens answered.
    pub output: f64,
    /// Of tokens sent that the provider had cached; as `input` when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<f64>,
    /// Of tokens sent that the provider put into its cache; as `input` when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Up to how many tokens sent these prices hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to_tokens: Option<u64>,
}

/// How images are made.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// `PROVIDER/MODEL` of a provider that has `POST images/generations` as OpenAI does. Empty: no images.
    pub model: String,
}

impl Default for AgentConfig {
    fn default() -> Self {
        let provider = |kind: &str, base_url: &str, key: &str, model: &str| Provider {
            kind: kind.to_owned(),
            base_url: base_url.to_owned(),
            key_env: vec![key.to_owned()],
            model: model.to_owned(),
            structured: Structured::JsonSchema,
        };
        let open_router = "https://openrouter.ai/api/v1/";
        let providers = [
            ("anthropic", provider("anthropic", "", "ANTHROPIC_API_KEY", "claude-sonnet-4-6")),
            ("gemini", provider("gemini", "", "GEMINI_API_KEY", "gemini-2.5-flash")),
            ("openai", provider("openai", "", "OPENAI_API_KEY", "gpt-4.1")),
            ("openrouter", provider("openai-compatible", open_router, "OPENROUTER_API_KEY", "")),
        ];
        Self {
            model: String::new(),
            models: BTreeMap::new(),
            profiles: vec![PathBuf::from("agents")],
            recorded: PathBuf::new(),
            max_tokens: 8_192,
            timeout_ms: 300_000,
            budget: Budget::default(),
            providers: providers.map(|(name, own)| (name.to_owned(), own)).into(),
            prices: BTreeMap::new(),
            images: Images::default(),
        }
    }
}

impl AgentConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        self.providers.values().flat_map(|provider| provider.key_env.clone()).collect()
    }

    /// The same with paths that start at the project's root.
    #[must_use]
    pub fn rooted(&self, root: &Path) -> Self {
        let recorded = if self.recorded.as_os_str().is_empty() {
            PathBuf::new()
        } else {
            root.join(&self.recorded)
        };
        let profiles = self.profiles.iter().map(|folder| root.join(folder)).collect();
        Self { profiles, recorded, ..self.clone() }
    }
}
