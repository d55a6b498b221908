//! The real store and what real workers would have in their hands, moved by the model's actions.

use std::{collections::BTreeMap, time::Instant};

use futures::future::join_all;
use windlass::store::{Missing, Reopening};
use windlass_model::{
    workflow::{Resolution as Said_, Word},
    world::{Key, Row, Wake},
};

use super::{super::*, Action, Said, World};

/// Leases of a schedule that takes this long are made to last, so that a slow machine is no fault.
const SLOW: std::time::Duration = std::time::Duration::from_secs(3);

/// As long as that, in milliseconds; no longer than any lease that is looked for.
const LONG_MS: i64 = 14_000;

/// What `at` lies in the past, so that each of them is due: turns are decided a second apart, an hour ago.
const HOUR_MS: i64 = 3_600_000;

/// A database with the executions of one schedule.
pub(super) struct Real<'d> {
    store: &'d Store,
    rows: Rows,
    ids: Vec<String>,
    held: BTreeMap<(u8, u8), Held>,
    clock: i64,
    began: Instant,
}

/// What a worker has of an execution.
struct Held {
    claim: Claim,
    worker: String,
    /// After it was loaded.
    driven: Option<Driven>,
    happened: Vec<Event>,
    /// A turn on its way, and whether the lease is given back.
    pending: Option<(Turn, bool)>,
}

