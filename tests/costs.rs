//! What it costs to be there: an idle process asks about once a second, and executions that wait for a person are rows and
//! nothing else. Statements, connections, tasks and threads are counted; no time is measured.

use std::{fs, time::Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::harness::{HttpServer, Project, block_on, database, eventually};

const PARKED: &str = "name: parked\nsteps: [{ name: sure, approval: { message: Go on? } }]\n";

const QUICK: &str = "name: quick\nsteps: [{ name: note, tool: demo.echo, params: { text: hi } }]\n";

/// More statements a second than an idle process sends: one look, and every five seconds what keeps its worker known.
const MOST_A_SECOND: f64 = 3.0;

/// The connections that a process may have to Postgres: its pool's, two that write groups, four that read for many at once, one
/// that listens, and one that shows that it lives.
const MOST_CONNECTIONS: i64 = 16 + 2 + 4 + 2;

/// What a database says of something by this name.
fn number(database: &str, sql: &'static str, name: &str) -> i64 {
    block_on(async {
        let mut connection = PgConnection::connect(database).await.unwrap();
        let number = sqlx::query_scalar(sql).bind(name).fetch_one(&mut connection).await;
        connection.close().await.unwrap();
        number.unwrap()
    })
}

/// The server, as another database of it sees this one.
struct Seen {
    server: String,
    name: String,
}

impl Seen {
    fn of(database: &str) -> Seen {
        let (server, name) = database.rsplit_once('/').unwrap();
        Seen { server: format!("{server}/postgres"), name: name.to_owned() }
    }

    fn number(&self, sql: &'static str) -> i64 {
        number(&self.server, sql, &self.name)
    }

    /// Every transaction so far: a statement alone is one.
    fn transactions(&self) -> i64 {
        self.number("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1")
    }

    fn connections(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = $1")
    }

    /// Transactions a second, over so many looks at least.
    fn rate(&self) -> f64 {
        let (before, began) = (self.transactions(), Instant::now());
        // The server adds up what its sessions did within a second; five of them are enough to tell one from many.
        std::thread::sleep(std::time::Duration::from_secs(6));
        (self.transactions() - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Waits until what was started is at rest.
    fn calm(&self) -> f64 {
        eventually(crate::harness::SOON * 3, "the server to be at rest", || {
            Some(self.rate()).filter(|rate| *rate <= MOST_A_SECOND)
        })
    }
}

/// A number that the kernel keeps of a process; `None` where it keeps none.
fn kept(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn park(server: &HttpServer, count: usize) {
    let mut client = server.client();
    client.initialize();
    for _ in 0..count {
        let arguments = json!({ "workflow": "parked", "wait_seconds": 0 });
        client.call_ok("workflow.run", arguments);
    }
}

#[test]
fn an_idle_server_and_one_with_hundreds_of_parked_executions_ask_the_same() {
    let database = database();
    let project =
        Project::new().with_workflow("parked", PARKED).with_env("WINDLASS_DATABASE", &database);
    let server = project.serve_http();
    let seen = Seen::of(&database);
    // What happens once has happened: caches are warm, connections are made.
    park(&server, 20);
    let idle = seen.calm();
    assert!(0.0 < idle, "it does look");
    let threads = kept(server.process.id(), "Threads:");
    let memory = kept(server.process.id(), "VmRSS:");

    park(&server, 300);
    let parked = seen.calm();
    assert!(parked <= MOST_A_SECOND, "{parked} a second, {idle} before");
    let waiting = "SELECT COUNT(*) FROM executions WHERE status = 'waiting' AND lease_until = 0 AND lease_owner IS NULL";
    let waiting: i64 = block_on(async {
        let mut connection = PgConnection::connect(&database).await.unwrap();
        sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap()
    });
    assert_eq!(waiting, 320, "nobody holds them");
    assert!(seen.connections() <= MOST_CONNECTIONS, "{}", seen.connections());
    if let (Some(before), Some(after)) = (threads, kept(server.process.id(), "Threads:")) {
        // Threads that block come and go with requests; one for each execution would be hundreds.
        assert!(after <= before + 20, "{before} threads, then {after}");
    }
    if let (Some(before), Some(after)) = (memory, kept(server.process.id(), "VmRSS:")) {
        let each = after.saturating_sub(before) / 300;
        assert!(each < 64, "{each} KiB for each of them");
    }
}

/// How often PostgreSQL has looked into a table so far.
fn looks_into(database: &str, table: &str) -> i64 {
    let sql = "SELECT seq_scan + COALESCE(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = $1";
    number(database, sql, table)
}

#[test]
fn a_run_of_a_workflow_that_ran_before_is_written_and_answered_without_reading() {
    const RUNS: i64 = 200;
    let database = database();
    let project =
        Project::new().with_workflow("quick", QUICK).with_env("WINDLASS_DATABASE", &database);
    let server = project.serve_http();
    let mut client = server.client();
    client.initialize();
    let mut run = || client.call_ok("workflow.run", json!({ "workflow": "quick" }));
    run();
    // How it stands now is compared where the execution is written, and a step is looked for where it is written.
    let tables = [("workflows", 1), ("steps", 2), ("artifacts", 0), ("model_usages", 0)];
    let before = tables.map(|(table, _)| looks_into(&database, table));
    for _ in 0..RUNS {
        assert_eq!(run()["status"], "completed");
    }
    // What a session did last is added up after ten seconds.
    std::thread::sleep(std::time::Duration::from_secs(11));
    for ((table, each), before) in tables.into_iter().zip(before) {
        let looks = looks_into(&database, table) - before;
        let wanted = each * RUNS;
        assert!((looks - wanted).abs() < RUNS / 4, "{looks} looks into {table}, not {wanted}");
    }
}

fn parked(project: &Project, count: &str) -> Value {
    let arguments =
        ["bench", "park", "--executions", count, "--seconds", "5", "--concurrency", "4"];
    let line = project.run(&arguments).expect(0).json();
    assert_eq!(
        (&line["errors"], line["parked"].to_string()),
        (&json!(0), count.to_owned()),
        "{line}"
    );
    line
}

#[test]
fn on_sqlite_parked_executions_take_no_statement_and_no_task() {
    let project = Project::new();
    let (few, many) = (parked(&project, "2"), parked(&project, "500"));
    for line in [&few, &many] {
        let rate = line["queries_per_s"].as_f64().unwrap();
        assert!(0.0 < rate && rate <= MOST_A_SECOND, "{line}");
    }
    let tasks = |line: &Value, name: &str| line[name].as_i64().unwrap();
    let grown = tasks(&many, "tasks") - tasks(&few, "tasks");
    assert!(grown <= 4, "{grown} tasks more for 498 executions: {many}");
    if let (Some(before), Some(after)) =
        (many["resident_bytes_before"].as_i64(), many["resident_bytes"].as_i64())
    {
        let each = (after - before) / 500;
        assert!(each < 64 * 1024, "{each} bytes each: {many}");
    }
}
