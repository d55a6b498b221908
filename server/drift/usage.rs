//! How a workflow uses a tool: what it sends, and what it reads of the answer. Where that is unclear: everything.

use serde_json::Value;
use windlass_engine::{Step, ToolName, Workflow};

/// Where an expression may stand without the `${ }` around it.
const CONDITIONS: [&str; 4] = ["if", "expect", "while", "until"];

/// How a tool is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// The params of each call, as the document has them.
    sends: Vec<Value>,
    /// The paths of the result that are read; an empty path is all of it.
    reads: Vec<Vec<String>>,
}

/// What one call sends in one place.
#[derive(Clone, Copy)]
pub(super) enum Sent<'u> {
    /// Nothing.
    Nothing,
    /// This, in which texts may hold expressions.
    Given(&'u Value),
    /// Nobody knows before it is evaluated.
    Anything,
}

impl Usage {
    /// Nothing is known: it may send and read everything.
    #[must_use]
    pub fn unknown() -> Usage {
        Usage { sends: vec![Value::from("${unknown}")], reads: vec![Vec::new()] }
    }

    /// How a workflow uses a tool.
    #[must_use]
    pub fn of(workflow: &Workflow, tool: &ToolName) -> Usage {
        let mut usage = Usage { sends: Vec::new(), reads: Vec::new() };
        for step in &workflow.steps {
            usage.add_step(workflow, step, tool);
        }
        if usage.sends.is_empty() { Usage::unknown() } else { usage }
    }

    fn add_step(&mut self, workflow: &Workflow, step: &Step, tool: &ToolName) {
        let Some(text) = workflow.document.pointer(&step.pointer) else { return };
        if step.kind.tool() == Some(tool) {
            self.sends.push(params(text));
            self.reads.extend(results_read(workflow, step));
        }
        let verify = step.verify.as_ref().filter(|verify| verify.tool == *tool);
        if let (Some(_), Some(text)) = (verify, text.get("verify")) {
            self.sends.push(params(text));
            self.reads.extend(names_read(text.get("expect").unwrap_or(&Value::Null), "result"));
        }
        let undo = step.undo.as_ref().filter(|undo| undo.tool == *tool);
        if let (Some(_), Some(text)) = (undo, text.get("undo")) {
            self.sends.push(params(text));
        }
    }

    pub(super) fn sends(&self) -> Vec<Sent<'_>> {
        self.sends.iter().map(Sent::of).collect()
    }

    /// Whether something at, above or under a path of the result is read.
    pub(super) fn reads(&self, path: &[String]) -> bool {
        self.reads.iter().any(|read| read.iter().zip(path).all(|(one, other)| one == other))
    }
}

impl<'u> Sent<'u> {
    fn of(value: &'u Value) -> Sent<'u> {
        match value {
            Value::String(text) if text.contains("${") => Sent::Anything,
            value => Sent::Given(value),
        }
    }

    /// What it sends under a key.
    pub(super) fn under(self, key: &str) -> Sent<'u> {
        match self {
            Sent::Nothing => Sent::Nothing,
            Sent::Anything => Sent::Anything,
            Sent::Given(value) => value.get(key).map_or(Sent::Nothing, Sent::of),
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        matches!(self, Sent::Nothing)
    }

    /// The value, where no expression is in it.
    pub(super) fn literal(self) -> Option<&'u Value> {
        match self {
            Sent::Given(value) if !has_expression(value) => Some(value),
            Sent::Given(_) | Sent::Nothing | Sent::Anything => None,
        }
    }
}

fn has_expression(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_expression),
        Value::Object(entries) => entries.values().any(has_expression),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn params(call: &Value) -> Value {
    call.get("params").cloned().unwrap_or_else(|| serde_json::json!({}))
}

