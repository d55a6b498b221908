//! How a service deployment gets from `PENDING` to its end.

use serde_json::Value;

use super::{Ecs, Generation, Revision, arn};
use crate::logs::Logs;

/// The time that passes in one step.
pub(super) const STEP_MS: u64 = 1_000;
/// The most steps that one call takes: a day.
pub(super) const MOST_STEPS: u64 = 24 * 3_600;
const MINUTE_MS: u64 = 60_000;
const DAY_IN_MINUTES: u64 = 1_440;
const BREAKER_REASON: &str =
    "Service deployment rolled back because the circuit breaker threshold was exceeded.";

/// How long things take, in milliseconds of rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How long a deployment is `PENDING`.
    pub pending_ms: u64,
    /// How long a stage takes that nothing else makes longer.
    pub stage_ms: u64,
    /// How long a task is `PENDING`.
    pub task_start_ms: u64,
    /// How long a task of `RunTask` runs.
    pub task_run_ms: u64,
    /// How long a rollback takes.
    pub rollback_ms: u64,
    /// How often a task writes to its log.
    pub log_ms: u64,
}

/// What a service deployment is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of AWS")]
pub enum Status {
    Pending,
    InProgress,
    Successful,
    StopRequested,
    Stopped,
    RollbackRequested,
    RollbackInProgress,
    RollbackSuccessful,
    RollbackFailed,
}

/// A service deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its ARN.
    pub arn: String,
    /// The cluster and the name of its service.
    pub service: (String, String),
    /// What it is at.
    pub status: Status,
    /// Why it is at that.
    pub reason: Option<String>,
    /// The revision it brings about.
    pub target: String,
    pub(super) sources: Vec<String>,
    pub(super) configuration: Value,
    pub(super) hooks: Vec<Hook>,
    pub(super) failures: u64,
    pub(super) alarm: Option<String>,
    pub(super) rollback: Option<(String, u64, String)>,
    pub(super) test_traffic: f64,
    pub(super) created_ms: u64,
    pub(super) started_ms: Option<u64>,
    pub(super) finished_ms: Option<u64>,
    pub(super) stopped_ms: Option<u64>,
    pub(super) updated_ms: u64,
    plan: Vec<Phase>,
    spent_ms: u64,
    entered: bool,
    hooks_raised: bool,
}

/// One hook that a deployment came to.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) target: Option<String>,
    pub(super) status: &'static str,
    pub(super) left_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) timeout_action: String,
}

/// A part of a deployment's way.
#[derive(Debug, Clone)]
struct Phase {
    stage: &'static str,
    /// The hooks that come before it.
    hooks: Option<&'static str>,
    least_ms: u64,
    /// The share of the traffic that it gives to the target.
    test: Option<f64>,
    production: Option<f64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            pending_ms: 2_000,
            stage_ms: 5_000,
            task_start_ms: 5_000,
            task_run_ms: 20_000,
            rollback_ms: 10_000,
            log_ms: 5_000,
        }
    }
}

impl Status {
    /// What AWS calls it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "PENDING",
            Status::InProgress => "IN_PROGRESS",
            Status::Successful => "SUCCESSFUL",
            Status::StopRequested => "STOP_REQUESTED",
            Status::Stopped => "STOPPED",
            Status::RollbackRequested => "ROLLBACK_REQUESTED",
            Status::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            Status::RollbackSuccessful => "ROLLBACK_SUCCESSFUL",
            Status::RollbackFailed => "ROLLBACK_FAILED",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(self) -> bool {
        match self {
            Status::Successful
            | Status::Stopped
            | Status::RollbackSuccessful
            | Status::RollbackFailed => true,
            Status::Pending
            | Status::InProgress
            | Status::StopRequested
            | Status::RollbackRequested
            | Status::RollbackInProgress => false,
        }
    }

    pub(super) fn goes_forward(self) -> bool {
        matches!(self, Status::Pending | Status::InProgress)
    }
}

impl Phase {
    fn new(stage: &'static str, hooks: Option<&'static str>, least_ms: u64) -> Self {
        Self { stage, hooks, least_ms, test: None, production: None }
    }

    fn production(percent: f64, least_ms: u64) -> Self {
        let hooks = Some("PRE_PRODUCTION_TRAFFIC_SHIFT");
        let phase = Self::new("PRODUCTION_TRAFFIC_SHIFT", hooks, least_ms);
        Self { production: Some(percent), ..phase }
    }
}

