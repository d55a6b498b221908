//! Several servers on one database: one may go, politely or not, and the others go on.

mod life;
mod rolling;
mod sessions;
mod together;

use std::time::{Duration, Instant};

use serde_json::json;

use super::{LEASE, Scene, counted, step_is, worker::SLOW};
use crate::harness::{Client, Cluster, HttpServer, Project, SOON, begin, eventually, settled};

on_both!(
    another_replica_finishes_what_a_killed_one_began,
    a_cancel_through_another_replica_stops_the_tool,
    a_server_that_is_told_to_end_lets_its_calls_come_home,
    a_call_that_outlasts_the_drain_is_handed_over,
);

fn client(server: &HttpServer) -> Client {
    let mut client = server.client().with_deadline(2 * LEASE);
    client.initialize();
    client
}

fn another_replica_finishes_what_a_killed_one_began(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let (mut first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut client_of_first = client(&first);
    let id =
        begin(&mut client_of_first, "slow", json!({ "file": scene.ledger("slow"), "ms": 1000 }));
    step_is(&mut client_of_first, &id, "nap", "running");
    first.process.kill();
    let ended = settled(&mut client(&second), &id);
    assert_eq!(ended["output"], json!({ "counted": 2 }), "{ended:#}");
    assert_eq!(counted(&scene.ledger("slow")).len(), 2);
}

fn a_cancel_through_another_replica_stops_the_tool(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let (first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut client_of_first = client(&first);
    let id =
        begin(&mut client_of_first, "slow", json!({ "file": scene.ledger("slow"), "ms": 600_000 }));
    step_is(&mut client_of_first, &id, "nap", "running");
    let told = Instant::now();
    let mut client_of_second = client(&second);
    let cancel = json!({ "execution_id": id, "action": "cancel", "reason": "not needed" });
    client_of_second.call_ok("workflow.control", cancel);
    let ended = settled(&mut client_of_second, &id);
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    assert!(told.elapsed() < Duration::from_secs(12), "took {:?}", told.elapsed());
    assert_eq!(counted(&scene.ledger("slow")).len(), 1, "nothing begins after a cancel");
}

fn a_server_that_is_told_to_end_lets_its_calls_come_home(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let mut first = scene.project.serve_http();
    let mut client_of_first = client(&first);
    let id =
        begin(&mut client_of_first, "slow", json!({ "file": scene.ledger("slow"), "ms": 2000 }));
    step_is(&mut client_of_first, &id, "nap", "running");
    drop(client_of_first);
    assert!(first.process.stop(SOON).success());
    let second = scene.project.serve_http();
    let mut client_of_second = client(&second);
    let began = Instant::now();
    assert_eq!(settled(&mut client_of_second, &id)["output"], json!({ "counted": 2 }));
    assert!(began.elapsed() < Duration::from_secs(2), "it slept again, or waited for a lease");
}

fn a_call_that_outlasts_the_drain_is_handed_over(scene: &Scene) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let (mut first, second) = (scene.project.serve_http(), scene.project.serve_http());
    let mut client_of_first = client(&first);
    let id =
        begin(&mut client_of_first, "slow", json!({ "file": scene.ledger("slow"), "ms": 600_000 }));
    step_is(&mut client_of_first, &id, "nap", "running");
    drop(client_of_first);
    assert!(first.process.stop(SOON).success());
    // Only who drives it can end it this soon: a lease that was not given back would hold for longer.
    let told = Instant::now();
    let mut client_of_second = client(&second);
    client_of_second.call_ok("workflow.control", json!({ "execution_id": id, "action": "cancel" }));
    assert_eq!(settled(&mut client_of_second, &id)["status"], "cancelled");
    assert!(told.elapsed() < Duration::from_secs(8), "took {:?}", told.elapsed());
}

#[test]
fn an_execution_outlives_a_restart_of_postgres() {
    let cluster = Cluster::start();
    let scene = Scene::at(Project::new(), cluster.database());
    scene.project.write("workflows/slow.yaml", SLOW);
    let server = scene.project.serve_http();
    let mut client = client(&server);
    let id = begin(&mut client, "slow", json!({ "file": scene.ledger("slow"), "ms": 1500 }));
    step_is(&mut client, &id, "nap", "running");
    cluster.kill();
    // The tool's answer comes while nobody can write it down.
    let refused = eventually(SOON, "the door to say that the database is gone", || {
        let status = client.call("workflow.status", json!({ "execution_id": id }));
        (status["isError"] == true).then(|| crate::harness::text_of(&status))
    });
    assert!(refused.contains("Nothing that was accepted is lost"), "{refused}");
    cluster.start_again();
    scene.ends_as("completed", LEASE);
    assert_eq!(settled(&mut client, &id)["output"], json!({ "counted": 2 }));
    assert_eq!(counted(&scene.ledger("slow")).len(), 2);
}
