//! Holds requests and answers against the models that AWS publishes.
//!
//! `aws-models/*.json` are cut out of botocore by `aws-models/extract.py`.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

const ECS: &str = include_str!("../../aws-models/ecs.json");
const LOGS: &str = include_str!("../../aws-models/logs.json");

/// What any operation may be refused with.
const ALWAYS: [&str; 5] = [
    "AccessDeniedException",
    "InternalFailure",
    "MissingAuthenticationTokenException",
    "ThrottlingException",
    "UnknownOperationException",
];

/// The operations and shapes of a service.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) target: String,
    operations: HashMap<String, Operation>,
    shapes: HashMap<String, Shape>,
}

/// What an operation takes and gives.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    input: String,
    output: Option<String>,
    errors: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: HashMap<String, String>,
    #[serde(default, rename = "enum")]
    allowed: Vec<String>,
    member: Option<String>,
    value: Option<String>,
}

impl Model {
    /// The model of `ecs` or of `logs`.
    pub(super) fn of(service: &str) -> &'static Model {
        static MODELS: OnceLock<[Model; 2]> = OnceLock::new();
        let read = |text| serde_json::from_str(text).expect("the committed models can be read");
        let [ecs, logs] = MODELS.get_or_init(|| [read(ECS), read(LOGS)]);
        if service == "ecs" { ecs } else { logs }
    }

    pub(super) fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    pub(super) fn check_input(&self, operation: &Operation, input: &Value) -> Vec<String> {
        self.complaints(&operation.input, input)
    }

    pub(super) fn check_output(&self, operation: &Operation, output: &Value) -> Vec<String> {
        match &operation.output {
            Some(shape) => self.complaints(shape, output),
            None if output.as_object().is_none_or(serde_json::Map::is_empty) => Vec::new(),
            None => vec![format!("{output} where nothing is answered")],
        }
    }

    pub(super) fn check_error(&self, operation: &Operation, code: &str) -> Vec<String> {
        let known = ALWAYS.contains(&code) || operation.errors.iter().any(|error| error == code);
        if known { Vec::new() } else { vec![format!("{code} is no error of this operation")] }
    }

    fn complaints(&self, shape: &str, value: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        self.check(shape, value, shape, &mut complaints);
        complaints
    }

    fn check(&self, name: &str, value: &Value, path: &str, complaints: &mut Vec<String>) {
        let Some(shape) = self.shapes.get(name) else {
            complaints.push(format!("{path}: the shape {name} is not in the model"));
            return;
        };
        match (shape.kind.as_str(), value) {
            ("structure", Value::Object(fields)) => {
                self.check_fields(shape, fields, path, complaints)
            }
            ("list", Value::Array(items)) => {
                let member = shape.member.as_deref().unwrap_or_default();
                for (index, item) in items.iter().enumerate() {
                    self.check(member, item, &format!("{path}[{index}]"), complaints);
                }
            }
            ("map", Value::Object(fields)) => {
                let of = shape.value.as_deref().unwrap_or_default();
                for (key, item) in fields {
                    self.check(of, item, &format!("{path}.{key}"), complaints);
                }
            }
            ("string", Value::String(text)) => {
                if !shape.allowed.is_empty() && !shape.allowed.contains(text) {
                    let allowed = shape.allowed.join(", ");
                    complaints.push(format!("{path}: {text:?} is none of {allowed}"));
                }
            }
            ("boolean", Value::Bool(_)) => {}
            ("integer" | "long", Value::Number(number)) if !number.is_f64() => {}
            ("double" | "float" | "timestamp", Value::Number(_)) => {}
            (kind, other) => complaints.push(format!("{path}: {other} is no {kind}")),
        }
    }

    fn check_fields(
        &self,
        shape: &Shape,
        fields: &serde_json::Map<String, Value>,
        path: &str,
        complaints: &mut Vec<String>,
    ) {
        for key in shape.required.iter().filter(|key| !fields.contains_key(*key)) {
            complaints.push(format!("{path}.{key} is missing"));
        }
        for (key, value) in fields {
            match shape.members.get(key) {
                Some(member) => self.check(member, value, &format!("{path}.{key}"), complaints),
                None => complaints.push(format!("{path}.{key} is not in the model")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Model;

    fn complaints(operation: &str, output: &Value) -> Vec<String> {
        let model = Model::of("ecs");
        model.check_output(model.operation(operation).unwrap(), output)
    }

    #[test]
    fn an_answer_is_held_against_the_model() {
        let described = |service: Value| json!({ "services": [service], "failures": [] });
        let cases = [
            (described(json!({ "serviceName": "web", "desiredCount": 2 })), ""),
            (described(json!({ "name": "web" })), "services[0].name is not in the model"),
            (described(json!({ "desiredCount": "2" })), "desiredCount: \"2\" is no integer"),
            (described(json!({ "desiredCount": 2.5 })), "desiredCount: 2.5 is no integer"),
            (described(json!({ "createdAt": "today" })), "createdAt: \"today\" is no timestamp"),
            (described(json!({ "launchType": "CLOUD" })), "\"CLOUD\" is none of EC2, FARGATE"),
            (
                described(json!({ "deploymentController": {} })),
                "deploymentController.type is missing",
            ),
        ];
        for (output, complaint) in cases {
            let found = complaints("DescribeServices", &output).join("; ");
            assert_eq!(found.is_empty(), complaint.is_empty(), "{output}: {found}");
            assert!(found.contains(complaint), "{output}: {found}");
        }
    }

    #[test]
    fn an_error_must_be_one_of_the_operation() {
        let model = Model::of("ecs");
        let check = |code| model.check_error(model.operation("DescribeTasks").unwrap(), code);
        assert!(check("ClusterNotFoundException").is_empty());
        assert!(!check("ConflictException").is_empty());
    }
}
