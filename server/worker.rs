//! Moves executions forward: claim, decide, commit, act, and again.

mod drive;
mod hear;
mod leases;
mod looks;
mod outgoing;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use windlass_engine::{MAX_VALUE_DEPTH, StepError};

pub use self::outgoing::Outgoing;
use self::{drive::Drive, leases::Leases};
use crate::{
    bell::Bell,
    clock::Moment,
    config::WorkerSettings,
    driver::{HandOver, LetterBox, Own},
    pins::Pins,
    revisions::Revisions,
    store::{self, Claim, Store},
    tool_servers::ToolServers,
};

/// How often due rows are looked for when nobody rings.
const POLL: Duration = Duration::from_secs(1);

/// How long a worker that is told to stop waits for calls that are out.
const DRAIN: Duration = Duration::from_secs(8);

/// How long a worker that is told to stop waits for executions that are just being handed to it.
const LAST_LETTERS: Duration = Duration::from_secs(2);

/// How long a row is left alone after this worker found that it cannot drive it, in milliseconds.
const SET_ASIDE_MS: i64 = 30_000;

/// The loop that drives executions.
pub struct Worker {
    shared: Arc<Shared>,
    letters: mpsc::Receiver<HandOver>,
}

/// What every execution that is driven here has in common.
struct Shared {
    /// Made afresh at every start: two live processes never own one lease.
    id: Arc<str>,
    store: Store,
    tool_servers: ToolServers,
    outgoing: Outgoing,
    revisions: Revisions,
    pins: Pins,
    bell: Bell,
    settings: WorkerSettings,
    leases: Leases,
    stop: CancellationToken,
    /// When parked executions want to be looked at again.
    wakes: Mutex<BTreeSet<i64>>,
    /// `tool_servers` texts that this worker cannot serve.
    refused: Mutex<Vec<String>>,
    /// Whether it may take on more; those who hand over look at it.
    room: Arc<AtomicBool>,
    /// Where it drives only some executions: their ids.
    own: Option<Own>,
}

impl Worker {
    /// A worker that is ready to run, and its letter box. With `own` it drives nothing but those executions.
    #[must_use]
    pub fn new(
        store: Store,
        outgoing: Outgoing,
        revisions: Revisions,
        bell: Bell,
        settings: WorkerSettings,
        stop: CancellationToken,
        own: Option<Own>,
    ) -> (Worker, LetterBox) {
        let id: Arc<str> = format!("worker_{:032x}", rand::random::<u128>()).into();
        let (sender, letters) = mpsc::channel(settings.max_executions.max(1));
        let shared = Shared {
            id: Arc::clone(&id),
            leases: Leases::new(store.clone(), Arc::clone(&id)),
            pins: Pins::new(store.clone()),
            store,
            tool_servers: outgoing.tool_servers().clone(),
            outgoing,
            revisions,
            bell,
            settings,
            stop,
            wakes: Mutex::default(),
            refused: Mutex::default(),
            room: Arc::new(AtomicBool::new(true)),
            own,
        };
        let (room, own) = (Arc::clone(&shared.room), shared.own.clone());
        let letter_box = LetterBox { worker: id, letters: sender, room, own };
        (Worker { shared: Arc::new(shared), letters }, letter_box)
    }

    /// Drives executions until it is told to stop, or, with `idle`, until it has had nothing to do for so long.
    ///
    /// Says in the end what it could not serve: the `tool_servers` texts of those executions.
    pub async fn run(mut self, idle: Option<Duration>) -> Vec<String> {
        let renewing = self.shared.leases.keep_renewed();
        let mut rings = self.shared.bell.listen();
        let mut driving = JoinSet::new();
        let mut busy_at = Instant::now();
        // What ends, or is handed over, makes nothing due.
        let mut look = true;
        let (mut looked_at, mut look_again) = (0, Instant::now());
        while !self.shared.stop.is_cancelled() {
            let room = driving.len() < self.shared.settings.max_executions;
            self.shared.room.store(room, Ordering::Relaxed);
            let mut found = false;
            if look {
                (looked_at, look_again) = (self.shared.store.now(), Instant::now() + POLL);
                found = room && self.claim_due(&mut driving).await;
            }
            if found || !driving.is_empty() {
                busy_at = Instant::now();
            }
            if let Some(idle) = idle
                && driving.is_empty()
                && idle <= busy_at.elapsed()
                && self.has_nothing_to_come().await
            {
                break;
            }
            let patience = Instant::now() + self.patience(looked_at);
            look = true;
            tokio::select! {
                // Also without room: its lease has begun, and is renewed only by a drive.
                Some(letter) = self.letters.recv() => {
                    busy_at = Instant::now();
                    driving.spawn(Drive::from_hand_over(&self.shared, letter).run());
                    look = false;
                }
                _ = rings.recv() => {}
                Some(ended) = driving.join_next() => {
                    report(ended);
                    look = !room;
                }
                () = tokio::time::sleep_until(patience.min(look_again)) => {}
                () = self.shared.stop.cancelled() => {}
            }
        }
        // Their first calls are written as begun: to leave them now would make them uncertain.
        self.letters.close();
        let deadline = Instant::now() + LAST_LETTERS;
        while let Ok(Some(letter)) = tokio::time::timeout_at(deadline, self.letters.recv()).await {
            driving.spawn(Drive::from_hand_over(&self.shared, letter).run());
        }
        drain(driving).await;
        renewing.abort();
        self.shared.leases.give_up().await;
        lock(&self.shared.refused).clone()
    }