impl Deployment {
    /// The name of the stage it is in, while it moves forward.
    pub fn stage(&self) -> Option<&'static str> {
        let phase = self.plan.first().filter(|_| self.status == Status::InProgress);
        phase.map(|phase| phase.stage)
    }

    /// The id of the hook that waits for somebody's action.
    pub fn awaits(&self) -> Option<&str> {
        let hook = self.hooks.iter().find(|hook| hook.status == "AWAITING_ACTION");
        hook.filter(|_| self.status == Status::InProgress).map(|hook| hook.id.as_str())
    }

    pub(super) fn is_rolling(&self) -> bool {
        strategy(&self.configuration) == "ROLLING"
    }

    /// Failed tasks from which on the circuit breaker opens; none when it is off.
    pub(super) fn breaker_threshold(&self, desired: u64) -> Option<u64> {
        let breaker = &self.configuration["deploymentCircuitBreaker"];
        let on = self.is_rolling() && breaker["enable"] == true;
        on.then(|| desired.div_ceil(2).clamp(3, 200))
    }

    fn hooks_done(&self) -> bool {
        self.hooks.iter().all(|hook| !["AWAITING_ACTION", "IN_PROGRESS"].contains(&hook.status))
    }

    fn end(&mut self, status: Status, reason: Option<String>, at: u64) {
        (self.status, self.finished_ms, self.updated_ms) = (status, Some(at), at);
        if status != Status::Successful {
            self.stopped_ms.get_or_insert(at);
        }
        if reason.is_some() {
            self.reason = reason;
        }
    }
}

fn strategy(configuration: &Value) -> &str {
    configuration["strategy"].as_str().unwrap_or("ROLLING")
}

/// The stages that a deployment goes through.
fn plan(configuration: &Value, pace: Pace) -> Vec<Phase> {
    let stage = pace.stage_ms;
    let minutes = |value: &Value| value.as_u64().unwrap_or_default() * MINUTE_MS;
    let hooked = |name| Phase::new(name, Some(name), 0);
    let mut phases =
        vec![hooked("PRE_SCALE_UP"), Phase::new("SCALE_UP", None, stage), hooked("POST_SCALE_UP")];
    let kind = strategy(configuration);
    if kind != "ROLLING" {
        let test = Phase::new("TEST_TRAFFIC_SHIFT", Some("TEST_TRAFFIC_SHIFT"), stage);
        phases.push(Phase { test: Some(100.0), ..test });
        phases.push(hooked("POST_TEST_TRAFFIC_SHIFT"));
        match kind {
            "CANARY" => {
                let canary = &configuration["canaryConfiguration"];
                let percent = canary["canaryPercent"].as_f64().unwrap_or(5.0);
                let bake = minutes(&canary["canaryBakeTimeInMinutes"]);
                phases.push(Phase::production(percent, stage.max(bake)));
            }
            "LINEAR" => {
                let linear = &configuration["linearConfiguration"];
                let step = linear["stepPercent"].as_f64().unwrap_or(10.0).max(3.0);
                let bake = minutes(&linear["stepBakeTimeInMinutes"]);
                let mut percent = step;
                while percent < 100.0 {
                    phases.push(Phase::production(percent, stage.max(bake)));
                    percent += step;
                }
            }
            _ => {}
        }
        phases.push(Phase::production(100.0, stage));
        phases.push(hooked("POST_PRODUCTION_TRAFFIC_SHIFT"));
    }
    match minutes(&configuration["bakeTimeInMinutes"]) {
        0 => {}
        bake => phases.push(Phase::new("BAKE_TIME", None, bake)),
    }
    phases.push(Phase::new("CLEAN_UP", None, stage));
    phases
}

impl Ecs {
    /// Lets time pass; `speed` is the rollout's time in that of the wall clock, which says when things happened.
    pub(crate) fn advance(&mut self, by: u64, now: u64, speed: Option<f64>, logs: &mut Logs) {
        let mut left = by.min(MOST_STEPS * STEP_MS);
        while 0 < left {
            let step = left.min(STEP_MS);
            left -= step;
            let behind = speed.map_or(0.0, |speed| left as f64 / speed);
            let at = now.saturating_sub(behind as u64);
            self.step(step, at, speed.unwrap_or(1.0), logs);
        }
    }

