//! Questions to persons as rows: asked, answered, run out, or not wanted any more.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use windlass_engine::{Answer, Event, Request};

use super::{
    Error, Result, Signal, Store,
    db::{Sql, Tx, args},
    execution::{parse, put_signals},
};

/// A question to a person as its row has it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RequestRow {
    /// `req_…`
    pub id: String,
    /// The execution that asks.
    pub execution_id: String,
    /// Its workflow's name.
    pub workflow: String,
    /// Who started the execution.
    pub requested_by: String,
    /// The path of the step that asks.
    pub step: String,
    /// open, answered, expired or withdrawn.
    pub status: String,
    /// [`Request`] as JSON.
    pub request: String,
    /// [`Said`] by everybody who answered while it was open, as JSON.
    pub answers: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub expires_at: i64,
    /// When it was settled, in milliseconds since 1970.
    pub answered_at: Option<i64>,
    /// Who settled it.
    pub answered_by: Option<String>,
}

/// What one person said to a request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// Whether it is known for sure that it was them.
    pub verified: bool,
    /// Milliseconds since 1970.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What became of an answer.
#[derive(Debug)]
pub enum Answered {
    /// The execution hears it.
    Heard,
    /// The request takes no answer, or none of this person any more, as its row says.
    TooLate(Box<RequestRow>),
    /// There is no such request in this workspace.
    Unknown,
}

/// How many settle the question.
#[must_use]
pub fn is_settled(request: &Request, said: &[Said]) -> bool {
    let mut agreed = BTreeSet::new();
    for said in said {
        match &said.answer {
            Answer::Approved { .. } => _ = agreed.insert(said.by.as_str()),
            Answer::Rejected { .. } | Answer::Given { .. } => return true,
        }
    }
    usize::try_from(request.quorum.max(1)).is_ok_and(|quorum| quorum <= agreed.len())
}

const COLUMNS: &str = "SELECT r.id, r.execution_id, e.workflow, e.requested_by, r.step, r.status, r.request, r.answers,
        r.created_at, r.expires_at, r.answered_at, r.answered_by
    FROM requests r JOIN executions e ON e.id = r.execution_id
    WHERE r.id = $1 AND r.workspace = $2";

impl Store {
    /// A request of this workspace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request(&self, id: &str) -> Result<Option<RequestRow>> {
        Ok(self.db.optional(COLUMNS, args![id, &*self.workspace]).await?)
    }

    /// The open requests of this workspace, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_requests(&self, limit: u32) -> Result<Vec<RequestRow>> {
        let sql = "SELECT r.id, r.execution_id, e.workflow, e.requested_by, r.step, r.status, r.request, r.answers,
                r.created_at, r.expires_at, r.answered_at, r.answered_by
            FROM requests r JOIN executions e ON e.id = r.execution_id
            WHERE r.workspace = $1 AND r.status = 'open' ORDER BY r.created_at DESC, r.id LIMIT $2";
        Ok(self.db.all(sql, args![&*self.workspace, i64::from(limit)]).await?)
    }

    /// The open requests of an execution, and of those that its steps are; the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_requests_of(&self, execution_id: &str) -> Result<Vec<RequestRow>> {
        let sql = "WITH RECURSIVE tree (id) AS (
                SELECT CAST($1 AS TEXT)
                UNION ALL
                SELECT e.id FROM executions e JOIN tree t ON e.parent_id = t.id WHERE e.ended_at IS NULL)
            SELECT r.id, r.execution_id, e.workflow, e.requested_by, r.step, r.status, r.request, r.answers,
                r.created_at, r.expires_at, r.answered_at, r.answered_by
            FROM tree t JOIN requests r ON r.execution_id = t.id JOIN executions e ON e.id = r.execution_id
            WHERE r.status = 'open' AND r.workspace = $2 ORDER BY r.created_at, r.id";
        Ok(self.db.all(sql, args![execution_id, &*self.workspace]).await?)
    }

    /// Leaves an answer for the execution that asked, unless it comes too late or the person has answered before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer(
        &self,
        id: &str,
        by: &str,
        verified: bool,
        answer: &Answer,
    ) -> Result<Answered> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Some(row) = self.request_in(&mut tx, id).await? else { return Ok(Answered::Unknown) };
        let signal = Signal::Answer {
            request: id.to_owned(),
            step: row.step.clone(),
            by: by.to_owned(),
            verified,
            answer: answer.clone(),
        };
        let workspace = &self.workspace;
        let heard = put_signals(&mut tx, workspace, &row.execution_id, now, &[signal]).await?;
        // Read again: the execution's row is ours now, so that nothing becomes of the request meanwhile.
        let Some(row) = self.request_in(&mut tx, id).await? else { return Ok(Answered::Unknown) };
        let (request, mut said) = read(&row)?;
        let is_late = row.status != "open" || row.expires_at <= now || is_settled(&request, &said);
        if !heard || is_late || said.iter().any(|said| said.by == by) {
            // What was begun is rolled back.
            return Ok(Answered::TooLate(Box::new(row)));
        }
        said.push(Said { by: by.to_owned(), verified, at: now, answer: answer.clone() });
        let sql = "UPDATE requests SET answers = $1 WHERE id = $2";
        tx.execute(sql, args![encode(&said)?, id]).await?;
        tx.commit().await?;
        Ok(Answered::Heard)
    }

    async fn request_in(&self, tx: &mut Tx, id: &str) -> Result<Option<RequestRow>> {
        Ok(tx.optional(COLUMNS, args![id, &*self.workspace]).await?)
    }
}

