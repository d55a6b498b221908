//! rerunWorkflow and cancelWorkflow: starts a run again, or ends it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::runs::{Run, run_id};
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};
use crate::github::client::Verb;
use crate::github::target::Target;
use crate::github::{Github, changing_arguments, changing_result, planned};

/// GitHub's clock and ours may differ by so much.
const CLOCKS_DIFFER_S: i64 = 10;

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    target: Target,
    run_id: u64,
    #[serde(default = "yes")]
    failed_only: bool,
    run_attempt: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

pub(super) fn rerun_tool() -> Tool<Github> {
    let properties = json!({
        "run_id": run_id(),
        "failed_only": {
            "type": "boolean", "default": true,
            "description": "Only the jobs that failed, and those that need them",
        },
        "run_attempt": {
            "type": "integer", "minimum": 1,
            "description": "The attempt that you saw, as getWorkflowRun answers it: a run that has a later one is left alone",
        },
    });
    Tool {
        spec: ToolSpec {
            name: "rerunWorkflow",
            title: "Rerun workflow",
            description: "Starts an ended run of a GitHub Actions workflow again, by default only what failed.",
            input: changing_arguments(properties, &["run_id"]),
            output: output(),
            retry_class: RetryClass::Keyed,
            names: &["rerunWorkflowRun"],
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { rerun(&github, &call).await }),
    }
}

pub(super) fn cancel_tool() -> Tool<Github> {
    Tool {
        spec: ToolSpec {
            name: "cancelWorkflow",
            title: "Cancel workflow",
            description: "Cancels a run of a GitHub Actions workflow. One that has ended is left as it is.",
            input: changing_arguments(json!({ "run_id": run_id() }), &["run_id"]),
            output: output(),
            destructive: true,
            retry_class: RetryClass::Idempotent,
            names: &["cancelWorkflowRun"],
            ..ToolSpec::default()
        },
        run: |github, call| Box::pin(async move { cancel(&github, &call).await }),
    }
}

fn output() -> Value {
    let properties = json!({
        "accepted": { "type": "boolean", "description": "Whether GitHub does it, or had done it" },
        "run_id": { "type": "integer" }, "run_attempt": { "type": "integer" },
        "html_url": { "type": "string" },
    });
    changing_result(properties, &["accepted", "run_id"])
}

async fn rerun(github: &Github, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let repository = github.open(call, &arguments.target).await?;
    let run = repository.run(arguments.run_id).await?;
    if is_done_already(&run, &arguments, call) {
        return Ok(answer(&run, run.run_attempt, false, Vec::new()));
    }
    if !run.is_done() {
        let status = run.status.as_deref().unwrap_or("not known");
        let message =
            format!("run {} is {status}, and only a run that has ended is started again", run.id);
        return Err(ToolError::new(Code::FailedPrecondition, message)
            .hint("wait for it with waitForWorkflowRun, or end it with cancelWorkflow"));
    }
    let what = if arguments.failed_only { "the failed jobs" } else { "all jobs" };
    if arguments.dry_run {
        return Ok(planned(vec![format!("start {what} of run {} again", run.id)], json!({})));
    }
    let route = if arguments.failed_only { "rerun-failed-jobs" } else { "rerun" };
    let route = format!("/actions/runs/{}/{route}", run.id);
    repository.write(Verb::Post, &route, None::<&()>).await?;
    Ok(answer(&run, run.run_attempt + 1, true, Vec::new()))
}

/// Whether the run was started again since the caller saw it, or since our own first attempt.
fn is_done_already(run: &Run, arguments: &Arguments, call: &Call) -> bool {
    if let Some(seen) = arguments.run_attempt {
        return seen < run.run_attempt;
    }
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let started = run.run_started_at.as_deref().and_then(time);
    let first = call.first_started_at.and_then(DateTime::<Utc>::from_timestamp_millis);
    let since = first.map(|first| first - TimeDelta::seconds(CLOCKS_DIFFER_S));
    let again = matches!((started, since), (Some(started), Some(since)) if since <= started);
    call.key_to_look_up().is_some() && 1 < run.run_attempt && again
}

async fn cancel(github: &Github, call: &Call) -> Answer {
    let Arguments { target, run_id, dry_run, .. } = call.parse()?;
    let repository = github.open(call, &target).await?;
    let run = repository.run(run_id).await?;
    if run.is_done() {
        return Ok(answer(&run, run.run_attempt, false, ended(&run)));
    }
    if dry_run {
        return Ok(planned(vec![format!("cancel run {}", run.id)], json!({})));
    }
    let route = format!("/actions/runs/{}/cancel", run.id);
    match repository.write(Verb::Post, &route, None::<&()>).await {
        Ok(_) => Ok(answer(&run, run.run_attempt, true, Vec::new())),
        // It ended in between.
        Err(error) if error.status() == Some(409) => {
            Ok(answer(&run, run.run_attempt, false, ended(&run)))
        }
        Err(error) => Err(error),
    }
}

fn ended(run: &Run) -> Vec<String> {
    match run.conclusion.as_deref() {
        None | Some("cancelled") => Vec::new(),
        Some(conclusion) => vec![format!("run {} had ended before: {conclusion}", run.id)],
    }
}

fn answer(run: &Run, attempt: u64, created: bool, warnings: Vec<String>) -> Value {
    json!({
        "accepted": true, "run_id": run.id, "run_attempt": attempt, "html_url": run.html_url,
        "created": created, "warnings": warnings,
    })
}
