//! Who holds a lock, and who is next: the queue of each key, changed in the same transaction as the history.
//!
//! A key is free or has one holder. Whoever is ready waits in the order of the places; a place that is not ready
//! yet, because a person still thinks, is kept and passed over. While somebody is ready there is a holder.

use std::collections::{BTreeMap, BTreeSet};

use windlass_engine::{Event, OnBusy};

use super::{
    Result, Signal,
    db::{Sql, Tx, args},
};

#[cfg(test)]
mod tests;

/// The queues of the keys that one transaction is about. No other transaction changes them meanwhile.
#[derive(Debug, Default)]
pub(super) struct Desk {
    workspace: String,
    execution_id: String,
    places: BTreeMap<(String, i64), Place>,
    /// As the rows have them.
    before: BTreeMap<(String, i64), Place>,
    inherited: Vec<Inherited>,
    ancestors: BTreeSet<String>,
    /// What those who are concerned have to hear, in order.
    pub(super) signals: Vec<(String, Signal)>,
}

/// A place in the queue of a key; the holder has one, too.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    execution_id: String,
    step: Option<String>,
    is_ready: bool,
    is_granted: bool,
}

/// A lock that an execution above this one holds around the step that this one is.
#[derive(Debug)]
struct Inherited {
    execution_id: String,
    key: String,
}

const PLACES: Sql = Sql::Each {
    sqlite: "SELECT key, place, execution_id, step, ready, CASE WHEN granted_at IS NULL THEN 0 ELSE 1 END
             FROM lock_places WHERE workspace = $1 AND key IN (SELECT value FROM json_each($2))",
    postgres: "SELECT key, place, execution_id, step, ready, CASE WHEN granted_at IS NULL THEN 0 ELSE 1 END::BIGINT
               FROM lock_places WHERE workspace = $1 AND key IN (SELECT json_array_elements_text($2::json))",
};

/// Who is above an execution, and which of their locks are around it. A lock of a step is around the executions
/// that run in this step, and in what it holds.
const ABOVE: &str = "WITH RECURSIVE above (id, within) AS (
        SELECT parent_id, parent_step FROM executions WHERE id = $1 AND parent_id IS NOT NULL
        UNION ALL
        SELECT e.parent_id, e.parent_step FROM executions e JOIN above a ON e.id = a.id
        WHERE e.parent_id IS NOT NULL)
    SELECT a.id, p.key, p.step, a.within FROM above a
    LEFT JOIN lock_places p ON p.execution_id = a.id AND p.granted_at IS NOT NULL";

type PlaceRow = (String, i64, String, String, i64, i64);
type AboveRow = (String, Option<String>, Option<String>, Option<String>);

impl Desk {
    /// Opens the queues that some events are about; the end of an execution is about all its places.
    ///
    /// On Postgres the keys are locked here, in one order for everybody. Executions come after them.
    pub(super) async fn open(
        tx: &mut Tx,
        workspace: &str,
        execution_id: &str,
        events: &[Event],
        ended: bool,
    ) -> Result<Desk> {
        let mut keys: BTreeSet<String> = events.iter().filter_map(key).map(storable).collect();
        if ended {
            let own = "SELECT DISTINCT key FROM lock_places WHERE execution_id = $1";
            let own: Vec<(String,)> = tx.all(own, args![execution_id]).await?;
            keys.extend(own.into_iter().map(|(key,)| key));
        }
        let mut desk = Desk {
            workspace: workspace.to_owned(),
            execution_id: execution_id.to_owned(),
            ..Desk::default()
        };
        if keys.is_empty() {
            return Ok(desk);
        }
        lock(tx, workspace, &keys).await?;
        let keys = serde_json::json!(keys).to_string();
        let rows: Vec<PlaceRow> = tx.all(PLACES, args![workspace, keys]).await?;
        desk.places = rows.into_iter().map(place).collect();
        desk.before = desk.places.clone();
        if events.iter().any(|event| matches!(event, Event::LockRequested { .. })) {
            let above: Vec<AboveRow> = tx.all(ABOVE, args![execution_id]).await?;
            desk.look_above(above);
        }
        for event in events {
            desk.take(event);
        }
        if ended {
            desk.leave();
        }
        Ok(desk)
    }

