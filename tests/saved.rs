//! Saved workflows: kept as revisions, switched on and off, and stopped when a tool became another one.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Ended, Project, SOON, eventually};

const GREET: &str = "\
name: greet
input: { type: object, required: [who], properties: { who: { type: string } } }
steps:
  - { name: say, tool: demo.echo, params: { text: \"Hello, ${input.who}!\" } }
";

fn projects() -> [Project; 2] {
    [Project::new(), Project::on_postgres()]
}

/// A project with the fake tool server, whose tools change as the file of changes says.
fn with_fake(project: Project) -> Project {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_windlass"));
    let fake = binary.parent().unwrap().join("examples/fake_tool_server");
    let server =
        json!({ "command": fake, "args": ["--ledger", "ledger", "--changes", "changes.json"] });
    project
        .with_file(".mcp.json", &json!({ "mcpServers": { "fake": server } }).to_string())
        .with_file("windlass.toml", "mcp_config = ['.mcp.json']\n")
        .with_workflow("note", NOTE)
}

const NOTE: &str = "\
name: note
steps:
  - { name: put, tool: fake.append, params: { text: one } }
output: { done: \"${steps.put.done}\" }
";

fn change(project: &Project, changes: Value) {
    project.write("changes.json", &changes.to_string());
}

fn ledger(project: &Project) -> usize {
    fs::read_to_string(project.path().join("ledger")).unwrap_or_default().lines().count()
}

fn json_of(project: &Project, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    project.run(&arguments).expect(0).json()
}

fn error_of(answer: &Ended) -> (String, String) {
    let error = &answer.json()["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{answer:#?}")).to_owned();
    (text("code"), text("message"))
}

fn listed(project: &Project, name: &str) -> Value {
    let listed = json_of(project, &["list"]);
    let workflows = listed["workflows"].as_array().unwrap();
    workflows.iter().find(|workflow| workflow["name"] == name).cloned().unwrap_or_default()
}

fn client(project: &Project) -> Client {
    let mut client = project.client(&["serve"]);
    client.initialize();
    client
}

#[test]
fn a_saved_workflow_runs_without_its_file_and_keeps_its_revisions() {
    for project in projects() {
        let project = project.with_file("drafts/greet.yaml", GREET);
        let told = project.run_ok(&["save", "drafts/greet.yaml", "--comment", "the first"]);
        assert!(told.starts_with("✓ greet saved as revision 1 "), "{told}");
        let ran = json_of(&project, &["run", "greet", "who=Ada"]);
        assert_eq!(ran["output"]["text"], "Hello, Ada!");

        project.write("drafts/greet.yaml", &GREET.replace("Hello", "Goodbye"));
        let saved = json_of(&project, &["save", "drafts/greet.yaml"]);
        assert_eq!((&saved["revision"], &saved["is_new"]), (&json!(2), &json!(true)));
        assert_eq!(saved["previous"]["number"], 1);
        assert_eq!(
            saved["changes"],
            json!([{ "change": "changed", "what": "step say", "keys": ["params"] }])
        );
        assert_eq!(saved["pinned"], json!(["demo.echo"]));
        let again = json_of(&project, &["save", "drafts/greet.yaml"]);
        assert_eq!((&again["revision"], &again["is_new"]), (&json!(2), &json!(false)));
        let ran = json_of(&project, &["run", "greet", "who=Ada"]);
        assert_eq!(ran["output"]["text"], "Goodbye, Ada!");
        assert_eq!(listed(&project, "greet")["source"], "saved");

        let revisions = json_of(&project, &["revisions", "greet"]);
        let told = |index: usize, key: &str| revisions["revisions"][index][key].clone();
        assert_eq!([told(0, "number"), told(1, "number")], [json!(2), json!(1)]);
        assert_eq!([told(0, "current"), told(1, "current")], [json!(true), json!(false)]);
        assert_eq!([told(1, "author"), told(1, "comment")], [json!("local"), json!("the first")]);
        let printed = project.run_ok(&["revisions", "greet", "1"]);
        assert!(printed.contains("Hello, ${input.who}!"), "{printed}");

        let diff = project.run_ok(&["diff", "greet"]);
        for line in [
            "changed step say: params\n",
            "--- greet revision 1\n+++ greet revision 2\n",
            "-        \"text\": \"Hello, ${input.who}!\"\n+        \"text\": \"Goodbye, ${input.who}!\"\n",
        ] {
            assert!(diff.contains(line), "{diff}");
        }
        let hash = told(0, "hash");
        let hash = &hash.as_str().unwrap()[..8];
        let back = json_of(&project, &["diff", "greet", hash, "1"]);
        assert_eq!((&back["from"]["number"], &back["to"]["number"]), (&json!(2), &json!(1)));
        let refused = project.run(&["diff", "greet", "7", "--json"]).expect(2);
        assert!(
            error_of(&refused).1.contains("has no revision \"7\"; it has 1 to 2"),
            "{refused:#?}"
        );
    }
}

#[test]
fn what_another_process_saves_is_what_runs_next() {
    for project in projects() {
        let project = project.with_file("drafts/greet.yaml", GREET);
        project.run_ok(&["save", "drafts/greet.yaml"]);
        let mut client = client(&project);
        let run = json!({ "workflow": "greet", "input": { "who": "Ada" } });
        for _ in 0..2 {
            let ran = client.call_ok("workflow.run", run.clone());
            assert_eq!(ran["output"]["text"], "Hello, Ada!");
        }
        project.write("drafts/greet.yaml", &GREET.replace("Hello", "Goodbye"));
        project.run_ok(&["save", "drafts/greet.yaml"]);
        let ran = client.call_ok("workflow.run", run.clone());
        assert_eq!(ran["output"]["text"], "Goodbye, Ada!");

        // What is given fits only what it was, and then only what it is.
        project.write("drafts/greet.yaml", &GREET.replace("who", "whom"));
        project.run_ok(&["save", "drafts/greet.yaml"]);
        let refusal = client.call_err("workflow.run", run);
        assert!(refusal.contains("whom"), "{refusal}");
        project.write("drafts/greet.yaml", GREET);
        project.run_ok(&["save", "drafts/greet.yaml"]);
        let ran = client
            .call_ok("workflow.run", json!({ "workflow": "greet", "input": { "who": "Bob" } }));
        assert_eq!(ran["output"]["text"], "Hello, Bob!");
    }
}

#[test]
fn what_has_problems_is_not_saved_and_all_of_them_are_told() {
    let project = Project::new()
        .with_file("bad.yaml", "name: bad\nsteps:\n  - { name: a, tol: x.y }\n  - { name: b }\n");
    let refused = project.run(&["save", "bad.yaml"]).expect(1);
    assert!(
        refused.stderr.contains("tol") && refused.stderr.contains("bad.yaml:4:"),
        "{refused:#?}"
    );
    project.run(&["revisions", "bad"]).expect(3);

    let told = project.run(&["save", "bad.yaml", "--json"]).expect(1).json();
    assert_eq!(
        (&told["saved"], &told["error"]["code"]),
        (&json!(false), &json!("broken_workflow"))
    );
    let codes = |problems: &Value| -> Vec<String> {
        let problems = problems.as_array().unwrap().iter();
        problems.map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
    };
    let told = codes(&told["problems"]);
    assert!(2 <= told.len(), "{told:?}");

    let mut client = client(&project);
    let document = fs::read_to_string(project.path().join("bad.yaml")).unwrap();
    let answer = client.call("workflow.save", json!({ "document": document }));
    assert_eq!(answer["isError"], true);
    assert_eq!(codes(&answer["structuredContent"]["problems"]), told);
    assert!(answer.to_string().contains("Nothing was saved"), "{answer:#}");
}

#[test]
fn what_does_not_fit_the_tools_as_they_are_is_not_saved() {
    let project = with_fake(Project::new());
    let wrong = NOTE.replace("name: note", "name: kept").replace("append", "apend");
    project.write("kept.yaml", &wrong);
    let told = project.run(&["save", "kept.yaml", "--json"]).expect(1).json();
    assert_eq!(told["problems"][0]["pointer"], "/steps/0/tool", "{told:#}");
    project.write("kept.yaml", &wrong.replace("apend", "append"));
    let told = json_of(&project, &["save", "kept.yaml"]);
    assert_eq!(told["saved"], true);
    assert!(!told["unchecked"].as_array().unwrap().is_empty(), "it promises no result: {told:#}");
}

#[test]
fn a_dry_run_checks_everything_and_writes_nothing() {
    let project = Project::new().with_file("greet.yaml", GREET);
    let tried = json_of(&project, &["save", "greet.yaml", "--dry-run"]);
    assert_eq!((&tried["saved"], &tried["is_new"]), (&json!(false), &json!(true)));
    assert_eq!(tried["revision"], Value::Null);
    project.run(&["revisions", "greet"]).expect(3);
}

#[test]
fn a_file_wins_over_a_saved_workflow_and_saving_says_so() {
    let project = Project::new().with_file("draft.yaml", GREET).with_workflow("greet", GREET);
    let (code, message) = error_of(&project.run(&["save", "draft.yaml", "--json"]).expect(2));
    assert_eq!(code, "not_saved");
    assert!(message.contains("workflows/greet.yaml, which wins over a saved one"), "{message}");

    fs::remove_file(project.path().join("workflows/greet.yaml")).unwrap();
    project.run_ok(&["save", "draft.yaml"]);
    project.write("workflows/greet.yaml", &GREET.replace("Hello", "Salve"));
    let ran = json_of(&project, &["run", "greet", "who=Ada"]);
    assert_eq!(ran["output"]["text"], "Salve, Ada!");
}

#[test]
fn whoever_saves_over_another_ones_revision_is_told_whose_it_is() {
    let project = Project::new().with_file("greet.yaml", GREET);
    project.run_ok(&["save", "greet.yaml", "--expect", "0", "--comment", "mine"]);
    let mut client = client(&project);
    let document = GREET.replace("Hello", "Hi");
    let wish = json!({ "document": document, "expected_revision": 0 });
    let refusal = client.call_err("workflow.save", wish);
    assert!(
        refusal
            .contains("is at revision 1, saved by local (mine), and not at 0; nothing was saved"),
        "{refusal}"
    );
    let wish = json!({ "document": document, "expected_revision": 1 });
    assert_eq!(client.call_ok("workflow.save", wish)["revision"], 2);
}

#[test]
fn a_file_that_changes_is_a_new_revision_without_a_restart() {
    let project = Project::new().with_workflow("greet", GREET);
    let mut client = client(&project);
    assert_eq!(client.call_ok("workflow.describe", json!({ "workflow": "greet" }))["revision"], 1);
    project.write("workflows/greet.yaml", &GREET.replace("Hello", "Good morning"));
    let run = json!({ "workflow": "greet", "input": { "who": "Ada" } });
    assert_eq!(client.call_ok("workflow.run", run)["output"]["text"], "Good morning, Ada!");
    let asked = json!({ "workflow": "greet", "action": "revisions" });
    let revisions = client.call_ok("workflow.manage", asked)["revisions"].clone();
    let told: Vec<_> =
        revisions.as_array().unwrap().iter().map(|one| (&one["number"], &one["author"])).collect();
    assert_eq!(told, [(&json!(2), &json!("file")), (&json!(1), &json!("file"))]);
    assert!(revisions[0]["source"].as_str().unwrap().ends_with("workflows/greet.yaml"));
}

#[test]
fn a_disabled_workflow_is_listed_and_not_started_and_what_runs_goes_on() {
    for project in projects() {
        let nap = "name: nap\nsteps:\n  - { name: nap, tool: demo.sleep, params: { ms: 1500 } }\n";
        let project = project.with_workflow("nap", nap);
        let mut client = client(&project);
        let begun = client.call_ok("workflow.run", json!({ "workflow": "nap", "wait_seconds": 0 }));
        project.run_ok(&["disable", "nap"]);
        project.run_ok(&["disable", "hello"]);

        let (code, message) = error_of(&project.run(&["run", "nap", "--json"]).expect(2));
        assert_eq!((code.as_str(), message.contains("is disabled")), ("disabled", true));
        // Whoever names the file means it.
        project.run(&["run", "workflows/nap.yaml"]).expect(0);
        for name in ["nap", "hello"] {
            assert_eq!(listed(&project, name)["enabled"], false);
            let refusal = client.call_err("workflow.run", json!({ "workflow": name }));
            assert!(refusal.contains(&format!("windlass enable {name}")), "{refusal}");
        }
        let status = json!({ "execution_id": begun["execution_id"], "wait_seconds": 20 });
        assert_eq!(client.call_ok("workflow.status", status)["status"], "completed");

        client.call_ok("workflow.manage", json!({ "workflow": "nap", "action": "enable" }));
        project.run(&["run", "nap"]).expect(0);
    }
}

#[test]
fn an_agent_reads_changes_and_saves_a_workflow() {
    let project = Project::new();
    let mut client = client(&project);
    client.call_ok("workflow.save", json!({ "document": GREET }));
    let asked = json!({ "workflow": "greet", "action": "show" });
    let mut document = client.call_ok("workflow.manage", asked)["document"].clone();
    document["title"] = json!("Greet somebody");
    let saved =
        client.call_ok("workflow.save", json!({ "document": document, "comment": "titled" }));
    assert_eq!(saved["changes"], json!([{ "change": "added", "what": "title" }]));
    let asked = json!({ "workflow": "greet", "action": "diff" });
    let diff = client.call_ok("workflow.manage", asked);
    assert!(
        diff["lines"].as_str().unwrap().contains("+  \"title\": \"Greet somebody\""),
        "{diff:#}"
    );
}

#[test]
fn over_http_workflows_are_saved_only_where_that_was_asked_for() {
    let save = json!({ "name": "workflow.save", "arguments": { "document": GREET } });
    let names = |client: &mut Client| client.ask("tools/list", json!({})).to_string();

    let closed = Project::new();
    let server = closed.serve_http();
    let mut client = server.client();
    client.initialize();
    assert!(!names(&mut client).contains("workflow.save"));
    let error = client.request("tools/call", save.clone()).unwrap_err();
    assert!(error["message"].as_str().unwrap().starts_with("Unknown tool"), "{error:#}");

    let open = Project::new().with_file("windlass.toml", "[http]\nauthoring = true\n");
    let server = open.serve_http();
    let mut client = server.client();
    client.initialize();
    assert!(names(&mut client).contains("workflow.save"));
    assert!(client.request("tools/call", save).is_ok());
    assert_eq!(listed(&open, "greet")["source"], "saved");
}

#[test]
fn a_call_to_a_tool_that_became_riskier_is_not_made_until_somebody_accepts_it() {
    for project in projects() {
        let project = with_fake(project);
        change(&project, json!({ "append": { "annotations": { "destructiveHint": false } } }));
        project.run_ok(&["run", "note"]);
        assert_eq!(ledger(&project), 1);

        change(&project, json!({ "append": { "annotations": { "destructiveHint": true } } }));
        let failed = project.run(&["run", "note", "--json"]).expect(1).json();
        let error = &failed["error"];
        assert_eq!((&error["code"], &error["step"]), (&json!("tool_changed"), &json!("put")));
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(
                "annotations: was not destructive, and is not: it may destroy something now"
            ) && message.contains("windlass accept note"),
            "{message}"
        );
        assert_eq!(ledger(&project), 1, "the call went out");

        let drift = &listed(&project, "note")["drift"];
        assert_eq!(drift["verdict"], "needs_review", "{drift:#}");
        assert_eq!(drift["tools"][0]["tool"], "fake.append");
        let told = project.run_ok(&["accept", "note", "--dry-run"]);
        assert!(told.contains("needs review note: fake.append changed"), "{told}");
        project.run(&["run", "note"]).expect(1);

        project.run_ok(&["accept", "note"]);
        assert_eq!(listed(&project, "note")["drift"], Value::Null);
        project.run_ok(&["run", "note"]);
        assert_eq!(ledger(&project), 2);
    }
}

#[test]
fn a_tool_that_wants_what_the_workflow_does_not_send_breaks_it_before_the_call() {
    let project = with_fake(Project::new());
    project.run_ok(&["run", "note"]);
    change(
        &project,
        json!({ "append": { "inputSchema": {
        "properties": { "to": { "type": "string" } }, "required": ["to"],
    } } }),
    );
    let failed = project.run(&["run", "note", "--json"]).expect(1).json();
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("input.to: is required now"), "{message}");
    assert_eq!(failed["error"]["code"], "tool_changed");
    assert_eq!(listed(&project, "note")["drift"]["verdict"], "broken");

    change(&project, json!({ "append": null }));
    let failed = project.run(&["run", "note", "--json"]).expect(1).json();
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("the tool server has no such tool any more"), "{message}");
    assert_eq!(ledger(&project), 1);

    change(&project, json!({}));
    project.run_ok(&["run", "note"]);
    assert_eq!(listed(&project, "note")["drift"], Value::Null, "it is as it was");
}

