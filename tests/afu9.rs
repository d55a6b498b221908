//! Documents of AFU-9 run as they are: written by its conventions here, and its own where they lie beside the project.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::{Value, json};
use windlass_emulators::{ecs::NewService, github::Repository};

use crate::shipped::{Stage, status};

const TRIAGE: &str = include_str!("afu9/triage.json");
const REVIEW: &str = include_str!("afu9/review.json");
const MEND_RELEASE: &str = include_str!("afu9/mend_release.json");
const MEND_BUILD: &str = include_str!("afu9/mend_build.json");
const RENEW: &str = include_str!("afu9/renew.json");
const PROPOSE: &str = include_str!("afu9/propose_for_ticket.json");
const DRIVE: &str = include_str!("afu9/drive_ticket.json");

const CLUSTER: &str = "shop";
const SERVICE: &str = "web";

const REVIEWS: &str = "
- profile: reviewCode
  answer: { summary: One defect., has_feedback: FEEDBACK, verdict: comment, comments: [], score: 70 }
";

fn repo() -> Value {
    json!({ "owner": "octo", "name": "hello", "default_branch": "main" })
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

const ANALYSIS: &str = "
- profile: analyze
  answer: { description: It divides., root_cause: no guard, category: bug, has_fix: FIX, fix_description: A guard., fix_instructions: Guard it., affected_files: [FILES], confidence: 0.9, evidence: [] }
";

fn analysis(has_fix: bool) -> String {
    let files = if has_fix { "src/cart.rs" } else { "" };
    ANALYSIS.replace("FIX", &has_fix.to_string()).replace("FILES", files)
}

/// Runs a document that is written to the project; what came of each of its steps.
fn runs(stage: &Stage, name: &str, document: &str, mut input: Value) -> Value {
    input["repo"] = repo();
    stage.project.write(&format!("workflows/{name}.json"), document);
    stage.completes(name, &input)
}

fn source(stage: &Stage) {
    let broken = "fn total() -> u64 { 1 / 0 }\n";
    stage.github.push("octo/hello", "main", "src/cart.rs", broken).unwrap();
}

/// A service of ECS with this many revisions, and its log.
fn service(stage: &Stage, revisions: usize) {
    let group = format!("/ecs/{CLUSTER}/{SERVICE}");
    let new = NewService::new(CLUSTER, SERVICE, "registry.example/web:v1");
    stage.aws.add_service(NewService { log_group: Some(group.clone()), ..new });
    for revision in 1..revisions {
        let image = format!("registry.example/web:v{}", revision + 1);
        let container = json!([{ "name": SERVICE, "image": image, "essential": true }]);
        let definition = json!({ "family": SERVICE, "containerDefinitions": container });
        let definition = stage.aws.register_task_definition(&definition);
        let update =
            json!({ "cluster": CLUSTER, "service": SERVICE, "taskDefinition": definition });
        stage.aws.ask("ecs:UpdateService", &update).unwrap();
        stage.aws.settle();
    }
    stage.aws.put_log(&group, "ecs/web/1", now_ms(), "ERROR divided by zero");
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The revision that the service is to run.
fn revision(stage: &Stage) -> String {
    let key = (CLUSTER.to_owned(), SERVICE.to_owned());
    let definition = stage.aws.ecs().services[&key].task_definition.clone();
    definition.rsplit(':').next().unwrap().to_owned()
}

#[test]
fn a_release_is_mended_or_told_to_people_and_goes_back_where_it_can() {
    for (has_fix, revisions) in [(true, 2), (false, 2), (true, 1)] {
        let stage = Stage::new(&analysis(has_fix));
        source(&stage);
        service(&stage, revisions);
        let since = (now_ms() - 3_600_000).to_string();
        let input = json!({ "cluster": CLUSTER, "service": SERVICE, "since": since });
        let ended = runs(&stage, "mend_release", MEND_RELEASE, input);
        let repository = stage.repository();
        assert_eq!(repository.pulls().len(), usize::from(has_fix), "{ended:#}");
        if has_fix {
            let mended = repository.file("mend/web", "src/cart.rs").unwrap();
            assert_eq!(mended, "fn total() -> u64 { 0 }\n", "{ended:#}");
            let sha = repository.history("mend/web")[0].sha.clone();
            let body = repository.pulls()[0].body.clone().unwrap();
            assert!(body.contains(&sha), "{body}");
        }
        let issues = repository.issues.values().filter(|issue| issue.title == "web needs somebody");
        assert_eq!(issues.count(), usize::from(!has_fix), "{ended:#}");
        assert_eq!(revision(&stage), "1", "of {revisions}: {ended:#}");
        assert_eq!(status(&ended, "go_back"), if revisions == 2 { "completed" } else { "skipped" });
    }
}

#[test]
fn a_broken_build_is_mended_where_something_broke_and_a_fix_is_known() {
    for (fails, has_fix) in [(true, true), (true, false), (false, true)] {
        let stage = Stage::new(&analysis(has_fix));
        source(&stage);
        let run = stage.run_of_tests(fails);
        let ended = runs(&stage, "mend_build", MEND_BUILD, json!({ "run_id": run }));
        let repository = stage.repository();
        let proposed = fails && has_fix;
        assert_eq!(repository.pulls().len(), usize::from(proposed), "{ended:#}");
        assert_eq!(status(&ended, "think"), if fails { "completed" } else { "skipped" });
        if proposed {
            let pull = repository.pulls()[0];
            assert_eq!(pull.body.as_deref().unwrap().lines().next(), Some("unit: A guard."));
            assert_eq!(pull.comments.len(), 1, "{ended:#}");
            let head = pull.pull.as_ref().unwrap().head.clone();
            assert_eq!(repository.file(&head, "src/cart.rs").unwrap(), "fn total() -> u64 { 0 }\n");
        }
    }
}

const NEWS: &str = "
- profile: checkDependencies
  answer: { available: AVAILABLE, updates: [UPDATES], summary: Looked. }
";
const UPDATE: &str = "{ name: serde, current: '1', latest: '2', kind: major, security: false, certain: true, reason: newer }";

#[test]
fn dependencies_are_renewed_and_tried_out_when_there_are_newer_ones() {
    for available in [true, false] {
        let updates = if available { UPDATE } else { "" };
        let answers = NEWS.replace("AVAILABLE", &available.to_string()).replace("UPDATES", updates);
        let stage = Stage::new(&answers);
        stage.github.push("octo/hello", "main", "Cargo.toml", "serde = \"1\"\n").unwrap();
        stage.run_of_tests(false);
        let input = json!({ "round": "one", "package_manager": "cargo" });
        let ended = runs(&stage, "renew", RENEW, input);
        let repository = stage.repository();
        assert_eq!(repository.pulls().len(), usize::from(available), "{ended:#}");
        assert_eq!(repository.actions.runs.len(), 1 + usize::from(available), "{ended:#}");
        let expected = if available { "serde = \"2\"\n" } else { "serde = \"1\"\n" };
        assert_eq!(repository.file("renew-one", "Cargo.toml").unwrap(), expected, "{ended:#}");
        if available {
            assert_eq!(repository.pulls()[0].title, "Renew serde");
        }
    }
}

#[test]
fn a_ticket_gets_a_proposal_while_it_is_open() {
    for open in [true, false] {
        let stage = Stage::new("");
        let number = stage.issue();
        let close = |repository: &mut Repository| {
            if !open {
                repository.issues.get_mut(&number).unwrap().state = "closed".into();
            }
        };
        stage.github.change("octo/hello", close);
        let input = json!({ "issue_number": number });
        let ended = runs(&stage, "propose_for_ticket", PROPOSE, input);
        assert_eq!(stage.repository().pulls().len(), usize::from(open), "{ended:#}");
        let branch = format!("ticket/{number}");
        assert_eq!(stage.repository().branch(&branch).is_some(), open, "{ended:#}");
    }
}

const SORTED: &str = "
- profile: classifyIssue
  answer: { type: TYPE, priority: high, category: cart, suggested_labels: [], milestone: '', notes: It panics., confidence: 0.9 }
";

#[test]
fn a_ticket_drives_itself_to_a_proposal_or_to_people() {
    for (kind, proposed) in [("bug", true), ("question", false)] {
        let stage = Stage::new(&SORTED.replace("TYPE", kind));
        let number = stage.issue();
        let begun = |repository: &mut Repository| {
            repository.milestones.insert(1, "Next".into());
            repository.issues.get_mut(&number).unwrap().milestone = Some(1);
        };
        stage.github.change("octo/hello", begun);
        let ended = runs(&stage, "drive_ticket", DRIVE, json!({ "issue_number": number }));
        let repository = stage.repository();
        let issue = repository.issues[&number].clone();
        assert_eq!((issue.labels, issue.milestone), (vec!["begun".to_owned()], Some(1)));
        assert_eq!(repository.pulls().len(), usize::from(proposed), "{ended:#}");
        let said =
            if proposed { "Proposed in #" } else { "Somebody should look at this question." };
        assert_eq!(issue.comments.len(), 1, "{ended:#}");
        assert!(issue.comments[0].body.contains(said), "{:?}", issue.comments);
    }
}

/// Documents of AFU-9's that call tools which no server has, its own included.
const CANNOT: [(&str, &[&str]); 1] = [(
    "doc_BUILD_DETERMINISM_WORKFLOW_L7_unnamed.json",
    &["deploy.buildDockerImage", "deploy.runTests", "deploy.pushImage"],
)];

/// AFU-9's own documents. Other people's work is not part of this project; who has it says where.
fn originals() -> Vec<PathBuf> {
    let corpus = std::env::var("WINDLASS_CORPUS").unwrap_or_else(|_| "../shared/corpus".into());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus).join("000-afu9/workflows");
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension() == Some("json".as_ref())).collect();
    files.sort();
    files
}

