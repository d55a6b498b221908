//! The workflows that the documentation shows are what the reader takes, and those of the language do what it says.
//!
//! In `docs/guide/language.md` a ```json block says what comes out of the ```yaml block before it: the output, or how it
//! failed and what became of its steps. A ```sh block between them says how it is started and who answers. A ```yaml
//! block without a result is part of what follows it. `WINDLASS_BLESS=1` writes the results anew.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};

use crate::harness::{Project, SOON, run};

/// What a fence holds.
#[derive(Debug, PartialEq)]
struct Block<'p> {
    language: &'p str,
    text: &'p str,
}

/// A workflow with what is shown of it.
struct Example<'p> {
    name: &'p str,
    commands: Vec<&'p str>,
    /// What comes out, as it is written.
    result: &'p str,
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide")
}

#[test]
fn every_workflow_in_the_guide_can_be_read_and_is_as_the_schema_says() {
    let schema = jsonschema::draft202012::new(windlass_engine::language_schema()).unwrap();
    let mut read = 0;
    for page in fs::read_dir(guide()).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap();
        for block in workflows(&blocks(&text)) {
            let workflow = windlass_engine::parse(block);
            let workflow = workflow
                .unwrap_or_else(|problems| panic!("{}: {problems:?}\n{block}", page.display()));
            let fits = schema.validate(&workflow.document);
            assert!(fits.is_ok(), "{}: {:?}\n{block}", page.display(), fits.err());
            read += 1;
        }
    }
    assert!(0 < read, "the guide shows no workflow");
}

#[test]
fn every_construct_in_the_guide_does_what_is_said_of_it() {
    let path = guide().join("language.md");
    let page = fs::read_to_string(&path).unwrap();
    let blocks = blocks(&page);
    let project = project(&blocks);
    let mut blessed = page.clone();
    let mut wrong = Vec::new();
    for example in examples(&blocks) {
        let came_out = played(&project, &example);
        let fits = serde_json::from_str(example.result).is_ok_and(|said: Value| said == came_out);
        if !fits {
            let fence = |result: &str| format!("\n```json\n{result}\n```\n");
            let place = blessed.find(&format!("name: {}\n", example.name)).unwrap();
            let (before, after) = blessed.split_at(place);
            let said = fence(example.result);
            let after = after.replacen(&said, &fence(&shown(&came_out)), 1);
            blessed = format!("{before}{after}");
            wrong.push(format!("{} says {} and does {came_out}", example.name, example.result));
        }
    }
    if std::env::var_os("WINDLASS_BLESS").is_some() {
        return fs::write(path, blessed).unwrap();
    }
    assert!(wrong.is_empty(), "WINDLASS_BLESS=1 writes the results anew:\n{}", wrong.join("\n"));
}

#[test]
fn the_guide_names_every_code_with_which_we_fail_a_step_ourselves() {
    let page = fs::read_to_string(guide().join("language.md")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        ["engine/src/decide.rs", "engine/src/decide", "engine/src/state", "server/children.rs"];
    let files = places.map(|place| root.join(place));
    let files = files.iter().flat_map(|place| match place.is_dir() {
        true => fs::read_dir(place).unwrap().map(|file| file.unwrap().path()).collect(),
        false => vec![place.clone()],
    });
    let mut codes = 0;
    for file in files.filter(|file| file.is_file() && !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for said in text.split("StepError::permanent(\"").skip(1) {
            let code = said.split('"').next().unwrap();
            assert!(page.contains(&format!("`{code}`")), "language.md does not name `{code}`");
            codes += 1;
        }
    }
    assert!(10 < codes, "the codes are found no more");
}

#[test]
fn fenced_blocks_are_found_with_their_language() {
    let page = "a\n```yaml\nname: a\nb: c\n```\n\n```json\n{}\n```\n```\nplain\n```\n";
    let expected = [("yaml", "name: a\nb: c"), ("json", "{}"), ("", "plain")];
    assert_eq!(blocks(page), expected.map(|(language, text)| Block { language, text }));
}

/// Everything between fences, in order.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```") {
        let Some((language, after)) = after.split_once('\n') else { break };
        let Some((text, after)) = after.split_once("\n```") else { break };
        found.push(Block { language, text });
        rest = after;
    }
    found
}

