//! rollbackService: takes back what runs, or returns to what ran before.

use serde::Deserialize;
use serde_json::json;

use super::change::{Wanted, answer, begin_record, carry_out, changed_output, refreshed};
use super::config::Kind;
use super::driver::{Change, image_of};
use super::follow::{TAKES_BACK, taken_back};
use super::place::{self, Address, Place, arguments, invalid};
use super::record::{Action, Journal, Record, rollback_target};
use super::template::check_version;
use super::{Deploy, locks, now};
use crate::contract::schema::{changing_arguments, planned, text};
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};

#[derive(Deserialize)]
struct Arguments {
    #[serde(flatten)]
    address: Address,
    target_revision: Option<String>,
    deployment_id: Option<String>,
    reason: Option<String>,
    by: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    vec![Tool {
        spec: spec(),
        run: |deploy, call| Box::pin(async move { roll_back(&deploy, &call).await }),
    }]
}

fn spec() -> ToolSpec {
    let own = json!({
        "target_revision": text("What to go back to: a version, or for ECS a task definition as ARN, family:revision or number; what ran before when left out"),
        "deployment_id": text("The deployment to take back, instead of an environment or a service"),
        "reason": text("Why, for the history"),
        "by": text("Who asked for it: a person's name. A lock of the same owner does not stand in the way"),
    });
    let image = json!({ "type": "object", "properties": {
        "container": { "type": "string" }, "image": { "type": ["string", "null"] } } });
    ToolSpec {
        name: "rollbackService",
        title: "Roll back",
        description: "Takes a running deployment back, or returns an environment or an ECS service to the version that ran \
                      before, or to a given one. Answers at once; waitForDeployment says how it ends.",
        input: changing_arguments(arguments(place::properties(), own, &[])),
        output: changed_output(json!({
            "images": { "type": "array", "items": image, "description": "What runs after it, where it is known" },
            "newTaskDefinition": { "type": ["string", "null"] }, "previousTaskDefinition": { "type": ["string", "null"] },
            "serviceArn": { "type": ["string", "null"] }, "serviceName": { "type": ["string", "null"] },
            "clusterArn": { "type": ["string", "null"] }, "taskDefinition": { "type": ["string", "null"] },
            "desiredCount": { "type": "integer" }, "runningCount": { "type": "integer" }, "pendingCount": { "type": "integer" },
        })),
        destructive: true,
        retry_class: RetryClass::Keyed,
        aliases: &[("target_revision", &["version", "revision", "to"])],
        names: &["rollback"],
        ..ToolSpec::default()
    }
}

async fn roll_back(deploy: &Deploy, call: &Call) -> Answer {
    let mut arguments: Arguments = call.parse()?;
    let place = match &arguments.deployment_id {
        Some(id) => deploy.place_of(id)?,
        None => deploy.place(&arguments.address)?,
    };
    let driver = deploy.driver(&place)?;
    let journal = deploy.journal(&place);
    // A deployment that has just ended is what would be taken back, not the one before it.
    let records = refreshed(deploy, &place, &journal).await?;
    let known = journal.by_key(call.idempotency_key.as_deref()).await?;
    if let Some(known) = &known {
        if !known.state[TAKES_BACK].is_null() {
            return take_back(deploy, &place, &journal, known.clone(), false).await;
        }
        // What ran before is another thing once an earlier attempt of this call went back to it.
        arguments.target_revision = arguments.target_revision.or_else(|| known.to.clone());
    }
    if arguments.target_revision.is_none()
        && known.is_none()
        && stops(&place)
        && let Some(running) = driver.running(&place, &records).await?
    {
        locks::guard(deploy, &place, call, arguments.by.as_deref()).await?;
        if arguments.dry_run {
            let step = format!("take back the running deployment {}", running.deployment_id);
            return Ok(planned(vec![step], json!({ "deployment_id": running.deployment_id })));
        }
        let wanted = Wanted {
            action: Action::Rollback,
            version: running.previous_version.clone(),
            to: running.from.clone(),
            change: Change::default(),
            reason: arguments.reason,
            by: arguments.by,
            supersede: true,
            dry_run: false,
        };
        let mut record = begin_record(call, &place, &wanted, &records);
        record.from.clone_from(&running.to);
        record.state = json!({ TAKES_BACK: running.deployment_id });
        return take_back(deploy, &place, &journal, record, true).await;
    }
    let wanted = wanted(&place, &records, arguments)?;
    carry_out(deploy, call, &place, wanted).await
}

/// Whether a running deployment of this kind can be taken back, rather than followed by another one.
fn stops(place: &Place) -> bool {
    matches!(place.environment.kind, Kind::Ecs(_) | Kind::Mock(_))
}

/// Takes a running deployment back, or finds that an earlier attempt did.
async fn take_back(
    deploy: &Deploy,
    place: &Place,
    journal: &Journal<'_>,
    mut record: Record,
    first: bool,
) -> Answer {
    // Written first: when the answer is lost, the next attempt knows which deployment it is about.
    journal.save(&record).await?;
    if !record.begun {
        let (driver, records) = (deploy.driver(place)?, journal.records().await?);
        let id = record.state[TAKES_BACK].as_str();
        if let Some(mut running) = driver.recall(place, &records, id).await? {
            running.status = driver.stop(place, &mut running, true).await?;
            journal.save(&running).await?;
            record.status = taken_back(running.status);
        }
        record.begun = true;
        record.finished_at = record.status.is_done().then(now);
        journal.save(&record).await?;
    }
    let details = json!({ "changed": true, "created": first, "images": [] });
    Ok(answer(place, &record, true, details))
}

fn wanted(place: &Place, records: &[Record], arguments: Arguments) -> Result<Wanted, ToolError> {
    let target = match (arguments.target_revision, &place.environment.kind) {
        // The driver finds a task definition by itself.
        (target, Kind::Ecs(_)) => target,
        (Some(version), _) => {
            check_version("version", &version)?;
            Some(version)
        }
        (None, _) => Some(version_before(place, records)?),
    };
    let is_ecs = matches!(place.environment.kind, Kind::Ecs(_));
    let mut change = Change::default();
    let version = if is_ecs {
        change.task_definition = target.clone();
        None
    } else {
        let version = target.clone().ok_or_else(|| invalid("there is no version".to_owned()))?;
        change.image = image_of(place, &version)?;
        Some(version)
    };
    Ok(Wanted {
        action: Action::Rollback,
        to: target,
        version,
        change,
        reason: arguments.reason,
        by: arguments.by,
        supersede: true,
        dry_run: arguments.dry_run,
    })
}

fn version_before(place: &Place, records: &[Record]) -> Result<String, ToolError> {
    rollback_target(records).and_then(|record| record.version.clone()).ok_or_else(|| {
        let message = format!("no earlier version of {} is known", place.spoken());
        ToolError::new(Code::FailedPrecondition, message)
            .hint("give target_revision: the version to go back to")
    })
}
