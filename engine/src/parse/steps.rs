//! Lists of steps, at every depth → one row of steps, each knowing its list.

use std::collections::HashSet;

use super::aliases;
use super::document::Kind as NodeKind;
use super::draft::timeout;
use super::expressions::condition;
use super::fields::{At, Fields, any_of};
use super::kinds;
use super::requests::{approval, lock};
use crate::expr::Condition;
use crate::workflow::{
    Approval, Compensation, ForEach, Kind, Lock, OnError, OnUncertain, Retry, Verify,
};
use crate::{PatchOperation, Problem};

/// How many steps a workflow may have, at all depths together.
pub(crate) const MAX_STEPS: usize = 10_000;

/// How deep groups may be nested.
const MAX_NESTING: usize = 16;

/// The keys that say what a step does; each step has exactly one of them.
pub(crate) const KINDS: [&str; 8] =
    ["tool", "workflow", "approval", "ask", "wait", "set", "steps", "stop"];

/// Every key of a step.
pub(crate) const KEYS: [&str; 28] = [
    "name",
    "tool",
    "workflow",
    "params",
    "approval",
    "ask",
    "wait",
    "set",
    "steps",
    "stop",
    "parallel",
    "waitFor",
    "repeat",
    "else",
    "needs",
    "if",
    "forEach",
    "as",
    "maxParallel",
    "retry",
    "timeoutMs",
    "onError",
    "expect",
    "onUncertain",
    "verify",
    "undo",
    "assign",
    "lock",
];

const CALLS: &[&str] = &["tool", "workflow"];
const LASTS: &[&str] = &["tool", "workflow", "steps"];
const GROUPS: &[&str] = &["steps"];
const TOOLS: &[&str] = &["tool"];
const ENDS: &[&str] = &["tool", "workflow", "approval", "ask", "wait", "set", "steps"];

/// The kinds of steps that a key fits; a key that is not here fits every kind.
pub(crate) const FITS: [(&str, &[&str]); 18] = [
    ("params", CALLS),
    ("retry", CALLS),
    ("expect", ENDS),
    ("undo", CALLS),
    ("timeoutMs", LASTS),
    ("lock", LASTS),
    ("onUncertain", TOOLS),
    ("verify", TOOLS),
    ("parallel", GROUPS),
    ("waitFor", GROUPS),
    ("repeat", GROUPS),
    ("else", GROUPS),
    ("forEach", ENDS),
    ("as", ENDS),
    ("maxParallel", ENDS),
    ("assign", ENDS),
    ("onError", ENDS),
    ("approval", &["tool", "approval"]),
];

/// The steps that were read so far.
#[derive(Default)]
pub(super) struct Arena {
    pub(super) steps: Vec<DraftStep>,
    pub(super) lists: Vec<List>,
    /// Whether there were too many, which is said once.
    full: bool,
}

/// Steps that follow one another, or stand side by side.
pub(crate) struct List {
    pub(crate) of: ListOf,
    pub(crate) steps: Vec<usize>,
    /// Whether a step that says nothing needs nothing.
    pub(crate) parallel: bool,
}

/// Whose list it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ListOf {
    Main,
    OnFailure,
    OnCancel,
    /// What a group holds.
    Content(usize),
    /// What runs when a group's condition is false.
    Otherwise(usize),
}

/// A step that may still have problems.
pub(crate) struct DraftStep {
    pub(crate) name: Option<String>,
    pub(crate) pointer: String,
    /// The list it is in.
    pub(crate) list: usize,
    /// The group that holds it.
    pub(crate) parent: Option<usize>,
    /// What could not be read has a stand-in: its problem is reported, so that nobody sees it.
    pub(crate) kind: Option<Kind>,
    /// Names, as they were written; `None` when the key is left out.
    pub(crate) needs: Option<Vec<Option<String>>>,
    pub(crate) condition: Option<Condition>,
    pub(crate) for_each: Option<ForEach>,
    pub(crate) assign: Option<String>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) on_error: Option<OnError>,
    pub(crate) approval: Option<Approval>,
    pub(crate) expect: Option<Condition>,
    pub(crate) on_uncertain: OnUncertain,
    pub(crate) verify: Option<Verify>,
    pub(crate) undo: Option<Compensation>,
    pub(crate) lock: Option<Lock>,
}

impl ListOf {
    /// The group it belongs to.
    pub(crate) fn group(self) -> Option<usize> {
        match self {
            ListOf::Content(group) | ListOf::Otherwise(group) => Some(group),
            ListOf::Main | ListOf::OnFailure | ListOf::OnCancel => None,
        }
    }
}

