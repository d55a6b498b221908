//! Moves executions forward: claim, decide, commit, act, and again.

mod drive;
mod hear;
mod leases;
mod looks;
mod observed;
mod outgoing;
mod permits;
mod presence;

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use windlass_engine::{MAX_VALUE_DEPTH, StepError};

pub use self::outgoing::Outgoing;
use self::{drive::Drive, leases::Leases, presence::Presence};
use crate::{
    bell::Bell,
    clock::Moment,
    config::WorkerSettings,
    driver::{InHand, Letter, LetterBox, Own},
    fault,
    limits::TURNS,
    pins::Pins,
    revisions::Revisions,
    store::{self, Claim, Store},
    tool_servers::ToolServers,
};

/// How often due rows are looked for when nobody rings.
const POLL: Duration = Duration::from_secs(1);

/// How many due executions are claimed by one statement, at most.
const AT_ONCE: usize = 16;

/// How long a worker that is told to stop waits for calls that are out.
const DRAIN: Duration = Duration::from_secs(8);

/// How long a worker that is told to stop waits for executions that are just being handed to it.
const LAST_LETTERS: Duration = Duration::from_secs(2);

/// How long a row is left alone after this worker found that it cannot drive it, in milliseconds.
const SET_ASIDE_MS: i64 = 30_000;

