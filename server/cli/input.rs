//! What is typed after `run`, read by the workflow's input schema.

use std::{fs, io::Read};

use serde_json::{Map, Value};

use super::failure::Failure;

/// An input: the JSON that a flag gave, with the pairs put over it.
pub(super) fn read(
    flag: &str,
    schema: &Value,
    given: Option<&str>,
    pairs: &[String],
) -> Result<Map<String, Value>, Failure> {
    let mut input = match given.map(|text| json(flag, text)).transpose()? {
        None => Map::new(),
        Some(Value::Object(input)) => input,
        Some(_) => return Err(Failure::usage(format!("{flag} must be a JSON object"))),
    };
    for pair in pairs {
        put_pair(schema, &mut input, pair).map_err(Failure::usage)?;
    }
    Ok(input)
}

/// JSON as a flag gives it: itself, `@FILE`, or `-` for standard input.
pub(super) fn json(flag: &str, text: &str) -> Result<Value, Failure> {
    let unreadable = |error| Failure::usage(format!("{flag} {text} cannot be read: {error}"));
    let read = match (text, text.strip_prefix('@')) {
        ("-", _) => {
            let mut read = String::new();
            std::io::stdin().read_to_string(&mut read).map_err(unreadable)?;
            read
        }
        (_, Some(file)) => fs::read_to_string(file).map_err(unreadable)?,
        (_, None) => text.to_owned(),
    };
    let parsed = serde_json::from_str(&read);
    parsed.map_err(|error| Failure::usage(format!("{flag} is not JSON: {error}")))
}

fn put_pair(schema: &Value, input: &mut Map<String, Value>, pair: &str) -> Result<(), String> {
    let Some((key, text)) = pair.split_once('=') else {
        return Err(format!("{pair:?} is not of the form key=value{}", known(schema)));
    };
    let path: Vec<&str> = key.split('.').collect();
    let value = typed(schema_at(schema, &path)?, text)
        .map_err(|wanted| format!("{key} must be {wanted}"))?;
    put(input, &path, value)
        .map_err(|()| format!("{key} is given twice, as a value and as an object"))
}

/// The schema of what a path names. What no schema speaks of may be anything, except where a name looks misspelt.
fn schema_at<'a>(schema: &'a Value, path: &[&str]) -> Result<&'a Value, String> {
    let mut schema = schema;
    for key in path {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Ok(&Value::Null);
        };
        schema = match properties.get(*key) {
            Some(property) => property,
            None if open(schema) => return Ok(&Value::Null),
            None => return Err(unknown(key, schema)),
        };
    }
    Ok(schema)
}

/// Whether an object says that it takes further keys. One that only does not forbid them is more likely to be given a misspelt one.
fn open(schema: &Value) -> bool {
    matches!(schema.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_)))
}

fn unknown(key: &str, schema: &Value) -> String {
    let names = names(schema);
    let likely = names.iter().map(|name| (strsim::jaro_winkler(key, name), name));
    let nearest =
        likely.filter(|(likeness, _)| 0.8 <= *likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("there is no input {key:?}; did you mean {name:?}?"),
        None => format!("there is no input {key:?}{}", known(schema)),
    }
}

fn known(schema: &Value) -> String {
    match names(schema).as_slice() {
        [] => String::new(),
        names => format!("; the inputs are {}", names.join(", ")),
    }
}

fn names(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(Map::keys).map(String::as_str).collect()
}

/// A text as the value its schema asks for; the error says what was wanted.
pub(super) fn typed(schema: &Value, text: &str) -> Result<Value, String> {
    let types = types(schema);
    if types.is_empty() {
        return Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
    }
    if types.contains(&"null") && text == "null" {
        return Ok(Value::Null);
    }
    let values = types.iter().map(|wanted| typed_as(wanted, schema, text));
    let mut wanted = Vec::new();
    for value in values {
        match value {
            Ok(value) => return Ok(value),
            Err(what) => wanted.push(what),
        }
    }
    Err(wanted.join(" or "))
}

/// The types a schema names; text last, since every text is one.
fn types(schema: &Value) -> Vec<&str> {
    let mut types: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    types.sort_by_key(|name| *name == "string");
    types
}

fn typed_as(wanted: &str, schema: &Value, text: &str) -> Result<Value, String> {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    match wanted {
        "string" => Ok(Value::from(text)),
        "integer" => text.parse::<i64>().map(Value::from).map_err(|_| "a whole number".to_owned()),
        "number" => parsed().filter(Value::is_number).ok_or_else(|| "a number".to_owned()),
        "boolean" => parsed().filter(Value::is_boolean).ok_or_else(|| "true or false".to_owned()),
        "null" => parsed().filter(Value::is_null).ok_or_else(|| "null".to_owned()),
        "array" => parsed().filter(Value::is_array).map_or_else(|| texts(schema, text), Ok),
        "object" => parsed().filter(Value::is_object).map_or_else(|| repository(schema, text), Ok),
        other => Err(format!("of type {other}")),
    }
}

/// `bug,docs`, where a list of texts is wanted.
fn texts(schema: &Value, text: &str) -> Result<Value, String> {
    if schema["items"]["type"] != "string" || text.starts_with('[') {
        return Err("a JSON list".to_owned());
    }
    Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
}

