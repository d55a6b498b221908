//! What the constructs of the language leave in rows: requests, locks, executions below others, and many steps.

use std::sync::Arc;

use windlass::store::{Answered, Beginning, ChildOutcome, NewChild, Said, request};
use windlass_engine::{Answer, Child, Look};

use super::*;

fn document(name: &str, mut more: Value) -> Value {
    more["name"] = json!(name);
    more
}

fn asking() -> Value {
    document("asking", json!({ "steps": [{ "name": "ok", "approval": { "message": "Go?" } }] }))
}

fn locked(on_busy: &str) -> Value {
    let lock = json!({ "key": "k", "onBusy": on_busy });
    document("locked", json!({ "lock": lock, "steps": [{ "name": "a", "tool": "x.one" }] }))
}

/// Creates an execution of a document, its first turn included, and leaves it leased.
pub(super) async fn begin(store: &Store, id: &str, document: &Value) -> Driven {
    begin_with(store, id, document, true).await
}

async fn begin_with(store: &Store, id: &str, document: &Value, first_turn: bool) -> Driven {
    let workflow = parse(&document.to_string()).unwrap();
    let mut state = State::new(&workflow, id, "ada");
    let at = store.now();
    let happened = vec![Event::ExecutionStarted { input: json!({}) }];
    let turn = if first_turn {
        advance(&workflow, &mut state, id, happened, at).unwrap()
    } else {
        state.apply(&workflow, &happened[0], at).unwrap();
        Turn { events: happened, ..Turn::default() }
    };
    let new = NewExecution {
        id,
        workflow: &workflow,
        source: "a test",
        requested_by: "ada",
        on_behalf_of: None,
        client_name: None,
        client_version: None,
        tool_servers: SERVERS,
        links: r#"{"asking":"h"}"#,
        linked: &[],
        idempotency_key: None,
        plan: None,
        request_hash: "h",
        state: &state,
        events: &turn.events,
        children: &[],
        at,
        worker: Some("worker_1"),
        priority: 0,
        traceparent: None,
        standing: None,
    };
    let Created::New(Some(claim)) = store.create(&new).await.unwrap() else { panic!("it is new") };
    Driven { claim, workflow, state, signals_done: 0, at }
}

impl Driven {
    /// What the execution was left since it was asked last.
    async fn words(&mut self, store: &Store) -> Vec<Signal> {
        let signals = store.signals(&self.claim.execution_id, self.signals_done).await.unwrap();
        self.signals_done = signals.last().map_or(self.signals_done, |(number, _)| *number);
        signals.into_iter().map(|(_, signal)| signal).collect()
    }

    async fn commits(&mut self, store: &Store, children: &[NewChild], turn: &Turn) -> Committed {
        let commit = Commit {
            workflow: &self.workflow,
            state: &self.state,
            events: &turn.events,
            children,
            cancels: &[],
            looks: &[],
            held_up: None,
            at: self.at,
            signals_done: self.signals_done,
            wake_at: turn.wake_at,
            release: false,
        };
        let committed = store.commit(&self.claim, &commit).await.unwrap();
        self.claim.last_seq = committed.last_seq;
        committed
    }

    /// Decides and commits until there is no more to decide; the steps that are called.
    async fn goes_on(&mut self, store: &Store, mut happened: Vec<Event>) -> Vec<String> {
        let mut called = Vec::new();
        loop {
            let turn = self.advance(store.now(), std::mem::take(&mut happened));
            self.commits(store, &[], &turn).await;
            called.extend(turn.calls.into_iter().map(|call| call.step));
            if !turn.is_unfinished {
                return called;
            }
        }
    }

    /// Ends the execution; who is due because of it.
    async fn ends(&mut self, store: &Store) -> Vec<String> {
        let happened = Event::CancelRequested { by: "ada".into(), reason: None };
        self.parks(store, vec![happened]).await.due
    }
}

