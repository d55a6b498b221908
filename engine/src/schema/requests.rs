//! What people are asked, and the locks that are taken.

#![expect(dead_code, reason = "the types are only described, never built")]

use schemars::JsonSchema;
use serde_json::Value;

use super::values::{Condition, Text};
use crate::parse::draft::MAX_TIMEOUT_MS;
use crate::parse::requests::{FIELD_TYPES, MAX_FIELDS, MAX_QUORUM, MIN_ANSWER_MS};
use crate::workflow::DEFAULT_ANSWER_MS;

/// Asks a person whether to go on; `true` asks without further words.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Approval {
    Asked(#[schemars(extend("const" = true))] bool),
    Nothing(()),
    Terms(ApprovalTerms),
}

/// A question to a person: may this go on?
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApprovalTerms {
    /// Asked only when this holds; otherwise the step goes on by itself.
    #[schemars(rename = "if")]
    condition: Option<Condition>,
    /// What the person reads.
    message: Option<Text>,
    /// Who may answer. Left out: everybody but whoever started the execution.
    #[schemars(length(min = 1))]
    approvers: Option<Vec<String>>,
    /// How many have to agree.
    #[schemars(range(min = 1, max = MAX_QUORUM), extend("default" = 1))]
    quorum: Option<u32>,
    /// How long it stays open, in milliseconds. Left out: 7 days.
    #[schemars(range(min = MIN_ANSWER_MS, max = MAX_TIMEOUT_MS), extend("default" = DEFAULT_ANSWER_MS))]
    expires_ms: Option<u64>,
    /// What happens when nobody answers in time.
    on_expire: Option<OnExpire>,
    /// Whether whoever started the execution may answer.
    #[schemars(extend("default" = false))]
    allow_self: Option<bool>,
    /// Whether the answer must come from a person whose identity is known for sure.
    #[schemars(extend("default" = false))]
    verified: Option<bool>,
}

/// A question to a person: what are these values? The answer is the step's result.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ask {
    /// What the person reads.
    message: Option<Text>,
    /// What is asked for: a flat form.
    schema: Form,
    /// Who may answer. Left out: everybody but whoever started the execution.
    #[schemars(length(min = 1))]
    approvers: Option<Vec<String>>,
    /// How long it stays open, in milliseconds. Left out: 7 days.
    #[schemars(range(min = MIN_ANSWER_MS, max = MAX_TIMEOUT_MS), extend("default" = DEFAULT_ANSWER_MS))]
    expires_ms: Option<u64>,
    /// What happens when nobody answers in time.
    on_expire: Option<OnExpire>,
    /// Whether whoever started the execution may answer.
    #[schemars(extend("default" = false))]
    allow_self: Option<bool>,
    /// Whether the answer must come from a person whose identity is known for sure.
    #[schemars(extend("default" = false))]
    verified: Option<bool>,
}

/// `reject`: it counts as refused. `escalate`: it is asked once more for the same time, and then counts as refused.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "reject"))]
enum OnExpire {
    Reject,
    Escalate,
}

/// JSON Schema of a flat form: texts, numbers, truths and enumerations.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    /// The dialect; only 2020-12 is understood.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    /// Always `object`.
    #[schemars(rename = "type", extend("const" = "object"))]
    kind: String,
    /// A heading.
    title: Option<String>,
    /// What the form is for.
    description: Option<String>,
    /// The values that are asked for, by name.
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_FIELDS))]
    properties: std::collections::BTreeMap<String, Field>,
    /// The values that must be given.
    required: Option<Vec<String>>,
    /// Whether other values may be given.
    additional_properties: Option<Value>,
}

/// One value of a form. Other keywords of JSON Schema (`minimum`, `maxLength`, `pattern`, `format` …) may stand here too.
#[derive(JsonSchema)]
#[schemars(extend(
    "anyOf" = [{ "required": ["type"] }, { "required": ["enum"] }, { "required": ["const"] }],
    "not" = { "anyOf": [
        { "required": ["properties"] }, { "required": ["items"] }, { "required": ["allOf"] },
        { "required": ["anyOf"] }, { "required": ["oneOf"] }, { "required": ["$ref"] },
    ] },
))]
struct Field {
    /// What kind of value it is.
    #[schemars(rename = "type", extend("enum" = FIELD_TYPES))]
    kind: Option<String>,
    /// What it is called in the form.
    title: Option<String>,
    /// What to enter.
    description: Option<String>,
    /// The values to choose from.
    #[schemars(rename = "enum")]
    options: Option<Vec<Value>>,
    /// What it is when nothing is entered.
    default: Option<Value>,
}

/// One holder of a key at a time: the key alone, or with what to do while somebody else holds it.
#[derive(JsonSchema)]
#[schemars(untagged, example = "deploy:${input.app}")]
pub(super) enum Lock {
    Key(#[schemars(length(min = 1))] String),
    Terms(LockTerms),
}

/// A lock, and what to do while somebody else holds it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LockTerms {
    /// What is locked; `${…}` may stand in it.
    #[schemars(length(min = 1))]
    key: String,
    /// What happens while somebody else holds it.
    on_busy: Option<OnBusy>,
}

/// `queue`: waits for its turn. `reject`: fails with `lock_busy`. `replace`: cancels the execution that holds it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "queue"))]
enum OnBusy {
    Queue,
    Reject,
    Replace,
}
