//! The tools of one server: found by name, with their schemas compiled once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use rmcp::model::Tool;
use serde_json::{Map, Value};

use windlass_tools::contract::{self, ALIASES, Aliases, POLLABLE, RETRY_CLASS};

use super::{
    Failure, Outcome, RetryClass, ToolInfo,
    alias_map::{AliasMap, Mapped},
    write_only,
};
use crate::{limits::unstyled, secrets};

/// Under these names tools take an idempotency key as an argument.
const KEY_PROPERTIES: &[&str] = &["idempotency_key", "idempotencyKey"];
/// How many problems of one value are told.
const MOST_PROBLEMS: usize = 10;
/// How alike two names must be for one to be suggested for the other, from 0 to 1.
const ALIKE: f64 = 0.75;

/// The tools of one server.
pub(super) struct Catalogue {
    pub(super) tools: Arc<Vec<ToolInfo>>,
    entries: Vec<Arc<Entry>>,
    exact: HashMap<String, usize>,
    /// By the other names that tools publish; nothing where two tools share one.
    others: HashMap<String, Option<usize>>,
    /// By folded name; nothing where two tools share one.
    folded: HashMap<String, Option<usize>>,
}

/// One tool of one server.
pub(super) struct Entry {
    /// What it is called by.
    pub(super) name: String,
    /// As the server spells it.
    pub(super) wire_name: String,
    /// How it is called, where it is another server's tool under one of our names.
    mapped: Option<&'static Mapped>,
    pub(super) info: ToolInfo,
    input: OnceLock<Option<Validator>>,
    output: OnceLock<Option<Validator>>,
}

impl Catalogue {
    pub(super) fn new(
        server: &str,
        tools: Vec<Tool>,
        alias_map: Option<&'static AliasMap>,
    ) -> Catalogue {
        let ours = alias_map.map(|map| map.tools(&tools)).unwrap_or_default();
        let ours = ours.into_iter().map(|(tool, mapped)| Entry::mapped(server, tool, mapped));
        let theirs = tools.into_iter().map(|tool| Entry::new(server, tool));
        let entries: Vec<Arc<Entry>> = ours.chain(theirs).map(Arc::new).collect();
        let mut exact = HashMap::new();
        let mut others = HashMap::new();
        let mut folded = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            exact.insert(entry.name.clone(), index);
            for other in entry.info.aliases.iter().flat_map(|aliases| &aliases.names) {
                let shared = |known: &mut Option<usize>| *known = known.filter(|it| *it == index);
                others.entry(other.clone()).and_modify(shared).or_insert(Some(index));
            }
            folded
                .entry(unstyled(&entry.name))
                .and_modify(|shared| *shared = None)
                .or_insert(Some(index));
        }
        let tools = entries.iter().map(|entry| entry.info.clone()).collect();
        Catalogue { tools: Arc::new(tools), entries, exact, others, folded }
    }

    /// The tool of that name; or of the only name that differs in nothing but case, dots, dashes and underscores; or the
    /// only one that says it is also called so.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Entry>> {
        let index = self
            .exact
            .get(name)
            .copied()
            .or_else(|| self.folded.get(&unstyled(name)).copied().flatten())
            .or_else(|| self.others.get(name).copied().flatten())?;
        self.entries.get(index)
    }

    /// The names that are most like one that does not exist.
    pub(super) fn nearest(&self, name: &str) -> Vec<String> {
        nearest(name, self.entries.iter().map(|entry| entry.name.as_str()))
    }
}

impl Entry {
    fn new(server: &str, tool: Tool) -> Entry {
        let retry_class = retry_class(&tool);
        // What may not be called again is not looked at by being called.
        let pollable = says_pollable(&tool) && retry_class != RetryClass::Unsafe;
        let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
        let info = ToolInfo {
            name: format!("{server}.{}", tool.name),
            description: description.to_owned(),
            input_schema: Value::Object((*tool.input_schema).clone()),
            output_schema: tool
                .output_schema
                .as_ref()
                .map(|schema| Value::Object((**schema).clone())),
            // Plain data with text keys: it is always JSON.
            annotations: serde_json::to_value(&tool.annotations).unwrap_or_default(),
            retry_class,
            pollable,
            aliases: aliases(&tool),
        };
        let name = tool.name.into_owned();
        let (wire_name, input, output) = (name.clone(), OnceLock::new(), OnceLock::new());
        Entry { name, wire_name, mapped: None, info, input, output }
    }

