//! References to the input, followed down its schema.

use serde_json::Value;

use super::{Checker, Site};
use crate::Problem;
use crate::expr::{Reference, Segment};
use crate::parse::did_you_mean;
use crate::problem::nearest;

impl Checker<'_> {
    /// Walks a path down the input schema as far as that says what there is.
    pub(super) fn input(
        &mut self,
        site: Site<'_>,
        reference: &Reference,
        path: &[Segment],
        root: &str,
    ) {
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
        // `repo` is short for `input.repo`.
        let roots =
            [Some(place), place.strip_prefix("input.").filter(|place| place.starts_with("repo"))];
        let patch = near.first().map(|name| {
            let roots = roots.into_iter().flatten();
            let pairs = roots.map(|root| (format!("{root}.{key}"), format!("{root}.{name}")));
            self.rewritten(site.pointer, &pairs.collect::<Vec<_>>())
        });
        self.report(Problem {
            suggestion: Some(suggestion),
            nearest: near.into_iter().map(str::to_owned).collect(),
            found: Some(key.to_owned()),
            patch: patch.unwrap_or_default(),
            ..Problem::new("unknown_input", site.pointer, message)
        });
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
