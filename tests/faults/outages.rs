//! Postgres goes away under load: it crashes, another takes its place, or the network in between breaks.

use std::{thread, time::Duration};

use serde_json::json;

use super::{
    fleet::plain,
    load::{Load, under_load},
};
use crate::{
    durability::Scene,
    harness::{Cluster, HttpServer, Project, Proxy},
};

/// How long a disturbance waits for the load to get somewhere.
const A_WHILE: Duration = Duration::from_secs(10);

#[test]
fn postgres_that_crashes_again_and_again_under_load_loses_nothing() {
    let cluster = Cluster::start();
    let scene = Scene::at(Project::new(), cluster.database());
    let load = Load {
        name: "crashes of Postgres",
        executions: 100,
        agents: 16,
        servers: 2,
        start: &plain,
        observed: None,
    };
    under_load(&scene, &load, |field, chance| {
        for crash in 1..=3 {
            field.wait_for(crash * 20, A_WHILE);
            cluster.kill();
            thread::sleep(Duration::from_millis(chance.below(1500) as u64));
            cluster.start_again();
        }
    });
}

/// Without the standby's word the primary confirms nothing, so nothing that was accepted is on the primary alone.
#[test]
fn postgres_that_fails_over_to_its_synchronous_standby_under_load_loses_nothing() {
    let primary = Cluster::start();
    let address = primary.database();
    let standby = primary.synchronous_standby();
    let proxy = Proxy::to(primary.port());
    let scene = Scene::at(Project::new(), proxy.instead_of(&address));
    let load = Load {
        name: "failover of Postgres",
        executions: 80,
        agents: 16,
        servers: 2,
        start: &plain,
        observed: None,
    };
    under_load(&scene, &load, |field, _| {
        field.wait_for(25, A_WHILE);
        primary.kill();
        standby.promote();
        proxy.lead_to(standby.port());
        proxy.cut();
    });
    assert_eq!(standby.number("SELECT pg_is_in_recovery()::INT::BIGINT"), 0, "it was promoted");
}

#[test]
fn a_network_that_is_cut_slow_and_mute_under_load_loses_nothing() {
    let cluster = Cluster::start();
    let address = cluster.database();
    let proxy = Proxy::to(cluster.port());
    let scene = Scene::at(Project::new(), proxy.instead_of(&address));
    let load = Load {
        name: "a broken network",
        executions: 100,
        agents: 16,
        servers: 2,
        start: &plain,
        observed: Some(address),
    };
    under_load(&scene, &load, |field, chance| {
        for round in 1..=3 {
            field.wait_for(round * 20, A_WHILE);
            proxy.cut();
            thread::sleep(Duration::from_millis(500));
            proxy.delay(Duration::from_millis(5 + chance.below(10) as u64));
            thread::sleep(Duration::from_millis(1500));
            proxy.delay(Duration::ZERO);
            proxy.mute(true);
            thread::sleep(Duration::from_millis(2000));
            // What was said meanwhile arrives late, or never.
            if chance.percent(50) {
                proxy.cut();
            }
            proxy.mute(false);
        }
    });
}

/// Nobody but its agent knows that it was started: an error in place of its id would have it started again.
#[test]
fn who_waits_for_an_execution_hears_its_end_although_postgres_was_away_meanwhile() {
    const NAP: &str = "name: nap\nsteps: [{ name: nap, tool: demo.sleep, params: { ms: 2500 } }]\n";
    let cluster = Cluster::start();
    let database = cluster.database();
    let project = Project::new().with_workflow("nap", NAP).with_env("WINDLASS_DATABASE", &database);
    let (one, other) = (project.serve_http(), project.serve_http());
    let connected = |server: &HttpServer| {
        let mut client = server.client();
        client.initialize();
        client
    };
    let (mut runs, mut waits) = (connected(&one), connected(&other));
    let begun = runs.call_ok("workflow.run", json!({ "workflow": "nap", "wait_seconds": 0 }));
    let id = begun["execution_id"].clone();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            runs.call_ok("workflow.run", json!({ "workflow": "nap", "wait_seconds": 50 }))
        });
        let status = json!({ "execution_id": id, "wait_seconds": 50 });
        let waiting = scope.spawn(|| waits.call_ok("workflow.status", status));
        thread::sleep(Duration::from_millis(700));
        cluster.kill();
        thread::sleep(Duration::from_secs(4));
        cluster.start_again();
        assert_eq!(running.join().unwrap()["status"], "completed");
        assert_eq!(waiting.join().unwrap()["status"], "completed");
    });
    let listed = connected(&one).call_ok("workflow.status", json!({}));
    assert_eq!(listed["executions"].as_array().unwrap().len(), 2, "{listed}");
}

/// One of two servers hears nothing of the database for longer than its leases hold, and then all of it at once.
#[test]
fn a_server_that_is_cut_off_for_longer_than_its_leases_is_replaced_and_commits_nothing_late() {
    let cluster = Cluster::start();
    let address = cluster.database();
    let proxy = Proxy::to(cluster.port());
    let through = proxy.instead_of(&address);
    let scene = Scene::at(Project::new(), address);
    let start = move |scene: &Scene, index: usize| match index {
        0 => scene.project.serve_http_with(&[("WINDLASS_DATABASE", &through)]),
        _ => scene.project.serve_http(),
    };
    let load = Load {
        name: "a partition",
        executions: 60,
        agents: 12,
        servers: 2,
        start: &start,
        observed: None,
    };
    let figures = under_load(&scene, &load, |field, _| {
        field.wait_for(15, A_WHILE);
        // The server that is cut off has something in hand.
        field.have_calls_out();
        proxy.mute(true);
        thread::sleep(Duration::from_secs(18));
        proxy.mute(false);
    });
    assert!(0 < figures.takeovers, "nobody took over: {figures}");
}
