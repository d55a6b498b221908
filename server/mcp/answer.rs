//! What callers are told: the application's answers as tool results, bounded in size and with advice.

use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde_json::{Map, Value, json};

use super::{
    arguments::Refusal,
    names::{ToolId, respell},
    requests,
    steps::{self, RESULT_BYTES, shorten},
};
use crate::{
    app::{self, ArtifactView, Execution, ExecutionList, RequestView, StepView, WorkflowView},
    config::ToolNames,
};

/// An output is given whole up to this size.
const OUTPUT_BYTES: usize = 64 * 1024;
/// A message is cut here.
const MESSAGE_BYTES: usize = 4 * 1024;
/// A workflow's description is cut here in a list.
const DESCRIPTION_BYTES: usize = 200;
/// Above this many workflows, a list leaves descriptions out.
const DESCRIBED_WORKFLOWS: usize = 100;

/// What an answer of `workflow.status` holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Projection {
    /// Some of [`super::tools::FIELDS`].
    pub(crate) fields: Vec<&'static str>,
    /// Only this step.
    pub(crate) step: Option<String>,
}

impl Projection {
    /// Whether steps' results must be fetched.
    pub(crate) fn wants_results(&self) -> bool {
        self.has("results")
    }

    fn has(&self, field: &str) -> bool {
        self.fields.contains(&field)
    }
}

/// What `workflow.run` answers. An execution that has failed is an error that says everything in its text.
pub(crate) fn run(names: ToolNames, execution: &Execution) -> CallToolResult {
    let mut answer = head(names, execution);
    if let Some(output) = &execution.output {
        answer.insert("output".into(), shorten(names, execution, output, OUTPUT_BYTES));
    }
    if let Some(error) = error(names, execution) {
        answer.insert("error".into(), error);
    }
    if let Some(progress) = progress(execution) {
        answer.insert("progress".into(), progress.into());
    }
    let next = next(names, execution);
    answer.insert("next".into(), next.clone().into());
    if execution.status == "failed" {
        failed(names, execution, &next, Value::Object(answer))
    } else {
        CallToolResult::structured(Value::Object(answer))
    }
}

/// What `workflow.status` answers about one execution.
///
/// # Errors
/// When the projection names a step that the execution does not have.
pub(crate) fn status(
    names: ToolNames,
    execution: &Execution,
    projection: &Projection,
) -> Result<CallToolResult, Refusal> {
    let mut answer = head(names, execution);
    if let Some(output) = execution.output.as_ref().filter(|_| projection.has("output")) {
        answer.insert("output".into(), shorten(names, execution, output, OUTPUT_BYTES));
    }
    if let Some(error) = error(names, execution).filter(|_| projection.has("error")) {
        answer.insert("error".into(), error);
    }
    if projection.has("input") {
        answer.insert("input".into(), shorten(names, execution, &execution.input, RESULT_BYTES));
    }
    if projection.has("steps") || projection.has("results") {
        steps::put(&mut answer, names, execution, projection)?;
    }
    answer.insert("next".into(), next(names, execution).into());
    let mut result = CallToolResult::structured(Value::Object(answer));
    result.content.extend(execution.artifacts.iter().map(link));
    Ok(result)
}

/// Where a file is read that an execution left behind.
fn link(artifact: &ArtifactView) -> ContentBlock {
    let mut link =
        Resource::new(&artifact.resource_uri, &artifact.name).with_mime_type(&artifact.mime);
    link.size = Some(artifact.bytes);
    ContentBlock::resource_link(link)
}

/// What `workflow.status` answers when nothing is newer than what the caller knows.
pub(crate) fn unchanged(execution: &Execution) -> CallToolResult {
    CallToolResult::structured(json!({
        "execution_id": execution.execution_id,
        "status": execution.status,
        "version": execution.version,
        "unchanged": true,
    }))
}

