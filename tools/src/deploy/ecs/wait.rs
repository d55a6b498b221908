//! Looks how far a service deployment is, answers its questions, and stops it.

use aws_sdk_ecs::types::{
    DeploymentLifecycleHookAction, DeploymentLifecycleHookDetail, DeploymentLifecycleHookStatus,
    DeploymentRolloutState, DesiredStatus, Service, ServiceDeployment, ServiceDeploymentBrief,
    ServiceDeploymentStatus, StopServiceDeploymentStopType, Task,
};
use serde_json::{Value, json};

use super::super::driver::{Look, Word};
use super::super::place::{Place, not_found, unsupported};
use super::super::record::{Action, Record, Status, time};
use super::super::{now, refused};
use super::client::{Sent, failure};
use super::diagnosis::diagnose;
use super::{Driver, Memo, is_unsupported, ms, primary, short_definition};
use crate::contract::{Code, ToolError};

/// How many stopped tasks are looked at.
const STOPPED: i32 = 100;
const OLD_ID: &str = "ecs-svc/";

impl Driver<'_> {
    pub(super) async fn look(&self, record: &Record) -> Result<Look, ToolError> {
        let service = self.service().await?;
        let mut memo = Memo::of(record);
        if memo.arn.is_none() && memo.is_prepared() {
            memo.arn = self.own(&memo, &service).await?;
        }
        let deployment = match &memo.arn {
            Some(arn) => self.deployment(arn).await?,
            None => None,
        };
        let mut look = match &deployment {
            Some(deployment) => read(deployment),
            None => by_generations(&memo, &service),
        };
        look.retry_after_ms = patience(now() - record.started_at);
        memo.note_in(&mut look);
        let failed = look.status.is_done() && look.status != Status::Succeeded;
        if failed {
            self.explain(&mut look, deployment.as_ref(), &memo, &service).await?;
        }
        Ok(look)
    }

    /// Adds why it failed and what runs now.
    async fn explain(
        &self,
        look: &mut Look,
        deployment: Option<&ServiceDeployment>,
        memo: &Memo,
        service: &Service,
    ) -> Result<(), ToolError> {
        let target = match (deployment.and_then(|own| own.target_service_revision()), &memo.target)
        {
            (Some(revision), _) => self.definition_of(revision.arn().unwrap_or_default()).await?,
            (None, target) => target.clone(),
        };
        let since = deployment.and_then(|own| ms(own.created_at()));
        let stopped = self.tasks(DesiredStatus::Stopped).await?.into_iter().filter(|task| {
            let of_target = target.is_none() || task.task_definition_arn() == target.as_deref();
            of_target
                && since.is_none_or(|since| ms(task.created_at()).is_none_or(|at| since <= at))
        });
        let stopped: Vec<Task> = stopped.collect();
        let definition = match &target {
            Some(target) => Some(self.definition(target).await?),
            None => None,
        };
        let definition = definition.as_ref().map(|own| &own.own);
        look.diagnosis = diagnose(deployment, service, &stopped, definition);
        let back =
            deployment.and_then(|own| own.rollback()).and_then(|own| own.service_revision_arn());
        look.rolled_back_to = match back {
            Some(revision) => self.definition_of(revision).await?.as_deref().map(short_definition),
            None => None,
        };
        Ok(())
    }

    /// The service's tasks; the newest hundred.
    pub(super) async fn tasks(&self, desired: DesiredStatus) -> Result<Vec<Task>, ToolError> {
        let client = self.client().await?;
        let cluster = &self.settings.cluster;
        let asked = client.list_tasks().cluster(cluster).service_name(&self.settings.service);
        let answer = asked.desired_status(desired).max_results(STOPPED).send().await;
        let answer = answer.map_err(|error| failure(error, Sent::Look))?;
        let arns = answer.task_arns.unwrap_or_default();
        if arns.is_empty() {
            return Ok(Vec::new());
        }
        let asked = client.describe_tasks().cluster(cluster).set_tasks(Some(arns));
        let answer = asked.send().await.map_err(|error| failure(error, Sent::Look))?;
        Ok(answer.tasks.unwrap_or_default())
    }

    /// A service deployment; `None` where there is none of that name.
    async fn deployment(&self, arn: &str) -> Result<Option<ServiceDeployment>, ToolError> {
        let asked = self.client().await?.describe_service_deployments();
        let answer = asked.service_deployment_arns(arn).send().await;
        match answer.map_err(|error| failure(error, Sent::Look)) {
            Ok(answer) => Ok(answer.service_deployments.unwrap_or_default().into_iter().next()),
            Err(error) if is_unsupported(&error) || error.code == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn recall(
        &self,
        place: &Place,
        records: &[Record],
        id: Option<&str>,
    ) -> Result<Option<Record>, ToolError> {
        let named = |record: &&Record| {
            id.is_some_and(|id| record.deployment_id == id || record.id == id)
                || id.is_some() && Memo::of(record).arn.as_deref() == id
        };
        // An order that takes another back has its id; the order itself is meant by it.
        if let Some(record) = records.iter().rev().find(named) {
            return Ok(Some(record.clone()));
        }
        let Some(id) = id else { return self.newest(place, records).await };
        if let Some(primary) = id.strip_prefix(&format!("{}/", place.name))
            && primary.starts_with(OLD_ID)
        {
            return Ok(Some(old(place, primary)));
        }
        let found = self.deployment(id).await?;
        Ok(found.map(|found| record_of(place, records, &in_brief(&found))))
    }

    async fn newest(&self, place: &Place, records: &[Record]) -> Result<Option<Record>, ToolError> {
        if let Some(all) = self.deployments().await? {
            return Ok(all.first().map(|own| record_of(place, records, own)));
        }
        let service = self.service().await?;
        let own = primary(&service).and_then(|own| own.id());
        Ok(records.last().cloned().or_else(|| own.map(|own| old(place, own))))
    }

    pub(super) async fn answer(
        &self,
        record: &mut Record,
        word: Word<'_>,
    ) -> Result<bool, ToolError> {
        let (arn, deployment) = self.known(record).await?;
        let hooks = deployment.lifecycle_hook_details();
        let hook = match word.hook_id {
            Some(id) => hooks.iter().find(|own| own.hook_id() == Some(id)),
            None => hooks.iter().find(|own| waits(own)),
        };
        let Some(hook) = hook else {
            return Err(not_waiting(&deployment, "the deployment asks nothing of that name"));
        };
        if !waits(hook) || !deployment.status().is_some_and(super::goes_forward) {
            return answered(&deployment, hook, word.go_on);
        }
        let (continues, back) =
            (DeploymentLifecycleHookAction::Continue, DeploymentLifecycleHookAction::Rollback);
        let asked = self.client().await?.continue_service_deployment();
        let asked = asked.service_deployment_arn(&arn).set_hook_id(hook.hook_id.clone());
        let answer = asked.action(if word.go_on { continues } else { back }).send().await;
        if let Err(error) = answer {
            let error = failure(error, Sent::Change);
            // Somebody may have answered between the look and the word.
            let (_, deployment) = self.known(record).await?;
            let again = deployment.lifecycle_hook_details().iter();
            return match again
                .into_iter()
                .find(|own| own.hook_id() == hook.hook_id() && !waits(own))
            {
                Some(hook) if error.code != Code::OutcomeUnknown => {
                    answered(&deployment, hook, word.go_on)
                }
                _ => Err(error),
            };
        }
        record.status = Status::InProgress;
        Ok(false)
    }

    pub(super) async fn stop(&self, record: &mut Record, back: bool) -> Result<Status, ToolError> {
        let (arn, _) = self.known(record).await?;
        let (rollback, abort) =
            (StopServiceDeploymentStopType::Rollback, StopServiceDeploymentStopType::Abort);
        let asked = self.client().await?.stop_service_deployment().service_deployment_arn(&arn);
        let answer = asked.stop_type(if back { rollback } else { abort }).send().await;
        if let Err(error) = answer {
            let error = failure(error, Sent::Change);
            // It has just ended, or an earlier attempt has stopped it.
            if error.code != Code::Conflict {
                return Err(error);
            }
        }
        let (_, deployment) = self.known(record).await?;
        Ok(read(&deployment).status)
    }

    /// The service deployment of a record.
    async fn known(&self, record: &Record) -> Result<(String, ServiceDeployment), ToolError> {
        let mut memo = Memo::of(record);
        if memo.arn.is_none() {
            memo.arn = self.own(&memo, &self.service().await?).await?;
        }
        let arn = memo.arn.ok_or_else(|| {
            unsupported("ECS names no service deployment for this one (yet)".to_owned())
                .hint("try again in a few seconds; services of the old style have none")
        })?;
        let found = self.deployment(&arn).await?;
        let found =
            found.ok_or_else(|| not_found(format!("there is no service deployment {arn}")))?;
        Ok((arn, found))
    }
}

impl Memo {
    fn note_in(&self, look: &mut Look) {
        look.state = serde_json::to_value(self).ok();
    }
}

fn waits(hook: &DeploymentLifecycleHookDetail) -> bool {
    hook.status() == Some(&DeploymentLifecycleHookStatus::AwaitingAction)
}

/// Whether what was answered before is what is answered now.
fn answered(
    deployment: &ServiceDeployment,
    hook: &DeploymentLifecycleHookDetail,
    go_on: bool,
) -> Result<bool, ToolError> {
    let went_on = hook.status() == Some(&DeploymentLifecycleHookStatus::Succeeded);
    let went_back = !went_on
        || matches!(
            deployment.status(),
            Some(
                ServiceDeploymentStatus::RollbackRequested
                    | ServiceDeploymentStatus::RollbackInProgress
                    | ServiceDeploymentStatus::RollbackSuccessful
            )
        );
    if (go_on && went_on) || (!go_on && went_back) {
        return Ok(true);
    }
    let message = match went_on {
        true => "the deployment went on already",
        false => "the deployment was taken back already, or nobody answered in time",
    };
    Err(refused(Code::Conflict, "answered_otherwise", message.to_owned())
        .hint("waitForDeployment says what becomes of it; rollbackService takes it back"))
}

fn not_waiting(deployment: &ServiceDeployment, what: &str) -> ToolError {
    let open = deployment.lifecycle_hook_details().iter().filter(|own| waits(own));
    let open: Vec<_> = open.filter_map(|own| own.hook_id()).collect();
    refused(Code::FailedPrecondition, "not_waiting", what.to_owned()).hint(match open.is_empty() {
        true => "it waits for nothing now; waitForDeployment with until = \"awaiting_action\" says when it does".to_owned(),
        false => format!("it waits for: {}", open.join(", ")),
    })
}

/// How long to wait before the next look: a rollout that takes long is not hurried by looking.
fn patience(age_ms: i64) -> u64 {
    match age_ms {
        ..120_000 => 5000,
        120_000..600_000 => 10_000,
        600_000.. => 15_000,
    }
}

fn status_of(status: &ServiceDeploymentStatus) -> Status {
    match status {
        ServiceDeploymentStatus::Successful => Status::Succeeded,
        ServiceDeploymentStatus::Stopped => Status::Stopped,
        ServiceDeploymentStatus::RollbackSuccessful => Status::RolledBack,
        ServiceDeploymentStatus::RollbackFailed => Status::Failed,
        ServiceDeploymentStatus::Pending => Status::Pending,
        // One that a later release of ECS knows goes on until it says otherwise.
        _ => Status::InProgress,
    }
}

/// What a service deployment says of itself.
fn read(deployment: &ServiceDeployment) -> Look {
    let own = deployment.status();
    let mut look = Look::at(own.map_or(Status::Pending, status_of));
    look.problem =
        deployment.status_reason().map(str::to_owned).filter(|_| look.status != Status::Succeeded);
    look.finished_at = ms(deployment.finished_at()).or_else(|| ms(deployment.stopped_at()));
    look.progress = progress(deployment);
    let hook = deployment.lifecycle_hook_details().iter().find(|own| waits(own));
    if let Some(hook) = hook.filter(|_| own == Some(&ServiceDeploymentStatus::InProgress)) {
        look.status = Status::AwaitingAction;
        look.awaiting_action = json!({
            "hook_id": hook.hook_id(),
            "stage": deployment.lifecycle_stage().map(|stage| stage.as_str()),
            "expires_at": ms(hook.expires_at()).map(time),
            "timeout_action": hook.timeout_action().map(|action| action.as_str()),
        });
    }
    look
}

fn progress(deployment: &ServiceDeployment) -> Value {
    let forward = deployment.status().is_none_or(|status| {
        super::goes_forward(status) || *status == ServiceDeploymentStatus::Successful
    });
    let stage = match (forward, deployment.status()) {
        (false, Some(status)) => Some(status.as_str()),
        _ => deployment.lifecycle_stage().map(|stage| stage.as_str()),
    };
    let Some(target) = deployment.target_service_revision() else {
        return json!({ "stage": stage });
    };
    let (desired, running) = (target.requested_task_count(), target.running_task_count());
    let percent = match desired {
        ..=0 => Value::Null,
        desired => json!((running * 100 / desired).min(100)),
    };
    let failed = deployment.deployment_circuit_breaker().map_or(0, |own| own.failure_count());
    json!({
        "stage": stage, "percent": percent, "desired": desired, "running": running, "failed": failed,
        "traffic": target.requested_production_traffic_weight(),
    })
}

/// Where ECS keeps no service deployments: the own entry of `deployments[]` gone or failed is a failure, the own one
/// primary and completed is success, and nothing else is.
fn by_generations(memo: &Memo, service: &Service) -> Look {
    let of = |own: &&aws_sdk_ecs::types::Deployment| match (&memo.primary, &memo.target) {
        (Some(id), _) => own.id() == Some(id),
        (None, Some(target)) => own.task_definition() == Some(target),
        (None, None) => own.status() == Some("PRIMARY"),
    };
    let Some(own) = service.deployments().iter().find(of) else {
        let mut look = Look::at(Status::Failed);
        look.problem = Some("the service has dropped this deployment: another one replaced it, or it was rolled back".to_owned());
        return look;
    };
    let is_primary = own.status() == Some("PRIMARY");
    let mut look = Look::at(match own.rollout_state() {
        Some(DeploymentRolloutState::Failed) => Status::Failed,
        Some(DeploymentRolloutState::Completed) if is_primary => Status::Succeeded,
        _ => Status::InProgress,
    });
    if look.status == Status::Failed {
        look.problem = own.rollout_state_reason().map(str::to_owned);
    }
    let (desired, running) = (own.desired_count(), own.running_count());
    let percent = (0 < desired).then(|| running * 100 / desired.max(1));
    look.progress = json!({
        "stage": own.rollout_state().map(|state| state.as_str()), "percent": percent, "desired": desired,
        "running": running, "failed": own.failed_tasks(),
    });
    look
}

/// What is known of a service deployment: our record of it, or what ECS says alone.
pub(super) fn record_of(place: &Place, records: &[Record], own: &ServiceDeploymentBrief) -> Record {
    let arn = own.service_deployment_arn().unwrap_or_default();
    let status = own.status().map_or(Status::Pending, status_of);
    let ours = |record: &&Record| {
        Memo::of(record).arn.as_deref() == Some(arn) || record.deployment_id == arn
    };
    if let Some(record) = records.iter().rev().find(ours) {
        let finished_at = record.finished_at.or_else(|| ms(own.finished_at()));
        return Record { status, finished_at, ..record.clone() };
    }
    let started_at = ms(own.created_at()).unwrap_or_default();
    let mut record = Record {
        id: arn.to_owned(),
        deployment_id: arn.to_owned(),
        key: None,
        action: Action::Deploy,
        status,
        begun: true,
        version: None,
        image: None,
        from: None,
        to: None,
        previous_version: None,
        reason: None,
        by: None,
        execution_id: None,
        started_at,
        finished_at: ms(own.finished_at()),
        url: place.environment.shared.app_url.clone(),
        problem: own.status_reason().map(str::to_owned).filter(|_| status != Status::Succeeded),
        state: Value::Null,
    };
    Memo { arn: Some(arn.to_owned()), ..Memo::default() }.note(&mut record);
    record
}

/// The current deployment of a service that keeps no service deployments.
fn old(place: &Place, primary: &str) -> Record {
    let brief = ServiceDeploymentBrief::builder().build();
    let mut record = record_of(place, &[], &brief);
    record.id = format!("{}/{primary}", place.name);
    record.deployment_id.clone_from(&record.id);
    record.started_at = now();
    Memo { primary: Some(primary.to_owned()), ..Memo::default() }.note(&mut record);
    record
}

fn in_brief(own: &ServiceDeployment) -> ServiceDeploymentBrief {
    ServiceDeploymentBrief::builder()
        .set_service_deployment_arn(own.service_deployment_arn.clone())
        .set_created_at(own.created_at)
        .set_finished_at(own.finished_at)
        .set_status(own.status.clone())
        .set_status_reason(own.status_reason.clone())
        .build()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::Deployment;

    use super::*;

    #[test]
    fn only_successful_is_success() {
        let cases = [
            (ServiceDeploymentStatus::Pending, Status::Pending),
            (ServiceDeploymentStatus::InProgress, Status::InProgress),
            (ServiceDeploymentStatus::StopRequested, Status::InProgress),
            (ServiceDeploymentStatus::RollbackRequested, Status::InProgress),
            (ServiceDeploymentStatus::RollbackInProgress, Status::InProgress),
            (ServiceDeploymentStatus::Successful, Status::Succeeded),
            (ServiceDeploymentStatus::Stopped, Status::Stopped),
            (ServiceDeploymentStatus::RollbackSuccessful, Status::RolledBack),
            (ServiceDeploymentStatus::RollbackFailed, Status::Failed),
        ];
        for (status, expected) in cases {
            let deployment = ServiceDeployment::builder().status(status.clone()).build();
            assert_eq!(read(&deployment).status, expected, "{status:?}");
        }
    }

    #[test]
    fn a_hook_that_waits_is_a_question_only_while_the_deployment_goes_forward() {
        let hook = DeploymentLifecycleHookDetail::builder()
            .hook_id("h")
            .status(DeploymentLifecycleHookStatus::AwaitingAction)
            .build();
        let with = |status| {
            read(
                &ServiceDeployment::builder()
                    .status(status)
                    .lifecycle_hook_details(hook.clone())
                    .build(),
            )
        };
        let look = with(ServiceDeploymentStatus::InProgress);
        assert_eq!(
            (look.status, &look.awaiting_action["hook_id"]),
            (Status::AwaitingAction, &json!("h"))
        );
        assert_eq!(with(ServiceDeploymentStatus::RollbackInProgress).status, Status::InProgress);
    }

    #[test]
    fn without_service_deployments_the_own_generation_decides() {
        let own = |id: &str, status: &str, state: DeploymentRolloutState| {
            Deployment::builder().id(id).status(status).rollout_state(state).build()
        };
        let memo = Memo { primary: Some("own".to_owned()), ..Memo::default() };
        let cases = [
            (own("own", "PRIMARY", DeploymentRolloutState::Completed), Status::Succeeded),
            (own("own", "PRIMARY", DeploymentRolloutState::InProgress), Status::InProgress),
            (own("own", "ACTIVE", DeploymentRolloutState::Failed), Status::Failed),
            // What the service was rolled back to is complete, and is not ours.
            (own("other", "PRIMARY", DeploymentRolloutState::Completed), Status::Failed),
        ];
        for (generation, expected) in cases {
            let service = Service::builder().deployments(generation).build();
            assert_eq!(by_generations(&memo, &service).status, expected);
        }
    }

    #[test]
    fn a_long_rollout_is_looked_at_less_often() {
        assert_eq!([0, 119_999, 120_000, 700_000].map(patience), [5000, 5000, 10_000, 15_000]);
    }
}
