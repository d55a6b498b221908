//! What ECS answers to each operation.

use serde_json::{Map, Value, json};

use super::rollout::Deployment;
use super::tasks::Task;
use super::{Ecs, Service, arn, last_part};
use crate::aws::{Answer, Refusal};
use crate::logs::Logs;

const MOST_PER_PAGE: usize = 100;
/// What `UpdateService` may change beside the task definition and the number of tasks, and whether it brings about
/// a new deployment.
const FIELDS: [(&str, bool); 12] = [
    ("availabilityZoneRebalancing", false),
    ("capacityProviderStrategy", true),
    ("deploymentConfiguration", false),
    ("enableECSManagedTags", false),
    ("enableExecuteCommand", false),
    ("healthCheckGracePeriodSeconds", false),
    ("loadBalancers", true),
    ("networkConfiguration", true),
    ("placementConstraints", false),
    ("platformVersion", true),
    ("propagateTags", false),
    ("serviceRegistries", true),
];

type Key = (String, String);

impl Ecs {
    /// Answers one request.
    pub(crate) fn answer(
        &mut self,
        name: &str,
        input: &Value,
        now: u64,
        logs: &mut Logs,
    ) -> Answer {
        match name {
            "ContinueServiceDeployment" => self.continue_deployment(input, now),
            "DescribeClusters" => Ok(self.describe_clusters(input)),
            "DescribeServiceDeployments" => self.describe_deployments(input),
            "DescribeServiceRevisions" => self.describe_revisions(input),
            "DescribeServices" => self.describe_services(input),
            "DescribeTaskDefinition" => self.describe_definition(input),
            "DescribeTasks" => self.describe_tasks(input),
            "ListClusters" => Ok(self.list_clusters(input)),
            "ListServiceDeployments" => self.list_deployments(input),
            "ListServices" => self.list_services(input),
            "ListTaskDefinitions" => Ok(self.list_definitions(input)),
            "ListTasks" => self.list_tasks(input),
            "RegisterTaskDefinition" => self.register_definition(input, now),
            "RunTask" => self.run_task(input, now, logs),
            "StopServiceDeployment" => self.stop_deployment(input, now),
            "StopTask" => self.stop_task(input, now),
            "TagResource" => self.tag(input),
            "UpdateService" => self.update_service(input, now),
            other => Err(Refusal::client(format!("{other} is not emulated"))),
        }
    }

    fn describe_clusters(&self, input: &Value) -> Value {
        let asked = texts(&input["clusters"]);
        let asked = if asked.is_empty() { vec!["default".to_owned()] } else { asked };
        let (known, missing): (Vec<_>, Vec<_>) = asked
            .iter()
            .map(|name| last_part(name))
            .partition(|name| self.clusters.contains(*name));
        let known = known.into_iter().map(|name| {
            let services = self.services.keys().filter(|(cluster, _)| cluster == name).count();
            json!({
                "clusterArn": arn("cluster", name), "clusterName": name, "status": "ACTIVE",
                "activeServicesCount": services,
            })
        });
        let missing = missing.into_iter().map(|name| missing_one(&arn("cluster", name)));
        json!({ "clusters": known.collect::<Vec<_>>(), "failures": missing.collect::<Vec<_>>() })
    }

    fn list_clusters(&self, input: &Value) -> Value {
        page("clusterArns", self.clusters.iter().map(|name| json!(arn("cluster", name))), input)
    }

    fn describe_services(&mut self, input: &Value) -> Answer {
        let cluster = self.cluster(input)?;
        let with_tags = includes_tags(input);
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for name in texts(&input["services"]) {
            let key = (cluster.clone(), last_part(&name).to_owned());
            match self.services.get(&key) {
                Some(service) => services.push(self.service_shape(service, with_tags)),
                None => {
                    let arn = arn("service", &format!("{cluster}/{}", key.1));
                    failures.push(missing_one(&arn));
                }
            }
            self.look(&key);
        }
        Ok(json!({ "services": services, "failures": failures }))
    }

