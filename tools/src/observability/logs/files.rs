//! Logs in files: plain lines and JSON lines, read from the end.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::{Event, Found, Order, Question};
use crate::contract::now;
use crate::contract::{Code, ToolError};
use crate::observability::filter::Filter;
use crate::observability::lines::{TIME_KEYS, is_frame, object};
use crate::observability::settings::Target;
use crate::observability::time::{Window, leading, of_value, rfc3339};

/// Of a longer file only the end is read.
const MOST_BYTES_OF_A_FILE: u64 = 16 * 1024 * 1024;
const MOST_BYTES: u64 = 64 * 1024 * 1024;
const MOST_FILES: usize = 200;
const DEEPEST: usize = 8;
/// An event is not longer, however many lines of a stack it has.
const LONGEST_EVENT: usize = 64 * 1024;

/// A file that a source names.
#[derive(Debug, Clone)]
struct LogFile {
    path: PathBuf,
    name: String,
    bytes: u64,
    changed_at: i64,
}

pub(super) async fn find(target: &Target, question: &Question) -> Result<Found, ToolError> {
    let (target, question) = (target.clone(), question.clone());
    blocking(move || search(&target, question)).await
}

pub(super) async fn groups(
    target: &Target,
    prefix: &str,
    limit: usize,
) -> Result<(Vec<Value>, bool), ToolError> {
    let (target, prefix) = (target.clone(), prefix.to_owned());
    blocking(move || {
        let mut files = log_files(&target, &[])?;
        files.retain(|file| file.name.contains(&prefix));
        let more = limit < files.len();
        let shown = files.iter().take(limit).map(|file| {
            json!({ "name": file.name, "stored_bytes": file.bytes, "retention_days": null,
                    "last_event_at": rfc3339(file.changed_at) })
        });
        Ok((shown.collect(), more))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(ToolError::new(Code::Internal, "reading the files broke off: this is a defect"))
    })
}

fn search(target: &Target, question: Question) -> Result<Found, ToolError> {
    let filter = question.filter.map(Filter::of_text).transpose()?;
    let files = log_files(target, &question.streams)?;
    let mut found = Found { scanned: Some(0), ..Found::default() };
    let mut newest: Option<i64> = None;
    let mut left = MOST_BYTES;
    for file in &files {
        let (events, cut) = match events_of(file, left.min(MOST_BYTES_OF_A_FILE)) {
            Ok(read) => read,
            Err(error) => {
                found.hints.push(format!("{} cannot be read: {error}", file.name));
                continue;
            }
        };
        left = left.saturating_sub(file.bytes.min(MOST_BYTES_OF_A_FILE));
        if cut && events.first().is_none_or(|event| question.window.start < event.at) {
            found.hints.push(format!("only the end of {} was read", file.name));
            found.more = true;
        }
        newest = newest.max(events.iter().map(|event| event.at).max());
        found.scanned = found.scanned.map(|scanned| scanned + events.len() as u64);
        let fits = |event: &Event| {
            question.window.holds(event.at)
                && filter.as_ref().is_none_or(|filter| filter.fits(&event.message))
        };
        found.events.extend(events.into_iter().filter(fits));
    }
    if found.events.is_empty() {
        found.hints.extend(hints(&files, newest, question.window));
    }
    found.events.sort_by_key(|event| event.at);
    let surplus = found.events.len().saturating_sub(question.limit);
    found.more |= 0 < surplus;
    match question.order {
        Order::Newest => drop(found.events.drain(..surplus)),
        Order::Oldest => found.events.truncate(question.limit),
    }
    Ok(found)
}

/// Why nothing was found.
fn hints(files: &[LogFile], newest: Option<i64>, window: Window) -> Vec<String> {
    let newest_said = newest.map(|at| format!("the newest event is of {}", rfc3339(at)));
    match newest {
        None if files.is_empty() => vec!["no file fits the source's paths".to_owned()],
        None => vec![format!("{} files fit, and all are empty", files.len())],
        Some(at) if at < window.start => newest_said.into_iter().collect(),
        Some(_) => vec![format!(
            "{} files have events, none in this window that fit; {}",
            files.len(),
            newest_said.unwrap_or_default()
        )],
    }
}