    fn mapped(server: &str, tool: Tool, mapped: &'static Mapped) -> Entry {
        let wire_name = mapped.wire_name().to_owned();
        Entry { wire_name, mapped: Some(mapped), ..Entry::new(server, tool) }
    }

    /// Arguments as the server takes them, or what it cannot take.
    pub(super) fn outgoing(
        &self,
        arguments: Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<String>> {
        match self.mapped {
            Some(mapped) => mapped.outgoing(arguments),
            None => Ok(arguments),
        }
    }

    /// The outcome in the words of the tool that was asked for.
    pub(super) fn incoming(&self, outcome: Outcome) -> Outcome {
        match (self.mapped, outcome) {
            (Some(mapped), Outcome::Succeeded(result)) => {
                Outcome::Succeeded(mapped.incoming(result))
            }
            (_, outcome) => outcome,
        }
    }

    /// Whether a second call with the same key does no harm.
    pub(super) fn repeatable(&self) -> bool {
        match self.info.retry_class {
            RetryClass::Read | RetryClass::Idempotent | RetryClass::Keyed => true,
            RetryClass::Unsafe => false,
        }
    }

    /// Arguments under the tool's own names and of its own types, where it publishes the others.
    pub(super) fn fit(&self, arguments: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        let Some(aliases) = &self.info.aliases else { return Ok(arguments) };
        let fitted = contract::fit(&self.info.name, &self.info.input_schema, aliases, arguments);
        fitted.map_err(|error| {
            let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            Failure::new("invalid_argument", format!("{}{hint}", error.message), Some(false))
        })
    }

    /// Sets the tool's own argument for an idempotency key, where it has one that is not given.
    pub(super) fn fill_key(&self, arguments: &mut Map<String, Value>, key: &str) {
        let properties = self.info.input_schema.get("properties").and_then(Value::as_object);
        let Some(properties) = properties else { return };
        for name in KEY_PROPERTIES {
            if properties.contains_key(*name) && !arguments.contains_key(*name) {
                arguments.insert((*name).to_owned(), Value::from(key));
            }
        }
    }

    /// What is wrong with arguments; empty when the tool may be called with them.
    pub(super) fn input_problems(&self, arguments: &Value) -> Vec<String> {
        problems(&self.input, &self.info, Some(&self.info.input_schema), arguments)
    }

    /// Whether there is an output schema that can be held against results.
    pub(super) fn checks_output(&self) -> bool {
        let schema = self.info.output_schema.as_ref();
        validator(&self.output, &self.info, schema).is_some()
    }

    /// What is wrong with a structured result.
    pub(super) fn output_problems(&self, result: &Value) -> Vec<String> {
        problems(&self.output, &self.info, self.info.output_schema.as_ref(), result)
    }
}

/// What cannot be read is as good as nothing. A name of an argument is never another one's, and stands for one alone.
fn aliases(tool: &Tool) -> Option<Aliases> {
    let told = tool.meta.as_ref()?.get(ALIASES)?.clone();
    let mut aliases: Aliases = serde_json::from_value(told).ok()?;
    let properties = tool.input_schema.get("properties").and_then(Value::as_object);
    let is_own = |name: &str| properties.is_some_and(|own| own.contains_key(name));
    let mut taken = HashSet::new();
    aliases.arguments.retain(|own, others| {
        others.retain(|other| is_own(own) && !is_own(other) && taken.insert(other.clone()));
        !others.is_empty()
    });
    Some(aliases)
}

fn retry_class(tool: &Tool) -> RetryClass {
    let told = tool.meta.as_ref().and_then(|meta| meta.get(RETRY_CLASS));
    if let Some(class) = told.and_then(|class| serde_json::from_value(class.clone()).ok()) {
        return class;
    }
    let hints = tool.annotations.as_ref();
    let hint = |hint: Option<bool>| hint == Some(true);
    if hints.is_some_and(|hints| hint(hints.read_only_hint)) {
        RetryClass::Read
    } else if hints.is_some_and(|hints| hint(hints.idempotent_hint)) {
        RetryClass::Idempotent
    } else {
        RetryClass::Unsafe
    }
}

fn says_pollable(tool: &Tool) -> bool {
    tool.meta.as_ref().and_then(|meta| meta.get(POLLABLE)) == Some(&Value::Bool(true))
}

/// The names that are most like one that does not exist, the likest first.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let asked = unstyled(name);
    let mut alike: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(&asked, &unstyled(known)), known))
        .filter(|(likeness, _)| ALIKE <= *likeness)
        .collect();
    alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    alike.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
}

