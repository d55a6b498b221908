//! Schemas, as they were and as they are: what a workflow sends must still fit, what it reads must still be there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Difference, Severity, ToolSnapshot, Usage, usage::Sent};

/// Under these names a tool is given the idempotency key, whether the workflow sends it or not.
const FILLED: [&str; 2] = ["idempotency_key", "idempotencyKey"];

/// What says nothing about which values fit.
const WORDS: [&str; 7] =
    ["description", "title", "examples", "$comment", "$schema", "$id", "deprecated"];

/// What is compared in its own way.
const KNOWN: [&str; 8] =
    ["type", "enum", "const", "properties", "required", "items", "default", "additionalProperties"];

/// A higher number lets more through.
const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

/// A lower number lets more through.
const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];

/// How deep schemas are followed; what is deeper is compared as a whole.
const DEPTH: usize = 16;

type Object = Map<String, Value>;

/// What is different about what the tool takes.
pub(super) fn inputs(pinned: &ToolSnapshot, live: &ToolSnapshot, usage: &Usage) -> Vec<Difference> {
    let mut found = Found::default();
    let place = Place { part: "input".to_owned(), depth: 0 };
    found.input(&place, &pinned.input_schema, &live.input_schema, &usage.sends());
    found.differences
}

/// What is different about what the tool results in.
pub(super) fn outputs(
    pinned: &ToolSnapshot,
    live: &ToolSnapshot,
    usage: &Usage,
) -> Vec<Difference> {
    let mut found = Found::default();
    match (&pinned.output_schema, &live.output_schema) {
        (None, None) => {}
        (None, Some(_)) => {
            found.add(Severity::Compatible, "output", "is described now, and was not");
        }
        (Some(_), None) => {
            let read = usage.reads(&[]);
            let severity = if read { Severity::NeedsReview } else { Severity::Compatible };
            found.add(severity, "output", "was described, and is not any more");
        }
        (Some(pinned), Some(live)) => found.output(&mut Vec::new(), pinned, live, usage),
    }
    found.differences
}

#[derive(Default)]
struct Found {
    differences: Vec<Difference>,
}

struct Place {
    part: String,
    depth: usize,
}

impl Place {
    fn under(&self, key: &str) -> Place {
        Place { part: format!("{}.{key}", self.part), depth: self.depth + 1 }
    }
}

impl Found {
    fn add(&mut self, severity: Severity, part: impl Into<String>, message: impl Into<String>) {
        self.differences.push(Difference::new(severity, part, message));
    }

    // ---- What is sent.

