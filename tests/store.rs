//! The database remembers, and says who may do what: every method of the store, on SQLite and on PostgreSQL.

mod broken;
mod lost_answers;
mod opening;
mod plans;
mod services;
mod workflows;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use windlass::{
    bell::Ring,
    store::{Claim, Commit, Committed, Created, Error, NewExecution, Signal, Store},
};
use windlass_engine::{
    Event, Priority, Resolution, State, StepError, StepStatus, Turn, Workflow, advance, parse,
};

use crate::harness::{SOON, database};

const DAY_MS: i64 = 24 * 3_600_000;
const SERVERS: &str = r#"{"x":"built-in"}"#;

/// A fresh database of either kind.
pub struct Database {
    url: String,
    _folder: Option<TempDir>,
}

impl Database {
    fn sqlite() -> Database {
        let folder = TempDir::with_prefix("windlass-store-").unwrap();
        let url = format!("sqlite:{}", folder.path().join("windlass.db").display());
        Database { url, _folder: Some(folder) }
    }

    fn postgres() -> Database {
        Database { url: database(), _folder: None }
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    async fn open(&self) -> Store {
        self.open_as("home").await
    }

    async fn open_as(&self, workspace: &str) -> Store {
        Store::open(&self.url, workspace).await.unwrap()
    }

    /// Changes rows behind the store's back: the time that passes, or what another release wrote.
    async fn write(&self, sql: impl Into<String>) {
        let sql = AssertSqlSafe(sql.into());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }

    /// One number that the store itself does not tell.
    async fn number(&self, sql: impl Into<String>) -> i64 {
        let sql = AssertSqlSafe(sql.into());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }

    /// The holder of the lease says nothing for so long that anybody may have it.
    async fn let_the_lease_run_out(&self, id: &str) {
        let due = "CASE WHEN lease_owner IS NULL THEN wake_at ELSE 0 END";
        let sql = format!("UPDATE executions SET lease_until = 0, wake_at = {due}");
        self.write(format!("{sql} WHERE id = '{id}'")).await;
    }
}

/// What a test asks to be created.
#[derive(Clone)]
struct Wish {
    id: String,
    by: &'static str,
    key: Option<&'static str>,
    hash: &'static str,
    worker: Option<&'static str>,
    servers: &'static str,
    at: Option<i64>,
    priority: Priority,
    standing: Option<String>,
    workflow: fn() -> Workflow,
}

fn wish(id: &str) -> Wish {
    Wish {
        id: id.to_owned(),
        by: "ada",
        key: None,
        hash: "h",
        worker: None,
        servers: SERVERS,
        at: None,
        priority: Priority::Normal,
        standing: None,
        workflow,
    }
}

fn workflow() -> Workflow {
    let steps = json!([{ "name": "a", "tool": "x.one" }, { "name": "b", "tool": "x.two" }]);
    parse(&json!({ "name": "two_steps", "steps": steps }).to_string()).unwrap()
}

fn input() -> Value {
    json!({ "z": 1, "a": "nul \u{0} and snowman ☃", "big": u64::MAX, "half": 0.5 })
}

async fn create(store: &Store, wish: &Wish) -> Result<Created, Error> {
    let workflow = (wish.workflow)();
    let at = wish.at.unwrap_or_else(|| store.now());
    let mut state = State::new(&workflow, &wish.id, wish.by);
    let events = [Event::ExecutionStarted { input: input() }];
    state.apply(&workflow, &events[0], at).unwrap();
    let new = NewExecution {
        id: &wish.id,
        workflow: &workflow,
        source: "workflows/two_steps.yaml",
        requested_by: wish.by,
        on_behalf_of: Some("her team"),
        client_name: Some("client \u{0}"),
        client_version: None,
        tool_servers: wish.servers,
        links: "{}",
        linked: &[],
        idempotency_key: wish.key,
        plan: None,
        request_hash: wish.hash,
        state: &state,
        events: &events,
        children: &[],
        at,
        worker: wish.worker,
        priority: wish.priority.rank(),
        traceparent: None,
        standing: wish.standing.as_deref(),
    };
    store.create(&new).await
}

/// Creates an execution that is due for any worker.
async fn create_due(store: &Store, id: &str) {
    assert!(matches!(create(store, &wish(id)).await.unwrap(), Created::New(None)));
}

/// Claims the one execution that is due.
async fn claim(store: &Store, worker: &str) -> Claim {
    store.claim(worker, &[]).await.unwrap().expect("an execution is due")
}

async fn nothing_is_due(store: &Store) -> bool {
    store.claim("worker_nobody", &[]).await.unwrap().is_none()
}

/// A claimed execution, as its worker knows it.
struct Driven {
    claim: Claim,
    workflow: Workflow,
    state: State,
    signals_done: i64,
    /// When the last turn was decided.
    at: i64,
}

impl Driven {
    async fn of(store: &Store, claim: Claim) -> Driven {
        let loaded = store.load(&claim).await.unwrap();
        let workflow = parse(&loaded.document).unwrap();
        let history = store.history(&claim.execution_id).await.unwrap();
        let state = fold(&workflow, &claim.execution_id, &history);
        Driven { claim, workflow, state, signals_done: loaded.signals_done, at: store.now() }
    }