/// The loop that drives executions.
pub struct Worker {
    shared: Arc<Shared>,
    letters: mpsc::Receiver<Letter>,
    /// How many executions were claimed so far.
    claimed: u64,
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
    presence: Presence,
    stop: CancellationToken,
    /// When parked executions want to be looked at again.
    wakes: Mutex<BTreeSet<i64>>,
    /// `tool_servers` texts that this worker cannot serve.
    refused: Mutex<Vec<String>>,
    /// As many places as executions are driven at once.
    places: Arc<Semaphore>,
    /// Whether executions wait for a place; those who hand over look at it.
    crowded: Arc<AtomicBool>,
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
        let places = settings.max_executions.clamp(1, Semaphore::MAX_PERMITS);
        let (sender, letters) = mpsc::channel(places);
        let shared = Shared {
            id: Arc::clone(&id),
            leases: Leases::new(store.clone(), Arc::clone(&id)),
            presence: Presence::new(store.clone(), Arc::clone(&id)),
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
            places: Arc::new(Semaphore::new(places)),
            crowded: Arc::default(),
            own,
        };
        let (places, crowded) = (Arc::clone(&shared.places), Arc::clone(&shared.crowded));
        let own = shared.own.clone();
        let in_hand = InHand::default();
        let letter_box = LetterBox { worker: id, letters: sender, places, crowded, own, in_hand };
        (Worker { shared: Arc::new(shared), letters, claimed: 0 }, letter_box)
    }

    /// Drives executions until it is told to stop, or, with `idle`, until it has had nothing to do for so long.
    ///
    /// Says in the end what it could not serve: the `tool_servers` texts of those executions.
    pub async fn run(mut self, idle: Option<Duration>) -> Vec<String> {
        let renewing = [self.shared.leases.keep_renewed(), self.shared.presence.keep()];
        let mut rings = self.shared.bell.listen();
        let mut driving = JoinSet::new();
        let mut busy_at = Instant::now();
        // Only what was rung, is timed, or has a place again is looked for: who starts in place asks nothing of others.
        let mut is_woken = true;
        let mut looked_at = self.shared.store.now();
        let mut looked = Instant::now();
        while !self.shared.stop.is_cancelled() {
            if is_woken {
                looked_at = self.shared.store.now();
                looked = Instant::now();
            }
            let found = is_woken && self.claim_due(&mut driving).await;
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
            // However many are handed over meanwhile: the poll keeps its time.
            let timer = self.patience(looked_at);
            let patience = timer.min(POLL.saturating_sub(looked.elapsed()));
            is_woken = tokio::select! {
                Some(letter) = self.letters.recv() => {
                    busy_at = Instant::now();
                    driving.spawn(taken_over(&self.shared, letter));
                    false
                }
                _ = rings.recv() => true,
                () = self.shared.presence.due() => true,
                Some(ended) = driving.join_next() => {
                    report(ended);
                    self.shared.crowded.load(Ordering::Relaxed)
                }
                () = tokio::time::sleep(patience) => {
                    // Where somebody looks around for us, a poll finds nothing that is not rung.
                    looked = Instant::now();
                    timer < POLL || !self.shared.presence.looks()
                }
                () = self.shared.stop.cancelled() => false,
            };
        }
        // Their first calls are written as begun: to leave them now would make them uncertain.
        self.letters.close();
        let deadline = Instant::now() + LAST_LETTERS;
        while let Ok(Some(letter)) = tokio::time::timeout_at(deadline, self.letters.recv()).await {
            driving.spawn(taken_over(&self.shared, letter));
        }
        drain(driving).await;
        renewing.iter().for_each(tokio::task::JoinHandle::abort);
        self.shared.leases.give_up().await;
        lock(&self.shared.refused).clone()
    }

    /// Claims what is due, some at once, until there is no more or no place for it, or this worker is to stop; whether there
    /// was any. However long that takes, what is handed over is taken in: its first calls are written as begun.
    async fn claim_due(&mut self, driving: &mut JoinSet<()>) -> bool {
        let mut found = false;
        while !self.shared.stop.is_cancelled() {
            while let Some(ended) = driving.try_join_next() {
                report(ended);
            }
            let places = self.take_places();
            if places.is_empty() {
                // Who is created now, waits with those that are due, and is claimed by its priority.
                self.shared.crowded.store(true, Ordering::Relaxed);
                return found;
            }
            let claimed_at = Moment::now();
            match self.claim_meanwhile(places.len(), driving).await {
                Ok(claims) if claims.is_empty() => {
                    self.shared.crowded.store(false, Ordering::Relaxed);
                    return found;
                }
                Ok(claims) => {
                    fault::point("after_claim");
                    found = true;
                    for (claim, place) in claims.into_iter().zip(places) {
                        let shared = Arc::clone(&self.shared);
                        let held = shared.leases.begin(&claim.execution_id);
                        driving.spawn(async move {
                            drive::claimed(shared, claim, claimed_at, held).await;
                            drop(place);
                        });
                    }
                }
                Err(err) => {
                    tracing::warn!("due executions cannot be looked for: {err}");
                    drop(places);
                    tokio::time::sleep(POLL).await;
                    return found;
                }
            }
        }
        found
    }

    /// Claims, and takes in what is handed over meanwhile.
    async fn claim_meanwhile(
        &mut self,
        most: usize,
        driving: &mut JoinSet<()>,
    ) -> Result<Vec<Claim>, store::Error> {
        let Worker { shared, letters, claimed } = self;
        let mut claiming = pin!(claim(shared, claimed, most));
        loop {
            tokio::select! {
                claims = &mut claiming => return claims,
                Some(letter) = letters.recv() => drop(driving.spawn(taken_over(shared, letter))),
            }
        }
    }

    /// Places for executions that are to be claimed at once; as many as there are, and no more than a few.
    fn take_places(&self) -> Vec<OwnedSemaphorePermit> {
        let take = || Arc::clone(&self.shared.places).try_acquire_owned().ok();
        std::iter::from_fn(take).take(AT_ONCE).collect()
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

/// Drives an execution that was handed over; its place is free when that has ended.
fn taken_over(shared: &Arc<Shared>, letter: Letter) -> impl Future<Output = ()> + use<> {
    let Letter { execution, place, kept } = letter;
    let drive = Drive::from_hand_over(shared, execution, kept);
    async move {
        drive.run().await;
        drop(place);
    }
}

/// Claims at most so many of those that are due; `claimed` counts them all.
async fn claim(
    shared: &Shared,
    claimed: &mut u64,
    most: usize,
) -> Result<Vec<Claim>, store::Error> {
    let Shared { store, id, own, refused, leases, .. } = shared;
    let Some(own) = own else {
        let refused = lock(refused).clone();
        let after = *claimed + most as u64;
        let longest = (after / TURNS - *claimed / TURNS) as usize;
        let claims = store.claim_some(id, &refused, most, longest).await?;
        *claimed += claims.len() as u64;
        return Ok(claims);
    };
    let own: Vec<String> = lock(own).iter().filter(|id| !leases.holds(id)).cloned().collect();
    Ok(store.claim_among(id, &own).await?.into_iter().collect())
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
