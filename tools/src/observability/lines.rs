//! Reads a message of a log: how grave it is, and which of its words tell its kind.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mask::mask;
use super::time;

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// Something happened.
    Info,
    /// For those who look for a defect.
    Debug,
    /// It does not say.
    Other,
}

/// A message, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) level: Level,
    /// What must be the same in all messages of a pattern: said level, class of the error, top of the stack.
    pub(super) head: String,
    /// What is compared word by word, with what differs masked.
    pub(super) text: String,
    /// What a JSON message says beside that.
    pub(super) fields: BTreeMap<String, String>,
}

const TEXT_KEYS: [&str; 5] = ["msg", "message", "event", "log", "body"];
const LEVEL_KEYS: [&str; 6] = ["level", "severity", "lvl", "log.level", "loglevel", "levelname"];
const CLASS_KEYS: [&str; 8] = [
    "error.type",
    "error.class",
    "error.name",
    "err.type",
    "err.name",
    "exception.class",
    "exception.type",
    "error_class",
];
pub(super) const TIME_KEYS: [&str; 5] = ["timestamp", "time", "@timestamp", "ts", "datetime"];
const LONGEST_FIELD: usize = 40;
const TOP_FRAMES: usize = 3;
/// A said level stands near the start: later in the line it is a word like others.
const LEVEL_WORDS: usize = 6;

impl Level {
    /// All of them, the gravest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Other];

    /// The word that is published.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Other => "other",
        }
    }

    /// The level that a word names.
    fn named(word: &str) -> Option<Self> {
        let word = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
        match word.to_ascii_lowercase().as_str() {
            "error" | "err" | "fatal" | "critical" | "crit" | "severe" | "panic" | "emerg"
            | "alert" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" | "notice" | "information" => Some(Self::Info),
            "debug" | "trace" | "verbose" | "fine" => Some(Self::Debug),
            _ => None,
        }
    }

    /// The level of pino and bunyan: 10 to 60.
    fn numbered(number: u64) -> Option<Self> {
        match number {
            10..30 => Some(Self::Debug),
            30..40 => Some(Self::Info),
            40..50 => Some(Self::Warn),
            50..=60 => Some(Self::Error),
            _ => None,
        }
    }
}

/// Reads a message.
pub(super) fn read(message: &str) -> Reading {
    let message = message.trim_end();
    object(message)
        .and_then(|object| read_object(&object))
        .or_else(|| read_access(message))
        .unwrap_or_else(|| read_text(message))
}

/// The object that a message is: JSON, or `key=value` with a key for its text.
pub(super) fn object(message: &str) -> Option<Map<String, Value>> {
    let start = message.trim_start();
    if start.starts_with('{') { serde_json::from_str(start).ok() } else { logfmt(start) }
}

/// `level=info msg="it is done" took=12ms`.
fn logfmt(message: &str) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut rest = message.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let named = |char: char| char.is_ascii_alphanumeric() || "._@-".contains(char);
        if key.is_empty() || !key.chars().all(named) {
            return None;
        }
        let quoted = after.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (value, left) =
            quoted.unwrap_or_else(|| after.split_once(char::is_whitespace).unwrap_or((after, "")));
        object.insert(key.to_owned(), value.into());
        rest = left.trim_start();
    }
    TEXT_KEYS.iter().any(|key| object.contains_key(*key)).then_some(object)
}

/// A line of a web server: what tells its kind is the method, the path and the status.
fn read_access(message: &str) -> Option<Reading> {
    const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let (_, quoted) = message.split_once('"')?;
    let (request, after) = quoted.split_once('"')?;
    let mut words = request.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let status = after.split_whitespace().next()?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    if !METHODS.contains(&method) || !version.starts_with("HTTP/") || !is_status {
        return None;
    }
    let level = if status.starts_with('5') { Level::Error } else { Level::Info };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{}", mask(part)))
        .collect();
    let first = parts.first().map_or("/", String::as_str);
    let head = format!("access|{method}|{first}|{status}");
    let text = format!(
        "{method} {} {status}",
        if parts.is_empty() { "/".to_owned() } else { parts.join(" ") }
    );
    Some(Reading { level, head, text, fields: BTreeMap::new() })
}

/// How grave a message is.
pub(super) fn level(message: &str) -> Level {
    read(message).level
}

