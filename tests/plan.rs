//! A plan says what a run would do: it really reads, writes nothing, and a run can be held to it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Client, Ended, Project};

/// Reads, decides by what it read, writes, and goes on with what the write would say.
const RELEASE: &str = "\
name: release
input: { type: object, required: [version], properties: { version: { type: string }, loud: { type: boolean, default: false } } }
steps:
  - { name: look, tool: fake.echo, params: { text: \"${input.version}\" } }
  - { name: write, if: \"steps.look.text == 'v1'\", tool: fake.append, params: { text: \"write ${steps.look.text}\" } }
  - { name: never, if: \"steps.look.text == 'v2'\", tool: fake.append, params: { text: never } }
  - { name: mint, tool: fake.mint, expect: result.id == 'key-1' }
  - { name: note, tool: fake.put, params: { text: \"${steps.write.id} ${steps.mint.id}\" } }
  - { name: recover, if: \"status('note') == 'failed'\", tool: fake.append, params: { text: \"recover ${input.version}\" } }
  - { name: again, tool: fake.plain, params: { text: \"${steps.write.id}\" } }
";

fn projects() -> [Project; 2] {
    [with_fake(Project::new()), with_fake(Project::on_postgres())]
}

/// A project with the fake tool server, whose tools change as the file of changes says.
fn with_fake(project: Project) -> Project {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass"));
    let fake = binary.parent().unwrap().join("examples/fake_tool_server");
    let server =
        json!({ "command": fake, "args": ["--ledger", "ledger", "--changes", "changes.json"] });
    project
        .with_file(".mcp.json", &json!({ "mcpServers": { "fake": server } }).to_string())
        .with_file("windlass.toml", "mcp_config = ['.mcp.json']\n")
}

fn planned(project: &Project, arguments: &[&str]) -> Value {
    project.run(&[&["plan", "--json"], arguments].concat()).expect(0).json()
}

/// Plans one workflow without input.
fn plan_of(text: &str) -> Value {
    let project = with_fake(Project::new()).with_workflow("it", text);
    let plan = project.run(&["plan", "--json", "it"]).json();
    assert!(plan["error"].is_null(), "{plan:#}");
    assert_eq!(written(&project), "", "nothing may be written");
    plan
}

fn run_by(project: &Project, arguments: &[&str]) -> Ended {
    project.run(&[&["run", "--json"], arguments].concat())
}

fn written(project: &Project) -> String {
    fs::read_to_string(project.path().join("ledger")).unwrap_or_default()
}

/// The tools that were called at all.
fn called(project: &Project) -> Vec<String> {
    let lines = fs::read_to_string(project.path().join("ledger.arrived")).unwrap_or_default();
    lines.lines().map(str::to_owned).collect()
}

fn executions(project: &Project) -> usize {
    let listed = project.run(&["list", "--executions", "--json"]).expect(0).json();
    listed["executions"].as_array().unwrap().len()
}

/// One key of each entry of a list.
fn each<'p>(plan: &'p Value, list: &str, key: &str) -> Vec<&'p str> {
    let entries = plan[list].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry[key].as_str().unwrap_or_default()).collect()
}

fn entry<'p>(plan: &'p Value, list: &str, step: &str) -> &'p Value {
    let entries = plan[list].as_array().unwrap_or_else(|| panic!("no {list}: {plan:#}"));
    let found = entries.iter().find(|entry| entry["step"] == step);
    found.unwrap_or_else(|| panic!("no {step} among {list}: {plan:#}"))
}

fn error_of(answer: &Ended) -> (String, String) {
    let error = &answer.json()["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{answer:#?}")).to_owned();
    (text("code"), text("message"))
}

fn client(project: &Project) -> Client {
    let mut client = project.client(&["serve"]);
    client.initialize();
    client
}

#[test]
fn a_plan_reads_and_tells_the_writes_in_order_and_writes_nothing() {
    for project in projects() {
        let project = project.with_workflow("release", RELEASE);
        let plan = planned(&project, &["release", "version=v1"]);
        assert_eq!(plan["input"], json!({ "version": "v1", "loud": false }));
        assert_eq!(each(&plan, "writes", "step"), ["write", "mint", "note"]);
        assert_eq!(
            plan["writes"][0],
            json!({
                "order": 1, "step": "write", "tool": "fake.append", "params": { "text": "write v1" },
                "retry_class": "unsafe", "estimated": false,
            })
        );
        assert_eq!(
            plan["writes"][2],
            json!({
                "order": 3, "step": "note", "tool": "fake.put",
                "params": { "text": "<unknown: steps.write.id> text" },
                "retry_class": "idempotent", "estimated": true, "estimated_params": ["/text"],
                "depends_on_stubs": ["mint", "write"],
            })
        );
        assert_eq!(each(&plan, "reads", "step"), ["look"]);
        assert_eq!(plan["reads"][0]["params"], json!({ "text": "v1" }));
        // What depends on a real result is decided; what depends on a supposed one is told.
        assert_eq!(each(&plan, "may_also_run", "step"), ["recover"]);
        let recover = &plan["may_also_run"][0];
        assert_eq!(recover["params"], json!({ "text": "recover v1" }));
        assert_eq!(recover["depends_on_stubs"], json!(["note"]));
        let stubs = |step: &str| {
            let stub = entry(&plan, "stubs", step);
            (stub["from"].as_str().unwrap(), stub["why"].as_str().unwrap())
        };
        assert_eq!(stubs("write"), ("unknown", "writes"));
        assert_eq!(stubs("mint"), ("schema", "writes"));
        assert_eq!(stubs("again"), ("unknown", "estimated"));
        let unknown = plan["unknown"].to_string();
        assert!(unknown.contains("whether mint does what is expected of it"), "{plan:#}");
        assert_eq!(plan["truncated"], false);

        assert_eq!(called(&project), ["echo"], "only what reads was called");
        assert_eq!(written(&project), "");
        assert_eq!(executions(&project), 0);
        let told = project.run_ok(&["plan", "release", "version=v1"]);
        assert!(told.starts_with("+ 1. write fake.append\n      {\n        \"text\""), "{told}");
        let again = planned(&project, &["release", "version=v1"]);
        assert_eq!(plan["hash"], again["hash"], "the same plan has the same hash");
        let other = planned(&project, &["release", "version=v3"]);
        assert_ne!(plan["hash"], other["hash"]);
        // A step that needs the result of a skipped one is skipped with it.
        assert_eq!(each(&other, "writes", "step"), ["mint"]);
    }
}

#[test]
fn what_a_step_resulted_in_last_stands_in_for_what_it_will() {
    for project in projects() {
        let project = project.with_workflow(
            "it",
            "name: it\nsteps:\n  - { name: a, tool: fake.append, params: { text: x } }\n  \
             - { name: b, tool: fake.put, params: { text: \"${json(steps.a)}\" } }\n",
        );
        assert_eq!(entry(&planned(&project, &["it"]), "stubs", "a")["from"], "unknown");
        run_by(&project, &["it"]).expect(0);
        let plan = planned(&project, &["it"]);
        assert_eq!(entry(&plan, "stubs", "a")["from"], "last_result");
        let write = entry(&plan, "writes", "b");
        assert_eq!(write["params"], json!({ "text": "{\"done\":true}" }));
        assert_eq!(write["estimated"], true, "it may be another one the next time");
    }
}

#[test]
fn a_run_by_a_plan_does_what_was_planned_and_remembers_it() {
    for project in projects() {
        let project = project
            .with_workflow("release", &RELEASE.replace("steps.write.id", "json(steps.write.done)"));
        let plan = planned(&project, &["release", "version=v1", "--expires", "30m"]);
        let (expires, created) = (plan["expires_at"].as_i64(), plan["created_at"].as_i64());
        assert_eq!(expires.unwrap() - created.unwrap(), 1_800_000);
        let id = plan["plan_id"].as_str().unwrap();
        let ran = run_by(&project, &["release", "--plan", id]).expect(0).json();
        assert_eq!((&ran["plan"], &ran["input"]), (&json!(id), &plan["input"]));
        let lines = written(&project);
        let tools: Vec<_> = lines.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(tools, ["append", "put"], "mint notes nothing in the ledger");
        // The same input in other words is the same.
        run_by(&project, &["release", "--plan", id, "version=v1", "loud=false"]).expect(0);
        assert_eq!(executions(&project), 2);
    }
}

#[test]
fn a_run_that_would_be_another_one_than_was_planned_is_refused_and_writes_nothing() {
    for project in projects() {
        let project = project.with_workflow("release", RELEASE).with_workflow(
            "other",
            "name: other\nsteps:\n  - { name: a, tool: fake.append, params: { text: x } }\n",
        );
        let plan = |expires: &str| {
            let plan = planned(&project, &["release", "version=v1", "--expires", expires]);
            plan["plan_id"].as_str().unwrap().to_owned()
        };
        let refused = |arguments: &[&str], expected: &[&str]| {
            let answer = run_by(&project, arguments).expect(2);
            let (code, message) = error_of(&answer);
            for part in expected {
                assert!(format!("{code}: {message}").contains(part), "{code}: {message}\n{part}");
            }
        };
        let id = plan("1h");
        let id = id.as_str();
        refused(
            &["release", "--plan", "plan_nope"],
            &["unknown_plan: no plan has the id \"plan_nope\""],
        );
        refused(
            &["release", "--plan", id, "--workspace", "elsewhere"],
            &["unknown_plan: ", "in this workspace"],
        );
        refused(
            &["release", "--plan", id, "version=v2"],
            &["plan_differs: ", "its input is another one (\"version\")", "Make a new plan"],
        );
        refused(&["other", "--plan", id], &["it is for workflow \"release\", not for \"other\""]);

        let short = plan("1s");
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        refused(&["release", "--plan", &short], &["plan_expired: ", "has expired"]);

        project.write("changes.json", &json!({ "put": { "description": "Sets." } }).to_string());
        refused(
            &["release", "--plan", id],
            &["plan_differs: ", "tool fake.put is another one now"],
        );
        project.write("changes.json", &json!({ "put": null }).to_string());
        refused(&["release", "--plan", id], &["tool fake.put cannot be found now"]);
        project.write("changes.json", "{}");

        project.run(&["save", "workflows/release.yaml"]);
        project.write("workflows/release.yaml", &RELEASE.replace("never }", "more }"));
        refused(
            &["release", "--plan", id],
            &["plan_differs: ", "it is for revision 1 (", "a run would use 2 ("],
        );
        project.write("workflows/release.yaml", RELEASE);
        project.run(&["disable", "release"]).expect(0);
        refused(&["release", "--plan", id], &["disabled: "]);
        project.run(&["enable", "release"]).expect(0);

        assert_eq!(written(&project), "");
        assert_eq!(executions(&project), 0);
        run_by(&project, &["release", "--plan", id, "--idempotency-key", "k"]);
        assert_eq!(executions(&project), 1, "once everything is as it was, it is taken");
    }
}

#[test]
fn whoever_repeats_an_accepted_call_finds_its_execution_even_when_the_plan_has_expired() {
    let project = with_fake(Project::new()).with_workflow(
        "it",
        "name: it\nsteps:\n  - { name: a, tool: fake.append, params: { text: x } }\n",
    );
    let plan = planned(&project, &["it", "--expires", "20s"]);
    let id = plan["plan_id"].as_str().unwrap();
    let run = || run_by(&project, &["it", "--plan", id, "--idempotency-key", "k"]).expect(0).json();
    let first = run();
    project.write("changes.json", &json!({ "append": { "description": "Other." } }).to_string());
    assert_eq!(run()["execution_id"], first["execution_id"]);
    assert_eq!(written(&project).lines().count(), 1);
}

#[test]
fn agents_plan_show_and_run() {
    for project in projects() {
        let project = project.with_workflow("release", RELEASE);
        let mut client = client(&project);
        let arguments = json!({ "workflow": "release", "input": { "version": "v1" } });
        let plan = client.call_ok("workflow.plan", arguments);
        assert_eq!(each(&plan, "writes", "step"), ["write", "mint", "note"]);
        let id = plan["plan_id"].as_str().unwrap();
        let next = plan["next"].as_str().unwrap();
        assert!(next.contains("workflow.run") && next.contains(id), "{next}");
        let run = json!({ "workflow": "release", "plan": id, "input": { "version": "v2" } });
        let refusal = client.call_err("workflow.run", run);
        assert!(refusal.contains("its input is another one (\"version\")"), "{refusal}");
        assert!(refusal.contains("workflow.plan makes a new plan"), "{refusal}");
        assert_eq!(written(&project), "");
        client.call("workflow.run", json!({ "workflow": "release", "plan": id }));
        assert!(written(&project).starts_with("append exec_"), "{}", written(&project));

        let long = json!({ "workflow": "release", "expires_seconds": 604_801 });
        let refusal = client.call_err("workflow.plan", long);
        assert!(refusal.contains("a whole number from 0 to 604800"), "{refusal}");
        let refusal = client.call_err("workflow.plan", json!({ "workflow": "release" }));
        assert!(refusal.contains("version"), "{refusal}");
    }
}

#[test]
fn what_persons_locks_and_time_would_do_is_granted_and_told() {
    let plan = plan_of(
        "\
name: it
steps:
  - name: allowed
    lock: all
    tool: fake.append
    params: { text: a }
    approval: { message: May it?, quorum: 2 }
  - { name: go_on, approval: { message: Really? } }
  - { name: values, ask: { message: Which?, schema: { type: object, required: [size], properties: { size: { type: integer, minimum: 3 } } } } }
  - { name: rest, wait: { ms: 86400000 } }
  - { name: heard, wait: { event: done, timeoutMs: 1000 } }
  - { name: sized, tool: fake.append, params: { text: \"${steps.values.size} ${steps.heard.by}\" }, lock: other }
",
    );
    assert_eq!(each(&plan, "asks", "step"), ["allowed", "go_on", "values"]);
    assert_eq!(plan["asks"][0]["quorum"], 2);
    assert_eq!(plan["locks"][0], json!({ "step": "allowed", "key": "all" }));
    assert_eq!(plan["waits"][0], json!({ "step": "rest", "ms": 86_400_000 }));
    assert_eq!(plan["waits"][1]["event"], "done");
    assert_eq!(each(&plan, "writes", "step"), ["allowed", "sized"]);
    let sized = entry(&plan, "writes", "sized");
    assert_eq!(sized["params"], json!({ "text": "3 <unknown: steps.heard.by>" }));
    assert_eq!(sized["depends_on_stubs"], json!(["heard", "values"]));
    assert!(plan["unknown"].to_string().contains("event \\\"done\\\""), "{plan:#}");
}

#[test]
fn workflows_that_steps_run_are_planned_with_them() {
    let project = with_fake(Project::new())
        .with_workflow(
            "outer",
            "\
name: outer
steps:
  - { name: first, tool: fake.append, params: { text: first } }
  - { name: fan, forEach: [a, b], workflow: inner, params: { text: \"${item}\" } }
  - { name: lone, workflow: inner, params: { text: \"${json(steps.first)}\" } }
  - { name: maybe, if: steps.first.done, workflow: inner, params: { text: maybe } }
",
        )
        .with_workflow(
            "inner",
            "\
name: inner
input: { type: object, properties: { text: { type: string } } }
steps:
  - { name: read, tool: fake.echo, params: { text: \"${input.text}\" } }
  - { name: put, tool: fake.put, params: { text: \"${steps.read.text}\" } }
output: \"${steps.read.text}\"
",
        );
    run_by(&project, &["outer"]);
    let plan = planned(&project, &["outer"]);
    let steps = ["first", "fan[0]/put", "fan[1]/put", "lone/put"];
    assert_eq!(each(&plan, "writes", "step")[..4], steps, "{plan:#}");
    assert_eq!(plan["writes"][1]["params"], json!({ "text": "a" }));
    assert_eq!(plan["writes"][1]["estimated"], false);
    assert_eq!(plan["writes"][3]["depends_on_stubs"], json!(["lone/read"]));
    // What it was given is only supposed, so that nobody was asked for it.
    assert_eq!(entry(&plan, "stubs", "lone/read")["why"], "estimated");
    let reads = each(&plan, "reads", "step");
    assert_eq!(reads[..2], ["fan[0]/read", "fan[1]/read"]);
    // The result of `first` says that it is done: then the last one runs, and depends on that.
    assert_eq!(entry(&plan, "writes", "maybe/put")["depends_on_stubs"], json!(["first"]));
    assert_eq!(entry(&plan, "writes", "maybe/put")["params"], json!({ "text": "maybe" }));

    let id = plan["plan_id"].as_str().unwrap();
    let inner = fs::read_to_string(project.path().join("workflows/inner.yaml")).unwrap();
    project.write("workflows/inner.yaml", &inner.replace("fake.put", "fake.append"));
    let (code, message) = error_of(&run_by(&project, &["outer", "--plan", id]).expect(2));
    assert_eq!(code, "plan_differs");
    assert!(message.contains("workflow inner is another one now"), "{message}");
}

#[test]
fn loops_that_depend_on_what_is_supposed_go_round_once_and_say_so() {
    let plan = plan_of(
        "\
name: it
steps:
  - { name: begin, tool: fake.append, params: { text: begin } }
  - name: poll
    repeat: { until: \"steps.state.text == 'done'\", maxIterations: 5 }
    steps:
      - { name: state, tool: fake.echo, params: { text: \"${steps.begin.id}\" } }
      - { name: poke, tool: fake.put, params: { text: poke } }
  - name: fixed
    repeat: { until: \"index == 2\", maxIterations: 5 }
    steps:
      - { name: tick, tool: fake.put, params: { text: \"${index}\" } }
  - { name: end, tool: fake.put, params: { text: end } }
",
    );
    assert_eq!(plan["blocked"], Value::Null, "{plan:#}");
    let writes = each(&plan, "writes", "step");
    assert_eq!(writes[..2], ["begin", "poll[0]/poke"]);
    assert_eq!(writes.last(), Some(&"end"));
    assert!(writes.contains(&"fixed[2]/tick"), "{writes:?}");
    assert_eq!(entry(&plan, "writes", "poll[0]/poke")["estimated"], true);
    assert!(plan["unknown"].to_string().contains("how often poll goes round"), "{plan:#}");
}

#[test]
fn a_plan_ends_where_the_execution_would_fail_and_nobody_can_run_by_it() {
    let text = "\
name: it
steps:
  - { name: first, tool: fake.append, params: { text: first } }
  - { name: broken, tool: fake.echo, params: { text: \"${default(input.text, 3)}\" } }
  - { name: later, tool: fake.append, params: { text: later } }
onFailure:
  - { name: tell, tool: fake.append, params: { text: tell } }
";
    let project = with_fake(Project::new()).with_workflow("it", text);
    let plan = project.run(&["plan", "--json", "it"]).expect(1).json();
    assert_eq!(each(&plan, "writes", "step"), ["first"]);
    assert_eq!(
        (&plan["blocked"]["step"], &plan["blocked"]["code"]),
        (&json!("broken"), &json!("invalid_argument"))
    );
    assert_eq!(plan["reads"][0]["ok"], false);
    assert_eq!(each(&plan, "may_also_run", "step"), ["later"], "never left out in silence");
    assert_eq!(
        plan["if_it_ends_badly"],
        json!([{ "when": "on_failure", "step": "tell", "tool": "fake.append" }])
    );
    let id = plan["plan_id"].as_str().unwrap();
    let (code, message) = error_of(&run_by(&project, &["it", "--plan", id]).expect(2));
    assert_eq!(code, "plan_incomplete");
    assert!(message.contains("ends early at step broken"), "{message}");
    assert_eq!(written(&project), "");
}

#[test]
fn a_plan_has_bounds() {
    let plan = plan_of(
        "\
name: it
input: { type: object, properties: { list: { type: array, default: [1, 2, 3, 4, 5, 6, 7, 8] } } }
steps:
  - name: outer
    forEach: \"${input.list}\"
    steps:
      - name: middle
        forEach: \"${input.list}\"
        steps:
          - { name: inner, forEach: \"${input.list}\", tool: fake.append, params: { text: x } }
  - { name: later, tool: fake.append, params: { text: later } }
",
    );
    assert_eq!(plan["truncated"], true);
    let reason = plan["truncated_at"]["reason"].as_str().unwrap();
    assert!(reason.contains("at most 500 calls"), "{reason}");
    assert!(plan["writes"].as_array().unwrap().len() <= 500);
    assert!(each(&plan, "may_also_run", "step").contains(&"later"), "{}", plan["may_also_run"]);
}

#[test]
fn a_stop_that_is_reached_is_the_end_and_one_that_may_be_makes_the_rest_doubtful() {
    let plan = plan_of(
        "\
name: it
input: { type: object, properties: { hard: { type: boolean, default: true } } }
steps:
  - { name: first, tool: fake.append, params: { text: first } }
  - { name: maybe, if: \"default(steps.first.enough, false)\", stop: completed }
  - { name: second, tool: fake.append, params: { text: second } }
  - { name: halt, if: \"input.hard\", stop: { status: failed, message: Enough. } }
  - { name: third, tool: fake.append, params: { text: third } }
",
    );
    assert_eq!(each(&plan, "writes", "step"), ["first", "second"]);
    assert_eq!(plan["writes"][0]["estimated"], false);
    assert_eq!(plan["writes"][1]["depends_on_stubs"], json!(["first"]));
    assert_eq!(
        (&plan["stops"]["step"], &plan["stops"]["outcome"]),
        (&json!("halt"), &json!("failed"))
    );
    assert_eq!(plan["blocked"], Value::Null);
}

#[test]
fn secrets_are_named_in_a_plan_and_never_used_by_it() {
    let secret = "the-secret-of-the-plan";
    let project = with_fake(Project::new()).with_env("THE_KEY", secret).with_workflow(
        "it",
        "\
name: it
steps:
  - { name: read, tool: fake.echo, params: { text: \"${secrets.KEY}\" } }
  - { name: write, tool: fake.append, params: { text: \"Bearer ${secrets.KEY}\" } }
",
    );
    project.write("windlass.toml", "mcp_config = ['.mcp.json']\n[secrets.KEY]\nenv = 'THE_KEY'\n");
    let answer = project.run(&["plan", "--json", "it"]).expect(0);
    assert!(!answer.stdout.contains(secret));
    let plan = answer.json();
    assert_eq!(entry(&plan, "stubs", "read")["why"], "secret");
    let write = entry(&plan, "writes", "write");
    assert_eq!(write["params"], json!({ "text": "Bearer ${secrets.KEY}" }));
    assert_eq!((written(&project), called(&project).len()), (String::new(), 0));
}

#[test]
fn a_tool_that_is_not_done_is_looked_at_once_and_supposed_to_be_done() {
    let project = with_fake(Project::new()).with_workflow(
        "it",
        "name: it\nsteps:\n  \
         - { name: wait, tool: fake.look, params: { looks: 3, ms: 3600000 }, expect: result.success }\n  \
         - { name: note, if: steps.wait.done, tool: fake.append, params: { text: \"${steps.wait.message}\" } }\n",
    );
    let plan = planned(&project, &["it"]);
    assert_eq!(called(&project), ["look"]);
    assert_eq!(plan["writes"][0]["params"], json!({ "text": "1 of 3" }), "{plan:#}");
    assert_eq!(plan["writes"][0]["estimated"], true);
    let stub = entry(&plan, "stubs", "wait");
    assert_eq!((&stub["from"], &stub["why"]), (&json!("last_look"), &json!("not_done")));
}

#[test]
fn what_a_tool_that_reads_marks_write_only_is_hidden() {
    let project = with_fake(Project::new()).with_workflow(
        "it",
        "\
name: it
steps:
  - { name: key, tool: fake.mint }
  - { name: write, tool: fake.append, params: { text: \"${steps.key.token} ${steps.key.id} ${steps.key.note}\" } }
",
    );
    project.write(
        "changes.json",
        &json!({ "mint": { "annotations": { "readOnlyHint": true } } }).to_string(),
    );
    let answer = project.run(&["plan", "--json", "it"]).expect(0);
    assert!(!answer.stdout.contains("minted"), "{answer:#?}");
    let plan = answer.json();
    assert_eq!(entry(&plan, "stubs", "key")["from"], "hidden");
    let text = "[sealed] key-1 keep [sealed]";
    assert_eq!(entry(&plan, "writes", "write")["params"], json!({ "text": text }));
    assert_eq!(entry(&plan, "writes", "write")["estimated"], true);
}

#[test]
fn a_tool_server_that_cannot_be_asked_is_taken_for_one_that_writes() {
    let project = with_fake(Project::new()).with_workflow(
        "it",
        "name: it\nsteps:\n  - { name: a, tool: gone.look, params: { text: x } }\n",
    );
    let servers = json!({ "mcpServers": { "gone": { "command": "./not-there" } } });
    project.write(".mcp.json", &servers.to_string());
    let plan = planned(&project, &["it"]);
    assert_eq!(each(&plan, "writes", "step"), ["a"]);
    assert_eq!(entry(&plan, "stubs", "a")["why"], "unreachable");
    assert!(plan["unknown"][0].as_str().unwrap().starts_with("gone.look cannot be asked"));
}
