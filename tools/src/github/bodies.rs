//! Bodies of issues, comments, reviews and pull requests: with the marks by which they are found again, and not
//! longer than GitHub takes them.

use chrono::DateTime;

use crate::contract::Call;
use crate::contract::text::digest;

/// As many characters as GitHub takes.
const LONGEST: usize = 65_536;
const CUT: &str = "\n\n*(cut: the text was longer than GitHub takes)*";
const MARKER_HEX: usize = 16;
/// How far the clocks of GitHub and this machine may lie apart.
const SKEW_MS: i64 = 60_000;

/// The mark of the one comment that is kept up to date under a key.
pub(super) fn sticky(key: &str) -> String {
    format!("<!-- windlass:upsert={} -->", &digest(key)[..MARKER_HEX])
}

/// A body with its marks at the end. What does not fit before them is cut, with a warning.
pub(super) fn finished(text: &str, marks: &[String], warnings: &mut Vec<String>) -> String {
    let marks = marks.join("\n");
    let gap = if text.is_empty() || marks.is_empty() { "" } else { "\n\n" };
    let room = LONGEST - marks.chars().count() - gap.len();
    let length = text.chars().count();
    if length <= room {
        return format!("{text}{gap}{marks}");
    }
    warnings
        .push(format!("the text was cut: it has {length} characters, and GitHub takes {LONGEST}"));
    let kept: String = text.chars().take(room - CUT.chars().count()).collect();
    format!("{kept}{CUT}{gap}{marks}")
}

/// Whether a body has this mark.
pub(super) fn carries(body: Option<&str>, mark: &str) -> bool {
    body.is_some_and(|body| body.contains(mark))
}

/// From when on lists may hold what an earlier attempt of this call did.
pub(super) fn since(call: &Call) -> Option<String> {
    let first = DateTime::from_timestamp_millis(call.first_started_at?.saturating_sub(SKEW_MS))?;
    Some(first.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_mark_however_long_it_is() {
        let mark = vec![sticky("deploy")];
        let mut warnings = Vec::new();
        assert_eq!(finished("a", &mark, &mut warnings), format!("a\n\n{}", mark[0]));
        assert_eq!(finished("", &mark, &mut warnings), mark[0]);
        assert_eq!(finished("a", &[], &mut warnings), "a");
        assert!(warnings.is_empty());
        let long = finished(&"ü".repeat(LONGEST), &mark, &mut warnings);
        assert_eq!((long.chars().count(), warnings.len()), (LONGEST, 1));
        assert!(long.contains(CUT) && carries(Some(&long), &mark[0]));
    }
}
