//! What values and decisions derive from, as far as the text of a workflow tells.
//!
//! Whoever supposes the results of some steps learns here what else is only supposed then. The answers are never too
//! small: what is named in an expression counts, whether or not its value makes a difference.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    Kind, Step, Wait, Workflow,
    expr::{Condition, Expression, Root, Segment, Template},
};

/// Where something comes from that is not in the document.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// What a step got from outside: an index into [`Workflow::steps`] of one that calls a tool, runs a workflow, asks a
    /// person or waits for an event.
    Step(usize),
    /// The input.
    Input,
    /// The execution itself: its id, when it began, who asked for it.
    Execution,
    /// The clock.
    Clock,
}

/// What values and decisions of a workflow derive from.
pub struct Origins<'w> {
    workflow: &'w Workflow,
}

/// A node of the graph that is walked.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Node {
    Value(usize),
    Control(usize),
    Variable(String),
}

/// What was found on a walk so far.
struct Walk<'w> {
    workflow: &'w Workflow,
    seen: BTreeSet<Node>,
    found: BTreeSet<Origin>,
}

impl<'w> Origins<'w> {
    /// Looks at a workflow.
    #[must_use]
    pub fn of(workflow: &'w Workflow) -> Origins<'w> {
        Origins { workflow }
    }

    /// What the params of a step derive from, each with the JSON Pointer of the text that it stands in.
    #[must_use]
    pub fn params(&self, step: usize) -> Vec<(String, BTreeSet<Origin>)> {
        let (Kind::Tool { params, .. } | Kind::Workflow { params, .. }) =
            &self.workflow.steps[step].kind
        else {
            return Vec::new();
        };
        let mut places: Vec<(String, BTreeSet<Origin>)> = Vec::new();
        params.branch().expressions("", &mut |pointer, expression| {
            let found = self.walk(|walk| walk.expression(step, expression));
            match places.last_mut() {
                Some((last, origins)) if last == pointer => origins.extend(found),
                _ => places.push((pointer.to_owned(), found)),
            }
        });
        places
    }

    /// What decides whether, and how often, a step runs.
    #[must_use]
    pub fn control(&self, step: usize) -> BTreeSet<Origin> {
        self.walk(|walk| walk.node(Node::Control(step)))
    }

    /// What the result of a step derives from; and whether there is one.
    #[must_use]
    pub fn value(&self, step: usize) -> BTreeSet<Origin> {
        self.walk(|walk| walk.value_of(step))
    }

    /// What decides whether the result of a step is taken: its `expect`, and what that is asked of.
    #[must_use]
    pub fn expectation(&self, step: usize) -> BTreeSet<Origin> {
        self.walk(|walk| {
            walk.node(Node::Value(step));
            if let Some(expect) = &self.workflow.steps[step].expect {
                walk.condition(step, expect);
            }
        })
    }

    /// What decides how often a loop goes round.
    #[must_use]
    pub fn repetition(&self, step: usize) -> BTreeSet<Origin> {
        self.walk(|walk| walk.repetition(step))
    }

    /// What the execution's own result derives from.
    #[must_use]
    pub fn output(&self) -> BTreeSet<Origin> {
        self.walk(|walk| match (&self.workflow.output, self.workflow.main.last()) {
            (Some(output), last) => {
                let last = last.copied().unwrap_or_default();
                output.branch().expressions("", &mut |_, expression| {
                    walk.expression(last, expression);
                });
            }
            (None, Some(last)) => walk.value_of(*last),
            (None, None) => {}
        })
    }

    /// An example of a step's result that has in it whatever expressions name: texts that say what they stand for.
    /// What `known` has already stays as it is.
    #[must_use]
    pub fn example(&self, step: usize, known: Option<Value>) -> Value {
        let definition = &self.workflow.steps[step];
        let mut example = known.unwrap_or(Value::Null);
        for (path, is_list) in self.named_paths(definition) {
            let path = match (path.as_slice(), &definition.for_each) {
                // Of which instance does not matter.
                ([Segment::Index(_), rest @ ..], Some(_)) => rest,
                (path, _) => path,
            };
            put(&mut example, path, is_list, &format!("unknown: steps.{}", definition.name));
        }
        match example {
            Value::Null => json!({}),
            example => example,
        }
    }

    /// The paths into a step's result that any expression names; whether it is a list that has instances.
    fn named_paths(&self, step: &Step) -> Vec<(Vec<Segment>, bool)> {
        let mut paths = Vec::new();
        let mut look = |expression: &Expression, is_list: bool| {
            expression.visit(&mut |reference| {
                let is_it = match &reference.root {
                    Root::Step(name) => *name == step.name,
                    Root::Name(name) => step.assign.as_ref() == Some(name),
                    Root::Status(_) | Root::Error(_) => false,
                };
                let is_list = is_list && expression.is_path();
                // What need not exist does not have to be made up.
                if is_it && !reference.guarded && (is_list || !reference.path.is_empty()) {
                    paths.push((reference.path.clone(), is_list));
                }
            });
        };
        for other in &self.workflow.steps {
            expressions_of(other, &mut |expression| look(expression, false));
            if let Some(each) = &other.for_each {
                let list = each.list.branch();
                list.expressions("", &mut |_, expression| look(expression, true));
            }
        }
        if let Some(output) = &self.workflow.output {
            output.branch().expressions("", &mut |_, expression| look(expression, false));
        }
        paths
    }

    fn walk(&self, from: impl FnOnce(&mut Walk<'w>)) -> BTreeSet<Origin> {
        let mut walk =
            Walk { workflow: self.workflow, seen: BTreeSet::new(), found: BTreeSet::new() };
        from(&mut walk);
        walk.found
    }
}

impl<'w> Walk<'w> {
    fn node(&mut self, node: Node) {
        if !self.seen.insert(node.clone()) {
            return;
        }
        match node {
            Node::Value(step) => self.value(step),
            Node::Control(step) => self.control(step),
            Node::Variable(name) => self.variable(&name),
        }
    }

    fn value_of(&mut self, step: usize) {
        self.node(Node::Value(step));
        self.node(Node::Control(step));
    }

    fn value(&mut self, step: usize) {
        let definition = &self.workflow.steps[step];
        if let Some(each) = &definition.for_each {
            self.template(step, &each.list);
        }
        match &definition.kind {
            Kind::Tool { .. }
            | Kind::Workflow { .. }
            | Kind::Approval(_)
            | Kind::Ask(_)
            | Kind::Wait(Wait::Event { .. }) => _ = self.found.insert(Origin::Step(step)),
            Kind::Set(values) => self.template(step, values),
            Kind::Group(group) => {
                group.steps.iter().chain(&group.otherwise).for_each(|inner| self.value_of(*inner));
                self.repetition(step);
            }
            Kind::Wait(Wait::For(_) | Wait::Until(_)) => _ = self.found.insert(Origin::Clock),
            Kind::Stop(_) => {}
        }
    }

    fn control(&mut self, step: usize) {
        let definition = &self.workflow.steps[step];
        if let Some(condition) = &definition.condition {
            self.condition(step, condition);
        }
        if let Some(each) = &definition.for_each {
            self.template(step, &each.list);
        }
        if let Some(parent) = definition.parent {
            self.node(Node::Control(parent));
            self.repetition(parent);
        }
        // Whoever may end the execution before decides, too.
        for (stop, other) in self.workflow.steps.iter().enumerate().take(step) {
            if matches!(other.kind, Kind::Stop(_)) {
                self.node(Node::Control(stop));
            }
        }
    }

    fn repetition(&mut self, step: usize) {
        let Kind::Group(group) = &self.workflow.steps[step].kind else { return };
        let Some(repeat) = &group.repeat else { return };
        for condition in repeat.while_holds.iter().chain(&repeat.until) {
            self.condition(step, condition);
        }
    }

    /// What a var was given first, and by every step that may change it.
    fn variable(&mut self, name: &str) {
        let first = self.workflow.vars.iter().find(|(known, _)| known == name);
        if let Some((_, template)) = first {
            self.template(0, template);
        }
        for (index, step) in self.workflow.steps.iter().enumerate() {
            let Kind::Set(values) = &step.kind else { continue };
            let document = self.workflow.document.pointer(&step.pointer);
            let names = document.and_then(|step| step.get("set")).and_then(Value::as_object);
            if names.is_none_or(|names| names.contains_key(name)) {
                self.template(index, values);
                self.node(Node::Control(index));
            }
        }
    }

    fn template(&mut self, step: usize, template: &'w Template) {
        template.branch().expressions("", &mut |_, expression| self.expression(step, expression));
    }

    fn condition(&mut self, step: usize, condition: &'w Condition) {
        self.expression(step, condition.expression());
    }

    fn expression(&mut self, step: usize, expression: &Expression) {
        if expression.source.contains("now(") {
            self.found.insert(Origin::Clock);
        }
        expression.visit(&mut |reference| self.reference(step, &reference.root, &reference.path));
    }

    fn reference(&mut self, step: usize, root: &Root, path: &[Segment]) {
        let name = match root {
            Root::Step(name) | Root::Status(name) | Root::Error(name) => {
                let of = self.workflow.steps.iter().position(|step| step.name == *name);
                return of.into_iter().for_each(|of| self.value_of(of));
            }
            Root::Name(name) => name.as_str(),
        };
        if let Some(of) = self.workflow.steps.iter().position(|s| s.assign.as_deref() == Some(name))
        {
            return self.value_of(of);
        }
        match name {
            "input" | "repo" => _ = self.found.insert(Origin::Input),
            "execution" => _ = self.found.insert(Origin::Execution),
            "result" => self.node(Node::Value(step)),
            "vars" => match path.first() {
                Some(Segment::Key(name)) => self.node(Node::Variable(name.clone())),
                _ => {
                    for (name, _) in &self.workflow.vars {
                        self.node(Node::Variable(name.clone()));
                    }
                }
            },
            name => self.element(step, name),
        }
    }

    /// An element of the list that a step, or one that holds it, goes through.
    fn element(&mut self, step: usize, name: &str) {
        let mut holder = Some(step);
        while let Some(index) = holder {
            let definition = &self.workflow.steps[index];
            if let Some(each) = definition.for_each.as_ref().filter(|each| each.variable == name) {
                return self.template(index, &each.list);
            }
            holder = definition.parent;
        }
    }
}

/// Every expression of a step but its list.
fn expressions_of<'w>(step: &'w Step, found: &mut dyn FnMut(&'w Expression)) {
    let mut template = |template: &'w Template| {
        template.branch().expressions("", &mut |_, expression| found(expression));
    };
    if let Some(lock) = &step.lock {
        template(&lock.key);
    }
    let approvals = match &step.kind {
        Kind::Approval(approval) => Some(approval),
        _ => None,
    };
    let approvals = approvals.into_iter().chain(&step.approval);
    approvals.clone().filter_map(|approval| approval.message.as_ref()).for_each(&mut template);
    match &step.kind {
        Kind::Tool { params, .. } | Kind::Workflow { params, .. } => template(params),
        Kind::Ask(ask) => ask.message.iter().for_each(template),
        Kind::Wait(Wait::For(wait) | Wait::Until(wait) | Wait::Event { event: wait, .. }) => {
            template(wait);
        }
        Kind::Set(values) => template(values),
        Kind::Stop(stop) => stop.message.iter().for_each(template),
        Kind::Group(group) => {
            let conditions = group.repeat.iter();
            let conditions =
                conditions.flat_map(|repeat| repeat.while_holds.iter().chain(&repeat.until));
            conditions.for_each(|condition| found(condition.expression()));
        }
        Kind::Approval(_) => {}
    }
    let conditions = approvals.filter_map(|approval| approval.condition.as_ref());
    let conditions = conditions.chain(&step.condition).chain(&step.expect);
    conditions.for_each(|condition| found(condition.expression()));
}

/// Puts something where a path leads, unless there is something already.
fn put(value: &mut Value, path: &[Segment], is_list: bool, told: &str) {
    let Some((first, rest)) = path.split_first() else {
        if value.is_null() {
            *value = match is_list {
                true => json!([format!("<{told}[0]>")]),
                false => json!(format!("<{told}>")),
            };
        }
        return;
    };
    if is_marker(value) {
        // A longer path says more of what it has to be.
        *value = Value::Null;
    }
    match first {
        Segment::Key(key) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            if let Some(entries) = value.as_object_mut() {
                let entry = entries.entry(key.clone()).or_insert(Value::Null);
                put(entry, rest, is_list, &format!("{told}.{key}"));
            }
        }
        Segment::Index(index) => {
            // Nobody means the thousandth of what is not there.
            let index = usize::try_from(*index).unwrap_or_default().min(99);
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            if let Some(items) = value.as_array_mut() {
                while items.len() <= index {
                    items.push(Value::Null);
                }
                put(&mut items[index], rest, is_list, &format!("{told}[{index}]"));
            }
        }
    }
}

fn is_marker(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("<unknown: "))
}

#[cfg(test)]
mod tests;
