//! What the double remembers: repositories with their git objects, issues and pull requests.

mod actions;
mod apps;
mod deployments;
mod reviews;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock;

pub use self::actions::{
    Actions, Check, Job, PlannedJob, Progress, Run, Started, Status, Workflow,
};
pub use self::apps::{App, AppToken};
pub use self::deployments::{Deployment, DeploymentStatus, Release};
pub use self::reviews::{LineComment, Reaction, Review};

/// Who the double says every authenticated caller is.
pub(super) const CALLER: &str = "windlass-bot";

/// Everything the double knows at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct State {
    /// Repositories by `owner/name`.
    pub repositories: BTreeMap<String, Repository>,
    /// Old names of repositories that were renamed, with their new ones.
    pub renamed: BTreeMap<String, String>,
    /// The GitHub App that it knows.
    pub app: App,
    /// Every effect, oldest first.
    pub ledger: Vec<Effect>,
    /// What GitHub's own description does not allow of what was sent or answered. A double that is dropped with any
    /// of these fails its test.
    pub violations: Vec<String>,
    /// Every request, oldest first.
    pub requests: Vec<RequestRecord>,
    #[serde(skip)]
    pub(super) next_id: u64,
}

/// One thing that a request changed.
#[derive(Debug, Clone, Serialize)]
pub struct Effect {
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// The request that did it, as in `x-github-request-id`.
    pub request_id: String,
    /// What happened: `ref_created`, `ref_updated`, `commit_created`, `pull_created`, …
    pub effect: String,
    /// The repository it happened in, as `owner/name`.
    pub repository: String,
    /// What it happened to: a ref, a sha or a number.
    pub subject: String,
}

/// One request the double received.
#[derive(Debug, Clone, Serialize)]
pub struct RequestRecord {
    /// As in `x-github-request-id`.
    pub id: String,
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: u64,
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Whether it carried credentials.
    pub authorized: bool,
    /// The API version it asked for.
    pub api_version: Option<String>,
    /// What it was answered, or nothing when the connection was dropped.
    pub status: Option<u16>,
}

/// A repository.
#[derive(Debug, Clone, Serialize)]
pub struct Repository {
    pub(super) id: u64,
    pub(super) created_ms: u64,
    /// The owner's login.
    pub owner: String,
    /// The name without its owner.
    pub name: String,
    /// The branch that pull requests go to unless they say otherwise.
    pub default_branch: String,
    /// Whether it is private.
    pub private: bool,
    /// Whether it is archived.
    pub archived: bool,
    /// Its topics.
    pub topics: Vec<String>,
    /// Shas by full ref name, such as `refs/heads/main`.
    pub refs: BTreeMap<String, String>,
    /// Commits by sha.
    pub commits: HashMap<String, Commit>,
    /// Files by path, by tree sha.
    #[serde(skip)]
    pub trees: HashMap<String, Tree>,
    /// Contents by blob sha.
    #[serde(skip)]
    pub blobs: HashMap<String, Vec<u8>>,
    /// Issues and pull requests by number, which they share.
    pub issues: BTreeMap<u64, Issue>,
    /// Labels by name.
    pub labels: BTreeMap<String, Label>,
    /// Milestone titles by number.
    pub milestones: BTreeMap<u64, String>,
    /// Logins that may be asked for a review or assigned.
    pub collaborators: BTreeSet<String>,
    /// Its workflows with their runs, and what is said about its commits.
    pub actions: Actions,
    /// Branches that are protected.
    pub protected: BTreeSet<String>,
    /// Whether its issues are switched off.
    pub without_issues: bool,
    /// Its releases, oldest first.
    pub releases: Vec<Release>,
    /// What was deployed where, oldest first.
    pub deployments: Vec<Deployment>,
}

/// The files of a commit, whole: paths with their directories.
pub type Tree = BTreeMap<String, TreeEntry>;

/// A file in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeEntry {
    /// The file mode, such as `100644`.
    pub mode: String,
    /// The sha of its content.
    pub sha: String,
}

/// A commit.
#[derive(Debug, Clone, Serialize)]
pub struct Commit {
    /// Its sha.
    pub sha: String,
    /// Its tree.
    pub tree: String,
    /// The commits before it.
    pub parents: Vec<String>,
    /// Its message with all trailers.
    pub message: String,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An issue, or the issue half of a pull request.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    pub(super) id: u64,
    /// Its number in the repository.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// The login of its author.
    pub user: String,
    /// What the author is to the repository, such as `NONE` or `OWNER`.
    pub author_association: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Why it was closed or opened again.
    pub state_reason: Option<String>,
    /// Its type, where the organization has types.
    pub kind: Option<String>,
    /// How people reacted to it.
    pub reactions: Vec<Reaction>,
    /// Who is to work on it.
    pub assignees: Vec<String>,
    /// Its milestone's number.
    pub milestone: Option<u64>,
    /// Its comments, oldest first.
    pub comments: Vec<Comment>,
    /// When it was opened, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_ms: u64,
    /// When it was closed, in milliseconds since 1970.
    pub closed_ms: Option<u64>,
    /// The other half, if it is a pull request.
    pub pull: Option<Pull>,
}

