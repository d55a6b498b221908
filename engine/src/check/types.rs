//! Whether a workflow fits the tools it calls: that they exist, take what they are given, and give what others read.
//!
//! An error is told only where no value could fit; what may fit or not, and what nobody can say, is listed as
//! unchecked. Three rules go further than that, because what they find is a mistake all the same: a param that the
//! tool's schema does not name (unless it says that it takes others), a path that an output schema which lists its
//! properties does not name, and a comparison that has the same answer whatever comes.
//!
//! Bounds, patterns and formats are checked for literals only; for computed values the call itself checks them.

mod near;
mod params;
mod repair;
mod scope;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

pub use self::near::near;
use self::scope::Scope;
use crate::expr::{Branch, Condition, Expression, Finding, Root, Template, View, infer};
use crate::shape::{Fit, Place, Reach, Shape, Types, fit};
use crate::workflow::{Approval, Kind, Step, ToolName, Wait};
use crate::{PatchOperation, Problem, Workflow};

/// How many parts of params one check may look at, each alternative of a schema counted.
const MAX_PARTS: u32 = 50_000;

/// How many schemas one check may look at, each as often as it is looked at.
const MAX_EFFORT: u32 = 1_000_000;

/// What is known of the tools and workflows that a workflow may use.
pub trait Tools {
    /// A tool, by its exact name or an alias.
    fn find(&self, name: &ToolName) -> Lookup<'_>;
    /// The input schema of a workflow.
    fn workflow(&self, name: &str) -> Option<&Value>;
    /// The names of all workflows.
    fn workflows(&self) -> Vec<&str>;
}

/// What became of looking for a tool.
#[derive(Clone, Debug)]
pub enum Lookup<'t> {
    /// It is there.
    Known(&'t ToolSchemas),
    /// Its server is there and does not have it.
    UnknownTool {
        /// The nearest tools, as `server.tool`.
        nearest: Vec<String>,
    },
    /// No tool server has that name.
    UnknownServer {
        /// What was probably meant, as `server.tool`.
        nearest: Vec<String>,
    },
    /// Nobody can say, and why.
    Unreachable(String),
}

/// What a tool says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSchemas {
    /// JSON Schema of its arguments.
    pub input: Value,
    /// JSON Schema of its structured result, if it names one.
    pub output: Option<Value>,
    /// The same of a call that is no dry run, where `output` has both in one.
    pub done: Option<Value>,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// Other names of its arguments, each with the name that the schema knows.
    pub aliases: BTreeMap<String, String>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// What is wrong; without lines and columns.
    pub problems: Vec<Problem>,
    /// What could not be checked.
    pub unchecked: Vec<Unchecked>,
}

/// Something that could not be checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unchecked {
    /// JSON Pointer (RFC 6901) of the place in the document.
    pub pointer: String,
    /// What it is: a tool, a path, a value.
    pub what: String,
    /// Why nobody can say before it runs.
    pub why: String,
}

/// Checks a workflow against the tools it names.
#[must_use]
pub fn check_tools(workflow: &Workflow, tools: &dyn Tools) -> Findings {
    let effort = Cell::new(MAX_EFFORT);
    let checker = Checker {
        workflow,
        tools,
        results: RefCell::default(),
        parts: Cell::new(MAX_PARTS),
        effort: &effort,
    };
    let mut findings = Findings::default();
    checker.document(&mut findings);
    for index in 0..workflow.steps.len() {
        checker.step(index, &mut findings);
    }
    if effort.get() == 0 {
        findings.keep_names_alone();
    }
    findings.tidy();
    findings
}

struct Checker<'c> {
    workflow: &'c Workflow,
    tools: &'c dyn Tools,
    /// The results that are known already; nothing for one that is being worked out.
    results: RefCell<HashMap<usize, Option<Shape<'c>>>>,
    /// How many parts of params may still be looked at.
    parts: Cell<u32>,
    /// How many schemas may still be looked at.
    effort: &'c Cell<u32>,
}

impl Findings {
    fn unchecked(&mut self, pointer: &str, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        self.unchecked.push(Unchecked { pointer: pointer.to_owned(), what, why });
    }

