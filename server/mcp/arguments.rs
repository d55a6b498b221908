//! Reads a tool's arguments, strictly: what is wrong, what is allowed, and what to call next.

use rmcp::model::{JsonObject, Tool};
use serde_json::{Map, Value};

use super::names::nearest;

/// The arguments of one call, taken out one by one.
pub(crate) struct Arguments<'a> {
    tool: &'a Tool,
    values: JsonObject,
}

/// Why a call was not carried out, in words for the caller.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal(pub(crate) String);

impl<'a> Arguments<'a> {
    /// Refuses arguments that the tool does not take. An argument that is null counts as left out.
    pub(crate) fn read(tool: &'a Tool, mut values: JsonObject) -> Result<Arguments<'a>, Refusal> {
        let arguments = Arguments { tool, values: JsonObject::new() };
        let known = arguments.known();
        if let Some(name) = values.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(arguments.unknown(name, &known));
        }
        values.retain(|name, value| !value.is_null() || name == "result");
        Ok(Arguments { values, ..arguments })
    }

    /// Whether the argument is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        match self.text(name)? {
            Some(text) => Ok(text),
            None => Err(self.refuse(format!("the argument {name:?} is missing"))),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a text that is not empty", &other)),
        }
    }

    /// A text that is one of a few.
    pub(crate) fn one_of(
        &mut self,
        name: &str,
        allowed: &[&'static str],
    ) -> Result<Option<&'static str>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(value) => self.choice(name, &value, allowed).map(Some),
        }
    }

    /// A list of texts that are each one of a few.
    pub(crate) fn some_of(
        &mut self,
        name: &str,
        allowed: &[&'static str],
    ) -> Result<Option<Vec<&'static str>>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| self.choice(name, value, allowed))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => {
                Err(self.wrong(name, &format!("a list of {}", allowed.join(", ")), &other))
            }
        }
    }

    /// A whole number that is at most `max`.
    pub(crate) fn whole(&mut self, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.values.remove(name) else { return Ok(None) };
        match whole(&value) {
            Some(number) if number <= max => Ok(Some(number)),
            _ => Err(self.wrong(name, &format!("a whole number from 0 to {max}"), &value)),
        }
    }

    /// Whether something is so; not, when it is left out.
    pub(crate) fn truth(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.values.remove(name) {
            None => Ok(false),
            Some(Value::Bool(truth)) => Ok(truth),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// An object; an empty one when it is left out.
    pub(crate) fn object(&mut self, name: &str) -> Result<Map<String, Value>, Refusal> {
        match self.values.remove(name) {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(other) => {
                Err(self.wrong(name, "a JSON object (not a text that holds one)", &other))
            }
        }
    }

    /// Any value, null too.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// A refusal that names the tool and ends with what to do.
    pub(crate) fn refuse(&self, what: String) -> Refusal {
        Refusal(format!(
            "{tool}: {what}. Nothing was done; correct it and call {tool} again.",
            tool = self.tool.name
        ))
    }

    fn known(&self) -> Vec<&'a str> {
        match self.tool.input_schema.get("properties") {
            Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn unknown(&self, name: &str, known: &[&str]) -> Refusal {
        let meant = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("; did you mean {meant:?}?"),
            None => String::from(";"),
        };
        let takes = match known {
            [] => "It takes no arguments".to_owned(),
            known => format!("It takes: {}", known.join(", ")),
        };
        self.refuse(format!("there is no argument {name:?}{meant} {takes}"))
    }

    fn choice(
        &self,
        name: &str,
        value: &Value,
        allowed: &[&'static str],
    ) -> Result<&'static str, Refusal> {
        let known = allowed.iter().find(|known| value.as_str() == Some(known));
        known.copied().ok_or_else(|| {
            let meant = value.as_str().and_then(|text| nearest(text, allowed.iter().copied()));
            let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
            self.wrong(name, &format!("one of {}{meant}", allowed.join(", ")), value)
        })
    }

    fn wrong(&self, name: &str, expected: &str, got: &Value) -> Refusal {
        self.refuse(format!("the argument {name:?} must be {expected}; got {}", excerpt(got)))
    }
}

/// A number that is whole, however it is written: `30` or `30.0`.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        // The range check above makes the conversion exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        is_whole.then_some(number as u64)
    })
}

