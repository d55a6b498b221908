//! `windlass demo`: an agent's view of a whole run, against an emulated GitHub.

mod deploy;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use windlass_emulators::GithubEmulator;
use windlass_engine::ToolName;

use super::{
    arguments::{Demo, DemoOf},
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, green},
};
use crate::{
    clock,
    tool_servers::{Call, Outcome, ServerConfig, Settings, ToolProgress, ToolServers},
};

/// What the emulated GitHub holds from the start.
const REPOSITORY: &str = "octo/hello";
const ISSUE: u64 = 7;

/// The whole call; a run takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(45);

/// The worker that the server starts exits when it has had nothing to do for so long.
const WORKER_IDLE_MS: u64 = 500;

/// An empty project and a GitHub of its own.
struct Stage {
    folder: PathBuf,
    windlass: PathBuf,
    github: GithubEmulator,
}

/// What the run left in the emulated GitHub.
#[derive(Debug, PartialEq)]
struct Traces {
    branch: String,
    commit: String,
    commit_message: String,
    pull_request: u64,
    pull_request_title: String,
}

pub(super) async fn run(session: &Session, arguments: Demo) -> Result<Exit, Failure> {
    match arguments.what {
        None => issue_to_pull_request(session).await,
        Some(DemoOf::Deploy(arguments)) => deploy::run(session, &arguments).await,
    }
}

async fn issue_to_pull_request(session: &Session) -> Result<Exit, Failure> {
    let stage = Stage::set().await?;
    if !session.json() {
        introduce(&stage);
    }
    let began = Instant::now();
    let answer = stage.call_as_an_agent_would(!session.json()).await?;
    let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    let id = answer["execution_id"].as_str().unwrap_or_default();
    let traces = stage.traces(&answer)?;
    if session.json() {
        terminal::say_json(&traces.to_json(id));
    } else {
        traces.show();
        terminal::say(&format!(
            "\n{} execution {id} completed in {}",
            green("✓"),
            terminal::duration(took)
        ));
        terminal::say(&stage.what_next(id));
    }
    Ok(Exit::Done)
}

fn introduce(stage: &Stage) {
    terminal::say(&format!(
        "An emulated GitHub listens at {}; it holds {REPOSITORY} with issue #{ISSUE}.",
        stage.github.url()
    ));
    terminal::say("An MCP client starts `windlass serve` and calls its tool workflow.run:\n");
}

impl Stage {
    async fn set() -> anyhow::Result<Stage> {
        let folder = empty_project("")?;
        let github = GithubEmulator::start().await.context("cannot start the emulated GitHub")?;
        let windlass = std::env::current_exe().context("cannot find the windlass program")?;
        Ok(Stage { folder, windlass, github })
    }

    /// Connects as an agent does, calls one tool, and says what the server tells on the way.
    async fn call_as_an_agent_would(&self, tell: bool) -> Result<Value, Failure> {
        let tool_servers = self.connection()?;
        let progress = move |progress: ToolProgress| {
            if let Some(message) = progress.message.filter(|_| tell) {
                terminal::say(&format!("  {message}"));
            }
        };
        let outcome = tool_servers.call(call(), &progress).await;
        tool_servers.shutdown().await;
        match outcome {
            Outcome::Succeeded(answer) | Outcome::NotDone(answer) => Ok(answer),
            Outcome::Failed(failure) | Outcome::Uncertain { failure, repeatable: _ } => {
                Err(Failure::ours(format!("the run failed: {}", failure.message))
                    .help(format!("everything is still in {}", self.folder.display())))
            }
        }
    }

    /// Our own MCP client, with one server to connect to.
    fn connection(&self) -> anyhow::Result<ToolServers> {
        let name = "windlass";
        let server = ServerConfig::parse(name, &self.entry())?;
        let servers = BTreeMap::from([(name.to_owned(), server)]);
        Ok(ToolServers::new(servers, Vec::new(), Settings::default()))
    }

    /// What would stand in `.mcp.json`.
    fn entry(&self) -> Value {
        json!({
            "command": self.windlass,
            "args": ["serve"],
            "cwd": self.folder,
            "env": {
                "GITHUB_TOKEN": "token-of-the-emulated-github",
                "WINDLASS_GITHUB_API_URL": self.github.url(),
                "WINDLASS_WORKER_IDLE_MS": WORKER_IDLE_MS.to_string(),
                "WINDLASS_LOG": "warn",
            },
        })
    }

    fn traces(&self, answer: &Value) -> Result<Traces, Failure> {
        let state = serde_json::to_value(self.github.state()).map_err(anyhow::Error::from)?;
        Traces::find(&state, answer).ok_or_else(|| {
            let answer = terminal::pretty(answer);
            Failure::ours(format!(
                "there is no pull request in the emulated GitHub; workflow.run said {answer}"
            ))
        })
    }

