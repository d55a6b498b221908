//! What a user waits for and what it costs: starting, resting, one step. Measures the built binary; promises nothing.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../tests"]
mod tests {
    #[allow(dead_code, unused_imports, reason = "only the tests use all of it")]
    pub(crate) mod harness;
}

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use self::tests::harness::{Client, Project, eventually};

const STARTS: usize = 20;
const RUNS: usize = 300;
const WARM_UP: usize = 20;

const NO_OP: &str = "name: no_op\nsteps:\n  - { name: nothing, tool: demo.noop, params: {} }\n";

fn main() {
    let project = Project::new().with_workflow("no_op", NO_OP);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("windlass {} ({profile})", env!("CARGO_PKG_VERSION"));
    starting(&project);
    over_stdio(&project);
    over_http(&project);
}

/// From the start of the process to the answer of `initialize`, with a database that exists.
fn starting(project: &Project) {
    project.run_ok(&["run", "no_op"]);
    let start = || {
        let began = Instant::now();
        let mut door = project.client(&["serve"]);
        door.initialize();
        began.elapsed()
    };
    tell("stdio: start to initialize answered", measured(STARTS, start));
}

fn over_stdio(project: &Project) {
    let mut door = project.client(&["serve"]);
    door.initialize();
    let tools = door.ask("tools/list", json!({}));
    println!("stdio: tools/list: {} bytes", tools.to_string().len());
    println!("stdio: the door rests in {} KiB", resident_kib(door.process().id()));
    tell("stdio: workflow.run of one step that does nothing", runs(&mut door));
    let worker = eventually(Duration::from_secs(5), "a worker", || project.workers().pop());
    println!(
        "stdio: door and worker after {RUNS} runs hold {} and {} KiB",
        resident_kib(door.process().id()),
        resident_kib(worker)
    );
}

fn over_http(project: &Project) {
    let server = project.serve_http();
    println!("http: the server rests in {} KiB", resident_kib(server.process.id()));
    let mut client = server.client();
    client.initialize();
    tell("http: workflow.run of one step that does nothing", runs(&mut client));
}

/// Each run is durable when it is answered: with SQLite, every commit is on the disk.
fn runs(client: &mut Client) -> Vec<Duration> {
    let mut run = || {
        let began = Instant::now();
        let ended = client.call_ok("workflow.run", json!({ "workflow": "no_op" }));
        assert_eq!(ended["status"], "completed", "{ended}");
        began.elapsed()
    };
    (0..WARM_UP).for_each(|_| _ = run());
    measured(RUNS, run)
}

fn measured(times: usize, mut measure: impl FnMut() -> Duration) -> Vec<Duration> {
    let mut all: Vec<_> = (0..times).map(|_| measure()).collect();
    all.sort();
    all
}

/// The sorted times at their middle and near their end.
fn tell(what: &str, sorted: Vec<Duration>) {
    let at = |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms ({} times)", ms(at(50)), ms(at(99)), sorted.len());
}

/// What the kernel says a process holds in memory; 0 where it says nothing.
fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
