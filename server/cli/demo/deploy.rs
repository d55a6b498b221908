//! `windlass demo deploy`: a canary with an error in it, on an emulated AWS, and a person who decides.

use std::{
    ffi::OsStr,
    io::IsTerminal,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use windlass_emulators::{
    AwsEmulator,
    aws::{REGION, Time},
    ecs::{Ecs, NewService},
};

use super::{WORKER_IDLE_MS, empty_project, shown};
use crate::cli::{
    arguments::{DemoDeploy, Verdict},
    failure::{Exit, Failure},
    session::Session,
    terminal::{self, bold, dim, green},
};

const CLUSTER: &str = "shop";
const SERVICE: &str = "web";
const ENVIRONMENT: &str = "production";
const REGISTRY: &str = "registry.example/web";
const OLD: &str = "v1";
/// The emulated tasks of a version that is called so write an error to their log that was not there before.
const NEW: &str = "v2-buggy";

/// A minute of rollout in a second.
const SPEED: f64 = 60.0;
/// How often an emulated task writes a line, in milliseconds of rollout.
const LOG_MS: u64 = 10_000;
/// How much of the log before the deployment there is to compare with.
const HISTORY: Duration = Duration::from_secs(60);

/// How often it is looked whether somebody is asked.
const LOOK: Duration = Duration::from_millis(250);
/// The whole of it, where nobody has to be waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// An empty project and an AWS of its own.
struct Stage {
    folder: PathBuf,
    windlass: PathBuf,
    aws: AwsEmulator,
}

/// What the run left in the emulated AWS.
#[derive(Debug, PartialEq)]
struct Traces {
    image: String,
    deployment: &'static str,
    reason: Option<String>,
}

pub(super) async fn run(session: &Session, arguments: &DemoDeploy) -> Result<Exit, Failure> {
    let stage = Stage::set().await?;
    let verdict = verdict(session, arguments);
    if !session.json() {
        stage.introduce(arguments, verdict);
    }
    let began = Instant::now();
    let output = stage.deploy(session, verdict).await?;
    let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    let traces = Traces::find(&stage.aws.ecs())
        .ok_or_else(|| Failure::ours("the emulated AWS knows no deployment"))?;
    if session.json() {
        terminal::say_json(&traces.to_json(&output));
    } else {
        traces.show();
        let took = terminal::duration(took);
        terminal::say(&format!("\n{} decided and done in {took}", green("✓")));
        terminal::say(&stage.what_next(&stage.execution().await?));
    }
    Ok(Exit::Done)
}

/// What is answered without asking; none when there is somebody to ask.
fn verdict(session: &Session, arguments: &DemoDeploy) -> Option<Verdict> {
    let can_ask =
        !session.json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    arguments.answer.or((!can_ask).then_some(Verdict::RollBack))
}

impl Verdict {
    fn spelt(self) -> &'static str {
        match self {
            Verdict::Promote => "promote",
            Verdict::RollBack => "roll_back",
        }
    }
}

impl Stage {
    async fn set() -> anyhow::Result<Stage> {
        let aws = AwsEmulator::start_in(Time::Running { speed: SPEED }).await;
        let aws = aws.context("cannot start the emulated AWS")?;
        aws.change_ecs(|ecs| ecs.pace.log_ms = LOG_MS);
        aws.add_service(NewService::new(CLUSTER, SERVICE, &format!("{REGISTRY}:{OLD}")));
        aws.add_history(HISTORY);
        let folder = empty_project(&settings(&aws.url()))?;
        let windlass = std::env::current_exe().context("cannot find the windlass program")?;
        Ok(Stage { folder, windlass, aws })
    }

    fn introduce(&self, arguments: &DemoDeploy, verdict: Option<Verdict>) {
        terminal::say(&format!(
            "An emulated AWS listens at {}; its ECS runs {OLD} of {SERVICE} in {CLUSTER}, its CloudWatch has the log.",
            self.aws.url()
        ));
        if let (None, Some(verdict)) = (arguments.answer, verdict) {
            let spelt = verdict.spelt().replace('_', "-");
            terminal::say(&format!(
                "Nobody can be asked here, so the answer will be {spelt}; --answer promote is the other one."
            ));
        }
        terminal::say(&format!("{}\n", dim(&format!("$ windlass {}", words().join(" ")))));
    }

    /// Runs the workflow as somebody at a terminal does, and returns what it resulted in.
    async fn deploy(&self, session: &Session, verdict: Option<Verdict>) -> Result<Value, Failure> {
        let mut command = self.command(&words());
        command.arg("--watch").stdout(Stdio::piped());
        // Whoever sits at the terminal is asked there, by the run itself.
        command.stdin(if verdict.is_some() { Stdio::null() } else { Stdio::inherit() });
        if session.json() {
            command.stderr(Stdio::null());
        }
        let mut run = command.spawn().context("cannot start windlass")?;
        if let Some(verdict) = verdict {
            let answered = tokio::time::timeout(PATIENCE, self.answer(&mut run, verdict)).await;
            answered.map_err(|_| Failure::ours("the run asked nothing for two minutes"))??;
        }
        let ended = run.wait_with_output().await.context("cannot wait for windlass")?;
        let output = serde_json::from_slice(&ended.stdout).ok();
        output.filter(|_| ended.status.success()).ok_or_else(|| self.failure(ended.status))
    }

    fn failure(&self, status: ExitStatus) -> Failure {
        Failure::ours(format!("the run did not complete ({status})"))
            .help(format!("everything is still in {}", self.folder.display()))
    }

