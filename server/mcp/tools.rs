//! The tools as agents see them: names, words, schemas, hints.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{names::ToolId, wait};
use crate::{app::MAX_PLAN_LIFETIME_MS, config::ToolNames};

/// What an answer of `workflow.status` can be narrowed to.
pub(crate) const FIELDS: [&str; 5] = ["output", "steps", "results", "error", "input"];
/// What `workflow.control` can do.
pub(crate) const ACTIONS: [&str; 9] =
    ["cancel", "pause", "resume", "retry", "resolve", "skip", "fork", "signal", "checkpoints"];
/// What can be said to a request.
pub(crate) const DECISIONS: [&str; 2] = ["approve", "reject"];
/// What `workflow.manage` can do.
pub(crate) const MANAGEMENT: [&str; 5] = ["revisions", "show", "diff", "enable", "disable"];
/// How a step can be settled by hand.
pub(crate) const OUTCOMES: [&str; 3] = ["completed", "retry", "failed"];
/// How long `workflow.run` waits when it is not told.
pub(crate) const RUN_WAIT_SECONDS: u64 = 30;

/// Every tool that every door has, in a fixed order.
pub(crate) fn list(names: ToolNames) -> Vec<Tool> {
    ToolId::ALL.into_iter().map(|tool| describe(tool, names)).collect()
}

/// The tools for authors.
pub(crate) fn authoring(names: ToolNames) -> Vec<Tool> {
    ToolId::AUTHORING.into_iter().map(|tool| describe(tool, names)).collect()
}

/// What a client is told when it connects.
pub(crate) fn instructions(names: ToolNames) -> String {
    let [list, describe, run, status, control, answer, validate, plan] =
        ToolId::ALL.map(|tool| tool.listed(names));
    format!(
        "Windlass runs workflows: durable, multi-step automations. An execution survives crashes, restarts and closed \
         windows, and no completed step is ever run twice.\n\
         1. {list} shows what there is and the input it takes; {describe} shows one workflow's input schema and steps.\n\
         2. {run} starts one and waits up to wait_seconds (at most {max}). Give an idempotency_key when you might repeat the \
         call: the same key is the same execution.\n\
         3. Status running after that? It goes on without you. Call {status} with the execution_id, since=version and \
         wait_seconds={max} until status is completed, failed or cancelled. Do not start it again.\n\
         4. Status waiting: waiting_for and requests say who has to do what. Show the user the request and its command; \
         do not decide for them. {answer} gives the answer of a person other than who started it.\n\
         5. {plan} shows what {run} would write, and writes nothing. Show it where it matters; with its plan_id {run} does \
         that and nothing else.\n\
         6. {status} without execution_id lists the newest executions and open requests. {control} pauses, \
         cancels or retries one, sends it an event, or settles a step, once you know what really happened.\n\
         7. {validate} checks a workflow document and tells every problem with its repair.\n\
         Every answer has a field next with the advised call.",
        max = wait::MAX_SECONDS,
    )
}

fn describe(tool: ToolId, names: ToolNames) -> Tool {
    let [list, describe, run, status, ..] = ToolId::ALL.map(|tool| tool.listed(names));
    let (title, description) = match tool {
        ToolId::List => (
            "List workflows",
            format!(
                "List the workflows (automations, pipelines, runbooks) that {run} can start, and their input."
            ),
        ),
        ToolId::Describe => (
            "Describe a workflow",
            "Show one workflow: input schema, steps, tools, what is wrong with it.".to_owned(),
        ),
        ToolId::Run => (
            "Run a workflow",
            format!(
                "Start a workflow (durable automation) and wait up to wait_seconds for its output. \
                 A longer one goes on in the background: follow it with {status}. {list} has names, {describe} the input."
            ),
        ),
        ToolId::Status => (
            "Look at an execution",
            "Status, output, error, steps and requests of an execution; waits for its end when told to. Without \
             execution_id: the newest executions and all open requests."
                .to_owned(),
        ),
        ToolId::Control => (
            "Control an execution",
            "Pause, resume or cancel it; retry a failed one from where it failed; resolve (settle by hand) or skip a failed \
             or uncertain step; fork a new one from a step; signal an event; list checkpoints."
                .to_owned(),
        ),
        ToolId::Answer => (
            "Answer a request",
            "Answer a request with what a person decided, never on your own: decision for an approval, values for a form."
                .to_owned(),
        ),
        ToolId::Validate => (
            "Check a workflow",
            "Check a document, or a workflow by name: every problem with its repair. Changes nothing."
                .to_owned(),
        ),
        ToolId::Save => (
            "Save a workflow",
            format!(
                "Check a workflow document and make it what {run} runs. With problems, nothing is saved."
            ),
        ),
        ToolId::Plan => (
            "Plan a workflow",
            format!(
                "Dry run of {run}: calls only tools that read, supposes what others say, and returns the writes in order, \
                 with their full arguments. Changes nothing."
            ),
        ),
        ToolId::Manage => (
            "Manage a workflow",
            "List a workflow's revisions, show or diff them, or switch it on and off.".to_owned(),
        ),
    };
    Tool::new(tool.listed(names), description, object(input_schema(tool)))
        .with_title(title)
        .with_raw_output_schema(object(output_schema()).into())
        .with_annotations(annotations(tool))
}

