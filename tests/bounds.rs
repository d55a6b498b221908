//! At the edges: large results, many steps, tools that never answer, databases that are locked, full, broken or gone.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::runtime::Runtime;

use crate::{
    durability::{LEASE, Run, SLOW, Scene, counted, execution_of, step_is},
    harness::{Client, Ended, HttpServer, SOON, begin, eventually, limit_files, settled, text_of},
};

on_both!(
    a_result_of_any_size_arrives_whole,
    five_hundred_steps_in_a_row_run_to_the_end,
    five_hundred_steps_side_by_side_run_to_the_end,
);

const LARGE: &str = r#"
name: large
input: { type: object, required: [bytes], properties: { bytes: { type: integer } } }
steps:
  - { name: make, tool: demo.text, params: { bytes: "${input.bytes}" } }
  - { name: pass, tool: demo.echo, params: { text: "${steps.make.text}" } }
output: { length: "${size(steps.pass.text)}" }
"#;

fn a_result_of_any_size_arrives_whole(scene: &Scene) {
    scene.project.write("workflows/large.yaml", LARGE);
    // Around 64 KiB results move to a row of their own.
    for bytes in [0, 64 * 1024 - 100, 64 * 1024, 64 * 1024 + 1, 5 * 1024 * 1024] {
        let key = format!("of-{bytes}");
        let run = Run { workflow: "large", key: &key, input: json!({ "bytes": bytes }) };
        let execution = execution_of(&scene.run(&run, None));
        assert_eq!(
            execution["output"],
            json!({ "length": bytes }),
            "{bytes} bytes: {execution:.2000}"
        );
        let id = execution["execution_id"].as_str().unwrap();
        let shown = scene.project.run_ok(&["status", id, "--results", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        for step in shown["steps"].as_array().unwrap() {
            assert_eq!(step["result"]["text"].as_str().unwrap().len(), bytes, "{}", step["name"]);
        }
    }
    an_agent_is_spared_the_bulk(scene);
}

/// What an agent is answered goes into its context, so it is told where the rest is.
fn an_agent_is_spared_the_bulk(scene: &Scene) {
    let mut door = scene.door();
    let id = begin(&mut door, "large", json!({ "bytes": 5 * 1024 * 1024 }));
    assert_eq!(settled(&mut door, &id)["status"], "completed");
    let arguments = json!({ "execution_id": id, "fields": ["results"], "step": "make" });
    let answer = door.call_ok("workflow.status", arguments).to_string();
    assert!(answer.len() < 100 * 1024, "{} bytes", answer.len());
    let whole = door.ask("resources/read", json!({ "uri": format!("workflow://executions/{id}") }));
    let text = whole["contents"][0]["text"].as_str().unwrap();
    assert!(5 * 1024 * 1024 < text.len(), "{} bytes", text.len());
}

const STEPS: usize = 500;

fn five_hundred_steps_in_a_row_run_to_the_end(scene: &Scene) {
    let steps = (1..STEPS).map(|number| {
        let before = number - 1;
        format!("  - {{ name: s{number}, tool: demo.echo, params: {{ n: '${{steps.s{before}.n + 1}}' }} }}\n")
    });
    let steps: String = steps.collect();
    let document = format!(
        "name: many\nsteps:\n  - {{ name: s0, tool: demo.echo, params: {{ n: 1 }} }}\n{steps}"
    );
    scene.project.write("workflows/many.yaml", &document);
    let execution = many(scene);
    assert_eq!(execution["output"], json!({ "n": STEPS }));
}

fn five_hundred_steps_side_by_side_run_to_the_end(scene: &Scene) {
    let steps = (1..STEPS).map(|number| {
        format!(
            "  - {{ name: s{number}, needs: [], tool: demo.echo, params: {{ n: {number} }} }}\n"
        )
    });
    let steps: String = steps.collect();
    let names: Vec<_> = (1..STEPS).map(|number| format!("s{number}")).collect();
    let last = format!(
        "  - {{ name: last, needs: [{}], tool: demo.echo, params: {{ n: '${{steps.s1.n + steps.s499.n}}' }} }}\n",
        names.join(", ")
    );
    scene.project.write(
        "workflows/many.yaml",
        &format!("name: many\nconfig: {{ maxParallel: 100 }}\nsteps:\n{steps}{last}"),
    );
    let execution = many(scene);
    assert_eq!(execution["output"], json!({ "n": STEPS }));
}

fn many(scene: &Scene) -> Value {
    let run = Run { workflow: "many", key: "many", input: json!({}) };
    let execution = execution_of(&scene.run(&run, None));
    assert_eq!(execution["status"], "completed", "{execution:.2000}");
    let steps = execution["steps"].as_array().unwrap();
    assert_eq!(steps.len(), STEPS);
    assert!(steps.iter().all(|step| step["status"] == "completed" && step["attempts"] == 1));
    execution
}

/// A tool server that hears calls and never answers one.
const MUTE: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"mute","version":"1"}}}' ;;
    *'"tools/list"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"tools":[
      {"name":"look","description":"Looks.","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},
      {"name":"touch","description":"Touches.","inputSchema":{"type":"object"}}]}}' | tr -d '\n'; echo ;;
    *'"tools/call"'*) : >>called ;;
  esac
