//! Executions that begin: written with their first events, or found by the key they were asked for with.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use windlass_engine::{Event, State, Workflow};

use super::{
    Error, ExecutionRow, NewChild, Result, StepRow, Store,
    db::{Arg, Tx, args, row},
    lease::{Claim, LEASE_MS},
    min_engine,
    record::{self, Lines, Record, either, insert_into},
    rows::{self, Columns, Row, Type},
    turn::{Effects, Happened, error_text, is_plain, waiting_for},
    workflows::{STANDING, is_taken},
    writer::{Write, Written},
};
use crate::metrics;

/// How long an idempotency key is remembered, in milliseconds: 30 days.
const KEY_LIFETIME_MS: i64 = 30 * 24 * 3_600_000;

/// How long what was sent without an answer is looked for: connections that broke together are found out one by one.
const SETTLING: Duration = Duration::from_secs(5);

/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(50);

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
    /// The tool servers it and the workflows it runs use, and their configurations' identities, as JSON.
    pub tool_servers: &'n str,
    /// The revision of each workflow that it or its children may run, as JSON: `{"name": "hash"}`.
    pub links: &'n str,
    /// Those revisions; each with where its document came from.
    pub linked: &'n [(Arc<Workflow>, String)],
    /// The same key twice is one execution.
    pub idempotency_key: Option<&'n str>,
    /// The plan that it is started by.
    pub plan: Option<&'n str>,
    /// What the key stands for: a hash of workflow and input.
    pub request_hash: &'n str,
    /// The state after the events.
    pub state: &'n State,
    /// What has happened so far; the first is `execution_started`.
    pub events: &'n [Event],
    /// The executions that its first steps are.
    pub children: &'n [NewChild],
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The worker that goes on with it at once; without one it is due for any.
    pub worker: Option<&'n str>,
    /// [`windlass_engine::Priority::rank`]; what its steps are, has the same.
    pub priority: i64,
    /// The trace it belongs to, as W3C's `traceparent`.
    pub traceparent: Option<&'n str>,
    /// How the workflow stood when it was looked up: nothing is written when it stands otherwise by now. `None`: it was
    /// looked up a moment ago.
    pub standing: Option<&'n str>,
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
    /// Nothing was written: the workflow stands otherwise by now than it was known to.
    Outdated,
}

/// The columns of a new execution's row, in the order of [`values`]; the last one is compared, and not written.
pub(super) const NEW_COLUMNS: &Columns = &[
    ("id", Type::Text),
    ("workspace", Type::Text),
    ("workflow", Type::Text),
    ("revision", Type::Text),
    ("status", Type::Text),
    ("input", Type::Text),
    ("requested_by", Type::Text),
    ("on_behalf_of", Type::Text),
    ("client_name", Type::Text),
    ("client_version", Type::Text),
    ("tool_servers", Type::Text),
    ("min_engine", Type::Int),
    ("wake_at", Type::Int),
    ("lease_owner", Type::Text),
    ("lease_until", Type::Int),
    ("lease_epoch", Type::Int),
    ("last_seq", Type::Int),
    ("created_at", Type::Int),
    ("updated_at", Type::Int),
    ("error", Type::Text),
    ("ended_at", Type::Int),
    ("links", Type::Text),
    ("signals_in", Type::Int),
    ("plan", Type::Text),
    ("waiting_for", Type::Text),
    ("priority", Type::Int),
    ("traceparent", Type::Text),
    ("standing", Type::Text),
];

/// Writes new executions of a source, as SQLite and as Postgres read it: those whose workflows stand as they were known
/// to. A row without an id is none.
pub(super) fn insert_from(source: &str) -> [String; 2] {
    let insert = insert_into("executions", &NEW_COLUMNS[..NEW_COLUMNS.len() - 1]);
    STANDING.map(|standing| {
        let as_known = format!("r.standing IS NULL OR r.standing = {standing}");
        let is_new = format!("r.id IS NOT NULL AND ({as_known})");
        format!("{insert} {source} WHERE {is_new} RETURNING id, signals_in")
    })
}

/// Writes a new execution.
pub(super) static INSERT: LazyLock<[String; 2]> =
    LazyLock::new(|| insert_from(&rows::one(NEW_COLUMNS, 1)));

