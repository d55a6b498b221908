//! commitFileChanges: one commit with several file changes, made once.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Repository;
use crate::github::names::{has_trailer, is_file_path, path};
use crate::github::refs::{Force, GitCommit, ListedCommit, Sha, at, check_name};
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned, text};

/// How often the commit is rebuilt when others push at the same time.
const REBUILDS: usize = 3;
const PLAIN_FILE: &str = "100644";

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    branch: String,
    message: String,
    files: Vec<File>,
    expected_head_sha: Option<String>,
    create_branch_from: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct File {
    path: String,
    content: Option<String>,
    content_base64: Option<String>,
    #[serde(default)]
    delete: bool,
    mode: Option<String>,
}

/// What happens to one file.
enum Change<'a> {
    Write(&'a str),
    WriteBytes(&'a str),
    Delete,
}

/// What a new commit follows.
struct Head {
    commit: GitCommit,
    /// Whether the branch itself must be created.
    new_branch: bool,
}

#[derive(Deserialize)]
struct Tree {
    tree: Vec<Entry>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The files before the change: their modes, and whether these are all.
struct Files {
    modes: BTreeMap<String, String>,
    complete: bool,
}

/// A change to a tree, and what should be said about it.
struct TreeChange {
    entries: Vec<Value>,
    plan: Vec<String>,
    warnings: Vec<String>,
}

pub(super) fn tool() -> Tool<Github> {
    Tool {
        spec: spec(),
        run: |github, call| Box::pin(async move { commit_file_changes(&github, &call).await }),
    }
}

fn spec() -> ToolSpec {
    let file = json!({
        "type": "object", "required": ["path"], "additionalProperties": false,
        "properties": {
            "path": text("The file, relative to the root of the repository"),
            "content": { "type": "string", "description": "Its new text" },
            "content_base64": { "type": "string", "description": "Its new bytes, in base64; instead of content" },
            "delete": { "type": "boolean", "description": "Delete it; instead of content" },
            "mode": {
                "type": "string", "enum": ["100644", "100755", "120000"],
                "description": "100755 is executable, 120000 a symbolic link; an existing file keeps its own",
            },
        },
    });
    let properties = json!({
        "branch": text("The branch to commit to"),
        "message": text("The commit message"),
        "files": { "type": "array", "minItems": 1, "items": file, "description": "What to change" },
        "expected_head_sha": text("Refuse when the branch is not at this commit"),
        "create_branch_from": text("Create the branch from this branch, tag or commit when it does not exist"),
    });
    ToolSpec {
        name: "commitFileChanges",
        title: "Commit file changes",
        description: "Makes one commit with several file changes (write, delete) on a branch of a GitHub repository, \
                      without a checkout.",
        input: changing_arguments(properties, &["branch", "message", "files"]),
        output: output(),
        destructive: false,
        open_world: true,
        retry_class: RetryClass::Keyed,
        aliases: &[],
        ..ToolSpec::default()
    }
}

fn output() -> Value {
    let text = json!({ "type": "string" });
    let properties = json!({
        "commit_sha": text, "commit_url": text, "tree_sha": text, "message": text,
        "files_changed": { "type": "integer", "description": "How many files the call named" },
    });
    changing_result(properties, &["commit_sha", "commit_url", "tree_sha", "files_changed"])
}

async fn commit_file_changes(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    check_name(&arguments.branch)?;
    check_files(&arguments.files)?;
    let repository = github.open(call, &arguments.target).await?;
    let committer = Committer { repository: &repository, arguments: &arguments, call };
    if let Some(found) = committer.find_earlier().await? {
        return Ok(committer.shape(
            &found.sha,
            &found.html_url,
            &found.commit.tree.sha,
            false,
            Vec::new(),
        ));
    }
    if arguments.dry_run {
        return committer.plan().await;
    }
    for _ in 0..REBUILDS {
        if let Some(answer) = committer.commit().await? {
            return Ok(answer);
        }
    }
    let message = format!("branch {} kept moving while the commit was made", arguments.branch);
    let mut error = ToolError::new(Code::Conflict, message)
        .hint("call again when others have stopped pushing to it");
    error.retryable = true;
    Err(error)
}

fn check_files(files: &[File]) -> Result<(), ToolError> {
    let mut seen = BTreeSet::new();
    for file in files {
        let invalid = |what: &str| {
            Err(ToolError::new(Code::InvalidArgument, format!("file {:?} {what}", file.path))
                .hint("give each path once, relative to the root, with exactly one of content, content_base64 or delete"))
        };
        let ways = [file.content.is_some(), file.content_base64.is_some(), file.delete];
        match ways.iter().filter(|given| **given).count() {
            0 => return invalid("has neither content nor content_base64 nor delete"),
            1 => {}
            _ => return invalid("has more than one of content, content_base64 and delete"),
        }
        if !is_file_path(&file.path) {
            return invalid("is not a path inside the repository");
        }
        if !seen.insert(&file.path) {
            return invalid("is given twice");
        }
        if file
            .content_base64
            .as_ref()
            .is_some_and(|content| BASE64_STANDARD.decode(content.trim()).is_err())
        {
            return invalid("has a content_base64 that is not base64");
        }
    }
    Ok(())
}

impl File {
    fn change(&self) -> Change<'_> {
        match (&self.content, &self.content_base64) {
            (Some(content), _) => Change::Write(content),
            (None, Some(content)) => Change::WriteBytes(content.trim()),
            (None, None) => Change::Delete,
        }
    }
}

/// One call at work.
struct Committer<'a> {
    repository: &'a Repository,
    arguments: &'a Arguments,
    call: &'a Call,
}

