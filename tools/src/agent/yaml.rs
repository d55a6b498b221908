//! YAML of profiles and recordings → JSON values: one document, no aliases, the core schema's scalars.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

/// Profiles and recordings are flat; what goes deeper is a mistake.
const MAX_DEPTH: usize = 32;

/// Reads a document; JSON is YAML too.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut events = Parser::new_from_str(text);
    loop {
        match next(&mut events)? {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            event => return value(&mut events, event, 0),
        }
    }
}

fn next<'t>(events: &mut Parser<'t, StrInput<'t>>) -> Result<Event<'t>, String> {
    match events.next_event() {
        Some(Ok((event, _))) => Ok(event),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(Event::StreamEnd),
    }
}

fn value<'t>(
    events: &mut Parser<'t, StrInput<'t>>,
    event: Event<'t>,
    depth: usize,
) -> Result<Value, String> {
    if MAX_DEPTH < depth {
        return Err(format!("it is nested deeper than {MAX_DEPTH}"));
    }
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
        Event::Scalar(text, ..) => Ok(text.into_owned().into()),
        Event::SequenceStart(..) => list(events, depth),
        Event::MappingStart(..) => object(events, depth),
        Event::Alias(_) => Err("aliases are not understood here: write it out".to_owned()),
        _ => Ok(Value::Null),
    }
}

fn list<'t>(events: &mut Parser<'t, StrInput<'t>>, depth: usize) -> Result<Value, String> {
    let mut items = Vec::new();
    loop {
        match next(events)? {
            Event::SequenceEnd | Event::StreamEnd => return Ok(items.into()),
            event => items.push(value(events, event, depth + 1)?),
        }
    }
}

fn object<'t>(events: &mut Parser<'t, StrInput<'t>>, depth: usize) -> Result<Value, String> {
    let mut members = Map::new();
    loop {
        let key = match next(events)? {
            Event::MappingEnd | Event::StreamEnd => return Ok(members.into()),
            Event::Scalar(key, ..) => key.into_owned(),
            _ => return Err("a key must be a text".to_owned()),
        };
        let event = next(events)?;
        let member = value(events, event, depth + 1)?;
        if members.insert(key.clone(), member).is_some() {
            return Err(format!("the key {key:?} stands there twice"));
        }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    let digits = text.trim_start_matches('-');
    let number = digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.starts_with("0x");
    let parsed = || serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
    number.then(parsed).flatten().unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    #[test]
    fn what_profiles_are_written_in_is_read() {
        let text =
            "a: 1\nb: [x, 'true', 1.5, ~]\nc: |\n  one\n  two\nd: { \"e\": false, f: 2026-01 }\n";
        let expected = json!({ "a": 1, "b": ["x", "true", 1.5, null], "c": "one\ntwo\n", "d": { "e": false, "f": "2026-01" } });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(&expected.to_string()).unwrap(), expected);
        for wrong in ["a: [1", "a: 1\na: 2", "a: &x 1\nb: *x", "[a]: 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
