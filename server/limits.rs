//! How many calls of a tool server, and of one tool, may be out at once and may begin in a time.
//!
//! A limit is configuration of a workspace: every process counts the same calls, and grants what its own configuration
//! allows. Where two processes say different numbers, each keeps to its own, so that the laxer one decides what is out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize};
use windlass_engine::{ToolName, Workflow};

/// The most calls that a limit speaks of.
const MOST: u32 = 10_000;

/// One in so many goes to whoever has waited longest, whatever its priority: nobody waits for ever.
pub(crate) const TURNS: u64 = 8;

/// What stands before a limit in the words for what waits for it: calls come home by themselves, and time passes.
const FOR_LIMIT: &str = " waits for the limit of ";

/// Whether what an execution waits for, in words, is a limit.
#[must_use]
pub fn is_for_limit(said: &str) -> bool {
    said.contains(FOR_LIMIT)
}

/// How many calls may be out, and how many may begin.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// Calls that are out at once, over all replicas; none: any number.
    #[serde(deserialize_with = "concurrency", skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Calls that begin in a time, over all replicas; none: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// So many calls in a time; within every stretch of that length, wherever it begins.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many; at least 1.
    pub calls: u32,
    /// In what time, in milliseconds: a second, a minute or an hour.
    pub period_ms: i64,
}

/// Every limit of a configuration, by tool server.
#[derive(Debug, Default)]
pub struct Limits {
    servers: BTreeMap<String, ServerLimits>,
    granted: AtomicU64,
}

/// The limits of one tool server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerLimits {
    /// Of all its tools together.
    pub whole: Limit,
    /// Of some of its tools.
    pub tools: BTreeMap<String, Limit>,
}

impl Limits {
    /// The limits of a configuration, whose names are `server` or `server.tool`.
    #[must_use]
    pub fn new(configured: &BTreeMap<String, Limit>) -> Limits {
        let mut servers: BTreeMap<String, ServerLimits> = BTreeMap::new();
        for (name, limit) in configured {
            match name.split_once('.') {
                None => servers.entry(name.clone()).or_default().whole = limit.clone(),
                Some((server, tool)) => {
                    let tools = &mut servers.entry(server.to_owned()).or_default().tools;
                    tools.insert(tool.to_owned(), limit.clone());
                }
            }
        }
        Limits { servers, granted: AtomicU64::new(0) }
    }

    /// The limits of a tool server, where it has some.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerLimits> {
        self.servers.get(name)
    }

    /// Whether calls of a tool need a permit.
    #[must_use]
    pub fn holds(&self, tool: &ToolName) -> bool {
        let server = self.servers.get(&tool.server);
        server.is_some_and(|server| {
            server.whole != Limit::default() || server.tool(&tool.tool).is_some()
        })
    }

    /// The tools of a workflow whose calls need a permit.
    #[must_use]
    pub fn of(&self, workflow: &Workflow) -> Arc<BTreeSet<ToolName>> {
        if self.servers.is_empty() {
            return Arc::default();
        }
        Arc::new(workflow.tools().filter(|tool| self.holds(tool)).cloned().collect())
    }

    /// Whether the next permit goes to whoever has waited longest.
    pub(crate) fn is_turn_of_longest(&self) -> bool {
        self.granted.fetch_add(1, Ordering::Relaxed) % TURNS == TURNS - 1
    }

    /// Says that a step waits for a permit.
    #[must_use]
    pub fn waiting(&self, step: &str, server: &str, tool: &str) -> String {
        format!("step {step}{FOR_LIMIT}{}", self.words(server, tool))
    }

    fn words(&self, server: &str, tool: &str) -> String {
        let limits = self.servers.get(server);
        let whole = limits.map(|limits| &limits.whole).filter(|limit| **limit != Limit::default());
        let whole = whole.map(|limit| format!("{server} ({limit})"));
        let own = limits.and_then(|limits| limits.tool(tool));
        let own = own.map(|(tool, limit)| format!("{server}.{tool} ({limit})"));
        let words: Vec<String> = own.into_iter().chain(whole).collect();
        if words.is_empty() { server.to_owned() } else { words.join(" and of ") }
    }
}

impl ServerLimits {
    /// The tool as its limit is written, where it has one of its own; else nothing.
    #[must_use]
    pub fn lane(&self, tool: &str) -> &str {
        self.tool(tool).map_or("", |(tool, _)| tool)
    }

