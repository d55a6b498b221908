//! What PostgreSQL did although nobody heard so, and what it never heard of: nothing is begun or written twice.

use std::time::Duration;

use serde_json::json;
use windlass::store::{Committed, Created, Error, Store};

use super::{Database, Driven, Wish, create, driven, succeeded, wish};
use crate::harness::Proxy;

/// A database, and a store that reaches it over a line which can break.
struct Line {
    database: Database,
    proxy: Proxy,
    store: Store,
}

impl Line {
    async fn new() -> Line {
        let database = Database::postgres();
        let (_, after) = database.url.rsplit_once(':').unwrap();
        let (port, _) = after.split_once('/').unwrap();
        let proxy = Proxy::to(port.parse().unwrap());
        let store = Store::open(&proxy.instead_of(&database.url), "home").await.unwrap();
        Line { database, proxy, store }
    }

    /// A wish that a connection is there for, and that may be written together with others.
    async fn ready(&self, id: &str) -> Wish {
        let as_known =
            |id: &str| Wish { worker: Some("worker_1"), standing: Some(String::new()), ..wish(id) };
        for time in 1..=2 {
            let before = as_known(&format!("{id}_before_{time}"));
            assert!(matches!(create(&self.store, &before).await.unwrap(), Created::New(Some(_))));
        }
        as_known(id)
    }

    /// Breaks once the statement was sent, after something has happened; then it works again.
    async fn breaks(&self, happened: impl Future<Output = ()>) {
        while self.proxy.kept() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        happened.await;
        self.proxy.cut();
        self.proxy.mute(false);
    }

    async fn switch_off(&self) {
        let other = self.database.open().await;
        other.set_enabled("two_steps", false, "ada").await.unwrap();
    }

    /// An execution whose first step is under way.
    async fn begun(&self, id: &str) -> Driven {
        let mut driven = driven(&self.store, id, "worker_1").await;
        driven.hears(&self.store, vec![]).await;
        driven
    }

    async fn events(&self, id: &str) -> i64 {
        self.database
            .number(format!("SELECT COUNT(*) FROM events WHERE execution_id = '{id}'"))
            .await
    }

    async fn rows(&self, id: &str) -> i64 {
        self.database.number(format!("SELECT COUNT(*) FROM executions WHERE id = '{id}'")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_answer_was_lost_is_found_and_not_begun_again() {
    let line = Line::new().await;
    let wish = line.ready("exec_1").await;
    line.proxy.mute_answers(true);
    let happened = async {
        assert_eq!(line.rows("exec_1").await, 1, "it was written");
        // It counts as it was written, whatever its workflow is by now.
        line.switch_off().await;
    };
    let (created, ()) = tokio::join!(create(&line.store, &wish), line.breaks(happened));
    let Created::New(Some(claim)) = created.unwrap() else { panic!("it is there") };
    assert_eq!((claim.execution_id.as_str(), claim.last_seq), ("exec_1", 1));
    assert_eq!((line.rows("exec_1").await, line.store.failed_groups()), (1, 1));
    assert_eq!(line.events("exec_1").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_never_heard_of_is_written_once_the_line_works_again() {
    let line = Line::new().await;
    let wish = line.ready("exec_1").await;
    line.proxy.mute(true);
    let (created, ()) = tokio::join!(create(&line.store, &wish), line.breaks(async {}));
    assert!(matches!(created.unwrap(), Created::New(Some(_))));
    assert_eq!((line.rows("exec_1").await, line.store.failed_groups()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_start_that_nobody_heard_of_again_is_said_which_execution_to_look_for() {
    let line = Line::new().await;
    let wish = line.ready("exec_1").await;
    line.proxy.mute(true);
    let (created, ()) = tokio::join!(create(&line.store, &wish), line.breaks(line.switch_off()));
    let Err(Error::Uncertain(id)) = created else { panic!("{created:?}") };
    assert_eq!((id.as_str(), line.rows("exec_1").await), ("exec_1", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_commit_was_not_answered_is_found_and_its_key_stands_for_it() {
    let line = Line::new().await;
    let wish = Wish { key: Some("k"), ..line.ready("exec_1").await };
    line.proxy.mute_answers_to("COMMIT");
    let happened = async {
        assert_eq!(line.rows("exec_1").await, 1, "it was written");
    };
    let (created, ()) = tokio::join!(create(&line.store, &wish), line.breaks(happened));
    let Created::New(Some(claim)) = created.unwrap() else { panic!("it is there") };
    assert_eq!(claim.execution_id, "exec_1");
    let again = Wish { id: "exec_2".into(), ..wish };
    let again = create(&line.store, &again).await.unwrap();
    assert!(matches!(again, Created::Known(id) if id == "exec_1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_answer_was_lost_is_written_once() {
    let line = Line::new().await;
    // The first one has the statement prepared: what is sent for the second one is nothing but the turn.
    let done = || vec![succeeded("a", json!({}))];
    line.begun("exec_0").await.hears(&line.store, done()).await;
    let mut driven = line.begun("exec_1").await;
    let turn = driven.advance(line.store.now(), done());
    line.proxy.mute_answers(true);
    let committing = driven.commit(&line.store, &turn, false);
    let happened = async {
        assert_eq!(line.events("exec_1").await, 4, "it was written");
    };
    let (mut committed, ()) = tokio::join!(committing, line.breaks(happened));
    // As a worker does while connections turn out to be broken.
    for _ in 0..20 {
        if committed.as_ref().is_err_and(Error::is_passing) {
            committed = driven.commit(&line.store, &turn, false).await;
        }
    }
    let expected = Committed { last_seq: 4, signals_in: 0, due: vec![] };
    assert_eq!(committed.unwrap(), expected);
    assert_eq!((line.events("exec_1").await, line.store.failed_groups()), (4, 1));
}