/// `octo/hello`, where an object with an owner and a name is wanted.
fn repository(schema: &Value, text: &str) -> Result<Value, String> {
    let has = |name: &str| schema["properties"].get(name).is_some();
    match text.split_once('/') {
        Some((owner, name)) if has("owner") && has("name") && !name.contains('/') => {
            Ok(serde_json::json!({ "owner": owner, "name": name }))
        }
        _ if has("owner") && has("name") => Err("a JSON object or owner/name".to_owned()),
        _ => Err("a JSON object".to_owned()),
    }
}

fn put(object: &mut Map<String, Value>, path: &[&str], value: Value) -> Result<(), ()> {
    let [key, rest @ ..] = path else { return Ok(()) };
    if rest.is_empty() {
        object.insert((*key).to_owned(), value);
        return Ok(());
    }
    let inner = object.entry(*key).or_insert_with(|| Value::Object(Map::new()));
    put(inner.as_object_mut().ok_or(())?, rest, value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({ "type": "object", "properties": {
            "name": { "type": "string" },
            "issue_number": { "type": "integer" },
            "ratio": { "type": "number" },
            "draft": { "type": "boolean" },
            "labels": { "type": "array", "items": { "type": "string" } },
            "points": { "type": "array", "items": { "type": "integer" } },
            "either": { "type": ["string", "integer", "null"] },
            "repo": { "type": "object", "properties": { "owner": { "type": "string" }, "name": { "type": "string" } } },
            "anything": {},
            "free": { "type": "object" },
        } })
    }

    fn typed_pairs(pairs: &[&str]) -> Result<Value, String> {
        let mut input = Map::new();
        for pair in pairs {
            put_pair(&schema(), &mut input, pair)?;
        }
        Ok(Value::Object(input))
    }

    #[test]
    fn pairs_become_what_the_schema_asks_for() {
        let check = |pairs: &[&str], expected| assert_eq!(typed_pairs(pairs), Ok(expected));
        check(&["name=42"], json!({ "name": "42" }));
        check(&["name=a=b"], json!({ "name": "a=b" }));
        check(&["name="], json!({ "name": "" }));
        check(&["issue_number=7"], json!({ "issue_number": 7 }));
        check(&["ratio=0.5"], json!({ "ratio": 0.5 }));
        check(&["draft=true"], json!({ "draft": true }));
        check(&["labels=bug, docs"], json!({ "labels": ["bug", "docs"] }));
        check(&["labels=[\"a,b\"]"], json!({ "labels": ["a,b"] }));
        check(&["points=[1,2]"], json!({ "points": [1, 2] }));
        check(&["either=3"], json!({ "either": 3 }));
        check(&["either=three"], json!({ "either": "three" }));
        check(&["either=null"], json!({ "either": null }));
        check(&["anything={\"a\":1}"], json!({ "anything": { "a": 1 } }));
        check(&["anything=plain"], json!({ "anything": "plain" }));
        check(&["name=first", "name=second"], json!({ "name": "second" }));
    }

    #[test]
    fn dots_build_objects_and_a_slash_splits_a_repository() {
        let octo = json!({ "repo": { "owner": "octo", "name": "hello" } });
        assert_eq!(typed_pairs(&["repo.owner=octo", "repo.name=hello"]), Ok(octo.clone()));
        assert_eq!(typed_pairs(&["repo=octo/hello"]), Ok(octo.clone()));
        assert_eq!(typed_pairs(&["repo={\"owner\":\"octo\",\"name\":\"hello\"}"]), Ok(octo));
        let free = json!({ "free": { "a": { "b": 1 } } });
        assert_eq!(typed_pairs(&["free.a.b=1"]), Ok(free));
    }

    #[test]
    fn a_pair_that_does_not_fit_says_what_would() {
        let check = |pair, expected: &str| assert_eq!(typed_pairs(&[pair]).unwrap_err(), expected);
        check("issue_number=seven", "issue_number must be a whole number");
        check("draft=yes", "draft must be true or false");
        check("points=1,2", "points must be a JSON list");
        check("repo=hello", "repo must be a JSON object or owner/name");
        check("free=hello", "free must be a JSON object");
        check("isue_number=7", "there is no input \"isue_number\"; did you mean \"issue_number\"?");
        check("repo.ownr=octo", "there is no input \"ownr\"; did you mean \"owner\"?");
        let error = typed_pairs(&["seven"]).unwrap_err();
        assert!(
            error.starts_with("\"seven\" is not of the form key=value; the inputs are name,"),
            "{error}"
        );
        let error = typed_pairs(&["name=x", "name.y=z"]).unwrap_err();
        assert_eq!(error, "name.y is given twice, as a value and as an object");
    }

    #[test]
    fn pairs_are_put_over_the_json_input() {
        let given = Some(r#"{"repo":{"owner":"octo","name":"old"},"draft":false}"#);
        let input = read("--input", &schema(), given, &["repo.name=new".into()]).unwrap();
        let expected = json!({ "repo": { "owner": "octo", "name": "new" }, "draft": false });
        assert_eq!(Value::Object(input), expected);
        assert!(read("--input", &schema(), Some("[1]"), &[]).is_err());
        assert!(read("--input", &schema(), Some("{"), &[]).is_err());
    }

    #[test]
    fn an_object_that_says_it_is_open_takes_any_key() {
        let open = json!({ "properties": { "a": {} }, "additionalProperties": true });
        let input = read("--input", &open, None, &["b=1".into()]).unwrap();
        assert_eq!(Value::Object(input), json!({ "b": 1 }));
    }
}
