//! What is known of a value before there is one: its schema, the value itself, its type, or nothing.

mod fit;
mod place;

use std::rc::Rc;

use serde_json::Value;

pub(crate) use self::fit::{Clash, Fit, fit, validator};
pub(crate) use self::place::{Others, Place};

/// How many allowed values a message names.
const MAX_VALUES: usize = 12;

/// How much of a value a message shows, in characters.
const MAX_SHOWN: usize = 60;

/// A set of JSON types; whole numbers and fractions are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Types(u8);

/// What is known of a value.
#[derive(Clone, Debug)]
pub(crate) enum Shape<'s> {
    /// Nothing, and why.
    Unknown(Rc<str>),
    /// What a JSON Schema says.
    Schema(Place<'s>),
    /// Everything: it stands in the document.
    Literal(Rc<Value>),
    /// Only its type.
    Types(Types),
    /// A list of any length, and what its elements are.
    List(Rc<Shape<'s>>),
    /// A list whose elements are written out.
    Tuple(Rc<Vec<Shape<'s>>>),
    /// An object whose keys are written out.
    Object(Rc<Vec<Field<'s>>>),
    /// One of these.
    Union(Rc<Vec<Shape<'s>>>),
}

/// A key of an object, and what is known of its value.
#[derive(Clone, Debug)]
pub(crate) struct Field<'s> {
    pub(crate) key: String,
    pub(crate) shape: Shape<'s>,
    /// Whether the key may be missing.
    pub(crate) optional: bool,
}

/// Where one step of a path leads.
#[derive(Clone, Debug)]
pub(crate) enum Reach<'s> {
    /// To something; `optional` when there may be nothing after all.
    Found { shape: Shape<'s>, optional: bool },
    /// Certainly to nothing: what there is instead. `closed` when nothing else can ever be there.
    Absent { names: Vec<String>, of: Types, closed: bool },
    /// Nobody can say, and why.
    Unknown(Rc<str>),
}

impl Types {
    pub(crate) const NONE: Types = Types(0);
    pub(crate) const NULL: Types = Types(1);
    pub(crate) const BOOLEAN: Types = Types(2);
    pub(crate) const WHOLE: Types = Types(4);
    pub(crate) const NUMBER: Types = Types(4 | 8);
    pub(crate) const TEXT: Types = Types(16);
    pub(crate) const LIST: Types = Types(32);
    pub(crate) const OBJECT: Types = Types(64);
    pub(crate) const ALL: Types = Types(127);

    const FRACTION: Types = Types(8);

    /// The types that a schema's `type` names.
    fn named(name: &str) -> Types {
        match name {
            "null" => Types::NULL,
            "boolean" => Types::BOOLEAN,
            "integer" => Types::WHOLE,
            "number" => Types::NUMBER,
            "string" => Types::TEXT,
            "array" => Types::LIST,
            "object" => Types::OBJECT,
            _ => Types::ALL,
        }
    }

    pub(crate) fn of(value: &Value) -> Types {
        match value {
            Value::Null => Types::NULL,
            Value::Bool(_) => Types::BOOLEAN,
            Value::Number(number) => match number.as_f64() {
                Some(fraction) if fraction.fract() != 0.0 => Types::FRACTION,
                Some(_) | None => Types::WHOLE,
            },
            Value::String(_) => Types::TEXT,
            Value::Array(_) => Types::LIST,
            Value::Object(_) => Types::OBJECT,
        }
    }

    pub(crate) fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Types) -> bool {
        self.and(other) != Types::NONE
    }

    pub(crate) fn within(self, other: Types) -> bool {
        self.and(other) == self
    }

    /// The types that are in this set and not in the other.
    pub(crate) fn without(self, other: Types) -> Types {
        Types(self.0 & !other.0)
    }
}

impl std::fmt::Display for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Types::ALL {
            return f.write_str("any value");
        }
        let number = match (self.meets(Types::WHOLE), self.meets(Types::FRACTION)) {
            (true, false) => "a whole number",
            (false, true) => "a fraction",
            (true, true) | (false, false) => "a number",
        };
        let all = [
            (Types::TEXT, "a text"),
            (Types::NUMBER, number),
            (Types::BOOLEAN, "true or false"),
            (Types::LIST, "a list"),
            (Types::OBJECT, "an object"),
            (Types::NULL, "null"),
        ];
        let named = all.iter().filter(|(types, _)| self.meets(*types)).map(|(_, name)| *name);
        let named: Vec<&str> = named.collect();
        f.write_str(if named.is_empty() { "nothing" } else { "" })?;
        f.write_str(&named.join(" or "))
    }
}

