//! A step, and what goes with what.

#![expect(dead_code, reason = "the types are only described, never built")]

use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::requests::{Approval, Ask, Lock};
use super::values::{
    Condition, List, Milliseconds, Moment, Name, Params, Text, Tool, Values, Variable,
};
use crate::parse::draft::MAX_TIMEOUT_MS;
use crate::parse::kinds::{
    DEFAULT_ITERATIONS, MAX_ATTEMPTS, MAX_DELAY_MS, MAX_INSTANCES, MAX_ITERATIONS, MAX_MULTIPLIER,
};
use crate::parse::steps::{FITS, KINDS, MAX_STEPS};
use crate::workflow::DEFAULT_ANSWER_MS;

/// One step. It does one thing, which one of `tool`, `workflow`, `approval`, `ask`, `wait`, `set`, `steps` and `stop` says.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Step {
    /// Unique in the workflow, whatever the depth; its result is `steps.NAME`.
    name: Name,
    /// Calls this tool. Its result is the step's result.
    tool: Option<Tool>,
    /// Runs this workflow as an execution of its own. Its output is the step's result.
    workflow: Option<Name>,
    /// What the tool or the workflow is given. `${secrets.NAME}` may stand in a tool's.
    params: Option<Params>,
    /// Alone: asks a person whether to go on. Beside `tool`: asks before the call, and shows exactly what will be sent.
    approval: Option<Approval>,
    /// Asks a person for values.
    ask: Option<Ask>,
    /// Waits for a time or for an event. Nothing is held meanwhile.
    wait: Option<Wait>,
    /// Computes values; those that are named like a var change it. The object is the step's result.
    #[schemars(extend("minProperties" = 1))]
    set: Option<Values>,
    /// Holds other steps: a group. Its result is the object of their results, by name.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    steps: Option<Vec<Step>>,
    /// Ends the execution.
    stop: Option<Stop>,
    /// Whether the steps of the group start at once, except where they say what they need.
    #[schemars(extend("default" = false))]
    parallel: Option<bool>,
    /// When a parallel group is over: when all of its steps have ended, or any one, or so many of them have completed.
    /// The others are cancelled.
    wait_for: Option<WaitFor>,
    /// Runs the group again and again. Its steps see the results of the iteration before through `default(…)`.
    repeat: Option<Repeat>,
    /// Runs instead of `steps` when `if` is false.
    #[schemars(rename = "else", length(min = 1, max = MAX_STEPS))]
    otherwise: Option<Vec<Step>>,
    /// The steps of the same list that must have ended first. Left out: the one before it. `[]`: none.
    #[schemars(extend("uniqueItems" = true))]
    needs: Option<Vec<String>>,
    /// The step is skipped when this is false.
    #[schemars(rename = "if")]
    condition: Option<Condition>,
    /// One instance for each element; the result is the list of their results, in order.
    for_each: Option<List>,
    /// What an element is called in expressions. Left out: `item`.
    #[schemars(rename = "as", extend("default" = "item"))]
    variable: Option<Variable>,
    /// How many instances run at once. Left out: `config.maxParallel`.
    #[schemars(range(min = 1, max = MAX_INSTANCES))]
    max_parallel: Option<u32>,
    /// When a failed attempt is followed by another.
    retry: Option<Retry>,
    /// Bound on all attempts together, in milliseconds; for a group, on all that it holds. What people and locks take
    /// does not count.
    #[schemars(range(min = 1, max = MAX_TIMEOUT_MS))]
    timeout_ms: Option<u64>,
    /// `fail`: the list fails with the step. `continue`: it goes on, and `error('NAME')` tells what happened.
    on_error: Option<OnError>,
    /// What must hold of `result`; otherwise the attempt failed with `expectation_failed`.
    expect: Option<Condition>,
    /// What to do when a call may or may not have happened and its tool cannot be called again without harm.
    on_uncertain: Option<OnUncertain>,
    /// How to find out whether the call happened; goes with `onUncertain: verify`.
    verify: Option<Verify>,
    /// What undoes the step once it has completed.
    undo: Option<Undo>,
    /// A second name for the result, at the top level of expressions.
    assign: Option<Variable>,
    /// Held while the step runs: one holder of a key at a time.
    lock: Option<Lock>,
}

/// Waits for one thing: `ms`, `until` or `event`.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("oneOf" = [{ "required": ["ms"] }, { "required": ["until"] }, { "required": ["event"] }],
        "dependentRequired" = { "timeoutMs": ["event"] })
)]
struct Wait {
    /// So many milliseconds.
    ms: Option<Milliseconds>,
    /// Until this moment.
    until: Option<Moment>,
    /// Until somebody sends this event; its data is the step's result.
    event: Option<Text>,
    /// How long to wait for the event, in milliseconds; then the step fails with `timeout`. Left out: 7 days.
    #[schemars(range(min = 1, max = MAX_TIMEOUT_MS), extend("default" = DEFAULT_ANSWER_MS))]
    timeout_ms: Option<u64>,
}

/// Ends the execution: as what, or as what and why.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Stop {
    Outcome(Outcome),
    Terms(StopTerms),
}

/// As what the execution ends, and why.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct StopTerms {
    /// As what.
    status: Outcome,
    /// Why.
    message: Option<Text>,
}

