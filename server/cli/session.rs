//! What a command needs to begin: the configuration, and a process that is put together.

use super::{arguments::Shared, failure::Failure};
use crate::{
    config::{Config, Overrides, ToolNames},
    host::{Drive, Host},
};

/// One call of the command line.
pub(super) struct Session {
    shared: Shared,
}

impl Session {
    pub(super) fn new(shared: Shared) -> Session {
        Session { shared }
    }

    /// Whether a program reads the answer.
    pub(super) fn json(&self) -> bool {
        self.shared.json
    }

    /// The configuration as it holds for this call.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        self.config_with(None)
    }

    /// The same, with the tool names that were asked for.
    pub(super) fn config_with(&self, tool_names: Option<ToolNames>) -> Result<Config, Failure> {
        let overrides = Overrides {
            database: self.shared.database.clone(),
            data_dir: self.shared.data_dir.clone(),
            workspace: self.shared.workspace.clone(),
            tool_names,
            mcp_config: self.shared.mcp_config.clone(),
        };
        let environment = |name: &str| std::env::var(name).ok();
        Ok(Config::load(self.shared.config.as_deref(), &environment, &overrides)?)
    }

    /// The database that was named on the command line, and nowhere else.
    pub(super) fn named_database(&self) -> Result<Option<String>, Failure> {
        match self.shared.database {
            Some(_) => Ok(Some(self.config()?.database)),
            None => Ok(None),
        }
    }

    /// A process that is put together.
    pub(super) async fn host(&self, drive: Drive) -> Result<Host, Failure> {
        Ok(Host::start(&self.config()?, drive).await?)
    }
}
