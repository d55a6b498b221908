//! What is checked before a workflow is saved: the document, and that it fits the tool servers as they are now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use windlass_engine::{
    Findings, Lookup, PatchOperation, Problem, ToolName, ToolSchemas, Tools, Unchecked, Workflow,
    check_tools, locate, near,
};
use windlass_import::Dialect;

use super::{
    App, WorkflowView,
    catalogue::{self, Entry},
    secret_names,
};
use crate::tool_servers::{Error, RetryClass, ToolInfo, ToolServers};

/// How long tool servers have to answer; what a slower one offers stays unchecked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of checking a document. Nothing was stored.
#[derive(Clone, Debug, Serialize)]
pub struct Validation {
    /// What it would be as a workflow, when the document can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<WorkflowView>,
    /// What is wrong, in the order of the text; empty when it may be saved and run.
    pub problems: Vec<Problem>,
    /// What nobody can say before it runs.
    pub unchecked: Vec<Unchecked>,
}

/// The tools that a workflow names, as their servers offer them now, and the workflows there are.
struct Live {
    tools: BTreeMap<ToolName, Found>,
    workflows: BTreeMap<String, Value>,
}

/// What became of looking for a tool.
enum Found {
    Known(Box<ToolSchemas>),
    UnknownTool(Vec<String>),
    UnknownServer(Vec<String>),
    Unreachable(String),
}

impl App {
    /// Checks a document as it is checked before it is saved; stores and calls nothing.
    pub async fn check(&self, text: &str, source: &str) -> Validation {
        let entry = catalogue::read(text, source, &super::stem(source));
        self.check_entry(&entry, text).await
    }

    /// Checks a workflow by its name, as a run would use it now; stores and calls nothing.
    ///
    /// # Errors
    /// When there is no such workflow.
    pub async fn check_workflow(&self, name: &str) -> Result<Validation, super::Error> {
        let entry = self.find(name).await?;
        // What is known of it is its content: its file may look otherwise, so that no lines are named.
        Ok(self.check_entry(&entry, "").await)
    }

    /// The same for a document that was read.
    pub(super) async fn check_entry(&self, entry: &Entry, text: &str) -> Validation {
        let workflow = match &entry.read {
            Ok(workflow) => Arc::clone(workflow),
            Err(problems) => {
                let mut problems = problems.to_vec();
                self.add_servers(&mut problems).await;
                return Validation::broken(problems);
            }
        };
        let live = self.live(&workflow).await;
        let mut findings = check_tools(&workflow, &live);
        findings.problems.extend(secret_names::unknown(&workflow, &self.inner.secret_names));
        Validation::of(text, Some(entry.view()), findings)
    }

    async fn live(&self, workflow: &Workflow) -> Live {
        let deadline = Instant::now() + PATIENCE;
        let mut servers: BTreeMap<&str, BTreeSet<&ToolName>> = BTreeMap::new();
        for tool in workflow.tools() {
            servers.entry(&tool.server).or_default().insert(tool);
        }
        let known = &self.inner.tool_servers;
        let asked = servers.values().map(|tools| find_all(known, tools, deadline));
        let tools = join_all(asked).await.into_iter().flatten().collect();
        let workflows = match workflow.children().next() {
            Some(_) => self.input_schemas().await,
            None => BTreeMap::new(),
        };
        Live { tools, workflows }
    }

    /// Tools that are written without their server, where one server alone has one of that name.
    async fn add_servers(&self, problems: &mut [Problem]) {
        let servers = &self.inner.tool_servers;
        let deadline = Instant::now() + PATIENCE;
        let bare = problems
            .iter_mut()
            .filter(|problem| problem.code == "invalid_tool" && problem.patch.is_empty());
        for problem in bare {
            let tool = problem.found.clone().unwrap_or_default();
            // Without an answer in time the problem is told as it is.
            let having = timeout_at(deadline, having(servers, &tool)).await.unwrap_or_default();
            if let [only] = having.as_slice() {
                let (path, value) = (problem.pointer.clone(), Value::from(only.as_str()));
                problem.patch = vec![PatchOperation::Replace { path, value }];
                problem.suggestion = Some(format!("did you mean `{only}`?"));
            }
            problem.nearest = having;
        }
    }

    async fn input_schemas(&self) -> BTreeMap<String, Value> {
        // A database that fails leaves them unchecked, and that is said.
        let entries = self.entries().await.unwrap_or_default().into_iter();
        let readable = entries.filter_map(|(name, entry)| {
            let workflow = entry.read.ok()?;
            Some((name, workflow.input.schema().clone()))
        });
        readable.collect()
    }
}

/// Checks a document alone, without configuration, database and tool servers; `why` says why nothing more is looked at.
/// The problems are empty when it can be read.
#[must_use]
pub fn validate(text: &str, why: &str) -> Validation {
    let entry = catalogue::read(text, "", "workflow");
    let workflow = match &entry.read {
        Ok(workflow) => workflow,
        Err(problems) => return Validation::broken(problems.to_vec()),
    };
    let all = Unchecked {
        pointer: String::new(),
        what: "tools, params and results".to_owned(),
        why: why.to_owned(),
    };
    let unchecked = [all].into_iter().chain(secret_names::unchecked(workflow, why)).collect();
    Validation { view: Some(entry.view()), problems: Vec::new(), unchecked }
}

