//! Hides what a configuration supplied from everything that is shown.

use std::{fmt, sync::Arc};

/// Shorter values (`1`, `on`) are no secrets, and hiding them would make texts unreadable.
const SHORTEST_SECRET: usize = 4;

/// Replaces known secrets by `***`; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    secrets: Arc<[String]>,
}

impl Redactor {
    pub(super) fn new(secrets: impl Iterator<Item = String>) -> Redactor {
        let mut secrets: Vec<String> =
            secrets.filter(|secret| SHORTEST_SECRET <= secret.len()).collect();
        // The longest first, so that a secret which contains another is hidden as a whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Redactor { secrets: secrets.into() }
    }

    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}
