//! From an issue to a pull request: one branch and one pull request, whatever dies on the way.

use std::path::Path;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::{
    GithubEmulator,
    github::{Action, Fault, NewIssue, Repository, State},
};

use super::{Run, Scene, crashes::at_every_point, execution_of};
use crate::harness::{Ended, Running, SOON};

on_both!(the_shipped_workflow_opens_one_pull_request, an_afu9_document_opens_one_pull_request,);

const ISSUE: u64 = 7;
const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// A document as AFU-9 users write them, without anything of Windlass's own.
const AFU9: &str = r#"{
  "name": "issue_to_pr",
  "description": "From a ticket to a change that can be reviewed",
  "steps": [
    { "name": "fetch_issue", "tool": "github.getIssue", "assign": "ticket",
      "params": { "owner": "${repo.owner}", "repo": "${repo.name}", "number": "${input.issue_number}" } },
    { "name": "create_branch", "tool": "github.createBranch", "assign": "topic",
      "params": { "owner": "${repo.owner}", "repo": "${repo.name}", "branch": "fix/issue-${ticket.number}", "from": "${repo.default_branch}" } },
    { "name": "create_pull_request", "tool": "github.createPullRequest", "assign": "change",
      "params": { "owner": "${repo.owner}", "repo": "${repo.name}", "title": "Resolve: ${ticket.title}",
                  "body": "For #${ticket.number}.\n\n${ticket.body}",
                  "head": "fix/issue-${ticket.number}", "base": "${repo.default_branch}" } }
  ]
}"#;

/// A double of GitHub, and a project whose workflows go there.
struct Github<'a> {
    scene: &'a Scene,
    runtime: Runtime,
    emulator: GithubEmulator,
    branch: &'static str,
    afu9: bool,
}

fn the_shipped_workflow_opens_one_pull_request(scene: &Scene) {
    Github::new(scene, "fix/issue-7", false).is_proof_against_everything();
}

fn an_afu9_document_opens_one_pull_request(scene: &Scene) {
    scene.project.write("workflows/issue_to_pr.json", AFU9);
    Github::new(scene, "fix/issue-7", true).is_proof_against_everything();
}

#[test]
fn the_document_of_afu9_itself_opens_one_pull_request() {
    let Some(document) = document_of_afu9() else { return };
    let scene = Scene::on_sqlite();
    scene.project.write("workflows/issue_to_pr.json", &document);
    Github::new(&scene, "fix/7", true).is_proof_against_everything();
}

/// Other people's work is not part of this project; who has it says where.
#[allow(clippy::print_stderr, reason = "whoever reads the results should know what was left out")]
fn document_of_afu9() -> Option<String> {
    let corpus = std::env::var("WINDLASS_CORPUS").unwrap_or_else(|_| "../shared/corpus".into());
    let file = Path::new(&corpus).join("000-afu9/workflows/issue_to_pr.json");
    let document = std::fs::read_to_string(&file).ok();
    if document.is_none() {
        eprintln!("left out: there is no {}; WINDLASS_CORPUS may name its folder", file.display());
    }
    document
}

