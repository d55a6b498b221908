//! Commits and how they stand to each other.

use super::{Handler, Outcome, not_found, ok, unprocessable};
use crate::clock;
use crate::github::state::{Commit, Repository};

impl Handler<'_> {
    /// The routes of commits.
    pub(super) fn commit_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["commits"]) => self.list_commits(),
            ("GET", ["commits", name @ ..]) => self.get_commit(&name.join("/")),
            ("GET", ["compare", basehead @ ..]) => self.compare(&basehead.join("/")),
            _ => return None,
        })
    }

    fn list_commits(&self) -> Outcome {
        self.refuse_empty()?;
        let repository = self.repository();
        let start = self.query("sha").unwrap_or(&repository.default_branch);
        let sha = repository.resolve(start).ok_or_else(not_found)?;
        let until = self.query("until");
        let path = self.query("path");
        let wanted = |commit: &&Commit| {
            self.is_since(commit.at_ms)
                && until.is_none_or(|until| clock::timestamp(commit.at_ms).as_str() <= until)
                && path.is_none_or(|path| repository.touches(commit, path))
        };
        let commits = repository.walk(sha).into_iter().filter(wanted);
        self.page(commits.map(|commit| self.shapes().commit(commit)).collect())
    }

    fn get_commit(&self, name: &str) -> Outcome {
        let repository = self.repository();
        let commit = repository.resolve(name).and_then(|sha| repository.commits.get(sha));
        let commit =
            commit.ok_or_else(|| unprocessable(&format!("No commit found for SHA: {name}")))?;
        Ok(ok(self.shapes().full_commit(commit)))
    }

    fn compare(&self, basehead: &str) -> Outcome {
        let (base, head) = basehead.split_once("...").ok_or_else(not_found)?;
        let repository = self.repository();
        let side = |name: &str| {
            let name = name.strip_prefix(&format!("{}:", repository.owner)).unwrap_or(name);
            repository.resolve(name).ok_or_else(not_found)
        };
        let comparison = repository.compare(side(base)?, side(head)?);
        let commits = comparison.ahead.iter().filter_map(|sha| repository.commits.get(sha));
        let all = commits.map(|commit| self.shapes().commit(commit)).collect();
        let (page, link) = self.cut(all);
        let mut reply = ok(self.shapes().comparison(&comparison, basehead, page));
        reply.headers.extend(link);
        Ok(reply)
    }
}

impl Repository {
    /// Whether a commit changes a file, or one in a directory.
    fn touches(&self, commit: &Commit, path: &str) -> bool {
        let directory = format!("{path}/");
        let files = |sha: Option<&String>| {
            let tree = sha.and_then(|sha| self.commits.get(sha)).map(|own| &own.tree);
            let entries = tree.and_then(|tree| self.trees.get(tree)).into_iter().flatten();
            let below = entries.filter(|(own, _)| *own == path || own.starts_with(&directory));
            below.map(|(own, entry)| (own.clone(), entry.clone())).collect::<Vec<_>>()
        };
        files(Some(&commit.sha)) != files(commit.parents.first())
    }
}
