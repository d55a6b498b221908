//! Reviews of pull requests, and comments on their lines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Handler, Outcome, Reply, created, not_found, ok, unprocessable};
use crate::clock;
use crate::github::patches;
use crate::github::state::{CALLER, LineComment, Review};

/// The lines that can be commented on, by file: as it was, and as it is.
type Shown = BTreeMap<String, (std::collections::BTreeSet<u64>, std::collections::BTreeSet<u64>)>;

impl Handler<'_> {
    /// The routes of reviews.
    pub(super) fn review_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["pulls", number, "files"]) => self.list_files(number),
            ("GET", ["pulls", number, "reviews"]) => self.list_reviews(number),
            ("POST", ["pulls", number, "reviews"]) => self.create_review(number),
            ("GET", ["pulls", number, "comments"]) => self.list_line_comments(number),
            ("POST", ["pulls", number, "comments", id, "replies"]) => self.reply(number, id),
            _ => return None,
        })
    }

    fn list_files(&self, number: &str) -> Outcome {
        let (_, pull) = self.pull(number)?;
        self.page(self.shapes().pull_files(pull))
    }

    fn list_reviews(&self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        let shapes = self.shapes();
        self.page(pull.reviews.iter().map(|review| shapes.review(issue, review)).collect())
    }

    fn list_line_comments(&self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        let recent = pull.line_comments.iter().filter(|own| self.is_since(own.created_ms));
        let shapes = self.shapes();
        self.page(recent.map(|own| shapes.line_comment(issue, pull, own)).collect())
    }

    fn create_review(&mut self, number: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        let (number, author, head) = (issue.number, issue.user.clone(), pull.head_sha.clone());
        let body = self.body_text("PullRequestReview")?.unwrap_or_default();
        let state = match self.text("event") {
            Some("APPROVE") => "APPROVED",
            Some("REQUEST_CHANGES") => "CHANGES_REQUESTED",
            Some("COMMENT") => "COMMENTED",
            Some(_) => return Err(unprocessable("Variable $event was provided invalid value")),
            None => "PENDING",
        };
        if author == CALLER && state == "APPROVED" {
            return Err(refused("Can not approve your own pull request"));
        }
        if author == CALLER && state == "CHANGES_REQUESTED" {
            return Err(refused("Can not request changes on your own pull request"));
        }
        let commit = self.text("commit_id").unwrap_or(&head).to_owned();
        if !self.repository().commits.contains_key(&commit) {
            return Err(refused("The commitOID is not part of the pull request"));
        }
        let given = self.request.body["comments"].as_array().cloned().unwrap_or_default();
        if body.is_empty() && given.is_empty() && state != "APPROVED" {
            return Err(refused("Body is too short (minimum is 1 character)"));
        }
        let comments = self.line_comments(&number.to_string(), &given)?;
        let (id, submitted_ms) = (self.state.take_id(), clock::now_ms());
        let comments: Vec<_> = comments
            .into_iter()
            .map(|own| LineComment { id: self.state.take_id(), review: Some(id), ..own })
            .collect();
        let review = Review {
            id,
            user: CALLER.to_owned(),
            body,
            state: state.to_owned(),
            commit,
            submitted_ms,
        };
        self.change_issue(number, |issue| {
            let pull = issue.pull.as_mut().expect("looked up as a pull request");
            pull.reviews.push(review.clone());
            pull.line_comments.extend(comments);
        });
        self.record("review_created", id);
        Ok(ok(self.shapes().review(&self.repository().issues[&number], &review)))
    }

    /// The comments of a review, if all of them are on lines that the diff shows.
    fn line_comments(&self, number: &str, given: &[Value]) -> Result<Vec<LineComment>, Reply> {
        let (_, pull) = self.pull(number)?;
        let shown: Shown = self
            .shapes()
            .pull_files(pull)
            .iter()
            .map(|file| {
                let patch = file["patch"].as_str().unwrap_or_default();
                (file["filename"].as_str().unwrap_or_default().to_owned(), patches::lines(patch))
            })
            .collect();
        given.iter().map(|comment| line_comment(comment, &shown)).collect()
    }

    fn reply(&mut self, number: &str, id: &str) -> Outcome {
        let (issue, pull) = self.pull(number)?;
        let number = issue.number;
        let id = id.parse::<u64>().map_err(|_| not_found())?;
        let answered = pull.line_comments.iter().find(|own| own.id == id).cloned();
        let answered = answered.ok_or_else(not_found)?;
        let body = self.required("PullRequestReviewComment", "body")?;
        let comment = LineComment {
            id: self.state.take_id(),
            in_reply_to: Some(id),
            body,
            user: CALLER.to_owned(),
            created_ms: clock::now_ms(),
            ..answered
        };
        self.change_issue(number, |issue| {
            let pull = issue.pull.as_mut().expect("looked up as a pull request");
            pull.line_comments.push(comment.clone());
        });
        self.record("line_comment_created", comment.id);
        let (issue, pull) = self.pull(&number.to_string())?;
        Ok(created(self.shapes().line_comment(issue, pull, &comment)))
    }
}

fn line_comment(given: &Value, shown: &Shown) -> Result<LineComment, Reply> {
    let text = |key: &str| given[key].as_str().map(str::to_owned);
    let path = text("path").unwrap_or_default();
    let (left, right) = shown.get(&path).ok_or_else(|| refused("Path could not be resolved"))?;
    let side = text("side").unwrap_or_else(|| "RIGHT".to_owned());
    let lines = if side == "LEFT" { left } else { right };
    let (line, start_line) = (given["line"].as_u64(), given["start_line"].as_u64());
    let line = line.filter(|line| lines.contains(line));
    let line = line.ok_or_else(|| refused("Line could not be resolved"))?;
    if start_line.is_some_and(|start| !lines.contains(&start) || line <= start) {
        return Err(refused("Start line could not be resolved"));
    }
    let body = text("body").filter(|body| !body.is_empty());
    Ok(LineComment {
        id: 0,
        review: None,
        in_reply_to: None,
        path,
        line,
        start_line,
        side,
        body: body.ok_or_else(|| refused("Body can't be blank"))?,
        user: CALLER.to_owned(),
        created_ms: clock::now_ms(),
    })
}

/// Refuses as this family of routes does: with plain texts in the list of errors.
fn refused(message: &str) -> Reply {
    let mut reply = unprocessable("Unprocessable Entity");
    reply.body["errors"] = json!([message]);
    reply
}