    fn step(&mut self, ms: u64, at: u64, speed: f64, logs: &mut Logs) {
        self.move_tasks(ms, at, logs);
        for index in 0..self.deployments.len() {
            if !self.deployments[index].status.is_final() {
                self.move_deployment(index, ms, at, speed);
            }
        }
        self.scale_services(at);
    }

    /// Whether only a person can move anything.
    pub(super) fn is_settled(&self) -> bool {
        let waits = |one: &Deployment| one.status.is_final() || one.awaits().is_some();
        self.deployments.iter().all(waits) && self.tasks.iter().all(|task| !task.moves())
    }

    /// Starts a deployment of what the service now points to, and returns its ARN.
    pub(super) fn begin_deployment(&mut self, key: &(String, String), now: u64) -> String {
        self.replace_running(key, now);
        let at = self.stamp(now);
        let pace = self.pace;
        let (id, revision_id) = (self.take_hex(21), self.take_id() + 4_000_000_000_000);
        let generation_id = format!("ecs-svc/{}", self.take_id() + 7_000_000_000_000);
        let service = self.services.get_mut(key).expect("callers have looked");
        let path = format!("{}/{}", key.0, key.1);
        let revision = Revision {
            arn: arn("service-revision", &format!("{path}/{revision_id}")),
            task_definition: service.task_definition.clone(),
            created_ms: at,
        };
        let configuration = service.fields.get("deploymentConfiguration").cloned();
        let configuration = configuration.unwrap_or(Value::Null);
        for generation in &mut service.generations {
            generation.primary = false;
        }
        let deployment = Deployment {
            arn: arn("service-deployment", &format!("{path}/{id}")),
            service: key.clone(),
            status: Status::Pending,
            reason: None,
            target: revision.arn.clone(),
            sources: service.generations.iter().map(|one| one.revision.clone()).collect(),
            plan: plan(&configuration, pace),
            configuration,
            hooks: Vec::new(),
            failures: 0,
            alarm: None,
            rollback: None,
            test_traffic: 0.0,
            created_ms: at,
            started_ms: None,
            finished_ms: None,
            stopped_ms: None,
            updated_ms: at,
            spent_ms: 0,
            entered: false,
            hooks_raised: false,
        };
        service.generations.push(Generation {
            id: generation_id,
            task_definition: revision.task_definition.clone(),
            revision: revision.arn.clone(),
            primary: true,
            rollout_state: "IN_PROGRESS",
            reason: String::new(),
            failed_tasks: 0,
            scaled: false,
            traffic: 0.0,
            created_ms: at,
            updated_ms: at,
        });
        let generation = service.generations.last_mut().expect("pushed above");
        generation.reason = format!("ECS deployment {} in progress.", generation.id);
        service.revisions.push(revision);
        service.hidden = service.hide_deployments;
        self.deployments.push(deployment);
        self.deployments.last().map(|one| one.arn.clone()).unwrap_or_default()
    }

    /// A newer deployment takes the place of one that is under way.
    fn replace_running(&mut self, key: &(String, String), now: u64) {
        let at = self.stamp(now);
        let running = self.deployments.iter_mut().filter(|one| one.service == *key);
        for deployment in running.filter(|one| !one.status.is_final()) {
            let reason = "Service deployment stopped because a new service deployment was started.";
            deployment.end(Status::Stopped, Some(reason.to_owned()), at);
        }
    }

    /// Takes the newest deployment of a service to its end, with its tasks running.
    pub(super) fn complete_at_once(&mut self, key: &(String, String), now: u64, logs: &mut Logs) {
        let Some(index) = self.newest_deployment(key) else { return };
        let patient = MOST_STEPS.min(600);
        for _ in 0..patient {
            if self.deployments[index].status.is_final() {
                break;
            }
            // Its log shall not tell of a time before it was there.
            let mut unheard = Logs::default();
            self.move_tasks(STEP_MS, now, &mut unheard);
            self.move_deployment(index, STEP_MS, now, 1.0);
            self.scale_services(now);
        }
        self.create_log_groups(key, now, logs);
    }

    pub(super) fn newest_deployment(&self, key: &(String, String)) -> Option<usize> {
        self.deployments.iter().rposition(|one| one.service == *key)
    }

