//! What a step asks of people, and the locks it takes.

use serde_json::{Value, json};

use super::aliases;
use super::document::Kind;
use super::draft::MAX_TIMEOUT_MS;
use super::expressions::{condition, message, template, text_template};
use super::fields::{At, Fields};
use crate::Problem;
use crate::expr::Template;
use crate::input::InputSchema;
use crate::workflow::{Approval, Ask, Lock, OnBusy, OnExpire, Terms};

/// How many people may have to agree.
pub(crate) const MAX_QUORUM: u32 = 100;

/// The shortest time that somebody has to answer, in milliseconds.
pub(crate) const MIN_ANSWER_MS: u64 = 1_000;

/// How many values one form may ask for.
pub(crate) const MAX_FIELDS: usize = 100;

/// The keys of `approval`.
pub(crate) const APPROVAL_KEYS: [&str; 8] =
    ["if", "message", "approvers", "quorum", "expiresMs", "onExpire", "allowSelf", "verified"];

/// The keys of `ask`.
pub(crate) const ASK_KEYS: [&str; 7] =
    ["message", "schema", "approvers", "expiresMs", "onExpire", "allowSelf", "verified"];

/// The keys of `lock`.
pub(crate) const LOCK_KEYS: [&str; 2] = ["key", "onBusy"];

/// What a form may ask for (that is what MCP's elicitation can show).
pub(crate) const FIELD_TYPES: [&str; 4] = ["string", "number", "integer", "boolean"];

/// The keys of a form's schema.
pub(crate) const SCHEMA_KEYS: [&str; 7] =
    ["type", "properties", "required", "title", "description", "additionalProperties", "$schema"];

