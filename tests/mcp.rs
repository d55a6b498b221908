//! The doors for agents: standard input and output, and HTTP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, HttpServer, Project, SOON, begin, eventually, get, post, settled, signed,
};

const TOOLS: [&str; 10] = [
    "workflow.list",
    "workflow.describe",
    "workflow.run",
    "workflow.status",
    "workflow.control",
    "workflow.answer",
    "workflow.validate",
    "workflow.plan",
    "workflow.save",
    "workflow.manage",
];
/// Long enough that no test waits for it, short enough that no process outlives them for long.
const LONG_MS: u64 = 30_000;
/// Waits of 50 seconds, the longest that a client may ask for, are among these tests.
const PATIENCE: Duration = Duration::from_secs(60);

const ECHO: &str = "
name: echo
description: Says what it is told
input:
  type: object
  properties: { text: { type: string }, times: { type: integer, minimum: 1 } }
  required: [text]
  additionalProperties: false
steps:
  - { name: say, tool: demo.echo, params: { text: '${input.text}' } }
";

const NAP: &str = "
name: nap
input: { type: object, properties: { ms: { type: integer } }, required: [ms] }
steps:
  - { name: lie_down, tool: demo.noop, params: {} }
  - { name: sleep, tool: demo.sleep, params: { ms: '${input.ms}' } }
  - { name: get_up, tool: demo.echo, params: { rested: true } }
";

const TRIP: &str = "
name: trip
steps:
  - { name: walk, tool: demo.noop, params: {} }
  - { name: fall, tool: demo.fail, params: { message: a stone lay there } }
";

/// The era of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Era {
    /// Connects with `initialize`: 2025-11-25.
    Legacy,
    /// Says everything with each request: 2026-07-28.
    Modern,
}

impl Era {
    const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

    /// Readies a client; one of the legacy era shakes hands.
    fn client(self, client: Client) -> Client {
        let mut client = client.with_deadline(PATIENCE);
        if self == Era::Modern {
            return client.modern();
        }
        client.initialize();
        client
    }
}

/// Has three workflows: `echo` {text, times?}, `nap` {ms} of three steps, `trip`, which fails at its second step.
fn project() -> Project {
    let project = Project::new().with_workflow("echo", ECHO);
    project.with_workflow("nap", NAP).with_workflow("trip", TRIP)
}

/// A client of a server on its standard input and output.
fn stdio(project: &Project, era: Era, arguments: &[&str]) -> Client {
    era.client(project.client(&[&["serve"], arguments].concat()))
}

fn legacy(project: &Project) -> Client {
    stdio(project, Era::Legacy, &[])
}

/// A client of a server that listens.
fn over_http(server: &HttpServer, era: Era) -> Client {
    let client = era.client(server.client());
    assert_eq!(client.session().is_some(), era == Era::Legacy);
    client
}

/// Posts a modern `tools/list` as it goes over the wire, for tests of what surrounds it.
fn post_list(server: &HttpServer, headers: &[(&str, &str)], params: Value) -> Answer {
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": signed(params) });
    let accept = ("Accept", "application/json, text/event-stream");
    let headers = [&[("Content-Type", "application/json"), accept], headers].concat();
    post(&format!("{}/mcp", server.address), &headers, &body.to_string())
}

/// Gets a page of a server.
fn page(server: &HttpServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    get(&format!("{}{path}", server.address), headers)
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["tools"].as_array().unwrap();
    tools.iter().map(|tool| text(&tool["name"])).collect()
}

/// Starts an execution that does not end while a test looks on.
fn long_one(client: &mut Client) -> String {
    begin(client, "nap", json!({ "ms": LONG_MS }))
}

