//! What is said of broken workflows, and that what is said is enough to mend them.
//!
//! `checks/broken/` holds documents with the mistakes that people and models make, each naming where it was seen.
//! `checks/answers.txt` is what `windlass validate` says of them; `WINDLASS_BLESS=1` writes it anew.

mod repair;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::Project;

/// How many of the broken documents must be mended by what the answer says alone.
const MENDED: usize = 80;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checks")
}

/// The broken documents, by name.
fn broken() -> Vec<(String, String)> {
    let files = fs::read_dir(folder().join("broken")).unwrap().map(|file| file.unwrap().path());
    let mut rows: Vec<_> = files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    rows.sort();
    rows
}

/// A project with the tool servers of `checks/tools.json`, and one that cannot be reached.
fn project() -> Project {
    let project = Project::new();
    let tools: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("tools.json")).unwrap()).unwrap();
    let script = fs::read_to_string(folder().join("tool_server.sh")).unwrap();
    project.write("tool_server.sh", &script);
    let mut config = "[mcpServers.wiki]\ncommand = 'no-such-program-here'\n".to_owned();
    for (server, tools) in tools.as_object().unwrap() {
        project.write(&format!("{server}.json"), &tools.to_string());
        writeln!(
            config,
            "[mcpServers.{server}]\ncommand = 'sh'\nargs = ['tool_server.sh', '{server}.json']\nprotocol = 'legacy'"
        )
        .unwrap();
    }
    project.write("windlass.toml", &config);
    project
}

/// What `windlass validate --json` says of each document.
fn validated(project: &Project, documents: &[(String, String)]) -> Vec<Value> {
    let files: Vec<String> = documents.iter().map(|(name, _)| format!("{name}.yaml")).collect();
    for (file, (_, text)) in files.iter().zip(documents) {
        project.write(file, text);
    }
    let arguments = ["validate", "--json"].into_iter().chain(files.iter().map(String::as_str));
    let answer = project.run(&arguments.collect::<Vec<_>>()).json();
    answer["files"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone()
}

/// An answer as a person reviews it.
fn shown(name: &str, answer: &Value) -> String {
    let mut text = format!("=== {name}\n");
    for problem in answer["problems"].as_array().unwrap() {
        let word = |key: &str| problem[key].as_str().unwrap_or_default();
        writeln!(
            text,
            "{}:{} {} {}\n  {}",
            problem["line"],
            problem["column"],
            word("code"),
            word("pointer"),
            word("message")
        )
        .unwrap();
        for key in ["suggestion", "expected", "found", "nearest", "patch"] {
            if !problem[key].is_null() {
                let value =
                    problem[key].as_str().map_or_else(|| problem[key].to_string(), str::to_owned);
                writeln!(text, "  {key}: {value}").unwrap();
            }
        }
    }
    for entry in answer["unchecked"].as_array().unwrap() {
        let word = |key: &str| entry[key].as_str().unwrap_or_default();
        writeln!(text, "unchecked {} {}: {}", word("pointer"), word("what"), word("why")).unwrap();
    }
    text
}

#[test]
fn every_broken_document_is_answered_as_it_was_reviewed() {
    let documents = broken();
    let answers = validated(&project(), &documents);
    let told: Vec<String> =
        documents.iter().zip(&answers).map(|((name, _), answer)| shown(name, answer)).collect();
    let told = told.join("\n");
    let file = folder().join("answers.txt");
    if std::env::var_os("WINDLASS_BLESS").is_some() {
        fs::write(&file, &told).unwrap();
    }
    let reviewed = fs::read_to_string(&file).unwrap();
    for (told, reviewed) in told.split("\n=== ").zip(reviewed.split("\n=== ")) {
        assert_eq!(told, reviewed, "WINDLASS_BLESS=1 writes the answers anew");
    }
    assert_eq!(told.lines().count(), reviewed.lines().count());
}

#[test]
fn every_broken_document_has_a_problem_or_something_unchecked_and_says_where_it_was_seen() {
    let documents = broken();
    let answers = validated(&project(), &documents);
    assert!(60 <= documents.len(), "{}", documents.len());
    for ((name, text), answer) in documents.iter().zip(&answers) {
        assert!(text.starts_with("# Seen: "), "{name}");
        let told = |key: &str| !answer[key].as_array().unwrap().is_empty();
        assert!(told("problems") || told("unchecked"), "{name}: {answer:#}");
    }
}

#[test]
fn what_the_answers_say_is_enough_to_mend_most_broken_documents() {
    let project = project();
    let documents = broken();
    let answers = validated(&project, &documents);
    // Documents without problems have nothing to mend.
    let documents = documents.into_iter().zip(answers);
    let mut open: Vec<(String, String)> = documents
        .filter(|(_, answer)| answer["valid"] == Value::Bool(false))
        .map(|(document, _)| document)
        .collect();
    let all = open.len();
    for _ in 0..8 {
        let answers = validated(&project, &open);
        let changed = open.iter().zip(&answers).filter(|(_, answer)| answer["valid"] == false);
        let mended = |((name, text), answer): (&(String, String), &Value)| {
            (name.clone(), repair::mended(text, answer))
        };
        open = changed.map(mended).collect();
    }
    let left: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
    let mended = all - left.len();
    assert!(MENDED <= mended, "{mended} of {all} mended; left: {left:?}");
}

#[test]
fn offline_only_the_document_is_looked_at_and_that_is_said() {
    let project = project();
    let text = "name: far\nsteps:\n  - { name: say, tool: nowhere.say, params: { a: 1 } }\n";
    project.write("far.yaml", text);
    project.run(&["validate", "far.yaml"]).expect(1);
    let answer = project.run(&["validate", "far.yaml", "--offline", "--json"]).expect(0).json();
    assert_eq!(answer["files"][0]["unchecked"][0]["why"], "left out, as --offline asks");
    let told = project.run(&["validate", "far.yaml", "--offline"]).expect(0).stdout;
    assert!(told.contains("not checked: tools, params and results"), "{told}");
}

#[test]
fn checking_writes_nothing_and_sees_what_is_saved() {
    let project = project();
    let files = || {
        let mut files: Vec<_> = walk(&project.data_dir());
        // What readers of a file share with its writers is no content.
        files.retain(|(path, _)| !path.ends_with("-shm") && !path.ends_with("-wal"));
        files
    };
    let child = "name: below\nsteps:\n  - { name: say, tool: demo.echo, params: { a: 1 } }\n";
    project.write("below.yaml", child);
    let above = "name: above\nsteps:\n  - { name: go, workflow: below }\n";
    project.write("above.yaml", above);
    let answer = project.run(&["validate", "above.yaml", "--json"]).expect(1).json();
    assert_eq!(answer["files"][0]["problems"][0]["code"], "unknown_workflow");
    assert!(!project.data_dir().join("windlass.db").exists());
    project.run(&["save", "below.yaml"]).expect(0);
    let before = files();
    project.run(&["validate", "above.yaml", "below.yaml"]).expect(0);
    assert!(!before.is_empty() && before == files());
}

/// The files of a folder, with what is in them.
fn walk(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.is_file());
    let mut files: Vec<_> =
        files.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_document_is_checked_without_a_database_too() {
    let project = project().with_env("WINDLASS_DATABASE", "postgres://127.0.0.1:1/nothing");
    project.write("near.yaml", "name: near\nsteps:\n  - { name: say, tool: demo.echo }\n");
    let answer = project.run(&["validate", "near.yaml", "--json"]).expect(0).json();
    let why = answer["files"][0]["unchecked"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("left out: "), "{answer:#}");
}
