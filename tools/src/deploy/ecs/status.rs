//! How a service is: what AFU-9's workflows read of it, and what is wrong with it.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{Deployment, DeploymentRolloutState, DesiredStatus, Service, Task};
use serde_json::{Value, json};

use super::super::change::version_in;
use super::super::place::short;
use super::diagnosis::grouped;
use super::rollout::brief;
use super::{Driver, container_image, primary, short_definition, shown};
use crate::contract::ToolError;
use crate::contract::text::without_invisible;

impl Driver<'_> {
    pub(super) async fn health(&self) -> Result<Value, ToolError> {
        let service = self.service().await?;
        let current = self.definition(service.task_definition().unwrap_or_default()).await?;
        let running = self.tasks(DesiredStatus::Running).await?;
        let stopped = self.tasks(DesiredStatus::Stopped).await?;
        // What is missing here is not worth failing for.
        let before = self.before(&current).await.ok().map(|arn| short_definition(&arn));
        let (health, problems) = judge(&service);
        let image = container_image(&current.own, self.settings.container.as_deref());
        let mut all = brief(&service);
        super::super::shapes::merge(
            &mut all,
            json!({
                "status": service.status(), "createdAt": shown(service.created_at()),
                "launchType": service.launch_type().map(|own| own.as_str()),
                "platformVersion": service.platform_version(),
                "deployments": service.deployments().iter().map(generation).collect::<Vec<_>>(),
                "events": service.events().iter().map(|event| json!({
                    "id": event.id(), "createdAt": shown(event.created_at()),
                    "message": without_invisible(event.message().unwrap_or_default()),
                })).collect::<Vec<_>>(),
                "tasks": running.iter().map(task).collect::<Vec<_>>(),
                "stopped_tasks": grouped(&stopped), "images": images(&running),
                "previous_revision": before, "current_deployment": service.current_service_deployment(),
                "version": image.as_deref().map(version_in),
                "health": health, "problems": problems,
            }),
        );
        Ok(all)
    }
}

fn judge(service: &Service) -> (&'static str, Vec<String>) {
    let (desired, running) = (service.desired_count(), service.running_count());
    let own = primary(service);
    let state = own.and_then(|own| own.rollout_state());
    let mut problems = Vec::new();
    if let Some(status) = service.status().filter(|status| *status != "ACTIVE") {
        problems.push(format!("the service is {status}"));
    }
    if running < desired {
        problems.push(format!("{running} of {desired} tasks run"));
    }
    if desired == 0 {
        problems.push("the service is scaled to 0 tasks".to_owned());
    }
    if let Some(own) = own.filter(|own| 0 < own.failed_tasks()) {
        problems.push(format!("{} tasks of the newest deployment failed", own.failed_tasks()));
    }
    if state == Some(&DeploymentRolloutState::Failed) {
        let reason = own.and_then(|own| own.rollout_state_reason()).unwrap_or("no reason is given");
        problems.push(format!("the newest deployment failed: {reason}"));
    }
    let health = match state {
        _ if running == 0 => "down",
        Some(DeploymentRolloutState::InProgress) => "deploying",
        Some(DeploymentRolloutState::Failed) => "degraded",
        _ if running < desired => "degraded",
        _ => "healthy",
    };
    (health, problems)
}

fn generation(own: &Deployment) -> Value {
    json!({
        "id": own.id(), "status": own.status(), "taskDefinition": own.task_definition(),
        "desiredCount": own.desired_count(), "runningCount": own.running_count(),
        "pendingCount": own.pending_count(), "failedTasks": own.failed_tasks(),
        "rolloutState": own.rollout_state().map(|state| state.as_str()),
        "rolloutStateReason": own.rollout_state_reason(),
        "createdAt": shown(own.created_at()), "updatedAt": shown(own.updated_at()),
    })
}

fn task(own: &Task) -> Value {
    let containers = own.containers().iter().map(|container| {
        json!({ "name": container.name(), "image": container.image(), "lastStatus": container.last_status(),
                "exitCode": container.exit_code() })
    });
    json!({
        "taskArn": own.task_arn(), "id": own.task_arn().map(short), "lastStatus": own.last_status(),
        "desiredStatus": own.desired_status(), "healthStatus": own.health_status().map(|own| own.as_str()),
        "taskDefinitionArn": own.task_definition_arn(), "startedAt": shown(own.started_at()),
        "containers": containers.collect::<Vec<_>>(),
    })
}

/// Every image that runs, with its digest: two digests of one image are drift.
fn images(tasks: &[Task]) -> Value {
    let mut all = BTreeMap::new();
    for container in tasks.iter().flat_map(|task| task.containers()) {
        let name = container.name().unwrap_or_default().to_owned();
        let key = (
            name,
            container.image().map(str::to_owned),
            container.image_digest().map(str::to_owned),
        );
        *all.entry(key).or_insert(0) += 1;
    }
    let shown = all.into_iter().map(|((container, image, digest), count)| {
        json!({ "container": container, "image": image, "digest": digest, "tasks": count })
    });
    shown.collect()
}
