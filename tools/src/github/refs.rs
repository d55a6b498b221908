//! Branches, commits and how they stand to each other.

use serde::Deserialize;
use serde_json::json;

use super::client::Repository;
use super::names::{is_branch_name, path, query, short, with_trailer};
use crate::contract::{Code, ToolError};

/// A ref and what it points to.
#[derive(Debug, Deserialize)]
pub(super) struct Ref {
    #[serde(rename = "ref")]
    pub(super) name: String,
    pub(super) url: String,
    pub(super) object: Object,
}

/// What a ref or an annotated tag points to.
#[derive(Debug, Deserialize)]
pub(super) struct Object {
    pub(super) sha: String,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct AnnotatedTag {
    object: Object,
}

/// A commit as git knows it.
#[derive(Debug, Deserialize)]
pub(super) struct GitCommit {
    pub(super) sha: String,
    #[serde(default)]
    pub(super) html_url: String,
    pub(super) tree: Sha,
}

/// A commit as GitHub lists it.
#[derive(Debug, Deserialize)]
pub(super) struct ListedCommit {
    pub(super) sha: String,
    #[serde(default)]
    pub(super) html_url: String,
    pub(super) commit: CommitText,
}

/// The part of a listed commit that git knows.
#[derive(Debug, Deserialize)]
pub(super) struct CommitText {
    pub(super) message: String,
    pub(super) tree: Sha,
}

/// A reference by sha.
#[derive(Debug, Deserialize)]
pub(super) struct Sha {
    pub(super) sha: String,
}

/// How a head stands to a base.
#[derive(Debug, Deserialize)]
pub(super) struct Comparison {
    pub(super) ahead_by: u64,
    pub(super) behind_by: u64,
}

#[derive(Deserialize)]
struct DefaultBranch {
    default_branch: String,
}

impl Repository {
    pub(super) async fn default_branch(&self) -> Result<String, ToolError> {
        self.get::<DefaultBranch>("").await.map(|found| found.default_branch)
    }

    /// A branch, if there is one of this name.
    pub(super) async fn find_branch(&self, name: &str) -> Result<Option<Ref>, ToolError> {
        self.find_ref(&format!("heads/{name}")).await
    }

    async fn find_ref(&self, name: &str) -> Result<Option<Ref>, ToolError> {
        self.find(&format!("/git/ref/{}", path(name))).await
    }

    /// The commit that a branch, a tag or a sha names.
    pub(super) async fn resolve(&self, name: &str) -> Result<String, ToolError> {
        let plain = name.strip_prefix("refs/").unwrap_or(name);
        let candidates = match plain {
            plain if plain.starts_with("heads/") || plain.starts_with("tags/") => {
                vec![plain.to_owned()]
            }
            plain => vec![format!("heads/{plain}"), format!("tags/{plain}")],
        };
        check_name(name)?;
        for candidate in candidates {
            if let Some(found) = self.find_ref(&candidate).await? {
                return self.peel(found.object).await;
            }
        }
        self.resolve_sha(name).await
    }

    /// An annotated tag points to an object that points to the commit.
    async fn peel(&self, object: Object) -> Result<String, ToolError> {
        if object.kind != "tag" {
            return Ok(object.sha);
        }
        let tag: AnnotatedTag = self.get(&format!("/git/tags/{}", path(&object.sha))).await?;
        Ok(tag.object.sha)
    }

    async fn resolve_sha(&self, name: &str) -> Result<String, ToolError> {
        let unknown = || {
            let message = format!("{} has no branch, tag or commit {name:?}", self.full_name());
            ToolError::new(Code::NotFound, message)
                .hint("give a branch, a tag or a commit sha that exists in a repository that the token may see")
        };
        let hex = 7 <= name.len()
            && name.len() <= 40
            && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(unknown());
        }
        match self.get::<Sha>(&format!("/commits/{name}")).await {
            Ok(commit) => Ok(commit.sha),
            Err(error) if matches!(error.status(), Some(404 | 422)) => Err(unknown()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn compare(&self, base: &str, head: &str) -> Result<Comparison, ToolError> {
        self.get(&format!("/compare/{}...{}?per_page=1", path(base), path(head))).await
    }

    pub(super) async fn git_commit(&self, sha: &str) -> Result<GitCommit, ToolError> {
        self.get(&format!("/git/commits/{}", path(sha))).await
    }

    /// The newest commits of a branch, as many as one page holds.
    pub(super) async fn recent_commits(
        &self,
        branch: &str,
    ) -> Result<Vec<ListedCommit>, ToolError> {
        let found = self.find(&format!("/commits?sha={}&per_page=100", query(branch))).await?;
        Ok(found.unwrap_or_default())
    }

    pub(super) async fn create_branch(&self, name: &str, sha: &str) -> Result<Ref, ToolError> {
        self.post("/git/refs", &json!({ "ref": format!("refs/heads/{name}"), "sha": sha })).await
    }

    pub(super) async fn move_branch(
        &self,
        name: &str,
        sha: &str,
        force: Force,
    ) -> Result<Ref, ToolError> {
        let body = json!({ "sha": sha, "force": force == Force::Yes });
        self.patch(&format!("/git/refs/heads/{}", path(name)), &body).await
    }

    /// Deletes a branch; false when it was not there.
    pub(super) async fn delete_branch(&self, name: &str) -> Result<bool, ToolError> {
        match self.delete(&format!("/git/refs/heads/{}", path(name))).await {
            Err(error) if error.says(422, "does not exist") => Ok(false),
            done => done,
        }
    }

    pub(super) async fn create_commit(
        &self,
        message: &str,
        tree: &str,
        parent: &str,
        key: Option<&str>,
    ) -> Result<GitCommit, ToolError> {
        let message = with_trailer(message, key);
        self.post("/git/commits", &json!({ "message": message, "tree": tree, "parents": [parent] }))
            .await
    }
}

/// Whether a branch may be moved to a commit that does not follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    Yes,
    No,
}

/// Refuses what cannot be a branch.
pub(super) fn check_name(name: &str) -> Result<(), ToolError> {
    if is_branch_name(name) {
        return Ok(());
    }
    let message = format!("{name:?} cannot be a branch name");
    Err(ToolError::new(Code::InvalidArgument, message)
        .hint("use letters, digits, `-`, `_`, `.` and single slashes, such as fix/issue-7"))
}

/// `name@sha`, for messages.
pub(super) fn at(name: &str, sha: &str) -> String {
    format!("{name}@{}", short(sha))
}
