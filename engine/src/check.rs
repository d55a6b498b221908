//! What must fit together in a workflow: names, order, references.

mod graph;
pub(crate) mod types;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use self::graph::Ancestors;
use crate::Problem;
use crate::expr::{Reference, Root, Segment};
use crate::parse::did_you_mean;
use crate::parse::document::Node;
use crate::parse::draft::{Draft, DraftStep};
use crate::problem::nearest;

/// Names that mean something of their own at the top level of an expression.
const ROOTS: [&str; 4] = ["input", "steps", "execution", "repo"];

/// Names that later versions of the language use, or that are functions: nothing else may have
/// them.
const TAKEN: [&str; 10] =
    ["error", "status", "result", "vars", "item", "index", "now", "default", "true", "false"];

/// What `execution` has.
const EXECUTION: [&str; 4] = ["id", "workflow", "started_at", "requested_by"];

/// Checks a draft and finds, for each step, the steps that it needs.
pub(crate) fn check(draft: &Draft, root: &Node, problems: &mut Vec<Problem>) -> Vec<Vec<usize>> {
    let mut checker = Checker::new(draft, root, problems);
    checker.duplicate_names();
    checker.assigned_names();
    let needs = checker.needs();
    let cycles = graph::cycles(&needs);
    for cycle in &cycles {
        checker.cycle(cycle);
    }
    // With a cycle every step of it would be its own ancestor.
    let ancestors = cycles.is_empty().then(|| Ancestors::of(&needs));
    checker.references(ancestors.as_ref());
    needs
}

struct Checker<'c> {
    draft: &'c Draft,
    root: &'c Node,
    problems: &'c mut Vec<Problem>,
    /// The index of each step.
    steps: HashMap<&'c str, usize>,
    /// The index of the step that assigns each name.
    assigned: HashMap<&'c str, usize>,
    /// The steps with a need that does not exist: what they may use is not known.
    unsettled: HashSet<usize>,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Site<'a> {
    pointer: &'a str,
    /// The step it belongs to; `output` belongs to none.
    step: Option<usize>,
}

impl<'c> Checker<'c> {
    fn new(draft: &'c Draft, root: &'c Node, problems: &'c mut Vec<Problem>) -> Checker<'c> {
        let names = draft.steps.iter().enumerate();
        let steps = names.filter_map(|(index, step)| Some((step.name.as_deref()?, index)));
        // The first of two steps with one name counts.
        let steps = steps.rev().collect();
        let names = draft.steps.iter().enumerate();
        let assigned = names.filter_map(|(index, step)| Some((step.assign.as_deref()?, index)));
        let assigned = assigned.rev().collect();
        Checker { draft, root, problems, steps, assigned, unsettled: HashSet::new() }
    }

    fn report(
        &mut self,
        code: &'static str,
        pointer: &str,
        message: String,
        suggestion: Option<String>,
    ) {
        let place = self.root.place_of(pointer);
        let (line, column) = (place.line, place.column);
        let problem = Problem::new(code, pointer, message);
        self.problems.push(Problem { line, column, suggestion, ..problem });
    }

    fn step_name(&self, index: usize) -> &'c str {
        self.draft.steps[index].name.as_deref().unwrap_or("?")
    }

