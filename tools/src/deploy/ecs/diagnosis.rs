//! Why a deployment failed, as far as ECS says: events, stopped tasks in groups, alarms, and where the logs are.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{LogDriver, Service, ServiceDeployment, Task, TaskDefinition};
use serde_json::{Value, json};

use super::super::place::short;
use super::{ms, shown};
use crate::contract::text::without_invisible;

const EVENTS: usize = 10;
const GROUPS: usize = 10;

/// What is the same of tasks that stopped alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    stop_code: Option<String>,
    stopped_reason: Option<String>,
    container: Option<String>,
    exit_code: Option<i32>,
    reason: Option<String>,
}

/// Puts stopped tasks that stopped alike together, the largest group first.
pub(super) fn grouped(tasks: &[Task]) -> Vec<Value> {
    let mut groups: BTreeMap<Alike, (usize, &str)> = BTreeMap::new();
    for task in tasks {
        let example = task.task_arn().unwrap_or_default();
        groups.entry(alike(task)).or_insert((0, example)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|left, right| right.1.0.cmp(&left.1.0));
    groups
        .into_iter()
        .take(GROUPS)
        .map(|(alike, (count, example))| alike.shown(count, example))
        .collect()
}

fn alike(task: &Task) -> Alike {
    // The container that says most: one that failed, or else the first.
    let failed = |own: &&aws_sdk_ecs::types::Container| {
        own.reason().is_some() || own.exit_code().is_some_and(|code| code != 0)
    };
    let containers = task.containers();
    let container = containers.iter().find(failed).or(containers.first());
    Alike {
        stop_code: task.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: task.stopped_reason().map(without_ids),
        container: container.and_then(|own| own.name()).map(str::to_owned),
        exit_code: container.and_then(|own| own.exit_code()),
        reason: container.and_then(|own| own.reason()).map(without_ids),
    }
}

/// A reason without what differs from task to task.
fn without_ids(reason: &str) -> String {
    let words = reason.split(' ').map(|word| {
        let id = word.trim_matches(|char: char| !char.is_ascii_alphanumeric());
        let hex = 32 <= id.len() && id.chars().all(|char| char.is_ascii_hexdigit());
        let task = word.contains(":task/") || word.contains("eni-") || word.contains("i-0");
        if hex || task { "…" } else { word }
    });
    without_invisible(&words.collect::<Vec<_>>().join(" "))
}

impl Alike {
    fn kind(&self) -> &'static str {
        let text = [&self.reason, &self.stopped_reason, &self.stop_code];
        let text = text.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["CannotPull", "pull image", "ImageNotFound"]) {
            "image_pull"
        } else if says(&["OutOfMemory", "out of memory"]) || self.exit_code == Some(137) {
            "out_of_memory"
        } else if says(&["health check", "healthcheck", "unhealthy"]) {
            "unhealthy"
        } else if self.exit_code.is_some_and(|code| code != 0 && code != 143) {
            "crash"
        } else if says(&["RESOURCE:", "Capacity is unavailable", "ResourceInitializationError"]) {
            "resources"
        } else {
            "other"
        }
    }

    fn shown(&self, count: usize, example: &str) -> Value {
        json!({
            "count": count, "kind": self.kind(), "stop_code": self.stop_code,
            "stopped_reason": self.stopped_reason, "exit_code": self.exit_code, "reason": self.reason,
            "container": self.container, "example_task": example,
        })
    }
}

/// Everything that speaks of why.
pub(super) fn diagnose(
    deployment: Option<&ServiceDeployment>,
    service: &Service,
    stopped: &[Task],
    definition: Option<&TaskDefinition>,
) -> Value {
    let since = deployment.and_then(|own| ms(own.created_at()));
    let recent = service.events().iter().filter(|event| {
        since.is_none_or(|since| ms(event.created_at()).is_none_or(|at| since <= at))
    });
    let events = recent.take(EVENTS).map(|event| {
        json!({ "at": shown(event.created_at()), "message": without_invisible(event.message().unwrap_or_default()) })
    });
    let groups = grouped(stopped);
    let alarms = deployment.and_then(|own| own.alarms());
    let alarms = alarms.map(|own| own.triggered_alarm_names().to_vec()).unwrap_or_default();
    let (log_group, log_stream_prefix) = definition.map(logs).unwrap_or_default();
    json!({
        "summary": summary(&groups, &alarms, deployment.and_then(|own| own.status_reason())),
        "events": events.collect::<Vec<_>>(), "stopped_tasks": groups, "alarms": alarms,
        "log_group": log_group, "log_stream_prefix": log_stream_prefix,
    })
}