    fn add(&mut self, mut other: Findings) {
        self.problems.append(&mut other.problems);
        self.unchecked.append(&mut other.unchecked);
    }

    /// Leaves out what comes of schemas: they were too much to be looked at wholly.
    fn keep_names_alone(&mut self) {
        self.problems.retain(|problem| {
            ["unknown_tool", "unknown_tool_server", "unknown_workflow"].contains(&problem.code)
        });
        self.unchecked.clear();
        self.unchecked("", "params and results", "the schemas are too much to be looked at wholly");
    }

    /// Each thing once.
    fn tidy(&mut self) {
        let mut seen: Vec<Problem> = Vec::with_capacity(self.problems.len());
        for problem in self.problems.drain(..) {
            let known = |other: &Problem| {
                other.pointer == problem.pointer && other.message == problem.message
            };
            if !seen.iter().any(known) {
                seen.push(problem);
            }
        }
        self.problems = seen;
        let mut listed: Vec<Unchecked> = Vec::with_capacity(self.unchecked.len());
        for entry in self.unchecked.drain(..) {
            let known =
                |other: &Unchecked| other.pointer == entry.pointer && other.what == entry.what;
            if !listed.iter().any(known) {
                listed.push(entry);
            }
        }
        self.unchecked = listed;
    }
}

impl<'c> Checker<'c> {
    /// Whether the check has looked at enough.
    fn is_too_much(&self) -> bool {
        let left = self.parts.get();
        self.parts.set(left.saturating_sub(1));
        left == 0
    }

    /// What belongs to no step.
    fn document(&self, findings: &mut Findings) {
        let workflow = self.workflow;
        let outside = Scope::outside(self);
        if let Some(lock) = &workflow.lock {
            self.template(&lock.key, &self.lock_pointer(""), &outside, findings);
        }
        for (name, template) in &workflow.vars {
            let pointer = format!("/vars/{}", crate::expr::escape_pointer(name));
            self.template(template, &pointer, &outside, findings);
        }
        if let Some(output) = &workflow.output {
            self.template(output, "/output", &outside, findings);
        }
    }

    fn step(&self, index: usize, findings: &mut Findings) {
        let step = &self.workflow.steps[index];
        let pointer = step.pointer.as_str();
        let before = Scope::before(self, index);
        let inside = Scope::inside(self, index);
        if let Some(for_each) = &step.for_each {
            let pointer = format!("{pointer}/forEach");
            self.must_be(&for_each.list, &pointer, &before, &json!({ "type": "array" }), findings);
        }
        if let Some(condition) = &step.condition {
            self.condition(condition, &format!("{pointer}/if"), &inside, findings);
        }
        if let Some(lock) = &step.lock {
            self.template(&lock.key, &self.lock_pointer(pointer), &inside, findings);
        }
        if let Some(approval) = &step.approval {
            self.approval(approval, &format!("{pointer}/approval"), &inside, findings);
        }
        self.kind(index, step, &inside, findings);
        self.calls(index, step, &inside, findings);
    }

    fn kind(&self, index: usize, step: &'c Step, scope: &Scope<'c, '_>, findings: &mut Findings) {
        let pointer = step.pointer.as_str();
        match &step.kind {
            Kind::Tool { tool, params } => {
                self.call(tool, params, pointer, scope, findings);
            }
            Kind::Workflow { workflow, params } => {
                self.child(workflow, params, pointer, scope, findings);
            }
            Kind::Approval(approval) => {
                self.approval(approval, &format!("{pointer}/approval"), scope, findings);
            }
            Kind::Ask(ask) => {
                if let Some(message) = &ask.message {
                    self.template(message, &format!("{pointer}/ask/message"), scope, findings);
                }
            }
            Kind::Wait(wait) => self.wait(wait, &format!("{pointer}/wait"), scope, findings),
            Kind::Set(values) => {
                self.template(values, &format!("{pointer}/set"), scope, findings);
            }
            Kind::Group(group) => {
                let Some(repeat) = &group.repeat else { return };
                let body = Scope::body(self, index);
                let asked = [("while", &repeat.while_holds), ("until", &repeat.until)];
                for (key, condition) in asked {
                    if let Some(condition) = condition {
                        let pointer = format!("{pointer}/repeat/{key}");
                        self.condition(condition, &pointer, &body, findings);
                    }
                }
            }
            Kind::Stop(stop) => {
                if let Some(message) = &stop.message {
                    self.template(message, &format!("{pointer}/stop/message"), scope, findings);
                }
            }
        }
    }

