//! One workflow that is played through: the planned one, or one that a step of it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use windlass_engine::{Event, Kind, Origin, Origins, State, Workflow};

/// One workflow that is played through.
pub(super) struct Level {
    pub(super) workflow: Arc<Workflow>,
    pub(super) state: State,
    pub(super) id: String,
    /// What its steps' paths begin with in the plan.
    pub(super) prefix: String,
    /// How many workflows are above it.
    pub(super) depth: usize,
    /// The steps whose result was supposed, each with the names of those who are to blame.
    pub(super) supposed: BTreeMap<usize, BTreeSet<String>>,
    /// What its input derives from.
    pub(super) given: Sources,
    /// What decides whether it runs at all.
    pub(super) above: BTreeSet<String>,
    /// The steps that began.
    pub(super) reached: BTreeSet<usize>,
}

/// What something derives from that is only supposed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sources {
    /// The paths of steps.
    pub(super) stubs: BTreeSet<String>,
    /// Whether the clock or the execution's own id is part of it, which are others when it runs.
    pub(super) moves: bool,
}

impl Sources {
    pub(super) fn is_known(&self) -> bool {
        self.stubs.is_empty() && !self.moves
    }

    fn add(&mut self, other: Sources) {
        self.stubs.extend(other.stubs);
        self.moves |= other.moves;
    }
}

impl Level {
    pub(super) fn origins(&self) -> Origins<'_> {
        Origins::of(&self.workflow)
    }

    /// Those of the origins that are supposed.
    pub(super) fn supposed(&self, origins: &BTreeSet<Origin>) -> Sources {
        let mut sources = Sources::default();
        for origin in origins {
            match origin {
                Origin::Step(step) => {
                    let stubs = self.supposed.get(step).into_iter().flatten().cloned();
                    sources.stubs.extend(stubs);
                }
                Origin::Input => sources.add(self.given.clone()),
                Origin::Execution | Origin::Clock => sources.moves = true,
            }
        }
        sources
    }

    /// Where in the params of a step something is supposed, and all that it is.
    pub(super) fn params(&self, step: usize) -> (Vec<String>, Sources) {
        let (mut places, mut all) = (Vec::new(), Sources::default());
        for (pointer, origins) in self.origins().params(step) {
            let sources = self.supposed(&origins);
            if !sources.is_known() {
                places.push(pointer);
            }
            all.add(sources);
        }
        (places, all)
    }

    /// What decides whether a step runs, and is supposed.
    pub(super) fn control(&self, step: usize) -> BTreeSet<String> {
        let mut stubs = self.supposed(&self.origins().control(step)).stubs;
        stubs.extend(self.above.iter().cloned());
        stubs
    }

    /// Tells the engine what to take for granted: nobody knows yet whether a supposed result is what is expected of it,
    /// or how often a loop goes round that asks for one. The loops that this is true of for the first time.
    pub(super) fn suppose(&mut self) {
        let (mut satisfied, mut single) = (Vec::new(), Vec::new());
        let origins = self.origins();
        for (step, definition) in self.workflow.steps.iter().enumerate() {
            let is_supposed = |of: BTreeSet<Origin>| !self.supposed(&of).stubs.is_empty();
            if definition.expect.is_some() && is_supposed(origins.expectation(step)) {
                satisfied.push(step);
            }
            let is_loop = matches!(&definition.kind, Kind::Group(group) if group.repeat.is_some());
            if is_loop && is_supposed(origins.repetition(step)) {
                single.push(step);
            }
        }
        satisfied.into_iter().for_each(|step| self.state.suppose_satisfied(step));
        single.into_iter().for_each(|step| self.state.suppose_single(step));
    }

    /// The definition that a path in the history is about.
    pub(super) fn definition(&self, path: &str) -> Option<usize> {
        let step = self.workflow.step_at(path)?;
        self.workflow.steps.iter().position(|known| known.name == step.name)
    }

    /// The path as the plan has it.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The path of a step that did not begin.
    pub(super) fn path_of(&self, step: usize) -> String {
        let steps = &self.workflow.steps;
        let parents = std::iter::successors(Some(step), |step| steps[*step].parent);
        let mut names: Vec<&str> = parents.map(|step| steps[step].name.as_str()).collect();
        names.reverse();
        self.path(&names.join("/"))
    }

    /// Whether a step is part of the document's own list, and not of a handler.
    pub(super) fn is_main(&self, step: usize) -> bool {
        let steps = &self.workflow.steps;
        let top = std::iter::successors(Some(step), |step| steps[*step].parent).last();
        top.is_some_and(|top| self.workflow.main.contains(&top))
    }

    /// Takes note of the steps that begin.
    pub(super) fn reach(&mut self, event: &Event) {
        let begins = matches!(
            event,
            Event::AttemptStarted { .. }
                | Event::RequestOpened { .. }
                | Event::WaitStarted { .. }
                | Event::StopReached { .. }
                | Event::StepCompleted { .. }
                | Event::StepFailed { .. }
        );
        let step = event.step().filter(|_| begins).and_then(|path| self.definition(path));
        self.reached.extend(step);
    }
}
