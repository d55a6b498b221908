//! A group on SQLite: a few statements, however many turns there are, and one sync of the file.

use std::collections::HashSet;

use super::{Group, Passed};
use crate::{
    fault,
    store::{Result, db::Db, execution, record, turn},
};

pub(super) async fn write(db: &Db, group: Group) -> Result<Passed> {
    let Group { turns, starts, started, lines } = group;
    let mut passed: Passed = started.into_iter().map(|id| (id, 0)).collect();
    let mut tx = db.begin().await?;
    if !turns.is_empty() {
        passed.extend(turn::update(&mut tx, turns).await?);
    }
    if !starts.is_empty() {
        execution::insert(&mut tx, starts).await?;
    }
    let ids: HashSet<&str> = passed.iter().map(|(id, _)| id.as_str()).collect();
    let lines = lines.iter().filter(|lines| ids.contains(lines.execution_id()));
    record::write_lines(&mut tx, lines).await?;
    fault::point("group_filled");
    tx.commit().await?;
    Ok(passed)
}
