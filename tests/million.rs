//! What is asked often stays cheap among a million executions: the database goes along an index, and not far.
//!
//! No text of a statement stands here. The store's own methods run, and the database tells how it carried out what they
//! sent: PostgreSQL by its module auto_explain, SQLite when it is asked about each text that was sent.

use std::fs;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use tempfile::TempDir;
use windlass::{
    app::{Caller, Detail, RunRequest},
    config::Config,
    host::{Drive, Host},
    store::{FILLED_BY, Signal, Store, Templates, statements_sent},
};

use crate::harness::Cluster;

/// How many executions get events and steps as well; the others only make the table of executions as large as it is.
const WHOLE: i64 = 100_000;

/// How often the executions are doubled, tripled … : copies of each that are added.
const COPIES: i64 = 9;

/// How many pages of 8 KiB one statement may touch: a list shows up to forty executions, and each takes four pages of the
/// index and one of the table.
const MOST_BUFFERS: i64 = 400;

/// How many rows it may look at in vain.
const MOST_IN_VAIN: i64 = 100;

/// The tables that grow with every execution.
const LARGE: [&str; 5] = ["executions", "events", "steps", "requests", "signals"];

const ENDING: &str = "0123456789abcdef01234567";

const FINISHED: &str = "name: finished\nsteps: [{ name: a, set: { n: 1 } }]\n";
const PARKED: &str = "name: parked\nsteps: [{ name: sure, approval: { message: Go on? } }]\n";

/// Waits on this very thread: what it sends to SQLite is noted by thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

/// One execution that has ended and one that waits, which the others are made after.
struct Pattern {
    finished: String,
    parked: String,
    request: String,
}

async fn pattern(url: &str, folder: &TempDir) -> Pattern {
    let config = Config {
        project: folder.path().into(),
        data_dir: folder.path().join("data"),
        database: url.into(),
        workspace: "bench".into(),
        ..Config::default()
    };
    let host = Host::start(&config, Drive::InProcess).await.unwrap();
    let caller = Caller { name: FILLED_BY.into(), ..Caller::default() };
    let mut settled = Vec::new();
    for document in [FINISHED, PARKED] {
        let run = host.app.run_document(&caller, document, "here", RunRequest::default());
        let mut execution = run.await.unwrap();
        while execution.ended_at.is_none() && !execution.rests() {
            let (id, version) = (execution.execution_id, execution.version);
            let patience = crate::harness::SOON;
            execution = host.app.changed(&id, version, patience, Detail::Steps).await.unwrap();
        }
        settled.push(execution);
    }
    host.stop().await;
    let (parked, finished) = (settled.pop().unwrap(), settled.pop().unwrap());
    Pattern {
        finished: finished.execution_id,
        request: parked.requests[0].request_id.clone(),
        parked: parked.execution_id,
    }
}

async fn fill(store: &Store, pattern: &Pattern, count: i64) {
    let templates = Templates {
        finished: &pattern.finished,
        parked: &pattern.parked,
        request: &pattern.request,
        ending: ENDING,
    };
    let filled = store.fill(count, &templates, &|_| {}).await.unwrap();
    assert_eq!(filled.finished + filled.parked, count);
    assert_eq!(filled.parked, count / 100);
}