/// The files of a source, or those of an environment within it, the last changed first.
fn log_files(target: &Target, streams: &[String]) -> Result<Vec<LogFile>, ToolError> {
    if target.source.paths.is_empty() {
        let message = format!("the source {} names no paths", target.name);
        return Err(ToolError::new(Code::FailedPrecondition, message)
            .hint("set paths = [\"/var/log/myapp/*.log\"] for it"));
    }
    let folders: Vec<PathBuf> = target
        .source
        .paths
        .iter()
        .filter_map(|glob| fs::canonicalize(split(glob).0).ok())
        .collect();
    let globs = if target.paths.is_empty() { &target.source.paths } else { &target.paths };
    let mut files: Vec<LogFile> = globs.iter().flat_map(|glob| matching(glob)).collect();
    // A link may point elsewhere: what counts is where the file is.
    files.retain(|file| folders.iter().any(|folder| file.path.starts_with(folder)));
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files.dedup_by(|left, right| left.path == right.path);
    files.retain(|file| streams.is_empty() || streams.iter().any(|name| fits(name, &file.name)));
    files.sort_by_key(|file| -file.changed_at);
    files.truncate(MOST_FILES);
    Ok(files)
}

/// The folder before the first wildcard, and the parts after it.
fn split(glob: &str) -> (PathBuf, Vec<&str>) {
    let parts: Vec<&str> = glob.split('/').collect();
    let wild = parts.iter().position(|part| part.contains(['*', '?']));
    let first = wild.unwrap_or(parts.len() - 1);
    let folder = parts[..first].join("/");
    let folder = match (folder.is_empty(), glob.starts_with('/')) {
        (true, true) => "/".to_owned(),
        (true, false) => ".".to_owned(),
        (false, _) => folder,
    };
    (PathBuf::from(folder), parts[first..].to_vec())
}

fn matching(glob: &str) -> Vec<LogFile> {
    let (folder, parts) = split(glob);
    let mut found = Vec::new();
    walk(&folder, &parts, DEEPEST, &mut found);
    found
}

fn walk(folder: &Path, parts: &[&str], depth: usize, found: &mut Vec<LogFile>) {
    let Some((part, rest)) = parts.split_first() else { return };
    let Ok(entries) = fs::read_dir(folder) else { return };
    if *part == "**" {
        walk(folder, rest, depth, found);
    }
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && 0 < depth {
            match *part {
                "**" => walk(&path, parts, depth - 1, found),
                _ if fits(part, &name) => walk(&path, rest, depth - 1, found),
                _ => {}
            }
        } else if rest.is_empty() && (*part == "**" || fits(part, &name)) {
            found.extend(log_file(&path, name));
        }
    }
}

fn log_file(path: &Path, name: String) -> Option<LogFile> {
    let path = fs::canonicalize(path).ok()?;
    let about = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let changed_at = i64::try_from(changed.as_millis()).ok()?;
    Some(LogFile { path, name, bytes: about.len(), changed_at })
}

/// Whether a name fits a glob of one part.
fn fits(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        if glob.get(at) == Some(&'*') {
            star = Some((at, of));
            at += 1;
        } else if glob.get(at).is_some_and(|char| *char == '?' || *char == name[of]) {
            (at, of) = (at + 1, of + 1);
        } else if let Some((back, from)) = star {
            // The star takes one more.
            (at, of, star) = (back + 1, from + 1, Some((back, from + 1)));
        } else {
            return false;
        }
    }
    glob[at..].iter().all(|char| *char == '*')
}

