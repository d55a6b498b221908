//! Deploys by commands of the configuration: compose, helm, terraform, ssh, or a script.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::config::{ALWAYS_PASSED, Command};
use super::driver::{Begun, Look, Order, plain_health};
use super::place::Place;
use super::process::{Ended, Program, run};
use super::record::{Action, Record, Status, current};
use super::template::{self, Words};
use super::{Deploy, now, refused};
use crate::contract::text::without_invisible;
use crate::contract::{Asked, Call, Code, ToolError};

/// How long one look at the status may take.
const LOOK: Duration = Duration::from_secs(10);
const SHOWN_LINES: usize = 20;

pub(super) struct Driver<'a> {
    pub(super) deploy: &'a Deploy,
    pub(super) settings: Command,
}

impl super::driver::Driver for Driver<'_> {
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun> {
        Box::pin(self.deploy_version(order))
    }

    fn look<'a>(&'a self, place: &'a Place, record: &'a Record) -> Asked<'a, Look> {
        Box::pin(self.look(place, record))
    }

    fn health<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Value> {
        Box::pin(self.health(place, records))
    }
}

impl Driver<'_> {
    async fn deploy_version(&self, order: &mut Order<'_>) -> Result<Begun, ToolError> {
        if order.again && !self.settings.idempotent {
            return self.find_done(order).await;
        }
        let rollback =
            order.record.action == Action::Rollback && !self.settings.rollback.is_empty();
        let words = if rollback { &self.settings.rollback } else { &self.settings.deploy };
        let mut placeholders = order.record.words(order.place);
        if rollback {
            // A rollback's command goes back to "the previous version": the one that it is to bring again.
            placeholders.previous_version.clone_from(&order.record.version);
        }
        let limit = Duration::from_secs(self.settings.timeout_seconds);
        let ended =
            self.run(words, &placeholders, Some((order.call, &order.record)), limit).await?;
        let details = last_object(&ended.stdout);
        if !ended.status.success() {
            return Err(failed(&words[0], &ended));
        }
        order.record.status = Status::Succeeded;
        order.record.finished_at = Some(now());
        order.record.url = details.get("url").and_then(Value::as_str).map(str::to_owned);
        order.record.state = Value::Object(details.clone());
        Ok(Begun { changed: true, warnings: Vec::new(), details: json!({ "output": details }) })
    }

    /// An earlier attempt may have run the command. Only its status can tell.
    async fn find_done(&self, order: &mut Order<'_>) -> Result<Begun, ToolError> {
        let unknown = || {
            let message = format!(
                "an earlier attempt to deploy {} may have run the command, and nobody knows how it ended",
                order.place.spoken()
            );
            ToolError::new(Code::OutcomeUnknown, message).hint(
                "look at the environment, then deploy again as a new step; `idempotent = true` lets Windlass run the \
                 command again by itself, and a `status` command that prints {\"version\": …} lets it look",
            )
        };
        if self.settings.status.is_empty() {
            return Err(unknown());
        }
        let ended = self.ask(order.place).await?;
        let runs =
            last_object(&ended.stdout).get("version").and_then(Value::as_str).map(str::to_owned);
        if !ended.status.success() || runs.is_none() || runs != order.record.version {
            return Err(unknown());
        }
        order.record.status = Status::Succeeded;
        order.record.finished_at = Some(now());
        Ok(Begun { changed: true, ..Begun::default() })
    }

    async fn look(&self, place: &Place, record: &Record) -> Result<Look, ToolError> {
        let mut look = Look::at(record.status);
        look.finished_at = record.finished_at;
        look.problem.clone_from(&record.problem);
        // The command has ended when it answers; a status command says whether what it brought is well.
        if record.status == Status::Succeeded && !self.settings.status.is_empty() {
            let ended = self.ask(place).await?;
            if !ended.status.success() {
                look.status = Status::Failed;
                look.problem = Some(format!(
                    "the status command says that it is not well: {}",
                    last_lines(&ended)
                ));
            }
        }
        Ok(look)
    }

    async fn health(&self, place: &Place, records: &[Record]) -> Result<Value, ToolError> {
        let version = current(records).and_then(|record| record.version.clone());
        if self.settings.status.is_empty() {
            let problems = vec!["no status command is configured".to_owned()];
            return Ok(plain_health("unknown", problems, json!({ "version": version })));
        }
        let ended = self.ask(place).await?;
        let told = last_object(&ended.stdout);
        let problems = if ended.status.success() { Vec::new() } else { vec![last_lines(&ended)] };
        let health = if problems.is_empty() { "healthy" } else { "degraded" };
        let version = told.get("version").cloned().unwrap_or_else(|| json!(version));
        Ok(plain_health(health, problems, json!({ "version": version, "output": told })))
    }

    async fn ask(&self, place: &Place) -> Result<Ended, ToolError> {
        self.run(&self.settings.status, &place.words(), None, LOOK).await
    }

    async fn run(
        &self,
        words: &[String],
        placeholders: &Words,
        order: Option<(&Call, &Record)>,
        limit: Duration,
    ) -> Result<Ended, ToolError> {
        let filled = words.iter().map(|word| template::fill(word, placeholders));
        let words: Vec<String> = filled.collect::<Result<_, _>>()?;
        let own = self.settings.directory.as_deref().unwrap_or_default();
        let directory = self.deploy.around.root.join(own);
        let mut variables = self.passed();
        for (name, value) in [
            ("WINDLASS_APP", &placeholders.app),
            ("WINDLASS_ENVIRONMENT", &placeholders.environment),
            ("WINDLASS_VERSION", &placeholders.version),
        ] {
            variables.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        if let Some((call, record)) = order {
            variables.insert("WINDLASS_DEPLOYMENT_ID".to_owned(), record.deployment_id.clone());
            let key = call.idempotency_key.clone();
            variables.extend(key.map(|key| ("WINDLASS_IDEMPOTENCY_KEY".to_owned(), key)));
            let execution = call.execution_id().map(str::to_owned);
            variables.extend(execution.map(|id| ("WINDLASS_EXECUTION_ID".to_owned(), id)));
        }
        run(Program { words: &words, directory, variables, limit }).await
    }

    fn passed(&self) -> BTreeMap<String, String> {
        let own = self.settings.env.iter().map(String::as_str).chain(ALWAYS_PASSED);
        let value =
            |name: &str| Some((name.to_owned(), self.deploy.around.environment.get(name)?.clone()));
        own.filter_map(value).collect()
    }
}

/// The last line of an output that is a JSON object.
fn last_object(output: &str) -> Map<String, Value> {
    let object = |line: &str| match serde_json::from_str(line.trim()) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    output.lines().rev().find_map(object).unwrap_or_default()
}

fn failed(name: &str, ended: &Ended) -> ToolError {
    let how = match ended.status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "was killed".to_owned(),
    };
    let message = format!("{name} {how}: {}", last_lines(ended));
    refused(Code::FailedPrecondition, "command_failed", message)
        .hint("what it printed last says why; it can be rolled back or deployed again")
}

/// What a program said last, on whichever stream it said anything.
fn last_lines(ended: &Ended) -> String {
    let text = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    without_invisible(&lines[start..].join("\n"))
}
