//! What surrounds a tool: other names of its arguments, files that it leaves behind, what it costs; and tool servers alone.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass::{store::Store, tool_servers::Hosted};
use windlass_emulators::{GithubEmulator, github::NewIssue};
use windlass_tools::contract::{Host, Usage};

use crate::harness::{Client, Project, Running, SOON, get, post};

/// Written for another system: other names, other types.
const READ: &str = r#"
name: read
input: { type: object, properties: { issue: { type: string } }, required: [issue] }
steps:
  - { name: fetch, tool: github.getIssue, params: { repo: octo/hello, issue_number: "${input.issue}" } }
  - { name: again, tool: github.getIssue, params: { repo: octo/hello, issueNumber: "NUMBER" } }
"#;

const SLEEP: &str = "
name: sleep
steps:
  - { name: doze, tool: demo.sleep, params: { ms: '1' } }
";

/// A double of GitHub with one issue that is far too long, and a project whose workflows go there.
struct Github {
    project: Project,
    _runtime: Runtime,
    _emulator: GithubEmulator,
    number: u64,
    body: String,
}

fn read(number: u64) -> String {
    READ.replace("NUMBER", &number.to_string())
}

fn github(project: Project) -> Github {
    let runtime = Runtime::new().unwrap();
    let emulator = runtime.block_on(GithubEmulator::start()).unwrap();
    let body = format!("It begins. {} It ends.", "What a long story. ".repeat(6_000));
    let mut issue = NewIssue::default();
    issue.body.clone_from(&body);
    let number = emulator.add_issue("octo/hello", issue);
    project.write("windlass.toml", &format!("[github]\napi_url = {:?}\n", emulator.url()));
    project.write("workflows/read.yaml", &read(number));
    let project = project.with_env("GITHUB_TOKEN", "a-token-of-the-test");
    Github { project, _runtime: runtime, _emulator: emulator, number, body }
}

impl Github {
    fn input(&self) -> String {
        format!("issue={}", self.number)
    }
}

#[test]
fn a_step_may_use_the_other_names_and_types_that_its_tool_knows() {
    let github = github(Project::new());
    let validated = github.project.run(&["validate", "--json", "workflows/read.yaml"]).expect(0);
    assert_eq!(validated.json()["files"][0]["problems"], json!([]));
    let execution =
        github.project.run(&["run", "read", &github.input(), "--json"]).expect(0).json();
    assert_eq!(execution["status"], "completed", "{execution:#}");

    let wrong = read(github.number)
        .replace(&format!("issueNumber: \"{}\"", github.number), "issueNumber: seven");
    github.project.write("wrong.yaml", &wrong);
    let validated = github.project.run(&["validate", "--json", "wrong.yaml"]).expect(1).json();
    let problem = &validated["files"][0]["problems"][0];
    assert_eq!(problem["pointer"], "/steps/1/params/issueNumber", "{validated:#}");
}

#[test]
fn a_long_text_is_cut_in_the_step_and_whole_as_an_artifact_on_both_databases() {
    for project in [Project::new(), Project::on_postgres()] {
        let github = github(project);
        let project = &github.project;
        let input = github.input();
        let run = ["run", "read", &input, "--json"];
        let id = project.run(&run).expect(0).json()["execution_id"].as_str().unwrap().to_owned();
        let shown = project.run(&["status", &id, "--results", "--json"]).expect(0).json();
        let artifact = &shown["artifacts"][0];
        let artifact_id = artifact["artifact_id"].as_str().unwrap();
        let text = shown["steps"][0]["result"]["body"].as_str().unwrap();
        assert!(text.len() < 64 * 1024 && text.starts_with("It begins."), "{}", text.len());
        assert!(
            text.contains(&format!("workflow://artifacts/{artifact_id}")),
            "no way to the rest"
        );
        assert_eq!((&artifact["step"], &artifact["mime"]), (&json!("fetch"), &json!("text/plain")));
        assert_eq!(artifact["bytes"], github.body.len());

        let listed = project.run(&["artifacts", &id, "--json"]).expect(0).json();
        assert_eq!(listed["artifacts"].as_array().unwrap().len(), 2);
        project.run(&["artifact", artifact_id, "--output", "body.txt"]).expect(0);
        let written = std::fs::read_to_string(project.path().join("body.txt")).unwrap();
        assert_eq!(written, github.body);
        project.run(&["artifact", "art_none", "--output", "x"]).expect(3);
        project.run(&["artifacts", "exec_none"]).expect(3);

        let mut client = project.client(&["serve"]);
        client.initialize();
        let status = client.call("workflow.status", json!({ "execution_id": id }));
        let link = &status["content"][1];
        assert_eq!(
            (&link["type"], &link["mimeType"]),
            (&json!("resource_link"), &json!("text/plain"))
        );
        let read = client.ask("resources/read", json!({ "uri": link["uri"] }));
        assert_eq!(read["contents"][0]["text"], json!(github.body));
        let unknown = json!({ "uri": "workflow://artifacts/art_none" });
        assert_eq!(client.request("resources/read", unknown).unwrap_err()["code"], -32002);
    }
}

