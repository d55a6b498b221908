//! How ECS writes down what it knows.

use serde_json::{Map, Value, json};

use super::rollout::{Deployment, Hook, Status};
use super::tasks::{Task, digest_of};
use super::{Ecs, Generation, Revision, Service, TaskDefinition, arn};

/// A time as awsJson writes it: seconds since 1970.
#[allow(
    clippy::cast_precision_loss,
    reason = "a double holds milliseconds for longer than we shall be here"
)]
pub(super) fn time(ms: u64) -> Value {
    json!(ms as f64 / 1000.0)
}

fn maybe_time(ms: Option<u64>) -> Value {
    ms.map_or(Value::Null, time)
}

impl Ecs {
    pub(super) fn service_shape(&self, service: &Service, with_tags: bool) -> Value {
        let newest_first = service.generations.iter().rev();
        let (mut running, mut pending) = (0, 0);
        for generation in &service.generations {
            running += self.count_tasks(&generation.id, "RUNNING");
            pending += self.count_tasks(&generation.id, "PENDING");
        }
        let key = (service.cluster.clone(), service.name.clone());
        let current = self.seen_deployment(service, &key);
        let events = service.events.iter().take(100).enumerate().map(|(index, (at, message))| {
            let id = format!("{:08x}-{:04x}", at & 0xffff_ffff, service.events.len() - index);
            json!({ "id": id, "createdAt": time(*at), "message": message })
        });
        let mut shape = json!({
            "serviceArn": service.arn(), "serviceName": service.name,
            "clusterArn": arn("cluster", &service.cluster), "status": service.status,
            "desiredCount": service.desired_count, "runningCount": running, "pendingCount": pending,
            "taskDefinition": service.task_definition, "createdAt": time(service.created_ms),
            "deployments": newest_first.map(|one| self.generation_shape(service, one)).collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
            "placementConstraints": [], "placementStrategy": [],
        });
        if !service.old_style {
            shape["currentServiceDeployment"] = json!(current.map(|one| &one.arn));
            let summaries =
                service.generations.iter().map(|one| self.current_revision(service, one));
            shape["currentServiceRevisions"] = json!(summaries.collect::<Vec<_>>());
        }
        if with_tags {
            shape["tags"] = json!(service.tags);
        }
        let fields = shape.as_object_mut().expect("written as an object above");
        fields.extend(service.fields.clone());
        shape
    }

    /// The newest deployment that looks can see.
    fn seen_deployment(&self, service: &Service, key: &(String, String)) -> Option<&Deployment> {
        let mut newest_first = self.deployments.iter().rev().filter(|one| one.service == *key);
        newest_first.nth(usize::from(0 < service.hidden))
    }

    fn generation_shape(&self, service: &Service, generation: &Generation) -> Value {
        json!({
            "id": generation.id,
            "status": if generation.primary { "PRIMARY" } else { "ACTIVE" },
            "taskDefinition": generation.task_definition,
            "desiredCount": if generation.scaled { service.desired_count } else { 0 },
            "runningCount": self.count_tasks(&generation.id, "RUNNING"),
            "pendingCount": self.count_tasks(&generation.id, "PENDING"),
            "failedTasks": generation.failed_tasks,
            "createdAt": time(generation.created_ms), "updatedAt": time(generation.updated_ms),
            "launchType": service.fields.get("launchType"),
            "rolloutState": generation.rollout_state,
            "rolloutStateReason": generation.reason,
        })
    }

    fn current_revision(&self, service: &Service, generation: &Generation) -> Value {
        json!({
            "arn": generation.revision,
            "requestedTaskCount": if generation.scaled { service.desired_count } else { 0 },
            "runningTaskCount": self.count_tasks(&generation.id, "RUNNING"),
            "pendingTaskCount": self.count_tasks(&generation.id, "PENDING"),
        })
    }