/// The rows as they are, on a connection of the test's own.
enum Rows {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What the model has words for.
#[derive(Debug, PartialEq)]
struct Seen {
    status: String,
    epoch: i64,
    last_seq: i64,
    signals_in: i64,
    signals_done: i64,
    ended: bool,
    owner: Option<String>,
    /// Whether a lease holds.
    leased: bool,
    /// Whether it is claimed as soon as no lease holds.
    due: bool,
}

fn a_call_and_a_wait() -> Workflow {
    let steps =
        json!([{ "name": "a", "tool": "x.one" }, { "name": "b", "wait": { "event": "go" } }]);
    parse(&json!({ "name": "a_call_and_a_wait", "steps": steps }).to_string()).unwrap()
}

impl<'d> Real<'d> {
    pub(super) async fn begin(database: &Database, store: &'d Store, world: &World) -> Real<'d> {
        let mut rows = Rows::of(database).await;
        let known = rows.number("SELECT COUNT(*) AS n FROM executions").await;
        let clock = store.now() - HOUR_MS;
        let ids: Vec<_> = (0..world.rows.len()).map(|n| format!("exec_{known}_{n}")).collect();
        for id in &ids {
            let wish = Wish { workflow: a_call_and_a_wait, at: Some(clock), ..wish(id) };
            assert!(matches!(create(store, &wish).await.unwrap(), Created::New(None)));
        }
        Real { store, rows, ids, held: BTreeMap::new(), clock, began: Instant::now() }
    }

    /// Nobody looks at what is left of it.
    pub(super) async fn end(mut self) {
        let list = self.list();
        self.rows.write(format!("UPDATE executions SET wake_at = NULL WHERE id IN ({list})")).await;
    }

    fn list(&self) -> String {
        let quoted: Vec<_> = self.ids.iter().map(|id| format!("'{id}'")).collect();
        quoted.join(", ")
    }

    fn id(&self, execution: u8) -> &str {
        &self.ids[usize::from(execution)]
    }

    /// Fresh ones for each schedule, as they are for each process.
    fn name(&self, name: u8) -> String {
        format!("worker_{}_{name}", self.ids[0])
    }

    fn held(&mut self, key: Key) -> &mut Held {
        self.held.get_mut(&(key.execution, key.epoch)).expect("the model knows who holds what")
    }

    fn driven(&mut self, key: Key) -> &mut Driven {
        self.held(key).driven.as_mut().expect("it was loaded")
    }

    fn at(&mut self) -> i64 {
        self.clock += 1_000;
        self.clock
    }

    /// Does it, and says what the store said.
    pub(super) async fn act(&mut self, action: Action, before: &World, after: &World) -> Said {
        if SLOW <= self.began.elapsed() {
            self.make_leases_last().await;
        }
        match action {
            Action::Claim { worker, execution, is_lost } => {
                return self.claim(before, worker, execution, is_lost).await;
            }
            Action::Load(key) => return self.load(key).await,
            Action::Listen(key) => self.listen(key).await,
            Action::Turn(key) => self.turn(key),
            Action::Commit { key, is_lost } => {
                let held = &self.held[&(key.execution, key.epoch)];
                let said = commit(self.store, held).await;
                self.take_note(key, &said, is_lost);
                return said;
            }
            Action::Group { is_lost, .. } => return self.group(action, before, is_lost).await,
            Action::Renew(key) => return self.renew(key).await,
            Action::Renewed(_) => self.keep_only(after),
            Action::HoldBack(key) => self.comes_home(key, interrupted(true)),
            Action::Answer(key) => self.answer(key, before),
            Action::SetAside(key) => {
                let held = self.held.remove(&(key.execution, key.epoch)).unwrap();
                self.store.release(&held.claim, self.store.now() + HOUR_MS).await.unwrap();
            }
            Action::HandBack(key) => self.hand_back(key),
            Action::Tell { execution, word } => {
                let signal =
                    Signal::Event { name: name_of(word).into(), data: json!(1), by: "bob".into() };
                return Said::Told(self.store.signal(self.id(execution), &signal).await.unwrap());
            }
            Action::Resolve { execution, resolution, .. } => {
                return self.resolve(execution, resolution).await;
            }
            Action::Pause { execution } => {
                let signal = Signal::Pause { by: "ada".into(), reason: None };
                return Said::Told(self.store.signal(self.id(execution), &signal).await.unwrap());
            }
            Action::Resume { execution } => {
                let signal = Signal::Resume { by: "ada".into() };
                return Said::Told(self.store.signal(self.id(execution), &signal).await.unwrap());
            }
            Action::Reopen { execution } => {
                let reopening = Reopening { by: "ada", input: None, more: None };
                let opened = self.store.reopen(self.id(execution), &reopening).await;
                return Said::Told(opened.unwrap());
            }
            Action::Expire { name } if self.rows.is_postgres() => {
                self.take_over(name, before).await
            }
            Action::Tick | Action::Expire { .. } => self.time_passes(before, after).await,
            Action::Crash { .. } => self.keep_only(after),
            Action::Send { .. }
            | Action::Lose { .. }
            | Action::Regain { .. }
            | Action::Freeze { .. }
            | Action::Thaw { .. } => {}
        }
        Said::Nothing
    }

    async fn claim(&mut self, world: &World, worker: u8, execution: u8, is_lost: bool) -> Said {
        let worker = self.name(world.worker(worker).name);
        let choices = world.rows.iter().filter(|row| row.is_claimable()).count();
        let claim = match choices {
            1 => self.store.claim(&worker, &[]).await.unwrap(),
            // The store chooses by itself; the model's choice is one that others might have left.
            _ => self.store.claim_among(&worker, &[self.id(execution).to_owned()]).await.unwrap(),
        };
        let claim = claim.expect("it is due");
        assert_eq!(claim.execution_id, self.id(execution));
        let epoch = world.row(execution).epoch + 1;
        assert!(claim.is_epoch(i64::from(epoch)), "{claim:?}");
        let last_seq = u8::try_from(claim.last_seq).unwrap();
        if !is_lost {
            let held = Held { claim, worker, driven: None, happened: Vec::new(), pending: None };
            self.held.insert((execution, epoch), held);
        }
        Said::Claimed { key: Key { execution, epoch }, last_seq }
    }

    async fn load(&mut self, key: Key) -> Said {
        let store = self.store;
        let held = self.held(key);
        let loaded = match store.load(&held.claim).await {
            Ok(loaded) => loaded,
            Err(Error::Fenced(_)) => {
                self.held.remove(&(key.execution, key.epoch));
                return Said::Fenced;
            }
            Err(err) => panic!("{err}"),
        };
        let driven = Driven::of(store, held.claim.clone()).await;
        if !driven.state.running_steps().is_empty() {
            held.happened.push(interrupted(false));
        }
        held.driven = Some(driven);
        let unread = u8::try_from(loaded.signals.len()).unwrap();
        held.hear(loaded.signals);
        Said::Loaded { unread }
    }

    async fn listen(&mut self, key: Key) {
        let store = self.store;
        let held = self.held(key);
        let after = held.driven.as_ref().unwrap().signals_done;
        let signals = store.signals(&held.claim.execution_id, after).await.unwrap();
        held.hear(signals);
    }

    fn turn(&mut self, key: Key) {
        let at = self.at();
        let is_out = self.held(key).driven.as_ref().is_some_and(is_out);
        let held = self.held(key);
        let happened = std::mem::take(&mut held.happened);
        let ends = happened.iter().any(|event| {
            matches!(
                event,
                Event::AttemptSucceeded { .. }
                    | Event::AttemptFailed { .. }
                    | Event::AttemptUncertain { .. }
            )
        });
        let turn = held.driven.as_mut().unwrap().advance(at, happened);
        let release = (!is_out || ends) && turn.calls.is_empty() && !turn.is_unfinished;
        held.pending = Some((turn, release));
    }

    /// What came home is written without a decision, and the rest is left to others.
    fn hand_back(&mut self, key: Key) {
        let at = self.at();
        let held = self.held(key);
        let events = std::mem::take(&mut held.happened);
        let driven = held.driven.as_mut().unwrap();
        for event in &events {
            driven.state.apply(&driven.workflow, event, at).unwrap();
        }
        driven.at = at;
        held.pending = Some((Turn { events, wake_at: Some(at), ..Turn::default() }, true));
    }

    async fn group(&mut self, action: Action, before: &World, is_lost: bool) -> Said {
        let Action::Group { worker, .. } = action else { panic!("{action:?}") };
        let keys = windlass_model::rules::members(before, worker);
        let store = self.store;
        let commits = keys.iter().map(|key| commit(store, &self.held[&(key.execution, key.epoch)]));
        let said = join_all(commits).await;
        let said: Vec<_> = keys.into_iter().zip(said).collect();
        for (key, said) in &said {
            self.take_note(*key, said, is_lost);
        }
        Said::Group(said)
    }

    fn take_note(&mut self, key: Key, said: &Said, is_lost: bool) {
        if is_lost {
            return;
        }
        let is_final = self.driven(key).state.status.is_final();
        let (_, release) = self.held(key).pending.take().unwrap();
        let Said::Committed(last_seq, _) = said else {
            self.held.remove(&(key.execution, key.epoch));
            return;
        };
        self.driven(key).claim.last_seq = i64::from(*last_seq);
        if release || is_final {
            self.held.remove(&(key.execution, key.epoch));
        }
    }

    async fn renew(&mut self, key: Key) -> Said {
        let (store, id) = (self.store, self.id(key.execution).to_owned());
        let renewed = store.renew_one(&self.held(key).worker, &id).await.unwrap();
        let small = |number: i64| u8::try_from(number).unwrap();
        Said::Renewed(renewed.map(|(epoch, signals)| (small(epoch), small(signals))))
    }

    fn comes_home(&mut self, key: Key, event: Event) {
        self.held(key).happened.push(event);
    }

    fn answer(&mut self, key: Key, before: &World) {
        let call = before.drive(key).unwrap().call;
        let is_done = call == windlass_model::world::Out::Sent { is_done: true };
        let event = match is_done {
            true => succeeded("a", json!(1)),
            false => Event::AttemptFailed {
                step: "a".into(),
                error: StepError::permanent("broken", "no"),
            },
        };
        self.comes_home(key, event);
    }

    async fn resolve(&mut self, execution: u8, resolution: Said_) -> Said {
        let id = self.id(execution);
        let steps = self.store.steps(id).await.unwrap();
        let step = steps.iter().find(|step| step.step == "a").unwrap();
        assert_eq!(
            step.status,
            StepStatus::Uncertain.as_str(),
            "a person sees that they are asked"
        );
        let resolution = match resolution {
            Said_::Completed => Resolution::Completed { output: json!(2) },
            Said_::Retry => Resolution::Retry,
        };
        let started_at = step.started_at;
        let signal = Signal::Resolve { step: "a".into(), started_at, resolution, by: "bob".into() };
        Said::Told(self.store.signal(id, &signal).await.unwrap())
    }

    /// The lock that a worker's row names is held by nobody.
    async fn take_over(&mut self, name: u8, before: &World) {
        let (worker, now, key) = (self.name(name), self.store.now(), self.clock);
        let row = format!(
            "INSERT INTO workers (id, workspace, started_at, seen_at, lock_key)
             VALUES ('{worker}', 'home', {now}, {now}, {key}) ON CONFLICT (id) DO UPDATE SET lock_key = {key}"
        );
        self.rows.write(row).await;
        let held = before.rows.iter().filter(|row| row.owner == Some(name) && 0 < row.lease);
        let ended = self.store.take_over(&Missing { worker, key }).await.unwrap();
        assert_eq!(ended, held.count(), "its leases are ended");
    }

    /// Whatever the model's time did to a row is done to the real one.
    async fn time_passes(&mut self, before: &World, after: &World) {
        for (n, (before, after)) in before.rows.iter().zip(&after.rows).enumerate() {
            let id = self.ids[n].clone();
            if 0 < before.lease && after.lease == 0 {
                // What was to be looked at by the end of the lease is due with it.
                let sql = "wake_at = CASE WHEN wake_at <= lease_until THEN 1 ELSE wake_at END, lease_until = 0";
                self.rows.write(format!("UPDATE executions SET {sql} WHERE id = '{id}'")).await;
            }
            if before.wake == Wake::Soon && after.wake == Wake::Due {
                self.rows
                    .write(format!("UPDATE executions SET wake_at = 1 WHERE id = '{id}'"))
                    .await;
            }
        }
    }

    async fn make_leases_last(&mut self) {
        let (end, list) = (self.store.now() + LONG_MS, self.list());
        let sql = format!(
            "UPDATE executions SET wake_at = CASE WHEN wake_at = lease_until THEN {end} ELSE wake_at END,
                 lease_until = {end} WHERE 0 < lease_until AND id IN ({list})"
        );
        self.rows.write(sql).await;
    }

    /// What nobody holds any more is let go.
    fn keep_only(&mut self, world: &World) {
        self.held.retain(|(execution, epoch), _| {
            let key = Key { execution: *execution, epoch: *epoch };
            world.drive(key).is_some()
        });
    }

    /// What is different in the real database.
    pub(super) async fn compare(&mut self, action: Action, world: &World) -> Result<(), String> {
        let held: Vec<_> = self.held.keys().copied().collect();
        let mut drives: Vec<_> =
            world.drives.iter().map(|drive| (drive.key.execution, drive.key.epoch)).collect();
        drives.sort_unstable();
        same("who drives", &held, &drives)?;
        let written = matches!(action, Action::Commit { .. } | Action::Group { .. });
        for (n, row) in world.rows.iter().enumerate() {
            let id = self.ids[n].clone();
            let seen = self.rows.read(&id).await;
            same("a row", &seen, &self.expected(row))?;
            if written {
                let history = self.store.history(&id).await.unwrap();
                let real: Vec<_> = history.iter().map(|(_, event)| event.kind()).collect();
                let expected: Vec<_> = row.history().map(|event| event.kind()).collect();
                same("a history", &real, &expected)?;
            }
        }
        for drive in &world.drives {
            let (turn, release) = match &self.held(drive.key).pending {
                None => (None, false),
                Some((turn, release)) => (Some(turn), *release),
            };
            let real = turn.map(|turn| turn.events.iter().map(Event::kind).collect::<Vec<_>>());
            let pending = drive.pending.as_ref();
            let expected =
                pending.map(|one| one.events.iter().map(|event| event.kind()).collect::<Vec<_>>());
            same("a turn", &real, &expected)?;
            same("giving back", &release, &pending.is_some_and(|pending| pending.release))?;
        }
        if world.rows.iter().all(|row| !row.is_claimable()) {
            same("that nothing is due", &nothing_is_due(self.store).await, &true)?;
        }
        Ok(())
    }

    fn expected(&self, row: &Row) -> Seen {
        Seen {
            status: row.status.as_str().to_owned(),
            epoch: row.epoch.into(),
            last_seq: row.last_seq.into(),
            signals_in: row.signals_in().into(),
            signals_done: row.signals_done.into(),
            ended: row.status.is_final(),
            owner: row.owner.map(|name| self.name(name)),
            leased: 0 < row.lease,
            due: row.wake == Wake::Due,
        }
    }
}

impl Held {
    /// As the worker does it.
    fn hear(&mut self, mut signals: Vec<(i64, Signal)>) {
        let driven = self.driven.as_mut().unwrap();
        let has_ended = driven.state.status.is_final();
        if has_ended {
            signals.sort_by_key(|(_, signal)| matches!(signal, Signal::Event { .. }));
        }
        for (number, signal) in signals {
            driven.signals_done = driven.signals_done.max(number);
            let known = &self.happened;
            let goes_on = known.iter().any(|event| matches!(event, Event::ExecutionRetried { .. }));
            let (state, workflow, at) = (&driven.state, &driven.workflow, driven.at);
            let if_allowed =
                |event: Event| state.allows(workflow, known, &event, at).then_some(event);
            let is_paused = known.iter().rev().find_map(|event| match event {
                Event::ExecutionPaused { .. } => Some(true),
                Event::ExecutionResumed { .. } => Some(false),
                _ => None,
            });
            let is_paused = is_paused.unwrap_or(state.is_paused());
            let event = match signal {
                Signal::Retry { by, input, children } => {
                    if_allowed(Event::ExecutionRetried { by, input, children })
                }
                _ if has_ended && !goes_on => None,
                Signal::Pause { by, reason } => (!is_paused)
                    .then_some(Event::ExecutionPaused { by, reason })
                    .and_then(if_allowed),
                Signal::Resume { by } => {
                    is_paused.then_some(Event::ExecutionResumed { by }).and_then(if_allowed)
                }
                Signal::Event { name, data, by } => Some(Event::EventReceived { name, data, by }),
                Signal::Resolve { step, started_at, resolution, by } => {
                    let same =
                        driven.state.step(&step).is_some_and(|step| step.started_at == started_at);
                    let is_meant = same && driven.state.may_be_resolved(&step);
                    let mut happened = self.happened.iter();
                    let is_first =
                        !happened.any(|event| matches!(event, Event::StepResolved { .. }));
                    (is_meant && is_first).then_some(Event::StepResolved { step, resolution, by })
                }
                other => panic!("nobody says {other:?}"),
            };
            self.happened.extend(event);
        }
    }
}

impl Rows {
    fn is_postgres(&self) -> bool {
        matches!(self, Rows::Postgres(_))
    }

