//! Merging pull requests.

use axum::http::StatusCode;
use serde_json::json;

use super::{Handler, Outcome, Reply, ok, refusal, unprocessable};
use crate::clock;
use crate::github::state::{Pull, Repository, Tree};

impl Handler<'_> {
    /// The routes of merges.
    pub(super) fn merge_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("PUT", ["pulls", number, "merge"]) => self.merge_pull(number),
            _ => return None,
        })
    }

    fn merge_pull(&mut self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        let (number, title, open) = (issue.number, issue.title.clone(), issue.state == "open");
        let pull = pull.clone();
        let not_allowed = |message: &str| Err(refusal(StatusCode::METHOD_NOT_ALLOWED, message));
        if !open || pull.merged {
            return not_allowed("Pull Request is not mergeable");
        }
        if pull.draft {
            return not_allowed("Pull Request is still a draft");
        }
        if let Some(reason) = &pull.blocked {
            return not_allowed(reason);
        }
        if self.text("sha").is_some_and(|sha| sha != pull.head_sha) {
            let message = "Head branch was modified. Review and try the merge again.";
            return Err(refusal(StatusCode::CONFLICT, message));
        }
        let Some(tree) = self.repository().merged(&pull) else {
            return not_allowed("Pull Request is not mergeable");
        };
        let sha = self.commit_merge(number, &title, &pull, tree)?;
        self.change_issue(number, |issue| {
            issue.state = "closed".to_owned();
            issue.closed_ms = Some(clock::now_ms());
            let pull = issue.pull.as_mut().expect("looked up as a pull request");
            pull.merged = true;
            pull.merged_ms = Some(clock::now_ms());
            pull.merge_commit = Some(sha.clone());
        });
        self.record("pull_merged", number);
        let message = "Pull Request successfully merged";
        Ok(ok(json!({ "sha": sha, "merged": true, "message": message })))
    }

    /// Puts the merge on the base. A rebase is one commit here, as a squash is.
    fn commit_merge(
        &mut self,
        number: u64,
        title: &str,
        pull: &Pull,
        tree: Tree,
    ) -> Result<String, Reply> {
        let method = self.text("merge_method").unwrap_or("merge");
        let base = self.repository().branch(&pull.base).unwrap_or_default().to_owned();
        let (parents, first) = match method {
            "merge" => {
                let from = format!("{}/{}", self.repository().owner, pull.head);
                let parents = vec![base, pull.head_sha.clone()];
                (parents, format!("Merge pull request #{number} from {from}"))
            }
            "squash" | "rebase" => (vec![base], format!("{title} (#{number})")),
            _ => return Err(unprocessable("Invalid merge_method")),
        };
        let first = self.text("commit_title").map_or(first, str::to_owned);
        let message = match self.text("commit_message") {
            Some(rest) => format!("{first}\n\n{rest}"),
            None => first,
        };
        let full = format!("refs/heads/{}", pull.base);
        Ok(self.change(|repository| {
            let tree = repository.add_tree(tree);
            let sha = repository.add_commit(tree, parents, &message);
            repository.refs.insert(full, sha.clone());
            sha
        }))
    }
}

impl Repository {
    /// The files of a pull request's merge; nothing when both sides changed one file.
    pub(in crate::github) fn merged(&self, pull: &Pull) -> Option<Tree> {
        let base = self.branch(&pull.base)?;
        let tree = |sha: &str| {
            self.commits.get(sha).and_then(|commit| self.trees.get(&commit.tree)).cloned()
        };
        let comparison = self.compare(base, &pull.head_sha);
        let (ours, theirs) = (tree(base)?, tree(&pull.head_sha)?);
        let before = tree(&comparison.merge_base)?;
        let mut merged = ours.clone();
        for path in before.keys().chain(theirs.keys()) {
            if theirs.get(path) == before.get(path) || theirs.get(path) == ours.get(path) {
                continue;
            }
            if ours.get(path) != before.get(path) {
                return None;
            }
            match theirs.get(path) {
                Some(entry) => _ = merged.insert(path.clone(), entry.clone()),
                None => _ = merged.remove(path),
            }
        }
        Some(merged)
    }
}
