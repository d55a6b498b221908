//! What is remembered of deployments: one memo for each place, with the newest last.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Deploy;
use super::place::Place;
use crate::contract::{Code, ToolError};

/// Where the memos of this server are.
pub(super) const SCOPE: &str = "deploy";
/// How many deployments of one place are remembered.
const REMEMBERED: usize = 50;
/// How often a change is tried that others get in the way of.
const TRIES: u32 = 8;

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Asked for.
    Pending,
    /// Under way.
    InProgress,
    /// Waiting for a person's word.
    AwaitingAction,
    /// The version runs.
    Succeeded,
    /// It did not come to run.
    Failed,
    /// It did not come to run, and the version before runs again.
    RolledBack,
    /// Somebody stopped it.
    Stopped,
}

/// What a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// To bring a version.
    Deploy,
    /// To go back to one.
    Rollback,
    /// To start the same again.
    Restart,
    /// To change how many or how.
    Update,
}

/// One deployment, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What we call it.
    pub(super) id: String,
    /// What callers name it by: our id, or the one that ECS gave it when it began.
    pub(super) deployment_id: String,
    /// The idempotency key of the call that asked for it.
    pub(super) key: Option<String>,
    /// What it is for.
    pub(super) action: Action,
    /// How far it was when it was last looked at.
    pub(super) status: Status,
    /// Whether whoever does the work has confirmed that it began.
    pub(super) begun: bool,
    /// The version it brings.
    pub(super) version: Option<String>,
    /// The image it brings.
    pub(super) image: Option<String>,
    /// What ran before.
    pub(super) from: Option<String>,
    /// What is to run.
    pub(super) to: Option<String>,
    /// The version that ran before, where it is known.
    pub(super) previous_version: Option<String>,
    /// Why it was asked for.
    pub(super) reason: Option<String>,
    /// Who asked: a person, or an execution.
    pub(super) by: Option<String>,
    /// The execution that asked.
    pub(super) execution_id: Option<String>,
    /// When, in milliseconds since 1970.
    pub(super) started_at: i64,
    /// When it ended.
    pub(super) finished_at: Option<i64>,
    /// Where it is seen.
    pub(super) url: Option<String>,
    /// Why it failed.
    pub(super) problem: Option<String>,
    /// What its driver needs to find it again.
    #[serde(default)]
    pub(super) state: Value,
}

impl Status {
    /// Whether nothing happens any more.
    pub(super) fn is_done(self) -> bool {
        match self {
            Self::Pending | Self::InProgress | Self::AwaitingAction => false,
            Self::Succeeded | Self::Failed | Self::RolledBack | Self::Stopped => true,
        }
    }
}

/// The records of one place.
pub(super) struct Journal<'a> {
    deploy: &'a Deploy,
    name: String,
}

impl Deploy {
    pub(super) fn journal(&self, place: &Place) -> Journal<'_> {
        Journal { deploy: self, name: format!("history/{}", place.name) }
    }
}

impl Journal<'_> {
    /// All that is remembered, the oldest first.
    pub(super) async fn records(&self) -> Result<Vec<Record>, ToolError> {
        let memo = self.deploy.host.recall(SCOPE, &self.name).await?;
        Ok(memo.map(read).unwrap_or_default())
    }

    /// The one that this key asked for.
    pub(super) async fn by_key(&self, key: Option<&str>) -> Result<Option<Record>, ToolError> {
        let Some(key) = key else { return Ok(None) };
        let records = self.records().await?;
        Ok(records.into_iter().rev().find(|record| record.key.as_deref() == Some(key)))
    }

    /// Writes a record, over what it was before.
    pub(super) async fn save(&self, record: &Record) -> Result<(), ToolError> {
        self.change(|records| {
            match records.iter_mut().find(|other| other.id == record.id) {
                Some(other) => *other = record.clone(),
                None => records.push(record.clone()),
            }
            let over = records.len().saturating_sub(REMEMBERED);
            records.drain(..over);
        })
        .await
    }

    /// Forgets what turned out not to be a deployment.
    pub(super) async fn forget(&self, record: &Record) -> Result<(), ToolError> {
        self.change(|records| records.retain(|other| other.id != record.id)).await
    }

    async fn change(&self, change: impl Fn(&mut Vec<Record>)) -> Result<(), ToolError> {
        for _ in 0..TRIES {
            let before = self.deploy.host.recall(SCOPE, &self.name).await?;
            let mut records = before.clone().map(read).unwrap_or_default();
            change(&mut records);
            let after = serde_json::to_value(&records).unwrap_or_default();
            if self.deploy.host.swap(SCOPE, &self.name, before.as_ref(), Some(&after)).await? {
                return Ok(());
            }
        }
        let message = format!("{} is changed by others all the time", self.name);
        Err(ToolError::new(Code::Unavailable, message))
    }
}