    fn input(&mut self, place: &Place, pinned: &Value, live: &Value, sent: &[Sent<'_>]) {
        if pinned == live {
            return;
        }
        if sent.iter().all(|sent| sent.is_nothing()) && 0 < place.depth {
            self.unsent(place, pinned, live);
            return;
        }
        // What is known word for word is tried rather than compared.
        if 0 < place.depth && all_fit(live, sent) {
            self.add(Severity::Compatible, &place.part, "changed; what the workflow sends fits");
            return;
        }
        let (Some(pinned), Some(live)) = (pinned.as_object(), live.as_object()) else {
            self.add(Severity::NeedsReview, &place.part, format!("was {pinned}, is {live}"));
            return;
        };
        self.kinds(place, pinned, live);
        self.choices(place, pinned, live);
        self.required(place, pinned, live, sent);
        self.properties(place, pinned, live, sent);
        self.items(place, pinned, live, sent);
        self.closed(place, pinned, live, sent);
        self.limits(place, pinned, live);
        self.words(place, pinned, live);
    }

    /// The workflow does not send it, so only what holds in its absence counts.
    fn unsent(&mut self, place: &Place, pinned: &Value, live: &Value) {
        match (pinned.get("default"), live.get("default")) {
            (was, is) if was != is => {
                let message = format!("its default was {}, is {}", or_none(was), or_none(is));
                self.add(Severity::NeedsReview, &place.part, message);
            }
            _ => {
                let message = "changed; the workflow does not send it";
                self.add(Severity::Compatible, &place.part, message);
            }
        }
    }

    fn kinds(&mut self, place: &Place, pinned: &Object, live: &Object) {
        let (was, is) = (kinds(pinned), kinds(live));
        if was == is {
            return;
        }
        let fits = is.as_ref().is_none_or(|is| {
            was.as_ref().is_some_and(|was| was.iter().all(|kind| takes(is, kind)))
        });
        let severity = if fits { Severity::Compatible } else { Severity::Broken };
        let message = format!("took {}, takes {}", told(was.as_ref()), told(is.as_ref()));
        self.add(severity, &place.part, message);
    }

    fn choices(&mut self, place: &Place, pinned: &Object, live: &Object) {
        let (was, is) = (choices(pinned), choices(live));
        if was == is {
            return;
        }
        let Some(is) = is else {
            self.add(Severity::Compatible, &place.part, "is not limited to a few values any more");
            return;
        };
        let gone: Vec<String> = match &was {
            None => {
                let message = format!("takes only {} now", list(&is));
                self.add(Severity::Broken, &place.part, message);
                return;
            }
            Some(was) => {
                was.iter().filter(|value| !is.contains(value)).map(ToString::to_string).collect()
            }
        };
        if gone.is_empty() {
            let message = format!("takes more values now: {}", list(&is));
            self.add(Severity::Compatible, &place.part, message);
        } else {
            let message = format!("does not take {} any more", gone.join(", "));
            self.add(Severity::Broken, &place.part, message);
        }
    }

    fn required(&mut self, place: &Place, pinned: &Object, live: &Object, sent: &[Sent<'_>]) {
        let (was, is) = (required(pinned), required(live));
        for key in is.difference(&was) {
            let part = &place.under(key).part;
            let given = |sent: &Sent<'_>| !sent.is_nothing() && !sent.under(key).is_nothing();
            let filled = FILLED.contains(&key.as_str());
            // A part of what is not sent at all is not asked for.
            let certain = sent
                .iter()
                .filter(|sent| !sent.is_nothing())
                .all(|sent| given(sent) && !matches!(sent, Sent::Anything));
            if filled || certain {
                let message = "is required now; the workflow sends it";
                self.add(Severity::Compatible, part, message);
            } else {
                let message = "is required now, and the workflow does not send it for certain";
                self.add(Severity::Broken, part, message);
            }
        }
        for key in was.difference(&is).filter(|key| properties(live).contains_key(*key)) {
            self.add(Severity::Compatible, &place.under(key).part, "is not required any more");
        }
    }

    fn properties(&mut self, place: &Place, pinned: &Object, live: &Object, sent: &[Sent<'_>]) {
        let (was, is) = (properties(pinned), properties(live));
        for (key, schema) in was {
            let below: Vec<Sent<'_>> = sent.iter().map(|sent| sent.under(key)).collect();
            let inner = place.under(key);
            match is.get(key) {
                Some(now) if place.depth < DEPTH => self.input(&inner, schema, now, &below),
                Some(now) if schema == now => {}
                Some(_) => self.add(Severity::NeedsReview, inner.part, "changed"),
                None if below.iter().all(|sent| sent.is_nothing()) => {
                    let message = "is gone; the workflow does not send it";
                    self.add(Severity::Compatible, inner.part, message);
                }
                None => {
                    let message = "is gone, and the workflow sends it";
                    self.add(Severity::Broken, inner.part, message);
                }
            }
        }
        let needed = required(live);
        for key in is.keys().filter(|key| !was.contains_key(*key) && !needed.contains(*key)) {
            let certain = |sent: &&Sent<'_>| matches!(sent, Sent::Given(_));
            let below: Vec<_> = sent.iter().filter(certain).map(|sent| sent.under(key)).collect();
            let (severity, message) = match !all_fit(&is[key.as_str()], &below) {
                true => (Severity::NeedsReview, "is described now, and the workflow sends it"),
                false => (Severity::Compatible, "is new, and may be left out"),
            };
            self.add(severity, place.under(key).part, message);
        }
    }

    fn items(&mut self, place: &Place, pinned: &Object, live: &Object, sent: &[Sent<'_>]) {
        let (Some(was), Some(is)) = (pinned.get("items"), live.get("items")) else {
            if let Some(is) = live.get("items") {
                let message = format!("its elements must fit {is} now");
                self.add(Severity::NeedsReview, &place.part, message);
            }
            return;
        };
        let elements: Vec<Sent<'_>> = sent.iter().map(|_| Sent::Anything).collect();
        let inner = Place { part: format!("{}[]", place.part), depth: place.depth + 1 };
        self.input(&inner, was, is, &elements);
    }

    /// Whether keys that nobody described are refused now.
    fn closed(&mut self, place: &Place, pinned: &Object, live: &Object, sent: &[Sent<'_>]) {
        let refuses =
            |schema: &Object| schema.get("additionalProperties") == Some(&Value::Bool(false));
        if refuses(pinned) || !refuses(live) {
            return;
        }
        let known = properties(live);
        // Keys that were described and are gone have been told.
        let unknown = |value: &Value| {
            let keys = value.as_object().into_iter().flat_map(Map::keys);
            keys.filter(|key| !known.contains_key(*key) && !properties(pinned).contains_key(*key))
                .cloned()
                .collect::<Vec<_>>()
        };
        let stray: Vec<String> = sent
            .iter()
            .flat_map(|sent| match sent {
                Sent::Given(value) => unknown(value),
                Sent::Nothing | Sent::Anything => Vec::new(),
            })
            .collect();
        let open = sent.iter().any(|sent| matches!(sent, Sent::Anything));
        let (severity, message) = match (stray.is_empty(), open) {
            (false, _) => {
                (Severity::Broken, format!("refuses {} now, which is sent", stray.join(", ")))
            }
            (true, true) => {
                (Severity::NeedsReview, "refuses keys now that it does not describe".to_owned())
            }
            (true, false) => {
                (Severity::Compatible, "refuses keys now that it does not describe".to_owned())
            }
        };
        self.add(severity, &place.part, message);
    }

    /// Every other keyword: one that is gone lets more through, one that is new or another may let less.
    fn limits(&mut self, place: &Place, pinned: &Object, live: &Object) {
        let told = |key: &&String| !KNOWN.contains(&key.as_str()) && !WORDS.contains(&key.as_str());
        let keys: BTreeSet<&String> = pinned.keys().chain(live.keys()).filter(told).collect();
        for key in keys {
            let (was, is) = (pinned.get(key), live.get(key));
            if was == is {
                continue;
            }
            let wider = match (was.and_then(Value::as_f64), is.and_then(Value::as_f64)) {
                (Some(was), Some(is)) if MOST.contains(&key.as_str()) => was <= is,
                (Some(was), Some(is)) if LEAST.contains(&key.as_str()) => is <= was,
                // What a reference points at is not what it says.
                _ => is.is_none() && !key.starts_with('$'),
            };
            let severity = if wider { Severity::Compatible } else { Severity::NeedsReview };
            let message = format!("{key} was {}, is {}", or_none(was), or_none(is));
            self.add(severity, &place.part, message);
        }
        if pinned.get("default") != live.get("default") {
            let message = "its default changed; the workflow sends it";
            self.add(Severity::Compatible, &place.part, message);
        }
    }

    /// Words are told once, for the tool or for the one thing they describe.
    fn words(&mut self, place: &Place, pinned: &Object, live: &Object) {
        let text = |schema: &Object| schema.get("description").cloned();
        if text(pinned) != text(live) {
            self.add(Severity::Compatible, &place.part, "is described in other words");
        }
    }

    // ---- What is read.

    fn output(&mut self, path: &mut Vec<String>, pinned: &Value, live: &Value, usage: &Usage) {
        if pinned == live {
            return;
        }
        let part = output_part(path);
        let read = usage.reads(path);
        let at_worst = |severity: Severity| if read { severity } else { Severity::Compatible };
        let (Some(pinned), Some(live)) = (pinned.as_object(), live.as_object()) else {
            self.add(at_worst(Severity::NeedsReview), part, format!("was {pinned}, is {live}"));
            return;
        };
        let before = self.differences.len();
        let (was, is) = (kinds(pinned), kinds(live));
        if was != is {
            let fits = was.as_ref().is_none_or(|was| {
                is.as_ref().is_some_and(|is| is.iter().all(|kind| takes(was, kind)))
            });
            let severity = if fits { Severity::Compatible } else { at_worst(Severity::Broken) };
            let message = format!("was {}, is {}", told(was.as_ref()), told(is.as_ref()));
            self.add(severity, &part, message);
        }
        if let (Some(was), Some(is)) = (choices(pinned), choices(live))
            && is.iter().any(|value| !was.contains(value))
        {
            let message = format!("may be another value now: {}", list(&is));
            self.add(at_worst(Severity::NeedsReview), &part, message);
        }
        self.outputs_below(path, pinned, live, usage);
        if self.differences.len() == before {
            self.add(Severity::Compatible, part, "is described otherwise");
        }
    }

    fn outputs_below(
        &mut self,
        path: &mut Vec<String>,
        pinned: &Object,
        live: &Object,
        usage: &Usage,
    ) {
        let (was, is) = (properties(pinned), properties(live));
        let (promised, promises) = (required(pinned), required(live));
        for (key, schema) in was {
            path.push(key.clone());
            let read = usage.reads(path);
            match is.get(key) {
                None => {
                    let (severity, message) = match read {
                        true => (Severity::Broken, "is gone, and the workflow reads it"),
                        false => (Severity::Compatible, "is gone; the workflow does not read it"),
                    };
                    self.add(severity, output_part(path), message);
                }
                Some(now) if path.len() < DEPTH => self.output(path, schema, now, usage),
                Some(_) => {}
            }
            let dropped = promised.contains(key) && !promises.contains(key) && is.contains_key(key);
            if dropped {
                let severity = if read { Severity::NeedsReview } else { Severity::Compatible };
                self.add(severity, output_part(path), "is not promised any more");
            }
            path.pop();
        }
        for key in is.keys().filter(|key| !was.contains_key(*key)) {
            path.push(key.clone());
            self.add(Severity::Compatible, output_part(path), "is new");
            path.pop();
        }
        if let (Some(was), Some(is)) = (pinned.get("items"), live.get("items")) {
            self.output(path, was, is, usage);
        }
    }
}

/// Whether everything that is sent here is known word for word, and fits.
fn all_fit(live: &Value, sent: &[Sent<'_>]) -> bool {
    if windlass_engine::has_too_many_references(live) {
        return false;
    }
    let Ok(validator) = jsonschema::options().offline().build(live) else { return false };
    sent.iter().all(|sent| {
        sent.is_nothing() || sent.literal().is_some_and(|value| validator.is_valid(value))
    })
}

fn output_part(path: &[String]) -> String {
    let mut part = "output".to_owned();
    for key in path {
        part.push('.');
        part.push_str(key);
    }
    part
}

fn properties(schema: &Object) -> &Object {
    static NONE: std::sync::LazyLock<Object> = std::sync::LazyLock::new(Object::new);
    schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE)
}

fn required(schema: &Object) -> BTreeSet<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// The types that fit; `None` means all.
fn kinds(schema: &Object) -> Option<BTreeSet<String>> {
    match schema.get("type")? {
        Value::String(kind) => Some(BTreeSet::from([kind.clone()])),
        Value::Array(kinds) => {
            Some(kinds.iter().filter_map(|kind| Some(kind.as_str()?.to_owned())).collect())
        }
        _ => None,
    }
}

fn takes(kinds: &BTreeSet<String>, kind: &str) -> bool {
    kinds.contains(kind) || (kind == "integer" && kinds.contains("number"))
}

fn told(kinds: Option<&BTreeSet<String>>) -> String {
    match kinds {
        None => "any type".to_owned(),
        Some(kinds) => kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" or "),
    }
}

/// The values that fit, where they are counted.
fn choices(schema: &Object) -> Option<Vec<Value>> {
    match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), _) => Some(values.clone()),
        (_, Some(value)) => Some(vec![value.clone()]),
        _ => None,
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn or_none(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}
