//! Calls that need a permit before they begin, because so many calls of their tool are allowed and no more. Who has
//! one is told by whoever counts them: the history only says that a call began.

use std::{collections::BTreeSet, sync::Arc};

use super::{Role, State, is_gated};
use crate::{ToolName, Workflow};

/// What is known of the permits of one execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Permits {
    /// The tools whose calls need one.
    limited: Arc<BTreeSet<ToolName>>,
    /// The paths of steps that have one for their next call.
    granted: BTreeSet<String>,
    /// Tools of which there are none just now.
    exhausted: BTreeSet<ToolName>,
}

impl State {
    /// From now on calls of these tools need a permit each.
    pub fn limit(&mut self, tools: Arc<BTreeSet<ToolName>>) {
        self.permits = Permits { limited: tools, ..Permits::default() };
    }

    /// Takes note of permits: the next call of each of these steps may begin, and of these tools nothing else may.
    pub fn permit(&mut self, steps: BTreeSet<String>, exhausted: BTreeSet<ToolName>) {
        self.permits.granted = steps;
        self.permits.exhausted = exhausted;
    }

    /// Uses the permit of a call up; whether it may begin.
    pub(crate) fn may_begin(&mut self, path: &str, tool: &ToolName) -> bool {
        !self.permits.limited.contains(tool) || self.permits.granted.remove(path)
    }

    /// Whether a step has to call and there is no permit for it: it takes no place from those that may.
    pub(crate) fn is_held_back(
        &self,
        workflow: &Workflow,
        id: usize,
        tool: Option<&ToolName>,
    ) -> bool {
        if self.permits.exhausted.is_empty() {
            return false;
        }
        let standing = self.record(id);
        let definition = &workflow.steps[standing.definition];
        let is_step = standing.role == Role::Step && !standing.passed;
        // A list calls nothing itself, and persons and locks come before the call.
        let comes_first = is_step && (definition.for_each.is_some() || is_gated(definition));
        !comes_first && tool.is_some_and(|tool| self.is_exhausted(&standing.path, tool))
    }

    /// Whether there is no permit for a step's call of a tool, as far as is known.
    pub(crate) fn is_exhausted(&self, path: &str, tool: &ToolName) -> bool {
        self.permits.exhausted.contains(tool) && !self.permits.granted.contains(path)
    }

    /// Whether the next call of a tool waits for a permit.
    pub(crate) fn needs_permit(&self, path: &str, tool: Option<&ToolName>) -> bool {
        tool.is_some_and(|tool| self.permits.limited.contains(tool))
            && !self.permits.granted.contains(path)
    }
}
