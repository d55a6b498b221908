//! Memos: values under names, changed by comparing. What one process reads, no other has changed unseen.

use super::{
    Result, Store,
    db::{Sql, args},
};

/// How many memos one question answers with.
const MOST_MEMOS: i64 = 1_000;

impl Store {
    /// The memo of that name, as JSON.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memo(&self, scope: &str, name: &str) -> Result<Option<String>> {
        let sql = "SELECT value FROM tool_memos WHERE workspace = $1 AND scope = $2 AND name = $3";
        let row: Option<(String,)> =
            self.db.optional(sql, args![&*self.workspace, scope, name]).await?;
        Ok(row.map(|(value,)| value))
    }

    /// Replaces a memo that is still `before` (`None`: not there) by `after` (`None`: nothing). Says whether it did.
    /// Values are compared as the texts that they are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn swap_memo(
        &self,
        scope: &str,
        name: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<bool> {
        const ADD: &str = "INSERT INTO tool_memos (workspace, scope, name, value, updated_at)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (workspace, scope, name) DO NOTHING";
        const CHANGE: &str = "UPDATE tool_memos SET value = $5, updated_at = $6
            WHERE workspace = $1 AND scope = $2 AND name = $3 AND value = $4";
        const REMOVE: &str = "DELETE FROM tool_memos
            WHERE workspace = $1 AND scope = $2 AND name = $3 AND value = $4";
        let (home, now) = (&*self.workspace, self.now());
        if before.is_none() && after.is_none() {
            return Ok(self.memo(scope, name).await?.is_none());
        }
        let mut tx = self.db.begin().await?;
        let changed = match (before, after) {
            (None, None) => 0,
            (None, Some(after)) => tx.execute(ADD, args![home, scope, name, after, now]).await?,
            (Some(before), Some(after)) => {
                tx.execute(CHANGE, args![home, scope, name, before, after, now]).await?
            }
            (Some(before), None) => tx.execute(REMOVE, args![home, scope, name, before]).await?,
        };
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// The memos of a scope whose names begin so, in the order of their names; 1,000 at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memos(&self, scope: &str, prefix: &str) -> Result<Vec<(String, String)>> {
        const NAMES: Sql = Sql::Each {
            sqlite: "SELECT name, value FROM tool_memos
                WHERE workspace = $1 AND scope = $2 AND substr(name, 1, length($3)) = $3
                ORDER BY name LIMIT $4",
            // A database's own collation may put a before B.
            postgres: "SELECT name, value FROM tool_memos
                WHERE workspace = $1 AND scope = $2 AND starts_with(name, $3)
                ORDER BY name COLLATE \"C\" LIMIT $4",
        };
        Ok(self.db.all(NAMES, args![&*self.workspace, scope, prefix, MOST_MEMOS]).await?)
    }
}
