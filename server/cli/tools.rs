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
        listed.iter().for_each(show);
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
