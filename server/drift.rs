//! What a tool was like when a revision was pinned to it, what it is like now, and what that means for a workflow.
//!
//! Nothing here asks anybody: application and worker bring the descriptions and act on the verdict.

mod compare;
mod usage;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::usage::Usage;
use crate::tool_servers::{Failure, RetryClass, ToolInfo};

/// The code of the failure that stops a call to a tool that is another one now.
pub const TOOL_CHANGED: &str = "tool_changed";

/// How much of a description a difference repeats, in characters.
const EXCERPT: usize = 120;

/// How many differences a message names.
const NAMED: usize = 5;

/// A tool as its server described it at some time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ToolSnapshot {
    /// `server.tool`
    pub name: String,
    /// What it said it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its structured result, if it named one.
    #[serde(default)]
    pub output_schema: Option<Value>,
    /// Its annotations, as the server sent them.
    #[serde(default)]
    pub annotations: Value,
    /// Whether it may be called again.
    pub retry_class: RetryClass,
}

/// How bad a difference is; the later, the worse.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The workflow works as before.
    Compatible,
    /// It may work, and a person should look before the tool is called again.
    NeedsReview,
    /// It cannot work, or would do something else.
    Broken,
}

/// One thing about a tool that is another one now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What it means for the workflow.
    pub severity: Severity,
    /// Which part of the tool: `input.repo.owner`, `output.url`, `annotations`, `description` or `tool`.
    pub part: String,
    /// What was, what is, and why that matters.
    pub message: String,
}

/// What the differences between a pinned tool and the live one amount to.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    /// There are none.
    Same,
    /// None that matters to the workflow.
    Compatible(Vec<Difference>),
    /// Some that a person should look at: the tool became riskier, or may refuse what it took.
    NeedsReview(Vec<Difference>),
    /// Some that the workflow cannot live with.
    Broken(Vec<Difference>),
}

impl ToolSnapshot {
    /// SHA-256 of its canonical JSON: what a pin remembers.
    #[must_use]
    pub fn digest(&self) -> String {
        windlass_engine::content_hash(&json!(self))
    }
}

impl ToolSnapshot {
    /// Whether it is the tool as it is now.
    #[must_use]
    pub fn is(&self, tool: &ToolInfo) -> bool {
        let ToolSnapshot { name, description, input_schema, output_schema, .. } = self;
        *name == tool.name
            && *description == tool.description
            && *input_schema == tool.input_schema
            && *output_schema == tool.output_schema
            && self.annotations == tool.annotations
            && self.retry_class == tool.retry_class
    }
}

impl From<&ToolInfo> for ToolSnapshot {
    fn from(tool: &ToolInfo) -> ToolSnapshot {
        ToolSnapshot {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema.clone(),
            output_schema: tool.output_schema.clone(),
            annotations: tool.annotations.clone(),
            retry_class: tool.retry_class,
        }
    }
}

impl Severity {
    /// The word for it, as answers have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Compatible => "compatible",
            Severity::NeedsReview => "needs_review",
            Severity::Broken => "broken",
        }
    }
}

impl Difference {
    fn new(severity: Severity, part: impl Into<String>, message: impl Into<String>) -> Difference {
        Difference { severity, part: part.into(), message: message.into() }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.part, self.message)
    }
}

impl Drift {
    /// The worst of its differences; `None` when there are none.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        match self {
            Drift::Same => None,
            Drift::Compatible(_) => Some(Severity::Compatible),
            Drift::NeedsReview(_) => Some(Severity::NeedsReview),
            Drift::Broken(_) => Some(Severity::Broken),
        }
    }

    /// All of them, the worst first.
    #[must_use]
    pub fn differences(self) -> Vec<Difference> {
        match self {
            Drift::Same => Vec::new(),
            Drift::Compatible(differences)
            | Drift::NeedsReview(differences)
            | Drift::Broken(differences) => differences,
        }
    }

    fn of(mut differences: Vec<Difference>) -> Drift {
        differences.sort_by_key(|difference| std::cmp::Reverse(difference.severity));
        match differences.first().map(|worst| worst.severity) {
            None => Drift::Same,
            Some(Severity::Compatible) => Drift::Compatible(differences),
            Some(Severity::NeedsReview) => Drift::NeedsReview(differences),
            Some(Severity::Broken) => Drift::Broken(differences),
        }
    }
}

