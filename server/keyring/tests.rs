//! What opens, what does not, and for whom.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;

fn keys(seeds: &[u8]) -> Keyring {
    let keys: Vec<String> = seeds.iter().map(|seed| STANDARD.encode([*seed; KEY_BYTES])).collect();
    Keyring::of(load::Source::Variable(Zeroizing::new(keys.join(","))))
}

#[test]
fn what_was_sealed_opens_for_its_purpose_and_context_and_no_other() {
    let keyring = keys(&[1]);
    let sealed = keyring.seal(Purpose::Output, "exec_a", b"a token").unwrap();
    assert!(!sealed.contains("token"));
    assert_eq!(*keyring.open(Purpose::Output, "exec_a", &sealed).unwrap(), b"a token");
    let other_context = keyring.open(Purpose::Output, "exec_b", &sealed);
    assert!(matches!(other_context, Err(Error::Forged)));
    let other_purpose = keyring.open(Purpose::RequestState, "exec_a", &sealed);
    assert!(matches!(other_purpose, Err(Error::Forged)));
    let again = keyring.seal(Purpose::Output, "exec_a", b"a token").unwrap();
    assert_ne!(again, sealed, "the same value twice must not look the same");
}

#[test]
fn a_changed_or_cut_text_does_not_open() {
    let keyring = keys(&[1]);
    let sealed = keyring.seal(Purpose::Output, "exec_a", b"a token").unwrap();
    for place in SEALED.len()..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(keyring.open(Purpose::Output, "exec_a", &changed).is_err(), "{place}");
    }
    for text in ["", SEALED, "sealed:v1:x:.", &sealed[..sealed.len() - 1], "hello"] {
        assert!(keyring.open(Purpose::Output, "exec_a", text).is_err(), "{text}");
    }
}

#[test]
fn the_newest_key_seals_and_signs_and_every_key_opens_and_verifies() {
    let (old, rotated, fresh) = (keys(&[1]), keys(&[2, 1]), keys(&[2]));
    let sealed = old.seal(Purpose::Output, "c", b"x").unwrap();
    let signed = old.sign(Purpose::Link, b"x", 10).unwrap();
    assert_eq!(*rotated.open(Purpose::Output, "c", &sealed).unwrap(), b"x");
    assert_eq!(rotated.verify(Purpose::Link, &signed, 9).unwrap(), b"x");
    assert!(matches!(fresh.open(Purpose::Output, "c", &sealed), Err(Error::UnknownKey(_))));
    assert!(matches!(fresh.verify(Purpose::Link, &signed, 9), Err(Error::UnknownKey(_))));
    let sealed = rotated.seal(Purpose::Output, "c", b"x").unwrap();
    assert_eq!(*fresh.open(Purpose::Output, "c", &sealed).unwrap(), b"x");
}

#[test]
fn a_signature_holds_for_its_purpose_until_its_time_is_over() {
    let keyring = keys(&[1]);
    let signed = keyring.sign(Purpose::Link, b"exec_a/approve", 1_000).unwrap();
    assert_eq!(keyring.verify(Purpose::Link, &signed, 999).unwrap(), b"exec_a/approve");
    assert!(matches!(keyring.verify(Purpose::Link, &signed, 1_000), Err(Error::Expired)));
    assert!(matches!(keyring.verify(Purpose::RequestState, &signed, 999), Err(Error::Forged)));
    let later = signed.replace(":1000:", ":9000:");
    assert!(matches!(keyring.verify(Purpose::Link, &later, 999), Err(Error::Forged)));
    let in_an_address = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    assert!(signed.chars().all(in_an_address), "{signed}");
}

#[test]
fn processes_that_make_the_keyring_at_the_same_moment_agree() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data/keyring");
    let start = std::sync::Barrier::new(8);
    let ids: BTreeSet<Vec<String>> = std::thread::scope(|scope| {
        let ask = || {
            start.wait();
            Keyring::in_file(path.clone()).ids().unwrap()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(files.len(), 1, "no draft stays behind");
}

#[test]
fn keys_that_cannot_be_read_are_not_shown() {
    let text = "bm90IGEga2V5IG9mIDMyIGJ5dGVz";
    let keyring = Keyring::of(load::Source::Variable(Zeroizing::new(text.to_owned())));
    let message = keyring.ids().unwrap_err().to_string();
    assert!(message.contains("32 bytes") && !message.contains(text), "{message}");
}

#[test]
fn a_keyring_that_somebody_named_is_not_made_up() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys");
    let keyring = Keyring::of(load::Source::File(path.clone()));
    assert!(keyring.ids().unwrap_err().to_string().contains("cannot be read"));
    assert!(!path.exists());
}
