//! getUserPermission: what a person may do in a repository.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, Code, Tool, ToolError, ToolSpec};
use crate::github::names::is_plain_name;
use crate::github::target::Target;
use crate::github::{Github, arguments, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    username: String,
}

#[derive(Deserialize)]
struct Permission {
    permission: String,
    #[serde(default)]
    role_name: String,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: ToolSpec {
            name: "getUserPermission",
            title: "Get user permission",
            description: "Reads what a user may do in a GitHub repository: admin, write, read or none. Ask it before \
                          doing what a comment asks for.",
            input: arguments(json!({ "username": text("The user's login") }), &["username"]),
            output: output(),
            aliases: &[("username", &["user", "login"])],
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { read(&github, &call).await }),
    }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object", "required": ["username", "permission", "role_name"],
        "properties": {
            "username": text,
            "permission": { "type": "string", "enum": ["admin", "write", "read", "none"] },
            "role_name": { "type": "string", "description": "The finer role, such as maintain or triage" },
        },
    })
}

async fn read(github: &Github, call: &Call) -> Answer {
    let Arguments { target, username } = call.parse()?;
    let login = username.trim_start_matches('@');
    // Bots have brackets at the end of their logins.
    let (plain, ends) =
        login.strip_suffix("[bot]").map_or((login, ""), |plain| (plain, "%5Bbot%5D"));
    if !is_plain_name(plain) {
        let message = format!("{username:?} cannot be a user's login");
        return Err(
            ToolError::new(Code::InvalidArgument, message).hint("give the login, such as octocat")
        );
    }
    let repository = github.open(call, &target).await?;
    let route = format!("/collaborators/{plain}{ends}/permission");
    let found = match repository.find::<Permission>(&route).await? {
        Some(found) => found,
        None => {
            // Either there is no such user, or the repository is not to be seen: then this fails as it should.
            repository.default_branch().await?;
            Permission { permission: "none".to_owned(), role_name: String::new() }
        }
    };
    // Whatever GitHub adds one day is not more than the least that this promises.
    let known = ["admin", "write", "read", "none"].contains(&found.permission.as_str());
    let permission = if known { found.permission } else { "none".to_owned() };
    Ok(json!({ "username": login, "permission": permission, "role_name": found.role_name }))
}
