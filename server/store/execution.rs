//! Executions as rows: signalled, looked at.

use std::{collections::HashMap, ops::ControlFlow};

use windlass_engine::{Event, Status};

use super::{
    Error, Result, Signal, Store,
    db::{Sql, Tx, args},
    event_data,
    turn::{Commit, error_text, waiting_for},
};

/// An execution as its row has it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ExecutionRow {
    /// `exec_…`
    pub id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The revision's hash.
    pub revision: String,
    /// As [`windlass_engine::Status::as_str`] gives it.
    pub status: String,
    /// What it was given, as JSON.
    pub input: String,
    /// `{step?, code, message}` as JSON.
    pub error: Option<String>,
    /// What only a person can move.
    pub waiting_for: Option<String>,
    /// The principal who started it.
    pub requested_by: String,
    /// The tool servers it was started with, as JSON.
    pub tool_servers: String,
    /// The plan that it was started by.
    pub plan: Option<String>,
    /// When somebody looks at it next, in milliseconds since 1970.
    pub wake_at: Option<i64>,
    /// Until when a worker holds it, in milliseconds since 1970.
    pub lease_until: i64,
    /// The sequence number of its newest event.
    pub last_seq: i64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// The event that it completed with, as JSON, where it was read too: lists leave it out.
    #[sqlx(default)]
    pub(super) completion: Option<String>,
}

impl ExecutionRow {
    /// The row as the turn wrote it that ended the execution.
    ///
    /// # Errors
    /// When an event cannot be written.
    pub fn ended(self, commit: &Commit<'_>, last_seq: i64) -> Result<ExecutionRow> {
        let completed = commit.events.last().filter(|_| commit.state.status == Status::Completed);
        Ok(ExecutionRow {
            status: commit.state.status.as_str().to_owned(),
            error: error_text(commit.state),
            waiting_for: waiting_for(commit.state),
            wake_at: None,
            lease_until: 0,
            last_seq,
            ended_at: Some(commit.at),
            completion: completed.map(event_data).transpose()?,
            ..self
        })
    }

    /// The event that it has completed with; `None` when it has not, or the row is one of a list.
    ///
    /// # Errors
    /// When a newer release wrote it.
    pub fn completion(&self) -> Result<Option<Event>> {
        let read = |data: &String| parse(&self.id, "an event", data);
        self.completion.as_ref().map(read).transpose()
    }
}

/// A step as its row has it; a step that has not begun has none.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StepRow {
    /// Its name.
    pub step: String,
    /// `server.tool`
    pub tool: String,
    /// As [`windlass_engine::StepStatus::as_str`] gives it.
    pub status: String,
    /// How many attempts were begun.
    pub attempts: i64,
    /// Milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// `{code, message}` as JSON.
    pub error: Option<String>,
    /// The event that holds its result.
    pub output_seq: Option<i64>,
    /// The event that says what its tool was last given.
    pub params_seq: Option<i64>,
}

/// A lock that is waited for.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LockWait {
    /// What is locked.
    pub key: String,
    /// The step that waits; empty for the whole execution.
    pub step: String,
    /// The execution that holds it.
    pub holder: Option<String>,
}

macro_rules! by_id {
    ($ids:literal) => {
        concat!(
            "SELECT e.id, e.workflow, e.revision, e.status, e.input, e.error, e.waiting_for, e.requested_by,
                e.tool_servers, e.plan, e.wake_at, e.lease_until, e.last_seq, e.created_at, e.ended_at,
                CASE WHEN e.status = 'completed' THEN
                    (SELECT COALESCE(l.data, p.data) FROM events l
                     LEFT JOIN payloads p ON p.execution_id = l.execution_id AND p.seq = l.seq
                     WHERE l.execution_id = e.id AND l.seq = e.last_seq) END AS completion
             FROM executions e WHERE e.id ",
            $ids,
            // As long as Postgres has no statistics, an index that begins with the workspace looks as good to it as the
            // key does; the comparison is written so that none of them fits.
            " AND e.workspace || '' = $2"
        )
    };
}

/// Executions of a workspace by their ids.
pub(super) const BY_ID: Sql = Sql::Each {
    sqlite: by_id!("IN (SELECT value FROM json_each($1))"),
    postgres: by_id!("= ANY($1::TEXT[])"),
};

