//! Keeps the leases of one worker alive, and tells their holders when they are not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{clock::Moment, fault, store::Store};

/// How often leases are renewed; they hold three times as long.
const EVERY: Duration = Duration::from_secs(5);

/// How soon a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many renewals may be under way: more than a lease lasts would tell nothing.
const AT_ONCE: usize = 3;

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
            // One that hangs, with a connection whose other end is gone, keeps the next one from nothing.
            let (mut renewing, mut saying) = (JoinSet::new(), JoinSet::new());
            loop {
                ticks.tick().await;
                while renewing.try_join_next().is_some() || saying.try_join_next().is_some() {}
                if renewing.len() < AT_ONCE {
                    let (store, worker) = (store.clone(), Arc::clone(&worker));
                    let (holders, news) = (Arc::clone(&holders), news.clone());
                    renewing.spawn(async move { renew(&store, &worker, &holders, &news).await });
                }
                if saying.is_empty() {
                    let (store, worker) = (store.clone(), Arc::clone(&worker));
                    saying.spawn(async move { say_it_lives(&store, &worker).await });
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

/// Renews all leases; asks again for as long as the next renewal is not due.
async fn renew(store: &Store, worker: &str, holders: &Holders, news: &watch::Sender<Renewal>) {
    let began = Moment::now();
    loop {
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
            Ok(held) => return tell(news, Renewal { sent, held: Arc::new(held) }),
            Err(err) => tracing::warn!("leases could not be renewed: {err}"),
        }
        if EVERY <= began.elapsed() + AGAIN {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// An answer that was overtaken is no news.
fn tell(news: &watch::Sender<Renewal>, renewal: Renewal) {
    news.send_if_modified(|last| {
        let is_newer = last.sent <= renewal.sent;
        if is_newer {
            *last = renewal;
        }
        is_newer
    });
}

async fn say_it_lives(store: &Store, worker: &str) {
    if let Err(err) = store.measure_clock().await.and(store.worker_seen(worker).await) {
        tracing::warn!("the database does not hear that this worker lives: {err}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_was_overtaken_is_no_news() {
        let of = |number: i64| Renewal {
            sent: Moment::now(),
            held: Arc::new(HashMap::from([("exec_1".to_owned(), (number, 0))])),
        };
        let first = of(1);
        std::thread::sleep(Duration::from_millis(5));
        let news = watch::Sender::new(of(2));
        let mut heard = news.subscribe();
        tell(&news, first);
        assert!(!heard.has_changed().unwrap());
        std::thread::sleep(Duration::from_millis(5));
        tell(&news, of(3));
        assert_eq!(heard.borrow_and_update().held["exec_1"].0, 3);
    }
}
