//! Executions as rows: created, signalled, looked at.

use windlass_engine::{Event, State, Workflow};

use super::{
    ENGINE, Error, Result, Signal, Store,
    db::{Tx, args},
    lease::{Claim, LEASE_MS},
    turn::{Commit, error_text, write_events},
};

/// How long an idempotency key is remembered, in milliseconds: 30 days.
const KEY_LIFETIME_MS: i64 = 30 * 24 * 3_600_000;

/// An execution that is about to exist.
pub struct NewExecution<'n> {
    /// `exec_…`
    pub id: &'n str,
    /// What it executes.
    pub workflow: &'n Workflow,
    /// Where the document came from.
    pub source: &'n str,
    /// The principal.
    pub requested_by: &'n str,
    /// The person or system the principal acts for.
    pub on_behalf_of: Option<&'n str>,
    /// The MCP client's name.
    pub client_name: Option<&'n str>,
    /// The MCP client's version.
    pub client_version: Option<&'n str>,
    /// The tool servers it uses and their configurations' identities, as JSON.
    pub tool_servers: &'n str,
    /// The same key twice is one execution.
    pub idempotency_key: Option<&'n str>,
    /// What the key stands for: a hash of workflow and input.
    pub request_hash: &'n str,
    /// The state after the events.
    pub state: &'n State,
    /// What has happened so far; the first is `execution_started`.
    pub events: &'n [Event],
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The worker that goes on with it at once; without one it is due for any.
    pub worker: Option<&'n str>,
}

/// What became of a request to create.
#[derive(Debug)]
pub enum Created {
    /// It exists, and is leased to the worker that was named.
    New(Option<Claim>),
    /// The key already stands for this execution.
    Known(String),
    /// The key stands for something else.
    KeyReused(String),
}

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
}

const COLUMNS: &str =
    "SELECT id, workflow, revision, status, input, error, waiting_for, requested_by, tool_servers,
        wake_at, lease_until, last_seq, created_at, ended_at FROM executions WHERE id = $1 AND workspace = $2";

