//! What watches Windlass sees: numbers for Prometheus, and traces from the caller to the tool.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    durability::{Run, Scene, was_killed},
    harness::{Answer, Client, Project, SOON, database, delete, eventually, get, post, settled},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SPAN: &str = "00f067aa0ba902b7";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

on_both!(
    a_trace_goes_on_in_the_process_that_takes_over,
    what_others_say_of_a_trace_goes_on_in_the_process_that_takes_over,
);

// ---- Metrics.

/// A sample's name and labels, as they are written, and its value.
type Samples = BTreeMap<String, f64>;

/// Reads the text format, and panics where it is not as Prometheus reads it.
fn samples(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped: Vec<&str> = Vec::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !helped.contains(&name), "{line}");
            helped.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(helped.last(), Some(&name), "help comes first: {line}");
            assert_eq!(families.insert(name, kind), None, "{line}");
            current = name;
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            assert!(labels.ends_with('}'), "{line}");
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(is_name), "{line}");
            let of_histogram =
                ["_bucket", "_sum", "_count"].map(|suffix| format!("{current}{suffix}"));
            match families[current] {
                "histogram" => assert!(of_histogram.contains(&name.to_owned()), "{line}"),
                _ => assert_eq!(name, current, "{line}"),
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(samples.insert(sample.to_owned(), value), None, "twice: {line}");
        }
    }
    samples
}

fn scraped(address: &str) -> (Answer, Samples) {
    let answer = get(&format!("{address}/metrics"), &[]);
    assert_eq!(answer.status, 200, "{answer:#?}");
    let samples = samples(&answer.body);
    (answer, samples)
}

fn with_workflows(project: Project) -> Project {
    project
        .with_workflow(
            "two",
            "name: two\nsteps:\n  - { name: a, tool: demo.echo, params: { text: a } }\n  \
             - { name: b, tool: demo.echo, params: { text: \"${steps.a.text}\" } }\n",
        )
        .with_workflow(
            "fails",
            "name: fails\nsteps:\n  - { name: a, tool: demo.made_up, params: { text: a } }\n",
        )
        .with_workflow(
            "asks",
            "name: asks\nsteps:\n  - { name: ask, approval: { message: \"?\" } }\n",
        )
}

#[test]
fn a_scrape_tells_what_was_done() {
    for project in [Project::new(), Project::new().with_env("WINDLASS_DATABASE", &database())] {
        let project = with_workflows(project);
        let server = project.serve_http();
        let mut door = server.client();
        door.initialize();
        for (workflow, times) in [("two", 3), ("fails", 1), ("asks", 2)] {
            for _ in 0..times {
                let run = json!({ "workflow": workflow, "wait_seconds": 0 });
                let begun = door.call_ok("workflow.run", run);
                settled(&mut door, begun["execution_id"].as_str().unwrap());
            }
        }
        let is = |name: &str, value: f64| {
            eventually(SOON, &format!("{name} to be {value}"), || {
                let found = scraped(&server.address).1.get(name).copied();
                (found == Some(value)).then_some(())
            });
        };
        is("windlass_executions_started_total", 6.0);
        is("windlass_executions_ended_total{status=\"completed\"}", 3.0);
        is("windlass_executions_ended_total{status=\"failed\"}", 1.0);
        is("windlass_executions_ended_total{status=\"cancelled\"}", 0.0);
        is("windlass_steps_ended_total{status=\"completed\"}", 6.0);
        is("windlass_steps_ended_total{status=\"failed\"}", 1.0);
        is("windlass_attempts_total{server=\"demo\",tool=\"echo\",outcome=\"succeeded\"}", 6.0);
        is("windlass_attempts_total{server=\"demo\",tool=\"unknown\",outcome=\"failed\"}", 1.0);
        is("windlass_tool_call_duration_seconds_count{server=\"demo\",tool=\"echo\"}", 6.0);
        is("windlass_executions_parked", 2.0);
        is("windlass_executions_driven", 0.0);
        is("windlass_tool_calls_out", 0.0);
        is("windlass_database_up", 1.0);
        is("windlass_lease_losses_total", 0.0);
        is("windlass_takeovers_total", 0.0);
        is("windlass_tool_server_broken{server=\"demo\"}", 0.0);
        is("windlass_mcp_sessions", 1.0);
        let (answer, samples) = scraped(&server.address);
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        // Three turns each, two where a person is asked: all of them are in some transaction.
        assert!(6.0 <= samples["windlass_commit_turns_sum"], "{samples:#?}");
        assert!(samples["windlass_commit_turns_count"] <= samples["windlass_commit_turns_sum"]);
        assert!(1_000_000.0 < samples["process_resident_memory_bytes"]);
        assert!(1.0e9 < samples["process_start_time_seconds"]);
        assert_eq!(samples["windlass_queue_age_seconds"], 0.0);
        assert!(!answer.body.contains("made_up") && !answer.body.contains("exec_"));
    }
}

