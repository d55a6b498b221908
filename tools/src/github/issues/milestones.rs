//! Milestones by their number or their title.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Code, ToolError};
use crate::github::client::Repository;

/// How a call names a milestone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::github) enum Milestone {
    Number(u64),
    Title(String),
}

#[derive(Deserialize)]
struct Known {
    number: u64,
    title: String,
}

impl Milestone {
    /// The schema of the argument.
    pub(in crate::github) fn schema() -> Value {
        json!({ "type": ["integer", "string"], "minimum": 1, "minLength": 1, "description": "The number or the title of a milestone" })
    }
}

impl Repository {
    /// The number of a milestone. A title wins over a number that is written as text.
    pub(in crate::github) async fn milestone(&self, named: &Milestone) -> Result<u64, ToolError> {
        let title = match named {
            Milestone::Number(number) => return Ok(*number),
            Milestone::Title(title) => title.trim(),
        };
        let known = self.collect::<Known>("/milestones?state=all").await?.items;
        let fits = |milestone: &&Known| milestone.title.eq_ignore_ascii_case(title);
        let found = known.iter().find(fits).map(|milestone| milestone.number);
        let number = found.or_else(|| title.parse().ok());
        number.ok_or_else(|| unknown(title, &known))
    }
}

fn unknown(title: &str, known: &[Known]) -> ToolError {
    let titles: Vec<_> = known.iter().map(|milestone| milestone.title.as_str()).collect();
    let there = if titles.is_empty() { "there is none yet".to_owned() } else { titles.join(", ") };
    let message = format!("no milestone is called {title:?}");
    ToolError::new(Code::InvalidArgument, message)
        .hint(format!("milestones of this repository: {there}"))
}
