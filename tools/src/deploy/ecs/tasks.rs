//! runTask, waitForTask, getTask and stopTask: one-off tasks, such as a migration.

use std::collections::BTreeMap;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::error::ProvideErrorMetadata;
use aws_sdk_ecs::types::{
    ContainerOverride, KeyValuePair, Service, Task, TaskDefinition, TaskOverride,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::config::{Ecs, Kind};
use super::super::place::{self, Address, arguments, invalid, not_found};
use super::super::shapes::merge;
use super::super::{Deploy, now};
use super::client::{Sent, failure};
use super::copy::container;
use super::rollout::Definition;
use super::{Driver, diagnosis, short_definition, shown};
use crate::contract::schema::{changing_arguments, changing_result, planned, text};
use crate::contract::text::without_invisible;
use crate::contract::{Answer, Call, Code, RetryClass, Tool, ToolError, ToolSpec};

const LOOK_AGAIN_MS: u64 = 5000;
/// RFC 4648, in lower case: tokens may have no more than 64 characters.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[derive(Deserialize)]
struct RunArguments {
    #[serde(flatten)]
    address: Address,
    task_definition: Option<String>,
    container: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "one")]
    count: i32,
    overrides: Option<Overrides>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Overrides {
    cpu: Option<String>,
    memory: Option<String>,
}

