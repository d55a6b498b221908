//! What is asked of a model and what it says: the one thing that providers and recordings have in common.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use crate::contract::ToolError;

/// Somebody who answers for models.
pub(super) trait Models: Send + Sync {
    /// Which model answers when this one is wished for (empty: none in particular).
    fn choose(&self, wished: &str) -> Result<Chosen, ToolError>;

    /// One turn.
    fn ask<'a>(&'a self, question: &'a Question) -> Asking<'a>;
}

/// A model at work.
pub(super) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Said, ToolError>> + Send + 'a>>;

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The provider's name in the configuration.
    pub(super) provider: String,
    /// What the provider speaks.
    pub(super) kind: String,
    /// The model, as the provider names it.
    pub(super) model: String,
}

/// One turn to be had.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) chosen: Chosen,
    /// The profile it comes from.
    pub(super) profile: String,
    /// The step it is asked for.
    pub(super) step: Option<String>,
    /// The how-manieth turn of one call it is, from 1.
    pub(super) turn: usize,
    pub(super) system: String,
    pub(super) messages: Vec<Message>,
    pub(super) schema: Option<Value>,
    pub(super) max_tokens: u32,
    pub(super) temperature: Option<f64>,
}

/// What was said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    User(String),
    Model(String),
}

/// What a model said, and what that took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    /// The model that answered, in the provider's words.
    pub(super) model: String,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) cached_tokens: u64,
    /// Of the tokens sent, those that the provider put into its cache.
    pub(super) written_tokens: u64,
    pub(super) finish: Finish,
    /// Why it ended, in the provider's words.
    pub(super) finish_reason: String,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Finish {
    /// It had said everything.
    #[default]
    Complete,
    /// It ran out of tokens.
    Cut,
    /// It would not answer.
    Refused,
}

impl Question {
    /// A guess of how many tokens are sent: texts have about four characters to a token, other languages fewer, so
    /// that three is on the safe side.
    pub(super) fn estimated_tokens(&self) -> u64 {
        let texts = self.messages.iter().map(|message| match message {
            Message::User(text) | Message::Model(text) => text.len(),
        });
        let schema = self.schema.as_ref().map_or(0, |schema| schema.to_string().len());
        (texts.sum::<usize>() + self.system.len() + schema).div_ceil(3) as u64
    }
}