    /// Claims what is due, one after the other, until there is no more; whether there was any.
    async fn claim_due(&self, driving: &mut JoinSet<()>) -> bool {
        let mut found = false;
        while driving.len() < self.shared.settings.max_executions {
            let claimed_at = Moment::now();
            match self.claim().await {
                Ok(Some(claim)) => {
                    found = true;
                    let shared = Arc::clone(&self.shared);
                    let held = shared.leases.begin(&claim.execution_id);
                    driving.spawn(drive::claimed(shared, claim, claimed_at, held));
                }
                Ok(None) => break,
                Err(err) => {
                    tracing::warn!("due executions cannot be looked for: {err}");
                    tokio::time::sleep(POLL).await;
                    break;
                }
            }
        }
        found
    }

    async fn claim(&self) -> Result<Option<Claim>, store::Error> {
        let Shared { store, id, own, refused, leases, .. } = &*self.shared;
        let Some(own) = own else {
            let refused = lock(refused).clone();
            return store.claim(id, &refused).await;
        };
        let own: Vec<String> = lock(own).iter().filter(|id| !leases.holds(id)).cloned().collect();
        store.claim_among(id, &own).await
    }

    /// How long to sleep when nobody rings: until the next timer that this worker knows of, at most a poll.
    ///
    /// What was to wake before `looked_at` was looked for since, and is not waited for again.
    fn patience(&self, looked_at: i64) -> Duration {
        let mut wakes = lock(&self.shared.wakes);
        while wakes.first().is_some_and(|at| *at <= looked_at) {
            wakes.pop_first();
        }
        let next = wakes.first().map_or(i64::MAX, |at| at - self.shared.store.now());
        Duration::from_millis(u64::try_from(next).unwrap_or_default().max(1)).min(POLL)
    }

    async fn has_nothing_to_come(&self) -> bool {
        let refused = lock(&self.shared.refused).clone();
        matches!(self.shared.store.has_work(&refused).await, Ok(false))
    }
}

impl Shared {
    /// Remembers when a parked execution wants to be looked at.
    fn wake(&self, at: Option<i64>) {
        lock(&self.wakes).extend(at);
    }

    /// Where it drives only some executions, drives these too.
    fn adopt<'i>(&self, ids: impl Iterator<Item = &'i str>) {
        if let Some(own) = &self.own {
            lock(own).extend(ids.map(str::to_owned));
        }
    }

    /// Looks no more for an execution that has ended.
    fn dismiss(&self, execution_id: &str) {
        if let Some(own) = &self.own {
            lock(own).remove(execution_id);
        }
    }

    /// Leaves an execution, and all with the same tool servers, to other workers.
    fn refuse(&self, execution_id: &str, tool_servers: &str) {
        let mut refused = lock(&self.refused);
        if !refused.iter().any(|known| known == tool_servers) {
            refused.push(tool_servers.to_owned());
        }
        self.dismiss(execution_id);
    }

    /// Whether this worker has every tool server the execution was started with, configured the same.
    fn serves(&self, tool_servers: &str) -> bool {
        self.tool_servers.changed_since(tool_servers).is_some_and(|changed| changed.is_empty())
    }
}

/// A result that cannot be kept.
fn too_deep() -> StepError {
    let message = format!(
        "it did its work, but its result is nested more than {MAX_VALUE_DEPTH} levels deep and cannot be kept"
    );
    StepError::permanent("result_too_deep", message)
}

async fn drain(mut driving: JoinSet<()>) {
    let all = async {
        while let Some(ended) = driving.join_next().await {
            report(ended);
        }
    };
    // A little longer than the drives themselves take to give up.
    _ = tokio::time::timeout(DRAIN + Duration::from_secs(2), all).await;
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended
        && err.is_panic()
    {
        tracing::error!(
            "driving an execution panicked; it is taken up again when its lease has run out"
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
