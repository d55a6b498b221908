//! What those before us in a trace say for themselves: W3C's `tracestate`, which is handed on and not understood.
//!
//! An execution keeps it in the column of its trace, behind the `traceparent`. What stands there is then written as W3C
//! has it for versions to come, which may say more behind the four parts that all have: so a release that knows nothing
//! of it reads the trace all the same.

use super::Context;

/// No version of W3C's may be higher than this one, and requests with it are written down as version 00.
const VERSION: &str = "fe";

/// What W3C wants to be handed on at least is what is handed on at most, in bytes.
const MOST_BYTES: usize = 512;

/// Longer entries go first where not all can be handed on.
const LONG_BYTES: usize = 128;

/// How many entries there may be.
const MOST_ENTRIES: usize = 32;

/// A place in a trace as the row of an execution has it.
pub(super) fn kept(place: Context, state: Option<&str>) -> String {
    let plain = place.to_string();
    match (state, plain.split_once('-')) {
        (Some(state), Some((_, place))) => format!("{VERSION}-{place}-{state}"),
        _ => plain,
    }
}

/// What of it the row of an execution has.
pub(super) fn of_kept(kept: &str) -> Option<&str> {
    let mut parts = kept.splitn(5, '-');
    let is_ours = parts.next() == Some(VERSION);
    parts.nth(3).filter(|_| is_ours)
}

/// Reads a `tracestate`: as much of it as is handed on. `None` when nothing is, or when it is none.
pub(super) fn read(text: &str) -> Option<String> {
    let entries = text.split(',').map(|entry| entry.trim_matches([' ', '\t']));
    let mut entries: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
    let keys = || entries.iter().map(|entry| entry.split_once('=').unwrap_or_default().0);
    let once = |key| keys().filter(|other| *other == key).count() == 1;
    let is_one = entries.len() <= MOST_ENTRIES && entries.iter().all(|entry| is_entry(entry));
    if !is_one || !keys().all(once) {
        return None;
    }
    let is_too_long = |entries: &[&str]| MOST_BYTES < entries.join(",").len();
    if is_too_long(&entries) {
        entries.retain(|entry| entry.len() <= LONG_BYTES);
    }
    while is_too_long(&entries) {
        entries.pop();
    }
    (!entries.is_empty()).then(|| entries.join(","))
}

fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let in_key =
        |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let in_value = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.as_bytes().first().is_some_and(begins)
        && key.len() <= 256
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_kept_so_that_a_release_without_it_reads_the_trace_all_the_same() {
        let place = Context::read(CALLER).unwrap();
        let state = "congo=t61rcWkgMzE,rojo@a-b=00-f0-01";
        let row = kept(place, Some(state));
        assert_eq!(of_kept(&row), Some(state));
        assert_eq!(Context::read(&row), Some(place), "{row}");
        assert_eq!(kept(place, None), CALLER);
        assert_eq!(of_kept(CALLER), None);
        // What a caller's own later version says behind its flags is none.
        assert_eq!(of_kept(&format!("{}-a=b", CALLER.replace("00-4b", "cc-4b"))), None);
    }

    #[test]
    fn what_is_none_is_not_handed_on() {
        assert_eq!(read(" a=1 ,\tb@c=x y,, ,2/*_-=~! ").as_deref(), Some("a=1,b@c=x y,2/*_-=~!"));
        let (key, value) = ("k".repeat(256), "v".repeat(256));
        for right in [format!("{key}=1"), format!("k={value}"), many(32)] {
            assert_eq!(read(&right).as_deref(), Some(&*right));
        }
        for wrong in [
            "",
            " , ",
            "a",
            "a=",
            "=1",
            "A=1",
            "@a=1",
            "a b=1",
            "a=1=2",
            "a=1,a=2",
            "a=1,b",
            "a=é",
            "a=1\u{7f}",
            "a=1\n2",
            &format!("{key}k=1"),
            &format!("k={value}v"),
            &many(33),
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_too_much_the_long_entries_and_then_the_last_ones_stay_behind() {
        let long = format!("long={}", "v".repeat(200));
        let fits = format!("first=1,{long},{}={}", "k".repeat(97), "v".repeat(200));
        assert_eq!(fits.len(), MOST_BYTES);
        assert_eq!(read(&fits).as_deref(), Some(&*fits));
        let short: Vec<String> = (0..6).map(|n| format!("short{n}={}", "v".repeat(92))).collect();
        let said = format!("first=1,{long},{}", short.join(","));
        let handed_on = read(&said).unwrap();
        assert_eq!(handed_on, format!("first=1,{}", short[..5].join(",")));
        assert!(handed_on.len() <= MOST_BYTES);
    }

    fn many(count: usize) -> String {
        let entries: Vec<String> = (0..count).map(|n| format!("k{n}=1")).collect();
        entries.join(",")
    }
}
