//! Where an execution stood: each committed turn, as its events show it.

use super::{
    Result, Store,
    db::{Sql, args},
};

/// What one committed turn added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Counts the turns, from 1.
    pub number: i64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The size of its events, in bytes.
    pub bytes: i64,
    /// How many events it has.
    pub events: i64,
    /// The worker that committed it, where it is known.
    pub worker: Option<String>,
    /// The steps that it was about, in the order in which they come.
    pub steps: Vec<String>,
}

type EventRow = (i64, i64, Option<String>, i64, Option<String>);

impl Store {
    /// How many turns were committed for an execution, and the newest of them.
    ///
    /// The first event of each turn says which worker committed it. What was written before releases did so is one
    /// checkpoint, the first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn checkpoints(
        &self,
        execution_id: &str,
        limit: u32,
    ) -> Result<(i64, Vec<Checkpoint>)> {
        const EVENTS: Sql = Sql::Each {
            sqlite: "SELECT e.seq, e.at, e.committed_by,
                    LENGTH(CAST(COALESCE(e.data, p.data, '') AS BLOB)),
                    json_extract(COALESCE(e.data, p.data), '$.step')
                FROM events e LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1 AND e.seq >= $2 ORDER BY e.seq",
            postgres: "SELECT e.seq, e.at, e.committed_by,
                    CAST(OCTET_LENGTH(COALESCE(e.data, p.data, '')) AS BIGINT),
                    windlass_json(COALESCE(e.data, p.data)) ->> 'step'
                FROM events e LEFT JOIN payloads p ON p.execution_id = e.execution_id AND p.seq = e.seq
                WHERE e.execution_id = $1 AND e.seq >= $2 ORDER BY e.seq",
        };
        let counted = "SELECT COUNT(*), MIN(seq) FROM events WHERE execution_id = $1 AND committed_by IS NOT NULL";
        let row: Option<(i64, Option<i64>)> =
            self.db.optional(counted, args![execution_id]).await?;
        let (marked, first) = row.unwrap_or_default();
        // Events begin with 1.
        let unmarked = i64::from(first != Some(1));
        let oldest = "SELECT MIN(seq) FROM (SELECT seq FROM events WHERE execution_id = $1 AND committed_by IS NOT NULL
                      ORDER BY seq DESC LIMIT $2) AS newest";
        let row: Option<(Option<i64>,)> =
            self.db.optional(oldest, args![execution_id, i64::from(limit)]).await?;
        let all_fit = marked < i64::from(limit);
        let from = row.and_then(|(seq,)| seq).filter(|_| !all_fit).unwrap_or_default();
        let rows: Vec<EventRow> = self.db.all(EVENTS, args![execution_id, from]).await?;
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        for (_, at, worker, bytes, step) in rows {
            if worker.is_some() || checkpoints.is_empty() {
                let worker = worker.filter(|worker| !worker.is_empty());
                checkpoints.push(Checkpoint { at, worker, ..Checkpoint::default() });
            }
            let Some(checkpoint) = checkpoints.last_mut() else { continue };
            checkpoint.bytes += bytes;
            checkpoint.events += 1;
            checkpoint.at = at;
            if let Some(step) = step.filter(|step| !checkpoint.steps.contains(step)) {
                checkpoint.steps.push(step);
            }
        }
        let total = marked + unmarked;
        checkpoints.reverse();
        for (number, checkpoint) in (1..=total).rev().zip(&mut checkpoints) {
            checkpoint.number = number;
        }
        checkpoints.truncate(limit as usize);
        Ok((total, checkpoints))
    }
}