/// Writes what events make of requests. The execution's own row is held by the transaction.
pub(super) async fn write(
    tx: &mut Tx,
    workspace: &str,
    execution_id: &str,
    events: &[Event],
    at: i64,
    ended: bool,
) -> Result<()> {
    let mut left = BTreeSet::new();
    for event in events {
        match event {
            Event::RequestOpened { step, request } => {
                // What was left before is asked anew.
                left.remove(step.as_str());
                open(tx, workspace, execution_id, (step, request), at).await?;
            }
            Event::RequestAnswered { request, by, verified, answer, .. } => {
                let said = Said { by: by.clone(), verified: *verified, at, answer: answer.clone() };
                settle(tx, execution_id, request, said).await?;
            }
            Event::RequestExpired { request, .. } => {
                let sql = "UPDATE requests SET status = 'expired', answered_at = $1
                           WHERE id = $2 AND status = 'open'";
                tx.execute(sql, args![at, request]).await?;
            }
            event if ends_a_step(event) => left.extend(event.step()),
            _ => {}
        }
    }
    withdraw(tx, execution_id, &left, at, ended).await
}

async fn open(
    tx: &mut Tx,
    workspace: &str,
    execution_id: &str,
    (step, request): (&str, &Request),
    at: i64,
) -> Result<()> {
    let sql = "INSERT INTO requests
            (id, workspace, execution_id, step, kind, status, request, message, expires_at, created_at)
        VALUES ($1, $2, $3, $4, $5, 'open', $6, $7, $8, $9)";
    let kind = match request.kind {
        windlass_engine::RequestKind::Approval => "approval",
        windlass_engine::RequestKind::Form => "form",
    };
    let (message, expires_at) = (&request.message, request.expires_at);
    tx.execute(
        sql,
        args![
            &request.id,
            workspace,
            execution_id,
            step,
            kind,
            encode(request)?,
            message,
            expires_at,
            at
        ],
    )
    .await?;
    Ok(())
}

/// Notes what a person said; it settles the question unless more have to agree.
async fn settle(tx: &mut Tx, execution_id: &str, id: &str, said: Said) -> Result<()> {
    let sql = "SELECT request, answers FROM requests WHERE id = $1 AND execution_id = $2";
    let row: Option<(String, String)> = tx.optional(sql, args![id, execution_id]).await?;
    let Some((request, answers)) = row else { return Ok(()) };
    let request: Request = parse(execution_id, "a request", &request)?;
    let mut all: Vec<Said> = parse(execution_id, "an answer", &answers)?;
    if !all.iter().any(|known| known.by == said.by) {
        all.push(said.clone());
    }
    let heard = all.iter().position(|known| known.by == said.by).unwrap_or_default();
    // Those who came later have said something that is not heard yet.
    let settled = is_settled(&request, &all[..=heard]);
    let sql = "UPDATE requests SET answers = $1, status = CASE WHEN $2 = 1 THEN 'answered' ELSE status END,
            answered_at = CASE WHEN $2 = 1 THEN $3 ELSE answered_at END,
            answered_by = CASE WHEN $2 = 1 THEN $4 ELSE answered_by END,
            answer = CASE WHEN $2 = 1 THEN $5 ELSE answer END
        WHERE id = $6 AND status = 'open'";
    let answer = encode(&said.answer)?;
    tx.execute(sql, args![encode(&all)?, settled, said.at, &said.by, answer, id]).await?;
    Ok(())
}

fn ends_a_step(event: &Event) -> bool {
    matches!(
        event,
        Event::StepCancelled { .. }
            | Event::StepFailed { .. }
            | Event::StepSkipped { .. }
            | Event::StepCompleted { .. }
            | Event::StepResolved { .. }
    )
}

/// Nobody has to answer any more: the step, what holds it, or the execution has ended.
async fn withdraw(
    tx: &mut Tx,
    execution_id: &str,
    steps: &BTreeSet<&str>,
    at: i64,
    ended: bool,
) -> Result<()> {
    const OF_STEPS: Sql = Sql::Each {
        sqlite: "UPDATE requests SET status = 'withdrawn', answered_at = $1
                 WHERE execution_id = $2 AND status = 'open' AND EXISTS (
                     SELECT 1 FROM json_each($3) AS s WHERE step = s.value
                     OR substr(step, 1, length(s.value) + 1) IN (s.value || '/', s.value || '['))",
        postgres: "UPDATE requests SET status = 'withdrawn', answered_at = $1
                   WHERE execution_id = $2 AND status = 'open' AND EXISTS (
                       SELECT 1 FROM json_array_elements_text($3::json) AS s (value) WHERE step = s.value
                       OR substr(step, 1, length(s.value) + 1) IN (s.value || '/', s.value || '['))",
    };
    if ended {
        let sql = "UPDATE requests SET status = 'withdrawn', answered_at = $1
                   WHERE execution_id = $2 AND status = 'open'";
        tx.execute(sql, args![at, execution_id]).await?;
    } else if !steps.is_empty() {
        let steps = serde_json::json!(steps).to_string();
        tx.execute(OF_STEPS, args![at, execution_id, steps]).await?;
    }
    Ok(())
}

/// What is asked, and what was said to it.
///
/// # Errors
/// When a newer release wrote it.
pub fn read(row: &RequestRow) -> Result<(Request, Vec<Said>)> {
    let request = parse(&row.execution_id, "a request", &row.request)?;
    Ok((request, parse(&row.execution_id, "an answer", &row.answers)?))
}

fn encode<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|err| Error::Database(sqlx::Error::Encode(err.into())))
}