/// What `workflow.status` answers without an execution's id.
pub(crate) fn executions(
    names: ToolNames,
    list: &ExecutionList,
    open: &[RequestView],
) -> CallToolResult {
    let mut answer = object(list);
    requests::put(&mut answer, open);
    let status = ToolId::Status.listed(names);
    let next = if list.executions.is_empty() {
        format!("Nothing has run yet: {} shows what there is.", ToolId::List.listed(names))
    } else {
        format!("Call {status} with the execution_id of the one you want to know more about.")
    };
    answer.insert("next".into(), next.into());
    CallToolResult::structured(Value::Object(answer))
}

/// What `workflow.list` answers.
pub(crate) fn workflows(names: ToolNames, workflows: &[WorkflowView]) -> CallToolResult {
    let described = workflows.len() <= DESCRIBED_WORKFLOWS;
    let lines: Vec<_> = workflows.iter().map(|workflow| line(workflow, described)).collect();
    let next = if workflows.is_empty() {
        "No workflow was found: put a file into one of the configured workflow folders.".to_owned()
    } else {
        format!(
            "Call {} with one of these names and its input; {} shows the whole input schema.",
            ToolId::Run.listed(names),
            ToolId::Describe.listed(names)
        )
    };
    CallToolResult::structured(json!({ "workflows": lines, "next": next }))
}

/// What `workflow.describe` answers.
pub(crate) fn workflow(names: ToolNames, workflow: &WorkflowView) -> CallToolResult {
    let mut answer = object(workflow);
    answer.insert("next".into(), next_of_workflow(names, workflow).into());
    CallToolResult::structured(Value::Object(answer))
}

fn next_of_workflow(names: ToolNames, workflow: &WorkflowView) -> String {
    let advice = workflow.drift.as_ref().and_then(|drift| drift.advice.as_ref());
    match advice {
        _ if !workflow.problems.is_empty() => {
            "It cannot run before the problems in its file are put right.".to_owned()
        }
        _ if !workflow.enabled => {
            let name = &workflow.name;
            format!("It is disabled; the user can switch it on again: windlass enable {name}.")
        }
        Some(advice) => {
            format!(
                "A tool it calls is another one now, and is not called; tell the user. {advice}."
            )
        }
        None => format!("Call {} with input that fits input_schema.", ToolId::Run.listed(names)),
    }
}

/// Something plain, with what to do next.
pub(crate) fn plain(value: &impl serde::Serialize, next: String) -> CallToolResult {
    let mut answer = object(value);
    answer.insert("next".into(), next.into());
    CallToolResult::structured(Value::Object(answer))
}

/// The answer to a call that was not carried out.
pub(crate) fn refused(refusal: Refusal) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(refusal.0)])
}

/// The same, with what programs can read.
pub(crate) fn refused_with(refusal: Refusal, details: Value) -> CallToolResult {
    let mut result = refused(refusal);
    result.structured_content = Some(details);
    result
}

/// What the application would not or could not do, with what to call next.
pub(crate) fn refusal(names: ToolNames, tool: ToolId, error: &app::Error) -> Refusal {
    let advice = advice(names, tool, error);
    let tool = tool.listed(names);
    if matches!(
        error,
        app::Error::Store(_) | app::Error::Revision(_) | app::Error::UncertainStart(_)
    ) {
        tracing::error!(%error, "the database did not do what {tool} needed");
    }
    let error = cut(&respell(names, &error.to_string()), MESSAGE_BYTES);
    Refusal(format!("{tool}: {} {advice}", sentence(&error)))
}

