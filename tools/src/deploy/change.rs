//! deploy, plan, updateService and restartService, and how any of them is carried out once.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{Kind, Strategy};
use super::driver::{Change, Difference, Driver, Order, image_of};
use super::follow::TAKES_BACK;
use super::place::{self, Address, Place, arguments, invalid};
use super::record::{Action, Journal, Record, Status, current};
use super::shapes::{DEPLOYMENT, deployment, members, merge, with};
use super::template::check_version;
use super::{Deploy, locks, now, refused};
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::text::digest;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};

#[derive(Deserialize)]
struct DeployArguments {
    #[serde(flatten)]
    address: Address,
    version: Option<String>,
    image: Option<String>,
    strategy: Option<Strategy>,
    #[serde(default)]
    supersede: bool,
    #[serde(default)]
    force: bool,
    reason: Option<String>,
    by: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct UpdateArguments {
    #[serde(flatten)]
    address: Address,
    container: Option<String>,
    image: Option<String>,
    task_definition: Option<String>,
    desired_count: Option<i32>,
    force_new_deployment: Option<bool>,
    strategy: Option<Strategy>,
    #[serde(default)]
    supersede: bool,
    reason: Option<String>,
    by: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// What somebody wants to be different, and why.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) action: Action,
    pub(super) version: Option<String>,
    pub(super) to: Option<String>,
    pub(super) change: Change,
    pub(super) reason: Option<String>,
    pub(super) by: Option<String>,
    pub(super) supersede: bool,
    pub(super) dry_run: bool,
}

pub(super) fn tools(production: bool) -> Vec<Tool<Deploy>> {
    vec![
        Tool {
            spec: deploy_spec(production),
            run: |deploy, call| {
                Box::pin(async move {
                    let (place, wanted) = to_deploy(&deploy, &call)?;
                    carry_out(&deploy, &call, &place, wanted).await
                })
            },
        },
        Tool {
            spec: plan_spec(),
            run: |deploy, call| Box::pin(async move { plan(&deploy, &call).await }),
        },
        Tool {
            spec: update_spec(production),
            run: |deploy, call| Box::pin(async move { update(&deploy, &call).await }),
        },
        Tool {
            spec: restart_spec(production),
            run: |deploy, call| Box::pin(async move { restart(&deploy, &call).await }),
        },
    ]
}

// ---- What the tools say of themselves.

fn reason_and_by() -> Value {
    json!({
        "reason": text("Why, for the history"),
        "by": text("Who asked for it: a person's name. A lock of the same owner does not stand in the way"),
    })
}

fn strategy() -> Value {
    let part = json!({
        "type": "object", "required": ["percent", "bake_minutes"], "additionalProperties": false,
        "properties": { "percent": { "type": "number" }, "bake_minutes": { "type": "integer" } },
    });
    json!({
        "type": "object", "additionalProperties": false,
        "description": "How traffic moves to the new version (ECS); as configured when left out. One of canary, linear and blue_green",
        "properties": {
            "canary": part, "linear": part,
            "blue_green": { "type": "object", "required": ["bake_minutes"], "additionalProperties": false, "properties": { "bake_minutes": { "type": "integer" } } },
            "pause_at": { "type": "array", "items": { "type": "string" }, "description": "Stages before which a person decides, such as POST_TEST_TRAFFIC_SHIFT" },
            "pause_minutes": { "type": "integer", "minimum": 1 },
        },
    })
}

fn deploy_arguments() -> Value {
    let own = with(
        json!({
            "version": text("The version to bring, such as 1.4.2"),
            "image": text("The image to bring, instead of a version"),
            "strategy": strategy(),
            "supersede": { "type": "boolean", "default": false, "description": "Overtake a deployment that still runs" },
            "force": { "type": "boolean", "default": false, "description": "Deploy what runs already once more" },
        }),
        reason_and_by(),
    );
    arguments(place::application(), own, &["app"])
}

/// What answers a change of an environment.
pub(super) fn changed_output(more: Value) -> Value {
    let own = json!({ "changed": { "type": "boolean", "description": "False when it was so already" }, "output": { "type": ["object", "string", "null"] } });
    let required: Vec<_> = DEPLOYMENT.iter().copied().chain(["changed"]).collect();
    changing_result(with(with(deployment(), own), more), &required)
}

fn deploy_spec(production: bool) -> ToolSpec {
    ToolSpec {
        name: "deploy",
        title: "Deploy",
        description: "Starts to bring a version of an application to an environment, and answers at once. \
                      waitForDeployment says how it ends.",
        input: changing_arguments(deploy_arguments()),
        output: changed_output(json!({})),
        destructive: production,
        retry_class: RetryClass::Keyed,
        aliases: &[("environment", &["env"]), ("version", &["ref", "tag"])],
        ..ToolSpec::default()
    }
}

fn plan_spec() -> ToolSpec {
    let value = json!({ "type": ["string", "number", "boolean", "object", "array", "null"] });
    ToolSpec {
        name: "plan",
        title: "Plan a deployment",
        description: "Says what deploy would change, what stands in its way, and whether a person has to agree first.",
        input: deploy_arguments(),
        output: json!({
            "type": "object",
            "properties": {
                "app": { "type": ["string", "null"] }, "environment": { "type": ["string", "null"] }, "kind": { "type": "string" },
                "version": { "type": ["string", "null"] }, "image": { "type": ["string", "null"] },
                "changed": { "type": "boolean", "description": "Whether deploy would change anything" },
                "diff": { "type": "array", "items": { "type": "object", "properties": {
                    "path": { "type": "string" }, "from": value, "to": value }, "required": ["path", "from", "to"] } },
                "image_exists": { "type": ["boolean", "null"], "description": "null: this server cannot tell" },
                "locks": { "type": "array", "items": locks::schema() },
                "running_deployment": { "type": ["string", "null"] },
                "production": { "type": "boolean" },
                "require_approval": { "type": "boolean", "description": "Whether a person has to agree before deploy is called" },
                "warnings": { "type": "array", "items": { "type": "string" } },
            },
            "required": ["kind", "changed", "diff", "image_exists", "locks", "production", "require_approval", "warnings"],
        }),
        aliases: &[("environment", &["env"]), ("version", &["ref", "tag"])],
        ..ToolSpec::default()
    }
}

fn update_spec(production: bool) -> ToolSpec {
    let own = with(
        json!({
            "container": text("The container whose image is replaced; the only essential one when left out"),
            "image": text("The new image"),
            "task_definition": text("A task definition to run instead: an ARN or family:revision"),
            "desired_count": { "type": "integer", "minimum": 0, "description": "How many tasks" },
            "force_new_deployment": { "type": "boolean", "description": "Start all tasks anew; true when nothing else is given" },
            "strategy": strategy(),
            "supersede": { "type": "boolean", "default": false, "description": "Overtake a deployment that still runs" },
        }),
        reason_and_by(),
    );
    let more = json!({
        "serviceArn": { "type": ["string", "null"] }, "serviceName": { "type": ["string", "null"] },
        "clusterArn": { "type": ["string", "null"] }, "desiredCount": { "type": "integer" },
        "runningCount": { "type": "integer" }, "pendingCount": { "type": "integer" },
        "taskDefinition": { "type": ["string", "null"] },
        "previousTaskDefinition": { "type": ["string", "null"] }, "newTaskDefinition": { "type": ["string", "null"] },
    });
    ToolSpec {
        name: "updateService",
        title: "Update ECS service",
        description: "Points a service of Amazon ECS at a new image or task definition, or restarts it. Answers at once; \
                      waitForDeployment says how it ends.",
        input: changing_arguments(arguments(place::properties(), own, &[])),
        output: changed_output(more),
        destructive: production,
        retry_class: RetryClass::Keyed,
        ..ToolSpec::default()
    }
}

fn restart_spec(production: bool) -> ToolSpec {
    ToolSpec {
        name: "restartService",
        title: "Restart service",
        description: "Starts all tasks of a service anew, without changing what runs.",
        input: changing_arguments(arguments(place::properties(), reason_and_by(), &[])),
        output: changed_output(json!({})),
        destructive: production,
        retry_class: RetryClass::Keyed,
        ..ToolSpec::default()
    }
}

// ---- What is wanted.

fn to_deploy(deploy: &Deploy, call: &Call) -> Result<(Place, Wanted), ToolError> {
    let arguments: DeployArguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let (version, image) = match (arguments.version, arguments.image) {
        (Some(_), Some(_)) => {
            return Err(
                invalid("version and image are both given".to_owned()).hint("give one of them")
            );
        }
        (None, None) => {
            return Err(
                invalid("it is not said what to deploy".to_owned()).hint("give version or image")
            );
        }
        (Some(version), None) => {
            check_version("version", &version)?;
            let image = image_of(&place, &version)?;
            (version, image)
        }
        (None, Some(image)) => {
            check_version("image", &image)?;
            (version_in(&image).to_owned(), Some(image))
        }
    };
    let (container, strategy) = match &place.environment.kind {
        Kind::Ecs(ecs) if image.is_none() => {
            let message = format!("{} does not say what the image of a version is", place.spoken());
            return Err(ToolError::new(Code::FailedPrecondition, message).hint(format!(
                "give image, or configure image = \"registry/{}:{{{{version}}}}\"",
                ecs.service
            )));
        }
        Kind::Ecs(ecs) => {
            (ecs.container.clone(), arguments.strategy.or_else(|| ecs.strategy.clone()))
        }
        _ => (None, None),
    };
    let wanted = Wanted {
        action: Action::Deploy,
        to: Some(version.clone()),
        version: Some(version),
        change: Change { image, container, strategy, force: arguments.force, ..Change::default() },
        reason: arguments.reason,
        by: arguments.by,
        supersede: arguments.supersede,
        dry_run: arguments.dry_run,
    };
    Ok((place, wanted))
}

/// What an image's name says about the version: its digest, its tag, or all of it.
pub(super) fn version_in(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest;
    }
    match image.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => image,
    }
}

