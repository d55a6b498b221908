//! The benchmark tells what it saw, counts what it should, and leaves nothing behind. No figure is asserted.

use std::{io::Write, path::Path, process::Stdio};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::harness::{Ended, Project, Running, SOON, block_on, database, eventually};

/// Makes two tests of each promise: one on SQLite, one on PostgreSQL.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $promise() { super::$promise(&super::Ground::sqlite()); })+
        }
        mod on_postgres {
            $(#[test] fn $promise() { super::$promise(&super::Ground::postgres()); })+
        }
    };
}

on_both!(
    each_shape_gives_one_line_whose_counts_agree,
    a_program_that_takes_turns_is_answered_line_by_line,
    parked_executions_are_counted_and_looked_at,
    what_is_filled_in_looks_as_if_it_had_run,
    a_database_of_others_is_measured_on_and_not_filled,
    what_a_killed_benchmark_left_goes_with_the_next_one,
);

/// A project, and a database that nobody has used.
struct Ground {
    project: Project,
    database: String,
}

impl Ground {
    fn sqlite() -> Ground {
        let project = Project::new();
        let database = format!("sqlite:{}", project.path().join("measured.db").display());
        Ground { project, database }
    }

    fn postgres() -> Ground {
        Ground { project: Project::new(), database: database() }
    }

    fn is_postgres(&self) -> bool {
        self.database.starts_with("postgres")
    }

    fn bench(&self, arguments: &[&str]) -> Ended {
        self.project.run(&[&["bench", "--database", &self.database], arguments].concat())
    }

    /// The only line on standard output.
    #[track_caller]
    fn line(&self, arguments: &[&str]) -> Value {
        let ended = self.bench(arguments).expect(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:#?}");
        ended.json()
    }

    fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            if self.is_postgres() {
                let mut connection = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            } else {
                let mut connection = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
            }
        })
    }

    fn write(&self, sql: &'static str) {
        block_on(async {
            if self.is_postgres() {
                let mut connection = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap();
            } else {
                let mut connection = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap();
            }
        });
    }

    /// Every table with rows in it, and how many; the migrator's own aside.
    fn left(&self) -> Vec<(String, i64)> {
        let tables = if self.is_postgres() {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = 'public'"
        } else {
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        };
        let tables: Vec<String> = block_on(async {
            if self.is_postgres() {
                let mut connection = PgConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap()
            } else {
                let mut connection = SqliteConnection::connect(&self.database).await.unwrap();
                sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap()
            }
        });
        assert!(10 < tables.len(), "{tables:?}");
        let own = tables.into_iter().filter(|table| table != "_sqlx_migrations");
        let counted = own.map(|table| {
            let count = self.number(&format!("SELECT COUNT(*) FROM {table}"));
            (table, count)
        });
        counted.filter(|(_, count)| 0 < *count).collect()
    }

    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.left(), []);
        assert!(folders_left(&self.project).is_empty(), "{:?}", folders_left(&self.project));
    }
}

fn folders_left(project: &Project) -> Vec<String> {
    let names = std::fs::read_dir(project.temporary()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("windlass-bench-")).collect()
}

/// A tool server over standard input and output that has `echo`.
fn echo() -> String {
    format!("{} tool-server demo", env!("CARGO_BIN_EXE_windlass"))
}

#[track_caller]
fn agrees(line: &Value, shape: &str, calls: &str) {
    assert_eq!((&line["shape"], &line["calls"]), (&json!(shape), &json!(calls)), "{line}");
    assert_eq!((&line["errors"], &line["first_error"]), (&json!(0), &json!(null)), "{line}");
    let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
    assert!(0.0 < number("executions"), "{line}");
    let rate = number("executions") / number("seconds");
    assert!((number("executions_per_s") / rate - 1.0).abs() < 0.01, "{line}");
    assert!(number("p50_ms") <= number("p95_ms") && number("p95_ms") <= number("p99_ms"), "{line}");
    for cost in ["commits_per_execution", "statements_per_execution", "cpu_ms_per_execution"] {
        assert!(0.0 < number(cost), "{cost}: {line}");
    }
    assert!(number("commits_per_execution") <= number("statements_per_execution"), "{line}");
    assert!(line["version"].is_string() && line["profile"].is_string(), "{line}");
}

