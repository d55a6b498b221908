//! Opens a database and brings its schema up to date.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Error, Result, db::Db};
use crate::config::Synchronous;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a statement waits for another process that writes the same SQLite file.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// A process that is frozen in the middle of a transaction keeps what it locked from everybody. Postgres ends such a
/// transaction before a lease runs out, so that whoever takes over finds the rows free; nothing of ours rests that long.
const LET_GO: &str = "SET idle_in_transaction_session_timeout = '8s'";

/// How long a caller waits for a free or new connection to Postgres.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that was not used for so long is asked whether it lives before it is used again.
pub(super) const RESTED: Duration = Duration::from_secs(1);

/// Opens the database that the URL names: `sqlite:PATH` or `postgres://…`.
///
/// How soon a commit is on the disk is said here for SQLite; a Postgres server has a setting of its own.
pub(super) async fn open(url: &str, synchronous: Synchronous) -> Result<Db> {
    if url.starts_with("sqlite:") {
        return open_sqlite(url, synchronous).await;
    }
    let pool = connect_postgres(url).await?;
    // The migrator takes a session's lock even when there is nothing to do, which a transaction pooler may lose.
    if !is_migrated(sqlx::query_as(NEWEST).fetch_one(&pool).await, &POSTGRES) {
        let mut connection = pool.acquire().await?.detach();
        // The schema of the views for people comes first for whoever connects; tables are not to be made there.
        sqlx::query(LEAVE_OUT_VIEWS).execute(&mut connection).await?;
        migrator(&POSTGRES).run(&mut connection).await?;
        connection.close().await?;
    }
    Ok(Db::Postgres(pool))
}

const LEAVE_OUT_VIEWS: &str = "SELECT set_config('search_path',
    replace(current_setting('search_path'), 'windlass_views, ', ''), FALSE)
    WHERE current_setting('search_path') LIKE '%windlass_views, %'";

/// Opens the database for somebody who only looks: no file is made, and no schema is touched. Where there is no file yet,
/// an empty database in memory stands in for it.
pub(super) async fn open_to_look(url: &str) -> Result<Db> {
    if url.starts_with("sqlite:") {
        let options = SqliteConnectOptions::from_str(url)?;
        return match options.get_filename().exists() {
            true => look_into_file(options).await,
            false => nothing_yet().await,
        };
    }
    let pool = connect_postgres(url).await?;
    if !is_migrated(sqlx::query_as(NEWEST).fetch_one(&pool).await, &POSTGRES) {
        return Err(Error::Older);
    }
    Ok(Db::Postgres(pool))
}

async fn look_into_file(options: SqliteConnectOptions) -> Result<Db> {
    let options = options.read_only(true).busy_timeout(BUSY);
    let pool = SqlitePoolOptions::new().max_connections(4).acquire_timeout(BUSY * 2);
    let pool = pool.connect_with(options).await?;
    if !is_migrated(sqlx::query_as(NEWEST).fetch_one(&pool).await, &SQLITE) {
        return Err(Error::Older);
    }
    Ok(Db::Sqlite { write: pool.clone(), read: pool })
}

async fn nothing_yet() -> Result<Db> {
    // Its one connection is the database: it must not be closed for having been idle.
    let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect("sqlite::memory:").await?;
    migrator(&SQLITE).run(&pool).await?;
    Ok(Db::Sqlite { write: pool.clone(), read: pool })
}

async fn open_sqlite(url: &str, synchronous: Synchronous) -> Result<Db> {
    let synchronous = match synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
        Synchronous::Off => SqliteSynchronous::Off,
    };
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY)
        .foreign_keys(true);
    let path = options.get_filename().to_owned();
    if let Some(folder) = path.parent() {
        crate::config::create_folder(folder)
            .map_err(|source| Error::Folder { path: folder.into(), source })?;
    }
    let pool = |most| {
        let pool = SqlitePoolOptions::new().max_connections(most).acquire_timeout(BUSY * 2);
        // A file does not hang up.
        pool.test_before_acquire(false)
    };
    let write = patiently(|| {
        // A COMMIT that fails on a full disk has already rolled back; sqlx then believes that the
        // transaction goes on, and such a connection never begins another one.
        let pool = pool(1).before_acquire(|connection, _| {
            Box::pin(async move { Ok(!Connection::is_in_transaction(connection)) })
        });
        pool.connect_with(options.clone())
    })
    .await?;
    migrate_sqlite(&path, &write).await?;
    Ok(Db::Sqlite { write, read: pool(4).connect_lazy_with(options) })
}