fn validator<'a>(
    compiled: &'a OnceLock<Option<Validator>>,
    tool: &ToolInfo,
    schema: Option<&Value>,
) -> Option<&'a Validator> {
    compiled.get_or_init(|| compile(&tool.name, schema?)).as_ref()
}

fn problems(
    compiled: &OnceLock<Option<Validator>>,
    tool: &ToolInfo,
    schema: Option<&Value>,
    value: &Value,
) -> Vec<String> {
    let Some(validator) = validator(compiled, tool, schema) else { return Vec::new() };
    validator.iter_errors(value).take(MOST_PROBLEMS).map(|error| problem(&error, schema)).collect()
}

/// A schema that we cannot read (it may refer to the network, which is never asked) checks nothing: the
/// server checks for itself, and refusing every call to the tool would help nobody.
fn compile(tool: &str, schema: &Value) -> Option<Validator> {
    if windlass_engine::has_too_many_references(schema) {
        tracing::warn!(tool.name = %tool, "a schema of tool {tool} is not usable: it has too many references");
        return None;
    }
    // Without a `$schema` of its own this is 2020-12.
    match jsonschema::options().offline().build(schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            tracing::warn!(tool.name = %tool, "a schema of tool {tool} is not usable: {error}");
            None
        }
    }
}

fn problem(error: &ValidationError<'_>, schema: Option<&Value>) -> String {
    let path = error.instance_path().to_string();
    let path = if path.is_empty() { "/" } else { path.as_str() };
    // A value may be quoted. It is hidden before it is cut: a part of a secret would not be known as one.
    let text = match schema {
        Some(schema) if write_only::mentions(schema) => error.masked().to_string(),
        Some(_) | None => secrets::hide(&error.to_string()).into_owned(),
    };
    let text: String = text.chars().take(300).collect();
    match allowed(error, schema) {
        Some(allowed) => format!("at {path}: {text}; allowed are {allowed}"),
        None => format!("at {path}: {text}"),
    }
}

/// The names that stand where an unknown one was given.
fn allowed(error: &ValidationError<'_>, schema: Option<&Value>) -> Option<String> {
    let ValidationErrorKind::AdditionalProperties { .. } = error.kind() else { return None };
    let at = error.schema_path().to_string();
    let object = schema?.pointer(at.strip_suffix("/additionalProperties")?)?;
    let names: Vec<&str> =
        object.get("properties")?.as_object()?.keys().map(String::as_str).collect();
    Some(names.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, aliases: &Value) -> Tool {
        let tool = json!({
            "name": name, "_meta": { ALIASES: aliases },
            "inputSchema": { "type": "object", "properties": { "path": {}, "content": {} } },
        });
        serde_json::from_value(tool).unwrap()
    }

    #[test]
    fn other_names_of_arguments_move_no_value_that_has_a_name_of_its_own() {
        let aliases = json!({ "arguments": {
            "path": ["content", "file", "where"], "content": ["path", "where", "text"], "none": ["nothing"],
        } });
        let catalogue = Catalogue::new("s", vec![tool("write", &aliases)], None);
        let entry = catalogue.find("write").unwrap();
        let fitted = |given: Value| {
            let given = given.as_object().cloned().unwrap();
            entry.fit(given).map(Value::Object).map_err(|failure| failure.message)
        };
        let own = json!({ "path": "p", "content": "c" });
        assert_eq!(fitted(own.clone()), Ok(own.clone()));
        assert_eq!(fitted(json!({ "file": "p", "where": "c" })), Ok(own));
        assert_eq!(fitted(json!({ "nothing": 1 })), Ok(json!({ "nothing": 1 })));
        // A check before the call reads them as the call does.
        let names = entry.info.other_names();
        let names: Vec<_> = names.iter().map(|(other, own)| format!("{other}={own}")).collect();
        assert_eq!(names, ["file=path", "text=content", "where=content"]);
    }

    #[test]
    fn other_names_of_a_tool_hide_no_other_tool() {
        let none = json!({});
        let greedy = json!({ "names": ["readFile", "write", "list"] });
        let tools = vec![
            tool("read_file", &none),
            tool("write", &none),
            tool("erase", &greedy),
            tool("show", &json!({ "names": ["list"] })),
        ];
        let catalogue = Catalogue::new("s", tools, None);
        let found = |name: &str| catalogue.find(name).map(|entry| entry.wire_name.as_str());
        assert_eq!((found("readFile"), found("write")), (Some("read_file"), Some("write")));
        assert_eq!(found("list"), None, "two tools say that they are called so");
    }
}
