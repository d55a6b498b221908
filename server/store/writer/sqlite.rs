//! A group on SQLite: a few statements, however many turns there are, and one sync of the file.

use std::collections::HashSet;

use super::{Passed, Write};
use crate::{
    fault,
    store::{Result, db::Db, execution, record, turn},
};

pub(super) async fn write(db: &Db, writes: &[Write]) -> Result<Passed> {
    let mut turns = Vec::new();
    let mut starts = Vec::new();
    let mut passed = Passed::new();
    for write in writes {
        match write {
            Write::Turn(turn) => turns.push(turn.row.clone()),
            Write::Start(start) => {
                starts.push(start.row.clone());
                passed.push((write.execution_id().to_owned(), 0));
            }
        }
    }
    let mut tx = db.begin().await?;
    if !turns.is_empty() {
        passed.extend(turn::update(&mut tx, turns).await?);
    }
    if !starts.is_empty() {
        execution::insert(&mut tx, starts).await?;
    }
    let ids: HashSet<&str> = passed.iter().map(|(id, _)| id.as_str()).collect();
    let lines = writes.iter().filter(|write| ids.contains(write.execution_id()));
    let lines: Vec<&record::Lines> = lines.map(Write::lines).collect();
    record::write_lines(&mut tx, &lines).await?;
    fault::point("group_filled");
    tx.commit().await?;
    Ok(passed)
}