    /// Counts a look that did not see a new deployment yet.
    fn look(&mut self, key: &Key) {
        if let Some(service) = self.services.get_mut(key) {
            service.hidden = service.hidden.saturating_sub(1);
        }
    }

    fn list_services(&self, input: &Value) -> Answer {
        let cluster = self.cluster(input)?;
        let own = self.services.values().filter(|service| service.cluster == cluster);
        Ok(page("serviceArns", own.map(|service| json!(service.arn())), input))
    }

    fn update_service(&mut self, input: &Value, now: u64) -> Answer {
        let key = self.service_key(input)?;
        let definition = match text(input, "taskDefinition") {
            Some(name) => Some(self.usable_definition(name)?),
            None => None,
        };
        let service = self.services.get_mut(&key).expect("looked up above");
        if service.status != "ACTIVE" {
            return Err(Refusal::new("ServiceNotActiveException", "Service was not ACTIVE."));
        }
        let mut deploys = input["forceNewDeployment"] == true;
        if let Some(definition) = definition {
            deploys |= definition != service.task_definition;
            service.task_definition = definition;
        }
        for (name, brings_deployment) in FIELDS {
            let Some(value) = input.get(name).filter(|value| !value.is_null()) else { continue };
            let old = service.fields.insert(name.to_owned(), value.clone());
            deploys |= brings_deployment && old.as_ref() != Some(value);
        }
        if let Some(count) = input["desiredCount"].as_u64() {
            service.desired_count = count;
        }
        if deploys {
            self.begin_deployment(&key, now);
        }
        let service = &self.services[&key];
        let shape = self.service_shape(service, false);
        self.look(&key);
        Ok(json!({ "service": shape }))
    }

    fn describe_definition(&self, input: &Value) -> Answer {
        let name = text(input, "taskDefinition").unwrap_or_default();
        let Some(definition) = self.find_definition(name) else {
            return Err(Refusal::client("Unable to describe task definition."));
        };
        let tags = includes_tags(input).then_some(&definition.tags);
        Ok(json!({ "taskDefinition": definition.shape(), "tags": tags }))
    }

    fn register_definition(&mut self, input: &Value, now: u64) -> Answer {
        let containers = input["containerDefinitions"].as_array();
        if containers.is_none_or(Vec::is_empty) {
            return Err(Refusal::client("Container list cannot be empty."));
        }
        let nameless = |one: &Value| text(one, "name").is_none() || text(one, "image").is_none();
        if containers.into_iter().flatten().any(nameless) {
            return Err(Refusal::client(
                "Container.name and Container.image should not be null or empty.",
            ));
        }
        let definition = self.register(input, now);
        let tags = (!definition.tags.is_empty()).then_some(&definition.tags);
        Ok(json!({ "taskDefinition": definition.shape(), "tags": tags }))
    }

    fn list_definitions(&self, input: &Value) -> Value {
        let status = text(input, "status").unwrap_or("ACTIVE");
        let prefix = text(input, "familyPrefix");
        let own = self.task_definitions.iter();
        let own = own.filter(|one| prefix.is_none_or(|prefix| one.family == prefix));
        let mut own: Vec<_> = own.filter(|one| one.status == status).collect();
        own.sort_by_key(|one| (one.family.clone(), one.revision));
        if text(input, "sort") == Some("DESC") {
            own.reverse();
        }
        page("taskDefinitionArns", own.into_iter().map(|one| json!(one.arn())), input)
    }

    fn list_deployments(&mut self, input: &Value) -> Answer {
        let key = self.service_key(input)?;
        self.refuse_old_style(&key)?;
        let statuses = texts(&input["status"]);
        let bound = |name: &str| input["createdAt"][name].as_f64();
        let (after, before) = (bound("after"), bound("before"));
        let fits = |one: &&Deployment| {
            let created = one.created_ms as f64 / 1000.0;
            (statuses.is_empty() || statuses.iter().any(|status| status == one.status.name()))
                && after.is_none_or(|after| after <= created)
                && before.is_none_or(|before| created <= before)
        };
        let hidden = usize::from(0 < self.services[&key].hidden);
        let newest_first = self.deployments.iter().rev().filter(|one| one.service == key);
        let briefs = newest_first.skip(hidden).filter(fits).map(|one| self.deployment_brief(one));
        let answer = page("serviceDeployments", briefs, input);
        self.look(&key);
        Ok(answer)
    }

