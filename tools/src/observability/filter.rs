//! Which lines a call wants: words that must, may or must not stand in them.
//!
//! It is the language of CloudWatch's filter patterns, as far as it is about text, so that one pattern
//! means the same in every source.

use regex::{Regex, RegexBuilder};

use super::settings::invalid;
use crate::contract::ToolError;

/// The longest regular expression that is compiled, in bytes of its program.
const LARGEST_REGEX: usize = 1 << 20;

/// What a line must be like.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    Words(Words),
    Regex(Regex),
    /// CloudWatch's own patterns over JSON and columns: no other source knows them.
    Structured(String),
}

/// Words, which are compared with case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) all: Vec<String>,
    pub(super) any: Vec<String>,
    pub(super) none: Vec<String>,
}

impl Filter {
    pub(super) fn parse(pattern: &str) -> Result<Self, ToolError> {
        let pattern = pattern.trim();
        let enclosed = |sign: char| {
            let inner = pattern.strip_prefix(sign)?.strip_suffix(sign)?;
            (!inner.is_empty()).then_some(inner)
        };
        if let Some(regex) = enclosed('/').or_else(|| enclosed('%')) {
            let built = RegexBuilder::new(regex).size_limit(LARGEST_REGEX).build();
            return built.map(Self::Regex).map_err(|error| {
                invalid(format!("pattern is not a regular expression: {error}"))
                    .hint("leave out the slashes to look for the text as it is")
            });
        }
        if pattern.starts_with('{') && pattern.ends_with('}')
            || pattern.starts_with('[') && pattern.ends_with(']')
        {
            return Ok(Self::Structured(pattern.to_owned()));
        }
        Ok(Self::Words(Words::parse(pattern)))
    }

    pub(super) fn fits(&self, line: &str) -> bool {
        match self {
            Self::Words(words) => words.fit(line),
            Self::Regex(regex) => regex.is_match(line),
            Self::Structured(_) => false,
        }
    }

    /// As CloudWatch writes it.
    #[cfg_attr(
        not(feature = "cloudwatch-logs"),
        allow(dead_code, reason = "only CloudWatch asks for it")
    )]
    pub(super) fn cloudwatch(&self) -> String {
        match self {
            Self::Words(words) => words.cloudwatch(),
            Self::Regex(regex) => format!("%{}%", regex.as_str()),
            Self::Structured(text) => text.clone(),
        }
    }

    /// As LogQL writes it, to stand behind a selector.
    pub(super) fn logql(&self) -> Result<String, ToolError> {
        match self {
            Self::Words(words) => Ok(words.logql()),
            Self::Regex(regex) => Ok(format!(" |~ {}", quoted(regex.as_str()))),
            Self::Structured(_) => Err(only_cloudwatch()),
        }
    }

    /// Refuses what only CloudWatch can look for.
    pub(super) fn of_text(self) -> Result<Self, ToolError> {
        match self {
            Self::Structured(_) => Err(only_cloudwatch()),
            Self::Words(_) | Self::Regex(_) => Ok(self),
        }
    }
}

impl Words {
    fn parse(pattern: &str) -> Self {
        let mut words = Self::default();
        let mut rest = pattern.trim_start();
        while !rest.is_empty() {
            let sign = rest.chars().next().filter(|char| "?-".contains(*char) && 1 < rest.len());
            let text = &rest[sign.map_or(0, char::len_utf8)..];
            let quoted = text.strip_prefix('"').and_then(|text| text.split_once('"'));
            let (word, after) = quoted.unwrap_or_else(|| {
                let end = text.find(char::is_whitespace).unwrap_or(text.len());
                text.split_at(end)
            });
            let list = match sign {
                Some('?') => &mut words.any,
                Some(_) => &mut words.none,
                None => &mut words.all,
            };
            list.extend((!word.is_empty()).then(|| word.to_owned()));
            rest = after.trim_start();
        }
        words
    }

    fn fit(&self, line: &str) -> bool {
        let has = |word: &String| line.contains(word.as_str());
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && !self.none.iter().any(has)
    }

    #[cfg_attr(
        not(feature = "cloudwatch-logs"),
        allow(dead_code, reason = "only CloudWatch asks for it")
    )]
    fn cloudwatch(&self) -> String {
        let word = |sign: &str, word: &String| format!("{sign}\"{}\"", word.replace('"', ""));
        let all = self.all.iter().map(|own| word("", own));
        let any = self.any.iter().map(|own| word("?", own));
        let none = self.none.iter().map(|own| word("-", own));
        all.chain(any).chain(none).collect::<Vec<_>>().join(" ")
    }

    fn logql(&self) -> String {
        let all = self.all.iter().map(|word| format!(" |= {}", quoted(word)));
        let none = self.none.iter().map(|word| format!(" != {}", quoted(word)));
        let any: Vec<_> = self.any.iter().map(|word| regex::escape(word)).collect();
        let any = (!any.is_empty()).then(|| format!(" |~ {}", quoted(&any.join("|"))));
        all.chain(any).chain(none).collect()
    }
}

/// A text as LogQL quotes it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn only_cloudwatch() -> ToolError {
    invalid("only CloudWatch knows patterns in { } and [ ]")
        .hint("write words, \"a phrase\", ?one ?or-another, -without, or /a regular expression/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pattern_means_the_same_everywhere() {
        let cases = [
            ("ERROR", "\"ERROR\"", " |= \"ERROR\""),
            ("ERROR \"timed out\"", "\"ERROR\" \"timed out\"", " |= \"ERROR\" |= \"timed out\""),
            ("?ERROR ?WARN", "?\"ERROR\" ?\"WARN\"", " |~ \"ERROR|WARN\""),
            ("ERROR -health", "\"ERROR\" -\"health\"", " |= \"ERROR\" != \"health\""),
            ("/a\\d+/", "%a\\d+%", " |~ \"a\\\\d+\""),
            ("", "", ""),
        ];
        for (pattern, cloudwatch, logql) in cases {
            let filter = Filter::parse(pattern).unwrap();
            assert_eq!(filter.cloudwatch(), cloudwatch);
            assert_eq!(filter.logql().unwrap(), logql);
        }
    }

    #[test]
    fn lines_fit_by_their_words() {
        let cases = [
            ("ERROR timeout", "ERROR: timeout", true),
            ("ERROR timeout", "ERROR: refused", false),
            ("?ERROR ?WARN", "WARN: slow", true),
            ("?ERROR ?WARN", "INFO: fine", false),
            ("ERROR -health", "ERROR /health", false),
            ("error", "ERROR", false),
            ("/time(d )?out/", "it timed out", true),
            ("-", "a - b", true),
        ];
        for (pattern, line, expected) in cases {
            assert_eq!(Filter::parse(pattern).unwrap().fits(line), expected, "{pattern}: {line}");
        }
    }

    #[test]
    fn patterns_over_json_are_cloudwatch_s_alone() {
        let filter = Filter::parse("{ $.status = 500 }").unwrap();
        assert_eq!(filter.cloudwatch(), "{ $.status = 500 }");
        assert!(filter.logql().is_err() && filter.of_text().is_err());
        assert!(Filter::parse("/(/").is_err());
    }
}
