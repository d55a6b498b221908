//! Everything that is printed: answers to standard output, the rest to standard error.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
};

use serde::Serialize;

/// Prints an answer. A reader that went away (`| head`) is no reason to fail.
pub(super) fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    let text = harmless(text);
    drop(writeln!(output, "{text}").and_then(|()| output.flush()));
}

/// Prints an answer for a program.
pub(super) fn say_json(value: &impl Serialize) {
    say(&pretty(value));
}

/// Prints something about the answer.
pub(super) fn tell(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", harmless(text)));
}

/// A text without what would rewrite the screen: what others wrote is shown as it is, and not obeyed. Colours stay.
fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t') || turns_around(c);
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\x1b' if is_colour(&text[at + 1..]) => shown.push(c),
            c if obeyed(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a colour follows an escape: `[`, digits, `m`.
fn is_colour(rest: &str) -> bool {
    let digits =
        rest.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    digits.is_some_and(|rest| rest.starts_with('m'))
}

/// Characters that change the direction of what follows.
fn turns_around(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON as people read it.
pub(super) fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("answers have text keys and no failing parts")
}

/// Rows as columns, two blanks apart; the last column is as wide as it likes.
pub(super) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// How long something took, in the unit that people would choose.
pub(super) fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    match milliseconds {
        ..1_000 => format!("{} ms", milliseconds.max(0)),
        1_000..60_000 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        86_400_000.. => format!("{} d {:02} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Good news.
pub(super) fn green(text: &str) -> String {
    painted("32", text)
}

/// Bad news.
pub(super) fn red(text: &str) -> String {
    painted("31", text)
}

/// News that wants somebody.
pub(super) fn yellow(text: &str) -> String {
    painted("33", text)
}

/// What matters less.
pub(super) fn dim(text: &str) -> String {
    painted("2", text)
}

/// What matters more.
pub(super) fn bold(text: &str) -> String {
    painted("1", text)
}

fn painted(colour: &str, text: &str) -> String {
    if colours() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Colours only where both outputs are a terminal, and never against <https://no-color.org>.
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stderr().is_terminal() && std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_unit_people_would_choose() {
        let check = |milliseconds, expected| assert_eq!(duration(milliseconds), expected);
        check(-5, "0 ms");
        check(999, "999 ms");
        check(1_250, "1.2 s");
        check(61_000, "1 min 01 s");
        check(3_725_000, "1 h 02 min");
        check(90_000_000, "1 d 01 h");
    }

    #[test]
    fn what_others_wrote_does_not_rewrite_the_screen() {
        let text = "Pay 1\u{1b}[2K\r\u{7}\u{202e}x\n\u{1b}[31mred\u{1b}[0m";
        let shown = "Pay 1\\u{1b}[2K\\u{d}\\u{7}\\u{202e}x\n\u{1b}[31mred\u{1b}[0m";
        assert_eq!(harmless(text), shown);
        assert!(matches!(harmless("plain ✓"), Cow::Borrowed(_)));
    }

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_ends() {
        let rows = [vec!["a".into(), "x".into()], vec!["✓ bb".into(), String::new()]];
        assert_eq!(columns(&rows), ["a     x", "✓ bb"]);
    }
}