fn excerpt(value: &Value) -> String {
    super::answer::cut(&value.to_string(), 80)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::ToolNames,
        mcp::{names::ToolId, tools},
    };

    fn tool(id: ToolId) -> Tool {
        let name = id.listed(ToolNames::Dotted);
        tools::list(ToolNames::Dotted).into_iter().find(|tool| tool.name == name).unwrap()
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        result.unwrap_err().0
    }

    fn read(tool: &Tool, values: Value) -> Arguments<'_> {
        Arguments::read(tool, tools::object(values)).unwrap()
    }

    #[test]
    fn an_unknown_argument_is_refused_with_the_one_that_was_meant() {
        let tool = tool(ToolId::Run);
        let Err(Refusal(text)) = Arguments::read(&tool, tools::object(json!({ "worfklow": "x" })))
        else {
            panic!("was not refused")
        };
        assert_eq!(
            text,
            "workflow.run: there is no argument \"worfklow\"; did you mean \"workflow\"? It takes: workflow, input, \
             wait_seconds, plan, idempotency_key, priority. Nothing was done; correct it and call workflow.run again."
        );
    }

    #[test]
    fn a_tool_without_arguments_says_so() {
        let tool = tool(ToolId::List);
        let Err(Refusal(text)) = Arguments::read(&tool, tools::object(json!({ "tag": "x" })))
        else {
            panic!("was not refused")
        };
        assert!(text.contains("\"tag\"; It takes no arguments."), "{text}");
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let tool = tool(ToolId::Run);
        let mut arguments = read(&tool, json!({ "workflow": "w", "wait_seconds": null }));
        assert_eq!(arguments.whole("wait_seconds", 50), Ok(None));
        assert_eq!(arguments.object("input"), Ok(Map::new()));
    }

    #[test]
    fn a_result_may_be_null() {
        let tool = tool(ToolId::Control);
        let mut arguments = read(&tool, json!({ "result": null, "reason": null }));
        assert_eq!(arguments.value("result"), Some(Value::Null));
        assert!(!arguments.has("reason"));
    }

    #[test]
    fn numbers_are_whole_and_in_bounds() {
        let tool = tool(ToolId::Run);
        for (value, number) in [(json!(0), 0), (json!(50), 50), (json!(30.0), 30)] {
            let mut arguments = read(&tool, json!({ "wait_seconds": value }));
            assert_eq!(arguments.whole("wait_seconds", 50), Ok(Some(number)));
        }
        for value in [json!(51), json!(-1), json!(1.5), json!("30"), json!([])] {
            let mut arguments = read(&tool, json!({ "wait_seconds": value }));
            let text = refusal(arguments.whole("wait_seconds", 50));
            assert!(text.contains("must be a whole number from 0 to 50; got"), "{text}");
        }
    }

    #[test]
    fn wrong_kinds_and_choices_say_what_is_allowed() {
        let control = tool(ToolId::Control);
        let mut arguments =
            read(&control, json!({ "action": "cancle", "execution_id": 7, "step": " " }));
        let text = refusal(arguments.one_of("action", &tools::ACTIONS));
        assert!(
            text.contains("must be one of cancel, pause, resume, retry, resolve, skip, fork, signal, checkpoints; did you mean \"cancel\"?"),
            "{text}"
        );
        let text = refusal(arguments.required_text("execution_id"));
        assert!(text.contains("must be a text that is not empty; got 7"), "{text}");
        assert!(refusal(arguments.text("step")).contains("not empty"));
        assert!(refusal(arguments.required_text("reason")).contains("\"reason\" is missing"));

        let run = tool(ToolId::Run);
        let mut arguments = read(&run, json!({ "input": "{\"a\":1}" }));
        assert!(refusal(arguments.object("input")).contains("a JSON object (not a text"));
    }

    #[test]
    fn lists_are_checked_one_by_one() {
        let tool = tool(ToolId::Status);
        let mut arguments = read(&tool, json!({ "fields": ["steps", "input"] }));
        assert_eq!(arguments.some_of("fields", &tools::FIELDS), Ok(Some(vec!["steps", "input"])));
        let mut arguments = read(&tool, json!({ "fields": ["steps", "result"] }));
        let text = refusal(arguments.some_of("fields", &tools::FIELDS));
        assert!(text.contains("did you mean \"results\"?"), "{text}");
        let mut arguments = read(&tool, json!({ "fields": "steps" }));
        assert!(
            refusal(arguments.some_of("fields", &tools::FIELDS))
                .contains("a list of output, steps")
        );
    }
}
