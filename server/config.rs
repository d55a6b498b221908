//! What can be set, where it is set, and what holds when it is not.

mod layers;
mod resolve;
mod secrets;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_tools::{
    AgentConfig, DeployConfig, DocumentsConfig, GithubConfig, NotifyConfig, ObservabilityConfig,
};

use crate::limits::Limit;

pub use secrets::{Argv, SecretName, SecretSettings, SecretSource};

/// The settings' documentation, which is also the lowest layer of every configuration.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// The name of the file in the project's root.
pub const FILE_NAME: &str = "windlass.toml";

/// Everything that can be set: embedded defaults < `windlass.toml` < `WINDLASS_*` < flags.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The project's root, which relative paths start at. Found, not set.
    #[serde(skip)]
    pub project: PathBuf,
    /// `sqlite:PATH` or `postgres://…`; empty: a SQLite file in the data directory.
    pub database: String,
    /// How soon a commit to SQLite is on the disk.
    pub synchronous: Synchronous,
    /// The same Postgres without a transaction pooler in between; empty: `database` has none.
    pub database_direct_url: String,
    /// Where the database, the worker's socket and its log live; empty: the user's data directory.
    pub data_dir: PathBuf,
    /// Whose workflows and executions these are; empty: the project's root on SQLite, `default` on Postgres.
    pub workspace: String,
    /// Folders with workflow files, relative to the project's root.
    pub workflows: Vec<PathBuf>,
    /// Which spelling `tools/list` shows; both are always callable.
    pub tool_names: ToolNames,
    /// The keys that seal and sign; empty: the file `keyring` in the data directory, made when it is needed.
    pub keyring_file: PathBuf,
    /// Files in the `mcpServers` form, relative to the project's root.
    pub mcp_config: Vec<PathBuf>,
    /// Tool servers in the `mcpServers` form (each value as in `.mcp.json`).
    #[serde(rename = "mcpServers")]
    pub mcp_servers: BTreeMap<String, Value>,
    /// What workflows may name as `${secrets.NAME}`, and where it comes from.
    pub secrets: SecretSettings,
    /// The github tool server.
    pub github: GithubConfig,
    /// The deploy tool server.
    pub deploy: DeployConfig,
    /// The observability tool server.
    pub observability: ObservabilityConfig,
    /// The agent tool server.
    pub agent: AgentConfig,
    /// The notify tool server.
    pub notify: NotifyConfig,
    /// The documents tool server.
    pub documents: DocumentsConfig,
    /// The HTTP door.
    pub http: HttpSettings,
    /// Questions to persons.
    pub approvals: ApprovalSettings,
    /// The worker.
    pub worker: WorkerSettings,
    /// How many calls of a tool server (`server`) or of one tool (`server.tool`) may be out, and may begin in a time.
    pub limits: BTreeMap<String, Limit>,
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

/// How soon a commit to SQLite is on the disk, as `PRAGMA synchronous` has it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// When it is answered: what was accepted survives a power cut.
    #[default]
    Full,
    /// With the next checkpoint: a power cut may take the newest commits back. A crash of the process takes none.
    Normal,
    /// When the system likes: a power cut may leave a damaged file. For what may be lost.
    Off,
}

/// The HTTP door.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Environment variable that holds the bearer token; required when the bind is not loopback.
    pub token_env: String,
    /// Host names, besides loopback, that requests may name.
    pub allowed_hosts: Vec<String>,
    /// Origins, besides the own ones, that browsers may come from.
    pub allowed_origins: Vec<String>,
    /// Whether callers may save workflows and switch them on and off.
    pub authoring: bool,
    /// How long a process that was told to end still takes requests while `readyz` says so, in milliseconds.
    pub linger_ms: u64,
    /// Whether `/metrics` tells Prometheus what this process does.
    pub metrics: bool,
}

/// Questions to persons.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalSettings {
    /// Whether an agent may answer what the executions that it started ask.
    pub agents_may_answer: bool,
}

/// The worker.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// How many executions one process drives at once.
    pub max_executions: usize,
    /// Bound on one tool call when the step names none, in milliseconds.
    pub call_timeout_ms: u64,
    /// A detached worker exits when it has had nothing to do for so long, in milliseconds.
    pub idle_ms: u64,
}

