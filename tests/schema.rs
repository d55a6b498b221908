//! The JSON Schema of the language: committed, shown by every door, and named by what ships.
//!
//! `WINDLASS_BLESS=1 cargo test --test windlass -- committed_schema` writes the committed file anew. That it says what the reader
//! says is tested beside the types that it is made from, in `engine/src/schema/tests.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::harness::Project;

/// The first line of what ships, for the language servers of editors.
const MODELINE: &str = "# yaml-language-server: $schema=../schemas/workflow.schema.json\n";

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn committed() -> Value {
    let text = fs::read_to_string(at_root("schemas/workflow.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_committed_schema_is_the_one_that_the_types_say() {
    let generated = format!("{:#}\n", windlass_engine::language_schema());
    let path = at_root("schemas/workflow.schema.json");
    if std::env::var_os("WINDLASS_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(generated == committed, "WINDLASS_BLESS=1 writes schemas/workflow.schema.json anew");
}

#[test]
fn the_command_line_and_the_protocol_show_the_committed_schema() {
    let project = Project::new();
    let printed: Value = serde_json::from_str(&project.run_ok(&["schema"])).unwrap();
    assert_eq!(printed, committed());

    let mut client = project.client(&["serve"]);
    client.initialize();
    let list = client.ask("resources/list", json!({}));
    assert_eq!(list["resources"][0]["uri"], "workflow://schema");
    let read = client.ask("resources/read", json!({ "uri": "workflow://schema" }));
    assert_eq!(read["contents"][0]["mimeType"], "application/schema+json");
    let text = read["contents"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), committed());
}

#[test]
fn every_file_that_ships_names_the_schema_and_is_as_it_says() {
    let schema = jsonschema::draft202012::new(&committed()).unwrap();
    let mut seen = 0;
    for file in fs::read_dir(at_root("workflows")).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(MODELINE), "{} does not begin with {MODELINE}", path.display());
        assert!(path.parent().unwrap().join("../schemas/workflow.schema.json").exists());
        let document = windlass_engine::to_json(&text).unwrap();
        assert!(schema.validate(&document).is_ok(), "{}", path.display());
        seen += 1;
    }
    assert!(0 < seen, "nothing ships");
}