/// The row of a new execution that leaves so many signals for itself.
fn values<'n>(workspace: &'n str, new: &NewExecution<'n>, signals_in: i64) -> Row<'n> {
    let workflow = new.workflow;
    // Its first turn may have been its last one, when no step has to call anything.
    let ended = new.state.status.is_final();
    let worker = new.worker.filter(|_| !ended);
    let leased = worker.is_some();
    row![
        new.id,
        workspace,
        &workflow.name,
        &workflow.hash,
        new.state.status.as_str(),
        new.state.input.to_string(),
        new.requested_by,
        new.on_behalf_of,
        new.client_name,
        new.client_version,
        new.tool_servers,
        min_engine(new.events),
        (!ended).then_some(if leased { new.at + LEASE_MS } else { new.at }),
        worker,
        if leased { new.at + LEASE_MS } else { 0 },
        i64::from(leased),
        i64::try_from(new.events.len()).unwrap_or(i64::MAX),
        new.at,
        new.at,
        error_text(new.state),
        ended.then_some(new.at),
        new.links,
        signals_in,
        new.plan,
        waiting_for(new.state),
        new.priority,
        new.traceparent,
        new.standing,
    ]
}

/// A new execution on its way into the database.
pub(super) struct Start {
    pub(super) row: Row<'static>,
    pub(super) lines: Lines,
}

impl Start {
    /// Its rows, unless they are too large to be written with others.
    fn of(workspace: &str, new: &NewExecution<'_>) -> Result<Option<Start>> {
        let lines = Lines::of(0, &new.record(workspace))?;
        if lines.has_large() {
            return Ok(None);
        }
        let row = values(workspace, new, 0).into_iter().map(Arg::into_owned).collect();
        Ok(Some(Start { row, lines }))
    }
}

impl<'n> NewExecution<'n> {
    /// The rows of the steps that have begun with it.
    #[must_use]
    pub fn step_rows(&self) -> Vec<StepRow> {
        record::step_rows(0, &self.record(""))
    }

    /// Its row as it is written when a worker goes on with it at once.
    #[must_use]
    pub fn row(&self) -> ExecutionRow {
        let lease_until = self.at + LEASE_MS;
        ExecutionRow {
            id: self.id.to_owned(),
            workflow: self.workflow.name.clone(),
            revision: self.workflow.hash.clone(),
            status: self.state.status.as_str().to_owned(),
            input: self.state.input.to_string(),
            error: error_text(self.state),
            waiting_for: waiting_for(self.state),
            requested_by: self.requested_by.to_owned(),
            tool_servers: self.tool_servers.to_owned(),
            plan: self.plan.map(str::to_owned),
            wake_at: Some(lease_until),
            lease_until,
            last_seq: i64::try_from(self.events.len()).unwrap_or(i64::MAX),
            created_at: self.at,
            ended_at: None,
            completion: None,
        }
    }

    fn record(&self, workspace: &'n str) -> Record<'n> {
        Record {
            workspace,
            execution_id: self.id,
            workflow: self.workflow,
            state: self.state,
            events: self.events,
            at: self.at,
            worker: self.worker.unwrap_or_default(),
        }
    }
}

/// Whether nobody can tell whether the database did what it was sent: the line broke, or the server was being shut down,
/// which it may say even after a commit.
fn is_unanswered(err: &Error) -> bool {
    match err {
        Error::Uncertain(_) => true,
        Error::Database(sqlx::Error::Database(err)) => {
            err.code().is_some_and(|code| code.len() == 5 && code.starts_with("57P"))
        }
        Error::Database(_) => err.is_passing(),
        _ => false,
    }
}

/// What has become of it: it exists, and its worker may go on.
fn created(new: &NewExecution<'_>, due: Vec<String>) -> Created {
    let worker = new.worker.filter(|_| !new.state.status.is_final());
    Created::New(worker.map(|worker| Claim {
        execution_id: new.id.to_owned(),
        last_seq: i64::try_from(new.events.len()).unwrap_or(i64::MAX),
        due,
        epoch: 1,
        worker: worker.into(),
    }))
}

impl Store {
    /// Writes an execution, its revision and its first events; or finds the one its key stands for.
    ///
    /// What was sent and not answered is looked for, a few seconds long if need be, and nothing is begun twice.
    ///
    /// # Errors
    /// When the database fails; nothing is written then. [`Error::Uncertain`] when nobody can tell.
    pub async fn create(&self, new: &NewExecution<'_>) -> Result<Created> {
        if self.is_plain(new)
            && let Some(write) = Start::of(&self.workspace, new)?
        {
            match self.writer.write(Write::Start(write)).await {
                Written::Yes(_) => return Ok(created(new, Vec::new())),
                // There is nothing else that it has to match.
                Written::No => return Ok(Created::Outdated),
                Written::Unknown => return self.create_again(new).await,
            }
        }
        let alone = match self.create_alone(new).await {
            // Two callers with one key at the same moment: the second finds what the first wrote.
            Err(err) if is_taken(&err) => self.create_alone(new).await,
            other => other,
        };
        match alone {
            Err(Error::Uncertain(_)) => self.create_again(new).await,
            other => other,
        }
    }