    async fn of(database: &Database) -> Rows {
        if database.is_postgres() {
            Rows::Postgres(PgConnection::connect(&database.url).await.unwrap())
        } else {
            Rows::Sqlite(SqliteConnection::connect(&database.url).await.unwrap())
        }
    }

    async fn write(&mut self, sql: String) {
        let sql = AssertSqlSafe(sql);
        match self {
            Rows::Sqlite(connection) => _ = sqlx::raw_sql(sql).execute(connection).await.unwrap(),
            Rows::Postgres(connection) => _ = sqlx::raw_sql(sql).execute(connection).await.unwrap(),
        }
    }

    async fn number(&mut self, sql: &'static str) -> i64 {
        match self {
            Rows::Sqlite(connection) => {
                sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
            }
            Rows::Postgres(connection) => {
                sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
            }
        }
    }

    async fn read(&mut self, id: &str) -> Seen {
        const SQL: &str =
            "SELECT status, lease_epoch, last_seq, signals_in, signals_done, ended_at, lease_owner,
            lease_until, wake_at FROM executions WHERE id = $1";
        match self {
            Rows::Sqlite(connection) => {
                seen(&sqlx::query(SQL).bind(id).fetch_one(connection).await.unwrap())
            }
            Rows::Postgres(connection) => {
                seen(&sqlx::query(SQL).bind(id).fetch_one(connection).await.unwrap())
            }
        }
    }
}

fn seen<R: sqlx::Row>(row: &R) -> Seen
where
    for<'r> i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'n> &'n str: sqlx::ColumnIndex<R>,
{
    let now = windlass::clock::now();
    let (until, wake_at): (i64, Option<i64>) = (row.get("lease_until"), row.get("wake_at"));
    Seen {
        status: row.get("status"),
        epoch: row.get("lease_epoch"),
        last_seq: row.get("last_seq"),
        signals_in: row.get("signals_in"),
        signals_done: row.get("signals_done"),
        ended: row.get::<Option<i64>, _>("ended_at").is_some(),
        owner: row.get("lease_owner"),
        leased: now < until,
        // A second more: the database's clock and ours are two.
        due: wake_at.is_some_and(|at| at <= until.max(now + 1_000)),
    }
}

async fn commit(store: &Store, held: &Held) -> Said {
    let (driven, (turn, release)) = (held.driven.as_ref().unwrap(), held.pending.as_ref().unwrap());
    match driven.commit(store, turn, *release).await {
        Ok(Committed { last_seq, signals_in, .. }) => {
            Said::Committed(u8::try_from(last_seq).unwrap(), u8::try_from(signals_in).unwrap())
        }
        Err(Error::Fenced(id)) => {
            assert_eq!(id, held.claim.execution_id);
            Said::Fenced
        }
        Err(err) => panic!("{err}"),
    }
}

/// Whether the call is out as far as this worker knows.
fn is_out(driven: &Driven) -> bool {
    !driven.state.running_steps().is_empty()
}

fn interrupted(repeatable: bool) -> Event {
    let error = StepError::permanent("interrupted", "gone");
    Event::AttemptUncertain { step: "a".into(), error, repeatable }
}

fn name_of(word: Word) -> &'static str {
    match word {
        Word::Go => "go",
        Word::Noise => "noise",
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, expected: &T) -> Result<(), String> {
    if real == expected {
        Ok(())
    } else {
        Err(format!("{what} is {real:?}, in the model {expected:?}"))
    }
}
