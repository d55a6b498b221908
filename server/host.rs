//! Puts a process together: database, tool servers, application, worker.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    bell::{Bell, Ring},
    config::Config,
    driver::{Driver, LetterBox, Own},
    keyring::Keyring,
    link::{Link, Place, Post},
    metrics,
    revisions::Revisions,
    secrets::Secrets,
    store::Store,
    tool_servers::{self, ToolServers},
    trace,
    worker::{Outgoing, Worker},
};

type Tasks = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// Rings that come within this time of each other share a notification.
const COALESCE: Duration = Duration::from_millis(5);

/// How long nobody is notified after a notification: each of them is a transaction.
const REST: Duration = Duration::from_millis(20);

/// How many of its own rings a process waits to hear back, to pass them by.
const ECHOES: usize = 4_096;

/// How long the database's connections may take to close.
const CLOSE: Duration = Duration::from_secs(3);

/// How often a door sees whether what it is owed is driven: the worker may have been killed.
const SEE_AFTER: Duration = Duration::from_secs(30);

/// How long a worker may take to end.
const STOP: Duration = Duration::from_secs(12);

/// Who drives executions while this process runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drive {
    /// A worker inside this process.
    InProcess,
    /// A worker inside this process that drives what this process starts, and nothing else.
    Own,
    /// A detached process, started on demand, that outlives this one; in-process where none can be started.
    Detached,
    /// Nobody: this process only asks.
    Nobody,
}

/// A process that is put together; the doors get its [`App`].
pub struct Host {
    /// What every door talks to.
    pub app: App,
    parts: Parts,
}

/// What app and worker have in common.
#[derive(Clone)]
struct Parts {
    store: Store,
    tool_servers: ToolServers,
    secrets: Secrets,
    keyring: Keyring,
    revisions: Revisions,
    bell: Bell,
    config: Arc<Config>,
    stop: CancellationToken,
    /// Awaited at the end: they give back what they hold.
    workers: Tasks,
    /// Aborted at the end: they hold nothing.
    carriers: Tasks,
}

impl Host {
    /// Opens the database and what else the configuration names.
    ///
    /// # Errors
    /// When the database cannot be opened or the configuration does not hold together; the text says what to do.
    pub async fn start(config: &Config, drive: Drive) -> anyhow::Result<Host> {
        let parts = Parts::open(config).await?;
        parts.carry_rings();
        let driver = match drive {
            Drive::InProcess => Driver::InProcess(parts.start_worker(None)),
            Drive::Own => Driver::InProcess(parts.start_worker(Some(Own::default()))),
            Drive::Detached => parts.detached(),
            Drive::Nobody => Driver::Nobody,
        };
        let app = parts.app(driver);
        if drive == Drive::Detached {
            parts.take_up_what_is_left(app.clone());
        }
        Ok(Host { app, parts })
    }

    /// Puts together what it takes to look: nobody drives, and nothing is written.
    ///
    /// # Errors
    /// As [`Host::start`]; and when an older release wrote the database, whose schema stays as it is.
    pub async fn look(config: &Config) -> anyhow::Result<Host> {
        let store = Store::open_to_look(&config.database, &config.workspace).await?;
        let parts = Parts::with(config, store).await?;
        Ok(Host { app: parts.app(Driver::Nobody), parts })
    }

    /// The database that is open here: for measurements, which see what doors do not.
    pub(crate) fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Cancelling it tells the worker to end: it takes on nothing more and gives back what it drives.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.parts.stop.clone()
    }

    /// Ends the worker and the tool servers, within a bound. Running executions are left to the next worker.
    pub async fn stop(self) {
        self.parts.stop().await;
    }
}

/// The detached worker's whole life: drives the workspace's executions until it has had nothing to do for a while,
/// or `stop` is cancelled.
///
/// # Errors
/// When the database cannot be opened.
pub async fn work(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let parts = Parts { stop: stop.child_token(), ..Parts::open(config).await? };
        let post = Post::take(parts.place()).context("the worker's socket cannot be made")?;
        let Some(post) = post else {
            tracing::info!("another worker drives this workspace");
            return Ok(());
        };
        let refused = parts.work_until_idle(post).await;
        // Doors that connect now start another worker; what came in before is still this one's.
        let left = matches!(parts.store.has_work(&refused).await, Ok(true));
        parts.stop().await;
        if !left || stop.is_cancelled() {
            return Ok(());
        }
    }
}

impl Parts {
    async fn open(config: &Config) -> anyhow::Result<Parts> {
        let Config { database, workspace, synchronous, .. } = config;
        let store = Store::open_with(database, workspace, *synchronous).await?;
        Parts::with(config, store.with_direct(&config.database_direct_url)).await
    }

    async fn with(config: &Config, store: Store) -> anyhow::Result<Parts> {
        metrics::start();
        let tool_servers = tool_servers::configured(config, &store).await?;
        Ok(Parts {
            store,
            tool_servers,
            secrets: Secrets::new(config),
            keyring: Keyring::new(config),
            revisions: Revisions::default(),
            bell: Bell::default(),
            config: Arc::new(config.clone()),
            stop: CancellationToken::new(),
            workers: Arc::default(),
            carriers: Arc::default(),
        })
    }

    /// Where the detached worker of this configuration is found.
    fn place(&self) -> Place {
        let credentials = tool_servers::credentials(&self.config);
        Place::of(&self.config, &self.tool_servers.identities(), &credentials)
    }

