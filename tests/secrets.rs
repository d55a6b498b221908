//! Secrets reach the tools they are meant for, and nothing else: no row, no log, no answer, in no form.

mod forms;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Connection, Row, SqliteConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use windlass::{
    config::{Config, Overrides},
    keyring::Keyring,
    secrets::Secrets,
    tool_servers::{Call, Outcome, ServerConfig, Settings, ToolServers},
    worker::Outgoing,
};
use windlass_engine::{SecretSlot, ToolName};

use self::forms::{Chance, leak_in, placed, secret};
use crate::{
    durability::{Run, Scene, execution_of, was_killed},
    harness::{Client, Project, SOON, begin, block_on, run, settled},
};

/// What the fake tool server's `mint` makes.
const MINTED: &str = "minted/\"token\"+1=?\u{e9}";

/// The fake tool server as an entry of `mcpServers`.
fn fake(folder: &Path) -> Value {
    let file = |name: &str| folder.join(name).display().to_string();
    json!({
        "command": Path::new(env!("CARGO_BIN_EXE_windlass")).with_file_name("examples/fake_tool_server"),
        "args": ["normal", "--ledger", file("ledger"), "--state", file("state")],
    })
}

/// The way out of a worker, with one secret and one tool server that says what it is told to say.
struct Way {
    folder: TempDir,
    outgoing: Outgoing,
}

impl Way {
    fn new(secret: &str) -> Way {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("secret"), secret).unwrap();
        let file = "[secrets.KEY]\nfile = 'secret'\n[secrets.SHORT]\ncommand = ['echo', 'short']\n";
        fs::write(folder.path().join("windlass.toml"), file).unwrap();
        let data_dir = Some(folder.path().join("data"));
        let overrides = Overrides { data_dir, ..Overrides::default() };
        let config = Config::load_from(folder.path(), None, &|_| None, &overrides).unwrap();
        let server = ServerConfig::parse("fake", &fake(folder.path())).unwrap();
        let servers = [("fake".to_owned(), server)].into();
        let tool_servers = ToolServers::new(servers, Vec::new(), Settings::default());
        let outgoing = Outgoing::new(tool_servers, Secrets::new(&config), Keyring::new(&config));
        Way { folder, outgoing }
    }

    async fn call(&self, tool: &str, params: Value, slots: &[SecretSlot]) -> Outcome {
        let call = Call {
            tool: ToolName::parse(&format!("fake.{tool}")).unwrap(),
            params,
            idempotency_key: "exec_a/step#0~0".to_owned(),
            attempt: 1,
            first_started_at: 0,
            timeout: Duration::from_secs(30),
            cancel: CancellationToken::new(),
            may_send: None,
            inspect: None,
            traceparent: None,
            tracestate: None,
        };
        self.outgoing.call("exec_a", call, slots, &|_| {}).await
    }

    fn tell(&self, part: &Value) {
        fs::write(self.folder.path().join("state"), part.to_string()).unwrap();
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.folder.path().join("ledger")).unwrap_or_default()
    }
}

fn slot(pointer: &str, offset: usize, name: &str) -> SecretSlot {
    SecretSlot { pointer: pointer.into(), offset, name: name.into() }
}

#[track_caller]
fn is_clean(shown: &str, secret: &str) {
    if let Some((form, _)) = leak_in(shown, secret) {
        panic!("{secret:?} is shown as {form}:\n{shown}");
    }
}

#[tokio::test]
async fn a_tool_gets_the_value_and_everybody_else_its_name() {
    let secret = "tr\"icky\\ %41 + s\u{e9}cret";
    let way = Way::new(secret);
    let params = json!({ "text": "Bearer ${secrets.KEY} and ${secrets.KEY}" });
    let slots = [slot("/text", 7, "KEY")];
    let outcome = way.call("echo", params.clone(), &slots).await;
    let Outcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    assert_eq!(result["text"], "Bearer [secret KEY] and ${secrets.KEY}");
    way.call("append", params, &slots).await;
    let got = json!({ "text": format!("Bearer {secret} and ${{secrets.KEY}}") });
    assert!(way.ledger().contains(&got.to_string()), "{}", way.ledger());
    way.outgoing.tool_servers().shutdown().await;
}

