//! Shows others that this worker lives, and sees when they do not any more.
//!
//! On Postgres each worker holds a lock on a connection of its own. Who sees that lock missing twice, [`TAKE_AFTER`]
//! apart, ends the leases of its owner. So a worker that does not know for sure that its lock holds lets no call out:
//! what it knows must not be older than [`KNOWN`], which is less. On SQLite, and where no such connection is to be
//! had, nobody looks for a lock, and the leases alone count.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    clock::Moment,
    store::{Missing, Presence as Session, Seen, Store},
};

/// How often a worker looks around: whose lock is missing, and whether anything is due.
const EVERY: Duration = Duration::from_secs(1);

/// How long after a lock was first seen missing its owner's leases are ended.
const TAKE_AFTER: Duration = Duration::from_millis(900);

/// How long a worker may rely on having known that its lock holds.
const KNOWN: Duration = Duration::from_millis(500);

/// What is known for so long is made sure of again, before a call has to wait for it.
const SOON_UNKNOWN: Duration = Duration::from_millis(250);

/// How long a call waits for a lock that was lost, before it counts as not made.
const RETURN: Duration = Duration::from_secs(5);

/// Where looking around takes longer than this, the worker looks for due rows by itself.
const BLIND: Duration = Duration::from_secs(3);

/// How long after a connection that could not be made another one is tried.
const AGAIN: Duration = Duration::from_secs(2);

/// How often a database that does not answer is asked again whether leases alone count.
const WITHDRAW_AGAIN: Duration = Duration::from_millis(250);

/// Who had to connect anew does not judge others for so long: what cut it off may have cut them off too.
const GRACE: Duration = Duration::from_secs(5);

/// A lock that is lost sooner than this, for so many times in a row, is not to be had here: something in between
/// changes our connections. It is then left for a while.
const SHORT: Duration = Duration::from_secs(5);
const SHORT_ONES: u32 = 3;
const LEFT_FOR: Duration = Duration::from_secs(60);

/// What a worker knows of its own lock.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Nobody looks for one; leases that were renewed since then count.
    Unwatched { since: Option<Moment> },
    /// It was held when this was last made sure of; leases that were renewed since it was taken count.
    Held { since: Option<Moment>, known: Moment },
    /// It is gone, or may be.
    Lost,
}

/// One worker's presence; cheap to clone.
#[derive(Clone)]
pub(super) struct Presence {
    shared: Arc<Inner>,
}

struct Inner {
    store: Store,
    worker: Arc<str>,
    standing: watch::Sender<Standing>,
    /// Somebody wants to be sure that the lock holds.
    wanted: Notify,
    /// An execution is due that nobody drives.
    due: Notify,
}

impl Presence {
    pub(super) fn new(store: Store, worker: Arc<str>) -> Presence {
        let standing = watch::Sender::new(Standing::Unwatched { since: None });
        let (wanted, due) = (Notify::new(), Notify::new());
        Presence { shared: Arc::new(Inner { store, worker, standing, wanted, due }) }
    }

    /// Holds a lock and looks around; the task ends when it is aborted, and where there are no locks.
    pub(super) fn keep(&self) -> JoinHandle<()> {
        let inner = Arc::clone(&self.shared);
        tokio::spawn(async move { inner.keep().await })
    }

    /// Waits until something is due.
    pub(super) async fn due(&self) {
        self.shared.due.notified().await;
    }

    /// Whether looking for due rows is done here, so that the worker need not.
    pub(super) fn looks(&self) -> bool {
        matches!(*self.shared.standing.borrow(), Standing::Held { known, .. } if known.elapsed() < BLIND)
    }

    /// Whether a lease that was last renewed then may have been ended by somebody who saw no lock; it has to be
    /// renewed to know.
    pub(super) fn may_have_ended(&self, renewed: Moment) -> bool {
        match *self.shared.standing.borrow() {
            Standing::Unwatched { since } | Standing::Held { since, .. } => {
                since.is_some_and(|since| renewed < since)
            }
            Standing::Lost => true,
        }
    }

