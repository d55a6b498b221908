//! Workers whose locks vanish, and sessions that replicas share.

use windlass::store::{Missing, Presence, SessionRow};

use super::*;

/// A worker that shows its lock; `None` on SQLite.
async fn appear(store: &Store, worker: &str) -> Option<Presence> {
    let mut presence = store.presence(worker).await.unwrap()?;
    presence.appear().await.unwrap();
    Some(presence)
}

on_both! {
    async fn the_leases_of_a_worker_whose_lock_is_missing_can_be_ended(database) {
        let (store, other) = (database.open().await, database.open().await);
        let Some(mut watcher) = appear(&other, "worker_2").await else {
            assert!(!database.is_postgres(), "only SQLite knows no locks");
            return;
        };
        let mut worker = appear(&store, "worker_1").await.unwrap();
        create_due(&store, "exec_1").await;
        assert!(watcher.look().await.unwrap().due);
        claim(&store, "worker_1").await;
        let seen = watcher.look().await.unwrap();
        assert!(!seen.due && seen.missing.is_empty(), "{seen:?}");
        worker.confirm().await.unwrap();
        drop(worker);
        let missing = loop {
            let mut seen = watcher.look().await.unwrap();
            if let Some(missing) = seen.missing.pop() {
                break missing;
            }
        };
        assert_eq!(missing.worker, "worker_1");
        assert!(nothing_is_due(&other).await, "its lease holds still");
        assert_eq!(other.take_over(&missing).await.unwrap(), 1);
        assert_eq!(other.take_over(&missing).await.unwrap(), 0, "once");
        assert!(watcher.look().await.unwrap().due);
        claim(&other, "worker_2").await;
    }

    async fn a_worker_that_came_back_or_is_not_watched_loses_nothing(database) {
        let store = database.open().await;
        let Some(worker) = appear(&store, "worker_1").await else { return };
        let key = database.number("SELECT lock_key FROM workers").await;
        let missing = |key| Missing { worker: "worker_1".into(), key };
        create_due(&store, "exec_1").await;
        let held = claim(&store, "worker_1").await;
        assert_eq!(store.take_over(&missing(key)).await.unwrap(), 0, "its lock is there");
        drop(worker);
        let mut again = appear(&store, "worker_1").await.unwrap();
        assert_eq!(store.take_over(&missing(key)).await.unwrap(), 0, "it has another lock by now");
        assert!(again.look().await.unwrap().missing.is_empty());
        store.withdraw("worker_1").await.unwrap();
        again.look().await.unwrap_err();
        drop(again);
        let key = database.number("SELECT COUNT(*) FROM workers WHERE lock_key IS NULL").await;
        assert_eq!(key, 1);
        let renewed = store.renew("worker_1", &["exec_1".to_owned()]).await.unwrap();
        assert!(held.is_epoch(renewed["exec_1"].0));
    }

    async fn sessions_are_kept_for_whoever_began_them_until_they_fall_silent(database) {
        let (store, away) = (database.open().await, database.open_as("away").await);
        let row = |id: &str| SessionRow { id: id.into(), principal: "p".into(), client: "{}".into() };
        for id in ["s1", "s2", "s3"] {
            store.keep_session(&row(id), 60_000).await.unwrap();
        }
        assert_eq!(store.session("s1", "p").await.unwrap(), Some(row("s1")));
        assert_eq!(store.session("s1", "q").await.unwrap(), None);
        assert_eq!(away.session("s1", "p").await.unwrap(), None);
        store.end_session("s3").await.unwrap();
        database.write("UPDATE sessions SET expires_at = expires_at - 59000").await;
        let kept = store.sessions_seen(&["s1".to_owned(), "s3".to_owned()], 60_000).await.unwrap();
        assert_eq!(kept, ["s1"], "what was ended is kept no more");
        database.write("UPDATE sessions SET expires_at = expires_at - 30000").await;
        assert_eq!(store.session("s2", "p").await.unwrap(), None, "silent for too long");
        assert!(store.session("s1", "p").await.unwrap().is_some());
        store.sessions_seen(&[], 60_000).await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM sessions").await, 1);
    }
}
