//! Postgres tells other replicas that an execution moved. A hint, never a promise.

use sqlx::postgres::PgListener;

use super::{
    Result, Store,
    db::{Db, args},
};
use crate::bell::Ring;

const CHANNEL: &str = "windlass";

/// What is rung in any process on the same Postgres.
pub struct Notifications {
    listener: PgListener,
    workspace: String,
}

impl Store {
    /// Listens for executions of this workspace that move in other processes; `None` on SQLite, which cannot tell.
    ///
    /// # Errors
    /// When the connection cannot be made (a transaction pooler in between refuses LISTEN).
    pub async fn listen(&self) -> Result<Option<Notifications>> {
        let Db::Postgres(pool) = &self.db else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Notifications { listener, workspace: self.workspace.to_string() }))
    }

    /// Tells other processes what this one rang. Sent outside the commits, so that they never wait for it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notify(&self, rings: &[Ring]) -> Result<()> {
        let Db::Postgres(_) = &self.db else { return Ok(()) };
        let payloads: Vec<String> =
            rings.iter().map(|ring| format!("{ring} {}", self.workspace)).collect();
        // What is only a hint needs no sync of the disk.
        let sql = "SELECT COUNT(pg_notify('windlass', payload)) FROM json_array_elements_text($1::json) AS payload,
                   set_config('synchronous_commit', 'off', true) AS setting";
        let payloads = serde_json::json!(payloads).to_string();
        let _: Option<(i64,)> = self.db.optional(sql, args![payloads]).await?;
        Ok(())
    }
}

impl Notifications {
    /// What another process rang next.
    ///
    /// # Errors
    /// When the connection is lost and cannot be made again.
    pub async fn next(&mut self) -> Result<Ring> {
        loop {
            let notification = self.listener.recv().await?;
            let ring = notification.payload().strip_suffix(&self.workspace);
            if let Some(Ok(ring)) = ring.map(|ring| ring.trim_end().parse()) {
                return Ok(ring);
            }
        }
    }
}
