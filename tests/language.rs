//! The language at work: persons answer, workflows run workflows, locks are held by one, and all of it outlives crashes.

/// Makes two tests of each promise: one on SQLite, one on PostgreSQL.
macro_rules! on_both_databases {
    ($($promise:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $promise() {
                super::$promise(crate::language::House::on_sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $promise() {
                super::$promise(crate::language::House::on_postgres()).await;
            })+
        }
    };
}

mod answers;
mod children;
mod endings;
mod locks;

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tempfile::TempDir;
use windlass::{
    app::{App, Caller, Detail, Error, Execution, RequestView, RunRequest},
    config::{Config, Overrides},
    host::{Drive, Host},
};
use windlass_engine::Answer;

use crate::harness::{SOON, database};

/// A project with its workflows, and a database.
pub(crate) struct House {
    folder: TempDir,
    database: String,
    variables: Vec<(&'static str, &'static str)>,
}

impl House {
    pub(crate) fn on_sqlite() -> House {
        House::at(String::new())
    }

    pub(crate) fn on_postgres() -> House {
        House::at(database())
    }

    fn at(database: String) -> House {
        let folder = TempDir::with_prefix("windlass-language-").unwrap();
        std::fs::create_dir_all(folder.path().join("workflows")).unwrap();
        House { folder, database, variables: Vec::new() }
    }

    fn set(&mut self, name: &'static str, value: &'static str) {
        self.variables.push((name, value));
    }

    fn workflow(&self, name: &str, text: &str) {
        let file = self.folder.path().join("workflows").join(format!("{name}.yaml"));
        std::fs::write(file, format!("name: {name}\n{text}")).unwrap();
    }

    /// A process with a worker inside.
    async fn open(&self) -> Host {
        let file = format!("sqlite:{}", self.folder.path().join("windlass.db").display());
        let database = if self.database.is_empty() { &file } else { &self.database };
        let overrides = Overrides {
            database: Some(database.clone()),
            data_dir: Some(self.folder.path().join("data")),
            workspace: Some("house".to_owned()),
            ..Overrides::default()
        };
        let set = |name: &str| {
            self.variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).into())
        };
        let config = Config::load_from(self.folder.path(), None, &set, &overrides).unwrap();
        Host::start(&config, Drive::InProcess).await.unwrap()
    }
}

/// An agent, who has a name and works through a client.
fn agent(name: &str) -> Caller {
    Caller { name: name.to_owned(), client_name: Some("an-ide".into()), ..Caller::default() }
}

/// Whoever types at the terminal.
fn terminal() -> Caller {
    Caller { name: "local".into(), at_terminal: true, ..Caller::default() }
}

async fn run(app: &App, workflow: &str, input: Value) -> Execution {
    try_run(app, workflow, input).await.unwrap()
}

async fn try_run(app: &App, workflow: &str, input: Value) -> Result<Execution, Error> {
    let input: Map<String, Value> = serde_json::from_value(input).unwrap();
    let request = RunRequest { workflow: workflow.to_owned(), input, ..RunRequest::default() };
    app.run(&agent("local"), request).await
}

/// Waits until an execution is as it should be.
async fn until(
    app: &App,
    execution_id: &str,
    what: &str,
    is_so: impl Fn(&Execution) -> bool,
) -> Execution {
    let deadline = Instant::now() + SOON;
    let mut since = 0;
    loop {
        let patience = Duration::from_millis(500);
        let execution = app.changed(execution_id, since, patience, Detail::Results).await.unwrap();
        if is_so(&execution) {
            return execution;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {execution:#?}");
        since = execution.version;
    }
}

async fn ended(app: &App, execution_id: &str) -> Execution {
    until(app, execution_id, "the end", |execution| execution.ended_at.is_some()).await
}

/// The question that an execution asks.
async fn asked(app: &App, execution_id: &str) -> RequestView {
    let asks = |execution: &Execution| !execution.requests.is_empty();
    until(app, execution_id, "a question", asks).await.requests.remove(0)
}

fn approved() -> Answer {
    Answer::Approved { comment: None }
}

fn step<'e>(execution: &'e Execution, name: &str) -> &'e windlass::app::StepView {
    execution.steps.iter().find(|step| step.name == name).expect("the step is listed")
}