/// Reads a list of steps, and the steps inside of them; answers with their indices.
pub(super) fn read(
    at: &At<'_>,
    of: ListOf,
    arena: &mut Arena,
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    let Some(items) = at.list(problems) else { return Vec::new() };
    if items.is_empty() {
        let message = match of {
            ListOf::Main => "a workflow needs at least one step".to_owned(),
            _ => format!("`{}` needs at least one step", at.key()),
        };
        problems.push(at.problem("no_steps", message));
    }
    if !has_room(at, items.len(), of, arena, problems) {
        return Vec::new();
    }
    let list = arena.lists.len();
    arena.lists.push(List { of, steps: Vec::new(), parallel: false });
    for item in &items {
        let index = arena.steps.len();
        arena.steps.push(unread(item, list, of));
        arena.lists[list].steps.push(index);
        step(item, index, arena, problems);
    }
    arena.lists[list].steps.clone()
}

fn has_room(
    at: &At<'_>,
    more: usize,
    of: ListOf,
    arena: &mut Arena,
    problems: &mut Vec<Problem>,
) -> bool {
    let above = |step: &usize| arena.steps[*step].parent;
    let depth = std::iter::successors(of.group(), above).count();
    if MAX_NESTING < depth {
        let message = format!(
            "groups are nested {depth} deep here; {MAX_NESTING} are allowed. Move the inner ones into a workflow of \
             their own"
        );
        problems.push(at.problem("too_deep", message));
        return false;
    }
    let count = arena.steps.len() + more;
    if MAX_STEPS < count && !arena.full {
        arena.full = true;
        let message = format!("there are {count} steps; {MAX_STEPS} are allowed");
        problems.push(at.problem("too_large", message));
    }
    count <= MAX_STEPS
}

fn unread(at: &At<'_>, list: usize, of: ListOf) -> DraftStep {
    DraftStep {
        name: None,
        pointer: at.pointer.clone(),
        list,
        parent: of.group(),
        kind: None,
        needs: None,
        condition: None,
        for_each: None,
        assign: None,
        retry: None,
        timeout_ms: None,
        on_error: None,
        approval: None,
        expect: None,
        on_uncertain: OnUncertain::Ask,
        verify: None,
        undo: None,
        lock: None,
    }
}

fn step(at: &At<'_>, index: usize, arena: &mut Arena, problems: &mut Vec<Problem>) {
    let Some(fields) = at.object("a step", problems) else { return };
    fields.only(&KEYS, &aliases::STEP, problems);
    let kind = kind_of(&fields, problems);
    if let Some(kind) = kind {
        misplaced(&fields, kind, problems);
    }
    together(&fields, kind, problems);
    let name = fields.required("name", &aliases::STEP, problems);
    // Others may refer to a step by what its author called its name.
    let name = name.or_else(|| fields.get("id"));
    let step = &mut arena.steps[index];
    step.name = name.and_then(|at| at.name(false, problems));
    modifiers(step, &fields, kind, problems);
    let kind = kind.and_then(|kind| kinds::read(kind, &fields, index, arena, problems));
    arena.steps[index].kind = kind;
}

/// The one key that says what the step does.
fn kind_of(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<&'static str> {
    let given = |kind: &&&str| fields.get(kind).is_some();
    let mut found: Vec<&'static str> = KINDS.iter().filter(given).copied().collect();
    if found.contains(&"tool") {
        // Beside a tool it is asked before the call.
        found.retain(|kind| *kind != "approval");
    }
    match found.as_slice() {
        [] => {
            let meant = KINDS.iter().any(|kind| fields.probably(kind, &aliases::STEP));
            if !meant {
                let message =
                    format!("a step needs a key that says what it does: one of {}", any_of(&KINDS));
                problems.push(Problem {
                    expected: Some(any_of(&KINDS)),
                    ..fields.problem("missing_key", message)
                });
            }
            None
        }
        [kind] => Some(kind),
        [first, others @ ..] => {
            let names: Vec<String> = found.iter().map(|kind| format!("`{kind}`")).collect();
            let hint = match found.contains(&"approval") {
                true => "; before anything but a tool, an `approval` is a step of its own",
                false => "",
            };
            let message = format!(
                "a step does one thing, and this one has {}; make steps of their own of them{hint}",
                names.join(" and ")
            );
            problems.push(Problem {
                expected: Some("one kind of step".to_owned()),
                found: Some(found.join(", ")),
                ..fields.key_problem(others[0], "several_kinds", message)
            });
            // What a group holds has problems and names of its own.
            Some(if found.contains(&"steps") { "steps" } else { first })
        }
    }
}

