//! What calls of language models took, and sums of it.

use super::{Result, Store, db::args};

const DAY_MS: i64 = 24 * 3_600_000;

/// What one call took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The same over all attempts of the call.
    pub key: String,
    /// The execution that pays.
    pub execution_id: Option<String>,
    /// The path of the step that called.
    pub step: Option<String>,
    /// As its provider names it.
    pub model: String,
    /// Tokens sent, those from a cache included.
    pub prompt_tokens: i64,
    /// Tokens answered.
    pub completion_tokens: i64,
    /// Of the tokens sent, those that the provider had cached.
    pub cached_tokens: i64,
    /// In millionths of a US dollar; `None` when the price is not known.
    pub cost_micro_usd: Option<i64>,
}

/// A sum over calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct SpentRow {
    /// What the calls have in common: a step, a workflow, a model; empty for a sum over everything.
    pub of: String,
    /// How many.
    pub calls: i64,
    /// Tokens sent.
    pub prompt_tokens: i64,
    /// Tokens answered.
    pub completion_tokens: i64,
    /// Of the calls whose price is known, in millionths of a US dollar.
    pub cost_micro_usd: i64,
    /// How many calls have no known price.
    pub calls_without_price: i64,
}

/// What sums are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpentBy {
    /// The workflow of the execution that called; empty for calls outside of executions.
    Workflow,
    /// The day, in days since 1970, UTC.
    Day,
    /// The model.
    Model,
}

/// The sums, behind whatever they are made by.
macro_rules! sums {
    ($of:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $of,
            " AS of, COUNT(*) AS calls,
                CAST(COALESCE(SUM(u.prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
                CAST(COALESCE(SUM(u.completion_tokens), 0) AS BIGINT) AS completion_tokens,
                CAST(COALESCE(SUM(u.cost_micro_usd), 0) AS BIGINT) AS cost_micro_usd,
                COUNT(*) - COUNT(u.cost_micro_usd) AS calls_without_price
            FROM model_usages u ",
            $rest
        )
    };
}

impl Store {
    /// Notes what a call took. The same key again replaces the first note, which keeps its day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_usage(&self, usage: &UsageRow) -> Result<()> {
        let sql = "INSERT INTO model_usages (workspace, key, execution_id, step, model, prompt_tokens, completion_tokens,
                       cached_tokens, cost_micro_usd, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                   ON CONFLICT (workspace, key) DO UPDATE SET model = excluded.model,
                       prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens,
                       cached_tokens = excluded.cached_tokens, cost_micro_usd = excluded.cost_micro_usd";
        let values = args![
            &*self.workspace,
            &usage.key,
            usage.execution_id.as_deref(),
            usage.step.as_deref(),
            &usage.model,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.cost_micro_usd,
            self.now(),
        ];
        let mut tx = self.db.begin().await?;
        tx.execute(sql, values).await?;
        Ok(tx.commit().await?)
    }

    /// What an execution and those below it have spent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent_by_execution(&self, execution_id: &str) -> Result<SpentRow> {
        const TREE: &str = concat!(
            "WITH RECURSIVE tree (id) AS (
                SELECT CAST($2 AS TEXT)
                UNION ALL
                SELECT e.id FROM executions e JOIN tree t ON e.parent_id = t.id WHERE e.workspace = $1) ",
            sums!("''", "JOIN tree ON tree.id = u.execution_id WHERE u.workspace = $1")
        );
        let row = self.db.optional(TREE, args![&*self.workspace, execution_id]).await?;
        Ok(row.unwrap_or_default())
    }

    /// What each step of an execution has spent itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent_by_steps(&self, execution_id: &str) -> Result<Vec<SpentRow>> {
        const STEPS: &str = sums!(
            "COALESCE(u.step, '')",
            "WHERE u.workspace = $1 AND u.execution_id = $2 GROUP BY 1 ORDER BY 1"
        );
        Ok(self.db.all(STEPS, args![&*self.workspace, execution_id]).await?)
    }

    /// What the workspace has spent since midnight UTC.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent_today(&self) -> Result<SpentRow> {
        const SINCE: &str = sums!("''", "WHERE u.workspace = $1 AND u.created_at >= $2");
        let now = self.now();
        let midnight = now - now.rem_euclid(DAY_MS);
        Ok(self.db.optional(SINCE, args![&*self.workspace, midnight]).await?.unwrap_or_default())
    }

    /// What the workspace has spent since then, in sums.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent_since(&self, since: i64, by: SpentBy) -> Result<Vec<SpentRow>> {
        const WORKFLOW: &str = sums!(
            "COALESCE(e.workflow, '')",
            "LEFT JOIN executions e ON e.id = u.execution_id AND e.workspace = u.workspace
             WHERE u.workspace = $1 AND u.created_at >= $2 GROUP BY 1 ORDER BY 1"
        );
        const DAY: &str = sums!(
            "CAST(u.created_at / 86400000 AS TEXT)",
            "WHERE u.workspace = $1 AND u.created_at >= $2 GROUP BY 1 ORDER BY 1"
        );
        const MODEL: &str =
            sums!("u.model", "WHERE u.workspace = $1 AND u.created_at >= $2 GROUP BY 1 ORDER BY 1");
        let sql = match by {
            SpentBy::Workflow => WORKFLOW,
            SpentBy::Day => DAY,
            SpentBy::Model => MODEL,
        };
        Ok(self.db.all(sql, args![&*self.workspace, since]).await?)
    }
}
