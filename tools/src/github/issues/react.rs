//! addReaction: reacts to an issue, a pull request or a comment.

use serde::Deserialize;
use serde_json::json;

use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::schemas::{choice, number};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned};

const REACTIONS: [&str; 8] = ["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"];

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    number: Option<u64>,
    comment_id: Option<u64>,
    content: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Reaction {
    id: u64,
    content: String,
}

pub(super) fn tool() -> Tool<Github> {
    let properties = json!({
        "number": number("The number of the issue or pull request"),
        "comment_id": number("The id of a comment on one, instead of number"),
        "content": choice(&REACTIONS, "The reaction"),
    });
    let output = json!({ "id": { "type": "integer" }, "content": { "type": "string" } });
    let spec = ToolSpec {
        name: "addReaction",
        title: "Add reaction",
        description: "Reacts to an issue, a pull request or a comment on one in a GitHub repository. The same reaction is \
                      there once.",
        input: changing_arguments(properties, &["content"]),
        output: changing_result(output, &["id", "content"]),
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    };
    Tool { spec, run: |github, call| Box::pin(async move { add_reaction(&github, &call).await }) }
}

async fn add_reaction(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let route = match (arguments.number, arguments.comment_id) {
        (Some(number), None) => format!("/issues/{number}/reactions"),
        (None, Some(id)) => format!("/issues/comments/{id}/reactions"),
        _ => {
            let message = "exactly one of number and comment_id says what to react to";
            return Err(ToolError::new(Code::InvalidArgument, message).hint("give one of them"));
        }
    };
    let repository = github.open(call, &arguments.target).await?;
    if arguments.dry_run {
        return Ok(planned(vec![format!("react with {}", arguments.content)], json!({})));
    }
    let body = json!({ "content": arguments.content });
    let (reaction, created) = repository.post_or_find::<Reaction>(&route, &body).await?;
    Ok(json!({
        "id": reaction.id, "content": reaction.content, "created": created, "warnings": [],
    }))
}
