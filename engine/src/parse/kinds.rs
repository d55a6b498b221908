//! What a step does, and how it goes about it.

use serde_json::{Value, json};

use super::aliases;
use super::document::Kind as NodeKind;
use super::draft::MAX_TIMEOUT_MS;
use super::expressions::{
    condition, list_template, message, milliseconds_template, moment_template, params,
    text_template,
};
use super::fields::{At, Fields, duration};
use super::requests::{approval, ask, values};
use super::steps::{self, Arena, ListOf};
use crate::workflow::{
    Approval, Backoff, Compensation, ForEach, Group, Kind, OnUncertain, Outcome, Repeat, Retry,
    Stop, Terms, Verify, Wait, WaitFor,
};
use crate::{PatchOperation, Problem, ToolName};

/// The longest delay between attempts: a day.
pub(crate) const MAX_DELAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How often a loop goes round when it does not say.
pub(crate) const DEFAULT_ITERATIONS: u32 = 1_000;

/// How often a loop may go round.
pub(crate) const MAX_ITERATIONS: u32 = 100_000;

/// How many instances of a `forEach` may run at once.
pub(crate) const MAX_INSTANCES: u32 = 1_000;

/// The most attempts that `retry` allows.
pub(crate) const MAX_ATTEMPTS: u32 = 100;

/// The largest factor between two delays.
pub(crate) const MAX_MULTIPLIER: f64 = 100.0;

/// The keys of `retry`.
pub(crate) const RETRY_KEYS: [&str; 7] =
    ["maxAttempts", "backoff", "initialDelayMs", "backoffMultiplier", "maxDelayMs", "jitter", "on"];

/// The keys of `repeat`.
pub(crate) const REPEAT_KEYS: [&str; 3] = ["while", "until", "maxIterations"];

/// The keys of `wait`.
pub(crate) const WAIT_KEYS: [&str; 4] = ["ms", "until", "event", "timeoutMs"];

/// The keys of `stop`.
pub(crate) const STOP_KEYS: [&str; 2] = ["status", "message"];

/// The keys of `verify`.
pub(crate) const VERIFY_KEYS: [&str; 3] = ["tool", "params", "expect"];

/// The keys of `undo`.
pub(crate) const UNDO_KEYS: [&str; 2] = ["tool", "params"];

const OUTCOMES: [(&str, Outcome); 3] = [
    ("completed", Outcome::Completed),
    ("failed", Outcome::Failed),
    ("cancelled", Outcome::Cancelled),
];

/// Reads what a step does.
pub(super) fn read(
    kind: &str,
    fields: &Fields<'_>,
    index: usize,
    arena: &mut Arena,
    problems: &mut Vec<Problem>,
) -> Option<Kind> {
    let at = fields.get(kind)?;
    match kind {
        "tool" => {
            let tool = tool(&at, problems).unwrap_or_else(no_tool);
            Some(Kind::Tool { tool, params: params(fields, problems)? })
        }
        "workflow" => {
            let workflow = child(&at, problems).unwrap_or_default();
            Some(Kind::Workflow { workflow, params: params(fields, problems)? })
        }
        "approval" => {
            let terms = Terms::default();
            let otherwise = Approval { condition: None, message: None, terms };
            Some(Kind::Approval(approval(&at, problems).unwrap_or(otherwise)))
        }
        "ask" => ask(&at, problems).map(Kind::Ask),
        "wait" => wait(&at, problems).map(Kind::Wait),
        "set" => values(&at, problems).map(Kind::Set),
        "stop" => stop(&at, problems).map(Kind::Stop),
        _ => Some(Kind::Group(group(fields, &at, index, arena, problems))),
    }
}

/// Stands where a tool could not be read: its problem is reported, so that nobody sees it.
fn no_tool() -> ToolName {
    ToolName { server: String::new(), tool: String::new() }
}

