//! createPullRequest: opens a pull request, or finds it opened.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::contract::text::without_invisible;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::bodies::{carries, finished};
use crate::github::client::Repository;
use crate::github::issues::MilestoneName;
use crate::github::names::{marker, query};
use crate::github::refs::{Force, check_name};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

const EMPTY_COMMIT_MESSAGE: &str = "Start work";

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    title: String,
    head: String,
    base: Option<String>,
    body: Option<String>,
    draft: Option<bool>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    reviewers: Vec<String>,
    #[serde(default)]
    team_reviewers: Vec<String>,
    #[serde(default)]
    assignees: Vec<String>,
    milestone: Option<MilestoneName>,
    maintainer_can_modify: Option<bool>,
    #[serde(default)]
    update_existing: bool,
    #[serde(default)]
    if_no_commits: IfNoCommits,
    #[serde(default)]
    dry_run: bool,
}

/// What is done about a head that has nothing that the base lacks.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum IfNoCommits {
    /// It is refused, as GitHub does.
    #[default]
    Fail,
    /// The head gets one commit that changes nothing.
    EmptyCommit,
}

/// A pull request as GitHub answers it, as far as we read it.
#[derive(Deserialize)]
struct Pull {
    number: u64,
    title: String,
    state: String,
    #[serde(default)]
    draft: bool,
    html_url: String,
    body: Option<String>,
    head: Side,
    base: Side,
    created_at: String,
}

