//! What is refused, what is hidden, and where secrets come from.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose};
use tempfile::TempDir;

use super::*;
use crate::config::Overrides;

const HARD: &str = "pä\"ss\\w/o+r=d %\n&<1>'2?\u{1f511}";

fn secrets(project: &Path, file: &str) -> Secrets {
    std::fs::write(project.join("windlass.toml"), file).unwrap();
    let overrides = Overrides { data_dir: Some(project.join("data")), ..Overrides::default() };
    Secrets::new(&Config::load_from(project, None, &|_| None, &overrides).unwrap())
}

async fn got(secrets: &Secrets, name: &str) -> Result<String, String> {
    let secret = secrets.get(name).await.map_err(|err| err.to_string())?;
    Ok(secret.expose().to_owned())
}

fn scrubber(secret: &str) -> Scrubber {
    Scrubber::new([("[secret X]".to_owned(), secret)])
}

#[track_caller]
fn hides(secret: &str, text: &str, expected: &str) {
    assert_eq!(scrubber(secret).text(text), expected, "{secret:?} in {text:?}");
}

#[test]
fn a_secret_does_not_print_itself() {
    let secret = Secret::new(Zeroizing::new("hunter22".to_owned()));
    assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(***) Some(Secret(***))");
}

#[test]
fn a_secret_is_hidden_in_every_form() {
    let quoted = json!(HARD).to_string();
    let percent = |safe: &str| -> String {
        HARD.bytes()
            .map(|byte| match byte {
                byte if safe.as_bytes().contains(&byte) => char::from(byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("%{byte:02x}"),
            })
            .collect()
    };
    let ascii: String = HARD.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    let written = [
        HARD.to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        json!(quoted[1..quoted.len() - 1]).to_string().trim_matches('"').to_owned(),
        percent(""),
        percent("/+='?&"),
        percent("").replace("%2f", "%2F").replace("%c3", "%C3"),
        percent("").replace("%20", "+"),
        percent("").replace('%', "%25"),
        ascii,
        HARD.escape_default().to_string(),
        format!("{HARD:?}").trim_matches('"').to_owned(),
        HARD.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
        general_purpose::STANDARD.encode(HARD),
        general_purpose::URL_SAFE_NO_PAD.encode(HARD),
        HARD.bytes().map(|byte| format!("{byte:02X}")).collect(),
    ];
    let clean = scrubber(HARD);
    for text in &written {
        assert_eq!(clean.text(&format!("a {text}: b")), "a [secret X]: b", "{text}");
    }
}

#[test]
fn a_secret_is_hidden_in_the_base64_of_a_longer_text() {
    for secret in ["hunter22", HARD, "a-longer-token-of-many-letters"] {
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz", ":\n"] {
                let whole = format!("{before}{secret}{after}");
                for text in [
                    general_purpose::STANDARD.encode(&whole),
                    general_purpose::URL_SAFE_NO_PAD.encode(&whole),
                ] {
                    let clean = scrubber(secret).text(&format!("Basic {text};")).into_owned();
                    assert!(clean.contains("[secret X]"), "{whole:?} {text} {clean}");
                    // At most the letters of whole bytes of the neighbours are left.
                    let left = clean.replace("[secret X]", "").replace("Basic ", "");
                    assert!(left.len() <= 2 + (before.len() + after.len()) * 4 / 3 + 3, "{clean}");
                    let folded = text.as_bytes().chunks(7).map(String::from_utf8_lossy);
                    let folded = folded.collect::<Vec<_>>().join("\r\n  ");
                    assert!(scrubber(secret).text(&folded).contains("[secret X]"), "{folded}");
                }
            }
        }
    }
}

#[test]
fn secrets_that_overlap_leave_nothing_behind() {
    let pair = [("[1]".to_owned(), "abcdefgh"), ("[2]".to_owned(), "efghijkl")];
    assert_eq!(Scrubber::new(pair).text("-abcdefghijkl-"), "-[1]-");
    let nested = [("[1]".to_owned(), "abcdefgh"), ("[2]".to_owned(), "xabcdefghx")];
    assert_eq!(Scrubber::new(nested).text("-xabcdefghx- abcdefgh"), "-[2]- [1]");
}

#[test]
fn a_line_of_a_secret_is_hidden_but_not_the_frame_of_a_key() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n";
    hides(key, "at MIIEvQIBADANBgkq", "at [secret X]");
    hides(key, "-----BEGIN KEY-----", "-----BEGIN KEY-----");
    hides(key, &format!("{key}!"), "[secret X]!");
    hides("  padded-token ", "padded-token", "[secret X]");
}

#[test]
fn other_texts_stay_as_they_are() {
    for text in ["", "hunter2", "HUNTER22", "%68 \\u00zz \\", "&amp;&;", "äöü\n\u{1f511}", "100%"]
    {
        hides("hunter22", text, text);
        assert!(matches!(scrubber("hunter22").text(text), std::borrow::Cow::Borrowed(_)));
    }
    assert_eq!(Scrubber::default().text("hunter22"), "hunter22");
    // A short text of a configuration has no other forms.
    hides("abcd", "abcd YWJjZA==", "[secret X] YWJjZA==");
}

#[test]
fn values_are_clean_in_texts_keys_and_numbers() {
    let clean = Scrubber::new([("[N]".to_owned(), "12345678"), ("[K]".to_owned(), "hunter22")]);
    let value = json!({ "hunter22": [12_345_678, "x", null], "1hunter22": true, "n": 1.5 });
    let expected = json!({ "[K]": ["[N]", "x", null], "1[K]": true, "n": 1.5 });
    assert_eq!(clean.value(value), expected);
    let twins = json!({ "hunter22": 1, "68756e7465723232": 2 });
    assert_eq!(clean.value(twins), json!({ "[K]": 1, "[K]'": 2 }));
}

