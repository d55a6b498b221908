//! Artifacts: files that executions leave behind, content and all.

use super::{Result, Store, db::args};

/// An artifact as its row has it, without its content.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ArtifactRow {
    /// `art_…`
    pub id: String,
    /// The execution it belongs to.
    pub execution_id: Option<String>,
    /// The path of the step that made it.
    pub step: Option<String>,
    /// For people.
    pub name: String,
    /// The media type.
    pub mime: String,
    /// The length of the content.
    pub bytes: i64,
    /// Of the content, in hex.
    pub sha256: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

const OF_ONE: &str =
    "SELECT id, execution_id, step, name, mime, bytes, sha256, created_at FROM artifacts
    WHERE workspace = $1 AND id = $2";

impl Store {
    /// Keeps a file, unless one with its id is there: then that one is answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_artifact(&self, row: &ArtifactRow, content: &[u8]) -> Result<ArtifactRow> {
        let sql = "INSERT INTO artifacts (workspace, id, execution_id, step, name, mime, bytes, sha256, content, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (workspace, id) DO NOTHING";
        let values = args![
            &*self.workspace,
            &row.id,
            row.execution_id.as_deref(),
            row.step.as_deref(),
            &row.name,
            &row.mime,
            row.bytes,
            &row.sha256,
            content,
            row.created_at,
        ];
        let mut tx = self.db.begin().await?;
        tx.execute(sql, values).await?;
        let kept: Option<ArtifactRow> =
            tx.optional(OF_ONE, args![&*self.workspace, &row.id]).await?;
        tx.commit().await?;
        Ok(kept.unwrap_or_else(|| row.clone()))
    }

    /// A file of this workspace, with its content.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact(&self, id: &str) -> Result<Option<(ArtifactRow, Vec<u8>)>> {
        let row: Option<ArtifactRow> =
            self.db.optional(OF_ONE, args![&*self.workspace, id]).await?;
        let Some(row) = row else { return Ok(None) };
        let sql = "SELECT content FROM artifacts WHERE workspace = $1 AND id = $2";
        let content: Option<(Vec<u8>,)> =
            self.db.optional(sql, args![&*self.workspace, id]).await?;
        Ok(content.map(|(content,)| (row, content)))
    }

    /// The files of an execution, the first ones first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifacts_of(&self, execution_id: &str, most: i64) -> Result<Vec<ArtifactRow>> {
        let sql =
            "SELECT id, execution_id, step, name, mime, bytes, sha256, created_at FROM artifacts
                   WHERE workspace = $1 AND execution_id = $2 ORDER BY created_at, id LIMIT $3";
        Ok(self.db.all(sql, args![&*self.workspace, execution_id, most]).await?)
    }
}
