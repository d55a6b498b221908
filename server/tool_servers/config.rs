//! A tool server's entry in a configuration: the conventional `mcpServers` form, and our extras.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::alias_map;
use crate::limits::unstyled;

/// How many calls one server has in flight when its entry does not say.
const DEFAULT_MAX_IN_FLIGHT: u32 = 64;

/// How alike a key must be to one of ours to have been meant for it, from 0 to 1.
const ALIKE: f64 = 0.8;

const KNOWN_KEYS: &[&str] = &[
    "type",
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "headers",
    "protocol",
    "alias_map",
    "timeout_ms",
    "max_in_flight",
    "disabled",
];

/// One tool server, as its entry describes it; variables not yet expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// How to reach it.
    pub transport: Transport,
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// The map by which its tools are called under the names of ours, such as `github-official`.
    pub alias_map: Option<String>,
    /// No call to it takes longer.
    pub timeout: Option<Duration>,
    /// How many calls may be in flight at once; at least 1.
    pub max_in_flight: u32,
    /// Whether it is left alone.
    pub disabled: bool,
    /// Keys of the entry that other programs may know and we do not.
    pub ignored: Vec<String>,
}

/// How to reach a tool server.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// A child process that is spoken to over its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// What it finds in its environment, besides the few variables every child gets.
        env: BTreeMap<String, String>,
        /// The folder it is started in.
        cwd: Option<String>,
    },
    /// A server that is spoken to over HTTP.
    Http {
        /// Its address.
        url: String,
        /// Sent with every request.
        headers: BTreeMap<String, String>,
    },
}

/// Which protocol a tool server speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// Found out when connecting, and remembered.
    #[default]
    Auto,
    /// MCP up to 2025-11-25: `initialize` first.
    Legacy,
    /// MCP from 2026-07-28: `server/discover`.
    Modern,
    /// Plain JSON-RPC over `POST`, as the AFU-9 servers speak it.
    Afu9,
}

