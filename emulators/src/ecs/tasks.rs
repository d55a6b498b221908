//! What becomes of tasks: those that services keep, and those that `RunTask` starts.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Ecs, Service, arn};
use crate::logs::Logs;

/// Stopped tasks are forgotten beyond so many, as AWS forgets them after an hour.
const MOST_STOPPED: usize = 200;

/// Lines of a past that never was are so far from each other at least.
const HISTORY_STEP_MS: u64 = 100;

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskFate {
    /// It runs; started by `RunTask` it exits with 0.
    Runs,
    /// Its container exits with 1.
    Crashes,
    /// Its image cannot be pulled.
    CannotBePulled,
    /// It runs and fails its health checks.
    IsUnhealthy,
    /// It runs, also when started by `RunTask`, until somebody stops it.
    RunsOn,
}

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// The name of its cluster.
    pub cluster: String,
    /// `service:NAME` or `family:NAME`.
    pub group: String,
    /// The deployment of a service, or whoever `RunTask` named.
    pub started_by: Option<String>,
    /// The ARN of its task definition.
    pub task_definition: String,
    /// `PENDING`, `RUNNING` or `STOPPED`.
    pub last_status: &'static str,
    /// `RUNNING` or `STOPPED`.
    pub desired_status: &'static str,
    /// Why it stopped, by a name.
    pub stop_code: Option<&'static str>,
    /// Why it stopped, in words.
    pub stopped_reason: Option<String>,
    /// What its container exited with.
    pub exit_code: Option<i64>,
    /// What `RunTask` was given for it, as AWS spells it.
    pub overrides: Value,
    pub(super) container_reason: Option<String>,
    pub(super) tags: Vec<Value>,
    pub(super) healthy: bool,
    pub(super) created_ms: u64,
    pub(super) started_ms: Option<u64>,
    pub(super) stopped_ms: Option<u64>,
    fate: TaskFate,
    spent_ms: u64,
    unlogged_ms: f64,
    lines: u64,
}

impl Task {
    /// The last part of its ARN.
    pub fn id(&self) -> &str {
        super::last_part(&self.arn)
    }

    /// Whether a service keeps it.
    pub fn is_of_service(&self) -> bool {
        self.group.starts_with("service:")
    }

    /// Whether it will do something by itself.
    pub(super) fn moves(&self) -> bool {
        let ends = !self.is_of_service() && self.fate != TaskFate::RunsOn;
        self.last_status == "PENDING"
            || (self.last_status == "RUNNING"
                && (ends || matches!(self.fate, TaskFate::Crashes | TaskFate::IsUnhealthy)))
    }

    pub(super) fn is_alive(&self) -> bool {
        self.last_status != "STOPPED"
    }

    pub(super) fn stop(&mut self, code: &'static str, reason: &str, at: u64) {
        (self.last_status, self.desired_status) = ("STOPPED", "STOPPED");
        (self.stop_code, self.stopped_ms) = (Some(code), Some(at));
        self.stopped_reason = Some(reason.to_owned());
        if self.exit_code.is_none() && self.started_ms.is_some() {
            // 128 + SIGTERM.
            self.exit_code = Some(143);
        }
    }
}

