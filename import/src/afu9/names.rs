//! The names of a document: what they are called here, and what must be given.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use windlass_engine::expr::RESERVED;

/// Roots and functions of our language: an assigned value cannot have these names, nor [`RESERVED`] ones.
const TAKEN: [&str; 14] = [
    "input",
    "steps",
    "execution",
    "repo",
    "error",
    "status",
    "result",
    "vars",
    "item",
    "index",
    "now",
    "default",
    "variables",
    "has",
];

/// What a tool is called here. AFU-9's documentation posts to Slack by a server of its own; here that is a channel.
pub(super) fn tool(original: &str) -> &str {
    match original {
        "slack.postMessage" => "notify.send",
        other => other,
    }
}

/// What a parameter of a tool is called here.
pub(super) fn parameter<'a>(original_tool: &str, parameter: &'a str) -> &'a str {
    match (original_tool, parameter) {
        ("slack.postMessage", "message") => "text",
        (_, other) => other,
    }
}

/// Tools that answer a page where AFU-9's documents have a list: its elements are `items`.
const PAGES: [&str; 10] = [
    "github.getPRFiles",
    "github.getRepositoryTree",
    "github.getWorkflowJobs",
    "github.listBranches",
    "github.listCommits",
    "github.listIssueComments",
    "github.listIssues",
    "github.listPullRequests",
    "github.listWorkflowRuns",
    "github.searchIssues",
];

/// Where an assigned value comes from.
pub(super) struct Source {
    pub(super) tool: String,
    pub(super) step: String,
    /// Whether the step may be skipped.
    pub(super) conditional: bool,
}

impl Source {
    /// Whether the elements of its list are in `items`.
    pub(super) fn is_page(&self) -> bool {
        PAGES.contains(&self.tool.as_str())
    }
}

/// What the steps so far have assigned.
#[derive(Default)]
pub(super) struct Assigned {
    /// From the name in the original to the name here.
    names: HashMap<String, (String, Source)>,
    /// Every name that is in use here.
    used: Vec<String>,
    /// From a step whose files are committed to the step that does it.
    commits: HashMap<String, String>,
}

impl Assigned {
    /// Keeps the names of the steps from being assigned.
    pub(super) fn reserve(&mut self, names: &[String]) {
        self.used.extend(names.iter().cloned());
    }

    /// The name under which a result is assigned; from here on the original's name means it.
    pub(super) fn add(&mut self, wanted: &str, source: Source) -> String {
        let plain = identifier(wanted);
        let word = plain.as_str();
        let taken = TAKEN.contains(&word) || RESERVED.contains(&word) || self.used.contains(&plain);
        let first = if taken { format!("{plain}_result") } else { plain.clone() };
        let name = self.unused(first, &plain);
        self.names.insert(wanted.to_owned(), (name.clone(), source));
        name
    }

    /// A name for a step that belongs to another.
    pub(super) fn step(&mut self, of: &str, what: &str) -> String {
        let of: String = of.chars().take(50).collect();
        let name = format!("{of}_{what}");
        self.unused(name.clone(), &name)
    }

    fn unused(&mut self, first: String, plain: &str) -> String {
        let (mut name, mut number) = (first, 1);
        while self.used.contains(&name) {
            number += 1;
            name = format!("{plain}_{number}");
        }
        self.used.push(name.clone());
        name
    }

    /// Notes which step commits the files of another.
    pub(super) fn committed(&mut self, step: &str, commit: &str) {
        self.commits.insert(step.to_owned(), commit.to_owned());
    }

    /// The step that commits the files of another.
    pub(super) fn commit_of(&self, step: &str) -> Option<&str> {
        self.commits.get(step).map(String::as_str)
    }

    /// What an assigned name is called here, and where its value comes from.
    pub(super) fn get(&self, name: &str) -> Option<(&str, &Source)> {
        self.names.get(name).map(|(name, source)| (name.as_str(), source))
    }
}

/// A text as `[a-zA-Z][a-zA-Z0-9_]*`.
fn identifier(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(fit).take(50).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    if name.is_empty() { "value".to_owned() } else { name.to_owned() }
}

/// A text as `[a-z][a-z0-9_]*`.
pub(super) fn name_from(text: &str, otherwise: &str) -> String {
    let mut name = String::new();
    for character in text.chars().take(60) {
        let hump =
            character.is_ascii_uppercase() && name.ends_with(|c: char| c.is_ascii_lowercase());
        let fit = if character.is_ascii_alphanumeric() { character } else { '_' };
        name.extend(hump.then_some('_'));
        name.push(fit.to_ascii_lowercase());
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name: String = name.chars().take(64).collect();
    if name.is_empty() { otherwise.to_owned() } else { name }
}

/// What the workflow refers to in its input.
#[derive(Clone, Default)]
pub(super) struct Inputs {
    /// Each name, and whether the workflow cannot do without it.
    names: Vec<(String, bool)>,
}

impl Inputs {
    /// Notes a reference to `input.<name>`.
    pub(super) fn refer(&mut self, name: &str, required: bool) {
        match self.names.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known |= required,
            None => self.names.push((name.to_owned(), required)),
        }
    }

    /// The schema that follows; `None` when nothing is referred to.
    pub(super) fn schema(&self) -> Option<Value> {
        if self.names.is_empty() {
            return None;
        }
        let properties = self.names.iter().map(|(name, _)| (name.clone(), property(name)));
        let required = self.names.iter().filter(|(_, required)| *required);
        let required: Vec<&str> = required.map(|(name, _)| name.as_str()).collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema.insert("properties".to_owned(), Value::Object(properties.collect()));
        Some(Value::Object(schema))
    }
}

/// AFU-9 declares no types; only `repo` has a known shape.
fn property(name: &str) -> Value {
    match name {
        "repo" => json!({
            "type": "object",
            "required": ["owner", "name"],
            "properties": {
                "owner": { "type": "string" },
                "name": { "type": "string" },
                "default_branch": { "type": "string", "default": "main" },
            },
        }),
        _ => json!({}),
    }
}
