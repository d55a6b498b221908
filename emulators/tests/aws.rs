//! What the double of AWS promises, seen by the SDK of AWS. It holds every request and answer against AWS's models.

use std::time::Duration;

use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_ecs::error::ProvideErrorMetadata;
use aws_sdk_ecs::types::{
    CanaryConfiguration, ContainerDefinition, ContainerOverride, CreatedAt,
    DeploymentConfiguration, DeploymentLifecycleHook, DeploymentLifecycleHookAction,
    DeploymentLifecycleHookStage, DeploymentLifecycleHookStatus, DeploymentLifecycleHookTargetType,
    DeploymentLifecycleHookTimeoutConfiguration, DeploymentRolloutState, DeploymentStrategy,
    DesiredStatus, Service, ServiceDeployment, ServiceDeploymentLifecycleStage,
    ServiceDeploymentStatus as Status, ServiceField, SortOrder, StopServiceDeploymentStopType, Tag,
    TaskDefinitionField, TaskOverride, TaskStopCode,
};
use aws_sdk_ecs::{Client, primitives::DateTime};
use serde_json::json;
use windlass_emulators::aws::{Action, AwsEmulator, Time};
use windlass_emulators::ecs::NewService;

mod logs;

const CLUSTER: &str = "shop";
const SERVICE: &str = "web";

fn client(aws: &AwsEmulator) -> Client {
    let config = aws_sdk_ecs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(aws.url());
    Client::from_conf(config.build())
}

async fn shop() -> (AwsEmulator, Client) {
    let aws = AwsEmulator::start().await.unwrap();
    aws.add_service(NewService::new(CLUSTER, SERVICE, "registry.example/web:v1"));
    let client = client(&aws);
    (aws, client)
}

/// Registers a revision with this tag and points the service to it.
async fn deploy(client: &Client, tag: &str) -> Service {
    let arn = register(client, tag).await;
    let update = client.update_service().cluster(CLUSTER).service(SERVICE).task_definition(arn);
    update.send().await.unwrap().service.unwrap()
}

async fn register(client: &Client, tag: &str) -> String {
    let container = ContainerDefinition::builder()
        .name(SERVICE)
        .image(format!("registry.example/web:{tag}"))
        .essential(true);
    let registered = client
        .register_task_definition()
        .family(SERVICE)
        .container_definitions(container.build())
        .tags(Tag::builder().key("windlass:key").value(tag).build())
        .send();
    registered.await.unwrap().task_definition.unwrap().task_definition_arn.unwrap()
}

async fn service(client: &Client) -> Service {
    let described = client.describe_services().cluster(CLUSTER).services(SERVICE);
    let described = described.include(ServiceField::Tags).send().await.unwrap();
    described.services.unwrap().remove(0)
}

async fn deployment(client: &Client, arn: &str) -> ServiceDeployment {
    let described = client.describe_service_deployments().service_deployment_arns(arn);
    described.send().await.unwrap().service_deployments.unwrap().remove(0)
}

async fn current(client: &Client) -> ServiceDeployment {
    let arn = service(client).await.current_service_deployment.unwrap();
    deployment(client, &arn).await
}

fn status(deployment: &ServiceDeployment) -> Status {
    deployment.status.clone().unwrap()
}

#[tokio::test]
async fn a_service_is_there_with_its_tasks_and_a_deployment_that_succeeded() {
    let (_aws, client) = shop().await;
    let service = service(&client).await;
    assert_eq!((service.desired_count, service.running_count, service.pending_count), (2, 2, 0));
    assert_eq!(service.status.as_deref(), Some("ACTIVE"));
    let entry = &service.deployments()[0];
    assert_eq!(entry.status.as_deref(), Some("PRIMARY"));
    assert_eq!(entry.rollout_state, Some(DeploymentRolloutState::Completed));
    assert_eq!(status(&current(&client).await), Status::Successful);
    let tasks = client.list_tasks().cluster(CLUSTER).service_name(SERVICE).send().await.unwrap();
    let arns = tasks.task_arns.unwrap();
    let tasks =
        client.describe_tasks().cluster(CLUSTER).set_tasks(Some(arns)).send().await.unwrap();
    let tasks = tasks.tasks.unwrap();
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.last_status.as_deref() == Some("RUNNING")));
    assert!(tasks[0].containers()[0].image_digest.as_deref().unwrap().starts_with("sha256:"));
}