    fn look_above(&mut self, above: Vec<AboveRow>) {
        for (execution_id, key, step, within) in above {
            if let (Some(key), Some(step)) = (key, step)
                && is_around(&step, within.as_deref().unwrap_or_default())
            {
                self.inherited.push(Inherited { execution_id: execution_id.clone(), key });
            }
            self.ancestors.insert(execution_id);
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::LockRequested { step, key, on_busy, ready } => {
                self.request(step.as_deref(), &storable(key), *on_busy, *ready);
            }
            Event::LockReleased { step, key } => self.release(step.as_deref(), &storable(key)),
            _ => {}
        }
    }

    fn request(&mut self, step: Option<&str>, key: &str, on_busy: OnBusy, is_ready: bool) {
        if let Some(above) = self.inherited.first() {
            // One lock at a time, and it is there already.
            let (same, holder) = (above.key == key, above.execution_id.clone());
            return match (same, is_ready) {
                (true, true) => self.say_granted(self.execution_id.clone(), step, key),
                (true, false) => {}
                (false, _) => self.say_refused(step, key, holder),
            };
        }
        let place = self.place_of(step, key).unwrap_or_else(|| self.queue(step, key));
        if !is_ready {
            return;
        }
        if let Some(kept) = self.places.get_mut(&place) {
            kept.is_ready = true;
        }
        let held = self.holder(key).map(|(at, held)| (*at == place, held.execution_id.clone()));
        match (held, on_busy) {
            (None, _) => self.grant_next(key),
            (Some((true, _)), _) | (Some((false, _)), OnBusy::Queue) => {}
            (Some((false, holder)), OnBusy::Reject) => {
                self.places.remove(&place);
                self.say_refused(step, key, holder);
            }
            (Some((false, holder)), OnBusy::Replace) => self.replace(key, holder),
        }
    }

    /// Tells the holder to stop. Nobody is told to by what is a part of it.
    fn replace(&mut self, key: &str, holder: String) {
        if holder == self.execution_id || self.ancestors.contains(&holder) {
            return;
        }
        let reason = format!("execution {} takes over the lock {key:?}", self.execution_id);
        let cancel = Signal::Cancel { by: "lock".to_owned(), reason: Some(reason) };
        self.signals.push((holder, cancel));
    }

    fn release(&mut self, step: Option<&str>, key: &str) {
        if let Some(place) = self.place_of(step, key) {
            self.places.remove(&place);
            self.grant_next(key);
        }
    }

    /// Gives up everything: the execution has ended.
    fn leave(&mut self) {
        let own = self.places.iter().filter(|(_, place)| place.execution_id == self.execution_id);
        let own: Vec<(String, i64)> = own.map(|(at, _)| at.clone()).collect();
        for at in &own {
            self.places.remove(at);
        }
        for (key, _) in &own {
            self.grant_next(key);
        }
    }

    fn grant_next(&mut self, key: &str) {
        if self.holder(key).is_some() {
            return;
        }
        let next = self.places.iter_mut().find(|((of, _), place)| of == key && place.is_ready);
        let Some((_, place)) = next else { return };
        place.is_granted = true;
        let (execution_id, step) = (place.execution_id.clone(), place.step.clone());
        self.say_granted(execution_id, step.as_deref(), key);
    }

    fn queue(&mut self, step: Option<&str>, key: &str) -> (String, i64) {
        let of_key = self.places.keys().chain(self.before.keys()).filter(|(of, _)| of == key);
        let last = of_key.map(|(_, place)| *place).max().unwrap_or_default();
        let place = Place {
            execution_id: self.execution_id.clone(),
            step: step.map(str::to_owned),
            is_ready: false,
            is_granted: false,
        };
        let at = (key.to_owned(), last + 1);
        self.places.insert(at.clone(), place);
        at
    }

