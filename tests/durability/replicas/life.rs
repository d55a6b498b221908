//! Who lives, who only seems to, and who is about to end.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    super::{Scene, counted, step_is, worker::SLOW},
    client,
};
use crate::harness::{HttpServer, SOON, begin, block_on, eventually, get, settled};

on_both!(
    a_frozen_server_that_was_replaced_writes_nothing_and_calls_nothing_more,
    a_server_that_is_told_to_end_says_so_at_once_and_answers_meanwhile,
    a_server_that_is_told_twice_to_end_ends_at_once,
);

/// Half a lease: whoever takes over sooner did not wait for it to run out.
const SOONER_THAN_A_LEASE: Duration = Duration::from_millis(7_500);

const HOLDERS: &str =
    "SELECT COUNT(*) FROM workers w JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted
    AND (l.classid::BIGINT << 32) | l.objid::BIGINT = w.lock_key";

fn ask_postgres(scene: &Scene, sql: &str) {
    block_on(async {
        let mut connection = PgConnection::connect(&scene.database).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    });
}

fn begin_to_nap(scene: &Scene, server: &HttpServer, ms: u64) -> String {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut client = client(server);
    let id = begin(&mut client, "slow", json!({ "file": scene.ledger("slow"), "ms": ms }));
    step_is(&mut client, &id, "nap", "running");
    id
}

#[test]
fn what_a_dead_server_did_is_taken_over_long_before_its_lease_runs_out() {
    let scene = Scene::on_postgres();
    let (mut first, second) = (scene.project.serve_http(), scene.project.serve_http());
    eventually(SOON, "both to hold a lock", || (scene.number(HOLDERS) == 2).then_some(()));
    let id = begin_to_nap(&scene, &first, 1_000);
    first.process.kill();
    let killed = Instant::now();
    eventually(SOONER_THAN_A_LEASE, "the other to take over", || {
        (scene.number("SELECT lease_epoch FROM executions") == 2).then_some(())
    });
    println!("taken over after {} ms", killed.elapsed().as_millis());
    assert_eq!(settled(&mut client(&second), &id)["output"], json!({ "counted": 2 }));
    assert_eq!(scene.number("SELECT COUNT(*) FROM workers"), 1, "the dead one's row is gone");
}

#[test]
fn a_server_that_loses_only_its_lock_takes_another_and_goes_on() {
    let scene = Scene::on_postgres();
    let (first, _second) = (scene.project.serve_http(), scene.project.serve_http());
    eventually(SOON, "both to hold a lock", || (scene.number(HOLDERS) == 2).then_some(()));
    let id = begin_to_nap(&scene, &first, 3_000);
    let keys = "SELECT CAST(SUM(lock_key % 1000003) AS BIGINT) FROM workers";
    let before = scene.number(keys);
    ask_postgres(
        &scene,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    eventually(SOON, "both to hold other locks", || {
        (scene.number(HOLDERS) == 2 && scene.number(keys) != before).then_some(())
    });
    assert_eq!(settled(&mut client(&first), &id)["output"], json!({ "counted": 2 }));
    assert_eq!(scene.number("SELECT lease_epoch FROM executions"), 1, "nobody took over");
    assert_eq!(counted(&scene.ledger("slow")).len(), 2);
}

#[test]
fn a_server_without_a_connection_for_its_lock_works_by_its_leases() {
    let scene = Scene::on_postgres();
    let project =
        scene.project.with_env("WINDLASS_DATABASE_DIRECT_URL", "postgres://127.0.0.1:1/x");
    let scene = Scene { project, database: scene.database };
    let server = scene.project.serve_http();
    let id = begin_to_nap(&scene, &server, 100);
    assert_eq!(settled(&mut client(&server), &id)["output"], json!({ "counted": 2 }));
    let known = "SELECT COUNT(*) FROM workers WHERE lock_key IS NULL";
    eventually(SOON, "its row to name no lock", || (scene.number(known) == 1).then_some(()));
}

fn a_frozen_server_that_was_replaced_writes_nothing_and_calls_nothing_more(scene: &Scene) {
    let (first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let id = begin_to_nap(scene, &first, 1_500);
    first.process.pause();
    // As if it had been frozen for longer than a lease.
    scene.let_leases_run_out();
    let ended = settled(&mut client(&second), &id);
    assert_eq!(ended["output"], json!({ "counted": 2 }), "{ended:#}");
    let events = "SELECT COUNT(*) FROM events WHERE execution_id = (SELECT id FROM executions ORDER BY created_at LIMIT 1)";
    let before = scene.number(events);
    first.process.resume();
    // Its nap is over by now. It drives something new, with whatever it has still to do before that.
    let other = json!({ "file": scene.ledger("other"), "ms": 1_000 });
    let other = begin(&mut client(&first), "slow", other);
    assert_eq!(settled(&mut client(&first), &other)["status"], "completed");
    assert_eq!(scene.number(events), before, "the zombie wrote");
    assert_eq!(scene.number("SELECT MAX(lease_epoch) FROM executions"), 2, "one took over");
    assert_eq!(counted(&scene.ledger("slow")).len(), 2);
}

fn a_server_that_is_told_to_end_says_so_at_once_and_answers_meanwhile(scene: &Scene) {
    let mut command = scene.project.command(&["serve", "--http", "127.0.0.1:0"]);
    let mut server = HttpServer::start(command.env("WINDLASS_HTTP_LINGER_MS", "2500"));
    let ready = format!("{}/readyz", server.address);
    eventually(SOON, "it to be ready", || (get(&ready, &[]).status == 200).then_some(()));
    let mut client = client(&server);
    server.process.terminate();
    let said = eventually(SOON, "it to say that it ends", || {
        let said = get(&ready, &[]);
        (said.status == 503).then_some(said)
    });
    assert!(said.body.contains("draining"), "{said:?}");
    client.call_ok("workflow.list", json!({}));
    drop(client);
    assert!(server.process.ended(SOON).success());
}

fn a_server_that_is_told_twice_to_end_ends_at_once(scene: &Scene) {
    let mut command = scene.project.command(&["serve", "--http", "127.0.0.1:0"]);
    let mut server = HttpServer::start(command.env("WINDLASS_HTTP_LINGER_MS", "600000"));
    begin_to_nap(scene, &server, 600_000);
    server.process.terminate();
    let ready = format!("{}/readyz", server.address);
    eventually(SOON, "it to say that it ends", || (get(&ready, &[]).status == 503).then_some(()));
    server.process.terminate();
    assert!(server.process.ended(SOON).success(), "ten minutes were not up");
}