fn read_object(object: &Map<String, Value>) -> Option<Reading> {
    let text = TEXT_KEYS.iter().find_map(|key| member(object, key)?.as_str())?;
    let class = CLASS_KEYS.iter().find_map(|key| member(object, key)?.as_str());
    let said = LEVEL_KEYS.iter().find_map(|key| match member(object, key)? {
        Value::String(word) => Level::named(word),
        Value::Number(number) => Level::numbered(number.as_u64()?),
        _ => None,
    });
    let inner = read_text(text);
    let level = said.or(class.map(|_| Level::Error)).unwrap_or(inner.level);
    let head = format!("{}|{}|{}", level.word(), class.unwrap_or_default(), inner.head);
    let text = class.map_or_else(|| inner.text.clone(), |class| format!("{class}: {}", inner.text));
    Some(Reading { level, head, text, fields: fields(object) })
}

/// A member by its name or by its path.
fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| {
        let (outer, inner) = key.split_once('.')?;
        object.get(outer)?.as_object()?.get(inner)
    })
}

/// The short values that say neither when nor what.
fn fields(object: &Map<String, Value>) -> BTreeMap<String, String> {
    let known = |key: &str| {
        TEXT_KEYS.contains(&key) || LEVEL_KEYS.contains(&key) || TIME_KEYS.contains(&key)
    };
    let short = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (text.len() <= LONGEST_FIELD).then(|| (key.clone(), text))
    };
    object.iter().filter(|(key, _)| !known(key)).filter_map(short).collect()
}

fn read_text(message: &str) -> Reading {
    let trace = Trace::of(message);
    let first = trace.as_ref().map_or_else(|| first_line(message), |trace| trace.said.clone());
    let body = without_time(&first);
    let said = said_level(body);
    let text = said.map_or(body, |(_, rest)| rest);
    let said = said.map(|(level, _)| level);
    let level = said
        .or_else(|| trace.as_ref().map(|_| Level::Error))
        .unwrap_or_else(|| supposed_level(body));
    let cause = trace.as_ref().and_then(|trace| trace.cause.as_deref());
    let text = cause.map_or_else(|| text.to_owned(), |cause| format!("{text} caused by {cause}"));
    let frames = trace.map(|trace| trace.frames).unwrap_or_default();
    let head = format!("{}|{frames}", said.map(Level::word).unwrap_or_default());
    Reading { level, head, text: mask(&text), fields: BTreeMap::new() }
}