    fn place_of(&self, step: Option<&str>, key: &str) -> Option<(String, i64)> {
        let is_own = |((of, _), place): &(&(String, i64), &Place)| {
            of == key && place.execution_id == self.execution_id && place.step.as_deref() == step
        };
        self.places.iter().find(is_own).map(|(at, _)| at.clone())
    }

    fn holder(&self, key: &str) -> Option<(&(String, i64), &Place)> {
        self.places.iter().find(|((of, _), place)| of == key && place.is_granted)
    }

    fn say_granted(&mut self, execution_id: String, step: Option<&str>, key: &str) {
        let (step, key) = (step.map(str::to_owned), key.to_owned());
        self.signals.push((execution_id, Signal::LockGranted { step, key }));
    }

    fn say_refused(&mut self, step: Option<&str>, key: &str, holder: String) {
        let (step, key) = (step.map(str::to_owned), key.to_owned());
        let refused = Signal::LockRefused { step, key, holder };
        self.signals.push((self.execution_id.clone(), refused));
    }

    /// Writes what became of the queues.
    pub(super) async fn write(&self, tx: &mut Tx, at: i64) -> Result<()> {
        for ((key, number), _) in self.before.iter().filter(|(at, _)| !self.places.contains_key(at))
        {
            let sql = "DELETE FROM lock_places WHERE workspace = $1 AND key = $2 AND place = $3";
            tx.execute(sql, args![&self.workspace, key, *number]).await?;
        }
        for ((key, number), place) in &self.places {
            if self.before.get(&(key.clone(), *number)) == Some(place) {
                continue;
            }
            let sql = "INSERT INTO lock_places
                    (workspace, key, place, execution_id, step, ready, created_at, granted_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT (workspace, key, place)
                    DO UPDATE SET ready = excluded.ready, granted_at = excluded.granted_at";
            let step = place.step.as_deref().unwrap_or_default();
            let granted_at = place.is_granted.then_some(at);
            let of = &place.execution_id;
            tx.execute(
                sql,
                args![&self.workspace, key, *number, of, step, place.is_ready, at, granted_at],
            )
            .await?;
        }
        Ok(())
    }
}

fn key(event: &Event) -> Option<&str> {
    match event {
        Event::LockRequested { key, .. } | Event::LockReleased { key, .. } => Some(key),
        _ => None,
    }
}

/// Postgres keeps no U+0000, and a key is nobody's data.
fn storable(key: &str) -> String {
    key.replace('\0', "\u{fffd}")
}

fn place((key, number, execution_id, step, ready, granted): PlaceRow) -> ((String, i64), Place) {
    let step = Some(step).filter(|step| !step.is_empty());
    let place = Place { execution_id, step, is_ready: ready == 1, is_granted: granted == 1 };
    ((key, number), place)
}

/// Whether a lock of `step` (empty: of the whole execution) is held while the step at `within` runs.
fn is_around(step: &str, within: &str) -> bool {
    let rest = within.strip_prefix(step);
    step.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
}

/// Keeps everybody else from the queues of these keys until the transaction ends.
async fn lock(tx: &mut Tx, workspace: &str, keys: &BTreeSet<String>) -> Result<()> {
    // In the order of the numbers that stand for them: two keys may share one.
    const LOCK: &str = "SELECT COUNT(pg_advisory_xact_lock(number)) FROM (
            SELECT DISTINCT hashtextextended(name, 0) AS number
            FROM json_array_elements_text($1::json) AS name ORDER BY 1) AS numbers";
    // SQLite has one writer at a time.
    let Tx::Postgres(_) = tx else { return Ok(()) };
    let names: Vec<String> =
        keys.iter().map(|key| format!("windlass lock {workspace}\n{key}")).collect();
    let _: Option<(i64,)> = tx.optional(LOCK, args![serde_json::json!(names).to_string()]).await?;
    Ok(())
}
