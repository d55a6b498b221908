//! Questions to persons as agents see them: what is asked, what exactly would be sent, and who answers how.

use serde_json::{Map, Value, json};

use super::{answer, steps::preview};
use crate::{
    app::{Execution, RequestView},
    clock,
};

/// A message is cut here.
const MESSAGE_BYTES: usize = 2 * 1024;
/// How much is shown of what would be sent, and of a form's schema.
const PARAMS_BYTES: usize = 4 * 1024;
/// How many requests are shown in one answer.
const SHOWN: usize = 20;

/// The open requests, and how many more there are.
pub(crate) fn put(answer: &mut Map<String, Value>, requests: &[RequestView]) {
    if requests.is_empty() {
        return;
    }
    let now = clock::now();
    let shown: Value = requests.iter().take(SHOWN).map(|request| shown(request, now)).collect();
    answer.insert("requests".into(), shown);
    if SHOWN < requests.len() {
        answer.insert("more_requests".into(), (requests.len() - SHOWN).into());
    }
}

/// What a person types to answer.
pub(crate) fn commands(request: &RequestView) -> String {
    let id = &request.request_id;
    match request.kind.as_str() {
        "approval" => format!("`windlass approve {id}` or `windlass reject {id}`"),
        _ => format!("`windlass answer {id}`"),
    }
}

/// What to do about the first of an execution's open requests, if there is one.
pub(crate) fn advice(execution: &Execution, tool: &str) -> Option<String> {
    let request = execution.requests.first()?;
    let commands = commands(request);
    let more = match execution.requests.len() {
        1 => String::new(),
        count => format!(" (one of {count})"),
    };
    let who = match request.approvers.as_slice() {
        [] => String::new(),
        approvers => format!("; only {} may", approvers.join(", ")),
    };
    Some(format!(
        "Show the user what step {} asks{more} and how a person answers: {commands}{who}. Do not decide for them; {tool} \
         with request_id={:?} is for what somebody other than who started it has decided",
        request.step, request.request_id
    ))
}

fn shown(request: &RequestView, now: i64) -> Value {
    let mut shown = Map::new();
    let text = |text: &str| Value::from(text);
    shown.insert("request_id".into(), text(&request.request_id));
    shown.insert("execution_id".into(), text(&request.execution_id));
    shown.insert("workflow".into(), text(&request.workflow));
    shown.insert("step".into(), text(&request.step));
    shown.insert("kind".into(), text(&request.kind));
    shown.insert("message".into(), answer::cut(&request.message, MESSAGE_BYTES).into());
    if let Some(tool) = &request.tool {
        let params = request.params.as_ref().map(|params| preview(params, PARAMS_BYTES));
        shown.insert("sends".into(), json!({ "tool": tool, "params": params }));
    }
    if let Some(schema) = &request.schema {
        shown.insert("schema".into(), preview(schema, PARAMS_BYTES));
    }
    shown.insert("requested_by".into(), text(&request.requested_by));
    if !request.approvers.is_empty() {
        shown.insert("approvers".into(), json!(request.approvers));
    }
    if 1 < request.quorum {
        shown.insert("quorum".into(), request.quorum.into());
        shown.insert("agreed".into(), json!(request.agreed));
    }
    if request.verified {
        shown.insert("verified_only".into(), true.into());
    }
    if request.escalated {
        shown.insert("escalated".into(), true.into());
    }
    shown.insert("expires_at".into(), request.expires_at.into());
    let left = (request.expires_at - now).max(0) / 1_000;
    shown.insert("expires_in_seconds".into(), left.into());
    shown.insert("command".into(), commands(request).replace('`', "").into());
    Value::Object(shown)
}
