//! Permits for calls of tools that are limited: asked for before a call is written down as begun, given back when it
//! has come home.
//!
//! Workflows that call nothing limited never get here. A step without a permit is simply not begun: no event says so,
//! and the execution asks again when it is told to, or after a while.

use std::{collections::BTreeSet, sync::Arc};

use windlass_engine::{State, ToolName, Turn, UnexpectedEvent, Workflow, advance_further};

use super::{Shared, drive::patiently};
use crate::{
    bell::Ring,
    store::{self, Claim, PermitsWanted},
};

/// What one drive knows of its permits.
#[derive(Default)]
pub(super) struct Permits {
    /// The tools whose calls need one.
    tools: Arc<BTreeSet<ToolName>>,
    /// The steps whose permits are in use.
    out: BTreeSet<String>,
    /// Whether rows may be left that are not needed any more.
    is_stale: bool,
    /// Whether steps wait for a permit.
    pub(super) waits: bool,
    /// Somebody said that there may be one now.
    pub(super) is_rung: bool,
    /// When to ask again without being told, in milliseconds since 1970.
    look_at: Option<i64>,
}

/// Why a turn was not decided.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    History(#[from] UnexpectedEvent),
}

impl Permits {
    /// For an execution that is driven from now on. One that was claimed may have been driven before.
    pub(super) fn new(shared: &Shared, workflow: &Workflow, state: &mut State) -> Permits {
        let tools = shared.tool_servers.limits().of(workflow);
        state.limit(Arc::clone(&tools));
        Permits { is_stale: !tools.is_empty(), tools, ..Permits::default() }
    }

    /// A call has come home.
    pub(super) fn came_home(&mut self, step: &str) {
        self.is_stale |= self.out.remove(step);
    }

    /// When to look again: as the turn says, or to ask for permits.
    pub(super) fn wake_at(&self, turn: Option<i64>) -> Option<i64> {
        let own = self.look_at.filter(|_| self.waits);
        turn.into_iter().chain(own).min()
    }

    /// Goes on with a turn: with the calls for which there is a permit, and without the others.
    pub(super) async fn go_on(
        &mut self,
        shared: &Shared,
        claim: &Claim,
        (workflow, state): (&Workflow, &mut State),
        turn: &mut Turn,
        now: i64,
    ) -> Result<(), Error> {
        if self.tools.is_empty() {
            return Ok(());
        }
        self.is_rung = false;
        // What waited and is not to begin any more leaves its place.
        self.is_stale |= self.waits && turn.held_back.is_empty();
        let mut wanted: Vec<(String, ToolName)> = Vec::new();
        let mut exhausted = BTreeSet::new();
        // Each round knows of one tool more that there are no permits for.
        for _ in 0..=self.tools.len() {
            let before = wanted.len();
            for (step, tool) in &turn.held_back {
                if !wanted.iter().any(|(path, _)| path == step) {
                    wanted.push((step.clone(), tool.clone()));
                }
            }
            self.waits = !wanted.is_empty();
            if wanted.len() == before && !self.is_stale {
                break;
            }
            let granted = self.ask(shared, claim, &wanted).await?;
            let refused = wanted.iter().filter(|(step, _)| !granted.contains(step));
            exhausted.extend(refused.map(|(_, tool)| tool.clone()));
            wanted.retain(|(step, _)| !granted.contains(step));
            self.waits = !wanted.is_empty();
            state.permit(granted.clone(), exhausted.clone());
            let more = advance_further(workflow, state, &claim.execution_id, now)?;
            add(turn, more);
            let begun =
                turn.calls.iter().map(|call| &call.step).filter(|step| granted.contains(*step));
            self.out.extend(begun.cloned());
            // What was granted and not used is given back by the next question.
            self.is_stale = granted.iter().any(|step| !self.out.contains(step));
        }
        // Nobody knows what there will be at the next turn.
        state.permit(BTreeSet::new(), BTreeSet::new());
        Ok(())
    }

    async fn ask(
        &mut self,
        shared: &Shared,
        claim: &Claim,
        wanted: &[(String, ToolName)],
    ) -> Result<BTreeSet<String>, store::Error> {
        let out: Vec<String> = self.out.iter().cloned().collect();
        let limits = shared.tool_servers.limits();
        let wanted = PermitsWanted { limits, tools: &self.tools, out: &out, wanted };
        let granted = patiently(shared, || shared.store.permits(claim, &wanted)).await?;
        for due in granted.due {
            shared.bell.ring(Ring::Due(due.as_str().into()));
        }
        self.is_stale = false;
        self.look_at = granted.look_at;
        Ok(granted.steps)
    }

    /// Gives everything back; what is out is known to be over.
    pub(super) async fn give_back(
        &mut self,
        shared: &Shared,
        claim: &Claim,
    ) -> Result<(), store::Error> {
        if self.tools.is_empty() || (self.out.is_empty() && !self.is_stale) {
            return Ok(());
        }
        self.out.clear();
        self.ask(shared, claim, &[]).await.map(drop)
    }

    /// The execution is left alone: looks whether a permit came just before.
    pub(super) async fn left_alone(&self, shared: &Shared, execution_id: &str) {
        if !self.waits {
            return;
        }
        match shared.store.take_up_permits(execution_id).await {
            Ok(true) => shared.bell.ring(Ring::Due(execution_id.into())),
            Ok(false) => {}
            Err(err) => tracing::debug!("a permit is taken up later: {err}"),
        }
    }
}

/// What another round of the same turn led to.
fn add(turn: &mut Turn, more: Turn) {
    turn.events.extend(more.events);
    turn.calls.extend(more.calls);
    turn.children.extend(more.children);
    turn.cancels = more.cancels;
    turn.held_back = more.held_back;
    turn.wake_at = more.wake_at;
    turn.is_unfinished = more.is_unfinished;
}
