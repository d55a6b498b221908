//! What a job wrote, made small: without colours and times, cut to the errors, the end, or its patterns.

use std::collections::HashMap;

use crate::contract::text::{redact, without_invisible};

const ERROR: &str = "##[error]";
const GROUP: &str = "##[group]";
const MARKS: [&str; 7] = [
    "##[endgroup]",
    "##[warning]",
    "##[notice]",
    "##[debug]",
    "##[command]",
    "##[section]",
    "[command]",
];
/// How many lines before an error are shown with it.
const BEFORE: usize = 12;
const MOST_EXCERPTS: usize = 20;
const MOST_PATTERNS: usize = 30;
/// Where no line says error, so many of the last ones are shown.
const LAST: usize = 40;
const LONGEST_LINE: usize = 2_000;

/// A log, line by line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    text: String,
    /// The step that wrote it, as an index into the steps.
    step: String,
    error: bool,
}

/// Lines that lead to an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) step: String,
    pub(super) lines: Vec<String>,
}

impl Log {
    /// Reads a log as GitHub keeps it.
    pub(super) fn read(text: &str) -> Self {
        let mut step = "Set up job".to_owned();
        let mut log = Self::default();
        for line in text.lines() {
            let line = without_time(line.trim_start_matches('\u{feff}'));
            let line = without_invisible(&without_colours(line));
            if let Some(group) = line.strip_prefix(GROUP).filter(|group| group.starts_with("Run "))
            {
                step = group.trim().to_owned();
            }
            if line.starts_with("##[endgroup]") {
                continue;
            }
            let error = line.starts_with(ERROR);
            log.lines.push(Line { text: short(without_mark(&line)), step: step.clone(), error });
        }
        log
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines that lead to each error; lines that belong to two are shown once.
    pub(super) fn excerpts(&self) -> Vec<Excerpt> {
        let mut excerpts: Vec<Excerpt> = Vec::new();
        let mut shown = 0;
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.error) {
            let own = |from: usize| {
                let lines = self.lines[from..=index].iter();
                lines.filter(|other| other.step == line.step).map(|line| line.text.clone())
            };
            let from = shown.max(index.saturating_sub(BEFORE));
            let full = MOST_EXCERPTS <= excerpts.len();
            match excerpts.last_mut() {
                Some(last) if from == shown && last.step == line.step => {
                    last.lines.extend(own(from))
                }
                _ if full => break,
                _ => excerpts.push(Excerpt { step: line.step.clone(), lines: own(from).collect() }),
            }
            shown = index + 1;
        }
        excerpts
    }

    /// The errors with what leads to them, or the end where nothing says error.
    pub(super) fn errors(&self) -> String {
        let excerpts = self.excerpts();
        if excerpts.is_empty() {
            return self.tail(LAST);
        }
        let write = |excerpt: &Excerpt| format!("[{}]\n{}", excerpt.step, excerpt.lines.join("\n"));
        excerpts.iter().map(write).collect::<Vec<_>>().join("\n\n")
    }

    /// The last lines.
    pub(super) fn tail(&self, count: usize) -> String {
        let from = self.lines.len().saturating_sub(count);
        let lines: Vec<_> = self.lines[from..].iter().map(|line| line.text.as_str()).collect();
        lines.join("\n")
    }

    /// Lines that differ in numbers only, once each with their count, the most frequent first.
    pub(super) fn patterns(&self) -> String {
        let mut order: Vec<(String, usize, &str)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for line in self.lines.iter().filter(|line| !line.text.trim().is_empty()) {
            let mask = mask(&line.text);
            match places.get(&mask) {
                Some(place) => order[*place].1 += 1,
                None => {
                    places.insert(mask.clone(), order.len());
                    order.push((mask, 1, &line.text));
                }
            }
        }
        order.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        let rest = order.len().saturating_sub(MOST_PATTERNS);
        let mut lines: Vec<_> = order
            .iter()
            .take(MOST_PATTERNS)
            .map(|(mask, count, first)| match count {
                1 => format!("1x {first}"),
                count => format!("{count}x {mask}"),
            })
            .collect();
        if 0 < rest {
            lines.push(format!("… and {rest} patterns more"));
        }
        lines.join("\n")
    }
}

/// The end of a text, in whole lines, and whether that is less than all.
pub(super) fn end(text: String, most: usize) -> (String, bool) {
    if text.len() <= most {
        return (text, false);
    }
    let from = text.len() - most;
    let from = (from..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len());
    let from = text[from..].find('\n').map_or(from, |line| from + line + 1);
    (text[from..].to_owned(), true)
}

/// `2026-11-21T10:05:05.1234567Z ` stands before every line.
fn without_time(line: &str) -> &str {
    let Some((time, rest)) = line.split_once('Z') else { return line };
    let shape = |(index, byte): (usize, u8)| match index {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'.',
        _ => byte.is_ascii_digit(),
    };
    let is_time = (20..=29).contains(&time.len()) && time.bytes().enumerate().all(shape);
    if is_time { rest.strip_prefix(' ').unwrap_or(rest) } else { line }
}

