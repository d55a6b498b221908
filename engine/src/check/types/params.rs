//! What a tool or a workflow is given, against its input schema.

use std::collections::BTreeMap;

use serde_json::Value;

use super::near::{fold, near, obvious};
use super::repair;
use super::scope::Scope;
use super::{Findings, Unchecked};
use crate::expr::{Branch, Finding, View, escape_pointer, infer};
use crate::input::explain;
use crate::shape::{Clash, Fit, Others, Place, Reach, Shape, Types, fit, shown, validator};
use crate::{PatchOperation, Problem};

/// Under these names tools take an idempotency key; Windlass fills them in.
const FILLED: [&str; 2] = ["idempotency_key", "idempotencyKey"];

/// How deep objects and lists are followed.
const MAX_DEPTH: usize = 32;

/// A part of the params as the document has it, or as it will be.
#[derive(Clone, Copy)]
enum Part<'t> {
    Template(Branch<'t>),
    Literal(&'t Value),
}

/// Where a part stands and who takes it.
struct Site<'a> {
    pointer: String,
    /// The key, for messages; empty for the params themselves.
    path: String,
    taker: Taker<'a>,
    depth: usize,
}

/// Who takes the params.
#[derive(Clone, Copy)]
pub(super) struct Taker<'a> {
    /// For messages.
    pub(super) name: &'a str,
    /// Other names of what it takes, each with its own one.
    pub(super) aliases: Option<&'a BTreeMap<String, String>>,
}

struct Entry<'t> {
    /// As the document has it.
    written: &'t str,
    /// As the taker knows it.
    key: &'t str,
    part: Part<'t>,
}

/// Checks params against a schema.
pub(super) fn check(
    scope: &Scope<'_, '_>,
    params: Branch<'_>,
    schema: Place<'_>,
    pointer: &str,
    taker: Taker<'_>,
) -> Findings {
    let site = Site { pointer: pointer.to_owned(), path: String::new(), taker, depth: 0 };
    check_part(scope, Part::Template(params), schema, &site, true)
}

fn check_part(
    scope: &Scope<'_, '_>,
    part: Part<'_>,
    schema: Place<'_>,
    site: &Site<'_>,
    strict: bool,
) -> Findings {
    if MAX_DEPTH < site.depth || scope.checker.is_too_much() {
        let why = "the schema has too many alternatives to look at".to_owned();
        return Findings { problems: Vec::new(), unchecked: vec![site.unchecked(why)] };
    }
    if let Some(mut entries) = entries(part) {
        site.name_as_taken(&mut entries);
        return match schema.types().meets(Types::OBJECT) {
            true => check_object(scope, part, &entries, schema, site, strict),
            false => wrong_type(scope, part, schema, site),
        };
    }
    if let Some(items) = items(part) {
        return match schema.types().meets(Types::LIST) {
            true => check_list(scope, part, &items, schema, site),
            false => wrong_type(scope, part, schema, site),
        };
    }
    check_value(scope, part, schema, site)
}

fn check_object<'t>(
    scope: &Scope<'_, '_>,
    part: Part<'t>,
    entries: &[Entry<'t>],
    schema: Place<'_>,
    site: &Site<'_>,
    strict: bool,
) -> Findings {
    let mut findings = Findings::default();
    let moved = unknown_keys(entries, schema, site, strict, &mut findings);
    missing_keys(scope, entries, schema, site, &moved, &mut findings);
    for entry in entries {
        let inner = schema.declared(entry.key).or_else(|| schema.undeclared_key(entry.key));
        if let Some(inner) = inner {
            findings.add(check_part(scope, entry.part, inner, &site.key(entry.written), true));
        }
    }
    let own_keys = schema.others() != Others::Allowed;
    for branches in schema.alternatives() {
        let tried = branches.into_iter().filter(|branch| branch.types().meets(Types::OBJECT));
        let tried = tried
            .map(|branch| check_part(scope, part, branch, &site.deeper(), strict && !own_keys));
        // The alternative that is nearest to fit says what is wrong.
        let best = tried.min_by_key(|findings| findings.problems.len());
        findings.add(best.unwrap_or_default());
    }
    whole_literal(part, schema, site, &mut findings);
    findings
}

