//! Holds the double of GitHub to GitHub's own OpenAPI description: every answer it gives, and every request
//! that it accepts.
//!
//! `openapi/github.json` is cut out of the description by `openapi/extract.py`, for the routes in
//! `openapi/routes.txt`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const TEXT: &str = include_str!("../openapi/github.json");
/// Parameters of a path that may hold slashes.
const LONG: [&str; 5] = ["{ref}", "{branch}", "{path}", "{basehead}", "{tree_sha}"];
/// What GitHub serves and does not describe.
const UNDESCRIBED: [&str; 1] = ["/graphql"];
const MOST_PROBLEMS: usize = 5;

static GITHUB: LazyLock<Description> = LazyLock::new(|| {
    let text: Text = serde_json::from_str(TEXT).expect("the description that ships is JSON");
    Description::new(text)
});

#[derive(Deserialize)]
struct Text {
    routes: BTreeMap<String, Operation>,
    #[serde(rename = "$defs")]
    definitions: Map<String, Value>,
}

/// What is described of a route.
#[derive(Deserialize)]
struct Operation {
    /// Schemas by status; null where there is no body.
    answers: BTreeMap<String, Value>,
    body: Option<Value>,
}

struct Description {
    routes: Vec<Route>,
    definitions: Map<String, Value>,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

struct Route {
    name: String,
    method: String,
    parts: Vec<String>,
    operation: Operation,
}

/// A request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    /// The path's segments, decoded.
    pub(crate) segments: &'a [String],
    pub(crate) sent: &'a Value,
    pub(crate) status: u16,
    pub(crate) answered: &'a Value,
}

/// What is wrong with an exchange, if anything is.
pub(crate) fn violation(exchange: &Exchange<'_>) -> Option<String> {
    GITHUB.violation(exchange)
}

impl Description {
    fn new(text: Text) -> Self {
        let route = |(name, operation): (String, Operation)| {
            let (method, path) = name.split_once(' ').unwrap_or_default();
            let parts =
                path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            Route { method: method.to_owned(), parts, name: name.clone(), operation }
        };
        Self {
            routes: text.routes.into_iter().map(route).collect(),
            definitions: text.definitions,
            compiled: Mutex::default(),
        }
    }

    fn violation(&self, exchange: &Exchange<'_>) -> Option<String> {
        let path = format!("/{}", exchange.segments.join("/"));
        let Some(route) = self.route(exchange) else {
            let known = exchange.status == 404 || UNDESCRIBED.contains(&path.as_str());
            return (!known).then(|| {
                format!(
                    "the double serves {} {path}, which is not in emulators/openapi/routes.txt: add the line \
                     as GitHub's description names the route, and run emulators/openapi/extract.py as it says",
                    exchange.method
                )
            });
        };
        let problems = match exchange.status {
            200..300 => {
                let mut problems = self.answer(route, exchange);
                problems.extend(self.request(route, exchange.sent));
                problems
            }
            // A repository that moved says so on every route.
            301 | 307 | 308 => Vec::new(),
            300..400 => self.answer(route, exchange),
            _ => self.refusal(route, exchange),
        };
        (!problems.is_empty()).then(|| {
            format!(
                "GitHub's description of {} does not allow this ({}): {}",
                route.name,
                exchange.status,
                problems.join("; ")
            )
        })
    }

    /// The route with the most words of its own that fits.
    fn route(&self, exchange: &Exchange<'_>) -> Option<&Route> {
        let fitting = self.routes.iter().filter(|route| {
            route.method == exchange.method && fits(&route.parts, exchange.segments)
        });
        fitting.max_by_key(|route| route.parts.iter().filter(|part| !part.starts_with('{')).count())
    }

    fn answer(&self, route: &Route, exchange: &Exchange<'_>) -> Vec<String> {
        let status = exchange.status.to_string();
        match route.operation.answers.get(&status) {
            None => {
                let known: Vec<_> = route.operation.answers.keys().map(String::as_str).collect();
                vec![format!("the status is {status}, described are {}", known.join(", "))]
            }
            Some(Value::Null) if exchange.answered.is_null() => Vec::new(),
            Some(Value::Null) => vec!["the answer has a body, and none is described".to_owned()],
            Some(schema) => self.problems(
                &format!("{} {status}", route.name),
                schema,
                exchange.answered,
                "answer",
            ),
        }
    }