/// Takes out what terminals read as colours, links and moves.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            if !char.is_control() || char == '\t' {
                plain.push(char);
            }
            continue;
        }
        match chars.next() {
            Some('[') => _ = chars.find(|end| ('@'..='~').contains(end)),
            Some(']') => _ = chars.find(|end| *end == '\u{7}' || *end == '\\'),
            _ => {}
        }
    }
    plain
}

fn without_mark(line: &str) -> &str {
    let marks = [ERROR, GROUP].into_iter().chain(MARKS);
    marks.into_iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line)
}

/// A line that can be shown. What looks like a credential goes before it is cut: half of one would not be known.
fn short(line: &str) -> String {
    if line.len() <= LONGEST_LINE {
        return line.to_owned();
    }
    let line = redact(line, &[]);
    let cut = (0..=LONGEST_LINE.min(line.len())).rev().find(|index| line.is_char_boundary(*index));
    format!("{}…", &line[..cut.unwrap_or_default()])
}

/// A line with every number and every long hex word as one sign.
fn mask(line: &str) -> String {
    let word = |word: &str| {
        let hex = 8 <= word.len() && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex && word.bytes().any(|byte| byte.is_ascii_digit()) {
            return "#".to_owned();
        }
        let mut masked = String::with_capacity(word.len());
        for char in word.chars() {
            match char {
                char if char.is_ascii_digit() => {
                    if !masked.ends_with('#') {
                        masked.push('#');
                    }
                }
                char => masked.push(char),
            }
        }
        masked
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}2026-11-21T10:05:05.1234567Z Requested labels: ubuntu-latest
2026-11-21T10:05:06.1234567Z ##[group]Run cargo test
2026-11-21T10:05:06.1234567Z \u{1b}[36;1mcargo test\u{1b}[0m
2026-11-21T10:05:06.1234567Z ##[endgroup]
2026-11-21T10:05:07.1234567Z test a ... ok in 12 ms
2026-11-21T10:05:08.1234567Z test b ... ok in 7 ms
2026-11-21T10:05:08.1234567Z assertion failed: left == right
2026-11-21T10:05:09.1234567Z ##[error]Process completed with exit code 101.
2026-11-21T10:05:09.1234567Z ##[group]Run actions/upload@v4
2026-11-21T10:05:10.1234567Z ##[error]No files were found";

    #[test]
    fn an_excerpt_leads_to_an_error_within_its_step() {
        let excerpts = Log::read(TEXT).excerpts();
        assert_eq!(excerpts.len(), 2);
        assert_eq!(excerpts[0].step, "Run cargo test");
        assert_eq!(
            excerpts[0].lines,
            [
                "Run cargo test",
                "cargo test",
                "test a ... ok in 12 ms",
                "test b ... ok in 7 ms",
                "assertion failed: left == right",
                "Process completed with exit code 101."
            ]
        );
        assert_eq!(excerpts[1].step, "Run actions/upload@v4");
        assert_eq!(excerpts[1].lines, ["Run actions/upload@v4", "No files were found"]);
    }

    #[test]
    fn errors_that_follow_each_other_are_shown_once() {
        let log = Log::read("a\n##[error]one\n##[error]two\nb");
        let expected = Excerpt {
            step: "Set up job".into(),
            lines: vec!["a".into(), "one".into(), "two".into()],
        };
        assert_eq!(log.excerpts(), [expected]);
    }

    #[test]
    fn without_an_error_the_end_is_shown() {
        let text: String = (1..=100).map(|number| format!("line {number}\n")).collect();
        let shown = Log::read(&text).errors();
        assert!(shown.starts_with("line 61\n") && shown.ends_with("line 100"), "{shown}");
    }

    #[test]
    fn lines_that_differ_in_numbers_are_one_pattern() {
        let shown = Log::read(TEXT).patterns();
        assert!(
            shown.starts_with("2x test a ... ok in # ms") || shown.contains("test a ... ok"),
            "{shown}"
        );
        let shown = Log::read("got 1\ngot 22\ngot deadbeef01\nother").patterns();
        assert_eq!(shown, "3x got #\n1x other");
    }

    #[test]
    fn a_time_is_taken_only_from_the_start_and_only_if_it_is_one() {
        let cases = [
            ("2026-11-21T10:05:05.1234567Z a", "a"),
            ("2026-11-21T10:05:05.1234567Z", ""),
            ("A to Z b", "A to Z b"),
            ("at 2026-11-21T10:05:05.1234567Z c", "at 2026-11-21T10:05:05.1234567Z c"),
        ];
        for (line, expected) in cases {
            assert_eq!(without_time(line), expected);
        }
    }

    #[test]
    fn a_cut_keeps_whole_lines_at_the_end_and_no_half_of_a_secret() {
        assert_eq!(end("one\ntwo\nthree".into(), 9), ("three".into(), true));
        assert_eq!(end("one".into(), 9), ("one".into(), false));
        let line = format!("{} ghp_0123456789abcdefABCD", "x".repeat(LONGEST_LINE - 10));
        assert!(!short(&line).contains("ghp_"));
    }
}