#[test]
fn what_models_took_is_in_the_status_and_in_sums() {
    let project = Project::new().with_workflow("sleep", SLEEP);
    let ended = project.run(&["run", "sleep", "--json"]).expect(0).json();
    assert_eq!((&ended["status"], ended.get("usage")), (&json!("completed"), None));
    let id = ended["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(project.run(&["usage", "--json"]).expect(0).json()["usage"], json!([]));
    spend(&project, &id);

    let shown = project.run(&["status", &id, "--json"]).expect(0).json();
    let expected = json!({
        "calls": 2, "prompt_tokens": 200, "completion_tokens": 20, "cost_usd": 0.25, "calls_without_price": 1,
    });
    assert_eq!(shown["usage"], expected);
    assert_eq!(shown["steps"][0]["usage"], expected);
    let mut client = project.client(&["serve"]);
    client.initialize();
    let status =
        client.call_ok("workflow.status", json!({ "execution_id": id, "fields": ["steps"] }));
    assert_eq!((&status["usage"], &status["steps"][0]["usage"]), (&expected, &expected));

    let sums =
        |by: &str| project.run(&["usage", "--by", by, "--json"]).expect(0).json()["usage"].clone();
    assert_eq!(
        (&sums("workflow")[0]["of"], &sums("workflow")[0]["cost_usd"]),
        (&json!("sleep"), &json!(0.25))
    );
    let models = sums("model");
    assert_eq!((&models[0]["of"], &models[0]["cost_usd"]), (&json!("dear"), &json!(0.25)));
    assert_eq!((&models[1]["of"], &models[1]["cost_usd"]), (&json!("new"), &Value::Null));
    let day = sums("day")[0]["of"].as_str().unwrap().to_owned();
    assert_eq!((day.len(), &day[..2]), (10, "20"));
    let told = project.run_ok(&["usage", "--by", "model"]);
    assert!(told.contains("price not known") && told.contains("$0.2500"), "{told}");
}

/// What a tool server in another process would have noted.
fn spend(project: &Project, id: &str) {
    let url = format!("sqlite:{}", project.data_dir().join("windlass.db").display());
    let workspace = std::fs::canonicalize(project.path()).unwrap().display().to_string();
    Runtime::new().unwrap().block_on(async {
        let host = Hosted::new(Store::open(&url, &workspace).await.unwrap());
        for (model, cost) in [("dear", Some(250_000)), ("new", None)] {
            let usage = Usage {
                key: format!("{id}/doze#0~0:{model}"),
                execution_id: Some(id.to_owned()),
                step: Some("doze".to_owned()),
                model: model.to_owned(),
                prompt_tokens: 100,
                completion_tokens: 10,
                cached_tokens: 0,
                cost_micro_usd: cost,
            };
            host.spend(usage).await.unwrap();
        }
    });
}

const SHIPPED: [&str; 7] =
    ["agent", "demo", "deploy", "documents", "github", "notify", "observability"];

#[test]
fn each_tool_server_that_ships_is_served_alone_on_stdio() {
    let project = Project::new();
    project.write("windlass.toml", "[github]\nread_only = true\n");
    for name in SHIPPED {
        let mut client = project.client(&["tool-server", name]);
        let said = client.initialize();
        assert_eq!(said["serverInfo"]["name"], format!("windlass-{name}"), "{said:#}");
        let tools = client.ask("tools/list", json!({}))["tools"].clone();
        let names: Vec<&str> =
            tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        if name == "github" {
            assert!(names.contains(&"getIssue"), "{names:?}");
            assert!(
                !names.contains(&"createBranch"),
                "the configuration holds here, too: {names:?}"
            );
        }
        if name == "demo" {
            assert_eq!(client.call_ok("echo", json!({ "a": 1 })), json!({ "a": 1 }));
        }
        assert!(client.close().success(), "{name}");
    }
    assert!(!project.data_dir().exists(), "nothing is kept for it");
}

#[test]
fn a_tool_server_alone_over_http_asks_for_its_token() {
    let project = Project::new().with_env("WINDLASS_HTTP_TOKEN", "open-sesame");
    let arguments = ["tool-server", "demo", "--http", "127.0.0.1:0"];
    let process = Running::start(&mut project.command(&arguments));
    let address = process.stderr_line(SOON, "the address it listens on", |line| {
        let (_, rest) = line.split_once("http://")?;
        Some(format!("http://{}", rest.split('/').next()?))
    });
    let url = format!("{address}/mcp");
    assert_eq!(post(&url, &[("Content-Type", "application/json")], "{}").status, 401);
    assert_eq!(get(&format!("{address}/healthz"), &[]).status, 200);
    let elsewhere = [("Authorization", "Bearer open-sesame"), ("Host", "evil.example")];
    assert_eq!(post(&url, &elsewhere, "{}").status, 403);
    let mut client = Client::http(&url).with_header("Authorization", "Bearer open-sesame");
    client.initialize();
    let tools = client.ask("tools/list", json!({}))["tools"].clone();
    assert!(
        tools.as_array().unwrap().iter().any(|tool| tool["name"] == "count_keyed"),
        "{tools:#}"
    );
    assert_eq!(client.call_ok("echo", json!({ "a": [1] })), json!({ "a": [1] }));
}

#[test]
fn a_tool_server_that_is_not_there_or_open_to_everybody_is_refused() {
    let project = Project::new();
    let ended = project.run(&["tool-server", "githup"]).expect(3);
    assert!(SHIPPED.iter().all(|name| ended.stderr.contains(name)), "{ended:#?}");
    let ended = project.run(&["tool-server", "demo", "--http", "0.0.0.0:0"]).expect(2);
    assert!(ended.stderr.contains("WINDLASS_HTTP_TOKEN"), "{ended:#?}");
}