    fn describe_deployments(&self, input: &Value) -> Answer {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in texts(&input["serviceDeploymentArns"]) {
            match self.deployments.iter().find(|one| one.arn == arn) {
                Some(one) => {
                    self.refuse_old_style(&one.service)?;
                    found.push(self.deployment_shape(one));
                }
                None => failures.push(missing_one(&arn)),
            }
        }
        Ok(json!({ "serviceDeployments": found, "failures": failures }))
    }

    fn describe_revisions(&self, input: &Value) -> Answer {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for arn in texts(&input["serviceRevisionArns"]) {
            let mut services = self.services.values();
            match services.find_map(|service| service.revision(&arn).map(|one| (service, one))) {
                Some((service, revision)) => found.push(self.revision_shape(service, revision)),
                None => failures.push(missing_one(&arn)),
            }
        }
        Ok(json!({ "serviceRevisions": found, "failures": failures }))
    }

    fn stop_deployment(&mut self, input: &Value, now: u64) -> Answer {
        let (index, arn) = self.deployment_index(input)?;
        let deployment = &self.deployments[index];
        if !deployment.status.goes_forward() {
            let status = deployment.status.name();
            let message =
                format!("Cannot stop service deployment because it is in {status} status.");
            return Err(Refusal::new("ConflictException", message));
        }
        let at = self.stamp(now);
        if text(input, "stopType") == Some("ABORT") {
            self.request_stop(index, "Service deployment stopped by user request.", at);
        } else {
            self.request_rollback(index, "Service deployment rolled back by user request.", at);
        }
        Ok(json!({ "serviceDeploymentArn": arn }))
    }

    fn continue_deployment(&mut self, input: &Value, now: u64) -> Answer {
        let (index, arn) = self.deployment_index(input)?;
        let at = self.stamp(now);
        let wanted = text(input, "hookId").unwrap_or_default();
        let deployment = &mut self.deployments[index];
        let goes_forward = deployment.status.goes_forward();
        let hook = deployment.hooks.iter_mut().find(|hook| hook.id == wanted);
        let Some(hook) = hook.filter(|hook| goes_forward && hook.status == "AWAITING_ACTION")
        else {
            let message = format!("Lifecycle hook {wanted} is not awaiting action.");
            return Err(Refusal::invalid(message));
        };
        if text(input, "action") == Some("ROLLBACK") {
            hook.status = "FAILED";
            self.request_rollback(index, "Service deployment rolled back at a lifecycle hook.", at);
        } else {
            hook.status = "SUCCEEDED";
            deployment.updated_ms = at;
        }
        Ok(json!({ "serviceDeploymentArn": arn }))
    }

    fn list_tasks(&self, input: &Value) -> Answer {
        let cluster = self.cluster(input)?;
        let desired = text(input, "desiredStatus").unwrap_or("RUNNING");
        if let Some(name) = text(input, "serviceName") {
            self.known_service(&(cluster.clone(), last_part(name).to_owned()))?;
        }
        let group = text(input, "serviceName").map(|name| format!("service:{}", last_part(name)));
        let family = text(input, "family");
        let started_by = text(input, "startedBy");
        let fits = |task: &&Task| {
            task.cluster == cluster
                && task.desired_status == desired
                && group.as_ref().is_none_or(|group| task.group == *group)
                && started_by.is_none_or(|by| task.started_by.as_deref() == Some(by))
                && family.is_none_or(|family| {
                    let name = last_part(&task.task_definition);
                    name.split(':').next() == Some(family)
                })
        };
        let own = self.tasks.iter().filter(fits);
        Ok(page("taskArns", own.map(|task| json!(task.arn)), input))
    }

