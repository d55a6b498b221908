//! Issues and the people on them.

use axum::http::StatusCode;
use serde_json::Value;

use super::{Handler, Outcome, Reply, created, invalid, merge, ok, refusal};
use crate::clock;
use crate::github::state::{CALLER, Issue, Pull};

impl Handler<'_> {
    /// The routes of issues.
    pub(super) fn issue_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["issues"]) => self.list_issues(),
            ("POST", ["issues"]) => self.create_issue(),
            ("GET", ["issues", number]) => self.get_issue(number),
            ("PATCH", ["issues", number]) => self.update_issue(number),
            ("POST", ["issues", number, "assignees"]) => self.add_assignees(number),
            _ => return None,
        })
    }

    fn list_issues(&self) -> Outcome {
        self.refuse_without_issues()?;
        let mut issues: Vec<_> =
            self.repository().issues.values().filter(|issue| self.is_wanted(issue)).collect();
        match self.query("sort") {
            Some("updated") => issues.sort_by_key(|issue| issue.updated_ms),
            Some("comments") => issues.sort_by_key(|issue| issue.comments.len()),
            _ => {}
        }
        if self.query("direction") != Some("asc") {
            issues.reverse();
        }
        let shapes = self.shapes();
        self.page(issues.into_iter().map(|issue| shapes.issue(issue)).collect())
    }

    fn is_wanted(&self, issue: &Issue) -> bool {
        let state = self.query("state").unwrap_or("open");
        let has = |name: &str| issue.labels.iter().any(|own| own.eq_ignore_ascii_case(name));
        let assigned = |wanted: &str| match wanted {
            "none" => issue.assignees.is_empty(),
            "*" => !issue.assignees.is_empty(),
            login => issue.assignees.iter().any(|own| own == login),
        };
        let planned = |wanted: &str| match wanted {
            "none" => issue.milestone.is_none(),
            "*" => issue.milestone.is_some(),
            number => issue.milestone.is_some_and(|own| own.to_string() == number),
        };
        (state == "all" || issue.state == state)
            && self
                .query("labels")
                .is_none_or(|names| names.split(',').all(|name| has(name.trim())))
            && self.query("creator").is_none_or(|login| issue.user == login)
            && self.query("assignee").is_none_or(assigned)
            && self.query("milestone").is_none_or(planned)
            && self.query("type").is_none_or(|kind| issue.kind.as_deref() == Some(kind))
            && self.is_since(issue.updated_ms)
    }

    fn refuse_without_issues(&self) -> Result<(), Reply> {
        if self.repository().without_issues {
            return Err(refusal(StatusCode::GONE, "Issues are disabled for this repo"));
        }
        Ok(())
    }

    fn create_issue(&mut self) -> Outcome {
        self.refuse_without_issues()?;
        let title = self.required("Issue", "title")?;
        let (body, labels) = (self.body_text("Issue")?, self.texts("labels"));
        let milestone = self.known_milestone()?.flatten();
        let assignees = self.assignable();
        let kind = self.text("type").map(str::to_owned);
        let number = self.open(title, body, labels, None);
        self.change_issue(number, |issue| {
            issue.milestone = milestone;
            issue.assignees = assignees;
            issue.kind = kind;
        });
        self.record("issue_created", number);
        Ok(created(self.shapes().issue(&self.repository().issues[&number])))
    }

    /// The milestone of a request, if it names one: a number, or null for none.
    fn known_milestone(&self) -> Result<Option<Option<u64>>, Reply> {
        let Some(milestone) = self.request.body.get("milestone") else { return Ok(None) };
        match milestone.as_u64() {
            Some(number) if !self.repository().milestones.contains_key(&number) => {
                Err(invalid("Issue", "milestone", "invalid"))
            }
            number => Ok(Some(number)),
        }
    }

    /// Those of the named who can be assigned. GitHub passes over the others without a word.
    fn assignable(&self) -> Vec<String> {
        let known = |login: &String| self.repository().collaborators.contains(login);
        self.texts("assignees").into_iter().filter(known).collect()
    }

    pub(super) fn open(
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
        let issue = self.issue(number)?;
        if issue.pull.is_none() {
            self.refuse_without_issues()?;
        }
        Ok(ok(self.shapes().issue(issue)))
    }

    fn update_issue(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        self.body_text("Issue")?;
        let milestone = self.known_milestone()?;
        let body = self.request.body.clone();
        let labels = body.get("labels").map(|_| self.texts("labels"));
        let assignees = body.get("assignees").map(|_| self.assignable());
        let kind = self.text("type").map(str::to_owned);
        self.know_labels(labels.as_deref().unwrap_or_default());
        self.change_issue(number, |issue| {
            issue.apply(&body);
            issue.milestone = milestone.unwrap_or(issue.milestone);
            issue.labels = labels.unwrap_or_else(|| issue.labels.clone());
            issue.assignees = assignees.unwrap_or_else(|| issue.assignees.clone());
            issue.kind = kind.or_else(|| issue.kind.take());
        });
        self.record("issue_updated", number);
        self.get_issue(&number.to_string())
    }

    fn add_assignees(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        let logins = self.assignable();
        self.change_issue(number, |issue| merge(&mut issue.assignees, logins));
        self.record("assignees_added", number);
        Ok(created(self.shapes().issue(&self.repository().issues[&number])))
    }
}

impl Issue {
    pub(in crate::github) fn new(
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
            state_reason: None,
            kind: None,
            reactions: Vec::new(),
            created_ms: now,
            updated_ms: now,
            closed_ms: None,
            pull: None,
        }
    }

    /// Takes over the plain fields of a PATCH.
    pub(super) fn apply(&mut self, body: &Value) {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        self.title = text("title").unwrap_or_else(|| self.title.clone());
        self.body = text("body").or_else(|| self.body.take());
        if let Some(state) = text("state") {
            if state != self.state || body.get("state_reason").is_some() {
                let default = if state == "closed" { "completed" } else { "reopened" };
                self.state_reason =
                    Some(text("state_reason").unwrap_or_else(|| default.to_owned()));
            }
            self.closed_ms = (state == "closed").then(clock::now_ms);
            self.state = state;
        }
        if let (Some(base), Some(pull)) = (text("base"), &mut self.pull) {
            pull.base = base;
        }
    }
}