#[test]
fn a_document_in_no_folder_is_pinned_and_accepted_by_its_path() {
    let project = with_fake(Project::new())
        .with_file("drafts/other.yaml", &NOTE.replace("name: note", "name: other"));
    project.run_ok(&["run", "drafts/other.yaml"]);
    change(&project, json!({ "append": { "inputSchema": { "properties": { "text": null } } } }));
    project.run(&["run", "drafts/other.yaml"]).expect(1);
    let told = project.run_ok(&["accept", "drafts/other.yaml"]);
    assert!(told.contains("input.text: is gone, and the workflow sends it"), "{told}");
    project.run_ok(&["run", "drafts/other.yaml"]);
    assert_eq!(ledger(&project), 2);
}

#[test]
fn a_tool_that_only_grew_is_called_and_the_growth_is_shown() {
    let project = with_fake(Project::new());
    project.run_ok(&["run", "note"]);
    change(
        &project,
        json!({ "append": {
        "description": "Adds a line, at the end.",
        "inputSchema": { "properties": { "colour": { "type": "string" } } },
    } }),
    );
    project.run_ok(&["run", "note"]);
    assert_eq!(ledger(&project), 2);
    let drift = &listed(&project, "note")["drift"];
    assert_eq!(drift["verdict"], "compatible");
    let parts: Vec<_> = drift["tools"][0]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["part"])
        .collect();
    assert_eq!(parts, ["input.colour", "description"]);
}

