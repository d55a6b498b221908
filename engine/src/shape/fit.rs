//! Whether what one tool gives can be what another one takes.

use std::cell::Cell;
use std::rc::Rc;

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::{Field, Place, Reach, Shape, Types, describe, shown};
use crate::input::has_too_many_references;

/// How deep objects and lists are compared.
const MAX_DEPTH: usize = 8;

/// How many pairs of schemas one comparison may look at.
const MAX_PAIRS: u32 = 1_000;

/// How a value fits a schema, as far as that can be known before there is a value.
#[derive(Clone, Debug)]
pub(crate) enum Fit {
    /// Every value that can come fits, as far as types and allowed values tell.
    Always,
    /// Some values fit and some do not: which do not.
    Perhaps(String),
    /// Nobody can say, and why.
    Unknown(Rc<str>),
    /// No value fits.
    Never(Clash),
}

/// Why no value can fit.
#[derive(Clone, Debug)]
pub(crate) struct Clash {
    /// Where, inside the value: keys with dots; empty for the value itself.
    pub(crate) inside: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// Whether a value can be what a schema wants.
///
/// A list counts by its elements: the empty list, which fits everywhere, saves nothing.
pub(crate) fn fit(shape: &Shape<'_>, place: Place<'_>) -> Fit {
    fit_within(shape, place, &Level { depth: 0, pairs: &Cell::new(MAX_PAIRS) })
}

/// How deep a comparison is, and how much it may still look at.
struct Level<'a> {
    depth: usize,
    pairs: &'a Cell<u32>,
}

impl<'a> Level<'a> {
    fn deeper(&self) -> Level<'a> {
        Level { depth: self.depth + 1, pairs: self.pairs }
    }

    fn is_too_much(&self) -> bool {
        let left = self.pairs.get();
        self.pairs.set(left.saturating_sub(1));
        left == 0 || MAX_DEPTH <= self.depth
    }
}

fn fit_within(shape: &Shape<'_>, place: Place<'_>, level: &Level<'_>) -> Fit {
    match shape {
        Shape::Unknown(why) => match place.types() == Types::ALL && place.values().is_none() {
            true => Fit::Always,
            false => Fit::Unknown(why.clone()),
        },
        Shape::Union(shapes) => {
            one_of(shapes.iter().map(|shape| fit_within(shape, place, level)).collect())
        }
        Shape::Literal(value) => literal(value, place),
        shape => by_type(shape, place, level),
    }
}

/// The fit of a value that is one of several.
fn one_of(fits: Vec<Fit>) -> Fit {
    let mut clash = None;
    let mut rest = Vec::new();
    for fit in fits {
        match fit {
            Fit::Never(found) => clash = clash.or(Some(found)),
            other => rest.push(other),
        }
    }
    match (clash, rest.is_empty()) {
        (Some(clash), true) => Fit::Never(clash),
        (Some(clash), false) => Fit::Perhaps(format!("it may be {}", clash.found)),
        (None, _) => worst(rest),
    }
}

/// The fit of a value of which several things must hold.
fn worst(fits: Vec<Fit>) -> Fit {
    let rank = |fit: &Fit| match fit {
        Fit::Always => 0,
        Fit::Unknown(_) => 1,
        Fit::Perhaps(_) => 2,
        Fit::Never(_) => 3,
    };
    fits.into_iter().max_by_key(rank).unwrap_or(Fit::Always)
}

/// The fit of a value for which one of several schemas is enough.
fn best(fits: Vec<Fit>) -> Fit {
    let rank = |fit: &Fit| match fit {
        Fit::Always => 0,
        Fit::Perhaps(_) => 1,
        Fit::Unknown(_) => 2,
        Fit::Never(_) => 3,
    };
    fits.into_iter().min_by_key(rank).unwrap_or(Fit::Always)
}

fn literal(value: &Value, place: Place<'_>) -> Fit {
    let Some(validator) = validator(place) else {
        return Fit::Unknown("its schema cannot be read".into());
    };
    match validator.is_valid(value) {
        true => Fit::Always,
        false => Fit::Never(Clash {
            inside: String::new(),
            expected: place.describe(),
            found: shown(value),
        }),
    }
}

