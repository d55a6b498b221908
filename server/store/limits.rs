//! Permits for calls of tools that are limited: who has one, and who is next, over all processes of a workspace.
//!
//! A place is one call: of a step of an execution, to a tool server. Places with `granted_at` are permits, the others
//! wait in the order of their priorities, then of their arrival. Whoever asks serves the queue: it takes permits away
//! from holders that are gone, and gives what is free to those who are next. A permit that is given to somebody else
//! makes that execution due; it is taken back when nobody takes it up.
//!
//! A permit belongs to a lease: it ends with it, so that a process that dies keeps nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use windlass_engine::ToolName;

use super::{
    Claim, Error, Result, Store,
    db::{Sql, Tx, args},
};
use crate::limits::{Limit, Limits, Rate, ServerLimits};

/// How long a permit is kept for an execution that was made due by it, in milliseconds.
const OFFER_MS: i64 = 30_000;

/// When the first in a queue looks for itself, since a holder may be gone without a word; in milliseconds. Those behind
/// it look later.
const LOOK_MS: i64 = 15_000;

/// How much later each place looks, and the latest.
const LOOK_STEP_MS: i64 = 1_000;
const LATEST_LOOK_MS: i64 = 600_000;

/// The shortest time until a look, in milliseconds.
const SHORTEST_MS: i64 = 20;

/// How many of those that wait are looked at together.
const SOME: i64 = 64;

/// What an execution needs permits for.
pub struct PermitsWanted<'w> {
    /// The limits that hold here.
    pub limits: &'w Limits,
    /// The tools that the execution may call and that are limited.
    pub tools: &'w BTreeSet<ToolName>,
    /// The paths of steps whose calls are out.
    pub out: &'w [String],
    /// The paths of steps whose calls may not begin yet, and their tools.
    pub wanted: &'w [(String, ToolName)],
}

/// Which calls may begin.
#[derive(Debug, Default)]
pub struct PermitsGranted {
    /// The paths of the steps.
    pub steps: BTreeSet<String>,
    /// When to ask again without being told, where some may not; in milliseconds since 1970.
    pub look_at: Option<i64>,
    /// Other executions that are due because of it.
    pub due: Vec<String>,
}

/// A call that waits for a permit.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct PermitWait {
    /// The path of the step.
    pub step: String,
    /// The tool server.
    pub server: String,
    /// The tool, where it has a limit of its own; else empty.
    pub tool: String,
}

/// What a queue has in a row.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Place {
    place: i64,
    execution_id: String,
    step: String,
    priority: i64,
}

/// An execution's own place.
#[derive(Debug, sqlx::FromRow)]
struct OwnPlace {
    server: String,
    place: i64,
    step: String,
    tool: String,
    granted_at: Option<i64>,
    epoch: Option<i64>,
}

/// Who asks.
struct Asker<'a> {
    workspace: &'a str,
    claim: &'a Claim,
    priority: i64,
    now: i64,
}

const OWN: &str =
    "SELECT server, place, step, tool, granted_at, epoch FROM limit_places WHERE execution_id = $1";

