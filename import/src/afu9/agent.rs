//! Files for the steps in which a model reads or changes them.
//!
//! AFU-9's documents speak to an agent that has a checkout: it reads its branch and commits to it. A model here is given
//! files and gives files back, so a step that reads them comes before such a step, and one that commits them after it.

use serde_json::{Map, Value, json};

use super::Import;

/// The manifest of each package manager.
const MANIFESTS: [(&str, &str); 12] = [
    ("npm", "package.json"),
    ("yarn", "package.json"),
    ("pnpm", "package.json"),
    ("cargo", "Cargo.toml"),
    ("pip", "requirements.txt"),
    ("poetry", "pyproject.toml"),
    ("uv", "pyproject.toml"),
    ("go", "go.mod"),
    ("maven", "pom.xml"),
    ("gradle", "build.gradle"),
    ("bundler", "Gemfile"),
    ("composer", "composer.json"),
];

/// What comes before a step and after it.
#[derive(Default)]
pub(super) struct Around {
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// Where a step's files are read.
enum Source {
    /// The files at these paths.
    Paths(Value),
    /// The one file at this path.
    Path(String),
    /// Those that a step before has read already.
    Read(String),
}

/// Whether the tool answers with files that AFU-9's agent would have committed.
fn commits(tool: &str) -> bool {
    ["agent.applyFix", "agent.updateDependencies"].contains(&tool)
}

impl Import {
    /// The steps around one that works on files; that one gets its param `files`.
    pub(super) fn around(
        &mut self,
        step: &mut Map<String, Value>,
        committed_later: bool,
        pointer: &str,
    ) -> Around {
        let mut around = Around::default();
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, tool) = (text("name"), text("tool"));
        if !commits(&tool) && tool != "agent.checkDependencies" {
            return around;
        }
        let condition = step.get("if").cloned();
        let params = step.entry("params").or_insert_with(|| json!({}));
        if params.get("files").is_none() {
            let Some(source) = self.source(&tool, params) else {
                let message = "a model is given files as data, and the document does not say which; this step fails \
                               without the param `files`: [{ path, content }]";
                self.note("missing_files", pointer, message);
                return around;
            };
            let branch = params.get("branch").cloned();
            let (before, files) = self.reading(&name, source, branch);
            around.before = before.map(|before| under(before, condition.as_ref()));
            params["files"] = files;
        }
        let branch = params.get("branch").cloned().filter(|_| commits(&tool) && !committed_later);
        around.after = branch.map(|branch| self.committing(&name, &branch, condition.as_ref()));
        for (added, does) in
            [(&around.before, "reads the files for"), (&around.after, "commits the files of")]
        {
            if let Some(added) = added {
                let added = added["name"].as_str().unwrap_or_default();
                self.note("added", pointer, format!("the step `{added}` {does} `{name}`"));
            }
        }
        around
    }

    /// Which files a step means.
    fn source(&self, tool: &str, params: &Value) -> Option<Source> {
        let affected = params.pointer("/context/files");
        match affected {
            Some(Value::String(text)) if text.ends_with(".affected_files}") => {
                return Some(Source::Paths(json!(text)));
            }
            Some(Value::Array(paths)) if paths.iter().all(Value::is_string) => {
                return Some(Source::Paths(json!(paths)));
            }
            _ => {}
        }
        let manager = ["packageManager", "package_manager"];
        match manager.iter().find_map(|key| params.get(key)).and_then(Value::as_str) {
            Some(manager) if tool != "agent.applyFix" => manifest(manager).map(Source::Path),
            None if tool == "agent.updateDependencies" => self.manifest.clone().map(Source::Read),
            _ => None,
        }
    }

    /// The step that reads, and what the step after it takes as `files`.
    fn reading(
        &mut self,
        name: &str,
        source: Source,
        branch: Option<Value>,
    ) -> (Option<Value>, Value) {
        let one = |step: &str| json!([{ "path": format!("${{steps.{step}.path}}"), "content": format!("${{steps.{step}.content}}") }]);
        if let Source::Read(step) = &source {
            return (None, one(step));
        }
        let step = self.assigned.step(name, "files");
        let mut params = self.repository();
        params.extend(branch.map(|branch| ("ref".to_owned(), branch)));
        let mut reading = Map::new();
        reading.insert("name".to_owned(), json!(step));
        let files = match source {
            Source::Paths(paths) => {
                reading.insert("forEach".to_owned(), paths);
                reading.insert("as".to_owned(), json!("path"));
                params.insert("path".to_owned(), json!("${path}"));
                json!(format!(
                    "${{steps.{step}.map(file, {{'path': file.path, 'content': file.content}})}}"
                ))
            }
            Source::Path(path) | Source::Read(path) => {
                params.insert("path".to_owned(), json!(path));
                self.manifest = Some(step.clone());
                one(&step)
            }
        };
        reading.insert("tool".to_owned(), json!("github.getFileContents"));
        reading.insert("params".to_owned(), Value::Object(params));
        (Some(Value::Object(reading)), files)
    }

    fn committing(&mut self, name: &str, branch: &Value, condition: Option<&Value>) -> Value {
        let step = self.assigned.step(name, "commit");
        self.assigned.committed(name, &step);
        let own = |key: &str| json!(format!("${{steps.{name}.{key}}}"));
        let mut params = self.repository();
        params.insert("branch".to_owned(), branch.clone());
        params.insert("message".to_owned(), own("commit_message"));
        params.insert("files".to_owned(), own("files"));
        let changed = format!("0 < size(steps.{name}.files)");
        let condition = condition.and_then(Value::as_str).map(bare);
        let condition =
            condition.map_or(changed.clone(), |given| format!("({given}) && {changed}"));
        json!({
            "name": step, "tool": "github.commitFileChanges",
            "if": format!("${{{condition}}}"), "params": params,
        })
    }

    /// The params that name the repository.
    fn repository(&mut self) -> Map<String, Value> {
        self.inputs.refer("repo", true);
        let params = [("owner", "${repo.owner}"), ("repo", "${repo.name}")];
        params.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
    }
}

/// A condition without its braces.
fn bare(condition: &str) -> &str {
    let inside = condition.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.unwrap_or(condition)
}

fn under(mut step: Value, condition: Option<&Value>) -> Value {
    if let Some(condition) = condition {
        step["if"] = condition.clone();
    }
    step
}

/// The manifest of a package manager that is named, or will be.
fn manifest(manager: &str) -> Option<String> {
    if manager.starts_with("${") {
        let entries: Vec<String> =
            MANIFESTS.iter().map(|(manager, path)| format!("'{manager}': '{path}'")).collect();
        // Two braces side by side mean something else in other systems, so the map stands in parentheses.
        return Some(format!("${{({{{}}})[{}]}}", entries.join(", "), bare(manager)));
    }
    let found = MANIFESTS.iter().find(|(known, _)| *known == manager);
    found.map(|(_, path)| (*path).to_owned())
}
