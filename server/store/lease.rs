//! Who may drive an execution, until when.

use std::{collections::HashMap, sync::Arc};

use windlass_engine::Look;

use super::{
    ENGINE, Error, Result, Signal, Store,
    db::{Sql, args},
};

/// How long a lease holds without being renewed, in milliseconds.
pub(crate) const LEASE_MS: i64 = 15_000;

/// A worker stays for the end of a person's time when it is nearer than this, in milliseconds.
const SOON_MS: i64 = 60 * 60_000;

/// An execution that this process may drive until the lease runs out.
///
/// The epoch fences: it grows with every claim, so a worker that was presumed
/// dead and comes back cannot commit.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The execution.
    pub execution_id: String,
    /// The sequence number of the newest event this holder knows.
    pub last_seq: i64,
    /// The executions that what was written with it made due; itself, when there is a signal to hear.
    pub due: Vec<String>,
    pub(super) epoch: i64,
    /// Who holds it.
    pub(super) worker: Arc<str>,
}

/// What a worker needs to go on with an execution.
#[derive(Debug)]
pub struct Loaded {
    /// The document of the revision it was started with.
    pub document: String,
    /// The revision's hash.
    pub revision: String,
    /// Who started it.
    pub requested_by: String,
    /// The tool servers it was started with, as JSON.
    pub tool_servers: String,
    /// The revision of each workflow that it may run, as JSON: `{"name": "hash"}`.
    pub links: String,
    /// How many executions are above it.
    pub depth: i64,
    /// The trace it belongs to, as W3C's `traceparent`.
    pub traceparent: Option<String>,
    /// The topmost of those; itself where there is none.
    pub root_id: String,
    /// What was seen last of steps whose tools were not done.
    pub looks: Vec<(String, Look)>,
    /// Signals that the history does not take into account yet, numbered.
    pub signals: Vec<(i64, Signal)>,
    /// The number of the last signal that it does.
    pub signals_done: i64,
}

/// What is read of an execution and its revision in one go.
#[derive(sqlx::FromRow)]
struct LoadedRow {
    document: String,
    revision: String,
    requested_by: String,
    tool_servers: String,
    signals_done: i64,
    links: String,
    depth: i64,
    traceparent: Option<String>,
    root_id: String,
}

/// What of a priority can be claimed, the longest due first.
macro_rules! due {
    (sqlite $priority:literal) => {
        concat!(
            "SELECT * FROM (SELECT id, priority, wake_at FROM executions
                WHERE workspace = $3 AND priority = ",
            $priority,
            " AND wake_at <= $4 AND lease_until <= $4 AND min_engine <= $5
                  AND tool_servers NOT IN (SELECT value FROM json_each($6))
                ORDER BY wake_at LIMIT $7)"
        )
    };
}

/// The next execution of a priority that wants to be looked at soon.
macro_rules! next {
    ($priority:literal, $refused:literal) => {
        concat!(
            " UNION ALL SELECT * FROM (SELECT wake_at FROM executions
                WHERE workspace = $1 AND priority = ",
            $priority,
            " AND wake_at < $3 AND tool_servers NOT IN (",
            $refused,
            ") ORDER BY wake_at LIMIT 1) AS soon"
        )
    };
}

/// Whether anything of a priority can be claimed. The order says which index leads to it: without one, a plan that is
/// made for any time reads the whole table.
macro_rules! found {
    ($priority:literal, $refused:literal) => {
        concat!(
            "SELECT * FROM (SELECT CAST(1 AS BIGINT) AS due FROM executions
                WHERE workspace = $1 AND priority = ",
            $priority,
            " AND wake_at <= $2 AND lease_until <= $2 AND min_engine <= $3 AND tool_servers NOT IN (",
            $refused,
            ") ORDER BY wake_at LIMIT 1) AS found"
        )
    };
}

/// A renewal that was overtaken by a later one does not shorten the lease; an end that is too far away, by a clock that was
/// set back since, does not stay. The number is [`LEASE_MS`].
macro_rules! renew {
    () => {
        "UPDATE executions SET
            lease_until = CASE WHEN lease_until BETWEEN $1 AND $1 + 15000 THEN lease_until ELSE $1 END,
            wake_at = CASE WHEN lease_until BETWEEN $1 AND $1 + 15000 THEN lease_until ELSE $1 END"
    };
}

