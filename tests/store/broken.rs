//! A database that cannot be used says what is wrong with it, and what to do.

use std::{fs, net::TcpListener, process::Command};

use tempfile::TempDir;
use windlass::store::{Error, Store};

use super::{Database, create, wish};
use crate::harness::{Project, SOON, database, run};

/// Opening fails, and says what is expected at the start.
async fn refuses(url: &str, expected: &str) -> Error {
    let error = Store::open(url, "home").await.err().expect("it cannot be opened");
    let text = error.to_string();
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("secret"), "{text}");
    error
}

fn folder() -> TempDir {
    TempDir::with_prefix("windlass-broken-").unwrap()
}

#[tokio::test]
async fn an_address_of_no_known_kind_is_named_without_its_password() {
    let expected = "the database setting is neither sqlite:PATH nor postgres://USER@HOST/NAME";
    refuses("mysql://me:secret@host/name", expected).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_as_such() {
    let folder = folder();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "these are my notes\n".repeat(500)).unwrap();
    refuses(&format!("sqlite:{}", path.display()), "the file is not a SQLite database").await;
    assert!(fs::read_to_string(&path).unwrap().starts_with("these are my notes"), "left as it was");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_named_as_such() {
    let folder = folder();
    let url = format!("sqlite:{}", folder.path().display());
    refuses(&url, "the SQLite file cannot be opened").await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("data");
    let url = format!("sqlite:{}", inside.join("windlass.db").display());
    let error = refuses(&url, "check that the folder exists and is yours").await;
    assert!(matches!(error, Error::Folder { path, .. } if path == inside));
}

#[tokio::test]
async fn a_file_that_may_only_be_read_says_so_when_it_is_opened() {
    let folder = folder();
    let path = folder.path().join("empty.db");
    fs::write(&path, "").unwrap();
    let url = format!("sqlite:{}?mode=ro", path.display());
    refuses(&url, "the SQLite file or its folder is read-only").await;
}

#[tokio::test]
async fn a_file_that_may_only_be_read_says_so_when_it_is_written() {
    let database = Database::sqlite();
    // Stays open: the last one to close a file takes its log away, which a reader cannot make anew.
    let _writer = database.open().await;
    let reader = Store::open(&format!("{}?mode=ro", database.url), "home").await.unwrap();
    assert!(reader.executions("ada", 1).await.unwrap().is_empty());
    let error = create(&reader, &wish("exec_1")).await.unwrap_err();
    assert!(error.to_string().starts_with("the SQLite file or its folder is read-only"), "{error}");
}

#[tokio::test]
async fn a_postgres_that_is_not_there_is_named_as_such() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:secret@127.0.0.1:{port}/name");
    refuses(&url, "the database cannot be reached; check that it runs").await;
}

#[tokio::test]
async fn a_postgres_database_that_does_not_exist_is_named_as_such() {
    let url = format!("{}_of_nobody", database());
    refuses(&url, "Postgres has no such database; create it with createdb").await;
}

#[tokio::test]
async fn a_postgres_user_that_does_not_exist_is_named_as_such() {
    let url = database().replacen("postgres://", "postgres://nobody:secret@", 1);
    // The address the tests are given may name a user already.
    let (scheme, rest) = url.split_at("postgres://nobody:secret@".len());
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let expected = "Postgres refuses the user or password in the database setting";
    refuses(&format!("{scheme}{host}"), expected).await;
}

#[test]
fn a_full_disk_is_named_as_such_and_what_was_there_is_kept() {
    let hello = "name: hi\nsteps:\n  - { name: a, tool: demo.echo }\n";
    let project = Project::new().with_workflow("hi", hello);
    project.run_ok(&["run", "hi"]);
    // A file that may not grow is as good as a full disk, and every user can have one.
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_windlass"), "run", "hi"]);
    project.isolate(&mut command);
    let ended = run(&mut command, 3 * SOON);
    assert!(!ended.status.success(), "{ended:#?}");
    assert!(ended.stderr.contains("the disk is full"), "{}", ended.stderr);
    let ids = project.run_ok(&["status", "--json"]);
    assert_eq!(ids.matches("exec_").count(), 1, "{ids}");
    project.run_ok(&["run", "hi"]);
}
