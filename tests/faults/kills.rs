//! `kill -9` at random, under load.

use std::time::Duration;

use super::{
    fleet::plain,
    load::{Load, under_load},
    on, setting,
};
use crate::durability::Scene;

on_both!(servers_that_are_killed_at_random_lose_nothing_and_repeat_nothing_unsafe);

fn servers_that_are_killed_at_random_lose_nothing_and_repeat_nothing_unsafe(scene: &Scene) {
    let executions = setting("WINDLASS_FAULT_EXECUTIONS", 300);
    let kills = setting("WINDLASS_FAULT_KILLS", 30);
    let name = &format!("random kills on {}", on(scene));
    let load = Load { name, executions, agents: 24, servers: 2, start: &plain, observed: None };
    let figures = under_load(scene, &load, |field, chance| {
        for kill in 1..=kills {
            // Spread over the whole load, however fast it goes.
            field.wait_for(kill * executions / (kills + 2), Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(chance.below(150) as u64));
            let index = chance.below(2);
            field.fleet.kill(index);
            field.fleet.revive(index);
        }
    });
    assert!(executions <= figures.executions, "{figures}");
    assert!(0 < figures.takeovers, "no kill struck anything: {figures}");
}
