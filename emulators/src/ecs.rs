//! A double of Amazon ECS: services, task definitions, tasks and service deployments that really roll out.
//!
//! It is a part of [`AwsEmulator`]; these are its handles there:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::time::Duration;
//! use windlass_emulators::aws::AwsEmulator;
//! use windlass_emulators::ecs::{NewService, TaskFate};
//!
//! let aws = AwsEmulator::start().await?;
//! // A cluster "shop", a family "web", revision 1, and two running tasks; all of it deployed.
//! let arn = aws.add_service(NewService::new("shop", "web", "registry.example/web:v1"));
//! aws.change_service("shop", "web", |service| service.circuit_breaker(true));
//! // … an SDK at `aws.url()` calls UpdateService …
//! aws.advance(Duration::from_secs(10)); // by hand, or `settle`: until nothing moves without a person
//! aws.settle();
//! aws.add_history(Duration::from_secs(60)); // what the tasks' log would have said before now
//! aws.ask("ecs:StopTask", &serde_json::json!({ "cluster": "shop", "task": "…" })).ok(); // any operation by hand
//! aws.fire_alarm("shop", "web", "web-5xx");
//! aws.set_fate(":v3", TaskFate::Crashes); // tags `:crash…`, `:nopull…`, `:unhealthy…` have theirs already
//! # Ok(())
//! # }
//! ```
//!
//! **Images decide what becomes of tasks.** A tag that begins with `crash` exits with 1, `nopull` cannot be
//! pulled, `unhealthy` fails its health checks, and one that contains `buggy` writes errors to its log as soon
//! as it gets traffic. The more of the traffic a version gets, the more its tasks write. All others are well; a task of `RunTask` then exits with 0.
//!
//! **Strategies.** `ROLLING` (the default), `BLUE_GREEN`, `CANARY` and `LINEAR`, taken from the
//! `deploymentConfiguration` of the service or of `UpdateService`. A `PAUSE` hook at `PRE_PRODUCTION_TRAFFIC_SHIFT`
//! pauses before every shift, so a canary pauses twice: before it gets its share, and before it gets the rest.
//! Each pause has a hook id of its own. Where AWS's documents leave something open, the double says so here:
//! the order of the stages is theirs; what a deployment is called that a newer one replaces (`STOPPED`) and
//! how soon `currentServiceDeployment` names a new one (at once; see [`Service`]'s field `hide_deployments`) is ours.

mod operations;
mod rollout;
mod shapes;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::aws::{ACCOUNT, AwsEmulator, REGION};
use crate::clock;

pub use self::rollout::{Deployment, Pace, Status};
pub use self::tasks::{Task, TaskFate};

/// A service whose tasks fail for ever settles never: two hours are waited for.
const MOST_STEPS_TO_SETTLE: u64 = 7_200;

/// A service to begin with.
#[derive(Debug, Clone)]
pub struct NewService {
    /// The cluster it runs in; it comes into being if need be.
    pub cluster: String,
    /// Its name, which is also the family of its task definition and the name of its container.
    pub name: String,
    /// The image of its container.
    pub image: String,
    /// How many tasks it wants.
    pub desired_count: u64,
    /// The log group its container writes to; none, and it writes nothing.
    pub log_group: Option<String>,
    /// More fields of the service, as AWS spells them: `deploymentConfiguration`, `networkConfiguration`, ….
    pub fields: Value,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// The cluster it runs in.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: String,
    /// How many tasks it wants.
    pub desired_count: u64,
    /// The ARN of the task definition it points to.
    pub task_definition: String,
    /// Its other fields, as AWS spells them.
    pub fields: Map<String, Value>,
    /// Its tags.
    pub tags: Vec<Value>,
    /// What happened to it, newest first: when, and what.
    pub events: Vec<(u64, String)>,
    /// Whether a rollback of it comes to nothing.
    pub rollback_fails: bool,
    /// Whether it knows no service deployments, as services of old did.
    pub old_style: bool,
    /// How many looks do not see a new service deployment yet.
    pub hide_deployments: u64,
    hidden: u64,
    created_ms: u64,
    revisions: Vec<Revision>,
    current: String,
    generations: Vec<Generation>,
}

/// What a service was at one time.
#[derive(Debug, Clone)]
struct Revision {
    arn: String,
    task_definition: String,
    created_ms: u64,
}

/// An entry of `deployments[]`.
#[derive(Debug, Clone)]
struct Generation {
    id: String,
    task_definition: String,
    revision: String,
    primary: bool,
    rollout_state: &'static str,
    reason: String,
    failed_tasks: u64,
    /// Whether its tasks shall run.
    scaled: bool,
    /// How much of the traffic it gets, in percent.
    traffic: f64,
    created_ms: u64,
    updated_ms: u64,
}

