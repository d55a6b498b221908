//! Takes secrets out of texts and values, in every form in which they may have come back.

use std::{borrow::Cow, fmt};

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};

use super::{
    SHORTEST,
    forms::{self, Form},
    view,
};

/// How many bytes of a text are read otherwise at once: what a reading takes is many times the text.
pub(super) const PIECE: usize = 64 * 1024;

/// How many bytes one byte may have become, escapes of escapes included.
const MOST_ESCAPED: usize = 16;

/// Replaces what it knows; knows nothing by default.
#[derive(Clone, Default)]
pub(crate) struct Scrubber {
    finder: Option<AhoCorasick>,
    forms: Vec<Form>,
    /// By form: what stands in its place afterwards.
    labels: Vec<String>,
}

impl Scrubber {
    /// Hides each text behind its label, and the longer ones in all their forms; empty texts are no secrets.
    pub(crate) fn new<'a>(hidden: impl IntoIterator<Item = (String, &'a str)>) -> Scrubber {
        let (mut all, mut labels) = (Vec::new(), Vec::new());
        for (label, text) in hidden {
            let forms = match text.len() {
                0 => Vec::new(),
                // Its other forms would be found where it is not.
                length if length < SHORTEST => {
                    vec![Form { bytes: text.into(), leans_back: false, leans_forward: false }]
                }
                _ => forms::forms(text),
            };
            labels.extend(forms.iter().map(|_| label.clone()));
            all.extend(forms);
        }
        if all.is_empty() {
            // Most often there is nothing to hide, and to make a finder takes longer than to find.
            return Scrubber { finder: None, forms: all, labels };
        }
        let mut builder = AhoCorasick::builder();
        let built =
            builder.match_kind(MatchKind::Standard).build(all.iter().map(|form| &form.bytes));
        let finder = Some(built.expect("a few secrets fit into memory"));
        Scrubber { finder, forms: all, labels }
    }

    /// The text without what is hidden.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let places = self.places(text);
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut clean, mut end) = (String::with_capacity(text.len()), 0);
        for (from, to, form) in places {
            clean.push_str(&text[end..from]);
            clean.push_str(&self.labels[form]);
            end = to;
        }
        clean.push_str(&text[end..]);
        Cow::Owned(clean)
    }

    /// The beginning of a text that was cut, without what is hidden, and without the begun form at its end.
    pub(crate) fn beginning(&self, text: &str) -> String {
        let clean = self.text(text);
        let bytes = clean.as_bytes();
        let begun = |form: &Form| {
            let first = bytes.len().saturating_sub(form.bytes.len());
            (first..bytes.len()).find(|from| form.bytes.starts_with(&bytes[*from..]))
        };
        let end = self.forms.iter().filter_map(begun).min().unwrap_or(bytes.len());
        clean[..clean.floor_char_boundary(end)].to_owned()
    }

    /// The value without what is hidden, in its texts, its keys and its numbers.
    pub(crate) fn value(&self, value: Value) -> Value {
        if self.finder.is_none() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.owned(text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(entries) => Value::Object(self.entries(entries)),
            Value::Number(number) => match self.text(&number.to_string()) {
                Cow::Borrowed(_) => Value::Number(number),
                Cow::Owned(clean) => Value::String(clean),
            },
            Value::Null | Value::Bool(_) => value,
        }
    }

    fn entries(&self, entries: Map<String, Value>) -> Map<String, Value> {
        let mut clean = Map::with_capacity(entries.len());
        for (key, value) in entries {
            let mut key = self.owned(key);
            // Two keys that differed in a secret stay two.
            while clean.contains_key(&key) {
                key.push('\'');
            }
            clean.insert(key, self.value(value));
        }
        clean
    }

    fn owned(&self, text: String) -> String {
        match self.text(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(clean) => clean,
        }
    }

    /// Where something hidden stands, in order and apart from each other, with the form that reaches furthest back.
    fn places(&self, text: &str) -> Vec<(usize, usize, usize)> {
        let Some(finder) = &self.finder else { return Vec::new() };
        // All of them: where two secrets overlap, hiding one would leave a part of the other.
        let hits = |bytes: &[u8]| -> Vec<(usize, usize, usize)> {
            let hits = finder.find_overlapping_iter(bytes);
            hits.map(|hit| {
                let form = hit.pattern().as_usize();
                let (from, to) = leaning(&self.forms[form], bytes, hit.start(), hit.end());
                (from, to, form)
            })
            .collect()
        };
        let mut found = hits(text.as_bytes());
        for (start, piece) in self.pieces(text) {
            for view in view::views(piece) {
                found.extend(hits(&view.bytes).into_iter().map(|(from, to, form)| {
                    let (from, to) = view.place(from, to);
                    let (from, to) = (start + from, start + to);
                    (text.floor_char_boundary(from), text.ceil_char_boundary(to), form)
                }));
            }
        }
        found.sort_by_key(|(from, to, form)| (*from, std::cmp::Reverse(*to), *form));
        found.dedup_by(|later, earlier| {
            let overlaps = later.0 < earlier.1;
            if overlaps {
                earlier.1 = earlier.1.max(later.1);
            }
            overlaps
        });
        found
    }

    /// The text in pieces, each with where it starts. They overlap by more than a form takes with all its escapes, so that
    /// it stands whole in one of them.
    fn pieces<'a>(&self, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        let longest = self.forms.iter().map(|form| form.bytes.len()).max().unwrap_or_default();
        let overlap = longest * MOST_ESCAPED + PIECE / 16;
        let step = PIECE.max(overlap);
        (0..text.len()).step_by(step).map(move |at| {
            let start = text.floor_char_boundary(at);
            (start, &text[start..text.ceil_char_boundary(at + step + overlap)])
        })
    }
}

/// A hit with the letters beside it that tell something of the secret, too.
fn leaning(form: &Form, bytes: &[u8], from: usize, to: usize) -> (usize, usize) {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let (mut from, mut to) = (from, to);
    if form.leans_back && bytes[..from].last().is_some_and(is_letter) {
        from -= 1;
    }
    if form.leans_forward && bytes.get(to).is_some_and(is_letter) {
        to += 1;
        to += bytes[to..].iter().take(2).take_while(|byte| **byte == b'=').count();
    }
    (from, to)
}

/// Shows how many forms it knows, and none of them.
impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} forms)", self.forms.len())
    }
}