/// `approval`, alone or beside a tool. `true` asks without further words.
pub(super) fn approval(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Approval> {
    match &at.node.kind {
        Kind::Scalar(Value::Bool(true) | Value::Null) => {
            return Some(Approval { condition: None, message: None, terms: Terms::default() });
        }
        Kind::Scalar(Value::Bool(false)) => {
            let message = "`approval: false` asks nobody; leave the key out";
            problems.push(at.problem("wrong_type", message));
            return None;
        }
        Kind::Scalar(Value::String(text)) => {
            problems.push(only_a_message(at, text));
            return None;
        }
        Kind::Scalar(_) | Kind::List(_) | Kind::Object(_) => {}
    }
    let fields = at.object("`approval`", problems)?;
    fields.only(&APPROVAL_KEYS, &aliases::REQUEST, problems);
    Some(Approval {
        condition: fields.get("if").and_then(|at| condition(&at, problems)),
        message: message(&fields, problems),
        terms: terms(&fields, problems),
    })
}

/// A text where an object is wanted that has a `message`.
fn only_a_message(at: &At<'_>, text: &str) -> Problem {
    Problem {
        suggestion: Some(format!("{{ message: {} }}", Value::from(text))),
        patch: at.replaced(json!({ "message": text })),
        ..at.wrong_type("an object (`key: value`)")
    }
}

/// `ask`
pub(super) fn ask(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Ask> {
    if let Kind::Scalar(Value::String(_)) = &at.node.kind {
        let mut problem = at.wrong_type("an object with `message` and `schema`");
        problem.suggestion = Some(
            "ask: { message: \"…\", schema: { type: object, properties: { … } } }; for yes or no use `approval`"
                .to_owned(),
        );
        problems.push(problem);
        return None;
    }
    let fields = at.object("`ask`", problems)?;
    fields.only(&ASK_KEYS, &aliases::REQUEST, problems);
    let quorum = fields.keys().find(|key| *key == "quorum");
    if let (Some(_), Some(problem)) =
        (quorum, problems.iter_mut().rev().find(|problem| problem.pointer.ends_with("/quorum")))
    {
        problem.message =
            "`ask` has no key `quorum`: a form takes one person's answer; let others agree in an \
                           `approval` step after it"
                .to_owned();
    }
    let message = message(&fields, problems);
    let terms = terms(&fields, problems);
    let schema = fields.required("schema", &aliases::REQUEST, problems);
    let schema = schema.and_then(|at| form(&at, problems))?;
    Some(Ask { message, schema, terms })
}

fn terms(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Terms {
    let mut terms = Terms::default();
    if let Some(at) = fields.get("approvers") {
        terms.approvers = at.texts(problems).unwrap_or_default();
        let empty = at.node.to_value().as_array().is_some_and(Vec::is_empty);
        if empty {
            let message =
                "`approvers` is empty, so that nobody could answer; leave it out for everybody";
            problems.push(at.problem("out_of_range", message));
        }
    }
    if let Some(at) = fields.get("quorum") {
        terms.quorum = at.small(1..=MAX_QUORUM, problems).unwrap_or(1);
        let people = terms.approvers.len();
        if 0 < people && people < terms.quorum as usize {
            let message = format!(
                "`quorum` is {}, and there are {people} `approvers`: they could never be enough",
                terms.quorum
            );
            problems.push(at.problem("out_of_range", message));
        }
    }
    if let Some(at) = fields.get("expiresMs") {
        let least_to_most = MIN_ANSWER_MS..=MAX_TIMEOUT_MS;
        terms.expires_ms = at.whole(least_to_most, problems).unwrap_or(terms.expires_ms);
    }
    if let Some(at) = fields.get("onExpire") {
        let words = [("reject", OnExpire::Reject), ("escalate", OnExpire::Escalate)];
        terms.on_expire = at.one_of(&words, problems).unwrap_or(terms.on_expire);
    }
    let mut truth = |key: &str| fields.get(key).and_then(|at| at.boolean(problems));
    terms.allow_self = truth("allowSelf").unwrap_or(false);
    terms.verified = truth("verified").unwrap_or(false);
    terms
}

/// The schema of a form: flat, because a person fills it in.
fn form(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<InputSchema> {
    let fields = at.object("the schema of a form", problems)?;
    let before = problems.len();
    let kind = fields.get("type").map(|at| at.node.to_value());
    if kind != Some(Value::from("object")) {
        let problem = match fields.get("type") {
            Some(at) => Problem { patch: at.replaced("object"), ..at.wrong_type("`object`") },
            None => fields.problem("missing_key", "the schema of a form needs `type: object`"),
        };
        problems.push(Problem { suggestion: Some("type: object".to_owned()), ..problem });
    }
    fields.only(&SCHEMA_KEYS, &[], problems);
    let properties = fields.required("properties", &[], problems);
    if let Some(at) = properties
        && let Some(properties) = at.object("`properties`", problems)
    {
        let count = properties.each().count();
        if count == 0 || MAX_FIELDS < count {
            let message =
                format!("a form asks for 1 to {MAX_FIELDS} values, and there are {count}");
            problems.push(at.problem("out_of_range", message));
        }
        properties.each().for_each(|(_, at)| field(&at, problems));
    }
    if before < problems.len() {
        return None;
    }
    match InputSchema::compile_located(&at.node.to_value()) {
        Ok(schema) => Some(schema),
        Err(found) => {
            problems.extend(found.into_iter().map(|problem| at.inside(problem)));
            None
        }
    }
}

fn field(at: &At<'_>, problems: &mut Vec<Problem>) {
    let Some(fields) = at.object("a value of a form", problems) else { return };
    let kind = fields.get("type");
    let word = kind.as_ref().and_then(|at| match &at.node.kind {
        Kind::Scalar(Value::String(word)) => Some(word.as_str()),
        _ => None,
    });
    let nested = ["properties", "items", "allOf", "anyOf", "oneOf", "$ref"];
    let nested = fields.keys().find(|key| nested.contains(key));
    let allowed = match (word, &kind) {
        (Some(word), _) => FIELD_TYPES.contains(&word),
        (None, Some(_)) => false,
        (None, None) => fields.get("enum").is_some() || fields.get("const").is_some(),
    };
    if allowed && nested.is_none() {
        return;
    }
    let message = format!(
        "`{}` must be a text, a number, a whole number, true or false, or one of an `enum`: a person fills the form \
         in, and MCP's elicitation shows flat forms only",
        at.key()
    );
    let near = word.filter(|_| !allowed).map(|word| crate::problem::nearest(word, FIELD_TYPES));
    let near = near.unwrap_or_default();
    let place = kind.as_ref().filter(|_| !allowed).unwrap_or(at);
    problems.push(Problem {
        expected: Some(FIELD_TYPES.join(", ")),
        found: word.or(nested).map(str::to_owned),
        suggestion: near.first().map(|word| super::did_you_mean(word)),
        patch: near.first().map(|word| place.replaced(*word)).unwrap_or_default(),
        nearest: near.into_iter().map(str::to_owned).collect(),
        ..place.problem("not_flat", message)
    });
}

/// `lock`: the key alone, or with what to do while somebody else holds it.
pub(super) fn lock(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Lock> {
    if let Kind::Scalar(_) = &at.node.kind {
        return Some(Lock { key: key(at, problems)?, on_busy: OnBusy::Queue });
    }
    let fields = at.object("`lock`", problems)?;
    fields.only(&LOCK_KEYS, &aliases::LOCK, problems);
    let words =
        [("queue", OnBusy::Queue), ("reject", OnBusy::Reject), ("replace", OnBusy::Replace)];
    let on_busy = fields.get("onBusy").and_then(|at| at.one_of(&words, problems));
    let key = fields.required("key", &aliases::LOCK, problems);
    Some(Lock {
        key: key.and_then(|at| self::key(&at, problems))?,
        on_busy: on_busy.unwrap_or_default(),
    })
}

fn key(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    let key = text_template(at, problems)?;
    if key.literal().and_then(Value::as_str).is_some_and(|key| key.trim().is_empty()) {
        problems.push(at.problem("out_of_range", "a lock needs a key that is not empty"));
    }
    Some(key)
}

/// The values of `set`, by name.
pub(super) fn values(at: &At<'_>, problems: &mut Vec<Problem>) -> Option<Template> {
    let fields = at.object("`set`", problems)?;
    if fields.keys().next().is_none() {
        problems.push(at.problem("out_of_range", "`set` needs at least one `name: value`"));
    }
    fields.each().for_each(|(entry, _)| fields.name_key(entry, problems));
    Some(template(at, problems))
}
