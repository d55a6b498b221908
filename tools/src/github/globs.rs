//! Patterns of file paths, as `.gitignore` writes them: `*` stays within a directory, `**` does not, and a pattern
//! without a slash fits in every directory.

/// Whether a path fits a pattern.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let pattern = pattern.trim_start_matches("./");
    if !pattern.contains('/') {
        return path.rsplit('/').next().is_some_and(|name| part(pattern, name));
    }
    let pattern: Vec<_> = pattern.trim_matches('/').split('/').collect();
    parts(&pattern, &path.split('/').collect::<Vec<_>>())
}

fn parts(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        // What is in a directory, not the directory itself.
        (["**"], path) => !path.is_empty(),
        (["**", rest @ ..], _) => (0..=path.len()).any(|index| parts(rest, &path[index..])),
        ([first, rest @ ..], [name, below @ ..]) => part(first, name) && parts(rest, below),
        _ => false,
    }
}

fn part(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(after) = name.strip_prefix(start) else { return false };
    let rest = rest.trim_start_matches('*');
    let mut ends = after.char_indices().map(|(index, _)| index).chain([after.len()]);
    ends.any(|index| part(rest, &after[index..]))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_pattern_fits_the_paths_it_names() {
        let cases = [
            ("*.lock", "Cargo.lock", true),
            ("*.lock", "a/b/yarn.lock", true),
            ("*.lock", "lock.rs", false),
            ("dist/**", "dist/a/b.js", true),
            ("dist/**", "src/dist/a.js", false),
            ("dist/**", "dist", false),
            ("**/dist/**", "src/dist/a.js", true),
            ("**/*.min.js", "a.min.js", true),
            ("src/*.rs", "src/main.rs", true),
            ("src/*.rs", "src/a/main.rs", false),
            ("src/**/*.rs", "src/a/b/main.rs", true),
            ("README.md", "docs/README.md", true),
            ("/README.md", "docs/README.md", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }
}
