//! What a benchmark asks of the database: counts, rows made in bulk, and an end of everything it made.
//!
//! All of it is about one workspace, [`BENCH`]. Whose rows are elsewhere is never touched.

use std::sync::atomic::Ordering;

use super::{
    Result, Store,
    db::{self, COMMITS, Db, STATEMENTS, Sql, args},
};

/// The texts of the statements that this thread has sent to SQLite since the last call: for those who look at how they are
/// carried out, so that no text has to stand in two places. (Postgres tells by itself.)
#[must_use]
pub fn statements_sent() -> Vec<&'static str> {
    db::note()
}

impl Store {
    /// How many groups of turns were not written, so that the turns were written one by one. Nothing else shows it: all of
    /// them are written in the end.
    #[must_use]
    pub fn failed_groups(&self) -> u64 {
        self.writer.failed()
    }
}

/// The workspace of benchmarks.
pub const BENCH: &str = "bench";

/// Who is said to have started the executions that [`Store::fill`] makes.
pub const FILLED_BY: &str = "bench_fill";

/// How many executions are made, or removed, in one transaction.
const BATCH: i64 = 10_000;

/// What has been counted so far. Only differences say something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Statements that this process has sent, BEGIN and COMMIT aside.
    pub statements: u64,
    /// Transactions that this process has committed and that may have written.
    pub commits: u64,
    /// Bytes that the whole Postgres server has written ahead; SQLite does not tell.
    pub wal_bytes: Option<i64>,
}

/// The database's program, as it describes itself.
#[derive(Clone, Debug)]
pub struct Engine {
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    /// Its version.
    pub version: String,
    /// When a commit is on the disk: `full`, `normal` or `off`; on Postgres what `synchronous_commit` says.
    pub synchronous: String,
    /// Whether Postgres asks the disk to write at all (`fsync`).
    pub fsync: Option<String>,
}

/// The executions that others are made after: they ran for real.
#[derive(Clone, Copy, Debug)]
pub struct Templates<'t> {
    /// One that has ended.
    pub finished: &'t str,
    /// One that waits for a person.
    pub parked: &'t str,
    /// What the latter asks.
    pub request: &'t str,
    /// 24 hexadecimal digits that no earlier call was given: the end of every id that is made.
    pub ending: &'t str,
}

/// What was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct Filled {
    /// Executions that have ended.
    pub finished: i64,
    /// Executions that wait for a person; one of a hundred.
    pub parked: i64,
    /// Their events.
    pub events: i64,
    /// Their steps.
    pub steps: i64,
    /// Open requests: one for each that waits.
    pub requests: i64,
}

/// The numbers from the second to the third parameter, and an execution's id for each: an odd factor leads all over the
/// key space and to no place twice, so that ids fall into their index as random ones do.
macro_rules! for_each_number {
    ($insert:literal, $select:literal, $from:literal) => {
        Sql::Each {
            sqlite: concat!(
                "WITH RECURSIVE numbers (n) AS (SELECT CAST($2 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $3),
                 made (n, hex) AS (SELECT n, printf('%08x', (n * 2654435761) % 4294967296) || $4 FROM numbers) ",
                $insert, " ", $select, " ", $from
            ),
            postgres: concat!(
                $insert,
                " WITH made (n, hex) AS (
                    SELECT n, lpad(to_hex((n * 2654435761) % 4294967296), 8, '0') || $4
                    FROM generate_series(CAST($2 AS BIGINT), CAST($3 AS BIGINT)) AS numbers (n)) ",
                $select, " ", $from
            ),
        }
    };
}

const EXECUTIONS: Sql = for_each_number!(
    "INSERT INTO executions (id, workspace, workflow, revision, status, input, error, waiting_for, requested_by,
        client_name, client_version, tool_servers, min_engine, wake_at, lease_until, lease_epoch, signals_in, signals_done,
        last_seq, created_at, updated_at, ended_at, links, depth)",
    "SELECT 'exec_' || made.hex, t.workspace, t.workflow, t.revision, t.status, t.input, t.error, t.waiting_for, 'bench_fill',
        t.client_name, t.client_version, t.tool_servers, t.min_engine, t.wake_at, 0, t.lease_epoch, t.signals_in,
        t.signals_done, t.last_seq, t.created_at - made.n, t.updated_at - made.n, t.ended_at - made.n, t.links, t.depth",
    "FROM made, executions t WHERE t.id = $1"
);

