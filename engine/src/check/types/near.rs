//! Names that were probably meant.

use crate::problem;

/// How much of two names must be the same words, from 0 to 1.
const SHARED: f64 = 0.5;

/// The names that are near a wrong one, the nearest first: written in another style, misspelt, or made of the same words.
#[must_use]
pub fn near<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let names: Vec<&str> = names.into_iter().collect();
    let folded = fold(wrong);
    let mut found: Vec<&str> = names.iter().copied().filter(|name| fold(name) == folded).collect();
    found.extend(problem::nearest(wrong, names.iter().copied()));
    // One wrong letter is much of a short name.
    let slip = |name: &&str| 3 <= name.len() && strsim::damerau_levenshtein(wrong, name) == 1;
    found.extend(names.iter().copied().filter(slip));
    let mut alike: Vec<(f64, &str)> =
        names.iter().map(|name| (shared(wrong, name), *name)).collect();
    alike.retain(|(shared, _)| SHARED <= *shared);
    alike.sort_by(|one, other| other.0.total_cmp(&one.0));
    found.extend(alike.into_iter().map(|(_, name)| name));
    let mut nearest: Vec<String> = Vec::new();
    for name in found {
        if !nearest.iter().any(|known| known == name) {
            nearest.push(name.to_owned());
        }
    }
    nearest.truncate(3);
    nearest
}

/// The one that was certainly meant, if one was.
pub(super) fn obvious<'n>(wrong: &str, nearest: &'n [String]) -> Option<&'n str> {
    let first = nearest.first()?;
    let second = nearest.get(1);
    let leads = second.is_none_or(|second| {
        likeness(wrong, second) + 0.08 < likeness(wrong, first)
            || spelling(wrong, second) + 0.2 < spelling(wrong, first)
    });
    (fold(wrong) == fold(first) || leads).then_some(first.as_str())
}

fn likeness(one: &str, other: &str) -> f64 {
    spelling(one, other).max(strsim::jaro_winkler(&fold(one), &fold(other)) - 0.1)
}

fn spelling(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&fold(one), &fold(other))
}

/// A name without its style: `createIssue`, `create_issue` and `create-issue` are one.
pub(super) fn fold(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// How much of two names is the same: how many words, of which one may begin the other, or how many letters where one
/// name is in the other.
fn shared(one: &str, other: &str) -> f64 {
    let (letters, others) = (fold(one), fold(other));
    let (short, long) =
        if letters.len() < others.len() { (letters, others) } else { (others, letters) };
    if 2 < short.len() && long.contains(&short) && long.len() <= 2 * short.len() {
        return short.len() as f64 / long.len() as f64;
    }
    let (one, other) = (words(one), words(other));
    let same = |word: &String, other: &String| {
        let (short, long) = if word.len() < other.len() { (word, other) } else { (other, word) };
        word == other || (2 < short.len() && long.starts_with(short.as_str()))
    };
    let common = one.iter().filter(|word| other.iter().any(|known| same(word, known))).count();
    let most = one.len().max(other.len()).max(1);
    common as f64 / most as f64
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut lower = false;
    for letter in name.chars() {
        let begins = letter.is_uppercase() && lower;
        lower = letter.is_lowercase() || letter.is_numeric();
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