fn each_shape_gives_one_line_whose_counts_agree(ground: &Ground) {
    let short = ["--seconds", "0.5", "--concurrency", "4"];
    let line = ground.line(&[&["n5"][..], &short].concat());
    agrees(&line, "n5", "demo.noop");
    assert_eq!(line["concurrency"], 4);
    let kind = if ground.is_postgres() { "postgres" } else { "sqlite" };
    assert_eq!(line["database"], kind);
    assert_eq!(line["synchronous"], if ground.is_postgres() { "on" } else { "full" });
    assert_eq!(line["wal_bytes_per_execution"].is_number(), ground.is_postgres(), "{line}");
    ground.is_clean();

    let echo = echo();
    let w5 = ground.line(&[&["w5", "--tool-server", &echo][..], &short].concat());
    agrees(&w5, "w5", "bench.echo");
    // Linux tells what processes take; a server that is really called takes something.
    if cfg!(target_os = "linux") {
        assert!(w5["tool_server_cpu_ms_per_execution"].is_number(), "{w5}");
    }
    agrees(&ground.line(&[&["f20"][..], &short].concat()), "f20", "demo.noop");
    let f20 = [&["f20", "--tool-server", &echo, "--synchronous", "off"][..], &short].concat();
    let f20 = ground.line(&f20);
    agrees(&f20, "f20", "bench.echo");
    assert_eq!(f20["synchronous"], "off");
    ground.is_clean();
}

/// Gives lines to the driver and reads what it says until it ends.
fn driven(ground: &Ground, lines: &str, arguments: &[&str]) -> Ended {
    let all = [&["bench", "--driver", "--database", &ground.database], arguments].concat();
    let mut command = ground.project.command(&all);
    let path = ground.project.path().join("lines");
    std::fs::File::create(&path).unwrap().write_all(lines.as_bytes()).unwrap();
    let output = ground.project.path().join("answers");
    command.stdin(std::fs::File::open(path).unwrap());
    command.stdout(std::fs::File::create(&output).unwrap());
    let mut running = Running::start(&mut command);
    let status = running.ended(3 * SOON);
    Ended { status, stdout: std::fs::read_to_string(output).unwrap(), stderr: running.stderr() }
}

