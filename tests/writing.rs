//! The workflows that ship in which models write: advertisements, articles, reviews, code. The models are recorded.

use serde_json::{Value, json};

use crate::{
    harness::{SOON, begin, eventually, settled},
    shipped::{Stage, status},
};

/// One pixel.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What the recorded models answer to those who write advertisements and articles.
fn copy(passed: bool) -> String {
    format!(
        r#"
- {{ profile: generateImage, answer: "{PICTURE}" }}
- {{ profile: review, answer: {{ score: 40, passed: {passed}, feedback: The facts are thin., suggestions: [Name a source.] }} }}
- {{ profile: generateCopy, step: headline, answer: Never stained again }}
- {{ profile: generateCopy, step: rewritten, answer: The second article. }}
- {{ profile: generateCopy, answer: "A text that was written.", usage: {{ prompt: 100, completion: 10 }} }}
"#
    )
}

/// The document that a workflow made, as the documents tool server tells it.
fn document(stage: &Stage, id: &Value) -> Value {
    stage.project.write(
        "workflows/read_document.yaml",
        "name: read_document\ninput: { type: object, properties: { id: { type: string } } }\nsteps:\n  - { name: read, tool: documents.get, params: { document_id: \"${input.id}\" } }\noutput: \"${steps.read}\"\n",
    );
    stage.completes("read_document", &json!({ "id": id }))["output"].take()
}

#[test]
fn an_advertisement_has_a_picture_that_belongs_to_its_text() {
    let stage = Stage::new(&copy(true));
    let ended = stage.completes("facebook_ads", &json!({ "product_description": "A pen" }));
    assert_eq!(ended["output"]["headline"], "Never stained again", "{ended:#}");
    let document = document(&stage, &ended["output"]["document"]);
    assert_eq!(document["text"], "A text that was written.");
    let attachment = &document["attachments"][0];
    assert_eq!(attachment["artifact_id"], ended["output"]["picture"]);
    assert_eq!((&attachment["primary"], &attachment["mime"]), (&json!(true), &json!("image/png")));
    assert_eq!(attachment["created_by_execution"], ended["execution_id"]);
    let used = stage.project.run(&["usage", "--json"]).json();
    assert!(used.to_string().contains("\"cost_usd\":null"), "nobody knows what it cost: {used}");
}

#[test]
fn a_post_is_a_caption_with_its_picture() {
    let stage = Stage::new(&copy(true));
    let input = json!({ "topic": "Letters", "image_description": "A pen on paper" });
    let ended = stage.completes("instagram_post", &input);
    let document = document(&stage, &ended["output"]["document"]);
    assert_eq!(document["attachments"][0]["artifact_id"], ended["output"]["picture"]);
}

#[test]
fn an_article_that_passes_its_review_is_done_without_anybody() {
    let stage = Stage::new(&copy(true));
    let ended = stage.completes("blog_article", &json!({ "blog_topic": "Letters" }));
    assert_eq!(ended["output"]["article"], "A text that was written.", "{ended:#}");
    assert_eq!(status(&ended, "decision"), "skipped");
}

#[test]
fn of_an_article_that_does_not_pass_a_person_decides_what_becomes() {
    for (choice, ends, article) in [
        ("keep", "completed", json!("A text that was written.")),
        ("rewrite", "completed", json!("The second article.")),
        ("discard", "failed", Value::Null),
    ] {
        let stage = Stage::new(&copy(false));
        let mut door = stage.door();
        let id = begin(&mut door, "blog_article", json!({ "blog_topic": "Letters" }));
        let request = eventually(SOON, "a question", || {
            let open = stage.project.run(&["requests", "--json"]).json();
            open["requests"][0].is_object().then(|| open["requests"][0].clone())
        });
        assert!(request["message"].as_str().unwrap().contains("40 of 100"), "{request:#}");
        let (request_id, value) =
            (request["request_id"].as_str().unwrap(), format!("choice={choice}"));
        stage.project.run_ok(&["answer", request_id, "--value", &value]);
        let ended = settled(&mut door, &id);
        assert_eq!(ended["status"], ends, "{choice}: {ended:#}");
        assert_eq!(ended["output"]["article"], article, "{choice}: {ended:#}");
        if ends == "completed" {
            let kept = document(&stage, &ended["output"]["document"]);
            assert_eq!(kept["attachments"][0]["artifact_id"], ended["output"]["image"], "{choice}");
        }
    }
}