fn workflows<'p>(blocks: &[Block<'p>]) -> Vec<&'p str> {
    let documents = blocks.iter().filter(|block| block.language == "yaml");
    documents.map(|block| block.text).filter(|text| text.starts_with("name:")).collect()
}

/// Every workflow that is followed by what comes out of it.
fn examples<'p>(blocks: &[Block<'p>]) -> Vec<Example<'p>> {
    let mut examples = Vec::new();
    let (mut workflow, mut commands) = (None, Vec::new());
    for Block { language, text } in blocks {
        match *language {
            "yaml" => (workflow, commands) = (Some(name_of(text)), Vec::new()),
            "sh" => commands = text.lines().collect(),
            "json" => {
                let name = workflow.take().expect("a result follows a workflow");
                let commands = std::mem::take(&mut commands);
                examples.push(Example { name, commands, result: text });
            }
            _ => {}
        }
    }
    examples
}

fn name_of(document: &str) -> &str {
    document.lines().next().and_then(|line| line.strip_prefix("name: ")).expect("it has a name")
}

/// All the workflows of a page, and the settings that it shows.
fn project(blocks: &[Block<'_>]) -> Project {
    let mut project = Project::new();
    for workflow in workflows(blocks) {
        project = project.with_workflow(name_of(workflow), workflow);
    }
    let settings = blocks.iter().filter(|block| block.language == "toml").map(|block| block.text);
    let settings: Vec<&str> = settings.collect();
    project.with_file("windlass.toml", &settings.join("\n"))
}

/// Does what the page says and waits for the end.
fn played(project: &Project, example: &Example<'_>) -> Value {
    let start = format!("windlass run {}", example.name);
    let (first, rest) = match example.commands.split_first() {
        Some((first, rest)) => (*first, rest),
        None => (start.as_str(), [].as_slice()),
    };
    let mut execution = shell(project, first);
    let id =
        execution["execution_id"].as_str().unwrap_or_else(|| panic!("{execution:#}")).to_owned();
    for command in rest {
        let request = execution["requests"][0]["request_id"].as_str().unwrap_or_default();
        execution = shell(project, &command.replace("req_…", request).replace("exec_…", &id));
    }
    if execution["ended_at"].is_null() {
        execution = shell(project, &format!("windlass status {id} --wait 20"));
    }
    result(&execution)
}

/// A line of a page, as somebody would type it, with its answer as JSON.
fn shell(project: &Project, line: &str) -> Value {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{line} --json")]);
    project.isolate(&mut command);
    command.env("PATH", format!("{}:{path}", binary.display()));
    let ended = run(&mut command, 3 * SOON);
    let answer = serde_json::from_str(&ended.stdout);
    answer.unwrap_or_else(|error| panic!("{line}: {error}\n{ended:#?}"))
}

/// The output; of what did not complete, how it ended and what became of its steps.
fn result(execution: &Value) -> Value {
    if execution["status"] == "completed" {
        return execution["output"].clone();
    }
    let steps = execution["steps"].as_array().expect("an execution has steps").iter();
    let steps: Map<String, Value> = steps
        .map(|step| (step["name"].as_str().unwrap_or_default().to_owned(), step["status"].clone()))
        .collect();
    let mut result = json!({ "status": execution["status"], "steps": steps });
    if execution["error"].is_object() {
        result["error"] = execution["error"].clone();
    }
    result
}

/// One line where it fits, several where it does not.
fn shown(value: &Value) -> String {
    let line = spaced(value);
    match value {
        Value::Object(entries) if 140 < line.len() => {
            let lines =
                entries.iter().map(|(key, value)| format!("  {}: {}", json!(key), spaced(value)));
            format!("{{\n{}\n}}", lines.collect::<Vec<_>>().join(",\n"))
        }
        _ => line,
    }
}

/// Compact JSON with the spaces that a person puts in.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            let entries =
                entries.iter().map(|(key, value)| format!("{}: {}", json!(key), spaced(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}