async fn update(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: UpdateArguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let ecs = place.ecs()?;
    if arguments.image.is_some() && arguments.task_definition.is_some() {
        return Err(invalid("image and task_definition are both given".to_owned())
            .hint("a task definition names its own images: give one of them"));
    }
    let nothing = arguments.image.is_none()
        && arguments.task_definition.is_none()
        && arguments.desired_count.is_none();
    let image = arguments.image;
    let change = Change {
        container: arguments.container.or_else(|| ecs.container.clone()),
        task_definition: arguments.task_definition,
        desired_count: arguments.desired_count,
        force: arguments.force_new_deployment.unwrap_or(nothing),
        strategy: arguments.strategy,
        image: image.clone(),
    };
    let wanted = Wanted {
        action: if nothing { Action::Restart } else { Action::Update },
        version: image.as_deref().map(|image| version_in(image).to_owned()),
        to: None,
        change,
        reason: arguments.reason,
        by: arguments.by,
        supersede: arguments.supersede,
        dry_run: arguments.dry_run,
    };
    carry_out(deploy, call, &place, wanted).await
}

async fn restart(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: UpdateArguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let records = deploy.journal(&place).records().await?;
    let version = current(&records).and_then(|record| record.version.clone());
    if version.is_none() && !matches!(place.environment.kind, Kind::Ecs(_)) {
        let message = format!("nothing is known to run as {}", place.spoken());
        return Err(
            ToolError::new(Code::FailedPrecondition, message).hint("deploy a version first")
        );
    }
    let wanted = Wanted {
        action: Action::Restart,
        to: version.clone(),
        version,
        change: Change { force: true, ..Change::default() },
        reason: arguments.reason,
        by: arguments.by,
        supersede: false,
        dry_run: arguments.dry_run,
    };
    carry_out(deploy, call, &place, wanted).await
}

