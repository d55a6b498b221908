//! The one write that matters: everything a turn decided, in one transaction, behind the fence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Instant,
};

use windlass_engine::{Event, Kind, Look, Request, RequestKind, State, Status, Step, Workflow};

use super::{
    Error, NewChild, Result, Signal, Store, child,
    db::{Arg, Sql, Tx, args, row},
    execution::{insert_signals, put_signals},
    lease::{Claim, LEASE_MS},
    lock::Desk,
    looks, min_engine,
    record::{self, Lines, Record, either},
    reopen::{Reopening, reopen},
    rows::{self, Columns, Row, Type},
    writer::{Write, Written},
};
use crate::metrics;

/// Everything one turn decided.
pub struct Commit<'t> {
    /// The workflow that is executed.
    pub workflow: &'t Workflow,
    /// The state after the events.
    pub state: &'t State,
    /// What happened since the last commit, in order.
    pub events: &'t [Event],
    /// The executions that steps begin.
    pub children: &'t [NewChild],
    /// The executions below this one that are told to stop.
    pub cancels: &'t [String],
    /// What was seen of steps whose tools are not done.
    pub looks: &'t [(String, Look)],
    /// Whether a person or a lock is waited for, where that has changed since the last commit: the execution above
    /// hears of it.
    pub held_up: Option<bool>,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// The number of the last signal that the events take into account.
    pub signals_done: i64,
    /// When to look at the execution again without a signal; used when the lease is given back.
    pub wake_at: Option<i64>,
    /// Whether the lease is given back: nothing is out, or the execution has ended.
    pub release: bool,
}

/// What a commit found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Committed {
    /// The sequence number of the newest event.
    pub last_seq: i64,
    /// Higher than `signals_done` when a signal came in meanwhile.
    pub signals_in: i64,
    /// Other executions that are due now: they have begun, or have something to hear.
    pub due: Vec<String>,
}

/// What a turn makes of its execution's row, in the order of [`values`]; the first three have to match.
pub(super) const TURN_COLUMNS: &Columns = &[
    ("id", Type::Text),
    ("epoch", Type::Int),
    ("known_seq", Type::Int),
    ("status", Type::Text),
    ("error", Type::Text),
    ("waiting_for", Type::Text),
    ("last_seq", Type::Int),
    ("signals_done", Type::Int),
    ("own_signals", Type::Int),
    ("ended", Type::Int),
    ("at", Type::Int),
    ("wake_at", Type::Int),
    ("released", Type::Int),
    ("min_engine", Type::Int),
    ("lease_until", Type::Int),
    ("tells_parent", Type::Int),
];

/// What turns `r` make of the rows `e` of their executions. An end that the execution above has to hear of is not
/// written without telling it.
///
/// While the lease is held the row stays due as it is, so that whoever finds the lease run out goes on: a value that an
/// index holds is not changed for nothing. Signals are compared in the row that is updated, so that none is missed.
pub(super) fn update_from(source: &str) -> String {
    format!(
        "UPDATE executions AS e SET
            status = r.status, error = r.error, waiting_for = r.waiting_for, last_seq = r.last_seq,
            signals_done = r.signals_done, signals_in = e.signals_in + r.own_signals,
            wake_at = CASE WHEN r.ended = 1 THEN NULL
                WHEN e.signals_in + r.own_signals > r.signals_done THEN r.at
                WHEN r.released = 1 THEN r.wake_at ELSE COALESCE(e.wake_at, r.at) END,
            lease_owner = CASE WHEN r.released = 1 THEN NULL ELSE e.lease_owner END,
            lease_until = CASE WHEN r.released = 1 THEN 0
                WHEN e.lease_until < r.lease_until THEN r.lease_until ELSE e.lease_until END,
            updated_at = r.at, ended_at = CASE WHEN r.ended = 1 THEN r.at ELSE NULL END,
            min_engine = CASE WHEN e.min_engine < r.min_engine THEN r.min_engine ELSE e.min_engine END
        FROM {source}
        WHERE e.id = r.id AND e.lease_epoch = r.epoch AND e.last_seq = r.known_seq
          AND (r.tells_parent = 1 OR r.ended = 0 OR e.parent_id IS NULL)"
    )
}

