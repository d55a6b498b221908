//! `windlass requests`: what persons are asked, and how they answer.

use super::{
    caller,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, duration, yellow},
};
use crate::{app::RequestView, clock, host::Drive};

pub(super) async fn run(session: &Session) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let requests = host.app.requests(&caller()).await;
    host.stop().await;
    let requests = requests?;
    if session.json() {
        terminal::say_json(&serde_json::json!({ "requests": requests }));
        return Ok(Exit::Done);
    }
    if requests.is_empty() {
        terminal::tell("nobody is asked anything in this workspace");
    }
    let now = clock::now();
    for request in &requests {
        lines(request, now).iter().for_each(|line| terminal::say(line));
    }
    Ok(Exit::Done)
}

/// A request with everything that somebody has to know who answers it.
pub(super) fn lines(request: &RequestView, now: i64) -> Vec<String> {
    let RequestView { request_id, workflow, execution_id, step, .. } = request;
    let what = match request.kind.as_str() {
        "approval" => "approval",
        _ => "values",
    };
    let whose = dim(&format!("{workflow} {execution_id}"));
    let mut lines = vec![format!("{} {what} for step {step}  {whose}", yellow(request_id))];
    lines.extend(request.message.trim_end().lines().map(|line| format!("    {line}")));
    lines.extend(sent(request));
    lines.push(format!("    {}", dim(&terms(request, now))));
    lines.push(format!("    {} {}", bold("answer:"), commands(request)));
    lines
}

/// What exactly is sent once it is approved, or what is asked for.
fn sent(request: &RequestView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(tool) = &request.tool {
        lines.push(format!("    {} {tool} {}", bold("calls"), bold("with")));
        let params = request.params.as_ref().map(terminal::pretty).unwrap_or_default();
        lines.extend(params.lines().map(|line| format!("      {line}")));
    }
    if let Some(schema) = &request.schema {
        let fields = fields(schema);
        lines.extend(fields.iter().map(|field| format!("      {}", field.describe())));
    }
    lines
}

/// One value that a form asks for.
pub(super) struct Field<'s> {
    pub(super) name: &'s str,
    pub(super) schema: &'s serde_json::Value,
    pub(super) required: bool,
}

/// The values that a form asks for.
pub(super) fn fields(schema: &serde_json::Value) -> Vec<Field<'_>> {
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
    let properties = schema["properties"].as_object();
    let properties = properties.into_iter().flatten();
    properties.map(|(name, schema)| Field { name, schema, required: is_required(name) }).collect()
}

impl Field<'_> {
    /// `version: text = "latest" – which one`
    pub(super) fn describe(&self) -> String {
        let mark = if self.required { "" } else { "?" };
        let kind = match self.schema["enum"].as_array() {
            Some(choices) => choices.iter().map(plain).collect::<Vec<_>>().join("|"),
            None => self.schema["type"].as_str().unwrap_or("any").to_owned(),
        };
        let default = self.schema.get("default").map(|value| format!(" = {value}"));
        let said = self.schema["description"].as_str().or(self.schema["title"].as_str());
        let said = said.map(|said| format!("  {}", dim(said))).unwrap_or_default();
        format!("{}{mark}: {kind}{}{said}", self.name, default.unwrap_or_default())
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Who asks, who may answer, and until when.
fn terms(request: &RequestView, now: i64) -> String {
    let mut terms = vec![format!("asked for {}", request.requested_by)];
    if !request.approvers.is_empty() {
        terms.push(format!("only {} may answer", request.approvers.join(", ")));
    }
    if request.verified {
        terms.push("only a verified person may answer".to_owned());
    }
    if 1 < request.quorum {
        let agreed = request.agreed.len();
        terms.push(format!("{agreed} of {} have agreed", request.quorum));
    }
    if request.escalated {
        terms.push("nobody answered it the first time".to_owned());
    }
    terms.push(match request.expires_at - now {
        ..=0 => "expired".to_owned(),
        left => format!("expires in {}", duration(left)),
    });
    terms.join("; ")
}

/// What to type.
fn commands(request: &RequestView) -> String {
    let id = &request.request_id;
    if request.verified {
        return "workflow.answer over HTTP, with the server's token".to_owned();
    }
    if request.kind == "approval" {
        return format!("windlass approve {id}, or windlass reject {id}");
    }
    let schema = request.schema.as_ref();
    let values: String = schema.map(fields).unwrap_or_default().iter().fold(
        String::new(),
        |text, field| match field.required {
            true => text + &format!(" --value {}=…", field.name),
            false => text,
        },
    );
    format!("windlass answer {id}{values}, or windlass reject {id}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(kind: &str) -> RequestView {
        RequestView {
            request_id: "req_1".into(),
            execution_id: "exec_1".into(),
            workflow: "deploy".into(),
            step: "roll_out".into(),
            status: "open".into(),
            kind: kind.into(),
            message: "Deploy it?".into(),
            schema: None,
            tool: None,
            params: None,
            requested_by: "local".into(),
            approvers: Vec::new(),
            quorum: 1,
            agreed: Vec::new(),
            verified: false,
            escalated: false,
            created_at: 0,
            expires_at: 90_000_000,
        }
    }

    #[test]
    fn an_approval_shows_what_exactly_is_sent_and_how_to_answer() {
        let request = RequestView {
            tool: Some("demo.echo".into()),
            params: Some(json!({ "text": "hi" })),
            approvers: vec!["ada".into(), "bob".into()],
            quorum: 2,
            agreed: vec!["ada".into()],
            ..request("approval")
        };
        assert_eq!(
            lines(&request, 0),
            [
                "req_1 approval for step roll_out  deploy exec_1",
                "    Deploy it?",
                "    calls demo.echo with",
                "      {",
                "        \"text\": \"hi\"",
                "      }",
                "    asked for local; only ada, bob may answer; 1 of 2 have agreed; expires in 1 d 01 h",
                "    answer: windlass approve req_1, or windlass reject req_1",
            ]
        );
    }

    #[test]
    fn what_only_a_verified_person_may_answer_is_not_answered_here() {
        let request = RequestView { verified: true, ..request("approval") };
        let lines = lines(&request, 0);
        let last = "    answer: workflow.answer over HTTP, with the server's token";
        assert_eq!(lines.last().unwrap(), last);
    }

    #[test]
    fn a_form_shows_its_fields_and_those_that_must_be_given() {
        let schema = json!({
            "properties": {
                "version": { "type": "string", "description": "which one" },
                "place": { "enum": ["here", "there"], "default": "here" },
            },
            "required": ["version"],
        });
        let request = RequestView { schema: Some(schema), ..request("form") };
        let lines = lines(&request, 0);
        assert_eq!(
            lines[2..4],
            ["      version: string  which one", "      place?: here|there = \"here\""]
        );
        assert_eq!(
            lines.last().unwrap(),
            "    answer: windlass answer req_1 --value version=…, or windlass reject req_1"
        );
    }
}
