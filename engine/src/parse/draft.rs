//! A tree with places → the parts of a workflow, each read as far as it can be.

use serde_json::Value;

use super::aliases;
use super::document::{Kind, Node};
use super::expressions::template;
use super::fields::{At, Fields};
use super::input::input;
use super::requests::lock;
use super::steps::{self, Arena, DraftStep, List, ListOf};
use crate::expr::Template;
use crate::input::InputSchema;
use crate::workflow::{Config, DEFAULT_MAX_PARALLEL, Lock, Priority};
use crate::{PatchOperation, Problem};

/// The longest bound on time: a year.
pub(crate) const MAX_TIMEOUT_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The most calls that `config.maxParallel` lets out at once.
pub(crate) const MAX_CALLS: u32 = 1_000;

/// The most attempts after the first that `config.maxRetries` allows.
pub(crate) const MAX_RETRIES: u32 = 99;

/// How many vars a workflow may have.
pub(crate) const MAX_VARS: usize = 1_000;

/// Every key of a document.
pub(crate) const KEYS: [&str; 13] = [
    "name",
    "title",
    "description",
    "tags",
    "input",
    "config",
    "lock",
    "vars",
    "steps",
    "output",
    "onFailure",
    "onCancel",
    "$schema",
];

/// Every key of `config`.
pub(crate) const CONFIG_KEYS: [&str; 6] =
    ["timeoutMs", "maxParallel", "continueOnError", "maxRetries", "undoOnFailure", "priority"];

/// A workflow that may still have problems.
pub(crate) struct Draft {
    pub(crate) name: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) input: InputSchema,
    pub(crate) config: Config,
    pub(crate) lock: Option<Lock>,
    pub(crate) vars: Vec<(String, Template)>,
    /// Every step at every depth, in the order of the document; a group comes before what it holds.
    pub(crate) steps: Vec<DraftStep>,
    /// Every list of steps.
    pub(crate) lists: Vec<List>,
    pub(crate) output: Option<Template>,
}

/// Reads everything that can be read and reports the rest.
pub(super) fn read(root: &Node, problems: &mut Vec<Problem>) -> Draft {
    let mut draft = empty();
    let at = At { node: root, pointer: String::new() };
    let Some(fields) = at.object("a workflow", problems) else { return draft };
    only_known(&fields, problems);
    let name = fields.required("name", &aliases::DOCUMENT, problems);
    draft.name = name.and_then(|at| at.name(false, problems));
    draft.title = text(&fields, "title", problems);
    draft.description = text(&fields, "description", problems);
    draft.tags = fields.get("tags").and_then(|at| at.texts(problems)).unwrap_or_default();
    if let Some(at) = fields.get("input") {
        draft.input = input(&at, problems);
    }
    if let Some(at) = fields.get("config") {
        draft.config = config(&at, problems);
    }
    draft.lock = fields.get("lock").and_then(|at| lock(&at, problems));
    if let Some(at) = fields.get("vars") {
        draft.vars = vars(&at, problems);
    }
    let mut arena = Arena::default();
    if let Some(at) = fields.required("steps", &aliases::DOCUMENT, problems) {
        steps::read(&at, ListOf::Main, &mut arena, problems);
    }
    for (key, of) in [("onFailure", ListOf::OnFailure), ("onCancel", ListOf::OnCancel)] {
        if let Some(at) = fields.get(key) {
            steps::read(&at, of, &mut arena, problems);
        }
    }
    (draft.steps, draft.lists) = (arena.steps, arena.lists);
    draft.output = fields.get("output").map(|at| template(&at, problems));
    draft
}

fn empty() -> Draft {
    Draft {
        name: None,
        title: None,
        description: None,
        tags: Vec::new(),
        input: InputSchema::any(),
        config: Config {
            timeout_ms: None,
            max_parallel: DEFAULT_MAX_PARALLEL,
            continue_on_error: false,
            max_retries: 0,
            undo_on_failure: false,
            priority: Priority::Normal,
        },
        lock: None,
        vars: Vec::new(),
        steps: Vec::new(),
        lists: Vec::new(),
        output: None,
    }
}

/// Refuses unknown keys; those of `config` may have been put beside it.
fn only_known(fields: &Fields<'_>, problems: &mut Vec<Problem>) {
    let before = problems.len();
    fields.only(&KEYS, &aliases::DOCUMENT, problems);
    for problem in &mut problems[before..] {
        let Some(key) = problem.found.clone().filter(|key| CONFIG_KEYS.contains(&key.as_str()))
        else {
            continue;
        };
        problem.message = format!("`{key}` belongs into `config`");
        problem.suggestion = Some(format!("config: {{ {key}: … }}"));
        problem.nearest = Vec::new();
        problem.patch = into_config(fields, &key);
    }
}

fn into_config(fields: &Fields<'_>, key: &str) -> Vec<PatchOperation> {
    let from = format!("/{key}");
    match (fields.get("config"), fields.get(key)) {
        (Some(config), _) if matches!(config.node.kind, Kind::Object(_)) => {
            vec![PatchOperation::Move { from, path: format!("/config/{key}") }]
        }
        (None, Some(value)) => {
            let config =
                Value::Object([(key.to_owned(), value.node.to_value())].into_iter().collect());
            vec![
                PatchOperation::Remove { path: from },
                PatchOperation::Add { path: "/config".to_owned(), value: config },
            ]
        }
        _ => Vec::new(),
    }
}

fn text(fields: &Fields<'_>, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
    fields.get(key).and_then(|at| at.text(problems)).map(str::to_owned)
}

fn config(at: &At<'_>, problems: &mut Vec<Problem>) -> Config {
    let mut config = empty().config;
    let Some(fields) = at.object("`config`", problems) else { return config };
    fields.only(&CONFIG_KEYS, &aliases::CONFIG, problems);
    config.timeout_ms = timeout(&fields, problems);
    if let Some(at) = fields.get("maxParallel") {
        config.max_parallel = at.small(1..=MAX_CALLS, problems).unwrap_or(DEFAULT_MAX_PARALLEL);
    }
    if let Some(at) = fields.get("continueOnError") {
        config.continue_on_error = at.boolean(problems).unwrap_or(false);
    }
    if let Some(at) = fields.get("maxRetries") {
        config.max_retries = at.small(0..=MAX_RETRIES, problems).unwrap_or(0);
    }
    if let Some(at) = fields.get("undoOnFailure") {
        config.undo_on_failure = at.boolean(problems).unwrap_or(false);
    }
    if let Some(at) = fields.get("priority") {
        config.priority = at.one_of(&Priority::WORDS, problems).unwrap_or_default();
    }
    config
}

pub(super) fn timeout(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<u64> {
    fields.get("timeoutMs").and_then(|at| at.whole(1..=MAX_TIMEOUT_MS, problems))
}

fn vars(at: &At<'_>, problems: &mut Vec<Problem>) -> Vec<(String, Template)> {
    let Some(fields) = at.object("`vars`", problems) else { return Vec::new() };
    let count = fields.each().count();
    if MAX_VARS < count {
        let message = format!("there are {count} vars; {MAX_VARS} are allowed");
        problems.push(at.problem("too_large", message));
        return Vec::new();
    }
    let each = fields.each();
    each.map(|(entry, at)| {
        fields.name_key(entry, problems);
        (entry.key.clone(), template(&at, problems))
    })
    .collect()
}
