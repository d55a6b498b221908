//! Puts a process together: database, tool servers, application, worker.

use crate::{app::App, config::Config};

/// Who drives executions while this process runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drive {
    /// A worker inside this process.
    InProcess,
    /// A detached process, started on demand, that outlives this one; in-process where none can be started.
    Detached,
    /// Nobody: this process only asks.
    Nobody,
}

/// A process that is put together; the doors get its [`App`].
pub struct Host {
    /// What every door talks to.
    pub app: App,
}

impl Host {
    /// Opens the database and what else the configuration names.
    ///
    /// # Errors
    /// When the database cannot be opened or the configuration does not hold together; the text says what to do.
    pub async fn start(_config: &Config, _drive: Drive) -> anyhow::Result<Host> {
        todo!()
    }

    /// Ends the worker and the tool servers, within a bound. Running executions are left to the next worker.
    pub async fn stop(self) {
        todo!()
    }
}

/// The detached worker's whole life: drives the workspace's executions until it has had nothing to do for a while.
///
/// # Errors
/// When the database cannot be opened.
pub async fn work(_config: &Config) -> anyhow::Result<()> {
    todo!()
}
