//! createBranch: creates a branch, or finds it created.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::refs::{Force, Ref, at, check_name};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    branch: String,
    from: Option<String>,
    #[serde(default)]
    if_exists: IfExists,
    #[serde(default)]
    dry_run: bool,
}

/// What is done about a branch that is there.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum IfExists {
    /// It is taken if it is based on what was asked for.
    #[default]
    Reuse,
    /// It is in the way.
    Fail,
    /// It is moved to what was asked for, whatever it held.
    Reset,
}

/// What the branch is to start from.
struct Base {
    name: String,
    sha: String,
}

/// What is to be done about a branch that is there.
#[derive(Debug, PartialEq, Eq)]
enum Existing {
    /// It is what was asked for; this is the commit of the base it starts from.
    Fits { base_sha: String },
    /// It must be moved.
    Move,
    /// It stands in the way.
    Conflict,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { create_branch(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let properties = json!({
        "branch": text("The name of the new branch"),
        "from": text("The branch, tag or commit it starts from; the default branch when left out"),
        "if_exists": {
            "type": "string", "enum": ["reuse", "fail", "reset"], "default": "reuse",
            "description": "reuse: take a branch that holds the base; fail: refuse; reset: move it to the base, losing its own commits",
        },
    });
    ToolSpec {
        name: "createBranch",
        title: "Create branch",
        description: "Creates a branch in a GitHub repository from a branch, tag or commit. A branch that is there and \
                      based on the same is reused; only if_exists=reset moves one.",
        input: changing_arguments(properties, &["branch"]),
        output: output(),
        destructive: true,
        open_world: true,
        retry_class: RetryClass::Idempotent,
        aliases: &[],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    let properties = json!({
        "name": text, "ref": text,
        "sha": { "type": "string", "description": "The commit the branch is at" },
        "base_sha": { "type": "string", "description": "The commit of the base it starts from" },
        "url": text,
    });
    changing_result(properties, &["name", "ref", "sha", "base_sha", "url"])
}

async fn create_branch(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let branch =
        arguments.branch.strip_prefix("refs/heads/").unwrap_or(&arguments.branch).to_owned();
    check_name(&branch)?;
    let repository = github.open(call, &arguments.target).await?;
    let base = base(&repository, arguments.from).await?;
    let there = Branch { repository: &repository, name: &branch, base: &base };
    if arguments.dry_run {
        return there.plan(arguments.if_exists, call).await;
    }
    match repository.create_branch(&branch, &base.sha).await {
        Ok(created) => Ok(shape(&branch, &created, &base.sha, true)),
        Err(refused) if refused.status() == Some(422) => {
            // The text may change: what counts is whether the branch is there.
            let Some(found) = repository.find_branch(&branch).await? else { return Err(refused) };
            there.take(&found, arguments.if_exists, call).await
        }
        Err(error) => Err(error),
    }
}

async fn base(repository: &Repository, from: Option<String>) -> Result<Base, ToolError> {
    let name = match from {
        Some(from) => from,
        None => repository.default_branch().await?,
    };
    let sha = repository.resolve(&name).await?;
    Ok(Base { name, sha })
}

/// A branch, and what it is to be based on.
struct Branch<'a> {
    repository: &'a Repository,
    name: &'a str,
    base: &'a Base,
}

impl Branch<'_> {
    async fn take(&self, found: &Ref, if_exists: IfExists, call: &Call) -> Answer {
        match self.judge(found, if_exists, call).await? {
            Existing::Fits { base_sha } => Ok(shape(self.name, found, &base_sha, false)),
            Existing::Move if 1 < call.attempt => Err(self.moved_on(found)),
            Existing::Move => {
                self.refuse_default().await?;
                let moved =
                    self.repository.move_branch(self.name, &self.base.sha, Force::Yes).await?;
                Ok(shape(self.name, &moved, &self.base.sha, false))
            }
            Existing::Conflict => Err(self.conflict(found)),
        }
    }

    async fn judge(
        &self,
        found: &Ref,
        if_exists: IfExists,
        call: &Call,
    ) -> Result<Existing, ToolError> {
        if found.object.sha == self.base.sha {
            // An earlier attempt may have created it: then it is ours, also under `fail`.
            let ours = if_exists != IfExists::Fail || 1 < call.attempt;
            let fits = Existing::Fits { base_sha: self.base.sha.clone() };
            return Ok(if ours { fits } else { Existing::Conflict });
        }
        if if_exists == IfExists::Reset {
            return Ok(Existing::Move);
        }
        let comparison = self.repository.compare(&self.base.sha, &found.object.sha).await?;
        Ok(match (if_exists, comparison.ahead_by, comparison.behind_by) {
            (IfExists::Reuse, _, 0) => Existing::Fits { base_sha: self.base.sha.clone() },
            // The base moved on after an earlier attempt created the branch at where it was.
            (_, 0, _) if 1 < call.attempt => Existing::Fits { base_sha: found.object.sha.clone() },
            _ => Existing::Conflict,
        })
    }

    async fn refuse_default(&self) -> Result<(), ToolError> {
        if self.repository.default_branch().await? != self.name {
            return Ok(());
        }
        let message = format!("{} is the default branch and is not reset", self.name);
        Err(ToolError::new(Code::Guardrail, message).hint("give another branch name"))
    }

    fn conflict(&self, found: &Ref) -> ToolError {
        let base = at(&self.base.name, &self.base.sha);
        let same = found.object.sha == self.base.sha;
        let how =
            if same { format!("which is {base}") } else { format!("which is not simply {base}") };
        let message = format!("branch {} exists already, {how}", at(self.name, &found.object.sha));
        ToolError::new(Code::Conflict, message)
            .hint("use if_exists=reuse to take a branch that holds the base, if_exists=reset to move it, or another name")
    }

    /// An earlier attempt may have reset it, and then what it holds was pushed since.
    fn moved_on(&self, found: &Ref) -> ToolError {
        let base = at(&self.base.name, &self.base.sha);
        let message = format!(
            "branch {} is not {base}; an earlier attempt may have reset it, so what it holds may be newer and is kept",
            at(self.name, &found.object.sha)
        );
        ToolError::new(Code::Conflict, message)
            .hint("look at the branch and, if its commits can go, run the step again by hand")
    }

    async fn plan(&self, if_exists: IfExists, call: &Call) -> Answer {
        let base = at(&self.base.name, &self.base.sha);
        let existing = match self.repository.find_branch(self.name).await? {
            Some(found) => Some((self.judge(&found, if_exists, call).await?, found)),
            None => None,
        };
        let (step, sha) = match existing {
            None => (format!("create branch {} at {base}", self.name), self.base.sha.clone()),
            Some((Existing::Fits { .. }, found)) => {
                (format!("reuse branch {}", at(self.name, &found.object.sha)), found.object.sha)
            }
            Some((Existing::Move, found)) => {
                self.refuse_default().await?;
                (
                    format!("move branch {} to {base}", at(self.name, &found.object.sha)),
                    self.base.sha.clone(),
                )
            }
            Some((Existing::Conflict, found)) => return Err(self.conflict(&found)),
        };
        let known = json!({
            "name": self.name, "ref": format!("refs/heads/{}", self.name), "sha": sha, "base_sha": self.base.sha,
        });
        Ok(planned(vec![step], known))
    }
}

fn shape(name: &str, found: &Ref, base_sha: &str, created: bool) -> Value {
    json!({
        "name": name, "ref": found.name, "sha": found.object.sha, "base_sha": base_sha, "url": found.url,
        "created": created, "warnings": [],
    })
}
