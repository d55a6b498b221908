//! waitForDeployment, getDeployment, listDeployments, continueDeployment and stopDeployment: what becomes of a deployment.

use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use super::driver::{Look, Word};
use super::place::{self, Address, Place, arguments, invalid, not_found};
use super::record::{Record, Status, time};
use super::shapes::{
    DEPLOYMENT, STATUSES, awaiting_action, deployment, diagnosis, list, merge, told, with,
};
use super::{Deploy, now};
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::{Answer, Call, RetryClass, Tool, ToolError, ToolSpec};

const MOST_LISTED: usize = 50;
/// In the state of a rollback: the deployment that it takes back.
pub(super) const TAKES_BACK: &str = "takes_back";

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    address: Address,
    deployment_id: Option<String>,
    #[serde(default)]
    until: Until,
    limit: Option<usize>,
    status: Option<Status>,
    since: Option<String>,
    hook_id: Option<String>,
    action: Option<Chosen>,
    #[serde(default)]
    stop_type: StopType,
    #[serde(default)]
    dry_run: bool,
}

/// What is waited for.
#[derive(Debug, Default, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Until {
    /// The end.
    #[default]
    Finished,
    /// That it asks for a person's word, or the end.
    AwaitingAction,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Chosen {
    Continue,
    Rollback,
}

#[derive(Debug, Default, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum StopType {
    #[default]
    Rollback,
    Abort,
}

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    vec![
        Tool {
            spec: wait_spec(),
            run: |deploy, call| Box::pin(async move { wait(&deploy, &call).await }),
        },
        Tool {
            spec: get_spec(),
            run: |deploy, call| Box::pin(async move { get(&deploy, &call).await }),
        },
        Tool {
            spec: list_spec(),
            run: |deploy, call| Box::pin(async move { list_all(&deploy, &call).await }),
        },
        Tool {
            spec: continue_spec(),
            run: |deploy, call| Box::pin(async move { proceed(&deploy, &call).await }),
        },
        Tool {
            spec: stop_spec(),
            run: |deploy, call| Box::pin(async move { stop(&deploy, &call).await }),
        },
    ]
}

fn id() -> Value {
    text("The deployment, as deploy, updateService, rollbackService or listDeployments named it")
}

fn wait_spec() -> ToolSpec {
    let own = json!({
        "deployment_id": id(),
        "until": {
            "type": "string", "enum": ["finished", "awaiting_action"], "default": "finished",
            "description": "awaiting_action: also done when the deployment waits for a person's word; ask one, then call continueDeployment",
        },
    });
    ToolSpec {
        name: "waitForDeployment",
        title: "Wait for deployment",
        description: "Says how far a deployment is, and how it ended. A deployment that was rolled back did not succeed; \
                      diagnosis then says why. Without deployment_id it is the newest one of the service.",
        input: arguments(place::properties(), own, &[]),
        output: told(
            json!({
                "done": { "type": "boolean" },
                "success": { "type": ["boolean", "null"], "description": "Whether the version runs; null while that is open" },
                "retry_after_ms": { "type": ["integer", "null"] },
                "awaiting_action": awaiting_action(),
                "rolled_back_to": { "type": ["string", "null"] },
                "diagnosis": diagnosis(),
            }),
            &["done", "success", "retry_after_ms"],
        ),
        pollable: true,
        ..ToolSpec::default()
    }
}

fn get_spec() -> ToolSpec {
    ToolSpec {
        name: "getDeployment",
        title: "Get deployment",
        description: "Tells of one deployment.",
        input: arguments(
            serde_json::Map::new(),
            json!({ "deployment_id": id() }),
            &["deployment_id"],
        ),
        output: told(
            json!({
                "awaiting_action": awaiting_action(),
                "rolled_back_to": { "type": ["string", "null"] },
                "diagnosis": diagnosis(),
            }),
            &[],
        ),
        ..ToolSpec::default()
    }
}

