//! A document as a whole.

#![expect(dead_code, reason = "the types are only described, never built")]

use schemars::JsonSchema;
use serde_json::Value;

use super::requests::Lock;
use super::step::Step;
use super::values::{Name, Values};
use crate::parse::draft::{MAX_CALLS, MAX_RETRIES, MAX_TIMEOUT_MS, MAX_VARS};
use crate::parse::steps::MAX_STEPS;
use crate::workflow::DEFAULT_MAX_PARALLEL;

/// A workflow of Windlass: steps that call tools, ask people, wait and decide, and that survive crashes.
#[derive(JsonSchema)]
#[schemars(rename = "Windlass workflow", rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    /// Where this schema is, for editors.
    #[schemars(rename = "$schema")]
    schema: Option<Value>,
    /// What `workflow.run` and other workflows call it; unique in its workspace.
    name: Name,
    /// A name for people.
    title: Option<String>,
    /// What it does and when to use it, for whoever chooses between workflows, a language model included.
    description: Option<String>,
    /// Words to find it by.
    tags: Option<Vec<String>>,
    /// JSON Schema (2020-12) of what it must be given. Checked before anything runs; its defaults are applied.
    /// Left out: any object.
    input: Option<InputSchema>,
    /// Bounds and defaults that hold for the whole execution.
    config: Option<Config>,
    /// Held for the whole execution: one holder of a key at a time.
    lock: Option<Lock>,
    /// Names with a value that `set` steps can change, as `vars.NAME`; evaluated at the start.
    #[schemars(extend("maxProperties" = MAX_VARS))]
    vars: Option<Values>,
    /// What it does. The steps run one after the other unless they say what they need.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    steps: Vec<Step>,
    /// What an execution results in; `${…}` may stand anywhere in it. Left out: the result of the last step.
    output: Option<Value>,
    /// Runs when the execution has failed; `error` has `code`, `message` and `step`.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    on_failure: Option<Vec<Step>>,
    /// Runs when the execution was cancelled; `error` says why.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    on_cancel: Option<Vec<Step>>,
}

/// JSON Schema (2020-12) of an object. References stay inside of it (`#/$defs/…`).
#[derive(JsonSchema)]
pub(super) struct InputSchema {
    /// Always `object`.
    #[schemars(rename = "type", extend("const" = "object"))]
    kind: String,
    /// The schema of each input, by name.
    properties: Option<std::collections::BTreeMap<String, SubSchema>>,
    /// The inputs that must be given.
    required: Option<Vec<String>>,
    /// Whether other inputs may be given, or what they must look like.
    #[schemars(rename = "additionalProperties")]
    additional_properties: Option<SubSchema>,
}

/// A JSON Schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum SubSchema {
    Any(bool),
    Object(std::collections::BTreeMap<String, Value>),
}

/// Bounds and defaults that hold for the whole execution.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    /// Bound on the whole execution, in milliseconds. What people and locks take does not count. Left out: none.
    #[schemars(range(min = 1, max = MAX_TIMEOUT_MS))]
    timeout_ms: Option<u64>,
    /// How many calls may be out at once.
    #[schemars(range(min = 1, max = MAX_CALLS), extend("default" = DEFAULT_MAX_PARALLEL))]
    max_parallel: Option<u32>,
    /// Whether the rest goes on after a failed step, for steps without an `onError` of their own.
    #[schemars(extend("default" = false))]
    continue_on_error: Option<bool>,
    /// Attempts after the first, for steps without a `retry` of their own.
    #[schemars(range(max = MAX_RETRIES), extend("default" = 0))]
    max_retries: Option<u32>,
    /// Whether a failure runs the `undo` of the steps that had completed, the last one first.
    #[schemars(extend("default" = false))]
    undo_on_failure: Option<bool>,
    /// Who goes first where not all can go at once; a run may say otherwise.
    priority: Option<Priority>,
}

/// `high` goes before `normal`, and `normal` before `low`.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "normal"))]
enum Priority {
    Low,
    Normal,
    High,
}
