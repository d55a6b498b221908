//! The command line: answers, errors, exit codes.

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::json;

use crate::harness::{Ended, Project, Running, eventually};

/// No command of these tests has a reason to take longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tool server that dies in the middle of a call, and says nothing that would make a second call safe.
const BRITTLE: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"brittle","version":"1"}}}' ;;
    *'"tools/list"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"tools":[{"name":"touch","description":"Touches something.","inputSchema":{"type":"object"}}]}}' ;;
    *'"tools/call"'*) exit 1 ;;
  esac
done
"#;

/// A tool server whose only tool, `touch`, ends its process as soon as it is called.
fn add_brittle_tool_server(project: &Project) {
    project.write("brittle.sh", BRITTLE);
    project.write(
        "windlass.toml",
        "[mcpServers.brittle]\ncommand = 'sh'\nargs = ['brittle.sh']\nprotocol = 'legacy'\n",
    );
    project.write(
        "workflows/break.yaml",
        "name: break\nsteps:\n  - { name: touch, tool: brittle.touch, params: {} }\n",
    );
}

const SLOW: &str = "\
name: slow
steps:
  - { name: nap, tool: demo.sleep, params: { ms: 1500 } }
  - { name: say, tool: demo.echo, params: { done: true } }
";

const FAILING: &str = "\
name: failing
steps:
  - { name: trip, tool: demo.fail, params: { message: no such branch, code: not_found } }
";

fn error_code(answer: &Ended) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer:#?}")).to_owned()
}

#[test]
fn help_documents_every_exit_code() {
    let answer = Project::new().run(&["--help"]).expect(0);
    for code in [
        "0  done",
        "1  the execution failed",
        "2  the command line",
        "3  there is no",
        "4  the execution waits",
        "5  something else",
    ] {
        assert!(answer.stdout.contains(code), "{code}: {}", answer.stdout);
    }
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    let project = Project::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(project.run(&["version"]).expect(0).stdout, format!("windlass {version}\n"));
    let answer = project.run(&["version", "--json"]).expect(0);
    assert_eq!(answer.json(), json!({ "name": "windlass", "version": version }));
}

#[test]
fn what_config_prints_is_a_configuration() {
    let project = Project::new();
    let printed = project.run(&["config"]).expect(0).stdout;
    assert!(printed.contains("\nidle_ms = 60000\n"), "{printed}");
    let parsed: toml::Value = toml::from_str(&printed).unwrap();
    let json = project.run(&["config", "--json"]).expect(0).json();
    assert_eq!(serde_json::to_value(parsed).unwrap(), json);
}

#[test]
fn a_wrong_command_line_ends_with_2_and_is_json_where_json_was_asked_for() {
    let project = Project::new();
    let answer = project.run(&["runn"]).expect(2);
    assert!(answer.stderr.contains("run"), "{answer:#?}");
    assert_eq!(error_code(&project.run(&["--json", "runn"]).expect(2)), "usage");
}

#[test]
fn a_configuration_that_is_wrong_ends_with_2_and_names_the_line() {
    let project = Project::new();
    project.write("windlass.toml", "data_dir = 'data'\ntool_name = 'dotted'\n");
    let answer = project.run(&["list"]).expect(2);
    assert!(answer.stderr.starts_with("error: "), "{answer:#?}");
    assert!(answer.stderr.contains("windlass.toml:2: unknown field `tool_name`"), "{answer:#?}");
    assert!(answer.stderr.contains("did you mean `tool_names`?"), "{answer:#?}");
    assert_eq!(error_code(&project.run(&["list", "--json"]).expect(2)), "configuration");
}

#[test]
fn a_file_that_is_not_there_ends_with_3() {
    let project = Project::new();
    project.run(&["run", "nowhere.yaml"]).expect(3);
    project.run(&["validate", "nowhere.yaml"]).expect(3);
}

#[test]
fn http_beyond_this_machine_is_refused_without_a_token() {
    let answer = Project::new().run(&["serve", "--http", "0.0.0.0:0"]).expect(2);
    assert!(answer.stderr.contains("WINDLASS_HTTP_TOKEN"), "{answer:#?}");
}

