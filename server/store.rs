//! What the database remembers, and the questions asked of it.
//!
//! Every statement the product runs is in this module. A method is one transaction.

mod artifacts;
mod bench;
mod checkpoints;
mod child;
mod connections;
mod create;
pub(crate) mod db;
mod execution;
mod lease;
mod limits;
mod lock;
mod looks;
mod memos;
mod notify;
mod open;
mod plans;
mod presence;
mod reads;
mod record;
mod reopen;
pub mod request;
mod rows;
mod sessions;
mod together;
mod turn;
mod usages;
mod workflows;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use windlass_engine::{Answer, Event, Resolution, StepError};

pub use self::{
    artifacts::ArtifactRow,
    bench::{BENCH, Counts, Engine, FILLED_BY, Filled, Templates, statements_sent},
    checkpoints::Checkpoint,
    child::{Beginning, ChildRow, NewChild},
    create::{Created, NewExecution},
    execution::{ExecutionRow, LockWait, StepRow},
    lease::{Claim, Loaded},
    limits::{PermitWait, PermitsGranted, PermitsWanted},
    notify::Notifications,
    plans::PlanRow,
    presence::{Missing, Presence, Seen},
    reopen::Reopening,
    request::{Answered, RequestRow, Said},
    sessions::SessionRow,
    turn::{Commit, Committed, is_for_event, is_for_lock},
    usages::{SpentBy, SpentRow, UsageRow},
    workflows::{NewPin, NewRevision, PinRow, RevisionRow, Saving, WorkflowRow},
};
use self::{
    db::{Db, args},
    lease::LEASE_MS,
    reads::Reads,
    writer::Writer,
};
use crate::{
    clock::{self, Moment},
    config::Synchronous,
};

/// How many executions are counted where only "many" matters.
pub const MOST_COUNTED: i64 = 10_000;

/// Events whose JSON is longer have a row of their own, so that reading a history's outline stays cheap. In bytes.
const INLINE_LIMIT: usize = 64 * 1024;

/// A clock whose answer took longer, in milliseconds, is not believed: it was asked while others were waited for.
const LONGEST_TRIP_MS: i64 = 500;

/// How often the clock is looked at before the first answer is believed, however long it took.
const CLOCK_LOOKS: usize = 3;

/// The newest engine this release can drive; executions that need a newer one are left alone.
pub const ENGINE: i64 = 4;

/// What was measured of the database's clock.
#[derive(Default)]
struct DatabaseClock {
    /// What to add to this machine's uptime to get the database's time, in milliseconds.
    offset: AtomicI64,
    /// How long it took to ask, in milliseconds: the offset is known to half of it.
    took: AtomicI64,
}

impl DatabaseClock {
    fn took(&self) -> i64 {
        self.took.load(Ordering::Relaxed)
    }

    fn set(&self, offset: i64, took: i64) {
        self.offset.store(offset, Ordering::Relaxed);
        self.took.store(took, Ordering::Relaxed);
    }
}

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
    workspace: Arc<str>,
    clock: Arc<DatabaseClock>,
    /// Nothing is to be written.
    only_looks: bool,
    writer: Writer,
    reads: Reads,
    /// How Postgres is reached without a pooler in between, where `db` may go through one.
    direct: Option<Arc<str>>,
}