fn advice(names: ToolNames, tool: ToolId, error: &app::Error) -> String {
    let [list, describe, run, status, ..] = ToolId::ALL.map(|tool| tool.listed(names));
    let (is_save, is_answer) = (tool == ToolId::Save, tool == ToolId::Answer);
    let tool = tool.listed(names);
    match error {
        app::Error::BrokenWorkflow { .. } if is_save => {
            format!("Nothing was saved. Correct the document and call {tool} again.")
        }
        app::Error::UnknownWorkflow { .. } => format!("Call {list} to see every workflow."),
        app::Error::BrokenWorkflow { name, .. } => {
            format!(
                "Nothing was started. Correct its file; {describe} with workflow={name:?} shows what is wrong."
            )
        }
        app::Error::Disabled { name } => {
            format!("Tell the user, who can switch it on again: windlass enable {name}.")
        }
        app::Error::NotSaved(_) => {
            format!("{describe} shows how a workflow stands now.")
        }
        app::Error::InvalidInput { workflow, .. } => format!(
            "Nothing was started. Correct the input and call {run} again; {describe} with workflow={workflow:?} shows the input schema."
        ),
        app::Error::KeyReused { execution_id, .. } => {
            format!(
                "Nothing was started. Call {status} with execution_id={execution_id:?} to see that execution."
            )
        }
        app::Error::UnknownExecution(_) => {
            format!("Call {status} without execution_id to see the newest executions.")
        }
        app::Error::UnknownRequest(_) => {
            format!("Call {status} to see which requests are open.")
        }
        app::Error::InvalidAnswer { .. } => {
            format!("Nothing was answered. Correct the values and call {tool} again.")
        }
        app::Error::UnknownStep { .. } => format!("Call {tool} again with one of these steps."),
        app::Error::Refused(_) if is_answer => format!(
            "Nothing was answered. Show the user what is asked and the command, and let a person decide; {status} says how it \
             goes on and lists what is open."
        ),
        app::Error::Plan { .. } => {
            let plan = ToolId::Plan.listed(names);
            format!(
                "Nothing was started. {plan} makes a new plan and changes nothing; show it to the user."
            )
        }
        app::Error::Refused(_) => format!("Call {status} to see how the execution stands."),
        app::Error::ToolServers(_) => {
            format!("Call {describe} to see which tools the workflow calls.")
        }
        app::Error::UncertainStart(id) => {
            format!("Call {status} with execution_id={id:?} for that.")
        }
        app::Error::Store(_) | app::Error::Revision(_) => {
            format!(
                "Nothing that was accepted is lost. Call {tool} again in a moment; an idempotency_key makes repeating {run} safe."
            )
        }
    }
}

/// The one sentence about how far an execution that has not ended has come: `step 2/3 create_branch running`.
pub(crate) fn progress(execution: &Execution) -> Option<String> {
    if has_ended(&execution.status) {
        return None;
    }
    let is_current = |step: &&StepView| !step_has_ended(&step.status) && step.status != "pending";
    let step = execution.steps.iter().find(is_current)?;
    Some(steps::line(execution, step))
}

/// Whether an execution with this status never changes again.
pub(crate) fn has_ended(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// Whether a step with this status is done with.
pub(crate) fn step_has_ended(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "skipped" | "cancelled")
}

/// At most so many bytes of a text, at a character's boundary.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes)])
}

/// The text with a mark at its end.
fn sentence(text: &str) -> String {
    let is_closed = text.ends_with(['.', '?', '!', '…']);
    if is_closed { text.to_owned() } else { format!("{text}.") }
}

/// What every answer about an execution begins with.
fn head(names: ToolNames, execution: &Execution) -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("execution_id".into(), execution.execution_id.clone().into());
    head.insert("workflow".into(), execution.workflow.clone().into());
    head.insert("status".into(), execution.status.clone().into());
    head.insert("version".into(), execution.version.into());
    if let Some(waiting_for) = &execution.waiting_for {
        let waiting_for = cut(&respell(names, waiting_for), MESSAGE_BYTES);
        head.insert("waiting_for".into(), waiting_for.into());
    }
    requests::put(&mut head, &execution.requests);
    if let Some(usage) = &execution.usage {
        head.insert("usage".into(), json!(usage));
    }
    if let Some(cancel) = &execution.cancel {
        head.insert("cancel".into(), json!(cancel));
    }
    head
}

fn error(names: ToolNames, execution: &Execution) -> Option<Value> {
    let error = execution.error.as_ref()?;
    let message = cut(&respell(names, &error.message), MESSAGE_BYTES);
    let mut value = Map::new();
    if let Some(step) = &error.step {
        value.insert("step".into(), step.clone().into());
    }
    value.insert("code".into(), error.code.clone().into());
    value.insert("message".into(), message.into());
    Some(Value::Object(value))
}

