//! Puts the layers of a configuration over each other: defaults, file, environment, flags.

use std::path::Path;

use toml::{Table, Value};

use super::{Config, DEFAULTS, Environment, Error, Overrides};

/// The tables whose keys are the author's own, beside those that are empty by default: as a whole they are given as JSON.
const OPEN_TABLES: [&str; 2] = ["agent.providers", "notify.channels"];

/// Defaults, then the file, then the environment.
pub(super) fn read(file: Option<&Path>, environment: Environment<'_>) -> Result<Config, Error> {
    let mut layered = defaults();
    let variables = variables(&layered);
    if let Some(file) = file {
        put_over(&mut layered, read_file(file)?);
    }
    for variable in variables {
        let Some(text) = environment(&variable.name).filter(|text| !text.is_empty()) else {
            continue;
        };
        put_over(&mut layered, variable.read(&text)?);
        // What fits alone may not fit what stands in the file.
        if let Err(error) = layered.clone().try_into::<Config>() {
            let said = said_of(error.message());
            return Err(variable.refused(format!("with what the file says, {said}")));
        }
    }
    Ok(layered.try_into().expect("every layer was checked on its own"))
}

/// What was said on the command line, over everything else.
pub(super) fn overridden(config: Config, overrides: Overrides) -> Config {
    let said = Some(overrides.mcp_config).filter(|files| !files.is_empty());
    Config {
        database: overrides.database.unwrap_or(config.database),
        data_dir: overrides.data_dir.unwrap_or(config.data_dir),
        workspace: overrides.workspace.unwrap_or(config.workspace),
        tool_names: overrides.tool_names.unwrap_or(config.tool_names),
        mcp_config: said.unwrap_or(config.mcp_config),
        ..config
    }
}

fn defaults() -> Table {
    DEFAULTS.parse().expect("the embedded defaults are TOML, which a test checks")
}

fn put_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => put_over(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn read_file(file: &Path) -> Result<Table, Error> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| Error::Unreadable { file: file.to_owned(), source })?;
    let invalid = |error: toml::de::Error| Error::Invalid {
        file: file.to_owned(),
        line: line_of(&text, &error),
        message: said_of(error.message()),
    };
    toml::from_str::<Config>(&text).map_err(invalid)?;
    text.parse().map_err(invalid)
}

fn line_of(text: &str, error: &toml::de::Error) -> usize {
    let start = error.span().map_or(0, |span| span.start);
    text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
}

/// serde's message, with the nearest of the names it lists. Only the first line: the rest may quote values. What has the
/// wrong type is not quoted either.
fn said_of(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    if let Some((wrong, expected)) = message.rsplit_once(", expected ")
        && wrong.starts_with("invalid ")
    {
        return format!("it must be {expected}");
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let nearest = names.next().and_then(|wrong| {
        let known = names.map(|name| (strsim::jaro_winkler(wrong, name), name));
        known.filter(|(likeness, _)| 0.8 <= *likeness).max_by(|a, b| a.0.total_cmp(&b.0))
    });
    // A word that is not known may be a secret that was put into the wrong place.
    let message = match message.rsplit_once(", expected ") {
        Some((wrong, expected)) if wrong.starts_with("unknown variant ") => {
            format!("unknown word, expected {expected}")
        }
        _ => message.to_owned(),
    };
    match nearest {
        Some((_, name)) => format!("{message}; did you mean `{name}`?"),
        None => message,
    }
}

/// A setting as the environment spells it.
struct Variable {
    name: String,
    path: Vec<String>,
    /// None where nothing holds unless something is said.
    default: Option<Value>,
}

fn variables(defaults: &Table) -> Vec<Variable> {
    let mut found = Vec::new();
    collect(defaults, &[], &mut found);
    let whole = serde_json::to_value(Config::default()).unwrap_or_default();
    collect_unset(&whole, &[], &mut found);
    found
}

/// A table comes before what is in it, which wins.
fn collect(table: &Table, above: &[String], found: &mut Vec<Variable>) {
    for (key, value) in table {
        let path = [above, std::slice::from_ref(key)].concat();
        let inner = value.as_table();
        let is_open =
            |inner: &Table| inner.is_empty() || OPEN_TABLES.contains(&path.join(".").as_str());
        if inner.is_none_or(is_open) {
            found.push(Variable::new(path.clone(), Some(value.clone())));
        }
        inner.into_iter().for_each(|inner| collect(inner, &path, found));
    }
}

/// The settings that have no default.
fn collect_unset(value: &serde_json::Value, above: &[String], found: &mut Vec<Variable>) {
    if value.is_null() {
        found.push(Variable::new(above.to_vec(), None));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        collect_unset(value, &[above, std::slice::from_ref(key)].concat(), found);
    }
}

/// `worker.idle_ms` → `WINDLASS_WORKER_IDLE_MS`, `mcpServers` → `WINDLASS_MCP_SERVERS`.
fn spelled(path: &[String]) -> String {
    let mut name = String::from("WINDLASS");
    for part in path {
        name.push('_');
        for letter in part.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
    }
    name
}

impl Variable {
    fn new(path: Vec<String>, default: Option<Value>) -> Variable {
        Variable { name: spelled(&path), path, default }
    }

    /// A layer with nothing in it but this setting, checked.
    fn read(&self, text: &str) -> Result<Table, Error> {
        match &self.default {
            Some(default) => self.layer(self.value(text, default)?),
            // What it is to be is not told by a default: a text, or else an object.
            None => self.layer(Value::from(text)).or_else(|_| {
                let table = serde_json::from_str::<Table>(text);
                self.layer(Value::Table(table.map_err(|_| self.expected("a JSON object"))?))
            }),
        }
    }

    fn layer(&self, value: Value) -> Result<Table, Error> {
        let layer = self.nested(value);
        match layer.clone().try_into::<Config>() {
            Ok(_) => Ok(layer),
            Err(error) => Err(self.refused(said_of(error.message()))),
        }
    }

    fn value(&self, text: &str, default: &Value) -> Result<Value, Error> {
        match default {
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.map(Value::from).collect::<Vec<_>>().into())
            }
            Value::Boolean(_) => {
                text.parse().map(Value::Boolean).map_err(|_| self.expected("true or false"))
            }
            Value::Integer(_) => {
                text.parse().map(Value::Integer).map_err(|_| self.expected("a whole number"))
            }
            Value::Float(_) => {
                text.parse().map(Value::Float).map_err(|_| self.expected("a number"))
            }
            Value::Table(_) => serde_json::from_str::<Table>(text)
                .map(Value::Table)
                .map_err(|_| self.expected("a JSON object")),
            Value::String(_) | Value::Datetime(_) => Ok(Value::from(text)),
        }
    }

    fn nested(&self, value: Value) -> Table {
        let mut value = value;
        for key in self.path.iter().skip(1).rev() {
            value = Value::Table(Table::from_iter([(key.clone(), value)]));
        }
        Table::from_iter([(self.path[0].clone(), value)])
    }

    fn expected(&self, what: &str) -> Error {
        self.refused(format!("it must be {what}"))
    }

    fn refused(&self, message: String) -> Error {
        Error::Variable { name: self.name.clone(), message }
    }
}
