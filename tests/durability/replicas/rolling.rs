//! Servers are replaced one after the other while work comes in: nothing is lost, and nothing is done twice.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::super::{Scene, counted};
use crate::harness::{HttpServer, SOON, block_on, signed};

/// The release before this one, if it was built.
const PREVIOUS: &str = "WINDLASS_TEST_PREVIOUS";

/// How many clients there are.
const CLIENTS: usize = 4;

/// How long a client repeats what can be repeated.
const PATIENCE: Duration = Duration::from_secs(60);

const COUNTS: &str = r#"
name: counts
input: { type: object, required: [file], properties: { file: { type: string } } }
steps:
  - { name: before, tool: demo.count_keyed, params: { file: "${input.file}" } }
  - { name: nap, tool: demo.sleep, params: { ms: 150 } }
  - { name: after, tool: demo.count_keyed, params: { file: "${input.file}" } }
output: { counted: "${steps.after.count}" }
"#;

/// Asks one server after the other, and repeats what found nobody: as a load balancer and a patient client do.
struct RoundRobin {
    addresses: Mutex<Vec<String>>,
    turn: AtomicUsize,
    repeated: AtomicUsize,
}

impl RoundRobin {
    fn new(servers: &[HttpServer]) -> RoundRobin {
        let addresses = servers.iter().map(|server| server.address.clone()).collect();
        let (turn, repeated) = (AtomicUsize::new(0), AtomicUsize::new(0));
        RoundRobin { addresses: Mutex::new(addresses), turn, repeated }
    }

    fn replace(&self, index: usize, server: &HttpServer) {
        self.addresses.lock().unwrap()[index].clone_from(&server.address);
    }

    fn next(&self) -> String {
        let addresses = self.addresses.lock().unwrap();
        addresses[self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len()].clone()
    }

    /// The structured result of a call that may be repeated.
    async fn call(&self, http: &reqwest::Client, tool: &str, arguments: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = ask(http, &self.next(), tool, arguments).await;
            let problem = match answer {
                Ok(result) if result["isError"] != true => {
                    return result["structuredContent"].clone();
                }
                Ok(result) => result.to_string(),
                Err(problem) => problem,
            };
            assert!(Instant::now() < until, "{tool} is never answered: {problem}");
            self.repeated.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn ask(
    http: &reqwest::Client,
    address: &str,
    tool: &str,
    arguments: &Value,
) -> Result<Value, String> {
    let params = signed(json!({ "name": tool, "arguments": arguments }));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = http.post(format!("{address}/mcp")).header("Content-Type", "application/json");
    let request = request.header("Accept", "application/json, text/event-stream");
    let request = request.header("MCP-Protocol-Version", "2026-07-28");
    let request = request.header("Mcp-Method", "tools/call").header("Mcp-Name", tool);
    let answer = request.timeout(SOON).body(body.to_string()).send().await;
    let text = async { answer?.error_for_status()?.text().await }.await;
    let text = text.map_err(|error| error.to_string())?;
    let lines = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
    let mut messages = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answer = messages.find(|message| message["id"] == 1 && message.get("result").is_some());
    answer.map(|answer| answer["result"].clone()).ok_or(text)
}

/// One client's life: it begins executions with keys of its own, and follows each to its end.
fn work(scene: &Scene, servers: &RoundRobin, client: usize, enough: &AtomicBool) -> usize {
    block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut done = 0;
        while !enough.load(Ordering::Relaxed) {
            let name = format!("{client}-{done}");
            let input = json!({ "file": scene.ledger(&name) });
            let run = json!({ "workflow": "counts", "input": input, "idempotency_key": name, "wait_seconds": 0 });
            let begun = servers.call(&http, "workflow.run", &run).await;
            let id = begun["execution_id"].clone();
            loop {
                let status = json!({ "execution_id": id, "wait_seconds": 5 });
                let told = servers.call(&http, "workflow.status", &status).await;
                match told["status"].as_str() {
                    Some("completed") => break,
                    Some("running" | "pending") => {}
                    _ => panic!("{name} came to {told:#}"),
                }
            }
            done += 1;
        }
        done
    })
}

