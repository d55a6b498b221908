//! Executions survive crashes at every point, lost answers, closed windows, killed workers and restarted databases.

/// Makes two tests of each promise: one on SQLite, one on PostgreSQL.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $promise() { super::$promise(&crate::durability::Scene::on_sqlite()); })+
        }
        mod on_postgres {
            $(#[test] fn $promise() { super::$promise(&crate::durability::Scene::on_postgres()); })+
        }
    };
}

mod crashes;
mod looks;
mod pull_request;
mod replicas;
mod worker;

use std::{fs, os::unix::process::ExitStatusExt, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

pub(crate) use self::worker::SLOW;
use crate::harness::{Client, Ended, Project, SOON, block_on, database, eventually};

/// A lease's time, and as much again for a busy machine.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A project and its database, into which the tests of this promise look.
pub(crate) struct Scene {
    pub(crate) project: Project,
    database: String,
}

impl Scene {
    pub(crate) fn on_sqlite() -> Scene {
        let project = Project::new();
        let file = project.data_dir().join("windlass.db");
        Scene::at(project, format!("sqlite:{}", file.display()))
    }

    pub(crate) fn on_postgres() -> Scene {
        Scene::at(Project::new(), database())
    }

    pub(crate) fn at(project: Project, database: String) -> Scene {
        let project = project.with_env("WINDLASS_DATABASE", &database);
        Scene { project: project.with_env("GITHUB_TOKEN", "a-token-of-the-tests"), database }
    }

    /// Where its executions live.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// A file in which calls are counted.
    pub(crate) fn ledger(&self, name: &str) -> PathBuf {
        self.project.path().join(format!("{name}.ledger"))
    }

    /// `windlass run`, at a point of which it may be made to die.
    pub(crate) fn run(&self, run: &Run<'_>, fault: Option<(&str, u32)>) -> Ended {
        let mut command = self.command(run);
        if let Some((point, count)) = fault {
            command.env("WINDLASS_FAULT", format!("{point}:{count}"));
        }
        crate::harness::run(&mut command, 2 * SOON)
    }

    pub(crate) fn command(&self, run: &Run<'_>) -> Command {
        let input = run.input.to_string();
        let arguments =
            ["run", run.workflow, "--json", "--idempotency-key", run.key, "--input", &input];
        self.project.command(&arguments)
    }

    /// A door for an agent, ready to be asked.
    pub(crate) fn door(&self) -> Client {
        let mut door = self.project.client(&["serve"]).with_deadline(2 * LEASE);
        door.initialize();
        door
    }

    /// Moves the clock past every lease, where waiting for it is not what is tested.
    pub(crate) fn let_leases_run_out(&self) {
        let sql = "UPDATE executions SET lease_until = 0,
            wake_at = CASE WHEN lease_owner IS NULL THEN wake_at ELSE 0 END";
        block_on(async {
            if self.database.starts_with("sqlite:") {
                let mut database = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query(sql).execute(&mut database).await.unwrap();
            } else {
                let mut database = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query(sql).execute(&mut database).await.unwrap();
            }
        });
    }

    /// What the database says of every execution, with nobody's help.
    pub(crate) fn statuses(&self) -> Vec<String> {
        let sql = "SELECT status FROM executions ORDER BY created_at";
        block_on(async {
            if self.database.starts_with("sqlite:") {
                let mut database = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut database).await.unwrap()
            } else {
                let mut database = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut database).await.unwrap()
            }
        })
    }

    /// A number that the database has.
    pub(crate) fn number(&self, sql: &'static str) -> i64 {
        block_on(async {
            if self.database.starts_with("sqlite:") {
                let mut database = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
            } else {
                let mut database = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
            }
        })
    }

    /// Waits until the only execution has ended so, without asking a door, which might help it along.
    pub(crate) fn ends_as(&self, status: &str, deadline: Duration) {
        eventually(deadline, &format!("the execution to be {status}"), || {
            (self.statuses() == [status]).then_some(())
        });
    }
}

/// One run of a workflow that can be asked for again.
pub(crate) struct Run<'a> {
    pub(crate) workflow: &'a str,
    pub(crate) key: &'a str,
    pub(crate) input: Value,
}

/// Whether a run died at its fault rather than ended.
pub(crate) fn was_killed(ended: &Ended) -> bool {
    ended.status.signal() == Some(rustix::process::Signal::ABORT.as_raw())
}

/// The execution that `windlass run --json` printed.
pub(crate) fn execution_of(ended: &Ended) -> Value {
    ended.json()
}

/// The lines of a ledger: the idempotency key of each call that was counted.
pub(crate) fn counted(ledger: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Asks how an execution stands until a step does as wanted.
pub(crate) fn step_is(door: &mut Client, execution_id: &str, step: &str, status: &str) {
    eventually(SOON, &format!("step {step} to be {status}"), || {
        let known = door.call_ok("workflow.status", json!({ "execution_id": execution_id }));
        let steps = known["steps"].as_array().unwrap();
        steps.iter().any(|known| known["name"] == step && known["status"] == status).then_some(())
    });
}