    fn duplicate_names(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(name) = step.name.as_deref() else { continue };
            let first = self.steps.get(name).copied().unwrap_or(index);
            if first != index {
                let pointer = format!("/steps/{index}/name");
                let line = self.root.place_of(&format!("/steps/{first}/name")).line;
                let message = format!("there is already a step `{name}`, in line {line}");
                self.report("duplicate_name", &pointer, message, None);
            }
        }
    }

    fn assigned_names(&mut self) {
        for (index, step) in self.draft.steps.iter().enumerate() {
            let Some(name) = step.assign.as_deref() else { continue };
            let pointer = format!("/steps/{index}/assign");
            if let Some((code, message)) = self.taken(index, name) {
                let suggestion = Some(format!("{name}_result"));
                self.report(code, &pointer, message, suggestion);
            }
        }
    }

    /// Why a step may not assign a name.
    fn taken(&self, index: usize, name: &str) -> Option<(&'static str, String)> {
        if ROOTS.contains(&name) || TAKEN.contains(&name) {
            let message = format!("`{name}` has a meaning of its own in expressions");
            return Some(("reserved_name", message));
        }
        if self.steps.get(name).is_some_and(|step| *step != index) {
            let message = format!("`{name}` is the name of another step");
            return Some(("duplicate_name", message));
        }
        let first = self.assigned.get(name).copied().unwrap_or(index);
        (first != index).then(|| {
            let message = format!("step `{}` already assigns `{name}`", self.step_name(first));
            ("duplicate_name", message)
        })
    }

    fn needs(&mut self) -> Vec<Vec<usize>> {
        let steps = self.draft.steps.iter().enumerate();
        steps.map(|(index, step)| self.needs_of(index, step)).collect()
    }

    fn needs_of(&mut self, index: usize, step: &DraftStep) -> Vec<usize> {
        let Some(names) = &step.needs else {
            // Left out: the step before it in the list.
            return index.checked_sub(1).into_iter().collect();
        };
        let mut needs: Vec<usize> = Vec::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            let Some(name) = name.as_deref() else { continue };
            let pointer = format!("/steps/{index}/needs/{place}");
            match self.steps.get(name).copied() {
                Some(needed) if needed == index => {
                    let message = format!("step `{name}` cannot need itself");
                    self.report("needs_itself", &pointer, message, None);
                }
                Some(needed) if needs.contains(&needed) => {}
                Some(needed) => needs.push(needed),
                None => {
                    self.unsettled.insert(index);
                    self.unknown_step(&pointer, name);
                }
            }
        }
        needs
    }

    fn unknown_step(&mut self, pointer: &str, name: &str) {
        let near = nearest(name, self.draft.steps.iter().filter_map(|step| step.name.as_deref()));
        let message = match near.first() {
            Some(_) => format!("there is no step `{name}`"),
            None => {
                format!("there is no step `{name}`; the steps are {}", self.some_steps())
            }
        };
        let suggestion = near.first().map(|name| did_you_mean(name));
        self.report("unknown_step", pointer, message, suggestion);
    }

    fn some_steps(&self) -> String {
        const SHOWN: usize = 10;
        let names: Vec<&str> =
            self.draft.steps.iter().filter_map(|step| step.name.as_deref()).collect();
        let more = if SHOWN < names.len() { ", …" } else { "" };
        format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
    }

    fn cycle(&mut self, cycle: &[usize]) {
        let Some(first) = cycle.first().copied() else { return };
        let names: Vec<&str> = cycle.iter().map(|index| self.step_name(*index)).collect();
        let pointer = format!("/steps/{first}/needs");
        let message = format!(
            "these steps wait for one another: {} → {}; remove one of the needs",
            names.join(" → "),
            self.step_name(first)
        );
        self.report("cycle", &pointer, message, None);
    }

    fn references(&mut self, ancestors: Option<&Ancestors>) {
        let draft = self.draft;
        for (index, step) in draft.steps.iter().enumerate() {
            let step_number = Some(index);
            if let Some(params) = &step.params {
                let base = format!("/steps/{index}/params");
                self.in_template(params, &base, step_number, ancestors);
            }
            if let Some(condition) = &step.condition {
                let pointer = format!("/steps/{index}/if");
                let site = Site { pointer: &pointer, step: step_number };
                condition.visit(&mut |_, reference| self.reference(site, reference, ancestors));
            }
        }
        if let Some(output) = &draft.output {
            self.in_template(output, "/output", None, ancestors);
        }
    }

    fn in_template(
        &mut self,
        template: &crate::expr::Template,
        base: &str,
        step: Option<usize>,
        ancestors: Option<&Ancestors>,
    ) {
        let mut seen = HashSet::new();
        template.visit(&mut |inside, _, reference| {
            let pointer = format!("{base}{inside}");
            // One name used twice in one text is one problem.
            if seen.insert((pointer.clone(), format!("{reference:?}"))) {
                self.reference(Site { pointer: &pointer, step }, reference, ancestors);
            }
        });
    }

    fn reference(&mut self, site: Site<'_>, reference: &Reference, ancestors: Option<&Ancestors>) {
        if let Some(name) = reference.root.step() {
            return match self.steps.get(name).copied() {
                Some(step) => self.order(site, &reference.root, step, ancestors),
                None => self.unknown_step(site.pointer, name),
            };
        }
        let Root::Name(name) = &reference.root else { return };
        match name.as_str() {
            "input" => self.input(site, reference, &reference.path, "input"),
            "repo" => {
                let mut path = vec![Segment::Key("repo".to_owned())];
                path.extend(reference.path.iter().cloned());
                self.input(site, reference, &path, "input");
            }
            "execution" => self.execution(site, reference),
            name => match self.assigned.get(name).copied() {
                Some(step) => self.order(site, &reference.root, step, ancestors),
                None => self.unknown_name(site, name),
            },
        }
    }

    /// A step may refer only to what has certainly ended before it begins.
    fn order(
        &mut self,
        site: Site<'_>,
        root: &Root,
        referred: usize,
        ancestors: Option<&Ancestors>,
    ) {
        let (Some(step), Some(ancestors)) = (site.step, ancestors) else { return };
        if ancestors.contains(step, referred) || self.unsettled.contains(&step) {
            return;
        }
        let (name, other) = (self.step_name(step), self.step_name(referred));
        if step == referred {
            let message = format!("step `{name}` uses `{root}`, which is its own result");
            return self.report("uses_itself", site.pointer, message, None);
        }
        let from = match root {
            Root::Name(_) => format!("`{root}`, which step `{other}` assigns,"),
            Root::Step(_) | Root::Status(_) | Root::Error(_) => format!("`{root}`"),
        };
        if ancestors.contains(referred, step) {
            let message = format!(
                "step `{name}` uses {from} but `{other}` runs after it; move `{other}` before \
                 `{name}`"
            );
            return self.report("not_needed", site.pointer, message, None);
        }
        let message = format!("step `{name}` uses {from} but does not need it");
        let suggestion = Some(self.longer_needs(step, other));
        self.report("not_needed", site.pointer, message, suggestion);
    }

    /// The `needs` that a step should have.
    fn longer_needs(&self, step: usize, other: &str) -> String {
        let names = self.draft.steps[step].needs.iter().flatten().flatten();
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.push(other);
        format!("needs: [{}]", names.join(", "))
    }

    fn unknown_name(&mut self, site: Site<'_>, name: &str) {
        let message = format!("there is no name `{name}` in expressions");
        if self.steps.contains_key(name) {
            let suggestion = Some(format!("steps.{name}"));
            let message = format!("{message}; the result of a step is found under `steps`");
            return self.report("unknown_name", site.pointer, message, suggestion);
        }
        if name == "error" || name == "status" {
            let message = format!("`{name}` needs the name of a step: `{name}('build')`");
            return self.report("unknown_name", site.pointer, message, None);
        }
        let mut names: Vec<&str> = self.assigned.keys().copied().collect();
        names.sort_unstable();
        let near = nearest(name, names.iter().copied().chain(ROOTS));
        let suggestion = near.first().map(|name| did_you_mean(name));
        let known: Vec<&str> = ROOTS.iter().copied().chain(names).collect();
        let message = match near.is_empty() {
            true => format!("{message}; there are {}", known.join(", ")),
            false => message,
        };
        self.report("unknown_name", site.pointer, message, suggestion);
    }

    fn execution(&mut self, site: Site<'_>, reference: &Reference) {
        let Some(Segment::Key(key)) = reference.path.first() else { return };
        if EXECUTION.contains(&key.as_str()) {
            return;
        }
        let message = format!("`execution` has no `{key}`; it has {}", EXECUTION.join(", "));
        let suggestion = nearest(key, EXECUTION).first().map(|name| did_you_mean(name));
        self.report("unknown_name", site.pointer, message, suggestion);
    }

    /// Walks a path down the input schema as far as that says what there is.
    fn input(&mut self, site: Site<'_>, reference: &Reference, path: &[Segment], root: &str) {
        let whole = self.draft.input.schema();
        let mut schema = whole;
        let mut place = root.to_owned();
        for segment in path {
            let Segment::Key(key) = segment else { return };
            let Some(properties) = properties(schema) else { return };
            match properties.get(key) {
                Some(inner) => schema = inner,
                None => {
                    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
                    if !may_have_others(schema, reference.guarded) {
                        self.unknown_input(site, &place, key, &names);
                    }
                    return;
                }
            }
            place = format!("{place}.{key}");
        }
    }

    fn unknown_input(&mut self, site: Site<'_>, place: &str, key: &str, names: &[&str]) {
        let near = nearest(key, names.iter().copied());
        let known = match names {
            [] => "it declares no properties".to_owned(),
            names => format!("it declares {}", names.join(", ")),
        };
        let message = format!("the input schema has no `{key}` in `{place}`; {known}");
        let suggestion = match near.first() {
            Some(name) => did_you_mean(name),
            None => format!("add `{key}` to the properties of the input schema"),
        };
        self.report("unknown_input", site.pointer, message, Some(suggestion));
    }
}

/// The declared properties of a schema that leaves no other way for a property to be there.
fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    const OTHER_WAYS: [&str; 10] = [
        "$ref",
        "$dynamicRef",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "patternProperties",
        "dependentSchemas",
        "propertyNames",
        "unevaluatedProperties",
    ];
    let schema = schema.as_object()?;
    if OTHER_WAYS.iter().any(|key| schema.contains_key(*key)) {
        return None;
    }
    let properties = schema.get("properties")?.as_object()?;
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    (closed || !properties.is_empty()).then_some(properties)
}

/// Whether a property that is not declared may be there all the same.
fn may_have_others(schema: &Value, guarded: bool) -> bool {
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => false,
        // Undeclared, and the author is prepared for its absence.
        None => guarded,
        Some(_) => true,
    }
}