    fn what_next(&self, id: &str) -> String {
        let windlass = shown(&self.windlass);
        let folder = shown(&self.folder);
        let entry = json!({ "name": "windlass", "command": self.windlass, "args": ["serve"] });
        let lines = [
            ("Look at it again", format!("cd {folder} && {windlass} status {id} --results")),
            ("Throw it away", format!("rm -r {folder}")),
            ("Your own workflow", format!("{windlass} run path/to/workflow.yaml key=value")),
            (
                "On the real GitHub",
                format!("GITHUB_TOKEN=… {windlass} run issue_to_pr owner=… repo=… issue_number=…"),
            ),
            ("Deploy a canary", format!("{windlass} demo deploy")),
            ("In Claude Code", format!("claude mcp add windlass -- {windlass} serve")),
            ("In VS Code", format!("code --add-mcp '{entry}'")),
        ];
        let lines = lines.map(|(what, command)| format!("{}\n  {command}", dim(what)));
        format!("\n{}\n{}", bold("What to try next"), lines.join("\n"))
    }
}

/// A project of its own, with these settings.
fn empty_project(settings: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("windlass-demo-{}", clock::now()));
    // Another user of the machine must neither read it nor have put it there.
    DirBuilder::new().mode(0o700).create(&folder).context("cannot make a folder for the demo")?;
    fs::write(folder.join("windlass.toml"), format!("data_dir = \"data\"\n{settings}"))
        .context("cannot write the demo's configuration")?;
    Ok(folder)
}

fn call() -> Call {
    let (owner, repo) = REPOSITORY.split_once('/').unwrap_or_default();
    let input = json!({ "owner": owner, "repo": repo, "issue_number": ISSUE });
    Call {
        tool: ToolName { server: "windlass".to_owned(), tool: "workflow.run".to_owned() },
        params: json!({ "workflow": "issue_to_pr", "input": input, "wait_seconds": 40 }),
        idempotency_key: "demo".to_owned(),
        attempt: 1,
        first_started_at: clock::now(),
        timeout: PATIENCE,
        cancel: CancellationToken::new(),
        may_send: None,
        inspect: None,
        traceparent: None,
        tracestate: None,
    }
}

/// A path that can be pasted behind a prompt.
fn shown(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(|letter: char| letter.is_whitespace() || "'\"$&()".contains(letter)) {
        format!("'{}'", path.replace('\'', r"'\''"))
    } else {
        path
    }
}

impl Traces {
    /// Looks into the emulated GitHub, not into what the server says about it.
    fn find(state: &Value, answer: &Value) -> Option<Traces> {
        let branch = answer["output"]["branch"].as_str()?;
        let repository = &state["repositories"][REPOSITORY];
        let commit = repository["refs"][format!("refs/heads/{branch}")].as_str()?;
        let message = repository["commits"][commit]["message"].as_str()?;
        let of_branch = |issue: &&Value| issue["pull"]["head"].as_str() == Some(branch);
        let pull_request = repository["issues"].as_object()?.values().find(of_branch)?;
        Some(Traces {
            branch: branch.to_owned(),
            commit: commit.to_owned(),
            commit_message: message.lines().next().unwrap_or_default().to_owned(),
            pull_request: pull_request["number"].as_u64()?,
            pull_request_title: pull_request["title"].as_str()?.to_owned(),
        })
    }

    fn show(&self) {
        let short: String = self.commit.chars().take(7).collect();
        let rows = [
            vec!["  branch".to_owned(), self.branch.clone()],
            vec!["  commit".to_owned(), format!("{short} {}", self.commit_message)],
            vec![
                "  pull request".to_owned(),
                format!("#{} {}", self.pull_request, self.pull_request_title),
            ],
        ];
        terminal::say(&format!("\n{}", bold(&format!("Now in {REPOSITORY}"))));
        terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    }

    fn to_json(&self, execution_id: &str) -> Value {
        json!({
            "execution_id": execution_id,
            "branch": self.branch,
            "commit": self.commit,
            "pull_request": { "number": self.pull_request, "title": self.pull_request_title },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pull_request_that_exists_counts() {
        let answer = json!({ "output": { "branch": "fix/issue-7" } });
        let mut state = json!({ "repositories": { "octo/hello": {
            "refs": { "refs/heads/fix/issue-7": "abc" },
            "commits": { "abc": { "message": "Note it\n\nWindlass-Execution: x" } },
            "issues": { "7": { "number": 7, "title": "Greet", "pull": null } },
        } } });
        assert_eq!(Traces::find(&state, &answer), None);
        state["repositories"]["octo/hello"]["issues"]["8"] =
            json!({ "number": 8, "title": "Fix #7", "pull": { "head": "fix/issue-7" } });
        let traces = Traces::find(&state, &answer).unwrap();
        assert_eq!((traces.pull_request, traces.commit_message.as_str()), (8, "Note it"));
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(shown(Path::new("/a/b")), "/a/b");
        assert_eq!(shown(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