/// Keys that the schema does not name; the keys that some of them certainly should have had.
fn unknown_keys(
    entries: &[Entry<'_>],
    schema: Place<'_>,
    site: &Site<'_>,
    strict: bool,
    findings: &mut Findings,
) -> Vec<String> {
    let mut moved = Vec::new();
    let others = schema.others();
    let refused = others == Others::Forbidden || (others == Others::Unmentioned && strict);
    if !refused {
        return moved;
    }
    let names = schema.names();
    let free: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !entries.iter().any(|entry| entry.key == *name))
        .collect();
    let missing: Vec<&str> =
        schema.required().into_iter().filter(|name| free.contains(name)).collect();
    let unknown: Vec<&Entry<'_>> =
        entries.iter().filter(|entry| !names.iter().any(|name| name == entry.key)).collect();
    for entry in &unknown {
        if schema.undeclared_key(entry.key).is_some() {
            continue;
        }
        let mut nearest = near(entry.key, free.iter().copied());
        if let ([only], [_], true) = (missing.as_slice(), unknown.as_slice(), nearest.is_empty())
            && entry.may_be(schema, only)
        {
            // One key too many and one too few: they are the same.
            nearest.push((*only).to_owned());
        }
        let target = obvious(entry.key, &nearest).filter(|name| !moved.iter().any(|m| m == name));
        let at = site.key(entry.key);
        let known = match names.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        let message = format!("{} takes no `{}`; it takes {known}", site.owner(), entry.key);
        let patch = target.map(|name| PatchOperation::Move {
            from: at.pointer.clone(),
            path: site.key(name).pointer,
        });
        moved.extend(target.map(str::to_owned));
        findings.problems.push(Problem {
            suggestion: nearest.first().map(|name| crate::parse::did_you_mean(name)),
            expected: Some(format!("one of {known}")),
            found: Some(entry.key.to_owned()),
            patch: patch.into_iter().collect(),
            nearest,
            ..Problem::new("unknown_key", at.pointer, message)
        });
    }
    moved
}

