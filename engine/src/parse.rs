//! Text → workflow, or everything that is wrong with it.

mod aliases;
pub(crate) mod document;
pub(crate) mod draft;
mod expressions;
pub(crate) mod fields;
mod input;
mod json;
pub(crate) mod kinds;
pub(crate) mod requests;
pub(crate) mod steps;
mod yaml;

use serde_json::Value;

use self::document::{Node, Place};
use self::draft::Draft;
pub(crate) use self::fields::did_you_mean;
use self::steps::{DraftStep, ListOf};
use crate::content_hash;
use crate::workflow::{OnError, Retry, Step};
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
        // So the schema is held to every document that any test of the engine reads.
        #[cfg(test)]
        crate::schema::tests::must_accept(&workflow.document);
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

/// Gives problems that were found after parsing their line and column in the text, by their JSON Pointers.
pub fn locate(text: &str, problems: &mut [Problem]) {
    let Ok(root) = read(text) else { return };
    for problem in problems.iter_mut().filter(|problem| problem.line == 0) {
        let place = match problem.code {
            "unknown_key" => root.place_of_key(&problem.pointer),
            _ => root.place_of(&problem.pointer),
        };
        (problem.line, problem.column) = (place.line, place.column);
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
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
    let list = |of: ListOf| {
        let list = draft.lists.iter().find(|list| list.of == of);
        list.map(|list| list.steps.clone()).unwrap_or_default()
    };
    let (main, on_failure, on_cancel) =
        (list(ListOf::Main), list(ListOf::OnFailure), list(ListOf::OnCancel));
    let steps = draft.steps.into_iter().zip(needs);
    let steps = steps.map(|(step, needs)| compiled(step, needs, &config));
    Some(Workflow {
        name: draft.name?,
        title: draft.title,
        description: draft.description,
        tags: draft.tags,
        input: draft.input,
        main,
        steps: steps.collect::<Option<_>>()?,
        lock: draft.lock,
        vars: draft.vars,
        on_failure,
        on_cancel,
        config,
        output: draft.output,
        hash: content_hash(&document),
        document,
    })
}

fn compiled(step: DraftStep, needs: Vec<usize>, config: &crate::Config) -> Option<Step> {
    let on_error = match config.continue_on_error {
        true => OnError::Continue,
        false => OnError::Fail,
    };
    Some(Step {
        name: step.name?,
        pointer: step.pointer,
        kind: step.kind?,
        parent: step.parent,
        needs,
        condition: step.condition,
        for_each: step.for_each,
        assign: step.assign,
        retry: step.retry.unwrap_or_else(|| Retry::plain(config.max_retries)),
        timeout_ms: step.timeout_ms,
        on_error: step.on_error.unwrap_or(on_error),
        approval: step.approval,
        expect: step.expect,
        on_uncertain: step.on_uncertain,
        verify: step.verify,
        undo: step.undo,
        lock: step.lock,
    })
}

#[cfg(test)]
mod tests;