#[tokio::test]
async fn without_its_secret_a_call_does_not_go_out() {
    let way = Way::new("a-long-secret");
    for (name, expected) in [("SHORT", "fewer than 8 bytes"), ("OTHER", "[secrets.OTHER]")] {
        let params = json!({ "text": format!("${{secrets.{name}}}") });
        let outcome = way.call("append", params, &[slot("/text", 0, name)]).await;
        let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!((failure.code.as_str(), failure.retryable), ("secret_unavailable", Some(false)));
        assert!(failure.message.contains(expected), "{}", failure.message);
    }
    assert_eq!(way.ledger(), "");
    way.outgoing.tool_servers().shutdown().await;
}

#[tokio::test]
async fn no_answer_of_a_tool_gives_a_secret_away() {
    for seed in 0..40 {
        let chance = &mut Chance::new(seed);
        let secret = secret(chance);
        let way = Way::new(&secret);
        for _ in 0..6 {
            let told = placed(chance, &secret);
            let words = || forms::words(&told);
            let part = match chance.below(5) {
                0 => json!({ "result": { "content": [], "structuredContent": told } }),
                1 => {
                    json!({ "result": { "content": [{ "type": "text", "text": told.to_string() }] } })
                }
                2 => {
                    json!({ "result": { "isError": true, "content": [{ "type": "text", "text": words() }],
                    "structuredContent": { "error": { "code": words(), "message": words() } } } })
                }
                3 => json!({ "error": words() }),
                _ => json!({ "stderr": words().lines().collect::<Vec<_>>(), "crash": true }),
            };
            way.tell(&part);
            let params = json!({ "key": "${secrets.KEY}" });
            let outcome = way.call("recite", params, &[slot("/key", 0, "KEY")]).await;
            let shown = match &outcome {
                Outcome::Succeeded(result) | Outcome::NotDone(result) => result.to_string(),
                Outcome::Failed(failure) | Outcome::Uncertain { failure, .. } => {
                    format!("{} {}", failure.code, failure.message)
                }
            };
            is_clean(&shown, &secret);
            is_clean(&format!("{outcome:?}"), &secret);
        }
        way.outgoing.tool_servers().shutdown().await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_params_does_not_quote_a_secret() {
    let secret = format!("very-long-{}", "secret".repeat(80));
    let way = Way::new(&secret);
    let params = json!({ "bytes": "${secrets.KEY}" });
    let outcome = way.call("big", params, &[slot("/bytes", 0, "KEY")]).await;
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.code, "invalid_argument");
    assert!(failure.message.contains("[secret KEY]"), "{}", failure.message);
    assert!(!failure.message.contains("very-long"), "{}", failure.message);
    way.outgoing.tool_servers().shutdown().await;
}

#[tokio::test]
async fn what_is_write_only_is_sealed_and_found_nowhere_else() {
    let way = Way::new("a-long-secret");
    let outcome = way.call("mint", json!({}), &[]).await;
    let Outcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    let sealed = result["token"].as_str().unwrap().to_owned();
    assert!(sealed.starts_with("sealed:v1:"), "{result}");
    assert_eq!((&result["id"], &result["note"]), (&json!("key-1"), &json!("keep [sealed]")));
    let outcome = way.call("echo", json!({ "text": format!("Bearer {sealed}") }), &[]).await;
    let Outcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    assert_eq!(result["text"], "Bearer [sealed]");
    way.call("put", json!({ "text": sealed }), &[]).await;
    let got = json!({ "text": MINTED }).to_string();
    assert!(way.ledger().contains(&got), "{}", way.ledger());
    way.outgoing.tool_servers().shutdown().await;
}

// ---- Through the built binary.

/// A scene with the fake tool server, and one secret in a variable.
fn scene(secret: &str) -> (Scene, PathBuf) {
    let project = Project::new();
    let folder = project.path();
    let settings = json!({ "fake": fake(&folder) }).to_string();
    let project = project.with_env("THE_KEY", secret).with_env("WINDLASS_MCP_SERVERS", &settings);
    let project = project.with_file("windlass.toml", "[secrets.KEY]\nenv = 'THE_KEY'\n");
    let database = project.data_dir().join("windlass.db");
    let url = format!("sqlite:{}", database.display());
    (Scene::at(project, url), database)
}

/// Every column of every row, and the bytes of the files as well: pages that were freed are still there.
fn rows(database: &Path) -> String {
    let mut all = block_on(async {
        let mut open =
            SqliteConnection::connect(&format!("sqlite:{}", database.display())).await.unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut open).await.unwrap();
        let mut all = String::new();
        for table in &tables {
            let columns = format!("SELECT name FROM pragma_table_info('{table}')");
            let columns = sqlx::query_scalar(sqlx::AssertSqlSafe(columns));
            let columns: Vec<String> = columns.fetch_all(&mut open).await.unwrap();
            let texts: Vec<String> =
                columns.iter().map(|name| format!("CAST(\"{name}\" AS BLOB)")).collect();
            let rows = format!("SELECT {} FROM \"{table}\"", texts.join(", "));
            for row in sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(&mut open).await.unwrap() {
                for column in 0..columns.len() {
                    let cell = row.get::<Option<Vec<u8>>, _>(column).unwrap_or_default();
                    all.push_str(&String::from_utf8_lossy(&cell));
                    all.push('\n');
                }
            }
        }
        assert!(tables.len() >= 4, "{tables:?}");
        all
    });
    for ending in ["", "-wal"] {
        let mut file = database.to_owned().into_os_string();
        file.push(ending);
        all.push_str(&String::from_utf8_lossy(&fs::read(file).unwrap_or_default()));
    }
    all
}

