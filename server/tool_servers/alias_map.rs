//! Calls the tools of one server by the names and arguments of another: workflows that were written for
//! Windlass's own github server then run on GitHub's.
//!
//! The maps are data, compiled in. What cannot be carried over is refused with the reason, or told with the answer.

use std::{collections::BTreeMap, sync::LazyLock};

use rmcp::model::Tool;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use windlass_tools::contract::{ALIASES, RETRY_CLASS};

static GITHUB_OFFICIAL: LazyLock<AliasMap> = LazyLock::new(|| {
    let text = include_str!("alias_map/github_official.json");
    serde_json::from_str(text).expect("the maps that ship can be read")
});

/// How tools are called on a server that calls them otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasMap {
    #[expect(dead_code, reason = "it is for those who read the file")]
    about: String,
    /// The server that is called, for messages.
    server: String,
    tools: BTreeMap<String, Mapped>,
}

/// How one tool is called there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapped {
    /// The tool there.
    tool: String,
    description: String,
    retry_class: String,
    #[serde(default)]
    destructive: bool,
    /// Other names of ours.
    #[serde(default)]
    names: Vec<String>,
    /// Arguments that are always the same.
    #[serde(default)]
    fixed: Map<String, Value>,
    /// Arguments where none are given.
    #[serde(default)]
    presets: Map<String, Value>,
    arguments: BTreeMap<String, Argument>,
    /// Values of ours that mean nothing there, so that the argument is left out.
    #[serde(default)]
    omit: BTreeMap<String, Vec<Value>>,
    /// The only keys that the objects of a list may have.
    #[serde(default)]
    only: BTreeMap<String, Vec<String>>,
    /// Arguments there that are numbers here and texts there.
    #[serde(default)]
    as_text: Vec<String>,
    /// Arguments of ours that cannot be carried over.
    #[serde(default)]
    lost: BTreeMap<String, Lost>,
    /// What answers lack; told with each.
    #[serde(default)]
    losses: Vec<String>,
    #[serde(default)]
    result: Vec<Change>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    /// Its name there, where it is another one.
    to: Option<String>,
    schema: Value,
    #[serde(default)]
    required: bool,
    /// Values there by values here.
    #[serde(default)]
    values: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lost {
    because: String,
    /// Values that ask for nothing else than what is done there anyhow.
    allowed: Vec<Value>,
}

/// A change to what is answered.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Change {
    /// An answer that is a text alone becomes an object with it.
    Text { text_as: String },
    /// A key gets what is always so.
    Constant { set: String, constant: Value, unless: Option<String> },
    /// A key gets the first of these that is there.
    From {
        set: String,
        from: Vec<String>,
        cut: Option<Cut>,
        equals: Option<Value>,
        #[serde(default)]
        null_when_missing: bool,
        otherwise: Option<Value>,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cut {
    /// The number that an address ends with.
    LastNumber,
    /// A branch without `refs/heads/`.
    Branch,
}

/// The map of that name.
pub(super) fn named(name: &str) -> Option<&'static AliasMap> {
    (name == "github-official").then(|| &*GITHUB_OFFICIAL)
}

/// The names of all maps, for messages.
pub(super) const NAMES: &str = "\"github-official\"";

impl AliasMap {
    /// Our tools, as far as the server has what they need.
    pub(super) fn tools(&'static self, theirs: &[Tool]) -> Vec<(Tool, &'static Mapped)> {
        let served = |mapped: &Mapped| theirs.iter().any(|tool| tool.name == mapped.tool);
        let free = |name: &str| theirs.iter().all(|tool| tool.name != name);
        let ours = self.tools.iter().filter(|(name, mapped)| served(mapped) && free(name));
        ours.filter_map(|(name, mapped)| Some((mapped.described(name, &self.server)?, mapped)))
            .collect()
    }
}

impl Mapped {
    /// The tool there.
    pub(super) fn wire_name(&self) -> &str {
        &self.tool
    }

