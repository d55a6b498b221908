//! AFU-9's JSON form.
//!
//! What its engine did and what its authors meant are not the same: assigned names were looked up
//! where they never were, whole values became text, `retry` was ignored. The authors win.

mod agent;
mod detect;
mod names;
mod script;

use serde_json::{Map, Value, json};
use windlass_engine::Problem;

pub(crate) use self::detect::is;
use self::names::{Assigned, Inputs, Source, name_from};
use self::script::Script;
use crate::Imported;

/// The keys of a workflow.
const TOP_KEYS: [&str; 5] = ["name", "description", "steps", "config", "errorHandling"];

/// The keys of a step.
const STEP_KEYS: [&str; 7] = ["name", "tool", "params", "assign", "if", "condition", "retry"];

/// The keys of `config` that mean the same here.
const CONFIG_KEYS: [&str; 3] = ["timeoutMs", "continueOnError", "maxRetries"];

/// The keys of `retry`, with what AFU-9 documents as their defaults.
const RETRY: [(&str, i64); 4] = [
    ("maxAttempts", 3),
    ("initialDelayMs", 1_000),
    ("backoffMultiplier", 2),
    ("maxDelayMs", 60_000),
];

/// Reads a document of AFU-9.
pub(crate) fn import(text: &str, fallback_name: &str) -> Result<Imported, Vec<Problem>> {
    let original: Value = serde_json::from_str(text).map_err(|error| vec![syntax(&error)])?;
    let mut import = Import::default();
    let document = import.workflow(&original, fallback_name);
    if !import.errors.is_empty() {
        return Err(import.errors);
    }
    if let Err(problems) = windlass_engine::parse(&document.to_string()) {
        return Err(problems.into_iter().map(from_result).collect());
    }
    Ok(Imported { document, diagnostics: import.diagnostics })
}

fn syntax(error: &serde_json::Error) -> Problem {
    Problem {
        line: error.line(),
        column: error.column(),
        ..problem("syntax", "", format!("this is not JSON: {error}"))
    }
}

/// A problem of the document that came out; its lines are not those of the original.
fn from_result(problem: Problem) -> Problem {
    Problem { line: 0, column: 0, ..problem }
}

fn problem(code: &'static str, pointer: &str, message: impl Into<String>) -> Problem {
    Problem::new(code, pointer, message)
}

/// What is known while a document is read.
#[derive(Default)]
struct Import {
    /// The names that the steps so far have assigned.
    assigned: Assigned,
    /// What the workflow must be given.
    inputs: Inputs,
    /// The step that has read the manifest of the dependencies.
    manifest: Option<String>,
    diagnostics: Vec<Problem>,
    errors: Vec<Problem>,
}

impl Import {
    fn note(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.diagnostics.push(problem(code, pointer, message));
    }

    fn error(&mut self, code: &'static str, pointer: &str, message: impl Into<String>) {
        self.errors.push(problem(code, pointer, message));
    }

    fn workflow(&mut self, original: &Value, fallback_name: &str) -> Value {
        let (whole, base) = match original.get("workflow") {
            // The body of a request to execute: the workflow, and what it is run with.
            Some(workflow) => (workflow, "/workflow"),
            None => (original, ""),
        };
        if !base.is_empty() && original.get("context").is_some() {
            let message = "`context` belongs to one execution: give its values as input when the \
                           workflow is run";
            self.note("dropped", "/context", message);
        }
        let mut document = Map::new();
        document.insert("name".to_owned(), self.name(whole, base, fallback_name));
        if let Some(description @ Value::String(_)) = whole.get("description") {
            document.insert("description".to_owned(), description.clone());
        }
        let config = self.config(whole, original, base);
        let steps = self.steps(whole, base);
        self.drop_unknown(whole, &TOP_KEYS, base);
        document.extend(self.inputs.schema().map(|schema| ("input".to_owned(), schema)));
        document.extend(config.map(|config| ("config".to_owned(), config)));
        document.insert("steps".to_owned(), Value::Array(steps));
        Value::Object(document)
    }

    fn name(&mut self, workflow: &Value, base: &str, fallback: &str) -> Value {
        let pointer = format!("{base}/name");
        let given = workflow.get("name").and_then(Value::as_str);
        let name = name_from(given.unwrap_or(fallback), "workflow");
        match given {
            None => self.note(
                "named",
                &pointer,
                format!("the workflow had no name; it is `{name}` now"),
            ),
            Some(given) if given != name => {
                self.note(
                    "renamed",
                    &pointer,
                    format!("`{given}` is not a name; it is `{name}` now"),
                );
            }
            Some(_) => {}
        }
        Value::String(name)
    }