/// The state that a tool server's breaker is in: exactly one of those there are.
fn breaker(samples: &Samples, server: &str) -> &'static str {
    let states = ["closed", "half_open", "open"];
    let name = |state: &str| {
        format!("windlass_tool_server_breaker_state{{server=\"{server}\",state=\"{state}\"}}")
    };
    let on: Vec<&str> = states.into_iter().filter(|state| samples[&name(state)] == 1.0).collect();
    let sum: f64 = states.iter().map(|state| samples[&name(state)]).sum();
    assert_eq!((on.len(), sum), (1, 1.0), "{samples:#?}");
    let broken = samples[&format!("windlass_tool_server_broken{{server=\"{server}\"}}")];
    assert_eq!(broken == 1.0, on[0] == "open", "{samples:#?}");
    on[0]
}

#[test]
fn a_scrape_tells_how_the_breaker_of_each_tool_server_stands() {
    let project = Project::new();
    let late = project.path().join("late");
    let servers = json!({ "mcpServers": { "late": { "command": late } } });
    let project = project
        .with_file(".mcp.json", &servers.to_string())
        .with_file("windlass.toml", "mcp_config = ['.mcp.json']\n")
        .with_workflow(
            "knocks",
            "name: knocks\nsteps:\n  - { name: say, tool: late.echo, params: { text: a } }\n",
        );
    let server = project.serve_http();
    let stands = || breaker(&scraped(&server.address).1, "late");
    assert_eq!(stands(), "closed", "nobody has called it yet");
    // Each knock in vain leaves it alone for longer.
    let mut door = server.client();
    door.initialize();
    let mut knock =
        || door.call("workflow.run", json!({ "workflow": "knocks", "wait_seconds": 20 }));
    eventually(SOON, "an open breaker", || {
        assert_eq!(knock()["structuredContent"]["status"], "failed");
        (stands() == "open").then_some(())
    });
    eventually(2 * SOON, "the time of the next probe", || (stands() == "half_open").then_some(()));
    std::os::unix::fs::symlink(fake_tool_server(), &late).unwrap();
    assert_eq!(knock()["structuredContent"]["status"], "completed");
    assert_eq!(stands(), "closed");
    assert_eq!(breaker(&scraped(&server.address).1, "demo"), "closed", "the others are called");
}

#[test]
fn a_scrape_counts_the_sessions_that_are_open() {
    let project = Project::new();
    let server = project.serve_http();
    let open = || scraped(&server.address).1["windlass_mcp_sessions"];
    assert_eq!(open(), 0.0);
    let (mut one, mut other) = (server.client(), server.client());
    one.initialize();
    other.initialize();
    server.client().modern().call_ok("workflow.list", json!({}));
    assert_eq!(open(), 2.0, "who says with each request who asks has no session");
    let session = [("mcp-session-id", one.session().unwrap())];
    let ended = delete(&format!("{}/mcp", server.address), &session);
    assert!((200..300).contains(&ended.status), "{ended:#?}");
    assert_eq!(open(), 1.0);
}

#[test]
fn a_scrape_needs_the_token_and_can_be_switched_off() {
    let project = Project::new().with_env("WINDLASS_HTTP_TOKEN", "a long random text");
    let server = project.serve_http();
    let metrics = format!("{}/metrics", server.address);
    assert_eq!(get(&metrics, &[]).status, 401);
    let shown = get(&metrics, &[("authorization", "Bearer a long random text")]);
    assert_eq!(shown.status, 200);
    samples(&shown.body);
    drop(server);
    let project = Project::new().with_env("WINDLASS_HTTP_METRICS", "false");
    let server = project.serve_http();
    assert_eq!(get(&format!("{}/metrics", server.address), &[]).status, 404);
}

