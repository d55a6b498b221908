//! One handle on either database.
//!
//! Statements are written once, with `$1` parameters, in the SQL that SQLite and
//! Postgres share. Where they differ the caller passes one text for each.

use std::{
    borrow::Cow,
    cell::RefCell,
    io,
    ops::ControlFlow,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{TryStreamExt, future::BoxFuture};
use sqlx::{
    FromRow, PgConnection, PgPool, Postgres, Sqlite, SqlitePool,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

/// How long Postgres has for one statement. A connection whose other end is gone says nothing for a quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many statements this process has sent, and how many transactions it has committed that may have written.
pub(super) static STATEMENTS: AtomicU64 = AtomicU64::new(0);
pub(super) static COMMITS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The texts that this thread has sent to SQLite, while somebody wants to know.
    static NOTED: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

#[derive(Clone)]
pub(crate) enum Db {
    /// SQLite has one writer at a time: a single connection queues them without busy loops. Readers have their own.
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
    },
    Postgres(PgPool),
}

pub(crate) enum Tx {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// A statement's text: the same for both databases, or one for each.
#[derive(Clone, Copy)]
pub(crate) enum Sql {
    Both(&'static str),
    Each { sqlite: &'static str, postgres: &'static str },
}

/// A parameter. `None` is a typed `NULL`.
#[derive(Clone)]
pub(crate) enum Arg<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Bytes(&'a [u8]),
    /// A column of many rows; on Postgres only.
    Ints(Vec<Option<i64>>),
    /// A column of many rows; on Postgres only.
    Texts(Vec<Option<Cow<'a, str>>>),
}

/// A row type that reads from either database; `derive(sqlx::FromRow)` gives it.
pub(crate) trait AnyRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}
impl<T> AnyRow for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl Db {
    /// Reads outside a transaction.
    pub(crate) async fn all<T: AnyRow>(
        &self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<Vec<T>> {
        match self {
            Db::Sqlite { read, .. } => {
                let rows = sqlite(sql.into(), args).fetch_all(read).await?;
                rows.iter().map(T::from_row).collect()
            }
            Db::Postgres(pool) => {
                let rows = bounded(postgres(sql.into(), args).fetch_all(pool)).await?;
                rows.iter().map(T::from_row).collect()
            }
        }
    }

    /// Reads outside a transaction, and has each row taken as it comes: they need not fit into memory together.
    pub(crate) async fn each<T: AnyRow>(
        &self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
        mut take: impl FnMut(T) -> ControlFlow<()> + Send,
    ) -> sqlx::Result<()> {
        match self {
            Db::Sqlite { read, .. } => {
                let mut rows = sqlite(sql.into(), args).fetch(read);
                while let Some(row) = rows.try_next().await? {
                    if take(T::from_row(&row)?).is_break() {
                        break;
                    }
                }
            }
            Db::Postgres(pool) => {
                let mut rows = postgres(sql.into(), args).fetch(pool);
                while let Some(row) = bounded(rows.try_next()).await? {
                    if take(T::from_row(&row)?).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads at most one row outside a transaction.
    pub(crate) async fn optional<T: AnyRow>(
        &self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<Option<T>> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Begins a writing transaction.
    ///
    /// SQLite takes its single write lock here rather than at the first write:
    /// a reader that upgrades later can fail with `SQLITE_BUSY`.
    pub(crate) fn begin(&self) -> BoxFuture<'_, sqlx::Result<Tx>> {
        // Eight kilobytes otherwise, in whatever future may once begin one.
        Box::pin(async move {
            match self {
                Db::Sqlite { write, .. } => {
                    Ok(Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?))
                }
                Db::Postgres(pool) => Ok(Tx::Postgres(bounded(pool.begin()).await?)),
            }
        })
    }

    /// One writing statement, in a transaction of its own.
    pub(crate) async fn write<T: AnyRow>(
        &self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<Vec<T>> {
        if let Db::Postgres(pool) = self {
            // A statement is a transaction of its own there.
            COMMITS.fetch_add(1, Ordering::Relaxed);
            let rows = bounded(postgres(sql.into(), args).fetch_all(pool)).await?;
            return rows.iter().map(T::from_row).collect();
        }
        let mut tx = self.begin().await?;
        let rows = tx.all(sql, args).await?;
        tx.commit().await?;
        Ok(rows)
    }

    pub(crate) async fn close(&self) {
        match self {
            Db::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub(crate) async fn execute(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<u64> {
        match self {
            Tx::Sqlite(tx) => {
                Ok(sqlite(sql.into(), args).execute(&mut **tx).await?.rows_affected())
            }
            Tx::Postgres(tx) => {
                Ok(bounded(postgres(sql.into(), args).execute(&mut **tx)).await?.rows_affected())
            }
        }
    }

    pub(crate) async fn all<T: AnyRow>(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<Vec<T>> {
        match self {
            Tx::Sqlite(tx) => {
                let rows = sqlite(sql.into(), args).fetch_all(&mut **tx).await?;
                rows.iter().map(T::from_row).collect()
            }
            Tx::Postgres(tx) => {
                let rows = bounded(postgres(sql.into(), args).fetch_all(&mut **tx)).await?;
                rows.iter().map(T::from_row).collect()
            }
        }
    }

    pub(crate) async fn optional<T: AnyRow>(
        &mut self,
        sql: impl Into<Sql>,
        args: &[Arg<'_>],
    ) -> sqlx::Result<Option<T>> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        COMMITS.fetch_add(1, Ordering::Relaxed);
        match self {
            Tx::Sqlite(tx) => tx.commit().await,
            Tx::Postgres(tx) => bounded(tx.commit()).await,
        }
    }
}

/// One statement on a connection of one's own, which is a transaction.
pub(crate) async fn all_on<T: AnyRow>(
    connection: &mut PgConnection,
    sql: &'static str,
    args: &[Arg<'_>],
) -> sqlx::Result<Vec<T>> {
    let rows = bounded(postgres(Sql::Both(sql), args).fetch_all(connection)).await?;
    rows.iter().map(T::from_row).collect()
}

/// What this thread has others send to SQLite.
pub(super) fn note_each<const N: usize>(texts: [&'static str; N]) {
    NOTED.with_borrow_mut(|noted| noted.iter_mut().for_each(|noted| noted.extend(texts)));
}

/// Notes what this thread sends to SQLite from now on; what it has sent since the last call.
pub(super) fn note() -> Vec<&'static str> {
    NOTED.replace(Some(Vec::new())).unwrap_or_default()
}

async fn bounded<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let late = |_| {
        let message = format!("no answer within {} s", PATIENCE.as_secs());
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
    };
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

fn sqlite<'q>(sql: Sql, args: &'q [Arg<'_>]) -> Query<'q, Sqlite, SqliteArguments> {
    STATEMENTS.fetch_add(1, Ordering::Relaxed);
    let (Sql::Both(text) | Sql::Each { sqlite: text, .. }) = sql;
    note_each([text]);
    args.iter().fold(sqlx::query(text), |query, arg| match arg {
        Arg::Int(int) => query.bind(*int),
        Arg::Text(text) => query.bind(text.as_deref()),
        Arg::Bytes(bytes) => query.bind(*bytes),
        // SQLite has no arrays: its rows are one JSON text.
        Arg::Ints(_) | Arg::Texts(_) => query.bind(None::<i64>),
    })
}

fn postgres<'q>(sql: Sql, args: &'q [Arg<'_>]) -> Query<'q, Postgres, PgArguments> {
    STATEMENTS.fetch_add(1, Ordering::Relaxed);
    let (Sql::Both(text) | Sql::Each { postgres: text, .. }) = sql;
    args.iter().fold(sqlx::query(text), |query, arg| match arg {
        Arg::Int(int) => query.bind(*int),
        // Postgres keeps no U+0000. In JSON it is an escape; anywhere else it is nobody's intent.
        Arg::Text(Some(text)) if text.contains('\0') => query.bind(text.replace('\0', "\u{fffd}")),
        Arg::Text(text) => query.bind(text.as_deref()),
        Arg::Bytes(bytes) => query.bind(*bytes),
        Arg::Ints(ints) => query.bind(ints),
        Arg::Texts(texts) => {
            query.bind(texts.iter().map(Option::as_deref).collect::<Vec<Option<&str>>>())
        }
    })
}

impl Arg<'_> {
    /// The same without a borrow.
    pub(crate) fn into_owned(self) -> Arg<'static> {
        match self {
            Arg::Int(int) => Arg::Int(int),
            Arg::Text(text) => Arg::Text(text.map(|text| Cow::Owned(text.into_owned()))),
            Arg::Ints(ints) => Arg::Ints(ints),
            Arg::Texts(texts) => Arg::Texts(
                texts
                    .into_iter()
                    .map(|text| text.map(|text| Cow::Owned(text.into_owned())))
                    .collect(),
            ),
            // Bytes are borrowed by those who have them; no row that is kept has any.
            Arg::Bytes(_) => Arg::Int(None),
        }
    }

    /// About how many bytes it is.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Arg::Text(Some(text)) => text.len(),
            Arg::Bytes(bytes) => bytes.len(),
            Arg::Int(_) | Arg::Text(None) | Arg::Ints(_) | Arg::Texts(_) => 8,
        }
    }
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Sql {
        Sql::Both(text)
    }
}

impl From<i64> for Arg<'_> {
    fn from(int: i64) -> Self {
        Arg::Int(Some(int))
    }
}
impl From<Option<i64>> for Arg<'_> {
    fn from(int: Option<i64>) -> Self {
        Arg::Int(int)
    }
}
impl From<bool> for Arg<'_> {
    fn from(truth: bool) -> Self {
        Arg::Int(Some(i64::from(truth)))
    }
}
impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}
impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Arg::Text(Some(Cow::Borrowed(text)))
    }
}
impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Arg::Text(Some(Cow::Borrowed(text)))
    }
}
impl From<String> for Arg<'_> {
    fn from(text: String) -> Self {
        Arg::Text(Some(Cow::Owned(text)))
    }
}
impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Arg::Text(text.map(Cow::Borrowed))
    }
}
impl From<Option<String>> for Arg<'_> {
    fn from(text: Option<String>) -> Self {
        Arg::Text(text.map(Cow::Owned))
    }
}

/// Builds the parameter list of a statement.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$($crate::store::db::Arg::from($arg)),*] };
}
pub(crate) use args;

/// Builds the values of a row.
macro_rules! row {
    ($($arg:expr),* $(,)?) => { vec![$($crate::store::db::Arg::from($arg)),*] };
}
pub(crate) use row;