    fn drop_unknown(&mut self, of: &Value, known: &[&str], base: &str) {
        for key in of.as_object().into_iter().flat_map(Map::keys) {
            if !known.contains(&key.as_str()) {
                let pointer = format!("{base}/{}", key.replace('~', "~0").replace('/', "~1"));
                self.note(
                    "dropped",
                    &pointer,
                    format!("`{key}` has no meaning in AFU-9; it is left out"),
                );
            }
        }
    }

    fn config(&mut self, workflow: &Value, request: &Value, base: &str) -> Option<Value> {
        let mut config = Map::new();
        let (given, pointer) = match workflow.get("config") {
            Some(given) => (Some(given), format!("{base}/config")),
            None => (request.get("config"), "/config".to_owned()),
        };
        if let Some(given) = given {
            for (key, value) in given.as_object().into_iter().flatten() {
                if CONFIG_KEYS.contains(&key.as_str()) {
                    config.insert(key.clone(), value.clone());
                }
            }
            self.drop_unknown(given, &CONFIG_KEYS, &pointer);
        }
        if let Some(handling) = workflow.get("errorHandling") {
            let pointer = format!("{base}/errorHandling");
            if let Some(retries) = handling.get("maxRetries") {
                config.entry("maxRetries").or_insert_with(|| retries.clone());
                self.note(
                    "moved",
                    &pointer,
                    "`errorHandling.maxRetries` is `config.maxRetries` now",
                );
            }
        }
        (!config.is_empty()).then_some(Value::Object(config))
    }

    fn steps(&mut self, workflow: &Value, base: &str) -> Vec<Value> {
        let Some(steps) = workflow.get("steps").and_then(Value::as_array) else {
            self.error("missing_key", base, "a workflow needs `steps`, a list");
            return Vec::new();
        };
        let names = self.step_names(steps, base);
        self.assigned.reserve(&names);
        let mut result = Vec::with_capacity(steps.len());
        for (index, (step, name)) in steps.iter().zip(names).enumerate() {
            let pointer = format!("{base}/steps/{index}");
            let commits = |step: &Value| step["tool"] == "github.commitFileChanges";
            let mut own = self.step(step, name, &pointer);
            let around = self.around(&mut own, steps[index..].iter().any(commits), &pointer);
            result.extend(around.before);
            result.push(Value::Object(own));
            result.extend(around.after);
        }
        result
    }