/// What the detached workers of a project have logged.
fn logs(scene: &Scene) -> String {
    let files = fs::read_dir(scene.project.data_dir()).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
    logs.map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn no_row_no_log_and_no_answer_of_the_binary_gives_a_secret_away() {
    for seed in 100..106 {
        let chance = &mut Chance::new(seed);
        let secret = secret(chance);
        let (scene, database) = scene(&secret);
        let project = &scene.project;
        let tolerant = "name: tell\nsteps:\n  - { name: one, tool: fake.recite }\n  - { name: two, tool: fake.complain, params: { text: 'said ${steps.one}' } }\noutput: ['${steps.one}', '${steps.two}']\n";
        project.write("workflows/tell.yaml", tolerant);
        let told = placed(chance, &secret);
        let words = forms::words(&told);
        let stderr: Vec<&str> = words.lines().collect();
        for part in [
            json!({ "stderr": stderr, "result": { "content": [], "structuredContent": told } }),
            json!({ "stderr": stderr, "result": { "isError": true, "content": [{ "type": "text", "text": words }] } }),
            json!({ "stderr": stderr, "crash": true }),
        ] {
            fs::write(project.path().join("state"), part.to_string()).unwrap();
            let mut command = project.command(&["run", "tell", "--json"]);
            let ended = run(command.env("WINDLASS_LOG", "trace,rmcp=trace"), 3 * SOON);
            assert!(ended.stderr.contains("fake says"), "nothing was logged: {}", ended.stderr);
            for shown in [&ended.stdout, &ended.stderr] {
                is_clean(shown, &secret);
            }
            let id = execution_of(&ended)["execution_id"].as_str().unwrap().to_owned();
            is_clean(&project.run(&["status", &id]).stdout, &secret);
            is_clean(&project.run(&["status", &id, "--json"]).stdout, &secret);
        }
        // And where a detached worker does the work.
        fs::write(
            project.path().join("state"),
            json!({ "stderr": stderr, "error": words }).to_string(),
        )
        .unwrap();
        let mut door = scene.door();
        let id = begin(&mut door, "tell", json!({}));
        let known = settled(&mut door, &id);
        assert_eq!(known["status"], "failed");
        is_clean(&known.to_string(), &secret);
        is_clean(&logs(&scene), &secret);
        is_clean(&rows(&database), &secret);
    }
}

#[test]
fn a_workflow_names_a_secret_and_only_its_tool_sees_it() {
    let secret = "it's \"100%\" s\u{e9}cret\\+/=";
    let (scene, database) = scene(secret);
    let workflow = r#"
name: use
input: { type: object, properties: { said: { type: string } } }
steps:
  - name: two
    forEach: '${["a", "b"]}'
    tool: fake.put
    params: { text: '${item}: ${secrets.KEY}, ${input.said} ${secrets.KEY}' }
  - { name: echo, tool: fake.echo, params: { text: '${secrets.KEY}' } }
output: '${steps.echo.text}'
"#;
    scene.project.write("workflows/use.yaml", workflow);
    let said = "${secrets.KEY}";
    let run = Run { workflow: "use", key: "once", input: json!({ "said": said }) };
    assert!(was_killed(&scene.run(&run, Some(("before_call", 3)))));
    scene.let_leases_run_out();
    let ended = scene.run(&run, None);
    let execution = execution_of(&ended);
    assert_eq!(execution["output"], "[secret KEY]", "{ended:#?}");
    let ledger = fs::read_to_string(scene.project.path().join("ledger")).unwrap();
    for item in ["a", "b"] {
        let got = json!({ "text": format!("{item}: {secret}, {said} {secret}") }).to_string();
        assert!(ledger.contains(&got), "{got}\n{ledger}");
    }
    let rows = rows(&database);
    assert!(rows.contains("a: ${secrets.KEY}, ${secrets.KEY} ${secrets.KEY}"), "{rows}");
    for shown in [rows, ended.stdout, ended.stderr] {
        is_clean(&shown, secret);
    }
}

#[test]
fn a_sealed_token_outlives_the_process_that_it_was_made_in() {
    let (scene, database) = scene("a-long-secret");
    let workflow = "name: mint\nsteps:\n  - { name: mint, tool: fake.mint }\n  - { name: use, tool: fake.put, params: { text: 'Bearer ${steps.mint.token}' } }\noutput: '${steps.mint}'\n";
    scene.project.write("workflows/mint.yaml", workflow);
    let once = Run { workflow: "mint", key: "once", input: json!({}) };
    assert!(was_killed(&scene.run(&once, Some(("before_call", 2)))));
    scene.let_leases_run_out();
    let ended = scene.run(&once, None);
    let execution = execution_of(&ended);
    assert_eq!(execution["status"], "completed", "{ended:#?}");
    assert_eq!(execution["output"]["token"], "[sealed]");
    let id = execution["execution_id"].as_str().unwrap();
    for arguments in [vec!["status", id, "--json"], vec!["status", id]] {
        let shown = scene.project.run(&arguments).stdout;
        assert!(shown.contains("[sealed]") && !shown.contains("sealed:v1:"), "{shown}");
    }
    assert!(rows(&database).contains("Bearer sealed:v1:"));
    let ledger = fs::read_to_string(scene.project.path().join("ledger")).unwrap();
    let got = json!({ "text": format!("Bearer {MINTED}") }).to_string();
    assert_eq!(ledger.matches(&got).count(), 1, "{ledger}");
    for shown in [rows(&database), ended.stdout, ended.stderr] {
        is_clean(&shown, MINTED);
    }
}

#[test]
fn what_is_sealed_in_one_execution_opens_in_those_above_and_below() {
    let (scene, database) = scene("a-long-secret");
    let put = "input: { type: object, properties: { token: { type: string } } }\nsteps:\n  - { name: put, tool: fake.put, params: { text: 'below ${input.token}' } }\n";
    let make = "steps:\n  - { name: mint, tool: fake.mint }\noutput: '${steps.mint.token}'\n";
    let above = "steps:\n  - { name: made, workflow: make }\n  - { name: own, tool: fake.put, params: { text: 'above ${steps.made}' } }\n  - { name: given, workflow: put, params: { token: '${steps.made}' } }\n";
    for (name, text) in [("put", put), ("make", make), ("above", above)] {
        scene.project.write(&format!("workflows/{name}.yaml"), &format!("name: {name}\n{text}"));
    }
    let once = Run { workflow: "above", key: "once", input: json!({}) };
    // Another process goes on in the middle, so that what it knows of the tree comes from rows.
    assert!(was_killed(&scene.run(&once, Some(("before_call", 2)))));
    scene.let_leases_run_out();
    let ended = scene.run(&once, None);
    assert_eq!(execution_of(&ended)["status"], "completed", "{ended:#?}");
    let ledger = fs::read_to_string(scene.project.path().join("ledger")).unwrap();
    for place in ["above", "below"] {
        let got = json!({ "text": format!("{place} {MINTED}") }).to_string();
        assert!(ledger.contains(&got), "{got}\n{ledger}");
    }
    for shown in [rows(&database), ended.stdout, ended.stderr] {
        is_clean(&shown, MINTED);
    }
}

#[test]
fn a_workflow_that_names_a_secret_which_is_not_configured_is_neither_valid_nor_saved() {
    let (scene, _) = scene("the-first-secret");
    let project = &scene.project;
    let text = "name: tell\nsteps:\n  - name: put\n    tool: fake.put\n    params: { text: 'Bearer ${secrets.KEYS} for ${secrets.KEY}' }\n";
    project.write("tell.yaml", text);
    let answer = project.run(&["validate", "tell.yaml", "--json"]).expect(1).json();
    let problems = answer["files"][0]["problems"].as_array().unwrap();
    let [problem] = problems.as_slice() else { panic!("{answer:#}") };
    assert_eq!(problem["code"], "unknown_secret");
    assert_eq!(problem["pointer"], "/steps/0/params/text");
    assert_eq!((&problem["line"], &problem["nearest"]), (&json!(5), &json!(["KEY"])));
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("configured are KEY. Add `[secrets.KEYS]`"), "{message}");
    // Which secret a tool gets is for a person to say.
    assert!(problem["patch"].is_null(), "{problem}");
    let saved = project.run(&["save", "tell.yaml", "--json"]);
    assert!(saved.stdout.contains("unknown_secret"), "{saved:#?}");
    is_clean(&format!("{answer}{saved:?}"), "the-first-secret");
    let answer = project.run(&["validate", "tell.yaml", "--offline", "--json"]).expect(0).json();
    let unchecked = answer["files"][0]["unchecked"].as_array().unwrap();
    let what: Vec<&str> = unchecked.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["tools, params and results", "the secret KEYS", "the secret KEY"]);
    project.write("windlass.toml", "[secrets.KEYS]\nenv = 'A'\n[secrets.KEY]\nenv = 'B'\n");
    project.run(&["validate", "tell.yaml"]).expect(0);
}

#[test]
fn a_window_with_another_secret_has_a_worker_of_its_own() {
    let (scene, _) = scene("the-first-secret");
    scene
        .project
        .write("workflows/go.yaml", "name: go\nsteps:\n  - { name: one, tool: fake.put }\n");
    let mut door = scene.door();
    begin(&mut door, "go", json!({}));
    let mut command = scene.project.command(&["serve"]);
    let mut other = Client::stdio(command.env("THE_KEY", "the-second-secret"));
    other.initialize();
    begin(&mut other, "go", json!({}));
    assert_eq!(scene.project.workers().len(), 2);
}

#[test]
fn an_address_with_a_key_in_it_is_in_no_log() {
    let project = Project::new();
    let key = "correct-horse-battery";
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!("[mcpServers.far]\nurl = \"http://{nobody}/mcp?api_key=${{FAR_KEY}}\"\n");
    project.write("windlass.toml", &entry);
    let mut command = project.command(&["tools", "-vv"]);
    let ended = run(command.env("FAR_KEY", key), 3 * SOON).expect(0);
    assert!(ended.stdout.contains("far"), "{}", ended.stdout);
    for shown in [&ended.stdout, &ended.stderr] {
        assert!(!shown.contains(key), "{shown}");
    }
}
