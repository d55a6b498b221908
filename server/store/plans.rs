//! Plans: kept until they are too old to be run by, and what their makers ask of earlier executions.

use super::{Result, Store, db::args};

/// How long a plan that has expired is kept, so that whoever comes late hears why. In milliseconds: a day.
const KEPT_MS: i64 = 24 * 3_600_000;

/// A plan as its row has it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PlanRow {
    /// `plan_…`
    pub id: String,
    /// The principal who asked for it.
    pub caller: String,
    /// The workflow's name.
    pub workflow: String,
    /// The revision's hash.
    pub revision: String,
    /// SHA-256 over the input with its defaults.
    pub input_hash: String,
    /// The tools and the other workflows that it holds for, each with its digest, as JSON.
    pub digests: String,
    /// What identifies its content.
    pub hash: String,
    /// The whole of it, as JSON.
    pub plan: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// When it can no longer be run by, in milliseconds since 1970.
    pub expires_at: i64,
}

impl Store {
    /// Keeps a plan, and forgets those that expired long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_plan(&self, plan: &PlanRow) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let old = "DELETE FROM plans WHERE expires_at < $1";
        tx.execute(old, args![self.now() - KEPT_MS]).await?;
        let sql = "INSERT INTO plans (id, workspace, caller, workflow, revision, input_hash, digests, hash, plan,
                       created_at, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let row = args![
            &plan.id,
            &*self.workspace,
            &plan.caller,
            &plan.workflow,
            &plan.revision,
            &plan.input_hash,
            &plan.digests,
            &plan.hash,
            &plan.plan,
            plan.created_at,
            plan.expires_at,
        ];
        tx.execute(sql, row).await?;
        Ok(tx.commit().await?)
    }

    /// A plan of this workspace, expired or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plan(&self, id: &str) -> Result<Option<PlanRow>> {
        let sql = "SELECT id, caller, workflow, revision, input_hash, digests, hash, plan, created_at, expires_at
                   FROM plans WHERE id = $1 AND workspace = $2";
        Ok(self.db.optional(sql, args![id, &*self.workspace]).await?)
    }

    /// The number of a revision, where it has one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision_number(&self, hash: &str) -> Result<Option<i64>> {
        let sql = "SELECT number FROM revisions WHERE workspace = $1 AND hash = $2";
        let row: Option<(Option<i64>,)> =
            self.db.optional(sql, args![&*self.workspace, hash]).await?;
        Ok(row.and_then(|(number,)| number))
    }

    /// What a step of a workflow resulted in last, as JSON of the event that has it; looked for among the newest
    /// executions. `None` where none of them has completed the step with this tool.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_result(
        &self,
        workflow: &str,
        step: &str,
        tool: &str,
    ) -> Result<Option<String>> {
        const NEWEST: &str = "SELECT COALESCE(e.data, p.data)
            FROM (SELECT id, created_at FROM executions WHERE workspace = $1 AND workflow = $2
                  ORDER BY created_at DESC LIMIT 50) AS x
            JOIN steps s ON s.execution_id = x.id AND s.step = $3 AND s.tool = $4 AND s.status = 'completed'
            JOIN events e ON e.execution_id = x.id AND e.seq = s.output_seq
            LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
            ORDER BY x.created_at DESC LIMIT 1";
        let row: Option<(String,)> =
            self.db.optional(NEWEST, args![&*self.workspace, workflow, step, tool]).await?;
        Ok(row.map(|(data,)| data))
    }

    /// Whether an idempotency key of a caller stands for an execution already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_key_used(&self, caller: &str, key: &str) -> Result<bool> {
        let sql = "SELECT execution_id FROM idempotency_keys
                   WHERE workspace = $1 AND caller = $2 AND key = $3 AND expires_at >= $4";
        let row: Option<(String,)> =
            self.db.optional(sql, args![&*self.workspace, caller, key, self.now()]).await?;
        Ok(row.is_some())
    }
}