fn missing_keys(
    scope: &Scope<'_, '_>,
    entries: &[Entry<'_>],
    schema: Place<'_>,
    site: &Site<'_>,
    moved: &[String],
    findings: &mut Findings,
) {
    let document = &scope.checker.workflow.document;
    // Where the document leaves the params out, the first patch brings them.
    let mut absent = document.pointer(&site.pointer).is_none();
    for name in schema.required() {
        let given = entries.iter().any(|entry| entry.key == name);
        let declared = schema.declared(name);
        let filled = schema.fills && declared.is_some_and(|place| place.default().is_some());
        let by_us = site.path.is_empty() && FILLED.contains(&name);
        if given || filled || by_us || moved.iter().any(|key| key == name) {
            continue;
        }
        let expected = declared.map_or_else(|| "any value".to_owned(), Place::describe);
        let at = site.key(name);
        let value = declared.and_then(|place| filling(scope, name, place));
        let mut patch = Vec::new();
        if let Some(value) = &value {
            if absent {
                let path = site.pointer.clone();
                patch.push(PatchOperation::Add { path, value: serde_json::json!({}) });
                absent = false;
            }
            let path = at.pointer.clone();
            patch.push(PatchOperation::Add { path, value: value.clone() });
        }
        let message = format!("{} needs `{name}`: {expected}", site.owner());
        findings.problems.push(Problem {
            suggestion: value.map(|value| format!("{name}: {value}")),
            expected: Some(expected),
            found: Some("nothing".to_owned()),
            patch,
            ..Problem::new("missing_key", at.pointer, message)
        });
    }
}

/// What a missing key is, where there is only one thing it can be.
fn filling(scope: &Scope<'_, '_>, name: &str, place: Place<'_>) -> Option<Value> {
    if let Some(default) = place.default() {
        return Some(default.clone());
    }
    if let Some([only]) = place.values().as_deref() {
        return Some(only.clone());
    }
    let input = Place::filled(scope.checker.workflow.input.schema(), scope.checker.effort);
    let same = input.names().into_iter().find(|input| fold(input) == fold(name))?;
    let Reach::Found { shape, optional: false } = input.property(&same) else { return None };
    let fits = matches!(fit(&shape, place), Fit::Always);
    fits.then(|| Value::from(format!("${{input.{same}}}")))
}

fn check_list<'t>(
    scope: &Scope<'_, '_>,
    part: Part<'t>,
    items: &[Part<'t>],
    schema: Place<'_>,
    site: &Site<'_>,
) -> Findings {
    let mut findings = Findings::default();
    for (index, item) in (0_u64..).zip(items) {
        if let Some(inner) = schema.element_within(Some(index), 0) {
            findings.add(check_part(scope, *item, inner, &site.item(index), true));
        }
    }
    whole_literal(part, schema, site, &mut findings);
    findings
}

/// What only the whole of a literal shows: how many there are, which exclude each other.
fn whole_literal(part: Part<'_>, schema: Place<'_>, site: &Site<'_>, findings: &mut Findings) {
    let Some(value) = literal(part) else { return };
    if !findings.problems.is_empty() || (site.path.is_empty() && fills_later(schema)) {
        return;
    }
    let Some(validator) = validator(schema) else { return };
    for error in validator.iter_errors(value) {
        let own = ["unknown_key", "missing_key"];
        let told = explain(&error, schema.schema).into_iter();
        findings.problems.extend(told.filter(|problem| !own.contains(&problem.code)).map(
            |problem| Problem {
                pointer: format!("{}{}", site.pointer, problem.pointer),
                expected: Some(schema.describe()),
                found: Some(shown(error.instance())),
                ..problem
            },
        ));
    }
}

/// Whether the call is given more than the document says.
fn fills_later(schema: Place<'_>) -> bool {
    schema.fills || FILLED.iter().any(|key| schema.requires(key))
}

fn check_value(
    scope: &Scope<'_, '_>,
    part: Part<'_>,
    schema: Place<'_>,
    site: &Site<'_>,
) -> Findings {
    if let Some(value) = literal(part) {
        return check_literal(value, schema, site);
    }
    let Part::Template(branch) = part else { return Findings::default() };
    let shape = branch.shape(scope);
    let mut findings = Findings::default();
    match fit(&shape, schema) {
        Fit::Always => {}
        Fit::Perhaps(why) => findings.unchecked.push(site.unchecked(why)),
        Fit::Unknown(why) => {
            // A path that nothing is known of is listed where it stands.
            let told = |finding: &Finding| matches!(finding, Finding::Unknown { .. });
            if !any_finding(scope, branch, told) && !is_broken(scope, branch) {
                findings.unchecked.push(site.unchecked(why.to_string()));
            }
        }
        // What an expression results in that cannot be evaluated is no question.
        Fit::Never(_) if is_broken(scope, branch) => {}
        Fit::Never(clash) => {
            findings.problems.push(mismatch(scope, branch, &shape, schema, site, clash));
        }
    }
    findings
}

/// Whether something in the expressions can never be.
fn is_broken(scope: &Scope<'_, '_>, branch: Branch<'_>) -> bool {
    let broken = |finding: &Finding| match finding {
        Finding::Absent { .. } | Finding::Decided { .. } | Finding::Operand { .. } => true,
        Finding::Optional { .. } | Finding::Unknown { .. } => false,
    };
    any_finding(scope, branch, broken)
}

fn any_finding(
    scope: &Scope<'_, '_>,
    branch: Branch<'_>,
    wanted: impl Fn(&Finding) -> bool,
) -> bool {
    let mut any = false;
    branch.expressions("", &mut |_, expression| {
        infer(expression, scope, &mut |finding| any |= wanted(&finding));
    });
    any
}

/// A computed value that can never fit.
fn mismatch(
    scope: &Scope<'_, '_>,
    branch: Branch<'_>,
    shape: &Shape<'_>,
    schema: Place<'_>,
    site: &Site<'_>,
    clash: Clash,
) -> Problem {
    let document = &scope.checker.workflow.document;
    let text = document.pointer(&site.pointer).and_then(Value::as_str).unwrap_or_default();
    let place = match clash.inside.as_str() {
        "" => site.name(),
        inside => format!("`{inside}` in {}", site.name()),
    };
    let message = format!("{place} must be {}, and `{text}` is {}", clash.expected, clash.found);
    let converted = match (branch.view(), clash.inside.as_str()) {
        (View::Expression(expression), "") => {
            let key = site.path.rsplit('.').next().unwrap_or_default();
            repair::converted(&expression.source, shape, schema, key)
        }
        _ => None,
    };
    let (suggestion, patch) = match converted {
        Some(repair::Conversion::Lossless(value)) => {
            let path = site.pointer.clone();
            (Some(shown(&value)), vec![PatchOperation::Replace { path, value }])
        }
        Some(repair::Conversion::Risky(text)) => (Some(text), Vec::new()),
        None => (None, Vec::new()),
    };
    Problem {
        expected: Some(clash.expected),
        found: Some(clash.found),
        suggestion,
        patch,
        ..Problem::new("wrong_type", site.pointer.as_str(), message)
    }
}

fn check_literal(value: &Value, schema: Place<'_>, site: &Site<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some(validator) = validator(schema) else {
        if schema.types() != Types::ALL {
            findings.unchecked.push(site.unchecked("its schema cannot be read"));
        }
        return findings;
    };
    let Some(error) = validator.iter_errors(value).next() else { return findings };
    let told = explain(&error, schema.schema).into_iter().next();
    let code = match schema.types().meets(Types::of(value)) {
        false => "wrong_type",
        true => told.as_ref().map_or("not_allowed", |problem| problem.code),
    };
    let expected = match (code, schema.values()) {
        ("wrong_type" | "unknown_value", _) | (_, Some(_)) => schema.describe(),
        (_, None) => {
            told.as_ref().map_or_else(|| schema.describe(), |problem| bound(&problem.message))
        }
    };
    let (found, name) = (shown(value), site.name());
    let message = match code {
        "wrong_type" | "unknown_value" => format!("{name} must be {expected}, and is {found}"),
        _ => format!("{name} {expected}; it is {found}"),
    };
    let words: Vec<Value> = schema.values().unwrap_or_default();
    let nearest = match value.as_str() {
        Some(text) => near(text, words.iter().filter_map(Value::as_str)),
        None => Vec::new(),
    };
    let mended = repair::literal(value, &validator)
        .or_else(|| obvious(value.as_str()?, &nearest).map(Value::from));
    let patch =
        mended.clone().map(|value| PatchOperation::Replace { path: site.pointer.clone(), value });
    findings.problems.push(Problem {
        suggestion: mended.as_ref().map(shown),
        expected: Some(expected),
        found: Some(found),
        nearest,
        patch: patch.into_iter().collect(),
        ..Problem::new(code, site.pointer.as_str(), message)
    });
    findings
}