    /// What else a step may ask or call: `expect`, `verify`, `undo`.
    fn calls(&self, index: usize, step: &'c Step, scope: &Scope<'c, '_>, findings: &mut Findings) {
        let pointer = step.pointer.as_str();
        let result = self.instance(index);
        if let Some(expect) = &step.expect {
            let scope = scope.with_result(result.clone());
            self.condition(expect, &format!("{pointer}/expect"), &scope, findings);
        }
        if let Some(verify) = &step.verify {
            let pointer = format!("{pointer}/verify");
            self.call(&verify.tool, &verify.params, &pointer, scope, findings);
            if let Lookup::Known(schemas) = self.tools.find(&verify.tool)
                && !schemas.read_only
            {
                findings.problems.push(not_read_only(&verify.tool, &pointer));
            }
            let scope = scope.with_result(self.tool_result(&verify.tool, &verify.params));
            self.condition(&verify.expect, &format!("{pointer}/expect"), &scope, findings);
        }
        if let Some(undo) = &step.undo {
            let scope = scope.with_result(result);
            self.call(&undo.tool, &undo.params, &format!("{pointer}/undo"), &scope, findings);
        }
    }

    fn approval(
        &self,
        approval: &'c Approval,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        if let Some(condition) = &approval.condition {
            self.condition(condition, &format!("{pointer}/if"), scope, findings);
        }
        if let Some(message) = &approval.message {
            self.template(message, &format!("{pointer}/message"), scope, findings);
        }
    }

    fn wait(&self, wait: &'c Wait, pointer: &str, scope: &Scope<'c, '_>, findings: &mut Findings) {
        let (key, template, schema) = match wait {
            Wait::For(ms) => ("ms", ms, json!({ "type": "integer" })),
            Wait::Until(until) => ("until", until, json!({ "type": ["string", "integer"] })),
            Wait::Event { event, .. } => ("event", event, json!({ "type": "string" })),
        };
        self.must_be(template, &format!("{pointer}/{key}"), scope, &schema, findings);
    }

    fn call(
        &self,
        tool: &ToolName,
        params: &'c Template,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        let place = format!("{pointer}/tool");
        let inside = format!("{pointer}/params");
        self.template(params, &inside, scope, findings);
        match self.tools.find(tool) {
            Lookup::Known(schemas) => {
                let taker = format!("`{tool}`");
                let schema = Place::new(&schemas.input, self.effort);
                let taker = params::Taker { name: &taker, aliases: Some(&schemas.aliases) };
                findings.add(params::check(scope, params.branch(), schema, &inside, taker));
            }
            Lookup::UnknownTool { nearest } => {
                findings.problems.push(unknown_tool(tool, &place, nearest));
            }
            Lookup::UnknownServer { nearest } => {
                findings.problems.push(unknown_server(tool, &place, nearest));
            }
            Lookup::Unreachable(why) => {
                findings.unchecked(&place, format!("`{tool}`, its params and its result"), why);
            }
        }
    }

    fn child(
        &self,
        name: &str,
        params: &'c Template,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        let inside = format!("{pointer}/params");
        self.template(params, &inside, scope, findings);
        let own = (name == self.workflow.name).then(|| self.workflow.input.schema());
        if let Some(schema) = own.or_else(|| self.tools.workflow(name)) {
            let taker = format!("workflow `{name}`");
            let schema = Place::filled(schema, self.effort);
            let taker = params::Taker { name: &taker, aliases: None };
            return findings.add(params::check(scope, params.branch(), schema, &inside, taker));
        }
        let place = format!("{pointer}/workflow");
        let known = self.tools.workflows();
        let nearest = near(name, known.iter().copied());
        let message = format!("there is no workflow `{name}`; there are {}", known.join(", "));
        let problem = Problem::new("unknown_workflow", place.as_str(), message);
        findings.problems.push(renamed(problem, &place, name, nearest));
    }

    /// The expressions of a template: whether their paths lead anywhere.
    fn template(
        &self,
        template: &'c Template,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        template.branch().expressions(pointer, &mut |pointer, expression| {
            self.expression(expression, pointer, scope, findings);
        });
    }

    /// A template that must result in something of a type.
    fn must_be(
        &self,
        template: &'c Template,
        pointer: &str,
        scope: &Scope<'c, '_>,
        schema: &Value,
        findings: &mut Findings,
    ) {
        self.template(template, pointer, scope, findings);
        let shape = Branch::shape(template.branch(), scope);
        let what = pointer.rsplit('/').next().unwrap_or(pointer);
        match fit(&shape, Place::new(schema, self.effort)) {
            Fit::Never(clash) => {
                let message =
                    format!("`{what}` must be {}, and is {}", clash.expected, clash.found);
                let (suggestion, patch) = self.only_list(template, pointer, &shape, schema);
                findings.problems.push(Problem {
                    suggestion,
                    patch,
                    expected: Some(clash.expected),
                    found: Some(clash.found),
                    ..Problem::new("wrong_type", pointer, message)
                });
            }
            Fit::Perhaps(why) => findings.unchecked(pointer, format!("`{what}`"), why),
            Fit::Unknown(why) => findings.unchecked(pointer, format!("`{what}`"), why.as_ref()),
            Fit::Always => {}
        }
    }

    /// The list in an object, where the object was written instead and there is one list in it.
    fn only_list(
        &self,
        template: &Template,
        pointer: &str,
        shape: &Shape<'c>,
        schema: &Value,
    ) -> (Option<String>, Vec<PatchOperation>) {
        let View::Expression(expression) = template.branch().view() else {
            return (None, Vec::new());
        };
        let fits = |name: &String| match shape.get(name) {
            Reach::Found { shape, .. } => {
                matches!(fit(&shape, Place::new(schema, self.effort)), Fit::Always)
            }
            Reach::Absent { .. } | Reach::Unknown(_) => false,
        };
        let mut lists = shape.names().into_iter().filter(fits);
        let (Some(name), None) = (lists.next(), lists.next()) else { return (None, Vec::new()) };
        let right = format!("${{{}.{name}}}", expression.source);
        let value = Value::from(right.as_str());
        (Some(right), vec![PatchOperation::Replace { path: pointer.to_owned(), value }])
    }

    fn condition(
        &self,
        condition: &'c Condition,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        let expression = condition.expression();
        self.expression(expression, pointer, scope, findings);
        let shape = infer(expression, scope, &mut |_| {});
        if shape.types().meets(Types::BOOLEAN) {
            return;
        }
        let (source, found) = (expression.source.as_str(), shape.describe());
        let message = format!("a condition must be true or false, and `{source}` is {found}");
        let question = repair::question(source, shape.types());
        let patch = self.rewritten(pointer, |text| {
            Some(text.replacen(source, &question, 1)).filter(|new| new != text)
        });
        findings.problems.push(Problem {
            expected: Some("true or false".to_owned()),
            found: Some(found),
            suggestion: Some(question),
            patch,
            ..Problem::new("wrong_type", pointer, message)
        });
    }

    fn expression(
        &self,
        expression: &Expression,
        pointer: &str,
        scope: &Scope<'c, '_>,
        findings: &mut Findings,
    ) {
        let mut found = Vec::new();
        infer(expression, scope, &mut |finding| found.push(finding));
        // The longest path says it for all that begin like it, and one that leads nowhere for all that go on.
        let said = |path: &str| {
            found.iter().any(|finding| match finding {
                Finding::Unknown { path: other, .. } => {
                    path.len() < other.len() && other.starts_with(path)
                }
                Finding::Absent { path: other, key, .. } => {
                    path.starts_with(&crate::expr::joined(other, key))
                }
                Finding::Optional { .. } | Finding::Decided { .. } | Finding::Operand { .. } => {
                    false
                }
            })
        };
        for finding in &found {
            match finding {
                Finding::Unknown { path, .. } if said(path) => {}
                Finding::Unknown { path, why } => {
                    findings.unchecked(pointer, format!("`{path}`"), why.as_ref());
                }
                Finding::Optional { path } => {
                    let why = format!(
                        "it may be missing, and the step would fail; `default({path}, …)` says what then"
                    );
                    findings.unchecked(pointer, format!("`{path}`"), why);
                }
                Finding::Absent { .. } => {
                    findings.problems.extend(self.absent(finding, pointer, expression));
                }
                Finding::Decided { .. } => {
                    findings.problems.extend(self.decided(finding, pointer));
                }
                Finding::Operand { .. } => findings.problems.extend(self.operand(finding, pointer)),
            }
        }
    }

    /// The text at a pointer, changed, as a patch.
    fn rewritten(
        &self,
        pointer: &str,
        change: impl FnOnce(&str) -> Option<String>,
    ) -> Vec<PatchOperation> {
        let text = self.workflow.document.pointer(pointer).and_then(Value::as_str);
        let Some(changed) = text.and_then(change) else { return Vec::new() };
        vec![PatchOperation::Replace { path: pointer.to_owned(), value: Value::from(changed) }]
    }

    fn lock_pointer(&self, base: &str) -> String {
        let short = format!("{base}/lock");
        match self.workflow.document.pointer(&short) {
            Some(Value::Object(_)) => format!("{short}/key"),
            Some(_) | None => short,
        }
    }

    /// What a root is called in messages: whose schema says what there is.
    fn owner_of(&self, root: &Root) -> String {
        let step = match root {
            Root::Step(name) => self.workflow.step(name),
            Root::Name(name) => self.assigning(name).map(|index| &self.workflow.steps[index]),
            Root::Status(_) | Root::Error(_) => None,
        };
        match (step, root) {
            (Some(step), _) => match &step.kind {
                Kind::Tool { tool, .. } => format!("the output schema of `{tool}`"),
                _ => format!("the result of step `{}`", step.name),
            },
            (None, Root::Name(name)) if name == "input" || name == "repo" => {
                "the input schema".to_owned()
            }
            (None, root) => format!("`{root}`"),
        }
    }

    fn assigning(&self, name: &str) -> Option<usize> {
        let steps = &self.workflow.steps;
        steps.iter().position(|step| step.assign.as_deref() == Some(name))
    }
}

