//! Comments on issues, and reactions.

use axum::http::StatusCode;
use serde_json::Value;

use super::{Handler, Outcome, Reply, created, invalid, not_found, ok};
use crate::clock;
use crate::github::state::{CALLER, Comment, Issue, Reaction};

const REACTIONS: [&str; 8] = ["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"];

impl Handler<'_> {
    /// The routes of comments and reactions.
    pub(super) fn comment_routes(&mut self, rest: &[&str]) -> Option<Outcome> {
        Some(match (self.request.method.as_str(), rest) {
            ("GET", ["issues", "comments", id]) => self.get_comment(id),
            ("PATCH", ["issues", "comments", id]) => self.update_comment(id),
            ("GET", ["issues", "comments", id, "reactions"]) => self.comment_reactions(id),
            ("POST", ["issues", "comments", id, "reactions"]) => self.react_to_comment(id),
            ("GET", ["issues", number, "comments"]) => self.list_comments(number),
            ("POST", ["issues", number, "comments"]) => self.create_comment(number),
            ("GET", ["issues", number, "reactions"]) => self.issue_reactions(number),
            ("POST", ["issues", number, "reactions"]) => self.react_to_issue(number),
            _ => return None,
        })
    }

    fn list_comments(&self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        let recent = issue.comments.iter().filter(|comment| self.is_since(comment.updated_ms));
        self.page(recent.map(|comment| self.shapes().comment(issue, comment)).collect())
    }

    fn create_comment(&mut self, number: &str) -> Outcome {
        let number = self.issue(number)?.number;
        self.required("IssueComment", "body")?;
        let body = self.body_text("IssueComment")?.unwrap_or_default();
        let (id, now) = (self.state.take_id(), clock::now_ms());
        let user = CALLER.to_owned();
        let comment =
            Comment { id, body, user, created_ms: now, updated_ms: now, reactions: Vec::new() };
        self.change_issue(number, |issue| issue.comments.push(comment.clone()));
        self.record("comment_created", id);
        Ok(created(self.shapes().comment(&self.repository().issues[&number], &comment)))
    }

    fn comment(&self, id: &str) -> Result<(&Issue, &Comment), Reply> {
        let id = id.parse::<u64>().map_err(|_| not_found())?;
        let comments = self.repository().issues.values();
        let mut comments =
            comments.flat_map(|issue| issue.comments.iter().map(move |comment| (issue, comment)));
        comments.find(|(_, comment)| comment.id == id).ok_or_else(not_found)
    }

    fn change_comment(&mut self, number: u64, id: u64, change: impl FnOnce(&mut Comment)) {
        self.change_issue(number, |issue| {
            let found = issue.comments.iter_mut().find(|comment| comment.id == id);
            change(found.expect("looked up before"));
        });
    }

    fn get_comment(&self, id: &str) -> Outcome {
        let (issue, comment) = self.comment(id)?;
        Ok(ok(self.shapes().comment(issue, comment)))
    }

    fn update_comment(&mut self, text: &str) -> Outcome {
        let (issue, comment) = self.comment(text)?;
        let (number, id) = (issue.number, comment.id);
        self.required("IssueComment", "body")?;
        let body = self.body_text("IssueComment")?.unwrap_or_default();
        self.change_comment(number, id, |comment| {
            comment.body = body;
            comment.updated_ms = clock::now_ms();
        });
        self.record("comment_updated", id);
        self.get_comment(text)
    }

    fn comment_reactions(&self, id: &str) -> Outcome {
        let (_, comment) = self.comment(id)?;
        self.page(comment.reactions.iter().map(|own| self.shapes().reaction(own)).collect())
    }

    fn issue_reactions(&self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        self.page(issue.reactions.iter().map(|own| self.shapes().reaction(own)).collect())
    }

    fn react_to_comment(&mut self, text: &str) -> Outcome {
        let (issue, comment) = self.comment(text)?;
        let (number, id, there) = (issue.number, comment.id, comment.reactions.clone());
        let (reaction, new) = self.reaction(&there)?;
        if new {
            let added = reaction.clone();
            self.change_comment(number, id, |comment| comment.reactions.push(added));
            self.record("reaction_created", id);
        }
        Ok(self.reacted(&reaction, new))
    }

    fn react_to_issue(&mut self, number: &str) -> Outcome {
        let issue = self.issue(number)?;
        let (number, there) = (issue.number, issue.reactions.clone());
        let (reaction, new) = self.reaction(&there)?;
        if new {
            let added = reaction.clone();
            self.change_issue(number, |issue| issue.reactions.push(added));
            self.record("reaction_created", number);
        }
        Ok(self.reacted(&reaction, new))
    }

    /// The reaction that is asked for, and whether it is new: everybody has each reaction once.
    fn reaction(&mut self, there: &[Reaction]) -> Result<(Reaction, bool), Reply> {
        let content = self.required("Reaction", "content")?;
        if !REACTIONS.contains(&content.as_str()) {
            return Err(invalid("Reaction", "content", "invalid"));
        }
        let own = |own: &&Reaction| own.content == content && own.user == CALLER;
        if let Some(found) = there.iter().find(own) {
            return Ok((found.clone(), false));
        }
        let (id, created_ms) = (self.state.take_id(), clock::now_ms());
        Ok((Reaction { id, user: CALLER.to_owned(), content, created_ms }, true))
    }

    fn reacted(&self, reaction: &Reaction, new: bool) -> Reply {
        let body: Value = self.shapes().reaction(reaction);
        let status = if new { StatusCode::CREATED } else { StatusCode::OK };
        Reply { status, ..ok(body) }
    }
}
