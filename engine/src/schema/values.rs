//! The values that stand in many places of a document.

#![expect(dead_code, reason = "the types are only described, never built")]

use schemars::JsonSchema;
use serde_json::Value;

use crate::parse::draft::MAX_TIMEOUT_MS;
use crate::parse::fields::MAX_NAME;

/// A name: small letters, digits and `_`, beginning with a letter; at most 64 characters.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[a-z][a-z0-9_]*$", "maxLength" = MAX_NAME))]
pub(super) struct Name(String);

/// A name in expressions: letters, digits and `_`, beginning with a letter; at most 64 characters.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[a-zA-Z][a-zA-Z0-9_]*$", "maxLength" = MAX_NAME))]
pub(super) struct Variable(String);

/// `server.tool`: the text before the first dot names the tool server. Written out, without `${…}`.
#[derive(JsonSchema)]
#[schemars(
    extend("pattern" = r"^[^.\s$]+\.[^\s$]+$"),
    example = "github.getIssue"
)]
pub(super) struct Tool(String);

/// A text, in which `${…}` may stand.
#[derive(JsonSchema)]
pub(super) struct Text(String);

/// One expression `${…}` and nothing else.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = r"^\s*\$\{"), example = "${input.items}")]
pub(super) struct Expression(String);

/// A condition in CEL; the `${…}` around it may be left off.
#[derive(JsonSchema)]
#[schemars(untagged, example = "input.count > 0")]
pub(super) enum Condition {
    Expression(String),
    Always(bool),
}

/// What is given: an object in which `${…}` may stand, or one expression that stands for an object.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Params {
    Object(std::collections::BTreeMap<String, Value>),
    Expression(Expression),
}

/// A list, or one expression that stands for a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum List {
    List(Vec<Value>),
    Expression(Expression),
}

/// Milliseconds, or one expression that gives them.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Milliseconds {
    Number(#[schemars(range(min = 1, max = MAX_TIMEOUT_MS))] u64),
    Expression(Expression),
}

/// A moment such as `2027-01-31T12:00:00Z`, milliseconds since 1970, or an expression that gives one of them.
#[derive(JsonSchema)]
#[schemars(untagged, example = "2027-01-31T12:00:00Z")]
pub(super) enum Moment {
    Text(#[schemars(extend("pattern" = r"\{|^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}"))] String),
    Milliseconds(u64),
}

/// Values by name; `${…}` may stand in each.
#[derive(JsonSchema)]
#[schemars(extend("propertyNames" = { "$ref": "#/$defs/Variable" }))]
pub(super) struct Values(std::collections::BTreeMap<String, Value>);