#[tokio::test]
async fn what_is_missing_is_told_in_the_ways_of_aws() {
    let (_aws, client) = shop().await;
    let described = client.describe_services().cluster(CLUSTER).services("nobody").send().await;
    assert_eq!(described.unwrap().failures()[0].reason.as_deref(), Some("MISSING"));
    let error = client.describe_services().services("web").send().await.unwrap_err();
    assert_eq!(error.code(), Some("ClusterNotFoundException"));
    let error = client.update_service().cluster(CLUSTER).service("nobody").send().await;
    assert_eq!(error.unwrap_err().code(), Some("ServiceNotFoundException"));
    let error = client.describe_task_definition().task_definition("nothing:1").send().await;
    assert_eq!(error.unwrap_err().message(), Some("Unable to describe task definition."));
}

#[tokio::test]
async fn a_new_revision_rolls_out() {
    let (aws, client) = shop().await;
    let before = service(&client).await;
    let updated = deploy(&client, "v2").await;
    assert_ne!(updated.current_service_deployment, before.current_service_deployment);
    assert_eq!(status(&current(&client).await), Status::Pending);
    aws.advance(Duration::from_secs(3));
    let now = current(&client).await;
    assert_eq!(status(&now), Status::InProgress);
    assert_eq!(now.lifecycle_stage, Some(ServiceDeploymentLifecycleStage::ScaleUp));
    assert_eq!(now.source_service_revisions().len(), 1);
    let entries: Vec<_> = service(&client).await.deployments.unwrap();
    let states: Vec<_> = entries.iter().map(|one| one.status.clone().unwrap()).collect();
    assert_eq!(states, ["PRIMARY", "ACTIVE"]);
    aws.settle();
    let now = current(&client).await;
    assert_eq!(status(&now), Status::Successful);
    assert!(now.finished_at.is_some());
    let after = service(&client).await;
    assert_eq!((after.running_count, after.deployments().len()), (2, 1));
    assert!(after.events()[0].message.as_deref().unwrap().contains("steady state"));
    let revision = now.target_service_revision.unwrap().arn.unwrap();
    let revisions = client.describe_service_revisions().service_revision_arns(revision);
    let revision = revisions.send().await.unwrap().service_revisions.unwrap().remove(0);
    assert_eq!(revision.task_definition, after.task_definition);
    assert_eq!(revision.container_images()[0].image.as_deref(), Some("registry.example/web:v2"));
}

#[tokio::test]
async fn the_same_task_definition_starts_nothing_unless_forced() {
    let (_aws, client) = shop().await;
    let before = service(&client).await;
    let update = || client.update_service().cluster(CLUSTER).service(SERVICE);
    let same = update().task_definition(before.task_definition().unwrap()).send().await.unwrap();
    let same = same.service.unwrap().current_service_deployment;
    assert_eq!(same, before.current_service_deployment);
    let forced = update().force_new_deployment(true).send().await.unwrap();
    assert_ne!(forced.service.unwrap().current_service_deployment, same);
}

#[tokio::test]
async fn tasks_fail_as_their_tag_says_and_the_circuit_breaker_rolls_back() {
    for (tag, code, reason, exit_code) in [
        ("crash", TaskStopCode::EssentialContainerExited, "Essential container", Some(1)),
        ("nopull", TaskStopCode::TaskFailedToStart, "CannotPullContainerError", None),
        (
            "unhealthy",
            TaskStopCode::ServiceSchedulerInitiated,
            "failed container health",
            Some(143),
        ),
    ] {
        let (aws, client) = shop().await;
        aws.change_service(CLUSTER, SERVICE, |service| service.circuit_breaker(true));
        let before = service(&client).await.task_definition;
        deploy(&client, tag).await;
        aws.settle();
        let now = current(&client).await;
        assert_eq!(status(&now), Status::RollbackSuccessful, "{tag}");
        assert!(now.status_reason.unwrap().contains("circuit breaker"), "{tag}");
        assert!(now.rollback.unwrap().service_revision_arn.is_some(), "{tag}");
        let after = service(&client).await;
        assert_eq!((after.task_definition, after.running_count), (before, 2), "{tag}");
        let stopped = client.list_tasks().cluster(CLUSTER).desired_status(DesiredStatus::Stopped);
        let arns = stopped.send().await.unwrap().task_arns;
        let tasks = client.describe_tasks().cluster(CLUSTER).set_tasks(arns).send().await.unwrap();
        let failed = |task: &&aws_sdk_ecs::types::Task| task.stop_code.as_ref() == Some(&code);
        let tasks = tasks.tasks.unwrap();
        let task = tasks.iter().find(failed).unwrap();
        assert!(task.stopped_reason().unwrap().contains(reason), "{tag}");
        assert_eq!(task.containers()[0].exit_code, exit_code, "{tag}");
    }
}

