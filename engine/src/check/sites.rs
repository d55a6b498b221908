//! Every place of a step in which an expression stands, and what may be used there.

use super::scope::Inside;
use crate::expr::{Condition, Template};
use crate::parse::document::{Kind as NodeKind, Node};
use crate::parse::steps::DraftStep;
use crate::workflow::{Approval, Kind, Lock, Wait};

/// What may be used in one place besides what is known everywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// The element of the step's own `forEach`.
    pub(super) item: bool,
    /// The `result` of the step, or of the call that verifies it.
    pub(super) result: bool,
    pub(super) inside: Inside,
    pub(super) secrets: Secrets,
}

/// Whether secrets may stand in a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Secrets {
    #[default]
    No,
    /// No, and these are the params of a workflow.
    NotForChildren,
    Allowed,
}

/// What stands in a place.
#[derive(Clone, Copy)]
pub(super) enum Part<'d> {
    Template(&'d Template),
    Condition(&'d Condition),
}

/// Shows every place of a step.
pub(super) fn of_step<'d>(
    step: &'d DraftStep,
    root: &Node,
    found: &mut dyn FnMut(Part<'d>, String, Rules),
) {
    let at = |keys: &str| format!("{}{keys}", step.pointer);
    let plain = Rules::default();
    let each = Rules { item: true, ..plain };
    let after = Rules { result: true, ..each };
    let call = |rules: Rules| Rules { secrets: Secrets::Allowed, ..rules };
    if let Some(condition) = &step.condition {
        // Asked once, before the list of a forEach is looked at.
        found(Part::Condition(condition), at("/if"), plain);
    }
    if let Some(for_each) = &step.for_each {
        found(Part::Template(&for_each.list), at("/forEach"), plain);
    }
    if let Some(lock) = &step.lock {
        found(Part::Template(&lock.key), lock_key(lock, &at("/lock"), root), plain);
    }
    if let Some(approval) = &step.approval {
        // Asked once for all instances.
        self::approval(approval, &at("/approval"), plain, found);
    }
    if let Some(kind) = &step.kind {
        of_kind(kind, step, each, found);
    }
    if let Some(expect) = &step.expect {
        found(Part::Condition(expect), at("/expect"), after);
    }
    if let Some(verify) = &step.verify {
        found(Part::Template(&verify.params), at("/verify/params"), call(each));
        found(Part::Condition(&verify.expect), at("/verify/expect"), after);
    }
    if let Some(undo) = &step.undo {
        found(Part::Template(&undo.params), at("/undo/params"), call(after));
    }
}

fn of_kind<'d>(
    kind: &'d Kind,
    step: &DraftStep,
    each: Rules,
    found: &mut dyn FnMut(Part<'d>, String, Rules),
) {
    let at = |keys: &str| format!("{}{keys}", step.pointer);
    let mut template = |template: &'d Template, keys: &str, secrets: Secrets| {
        found(Part::Template(template), at(keys), Rules { secrets, ..each });
    };
    match kind {
        Kind::Tool { params, .. } => template(params, "/params", Secrets::Allowed),
        Kind::Workflow { params, .. } => template(params, "/params", Secrets::NotForChildren),
        Kind::Approval(approval) => self::approval(approval, &at("/approval"), each, found),
        Kind::Ask(ask) => {
            if let Some(message) = &ask.message {
                template(message, "/ask/message", Secrets::No);
            }
        }
        Kind::Wait(Wait::For(ms)) => template(ms, "/wait/ms", Secrets::No),
        Kind::Wait(Wait::Until(until)) => template(until, "/wait/until", Secrets::No),
        Kind::Wait(Wait::Event { event, .. }) => template(event, "/wait/event", Secrets::No),
        Kind::Set(values) => template(values, "/set", Secrets::No),
        Kind::Stop(stop) => {
            if let Some(message) = &stop.message {
                template(message, "/stop/message", Secrets::No);
            }
        }
        Kind::Group(group) => {
            let Some(repeat) = &group.repeat else { return };
            let conditions = [
                (&repeat.while_holds, "/repeat/while", Inside::While),
                (&repeat.until, "/repeat/until", Inside::Until),
            ];
            for (condition, keys, inside) in conditions {
                if let Some(condition) = condition {
                    found(Part::Condition(condition), at(keys), Rules { inside, ..each });
                }
            }
        }
    }
}

fn approval<'d>(
    approval: &'d Approval,
    pointer: &str,
    rules: Rules,
    found: &mut dyn FnMut(Part<'d>, String, Rules),
) {
    if let Some(condition) = &approval.condition {
        found(Part::Condition(condition), format!("{pointer}/if"), rules);
    }
    if let Some(message) = &approval.message {
        found(Part::Template(message), format!("{pointer}/message"), rules);
    }
}

/// Where the key of a lock stands: it may have been written without an object around it.
pub(super) fn lock_key(_: &Lock, pointer: &str, root: &Node) -> String {
    match root.at(pointer).map(|node| &node.kind) {
        Some(NodeKind::Object(_)) => format!("{pointer}/key"),
        _ => pointer.to_owned(),
    }
}