impl Validation {
    fn broken(problems: Vec<Problem>) -> Validation {
        let unchecked = Unchecked {
            pointer: String::new(),
            what: "tools, params and results".to_owned(),
            why: "they are checked once the document itself has no problems".to_owned(),
        };
        Validation { view: None, problems, unchecked: vec![unchecked] }
    }

    fn of(text: &str, view: Option<WorkflowView>, findings: Findings) -> Validation {
        let Findings { mut problems, unchecked } = findings;
        if windlass_import::detect(text) == Dialect::Windlass {
            locate(text, &mut problems);
        } else {
            // Places and patches are of what the document was translated into.
            problems.iter_mut().for_each(|problem| problem.patch.clear());
        }
        Validation { view, problems, unchecked }
    }
}

/// Finds tools of one server.
async fn find_all(
    servers: &ToolServers,
    tools: &BTreeSet<&ToolName>,
    deadline: Instant,
) -> Vec<(ToolName, Found)> {
    let find = |tool: ToolName| async move {
        let found = match timeout_at(deadline, find(servers, &tool)).await {
            Ok(found) => found,
            Err(_) => Found::Unreachable(format!(
                "tool server `{}` did not answer within {} s",
                tool.server,
                PATIENCE.as_secs()
            )),
        };
        (tool, found)
    };
    join_all(tools.iter().map(|tool| find((*tool).clone()))).await
}

async fn find(servers: &ToolServers, tool: &ToolName) -> Found {
    match servers.tool(tool).await {
        Ok(info) => Found::Known(Box::new(schemas(info))),
        Err(Error::UnknownTool { .. }) => Found::UnknownTool(near_tools(servers, tool).await),
        Err(Error::UnknownServer { .. }) => {
            let known = servers.names();
            let alike = near(&tool.server, known.iter().map(String::as_str));
            Found::UnknownServer(elsewhere(servers, tool, alike).await)
        }
        Err(error @ Error::Unreachable { .. }) => Found::Unreachable(error.to_string()),
    }
}

/// The nearest tools of the server; where there are none, those of others.
async fn near_tools(servers: &ToolServers, tool: &ToolName) -> Vec<String> {
    let own = names(servers, &tool.server).await;
    let near: Vec<String> = near(&tool.tool, own.iter().map(String::as_str));
    match near.is_empty() {
        true => elsewhere(servers, tool, Vec::new()).await,
        false => near.into_iter().map(|name| format!("{}.{name}", tool.server)).collect(),
    }
}

/// The same tool or one like it, of the servers that are alike; or else the very tool, of any server.
async fn elsewhere(servers: &ToolServers, tool: &ToolName, alike: Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    for server in &alike {
        let names = names(servers, server).await;
        let near = near(&tool.tool, names.iter().map(String::as_str));
        found.extend(near.into_iter().take(1).map(|name| format!("{server}.{name}")));
    }
    if !found.is_empty() {
        return found;
    }
    having(servers, &tool.tool).await
}

/// The very tool, of any server.
async fn having(servers: &ToolServers, tool: &str) -> Vec<String> {
    let mut found = Vec::new();
    for server in servers.names() {
        if names(servers, &server).await.iter().any(|name| name == tool) {
            found.push(format!("{server}.{tool}"));
        }
    }
    found
}

/// The names of a server's tools, without the server's.
async fn names(servers: &ToolServers, server: &str) -> Vec<String> {
    let Ok(tools) = servers.tools(server).await else { return Vec::new() };
    let own = |tool: &ToolInfo| Some(tool.name.strip_prefix(server)?.strip_prefix('.')?.to_owned());
    tools.iter().filter_map(own).collect()
}

fn schemas(info: ToolInfo) -> ToolSchemas {
    ToolSchemas {
        aliases: info.other_names(),
        // What Windlass makes fit as it calls the tool is no mistake.
        input: info.accepted_schema(),
        done: info.output_schema.as_ref().and_then(done),
        output: info.output_schema,
        read_only: info.retry_class == RetryClass::Read,
    }
}

/// The schema of what a call does, of one that has the plan of a dry run as the other of two choices.
fn done(schema: &Value) -> Option<Value> {
    let required = |choice: &Value| choice["required"].as_array().cloned().unwrap_or_default();
    let choices = schema.get("anyOf")?.as_array()?;
    let (plans, others): (Vec<_>, Vec<_>) =
        choices.iter().partition(|choice| required(choice).contains(&"dry_run".into()));
    let ([_], [other]) = (plans.as_slice(), others.as_slice()) else { return None };
    let mut done = schema.clone();
    let fields = done.as_object_mut()?;
    fields.remove("anyOf");
    let all = [required(schema), required(other)].concat();
    fields.insert("required".to_owned(), all.into());
    Some(done)
}

impl Tools for Live {
    fn find(&self, name: &ToolName) -> Lookup<'_> {
        match self.tools.get(name) {
            Some(Found::Known(schemas)) => Lookup::Known(schemas),
            Some(Found::UnknownTool(nearest)) => Lookup::UnknownTool { nearest: nearest.clone() },
            Some(Found::UnknownServer(nearest)) => {
                Lookup::UnknownServer { nearest: nearest.clone() }
            }
            Some(Found::Unreachable(why)) => Lookup::Unreachable(why.clone()),
            None => Lookup::Unreachable("it was not looked for".to_owned()),
        }
    }

    fn workflow(&self, name: &str) -> Option<&Value> {
        self.workflows.get(name)
    }

    fn workflows(&self) -> Vec<&str> {
        self.workflows.keys().map(String::as_str).collect()
    }
}