/// Everything that a document of AFU-9 may ask for.
fn everything(stage: &Stage, document: &Value) -> Value {
    let steps = document.pointer("/workflow/steps").or(document.get("steps"));
    for step in steps.and_then(Value::as_array).into_iter().flatten() {
        if let (Some(owner), Some(name)) =
            (step["params"]["owner"].as_str(), step["params"]["repo"].as_str())
            && !owner.contains('$')
        {
            stage.github.add_repository(&format!("{owner}/{name}"));
        }
    }
    source(stage);
    stage.github.push("octo/hello", "main", "Cargo.toml", "serde = \"1\"\n").unwrap();
    service(stage, 2);
    json!({
        "repo": repo(), "issue_number": stage.issue(), "pr_number": stage.pull_request(),
        "run_id": stage.run_of_tests(true), "package_manager": "cargo", "update_strategy": "safe",
        "timestamp": "20261121", "cluster": CLUSTER, "service": SERVICE, "version": "v3",
        "image_tag": "registry.example/web:v3", "failure_time": (now_ms() - 3_600_000).to_string(),
        "issue_title": "The cart panics", "issue_body": "When it is empty.", "labels": ["bug"],
    })
}

/// Runs one of the originals; why it did not complete.
fn outcome(text: &str) -> Option<Value> {
    let answers = NEWS.replace("AVAILABLE", "true").replace("UPDATES", UPDATE)
        + &analysis(true)
        + &REVIEWS.replace("FEEDBACK", "true");
    let stage = Stage::new(&answers);
    let document: Value = serde_json::from_str(text).unwrap();
    let input = everything(&stage, &document);
    stage.project.write("workflows/original.json", text);
    let ended = stage.run(document["name"].as_str().unwrap_or("original"), &input);
    (ended["status"] != "completed").then(|| ended["error"].clone())
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever reads the results should know what was left out")]
fn the_documents_of_afu9_itself_run_to_their_ends() {
    let originals = originals();
    if originals.is_empty() {
        eprintln!("left out: WINDLASS_CORPUS names no folder with 000-afu9/workflows");
    }
    let mut failed = Vec::new();
    for file in originals {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if let Some((_, missing)) = CANNOT.iter().find(|(cannot, _)| *cannot == name) {
            let checked = Stage::new("").project.run(&["validate", file.to_str().unwrap()]);
            let said = format!("{checked:?}");
            assert!(!checked.status.success(), "{name}: {said}");
            missing.iter().for_each(|tool| {
                assert!(said.contains(&format!("found {tool}")), "{tool}: {said}")
            });
            eprintln!("{name}: cannot run, no server has {}", missing.join(", "));
            continue;
        }
        match outcome(&std::fs::read_to_string(&file).unwrap()) {
            None => eprintln!("{name}: completed"),
            Some(why) => {
                eprintln!("{name}: {why}");
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
