//! What expressions see of a state, from the place where they stand.

use serde_json::Value;

use super::{Role, State, StepState, StepStatus};
use crate::{Workflow, expr::Root};

/// The place where an expression stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'v> {
    /// The step it belongs to.
    pub(crate) record: Option<usize>,
    /// The frame whose steps it sees first.
    pub(crate) frame: usize,
    /// `result`
    pub(crate) result: Option<&'v Value>,
    /// The element of an instance that has no record yet, with its number.
    pub(crate) item: Option<(usize, &'v Value, &'v Value)>,
    /// The number of the iteration that would begin, for what is asked before it.
    pub(crate) iteration: Option<&'v Value>,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
}

/// What expressions see of a state.
pub(crate) struct StateNames<'s> {
    pub(super) workflow: &'s Workflow,
    pub(super) state: &'s State,
    pub(super) scope: Scope<'s>,
}

/// What became of a step that an expression names.
enum Found<'s> {
    Record(&'s StepState),
    /// It was done in another execution, as part of something that is known by its result alone.
    Value(&'s Value),
    /// What holds it has ended without it.
    Skipped,
    Nothing,
}

impl State {
    /// What expressions see from a place.
    pub(crate) fn names<'s>(&'s self, workflow: &'s Workflow, scope: Scope<'s>) -> StateNames<'s> {
        StateNames { workflow, state: self, scope }
    }

    /// The place of a step.
    pub(crate) fn scope_of(&self, record: usize, now: i64) -> Scope<'static> {
        let frame = self.record(record).frame;
        Scope { record: Some(record), frame, result: None, item: None, iteration: None, now }
    }

    /// The place of what is asked about a whole frame.
    pub(crate) fn scope_in(&self, frame: usize, now: i64) -> Scope<'static> {
        Scope { record: None, frame, result: None, item: None, iteration: None, now }
    }
}