    fn describe_tasks(&self, input: &Value) -> Answer {
        let cluster = self.cluster(input)?;
        let with_tags = includes_tags(input);
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in texts(&input["tasks"]) {
            let id = last_part(&name);
            let mut own = self.tasks.iter().filter(|task| task.cluster == cluster);
            match own.find(|task| task.id() == id) {
                Some(task) => found.push(self.task_shape(task, with_tags)),
                None => failures.push(missing_one(&arn("task", &format!("{cluster}/{id}")))),
            }
        }
        Ok(json!({ "tasks": found, "failures": failures }))
    }

    fn run_task(&mut self, input: &Value, now: u64, logs: &mut Logs) -> Answer {
        let cluster = self.cluster(input)?;
        let definition =
            self.usable_definition(text(input, "taskDefinition").unwrap_or_default())?;
        let count = input["count"].as_u64().unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(Refusal::invalid("The count must be between 1 and 10."));
        }
        self.refuse_unknown_containers(&definition, &input["overrides"])?;
        let token = text(input, "clientToken").map(str::to_owned);
        if let Some((first, arns)) = token.as_ref().and_then(|token| self.tokens.get(token)) {
            if first != input {
                let message = "The request's client token was used before with other parameters.";
                return Err(Refusal::new("ConflictException", message));
            }
            let own = self.tasks.iter().filter(|task| arns.contains(&task.arn));
            let shapes: Vec<_> = own.map(|task| self.task_shape(task, true)).collect();
            return Ok(json!({ "tasks": shapes, "failures": [] }));
        }
        let family = last_part(&definition).split(':').next().unwrap_or_default().to_owned();
        let group = text(input, "group").map_or_else(|| format!("family:{family}"), str::to_owned);
        let mut arns = Vec::new();
        for _ in 0..count {
            let by = text(input, "startedBy").map(str::to_owned);
            let task = self.start_task(&cluster, &group, by, &definition, now);
            if !input["overrides"].is_null() {
                task.overrides = input["overrides"].clone();
            }
            task.tags = input["tags"].as_array().cloned().unwrap_or_default();
            arns.push(task.arn.clone());
        }
        if let Some(token) = token {
            self.tokens.insert(token, (input.clone(), arns.clone()));
        }
        let started: Vec<_> = self.tasks.iter().filter(|task| arns.contains(&task.arn)).collect();
        started.iter().for_each(|task| self.create_log(task, now, logs));
        let shapes: Vec<_> = started.iter().map(|task| self.task_shape(task, true)).collect();
        Ok(json!({ "tasks": shapes, "failures": [] }))
    }

    fn refuse_unknown_containers(
        &self,
        definition: &str,
        overrides: &Value,
    ) -> Result<(), Refusal> {
        let definition = self.find_definition(definition);
        let names: Vec<_> = definition
            .into_iter()
            .flat_map(|one| one.containers())
            .filter_map(|one| one["name"].as_str())
            .collect();
        let overridden = overrides["containerOverrides"].as_array().into_iter().flatten();
        for name in overridden.filter_map(|one| one["name"].as_str()) {
            if !names.contains(&name) {
                let message = format!(
                    "Override for container named {name} is not a container in the TaskDefinition."
                );
                return Err(Refusal::invalid(message));
            }
        }
        Ok(())
    }

    fn stop_task(&mut self, input: &Value, now: u64) -> Answer {
        let cluster = self.cluster(input)?;
        let at = self.stamp(now);
        let id = last_part(text(input, "task").unwrap_or_default()).to_owned();
        let mut own = self.tasks.iter_mut().filter(|task| task.cluster == cluster);
        let Some(task) = own.find(|task| task.id() == id) else {
            return Err(Refusal::invalid("The referenced task was not found."));
        };
        if task.is_alive() {
            let reason = text(input, "reason").unwrap_or("Task stopped by user");
            task.stop("UserInitiated", reason, at);
        }
        let task = task.clone();
        Ok(json!({ "task": self.task_shape(&task, false) }))
    }

    fn tag(&mut self, input: &Value) -> Answer {
        let wanted = text(input, "resourceArn").unwrap_or_default().to_owned();
        let new = input["tags"].as_array().cloned().unwrap_or_default();
        let services = self.services.values_mut();
        let services = services.map(|service| (service.arn(), &mut service.tags));
        let definitions = self.task_definitions.iter_mut();
        let definitions = definitions.map(|one| (one.arn(), &mut one.tags));
        let tasks = self.tasks.iter_mut().map(|task| (task.arn.clone(), &mut task.tags));
        let mut all = services.chain(definitions).chain(tasks);
        let Some((_, tags)) = all.find(|(arn, _)| *arn == wanted) else {
            let message = "The specified resource is not found.";
            return Err(Refusal::new("ResourceNotFoundException", message));
        };
        tags.retain(|old| new.iter().all(|tag| tag["key"] != old["key"]));
        tags.extend(new);
        Ok(json!({}))
    }

    fn cluster(&self, input: &Value) -> Result<String, Refusal> {
        let name = last_part(text(input, "cluster").unwrap_or("default"));
        if self.clusters.contains(name) {
            return Ok(name.to_owned());
        }
        Err(Refusal::new("ClusterNotFoundException", "Cluster not found."))
    }

    fn service_key(&self, input: &Value) -> Result<Key, Refusal> {
        let name = last_part(text(input, "service").unwrap_or_default()).to_owned();
        let key = (self.cluster(input)?, name);
        self.known_service(&key)?;
        Ok(key)
    }

    fn known_service(&self, key: &Key) -> Result<&Service, Refusal> {
        let service = self.services.get(key);
        service.ok_or_else(|| Refusal::new("ServiceNotFoundException", "Service not found."))
    }

    fn usable_definition(&self, name: &str) -> Result<String, Refusal> {
        match self.find_definition(name) {
            Some(definition) if definition.status == "ACTIVE" => Ok(definition.arn()),
            Some(_) => Err(Refusal::client("TaskDefinition is inactive")),
            None => Err(Refusal::client("TaskDefinition not found.")),
        }
    }

    fn refuse_old_style(&self, key: &Key) -> Result<(), Refusal> {
        if self.services.get(key).is_some_and(|service| service.old_style) {
            let message = "Service deployments are not supported for this service.";
            return Err(Refusal::new("UnsupportedFeatureException", message));
        }
        Ok(())
    }

    fn deployment_index(&self, input: &Value) -> Result<(usize, String), Refusal> {
        let arn = text(input, "serviceDeploymentArn").unwrap_or_default();
        let Some(index) = self.deployments.iter().position(|one| one.arn == arn) else {
            let message = "Service deployment not found.";
            return Err(Refusal::new("ServiceDeploymentNotFoundException", message));
        };
        self.refuse_old_style(&self.deployments[index].service)?;
        Ok((index, arn.to_owned()))
    }
}

fn text<'a>(input: &'a Value, name: &str) -> Option<&'a str> {
    input[name].as_str().filter(|text| !text.is_empty())
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn includes_tags(input: &Value) -> bool {
    texts(&input["include"]).iter().any(|field| field == "TAGS")
}

fn missing_one(arn: &str) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}

/// Cuts a page out of a list; the token is the place where the next one begins.
pub(crate) fn page(name: &str, items: impl Iterator<Item = Value>, input: &Value) -> Value {
    let start = text(input, "nextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let most = input["maxResults"].as_u64().map_or(MOST_PER_PAGE, |most| most as usize);
    let mut rest = items.skip(start);
    let items: Vec<_> = rest.by_ref().take(most).collect();
    let mut answer = Map::new();
    if rest.next().is_some() {
        answer.insert("nextToken".to_owned(), json!((start + items.len()).to_string()));
    }
    answer.insert(name.to_owned(), Value::Array(items));
    Value::Object(answer)
}
