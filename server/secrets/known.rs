//! What this process has seen of secrets, so that nothing it says anywhere repeats one.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use zeroize::Zeroizing;

use super::{SHORTEST, Scrubber, Secret};

/// How many values that tools made are remembered.
const MOST_MINTED: usize = 64;

/// How many values of one configured secret are remembered: some have another one every few minutes, and what hides them
/// grows with each.
const MOST_VALUES: usize = 8;

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

#[derive(Default)]
struct Known {
    secrets: Vec<(String, Secret)>,
    minted: VecDeque<Zeroizing<String>>,
    scrubbers: Scrubbers,
}

/// Texts and values without anything that this process knows to be secret; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Scrubbers {
    secrets: Arc<Scrubber>,
    minted: Arc<Scrubber>,
}

/// What stands in the place of a value that is kept sealed.
const SEALED: &str = "[sealed]";

impl Scrubbers {
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.minted.text(text) {
            Cow::Borrowed(text) => self.secrets.text(text),
            Cow::Owned(text) => Cow::Owned(self.secrets.text(&text).into_owned()),
        }
    }

    fn beginning(&self, text: &str) -> String {
        self.secrets.beginning(&self.minted.beginning(text))
    }

    pub(crate) fn value(&self, value: serde_json::Value) -> serde_json::Value {
        self.secrets.value(self.minted.value(value))
    }
}

/// The text without any secret that this process knows.
pub(crate) fn hide(text: &str) -> Cow<'_, str> {
    scrubbers().text(text)
}

/// The beginning of a text that was cut, without any secret that this process knows, be it only begun.
pub(crate) fn hide_in_beginning(text: &str) -> String {
    scrubbers().beginning(text)
}

/// What hides everything that this process knows by now.
pub(crate) fn scrubbers() -> Scrubbers {
    KNOWN.read().unwrap_or_else(PoisonError::into_inner).scrubbers.clone()
}

/// Remembers a secret; from now on it is in nothing that this process says.
pub(super) fn remember(name: &str, secret: &Secret) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let label = format!("[secret {name}]");
    let is_same = |(_, other): &(String, Secret)| other.expose() == secret.expose();
    if let Some(place) = known.secrets.iter().position(is_same) {
        // Under the label that it has; whoever uses it now keeps it from being forgotten.
        let (label, _) = known.secrets.remove(place);
        known.secrets.push((label, secret.clone()));
        return;
    }
    known.secrets.push((label.clone(), secret.clone()));
    let of_it = known.secrets.iter().filter(|(other, _)| *other == label).count();
    for _ in MOST_VALUES..of_it {
        // What a call still uses may come back from it.
        let is_forgotten =
            |(other, secret): &(String, Secret)| *other == label && !secret.is_used();
        let Some(oldest) = known.secrets.iter().position(is_forgotten) else { break };
        known.secrets.remove(oldest);
    }
    let scrubber =
        Scrubber::new(known.secrets.iter().map(|(label, secret)| (label.clone(), secret.expose())));
    known.scrubbers.secrets = Arc::new(scrubber);
}

/// Remembers values that a tool made and that are kept sealed, for as long as not many newer ones come.
///
/// Those that are shorter than a secret may be are not among them.
pub(crate) fn remember_minted<'a>(values: impl IntoIterator<Item = &'a str>) {
    let values = values.into_iter().filter(|value| SHORTEST <= value.len());
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let mut is_changed = false;
    for value in values {
        // What is used again stays; a scrubber is made anew only for what was not known.
        match known.minted.iter().position(|text| text.as_str() == value) {
            Some(place) => {
                if let Some(text) = known.minted.remove(place) {
                    known.minted.push_back(text);
                }
            }
            None => {
                known.minted.push_back(Zeroizing::new(value.to_owned()));
                is_changed = true;
            }
        }
    }
    while MOST_MINTED < known.minted.len() {
        known.minted.pop_front();
    }
    if is_changed {
        let minted = known.minted.iter().map(|text| (SEALED.to_owned(), text.as_str()));
        known.scrubbers.minted = Arc::new(Scrubber::new(minted));
    }
}