/// The rule in a message such as `` `port` must be at most 9; it is 10``.
fn bound(message: &str) -> String {
    let rule = message.rsplit_once("; it is ").map_or(message, |(rule, _)| rule);
    match rule.find("must ").or_else(|| rule.find("is not ")) {
        Some(at) => rule[at..].to_owned(),
        None => rule.to_owned(),
    }
}

/// An object or a list where something else is wanted.
fn wrong_type(
    scope: &Scope<'_, '_>,
    part: Part<'_>,
    schema: Place<'_>,
    site: &Site<'_>,
) -> Findings {
    if let Some(value) = literal(part) {
        return check_literal(value, schema, site);
    }
    let found = if entries(part).is_some() { Types::OBJECT } else { Types::LIST };
    let expected = schema.describe();
    // A list of one where one is wanted.
    let document = &scope.checker.workflow.document;
    let only = match document.pointer(&site.pointer).and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => Some(only.clone()),
        Some(_) | None => None,
    };
    let patch =
        only.clone().map(|value| PatchOperation::Replace { path: site.pointer.clone(), value });
    let message = format!("{} must be {expected}, and is {found}", site.name());
    let problem = Problem {
        expected: Some(expected),
        found: Some(found.to_string()),
        suggestion: only.as_ref().map(shown),
        patch: patch.into_iter().collect(),
        ..Problem::new("wrong_type", site.pointer.as_str(), message)
    };
    Findings { problems: vec![problem], unchecked: Vec::new() }
}

