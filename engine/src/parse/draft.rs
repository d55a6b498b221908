//! A tree with places → the parts of a workflow, each read as far as it can be.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::document::{Kind, Node};
use super::fields::{At, Fields};
use crate::expr::{Condition, Template};
use crate::input::InputSchema;
use crate::workflow::{Backoff, Config, DEFAULT_MAX_PARALLEL, OnError, Retry};
use crate::{Problem, ToolName};

/// How many steps a workflow may have.
const MAX_STEPS: usize = 10_000;

/// The longest bound on time: a year.
const MAX_TIMEOUT_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The longest delay between attempts: a day.
const MAX_DELAY_MS: u64 = 24 * 60 * 60 * 1_000;

const TOP_KEYS: [&str; 9] =
    ["name", "title", "description", "tags", "input", "config", "steps", "output", "$schema"];

const TOP_KEYS_LATER: [&str; 4] = ["lock", "vars", "onFailure", "onCancel"];

const CONFIG_KEYS: [&str; 4] = ["timeoutMs", "maxParallel", "continueOnError", "maxRetries"];

const CONFIG_KEYS_LATER: [&str; 1] = ["undoOnFailure"];

const STEP_KEYS: [&str; 9] =
    ["name", "tool", "params", "needs", "if", "assign", "retry", "timeoutMs", "onError"];

const STEP_KEYS_LATER: [&str; 20] = [
    "workflow",
    "approval",
    "ask",
    "wait",
    "set",
    "steps",
    "parallel",
    "waitFor",
    "repeat",
    "else",
    "stop",
    "forEach",
    "as",
    "maxParallel",
    "expect",
    "onUncertain",
    "verify",
    "undo",
    "lock",
    "vars",
];

const RETRY_KEYS: [&str; 7] =
    ["maxAttempts", "backoff", "initialDelayMs", "backoffMultiplier", "maxDelayMs", "jitter", "on"];

/// A workflow that may still have problems.
pub(crate) struct Draft {
    pub(crate) name: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) input: InputSchema,
    pub(crate) config: Config,
    pub(crate) steps: Vec<DraftStep>,
    pub(crate) output: Option<Template>,
}

/// A step that may still have problems.
#[derive(Default)]
pub(crate) struct DraftStep {
    pub(crate) name: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) params: Option<Template>,
    /// Names, as they were written; `None` when the key is left out.
    pub(crate) needs: Option<Vec<Option<String>>>,
    pub(crate) condition: Option<Condition>,
    pub(crate) assign: Option<String>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) on_error: Option<OnError>,
}

/// Reads everything that can be read and reports the rest.
pub(super) fn read(root: &Node, problems: &mut Vec<Problem>) -> Draft {
    let mut draft = empty();
    let at = At { node: root, pointer: String::new() };
    let Some(fields) = at.object("a workflow", problems) else { return draft };
    fields.only(&TOP_KEYS, &TOP_KEYS_LATER, problems);
    draft.name = fields.required("name", problems).and_then(|at| at.name(false, problems));
    draft.title = text(&fields, "title", problems);
    draft.description = text(&fields, "description", problems);
    draft.tags = fields.get("tags").and_then(|at| at.texts(problems)).unwrap_or_default();
    if let Some(at) = fields.get("input") {
        draft.input = input(&at, problems);
    }
    if let Some(at) = fields.get("config") {
        draft.config = config(&at, problems);
    }
    if let Some(at) = fields.required("steps", problems) {
        draft.steps = steps(&at, problems);
    }
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
        },
        steps: Vec::new(),
        output: None,
    }
}

fn text(fields: &Fields<'_>, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
    fields.get(key).and_then(|at| at.text(problems)).map(str::to_owned)
}

fn input(at: &At<'_>, problems: &mut Vec<Problem>) -> InputSchema {
    InputSchema::compile_located(&at.node.to_value()).unwrap_or_else(|found| {
        problems.extend(found.into_iter().map(|problem| at.inside(problem)));
        InputSchema::any()
    })
}

fn config(at: &At<'_>, problems: &mut Vec<Problem>) -> Config {
    let mut config = empty().config;
    let Some(fields) = at.object("`config`", problems) else { return config };
    fields.only(&CONFIG_KEYS, &CONFIG_KEYS_LATER, problems);
    config.timeout_ms = timeout(&fields, problems);
    if let Some(at) = fields.get("maxParallel") {
        config.max_parallel = small(&at, 1, 1_000, problems).unwrap_or(DEFAULT_MAX_PARALLEL);
    }
    if let Some(at) = fields.get("continueOnError") {
        config.continue_on_error = at.boolean(problems).unwrap_or(false);
    }
    if let Some(at) = fields.get("maxRetries") {
        config.max_retries = small(&at, 0, 99, problems).unwrap_or(0);
    }
    config
}

