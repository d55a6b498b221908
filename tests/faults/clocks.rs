//! Clocks that jump, both ways, by more than a lease holds.

use std::{thread, time::Duration};

use super::{
    fleet::plain,
    load::{Load, under_load},
    on,
};
use crate::durability::Scene;

/// More than a lease, and little enough to be waited for.
const JUMP_MS: [i64; 6] = [20_000, 0, -20_000, 0, 20_000, 0];

/// On SQLite leases are counted on the machine's clock, on Postgres on the database's.
#[test]
fn a_clock_of_the_machine_that_jumps_stops_nothing_on_sqlite() {
    jumps(Scene::on_sqlite(), "WINDLASS_TEST_CLOCK", Duration::from_millis(500));
}

#[test]
fn a_clock_of_the_database_that_jumps_stops_nothing_on_postgres() {
    // Each server measures that clock every five seconds.
    jumps(Scene::on_postgres(), "WINDLASS_TEST_DATABASE_CLOCK", Duration::from_secs(6));
}

/// Leases seem to be over while their holders live, so that several drive one execution; one of them may write.
fn jumps(scene: Scene, variable: &str, stays: Duration) {
    let file = scene.project.path().join("clock");
    let start = |scene: &Scene, _: usize| {
        scene.project.serve_http_with(&[(variable, file.to_str().unwrap())])
    };
    let load = Load {
        name: &format!("jumping clocks on {}", on(&scene)),
        executions: 80,
        agents: 12,
        servers: 2,
        start: &start,
        observed: None,
    };
    let figures = under_load(&scene, &load, |field, _| {
        for (round, jump) in JUMP_MS.iter().enumerate() {
            field.wait_for((round + 1) * 11, Duration::from_secs(5));
            // A server measures its clock after it has renewed its leases: until it renews them again, those of what is out
            // seem to be over.
            field.have_calls_out();
            std::fs::write(&file, jump.to_string()).unwrap();
            thread::sleep(stays);
        }
    });
    assert!(0 < figures.takeovers, "no lease ever seemed to be over: {figures}");
}

/// Whoever keeps time by the database does not look at its own clock.
#[test]
fn a_clock_of_the_machine_that_jumps_moves_no_lease_on_postgres() {
    let scene = Scene::on_postgres();
    let file = scene.project.path().join("clock");
    let start = |scene: &Scene, index: usize| match index {
        0 => scene.project.serve_http_with(&[("WINDLASS_TEST_CLOCK", file.to_str().unwrap())]),
        _ => plain(scene, index),
    };
    let load = Load {
        name: "a jumping clock beside Postgres",
        executions: 40,
        agents: 12,
        servers: 2,
        start: &start,
        observed: None,
    };
    std::fs::write(&file, "3600000").unwrap();
    let figures = under_load(&scene, &load, |field, _| {
        field.wait_for(20, Duration::from_secs(5));
        std::fs::write(&file, "-3600000").unwrap();
    });
    assert_eq!(figures.takeovers, 0, "a lease was taken from who held it: {figures}");
}
