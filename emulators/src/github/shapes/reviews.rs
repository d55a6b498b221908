//! Writes reviews, their comments, reactions and what pull requests change.

use serde_json::{Value, json};

use super::{Shapes, extend, node_id, object, reactions};
use crate::clock::timestamp;
use crate::github::state::{Issue, LineComment, Pull, Reaction, Review};

impl Shapes<'_> {
    pub(in crate::github) fn reaction(self, reaction: &Reaction) -> Value {
        json!({
            "id": reaction.id, "node_id": node_id("Reaction", &reaction.id.to_string()),
            "user": self.user(&reaction.user), "content": reaction.content,
            "created_at": timestamp(reaction.created_ms),
        })
    }

    /// The files that a pull request changes.
    pub(in crate::github) fn pull_files(self, pull: &Pull) -> Vec<Value> {
        let base = self.repository.branch(&pull.base).unwrap_or(&pull.base_sha);
        // After the merge the base holds the head: then what counts is where the pull request began.
        let base = if pull.merged { &pull.base_sha } else { base };
        self.changed_files(&self.repository.compare(base, &pull.head_sha))
    }

    /// What a pull request changes, as one diff.
    pub(in crate::github) fn pull_diff(self, pull: &Pull) -> String {
        self.pull_files(pull).iter().map(file_diff).collect()
    }

    pub(in crate::github) fn review(self, issue: &Issue, review: &Review) -> Value {
        let html = self.html(&format!("/pull/{}#pullrequestreview-{}", issue.number, review.id));
        let pull = self.api(&format!("/pulls/{}", issue.number));
        json!({
            "id": review.id, "node_id": node_id("PullRequestReview", &review.id.to_string()),
            "user": self.user(&review.user), "body": review.body, "state": review.state,
            "html_url": html, "pull_request_url": pull, "author_association": "MEMBER",
            "_links": { "html": { "href": html }, "pull_request": { "href": pull } },
            "submitted_at": timestamp(review.submitted_ms), "commit_id": review.commit,
        })
    }

    pub(in crate::github) fn line_comment(
        self,
        issue: &Issue,
        pull: &Pull,
        comment: &LineComment,
    ) -> Value {
        let html = self.html(&format!("/pull/{}#discussion_r{}", issue.number, comment.id));
        let address = self.api(&format!("/pulls/comments/{}", comment.id));
        let pull_address = self.api(&format!("/pulls/{}", issue.number));
        let mut shape = json!({
            "id": comment.id, "node_id": node_id("PullRequestReviewComment", &comment.id.to_string()),
            "url": address, "html_url": html, "pull_request_url": pull_address,
            "pull_request_review_id": comment.review, "diff_hunk": "@@", "path": comment.path,
            "position": comment.line, "original_position": comment.line,
            "commit_id": pull.head_sha, "original_commit_id": pull.head_sha,
            "user": self.user(&comment.user), "body": comment.body, "author_association": "MEMBER",
            "created_at": timestamp(comment.created_ms), "updated_at": timestamp(comment.created_ms),
            "_links": {
                "self": { "href": address }, "html": { "href": html }, "pull_request": { "href": pull_address },
            },
        });
        let more = json!({
            "line": comment.line, "original_line": comment.line, "side": comment.side,
            "start_line": comment.start_line, "original_start_line": comment.start_line,
            "start_side": comment.start_line.map(|_| &comment.side), "subject_type": "line",
            "reactions": reactions(&address),
        });
        extend(&mut shape, object(more));
        if let Some(answered) = comment.in_reply_to {
            shape["in_reply_to_id"] = answered.into();
        }
        shape
    }
}

fn file_diff(file: &Value) -> String {
    let path = file["filename"].as_str().unwrap_or_default();
    let (mut from, mut to, mut kind) = (format!("a/{path}"), format!("b/{path}"), String::new());
    match file["status"].as_str() {
        Some("added") => {
            (from, kind) = ("/dev/null".to_owned(), "new file mode 100644\n".to_owned())
        }
        Some("removed") => {
            (to, kind) = ("/dev/null".to_owned(), "deleted file mode 100644\n".to_owned());
        }
        _ => {}
    }
    let index = "index 0000000..1111111";
    let patch = match file["patch"].as_str() {
        Some(patch) => format!("{index}\n--- {from}\n+++ {to}\n{patch}\n"),
        None => format!("{index}\n"),
    };
    format!("diff --git a/{path} b/{path}\n{kind}{patch}")
}
