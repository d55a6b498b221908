//! Whether a worker lives, as Postgres sees it: a lock that vanishes with the connection that holds it.
//!
//! The lease stays the truth; this only shortens the wait for it. A worker's row names the number of its lock. Who
//! takes over from a worker deletes that row in the same transaction, so that a worker which comes back with another
//! lock waits until it is known what it lost.

use std::{str::FromStr, sync::atomic::Ordering, time::Duration};

use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow},
};

use super::{
    ENGINE, Error, Result, Store,
    db::{Db, STATEMENTS, args},
    lease::LEASE_MS,
};

/// How long the presence connection has for one answer. Much longer than a holder may go on without one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A worker's lock, on a connection of its own.
pub struct Presence {
    listener: PgListener,
    store: Store,
    worker: String,
    key: i64,
    /// The session that holds the lock; behind a transaction pooler it may change under our hands.
    backend: i32,
}

/// A worker whose lock is not held by anybody.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Missing {
    /// The worker's id.
    pub worker: String,
    /// The number of the lock that its row names.
    pub key: i64,
}

/// What one look at the database found.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whether any execution is due that nobody drives.
    pub due: bool,
    /// The workers whose locks are not held.
    pub missing: Vec<Missing>,
}

/// Asked once a second by every process: whether its own lock holds, whose does not, and whether there is work.
const LOOK: &str = "WITH held AS MATERIALIZED (
        SELECT pid, (classid::BIGINT << 32) | objid::BIGINT AS key FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
    SELECT 'own' AS what, w.lock_key AS key FROM workers w JOIN held ON held.key = w.lock_key
    WHERE w.id = $2 AND w.lock_key = $3 AND held.pid = pg_backend_pid()
    UNION ALL
    SELECT w.id, w.lock_key FROM workers w
    WHERE w.workspace = $1 AND w.lock_key IS NOT NULL AND w.lock_key NOT IN (SELECT key FROM held)
    UNION ALL SELECT * FROM (SELECT 'due', 0::BIGINT FROM executions
        WHERE workspace = $1 AND priority = 1 AND wake_at <= $4 AND lease_until <= $4 AND min_engine <= $5
        ORDER BY wake_at LIMIT 1) AS high
    UNION ALL SELECT * FROM (SELECT 'due', 0::BIGINT FROM executions
        WHERE workspace = $1 AND priority = 0 AND wake_at <= $4 AND lease_until <= $4 AND min_engine <= $5
        ORDER BY wake_at LIMIT 1) AS normal
    UNION ALL SELECT * FROM (SELECT 'due', 0::BIGINT FROM executions
        WHERE workspace = $1 AND priority = -1 AND wake_at <= $4 AND lease_until <= $4 AND min_engine <= $5
        ORDER BY wake_at LIMIT 1) AS low";

