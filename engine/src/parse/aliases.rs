//! What other systems call our keys and words, and how their values become ours.

use serde_json::{Value, json};

use super::document::{Kind, Node};
use super::fields::duration;
use crate::PatchOperation;

/// A key of another system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alias {
    /// In lower case, without `_` and `-`.
    theirs: &'static str,
    /// The key that is meant; empty where there is none.
    pub(super) ours: &'static str,
    /// What becomes of the value.
    change: Change,
    /// What to do, where the name of our key does not say enough.
    pub(super) advice: Option<&'static str>,
}

/// What becomes of the value when a key is replaced by ours.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// It stays.
    Same,
    /// One text becomes a list.
    List,
    /// A text with a unit becomes milliseconds. A bare number has no unit that is known.
    Duration,
    /// A number of these becomes milliseconds.
    Milliseconds(u64),
    /// So many attempts after the first: `{ maxAttempts: n + 1 }`.
    Retries,
    /// So many attempts: `{ maxAttempts: n }`.
    Attempts,
    /// A number one higher.
    OneMore,
    /// `true` becomes `continue`.
    Continue,
    /// The key is left out: there is nothing like it.
    Gone,
    /// A person decides.
    Nothing,
}

/// What the keys of a document are called elsewhere.
pub(super) const DOCUMENT: [Alias; 22] = [
    same("id", "name"),
    same("inputs", "input"),
    same("inputschema", "input"),
    same("parameters", "input"),
    same("outputs", "output"),
    same("result", "output"),
    same("variables", "vars"),
    same("env", "vars"),
    same("tasks", "steps"),
    same("nodes", "steps"),
    same("actions", "steps"),
    same("states", "steps"),
    same("label", "title"),
    same("labels", "tags"),
    same("mutex", "lock"),
    same("settings", "config"),
    same("options", "config"),
    same("onerror", "onFailure"),
    same("catch", "onFailure"),
    same("oncancelled", "onCancel"),
    advice(
        "jobs",
        "steps",
        "the steps of a workflow are one list, `steps`; each step says what it `needs`",
    ),
    gone("version", "leave it out: every content that is saved is a revision of its own"),
];

/// What the keys of `config` are called elsewhere.
pub(super) const CONFIG: [Alias; 5] = [
    duration_of("timeout", "timeoutMs"),
    milliseconds("timeoutminutes", "timeoutMs", 60_000),
    milliseconds("timeoutseconds", "timeoutMs", 1_000),
    same("concurrency", "maxParallel"),
    same("retries", "maxRetries"),
];

/// What the keys of a step are called elsewhere.
pub(super) const STEP: [Alias; 58] = [
    same("id", "name"),
    same("stepid", "name"),
    same("uses", "tool"),
    same("action", "tool"),
    same("call", "tool"),
    same("toolname", "tool"),
    advice(
        "run",
        "tool",
        "there is no shell here: a step calls a tool of a tool server, `tool: server.tool`",
    ),
    same("with", "params"),
    same("args", "params"),
    same("arguments", "params"),
    same("inputs", "params"),
    same("input", "params"),
    same("parameters", "params"),
    same("dependson", "needs"),
    same("depends", "needs"),
    same("after", "needs"),
    same("requires", "needs"),
    same("foreachitem", "forEach"),
    same("each", "forEach"),
    same("loop", "forEach"),
    same("items", "forEach"),
    same("withitems", "forEach"),
    same("when", "if"),
    same("condition", "if"),
    same("onlyif", "if"),
    same("otherwise", "else"),
    same("then", "steps"),
    same("do", "steps"),
    same("substeps", "steps"),
    same("children", "steps"),
    same("subworkflow", "workflow"),
    same("sleep", "wait"),
    same("delay", "wait"),
    same("pause", "wait"),
    same("exit", "stop"),
    same("end", "stop"),
    same("prompt", "ask"),
    same("register", "assign"),
    same("saveas", "assign"),
    same("variables", "set"),
    same("itemname", "as"),
    same("iterator", "as"),
    same("concurrency", "maxParallel"),
    same("onfailure", "onError"),
    Alias { change: Change::Continue, ..same("continueonerror", "onError") },
    Alias { change: Change::Continue, ..same("ignoreerrors", "onError") },
    duration_of("timeout", "timeoutMs"),
    milliseconds("timeoutminutes", "timeoutMs", 60_000),
    milliseconds("timeoutseconds", "timeoutMs", 1_000),
    milliseconds("timeoutsec", "timeoutMs", 1_000),
    Alias { change: Change::Retries, ..same("retries", "retry") },
    Alias { change: Change::Retries, ..same("maxretries", "retry") },
    Alias { change: Change::Attempts, ..same("maxattempts", "retry") },
    Alias { change: Change::Attempts, ..same("attempts", "retry") },
    same("compensate", "undo"),
    same("rollback", "undo"),
    same("mutex", "lock"),
    advice(
        "type",
        "",
        "what a step does is said by the key itself: `tool`, `workflow`, `approval`, `ask`, `wait`, `set`, \
         `steps` or `stop`",
    ),
];