    fn move_deployment(&mut self, index: usize, ms: u64, now: u64, speed: f64) {
        let at = self.stamp(now);
        let deployment = &mut self.deployments[index];
        deployment.spent_ms += ms;
        match deployment.status {
            Status::Pending if self.pace.pending_ms <= deployment.spent_ms => {
                (deployment.status, deployment.spent_ms) = (Status::InProgress, 0);
                (deployment.started_ms, deployment.updated_ms) = (Some(at), at);
            }
            Status::InProgress => self.move_phase(index, ms, at, speed),
            Status::StopRequested => self.abort(index, at),
            Status::RollbackRequested => self.roll_back(index, at),
            Status::RollbackInProgress if self.pace.rollback_ms <= deployment.spent_ms => {
                self.finish_rollback(index, at);
            }
            _ => {}
        }
    }

    fn move_phase(&mut self, index: usize, ms: u64, at: u64, speed: f64) {
        self.raise_hooks(index, at, speed);
        if !self.move_hooks(index, ms, at) {
            return;
        }
        self.enter_phase(index, at);
        if self.breaker_opens(index, at) || !self.phase_is_over(index) {
            return;
        }
        let deployment = &mut self.deployments[index];
        deployment.plan.remove(0);
        (deployment.spent_ms, deployment.updated_ms) = (0, at);
        (deployment.entered, deployment.hooks_raised) = (false, false);
        if deployment.plan.is_empty() {
            self.succeed(index, at);
        }
    }

    /// Raises the hooks that come before the phase, once.
    fn raise_hooks(&mut self, index: usize, at: u64, speed: f64) {
        let deployment = &self.deployments[index];
        let Some(phase) = deployment.plan.first() else { return };
        let (false, Some(name)) = (deployment.hooks_raised, phase.hooks) else { return };
        let hooks = deployment.configuration["lifecycleHooks"].as_array().cloned();
        let mut raised = Vec::new();
        for hook in hooks.unwrap_or_default() {
            let stages = hook["lifecycleStages"].as_array().cloned().unwrap_or_default();
            if stages.iter().any(|stage| stage == name) {
                raised.push(self.hook(&hook, at, speed));
            }
        }
        let deployment = &mut self.deployments[index];
        deployment.hooks_raised = true;
        if !raised.is_empty() {
            deployment.updated_ms = at;
        }
        deployment.hooks.extend(raised);
    }

    fn hook(&mut self, wanted: &Value, at: u64, speed: f64) -> Hook {
        let kind = wanted["targetType"].as_str().unwrap_or("AWS_LAMBDA");
        let timeout = &wanted["timeoutConfiguration"];
        let minutes = timeout["timeoutInMinutes"].as_u64().unwrap_or(DAY_IN_MINUTES);
        let left_ms = minutes * MINUTE_MS;
        Hook {
            id: self.take_hex(20),
            kind: kind.to_owned(),
            target: wanted["hookTargetArn"].as_str().map(str::to_owned),
            status: if kind == "PAUSE" { "AWAITING_ACTION" } else { "IN_PROGRESS" },
            left_ms,
            expires_ms: at + (left_ms as f64 / speed) as u64,
            timeout_action: timeout["action"].as_str().unwrap_or("ROLLBACK").to_owned(),
        }
    }

    /// Whether no hook holds the deployment back any more.
    fn move_hooks(&mut self, index: usize, ms: u64, at: u64) -> bool {
        let deployment = &mut self.deployments[index];
        let mut roll_back = false;
        for hook in &mut deployment.hooks {
            hook.left_ms = hook.left_ms.saturating_sub(ms);
            match hook.status {
                // The function is called, and is content.
                "IN_PROGRESS" => hook.status = "SUCCEEDED",
                "AWAITING_ACTION" if hook.left_ms == 0 => {
                    hook.status = "TIMED_OUT";
                    roll_back = hook.timeout_action == "ROLLBACK";
                }
                _ => {}
            }
        }
        if roll_back {
            let reason = "Service deployment rolled back because a lifecycle hook timed out.";
            deployment.reason = Some(reason.to_owned());
            self.roll_back(index, at);
            return false;
        }
        if !deployment.hooks_done() {
            // Waiting does not count as time in the stage.
            deployment.spent_ms = 0;
            return false;
        }
        true
    }

