//! What must fit together in a workflow: names, order, references.

mod graph;
mod input;
mod needs;
mod reach;
mod references;
mod scope;
mod sites;
pub(crate) mod types;

use std::collections::{HashMap, HashSet};

use self::graph::Ancestors;
use self::sites::Rules;
use crate::Problem;
use crate::expr::{Condition, Template, mend};
use crate::parse::document::{Kind as NodeKind, Node};
use crate::parse::draft::Draft;
use crate::problem::{PatchOperation, nearest};

/// Names that mean something of their own at the top level of an expression.
const ROOTS: [&str; 4] = ["input", "steps", "execution", "repo"];

/// Names that are known in some places, or that are functions: nothing else may have them.
const TAKEN: [&str; 11] = [
    "error", "status", "result", "vars", "item", "index", "now", "default", "true", "false",
    "secrets",
];

/// For how many unknown names the nearest ones are looked up; with more, the document is another one altogether.
const MAX_LOOKUPS: usize = 50;

/// Checks a draft and finds, for each step, the steps that it needs.
pub(crate) fn check(draft: &Draft, root: &Node, problems: &mut Vec<Problem>) -> Vec<Vec<usize>> {
    let mut checker = Checker::new(draft, root, problems);
    checker.duplicate_names();
    checker.assigned_names();
    checker.element_names();
    let needs = checker.needs();
    let cycles = graph::cycles(&needs);
    for cycle in &cycles {
        checker.cycle(cycle);
    }
    // With a cycle every step of it would be its own ancestor.
    let lists = draft.lists.iter().map(|list| list.steps.as_slice());
    checker.ancestors = cycles.is_empty().then(|| Ancestors::of(&needs, lists));
    checker.references();
    checker.unreachable(&needs);
    checker.nested_locks();
    checker.endless_recursion();
    needs
}

struct Checker<'c> {
    draft: &'c Draft,
    root: &'c Node,
    problems: &'c mut Vec<Problem>,
    /// The index of each step.
    steps: HashMap<&'c str, usize>,
    /// The index of the step that assigns each name.
    assigned: HashMap<&'c str, usize>,
    /// The steps with a need that does not exist: what they may use is not known.
    unsettled: HashSet<usize>,
    /// What has ended before each step; `None` where steps wait for one another.
    ancestors: Option<Ancestors>,
    lookups: usize,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Site<'a> {
    pointer: &'a str,
    position: Position,
    rules: Rules,
}

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Position {
    /// Before anything has run.
    Start,
    /// With a step.
    Step(usize),
    /// After everything.
    End,
}

impl<'c> Checker<'c> {
    fn new(draft: &'c Draft, root: &'c Node, problems: &'c mut Vec<Problem>) -> Checker<'c> {
        let names = draft.steps.iter().enumerate();
        let steps = names.filter_map(|(index, step)| Some((step.name.as_deref()?, index)));
        // The first of two steps with one name counts.
        let steps = steps.rev().collect();
        let names = draft.steps.iter().enumerate();
        let assigned = names.filter_map(|(index, step)| Some((step.assign.as_deref()?, index)));
        let assigned = assigned.rev().collect();
        let unsettled = HashSet::new();
        Checker { draft, root, problems, steps, assigned, unsettled, ancestors: None, lookups: 0 }
    }

    /// Reports a problem at the place of its pointer.
    fn report(&mut self, problem: Problem) {
        let place = self.root.place_of(&problem.pointer);
        self.problems.push(Problem { line: place.line, column: place.column, ..problem });
    }

    fn step_name(&self, index: usize) -> &'c str {
        self.draft.steps[index].name.as_deref().unwrap_or("?")
    }

    /// The JSON Pointer of a key of a step.
    fn below(&self, step: usize, key: &str) -> String {
        format!("{}/{key}", self.draft.steps[step].pointer)
    }

    /// The names of steps that are close to a wrong one.
    fn near_steps(&mut self, name: &str) -> Vec<&'c str> {
        self.lookups += 1;
        if MAX_LOOKUPS < self.lookups {
            return Vec::new();
        }
        nearest(name, self.draft.steps.iter().filter_map(|step| step.name.as_deref()))
    }

    /// The patch that replaces paths in the text at a pointer; empty when none of them stands there.
    fn rewritten(&self, pointer: &str, pairs: &[(String, String)]) -> Vec<PatchOperation> {
        let Some(NodeKind::Scalar(text)) = self.root.at(pointer).map(|node| &node.kind) else {
            return Vec::new();
        };
        let Some(text) = text.as_str() else { return Vec::new() };
        let mut meant = text.to_owned();
        for (wrong, right) in pairs {
            meant = mend::replaced(&meant, wrong, right).unwrap_or(meant);
        }
        let value = serde_json::Value::from(meant.as_str());
        let compiles = Condition::compile(&meant).is_ok() || Template::compile(&value).is_ok();
        match compiles && meant != text {
            true => vec![PatchOperation::Replace { path: pointer.to_owned(), value }],
            false => Vec::new(),
        }
    }

    fn duplicate_names(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(name) = step.name.as_deref() else { continue };
            let first = self.steps.get(name).copied().unwrap_or(index);
            if first != index {
                let line = self.root.place_of(&self.below(first, "name")).line;
                let message = format!(
                    "there is already a step `{name}`, in line {line}; names are unique at all depths"
                );
                self.report(Problem {
                    found: Some(name.to_owned()),
                    ..Problem::new("duplicate_name", self.below(index, "name"), message)
                });
            }
        }
    }

    fn assigned_names(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(name) = step.assign.as_deref() else { continue };
            if let Some((code, message)) = self.taken(index, name) {
                self.report(Problem {
                    suggestion: Some(format!("{name}_result")),
                    found: Some(name.to_owned()),
                    ..Problem::new(code, self.below(index, "assign"), message)
                });
            }
        }
    }

    /// Why a step may not assign a name.
    fn taken(&self, index: usize, name: &str) -> Option<(&'static str, String)> {
        if ROOTS.contains(&name) || TAKEN.contains(&name) {
            let message = format!("`{name}` has a meaning of its own in expressions");
            return Some(("reserved_name", message));
        }
        if self.steps.get(name).is_some_and(|step| *step != index) {
            let message = format!("`{name}` is the name of another step");
            return Some(("duplicate_name", message));
        }
        let first = self.assigned.get(name).copied().unwrap_or(index);
        (first != index).then(|| {
            let message = format!("step `{}` already assigns `{name}`", self.step_name(first));
            ("duplicate_name", message)
        })
    }

    /// The names that `as` gives to elements.
    fn element_names(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(name) = step.for_each.as_ref().map(|each| each.variable.as_str()) else {
                continue;
            };
            let declared = self.draft.vars.iter().any(|(var, _)| var == name);
            let message = if name == "item" {
                continue;
            } else if ROOTS.contains(&name) || TAKEN.contains(&name) {
                format!("`{name}` has a meaning of its own in expressions")
            } else if let Some(step) = self.assigned.get(name) {
                format!("step `{}` assigns `{name}`", self.step_name(*step))
            } else if declared {
                format!("`{name}` is one of the `vars`")
            } else {
                continue;
            };
            self.report(Problem {
                suggestion: Some(format!("{name}_item")),
                found: Some(name.to_owned()),
                ..Problem::new("reserved_name", self.below(index, "as"), message)
            });
        }
    }
}

#[cfg(test)]
mod tests;
