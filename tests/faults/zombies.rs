//! Servers that stop in mid-call, are taken for dead, and come back.

use std::{thread, time::Duration};

use serde_json::json;

use super::{
    agent::Agent,
    fleet::plain,
    history::{self, Told},
    ledger,
    load::{Load, under_load},
    observer::Observer,
    on, shapes,
};
use crate::{
    durability::Scene,
    harness::{Running, SOON, eventually},
};

on_both!(
    a_server_that_stops_for_longer_than_its_leases_is_replaced_and_commits_nothing_late,
    who_comes_back_commits_nothing_even_if_who_took_over_has_died,
);

fn a_server_that_stops_for_longer_than_its_leases_is_replaced_and_commits_nothing_late(
    scene: &Scene,
) {
    let load = Load {
        name: &format!("a stopped server on {}", on(scene)),
        executions: 60,
        agents: 12,
        servers: 2,
        start: &plain,
        observed: None,
    };
    let figures = under_load(scene, &load, |field, _| {
        field.wait_for(15, Duration::from_secs(10));
        // The one that stops has something in hand.
        field.have_calls_out();
        field.fleet.pause(0);
        thread::sleep(Duration::from_secs(20));
        field.fleet.resume(0);
    });
    assert!(0 < figures.takeovers, "nobody took over: {figures}");
}

/// The newest event is the one the first holder knows, and only the epoch says that the lease is another's.
fn who_comes_back_commits_nothing_even_if_who_took_over_has_died(scene: &Scene) {
    shapes::configure(&scene.project);
    let step = json!({ "name": "slow", "tool": "ledger.keyed", "params": { "n": 1, "ms": 3000 } });
    shapes::put(&scene.project, "lonely", &json!({ "name": "lonely", "steps": [step] }));
    let first = scene.project.serve_http_with(&[("WINDLASS_LOG", "windlass=debug")]);
    let mut observer = Observer::at(scene.database());
    observer.audit();
    let arguments = json!({ "workflow": "lonely", "idempotency_key": "once", "wait_seconds": 0 });
    let begun = Agent::new().call(&first.address, "workflow.run", &arguments).unwrap();
    let id = begun["execution_id"].as_str().unwrap().to_owned();
    let file = scene.project.path().join("ledger");
    eventually(3 * SOON, "the call", || (!ledger::effects(&file).is_empty()).then_some(()));
    first.process.pause();

    let expire = "UPDATE executions SET lease_until = 0, wake_at = 0 WHERE lease_owner IS NOT NULL";
    observer.execute(expire);
    // It may be dead before it says where it listens.
    let mut second = scene.project.command(&["serve", "--http", "127.0.0.1:0"]);
    let mut second = Running::start(second.env("WINDLASS_FAULT", "after_claim:1"));
    assert!(!second.ended(3 * SOON).success());
    let standing = |observer: &mut Observer| {
        observer.rows("status, last_seq, lease_epoch", "executions").remove(0)
    };
    let before = standing(&mut observer);
    assert_eq!(before[2], 2, "it was claimed twice: {before}");

    first.process.resume();
    first.process.stderr_line(3 * SOON, "about the lease that is lost", |line| {
        line.contains("another worker drives the execution now").then_some(())
    });
    let after = standing(&mut observer);
    // On Postgres somebody sees that the second is dead, and claims it; then the audit says who wrote what.
    let is_claimed = before[2].as_i64() < after[2].as_i64();
    assert!(is_claimed || after == before, "who has no lease has written something: {after}");

    observer.execute(&format!("{expire} AND lease_epoch = {}", before[2]));
    eventually(6 * SOON, "the end", || {
        let ended = observer.rows("id", "executions WHERE status = 'completed'");
        (!ended.is_empty()).then_some(())
    });
    let told = Told { accepted: [("once".to_owned(), id)].into(), ..Told::default() };
    let figures = history::check(&mut observer, &file, &told);
    assert_eq!(figures.repeats["keyed"], 1, "{figures}");
}