    fn enter_phase(&mut self, index: usize, at: u64) {
        let deployment = &mut self.deployments[index];
        if deployment.entered {
            return;
        }
        let Some(phase) = deployment.plan.first().cloned() else { return };
        (deployment.entered, deployment.updated_ms) = (true, at);
        if let Some(percent) = phase.test {
            deployment.test_traffic = percent;
        }
        let rolling = deployment.is_rolling();
        let (key, target) = (deployment.service.clone(), deployment.target.clone());
        let Some(service) = self.services.get_mut(&key) else { return };
        let clean_up = phase.stage == "CLEAN_UP";
        for generation in &mut service.generations {
            let own = generation.revision == target;
            if own && phase.stage == "SCALE_UP" {
                generation.scaled = true;
            }
            if rolling && phase.stage == "SCALE_UP" {
                generation.traffic = 50.0;
            }
            if !own && clean_up {
                generation.scaled = false;
            }
            if let Some(percent) = phase.production.or(clean_up.then_some(100.0)) {
                generation.traffic = if own { percent } else { 100.0 - percent };
            }
        }
    }

    fn breaker_opens(&mut self, index: usize, at: u64) -> bool {
        let deployment = &self.deployments[index];
        let Some(service) = self.services.get(&deployment.service) else { return false };
        let threshold = deployment.breaker_threshold(service.desired_count);
        if threshold.is_none_or(|threshold| deployment.failures < threshold) {
            return false;
        }
        let rollback = deployment.configuration["deploymentCircuitBreaker"]["rollback"] == true;
        let why = "ECS deployment circuit breaker: tasks failed to start.";
        self.fail_generation(index, why, at);
        if rollback {
            self.deployments[index].reason = Some(BREAKER_REASON.to_owned());
            self.roll_back(index, at);
        } else {
            let reason = BREAKER_REASON.replace("rolled back", "stopped");
            self.deployments[index].end(Status::Stopped, Some(reason), at);
        }
        true
    }

    /// Marks the entry of `deployments[]` that a deployment brought as failed.
    fn fail_generation(&mut self, index: usize, why: &str, at: u64) {
        let deployment = &self.deployments[index];
        let Some(service) = self.services.get_mut(&deployment.service) else { return };
        let Some(generation) = service.generation_of(&deployment.target) else { return };
        (generation.rollout_state, generation.updated_ms) = ("FAILED", at);
        // A breaker that has opened starts no more tasks.
        generation.scaled = false;
        generation.reason = why.to_owned();
        let event =
            format!("(deployment {}) deployment failed: tasks failed to start.", generation.id);
        service.say(at, &event);
    }

    fn phase_is_over(&self, index: usize) -> bool {
        let deployment = &self.deployments[index];
        let Some(phase) = deployment.plan.first() else { return true };
        if deployment.spent_ms < phase.least_ms {
            return false;
        }
        let Some(service) = self.services.get(&deployment.service) else { return true };
        let running = |generation: &Generation| self.running_tasks(&generation.id);
        let generations = service.generations.iter();
        match phase.stage {
            "SCALE_UP" => generations
                .filter(|one| one.revision == deployment.target)
                .all(|one| service.desired_count <= self.well_tasks(&one.id)),
            "CLEAN_UP" => generations
                .filter(|one| one.revision != deployment.target)
                .all(|one| running(one) == 0),
            _ => true,
        }
    }

    fn succeed(&mut self, index: usize, at: u64) {
        let deployment = &mut self.deployments[index];
        deployment.end(Status::Successful, None, at);
        deployment.test_traffic = 0.0;
        let (key, target) = (deployment.service.clone(), deployment.target.clone());
        self.settle_on(&key, &target, at);
    }

    /// A service is steady again, with one revision.
    fn settle_on(&mut self, key: &(String, String), revision: &str, at: u64) {
        let Some(service) = self.services.get_mut(key) else { return };
        service.generations.retain(|generation| generation.revision == revision);
        service.current = revision.to_owned();
        let Some(generation) = service.generations.last_mut() else { return };
        (generation.rollout_state, generation.updated_ms) = ("COMPLETED", at);
        generation.reason = format!("ECS deployment {} completed.", generation.id);
        let event = format!("(deployment {}) deployment completed.", generation.id);
        service.say(at, &event);
        service.say(at, "has reached a steady state.");
    }

