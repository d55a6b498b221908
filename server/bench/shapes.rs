//! The workflows that are run to measure: what each shape is made of.

use serde_json::json;

/// What is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// Five calls of a built-in tool that does nothing, one after the other.
    N5,
    /// Five calls of a tool server's `echo`, one after the other.
    W5,
    /// One call, twenty side by side, and one that joins what they said.
    F20,
    /// Waits for a person.
    Park,
}

/// How a tool server's `echo` says what it was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Echo {
    /// As a text.
    Text,
    /// As an object with a `message`.
    Object,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 4] = [Shape::N5, Shape::W5, Shape::F20, Shape::Park];

    /// How it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::N5 => "n5",
            Shape::W5 => "w5",
            Shape::F20 => "f20",
            Shape::Park => "park",
        }
    }

    /// Its workflow's name.
    pub(super) fn workflow(self) -> &'static str {
        match self {
            Shape::N5 => "bench_n5",
            Shape::W5 => "bench_w5",
            Shape::F20 => "bench_f20",
            Shape::Park => "bench_park",
        }
    }

    /// Which tool its steps call; none for one that only waits.
    pub(super) fn tool(self, has_echo: bool) -> Option<&'static str> {
        match self {
            Shape::N5 => Some("demo.noop"),
            Shape::W5 => Some("bench.echo"),
            Shape::F20 if has_echo => Some("bench.echo"),
            Shape::F20 => Some("demo.noop"),
            Shape::Park => None,
        }
    }

    /// Its document; none where there is no tool server to call.
    pub(super) fn document(self, echo: Option<Echo>) -> Option<String> {
        let name = self.workflow();
        let document = match (self, echo) {
            (Shape::N5, _) => {
                json!({ "name": name, "steps": (0..5).map(noop).collect::<Vec<_>>() })
            }
            (Shape::W5, None) => return None,
            (Shape::W5, Some(echo)) => json!({
                "name": name,
                "input": { "type": "object", "properties": { "message": { "type": "string" } } },
                "steps": (0..5).map(|number| said(number, echo)).collect::<Vec<_>>(),
            }),
            (Shape::F20, None) => json!({
                "name": name,
                "steps": [
                    noop(0),
                    { "name": "fan", "forEach": (0..20).collect::<Vec<_>>(), "maxParallel": 20, "tool": "demo.noop" },
                    noop(2),
                ],
            }),
            (Shape::F20, Some(echo)) => fan(name, echo),
            (Shape::Park, _) => json!({
                "name": name,
                "steps": [{ "name": "sure", "approval": { "message": "Go on?" } }],
            }),
        };
        Some(document.to_string())
    }
}

/// A workflow that ends without having called anything: what finished executions are made after.
pub(super) fn finished() -> (&'static str, String) {
    let name = "bench_finished";
    (name, json!({ "name": name, "steps": [{ "name": "set", "set": { "n": 1 } }] }).to_string())
}

fn noop(number: usize) -> serde_json::Value {
    json!({ "name": format!("s{number}"), "tool": "demo.noop" })
}

/// Says again what the step before it said.
fn said(number: usize, echo: Echo) -> serde_json::Value {
    let message = match number {
        0 => "${input.message}".to_owned(),
        _ => format!("${{{}}}", heard(&format!("steps.s{}", number - 1), echo)),
    };
    json!({ "name": format!("s{number}"), "tool": "bench.echo", "params": { "message": message } })
}

fn fan(name: &str, echo: Echo) -> serde_json::Value {
    let first = heard("steps.s0", echo);
    let each = heard("one", echo);
    json!({
        "name": name,
        "input": { "type": "object", "properties": { "message": { "type": "string" } } },
        "steps": [
            said(0, echo),
            {
                "name": "fan", "forEach": (0..20).collect::<Vec<_>>(), "maxParallel": 20, "tool": "bench.echo",
                "params": { "message": format!("${{{first}}}-${{item}}") },
            },
            {
                "name": "join", "tool": "bench.echo",
                "params": { "message": format!("${{steps.fan.map(one, {each}).join(',')}}") },
            },
        ],
    })
}

/// The expression for what a step said.
fn heard(result: &str, echo: Echo) -> String {
    match echo {
        Echo::Text => result.to_owned(),
        Echo::Object => format!("{result}.message"),
    }
}