impl Committer<'_> {
    /// The commit that an earlier attempt of this call made.
    async fn find_earlier(&self) -> Result<Option<ListedCommit>, ToolError> {
        let Some(key) = self.call.key_to_look_up() else { return Ok(None) };
        let recent = self.repository.recent_commits(&self.arguments.branch).await?;
        Ok(recent.into_iter().find(|commit| has_trailer(&commit.commit.message, key)))
    }

    /// Makes the commit, or nothing when the branch moved meanwhile.
    async fn commit(&self) -> Result<Option<Value>, ToolError> {
        let head = self.head().await?;
        let change = self.tree_change(&head.commit.tree.sha).await?;
        let tree = self.create_tree(&head, &change).await?;
        if tree == head.commit.tree.sha && !head.new_branch {
            return Ok(Some(self.unchanged(&head.commit, change.warnings)));
        }
        let key = self.call.idempotency_key.as_deref();
        let message = &self.arguments.message;
        let commit = self.repository.create_commit(message, &tree, &head.commit.sha, key).await?;
        if !self.publish(&head, &commit.sha).await? {
            return Ok(None);
        }
        Ok(Some(self.shape(&commit.sha, &commit.html_url, &tree, true, change.warnings)))
    }

    async fn head(&self) -> Result<Head, ToolError> {
        let branch = &self.arguments.branch;
        let (sha, new_branch) = match self.repository.find_branch(branch).await? {
            Some(found) => (found.object.sha, false),
            None => (self.start().await?, true),
        };
        match &self.arguments.expected_head_sha {
            Some(expected) if !sha.eq_ignore_ascii_case(expected) => {
                Err(moved(branch, &sha, expected))
            }
            _ => Ok(Head { commit: self.repository.git_commit(&sha).await?, new_branch }),
        }
    }

    /// Where a branch that does not exist starts.
    async fn start(&self) -> Result<String, ToolError> {
        let Some(from) = &self.arguments.create_branch_from else {
            let message = format!(
                "{} has no branch {:?}",
                self.repository.full_name(),
                self.arguments.branch
            );
            return Err(ToolError::new(Code::NotFound, message)
                .hint("create it first with createBranch, or give create_branch_from"));
        };
        self.repository.resolve(from).await
    }

    async fn tree_change(&self, tree: &str) -> Result<TreeChange, ToolError> {
        let listed: Tree =
            self.repository.get(&format!("/git/trees/{}?recursive=1", path(tree))).await?;
        let files = Files::from(listed);
        let mut change = TreeChange { entries: Vec::new(), plan: Vec::new(), warnings: Vec::new() };
        for file in &self.arguments.files {
            change.add(file, &files);
        }
        Ok(change)
    }

    /// Writes the new tree and returns its sha.
    async fn create_tree(&self, head: &Head, change: &TreeChange) -> Result<String, ToolError> {
        let base = &head.commit.tree.sha;
        if change.entries.is_empty() {
            return Ok(base.clone());
        }
        let mut entries = Vec::with_capacity(change.entries.len());
        for entry in &change.entries {
            entries.push(self.with_blob(entry.clone()).await?);
        }
        let tree: Sha = self
            .repository
            .post("/git/trees", &json!({ "base_tree": base, "tree": entries }))
            .await?;
        Ok(tree.sha)
    }

    /// Bytes must be stored before a tree can name them; text travels in the tree.
    async fn with_blob(&self, mut entry: Value) -> Result<Value, ToolError> {
        if let Some(content) =
            entry.as_object_mut().and_then(|entry| entry.remove("content_base64"))
        {
            let body = json!({ "content": content, "encoding": "base64" });
            let blob: Sha = self.repository.post("/git/blobs", &body).await?;
            entry["sha"] = blob.sha.into();
        }
        Ok(entry)
    }

    /// Puts the branch at the commit; false when the branch moved meanwhile.
    async fn publish(&self, head: &Head, sha: &str) -> Result<bool, ToolError> {
        let branch = &self.arguments.branch;
        let published = if head.new_branch {
            self.repository.create_branch(branch, sha).await
        } else {
            self.repository.move_branch(branch, sha, Force::No).await
        };
        match published {
            Ok(_) => Ok(true),
            Err(refused) if refused.status() == Some(422) => self.still_at(head, refused).await,
            Err(error) => Err(error),
        }
    }

    /// A refusal is taken as "moved meanwhile" only if the branch did move.
    async fn still_at(&self, head: &Head, refused: ToolError) -> Result<bool, ToolError> {
        let now = self.repository.find_branch(&self.arguments.branch).await?;
        let unmoved = match &now {
            Some(now) => !head.new_branch && now.object.sha == head.commit.sha,
            None => head.new_branch,
        };
        if unmoved { Err(refused) } else { Ok(false) }
    }

    fn unchanged(&self, head: &GitCommit, mut warnings: Vec<String>) -> Value {
        warnings.push("the branch holds these files already: no commit was made".to_owned());
        self.shape(&head.sha, &head.html_url, &head.tree.sha, false, warnings)
    }

    async fn plan(&self) -> Answer {
        let head = self.head().await?;
        let change = self.tree_change(&head.commit.tree.sha).await?;
        let branch = at(&self.arguments.branch, &head.commit.sha);
        let mut plan = change.plan;
        plan.push(format!("commit to {branch}: {}", self.arguments.message));
        let mut planned = planned(plan, json!({ "files_changed": self.arguments.files.len() }));
        planned["warnings"] = change.warnings.into();
        Ok(planned)
    }

    fn shape(
        &self,
        sha: &str,
        url: &str,
        tree: &str,
        created: bool,
        warnings: Vec<String>,
    ) -> Value {
        json!({
            "commit_sha": sha, "commit_url": url, "tree_sha": tree, "message": self.arguments.message,
            "files_changed": self.arguments.files.len(), "created": created, "warnings": warnings,
        })
    }
}