    /// Asks a deployment to go back, as `StopServiceDeployment` and `ContinueServiceDeployment` do.
    pub(super) fn request_rollback(&mut self, index: usize, reason: &str, at: u64) {
        let deployment = &mut self.deployments[index];
        (deployment.status, deployment.spent_ms) = (Status::RollbackRequested, 0);
        deployment.reason = Some(reason.to_owned());
        (deployment.stopped_ms, deployment.updated_ms) = (Some(at), at);
    }

    /// Asks a deployment to stop where it is.
    pub(super) fn request_stop(&mut self, index: usize, reason: &str, at: u64) {
        let deployment = &mut self.deployments[index];
        deployment.status = Status::StopRequested;
        deployment.reason = Some(reason.to_owned());
        (deployment.stopped_ms, deployment.updated_ms) = (Some(at), at);
    }

    fn abort(&mut self, index: usize, at: u64) {
        self.deployments[index].end(Status::Stopped, None, at);
        let deployment = &self.deployments[index];
        let Some(service) = self.services.get_mut(&deployment.service) else { return };
        let Some(generation) = service.generation_of(&deployment.target) else { return };
        (generation.rollout_state, generation.updated_ms) = ("FAILED", at);
        generation.reason = "Service deployment stopped.".to_owned();
    }

    fn roll_back(&mut self, index: usize, at: u64) {
        let deployment = &self.deployments[index];
        let (key, target) = (deployment.service.clone(), deployment.target.clone());
        let Some(service) = self.services.get_mut(&key) else { return };
        let source = service.revision(&service.current).filter(|revision| revision.arn != target);
        let Some(source) = source.cloned() else {
            let reason = "There is no earlier service revision to roll back to.";
            self.deployments[index].end(Status::RollbackFailed, Some(reason.to_owned()), at);
            return;
        };
        service.task_definition = source.task_definition;
        let mut back_to = String::new();
        for generation in &mut service.generations {
            let is_source = generation.revision == source.arn;
            (generation.primary, generation.scaled) = (is_source, is_source);
            generation.traffic = if is_source { 100.0 } else { 0.0 };
            generation.updated_ms = at;
            if is_source {
                generation.rollout_state = "IN_PROGRESS";
                back_to.clone_from(&generation.id);
                generation.reason =
                    format!("ECS deployment: rolling back to deploymentId {back_to}.");
            } else {
                generation.rollout_state = "FAILED";
            }
        }
        service.say(at, &format!("rolling back to deployment {back_to}."));
        let deployment = &mut self.deployments[index];
        (deployment.status, deployment.spent_ms) = (Status::RollbackInProgress, 0);
        (deployment.test_traffic, deployment.updated_ms) = (0.0, at);
        for hook in deployment.hooks.iter_mut().filter(|hook| hook.status == "AWAITING_ACTION") {
            hook.status = "FAILED";
        }
        let reason = deployment.reason.clone().unwrap_or_default();
        deployment.rollback = Some((reason, at, source.arn));
    }

    fn finish_rollback(&mut self, index: usize, at: u64) {
        let deployment = &self.deployments[index];
        let key = deployment.service.clone();
        let Some(service) = self.services.get(&key) else { return };
        if service.rollback_fails {
            self.deployments[index].end(Status::RollbackFailed, None, at);
            return;
        }
        let source = service.current.clone();
        let steady = service.generations.iter().all(|generation| {
            let wanted = if generation.scaled { service.desired_count } else { 0 };
            self.running_tasks(&generation.id) == wanted
        });
        if steady {
            self.deployments[index].end(Status::RollbackSuccessful, None, at);
            self.settle_on(&key, &source, at);
        }
    }

    pub(super) fn fire_alarm(
        &mut self,
        cluster: &str,
        service: &str,
        alarm: &str,
        now: u64,
    ) -> bool {
        let at = self.stamp(now);
        let key = (cluster.to_owned(), service.to_owned());
        let Some(index) = self.newest_deployment(&key) else { return false };
        let deployment = &mut self.deployments[index];
        let alarms = deployment.configuration["alarms"].clone();
        if !deployment.status.goes_forward() || alarms["enable"] != true {
            return false;
        }
        deployment.alarm = Some(alarm.to_owned());
        let reason = "Service deployment rolled back because of alarm(s).";
        if alarms["rollback"] == true {
            self.request_rollback(index, reason, at);
        } else {
            self.request_stop(index, &reason.replace("rolled back", "stopped"), at);
        }
        true
    }
}
