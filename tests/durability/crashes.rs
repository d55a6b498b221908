//! A process that dies at any point costs nothing: no step is lost, and none is done twice.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Run, Scene, counted, execution_of, was_killed};
use crate::harness::{Client, Ended, begin, settled};

/// Where a driven execution can die.
pub(crate) const POINTS: [&str; 4] = ["before_commit", "after_commit", "before_call", "after_call"];

/// More often than any of these runs passes a point.
const MANY: u32 = 50;

on_both!(
    a_keyed_effect_happens_once_wherever_the_process_dies,
    a_process_that_dies_again_and_again_still_gets_there,
    a_call_that_ends_its_process_every_time_is_given_up,
    an_unsafe_effect_never_happens_twice_and_a_person_settles_what_is_unknown,
    an_unsafe_step_can_be_settled_as_failed,
);

/// Three steps that each leave a line in the ledger.
fn counting(tool: &str) -> String {
    let step = |name| {
        format!("  - {{ name: {name}, tool: {tool}, params: {{ file: '${{input.file}}' }} }}\n")
    };
    let input =
        "input: { type: object, required: [file], properties: { file: { type: string } } }\n";
    let steps: String = ["one", "two", "three"].map(step).concat();
    let output = "output: ['${steps.one.count}', '${steps.two.count}', '${steps.three.count}']\n";
    format!("name: counting\n{input}steps:\n{steps}{output}")
}

/// Kills a run at every point, every time it passes it, and hands over what a second run makes of it.
pub(crate) fn at_every_point(
    scene: &Scene,
    workflow: &str,
    input: impl Fn(&str) -> Value,
    mut check: impl FnMut(&str, &Ended),
) {
    for point in POINTS {
        let killed = (1..MANY).take_while(|count| {
            let key = format!("{point}-{count}");
            let run = Run { workflow, key: &key, input: input(&key) };
            let first = scene.run(&run, Some((point, *count)));
            if was_killed(&first) {
                scene.let_leases_run_out();
                check(&key, &scene.run(&run, None));
                return true;
            }
            check(&key, &first);
            false
        });
        let killed = killed.count();
        assert!(3 <= killed && killed + 1 < MANY as usize, "killed {killed} times {point}");
    }
}

fn a_keyed_effect_happens_once_wherever_the_process_dies(scene: &Scene) {
    scene.project.write("workflows/counting.yaml", &counting("demo.count_keyed"));
    at_every_point(
        scene,
        "counting",
        |key| json!({ "file": scene.ledger(key) }),
        |key, ended| {
            let execution = execution_of(ended);
            assert_eq!(execution["status"], "completed", "{key}: {ended:#?}");
            assert_eq!(execution["output"], json!([1, 2, 3]), "{key}");
            assert_eq!(counted(&scene.ledger(key)).len(), 3, "{key}");
            let attempts =
                execution["steps"].as_array().unwrap().iter().map(|step| &step["attempts"]);
            assert!(attempts.eq([1, 1, 1].iter()), "{key}: a crash is no attempt: {execution:#}");
        },
    );
}

fn a_process_that_dies_again_and_again_still_gets_there(scene: &Scene) {
    scene.project.write("workflows/counting.yaml", &counting("demo.count_keyed"));
    // The second time it gets there, something was written down since it began: each process gets a step further.
    for (point, count) in
        [("after_commit", 2), ("before_commit", 3), ("before_call", 2), ("after_call", 2)]
    {
        let input = json!({ "file": scene.ledger(point) });
        let run = Run { workflow: "counting", key: point, input };
        let mut deaths = 0;
        let ended = loop {
            let ended = scene.run(&run, Some((point, count)));
            if !was_killed(&ended) {
                break ended;
            }
            deaths += 1;
            assert!(deaths < 12, "{point}: it gets nowhere");
            scene.let_leases_run_out();
        };
        assert!(1 <= deaths, "{point}: it never died");
        assert_eq!(execution_of(&ended)["output"], json!([1, 2, 3]), "{point}: {ended:#?}");
        assert_eq!(counted(&scene.ledger(point)).len(), 3, "{point}");
    }
}