fn input_schema(tool: ToolId) -> Value {
    match tool {
        ToolId::List => arguments(json!({}), &[]),
        ToolId::Describe => arguments(json!({ "workflow": { "type": "string" } }), &["workflow"]),
        ToolId::Run => arguments(
            json!({
                "workflow": { "type": "string" },
                "input": { "type": "object", "description": "As its input schema says" },
                "wait_seconds": wait_seconds(RUN_WAIT_SECONDS),
                "plan": { "type": "string", "description": "plan_id: refused unless all is as planned; input may be left out" },
                "idempotency_key": { "type": "string", "description": "Same key, same execution" },
                "priority": { "type": "string", "enum": ["low", "normal", "high"] },
            }),
            &["workflow"],
        ),
        ToolId::Status => arguments(
            json!({
                "execution_id": { "type": "string" },
                "wait_seconds": wait_seconds(0),
                "since": { "type": "integer", "description": "The version you know; unchanged: true when nothing is newer" },
                "fields": {
                    "type": "array",
                    "items": { "type": "string", "enum": FIELDS },
                    "description": "Default: output, error, steps",
                },
                "step": { "type": "string", "description": "Only this step" },
            }),
            &[],
        ),
        ToolId::Control => arguments(
            json!({
                "execution_id": { "type": "string" },
                "action": { "type": "string", "enum": ACTIONS },
                "step": { "type": "string", "description": "resolve, skip: which; fork: the first to run again" },
                "input": { "type": "object", "description": "retry, fork: values to change" },
                "outcome": {
                    "type": "string",
                    "enum": OUTCOMES,
                    "description": "resolve: it happened (give result), it did not and is called again, it failed",
                },
                "result": { "description": "resolve as completed: what the tool returned" },
                "event": { "type": "string", "description": "signal: its name" },
                "data": { "description": "signal: what it says" },
                "reason": { "type": "string" },
                "latest": { "type": "boolean", "description": "fork: the current revision" },
                "idempotency_key": { "type": "string" },
                "limit": { "type": "integer" },
            }),
            &["execution_id", "action"],
        ),
        ToolId::Answer => arguments(
            json!({
                "request_id": { "type": "string" },
                "decision": { "type": "string", "enum": DECISIONS },
                "values": { "type": "object", "description": "For a form, as its schema says" },
                "comment": { "type": "string" },
            }),
            &["request_id"],
        ),
        ToolId::Validate => arguments(
            json!({
                "document": { "type": "string", "description": "YAML or JSON" },
                "workflow": { "type": "string", "description": "Instead: a name" },
            }),
            &[],
        ),
        ToolId::Plan => arguments(
            json!({
                "workflow": { "type": "string" },
                "input": { "type": "object" },
                "expires_seconds": { "type": "integer", "maximum": MAX_PLAN_LIFETIME_MS / 1_000 },
            }),
            &["workflow"],
        ),
        ToolId::Save => arguments(
            json!({
                "document": { "type": "string", "description": "YAML or JSON" },
                "comment": { "type": "string" },
                "expected_revision": { "type": "integer", "description": "Only over this one; 0: none yet" },
                "dry_run": { "type": "boolean" },
            }),
            &["document"],
        ),
        ToolId::Manage => arguments(
            json!({
                "workflow": { "type": "string" },
                "action": { "type": "string", "enum": MANAGEMENT },
                "revision": { "type": "string", "description": "show, diff: number or hash; else the current one" },
                "from": { "type": "string", "description": "diff: else the one before" },
            }),
            &["workflow", "action"],
        ),
    }
}

