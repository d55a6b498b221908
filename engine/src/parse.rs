//! Text → workflow, or everything that is wrong with it.

pub(crate) mod document;
pub(crate) mod draft;
mod fields;
mod json;
mod yaml;

use serde_json::Value;

use self::document::{Node, Place};
use self::draft::{Draft, DraftStep};
pub(crate) use self::fields::did_you_mean;
use crate::content_hash;
use crate::workflow::{Kind, OnError, OnUncertain, Retry, Step, ToolName};
use crate::{Problem, Workflow, check};

/// The longest document, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

/// Reads a YAML or JSON document, checks it, and compiles it.
///
/// JSON is recognised by its first character, `{`.
///
/// # Errors
/// Every problem at once, in the order of the text.
pub fn parse(text: &str) -> Result<Workflow, Vec<Problem>> {
    let root = read(text)?;
    let mut problems = Vec::new();
    document::duplicate_keys(&root, "", &mut problems);
    let draft = draft::read(&root, &mut problems);
    let needs = check::check(&draft, &root, &mut problems);
    if problems.is_empty()
        && let Some(workflow) = workflow(draft, needs, root.to_value())
    {
        return Ok(workflow);
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(problems)
}

/// The document as JSON, in the order it was written; nothing in it was checked.
///
/// # Errors
/// What keeps it from being read.
pub fn to_json(text: &str) -> Result<Value, Vec<Problem>> {
    read(text).map(|root| root.to_value())
}

/// Gives problems their lines and columns in the text that they are about.
pub fn locate(text: &str, problems: &mut [Problem]) {
    let Ok(root) = read(text) else { return };
    for problem in problems {
        let place = root.place_of(&problem.pointer);
        (problem.line, problem.column) = (place.line, place.column);
    }
}

fn read(text: &str) -> Result<Node, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if MAX_TEXT < text.len() {
        let message = format!("the document has {} bytes; {MAX_TEXT} are allowed", text.len());
        return Err(vec![document::too_large(Place::START, message)]);
    }
    match text.trim_start().starts_with('{') {
        true => json::read(text),
        false => yaml::read(text),
    }
}

/// The workflow, when every part of it could be read.
fn workflow(draft: Draft, needs: Vec<Vec<usize>>, document: Value) -> Option<Workflow> {
    let config = draft.config;
    let draft_count = draft.steps.len();
    let steps = draft.steps.into_iter().zip(needs);
    let steps =
        steps.enumerate().map(|(index, (step, needs))| compiled(index, step, needs, &config));
    Some(Workflow {
        name: draft.name?,
        title: draft.title,
        description: draft.description,
        tags: draft.tags,
        input: draft.input,
        main: (0..draft_count).collect(),
        steps: steps.collect::<Option<_>>()?,
        lock: None,
        vars: Vec::new(),
        on_failure: Vec::new(),
        on_cancel: Vec::new(),
        config,
        output: draft.output,
        hash: content_hash(&document),
        document,
    })
}

fn compiled(
    index: usize,
    step: DraftStep,
    needs: Vec<usize>,
    config: &crate::Config,
) -> Option<Step> {
    let on_error = match config.continue_on_error {
        true => OnError::Continue,
        false => OnError::Fail,
    };
    Some(Step {
        name: step.name?,
        kind: Kind::Tool { tool: ToolName::parse(&step.tool?)?, params: step.params? },
        pointer: format!("/steps/{index}"),
        parent: None,
        for_each: None,
        approval: None,
        expect: None,
        on_uncertain: OnUncertain::Ask,
        verify: None,
        undo: None,
        lock: None,
        needs,
        condition: step.condition,
        assign: step.assign,
        retry: step.retry.unwrap_or_else(|| Retry::plain(config.max_retries)),
        timeout_ms: step.timeout_ms,
        on_error: step.on_error.unwrap_or(on_error),
    })
}

#[cfg(test)]
mod tests;
