//! When steps are looked at again whose tools are not done: one row a step, which every look changes.

use serde_json::json;
use windlass_engine::Look;

use super::{
    Result, Store,
    db::{Sql, Tx, args},
};

const WRITE: Sql = Sql::Each {
    sqlite: "INSERT INTO looks (execution_id, step, due_at, looks, said)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            due_at = excluded.due_at, looks = excluded.looks, said = excluded.said",
    postgres: "INSERT INTO looks (execution_id, step, due_at, looks, said)
        SELECT $1, value ->> 0, CAST(value ->> 1 AS BIGINT), CAST(value ->> 2 AS BIGINT), value ->> 3
        FROM json_array_elements($2::json) AS rows (value) WHERE TRUE
        ON CONFLICT (execution_id, step) DO UPDATE SET
            due_at = excluded.due_at, looks = excluded.looks, said = excluded.said",
};

/// Writes down what was seen of steps, each with its path.
pub(super) async fn write(tx: &mut Tx, execution_id: &str, looks: &[(String, Look)]) -> Result<()> {
    if looks.is_empty() {
        return Ok(());
    }
    // What is said is JSON in JSON: that keeps what neither database would take bare.
    let said = |look: &Look| look.said.as_ref().map(|said| json!(said).to_string());
    let rows = looks.iter().map(|(step, look)| json!([step, look.at, look.count, said(look)]));
    let rows: serde_json::Value = rows.collect();
    tx.execute(WRITE, args![execution_id, rows.to_string()]).await?;
    Ok(())
}

impl Store {
    /// What was seen last of the steps that wait, by their paths. A step that does not wait for its tool may have a row
    /// of before; whoever has the history knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn looks(&self, execution_id: &str) -> Result<Vec<(String, Look)>> {
        let sql = "SELECT l.step, l.due_at, l.looks, l.said FROM looks l
                   JOIN steps s ON s.execution_id = l.execution_id AND s.step = l.step
                   WHERE l.execution_id = $1 AND s.status = 'waiting'";
        let rows: Vec<(String, i64, i64, Option<String>)> =
            self.db.all(sql, args![execution_id]).await?;
        let look = |(step, at, count, said): (String, i64, i64, Option<String>)| {
            let said = said.and_then(|said| serde_json::from_str(&said).ok());
            (step, Look { at, count: u32::try_from(count).unwrap_or(u32::MAX), said })
        };
        Ok(rows.into_iter().map(look).collect())
    }
}