#[tokio::test]
async fn without_a_circuit_breaker_a_failing_deployment_goes_on_and_can_be_stopped() {
    let (aws, client) = shop().await;
    let arn = deploy(&client, "crash").await.current_service_deployment.unwrap();
    aws.advance(Duration::from_secs(120));
    assert_eq!(status(&deployment(&client, &arn).await), Status::InProgress);
    assert!(1 < service(&client).await.deployments()[0].failed_tasks);
    let stop = || {
        let stop = client.stop_service_deployment().service_deployment_arn(&arn);
        stop.stop_type(StopServiceDeploymentStopType::Rollback).send()
    };
    stop().await.unwrap();
    assert_eq!(status(&deployment(&client, &arn).await), Status::RollbackRequested);
    assert_eq!(stop().await.unwrap_err().code(), Some("ConflictException"));
    aws.settle();
    assert_eq!(status(&deployment(&client, &arn).await), Status::RollbackSuccessful);
}

fn canary() -> DeploymentConfiguration {
    let timeout = DeploymentLifecycleHookTimeoutConfiguration::builder()
        .timeout_in_minutes(30)
        .action(DeploymentLifecycleHookAction::Rollback);
    let pause = DeploymentLifecycleHook::builder()
        .target_type(DeploymentLifecycleHookTargetType::Pause)
        .lifecycle_stages(DeploymentLifecycleHookStage::PreProductionTrafficShift)
        .timeout_configuration(timeout.build());
    let canary = CanaryConfiguration::builder().canary_percent(10.0).canary_bake_time_in_minutes(1);
    DeploymentConfiguration::builder()
        .strategy(DeploymentStrategy::Canary)
        .canary_configuration(canary.build())
        .lifecycle_hooks(pause.build())
        .build()
}

/// Starts a canary and returns its ARN.
async fn start_canary(client: &Client, tag: &str) -> String {
    let arn = register(client, tag).await;
    let update = client.update_service().cluster(CLUSTER).service(SERVICE).task_definition(arn);
    let update = update.deployment_configuration(canary()).send().await.unwrap();
    update.service.unwrap().current_service_deployment.unwrap()
}

/// The id of the hook that waits, and how much of the traffic the new revision gets.
async fn awaited(client: &Client, arn: &str) -> (String, f64) {
    let now = deployment(client, arn).await;
    let waits = |hook: &&aws_sdk_ecs::types::DeploymentLifecycleHookDetail| {
        hook.status == Some(DeploymentLifecycleHookStatus::AwaitingAction)
    };
    let hook = now.lifecycle_hook_details().iter().find(waits).unwrap();
    assert!(hook.expires_at.is_some() && status(&now) == Status::InProgress);
    let target = now.target_service_revision.as_ref().unwrap();
    (hook.hook_id.clone().unwrap(), target.requested_production_traffic_weight.unwrap())
}

async fn act(client: &Client, arn: &str, hook: &str, action: DeploymentLifecycleHookAction) {
    let act = client.continue_service_deployment().service_deployment_arn(arn).hook_id(hook);
    act.action(action).send().await.unwrap();
}

#[tokio::test]
async fn a_canary_pauses_before_every_shift_until_somebody_acts() {
    let (aws, client) = shop().await;
    let arn = start_canary(&client, "v2").await;
    aws.settle();
    let (first, traffic) = awaited(&client, &arn).await;
    assert_eq!(traffic, 0.0);
    act(&client, &arn, &first, DeploymentLifecycleHookAction::Continue).await;
    aws.settle();
    let (second, traffic) = awaited(&client, &arn).await;
    assert_eq!(traffic, 10.0);
    assert_ne!(first, second);
    let again = client.continue_service_deployment().service_deployment_arn(&arn).hook_id(&first);
    let again = again.action(DeploymentLifecycleHookAction::Continue).send().await;
    assert_eq!(again.unwrap_err().code(), Some("InvalidParameterException"));
    act(&client, &arn, &second, DeploymentLifecycleHookAction::Continue).await;
    aws.settle();
    assert_eq!(status(&deployment(&client, &arn).await), Status::Successful);
}