/// A word from outside to an execution.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Signal {
    /// Make it end.
    Cancel {
        /// Who says so.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Start nothing new.
    Pause {
        /// Who says so.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Go on after a pause.
    Resume {
        /// Who says so.
        by: String,
    },
    /// Go on although it failed.
    Retry {
        /// Who says so.
        by: String,
        /// What it is given from now on, where that changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        /// The executions that its steps were and that failed: they go on, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        children: Vec<String>,
    },
    /// Do not do a step.
    Skip {
        /// The step.
        step: String,
        /// Who says so.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Settle an uncertain step, or one that failed.
    Resolve {
        /// The step.
        step: String,
        /// When the call that is settled first went out: an answer that comes late settles no later call.
        started_at: Option<i64>,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        by: String,
    },
    /// A person answers a request.
    Answer {
        /// The request's id.
        request: String,
        /// The path of the step that asks.
        step: String,
        /// Who answers.
        by: String,
        /// Whether it is known for sure that it is them.
        verified: bool,
        /// What they say.
        answer: Answer,
    },
    /// Somebody says that something happened.
    Event {
        /// What.
        name: String,
        /// More about it.
        data: Value,
        /// Who says so.
        by: String,
    },
    /// A lock that was asked for is held now.
    LockGranted {
        /// The step; the whole execution without one.
        step: Option<String>,
        /// What is locked.
        key: String,
    },
    /// A lock that was asked for is not to be had.
    LockRefused {
        /// The step; the whole execution without one.
        step: Option<String>,
        /// What is locked.
        key: String,
        /// The execution that holds it.
        holder: String,
    },
    /// The execution that a step is waits for a person or a lock, or does so no more.
    ChildHeldUp {
        /// The step.
        step: String,
        /// The execution.
        execution_id: String,
        /// Whether it waits.
        waits: bool,
    },
    /// The execution that a step is has ended.
    ChildEnded {
        /// The step.
        step: String,
        /// The execution.
        execution_id: String,
        /// How it ended.
        outcome: ChildOutcome,
    },
}

impl Signal {
    /// The oldest engine that understands it.
    fn min_engine(&self) -> i64 {
        match self {
            Signal::Pause { .. }
            | Signal::Resume { .. }
            | Signal::Retry { .. }
            | Signal::Skip { .. } => ENGINE,
            Signal::Cancel { .. }
            | Signal::Resolve { .. }
            | Signal::Answer { .. }
            | Signal::Event { .. }
            | Signal::LockGranted { .. }
            | Signal::LockRefused { .. }
            | Signal::ChildHeldUp { .. }
            | Signal::ChildEnded { .. } => 0,
        }
    }
}

/// The oldest engine that can read these events.
fn min_engine(events: &[Event]) -> i64 {
    events.iter().map(Event::min_engine).max().unwrap_or_default()
}

/// How an execution ended that a step of another one is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ChildOutcome {
    /// It did what it should.
    Completed {
        /// What it resulted in.
        output: Value,
    },
    /// It did not, or could not begin.
    Failed {
        /// Why.
        error: StepError,
    },
    /// It was told to stop.
    Cancelled {
        /// Why, if they said.
        reason: Option<String>,
    },
}

/// A database that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another worker has claimed the execution since.
    #[error("another worker holds execution {0}")]
    Fenced(String),
    /// Neither SQLite nor Postgres.
    #[error("the database setting is neither sqlite:PATH nor postgres://USER@HOST/NAME")]
    Url,
    /// A folder or file that cannot be made.
    #[error("cannot write to {}; check that the folder exists and is yours, or set another data_dir", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row that this release cannot read.
    #[error(
        "{what} of execution {execution_id} cannot be read by this release; a newer one may have written it"
    )]
    Unreadable {
        /// The execution.
        execution_id: String,
        /// Which part of it.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The database said no, with what to do about it.
    #[error("{}", explain(.0))]
    Database(#[from] sqlx::Error),
    /// The answer to a start was lost, and the database cannot say whether the execution is there, or its workflow was
    /// changed since: it may still come to be there.
    #[error("nobody can tell whether execution {0} was started")]
    Uncertain(String),
    /// The schema is not up to date, and whoever only looks leaves it so.
    #[error("an older release wrote the database; `windlass list` brings it up to date")]
    Older,
    /// The schema could not be brought up to date.
    #[error("the database's schema cannot be brought up to date: {}", why(.0))]
    Migration(#[from] sqlx::migrate::MigrateError),
}

type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same statement may succeed later without anybody changing the request.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Database(sqlx::Error::Database(err)) => {
                !err.code().is_some_and(|code| is_about_the_request(&code))
            }
            Error::Database(err) => !matches!(
                err,
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_)
            ),
            Error::Fenced(_)
            | Error::Url
            | Error::Folder { .. }
            | Error::Unreadable { .. }
            | Error::Uncertain(_)
            | Error::Older
            | Error::Migration(_) => false,
        }
    }
}

/// What keeps a migration from being done: most often the database itself.
fn why(err: &sqlx::migrate::MigrateError) -> String {
    use sqlx::migrate::MigrateError;
    match err {
        MigrateError::Execute(err) | MigrateError::ExecuteMigration(err, _) => explain(err),
        err => err.to_string(),
    }
}

/// Codes that the same statement gets again and again: a value that cannot be stored, or a schema that is another.
fn is_about_the_request(code: &str) -> bool {
    if code.len() == 5 {
        // Postgres: data, integrity, syntax and names, limits.
        return ["22", "23", "42", "54"].iter().any(|class| code.starts_with(class));
    }
    // SQLite: its own word for a broken statement, too big, constraint, mismatch; the lowest byte is the kind.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 1 | 18..=20))
}