/// The events at the end of a file, and whether it was cut.
fn events_of(file: &LogFile, most: u64) -> std::io::Result<(Vec<Event>, bool)> {
    let mut opened = File::open(&file.path)?;
    let length = opened.metadata()?.len();
    let from = length.saturating_sub(most);
    opened.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    opened.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line of a cut file is half a line.
    let whole = if 0 < from { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok((events(whole, &file.name, file.changed_at), 0 < from))
}

/// The events in a text that is no file: those without a time are of 1970.
pub(in crate::observability) fn events_in(text: &str) -> Vec<Event> {
    events(text, "", 0)
}

/// Lines become events; a line that goes on with an event belongs to it.
fn events(text: &str, name: &str, changed_at: i64) -> Vec<Event> {
    let now = now();
    let mut events: Vec<Event> = Vec::new();
    let mut undated = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let at = time_of(line, now);
        match (at, events.last_mut()) {
            (None, Some(last)) if goes_on(line, &last.message) => {
                if last.message.len() + line.len() < LONGEST_EVENT {
                    last.message.push('\n');
                    last.message.push_str(line);
                }
            }
            (at, last) => {
                let before = last.map(|event| event.at);
                undated += usize::from(at.is_none() && before.is_none());
                // A line without a time happened when the one before it did.
                let at = at.or(before).unwrap_or(changed_at);
                let (message, stream) = (line.to_owned(), name.to_owned());
                events.push(Event { at, message, stream });
            }
        }
    }
    date_first(&mut events, undated);
    events
}

/// Gives lines before the first time that time.
fn date_first(events: &mut [Event], undated: usize) {
    let Some(first) = events.iter().map(|event| event.at).min() else { return };
    if 0 < undated {
        let dated = events.iter().position(|event| event.at != events[0].at);
        let time = dated.map_or(first, |place| events[place].at);
        let until = dated.unwrap_or_default();
        events[..until].iter_mut().for_each(|event| event.at = time);
    }
}

fn time_of(line: &str, now: i64) -> Option<i64> {
    match object(line) {
        Some(object) => TIME_KEYS.iter().find_map(|key| of_value(object.get(*key)?)),
        None => leading(line, now).map(|(at, _)| at),
    }
}

/// Whether a line without a time belongs to the event above it.
fn goes_on(line: &str, above: &str) -> bool {
    const BEGIN: [&str; 4] = ["Caused by:", "Traceback ", "The above exception", "Suppressed:"];
    line.starts_with(char::is_whitespace)
        || is_frame(line)
        || BEGIN.iter().any(|begin| line.starts_with(begin))
        // The last line of a Python trace says what happened.
        || above.lines().last().is_some_and(|last| last.starts_with("    ")) && above.contains("Traceback ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_within_one_part() {
        let cases = [
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("a?c*", "abcd", true),
            ("*b*b", "abab", true),
            ("*b*c", "abab", false),
            ("", "", true),
            ("**", "a", true),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(fits(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn a_stack_trace_is_one_event() {
        let text = "start\n2026-11-21T10:05:05Z ERROR no\n\tat a.b(C.java:1)\nCaused by: x\n\tat d\nnext\n";
        let found = events(text, "a.log", 7);
        let told: Vec<_> =
            found.iter().map(|event| (event.at, event.message.lines().count())).collect();
        assert_eq!(told, [(1_795_255_505_000, 1), (1_795_255_505_000, 4), (1_795_255_505_000, 1)]);
        let python = "2026-11-21T10:05:05Z ERROR no\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nKeyError: 1\nnext";
        assert_eq!(events(python, "a.log", 7).len(), 2);
    }

    #[test]
    fn json_lines_say_when_they_were_written() {
        let text = "{\"ts\":1795255505.25,\"msg\":\"a\"}\n{\"time\":\"2026-11-21T10:05:05Z\",\"msg\":\"b\"}\n{\"msg\":\"c\"}\n";
        let times: Vec<_> = events(text, "a.log", 7).iter().map(|event| event.at).collect();
        assert_eq!(times, [1_795_255_505_250, 1_795_255_505_000, 1_795_255_505_000]);
    }
}
