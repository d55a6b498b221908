//! The times that callers write, and those that lines of logs begin with.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::contract::{Code, ToolError};

/// From here on a number is taken for milliseconds: as seconds it would be the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;
const FORMS: &str = "write 15m, 2h, 7d, now, now-90m, a time such as 2026-11-21T17:25:00Z, \
                     or seconds or milliseconds since 1970";

/// From when until when, in milliseconds since 1970. The end belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Window {
    /// The window that two arguments mean.
    pub(super) fn parse(since: &str, until: &str, now: i64) -> Result<Self, ToolError> {
        let window =
            Self { start: moment("since", since, now)?, end: moment("until", until, now)? };
        if window.end <= window.start {
            let shown = format!("{} to {}", rfc3339(window.start), rfc3339(window.end));
            let message = format!("since is not before until: {shown}");
            return Err(ToolError::new(Code::InvalidArgument, message).hint(FORMS));
        }
        Ok(window)
    }

    /// As it is told in answers.
    pub(super) fn shown(self) -> Value {
        json!({ "start": rfc3339(self.start), "end": rfc3339(self.end) })
    }

    pub(super) fn length(self) -> i64 {
        self.end.saturating_sub(self.start).max(1)
    }

    pub(super) fn holds(self, at: i64) -> bool {
        self.start <= at && at <= self.end
    }
}

/// As RFC 3339 in UTC.
pub(super) fn rfc3339(ms: i64) -> String {
    let form = if ms % 1000 == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map(|at| at.to_rfc3339_opts(form, true))
        .unwrap_or_default()
}

/// The moment that an argument means.
pub(super) fn moment(name: &str, text: &str, now: i64) -> Result<i64, ToolError> {
    parse(text.trim(), now).ok_or_else(|| {
        let message = format!("{name} is not a time: {text:?}");
        ToolError::new(Code::InvalidArgument, message).hint(FORMS)
    })
}

/// The length that an argument means, in milliseconds.
pub(super) fn length(name: &str, text: &str) -> Result<i64, ToolError> {
    let text = text.trim();
    // A bare number is one of seconds.
    let seconds = || Some(text.parse::<u32>().ok().map(i64::from)? * 1000);
    span(text).or_else(seconds).filter(|ms| 0 < *ms).ok_or_else(|| {
        let message = format!("{name} is not a length of time: {text:?}");
        ToolError::new(Code::InvalidArgument, message).hint("write 30s, 15m, 2h or 7d")
    })
}

fn parse(text: &str, now: i64) -> Option<i64> {
    if text == "now" {
        return Some(now);
    }
    let ago = text.strip_prefix("now").map_or(text, str::trim_start);
    let ago = ago.strip_prefix('-').map_or(ago, str::trim_start);
    if let Some(span) = span(ago) {
        return now.checked_sub(span);
    }
    number(text).or_else(|| absolute(text))
}

/// `90s`, `15m`, `2h`, `7d`, `1w`, `500ms`, and `1h30m`.
fn span(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit())?;
        let (count, unit) = rest.split_at(digits);
        let end = unit.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(unit.len());
        let ms = match &unit[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        sum = sum.checked_add(count.parse::<i64>().ok()?.checked_mul(ms)?)?;
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(sum)
}

#[allow(clippy::cast_possible_truncation, reason = "it is checked to be far below what fits")]
fn number(text: &str) -> Option<i64> {
    let number = text.parse::<f64>().ok().filter(|number| 0.0 <= *number && *number < 1e15)?;
    let ms = if FIRST_MILLISECONDS <= number { number } else { number * 1000.0 };
    Some(ms.round() as i64)
}

fn absolute(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis());
    zoned
        .or_else(|| {
            let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
            let at =
                forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
            Some(at.and_utc().timestamp_millis())
        })
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
        })
}

