//! Writes state as GitHub writes it: complete objects in the shapes of its OpenAPI description.

mod deployments;
mod reviews;

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::patches::patch;
use super::state::{
    Comment, Commit, Comparison, Issue, Pull, Repository, Tree, TreeEntry, tree_sha,
};
use crate::clock::timestamp;

/// Writes one repository's objects, with the addresses of this double in them.
#[derive(Clone, Copy)]
pub(super) struct Shapes<'a> {
    pub(super) base: &'a str,
    pub(super) repository: &'a Repository,
}

/// Addresses of a repository: key and what follows its API address.
const REPOSITORY_URLS: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

const USER_URLS: [(&str, &str); 10] = [
    ("url", ""),
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

impl Shapes<'_> {
    /// The API address of something in the repository.
    pub(super) fn api(self, rest: &str) -> String {
        format!("{}/repos/{}{rest}", self.base, self.repository.full_name())
    }

    pub(super) fn html(self, rest: &str) -> String {
        format!("{}/{}{rest}", self.base, self.repository.full_name())
    }

    pub(super) fn user(self, login: &str) -> Value {
        let number =
            login.bytes().fold(7_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_003);
        let address = format!("{}/users/{login}", self.base);
        let mut user = json!({
            "login": login,
            "id": number,
            "node_id": node_id("User", &number.to_string()),
            "avatar_url": format!("{}/avatars/{login}", self.base),
            "gravatar_id": "",
            "html_url": format!("{}/{login}", self.base),
            "type": if login.ends_with("-bot") { "Bot" } else { "User" },
            "site_admin": false,
        });
        extend(&mut user, urls(&USER_URLS, &address));
        user
    }

    /// A repository as pull requests carry it.
    pub(super) fn repository(self) -> Value {
        let own = self.repository;
        let created = timestamp(own.created_ms);
        let mut repository = json!({
            "id": own.id, "node_id": node_id("Repository", &own.id.to_string()),
            "name": own.name, "full_name": own.full_name(), "owner": self.user(&own.owner),
            "private": own.private, "visibility": if own.private { "private" } else { "public" },
            "html_url": self.html(""), "description": null, "fork": false,
            "git_url": format!("git://{}.git", own.full_name()),
            "ssh_url": format!("git@localhost:{}.git", own.full_name()),
            "clone_url": self.html(".git"), "svn_url": self.html(""), "mirror_url": null,
            "homepage": null, "language": null, "license": null,
            "forks": 0, "forks_count": 0, "stargazers_count": 0,
            "watchers": 0, "watchers_count": 0, "size": 1,
            "pushed_at": created, "created_at": created, "updated_at": created,
        });
        extend(&mut repository, self.repository_settings());
        extend(&mut repository, urls(&REPOSITORY_URLS, &self.api("")));
        repository
    }

    fn repository_settings(self) -> Map<String, Value> {
        let own = self.repository;
        let open = own.issues.values().filter(|issue| issue.state == "open").count();
        object(json!({
            "default_branch": own.default_branch,
            "open_issues": open, "open_issues_count": open,
            "is_template": false, "topics": own.topics,
            "has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false,
            "has_downloads": true, "has_discussions": false,
            "archived": own.archived, "disabled": false, "allow_forking": true,
            "web_commit_signoff_required": false,
        }))
    }

    /// A repository as its own route answers it.
    pub(super) fn full_repository(self) -> Value {
        let mut repository = self.repository();
        let more = json!({
            "permissions": { "admin": false, "maintain": false, "push": true, "triage": true, "pull": true },
            "allow_rebase_merge": true, "allow_squash_merge": true, "allow_merge_commit": true,
            "allow_auto_merge": false, "delete_branch_on_merge": false, "allow_update_branch": false,
            "temp_clone_token": "", "network_count": 0, "subscribers_count": 0,
        });
        extend(&mut repository, object(more));
        repository
    }

    pub(super) fn label(self, name: &str) -> Value {
        let known = self.repository.labels.get(name);
        let id = known.map_or(0, |label| label.id);
        json!({
            "id": id, "node_id": node_id("Label", &id.to_string()),
            "url": self.api(&format!("/labels/{name}")), "name": name, "description": "",
            "color": known.map_or("ededed", |label| label.color.as_str()), "default": false,
        })
    }

    pub(super) fn labels(self, issue: &Issue) -> Value {
        issue.labels.iter().map(|name| self.label(name)).collect()
    }

    pub(super) fn milestone(self, number: Option<u64>) -> Value {
        let Some((number, title)) =
            number.and_then(|n| self.repository.milestones.get_key_value(&n))
        else {
            return Value::Null;
        };
        let created = timestamp(self.repository.created_ms);
        let address = self.api(&format!("/milestones/{number}"));
        json!({
            "url": address, "html_url": self.html(&format!("/milestone/{number}")),
            "labels_url": format!("{address}/labels"), "id": number,
            "node_id": node_id("Milestone", &number.to_string()), "number": number,
            "state": "open", "title": title, "description": null,
            "creator": self.user(&self.repository.owner), "open_issues": 0, "closed_issues": 0,
            "created_at": created, "updated_at": created, "closed_at": null, "due_on": null,
        })
    }

    fn users(self, logins: &[String]) -> Value {
        logins.iter().map(|login| self.user(login)).collect()
    }

    /// What issues and pull requests have in common.
    fn discussion(self, issue: &Issue) -> Value {
        json!({
            "id": issue.id, "number": issue.number, "title": issue.title, "body": issue.body,
            "state": issue.state, "locked": false, "active_lock_reason": null,
            "user": self.user(&issue.user), "author_association": issue.author_association,
            "labels": self.labels(issue), "milestone": self.milestone(issue.milestone),
            "assignee": issue.assignees.first().map(|login| self.user(login)),
            "assignees": self.users(&issue.assignees),
            "created_at": timestamp(issue.created_ms), "updated_at": timestamp(issue.updated_ms),
            "closed_at": issue.closed_ms.map(timestamp),
        })
    }

    pub(super) fn issue(self, issue: &Issue) -> Value {
        let address = self.api(&format!("/issues/{}", issue.number));
        let kind = if issue.pull.is_some() { "pull" } else { "issues" };
        let mut shape = self.discussion(issue);
        let more = json!({
            "node_id": node_id("Issue", &issue.id.to_string()),
            "url": address, "repository_url": self.api(""),
            "labels_url": format!("{address}/labels{{/name}}"),
            "comments_url": format!("{address}/comments"), "events_url": format!("{address}/events"),
            "timeline_url": format!("{address}/timeline"),
            "html_url": self.html(&format!("/{kind}/{}", issue.number)),
            "comments": issue.comments.len(),
            "closed_by": null, "performed_via_github_app": null,
            "reactions": reactions(&address),
        });
        extend(&mut shape, object(more));
        // GitHub writes null for an open issue, which its own description does not allow.
        if let Some(reason) = &issue.state_reason {
            shape["state_reason"] = reason.as_str().into();
        } else if issue.closed_ms.is_some() {
            shape["state_reason"] = "completed".into();
        }
        if let Some(kind) = &issue.kind {
            shape["type"] = json!({
                "id": 1, "node_id": node_id("IssueType", kind), "name": kind, "description": null,
            });
        }
        if issue.pull.is_some() {
            let html = self.html(&format!("/pull/{}", issue.number));
            shape["pull_request"] = json!({
                "url": self.api(&format!("/pulls/{}", issue.number)), "html_url": html,
                "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "merged_at": null,
            });
        }
        shape
    }

    pub(super) fn comment(self, issue: &Issue, comment: &Comment) -> Value {
        let html = self.html(&format!("/issues/{}#issuecomment-{}", issue.number, comment.id));
        let address = self.api(&format!("/issues/comments/{}", comment.id));
        json!({
            "id": comment.id, "node_id": node_id("IssueComment", &comment.id.to_string()),
            "url": address, "html_url": html,
            "issue_url": self.api(&format!("/issues/{}", issue.number)),
            "body": comment.body, "user": self.user(&comment.user), "author_association": "MEMBER",
            "created_at": timestamp(comment.created_ms), "updated_at": timestamp(comment.updated_ms),
            "performed_via_github_app": null, "reactions": reactions(&address),
        })
    }

    /// A pull request as lists carry it.
    pub(super) fn pull(self, issue: &Issue, pull: &Pull) -> Value {
        let number = issue.number;
        let (address, html) =
            (self.api(&format!("/pulls/{number}")), self.html(&format!("/pull/{number}")));
        let issue_address = self.api(&format!("/issues/{number}"));
        let statuses = self.api(&format!("/statuses/{}", pull.head_sha));
        let mut shape = self.discussion(issue);
        let more = json!({
            "url": address, "node_id": node_id("PullRequest", &issue.id.to_string()), "html_url": html,
            "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"),
            "issue_url": issue_address, "commits_url": format!("{address}/commits"),
            "review_comments_url": format!("{address}/comments"),
            "review_comment_url": self.api("/pulls/comments{/number}"),
            "comments_url": format!("{issue_address}/comments"), "statuses_url": statuses,
            "merged_at": pull.merged_ms.map(timestamp), "merge_commit_sha": pull.merge_commit, "draft": pull.draft, "auto_merge": null,
            "requested_reviewers": self.users(&pull.requested_reviewers), "requested_teams": pull.requested_teams.iter().map(|slug| self.team(slug)).collect::<Vec<_>>(),
            "head": self.side(&pull.head, &pull.head_sha), "base": self.side(&pull.base, &pull.base_sha),
            "_links": {
                "self": { "href": address }, "html": { "href": html }, "issue": { "href": issue_address },
                "comments": { "href": format!("{issue_address}/comments") },
                "review_comments": { "href": format!("{address}/comments") },
                "review_comment": { "href": self.api("/pulls/comments{/number}") },
                "commits": { "href": format!("{address}/commits") }, "statuses": { "href": statuses },
            },
        });
        extend(&mut shape, object(more));
        shape
    }

    /// A pull request as its own route answers it.
    pub(super) fn full_pull(self, issue: &Issue, pull: &Pull) -> Value {
        let comparison = self.repository.compare(&pull.base_sha, &pull.head_sha);
        let files = self.pull_files(pull);
        let sum = |key: &str| files.iter().filter_map(|file| file[key].as_u64()).sum::<u64>();
        let (mergeable, state) = self.mergeable(pull);
        let mut shape = self.pull(issue, pull);
        let more = json!({
            "merged": pull.merged, "mergeable": mergeable, "rebaseable": mergeable, "mergeable_state": state,
            "merged_by": pull.merged.then(|| self.user(super::state::CALLER)), "comments": issue.comments.len(), "review_comments": pull.line_comments.len(),
            "maintainer_can_modify": pull.maintainer_can_modify, "commits": comparison.ahead.len(),
            "additions": sum("additions"), "deletions": sum("deletions"), "changed_files": files.len(),
        });
        extend(&mut shape, object(more));
        shape
    }

    /// Whether a pull request can be merged, as far as anybody knows yet, and in what state it is.
    fn mergeable(self, pull: &Pull) -> (Option<bool>, &'static str) {
        let conflicts = self.repository.merged(pull).is_none();
        match () {
            () if pull.merged || 0 < pull.unknown_looks => (None, "unknown"),
            () if conflicts => (Some(false), "dirty"),
            () if pull.draft => (Some(true), "draft"),
            () if pull.blocked.is_some() => (Some(true), "blocked"),
            () => (Some(true), "clean"),
        }
    }

    fn team(self, slug: &str) -> Value {
        let address = format!("{}/organizations/1/team/{slug}", self.base);
        json!({
            "id": 1, "node_id": node_id("Team", slug), "name": slug, "slug": slug, "description": null,
            "privacy": "closed", "notification_setting": "notifications_enabled", "permission": "push",
            "url": address, "html_url": format!("{}/orgs/{}/teams/{slug}", self.base, self.repository.owner),
            "members_url": format!("{address}/members{{/member}}"),
            "repositories_url": format!("{address}/repos"), "parent": null, "type": "organization",
            "organization_id": 1,
        })
    }

    fn side(self, branch: &str, sha: &str) -> Value {
        let owner = &self.repository.owner;
        json!({
            "label": format!("{owner}:{branch}"), "ref": branch, "sha": sha,
            "user": self.user(owner), "repo": self.repository(),
        })
    }

    pub(super) fn git_ref(self, name: &str, sha: &str) -> Value {
        json!({
            "ref": name, "node_id": node_id("Ref", name), "url": self.api(&format!("/git/{name}")),
            "object": { "type": "commit", "sha": sha, "url": self.api(&format!("/git/commits/{sha}")) },
        })
    }

    pub(super) fn branch(self, name: &str, commit: &Commit) -> Value {
        let address = self.api(&format!("/branches/{name}"));
        json!({
            "name": name, "commit": self.commit(commit),
            "_links": { "self": address, "html": self.html(&format!("/tree/{name}")) },
            "protected": self.repository.protected.contains(name),
            "protection": {
                "enabled": false,
                "required_status_checks": { "enforcement_level": "off", "contexts": [], "checks": [] },
            },
            "protection_url": format!("{address}/protection"),
        })
    }

    fn signature(self, commit: &Commit) -> Value {
        let login = super::state::CALLER;
        json!({ "name": login, "email": format!("{login}@localhost"), "date": timestamp(commit.at_ms) })
    }

    fn parents(self, commit: &Commit, route: &str) -> Value {
        let parent = |sha: &String| {
            json!({
                "sha": sha, "url": self.api(&format!("/{route}/{sha}")),
                "html_url": self.html(&format!("/commit/{sha}")),
            })
        };
        commit.parents.iter().map(parent).collect()
    }

    /// A commit as git knows it.
    pub(super) fn git_commit(self, commit: &Commit) -> Value {
        let sha = &commit.sha;
        json!({
            "sha": sha, "node_id": node_id("Commit", sha), "url": self.api(&format!("/git/commits/{sha}")),
            "html_url": self.html(&format!("/commit/{sha}")),
            "author": self.signature(commit), "committer": self.signature(commit),
            "tree": self.tree_link(&commit.tree), "message": commit.message,
            "parents": self.parents(commit, "git/commits"), "verification": unsigned(),
        })
    }

    /// A commit as GitHub lists it.
    pub(super) fn commit(self, commit: &Commit) -> Value {
        let sha = &commit.sha;
        let address = self.api(&format!("/commits/{sha}"));
        json!({
            "url": address, "sha": sha, "node_id": node_id("Commit", sha),
            "html_url": self.html(&format!("/commit/{sha}")), "comments_url": format!("{address}/comments"),
            "commit": {
                "url": self.api(&format!("/git/commits/{sha}")),
                "author": self.signature(commit), "committer": self.signature(commit),
                "message": commit.message, "tree": self.tree_link(&commit.tree),
                "comment_count": 0, "verification": unsigned(),
            },
            "author": self.user(super::state::CALLER), "committer": self.user(super::state::CALLER),
            "parents": self.parents(commit, "commits"),
        })
    }

    /// A commit as its own route answers it.
    pub(super) fn full_commit(self, commit: &Commit) -> Value {
        let parent = commit.parents.first().unwrap_or(&commit.sha);
        let files = self.changed_files(&self.repository.compare(parent, &commit.sha));
        let sum = |key: &str| files.iter().filter_map(|file| file[key].as_u64()).sum::<u64>();
        let (additions, deletions) = (sum("additions"), sum("deletions"));
        let mut shape = self.commit(commit);
        shape["stats"] = json!({ "additions": additions, "deletions": deletions, "total": additions + deletions });
        shape["files"] = files.into();
        shape
    }

    fn tree_link(self, sha: &str) -> Value {
        json!({ "sha": sha, "url": self.api(&format!("/git/trees/{sha}")) })
    }

    pub(super) fn tree(self, sha: &str, tree: &Tree, recursive: bool) -> Value {
        let mut entries: Vec<Value> = Vec::new();
        for (directory, files) in directories(tree) {
            if recursive || !directory.contains('/') {
                entries.push(json!({
                    "path": directory, "mode": "040000", "type": "tree", "sha": tree_sha(&files),
                    "url": self.api(&format!("/git/trees/{}", tree_sha(&files))),
                }));
            }
        }
        let files = tree.iter().filter(|(path, _)| recursive || !path.contains('/'));
        entries.extend(files.map(|(path, entry)| self.tree_entry(path, entry)));
        entries.sort_by_key(|entry| entry["path"].as_str().map(str::to_owned));
        json!({ "sha": sha, "url": self.api(&format!("/git/trees/{sha}")), "tree": entries, "truncated": false })
    }

    fn tree_entry(self, path: &str, entry: &TreeEntry) -> Value {
        json!({
            "path": path, "mode": entry.mode, "type": "blob", "sha": entry.sha,
            "size": self.repository.blobs.get(&entry.sha).map_or(0, Vec::len),
            "url": self.api(&format!("/git/blobs/{}", entry.sha)),
        })
    }

    pub(super) fn blob(self, sha: &str, content: &[u8]) -> Value {
        json!({
            "sha": sha, "node_id": node_id("Blob", sha), "size": content.len(),
            "url": self.api(&format!("/git/blobs/{sha}")),
            "content": BASE64_STANDARD.encode(content), "encoding": "base64",
        })
    }

    pub(super) fn comparison(
        self,
        comparison: &Comparison,
        basehead: &str,
        page: Vec<Value>,
    ) -> Value {
        let commit = |sha: &str| self.repository.commits.get(sha).map(|commit| self.commit(commit));
        let html = self.html(&format!("/compare/{basehead}"));
        let status = match (comparison.ahead.len(), comparison.behind) {
            (0, 0) => "identical",
            (_, 0) => "ahead",
            (0, _) => "behind",
            (_, _) => "diverged",
        };
        json!({
            "url": self.api(&format!("/compare/{basehead}")), "html_url": html, "permalink_url": html,
            "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"),
            "base_commit": commit(&comparison.base), "merge_base_commit": commit(&comparison.merge_base),
            "status": status, "ahead_by": comparison.ahead.len(), "behind_by": comparison.behind,
            "total_commits": comparison.ahead.len(), "commits": page,
            "files": self.changed_files(comparison),
        })
    }

    /// The files that differ between the merge base and the head.
    fn changed_files(self, comparison: &Comparison) -> Vec<Value> {
        let tree = |sha: &str| {
            let commit = self.repository.commits.get(sha);
            commit
                .and_then(|commit| self.repository.trees.get(&commit.tree))
                .cloned()
                .unwrap_or_default()
        };
        let (old, new) = (tree(&comparison.merge_base), tree(&comparison.head));
        let paths: BTreeMap<_, _> = old.iter().chain(&new).collect();
        let changed = paths.into_keys().filter(|path| old.get(*path) != new.get(*path));
        changed
            .map(|path| self.changed_file(path, old.get(path), new.get(path), &comparison.head))
            .collect()
    }

    fn changed_file(
        self,
        path: &str,
        old: Option<&TreeEntry>,
        new: Option<&TreeEntry>,
        head: &str,
    ) -> Value {
        let text = |entry: Option<&TreeEntry>| {
            let content = entry.and_then(|entry| self.repository.blobs.get(&entry.sha));
            content.map(|bytes| String::from_utf8(bytes.clone())).unwrap_or(Ok(String::new()))
        };
        // What is not text has no patch.
        let patch = match (text(old), text(new)) {
            (Ok(before), Ok(after)) => patch(&before, &after),
            _ => None,
        };
        let count = |mark: char| {
            let lines = patch.iter().flat_map(|patch| patch.lines());
            lines.filter(|line| line.starts_with(mark)).count()
        };
        let (additions, deletions) = (count('+'), count('-'));
        let status = match (old, new) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "modified",
        };
        let mut shape = json!({
            "sha": new.or(old).map(|entry| &entry.sha), "filename": path, "status": status,
            "additions": additions, "deletions": deletions, "changes": additions + deletions,
            "blob_url": self.html(&format!("/blob/{head}/{path}")),
            "raw_url": self.html(&format!("/raw/{head}/{path}")),
            "contents_url": self.api(&format!("/contents/{path}?ref={head}")),
        });
        if let Some(patch) = patch {
            shape["patch"] = patch.into();
        }
        shape
    }
}

/// Every directory of a tree with the files below it, their paths relative to it.
fn directories(tree: &Tree) -> BTreeMap<String, Tree> {
    let mut found: BTreeMap<String, Tree> = BTreeMap::new();
    for (path, entry) in tree {
        for (index, _) in path.match_indices('/') {
            let below = path[index + 1..].to_owned();
            found.entry(path[..index].to_owned()).or_default().insert(below, entry.clone());
        }
    }
    found
}

fn unsigned() -> Value {
    json!({ "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null })
}

fn reactions(address: &str) -> Value {
    json!({
        "url": format!("{address}/reactions"), "total_count": 0, "+1": 0, "-1": 0, "laugh": 0,
        "hooray": 0, "confused": 0, "heart": 0, "rocket": 0, "eyes": 0,
    })
}

pub(super) fn node_id(kind: &str, id: &str) -> String {
    BASE64_STANDARD.encode(format!("{kind}:{id}"))
}

fn urls(table: &[(&str, &str)], address: &str) -> Map<String, Value> {
    table.iter().map(|(key, rest)| ((*key).to_owned(), format!("{address}{rest}").into())).collect()
}

fn extend(value: &mut Value, more: Map<String, Value>) {
    if let Value::Object(object) = value {
        object.extend(more);
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