/// Clients work while `replace` does; then every execution has ended well and had each effect once.
fn under_load(
    scene: &Scene,
    servers: Vec<HttpServer>,
    replace: impl FnOnce(&RoundRobin, Vec<HttpServer>) -> Vec<HttpServer>,
) {
    scene.project.write("workflows/counts.yaml", COUNTS);
    let balancer = RoundRobin::new(&servers);
    let enough = AtomicBool::new(false);
    let done: Vec<usize> = thread::scope(|scope| {
        let (balancer, enough) = (&balancer, &enough);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || work(scene, balancer, client, enough)))
            .collect();
        let _living = replace(balancer, servers);
        enough.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let statuses = scene.statuses();
    assert_eq!(statuses.len(), done.iter().sum::<usize>(), "each key is one execution");
    assert!(statuses.iter().all(|status| status == "completed"), "{statuses:?}");
    for (client, done) in done.into_iter().enumerate() {
        assert!(0 < done, "client {client} did nothing");
        for number in 0..done {
            let effects = counted(&scene.ledger(&format!("{client}-{number}")));
            assert_eq!(effects.len(), 2, "{client}-{number}: {effects:?}");
        }
    }
}

/// Replaces them in turn, and returns those that live in the end: the clients go on for as long as these do.
fn replace_each(
    balancer: &RoundRobin,
    mut servers: Vec<HttpServer>,
    start: impl Fn(usize) -> HttpServer,
) -> Vec<HttpServer> {
    for (index, server) in servers.iter_mut().enumerate() {
        assert!(server.process.stop(SOON).success(), "it ends in order");
        *server = start(index);
        balancer.replace(index, server);
    }
    servers
}

#[test]
fn a_rolling_restart_loses_no_execution_and_repeats_no_effect() {
    let scene = Scene::on_postgres();
    scene.project.write("workflows/counts.yaml", COUNTS);
    let servers = (0..3).map(|_| scene.project.serve_http()).collect();
    under_load(&scene, servers, |balancer, servers| {
        replace_each(balancer, servers, |_| scene.project.serve_http())
    });
}

#[test]
#[allow(clippy::print_stderr, reason = "what was left out has to be said")]
fn the_previous_release_and_this_one_share_a_database() {
    let Some(previous) = std::env::var_os(PREVIOUS).map(PathBuf::from) else {
        eprintln!("left out: {PREVIOUS} names no binary of the previous release");
        return;
    };
    let scene = Scene::on_postgres();
    scene.project.write("workflows/counts.yaml", COUNTS);
    let old = |arguments: &[&str]| {
        let mut command = Command::new(&previous);
        command.args(arguments);
        scene.project.isolate(&mut command);
        command
    };
    let serve_old = || HttpServer::start(&mut old(&["serve", "--http", "127.0.0.1:0"]));
    // From the previous release, all of them, to this one; and the first of them back again.
    let servers = vec![serve_old(), serve_old(), serve_old()];
    under_load(&scene, servers, |balancer, servers| {
        replace_each(balancer, servers, |index| match index {
            0 | 2 => scene.project.serve_http(),
            _ => serve_old(),
        })
    });
    // On the schema of this release the previous one still runs by itself.
    let input = json!({ "file": scene.ledger("old") }).to_string();
    let ran =
        crate::harness::run(&mut old(&["run", "counts", "--json", "--input", &input]), 3 * SOON);
    let execution = ran.expect(0).json();
    let id = execution["execution_id"].as_str().unwrap();
    let status = crate::harness::run(&mut old(&["status", id, "--json"]), SOON).expect(0).json();
    assert_eq!(status["status"], "completed", "{status:#}");
}