/// The time in a field of a JSON line.
pub(super) fn of_value(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => self::number(&number.to_string()),
        Value::String(text) => self::number(text).or_else(|| absolute(text)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The time that a line begins with, and where it ends. A line of syslog says no year: it is the
/// last one in which it is not after `now`.
pub(super) fn leading(line: &str, now: i64) -> Option<(i64, usize)> {
    let open = usize::from(line.starts_with('['));
    let text = &line[open..];
    let (at, end) = iso(text).or_else(|| clf(text)).or_else(|| syslog(text, now))?;
    let closed = usize::from(open == 1 && text[end..].starts_with(']'));
    Some((at, open + end + closed))
}

/// `2026-11-21T17:25:02.123Z`, also with a space, a comma, slashes, or no zone (then UTC).
fn iso(text: &str) -> Option<(i64, usize)> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| {
        bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let separated = |at: usize, of: &[u8]| bytes.get(at).is_some_and(|byte| of.contains(byte));
    let fits = digits(0, 4)
        && separated(4, b"-/")
        && digits(5, 7)
        && separated(7, b"-/")
        && digits(8, 10)
        && separated(10, b"T ")
        && digits(11, 13)
        && separated(13, b":")
        && digits(14, 16)
        && separated(16, b":")
        && digits(17, 19);
    if !fits {
        return None;
    }
    let mut end = 19;
    let mut fraction = String::new();
    if separated(end, b".,") && digits(end + 1, end + 2) {
        let rest = &bytes[end + 1..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        fraction = format!(".{}", &text[end + 1..end + 1 + length.min(9)]);
        end += 1 + length;
    }
    let zone = zone(&text[end..]);
    let day = text[..10].replace('/', "-");
    let written = format!("{day}T{}{fraction}{}", &text[11..19], zone.1);
    Some((DateTime::parse_from_rfc3339(&written).ok()?.timestamp_millis(), end + zone.0))
}

/// How long the zone at the start is, and how RFC 3339 writes it.
fn zone(text: &str) -> (usize, String) {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let signed = bytes.first().is_some_and(|byte| b"+-".contains(byte)) && digit(1) && digit(2);
    if bytes.first() == Some(&b'Z') {
        (1, "Z".to_owned())
    } else if signed && bytes.get(3) == Some(&b':') && digit(4) && digit(5) {
        (6, text[..6].to_owned())
    } else if signed && digit(3) && digit(4) {
        (5, format!("{}:{}", &text[..3], &text[3..5]))
    } else {
        (0, "Z".to_owned())
    }
}

/// `21/Nov/2026:17:25:02 +0000`, as web servers write it.
fn clf(text: &str) -> Option<(i64, usize)> {
    let written = text.get(..26)?;
    let at = DateTime::parse_from_str(written, "%d/%b/%Y:%H:%M:%S %z").ok()?;
    Some((at.timestamp_millis(), 26))
}

/// `Nov 21 17:25:02`, as syslog writes it.
fn syslog(text: &str, now: i64) -> Option<(i64, usize)> {
    let written = text.get(..15)?;
    let year =
        |ms: i64| DateTime::<Utc>::from_timestamp_millis(ms).map(|at| at.format("%Y").to_string());
    let at = |year: &str| {
        let at = NaiveDateTime::parse_from_str(&format!("{year} {written}"), "%Y %b %e %H:%M:%S");
        at.ok().map(|at| at.and_utc().timestamp_millis())
    };
    const DAY: i64 = 86_400_000;
    let this = at(&year(now)?);
    let found = this.filter(|at| *at <= now + DAY).or_else(|| at(&year(now - 366 * DAY)?))?;
    Some((found, 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_255_505_000;

    #[test]
    fn every_form_of_a_time_is_understood() {
        let cases = [
            ("now", NOW),
            ("15m", NOW - 900_000),
            ("2h", NOW - 7_200_000),
            ("7d", NOW - 604_800_000),
            ("1h30m", NOW - 5_400_000),
            ("now-90m", NOW - 5_400_000),
            ("now - 90m", NOW - 5_400_000),
            ("1795255505", NOW),
            ("1795255505000", NOW),
            ("1795255505.5", NOW + 500),
            ("2026-11-21T10:05:05Z", NOW),
            ("2026-11-21T11:05:05+01:00", NOW),
            ("2026-11-21 10:05:05", NOW),
            ("2026-11-21", NOW - 36_305_000),
        ];
        for (text, expected) in cases {
            assert_eq!(moment("since", text, NOW).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_forms() {
        for text in
            ["", "yesterday", "5 apples", "m", "-", "now-", "1e300", "99999999999999999999h"]
        {
            let error = moment("since", text, NOW).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{text}");
            assert!(error.hint.unwrap().contains("now-90m"));
        }
        let error = Window::parse("1h", "2h", NOW).unwrap_err();
        assert!(error.message.contains("not before"), "{error}");
    }

    #[test]
    fn lines_begin_with_times_in_many_forms() {
        let cases = [
            ("2026-11-21T10:05:05Z INFO a", NOW, " INFO a"),
            ("2026-11-21 10:05:05,250 INFO a", NOW + 250, " INFO a"),
            ("[2026-11-21T11:05:05.000000+0100] a", NOW, " a"),
            ("2026/11/21 10:05:05 a", NOW, " a"),
            ("[21/Nov/2026:10:05:05 +0000] a", NOW, " a"),
            ("Nov 21 10:05:05 host sshd[1]: a", NOW, " host sshd[1]: a"),
            ("Dec 24 10:05:05 host a", NOW - 332 * 86_400_000, " host a"),
        ];
        for (line, at, rest) in cases {
            let found = leading(line, NOW).unwrap();
            assert_eq!((found.0, &line[found.1..]), (at, rest), "{line}");
        }
        for line in ["", "hello", "2026", "2026-13-41T99:99:99Z", "Müll 1", "ä2026-11-21T10:05:05Z"]
        {
            assert_eq!(leading(line, NOW), None, "{line}");
        }
    }
}