impl Store {
    /// Leaves a word for an execution. `false` when it has ended, or there is none in this workspace.
    ///
    /// The count on the execution's own row is what a worker's commit compares: a signal
    /// that lands while a lease is held is never lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signal(&self, execution_id: &str, signal: &Signal) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let signals = std::slice::from_ref(signal);
        if !put_signals(&mut tx, &self.workspace, execution_id, self.now(), signals).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The signals after a number, in order.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote a signal this one does not know.
    pub async fn signals(&self, execution_id: &str, after: i64) -> Result<Vec<(i64, Signal)>> {
        let sql = "SELECT number, data FROM signals WHERE execution_id = $1 AND number > $2 ORDER BY number";
        let rows: Vec<(i64, String)> = self.db.all(sql, args![execution_id, after]).await?;
        let read =
            |(number, data): (i64, String)| Ok((number, parse(execution_id, "a signal", &data)?));
        rows.into_iter().map(read).collect()
    }

    /// An execution of this workspace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn execution(&self, execution_id: &str) -> Result<Option<ExecutionRow>> {
        self.reads.executions.get(execution_id).await
    }

    /// The sequence number of an execution's newest event: the cheapest way to see that nothing changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn version(&self, execution_id: &str) -> Result<Option<i64>> {
        let sql = "SELECT last_seq FROM executions WHERE id = $1 AND workspace || '' = $2";
        let row: Option<(i64,)> =
            self.db.optional(sql, args![execution_id, &*self.workspace]).await?;
        Ok(row.map(|(last_seq,)| last_seq))
    }

    /// The newest executions that a caller started, and the newest that wait for a person; newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions(&self, caller: &str, limit: u32) -> Result<Vec<ExecutionRow>> {
        const COLUMNS: &str = "SELECT id, workflow, revision, status, '' AS input, error, waiting_for, requested_by,
                tool_servers, plan, wake_at, lease_until, last_seq, created_at, ended_at FROM executions
            WHERE id IN (SELECT id FROM (SELECT id FROM executions WHERE workspace = $1 AND requested_by = $2
                                         ORDER BY created_at DESC LIMIT $3) AS own
                         UNION
                         SELECT id FROM (SELECT id FROM executions WHERE workspace = $1 AND waiting_for IS NOT NULL
                                         ORDER BY created_at DESC LIMIT $3) AS waiting)
            ORDER BY created_at DESC, id";
        Ok(self.db.all(COLUMNS, args![&*self.workspace, caller, i64::from(limit)]).await?)
    }

    /// The rows to show of the steps that have begun, and how many are left out: of instances and iterations so
    /// many, those that something is the matter with first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shown_steps(
        &self,
        execution_id: &str,
        most_instances: usize,
    ) -> Result<(Vec<StepRow>, usize)> {
        // The shorter of two paths comes first, so that the numbers of instances count.
        let shown = "WITH own AS (
                SELECT step, tool, status, attempts, started_at, ended_at, error, output_seq, params_seq
                FROM steps WHERE execution_id = $1)
            SELECT * FROM own WHERE step NOT LIKE '%[%'
            UNION ALL
            SELECT * FROM (
                SELECT * FROM own WHERE step LIKE '%[%'
                ORDER BY CASE WHEN status IN ('uncertain', 'failed') THEN 0
                              WHEN status IN ('waiting', 'running') THEN 1 ELSE 2 END,
                         length(step), step
                LIMIT $2) AS instances";
        let most = i64::try_from(most_instances).unwrap_or(i64::MAX);
        let rows: Vec<StepRow> = self.db.all(shown, args![execution_id, most]).await?;
        let instances = rows.iter().filter(|row| row.step.contains('[')).count();
        if instances < most_instances {
            return Ok((rows, 0));
        }
        let all = "SELECT COUNT(*) FROM steps WHERE execution_id = $1 AND step LIKE '%[%'";
        let row: Option<(i64,)> = self.db.optional(all, args![execution_id]).await?;
        let all = row.map_or(0, |(count,)| usize::try_from(count).unwrap_or_default());
        Ok((rows, all.saturating_sub(instances)))
    }

    /// How many instances of each `forEach` stand how: its path, a status, and how many have it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instance_counts(&self, execution_id: &str) -> Result<Vec<(String, String, i64)>> {
        let sql = "SELECT rtrim(rtrim(step, ']'), '0123456789') AS of_step, status, COUNT(*)
                   FROM steps WHERE execution_id = $1 AND step LIKE '%]' GROUP BY of_step, status";
        let rows: Vec<(String, String, i64)> = self.db.all(sql, args![execution_id]).await?;
        let named = rows
            .into_iter()
            .map(|(step, status, count)| (step.trim_end_matches('[').to_owned(), status, count));
        Ok(named.collect())
    }

    /// What the instances of a `forEach` resulted in, by their paths; nothing where one has no result.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote some of it.
    pub async fn results_of_instances(
        &self,
        execution_id: &str,
        path: &str,
    ) -> Result<Vec<(String, Option<Event>)>> {
        // What is in an instance has more in its path.
        let sql = "SELECT s.step, COALESCE(e.data, p.data) FROM steps s
                   LEFT JOIN events e ON e.execution_id = s.execution_id AND e.seq = s.output_seq
                        AND s.status = 'completed'
                   LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                   WHERE s.execution_id = $1 AND substr(s.step, 1, length($2)) = $2
                     AND substr(s.step, length($2) + 1) NOT LIKE '%]_%'
                   ORDER BY length(s.step), s.step";
        let prefix = format!("{path}[");
        let rows: Vec<(String, Option<String>)> =
            self.db.all(sql, args![execution_id, prefix]).await?;
        let read = |(step, data): (String, Option<String>)| {
            Ok((step, data.map(|data| parse(execution_id, "an event", &data)).transpose()?))
        };
        rows.into_iter().map(read).collect()
    }

    /// The rows of the steps that have begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steps(&self, execution_id: &str) -> Result<Vec<StepRow>> {
        let sql = "SELECT step, tool, status, attempts, started_at, ended_at, error, output_seq, params_seq
                   FROM steps WHERE execution_id = $1";
        Ok(self.db.all(sql, args![execution_id]).await?)
    }

    /// One event, whole.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote it.
    pub async fn event(&self, execution_id: &str, seq: i64) -> Result<Option<Event>> {
        Ok(self.some_events(execution_id, &[seq]).await?.remove(&seq))
    }

    /// Some events, whole, by their numbers.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote one of them.
    pub async fn some_events(
        &self,
        execution_id: &str,
        numbers: &[i64],
    ) -> Result<HashMap<i64, Event>> {
        const SOME: Sql = Sql::Each {
            sqlite: "SELECT e.seq, COALESCE(e.data, p.data) FROM events e
                LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1 AND e.seq IN (SELECT value FROM json_each($2))",
            postgres: "SELECT e.seq, COALESCE(e.data, p.data) FROM events e
                LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1
                  AND e.seq IN (SELECT CAST(json_array_elements_text($2::json) AS BIGINT))",
        };
        let numbers = serde_json::json!(numbers).to_string();
        let rows: Vec<(i64, String)> = self.db.all(SOME, args![execution_id, numbers]).await?;
        let read = |(seq, data): (i64, String)| Ok((seq, parse(execution_id, "an event", &data)?));
        rows.into_iter().map(read).collect()
    }

    /// The events of some kinds, whole, in order.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote one of them.
    pub async fn events_of(&self, execution_id: &str, kinds: &[&str]) -> Result<Vec<Event>> {
        const OF_KINDS: Sql = Sql::Each {
            sqlite: "SELECT COALESCE(e.data, p.data) FROM events e
                LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1 AND e.kind IN (SELECT value FROM json_each($2)) ORDER BY e.seq",
            postgres: "SELECT COALESCE(e.data, p.data) FROM events e
                LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1
                  AND e.kind IN (SELECT json_array_elements_text($2::json)) ORDER BY e.seq",
        };
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let kinds = serde_json::json!(kinds).to_string();
        let rows: Vec<(String,)> = self.db.all(OF_KINDS, args![execution_id, kinds]).await?;
        rows.into_iter().map(|(data,)| parse(execution_id, "an event", &data)).collect()
    }

    /// The locks that an execution waits for: each with the step, which is empty for the whole execution, and who
    /// holds it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lock_waits(&self, execution_id: &str) -> Result<Vec<LockWait>> {
        let sql = "SELECT w.key, w.step, h.execution_id AS holder FROM lock_places w
            LEFT JOIN lock_places h ON h.workspace = w.workspace AND h.key = w.key AND h.granted_at IS NOT NULL
            WHERE w.execution_id = $1 AND w.workspace = $2 AND w.ready = 1 AND w.granted_at IS NULL
            ORDER BY w.key, w.place";
        Ok(self.db.all(sql, args![execution_id, &*self.workspace]).await?)
    }

    /// Everything that happened to an execution, each with its time.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote some of it.
    pub async fn history(&self, execution_id: &str) -> Result<Vec<(i64, Event)>> {
        let mut history = Vec::new();
        let take = |at, event| {
            history.push((at, event));
            Ok::<(), Error>(())
        };
        self.replay(execution_id, take).await?;
        Ok(history)
    }

    /// Has everything that happened to an execution taken note of, in order, each with its time. No more than a part
    /// of it is in memory at once.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote some of it; and what `take` returns.
    pub async fn replay<E: From<Error> + Send>(
        &self,
        execution_id: &str,
        mut take: impl FnMut(i64, Event) -> std::result::Result<(), E> + Send,
    ) -> std::result::Result<(), E> {
        let sql = "SELECT e.at, COALESCE(e.data, p.data) FROM events e
                   LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                   WHERE e.execution_id = $1 ORDER BY e.seq";
        let mut refused = None;
        let read = |(at, data): (i64, String)| {
            let taken = parse(execution_id, "the history", &data).map_err(E::from);
            match taken.and_then(|event| take(at, event)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(err) => {
                    refused = Some(err);
                    ControlFlow::Break(())
                }
            }
        };
        self.db.each(sql, args![execution_id], read).await.map_err(Error::from)?;
        refused.map_or(Ok(()), Err)
    }

    /// The document of a revision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn document(&self, revision: &str) -> Result<Option<String>> {
        let sql = "SELECT document FROM revisions WHERE workspace = $1 AND hash = $2";
        let row: Option<(String,)> =
            self.db.optional(sql, args![&*self.workspace, revision]).await?;
        Ok(row.map(|(document,)| document))
    }

    /// Whether any execution that a worker can serve has not ended and wants to be looked at some time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_work(&self, refused: &[String]) -> Result<bool> {
        Ok(self.next_wake(refused).await?.is_some())
    }
}