/// A comment on an issue.
#[derive(Debug, Clone, Serialize)]
pub struct Comment {
    /// Its id.
    pub id: u64,
    /// Its text.
    pub body: String,
    /// The login of its author.
    pub user: String,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last edited, in milliseconds since 1970.
    pub updated_ms: u64,
    /// How people reacted to it.
    pub reactions: Vec<Reaction>,
}

/// What a pull request has more than an issue.
#[derive(Debug, Clone, Serialize)]
pub struct Pull {
    /// The branch to be merged.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// Whether it was merged.
    pub merged: bool,
    /// Whether maintainers may push to its head.
    pub maintainer_can_modify: bool,
    /// Who was asked for a review.
    pub requested_reviewers: Vec<String>,
    /// Which teams were asked for a review.
    pub requested_teams: Vec<String>,
    /// The head's sha when it was last seen.
    pub head_sha: String,
    /// The base's sha when it was opened.
    pub base_sha: String,
    /// When it was merged, in milliseconds since 1970.
    pub merged_ms: Option<u64>,
    /// The commit that its merge made.
    pub merge_commit: Option<String>,
    /// Its reviews, oldest first.
    pub reviews: Vec<Review>,
    /// Comments on its lines, oldest first.
    pub line_comments: Vec<LineComment>,
    /// How many more looks find that nobody knows yet whether it can be merged.
    pub unknown_looks: u32,
    /// Why a rule of the repository forbids to merge it.
    pub blocked: Option<String>,
    /// Whether its diff is too large to be shown as a whole.
    pub huge: bool,
}

/// A label.
#[derive(Debug, Clone, Serialize)]
pub struct Label {
    pub(super) id: u64,
    /// Its colour, six hex digits.
    pub color: String,
}

/// How two commits stand to each other.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) base: String,
    pub(super) head: String,
    pub(super) merge_base: String,
    /// Commits of head that base lacks, oldest first.
    pub(super) ahead: Vec<String>,
    pub(super) behind: usize,
}