/// What comes back of the rows on Postgres.
pub(super) const RETURNING: &str = "RETURNING e.id, e.signals_in";

/// Writes a turn to the row of its execution.
pub(super) static UPDATE: LazyLock<[String; 2]> = LazyLock::new(|| {
    let update = update_from(&rows::one(TURN_COLUMNS, 1));
    // SQLite returns nothing but the table's own columns, and does not know it by its other name there.
    [format!("{update} RETURNING id, signals_in"), format!("{update} {RETURNING}")]
});

/// Writes a turn to the row of its execution; the number of its newest signal, if the row was still the turn's.
async fn update(tx: &mut Tx, row: Row<'_>) -> Result<Option<i64>> {
    let written: Option<(String, i64)> = tx.optional(either(&UPDATE), &row).await?;
    Ok(written.map(|(_, signals_in)| signals_in))
}

/// A turn that writes nothing but its own execution's rows, on its way into the database.
pub(super) struct PlainTurn {
    pub(super) execution_id: String,
    pub(super) last_seq: i64,
    pub(super) row: Row<'static>,
    pub(super) lines: Lines,
}

impl PlainTurn {
    /// Its rows; nothing when others are concerned too, or they are too large to be written with others.
    fn of(store: &Store, claim: &Claim, commit: &Commit<'_>) -> Result<Option<PlainTurn>> {
        let Commit { workflow, state, events, children, cancels, looks, held_up, .. } = commit;
        let alone = !(children.is_empty() && cancels.is_empty() && looks.is_empty());
        if alone || held_up.is_some() || !is_plain(workflow, events, state.status.is_final()) {
            return Ok(None);
        }
        let lines = Lines::of(claim.last_seq, &commit.record(&store.workspace, claim))?;
        if lines.has_large() {
            return Ok(None);
        }
        let row = values(claim, commit, store.now() + LEASE_MS, None);
        Ok(Some(PlainTurn {
            execution_id: claim.execution_id.clone(),
            last_seq: claim.last_seq_after(commit.events),
            row: row.into_iter().map(Arg::into_owned).collect(),
            lines,
        }))
    }
}

/// Whether events concern nothing but the rows of their own execution: no lock, no person, nobody who waits for it.
pub(super) fn is_plain(workflow: &Workflow, events: &[Event], ended: bool) -> bool {
    let asks = |step: &Step| {
        step.approval.is_some() || matches!(step.kind, Kind::Approval(_) | Kind::Ask(_))
    };
    if ended {
        let locks =
            workflow.lock.is_some() || workflow.steps.iter().any(|step| step.lock.is_some());
        let settles = events.iter().any(|event| event.settled_by_hand().is_some());
        return !locks && !settles && !workflow.steps.iter().any(asks);
    }
    let is_of_others = |event: &Event| match event {
        Event::LockRequested { .. }
        | Event::LockReleased { .. }
        | Event::ExecutionPaused { .. }
        | Event::ExecutionResumed { .. }
        | Event::ExecutionRetried { .. } => true,
        // What a step holds ends with it, persons who are asked there among it.
        event if event.settled_by_hand().is_some() => true,
        event => event.step().and_then(|path| workflow.step_at(path)).is_some_and(asks),
    };
    !events.iter().any(is_of_others)
}

impl Claim {
    fn last_seq_after(&self, events: &[Event]) -> i64 {
        self.last_seq + i64::try_from(events.len()).unwrap_or(i64::MAX)
    }
}

impl<'t> Commit<'t> {
    fn record<'r>(&self, workspace: &'r str, claim: &'r Claim) -> Record<'r>
    where
        't: 'r,
    {
        Record {
            workspace,
            execution_id: &claim.execution_id,
            workflow: self.workflow,
            state: self.state,
            events: self.events,
            at: self.at,
            worker: &claim.worker,
        }
    }
}