#[test]
fn listing_asks_the_tool_servers_only_when_it_is_told_to() {
    let project = with_fake(Project::new());
    project.run_ok(&["run", "note"]);
    change(&project, json!({ "append": null }));
    assert_eq!(listed(&project, "note")["drift"], Value::Null);
    let told = project.run_ok(&["list", "--live"]);
    assert!(told.contains("broken note: fake.append changed since it was pinned"), "{told}");
    assert_eq!(listed(&project, "note")["drift"]["verdict"], "broken", "it is remembered");
}

#[test]
fn saving_the_same_content_again_accepts_nothing() {
    let project = with_fake(Project::new());
    let document = NOTE.replace("name: note", "name: kept");
    let mut client = client(&project);
    let saved = client.call_ok("workflow.save", json!({ "document": document }));
    assert_eq!(saved["pinned"], json!(["fake.append"]));
    change(&project, json!({ "append": { "annotations": { "openWorldHint": false } } }));
    project.run_ok(&["accept", "kept"]);
    change(&project, json!({}));
    project.write("kept.yaml", &document);
    let saved = json_of(&project, &["save", "kept.yaml"]);
    assert_eq!(saved["drift"]["verdict"], "needs_review", "{saved:#}");
    let failed = project.run(&["run", "kept", "--json"]).expect(1).json();
    assert_eq!(failed["error"]["code"], "tool_changed");
    assert_eq!(ledger(&project), 0);
}