    /// What could not be served, in the end.
    async fn work_until_idle(&self, post: Post) -> Vec<String> {
        self.carry_rings();
        let idle = Duration::from_millis(self.config.worker.idle_ms);
        let (worker, _letter_box) = self.worker(None);
        tokio::select! {
            refused = worker.run(Some(idle)) => refused,
            never = post.serve(&self.bell) => match never {},
        }
    }

    fn app(&self, driver: Driver) -> App {
        let (store, tool_servers) = (self.store.clone(), self.tool_servers.clone());
        App::new(
            &self.config,
            store,
            tool_servers,
            self.revisions.clone(),
            self.bell.clone(),
            driver,
        )
    }

    fn worker(&self, own: Option<Own>) -> (Worker, LetterBox) {
        let outgoing =
            Outgoing::new(self.tool_servers.clone(), self.secrets.clone(), self.keyring.clone());
        Worker::new(
            self.store.clone(),
            outgoing,
            self.revisions.clone(),
            self.bell.clone(),
            self.config.worker.clone(),
            self.stop.clone(),
            own,
        )
    }

    fn start_worker(&self, own: Option<Own>) -> LetterBox {
        let (worker, letter_box) = self.worker(own);
        keep(&self.workers, tokio::spawn(async move { drop(worker.run(None).await) }));
        letter_box
    }

    fn detached(&self) -> Driver {
        let parts = self.clone();
        Driver::Detached {
            link: Link::new(self.place(), &self.config, self.bell.clone()),
            fallback: Arc::new(move || parts.start_worker(None)),
            instead: Arc::new(OnceLock::new()),
        }
    }

    /// What an earlier process, or a worker that was killed, left undone gets a worker for as long as somebody is
    /// there to start one.
    fn take_up_what_is_left(&self, app: App) {
        let store = self.store.clone();
        let task = async move {
            loop {
                if matches!(store.has_work(&[]).await, Ok(true)) {
                    app.ensure_worker().await;
                }
                tokio::time::sleep(SEE_AFTER).await;
            }
        };
        keep(&self.carriers, tokio::spawn(task));
    }

    /// On Postgres, other processes hear what moves here, and this one what moves there.
    fn carry_rings(&self) {
        if !self.config.is_postgres() {
            return;
        }
        let (parts, echoes) = (self.clone(), Arc::new(Echoes::default()));
        let (told, heard) = (Arc::clone(&echoes), echoes);
        keep(&self.carriers, tokio::spawn(async move { parts.tell(&told).await }));
        let parts = self.clone();
        keep(&self.carriers, tokio::spawn(async move { parts.hear(&heard).await }));
    }

    async fn tell(&self, echoes: &Echoes) {
        let mut own = self.bell.own();
        loop {
            let mut rings = match own.recv().await {
                Ok(ring) => BTreeSet::from([ring]),
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            tokio::time::sleep(COALESCE).await;
            while let Ok(ring) = own.try_recv() {
                rings.insert(ring);
            }
            let rings: Vec<_> = rings.into_iter().collect();
            echoes.expect(&rings);
            if let Err(err) = self.store.notify(&rings).await {
                tracing::debug!("other processes were not told: {err}");
            }
            tokio::time::sleep(REST).await;
        }
    }

    async fn hear(&self, echoes: &Echoes) {
        loop {
            match self.store.listen().await {
                Ok(Some(mut notifications)) => {
                    echoes.forget();
                    while let Ok(ring) = notifications.next().await {
                        if !echoes.take(&ring) {
                            self.bell.heard(ring);
                        }
                    }
                }
                Ok(None) => return,
                Err(err) => tracing::debug!("notifications are not heard, the poll remains: {err}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn stop(&self) {
        self.stop.cancel();
        for mut worker in take(&self.workers) {
            // It keeps a bound of its own; this one is for a worker that hangs.
            if tokio::time::timeout(STOP, &mut worker).await.is_err() {
                worker.abort();
            }
        }
        for carrier in take(&self.carriers) {
            carrier.abort();
        }
        self.tool_servers.shutdown().await;
        trace::flush().await;
        // What is not closed in time ends with the process.
        _ = tokio::time::timeout(CLOSE, self.store.close()).await;
    }
}

/// The rings that this process told others and has not heard back: Postgres tells them to whoever listens, also to the
/// one who rang. Who heard them at once is not to be woken again.
#[derive(Default)]
struct Echoes(Mutex<HashMap<Ring, u32>>);

impl Echoes {
    fn expect(&self, rings: &[Ring]) {
        let mut expected = self.lock();
        // Nobody listens: what was told long ago is heard no more.
        if ECHOES < expected.len() {
            expected.clear();
        }
        for ring in rings {
            *expected.entry(ring.clone()).or_default() += 1;
        }
    }

    /// Whether it is one of our own.
    fn take(&self, ring: &Ring) -> bool {
        let mut expected = self.lock();
        let Some(count) = expected.get_mut(ring) else { return false };
        *count -= 1;
        if *count == 0 {
            expected.remove(ring);
        }
        true
    }

    fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ring, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(tasks: &Tasks, task: JoinHandle<()>) {
    tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
}

fn take(tasks: &Tasks) -> Vec<JoinHandle<()>> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_passed_by_as_often_as_it_was_told() {
        let (echoes, ring) = (Echoes::default(), Ring::Due("exec_1".into()));
        echoes.expect(&[ring.clone(), Ring::Moved("exec_1".into())]);
        assert!(echoes.take(&ring));
        assert!(!echoes.take(&ring), "the second is somebody else's");
        echoes.forget();
        assert!(!echoes.take(&Ring::Moved("exec_1".into())));
    }
}
