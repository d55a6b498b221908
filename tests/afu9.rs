//! Documents of AFU-9 run as they are: written by its conventions here, and its own where they lie beside the project.

use std::path::Path;

use serde_json::{Value, json};

use crate::shipped::Stage;

const TRIAGE: &str = include_str!("afu9/triage.json");
const REVIEW: &str = include_str!("afu9/review.json");

const REVIEWS: &str = "
- profile: reviewCode
  answer: { summary: One defect., has_feedback: FEEDBACK, verdict: comment, comments: [], score: 70 }
";

fn repo() -> Value {
    json!({ "owner": "octo", "name": "hello", "default_branch": "main" })
}

/// A document of AFU-9's own. Other people's work is not part of this project; who has it says where.
#[allow(clippy::print_stderr, reason = "whoever reads the results should know what was left out")]
fn original(name: &str) -> Option<String> {
    let corpus = std::env::var("WINDLASS_CORPUS").unwrap_or_else(|_| "../shared/corpus".into());
    let file = Path::new(&corpus).join("000-afu9/workflows").join(name);
    let document = std::fs::read_to_string(&file).ok();
    if document.is_none() {
        eprintln!("left out: there is no {}; WINDLASS_CORPUS may name its folder", file.display());
    }
    document
}

const CLASSIFICATION: &str = "
- profile: classifyIssue
  answer: { type: bug, priority: high, category: cart, suggested_labels: [bug, urgent], milestone: Next, notes: It panics., confidence: 0.9 }
";

fn triages(document: &str, workflow: &str) {
    let stage = Stage::new(CLASSIFICATION);
    stage.github.change("octo/hello", |repository| repository.milestones.insert(1, "Next".into()));
    let number = stage.issue();
    stage.project.write(&format!("workflows/{workflow}.json"), document);
    let ended = stage.completes(workflow, &json!({ "repo": repo(), "issue_number": number }));
    let issue = stage.repository().issues[&number].clone();
    assert_eq!(issue.labels, ["bug", "urgent"], "{ended:#}");
    assert_eq!(issue.comments.len(), 1, "{ended:#}");
    assert!(issue.comments[0].body.contains("It panics."), "{:?}", issue.comments);
}

fn reviews(document: &str, workflow: &str, feedback: bool, posted: usize) {
    let stage = Stage::new(&REVIEWS.replace("FEEDBACK", &feedback.to_string()));
    let number = stage.pull_request();
    stage.project.write(&format!("workflows/{workflow}.json"), document);
    let ended = stage.completes(workflow, &json!({ "repo": repo(), "pr_number": number }));
    assert_eq!(stage.github.state().requests_like("POST", "/reviews"), posted, "{ended:#}");
}

#[test]
fn an_issue_is_triaged() {
    triages(TRIAGE, "triage_ticket");
}

#[test]
fn a_change_is_reviewed_only_when_there_is_something_to_say() {
    reviews(REVIEW, "review_change", true, 1);
    reviews(REVIEW, "review_change", false, 0);
}

#[test]
fn the_documents_of_afu9_itself_run_to_their_ends() {
    if let Some(document) = original("sql_issue_triage.json") {
        triages(&document, "issue_triage");
    }
    if let Some(document) = original("sql_pr_review_workflow.json") {
        reviews(&document, "pr_review_workflow", true, 1);
    }
}