impl Store {
    /// Writes an execution, its revision and its first events; or finds the one its key stands for.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn create(&self, new: &NewExecution<'_>) -> Result<Created> {
        match self.try_create(new).await {
            // Two callers with one key at the same moment: the second finds what the first wrote.
            Err(Error::Database(sqlx::Error::Database(err))) if err.is_unique_violation() => {
                self.try_create(new).await
            }
            other => other,
        }
    }

    async fn try_create(&self, new: &NewExecution<'_>) -> Result<Created> {
        let mut tx = self.db.begin().await?;
        if let Some(known) = self.find_key(&mut tx, new).await? {
            return Ok(known);
        }
        self.insert(&mut tx, new).await?;
        let commit = Commit {
            workflow: new.workflow,
            state: new.state,
            events: new.events,
            at: new.at,
            signals_done: 0,
            wake_at: None,
            release: false,
        };
        write_events(&mut tx, new.id, 0, &commit).await?;
        self.insert_key(&mut tx, new).await?;
        tx.commit().await?;
        let leased = new.worker.filter(|_| !new.state.status.is_final());
        Ok(Created::New(leased.map(|_| Claim {
            execution_id: new.id.to_owned(),
            last_seq: i64::try_from(new.events.len()).unwrap_or(i64::MAX),
            epoch: 1,
        })))
    }

    async fn find_key(&self, tx: &mut Tx, new: &NewExecution<'_>) -> Result<Option<Created>> {
        let Some(key) = new.idempotency_key else { return Ok(None) };
        let expired = "DELETE FROM idempotency_keys
                       WHERE workspace = $1 AND caller = $2 AND key = $3 AND expires_at < $4";
        tx.execute(expired, args![&*self.workspace, new.requested_by, key, new.at]).await?;
        let sql = "SELECT execution_id, request_hash FROM idempotency_keys
                   WHERE workspace = $1 AND caller = $2 AND key = $3";
        let row: Option<(String, String)> =
            tx.optional(sql, args![&*self.workspace, new.requested_by, key]).await?;
        Ok(row.map(|(execution_id, hash)| {
            if hash == new.request_hash {
                Created::Known(execution_id)
            } else {
                Created::KeyReused(execution_id)
            }
        }))
    }

    async fn insert(&self, tx: &mut Tx, new: &NewExecution<'_>) -> Result<()> {
        let revision =
            "INSERT INTO revisions (workspace, hash, workflow, document, source, created_at)
                        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let workflow = new.workflow;
        tx.execute(
            revision,
            args![
                &*self.workspace,
                &workflow.hash,
                &workflow.name,
                workflow.document.to_string(),
                new.source,
                new.at
            ],
        )
        .await?;
        let execution = "INSERT INTO executions
            (id, workspace, workflow, revision, status, input, requested_by, on_behalf_of, client_name,
             client_version, tool_servers, min_engine, wake_at, lease_owner, lease_until, lease_epoch,
             last_seq, created_at, updated_at, error, ended_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20)";
        // Its first turn may have been its last one, when no step has to call anything.
        let ended = new.state.status.is_final();
        let worker = new.worker.filter(|_| !ended);
        let leased = worker.is_some();
        tx.execute(
            execution,
            args![
                new.id,
                &*self.workspace,
                &workflow.name,
                &workflow.hash,
                new.state.status.as_str(),
                new.state.input.to_string(),
                new.requested_by,
                new.on_behalf_of,
                new.client_name,
                new.client_version,
                new.tool_servers,
                ENGINE,
                (!ended).then_some(new.at),
                worker,
                if leased { new.at + LEASE_MS } else { 0 },
                i64::from(leased),
                i64::try_from(new.events.len()).unwrap_or(i64::MAX),
                new.at,
                error_text(new.state),
                ended.then_some(new.at),
            ],
        )
        .await?;
        Ok(())
    }

    async fn insert_key(&self, tx: &mut Tx, new: &NewExecution<'_>) -> Result<()> {
        let Some(key) = new.idempotency_key else { return Ok(()) };
        let sql = "INSERT INTO idempotency_keys (workspace, caller, key, execution_id, request_hash, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let expires_at = new.at + KEY_LIFETIME_MS;
        let args =
            args![&*self.workspace, new.requested_by, key, new.id, new.request_hash, expires_at];
        tx.execute(sql, args).await?;
        Ok(())
    }

    /// Leaves a word for an execution. `false` when it has ended, or there is none in this workspace.
    ///
    /// The count on the execution's own row is what a worker's commit compares: a signal
    /// that lands while a lease is held is never lost.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signal(&self, execution_id: &str, signal: &Signal) -> Result<bool> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE executions SET signals_in = signals_in + 1, wake_at = $1
                   WHERE id = $2 AND workspace = $3 AND ended_at IS NULL RETURNING signals_in";
        let row: Option<(i64,)> =
            tx.optional(sql, args![now, execution_id, &*self.workspace]).await?;
        let Some((number,)) = row else { return Ok(false) };
        let data = serde_json::to_string(signal)
            .map_err(|err| Error::Database(sqlx::Error::Encode(err.into())))?;
        let sql = "INSERT INTO signals (execution_id, number, at, data) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, args![execution_id, number, now, data]).await?;
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
        Ok(self.db.optional(COLUMNS, args![execution_id, &*self.workspace]).await?)
    }

    /// The sequence number of an execution's newest event: the cheapest way to see that nothing changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn version(&self, execution_id: &str) -> Result<Option<i64>> {
        let sql = "SELECT last_seq FROM executions WHERE id = $1 AND workspace = $2";
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
                tool_servers, wake_at, lease_until, last_seq, created_at, ended_at FROM executions
            WHERE id IN (SELECT id FROM (SELECT id FROM executions WHERE workspace = $1 AND requested_by = $2
                                         ORDER BY created_at DESC LIMIT $3) AS own)
               OR id IN (SELECT id FROM (SELECT id FROM executions WHERE workspace = $1 AND waiting_for IS NOT NULL
                                         ORDER BY created_at DESC LIMIT $3) AS waiting)
            ORDER BY created_at DESC, id";
        Ok(self.db.all(COLUMNS, args![&*self.workspace, caller, i64::from(limit)]).await?)
    }

    /// The rows of the steps that have begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steps(&self, execution_id: &str) -> Result<Vec<StepRow>> {
        let sql = "SELECT step, tool, status, attempts, started_at, ended_at, error, output_seq
                   FROM steps WHERE execution_id = $1";
        Ok(self.db.all(sql, args![execution_id]).await?)
    }

    /// One event, whole.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote it.
    pub async fn event(&self, execution_id: &str, seq: i64) -> Result<Option<Event>> {
        let sql = "SELECT COALESCE(e.data, p.data) FROM events e
                   LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                   WHERE e.execution_id = $1 AND e.seq = $2";
        let row: Option<(String,)> = self.db.optional(sql, args![execution_id, seq]).await?;
        row.map(|(data,)| parse(execution_id, "an event", &data)).transpose()
    }

    /// What the tool of a step was last given; `None` when it was never called.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote some of the history.
    pub async fn params(
        &self,
        execution_id: &str,
        step: &str,
    ) -> Result<Option<serde_json::Value>> {
        let sql = "SELECT COALESCE(e.data, p.data) FROM events e
                   LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                   WHERE e.execution_id = $1 AND e.kind = 'attempt_started' ORDER BY e.seq DESC";
        let rows: Vec<(String,)> = self.db.all(sql, args![execution_id]).await?;
        for (data,) in rows {
            if let Event::AttemptStarted { step: of, params: Some(params), .. } =
                parse(execution_id, "an event", &data)?
                && of == step
            {
                return Ok(Some(params));
            }
        }
        Ok(None)
    }

    /// Everything that happened to an execution, each with its time.
    ///
    /// # Errors
    /// When the database fails, or a newer release wrote some of it.
    pub async fn history(&self, execution_id: &str) -> Result<Vec<(i64, Event)>> {
        let sql = "SELECT e.at, COALESCE(e.data, p.data) FROM events e
                   LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                   WHERE e.execution_id = $1 ORDER BY e.seq";
        let rows: Vec<(i64, String)> = self.db.all(sql, args![execution_id]).await?;
        let read = |(at, data): (i64, String)| Ok((at, parse(execution_id, "the history", &data)?));
        rows.into_iter().map(read).collect()
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

fn parse<T: serde::de::DeserializeOwned>(
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
