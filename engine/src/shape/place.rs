//! Walks through JSON Schemas: local references, `allOf`, `anyOf`, `oneOf`.

use std::cell::Cell;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Reach, Shape, Types, describe};

/// How many references are followed; a schema that refers to itself has no end.
const MAX_DEPTH: usize = 32;

/// How many schemas must hold at once at most; more are too much to look at.
const MAX_CONJUNCTS: usize = 64;

/// How many alternatives one question may look at: whoever writes a tool's schema may be careless, or worse.
const MAX_ALTERNATIVES: u32 = 1_000;

/// What may add properties or take them away in a way that is not followed here.
const OTHER_WAYS: [&str; 6] =
    ["$dynamicRef", "if", "dependentSchemas", "unevaluatedProperties", "not", "dependencies"];

/// A schema, and the document that its references lead into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'s> {
    pub(crate) schema: &'s Value,
    pub(crate) root: &'s Value,
    /// Whether defaults are filled in, as they are in a workflow's input.
    pub(crate) fills: bool,
    /// How many schemas may still be looked at, by all who ask. Once it is nothing, a schema says nothing.
    pub(crate) effort: &'s Cell<u32>,
}

/// How much of a schema one question may still look at.
struct Fuel(Cell<u32>);

/// Which keys an object may have besides those that are declared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Others {
    /// The schema forbids them.
    Forbidden,
    /// The schema lists its properties and says nothing of others.
    Unmentioned,
    /// The schema allows them, or names no properties at all.
    Allowed,
}