/// What a database error means for the person who runs Windlass.
fn explain(err: &sqlx::Error) -> String {
    let advice = match err {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some("5" | "6" | "261" | "517") => {
                "another process holds the SQLite file's lock; end it, or try again"
            }
            Some("8" | "264" | "520" | "776" | "1032" | "1544") => {
                "the SQLite file or its folder is read-only; make both writable, or set another data_dir"
            }
            Some("13") => {
                "the disk (or the file's size limit) is full; free some room, nothing that was accepted is lost"
            }
            Some("14") => {
                "the SQLite file cannot be opened; check that its folder exists and is yours"
            }
            Some("10" | "266" | "522" | "778" | "1802" | "4874") => {
                "the disk is full, reached a limit or does not answer as it should, or the file is gone; nothing that was accepted is lost"
            }
            Some("11" | "26") => {
                "the file is not a SQLite database, or it is damaged; restore it or set another database"
            }
            Some("28P01" | "28000") => {
                "Postgres refuses the user or password in the database setting"
            }
            Some("3D000") => "Postgres has no such database; create it with createdb",
            Some("53100") => "the Postgres server's disk is full",
            Some("53300") => "the Postgres server has no connection left",
            Some("25006") => {
                "the Postgres server is read-only, perhaps a standby; name the primary"
            }
            _ => "the database refused the statement",
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
            "the database cannot be reached; check that it runs and what the database setting names"
        }
        sqlx::Error::PoolTimedOut => {
            "the database did not give a connection in time; check that it runs and has connections left"
        }
        sqlx::Error::PoolClosed => "this process is closing the database",
        _ => "the database failed",
    };
    format!("{advice} ({err})")
}

impl Store {
    /// Opens the database that the URL names for one workspace, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached, written to, or migrated; the text says what to do.
    pub async fn open(url: &str, workspace: &str) -> Result<Store> {
        Store::open_with(url, workspace, Synchronous::default()).await
    }