impl Store {
    /// Gives back the permits of calls that are not out any more, and asks for others. Who was refused keeps a place in
    /// the queue for as long as it asks for it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another worker has claimed the execution since.
    pub async fn permits(
        &self,
        claim: &Claim,
        wanted: &PermitsWanted<'_>,
    ) -> Result<PermitsGranted> {
        let id = &claim.execution_id;
        let mut tx = self.db.begin().await?;
        let servers: BTreeSet<&str> =
            wanted.tools.iter().map(|tool| tool.server.as_str()).collect();
        lock(&mut tx, &self.workspace, &servers).await?;
        let held = "SELECT priority FROM executions WHERE id = $1 AND lease_epoch = $2";
        let row: Option<(i64,)> = tx.optional(held, args![id, claim.epoch]).await?;
        let (priority,) = row.ok_or_else(|| Error::Fenced(id.clone()))?;
        let asker = Asker { workspace: &self.workspace, claim, priority, now: self.now() };
        asker.leave(&mut tx, wanted).await?;
        asker.queue(&mut tx, wanted).await?;
        let mut due = BTreeSet::new();
        for server in servers {
            let Some(limits) = wanted.limits.server(server) else { continue };
            asker.reap(&mut tx, server).await?;
            due.extend(asker.serve(&mut tx, server, limits, wanted.limits).await?);
        }
        due.remove(id);
        wake(&mut tx, &due, asker.now).await?;
        let mut granted =
            PermitsGranted { due: due.into_iter().collect(), ..PermitsGranted::default() };
        let own: Vec<OwnPlace> = tx.all(OWN, args![id]).await?;
        let (granted_to, refused): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|place| place.epoch == Some(claim.epoch));
        granted.look_at = asker.next_look(&mut tx, refused, wanted.limits).await?;
        tx.commit().await?;
        let steps = granted_to.into_iter().map(|place| place.step);
        let is_new = |step: &String| wanted.wanted.iter().any(|(path, _)| path == step);
        granted.steps.extend(steps.filter(is_new));
        Ok(granted)
    }

    /// Makes an execution due that a permit was given to just before it was left alone.
    ///
    /// # Errors
    /// When the database fails; it is then due when it wanted to look.
    pub async fn take_up_permits(&self, execution_id: &str) -> Result<bool> {
        let sql = "UPDATE executions SET wake_at = $1
            WHERE id = $2 AND ended_at IS NULL AND EXISTS (
                SELECT 1 FROM limit_places p WHERE p.execution_id = $2 AND p.granted_at IS NOT NULL AND p.epoch IS NULL)
            RETURNING id";
        let rows: Vec<(String,)> = self.db.write(sql, args![self.now(), execution_id]).await?;
        Ok(!rows.is_empty())
    }

    /// The calls of an execution that wait for a permit, the first in its queue first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn permit_waits(&self, execution_id: &str) -> Result<Vec<PermitWait>> {
        let sql = "SELECT step, server, tool FROM limit_places
            WHERE execution_id = $1 AND workspace = $2 AND granted_at IS NULL ORDER BY place, step";
        Ok(self.db.all(sql, args![execution_id, &*self.workspace]).await?)
    }
}

