//! `workflow.control`: what is to be done to an execution, read strictly and carried out.

use rmcp::model::CallToolResult;
use serde_json::{Map, Value};

use super::{
    answer::{self, Projection},
    arguments::{Arguments, Refusal},
    call::Call,
    names::ToolId,
    tools,
};
use crate::app::{ForkRequest, MAX_CHECKPOINTS, Resolution};

/// How many checkpoints an answer has when it is not told.
const CHECKPOINTS: u32 = 20;

/// Which arguments go with which action, beside `execution_id` and `action`.
const OWN: [(&str, &[&str]); 9] = [
    ("cancel", &["reason"]),
    ("pause", &["reason"]),
    ("resume", &[]),
    ("retry", &["input"]),
    ("resolve", &["step", "outcome", "result", "reason"]),
    ("skip", &["step", "reason"]),
    ("fork", &["step", "input", "latest", "idempotency_key"]),
    ("signal", &["event", "data"]),
    ("checkpoints", &["limit"]),
];

/// What is to be done to an execution.
#[derive(Debug, PartialEq)]
enum Control {
    Cancel { reason: Option<String> },
    Pause { reason: Option<String> },
    Resume,
    Retry { input: Map<String, Value> },
    Resolve { step: String, resolution: Resolution },
    Skip { step: String, reason: Option<String> },
    Fork(Fork),
    Signal { event: String, data: Value },
    Checkpoints { limit: u32 },
}

#[derive(Debug, PartialEq)]
struct Fork {
    from: String,
    input: Map<String, Value>,
    latest: bool,
    idempotency_key: Option<String>,
}

impl Call<'_> {
    pub(super) async fn control(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let id = arguments.required_text("execution_id")?;
        let (app, caller) = (self.mcp.app(), &self.caller);
        let execution = match Control::read(&mut arguments)? {
            Control::Cancel { reason } => app.cancel(caller, &id, reason).await,
            Control::Pause { reason } => app.pause(caller, &id, reason).await,
            Control::Resume => app.resume(caller, &id).await,
            Control::Retry { input } => app.retry(caller, &id, input).await,
            Control::Resolve { step, resolution } => {
                app.resolve(caller, &id, &step, resolution).await
            }
            Control::Skip { step, reason } => app.skip(caller, &id, &step, reason).await,
            Control::Fork(Fork { from, input, latest, idempotency_key }) => {
                let request = ForkRequest { from, input, latest, idempotency_key };
                app.fork(caller, &id, request).await
            }
            Control::Signal { event, data } => app.send_event(caller, &id, &event, data).await,
            Control::Checkpoints { limit } => return self.checkpoints(&id, limit).await,
        };
        let projection = Projection { fields: vec!["output", "error", "steps"], step: None };
        answer::status(self.mcp.names(), &self.granted(execution)?, &projection)
    }

    async fn checkpoints(&self, id: &str, limit: u32) -> Result<CallToolResult, Refusal> {
        let list = self.granted(self.mcp.app().checkpoints(id, limit).await)?;
        let control = ToolId::Control.listed(self.mcp.names());
        let next = format!(
            "Each is a committed turn, the newest first. {control} with action=\"fork\" and a step starts a new execution \
             with the results of the steps before it."
        );
        Ok(answer::plain(&list, next))
    }
}

impl Control {
    fn read(arguments: &mut Arguments<'_>) -> Result<Control, Refusal> {
        let Some(action) = arguments.one_of("action", &tools::ACTIONS)? else {
            return Err(arguments.refuse(format!(
                "the argument \"action\" is missing; it is one of {}",
                tools::ACTIONS.join(", ")
            )));
        };
        check_owned(arguments, action)?;
        Ok(match action {
            "cancel" => Control::Cancel { reason: arguments.text("reason")? },
            "pause" => Control::Pause { reason: arguments.text("reason")? },
            "resume" => Control::Resume,
            "retry" => Control::Retry { input: arguments.object("input")? },
            "resolve" => Control::resolve(arguments)?,
            "skip" => Control::Skip {
                step: arguments.required_text("step")?,
                reason: arguments.text("reason")?,
            },
            "fork" => Control::Fork(Fork {
                from: arguments.required_text("step")?,
                input: arguments.object("input")?,
                latest: arguments.truth("latest")?,
                idempotency_key: arguments.text("idempotency_key")?,
            }),
            "signal" => Control::Signal {
                event: arguments.required_text("event")?,
                data: arguments.value("data").unwrap_or(Value::Null),
            },
            _ => {
                let limit = arguments.whole("limit", u64::from(MAX_CHECKPOINTS))?;
                let limit = limit.and_then(|limit| u32::try_from(limit).ok());
                Control::Checkpoints { limit: limit.unwrap_or(CHECKPOINTS) }
            }
        })
    }

    fn resolve(arguments: &mut Arguments<'_>) -> Result<Control, Refusal> {
        let step = arguments.required_text("step")?;
        let outcome = arguments.one_of("outcome", &tools::OUTCOMES)?;
        let result = arguments.value("result");
        let reason = arguments.text("reason")?;
        resolution(outcome, result, reason)
            .map(|resolution| Control::Resolve { step, resolution })
            .map_err(|wrong| arguments.refuse(wrong.to_owned()))
    }
}

/// Refuses what goes with another action.
fn check_owned(arguments: &Arguments<'_>, action: &str) -> Result<(), Refusal> {
    for (name, owners) in owned() {
        if arguments.has(name) && !owners.contains(&action) {
            let owners: Vec<String> = owners.iter().map(|owner| format!("{owner:?}")).collect();
            let owners = owners.join(" or ");
            return Err(arguments.refuse(format!("{name:?} goes with action={owners} only")));
        }
    }
    Ok(())
}

/// Each argument with the actions that it goes with.
fn owned() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut owned: Vec<(&str, Vec<&str>)> = Vec::new();
    for (action, name) in
        OWN.iter().flat_map(|(action, own)| own.iter().map(|name| (*action, *name)))
    {
        match owned.iter_mut().find(|(known, _)| *known == name) {
            Some((_, owners)) => owners.push(action),
            None => owned.push((name, vec![action])),
        }
    }
    owned
}

fn resolution(
    outcome: Option<&str>,
    result: Option<Value>,
    reason: Option<String>,
) -> Result<Resolution, &'static str> {
    match (outcome, result) {
        (Some("completed"), Some(result)) => Ok(Resolution::Completed(result)),
        (Some("completed"), None) => {
            Err("outcome=\"completed\" needs \"result\": what the tool would have returned")
        }
        (Some("retry"), None) => Ok(Resolution::Retry),
        (Some("failed"), None) => {
            Ok(Resolution::Failed(reason.unwrap_or_else(|| "settled as failed by hand".into())))
        }
        (Some(_), _) => Err("\"result\" goes with outcome=\"completed\" only"),
        (None, _) => Err(
            "the argument \"outcome\" is missing; it is completed (it happened), retry (it did not happen) or failed",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_arguments_and_every_argument_is_listed() {
        let actions: Vec<&str> = OWN.iter().map(|(action, _)| *action).collect();
        assert_eq!(actions, tools::ACTIONS);
        let listed = tools::list(crate::config::ToolNames::Dotted);
        let control = listed.iter().find(|tool| tool.name == "workflow.control").expect("is there");
        let properties = control.input_schema["properties"].as_object().expect("an object");
        let mut taken: Vec<&str> = owned().into_iter().map(|(name, _)| name).collect();
        taken.extend(["execution_id", "action"]);
        taken.sort_unstable();
        let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
        known.sort_unstable();
        assert_eq!(taken, known);
    }
}