fn first_line(message: &str) -> String {
    message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

/// A line without the time that it begins with.
fn without_time(line: &str) -> &str {
    // Any year will do: only the length counts here.
    let end = time::leading(line, i64::MAX / 4).map_or(0, |(_, end)| end);
    line[end..].trim_start()
}

/// The level that a line names near its start, and the line without it when it begins with it.
fn said_level(line: &str) -> Option<(Level, &str)> {
    for (place, word) in line.split_whitespace().take(LEVEL_WORDS).enumerate() {
        let bare = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
        let key = word.split_once('=').filter(|(key, _)| LEVEL_KEYS.contains(key));
        // "error" inside a sentence is not a level; ERROR, [error], error: and level=error are.
        let marked = !bare.is_empty() && bare.chars().all(|char| char.is_ascii_uppercase())
            || word.starts_with('[') && word.ends_with(']')
            || place == 0 && word.ends_with(':');
        let named = match key {
            Some((_, value)) => Level::named(value),
            None => Level::named(bare).filter(|_| marked),
        };
        if let Some(level) = named {
            let rest = line.trim_start().strip_prefix(word).filter(|_| place == 0);
            return Some((level, rest.map_or(line, str::trim_start)));
        }
    }
    None
}

/// The level that words of a line suggest.
fn supposed_level(line: &str) -> Level {
    const ERRORS: [&str; 7] =
        ["error", "exception", "traceback", "panicked", "fatal", "failed", "failure"];
    let lower = line.to_ascii_lowercase();
    if ERRORS.iter().any(|word| lower.contains(word)) {
        Level::Error
    } else if lower.contains("warn") {
        Level::Warn
    } else {
        Level::Other
    }
}

/// A stack trace in a message of several lines.
#[derive(Debug)]
struct Trace {
    said: String,
    cause: Option<String>,
    /// A short hash of the frames at the top.
    frames: String,
}

impl Trace {
    fn of(message: &str) -> Option<Self> {
        if !message.contains('\n') {
            return None;
        }
        let lines: Vec<&str> = message.lines().collect();
        let frames: Vec<&str> = lines.iter().copied().filter(|line| is_frame(line)).collect();
        if frames.is_empty() {
            return None;
        }
        // Python says what happened below the frames, and calls the innermost one last.
        let python = lines.iter().any(|line| line.contains("Traceback (most recent call last)"));
        let own = |line: &&&str| !line.trim().is_empty() && !line.starts_with(char::is_whitespace);
        let said = if python { lines.iter().rfind(own) } else { lines.iter().find(own) };
        let top: Vec<String> = if python {
            frames.iter().rev().take(TOP_FRAMES).map(|frame| mask(frame.trim())).collect()
        } else {
            frames.iter().take(TOP_FRAMES).map(|frame| mask(frame.trim())).collect()
        };
        let cause = lines.iter().rev().find_map(|line| line.trim().strip_prefix("Caused by:"));
        Some(Self {
            said: said.map(|line| (*line).to_owned()).unwrap_or_default(),
            cause: cause.map(|cause| cause.trim().to_owned()),
            frames: short_hash(&top),
        })
    }
}

/// Whether a line is a frame of a stack, as Java, JavaScript, C#, Python, Rust and Go write them.
pub(super) fn is_frame(line: &str) -> bool {
    let text = line.trim_start();
    let indented = text.len() < line.len();
    let numbered = text.split_once(": ").is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    indented
        && (text.starts_with("at ")
            || text.starts_with("File \"")
            || numbered
            || text.contains(".go:"))
}

fn short_hash(frames: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    frames.hash(&mut hasher);
    format!("{:06x}", hasher.finish() & 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_where_they_are_said() {
        let cases = [
            ("2026-11-21T10:05:05Z ERROR a", Level::Error),
            ("2026-11-21 10:05:05,001 [main] WARN com.example.A - slow", Level::Warn),
            ("[error] 12#0: connect() failed", Level::Error),
            ("level=info msg=\"no error here\"", Level::Info),
            (r#"{"level":"warning","msg":"slow"}"#, Level::Warn),
            (r#"{"level":50,"msg":"gone"}"#, Level::Error),
            (r#"{"severity":"INFO","message":"an error page was shown"}"#, Level::Info),
            (r#"{"msg":"x","error":{"type":"Timeout"}}"#, Level::Error),
            ("java.lang.IllegalStateException: no", Level::Error),
            ("thread 'main' panicked at src/main.rs", Level::Error),
            ("hello", Level::Other),
            ("", Level::Other),
        ];
        for (message, expected) in cases {
            assert_eq!(level(message), expected, "{message}");
        }
    }

    #[test]
    fn a_stack_trace_is_told_by_what_it_says_its_cause_and_its_top_frames() {
        let trace = |number: u32, frame: &str| {
            format!(
                "ERROR Order {number} failed\n\tat a.{frame}(A.java:{number})\n\tat b.c(B.java:2)\nCaused by: java.io.IOException: gone\n\tat d.e(D.java:3)"
            )
        };
        let (one, two) = (read(&trace(1, "pay")), read(&trace(2, "pay")));
        assert_eq!(one.head, two.head);
        assert_eq!(one.text, "Order <num> failed caused by java.io.IOException: gone");
        assert_ne!(one.head, read(&trace(1, "ship")).head);
        let python = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nKeyError: 'x'";
        assert_eq!(read(python).text, "KeyError: 'x'");
    }

    #[test]
    fn lines_of_web_servers_and_pairs_are_read_by_what_tells_their_kind() {
        let line = r#"10.0.0.1 - ada [21/Nov/2026:10:05:05 +0000] "GET /api/orders/17?x=1 HTTP/1.1" 503 12 "-" "curl""#;
        let reading = read(line);
        assert_eq!(
            (reading.text.as_str(), reading.level),
            ("GET /api /orders /<num> 503", Level::Error)
        );
        let reading = read(r#"ts=2026-11-21T10:05:05Z level=warn msg="slow rule 7" group=a"#);
        assert_eq!((reading.text.as_str(), reading.level), ("slow rule <num>", Level::Warn));
        assert_eq!(reading.fields, BTreeMap::from([("group".to_owned(), "a".to_owned())]));
        assert_eq!(object("a=b and more"), None);
    }

    #[test]
    fn a_json_message_is_its_text_and_its_class_and_the_rest_are_fields() {
        let reading = read(
            r#"{"ts":1,"level":"error","msg":"charge failed","error":{"type":"CardError"},"status":402,"tags":[1]}"#,
        );
        assert_eq!(reading.text, "CardError: charge failed");
        assert_eq!(reading.fields, BTreeMap::from([("status".to_owned(), "402".to_owned())]));
    }
}