    /// Names for the steps: the given ones, made to fit and unique.
    fn step_names(&mut self, steps: &[Value], base: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let otherwise = format!("step_{}", index + 1);
            let given = step.get("name").and_then(Value::as_str);
            let mut name = name_from(given.unwrap_or(&otherwise), &otherwise);
            let (plain, mut number) = (name.clone(), 1);
            while names.contains(&name) {
                number += 1;
                name = format!("{plain}_{number}");
            }
            if given != Some(&name) {
                let pointer = format!("{base}/steps/{index}/name");
                self.note("renamed", &pointer, format!("the step is called `{name}` now"));
            }
            names.push(name);
        }
        names
    }

    fn step(&mut self, original: &Value, name: String, pointer: &str) -> Map<String, Value> {
        let mut step = Map::new();
        if !original.is_object() {
            self.error("wrong_type", pointer, "a step must be an object");
            return step;
        }
        let tool = original.get("tool").and_then(Value::as_str).unwrap_or_default();
        if tool.is_empty() {
            self.error("missing_key", pointer, format!("step `{name}` names no `tool`"));
        }
        step.insert("name".to_owned(), json!(name));
        step.insert("tool".to_owned(), json!(self.tool(tool, pointer)));
        let condition = self.condition(original, pointer);
        let conditional = condition.is_some();
        step.extend(condition.map(|condition| ("if".to_owned(), json!(condition))));
        if let Some(params) = self.params(original, tool, pointer) {
            step.insert("params".to_owned(), params);
        }
        if let Some(assign) = original.get("assign").and_then(Value::as_str) {
            let source = Source { tool: tool.to_owned(), step: name, conditional };
            step.insert("assign".to_owned(), json!(self.assign(assign, source, pointer)));
        }
        step.extend(self.retry(original, pointer).map(|retry| ("retry".to_owned(), retry)));
        self.drop_unknown(original, &STEP_KEYS, pointer);
        step
    }

    fn tool<'a>(&mut self, original: &'a str, pointer: &str) -> &'a str {
        let name = names::tool(original);
        if name != original {
            let message = format!(
                "`{original}` is `{name}` here: a channel of the configuration must have the name that it posts to"
            );
            self.note("renamed", &format!("{pointer}/tool"), message);
        }
        name
    }

    fn assign(&mut self, wanted: &str, source: Source, pointer: &str) -> String {
        let name = self.assigned.add(wanted, source);
        if name != wanted {
            let message =
                format!("the result is assigned to `{name}`: `{wanted}` is taken or no name");
            self.note("renamed", &format!("{pointer}/assign"), message);
        }
        name
    }

    fn condition(&mut self, step: &Value, pointer: &str) -> Option<String> {
        let key = if step.get("if").is_some() { "if" } else { "condition" };
        let pointer = format!("{pointer}/{key}");
        match step.get(key)? {
            Value::Bool(truth) => Some(truth.to_string()),
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => {
                let mut script = Script::new(&self.assigned, &mut self.inputs);
                let result = script.condition(text);
                let notes = script.into_notes();
                self.notes(notes, &pointer);
                result.map_err(|message| self.error("untranslated", &pointer, message)).ok()
            }
            _ => {
                self.error("wrong_type", &pointer, "a condition must be a text");
                None
            }
        }
    }

    fn notes(&mut self, notes: Vec<String>, pointer: &str) {
        notes.into_iter().for_each(|note| self.note("reference", pointer, note));
    }

    fn params(&mut self, step: &Value, tool: &str, pointer: &str) -> Option<Value> {
        let mut params = match step.get("params") {
            Some(params) => self.value(params, &format!("{pointer}/params")),
            None => json!({}),
        };
        if names::tool(tool) != tool
            && let Some(given) = params.as_object_mut()
        {
            let renamed = std::mem::take(given).into_iter();
            given.extend(
                renamed.map(|(name, value)| (names::parameter(tool, &name).to_owned(), value)),
            );
        }
        if tool == "github.createPullRequest"
            && let Some(params) = params.as_object_mut()
            && !params.contains_key("if_no_commits")
        {
            params.insert("if_no_commits".to_owned(), json!("empty_commit"));
            let message = "GitHub refuses a pull request without commits; `if_no_commits: \
                           empty_commit` puts an empty one on the branch when it has none";
            self.note("added", &format!("{pointer}/params"), message);
        }
        params.as_object().is_none_or(|params| !params.is_empty()).then_some(params)
    }

    fn value(&mut self, value: &Value, pointer: &str) -> Value {
        match value {
            Value::String(text) => {
                let mut script = Script::new(&self.assigned, &mut self.inputs);
                let result = script.template(text);
                let notes = script.into_notes();
                self.notes(notes, pointer);
                Value::String(result)
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, item)| self.value(item, &format!("{pointer}/{index}"))).collect()
            }
            Value::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    let token = key.replace('~', "~0").replace('/', "~1");
                    (key.clone(), self.value(value, &format!("{pointer}/{token}")))
                });
                Value::Object(entries.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// `retry` with the defaults that AFU-9 documents; its engine never applied any.
    fn retry(&mut self, step: &Value, pointer: &str) -> Option<Value> {
        let given = step.get("retry")?.as_object()?;
        let known: Vec<&str> = RETRY.iter().map(|(key, _)| *key).chain(["backoff"]).collect();
        self.drop_unknown(step.get("retry")?, &known, &format!("{pointer}/retry"));
        let mut retry = Map::new();
        for (key, default) in RETRY {
            retry.insert(key.to_owned(), given.get(key).cloned().unwrap_or(json!(default)));
        }
        let backoff = given.get("backoff").cloned().unwrap_or(json!("exponential"));
        retry.insert("backoff".to_owned(), backoff);
        let delay = |key: &str| retry.get(key).and_then(Value::as_u64).unwrap_or(0);
        let longest = delay("maxDelayMs").max(delay("initialDelayMs"));
        retry.insert("maxDelayMs".to_owned(), json!(longest));
        Some(Value::Object(retry))
    }
}

#[cfg(test)]
mod tests;
