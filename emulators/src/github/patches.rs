//! What differs between two texts, written as a patch with three lines around each change.

use std::collections::BTreeSet;

const AROUND: usize = 3;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Kept(&'a str),
    Removed(&'a str),
    Added(&'a str),
}

/// The hunks that turn one text into another; nothing when they are the same.
pub(super) fn patch(before: &str, after: &str) -> Option<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let lines = script(&before, &after);
    let changed = |line: &Line<'_>| !matches!(line, Line::Kept(_));
    let near = |index: usize| {
        let start = index.saturating_sub(AROUND);
        let end = (index + AROUND + 1).min(lines.len());
        lines[start..end].iter().any(changed)
    };
    let mut hunks = Vec::new();
    let (mut left, mut right) = (1, 1);
    let mut open: Option<(usize, usize, Vec<Line<'_>>)> = None;
    for (index, line) in lines.iter().enumerate() {
        if near(index) {
            open.get_or_insert((left, right, Vec::new())).2.push(*line);
        } else {
            hunks.extend(open.take().map(hunk));
        }
        left += usize::from(!matches!(line, Line::Added(_)));
        right += usize::from(!matches!(line, Line::Removed(_)));
    }
    hunks.extend(open.take().map(hunk));
    (!hunks.is_empty()).then(|| hunks.join("\n"))
}

/// The lines of a patch that can be commented on: as the file was, and as it is.
pub(super) fn lines(patch: &str) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut lefts, mut rights) = (BTreeSet::new(), BTreeSet::new());
    let (mut left, mut right) = (0, 0);
    for line in patch.lines() {
        if let Some(head) = line.strip_prefix("@@ -") {
            let number = |text: &str| text.split([',', ' ']).next().and_then(|n| n.parse().ok());
            let (old, new) = head.split_once(" +").unwrap_or((head, ""));
            (left, right) = (number(old).unwrap_or(0), number(new).unwrap_or(0));
            continue;
        }
        if !line.starts_with('+') {
            lefts.insert(left);
            left += 1;
        }
        if !line.starts_with('-') {
            rights.insert(right);
            right += 1;
        }
    }
    (lefts, rights)
}

fn hunk((left, right, lines): (usize, usize, Vec<Line<'_>>)) -> String {
    let olds = lines.iter().filter(|line| !matches!(line, Line::Added(_))).count();
    let news = lines.iter().filter(|line| !matches!(line, Line::Removed(_))).count();
    // An empty side starts before its first line.
    let side = |start: usize, count: usize| match count {
        0 => format!("{},0", start - 1),
        1 => start.to_string(),
        count => format!("{start},{count}"),
    };
    let mut text = format!("@@ -{} +{} @@", side(left, olds), side(right, news));
    for line in lines {
        let (mark, line) = match line {
            Line::Kept(line) => (' ', line),
            Line::Removed(line) => ('-', line),
            Line::Added(line) => ('+', line),
        };
        text.push('\n');
        text.push(mark);
        text.push_str(line);
    }
    text
}

/// The shortest way from one list of lines to another, by their longest common subsequence.
fn script<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let width = after.len() + 1;
    let mut common = vec![0_u32; (before.len() + 1) * width];
    for (i, old) in before.iter().enumerate().rev() {
        for (j, new) in after.iter().enumerate().rev() {
            common[i * width + j] = if old == new {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < before.len() || j < after.len() {
        if i < before.len() && j < after.len() && before[i] == after[j] {
            lines.push(Line::Kept(before[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == after.len()
            || (i < before.len() && common[i * width + j + 1] <= common[(i + 1) * width + j])
        {
            lines.push(Line::Removed(before[i]));
            i += 1;
        } else {
            lines.push(Line::Added(after[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_written_as_git_writes_it() {
        assert_eq!(patch("a\n", "a\n"), None);
        assert_eq!(patch("", "a\nb\n").as_deref(), Some("@@ -0,0 +1,2 @@\n+a\n+b"));
        assert_eq!(patch("a\n", "").as_deref(), Some("@@ -1 +0,0 @@\n-a"));
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let after = "1\nzwei\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n";
        let expected =
            "@@ -1,5 +1,5 @@\n 1\n-2\n+zwei\n 3\n 4\n 5\n@@ -10,3 +10,4 @@\n 10\n 11\n 12\n+13";
        assert_eq!(patch(before, after).as_deref(), Some(expected));
        let (left, right) = lines(expected);
        assert_eq!(left, BTreeSet::from([1, 2, 3, 4, 5, 10, 11, 12]));
        assert_eq!(right, BTreeSet::from([1, 2, 3, 4, 5, 10, 11, 12, 13]));
    }
}
