//! What can be set, where it is set, and what holds when it is not.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that can be set: embedded defaults < `windlass.toml` < `WINDLASS_*` < flags.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `sqlite:PATH` or `postgres://…`; empty: a SQLite file in the data directory.
    pub database: String,
    /// Where the database, the worker's socket and its log live; empty: the user's data directory.
    pub data_dir: PathBuf,
    /// Whose workflows and executions these are; empty: the project's root on SQLite, `default` on Postgres.
    pub workspace: String,
    /// Folders with workflow files, relative to the project's root.
    pub workflows: Vec<PathBuf>,
    /// Which spelling `tools/list` shows; both are always callable.
    pub tool_names: ToolNames,
    /// Files in the `mcpServers` form, relative to the project's root.
    pub mcp_config: Vec<PathBuf>,
    /// Tool servers in the `mcpServers` form (each value as in `.mcp.json`).
    #[serde(rename = "mcpServers")]
    pub mcp_servers: BTreeMap<String, Value>,
    /// The github tool server.
    pub github: GithubSettings,
    /// The HTTP door.
    pub http: HttpSettings,
    /// The worker.
    pub worker: WorkerSettings,
    /// The project's root.
    #[serde(skip)]
    pub project: PathBuf,
}

impl Config {
    /// TEMP
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Which spelling of tool names is listed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolNames {
    /// `workflow.run`
    #[default]
    Dotted,
    /// `workflow_run`
    Underscore,
}

/// The github tool server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GithubSettings {
    /// `https://api.github.com`, or a GitHub Enterprise address.
    pub api_url: String,
    /// The environment variables looked at for a token, in order.
    pub token_env: Vec<String>,
    /// Repositories that may be touched, as `owner/name` with `*`; empty: all.
    pub repos: Vec<String>,
    /// Whether tools that write are left out.
    pub read_only: bool,
}

/// The HTTP door.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Environment variable that holds the bearer token; required when the bind is not loopback.
    pub token_env: String,
    /// Host names, besides loopback, that requests may name.
    pub allowed_hosts: Vec<String>,
    /// Origins, besides the own ones, that browsers may come from.
    pub allowed_origins: Vec<String>,
}

/// The worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// How many executions one process drives at once.
    pub max_executions: usize,
    /// Bound on one tool call when the step names none, in milliseconds.
    pub call_timeout_ms: u64,
    /// A detached worker exits when it has had nothing to do for so long, in milliseconds.
    pub idle_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            database: String::new(),
            data_dir: PathBuf::new(),
            workspace: String::new(),
            workflows: vec!["workflows".into()],
            tool_names: ToolNames::default(),
            mcp_config: Vec::new(),
            mcp_servers: BTreeMap::new(),
            github: GithubSettings::default(),
            http: HttpSettings::default(),
            worker: WorkerSettings::default(),
            project: PathBuf::new(),
        }
    }
}

impl Default for GithubSettings {
    fn default() -> GithubSettings {
        GithubSettings {
            api_url: "https://api.github.com".into(),
            token_env: vec!["GITHUB_TOKEN".into(), "GH_TOKEN".into()],
            repos: Vec::new(),
            read_only: false,
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings { max_executions: 256, call_timeout_ms: 600_000, idle_ms: 60_000 }
    }
}
