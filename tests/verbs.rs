//! What persons and other programs tell an execution, at both doors: answers, events, and what is shown of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Project, SOON, begin, eventually, settled};

const PATIENCE: Duration = Duration::from_secs(60);

const ROLL_OUT: &str = "
name: roll_out
input: { type: object, properties: { app: { type: string } }, required: [app] }
steps:
  - name: deploy
    tool: demo.echo
    params: { app: '${input.app}' }
    approval: { message: 'Deploy ${input.app}?' }
output: { done: '${steps.deploy.app}' }
";

const SURVEY: &str = "
name: survey
steps:
  - name: which
    ask:
      message: Which version?
      schema:
        type: object
        required: [version]
        properties:
          version: { type: string, description: which one }
          count: { type: integer, default: 1 }
output: { given: '${steps.which}' }
";

const PAYMENT: &str = "
name: payment
steps:
  - { name: paid, wait: { event: paid, timeoutMs: 600000 } }
output: { amount: '${steps.paid.amount}' }
";

const FAN: &str = "
name: fan
steps:
  - name: each
    forEach: '${[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]}'
    onError: continue
    steps:
      - { name: divide, set: { share: '${item == 7 ? 1 / (item - 7) : 1}' } }
";

const PARENT: &str = "
name: parent
steps:
  - { name: release, workflow: roll_out, params: { app: shop } }
";

fn client(project: &Project) -> Client {
    let mut client = project.client(&["serve"]).with_deadline(PATIENCE);
    client.initialize();
    client
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:#}"))
}

/// The only request of an execution, once it is there.
fn request(client: &mut Client, execution_id: &str) -> Value {
    eventually(SOON, "a request", || {
        let told = client.call_ok("workflow.status", json!({ "execution_id": execution_id }));
        told["requests"].get(0).cloned()
    })
}

fn json_of(project: &Project, arguments: &[&str], code: i32) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    project.run(&arguments).expect(code).json()
}

#[test]
fn an_agent_cannot_approve_what_it_started_and_a_person_at_the_terminal_can() {
    let project = Project::new().with_workflow("roll_out", ROLL_OUT);
    let mut agent = client(&project);
    let id = begin(&mut agent, "roll_out", json!({ "app": "shop" }));
    let waiting = settled(&mut agent, &id);
    assert_eq!(waiting["status"], "waiting", "{waiting:#}");
    let asked = &waiting["requests"][0];
    let request_id = text(&asked["request_id"]);
    assert_eq!(asked["message"], "Deploy shop?");
    assert_eq!(asked["sends"], json!({ "tool": "demo.echo", "params": { "app": "shop" } }));
    assert_eq!(
        asked["command"],
        format!("windlass approve {request_id} or windlass reject {request_id}")
    );
    assert!(0 < asked["expires_in_seconds"].as_i64().unwrap());
    let next = text(&waiting["next"]);
    assert!(next.contains(&format!("`windlass approve {request_id}`")), "{next}");
    assert!(next.contains("Do not decide for them"), "{next}");

    let listed = agent.call_ok("workflow.status", json!({}));
    assert_eq!(listed["requests"][0]["request_id"], request_id);

    let approve = json!({ "request_id": request_id, "decision": "approve" });
    let refusal = agent.call_err("workflow.answer", approve.clone());
    assert!(refusal.contains("local started the execution and may not answer"), "{refusal}");
    assert!(refusal.contains(&format!("`windlass approve {request_id}`")), "{refusal}");
    assert!(refusal.contains("Nothing was answered. Show the user"), "{refusal}");

    // What a client calls itself makes it no terminal.
    let mut liar = project.client(&["serve"]).with_deadline(PATIENCE);
    let hello = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "windlass", "version": "1" },
    });
    liar.ask("initialize", hello);
    liar.notify("notifications/initialized", json!({}));
    let refusal = liar.call_err("workflow.answer", approve);
    assert!(refusal.contains("may not answer"), "{refusal}");

    let shown = project.run(&["requests"]).expect(0).stdout;
    assert!(shown.contains(&format!("{request_id} approval for step deploy")), "{shown}");
    assert!(shown.contains("Deploy shop?") && shown.contains("\"app\": \"shop\""), "{shown}");
    assert!(shown.contains(&format!("answer: windlass approve {request_id}")), "{shown}");
    let status = project.run(&["status", &id]).expect(4);
    assert!(status.stderr.contains(&format!("windlass approve {request_id}")), "{status:#?}");

    project.run(&["approve", request_id, "-m", "go"]).expect(0);
    let told = settled(&mut agent, &id);
    assert_eq!(
        (&told["status"], &told["output"]),
        (&json!("completed"), &json!({ "done": "shop" }))
    );
    assert_eq!(told["steps"][0]["settled_by"], "local", "{told:#}");
    let again = project.run(&["approve", request_id]).expect(2);
    assert!(again.stderr.contains("was answered by local"), "{again:#?}");
    assert_eq!(json_of(&project, &["requests"], 0), json!({ "requests": [] }));
    let unknown = project.run(&["approve", "req_none", "--json"]).expect(3);
    assert_eq!(unknown.json()["error"]["code"], "unknown_request");
}

