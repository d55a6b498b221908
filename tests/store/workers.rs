//! Who works on a database, and how they hear of each other.

use super::*;

on_both! {
    async fn a_worker_lives_until_it_is_gone_or_was_not_seen_for_long(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        assert!(!home.worker_lives().await.unwrap());
        home.worker_seen("worker_1").await.unwrap();
        home.worker_seen("worker_1").await.unwrap();
        assert!(home.worker_lives().await.unwrap());
        assert!(!away.worker_lives().await.unwrap());
        home.worker_gone("worker_1").await.unwrap();
        assert!(!home.worker_lives().await.unwrap());

        home.worker_seen("worker_2").await.unwrap();
        database.write("UPDATE workers SET seen_at = seen_at - 20000").await;
        assert!(!home.worker_lives().await.unwrap(), "a lease is shorter than that");
        database.write("UPDATE workers SET seen_at = seen_at - 1000000").await;
        home.worker_seen("worker_3").await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM workers").await, 1, "the dead are cleared away");
    }

    async fn who_gives_a_lease_back_for_later_is_due_at_once_when_it_was_told_something(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.parks(&store, vec![lost("a")]).await;
        assert!(store.signal("exec_1", &cancel()).await.unwrap());
        let first = claim(&store, "worker_1").await;
        store.release(&first, store.now() + DAY_MS).await.unwrap();
        assert!(nothing_is_due(&store).await, "it said when, whatever there is to hear");
        assert!(store.signal("exec_1", &cancel()).await.unwrap());
        let second = claim(&store, "worker_1").await;
        store.release_unless_told(&second, store.now() + DAY_MS).await.unwrap();
        claim(&store, "worker_1").await;
    }

    async fn rings_reach_other_processes_where_the_database_can_tell_them(database) {
        let (store, away) = (database.open().await, database.open_as("away").await);
        let ring = |id: &str| Ring::Due(id.into());
        let Some(mut notifications) = store.listen().await.unwrap() else {
            assert!(!database.is_postgres(), "only SQLite cannot tell");
            return store.notify(&[ring("exec_1")]).await.unwrap();
        };
        assert!(database.is_postgres());
        away.notify(&[ring("exec_elsewhere")]).await.unwrap();
        store.notify(&[ring("exec_1"), Ring::Moved("exec_2".into())]).await.unwrap();
        let mut heard = BTreeSet::new();
        for _ in 0..2 {
            let next = tokio::time::timeout(SOON, notifications.next());
            heard.insert(next.await.expect("a ring").unwrap());
        }
        assert_eq!(heard, BTreeSet::from([ring("exec_1"), Ring::Moved("exec_2".into())]));
    }
}