impl Github<'_> {
    fn new<'a>(scene: &'a Scene, branch: &'static str, afu9: bool) -> Github<'a> {
        let runtime = Runtime::new().unwrap();
        let emulator = runtime.block_on(GithubEmulator::start()).unwrap();
        let settings = format!("[github]\napi_url = {:?}\nwrite_interval_ms = 0\n", emulator.url());
        scene.project.write("windlass.toml", &settings);
        Github { scene, runtime, emulator, branch, afu9 }
    }

    fn is_proof_against_everything(&self) {
        let changes = self.changes_of_an_undisturbed_run();
        self.survives_death_at_every_point();
        for (method, count) in changes {
            for index in 0..count {
                self.survives_a_lost_answer(method, index);
                self.survives_death_between_request_and_answer(method, index);
            }
        }
    }

    /// How many requests of each method change something, when nothing goes wrong.
    fn changes_of_an_undisturbed_run(&self) -> Vec<(&'static str, u32)> {
        self.has_one_pull_request("calm", &self.scene.run(&self.run("calm"), None));
        let requests = self.emulator.state().requests;
        let of = |method: &&'static str| {
            requests.iter().filter(|request| request.method == *method).count()
        };
        let changes: Vec<_> =
            METHODS.iter().map(|method| (*method, u32::try_from(of(method)).unwrap())).collect();
        assert!(2 <= changes.iter().map(|(_, count)| count).sum::<u32>(), "{changes:?}");
        changes
    }

    fn survives_death_at_every_point(&self) {
        at_every_point(
            self.scene,
            "issue_to_pr",
            |key| self.input(key),
            |key, ended| self.has_one_pull_request(key, ended),
        );
    }

    /// GitHub does its work, and the connection breaks before it can say so.
    fn survives_a_lost_answer(&self, method: &str, index: u32) {
        let key = format!("lost-{method}-{index}");
        let run = self.run(&key);
        self.emulator.faults().add(strike(Action::DropAfterWork, method, &key, index));
        let ended = self.scene.run(&run, None);
        assert!(self.emulator.faults().waiting().is_empty(), "{key}: the fault did not strike");
        self.has_one_pull_request(&key, &ended);
    }

    /// GitHub does its work, and whoever asked for it is killed before the answer comes.
    fn survives_death_between_request_and_answer(&self, method: &str, index: u32) {
        let key = format!("death-{method}-{index}");
        let run = self.run(&key);
        let faults = self.emulator.faults();
        faults.add(strike(Action::PauseAfterWork, method, &key, index));
        let mut first = Running::start(&mut self.scene.command(&run));
        assert!(
            self.runtime.block_on(faults.wait_until_held(1, SOON)),
            "{key}: {}",
            first.stderr()
        );
        first.kill();
        faults.release();
        self.scene.let_leases_run_out();
        self.has_one_pull_request(&key, &self.scene.run(&run, None));
    }

    /// A run in a repository of its own, named by the key.
    fn run<'k>(&self, key: &'k str) -> Run<'k> {
        Run { workflow: "issue_to_pr", key, input: self.input(key) }
    }

    fn input(&self, key: &str) -> Value {
        let full_name = format!("octo/{key}");
        if self.emulator.state().repository(&full_name).is_none() {
            let issue = NewIssue {
                title: "Greet people by their name".into(),
                body: "Nobody likes to be called a user.".into(),
                user: "ada".into(),
                number: Some(ISSUE),
                ..NewIssue::default()
            };
            self.emulator.add_issue(&full_name, issue);
        }
        if self.afu9 {
            let repo = json!({ "owner": "octo", "name": key, "default_branch": "main" });
            json!({ "repo": repo, "issue_number": ISSUE })
        } else {
            json!({ "owner": "octo", "repo": key, "issue_number": ISSUE })
        }
    }

    fn has_one_pull_request(&self, key: &str, ended: &Ended) {
        assert_eq!(execution_of(ended)["status"], "completed", "{key}: {ended:#?}");
        let state = self.emulator.state();
        let repository = state.repository(&format!("octo/{key}")).unwrap();
        let pulls: Vec<_> =
            repository.issues.values().filter(|issue| issue.pull.is_some()).collect();
        assert_eq!(pulls.len(), 1, "{key}: {pulls:#?}");
        assert!(pulls[0].title.contains("Greet people by their name"), "{key}: {pulls:#?}");
        assert_eq!(pulls[0].pull.as_ref().unwrap().head, self.branch, "{key}");
        assert_eq!(pulls[0].pull.as_ref().unwrap().base, "main", "{key}");
        let branch = format!("refs/heads/{}", self.branch);
        assert!(repository.refs.contains_key(&branch), "{key}: {:?}", repository.refs);
        for effect in ["ref_created", "pull_created"] {
            assert_eq!(happened(&state, repository, effect), 1, "{key}: {effect}");
        }
    }
}

fn happened(state: &State, repository: &Repository, effect: &str) -> usize {
    let here = state.ledger.iter().filter(|entry| entry.repository == repository.full_name());
    here.filter(|entry| entry.effect == effect).count()
}

/// Strikes one of the requests that change this repository: the first for 0.
fn strike(action: Action, method: &str, repository: &str, index: u32) -> Fault {
    action.on(method, &format!("/octo/{repository}/")).skip(index)
}