    /// Writes what may be there already, or may come to be there: nobody else has its id, and nobody may begin another one
    /// in its place.
    async fn create_again(&self, new: &NewExecution<'_>) -> Result<Created> {
        let uncertain = || Error::Uncertain(new.id.to_owned());
        let deadline = Instant::now() + SETTLING;
        loop {
            match self.look_or_create(new).await {
                // Its own id is taken, or its key: the next look tells which.
                Err(err) if is_taken(&err) || is_unanswered(&err) => {}
                Ok(Created::Outdated) => return Err(uncertain()),
                other => return other,
            }
            if deadline <= Instant::now() {
                return Err(uncertain());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look_or_create(&self, new: &NewExecution<'_>) -> Result<Created> {
        match self.version(new.id).await? {
            Some(_) => Ok(created(new, Vec::new())),
            None => self.create_alone(new).await,
        }
    }

    /// Whether nothing but the execution's own rows is written, so that it may share a transaction with others.
    fn is_plain(&self, new: &NewExecution<'_>) -> bool {
        let revisions = new.linked.iter().map(|(workflow, _)| &**workflow).chain([new.workflow]);
        new.idempotency_key.is_none()
            && new.children.is_empty()
            && is_plain(new.workflow, new.events, new.state.status.is_final())
            && self.writer.knows(revisions)
    }

    async fn create_alone(&self, new: &NewExecution<'_>) -> Result<Created> {
        let began = Instant::now();
        let mut tx = self.db.begin().await?;
        if let Some(known) = self.find_key(&mut tx, new).await? {
            return Ok(known);
        }
        let happened = Happened {
            execution_id: new.id,
            events: new.events,
            children: new.children,
            cancels: &[],
            held_up: None,
            ended: new.state.status.is_final(),
            worker: new.worker.unwrap_or_default(),
        };
        let effects = Effects::prepare(&mut tx, &self.workspace, &happened).await?;
        self.insert_revisions(&mut tx, new).await?;
        let row = values(&self.workspace, new, effects.own());
        let written: Option<(String, i64)> = tx.optional(either(&INSERT), &row).await?;
        if written.is_none() {
            return Ok(Created::Outdated);
        }
        record::write(&mut tx, 0, &new.record(&self.workspace)).await?;
        let own = effects.own();
        let due = effects.write(&mut tx, &self.workspace, &happened, own, new.at).await?;
        self.insert_key(&mut tx, new).await?;
        tx.commit().await.map_err(|err| match Error::from(err) {
            err if is_unanswered(&err) => Error::Uncertain(new.id.to_owned()),
            err => err,
        })?;
        metrics::committed(1, began);
        let revisions = new.linked.iter().map(|(workflow, _)| &**workflow).chain([new.workflow]);
        self.writer.learn(revisions);
        Ok(created(new, due))
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

    async fn insert_revisions(&self, tx: &mut Tx, new: &NewExecution<'_>) -> Result<()> {
        let sql = "INSERT INTO revisions (workspace, hash, workflow, document, source, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let linked = new.linked.iter().map(|(workflow, source)| (&**workflow, source.as_str()));
        let all = linked.chain([(new.workflow, new.source)]);
        // In one order for everybody: two that write the same ones must not wait for each other.
        let all: BTreeMap<&str, (&Workflow, &str)> =
            all.map(|(workflow, source)| (workflow.hash.as_str(), (workflow, source))).collect();
        for (hash, (workflow, source)) in all {
            let document = workflow.document.to_string();
            let args = args![&*self.workspace, hash, &workflow.name, document, source, new.at];
            tx.execute(sql, args).await?;
        }
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
}