fn read(memo: Value) -> Vec<Record> {
    let Value::Array(items) = memo else { return Vec::new() };
    // What another release wrote and this one cannot read does not hide the rest.
    items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()
}

/// The newest that came to run.
pub(super) fn current(records: &[Record]) -> Option<&Record> {
    records.iter().rev().find(|record| record.status == Status::Succeeded && runs_a_version(record))
}

/// What a rollback goes back to.
///
/// When the newest deployment did not succeed, or nobody knows, the environment may be between two versions: the last that
/// ran is what to go back to.
pub(super) fn rollback_target(records: &[Record]) -> Option<&Record> {
    let is_between = |current: &&Record| {
        let newest = records.last().filter(|newest| {
            newest.status != Status::Succeeded && newest.action != Action::Rollback
        });
        newest.is_some_and(|newest| newest.version.is_some() && newest.version != current.version)
    };
    current(records).filter(is_between).or_else(|| before_current(records))
}

/// The one that ran before the newest.
fn before_current(records: &[Record]) -> Option<&Record> {
    let current = current(records)?;
    let other = |record: &&Record| {
        record.status == Status::Succeeded
            && runs_a_version(record)
            && record.version != current.version
    };
    // After a rollback, what ran before it is what was rolled back from: go on backwards, not to and fro.
    let until = match current.action {
        Action::Rollback => records
            .iter()
            .position(|record| {
                record.version == current.version && record.status == Status::Succeeded
            })
            .unwrap_or(records.len()),
        Action::Deploy | Action::Restart | Action::Update => records.len(),
    };
    records[..until].iter().rev().find(other)
}

fn runs_a_version(record: &Record) -> bool {
    record.version.is_some()
}

/// A time as it is shown.
pub(super) fn time(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Record {
    /// The deployment as every tool shows it.
    pub(super) fn shown(&self, place: &Place) -> Value {
        json!({
            "deployment_id": self.deployment_id,
            "kind": place.environment.kind.word(),
            "app": place.app, "environment": place.environment_name,
            "status": self.status, "action": self.action,
            "version": self.version, "image": self.image, "from": self.from, "to": self.to,
            "started_at": time(self.started_at), "finished_at": self.finished_at.map(time),
            "url": self.url.clone().or_else(|| place.environment.shared.app_url.clone()),
            "by": self.by, "requested_because": self.reason, "reason": self.problem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: &str, action: Action, status: Status) -> Record {
        Record {
            id: version.to_owned(),
            deployment_id: version.to_owned(),
            key: None,
            action,
            status,
            begun: true,
            version: Some(version.to_owned()),
            image: None,
            from: None,
            to: None,
            previous_version: None,
            reason: None,
            by: None,
            execution_id: None,
            started_at: 0,
            finished_at: None,
            url: None,
            problem: None,
            state: Value::Null,
        }
    }

    #[test]
    fn a_rollback_goes_to_what_ran_before_and_a_second_one_further_back() {
        let deployed = |version| record(version, Action::Deploy, Status::Succeeded);
        let mut records = vec![deployed("1"), deployed("2")];
        records.push(record("3", Action::Deploy, Status::Failed));
        assert_eq!(current(&records).unwrap().version.as_deref(), Some("2"));
        assert_eq!(before_current(&records).unwrap().version.as_deref(), Some("1"));
        for status in [Status::Failed, Status::Pending, Status::InProgress] {
            records.pop();
            records.push(record("3", Action::Deploy, status));
            assert_eq!(rollback_target(&records).unwrap().version.as_deref(), Some("2"));
        }
        records.push(record("1", Action::Rollback, Status::Failed));
        assert_eq!(rollback_target(&records).unwrap().version.as_deref(), Some("1"), "once more");
        records.pop();
        records.push(deployed("3"));
        assert_eq!(rollback_target(&records), before_current(&records));
        assert_eq!(before_current(&records).unwrap().version.as_deref(), Some("2"));
        records.push(record("2", Action::Rollback, Status::Succeeded));
        assert_eq!(before_current(&records).unwrap().version.as_deref(), Some("1"));
        assert_eq!(before_current(&[deployed("1")]), None);
        assert_eq!(current(&[]), None);
    }
}