    /// How a deployment sees one of its revisions.
    fn revision_summary(&self, deployment: &Deployment, revision: &str) -> Value {
        let service = self.services.get(&deployment.service);
        let mut generations = service.map(|service| &service.generations).into_iter().flatten();
        let generation = generations.find(|one| one.revision == revision);
        let mut summary = match (service, generation) {
            (Some(service), Some(generation)) => self.current_revision(service, generation),
            _ => json!({
                "arn": revision, "requestedTaskCount": 0, "runningTaskCount": 0, "pendingTaskCount": 0,
            }),
        };
        if !deployment.is_rolling() {
            let is_target = revision == deployment.target;
            let traffic = generation.map_or(0.0, |one| one.traffic);
            let test = if is_target { deployment.test_traffic } else { 0.0 };
            summary["requestedProductionTrafficWeight"] = json!(traffic);
            summary["requestedTestTrafficWeight"] = json!(test);
        }
        summary
    }

    pub(super) fn deployment_shape(&self, deployment: &Deployment) -> Value {
        let (cluster, name) = &deployment.service;
        let sources = deployment.sources.iter();
        let hooks: Vec<_> = deployment.hooks.iter().map(hook_shape).collect();
        let rollback = deployment.rollback.as_ref().map(|(reason, at, revision)| {
            json!({ "reason": reason, "startedAt": time(*at), "serviceRevisionArn": revision })
        });
        json!({
            "serviceDeploymentArn": deployment.arn,
            "serviceArn": arn("service", &format!("{cluster}/{name}")),
            "clusterArn": arn("cluster", cluster),
            "createdAt": time(deployment.created_ms), "startedAt": maybe_time(deployment.started_ms),
            "finishedAt": maybe_time(deployment.finished_ms), "stoppedAt": maybe_time(deployment.stopped_ms),
            "updatedAt": time(deployment.updated_ms),
            "sourceServiceRevisions": sources.map(|one| self.revision_summary(deployment, one)).collect::<Vec<_>>(),
            "targetServiceRevision": self.revision_summary(deployment, &deployment.target),
            "status": deployment.status.name(), "statusReason": deployment.reason,
            "lifecycleStage": deployment.stage(),
            "lifecycleHookDetails": (!hooks.is_empty()).then_some(hooks),
            "deploymentConfiguration": deployment.configuration,
            "rollback": rollback,
            "deploymentCircuitBreaker": self.breaker_shape(deployment),
            "alarms": alarms_shape(deployment),
        })
    }

    fn breaker_shape(&self, deployment: &Deployment) -> Value {
        let desired = self.services.get(&deployment.service).map(|one| one.desired_count);
        let threshold = deployment.breaker_threshold(desired.unwrap_or_default());
        let open = threshold.is_some_and(|threshold| threshold <= deployment.failures);
        let status = watch_state(threshold.is_some(), open, deployment.status);
        json!({
            "status": status, "failureCount": deployment.failures,
            "threshold": threshold.unwrap_or_default(),
        })
    }

    pub(super) fn deployment_brief(&self, deployment: &Deployment) -> Value {
        let whole = self.deployment_shape(deployment);
        let kept = [
            "serviceDeploymentArn",
            "serviceArn",
            "clusterArn",
            "startedAt",
            "createdAt",
            "finishedAt",
            "status",
            "statusReason",
        ];
        let mut brief: Map<_, _> =
            kept.into_iter().map(|key| (key.to_owned(), whole[key].clone())).collect();
        brief.insert("targetServiceRevisionArn".to_owned(), json!(deployment.target));
        Value::Object(brief)
    }

    pub(super) fn revision_shape(&self, service: &Service, revision: &Revision) -> Value {
        let definition = self.find_definition(&revision.task_definition);
        let containers = definition.map(|one| one.containers().collect::<Vec<_>>());
        let images = containers.unwrap_or_default().into_iter().map(|container| {
            let image = container["image"].as_str().unwrap_or_default();
            json!({ "containerName": container["name"], "image": image, "imageDigest": digest_of(image) })
        });
        json!({
            "serviceRevisionArn": revision.arn, "serviceArn": service.arn(),
            "clusterArn": arn("cluster", &service.cluster), "taskDefinition": revision.task_definition,
            "launchType": service.fields.get("launchType"),
            "platformVersion": service.fields.get("platformVersion"),
            "networkConfiguration": service.fields.get("networkConfiguration"),
            "containerImages": images.collect::<Vec<_>>(), "guardDutyEnabled": false,
            "createdAt": time(revision.created_ms),
        })
    }

