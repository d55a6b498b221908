//! Begins a deployment of a service, once: registers a revision, points the service at it, and finds what that began.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    DeploymentControllerType, Service, ServiceDeploymentBrief, ServiceDeploymentStatus,
    ServiceField, SortOrder, Tag, TaskDefinition, TaskDefinitionField, TaskDefinitionStatus,
};
use serde_json::{Value, json};

use super::super::change::version_in;
use super::super::driver::{Begun, Change, Difference, Order};
use super::super::place::{not_found, short, unsupported};
use super::super::record::{Action, Record, Status};
use super::client::{Sent, failure};
use super::copy::{KEY_TAG, container, copy, tag_of};
use super::stages::configuration;
use super::{Driver, Memo, is_unsupported, ms, primary, short_definition};
use crate::contract::{Code, ToolError};

/// How many revisions are looked through for one of ours.
const REVISIONS: i32 = 10;
/// How many service deployments are looked at.
const DEPLOYMENTS: i32 = 100;

/// A task definition and its tags.
pub(super) struct Definition {
    pub(super) own: TaskDefinition,
    pub(super) tags: Vec<Tag>,
}

/// What a service is to run.
enum Target {
    /// What it runs already, and nothing else is to change.
    Same,
    /// What it runs already, but anew or in another number.
    Kept,
    /// Another task definition.
    Definition(String),
}

impl Definition {
    pub(super) fn arn(&self) -> &str {
        self.own.task_definition_arn().unwrap_or_default()
    }

    pub(super) fn images(&self) -> Value {
        let containers = self.own.container_definitions().iter();
        containers.map(|one| json!({ "container": one.name(), "image": one.image() })).collect()
    }
}

