//! Files and directories as they are at a commit.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Handler, Outcome, not_found, ok};
use crate::github::state::{Tree, TreeEntry};

/// What is larger comes without its content.
const LARGEST_CONTENT: usize = 1024 * 1024;
/// GitHub breaks base64 into lines.
const LINE: usize = 60;

impl Handler<'_> {
    /// The routes of files.
    pub(super) fn content_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["contents", path @ ..]) => self.get_contents(&path.join("/")),
            _ => return None,
        })
    }

    fn get_contents(&self, path: &str) -> Outcome {
        self.refuse_empty()?;
        let repository = self.repository();
        let name = self.query("ref").unwrap_or(&repository.default_branch).to_owned();
        let commit = repository.resolve(&name).and_then(|sha| repository.commits.get(sha));
        let tree = commit.and_then(|commit| repository.trees.get(&commit.tree));
        let tree = tree.ok_or_else(not_found)?;
        if let Some(entry) = tree.get(path) {
            return Ok(ok(self.one(path, entry, &name)));
        }
        let items = self.directory(tree, path, &name);
        if items.is_empty() && !path.is_empty() { Err(not_found()) } else { Ok(ok(items.into())) }
    }

    fn directory(&self, tree: &Tree, path: &str, name: &str) -> Vec<Value> {
        let start = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut items: Vec<Value> = Vec::new();
        for (full, entry) in tree {
            let Some(below) = full.strip_prefix(&start) else { continue };
            let item = match below.split_once('/') {
                Some((directory, _)) => {
                    let sha = crate::github::state::tree_sha(tree);
                    self.named(&format!("{start}{directory}"), "dir", &sha, 0, name)
                }
                None => {
                    let size = self.repository().blobs.get(&entry.sha).map_or(0, Vec::len);
                    self.named(full, kind(entry), &entry.sha, size, name)
                }
            };
            if items.last().is_none_or(|last| last["path"] != item["path"]) {
                items.push(item);
            }
        }
        items
    }

    fn one(&self, path: &str, entry: &TreeEntry, name: &str) -> Value {
        let bytes = self.repository().blobs.get(&entry.sha).cloned().unwrap_or_default();
        let mut shape = self.named(path, kind(entry), &entry.sha, bytes.len(), name);
        match kind(entry) {
            "symlink" => shape["target"] = String::from_utf8_lossy(&bytes).into(),
            "submodule" => {
                shape["submodule_git_url"] = format!("{}/{path}.git", self.addresses.base).into();
            }
            _ if LARGEST_CONTENT < bytes.len() => {
                shape["encoding"] = "none".into();
                shape["content"] = "".into();
            }
            _ => {
                let packed = BASE64_STANDARD.encode(bytes);
                let lines = packed.as_bytes().chunks(LINE);
                let text: String =
                    lines.map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
                shape["encoding"] = "base64".into();
                shape["content"] = text.into();
            }
        }
        shape
    }

    fn named(&self, path: &str, kind: &str, sha: &str, size: usize, name: &str) -> Value {
        let shapes = self.shapes();
        let place = if kind == "dir" { "tree" } else { "blob" };
        let address = shapes.api(&format!("/contents/{path}?ref={name}"));
        let html = shapes.html(&format!("/{place}/{name}/{path}"));
        let git = match kind {
            "dir" => shapes.api(&format!("/git/trees/{sha}")),
            _ => shapes.api(&format!("/git/blobs/{sha}")),
        };
        let download = (kind == "file").then(|| shapes.html(&format!("/raw/{name}/{path}")));
        json!({
            "type": kind, "name": path.rsplit('/').next(), "path": path, "sha": sha, "size": size,
            "url": address, "html_url": html, "git_url": git, "download_url": download,
            "_links": { "self": address, "git": git, "html": html },
        })
    }
}

fn kind(entry: &TreeEntry) -> &'static str {
    match entry.mode.as_str() {
        "120000" => "symlink",
        "160000" => "submodule",
        _ => "file",
    }
}