impl State {
    /// The repository called `owner/name`, whatever the case it is written in.
    pub fn repository(&self, full_name: &str) -> Option<&Repository> {
        self.repositories
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(full_name))
            .map(|(_, repository)| repository)
    }

    /// How many effects of a kind there were: `state.count("pull_created")`.
    pub fn count(&self, effect: &str) -> usize {
        self.ledger.iter().filter(|entry| entry.effect == effect).count()
    }

    /// How many requests with this method had this text in their path.
    pub fn requests_like(&self, method: &str, path: &str) -> usize {
        let like = |record: &&RequestRecord| record.method == method && record.path.contains(path);
        self.requests.iter().filter(like).count()
    }

    pub(super) fn repository_mut(&mut self, full_name: &str) -> Option<&mut Repository> {
        self.repositories
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case(full_name))
            .map(|(_, repository)| repository)
    }

    pub(super) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Repository {
    pub(super) fn new(id: u64, owner: &str, name: &str) -> Self {
        let mut repository = Self {
            id,
            created_ms: clock::now_ms(),
            owner: owner.to_owned(),
            name: name.to_owned(),
            default_branch: "main".to_owned(),
            private: false,
            archived: false,
            topics: Vec::new(),
            refs: BTreeMap::new(),
            commits: HashMap::new(),
            trees: HashMap::new(),
            blobs: HashMap::new(),
            issues: BTreeMap::new(),
            labels: BTreeMap::new(),
            milestones: BTreeMap::new(),
            collaborators: BTreeSet::from([owner.to_owned(), CALLER.to_owned()]),
            actions: Actions::default(),
            protected: BTreeSet::new(),
            without_issues: false,
            releases: Vec::new(),
            deployments: Vec::new(),
        };
        repository.seed();
        repository
    }

    fn seed(&mut self) {
        let readme = format!("# {}\n", self.name);
        let tree = self.add_files(&Tree::new(), &[("README.md", &readme)]);
        let sha = self.add_commit(tree, Vec::new(), "Initial commit");
        self.refs.insert("refs/heads/main".to_owned(), sha);
    }

    /// The repository's name with its owner.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The names of its branches.
    pub fn branches(&self) -> Vec<&str> {
        self.refs.keys().filter_map(|name| name.strip_prefix("refs/heads/")).collect()
    }

    /// The sha a branch is at.
    pub fn branch(&self, name: &str) -> Option<&str> {
        self.refs.get(&format!("refs/heads/{name}")).map(String::as_str)
    }

    /// The commits of a branch, newest first.
    pub fn history(&self, branch: &str) -> Vec<&Commit> {
        self.branch(branch).map(|sha| self.walk(sha)).unwrap_or_default()
    }

    /// A file's text on a branch.
    pub fn file(&self, branch: &str, path: &str) -> Option<String> {
        let commit = self.commits.get(self.branch(branch)?)?;
        let entry = self.trees.get(&commit.tree)?.get(path)?;
        Some(String::from_utf8_lossy(self.blobs.get(&entry.sha)?).into_owned())
    }

    /// Its pull requests, oldest first.
    pub fn pulls(&self) -> Vec<&Issue> {
        self.issues.values().filter(|issue| issue.pull.is_some()).collect()
    }

    pub(super) fn next_number(&self) -> u64 {
        self.issues.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// What a branch, a tag, a full ref or a sha stands for.
    pub(super) fn resolve(&self, name: &str) -> Option<&str> {
        let candidates =
            [name.to_owned(), format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        let by_ref = candidates.iter().find_map(|full| self.refs.get(full));
        by_ref.or_else(|| self.commit_like(name).map(|commit| &commit.sha)).map(String::as_str)
    }

    fn commit_like(&self, sha: &str) -> Option<&Commit> {
        let short = 7 <= sha.len() && sha.len() < 40;
        let mut all = self.commits.values();
        self.commits.get(sha).or_else(|| all.find(|commit| short && commit.sha.starts_with(sha)))
    }

    /// A commit and all before it, each once, newest first.
    pub(super) fn walk(&self, sha: &str) -> Vec<&Commit> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([sha]);
        let mut found = Vec::new();
        while let Some(next) = queue.pop_front() {
            let Some(commit) = self.commits.get(next).filter(|_| seen.insert(next)) else {
                continue;
            };
            queue.extend(commit.parents.iter().map(String::as_str));
            found.push(commit);
        }
        found
    }

    pub(super) fn compare(&self, base: &str, head: &str) -> Comparison {
        let shas = |sha| self.walk(sha).into_iter().map(|c| c.sha.clone()).collect::<Vec<_>>();
        let (of_base, of_head) = (shas(base), shas(head));
        let in_base: BTreeSet<_> = of_base.iter().collect();
        let in_head: BTreeSet<_> = of_head.iter().collect();
        let merge_base = of_head.iter().find(|sha| in_base.contains(sha)).cloned();
        let ahead = of_head.iter().rev().filter(|sha| !in_base.contains(sha)).cloned().collect();
        let behind = of_base.iter().filter(|sha| !in_head.contains(sha)).count();
        Comparison {
            base: base.to_owned(),
            head: head.to_owned(),
            merge_base: merge_base.unwrap_or_else(|| base.to_owned()),
            ahead,
            behind,
        }
    }

    /// Names a tree by a tree, a commit or a ref.
    pub(super) fn tree_like(&self, name: &str) -> Option<(&str, &Tree)> {
        if let Some((sha, tree)) = self.trees.get_key_value(name) {
            return Some((sha, tree));
        }
        let commit = self.commits.get(self.resolve(name)?)?;
        self.trees.get_key_value(&commit.tree).map(|(sha, tree)| (sha.as_str(), tree))
    }

    pub(super) fn add_blob(&mut self, content: Vec<u8>) -> String {
        let sha = object_sha("blob", &content);
        self.blobs.insert(sha.clone(), content);
        sha
    }

    pub(super) fn add_tree(&mut self, tree: Tree) -> String {
        let sha = tree_sha(&tree);
        self.trees.insert(sha.clone(), tree);
        sha
    }

    fn add_files(&mut self, base: &Tree, files: &[(&str, &str)]) -> String {
        let mut tree = base.clone();
        for (path, content) in files {
            let sha = self.add_blob(content.as_bytes().to_vec());
            tree.insert((*path).to_owned(), TreeEntry { mode: "100644".to_owned(), sha });
        }
        self.add_tree(tree)
    }

    pub(super) fn add_commit(
        &mut self,
        tree: String,
        parents: Vec<String>,
        message: &str,
    ) -> String {
        let at_ms = clock::now_ms();
        let text = format!("tree {tree}\nparents {parents:?}\nat {}\n\n{message}", at_ms / 1000);
        let sha = object_sha("commit", text.as_bytes());
        let message = message.to_owned();
        let commit = Commit { sha: sha.clone(), tree, parents, message, at_ms };
        self.commits.insert(sha.clone(), commit);
        sha
    }

    /// Commits a file to a branch as another developer would.
    pub(super) fn push(&mut self, branch: &str, path: &str, content: &str) -> Option<String> {
        let head = self.branch(branch)?.to_owned();
        let base = self.trees.get(&self.commits.get(&head)?.tree)?.clone();
        let tree = self.add_files(&base, &[(path, content)]);
        let sha = self.add_commit(tree, vec![head], &format!("Change {path}"));
        self.refs.insert(format!("refs/heads/{branch}"), sha.clone());
        Some(sha)
    }
}

/// The sha of a directory's files, taken as a tree of their own.
pub(super) fn tree_sha(tree: &Tree) -> String {
    let line =
        |(path, entry): (&String, &TreeEntry)| format!("{} {path}\0{}\n", entry.mode, entry.sha);
    object_sha("tree", tree.iter().map(line).collect::<String>().as_bytes())
}

/// Names an object by its content, in git's way and shape. The digest is a
/// shortened SHA-256: nobody checks it, and it saves a dependency.
fn object_sha(kind: &str, content: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{kind} {}\0", content.len()));
    digest.update(content);
    digest.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}
