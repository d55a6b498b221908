//! A rollout that happens in memos only: every look is one step of it.

use serde_json::{Value, json};

use super::config::Mock;
use super::driver::{Begun, Look, Order, Word, plain_health};
use super::place::{Place, not_found};
use super::record::{Action, Record, Status, current};
use super::{now, refused};
use crate::contract::{Asked, Code, ToolError};

/// The question that a mock deployment asks.
const HOOK: &str = "mock-pause";

pub(super) struct Driver {
    pub(super) settings: Mock,
}

/// How far a rollout is: what a record's state says.
struct Rollout {
    looks: u64,
    released: bool,
}

impl super::driver::Driver for Driver {
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun> {
        Box::pin(async move {
            let record = &mut order.record;
            let versions = record.version == record.previous_version && record.version.is_some();
            if versions && record.action != Action::Restart && !order.change.force {
                return Ok(Begun::default());
            }
            record.state = json!({ "looks": 0, "released": false });
            record.status = Status::Pending;
            Ok(Begun { changed: true, ..Begun::default() })
        })
    }

    fn look<'a>(&'a self, _: &'a Place, record: &'a Record) -> Asked<'a, Look> {
        Box::pin(async move { Ok(self.step(record)) })
    }

    fn health<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Value> {
        Box::pin(async move { Ok(self.health(place, records)) })
    }

    fn answer<'a>(
        &'a self,
        _: &'a Place,
        record: &'a mut Record,
        answer: Word<'a>,
    ) -> Asked<'a, bool> {
        Box::pin(async move {
            if answer.hook_id.is_some_and(|hook| hook != HOOK) {
                return Err(not_found(format!(
                    "this deployment asks nothing called {:?}",
                    answer.hook_id
                )));
            }
            self.answer(record, answer.go_on)
        })
    }

    fn stop<'a>(&'a self, _: &'a Place, record: &'a mut Record, back: bool) -> Asked<'a, Status> {
        Box::pin(async move {
            record.finished_at = Some(now());
            Ok(if back { Status::RolledBack } else { Status::Stopped })
        })
    }
}

impl Driver {
    fn step(&self, record: &Record) -> Look {
        let rollout = Rollout::of(record);
        if record.status.is_done() {
            return self.ended(record, rollout.looks);
        }
        let listed = |versions: &[String]| {
            record.version.as_ref().is_some_and(|version| versions.contains(version))
        };
        let looks = (rollout.looks + 1).min(self.settings.steps);
        let last = looks == self.settings.steps;
        let waits = listed(&self.settings.pause_versions) && !rollout.released;
        let status = match (last, waits) {
            (true, true) => Status::AwaitingAction,
            (true, false) if listed(&self.settings.fail_versions) => Status::RolledBack,
            (true, false) => Status::Succeeded,
            (false, _) => Status::InProgress,
        };
        let done = if status.is_done() { looks } else { looks.min(self.settings.steps - 1) };
        let mut look = Look::at(status);
        look.retry_after_ms = self.settings.step_ms;
        look.state = Some(json!({ "looks": done, "released": rollout.released }));
        look.progress = self.progress(done, status);
        look.finished_at = status.is_done().then(now);
        if status == Status::AwaitingAction {
            look.awaiting_action = json!({
                "hook_id": HOOK, "stage": "POST_TEST_TRAFFIC_SHIFT", "expires_at": null, "timeout_action": "ROLLBACK",
            });
        }
        if status == Status::RolledBack {
            let version = record.version.as_deref().unwrap_or_default();
            look.problem = Some(format!("tasks of version {version} failed to start"));
            look.rolled_back_to.clone_from(&record.previous_version);
            look.diagnosis = self.diagnosis(version);
        }
        look
    }

    /// What a rollout says that has ended before.
    fn ended(&self, record: &Record, looks: u64) -> Look {
        let mut look = Look::at(record.status);
        look.progress = self.progress(looks, record.status);
        if record.status == Status::RolledBack {
            let version = record.version.as_deref().unwrap_or_default();
            look.rolled_back_to.clone_from(&record.previous_version);
            let fails = self.settings.fail_versions.iter().any(|own| own == version);
            look.diagnosis = if fails { self.diagnosis(version) } else { Value::Null };
        }
        look
    }

    fn progress(&self, looks: u64, status: Status) -> Value {
        let (steps, desired) = (self.settings.steps, self.settings.desired);
        let running = if status == Status::RolledBack { 0 } else { desired * looks / steps };
        let stage = if looks == steps { "CLEAN_UP" } else { "SCALE_UP" };
        json!({ "stage": stage, "percent": looks * 100 / steps, "desired": desired, "running": running, "failed": 0 })
    }

    fn diagnosis(&self, version: &str) -> Value {
        json!({
            "summary": "every task exited with code 1",
            "events": [], "log_group": null, "alarms": [],
            "stopped_tasks": [{
                "count": self.settings.desired, "stop_code": "EssentialContainerExited",
                "stopped_reason": "Essential container in task exited", "exit_code": 1,
                "reason": format!("version {version} is listed in fail_versions"), "container": "mock", "kind": "crash",
            }],
        })
    }

    fn answer(&self, record: &mut Record, go_on: bool) -> Result<bool, ToolError> {
        let rollout = Rollout::of(record);
        match (record.status, go_on) {
            (Status::RolledBack, false) => Ok(true),
            (status, true) if status.is_done() || rollout.released => Ok(true),
            (Status::AwaitingAction, true) => {
                record.state = json!({ "looks": rollout.looks, "released": true });
                record.status = Status::InProgress;
                Ok(false)
            }
            (Status::AwaitingAction, false) => {
                record.status = Status::RolledBack;
                record.problem = Some("taken back by a person's word".to_owned());
                record.finished_at = Some(now());
                Ok(false)
            }
            _ => Err(refused(
                Code::FailedPrecondition,
                "not_waiting",
                "the deployment does not wait for a word".to_owned(),
            )
            .hint("wait for it with waitForDeployment and until = \"awaiting_action\"")),
        }
    }

    fn health(&self, place: &Place, records: &[Record]) -> Value {
        let running = records.last().filter(|record| !record.status.is_done());
        let own = current(records);
        let (health, problems) = match (running, own) {
            (Some(_), _) => ("deploying", Vec::new()),
            (None, Some(_)) => ("healthy", Vec::new()),
            (None, None) => ("down", vec!["nothing was ever deployed here".to_owned()]),
        };
        let count = if own.is_some() { self.settings.desired } else { 0 };
        let version = own.and_then(|record| record.version.clone());
        plain_health(
            health,
            problems,
            json!({
                "serviceName": place.name, "status": "ACTIVE", "version": version,
                "desiredCount": self.settings.desired, "runningCount": count, "pendingCount": 0,
                "images": own.and_then(|record| record.image.clone()).map(|image| json!({ "container": "mock", "image": image, "digest": null })).into_iter().collect::<Vec<_>>(),
            }),
        )
    }
}

impl Rollout {
    fn of(record: &Record) -> Self {
        Self {
            looks: record.state["looks"].as_u64().unwrap_or_default(),
            released: record.state["released"].as_bool().unwrap_or_default(),
        }
    }
}