    /// Waits, within a bound, while the lock is lost.
    pub(super) async fn regained(&self) {
        let mut standing = self.shared.standing.subscribe();
        let regained = standing.wait_for(|standing| !matches!(standing, Standing::Lost));
        _ = tokio::time::timeout(RETURN, regained).await;
    }

    /// Whether nobody can have taken over for want of a lock; asked at the last moment before a call goes out.
    pub(super) async fn is_known(&self) -> bool {
        let mut standing = self.shared.standing.subscribe();
        let deadline = Instant::now() + RETURN;
        loop {
            match *standing.borrow_and_update() {
                Standing::Unwatched { .. } => return true,
                Standing::Held { known, .. } if known.elapsed() < KNOWN => {
                    if SOON_UNKNOWN <= known.elapsed() {
                        self.shared.wanted.notify_one();
                    }
                    return true;
                }
                Standing::Held { .. } => self.shared.wanted.notify_one(),
                Standing::Lost => {}
            }
            if tokio::time::timeout_at(deadline, standing.changed()).await.is_err() {
                return false;
            }
        }
    }
}

impl Inner {
    async fn keep(self: &Arc<Self>) {
        let mut short_ones = 0;
        loop {
            let wait = match self.store.presence(&self.worker).await {
                Ok(None) => return,
                Ok(Some(session)) => {
                    let began = Instant::now();
                    self.hold(session).await;
                    short_ones = if began.elapsed() < SHORT { short_ones + 1 } else { 0 };
                    // A first loss is often the only one: the next connection is tried at once.
                    if short_ones < SHORT_ONES {
                        continue;
                    }
                    tracing::info!(
                        "the lock that shows this worker's life is lost again and again; where a transaction pooler \
                         stands before Postgres, set `database_direct_url`"
                    );
                    short_ones = 0;
                    LEFT_FOR
                }
                Err(err) => {
                    tracing::debug!("no lock shows that this worker lives, its leases do: {err}");
                    AGAIN
                }
            };
            self.withdraw().await;
            tokio::time::sleep(wait).await;
        }
    }

    /// Leases alone count from here on; until the database has heard of it, no call goes out.
    async fn withdraw(&self) {
        while !matches!(*self.standing.borrow(), Standing::Unwatched { .. }) {
            if self.store.withdraw(&self.worker).await.is_ok() {
                self.standing.send_replace(Standing::Unwatched { since: Some(Moment::now()) });
                return;
            }
            tokio::time::sleep(WITHDRAW_AGAIN).await;
        }
    }

    /// Looks around for as long as the lock holds.
    async fn hold(self: &Arc<Self>, mut session: Session) {
        let (was_lost, unwatched) = match *self.standing.borrow() {
            Standing::Unwatched { since } => (false, since),
            Standing::Held { .. } | Standing::Lost => (true, None),
        };
        let shown = session.appear().await;
        // Its row names the lock by now: whatever somebody took over before that is seen by a renewal after this.
        let since = if was_lost { Some(Moment::now()) } else { unwatched };
        let mut watch = Watch::after(if was_lost { GRACE } else { Duration::ZERO });
        if let Err(err) = shown {
            tracing::debug!("nobody may know of this worker's lock: {err}");
            // Or somebody does, and finds it gone.
            self.standing.send_replace(Standing::Lost);
            return;
        }
        let mut next = Instant::now();
        while let Some(known) = self.stay(&mut session, &mut watch, &mut next).await {
            self.standing.send_replace(Standing::Held { since, known });
        }
        self.standing.send_replace(Standing::Lost);
    }

    /// Waits for the next thing to do; when the lock was last known to hold, or `None` when it is lost.
    async fn stay(
        self: &Arc<Self>,
        session: &mut Session,
        watch: &mut Watch,
        next: &mut Instant,
    ) -> Option<Moment> {
        let is_time = tokio::select! {
            () = session.lost() => return None,
            () = self.wanted.notified() => false,
            () = tokio::time::sleep_until(*next) => true,
        };
        // From before it is asked: an answer that took long makes nothing known for longer.
        let asked = Moment::now();
        let answer = match is_time {
            false => session.confirm().await,
            true => session.look().await.map(|seen| {
                *next = Instant::now() + self.note(seen, watch);
            }),
        };
        answer.inspect_err(|err| tracing::debug!("this worker's lock is lost: {err}")).ok()?;
        Some(asked)
    }