    pub(super) fn task_shape(&self, task: &Task, with_tags: bool) -> Value {
        let definition = self.find_definition(&task.task_definition);
        let containers = definition.map(|one| one.containers().collect::<Vec<_>>());
        let containers = containers.unwrap_or_default();
        let containers = containers.into_iter().map(|one| container_shape(task, one));
        let get = |name: &str| definition.and_then(|one| one.body.get(name));
        json!({
            "taskArn": task.arn, "clusterArn": arn("cluster", &task.cluster),
            "taskDefinitionArn": task.task_definition, "group": task.group,
            "startedBy": task.started_by, "lastStatus": task.last_status,
            "desiredStatus": task.desired_status, "launchType": "FARGATE", "platformVersion": "1.4.0",
            "cpu": get("cpu"), "memory": get("memory"), "connectivity": "CONNECTED",
            "healthStatus": if task.healthy { "UNKNOWN" } else { "UNHEALTHY" },
            "containers": containers.collect::<Vec<_>>(), "overrides": task.overrides,
            "attachments": [], "version": 3,
            "createdAt": time(task.created_ms), "startedAt": maybe_time(task.started_ms),
            "stoppingAt": maybe_time(task.stopped_ms), "stoppedAt": maybe_time(task.stopped_ms),
            "stopCode": task.stop_code, "stoppedReason": task.stopped_reason,
            "tags": with_tags.then_some(&task.tags),
        })
    }
}

fn container_shape(task: &Task, container: &Value) -> Value {
    let image = container["image"].as_str().unwrap_or_default();
    let pulled = task.started_ms.is_some();
    json!({
        "containerArn": arn("container", &format!("{}/{}/1", task.cluster, task.id())),
        "taskArn": task.arn, "name": container["name"], "image": image,
        "imageDigest": pulled.then(|| digest_of(image)),
        "lastStatus": task.last_status, "exitCode": task.exit_code, "reason": task.container_reason,
        "healthStatus": if task.healthy { "UNKNOWN" } else { "UNHEALTHY" },
        "networkBindings": [], "networkInterfaces": [], "cpu": "0",
    })
}

fn hook_shape(hook: &Hook) -> Value {
    let waits = hook.kind == "PAUSE";
    json!({
        "hookId": hook.id, "targetType": hook.kind, "targetArn": hook.target, "status": hook.status,
        "expiresAt": if waits { time(hook.expires_ms) } else { Value::Null },
        "timeoutAction": waits.then_some(&hook.timeout_action),
    })
}

fn alarms_shape(deployment: &Deployment) -> Value {
    let alarms = &deployment.configuration["alarms"];
    if alarms["enable"] != true {
        return Value::Null;
    }
    let triggered: Vec<_> = deployment.alarm.iter().collect();
    json!({
        "status": watch_state(true, !triggered.is_empty(), deployment.status),
        "alarmNames": alarms["alarmNames"], "triggeredAlarmNames": triggered,
    })
}

fn watch_state(on: bool, triggered: bool, status: Status) -> &'static str {
    match (on, triggered) {
        (false, _) => "DISABLED",
        (true, true) => "TRIGGERED",
        (true, false) if status.is_final() => "MONITORING_COMPLETE",
        (true, false) => "MONITORING",
    }
}

impl TaskDefinition {
    pub(super) fn shape(&self) -> Value {
        let mut shape = json!({
            "taskDefinitionArn": self.arn(), "revision": self.revision, "status": self.status,
            "registeredAt": time(self.registered_ms), "registeredBy": "arn:aws:iam::123456789012:root",
            "compatibilities": ["EC2", "FARGATE"], "volumes": [], "placementConstraints": [],
            "requiresAttributes": [{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.18" }],
        });
        let fields = shape.as_object_mut().expect("written as an object above");
        fields.extend(self.body.clone());
        shape
    }
}