/// Leaves words for an execution. `false` when it has ended, or there is none in this workspace.
pub(super) async fn put_signals(
    tx: &mut Tx,
    workspace: &str,
    execution_id: &str,
    at: i64,
    signals: &[Signal],
) -> Result<bool> {
    let count = i64::try_from(signals.len()).unwrap_or(i64::MAX);
    let sql = "UPDATE executions SET signals_in = signals_in + $4, wake_at = $1,
                   min_engine = CASE WHEN min_engine < $5 THEN $5 ELSE min_engine END
               WHERE id = $2 AND workspace = $3 AND ended_at IS NULL RETURNING signals_in";
    let engine = signals.iter().map(Signal::min_engine).max().unwrap_or_default();
    let row: Option<(i64,)> =
        tx.optional(sql, args![at, execution_id, workspace, count, engine]).await?;
    let Some((last,)) = row else { return Ok(false) };
    insert_signals(tx, execution_id, last - count, at, signals).await?;
    Ok(true)
}

/// Writes signals that the execution's own row has counted already.
pub(super) async fn insert_signals(
    tx: &mut Tx,
    execution_id: &str,
    after: i64,
    at: i64,
    signals: &[Signal],
) -> Result<()> {
    for (number, signal) in (after + 1..).zip(signals) {
        let data = serde_json::to_string(signal)
            .map_err(|err| Error::Database(sqlx::Error::Encode(err.into())))?;
        let sql = "INSERT INTO signals (execution_id, number, at, data) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, args![execution_id, number, at, data]).await?;
    }
    Ok(())
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    execution_id: &str,
    what: &'static str,
    data: &str,
) -> Result<T> {
    serde_json::from_str(data).map_err(|source| Error::Unreadable {
        execution_id: execution_id.to_owned(),
        what,
        source,
    })
}
