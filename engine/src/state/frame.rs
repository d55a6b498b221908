//! Lists of steps that are under way: the document's own, a group's, an iteration's, the instances of a `forEach`.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use crate::WaitFor;

/// Steps that begin and end together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// The record that holds it open; `None` for the document's own lists.
    pub(crate) owner: Option<usize>,
    /// What the paths of its records begin with.
    pub(crate) prefix: Arc<str>,
    /// The number of the iteration, as expressions see it.
    pub(crate) iteration: Option<(u32, Value)>,
    /// Its records that have not ended.
    pub(crate) open: BTreeSet<usize>,
    /// Every record, in the order of the list; instances are not kept.
    pub(crate) records: Vec<usize>,
    /// How many have completed.
    pub(crate) completed: usize,
    /// When it is over.
    pub(crate) wait_for: WaitFor,
    /// Why it goes no further.
    pub(crate) stopping: Option<Cause>,
    /// Whether what is out is told to stop, too.
    pub(crate) is_hard: bool,
    /// The instances, where it is the frame of a `forEach`.
    pub(crate) each: Option<Each>,
}

/// The instances of a `forEach`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Each {
    pub(crate) items: Arc<Vec<Value>>,
    /// How many have begun.
    pub(crate) begun: usize,
    /// The numbers of those that begin once more, before those that have not begun.
    pub(crate) again: BTreeSet<usize>,
    /// How many may be under way at once.
    pub(crate) limit: usize,
    /// By number; `None` where there is none, or none yet.
    pub(crate) results: Vec<Option<Arc<Value>>>,
    /// The numbers of those that failed.
    pub(crate) failed: BTreeSet<usize>,
    /// Whether they have to wait for an approval or a lock.
    pub(crate) is_held: bool,
}

/// Why a frame goes no further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// This record failed.
    Failed(usize),
    /// Enough has completed.
    Decided,
    /// Its time is over.
    TimedOut,
    /// What holds it goes no further.
    Ended,
}

impl Frame {
    pub(super) fn new(owner: Option<usize>, prefix: &str) -> Frame {
        Frame {
            owner,
            prefix: prefix.into(),
            iteration: None,
            open: BTreeSet::new(),
            records: Vec::new(),
            completed: 0,
            wait_for: WaitFor::All,
            stopping: None,
            is_hard: false,
            each: None,
        }
    }

    /// Whether another instance may begin.
    pub(super) fn has_more(&self) -> bool {
        self.stopping.is_none()
            && self.each.as_ref().is_some_and(|each| {
                !each.is_held && each.has_more() && self.open.len() < each.limit
            })
    }

    /// Whether instances are still to begin.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.stopping.is_none() && self.each.as_ref().is_some_and(Each::has_more)
    }
}

impl Each {
    fn has_more(&self) -> bool {
        !self.again.is_empty() || self.begun < self.items.len()
    }
}