/// As what an execution ends.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// `all`, `any`, or how many.
#[derive(JsonSchema)]
#[schemars(untagged, extend("default" = "all"))]
enum WaitFor {
    Word(WaitWord),
    Count(#[schemars(range(min = 1, max = MAX_STEPS))] u32),
}

/// When a group is over.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", inline)]
enum WaitWord {
    All,
    Any,
}

/// A loop. `index` counts its iterations from 0.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("anyOf" = [{ "required": ["while"] }, { "required": ["until"] }])
)]
struct Repeat {
    /// Asked before each iteration; false ends the loop.
    #[schemars(rename = "while")]
    while_holds: Option<Condition>,
    /// Asked after each iteration; true ends the loop.
    until: Option<Condition>,
    /// The loop fails with `too_many_iterations` when it would begin one more.
    #[schemars(range(min = 1, max = MAX_ITERATIONS), extend("default" = DEFAULT_ITERATIONS))]
    max_iterations: Option<u32>,
}

/// When a failed attempt is followed by another. Delays survive a restart; what the tool asks for wins.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Retry {
    /// Counts the first attempt too; 1 means no retry.
    #[schemars(range(min = 1, max = MAX_ATTEMPTS), extend("default" = 3))]
    max_attempts: Option<u32>,
    /// How the delay grows.
    backoff: Option<Backoff>,
    /// The first delay, in milliseconds.
    #[schemars(range(max = MAX_DELAY_MS), extend("default" = 1000))]
    initial_delay_ms: Option<u64>,
    /// The factor between two delays of an exponential backoff.
    #[schemars(range(min = 1, max = MAX_MULTIPLIER), extend("default" = 2))]
    backoff_multiplier: Option<f64>,
    /// No delay is longer, in milliseconds.
    #[schemars(range(max = MAX_DELAY_MS), extend("default" = 60000))]
    max_delay_ms: Option<u64>,
    /// Whether delays are made up to a quarter longer, so that many executions do not come back at once.
    #[schemars(extend("default" = true))]
    jitter: Option<bool>,
    /// Only errors with these codes are retried. Left out: every error that does not say it cannot be mended.
    on: Option<Vec<String>>,
}

/// `exponential`: 1, 2, 4 … times the first delay. `linear`: 1, 2, 3 … times. `fixed`: always the same.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "exponential"))]
enum Backoff {
    Exponential,
    Linear,
    Fixed,
}

/// What a failure of the step means for the list it is in.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "fail"))]
enum OnError {
    Fail,
    Continue,
}

/// `ask`: a person has to say. `verify`: another tool can tell. `retry`: calling again is harmless. `fail`: the step has failed.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("default" = "ask"))]
enum OnUncertain {
    Ask,
    Verify,
    Retry,
    Fail,
}

/// How to find out whether a call happened.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Verify {
    /// A tool that only reads.
    tool: Tool,
    /// What it is given.
    params: Option<Params>,
    /// Whether its `result` says that the call happened; then that is the step's result. Otherwise it is called again.
    expect: Condition,
}

/// What undoes a step.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Undo {
    /// The tool.
    tool: Tool,
    /// What it is given; `result` is what the step resulted in.
    params: Option<Params>,
}

/// Adds to a step what types cannot say: one kind, and which keys go with which.
pub(super) fn complete(schema: &mut Schema) {
    let Some(step) = schema.pointer_mut("/$defs/Step").and_then(Value::as_object_mut) else {
        return;
    };
    step.insert("oneOf".to_owned(), KINDS.map(one_kind).into_iter().collect());
    step.insert("dependentSchemas".to_owned(), Value::Object(together()));
    let verified = json!({ "properties": { "onUncertain": { "const": "verify" } }, "required": ["onUncertain"] });
    step.insert("if".to_owned(), verified);
    step.insert("then".to_owned(), json!({ "required": ["verify"] }));
}

/// Beside a tool, an approval is not what the step does.
fn one_kind(kind: &str) -> Value {
    match kind {
        "approval" => json!({ "required": [kind], "not": { "required": ["tool"] } }),
        kind => json!({ "required": [kind] }),
    }
}

fn together() -> Map<String, Value> {
    let mut together = Map::new();
    // What a step does is its own key; `oneOf` tells those apart.
    for (key, kinds) in FITS.iter().filter(|(key, _)| !KINDS.contains(key)) {
        let ways: Vec<Value> = kinds.iter().map(|kind| json!({ "required": [kind] })).collect();
        let mut rule = json!({ "anyOf": ways });
        let more = match *key {
            "waitFor" => {
                json!({ "required": ["parallel"], "properties": { "parallel": { "const": true } } })
            }
            "else" => json!({ "required": ["if"], "not": { "required": ["forEach"] } }),
            "repeat" => json!({ "not": { "required": ["forEach"] } }),
            "as" | "maxParallel" => json!({ "required": ["forEach"] }),
            "verify" => {
                json!({ "required": ["onUncertain"], "properties": { "onUncertain": { "const": "verify" } } })
            }
            _ => json!({}),
        };
        if let (Value::Object(rule), Value::Object(more)) = (&mut rule, more) {
            rule.extend(more);
        }
        together.insert((*key).to_owned(), rule);
    }
    together
}