    /// Our tool, as it is listed.
    fn described(&self, name: &str, server: &str) -> Option<Tool> {
        let losses: String = self.losses.iter().map(|loss| format!("; {loss}")).collect();
        let description =
            format!("{} Called as {} of {server}{losses}.", self.description, self.tool);
        let reads = self.retry_class == "read";
        let tool = json!({
            "name": name, "description": description, "inputSchema": self.input_schema(),
            "annotations": { "readOnlyHint": reads, "destructiveHint": self.destructive, "openWorldHint": true },
            "_meta": {
                RETRY_CLASS: self.retry_class,
                ALIASES: { "names": self.names, "arguments": {
                    "number": ["issue_number", "issueNumber", "pull_number", "pullNumber", "pr_number"],
                    "run_id": ["runId"], "job_id": ["jobId"], "workflow": ["workflow_id", "workflowId"],
                    "per_page": ["perPage", "limit"], "from": ["from_branch", "base_branch"],
                } },
            },
        });
        // Plain data of the right form: it is always a tool.
        serde_json::from_value(tool).ok()
    }

    fn input_schema(&self) -> Value {
        let mut properties = Map::new();
        let text = json!({ "type": "string", "minLength": 1 });
        properties.insert("owner".to_owned(), text.clone());
        properties.insert("repo".to_owned(), text);
        properties
            .extend(self.arguments.iter().map(|(name, own)| (name.clone(), own.schema.clone())));
        let refused = |(name, lost): (&String, &Lost)| {
            (name.clone(), json!({ "description": format!("Not here: {}", lost.because) }))
        };
        properties.extend(self.lost.iter().map(refused));
        let required =
            self.arguments.iter().filter(|(_, own)| own.required).map(|(name, _)| name.as_str());
        let required: Vec<_> = required.chain(["repo"]).collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    /// Our arguments as the server there takes them, or everything that cannot be carried over.
    pub(super) fn outgoing(
        &self,
        ours: Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<String>> {
        let mut theirs = self.fixed.clone();
        let mut problems = Vec::new();
        for (name, value) in ours {
            match (name.as_str(), self.arguments.get(&name), self.lost.get(&name)) {
                ("owner" | "repo", _, _) => _ = theirs.insert(name, value),
                (_, Some(argument), _) => {
                    problems.extend(self.too_much(&name, &value));
                    let omitted = self.omit.get(&name).is_some_and(|omit| omit.contains(&value));
                    if !omitted && !value.is_null() {
                        let to = argument.to.clone().unwrap_or(name);
                        let value = self.written(&to, argument, value);
                        theirs.insert(to, value);
                    }
                }
                (_, None, Some(lost)) if lost.allowed.contains(&value) || value.is_null() => {}
                (_, None, Some(lost)) => problems.push(format!("at /{name}: {}", lost.because)),
                (_, None, None) => problems.push(format!("at /{name}: is not known")),
            }
        }
        for (name, value) in &self.presets {
            theirs.entry(name.clone()).or_insert_with(|| value.clone());
        }
        problems.extend(split_repository(&mut theirs));
        if problems.is_empty() { Ok(theirs) } else { Err(problems) }
    }

    fn written(&self, to: &str, argument: &Argument, value: Value) -> Value {
        let mapped = value.as_str().and_then(|text| argument.values.get(text)).cloned();
        match mapped.unwrap_or(value) {
            Value::Number(number) if self.as_text.iter().any(|name| name == to) => {
                number.to_string().into()
            }
            value => value,
        }
    }

    /// What a list holds that the server there cannot take.
    fn too_much(&self, name: &str, value: &Value) -> Vec<String> {
        let (Some(only), Some(items)) = (self.only.get(name), value.as_array()) else {
            return Vec::new();
        };
        let keys =
            |item: &Value| item.as_object().map(|item| item.keys().cloned().collect::<Vec<_>>());
        let numbered = items.iter().enumerate();
        let keys = numbered.flat_map(|(index, item)| {
            keys(item).unwrap_or_default().into_iter().map(move |key| (index, key))
        });
        let extra = keys.filter(|(_, key)| !only.contains(key));
        extra
            .map(|(index, key)| {
                format!("at /{name}/{index}/{key}: that server takes only {}", only.join(" and "))
            })
            .collect()
    }

    /// The answer in our words, with what it lacks.
    pub(super) fn incoming(&self, answer: Value) -> Value {
        let whole = answer.clone();
        let mut ours = match answer {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        for change in &self.result {
            match change {
                Change::Text { text_as } => {
                    if whole.is_string() {
                        ours.insert(text_as.clone(), whole.clone());
                    }
                }
                Change::Constant { set, constant, unless } => {
                    if unless.as_ref().is_none_or(|place| whole.pointer(place).is_none()) {
                        ours.insert(set.clone(), constant.clone());
                    }
                }
                Change::From { set, from, cut, equals, null_when_missing, otherwise } => {
                    let found = from
                        .iter()
                        .find_map(|place| whole.pointer(place).filter(|value| !value.is_null()));
                    // The whole answer stands for a list only if it is one.
                    let found = found.filter(|found| {
                        !std::ptr::eq(*found, &raw const whole) || found.is_array()
                    });
                    let value = match (found, equals) {
                        (Some(found), Some(equals)) => Some((found == equals).into()),
                        (Some(found), None) => cut_out(found, *cut),
                        (None, _) if *null_when_missing => Some(Value::Null),
                        (None, _) => otherwise.clone(),
                    };
                    if let Some(value) = value {
                        ours.insert(set.clone(), value);
                    }
                }
            }
        }
        if !self.losses.is_empty() {
            ours.insert("warnings".to_owned(), json!(self.losses));
        }
        ours.into()
    }
}

/// Takes `owner/name` apart, which is one argument with us and two with them.
fn split_repository(theirs: &mut Map<String, Value>) -> Option<String> {
    let whole = theirs.get("repo").and_then(Value::as_str).map(str::to_owned);
    if let Some((owner, name)) = whole.as_deref().and_then(|whole| whole.split_once('/')) {
        if theirs.get("owner").is_some_and(|given| given != owner) {
            return Some(
                "at /owner: it is another one than in repo; give the owner once".to_owned(),
            );
        }
        theirs.insert("owner".to_owned(), owner.into());
        theirs.insert("repo".to_owned(), name.into());
    }
    let missing = !theirs.contains_key("owner");
    missing.then(|| "at /owner: is missing; give repo as \"owner/name\"".to_owned())
}

fn cut_out(value: &Value, cut: Option<Cut>) -> Option<Value> {
    match (cut, value) {
        (Some(Cut::LastNumber), Value::String(address)) => {
            address.trim_end_matches('/').rsplit('/').next()?.parse::<u64>().ok().map(Value::from)
        }
        (Some(Cut::Branch), Value::String(name)) => {
            Some(name.strip_prefix("refs/heads/").unwrap_or(name).into())
        }
        (_, value) => Some(value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(tool: &str, ours: Value) -> Result<Value, String> {
        let ours = ours.as_object().cloned().unwrap_or_default();
        let sent = GITHUB_OFFICIAL.tools[tool].outgoing(ours);
        sent.map(Value::Object).map_err(|problems| problems.join("; "))
    }

    #[test]
    fn arguments_get_the_names_and_values_of_the_other_server() {
        let cases = [
            (
                "getIssue",
                json!({ "repo": "o/r", "number": 7 }),
                json!({ "method": "get", "owner": "o", "repo": "r", "issue_number": 7 }),
            ),
            (
                "listIssues",
                json!({ "owner": "o", "repo": "r", "state": "open", "page": 1, "per_page": 5 }),
                json!({ "owner": "o", "repo": "r", "state": "OPEN", "perPage": 5 }),
            ),
            (
                "listIssues",
                json!({ "repo": "o/r", "state": "all" }),
                json!({ "owner": "o", "repo": "r" }),
            ),
            (
                "createReview",
                json!({ "repo": "o/r", "number": 7, "body": "b", "comments": [] }),
                json!({ "method": "create", "owner": "o", "repo": "r", "pullNumber": 7, "body": "b", "event": "COMMENT" }),
            ),
            (
                "getWorkflowRun",
                json!({ "repo": "o/r", "run_id": 7 }),
                json!({ "method": "get_workflow_run", "owner": "o", "repo": "r", "resource_id": "7" }),
            ),
            (
                "createBranch",
                json!({ "repo": "o/r", "branch": "b", "from": "main", "if_exists": "fail" }),
                json!({ "owner": "o", "repo": "r", "branch": "b", "from_branch": "main" }),
            ),
        ];
        for (tool, ours, theirs) in cases {
            assert_eq!(outgoing(tool, ours), Ok(theirs), "{tool}");
        }
    }

    #[test]
    fn what_cannot_be_carried_over_is_refused_with_its_reason() {
        let files = json!([{ "path": "a", "content": "a" }, { "path": "b", "delete": true }]);
        let cases = [
            (
                "createBranch",
                json!({ "repo": "o/r", "branch": "b", "if_exists": "reuse" }),
                "at /if_exists: that server fails where the branch exists",
            ),
            (
                "mergePullRequest",
                json!({ "repo": "o/r", "number": 7, "expected_head_sha": "a" }),
                "whatever the head is now",
            ),
            (
                "commitFileChanges",
                json!({ "repo": "o/r", "branch": "b", "message": "m", "files": files }),
                "at /files/1/delete: that server takes only path and content",
            ),
            ("getIssue", json!({ "repo": "r", "number": 7 }), "at /owner: is missing"),
            (
                "getIssue",
                json!({ "owner": "x", "repo": "o/r", "number": 7 }),
                "give the owner once",
            ),
            (
                "triggerWorkflow",
                json!({ "repo": "o/r", "workflow": "w", "ref": "m", "correlation_input": "i" }),
                "does not say which run",
            ),
        ];
        for (tool, ours, reason) in cases {
            let refused = outgoing(tool, ours).expect_err(tool);
            assert!(refused.contains(reason), "{tool}: {refused}");
        }
    }

    #[test]
    fn answers_get_our_words_and_say_what_they_lack() {
        let incoming = |tool: &str, answer: Value| GITHUB_OFFICIAL.tools[tool].incoming(answer);
        let issue = incoming(
            "createIssue",
            json!({ "id": "1", "url": "https://github.com/o/r/issues/42" }),
        );
        assert_eq!(
            (&issue["number"], &issue["html_url"]),
            (&json!(42), &json!("https://github.com/o/r/issues/42"))
        );
        let branch = incoming(
            "createBranch",
            json!({ "ref": "refs/heads/fix/7", "object": { "sha": "abc" } }),
        );
        assert_eq!((&branch["name"], &branch["sha"]), (&json!("fix/7"), &json!("abc")));
        assert_eq!(incoming("getPRDiff", json!("diff --git")), json!({ "diff": "diff --git" }));
        assert_eq!(
            incoming("getPRFiles", json!([{ "filename": "a" }]))["items"][0]["filename"],
            "a"
        );
        let run = incoming(
            "getWorkflowRun",
            json!({ "id": 7, "status": "completed", "conclusion": "failure" }),
        );
        assert_eq!((&run["done"], &run["success"]), (&json!(true), &json!(false)));
        let run =
            incoming("getWorkflowRun", json!({ "id": 7, "status": "queued", "conclusion": null }));
        assert_eq!((&run["done"], &run["success"]), (&json!(false), &Value::Null));
        let started = incoming("triggerWorkflow", json!("Workflow run has been queued"));
        assert!(
            started["warnings"][0].as_str().is_some_and(|text| text.contains("no run_id")),
            "{started}"
        );
    }

    #[test]
    fn only_tools_whose_counterpart_is_served_are_offered() {
        let theirs = json!({ "name": "issue_read", "inputSchema": { "type": "object" } });
        let theirs: Tool = serde_json::from_value(theirs).expect("a tool");
        let ours = GITHUB_OFFICIAL.tools(&[theirs]);
        let names: Vec<_> = ours.iter().map(|(tool, _)| tool.name.to_string()).collect();
        assert_eq!(names, ["getIssue"]);
        for (tool, mapped) in &GITHUB_OFFICIAL.tools {
            jsonschema::meta::validate(&mapped.input_schema())
                .unwrap_or_else(|error| panic!("{tool}: {error}"));
        }
    }
}
