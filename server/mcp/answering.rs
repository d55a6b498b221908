//! `workflow.answer`: what a person decided, or the values they gave.

use rmcp::model::CallToolResult;
use serde_json::Value;
use windlass_engine::Answer;

use super::{
    answer::{self, Projection},
    arguments::{Arguments, Refusal},
    call::Call,
    principal, tools,
};

impl Call<'_> {
    pub(super) async fn answer(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let request_id = arguments.required_text("request_id")?;
        let said = read(&mut arguments)?;
        // Only a token says for sure who somebody is; whoever else calls has merely given a name.
        let verified = principal(self.context).is_some();
        let app = self.mcp.app();
        let execution = app.answer(&self.caller, &request_id, said, verified).await;
        let projection = Projection { fields: vec!["output", "error", "steps"], step: None };
        answer::status(self.mcp.names(), &self.granted(execution)?, &projection)
    }
}

fn read(arguments: &mut Arguments<'_>) -> Result<Answer, Refusal> {
    let decision = arguments.one_of("decision", &tools::DECISIONS)?;
    let given = arguments.has("values");
    let values = arguments.object("values")?;
    let comment = arguments.text("comment")?;
    match (decision, given) {
        (Some("reject"), true) => {
            Err(arguments.refuse("a request is either rejected or given values".into()))
        }
        (Some("reject"), false) => Ok(Answer::Rejected { comment }),
        (_, true) if comment.is_some() => {
            Err(arguments.refuse("\"comment\" goes with \"decision\", not with \"values\"".into()))
        }
        (_, true) => Ok(Answer::Given { values: Value::Object(values) }),
        (Some(_), false) => Ok(Answer::Approved { comment }),
        (None, false) => Err(arguments.refuse(
            "the answer is missing: decision=\"approve\" or \"reject\" for an approval, values for a form".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::ToolNames, mcp::names::ToolId};

    fn answer_of(values: Value) -> Result<Answer, Refusal> {
        let name = ToolId::Answer.listed(ToolNames::Dotted);
        let all = tools::list(ToolNames::Dotted);
        let tool = all.iter().find(|tool| tool.name == name).unwrap();
        read(&mut Arguments::read(tool, tools::object(values)).unwrap())
    }

    #[test]
    fn an_answer_is_a_decision_or_values() {
        let comment = Some("looks good".to_owned());
        for (given, expected) in [
            (json!({ "decision": "approve" }), Answer::Approved { comment: None }),
            (
                json!({ "decision": "reject", "comment": "looks good" }),
                Answer::Rejected { comment },
            ),
            (json!({ "values": { "a": 1 } }), Answer::Given { values: json!({ "a": 1 }) }),
            (json!({ "values": {} }), Answer::Given { values: json!({}) }),
        ] {
            assert_eq!(answer_of(given), Ok(expected));
        }
        for (given, told) in [
            (json!({}), "the answer is missing"),
            (json!({ "decision": "reject", "values": {} }), "either rejected or given values"),
            (json!({ "values": {}, "comment": "x" }), "goes with \"decision\""),
            (json!({ "decision": "yes" }), "one of approve, reject"),
        ] {
            let Refusal(text) = answer_of(given).unwrap_err();
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}