const EVENTS: Sql = for_each_number!(
    "INSERT INTO events (execution_id, seq, at, kind, data)",
    "SELECT 'exec_' || made.hex, t.seq, t.at - made.n, t.kind, replace(t.data, $5, 'req_' || made.hex)",
    "FROM made, events t WHERE t.execution_id = $1"
);

const STEPS: Sql = for_each_number!(
    "INSERT INTO steps (execution_id, step, tool, status, attempts, started_at, ended_at, error, output_seq, params_seq)",
    "SELECT 'exec_' || made.hex, t.step, t.tool, t.status, t.attempts, t.started_at - made.n, t.ended_at - made.n, t.error,
        t.output_seq, t.params_seq",
    "FROM made, steps t WHERE t.execution_id = $1"
);

const REQUESTS: Sql = for_each_number!(
    "INSERT INTO requests (id, workspace, execution_id, step, kind, status, request, message, expires_at, created_at)",
    "SELECT 'req_' || made.hex, t.workspace, 'exec_' || made.hex, t.step, t.kind, t.status,
        replace(t.request, t.id, 'req_' || made.hex), t.message, t.expires_at, t.created_at - made.n",
    "FROM made, requests t WHERE t.execution_id = $1"
);

/// What has rows for an execution, and is emptied before it is: a foreign key that does it costs a look-up each.
const OF_EXECUTIONS: [Sql; 9] = {
    macro_rules! delete {
        ($table:literal) => {
            Sql::Each {
                sqlite: concat!(
                    "DELETE FROM ",
                    $table,
                    " WHERE execution_id IN (SELECT value FROM json_each($1))"
                ),
                postgres: concat!(
                    "DELETE FROM ",
                    $table,
                    " WHERE execution_id IN (SELECT json_array_elements_text($1::json))"
                ),
            }
        };
    }
    [
        delete!("payloads"),
        delete!("events"),
        delete!("steps"),
        delete!("signals"),
        delete!("requests"),
        delete!("lock_places"),
        delete!("idempotency_keys"),
        delete!("looks"),
        delete!("limit_places"),
    ]
};

/// What else a workspace has, once it has no execution any more.
const OF_WORKSPACE: [Sql; 11] = [
    Sql::Both("DELETE FROM limit_begun WHERE workspace = $1"),
    Sql::Both("DELETE FROM sessions WHERE workspace = $1"),
    // Where people see it as a view, which lets nobody delete.
    Sql::Each {
        sqlite: "DELETE FROM workflows WHERE workspace = $1",
        postgres: "DELETE FROM workflow_states WHERE workspace = $1",
    },
    Sql::Both("DELETE FROM pins WHERE workspace = $1"),
    Sql::Both("DELETE FROM tool_snapshots WHERE workspace = $1"),
    Sql::Both("DELETE FROM revisions WHERE workspace = $1"),
    Sql::Both("DELETE FROM plans WHERE workspace = $1"),
    Sql::Both("DELETE FROM tool_server_eras WHERE workspace = $1"),
    Sql::Both("DELETE FROM tool_memos WHERE workspace = $1"),
    Sql::Both("DELETE FROM artifacts WHERE workspace = $1"),
    Sql::Both("DELETE FROM model_usages WHERE workspace = $1"),
];