fn list_spec() -> ToolSpec {
    let own = json!({
        "limit": { "type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 10 },
        "status": { "type": "string", "enum": STATUSES },
        "since": text("Only those started at this time or later, such as 2026-11-01T00:00:00Z"),
    });
    ToolSpec {
        name: "listDeployments",
        title: "List deployments",
        description: "Lists the deployments of an environment or of an ECS service, the newest first.",
        input: arguments(place::properties(), own, &[]),
        output: list(told(json!({}), &[])),
        aliases: &[("limit", &["perPage", "per_page"])],
        ..ToolSpec::default()
    }
}

fn continue_spec() -> ToolSpec {
    let own = json!({
        "deployment_id": id(),
        "hook_id": text("Which question is answered, as waitForDeployment named it in awaiting_action"),
        "action": { "type": "string", "enum": ["continue", "rollback"] },
    });
    let more = json!({ "already": { "type": "boolean", "description": "True when the question was answered before" } });
    let required: Vec<_> = DEPLOYMENT.iter().copied().chain(["already"]).collect();
    ToolSpec {
        name: "continueDeployment",
        title: "Continue deployment",
        description: "Lets a deployment that waits for a person's word go on, or takes it back.",
        input: changing_arguments(arguments(
            serde_json::Map::new(),
            own,
            &["deployment_id", "hook_id", "action"],
        )),
        output: changing_result(with(deployment(), more), &required),
        destructive: true,
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    }
}

fn stop_spec() -> ToolSpec {
    let own = json!({
        "deployment_id": id(),
        "stop_type": { "type": "string", "enum": ["rollback", "abort"], "default": "rollback", "description": "rollback: bring the version before again; abort: leave everything as it is now" },
    });
    let more = json!({ "changed": { "type": "boolean" } });
    let required: Vec<_> = DEPLOYMENT.iter().copied().chain(["changed"]).collect();
    ToolSpec {
        name: "stopDeployment",
        title: "Stop deployment",
        description: "Ends a deployment that still runs.",
        input: changing_arguments(arguments(serde_json::Map::new(), own, &["deployment_id"])),
        output: changing_result(with(deployment(), more), &required),
        destructive: true,
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    }
}

/// A deployment, and where it is.
struct Found {
    place: Place,
    record: Record,
}

async fn find(
    deploy: &Deploy,
    address: &Address,
    deployment_id: Option<&str>,
) -> Result<Found, ToolError> {
    let place = match deployment_id {
        Some(id) => deploy.place_of(id)?,
        None if address.is_given() => deploy.place(address)?,
        None => {
            return Err(invalid("it is not said which deployment".to_owned())
                .hint("give deployment_id, or app and environment, or cluster and service"));
        }
    };
    let records = deploy.journal(&place).records().await?;
    let record = deploy.driver(&place)?.recall(&place, &records, deployment_id).await?;
    let record = record.ok_or_else(|| match deployment_id {
        Some(id) => not_found(format!("no deployment is called {id:?}"))
            .hint("listDeployments lists those that are known"),
        None => not_found(format!("no deployment of {} is known", place.spoken())),
    })?;
    Ok(Found { place, record })
}

async fn wait(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let Found { place, mut record } =
        find(deploy, &arguments.address, arguments.deployment_id.as_deref()).await?;
    let look = look(deploy, &place, &mut record).await?;
    let waits = look.status == Status::AwaitingAction && arguments.until == Until::AwaitingAction;
    let done = look.status.is_done() || waits;
    let mut answer = shown(&place, &record, &look);
    merge(
        &mut answer,
        json!({
            "done": done,
            "success": look.status.is_done().then_some(look.status == Status::Succeeded),
            "retry_after_ms": (!done).then_some(look.retry_after_ms),
        }),
    );
    Ok(answer)
}

async fn get(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let Found { place, mut record } =
        find(deploy, &arguments.address, arguments.deployment_id.as_deref()).await?;
    let look = look(deploy, &place, &mut record).await?;
    Ok(shown(&place, &record, &look))
}

async fn list_all(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let since = arguments.since.as_deref().map(moment).transpose()?;
    let limit = arguments.limit.unwrap_or(10).min(MOST_LISTED);
    let records = deploy.journal(&place).records().await?;
    let all = deploy.driver(&place)?.list(&place, &records, MOST_LISTED).await?;
    let fits = |record: &&Record| {
        arguments.status.is_none_or(|status| record.status == status)
            && since.is_none_or(|since| since <= record.started_at)
    };
    let items: Vec<_> = all.iter().filter(fits).map(|record| record.shown(&place)).collect();
    let truncated = limit < items.len();
    Ok(
        json!({ "items": items.into_iter().take(limit).collect::<Vec<_>>(), "truncated": truncated }),
    )
}

async fn proceed(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let Found { place, mut record } =
        find(deploy, &arguments.address, arguments.deployment_id.as_deref()).await?;
    let go_on = arguments.action == Some(Chosen::Continue);
    if arguments.dry_run {
        let step = if go_on { "let the deployment go on" } else { "take the deployment back" };
        return Ok(planned(vec![step.to_owned()], record.shown(&place)));
    }
    let word = Word { hook_id: arguments.hook_id.as_deref(), go_on };
    let already = deploy.driver(&place)?.answer(&place, &mut record, word).await?;
    if !already {
        deploy.journal(&place).save(&record).await?;
    }
    let mut answer = record.shown(&place);
    merge(&mut answer, json!({ "already": already, "created": !already, "warnings": [] }));
    Ok(answer)
}

async fn stop(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: Arguments = call.parse()?;
    let Found { place, mut record } =
        find(deploy, &arguments.address, arguments.deployment_id.as_deref()).await?;
    let back = arguments.stop_type == StopType::Rollback;
    if arguments.dry_run {
        return Ok(planned(vec![format!("stop {}", record.deployment_id)], record.shown(&place)));
    }
    let changed = !record.status.is_done();
    if changed {
        record.status = deploy.driver(&place)?.stop(&place, &mut record, back).await?;
        deploy.journal(&place).save(&record).await?;
    }
    let mut answer = record.shown(&place);
    merge(&mut answer, json!({ "changed": changed, "created": changed, "warnings": [] }));
    Ok(answer)
}

/// Looks at a deployment and notes what it saw.
pub(super) async fn look(
    deploy: &Deploy,
    place: &Place,
    record: &mut Record,
) -> Result<Look, ToolError> {
    let look = match record.state[TAKES_BACK].as_str() {
        Some(original) => look_back(deploy, place, original).await?,
        None => deploy.driver(place)?.look(place, record).await?,
    };
    let before = record.clone();
    note(record, &look);
    if *record != before {
        deploy.journal(place).save(record).await?;
    }
    Ok(look)
}

/// Looks at a deployment that another one takes back: the end of the one is the success of the other.
async fn look_back(deploy: &Deploy, place: &Place, original: &str) -> Result<Look, ToolError> {
    let (driver, journal) = (deploy.driver(place)?, deploy.journal(place));
    let records = journal.records().await?;
    let original = driver.recall(place, &records, Some(original)).await?;
    let mut original = original
        .ok_or_else(|| not_found("the deployment that is taken back is not known".to_owned()))?;
    let mut look = driver.look(place, &original).await?;
    note(&mut original, &look);
    journal.save(&original).await?;
    look.status = taken_back(look.status);
    look.state = None;
    if look.status == Status::Succeeded {
        (look.problem, look.diagnosis) = (None, Value::Null);
    } else if look.status == Status::Failed {
        let problem = "the deployment ended before it could be taken back, or could not be";
        look.problem = Some(look.problem.unwrap_or_else(|| problem.to_owned()));
    }
    Ok(look)
}

/// What the status of a deployment is for the one that takes it back.
pub(super) fn taken_back(status: Status) -> Status {
    match status {
        Status::RolledBack | Status::Stopped => Status::Succeeded,
        Status::Succeeded | Status::Failed => Status::Failed,
        Status::Pending | Status::InProgress | Status::AwaitingAction => Status::InProgress,
    }
}

/// Takes what a look showed into the record.
pub(super) fn note(record: &mut Record, look: &Look) {
    record.status = look.status;
    record.problem = look.problem.clone().or_else(|| record.problem.clone());
    if look.status.is_done() {
        record.finished_at = record.finished_at.or(look.finished_at).or_else(|| Some(now()));
    }
    if let Some(state) = &look.state {
        record.state = state.clone();
    }
}

fn shown(place: &Place, record: &Record, look: &Look) -> Value {
    let mut answer = record.shown(place);
    merge(
        &mut answer,
        json!({
            "progress": look.progress, "awaiting_action": look.awaiting_action,
            "rolled_back_to": look.rolled_back_to, "diagnosis": look.diagnosis,
            "finished_at": record.finished_at.map(time),
        }),
    );
    answer
}

fn moment(text: &str) -> Result<i64, ToolError> {
    DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).map_err(|error| {
        invalid(format!("since is {text:?}: {error}"))
            .hint("give a time such as 2026-11-01T00:00:00Z")
    })
}