impl Asker<'_> {
    /// Leaves the places that are not wanted any more.
    async fn leave(&self, tx: &mut Tx, wanted: &PermitsWanted<'_>) -> Result<()> {
        const LEAVE: Sql = Sql::Each {
            sqlite: "DELETE FROM limit_places WHERE execution_id = $1 AND (
                    step NOT IN (SELECT value FROM json_each($2))
                    OR step NOT IN (SELECT value FROM json_each($3)) AND epoch = $4)",
            postgres: "DELETE FROM limit_places WHERE execution_id = $1 AND (
                    step NOT IN (SELECT json_array_elements_text($2::json))
                    OR step NOT IN (SELECT json_array_elements_text($3::json)) AND epoch = $4)",
        };
        let wants = wanted.wanted.iter().map(|(step, _)| step.as_str());
        let all: Vec<&str> = wanted.out.iter().map(String::as_str).chain(wants).collect();
        // A call that is to begin again came home before: the permit that it has was for that one.
        let (all, out) = (json!(all).to_string(), json!(wanted.out).to_string());
        let args = args![&self.claim.execution_id, all, out, self.claim.epoch];
        tx.execute(LEAVE, args).await?;
        // What an earlier holder of the lease had, ended with it. The place in the queue is kept.
        let again = "UPDATE limit_places SET granted_at = NULL, epoch = NULL
                     WHERE execution_id = $1 AND epoch <> $2";
        tx.execute(again, args![&self.claim.execution_id, self.claim.epoch]).await?;
        let take_up = "UPDATE limit_places SET epoch = $2
                       WHERE execution_id = $1 AND granted_at IS NOT NULL AND epoch IS NULL";
        tx.execute(take_up, args![&self.claim.execution_id, self.claim.epoch]).await?;
        Ok(())
    }

    async fn queue(&self, tx: &mut Tx, wanted: &PermitsWanted<'_>) -> Result<()> {
        let sql = "INSERT INTO limit_places (workspace, server, place, tool, execution_id, step, priority, created_at)
            SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), COALESCE(MAX(place), 0) + 1, CAST($3 AS TEXT),
                CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS BIGINT)
            FROM limit_places WHERE workspace = $1 AND server = $2
            ON CONFLICT (execution_id, step) DO UPDATE SET tool = excluded.tool";
        for (step, tool) in wanted.wanted {
            let Some(limits) = wanted.limits.server(&tool.server) else { continue };
            let lane = limits.lane(&tool.tool);
            let id = &self.claim.execution_id;
            let args = args![self.workspace, &tool.server, lane, id, step, self.priority, self.now];
            tx.execute(sql, args).await?;
        }
        Ok(())
    }

    /// Takes away the permits whose lease is over, and those that nobody took up.
    async fn reap(&self, tx: &mut Tx, server: &str) -> Result<()> {
        let sql = "DELETE FROM limit_places WHERE workspace = $1 AND server = $2 AND granted_at IS NOT NULL AND (
                epoch IS NULL AND granted_at <= $3
                OR epoch IS NOT NULL AND NOT EXISTS (
                    SELECT 1 FROM executions e WHERE e.id = limit_places.execution_id
                        AND e.lease_epoch = limit_places.epoch AND $4 < e.lease_until))";
        let args = args![self.workspace, server, self.now - OFFER_MS, self.now];
        tx.execute(sql, args).await?;
        Ok(())
    }

    /// Gives what is free to those who are next; whose executions these are.
    async fn serve(
        &self,
        tx: &mut Tx,
        server: &str,
        limits: &ServerLimits,
        all: &Limits,
    ) -> Result<BTreeSet<String>> {
        let mut lanes = self.lanes(tx, server, limits).await?;
        let whole = Lane::new(&limits.whole, lanes.values().map(|lane| lane.used).sum());
        let mut whole = whole.with_rate(tx, self, server.to_owned()).await?;
        let mut due = BTreeSet::new();
        let mut waiting = Vec::new();
        for (tool, lane) in lanes.iter_mut().filter(|_| whole.has_room()) {
            if lane.has_room() {
                let most = whole.left().min(lane.left()).min(SOME);
                for place in self.waiting(tx, server, tool, most).await? {
                    waiting.push((tool.clone(), place));
                }
            }
        }
        waiting.sort_by_key(|(_, place)| (-place.priority, place.place));
        while whole.has_room() && !waiting.is_empty() {
            waiting.retain(|(tool, _)| lanes.get(tool).is_some_and(Lane::has_room));
            let longest = waiting.iter().enumerate().min_by_key(|(_, (_, place))| place.place);
            let Some((longest, _)) = longest else { break };
            let next = if all.is_turn_of_longest() { longest } else { 0 };
            let (tool, place) = waiting.remove(next);
            self.grant(tx, server, &place).await?;
            whole.take(tx, self).await?;
            if let Some(lane) = lanes.get_mut(&tool) {
                lane.take(tx, self).await?;
            }
            due.insert(place.execution_id);
        }
        Ok(due)
    }

    /// How much is out, of each tool with a limit of its own and of all others together.
    async fn lanes(
        &self,
        tx: &mut Tx,
        server: &str,
        limits: &ServerLimits,
    ) -> Result<BTreeMap<String, Lane>> {
        let sql = "SELECT tool, COUNT(*) FROM limit_places
                   WHERE workspace = $1 AND server = $2 AND granted_at IS NOT NULL GROUP BY tool";
        let used: Vec<(String, i64)> = tx.all(sql, args![self.workspace, server]).await?;
        let mut used: BTreeMap<String, i64> = used.into_iter().collect();
        let mut lanes = BTreeMap::new();
        for (tool, limit) in &limits.tools {
            let lane = Lane::new(limit, used.remove(tool).unwrap_or_default());
            let lane = lane.with_rate(tx, self, format!("{server}.{tool}")).await?;
            lanes.insert(tool.clone(), lane);
        }
        // A tool that has no limit here may have one elsewhere.
        let others = used.into_values().sum();
        lanes.insert(String::new(), Lane::new(&Limit::default(), others));
        Ok(lanes)
    }

    async fn waiting(
        &self,
        tx: &mut Tx,
        server: &str,
        tool: &str,
        most: i64,
    ) -> Result<Vec<Place>> {
        let sql = "SELECT place, execution_id, step, priority FROM limit_places
            WHERE workspace = $1 AND server = $2 AND tool = $3 AND priority = $4 AND granted_at IS NULL
            ORDER BY place LIMIT $5";
        let mut waiting = Vec::new();
        for priority in [1_i64, 0, -1] {
            let args = args![self.workspace, server, tool, priority, most];
            waiting.extend(tx.all::<Place>(sql, args).await?);
        }
        Ok(waiting)
    }

    async fn grant(&self, tx: &mut Tx, server: &str, place: &Place) -> Result<()> {
        let sql = "UPDATE limit_places SET granted_at = $1, epoch = $2
                   WHERE workspace = $3 AND server = $4 AND place = $5";
        let is_own = place.execution_id == self.claim.execution_id;
        let epoch = is_own.then_some(self.claim.epoch);
        let at = place.place;
        tx.execute(sql, args![self.now, epoch, self.workspace, server, at]).await?;
        tracing::debug!(execution.id = %place.execution_id, step = %place.step, "a call of {server} may begin");
        Ok(())
    }

    /// When to ask again for those of the places that were not served. The first of each queue is the first to be.
    async fn next_look(
        &self,
        tx: &mut Tx,
        refused: Vec<OwnPlace>,
        limits: &Limits,
    ) -> Result<Option<i64>> {
        let mut first: BTreeMap<(&str, &str), &OwnPlace> = BTreeMap::new();
        for own in &refused {
            let known = first.entry((&own.server, &own.tool)).or_insert(own);
            if own.place < known.place {
                *known = own;
            }
        }
        let mut next = None;
        for own in first.into_values() {
            if let Some(limits) = limits.server(&own.server) {
                let at = self.look_at(tx, own, limits).await?;
                next = [next, Some(at)].into_iter().flatten().min();
            }
        }
        Ok(next)
    }

    /// When to ask again for a place that was not served.
    async fn look_at(&self, tx: &mut Tx, own: &OwnPlace, limits: &ServerLimits) -> Result<i64> {
        debug_assert!(own.granted_at.is_none(), "a permit is taken up by whoever asks");
        let sql = "SELECT COUNT(*) FROM limit_places
            WHERE workspace = $1 AND server = $2 AND tool = $3 AND priority = $4 AND granted_at IS NULL AND place < $5";
        let args = args![self.workspace, &own.server, &own.tool, self.priority, own.place];
        let ahead = tx.optional::<(i64,)>(sql, args).await?.map_or(0, |(count,)| count);
        let server = &own.server;
        let mut lanes = self.lanes(tx, server, limits).await?;
        let whole = Lane::new(&limits.whole, lanes.values().map(|lane| lane.used).sum());
        let whole = whole.with_rate(tx, self, server.clone()).await?;
        let mut at = 0;
        let mut is_full = false;
        for lane in lanes.remove(&own.tool).into_iter().chain([whole]) {
            is_full |= lane.left() <= 0;
            at = at.max(lane.free_at(tx, self, ahead).await?);
        }
        let patience = LOOK_MS.saturating_add(ahead.saturating_mul(LOOK_STEP_MS));
        let patience = self.now + patience.min(LATEST_LOOK_MS);
        let is_too_early = self.now < at;
        Ok(if is_full || !is_too_early { at.max(patience) } else { at.max(self.now + SHORTEST_MS) })
    }
}