#[tokio::test]
async fn a_canary_can_be_rolled_back_by_its_hook_and_by_its_timeout() {
    let (aws, client) = shop().await;
    let before = service(&client).await.task_definition;
    let arn = start_canary(&client, "v2").await;
    aws.settle();
    let (hook, _) = awaited(&client, &arn).await;
    act(&client, &arn, &hook, DeploymentLifecycleHookAction::Rollback).await;
    aws.settle();
    assert_eq!(status(&deployment(&client, &arn).await), Status::RollbackSuccessful);
    assert_eq!(service(&client).await.task_definition, before);
    let arn = start_canary(&client, "v3").await;
    aws.settle();
    aws.advance(Duration::from_secs(29 * 60));
    assert_eq!(status(&deployment(&client, &arn).await), Status::InProgress);
    aws.advance(Duration::from_secs(61));
    aws.settle();
    let now = deployment(&client, &arn).await;
    assert_eq!(status(&now), Status::RollbackSuccessful);
    assert!(now.status_reason.unwrap().contains("timed out"));
}

#[tokio::test]
async fn an_alarm_rolls_back() {
    let (aws, client) = shop().await;
    let alarms = json!({ "alarmNames": ["web-5xx"], "enable": true, "rollback": true });
    aws.change_service(CLUSTER, SERVICE, |service| {
        service.configuration_mut().insert("alarms".to_owned(), alarms);
    });
    deploy(&client, "v2").await;
    aws.advance(Duration::from_secs(5));
    assert!(aws.fire_alarm(CLUSTER, SERVICE, "web-5xx"));
    aws.settle();
    let now = current(&client).await;
    assert_eq!(status(&now), Status::RollbackSuccessful);
    assert_eq!(now.alarms.unwrap().triggered_alarm_names(), ["web-5xx"]);
}

#[tokio::test]
async fn deployments_are_listed_newest_first_from_a_time_on() {
    let (aws, client) = shop().await;
    let second = deploy(&client, "v2").await.current_service_deployment.unwrap();
    aws.settle();
    let list = || client.list_service_deployments().cluster(CLUSTER).service(SERVICE);
    let all = list().send().await.unwrap().service_deployments.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].service_deployment_arn.as_deref(), Some(second.as_str()));
    let after = DateTime::from_millis(all[0].created_at.unwrap().to_millis().unwrap());
    let since = CreatedAt::builder().after(after).build();
    let newer = list().created_at(since).send().await.unwrap().service_deployments.unwrap();
    assert_eq!(newer.len(), 1);
    aws.change_service(CLUSTER, SERVICE, |service| service.hide_deployments = 2);
    let third = deploy(&client, "v3").await.current_service_deployment;
    assert_eq!(third.as_deref(), Some(second.as_str()), "it is not to be seen yet");
    assert_eq!(list().send().await.unwrap().service_deployments.unwrap().len(), 2);
    assert_eq!(list().send().await.unwrap().service_deployments.unwrap().len(), 3);
}

#[tokio::test]
async fn a_service_of_old_knows_no_service_deployments() {
    let (aws, client) = shop().await;
    aws.change_service(CLUSTER, SERVICE, |service| service.old_style = true);
    assert_eq!(deploy(&client, "v2").await.current_service_deployment, None);
    let list = client.list_service_deployments().cluster(CLUSTER).service(SERVICE).send().await;
    assert_eq!(list.unwrap_err().code(), Some("UnsupportedFeatureException"));
    aws.settle();
    let entry = service(&client).await.deployments.unwrap().remove(0);
    assert_eq!(entry.rollout_state, Some(DeploymentRolloutState::Completed));
}