fn a_program_that_takes_turns_is_answered_line_by_line(ground: &Ground) {
    let lines = r#"{"shape":"w5","conc":3,"secs":0.3}
{"shape":"n5","conc":1,"count":2}
{"shape":"nothing","conc":1,"secs":1}
{"shape":"n5","conc":0,"secs":1}
{"shape":"n5"}
not JSON
{"shape":"f20","conc":2,"count":3}
quit
{"shape":"n5","conc":1,"count":1}
"#;
    let ended = driven(ground, lines, &["--tool-server", &echo()]).expect(0);
    let answers: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [ready, w5, n5, unknown, no_lanes, endless, no_json, f20] = answers.as_slice() else {
        panic!("{ended:#?}")
    };
    assert_eq!(*ready, json!({ "ready": true, "shapes": ["n5", "w5", "f20"] }));
    for (measured, least) in [(w5, 1), (n5, 2), (f20, 3)] {
        let latencies = measured["lat"].as_array().unwrap();
        assert_eq!(measured["n"], latencies.len(), "{measured}");
        assert!(least <= latencies.len() && measured["errors"] == 0, "{measured}");
        assert!(latencies.iter().all(|ms| 0.0 < ms.as_f64().unwrap()), "{measured}");
        assert!(0.0 < measured["secs"].as_f64().unwrap(), "{measured}");
    }
    assert_eq!((&n5["n"], &f20["n"]), (&json!(2), &json!(3)), "a count is kept to");
    let refused = [
        (unknown, r#"no shape is called "nothing"; known: n5, w5, f20"#),
        (no_lanes, "conc is a whole number from 1"),
        (endless, "neither secs nor count"),
        (no_json, "no JSON"),
    ];
    for (answer, said) in refused {
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
    }
    ground.is_clean();
}

fn parked_executions_are_counted_and_looked_at(ground: &Ground) {
    let line = ground.line(&["park", "--executions", "20", "--seconds", "1"]);
    assert_eq!((&line["parked"], &line["errors"]), (&json!(20), &json!(0)), "{line}");
    // One was there before, so that what happens once is not counted.
    let rows = &line["rows"];
    assert_eq!((&rows["executions"], &rows["requests"]), (&json!(21), &json!(21)), "{line}");
    assert_eq!(line["connections"].is_number(), ground.is_postgres(), "{line}");
    assert!(line["queries_per_s"].is_number() && line["tasks"].is_number(), "{line}");
    ground.is_clean();
}

fn what_is_filled_in_looks_as_if_it_had_run(ground: &Ground) {
    let line = ground.line(&["--fill", "2k", "--keep"]);
    let filled = &line["filled"];
    let told = ["finished", "parked", "requests"].map(|name| filled[name].as_i64().unwrap());
    assert_eq!(told, [1980, 20, 20], "{line}");
    // Each kind was made after one that ran.
    for (sql, count) in [
        ("SELECT COUNT(*) FROM executions WHERE status = 'completed'", 1981),
        (
            "SELECT COUNT(*) FROM executions WHERE status = 'waiting' AND waiting_for IS NOT NULL",
            21,
        ),
        ("SELECT COUNT(DISTINCT id) FROM requests WHERE status = 'open'", 21),
        ("SELECT COUNT(*) FROM events WHERE execution_id NOT IN (SELECT id FROM executions)", 0),
        ("SELECT COUNT(*) FROM events WHERE seq = 1", 2002),
    ] {
        assert_eq!(ground.number(sql), count, "{sql}");
    }
    assert_eq!(filled["events"], ground.number("SELECT COUNT(*) FROM events") - 5, "{line}");
    assert_eq!(filled["steps"], 2000, "{line}");

    let of = ["--workspace", "bench", "--database", &ground.database];
    let requests = ground.project.run_ok(&[&["requests", "--json"][..], &of].concat());
    let requests: Value = serde_json::from_str(&requests).unwrap();
    let request = &requests["requests"][7];
    let id = request["execution_id"].as_str().unwrap();
    let status = ground.project.run(&[&["status", id, "--json"][..], &of].concat()).json();
    assert_eq!(status["status"], "waiting", "{status}");
    assert_eq!(status["requests"][0]["request_id"], request["request_id"], "{status}");

    // A later one adds to it, measures in it, and takes all of it away.
    let line = ground.line(&["n5", "--fill", "100", "--seconds", "0.2", "--concurrency", "2"]);
    agrees(&line, "n5", "demo.noop");
    assert_eq!(line["filled"]["finished"], 99);
    ground.is_clean();
}

fn a_database_of_others_is_measured_on_and_not_filled(ground: &Ground) {
    let of = ["--workspace", "home", "--database", &ground.database];
    ground
        .project
        .write("workflows/mine.yaml", "name: mine\nsteps: [{ name: a, tool: demo.noop }]\n");
    ground.project.run_ok(&[&["run", "mine"][..], &of].concat());
    eventually(SOON, "the others to be at rest", || {
        (ground.number("SELECT COUNT(*) FROM workers") == 0).then_some(())
    });
    let before = ground.left();
    agrees(&ground.line(&["n5", "--seconds", "0.2", "--concurrency", "1"]), "n5", "demo.noop");
    assert_eq!(ground.left(), before);
    let refused = ground.bench(&["--fill", "10"]).expect(2);
    assert!(refused.stderr.contains("holds executions or workflows of others"), "{refused:#?}");
    assert_eq!(ground.left(), before);
}

fn what_a_killed_benchmark_left_goes_with_the_next_one(ground: &Ground) {
    let long = ["bench", "n5", "--seconds", "600", "--database", &ground.database];
    let mut command = ground.project.command(&long);
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    running.stderr_line(SOON, "where it measures", |line| line.contains("measuring").then_some(()));
    let some = "SELECT COUNT(*) FROM executions WHERE status = 'completed'";
    eventually(SOON, "executions of the benchmark", || (5 < ground.number(some)).then_some(()));
    running.kill();
    let left = ground.number("SELECT COUNT(*) FROM executions");

    // While it may live, nobody touches what is its.
    agrees(&ground.line(&["n5", "--seconds", "0.2", "--concurrency", "1"]), "n5", "demo.noop");
    assert_eq!(ground.number("SELECT COUNT(*) FROM executions"), left);
    ground.write("UPDATE workers SET seen_at = 0");
    let next = ground.bench(&["n5", "--seconds", "0.2", "--concurrency", "1"]).expect(0);
    assert!(next.stderr.contains("of a benchmark that did not end"), "{next:#?}");
    assert_eq!(ground.number("SELECT COUNT(*) FROM executions"), 0);
    assert_eq!(ground.number("SELECT COUNT(*) FROM revisions"), 0);
}

#[test]
fn a_database_that_is_only_configured_is_not_measured_on() {
    let project = Project::new();
    let file = project.path().join("configured.db");
    let project = project.with_env("WINDLASS_DATABASE", &format!("sqlite:{}", file.display()));
    let line = project.run(&["bench", "n5", "--seconds", "0.2", "--concurrency", "2"]).expect(0);
    agrees(&line.json(), "n5", "demo.noop");
    assert!(!file.exists() && !project.data_dir().exists(), "it was touched");
    assert!(folders_left(&project).is_empty(), "{:?}", folders_left(&project));

    let kept = ["bench", "n5", "--seconds", "0.2", "--synchronous", "normal", "--keep"];
    let kept = project.run(&kept).expect(0);
    assert_eq!(kept.json()["synchronous"], "normal");
    let folder = folders_left(&project).pop().unwrap();
    assert!(kept.stderr.contains(&folder), "it says where: {kept:#?}");
    assert!(project.temporary().join(folder).join("windlass.db").exists());
}

#[test]
fn what_cannot_be_measured_is_refused_in_words() {
    let project = Project::new();
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let ended = project.run(&[&["bench"], arguments].concat()).expect(code);
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {ended:#?}");
        }
        assert!(folders_left(&project).is_empty(), "{arguments:?}");
    };
    refused(&["x9"], 2, &["x9", "n5, w5, f20, park"]);
    refused(&[], 2, &["n5, w5, f20 or park"]);
    refused(&["w5"], 2, &["--tool-server"]);
    refused(&["n5", "--concurrency", "0"], 2, &["from 1 to"]);
    refused(&["n5", "--fill", "many"], 2, &["2k or 10M"]);
    refused(&["n5", "--seconds", "0"], 2, &["0.1"]);
    refused(&["w5", "--tool-server", "/nowhere/at/all"], 5, &["--tool-server"]);
    let postgres = database();
    let normal = ["n5", "--synchronous", "normal", "--database", &postgres];
    refused(&normal, 5, &["setting of SQLite"]);
}

#[test]
fn executions_that_fail_are_counted_and_the_first_is_told() {
    let fake =
        Path::new(env!("CARGO_BIN_EXE_windlass")).with_file_name("examples/fake_tool_server");
    let changes = json!({ "echo": {
        "inputSchema": { "properties": { "message": { "type": "string" } }, "required": ["message"] },
        "outputSchema": { "type": "object", "required": ["message"] },
    } });
    let project = Project::new().with_file("changes.json", &changes.to_string());
    let changes = project.path().join("changes.json");
    let server = format!("{} normal --changes {}", fake.display(), changes.display());
    let arguments =
        ["bench", "w5", "--tool-server", &server, "--seconds", "0.2", "--concurrency", "2"];
    let ended = project.run(&arguments).expect(1);
    let line = ended.json();
    assert!(0 < line["errors"].as_i64().unwrap(), "{line}");
    let first = line["first_error"].as_str().unwrap();
    assert!(
        first.contains("is failed, not completed") && first.contains("output schema"),
        "{first}"
    );
    assert!(ended.stderr.contains(first), "{ended:#?}");
    assert!(folders_left(&project).is_empty());
}