#[test]
fn a_shipped_workflow_runs_and_its_output_is_all_that_is_on_standard_output() {
    let answer = Project::new().run(&["run", "hello", "name=Ada"]).expect(0);
    assert_eq!(answer.json(), json!({ "message": "Hello, Ada!" }));
    assert!(answer.stderr.contains("✓ greet"), "{answer:#?}");
}

#[test]
fn without_watching_only_the_result_is_told() {
    let answer = Project::new().run(&["run", "hello", "--no-watch"]).expect(0);
    assert!(!answer.stderr.contains("greet"), "{answer:#?}");
    assert_eq!(answer.json(), json!({ "message": "Hello, world!" }));
}

#[test]
fn for_programs_a_run_is_one_json_object() {
    let answer = Project::new().run(&["run", "hello", "--json"]).expect(0);
    let execution = answer.json();
    assert_eq!(execution["status"], "completed");
    assert_eq!(execution["output"], json!({ "message": "Hello, world!" }));
    assert_eq!(answer.stderr, "");
}

#[test]
fn a_file_is_run_by_its_path() {
    let project = Project::new();
    let text = "name: mine\ninput: { type: object, properties: { count: { type: integer } } }\nsteps:\n  - { name: say, tool: demo.echo, params: { count: '${input.count}' } }\n";
    project.write("elsewhere/mine.yaml", text);
    let answer = project.run(&["run", "elsewhere/mine.yaml", "count=3"]).expect(0);
    assert_eq!(answer.json(), json!({ "count": 3 }));
}