/// What processes ask all the time, and people often; each more often than it takes a plan to be kept.
async fn ask_everything(store: &Store, pattern: &Pattern) {
    let refused = vec![r#"{"x":"another configuration"}"#.to_owned()];
    let (id, parked) = (&pattern.finished, &pattern.parked);
    for round in 0..7 {
        // Nothing is due at first: that is what an idle process sees.
        assert!(store.claim("worker", &refused).await.unwrap().is_none());
        assert!(store.next_wake(&refused).await.unwrap().is_none(), "only persons are waited for");
        assert!(!store.has_work(&[]).await.unwrap());
        // Then one is, by a signal; whoever claims it gives it back.
        let signal =
            Signal::Event { name: format!("n{round}"), data: Value::Null, by: "ada".into() };
        assert!(store.signal(parked, &signal).await.unwrap());
        let claim = store.claim("worker", &refused).await.unwrap().expect("a signal makes it due");
        assert_eq!(&claim.execution_id, parked);
        store.renew("worker", std::slice::from_ref(parked)).await.unwrap();
        store.renew_one("worker", parked).await.unwrap();
        let loaded = store.load(&claim).await.unwrap();
        assert_eq!(loaded.signals.len(), round + 1);
        store.release(&claim, i64::MAX).await.unwrap();
        let among = store.claim_among("worker", std::slice::from_ref(id)).await.unwrap();
        assert!(among.is_none(), "it has ended");

        assert_eq!(store.execution(id).await.unwrap().unwrap().status, "completed");
        store.version(id).await.unwrap().unwrap();
        let listed = store.executions(FILLED_BY, 20).await.unwrap();
        assert!((20..=40).contains(&listed.len()), "{}", listed.len());
        assert_eq!(store.executions("nobody", 20).await.unwrap().len(), 20, "those that wait");
        assert_eq!(store.open_requests(20).await.unwrap().len(), 20);
        assert_eq!(store.open_requests_of(parked).await.unwrap().len(), 1);
        assert!(store.request(&pattern.request).await.unwrap().is_some());
        assert_eq!(store.signals(parked, 0).await.unwrap().len(), round + 1);
        assert_eq!(store.steps(id).await.unwrap().len(), 1);
        assert_eq!(store.shown_steps(id, 200).await.unwrap().0.len(), 1);
        assert!(3 <= store.history(id).await.unwrap().len());
        assert_eq!(store.events_of(id, &["execution_started"]).await.unwrap().len(), 1);
        assert!(store.event(id, 1).await.unwrap().is_some());
        assert_eq!(store.below(id).await.unwrap().len(), 0);
        assert_eq!(store.lock_waits(parked).await.unwrap().len(), 0);
    }
}

#[test]
fn postgres_goes_along_an_index_among_a_million_executions() {
    let cluster = Cluster::start();
    let url = cluster.database();
    let folder = TempDir::with_prefix("windlass-million-").unwrap();
    let (pattern, seen) = block_on(async {
        let pattern = pattern(&url, &folder).await;
        let store = Store::open(&url, "bench").await.unwrap();
        fill(&store, &pattern, WHOLE).await;
        let count = copy_executions(&url).await;
        assert!(1_000_000 <= count, "{count}");
        store.analyze().await.unwrap();
        store.close().await;
        explain_from_now_on(&url).await;
        let store = Store::open(&url, "bench").await.unwrap();
        let before = fs::read_to_string(cluster.folder().join("log")).unwrap().len();
        ask_everything(&store, &pattern).await;
        let presence = store.presence("worker").await.unwrap();
        let mut presence = presence.expect("Postgres has locks");
        presence.appear().await.unwrap();
        for _ in 0..7 {
            presence.look().await.unwrap();
        }
        store.close().await;
        (pattern, before)
    });
    let log = fs::read_to_string(cluster.folder().join("log")).unwrap();
    let plans = plans(&log[seen..]);
    assert!(7 * 20 < plans.len(), "only {} plans were told", plans.len());
    let complaints: std::collections::BTreeSet<String> =
        plans.iter().flat_map(complaints).collect();
    assert!(complaints.is_empty(), "{}:\n{}", pattern.parked, join(&complaints));
    // What is told is what happened: a look at every row is seen, and complained of.
    assert!(!complaints_of_a_whole_read(&url, &cluster).is_empty());
}

/// Adds copies of the executions under other ids, whatever columns they have.
async fn copy_executions(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "SELECT string_agg(quote_ident(column_name::TEXT), ', ' ORDER BY ordinal_position)
        FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = 'executions' AND column_name <> 'id'";
    let columns: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    for copy in 0..COPIES {
        let sql = format!(
            "INSERT INTO executions (id, {columns}) SELECT id || '_{copy}', {columns} FROM executions WHERE id LIKE '%{ENDING}'"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    sqlx::query_scalar("SELECT COUNT(*) FROM executions").fetch_one(&mut connection).await.unwrap()
}

/// Has every session that begins from now on tell the plan of each statement, with what it took, to the server's log.
async fn explain_from_now_on(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_buffers = on",
        "auto_explain.log_format = 'json'",
    ] {
        let sql = AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"));
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
}

/// The plans in a log: each is JSON on lines that begin with a tab.
fn plans(log: &str) -> Vec<Value> {
    let parts = log.split("  plan:\n").skip(1);
    let json = parts.map(|part| {
        let lines = part.lines().take_while(|line| line.starts_with('\t'));
        lines.collect::<Vec<_>>().join("\n")
    });
    json.map(|text| serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}")))
        .collect()
}

fn complaints(told: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let text = told["Query Text"].as_str().unwrap_or_default();
    let buffers =
        number(&told["Plan"], "Shared Hit Blocks") + number(&told["Plan"], "Shared Read Blocks");
    if MOST_BUFFERS < buffers {
        complaints.push(format!("more than {MOST_BUFFERS} pages for {text}"));
    }
    walk(&told["Plan"], &mut |node| {
        let relation = node["Relation Name"].as_str().unwrap_or_default();
        if node["Node Type"].as_str().is_some_and(|kind| kind.contains("Seq Scan"))
            && LARGE.contains(&relation)
        {
            complaints.push(format!("{relation} is read as a whole by {text}"));
        }
        if MOST_IN_VAIN < number(node, "Rows Removed by Filter") {
            complaints.push(format!("many rows of {relation} are looked at in vain by {text}"));
        }
    });
    complaints
}

fn number(node: &Value, name: &str) -> i64 {
    node[name].as_i64().unwrap_or_default()
}

fn walk(node: &Value, see: &mut impl FnMut(&Value)) {
    see(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        walk(below, see);
    }
}

fn complaints_of_a_whole_read(url: &str, cluster: &Cluster) -> Vec<String> {
    let log = || fs::read_to_string(cluster.folder().join("log")).unwrap();
    let before = log().len();
    block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = "SELECT COUNT(*) FROM executions WHERE input = 'nothing'";
        sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    plans(&log()[before..]).iter().flat_map(complaints).collect()
}

fn join<'c>(complaints: impl IntoIterator<Item = &'c String>) -> String {
    complaints.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n\n")
}

/// SQLite keeps no statistics unless it is told to, and nobody tells it: it plans the same for a million rows as for some.
#[test]
fn sqlite_goes_along_an_index_however_many_executions_there_are() {
    let folder = TempDir::with_prefix("windlass-million-").unwrap();
    let url = format!("sqlite:{}", folder.path().join("windlass.db").display());
    block_on(async {
        let pattern = pattern(&url, &folder).await;
        let store = Store::open(&url, "bench").await.unwrap();
        fill(&store, &pattern, 5_000).await;
        drop(statements_sent());
        ask_everything(&store, &pattern).await;
        let texts: std::collections::BTreeSet<&str> = statements_sent().into_iter().collect();
        assert!(20 < texts.len(), "only {} statements were sent", texts.len());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let statistics = "SELECT COUNT(*) FROM sqlite_master WHERE name LIKE 'sqlite_stat%'";
        let statistics: i64 =
            sqlx::query_scalar(statistics).fetch_one(&mut connection).await.unwrap();
        assert_eq!(statistics, 0, "then the number of rows would matter");
        let mut complaints = Vec::new();
        for text in texts {
            complaints.extend(scans(&mut connection, text).await);
        }
        assert!(complaints.is_empty(), "{}", join(&complaints));
        let whole =
            scans(&mut connection, "SELECT COUNT(*) FROM executions WHERE input = ''").await;
        assert_eq!(whole.len(), 1, "a look at every row is seen");
        store.close().await;
    });
}

/// Where a statement reads one of the large tables from one end to the other.
async fn scans(connection: &mut SqliteConnection, text: &str) -> Vec<String> {
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")));
    let lines = plan.fetch_all(connection).await.unwrap();
    let details = lines.iter().map(|line| line.get::<String, _>("detail"));
    let names = aliases(text);
    let scans = details.filter(|detail| {
        detail.strip_prefix("SCAN ").is_some_and(|rest| {
            let name = rest.split_whitespace().next().unwrap_or_default();
            LARGE.contains(&name) || names.iter().any(|alias| alias == name)
        })
    });
    scans.map(|detail| format!("{detail} in {text}")).collect()
}

/// The short names that a statement gives to the large tables.
fn aliases(text: &str) -> Vec<String> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2).filter(|pair| LARGE.contains(&pair[0]));
    let names = pairs
        .map(|pair| pair[1])
        .filter(|name| name.chars().all(|c| c.is_lowercase()) && name.len() <= 3);
    names.map(str::to_owned).collect()
}
