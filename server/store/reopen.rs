//! Executions that failed and go on: the row is opened again, with a word for whoever drives it.

use serde_json::Value;

use super::{
    ENGINE, Result, Signal, Store,
    db::{Tx, args},
    execution::insert_signals,
};

/// Who has an execution go on, and how.
#[derive(Clone, Debug)]
pub struct Reopening<'r> {
    /// Who.
    pub by: &'r str,
    /// What it is given from now on, where that changes.
    pub input: Option<&'r Value>,
    /// What is said together with it, about one of its steps.
    pub more: Option<Signal>,
}

impl Store {
    /// Has an execution that failed go on; `false` when it has not failed, or somebody had it go on before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reopen(&self, execution_id: &str, reopening: &Reopening<'_>) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let now = self.now();
        if !reopen(&mut tx, &self.workspace, execution_id, now, reopening).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The execution that this one is a step of, and how that stands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn parent(&self, execution_id: &str) -> Result<Option<(String, String)>> {
        let sql = "SELECT p.id, p.status FROM executions e JOIN executions p ON p.id = e.parent_id
                   WHERE e.id = $1 AND e.workspace = $2";
        Ok(self.db.optional(sql, args![execution_id, &*self.workspace]).await?)
    }
}

/// The same as part of a transaction. That the row still says `failed` is what makes it happen once.
pub(super) async fn reopen(
    tx: &mut Tx,
    workspace: &str,
    execution_id: &str,
    at: i64,
    reopening: &Reopening<'_>,
) -> Result<bool> {
    let failed = "SELECT id FROM executions WHERE parent_id = $1 AND status = 'failed' ORDER BY id";
    let children: Vec<(String,)> = tx.all(failed, args![execution_id]).await?;
    let Reopening { by, input, more } = reopening;
    let retry = Signal::Retry {
        by: (*by).to_owned(),
        input: input.cloned(),
        children: children.into_iter().map(|(id,)| id).collect(),
    };
    let signals: Vec<Signal> = [retry].into_iter().chain(more.clone()).collect();
    let count = i64::try_from(signals.len()).unwrap_or(i64::MAX);
    let sql = "UPDATE executions SET status = 'running', error = NULL, ended_at = NULL, wake_at = $1, updated_at = $1,
            signals_in = signals_in + $2, input = COALESCE($3, input),
            min_engine = CASE WHEN min_engine < $4 THEN $4 ELSE min_engine END
        WHERE id = $5 AND workspace = $6 AND status = 'failed' AND ended_at IS NOT NULL
        RETURNING signals_in";
    let input = input.map(Value::to_string);
    let args = args![at, count, input, ENGINE, execution_id, workspace];
    let row: Option<(i64,)> = tx.optional(sql, args).await?;
    let Some((last,)) = row else { return Ok(false) };
    insert_signals(tx, execution_id, last - count, at, &signals).await?;
    Ok(true)
}