fn a_call_that_ends_its_process_every_time_is_given_up(scene: &Scene) {
    scene.project.write("workflows/counting.yaml", &counting("demo.count_keyed"));
    let run = Run {
        workflow: "counting",
        key: "poison",
        input: json!({ "file": scene.ledger("poison") }),
    };
    let mut deaths = 0;
    let ended = loop {
        let ended = scene.run(&run, Some(("after_call", 1)));
        if !was_killed(&ended) {
            break ended;
        }
        deaths += 1;
        assert!(deaths < 20, "it is called for ever");
        scene.let_leases_run_out();
    };
    let execution = execution_of(&ended);
    assert_eq!(execution["error"]["code"], "interrupted", "{execution:#}");
    assert_eq!(execution["error"]["step"], "one", "{execution:#}");
    assert_eq!(counted(&scene.ledger("poison")).len(), 1);
}

fn an_unsafe_effect_never_happens_twice_and_a_person_settles_what_is_unknown(scene: &Scene) {
    scene.project.write("workflows/counting.yaml", &counting("demo.count"));
    let mut door = scene.door();
    let mut settled_by_hand = 0;
    at_every_point(
        scene,
        "counting",
        |key| json!({ "file": scene.ledger(key) }),
        |key, ended| {
            let execution = execution_of(ended);
            if execution["status"] == "waiting" {
                settled_by_hand += 1;
                settle(&mut door, &execution, &scene.ledger(key));
            } else {
                assert_eq!(execution["status"], "completed", "{key}: {ended:#?}");
            }
            let lines = counted(&scene.ledger(key));
            assert_eq!(lines.len(), 3, "{key}: {lines:?}");
            for step in ["one", "two", "three"] {
                let of_step = lines.iter().filter(|line| line.contains(&format!("/{step}#")));
                assert_eq!(of_step.count(), 1, "{key}: {lines:?}");
            }
        },
    );
    // Every point but the last commit leaves a call behind of which nobody knows.
    assert!(8 <= settled_by_hand, "only {settled_by_hand} had to be settled");
}

/// Does what a person would: looks whether it happened, and says so.
fn settle(door: &mut Client, execution: &Value, ledger: &PathBuf) {
    let id = execution["execution_id"].as_str().unwrap();
    let steps = execution["steps"].as_array().unwrap();
    let uncertain: Vec<_> = steps.iter().filter(|step| step["status"] == "uncertain").collect();
    assert_eq!(uncertain.len(), 1, "{execution:#}");
    let step = uncertain[0]["name"].as_str().unwrap();
    assert!(execution["waiting_for"].as_str().unwrap().contains(step), "{execution:#}");
    let lines = counted(ledger);
    let happened = lines.iter().any(|line| line.contains(&format!("/{step}#")));
    let mut control = json!({ "execution_id": id, "action": "resolve", "step": step });
    if happened {
        control["outcome"] = json!("completed");
        control["result"] = json!({ "count": "three" });
        let refused = door.call_err("workflow.control", control.clone());
        assert!(refused.contains("output schema of demo.count"), "{refused}");
        control["result"] = json!({ "count": lines.len(), "created": true });
    } else {
        control["outcome"] = json!("retry");
    }
    door.call_ok("workflow.control", control);
    let ended = settled(door, id);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    assert_eq!(ended["output"], json!([1, 2, 3]), "{ended:#}");
}

fn an_unsafe_step_can_be_settled_as_failed(scene: &Scene) {
    scene.project.write("workflows/counting.yaml", &counting("demo.count"));
    let input = json!({ "file": scene.ledger("failed") });
    let run = Run { workflow: "counting", key: "failed", input: input.clone() };
    assert!(was_killed(&scene.run(&run, Some(("after_call", 2)))));
    scene.let_leases_run_out();
    let execution = execution_of(&scene.run(&run, None));
    let id = execution["execution_id"].as_str().unwrap();
    let mut door = scene.door();
    let control = json!({ "execution_id": id, "action": "resolve", "step": "two", "outcome": "failed", "reason": "it was wrong" });
    door.call_ok("workflow.control", control);
    let ended = settled(&mut door, id);
    assert_eq!(ended["status"], "failed", "{ended:#}");
    assert!(ended["error"]["message"].as_str().unwrap().contains("it was wrong"), "{ended:#}");
    assert_eq!(counted(&scene.ledger("failed")).len(), 2, "the third step must not begin");
    // Others are not held up by it.
    let other = begin(&mut door, "counting", json!({ "file": scene.ledger("other") }));
    assert_eq!(settled(&mut door, &other)["status"], "completed");
}