/// What is left of one limit.
struct Lane {
    concurrency: Option<u32>,
    used: i64,
    rate: Option<Begun>,
}

/// The calls that began under a rate.
struct Begun {
    name: String,
    rate: Rate,
    /// How many there were.
    last: i64,
    /// When the next one may begin, in milliseconds since 1970.
    free_at: i64,
    now: i64,
}

impl Lane {
    fn new(limit: &Limit, used: i64) -> Lane {
        let rate =
            limit.rate.map(|rate| Begun { name: String::new(), rate, last: 0, free_at: 0, now: 0 });
        Lane { concurrency: limit.concurrency, used, rate }
    }

    async fn with_rate(mut self, tx: &mut Tx, asker: &Asker<'_>, name: String) -> Result<Lane> {
        if let Some(begun) = &mut self.rate {
            let sql = "SELECT number FROM limit_begun WHERE workspace = $1 AND name = $2 ORDER BY number DESC LIMIT 1";
            let last: Option<(i64,)> = tx.optional(sql, args![asker.workspace, &name]).await?;
            begun.last = last.map_or(0, |(number,)| number);
            begun.name = name;
            begun.now = asker.now;
            begun.free_at = begun.at(tx, asker, begun.last + 1).await?;
        }
        Ok(self)
    }

    fn left(&self) -> i64 {
        self.concurrency.map_or(i64::MAX, |most| i64::from(most) - self.used)
    }