    /// The same, with a word on how soon a commit is on the disk, which SQLite needs and Postgres has a setting for.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(url: &str, workspace: &str, synchronous: Synchronous) -> Result<Store> {
        let store = Store::at(open::open(url, synchronous).await?, url, workspace, false)?;
        store.set_clock().await?;
        Ok(store)
    }

    /// Opens the database for somebody who only looks; where there is none yet, it is empty.
    ///
    /// # Errors
    /// When it cannot be reached, or an older release wrote it.
    pub async fn open_to_look(url: &str, workspace: &str) -> Result<Store> {
        let store = Store::at(open::open_to_look(url).await?, url, workspace, true)?;
        store.set_clock().await?;
        Ok(store)
    }

    fn at(db: Db, url: &str, workspace: &str, only_looks: bool) -> Result<Store> {
        let workspace = workspace.into();
        let (writer, reads) = (Writer::new(&db, url)?, Reads::new(&db, url, &workspace)?);
        Ok(Store { db, workspace, clock: Arc::default(), only_looks, writer, reads, direct: None })
    }

    /// The same, with another way to Postgres for what needs a connection of its own: notifications and presence.
    /// An empty text is no other way.
    #[must_use]
    pub fn with_direct(self, url: &str) -> Store {
        let direct = (!url.is_empty()).then(|| url.into());
        Store { direct, ..self }
    }

    /// Whether nothing is to be written.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        self.only_looks
    }

    /// The workspace whose rows this handle sees.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Milliseconds since 1970, by the database's clock on Postgres, so that leases mean the same to all replicas.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.db {
            Db::Sqlite { .. } => clock::now(),
            // This machine's wall clock is not asked: somebody may set it.
            Db::Postgres(_) => Moment::now().millis() + self.clock.offset.load(Ordering::Relaxed),
        }
    }

    /// Measures how far the database's clock is ahead.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn measure_clock(&self) -> Result<()> {
        match self.clock_offset().await? {
            Some((offset, took)) if took <= LONGEST_TRIP_MS.max(self.clock.took()) => {
                self.clock.set(offset, took);
            }
            // It tells less than what was measured before.
            Some((_, took)) => tracing::debug!("the database told its time after {took} ms"),
            None => {}
        }
        Ok(())
    }

    /// Measures the clock for the first time: as well as can be.
    async fn set_clock(&self) -> Result<()> {
        for look in 0..CLOCK_LOOKS {
            let Some((offset, took)) = self.clock_offset().await? else { return Ok(()) };
            if look == 0 || took < self.clock.took() {
                self.clock.set(offset, took);
            }
            if took <= LONGEST_TRIP_MS {
                break;
            }
        }
        Ok(())
    }

    /// How far the database's clock is ahead, to half of the time that it took to ask; both in milliseconds.
    async fn clock_offset(&self) -> Result<Option<(i64, i64)>> {
        let Db::Postgres(_) = &self.db else { return Ok(None) };
        let before = Moment::now().millis();
        let sql = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT";
        let row: Option<(i64,)> = self.db.optional(sql, args![]).await?;
        let took = Moment::now().millis() - before;
        let offset = |now| now + clock::database_jump() - (before + took / 2);
        Ok(row.map(|(now,)| (offset(now), took)))
    }

    /// How many executions of the workspace are due and not driven, for how long the oldest of them has been, in
    /// milliseconds, and how many wait for somebody. Counts no further than [`MOST_COUNTED`], so that it always costs
    /// about the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(&self) -> Result<(i64, i64, i64)> {
        const STANDING: &str = "SELECT
                (SELECT COUNT(*) FROM (SELECT 1 FROM executions
                     WHERE workspace = $1 AND wake_at <= $2 AND lease_until <= $2 LIMIT $3) AS due),
                (SELECT wake_at FROM executions WHERE workspace = $1 AND wake_at <= $2 AND lease_until <= $2
                     ORDER BY wake_at LIMIT 1),
                (SELECT COUNT(*) FROM (SELECT 1 FROM executions
                     WHERE workspace = $1 AND waiting_for IS NOT NULL LIMIT $3) AS parked)";
        let now = self.now();
        let args = args![&*self.workspace, now, MOST_COUNTED];
        let row: Option<(i64, Option<i64>, i64)> = self.db.optional(STANDING, args).await?;
        let (due, oldest, parked) = row.unwrap_or_default();
        Ok((due, oldest.map_or(0, |oldest| now - oldest), parked))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        let _: Option<(i64,)> = self.db.optional("SELECT CAST(1 AS BIGINT)", args![]).await?;
        Ok(())
    }

    /// Says that a worker lives; the row is what `status` looks at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn worker_seen(&self, worker: &str) -> Result<()> {
        let now = self.now();
        let sql = "INSERT INTO workers (id, workspace, started_at, seen_at) VALUES ($1, $2, $3, $3)
                   ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
        let mut tx = self.db.begin().await?;
        tx.execute(sql, args![worker, &*self.workspace, now]).await?;
        let dead = "DELETE FROM workers WHERE workspace = $1 AND seen_at < $2";
        tx.execute(dead, args![&*self.workspace, now - 20 * LEASE_MS]).await?;
        let old = "DELETE FROM idempotency_keys WHERE expires_at < $1";
        tx.execute(old, args![now]).await?;
        Ok(tx.commit().await?)
    }

    /// Says that a worker has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn worker_gone(&self, worker: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM workers WHERE id = $1", args![worker]).await?;
        Ok(tx.commit().await?)
    }

    /// Whether any worker of the workspace was seen within a lease's time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn worker_lives(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM workers WHERE workspace = $1 AND seen_at > $2";
        let row: Option<(i64,)> =
            self.db.optional(sql, args![&*self.workspace, self.now() - LEASE_MS]).await?;
        Ok(row.is_some_and(|(count,)| 0 < count))
    }

    /// Which protocol era each tool server was last seen to speak, by its identity.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn eras(&self) -> Result<Vec<(String, String)>> {
        let sql = "SELECT identity, era FROM tool_server_eras WHERE workspace = $1";
        Ok(self.db.all(sql, args![&*self.workspace]).await?)
    }

    /// Remembers which protocol era a tool server speaks.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_era(&self, identity: &str, era: &str) -> Result<()> {
        let sql = "INSERT INTO tool_server_eras (workspace, identity, era, seen_at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (workspace, identity) DO UPDATE SET era = excluded.era, seen_at = excluded.seen_at";
        let mut tx = self.db.begin().await?;
        tx.execute(sql, args![&*self.workspace, identity, era, self.now()]).await?;
        Ok(tx.commit().await?)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.writer.close().await;
        self.reads.close().await;
        self.db.close().await;
    }
}

/// An event as its row holds it.
fn event_data(event: &Event) -> Result<String> {
    serde_json::to_string(event).map_err(|err| Error::Database(sqlx::Error::Encode(err.into())))
}