#[derive(Deserialize, Serialize)]
struct Side {
    #[serde(rename = "ref")]
    branch: String,
    sha: String,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { create_pull_request(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let texts =
        |what: &str| json!({ "type": "array", "items": { "type": "string" }, "description": what });
    let properties = json!({
        "title": text("The title"),
        "head": text("The branch to be merged, or owner:branch when it is in a fork"),
        "base": text("The branch to merge into; the default branch when left out"),
        "body": { "type": "string", "description": "The description, in Markdown" },
        "draft": { "type": "boolean", "default": false },
        "labels": texts("Labels to add"),
        "reviewers": texts("Logins to ask for a review"),
        "team_reviewers": texts("Teams to ask for a review"),
        "assignees": texts("Logins to assign"),
        "milestone": MilestoneName::schema(),
        "maintainer_can_modify": { "type": "boolean" },
        "update_existing": {
            "type": "boolean", "default": false,
            "description": "Give an open pull request that is found this title and body",
        },
        "if_no_commits": {
            "type": "string", "enum": ["fail", "empty_commit"], "default": "fail",
            "description": "What to do when head has no commit that base lacks: refuse, or put one empty commit on head first",
        },
    });
    ToolSpec {
        name: "createPullRequest",
        title: "Create pull request",
        description: "Opens a pull request in a GitHub repository, or returns the open one for the same head and base.",
        input: changing_arguments(properties, &["title", "head"]),
        output: output(),
        destructive: false,
        open_world: true,
        retry_class: RetryClass::Idempotent,
        aliases: &[],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    let side = json!({ "type": "object", "properties": { "ref": text, "sha": text } });
    let properties = json!({
        "number": { "type": "integer" }, "title": text, "state": text, "draft": { "type": "boolean" },
        "html_url": text, "head": side, "base": side, "created_at": text,
    });
    changing_result(
        properties,
        &["number", "title", "state", "draft", "html_url", "head", "base", "created_at"],
    )
}

async fn create_pull_request(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let base = match &arguments.base {
        Some(base) => base.clone(),
        None => repository.default_branch().await?,
    };
    let milestone = match &arguments.milestone {
        Some(named) => Some(repository.milestone(named).await?),
        None => None,
    };
    let opener = Opener::new(&repository, &arguments, call, base, milestone)?;
    if arguments.dry_run {
        return opener.plan().await;
    }
    let (pull, created) = match opener.find_earlier().await? {
        Some(earlier) => (earlier, false),
        None => opener.open_or_find().await?,
    };
    let warnings = opener.decorate(&pull).await?;
    Ok(pull.shape(created, warnings))
}

/// One call at work.
struct Opener<'a> {
    repository: &'a Repository,
    arguments: &'a Arguments,
    call: &'a Call,
    /// The owner of the repository that head is in.
    head_owner: &'a str,
    head: &'a str,
    base: String,
    milestone: Option<u64>,
}

impl<'a> Opener<'a> {
    fn new(
        repository: &'a Repository,
        arguments: &'a Arguments,
        call: &'a Call,
        base: String,
        milestone: Option<u64>,
    ) -> Result<Self, ToolError> {
        let (head_owner, head) =
            arguments.head.split_once(':').unwrap_or((&repository.owner, &arguments.head));
        check_name(head)?;
        check_name(&base)?;
        Ok(Self { repository, arguments, call, head_owner, head, base, milestone })
    }

    /// The pull request that an earlier attempt of this call opened, whatever became of it.
    async fn find_earlier(&self) -> Result<Option<Pull>, ToolError> {
        let Some(key) = self.call.key_to_look_up() else { return Ok(None) };
        let marker = marker(key);
        let pulls = self.list("all").await?;
        Ok(pulls.into_iter().find(|pull| carries(pull.body.as_deref(), &marker)))
    }

    async fn find_open(&self) -> Result<Option<Pull>, ToolError> {
        Ok(self.list("open").await?.into_iter().next())
    }

    async fn list(&self, state: &str) -> Result<Vec<Pull>, ToolError> {
        let head = query(&format!("{}:{}", self.head_owner, self.head));
        let route =
            format!("/pulls?head={head}&base={}&state={state}&per_page=100", query(&self.base));
        self.repository.get(&route).await
    }

    async fn open_or_find(&self) -> Result<(Pull, bool), ToolError> {
        let refused = match self.open().await {
            Ok(pull) => return Ok((pull, true)),
            Err(error) if error.status() == Some(422) => error,
            Err(error) => return Err(error),
        };
        // The text may change: what counts is what is there.
        if let Some(pull) = self.find_open().await? {
            return Ok((self.updated(pull).await?, false));
        }
        if !self.has_no_commits(&refused).await? {
            return Err(refused);
        }
        self.add_empty_commit(refused).await?;
        Ok((self.open().await?, true))
    }

    async fn open(&self) -> Result<Pull, ToolError> {
        let arguments = self.arguments;
        let mut body =
            json!({ "title": arguments.title, "head": arguments.head, "base": self.base });
        let optional = [
            ("body", self.body().map(Value::from)),
            ("draft", arguments.draft.map(Value::from)),
            ("maintainer_can_modify", arguments.maintainer_can_modify.map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        self.repository.post("/pulls", &body).await
    }

    /// The body with the mark by which a later attempt finds it.
    fn body(&self) -> Option<String> {
        let marks: Vec<_> = self.call.idempotency_key.as_deref().map(marker).into_iter().collect();
        if marks.is_empty() && self.arguments.body.is_none() {
            return None;
        }
        let text = self.arguments.body.as_deref().unwrap_or_default();
        Some(finished(text, &marks, &mut Vec::new()))
    }

    async fn updated(&self, pull: Pull) -> Result<Pull, ToolError> {
        if !self.arguments.update_existing {
            return Ok(pull);
        }
        let mut body = json!({ "title": self.arguments.title });
        if self.arguments.body.is_some() {
            body["body"] = self.body().into();
        }
        self.repository.patch(&format!("/pulls/{}", pull.number), &body).await
    }

    async fn has_no_commits(&self, refused: &ToolError) -> Result<bool, ToolError> {
        if self.head_owner != self.repository.owner {
            return Ok(refused.says(422, "no commits between"));
        }
        match self.repository.compare(&self.base, self.head).await {
            Ok(comparison) => Ok(comparison.ahead_by == 0),
            // One of the two does not exist: GitHub's refusal says which.
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts one commit that changes nothing on head, which has nothing that base lacks.
    async fn add_empty_commit(&self, refused: ToolError) -> Result<(), ToolError> {
        if self.arguments.if_no_commits == IfNoCommits::Fail {
            return Err(self.no_changes(
                refused,
                "commit something to head first, or give if_no_commits=empty_commit",
            ));
        }
        let elsewhere = self.head_owner != self.repository.owner;
        if elsewhere
            || self.head == self.base
            || self.head == self.repository.default_branch().await?
        {
            return Err(self.no_changes(
                refused,
                "an empty commit is put only on a branch of its own in this repository",
            ));
        }
        let Some(head) = self.repository.find_branch(self.head).await? else { return Err(refused) };
        let commit = self.repository.git_commit(&head.object.sha).await?;
        let key = self.call.idempotency_key.as_deref();
        let message = EMPTY_COMMIT_MESSAGE;
        let empty =
            self.repository.create_commit(message, &commit.tree.sha, &commit.sha, key).await?;
        self.repository.move_branch(self.head, &empty.sha, Force::No).await?;
        Ok(())
    }

    fn no_changes(&self, refused: ToolError, hint: &str) -> ToolError {
        let message = format!("{} has no commits that {} lacks", self.head, self.base);
        let mut error = ToolError::new(Code::FailedPrecondition, message).hint(hint);
        error.provider = refused.provider;
        if let Some(provider) = &mut error.provider {
            provider.reason = Some("no_changes");
        }
        error
    }

    /// Adds labels, reviewers, assignees and the milestone. What GitHub refuses for
    /// good becomes a warning, since the pull request is there; what may work later
    /// fails the call, which finds the pull request when it is made again.
    async fn decorate(&self, pull: &Pull) -> Result<Vec<String>, ToolError> {
        let mut warnings = Vec::new();
        for (what, request) in self.decorations(pull.number) {
            let done: Result<Value, _> = match request {
                Decoration::Post(route, body) => self.repository.post(&route, &body).await,
                Decoration::Patch(route, body) => self.repository.patch(&route, &body).await,
            };
            match done {
                Err(error) if error.retryable => return Err(error),
                Err(error) => warnings.push(format!("{what} not set: {error}")),
                Ok(_) => {}
            }
        }
        Ok(warnings)
    }

    fn decorations(&self, number: u64) -> Vec<(&'static str, Decoration)> {
        let arguments = self.arguments;
        let issue = format!("/issues/{number}");
        let mut all = Vec::new();
        if !arguments.labels.is_empty() {
            all.push((
                "labels",
                Decoration::Post(format!("{issue}/labels"), json!({ "labels": arguments.labels })),
            ));
        }
        if !arguments.assignees.is_empty() {
            let body = json!({ "assignees": arguments.assignees });
            all.push(("assignees", Decoration::Post(format!("{issue}/assignees"), body)));
        }
        if !arguments.reviewers.is_empty() || !arguments.team_reviewers.is_empty() {
            let body = json!({ "reviewers": arguments.reviewers, "team_reviewers": arguments.team_reviewers });
            all.push((
                "reviewers",
                Decoration::Post(format!("/pulls/{number}/requested_reviewers"), body),
            ));
        }
        if let Some(milestone) = self.milestone {
            all.push(("milestone", Decoration::Patch(issue, json!({ "milestone": milestone }))));
        }
        all
    }

    async fn plan(&self) -> Answer {
        let mut known = Map::new();
        let mut plan = Vec::new();
        if let Some(pull) = self.find_open().await? {
            plan.push(format!("return the open pull request #{}", pull.number));
            known.insert("number".to_owned(), pull.number.into());
            known.insert("html_url".to_owned(), pull.html_url.into());
        } else {
            if self.head_owner == self.repository.owner {
                plan.extend(self.plan_empty_commit().await?);
            }
            plan.push(format!("open a pull request from {} to {}", self.arguments.head, self.base));
        }
        plan.extend(self.decorations(0).into_iter().map(|(what, _)| format!("set its {what}")));
        Ok(planned(plan, Value::Object(known)))
    }

    async fn plan_empty_commit(&self) -> Result<Option<String>, ToolError> {
        if 0 < self.repository.compare(&self.base, self.head).await?.ahead_by {
            return Ok(None);
        }
        if self.arguments.if_no_commits == IfNoCommits::Fail {
            let refused = ToolError::new(Code::FailedPrecondition, "no commits");
            return Err(self.no_changes(
                refused,
                "commit something to head first, or give if_no_commits=empty_commit",
            ));
        }
        Ok(Some(format!("put an empty commit on {}", self.head)))
    }
}

/// A request that adds to a pull request.
enum Decoration {
    Post(String, Value),
    Patch(String, Value),
}

impl Pull {
    fn shape(self, created: bool, warnings: Vec<String>) -> Value {
        json!({
            "number": self.number, "title": without_invisible(&self.title), "state": self.state, "draft": self.draft,
            "html_url": self.html_url, "head": self.head, "base": self.base, "created_at": self.created_at,
            "created": created, "warnings": warnings,
        })
    }
}
