//! Patches: which lines of a file they show, and diffs taken apart by file.

use std::collections::BTreeSet;

use super::files::File;

/// The lines that can be commented on, by the side they are on.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// As the file was.
    pub(super) left: BTreeSet<u64>,
    /// As the file is.
    pub(super) right: BTreeSet<u64>,
}

/// A part of a diff that is about one file.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) path: String,
    pub(super) text: &'a str,
}

impl Lines {
    /// The lines that a file's patch shows.
    pub(super) fn of(patch: &str) -> Self {
        let mut lines = Self::default();
        let (mut left, mut right) = (0, 0);
        for line in patch.lines() {
            match line.as_bytes().first() {
                Some(b'@') => (left, right) = starts(line).unwrap_or((left, right)),
                Some(b'-') => {
                    lines.left.insert(left);
                    left += 1;
                }
                Some(b'+') => {
                    lines.right.insert(right);
                    right += 1;
                }
                // "\ No newline at end of file" is no line.
                Some(b'\\') => {}
                _ => {
                    lines.left.insert(left);
                    lines.right.insert(right);
                    left += 1;
                    right += 1;
                }
            }
        }
        lines
    }
}

/// Where a hunk starts on both sides: `@@ -1,2 +3,4 @@`.
fn starts(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split(' ');
    let number = |word: &str| word[1..].split(',').next().and_then(|number| number.parse().ok());
    let left = words.find(|word| word.starts_with('-') && 1 < word.len())?;
    let right = words.find(|word| word.starts_with('+') && 1 < word.len())?;
    Some((number(left)?, number(right)?))
}

/// Takes a diff apart.
pub(super) fn parts(diff: &str) -> Vec<Part<'_>> {
    const START: &str = "diff --git ";
    let mut starts: Vec<_> = diff
        .match_indices(START)
        .map(|(index, _)| index)
        .filter(|index| *index == 0 || diff.as_bytes()[index - 1] == b'\n')
        .collect();
    starts.push(diff.len());
    let parts = starts.windows(2).map(|ends| &diff[ends[0]..ends[1]]);
    parts.map(|text| Part { path: path(text), text }).collect()
}

/// The path of the file that a part is about: as it is, or as it was when it was deleted.
fn path(part: &str) -> String {
    let head = part.lines().take_while(|line| !line.starts_with("@@"));
    let (mut new, mut old) = (None, None);
    for line in head {
        new = line.strip_prefix("+++ b/").or(line.strip_prefix("rename to ")).or(new);
        old = line.strip_prefix("--- a/").or(old);
    }
    // A file without lines, or one that is not text, is only named in the first line: `diff --git a/x b/x`.
    let first = || part.lines().next().and_then(|line| line.rsplit_once(" b/")).map(|both| both.1);
    new.or(old).or_else(first).unwrap_or_default().to_owned()
}

/// The part of a diff that a file's patch makes.
pub(super) fn part(file: &File) -> String {
    let (new, old) = (&file.filename, file.previous_filename.as_ref().unwrap_or(&file.filename));
    let from = if file.status == "added" { "/dev/null".to_owned() } else { format!("a/{old}") };
    let to = if file.status == "removed" { "/dev/null".to_owned() } else { format!("b/{new}") };
    let patch = match &file.patch {
        Some(patch) => format!("--- {from}\n+++ {to}\n{}\n", patch.trim_end_matches('\n')),
        None => format!("Binary files {from} and {to} differ\n"),
    };
    format!("diff --git a/{old} b/{new}\n{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_shows_the_lines_that_can_be_commented_on() {
        let patch = "@@ -1,3 +1,4 @@ fn main\n a\n-b\n+c\n+d\n e\n\\ No newline at end of file\n@@ -10 +11 @@\n-x\n+y";
        let lines = Lines::of(patch);
        assert_eq!(lines.left, BTreeSet::from([1, 2, 3, 10]));
        assert_eq!(lines.right, BTreeSet::from([1, 2, 3, 4, 11]));
    }

    #[test]
    fn a_diff_falls_into_parts_by_file() {
        let diff = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-diff --git \n+x\ndiff --git a/b b/c\nrename from b\nrename to c\n\
                    diff --git a/gone b/gone\n--- a/gone\n+++ /dev/null\ndiff --git a/i.png b/i.png\nBinary files differ\n";
        let parts = parts(diff);
        let paths: Vec<_> = parts.iter().map(|part| part.path.as_str()).collect();
        assert_eq!(paths, ["a", "c", "gone", "i.png"]);
        assert_eq!(parts.iter().map(|part| part.text).collect::<String>(), diff);
    }
}