/// Refuses keys that do not fit what the step does.
fn misplaced(fields: &Fields<'_>, kind: &str, problems: &mut Vec<Problem>) {
    for (key, fits) in FITS {
        if fits.contains(&kind) || fields.get(key).is_none() || KINDS.contains(&key) {
            continue;
        }
        let message = format!(
            "`{key}` does not fit a step with `{kind}`; it fits steps with {}",
            any_of(fits)
        );
        let target = match (key, kind) {
            ("timeoutMs", "wait") => Some("/wait/timeoutMs"),
            ("timeoutMs", "ask") => Some("/ask/expiresMs"),
            ("timeoutMs", "approval") => Some("/approval/expiresMs"),
            _ => None,
        };
        // A person's time never counts: what bounds it is a key of the request.
        let holds = fields.get(kind).is_some_and(|at| match &at.node.kind {
            NodeKind::Object(entries) => {
                kind != "wait" || entries.iter().any(|entry| entry.key == "event")
            }
            NodeKind::Scalar(_) | NodeKind::List(_) => false,
        });
        let target = target.filter(|_| holds);
        problems.push(Problem {
            expected: Some(any_of(fits)),
            found: Some(kind.to_owned()),
            suggestion: target.map(|path| format!("write it as `{}`", path[1..].replace('/', "."))),
            patch: target
                .map(|path| PatchOperation::Move {
                    from: fields.below(key),
                    path: format!("{}{path}", fields.pointer),
                })
                .into_iter()
                .collect(),
            ..fields.key_problem(key, "misplaced_key", message)
        });
    }
}

/// Keys that need another key, or exclude one another.
fn together(fields: &Fields<'_>, kind: Option<&str>, problems: &mut Vec<Problem>) {
    let has = |key: &str| fields.get(key).is_some();
    let mut refuse = |key: &str, message: &str| {
        problems.push(fields.key_problem(key, "misplaced_key", message));
    };
    if has("else") && !has("if") && kind == Some("steps") {
        refuse("else", "`else` runs when `if` is false, and there is no `if`");
    }
    if has("else") && has("forEach") {
        refuse(
            "else",
            "`else` does not go with `forEach`; put the branch into a group inside the `forEach`",
        );
    }
    if has("repeat") && has("forEach") {
        refuse(
            "repeat",
            "`repeat` does not go with `forEach`; put the loop into a group inside the `forEach`",
        );
    }
    for key in ["as", "maxParallel"] {
        if has(key)
            && !has("forEach")
            && kind != Some("stop")
            && !fields.probably("forEach", &aliases::STEP)
        {
            refuse(key, &format!("`{key}` goes with `forEach`, and there is none"));
        }
    }
    let parallel = fields.get("parallel").map(|at| at.node.to_value());
    let wanted = kind == Some("steps") && has("waitFor");
    if wanted && parallel != Some(true.into()) && !fields.probably("parallel", &aliases::STEP) {
        let message =
            "`waitFor` goes with `parallel: true`: steps that follow one another all have to end";
        let path = fields.below("parallel");
        let patch = match parallel {
            Some(_) => PatchOperation::Replace { path, value: true.into() },
            None => PatchOperation::Add { path, value: true.into() },
        };
        problems.push(Problem {
            suggestion: Some("parallel: true".to_owned()),
            patch: vec![patch],
            ..fields.key_problem("waitFor", "misplaced_key", message)
        });
    }
}

fn modifiers(
    step: &mut DraftStep,
    fields: &Fields<'_>,
    kind: Option<&str>,
    problems: &mut Vec<Problem>,
) {
    step.needs = fields.get("needs").map(|at| needs(&at, problems));
    step.condition = fields.get("if").and_then(|at| condition(&at, problems));
    step.for_each = kinds::for_each(fields, problems);
    step.assign = fields.get("assign").and_then(|at| at.name(true, problems));
    step.retry = fields.get("retry").and_then(|at| kinds::retry(&at, problems));
    step.timeout_ms = timeout(fields, problems);
    step.on_error = fields.get("onError").and_then(|at| {
        at.one_of(&[("fail", OnError::Fail), ("continue", OnError::Continue)], problems)
    });
    if kind == Some("tool") {
        step.approval = fields.get("approval").and_then(|at| approval(&at, problems));
    }
    step.expect = fields.get("expect").and_then(|at| condition(&at, problems));
    step.verify = fields.get("verify").and_then(|at| kinds::verify(&at, problems));
    step.on_uncertain = kinds::on_uncertain(fields, problems);
    step.undo = fields.get("undo").and_then(|at| kinds::undo(&at, problems));
    step.lock = fields.get("lock").and_then(|at| lock(&at, problems));
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
            problems.push(Problem {
                patch: vec![PatchOperation::Remove { path: item.pointer.clone() }],
                found: Some(name.to_owned()),
                ..item.problem("duplicate_name", format!("`{name}` stands here twice"))
            });
        }
        names.push(name.map(str::to_owned));
    }
    names
}