fn granted(key: &str) -> Signal {
    Signal::LockGranted { step: None, key: key.into() }
}

fn approved() -> Answer {
    Answer::Approved { comment: None }
}

/// The one request that is open.
async fn asked(store: &Store) -> String {
    let [row] = store.open_requests(10).await.unwrap().try_into().unwrap();
    row.id
}

async fn status_of(store: &Store, request: &str) -> String {
    store.request(request).await.unwrap().unwrap().status
}

fn told(signal: Signal) -> Event {
    match signal {
        Signal::Answer { request, step, by, verified, answer } => {
            Event::RequestAnswered { step, request, by, verified, answer }
        }
        Signal::LockGranted { step, key } => Event::LockGranted { step, key },
        Signal::LockRefused { step, key, holder } => Event::LockRefused { step, key, holder },
        Signal::ChildEnded { step, outcome: ChildOutcome::Cancelled { .. }, .. } => {
            Event::AttemptFailed { step, error: StepError::permanent("cancelled", "it was") }
        }
        other => panic!("{other:?}"),
    }
}

/// An execution of another workflow, as a step begins it.
fn child(parent: &Driven, child: &Child, document: &Value) -> NewChild {
    let workflow = Arc::new(parse(&document.to_string()).unwrap());
    let mut state = State::new(&workflow, &child.execution_id, "ada");
    let events = vec![Event::ExecutionStarted { input: json!({}) }];
    state.apply(&workflow, &events[0], parent.at).unwrap();
    let beginning = Ok(Beginning { workflow, state, events });
    let (step, execution_id) = (child.step.clone(), child.execution_id.clone());
    NewChild { step, execution_id, beginning, goes_on: child.goes_on }
}

fn parent(lock: Option<&str>) -> Value {
    let steps = json!([{ "name": "below", "workflow": "asking" }]);
    match lock {
        Some(key) => document("parent", json!({ "lock": key, "steps": steps })),
        None => document("parent", json!({ "steps": steps })),
    }
}

/// A parent whose step runs `document`; the execution below it, claimed.
async fn family(store: &Store, lock: Option<&str>, document: &Value) -> (Driven, Driven) {
    let mut above = begin_with(store, "exec_above", &parent(lock), lock.is_some()).await;
    let happened: Vec<Event> = above.words(store).await.into_iter().map(told).collect();
    let turn = above.advance(store.now(), happened);
    let [decided] = turn.children.as_slice() else { panic!("{turn:?}") };
    let below = child(&above, decided, document);
    // What a child runs was stored when the topmost one began.
    let hash = &below.beginning.as_ref().unwrap().workflow.hash;
    store_revision(store, hash, document).await;
    let committed = above.commits(store, &[below], &turn).await;
    assert_eq!(committed.due, std::slice::from_ref(&decided.execution_id));
    let claim = claim(store, "worker_2").await;
    assert_eq!(claim.execution_id, decided.execution_id);
    (above, Driven::of(store, claim).await)
}

async fn store_revision(store: &Store, hash: &str, document: &Value) {
    let mut other = begin(store, "exec_for_its_revision", document).await;
    assert_eq!(other.workflow.hash, hash);
    other.ends(store).await;
}

