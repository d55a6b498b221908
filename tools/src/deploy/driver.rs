//! What every way of deploying can do, and which one an environment has.

use serde_json::{Value, json};

use super::config::{Kind, Strategy};
use super::place::{Place, unsupported};
use super::record::{Journal, Record, Status};
use super::template::{self, Words};
use super::{Deploy, command, github_workflow, mock, webhook};
use crate::contract::{Asked, Call, ToolError};

/// One way of deploying.
pub(super) trait Driver: Send + Sync {
    /// Starts what the order asks for, or takes up what an earlier attempt of it started.
    fn begin<'a>(&'a self, order: &'a mut Order<'_>) -> Asked<'a, Begun>;

    /// Looks how far a deployment is.
    fn look<'a>(&'a self, place: &'a Place, record: &'a Record) -> Asked<'a, Look>;

    /// How the environment is now.
    fn health<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Value>;

    /// The deployment that runs now, if one does.
    fn running<'a>(&'a self, place: &'a Place, records: &'a [Record]) -> Asked<'a, Option<Record>> {
        Box::pin(async move {
            let Some(last) = records.last().filter(|last| !last.status.is_done()) else {
                return Ok(None);
            };
            let look = self.look(place, last).await;
            // What may never have begun and is not known to whoever would do it does not stand in the way.
            let status = match look {
                Ok(look) => look.status,
                Err(error) if !last.begun && !error.retryable => return Ok(None),
                Err(error) => return Err(error),
            };
            Ok((!status.is_done()).then(|| Record { status, ..last.clone() }))
        })
    }

    /// The deployment with this id; the newest when none is named.
    fn recall<'a>(
        &'a self,
        place: &'a Place,
        records: &'a [Record],
        id: Option<&'a str>,
    ) -> Asked<'a, Option<Record>> {
        _ = place;
        Box::pin(async move {
            let named = |record: &&Record| id.is_none_or(|id| record.deployment_id == id);
            Ok(records.iter().rev().find(named).cloned())
        })
    }

    /// The deployments of a place, the newest first.
    fn list<'a>(
        &'a self,
        place: &'a Place,
        records: &'a [Record],
        limit: usize,
    ) -> Asked<'a, Vec<Record>> {
        _ = place;
        Box::pin(async move { Ok(records.iter().rev().take(limit).cloned().collect()) })
    }

    /// What an order would make different.
    fn differences<'a>(
        &'a self,
        place: &'a Place,
        record: &'a Record,
        change: &'a Change,
    ) -> Asked<'a, Vec<Difference>> {
        _ = (place, change);
        Box::pin(async move {
            Ok(Difference::new("version", &record.from, &record.to).into_iter().collect())
        })
    }

    /// Lets a deployment that waits for a word go on, or takes it back. Answers whether that had been done already.
    fn answer<'a>(
        &'a self,
        place: &'a Place,
        record: &'a mut Record,
        answer: Word<'a>,
    ) -> Asked<'a, bool> {
        _ = (record, answer);
        Box::pin(async move { Err(never_waits(place)) })
    }

    /// Ends a running deployment; `back`: and brings the version before again.
    fn stop<'a>(
        &'a self,
        place: &'a Place,
        record: &'a mut Record,
        back: bool,
    ) -> Asked<'a, Status> {
        _ = (record, back);
        Box::pin(async move {
            let kind = place.environment.kind.word();
            Err(unsupported(format!("a running deployment of kind {kind:?} cannot be stopped")))
        })
    }
}

/// One thing that would be different.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) from: Value,
    pub(super) to: Value,
}

impl Difference {
    /// Nothing, when both are the same.
    pub(super) fn new<T: serde::Serialize + PartialEq>(
        path: &str,
        from: &T,
        to: &T,
    ) -> Option<Self> {
        (from != to).then(|| Self { path: path.to_owned(), from: json!(from), to: json!(to) })
    }

    /// As a sentence.
    pub(super) fn spoken(&self) -> String {
        format!("{}: {} -> {}", self.path, self.from, self.to)
    }
}

/// What a person said to a deployment that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    /// Which question of the deployment is meant.
    pub(super) hook_id: Option<&'a str>,
    /// Whether it is to go on; it is taken back otherwise.
    pub(super) go_on: bool,
}

