//! A group on SQLite: one transaction on a thread that may wait for the disk, and one sync of the file.
//!
//! It has a connection of its own, whose statements are called without a queue in between: a group of many rows is many
//! short statements, and to hand each of them to another thread takes longer than to carry it out.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, atomic::Ordering},
};

use rusqlite::{
    CachedStatement, Connection, OpenFlags, OptionalExtension, ToSql, TransactionBehavior,
    params_from_iter,
    types::{ToSqlOutput, ValueRef},
};
use sqlx::{SqliteConnection, SqlitePool};

use super::{Group, Passed, lock};
use crate::{
    fault,
    store::{
        Result,
        create::INSERT,
        db::{self, Arg, COMMITS, STATEMENTS},
        open::BUSY,
        record::{self, EVENT_COLUMNS, ON_KNOWN_STEP, STEP_COLUMNS, insert_into},
        rows::{self, Row},
        turn::UPDATE,
    },
};

static EVENT: LazyLock<String> = LazyLock::new(|| {
    format!("{} {}", insert_into("events", EVENT_COLUMNS), rows::one(EVENT_COLUMNS, 1))
});
static STEP: LazyLock<String> = LazyLock::new(|| {
    let insert = insert_into("steps", STEP_COLUMNS);
    // Without the condition, the conflict would be read as one of a join.
    format!("{insert} {} WHERE TRUE {ON_KNOWN_STEP}", rows::one(STEP_COLUMNS, 1))
});

/// Where groups are written to.
pub(super) struct File {
    path: PathBuf,
    /// Its one connection is the right to write: whoever else of this process writes queues for it, too, instead of asking
    /// the file again and again.
    right: SqlitePool,
    idle: Arc<Mutex<Option<Connection>>>,
}

impl File {
    pub(super) fn new(right: &SqlitePool) -> File {
        let path = right.connect_options().get_filename().to_owned();
        File { path, right: right.clone(), idle: Arc::default() }
    }

    pub(super) async fn write(&self, group: Group) -> Result<Passed> {
        let mut right = self.right.acquire().await?;
        let idle = lock(&self.idle).take();
        let connection = match idle {
            Some(connection) => Ok(connection),
            None => Err((self.path.clone(), synchronous(&mut right).await?)),
        };
        db::note_each([&UPDATE[0], &INSERT[0], &*EVENT, &*STEP]);
        let idle = Arc::clone(&self.idle);
        let written = tokio::task::spawn_blocking(move || {
            let mut connection = connection.or_else(|(path, how)| open(path, how))?;
            let passed = write(&mut connection, group)?;
            // One that failed is not used again.
            *lock(&idle) = Some(connection);
            Ok(passed)
        });
        let written: rusqlite::Result<Passed> =
            written.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
        Ok(written.map_err(|err| sqlx::Error::AnyDriverError(Box::new(err)))?)
    }

    pub(super) fn close(&self) {
        drop(lock(&self.idle).take());
    }
}

/// How soon a commit is on the disk, as it is said to the other connections.
async fn synchronous(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA synchronous").fetch_one(connection).await
}

fn open(path: PathBuf, synchronous: i64) -> rusqlite::Result<Connection> {
    // A file that is not there is not made: the pool has made it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn write(connection: &mut Connection, group: Group) -> rusqlite::Result<Passed> {
    let Group { turns, starts, lines } = group;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut passed = matched(tx.prepare_cached(&UPDATE[0])?, turns)?;
    passed.extend(matched(tx.prepare_cached(&INSERT[0])?, starts)?);
    let ids: HashSet<&str> = passed.iter().map(|(id, _)| id.as_str()).collect();
    let lines = lines.iter().filter(|lines| ids.contains(lines.execution_id()));
    let (events, steps) = record::rows_of(lines);
    carry_out(tx.prepare_cached(&EVENT)?, events)?;
    carry_out(tx.prepare_cached(&STEP)?, steps)?;
    fault::point("group_filled");
    COMMITS.fetch_add(1, Ordering::Relaxed);
    tx.commit()?;
    Ok(passed)
}

/// Writes the rows of executions, of turns or of starts; those that matched what they were to match.
fn matched(mut statement: CachedStatement<'_>, rows: Vec<Row<'_>>) -> rusqlite::Result<Passed> {
    let mut passed = Vec::with_capacity(rows.len());
    for row in rows {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        let row = statement
            .query_row(params_from_iter(row), |row| Ok((row.get("id")?, row.get("signals_in")?)));
        passed.extend(row.optional()?);
    }
    Ok(passed)
}

fn carry_out(mut statement: CachedStatement<'_>, rows: Vec<Row<'_>>) -> rusqlite::Result<()> {
    for row in rows {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}

impl ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Arg::Int(Some(int)) => ValueRef::Integer(*int),
            Arg::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Arg::Bytes(bytes) => ValueRef::Blob(bytes),
            // SQLite has no arrays; no row has any.
            Arg::Int(None) | Arg::Text(None) | Arg::Ints(_) | Arg::Texts(_) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}
