//! Keeps results short: long texts are cut, and kept whole beside the execution where there is a host.

use jsonschema::Validator;
use serde_json::Value;

use super::{Artifact, Host, MAX_ARTIFACT_BYTES, NewArtifact};

/// No text is cut below this: shorter ones are names, addresses and digests.
const SHORTEST_CUT: usize = 256;
/// What a note in the place of what is missing may take.
const NOTE: usize = 160;

/// Whose result it is, and where the rest of it goes.
pub(super) struct Cap<'a> {
    pub(super) tool: &'a str,
    pub(super) most: usize,
    pub(super) schema: &'a Value,
    pub(super) validator: Option<&'a Validator>,
    /// Where whole texts are kept, and under which idempotency key.
    pub(super) host: Option<(&'a dyn Host, &'a str)>,
    /// Whether the tool may say that it is not done: then nothing is kept, because it is asked again and again.
    pub(super) pollable: bool,
}

/// A text in a result.
struct Text {
    pointer: String,
    bytes: usize,
}

impl Cap<'_> {
    /// The result, no longer than it may be if cutting can do that, and what was kept of it.
    pub(super) async fn apply(&self, result: Value) -> (Value, Vec<Artifact>) {
        if length(&result) <= self.most {
            return (result, Vec::new());
        }
        let whole = result;
        let places = self.places(&whole);
        let kept = self.keep(&whole, &places).await;
        let mut cut = whole.clone();
        for (place, most) in &places {
            let artifact = kept.iter().find(|(pointer, _)| *pointer == place.pointer);
            shorten(&mut cut, &place.pointer, *most, artifact.map(|(_, artifact)| artifact));
            mark(&mut cut, &place.pointer, self.schema);
        }
        while self.most < length(&cut) {
            if !self.shorten_a_list(&mut cut) {
                tracing::warn!(
                    tool = self.tool,
                    "a result is longer than it should be and cannot be cut"
                );
                break;
            }
        }
        (cut, kept.into_iter().map(|(_, artifact)| artifact).collect())
    }

    /// The texts to cut, each with the bytes that are left of it.
    fn places(&self, whole: &Value) -> Vec<(Text, usize)> {
        let mut texts = Vec::new();
        collect(whole, String::new(), &mut texts);
        texts.retain(|text| SHORTEST_CUT + NOTE < text.bytes);
        loop {
            let level = level(&texts, length(whole).saturating_sub(self.most));
            let cut: Vec<&Text> = texts.iter().filter(|text| level + NOTE < text.bytes).collect();
            let broken = self.broken(whole, &cut, level);
            if broken.is_empty() {
                let cut = texts.into_iter().filter(|text| level + NOTE < text.bytes);
                return cut.map(|text| (text, level)).collect();
            }
            // A text that must be as it is stays so, and the others give more.
            texts.retain(|text| !broken.contains(&text.pointer));
        }
    }

    /// Of these texts, those that would not fit the schema when they are cut.
    fn broken(&self, whole: &Value, texts: &[&Text], level: usize) -> Vec<String> {
        let Some(validator) = self.validator else { return Vec::new() };
        let mut cut = whole.clone();
        texts.iter().for_each(|text| shorten(&mut cut, &text.pointer, level, None));
        if validator.is_valid(&cut) || !validator.is_valid(whole) {
            return Vec::new();
        }
        // What is wrong may be said of an object around the text; so each is tried by itself.
        let breaks = |text: &&&Text| {
            let mut cut = whole.clone();
            shorten(&mut cut, &text.pointer, level, None);
            !validator.is_valid(&cut)
        };
        texts.iter().filter(breaks).map(|text| text.pointer.clone()).collect()
    }

    async fn keep(&self, whole: &Value, places: &[(Text, usize)]) -> Vec<(String, Artifact)> {
        // What is not to be read again must not be kept as it is either.
        let Some((host, key)) = self.host.filter(|_| !has_write_only(self.schema)) else {
            return Vec::new();
        };
        if self.pollable && whole.get("done") == Some(&Value::Bool(false)) {
            return Vec::new();
        }
        let mut kept = Vec::new();
        for (place, _) in places {
            let Some(Value::String(text)) = whole.pointer(&place.pointer) else { continue };
            if MAX_ARTIFACT_BYTES < text.len() {
                continue;
            }
            match host.keep(self.file(key, &place.pointer, text)).await {
                Ok(artifact) => kept.push((place.pointer.clone(), artifact)),
                Err(error) => {
                    tracing::warn!(tool = self.tool, %error, "the whole of a text that was cut is not kept");
                }
            }
        }
        kept
    }

    fn file(&self, key: &str, pointer: &str, text: &str) -> NewArtifact {
        let name = pointer.trim_start_matches('/').replace('/', ".");
        NewArtifact {
            key: NewArtifact::key_of_answer(key, pointer, text.as_bytes()),
            execution_id: super::execution_of(key).map(str::to_owned),
            step: super::step_of(key).map(str::to_owned),
            name: format!("{}.{name}.txt", self.tool),
            mime: "text/plain".to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    /// Takes the last part of the longest list away; says whether there was one.
    fn shorten_a_list(&self, result: &mut Value) -> bool {
        let mut lists = Vec::new();
        collect_lists(result, String::new(), &mut lists);
        lists.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
        let too_much = length(result).saturating_sub(self.most);
        for (pointer, _, items) in lists {
            for fewer in [keep_items(result, &pointer, too_much), items - 1] {
                let mut shorter = result.clone();
                if let Some(Value::Array(list)) = shorter.pointer_mut(&pointer) {
                    list.truncate(fewer);
                }
                mark(&mut shorter, &pointer, self.schema);
                if self.validator.is_none_or(|validator| validator.is_valid(&shorter)) {
                    *result = shorter;
                    return true;
                }
            }
        }
        false
    }
}

fn length(value: &Value) -> usize {
    // The length of the JSON without making it would need a writer of its own; results are short.
    value.to_string().len()
}

/// How a text stands in JSON is longer than it is: quotes, line feeds, what cannot be seen.
fn escaped(text: &str) -> usize {
    Value::from(text).to_string().len()
}

fn collect(value: &Value, pointer: String, found: &mut Vec<Text>) {
    match value {
        Value::String(text) => found.push(Text { pointer, bytes: escaped(text) }),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(object) => {
            for (name, member) in object {
                collect(member, inside(&pointer, name), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every list that is not empty: where it is, its bytes, its items.
fn collect_lists(value: &Value, pointer: String, found: &mut Vec<(String, usize, usize)>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_lists(item, format!("{pointer}/{index}"), found);
            }
            if !items.is_empty() {
                found.push((pointer, length(value), items.len()));
            }
        }
        Value::Object(object) => {
            for (name, member) in object {
                collect_lists(member, inside(&pointer, name), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn inside(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// How many items a list may keep so that so much goes away; one less than it has at most.
fn keep_items(result: &Value, pointer: &str, too_much: usize) -> usize {
    let Some(Value::Array(items)) = result.pointer(pointer) else { return 0 };
    let mut gone = 0;
    let last = items.iter().rposition(|item| {
        gone += length(item) + 1;
        too_much <= gone
    });
    last.unwrap_or(0).min(items.len() - 1)
}

/// The length that the longest texts are cut to, so that together they lose so much.
fn level(texts: &[Text], too_much: usize) -> usize {
    let lost = |level: usize| {
        let of = |text: &Text| text.bytes.saturating_sub(level + NOTE);
        texts.iter().map(of).sum::<usize>()
    };
    let (mut low, mut high) =
        (SHORTEST_CUT, texts.iter().map(|text| text.bytes).max().unwrap_or(SHORTEST_CUT));
    // The highest level at which enough is lost; the lowest there is where none is enough.
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if too_much <= lost(middle) { low = middle } else { high = middle }
    }
    low
}

/// Cuts one text so that its JSON has about so many bytes, and says in it how much is missing.
fn shorten(result: &mut Value, pointer: &str, most: usize, artifact: Option<&Artifact>) {
    let Some(Value::String(text)) = result.pointer_mut(pointer) else { return };
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, char)| {
        bytes += escaped(char.encode_utf8(&mut [0; 4])) - 2;
        most < bytes
    });
    let Some((end, _)) = end else { return };
    let missing = text.len() - end;
    text.truncate(end);
    text.push_str(&match artifact {
        Some(artifact) => {
            format!(
                "\n[{missing} bytes are missing here; the whole text is {}]",
                artifact.resource_uri
            )
        }
        None => format!("\n[{missing} bytes are missing here]"),
    });
}

/// Sets `truncated` around what was cut, where an answer has it.
fn mark(result: &mut Value, pointer: &str, schema: &Value) {
    let known = schema.pointer("/properties/truncated").is_some();
    if let Some(object) = result.as_object_mut().filter(|_| known) {
        object.insert("truncated".to_owned(), true.into());
    }
    let ends = pointer.char_indices().filter(|(_, char)| *char == '/').map(|(at, _)| at);
    for end in ends {
        if let Some(own @ Value::Bool(_)) =
            result.pointer_mut(&format!("{}/truncated", &pointer[..end]))
        {
            *own = true.into();
        }
    }
}

fn has_write_only(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            object.get("writeOnly") == Some(&Value::Bool(true))
                || object.values().any(has_write_only)
        }
        Value::Array(items) => items.iter().any(has_write_only),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Forgetful;
    use super::*;

    const KEY: &str = "exec_1/build#0";

    async fn capped(
        result: Value,
        schema: Value,
        host: Option<&Forgetful>,
    ) -> (Value, Vec<Artifact>) {
        capped_of(false, result, schema, host).await
    }

    async fn capped_of(
        pollable: bool,
        result: Value,
        schema: Value,
        host: Option<&Forgetful>,
    ) -> (Value, Vec<Artifact>) {
        let validator = jsonschema::validator_for(&schema).unwrap();
        let cap = Cap {
            tool: "logs",
            most: 4000,
            schema: &schema,
            validator: Some(&validator),
            host: host.map(|host| (host as &dyn Host, KEY)),
            pollable,
        };
        let (cut, kept) = cap.apply(result).await;
        assert!(validator.is_valid(&cut), "{cut}");
        (cut, kept)
    }

    #[tokio::test]
    async fn the_longest_texts_are_cut_and_kept_whole() {
        let (long, longer) = ("ä\n".repeat(3000), "b".repeat(9000));
        let result = json!({ "id": "x", "truncated": false, "logs": long, "items": [{ "text": longer, "truncated": false }] });
        let schema = json!({ "properties": { "truncated": { "type": "boolean" } } });
        let host = Forgetful::default();
        let (cut, kept) = capped(result.clone(), schema, Some(&host)).await;
        assert!(3000 < length(&cut) && length(&cut) <= 4000, "{}", length(&cut));
        assert_eq!(
            (&cut["truncated"], &cut["items"][0]["truncated"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(cut["id"], "x");
        assert_eq!(kept.len(), 2);
        for (pointer, whole) in [("/items/0/text", &longer), ("/logs", &long)] {
            let name = format!("logs{}.txt", pointer.replace('/', "."));
            let artifact = kept.iter().find(|artifact| artifact.name == name).unwrap();
            let (known, bytes) = host.artifact(&artifact.artifact_id).await.unwrap().unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), *whole);
            assert_eq!(
                (known.execution_id.as_deref(), known.step.as_deref()),
                (Some("exec_1"), Some("build"))
            );
            let text = cut.pointer(pointer).unwrap().as_str().unwrap();
            let (head, note) = text.rsplit_once("\n[").unwrap();
            assert!(whole.starts_with(head), "{text}");
            assert!(note.contains(&artifact.resource_uri), "{note}");
            assert!(note.starts_with(&format!("{} bytes", whole.len() - head.len())), "{note}");
        }
        // The same call again leads to the same files.
        let again = capped(result, json!({}), Some(&host)).await.1;
        assert_eq!(again, kept);
    }

    #[tokio::test]
    async fn what_the_next_attempt_answers_is_another_file_and_what_is_not_done_is_none() {
        let host = Forgetful::default();
        for line in ["first\n", "second\n"] {
            let text = line.repeat(2000);
            let (_, kept) = capped(json!({ "log": text }), json!({}), Some(&host)).await;
            let (_, content) = host.artifact(&kept[0].artifact_id).await.unwrap().unwrap();
            assert_eq!(String::from_utf8(content).unwrap(), text);
        }
        for (pollable, done, count) in [(true, false, 0), (true, true, 1), (false, false, 1)] {
            let result = json!({ "log": "a".repeat(9000), "done": done });
            let (_, kept) = capped_of(pollable, result, json!({}), Some(&host)).await;
            assert_eq!(kept.len(), count, "{pollable} {done}");
        }
    }

    #[tokio::test]
    async fn lists_lose_their_end_only_where_texts_do_not_suffice() {
        let items: Vec<Value> = (0..400).map(|n| json!({ "n": n, "name": "a name" })).collect();
        let schema = json!({ "properties": { "truncated": {}, "items": { "minItems": 3 } } });
        let result = json!({ "items": items, "note": "c".repeat(2000) });
        let (cut, kept) = capped(result, schema.clone(), None).await;
        let left = cut["items"].as_array().unwrap();
        assert!(100 < left.len() && left.len() < 400, "{}", left.len());
        assert_eq!((&left[0]["n"], &cut["truncated"]), (&json!(0), &json!(true)));
        assert!(cut["note"].as_str().unwrap().contains("bytes are missing here]"));
        assert!(kept.is_empty());
        let (cut, _) =
            capped(json!({ "items": [1, 2], "note": "c".repeat(9000) }), json!({}), None).await;
        assert_eq!(cut["items"], json!([1, 2]));
    }

    #[tokio::test]
    async fn what_must_be_as_it_is_stays_and_what_is_write_only_is_not_kept() {
        let digest = "d".repeat(3000);
        let schema = json!({ "properties": {
            "digest": { "type": "string", "minLength": 3000 }, "token": { "writeOnly": true },
        } });
        let result = json!({ "digest": digest, "text": "e".repeat(3000) });
        let (cut, kept) = capped(result, schema, Some(&Forgetful::default())).await;
        assert_eq!(cut["digest"], json!(digest));
        assert!(cut["text"].as_str().unwrap().len() < 1000, "{cut}");
        assert!(kept.is_empty());
    }
}
