//! The tools of the github server that change something.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::{
    GithubEmulator,
    github::{Faults, NewIssue},
};

use super::{World, check};
use crate::durability::Scene;

const METHODS: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

#[test]
fn tools_of_github_do_their_work_once_wherever_they_are_killed() {
    let runtime = Runtime::new().unwrap();
    let emulator = runtime.block_on(GithubEmulator::start()).unwrap();
    let scene = Scene::on_sqlite();
    let settings = format!("[github]\napi_url = {:?}\n", emulator.url());
    scene.project.write("windlass.toml", &settings);
    check(&scene, &runtime, &emulator, &cases());
}

fn cases() -> Vec<super::Case> {
    let with = |more: Value| {
        let mut params = json!({ "owner": "octo", "repo": "${input.place}" });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let files = json!([{ "path": "a.txt", "content": "a\n" }]);
    vec![
        ("github.createIssue", with(json!({ "title": "Greet", "body": "by name" }))),
        ("github.addIssueComment", with(json!({ "number": 7, "body": "By name, please." }))),
        ("github.updateIssue", with(json!({ "number": 7, "title": "Greet by name" }))),
        ("github.addLabels", with(json!({ "number": 7, "labels": ["bug", "new"] }))),
        ("github.createBranch", with(json!({ "branch": "fix" }))),
        (
            "github.commitFileChanges",
            with(json!({ "branch": "topic", "message": "Greet", "files": files })),
        ),
        (
            "github.createPullRequest",
            with(json!({ "head": "topic", "title": "Greet", "labels": ["bug"] })),
        ),
    ]
}

impl World for GithubEmulator {
    fn prepare(&self, _tool: &str, place: &str) -> Value {
        let full_name = format!("octo/{place}");
        let title = "Greet people".to_owned();
        self.add_issue(&full_name, NewIssue { title, number: Some(7), ..NewIssue::default() });
        self.change(&full_name, |repository| {
            let main = repository.refs["refs/heads/main"].clone();
            repository.refs.insert("refs/heads/topic".to_owned(), main);
        });
        self.push(&full_name, "topic", "first.txt", "first\n").unwrap();
        json!({ "place": place })
    }

    fn changes(&self, place: &str) -> Vec<(String, String)> {
        let path = format!("/octo/{place}/");
        let state = self.state();
        let own = state.requests.iter().filter(|request| request.path.contains(&path));
        let changing = own.filter(|request| METHODS.contains(&request.method.as_str()));
        changing.map(|request| (request.method.clone(), path.clone())).collect()
    }

    fn picture(&self, place: &str) -> Value {
        let state = self.state();
        let repository = state.repository(&format!("octo/{place}")).unwrap();
        let branches = repository.branches().into_iter();
        let branches: Vec<_> =
            branches.map(|name| json!([name, repository.history(name).len()])).collect();
        let issues: Vec<_> = repository
            .issues
            .values()
            .map(|issue| {
                let pull = issue.pull.as_ref().map(|pull| [&pull.head, &pull.base]);
                json!([issue.number, issue.title, issue.labels, issue.comments.len(), pull])
            })
            .collect();
        json!({ "branches": branches, "issues": issues })
    }

    fn faults(&self) -> &Faults {
        self.faults()
    }
}