#[test]
fn a_tool_whose_server_cannot_be_reached_is_saved_unpinned_and_pinned_by_its_first_call() {
    let project = with_fake(Project::new());
    let toml = "[mcpServers.fake]\ncommand = 'sh'\nargs = ['start.sh']\n";
    project.write("windlass.toml", toml);
    let ready = fs::read_to_string(project.path().join(".mcp.json")).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let fake = ready["mcpServers"]["fake"]["command"].as_str().unwrap();
    project.write("start.sh", "exit 1\n");
    project.write("kept.yaml", &NOTE.replace("name: note", "name: kept"));
    let saved = json_of(&project, &["save", "kept.yaml"]);
    assert_eq!((&saved["saved"], &saved["pinned"]), (&json!(true), &json!([])));
    assert_eq!(saved["unpinned"][0]["tool"], "fake.append");
    assert!(
        saved["unpinned"][0]["reason"].as_str().unwrap().contains("cannot be reached"),
        "{saved:#}"
    );

    project.write("start.sh", &format!("exec '{fake}' --ledger ledger --changes changes.json\n"));
    eventually(SOON, "a first call", || {
        project.run(&["run", "kept"]).status.success().then_some(())
    });
    change(&project, json!({ "append": null }));
    let failed = project.run(&["run", "kept", "--json"]).expect(1).json();
    assert_eq!(failed["error"]["code"], "tool_changed");
}