/// What the keys of `retry` are called elsewhere.
pub(super) const RETRY: [Alias; 16] = [
    same("attempts", "maxAttempts"),
    same("limit", "maxAttempts"),
    same("times", "maxAttempts"),
    Alias { change: Change::OneMore, ..same("retries", "maxAttempts") },
    Alias { change: Change::OneMore, ..same("maxretries", "maxAttempts") },
    duration_of("delay", "initialDelayMs"),
    duration_of("interval", "initialDelayMs"),
    duration_of("initialinterval", "initialDelayMs"),
    same("delayms", "initialDelayMs"),
    same("factor", "backoffMultiplier"),
    same("multiplier", "backoffMultiplier"),
    same("backoffrate", "backoffMultiplier"),
    same("backoffcoefficient", "backoffMultiplier"),
    duration_of("maxdelay", "maxDelayMs"),
    duration_of("maximuminterval", "maxDelayMs"),
    same("strategy", "backoff"),
];

/// What the keys of `approval` and `ask` are called elsewhere.
pub(super) const REQUEST: [Alias; 14] = [
    same("when", "if"),
    same("condition", "if"),
    same("text", "message"),
    same("prompt", "message"),
    same("question", "message"),
    same("form", "schema"),
    same("fields", "schema"),
    same("users", "approvers"),
    same("reviewers", "approvers"),
    same("assignees", "approvers"),
    same("ontimeout", "onExpire"),
    duration_of("timeout", "expiresMs"),
    same("timeoutms", "expiresMs"),
    duration_of("expires", "expiresMs"),
];

/// What the keys of `wait` are called elsewhere.
pub(super) const WAIT: [Alias; 8] = [
    same("milliseconds", "ms"),
    duration_of("for", "ms"),
    duration_of("duration", "ms"),
    milliseconds("seconds", "ms", 1_000),
    milliseconds("minutes", "ms", 60_000),
    milliseconds("hours", "ms", 3_600_000),
    same("signal", "event"),
    duration_of("timeout", "timeoutMs"),
];

/// What the keys of `repeat` are called elsewhere.
pub(super) const REPEAT: [Alias; 5] = [
    same("max", "maxIterations"),
    same("times", "maxIterations"),
    same("limit", "maxIterations"),
    same("condition", "while"),
    same("if", "while"),
];

/// What the keys of `stop` are called elsewhere.
pub(super) const STOP: [Alias; 4] = [
    same("outcome", "status"),
    same("as", "status"),
    same("reason", "message"),
    same("error", "message"),
];

/// What the keys of `lock` are called elsewhere.
pub(super) const LOCK: [Alias; 4] =
    [same("name", "key"), same("group", "key"), same("id", "key"), same("whenbusy", "onBusy")];

/// What our words are called elsewhere.
const WORDS: [(&str, &str); 17] = [
    ("constant", "fixed"),
    ("ignore", "continue"),
    ("skip", "continue"),
    ("abort", "fail"),
    ("stop", "fail"),
    ("success", "completed"),
    ("succeeded", "completed"),
    ("done", "completed"),
    ("error", "failed"),
    ("failure", "failed"),
    ("canceled", "cancelled"),
    ("wait", "queue"),
    ("deny", "reject"),
    ("refuse", "reject"),
    ("first", "any"),
    ("race", "any"),
    ("every", "all"),
];

const fn same(theirs: &'static str, ours: &'static str) -> Alias {
    Alias { theirs, ours, change: Change::Same, advice: None }
}

