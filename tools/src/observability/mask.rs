//! Takes out of a message what differs from one to the next of its kind.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A form of what differs, and what stands in its place. The first ones win.
type Mask = (Regex, &'static str);

static MASKS: LazyLock<[Mask; 7]> = LazyLock::new(|| {
    let masks = [
        (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "<uuid>"),
        (
            concat!(
                r"\b[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?\b",
                r"|\b[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?\b",
            ),
            "<time>",
        ),
        (r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]+)?\b", "<ip>"),
        (r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
        (r"\b[0-9a-fA-F]{12,}\b", "<hex>"),
        // A path begins where a word does: 3/4/5 is none. What stands before it is kept.
        (r#"(^|[\s=:("'\[,<>])(?:/[A-Za-z0-9._@%+~$-]+){2,}/?"#, "<path>"),
        (r"[0-9]+(?:\.[0-9]+)?", "<num>"),
    ];
    masks.map(|(form, name)| (Regex::new(form).expect("the masks that ship are valid"), name))
});

/// The message with its variable parts masked.
pub(super) fn mask(text: &str) -> String {
    let mut masked = Cow::Borrowed(text);
    for (form, name) in MASKS.iter() {
        let replaced = form.replace_all(&masked, |found: &Captures<'_>| {
            let kept = found.get(1).map_or("", |before| before.as_str());
            format!("{kept}{name}")
        });
        if let Cow::Owned(changed) = replaced {
            masked = Cow::Owned(changed);
        }
    }
    masked.into_owned()
}

/// Whether a word has a masked part.
pub(super) fn is_masked(word: &str) -> bool {
    const NAMES: [&str; 6] = ["<uuid>", "<time>", "<ip>", "<hex>", "<path>", "<num>"];
    word.contains('<') && NAMES.iter().any(|name| word.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_masked_in_order() {
        let cases = [
            ("job 123e4567-e89b-12d3-a456-426614174000 done", "job <uuid> done"),
            ("at 2026-11-21T10:05:05.123Z it", "at <time> it"),
            ("at 2026-11-21 10:05:05,123 it", "at <time> it"),
            ("at 10:05:05 it", "at <time> it"),
            ("from 10.0.0.1:8080 to 10.0.0.2", "from <ip> to <ip>"),
            ("pointer 0x7ffe and deadbeefcafe01", "pointer <hex> and <hex>"),
            ("open /var/log/app.log: no", "open <path>: no"),
            ("GET /health took 12.5 ms", "GET /health took <num> ms"),
            ("blk_388 of 3/4", "blk_<num> of <num>/<num>"),
            ("nothing here", "nothing here"),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text), expected);
        }
    }
}