/// Clients show their model nothing but the text of an error, so the text has it all.
fn failed(names: ToolNames, execution: &Execution, next: &str, answer: Value) -> CallToolResult {
    let mut text = format!("Execution {} of {} failed", execution.execution_id, execution.workflow);
    if let Some(error) = &execution.error {
        let message = cut(&respell(names, &error.message), MESSAGE_BYTES);
        if let Some(step) = &error.step {
            text += &format!(" at step {step}");
        }
        text += &format!(" ({}): {message}", error.code);
    }
    text = format!("{} {next}", sentence(&text));
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(answer);
    result
}

/// What to do now, in one sentence.
fn next(names: ToolNames, execution: &Execution) -> String {
    let [_, _, run, status, control, ..] = ToolId::ALL.map(|tool| tool.listed(names));
    let Execution { execution_id, version, .. } = execution;
    let wait = format!(
        "call {status} with execution_id={execution_id:?}, since={version} and wait_seconds=50"
    );
    match execution.status.as_str() {
        "completed" => format!(
            "Done. For what each step returned, call {status} with execution_id={execution_id:?} and fields=[\"results\"]."
        ),
        "failed" => format!(
            "Call {status} with execution_id={execution_id:?} to see its steps; when the cause is put right, call {control} \
             with action=\"retry\", which keeps what completed (action=\"skip\" or \"resolve\" goes on without the failed step, \
             \"fork\" starts a new execution from a step)."
        ),
        "cancelled" => format!(
            "It was cancelled, for good; call {run} to start anew, or {control} with action=\"fork\" to begin at a step."
        ),
        "paused" => format!(
            "It stays paused until somebody resumes it: {control} with execution_id={execution_id:?} and action=\"resume\"."
        ),
        _ => match (somebody(names, execution), &execution.waiting_for) {
            (Some(what), _) => format!("{what}. Once that is settled, {wait}."),
            (None, Some(_)) => {
                format!("See waiting_for, and tell the user; once it is settled, {wait}.")
            }
            (None, None) => {
                format!("It goes on by itself: {wait} to hear how it ends; do not start it again.")
            }
        },
    }
}

/// What somebody other than the worker has to do, with the call that says it is done.
fn somebody(names: ToolNames, execution: &Execution) -> Option<String> {
    let control = ToolId::Control.listed(names);
    let id = &execution.execution_id;
    let asked = requests::advice(execution, ToolId::Answer.listed(names));
    let uncertain = || {
        let step = execution.steps.iter().find(|step| step.status == "uncertain")?;
        Some(format!(
            "Find out whether the call of step {name} happened, then call {control} with execution_id={id:?}, \
             action=\"resolve\", step={name:?} and outcome",
            name = step.name
        ))
    };
    let awaited = || {
        let (step, event) =
            execution.steps.iter().find_map(|step| Some((step, step.event.as_ref()?)))?;
        Some(format!(
            "Step {} waits for the event {event:?}: when it has happened, call {control} with execution_id={id:?}, \
             action=\"signal\", event={event:?} and data",
            step.name
        ))
    };
    asked.or_else(uncertain).or_else(awaited)
}

fn line(workflow: &WorkflowView, described: bool) -> Value {
    let mut line = Map::new();
    line.insert("name".into(), workflow.name.clone().into());
    if let Some(title) = &workflow.title {
        line.insert("title".into(), title.clone().into());
    }
    if let Some(description) = workflow.description.as_ref().filter(|_| described) {
        line.insert("description".into(), cut(description.trim(), DESCRIPTION_BYTES).into());
    }
    line.insert("input".into(), input_summary(&workflow.input_schema).into());
    if let Some(problems) = problems(workflow) {
        line.insert("cannot_run".into(), problems.into());
    }
    if !workflow.enabled {
        line.insert("enabled".into(), false.into());
    }
    if let Some(drift) = &workflow.drift {
        line.insert("drift".into(), drift.verdict.as_str().into());
    }
    Value::Object(line)
}

fn problems(workflow: &WorkflowView) -> Option<String> {
    let first = cut(&workflow.problems.first()?.to_string(), DESCRIPTION_BYTES);
    match workflow.problems.len() - 1 {
        0 => Some(first),
        more => Some(format!("{first} (and {more} more)")),
    }
}

