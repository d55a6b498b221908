//! `workflow.validate`: everything that is wrong with a document, in words and for programs. Writes nothing.

use rmcp::model::CallToolResult;
use serde_json::{Value, json};
use windlass_engine::Problem;

use super::{
    answer,
    arguments::{Arguments, Refusal},
    call::Call,
    names::ToolId,
};
use crate::app::{self, Validation};

/// How many problems are listed; what is more comes once those are mended.
const LISTED: usize = 100;
/// How many of them are told in words.
const IN_WORDS: usize = 5;
/// One problem's words are cut here.
const WORDS_BYTES: usize = 500;

impl Call<'_> {
    pub(super) async fn validate(
        &self,
        mut arguments: Arguments<'_>,
    ) -> Result<CallToolResult, Refusal> {
        let name = arguments.text("workflow")?;
        let document = document(&mut arguments)?;
        let app = self.mcp.app();
        let validation = match (document, name) {
            (Some(text), None) => app.check(&text, "document").await,
            (None, Some(name)) => self.granted(app.check_workflow(&name).await)?,
            (Some(_), Some(_)) => {
                let what = "\"document\" and \"workflow\" exclude each other".to_owned();
                return Err(arguments.refuse(what));
            }
            (None, None) => {
                return Err(arguments.refuse("the argument \"document\" is missing".into()));
            }
        };
        Ok(answer::plain(&told(&validation), self.next_of_check(&validation)))
    }

    fn next_of_check(&self, validation: &Validation) -> String {
        let names = self.mcp.names();
        if !validation.problems.is_empty() {
            return format!(
                "Correct the document (where a problem has a patch, applying it is enough) and call {} again.",
                ToolId::Validate.listed(names)
            );
        }
        let run = ToolId::Run.listed(names);
        match self.mcp.tool(ToolId::Save.listed(names)) {
            Some(save) => {
                format!("Call {} to save it, then {run} with its name to start it.", save.name)
            }
            None => {
                format!("Put it into one of the workflow folders; {run} starts it by its name.")
            }
        }
    }
}

/// A document as text; whoever writes it as an object means the same.
pub(super) fn document(arguments: &mut Arguments<'_>) -> Result<Option<String>, Refusal> {
    match arguments.value("document") {
        None => Ok(None),
        Some(object @ Value::Object(_)) => Ok(Some(object.to_string())),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            Err(arguments
                .refuse("the argument \"document\" must be a text: YAML or JSON".to_owned()))
        }
    }
}

fn told(validation: &Validation) -> Value {
    let Validation { view, problems, unchecked } = validation;
    let mut told = json!({ "valid": problems.is_empty() });
    if let Some(view) = view {
        told["workflow"] = json!(view.name);
    }
    told["summary"] = json!(in_words(problems));
    told["problems"] = json!(problems[..problems.len().min(LISTED)]);
    if LISTED < problems.len() {
        told["more_problems"] = json!(problems.len() - LISTED);
    }
    told["unchecked"] = json!(unchecked);
    told
}

/// The first problems, as a person would tell them.
pub(super) fn in_words(problems: &[Problem]) -> String {
    let count = match problems.len() {
        0 => return "no problem was found".to_owned(),
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let words: Vec<String> = problems.iter().take(IN_WORDS).map(problem_in_words).collect();
    let more = if IN_WORDS < problems.len() { "; …" } else { "" };
    format!("{count}: {}{more}", words.join("; "))
}

fn problem_in_words(problem: &Problem) -> String {
    let fix = app::fix(problem).map(|fix| format!(" [fix: {fix}]")).unwrap_or_default();
    answer::cut(&format!("{problem}{fix}"), WORDS_BYTES)
}

#[cfg(test)]
mod tests {
    use windlass_engine::PatchOperation;

    use super::*;

    #[test]
    fn the_first_problems_are_told_in_words_with_their_repair() {
        assert_eq!(in_words(&[]), "no problem was found");
        let patch = PatchOperation::Move { from: "/stpes".into(), path: "/steps".into() };
        let problem = Problem {
            line: 2,
            column: 1,
            patch: vec![patch],
            ..Problem::new("unknown_key", "/stpes", "unknown key \"stpes\"")
        };
        assert_eq!(
            in_words(std::slice::from_ref(&problem)),
            "1 problem: 2:1: unknown key \"stpes\" [fix: rename key stpes to steps]"
        );
        let many = vec![problem; 7];
        let told = in_words(&many);
        assert!(told.starts_with("7 problems: ") && told.ends_with("; …"), "{told}");
    }
}
