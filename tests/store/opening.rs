//! A database is opened by whoever comes, however many, and by releases of more than one age.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use sqlx::{Connection, PgConnection, SqliteConnection};
use windlass::store::Store;

use super::{Database, create_due};
use crate::harness::{Project, SOON, eventually};

const AT_ONCE: usize = 8;

async fn is_opened_twice_and_by_the_past(database: Database) {
    let first = database.open().await;
    create_due(&first, "exec_1").await;
    let second = database.open().await;
    assert!(second.execution("exec_1").await.unwrap().is_some());
    // What a later release would leave behind: a migration that this one does not know, and a column.
    let newer = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
                 SELECT 999, 'later', installed_on, success, checksum, 0 FROM _sqlx_migrations WHERE version = 1;
                 ALTER TABLE executions ADD COLUMN later TEXT;";
    database.write(newer).await;
    let third = database.open().await;
    create_due(&third, "exec_2").await;
    assert_eq!(third.executions("ada", 5).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_sqlite_file_serves_again_and_after_a_newer_release() {
    is_opened_twice_and_by_the_past(Database::sqlite()).await;
}

#[tokio::test]
async fn a_postgres_database_serves_again_and_after_a_newer_release() {
    is_opened_twice_and_by_the_past(Database::postgres()).await;
}

/// One thread has to do for all: whoever waits for the lock must not keep its holder from going on.
async fn is_opened_by_many_tasks(database: Database) {
    let open = |_| Store::open(&database.url, "home");
    let opening = futures::future::join_all((0..AT_ONCE).map(open));
    for store in tokio::time::timeout(SOON, opening).await.expect("they keep each other waiting") {
        store.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn many_tasks_open_a_new_sqlite_file_at_once() {
    is_opened_by_many_tasks(Database::sqlite()).await;
}

#[tokio::test]
async fn many_tasks_open_a_new_postgres_database_at_once() {
    is_opened_by_many_tasks(Database::postgres()).await;
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap()
}

fn many_processes_open(project: &Project) {
    let children: Vec<Child> =
        (0..AT_ONCE).map(|_| start(&mut project.command(&["status"]))).collect();
    for mut child in children {
        let status =
            eventually(3 * SOON, "the end of `windlass status`", || child.try_wait().unwrap());
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("piped above");
        std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
        assert!(status.success(), "{said}");
    }
}

#[test]
fn many_processes_open_a_new_sqlite_file_at_once() {
    let project = Project::new();
    many_processes_open(&project);
    let files: Vec<_> = fs::read_dir(project.data_dir()).unwrap().collect();
    assert!(!files.is_empty(), "they made one");
}

#[test]
fn many_processes_open_a_new_postgres_database_at_once() {
    many_processes_open(&Project::on_postgres());
}

/// Yesterday's database: what the first release made of it, with one step that was called.
async fn knows_what_the_first_release_wrote(database: Database, first: &str) {
    let folder = tempfile::TempDir::with_prefix("windlass-migrations-").unwrap();
    fs::write(folder.path().join("0001_init.sql"), first).unwrap();
    let migrator = sqlx::migrate::Migrator::new(folder.path().to_owned()).await.unwrap();
    if database.is_postgres() {
        migrator.run(&mut PgConnection::connect(&database.url).await.unwrap()).await.unwrap();
    } else {
        fs::write(database.url.trim_start_matches("sqlite:"), "").unwrap();
        migrator.run(&mut SqliteConnection::connect(&database.url).await.unwrap()).await.unwrap();
    }
    let started = |step: &str, more: &str| {
        format!(r#"{{"kind":"attempt_started","step":"{step}","attempt":1,"call":1{more}}}"#)
    };
    let (given, again, other) = (
        started("a_b", r#","params":{"n":1}"#),
        started("a_b", ""),
        started("a_bc", r#","params":{"n":2}"#),
    );
    database
        .write(format!(
            "INSERT INTO executions (id, workspace, workflow, revision, status, input, requested_by, tool_servers,
                 min_engine, created_at, updated_at) VALUES ('exec_1', 'home', 'w', 'h', 'running', '{{}}', 'ada', '{{}}', 1, 1, 1);
             INSERT INTO events (execution_id, seq, at, kind, data) VALUES
                 ('exec_1', 1, 1, 'attempt_started', '{given}'), ('exec_1', 2, 1, 'attempt_started', '{again}'),
                 ('exec_1', 3, 1, 'attempt_started', '{other}');
             INSERT INTO steps (execution_id, step, tool, status, attempts) VALUES ('exec_1', 'a_b', 'x.y', 'running', 1);"
        ))
        .await;
    let store = database.open().await;
    let [step] = store.steps("exec_1").await.unwrap().try_into().unwrap();
    assert_eq!(step.params_seq, Some(1), "what it was called with is found");
    assert!(store.below("exec_1").await.unwrap().is_empty());
    assert!(store.open_requests_of("exec_1").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sqlite_file_of_the_first_release_is_understood() {
    let first = include_str!("../../migrations/sqlite/0001_init.sql");
    knows_what_the_first_release_wrote(Database::sqlite(), first).await;
}

#[tokio::test]
async fn a_postgres_database_of_the_first_release_is_understood() {
    let first = include_str!("../../migrations/postgres/0001_init.sql");
    knows_what_the_first_release_wrote(Database::postgres(), first).await;
}