#[tokio::test]
async fn task_definitions_are_listed_by_family_and_carry_tags() {
    let (aws, client) = shop().await;
    register(&client, "v2").await;
    let newest = register(&client, "v3").await;
    let listed = client.list_task_definitions().family_prefix(SERVICE).sort(SortOrder::Desc);
    let arns = listed.max_results(2).send().await.unwrap().task_definition_arns.unwrap();
    assert_eq!((arns.len(), &arns[0]), (2, &newest));
    let described = client.describe_task_definition().task_definition("web");
    let described = described.include(TaskDefinitionField::Tags).send().await.unwrap();
    assert_eq!(described.tags()[0].value.as_deref(), Some("v3"));
    aws.change_ecs(|ecs| ecs.task_definitions[2].status = "INACTIVE".to_owned());
    let update = client.update_service().cluster(CLUSTER).service(SERVICE);
    let error = update.task_definition(newest).send().await.unwrap_err();
    assert_eq!(error.message(), Some("TaskDefinition is inactive"));
}

#[tokio::test]
async fn a_token_starts_a_task_once() {
    let (aws, client) = shop().await;
    let run = |command: &str| {
        let container = ContainerOverride::builder().name(SERVICE).command(command).build();
        let overrides = TaskOverride::builder().container_overrides(container).build();
        let run = client.run_task().cluster(CLUSTER).task_definition("web").client_token("once");
        run.overrides(overrides).send()
    };
    let first = run("migrate").await.unwrap().tasks.unwrap().remove(0);
    let second = run("migrate").await.unwrap().tasks.unwrap().remove(0);
    assert_eq!(first.task_arn, second.task_arn);
    assert_eq!(run("drop").await.unwrap_err().code(), Some("ConflictException"));
    let of_family = aws.ecs().tasks.iter().filter(|task| !task.is_of_service()).count();
    assert_eq!(of_family, 1);
    aws.settle();
    let arn = first.task_arn.unwrap();
    let task = client.describe_tasks().cluster(CLUSTER).tasks(&arn).send().await.unwrap();
    let task = task.tasks.unwrap().remove(0);
    assert_eq!(task.stop_code, Some(TaskStopCode::EssentialContainerExited));
    assert_eq!(task.containers()[0].exit_code, Some(0));
}

#[tokio::test]
async fn a_task_can_be_stopped() {
    let (aws, client) = shop().await;
    let task = client.run_task().cluster(CLUSTER).task_definition("web").send().await.unwrap();
    let arn = task.tasks.unwrap().remove(0).task_arn.unwrap();
    aws.advance(Duration::from_secs(6));
    let stop = client.stop_task().cluster(CLUSTER).task(&arn).reason("enough").send();
    let task = stop.await.unwrap().task.unwrap();
    assert_eq!(task.stop_code, Some(TaskStopCode::UserInitiated));
    assert_eq!(task.stopped_reason.as_deref(), Some("enough"));
}

#[tokio::test]
async fn faults_lose_answers_and_the_ledger_counts_requests() {
    let (aws, client) = shop().await;
    aws.faults().add(Action::DropAfterWork.on("POST", "ecs:UpdateService"));
    let update = client.update_service().cluster(CLUSTER).service(SERVICE).desired_count(5);
    update.send().await.unwrap_err();
    assert_eq!(service(&client).await.desired_count, 5);
    for (action, code) in [
        (Action::TooManyRequests { retry_after_s: 1 }, "ThrottlingException"),
        (Action::Forbidden, "AccessDeniedException"),
        (Action::BadGatewayBeforeWork, "ServerException"),
    ] {
        aws.faults().add(action.on("POST", "ListServices"));
        let error = client.list_services().cluster(CLUSTER).send().await.unwrap_err();
        assert_eq!(error.code(), Some(code));
    }
    assert_eq!((aws.count("ecs:UpdateService"), aws.count("ListServices")), (1, 3));
    assert_eq!(aws.requests()[0].status, None);
}

#[tokio::test]
async fn time_may_run_by_itself() {
    let aws = AwsEmulator::start_in(Time::Running { speed: 10_000.0 }).await.unwrap();
    aws.add_service(NewService::new(CLUSTER, SERVICE, "registry.example/web:v1"));
    let client = client(&aws);
    let arn = deploy(&client, "v2").await.current_service_deployment.unwrap();
    let look = async {
        while status(&deployment(&client, &arn).await) != Status::Successful {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap();
}