#[test]
fn where_the_configuration_lets_agents_answer_they_may() {
    let project = Project::new()
        .with_workflow("roll_out", ROLL_OUT)
        .with_file("windlass.toml", "[approvals]\nagents_may_answer = true\n");
    let mut agent = client(&project);
    let id = begin(&mut agent, "roll_out", json!({ "app": "shop" }));
    let request = request(&mut agent, &id);
    let answer = json!({ "request_id": request["request_id"], "decision": "reject", "comment": "not today" });
    agent.call_ok("workflow.answer", answer);
    let told = settled(&mut agent, &id);
    assert_eq!(told["status"], "failed", "{told:#}");
    assert!(told["error"]["message"].to_string().contains("not today"), "{told:#}");
}

#[test]
fn only_whoever_shows_a_token_is_verified() {
    let verified = ROLL_OUT.replace("approval: {", "approval: { verified: true,");
    let project = Project::new()
        .with_workflow("roll_out", &verified)
        .with_env("WINDLASS_HTTP_TOKEN", "open-sesame");
    let execution = json_of(&project, &["run", "roll_out", "app=shop"], 4);
    let request_id = text(&execution["requests"][0]["request_id"]);
    let refused = project.run(&["approve", request_id]).expect(2);
    assert!(refused.stderr.contains("identity is verified"), "{refused:#?}");
    let server = project.serve_http();
    let mut client = server.client().with_header("Authorization", "Bearer open-sesame");
    client.initialize();
    let approve = json!({ "request_id": request_id, "decision": "approve" });
    client.call_ok("workflow.answer", approve);
    let told = settled(&mut client, text(&execution["execution_id"]));
    assert_eq!(told["steps"][0]["settled_by"], "token", "{told:#}");
}

#[test]
fn a_run_that_meets_a_request_ends_with_4_and_says_what_to_type() {
    let project = Project::new().with_workflow("roll_out", ROLL_OUT);
    let answer = project.run(&["run", "roll_out", "app=shop"]).expect(4);
    assert!(answer.stderr.contains("Deploy shop?"), "{answer:#?}");
    assert!(answer.stderr.contains("answer: windlass approve req_"), "{answer:#?}");
    let requests = json_of(&project, &["requests"], 0);
    let request = &requests["requests"][0];
    project.run(&["reject", text(&request["request_id"]), "-m", "too late"]).expect(0);
    let id = text(&request["execution_id"]);
    let ended = json_of(&project, &["status", id, "--wait", "30"], 1);
    assert_eq!(ended["status"], "failed");
    let shown = project.run(&["status", id]).expect(1).stdout;
    assert!(shown.contains("by local"), "{shown}");
}