    /// Answers as soon as somebody is asked, unless the run ends before.
    async fn answer(&self, run: &mut Child, verdict: Verdict) -> anyhow::Result<()> {
        while run.try_wait()?.is_none() {
            if let Some(request) = self.request().await? {
                let decision = format!("decision={}", verdict.spelt());
                let mut answer = self.command(&["answer", &request, "--value", &decision]);
                let answer = answer.stdin(Stdio::null()).output().await?;
                anyhow::ensure!(
                    answer.status.success(),
                    "the answer was not taken: {}",
                    String::from_utf8_lossy(&answer.stderr)
                );
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// The id of the request that is open.
    async fn request(&self) -> anyhow::Result<Option<String>> {
        let mut command = self.command(&["requests", "--json"]);
        let known = command.stdin(Stdio::null()).stderr(Stdio::null()).output().await?;
        let known: Value = serde_json::from_slice(&known.stdout).unwrap_or_default();
        Ok(known["requests"][0]["request_id"].as_str().map(str::to_owned))
    }

    /// Windlass in the project of the demo, with credentials that only the emulated AWS takes.
    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.windlass);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("AWS_ACCESS_KEY_ID", "key-of-the-emulated-aws")
            .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-emulated-aws")
            .env("AWS_REGION", REGION)
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            // What somebody has set for their own Windlass is not for this one.
            .env("WINDLASS_DATA_DIR", self.folder.join("data"))
            .env_remove("WINDLASS_DATABASE")
            .env_remove("WINDLASS_WORKSPACE")
            .env("WINDLASS_WORKER_IDLE_MS", WORKER_IDLE_MS.to_string())
            .env("WINDLASS_LOG", "warn")
            .kill_on_drop(true);
        command
    }

    /// The id of the execution that it was.
    async fn execution(&self) -> anyhow::Result<String> {
        let mut command = self.command(&["list", "--executions", "--json"]);
        let listed = command.stdin(Stdio::null()).stderr(Stdio::null()).output().await?;
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let id = listed["executions"][0]["execution_id"].as_str();
        id.map(str::to_owned).context("the run is not among the executions")
    }

    fn what_next(&self, id: &str) -> String {
        let (windlass, folder) = (shown(&self.windlass), shown(&self.folder));
        let lines = [
            ("Either answer", format!("{windlass} demo deploy --answer promote|roll-back")),
            (
                "What was done, step by step",
                format!("cd {folder} && {windlass} status {id} --results"),
            ),
            ("Throw it away", format!("rm -r {folder}")),
        ];
        let lines = lines.map(|(what, command)| format!("{}\n  {command}", dim(what)));
        format!("\n{}\n{}", bold("What to try next"), lines.join("\n"))
    }
}

/// What is typed to deploy.
fn words() -> Vec<String> {
    let input = [
        format!("app={SERVICE}"),
        format!("environment={ENVIRONMENT}"),
        format!("version={NEW}"),
        format!("window={}s", HISTORY.as_secs()),
    ];
    ["run", "deploy_canary"].map(str::to_owned).into_iter().chain(input).collect()
}

fn settings(url: &str) -> String {
    format!(
        r#"
[deploy.targets.{SERVICE}.environments.{ENVIRONMENT}]
kind = "ecs"
cluster = "{CLUSTER}"
service = "{SERVICE}"
image = "{REGISTRY}:{{{{version}}}}"
region = "{REGION}"
endpoint_url = "{url}"
strategy = {{ canary = {{ percent = 20, bake_minutes = 4 }}, pause_at = ["PRE_PRODUCTION_TRAFFIC_SHIFT"] }}

[observability.sources.cloudwatch]
kind = "cloudwatch"
region = "{REGION}"
endpoint_url = "{url}"

[observability.apps.{SERVICE}.environments.{ENVIRONMENT}]
log_group = "/ecs/{SERVICE}"
"#
    )
}

impl Traces {
    /// Looks into the emulated AWS, not into what the workflow says about it.
    fn find(ecs: &Ecs) -> Option<Traces> {
        let service = ecs.services.get(&(CLUSTER.to_owned(), SERVICE.to_owned()))?;
        let definition =
            ecs.task_definitions.iter().find(|one| one.arn() == service.task_definition)?;
        let image = definition.body["containerDefinitions"][0]["image"].as_str()?;
        // The first one was there before.
        let deployment = ecs.deployments.get(1)?;
        Some(Traces {
            image: image.to_owned(),
            deployment: deployment.status.name(),
            reason: deployment.reason.clone(),
        })
    }

    fn show(&self) {
        let mut rows = vec![
            vec!["  image".to_owned(), self.image.clone()],
            vec!["  deployment".to_owned(), self.deployment.to_owned()],
        ];
        rows.extend(self.reason.iter().map(|reason| vec!["  why".to_owned(), reason.clone()]));
        terminal::say(&format!("\n{}", bold("Now in the emulated ECS")));
        terminal::columns(&rows).iter().for_each(|line| terminal::say(line));
    }

    fn to_json(&self, output: &Value) -> Value {
        json!({
            "output": output,
            "service": { "image": self.image },
            "deployment": { "status": self.deployment, "reason": self.reason },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_can_be_read_and_name_the_emulated_aws() {
        let settings: toml::Table = settings("http://127.0.0.1:1").parse().unwrap();
        let environment = &settings["deploy"]["targets"][SERVICE]["environments"][ENVIRONMENT];
        assert_eq!(environment["image"].as_str(), Some("registry.example/web:{{version}}"));
        assert_eq!(environment["endpoint_url"].as_str(), Some("http://127.0.0.1:1"));
    }
}