impl Store {
    /// Writes a turn, unless the claim has been lost.
    ///
    /// The sequence number is matched as well as the epoch: a commit whose answer was lost may be
    /// sent again, and is recognised instead of being refused.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another worker has claimed the execution since.
    pub async fn commit(&self, claim: &Claim, commit: &Commit<'_>) -> Result<Committed> {
        if let Some(turn) = PlainTurn::of(self, claim, commit)? {
            let last_seq = turn.last_seq;
            // Who is not written together with others is told why by itself.
            if let Written::Yes(signals_in) = self.writer.write(Write::Turn(turn)).await {
                return Ok(Committed { last_seq, signals_in, due: Vec::new() });
            }
        }
        self.commit_alone(claim, commit).await
    }

    async fn commit_alone(&self, claim: &Claim, commit: &Commit<'_>) -> Result<Committed> {
        let began = Instant::now();
        let last_seq = claim.last_seq_after(commit.events);
        let happened = Happened {
            execution_id: &claim.execution_id,
            events: commit.events,
            children: commit.children,
            cancels: commit.cancels,
            held_up: commit.held_up,
            ended: commit.state.status.is_final(),
            worker: &claim.worker,
        };
        let mut tx = self.db.begin().await?;
        let effects = Effects::prepare(&mut tx, &self.workspace, &happened).await?;
        let row = values(claim, commit, self.now() + LEASE_MS, Some(effects.own()));
        let Some(signals_in) = update(&mut tx, row).await? else {
            return committed_before(&mut tx, claim, last_seq).await;
        };
        record::write(&mut tx, claim.last_seq, &commit.record(&self.workspace, claim)).await?;
        looks::write(&mut tx, &claim.execution_id, commit.looks).await?;
        let workspace = &self.workspace;
        let due = effects.write(&mut tx, workspace, &happened, signals_in, commit.at).await?;
        tx.commit().await?;
        metrics::committed(1, began);
        Ok(Committed { last_seq, signals_in, due })
    }
}

/// What happened to one execution, as far as others are concerned.
pub(super) struct Happened<'h> {
    pub(super) execution_id: &'h str,
    pub(super) events: &'h [Event],
    pub(super) children: &'h [NewChild],
    pub(super) cancels: &'h [String],
    pub(super) held_up: Option<bool>,
    pub(super) ended: bool,
    pub(super) worker: &'h str,
}

/// What follows from a turn for its own and other executions, beside its own rows.
pub(super) struct Effects {
    desk: Desk,
    own: Vec<Signal>,
    /// In the order of their ids, in which everybody locks them.
    others: BTreeMap<String, Vec<Signal>>,
    /// The executions below this one that failed and go on.
    reopened: BTreeSet<String>,
}

impl Effects {
    /// Finds out who has to hear what. On Postgres it locks what the transaction goes on to write, in one order for
    /// everybody: keys first, then executions.
    pub(super) async fn prepare(
        tx: &mut Tx,
        workspace: &str,
        happened: &Happened<'_>,
    ) -> Result<Effects> {
        let Happened { execution_id, events, children, cancels, held_up, ended, .. } = *happened;
        let mut desk = Desk::open(tx, workspace, execution_id, events, ended).await?;
        let mut effects = Effects {
            own: Vec::new(),
            others: BTreeMap::new(),
            reopened: child::to_reopen(tx, children).await?,
            desk: Desk::default(),
        };
        for (to, signal) in std::mem::take(&mut desk.signals) {
            effects.say(execution_id, to, signal);
        }
        effects.desk = desk;
        for signal in child::known(tx, children, &effects.reopened).await? {
            effects.say(execution_id, execution_id.to_owned(), signal);
        }
        for (child, signal) in child::told(tx, execution_id, events).await? {
            effects.say(execution_id, child, signal);
        }
        for child in cancels {
            let by = format!("execution {execution_id}");
            let reason = Some("the step that it is was told to stop".to_owned());
            effects.say(execution_id, child.clone(), Signal::Cancel { by, reason });
        }
        if ended {
            effects.own.clear();
            if let Some((parent, signal)) = report(tx, execution_id, events).await? {
                effects.say(execution_id, parent, signal);
            }
        } else if let Some(waits) = held_up
            && let Some((parent, step)) = above(tx, execution_id).await?
        {
            let execution = execution_id.to_owned();
            let signal = Signal::ChildHeldUp { step, execution_id: execution, waits };
            effects.say(execution_id, parent, signal);
        }
        effects.lock(tx, execution_id).await?;
        Ok(effects)
    }