/// Turning a new file's log on needs it for oneself, and SQLite does not wait for that as it waits for other locks.
async fn patiently<F>(connect: impl Fn() -> F) -> sqlx::Result<sqlx::SqlitePool>
where
    F: Future<Output = sqlx::Result<sqlx::SqlitePool>>,
{
    let deadline = Instant::now() + BUSY;
    loop {
        match connect().await {
            Err(err) if is_busy(&err) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            connected => return connected,
        }
    }
}

/// Whether another process holds what is wanted of a SQLite file: to write it, or to put it right after a process that died.
fn is_busy(err: &sqlx::Error) -> bool {
    let code = err.as_database_error().and_then(|err| err.code()?.parse::<u32>().ok());
    // The lowest byte is the kind; what stands above it says why.
    code.is_some_and(|code| code & 0xff == 5)
}

/// Two processes may open a new file at once, and SQLite's migrations take no lock of their own.
async fn migrate_sqlite(path: &Path, pool: &sqlx::SqlitePool) -> Result<()> {
    if is_migrated(sqlx::query_as(NEWEST).fetch_one(pool).await, &SQLITE) {
        return Ok(());
    }
    let _lock = lock(path.with_added_extension("migrating")).await?;
    migrator(&SQLITE).run(pool).await?;
    Ok(())
}

/// Waits for as long as another process migrates: a few milliseconds, once in a release.
///
/// On a thread of its own: whoever holds the lock may need this one to go on.
async fn lock(path: PathBuf) -> Result<fs::File> {
    let wait = {
        let path = path.clone();
        move || {
            let file = fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        }
    };
    let locked = tokio::task::spawn_blocking(wait).await.map_err(std::io::Error::other);
    locked.and_then(|locked| locked).map_err(|source| Error::Folder { path, source })
}

async fn connect_postgres(url: &str) -> Result<PgPool> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        // The text may hold a password: it is not repeated.
        return Err(Error::Url);
    }
    let options = postgres_options(url)?;
    let pool = PgPoolOptions::new().max_connections(16).acquire_timeout(CONNECT);
    // To ask a connection that was just used whether it lives takes as long as what it is used for.
    let pool = pool.test_before_acquire(false).before_acquire(|connection, about| {
        Box::pin(async move {
            if RESTED <= about.idle_for {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    let pool = pool.after_connect(|connection, _| {
        Box::pin(async move { sqlx::raw_sql(LET_GO).execute(connection).await.map(drop) })
    });
    match pool.connect_with(options.clone()).await {
        // The pool was patient with a server that may be starting, and has forgotten why it had to be.
        Err(timed_out @ sqlx::Error::PoolTimedOut) => {
            let reason = PgConnection::connect_with(&options).await.err();
            Err(reason.unwrap_or(timed_out).into())
        }
        connected => Ok(connected?),
    }
}

/// A connection for statements that are sent all the time, whose plan is made once.
pub(super) async fn connect_planned(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    // A plan is the same whatever its parameters are and whatever is known of the tables: to make one each time takes
    // longer than what it is made for.
    const PLAN: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
        SET enable_hashjoin = off; SET enable_mergejoin = off";
    let connecting = async {
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::raw_sql(LET_GO).execute(&mut connection).await?;
        sqlx::raw_sql(PLAN).execute(&mut connection).await?;
        Ok(connection)
    };
    let late = |_| sqlx::Error::PoolTimedOut;
    tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
}

/// Whether the other end of a connection is still there.
pub(super) async fn lives(connection: &mut PgConnection) -> bool {
    tokio::time::timeout(CONNECT, connection.ping()).await.is_ok_and(|ping| ping.is_ok())
}

/// How a Postgres is connected to.
pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?.application_name("windlass"))
}

const NEWEST: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";

fn is_migrated(newest: sqlx::Result<(Option<i64>,)>, migrator: &Migrator) -> bool {
    let wanted = migrator.iter().map(|migration| migration.version).max();
    newest.is_ok_and(|(newest,)| newest.is_some() && wanted <= newest)
}

/// A database that a newer release has migrated still serves this one: migrations only expand.
fn migrator(migrator: &'static Migrator) -> Migrator {
    let mut migrator = Migrator { migrations: migrator.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    migrator
}
