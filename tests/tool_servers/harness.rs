//! Starts the fake tool server, and reads what it did.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use windlass::tool_servers::{
    Call, Era, EraMemory, Failure, Outcome, ServerConfig, Settings, ToolProgress, ToolServers,
};
use windlass_engine::ToolName;

/// How long the tests wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fake tool server in a folder of its own.
pub(super) struct Fake {
    folder: TempDir,
    mode: String,
    extra: Value,
}

impl Fake {
    pub(super) fn new(mode: &str) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        Fake { folder, mode: mode.to_owned(), extra: json!({}) }
    }

    pub(super) fn with(self, extra: Value) -> Fake {
        Fake { extra, ..self }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A shell in between notes each start and its process id, then becomes the server.
    pub(super) fn entries(&self) -> BTreeMap<String, Value> {
        let script = format!(
            "echo $$ >> '{}'; exec '{}' \"$@\"",
            self.folder().join("starts").display(),
            fake_tool_server().display()
        );
        let mut entry = json!({ "command": "sh", "args": [
            "-c", script, "sh", self.mode,
            "--ledger", self.folder().join("ledger"), "--state", self.folder().join("state"),
        ]});
        for (key, value) in self.extra.as_object().unwrap() {
            entry[key] = value.clone();
        }
        BTreeMap::from([("fake".to_owned(), entry)])
    }

    pub(super) fn servers(&self) -> ToolServers {
        self.servers_with(settings())
    }

    pub(super) fn servers_with(&self, settings: Settings) -> ToolServers {
        servers(&self.entries(), settings)
    }

    pub(super) fn ledger(&self) -> String {
        self.read("ledger")
    }

    /// The calls that have arrived at the tool, a line each.
    pub(super) fn arrived(&self) -> String {
        self.read("ledger.arrived")
    }

    pub(super) fn state(&self) -> String {
        self.read("state")
    }

    /// How often it was started.
    pub(super) fn starts(&self) -> usize {
        self.read("starts").lines().count()
    }

    /// How many of them live.
    pub(super) fn children(&self) -> usize {
        self.read("starts").lines().filter(|id| lives(id)).count()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).unwrap_or_default()
    }
}

/// What is remembered of servers, to look at.
#[derive(Default)]
pub(super) struct Eras(Mutex<BTreeMap<String, Era>>);

impl Eras {
    pub(super) fn all(&self) -> Vec<(String, Era)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }
}

impl EraMemory for Eras {
    fn get(&self, identity: &str) -> Option<Era> {
        self.0.lock().unwrap().get(identity).copied()
    }

    fn set(&self, identity: &str, era: Era) {
        self.0.lock().unwrap().insert(identity.to_owned(), era);
    }
}

pub(super) fn fake_tool_server() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass"));
    binary.parent().unwrap().join("examples/fake_tool_server")
}

/// Few variables, and failures that are soon forgotten.
pub(super) fn settings() -> Settings {
    let path = std::env::var("PATH").unwrap();
    Settings {
        environment: BTreeMap::from([("PATH".to_owned(), path)]),
        first_backoff: Duration::from_millis(20),
        ..Settings::default()
    }
}

pub(super) fn servers(entries: &BTreeMap<String, Value>, settings: Settings) -> ToolServers {
    let parse = |(name, entry): (&String, &Value)| {
        (name.clone(), ServerConfig::parse(name, entry).unwrap())
    };
    ToolServers::new(entries.iter().map(parse).collect(), Vec::new(), settings)
}

pub(super) fn one_server(entry: Value, settings: Settings) -> ToolServers {
    servers(&BTreeMap::from([("fake".to_owned(), entry)]), settings)
}

pub(super) fn tool(name: &str) -> ToolName {
    ToolName::parse(name).unwrap()
}

pub(super) fn call(name: &str, params: Value) -> Call {
    Call {
        tool: tool(name),
        params,
        idempotency_key: "exec_1/step".to_owned(),
        attempt: 2,
        first_started_at: 1_700_000_000_000,
        timeout: Duration::from_secs(60),
        cancel: CancellationToken::new(),
        may_send: None,
        inspect: None,
        traceparent: None,
        tracestate: None,
    }
}

pub(super) fn silent() -> &'static (dyn Fn(ToolProgress) + Send + Sync) {
    &|_| {}
}

pub(super) fn succeeded(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Succeeded(value) => value,
        other => panic!("not a success: {other:?}"),
    }
}

pub(super) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

/// Why nobody knows, and whether it may be called again.
pub(super) fn uncertain(outcome: Outcome) -> (Failure, bool) {
    match outcome {
        Outcome::Uncertain { failure, repeatable } => (failure, repeatable),
        other => panic!("not uncertain: {other:?}"),
    }
}

/// Whether a process is there and no zombie.
pub(super) fn lives(id: &str) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", id.trim()])
        .output()
        .expect("`ps` is there");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// Waits for what must happen.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> F) {
    let wait = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let happened = tokio::time::timeout(PATIENCE, wait).await;
    assert!(happened.is_ok(), "this did not happen: {what}");
}