// ---- Traces.

/// Takes what OpenTelemetry sends.
struct Collector {
    address: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, taken) = (stream.unwrap(), Arc::clone(&taken));
                thread::spawn(move || take(&stream, &taken));
            }
        });
        Collector { address, spans }
    }

    fn watch(&self, project: Project) -> Project {
        project
            .with_env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.address)
            .with_env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .with_env("NO_PROXY", "127.0.0.1")
    }

    fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> Vec<Value> {
        self.spans().into_iter().filter(|span| span["name"] == name).collect()
    }

    /// The only span of that name, once it is there.
    fn span(&self, name: &str) -> Value {
        let mut found = eventually(SOON, &format!("the span {name:?}"), || {
            let named = self.named(name);
            (!named.is_empty()).then_some(named)
        });
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }
}

fn take(stream: &TcpStream, spans: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or_default() == 0 {
            return;
        }
        assert!(first.starts_with("POST /v1/traces "), "{first}");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = said.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let resource = body["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(resource.contains("service.name"), "{resource}");
        let scope = &body["resourceSpans"][0]["scopeSpans"][0];
        spans.lock().unwrap().extend(scope["spans"].as_array().unwrap().iter().cloned());
        (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    }
}

fn fake_tool_server() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass"));
    binary.parent().unwrap().join("examples/fake_tool_server")
}

fn with_fake(project: Project) -> Project {
    let server = json!({ "command": fake_tool_server(), "args": ["--ledger", "ledger"] });
    project
        .with_file(".mcp.json", &json!({ "mcpServers": { "fake": server } }).to_string())
        .with_file("windlass.toml", "mcp_config = ['.mcp.json']\n")
        .with_workflow(
            "traced",
            "name: traced\nsteps:\n  - { name: say, tool: fake.echo, params: { text: \"a word of mine\" } }\n\
             output: { meta: \"${steps.say.meta}\" }\n",
        )
}

fn attribute<'s>(span: &'s Value, name: &str) -> &'s Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    found.map_or(&Value::Null, |found| &found["value"])
}

/// The trace that the tool was told, and its place in it.
fn told(execution: &Value) -> (String, String) {
    let said = execution["output"]["meta"]["traceparent"].as_str().unwrap();
    let parts: Vec<&str> = said.split('-').collect();
    assert_eq!((parts[0], parts[3]), ("00", "01"), "{said}");
    (parts[1].to_owned(), parts[2].to_owned())
}

fn run_traced(door: &mut Client) -> Value {
    run_with(door, json!({ "traceparent": CALLER, "tracestate": STATE }))
}

fn run_with(door: &mut Client, meta: Value) -> Value {
    let params =
        json!({ "name": "workflow.run", "arguments": { "workflow": "traced" }, "_meta": meta });
    let answer = door.ask("tools/call", params);
    let id = answer["structuredContent"]["execution_id"].as_str().unwrap().to_owned();
    settled(door, &id)
}

#[test]
fn a_trace_goes_from_the_caller_through_the_execution_to_the_tool() {
    let collector = Collector::start();
    let project = collector.watch(with_fake(Project::new()));
    let server = project.serve_http();
    let mut door = server.client();
    door.initialize();
    let execution = run_traced(&mut door);
    let (trace, place) = told(&execution);
    assert_eq!(trace, TRACE);

    let (run, whole) = (collector.span("workflow.run"), collector.span("workflow traced"));
    let call = collector.span("tools/call fake.echo");
    for span in [&run, &whole, &call] {
        assert_eq!((&span["traceId"], &span["traceState"]), (&json!(TRACE), &json!(STATE)));
        assert_eq!(
            attribute(span, "windlass.execution.id")["stringValue"],
            execution["execution_id"]
        );
        let at = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"));
    }
    assert_eq!(run["parentSpanId"], SPAN);
    assert_eq!(whole["parentSpanId"], run["spanId"]);
    assert_eq!(call["parentSpanId"], whole["spanId"]);
    assert_eq!(call["spanId"], place.as_str());
    assert_eq!((&run["kind"], &call["kind"]), (&json!(2), &json!(3)));
    assert_eq!(attribute(&call, "mcp.method.name")["stringValue"], "tools/call");
    assert_eq!(attribute(&call, "gen_ai.tool.name")["stringValue"], "echo");
    assert_eq!(execution["output"]["meta"]["tracestate"], STATE);
    assert!(!json!(collector.spans()).to_string().contains("a word of mine"));
}

