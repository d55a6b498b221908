//! Issues, their comments, labels and people.

use serde_json::Value;

use super::{Handler, Outcome, created, invalid, merge, ok};
use crate::clock;
use crate::github::state::{CALLER, Comment, Issue, Label, Pull};

impl Handler<'_> {
    /// The routes of issues.
    pub(super) fn issue_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["issues"]) => self.list_issues(),
            ("POST", ["issues"]) => self.create_issue(),
            ("GET", ["issues", number]) => self.get_issue(number),
            ("PATCH", ["issues", number]) => self.update_issue(number),
            ("GET", ["issues", number, "comments"]) => self.list_comments(number),
            ("POST", ["issues", number, "comments"]) => self.create_comment(number),
            ("GET", ["issues", number, "labels"]) => self.list_issue_labels(number),
            ("POST", ["issues", number, "labels"]) => self.add_labels(number),
            ("POST", ["issues", number, "assignees"]) => self.add_assignees(number),
            _ => return None,
        })
    }

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
            self.closed_ms = (state == "closed").then(clock::now_ms);
            self.state = state;
        }
        if let (Some(base), Some(pull)) = (text("base"), &mut self.pull) {
            pull.base = base;
        }
    }
}