done
"#;

fn with_mute_server() -> Scene {
    let scene = Scene::on_sqlite();
    let project = &scene.project;
    project.write("mute.sh", MUTE);
    project.write(
        "windlass.toml",
        "[mcpServers.mute]\ncommand = 'sh'\nargs = ['mute.sh']\nprotocol = 'legacy'\n",
    );
    for tool in ["look", "touch"] {
        let step = format!("{{ name: wait, tool: mute.{tool}, params: {{}}, timeoutMs: 4000 }}");
        project.write(
            &format!("workflows/{tool}.yaml"),
            &format!("name: {tool}\nsteps:\n  - {step}\n"),
        );
    }
    project.write(
        "workflows/forever.yaml",
        "name: forever\nsteps:\n  - { name: wait, tool: mute.look, params: {} }\n",
    );
    scene
}

#[test]
fn a_tool_that_never_answers_fails_when_its_time_is_over() {
    let scene = with_mute_server();
    let run = Run { workflow: "look", key: "look", input: json!({}) };
    let execution = execution_of(&scene.run(&run, None));
    assert_eq!(execution["status"], "failed", "{execution:#}");
    assert_eq!(execution["error"]["code"], "timeout", "{execution:#}");
    let message = execution["error"]["message"].as_str().unwrap();
    assert!(message.contains("mute.look"), "{message}");
}

#[test]
fn a_tool_that_never_answers_and_may_have_worked_leaves_its_step_uncertain() {
    let scene = with_mute_server();
    let run = Run { workflow: "touch", key: "touch", input: json!({}) };
    let execution = execution_of(&scene.run(&run, None));
    assert_eq!(execution["status"], "waiting", "{execution:#}");
    assert_eq!(execution["steps"][0]["status"], "uncertain", "{execution:#}");
    let message = execution["steps"][0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("mute.touch"), "{message}");
}

#[test]
fn a_tool_that_never_answers_does_not_keep_its_execution_from_being_cancelled() {
    let scene = with_mute_server();
    let mut door = scene.door();
    let id = begin(&mut door, "forever", json!({}));
    let called = scene.project.path().join("called");
    eventually(SOON, "the tool to be called", || called.exists().then_some(()));
    let told = Instant::now();
    door.call_ok("workflow.control", json!({ "execution_id": id, "action": "cancel" }));
    assert_eq!(settled(&mut door, &id)["status"], "cancelled");
    assert!(told.elapsed() < Duration::from_secs(8), "took {:?}", told.elapsed());
}