async fn plan(deploy: &Deploy, call: &Call) -> Answer {
    let (place, wanted) = to_deploy(deploy, call)?;
    let driver = deploy.driver(&place)?;
    let journal = deploy.journal(&place);
    let records = journal.records().await?;
    let record = begin_record(call, &place, &wanted, &records);
    let diff = driver.differences(&place, &record, &wanted.change).await?;
    let running = driver.running(&place, &records).await?;
    let lock = locks::before(deploy, &place).await?;
    let shared = &place.environment.shared;
    let mut warnings = Vec::new();
    if let Some(running) = &running {
        warnings.push(format!(
            "deployment {} still runs: deploy would refuse, or overtake it with supersede = true",
            running.deployment_id
        ));
    }
    if let Some(lock) = &lock {
        warnings.push(format!("{} holds a lock", lock.owner));
    }
    if shared.require_approval {
        warnings.push("a person has to agree before deploy is called".to_owned());
    }
    Ok(json!({
        "app": place.app, "environment": place.environment_name, "kind": place.environment.kind.word(),
        "version": record.version, "image": record.image,
        "changed": !diff.is_empty() || wanted.change.force, "diff": diff, "image_exists": null,
        "locks": lock.iter().map(locks::shown).collect::<Vec<_>>(),
        "running_deployment": running.map(|running| running.deployment_id),
        "production": shared.production, "require_approval": shared.require_approval, "warnings": warnings,
    }))
}