#[test]
fn a_form_is_answered_with_values_that_fit() {
    let project = Project::new().with_workflow("survey", SURVEY);
    let execution = json_of(&project, &["run", "survey"], 4);
    let request_id = text(&execution["requests"][0]["request_id"]).to_owned();
    let id = text(&execution["execution_id"]);
    let shown = project.run(&["requests"]).expect(0).stdout;
    assert!(shown.contains("version: string  which one"), "{shown}");
    assert!(shown.contains(&format!("windlass answer {request_id} --value version=…")), "{shown}");

    let wrong = project.run(&["answer", &request_id, "--value", "count=2"]).expect(2);
    assert!(wrong.stderr.contains("version"), "{wrong:#?}");
    let wrong = project.run(&["answer", &request_id, "--value", "verison=2"]).expect(2);
    assert!(wrong.stderr.contains("did you mean \"version\"?"), "{wrong:#?}");
    let wrong = project.run(&["approve", &request_id]).expect(2);
    assert!(wrong.stderr.contains("asks for values"), "{wrong:#?}");
    let nothing = project.run(&["answer", &request_id]).expect(2);
    assert!(nothing.stderr.contains("--value KEY=VALUE"), "{nothing:#?}");

    project.run(&["answer", &request_id, "--value", "version=2"]).expect(0);
    let ended = json_of(&project, &["status", id, "--wait", "30"], 0);
    assert_eq!(ended["output"], json!({ "given": { "version": "2", "count": 1 } }));
}

#[test]
fn a_form_asked_over_mcp_shows_its_schema_and_takes_values() {
    let project = Project::new()
        .with_workflow("survey", SURVEY)
        .with_file("windlass.toml", "[approvals]\nagents_may_answer = true\n");
    let mut agent = client(&project);
    let id = begin(&mut agent, "survey", json!({}));
    let request = request(&mut agent, &id);
    assert_eq!(request["schema"]["required"], json!(["version"]), "{request:#}");
    let answer = |values: Value| json!({ "request_id": request["request_id"], "values": values });
    let refusal = agent.call_err("workflow.answer", answer(json!({ "version": 7 })));
    assert!(
        refusal.contains("/version") && refusal.contains("call workflow.answer again"),
        "{refusal}"
    );
    agent.call_ok("workflow.answer", answer(json!({ "version": "7" })));
    assert_eq!(settled(&mut agent, &id)["output"]["given"]["version"], "7");
}

