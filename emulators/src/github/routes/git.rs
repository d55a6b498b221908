//! Branches, refs and git objects.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{
    Handler, Outcome, Reply, created, invalid, no_content, not_found, ok, refusal, unprocessable,
};
use crate::github::state::{Tree, TreeEntry};

impl Handler<'_> {
    /// The routes of branches, refs and git objects.
    pub(super) fn git_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["branches"]) => self.list_branches(),
            ("GET", ["branches", name @ ..]) => self.get_branch(&name.join("/")),
            ("GET", ["git", "ref", name @ ..]) => self.get_ref(&name.join("/")),
            ("GET", ["git", "matching-refs", name @ ..]) => self.matching_refs(&name.join("/")),
            ("POST", ["git", "refs"]) => self.create_ref(),
            ("PATCH", ["git", "refs", name @ ..]) => self.update_ref(&name.join("/")),
            ("DELETE", ["git", "refs", name @ ..]) => self.delete_ref(&name.join("/")),
            ("POST", ["git", "commits"]) => self.create_commit(),
            ("GET", ["git", "commits", sha]) => self.get_git_commit(sha),
            ("POST", ["git", "trees"]) => self.create_tree(),
            ("GET", ["git", "trees", name @ ..]) => self.get_tree(&name.join("/")),
            ("POST", ["git", "blobs"]) => self.create_blob(),
            ("GET", ["git", "blobs", sha]) => self.get_blob(sha),
            _ => return None,
        })
    }

    fn list_branches(&self) -> Outcome {
        let shapes = self.shapes();
        let branch = |name: &str| {
            let sha = self.repository().branch(name).unwrap_or_default();
            let link = shapes.api(&format!("/commits/{sha}"));
            json!({ "name": name, "commit": { "sha": sha, "url": link }, "protected": self.repository().protected.contains(name) })
        };
        let wanted = self.query("protected");
        let fits = |name: &&str| {
            let own = self.repository().protected.contains(*name).to_string();
            wanted.is_none_or(|wanted| wanted == own)
        };
        self.page(self.repository().branches().into_iter().filter(fits).map(branch).collect())
    }

    fn get_branch(&self, name: &str) -> Outcome {
        let repository = self.repository();
        let commit = repository.branch(name).and_then(|sha| repository.commits.get(sha));
        let commit = commit.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "Branch not found"))?;
        Ok(ok(self.shapes().branch(name, commit)))
    }

    fn get_ref(&self, name: &str) -> Outcome {
        self.refuse_empty()?;
        let full = format!("refs/{name}");
        let sha = self.repository().refs.get(&full).ok_or_else(not_found)?;
        Ok(ok(self.shapes().git_ref(&full, sha)))
    }

    pub(super) fn refuse_empty(&self) -> Result<(), Reply> {
        if self.repository().refs.is_empty() {
            return Err(refusal(StatusCode::CONFLICT, "Git Repository is empty."));
        }
        Ok(())
    }

    fn matching_refs(&self, name: &str) -> Outcome {
        let start = format!("refs/{name}");
        let shapes = self.shapes();
        let refs = self.repository().refs.iter().filter(|(full, _)| full.starts_with(&start));
        self.page(refs.map(|(full, sha)| shapes.git_ref(full, sha)).collect())
    }

    fn create_ref(&mut self) -> Outcome {
        self.refuse_empty()?;
        let (name, sha) = (self.required("Reference", "ref")?, self.required("Reference", "sha")?);
        if !name.starts_with("refs/") || name.matches('/').count() < 2 {
            return Err(unprocessable(
                "Reference name must start with 'refs/' and have at least two slashes.",
            ));
        }
        if !self.repository().commits.contains_key(&sha) {
            return Err(unprocessable("Object does not exist"));
        }
        if self.repository().refs.contains_key(&name) {
            return Err(unprocessable("Reference already exists"));
        }
        self.change(|repository| _ = repository.refs.insert(name.clone(), sha.clone()));
        self.record("ref_created", &name);
        Ok(created(self.shapes().git_ref(&name, &sha)))
    }

    fn update_ref(&mut self, name: &str) -> Outcome {
        let full = format!("refs/{name}");
        let sha = self.required("Reference", "sha")?;
        let repository = self.repository();
        let old =
            repository.refs.get(&full).ok_or_else(|| unprocessable("Reference does not exist"))?;
        if !repository.commits.contains_key(&sha) {
            return Err(unprocessable("Object does not exist"));
        }
        let forced = self.request.body.get("force").and_then(Value::as_bool).unwrap_or_default();
        if !forced && 0 < repository.compare(old, &sha).behind {
            return Err(unprocessable("Update is not a fast forward"));
        }
        self.change(|repository| {
            repository.refs.insert(full.clone(), sha.clone());
            repository.follow(&full, &sha);
        });
        self.record("ref_updated", &full);
        Ok(ok(self.shapes().git_ref(&full, &sha)))
    }

    fn delete_ref(&mut self, name: &str) -> Outcome {
        let full = format!("refs/{name}");
        if self.repository().protected.contains(name.trim_start_matches("heads/")) {
            return Err(unprocessable("Cannot delete this protected branch"));
        }
        self.change(|repository| repository.refs.remove(&full))
            .ok_or_else(|| unprocessable("Reference does not exist"))?;
        self.record("ref_deleted", &full);
        Ok(no_content())
    }

    fn create_commit(&mut self) -> Outcome {
        let (message, tree) =
            (self.required("Commit", "message")?, self.required("Commit", "tree")?);
        let parents = self.texts("parents");
        if !self.repository().trees.contains_key(&tree) {
            return Err(unprocessable("Tree SHA does not exist"));
        }
        if parents.iter().any(|parent| !self.repository().commits.contains_key(parent)) {
            return Err(unprocessable("Parent SHA does not exist or is not a commit object"));
        }
        let sha = self.change(|repository| repository.add_commit(tree, parents, &message));
        self.record("commit_created", &sha);
        Ok(created(self.shapes().git_commit(&self.repository().commits[&sha])))
    }

    fn get_git_commit(&self, sha: &str) -> Outcome {
        let commit = self.repository().commits.get(sha).ok_or_else(not_found)?;
        Ok(ok(self.shapes().git_commit(commit)))
    }

    fn create_tree(&mut self) -> Outcome {
        let base = match self.text("base_tree") {
            Some(name) => {
                let found = self.repository().tree_like(name).map(|(_, tree)| tree.clone());
                found.ok_or_else(|| unprocessable("base_tree is not a valid tree"))?
            }
            None => Tree::new(),
        };
        let entries =
            self.request.body.get("tree").and_then(Value::as_array).cloned().unwrap_or_default();
        if entries.is_empty() {
            return Err(unprocessable("Invalid tree info"));
        }
        let tree = entries.iter().try_fold(base, |tree, entry| self.change_tree(tree, entry))?;
        let sha = self.change(|repository| repository.add_tree(tree));
        self.record("tree_created", &sha);
        let (_, tree) = self.repository().tree_like(&sha).expect("just added");
        Ok(created(self.shapes().tree(&sha, tree, false)))
    }

    fn change_tree(&mut self, mut tree: Tree, entry: &Value) -> Result<Tree, Reply> {
        let path = entry["path"].as_str().ok_or_else(|| unprocessable("tree.path is missing"))?;
        if path.is_empty()
            || path.starts_with('/')
            || path.split('/').any(|part| part == ".." || part == ".git")
        {
            return Err(unprocessable("tree.path contains a malformed path component"));
        }
        let mode = entry["mode"].as_str().unwrap_or("100644").to_owned();
        let sha = match (entry.get("sha"), entry["content"].as_str()) {
            (Some(Value::Null), _) => {
                tree.remove(path).ok_or_else(|| unprocessable("GitRPC::BadObjectState"))?;
                return Ok(tree);
            }
            (Some(Value::String(sha)), _) if self.repository().blobs.contains_key(sha) => {
                sha.clone()
            }
            (None, Some(content)) => {
                let content = content.as_bytes().to_vec();
                self.change(|repository| repository.add_blob(content))
            }
            _ => return Err(unprocessable("tree.sha is not a valid blob")),
        };
        tree.insert(path.to_owned(), TreeEntry { mode, sha });
        Ok(tree)
    }

    fn get_tree(&self, name: &str) -> Outcome {
        let (sha, tree) = self.repository().tree_like(name).ok_or_else(not_found)?;
        // Any value means yes, also `0`, as GitHub has it.
        Ok(ok(self.shapes().tree(sha, tree, self.query("recursive").is_some())))
    }

    fn create_blob(&mut self) -> Outcome {
        let content =
            self.text("content").ok_or_else(|| invalid("Blob", "content", "missing_field"))?;
        let content = match self.text("encoding") {
            Some("base64") => {
                let packed: String = content.split_whitespace().collect();
                BASE64_STANDARD
                    .decode(packed)
                    .map_err(|_| unprocessable("Invalid Base64 encoding"))?
            }
            _ => content.as_bytes().to_vec(),
        };
        let sha = self.change(|repository| repository.add_blob(content));
        self.record("blob_created", &sha);
        let link = self.shapes().api(&format!("/git/blobs/{sha}"));
        Ok(created(json!({ "sha": sha, "url": link })))
    }

    fn get_blob(&self, sha: &str) -> Outcome {
        let content = self.repository().blobs.get(sha).ok_or_else(not_found)?;
        Ok(ok(self.shapes().blob(sha, content)))
    }
}