// ---- How it is done, once.

/// Brings about what is wanted, or finds that an earlier attempt of this call did.
pub(super) async fn carry_out(
    deploy: &Deploy,
    call: &Call,
    place: &Place,
    wanted: Wanted,
) -> Answer {
    let driver = deploy.driver(place)?;
    let journal = deploy.journal(place);
    if wanted.dry_run {
        return dry_run(&*driver, call, place, &wanted, &journal).await;
    }
    let found = journal.by_key(call.idempotency_key.as_deref()).await?;
    // A refusal by the lock comes before everything but what was done already.
    if found.as_ref().is_none_or(|found| !found.begun) {
        locks::guard(deploy, place, call, wanted.by.as_deref()).await?;
    }
    let (record, again) = match found {
        Some(found) if found.begun && found.status != Status::Failed => {
            return Ok(answer(place, &found, false, found_done(&found)));
        }
        Some(found) => {
            // It is known to have failed, or nobody knows whether it began.
            let again = !found.begun && !found.status.is_done();
            if !again && !wanted.supersede {
                refuse_running(&*driver, place, &journal.records().await?).await?;
            }
            (
                Record {
                    status: Status::Pending,
                    begun: false,
                    problem: None,
                    finished_at: None,
                    ..found
                },
                again,
            )
        }
        None => {
            let records = refreshed(deploy, place, &journal).await?;
            if !wanted.supersede {
                refuse_running(&*driver, place, &records).await?;
            }
            (begin_record(call, place, &wanted, &records), false)
        }
    };
    journal.save(&record).await?;
    let change = wanted.change;
    let mut order = Order { place, call, record, journal: &journal, change, again };
    match driver.begin(&mut order).await {
        Ok(begun) => finish(place, &journal, order.record, begun).await,
        Err(error) => Err(failed(&journal, order.record, error).await),
    }
}

async fn finish(
    place: &Place,
    journal: &Journal<'_>,
    mut record: Record,
    begun: super::driver::Begun,
) -> Answer {
    if !begun.changed {
        journal.forget(&record).await?;
        let records = journal.records().await?;
        record.status = Status::Succeeded;
        let shown = current(&records)
            .filter(|current| current.version == record.version)
            .unwrap_or(&record);
        let mut answer = answer(place, shown, false, begun.details);
        answer["warnings"] = json!(begun.warnings);
        return Ok(answer);
    }
    record.begun = true;
    journal.save(&record).await?;
    let mut answer = answer(place, &record, true, begun.details);
    answer["warnings"] = json!(begun.warnings);
    Ok(answer)
}

/// Notes a failure, when it is one: what nobody knows stays open for the next attempt.
async fn failed(journal: &Journal<'_>, mut record: Record, error: ToolError) -> ToolError {
    let open = error.retryable || matches!(error.code, Code::OutcomeUnknown | Code::Cancelled);
    if !open {
        record.status = Status::Failed;
        record.finished_at = Some(now());
        record.problem = Some(error.message.clone());
    }
    // The failure matters more than that it could not be noted.
    _ = journal.save(&record).await;
    error
}