impl<'s> Shape<'s> {
    pub(crate) fn unknown(why: impl Into<Rc<str>>) -> Shape<'s> {
        Shape::Unknown(why.into())
    }

    pub(crate) fn literal(value: &Value) -> Shape<'s> {
        Shape::Literal(Rc::new(value.clone()))
    }

    /// One of several shapes.
    pub(crate) fn one_of(shapes: Vec<Shape<'s>>) -> Shape<'s> {
        let mut flat = Vec::with_capacity(shapes.len());
        for shape in shapes {
            match shape {
                Shape::Union(inner) => flat.extend(inner.iter().cloned()),
                shape => flat.push(shape),
            }
        }
        match flat.len() {
            1 => flat.remove(0),
            _ => Shape::Union(Rc::new(flat)),
        }
    }

    /// The types that the value can have.
    pub(crate) fn types(&self) -> Types {
        match self {
            Shape::Unknown(_) => Types::ALL,
            Shape::Schema(place) => place.types(),
            Shape::Literal(value) => Types::of(value),
            Shape::Types(types) => *types,
            Shape::List(_) | Shape::Tuple(_) => Types::LIST,
            Shape::Object(_) => Types::OBJECT,
            Shape::Union(shapes) => {
                shapes.iter().fold(Types::NONE, |types, shape| types.or(shape.types()))
            }
        }
    }

    /// Every value that it can have, where they are few and known.
    pub(crate) fn values(&self) -> Option<Vec<Value>> {
        match self {
            Shape::Literal(value) => Some(vec![value.as_ref().clone()]),
            Shape::Schema(place) => place.values(),
            Shape::Union(shapes) => {
                let values: Option<Vec<Vec<Value>>> = shapes.iter().map(Shape::values).collect();
                values.map(|values| values.into_iter().flatten().collect())
            }
            Shape::Unknown(_)
            | Shape::Types(_)
            | Shape::List(_)
            | Shape::Tuple(_)
            | Shape::Object(_) => None,
        }
    }

    /// The keys that are known of an object.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Shape::Schema(place) => place.names(),
            Shape::Object(fields) => fields.iter().map(|field| field.key.clone()).collect(),
            Shape::Unknown(_)
            | Shape::Literal(_)
            | Shape::Types(_)
            | Shape::List(_)
            | Shape::Tuple(_)
            | Shape::Union(_) => Vec::new(),
        }
    }

    /// What stands under a key.
    pub(crate) fn get(&self, key: &str) -> Reach<'s> {
        match self {
            Shape::Unknown(why) => Reach::Unknown(why.clone()),
            Shape::Schema(place) => place.property(key),
            Shape::Literal(value) => match value.as_object() {
                Some(object) => match object.get(key) {
                    Some(value) => Reach::found(Shape::literal(value)),
                    None => Reach::absent(object.keys().cloned().collect(), Types::OBJECT),
                },
                None => Reach::absent(Vec::new(), Types::of(value)),
            },
            Shape::Types(types) if types.meets(Types::OBJECT) => {
                Reach::Unknown("nothing says what this object holds".into())
            }
            Shape::Types(_) | Shape::List(_) | Shape::Tuple(_) => {
                Reach::absent(Vec::new(), self.types())
            }
            Shape::Object(fields) => match fields.iter().find(|field| field.key == key) {
                Some(Field { shape, optional, .. }) => {
                    Reach::Found { shape: shape.clone(), optional: *optional }
                }
                None => {
                    let names = fields.iter().map(|field| field.key.clone()).collect();
                    Reach::absent(names, Types::OBJECT)
                }
            },
            Shape::Union(shapes) => Reach::any(shapes.iter().map(|shape| shape.get(key))),
        }
    }

    /// What stands at a place of a list; `None` is any place.
    pub(crate) fn at(&self, index: Option<u64>) -> Reach<'s> {
        let place = index.and_then(|index| usize::try_from(index).ok());
        match self {
            Shape::Unknown(why) => Reach::Unknown(why.clone()),
            Shape::Schema(schema) => schema.element(index),
            Shape::Literal(value) => match value.as_ref() {
                Value::Array(items) => {
                    let items: Vec<Shape<'s>> = items.iter().map(Shape::literal).collect();
                    element_of(&items, place)
                }
                // An index on an object reaches into its `items`.
                Value::Object(_) => self.items_of_object(index),
                value => Reach::absent(Vec::new(), Types::of(value)),
            },
            Shape::Types(types) if types.meets(Types::LIST.or(Types::OBJECT)) => {
                Reach::Unknown("nothing says what this list holds".into())
            }
            Shape::Types(types) => Reach::absent(Vec::new(), *types),
            Shape::List(element) => {
                Reach::Found { shape: element.as_ref().clone(), optional: false }
            }
            Shape::Tuple(items) => element_of(items, place),
            Shape::Object(_) => self.items_of_object(index),
            Shape::Union(shapes) => Reach::any(shapes.iter().map(|shape| shape.at(index))),
        }
    }

    fn items_of_object(&self, index: Option<u64>) -> Reach<'s> {
        match self.get("items") {
            Reach::Found { shape, .. } => shape.at(index),
            other => other,
        }
    }

    /// In words: the values if they are few, the types otherwise.
    pub(crate) fn describe(&self) -> String {
        match self {
            Shape::Unknown(_) => "something unknown".to_owned(),
            Shape::Literal(value) => shown(value),
            shape => describe(shape.values().as_deref(), shape.types()),
        }
    }
}