/// A revision of a task definition.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    /// What the revisions share.
    pub family: String,
    /// Its number.
    pub revision: u64,
    /// `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// What it was registered with.
    pub body: Map<String, Value>,
    /// Its tags.
    pub tags: Vec<Value>,
    registered_ms: u64,
}

/// What the double of ECS knows.
#[derive(Debug, Clone, Default)]
pub struct Ecs {
    /// The names of the clusters.
    pub clusters: BTreeSet<String>,
    /// The services by cluster and name.
    pub services: BTreeMap<(String, String), Service>,
    /// Every revision of every task definition, oldest first.
    pub task_definitions: Vec<TaskDefinition>,
    /// Every service deployment, oldest first.
    pub deployments: Vec<Deployment>,
    /// Every task, oldest first.
    pub tasks: Vec<Task>,
    /// How long things take.
    pub pace: Pace,
    fates: Vec<(String, TaskFate)>,
    tokens: BTreeMap<String, (Value, Vec<String>)>,
    last_id: u64,
    last_ms: u64,
}

impl NewService {
    /// A service of two tasks that writes its log to `/ecs/NAME`.
    pub fn new(cluster: &str, name: &str, image: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            image: image.to_owned(),
            desired_count: 2,
            log_group: Some(format!("/ecs/{name}")),
            fields: json!({}),
        }
    }

    /// What its task definition is registered with.
    fn task_definition(&self) -> Value {
        let log = self.log_group.as_ref().map(|group| {
            json!({ "logDriver": "awslogs", "options": {
                "awslogs-group": group, "awslogs-region": REGION, "awslogs-stream-prefix": "ecs",
            } })
        });
        let mut container = json!({
            "name": self.name, "image": self.image, "cpu": 0, "essential": true,
            "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }],
            "environment": [], "mountPoints": [], "volumesFrom": [],
        });
        if let Some(log) = log {
            container["logConfiguration"] = log;
        }
        json!({
            "family": self.name, "containerDefinitions": [container], "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "executionRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/ecsTaskExecutionRole"),
        })
    }
}

impl Service {
    /// Turns the circuit breaker on, with or without rolling back.
    pub fn circuit_breaker(&mut self, rollback: bool) {
        let breaker = json!({ "enable": true, "rollback": rollback });
        self.configuration_mut().insert("deploymentCircuitBreaker".to_owned(), breaker);
    }

    /// The ARN.
    pub fn arn(&self) -> String {
        arn("service", &format!("{}/{}", self.cluster, self.name))
    }

    /// Its deployment configuration, which new deployments follow.
    pub fn configuration_mut(&mut self) -> &mut Map<String, Value> {
        let value = self.fields.entry("deploymentConfiguration").or_insert_with(|| json!({}));
        value.as_object_mut().expect("a deployment configuration is an object")
    }

    fn say(&mut self, at: u64, what: &str) {
        self.events.insert(0, (at, format!("(service {}) {what}", self.name)));
    }

    fn generation_of(&mut self, revision: &str) -> Option<&mut Generation> {
        self.generations.iter_mut().rev().find(|generation| generation.revision == revision)
    }

    fn revision(&self, arn: &str) -> Option<&Revision> {
        self.revisions.iter().find(|revision| revision.arn == arn)
    }
}

impl TaskDefinition {
    /// The ARN.
    pub fn arn(&self) -> String {
        arn("task-definition", &format!("{}:{}", self.family, self.revision))
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        self.body.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten()
    }
}

impl AwsEmulator {
    /// A copy of everything that ECS knows now.
    pub fn ecs(&self) -> Ecs {
        self.world().ecs.clone()
    }

    /// Changes by hand what ECS knows.
    pub fn change_ecs<T>(&self, change: impl FnOnce(&mut Ecs) -> T) -> T {
        change(&mut self.world().ecs)
    }

    /// Creates a cluster.
    pub fn add_cluster(&self, name: &str) {
        self.world().ecs.clusters.insert(name.to_owned());
    }

    /// Creates a service whose tasks run already, and returns its ARN.
    pub fn add_service(&self, new: NewService) -> String {
        let world = &mut *self.world();
        world.ecs.add_service(new, &mut world.logs)
    }

    /// Changes a service by hand.
    ///
    /// # Panics
    ///
    /// When there is no such service.
    pub fn change_service<T>(
        &self,
        cluster: &str,
        name: &str,
        change: impl FnOnce(&mut Service) -> T,
    ) -> T {
        let key = (cluster.to_owned(), name.to_owned());
        change(self.world().ecs.services.get_mut(&key).expect("the service was added"))
    }

    /// Registers a task definition, spelt as in `RegisterTaskDefinition`, and returns its ARN.
    pub fn register_task_definition(&self, definition: &Value) -> String {
        self.world().ecs.register(definition, clock::now_ms()).arn()
    }