    /// The limit of a tool, however its name is spelled: a workflow that spells it otherwise calls the same tool.
    fn tool(&self, name: &str) -> Option<(&str, &Limit)> {
        let spelled = |(known, _): &(&String, &Limit)| unstyled(known) == unstyled(name);
        let found = self.tools.get_key_value(name).or_else(|| self.tools.iter().find(spelled))?;
        Some((found.0, found.1))
    }
}

/// A tool's name without its style: `createIssue`, `create_issue` and `create-issue` are one.
pub(crate) fn unstyled(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-' | '.'));
    letters.flat_map(char::to_lowercase).collect()
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.concurrency, self.rate) {
            (Some(count), Some(rate)) => write!(f, "{count} at once, {rate}"),
            (Some(count), None) => write!(f, "{count} at once"),
            (None, Some(rate)) => write!(f, "{rate}"),
            (None, None) => write!(f, "no limit"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period_ms {
            1_000 => "second",
            60_000 => "minute",
            _ => "hour",
        };
        write!(f, "{}/{unit}", self.calls)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Rate, String> {
        let allowed = || {
            format!(
                "rate must be N/second, N/minute or N/hour with N from 1 to {MOST}, such as \"100/minute\""
            )
        };
        let (calls, unit) = text.split_once('/').ok_or_else(allowed)?;
        let period_ms = match unit.trim() {
            "second" => 1_000,
            "minute" => 60_000,
            "hour" => 3_600_000,
            _ => return Err(allowed()),
        };
        let calls = calls.trim().parse().ok().filter(|calls| (1..=MOST).contains(calls));
        Ok(Rate { calls: calls.ok_or_else(allowed)?, period_ms })
    }
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let count = i64::deserialize(deserializer)?;
    let count = u32::try_from(count).ok().filter(|count| (1..=MOST).contains(count));
    let allowed =
        format!("concurrency must be from 1 to {MOST}; leave it out where any number may be out");
    count.map(Some).ok_or_else(|| serde::de::Error::custom(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<Rate, String> {
        Rate::try_from(text.to_owned())
    }

    #[test]
    fn a_rate_is_a_number_of_calls_in_a_second_a_minute_or_an_hour() {
        assert_eq!(rate("100/minute"), Ok(Rate { calls: 100, period_ms: 60_000 }));
        assert_eq!(rate("1 / second").map(|rate| rate.to_string()), Ok("1/second".to_owned()));
        for nonsense in ["100", "0/minute", "-1/hour", "1/day", "10001/second", "many/minute"] {
            let said = rate(nonsense).expect_err(nonsense);
            assert!(said.contains("such as \"100/minute\""), "{said}");
        }
    }

    #[test]
    fn a_tool_has_its_own_limit_and_that_of_its_server() {
        let limit = |concurrency| Limit { concurrency: Some(concurrency), rate: None };
        let configured = [("a".to_owned(), limit(4)), ("a.b".to_owned(), limit(1))];
        let limits =
            Limits::new(&configured.into_iter().chain([("c.d".to_owned(), limit(2))]).collect());
        let tool = |server: &str, tool: &str| ToolName { server: server.into(), tool: tool.into() };
        assert!(limits.holds(&tool("a", "x")) && limits.holds(&tool("c", "d")));
        assert!(!limits.holds(&tool("c", "x")) && !limits.holds(&tool("x", "d")));
        assert_eq!(limits.words("a", "b"), "a.b (1 at once) and of a (4 at once)");
        assert_eq!(limits.words("a", "x"), "a (4 at once)");
        assert_eq!(
            limits.server("a").map(|server| (server.lane("b"), server.lane("x"))),
            Some(("b", ""))
        );
    }

    #[test]
    fn a_limit_holds_however_the_tool_is_spelled() {
        let limit = Limit { concurrency: Some(1), rate: None };
        let limits = Limits::new(&BTreeMap::from([("github.create_issue".to_owned(), limit)]));
        let server = limits.server("github").unwrap();
        for spelling in ["create_issue", "createIssue", "Create-Issue"] {
            let tool = ToolName { server: "github".into(), tool: spelling.into() };
            assert!(limits.holds(&tool), "{spelling}");
            assert_eq!(server.lane(spelling), "create_issue");
            assert_eq!(limits.words("github", spelling), "github.create_issue (1 at once)");
        }
        assert_eq!(server.lane("createIssues"), "");
    }
}
