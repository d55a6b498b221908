//! A text as somebody sees it who takes its escapes away, with the way back to the text as it was written.

use std::cell::LazyCell;

/// A way to read a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    /// `\"`, `\n`, `\u00e9`, as in JSON and in Rust's own quotes.
    Backslashes,
    /// `%2B`
    Percents,
    /// `%2B`, and `+` for a space.
    Form,
    /// `&amp;`
    Entities,
    /// Lines that were broken to fit.
    Joined,
}

use Reading::{Backslashes, Entities, Form, Joined, Percents};

/// Which readings are tried one upon another: what is found in a request's log is often JSON in JSON, or an address
/// in JSON.
const CHAINS: [&[Reading]; 15] = [
    &[Backslashes],
    &[Backslashes, Backslashes],
    &[Backslashes, Backslashes, Backslashes],
    &[Percents],
    &[Form],
    &[Percents, Percents],
    &[Percents, Backslashes],
    &[Form, Backslashes],
    &[Backslashes, Percents],
    &[Backslashes, Form],
    &[Entities],
    &[Backslashes, Entities],
    &[Entities, Backslashes],
    &[Joined],
    &[Backslashes, Joined],
];

/// What a text reads as.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    /// Where each byte stands in the text, from and to.
    places: Vec<(usize, usize)>,
}

/// Every way to read the text that tells something else than the text itself.
pub(super) fn views(text: &str) -> impl Iterator<Item = View> + '_ {
    let plain = LazyCell::new(|| View::of(text));
    CHAINS.iter().filter_map(move |chain| {
        let (first, then) = chain.split_first()?;
        if !text.bytes().any(|byte| first.marks().contains(&byte)) {
            return None;
        }
        then.iter().try_fold(plain.read(*first)?, |view, reading| view.read(*reading))
    })
}

impl Reading {
    /// Without one of these there is nothing to read otherwise.
    fn marks(self) -> &'static [u8] {
        match self {
            Backslashes => b"\\",
            Percents => b"%",
            Form => b"%+",
            Entities => b"&",
            Joined => b"\n\r",
        }
    }
}

impl View {
    fn of(text: &str) -> View {
        let places = (0..text.len()).map(|at| (at, at + 1)).collect();
        View { bytes: text.as_bytes().to_vec(), places }
    }

    /// Where a part of it stands in the text.
    pub(super) fn place(&self, from: usize, to: usize) -> (usize, usize) {
        (self.places[from].0, self.places[to - 1].1)
    }

    /// `None` when there is nothing to read otherwise.
    fn read(&self, reading: Reading) -> Option<View> {
        let marks = reading.marks();
        if !self.bytes.iter().any(|byte| marks.contains(byte)) {
            return None;
        }
        let mut view = View { bytes: Vec::new(), places: Vec::new() };
        let mut at = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let read = if marks.contains(&rest[0]) { unescaped(rest, reading) } else { None };
            let Some((bytes, length)) = read else {
                view.places.push(self.places[at]);
                view.bytes.push(rest[0]);
                at += 1;
                continue;
            };
            let (from, to) = self.place(at, at + length);
            view.places.extend(bytes.iter().map(|_| (from, to)));
            view.bytes.extend(bytes);
            at += length;
        }
        Some(view)
    }
}

/// What an escape at the beginning means, and how long it is.
fn unescaped(rest: &[u8], reading: Reading) -> Option<(Vec<u8>, usize)> {
    match reading {
        Backslashes => backslash(rest),
        Percents | Form if rest[0] == b'%' => {
            Some((vec![u8::try_from(number(rest.get(1..3)?, 16)?).ok()?], 3))
        }
        Form => Some((vec![b' '], 1)),
        Percents => None,
        Entities => entity(rest),
        Joined => {
            let is_indent = |byte: &&u8| matches!(byte, b'\n' | b'\r' | b' ' | b'\t');
            Some((Vec::new(), rest.iter().take_while(is_indent).count()))
        }
    }
}

fn backslash(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let byte = match rest.get(1)? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        b'0' => 0,
        b'x' => u8::try_from(number(rest.get(2..4)?, 16)?).ok()?,
        b'u' => return unicode(rest),
        quoted if quoted.is_ascii_punctuation() => *quoted,
        _ => return None,
    };
    Some((vec![byte], if rest[1] == b'x' { 4 } else { 2 }))
}

/// `\u00e9`, a pair of surrogates, or `\u{e9}`.
fn unicode(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    if rest.get(2) == Some(&b'{') {
        let digits = rest[3..].iter().take(7).position(|byte| *byte == b'}')?;
        return Some((utf8(number(&rest[3..3 + digits], 16)?)?, digits + 4));
    }
    let first = number(rest.get(2..6)?, 16)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((utf8(first)?, 6));
    }
    let second = rest.get(6..8).filter(|mark| *mark == b"\\u").and(rest.get(8..12));
    let second = number(second?, 16)?.checked_sub(0xdc00).filter(|second| *second < 0x400)?;
    Some((utf8(0x1_0000 + ((first - 0xd800) << 10) + second)?, 12))
}

/// `&amp;`, `&#39;`, `&#x27;`
fn entity(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = rest.iter().take(10).position(|byte| *byte == b';')?;
    let letter = match &rest[1..end] {
        b"amp" => u32::from(b'&'),
        b"lt" => u32::from(b'<'),
        b"gt" => u32::from(b'>'),
        b"quot" => u32::from(b'"'),
        b"apos" => u32::from(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return None,
    };
    Some((utf8(letter)?, end + 1))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` would take a sign.
    let are_digits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    are_digits.then(|| u32::from_str_radix(digits, radix).ok())?
}

fn utf8(letter: u32) -> Option<Vec<u8>> {
    Some(char::from_u32(letter)?.to_string().into_bytes())
}
