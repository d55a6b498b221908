//! What the names in an expression stand for, as far as schemas tell.

use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Checker, Lookup, ToolSchemas};
use crate::expr::{Root, Shapes, Template};
use crate::shape::{Field, Place, Reach, Shape, Types};
use crate::workflow::{ForEach, Group, Kind, OnError, Step, ToolName, Wait, WaitFor};

/// What `error` is in handlers, and what `error('name')` is.
static ERROR: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "code": { "type": "string" }, "message": { "type": "string" }, "step": { "type": "string" },
        },
        "required": ["code", "message", "step"],
        "additionalProperties": true,
    })
});

static STATUS: LazyLock<Value> = LazyLock::new(|| {
    json!({ "enum": [
        "pending", "running", "waiting", "completed", "failed", "skipped", "cancelled", "uncertain",
    ] })
});

/// Where an expression stands.
pub(super) struct Scope<'c, 'a> {
    pub(super) checker: &'a Checker<'c>,
    /// The step it belongs to.
    step: Option<usize>,
    /// Whether the element of the step's own `forEach` is there already.
    inside: bool,
    /// What `result` is.
    result: Option<Shape<'c>>,
}

impl<'c, 'a> Scope<'c, 'a> {
    /// Outside of every step.
    pub(super) fn outside(checker: &'a Checker<'c>) -> Scope<'c, 'a> {
        Scope { checker, step: None, inside: false, result: None }
    }

    /// In the `forEach` of a step.
    pub(super) fn before(checker: &'a Checker<'c>, step: usize) -> Scope<'c, 'a> {
        Scope { checker, step: Some(step), inside: false, result: None }
    }

    /// In a step.
    pub(super) fn inside(checker: &'a Checker<'c>, step: usize) -> Scope<'c, 'a> {
        Scope { checker, step: Some(step), inside: true, result: None }
    }

    /// In the question whether a loop goes on.
    pub(super) fn body(checker: &'a Checker<'c>, step: usize) -> Scope<'c, 'a> {
        Scope::inside(checker, step)
    }

    pub(super) fn with_result(&self, result: Shape<'c>) -> Scope<'c, 'a> {
        Scope { checker: self.checker, step: self.step, inside: self.inside, result: Some(result) }
    }

    fn name(&self, name: &str) -> Shape<'c> {
        let workflow = self.checker.workflow;
        let input = || Shape::Schema(Place::filled(workflow.input.schema(), self.checker.effort));
        match name {
            "input" => return input(),
            "repo" => {
                return match input().get("repo") {
                    Reach::Found { shape, .. } => shape,
                    _ => Shape::unknown("the input schema says nothing of `repo`"),
                };
            }
            "execution" => return execution(),
            "vars" => return self.checker.vars(),
            "index" => return Shape::Types(Types::WHOLE),
            "error" => return Shape::Schema(Place::new(&ERROR, self.checker.effort)),
            "result" => {
                let unknown = || Shape::unknown("nothing says what `result` is here");
                return self.result.clone().unwrap_or_else(unknown);
            }
            _ => {}
        }
        if let Some((index, for_each)) = self.looping(name) {
            return self.checker.element(index, for_each);
        }
        match self.checker.assigning(name) {
            Some(index) => self.checker.result(index),
            None => Shape::unknown(format!("nothing says what `{name}` is")),
        }
    }

    /// The `forEach` around that calls its element so.
    fn looping(&self, name: &str) -> Option<(usize, &'c ForEach)> {
        let steps = &self.checker.workflow.steps;
        let mut at = self.step;
        let mut inside = self.inside;
        while let Some(index) = at {
            let step = &steps[index];
            if let Some(for_each) = step.for_each.as_ref().filter(|_| inside)
                && for_each.variable == name
            {
                return Some((index, for_each));
            }
            inside = true;
            at = step.parent;
        }
        None
    }
}

impl<'c> Shapes<'c> for Scope<'c, '_> {
    fn shape_of(&self, root: &Root) -> Shape<'c> {
        let checker = self.checker;
        match root {
            Root::Name(name) => self.name(name),
            Root::Step(name) => {
                let found = checker.workflow.steps.iter().position(|step| step.name == *name);
                match found {
                    Some(index) => checker.result(index),
                    None => Shape::unknown(format!("there is no step `{name}`")),
                }
            }
            Root::Status(_) => Shape::Schema(Place::new(&STATUS, checker.effort)),
            Root::Error(_) => Shape::Schema(Place::new(&ERROR, checker.effort)),
        }
    }
}