impl<'s> Reach<'s> {
    fn found(shape: Shape<'s>) -> Reach<'s> {
        Reach::Found { shape, optional: false }
    }

    fn absent(names: Vec<String>, of: Types) -> Reach<'s> {
        Reach::Absent { names, of, closed: true }
    }

    /// Where a path leads that begins at one of several values.
    fn any(reaches: impl Iterator<Item = Reach<'s>>) -> Reach<'s> {
        let (mut shapes, mut partly, mut unknown) = (Vec::new(), false, None);
        let (mut all_names, mut all_of, mut all_closed) = (Vec::new(), Types::NONE, true);
        for reach in reaches {
            match reach {
                Reach::Found { shape, optional } => {
                    shapes.push(shape);
                    partly |= optional;
                }
                Reach::Absent { names, of, closed } => {
                    partly = true;
                    all_names.extend(names);
                    all_of = all_of.or(of);
                    all_closed &= closed;
                }
                Reach::Unknown(why) => unknown = unknown.or(Some(why)),
            }
        }
        if let Some(why) = unknown {
            return match shapes.is_empty() {
                true => Reach::Unknown(why),
                false => {
                    shapes.push(Shape::Unknown(why));
                    Reach::Found { shape: Shape::one_of(shapes), optional: partly }
                }
            };
        }
        match shapes.is_empty() {
            true => Reach::Absent { names: all_names, of: all_of, closed: all_closed },
            false => Reach::Found { shape: Shape::one_of(shapes), optional: partly },
        }
    }
}

fn element_of<'s>(items: &[Shape<'s>], place: Option<usize>) -> Reach<'s> {
    match place {
        Some(place) => match items.get(place) {
            Some(shape) => Reach::found(shape.clone()),
            None => Reach::absent(Vec::new(), Types::LIST),
        },
        None if items.is_empty() => Reach::Unknown("the list is empty".into()),
        None => Reach::Found { shape: Shape::one_of(items.to_vec()), optional: false },
    }
}

/// Allowed values, or types where the values are many.
pub(crate) fn describe(values: Option<&[Value]>, types: Types) -> String {
    let Some(values) = values else { return types.to_string() };
    let words: Vec<String> = values.iter().take(MAX_VALUES).map(shown).collect();
    let more = if MAX_VALUES < values.len() { ", …" } else { "" };
    match words.as_slice() {
        [] => types.to_string(),
        [word] => word.clone(),
        words => format!("one of {}{more}", words.join(", ")),
    }
}

/// A value as compact JSON, shortened.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
