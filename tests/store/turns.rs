//! Turns that are written together: none suffers from its neighbours, and none is lost among them.

use std::time::Duration;

use futures::future::join_all;

use super::*;

/// Keeps the store from writing to one execution, and on SQLite to any, until it lets go.
enum Blocker {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Blocker {
    async fn of(database: &Database, id: &str) -> Blocker {
        let blocker = if database.is_postgres() {
            Blocker::Postgres(PgConnection::connect(&database.url).await.unwrap())
        } else {
            Blocker::Sqlite(SqliteConnection::connect(&database.url).await.unwrap())
        };
        let begin = if database.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let hold = format!("{begin}; UPDATE executions SET plan = plan WHERE id = '{id}'");
        blocker.write(hold).await
    }

    async fn write(mut self, sql: impl Into<String>) -> Blocker {
        let sql = AssertSqlSafe(sql.into());
        match &mut self {
            Blocker::Sqlite(connection) => {
                sqlx::raw_sql(sql).execute(connection).await.unwrap();
            }
            Blocker::Postgres(connection) => {
                sqlx::raw_sql(sql).execute(connection).await.unwrap();
            }
        }
        self
    }

    async fn let_go(self) {
        self.write("COMMIT").await;
    }
}

/// How many connections to this database wait for a row that somebody else holds.
const WAIT_FOR_A_ROW: &str = "SELECT COUNT(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// So many executions that one worker drives; the first steps of all are to be written.
async fn all_driven(store: &Store, count: usize) -> Vec<(Driven, Turn)> {
    let mut all = Vec::new();
    for number in 0..count {
        let mut driven = driven(store, &format!("exec_{number}"), "worker_1").await;
        let turn = driven.advance(store.now(), vec![]);
        all.push((driven, turn));
    }
    all
}

/// Commits all of them while the row of the second one is held, so that those after it wait for each other.
async fn commit_together(
    store: &Store,
    all: &[(Driven, Turn)],
    held: Blocker,
) -> Vec<Result<Committed, Error>> {
    let commits = all.iter().map(|(driven, turn)| driven.commit(store, turn, false));
    // The turns are handed in before the row is let go: they are polled first.
    tokio::join!(join_all(commits), held.let_go()).0
}

/// In how many transactions the newest versions of all executions were written.
async fn transactions(database: &Database) -> i64 {
    database.number("SELECT COUNT(DISTINCT xmin::text) FROM executions").await
}

fn steps_begun(id: &str) -> String {
    format!("SELECT COUNT(*) FROM events WHERE execution_id = '{id}' AND kind = 'attempt_started'")
}

on_both! {
    async fn turns_that_wait_share_a_transaction(database) {
        let store = database.open().await;
        let all = all_driven(&store, 12).await;
        let held = Blocker::of(database, "exec_1").await;
        for committed in commit_together(&store, &all, held).await {
            assert_eq!(committed.unwrap(), Committed { last_seq: 2, signals_in: 0, due: vec![] });
        }
        for number in 0..12 {
            let id = format!("exec_{number}");
            assert_eq!(database.number(steps_begun(&id)).await, 1);
            assert_eq!(store.steps(&id).await.unwrap()[0].status, "running");
        }
        if database.is_postgres() {
            assert!(transactions(database).await < 6);
        }
    }

    async fn turns_and_starts_of_any_number_share_transactions(database) {
        let store = database.open().await;
        // A few have room for more beside them, and many are written in another way.
        for count in [2, 3, 5, 8, 20] {
            let mut all = Vec::new();
            for number in 0..count {
                let id = format!("exec_turn_{count}_{number}");
                let mut driven = driven(&store, &id, "worker_1").await;
                let turn = driven.advance(store.now(), vec![]);
                all.push((driven, turn));
            }
            let start = |number: i64| {
                let id = format!("exec_start_{count}_{number}");
                Wish { worker: Some("worker_1"), ..wish(&id) }
            };
            let wishes: Vec<Wish> = (0..count).map(start).collect();
            let held = Blocker::of(database, &all[0].0.claim.execution_id).await;
            let turns = all.iter().map(|(driven, turn)| driven.commit(&store, turn, false));
            let starts = wishes.iter().map(|wish| create(&store, wish));
            let (turned, started, ()) =
                tokio::join!(join_all(turns), join_all(starts), held.let_go());
            for (turned, (driven, _)) in turned.into_iter().zip(&all) {
                let id = &driven.claim.execution_id;
                assert_eq!(turned.unwrap().last_seq, 2);
                assert_eq!(store.history(id).await.unwrap().len(), 2);
                assert_eq!(store.steps(id).await.unwrap()[0].status, "running");
            }
            for (started, wish) in started.into_iter().zip(&wishes) {
                assert!(matches!(started.unwrap(), Created::New(Some(_))));
                assert_eq!(store.history(&wish.id).await.unwrap().len(), 1);
            }
            if database.is_postgres() && 2 < count {
                let sql = format!(
                    "SELECT COUNT(DISTINCT xmin::text) FROM executions WHERE id LIKE 'exec%|_{count}|_%' ESCAPE '|'"
                );
                let transactions = database.number(sql).await;
                assert!(transactions < 2 * count, "{transactions} for {count} of each");
            }
        }
        let rows = database.number("SELECT COUNT(*) FROM executions").await;
        assert_eq!(rows, 2 * (2 + 3 + 5 + 8 + 20));
        assert_eq!(store.failed_groups(), 0);
    }

    async fn lone_turns_of_any_size_are_written_together_with_nobody_at_the_first_go(database) {
        let store = database.open().await;
        for count in 1..=6 {
            let names: Vec<String> = (0..count).map(|number| format!("step_{number}")).collect();
            let step = |name: &String| json!({ "name": name, "tool": "x.one" });
            let steps: Vec<Value> = names.iter().map(step).collect();
            let all = json!([{ "name": "all", "parallel": true, "steps": steps }]);
            let document = json!({ "name": format!("wide_{count}"), "steps": all });
            // The first one is written alone, since its revision is not known to be there.
            for id in [format!("exec_{count}_first"), format!("exec_{count}_second")] {
                let mut driven = language::begin(&store, &id, &document).await;
                let path = |name: &String| format!("all/{name}");
                let done =
                    names.iter().map(|name| succeeded(&path(name), json!({ "ok": true })));
                let turn = driven.advance(store.now(), done.collect());
                assert!(count < turn.events.len(), "{turn:?}");
                driven.commit(&store, &turn, false).await.unwrap();
                let steps = store.steps(&id).await.unwrap();
                assert!(count <= steps.len());
                assert!(steps.iter().all(|step| step.status == "completed"), "{steps:?}");
            }
        }
        assert_eq!(store.failed_groups(), 0);
    }

    async fn a_group_that_waits_for_a_row_keeps_nobody_else_waiting(database) {
        let store = database.open().await;
        let all = all_driven(&store, 3).await;
        let held = Blocker::of(database, "exec_0").await;
        let mut commits = all.iter().map(|(driven, turn)| driven.commit(&store, turn, false));
        let stuck = commits.next().unwrap();
        let others = async {
            if database.is_postgres() {
                while database.number(WAIT_FOR_A_ROW).await == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // One comes before anybody can tell that the group is stuck, one after.
                for commit in commits {
                    commit.await.unwrap();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                assert_eq!(database.number(WAIT_FOR_A_ROW).await, 1);
                held.let_go().await;
            } else {
                // It has one writer at a time, whoever that is.
                let (committed, ()) = tokio::join!(join_all(commits), held.let_go());
                assert!(committed.iter().all(Result::is_ok), "{committed:?}");
            }
        };
        let (committed, ()) = tokio::join!(stuck, others);
        committed.unwrap();
        for number in 0..3 {
            assert_eq!(database.number(steps_begun(&format!("exec_{number}"))).await, 1);
        }
    }

    async fn a_lease_whose_row_is_just_written_is_not_taken_for_lost(database) {
        let store = database.open().await;
        let driven = driven(&store, "exec_1", "worker_1").await;
        let held = Blocker::of(database, "exec_1").await;
        if database.is_postgres() {
            let several = store.renew("worker_1", &["exec_1".to_owned()]).await.unwrap();
            assert!(several.is_empty(), "one row keeps the renewal of others waiting");
        }
        // The renewal is sent before the row is let go: it is polled first.
        let (renewed, ()) = tokio::join!(store.renew_one("worker_1", "exec_1"), held.let_go());
        assert!(driven.claim.is_epoch(renewed.unwrap().expect("the lease is held").0));
        assert_eq!(store.renew_one("worker_2", "exec_1").await.unwrap(), None);
    }

    async fn a_turn_that_comes_alone_is_written_alone(database) {
        let store = database.open().await;
        for (driven, turn) in all_driven(&store, 3).await {
            driven.commit(&store, &turn, false).await.unwrap();
        }
        if database.is_postgres() {
            assert_eq!(transactions(database).await, 3);
        }
    }

    async fn a_member_of_a_group_is_fenced_alone(database) {
        let store = database.open().await;
        let all = all_driven(&store, 6).await;
        database.let_the_lease_run_out("exec_3").await;
        let thief = claim(&store, "worker_2").await;
        assert_eq!(thief.execution_id, "exec_3");
        let held = Blocker::of(database, "exec_1").await;
        for (number, committed) in commit_together(&store, &all, held).await.into_iter().enumerate() {
            match committed {
                Ok(committed) => assert_eq!((number == 3, committed.last_seq), (false, 2)),
                Err(Error::Fenced(id)) => assert_eq!((number, id.as_str()), (3, "exec_3")),
                Err(err) => panic!("{number}: {err}"),
            }
        }
        assert_eq!(database.number(steps_begun("exec_3")).await, 0, "nothing of it was written");
        assert!(store.steps("exec_3").await.unwrap().is_empty());
    }

    async fn a_member_that_cannot_be_written_does_not_hurt_its_neighbours(database) {
        let store = database.open().await;
        let all = all_driven(&store, 6).await;
        // The number of its next event is taken.
        let taken = "INSERT INTO events (execution_id, seq, at, kind, data) VALUES ('exec_3', 2, 1, 'vars_set', '{}')";
        database.write(taken).await;
        let held = Blocker::of(database, "exec_1").await;
        for (number, committed) in commit_together(&store, &all, held).await.into_iter().enumerate() {
            match committed {
                Ok(committed) => assert_eq!((number == 3, committed.last_seq), (false, 2)),
                Err(Error::Database(_)) => assert_eq!(number, 3),
                Err(err) => panic!("{number}: {err}"),
            }
        }
        assert_eq!(store.version("exec_3").await.unwrap(), Some(1), "its turn is undone as a whole");
        assert!(store.steps("exec_3").await.unwrap().is_empty());
    }

    async fn a_commit_whose_answer_was_lost_is_recognised_in_a_group(database) {
        let store = database.open().await;
        let all = all_driven(&store, 6).await;
        let (driven, turn) = &all[3];
        let first = driven.commit(&store, turn, false).await.unwrap();
        let held = Blocker::of(database, "exec_1").await;
        let committed = commit_together(&store, &all, held).await;
        assert!(committed.iter().all(Result::is_ok), "{committed:?}");
        assert_eq!(committed[3].as_ref().unwrap(), &first);
        assert_eq!(database.number(steps_begun("exec_3")).await, 1, "it is written once");
    }

    async fn two_turns_of_one_execution_are_not_both_written(database) {
        let store = database.open().await;
        let all = all_driven(&store, 3).await;
        let mut other = Driven::of(&store, all[2].0.claim.clone()).await;
        let cancelled = other.advance(store.now(), vec![Event::CancelRequested { by: "ada".into(), reason: None }]);
        let held = Blocker::of(database, "exec_1").await;
        let commits = all.iter().map(|(driven, turn)| driven.commit(&store, turn, false));
        let last = other.commit(&store, &cancelled, false);
        let (mut all, other, ()) = tokio::join!(join_all(commits), last, held.let_go());
        let one = all.pop().unwrap();
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        // Which of the two comes first is nobody's promise.
        let (Ok(written), Err(Error::Fenced(_))) = (if one.is_ok() { (one, other) } else { (other, one) }) else {
            panic!("one of them is written, and the other one is not");
        };
        let history = store.history("exec_2").await.unwrap();
        assert_eq!(history.len(), usize::try_from(written.last_seq).unwrap(), "{history:?}");
    }

    async fn a_signal_that_lands_during_a_group_is_not_lost(database) {
        let store = database.open().await;
        let all = all_driven(&store, 6).await;
        let held = Blocker::of(database, "exec_3").await;
        // What `signal` writes, while the group that the execution is in waits for its row.
        let word = serde_json::to_string(&cancel()).unwrap().replace('\'', "''");
        let held = held
            .write(format!(
                "UPDATE executions SET signals_in = signals_in + 1, wake_at = 1 WHERE id = 'exec_3';
                 INSERT INTO signals (execution_id, number, at, data) VALUES ('exec_3', 1, 1, '{word}')"
            ))
            .await;
        let commits = all.iter().map(|(driven, turn)| driven.commit(&store, turn, true));
        let (committed, ()) = tokio::join!(join_all(commits), held.let_go());
        let heard: Vec<i64> = committed.into_iter().map(|one| one.unwrap().signals_in).collect();
        assert_eq!(heard, [0, 0, 0, 1, 0, 0]);
        let row = store.execution("exec_3").await.unwrap().unwrap();
        assert!(row.wake_at.is_some_and(|at| at <= store.now()), "it is due");
        assert_eq!(store.signals("exec_3", 0).await.unwrap(), [(1, cancel())]);
        assert_eq!(claim(&store, "worker_2").await.execution_id, "exec_3");
    }

    async fn executions_that_begin_together_share_a_transaction(database) {
        let store = database.open().await;
        // The revision's row is written with the first of them.
        create_due(&store, "exec_0").await;
        create_due(&store, "exec_1").await;
        let (mut first, mut second) = (claim(&store, "worker_1").await, claim(&store, "worker_1").await);
        if first.execution_id != "exec_0" {
            std::mem::swap(&mut first, &mut second);
        }
        let mut turns = Vec::new();
        for claim in [first, second] {
            let mut driven = Driven::of(&store, claim).await;
            let turn = driven.advance(store.now(), vec![]);
            turns.push((driven, turn));
        }
        let held = Blocker::of(database, "exec_1").await;
        let commits = turns.iter().map(|(driven, turn)| driven.commit(&store, turn, false));
        let wishes: Vec<Wish> = (2..8)
            .map(|number| Wish { worker: Some("worker_1"), ..wish(&format!("exec_{number}")) })
            .collect();
        let creates = wishes.iter().map(|wish| create(&store, wish));
        let (committed, created, ()) =
            tokio::join!(join_all(commits), join_all(creates), held.let_go());
        assert!(committed.iter().all(Result::is_ok), "{committed:?}");
        for (created, wish) in created.into_iter().zip(&wishes) {
            let Ok(Created::New(Some(claim))) = created else { panic!("{created:?}") };
            assert_eq!(claim.execution_id, wish.id);
            let row = store.execution(&wish.id).await.unwrap().unwrap();
            assert_eq!((row.input, row.last_seq), (input().to_string(), 1));
            assert_eq!(store.history(&wish.id).await.unwrap().len(), 1);
            let mut driven = Driven::of(&store, claim).await;
            driven.hears(&store, vec![]).await;
        }
        let versions = database.number("SELECT COUNT(*) FROM events WHERE committed_by = 'worker_1'").await;
        assert_eq!(versions, 2 + 6 + 6, "each commit of a worker has its name on its first event");
    }

    async fn an_end_is_written_with_others(database) {
        let store = database.open().await;
        let mut all = all_driven(&store, 6).await;
        for (driven, turn) in &mut all {
            driven.claim.last_seq = driven.commit(&store, turn, false).await.unwrap().last_seq;
            driven.hears(&store, vec![succeeded("a", json!(1))]).await;
            *turn = driven.advance(store.now(), vec![succeeded("b", json!(2))]);
        }
        let held = Blocker::of(database, "exec_1").await;
        let committed = commit_together(&store, &all, held).await;
        assert!(committed.iter().all(Result::is_ok), "{committed:?}");
        for (driven, _) in &all {
            let row = store.execution(&driven.claim.execution_id).await.unwrap().unwrap();
            assert_eq!((row.status.as_str(), row.wake_at, row.lease_until), ("completed", None, 0));
            assert!(row.ended_at.is_some());
        }
        assert!(nothing_is_due(&store).await);
    }
}
