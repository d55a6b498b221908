//! `windlass tools`: what workflows may call, and which tool servers cannot be reached.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    arguments::Tools,
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, red},
};
use crate::{
    host::Drive,
    tool_servers::{Error, RetryClass, ToolInfo},
};

type Listed = (String, Result<Arc<Vec<ToolInfo>>, Error>);

pub(super) async fn run(session: &Session, arguments: &Tools) -> Result<Exit, Failure> {
    let host = session.host(Drive::Nobody).await?;
    let listed = host.app.tools().await;
    host.stop().await;
    let listed = chosen(listed, arguments.server.as_deref())?;
    if session.json() {
        let servers: Vec<Value> = listed.iter().map(to_json).collect();
        terminal::say_json(&json!({ "servers": servers }));
    } else {
        let shown = if arguments.server.is_some() { show_with_arguments } else { show };
        listed.iter().for_each(shown);
    }
    Ok(Exit::Done)
}

/// All servers, or the one that was asked for; that one must be there and reachable.
fn chosen(listed: Vec<Listed>, server: Option<&str>) -> Result<Vec<Listed>, Failure> {
    let Some(server) = server else { return Ok(listed) };
    let names: Vec<String> = listed.iter().map(|(name, _)| name.clone()).collect();
    match listed.into_iter().find(|(name, _)| name == server) {
        Some((_, Err(error))) => Err((&error).into()),
        Some(found) => Ok(vec![found]),
        None => {
            let message =
                format!("no tool server is called {server:?}; there are {}", names.join(", "));
            Err(Failure::not_found("unknown_tool_server", message)
                .help("add it to [mcpServers] in windlass.toml, or name a file with --mcp-config"))
        }
    }
}

fn to_json((name, tools): &Listed) -> Value {
    match tools {
        Ok(tools) => json!({ "name": name, "tools": **tools }),
        Err(error) => json!({ "name": name, "error": error.to_string() }),
    }
}

fn show((name, tools): &Listed) {
    match tools {
        Err(error) => terminal::say(&format!("{} {}", bold(name), red(&error.to_string()))),
        Ok(tools) => {
            terminal::say(&bold(name));
            let rows: Vec<_> = tools.iter().map(row).collect();
            terminal::columns(&rows).iter().for_each(|line| terminal::say(&format!("  {line}")));
        }
    }
}

/// One server's tools, each with what it takes.
fn show_with_arguments((name, tools): &Listed) {
    terminal::say(&bold(name));
    for tool in tools.iter().flat_map(|tools| tools.iter()) {
        terminal::say(&format!("  {}", row(tool).join("  ")));
        let rows = argument_rows(&tool.input_schema);
        terminal::columns(&rows).iter().for_each(|line| terminal::say(&format!("      {line}")));
    }
}

/// The arguments of a tool, those that it needs first: name, type, what it is for.
fn argument_rows(schema: &Value) -> Vec<Vec<String>> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_required = |name: &str| required.iter().any(|known| known == name);
    let properties = schema["properties"].as_object();
    let mut arguments: Vec<_> = properties.into_iter().flatten().collect();
    arguments.sort_by_key(|(name, _)| !is_required(name));
    let row = |(name, schema): (&String, &Value)| {
        let needed = if is_required(name) { "required" } else { "" };
        let said = schema["description"].as_str().unwrap_or_default();
        let said = said.lines().next().unwrap_or_default();
        vec![name.clone(), dim(&type_of(schema)), needed.to_owned(), said.to_owned()]
    };
    arguments.into_iter().map(row).collect()
}

/// The types that an argument may have, or the values.
fn type_of(schema: &Value) -> String {
    let words = |values: &[Value]| {
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.iter().map(word).collect::<Vec<_>>().join("|")
    };
    match (&schema["enum"], &schema["type"]) {
        (Value::Array(values), _) | (_, Value::Array(values)) => words(values),
        (_, Value::String(word)) => word.clone(),
        _ => "any".to_owned(),
    }
}

fn row(tool: &ToolInfo) -> Vec<String> {
    let class = match tool.retry_class {
        RetryClass::Read => "read",
        RetryClass::Idempotent => "idempotent",
        RetryClass::Keyed => "keyed",
        RetryClass::Unsafe => "unsafe",
    };
    let said = tool.description.lines().next().unwrap_or_default();
    vec![tool.name.clone(), dim(class), said.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_needs_comes_first_with_its_type_and_what_it_is_for() {
        let rows = argument_rows(&json!({
            "required": ["owner"],
            "properties": {
                "labels": { "type": ["array", "null"] },
                "mode": { "enum": ["fast", 2] },
                "owner": { "type": "string", "description": "Whose.\nMore." },
                "any": {},
            },
        }));
        let plain = |text: &str| dim(text);
        let row = |[name, of, needed, said]: [&str; 4]| {
            vec![name.to_owned(), plain(of), needed.to_owned(), said.to_owned()]
        };
        let expected = [
            ["owner", "string", "required", "Whose."],
            ["labels", "array|null", "", ""],
            ["mode", "fast|2", "", ""],
            ["any", "any", "", ""],
        ];
        assert_eq!(rows, expected.map(row));
        assert!(argument_rows(&Value::Null).is_empty());
    }
}
