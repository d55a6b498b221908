//! Keeps the leases of one worker alive, and tells their holders when they are not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{clock::Moment, fault, store::Store};

/// How often leases are renewed; they hold three times as long.
const EVERY: Duration = Duration::from_secs(5);

/// A holder starts no call when its lease was last known to hold so long ago.
pub(super) const FRESH: Duration = Duration::from_secs(12);

/// How many drives of this worker hold each execution. More than one only after a stall: the lease ran out, this
/// worker claimed it again, and the earlier drive has yet to notice.
type Holders = Arc<Mutex<HashMap<String, usize>>>;

/// The leases of one worker.
pub(super) struct Leases {
    store: Store,
    worker: Arc<str>,
    holders: Holders,
    news: watch::Sender<Renewal>,
}

/// One drive's part in a lease: it is renewed until this is dropped, also when the drive panics.
pub(super) struct Held {
    holders: Holders,
    execution_id: String,
}

/// What the last renewal found.
#[derive(Clone, Debug)]
pub(super) struct Renewal {
    /// From before it was sent: an answer that took long makes no lease longer.
    pub(super) sent: Moment,
    /// Per execution the epoch and the number of its newest signal.
    pub(super) held: Arc<HashMap<String, (i64, i64)>>,
}

impl Leases {
    pub(super) fn new(store: Store, worker: Arc<str>) -> Leases {
        let renewal = Renewal { sent: Moment::now(), held: Arc::default() };
        Leases { store, worker, holders: Arc::default(), news: watch::Sender::new(renewal) }
    }

    /// An execution is driven here from now on.
    pub(super) fn begin(&self, execution_id: &str) -> Held {
        *lock(&self.holders).entry(execution_id.to_owned()).or_default() += 1;
        Held { holders: Arc::clone(&self.holders), execution_id: execution_id.to_owned() }
    }

    /// Whether an execution is driven here.
    pub(super) fn holds(&self, execution_id: &str) -> bool {
        lock(&self.holders).contains_key(execution_id)
    }

    pub(super) fn listen(&self) -> watch::Receiver<Renewal> {
        self.news.subscribe()
    }

    /// Renews every few seconds; the task ends when it is aborted.
    pub(super) fn keep_renewed(&self) -> JoinHandle<()> {
        let (store, worker) = (self.store.clone(), Arc::clone(&self.worker));
        let (holders, news) = (Arc::clone(&self.holders), self.news.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // Leases first: what follows may take its time.
                renew(&store, &worker, &holders, &news).await;
                if let Err(err) = store.measure_clock().await.and(store.worker_seen(&worker).await)
                {
                    tracing::warn!("the database does not hear that this worker lives: {err}");
                }
            }
        })
    }

    /// Gives back every lease and says that the worker is gone.
    pub(super) async fn give_up(&self) {
        if let Err(err) = self.store.worker_gone(&self.worker).await {
            tracing::debug!("the worker's row stays until it is old: {err}");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = lock(&self.holders);
        if let Some(count) = holders.get_mut(&self.execution_id) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.execution_id);
            }
        }
    }
}

fn lock(holders: &Holders) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn renew(store: &Store, worker: &str, holders: &Holders, news: &watch::Sender<Renewal>) {
    // Before the list is made: a lease that begins after it is not expected in the answer.
    let sent = Moment::now();
    let ids: Vec<String> = lock(holders).keys().cloned().collect();
    if ids.is_empty() {
        return;
    }
    fault::point("before_renew");
    let renewed = store.renew(worker, &ids).await;
    fault::point("after_renew");
    match renewed {
        Ok(held) => _ = news.send_replace(Renewal { sent, held: Arc::new(held) }),
        Err(err) => tracing::warn!("leases could not be renewed: {err}"),
    }
}
