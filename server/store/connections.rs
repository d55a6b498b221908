//! Connections to Postgres for what is sent all the time: a few dozen statements, whose plans never change.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::{
    Result,
    db::{AnyRow, Arg, all_on},
    open,
};

/// Connections that belong to nobody else: there are never more than statements under way at once.
pub(super) struct Connections {
    options: PgConnectOptions,
    idle: Mutex<Vec<Rested>>,
}

struct Rested {
    connection: PgConnection,
    since: Instant,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions) -> Connections {
        Connections { options, idle: Mutex::default() }
    }

    /// Sends one statement, which is a transaction. A connection that fails is not used again.
    pub(super) async fn all<T: AnyRow>(
        &self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Vec<T>> {
        let mut connection = self.take().await?;
        let rows = all_on(&mut connection, sql, args).await?;
        self.idle().push(Rested { connection, since: Instant::now() });
        Ok(rows)
    }

    /// One that lives, as far as anybody knows.
    async fn take(&self) -> Result<PgConnection> {
        let rested = self.idle().pop();
        if let Some(Rested { mut connection, since }) = rested
            && (since.elapsed() < open::RESTED || open::lives(&mut connection).await)
        {
            return Ok(connection);
        }
        Ok(open::connect_planned(&self.options).await?)
    }

    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for rested in idle {
            // What cannot be closed is gone.
            _ = rested.connection.close().await;
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Rested>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