impl<'c> Checker<'c> {
    /// What a step results in, all its instances together.
    pub(super) fn result(&self, index: usize) -> Shape<'c> {
        let known = self.results.borrow().get(&index).cloned();
        match known {
            Some(Some(shape)) => return shape,
            // It is being worked out: a loop that reads what it wrote in the iteration before.
            Some(None) => return Shape::unknown("it depends on the iteration before"),
            None => {}
        }
        self.results.borrow_mut().insert(index, None);
        let step = &self.workflow.steps[index];
        let one = self.instance(index);
        let shape = match &step.for_each {
            Some(_) if step.on_error == OnError::Continue => {
                // A failed instance leaves null.
                Shape::List(Rc::new(Shape::one_of(vec![one, Shape::Types(Types::NULL)])))
            }
            Some(_) => Shape::List(Rc::new(one)),
            None => one,
        };
        self.results.borrow_mut().insert(index, Some(shape.clone()));
        shape
    }

    /// What one instance of a step results in.
    pub(super) fn instance(&self, index: usize) -> Shape<'c> {
        let step = &self.workflow.steps[index];
        match &step.kind {
            Kind::Tool { tool, params } => self.tool_result(tool, params),
            Kind::Workflow { workflow, .. } => {
                Shape::unknown(format!("workflow `{workflow}` does not declare what it results in"))
            }
            Kind::Approval(_) => approved(),
            Kind::Ask(ask) => Shape::Schema(Place::new(ask.schema.schema(), self.effort)),
            Kind::Wait(Wait::Event { .. }) => {
                Shape::unknown("the data of an event is what somebody sends")
            }
            Kind::Wait(_) => Shape::unknown("it is the result of a wait"),
            Kind::Set(values) => values.branch().shape(&Scope::inside(self, index)),
            Kind::Group(group) => self.group(step, group),
            Kind::Stop(_) => Shape::unknown("a `stop` has no result"),
        }
    }

    pub(super) fn tool_result(&self, tool: &ToolName, params: &Template) -> Shape<'c> {
        match self.tools.find(tool) {
            Lookup::Known(schemas) => match told(schemas, params) {
                Some(schema) => Shape::Schema(Place::new(schema, self.effort)),
                None => Shape::unknown(format!("`{tool}` declares no output schema")),
            },
            Lookup::UnknownTool { .. } | Lookup::UnknownServer { .. } => {
                Shape::unknown(format!("there is no tool `{tool}`"))
            }
            Lookup::Unreachable(_) => {
                Shape::unknown(format!("tool server `{}` cannot be reached", tool.server))
            }
        }
    }

    /// A group results in the results of its steps, by name.
    fn group(&self, group_step: &Step, group: &Group) -> Shape<'c> {
        let branches = group_step.condition.is_some() && !group.otherwise.is_empty();
        let some = group.wait_for != WaitFor::All || branches;
        let held = group.steps.iter().chain(&group.otherwise);
        let fields = held.map(|index| {
            let step = &self.workflow.steps[*index];
            let optional = some || step.condition.is_some() || step.on_error == OnError::Continue;
            Field::new(step.name.as_str(), self.result(*index), optional)
        });
        Shape::Object(Rc::new(fields.collect()))
    }

    /// An element of a `forEach`.
    fn element(&self, index: usize, for_each: &'c ForEach) -> Shape<'c> {
        let list = for_each.list.branch().shape(&Scope::before(self, index));
        match list.at(None) {
            Reach::Found { shape, .. } => shape,
            Reach::Absent { .. } => Shape::unknown("it is an element of what is no list"),
            Reach::Unknown(why) => Shape::Unknown(why),
        }
    }

    /// The vars: as they were declared, unless a step changes them.
    fn vars(&self) -> Shape<'c> {
        let changed = |name: &str| {
            self.workflow.steps.iter().any(|step| {
                let pointer = format!("{}/set/{name}", step.pointer);
                matches!(step.kind, Kind::Set(_))
                    && self.workflow.document.pointer(&pointer).is_some()
            })
        };
        let fields = self.workflow.vars.iter().map(|(name, template)| {
            let shape = match changed(name) {
                true => Shape::unknown(format!("steps change `vars.{name}`")),
                false => template.branch().shape(&Scope::outside(self)),
            };
            Field::new(name.as_str(), shape, false)
        });
        Shape::Object(Rc::new(fields.collect()))
    }
}

fn execution<'c>() -> Shape<'c> {
    let keys = ["id", "workflow", "started_at", "requested_by"];
    let fields = keys.map(|key| {
        let types = if key == "started_at" { Types::WHOLE } else { Types::TEXT };
        Field::new(key, Shape::Types(types), false)
    });
    Shape::Object(Rc::new(fields.into()))
}

fn approved<'c>() -> Shape<'c> {
    Shape::Object(Rc::new(vec![
        Field::new("approved", Shape::literal(&Value::Bool(true)), false),
        Field::new("by", Shape::Types(Types::TEXT), false),
        Field::new("comment", Shape::Types(Types::TEXT), true),
    ]))
}

/// What a tool says that such a call results in.
fn told<'c>(schemas: &'c ToolSchemas, params: &Template) -> Option<&'c Value> {
    let done = schemas.done.as_ref().filter(|_| !params.has("dry_run"));
    done.or(schemas.output.as_ref())
}
