//! Groups the messages of a log by their kind: many lines become a few patterns.
//!
//! What differs is masked, the rest is compared word by word within a bucket of messages of the same
//! length that begin alike. A message joins the pattern it is most like, if it is like it at all.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::lines::{Level, Reading, read};
use super::mask::is_masked;
use super::time::rfc3339;
use crate::contract::text::without_invisible;

/// How many patterns are told; the others are counted.
pub const MOST_PATTERNS: usize = 15;
/// Half of the words must be the same.
const LIKE_ENOUGH: f64 = 0.5;
const ANY: &str = "<*>";
const LONGEST_TEMPLATE: usize = 300;
const LONGEST_EXAMPLE: usize = 120;
const MOST_FIELDS: usize = 4;
const MOST_VALUES: usize = 3;
/// A field with more values than this tells nothing about a pattern.
const FEW_VALUES: usize = 5;

/// A kind of message.
#[derive(Debug, Clone)]
pub struct Pattern {
    words: Vec<String>,
    /// How grave its messages are.
    pub level: Level,
    /// How many messages are of it.
    pub count: usize,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    example: String,
    fields: BTreeMap<String, BTreeMap<String, usize>>,
}

/// Messages, grouped.
#[derive(Debug, Default)]
pub struct Patterns {
    /// The kinds, in the order in which they were first seen.
    pub all: Vec<Pattern>,
    buckets: HashMap<(String, usize, String, String), Vec<usize>>,
}

impl Patterns {
    /// Adds a message and says which pattern it is of, as an index into `all`.
    pub fn add(&mut self, message: &str, at: Option<i64>) -> usize {
        let reading = read(message);
        let words: Vec<String> = reading.text.split_whitespace().map(str::to_owned).collect();
        let bucket = self.buckets.entry(bucket(&reading, &words)).or_default();
        let found = most_like(&self.all, bucket, &words).unwrap_or_else(|| {
            bucket.push(self.all.len());
            self.all.push(Pattern::new(words.clone(), reading.level, message));
            self.all.len() - 1
        });
        self.all[found].take(&words, &reading, at);
        found
    }

    /// Indexes of the patterns, the gravest and commonest first.
    #[must_use]
    pub fn ranked(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|index| (usize::MAX - self.all[*index].count, *index));
        order
    }

    /// How many messages there are of each level.
    #[must_use]
    pub fn counts(&self) -> Value {
        let mut counts = Map::new();
        for level in Level::ALL {
            let of_level = self.all.iter().filter(|pattern| pattern.level == level);
            let sum: usize = of_level.map(|pattern| pattern.count).sum();
            counts.insert(level.word().to_owned(), sum.into());
        }
        Value::Object(counts)
    }

    /// The commonest patterns as they are told, and what is left out.
    #[must_use]
    pub fn shown(&self, most: usize) -> (Vec<Value>, Value) {
        let total: usize = self.all.iter().map(|pattern| pattern.count).sum();
        let ranked = self.ranked();
        let (shown, rest) = ranked.split_at(most.min(ranked.len()));
        let patterns = shown.iter().map(|index| self.all[*index].shown(total)).collect();
        let lines: usize = rest.iter().map(|index| self.all[*index].count).sum();
        (patterns, json!({ "patterns": rest.len(), "lines": lines }))
    }
}

fn bucket(reading: &Reading, words: &[String]) -> (String, usize, String, String) {
    let word = |place: usize| match words.get(place) {
        Some(word) if is_masked(word) => "*".to_owned(),
        Some(word) => word.clone(),
        None => String::new(),
    };
    (reading.head.clone(), words.len(), word(0), word(1))
}

fn most_like(all: &[Pattern], bucket: &[usize], words: &[String]) -> Option<usize> {
    let alike = |index: &usize| (likeness(&all[*index].words, words), *index);
    let likely = bucket.iter().map(alike).filter(|(likeness, _)| LIKE_ENOUGH <= *likeness);
    // The earlier one wins between two that are as like.
    likely
        .max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(&left.1)))
        .map(|(_, index)| index)
}

/// The share of words that are the same.
#[allow(clippy::cast_precision_loss, reason = "nobody writes messages of 2^52 words")]
fn likeness(template: &[String], words: &[String]) -> f64 {
    if words.is_empty() {
        return 1.0;
    }
    let same = template.iter().zip(words).filter(|(own, word)| own == word).count();
    same as f64 / words.len() as f64
}

impl Pattern {
    fn new(words: Vec<String>, level: Level, example: &str) -> Self {
        Self {
            words,
            level,
            count: 0,
            first_seen: None,
            last_seen: None,
            example: example.to_owned(),
            fields: BTreeMap::new(),
        }
    }

    fn take(&mut self, words: &[String], reading: &Reading, at: Option<i64>) {
        for (own, word) in self.words.iter_mut().zip(words) {
            if own != word {
                ANY.clone_into(own);
            }
        }
        self.count += 1;
        self.level = self.level.min(reading.level);
        self.first_seen = self.first_seen.into_iter().chain(at).min();
        self.last_seen = self.last_seen.into_iter().chain(at).max();
        for (key, value) in &reading.fields {
            let values = self.fields.entry(key.clone()).or_default();
            // One more than few is enough to know that they are many.
            if values.contains_key(value) || values.len() <= FEW_VALUES {
                *values.entry(value.clone()).or_default() += 1;
            }
        }
    }

    /// What all its messages have in common.
    #[must_use]
    pub fn template(&self) -> String {
        cut(&without_invisible(&self.words.join(" ")), LONGEST_TEMPLATE)
    }

    /// One of its messages, cut.
    #[must_use]
    pub fn example(&self) -> String {
        cut(&without_invisible(&self.example), LONGEST_EXAMPLE)
    }

    /// As it is told in answers, as a part of so many messages.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share is told in thousandths")]
    pub fn shown(&self, total: usize) -> Value {
        let share = self.count as f64 / total.max(1) as f64;
        let template = self.template();
        let mut shown = json!({
            "template": template,
            "count": self.count,
            "share": (share * 1000.0).round() / 1000.0,
            "level": self.level.word(),
        });
        if let (Some(first), Some(last)) = (self.first_seen, self.last_seen) {
            shown["first_seen"] = rfc3339(first).into();
            shown["last_seen"] = rfc3339(last).into();
        }
        let example = self.example();
        if example != template {
            shown["example"] = example.into();
        }
        let fields = self.shown_fields();
        if !fields.is_empty() {
            shown["fields"] = fields.into();
        }
        shown
    }

    /// The commonest values of the fields that have few.
    fn shown_fields(&self) -> Map<String, Value> {
        let few = self.fields.iter().filter(|(_, values)| values.len() <= FEW_VALUES);
        let told = few.take(MOST_FIELDS).map(|(key, values)| {
            let mut values: Vec<_> = values.iter().collect();
            values.sort_by_key(|(_, count)| usize::MAX - **count);
            let values = values.into_iter().take(MOST_VALUES);
            let values = values.map(|(value, count)| (without_invisible(value), json!(count)));
            (without_invisible(key), Value::Object(values.collect()))
        });
        told.collect()
    }
}

/// The start of a text, with a sign that there was more.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}
