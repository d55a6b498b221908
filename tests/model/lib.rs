//! Lease, epoch, signal, commit and takeover: the rules by which several workers drive executions in one database, as a
//! model that is explored exhaustively within small bounds.
//!
//! It is a crate of its own, so that it can be built with optimization in a second or two, without the server. Its
//! schedules are replayed against the real store by `tests/store/replay.rs`, answer for answer and row for row.
//!
//! What is coarser than the code:
//!
//! - Time is ticks: a lease holds two of them, and whoever was last sure of it two ticks ago starts no call. To look at
//!   that clock and to send the call is one action; a process that is stopped between the two sends it late, which no
//!   client can exclude.
//! - A call that goes out takes effect at once or never.
//! - Rings are not modelled: a worker may look at any time, and whatever depends on it having looked is found.
//! - One workflow: a call that must not be repeated, then a wait for an event. Tools that may be called again, children,
//!   locks, requests and timers are more of the same rows and signals. What failed goes on with a new input, a result or a skipped
//!   step only in the code.
//! - A group that the database refuses as a whole changes nothing, and is written one by one: that is no action.
//! - A process that crashes starts again at once; that it stays away is the same as its doing nothing.

pub mod action;
pub mod allowed;
pub mod properties;
pub mod rules;
pub mod schedules;
#[cfg(test)]
mod tests;
pub mod workflow;
pub mod world;

use stateright::Property;

use crate::{
    action::Action,
    workflow::{Event, Status},
    world::{Budget, Lock, Row, Wake, Worker, World, Written},
};

/// The rules, with bounds, and with mistakes put in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Model {
    /// How many workers there are.
    pub workers: u8,
    /// How many executions there are.
    pub executions: u8,
    /// What may go wrong.
    pub budget: Budget,
    /// What is wrong with the rules.
    pub mistakes: Mistakes,
}

/// The classic mistakes. Without any the rules are those of the code.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mistakes {
    /// A commit does not compare the epoch.
    pub no_fence: bool,
    /// A commit says when to wake without comparing how many signals came in.
    pub signals_forgotten: bool,
    /// A commit does not compare the number of the newest event.
    pub numbers_not_compared: bool,
    /// A lease that is renewed is counted from the answer instead of from before it was asked for.
    pub renewed_from_answer: bool,
    /// What was said before an execution failed, and was not heard by then, is not heard when it goes on.
    pub too_late_for_ever: bool,
    /// A paused execution begins what it would begin otherwise.
    pub goes_on_in_pause: bool,
    /// An execution is opened again without comparing that it has failed.
    pub reopened_unseen: bool,
    /// A worker that has its lock again trusts what it knew of its leases before.
    pub present_without_renewal: bool,
}

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.begin()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        allowed::actions(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(rules::step(self.mistakes, world, action).0)
    }

    fn properties(&self) -> Vec<Property<Model>> {
        properties::all()
    }
}

impl Model {
    /// Every execution is created, and due for anybody.
    #[must_use]
    pub fn begin(&self) -> World {
        let started = Written { seq: 1, event: Event::ExecutionStarted, epoch: 0, is_stale: false };
        let row = Row {
            status: Status::Running,
            wake: Wake::Due,
            owner: None,
            lease: 0,
            epoch: 0,
            last_seq: 1,
            signals: Vec::new(),
            signals_done: 0,
            told: false,
            written: vec![started],
            effects: 0,
        };
        let worker = |name| Worker { name, is_frozen: false, lock: Lock::Held };
        World {
            rows: vec![row; usize::from(self.executions)],
            workers: (0..self.workers).map(worker).collect(),
            drives: Vec::new(),
            left: self.budget,
            is_nonsense: false,
        }
    }
}
