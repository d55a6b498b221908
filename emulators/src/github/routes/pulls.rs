//! Pull requests and reviews.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Handler, Outcome, Reply, created, custom, invalid, merge, ok, refusal, unprocessable};
use crate::github::state::{Issue, Pull, Repository};

impl Handler<'_> {
    /// The routes of pull requests.
    pub(super) fn pull_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["pulls"]) => self.list_pulls(),
            ("POST", ["pulls"]) => self.create_pull(),
            ("GET", ["pulls", number]) if self.request.accept.contains("diff") => {
                self.get_diff(number)
            }
            ("GET", ["pulls", number]) => self.look_at_pull(number),
            ("PATCH", ["pulls", number]) => self.update_pull(number),
            ("POST", ["pulls", number, "requested_reviewers"]) => self.request_reviewers(number),
            _ => return None,
        })
    }

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
        let body = self.body_text("PullRequest")?;
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
            merged_ms: None,
            merge_commit: None,
            reviews: Vec::new(),
            line_comments: Vec::new(),
            unknown_looks: 0,
            blocked: None,
            huge: false,
        })
    }

    /// Answers a pull request, and works out meanwhile whether it can be merged.
    fn look_at_pull(&mut self, number: &str) -> Outcome {
        let reply = self.get_pull(number)?;
        let number = self.pull(number)?.0.number;
        self.change(|repository| {
            let issue = repository.issues.get_mut(&number).expect("looked up before");
            let pull = issue.pull.as_mut().expect("looked up as a pull request");
            pull.unknown_looks = pull.unknown_looks.saturating_sub(1);
        });
        Ok(reply)
    }

    fn get_diff(&self, number: &str) -> Outcome {
        let (_, pull) = self.pull(number)?;
        if pull.huge {
            let message = "Sorry, the diff exceeded the maximum number of lines (20000)";
            let mut reply = refusal(StatusCode::NOT_ACCEPTABLE, message);
            reply.body["errors"] =
                json!([{ "resource": "PullRequest", "field": "diff", "code": "too_large" }]);
            return Err(reply);
        }
        let headers =
            vec![("content-type", "application/vnd.github.diff; charset=utf-8".to_owned())];
        Ok(Reply { headers, ..ok(self.shapes().pull_diff(pull).into()) })
    }

    fn get_pull(&self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        Ok(ok(self.shapes().full_pull(issue, pull)))
    }

    fn update_pull(&mut self, number: &str) -> Outcome {
        let number = self.pull(number)?.0.number;
        self.body_text("PullRequest")?;
        if let Some(base) = self.text("base")
            && self.repository().branch(base).is_none()
        {
            return Err(invalid("PullRequest", "base", "invalid"));
        }
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
        if reviewers.contains(&self.pull(&number.to_string())?.0.user) {
            return Err(unprocessable("Review cannot be requested from pull request author."));
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
}

impl Repository {
    /// The open pull request from one branch to another.
    pub fn open_pull(&self, head: &str, base: &str) -> Option<&Issue> {
        let fits = |pull: &Pull| pull.head == head && pull.base == base;
        let mut open = self.issues.values().filter(|issue| issue.state == "open");
        open.find(|issue| issue.pull.as_ref().is_some_and(fits))
    }

    /// Open pull requests move with their head.
    pub(super) fn follow(&mut self, full_ref: &str, sha: &str) {
        for issue in self.issues.values_mut().filter(|issue| issue.state == "open") {
            if let Some(pull) = &mut issue.pull
                && full_ref == format!("refs/heads/{}", pull.head)
            {
                sha.clone_into(&mut pull.head_sha);
            }
        }
    }
}