#[test]
fn an_event_that_is_waited_for_can_be_sent_by_both_doors() {
    let project = Project::new().with_workflow("payment", PAYMENT);
    let mut agent = client(&project);
    let ids = [0, 1].map(|_| begin(&mut agent, "payment", json!({})));
    for id in &ids {
        let waiting = settled(&mut agent, id);
        assert_eq!(waiting["steps"][0]["event"], "paid", "{waiting:#}");
        assert!(waiting["steps"][0]["due_in_seconds"].is_u64(), "{waiting:#}");
        let next = text(&waiting["next"]);
        assert!(next.contains("action=\"signal\", event=\"paid\""), "{next}");
    }
    let shown = project.run(&["status", &ids[1]]).expect(0);
    assert!(shown.stdout.contains("for the event paid; gives up in 9 min"), "{shown:#?}");
    assert!(shown.stderr.contains(&format!("`windlass signal {} paid", ids[1])), "{shown:#?}");

    let signal = json!({ "execution_id": ids[0], "action": "signal", "event": "paid", "data": { "amount": 7 } });
    agent.call_ok("workflow.control", signal);
    assert_eq!(settled(&mut agent, &ids[0])["output"], json!({ "amount": 7 }));
    project.run(&["signal", &ids[1], "paid", "--data", r#"{"amount":8}"#]).expect(0);
    assert_eq!(settled(&mut agent, &ids[1])["output"], json!({ "amount": 8 }));
    let over = project.run(&["signal", &ids[1], "paid", "--json"]).expect(2);
    assert_eq!(over.json()["error"]["code"], "refused");
    let refusal = agent.call_err(
        "workflow.control",
        json!({ "execution_id": ids[0], "action": "cancel", "event": "paid" }),
    );
    assert!(refusal.contains("goes with action=\"signal\" only"), "{refusal}");
}

#[test]
fn of_a_list_with_many_instances_the_counts_and_the_troubled_ones_are_shown() {
    let project = Project::new().with_workflow("fan", FAN);
    let mut agent = client(&project);
    let told = agent.call_ok("workflow.run", json!({ "workflow": "fan" }));
    let id = text(&told["execution_id"]);
    let told = settled(&mut agent, id);
    let steps = told["steps"].as_array().unwrap();
    assert_eq!(steps[0]["name"], "each");
    assert_eq!(steps[0]["instances"], json!({ "completed": 24, "failed": 1 }), "{told:#}");
    assert!(steps.iter().any(|step| step["name"] == "each[7]"), "{told:#}");
    // 25 instances with one step each, of which 20 lines are shown.
    assert_eq!((steps.len(), &told["more_steps"]), (21, &json!(30)), "{told:#}");
    let one = json!({ "execution_id": id, "step": "each[3]/divide" });
    assert_eq!(agent.call_ok("workflow.status", one)["steps"][0]["result"], json!({ "share": 1 }));

    let shown = project.run(&["status", id]).expect(0).stdout;
    assert!(shown.contains("24 completed, 1 failed"), "{shown}");
    assert!(shown.contains("\n    ✗ [7]") && shown.contains("\n      ✗ divide"), "{shown}");
    assert!(shown.contains("… and 48 more"), "{shown}");
}

#[test]
fn what_a_child_asks_is_shown_with_its_parent() {
    let project =
        Project::new().with_workflow("roll_out", ROLL_OUT).with_workflow("parent", PARENT);
    let execution = json_of(&project, &["run", "parent"], 4);
    let id = text(&execution["execution_id"]);
    let child = text(&execution["steps"][0]["execution_id"]);
    let request = &execution["requests"][0];
    assert_eq!((text(&request["execution_id"]), &request["workflow"]), (child, &json!("roll_out")));
    project.run(&["approve", text(&request["request_id"])]).expect(0);
    let ended = json_of(&project, &["status", id, "--wait", "30"], 0);
    assert_eq!(ended["output"], json!({ "done": "shop" }), "{ended:#}");
}

#[test]
fn a_cancelled_execution_says_who_cancelled_it_and_why() {
    let project = Project::new().with_workflow("payment", PAYMENT);
    let id = project.run(&["run", "payment", "--detach"]).expect(0).stdout.trim().to_owned();
    project.run(&["cancel", &id, "--reason", "not needed"]).expect(0);
    let ended = json_of(&project, &["status", &id, "--wait", "30"], 1);
    assert_eq!(ended["cancel"], json!({ "by": "local", "reason": "not needed" }));
    let shown = project.run(&["status", &id]).expect(1).stdout;
    assert!(shown.contains("cancelled by local: not needed"), "{shown}");
    let told = client(&project).call_ok("workflow.status", json!({ "execution_id": id }));
    assert_eq!(told["cancel"]["reason"], "not needed");
}

#[test]
fn a_step_that_is_called_again_later_says_when() {
    let retried = "
name: retried
steps:
  - name: trip
    tool: demo.fail
    params: { message: busy, retryable: true }
    retry: { maxAttempts: 3, backoff: fixed, initialDelayMs: 600000, jitter: false }
";
    let project = Project::new().with_workflow("retried", retried);
    let mut agent = client(&project);
    let id = begin(&mut agent, "retried", json!({}));
    let due = eventually(SOON, "the first attempt to fail", || {
        let told = agent.call_ok("workflow.status", json!({ "execution_id": id }));
        told["steps"][0]["due_in_seconds"].as_i64()
    });
    assert!((500..=600).contains(&due), "{due}");
    let shown = project.run(&["status", &id]).expect(0).stdout;
    assert!(shown.contains("again in 9 min") && shown.contains("busy"), "{shown}");
    agent.call_ok("workflow.control", json!({ "execution_id": id, "action": "cancel" }));
}

#[test]
fn a_document_is_checked_over_mcp_in_words_and_with_patches() {
    let project = Project::new().with_workflow("payment", PAYMENT);
    let mut agent = client(&project);
    let broken = "name: x\nstpes:\n  - { name: say, tool: demo.echo, params: {} }\n";
    let told = agent.call_ok("workflow.validate", json!({ "document": broken }));
    assert_eq!(told["valid"], false);
    let problem = &told["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["patch"][0]["op"]),
        (&json!(2), &json!("move")),
        "{told:#}"
    );
    let summary = text(&told["summary"]);
    assert!(summary.contains("[fix: rename key stpes to steps]"), "{summary}");
    assert!(text(&told["next"]).contains("call workflow.validate again"), "{told:#}");

    let wrong = "name: x\nsteps:\n  - { name: say, tool: demo.ehco, params: {} }\n";
    let told = agent.call_ok("workflow.validate", json!({ "document": wrong }));
    assert_eq!(told["problems"][0]["nearest"][0], "demo.echo", "{told:#}");
    let refusal = agent.call("workflow.save", json!({ "document": wrong }));
    assert_eq!(refusal["isError"], true, "{refusal:#}");
    assert_eq!(refusal["structuredContent"]["problems"], told["problems"]);

    let good = wrong.replace("ehco", "echo");
    let told = agent.call_ok("workflow.validate", json!({ "document": good }));
    assert_eq!((&told["valid"], &told["workflow"]), (&json!(true), &json!("x")), "{told:#}");
    assert!(text(&told["next"]).contains("workflow.save"), "{told:#}");
    let told = agent.call_ok("workflow.validate", json!({ "workflow": "payment" }));
    assert_eq!(told["valid"], true);
    let refusal = agent.call_err("workflow.validate", json!({ "workflow": "paiment" }));
    assert!(refusal.contains("payment"), "{refusal}");
    agent.call_err("workflow.validate", json!({}));
    let listed = agent.call_ok("workflow.list", json!({}));
    assert!(!listed["workflows"].to_string().contains("\"x\""), "nothing was saved: {listed:#}");
}

#[test]
fn a_workflow_whose_tool_does_not_exist_is_not_saved() {
    let project = Project::new();
    project.write("x.yaml", "name: x\nsteps:\n  - { name: say, tool: demo.ehco, params: {} }\n");
    let refused = project.run(&["save", "x.yaml"]).expect(1);
    assert!(refused.stderr.contains("demo.echo"), "{refused:#?}");
    project.run(&["run", "x"]).expect(3);
}

#[test]
fn validate_shows_what_mends_a_document() {
    let project = Project::new();
    project.write("x.yaml", "name: x\nstpes:\n  - { name: say, tool: demo.echo, params: {} }\n");
    let shown = project.run(&["validate", "x.yaml"]).expect(1).stdout;
    assert!(shown.contains("= fix: rename key stpes to steps"), "{shown}");
    assert!(shown.trim_end().ends_with("once the document itself has no problems"), "{shown}");
}

#[test]
fn malformed_calls_are_told_what_is_wrong_with_them() {
    let project = Project::new().with_workflow("payment", PAYMENT);
    let mut agent = client(&project);
    for arguments in [json!("{\"workflow\":\"payment\"}"), json!([1])] {
        let refusal = agent.call_err("workflow.run", arguments);
        assert!(refusal.contains("\"arguments\" must be a JSON object"), "{refusal}");
    }
    for params in [json!({}), json!({ "name": 7 }), json!({ "name": "nothing", "arguments": "x" })]
    {
        let error = agent.request("tools/call", params).unwrap_err();
        assert_eq!(error["code"], -32602, "{error:#}");
        assert!(text(&error["message"]).contains("name: a text"), "{error:#}");
    }
    let error = agent.request("tools/cull", json!({})).unwrap_err();
    assert_eq!(error["code"], -32601, "{error:#}");
    let error = agent.request("tools/call", json!({ "name": "workflow run" })).unwrap_err();
    assert!(text(&error["message"]).contains("did you mean \"workflow.run\"?"), "{error:#}");
}
