//! What must end before a step begins.

use super::Checker;
use crate::Problem;
use crate::parse::did_you_mean;
use crate::parse::steps::{DraftStep, ListOf};
use crate::problem::PatchOperation;

/// How many names an error lists.
const SHOWN: usize = 10;

impl Checker<'_> {
    /// For each step, the steps that it needs.
    pub(super) fn needs(&mut self) -> Vec<Vec<usize>> {
        let mut before = vec![None; self.draft.steps.len()];
        for list in self.draft.lists.iter().filter(|list| !list.parallel) {
            list.steps.windows(2).for_each(|pair| before[pair[1]] = Some(pair[0]));
        }
        let steps = self.draft.steps.iter().enumerate();
        steps.map(|(index, step)| self.needs_of(index, step, before[index])).collect()
    }

    fn needs_of(&mut self, index: usize, step: &DraftStep, before: Option<usize>) -> Vec<usize> {
        let Some(names) = &step.needs else {
            // Left out: the step before it in the list; in a parallel group, nothing.
            return before.into_iter().collect();
        };
        let mut needs: Vec<usize> = Vec::with_capacity(names.len());
        let mut seen = std::collections::HashSet::new();
        for (place, name) in names.iter().enumerate() {
            let Some(name) = name.as_deref() else { continue };
            let pointer = self.below(index, &format!("needs/{place}"));
            match self.steps.get(name).copied() {
                Some(needed) if needed == index => {
                    let message = format!("step `{name}` cannot need itself");
                    let patch = vec![PatchOperation::Remove { path: pointer.clone() }];
                    self.report(Problem {
                        patch,
                        ..Problem::new("needs_itself", pointer, message)
                    });
                }
                Some(needed) if self.draft.steps[needed].list != step.list => {
                    self.unsettled.insert(index);
                    self.other_list(index, needed, pointer);
                }
                Some(needed) => {
                    if seen.insert(needed) {
                        needs.push(needed);
                    }
                }
                None => {
                    self.unsettled.insert(index);
                    self.unknown_need(index, name, pointer);
                }
            }
        }
        needs
    }

    fn unknown_need(&mut self, index: usize, name: &str, pointer: String) {
        let near = self.near_steps(name);
        let list = &self.draft.lists[self.draft.steps[index].list];
        let same = |name: &&str| self.steps.get(name).is_some_and(|step| list.steps.contains(step));
        let (mut near, others): (Vec<&str>, Vec<&str>) = near.into_iter().partition(same);
        near.extend(others);
        let message = match near.is_empty() {
            false => format!("there is no step `{name}`"),
            true => {
                let others = list.steps.iter().filter(|step| **step != index);
                let names = others.map(|step| self.step_name(*step));
                format!("there is no step `{name}`; this list has {}", some(names))
            }
        };
        let replace =
            |name: &&str| PatchOperation::Replace { path: pointer.clone(), value: (*name).into() };
        self.report(Problem {
            suggestion: near.first().map(|name| did_you_mean(name)),
            patch: near.first().map(replace).into_iter().collect(),
            nearest: near.into_iter().map(str::to_owned).collect(),
            found: Some(name.to_owned()),
            ..Problem::new("unknown_step", pointer.as_str(), message)
        });
    }

    /// A step may need only steps of its own list.
    fn other_list(&mut self, index: usize, needed: usize, pointer: String) {
        let (step, other) = (self.step_name(index), self.step_name(needed));
        let list = self.draft.steps[index].list;
        let same = self.chain(needed).find(|above| self.draft.steps[*above].list == list);
        let root = |step: usize| self.draft.lists[self.draft.steps[self.top(step)].list].of;
        let remove = || vec![PatchOperation::Remove { path: pointer.clone() }];
        let (reason, suggestion, patch) = match same {
            Some(group) if group == index => {
                (format!("`{other}` is inside of `{step}` itself"), None, remove())
            }
            Some(group) => {
                let group = self.step_name(group);
                let replace =
                    PatchOperation::Replace { path: pointer.clone(), value: group.into() };
                let reason = format!("`{other}` is inside of `{group}`: need `{group}`");
                (reason, Some(did_you_mean(group)), vec![replace])
            }
            None if root(index) != root(needed) && root(needed) == ListOf::Main => (
                format!("`{other}` has ended, or never will, before a handler runs"),
                None,
                remove(),
            ),
            None => (
                format!("`{other}` is in another list; a step begins with the group that holds it"),
                None,
                Vec::new(),
            ),
        };
        let message = format!("`needs` names steps of the same list only, and {reason}");
        self.report(Problem {
            suggestion,
            patch,
            found: Some(other.to_owned()),
            ..Problem::new("other_list", pointer.as_str(), message)
        });
    }

    pub(super) fn cycle(&mut self, cycle: &[usize]) {
        let Some(first) = cycle.first().copied() else { return };
        let names: Vec<&str> = cycle.iter().map(|index| self.step_name(*index)).collect();
        let message = format!(
            "these steps wait for one another: {} → {}; remove one of the needs",
            names.join(" → "),
            self.step_name(first)
        );
        self.report(Problem::new("cycle", self.below(first, "needs"), message));
    }
}

/// Some names, for a message.
pub(super) fn some<'n>(names: impl Iterator<Item = &'n str>) -> String {
    // One more than is shown tells whether there are more.
    let names: Vec<&str> = names.take(SHOWN + 1).collect();
    match names.get(..SHOWN) {
        _ if names.is_empty() => "no other step".to_owned(),
        Some(shown) if SHOWN < names.len() => format!("{}, …", shown.join(", ")),
        _ => names.join(", "),
    }
}
