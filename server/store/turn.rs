//! The one write that matters: everything a turn decided, in one transaction, behind the fence.

use std::collections::BTreeMap;

use windlass_engine::{Event, State, Status, StepState, Workflow};

use super::{
    ENGINE, Error, INLINE_LIMIT, Result, Store,
    db::{Tx, args},
    event_data,
    lease::{Claim, LEASE_MS},
};

/// Everything one turn decided.
pub struct Commit<'t> {
    /// The workflow that is executed.
    pub workflow: &'t Workflow,
    /// The state after the events.
    pub state: &'t State,
    /// What happened since the last commit, in order.
    pub events: &'t [Event],
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// The sequence number of the newest event.
    pub last_seq: i64,
    /// Higher than `signals_done` when a signal came in meanwhile.
    pub signals_in: i64,
}

const UPDATE: &str = "UPDATE executions SET
        status = $1, error = $2, waiting_for = $3, last_seq = $4, signals_done = $5,
        wake_at = CASE WHEN $6 = 1 THEN NULL WHEN signals_in > $5 THEN $7 ELSE $8 END,
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
        let mut tx = self.db.begin().await?;
        let lease_until = self.now() + LEASE_MS;
        let updated = update(&mut tx, claim, commit, last_seq, lease_until).await?;
        let Some(signals_in) = updated else {
            return committed_before(&mut tx, claim, last_seq).await;
        };
        write_events(&mut tx, &claim.execution_id, claim.last_seq, commit).await?;
        tx.commit().await?;
        Ok(Committed { last_seq, signals_in })
    }
}

/// The commit may have happened although its answer was lost.
async fn committed_before(tx: &mut Tx, claim: &Claim, last_seq: i64) -> Result<Committed> {
    let sql =
        "SELECT signals_in FROM executions WHERE id = $1 AND lease_epoch = $2 AND last_seq = $3";
    let row: Option<(i64,)> =
        tx.optional(sql, args![&claim.execution_id, claim.epoch, last_seq]).await?;
    match row {
        Some((signals_in,)) if claim.last_seq < last_seq => Ok(Committed { last_seq, signals_in }),
        Some(_) | None => Err(Error::Fenced(claim.execution_id.clone())),
    }
}

async fn update(
    tx: &mut Tx,
    claim: &Claim,
    commit: &Commit<'_>,
    last_seq: i64,
    lease_until: i64,
) -> Result<Option<i64>> {
    let ended = commit.state.status.is_final();
    // While the lease is held the row stays due, so that whoever finds the lease run out goes on.
    let wake_at = if commit.release { commit.wake_at } else { Some(commit.at) };
    let row: Option<(i64,)> = tx
        .optional(
            UPDATE,
            args![
                commit.state.status.as_str(),
                error_text(commit.state),
                waiting_for(commit.workflow, commit.state),
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

/// What only a person can move, in words that a caller may be shown.
fn waiting_for(workflow: &Workflow, state: &State) -> Option<String> {
    if state.status != Status::Waiting {
        return None;
    }
    let uncertain = state.uncertain_steps();
    let first = uncertain.first()?;
    Some(format!(
        "step {first} is uncertain: its call may or may not have happened. Find out, then settle it by \
         workflow.control with action=resolve (on the command line: windlass resolve)"
    ))
}

/// Writes the events after `last_seq`, and the rows of the steps they are about.
pub(super) async fn write_events(
    tx: &mut Tx,
    execution_id: &str,
    last_seq: i64,
    commit: &Commit<'_>,
) -> Result<()> {
    let mut touched: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for (seq, event) in (last_seq + 1..).zip(commit.events) {
        write_event(tx, execution_id, seq, commit.at, event).await?;
        let Some(step) = event.step() else { continue };
        let output_seq = has_output(event).then_some(seq);
        let known = touched.entry(step).or_default();
        *known = output_seq.or(*known);
    }
    for (step, output_seq) in touched {
        let (Some(described), Some(state)) = (commit.workflow.step(step), commit.state.step(step))
        else {
            continue;
        };
        write_step(tx, execution_id, step, &described.label(), state, output_seq).await?;
    }
    Ok(())
}

fn has_output(event: &Event) -> bool {
    match event {
        Event::AttemptSucceeded { .. } => true,
        Event::StepResolved { resolution, .. } => {
            matches!(resolution, windlass_engine::Resolution::Completed { .. })
        }
        _ => false,
    }
}

async fn write_event(
    tx: &mut Tx,
    execution_id: &str,
    seq: i64,
    at: i64,
    event: &Event,
) -> Result<()> {
    let data = event_data(event)?;
    let large = INLINE_LIMIT < data.len();
    let inline = (!large).then_some(data.as_str());
    let sql = "INSERT INTO events (execution_id, seq, at, kind, data) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![execution_id, seq, at, event.kind(), inline]).await?;
    if large {
        let sql = "INSERT INTO payloads (execution_id, seq, data) VALUES ($1, $2, $3)";
        tx.execute(sql, args![execution_id, seq, &data]).await?;
    }
    Ok(())
}

async fn write_step(
    tx: &mut Tx,
    execution_id: &str,
    step: &str,
    tool: &str,
    state: &StepState,
    output_seq: Option<i64>,
) -> Result<()> {
    let error = state.error.as_ref().map(|error| {
        serde_json::json!({ "code": error.code, "message": error.message }).to_string()
    });
    let sql = "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
               ON CONFLICT (execution_id, step) DO UPDATE SET
                   status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at,
                   ended_at = excluded.ended_at, error = excluded.error,
                   output_seq = COALESCE(excluded.output_seq, steps.output_seq)";
    tx.execute(
        sql,
        args![
            execution_id,
            step,
            tool,
            state.status.as_str(),
            i64::from(state.attempts),
            state.started_at,
            state.ended_at,
            error,
            output_seq
        ],
    )
    .await?;
    Ok(())
}