/// `server.tool`
fn tool(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<ToolName> {
    let name = at.text(problems)?;
    let plain = |name: &str| !name.contains(|c: char| c.is_whitespace() || c == '$');
    if let Some(tool) = ToolName::parse(name).filter(|_| plain(name)) {
        return Some(tool);
    }
    let message = format!(
        "`{name}` is not a tool: write `server.tool`, for instance `github.getIssue`; the name is \
         written out, without `${{ }}`"
    );
    let meant = ["__", "/", ":", "::"].into_iter().find_map(|between| {
        let (server, tool) = name.strip_prefix("mcp__").unwrap_or(name).split_once(between)?;
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        (word(server) && word(tool)).then(|| format!("{server}.{tool}"))
    });
    problems.push(Problem {
        expected: Some("server.tool".to_owned()),
        found: Some(name.to_owned()),
        patch: meant.as_deref().map(|tool| at.replaced(tool)).unwrap_or_default(),
        suggestion: meant,
        ..at.problem("invalid_tool", message)
    });
    None
}

/// The name of another workflow.
fn child(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    let before = problems.len();
    let name = at.name(false, problems);
    if let Some(problem) = problems[before..].first_mut()
        && at.node.to_value().as_str().is_some_and(|text| text.contains('$'))
    {
        problem.message = "the name of a workflow is written out, without `${ }`: what it runs is checked before \
                           anything runs"
            .to_owned();
        problem.suggestion = None;
        problem.patch = Vec::new();
    }
    name
}

fn group(
    fields: &Fields<'_>,
    at: &At<'_>,
    index: usize,
    arena: &mut Arena,
    problems: &mut Vec<Problem>,
) -> Group {
    let parallel = fields.get("parallel").and_then(|at| at.boolean(problems)).unwrap_or(false);
    let repeat = fields.get("repeat").and_then(|at| repeat(&at, problems));
    let content = arena.lists.len();
    let steps = steps::read(at, ListOf::Content(index), arena, problems);
    if let Some(list) = arena.lists.get_mut(content) {
        list.parallel = parallel;
    }
    let wait_for = fields.get("waitFor").and_then(|at| wait_for(&at, steps.len(), problems));
    let otherwise = fields.get("else");
    let otherwise = otherwise.map(|at| steps::read(&at, ListOf::Otherwise(index), arena, problems));
    Group {
        steps,
        otherwise: otherwise.unwrap_or_default(),
        parallel,
        wait_for: wait_for.unwrap_or(WaitFor::All),
        repeat,
    }
}

fn wait_for(at: &At<'_>, steps: usize, problems: &mut Vec<Problem>) -> Option<WaitFor> {
    if let NodeKind::Scalar(Value::String(text)) = &at.node.kind
        && text.trim().parse::<u64>().is_err()
    {
        return at.one_of(&[("all", WaitFor::All), ("any", WaitFor::Count(1))], problems);
    }
    let before = problems.len();
    let count = at.small(1..=u32::try_from(steps.max(1)).unwrap_or(u32::MAX), problems);
    if let Some(problem) = problems[before..].first_mut() {
        let expected =
            format!("`all`, `any`, or a number up to that of the group's steps, {steps}");
        problem.message = format!("`waitFor` must be {expected}");
        problem.expected = Some(expected);
    }
    count.map(WaitFor::Count)
}

fn repeat(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Repeat> {
    if let NodeKind::Scalar(Value::Number(times)) = &at.node.kind {
        let message = "`repeat` must be an object with `while` or `until`, and is a number";
        problems.push(Problem {
            suggestion: Some(format!("{{ while: index < {times} }}")),
            patch: at.replaced(json!({ "while": format!("index < {times}") })),
            ..at.problem("wrong_type", message)
        });
        return None;
    }
    let fields = at.object("`repeat`", problems)?;
    fields.only(&REPEAT_KEYS, &aliases::REPEAT, problems);
    let (while_holds, until) = (fields.get("while"), fields.get("until"));
    let meant = ["while", "until"].iter().any(|key| fields.probably(key, &aliases::REPEAT));
    if while_holds.is_none() && until.is_none() && !meant {
        let message =
            "`repeat` needs `while` (asked before each iteration) or `until` (asked after each)";
        problems.push(fields.problem("missing_key", message));
    }
    let most = fields.get("maxIterations");
    let most = most.and_then(|at| at.small(1..=MAX_ITERATIONS, problems));
    Some(Repeat {
        while_holds: while_holds.and_then(|at| condition(&at, problems)),
        until: until.and_then(|at| condition(&at, problems)),
        max_iterations: most.unwrap_or(DEFAULT_ITERATIONS),
    })
}

fn wait(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Wait> {
    let ms = match &at.node.kind {
        NodeKind::Scalar(Value::Number(number)) => number.as_u64(),
        NodeKind::Scalar(Value::String(text)) => duration(text, true),
        _ => None,
    };
    if let Some(ms) = ms {
        problems.push(Problem {
            suggestion: Some(format!("{{ ms: {ms} }}")),
            patch: at.replaced(json!({ "ms": ms })),
            ..at.wrong_type("an object with `ms`, `until` or `event`")
        });
        return None;
    }
    let fields = at.object("`wait`", problems)?;
    fields.only(&WAIT_KEYS, &aliases::WAIT, problems);
    let kinds = ["ms", "until", "event"];
    let found: Vec<&str> = kinds.into_iter().filter(|key| fields.get(key).is_some()).collect();
    if found != ["event"] && fields.get("timeoutMs").is_some() && !found.is_empty() {
        let message = "`timeoutMs` goes with `event`; `ms` and `until` say themselves how long";
        problems.push(fields.key_problem("timeoutMs", "misplaced_key", message));
    }
    let timeout_ms = super::draft::timeout(&fields, problems);
    match found.as_slice() {
        ["ms"] => {
            milliseconds_template(&fields.get("ms")?, MAX_TIMEOUT_MS, problems).map(Wait::For)
        }
        ["until"] => moment_template(&fields.get("until")?, problems).map(Wait::Until),
        ["event"] => {
            let event = text_template(&fields.get("event")?, problems)?;
            Some(Wait::Event { event, timeout_ms })
        }
        [] => {
            if !kinds.iter().any(|key| fields.probably(key, &aliases::WAIT)) {
                let message = "`wait` needs `ms`, `until` or `event`";
                problems.push(fields.problem("missing_key", message));
            }
            None
        }
        _ => {
            let message = "`wait` waits for one thing: `ms`, `until` or `event`; for whichever comes first use a \
                           group with `parallel: true` and `waitFor: any`";
            problems.push(fields.problem("several_kinds", message));
            None
        }
    }
}

fn stop(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Stop> {
    if let NodeKind::Scalar(Value::String(_)) = &at.node.kind {
        let outcome = at.one_of(&OUTCOMES, problems)?;
        return Some(Stop { outcome, message: None });
    }
    let fields = at.object("`stop`", problems)?;
    fields.only(&STOP_KEYS, &aliases::STOP, problems);
    let message = message(&fields, problems);
    let outcome = fields.required("status", &aliases::STOP, problems)?;
    Some(Stop { outcome: outcome.one_of(&OUTCOMES, problems)?, message })
}

/// `forEach`, `as` and `maxParallel`
pub(super) fn for_each(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<ForEach> {
    let variable = fields.get("as").and_then(|at| at.name(true, problems));
    let most = fields.get("maxParallel");
    let max_parallel = most.and_then(|at| at.small(1..=MAX_INSTANCES, problems));
    let list = list_template(&fields.get("forEach")?, problems)?;
    Some(ForEach { list, variable: variable.unwrap_or_else(|| "item".to_owned()), max_parallel })
}

pub(super) fn on_uncertain(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> OnUncertain {
    let words = [
        ("ask", OnUncertain::Ask),
        ("verify", OnUncertain::Verify),
        ("retry", OnUncertain::Retry),
        ("fail", OnUncertain::Fail),
    ];
    let at = fields.get("onUncertain");
    let given = at.as_ref().and_then(|at| at.one_of(&words, problems));
    let has_verify = fields.get("verify").is_some();
    let path = fields.below("onUncertain");
    match (given, has_verify) {
        (Some(OnUncertain::Verify), false) if !fields.probably("verify", &aliases::STEP) => {
            let message = "`onUncertain: verify` needs `verify: { tool, params, expect }`, which finds out \
                           whether the call happened";
            problems.push(fields.key_problem("onUncertain", "missing_key", message));
        }
        (Some(OnUncertain::Ask | OnUncertain::Retry | OnUncertain::Fail), true) => {
            let message = "`verify` is only asked with `onUncertain: verify`";
            problems.push(Problem {
                suggestion: Some("onUncertain: verify".to_owned()),
                patch: vec![PatchOperation::Replace { path, value: "verify".into() }],
                ..fields.key_problem("verify", "misplaced_key", message)
            });
        }
        (None, true) if at.is_none() && !fields.probably("onUncertain", &aliases::STEP) => {
            let message = "`verify` needs `onUncertain: verify` beside it";
            problems.push(Problem {
                suggestion: Some("onUncertain: verify".to_owned()),
                patch: vec![PatchOperation::Add { path, value: "verify".into() }],
                ..fields.key_problem("verify", "missing_key", message)
            });
        }
        _ => {}
    }
    given.unwrap_or_default()
}

pub(super) fn verify(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Verify> {
    let fields = at.object("`verify`", problems)?;
    fields.only(&VERIFY_KEYS, &aliases::STEP, problems);
    let tool = fields.required("tool", &aliases::STEP, problems);
    let tool = tool.and_then(|at| self::tool(&at, problems));
    let params = params(&fields, problems);
    let expect = fields.required("expect", &[], problems);
    let expect = expect.and_then(|at| condition(&at, problems))?;
    Some(Verify { tool: tool.unwrap_or_else(no_tool), params: params?, expect })
}

pub(super) fn undo(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Compensation> {
    let fields = at.object("`undo`", problems)?;
    fields.only(&UNDO_KEYS, &aliases::STEP, problems);
    let tool = fields.required("tool", &aliases::STEP, problems);
    let tool = tool.and_then(|at| self::tool(&at, problems));
    Some(Compensation { tool: tool.unwrap_or_else(no_tool), params: params(&fields, problems)? })
}

pub(super) fn retry(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Retry> {
    if let NodeKind::Scalar(Value::Number(number)) = &at.node.kind {
        let message = "`retry` must be an object, and is a number".to_owned();
        problems.push(Problem {
            suggestion: Some(format!("{{ maxAttempts: {number} }}")),
            patch: at.replaced(json!({ "maxAttempts": number })),
            expected: Some("an object (`key: value`)".to_owned()),
            found: Some("a number".to_owned()),
            ..at.problem("wrong_type", message)
        });
        return None;
    }
    let fields = at.object("`retry`", problems)?;
    fields.only(&RETRY_KEYS, &aliases::RETRY, problems);
    let mut retry = Retry::plain(2);
    let given = |key: &str| fields.get(key);
    if let Some(number) = given("maxAttempts").and_then(|at| at.small(1..=MAX_ATTEMPTS, problems)) {
        retry.max_attempts = number;
    }
    if let Some(backoff) = given("backoff").and_then(|at| backoff(&at, problems)) {
        retry.backoff = backoff;
    }
    if let Some(delay) = given("initialDelayMs").and_then(|at| delay(&at, problems)) {
        retry.initial_delay_ms = delay;
    }
    if let Some(multiplier) =
        given("backoffMultiplier").and_then(|at| at.fraction(1.0..=MAX_MULTIPLIER, problems))
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