impl<'s> Place<'s> {
    pub(crate) fn new(schema: &'s Value, effort: &'s Cell<u32>) -> Place<'s> {
        Place { schema, root: schema, fills: false, effort }
    }

    /// A schema whose defaults are filled in before anybody reads the value.
    pub(crate) fn filled(schema: &'s Value, effort: &'s Cell<u32>) -> Place<'s> {
        Place { schema, root: schema, fills: true, effort }
    }

    pub(crate) fn inner(self, schema: &'s Value) -> Place<'s> {
        Place { schema, ..self }
    }

    /// The objects that must all hold: the schema itself, what it refers to, and its `allOf`.
    pub(crate) fn conjuncts(self) -> Vec<&'s Map<String, Value>> {
        let mut found = Vec::new();
        self.collect(&mut found, 0);
        found
    }

    fn collect(self, found: &mut Vec<&'s Map<String, Value>>, depth: usize) {
        let Some(entries) = self.schema.as_object().filter(|_| depth < MAX_DEPTH) else { return };
        if MAX_CONJUNCTS <= found.len() {
            self.effort.set(0);
        }
        if self.is_too_much() {
            return;
        }
        found.push(entries);
        if let Some(target) = self.referred(entries) {
            self.inner(target).collect(found, depth + 1);
        }
        for part in entries.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.inner(part).collect(found, depth + 1);
        }
    }

    /// Takes a little of the effort; says whether there was none left.
    fn is_too_much(self) -> bool {
        let left = self.effort.get();
        self.effort.set(left.saturating_sub(1));
        left == 0
    }

    fn referred(self, entries: &'s Map<String, Value>) -> Option<&'s Value> {
        self.root.pointer(entries.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    /// The alternatives of each `anyOf` and `oneOf`.
    pub(crate) fn alternatives(self) -> Vec<Vec<Place<'s>>> {
        let mut groups = Vec::new();
        for entries in self.conjuncts() {
            for key in ["anyOf", "oneOf"] {
                if let Some(branches) = entries.get(key).and_then(Value::as_array)
                    && !branches.iter().any(|_| self.is_too_much())
                {
                    groups.push(branches.iter().map(|branch| self.inner(branch)).collect());
                }
            }
        }
        groups
    }

    /// The types that a value can have.
    pub(crate) fn types(self) -> Types {
        self.types_within(&Fuel::default())
    }

    fn types_within(self, fuel: &Fuel) -> Types {
        if self.schema == &Value::Bool(false) {
            return Types::NONE;
        }
        if fuel.is_spent() {
            return Types::ALL;
        }
        let own = self.conjuncts().into_iter().map(own_types).fold(Types::ALL, Types::and);
        self.alternatives().into_iter().fold(own, |types, branches| {
            let any = branches.into_iter().map(|branch| branch.types_within(fuel));
            types.and(any.fold(Types::NONE, Types::or))
        })
    }

    /// Every value that is allowed, where the schema lists them.
    pub(crate) fn values(self) -> Option<Vec<Value>> {
        self.values_within(&Fuel::default())
    }

    fn values_within(self, fuel: &Fuel) -> Option<Vec<Value>> {
        for entries in self.conjuncts() {
            if let Some(value) = entries.get("const") {
                return Some(vec![value.clone()]);
            }
            if let Some(values) = entries.get("enum").and_then(Value::as_array) {
                let nullable = entries.get("nullable") == Some(&Value::Bool(true));
                let null = nullable.then_some(Value::Null);
                return Some(values.iter().cloned().chain(null).collect());
            }
        }
        if self.types_within(fuel) == Types::NULL {
            return Some(vec![Value::Null]);
        }
        if fuel.is_spent() {
            return None;
        }
        let branches = self.alternatives().into_iter().next()?;
        let values: Option<Vec<Vec<Value>>> =
            branches.into_iter().map(|branch| branch.values_within(fuel)).collect();
        values.map(|values| values.into_iter().flatten().collect())
    }

    /// What stands under a key.
    pub(crate) fn property(self, key: &str) -> Reach<'s> {
        let types = self.types();
        if !types.meets(Types::OBJECT) {
            return Reach::absent(Vec::new(), types);
        }
        match self.property_within(key, &Fuel::default()) {
            Reach::Found { shape, optional } => Reach::Found {
                shape,
                optional: optional
                    || types.without(Types::OBJECT).meets(Types::NULL) && types != Types::ALL,
            },
            Reach::Absent { names, closed, .. } => {
                Reach::Absent { names, of: types.and(Types::OBJECT), closed }
            }
            Reach::Unknown(why) => Reach::Unknown(why),
        }
    }

    fn property_within(self, key: &str, fuel: &Fuel) -> Reach<'s> {
        if let Some(place) = self.declared(key) {
            let filled = self.fills && place.has_default();
            let optional = !(self.requires(key) || filled);
            return Reach::Found { shape: Shape::Schema(place), optional };
        }
        let conjuncts = self.conjuncts();
        if fuel.is_spent() || conjuncts.iter().any(|entries| other_ways(entries)) {
            return Reach::Unknown("the schema decides by conditions what there is".into());
        }
        if let Some(inner) = conjuncts.iter().find_map(|entries| by_pattern(entries, key)) {
            return match inner {
                Some(schema) => {
                    Reach::Found { shape: Shape::Schema(self.inner(schema)), optional: true }
                }
                None => Reach::Unknown("the schema allows other keys".into()),
            };
        }
        let mut branches = Vec::new();
        for group in self.alternatives() {
            // A branch that is no object has no say.
            let group =
                group.into_iter().filter(|branch| branch.types_within(fuel).meets(Types::OBJECT));
            let reach = Reach::any(group.map(|branch| branch.property_within(key, fuel)));
            match reach {
                Reach::Found { .. } => return reach,
                other => branches.push(other),
            }
        }
        self.undeclared(&conjuncts, branches)
    }

    /// What an object may have under a key that nothing declares.
    fn undeclared(
        self,
        conjuncts: &[&'s Map<String, Value>],
        branches: Vec<Reach<'s>>,
    ) -> Reach<'s> {
        match self.others() {
            Others::Allowed => {
                let mut names = Vec::new();
                // A branch that lists its properties speaks for the whole.
                for branch in branches {
                    match branch {
                        Reach::Absent { names: more, .. } => names.extend(more),
                        other => return other,
                    }
                }
                match names.is_empty()
                    || conjuncts.iter().any(|entries| entries.contains_key("additionalProperties"))
                {
                    true => Reach::Unknown("the schema does not say what else there is".into()),
                    false => Reach::Absent { names, of: Types::OBJECT, closed: false },
                }
            }
            others => Reach::Absent {
                names: self.names(),
                of: Types::OBJECT,
                closed: others == Others::Forbidden,
            },
        }
    }

    /// The schema that is declared for a key.
    pub(crate) fn declared(self, key: &str) -> Option<Place<'s>> {
        let mut conjuncts = self.conjuncts().into_iter();
        conjuncts.find_map(|entries| {
            let schema = entries.get("properties")?.get(key)?;
            Some(self.inner(schema))
        })
    }

    /// The schema of keys that are not declared by name.
    pub(crate) fn undeclared_key(self, key: &str) -> Option<Place<'s>> {
        let schema = self.conjuncts().into_iter().find_map(|entries| by_pattern(entries, key))?;
        schema.map(|schema| self.inner(schema))
    }

    /// Which keys an object may have besides those that are declared; alternatives do not count.
    pub(crate) fn others(self) -> Others {
        let conjuncts = self.conjuncts();
        let says = |value: &Value| {
            conjuncts.iter().any(|entries| {
                ["additionalProperties", "unevaluatedProperties"]
                    .iter()
                    .any(|key| entries.get(*key) == Some(value))
            })
        };
        if says(&Value::Bool(false)) {
            return Others::Forbidden;
        }
        let open = conjuncts.iter().any(|entries| {
            entries.contains_key("additionalProperties")
                || entries.contains_key("patternProperties")
                || other_ways(entries)
        });
        let lists = conjuncts.iter().any(|entries| {
            entries.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty())
        });
        if open || !lists { Others::Allowed } else { Others::Unmentioned }
    }

    pub(crate) fn requires(self, key: &str) -> bool {
        self.required().contains(&key)
    }

    /// The keys that an object must have.
    pub(crate) fn required(self) -> Vec<&'s str> {
        let mut required = Vec::new();
        for entries in self.conjuncts() {
            let names = entries.get("required").and_then(Value::as_array).into_iter().flatten();
            for name in names.filter_map(Value::as_str) {
                if !required.contains(&name) {
                    required.push(name);
                }
            }
        }
        required
    }

    /// The keys that are declared, those of the alternatives too.
    pub(crate) fn names(self) -> Vec<String> {
        let mut names = Vec::new();
        self.collect_names(&mut names, &Fuel::default());
        names
    }

    fn collect_names(self, names: &mut Vec<String>, fuel: &Fuel) {
        if fuel.is_spent() {
            return;
        }
        for entries in self.conjuncts() {
            for key in entries.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if !names.contains(key.0) {
                    names.push(key.0.clone());
                }
            }
        }
        for branch in self.alternatives().into_iter().flatten() {
            branch.collect_names(names, fuel);
        }
    }

    fn has_default(self) -> bool {
        self.default().is_some()
    }

    pub(crate) fn default(self) -> Option<&'s Value> {
        self.conjuncts().into_iter().find_map(|entries| entries.get("default"))
    }

    /// What stands at a place of a list; `None` is any place.
    pub(crate) fn element(self, index: Option<u64>) -> Reach<'s> {
        let types = self.types();
        if types == Types::OBJECT {
            // An index on an object reaches into its `items`.
            return match self.property("items") {
                Reach::Found { shape, .. } => shape.at(index),
                other => other,
            };
        }
        if !types.meets(Types::LIST) {
            return Reach::absent(Vec::new(), types);
        }
        match self.element_within(index, 0) {
            Some(place) => Reach::found(Shape::Schema(place)),
            None => Reach::Unknown("the schema does not say what the list holds".into()),
        }
    }

    /// The schema of the elements at a place, where there is one.
    pub(crate) fn element_within(self, index: Option<u64>, depth: usize) -> Option<Place<'s>> {
        for entries in self.conjuncts() {
            let first = entries.get("prefixItems").and_then(Value::as_array);
            let place = index.and_then(|index| usize::try_from(index).ok());
            let counted = first.zip(place).and_then(|(first, place)| first.get(place));
            let rest = entries.get("items").filter(|items| items.is_object());
            // Which of several kinds an element is depends on its place, which is not known.
            let rest = rest.filter(|_| first.is_none() || place.is_some());
            if let Some(schema) = counted.or(rest) {
                return Some(self.inner(schema));
            }
        }
        if MAX_DEPTH < depth {
            return None;
        }
        let branches = self.alternatives().into_iter().flatten();
        let mut lists = branches.filter(|branch| branch.types().meets(Types::LIST));
        let only = lists.next().filter(|_| lists.next().is_none())?;
        only.element_within(index, depth + 1)
    }

    /// In words: the allowed values, or the types.
    pub(crate) fn describe(self) -> String {
        let types = self.types();
        if types == Types::LIST
            && let Some(items) = self.element_within(None, 0)
            && items.types() != Types::ALL
        {
            return format!("a list, of which each element is {}", items.describe());
        }
        describe(self.values().as_deref(), types)
    }
}