/// Reviewers, planners and programmers; how often a plan is refused is up to the test.
fn engineers(passed: bool, feedback: bool) -> String {
    format!(
        r#"
- profile: reviewCode
  answer: {{ summary: Looks right., has_feedback: {feedback}, verdict: approve, comments: [], score: 90 }}
- {{ profile: plain, prompt: three reviewers, answer: "Two findings." }}
- {{ profile: plain, prompt: Plan the implementation, answer: "Say hello." }}
- {{ profile: plain, prompt: Does this plan solve, answer: {{ passed: {passed}, objections: It is too long. }} }}
- {{ profile: plain, prompt: What does this feature require, answer: "That it says hello." }}
- {{ profile: plain, prompt: Design the feature, answer: {{ design: A line., sound: {passed}, concerns: It may be loud. }} }}
- {{ profile: plain, prompt: Document the feature, answer: "It says hello." }}
- profile: applyFix
  answer: {{ files: [{{ path: README.md, content: "hello\n" }}], commit_message: Say hello, summary: It greets. }}
"#
    )
}

fn task(stage: &Stage) -> Value {
    json!({ "owner": "octo", "repo": "hello", "issue_number": stage.issue(), "files": ["README.md"] })
}

/// Whether the change is on the main branch and its issue is closed.
fn is_merged(stage: &Stage) -> bool {
    stage.repository().file("main", "README.md").as_deref() == Some("hello\n")
}

#[test]
fn several_reviewers_write_one_review() {
    let stage = Stage::new(&engineers(true, true));
    let number = stage.pull_request();
    let input = json!({ "owner": "octo", "repo": "hello", "number": number });
    let ended = stage.completes("code_review", &input);
    let expected = json!({ "security": "approve", "quality": "approve", "backend": "approve" });
    assert_eq!(
        (&ended["output"]["verdicts"], &ended["output"]["report"]),
        (&expected, &json!("Two findings."))
    );
    assert_eq!(stage.github.state().requests_like("POST", "/reviews"), 1);
    let mut silent = input;
    silent["post"] = false.into();
    let ended = stage.completes("code_review", &silent);
    assert_eq!(ended["output"]["url"], Value::Null, "{ended:#}");
    assert_eq!(stage.github.state().requests_like("POST", "/reviews"), 1);
}

#[test]
fn a_task_of_a_project_is_merged_once_its_plan_holds_and_a_person_agrees() {
    let stage = Stage::new(&engineers(true, false));
    let (asked, ended) = stage.approves("project_loop", task(&stage));
    assert!(asked.contains("Security: approve"), "{asked}");
    assert_eq!(ended["status"], "completed", "{ended:#}");
    assert!(is_merged(&stage), "{ended:#}");
}

#[test]
fn a_task_whose_plans_do_not_hold_ends_with_a_word_at_its_issue() {
    let stage = Stage::new(&engineers(false, false));
    let input = task(&stage);
    let ended = stage.run("project_loop", &input);
    assert_eq!(ended["status"], "failed", "{ended:#}");
    let issue = stage.repository().issues[&input["issue_number"].as_u64().unwrap()].clone();
    assert!(
        issue.comments[0].body.contains("No plan held after 3 attempts"),
        "{:?}",
        issue.comments
    );
    assert!(!is_merged(&stage) && stage.repository().pulls().is_empty());
}

#[test]
fn a_hotfix_is_merged_and_what_can_wait_becomes_an_issue() {
    for feedback in [true, false] {
        let stage = Stage::new(&engineers(true, feedback));
        let (asked, ended) = stage.approves("hotfix", task(&stage));
        assert!(asked.contains("The review says approve"), "{asked}");
        assert!(is_merged(&stage), "{ended:#}");
        assert_eq!(ended["output"]["follow_up"].is_u64(), feedback, "{ended:#}");
    }
}

#[test]
fn a_feature_is_designed_documented_reviewed_and_merged() {
    for (scope, performance) in [("small", "skipped"), ("large", "completed")] {
        let stage = Stage::new(&engineers(true, false));
        let mut input = task(&stage);
        input["scope"] = scope.into();
        let (_, ended) = stage.approves("feature", input);
        assert!(is_merged(&stage), "{ended:#}");
        let notes = ended["output"]["documentation"].as_str().unwrap();
        assert_eq!(stage.repository().file("main", notes).as_deref(), Some("It says hello."));
        assert_eq!(status(&ended, "governance/performance_review"), performance, "{ended:#}");
    }
}

#[test]
fn a_feature_whose_design_raises_concerns_asks_before_it_is_built() {
    let stage = Stage::new(&engineers(false, false));
    let mut door = stage.door();
    begin(&mut door, "feature", task(&stage));
    let request = eventually(SOON, "a question", || {
        let open = stage.project.run(&["requests", "--json"]).json();
        open["requests"][0].is_object().then(|| open["requests"][0].clone())
    });
    assert!(request["message"].as_str().unwrap().contains("It may be loud"), "{request:#}");
    assert!(stage.repository().pulls().is_empty());
}