    /// Acts on what was seen; when to look again.
    fn note(self: &Arc<Self>, seen: Seen, watch: &mut Watch) -> Duration {
        if seen.due {
            self.due.notify_one();
        }
        for missing in watch.judge(seen.missing, Moment::now()) {
            // Beside everything else: a row may be locked for a while.
            tokio::spawn(Arc::clone(self).take_over(missing));
        }
        if watch.since.is_empty() { EVERY } else { TAKE_AFTER }
    }

    async fn take_over(self: Arc<Self>, missing: Missing) {
        match self.store.take_over(&missing).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!("{count} executions of a worker that is gone are due again");
                self.due.notify_one();
            }
            Err(err) => {
                tracing::debug!("the leases of a worker that is gone run out by themselves: {err}");
            }
        }
    }
}

/// Since when which locks were seen to be missing, every time.
struct Watch {
    since: BTreeMap<Missing, Moment>,
    /// What is missing before counts from here.
    not_before: Moment,
}

impl Watch {
    fn after(grace: Duration) -> Watch {
        Watch { since: BTreeMap::new(), not_before: Moment::now().plus(grace) }
    }

    /// The owners of those that have been missing for long enough.
    fn judge(&mut self, missing: Vec<Missing>, seen_at: Moment) -> Vec<Missing> {
        let known = std::mem::take(&mut self.since);
        let mut gone = Vec::new();
        for lock in missing {
            let since = known.get(&lock).copied().unwrap_or(seen_at);
            let since = if since < self.not_before { self.not_before } else { since };
            if TAKE_AFTER <= seen_at.since(since) {
                gone.push(lock.clone());
            }
            self.since.insert(lock, since);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(worker: &str, key: i64) -> Missing {
        Missing { worker: worker.to_owned(), key }
    }

    #[test]
    fn a_lock_has_to_be_missing_twice_and_all_the_time_between() {
        let mut watch = Watch::after(Duration::ZERO);
        let began = Moment::now();
        let at = |ms: u64| began.plus(Duration::from_millis(ms));
        let lost = missing("worker_a", 1);
        assert!(watch.judge(vec![lost.clone()], at(0)).is_empty());
        assert!(watch.judge(vec![lost.clone()], at(899)).is_empty(), "too soon");
        assert_eq!(watch.judge(vec![lost.clone()], at(900)), std::slice::from_ref(&lost));
        assert!(watch.judge(Vec::new(), at(1_000)).is_empty());
        assert!(watch.judge(vec![lost], at(2_000)).is_empty(), "it was there in between");
        assert!(watch.judge(vec![missing("worker_a", 2)], at(3_000)).is_empty(), "another lock");
    }

    #[test]
    fn whoever_was_cut_off_itself_judges_nobody_for_a_while() {
        let mut watch = Watch::after(GRACE);
        let began = Moment::now();
        let at = |ms: u64| began.plus(Duration::from_millis(ms));
        let lost = missing("worker_a", 1);
        for ms in [0, 1_000, 5_800] {
            assert!(watch.judge(vec![lost.clone()], at(ms)).is_empty(), "{ms}");
        }
        assert_eq!(watch.judge(vec![lost.clone()], at(6_000)), [lost]);
    }

    #[test]
    fn who_looks_around_takes_over_within_two_seconds() {
        // Seen missing at the next look, and again when it may be judged.
        assert!(EVERY + TAKE_AFTER <= Duration::from_secs(2));
    }

    #[test]
    fn a_worker_stops_sending_well_before_others_take_over() {
        assert!(KNOWN + Duration::from_millis(300) <= TAKE_AFTER);
        assert!(SOON_UNKNOWN < KNOWN);
    }
}
