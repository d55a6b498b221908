//! The tool servers that a configuration names, and those that ship.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use rmcp::ServerHandler;
use serde_json::json;
use windlass_engine::ToolName;
use windlass_tools::contract::{Host, Surroundings};

use super::{
    BuiltIn, ConfigError, Era, EraMemory, Hosted, SHIPPED, ServerConfig, Settings, ToolServers,
    Visit, alone, read_mcp_config,
};
use crate::{config::Config, limits::Limits, secrets, store::Store};

/// Every tool server of a configuration: its own entries, those of the `mcpServers` files, and those that ship.
/// An entry of the configuration itself wins over one of a file.
///
/// # Errors
/// When a file cannot be read, or an entry does not say what it should; the text names it.
pub async fn configured(config: &Config, store: &Store) -> anyhow::Result<ToolServers> {
    let mut servers = BTreeMap::new();
    for path in &config.mcp_config {
        let path = config.project.join(path);
        let text = fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { file: path.clone(), source })?;
        let read = read_mcp_config(&text);
        let mut read = read.with_context(|| format!("the tool servers in {}", path.display()))?;
        // A pasted file may name Windlass itself, which would start itself for ever.
        read.retain(|_, server| !server.is_this_program());
        servers.extend(read);
    }
    for (name, entry) in &config.mcp_servers {
        servers.insert(name.clone(), ServerConfig::parse(name, entry)?);
    }
    servers.iter().for_each(|(name, server)| warn_of_ignored(name, server));
    let eras = Arc::new(Eras { known: Mutex::new(known_eras(store).await), store: store.clone() });
    let host: Arc<dyn Host> = Arc::new(Hosted::new(store.clone()));
    let files = Some(Arc::clone(&host));
    let root = config.project.clone();
    let settings = Settings { eras: Some(eras), files, root: root.clone(), ..Settings::default() };
    let environment = settings.environment.clone();
    let around = Surroundings { environment, root, host: Some(host) };
    let built_in = built_in(config, &around);
    for server in built_in.iter().filter(|server| servers.contains_key(server.name())) {
        tracing::info!(
            "the tool server {:?} that is configured replaces the one that ships; workflows that ship may not run on it",
            server.name()
        );
    }
    let servers = ToolServers::new(servers, built_in, settings);
    check_limits(config, &servers).await?;
    Ok(servers.limited(Limits::new(&config.limits)))
}

/// An entry may have keys that other programs know; one that is nearly ours was meant for us.
fn warn_of_ignored(name: &str, server: &ServerConfig) {
    for (key, meant) in server.misspelt() {
        tracing::warn!(
            "mcpServers.{name} has the key {key}, which says nothing here; did you mean {meant}?"
        );
    }
}

/// Refuses limits of what is not there. The tools of a server that does not ship are not known before it is needed.
async fn check_limits(config: &Config, servers: &ToolServers) -> Result<(), ConfigError> {
    for name in config.limits.keys() {
        let wrong = |source| ConfigError::Limit { name: name.clone(), source };
        let (server, tool) = name.split_once('.').unwrap_or((name, ""));
        let identity = servers.identity(server).map_err(wrong)?;
        if !tool.is_empty() && identity.starts_with("built-in:") {
            let tool = ToolName { server: server.to_owned(), tool: tool.to_owned() };
            servers.tool(&tool).await.map_err(wrong)?;
        }
    }
    Ok(())
}

/// A digest of every credential that tool servers and workflows take from the environment, for comparing and nothing else.
///
/// It stands in no row: whoever holds other credentials may go on with an execution, but not through a worker that
/// was started with somebody else's.
pub fn credentials(config: &Config) -> String {
    let texts = config
        .mcp_config
        .iter()
        .filter_map(|path| fs::read_to_string(config.project.join(path)).ok());
    let own = config.mcp_servers.values().map(ToString::to_string);
    let texts: Vec<String> = texts.chain(own).collect();
    let named = texts.iter().flat_map(|text| variables(text));
    let read = variables_of_built_in(config);
    let names = named.chain(read.iter().map(String::as_str));
    let values: BTreeMap<&str, Option<String>> =
        names.map(|name| (name, std::env::var(name).ok())).collect();
    windlass_engine::content_hash(&json!([values, secrets::digest(config)]))
}

/// The names in `${NAME}` and `${NAME:-default}`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// The tool servers that ship. The variables that a configuration names hold the secrets, so that it identifies a
/// server as it is.
fn built_in(config: &Config, around: &Surroundings) -> Vec<BuiltIn> {
    let server = |name: &&'static str| {
        let make = Make { name, settings: alone::settings(name, config) };
        alone::visit(name, config, around, make)
    };
    SHIPPED.iter().filter_map(server).collect()
}

/// Makes what runs inside this process of a tool server.
struct Make {
    name: &'static str,
    settings: String,
}

impl Visit for Make {
    type Seen = BuiltIn;

    fn see(self, handler: impl ServerHandler + Clone) -> BuiltIn {
        BuiltIn::new(self.name, &self.settings, handler)
    }
}

/// The variables that the tool servers that ship read.
fn variables_of_built_in(config: &Config) -> Vec<String> {
    let Config { github, deploy, observability, agent, notify, documents, .. } = config;
    [
        github.variables(),
        deploy.variables(),
        observability.variables(),
        agent.variables(),
        notify.variables(),
        documents.variables(),
    ]
    .concat()
}

/// Remembers in the database which protocol each server speaks.
struct Eras {
    known: Mutex<HashMap<String, Era>>,
    store: Store,
}

async fn known_eras(store: &Store) -> HashMap<String, Era> {
    // Not knowing costs a question to the server, nothing else.
    let eras = store.eras().await.unwrap_or_default().into_iter();
    eras.filter_map(|(identity, era)| Some((identity, serde_json::from_value(era.into()).ok()?)))
        .collect()
}

impl EraMemory for Eras {
    fn get(&self, identity: &str) -> Option<Era> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(identity).copied()
    }

    fn set(&self, identity: &str, era: Era) {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(identity.into(), era);
        let (store, identity) = (self.store.clone(), identity.to_owned());
        let Ok(serde_json::Value::String(text)) = serde_json::to_value(era) else { return };
        if known != Some(era) && !self.store.only_looks() {
            tokio::spawn(async move {
                if let Err(err) = store.set_era(&identity, &text).await {
                    tracing::debug!(
                        "which protocol a tool server speaks was not remembered: {err}"
                    );
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities(change: impl Fn(&mut Config)) -> BTreeMap<String, String> {
        let mut config = Config::default();
        change(&mut config);
        let settings = Settings { environment: BTreeMap::new(), ..Settings::default() };
        let built_in = built_in(&config, &Surroundings::default());
        ToolServers::new(BTreeMap::new(), built_in, settings).identities()
    }

    #[test]
    fn a_built_in_server_is_another_one_with_other_settings() {
        let own = identities(|_| {});
        assert_eq!(identities(|_| {}), own);
        let others = [
            identities(|config| config.github.api_url = "http://127.0.0.1:1".to_owned()),
            identities(|config| config.github.repos = vec!["octo/hello".to_owned()]),
            identities(|config| config.github.read_only = !config.github.read_only),
        ];
        for other in others {
            assert_ne!(other["github"], own["github"]);
            assert_eq!(other["demo"], own["demo"]);
        }
        let (kind, digest) = own["github"].split_once(':').unwrap();
        assert_eq!((kind, digest.len()), ("built-in", 16));
    }
}