    fn advance(&mut self, at: i64, happened: Vec<Event>) -> Turn {
        let id = self.claim.execution_id.clone();
        self.at = at;
        advance(&self.workflow, &mut self.state, &id, happened, at).unwrap()
    }

    async fn commit(&self, store: &Store, turn: &Turn, release: bool) -> Result<Committed, Error> {
        let commit = Commit {
            workflow: &self.workflow,
            state: &self.state,
            events: &turn.events,
            children: &[],
            cancels: &[],
            looks: &[],
            held_up: None,
            at: self.at,
            signals_done: self.signals_done,
            wake_at: turn.wake_at,
            release,
        };
        store.commit(&self.claim, &commit).await
    }

    /// Decides and commits; the lease is kept.
    async fn hears(&mut self, store: &Store, happened: Vec<Event>) {
        let turn = self.advance(store.now(), happened);
        self.claim.last_seq = self.commit(store, &turn, false).await.unwrap().last_seq;
    }

    /// Decides and commits, and gives the lease back.
    async fn parks(&mut self, store: &Store, happened: Vec<Event>) -> Committed {
        let turn = self.advance(store.now(), happened);
        let committed = self.commit(store, &turn, true).await.unwrap();
        self.claim.last_seq = committed.last_seq;
        committed
    }
}

fn fold(workflow: &Workflow, id: &str, history: &[(i64, Event)]) -> State {
    let mut state = State::new(workflow, id, "ada");
    for (at, event) in history {
        state.apply(workflow, event, *at).unwrap();
    }
    state
}

/// Creates, claims and loads an execution.
async fn driven(store: &Store, id: &str, worker: &str) -> Driven {
    create_due(store, id).await;
    Driven::of(store, claim(store, worker).await).await
}

fn succeeded(step: &str, output: Value) -> Event {
    Event::AttemptSucceeded { step: step.into(), output }
}

/// The call of a step that must not be repeated is lost: a person has to say.
fn lost(step: &str) -> Event {
    let error = StepError::permanent("interrupted", "gone");
    Event::AttemptUncertain { step: step.into(), error, repeatable: false }
}

fn cancel() -> Signal {
    Signal::Cancel { by: "ada".into(), reason: Some("enough \u{0}".into()) }
}

/// Writes each promise once, and holds both databases to it.
macro_rules! on_both {
    ($(async fn $name:ident($database:ident) $body:block)*) => {
        mod promise {
            use super::*;
            $(pub async fn $name($database: &Database) $body)*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::promise::$name(&super::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::promise::$name(&super::Database::postgres()).await;
            })*
        }
    };
}

mod language;
mod limits;
mod presence;
#[allow(clippy::print_stdout, reason = "a replay says what it did")]
mod replay;
mod turns;
mod workers;

