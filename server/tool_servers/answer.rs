//! What a tool answered, and what became of the call by it. Decides; asks nobody.

use rmcp::model::CallToolResult;
use serde_json::{Value, json};
use windlass_engine::INTERRUPTED;

use super::{Failure, Outcome, catalogue::Entry};

/// The result of a call, in whichever way it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) content: Vec<Value>,
    pub(super) structured: Option<Value>,
    pub(super) is_error: bool,
}

impl Answer {
    pub(super) fn of_result(result: CallToolResult) -> Answer {
        // A content block is made of what came as JSON, so it goes back to it.
        let content = result.content.iter().filter_map(|block| serde_json::to_value(block).ok());
        Answer {
            content: content.collect(),
            structured: result.structured_content,
            is_error: result.is_error.unwrap_or_default(),
        }
    }

    /// Reads a result leniently: a block of an unknown type is still a block. `None` when it is no object.
    pub(super) fn of_json(result: Value) -> Option<Answer> {
        let Value::Object(mut result) = result else { return None };
        let content = match result.remove("content") {
            Some(Value::Array(content)) => content,
            Some(_) | None => Vec::new(),
        };
        let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or_default();
        Some(Answer { content, structured: result.remove("structuredContent"), is_error })
    }
}

/// What became of the call.
pub(super) fn outcome(answer: Answer, entry: &Entry) -> Outcome {
    if answer.is_error {
        return failed(&answer, entry);
    }
    // Some servers write `null` where they mean nothing.
    let structured =
        answer.structured.filter(|result| !result.is_null() || entry.info.output_schema.is_some());
    match structured {
        None => seen(plain(answer.content), entry),
        Some(result) => match entry.output_problems(&result).as_slice() {
            [] => seen(result, entry),
            problems => Outcome::unusable(invalid_result(entry, problems), entry),
        },
    }
}

/// A tool that looks once may say that it is not done.
fn seen(result: Value, entry: &Entry) -> Outcome {
    match entry.info.pollable && result.get("done") == Some(&Value::Bool(false)) {
        true => Outcome::NotDone(result),
        false => Outcome::Succeeded(result),
    }
}

fn invalid_result(entry: &Entry, problems: &[String]) -> Failure {
    let message = format!(
        "{} did its work, but its result does not fit the output schema it promises: {}; this is a defect of the tool server",
        entry.info.name,
        problems.join("; "),
    );
    Failure::new("invalid_result", message, Some(false))
}

/// A single text as JSON where it is an object or a list, else as it is; anything else with its blocks.
fn plain(content: Vec<Value>) -> Value {
    let text = match content.as_slice() {
        [block] => text(block),
        _ => None,
    };
    match text {
        Some(text) => structure(text).unwrap_or_else(|| Value::from(text)),
        None => json!({ "content": content }),
    }
}

fn structure(text: &str) -> Option<Value> {
    // A number or a word alone stays the text that the tool wrote: `007` is not 7.
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn text(block: &Value) -> Option<&str> {
    match block.get("type")?.as_str()? {
        "text" => block.get("text")?.as_str(),
        _ => None,
    }
}

fn failed(answer: &Answer, entry: &Entry) -> Outcome {
    let failure = told(answer, entry);
    if failure.code == "outcome_unknown" && failure.retryable == Some(false) {
        // The tool has looked, and will find out no more when it is asked again: a person has to.
        Outcome::Uncertain { failure, repeatable: false }
    } else if failure.code == "outcome_unknown" {
        Outcome::uncertain(failure, entry)
    } else {
        Outcome::Failed(failure)
    }
}

/// What only this program says of a call, and acts upon: that it was not made, or that nobody knows. From a tool that was
/// called they would have it called again, whatever it allows.
const OUR_CODES: [&str; 2] = ["lease_lost", INTERRUPTED];

/// The failure as the tool tells it: our own servers by fields, others in words.
fn told(answer: &Answer, entry: &Entry) -> Failure {
    let error = answer.structured.as_ref().and_then(|structured| structured.get("error"));
    let field = |name| error.and_then(|error| error.get(name));
    let words = || {
        let texts: Vec<&str> = answer.content.iter().filter_map(text).collect();
        match texts.join("\n") {
            words if words.trim().is_empty() => {
                format!("{} failed without a word", entry.info.name)
            }
            words => words,
        }
    };
    let message = field("message").and_then(Value::as_str);
    let hint = field("hint").and_then(Value::as_str);
    let message = match (message, hint) {
        (Some(message), Some(hint)) if !message.contains(hint) => format!("{message}; {hint}"),
        (Some(message), _) => message.to_owned(),
        (None, _) => words(),
    };
    let code = field("code").and_then(Value::as_str).filter(|code| !OUR_CODES.contains(code));
    Failure {
        code: code.unwrap_or("tool_error").to_owned(),
        message,
        retryable: field("retryable").and_then(Value::as_bool),
        retry_after_ms: field("retry_after_ms").and_then(Value::as_u64),
    }
}