fn by_type(shape: &Shape<'_>, place: Place<'_>, level: &Level<'_>) -> Fit {
    let (given, wanted) = (shape.types(), place.types());
    let clash = || {
        let (expected, found) = (place.describe(), shape.describe());
        Fit::Never(Clash { inside: String::new(), expected, found })
    };
    if !given.meets(wanted) {
        return clash();
    }
    let mut fits = vec![by_value(shape, place, &clash)];
    if !given.within(wanted) && given != Types::ALL {
        fits.push(Fit::Perhaps(format!("it may be {}", given.without(wanted))));
    }
    if given == Types::ALL && wanted != Types::ALL {
        fits.push(Fit::Unknown("its schema does not say what it is".into()));
    }
    if !level.is_too_much() {
        if given.and(wanted) == Types::OBJECT {
            fits.push(object(shape, place, level));
        }
        if given.and(wanted) == Types::LIST {
            fits.push(list(shape, place, level));
        }
        for branches in place.alternatives() {
            let branches = branches.into_iter();
            fits.push(best(
                branches.map(|branch| by_type(shape, branch, &level.deeper())).collect(),
            ));
        }
    }
    worst(fits)
}

fn by_value(shape: &Shape<'_>, place: Place<'_>, clash: &dyn Fn() -> Fit) -> Fit {
    let Some(wanted) = place.values() else { return Fit::Always };
    let Some(given) = shape.values() else {
        return Fit::Perhaps(format!("only {} is taken", describe(Some(&wanted), place.types())));
    };
    let stray: Vec<Value> = given.iter().filter(|value| !wanted.contains(value)).cloned().collect();
    match stray.len() {
        0 => Fit::Always,
        count if count == given.len() => clash(),
        _ => Fit::Perhaps(format!("it may be {}", describe(Some(&stray), Types::NONE))),
    }
}

fn object(shape: &Shape<'_>, place: Place<'_>, level: &Level<'_>) -> Fit {
    let required = place.required();
    let mut fits = Vec::new();
    for key in place.names() {
        let Some(inner) = place.declared(&key) else { continue };
        let is_required = required.contains(&key.as_str());
        match shape.get(&key) {
            Reach::Found { shape, optional } => {
                let fit = inside(&key, fit_within(&shape, inner, &level.deeper()));
                fits.push(match fit {
                    // Without the key the rest would fit.
                    Fit::Never(clash) if optional && !is_required => {
                        Fit::Perhaps(format!("`{}` may be {}", clash.inside, clash.found))
                    }
                    fit => fit,
                });
                if optional && is_required {
                    fits.push(Fit::Perhaps(format!("`{key}` may be missing in it")));
                }
            }
            Reach::Absent { .. } if is_required && inner.default().is_none() => {
                let expected = format!("an object with `{key}`");
                let found = format!("an object without `{key}`");
                fits.push(Fit::Never(Clash { inside: String::new(), expected, found }));
            }
            Reach::Absent { .. } => {}
            Reach::Unknown(why) if is_required => fits.push(Fit::Unknown(why)),
            Reach::Unknown(_) => {}
        }
    }
    worst(fits)
}

fn list(shape: &Shape<'_>, place: Place<'_>, level: &Level<'_>) -> Fit {
    let Some(wanted) = place.element_within(None, 0) else { return Fit::Always };
    match shape.at(None) {
        Reach::Found { shape, .. } => inside("[]", fit_within(&shape, wanted, &level.deeper())),
        Reach::Absent { .. } => Fit::Always,
        Reach::Unknown(why) if wanted.types() != Types::ALL => Fit::Unknown(why),
        Reach::Unknown(_) => Fit::Always,
    }
}

/// The same, one level deeper in the value.
fn inside(key: &str, fit: Fit) -> Fit {
    match fit {
        Fit::Never(clash) => {
            let inside = match clash.inside.as_str() {
                "" => key.to_owned(),
                inner => format!("{key}.{inner}"),
            };
            Fit::Never(Clash { inside, ..clash })
        }
        Fit::Perhaps(why) => Fit::Perhaps(match why.strip_prefix("it ") {
            Some(rest) => format!("`{key}` {rest}"),
            None => why,
        }),
        other => other,
    }
}

/// A validator of one part of a schema; nothing when it cannot be read on its own.
pub(crate) fn validator(place: Place<'_>) -> Option<Validator> {
    let schema = standalone(place);
    if has_too_many_references(&schema) {
        return None;
    }
    jsonschema::options().offline().build(&schema).ok()
}

/// A part of a schema with the definitions that its references lead to.
fn standalone(place: Place<'_>) -> Value {
    let (Value::Object(part), Value::Object(root)) = (place.schema, place.root) else {
        return place.schema.clone();
    };
    let mut whole: Map<String, Value> = part.clone();
    for key in ["$schema", "$defs", "definitions"] {
        if let Some(value) = root.get(key)
            && !whole.contains_key(key)
        {
            whole.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(whole)
}

impl<'s> Field<'s> {
    pub(crate) fn new(key: impl Into<String>, shape: Shape<'s>, optional: bool) -> Field<'s> {
        Field { key: key.into(), shape, optional }
    }
}