/// Compares a tool with what it was when it was pinned, as far as it matters to whoever uses it so. `None`: it is gone.
#[must_use]
pub fn classify(pinned: &ToolSnapshot, live: Option<&ToolSnapshot>, usage: &Usage) -> Drift {
    let Some(live) = live else {
        let message = "the tool server has no such tool any more";
        return Drift::Broken(vec![Difference::new(Severity::Broken, "tool", message)]);
    };
    if pinned == live {
        return Drift::Same;
    }
    let mut differences = compare::inputs(pinned, live, usage);
    differences.extend(compare::outputs(pinned, live, usage));
    differences.extend(annotations(pinned, live));
    if pinned.description != live.description {
        let (was, is) = (excerpt(&pinned.description), excerpt(&live.description));
        let message = format!("was {was:?}, is {is:?}");
        differences.push(Difference::new(Severity::Compatible, "description", message));
    }
    Drift::of(differences)
}

/// What stops a call to a tool that is broken for the workflow, or riskier than it was; `None` lets it go out.
#[must_use]
pub fn stop(
    workflow: &str,
    pinned: &ToolSnapshot,
    live: Option<&ToolSnapshot>,
    usage: &Usage,
) -> Option<Failure> {
    let differences = match classify(pinned, live, usage) {
        Drift::Same | Drift::Compatible(_) => return None,
        Drift::NeedsReview(differences) | Drift::Broken(differences) => differences,
    };
    Some(Failure {
        code: TOOL_CHANGED.to_owned(),
        message: format!(
            "{} is not the tool that this revision was pinned to, and was not called: {}. {}",
            pinned.name,
            named(&differences),
            advice(workflow),
        ),
        retryable: Some(false),
        retry_after_ms: None,
    })
}

/// What to do about a drift that matters.
#[must_use]
pub fn advice(workflow: &str) -> String {
    format!(
        "Change the workflow to fit, or look at the difference and take the tool as it is now: windlass accept {workflow}"
    )
}

/// The differences that matter, in a sentence.
fn named(differences: &[Difference]) -> String {
    let grave: Vec<String> = differences
        .iter()
        .filter(|difference| Severity::Compatible < difference.severity)
        .map(ToString::to_string)
        .collect();
    let more = grave.len().saturating_sub(NAMED);
    let shown = grave.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

/// What the annotations say of the risk. Hints that are left out mean what MCP says they mean.
fn annotations(pinned: &ToolSnapshot, live: &ToolSnapshot) -> Vec<Difference> {
    let (was, is) = (Risk::of(pinned), Risk::of(live));
    let mut differences = Vec::new();
    for (name, was, is, riskier) in [
        ("read-only", was.read_only, is.read_only, "it may change something now"),
        ("idempotent", was.idempotent, is.idempotent, "a second call may do harm now"),
        ("not destructive", was.harmless, is.harmless, "it may destroy something now"),
        ("closed-world", was.closed, is.closed, "it may reach the outside now"),
    ] {
        let (severity, message) = match (was, is) {
            (true, false) => (Severity::NeedsReview, format!("was {name}, and is not: {riskier}")),
            (false, true) => (Severity::Compatible, format!("was not {name}, and is now")),
            _ => continue,
        };
        differences.push(Difference::new(severity, "annotations", message));
    }
    if pinned.retry_class != live.retry_class {
        let riskier = danger(pinned.retry_class) < danger(live.retry_class);
        let severity = if riskier { Severity::NeedsReview } else { Severity::Compatible };
        let (was, is) = (json!(pinned.retry_class), json!(live.retry_class));
        differences.push(Difference::new(severity, "retry_class", format!("was {was}, is {is}")));
    }
    if differences.is_empty() && pinned.annotations != live.annotations {
        let message = format!("were {}, are {}", pinned.annotations, live.annotations);
        differences.push(Difference::new(Severity::Compatible, "annotations", message));
    }
    differences
}

/// What a caller may rely on.
struct Risk {
    read_only: bool,
    idempotent: bool,
    harmless: bool,
    closed: bool,
}

impl Risk {
    fn of(tool: &ToolSnapshot) -> Risk {
        let hint = |name: &str| tool.annotations.get(name).and_then(Value::as_bool);
        let read_only = hint("readOnlyHint") == Some(true) || tool.retry_class == RetryClass::Read;
        Risk {
            read_only,
            idempotent: read_only || hint("idempotentHint") == Some(true),
            harmless: read_only || hint("destructiveHint") == Some(false),
            closed: hint("openWorldHint") == Some(false),
        }
    }
}

fn danger(class: RetryClass) -> u8 {
    match class {
        RetryClass::Read => 0,
        RetryClass::Idempotent | RetryClass::Keyed => 1,
        RetryClass::Unsafe => 2,
    }
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(EXCERPT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
