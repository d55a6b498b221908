//! One call: one turn of a model, and one more when its answer does not fit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::models::{Finish, Message, Question, Said};
use super::prices::{cost, dollars, price};
use super::profiles::Profile;
use super::{Agent, budget};
use crate::contract::{Call, Code, Provider, ToolError, Usage};

/// The first answer, and one that repairs it.
const TURNS: usize = 2;
const SHOWN_PROBLEMS: usize = 10;
const SHOWN_CHARS: usize = 500;

/// What is wished for beside the profile; what is set here wins.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) model: Option<String>,
    pub(super) schema: Option<Value>,
    pub(super) max_tokens: Option<u32>,
    pub(super) temperature: Option<f64>,
    pub(super) max_cost_usd: Option<f64>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answered,
    pub(super) taken: Taken,
}

/// An answer, in the shape that was asked for.
#[derive(Debug)]
pub(super) enum Answered {
    Text(String),
    Json(Value),
}

/// What all turns of a call took together.
#[derive(Debug, Default)]
pub(super) struct Taken {
    turns: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
    cost_micro_usd: Option<u64>,
    model: String,
    finish_reason: String,
}

impl Taken {
    fn add(&mut self, said: &Said, cost: Option<u64>) {
        let before = if self.turns == 0 { Some(0) } else { self.cost_micro_usd };
        self.cost_micro_usd = before.zip(cost).map(|(before, cost)| before + cost);
        self.turns += 1;
        self.prompt += said.prompt_tokens;
        self.completion += said.completion_tokens;
        self.cached += said.cached_tokens;
        self.model.clone_from(&said.model);
        self.finish_reason.clone_from(&said.finish_reason);
    }

    /// As it stands in an answer.
    pub(super) fn described(&self) -> Value {
        json!({
            "usage": {
                "prompt": self.prompt, "completion": self.completion, "cached": self.cached,
                "total": self.prompt + self.completion,
            },
            "cost_usd": self.cost_micro_usd.map(dollars),
            "model": self.model,
            "finish_reason": self.finish_reason,
            "repaired": 1 < self.turns,
        })
    }
}

/// Asks a model.
pub(super) async fn ask(
    agent: &Agent,
    call: &Call,
    profile: &Profile,
    arguments: &Value,
    wish: Wish,
) -> Result<Outcome, ToolError> {
    let max_cost_usd = wish.max_cost_usd.or(profile.max_cost_usd);
    let mut question = question(agent, call, profile, arguments, wish)?;
    let validator = question.schema.as_ref().map(validator).transpose()?;
    let mut taken = Taken::default();
    let mut problems = Vec::new();
    while question.turn < TURNS {
        question.turn += 1;
        budget::check(agent, call, &question, max_cost_usd).await?;
        let said = agent.models.ask(&question).await?;
        let cost = cost(price(&agent.config, &question.chosen), &said);
        note(agent, call, &question, &said, cost).await?;
        taken.add(&said, cost);
        let whole = finished(&said, validator.is_some())?;
        let Some(validator) = &validator else {
            return Ok(Outcome { answer: Answered::Text(whole), taken });
        };
        match fitting(validator, &whole) {
            Ok(value) => return Ok(Outcome { answer: Answered::Json(value), taken }),
            Err(found) => problems = found,
        }
        let repair = repair(&problems);
        question.messages.extend([Message::Model(whole), Message::User(repair)]);
    }
    Err(mismatch(&problems))
}

fn question(
    agent: &Agent,
    call: &Call,
    profile: &Profile,
    arguments: &Value,
    wish: Wish,
) -> Result<Question, ToolError> {
    let text = profile.question(arguments);
    let model = wish.model.filter(|model| !model.is_empty());
    let chosen = agent.models.choose(model.as_deref().unwrap_or(&profile.model))?;
    let bound = wish.max_tokens.or(profile.max_tokens).unwrap_or(agent.config.max_tokens);
    Ok(Question {
        chosen,
        profile: profile.name.clone(),
        step: call.step().map(str::to_owned),
        turn: 0,
        system: profile.instructions(&text),
        messages: vec![Message::User(text)],
        schema: wish.schema.or_else(|| profile.output.clone()),
        max_tokens: bound,
        temperature: wish.temperature.or(profile.temperature),
    })
}

