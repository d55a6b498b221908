//! Every tool of every server has a golden answer: what it really answered once, which fits what it promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::validator_for;
use rmcp::ServerHandler;
use rmcp::model::Tool;
use serde_json::Value;
use windlass_tools::contract::{Forgetful, RETRY_CLASS, Surroundings};

use crate::harness::Client;

/// It only ever fails.
const NEVER_ANSWERS: [&str; 1] = ["demo/fail"];
const RETRY_CLASSES: [&str; 4] = ["read", "idempotent", "keyed", "unsafe"];
/// A description is for a list: longer ones are documentation.
const LONGEST_DESCRIPTION: usize = 600;

/// Servers that run inside Windlass, with nothing configured.
async fn servers() -> Vec<(&'static str, Vec<Tool>)> {
    async fn tools(server: impl ServerHandler) -> Vec<Tool> {
        Client::connect(server).await.tools
    }
    #[allow(unused_variables, reason = "every server may be left out")]
    let around =
        Surroundings { host: Some(Arc::new(Forgetful::default())), ..Surroundings::default() };
    vec![
        ("demo", tools(windlass_tools::demo()).await),
        #[cfg(feature = "agent")]
        ("agent", tools(windlass_tools::agent(Default::default(), &around)).await),
        #[cfg(feature = "deploy")]
        ("deploy", tools(windlass_tools::deploy(Default::default(), &around)).await),
        #[cfg(feature = "documents")]
        ("documents", tools(windlass_tools::documents(Default::default(), &around)).await),
        #[cfg(feature = "github")]
        ("github", tools(windlass_tools::github(Default::default(), &around)).await),
        #[cfg(feature = "notify")]
        ("notify", tools(windlass_tools::notify(Default::default(), &around)).await),
        #[cfg(feature = "observability")]
        ("observability", tools(windlass_tools::observability(Default::default(), &around)).await),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[tokio::test]
async fn every_tool_has_a_golden_answer_that_fits_what_it_promises() {
    let mut missing = Vec::new();
    let mut known = BTreeSet::new();
    for (server, tools) in servers().await {
        for tool in tools {
            let name = format!("{server}/{}", tool.name);
            if NEVER_ANSWERS.contains(&name.as_str()) {
                continue;
            }
            known.insert(name.clone());
            let Ok(text) = fs::read_to_string(folder().join(format!("{name}.json"))) else {
                missing.push(name);
                continue;
            };
            let golden: Value = serde_json::from_str(&text).unwrap();
            let schema = Value::Object((**tool.output_schema.as_ref().unwrap()).clone());
            let validator = validator_for(&schema).unwrap();
            let problems: Vec<_> =
                validator.iter_errors(&golden).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{name}: {problems:?}");
        }
    }
    assert!(missing.is_empty(), "there are no tests/golden/NAME.json of {missing:?}");
    // A server that is left out of this build has its answers all the same.
    let served: BTreeSet<_> = servers().await.into_iter().map(|(server, _)| server).collect();
    let left = golden_files().into_iter().filter(|name| {
        let server = name.split('/').next().unwrap();
        served.contains(server) && !known.contains(name)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "golden answers of no tool");
}

/// As `server/tool`.
fn golden_files() -> Vec<String> {
    let servers = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = servers
        .filter(|path| path.is_dir())
        .flat_map(|server| fs::read_dir(server).unwrap().map(|entry| entry.unwrap().path()));
    let name = |path: PathBuf| {
        let path = path.strip_prefix(folder()).unwrap().to_owned();
        path.to_str().unwrap().strip_suffix(".json").unwrap().to_owned()
    };
    files.map(name).collect()
}

#[tokio::test]
async fn every_tool_says_what_it_is() {
    for (server, tools) in servers().await {
        for tool in tools {
            let name = format!("{server}.{}", tool.name);
            let hints = tool.annotations.as_ref().unwrap();
            let all = [
                hints.read_only_hint,
                hints.destructive_hint,
                hints.idempotent_hint,
                hints.open_world_hint,
            ];
            assert!(all.iter().all(Option::is_some), "{name}: {hints:?}");
            let class = tool.meta.as_ref().unwrap()[RETRY_CLASS].as_str().unwrap();
            assert!(RETRY_CLASSES.contains(&class), "{name}: {class}");
            assert_eq!(hints.read_only_hint, Some(class == "read"), "{name}");
            let description = tool.description.as_deref().unwrap();
            assert!(
                !description.is_empty()
                    && !description.contains('\n')
                    && description.len() <= LONGEST_DESCRIPTION,
                "{name}: {description}"
            );
            assert!(!tool.title.as_deref().unwrap_or_default().is_empty(), "{name}");
            assert!(tool.output_schema.is_some(), "{name}");
            assert_eq!(tool.input_schema["type"], "object", "{name}");
        }
    }
}