/// Why a configuration of tool servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON.
    #[error("the configuration of tool servers is not JSON")]
    Json(#[from] serde_json::Error),
    /// The file cannot be read.
    #[error("the tool servers in {} cannot be read: {source}; correct `mcp_config`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a limit for what is not there.
    #[error("limits.{name:?}: {source}; correct [limits] in the configuration")]
    Limit {
        /// What is limited.
        name: String,
        /// Why that cannot be.
        source: super::Error,
    },
    /// A key holds what it must not; says what it may.
    #[error("{key}: {problem}")]
    Key {
        /// Where, as a path: `mcpServers.github.args[0]`.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// Reads a whole `.mcp.json` (`mcpServers`) or `.vscode/mcp.json` (`servers`).
///
/// # Errors
/// When the text is not JSON, or an entry cannot be used; the error names the key.
pub fn read_mcp_config(text: &str) -> Result<BTreeMap<String, ServerConfig>, ConfigError> {
    let document: Value = serde_json::from_str(text)?;
    let (key, servers) = ["mcpServers", "servers"]
        .into_iter()
        .find_map(|key| Some((key, document.get(key)?)))
        .ok_or_else(|| wrong("mcpServers", "is missing; tool servers are listed under it"))?;
    let servers = servers.as_object().ok_or_else(|| wrong(key, "must be an object"))?;
    servers
        .iter()
        .map(|(name, entry)| Ok((name.clone(), parse_at(&format!("{key}.{name}"), name, entry)?)))
        .collect()
}

impl ServerConfig {
    /// The keys that say nothing here and are nearly those that do, each with the one that was probably meant.
    pub(super) fn misspelt(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.ignored.iter().filter_map(|key| {
            let is_near = |known: &&&str| {
                ALIKE <= strsim::normalized_damerau_levenshtein(&unstyled(key), &unstyled(known))
            };
            Some((key.as_str(), *KNOWN_KEYS.iter().find(is_near)?))
        })
    }

    /// Whether it starts the program that reads it.
    #[must_use]
    pub fn is_this_program(&self) -> bool {
        let Transport::Stdio { command, .. } = &self.transport else { return false };
        let own = std::env::current_exe().ok();
        let own = own.as_deref().and_then(Path::file_name);
        own.is_some() && own == Path::new(command).file_name()
    }

    /// Reads one entry of `mcpServers`.
    ///
    /// # Errors
    /// When it cannot be used; the error names the key.
    pub fn parse(name: &str, entry: &Value) -> Result<ServerConfig, ConfigError> {
        parse_at(&format!("mcpServers.{name}"), name, entry)
    }

    /// What identifies the configuration; holds no value of `env` or `headers`, and changes with no secret.
    pub(super) fn identity(&self) -> String {
        let (kind, mut described) = match &self.transport {
            Transport::Stdio { command, args, env, cwd } => {
                let names: Vec<_> = env.keys().collect();
                ("stdio", json!([command, args, names, cwd]))
            }
            Transport::Http { url, headers } => {
                let names: Vec<_> = headers.keys().collect();
                ("http", json!([url, names]))
            }
        };
        if let (Some(name), Value::Array(described)) = (&self.alias_map, &mut described) {
            described.push(name.as_str().into());
        }
        identity(kind, &described.to_string())
    }
}

/// Stands for the settings of a server of some kind, and is short.
pub(super) fn identity(kind: &str, settings: &str) -> String {
    let digest = Sha256::digest(settings);
    digest.iter().take(8).fold(format!("{kind}:"), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse_at(path: &str, name: &str, entry: &Value) -> Result<ServerConfig, ConfigError> {
    if name.is_empty() || name.contains('.') {
        return Err(wrong(
            path,
            "a tool server's name must not be empty or contain a dot, because steps name tools as server.tool",
        ));
    }
    let entry = entry.as_object().ok_or_else(|| wrong(path, "must be an object"))?;
    let fields = Fields { path, entry };
    let transport = transport(&fields)?;
    let protocol = protocol(&fields, &transport)?;
    Ok(ServerConfig {
        transport,
        protocol,
        alias_map: alias_map(&fields)?,
        timeout: fields.count("timeout_ms")?.map(Duration::from_millis),
        max_in_flight: max_in_flight(&fields)?,
        disabled: fields.flag("disabled")?,
        ignored: entry.keys().filter(|key| !KNOWN_KEYS.contains(&key.as_str())).cloned().collect(),
    })
}

fn transport(fields: &Fields<'_>) -> Result<Transport, ConfigError> {
    let command = fields.text("command")?;
    let url = fields.text("url")?;
    let kind = fields.text("type")?;
    match (kind.as_deref(), command, url) {
        (Some("sse"), _, _) => Err(fields.wrong(
            "type",
            "\"sse\" (the HTTP+SSE transport of 2024) is not spoken; use \"http\" with the server's streamable HTTP address",
        )),
        (None | Some("stdio" | "local"), Some(command), None) => Ok(Transport::Stdio {
            command,
            args: fields.texts("args")?,
            env: fields.table("env")?,
            cwd: fields.text("cwd")?,
        }),
        (None | Some("http" | "streamable-http" | "streamableHttp"), None, Some(url)) => {
            Ok(Transport::Http { url: http_address(fields, url)?, headers: fields.table("headers")? })
        }
        (Some(kind), _, _) if !["stdio", "local", "http", "streamable-http", "streamableHttp"].contains(&kind) => {
            Err(fields.wrong("type", &format!("{kind:?} is not known; use \"stdio\" or \"http\"")))
        }
        (_, Some(_), Some(_)) => {
            Err(fields.wrong("url", "stands beside `command`; a tool server has one or the other"))
        }
        (Some("stdio" | "local"), None, _) => {
            Err(fields.wrong("command", "is missing; type \"stdio\" needs the program to start"))
        }
        (Some(_), _, _) => Err(fields.wrong("url", "is missing; type \"http\" needs the server's address")),
        (None, None, None) => Err(fields.wrong("command", "is missing, and so is `url`; one of them is needed")),
    }
}

fn http_address(fields: &Fields<'_>, url: String) -> Result<String, ConfigError> {
    // An address may start with a variable, which is not known yet.
    if ["http://", "https://", "${"].iter().any(|start| url.starts_with(start)) {
        Ok(url)
    } else {
        Err(fields.wrong("url", "must start with http:// or https://"))
    }
}

fn protocol(fields: &Fields<'_>, transport: &Transport) -> Result<Protocol, ConfigError> {
    match (fields.text("protocol")?.as_deref(), transport) {
        (None | Some("auto"), _) => Ok(Protocol::Auto),
        (Some("legacy"), _) => Ok(Protocol::Legacy),
        (Some("modern"), _) => Ok(Protocol::Modern),
        (Some("afu9"), Transport::Http { .. }) => Ok(Protocol::Afu9),
        (Some("afu9"), Transport::Stdio { .. }) => {
            Err(fields.wrong("protocol", "\"afu9\" is spoken over HTTP only; give a `url`"))
        }
        (Some(other), _) => Err(fields.wrong(
            "protocol",
            &format!("{other:?} is not known; use \"auto\", \"legacy\", \"modern\" or \"afu9\""),
        )),
    }
}

fn alias_map(fields: &Fields<'_>) -> Result<Option<String>, ConfigError> {
    let Some(name) = fields.text("alias_map")? else { return Ok(None) };
    if alias_map::named(&name).is_none() {
        let problem = format!("{name:?} is not known; there is {}", alias_map::NAMES);
        return Err(fields.wrong("alias_map", &problem));
    }
    Ok(Some(name))
}

fn max_in_flight(fields: &Fields<'_>) -> Result<u32, ConfigError> {
    match fields.count("max_in_flight")? {
        None => Ok(DEFAULT_MAX_IN_FLIGHT),
        Some(count) => u32::try_from(count)
            .ok()
            .filter(|count| (1..=100_000).contains(count))
            .ok_or_else(|| fields.wrong("max_in_flight", "must be from 1 to 100000")),
    }
}

fn wrong(key: &str, problem: &str) -> ConfigError {
    ConfigError::Key { key: key.to_owned(), problem: problem.to_owned() }
}

/// Reads the keys of one entry, and knows where it is.
struct Fields<'a> {
    path: &'a str,
    entry: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn wrong(&self, key: &str, problem: &str) -> ConfigError {
        wrong(&format!("{}.{key}", self.path), problem)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.entry.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, "must be a text that is not empty")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "must be true or false")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_u64()
                    .filter(|count| 0 < *count)
                    .ok_or_else(|| self.wrong(key, "must be a whole number of at least 1"))
            })
            .transpose()
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let values = value.as_array().ok_or_else(|| self.wrong(key, "must be a list of texts"))?;
        values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                scalar(value)
                    .ok_or_else(|| self.wrong(&format!("{key}[{index}]"), "must be a text"))
            })
            .collect()
    }

    fn table(&self, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(BTreeMap::new()) };
        let values =
            value.as_object().ok_or_else(|| self.wrong(key, "must be an object of texts"))?;
        values
            .iter()
            .map(|(name, value)| {
                let text = scalar(value)
                    .ok_or_else(|| self.wrong(&format!("{key}.{name}"), "must be a text"))?;
                Ok((name.clone(), text))
            })
            .collect()
    }
}

/// Other programs let numbers and truth values stand where a text is meant.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_nearly_ours_was_meant_for_us_and_others_are_of_other_programs() {
        let entry = json!({
            "command": "npx", "timeoutMs": 5, "maxInFlight": 1, "comand": "x",
            "alwaysAllow": [], "icon": "x", "disabledTools": [], "autoApprove": [], "description": "x",
        });
        let server = ServerConfig::parse("a", &entry).unwrap();
        let misspelt: BTreeMap<_, _> = server.misspelt().collect();
        let expected =
            [("comand", "command"), ("maxInFlight", "max_in_flight"), ("timeoutMs", "timeout_ms")];
        assert_eq!(misspelt, BTreeMap::from(expected));
    }
}