fn validator(schema: &Value) -> Result<Validator, ToolError> {
    jsonschema::validator_for(schema).map_err(|error| {
        ToolError::new(Code::InvalidArgument, format!("output_schema is no JSON Schema: {error}"))
    })
}

/// Notes what a turn took. The same turn of the same call is one note, however often it is made.
async fn note(
    agent: &Agent,
    call: &Call,
    question: &Question,
    said: &Said,
    cost: Option<u64>,
) -> Result<(), ToolError> {
    let Some(host) = agent.host.as_deref() else { return Ok(()) };
    let usage = Usage {
        key: format!("{}/model-{}", key(call), question.turn),
        execution_id: call.execution_id().map(str::to_owned),
        step: question.step.clone(),
        model: format!("{}/{}", question.chosen.provider, question.chosen.model),
        prompt_tokens: said.prompt_tokens,
        completion_tokens: said.completion_tokens,
        cached_tokens: said.cached_tokens,
        cost_micro_usd: cost,
    };
    host.spend(usage).await
}

/// The key of a call; one of its own when the caller has none.
pub(super) fn key(call: &Call) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    call.idempotency_key.clone().unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (process, number) = (std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        format!("unkeyed-{process}-{}-{number}", now.as_nanos())
    })
}

/// The whole answer, if the model gave one.
fn finished(said: &Said, structured: bool) -> Result<String, ToolError> {
    match said.finish {
        Finish::Refused => Err(failed("refused", "the model refused to answer".to_owned())
            .hint("rephrase the prompt, or ask another model")),
        Finish::Cut if structured => {
            let message = "the answer was cut off before it was complete".to_owned();
            Err(failed("cut_off", message).hint("raise max_tokens, or ask for less"))
        }
        Finish::Complete | Finish::Cut => Ok(said.text.clone()),
    }
}

/// The answer as a value that fits, or everything that does not.
fn fitting(validator: &Validator, text: &str) -> Result<Value, Vec<String>> {
    let value: Value = serde_json::from_str(unwrapped(text))
        .map_err(|error| vec![format!("the answer is not JSON: {error}")])?;
    let problem = |error: jsonschema::ValidationError<'_>| {
        let path = error.instance_path().to_string();
        let path = if path.is_empty() { "the value".to_owned() } else { path };
        shortened(&format!("{path}: {error}"))
    };
    let problems: Vec<_> =
        validator.iter_errors(&value).take(SHOWN_PROBLEMS).map(problem).collect();
    if problems.is_empty() { Ok(value) } else { Err(problems) }
}

/// An answer without the code fence that some models put around it.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    let Some(inside) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inside.split_once('\n').map_or(inside, |(_, body)| body).trim()
}

fn repair(problems: &[String]) -> String {
    format!(
        "Your answer does not fit the schema:\n- {}\nAnswer again, with the whole corrected JSON value and nothing else.",
        problems.join("\n- ")
    )
}

fn mismatch(problems: &[String]) -> ToolError {
    let message = format!(
        "the model's answer does not fit the schema, nor did the repaired one: {}",
        problems.join("; ")
    );
    let error = failed("schema_mismatch", message)
        .hint("call again, ask a stronger model, or ask for a simpler shape");
    // Another answer may fit, and nothing was done.
    ToolError { retryable: true, ..error }
}

fn failed(reason: &'static str, message: String) -> ToolError {
    let provider = Provider {
        name: "model",
        status: None,
        request_id: None,
        documentation_url: None,
        reason: Some(reason),
    };
    ToolError {
        provider: Some(Box::new(provider)),
        ..ToolError::new(Code::FailedPrecondition, message)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn a_code_fence_around_an_answer_is_taken_off() {
        for (text, expected) in [
            ("{}", "{}"),
            (" ```json\n{\"a\": 1}\n```\n", "{\"a\": 1}"),
            ("```\n[]\n```", "[]"),
            ("```", "```"),
        ] {
            assert_eq!(unwrapped(text), expected);
        }
    }
}