/// What was said on the command line; it wins over everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// [`Config::database`]
    pub database: Option<String>,
    /// [`Config::data_dir`]
    pub data_dir: Option<PathBuf>,
    /// [`Config::workspace`]
    pub workspace: Option<String>,
    /// [`Config::tool_names`]
    pub tool_names: Option<ToolNames>,
    /// [`Config::mcp_config`]; empty: not said.
    pub mcp_config: Vec<PathBuf>,
}

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A configuration that does not hold together. No message repeats a value, since values may be secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not say what it should.
    #[error("{}:{line}: {message}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, what is allowed, and the nearest name there is.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A variable of the environment does not say what it should.
    #[error("the variable {name} does not fit: {message}")]
    Variable {
        /// The variable.
        name: String,
        /// What is allowed.
        message: String,
    },
    /// The database is neither SQLite nor Postgres.
    #[error("the database must be written as sqlite:PATH or postgres://user:password@host/name")]
    Database,
    /// There is no home directory to put data in.
    #[error("no directory for data is known; set WINDLASS_DATA_DIR or --data-dir")]
    NoDataDirectory,
    /// The process stands nowhere.
    #[error("the current directory cannot be read: {0}")]
    NoCurrentDirectory(#[source] std::io::Error),
    /// What was handed over is not a configuration.
    #[error("a configuration that was handed over cannot be read: {0}")]
    HandedOver(#[from] serde_json::Error),
}

/// A resolved configuration on its way from one process to another.
#[derive(Deserialize, Serialize)]
struct HandedOver {
    project: PathBuf,
    config: Config,
}

impl Config {
    /// Reads every layer and resolves what was left open. Without a file, `windlass.toml` in the project's root is read if it exists.
    ///
    /// # Errors
    /// When a layer does not say what it should; the text names the place and what is allowed.
    pub fn load(
        file: Option<&Path>,
        environment: Environment<'_>,
        overrides: &Overrides,
    ) -> Result<Config, Error> {
        let directory = std::env::current_dir().map_err(Error::NoCurrentDirectory)?;
        Config::load_from(&directory, file, environment, overrides)
    }

    /// As [`Config::load`], seen from another directory than the current one.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        directory: &Path,
        file: Option<&Path>,
        environment: Environment<'_>,
        overrides: &Overrides,
    ) -> Result<Config, Error> {
        let project = resolve::project_root(directory);
        let file = file.map(|file| directory.join(file));
        let file = file.or_else(|| Some(project.join(FILE_NAME)).filter(|file| file.is_file()));
        let layered = layers::read(file.as_deref(), environment)?;
        let overrides = resolve::from_directory(overrides, directory);
        resolve::resolve(Config { project, ..layers::overridden(layered, overrides) })
    }

    /// The configuration as text for another process. It holds secrets: hand it over a pipe, never as an argument.
    ///
    /// # Errors
    /// When a path is not Unicode.
    pub fn to_json(&self) -> Result<String, Error> {
        let handed = HandedOver { project: self.project.clone(), config: self.clone() };
        Ok(serde_json::to_string(&handed)?)
    }

    /// What workflows may write behind `secrets.`, in order. Nothing of the secrets themselves.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(SecretName::as_str)
    }

    /// Whether executions live in Postgres, which other processes may share.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        !self.database.starts_with("sqlite:")
    }

    /// Reads what [`Config::to_json`] wrote.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn from_json(text: &str) -> Result<Config, Error> {
        let HandedOver { project, config } = serde_json::from_str(text)?;
        Ok(Config { project, ..config })
    }
}

/// Makes a folder, and those above it, for this user's eyes only: it will hold what workflows are given and result in.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn create_folder(folder: &Path) -> std::io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .recursive(true)
        .create(folder)
}

impl Default for Config {
    fn default() -> Config {
        Config {
            project: PathBuf::new(),
            database: String::new(),
            synchronous: Synchronous::default(),
            database_direct_url: String::new(),
            data_dir: PathBuf::new(),
            workspace: String::new(),
            workflows: vec!["workflows".into()],
            tool_names: ToolNames::default(),
            keyring_file: PathBuf::new(),
            mcp_config: Vec::new(),
            mcp_servers: BTreeMap::new(),
            secrets: SecretSettings::new(),
            github: GithubConfig::default(),
            deploy: DeployConfig::default(),
            observability: ObservabilityConfig::default(),
            agent: AgentConfig::default(),
            notify: NotifyConfig::default(),
            documents: DocumentsConfig::default(),
            http: HttpSettings::default(),
            approvals: ApprovalSettings::default(),
            worker: WorkerSettings::default(),
            limits: BTreeMap::new(),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings {
            token_env: "WINDLASS_HTTP_TOKEN".into(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            authoring: false,
            linger_ms: 0,
            metrics: true,
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings { max_executions: 256, call_timeout_ms: 600_000, idle_ms: 60_000 }
    }
}

/// Shows neither the database's password nor what tool servers are given.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("project", &self.project)
            .field("database", &resolve::without_secrets(&self.database))
            .field("synchronous", &self.synchronous)
            .field("database_direct_url", &resolve::without_secrets(&self.database_direct_url))
            .field("data_dir", &self.data_dir)
            .field("workspace", &self.workspace)
            .field("workflows", &self.workflows)
            .field("tool_names", &self.tool_names)
            .field("keyring_file", &self.keyring_file)
            .field("mcp_config", &self.mcp_config)
            .field("mcp_servers", &self.mcp_servers.keys().collect::<Vec<_>>())
            .field("secrets", &self.secrets)
            .field("github", &self.github)
            .field("deploy", &self.deploy)
            .field("observability", &self.observability)
            .field("agent", &self.agent)
            .field("notify", &self.notify)
            .field("documents", &self.documents)
            .field("http", &self.http)
            .field("approvals", &self.approvals)
            .field("worker", &self.worker)
            .field("limits", &self.limits)
            .finish()
    }
}

#[cfg(test)]
mod tests;
