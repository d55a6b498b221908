//! An execution's steps as a tree: what groups, loops and lists hold stands under them.

use std::collections::{BTreeMap, HashSet};

use super::{
    steps::{said, sign},
    terminal::dim,
};
use crate::{
    app::{Execution, StepView},
    clock,
};

/// Of more instances than this, only those are shown that something is the matter with.
const INSTANCES: usize = 12;

/// A line of the tree, before the columns are lined up.
struct Line<'e> {
    depth: usize,
    label: String,
    step: &'e StepView,
}

/// Every step, one line each, and how many are left out.
pub(super) fn lines(execution: &Execution) -> Vec<String> {
    let now = clock::now();
    let shown = shown(execution);
    let paths: HashSet<&str> = shown.iter().map(|step| step.name.as_str()).collect();
    let lines: Vec<Line<'_>> = shown.iter().map(|step| line(step, &paths)).collect();
    let wide = |line: &Line<'_>| 2 * line.depth + line.label.chars().count();
    let width = lines.iter().map(wide).max().unwrap_or_default();
    let text = |line: &Line<'_>| {
        let indent = "  ".repeat(line.depth);
        let label = format!("{:<rest$}", line.label, rest = width - indent.len());
        let said = [said(line.step, now), counts(&line.step.instances)];
        let said: Vec<&str> = said.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        let text = format!("{indent}{} {label}  {}", sign(&line.step.status), said.join("  "));
        text.trim_end().to_owned()
    };
    let mut texts: Vec<String> = lines.iter().map(text).collect();
    let more = execution.steps.len() - shown.len() + execution.more_steps;
    if 0 < more {
        texts.push(dim(&format!(
            "… and {more} more; those that something is the matter with come first"
        )));
    }
    texts
}

/// All of them; where one list has many instances, those that something is the matter with.
fn shown(execution: &Execution) -> Vec<&StepView> {
    let crowded: HashSet<&str> = execution
        .steps
        .iter()
        .filter(|step| INSTANCES < step.instances.values().sum())
        .map(|step| step.name.as_str())
        .collect();
    let is_fine = |step: &StepView| matches!(step.status.as_str(), "completed" | "skipped");
    let is_crowd = |step: &StepView| {
        step.name.match_indices('[').any(|(at, _)| crowded.contains(&step.name[..at]))
    };
    // What is in an instance that failed says why, whatever became of itself.
    let troubled: HashSet<&str> = execution
        .steps
        .iter()
        .filter(|step| !is_fine(step))
        .map(|step| step.name.as_str())
        .collect();
    let in_trouble = |step: &StepView| {
        step.name
            .match_indices('/')
            .any(|(at, _)| step.name[..at].ends_with(']') && troubled.contains(&step.name[..at]))
    };
    let is_shown = |step: &&StepView| !is_crowd(step) || !is_fine(step) || in_trouble(step);
    execution.steps.iter().filter(is_shown).collect()
}

/// A step under the nearest of those that hold it.
fn line<'e>(step: &'e StepView, paths: &HashSet<&str>) -> Line<'e> {
    let mut depth = 0;
    let mut label = step.name.as_str();
    let mut path = step.name.as_str();
    while let Some(above) = above(path, paths) {
        if depth == 0 {
            label = &step.name[above.len()..];
        }
        depth += 1;
        path = above;
    }
    let label = label.trim_start_matches(['/', '.']).replacen("]/", "] ", 1);
    Line { depth, label, step }
}

/// The longest beginning of a path that is a path of the tree.
fn above<'p>(path: &'p str, paths: &HashSet<&str>) -> Option<&'p str> {
    let ends = path.rmatch_indices(['/', '[', '.']).map(|(at, _)| &path[..at]);
    let mut ends = ends.filter(|end| !end.is_empty());
    ends.find(|end| paths.contains(end))
}

/// `3 completed, 1 failed`
fn counts(instances: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> =
        instances.iter().map(|(status, count)| format!("{count} {status}")).collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(steps: &[(&str, &str)]) -> Execution {
        let steps = steps.iter().map(|(name, status)| StepView {
            name: (*name).into(),
            status: (*status).into(),
            ..StepView::default()
        });
        Execution { steps: steps.collect(), ..Execution::default() }
    }

    #[test]
    fn what_groups_loops_and_lists_hold_stands_under_them() {
        let execution = execution(&[
            ("check", "completed"),
            ("check/health", "completed"),
            ("check/health.verify", "completed"),
            ("fan", "completed"),
            ("fan[0]", "completed"),
            ("fan[0]/a", "completed"),
            ("poll", "completed"),
            ("poll[0]/look", "completed"),
            ("end", "completed"),
        ]);
        assert_eq!(
            lines(&execution),
            [
                "✓ check",
                "  ✓ health",
                "    ✓ verify",
                "✓ fan",
                "  ✓ [0]",
                "    ✓ a",
                "✓ poll",
                "  ✓ [0] look",
                "✓ end",
            ]
        );
    }

    #[test]
    fn of_many_instances_those_are_shown_that_something_is_the_matter_with() {
        let names: Vec<String> = (0..20).map(|number| format!("fan[{number}]")).collect();
        let mut steps = vec![("fan", "running")];
        steps.extend(names.iter().map(|name| (name.as_str(), "completed")));
        steps.extend([("fan[20]", "failed"), ("fan[20]/a", "completed")]);
        let mut execution = execution(&steps);
        execution.steps[0].instances =
            BTreeMap::from([("completed".into(), 20), ("failed".into(), 1)]);
        assert_eq!(
            lines(&execution),
            [
                "… fan     20 completed, 1 failed",
                "  ✗ [20]  failed",
                "    ✓ a",
                "… and 20 more; those that something is the matter with come first",
            ]
        );
    }
}