    /// A refusal is as described for the route, or as refusals are everywhere.
    fn refusal(&self, route: &Route, exchange: &Exchange<'_>) -> Vec<String> {
        let status = exchange.status.to_string();
        let described = route.operation.answers.get(&status).filter(|schema| !schema.is_null());
        let fits = |name: &str, schema: &Value| {
            self.problems(name, schema, exchange.answered, "answer").is_empty()
        };
        if described.is_some_and(|schema| fits(&format!("{} {status}", route.name), schema)) {
            return Vec::new();
        }
        let common = if exchange.answered.get("errors").is_some() {
            "validation-error"
        } else {
            "basic-error"
        };
        let schema = json!({
            "allOf": [{ "$ref": format!("#/$defs/{common}") }, { "required": ["message"] }],
        });
        self.problems(common, &schema, exchange.answered, "answer")
    }

    /// What our tools send may hold nothing that GitHub would pass over.
    fn request(&self, route: &Route, sent: &Value) -> Vec<String> {
        let Some(schema) = &route.operation.body else {
            let bare = sent.is_null() || route.method == "GET";
            return if bare {
                Vec::new()
            } else {
                vec!["the request has a body, and none is described".into()]
            };
        };
        if sent.is_null() && schema.get("required").is_none() {
            return Vec::new();
        }
        let mut problems = self.problems(&format!("{} body", route.name), schema, sent, "request");
        let known = schema.get("properties").and_then(Value::as_object);
        if let (Some(known), Some(sent)) = (known, sent.as_object()) {
            let unknown = sent.keys().filter(|key| !known.contains_key(*key));
            problems.extend(unknown.map(|key| format!("request /{key}: is not described")));
        }
        problems
    }

    fn problems(&self, name: &str, schema: &Value, value: &Value, what: &str) -> Vec<String> {
        let validator = self.validator(name, schema);
        let problem = |error: jsonschema::ValidationError<'_>| {
            let text: String = error.to_string().chars().take(300).collect();
            format!("{what} {}: {text}", error.instance_path())
        };
        validator.iter_errors(value).take(MOST_PROBLEMS).map(problem).collect()
    }

    /// The definitions that a schema leads to: compiling all of them each time would take long.
    fn needed(&self, schema: &Value) -> Map<String, Value> {
        let mut needed = Map::new();
        let mut todo = references(schema);
        while let Some(name) = todo.pop() {
            if let Some(definition) =
                self.definitions.get(name).filter(|_| !needed.contains_key(name))
            {
                needed.insert(name.to_owned(), definition.clone());
                todo.extend(references(definition));
            }
        }
        needed
    }

    fn validator(&self, name: &str, schema: &Value) -> Arc<Validator> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let found = compiled.entry(name.to_owned()).or_insert_with(|| {
            let whole = json!({ "allOf": [schema], "$defs": self.needed(schema) });
            let validator = jsonschema::validator_for(&whole);
            Arc::new(validator.expect("the schemas that were cut out are whole"))
        });
        Arc::clone(found)
    }
}

/// The names of the definitions that a schema refers to.
fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|name| name.strip_prefix("#/$defs/"));
            own.into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Whether a path fits a template; a parameter that may hold slashes takes as many parts as it must.