impl Store {
    /// Takes a lock for a worker, which nobody knows of yet; `None` on SQLite, which knows no such locks.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn presence(&self, worker: &str) -> Result<Option<Presence>> {
        let Some(options) = self.direct_options()? else { return Ok(None) };
        let appearing = async {
            // One connection, which is only ever replaced as a whole: with it goes the lock.
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None);
            let pool = pool.idle_timeout(None).acquire_timeout(PATIENCE);
            let mut listener = PgListener::connect_with(&pool.connect_with(options).await?).await?;
            listener.ignore_pool_close_event(true);
            listener.eager_reconnect(false);
            // A number of its own each time: the connection before may still be believed to live, and keep its lock.
            let key: i64 = rand::random();
            let locked = sqlx::query("SELECT pg_backend_pid(), pg_try_advisory_lock($1)");
            let locked = locked.bind(key).fetch_one(&mut listener).await?;
            let (backend, is_locked): (i32, bool) = (locked.try_get(0)?, locked.try_get(1)?);
            if !is_locked {
                return Err(sqlx::Error::WorkerCrashed);
            }
            let (store, worker) = (self.clone(), worker.to_owned());
            Ok(Presence { listener, store, worker, key, backend })
        };
        Ok(Some(in_time(appearing).await?))
    }

    /// Says that no lock tells whether a worker lives: others wait for its leases.
    ///
    /// Once this is answered, nobody takes over from it by its lock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn withdraw(&self, worker: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.execute("UPDATE workers SET lock_key = NULL WHERE id = $1", args![worker]).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the leases of a worker whose lock is still missing; how many there were.
    ///
    /// # Errors
    /// When the database fails; the leases then run out by themselves.
    pub async fn take_over(&self, missing: &Missing) -> Result<usize> {
        let Db::Postgres(_) = &self.db else { return Ok(0) };
        let mut tx = self.db.begin().await?;
        let sql = "DELETE FROM workers WHERE id = $1 AND lock_key = $2 AND NOT EXISTS (
                SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (classid::BIGINT << 32) | objid::BIGINT = $2)
            RETURNING id";
        let gone: Vec<(String,)> = tx.all(sql, args![&missing.worker, missing.key]).await?;
        if gone.is_empty() {
            return Ok(0);
        }
        // What is driven is due when its lease ends; the index on that leads to it. In the order in which everybody locks.
        let sql = "UPDATE executions SET lease_until = 0, wake_at = $2 WHERE id IN (
                SELECT id FROM executions WHERE workspace = $1 AND priority IN (1, 0, -1) AND wake_at <= $4
                    AND lease_owner = $3 AND $2 < lease_until
                ORDER BY id FOR UPDATE)
            AND lease_owner = $3 RETURNING id";
        let now = self.now();
        let args = args![&*self.workspace, now, &missing.worker, now + 2 * LEASE_MS];
        let ended: Vec<(String,)> = tx.all(sql, args).await?;
        tx.commit().await?;
        Ok(ended.len())
    }

    /// How to reach Postgres without a pooler in between.
    pub(super) fn direct_options(&self) -> Result<Option<PgConnectOptions>> {
        let Db::Postgres(pool) = &self.db else { return Ok(None) };
        let Some(direct) = &self.direct else {
            return Ok(Some(PgConnectOptions::clone(&pool.connect_options())));
        };
        // The text may hold a password: it is not repeated.
        let options = PgConnectOptions::from_str(direct).map_err(|_| Error::Url)?;
        Ok(Some(options.application_name("windlass")))
    }
}

impl Presence {
    /// Names the lock in the worker's row: from here on others look for it. Waits for whoever takes over just now.
    ///
    /// # Errors
    /// When it cannot be said whether the row names it.
    pub async fn appear(&mut self) -> Result<()> {
        let sql = "INSERT INTO workers (id, workspace, started_at, seen_at, lock_key) VALUES ($1, $2, $3, $3, $4)
                   ON CONFLICT (id) DO UPDATE SET lock_key = excluded.lock_key";
        let query = sqlx::query(sql).bind(&self.worker).bind(&*self.store.workspace);
        let query = query.bind(self.store.now()).bind(self.key);
        in_time(query.execute(&mut self.listener)).await?;
        Ok(())
    }

    /// Looks around, which shows that the lock holds.
    ///
    /// # Errors
    /// When the connection or the lock is lost.
    pub async fn look(&mut self) -> Result<Seen> {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let query = sqlx::query(LOOK).bind(&*self.store.workspace).bind(&self.worker);
        let query = query.bind(self.key).bind(self.store.now()).bind(ENGINE);
        let rows = in_time(query.fetch_all(&mut self.listener)).await?;
        let mut seen = Seen::default();
        let mut is_own = false;
        for row in rows {
            let (what, key): (String, i64) = (row.try_get("what")?, row.try_get("key")?);
            match what.as_str() {
                "own" => is_own = true,
                "due" => seen.due = true,
                _ if what == self.worker => {}
                _ => seen.missing.push(Missing { worker: what, key }),
            }
        }
        if is_own { Ok(seen) } else { Err(lost().into()) }
    }

    /// Makes sure that the lock holds, and nothing else.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn confirm(&mut self) -> Result<()> {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let query = sqlx::query("SELECT pg_backend_pid()");
        let row: PgRow = in_time(query.fetch_one(&mut self.listener)).await?;
        let backend: i32 = row.try_get(0)?;
        if backend == self.backend { Ok(()) } else { Err(lost().into()) }
    }

    /// Waits until the connection is seen to be lost, for as long as that takes.
    pub async fn lost(&mut self) {
        while let Ok(Some(_)) = self.listener.try_recv().await {}
    }
}

fn lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other("the connection that held the worker's lock is gone"))
}

async fn in_time<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}
