//! The one write that matters: everything a turn decided, in one transaction, behind the fence.

use std::collections::BTreeMap;

use windlass_engine::{Event, Look, Request, RequestKind, State, Status, Workflow};

use super::{
    ENGINE, Error, NewChild, Result, Signal, Store, child,
    db::{Sql, Tx, args},
    execution::{insert_signals, put_signals},
    lease::{Claim, LEASE_MS},
    lock::Desk,
    looks,
    record::{self, Record},
};

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

const UPDATE: &str = "UPDATE executions SET
        status = $1, error = $2, waiting_for = $3, last_seq = $4, signals_done = $5, signals_in = signals_in + $15,
        wake_at = CASE WHEN $6 = 1 THEN NULL WHEN signals_in + $15 > $5 THEN $7 WHEN $9 = 1 THEN $8 ELSE wake_at END,
        lease_owner = CASE WHEN $9 = 1 THEN NULL ELSE lease_owner END,
        lease_until = CASE WHEN $9 = 1 THEN 0 WHEN lease_until < $14 THEN $14 ELSE lease_until END,
        updated_at = $7, ended_at = CASE WHEN $6 = 1 THEN $7 ELSE NULL END,
        min_engine = $10
    WHERE id = $11 AND lease_epoch = $12 AND last_seq = $13
    RETURNING signals_in";

impl Store {
    /// Writes a turn, unless the claim has been lost.
    ///
    /// The sequence number is matched as well as the epoch: a commit whose answer was lost may be
    /// sent again, and is recognised instead of being refused.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another worker has claimed the execution since.
    pub async fn commit(&self, claim: &Claim, commit: &Commit<'_>) -> Result<Committed> {
        let last_seq = claim.last_seq + i64::try_from(commit.events.len()).unwrap_or(i64::MAX);
        let happened = Happened {
            execution_id: &claim.execution_id,
            events: commit.events,
            children: commit.children,
            cancels: commit.cancels,
            held_up: commit.held_up,
            ended: commit.state.status.is_final(),
        };
        let mut tx = self.db.begin().await?;
        let effects = Effects::prepare(&mut tx, &self.workspace, &happened).await?;
        let lease_until = self.now() + LEASE_MS;
        let updated = update(&mut tx, claim, commit, last_seq, lease_until, effects.own()).await?;
        let Some(signals_in) = updated else {
            return committed_before(&mut tx, claim, last_seq).await;
        };
        let record = Record {
            workspace: &self.workspace,
            execution_id: &claim.execution_id,
            workflow: commit.workflow,
            state: commit.state,
            events: commit.events,
            at: commit.at,
        };
        record::write(&mut tx, claim.last_seq, &record).await?;
        looks::write(&mut tx, &claim.execution_id, commit.looks).await?;
        let workspace = &self.workspace;
        let due = effects.write(&mut tx, workspace, &happened, signals_in, commit.at).await?;
        tx.commit().await?;
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
}

/// What follows from a turn for its own and other executions, beside its own rows.
pub(super) struct Effects {
    desk: Desk,
    own: Vec<Signal>,
    /// In the order of their ids, in which everybody locks them.
    others: BTreeMap<String, Vec<Signal>>,
}

impl Effects {
    /// Finds out who has to hear what. On Postgres it locks what the transaction goes on to write, in one order for
    /// everybody: keys first, then executions.
    pub(super) async fn prepare(
        tx: &mut Tx,
        workspace: &str,
        happened: &Happened<'_>,
    ) -> Result<Effects> {
        let Happened { execution_id, events, children, cancels, held_up, ended } = *happened;
        let mut desk = Desk::open(tx, workspace, execution_id, events, ended).await?;
        let mut effects =
            Effects { own: Vec::new(), others: BTreeMap::new(), desk: Desk::default() };
        for (to, signal) in std::mem::take(&mut desk.signals) {
            effects.say(execution_id, to, signal);
        }
        effects.desk = desk;
        for signal in child::known(tx, children).await? {
            effects.say(execution_id, execution_id.to_owned(), signal);
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
        if self.others.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = self.others.keys().map(String::as_str).chain([execution_id]).collect();
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
        let mut due = child::begin(tx, workspace, id, happened.children, at).await?;
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

async fn update(
    tx: &mut Tx,
    claim: &Claim,
    commit: &Commit<'_>,
    last_seq: i64,
    lease_until: i64,
    own_signals: i64,
) -> Result<Option<i64>> {
    let ended = commit.state.status.is_final();
    // While the lease is held the row is due when it ends, so that whoever finds it run out goes on.
    let wake_at = commit.wake_at;
    let row: Option<(i64,)> = tx
        .optional(
            UPDATE,
            args![
                commit.state.status.as_str(),
                error_text(commit.state),
                waiting_for(commit.state),
                last_seq,
                commit.signals_done,
                ended,
                commit.at,
                wake_at,
                commit.release || ended,
                ENGINE,
                &claim.execution_id,
                claim.epoch,
                claim.last_seq,
                lease_until,
                own_signals,
            ],
        )
        .await?;
    Ok(row.map(|(signals_in,)| signals_in))
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
