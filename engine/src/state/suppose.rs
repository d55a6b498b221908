//! What whoever plays an execution through supposes, because nobody can know it before it runs. An execution that is
//! recorded supposes nothing.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::State;
use crate::{Kind, Workflow, event::SecretSlot};

/// What is supposed, by the number of the step in [`Workflow::steps`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Supposed {
    /// What they result in is what is expected of it.
    satisfied: BTreeSet<usize>,
    /// They go round once.
    single: BTreeSet<usize>,
}

impl State {
    /// Supposes that what a step results in is what `expect` wants.
    pub fn suppose_satisfied(&mut self, step: usize) {
        self.supposed.satisfied.insert(step);
    }

    /// Supposes that a loop that begins goes round once.
    pub fn suppose_single(&mut self, step: usize) {
        self.supposed.single.insert(step);
    }

    pub(crate) fn is_satisfied(&self, step: usize) -> bool {
        self.supposed.satisfied.contains(&step)
    }

    pub(crate) fn is_single(&self, step: usize) -> bool {
        self.supposed.single.contains(&step)
    }

    /// What a step that did not begin would be given as things stand, and where a secret belongs in it; `None` where
    /// that cannot be computed.
    #[must_use]
    pub fn params_if_run(
        &self,
        workflow: &Workflow,
        step: usize,
        now: i64,
    ) -> Option<(Value, Vec<SecretSlot>)> {
        let (Kind::Tool { params, .. } | Kind::Workflow { params, .. }) =
            &workflow.steps[step].kind
        else {
            return None;
        };
        let names = self.names(workflow, self.scope_in(self.frame_for(workflow, step), now));
        match params.evaluate_params(&names).ok()? {
            (Value::Null, _) => Some((json!({}), Vec::new())),
            (params @ Value::Object(_), secrets) => Some((params, secrets)),
            _ => None,
        }
    }

    /// The innermost list that is there and that the step would be in.
    fn frame_for(&self, workflow: &Workflow, step: usize) -> usize {
        let parents = std::iter::successors(workflow.steps[step].parent, |parent| {
            workflow.steps[*parent].parent
        });
        let mut parents: Vec<usize> = parents.collect();
        parents.reverse();
        let mut frame = 0;
        for parent in parents {
            let Some(list) = self.frame(frame) else { break };
            let path = Arc::from(format!("{}{}", list.prefix, workflow.steps[parent].name));
            let inner = self.paths.get(&path).and_then(|id| self.record(*id).inner);
            let Some(inner) = inner else { break };
            frame = inner;
        }
        frame
    }
}