fn summary(groups: &[Value], alarms: &[String], reason: Option<&str>) -> String {
    let of_group = groups.first().map(|group| {
        let (count, kind) = (&group["count"], group["kind"].as_str().unwrap_or_default());
        let told =
            group["reason"].as_str().or(group["stopped_reason"].as_str()).unwrap_or_default();
        let exit = match group["exit_code"].as_i64() {
            Some(code) => format!(", exit code {code}"),
            None => String::new(),
        };
        format!("{count} tasks stopped ({kind}{exit}): {told}")
    });
    let of_alarms = (!alarms.is_empty()).then(|| format!("alarms fired: {}", alarms.join(", ")));
    let parts: Vec<_> = [of_alarms, of_group].into_iter().flatten().collect();
    match parts.is_empty() {
        true => reason.unwrap_or("ECS gives no reason").to_owned(),
        false => parts.join("; "),
    }
}

/// The log group of a definition's first container that writes to one, and the prefix of its streams.
pub(super) fn logs(definition: &TaskDefinition) -> (Option<String>, Option<String>) {
    let own = definition.container_definitions().iter().find_map(|container| {
        let logs = container.log_configuration()?;
        let options = logs.options().filter(|_| *logs.log_driver() == LogDriver::Awslogs)?;
        let group = options.get("awslogs-group")?.clone();
        Some((group, options.get("awslogs-stream-prefix").cloned()))
    });
    own.map_or((None, None), |(group, prefix)| (Some(group), prefix))
}

/// The log stream of a task's container.
pub(super) fn stream(prefix: &str, container: &str, task_arn: &str) -> String {
    format!("{prefix}/{container}/{}", short(task_arn))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{Container, TaskStopCode};

    use super::*;

    fn task(
        id: &str,
        code: TaskStopCode,
        why: &str,
        exit: Option<i32>,
        reason: Option<&str>,
    ) -> Task {
        let container = Container::builder()
            .name("app")
            .set_exit_code(exit)
            .set_reason(reason.map(str::to_owned))
            .build();
        Task::builder()
            .task_arn(format!("arn:aws:ecs:eu:1:task/c/{id}"))
            .stop_code(code)
            .stopped_reason(why)
            .containers(container)
            .build()
    }

    #[test]
    fn tasks_that_stopped_alike_are_one_group_with_a_count_and_a_kind() {
        let exited = "Essential container in task exited";
        let pull = "CannotPullContainerError: pull image manifest has been retried 1 time(s)";
        let sick = "Task failed ELB health checks in (target-group x)";
        let tasks = [
            task("1", TaskStopCode::EssentialContainerExited, exited, Some(1), None),
            task("2", TaskStopCode::EssentialContainerExited, exited, Some(1), None),
            task(
                "3",
                TaskStopCode::EssentialContainerExited,
                exited,
                Some(137),
                Some("OutOfMemoryError: x"),
            ),
            task("4", TaskStopCode::TaskFailedToStart, pull, None, None),
            task("5", TaskStopCode::ServiceSchedulerInitiated, sick, Some(143), None),
            task("6", TaskStopCode::UserInitiated, "by somebody", Some(143), None),
        ];
        let groups = grouped(&tasks);
        assert_eq!((&groups[0]["count"], &groups[0]["kind"]), (&json!(2), &json!("crash")));
        let mut kinds: Vec<_> =
            groups.iter().map(|group| group["kind"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["crash", "image_pull", "other", "out_of_memory", "unhealthy"]);
    }

    #[test]
    fn what_differs_from_task_to_task_does_not_make_groups() {
        let why = |id: &str| format!("(task {id}) failed");
        let (one, two) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
        let tasks = [
            task("1", TaskStopCode::TaskFailedToStart, &why(one), None, None),
            task("2", TaskStopCode::TaskFailedToStart, &why(two), None, None),
        ];
        assert_eq!(grouped(&tasks).len(), 1);
    }
}