    fn say(&mut self, execution_id: &str, to: String, signal: Signal) {
        if to == execution_id {
            self.own.push(signal);
        } else {
            self.others.entry(to).or_default().push(signal);
        }
    }

    async fn lock(&self, tx: &mut Tx, execution_id: &str) -> Result<()> {
        const LOCK: Sql = Sql::Both(
            "SELECT id FROM executions WHERE id IN (SELECT json_array_elements_text($1::json))
             ORDER BY id FOR UPDATE",
        );
        let Tx::Postgres(_) = tx else { return Ok(()) };
        if self.others.is_empty() && self.reopened.is_empty() {
            return Ok(());
        }
        let others = self.others.keys().chain(&self.reopened).map(String::as_str);
        let ids: Vec<&str> = others.chain([execution_id]).collect();
        let _: Vec<(String,)> = tx.all(LOCK, args![serde_json::json!(ids).to_string()]).await?;
        Ok(())
    }

    /// How many signals the execution leaves for itself.
    pub(super) fn own(&self) -> i64 {
        i64::try_from(self.own.len()).unwrap_or(i64::MAX)
    }

    /// Writes it; the executions that are due because of it. `signals_in` counts the execution's own ones already.
    pub(super) async fn write(
        &self,
        tx: &mut Tx,
        workspace: &str,
        happened: &Happened<'_>,
        signals_in: i64,
        at: i64,
    ) -> Result<Vec<String>> {
        let id = happened.execution_id;
        self.desk.write(tx, at).await?;
        insert_signals(tx, id, signals_in - self.own(), at, &self.own).await?;
        let (children, worker) = (happened.children, happened.worker);
        let mut due = child::begin(tx, workspace, id, children, at, worker).await?;
        let by = format!("execution {id}");
        for child in &self.reopened {
            let reopening = Reopening { by: &by, input: None, more: None };
            if reopen(tx, workspace, child, at, &reopening).await? {
                due.push(child.clone());
            }
        }
        for (to, signals) in &self.others {
            if put_signals(tx, workspace, to, at, signals).await? {
                due.push(to.clone());
            }
        }
        if !self.own.is_empty() {
            due.push(id.to_owned());
        }
        Ok(due)
    }
}

/// What the execution above this one hears of its end.
async fn report(
    tx: &mut Tx,
    execution_id: &str,
    events: &[Event],
) -> Result<Option<(String, Signal)>> {
    let row = above(tx, execution_id).await?;
    let outcome = events.last().and_then(child::outcome);
    Ok(row.zip(outcome).map(|((parent, step), outcome)| {
        (parent, Signal::ChildEnded { step, execution_id: execution_id.to_owned(), outcome })
    }))
}

/// The execution above this one, and the path of the step there that it is.
async fn above(tx: &mut Tx, execution_id: &str) -> Result<Option<(String, String)>> {
    let sql =
        "SELECT parent_id, parent_step FROM executions WHERE id = $1 AND parent_id IS NOT NULL";
    Ok(tx.optional(sql, args![execution_id]).await?)
}

