//! Deploys to services of Amazon ECS. Success is the own service deployment's `SUCCESSFUL` and nothing else: a service
//! is also "stable" after it was rolled back.

mod client;
mod copy;
mod diagnosis;
mod rollout;
mod stages;
mod status;
mod tasks;
mod wait;

use aws_sdk_ecs::types::{Service, ServiceDeploymentStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Deploy;
use super::config::Ecs;
use super::driver::{Begun, Change, Difference, Look, Order, Word};
use super::place::Place;
use super::record::{Record, Status};
use crate::contract::{Asked, ToolError};

pub(super) use self::client::Clients;

pub(super) struct Driver<'a> {
    pub(super) deploy: &'a Deploy,
    pub(super) settings: Ecs,
}

/// What is remembered of a deployment, so that it is found again whatever got lost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Memo {
    /// Its ARN, once it is known.
    arn: Option<String>,
    /// The task definition before it.
    previous: Option<String>,
    /// The id of the `PRIMARY` of `deployments[]` before it.
    previous_primary: Option<String>,
    /// The service deployments before it.
    known: Vec<String>,
    /// The task definition that it brings.
    target: Option<String>,
    /// The id of its own entry of `deployments[]`.
    primary: Option<String>,
    /// What it answered.
    answer: Value,
}

impl Memo {
    fn of(record: &Record) -> Self {
        serde_json::from_value(record.state.clone()).unwrap_or_default()
    }

    /// Whether it was written for this record: an answer to a lost call is only found with it.
    fn is_prepared(&self) -> bool {
        self.previous.is_some()
    }

    fn note(&self, record: &mut Record) {
        record.state = serde_json::to_value(self).unwrap_or_default();
    }
}

impl super::driver::Driver for Driver<'_> {
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun> {
        Box::pin(self.begin(order))
    }

    fn look<'a>(&'a self, _: &'a Place, record: &'a Record) -> Asked<'a, Look> {
        Box::pin(self.look(record))
    }

    fn health<'a>(&'a self, _: &'a Place, _: &'a [Record]) -> Asked<'a, Value> {
        Box::pin(self.health())
    }

    fn running<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Option<Record>> {
        Box::pin(async move {
            let newest = self.deployments().await?.into_iter().flatten();
            let mut running = newest.filter(|one| one.status().is_some_and(goes_forward));
            Ok(running.next().map(|one| wait::record_of(place, records, &one)))
        })
    }

    fn recall<'a>(
        &'a self,
        place: &'a Place,
        records: &'a [Record],
        id: Option<&'a str>,
    ) -> Asked<'a, Option<Record>> {
        Box::pin(self.recall(place, records, id))
    }

    fn list<'a>(
        &'a self,
        place: &'a Place,
        records: &'a [Record],
        limit: usize,
    ) -> Asked<'a, Vec<Record>> {
        Box::pin(async move {
            let Some(all) = self.deployments().await? else {
                return Ok(records.iter().rev().take(limit).cloned().collect());
            };
            let known = all.iter().map(|one| wait::record_of(place, records, one));
            Ok(known.take(limit).collect())
        })
    }

    fn differences<'a>(
        &'a self,
        _: &'a Place,
        record: &'a Record,
        change: &'a Change,
    ) -> Asked<'a, Vec<Difference>> {
        Box::pin(self.differences(record, change))
    }

    fn answer<'a>(
        &'a self,
        _: &'a Place,
        record: &'a mut Record,
        answer: Word<'a>,
    ) -> Asked<'a, bool> {
        Box::pin(self.answer(record, answer))
    }

    fn stop<'a>(&'a self, _: &'a Place, record: &'a mut Record, back: bool) -> Asked<'a, Status> {
        Box::pin(self.stop(record, back))
    }
}

/// Whether a deployment is on its way to the new version.
fn goes_forward(status: &ServiceDeploymentStatus) -> bool {
    matches!(status, ServiceDeploymentStatus::Pending | ServiceDeploymentStatus::InProgress)
}

/// The entry of `deployments[]` that the service is at.
fn primary(service: &Service) -> Option<&aws_sdk_ecs::types::Deployment> {
    service.deployments().iter().find(|own| own.status() == Some("PRIMARY"))
}

/// `family:revision` of an ARN.
fn short_definition(arn: &str) -> String {
    super::place::short(arn).to_owned()
}

fn ms(time: Option<&aws_sdk_ecs::primitives::DateTime>) -> Option<i64> {
    time.and_then(|time| time.to_millis().ok())
}

/// A time as it is shown.
fn shown(time: Option<&aws_sdk_ecs::primitives::DateTime>) -> Option<String> {
    ms(time).map(super::record::time)
}

/// Whether the service knows no service deployments.
fn is_unsupported(error: &ToolError) -> bool {
    error.provider.as_ref().is_some_and(|provider| provider.reason == Some("unsupported"))
}

/// The image of the container that is deployed.
fn container_image(
    definition: &aws_sdk_ecs::types::TaskDefinition,
    name: Option<&str>,
) -> Option<String> {
    copy::container(definition, name).ok().and_then(|own| own.image().map(str::to_owned))
}

/// The tools that only ECS has.
pub(super) fn tools(_production: bool) -> Vec<crate::contract::Tool<Deploy>> {
    tasks::tools()
}