fn wait_seconds(default: u64) -> Value {
    json!({
        "type": "integer", "minimum": 0, "maximum": wait::MAX_SECONDS, "default": default,
        "description": "Wait until it ends or needs somebody",
    })
}

/// Answers name their keys themselves; to say them here, too, would make every client's context longer.
fn output_schema() -> Value {
    json!({ "type": "object" })
}

fn annotations(tool: ToolId) -> ToolAnnotations {
    match tool {
        ToolId::List | ToolId::Describe | ToolId::Status | ToolId::Validate => {
            ToolAnnotations::new()
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false)
        }
        // What it calls only reads, but may be anywhere; each plan is a new one.
        ToolId::Plan => ToolAnnotations::new()
            .read_only(true)
            .destructive(false)
            .idempotent(false)
            .open_world(true),
        ToolId::Save | ToolId::Manage => ToolAnnotations::new()
            .read_only(false)
            .destructive(false)
            .idempotent(true)
            .open_world(false),
        ToolId::Run | ToolId::Control | ToolId::Answer => ToolAnnotations::new()
            .read_only(false)
            .destructive(true)
            .idempotent(false)
            .open_world(true),
    }
}

fn arguments(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema["additionalProperties"] = Value::Bool(false);
    schema
}

/// The object that a `json!({…})` is.
pub(crate) fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => unreachable!("written as an object: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPELLINGS: [ToolNames; 2] = [ToolNames::Dotted, ToolNames::Underscore];

    #[test]
    fn the_list_is_smaller_than_seven_kib() {
        for names in SPELLINGS {
            let all = [list(names), authoring(names)].concat();
            let text = serde_json::to_string(&all).unwrap();
            assert!(text.len() < 7 * 1024, "{} bytes", text.len());
        }
    }

    #[test]
    fn instructions_fit_into_one_and_a_half_kib() {
        for names in SPELLINGS {
            let text = instructions(names);
            assert!(text.len() <= 1536, "{} bytes", text.len());
        }
    }

    #[test]
    fn text_uses_the_listed_spelling_only() {
        for (names, other) in
            [(ToolNames::Dotted, "workflow_"), (ToolNames::Underscore, "workflow.")]
        {
            let all = [list(names), authoring(names)].concat();
            let text = serde_json::to_string(&all).unwrap() + &instructions(names);
            for tool in ToolId::every() {
                let foreign = tool.listed(match names {
                    ToolNames::Dotted => ToolNames::Underscore,
                    ToolNames::Underscore => ToolNames::Dotted,
                });
                assert!(foreign.starts_with(other) && !text.contains(foreign), "{foreign}");
            }
        }
    }

    #[test]
    fn every_tool_has_a_title_both_schemas_and_all_four_hints() {
        for tool in [list(ToolNames::Dotted), authoring(ToolNames::Dotted)].concat() {
            let hints = tool.annotations.expect("has annotations");
            assert!(tool.title.is_some() && tool.output_schema.is_some(), "{}", tool.name);
            assert!(
                hints.read_only_hint.is_some()
                    && hints.destructive_hint.is_some()
                    && hints.idempotent_hint.is_some()
                    && hints.open_world_hint.is_some(),
                "{}",
                tool.name
            );
        }
    }

    #[test]
    fn schemas_compile_and_keep_the_order_in_which_they_were_written() {
        for tool in [list(ToolNames::Dotted), authoring(ToolNames::Dotted)].concat() {
            jsonschema::draft202012::new(&tool.schema_as_json_value()).expect("compiles");
        }
        let run = describe(ToolId::Run, ToolNames::Dotted);
        let properties = run.input_schema["properties"].as_object().unwrap();
        let names: Vec<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["workflow", "input", "wait_seconds", "plan", "idempotency_key", "priority"]
        );
    }
}