/// What a workflow takes, on one line: `app: string, version?: string = "latest"`.
fn input_summary(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return "any object".to_owned();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| {
        required.is_some_and(|required| required.iter().any(|one| one.as_str() == Some(name)))
    };
    let parts = properties
        .iter()
        .map(|(name, property)| property_summary(name, property, is_required(name)));
    let summary = parts.collect::<Vec<_>>().join(", ");
    if summary.is_empty() { "nothing".to_owned() } else { cut(&summary, DESCRIPTION_BYTES * 2) }
}

fn property_summary(name: &str, property: &Value, is_required: bool) -> String {
    let mark = if is_required { "" } else { "?" };
    let default = match property.get("default") {
        Some(default) => format!(" = {}", cut(&default.to_string(), 40)),
        None => String::new(),
    };
    format!("{name}{mark}: {}{default}", kind(property))
}

fn kind(property: &Value) -> String {
    if let Some(choices) = property.get("enum").and_then(Value::as_array) {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        return cut(&choices.join("|"), 80);
    }
    match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|")
        }
        _ => "any".to_owned(),
    }
}

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        // Views are structs of plain values: they are always objects.
        _ => Map::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{
        super::steps::{PREVIEW_BYTES, RESULTS_BYTES},
        *,
    };

    /// An execution of three steps, in the middle of the second.
    pub(crate) fn execution(status: &str) -> Execution {
        let step = |name: &str, status: &str| StepView {
            name: name.to_owned(),
            tool: format!("github.{name}"),
            status: status.to_owned(),
            attempts: 1,
            started_at: None,
            ended_at: None,
            error: None,
            ..StepView::default()
        };
        Execution {
            execution_id: "exec_1".into(),
            workflow: "fix".into(),
            status: status.to_owned(),
            version: 4,
            output: None,
            error: None,
            waiting_for: None,
            steps: vec![
                step("fetch", "completed"),
                step("create_branch", "running"),
                step("open_pr", "pending"),
            ],
            input: json!({ "issue": 7 }),
            requested_by: "local".into(),
            created_at: 1,
            ..Execution::default()
        }
    }

    fn text(result: &CallToolResult) -> &str {
        &result.content[0].as_text().unwrap().text
    }

    fn structured(result: &CallToolResult) -> &Value {
        result.structured_content.as_ref().unwrap()
    }

    fn projection(fields: &[&'static str], step: Option<&str>) -> Projection {
        Projection { fields: fields.to_vec(), step: step.map(str::to_owned) }
    }

    #[test]
    fn a_run_that_goes_on_says_how_far_it_is_and_how_to_follow_it() {
        let result = run(ToolNames::Dotted, &execution("running"));
        let expected = json!({
            "execution_id": "exec_1",
            "workflow": "fix",
            "status": "running",
            "version": 4,
            "progress": "step 2/3 create_branch running",
            "next": "It goes on by itself: call workflow.status with execution_id=\"exec_1\", since=4 and wait_seconds=50 \
                     to hear how it ends; do not start it again.",
        });
        assert_eq!(structured(&result), &expected);
        assert_eq!(result.is_error, Some(false));
    }

    #[test]
    fn a_run_that_waits_says_for_what() {
        let mut execution = execution("waiting");
        execution.waiting_for = Some("settle step fetch with workflow.control".into());
        let result = run(ToolNames::Underscore, &execution);
        let told = structured(&result);
        assert_eq!(told["waiting_for"], "settle step fetch with workflow_control");
        let next = |execution: &Execution| {
            let told = run(ToolNames::Underscore, execution);
            structured(&told)["next"].as_str().unwrap().to_owned()
        };
        assert!(next(&execution).starts_with(
            "See waiting_for, and tell the user; once it is settled, call workflow_status"
        ));
        execution.steps[1].event = Some("paid".into());
        let told = next(&execution);
        assert!(told.contains("action=\"signal\", event=\"paid\" and data"), "{told}");
        execution.steps[0].status = "uncertain".into();
        let told = next(&execution);
        assert!(
            told.contains("workflow_control with") && told.contains("step=\"fetch\""),
            "{told}"
        );
    }

    #[test]
    fn a_run_that_failed_says_everything_in_its_text() {
        let mut execution = execution("failed");
        let message = "no branch main; create it first.".to_owned();
        let step = Some("create_branch".to_owned());
        execution.error = Some(app::ExecutionError { step, code: "not_found".into(), message });
        let result = run(ToolNames::Dotted, &execution);
        assert_eq!(result.is_error, Some(true));
        assert_eq!(
            text(&result),
            "Execution exec_1 of fix failed at step create_branch (not_found): no branch main; create it first. Call \
             workflow.status with execution_id=\"exec_1\" to see its steps; when the cause is put right, call \
             workflow.control with action=\"retry\", which keeps what completed (action=\"skip\" or \"resolve\" goes on \
             without the failed step, \"fork\" starts a new execution from a step)."
        );
        assert_eq!(structured(&result)["error"]["code"], "not_found");
    }

    #[test]
    fn every_refusal_ends_with_what_to_call() {
        let name = "fix".to_owned();
        let problems = Vec::new();
        for (error, told) in [
            (
                app::Error::UnknownWorkflow {
                    name: name.clone(),
                    hint: "; did you mean fox?".into(),
                },
                "no workflow is called \"fix\"; did you mean fox? Call workflow.list",
            ),
            (
                app::Error::BrokenWorkflow { name: name.clone(), problems: problems.clone() },
                "Nothing was started. Correct its file; workflow.describe with workflow=\"fix\"",
            ),
            (
                app::Error::InvalidInput { workflow: name, problems },
                "Nothing was started. Correct the input and call workflow.run again",
            ),
            (
                app::Error::KeyReused { key: "k".into(), execution_id: "exec_1".into() },
                "Call workflow.status with execution_id=\"exec_1\"",
            ),
            (
                app::Error::UnknownExecution("exec_9".into()),
                "Call workflow.status without execution_id",
            ),
            (
                app::Error::UncertainStart("exec_1".into()),
                "run again when there is none. Call workflow.status with execution_id=\"exec_1\"",
            ),
            (app::Error::Refused("it has ended".into()), "it has ended. Call workflow.status"),
        ] {
            let Refusal(text) = refusal(ToolNames::Dotted, ToolId::Run, &error);
            assert!(text.starts_with("workflow.run: ") && text.contains(told), "{told}: {text}");
        }
    }

    #[test]
    fn results_share_one_bound() {
        let mut execution = execution("completed");
        execution.steps = (0..10)
            .map(|number| StepView {
                name: format!("step_{number}"),
                result: Some("x".repeat(15 * 1024).into()),
                ..execution.steps[0].clone()
            })
            .collect();
        let result =
            status(ToolNames::Dotted, &execution, &projection(&["results"], None)).unwrap();
        let steps = structured(&result)["steps"].as_array().unwrap();
        let whole = steps.iter().filter(|step| step["result"].is_string()).count();
        assert_eq!(whole, 4);
        assert_eq!(steps[9]["result"]["truncated"], true);
        assert!(text(&result).len() < RESULTS_BYTES + 10 * PREVIEW_BYTES);

        let one = projection(&["results"], Some("step_9"));
        let result = status(ToolNames::Dotted, &execution, &one).unwrap();
        assert!(structured(&result)["steps"][0]["result"].is_string());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aäb", 2), "a…");
    }

    #[test]
    fn input_is_summed_up_on_one_line() {
        for (schema, summary) in [
            (json!({ "type": "object" }), "any object"),
            (json!({ "type": "object", "properties": {} }), "nothing"),
            (
                json!({
                    "properties": {
                        "app": { "type": "string" },
                        "version": { "type": "string", "default": "latest" },
                        "environment": { "enum": ["staging", "production"] },
                        "count": { "type": ["integer", "null"] },
                        "anything": {},
                    },
                    "required": ["app"],
                }),
                "app: string, version?: string = \"latest\", environment?: \"staging\"|\"production\", \
                 count?: integer|null, anything?: any",
            ),
        ] {
            assert_eq!(input_summary(&schema), summary);
        }
    }
}