#[test]
fn each_commit_of_a_turn_has_a_span_below_its_execution() {
    let collector = Collector::start();
    let project = collector.watch(with_fake(Project::new()));
    let server = project.serve_http();
    let mut door = server.client();
    door.initialize();
    let execution = run_traced(&mut door);
    let whole = collector.span("workflow traced");
    // What began with it, and what came of it: together they wrote all of its history.
    let events = |commit: &Value| {
        let said = attribute(commit, "windlass.commit.events")["intValue"].as_str().unwrap();
        said.parse::<i64>().unwrap()
    };
    let commits = eventually(SOON, "the spans of all commits", || {
        let commits = collector.named("commit");
        let written: i64 = commits.iter().map(events).sum();
        (Some(written) == execution["version"].as_i64()).then_some(commits)
    });
    assert!(2 <= commits.len(), "{commits:#?}");
    for commit in &commits {
        assert_eq!((&commit["traceId"], &commit["traceState"]), (&json!(TRACE), &json!(STATE)));
        assert_eq!(commit["parentSpanId"], whole["spanId"]);
        assert_eq!(
            attribute(commit, "windlass.execution.id")["stringValue"],
            execution["execution_id"]
        );
        assert_eq!(commit["status"], json!({}));
    }
}

#[test]
fn what_others_say_of_a_trace_is_nothing_without_the_trace() {
    let project = with_fake(Project::new());
    let mut door = project.client(&["serve"]);
    door.initialize();
    let said = |execution: Value| execution["output"]["meta"]["tracestate"].clone();
    let state = |trace: &str, state: &str| json!({ "traceparent": trace, "tracestate": state });
    assert_eq!(said(run_with(&mut door, state(CALLER, STATE))), STATE);
    assert_eq!(said(run_with(&mut door, state("no trace", STATE))), Value::Null);
    assert_eq!(said(run_with(&mut door, json!({ "tracestate": STATE }))), Value::Null);
    let odd = run_with(&mut door, state(CALLER, "Not, one"));
    assert_eq!(told(&odd).0, TRACE, "the trace goes on without it");
    assert_eq!(said(odd), Value::Null);
}

#[test]
fn a_trace_in_the_header_counts_and_without_a_caller_there_is_a_new_one() {
    let collector = Collector::start();
    let project = collector.watch(with_fake(Project::new()));
    let server = project.serve_http();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": crate::harness::signed(
        json!({ "name": "workflow.run", "arguments": { "workflow": "traced" } })) });
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "workflow.run"),
        ("traceparent", CALLER),
        ("tracestate", "rojo=00f067aa0ba902b7"),
        ("tracestate", "congo=t61rcWkgMzE"),
    ];
    let answer = post(&format!("{}/mcp", server.address), &headers, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(collector.span("workflow.run")["traceId"], TRACE);
    assert_eq!(collector.span("tools/call fake.echo")["traceState"], STATE);
    collector.span("workflow traced");
    collector.spans.lock().unwrap().clear();
    let again = project.run(&["run", "traced", "--json"]).expect(0).json();
    let (trace, _) = told(&again);
    assert_ne!(trace, TRACE);
    let run = collector.span("workflow.run");
    assert_eq!((run["traceId"].as_str(), run.get("parentSpanId")), (Some(&*trace), None));
}