/// Something to bring about.
pub(super) struct Order<'a> {
    pub(super) place: &'a Place,
    pub(super) call: &'a Call,
    /// What is remembered of it; drivers put into `state` what they need to find it again.
    pub(super) record: Record,
    pub(super) journal: &'a Journal<'a>,
    /// What is to be different.
    pub(super) change: Change,
    /// Whether an earlier attempt may have begun it.
    pub(super) again: bool,
}

/// What is to be different. Drivers that know only versions look at the record alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) image: Option<String>,
    pub(super) container: Option<String>,
    pub(super) task_definition: Option<String>,
    pub(super) desired_count: Option<i32>,
    pub(super) force: bool,
    pub(super) strategy: Option<Strategy>,
}

/// What became of an order.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Whether anything was changed.
    pub(super) changed: bool,
    pub(super) warnings: Vec<String>,
    /// What only this way of deploying can say.
    pub(super) details: Value,
}

/// What a look at a deployment showed.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) problem: Option<String>,
    pub(super) finished_at: Option<i64>,
    pub(super) progress: Value,
    pub(super) awaiting_action: Value,
    pub(super) diagnosis: Value,
    /// Where it goes back to, or went back to.
    pub(super) rolled_back_to: Option<String>,
    pub(super) retry_after_ms: u64,
    /// What the driver remembers from now on; as it was when `None`.
    pub(super) state: Option<Value>,
}

impl Look {
    pub(super) fn at(status: Status) -> Self {
        Self {
            status,
            problem: None,
            finished_at: None,
            progress: Value::Null,
            awaiting_action: Value::Null,
            diagnosis: Value::Null,
            rolled_back_to: None,
            retry_after_ms: 5000,
            state: None,
        }
    }
}

impl Deploy {
    /// The driver of an environment.
    pub(super) fn driver(&self, place: &Place) -> Result<Box<dyn Driver + '_>, ToolError> {
        Ok(match &place.environment.kind {
            Kind::Mock(settings) => Box::new(mock::Driver { settings: settings.clone() }),
            Kind::Command(settings) => {
                Box::new(command::Driver { deploy: self, settings: settings.clone() })
            }
            Kind::Webhook(settings) => {
                Box::new(webhook::Driver { deploy: self, settings: settings.clone() })
            }
            Kind::GithubWorkflow(settings) => {
                Box::new(github_workflow::Driver { deploy: self, settings: settings.clone() })
            }
            #[cfg(feature = "ecs")]
            Kind::Ecs(settings) => {
                Box::new(super::ecs::Driver { deploy: self, settings: settings.clone() })
            }
            #[cfg(not(feature = "ecs"))]
            Kind::Ecs(_) => {
                return Err(unsupported("this build cannot deploy to ECS".to_owned()));
            }
        })
    }
}

impl Record {
    /// The placeholders that a deployment fills.
    pub(super) fn words(&self, place: &Place) -> Words {
        Words {
            version: self.version.clone(),
            previous_version: self.previous_version.clone(),
            image: self.image.clone(),
            ..place.words()
        }
    }
}

/// The image of a version, where the environment says how it is named.
pub(super) fn image_of(place: &Place, version: &str) -> Result<Option<String>, ToolError> {
    let pattern = match &place.environment.kind {
        Kind::Ecs(ecs) => ecs.image.as_deref(),
        Kind::Mock(mock) => mock.image.as_deref(),
        Kind::Command(_) | Kind::Webhook(_) | Kind::GithubWorkflow(_) => None,
    };
    let words = Words { version: Some(version.to_owned()), ..place.words() };
    pattern.map(|pattern| template::fill(pattern, &words)).transpose()
}

/// A health that no driver knows more of.
pub(super) fn plain_health(health: &str, problems: Vec<String>, more: Value) -> Value {
    let mut all = json!({
        "health": health, "problems": problems, "deployments": [], "events": [], "tasks": [],
        "stopped_tasks": [], "images": [],
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

fn never_waits(place: &Place) -> ToolError {
    let kind = place.environment.kind.word();
    unsupported(format!("deployments of kind {kind:?} never wait for a word"))
}
