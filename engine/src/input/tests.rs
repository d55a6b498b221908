//! What an input schema promises.

use serde_json::{Value, json};

use super::InputSchema;

fn schema() -> InputSchema {
    InputSchema::compile(&json!({
        "type": "object",
        "required": ["app", "count"],
        "additionalProperties": false,
        "properties": {
            "app": { "type": "string", "minLength": 2 },
            "count": { "type": "integer", "minimum": 1 },
            "environment": { "type": "string", "enum": ["staging", "production"], "default": "staging" },
            "labels": { "type": "array", "items": { "$ref": "#/$defs/label" } },
            "repo": { "$ref": "#/$defs/repo" },
            "limits": {
                "default": {},
                "properties": { "cpu": { "default": 2 }, "memory": { "default": { "mb": 512 } } },
            },
            "when": { "type": ["string", "null"], "format": "date-time" },
        },
        "$defs": {
            "repo": {
                "type": "object",
                "additionalProperties": false,
                "properties": { "branch": { "type": "string", "default": "main" }, "a/b": {} },
            },
            "label": { "properties": { "color": { "default": "grey" } } },
        },
    }))
    .unwrap()
}

#[test]
fn defaults_are_applied_where_nothing_is_given() {
    let input = json!({
        "app": "shop", "count": 3, "repo": {}, "labels": [{ "name": "x" }, { "color": "red" }],
    });
    let expected = json!({
        "app": "shop",
        "count": 3,
        "environment": "staging",
        "labels": [{ "name": "x", "color": "grey" }, { "color": "red" }],
        "repo": { "branch": "main" },
        "limits": { "cpu": 2, "memory": { "mb": 512 } },
    });
    assert_eq!(schema().accept(input), Ok(expected));
}

#[test]
fn what_is_given_is_left_as_it_is() {
    let input = json!({
        "app": "shop", "count": 3, "environment": "production", "limits": { "cpu": null, "memory": 1.0 },
    });
    assert_eq!(schema().accept(input.clone()), Ok(input));
}

#[test]
fn every_problem_is_explained_in_plain_words() {
    let input = json!({
        "app": "x",
        "cuont": 5,
        "environment": "prod",
        "repo": { "brnach": "a", "branch": 7, "a/b": 1 },
        "labels": "none",
        "when": "tomorrow",
    });
    let mut found: Vec<(&str, String, String, Option<String>)> = schema()
        .accept(input)
        .unwrap_err()
        .into_iter()
        .map(|problem| (problem.code, problem.pointer, problem.message, problem.suggestion))
        .collect();
    found.sort();
    let expected = [
        ("missing_key", "/count", "`count` is missing", None),
        ("not_allowed", "/app", "`app` must have at least 2 characters; it is \"x\"", None),
        (
            "not_allowed",
            "/when",
            "`when` must have the format `date-time`; it is \"tomorrow\"",
            None,
        ),
        (
            "unknown_key",
            "/cuont",
            "`cuont` is not expected; allowed are app, count, environment, labels, repo, limits, when",
            Some("did you mean `count`?"),
        ),
        (
            "unknown_key",
            "/repo/brnach",
            "`repo.brnach` is not expected; allowed are branch, a/b",
            Some("did you mean `branch`?"),
        ),
        (
            "unknown_value",
            "/environment",
            "`environment` must be one of \"staging\", \"production\", and is \"prod\"",
            Some("did you mean `production`?"),
        ),
        ("wrong_type", "/labels", "`labels` must be a list, and is \"none\"", None),
        ("wrong_type", "/repo/branch", "`repo.branch` must be a text, and is 7", None),
    ];
    let expected = expected.map(|(code, pointer, message, suggestion)| {
        (code, pointer.to_owned(), message.to_owned(), suggestion.map(str::to_owned))
    });
    assert_eq!(found, expected);
}

#[test]
fn long_values_are_shortened() {
    let input = json!({ "app": ["x".repeat(10_000)], "count": 1 });
    let problems = schema().accept(input).unwrap_err();
    assert!(problems[0].message.chars().count() < 120, "{}", problems[0]);
}

#[test]
fn the_input_is_always_an_object() {
    for given in [json!(null), json!([]), json!("x")] {
        assert_eq!(InputSchema::any().accept(given).unwrap_err()[0].code, "wrong_type");
    }
    assert_eq!(InputSchema::any().accept(json!({ "any": 1 })), Ok(json!({ "any": 1 })));
}

#[test]
fn a_schema_that_refers_to_itself_comes_to_an_end() {
    let schema = InputSchema::compile(&json!({
        "type": "object",
        "properties": { "next": { "$ref": "#", "default": {} } },
    }))
    .unwrap();
    assert!(schema.accept(json!({})).is_ok());
}

#[test]
fn a_schema_that_refers_only_to_itself_says_nothing_and_comes_to_an_end() {
    let reference = || json!({ "$ref": "#/$defs/a" });
    let many = || vec![reference(); 20];
    let table = [
        json!({ "a": reference() }),
        json!({ "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }),
        json!({ "a": { "allOf": many() } }),
        json!({ "a": { "anyOf": many(), "oneOf": [reference()] } }),
        json!({ "a": { "allOf": many(), "properties": { "a": reference() } } }),
        json!({ "a": { "if": reference(), "then": reference(), "else": reference() } }),
    ];
    for definitions in table {
        let schema = json!({
            "type": "object", "properties": { "a": reference() }, "allOf": many(), "$defs": definitions,
        });
        let schema = InputSchema::compile(&schema).unwrap();
        let given = json!({ "a": { "a": { "a": {} } } });
        assert_eq!(schema.accept(given.clone()), Ok(given), "{definitions}");
    }
}

#[test]
fn a_schema_with_endless_references_is_refused_before_anybody_follows_them() {
    let mut definitions = json!({ "a5000": {} });
    for number in 0..5000 {
        definitions[format!("a{number}")] = json!({ "$ref": format!("#/$defs/a{}", number + 1) });
    }
    let schema = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a0" } }, "$defs": definitions });
    let message = InputSchema::compile(&schema).unwrap_err();
    assert_eq!(message, "the schema has more than 1000 references");
}

#[test]
fn schemas_that_cannot_be_used_are_refused() {
    let table: [(Value, &str); 7] = [
        (json!({}), "needs `type: object`"),
        (json!({ "type": "array" }), "write `type: object`"),
        (json!(true), "must be a JSON Schema"),
        (json!({ "type": "object", "properties": { "a": { "type": "int" } } }), "is not a type"),
        (json!({ "type": "object", "required": "a" }), "`required` must be a list"),
        (json!({ "type": "object", "properties": { "a": { "$ref": "other.json" } } }), "leads out"),
        (json!({ "type": "object", "$schema": "http://json-schema.org/draft-07/schema#" }), "only"),
    ];
    for (schema, expected) in table {
        let message = InputSchema::compile(&schema).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    let dangling = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/none" } } });
    assert!(InputSchema::compile(&dangling).is_err());
}