/// The paths of a step's result that the document reads: of the step itself, and of each group that holds it.
fn results_read(workflow: &Workflow, step: &Step) -> Vec<Vec<String>> {
    let document = &workflow.document;
    let mut reads = Vec::new();
    if has_bare_steps(document) {
        reads.push(Vec::new());
    }
    // The keys that lead from the result of the holder to that of the step, and whether one of them leads to a list.
    let (mut holder, mut keys, mut is_list) = (step, Vec::new(), false);
    loop {
        // Here it is the result of one instance that is meant.
        let one = results_named(workflow, holder);
        reads.extend(one.into_iter().filter_map(|path| behind(path, &keys, is_list)));
        is_list |= holder.for_each.is_some();
        let all = holder_read(workflow, holder);
        reads.extend(all.into_iter().filter_map(|path| behind(path, &keys, is_list)));
        let Some(parent) = holder.parent else { return reads };
        keys.insert(0, holder.name.as_str());
        holder = &workflow.steps[parent];
    }
}

/// The paths that are read of `result` where a step speaks of its own.
fn results_named(workflow: &Workflow, step: &Step) -> Vec<Vec<String>> {
    let Some(text) = workflow.document.pointer(&step.pointer) else { return Vec::new() };
    let parts = ["expect", "undo", "verify"].into_iter().filter_map(|key| text.get(key));
    parts.flat_map(|part| names_read(part, "result")).collect()
}

/// The paths that are read of a step's result by its names, and as what the execution results in.
fn holder_read(workflow: &Workflow, step: &Step) -> Vec<Vec<String>> {
    let mut reads = names_read(&workflow.document, &format!("steps.{}", step.name));
    if let Some(alias) = &step.assign {
        reads.extend(names_read(&workflow.document, alias));
    }
    let is_last = workflow.main.last().is_some_and(|last| workflow.steps[*last].name == step.name);
    if is_last && workflow.output.is_none() {
        reads.push(Vec::new());
    }
    reads
}

/// What is left of a path behind these keys; nothing where it leads elsewhere. Of a list, each element may be read.
fn behind(path: Vec<String>, keys: &[&str], is_list: bool) -> Option<Vec<String>> {
    if path.iter().zip(keys).any(|(one, other)| one != other) {
        return None;
    }
    let whole = is_list || path.len() < keys.len();
    Some(if whole { Vec::new() } else { path[keys.len()..].to_vec() })
}

/// The paths that follow a name, wherever it stands in the expressions of a value.
fn names_read(value: &Value, name: &str) -> Vec<Vec<String>> {
    let mut reads = Vec::new();
    each_expression(value, "expect", &mut |text| {
        for (place, _) in text.match_indices(name) {
            let (before, after) = (&text[..place], &text[place + name.len()..]);
            if !before.ends_with(is_part) && !before.ends_with('.') && !after.starts_with(is_part) {
                reads.push(path(after));
            }
        }
    });
    reads
}

/// Whether `steps` stands somewhere without a plain name after it.
fn has_bare_steps(value: &Value) -> bool {
    names_read(value, "steps").iter().any(Vec::is_empty)
}

/// Shows every text that is, or holds, an expression: from its first `${` to its last `}`.
fn each_expression(value: &Value, key: &str, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => match (text.find("${"), text.rfind('}')) {
            (Some(begin), Some(end)) if begin < end => found(&text[begin + 2..end]),
            _ if CONDITIONS.contains(&key) => found(text),
            _ => {}
        },
        Value::Array(items) => items.iter().for_each(|item| each_expression(item, key, found)),
        Value::Object(entries) => {
            entries.iter().for_each(|(key, item)| each_expression(item, key, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The keys at the beginning of what follows a name: `a`, `b` in `.a.b[0].c`. Whatever is called is no key.
fn path(mut rest: &str) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let Some(after) = rest.strip_prefix('.') else { return keys };
        let after = after.trim_start_matches('?');
        let end = after.find(|c: char| !is_part(c)).unwrap_or(after.len());
        let (key, after) = after.split_at(end);
        if key.is_empty() || after.starts_with('(') {
            return keys;
        }
        keys.push(key.to_owned());
        rest = after;
    }
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
