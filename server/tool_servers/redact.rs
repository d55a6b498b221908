//! Hides what a configuration supplied, and every secret that this process knows, from everything that is shown.

use std::{fmt, sync::Arc};

use crate::secrets::{Scrubber, hide, hide_in_beginning};

/// Shorter values (`1`, `on`) are no secrets, and hiding them would make texts unreadable.
const SHORTEST_SECRET: usize = 4;

/// Replaces a configuration's own values by `***`, and secrets by their names; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    own: Arc<Scrubber>,
}

impl Redactor {
    pub(super) fn new(secrets: impl Iterator<Item = String>) -> Redactor {
        let secrets: Vec<String> =
            secrets.filter(|secret| SHORTEST_SECRET <= secret.len()).collect();
        let hidden = secrets.iter().map(|secret| ("***".to_owned(), secret.as_str()));
        Redactor { own: Arc::new(Scrubber::new(hidden)) }
    }

    pub(super) fn redact(&self, text: &str) -> String {
        hide(&self.own.text(text)).into_owned()
    }
}

impl Redactor {
    /// The same for a text that was cut: what is only begun at its end is hidden, too.
    pub(super) fn redact_beginning(&self, text: &str) -> String {
        hide_in_beginning(&self.own.beginning(text))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({:?})", self.own)
    }
}