const fn duration_of(theirs: &'static str, ours: &'static str) -> Alias {
    Alias { change: Change::Duration, ..same(theirs, ours) }
}

const fn milliseconds(theirs: &'static str, ours: &'static str, factor: u64) -> Alias {
    Alias { change: Change::Milliseconds(factor), ..same(theirs, ours) }
}

const fn advice(theirs: &'static str, ours: &'static str, advice: &'static str) -> Alias {
    Alias { change: Change::Nothing, advice: Some(advice), ..same(theirs, ours) }
}

const fn gone(theirs: &'static str, advice: &'static str) -> Alias {
    Alias { change: Change::Gone, advice: Some(advice), ..same(theirs, "") }
}

/// Which known key is meant: the same one written otherwise (`max_parallel`), or that of another system.
pub(super) fn find(key: &str, known: &[&'static str], others: &[Alias]) -> Option<Alias> {
    let plain = plain(key);
    if let Some(ours) = known.iter().find(|ours| self::plain(ours) == plain) {
        return Some(Alias::same(ours));
    }
    let found = others.iter().find(|alias| alias.theirs == plain).copied()?;
    let change = match found.ours {
        "needs" | "tags" | "approvers" => Change::List,
        _ => found.change,
    };
    Some(Alias { change, ..found })
}

/// Whether a key is another way to write one of ours.
pub(super) fn means(key: &str, ours: &str, others: &[Alias]) -> bool {
    let plain = plain(key);
    plain == self::plain(ours)
        || others.iter().any(|alias| alias.theirs == plain && alias.ours == ours)
}

/// Our word for one of another system.
pub(super) fn word(theirs: &str) -> Option<&'static str> {
    let theirs = theirs.to_lowercase();
    WORDS.iter().find(|(word, _)| *word == theirs).map(|(_, ours)| *ours)
}

fn plain(key: &str) -> String {
    key.chars().filter(|c| !['_', '-'].contains(c)).map(|c| c.to_ascii_lowercase()).collect()
}

impl Alias {
    /// A key that is only written wrongly.
    pub(super) fn same(ours: &'static str) -> Alias {
        same("", ours)
    }

    /// What replaces their key by ours; empty where nothing is obvious.
    pub(super) fn patch(&self, from: &str, path: &str, value: &Node) -> Vec<PatchOperation> {
        let (from, path) = (from.to_owned(), path.to_owned());
        if let Change::Gone = self.change {
            return vec![PatchOperation::Remove { path: from }];
        }
        if self.ours.is_empty() {
            return Vec::new();
        }
        let stays = match (self.change, &value.kind) {
            (Change::Same, _) => true,
            (Change::List, kind) => !matches!(kind, Kind::Scalar(_)),
            _ => false,
        };
        if stays {
            return vec![PatchOperation::Move { from, path }];
        }
        match self.changed(value) {
            Some(value) => {
                vec![PatchOperation::Remove { path: from }, PatchOperation::Add { path, value }]
            }
            None => Vec::new(),
        }
    }

    fn changed(&self, value: &Node) -> Option<Value> {
        let Kind::Scalar(value) = &value.kind else { return None };
        match (self.change, value) {
            (Change::List, Value::String(text)) => {
                Some(text.split(',').map(|item| Value::from(item.trim())).collect())
            }
            (Change::Duration, Value::String(text)) => {
                text.contains(|c: char| c.is_ascii_alphabetic()).then_some(())?;
                duration(text, true).map(Value::from)
            }
            (Change::Milliseconds(factor), Value::Number(number)) => {
                number.as_u64()?.checked_mul(factor).map(Value::from)
            }
            (Change::Retries, Value::Number(number)) => {
                Some(json!({ "maxAttempts": number.as_u64()?.checked_add(1)? }))
            }
            (Change::Attempts, Value::Number(number)) => Some(json!({ "maxAttempts": number })),
            (Change::OneMore, Value::Number(number)) => {
                number.as_u64()?.checked_add(1).map(Value::from)
            }
            (Change::Continue, Value::Bool(true)) => Some(Value::from("continue")),
            (Change::Continue, Value::Bool(false)) => Some(Value::from("fail")),
            _ => None,
        }
    }
}
