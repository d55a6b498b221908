//! Looks into the database beside Windlass, and keeps an audit there of who changed which execution.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a database that is away may stay so.
const ENOUGH: Duration = Duration::from_secs(60);

/// Every change of an execution's epoch or newest event, with whose it was; written in the change's own transaction.
const AUDIT_SQLITE: &str = "
    CREATE TABLE IF NOT EXISTS fault_audit (number INTEGER PRIMARY KEY AUTOINCREMENT, execution_id TEXT,
        old_seq BIGINT, new_seq BIGINT, old_epoch BIGINT, new_epoch BIGINT, old_owner TEXT, new_owner TEXT);
    CREATE TRIGGER IF NOT EXISTS fault_audited AFTER UPDATE ON executions
    WHEN OLD.last_seq <> NEW.last_seq OR OLD.lease_epoch <> NEW.lease_epoch
    BEGIN
        INSERT INTO fault_audit (execution_id, old_seq, new_seq, old_epoch, new_epoch, old_owner, new_owner)
        VALUES (NEW.id, OLD.last_seq, NEW.last_seq, OLD.lease_epoch, NEW.lease_epoch, OLD.lease_owner, NEW.lease_owner);
    END;";

// In the schema that every connection knows: which one comes first is another thing on those from before the views.
const AUDIT_POSTGRES: &str = "
    CREATE TABLE IF NOT EXISTS public.fault_audit (number BIGSERIAL PRIMARY KEY, execution_id TEXT,
        old_seq BIGINT, new_seq BIGINT, old_epoch BIGINT, new_epoch BIGINT, old_owner TEXT, new_owner TEXT);
    CREATE OR REPLACE FUNCTION public.fault_audited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.fault_audit (execution_id, old_seq, new_seq, old_epoch, new_epoch, old_owner, new_owner)
        VALUES (NEW.id, OLD.last_seq, NEW.last_seq, OLD.lease_epoch, NEW.lease_epoch, OLD.lease_owner, NEW.lease_owner);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER fault_audited AFTER UPDATE ON executions FOR EACH ROW
    WHEN (OLD.last_seq <> NEW.last_seq OR OLD.lease_epoch <> NEW.lease_epoch) EXECUTE FUNCTION public.fault_audited();";

/// A connection of the test's own, made again whenever it is lost.
pub(super) struct Observer {
    runtime: Runtime,
    address: String,
    connection: Option<Connection>,
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Observer {
    pub(super) fn at(address: &str) -> Observer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Observer { runtime, address: address.to_owned(), connection: None }
    }

    fn is_sqlite(&self) -> bool {
        self.address.starts_with("sqlite:")
    }

    /// Begins the audit; the schema must be there.
    pub(super) fn audit(&mut self) {
        let sql = if self.is_sqlite() { AUDIT_SQLITE } else { AUDIT_POSTGRES };
        self.patiently(|observer| observer.try_execute(sql));
    }

    /// What stands in these columns, one array a row.
    pub(super) fn rows(&mut self, columns: &str, from: &str) -> Vec<Value> {
        self.patiently(|observer| observer.try_rows(columns, from))
    }

    /// Changes something, however long the database is away.
    pub(super) fn execute(&mut self, sql: &str) {
        self.patiently(|observer| observer.try_execute(sql));
    }

    /// Every text of one column.
    pub(super) fn texts(&mut self, column: &str, from: &str) -> Vec<String> {
        let rows = self.rows(column, from);
        rows.iter().map(|row| row[0].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn patiently<T>(&mut self, mut ask: impl FnMut(&mut Observer) -> Result<T, String>) -> T {
        let began = Instant::now();
        loop {
            match ask(self) {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(began.elapsed() < ENOUGH, "the database stays away: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// The same as [`Observer::rows`], once.
    pub(super) fn try_rows(&mut self, columns: &str, from: &str) -> Result<Vec<Value>, String> {
        let row = if self.is_sqlite() {
            format!("json_array({columns})")
        } else {
            format!("json_build_array({columns})::text")
        };
        let sql = format!("SELECT {row} FROM {from}");
        let texts: Vec<String> = self.ask(async move |connection| {
            let sql = AssertSqlSafe(sql);
            match connection {
                Connection::Sqlite(own) => sqlx::query_scalar(sql).fetch_all(own).await,
                Connection::Postgres(own) => sqlx::query_scalar(sql).fetch_all(own).await,
            }
        })?;
        Ok(texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect())
    }

    fn try_execute(&mut self, sql: &str) -> Result<(), String> {
        let sql = sql.to_owned();
        self.ask(async move |connection| {
            let sql = AssertSqlSafe(sql);
            match connection {
                Connection::Sqlite(own) => own.execute(sqlx::raw_sql(sql)).await.map(drop),
                Connection::Postgres(own) => own.execute(sqlx::raw_sql(sql)).await.map(drop),
            }
        })
    }

    fn ask<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut Connection) -> sqlx::Result<T>,
    ) -> Result<T, String> {
        let Observer { runtime, address, connection } = self;
        let asked = runtime.block_on(async {
            let work = async {
                if connection.is_none() {
                    *connection = Some(connect(address).await?);
                }
                ask(connection.as_mut().expect("made above")).await
            };
            tokio::time::timeout(PATIENCE, work).await
        });
        let answer = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        *connection = None;
        Err(answer)
    }
}

async fn connect(address: &str) -> sqlx::Result<Connection> {
    if address.starts_with("sqlite:") {
        return Ok(Connection::Sqlite(SqliteConnection::connect(address).await?));
    }
    Ok(Connection::Postgres(PgConnection::connect(address).await?))
}
