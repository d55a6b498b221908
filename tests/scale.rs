//! Long lists through the built binary: what they cost in rows, bytes and memory. No times: machines differ.

use std::{
    fs::{self, File},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    durability::{Run, Scene},
    harness::{Running, eventually, text_of},
};

on_both!(
    a_list_of_two_thousand_takes_the_memory_of_what_is_in_flight,
    large_results_are_written_once_and_held_once,
    a_list_that_was_interrupted_in_the_middle_is_gone_on_with,
);

/// What a run of the longest list takes on a busy machine.
const ENOUGH: Duration = Duration::from_secs(180);

const MIB: u64 = 1024 * 1024;

const LIST: &str = r#"
name: list
steps:
  - { name: fan, forEach: "${input.list}", tool: demo.noop }
output: { size: "${size(steps.fan)}" }
"#;

const LARGE: &str = r#"
name: large
steps:
  - { name: fan, forEach: "${input.list}", tool: demo.text, params: { bytes: 65536 } }
output: { size: "${size(steps.fan)}" }
"#;

/// A run that has ended.
struct Cost {
    status: ExitStatus,
    stdout: String,
    /// The most memory that the process had, in bytes; 0 where the machine does not tell.
    memory: u64,
}

impl Cost {
    #[track_caller]
    fn completed(&self) -> Value {
        assert!(self.status.success(), "{} {:.2000}", self.status, self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

fn list_of(workflow: &'static str, key: &'static str, size: usize) -> Run<'static> {
    Run { workflow, key, input: json!({ "list": (0..size).collect::<Vec<_>>() }) }
}

fn cost(scene: &Scene, run: &Run<'_>, fault: Option<&str>) -> Cost {
    let path = scene.project.path().join("answer.json");
    let mut command = scene.command(run);
    command.stdin(Stdio::null()).stdout(File::create(&path).unwrap());
    if let Some(fault) = fault {
        command.env("WINDLASS_FAULT", fault);
    }
    let mut process = Running::start(&mut command);
    let mut memory = 0;
    let status = eventually(ENOUGH, "the list to end", || {
        memory = peak(process.id()).unwrap_or_default().max(memory);
        process.child().try_wait().unwrap()
    });
    Cost { status, stdout: fs::read_to_string(&path).unwrap(), memory }
}

/// The most memory that a process ever had.
fn peak(process: u32) -> Option<u64> {
    let known = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = known.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn a_list_of_two_thousand_takes_the_memory_of_what_is_in_flight(scene: &Scene) {
    const SIZE: usize = 2_000;
    scene.project.write("workflows/list.yaml", LIST);
    let short = cost(scene, &list_of("list", "short", 20), None);
    assert_eq!(short.completed()["output"], json!({ "size": 20 }));
    assert_eq!(scene.number("SELECT COUNT(*) FROM events"), 2 * 20 + 4);

    let long = cost(scene, &list_of("list", "long", SIZE), None);
    let execution = long.completed();
    assert_eq!(execution["output"], json!({ "size": SIZE }));
    let rows = [2 * SIZE + 4, SIZE + 1].map(|rows| i64::try_from(rows).unwrap());
    assert_eq!(scene.number("SELECT COUNT(*) FROM events") - (2 * 20 + 4), rows[0]);
    assert_eq!(scene.number("SELECT COUNT(*) FROM steps") - (20 + 1), rows[1]);
    // What came home at the same time shares a commit, and so its time.
    let moments = scene.number("SELECT COUNT(DISTINCT at) FROM events");
    assert!(moments < rows[0] / 3, "{moments} moments for {} events", rows[0]);
    let grown = long.memory.saturating_sub(short.memory);
    assert!(grown < 24 * MIB, "{SIZE} elements took {} MiB more than 20", grown / MIB);

    // Who looks at it is shown a part, and told so.
    assert_eq!(execution["steps"].as_array().unwrap().len(), 1 + 200);
    assert_eq!(execution["more_steps"], SIZE - 200);
    let id = execution["execution_id"].as_str().unwrap();
    let arguments = json!({ "execution_id": id, "fields": ["steps", "results"] });
    let answer = scene.door().call("workflow.status", arguments);
    assert!(text_of(&answer).len() < 100_000, "{} bytes", text_of(&answer).len());
}

fn large_results_are_written_once_and_held_once(scene: &Scene) {
    const SIZE: usize = 300;
    let bytes = SIZE as u64 * 64 * 1024;
    scene.project.write("workflows/large.yaml", LARGE);
    let one = cost(scene, &list_of("large", "one", 1), None);
    one.completed();
    let many = cost(scene, &list_of("large", "many", SIZE), None);
    let execution = many.completed();
    assert_eq!(execution["output"], json!({ "size": SIZE }));
    let written = "SELECT CAST(COALESCE(SUM(LENGTH(data)), 0) AS BIGINT) FROM payloads";
    let written = u64::try_from(scene.number(written)).unwrap();
    assert!(written < bytes * 11 / 10, "{written} bytes were written of {bytes}");
    let grown = many.memory.saturating_sub(one.memory);
    assert!(grown < bytes * 5 / 2, "{} MiB for {} MiB of results", grown / MIB, bytes / MIB);

    // The list is shown whole all the same, put together from its instances.
    let id = execution["execution_id"].as_str().unwrap();
    let shown = scene.project.run_ok(&["status", id, "--results", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let fan = &shown["steps"][0];
    assert_eq!(fan["name"], "fan");
    let list = fan["result"].as_array().unwrap();
    assert_eq!(list.len(), SIZE);
    assert!(list.iter().all(|result| result["text"].as_str().unwrap().len() == 65536));
}

fn a_list_that_was_interrupted_in_the_middle_is_gone_on_with(scene: &Scene) {
    const SIZE: usize = 600;
    scene.project.write("workflows/list.yaml", LIST);
    let run = list_of("list", "once", SIZE);
    let killed = cost(scene, &run, Some("after_commit:40"));
    assert!(!killed.status.success(), "it was to be killed");
    let done = scene.number("SELECT COUNT(*) FROM events WHERE kind = 'attempt_succeeded'");
    assert!((40..560).contains(&done), "killed after {done}");
    scene.let_leases_run_out();
    let resumed = cost(scene, &run, None);
    assert_eq!(resumed.completed()["output"], json!({ "size": SIZE }));
    let all = scene.number("SELECT COUNT(*) FROM events WHERE kind = 'attempt_succeeded'");
    assert_eq!(all, i64::try_from(SIZE).unwrap(), "none was done twice");
    let grown = resumed.memory.saturating_sub(killed.memory);
    assert!(grown < 24 * MIB, "{} MiB more than before", grown / MIB);
}
