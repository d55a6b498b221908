//! Sessions of the older protocols, kept where every replica finds them.

use super::{
    Result, Store,
    db::{Sql, args},
};

/// A session as its row has it.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct SessionRow {
    /// The digest of its id; who knows only this cannot speak in it.
    pub id: String,
    /// The digest of what its client authorised itself with.
    pub principal: String,
    /// What its client said of itself when it began, as JSON.
    pub client: String,
}

impl Store {
    /// Keeps a session until it was not seen for so many milliseconds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_session(&self, session: &SessionRow, silence_ms: i64) -> Result<()> {
        let now = self.now();
        let sql = "INSERT INTO sessions (workspace, id, principal, client, created_at, seen_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (workspace, id) DO NOTHING";
        let mut tx = self.db.begin().await?;
        let SessionRow { id, principal, client } = session;
        let args = args![&*self.workspace, id, principal, client, now, now + silence_ms];
        tx.execute(sql, args).await?;
        Ok(tx.commit().await?)
    }

    /// A session that this principal began and that is not over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, id: &str, principal: &str) -> Result<Option<SessionRow>> {
        let sql = "SELECT id, principal, client FROM sessions
                   WHERE workspace = $1 AND id = $2 AND principal = $3 AND expires_at > $4";
        Ok(self.db.optional(sql, args![&*self.workspace, id, principal, self.now()]).await?)
    }

    /// Forgets a session that its client has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, id: &str) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let sql = "DELETE FROM sessions WHERE workspace = $1 AND id = $2";
        tx.execute(sql, args![&*self.workspace, id]).await?;
        Ok(tx.commit().await?)
    }

    /// Notes that these sessions were heard of, and forgets those that were silent for too long; which of these are
    /// still kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions_seen(&self, ids: &[String], silence_ms: i64) -> Result<Vec<String>> {
        const SEEN: Sql = Sql::Each {
            sqlite: "UPDATE sessions SET seen_at = $1, expires_at = $2
                WHERE workspace = $3 AND id IN (SELECT value FROM json_each($4)) RETURNING id",
            postgres: "UPDATE sessions SET seen_at = $1, expires_at = $2
                WHERE workspace = $3 AND id IN (
                    SELECT id FROM sessions WHERE workspace = $3 AND id IN (SELECT json_array_elements_text($4::json))
                    ORDER BY id FOR UPDATE)
                RETURNING id",
        };
        let now = self.now();
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM sessions WHERE expires_at <= $1", args![now]).await?;
        let ids = serde_json::json!(ids).to_string();
        let kept: Vec<(String,)> =
            tx.all(SEEN, args![now, now + silence_ms, &*self.workspace, ids]).await?;
        tx.commit().await?;
        Ok(kept.into_iter().map(|(id,)| id).collect())
    }
}
