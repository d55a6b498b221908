//! Params with secrets and opened texts in their places. Only slots are filled: data that merely has the words
//! `${secrets.NAME}` in it stays as it is.

use std::collections::BTreeMap;

use serde_json::Value;
use windlass_engine::SecretSlot;

use crate::{
    keyring::{SEALED, token_at},
    secrets::{self, Secret},
};

/// Opens a sealed text, if it is one of this execution.
type Open<'a> = dyn Fn(&str) -> Option<Value> + 'a;

struct Filling<'a> {
    slots: BTreeMap<&'a str, Vec<(usize, &'a str, &'a Secret)>>,
    open: &'a Open<'a>,
}

/// The params as the tool gets them; `None` when a slot is not where it says.
pub(super) fn filled(
    params: Value,
    slots: &[SecretSlot],
    secrets: &BTreeMap<String, Secret>,
    open: &Open<'_>,
) -> Option<Value> {
    let mut filling = Filling { slots: BTreeMap::new(), open };
    for slot in slots {
        let (name, secret) = secrets.get_key_value(&slot.name)?;
        let there = filling.slots.entry(&slot.pointer).or_default();
        there.push((slot.offset, name, secret));
    }
    for there in filling.slots.values_mut() {
        there.sort_by_key(|(offset, _, _)| *offset);
    }
    let params = filling.value(params, "")?;
    filling.slots.is_empty().then_some(params)
}

impl Filling<'_> {
    fn value(&mut self, value: Value, pointer: &str) -> Option<Value> {
        Some(match value {
            Value::String(text) => self.text(&text, pointer)?,
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                let items =
                    items.map(|(index, item)| self.value(item, &format!("{pointer}/{index}")));
                Value::Array(items.collect::<Option<_>>()?)
            }
            Value::Object(entries) => {
                let entries = entries.into_iter().map(|(key, entry)| {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    Some((key, self.value(entry, &format!("{pointer}/{escaped}"))?))
                });
                Value::Object(entries.collect::<Option<_>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        })
    }

    fn text(&mut self, text: &str, pointer: &str) -> Option<Value> {
        match self.slots.remove(pointer) {
            Some(slots) => {
                let mut between = |text: &str| self.opened(text);
                secrets::fill(text, &slots, &mut between).map(Value::String)
            }
            None if token_at(text) == Some(text.len()) => {
                Some((self.open)(text).unwrap_or_else(|| Value::from(text)))
            }
            None => Some(Value::String(self.opened(text))),
        }
    }

    /// A text with the sealed texts in it opened that are texts themselves.
    fn opened(&self, text: &str) -> String {
        let (mut opened, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find(SEALED) {
            let (before, from) = rest.split_at(start);
            opened.push_str(before);
            let length = token_at(from).unwrap_or(SEALED.len());
            let (token, behind) = from.split_at(length);
            match (self.open)(token) {
                Some(Value::String(text)) => opened.push_str(&text),
                Some(_) | None => opened.push_str(token),
            }
            rest = behind;
        }
        opened.push_str(rest);
        opened
    }
}
