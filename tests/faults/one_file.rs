//! Several processes of several kinds on one SQLite file, some of which are killed.

use std::{
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use super::{
    chance::Chance,
    fleet::plain,
    load::{Load, under_load},
    shapes,
};
use crate::durability::Scene;

/// How many runs are started from a terminal, two at once.
const RUNS: usize = 24;

#[test]
fn runs_and_servers_share_one_file_while_they_are_killed() {
    let scene = Scene::on_sqlite();
    let load = Load {
        name: "runs and a server on one file",
        executions: 60,
        agents: 8,
        servers: 1,
        start: &plain,
        observed: None,
    };
    let mut killed = 0;
    under_load(&scene, &load, |field, chance| {
        let mut running: Vec<(String, Child)> = Vec::new();
        for number in 0..RUNS {
            let key = format!("run-{number}");
            running.push((key.clone(), start(&scene, chance, &key)));
            if number % 8 == 7 {
                field.fleet.kill(0);
                field.fleet.revive(0);
            }
            if running.len() < 2 {
                continue;
            }
            let (key, mut run) = running.remove(0);
            thread::sleep(Duration::from_millis(chance.below(600) as u64));
            if chance.percent(50) && run.try_wait().unwrap().is_none() {
                run.kill().unwrap();
                killed += 1;
            }
            let said = run.wait_with_output().unwrap();
            let told = serde_json::from_slice::<serde_json::Value>(&said.stdout).ok();
            if let Some(id) = told.and_then(|told| Some(told["execution_id"].as_str()?.to_owned()))
            {
                field.was_told(&key, id);
            }
        }
        for (_, mut run) in running {
            run.kill().unwrap();
            run.wait().unwrap();
        }
    });
    assert!(0 < killed, "no run was killed");
}

fn start(scene: &Scene, chance: &mut Chance, key: &str) -> Child {
    let workflow = format!("w{}", chance.below(shapes::SHAPES));
    let mut command =
        scene.project.command(&["run", &workflow, "--json", "--idempotency-key", key]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}