fn unknown_tool(tool: &ToolName, place: &str, nearest: Vec<String>) -> Problem {
    let message = format!(
        "tool server `{}` has no tool `{}`; `windlass tools {}` lists what it has",
        tool.server, tool.tool, tool.server
    );
    let problem = Problem::new("unknown_tool", place, message);
    renamed(problem, place, &tool.to_string(), nearest)
}

fn unknown_server(tool: &ToolName, place: &str, nearest: Vec<String>) -> Problem {
    let message = format!(
        "no tool server is called `{}`; `windlass tools` lists those there are, and [mcpServers] in windlass.toml \
         adds one",
        tool.server
    );
    let problem = Problem::new("unknown_tool_server", place, message);
    renamed(problem, place, &tool.to_string(), nearest)
}

fn not_read_only(tool: &ToolName, pointer: &str) -> Problem {
    let message = format!(
        "`{tool}` does not say that it only reads (`readOnlyHint`), and to find out whether a call happened nothing \
         may change; name a tool that reads, or use `onUncertain: ask`"
    );
    Problem {
        expected: Some("a tool with readOnlyHint".to_owned()),
        found: Some(tool.to_string()),
        ..Problem::new("not_read_only", format!("{pointer}/tool"), message)
    }
}

/// A problem with a name, and with the name that was probably meant.
fn renamed(problem: Problem, place: &str, wrong: &str, nearest: Vec<String>) -> Problem {
    let patch = near::obvious(wrong, &nearest)
        .map(|name| PatchOperation::Replace { path: place.to_owned(), value: Value::from(name) });
    Problem {
        suggestion: nearest.first().map(|name| crate::parse::did_you_mean(name)),
        found: Some(wrong.to_owned()),
        patch: patch.into_iter().collect(),
        nearest,
        ..problem
    }
}

#[cfg(test)]
mod tests;