impl StateNames<'_> {
    /// Whether a reference begins at the result of a step that was skipped.
    pub(crate) fn was_skipped(&self, root: &Root) -> bool {
        let found = match root {
            Root::Step(name) => self.find(name),
            Root::Name(name) => match self.state.assigned.get(name) {
                Some(definition) => self.find_definition(*definition),
                None => return false,
            },
            Root::Status(_) | Root::Error(_) => return false,
        };
        match found {
            Found::Record(step) => step.status == StepStatus::Skipped,
            Found::Skipped => true,
            Found::Value(_) | Found::Nothing => false,
        }
    }

    fn find(&self, name: &str) -> Found<'_> {
        // The commonest case: it is in the same list, or in one around it.
        for frame in self.frames() {
            let Some(list) = self.state.frame(frame) else { continue };
            if list.each.is_some() {
                continue;
            }
            let path = format!("{}{name}", list.prefix);
            if let Some(id) = self.state.record_at(&path) {
                return Found::Record(self.state.record(self.with_result(id, frame)));
            }
        }
        let definition = self.workflow.steps.iter().position(|step| step.name == name);
        definition.map_or(Found::Nothing, |definition| self.descend(definition))
    }

    fn find_definition(&self, definition: usize) -> Found<'_> {
        self.find(&self.workflow.steps[definition].name)
    }

    /// In a loop's body, at any depth, a step that has not ended in this iteration stands for the one before.
    fn with_result(&self, id: usize, frame: usize) -> usize {
        // What is asked before the first iteration of a loop sees nothing of the loop.
        let is_asked_about = self.scope.iteration.is_some() && self.scope.record == Some(id);
        if self.state.record(id).status.is_final() || is_asked_about {
            return id;
        }
        self.iteration_before(id, frame).unwrap_or(id)
    }

    /// The same step in the iteration before, of the innermost loop around; the instances of a list have none.
    fn iteration_before(&self, id: usize, frame: usize) -> Option<usize> {
        let mut at = frame;
        loop {
            let list = self.state.frame(at).filter(|list| list.each.is_none())?;
            let owner = self.state.record(list.owner?);
            if list.iteration.is_none() {
                at = owner.frame;
                continue;
            }
            let before = owner.previous.filter(|_| owner.inner == Some(at))?;
            let before = &self.state.frame(before)?.prefix;
            let inside = self.state.record(id).path.strip_prefix(&*list.prefix)?;
            return self.state.record_at(&format!("{before}{inside}"));
        }
    }

    /// Finds a step inside groups that are seen from here.
    fn descend(&self, definition: usize) -> Found<'_> {
        let steps = &self.workflow.steps;
        let mut chain = vec![definition];
        while let Some(parent) = steps[*chain.last().unwrap_or(&definition)].parent {
            chain.push(parent);
        }
        for frame in self.frames() {
            let Some(list) = self.state.frame(frame) else { continue };
            for (depth, holder) in chain.iter().enumerate().skip(1) {
                let path = format!("{}{}", list.prefix, steps[*holder].name);
                if let Some(id) = self.state.record_at(&path) {
                    return self.below(self.with_result(id, frame), &chain[..depth]);
                }
            }
        }
        Found::Nothing
    }

    /// Goes down from a group along the definitions that hold one another, the innermost first.
    fn below(&self, mut id: usize, chain: &[usize]) -> Found<'_> {
        for (place, definition) in chain.iter().enumerate().rev() {
            let step = self.state.record(id);
            if step.reused_from.is_some() {
                return self.in_result(step, &chain[..=place]);
            }
            let inner = step.inner.and_then(|frame| self.state.frame(frame));
            let name = &self.workflow.steps[*definition].name;
            let next = inner
                .filter(|frame| frame.each.is_none())
                .and_then(|frame| self.state.record_at(&format!("{}{name}", frame.prefix)));
            match next {
                Some(next) => id = next,
                None if step.status.is_final() => return Found::Skipped,
                None => return Found::Nothing,
            }
        }
        Found::Record(self.state.record(id))
    }

    /// What a group that was done elsewhere resulted in holds the results of its steps by their names.
    fn in_result<'r>(&self, step: &'r StepState, chain: &[usize]) -> Found<'r> {
        let steps = &self.workflow.steps;
        let is_list = steps[step.definition].for_each.is_some();
        let mut found = step.output.as_deref().filter(|_| !is_list);
        for definition in chain.iter().rev() {
            found = found.and_then(|value| value.get(&steps[*definition].name));
        }
        found.map_or(Found::Skipped, Found::Value)
    }

    /// The frames that are seen, the innermost first.
    fn frames(&self) -> impl Iterator<Item = usize> {
        let owner_frame = |frame: &usize| {
            let owner = self.state.frame(*frame)?.owner?;
            Some(self.state.record(owner).frame)
        };
        // Handlers see the document's own list, too.
        let handlers = (self.state.root != 0).then_some(0);
        std::iter::successors(Some(self.scope.frame), owner_frame).chain(handlers)
    }

    /// The steps that hold the place, the innermost first; and the step itself before them.
    fn holders(&self) -> impl Iterator<Item = usize> {
        let holder = |id: &usize| self.state.frame(self.state.record(*id).frame)?.owner;
        let first = self.scope.record;
        let first = first.or_else(|| self.state.frame(self.scope.frame)?.owner);
        std::iter::successors(first, holder)
    }

    /// `item`, or what `as` calls it; or `index`.
    fn of_instance(&self, name: &str) -> Option<&Value> {
        let variable = |definition: usize| {
            let each = self.workflow.steps[definition].for_each.as_ref();
            each.is_some_and(|each| each.variable == name)
        };
        if let Some((definition, item, number)) = self.scope.item {
            if name == "index" {
                return Some(number);
            }
            if variable(definition) {
                return Some(item);
            }
        }
        if name == "index" {
            return self.scope.iteration.or_else(|| self.index());
        }
        self.holders().find_map(|id| {
            let step = self.state.record(id);
            let Role::Instance(number) = step.role else { return None };
            let each = self.state.frame(step.frame)?.each.as_ref()?;
            variable(step.definition).then(|| each.items.get(number))?
        })
    }

    /// The number of the innermost instance or iteration.
    fn index(&self) -> Option<&Value> {
        let mut frame = self.scope.frame;
        if let Some(number) = self.scope.record.and_then(|id| self.state.record(id).number.as_ref())
        {
            return Some(number);
        }
        loop {
            let list = self.state.frame(frame)?;
            if let Some((_, number)) = &list.iteration {
                return Some(number);
            }
            let owner = self.state.record(list.owner?);
            if let Some(number) = &owner.number {
                return Some(number);
            }
            frame = owner.frame;
        }
    }
}

impl crate::expr::Names for StateNames<'_> {
    fn name(&self, name: &str) -> Option<&Value> {
        match name {
            "input" => Some(&self.state.input),
            "execution" => Some(&self.state.execution),
            "repo" => self.state.input.get("repo"),
            "vars" => self.state.vars.as_ref(),
            "error" => self.state.error.as_ref(),
            "result" => self.scope.result,
            name => self.of_instance(name).or_else(|| {
                let definition = *self.state.assigned.get(name)?;
                match self.find_definition(definition) {
                    Found::Record(step) => step.output.as_deref(),
                    Found::Value(value) => Some(value),
                    Found::Skipped | Found::Nothing => None,
                }
            }),
        }
    }

    fn step(&self, name: &str) -> Option<&Value> {
        match self.find(name) {
            Found::Record(step) => step.output.as_deref(),
            Found::Value(value) => Some(value),
            Found::Skipped | Found::Nothing => None,
        }
    }

    fn status(&self, step: &str) -> Option<&str> {
        match self.find(step) {
            Found::Record(step) => Some(step.status.as_str()),
            Found::Value(_) => Some(StepStatus::Completed.as_str()),
            Found::Skipped => Some(StepStatus::Skipped.as_str()),
            Found::Nothing => self.workflow.step(step).map(|_| StepStatus::Pending.as_str()),
        }
    }

    fn error(&self, step: &str) -> Option<&Value> {
        match self.find(step) {
            Found::Record(step) => step.error_value.as_ref(),
            Found::Value(_) | Found::Skipped | Found::Nothing => None,
        }
    }

    fn now(&self) -> i64 {
        self.scope.now
    }
}