#[derive(Deserialize)]
struct TaskArguments {
    task_arn: String,
    reason: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

fn one() -> i32 {
    1
}

pub(super) fn tools() -> Vec<Tool<Deploy>> {
    vec![
        Tool {
            spec: run_spec(),
            run: |deploy, call| Box::pin(async move { run(&deploy, &call).await }),
        },
        Tool {
            spec: wait_spec(),
            run: |deploy, call| Box::pin(async move { wait(&deploy, &call).await }),
        },
        Tool {
            spec: get_spec(),
            run: |deploy, call| Box::pin(async move { get(&deploy, &call).await }),
        },
        Tool {
            spec: stop_spec(),
            run: |deploy, call| Box::pin(async move { stop(&deploy, &call).await }),
        },
    ]
}

fn run_spec() -> ToolSpec {
    let own = json!({
        "task_definition": text("The task definition to run; the service's own when left out"),
        "container": text("The container that command and env are for; the only essential one when left out"),
        "command": { "type": "array", "items": { "type": "string" }, "description": "What it runs instead of its own command, as words" },
        "env": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Variables beside its own; no secrets: ECS shows them to everybody who may look" },
        "count": { "type": "integer", "minimum": 1, "maximum": 10, "default": 1 },
        "overrides": { "type": "object", "additionalProperties": false, "properties": {
            "cpu": { "type": "string" }, "memory": { "type": "string" } } },
    });
    let properties = json!({
        "task_arn": { "type": "string", "description": "The first task: what waitForTask takes" },
        "task_arns": { "type": "array", "items": { "type": "string" } },
        "started": { "type": "integer" }, "taskDefinition": { "type": "string" }, "cluster": { "type": "string" },
    });
    ToolSpec {
        name: "runTask",
        title: "Run task",
        description: "Runs a one-off task on ECS, such as a database migration, with the network and the place that a \
                      service has. Answers at once; waitForTask says how it ends.",
        input: changing_arguments(arguments(place::properties(), own, &[])),
        output: changing_result(properties, &["task_arn", "task_arns", "started"]),
        retry_class: RetryClass::Keyed,
        aliases: &[
            ("service", &["from_service", "fromService"]),
            ("env", &["environment_variables"]),
        ],
        ..ToolSpec::default()
    }
}

fn task_argument() -> Value {
    json!({ "task_arn": text("The task's ARN, as runTask answered it") })
}

fn task_output() -> Map<String, Value> {
    let text = json!({ "type": ["string", "null"] });
    let properties = json!({
        "task_arn": { "type": "string" }, "status": text, "task_definition": text,
        "stop_code": text, "stopped_reason": text, "started_at": text, "stopped_at": text,
        "containers": { "type": "array", "items": { "type": "object", "properties": {
            "name": text, "exit_code": { "type": ["integer", "null"] }, "reason": text, "image": text } } },
        "log": { "type": ["object", "null"], "properties": { "group": text, "stream": text }, "description": "Where it writes its log: read it with the observability server" },
    });
    super::super::shapes::members(properties)
}

fn wait_spec() -> ToolSpec {
    let mut properties = Value::Object(task_output());
    merge(
        &mut properties,
        json!({
            "done": { "type": "boolean" }, "success": { "type": ["boolean", "null"] },
            "retry_after_ms": { "type": ["integer", "null"] },
        }),
    );
    ToolSpec {
        name: "waitForTask",
        title: "Wait for task",
        description: "Says whether a one-off task has ended, and how: it succeeded when all its essential containers exited \
                      with 0.",
        input: arguments(Map::new(), task_argument(), &["task_arn"]),
        output: json!({ "type": "object", "properties": properties, "required": ["task_arn", "done", "success", "retry_after_ms", "containers"] }),
        pollable: true,
        ..ToolSpec::default()
    }
}

fn get_spec() -> ToolSpec {
    ToolSpec {
        name: "getTask",
        title: "Get task",
        description: "Tells of one task.",
        input: arguments(Map::new(), task_argument(), &["task_arn"]),
        output: json!({ "type": "object", "properties": task_output(), "required": ["task_arn", "status", "containers"] }),
        ..ToolSpec::default()
    }
}

fn stop_spec() -> ToolSpec {
    let mut own = task_argument();
    merge(&mut own, json!({ "reason": text("Why, for those who look at the task") }));
    let mut properties = Value::Object(task_output());
    merge(&mut properties, json!({ "changed": { "type": "boolean" } }));
    ToolSpec {
        name: "stopTask",
        title: "Stop task",
        description: "Stops a task.",
        input: changing_arguments(arguments(Map::new(), own, &["task_arn"])),
        output: changing_result(properties, &["task_arn", "status", "changed"]),
        destructive: true,
        retry_class: RetryClass::Idempotent,
        ..ToolSpec::default()
    }
}

async fn run(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: RunArguments = call.parse()?;
    let place = deploy.place(&arguments.address)?;
    let driver = Driver { deploy, settings: place.ecs()?.clone() };
    let service = driver.service().await?;
    let named = arguments.task_definition.as_deref().or(service.task_definition());
    // The token makes a second call with the same parameters find the first; with a newer revision they would differ.
    let token = call.idempotency_key.as_deref().map(token);
    let remembered = remembered(deploy, token.as_deref()).await?;
    let named = remembered.as_deref().or(named).unwrap_or_default();
    let definition = driver.definition(named).await?;
    let input = overrides(&definition, &arguments)?;
    if arguments.dry_run {
        let step = format!("run {} of {}", arguments.count, short_definition(definition.arn()));
        return Ok(planned(vec![step], json!({ "taskDefinition": definition.arn() })));
    }
    remember(deploy, token.as_deref(), definition.arn()).await?;
    let client = driver.client().await?;
    let asked = like(&client, &service, &driver.settings);
    let answer = asked
        .task_definition(definition.arn())
        .count(arguments.count)
        .set_overrides(input)
        .set_client_token(token)
        .started_by("windlass")
        .send()
        .await
        .map_err(|error| match error.code() == Some("ConflictException") {
            true => ToolError::new(
                Code::Conflict,
                "an earlier attempt of this step ran a task with other parameters",
            )
            .hint("run it as a new step"),
            false => failure(error, Sent::Change),
        })?;
    if let Some(refused) = answer.failures().first() {
        let reason = refused.reason().unwrap_or("no reason is given");
        let message = format!("ECS did not start the task: {reason}");
        return Err(ToolError::new(Code::FailedPrecondition, message));
    }
    let arns: Vec<_> = answer.tasks().iter().filter_map(Task::task_arn).collect();
    Ok(json!({
        "task_arn": arns.first(), "task_arns": arns, "started": arns.len(),
        "taskDefinition": definition.arn(), "cluster": driver.settings.cluster,
        "created": call.key_to_look_up().is_none(), "warnings": [],
    }))
}

/// A task where and how the service runs its own.
fn like(
    client: &Client,
    service: &Service,
    settings: &Ecs,
) -> aws_sdk_ecs::operation::run_task::builders::RunTaskFluentBuilder {
    let asked = client.run_task().cluster(&settings.cluster);
    let asked = asked.set_network_configuration(service.network_configuration.clone());
    // ECS takes one of the two.
    match service.capacity_provider_strategy() {
        [] => asked.set_launch_type(service.launch_type.clone()),
        providers => asked.set_capacity_provider_strategy(Some(providers.to_vec())),
    }
    .set_platform_version(service.platform_version.clone().filter(|_| !is_ec2(service)))
}

fn is_ec2(service: &Service) -> bool {
    service.launch_type().is_some_and(|own| own.as_str() != "FARGATE")
}

fn overrides(
    definition: &Definition,
    arguments: &RunArguments,
) -> Result<Option<TaskOverride>, ToolError> {
    let sizes = arguments.overrides.as_ref();
    if arguments.command.is_empty() && arguments.env.is_empty() && sizes.is_none() {
        return Ok(None);
    }
    let own = container(&definition.own, arguments.container.as_deref())?;
    let variables = arguments.env.iter();
    let variables =
        variables.map(|(name, value)| KeyValuePair::builder().name(name).value(value).build());
    let command = Some(arguments.command.clone()).filter(|words| !words.is_empty());
    let of_container = ContainerOverride::builder()
        .set_name(own.name.clone())
        .set_command(command)
        .set_environment(Some(variables.collect()))
        .build();
    Ok(Some(
        TaskOverride::builder()
            .container_overrides(of_container)
            .set_cpu(sizes.and_then(|own| own.cpu.clone()))
            .set_memory(sizes.and_then(|own| own.memory.clone()))
            .build(),
    ))
}

/// The task definition that an earlier attempt ran.
async fn remembered(deploy: &Deploy, token: Option<&str>) -> Result<Option<String>, ToolError> {
    let Some(token) = token else { return Ok(None) };
    let memo = deploy.host.recall(super::super::record::SCOPE, &memo_name(token)).await?;
    Ok(memo.and_then(|memo| memo["task_definition"].as_str().map(str::to_owned)))
}

async fn remember(deploy: &Deploy, token: Option<&str>, arn: &str) -> Result<(), ToolError> {
    let Some(token) = token else { return Ok(()) };
    let memo = json!({ "task_definition": arn, "at": now() });
    let name = memo_name(token);
    // Somebody who was there first wrote the same.
    deploy.host.swap(super::super::record::SCOPE, &name, None, Some(&memo)).await.map(|_| ())
}

fn memo_name(token: &str) -> String {
    format!("task/{token}")
}

/// What makes a call known to ECS: 52 characters that say nothing else.
fn token(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let bits: Vec<bool> =
        digest.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let letter = |five: &[bool]| {
        let value = (0..5).fold(0, |value, bit| {
            value * 2 + usize::from(five.get(bit).copied().unwrap_or_default())
        });
        char::from(BASE32[value])
    };
    bits.chunks(5).map(letter).collect()
}

async fn wait(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: TaskArguments = call.parse()?;
    let found = find(deploy, &arguments.task_arn).await?;
    let done = found.task.last_status() == Some("STOPPED");
    let mut answer = found.shown();
    merge(
        &mut answer,
        json!({
            "done": done, "success": done.then(|| found.succeeded()),
            "retry_after_ms": (!done).then_some(LOOK_AGAIN_MS),
        }),
    );
    Ok(answer)
}

async fn get(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: TaskArguments = call.parse()?;
    Ok(find(deploy, &arguments.task_arn).await?.shown())
}

async fn stop(deploy: &Deploy, call: &Call) -> Answer {
    let arguments: TaskArguments = call.parse()?;
    let found = find(deploy, &arguments.task_arn).await?;
    let changed = found.task.last_status() != Some("STOPPED");
    if arguments.dry_run {
        let steps = if changed { vec![format!("stop {}", arguments.task_arn)] } else { Vec::new() };
        return Ok(planned(steps, found.shown()));
    }
    let mut answer = found.shown();
    if changed {
        let reason = arguments.reason.as_deref().unwrap_or("stopped by Windlass");
        let asked = found.client.stop_task().cluster(&found.cluster).task(&arguments.task_arn);
        let stopped = asked.reason(reason).send().await;
        let stopped = stopped.map_err(|error| failure(error, Sent::Change))?;
        if let Some(task) = stopped.task {
            answer = Found { task, ..found }.shown();
        }
    }
    merge(&mut answer, json!({ "changed": changed, "created": changed, "warnings": [] }));
    Ok(answer)
}

/// A task, with what it was made from.
struct Found {
    client: Client,
    cluster: String,
    task: Task,
    definition: Option<TaskDefinition>,
}

async fn find(deploy: &Deploy, arn: &str) -> Result<Found, ToolError> {
    let (region, cluster) = parts(arn)?;
    let settings = settings(deploy, region, cluster);
    let driver = Driver { deploy, settings };
    let client = driver.client().await?;
    let answer = client.describe_tasks().cluster(cluster).tasks(arn).send().await;
    let answer = answer.map_err(|error| failure(error, Sent::Look))?;
    let task = answer.tasks.unwrap_or_default().into_iter().next().ok_or_else(|| {
        not_found(format!("there is no task {arn}"))
            .hint("ECS forgets stopped tasks after about an hour")
    })?;
    let definition = match task.task_definition_arn() {
        Some(arn) => driver.definition(arn).await.ok().map(|found| found.own),
        None => None,
    };
    Ok(Found { client, cluster: cluster.to_owned(), task, definition })
}

/// The account of a configured environment in that cluster, or the default one.
fn settings(deploy: &Deploy, region: &str, cluster: &str) -> Ecs {
    let configured = deploy.places().into_iter().find_map(|place| match place.environment.kind {
        Kind::Ecs(ecs) if place::short(&ecs.cluster) == cluster => Some(ecs),
        _ => None,
    });
    let own = configured.unwrap_or_else(|| Ecs { cluster: cluster.to_owned(), ..Ecs::default() });
    Ecs { region: own.region.or_else(|| Some(region.to_owned())), ..own }
}

/// The region and the cluster in `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
fn parts(arn: &str) -> Result<(&str, &str), ToolError> {
    let wrong = || {
        invalid(format!("{arn:?} is not the ARN of a task"))
            .hint("give task_arn as runTask answered it")
    };
    let fields: Vec<_> = arn.splitn(6, ':').collect();
    let [_, _, "ecs", region, _, task] = fields.as_slice() else { return Err(wrong()) };
    let mut path = task.split('/');
    match (path.next(), path.next(), path.next()) {
        (Some("task"), Some(cluster), Some(_)) => Ok((region, cluster)),
        _ => Err(wrong()),
    }
}

impl Found {
    /// Whether all its essential containers exited with 0.
    fn succeeded(&self) -> bool {
        let containers = self.task.containers();
        let is_essential = |name: Option<&str>| {
            let own = self.definition.as_ref().and_then(|own| {
                own.container_definitions().iter().find(|container| container.name() == name)
            });
            own.is_none_or(|own| own.essential() != Some(false))
        };
        let mut essential = containers.iter().filter(|own| is_essential(own.name())).peekable();
        essential.peek().is_some() && essential.all(|own| own.exit_code() == Some(0))
    }

