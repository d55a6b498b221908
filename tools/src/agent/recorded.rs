//! Answers from a file instead of a model: for tests and demonstrations, without any key.
//!
//! The file is a list; the first entry that fits a question answers it, every time, so that an execution goes the same
//! way however often and wherever it is driven. Nothing is counted: a second process could not know the count.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::models::{Asking, Chosen, Finish, Message, Models, Question, Said};
use super::yaml;
use crate::contract::{Code, ToolError};

const SHOWN_CHARS: usize = 120;

/// A file of recorded answers.
pub(super) struct Recorded(PathBuf);

/// One answer, and which questions it is for: all that is said here must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    profile: Option<String>,
    model: Option<String>,
    /// The path of the step in its workflow.
    step: Option<String>,
    /// Texts that the question contains.
    #[serde(default)]
    prompt: Texts,
    /// The answer to every turn.
    answer: Option<Value>,
    /// The answers to the turns of one call, in their order; the last one stays.
    #[serde(default)]
    answers: Vec<Value>,
    #[serde(default)]
    usage: Tokens,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Texts {
    #[default]
    None,
    One(String),
    All(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tokens {
    prompt: u64,
    completion: u64,
    cached: u64,
}

impl Recorded {
    pub(super) fn new(file: PathBuf) -> Self {
        Self(file)
    }

    fn answer(&self, question: &Question) -> Result<Said, ToolError> {
        let entries = read(&self.0)?;
        let asked = asked(question);
        let entry = entries.iter().find(|entry| entry.fits(question, &asked));
        let entry = entry.ok_or_else(|| unanswered(&self.0, question, &asked))?;
        Ok(entry.said(question))
    }
}

impl Models for Recorded {
    fn choose(&self, wished: &str) -> Result<Chosen, ToolError> {
        let model = if wished.is_empty() { "recorded" } else { wished };
        Ok(Chosen { provider: "recorded".into(), kind: "recorded".into(), model: model.into() })
    }

    fn ask<'a>(&'a self, question: &'a Question) -> Asking<'a> {
        let said = self.answer(question);
        Box::pin(async { said })
    }
}

impl Entry {
    fn fits(&self, question: &Question, asked: &str) -> bool {
        let is = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
        };
        is(&self.profile, Some(&question.profile))
            && is(&self.model, Some(&question.chosen.model))
            && is(&self.step, question.step.as_deref())
            && match &self.prompt {
                Texts::None => true,
                Texts::One(text) => asked.contains(text.as_str()),
                Texts::All(texts) => texts.iter().all(|text| asked.contains(text.as_str())),
            }
    }

    fn said(&self, question: &Question) -> Said {
        let nth = self.answers.get(question.turn - 1).or(self.answers.last());
        let text = match nth.or(self.answer.as_ref()) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let finish_reason = self.finish_reason.clone().unwrap_or_else(|| "stop".to_owned());
        let finish = match finish_reason.as_str() {
            "length" => Finish::Cut,
            "content_filter" => Finish::Refused,
            _ => Finish::Complete,
        };
        Said {
            text,
            model: question.chosen.model.clone(),
            prompt_tokens: self.usage.prompt,
            completion_tokens: self.usage.completion,
            cached_tokens: self.usage.cached,
            written_tokens: 0,
            finish,
            finish_reason,
        }
    }
}

fn read(file: &Path) -> Result<Vec<Entry>, ToolError> {
    let wrong = |problem: String| {
        let message =
            format!("the recorded answers in {} cannot be read: {problem}", file.display());
        ToolError::new(Code::FailedPrecondition, message)
            .hint("agent.recorded names a YAML list of { profile, step, model, prompt, answer }")
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let value = yaml::read(&text).map_err(wrong)?;
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}

/// Everything that is said to the model in the first place.
fn asked(question: &Question) -> String {
    match question.messages.first() {
        Some(Message::User(text)) => format!("{}\n{text}", question.system),
        Some(Message::Model(_)) | None => question.system.clone(),
    }
}

fn unanswered(file: &Path, question: &Question, asked: &str) -> ToolError {
    let start: String = asked.trim_start().chars().take(SHOWN_CHARS).collect();
    let Question { profile, step, .. } = question;
    let step = step.as_deref().unwrap_or("-");
    let message = format!(
        "no recorded answer in {} fits profile {profile:?}, step {step:?}: {start:?}",
        file.display()
    );
    ToolError::new(Code::FailedPrecondition, message)
        .hint("add an entry to the file, or empty agent.recorded to ask a provider")
}