/// The commit may have happened although its answer was lost.
async fn committed_before(tx: &mut Tx, claim: &Claim, last_seq: i64) -> Result<Committed> {
    let sql =
        "SELECT signals_in FROM executions WHERE id = $1 AND lease_epoch = $2 AND last_seq = $3";
    let row: Option<(i64,)> =
        tx.optional(sql, args![&claim.execution_id, claim.epoch, last_seq]).await?;
    match row {
        Some((signals_in,)) if claim.last_seq < last_seq => {
            Ok(Committed { last_seq, signals_in, due: Vec::new() })
        }
        Some(_) | None => Err(Error::Fenced(claim.execution_id.clone())),
    }
}

/// The row of a turn. Where those that it concerns hear of it, too, it says how many signals it leaves for itself.
fn values<'v>(
    claim: &'v Claim,
    commit: &Commit<'_>,
    lease_until: i64,
    effects: Option<i64>,
) -> Row<'v> {
    let ended = commit.state.status.is_final();
    row![
        &claim.execution_id,
        claim.epoch,
        claim.last_seq,
        commit.state.status.as_str(),
        error_text(commit.state),
        waiting_for(commit.state),
        claim.last_seq_after(commit.events),
        commit.signals_done,
        effects.unwrap_or_default(),
        ended,
        commit.at,
        commit.wake_at,
        commit.release || ended,
        min_engine(commit.events),
        lease_until,
        effects.is_some(),
    ]
}

pub(super) fn error_text(state: &State) -> Option<String> {
    let (step, error) = state.failure.as_ref()?;
    let mut value = serde_json::json!({ "code": error.code, "message": error.message });
    if let Some(step) = step {
        value["step"] = serde_json::json!(step);
    }
    Some(value.to_string())
}

/// What stands in the words of [`waiting_for`] before an event, and before a lock: who sends it, or gives it back, is no
/// person who has to be told.
const FOR_EVENT: &str = " waits for the event ";
const FOR_LOCK: &str = " waits for the lock ";

/// Whether what an execution waits for, in words, is an event.
#[must_use]
pub fn is_for_event(said: &str) -> bool {
    said.contains(FOR_EVENT)
}

/// Whether what an execution waits for, in words, is a lock.
#[must_use]
pub fn is_for_lock(said: &str) -> bool {
    said.contains(FOR_LOCK)
}

/// What only somebody outside can move, in words that a caller may be shown.
pub(super) fn waiting_for(state: &State) -> Option<String> {
    if let Some((by, reason)) = state.paused_by() {
        let reason = reason.map(|why| format!(" ({why})")).unwrap_or_default();
        return Some(format!(
            "{by} paused it{reason}; it goes on by workflow.control with action=resume (on the command line: windlass resume)"
        ));
    }
    if state.status != Status::Waiting {
        return None;
    }
    let asked = state.requests().next().map(|(step, request)| asks(step, request));
    asked.or_else(|| awaited(state)).or_else(|| uncertain(state))
}

fn asks(step: &str, request: &Request) -> String {
    let Request { id, message, kind, .. } = request;
    let message = message.trim_end();
    match kind {
        RequestKind::Approval => format!(
            "approval of step {step}: {message} (answer {id} by workflow.answer; on the command line: \
             windlass approve {id}, or windlass reject {id})"
        ),
        RequestKind::Form => format!(
            "values for step {step}: {message} (answer {id} by workflow.answer; on the command line: \
             windlass answer {id})"
        ),
    }
}

fn awaited(state: &State) -> Option<String> {
    if let Some((step, event)) = state.awaited_events().next() {
        return Some(format!("step {step}{FOR_EVENT}{event:?}"));
    }
    let (step, key) = state.awaited_locks().next()?;
    let who = step.map_or("the execution".to_owned(), |step| format!("step {step}"));
    Some(format!("{who}{FOR_LOCK}{key:?}"))
}

fn uncertain(state: &State) -> Option<String> {
    let uncertain = state.uncertain_steps();
    let first = uncertain.first()?;
    Some(format!(
        "step {first} is uncertain: its call may or may not have happened. Find out, then settle it by \
         workflow.control with action=resolve (on the command line: windlass resolve)"
    ))
}