fn fits(parts: &[String], segments: &[String]) -> bool {
    match (parts, segments) {
        ([], []) => true,
        // The root of the repository is a path too.
        ([part], []) => part == "{path}",
        ([part, parts @ ..], [_, rest @ ..]) if LONG.contains(&part.as_str()) => {
            (0..=rest.len()).any(|more| fits(parts, &rest[more..]))
        }
        ([part, parts @ ..], [segment, rest @ ..]) => {
            (part.starts_with('{') || part == segment) && fits(parts, rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        method: &str,
        path: &str,
        sent: Value,
        status: u16,
        answered: Value,
    ) -> Option<String> {
        let segments: Vec<_> =
            path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let (sent, answered) = (&sent, &answered);
        violation(&Exchange { method, segments: &segments, sent, status, answered })
    }

    #[test]
    fn every_schema_that_was_cut_out_is_whole() {
        let all = GITHUB.routes.iter().flat_map(|route| {
            let body = route.operation.body.iter().map(|schema| ("body".to_owned(), schema));
            let answers = route.operation.answers.iter();
            let answers = answers.map(|(status, schema)| (status.clone(), schema));
            let described = answers.filter(|(_, schema)| !schema.is_null()).chain(body);
            described.map(|(part, schema)| (format!("{} {part}", route.name), schema))
        });
        let compiled: Vec<_> = all.map(|(name, schema)| GITHUB.validator(&name, schema)).collect();
        assert!(100 < compiled.len());
    }

    #[test]
    fn an_exchange_that_github_does_not_describe_is_told_with_its_place() {
        let dispatch = "/repos/octo/hello/actions/workflows/ci.yml/dispatches";
        let details = json!({ "workflow_run_id": 1, "run_url": "u", "html_url": "h" });
        let cases = [
            (("POST", dispatch), json!({ "ref": "main" }), 200, details.clone(), ""),
            (("POST", dispatch), json!({ "ref": "main" }), 204, Value::Null, ""),
            (
                ("POST", dispatch),
                json!({ "ref": 7 }),
                200,
                details.clone(),
                "request /ref: 7 is not of type",
            ),
            (
                ("POST", dispatch),
                json!({ "ref": "m", "input": {} }),
                200,
                details,
                "request /input: is not described",
            ),
            (
                ("POST", dispatch),
                json!({ "ref": "m" }),
                200,
                json!({ "workflow_run_id": "1" }),
                "answer /workflow_run_id",
            ),
            (("POST", dispatch), json!({ "ref": "m" }), 201, Value::Null, "described are 200, 204"),
            (("POST", dispatch), json!({ "ref": 7 }), 422, json!({ "message": "No" }), ""),
            (
                ("POST", dispatch),
                json!({}),
                422,
                json!({ "error": "No" }),
                "\"message\" is a required property",
            ),
            (
                ("GET", "/repos/octo/hello/moons"),
                Value::Null,
                200,
                json!({}),
                "emulators/openapi/routes.txt",
            ),
            (
                ("GET", "/repos/octo/hello/moons"),
                Value::Null,
                404,
                json!({ "message": "Not Found" }),
                "",
            ),
        ];
        for ((method, path), sent, status, answered, expected) in cases {
            let told = check(method, path, sent, status, answered).unwrap_or_default();
            assert!(
                told.contains(expected) && told.is_empty() == expected.is_empty(),
                "{expected}: {told}"
            );
        }
    }

    #[test]
    fn the_route_with_the_most_words_of_its_own_is_meant() {
        let named = |path: &str| {
            let segments: Vec<_> = path.split('/').skip(1).map(str::to_owned).collect();
            let (sent, answered) = (&Value::Null, &Value::Null);
            let exchange =
                Exchange { method: "GET", segments: &segments, sent, status: 200, answered };
            GITHUB.route(&exchange).map(|route| route.name.as_str())
        };
        let base = "/repos/octo/hello";
        let of = |rest: &str| {
            named(&format!("{base}{rest}")).map(|name| &name["GET /repos/{owner}/{repo}".len()..])
        };
        assert_eq!(of("/commits/fix/7/check-runs"), Some("/commits/{ref}/check-runs"));
        assert_eq!(of("/commits/fix/7"), Some("/commits/{ref}"));
        assert_eq!(of("/releases/latest"), Some("/releases/latest"));
        assert_eq!(of("/releases/7"), Some("/releases/{release_id}"));
        assert_eq!(of(""), Some(""));
        assert_eq!(of("/issues/7/moons"), None);
    }
}
