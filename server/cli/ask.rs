//! Asks whoever sits at the terminal what an execution wants to know.

use std::io::{IsTerminal, Write};

use serde_json::{Map, Value};
use windlass_engine::Answer;

use super::{
    failure::Failure,
    input,
    requests::{self, Field},
    session::Session,
    terminal,
};
use crate::{app::RequestView, clock};

/// Whether somebody can be asked: they see the question and type the answer.
pub(super) fn can_ask(session: &Session) -> bool {
    !session.json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows a request and reads what is typed; none when it is left for later.
pub(super) async fn answer(request: &RequestView) -> Result<Option<Answer>, Failure> {
    requests::lines(request, clock::now()).iter().for_each(|line| terminal::tell(line));
    let request = request.clone();
    // What is typed comes when it comes: the execution goes on meanwhile.
    let read = tokio::task::spawn_blocking(move || typed(&request, &mut from_terminal));
    read.await.map_err(|error| Failure::ours(format!("nothing could be read: {error}")))
}

/// A line from the terminal; none at its end.
fn from_terminal(prompt: &str) -> Option<String> {
    let mut output = std::io::stderr().lock();
    drop(write!(output, "{prompt} ").and_then(|()| output.flush()));
    drop(output);
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    }
}

fn typed(request: &RequestView, ask: &mut impl FnMut(&str) -> Option<String>) -> Option<Answer> {
    match request.kind.as_str() {
        "approval" => decision(ask),
        _ => values(request.schema.as_ref().unwrap_or(&Value::Null), ask),
    }
}

fn decision(ask: &mut impl FnMut(&str) -> Option<String>) -> Option<Answer> {
    loop {
        let answer = ask("approve it? [y]es, [n]o, Enter to leave it for later:")?;
        match answer.to_lowercase().as_str() {
            "y" | "yes" => return Some(Answer::Approved { comment: None }),
            "n" | "no" => return Some(Answer::Rejected { comment: None }),
            "" => return None,
            _ => {}
        }
    }
}

fn values(schema: &Value, ask: &mut impl FnMut(&str) -> Option<String>) -> Option<Answer> {
    let mut values = Map::new();
    for field in requests::fields(schema) {
        if let Some(value) = value(&field, ask)? {
            values.insert(field.name.to_owned(), value);
        }
    }
    Some(Answer::Given { values: Value::Object(values) })
}

/// What is typed for one field, until it fits; nothing typed is its default, or leaves it out.
fn value(field: &Field<'_>, ask: &mut impl FnMut(&str) -> Option<String>) -> Option<Option<Value>> {
    let mut prompt = format!("{}:", field.describe());
    loop {
        let answer = ask(&prompt)?;
        let must = field.required && field.schema.get("default").is_none();
        match input::typed(field.schema, &answer) {
            _ if answer.is_empty() && !must => return Some(None),
            _ if answer.is_empty() => prompt = format!("{} is needed:", field.name),
            Ok(value) if is_allowed(field.schema, &value) => return Some(Some(value)),
            Ok(_) => prompt = format!("{} is one of the choices:", field.describe()),
            Err(wanted) => prompt = format!("{} must be {wanted}:", field.name),
        }
    }
}

fn is_allowed(schema: &Value, value: &Value) -> bool {
    schema["enum"].as_array().is_none_or(|choices| choices.contains(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What comes of typing these lines, and what was asked last.
    fn type_in(schema: Option<Value>, lines: &[&str]) -> (Option<Answer>, String) {
        let mut lines = lines.iter().map(|line| (*line).to_owned());
        let mut asked = String::new();
        let mut ask = |prompt: &str| {
            prompt.clone_into(&mut asked);
            lines.next()
        };
        let answer = match &schema {
            None => decision(&mut ask),
            Some(schema) => values(schema, &mut ask),
        };
        (answer, asked)
    }

    #[test]
    fn an_approval_is_yes_or_no_or_later() {
        let check = |lines: &[&str], expected| assert_eq!(type_in(None, lines).0, expected);
        check(&["y"], Some(Answer::Approved { comment: None }));
        check(&["what?", "No"], Some(Answer::Rejected { comment: None }));
        check(&[""], None);
        check(&[], None);
    }

    #[test]
    fn a_form_is_asked_field_by_field_until_each_fits() {
        let schema = json!({
            "properties": {
                "version": { "type": "string" },
                "count": { "type": "integer", "default": 1 },
                "place": { "type": "string", "enum": ["here", "there"] },
            },
            "required": ["version", "place"],
        });
        let (answer, _) =
            type_in(Some(schema.clone()), &["", "1.2", "many", "3", "nowhere", "there"]);
        let values = json!({ "version": "1.2", "count": 3, "place": "there" });
        assert_eq!(answer, Some(Answer::Given { values }));
        let (answer, _) = type_in(Some(schema.clone()), &["1.2", "", "here"]);
        let values = json!({ "version": "1.2", "place": "here" });
        assert_eq!(answer, Some(Answer::Given { values }), "a default is left to the form");
        let (answer, asked) = type_in(Some(schema), &["1.2", "many"]);
        assert_eq!((answer, asked.as_str()), (None, "count must be a whole number:"));
    }
}