on_both! {
    async fn a_question_is_open_until_somebody_answers(database) {
        let store = database.open().await;
        let mut asking = begin(&store, "exec_1", &asking()).await;
        let waits = async || store.execution("exec_1").await.unwrap().unwrap().waiting_for.unwrap();
        let first = waits().await;
        asking.parks(&store, vec![]).await;
        let waits = waits().await;
        assert_eq!(waits, first, "its first turn says it already");
        let id = asked(&store).await;
        assert!(waits.starts_with("approval of step ok: Go?") && waits.contains(&id), "{waits}");
        assert!(nothing_is_due(&store).await);
        assert!(matches!(store.answer("req_unknown", "bob", false, &approved()).await.unwrap(), Answered::Unknown));

        assert!(matches!(store.answer(&id, "bob", true, &approved()).await.unwrap(), Answered::Heard));
        let mut asking = Driven::of(&store, claim(&store, "worker_2").await).await;
        let heard = asking.words(&store).await;
        let [Signal::Answer { by, verified: true, .. }] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(by, "bob");
        assert_eq!(status_of(&store, &id).await, "open", "it is settled by the history");
        asking.parks(&store, heard.into_iter().map(told).collect()).await;
        let row = store.request(&id).await.unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.answered_by.as_deref()), ("answered", Some("bob")));
        assert_eq!(store.execution("exec_1").await.unwrap().unwrap().status, "completed");
        assert!(matches!(store.answer(&id, "carol", false, &approved()).await.unwrap(), Answered::TooLate(_)));
    }

    async fn one_person_counts_once_and_no_more_are_heard_than_were_asked_for(database) {
        let store = database.open().await;
        let steps = json!([{ "name": "ok", "approval": { "quorum": 2 } }]);
        let mut asking = begin(&store, "exec_1", &document("two", json!({ "steps": steps }))).await;
        asking.parks(&store, vec![]).await;
        let id = asked(&store).await;
        let say = async |by: &str| store.answer(&id, by, false, &approved()).await.unwrap();
        assert!(matches!(say("bob").await, Answered::Heard));
        assert!(matches!(say("bob").await, Answered::TooLate(_)));
        asking.claim = claim(&store, "worker_2").await;
        let heard = asking.words(&store).await;
        asking.parks(&store, heard.into_iter().map(told).collect()).await;
        assert_eq!(status_of(&store, &id).await, "open", "one more has to agree");
        assert!(matches!(say("carol").await, Answered::Heard));
        let Answered::TooLate(row) = say("dave").await else { panic!("two are enough") };
        let (_, said) = request::read(&row).unwrap();
        assert_eq!(said.iter().map(|said: &Said| said.by.as_str()).collect::<Vec<_>>(), ["bob", "carol"]);
        asking.claim = claim(&store, "worker_2").await;
        let heard = asking.words(&store).await;
        asking.parks(&store, heard.into_iter().map(told).collect()).await;
        assert_eq!(status_of(&store, &id).await, "answered");
    }

    async fn of_many_who_answer_at_once_one_is_heard(database) {
        let store = database.open().await;
        begin(&store, "exec_1", &asking()).await.parks(&store, vec![]).await;
        let id = asked(&store).await;
        let answer = |number: usize| {
            let (store, id) = (store.clone(), id.clone());
            tokio::spawn(async move {
                let by = format!("person_{number}");
                matches!(store.answer(&id, &by, false, &approved()).await.unwrap(), Answered::Heard)
            })
        };
        let mut heard = 0;
        for task in (0..8).map(answer).collect::<Vec<_>>() {
            heard += usize::from(task.await.unwrap());
        }
        assert_eq!((heard, store.signals("exec_1", 0).await.unwrap().len()), (1, 1));
    }

    async fn a_question_is_withdrawn_with_its_execution_and_runs_out_with_its_time(database) {
        let store = database.open().await;
        let mut asking = begin(&store, "exec_1", &super::asking()).await;
        let id = asked(&store).await;
        asking.ends(&store).await;
        assert_eq!(status_of(&store, &id).await, "withdrawn");
        assert!(store.open_requests(10).await.unwrap().is_empty());

        let mut late = begin(&store, "exec_2", &super::asking()).await;
        let id = asked(&store).await;
        database.write("UPDATE requests SET expires_at = 1 WHERE status = 'open'").await;
        assert!(matches!(store.answer(&id, "bob", false, &approved()).await.unwrap(), Answered::TooLate(_)));
        let expired = Event::RequestExpired { step: "ok".into(), request: id.clone() };
        late.parks(&store, vec![expired]).await;
        assert_eq!(status_of(&store, &id).await, "expired");
    }

    async fn questions_belong_to_a_workspace(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        begin(&home, "exec_1", &asking()).await;
        let id = asked(&home).await;
        assert!(away.open_requests(10).await.unwrap().is_empty());
        assert!(away.request(&id).await.unwrap().is_none());
        assert!(matches!(away.answer(&id, "bob", false, &approved()).await.unwrap(), Answered::Unknown));
    }

    async fn a_lock_passes_on_in_the_order_in_which_it_was_asked_for(database) {
        let store = database.open().await;
        let mut first = begin(&store, "exec_1", &locked("queue")).await;
        let mut second = begin(&store, "exec_2", &locked("queue")).await;
        let mut third = begin(&store, "exec_3", &locked("queue")).await;
        assert_eq!(first.claim.due, ["exec_1"], "it has a word to hear at once");
        assert_eq!(first.words(&store).await, [granted("k")]);
        assert!(second.words(&store).await.is_empty() && third.words(&store).await.is_empty());
        second.parks(&store, vec![]).await;
        third.parks(&store, vec![]).await;
        let [waits] = store.lock_waits("exec_3").await.unwrap().try_into().unwrap();
        assert_eq!((waits.key.as_str(), waits.holder.as_deref()), ("k", Some("exec_1")));
        let row = store.execution("exec_3").await.unwrap().unwrap();
        assert_eq!(row.waiting_for.as_deref(), Some("the execution waits for the lock \"k\""));
        assert!(nothing_is_due(&store).await);

        assert_eq!(first.ends(&store).await, ["exec_2"]);
        let mut second = Driven::of(&store, claim(&store, "worker_2").await).await;
        assert_eq!(second.words(&store).await, [granted("k")]);
        assert!(nothing_is_due(&store).await, "the third still waits");
        assert_eq!(second.ends(&store).await, ["exec_3"]);
        let mut third = Driven::of(&store, claim(&store, "worker_2").await).await;
        assert_eq!(third.words(&store).await, [granted("k")]);
        third.ends(&store).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 0);
    }

    async fn whoever_does_not_wait_for_a_lock_is_refused(database) {
        let store = database.open().await;
        begin(&store, "exec_1", &locked("queue")).await;
        let mut second = begin(&store, "exec_2", &locked("reject")).await;
        let refused = Signal::LockRefused { step: None, key: "k".into(), holder: "exec_1".into() };
        assert_eq!(second.words(&store).await, std::slice::from_ref(&refused));
        second.parks(&store, vec![told(refused)]).await;
        assert_eq!(store.execution("exec_2").await.unwrap().unwrap().status, "failed");
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 1);
    }

    async fn whoever_takes_a_lock_over_has_its_holder_cancelled(database) {
        let store = database.open().await;
        let mut first = begin(&store, "exec_1", &locked("queue")).await;
        first.words(&store).await;
        let mut second = begin(&store, "exec_2", &locked("replace")).await;
        assert_eq!(second.claim.due, ["exec_1"]);
        let [Signal::Cancel { by, reason: Some(reason) }] = &first.words(&store).await[..] else {
            panic!("the holder is told to stop")
        };
        assert_eq!((by.as_str(), reason.contains("exec_2")), ("lock", true));
        assert!(second.words(&store).await.is_empty(), "it waits for that");
        first.ends(&store).await;
        assert_eq!(second.words(&store).await, [granted("k")]);
    }

    async fn a_place_is_kept_while_a_person_thinks(database) {
        let store = database.open().await;
        let step = json!({ "name": "a", "tool": "x.one", "lock": "k", "approval": { "message": "Go?" } });
        let steps = document("thinking", json!({ "steps": [step] }));
        let mut holder = begin(&store, "exec_1", &locked("queue")).await;
        let mut thinking = begin(&store, "exec_2", &steps).await;
        let mut last = begin(&store, "exec_3", &locked("queue")).await;
        let id = asked(&store).await;
        assert_eq!(holder.ends(&store).await, ["exec_3"], "it is not kept for one who thinks");
        assert_eq!(last.words(&store).await, [granted("k")]);
        let mut late = begin(&store, "exec_4", &locked("queue")).await;
        let said = Event::RequestAnswered {
            step: "a".into(), request: id, by: "bob".into(), verified: false, answer: approved(),
        };
        thinking.hears(&store, vec![said]).await;
        assert!(thinking.words(&store).await.is_empty(), "it is held");
        assert_eq!(last.ends(&store).await, ["exec_2"], "whose place is before that of exec_4");
        let of_step = Signal::LockGranted { step: Some("a".into()), key: "k".into() };
        assert_eq!(thinking.words(&store).await, std::slice::from_ref(&of_step));
        thinking.hears(&store, vec![told(of_step)]).await;
        thinking.hears(&store, vec![succeeded("a", json!(1))]).await;
        assert_eq!(late.words(&store).await, [granted("k")], "with the step it is over");
    }

    async fn locks_belong_to_a_workspace(database) {
        let (home, away) = (database.open().await, database.open_as("away").await);
        begin(&home, "exec_1", &locked("reject")).await;
        let mut other = begin(&away, "exec_2", &locked("reject")).await;
        assert_eq!(other.words(&away).await, [granted("k")]);
    }

    async fn what_an_execution_holds_is_held_for_those_below(database) {
        let store = database.open().await;
        let (mut above, mut below) = family(&store, Some("k"), &locked("reject")).await;
        below.hears(&store, vec![]).await;
        assert_eq!(below.words(&store).await, [granted("k")], "though somebody holds it");
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 1);
        below.ends(&store).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 1, "it is the parent's");
        let heard = above.words(&store).await.into_iter().map(told).collect();
        above.parks(&store, heard).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 0);
    }

    async fn nobody_holds_a_second_lock_below_one_that_holds_a_first(database) {
        let store = database.open().await;
        let (_, mut below) = family(&store, Some("another"), &locked("queue")).await;
        below.hears(&store, vec![]).await;
        let holder = "exec_above".into();
        let refused = Signal::LockRefused { step: None, key: "k".into(), holder };
        assert_eq!(below.words(&store).await, [refused]);
    }

    async fn an_execution_below_begins_with_its_parents_commit_and_reports_its_end(database) {
        let store = database.open().await;
        let (mut above, mut below) = family(&store, None, &asking()).await;
        let loaded = store.load(&below.claim).await.unwrap();
        assert_eq!((loaded.depth, loaded.links.as_str()), (1, r#"{"asking":"h"}"#));
        assert_eq!((loaded.requested_by.as_str(), loaded.tool_servers.as_str()), ("ada", SERVERS));
        below.parks(&store, vec![]).await;
        let [row] = store.below("exec_above").await.unwrap().try_into().unwrap();
        assert_eq!((row.parent_id.as_str(), row.parent_step.as_str()), ("exec_above", "below"));
        assert!(row.waiting_for.unwrap().contains("approval of step ok"));
        let [request] = store.open_requests_of("exec_above").await.unwrap().try_into().unwrap();
        assert_eq!(request.execution_id, below.claim.execution_id);
        above.parks(&store, vec![]).await;
        assert!(nothing_is_due(&store).await, "both wait");

        database.write(format!("UPDATE executions SET wake_at = 1 WHERE id = '{}'", row.id)).await;
        below.claim = claim(&store, "worker_2").await;
        assert_eq!(below.ends(&store).await, ["exec_above"]);
        let claim = claim(&store, "worker_1").await;
        let heard = store.load(&claim).await.unwrap().signals;
        let ended = Signal::ChildEnded {
            step: "below".into(),
            execution_id: row.id,
            outcome: ChildOutcome::Cancelled { reason: None },
        };
        assert_eq!(heard, [(1, ended)]);
        assert!(store.below("exec_above").await.unwrap().is_empty());
    }

    async fn an_execution_below_begins_once_however_often_it_is_asked_for(database) {
        let store = database.open().await;
        let (mut above, mut below) = family(&store, None, &asking()).await;
        let id = below.claim.execution_id.clone();
        let again = Child {
            step: "below".into(), execution_id: id.clone(), workflow: "asking".into(), input: Arc::default(),
            goes_on: false,
        };
        let again = [child(&above, &again, &asking())];
        let turn = above.advance(store.now(), vec![]);
        let committed = above.commits(&store, &again, &turn).await;
        assert!(committed.due.is_empty(), "it lives");
        below.ends(&store).await;
        assert_eq!(above.words(&store).await.len(), 1);
        // Its step asks for it once more: it has ended, and that is said again.
        let committed = above.commits(&store, &again, &turn).await;
        assert_eq!(committed.due, ["exec_above"]);
        let [Signal::ChildEnded { execution_id, .. }] = &above.words(&store).await[..] else { panic!() };
        assert_eq!(*execution_id, id);
        let count = format!("SELECT COUNT(*) FROM executions WHERE id = '{id}'");
        assert_eq!(database.number(count).await, 1);
    }

    async fn an_execution_that_cannot_begin_is_reported_at_once(database) {
        let store = database.open().await;
        let mut above = begin_with(&store, "exec_above", &parent(None), false).await;
        let turn = above.advance(store.now(), vec![]);
        let error = StepError::permanent("invalid_input", "it does not fit \u{0}");
        let refused = NewChild {
            step: "below".into(), execution_id: "exec_below".into(), beginning: Err(error.clone()),
            goes_on: false,
        };
        let committed = above.commits(&store, &[refused], &turn).await;
        assert_eq!((committed.signals_in, committed.due), (1, vec!["exec_above".to_owned()]));
        let (step, execution_id) = ("below".into(), "exec_below".into());
        let outcome = ChildOutcome::Failed { error };
        assert_eq!(above.words(&store).await, [Signal::ChildEnded { step, execution_id, outcome }]);
        assert!(store.execution("exec_below").await.unwrap().is_none());
    }

    async fn what_was_seen_of_a_tool_that_is_not_done_is_one_row_that_the_next_worker_finds(database) {
        let store = database.open().await;
        let document = json!({ "name": "w", "steps": [{ "name": "a", "tool": "x.y" }] });
        let mut driven = begin_with(&store, "exec_polled", &document, true).await;
        let event = Event::PollingStarted { step: "a".into(), at: store.now() };
        let turn = driven.advance(store.now(), vec![event]);
        driven.commits(&store, &[], &turn).await;
        for count in [1, 2] {
            let look = Look { at: store.now() - 1, count, said: Some("nul \u{0} ☃".into()) };
            let looks = [("a".to_owned(), look.clone())];
            let commit = Commit {
                workflow: &driven.workflow,
                state: &driven.state,
                events: &[],
                children: &[],
                cancels: &[],
                looks: &looks,
                held_up: None,
                at: driven.at,
                signals_done: 0,
                wake_at: Some(look.at),
                release: true,
            };
            let committed = store.commit(&driven.claim, &commit).await.unwrap();
            assert_eq!(committed.last_seq, driven.claim.last_seq, "no event tells of it");
            driven.claim = store.claim("worker_next", &[]).await.unwrap().expect("it is due");
            assert_eq!(store.load(&driven.claim).await.unwrap().looks, looks);
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM looks".to_owned()).await, 1);
        let turn = driven.advance(store.now(), vec![succeeded("a", json!({}))]);
        driven.commits(&store, &[], &turn).await;
        assert_eq!(store.looks("exec_polled").await.unwrap(), [], "nobody waits any more");
    }

    async fn those_below_are_told_to_stop_with_the_commit_that_decides_it(database) {
        let store = database.open().await;
        let (mut above, mut below) = family(&store, None, &asking()).await;
        let happened = vec![Event::CancelRequested { by: "ada".into(), reason: None }];
        let turn = above.advance(store.now(), happened);
        assert_eq!(turn.cancels, ["below"]);
        let stopped = [below.claim.execution_id.clone()];
        let commit = Commit {
            workflow: &above.workflow,
            state: &above.state,
            events: &turn.events,
            children: &[],
            cancels: &stopped,
            looks: &[],
            held_up: None,
            at: above.at,
            signals_done: 0,
            wake_at: None,
            release: true,
        };
        assert_eq!(store.commit(&above.claim, &commit).await.unwrap().due, stopped);
        assert!(matches!(&below.words(&store).await[..], [Signal::Cancel { .. }]));
    }

    async fn thousands_of_instances_are_written_together(database) {
        const COUNT: usize = 1_000;
        let store = database.open().await;
        let items: Vec<String> = (0..COUNT).map(|number| format!("{number} nul \u{0} ☃")).collect();
        let fan = json!({
            "name": "fan", "forEach": "${ vars.items }", "maxParallel": COUNT, "tool": "x.one", "params": { "it": "${item}" },
        });
        let more = json!({ "vars": { "items": items }, "config": { "maxParallel": COUNT }, "steps": [fan] });
        let mut driven = begin_with(&store, "exec_1", &document("many", more), false).await;
        let began = std::time::Instant::now();
        let started = driven.goes_on(&store, vec![]).await;
        let done = started.iter().map(|step| succeeded(step, json!(step))).collect();
        driven.goes_on(&store, done).await;
        assert!(began.elapsed() < SOON, "one statement for many rows: {:?}", began.elapsed());
        let steps = store.steps("exec_1").await.unwrap();
        let completed = steps.iter().filter(|step| step.status == "completed").count();
        assert_eq!((steps.len(), completed), (COUNT + 1, COUNT + 1));

        let seventh = steps.iter().find(|step| step.step == "fan[7]").unwrap();
        let given = store.event("exec_1", seventh.params_seq.unwrap()).await.unwrap();
        let Some(Event::AttemptStarted { params, .. }) = given else { panic!("{given:?}") };
        assert_eq!(params, Some(json!({ "it": "7 nul \u{0} ☃" })));
        let seqs: Vec<i64> = steps.iter().filter_map(|step| step.output_seq).collect();
        assert_eq!(store.some_events("exec_1", &seqs).await.unwrap().len(), seqs.len());
        let history = store.history("exec_1").await.unwrap();
        assert!(fold(&driven.workflow, "exec_1", &history).output == driven.state.output);
    }

    async fn locks_and_ends_that_cross_keep_nobody_waiting(database) {
        const EACH: usize = 6;
        let store = database.open().await;
        let both = |key: usize| {
            let step = |name: &str, key: usize| {
                json!({ "name": name, "tool": "x.one", "lock": format!("k{key}"), "needs": [] })
            };
            let steps = [step("a", key), step("b", 1 - key)];
            document("both", json!({ "steps": steps }))
        };
        let drive = |number: usize| {
            let (store, document) = (store.clone(), both(number % 2));
            tokio::spawn(async move {
                for round in 0..EACH {
                    let id = format!("exec_{number}_{round}");
                    let mut driven = begin(&store, &id, &document).await;
                    while !driven.state.status.is_final() {
                        let heard = driven.words(&store).await.into_iter().map(told).collect();
                        let turn = driven.advance(store.now(), heard);
                        driven.commits(&store, &[], &turn).await;
                        let steps = turn.calls.iter().map(|call| call.step.as_str());
                        let done = steps.map(|step| succeeded(step, json!(1))).collect();
                        let turn = driven.advance(store.now(), done);
                        driven.commits(&store, &[], &turn).await;
                    }
                }
            })
        };
        let all = futures::future::join_all((0..8).map(drive));
        for ended in tokio::time::timeout(3 * SOON, all).await.expect("somebody waits for ever") {
            ended.unwrap();
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM lock_places").await, 0);
    }
}