async fn dry_run(
    driver: &dyn Driver,
    call: &Call,
    place: &Place,
    wanted: &Wanted,
    journal: &Journal<'_>,
) -> Answer {
    let records = journal.records().await?;
    let record = begin_record(call, place, wanted, &records);
    let diff = driver.differences(place, &record, &wanted.change).await?;
    let mut steps: Vec<_> = diff.iter().map(Difference::spoken).collect();
    if wanted.change.force {
        steps.push("start all tasks anew".to_owned());
    }
    let mut known = record.shown(place);
    known["deployment_id"] = Value::Null;
    known["changed"] = (!steps.is_empty()).into();
    Ok(planned(steps, known))
}

/// What is remembered, with what became of those that were under way.
pub(super) async fn refreshed(
    deploy: &Deploy,
    place: &Place,
    journal: &Journal<'_>,
) -> Result<Vec<Record>, ToolError> {
    let mut records = journal.records().await?;
    let driver = deploy.driver(place)?;
    for record in records.iter_mut().filter(|record| !record.status.is_done() && record.begun) {
        // One that cannot be looked at now does not keep others from being deployed.
        if !record.state[TAKES_BACK].is_null() {
            _ = super::follow::look(deploy, place, record).await;
        } else if let Ok(look) = driver.look(place, record).await
            && look.status.is_done()
        {
            super::follow::note(record, &look);
            journal.save(record).await?;
        }
    }
    journal.records().await
}

async fn refuse_running(
    driver: &dyn Driver,
    place: &Place,
    records: &[Record],
) -> Result<(), ToolError> {
    let Some(running) = driver.running(place, records).await? else { return Ok(()) };
    let message = format!("deployment {} of {} still runs", running.deployment_id, place.spoken());
    Err(refused(Code::Conflict, "deployment_in_progress", message).hint(
        "wait for it with waitForDeployment, take it back with rollbackService, or overtake it with supersede = true",
    ))
}

pub(super) fn begin_record(
    call: &Call,
    place: &Place,
    wanted: &Wanted,
    records: &[Record],
) -> Record {
    let id = format!("{}/{}", place.name, id(call, place, records.len()));
    let before = current(records).and_then(|record| record.version.clone());
    Record {
        deployment_id: id.clone(),
        id,
        key: call.idempotency_key.clone(),
        action: wanted.action,
        status: Status::Pending,
        begun: false,
        version: wanted.version.clone(),
        image: wanted.change.image.clone(),
        from: before.clone(),
        to: wanted.to.clone(),
        previous_version: before,
        reason: wanted.reason.clone(),
        by: wanted.by.clone().or_else(|| call.execution_id().map(str::to_owned)),
        execution_id: call.execution_id().map(str::to_owned),
        started_at: now(),
        finished_at: None,
        url: None,
        problem: None,
        state: Value::Null,
    }
}

/// The same for all attempts of a call, and another for every other call.
fn id(call: &Call, place: &Place, count: usize) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let text = match &call.idempotency_key {
        Some(key) => format!("{}\n{key}", place.name),
        None => {
            let (number, process) = (CALLS.fetch_add(1, Ordering::Relaxed), std::process::id());
            format!("{}\n{}\n{count}\n{process}\n{number}", place.name, now())
        }
    };
    digest(text)[..16].to_owned()
}

/// The answer of a change.
pub(super) fn answer(place: &Place, record: &Record, changed: bool, details: Value) -> Value {
    let mut answer = record.shown(place);
    merge(&mut answer, json!({ "changed": changed, "created": changed, "warnings": [] }));
    merge(&mut answer, details);
    answer
}

/// What an earlier attempt left for this answer: it did change something.
fn found_done(record: &Record) -> Value {
    let output = members(record.state.clone()).remove("answer").unwrap_or_default();
    let mut details = json!({ "changed": true });
    merge(&mut details, output);
    details
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn an_image_says_its_version() {
        let cases = [
            ("registry:5000/app:1.2", "1.2"),
            ("app:v7", "v7"),
            ("registry:5000/app", "registry:5000/app"),
            ("app@sha256:00ff", "sha256:00ff"),
            ("app:1@sha256:00ff", "sha256:00ff"),
        ];
        for (image, expected) in cases {
            assert_eq!(version_in(image), expected);
        }
    }
}