impl Driver<'_> {
    pub(super) async fn client(&self) -> Result<Client, ToolError> {
        self.deploy.ecs(&self.settings).await
    }

    /// The service as it is now.
    pub(super) async fn service(&self) -> Result<Service, ToolError> {
        let (cluster, name) = (&self.settings.cluster, &self.settings.service);
        let asked = self.client().await?.describe_services().cluster(cluster).services(name);
        let answer = asked.include(ServiceField::Tags).send().await;
        let answer = answer.map_err(|error| failure(error, Sent::Look))?;
        answer.services.unwrap_or_default().into_iter().next().ok_or_else(|| {
            not_found(format!("cluster {cluster} has no service {name}"))
                .hint("listServices lists those of a cluster; check the region too")
        })
    }

    /// The service, if it can be deployed to.
    async fn usable_service(&self) -> Result<Service, ToolError> {
        let service = self.service().await?;
        let name = service.service_name().unwrap_or_default().to_owned();
        if let Some(status) = service.status().filter(|status| *status != "ACTIVE") {
            let message = format!("service {name} is {status}");
            return Err(ToolError::new(Code::FailedPrecondition, message)
                .hint("only an ACTIVE service can be deployed to"));
        }
        let controller = service.deployment_controller().map(|own| own.r#type());
        if let Some(controller) = controller.filter(|own| **own != DeploymentControllerType::Ecs) {
            let message = format!("service {name} is deployed by {}", controller.as_str());
            return Err(unsupported(message).hint(
                "deploy it there, for example by an environment of kind command or github_workflow",
            ));
        }
        Ok(service)
    }

    pub(super) async fn definition(&self, name: &str) -> Result<Definition, ToolError> {
        let asked = self.client().await?.describe_task_definition().task_definition(name);
        let answer = asked.include(TaskDefinitionField::Tags).send().await;
        let answer = answer.map_err(|error| {
            let error = failure(error, Sent::Look);
            match error.message.contains("Unable to describe") {
                true => not_found(format!("there is no task definition {name}"))
                    .hint("give family:revision or an ARN"),
                false => error,
            }
        })?;
        let tags = answer.tags.unwrap_or_default();
        let own = answer.task_definition.ok_or_else(|| not_found(format!("there is no {name}")))?;
        Ok(Definition { own, tags })
    }

    /// Its service deployments, the newest first; `None` where ECS keeps none.
    pub(super) async fn deployments(
        &self,
    ) -> Result<Option<Vec<ServiceDeploymentBrief>>, ToolError> {
        let asked = self.client().await?.list_service_deployments();
        let asked = asked.cluster(&self.settings.cluster).service(&self.settings.service);
        let answer = asked.max_results(DEPLOYMENTS).send().await;
        match answer.map_err(|error| failure(error, Sent::Look)) {
            Ok(answer) => {
                let mut all = answer.service_deployments.unwrap_or_default();
                all.sort_by_key(|one| std::cmp::Reverse(ms(one.created_at())));
                Ok(Some(all))
            }
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The task definition of a service revision.
    pub(super) async fn definition_of(&self, revision: &str) -> Result<Option<String>, ToolError> {
        let asked =
            self.client().await?.describe_service_revisions().service_revision_arns(revision);
        let answer = asked.send().await.map_err(|error| failure(error, Sent::Look))?;
        let mut revisions = answer.service_revisions.unwrap_or_default().into_iter();
        Ok(revisions.next().and_then(|own| own.task_definition))
    }

    pub(super) async fn begin(&self, order: &mut Order<'_>) -> Result<Begun, ToolError> {
        let service = self.usable_service().await?;
        let mut memo = if order.again { Memo::of(&order.record) } else { Memo::default() };
        if !memo.is_prepared() {
            memo = self.prepare(&service).await?;
        }
        let previous = self.definition(memo.previous.as_deref().unwrap_or_default()).await?;
        if memo.target.is_none() {
            match self.target(order, &previous).await? {
                Target::Same => return self.unchanged(order, &service, &previous),
                Target::Kept => {}
                Target::Definition(arn) => memo.target = Some(arn),
            }
        }
        // Written before the update: whatever happens to the answer, the next attempt knows what to look for.
        memo.note(&mut order.record);
        order.journal.save(&order.record).await?;
        let service = match order.again && self.has_happened(&memo, &service).await? {
            true => service,
            false => self.update(order, &memo, &service).await?,
        };
        memo.primary = primary(&service).and_then(|own| own.id().map(str::to_owned));
        memo.arn = self.own(&memo, &service).await?;
        self.begun(order, memo, &service, &previous).await
    }

    async fn prepare(&self, service: &Service) -> Result<Memo, ToolError> {
        let known = self.deployments().await?.unwrap_or_default();
        let known = known.into_iter().filter_map(|own| own.service_deployment_arn);
        Ok(Memo {
            previous: service.task_definition().map(str::to_owned),
            previous_primary: primary(service).and_then(|own| own.id().map(str::to_owned)),
            known: known.chain(service.current_service_deployment().map(str::to_owned)).collect(),
            ..Memo::default()
        })
    }

    async fn target(&self, order: &Order<'_>, previous: &Definition) -> Result<Target, ToolError> {
        let change = &order.change;
        if let Some(image) = &change.image {
            let own = container(&previous.own, change.container.as_deref())?;
            if own.image() == Some(image) && !order.again {
                return Ok(if is_only_image(change) { Target::Same } else { Target::Kept });
            }
            let image = Some((own.name().unwrap_or_default(), image.as_str()));
            return Ok(Target::Definition(self.register(order, previous, image).await?));
        }
        let named = match (&change.task_definition, order.record.action) {
            (Some(name), _) => Some(full_name(name, previous)),
            (None, Action::Rollback) => Some(self.before(previous).await?),
            (None, Action::Deploy | Action::Restart | Action::Update) => None,
        };
        let Some(named) = named else { return Ok(Target::Kept) };
        let named = self.definition(&named).await?;
        if named.arn() == previous.arn() && !change.force && change.desired_count.is_none() {
            return Ok(Target::Same);
        }
        if named.own.status() == Some(&TaskDefinitionStatus::Active) {
            return Ok(Target::Definition(named.arn().to_owned()));
        }
        Ok(Target::Definition(self.register(order, &named, None).await?))
    }

    /// Registers a copy, unless an earlier attempt did.
    async fn register(
        &self,
        order: &Order<'_>,
        definition: &Definition,
        image: Option<(&str, &str)>,
    ) -> Result<String, ToolError> {
        let tag = tag_of(order.record.key.as_deref().unwrap_or(&order.record.id));
        if order.call.key_to_look_up().is_some()
            && let Some(found) = self.registered(&definition.own, &tag).await?
        {
            return Ok(found);
        }
        let input = copy(&definition.own, &definition.tags, image, &tag);
        let client = self.client().await?;
        let answer = input.send_with(&client).await;
        let answer = answer.map_err(|error| failure(error, Sent::Change))?;
        let arn = answer.task_definition.and_then(|own| own.task_definition_arn);
        arn.ok_or_else(|| {
            ToolError::new(Code::Unavailable, "ECS registered something without a name")
        })
    }

    /// The revision that an earlier attempt registered.
    async fn registered(
        &self,
        definition: &TaskDefinition,
        tag: &str,
    ) -> Result<Option<String>, ToolError> {
        let family = definition.family().unwrap_or_default();
        for arn in self.revisions(family).await? {
            let found = self.definition(&arn).await?;
            let is_it = |own: &Tag| own.key() == Some(KEY_TAG) && own.value() == Some(tag);
            if found.tags.iter().any(is_it) {
                return Ok(Some(arn));
            }
        }
        Ok(None)
    }

    /// The newest active revisions of a family.
    async fn revisions(&self, family: &str) -> Result<Vec<String>, ToolError> {
        let asked = self.client().await?.list_task_definitions().family_prefix(family);
        let answer = asked.sort(SortOrder::Desc).max_results(REVISIONS).send().await;
        let answer = answer.map_err(|error| failure(error, Sent::Look))?;
        // The prefix of one family may be another family.
        let of_family =
            |arn: &String| short(arn).rsplit_once(':').is_some_and(|(own, _)| own == family);
        Ok(answer.task_definition_arns.unwrap_or_default().into_iter().filter(of_family).collect())
    }

    /// What ran before: the newest that came to run of those that are older, or else the newest older revision.
    pub(super) async fn before(&self, current: &Definition) -> Result<String, ToolError> {
        let family = current.own.family().unwrap_or_default();
        let successful = self.deployments().await?.unwrap_or_default();
        let successful = successful
            .iter()
            .filter(|own| own.status() == Some(&ServiceDeploymentStatus::Successful))
            .filter_map(|own| own.target_service_revision_arn());
        for revision in successful {
            let Some(arn) = self.definition_of(revision).await? else { continue };
            let is_older = match number(&arn, family) {
                Some(number) => number < current.own.revision(),
                None => true,
            };
            if is_older && arn != current.arn() {
                return Ok(arn);
            }
        }
        let revisions = self.revisions(family).await?;
        let older = |arn: &String| {
            number(arn, family).is_some_and(|number| number < current.own.revision())
        };
        revisions.into_iter().find(older).ok_or_else(|| {
            let message = format!("no task definition before {} is known", short(current.arn()));
            ToolError::new(Code::FailedPrecondition, message)
                .hint("give target_revision: family:revision, a number or an ARN")
        })
    }

    /// Whether an earlier attempt has updated the service.
    async fn has_happened(&self, memo: &Memo, service: &Service) -> Result<bool, ToolError> {
        let new = primary(service).is_some_and(|own| own.id() != memo.previous_primary.as_deref());
        let points = memo.target.is_none() || service.task_definition() == memo.target.as_deref();
        Ok((new && points) || self.own(memo, service).await?.is_some())
    }

    /// The service deployment that this began: one that was not there before, and brings what was asked for.
    pub(super) async fn own(
        &self,
        memo: &Memo,
        service: &Service,
    ) -> Result<Option<String>, ToolError> {
        let Some(all) = self.deployments().await? else { return Ok(None) };
        let wanted = memo.target.as_deref().or(memo.previous.as_deref());
        // The oldest of the new ones: a later one of the same is somebody else's.
        let new = all.iter().rev().filter(|own| {
            let arn = own.service_deployment_arn().unwrap_or_default();
            !memo.known.iter().any(|known| known == arn)
        });
        for own in new {
            let revision = own.target_service_revision_arn().unwrap_or_default();
            if self.definition_of(revision).await?.as_deref() == wanted {
                return Ok(own.service_deployment_arn().map(str::to_owned));
            }
        }
        _ = service;
        Ok(None)
    }

    async fn update(
        &self,
        order: &Order<'_>,
        memo: &Memo,
        service: &Service,
    ) -> Result<Service, ToolError> {
        let change = &order.change;
        let stages = change.strategy.as_ref();
        let stages =
            stages.map(|strategy| configuration(service.deployment_configuration(), strategy));
        let asked = self.client().await?.update_service();
        let asked = asked.cluster(&self.settings.cluster).service(&self.settings.service);
        let answer = asked
            .set_task_definition(memo.target.clone())
            .set_desired_count(change.desired_count)
            .set_force_new_deployment(change.force.then_some(true))
            .set_deployment_configuration(stages)
            .send()
            .await
            .map_err(|error| failure(error, Sent::Change))?;
        answer
            .service
            .ok_or_else(|| ToolError::new(Code::Unavailable, "ECS answered without a service"))
    }

    async fn begun(
        &self,
        order: &mut Order<'_>,
        mut memo: Memo,
        service: &Service,
        previous: &Definition,
    ) -> Result<Begun, ToolError> {
        let target = match &memo.target {
            Some(target) => Some(self.definition(target).await?),
            None => None,
        };
        let target = target.as_ref().unwrap_or(previous);
        let mut details = brief(service);
        details["previousTaskDefinition"] = json!(previous.arn());
        details["newTaskDefinition"] = json!(target.arn());
        details["images"] = target.images();
        let record = &mut order.record;
        record.from = Some(short_definition(previous.arn()));
        record.to = Some(short_definition(target.arn()));
        note_image(record, target, self.settings.container.as_deref());
        record.status = Status::Pending;
        if let Some(arn) = &memo.arn {
            record.deployment_id.clone_from(arn);
        }
        memo.answer = details.clone();
        memo.note(record);
        Ok(Begun { changed: true, warnings: Vec::new(), details })
    }

    fn unchanged(
        &self,
        order: &mut Order<'_>,
        service: &Service,
        previous: &Definition,
    ) -> Result<Begun, ToolError> {
        let record = &mut order.record;
        record.from = Some(short_definition(previous.arn()));
        record.to.clone_from(&record.from);
        note_image(record, previous, self.settings.container.as_deref());
        if let Some(arn) = service.current_service_deployment() {
            arn.clone_into(&mut record.deployment_id);
        }
        let mut details = brief(service);
        details["previousTaskDefinition"] = json!(previous.arn());
        details["newTaskDefinition"] = json!(previous.arn());
        details["images"] = previous.images();
        details["deployment_id"] = json!(record.deployment_id);
        Ok(Begun { changed: false, warnings: Vec::new(), details })
    }

    pub(super) async fn differences(
        &self,
        record: &Record,
        change: &Change,
    ) -> Result<Vec<Difference>, ToolError> {
        let service = self.usable_service().await?;
        let current = self.definition(service.task_definition().unwrap_or_default()).await?;
        let mut all = Vec::new();
        if let Some(image) = &change.image {
            let own = container(&current.own, change.container.as_deref())?;
            let path = format!("containers/{}/image", own.name().unwrap_or_default());
            all.extend(Difference::new(&path, &own.image(), &Some(image.as_str())));
        }
        let target = match (&change.task_definition, record.action) {
            (Some(name), _) => Some(full_name(name, &current)),
            (None, Action::Rollback) => Some(self.before(&current).await?),
            (None, Action::Deploy | Action::Restart | Action::Update) => None,
        };
        if let Some(target) = target {
            let target = self.definition(&target).await?;
            let (from, to) = (short_definition(current.arn()), short_definition(target.arn()));
            all.extend(Difference::new("taskDefinition", &from, &to));
        }
        if let Some(count) = change.desired_count {
            all.extend(Difference::new("desiredCount", &service.desired_count(), &count));
        }
        if let Some(strategy) = change.strategy.as_ref().filter(|_| !all.is_empty()) {
            let old = service.deployment_configuration();
            if Some(&configuration(old, strategy)) != old {
                let from = old.and_then(|own| own.strategy()).map(|own| own.as_str().to_owned());
                let to = serde_json::to_value(strategy).unwrap_or_default();
                all.push(Difference { path: "strategy".to_owned(), from: json!(from), to });
            }
        }
        Ok(all)
    }
}

/// What AFU-9's workflows read of a service.
pub(super) fn brief(service: &Service) -> Value {
    json!({
        "serviceArn": service.service_arn(), "serviceName": service.service_name(),
        "clusterArn": service.cluster_arn(), "desiredCount": service.desired_count(),
        "runningCount": service.running_count(), "pendingCount": service.pending_count(),
        "taskDefinition": service.task_definition(),
    })
}

fn note_image(record: &mut Record, definition: &Definition, name: Option<&str>) {
    let image = container(&definition.own, name).ok().and_then(|own| own.image());
    record.image = image.map(str::to_owned).or_else(|| record.image.take());
    if record.version.is_none() {
        record.version = record.image.as_deref().map(|image| version_in(image).to_owned());
    }
}

fn is_only_image(change: &Change) -> bool {
    !change.force && change.desired_count.is_none()
}

/// A number alone is a revision of the same family.
fn full_name(name: &str, of: &Definition) -> String {
    match name.parse::<u32>() {
        Ok(number) => format!("{}:{number}", of.own.family().unwrap_or_default()),
        Err(_) => name.to_owned(),
    }
}

/// The number of a revision of this family.
fn number(arn: &str, family: &str) -> Option<i32> {
    let (own, number) = short(arn).rsplit_once(':')?;
    number.parse().ok().filter(|_| own == family)
}