    fn has_room(&self) -> bool {
        0 < self.left() && self.rate.as_ref().is_none_or(|begun| begun.free_at <= begun.now)
    }

    async fn take(&mut self, tx: &mut Tx, asker: &Asker<'_>) -> Result<()> {
        self.used += 1;
        match &mut self.rate {
            None => Ok(()),
            Some(begun) => begun.begin(tx, asker).await,
        }
    }

    /// When somebody may begin who has so many ahead.
    async fn free_at(&self, tx: &mut Tx, asker: &Asker<'_>, ahead: i64) -> Result<i64> {
        match &self.rate {
            None => Ok(0),
            Some(begun) => begun.at(tx, asker, begun.last + 1 + ahead).await,
        }
    }
}

impl Begun {
    /// When the call of a number may begin: a period after the one that is as many before it as may begin in one.
    async fn at(&self, tx: &mut Tx, asker: &Asker<'_>, number: i64) -> Result<i64> {
        let calls = i64::from(self.rate.calls);
        let periods = (number - self.last - 1).max(0) / calls;
        let before = number - (periods + 1) * calls;
        let sql = "SELECT at FROM limit_begun WHERE workspace = $1 AND name = $2 AND number = $3";
        let row: Option<(i64,)> =
            tx.optional(sql, args![asker.workspace, &self.name, before]).await?;
        let first = row.map_or(0, |(at,)| at + self.rate.period_ms);
        // Those that begin next, begin now at the earliest.
        let first = if periods == 0 { first } else { first.max(asker.now) };
        Ok(first + periods * self.rate.period_ms)
    }

    async fn begin(&mut self, tx: &mut Tx, asker: &Asker<'_>) -> Result<()> {
        self.last += 1;
        let sql = "INSERT INTO limit_begun (workspace, name, number, at) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, args![asker.workspace, &self.name, self.last, asker.now]).await?;
        let old = "DELETE FROM limit_begun WHERE workspace = $1 AND name = $2 AND number <= $3";
        let oldest = self.last - i64::from(self.rate.calls);
        tx.execute(old, args![asker.workspace, &self.name, oldest]).await?;
        self.free_at = self.at(tx, asker, self.last + 1).await?;
        Ok(())
    }
}

/// Keeps everybody else from the queues of these tool servers until the transaction ends.
async fn lock(tx: &mut Tx, workspace: &str, servers: &BTreeSet<&str>) -> Result<()> {
    // In the order of the numbers that stand for them: two names may share one.
    const LOCK: &str = "SELECT COUNT(pg_advisory_xact_lock(number)) FROM (
            SELECT DISTINCT hashtextextended(name, 0) AS number
            FROM json_array_elements_text($1::json) AS name ORDER BY 1) AS numbers";
    // SQLite has one writer at a time.
    let Tx::Postgres(_) = tx else { return Ok(()) };
    let names: Vec<String> =
        servers.iter().map(|server| format!("windlass limit {workspace}\n{server}")).collect();
    let _: Option<(i64,)> = tx.optional(LOCK, args![json!(names).to_string()]).await?;
    Ok(())
}

/// Makes executions due, in the order in which everybody locks them.
async fn wake(tx: &mut Tx, ids: &BTreeSet<String>, now: i64) -> Result<()> {
    const WAKE: Sql = Sql::Each {
        sqlite: "UPDATE executions SET wake_at = $1
            WHERE id IN (SELECT value FROM json_each($2)) AND ended_at IS NULL",
        postgres: "UPDATE executions SET wake_at = $1 WHERE id IN (
                SELECT id FROM executions
                WHERE id IN (SELECT json_array_elements_text($2::json)) AND ended_at IS NULL
                ORDER BY id FOR UPDATE)",
    };
    if !ids.is_empty() {
        tx.execute(WAKE, args![now, json!(ids).to_string()]).await?;
    }
    Ok(())
}