/// The only execution there is, once it is there.
fn only_execution(client: &mut Client) -> String {
    eventually(SOON, "an execution", || {
        let list = client.call_ok("workflow.status", json!({}));
        list["executions"][0]["execution_id"].as_str().map(str::to_owned)
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:#}"))
}

fn cancel(client: &mut Client, execution_id: &str) {
    let arguments = json!({ "execution_id": execution_id, "action": "cancel" });
    client.call_ok("workflow.control", arguments);
}

#[test]
fn a_workflow_runs_over_both_transports_in_both_eras() {
    let project = project();
    let server = project.serve_http();
    for era in Era::BOTH {
        for mut client in [stdio(&project, era, &[]), over_http(&server, era)] {
            let arguments = json!({ "workflow": "echo", "input": { "text": "hello" } });
            let told = client.call_ok("workflow.run", arguments);
            assert_eq!(told["status"], "completed", "{era:?}: {told:#}");
            assert_eq!(told["workflow"], "echo");
            assert_eq!(told["output"], json!({ "text": "hello" }));
            assert!(text(&told["next"]).contains("workflow.status"), "{told:#}");
        }
    }
}

#[test]
fn the_legacy_handshake_agrees_on_a_version_and_says_who_we_are() {
    let project = project();
    let result = project.client(&["serve"]).initialize();
    assert_eq!(result["protocolVersion"], "2025-11-25", "{result:#}");
    assert_eq!(result["serverInfo"]["name"], "windlass");
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(text(&result["instructions"]).len() <= 1536);
    let capabilities: Vec<_> = result["capabilities"].as_object().unwrap().keys().collect();
    assert_eq!(capabilities, ["completions", "resources", "tools"], "no more than there is");
}

#[test]
fn modern_clients_discover_the_server_without_a_handshake() {
    let project = project();
    let server = project.serve_http();
    let clients = [stdio(&project, Era::Modern, &[]), over_http(&server, Era::Modern)];
    for mut client in clients {
        let result = client.ask("server/discover", json!({}));
        let versions = result["supportedVersions"].as_array().unwrap();
        assert!(versions.contains(&json!("2026-07-28")), "{result:#}");
        assert!(result["capabilities"]["tools"].is_object(), "{result:#}");
    }
}

#[test]
fn one_spelling_is_listed_and_both_are_callable() {
    let project = project();
    let underscored = TOOLS.map(|name| name.replace('.', "_"));
    let spellings = [("dotted", TOOLS.map(str::to_owned)), ("underscore", underscored)];
    for (setting, listed) in &spellings {
        let mut client = stdio(&project, Era::Legacy, &["--tool-names", setting]);
        assert_eq!(names(&client.ask("tools/list", json!({}))), *listed);
        for (_, spelling) in &spellings {
            let told = client.call_ok(&spelling[0], json!({}));
            assert!(text(&told["next"]).contains(&listed[2]), "{told:#}");
            let refusal = client.call_err(&spelling[2], json!({ "workflow": "nothing" }));
            assert!(refusal.starts_with(&format!("{}: ", listed[2])), "{refusal}");
            assert!(refusal.contains(&listed[0]), "{refusal}");
        }
    }
}

#[test]
fn the_list_of_tools_is_small_stable_and_in_the_order_it_was_written() {
    let project = project();
    let mut client = legacy(&project);
    let first = client.ask("tools/list", json!({}));
    assert!(first.to_string().len() < 7 * 1024);
    assert_eq!(first, client.ask("tools/list", json!({})));
    let run = &first["tools"][2];
    let properties = run["inputSchema"]["properties"].as_object().unwrap();
    let properties: Vec<_> = properties.keys().collect();
    assert_eq!(
        properties,
        ["workflow", "input", "wait_seconds", "plan", "idempotency_key", "priority"]
    );
    for tool in first["tools"].as_array().unwrap() {
        assert_eq!(tool["annotations"].as_object().unwrap().len(), 4, "{tool:#}");
        assert!(tool["title"].is_string() && tool["outputSchema"].is_object(), "{tool:#}");
    }
}

#[test]
fn modern_lists_say_how_long_they_hold() {
    let project = project();
    let mut client = stdio(&project, Era::Modern, &[]);
    for method in ["tools/list", "resources/list", "resources/templates/list"] {
        let result = client.ask(method, json!({}));
        assert!(result["ttlMs"].is_u64(), "{method}: {result:#}");
        assert!(result["cacheScope"].is_string(), "{method}: {result:#}");
    }
}

#[test]
fn answers_of_every_tool_fit_its_output_schema() {
    let project = project();
    let mut client = legacy(&project);
    let tools = client.ask("tools/list", json!({}))["tools"].clone();
    let run =
        client.call_ok("workflow.run", json!({ "workflow": "echo", "input": { "text": "x" } }));
    let long = long_one(&mut client);
    let answers = [
        client.call_ok("workflow.list", json!({})),
        client.call_ok("workflow.describe", json!({ "workflow": "echo" })),
        run.clone(),
        client.call_ok("workflow.status", json!({ "execution_id": run["execution_id"] })),
        client.call_ok("workflow.control", json!({ "execution_id": long, "action": "cancel" })),
    ];
    for (tool, answer) in tools.as_array().unwrap().iter().zip(&answers) {
        let schema = jsonschema::draft202012::new(&tool["outputSchema"]).unwrap();
        assert!(schema.is_valid(answer), "{}: {answer:#}", tool["name"]);
    }
}

#[test]
fn an_unknown_argument_is_refused_with_the_one_that_was_meant() {
    let project = project();
    let refusal =
        legacy(&project).call_err("workflow.run", json!({ "workflow": "echo", "inputs": {} }));
    assert_eq!(
        refusal,
        "workflow.run: there is no argument \"inputs\"; did you mean \"input\"? It takes: workflow, input, wait_seconds, \
         plan, idempotency_key, priority. Nothing was done; correct it and call workflow.run again."
    );
}

#[test]
fn bad_input_names_the_place_what_is_allowed_and_the_next_call() {
    let project = project();
    let mut client = legacy(&project);
    let input = json!({ "text": "x", "times": 0 });
    let refusal = client.call_err("workflow.run", json!({ "workflow": "echo", "input": input }));
    assert!(refusal.contains("/times") && refusal.contains('1'), "{refusal}");
    assert!(refusal.contains("workflow.describe with workflow=\"echo\""), "{refusal}");
    assert!(refusal.contains("call workflow.run again"), "{refusal}");
    let list = client.call_ok("workflow.status", json!({}));
    assert_eq!(list["executions"], json!([]), "nothing was started");
}

#[test]
fn an_unknown_workflow_names_the_known_ones() {
    let project = project();
    let mut client = legacy(&project);
    for tool in ["workflow.run", "workflow.describe"] {
        let refusal = client.call_err(tool, json!({ "workflow": "ehco" }));
        assert!(refusal.contains("echo") && refusal.contains("Call workflow.list"), "{refusal}");
    }
}

#[test]
fn an_unknown_execution_says_how_to_find_the_known_ones() {
    let project = project();
    let refusal =
        legacy(&project).call_err("workflow.status", json!({ "execution_id": "exec_no" }));
    assert!(refusal.contains("exec_no"), "{refusal}");
    assert!(refusal.contains("workflow.status without execution_id"), "{refusal}");
}

#[test]
fn an_unknown_tool_is_an_error_of_the_protocol() {
    let project = project();
    let mut client = legacy(&project);
    let params = json!({ "name": "workflow.rum", "arguments": {} });
    let error = client.request("tools/call", params).unwrap_err();
    assert_eq!(error["code"], -32602, "{error:#}");
    assert!(text(&error["message"]).contains("workflow.run"), "{error:#}");
}

#[test]
fn the_same_key_is_the_same_execution_and_takes_no_other_input() {
    let project = project();
    let mut client = legacy(&project);
    let run = |text: &str| json!({ "workflow": "echo", "input": { "text": text }, "idempotency_key": "once" });
    let first = client.call_ok("workflow.run", run("a"));
    let second = client.call_ok("workflow.run", run("a"));
    assert_eq!(first["execution_id"], second["execution_id"]);
    let refusal = client.call_err("workflow.run", run("b"));
    assert!(refusal.contains(text(&first["execution_id"])), "{refusal}");
    assert!(refusal.contains("call workflow.run") || refusal.contains("new key"), "{refusal}");
    let list = client.call_ok("workflow.status", json!({}));
    assert_eq!(list["executions"].as_array().unwrap().len(), 1, "{list:#}");
}

#[test]
fn what_is_not_new_is_not_told_again() {
    let project = project();
    let mut client = legacy(&project);
    let told =
        client.call_ok("workflow.run", json!({ "workflow": "echo", "input": { "text": "x" } }));
    let since = json!({
        "execution_id": told["execution_id"], "since": told["version"], "wait_seconds": 50,
    });
    let begun = Instant::now();
    let answer = client.call_ok("workflow.status", since);
    let unchanged = json!({
        "execution_id": told["execution_id"],
        "status": "completed",
        "version": told["version"],
        "unchanged": true,
    });
    assert_eq!(answer, unchanged);
    assert!(begun.elapsed() < Duration::from_secs(25), "what has ended is not waited for");

    let since = json!({ "execution_id": told["execution_id"], "since": 1_000_000 });
    assert!(client.call_err("workflow.status", since).contains("since=1000000 is higher"));
}

#[test]
fn a_wait_ends_when_it_was_told_to_and_the_execution_goes_on() {
    let project = project();
    let mut client = legacy(&project);
    let begun = Instant::now();
    let arguments = json!({ "workflow": "nap", "input": { "ms": LONG_MS }, "wait_seconds": 1 });
    let told = client.call_ok("workflow.run", arguments);
    assert!(Duration::from_secs(1) <= begun.elapsed(), "{told:#}");
    assert!(begun.elapsed() < Duration::from_millis(LONG_MS), "{told:#}");
    assert!(["pending", "running", "waiting"].contains(&text(&told["status"])), "{told:#}");
    let next = format!("since={}", told["version"]);
    assert!(text(&told["next"]).contains(&next), "{told:#}");
    cancel(&mut client, text(&told["execution_id"]));
}

#[test]
fn longer_waits_than_clients_endure_are_refused() {
    let project = project();
    let mut client = legacy(&project);
    for tool in ["workflow.run", "workflow.status"] {
        let key = if tool == "workflow.run" { "workflow" } else { "execution_id" };
        let refusal = client.call_err(tool, json!({ key: "echo", "wait_seconds": 51 }));
        assert!(refusal.contains("a whole number from 0 to 50"), "{refusal}");
    }
}

#[test]
fn status_waits_for_the_end_and_tells_every_step() {
    let project = project();
    let mut client = legacy(&project);
    let id = begin(&mut client, "nap", json!({ "ms": 300 }));
    let told = settled(&mut client, &id);
    assert_eq!(told["status"], "completed");
    assert_eq!(told["output"], json!({ "rested": true }));
    let steps: Vec<_> =
        told["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(steps, ["lie_down", "sleep", "get_up"]);
    assert!(told["steps"].to_string().contains("completed"), "{told:#}");
    assert!(!told["steps"].to_string().contains("\"result\""), "only when asked: {told:#}");
}

#[test]
fn fields_and_step_narrow_an_answer() {
    let project = project();
    let mut client = legacy(&project);
    let run = json!({ "workflow": "nap", "input": { "ms": 1 } });
    let id = client.call_ok("workflow.run", run)["execution_id"].clone();
    let mut keys = |fields: Value| -> Vec<String> {
        let told =
            client.call_ok("workflow.status", json!({ "execution_id": id, "fields": fields }));
        let head = ["execution_id", "workflow", "status", "version", "next"];
        let keys = told.as_object().unwrap().keys().cloned();
        keys.filter(|key| !head.contains(&key.as_str())).collect()
    };
    assert_eq!(keys(json!(["output"])), ["output"]);
    assert_eq!(keys(json!(["input", "steps"])), ["input", "steps"]);
    assert!(keys(json!([])).is_empty());

    let one = json!({ "execution_id": id, "step": "get_up" });
    let told = client.call_ok("workflow.status", one);
    assert_eq!(told["steps"].as_array().unwrap().len(), 1);
    assert_eq!(told["steps"][0]["result"], json!({ "rested": true }), "{told:#}");
    let other = json!({ "execution_id": id, "step": "getup" });
    let refusal = client.call_err("workflow.status", other);
    assert!(refusal.contains("lie_down, sleep, get_up"), "{refusal}");
}

#[test]
fn what_is_too_large_is_shortened_with_the_way_to_all_of_it() {
    let project = project();
    let mut client = legacy(&project);
    let mut run = |bytes: usize| {
        let input = json!({ "text": "x".repeat(bytes) });
        client.call_ok("workflow.run", json!({ "workflow": "echo", "input": input }))
    };
    let middling = run(40 * 1024);
    assert_eq!(text(&middling["output"]["text"]).len(), 40 * 1024, "outputs come whole");
    let large = run(80 * 1024);
    assert_eq!(large["output"]["truncated"], true);
    assert!(large.to_string().len() < 8 * 1024);

    let all = json!({ "execution_id": middling["execution_id"], "fields": ["results"] });
    let told = client.call_ok("workflow.status", all);
    let result = &told["steps"][0]["result"];
    assert_eq!(result["truncated"], true, "one result among many is bounded");
    assert!(text(&result["whole"]).contains("step=\"say\""), "{result:#}");
    let one = json!({ "execution_id": middling["execution_id"], "step": "say" });
    let told = client.call_ok("workflow.status", one);
    assert_eq!(text(&told["steps"][0]["result"]["text"]).len(), 40 * 1024);

    let uri = format!("workflow://executions/{}", text(&large["execution_id"]));
    let read = client.ask("resources/read", json!({ "uri": uri }));
    let whole: Value = serde_json::from_str(text(&read["contents"][0]["text"])).unwrap();
    assert_eq!(text(&whole["output"]["text"]).len(), 80 * 1024);
}

#[test]
fn without_an_id_status_lists_the_newest_first() {
    let project = project();
    let mut client = legacy(&project);
    let ids: Vec<_> = ["a", "b"]
        .iter()
        .map(|text| {
            let run = json!({ "workflow": "echo", "input": { "text": text } });
            client.call_ok("workflow.run", run)["execution_id"].clone()
        })
        .collect();
    let list = client.call_ok("workflow.status", json!({}));
    let listed: Vec<_> =
        list["executions"].as_array().unwrap().iter().map(|line| &line["execution_id"]).collect();
    assert_eq!(listed, [&ids[1], &ids[0]], "{list:#}");
    let refusal = client.call_err("workflow.status", json!({ "since": 3 }));
    assert!(refusal.contains("\"since\" needs an execution_id"), "{refusal}");
}

#[test]
fn a_list_of_workflows_says_what_each_takes() {
    let project = project();
    let list = legacy(&project).call_ok("workflow.list", json!({}));
    let echo = list["workflows"].as_array().unwrap().iter().find(|line| line["name"] == "echo");
    let echo = echo.unwrap_or_else(|| panic!("{list:#}"));
    assert_eq!(echo["description"], "Says what it is told");
    assert_eq!(echo["input"], "text: string, times?: integer");
}

#[test]
fn a_workflow_is_described_with_its_schema_and_steps() {
    let project = project();
    let told = legacy(&project).call_ok("workflow.describe", json!({ "workflow": "nap" }));
    assert_eq!(told["name"], "nap");
    assert_eq!(told["input_schema"]["required"], json!(["ms"]), "{told:#}");
    let steps: Vec<_> =
        told["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(steps, ["lie_down", "sleep", "get_up"], "{told:#}");
}

#[test]
fn a_failure_says_everything_in_its_text() {
    let project = project();
    let mut client = legacy(&project);
    let result = client.call("workflow.run", json!({ "workflow": "trip" }));
    assert_eq!(result["isError"], true, "{result:#}");
    let told = text(&result["content"][0]["text"]);
    let id = text(&result["structuredContent"]["execution_id"]);
    for part in [id, "trip", "fall", "a stone lay there", "workflow.status", "workflow.control"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // To ask about a failure is no failure.
    let status = client.call_ok("workflow.status", json!({ "execution_id": id }));
    assert_eq!(status["status"], "failed");
    assert_eq!(status["error"]["step"], "fall", "{status:#}");
}

#[test]
fn an_execution_is_cancelled_and_cannot_be_settled_afterwards() {
    let project = project();
    let mut client = legacy(&project);
    let id = long_one(&mut client);
    cancel(&mut client, &id);
    assert_eq!(settled(&mut client, &id)["status"], "cancelled");
    let settle = json!({
        "execution_id": id, "action": "resolve", "step": "sleep", "outcome": "retry",
    });
    let refusal = client.call_err("workflow.control", settle);
    assert!(refusal.contains("Call workflow.status"), "{refusal}");
}

#[test]
fn control_says_which_arguments_go_together() {
    let project = project();
    let mut client = legacy(&project);
    for (arguments, wanted) in [
        (json!({}), "\"action\" is missing"),
        (json!({ "action": "stop" }), "one of cancel, pause, resume, retry"),
        (
            json!({ "action": "cancel", "step": "a" }),
            "goes with action=\"resolve\" or \"skip\" or \"fork\" only",
        ),
        (json!({ "action": "resolve" }), "\"step\" is missing"),
        (json!({ "action": "resolve", "step": "a" }), "\"outcome\" is missing"),
        (json!({ "action": "resolve", "step": "a", "outcome": "completed" }), "needs \"result\""),
        (
            json!({ "action": "resolve", "step": "a", "outcome": "retry", "result": 1 }),
            "goes with outcome=\"completed\" only",
        ),
    ] {
        let mut arguments = arguments;
        arguments["execution_id"] = "exec_1".into();
        let refusal = client.call_err("workflow.control", arguments);
        assert!(refusal.contains(wanted), "{wanted}: {refusal}");
    }
}

#[test]
fn every_step_is_told_as_progress_to_who_gave_a_token() {
    let project = project();
    let server = project.serve_http();
    for era in Era::BOTH {
        let params = json!({
            "name": "workflow.run",
            "arguments": { "workflow": "nap", "input": { "ms": 300 } },
            "_meta": { "progressToken": "p" },
        });
        for mut client in [stdio(&project, era, &[]), over_http(&server, era)] {
            client.ask("tools/call", params.clone());
            check_progress(client.notifications());

            let told = client.notifications().len();
            client.call_ok("workflow.run", json!({ "workflow": "nap", "input": { "ms": 1 } }));
            assert!(client.notifications()[told..].is_empty(), "nobody asked");
        }
    }
}

#[track_caller]
fn check_progress(notifications: &[Value]) {
    let mut last = 0.0;
    for notification in notifications {
        assert_eq!(notification["method"], "notifications/progress");
        let params = &notification["params"];
        assert_eq!(params["progressToken"], "p");
        assert_eq!(params["total"], 3.0);
        let progress = params["progress"].as_f64().unwrap();
        assert!(last < progress && progress <= 3.0, "{notifications:#?}");
        last = progress;
    }
    let all: Vec<_> = notifications.iter().map(|told| text(&told["params"]["message"])).collect();
    for line in
        ["step 1/3 lie_down completed", "step 2/3 sleep completed", "step 3/3 get_up completed"]
    {
        assert!(all.contains(&line), "{line}: {all:?}");
    }
}

#[test]
fn cancelling_a_request_leaves_the_execution_alone() {
    let project = project();
    let mut client = legacy(&project);
    let run = json!({
        "name": "workflow.run",
        "arguments": { "workflow": "nap", "input": { "ms": 3000 }, "wait_seconds": 50 },
    });
    let waiting = client.begin("tools/call", run);
    let id = only_execution(&mut client);
    client.cancel(waiting);
    assert_eq!(settled(&mut client, &id)["status"], "completed");
    // An answer to the cancelled request would be one that nobody waits for.
    assert!(client.is_silent(Duration::from_millis(100)));
}

#[test]
fn a_client_that_hangs_up_leaves_the_execution_alone() {
    let project = project();
    let server = project.serve_http();
    let mut client = over_http(&server, Era::Modern);
    let run = json!({
        "name": "workflow.run",
        "arguments": { "workflow": "nap", "input": { "ms": 3000 }, "wait_seconds": 50 },
    });
    let waiting = client.begin("tools/call", run);
    let id = only_execution(&mut client);
    client.cancel(waiting);
    assert_eq!(settled(&mut client, &id)["status"], "completed");
}

#[test]
fn a_panic_is_an_answer_too() {
    let project = project();
    let mut client = stdio(&project, Era::Legacy, &["--conformance-fixtures"]);
    let params = json!({ "name": "test_panic", "arguments": {} });
    let error = client.request("tools/call", params).unwrap_err();
    assert_eq!(error["code"], -32603, "{error:#}");
    client.call_ok("workflow.list", json!({}));
}

#[test]
fn the_suites_fixtures_are_not_there_unless_asked_for() {
    let project = project();
    let mut client = legacy(&project);
    assert_eq!(names(&client.ask("tools/list", json!({}))), TOOLS);
    for name in ["test_panic", "test_simple_text", "greet"] {
        let params = json!({ "name": name, "arguments": {} });
        let error = client.request("tools/call", params).unwrap_err();
        assert_eq!(error["code"], -32602, "{error:#}");
    }
    assert!(client.ask("prompts/list", json!({}))["prompts"] == json!([]));
}

#[test]
fn workflows_and_executions_are_resources() {
    let project = project();
    let mut client = legacy(&project);
    let run = json!({ "workflow": "echo", "input": { "text": "x" } });
    let id = text(&client.call_ok("workflow.run", run)["execution_id"]).to_owned();
    let list = client.ask("resources/list", json!({}));
    assert!(list.to_string().contains("workflow://definitions/echo"), "{list:#}");
    let templates = client.ask("resources/templates/list", json!({}));
    let templates = templates["resourceTemplates"].as_array().unwrap();
    let uris: Vec<_> = templates.iter().map(|template| &template["uriTemplate"]).collect();
    let known = [
        "workflow://definitions/{name}",
        "workflow://executions/{execution_id}",
        "workflow://artifacts/{artifact_id}",
    ];
    assert_eq!(uris, known);

    let mut read = |uri: &str| client.request("resources/read", json!({ "uri": uri }));
    let definition = read("workflow://definitions/echo").unwrap();
    assert!(text(&definition["contents"][0]["text"]).contains("\"times\""));
    let execution = read(&format!("workflow://executions/{id}")).unwrap();
    assert!(text(&execution["contents"][0]["text"]).contains("completed"));
    for unknown in ["workflow://definitions/no", "workflow://executions/no", "workflow://no"] {
        assert_eq!(read(unknown).unwrap_err()["code"], -32002, "{unknown}");
    }

    let mut complete = |template: &str, argument: &str, begun: &str| {
        let params = json!({
            "ref": { "type": "ref/resource", "uri": template },
            "argument": { "name": argument, "value": begun },
        });
        client.ask("completion/complete", params)["completion"]["values"].clone()
    };
    assert_eq!(complete(known[0], "name", "ec"), json!(["echo"]));
    assert_eq!(complete(known[1], "execution_id", ""), json!([id]));
    assert_eq!(complete(known[1], "execution_id", "nothing"), json!([]));
}

#[test]
fn a_client_that_hangs_up_ends_the_server_in_order() {
    let project = project();
    assert!(stdio(&project, Era::Modern, &[]).close().success(), "before a word was said");
    let mut client = legacy(&project);
    client.call_ok("workflow.list", json!({}));
    assert!(client.close().success());
}

#[test]
fn an_open_address_needs_a_token() {
    let project = project();
    let ended = project.run(&["serve", "--http", "0.0.0.0:0"]);
    assert!(!ended.status.success(), "{ended:#?}");
    assert!(ended.stderr.contains("WINDLASS_HTTP_TOKEN"), "{ended:#?}");
}

#[test]
fn whoever_has_no_token_is_told_so_and_stays_outside() {
    let project = project().with_env("WINDLASS_HTTP_TOKEN", "open-sesame");
    let server = project.serve_http();
    for (headers, challenge) in [
        (vec![], "Bearer realm=\"windlass\""),
        (vec![("Authorization", "Bearer nonsense")], "error=\"invalid_token\""),
        (vec![("Authorization", "Basic open-sesame")], "Bearer realm=\"windlass\""),
    ] {
        let answer = post_list(&server, &headers, json!({}));
        assert_eq!(answer.status, 401, "{answer:?}");
        let told = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(told.contains(challenge), "{answer:?}");
        assert!(!answer.body.contains("open-sesame"));
    }
    for era in Era::BOTH {
        let client = server.client().with_header("Authorization", "Bearer open-sesame");
        era.client(client).call_ok("workflow.list", json!({}));
    }
    assert_eq!(page(&server, "/healthz", &[]).status, 200, "a probe has no token");
    assert_eq!(page(&server, "/readyz", &[]).status, 200);
}

#[test]
fn pages_from_elsewhere_are_turned_away() {
    let project = project();
    let server = project.serve_http();
    let (_, port) = server.address.rsplit_once(':').unwrap();
    let own = format!("http://localhost:{port}");
    let modern = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/list")];
    for (header, value, status) in [
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", own.as_str(), 200),
        ("Host", "evil.example", 403),
        ("Host", "localhost", 200),
    ] {
        let answer = post_list(&server, &[&modern[..], &[(header, value)]].concat(), json!({}));
        assert_eq!(answer.status, status, "{header}: {value}: {answer:?}");
        let names_setting = answer.body.contains("http.allowed_hosts");
        assert_eq!(names_setting, value == "evil.example", "{answer:?}");
    }
    assert_eq!(page(&server, "/readyz", &[("Host", "evil.example")]).status, 403);
}

#[test]
fn health_is_always_told_and_readiness_with_its_reason() {
    let project = project();
    let server = project.serve_http();
    let alive = page(&server, "/healthz", &[]);
    assert_eq!((alive.status, alive.body.as_str()), (200, r#"{"status":"ok"}"#));
    let ready = page(&server, "/readyz", &[]);
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true}"#));
    assert_eq!(page(&server, "/nothing", &[]).status, 404);
}

#[test]
fn a_request_larger_than_four_mebibytes_is_refused() {
    let project = project();
    let server = project.serve_http();
    let large = json!({ "padding": "x".repeat(5 * 1024 * 1024) });
    let answer = post_list(&server, &[], large);
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[test]
fn a_shutdown_answers_who_waits_and_ends_in_time() {
    let project = project();
    let mut server = project.serve_http();
    let mut client = over_http(&server, Era::Legacy);
    let id = long_one(&mut client);
    let wait = json!({
        "name": "workflow.status",
        "arguments": { "execution_id": id, "wait_seconds": 50 },
    });
    let waiting = client.begin("tools/call", wait);
    // Once this is answered, the request before it has long been taken.
    client.call_ok("workflow.list", json!({}));
    let begun = Instant::now();
    assert!(server.process.stop(PATIENCE).success());
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    let answer = client.answer(waiting).unwrap();
    let status = text(&answer["structuredContent"]["status"]);
    assert!(["pending", "running"].contains(&status), "{answer:#}");
}