/// One probe for each priority. The first `$8` of those that are due longest come before all others.
///
/// While a lease is held, `wake_at` is its end: what is driven is not among the rows that are due, and nobody passes
/// over it.
const CLAIM: Sql = Sql::Each {
    // SQLite has one writer at a time: there is nothing to skip.
    sqlite: concat!(
        "UPDATE executions
        SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1, wake_at = $2
        WHERE id IN (
            SELECT id FROM (
                SELECT id, priority, wake_at, ROW_NUMBER() OVER (ORDER BY wake_at) AS place FROM (",
        due!(sqlite "1"),
        " UNION ALL ",
        due!(sqlite "0"),
        " UNION ALL ",
        due!(sqlite "-1"),
        "))
            ORDER BY CASE WHEN place <= $8 THEN 0 ELSE 1 END, priority DESC, wake_at LIMIT $7)
        RETURNING id, lease_epoch, last_seq, priority"
    ),
    postgres: "WITH due AS MATERIALIZED (
            SELECT d.id FROM (
                SELECT c.id, c.priority, c.wake_at, ROW_NUMBER() OVER (ORDER BY c.wake_at) AS place
                FROM (VALUES (1::BIGINT), (0::BIGINT), (-1::BIGINT)) AS class (priority),
                LATERAL (SELECT e.id, e.priority, e.wake_at FROM executions e
                    WHERE e.workspace = $3 AND e.priority = class.priority AND e.wake_at <= $4
                      AND e.lease_until <= $4 AND e.min_engine <= $5
                      AND e.tool_servers NOT IN (SELECT json_array_elements_text($6::json))
                    ORDER BY e.wake_at LIMIT $7 FOR UPDATE SKIP LOCKED) AS c) AS d
            ORDER BY CASE WHEN d.place <= $8 THEN 0 ELSE 1 END, d.priority DESC, d.wake_at LIMIT $7)
        UPDATE executions
        SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1, wake_at = $2
        FROM due WHERE executions.id = due.id
        RETURNING executions.id, lease_epoch, last_seq, priority",
};

impl Store {
    /// Claims the execution of the highest priority that has been due longest, if any is.
    ///
    /// `refused` lists the `tool_servers` texts that this worker cannot serve.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(&self, worker: &str, refused: &[String]) -> Result<Option<Claim>> {
        Ok(self.claim_some(worker, refused, 1, 0).await?.into_iter().next())
    }

    /// Claims at most so many of the executions that are due: the higher priority first, and the longest due first
    /// among equals. `longest` of them are those that are due longest, whatever their priority.
    ///
    /// `refused` lists the `tool_servers` texts that this worker cannot serve.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_some(
        &self,
        worker: &str,
        refused: &[String],
        most: usize,
        longest: usize,
    ) -> Result<Vec<Claim>> {
        let now = self.now();
        // An idle process only reads: the row that is due is looked for before the write lock is taken.
        if !self.is_due(now, refused).await? {
            return Ok(Vec::new());
        }
        let refused = serde_json::json!(refused).to_string();
        let [most, longest] = [most, longest].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let workspace = &*self.workspace;
        let args = args![worker, now + LEASE_MS, workspace, now, ENGINE, refused, most, longest];
        let mut rows: Vec<(String, i64, i64, i64)> = self.db.write(CLAIM, args).await?;
        rows.sort_by_key(|(_, _, _, priority)| -priority);
        let rows = rows.into_iter();
        Ok(rows.map(|(id, epoch, last_seq, _)| claimed((id, epoch, last_seq), worker)).collect())
    }

    /// Claims the one of these executions that has been due longest, if any is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_among(&self, worker: &str, ids: &[String]) -> Result<Option<Claim>> {
        const AMONG: Sql = Sql::Each {
            sqlite: "UPDATE executions
                SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1, wake_at = $2
                WHERE id = (SELECT id FROM executions
                            WHERE id IN (SELECT value FROM json_each($3)) AND workspace = $4 AND wake_at <= $5
                              AND lease_until <= $5 AND min_engine <= $6
                            ORDER BY priority DESC, wake_at LIMIT 1)
                RETURNING id, lease_epoch, last_seq",
            postgres: "UPDATE executions
                SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1, wake_at = $2
                WHERE id = (SELECT id FROM executions
                            WHERE id IN (SELECT json_array_elements_text($3::json)) AND workspace = $4 AND wake_at <= $5
                              AND lease_until <= $5 AND min_engine <= $6
                            ORDER BY priority DESC, wake_at LIMIT 1 FOR UPDATE SKIP LOCKED)
                RETURNING id, lease_epoch, last_seq",
        };
        if ids.is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let ids = serde_json::json!(ids).to_string();
        let args = args![worker, now + LEASE_MS, ids, &*self.workspace, now, ENGINE];
        let rows: Vec<(String, i64, i64)> = self.db.write(AMONG, args).await?;
        Ok(rows.into_iter().next().map(|row| claimed(row, worker)))
    }

    async fn is_due(&self, now: i64, refused: &[String]) -> Result<bool> {
        const DUE: Sql = Sql::Each {
            sqlite: concat!(
                found!("1", "SELECT value FROM json_each($4)"),
                " UNION ALL ",
                found!("0", "SELECT value FROM json_each($4)"),
                " UNION ALL ",
                found!("-1", "SELECT value FROM json_each($4)"),
                " LIMIT 1"
            ),
            postgres: concat!(
                found!("1", "SELECT json_array_elements_text($4::json)"),
                " UNION ALL ",
                found!("0", "SELECT json_array_elements_text($4::json)"),
                " UNION ALL ",
                found!("-1", "SELECT json_array_elements_text($4::json)"),
                " LIMIT 1"
            ),
        };
        let refused = serde_json::json!(refused).to_string();
        let row: Option<(i64,)> =
            self.db.optional(DUE, args![&*self.workspace, now, ENGINE, refused]).await?;
        Ok(row.is_some())
    }

    /// When the next execution that a worker can serve wants to be looked at, in milliseconds since 1970.
    ///
    /// What waits for a person is left out, unless its time is over soon: no worker has to stay for the day on
    /// which the time to answer is over.
    ///
    /// `refused` lists the `tool_servers` texts that it cannot serve.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_wake(&self, refused: &[String]) -> Result<Option<i64>> {
        const NEXT: Sql = Sql::Each {
            sqlite: concat!(
                "SELECT MIN(wake_at) FROM (SELECT * FROM (SELECT wake_at FROM executions
                    WHERE workspace = $1 AND waiting_for IS NULL AND wake_at IS NOT NULL
                      AND tool_servers NOT IN (SELECT value FROM json_each($2)) ORDER BY wake_at LIMIT 1)",
                next!("1", "SELECT value FROM json_each($2)"),
                next!("0", "SELECT value FROM json_each($2)"),
                next!("-1", "SELECT value FROM json_each($2)"),
                ")"
            ),
            postgres: concat!(
                "SELECT MIN(wake_at) FROM (SELECT * FROM (SELECT wake_at FROM executions
                    WHERE workspace = $1 AND waiting_for IS NULL AND wake_at IS NOT NULL
                      AND tool_servers NOT IN (SELECT json_array_elements_text($2::json))
                    ORDER BY wake_at LIMIT 1) AS asleep",
                next!("1", "SELECT json_array_elements_text($2::json)"),
                next!("0", "SELECT json_array_elements_text($2::json)"),
                next!("-1", "SELECT json_array_elements_text($2::json)"),
                ") AS next"
            ),
        };
        let refused = serde_json::json!(refused).to_string();
        let row: Option<(Option<i64>,)> =
            self.db.optional(NEXT, args![&*self.workspace, refused, self.now() + SOON_MS]).await?;
        Ok(row.and_then(|(wake_at,)| wake_at))
    }

    /// Renews the leases that a worker still holds on these executions; the epoch of each, and the number of
    /// its newest signal. One whose row is just being written is left out; [`Store::renew_one`] waits for that.
    ///
    /// # Errors
    /// When the database fails; the leases then run out by themselves.
    pub async fn renew(&self, worker: &str, ids: &[String]) -> Result<HashMap<String, (i64, i64)>> {
        const RENEW: Sql = Sql::Each {
            sqlite: concat!(
                renew!(),
                " WHERE lease_owner = $2 AND id IN (SELECT value FROM json_each($3))
                RETURNING id, lease_epoch, signals_in"
            ),
            // A row that is just being committed is ours still; to wait for it would keep the others waiting.
            postgres: concat!(
                renew!(),
                " WHERE id IN (SELECT id FROM executions
                             WHERE lease_owner = $2 AND id IN (SELECT json_array_elements_text($3::json))
                             FOR UPDATE SKIP LOCKED)
                RETURNING id, lease_epoch, signals_in"
            ),
        };
        let ids = serde_json::json!(ids).to_string();
        let rows: Vec<(String, i64, i64)> =
            self.db.write(RENEW, args![self.now() + LEASE_MS, worker, ids]).await?;
        Ok(rows.into_iter().map(|(id, epoch, signals)| (id, (epoch, signals))).collect())
    }

    /// Renews one lease, if the worker still holds it; its epoch, and the number of its newest signal. Waits for whoever
    /// writes to the row: that it cannot be had now does not mean that it is lost.
    ///
    /// # Errors
    /// When the database fails; the lease then runs out by itself.
    pub async fn renew_one(&self, worker: &str, id: &str) -> Result<Option<(i64, i64)>> {
        const RENEW: &str = concat!(
            renew!(),
            " WHERE lease_owner = $2 AND id = $3 RETURNING lease_epoch, signals_in"
        );
        let until = self.now() + LEASE_MS;
        Ok(self.db.write(RENEW, args![until, worker, id]).await?.pop())
    }

    /// Gives a lease back without having done anything; the execution is due again at `wake_at`.
    ///
    /// # Errors
    /// When the database fails; the lease then runs out by itself.
    pub async fn release(&self, claim: &Claim, wake_at: i64) -> Result<()> {
        self.let_go(claim, wake_at, false).await
    }

    /// The same for whoever has heard every signal that there was: with a newer one, the execution is due at once.
    ///
    /// # Errors
    /// As [`Store::release`].
    pub async fn release_unless_told(&self, claim: &Claim, wake_at: i64) -> Result<()> {
        self.let_go(claim, wake_at, true).await
    }

    async fn let_go(&self, claim: &Claim, wake_at: i64, hears: bool) -> Result<()> {
        let sql = "UPDATE executions SET lease_owner = NULL, lease_until = 0,
                       wake_at = CASE WHEN $4 = 1 AND signals_done < signals_in THEN $5 ELSE $1 END
                   WHERE id = $2 AND lease_epoch = $3 AND ended_at IS NULL";
        let mut tx = self.db.begin().await?;
        let args = args![wake_at, &claim.execution_id, claim.epoch, hears, self.now()];
        tx.execute(sql, args).await?;
        Ok(tx.commit().await?)
    }

    /// Everything that is needed to go on with a claimed execution, but its history; see [`Store::replay`].
    ///
    /// # Errors
    /// [`Error::Unreadable`] when a newer release wrote something this one does not know.
    pub async fn load(&self, claim: &Claim) -> Result<Loaded> {
        let id = &claim.execution_id;
        let sql = "SELECT r.document, e.revision, e.requested_by, e.tool_servers, e.signals_done, e.links,
                       e.depth, e.traceparent, COALESCE(e.root_id, e.id) AS root_id
                   FROM executions e JOIN revisions r ON r.workspace = e.workspace AND r.hash = e.revision
                   WHERE e.id = $1 AND e.lease_epoch = $2";
        let row: Option<LoadedRow> = self.db.optional(sql, args![id, claim.epoch]).await?;
        let row = row.ok_or_else(|| Error::Fenced(id.clone()))?;
        Ok(Loaded {
            document: row.document,
            revision: row.revision,
            requested_by: row.requested_by,
            tool_servers: row.tool_servers,
            links: row.links,
            depth: row.depth,
            traceparent: row.traceparent,
            root_id: row.root_id,
            looks: self.looks(id).await?,
            signals: self.signals(id, row.signals_done).await?,
            signals_done: row.signals_done,
        })
    }
}

fn claimed((execution_id, epoch, last_seq): (String, i64, i64), worker: &str) -> Claim {
    Claim { execution_id, last_seq, due: Vec::new(), epoch, worker: worker.into() }
}

impl Claim {
    /// Whether a renewal's answer is about this very claim.
    #[must_use]
    pub fn is_epoch(&self, epoch: i64) -> bool {
        self.epoch == epoch
    }
}