/// A digest as registries have them: the same for the same name.
pub(super) fn digest_of(image: &str) -> String {
    let bytes = Sha256::digest(image.as_bytes());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The tag of an image; none for a digest.
pub(super) fn tag_of(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    super::last_part(name).split_once(':').map_or("latest", |(_, tag)| tag)
}

impl Ecs {
    fn fate_of(&self, image: &str) -> TaskFate {
        let told = self.fates.iter().rev().find(|(part, _)| image.contains(part));
        let tag = tag_of(image);
        match told {
            Some((_, fate)) => *fate,
            None if tag.starts_with("crash") => TaskFate::Crashes,
            None if tag.starts_with("nopull") => TaskFate::CannotBePulled,
            None if tag.starts_with("unhealthy") => TaskFate::IsUnhealthy,
            None => TaskFate::Runs,
        }
    }

    /// The image of the first container of a task definition.
    pub(super) fn image_of(&self, task_definition: &str) -> String {
        let definition = self.find_definition(task_definition);
        let container = definition.and_then(|definition| definition.containers().next());
        let image = container.and_then(|container| container["image"].as_str());
        image.unwrap_or_default().to_owned()
    }

    pub(super) fn start_task(
        &mut self,
        cluster: &str,
        group: &str,
        started_by: Option<String>,
        task_definition: &str,
        now: u64,
    ) -> &mut Task {
        let fate = self.fate_of(&self.image_of(task_definition));
        let id = self.take_hex(32);
        let created_ms = self.stamp(now);
        self.tasks.push(Task {
            arn: arn("task", &format!("{cluster}/{id}")),
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            started_by,
            task_definition: task_definition.to_owned(),
            last_status: "PENDING",
            desired_status: "RUNNING",
            stop_code: None,
            stopped_reason: None,
            exit_code: None,
            overrides: json!({ "containerOverrides": [] }),
            container_reason: None,
            tags: Vec::new(),
            healthy: true,
            created_ms,
            started_ms: None,
            stopped_ms: None,
            fate,
            spent_ms: 0,
            unlogged_ms: 0.0,
            lines: 0,
        });
        self.tasks.last_mut().expect("pushed above")
    }

    pub(super) fn running_tasks(&self, generation: &str) -> u64 {
        self.count_tasks(generation, "RUNNING")
    }

    /// Tasks that run and will not fail in a moment.
    pub(super) fn well_tasks(&self, generation: &str) -> u64 {
        let own = self.tasks.iter().filter(|task| task.started_by.as_deref() == Some(generation));
        own.filter(|task| task.last_status == "RUNNING" && !task.moves()).count() as u64
    }

    pub(super) fn count_tasks(&self, generation: &str, status: &str) -> u64 {
        let own = self.tasks.iter().filter(|task| task.started_by.as_deref() == Some(generation));
        own.filter(|task| task.last_status == status).count() as u64
    }

    pub(super) fn move_tasks(&mut self, ms: u64, now: u64, logs: &mut Logs) {
        for index in 0..self.tasks.len() {
            if self.tasks[index].is_alive() {
                self.tasks[index].spent_ms += ms;
                self.move_task(index, now);
                self.write_log(index, ms, now, logs);
            }
        }
        self.forget_tasks();
    }

    fn move_task(&mut self, index: usize, now: u64) {
        let (pace, at) = (self.pace, self.stamp(now));
        let image = self.image_of(&self.tasks[index].task_definition);
        let task = &mut self.tasks[index];
        if task.last_status == "PENDING" {
            if task.spent_ms < pace.task_start_ms {
                return;
            }
            task.spent_ms = 0;
            if task.fate == TaskFate::CannotBePulled {
                let reason = format!(
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found"
                );
                task.container_reason = Some(reason.clone());
                task.stop("TaskFailedToStart", &reason, at);
                self.count_failure(index, "was unable to start a task", at);
                return;
            }
            (task.last_status, task.started_ms) = ("RUNNING", Some(at));
            task.healthy = task.fate != TaskFate::IsUnhealthy;
            return;
        }
        let of_service = task.is_of_service();
        match task.fate {
            TaskFate::Crashes => {
                task.exit_code = Some(1);
                task.stop("EssentialContainerExited", "Essential container in task exited", at);
                self.count_failure(index, "a container exited", at);
            }
            TaskFate::IsUnhealthy if of_service && pace.stage_ms <= task.spent_ms => {
                let reason = "Task failed container health checks";
                task.stop("ServiceSchedulerInitiated", reason, at);
                self.count_failure(index, "failed container health checks", at);
            }
            TaskFate::Runs | TaskFate::IsUnhealthy
                if !of_service && pace.task_run_ms <= task.spent_ms =>
            {
                task.exit_code = Some(0);
                task.stop("EssentialContainerExited", "Essential container in task exited", at);
            }
            _ => {}
        }
    }

    /// A task of a service came to grief: its deployment counts it.
    fn count_failure(&mut self, index: usize, what: &str, at: u64) {
        let task = &self.tasks[index];
        let Some(name) = task.group.strip_prefix("service:") else { return };
        let key = (task.cluster.clone(), name.to_owned());
        let Some(service) = self.services.get_mut(&key) else { return };
        service.say(at, &format!("(task {}) {what}.", task.id()));
        let own = |id: &str| task.started_by.as_deref() == Some(id);
        let Some(generation) = service.generations.iter_mut().find(|one| own(&one.id)) else {
            return;
        };
        generation.failed_tasks += 1;
        let revision = generation.revision.clone();
        let deployments = self.deployments.iter_mut().filter(|one| one.target == revision);
        deployments.for_each(|deployment| deployment.failures += 1);
    }

    /// Starts and stops tasks until every service has what it wants.
    pub(super) fn scale_services(&mut self, now: u64) {
        let keys: Vec<_> = self.services.keys().cloned().collect();
        for key in keys {
            let Some(service) = self.services.get(&key).cloned() else { continue };
            let at = self.stamp(now);
            self.stop_strays(&service, at);
            for generation in &service.generations {
                let wanted = if generation.scaled { service.desired_count } else { 0 };
                self.scale(&service, &generation.id, wanted, at);
            }
        }
    }

    fn scale(&mut self, service: &Service, generation: &str, wanted: u64, at: u64) {
        let own = |task: &&mut Task| task.started_by.as_deref() == Some(generation);
        let alive = self.tasks.iter_mut().filter(own).filter(|task| task.is_alive());
        let mut count = 0;
        for task in alive {
            count += 1;
            if wanted < count {
                let reason = format!("Scaling activity initiated by (deployment {generation})");
                task.stop("ServiceSchedulerInitiated", &reason, at);
            }
        }
        let definition = service.generations.iter().find(|one| one.id == generation);
        let Some(definition) = definition.map(|one| one.task_definition.clone()) else { return };
        let group = format!("service:{}", service.name);
        let mut started = Vec::new();
        for _ in count..wanted.max(count) {
            let by = Some(generation.to_owned());
            let task = self.start_task(&service.cluster, &group, by, &definition, at);
            started.push(format!("(task {})", task.id()));
        }
        let key = (service.cluster.clone(), service.name.clone());
        if let (false, Some(service)) = (started.is_empty(), self.services.get_mut(&key)) {
            let all = started.join(" ");
            service.say(at, &format!("has started {} tasks: {all}.", started.len()));
        }
    }

    /// Stops tasks of deployments that the service no longer has.
    fn stop_strays(&mut self, service: &Service, at: u64) {
        let group = format!("service:{}", service.name);
        let own = self.tasks.iter_mut();
        let own = own.filter(|task| task.cluster == service.cluster && task.group == group);
        for task in own.filter(|task| task.is_alive()) {
            let kept = |id: &str| task.started_by.as_deref() == Some(id);
            if !service.generations.iter().any(|one| kept(&one.id)) {
                task.stop("ServiceSchedulerInitiated", "Task of a replaced deployment", at);
            }
        }
    }

    fn forget_tasks(&mut self) {
        let stopped = self.tasks.iter().filter(|task| !task.is_alive()).count();
        let mut surplus = stopped.saturating_sub(MOST_STOPPED);
        self.tasks.retain(|task| {
            let forgotten = 0 < surplus && !task.is_alive();
            surplus -= usize::from(forgotten);
            !forgotten
        });
    }

    /// Where the first container of a task writes its log: the group, and the stream.
    fn log_of(&self, task: &Task) -> Option<(String, String)> {
        let container = self.find_definition(&task.task_definition)?.containers().next()?;
        let options = &container["logConfiguration"]["options"];
        let prefix = options["awslogs-stream-prefix"].as_str().unwrap_or("ecs");
        let stream = format!("{prefix}/{}/{}", container["name"].as_str()?, task.id());
        Some((options["awslogs-group"].as_str()?.to_owned(), stream))
    }

    pub(super) fn write_history(&mut self, now: u64, back: u64, speed: f64, logs: &mut Logs) {
        let mut ago = back;
        while 0 < ago {
            let step = ago.min(HISTORY_STEP_MS);
            ago -= step;
            for index in 0..self.tasks.len() {
                let passed = step as f64 * speed;
                self.write_log(index, passed as u64, now.saturating_sub(ago), logs);
            }
        }
    }

    fn write_log(&mut self, index: usize, ms: u64, now: u64, logs: &mut Logs) {
        let task = &self.tasks[index];
        let Some((group, stream)) = self.log_of(task) else { return };
        let image = self.image_of(&task.task_definition);
        let traffic = self.traffic_of(task);
        // Where there are requests, there are lines: as many as the share of the traffic.
        let heard = if 0.0 < traffic { ms as f64 * traffic / 100.0 } else { ms as f64 };
        let every = self.pace.log_ms.max(1) as f64;
        let task = &mut self.tasks[index];
        if let (Some(1), "STOPPED") = (task.exit_code, task.last_status) {
            logs.put(&group, &stream, now, "panicked at src/main.rs:41: DATABASE_URL is not set");
            return;
        }
        if task.last_status != "RUNNING" {
            return;
        }
        if task.lines == 0 {
            task.lines = 1;
            logs.put(&group, &stream, now, &format!("INFO started, version {}", tag_of(&image)));
        }
        task.unlogged_ms += heard;
        while every <= task.unlogged_ms {
            task.unlogged_ms -= every;
            for line in lines(task.lines, tag_of(&image), 0.0 < traffic) {
                logs.put(&group, &stream, now, &line);
            }
            task.lines += 1;
        }
    }

    /// How much of the traffic the tasks get that a task belongs to, in percent.
    fn traffic_of(&self, task: &Task) -> f64 {
        let Some(name) = task.group.strip_prefix("service:") else { return 100.0 };
        let service = self.services.get(&(task.cluster.clone(), name.to_owned()));
        let generations = service.map(|service| &service.generations).into_iter().flatten();
        let mut own = generations.filter(|one| task.started_by.as_deref() == Some(&one.id));
        own.next().map_or(0.0, |generation| generation.traffic)
    }

    /// Log groups are there as soon as a service is.
    pub(super) fn create_log_groups(&self, key: &(String, String), now: u64, logs: &mut Logs) {
        let group = format!("service:{}", key.1);
        for task in self.tasks.iter().filter(|task| task.cluster == key.0 && task.group == group) {
            self.create_log(task, now, logs);
        }
    }

    pub(super) fn create_log(&self, task: &Task, now: u64, logs: &mut Logs) {
        if let Some((group, stream)) = self.log_of(task) {
            logs.create(&group, &stream, now);
        }
    }
}

/// What a task writes at one time: its own number counts, so that it is the same every time.
fn lines(number: u64, tag: &str, traffic: bool) -> Vec<String> {
    if !traffic {
        return vec!["INFO GET /health 200 in 1 ms".to_owned()];
    }
    let took = 20 + number * 7 % 60;
    let mut lines = vec![format!("INFO GET /orders/{} 200 in {took} ms", 1000 + number)];
    if number.is_multiple_of(5) {
        lines.push(format!("WARN slow query on table orders: {} ms", 900 + took));
    }
    if number.is_multiple_of(4) {
        lines.push(format!("ERROR upstream stock-service timed out after {} ms", 2000 + took));
    }
    if tag.contains("buggy") {
        let order = 1000 + number;
        lines.push(format!("ERROR PaymentError: order {order} has no currency (checkout.rs:214)"));
    }
    lines
}
