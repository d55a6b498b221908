//! The forms in which a secret may come back: as it is, in base64, in hex, and inside other encodings of these.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shorter lines of a secret of several lines are no secrets of their own.
const SHORTEST_LINE: usize = 8;

/// What is looked for in a text.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// A letter of base64 before it also tells something of the secret.
    pub(super) leans_back: bool,
    /// A letter of base64 behind it also tells something of the secret, and padding belongs to it.
    pub(super) leans_forward: bool,
}

impl Form {
    fn plain(text: impl Into<Vec<u8>>) -> Form {
        Form { bytes: text.into(), leans_back: false, leans_forward: false }
    }
}

/// The forms of a secret that is long enough to have several.
///
/// Escapes of JSON, addresses and HTML are not among them: the text is read without its escapes instead, which finds
/// the secret however much of it was escaped.
pub(super) fn forms(secret: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for text in spellings(secret) {
        forms.push(Form::plain(text.as_str()));
        forms.extend(hex(&text));
    }
    let written = [json(secret), percent(secret, false), percent(secret, true)];
    for text in spellings(secret).iter().chain(&written) {
        for shift in 0..3 {
            forms.extend(base64(text.as_bytes(), shift));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

/// The secret, and what is left of it when somebody trims it or reads it line by line.
fn spellings(secret: &str) -> Vec<String> {
    let lines = secret.lines().map(str::trim);
    // The frame of a key in PEM is the same for all keys.
    let lines = lines.filter(|line| SHORTEST_LINE <= line.len() && !line.starts_with("-----"));
    let mut spellings = vec![secret.to_owned()];
    if SHORTEST_LINE <= secret.trim().len() {
        spellings.push(secret.trim().to_owned());
    }
    if secret.trim().contains('\n') {
        spellings.extend(lines.map(str::to_owned));
    }
    spellings.dedup();
    spellings
}

/// What base64 makes of the bytes wherever they stand in a longer text: `shift` bytes before a multiple of three.
///
/// The letters at the edges depend on the neighbours, so only those between are looked for.
fn base64(bytes: &[u8], shift: usize) -> Vec<Form> {
    let shifted: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let (first, leans_back) = ((8 * shift).div_ceil(6), shift != 0);
    let last = 8 * shifted.len() / 6;
    let mut forms = Vec::new();
    for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
        let bytes = text.as_bytes()[first..last].to_vec();
        forms.push(Form { bytes, leans_back, leans_forward: !shifted.len().is_multiple_of(3) });
    }
    forms
}

fn hex(text: &str) -> [Form; 2] {
    let lower: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [Form::plain(lower.to_ascii_uppercase()), Form::plain(lower)]
}

/// The text inside the quotes of JSON.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Percent-encoding; a form writes `+` for a space.
fn percent(text: &str, is_form: bool) -> String {
    let letter = |byte: u8| match byte {
        b' ' if is_form => "+".to_owned(),
        b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
