//! A project of its own for each test, and the binary in it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing in these tests has a reason to take longer, however busy the machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with workflows and data of its own.
pub(super) struct Project {
    folder: TempDir,
}

impl Project {
    /// Has three workflows: `echo` {text, times?}, `nap` {ms} of three steps, `trip`, which fails at its second step.
    pub(super) fn new() -> Project {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("workflows")).unwrap();
        let project = Project { folder };
        project.add(&json!({
            "name": "echo",
            "description": "Says what it is told",
            "input": {
                "type": "object",
                "properties": {
                    "text": { "type": "string" },
                    "times": { "type": "integer", "minimum": 1 },
                },
                "required": ["text"],
                "additionalProperties": false,
            },
            "steps": [{ "name": "say", "tool": "demo.echo", "params": { "text": "${input.text}" } }],
        }));
        project.add(&json!({
            "name": "nap",
            "input": { "type": "object", "properties": { "ms": { "type": "integer" } }, "required": ["ms"] },
            "steps": [
                { "name": "lie_down", "tool": "demo.noop", "params": {} },
                { "name": "sleep", "tool": "demo.sleep", "params": { "ms": "${input.ms}" } },
                { "name": "get_up", "tool": "demo.echo", "params": { "rested": true } },
            ],
        }));
        project.add(&json!({
            "name": "trip",
            "steps": [
                { "name": "walk", "tool": "demo.noop", "params": {} },
                { "name": "fall", "tool": "demo.fail", "params": { "message": "a stone lay there" } },
            ],
        }));
        project
    }

    /// JSON is YAML too.
    fn add(&self, workflow: &Value) {
        let name = workflow["name"].as_str().unwrap();
        let path = self.path().join("workflows").join(format!("{name}.yaml"));
        fs::write(path, workflow.to_string()).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `windlass serve`, with nothing of the machine's own settings.
    pub(super) fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command
            .arg("serve")
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("WINDLASS_DATA_DIR", self.path().join("data"))
            .env("WINDLASS_WORKER_IDLE_MS", "300")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Waits for a process to end, but not for ever.
#[track_caller]
pub(super) fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process did not end within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
