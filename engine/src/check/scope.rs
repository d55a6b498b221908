//! Which results can be seen from where.

use super::{Checker, Position};
use crate::parse::steps::ListOf;
use crate::workflow::Kind;

/// What a step knows about the result of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum View {
    /// The other one has ended, or never will.
    Ended,
    /// It is one of many instances, which the results of this `forEach` hold.
    Behind(usize),
    /// What is seen is the iteration before, of which the first has none.
    IterationBefore,
    /// It is the step itself.
    Itself,
    /// It holds the step.
    Around,
    /// The step holds it, and begins first.
    Within,
    /// It runs in the other branch of this group.
    OtherBranch(usize),
    /// It runs after the step. The two that stand in one list.
    After(usize, usize),
    /// Nothing says which comes first. The two that stand in one list.
    Beside(usize, usize),
    /// It runs when the execution has ended otherwise.
    Handler,
}

/// Which part of a loop an expression belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Inside {
    /// None: it is evaluated before the step begins, or has nothing to do with a loop.
    #[default]
    No,
    /// Asked before each iteration.
    While,
    /// Asked after each iteration.
    Until,
}

impl Checker<'_> {
    /// A step and the groups around it, the innermost first.
    pub(super) fn chain(&self, step: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(step), |step| self.draft.steps[*step].parent)
    }

    /// The outermost group around a step, or the step itself.
    pub(super) fn top(&self, step: usize) -> usize {
        self.chain(step).last().unwrap_or(step)
    }

    fn list_of(&self, step: usize) -> ListOf {
        self.draft.lists[self.draft.steps[step].list].of
    }

    /// Which of the document's own lists a step is in, at some depth.
    pub(super) fn phase(&self, step: usize) -> ListOf {
        self.list_of(self.top(step))
    }

    fn is_loop(&self, step: usize) -> bool {
        matches!(&self.draft.steps[step].kind, Some(Kind::Group(group)) if group.repeat.is_some())
    }

    fn is_each(&self, step: usize) -> bool {
        self.draft.steps[step].for_each.is_some()
    }

    /// The step that holds another as what it repeats, not as its `else`.
    fn repeats(&self, step: usize) -> Option<usize> {
        match self.list_of(step) {
            ListOf::Content(group) => Some(group),
            _ => None,
        }
    }

    /// The names that a `forEach` or a loop around brings; `own` when that of the step itself counts.
    pub(super) fn variables(&self, step: usize, own: bool, inside: Inside) -> Vec<&str> {
        let mut names = Vec::new();
        for (depth, at) in self.chain(step).enumerate() {
            if let Some(each) = &self.draft.steps[at].for_each
                && (own || 0 < depth)
            {
                names.extend([each.variable.as_str(), "index"]);
            }
            let above = self.repeats(at).is_some_and(|group| self.is_loop(group));
            if above || depth == 0 && inside != Inside::No {
                names.push("index");
            }
        }
        names
    }

    /// What can be seen of a step; `None` where the order is not known because of another problem.
    pub(super) fn view(&self, position: Position, inside: Inside, other: usize) -> Option<View> {
        let from = match position {
            // Nothing has run; whoever asks has said so already.
            Position::Start => return None,
            Position::End if self.phase(other) == ListOf::Main => {
                return Some(self.ended(other, None));
            }
            Position::End => return Some(View::Handler),
            Position::Step(from) => from,
        };
        let list = |step: usize| self.draft.steps[step].list;
        let meeting = self.chain(other).find_map(|theirs| {
            let ours = self.chain(from).find(|ours| list(*ours) == list(theirs))?;
            Some((ours, theirs))
        });
        let Some((ours, theirs)) = meeting else {
            return Some(match self.phase(other) {
                ListOf::Main => self.ended(other, None),
                _ => View::Handler,
            });
        };
        if ours == theirs {
            return Some(self.along(from, inside, other, ours));
        }
        let ancestors = self.ancestors.as_ref()?;
        if ancestors.contains(ours, theirs) {
            return Some(self.ended(other, self.draft.steps[theirs].parent));
        }
        if self.chain(from).any(|step| self.unsettled.contains(&step))
            || self.unsettled.contains(&theirs)
        {
            return None;
        }
        if !ancestors.contains(theirs, ours) {
            return Some(View::Beside(ours, theirs));
        }
        Some(self.before(ours, other, View::After(ours, theirs)))
    }

    /// One of the two holds the other, or they are in two branches of one group.
    fn along(&self, from: usize, inside: Inside, other: usize, meeting: usize) -> View {
        if from == meeting && other != from {
            return match (inside, self.ended(other, Some(from))) {
                (Inside::Until, view) => view,
                (Inside::While, View::Ended) => View::IterationBefore,
                (Inside::While, view) => view,
                (Inside::No, _) => self.before(from, other, View::Within),
            };
        }
        let otherwise = match (from == other, other == meeting) {
            (true, _) => View::Itself,
            (false, true) => View::Around,
            (false, false) => View::OtherBranch(meeting),
        };
        self.before(meeting, other, otherwise)
    }

    /// A step that has ended can be seen unless it has many instances; up to the group that both are in.
    fn ended(&self, other: usize, up_to: Option<usize>) -> View {
        let groups = self.chain(other).skip(1).take_while(|group| Some(*group) != up_to);
        match groups.filter(|group| self.is_each(*group)).last() {
            Some(each) => View::Behind(each),
            None => View::Ended,
        }
    }

    /// What has not ended in this iteration of a loop around may have ended in the one before.
    fn before(&self, meeting: usize, other: usize, otherwise: View) -> View {
        let mut at = meeting;
        while let Some(group) = self.draft.steps[at].parent {
            if self.repeats(at) == Some(group) && self.is_loop(group) {
                let up_to = self.draft.steps[meeting].parent;
                return match self.ended(other, up_to) {
                    View::Ended => View::IterationBefore,
                    view => view,
                };
            }
            if self.is_each(group) {
                break;
            }
            at = group;
        }
        otherwise
    }
}