fn timeout(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<u64> {
    fields.get("timeoutMs").and_then(|at| at.whole(1..=MAX_TIMEOUT_MS, problems))
}

fn small(at: &At<'_>, least: u32, most: u32, problems: &mut Vec<Problem>) -> Option<u32> {
    let number = at.whole(least.into()..=most.into(), problems)?;
    u32::try_from(number).ok()
}

fn steps(at: &At<'_>, problems: &mut Vec<Problem>) -> Vec<DraftStep> {
    let Some(items) = at.list(problems) else { return Vec::new() };
    if items.is_empty() {
        problems.push(at.problem("no_steps", "a workflow needs at least one step"));
    }
    if MAX_STEPS < items.len() {
        let message = format!("there are {} steps; {MAX_STEPS} are allowed", items.len());
        problems.push(at.problem("too_large", message));
        return Vec::new();
    }
    items.iter().map(|item| step(item, problems)).collect()
}

fn step(at: &At<'_>, problems: &mut Vec<Problem>) -> DraftStep {
    let mut step = DraftStep::default();
    let Some(fields) = at.object("a step", problems) else { return step };
    fields.only(&STEP_KEYS, &STEP_KEYS_LATER, problems);
    step.name = fields.required("name", problems).and_then(|at| at.name(false, problems));
    step.tool = tool(&fields, problems);
    step.params = params(&fields, problems);
    step.needs = fields.get("needs").map(|at| needs(&at, problems));
    step.condition = fields.get("if").and_then(|at| condition(&at, problems));
    step.assign = fields.get("assign").and_then(|at| at.name(true, problems));
    step.retry = fields.get("retry").and_then(|at| retry(&at, problems));
    step.timeout_ms = timeout(&fields, problems);
    step.on_error = fields.get("onError").and_then(|at| {
        at.one_of(&[("fail", OnError::Fail), ("continue", OnError::Continue)], problems)
    });
    step
}

fn tool(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    // A step of another kind has its own problem already.
    let kinds = ["workflow", "approval", "ask", "wait", "set", "steps", "stop"];
    let other = kinds.iter().any(|kind| fields.get(kind).is_some());
    let at = match other {
        true => fields.get("tool"),
        false => fields.required("tool", problems),
    }?;
    let name = at.text(problems)?;
    if ToolName::parse(name).is_some() && !name.contains(|c: char| c.is_whitespace() || c == '$') {
        return Some(name.to_owned());
    }
    let message = format!(
        "`{name}` is not a tool: write `server.tool`, for instance `github.getIssue`; the name is \
         written out, without `${{ }}`"
    );
    problems.push(at.problem("invalid_tool", message));
    None
}

fn params(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    let Some(at) = fields.get("params") else {
        return Template::compile(&Value::Object(Map::new())).ok();
    };
    match &at.node.kind {
        Kind::Object(_) => Some(template(&at, problems)),
        Kind::Scalar(Value::String(text)) if text.trim().starts_with("${") => {
            Some(template(&at, problems))
        }
        Kind::Scalar(_) | Kind::List(_) => {
            at.object("`params`", problems);
            None
        }
    }
}

fn template(at: &At<'_>, problems: &mut Vec<Problem>) -> Template {
    let mut errors = Vec::new();
    let template = Template::compile_all(&at.node.to_value(), &mut errors);
    for (inside, error) in errors {
        let problem = at.problem("invalid_expression", error.message);
        problems.push(at.inside(Problem { pointer: inside, ..problem }));
    }
    template
}

fn condition(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Condition> {
    let text = match &at.node.kind {
        Kind::Scalar(Value::Bool(truth)) => truth.to_string(),
        _ => at.text(problems)?.to_owned(),
    };
    match Condition::compile(&text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            problems.push(at.problem("invalid_expression", error.message));
            None
        }
    }
}

fn needs(at: &At<'_>, problems: &mut Vec<Problem>) -> Vec<Option<String>> {
    let items = at.list(problems).unwrap_or_default();
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    for item in items {
        let name = item.text(problems);
        if let Some(name) = name
            && !seen.insert(name)
        {
            problems.push(item.problem("duplicate_name", format!("`{name}` stands here twice")));
        }
        names.push(name.map(str::to_owned));
    }
    names
}

fn retry(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Retry> {
    if let Kind::Scalar(Value::Number(number)) = &at.node.kind {
        let message = "`retry` must be an object, and is a number".to_owned();
        let mut problem = at.problem("wrong_type", message);
        problem.suggestion = Some(format!("{{ maxAttempts: {number} }}"));
        problems.push(problem);
        return None;
    }
    let fields = at.object("`retry`", problems)?;
    fields.only(&RETRY_KEYS, &[], problems);
    let mut retry = Retry::plain(2);
    let given = |key: &str| fields.get(key);
    if let Some(number) = given("maxAttempts").and_then(|at| small(&at, 1, 100, problems)) {
        retry.max_attempts = number;
    }
    if let Some(backoff) = given("backoff").and_then(|at| backoff(&at, problems)) {
        retry.backoff = backoff;
    }
    if let Some(delay) = given("initialDelayMs").and_then(|at| delay(&at, problems)) {
        retry.initial_delay_ms = delay;
    }
    if let Some(multiplier) =
        given("backoffMultiplier").and_then(|at| at.fraction(1.0..=100.0, problems))
    {
        retry.multiplier = multiplier;
    }
    if let Some(jitter) = given("jitter").and_then(|at| at.boolean(problems)) {
        retry.jitter = jitter;
    }
    if let Some(codes) = given("on").and_then(|at| at.texts(problems)) {
        retry.on = codes;
    }
    retry.max_delay_ms = longest_delay(&fields, &retry, problems);
    Some(retry)
}

fn delay(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<u64> {
    at.whole(0..=MAX_DELAY_MS, problems)
}

fn backoff(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Backoff> {
    let words = [
        ("exponential", Backoff::Exponential),
        ("linear", Backoff::Linear),
        ("fixed", Backoff::Fixed),
    ];
    at.one_of(&words, problems)
}

fn longest_delay(fields: &Fields<'_>, retry: &Retry, problems: &mut Vec<Problem>) -> u64 {
    // A first delay that is written down is not cut by a bound that is not.
    let otherwise = retry.max_delay_ms.max(retry.initial_delay_ms);
    let Some(at) = fields.get("maxDelayMs") else { return otherwise };
    let Some(longest) = delay(&at, problems) else { return otherwise };
    if longest < retry.initial_delay_ms {
        let message = format!(
            "`maxDelayMs` is {longest}, less than `initialDelayMs`, which is {}",
            retry.initial_delay_ms
        );
        problems.push(at.problem("out_of_range", message));
    }
    longest
}
