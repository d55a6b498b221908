//! Random secrets, random places for them in an answer, and how they are found again. Shares no code with what it tests.

use serde_json::{Value, json};

/// Chance that is the same for the same seed.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Letters, and what some form of writing has to escape.
const LETTERS: [&str; 34] = [
    "a", "b", "c", "Q", "R", "S", "0", "7", "9", "x", "y", "z", "K", "M", "-", "_", "\"", "\\",
    "'", "\n", "%", "+", "/", "=", "&", "<", " ", "?", "é", "ß", "漢", "🔑", "\t", "$",
];

/// A secret that no ordinary text looks like.
pub(super) fn secret(chance: &mut Chance) -> String {
    let length = 12 + chance.below(40);
    let mut secret: String = (0..length).map(|_| LETTERS[chance.below(LETTERS.len())]).collect();
    // Neither end is lost when a line is read.
    secret.insert(0, 'k');
    secret.push('e');
    secret
}

/// An answer with the secret in a few places.
pub(super) fn placed(chance: &mut Chance, secret: &str) -> Value {
    let mut answer = json!({ "harmless": [1, "two", null] });
    for place in 0..1 + chance.below(5) {
        let written = written(chance, secret);
        answer[format!("place{place}")] = match chance.below(4) {
            0 => json!(written),
            1 => json!({ "deep": [{ "er": format!("before {written} after") }] }),
            2 => json!({ written: true }),
            _ => json!([[json!({ "nested": written }).to_string()]]),
        };
    }
    answer
}

/// Every text and key of an answer, as somebody would say them.
pub(super) fn words(answer: &Value) -> String {
    match answer {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, entry)| format!("{key}: {}", words(entry)));
            entries.collect::<Vec<_>>().join("; ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => answer.to_string(),
    }
}

fn written(chance: &mut Chance, secret: &str) -> String {
    let user = "user".repeat(chance.below(3));
    match chance.below(9) {
        0 => secret.to_owned(),
        1 => quoted(secret),
        2 => quoted(&quoted(secret)),
        3 => base64(format!("{user}:{secret}").as_bytes(), b"+/"),
        4 => base64(format!("{secret}{user}").as_bytes(), b"-_"),
        5 => percent(secret, "", true),
        6 => percent(secret, "", false).replace("%20", "+"),
        7 => percent(secret, "/?=+'", false),
        _ => {
            format!("https://host/{}?token={}", percent(&user, "", true), percent(secret, "", true))
        }
    }
}

fn quoted(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(text: &str, safe: &str, is_upper: bool) -> String {
    let letter = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || safe.as_bytes().contains(&byte) => {
            char::from(byte).to_string()
        }
        byte if is_upper => format!("%{byte:02X}"),
        byte => format!("%{byte:02x}"),
    };
    text.bytes().map(letter).collect()
}

fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
    let letters: Vec<u8> =
        (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = char::from(letters[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

/// The first form of a secret that stands in a text, and where.
pub(super) fn leak_in(text: &str, secret: &str) -> Option<(String, usize)> {
    let mut forms = vec![
        ("itself".to_owned(), secret.to_owned()),
        ("JSON".to_owned(), quoted(secret)),
        ("JSON in JSON".to_owned(), quoted(&quoted(secret))),
        ("JSON in JSON in JSON".to_owned(), quoted(&quoted(&quoted(secret)))),
        ("a form".to_owned(), percent(secret, "", true).replace("%20", "+")),
        ("a form in lower case".to_owned(), percent(secret, "", false).replace("%20", "+")),
    ];
    for safe in ["", "/?=+'", "-._~"] {
        forms.push((format!("an address with {safe:?}"), percent(secret, safe, true)));
        forms.push((
            format!("an address in lower case with {safe:?}"),
            percent(secret, safe, false),
        ));
    }
    for shift in 0..3 {
        for last in [b"+/", b"-_"] {
            let shifted = [vec![b'x'; shift], secret.as_bytes().to_vec()].concat();
            let whole = base64(&shifted, last);
            let letters =
                whole.trim_end_matches('=').len() - usize::from(!shifted.len().is_multiple_of(3));
            let first = [0, 2, 3][shift];
            forms.push((format!("base64, shifted by {shift}"), whole[first..letters].to_owned()));
        }
    }
    // Parts are told line by line.
    let lines = secret.lines().map(str::trim).filter(|line| 10 <= line.len());
    forms.extend(lines.map(|line| ("a line of it".to_owned(), line.to_owned())));
    forms.into_iter().find_map(|(name, form)| Some((name, text.find(&form)?)))
}

#[test]
fn a_leak_is_found_in_every_form() {
    for seed in 0..200 {
        let chance = &mut Chance::new(seed);
        let secret = secret(chance);
        for _ in 0..20 {
            let written = written(chance, &secret);
            assert!(
                leak_in(&format!("so {written} it is"), &secret).is_some(),
                "{secret:?} {written}"
            );
        }
        assert_eq!(leak_in("nothing of it", &secret), None);
    }
    assert_eq!(base64(b"user:secret", b"+/"), "dXNlcjpzZWNyZXQ=");
}