impl Default for Fuel {
    fn default() -> Fuel {
        Fuel(Cell::new(MAX_ALTERNATIVES))
    }
}

impl Fuel {
    /// Takes a little; says whether there was none left.
    fn is_spent(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

fn own_types(entries: &Map<String, Value>) -> Types {
    let named = match entries.get("type") {
        Some(Value::String(name)) => Types::named(name),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(Types::named).fold(Types::NONE, Types::or)
        }
        Some(_) | None => Types::ALL,
    };
    let named = match entries.get("nullable") {
        Some(Value::Bool(true)) => named.or(Types::NULL),
        Some(_) | None => named,
    };
    let values = match (entries.get("const"), entries.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Types::of(value),
        (None, Some(values)) => values.iter().map(Types::of).fold(Types::NONE, Types::or),
        (None, None) => Types::ALL,
    };
    match entries.get("nullable") {
        Some(Value::Bool(true)) => named.and(values.or(Types::NULL)),
        Some(_) | None => named.and(values),
    }
}

fn other_ways(entries: &Map<String, Value>) -> bool {
    OTHER_WAYS.iter().any(|key| entries.get(*key).is_some_and(|value| value != &Value::Bool(false)))
        || entries
            .get("$ref")
            .and_then(Value::as_str)
            .is_some_and(|target| !target.starts_with('#'))
}

/// The schema of a key that is not declared by name; nothing inside when any value is allowed.
fn by_pattern<'s>(entries: &'s Map<String, Value>, key: &str) -> Option<Option<&'s Value>> {
    let patterns = entries.get("patternProperties").and_then(Value::as_object);
    for (pattern, schema) in patterns.into_iter().flatten() {
        match Regex::new(pattern) {
            Ok(pattern) if pattern.is_match(key) => return Some(Some(schema)),
            Ok(_) => {}
            Err(_) => return Some(None),
        }
    }
    match entries.get("additionalProperties")? {
        Value::Bool(false) => None,
        Value::Object(schema) if schema.is_empty() => Some(None),
        schema @ Value::Object(_) => Some(Some(schema)),
        _ => Some(None),
    }
}