    /// Writes what the running tasks would have written to their logs in the time before now.
    pub fn add_history(&self, back: Duration) {
        let world = &mut *self.world();
        let speed = world.speed();
        let (now, back) = (clock::now_ms(), u64::try_from(back.as_millis()).unwrap_or_default());
        world.ecs.write_history(now, back, speed, &mut world.logs);
    }

    /// Decides what becomes of tasks whose image contains a text; the last word about an image counts.
    pub fn set_fate(&self, image: &str, fate: TaskFate) {
        self.world().ecs.fates.push((image.to_owned(), fate));
    }

    /// Advances until no rollout and no task moves any further without a person.
    pub fn settle(&self) {
        let world = &mut *self.world();
        for _ in 0..MOST_STEPS_TO_SETTLE {
            if world.ecs.is_settled() {
                return;
            }
            world.ecs.advance(rollout::STEP_MS, clock::now_ms(), None, &mut world.logs);
        }
    }

    /// Ends a deployment as when an alarm fires, and returns whether there was one to end.
    pub fn fire_alarm(&self, cluster: &str, service: &str, alarm: &str) -> bool {
        self.world().ecs.fire_alarm(cluster, service, alarm, clock::now_ms())
    }
}

impl Ecs {
    /// Times of records never repeat and never go back, so that their order can be told.
    fn stamp(&mut self, now: u64) -> u64 {
        self.last_ms = now.max(self.last_ms + 1);
        self.last_ms
    }

    fn take_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A name as random ones look.
    fn take_hex(&mut self, length: usize) -> String {
        let id = self.take_id();
        let long = format!("{:016x}{id:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        long.chars().cycle().take(length).collect()
    }

    fn add_service(&mut self, new: NewService, logs: &mut crate::logs::Logs) -> String {
        let now = self.stamp(clock::now_ms());
        self.clusters.insert(new.cluster.clone());
        let definition = self.register(&new.task_definition(), now).arn();
        let mut fields = json!({
            "launchType": "FARGATE", "platformVersion": "1.4.0", "schedulingStrategy": "REPLICA",
            "deploymentController": { "type": "ECS" },
            "deploymentConfiguration": { "maximumPercent": 200, "minimumHealthyPercent": 100 },
            "networkConfiguration": { "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED",
            } },
            "loadBalancers": [], "enableECSManagedTags": true, "propagateTags": "SERVICE",
        });
        let all = fields.as_object_mut().expect("written as an object above");
        all.extend(new.fields.as_object().cloned().unwrap_or_default());
        let service = Service {
            cluster: new.cluster.clone(),
            name: new.name.clone(),
            status: "ACTIVE".to_owned(),
            desired_count: new.desired_count,
            task_definition: definition,
            fields: all.clone(),
            tags: Vec::new(),
            events: Vec::new(),
            rollback_fails: false,
            old_style: false,
            hide_deployments: 0,
            hidden: 0,
            created_ms: now,
            revisions: Vec::new(),
            current: String::new(),
            generations: Vec::new(),
        };
        let (key, arn) = ((new.cluster.clone(), new.name.clone()), service.arn());
        self.services.insert(key.clone(), service);
        self.begin_deployment(&key, now);
        self.complete_at_once(&key, now, logs);
        arn
    }

    fn register(&mut self, definition: &Value, now: u64) -> TaskDefinition {
        let mut body = definition.as_object().cloned().unwrap_or_default();
        let tags = body.remove("tags").and_then(|tags| tags.as_array().cloned());
        let family = body.get("family").and_then(Value::as_str).unwrap_or("family").to_owned();
        let of_family = self.task_definitions.iter().filter(|other| other.family == family);
        let revision = of_family.map(|other| other.revision).max().unwrap_or_default() + 1;
        let definition = TaskDefinition {
            family,
            revision,
            status: "ACTIVE".to_owned(),
            body,
            tags: tags.unwrap_or_default(),
            registered_ms: self.stamp(now),
        };
        self.task_definitions.push(definition.clone());
        definition
    }

    /// The task definition that an ARN, `family:revision` or a family names.
    fn find_definition(&self, name: &str) -> Option<&TaskDefinition> {
        let name = name.rsplit_once("task-definition/").map_or(name, |(_, name)| name);
        let mut newest_first = self.task_definitions.iter().rev();
        match name.split_once(':') {
            Some((family, revision)) => newest_first
                .find(|own| own.family == family && own.revision.to_string() == revision),
            None => newest_first.find(|own| own.family == name && own.status == "ACTIVE"),
        }
    }
}

/// The ARN of a thing of ECS.
fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}")
}

/// The last part of an ARN or of a path.
fn last_part(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
