//! The tools for authors: save a workflow, look at its revisions, switch it on and off.

use rmcp::model::CallToolResult;
use serde_json::json;

use super::{
    answer,
    arguments::{Arguments, Refusal},
    call::Call,
    names::ToolId,
    tools, validating,
};
use crate::app::{self, SaveRequest, Saved};

/// Beyond this, a number is no revision's.
const MOST_REVISIONS: u64 = u32::MAX as u64;

impl Call<'_> {
    pub(super) async fn save(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let expected = arguments.whole("expected_revision", MOST_REVISIONS)?;
        let request = SaveRequest {
            comment: arguments.text("comment")?,
            expected_revision: expected.map(u64::cast_signed),
            dry_run: arguments.truth("dry_run")?,
            text: match validating::document(&mut arguments)? {
                Some(text) => text,
                None => return Err(arguments.refuse("the argument \"document\" is missing".into())),
            },
            source: "document".to_owned(),
        };
        let saved = self.mcp.app().save(&self.caller, request).await;
        if let Err(app::Error::BrokenWorkflow { problems, .. }) = &saved {
            let summary = validating::in_words(problems);
            let problems = json!({ "saved": false, "summary": summary, "problems": problems });
            let Err(Refusal(text)) = self.granted(saved) else { unreachable!("it is an error") };
            return Ok(answer::refused_with(Refusal(text), problems));
        }
        let saved = self.granted(saved)?;
        Ok(answer::plain(&saved, self.next_of(&saved)))
    }

    fn next_of(&self, saved: &Saved) -> String {
        let [_, _, run, ..] = ToolId::ALL.map(|tool| tool.listed(self.mcp.names()));
        let name = &saved.workflow;
        if saved.saved {
            format!(
                "Call {run} with workflow={name:?}; executions that run stay on the revision they began with."
            )
        } else {
            let save = ToolId::Save.listed(self.mcp.names());
            format!("It was only checked: call {save} without dry_run to save it.")
        }
    }

    pub(super) async fn manage(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let name = arguments.required_text("workflow")?;
        let action = arguments.one_of("action", &tools::MANAGEMENT)?;
        let (revision, from) = (arguments.text("revision")?, arguments.text("from")?);
        let app = self.mcp.app();
        let next = |what: &str| {
            let [_, describe, ..] = ToolId::ALL.map(|tool| tool.listed(self.mcp.names()));
            format!("{what} {describe} shows the workflow as it stands.")
        };
        match action {
            Some("revisions") => {
                let list = self.granted(app.revisions(&name).await)?;
                Ok(answer::plain(&list, next("action=\"show\" gives a revision's document.")))
            }
            Some("show") => {
                let shown = self.granted(app.revision(&name, revision.as_deref()).await)?;
                let save = ToolId::Save.listed(self.mcp.names());
                Ok(answer::plain(&shown, next(&format!("{save} takes it back, changed."))))
            }
            Some("diff") => {
                let diff = app.diff(&name, from.as_deref(), revision.as_deref()).await;
                Ok(answer::plain(&self.granted(diff)?, next("")))
            }
            Some(enable @ ("enable" | "disable")) => {
                let enabled = enable == "enable";
                self.granted(app.set_enabled(&self.caller, &name, enabled).await)?;
                let value = json!({ "workflow": name, "enabled": enabled });
                Ok(answer::plain(&value, next("Executions that run go on.")))
            }
            _ => Err(arguments.refuse(format!(
                "the argument \"action\" is missing; it is one of {}",
                tools::MANAGEMENT.join(", ")
            ))),
        }
    }
}
