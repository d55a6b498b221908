//! Names and addresses: which are valid, how they are written in a URL, and the marks that keyed work carries.

use std::fmt::Write;

use crate::contract::text::{self, digest};

const MARKER_HEX: usize = 16;
const LONGEST_TRAILER: usize = 200;
const TRAILER: &str = "Windlass-Execution";

/// Writes text for a URL's path; slashes stay.
pub(super) fn path(text: &str) -> String {
    encoded(text, b"-._~/")
}

/// Writes text for a URL's query.
pub(super) fn query(text: &str) -> String {
    encoded(text, b"-._~")
}

fn encoded(text: &str, plain: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut written, byte| {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            written.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(written, "%{byte:02X}");
        }
        written
    })
}

/// Whether git would take this as a branch name. It also keeps names from wandering
/// to other routes of the API.
pub(super) fn is_branch_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let char = |char: char| char.is_control() || " ~^:?*[\\".contains(char);
    name.split('/').all(part)
        && !name.contains(char)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
}

/// Whether this can be an owner's or a repository's name.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    !name.is_empty() && name.chars().all(plain) && name != "." && name != ".."
}

/// Whether a path stays inside the repository and out of git's own files.
pub(super) fn is_file_path(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git");
    path.split('/').all(part) && !path.contains(char::is_control)
}

/// Whether a name fits a glob in which `*` stands for anything but a slash.
pub(super) fn fits(glob: &str, name: &str) -> bool {
    if glob == "*" {
        return true;
    }
    let (glob, name) = (glob.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (mut globs, mut names) = (glob.split('/'), name.split('/'));
    globs.by_ref().zip(names.by_ref()).all(|(glob, name)| text::fits(glob, name))
        && glob.matches('/').count() == name.matches('/').count()
}

/// The comment at the end of a body by which it is found again.
pub(super) fn marker(key: &str) -> String {
    format!("<!-- windlass:key={} -->", &digest(key)[..MARKER_HEX])
}

/// The word by which a run is found again whose workflow shows what it was given.
pub(super) fn mark(key: &str) -> String {
    format!("windlass-{}", &digest(key)[..MARKER_HEX])
}

/// The line at the end of a commit message by which it is found again.
pub(super) fn trailer(key: &str) -> String {
    let plain = key.len() <= LONGEST_TRAILER && key.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { format!("{TRAILER}: {key}") } else { format!("{TRAILER}: sha256:{}", digest(key)) }
}

/// A commit message with its trailer, in a paragraph of its own or joined to the trailers there are.
pub(super) fn with_trailer(message: &str, key: Option<&str>) -> String {
    let Some(key) = key else { return message.to_owned() };
    let message = message.trim_end();
    let last = message.rsplit("\n\n").next().unwrap_or_default();
    let joins = message.contains("\n\n") && last.lines().all(is_trailer);
    let gap = if joins { "\n" } else { "\n\n" };
    format!("{message}{gap}{}", trailer(key))
}

fn is_trailer(line: &str) -> bool {
    let word = |name: &str| {
        !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
    };
    line.split_once(": ").is_some_and(|(name, _)| word(name))
}

/// Whether a commit message carries the trailer of this key.
pub(super) fn has_trailer(message: &str, key: &str) -> bool {
    let wanted = trailer(key);
    message.lines().any(|line| line.trim_end() == wanted)
}

/// The start of a sha, for messages.
pub(super) fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names_are_those_that_git_takes() {
        for good in ["main", "fix/issue-7", "a.b", "ümlaut", "feature/x_1"] {
            assert!(is_branch_name(good), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "a..b", "../x", ".a", "a/.b", "a b", "a~1", "a:b", "-a",
            "a.lock", "a.", "@",
        ] {
            assert!(!is_branch_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_glob_covers_the_repositories_it_names() {
        let cases = [
            ("octo/*", "octo/hello", true),
            ("octo/*", "OCTO/Hello", true),
            ("octo/hello", "octo/hello", true),
            ("octo/h*o", "octo/hello", true),
            ("*/hello", "octo/hello", true),
            ("*", "octo/hello", true),
            ("octo/*", "octopus/hello", false),
            ("octo*", "octo/hello", false),
            ("octo/h*x", "octo/hello", false),
            ("octo", "octo/hello", false),
        ];
        for (glob, name, expected) in cases {
            assert_eq!(fits(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn a_trailer_stands_alone_or_with_its_like() {
        let key = Some("exec_1/commit#0~0");
        let alone = with_trailer("Add a\n\nBecause.", key);
        assert_eq!(alone, "Add a\n\nBecause.\n\nWindlass-Execution: exec_1/commit#0~0");
        let joined = with_trailer("Add a\n\nSigned-off-by: Ada\n", key);
        assert_eq!(joined, "Add a\n\nSigned-off-by: Ada\nWindlass-Execution: exec_1/commit#0~0");
        assert!(has_trailer(&joined, "exec_1/commit#0~0"));
        assert!(!has_trailer(&joined, "exec_1/commit#0"));
        assert!(has_trailer(&with_trailer("a", Some("odd\nkey")), "odd\nkey"));
        assert_eq!(with_trailer("fix: a", key).lines().count(), 3);
    }

    #[test]
    fn what_stands_in_an_address_is_encoded() {
        assert_eq!(path("heads/fix/#7 ü"), "heads/fix/%237%20%C3%BC");
        assert_eq!(query("octo:fix/7"), "octo%3Afix%2F7");
    }
}