on_both! {
    async fn a_new_execution_is_due_for_any_worker(database) {
        let store = database.open().await;
        create_due(&store, "exec_1").await;
        let row = store.execution("exec_1").await.unwrap().unwrap();
        assert_eq!((row.workflow.as_str(), row.status.as_str()), ("two_steps", "running"));
        assert_eq!((row.requested_by.as_str(), row.tool_servers.as_str()), ("ada", SERVERS));
        assert_eq!((row.last_seq, row.ended_at, row.error), (1, None, None));
        assert_eq!(row.wake_at, Some(row.created_at));
        assert_eq!(row.input, input().to_string(), "byte for byte");
        assert_eq!(row.revision, workflow().hash);
        assert_eq!(store.version("exec_1").await.unwrap(), Some(1));
        let document = store.document(&row.revision).await.unwrap().unwrap();
        assert_eq!(document, workflow().document.to_string());
        let claim = claim(&store, "worker_1").await;
        assert_eq!((claim.execution_id.as_str(), claim.last_seq), ("exec_1", 1));
    }

    async fn an_execution_may_begin_with_a_lease(database) {
        let store = database.open().await;
        let wish = Wish { worker: Some("worker_1"), ..wish("exec_1") };
        let Created::New(Some(claim)) = create(&store, &wish).await.unwrap() else {
            panic!("it is leased to the worker that was named")
        };
        assert!(nothing_is_due(&store).await);
        let held = store.renew("worker_1", &["exec_1".into()]).await.unwrap();
        assert!(claim.is_epoch(held["exec_1"].0));
        let mut driven = Driven::of(&store, claim).await;
        driven.hears(&store, vec![]).await;
        assert_eq!(store.version("exec_1").await.unwrap(), Some(2), "the first attempt is written");
    }

    async fn what_another_workspace_has_is_not_there(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        create_due(&home, "exec_1").await;
        assert_eq!((home.workspace(), away.workspace()), ("home", "away"));
        assert!(away.execution("exec_1").await.unwrap().is_none());
        assert_eq!(away.version("exec_1").await.unwrap(), None);
        assert!(away.document(&workflow().hash).await.unwrap().is_none());
        assert!(away.executions("ada", 10).await.unwrap().is_empty());
        assert!(!away.signal("exec_1", &cancel()).await.unwrap());
        assert!(!away.has_work(&[]).await.unwrap());
        assert!(nothing_is_due(&away).await);
        create_due(&away, "exec_2").await;
        assert_eq!(claim(&away, "worker_1").await.execution_id, "exec_2");
    }

    async fn the_same_key_twice_is_one_execution(database) {
        let store = database.open().await;
        let first = Wish { key: Some("k"), ..wish("exec_1") };
        assert!(matches!(create(&store, &first).await.unwrap(), Created::New(None)));
        let again = Wish { id: "exec_2".into(), ..first.clone() };
        let created = create(&store, &again).await.unwrap();
        assert!(matches!(created, Created::Known(id) if id == "exec_1"));
        assert!(store.execution("exec_2").await.unwrap().is_none(), "nothing was written");
        let other = Wish { hash: "other", ..again };
        let created = create(&store, &other).await.unwrap();
        assert!(matches!(created, Created::KeyReused(id) if id == "exec_1"));
    }

    async fn a_key_is_forgotten_after_thirty_days(database) {
        let store = database.open().await;
        let first = Wish { key: Some("k"), ..wish("exec_1") };
        let began = store.now();
        create(&store, &Wish { at: Some(began), ..first.clone() }).await.unwrap();
        let later = |days: i64| Wish { id: format!("exec_{days}"), at: Some(began + days * DAY_MS), ..first.clone() };
        let created = create(&store, &later(29)).await.unwrap();
        assert!(matches!(created, Created::Known(id) if id == "exec_1"));
        assert!(matches!(create(&store, &later(31)).await.unwrap(), Created::New(None)));
        let created = create(&store, &later(32)).await.unwrap();
        assert!(matches!(created, Created::Known(id) if id == "exec_31"));
    }

    async fn keys_that_ran_out_are_cleared_away(database) {
        let store = database.open().await;
        let old = Some(store.now() - 31 * DAY_MS);
        create(&store, &Wish { key: Some("old"), at: old, ..wish("exec_1") }).await.unwrap();
        create(&store, &Wish { key: Some("new"), ..wish("exec_2") }).await.unwrap();
        store.worker_seen("worker_1").await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM idempotency_keys").await, 1);
    }

    async fn many_at_once_with_one_key_are_one_execution(database) {
        let store = database.open().await;
        let create_one = |number: u32| {
            let (store, wish) = (store.clone(), Wish { key: Some("k"), ..wish(&format!("exec_{number}")) });
            tokio::spawn(async move { create(&store, &wish).await.unwrap() })
        };
        let tasks: Vec<_> = (0..12).map(create_one).collect();
        let (mut new, mut known) = (0, BTreeSet::new());
        for task in tasks {
            match task.await.unwrap() {
                Created::New(_) => new += 1,
                Created::Known(id) => _ = known.insert(id),
                other => panic!("it is the same request: {other:?}"),
            }
        }
        assert_eq!((new, known.len()), (1, 1));
        assert_eq!(database.number("SELECT COUNT(*) FROM executions").await, 1);
    }

    async fn keys_belong_to_a_workspace_and_a_caller(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        let first = Wish { key: Some("k"), ..wish("exec_1") };
        let bobs = Wish { id: "exec_2".into(), by: "bob", ..first.clone() };
        let aways = Wish { id: "exec_3".into(), ..first.clone() };
        for (store, wish) in [(&home, first), (&home, bobs), (&away, aways)] {
            assert!(matches!(create(store, &wish).await.unwrap(), Created::New(None)));
        }
    }

    async fn what_has_been_due_longest_is_claimed_first(database) {
        let store = database.open().await;
        let now = store.now();
        for (id, ago) in [("exec_2", 2_000), ("exec_3", 1_000), ("exec_1", 3_000)] {
            create(&store, &Wish { at: Some(now - ago), ..wish(id) }).await.unwrap();
        }
        for expected in ["exec_1", "exec_2", "exec_3"] {
            assert_eq!(claim(&store, "worker_1").await.execution_id, expected);
        }
        assert!(nothing_is_due(&store).await);
    }

    async fn what_is_not_for_this_worker_is_left_alone(database) {
        let store = database.open().await;
        let refused = [r#"{"x":"another"}"#.to_owned(), r#"{"y":"it's"}"#.to_owned()];
        create(&store, &Wish { servers: r#"{"x":"another"}"#, ..wish("exec_1") }).await.unwrap();
        assert!(store.claim("worker_1", &refused).await.unwrap().is_none());
        assert!(store.claim("worker_2", &[]).await.unwrap().is_some());

        create_due(&store, "exec_2").await;
        database.write("UPDATE executions SET min_engine = 999 WHERE id = 'exec_2'").await;
        assert!(nothing_is_due(&store).await, "it needs a newer release");

        create(&store, &Wish { at: Some(store.now() + DAY_MS), ..wish("exec_3") }).await.unwrap();
        assert!(nothing_is_due(&store).await, "its time has not come");
    }

    async fn a_lease_that_ran_out_may_be_taken(database) {
        let store = database.open().await;
        create_due(&store, "exec_1").await;
        let first = claim(&store, "worker_1").await;
        assert!(nothing_is_due(&store).await);
        database.let_the_lease_run_out("exec_1").await;
        let second = claim(&store, "worker_2").await;
        assert!(matches!(store.load(&first).await, Err(Error::Fenced(id)) if id == "exec_1"));
        assert!(store.load(&second).await.unwrap().signals.is_empty());
        assert_eq!(store.history("exec_1").await.unwrap().len(), 1);
    }

    async fn no_two_workers_claim_one_execution(database) {
        let store = database.open().await;
        for number in 0..30 {
            create_due(&store, &format!("exec_{number}")).await;
        }
        let claim_all = |number: usize| {
            let store = store.clone();
            tokio::spawn(async move {
                let worker = format!("worker_{number}");
                let mut claimed = Vec::new();
                while let Some(claim) = store.claim(&worker, &[]).await.unwrap() {
                    claimed.push(claim.execution_id);
                }
                claimed
            })
        };
        let mut claimed = Vec::new();
        for task in (0..8).map(claim_all).collect::<Vec<_>>() {
            claimed.extend(task.await.unwrap());
        }
        let distinct: BTreeSet<_> = claimed.iter().collect();
        assert_eq!((claimed.len(), distinct.len()), (30, 30));
        assert_eq!(database.number("SELECT CAST(MAX(lease_epoch) AS BIGINT) FROM executions").await, 1);
    }

    async fn a_commit_of_a_worker_that_was_replaced_is_refused(database) {
        let store = database.open().await;
        let mut stale = driven(&store, "exec_1", "worker_1").await;
        database.let_the_lease_run_out("exec_1").await;
        let mut fresh = Driven::of(&store, claim(&store, "worker_2").await).await;
        fresh.hears(&store, vec![]).await;
        let turn = stale.advance(store.now(), vec![]);
        let refused = stale.commit(&store, &turn, false).await;
        assert!(matches!(refused, Err(Error::Fenced(id)) if id == "exec_1"));
        // The same length as what was written meanwhile: the epoch tells them apart.
        assert_eq!(store.version("exec_1").await.unwrap(), Some(2));
        assert_eq!(store.history("exec_1").await.unwrap().len(), 2);
    }

    async fn a_commit_that_knows_too_little_is_refused(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        let before = driven.claim.clone();
        driven.hears(&store, vec![]).await;
        driven.hears(&store, vec![succeeded("a", json!(1))]).await;
        let turn = driven.advance(store.now(), vec![succeeded("b", json!(2))]);
        let blind = Driven { claim: before, ..driven };
        assert!(matches!(blind.commit(&store, &turn, false).await, Err(Error::Fenced(_))));
    }

    async fn a_commit_whose_answer_was_lost_may_be_sent_again(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        let turn = driven.advance(store.now(), vec![]);
        let first = driven.commit(&store, &turn, false).await.unwrap();
        let again = driven.commit(&store, &turn, false).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(store.history("exec_1").await.unwrap().len(), 2, "written once");
        driven.claim.last_seq = again.last_seq;
        driven.hears(&store, vec![succeeded("a", json!(1))]).await;
    }

    async fn the_last_commit_may_be_sent_again_too(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.hears(&store, vec![succeeded("a", json!(1))]).await;
        let turn = driven.advance(store.now(), vec![succeeded("b", json!(2))]);
        let first = driven.commit(&store, &turn, true).await.unwrap();
        assert_eq!(driven.commit(&store, &turn, true).await.unwrap(), first);
        let row = store.execution("exec_1").await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.wake_at), ("completed", None));
        let ended_at = row.ended_at.unwrap();
        // A worker that does not know how its last commit went gives its lease back.
        store.release(&driven.claim, store.now()).await.unwrap();
        assert!(nothing_is_due(&store).await, "what has ended stays so");
        let row = store.execution("exec_1").await.unwrap().unwrap();
        assert_eq!((row.ended_at, row.wake_at), (Some(ended_at), None));
    }

    async fn an_execution_in_work_stays_due_behind_its_lease(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        assert!(nothing_is_due(&store).await);
        assert!(store.has_work(&[]).await.unwrap());
        database.let_the_lease_run_out("exec_1").await;
        assert_eq!(claim(&store, "worker_2").await.last_seq, 2);
    }

    async fn a_parked_execution_wakes_at_its_time_or_never(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        let turn = Turn { wake_at: Some(store.now() + DAY_MS), ..driven.advance(store.now(), vec![]) };
        driven.commit(&store, &turn, true).await.unwrap();
        assert!(nothing_is_due(&store).await);
        assert_eq!(store.next_wake(&[]).await.unwrap(), turn.wake_at);
        assert!(store.has_work(&[]).await.unwrap());
        let turn = Turn { wake_at: None, ..turn };
        driven.commit(&store, &turn, true).await.unwrap();
        assert_eq!(store.next_wake(&[]).await.unwrap(), None);
        assert!(!store.has_work(&[]).await.unwrap());
    }

    async fn a_signal_during_a_lease_keeps_the_execution_due(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        assert!(store.signal("exec_1", &cancel()).await.unwrap());
        assert!(nothing_is_due(&store).await, "its holder goes on");
        let held = store.renew("worker_1", &["exec_1".into()]).await.unwrap();
        assert_eq!(held["exec_1"].1, 1, "and hears of it with the renewal");
        let committed = driven.parks(&store, vec![lost("a")]).await;
        assert_eq!(committed.signals_in, 1);
        let row = store.execution("exec_1").await.unwrap().unwrap();
        assert!(row.wake_at.is_some_and(|at| at <= store.now()), "not lost: {row:?}");

        let mut next = Driven::of(&store, claim(&store, "worker_2").await).await;
        let loaded = store.load(&next.claim).await.unwrap();
        assert_eq!((loaded.signals, loaded.signals_done), (vec![(1, cancel())], 0));
        next.signals_done = 1;
        let happened = Event::CancelRequested { by: "ada".into(), reason: None };
        next.parks(&store, vec![happened]).await;
        assert_eq!(store.execution("exec_1").await.unwrap().unwrap().status, "cancelled");
    }

    async fn a_signal_wakes_what_waits_for_nothing_else(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.parks(&store, vec![lost("a")]).await;
        assert!(nothing_is_due(&store).await);
        let resolve = Signal::Resolve {
            step: "a".into(),
            started_at: Some(7),
            resolution: Resolution::Completed { output: json!({ "nul": "\u{0}" }) },
            by: "bob".into(),
        };
        assert!(store.signal("exec_1", &resolve).await.unwrap());
        assert!(store.signal("exec_1", &cancel()).await.unwrap());
        let claim = claim(&store, "worker_1").await;
        let loaded = store.load(&claim).await.unwrap();
        assert_eq!(loaded.signals, [(1, resolve), (2, cancel())]);
        assert_eq!(store.signals("exec_1", 1).await.unwrap(), [(2, cancel())]);
        assert!(store.signals("exec_1", 2).await.unwrap().is_empty());
    }

    async fn what_has_ended_hears_no_signal(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.parks(&store, vec![Event::AttemptFailed {
            step: "a".into(), error: StepError::permanent("broken", "no \u{0}"),
        }]).await;
        assert!(!store.signal("exec_1", &cancel()).await.unwrap());
        assert!(!store.signal("exec_unknown", &cancel()).await.unwrap());
        let row = store.execution("exec_1").await.unwrap().unwrap();
        let error: Value = serde_json::from_str(&row.error.unwrap()).unwrap();
        assert_eq!(error, json!({ "code": "broken", "message": "no \u{0}", "step": "a" }));
        assert!(row.ended_at.is_some());
        assert!(nothing_is_due(&store).await);
    }

    async fn of_many_signals_none_is_lost_however_they_fall(database) {
        const COUNT: i64 = 40;
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.parks(&store, vec![lost("a")]).await;
        let sender = store.clone();
        let sending = tokio::spawn(async move {
            for _ in 0..COUNT {
                // Nobody is cancelled: the reader takes note of the numbers only.
                assert!(sender.signal("exec_1", &cancel()).await.unwrap());
            }
        });
        let mut heard = Vec::new();
        let reading = async {
            while heard.last() != Some(&COUNT) {
                let Some(claim) = store.claim("worker_1", &[]).await.unwrap() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let mut driven = Driven::of(&store, claim).await;
                let signals = store.load(&driven.claim).await.unwrap().signals;
                heard.extend(signals.iter().map(|(number, _)| *number));
                driven.signals_done = heard.last().copied().unwrap_or_default();
                driven.parks(&store, vec![]).await;
            }
        };
        tokio::time::timeout(SOON, reading).await.expect("a signal was lost");
        sending.await.unwrap();
        assert_eq!(heard, (1..=COUNT).collect::<Vec<_>>());
        assert!(nothing_is_due(&store).await, "and none is left");
    }

    async fn only_what_is_held_is_renewed(database) {
        let store = database.open().await;
        let lease = "SELECT lease_until FROM executions WHERE id = 'exec_1'";
        create_due(&store, "exec_1").await;
        let mine = claim(&store, "worker_1").await;
        create_due(&store, "exec_2").await;
        claim(&store, "worker_2").await;
        create_due(&store, "exec_3").await;
        database.write("UPDATE executions SET lease_until = 1 WHERE id = 'exec_1'").await;
        let ids: Vec<String> = ["exec_1", "exec_2", "exec_3"].map(str::to_owned).into();
        let held = store.renew("worker_1", &ids).await.unwrap();
        assert_eq!(held.len(), 1);
        assert!(mine.is_epoch(held["exec_1"].0));
        assert!(store.now() < database.number(lease).await);

        database.let_the_lease_run_out("exec_1").await;
        database.write("UPDATE executions SET wake_at = 1 WHERE id = 'exec_1'").await;
        let taken = claim(&store, "worker_2").await;
        assert_eq!(taken.execution_id, "exec_1");
        assert!(store.renew("worker_1", &ids).await.unwrap().is_empty(), "it is another's now");
        let held = store.renew("worker_2", &ids).await.unwrap();
        assert!(taken.is_epoch(held["exec_1"].0) && !mine.is_epoch(held["exec_1"].0));
        assert!(store.renew("worker_2", &[]).await.unwrap().is_empty());
    }

    async fn a_lease_given_back_is_free_at_the_time_that_is_named(database) {
        let store = database.open().await;
        create_due(&store, "exec_1").await;
        let first = claim(&store, "worker_1").await;
        store.release(&first, store.now() + DAY_MS).await.unwrap();
        assert!(nothing_is_due(&store).await);
        database.write("UPDATE executions SET wake_at = 1").await;
        let second = claim(&store, "worker_2").await;
        store.release(&first, 0).await.unwrap();
        assert!(nothing_is_due(&store).await, "another's lease cannot be given back");
        store.release(&second, 0).await.unwrap();
        claim(&store, "worker_3").await;
    }

    async fn what_was_written_is_read_as_it_was(database) {
        let store = database.open().await;
        let large = json!({ "text": "x\u{0}☃".repeat(1024 * 1024), "z": 1, "a": [0.1, u64::MAX] });
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        driven.hears(&store, vec![]).await;
        driven.hears(&store, vec![succeeded("a", large.clone())]).await;
        driven.hears(&store, vec![lost("b")]).await;

        assert_eq!(database.number("SELECT COUNT(*) FROM payloads").await, 1, "large ones apart");
        let steps = store.steps("exec_1").await.unwrap();
        let seq = steps.iter().find(|step| step.step == "a").unwrap().output_seq.unwrap();
        let event = store.event("exec_1", seq).await.unwrap();
        assert!(event == Some(succeeded("a", large.clone())));
        assert!(store.event("exec_1", 999).await.unwrap().is_none());

        let (count, turns) = store.checkpoints("exec_1", 9).await.unwrap();
        assert_eq!((count, turns[1].steps.join(" ").as_str()), (4, "a b"));
        let loaded = store.load(&driven.claim).await.unwrap();
        let history = store.history("exec_1").await.unwrap();
        assert_eq!(history.len(), 6);
        // Compared without being shown: they are large.
        assert!(fold(&driven.workflow, "exec_1", &history) == driven.state, "the history says all");
        let Event::AttemptSucceeded { output, .. } = &history[2].1 else { panic!("its result") };
        let (read, written) = (output.to_string(), large.to_string());
        assert!(read == written, "byte for byte");
        assert_eq!(loaded.revision, workflow().hash);
        assert_eq!((loaded.requested_by.as_str(), loaded.tool_servers.as_str()), ("ada", SERVERS));
    }

    async fn an_event_of_a_newer_release_is_named_as_such(database) {
        let store = database.open().await;
        create_due(&store, "exec_1").await;
        database.write(r#"UPDATE events SET data = '{"kind":"teleported"}'"#).await;
        let error = store.history("exec_1").await.unwrap_err();
        assert!(!error.is_passing());
        let expected = "the history of execution exec_1 cannot be read by this release; \
                        a newer one may have written it";
        assert_eq!(error.to_string(), expected);
    }

    async fn the_rows_of_steps_follow_their_events(database) {
        let store = database.open().await;
        let mut driven = driven(&store, "exec_1", "worker_1").await;
        assert!(store.steps("exec_1").await.unwrap().is_empty(), "none has begun");
        driven.hears(&store, vec![]).await;
        let [a] = store.steps("exec_1").await.unwrap().try_into().unwrap();
        assert_eq!((a.step.as_str(), a.tool.as_str(), a.status.as_str()), ("a", "x.one", "running"));
        assert_eq!((a.attempts, a.ended_at, a.error, a.output_seq), (1, None, None, None));
        assert!(a.started_at.is_some());

        driven.hears(&store, vec![succeeded("a", json!(1))]).await;
        driven.parks(&store, vec![lost("b")]).await;
        let steps = store.steps("exec_1").await.unwrap();
        let step = |name| steps.iter().find(|step| step.step == name).unwrap();
        assert_eq!((step("a").status.as_str(), step("a").output_seq), ("completed", Some(3)));
        assert!(step("a").ended_at.is_some());
        assert_eq!(step("b").status, StepStatus::Uncertain.as_str());
        assert!(step("b").error.as_deref().unwrap().contains("interrupted"));
    }

    async fn a_list_has_ones_own_newest_and_all_that_wait(database) {
        let store = database.open().await;
        let now = store.now();
        let create_at = async |id: &str, by, at| {
            let worker = Some("worker_1");
            let created = create(&store, &Wish { by, worker, at: Some(at), ..wish(id) }).await.unwrap();
            let Created::New(Some(claim)) = created else { panic!("{id} is new") };
            Driven::of(&store, claim).await
        };
        for number in 0..4 {
            create_at(&format!("exec_{number}"), "ada", now + number).await;
        }
        create_at("exec_of_bob", "bob", now + 10).await;
        let mut waiting = create_at("exec_waiting", "bob", now - 10).await;
        waiting.hears(&store, vec![]).await;
        waiting.parks(&store, vec![lost("a")]).await;

        let rows = store.executions("ada", 2).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["exec_3", "exec_2", "exec_waiting"]);
        assert!(rows[2].waiting_for.as_deref().unwrap().starts_with("step a is uncertain"));
        assert_eq!(store.executions("carol", 5).await.unwrap().len(), 1);

        waiting.claim = claim_again(database, &store, "exec_waiting").await;
        let resolution = Resolution::Retry;
        let resolved = Event::StepResolved { step: "a".into(), resolution, by: "ada".into() };
        waiting.hears(&store, vec![resolved]).await;
        assert!(store.executions("carol", 5).await.unwrap().is_empty(), "nothing waits any more");
    }

    async fn the_eras_of_tool_servers_are_remembered(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        home.set_era("x#1", "\"2025\"").await.unwrap();
        home.set_era("y#1", "\"2026\"").await.unwrap();
        home.set_era("x#1", "\"2026\"").await.unwrap();
        let mut eras = home.eras().await.unwrap();
        eras.sort();
        let pair = |identity: &str| (identity.to_owned(), "\"2026\"".to_owned());
        assert_eq!(eras, [pair("x#1"), pair("y#1")]);
        assert!(away.eras().await.unwrap().is_empty());
    }

    async fn the_clock_is_the_databases(database) {
        let store = database.open().await;
        store.measure_clock().await.unwrap();
        let here = windlass::clock::now();
        assert!((store.now() - here).abs() < 5_000, "both are on one machine here");
    }

    async fn a_store_answers_until_it_is_closed(database) {
        let store = database.open().await;
        store.ping().await.unwrap();
        store.close().await;
        let error = store.ping().await.unwrap_err();
        assert!(error.to_string().starts_with("this process is closing the database"), "{error}");
    }

}

/// A parked execution is claimed because a test wants it to be.
async fn claim_again(database: &Database, store: &Store, id: &str) -> Claim {
    database.write(format!("UPDATE executions SET wake_at = 1 WHERE id = '{id}'")).await;
    claim(store, "worker_1").await
}