#[test]
fn the_same_idempotency_key_is_the_same_execution() {
    let project = Project::new();
    let run = || {
        let answer = project.run(&["run", "hello", "--json", "--idempotency-key", "once"]);
        answer.expect(0).json()["execution_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(run(), run());
    let other = ["run", "hello", "name=Ada", "--json", "--idempotency-key", "once"];
    assert_eq!(error_code(&project.run(&other).expect(2)), "idempotency_key_reused");
}

#[test]
fn a_failed_execution_ends_with_1_and_says_why() {
    let project = Project::new();
    project.write("workflows/failing.yaml", FAILING);
    let answer = project.run(&["run", "failing"]).expect(1);
    assert!(answer.stderr.contains("no such branch"), "{answer:#?}");
    assert_eq!(project.run(&["run", "failing", "--json"]).expect(1).json()["status"], "failed");
}

#[test]
fn what_does_not_exist_ends_with_3_and_says_what_does() {
    let project = Project::new();
    let answer = project.run(&["run", "helo"]).expect(3);
    assert!(answer.stderr.contains("hello"), "{answer:#?}");
    assert!(answer.stderr.contains("help: "), "{answer:#?}");
    let check = |arguments: &[&str], code: &str| {
        assert_eq!(error_code(&project.run(arguments).expect(3)), code);
    };
    check(&["run", "helo", "--json"], "unknown_workflow");
    check(&["status", "exec_none", "--json"], "unknown_execution");
    check(&["cancel", "exec_none", "--json"], "unknown_execution");
    check(&["resolve", "exec_none", "a", "--retry", "--json"], "unknown_execution");
    check(&["tools", "nowhere", "--json"], "unknown_tool_server");
}

#[test]
fn an_input_that_does_not_fit_ends_with_2_and_starts_nothing() {
    let project = Project::new();
    let answer = project.run(&["run", "issue_to_pr", "owner=octo"]).expect(2);
    assert!(answer.stderr.contains("issue_number"), "{answer:#?}");
    let answer = project.run(&["run", "hello", "nmae=Ada"]).expect(2);
    assert!(answer.stderr.contains("did you mean \"name\"?"), "{answer:#?}");
    let listed = project.run(&["list", "--executions", "--json"]).expect(0).json();
    assert_eq!(listed["executions"], json!([]));
}

#[test]
fn a_database_that_cannot_be_opened_ends_with_5() {
    let nowhere = "sqlite:/proc/nowhere/windlass.db";
    let project = Project::new().with_env("WINDLASS_DATABASE", nowhere);
    project.run(&["list", "--executions"]).expect(5);
}

#[test]
fn a_step_whose_outcome_is_uncertain_ends_the_run_with_4_until_a_person_settles_it() {
    let project = Project::new();
    add_brittle_tool_server(&project);
    let answer = project.run(&["run", "break", "--json"]).expect(4);
    let execution = answer.json();
    assert_eq!(execution["steps"][0]["status"], "uncertain", "{execution:#}");
    let id = execution["execution_id"].as_str().unwrap();
    project.run(&["status", id]).expect(4);
    project.run(&["resolve", id, "touch", "--result", r#"{"touched":true}"#]).expect(0);
    let settled = project.run(&["status", id, "--wait", "30", "--json"]).expect(0).json();
    assert_eq!(settled["output"], json!({ "touched": true }));
    assert_eq!(settled["steps"][0]["settled_by"], "local");
    let shown = project.run(&["status", id]).expect(0).stdout;
    assert!(shown.contains("settled by local"), "{shown}");
}

#[test]
fn status_shows_the_results_of_steps_when_asked() {
    let project = Project::new();
    let run = project.run(&["run", "hello", "--json"]).expect(0).json();
    let id = run["execution_id"].as_str().unwrap();
    let plain = project.run(&["status", id]).expect(0).stdout;
    assert!(plain.contains("hello completed") && plain.contains("✓ greet"), "{plain}");
    let results = project.run(&["status", id, "--results", "--json"]).expect(0).json();
    assert_eq!(results["steps"][0]["result"], json!({ "message": "Hello, world!" }));
    let newest = project.run(&["status", "--json"]).expect(0).json();
    assert_eq!(newest["executions"][0]["execution_id"], id);
}

#[test]
fn a_detached_execution_goes_on_without_its_caller() {
    let project = Project::new();
    project.write("workflows/slow.yaml", SLOW);
    let id = project.run(&["run", "slow", "--detach"]).expect(0).stdout.trim().to_owned();
    let ended = project.run(&["status", &id, "--wait", "30", "--json"]).expect(0).json();
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("completed"), &json!({ "done": true }))
    );
}

#[test]
fn an_interrupted_run_is_left_to_a_worker_and_says_how_to_follow_it() {
    let project = Project::new();
    project.write("workflows/slow.yaml", SLOW);
    let mut command = project.command(&["run", "slow"]);
    let mut run = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    run.stderr_line(PATIENCE, "about the nap", |line| line.contains("nap").then_some(()));
    assert_eq!(run.interrupt(PATIENCE).code(), Some(130));
    let id = run.stderr_line(PATIENCE, "how to follow it", |line| {
        let follow = line.split('`').find_map(|part| part.strip_prefix("windlass status "));
        follow.map(str::to_owned)
    });
    let settled = project.run(&["status", &id, "--wait", "30", "--json"]).expect(0).json();
    assert_eq!(settled["output"], json!({ "done": true }));
}

#[test]
fn a_cancelled_execution_is_over() {
    let project = Project::new();
    project.write("workflows/slow.yaml", SLOW);
    let id = project.run(&["run", "slow", "--detach"]).expect(0).stdout.trim().to_owned();
    project.run(&["cancel", &id, "--reason", "not needed"]).expect(0);
    let ended = project.run(&["status", &id, "--wait", "30", "--json"]).expect(1).json();
    assert_eq!(ended["status"], "cancelled");
}

#[test]
fn problems_of_a_file_are_shown_in_their_place() {
    let project = Project::new();
    project
        .write("good.yaml", "name: good\nsteps:\n  - { name: say, tool: demo.echo, params: {} }\n");
    project.write(
        "bad.yaml",
        "name: bad\nstpes: []\nsteps:\n  - { name: say, tool: demo.echo, params: {} }\n",
    );
    project.run(&["validate", "good.yaml"]).expect(0);
    let answer = project.run(&["validate", "good.yaml", "bad.yaml"]).expect(1);
    assert!(
        answer.stdout.contains("--> bad.yaml:2:1\n2 | stpes: []\n  | ^\n"),
        "{}",
        answer.stdout
    );
    let files = &project.run(&["validate", "bad.yaml", "--json"]).expect(1).json()["files"];
    assert_eq!((&files[0]["valid"], &files[0]["problems"][0]["line"]), (&json!(false), &json!(2)));
}

#[test]
fn every_shipped_workflow_is_valid_and_listed() {
    let project = Project::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.map(|file| file.to_str().unwrap().to_owned()).collect();
    let arguments: Vec<_> =
        ["validate"].into_iter().chain(files.iter().map(String::as_str)).collect();
    project.run(&arguments).expect(0);
    let listed = project.run(&["list"]).expect(0).stdout;
    assert!(listed.contains("hello") && listed.contains("issue_to_pr"), "{listed}");
}

#[test]
fn tools_are_listed_and_a_server_that_cannot_be_reached_is_named_with_why() {
    let project = Project::new();
    project.write("windlass.toml", "[mcpServers.missing]\ncommand = 'no-such-program-here'\n");
    let listed = project.run(&["tools", "--json"]).expect(0).json();
    let server = |name: &str| {
        let servers = listed["servers"].as_array().unwrap();
        servers.iter().find(|server| server["name"] == name).unwrap().clone()
    };
    assert!(server("demo")["tools"].to_string().contains("\"demo.echo\""));
    assert!(server("missing")["error"].as_str().unwrap().contains("missing"));
    let one = project.run(&["tools", "demo"]).expect(0).stdout;
    assert!(one.contains("demo.echo") && !one.contains("missing"), "{one}");
    let answer = project.run(&["tools", "missing", "--json"]).expect(5);
    assert_eq!(error_code(&answer), "unreachable");
}

#[test]
fn over_stdio_only_the_protocol_is_on_standard_output_and_the_end_of_input_is_the_end() {
    let project = Project::new();
    let mut client = project.client(&["serve"]).with_deadline(PATIENCE);
    let hello = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    assert_eq!(client.ask("initialize", hello)["serverInfo"]["name"], "windlass");
    assert_eq!(client.close().code(), Some(0));
    assert!(client.is_silent(PATIENCE));
}

#[test]
fn the_demo_opens_a_pull_request_and_leaves_no_process_behind() {
    let project = Project::new();
    let answer = project.run(&["demo"]).expect(0);
    for shown in ["#8", "Greet people by their name", "fix/issue-7", "exec_", "serve"] {
        assert!(answer.stdout.contains(shown), "{shown}: {}", answer.stdout);
    }
    let temporary = project.temporary();
    eventually(PATIENCE, "the demo's processes to be gone", || {
        (!works_in(&temporary)).then_some(())
    });
}

#[test]
fn the_demo_of_a_canary_shows_what_is_new_in_the_log_and_does_as_it_is_told() {
    let project = Project::new();
    let demo =
        |arguments: &[&str]| project.run(&[&["demo", "deploy"], arguments].concat()).expect(0);
    let promoted = demo(&["--answer", "promote", "--json"]).json();
    assert_eq!(promoted["deployment"]["status"], "SUCCESSFUL", "{promoted:#}");
    assert_eq!(promoted["service"]["image"], "registry.example/web:v2-buggy", "{promoted:#}");
    let patterns = &promoted["output"]["new_patterns"];
    assert!(patterns.to_string().contains("PaymentError"), "{promoted:#}");
    assert!(!patterns.to_string().contains("stock-service"), "it was there before: {promoted:#}");
    assert_eq!(promoted["output"]["verdict"], "regressed", "{promoted:#}");
    // Nobody sits at a terminal here: that is said, and the canary is taken back.
    let told = demo(&[]).stdout;
    for shown in [
        "Nobody can be asked here",
        "roll-back",
        "registry.example/web:v1\n",
        "ROLLBACK_SUCCESSFUL",
    ] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
    eventually(PATIENCE, "the demo's processes to be gone", || {
        (!works_in(&project.temporary())).then_some(())
    });
}

/// Whether a process has its working directory below a folder.
fn works_in(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let directories =
        processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    directories.into_iter().any(|directory| directory.starts_with(&folder))
}
