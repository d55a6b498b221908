//! GitHub's rules: what each route does to the state, and what it answers.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::shapes::Shapes;
use super::state::{
    CALLER, Comment, Effect, Issue, Label, Pull, Repository, State, Tree, TreeEntry,
};
use crate::clock;

const DOCUMENTATION: &str = "https://docs.github.com/rest";
const DEFAULT_PER_PAGE: usize = 30;
const MAX_PER_PAGE: usize = 100;

/// A request, taken apart.
pub(super) struct Request {
    pub(super) id: String,
    pub(super) method: Method,
    /// The path's segments, decoded.
    pub(super) segments: Vec<String>,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) authorized: bool,
    pub(super) body: Value,
}

/// What is answered.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// Where addresses in answers point to.
pub(super) struct Addresses {
    pub(super) base: String,
    /// The host of `Link` headers, which on GitHub Enterprise may differ from ours.
    pub(super) link_base: Option<String>,
}

type Outcome = Result<Reply, Reply>;

/// One request at work on the state.
struct Handler<'a> {
    state: &'a mut State,
    addresses: &'a Addresses,
    request: &'a Request,
    full_name: String,
}

/// Answers a request and changes the state as GitHub would.
pub(super) fn answer(state: &mut State, addresses: &Addresses, request: &Request) -> Reply {
    if !request.authorized {
        return refusal(StatusCode::UNAUTHORIZED, "Requires authentication");
    }
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let ["repos", owner, name, rest @ ..] = segments.as_slice() else { return not_found() };
    let full_name = format!("{owner}/{name}");
    if let Some(moved) = moved(state, addresses, request, &full_name) {
        return moved;
    }
    let Some(repository) = state.repository(&full_name) else { return not_found() };
    let full_name = repository.full_name();
    let outcome = Handler { state, addresses, request, full_name }.route(rest);
    outcome.unwrap_or_else(|refused| refused)
}

