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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Status, advance, parse};

    fn begun(text: &str) -> (Workflow, State) {
        let workflow =
            parse(&format!("name: w\n{}", text.trim_start_matches('\n'))).expect("it can be read");
        let state = State::new(&workflow, "plan_1", "ada");
        (workflow, state)
    }

    fn hears(workflow: &Workflow, state: &mut State, event: Event) {
        advance(workflow, state, "plan_1", vec![event], 0).expect("the event fits");
    }

    fn succeeded(step: &str) -> Event {
        Event::AttemptSucceeded { step: step.to_owned(), output: json!({ "ok": false }) }
    }

    #[test]
    fn what_is_expected_of_a_supposed_result_is_taken_for_granted() {
        for supposes in [false, true] {
            let (workflow, mut state) = begun("steps: [{ name: a, tool: x.a, expect: result.ok }]");
            hears(&workflow, &mut state, Event::ExecutionStarted { input: json!({}) });
            if supposes {
                state.suppose_satisfied(0);
            }
            hears(&workflow, &mut state, succeeded("a"));
            assert_eq!(state.status == Status::Completed, supposes, "{:?}", state.status);
        }
    }

    #[test]
    fn a_loop_that_is_supposed_to_goes_round_once() {
        for supposes in [false, true] {
            let (workflow, mut state) = begun(
                "
steps:
  - name: poll
    repeat: { until: steps.a.ok, maxIterations: 3 }
    steps: [{ name: a, tool: x.a }]
",
            );
            if supposes {
                state.suppose_single(0);
            }
            hears(&workflow, &mut state, Event::ExecutionStarted { input: json!({}) });
            hears(&workflow, &mut state, succeeded("poll[0]/a"));
            assert_eq!(state.status == Status::Completed, supposes, "{:?}", state.status);
        }
    }

    #[test]
    fn what_a_step_would_be_given_is_seen_from_its_place() {
        let (workflow, mut state) = begun(
            "
steps:
  - { name: a, tool: x.a, assign: made }
  - { name: b, if: steps.a.ok, tool: x.b, params: { ok: \"${made.ok}\", key: \"${secrets.KEY}\" } }
  - name: group
    if: steps.a.ok
    steps:
      - { name: c, tool: x.c, params: { ok: \"${steps.a.ok}\" } }
      - { name: d, tool: x.d, params: { id: \"${steps.c.id}\" } }
",
        );
        hears(&workflow, &mut state, Event::ExecutionStarted { input: json!({}) });
        hears(&workflow, &mut state, succeeded("a"));
        let params = |name: &str| {
            let step = workflow.steps.iter().position(|step| step.name == name).expect("a step");
            state.params_if_run(&workflow, step, 0).map(|(params, _)| params)
        };
        assert_eq!(params("b"), Some(json!({ "ok": false, "key": "${secrets.KEY}" })));
        assert_eq!(params("c"), Some(json!({ "ok": false })));
        assert_eq!(params("d"), None, "nobody knows what c would say");
        assert_eq!(params("group"), None);
    }
}