impl Store {
    /// What has been counted so far.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self) -> Result<Counts> {
        let wal_bytes = match &self.db {
            Db::Sqlite { .. } => None,
            Db::Postgres(_) => {
                let sql = "SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS BIGINT)";
                self.db.optional::<(i64,)>(sql, args![]).await?.map(|(bytes,)| bytes)
            }
        };
        let statements = STATEMENTS.load(Ordering::Relaxed);
        Ok(Counts { statements, commits: COMMITS.load(Ordering::Relaxed), wal_bytes })
    }

    /// Which program keeps the rows, and how carefully.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn engine(&self) -> Result<Engine> {
        // In a transaction: on SQLite it is the connection that writes whose setting counts.
        let mut tx = self.db.begin().await?;
        if let Db::Sqlite { .. } = &self.db {
            let version: Option<(String,)> =
                tx.optional("SELECT sqlite_version()", args![]).await?;
            let synchronous: Option<(i64,)> = tx.optional("PRAGMA synchronous", args![]).await?;
            let synchronous = match synchronous {
                Some((0,)) => "off",
                Some((1,)) => "normal",
                _ => "full",
            };
            let version = version.map(|(version,)| version).unwrap_or_default();
            return Ok(Engine {
                kind: "sqlite",
                version,
                synchronous: synchronous.into(),
                fsync: None,
            });
        }
        let sql = "SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync')";
        let row: Option<(String, String, String)> = tx.optional(sql, args![]).await?;
        let (version, synchronous, fsync) = row.unwrap_or_default();
        Ok(Engine { kind: "postgres", version, synchronous, fsync: Some(fsync) })
    }

    /// How many connections Windlass has to this database, whichever process holds them; SQLite has none to count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn connections(&self) -> Result<Option<i64>> {
        let Db::Postgres(_) = &self.db else { return Ok(None) };
        let sql = "SELECT COUNT(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'windlass'";
        Ok(self.db.optional::<(i64,)>(sql, args![]).await?.map(|(count,)| count))
    }

    /// The ids of all processes of the Postgres server; none on SQLite, which has no server.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn server_processes(&self) -> Result<Vec<i64>> {
        let Db::Postgres(_) = &self.db else { return Ok(Vec::new()) };
        let sql = "SELECT CAST(pid AS BIGINT) FROM pg_stat_activity";
        let rows: Vec<(i64,)> = self.db.all(sql, args![]).await?;
        Ok(rows.into_iter().map(|(pid,)| pid).collect())
    }

    /// How many rows the executions of one principal have: themselves, events, steps, requests.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rows_of(&self, principal: &str) -> Result<[i64; 4]> {
        const OF: &str = "SELECT
            (SELECT COUNT(*) FROM executions WHERE workspace = $1 AND requested_by = $2),
            (SELECT COUNT(*) FROM executions e JOIN events o ON o.execution_id = e.id
             WHERE e.workspace = $1 AND e.requested_by = $2),
            (SELECT COUNT(*) FROM executions e JOIN steps o ON o.execution_id = e.id
             WHERE e.workspace = $1 AND e.requested_by = $2),
            (SELECT COUNT(*) FROM executions e JOIN requests o ON o.execution_id = e.id
             WHERE e.workspace = $1 AND e.requested_by = $2)";
        let row: Option<(i64, i64, i64, i64)> =
            self.db.optional(OF, args![&*self.workspace, principal]).await?;
        Ok(row.map_or([0; 4], <[i64; 4]>::from))
    }

    /// Whether the database holds executions or workflows of another workspace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_shared(&self) -> Result<bool> {
        const OTHERS: Sql = Sql::Each {
            sqlite: "SELECT 1 FROM executions WHERE workspace < $1 OR workspace > $1
                UNION ALL SELECT 1 FROM workflows WHERE workspace < $1 OR workspace > $1 LIMIT 1",
            postgres: "SELECT 1::BIGINT FROM executions WHERE workspace < $1 OR workspace > $1
                UNION ALL SELECT 1::BIGINT FROM workflow_states WHERE workspace < $1 OR workspace > $1 LIMIT 1",
        };
        Ok(self.db.optional::<(i64,)>(OTHERS, args![BENCH]).await?.is_some())
    }

    /// Makes so many executions after two that ran for real, one of a hundred parked; tells how many there are after
    /// each transaction.
    ///
    /// # Errors
    /// When the database fails; what was made until then stays.
    pub async fn fill(
        &self,
        count: i64,
        templates: &Templates<'_>,
        told: &(dyn Fn(i64) + Sync),
    ) -> Result<Filled> {
        let parked = count / 100;
        let mut filled = Filled { finished: count - parked, parked, ..Filled::default() };
        let groups = [
            (templates.finished, 1, count - parked),
            (templates.parked, count - parked + 1, count),
        ];
        for (template, first, last) in groups {
            let mut from = first;
            while from <= last {
                let to = last.min(from + BATCH - 1);
                let mut tx = self.db.begin().await?;
                let numbers = args![template, from, to, templates.ending];
                tx.execute(EXECUTIONS, numbers).await?;
                let with_request = args![template, from, to, templates.ending, templates.request];
                filled.events += counted(tx.execute(EVENTS, with_request).await?);
                filled.steps += counted(tx.execute(STEPS, numbers).await?);
                filled.requests += counted(tx.execute(REQUESTS, numbers).await?);
                tx.commit().await?;
                told(to);
                from = to + 1;
            }
        }
        Ok(filled)
    }

    /// Has Postgres look at what is in its tables, as it does by itself some minutes later. SQLite plans without.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn analyze(&self) -> Result<()> {
        let Db::Postgres(_) = &self.db else { return Ok(()) };
        let mut tx = self.db.begin().await?;
        tx.execute("ANALYZE executions, events, steps, requests", args![]).await?;
        Ok(tx.commit().await?)
    }

    /// Removes what [`Store::fill`] made; all at once where Postgres holds nobody else's executions.
    ///
    /// # Errors
    /// When the database fails; what is left then can be removed by another call.
    pub async fn clear_fill(&self) -> Result<()> {
        const OTHERS: &str = "SELECT CAST(1 AS BIGINT) FROM executions WHERE workspace < $1 OR workspace > $1
            UNION ALL SELECT CAST(1 AS BIGINT) FROM executions WHERE workspace = $1 AND requested_by < $2
            UNION ALL SELECT CAST(1 AS BIGINT) FROM executions WHERE workspace = $1 AND requested_by > $2 LIMIT 1";
        if let Db::Postgres(_) = &self.db {
            let mut tx = self.db.begin().await?;
            // What is looked at must still hold when the tables are emptied.
            tx.execute("LOCK TABLE executions IN ACCESS EXCLUSIVE MODE", args![]).await?;
            let others: Option<(i64,)> = tx.optional(OTHERS, args![BENCH, FILLED_BY]).await?;
            if others.is_none() {
                let all =
                    "TRUNCATE executions, events, payloads, steps, signals, requests, lock_places,
                           idempotency_keys, looks CASCADE";
                tx.execute(all, args![]).await?;
                tx.commit().await?;
            }
        }
        self.clear(FILLED_BY).await?;
        Ok(())
    }

    /// Notes that a benchmark begins under this name, so that what it leaves when it is killed can be found.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_bench(&self, principal: &str) -> Result<()> {
        let sql = "INSERT INTO tool_memos (workspace, scope, name, value, updated_at) VALUES ($1, $1, $2, 'true', $3)
                   ON CONFLICT DO NOTHING";
        let mut tx = self.db.begin().await?;
        tx.execute(sql, args![&*self.workspace, principal, self.now()]).await?;
        Ok(tx.commit().await?)
    }

    /// Notes that a benchmark has ended; what it made may stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_bench(&self, principal: &str) -> Result<()> {
        let sql = "DELETE FROM tool_memos WHERE workspace = $1 AND scope = $1 AND name = $2";
        let mut tx = self.db.begin().await?;
        tx.execute(sql, args![&*self.workspace, principal]).await?;
        Ok(tx.commit().await?)
    }

    /// The benchmarks that have begun and not ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begun_benches(&self) -> Result<Vec<String>> {
        let sql = "SELECT name FROM tool_memos WHERE workspace = $1 AND scope = $1 ORDER BY name";
        let rows: Vec<(String,)> = self.db.all(sql, args![&*self.workspace]).await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// Removes every execution of a principal, and all that belongs to it; how many there were. The last one takes what
    /// else the workspace has along.
    ///
    /// # Errors
    /// When the database fails; what is left then can be removed by another call.
    pub async fn clear(&self, principal: &str) -> Result<i64> {
        const SOME: &str =
            "SELECT id FROM executions WHERE workspace = $1 AND requested_by = $2 LIMIT $3";
        const EXECUTIONS: Sql = Sql::Each {
            sqlite: "DELETE FROM executions WHERE id IN (SELECT value FROM json_each($1))",
            postgres: "DELETE FROM executions WHERE id IN (SELECT json_array_elements_text($1::json))",
        };
        let mut removed = 0;
        loop {
            let some = args![&*self.workspace, principal, BATCH];
            let rows: Vec<(String,)> = self.db.all(SOME, some).await?;
            if rows.is_empty() {
                break;
            }
            let ids: Vec<String> = rows.into_iter().map(|(id,)| id).collect();
            let ids = serde_json::json!(ids).to_string();
            let mut tx = self.db.begin().await?;
            for sql in OF_EXECUTIONS {
                tx.execute(sql, args![&ids]).await?;
            }
            removed += counted(tx.execute(EXECUTIONS, args![&ids]).await?);
            tx.commit().await?;
        }
        self.end_bench(principal).await?;
        self.clear_empty_workspace().await?;
        Ok(removed)
    }

    async fn clear_empty_workspace(&self) -> Result<()> {
        let mut tx = self.db.begin().await?;
        // Another benchmark may have begun and started nothing yet.
        let any = "SELECT CAST(1 AS BIGINT) FROM executions WHERE workspace = $1
                   UNION ALL SELECT CAST(1 AS BIGINT) FROM tool_memos WHERE workspace = $1 AND scope = $1 LIMIT 1";
        if tx.optional::<(i64,)>(any, args![&*self.workspace]).await?.is_none() {
            for sql in OF_WORKSPACE {
                tx.execute(sql, args![&*self.workspace]).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

fn counted(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