    fn shown(&self) -> Value {
        let task = &self.task;
        let containers = task.containers().iter().map(|own| {
            json!({
                "name": own.name(), "exit_code": own.exit_code(), "image": own.image(),
                "reason": own.reason().map(without_invisible),
            })
        });
        json!({
            "task_arn": task.task_arn(), "status": task.last_status(),
            "task_definition": task.task_definition_arn(),
            "stop_code": task.stop_code().map(|code| code.as_str()),
            "stopped_reason": task.stopped_reason().map(without_invisible),
            "started_at": shown(task.started_at()), "stopped_at": shown(task.stopped_at()),
            "containers": containers.collect::<Vec<_>>(), "log": self.log(),
        })
    }

    fn log(&self) -> Option<Value> {
        let (group, prefix) = diagnosis::logs(self.definition.as_ref()?);
        let container = self.task.containers().first()?.name()?;
        let arn = self.task.task_arn()?;
        let stream = prefix.map(|prefix| diagnosis::stream(&prefix, container, arn));
        group.map(|group| json!({ "group": group, "stream": stream }))
    }
}

#[cfg(test)]
mod tests {
    use super::{parts, token};

    #[test]
    fn a_token_is_the_same_for_a_key_and_fits_ecs() {
        // `printf abc | openssl dgst -sha256 -binary | base32`, in lower case and without padding.
        assert_eq!(token("abc"), "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq");
        assert!(token("exec_1/step#0~0").len() <= 64);
    }

    #[test]
    fn an_arn_says_region_and_cluster() {
        let arn = "arn:aws:ecs:eu-central-1:123456789012:task/shop/0123";
        assert_eq!(parts(arn).unwrap(), ("eu-central-1", "shop"));
        assert!(parts("0123").is_err() && parts("arn:aws:ecs:eu:1:service/shop/web").is_err());
    }
}