/// A renamed repository answers with its new address.
fn moved(
    state: &State,
    addresses: &Addresses,
    request: &Request,
    full_name: &str,
) -> Option<Reply> {
    let (_, new) = state.renamed.iter().find(|(old, _)| old.eq_ignore_ascii_case(full_name))?;
    let rest =
        request.path.splitn(5, '/').nth(4).map(|rest| format!("/{rest}")).unwrap_or_default();
    let location = format!("{}/repos/{new}{rest}", addresses.base);
    let reading = request.method == Method::GET;
    let status =
        if reading { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
    let body = json!({ "message": "Moved Permanently", "url": location, "documentation_url": DOCUMENTATION });
    Some(Reply { status, body, headers: vec![("location", location)] })
}

impl Handler<'_> {
    fn route(&mut self, rest: &[&str]) -> Outcome {
        match (self.request.method.as_str(), rest) {
            ("GET", []) => Ok(ok(self.shapes().full_repository())),
            ("GET", ["issues"]) => self.list_issues(),
            ("POST", ["issues"]) => self.create_issue(),
            ("GET", ["issues", number]) => self.get_issue(number),
            ("PATCH", ["issues", number]) => self.update_issue(number),
            ("GET", ["issues", number, "comments"]) => self.list_comments(number),
            ("POST", ["issues", number, "comments"]) => self.create_comment(number),
            ("GET", ["issues", number, "labels"]) => self.list_issue_labels(number),
            ("POST", ["issues", number, "labels"]) => self.add_labels(number),
            ("POST", ["issues", number, "assignees"]) => self.add_assignees(number),
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
            ("GET", ["commits"]) => self.list_commits(),
            ("GET", ["commits", name @ ..]) => self.get_commit(&name.join("/")),
            ("GET", ["compare", basehead @ ..]) => self.compare(&basehead.join("/")),
            ("GET", ["pulls"]) => self.list_pulls(),
            ("POST", ["pulls"]) => self.create_pull(),
            ("GET", ["pulls", number]) => self.get_pull(number),
            ("PATCH", ["pulls", number]) => self.update_pull(number),
            ("POST", ["pulls", number, "requested_reviewers"]) => self.request_reviewers(number),
            _ => Err(not_found()),
        }
    }

    // -- access ---------------------------------------------------------

    fn repository(&self) -> &Repository {
        &self.state.repositories[&self.full_name]
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Repository) -> T) -> T {
        let repository =
            self.state.repository_mut(&self.full_name).expect("found by the same name before");
        change(repository)
    }

    fn shapes(&self) -> Shapes<'_> {
        Shapes { base: &self.addresses.base, repository: self.repository() }
    }

    fn record(&mut self, effect: &str, subject: impl ToString) {
        self.state.ledger.push(Effect {
            at_ms: clock::now_ms(),
            request_id: self.request.id.clone(),
            effect: effect.to_owned(),
            repository: self.full_name.clone(),
            subject: subject.to_string(),
        });
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.request.body.get(key).and_then(Value::as_str)
    }

    fn required(&self, resource: &str, key: &str) -> Result<String, Reply> {
        let found = self.text(key).filter(|text| !text.is_empty()).map(str::to_owned);
        found.ok_or_else(|| invalid(resource, key, "missing_field"))
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let list = self.request.body.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn query(&self, key: &str) -> Option<&str> {
        self.request.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn issue(&self, number: &str) -> Result<&Issue, Reply> {
        let number = number.parse::<u64>().ok();
        number.and_then(|number| self.repository().issues.get(&number)).ok_or_else(not_found)
    }

    fn pull(&self, number: &str) -> Result<(&Issue, &Pull), Reply> {
        let issue = self.issue(number)?;
        issue.pull.as_ref().map(|pull| (issue, pull)).ok_or_else(not_found)
    }

    fn change_issue(&mut self, number: u64, change: impl FnOnce(&mut Issue)) {
        self.change(|repository| {
            let issue = repository.issues.get_mut(&number).expect("looked up before");
            change(issue);
            issue.updated_ms = clock::now_ms();
        });
    }

    // -- issues ---------------------------------------------------------

    fn list_issues(&self) -> Outcome {
        let state = self.query("state").unwrap_or("open");
        let wanted = |issue: &&Issue| state == "all" || issue.state == state;
        let shapes = self.shapes();
        let issues = self.repository().issues.values().rev().filter(wanted);
        self.page(issues.map(|issue| shapes.issue(issue)).collect())
    }

    fn create_issue(&mut self) -> Outcome {
        let title = self.required("Issue", "title")?;
        let (body, labels) = (self.text("body").map(str::to_owned), self.texts("labels"));
        let number = self.open(title, body, labels, None);
        self.record("issue_created", number);
        Ok(created(self.shapes().issue(&self.repository().issues[&number])))
    }

    fn open(
        &mut self,
        title: String,
        body: Option<String>,
        labels: Vec<String>,
        pull: Option<Pull>,
    ) -> u64 {
        let id = self.state.take_id();
        self.know_labels(&labels);
        self.change(|repository| {
            let number = repository.next_number();
            let issue = Issue::new(id, number, title, body, CALLER);
            let issue = Issue { labels, pull, author_association: "MEMBER".to_owned(), ..issue };
            repository.issues.insert(number, issue);
            number
        })
    }

    fn get_issue(&self, number: &str) -> Outcome {
        Ok(ok(self.shapes().issue(self.issue(number)?)))
    }

    fn update_issue(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        let body = self.request.body.clone();
        let milestone = body.get("milestone").map(Value::as_u64);
        if let Some(Some(wanted)) = milestone
            && !self.repository().milestones.contains_key(&wanted)
        {
            return Err(invalid("Issue", "milestone", "invalid"));
        }
        self.change_issue(number, |issue| {
            issue.apply(&body);
            issue.milestone = milestone.unwrap_or(issue.milestone);
        });
        self.record("issue_updated", number);
        self.get_issue(&number.to_string())
    }

    fn list_comments(&self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        self.page(
            issue.comments.iter().map(|comment| self.shapes().comment(issue, comment)).collect(),
        )
    }

    fn create_comment(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        let body = self.required("IssueComment", "body")?;
        let id = self.state.take_id();
        let comment = Comment { id, body, user: CALLER.to_owned(), created_ms: clock::now_ms() };
        self.change_issue(number, |issue| issue.comments.push(comment.clone()));
        self.record("comment_created", id);
        Ok(created(self.shapes().comment(&self.repository().issues[&number], &comment)))
    }

    fn list_issue_labels(&self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        self.page(issue.labels.iter().map(|name| self.shapes().label(name)).collect())
    }

    fn add_labels(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        let labels = self.texts("labels");
        self.know_labels(&labels);
        for label in labels {
            if !self.repository().issues[&number].labels.contains(&label) {
                self.change_issue(number, |issue| issue.labels.push(label.clone()));
                self.record("label_added", format!("{number} {label}"));
            }
        }
        Ok(ok(self.shapes().labels(&self.repository().issues[&number])))
    }

    /// A label that is used comes into being.
    fn know_labels(&mut self, labels: &[String]) {
        for name in labels {
            let id = self.state.take_id();
            let new = Label { id, color: "ededed".to_owned() };
            self.change(|repository| _ = repository.labels.entry(name.clone()).or_insert(new));
        }
    }

    fn add_assignees(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        // GitHub passes over who cannot be assigned without a word.
        let known = |login: &String| self.repository().collaborators.contains(login);
        let logins: Vec<_> = self.texts("assignees").into_iter().filter(known).collect();
        self.change_issue(number, |issue| merge(&mut issue.assignees, logins));
        self.record("assignees_added", number);
        Ok(created(self.shapes().issue(&self.repository().issues[&number])))
    }

    // -- refs -----------------------------------------------------------

    fn list_branches(&self) -> Outcome {
        let shapes = self.shapes();
        let branch = |name: &str| {
            let sha = self.repository().branch(name).unwrap_or_default();
            let link = shapes.api(&format!("/commits/{sha}"));
            json!({ "name": name, "commit": { "sha": sha, "url": link }, "protected": false })
        };
        self.page(self.repository().branches().into_iter().map(branch).collect())
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

    fn refuse_empty(&self) -> Result<(), Reply> {
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
        self.change(|repository| repository.refs.remove(&full))
            .ok_or_else(|| unprocessable("Reference does not exist"))?;
        self.record("ref_deleted", &full);
        Ok(Reply { status: StatusCode::NO_CONTENT, body: Value::Null, headers: Vec::new() })
    }

    // -- git objects ----------------------------------------------------

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

    // -- commits --------------------------------------------------------

    fn list_commits(&self) -> Outcome {
        self.refuse_empty()?;
        let repository = self.repository();
        let start = self.query("sha").unwrap_or(&repository.default_branch);
        let sha = repository.resolve(start).ok_or_else(not_found)?;
        let since = self.query("since").map(str::to_owned);
        let recent = |commit: &&super::state::Commit| {
            since.as_deref().is_none_or(|since| since <= clock::timestamp(commit.at_ms).as_str())
        };
        let commits = repository.walk(sha).into_iter().filter(recent);
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

    // -- pull requests --------------------------------------------------

    fn list_pulls(&self) -> Outcome {
        let state = self.query("state").unwrap_or("open");
        let owner = format!("{}:", self.repository().owner);
        let head = self.query("head").map(|head| head.strip_prefix(&owner).unwrap_or(head));
        let base = self.query("base");
        let wanted = |issue: &Issue, pull: &Pull| {
            (state == "all" || issue.state == state)
                && head.is_none_or(|head| pull.head == head)
                && base.is_none_or(|base| pull.base == base)
        };
        let shapes = self.shapes();
        let pulls = self.repository().issues.values().rev();
        let pulls = pulls.filter_map(|issue| issue.pull.as_ref().map(|pull| (issue, pull)));
        let pulls = pulls.filter(|(issue, pull)| wanted(issue, pull));
        self.page(pulls.map(|(issue, pull)| shapes.pull(issue, pull)).collect())
    }

    fn create_pull(&mut self) -> Outcome {
        let (title, head) =
            (self.required("PullRequest", "title")?, self.required("PullRequest", "head")?);
        let base = self.required("PullRequest", "base")?;
        let owner = format!("{}:", self.repository().owner);
        let head = head.strip_prefix(&owner).unwrap_or(&head).to_owned();
        let pull = self.new_pull(&head, &base)?;
        let body = self.text("body").map(str::to_owned);
        let number = self.open(title, body, Vec::new(), Some(pull));
        self.record("pull_created", number);
        let reply = self.get_pull(&number.to_string())?;
        Ok(Reply { status: StatusCode::CREATED, ..reply })
    }

    fn new_pull(&self, head: &str, base: &str) -> Result<Pull, Reply> {
        let repository = self.repository();
        let side = |field, branch: &str| {
            let sha = repository.branch(branch).map(str::to_owned);
            sha.ok_or_else(|| invalid("PullRequest", field, "invalid"))
        };
        let (head_sha, base_sha) = (side("head", head)?, side("base", base)?);
        if repository.open_pull(head, base).is_some() {
            let text = format!("A pull request already exists for {}:{head}.", repository.owner);
            return Err(custom("PullRequest", &text));
        }
        if repository.compare(&base_sha, &head_sha).ahead.is_empty() {
            return Err(custom("PullRequest", &format!("No commits between {base} and {head}")));
        }
        let flag =
            |key: &str| self.request.body.get(key).and_then(Value::as_bool).unwrap_or_default();
        Ok(Pull {
            head: head.to_owned(),
            base: base.to_owned(),
            draft: flag("draft"),
            merged: false,
            maintainer_can_modify: flag("maintainer_can_modify"),
            requested_reviewers: Vec::new(),
            requested_teams: Vec::new(),
            head_sha,
            base_sha,
        })
    }

    fn get_pull(&self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        Ok(ok(self.shapes().full_pull(issue, pull)))
    }

    fn update_pull(&mut self, number: &str) -> Outcome {
        let number = self.pull(number)?.0.number;
        let body = self.request.body.clone();
        self.change_issue(number, |issue| issue.apply(&body));
        self.record("pull_updated", number);
        self.get_pull(&number.to_string())
    }

    fn request_reviewers(&mut self, number: &str) -> Outcome {
        let number = self.pull(number)?.0.number;
        let reviewers = self.texts("reviewers");
        if reviewers.iter().any(|login| !self.repository().collaborators.contains(login)) {
            let text = "Reviews may only be requested from collaborators. One or more of the users or \
                        teams you specified is not a collaborator of the repository.";
            return Err(unprocessable(text));
        }
        let teams = self.texts("team_reviewers");
        self.change_issue(number, |issue| {
            let pull = issue.pull.as_mut().expect("looked up as a pull request");
            merge(&mut pull.requested_reviewers, reviewers);
            merge(&mut pull.requested_teams, teams);
        });
        self.record("reviewers_requested", number);
        let (issue, pull) = self.pull(&number.to_string())?;
        Ok(created(self.shapes().pull(issue, pull)))
    }

    // -- paging ---------------------------------------------------------

    fn page(&self, items: Vec<Value>) -> Outcome {
        let (page, link) = self.cut(items);
        Ok(Reply { headers: link.into_iter().collect(), ..ok(page.into()) })
    }

    fn cut(&self, items: Vec<Value>) -> (Vec<Value>, Option<(&'static str, String)>) {
        let number = |key: &str| self.query(key).and_then(|value| value.parse::<usize>().ok());
        let per_page = number("per_page").unwrap_or(DEFAULT_PER_PAGE).clamp(1, MAX_PER_PAGE);
        let page = number("page").unwrap_or(1).max(1);
        let last = items.len().div_ceil(per_page).max(1);
        let start = (page - 1).saturating_mul(per_page);
        let link = self.link(page, last);
        (items.into_iter().skip(start).take(per_page).collect(), link)
    }

    fn link(&self, page: usize, last: usize) -> Option<(&'static str, String)> {
        let others =
            [("prev", page.wrapping_sub(1)), ("next", page + 1), ("last", last), ("first", 1)];
        let exists = |(name, number): &(&str, usize)| match *name {
            "prev" | "first" => 1 < page && *number <= last,
            _ => page < last,
        };
        let links: Vec<_> = others
            .iter()
            .filter(|other| exists(other))
            .map(|(name, number)| format!("<{}>; rel=\"{name}\"", self.page_address(*number)))
            .collect();
        (!links.is_empty()).then(|| ("link", links.join(", ")))
    }

    fn page_address(&self, page: usize) -> String {
        let base = self.addresses.link_base.as_ref().unwrap_or(&self.addresses.base);
        let path = self.request.path.split('?').next().unwrap_or_default();
        let others = self.request.query.iter().filter(|(key, _)| key != "page");
        let query: String =
            others.map(|(key, value)| format!("{key}={}&", escape(value))).collect();
        format!("{base}{path}?{query}page={page}")
    }
}

impl Issue {
    pub(super) fn new(
        id: u64,
        number: u64,
        title: String,
        body: Option<String>,
        user: &str,
    ) -> Self {
        let now = clock::now_ms();
        Self {
            id,
            number,
            title,
            body,
            state: "open".to_owned(),
            user: user.to_owned(),
            author_association: "NONE".to_owned(),
            labels: Vec::new(),
            assignees: Vec::new(),
            milestone: None,
            comments: Vec::new(),
            created_ms: now,
            updated_ms: now,
            closed_ms: None,
            pull: None,
        }
    }

    /// Takes over the plain fields of a PATCH.
    fn apply(&mut self, body: &Value) {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        self.title = text("title").unwrap_or_else(|| self.title.clone());
        self.body = text("body").or_else(|| self.body.take());
        if let Some(state) = text("state") {
            self.closed_ms = (state == "closed").then(clock::now_ms);
            self.state = state;
        }
        if let (Some(base), Some(pull)) = (text("base"), &mut self.pull) {
            pull.base = base;
        }
    }
}

impl Repository {
    /// The open pull request from one branch to another.
    pub fn open_pull(&self, head: &str, base: &str) -> Option<&Issue> {
        let fits = |pull: &Pull| pull.head == head && pull.base == base;
        let mut open = self.issues.values().filter(|issue| issue.state == "open");
        open.find(|issue| issue.pull.as_ref().is_some_and(fits))
    }

    /// Open pull requests move with their head.
    fn follow(&mut self, full_ref: &str, sha: &str) {
        for issue in self.issues.values_mut().filter(|issue| issue.state == "open") {
            if let Some(pull) = &mut issue.pull
                && full_ref == format!("refs/heads/{}", pull.head)
            {
                sha.clone_into(&mut pull.head_sha);
            }
        }
    }
}

fn merge(list: &mut Vec<String>, more: Vec<String>) {
    for entry in more {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
}

/// Writes a query value so that it survives in an address.
fn escape(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    let write =
        |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(write).collect()
}

fn ok(body: Value) -> Reply {
    Reply { status: StatusCode::OK, body, headers: Vec::new() }
}

fn created(body: Value) -> Reply {
    Reply { status: StatusCode::CREATED, ..ok(body) }
}

/// An answer that says no.
pub(super) fn refusal(status: StatusCode, message: &str) -> Reply {
    let body = json!({
        "message": message, "documentation_url": DOCUMENTATION, "status": status.as_str(),
    });
    Reply { status, body, headers: Vec::new() }
}

pub(super) fn not_found() -> Reply {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

fn unprocessable(message: &str) -> Reply {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn validation(error: Value) -> Reply {
    let mut reply = unprocessable("Validation Failed");
    reply.body["errors"] = json!([error]);
    reply
}

fn invalid(resource: &str, field: &str, code: &str) -> Reply {
    validation(json!({ "resource": resource, "field": field, "code": code }))
}

fn custom(resource: &str, message: &str) -> Reply {
    validation(json!({ "resource": resource, "code": "custom", "message": message }))
}