#[test]
fn an_execution_below_another_one_is_in_its_trace() {
    let collector = Collector::start();
    let project = collector.watch(with_fake(Project::new()));
    project.write(
        "workflows/above.yaml",
        "name: above\nsteps:\n  - { name: below, workflow: traced }\n",
    );
    let mut command = project.command(&["run", "above", "--json"]);
    command.env("TRACEPARENT", CALLER).env("TRACESTATE", STATE);
    crate::harness::run(&mut command, 3 * SOON).expect(0);
    let (above, below) = (collector.span("workflow above"), collector.span("workflow traced"));
    let call = collector.span("tools/call fake.echo");
    assert!([&above, &below, &call].iter().all(|span| span["traceId"] == TRACE));
    assert!([&above, &below, &call].iter().all(|span| span["traceState"] == STATE));
    assert_eq!(below["parentSpanId"], above["spanId"]);
    assert_eq!(call["parentSpanId"], below["spanId"]);
}

#[test]
fn without_a_collector_the_callers_trace_still_reaches_the_tool() {
    let project = with_fake(Project::new());
    let mut door = project.client(&["serve"]);
    door.initialize();
    let (trace, place) = told(&run_traced(&mut door));
    assert_eq!(trace, TRACE);
    assert_ne!(place, SPAN);
    let plain = project.run(&["run", "traced", "--json"]).expect(0).json();
    assert_eq!(plain["output"]["meta"]["traceparent"], Value::Null, "nobody asked for a trace");
}

fn a_trace_goes_on_in_the_process_that_takes_over(scene: &Scene) {
    let collector = Collector::start();
    let project = &scene.project;
    project.write(
        "workflows/counted.yaml",
        "name: counted\ninput: { type: object, properties: { file: { type: string } } }\nsteps:\n  \
         - { name: one, tool: demo.count_keyed, params: { file: '${input.file}' } }\n",
    );
    let run = |fault: Option<&str>| {
        let run =
            Run { workflow: "counted", key: "k", input: json!({ "file": scene.ledger("traced") }) };
        let mut command = scene.command(&run);
        command
            .env("TRACEPARENT", CALLER)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address)
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .env("NO_PROXY", "127.0.0.1");
        if let Some(fault) = fault {
            command.env("WINDLASS_FAULT", fault);
        }
        crate::harness::run(&mut command, 2 * SOON)
    };
    assert!(was_killed(&run(Some("after_call:1"))));
    scene.let_leases_run_out();
    // Whoever asks again, with a trace or without, finds the execution that belongs to the first one.
    let ended = run(None).json();
    assert_eq!(ended["status"], "completed", "{ended:#}");
    let (whole, call) =
        (collector.span("workflow counted"), collector.span("tools/call demo.count_keyed"));
    assert_eq!((&whole["traceId"], &call["traceId"]), (&json!(TRACE), &json!(TRACE)));
    assert_eq!(call["parentSpanId"], whole["spanId"]);
    assert_eq!(attribute(&whole, "windlass.execution.status")["stringValue"], "completed");
    assert_eq!(attribute(&whole, "windlass.execution.id")["stringValue"], ended["execution_id"]);
}

fn what_others_say_of_a_trace_goes_on_in_the_process_that_takes_over(scene: &Scene) {
    let server = json!({ "mcpServers": { "fake": { "command": fake_tool_server() } } });
    scene.project.write(".mcp.json", &server.to_string());
    scene.project.write("windlass.toml", "mcp_config = ['.mcp.json']\n");
    scene.project.write(
        "workflows/said.yaml",
        "name: said\nsteps:\n  - { name: say, tool: fake.echo, params: { text: a }, onUncertain: retry }\n\
         output: { meta: \"${steps.say.meta}\" }\n",
    );
    let run = |fault: Option<&str>| {
        let mut command = scene.command(&Run { workflow: "said", key: "k", input: json!({}) });
        // Only the first one knows what is said of the trace.
        if let Some(fault) = fault {
            command.env("TRACEPARENT", CALLER).env("TRACESTATE", STATE);
            command.env("WINDLASS_FAULT", fault);
        }
        crate::harness::run(&mut command, 2 * SOON)
    };
    let killed = run(Some("after_call:1"));
    assert!(was_killed(&killed), "{killed:#?}");
    scene.let_leases_run_out();
    let ended = run(None).json();
    assert_eq!(ended["status"], "completed", "{ended:#}");
    let meta = &ended["output"]["meta"];
    assert_eq!((told(&ended).0.as_str(), &meta["tracestate"]), (TRACE, &json!(STATE)));
    assert_eq!(meta["dev.windlass/attempt"], 2, "it was called again: {meta}");
}