fn entries<'t>(part: Part<'t>) -> Option<Vec<Entry<'t>>> {
    match part {
        Part::Template(branch) => match branch.view() {
            View::Object(entries) => Some(
                entries
                    .into_iter()
                    .map(|(key, branch)| Entry { written: key, key, part: Part::Template(branch) })
                    .collect(),
            ),
            View::Literal(value) => self::entries(Part::Literal(value)),
            View::Expression(_) | View::Text | View::List(_) => None,
        },
        Part::Literal(value) => {
            let object = value.as_object()?;
            let entries = object.iter();
            Some(
                entries
                    .map(|(key, value)| Entry { written: key, key, part: Part::Literal(value) })
                    .collect(),
            )
        }
    }
}

fn items<'t>(part: Part<'t>) -> Option<Vec<Part<'t>>> {
    match part {
        Part::Template(branch) => match branch.view() {
            View::List(items) => Some(items.into_iter().map(Part::Template).collect()),
            View::Literal(value) => self::items(Part::Literal(value)),
            View::Expression(_) | View::Text | View::Object(_) => None,
        },
        Part::Literal(value) => Some(value.as_array()?.iter().map(Part::Literal).collect()),
    }
}

fn literal<'t>(part: Part<'t>) -> Option<&'t Value> {
    match part {
        Part::Literal(value) => Some(value),
        Part::Template(branch) => match branch.view() {
            View::Literal(value) => Some(value),
            View::Expression(_) | View::Text | View::List(_) | View::Object(_) => None,
        },
    }
}

impl Entry<'_> {
    /// Whether the value could stand under another key.
    fn may_be(&self, schema: Place<'_>, key: &str) -> bool {
        let Some(place) = schema.declared(key) else { return false };
        match literal(self.part) {
            Some(value) => validator(place).is_some_and(|validator| validator.is_valid(value)),
            None => true,
        }
    }
}

impl<'a> Site<'a> {
    fn key(&self, key: &str) -> Site<'a> {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        let pointer = format!("{}/{}", self.pointer, escape_pointer(key));
        Site { pointer, path, taker: self.taker, depth: self.depth + 1 }
    }

    fn item(&self, index: u64) -> Site<'a> {
        let path = format!("{}[{index}]", self.path);
        let pointer = format!("{}/{index}", self.pointer);
        Site { pointer, path, taker: self.taker, depth: self.depth + 1 }
    }

    /// The same place, under one of several schemas.
    fn deeper(&self) -> Site<'a> {
        let (pointer, path) = (self.pointer.clone(), self.path.clone());
        Site { pointer, path, taker: self.taker, depth: self.depth + 1 }
    }

    /// What takes keys here.
    fn owner(&self) -> String {
        match self.path.as_str() {
            "" => self.taker.name.to_owned(),
            path => format!("`{path}` of {}", self.taker.name),
        }
    }

    fn name(&self) -> String {
        match self.path.as_str() {
            "" => "`params`".to_owned(),
            path => format!("`{path}`"),
        }
    }

    /// Gives the params the names that their taker uses; what is inside of them has no others.
    fn name_as_taken<'t>(&self, entries: &mut [Entry<'t>])
    where
        'a: 't,
    {
        let Some(aliases) = self.taker.aliases.filter(|_| self.path.is_empty()) else { return };
        for entry in entries {
            entry.key = aliases.get(entry.written).map_or(entry.written, String::as_str);
        }
    }

    fn unchecked(&self, why: impl Into<String>) -> Unchecked {
        let what = format!("{} of {}", self.name(), self.taker.name);
        Unchecked { pointer: self.pointer.clone(), what, why: why.into() }
    }
}