#[test]
fn a_tool_server_that_ends_at_once_is_named_with_how_it_ended_and_others_go_on() {
    let scene = Scene::on_sqlite();
    let project = &scene.project;
    project.write(
        "windlass.toml",
        "[mcpServers.sick]\ncommand = 'sh'\nargs = ['-c', 'echo no licence was found >&2; exit 3']\n[mcpServers.silent]\ncommand = 'false'\n",
    );
    for server in ["sick", "silent"] {
        let step = format!("{{ name: use, tool: {server}.anything, params: {{}} }}");
        project.write(
            &format!("workflows/{server}.yaml"),
            &format!("name: {server}\nsteps:\n  - {step}\n"),
        );
    }
    project.write("workflows/slow.yaml", SLOW);
    let mut door = scene.door();
    let well = begin(&mut door, "slow", json!({ "file": scene.ledger("slow"), "ms": 500 }));
    for (server, words) in [
        ("sick", &["exited with code 3", "no licence was found"][..]),
        ("silent", &["exited with code 1"]),
    ] {
        let id = begin(&mut door, server, json!({}));
        let ended = settled(&mut door, &id);
        assert_eq!(ended["status"], "failed", "{ended:#}");
        let message = ended["error"]["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    assert_eq!(settled(&mut door, &well)["output"], json!({ "counted": 2 }));
}

/// Another process's write lock on a SQLite file.
struct Lock {
    runtime: Runtime,
    connection: SqliteConnection,
}

impl Lock {
    fn take(file: &Path) -> Lock {
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(async {
            let address = format!("sqlite:{}", file.display());
            let mut connection = SqliteConnection::connect(&address).await.unwrap();
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            connection
        });
        Lock { runtime, connection }
    }

    fn release(mut self) {
        self.runtime.block_on(self.connection.execute("ROLLBACK")).unwrap();
    }
}

fn file(scene: &Scene) -> std::path::PathBuf {
    scene.project.data_dir().join("windlass.db")
}

fn slow(scene: &Scene) -> (HttpServer, Client) {
    scene.project.write("workflows/slow.yaml", SLOW);
    let server = scene.project.serve_http();
    let mut client = server.client().with_deadline(2 * LEASE);
    client.initialize();
    (server, client)
}

#[test]
fn a_database_that_is_locked_for_a_moment_is_waited_for() {
    let scene = Scene::on_sqlite();
    let (_server, mut client) = slow(&scene);
    let lock = Lock::take(&file(&scene));
    let input = json!({ "file": scene.ledger("slow"), "ms": 1 });
    let call =
        json!({ "name": "workflow.run", "arguments": { "workflow": "slow", "input": input } });
    let began = Instant::now();
    let asked = client.begin("tools/call", call);
    std::thread::sleep(Duration::from_secs(3));
    lock.release();
    let answer = client.answer(asked).unwrap();
    assert!(Duration::from_secs(3) <= began.elapsed());
    assert_eq!(answer["structuredContent"]["output"], json!({ "counted": 2 }), "{answer:#}");
}

#[test]
fn a_database_that_is_locked_for_long_says_so_and_loses_nothing() {
    let scene = Scene::on_sqlite();
    let (_server, mut client) = slow(&scene);
    let accepted =
        begin(&mut client, "slow", json!({ "file": scene.ledger("accepted"), "ms": 1000 }));
    step_is(&mut client, &accepted, "nap", "running");
    let lock = Lock::take(&file(&scene));
    // It waits for as long as it may, longer than the nap: the nap's end cannot be written down.
    let refused = Run {
        workflow: "slow",
        key: "refused",
        input: json!({ "file": scene.ledger("refused"), "ms": 1 }),
    };
    let ended = scene.run(&refused, None);
    assert_eq!(ended.status.code(), Some(5), "{ended:#?}");
    assert!(said(&ended).contains("another process holds the SQLite file's lock"), "{ended:#?}");
    // Who only reads is not held up.
    let status = client.call_ok("workflow.status", json!({ "execution_id": accepted }));
    assert_eq!(status["status"], "running", "{status:#}");
    lock.release();
    let ended = settled(&mut client, &accepted);
    assert_eq!(ended["output"], json!({ "counted": 2 }), "{ended:#}");
    assert_eq!(counted(&scene.ledger("accepted")).len(), 2);
    assert_eq!(execution_of(&scene.run(&refused, None))["output"], json!({ "counted": 2 }));
}

fn said(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

#[test]
fn a_file_that_may_not_grow_says_so_and_loses_nothing() {
    let scene = Scene::on_sqlite();
    scene.project.write("workflows/slow.yaml", SLOW);
    // The kernel ends a process that writes beyond the limit, unless it does not mind.
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; exec \"$0\" serve --http 127.0.0.1:0";
    command.args(["-c", script, env!("CARGO_BIN_EXE_windlass")]).stdin(Stdio::null());
    scene.project.isolate(&mut command);
    let HttpServer { address, process } = HttpServer::start(&mut command);
    let mut client = Client::http(&format!("{address}/mcp")).with_deadline(2 * LEASE);
    client.initialize();
    let accepted =
        begin(&mut client, "slow", json!({ "file": scene.ledger("accepted"), "ms": 1000 }));
    step_is(&mut client, &accepted, "nap", "running");

    let usual = limit_files(process.id(), Some(0));
    let input = json!({ "file": scene.ledger("refused"), "ms": 1 });
    let arguments = json!({ "workflow": "slow", "input": input, "idempotency_key": "refused" });
    let refused = client.call_err("workflow.run", arguments.clone());
    assert!(refused.contains("the disk"), "{refused}");
    assert!(refused.contains("Nothing that was accepted is lost"), "{refused}");
    process.stderr_line(SOON, "about the commit that waits", |line| {
        line.contains("the database is asked again").then_some(())
    });

    limit_files(process.id(), usual);
    assert_eq!(settled(&mut client, &accepted)["output"], json!({ "counted": 2 }));
    assert_eq!(counted(&scene.ledger("accepted")).len(), 2);
    let again = client.call("workflow.run", arguments);
    assert_eq!(
        again["structuredContent"]["output"],
        json!({ "counted": 2 }),
        "{}",
        text_of(&again)
    );
}

#[test]
fn a_database_that_was_deleted_is_made_anew() {
    let scene = Scene::on_sqlite();
    let (mut server, mut client) = slow(&scene);
    let id = begin(&mut client, "slow", json!({ "file": scene.ledger("slow"), "ms": 1 }));
    settled(&mut client, &id);
    // Killed, it leaves the file's log behind, which belongs to nothing now.
    server.process.kill();
    fs::remove_file(file(&scene)).unwrap();
    let (_server, mut client) = slow(&scene);
    let text = client.call_err("workflow.status", json!({ "execution_id": id }));
    assert!(text.contains("no execution has the id"), "{text}");
    let id = begin(&mut client, "slow", json!({ "file": scene.ledger("slow"), "ms": 1 }));
    assert_eq!(settled(&mut client, &id)["status"], "completed");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let scene = Scene::on_sqlite();
    let garbage = "This is somebody's letter, and no database at all.\n".repeat(200);
    fs::create_dir_all(scene.project.data_dir()).unwrap();
    fs::write(file(&scene), &garbage).unwrap();
    for arguments in [
        &["run", "hello"][..],
        &["serve", "--http", "127.0.0.1:0"],
        &["serve"],
        &["list", "--executions"],
    ] {
        let ended = scene.project.run(arguments);
        assert_eq!(ended.status.code(), Some(5), "{arguments:?}: {ended:#?}");
        assert!(ended.stderr.contains("is not a SQLite database"), "{arguments:?}: {ended:#?}");
    }
    assert_eq!(fs::read_to_string(file(&scene)).unwrap(), garbage);
    fs::remove_file(file(&scene)).unwrap();
    scene.project.run_ok(&["run", "hello"]);
}

#[test]
fn a_database_that_may_only_be_read_takes_nothing_and_says_why() {
    let scene = Scene::on_sqlite();
    scene.project.run_ok(&["run", "hello"]);
    let read_only = format!("sqlite:{}?mode=ro", file(&scene).display());
    let reader = Scene::at(scene.project, read_only);
    let ended = reader.project.run(&["run", "hello"]);
    assert_eq!(ended.status.code(), Some(5), "{ended:#?}");
    assert!(ended.stderr.contains("read-only"), "{ended:#?}");
    let server = reader.project.serve_http();
    let mut client = server.client();
    client.initialize();
    let refused = client.call_err("workflow.run", json!({ "workflow": "hello" }));
    assert!(refused.contains("read-only"), "{refused}");
    let known = client.call_ok("workflow.status", json!({}));
    assert_eq!(known["executions"].as_array().unwrap().len(), 0, "another caller's: {known:#}");
}