impl From<Tree> for Files {
    fn from(tree: Tree) -> Self {
        let files = tree.tree.into_iter().filter(|entry| entry.kind != "tree");
        Self {
            modes: files.map(|entry| (entry.path, entry.mode)).collect(),
            complete: !tree.truncated,
        }
    }
}

impl TreeChange {
    fn add(&mut self, file: &File, files: &Files) {
        let own_mode = files.modes.get(&file.path).map(String::as_str);
        let mode = file.mode.as_deref().or(own_mode).unwrap_or(PLAIN_FILE);
        let mut entry = json!({ "path": file.path, "mode": mode, "type": "blob" });
        match file.change() {
            // GitHub refuses to delete what is not there; for us it is done.
            Change::Delete if own_mode.is_none() && files.complete => {
                return self.warnings.push(format!("{} was not there to be deleted", file.path));
            }
            Change::Delete => entry["sha"] = Value::Null,
            Change::Write(content) => entry["content"] = content.into(),
            Change::WriteBytes(content) => entry["content_base64"] = content.into(),
        }
        let verb = match (file.delete, own_mode) {
            (true, _) => "delete",
            (false, Some(_)) => "change",
            (false, None) => "add",
        };
        self.plan.push(format!("{verb} {}", file.path));
        self.entries.push(entry);
    }
}

fn moved(branch: &str, sha: &str, expected: &str) -> ToolError {
    let message = format!("branch {branch} is at {sha}, not at the expected {expected}");
    ToolError::new(Code::Conflict, message)
        .hint("look at what changed, then call again with the new expected_head_sha")
}