#[test]
fn a_secret_that_was_cut_is_hidden_as_far_as_it_goes() {
    let clean = scrubber("hunter22-of-many-letters");
    assert_eq!(clean.beginning("the hunter22-of-ma"), "the ");
    assert_eq!(clean.beginning("hunter22-of-many-letters and hun"), "[secret X] and ");
    assert_eq!(clean.beginning("nothing"), "nothing");
}

#[tokio::test]
async fn a_secret_comes_from_a_file_or_a_command() {
    let project = TempDir::new().unwrap();
    std::fs::write(project.path().join("key"), "from-a-file-\u{e9}\r\n").unwrap();
    let secrets = secrets(
        project.path(),
        "[secrets.FILE]\nfile = 'key'\n[secrets.COMMAND]\ncommand = ['sh', '-c', 'echo x >>runs; echo from-a-command']\n",
    );
    assert_eq!(got(&secrets, "FILE").await.unwrap(), "from-a-file-\u{e9}");
    for _ in 0..3 {
        assert_eq!(got(&secrets, "COMMAND").await.unwrap(), "from-a-command");
    }
    let runs = std::fs::read_to_string(project.path().join("runs")).unwrap();
    assert_eq!(runs, "x\n", "what it wrote is kept");
    assert_eq!(hide("a from-a-command"), "a [secret COMMAND]");
    std::fs::write(project.path().join("key"), "from-another-file").unwrap();
    assert_eq!(got(&secrets, "FILE").await.unwrap(), "from-another-file");
}

#[tokio::test]
async fn what_is_not_available_says_why_and_shows_nothing() {
    let project = TempDir::new().unwrap();
    std::fs::write(project.path().join("short"), "1234567\n").unwrap();
    let long = "long-and-secret".repeat(10_000);
    std::fs::write(project.path().join("long"), &long).unwrap();
    let file = "[secrets.SHORT]\nfile = 'short'\n[secrets.LONG]\nfile = 'long'\n\
                [secrets.GONE]\nfile = 'gone'\n[secrets.UNSET]\nenv = 'WINDLASS_TEST_UNSET'\n\
                [secrets.FAILS]\ncommand = ['sh', '-c', 'echo out-secret; echo err-secret >&2; exit 4']\n\
                [secrets.MISSING]\ncommand = ['no-such-program-here']\n";
    let secrets = secrets(project.path(), file);
    for (name, expected) in [
        ("SHORT", "fewer than 8 bytes"),
        ("LONG", "longer than 65536 bytes"),
        ("GONE", "cannot be read"),
        ("UNSET", "WINDLASS_TEST_UNSET is not set"),
        ("FAILS", "failed (exit status: 4)"),
        ("MISSING", "cannot be started"),
        ("OTHER", "configured are FAILS, GONE, LONG, MISSING, SHORT, UNSET; add `[secrets.OTHER]`"),
    ] {
        let message = got(&secrets, name).await.unwrap_err();
        assert!(message.contains(expected) && message.contains(name), "{message}");
        for shown in ["1234567", "and-secret", "out-secret", "err-secret"] {
            assert!(!message.contains(shown), "{message}");
        }
    }
}

#[test]
fn another_source_is_another_digest() {
    let project = TempDir::new().unwrap();
    let digest_of = |file: &str| {
        let overrides = Overrides { data_dir: Some(project.path().into()), ..Overrides::default() };
        std::fs::write(project.path().join("windlass.toml"), file).unwrap();
        digest(&Config::load_from(project.path(), None, &|_| None, &overrides).unwrap())
    };
    let path = digest_of("[secrets.A]\nenv = 'PATH'\n");
    assert_eq!(digest_of("[secrets.A]\nenv = 'PATH'\n"), path);
    assert_ne!(digest_of("[secrets.A]\nenv = 'HOME'\n"), path);
    assert_ne!(digest_of("[secrets.B]\nenv = 'PATH'\n"), path);
}

#[test]
fn a_secret_is_found_wherever_it_stands_in_a_long_text() {
    let secret = "correct-horse-battery";
    let escaped: String = secret.chars().map(|c| format!("\\\\u{:04x}", u32::from(c))).collect();
    let filler = "é and so on, ".repeat(scrub::PIECE / 4);
    let scrubber = scrubber(secret);
    for piece in [1, 2] {
        for before in [0, 1, 2, escaped.len() / 2, escaped.len(), escaped.len() + 1] {
            let at = filler.floor_char_boundary(piece * scrub::PIECE - before);
            let text = format!("{}{escaped}{}", &filler[..at], &filler[at..]);
            let hidden = format!("{}[secret X]{}", &filler[..at], &filler[at..]);
            assert!(scrubber.text(&text) == hidden, "{before} before the end of piece {piece}");
        }
    }
}

#[test]
fn of_a_secret_that_changes_again_and_again_the_newest_values_are_hidden() {
    let value = |number: usize| format!("a-value-of-its-own-{number:02}");
    for number in 0..20 {
        known::remember("CHANGES", &Secret::new(Zeroizing::new(value(number))));
    }
    let is_hidden = |number: usize| hide(&value(number)) == "[secret CHANGES]";
    assert!((12..20).all(is_hidden) && !(0..12).any(is_hidden));
    let used = Secret::new(Zeroizing::new(value(20)));
    known::remember("CHANGES", &used);
    for number in 21..40 {
        known::remember("CHANGES", &Secret::new(Zeroizing::new(value(number))));
    }
    assert!(is_hidden(20) && !is_hidden(21), "what somebody uses is hidden for as long");
    drop(used);
}
